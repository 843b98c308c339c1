//! The rules of one room: who is in it, in what state, and what the others are told. Pure.

use crate::actors::bucket::Bucket;
use crate::actors::limits::{Limits, text_cost};
use crate::actors::routes::{RoomRoutes, Route, SessionVoice, VoicePath};
use crate::actors::stage::Stage;
use crate::net::codec::Codec;
use crate::net::ids::{MemberId, RoomId, SessionId};
use crate::net::limits::{LIST_ENTRIES_MAX, LIST_TOTAL_MAX, ROOM_HISTORY_BYTES, ROOM_MEMBERS_MAX};
use crate::net::message::{ChatLine, LeaveReason, MemberInfo, MemberState, ServerMessage};
use crate::net::moderation::Role;
use crate::net::name::{RoomName, UserName};
use crate::net::protect::Sealer;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A member, as his session brings him.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who.
    pub id: MemberId,
    /// His present session.
    pub session: SessionId,
    /// His name.
    pub name: UserName,
    /// Microphone and ears.
    pub state: MemberState,
    /// In a talkspurt right now.
    pub speaking: bool,
    /// His role on the server or in this room.
    pub role: Option<Role>,
    /// A moderator has silenced him.
    pub silenced: bool,
    /// Codecs that he can decode.
    pub codecs: Vec<Codec>,
    /// His streams.
    pub voice: Arc<SessionVoice>,
    /// Seals what goes down to him.
    pub sealer: Sealer,
    /// Where his voice goes, if anywhere yet.
    pub path: Option<VoicePath>,
}

/// A change of one member.
#[derive(Clone, Debug)]
pub enum Change {
    /// Another name.
    Name(UserName),
    /// Another state.
    State(MemberState),
    /// Started or stopped to speak.
    Speaking(bool),
    /// Voice reaches him on another way.
    Path(Option<VoicePath>),
    /// Another role, or silenced or not any more.
    Standing {
        /// His role on the server or in this room.
        role: Option<Role>,
        /// Silenced.
        silenced: bool,
    },
}

/// The room is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the room is full")]
pub struct Full;

/// What to do after a change.
#[derive(Debug, Default, PartialEq)]
pub struct Effects {
    /// To everyone in the room but the one that changed.
    pub others: Option<ServerMessage>,
    /// To the one that changed, in this order.
    pub own: Vec<ServerMessage>,
    /// The forwarders need a new snapshot.
    pub routes_changed: bool,
}

/// The state of one room.
#[derive(Debug)]
pub struct RoomCore {
    id: RoomId,
    name: RoomName,
    members: BTreeMap<MemberId, Member>,
    /// What may still be said here, in bytes.
    text: Bucket,
    /// Who of those who speak is heard.
    stage: Stage,
    history: History,
}

/// The last texts of a room, for whoever comes in later or was away. They go with the room: who founds another
/// one of the same name inherits nothing.
#[derive(Debug)]
struct History {
    lines: VecDeque<ChatLine>,
    /// What they cost together, by [`text_cost`].
    bytes: usize,
    /// As many are kept at most.
    most: usize,
    numbers: TextNumbers,
}

/// The numbers of a server's texts. They go by the time, so that those of a room of the same name that comes later are
/// higher, also after a restart; and they only rise, though the clock be set back.
#[derive(Debug, Clone, Default)]
pub struct TextNumbers(Arc<AtomicU64>);

impl TextNumbers {
    /// Below 2^53, which JSON can tell, for some 280 years.
    const PER_MS: u64 = 1024;

    /// The number of a text that is said now.
    fn next(&self, at_ms: u64) -> u64 {
        let next = |last: u64| at_ms.saturating_mul(Self::PER_MS).max(last.saturating_add(1));
        let update = |last| Some(next(last));
        // Never an error: there is always a next one.
        next(self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update).unwrap_or(0))
    }
}

impl History {
    fn new(most: usize, numbers: TextNumbers) -> Self {
        Self { lines: VecDeque::new(), bytes: 0, most, numbers }
    }

