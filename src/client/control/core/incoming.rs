//! What the server and the voice side say, and what follows from it.

use super::{ControlCore, Link, ROOMS_HEARD_MAX, door};
use crate::client::control::port::VoiceCommand;
use crate::client::control::request::{Asked, Pending, Request};
use crate::client::event::{ErrorKind, Event, Heard, LocalError, Room, Stats};
use crate::client::voice::{Sound, Transmit, VoiceEvent, VoicePath, VoiceStats};
use crate::net::codec::Codec;
use crate::net::limits::{ROOM_MEMBERS_MAX, ROOMS_MAX};
use crate::net::message::{
    ChatLine, Envelope, ErrorCode, GoodbyeReason, LeaveReason, MemberInfo, MemberState, RoomInfo,
    ServerMessage, Standing,
};
use crate::net::name::RoomName;
use std::collections::BTreeMap;
use std::time::Instant;

impl ControlCore {
    pub(super) fn message(&mut self, Envelope { re, body }: Envelope<ServerMessage>, now: Instant) {
        if !matches!(self.link, Link::Greeting | Link::Up(_)) {
            return;
        }
        self.heard_at = now;
        match body {
            ServerMessage::Goodbye { reason, by, why, until_ms } => {
                self.said_goodbye(reason, by, why, until_ms);
            }
            ServerMessage::Welcome(welcome) => {
                self.close(re);
                self.welcome(*welcome, now);
            }
            ServerMessage::Error { code, args } => self.failed(re, code, args, now),
            // Nothing else can come before the welcome.
            _ if self.link == Link::Greeting => {}
            // A resumed session goes on where it was, and the user has left in the meantime.
            ServerMessage::Joined { .. } if re.is_none() && self.wants_out => {
                self.wants_out = false;
                self.send_request(Request::Leave, now);
            }
            ServerMessage::Joined { room, members, more, codecs } => {
                self.room_codecs(codecs);
                self.joined(re, room, members, more);
            }
            ServerMessage::Members { members, more } => self.more_members(members, more),
            ServerMessage::Left { room, reason, by, why } => {
                self.close(re);
                self.left(Event::Left { room, reason, by, why });
            }
            ServerMessage::RoomRenamed { from, room, by } => {
                self.door.room_renamed(&from, &room);
                if let Some(no) = self.heard.remove(&from.folded()) {
                    self.heard.insert(room.folded(), no);
                }
                self.roster.rename_room(room.clone());
                self.room = self.roster.room().cloned().or(self.room.take());
                self.tell(Event::RoomRenamed { from, room, by });
            }
            ServerMessage::MemberJoined { member, codecs } => {
                self.room_codecs(codecs);
                self.voice_member(&member);
                if self.roster.me != Some(member.id) {
                    self.voice(VoiceCommand::Sound(Sound::Joined));
                }
                let events = self.roster.joined(member);
                self.tell_all(events);
            }
            ServerMessage::MemberLeft { id, name, reason, codecs } => {
                self.room_codecs(codecs);
                self.voice(VoiceCommand::MemberLeft(id));
                if self.roster.me != Some(id) {
                    self.voice(VoiceCommand::Sound(Sound::Left));
                }
                let events = self.roster.left(id, name, reason);
                self.tell_all(events);
            }
            ServerMessage::MemberChanged { member, renamed_from } => {
                // Also how far his streams are: a receiver that heard nothing for long learns it here.
                self.voice_member(&member);
                let (events, _) = self.roster.changed(member, renamed_from);
                self.tell_all(events);
            }
            ServerMessage::Rooms { rooms, total, more } => self.rooms(re, rooms, total, more),
            ServerMessage::Users { room, members, total, more } => {
                self.users(re, room, members, total, more);
            }
            ServerMessage::History { lines } => self.said_before(lines),
            body => self.answer(re, body),
        }
    }

    /// Answers that need no more than to be told.
    fn answer(&mut self, re: Option<u32>, body: ServerMessage) {
        let asked = self.close(re);
        match body {
            ServerMessage::Chat { id, name, text, at_ms, no } => {
                let you = self.roster.me == Some(id);
                self.heard_text(no);
                self.tell(Event::Chat { id, name, text, at_ms, you, heard: Heard::Live });
            }
            ServerMessage::Private { from, to, text, at_ms } => {
                let you = asked.is_some();
                self.tell(Event::Private { from, to, text, at_ms, you });
            }
            ServerMessage::Renamed { name } => {
                self.settings.name = name.clone();
                self.tell(Event::Renamed { name });
            }
            ServerMessage::Registered { name, registered } => {
                self.door.keys.name = match asked.map(|pending| pending.asked) {
                    Some(Asked::Request(Request::Register(password))) => password,
                    _ if registered => self.door.keys.name.take(),
                    _ => None,
                };
                self.tell(Event::Registered { name, registered });
            }
            ServerMessage::Report { report } => self.tell(Event::Report(report)),
            ServerMessage::Standing(standing) => self.stand(standing),
            ServerMessage::Withheld { withheld } => self.tell(Event::Withheld { withheld }),
            ServerMessage::Changed(MemberState { muted, deafened, recording }) => {
                self.tell(Event::State { muted, deafened, recording });
                self.state_told(recording);
            }
            ServerMessage::Pong { .. } => {
                if let Some(Pending { asked: Asked::Barrier, .. }) = asked {
                    self.end(0);
                }
            }
            _ => {}
        }
    }

