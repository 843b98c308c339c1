//! What the server and the voice side say, and what follows from it.

use super::{ControlCore, Link};
use crate::client::control::port::VoiceCommand;
use crate::client::control::request::{Asked, Pending, Request};
use crate::client::event::{ErrorKind, Event, LocalError, Room, Stats};
use crate::client::voice::{VoiceEvent, VoicePath, VoiceStats};
use crate::net::limits::{ROOM_MEMBERS_MAX, ROOMS_MAX};
use crate::net::message::{
    Envelope, ErrorCode, GoodbyeReason, MemberInfo, MemberState, RoomInfo, ServerMessage,
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
            ServerMessage::Goodbye { reason, .. } => self.said_goodbye(reason),
            ServerMessage::Welcome(welcome) => {
                self.close(re);
                self.welcome(*welcome, now);
            }
            ServerMessage::Error { code, args } => self.failed(re, code, args, now),
            // Nothing else can come before the welcome.
            _ if self.link == Link::Greeting => {}
            // A resumed session goes on where it was, and the user has left in the meantime.
            ServerMessage::Joined { .. } if re.is_none() && self.room.is_none() => {
                self.send_request(Request::Leave, now);
            }
            ServerMessage::Joined { room, members, more, .. } => {
                self.joined(re, room, members, more);
            }
            ServerMessage::Members { members, more } => self.more_members(members, more),
            ServerMessage::Left { room, .. } => {
                self.close(re);
                self.room = None;
                self.roster.clear();
                self.voice(VoiceCommand::Transmit(false));
                self.voice(VoiceCommand::LeaveRoom);
                self.tell(Event::Left { room });
            }
            ServerMessage::MemberJoined { member, .. } => {
                self.voice_member(&member);
                let events = self.roster.joined(member);
                self.tell_all(events);
            }
            ServerMessage::MemberLeft { id, name, reason, .. } => {
                self.voice(VoiceCommand::MemberLeft(id));
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
            body => self.answer(re, body),
        }
    }

    /// Answers that need no more than to be told.
    fn answer(&mut self, re: Option<u32>, body: ServerMessage) {
        let asked = self.close(re);
        match body {
            ServerMessage::Chat { id, name, text, at_ms } => {
                let you = self.roster.me == Some(id);
                self.tell(Event::Chat { id, name, text, at_ms, you });
            }
            ServerMessage::Private { from, to, text, at_ms } => {
                let you = asked.is_some();
                self.tell(Event::Private { from, to, text, at_ms, you });
            }
            ServerMessage::Renamed { name } => {
                self.settings.name = name.clone();
                self.tell(Event::Renamed { name });
            }
            ServerMessage::Changed(MemberState { muted, deafened }) => {
                self.tell(Event::State { muted, deafened });
            }
            ServerMessage::Pong { .. } => {
                if let Some(Pending { asked: Asked::Barrier, .. }) = asked {
                    self.end(0);
                }
            }
            _ => {}
        }
    }

    fn failed(
        &mut self,
        re: Option<u32>,
        code: ErrorCode,
        args: BTreeMap<String, String>,
        now: Instant,
    ) {
        let asked = self.close(re).map(|pending| pending.asked);
        if asked == Some(Asked::Hello) || self.link == Link::Greeting {
            return self.refused(code, args, now);
        }
        if matches!(asked, Some(Asked::Request(Request::Join(_)))) {
            // No room is a state to go on from: /join works, and what was queued gets its answers.
            self.ready = true;
        }
        self.tell(Event::Error { code: ErrorKind::Server(code), args, fatal: false });
    }

    fn said_goodbye(&mut self, reason: GoodbyeReason) {
        self.tell(Event::Goodbye { reason });
        self.goodbye = Some(reason);
        if reason == GoodbyeReason::Resumed {
            // Coming back would take the session from whoever has it now, again and again.
            self.fail(ErrorKind::Local(LocalError::TakenOver), BTreeMap::new());
        }
    }

    fn joined(&mut self, re: Option<u32>, room: RoomName, members: Vec<MemberInfo>, more: bool) {
        let ours = self.close(re).is_some();
        let asked = |pending: &Pending| matches!(pending.asked, Asked::Request(Request::Join(_)));
        // A resumed session is put into its room by the server; our own request follows at once.
        self.untold = !ours && self.open.values().any(asked);
        self.room = Some(room.clone());
        self.roster.enter(room, members);
        self.arriving = true;
        self.arrive(more);
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
        let rooms = rooms.into_iter().map(|RoomInfo { name, members, .. }| {
            let here = here(&name);
            Room { name, members, here }
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
                self.tell(Event::DeviceUp { direction: direction.into(), description });
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
            // Voice never comes this way: the shell hands it to the connection itself.
            VoiceEvent::ToServer { .. } => {}
        }
    }

    fn voice_member(&mut self, member: &MemberInfo) {
        if self.roster.me != Some(member.id) {
            self.voice(VoiceCommand::Member(member.clone()));
        }
    }

    pub(super) fn stats(&mut self, stats: VoiceStats) {
        self.stats_asked = self.stats_asked.saturating_sub(1);
        let stats = Stats::new(stats, |id| self.roster.name_of(id));
        self.tell(Event::Stats(Box::new(stats)));
    }
}