    fn keep(&mut self, line: ChatLine) {
        self.bytes += text_cost(&line.text) as usize;
        self.lines.push_back(line);
        while self.lines.len() > self.most || self.bytes > ROOM_HISTORY_BYTES {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= text_cost(&oldest.text) as usize;
        }
    }

    /// What was said after this text, or all.
    fn since(&self, after: Option<u64>) -> Option<ServerMessage> {
        let new = |line: &&ChatLine| after.is_none_or(|after| line.no > after);
        let lines: Vec<ChatLine> = self.lines.iter().filter(new).cloned().collect();
        (!lines.is_empty()).then_some(ServerMessage::History { lines })
    }
}

impl RoomCore {
    /// An empty room, with what the limits say of text and of how many are heard.
    #[must_use]
    pub fn new(
        id: RoomId,
        name: RoomName,
        limits: &Limits,
        numbers: TextNumbers,
        now: Instant,
    ) -> Self {
        Self {
            id,
            name,
            members: BTreeMap::new(),
            text: Bucket::full(limits.room_text_bytes(), now),
            stage: Stage::new(limits.heard_at_once, now),
            history: History::new(limits.room_history_lines, numbers),
        }
    }

    /// A member says something to everyone. `None` if he is not here.
    ///
    /// # Errors
    /// More is said here than everyone's line bears: how long until there is room for this.
    pub fn say(
        &mut self,
        id: MemberId,
        text: String,
        at_ms: u64,
        now: Instant,
    ) -> Result<Option<ServerMessage>, Duration> {
        let Some(name) = self.member(id).map(|member| member.name.clone()) else { return Ok(None) };
        let cost = text_cost(&text);
        if !self.text.has(cost, now) {
            return Err(self.text.wait(cost));
        }
        self.text.spend(cost);
        let no = self.history.numbers.next(at_ms);
        let line = ChatLine { no, id, name: name.clone(), text: text.clone(), at_ms };
        self.history.keep(line);
        Ok(Some(ServerMessage::Chat { id, name, text, at_ms, no }))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &RoomName {
        &self.name
    }

    /// Gives it another name.
    pub fn rename(&mut self, name: RoomName) {
        self.name = name;
    }

    /// Everyone goes.
    pub fn clear(&mut self) {
        self.members.clear();
    }

    /// Who is in it.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// One of its members.
    #[must_use]
    pub fn member(&self, id: MemberId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// Codecs that everyone in the room can decode.
    #[must_use]
    pub fn common_codecs(&self) -> Vec<Codec> {
        let mut members = self.members.values();
        let Some(first) = members.next() else { return Vec::new() };
        let mut common = first.codecs.clone();
        for member in members {
            common.retain(|codec| member.codecs.contains(codec));
        }
        common
    }

    /// All members as others see them, in pieces that fit into a frame, and whether more follow.
    fn pages(&self, most: usize) -> Vec<(Vec<MemberInfo>, bool)> {
        let infos: Vec<MemberInfo> = self.members.values().take(most).map(info).collect();
        let count = infos.len().div_ceil(LIST_ENTRIES_MAX);
        let pages = infos.chunks(LIST_ENTRIES_MAX).enumerate();
        pages.map(|(k, page)| (page.to_vec(), k + 1 < count)).collect()
    }

    /// The answer to a question for the members. Only for one of them (`inside`) are their streams.
    #[must_use]
    pub fn list(&self, inside: bool) -> Vec<ServerMessage> {
        let total = u64::try_from(self.members.len()).unwrap_or(0);
        let page = |(mut members, more): (Vec<MemberInfo>, bool)| {
            if !inside {
                members.iter_mut().for_each(|member| member.streams.clear());
            }
            ServerMessage::Users { room: self.name.clone(), members, total, more }
        };
        self.pages(LIST_TOTAL_MAX).into_iter().map(page).collect()
    }

    /// What someone who has just come in is told, who has heard the room up to this text.
    fn welcome(&self, after: Option<u64>) -> Vec<ServerMessage> {
        let codecs = self.common_codecs();
        let page = |(k, (members, more))| match k {
            0 => {
                let (room, codecs) = (self.name.clone(), codecs.clone());
                ServerMessage::Joined { room, members, codecs, more }
            }
            _ => ServerMessage::Members { members, more },
        };
        let pages = self.pages(ROOM_MEMBERS_MAX).into_iter().enumerate().map(page);
        pages.chain(self.history.since(after)).collect()
    }

    /// Members as the forwarders see them.
    #[must_use]
    pub fn routes(&self) -> RoomRoutes {
        let members = self.members.values().map(|member| Route {
            session: member.session,
            path: member.path.clone(),
            sealer: member.sealer.clone(),
            voice: Arc::clone(&member.voice),
        });
        RoomRoutes { id: self.id, members: members.collect(), stage: self.stage.clone() }
    }

    /// Someone comes in, or comes back in a new session. He has heard the room up to this text, if ever.
    ///
    /// # Errors
    /// The room is full.
    pub fn enter(&mut self, member: Member, after: Option<u64>) -> Result<Effects, Full> {
        let (id, session) = (member.id, member.session);
        let known = self.members.contains_key(&id);
        if self.members.get(&id).is_some_and(|member| member.session == session) {
            // He is here already and asks again: nobody else needs to know.
            return Ok(Effects { own: self.welcome(after), ..Effects::default() });
        }
        if !known && self.members.len() >= ROOM_MEMBERS_MAX {
            return Err(Full);
        }
        let joiner = info(&member);
        self.members.insert(id, member);
        let others = if known {
            ServerMessage::MemberChanged { member: joiner, renamed_from: None }
        } else {
            ServerMessage::MemberJoined { member: joiner, codecs: self.common_codecs() }
        };
        Ok(Effects { others: Some(others), own: self.welcome(after), routes_changed: true })
    }

    /// Someone goes. Nothing happens if he is not here.
    pub fn leave(&mut self, id: MemberId, reason: LeaveReason) -> Effects {
        let Some(member) = self.members.remove(&id) else { return Effects::default() };
        let others = ServerMessage::MemberLeft {
            id,
            name: member.name,
            reason,
            codecs: self.common_codecs(),
        };
        Effects { others: Some(others), own: Vec::new(), routes_changed: true }
    }

    /// Someone changes. Nothing happens if he is not here or nothing is different.
    pub fn change(&mut self, id: MemberId, session: SessionId, change: Change) -> Effects {
        let Some(member) = self.members.get_mut(&id) else { return Effects::default() };
        let mut effects = Effects::default();
        let mut renamed_from = None;
        match change {
            // Only his present session speaks for him.
            _ if member.session != session => return effects,
            Change::Path(path) => {
                member.path = path;
                effects.routes_changed = true;
                return effects;
            }
            Change::Name(name) if name == member.name => return effects,
            Change::Name(name) => renamed_from = Some(std::mem::replace(&mut member.name, name)),
            Change::State(state) if state == member.state => return effects,
            Change::State(state) => member.state = state,
            Change::Speaking(speaking) if speaking == member.speaking => return effects,
            Change::Speaking(speaking) => member.speaking = speaking,
            Change::Standing { role, silenced }
                if (role, silenced) == (member.role, member.silenced) =>
            {
                return effects;
            }
            Change::Standing { role, silenced } => {
                member.role = role;
                member.silenced = silenced;
            }
        }
        let message = ServerMessage::MemberChanged { member: info(member), renamed_from };
        effects.own = vec![message.clone()];
        effects.others = Some(message);
        effects
    }
}

fn info(member: &Member) -> MemberInfo {
    MemberInfo {
        id: member.id,
        name: member.name.clone(),
        muted: member.state.muted,
        deafened: member.state.deafened,
        recording: member.state.recording,
        speaking: member.speaking,
        silenced: member.silenced,
        role: member.role,
        streams: member.voice.infos(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::net::clock;
    use crate::net::frame;
    use crate::net::ids::Ssrc;
    use crate::net::message::{Envelope, Protection};
    use crate::net::secret::Secret;

    pub(in crate::actors::room) fn member(k: u32) -> Member {
        Member {
            id: MemberId(k.into()),
            session: SessionId(k.into()),
            name: UserName::parse(&format!("user {k}")).unwrap(),
            state: MemberState::default(),
            speaking: false,
            role: None,
            silenced: false,
            codecs: vec![Codec::Pcm],
            voice: Arc::new(SessionVoice::new(Ssrc(k * 4))),
            sealer: Sealer::new(Protection::Plain, &Secret::new([0; 28])).unwrap(),
            path: None,
        }
    }

    fn room(history: usize) -> RoomCore {
        room_of(history, TextNumbers::default())
    }

    fn room_of(history: usize, numbers: TextNumbers) -> RoomCore {
        let limits = Limits { room_history_lines: history, ..Limits::loosest() };
        let mut room = RoomCore::new(
            RoomId(1),
            RoomName::parse("hall").unwrap(),
            &limits,
            numbers,
            clock::now(),
        );
        room.enter(member(1), None).unwrap();
        room
    }

    fn say(room: &mut RoomCore, text: &str, at_ms: u64) -> u64 {
        match room.say(MemberId(1), text.to_owned(), at_ms, clock::now()) {
            Ok(Some(ServerMessage::Chat { no, .. })) => no,
            other => panic!("{other:?}"),
        }
    }

    /// What someone is told who comes in and has heard the room up to this text.
    fn told(room: &mut RoomCore, after: Option<u64>) -> Vec<String> {
        let own = room.enter(member(2), after).unwrap().own;
        room.leave(MemberId(2), LeaveReason::Left);
        assert!(matches!(own.first(), Some(ServerMessage::Joined { .. })));
        let lines = own.into_iter().filter_map(|message| match message {
            ServerMessage::History { lines } => Some(lines),
            _ => None,
        });
        lines.flatten().map(|line| line.text).collect()
    }

    #[test]
    fn who_comes_in_is_told_what_was_said_and_who_was_away_what_he_missed() {
        let mut room = room(100);
        assert!(told(&mut room, None).is_empty());
        let first = say(&mut room, "one", 1000);
        // The clock may be set back: numbers never are.
        let second = say(&mut room, "two", 0);
        assert!(second > first);
        say(&mut room, "three", 1001);
        assert_eq!(told(&mut room, None), ["one", "two", "three"]);
        assert_eq!(told(&mut room, Some(first)), ["two", "three"]);
        assert_eq!(told(&mut room, Some(u64::MAX)), [""; 0]);
    }

    #[test]
    fn numbers_rise_from_one_room_to_the_next_of_its_name() {
        let numbers = TextNumbers::default();
        let mut first = room_of(100, numbers.clone());
        say(&mut first, "one", 1000);
        let two = say(&mut first, "two", 1000);
        drop(first);
        assert!(say(&mut room_of(100, numbers), "three", 1000) > two);
    }

    #[test]
    fn history_has_bounds_and_can_be_off() {
        let mut few = room(2);
        for text in ["one", "two", "three"] {
            say(&mut few, text, 0);
        }
        assert_eq!(told(&mut few, None), ["two", "three"]);
        let mut off = room(0);
        say(&mut off, "one", 0);
        assert!(told(&mut off, None).is_empty());
    }

    #[test]
    fn all_that_is_kept_fits_into_one_frame() {
        let mut room = room(1000);
        for k in 0..200 {
            say(&mut room, &"ж".repeat(1 + k * 10), 0);
        }
        for _ in 0..500 {
            say(&mut room, "x", 0);
        }
        let own = room.enter(member(2), None).unwrap().own;
        let history = own.last().unwrap().clone();
        let ServerMessage::History { lines } = &history else { panic!("{history:?}") };
        assert!(lines.len() > 200, "{}", lines.len());
        frame::encode(&Envelope::answer(Some(u32::MAX), history)).unwrap();
    }
}