    /// The number of the last text that was heard in a room.
    pub(super) fn heard_up_to(&self, room: &RoomName) -> Option<u64> {
        self.heard.get(&room.folded()).copied()
    }

    /// A text of our room was heard. Servers that number none keep none.
    fn heard_text(&mut self, no: u64) {
        let Some(room) = self.roster.room().map(RoomName::folded).filter(|_| no > 0) else {
            return;
        };
        if self.heard.len() >= ROOMS_HEARD_MAX && !self.heard.contains_key(&room) {
            self.heard.clear();
        }
        self.heard.insert(room, no);
    }

    /// What was said in our room before we came, or while we were away. Each text is told once.
    fn said_before(&mut self, lines: Vec<ChatLine>) {
        // Of a resumed session's room, which our own request is about to tell again.
        let Some(room) = self.roster.room().cloned().filter(|_| !self.untold) else { return };
        let before = self.heard_up_to(&room);
        for ChatLine { no, id, name, text, at_ms } in lines {
            if before.is_some_and(|before| no <= before) {
                continue;
            }
            let you = name == self.settings.name;
            let heard = if before.is_some() { Heard::Missed } else { Heard::Before };
            self.heard_text(no);
            self.tell(Event::Chat { id, name, text, at_ms, you, heard });
        }
    }

    fn failed(
        &mut self,
        re: Option<u32>,
        code: ErrorCode,
        mut args: BTreeMap<String, String>,
        now: Instant,
    ) {
        let asked = self.close(re).map(|pending| pending.asked);
        if asked == Some(Asked::Hello) || self.link == Link::Greeting {
            return self.refused(code, args, now);
        }
        if let Some(Asked::Request(request)) = &asked {
            // No room is a state to go on from: /join works, and what was queued gets its answers.
            self.ready |= request.enters();
            if self.room_locked(request, code, now) {
                return;
            }
            if let (ErrorCode::NotAllowed, Some(needs)) = (code, door::needs(request)) {
                args.entry("needs".to_owned()).or_insert_with(|| needs.to_owned());
            }
        }
        self.tell(Event::Error { code: ErrorKind::Server(code), args, fatal: false });
    }

    fn said_goodbye(
        &mut self,
        reason: GoodbyeReason,
        by: Option<String>,
        why: Option<String>,
        until_ms: Option<u64>,
    ) {
        let (args_by, args_why) = (by.clone(), why.clone());
        self.tell(Event::Goodbye { reason, by, why, until_ms });
        self.goodbye = Some(reason);
        let code = match reason {
            GoodbyeReason::Kicked => Some(LocalError::Kicked),
            GoodbyeReason::Banned => Some(LocalError::Banned),
            _ => None,
        };
        if let Some(code) = code {
            // Coming back by itself would make it worthless.
            let mut args = self.about_server();
            let until = until_ms.map(|until| until.to_string());
            for (key, value) in [("by", args_by), ("why", args_why), ("until_ms", until)] {
                args.extend(value.map(|value| (key.to_owned(), value)));
            }
            self.fail(ErrorKind::Local(code), args);
        }
        if reason == GoodbyeReason::Resumed {
            // Coming back would take the session from whoever has it now, again and again.
            self.fail(ErrorKind::Local(LocalError::TakenOver), BTreeMap::new());
        }
    }

    fn joined(&mut self, re: Option<u32>, room: RoomName, members: Vec<MemberInfo>, more: bool) {
        let pending = self.close(re);
        let ours = pending.is_some();
        if let Some(Asked::Request(Request::Unlock { password, .. })) = pending.map(|p| p.asked) {
            self.door.opened(&room, password);
        }
        self.wants_out = false;
        let asked = |pending: &Pending| matches!(&pending.asked, Asked::Request(request) if request.enters());
        let elsewhere = self.roster.room().filter(|before| **before != room).cloned();
        if let Some(before) = elsewhere.filter(|_| !ours) {
            // Moved without a word.
            let (reason, by, why) = (Some(LeaveReason::Moved), None, None);
            self.left(Event::Left { room: before, reason, by, why });
        }
        // A resumed session is put into its room by the server; our own request follows at once.
        self.untold = !ours && self.open.values().any(asked);
        self.room = Some(room.clone());
        self.roster.enter(room, members);
        self.arriving = true;
        self.arrive(more);
    }

    /// We are in no room; if that was not our wish, the microphone is closed for good.
    fn left(&mut self, event: Event) {
        self.room = None;
        self.roster.clear();
        self.voice(VoiceCommand::Transmit(Transmit::Shut));
        self.voice(VoiceCommand::LeaveRoom);
        if matches!(event, Event::Left { reason: Some(_), .. }) {
            self.state_untold |= !self.state.muted;
            self.state.muted = true;
        }
        self.tell(event);
    }

    /// The server says what it thinks of us. A role in one room is not lost by going to another.
    pub(super) fn stand(&mut self, standing: Standing) {
        let room = self.roster.room().cloned();
        let before = std::mem::replace(&mut self.standing, (standing, room.clone()));
        let same_room = before.1 == room;
        let before = Standing { room_role: before.0.room_role.filter(|_| same_room), ..before.0 };
        if before != Standing::default() || standing != Standing::default() {
            self.tell(Event::Standing { standing, before, room });
        }
    }

    fn more_members(&mut self, members: Vec<MemberInfo>, more: bool) {
        if self.arriving {
            self.roster.add(members);
            self.arrive(more);
        }
    }

    fn arrive(&mut self, more: bool) {
        if more {
            return;
        }
        self.arriving = false;
        self.voice(VoiceCommand::EnterRoom(self.roster.others()));
        if !self.untold
            && let Some(room) = self.roster.room().cloned()
        {
            self.ready = true;
            self.tell(Event::Joined { room, members: self.roster.people() });
        }
    }

    fn rooms(&mut self, re: Option<u32>, rooms: Vec<RoomInfo>, total: u64, more: bool) {
        let Some(pending) = re.and_then(|re| self.open.get_mut(&re)) else { return };
        let room_left = ROOMS_MAX.saturating_sub(pending.rooms.len());
        pending.rooms.extend(rooms.into_iter().take(room_left));
        if more {
            return;
        }
        let rooms = self.close(re).map(|pending| pending.rooms).unwrap_or_default();
        let here = |name: &RoomName| self.roster.room() == Some(name);
        let rooms = rooms.into_iter().map(|RoomInfo { name, members, locked }| {
            let here = here(&name);
            Room { name, members, locked, here }
        });
        let rooms = rooms.collect();
        self.tell(Event::Rooms { rooms, total });
    }

    fn users(
        &mut self,
        re: Option<u32>,
        room: RoomName,
        members: Vec<MemberInfo>,
        total: u64,
        more: bool,
    ) {
        let Some(pending) = re.and_then(|re| self.open.get_mut(&re)) else { return };
        let room_left = ROOM_MEMBERS_MAX.saturating_sub(pending.members.len());
        pending.members.extend(members.into_iter().take(room_left));
        if more {
            return;
        }
        let members = self.close(re).map(|pending| pending.members).unwrap_or_default();
        let members = members.iter().map(|member| self.roster.person(member)).collect();
        self.tell(Event::Users { room, members, total });
    }

    fn close(&mut self, re: Option<u32>) -> Option<Pending> {
        self.open.remove(&re?)
    }

    // ---- the voice side -------------------------------------------------------------------

    pub(super) fn voice_event(&mut self, event: VoiceEvent) {
        match event {
            VoiceEvent::DeviceUp { direction, description } => {
                self.devices.settled(direction);
                self.tell(Event::DeviceUp { direction: direction.into(), description });
            }
            VoiceEvent::DeviceRefused { direction, name, error, kept } => {
                self.devices.settled(direction);
                let direction = direction.into();
                self.tell(Event::DeviceRefused { direction, name, error, kept });
            }
            VoiceEvent::Devices(list) => {
                self.devices.listed();
                self.tell(Event::Devices(list));
            }
            VoiceEvent::Tone(output) => {
                self.devices.sounded();
                self.tell(Event::Tone { output });
            }
            VoiceEvent::DeviceDown { direction, name, error } => {
                self.tell(Event::DeviceDown { direction: direction.into(), name, error });
            }
            VoiceEvent::Speaking { id, on } => {
                let event = self.roster.heard(id, on);
                self.tell_all(event);
            }
            VoiceEvent::Path(path) => {
                let by_stream = path == VoicePath::Stream;
                let before = std::mem::replace(&mut self.voice_by_stream, by_stream);
                let back = before && path == VoicePath::Udp;
                self.tell(Event::Path { path: path.into(), back });
            }
            VoiceEvent::Trial(news) => self.tell(Event::Test(news)),
            VoiceEvent::RecordingEnded(end) => self.recording_ended(end),
            // Voice never comes this way: the shell hands it to the connection itself.
            VoiceEvent::ToServer { .. } => {}
        }
    }

    /// What everyone in the room can decode, where the server says so.
    fn room_codecs(&mut self, codecs: Vec<Codec>) {
        if !codecs.is_empty() {
            self.voice(VoiceCommand::RoomCodecs(codecs));
        }
    }

    fn voice_member(&mut self, member: &MemberInfo) {
        if self.roster.me != Some(member.id) {
            self.voice(VoiceCommand::Member(member.clone()));
        }
    }

    pub(super) fn stats(&mut self, stats: VoiceStats) {
        self.stats_asked = self.stats_asked.saturating_sub(1);
        let member = |id| Some((self.roster.name_of(id)?, self.roster.volume_of(id)));
        let stats = Stats::new(stats, member);
        self.tell(Event::Stats(Box::new(stats)));
    }
}
