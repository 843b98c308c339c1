//! The registry: who is on the server, under which name, in which room; which rooms there are. Pure.
//!
//! It is the one authority for names, rooms and places. Every change of place goes through it, so a
//! room's actor exists exactly from its first member to its last. Rooms that have a password or
//! moderators stay in the registry when they are empty.

use crate::actors::access::core::{
    AccessCore, Claim, Denial, Facts, IdentityId, Proofs, SanctionRecord,
};
use crate::actors::limits::Limits;
use crate::net::ids::{MemberId, RoomId, SSRCS_PER_SESSION, SessionId, Ssrc};
use crate::net::limits::{LIST_TOTAL_MAX, ROOMS_OPENED_MAX};
use crate::net::message::{ErrorCode, RoomInfo, ServerMessage, Standing};
use crate::net::moderation::{Role, SanctionKind};
use crate::net::name::{NameKeys, RoomName, UserName};
use crate::net::secret::ResumeSecret;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Names in use, by everything that must differ.
#[derive(Debug)]
struct NameIndex<T> {
    folded: BTreeMap<String, T>,
    looks: BTreeMap<String, T>,
}

impl<T> Default for NameIndex<T> {
    fn default() -> Self {
        Self { folded: BTreeMap::new(), looks: BTreeMap::new() }
    }
}

impl<T: Copy + PartialEq> NameIndex<T> {
    fn same(&self, keys: &NameKeys) -> Option<T> {
        self.folded.get(&keys.folded).copied()
    }

    /// Someone other than `own` whose name looks the same.
    fn alike(&self, keys: &NameKeys, own: Option<T>) -> Option<T> {
        let looks = [&keys.skeleton, &keys.folded_skeleton];
        looks.iter().filter_map(|k| self.looks.get(*k).copied()).find(|t| Some(*t) != own)
    }

    fn insert(&mut self, keys: NameKeys, value: T) {
        self.looks.insert(keys.skeleton, value);
        self.looks.insert(keys.folded_skeleton, value);
        self.folded.insert(keys.folded, value);
    }

    fn remove(&mut self, keys: &NameKeys, value: T) {
        for key in [&keys.skeleton, &keys.folded_skeleton] {
            if self.looks.get(key) == Some(&value) {
                self.looks.remove(key);
            }
        }
        self.folded.remove(&keys.folded);
    }
}

type ResumeHandle = [u8; 16];

fn handle_of(secret: &ResumeSecret) -> ResumeHandle {
    secret.expose().first_chunk().copied().unwrap_or_default()
}

#[derive(Debug)]
struct Entry {
    member: MemberId,
    name: UserName,
    resume: ResumeSecret,
    room: Option<RoomId>,
    facts: Facts,
    /// The rooms whose passwords he has given.
    opened: Proofs,
}

#[derive(Debug)]
struct RoomEntry {
    name: RoomName,
    members: u32,
}

/// The state of the lobby.
#[derive(Debug)]
pub struct LobbyCore {
    /// Who may come in, and what they may do there.
    pub access: AccessCore,
    limits: Arc<Limits>,
    sessions: BTreeMap<SessionId, Entry>,
    users: NameIndex<MemberId>,
    by_member: BTreeMap<MemberId, SessionId>,
    /// By the first half of the resume secret; the other half is compared.
    by_resume: BTreeMap<ResumeHandle, SessionId>,
    rooms: BTreeMap<RoomId, RoomEntry>,
    room_names: NameIndex<RoomId>,
    next_member: u64,
    next_room: u64,
    first_ssrc: u32,
    ssrc_groups_given: u32,
}

/// Why a request is refused: what the client is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal(pub Box<ServerMessage>);

fn refuse<const N: usize>(code: ErrorCode, args: [(&str, String); N]) -> Refusal {
    Refusal(Box::new(ServerMessage::error(code, args)))
}

/// Somebody who asks to be let in.
#[derive(Debug)]
pub struct Ask<'a> {
    /// The session that he would have.
    pub session: SessionId,
    /// The name that he wants.
    pub name: &'a str,
    /// The secret of a session to take over.
    pub resume: Option<&'a ResumeSecret>,
    /// The secret to resume the new session with.
    pub fresh: ResumeSecret,
    /// What else he brings along.
    pub claim: Claim<'a>,
}

/// A session that has come in.
#[derive(Debug, Clone, PartialEq)]
pub struct Admission {
    /// Who he is to the others.
    pub member: MemberId,
    /// His name as taken.
    pub name: UserName,
    /// Where his SSRCs begin.
    pub base: Ssrc,
    /// The session that he takes over, and the room that it is in.
    pub resumed: Option<(SessionId, Option<RoomName>)>,
    /// What the server thinks of him.
    pub standing: Standing,
}

/// A place in a room.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Which room.
    pub room: RoomId,
    /// Its name as first given.
    pub name: RoomName,
    /// Nobody was in it: its actor must be made first.
    pub created: bool,
}

/// A place that was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vacated {
    /// Who gave it up.
    pub member: MemberId,
    /// Which room.
    pub room: RoomId,
    /// Nobody is left in it.
    pub closed: bool,
}

impl LobbyCore {
    /// A server with nobody on it. `random` decides where SSRCs begin (RFC 3550, 8.1).
    #[must_use]
    pub fn new(random: u32, mut access: AccessCore, limits: Arc<Limits>) -> Self {
        access.limit_newcomers(limits.identities());
        let mut core = Self {
            access,
            limits,
            sessions: BTreeMap::new(),
            users: NameIndex::default(),
            by_member: BTreeMap::new(),
            by_resume: BTreeMap::new(),
            rooms: BTreeMap::new(),
            room_names: NameIndex::default(),
            next_member: 1,
            next_room: 1,
            first_ssrc: random / SSRCS_PER_SESSION * SSRCS_PER_SESSION,
            ssrc_groups_given: 0,
        };
        let kept: Vec<RoomName> = core.access.kept_rooms().map(|room| room.name.clone()).collect();
        for name in kept {
            core.add_room(name);
        }
        core
    }

    /// Sessions and rooms there are.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        (self.sessions.len(), self.rooms.len())
    }

    /// Lets a session in under a name, or lets it take over another with that one's secret.
    ///
    /// # Errors
    /// A password must be compared first; or the name is unfit, in use, kept for somebody else, or
    /// looks like such a one; he is banned, brings the wrong password or invite; the server is full.
    pub fn admit(
        &mut self,
        ask: Ask<'_>,
        proofs: &Proofs,
        now_ms: u64,
    ) -> Result<Admission, Denial> {
        let Ask { session, name, resume, fresh, claim } = ask;
        let lost = resume.and_then(|secret| {
            let found = *self.by_resume.get(&handle_of(secret))?;
            self.sessions.get(&found).filter(|entry| entry.resume == *secret).map(|_| found)
        });
        if let Some(lost) = lost {
            return Ok(self.take_over(lost, session, fresh, &claim, now_ms)?);
        }
        let most = self.limits.sessions;
        if self.sessions.len() >= most {
            return Err(refuse(ErrorCode::ServerFull, [("max", most.to_string())]).into());
        }
        let name = UserName::parse(name)
            .map_err(|why| refuse(ErrorCode::BadName, [("why", why.to_string())]))?;
        let grant = self.access.review(&name, &claim, proofs, now_ms)?;
        self.refuse_taken(&name, None)?;
        let base = self.take_ssrcs()?;
        let identity = self.access.settle(&grant, claim.device, &name, now_ms);
        let member = MemberId(self.next_member);
        self.next_member += 1;
        self.users.insert(name.keys(), member);
        self.by_member.insert(member, session);
        self.by_resume.insert(handle_of(&fresh), session);
        let facts = Facts { address: claim.address, device: claim.device, identity };
        let entry = Entry {
            member,
            name: name.clone(),
            resume: fresh,
            room: None,
            facts,
            opened: Proofs::default(),
        };
        self.sessions.insert(session, entry);
        let standing = self.standing(session, now_ms);
        Ok(Admission { member, name, base, resumed: None, standing })
    }

    fn take_over(
        &mut self,
        lost: SessionId,
        session: SessionId,
        fresh: ResumeSecret,
        claim: &Claim<'_>,
        now_ms: u64,
    ) -> Result<Admission, Refusal> {
        let gone = || refuse(ErrorCode::Busy, []);
        let entry = self.sessions.get(&lost).ok_or_else(gone)?;
        let facts = Facts { address: claim.address, ..entry.facts.clone() };
        self.access.refuse_banned(&entry.name, &facts, None, now_ms)?;
        let base = self.take_ssrcs()?;
        let entry = self.sessions.remove(&lost).ok_or_else(gone)?;
        let (member, name) = (entry.member, entry.name.clone());
        let room = entry.room.and_then(|id| self.rooms.get(&id)).map(|r| r.name.clone());
        self.by_member.insert(member, session);
        self.by_resume.remove(&handle_of(&entry.resume));
        self.by_resume.insert(handle_of(&fresh), session);
        self.sessions.insert(session, Entry { resume: fresh, facts, ..entry });
        let standing = self.standing(session, now_ms);
        Ok(Admission { member, name, base, resumed: Some((lost, room)), standing })
    }

    fn take_ssrcs(&mut self) -> Result<Ssrc, Refusal> {
        let given = self.ssrc_groups_given;
        if given > u32::MAX / SSRCS_PER_SESSION {
            // Every SSRC has been used once; using one twice would mix up two streams.
            return Err(refuse(ErrorCode::Busy, []));
        }
        self.ssrc_groups_given += 1;
        Ok(Ssrc(self.first_ssrc.wrapping_add(given.wrapping_mul(SSRCS_PER_SESSION))))
    }

    /// A name that this session may take: fit, free, kept for nobody else and not banned.
    fn fit_name(&self, text: &str, session: SessionId, now_ms: u64) -> Result<UserName, Refusal> {
        let name = UserName::parse(text)
            .map_err(|why| refuse(ErrorCode::BadName, [("why", why.to_string())]))?;
        let entry = self.sessions.get(&session);
        let facts = entry.map(|entry| entry.facts.clone()).unwrap_or_default();
        self.access.check_name(&name, facts.identity)?;
        self.access.refuse_banned(&name, &facts, None, now_ms)?;
        self.refuse_taken(&name, entry.map(|entry| entry.member))?;
        Ok(name)
    }

    /// A name that someone here other than `own` bears, or whose looks it has, is refused.
    fn refuse_taken(&self, name: &UserName, own: Option<MemberId>) -> Result<(), Refusal> {
        let keys = name.keys();
        let taken = |code, other: MemberId| {
            let like = self.name_of(other).map(ToString::to_string).unwrap_or_default();
            refuse(code, [("name", name.to_string()), ("like", like)])
        };
        match self.users.same(&keys) {
            Some(other) if Some(other) != own => return Err(taken(ErrorCode::NameTaken, other)),
            _ => {}
        }
        match self.users.alike(&keys, own) {
            Some(other) => Err(taken(ErrorCode::NameLooksTaken, other)),
            None => Ok(()),
        }
    }

    fn name_of(&self, member: MemberId) -> Option<&UserName> {
        let session = self.by_member.get(&member)?;
        self.sessions.get(session).map(|entry| &entry.name)
    }

    /// Who a session is.
    #[must_use]
    pub fn member(&self, session: SessionId) -> Option<(MemberId, &UserName)> {
        self.sessions.get(&session).map(|entry| (entry.member, &entry.name))
    }

    /// What sanctions can recognise a session by.
    #[must_use]
    pub fn facts(&self, session: SessionId) -> Option<&Facts> {
        self.sessions.get(&session).map(|entry| &entry.facts)
    }

    /// The identity of a session is known from now on.
    pub fn set_identity(&mut self, session: SessionId, identity: IdentityId) {
        if let Some(entry) = self.sessions.get_mut(&session) {
            entry.facts.identity = Some(identity);
        }
    }

    /// Keeps a name for nobody any more; whoever it was kept for, and is here, is nobody in particular if the
    /// server has no other use for him. Whose it was.
    ///
    /// # Errors
    /// It is not registered.
    pub fn unregister(
        &mut self,
        name: &UserName,
        by: &str,
        now_ms: u64,
    ) -> Result<IdentityId, Refusal> {
        let id = self.access.unregister(name, by, now_ms)?;
        if !self.access.knows(id) {
            for entry in self.sessions.values_mut().filter(|e| e.facts.identity == Some(id)) {
                entry.facts.identity = None;
            }
        }
        Ok(id)
    }

    /// What the server thinks of a session.
    #[must_use]
    pub fn standing(&self, session: SessionId, now_ms: u64) -> Standing {
        let Some(entry) = self.sessions.get(&session) else { return Standing::default() };
        let identity = entry.facts.identity;
        let room = entry.room.and_then(|id| self.room_name(id));
        let (mute, facts) = (SanctionKind::Mute, &entry.facts);
        let keys = entry.name.keys();
        let own = identity.and_then(|id| self.access.registered_name(id));
        let role = self.access.role(identity);
        let silenced = self.access.sanctioned(mute, &entry.name, facts, room, now_ms).is_some();
        Standing {
            role,
            room_role: room.and_then(|room| self.access.room_role(identity, room)),
            registered: own.is_some_and(|own| own.keys().folded == keys.folded),
            // Nobody is over the operators, whatever was said of them before they were.
            silenced: silenced && role != Some(Role::Operator),
        }
    }

    /// Whether a session is silenced somewhere, also in a room where it is not now. Operators never are.
    #[must_use]
    pub fn silenced_anywhere(&self, session: SessionId, now_ms: u64) -> bool {
        let Some(entry) = self.sessions.get(&session) else { return false };
        let in_force = |id: &u64| {
            let record = self.access.sanction_record(*id);
            record.is_some_and(|record| record.until_ms.is_none_or(|until| now_ms < until))
        };
        self.access.role(entry.facts.identity) != Some(Role::Operator)
            && self.access.silences(&entry.name, &entry.facts, None).iter().any(in_force)
    }

    /// Everyone here whom a sanction is meant for and touches, where he is now. Operators are never touched.
    #[must_use]
    pub fn met_by(&self, sanction: &SanctionRecord) -> Vec<SessionId> {
        let room = sanction.room.as_ref().map(|room| self.find_room(room.as_str()));
        let met = |(_, entry): &(&SessionId, &Entry)| {
            room.is_none_or(|room| room.is_some() && entry.room == room)
                && self.access.role(entry.facts.identity) != Some(Role::Operator)
                && sanction.meets(&entry.name, &entry.facts)
        };
        self.sessions.iter().filter(met).map(|(id, _)| *id).collect()
    }

    /// The sessions of whoever has this identity, and those on the same device, who is the same.
    #[must_use]
    pub fn sessions_of(&self, id: IdentityId, facts: &Facts) -> Vec<SessionId> {
        let same = |(_, entry): &(&SessionId, &Entry)| {
            let device = entry.facts.device.is_some() && entry.facts.device == facts.device;
            entry.facts.identity == Some(id) || (device && entry.facts.identity.is_none())
        };
        self.sessions.iter().filter(same).map(|(id, _)| *id).collect()
    }

    /// Everyone on the server, by the order in which they came.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, &UserName, Option<RoomId>)> {
        self.sessions.iter().map(|(id, entry)| (*id, &entry.name, entry.room))
    }

    /// Everyone in a room.
    pub fn sessions_in(&self, room: RoomId) -> impl Iterator<Item = SessionId> {
        let here = move |(_, entry): &(_, &Entry)| entry.room == Some(room);
        self.sessions.iter().filter(here).map(|(id, _)| *id)
    }

    /// The room that a session is in.
    #[must_use]
    pub fn room_of(&self, session: SessionId) -> Option<RoomId> {
        self.sessions.get(&session)?.room
    }

    /// The session of the user with this name, whatever its case.
    #[must_use]
    pub fn find_user(&self, name: &str) -> Option<SessionId> {
        let member = self.users.same(&UserName::parse(name).ok()?.keys())?;
        self.by_member.get(&member).copied()
    }

    /// The room with this name, whatever its case.
    #[must_use]
    pub fn find_room(&self, name: &str) -> Option<RoomId> {
        self.room_names.same(&RoomName::parse(name).ok()?.keys())
    }

    /// The name of a room.
    #[must_use]
    pub fn room_name(&self, id: RoomId) -> Option<&RoomName> {
        self.rooms.get(&id).map(|room| &room.name)
    }

    /// The name of a room as it is written first: of one that is there, or a new one that may be.
    ///
    /// # Errors
    /// The name is unfit, or looks like another room's.
    pub fn room_named(&self, text: &str) -> Result<RoomName, Refusal> {
        let name = RoomName::parse(text)
            .map_err(|why| refuse(ErrorCode::BadRoom, [("why", why.to_string())]))?;
        match self.room_names.same(&name.keys()).and_then(|id| self.rooms.get(&id)) {
            Some(room) => Ok(room.name.clone()),
            None => self.refuse_look_alike(&name, None).map(|()| name),
        }
    }

    fn refuse_look_alike(&self, name: &RoomName, own: Option<RoomId>) -> Result<(), Refusal> {
        let other = self.room_names.alike(&name.keys(), own).and_then(|id| self.rooms.get(&id));
        match other {
            Some(other) => {
                let args = [("room", name.to_string()), ("like", other.name.to_string())];
                Err(refuse(ErrorCode::RoomLooksTaken, args))
            }
            None => Ok(()),
        }
    }

    /// Gives a room another name, with what is kept of it; the name as taken.
    ///
    /// # Errors
    /// The name is unfit, another room's, or looks like another room's.
    pub fn rename_room(&mut self, id: RoomId, to: &str) -> Result<RoomName, Refusal> {
        let name = RoomName::parse(to)
            .map_err(|why| refuse(ErrorCode::BadRoom, [("why", why.to_string())]))?;
        // A name that is the same also looks the same.
        self.refuse_look_alike(&name, Some(id))?;
        if let Some(room) = self.rooms.get_mut(&id) {
            let before = std::mem::replace(&mut room.name, name.clone());
            self.room_names.remove(&before.keys(), id);
            self.room_names.insert(name.keys(), id);
            self.access.rename_room(&before, &name);
        }
        Ok(name)
    }

    /// Whether a session could go into the room of this name now; changes nothing.
    ///
    /// # Errors
    /// The name is unfit or looks like another room's, the room is full, or there are too many rooms.
    pub fn check_room(&self, text: &str) -> Result<RoomName, Refusal> {
        let name = RoomName::parse(text)
            .map_err(|why| refuse(ErrorCode::BadRoom, [("why", why.to_string())]))?;
        let keys = name.keys();
        let full = u32::try_from(self.limits.members_per_room).unwrap_or(u32::MAX);
        if let Some(entry) = self.room_names.same(&keys).and_then(|id| self.rooms.get(&id)) {
            if entry.members >= full {
                return Err(refuse(ErrorCode::RoomFull, [("max", full.to_string())]));
            }
            return Ok(entry.name.clone());
        }
        self.refuse_look_alike(&name, None)?;
        let most = self.limits.rooms;
        if self.rooms.len() >= most {
            return Err(refuse(ErrorCode::TooManyRooms, [("max", most.to_string())]));
        }
        Ok(name)
    }

    /// Whether a session may go into the room of this name now: [`Self::check_room`], bans from it and its
    /// password. Changes nothing but the count of wrong guesses.
    ///
    /// # Errors
    /// A password must be compared first; or he may not.
    pub fn review_join(
        &mut self,
        session: SessionId,
        text: &str,
        given: bool,
        proofs: &Proofs,
        now_ms: u64,
    ) -> Result<RoomName, Denial> {
        let name = self.check_room(text)?;
        let Some(entry) = self.sessions.get(&session) else { return Ok(name) };
        let mut known = entry.opened.clone();
        known.extend(proofs);
        self.access.review_room(&name, &entry.name, &entry.facts, given, &known, now_ms)?;
        Ok(name)
    }

    /// Whether a session may see who is in a room: its own, and those that it could go into, were there a place.
    ///
    /// # Errors
    /// He is banned from it, or it has a password that he has not given.
    pub fn review_look(
        &mut self,
        session: SessionId,
        room: RoomId,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let Some(entry) = self.sessions.get(&session) else { return Ok(()) };
        let Some(name) = self.rooms.get(&room).map(|room| &room.name) else { return Ok(()) };
        if entry.room == Some(room) {
            return Ok(());
        }
        let (facts, opened) = (&entry.facts, &entry.opened);
        match self.access.review_room(name, &entry.name, facts, false, opened, now_ms) {
            Ok(()) => Ok(()),
            Err(Denial::Refused(refusal)) => Err(refusal),
            // A password is given when going in, not when looking in.
            Err(Denial::Verify(_)) => {
                Err(refuse(ErrorCode::RoomPassword, [("room", name.to_string())]))
            }
        }
    }

    /// Remembers the passwords that a session has proven, for as long as it lasts.
    pub fn remember_proofs(&mut self, session: SessionId, proofs: &Proofs) {
        if let Some(entry) = self.sessions.get_mut(&session) {
            entry.opened.remember(proofs, ROOMS_OPENED_MAX);
        }
    }

    /// Puts a session that is in no room into one. `None` if the session is gone.
    ///
    /// # Errors
    /// As `check_room`.
    pub fn place(&mut self, session: SessionId, room: &str) -> Result<Option<Place>, Refusal> {
        let name = self.check_room(room)?;
        if !self.sessions.contains_key(&session) {
            return Ok(None);
        }
        let found = self.room_names.same(&name.keys());
        let empty = |id: &RoomId| self.rooms.get(id).is_none_or(|room| room.members == 0);
        let created = found.as_ref().is_none_or(empty);
        let id = match found {
            Some(id) if !created => id,
            // A room that was kept while it was empty comes back under a new number, so that what is
            // still said of the old one cannot touch it.
            Some(id) => {
                self.drop_room(id);
                self.add_room(name.clone())
            }
            None => self.add_room(name.clone()),
        };
        if let Some(entry) = self.sessions.get_mut(&session) {
            entry.room = Some(id);
        }
        if let Some(room) = self.rooms.get_mut(&id) {
            room.members += 1;
        }
        Ok(Some(Place { room: id, name, created }))
    }

    fn add_room(&mut self, name: RoomName) -> RoomId {
        let id = RoomId(self.next_room);
        self.next_room += 1;
        self.room_names.insert(name.keys(), id);
        self.rooms.insert(id, RoomEntry { name, members: 0 });
        id
    }

    fn drop_room(&mut self, id: RoomId) {
        if let Some(room) = self.rooms.remove(&id) {
            self.room_names.remove(&room.name.keys(), id);
        }
    }

    /// Everyone on the server: rooms by name with who is in them, and those who are in none.
    pub fn roll(&self) -> (BTreeMap<&RoomName, Vec<&UserName>>, Vec<&UserName>) {
        let (mut rooms, mut elsewhere) = (BTreeMap::new(), Vec::new());
        rooms.extend(self.rooms.values().map(|room| (&room.name, Vec::new())));
        for entry in self.sessions.values() {
            let room = entry.room.and_then(|id| self.rooms.get(&id));
            match room.and_then(|room| rooms.get_mut(&room.name)) {
                Some(members) => members.push(&entry.name),
                None => elsewhere.push(&entry.name),
            }
        }
        (rooms, elsewhere)
    }

    /// Takes a room that is kept into the list, and one that is empty and not kept any more out of it.
    pub fn sync_kept(&mut self, name: &RoomName) {
        let kept = self.access.kept_room(name).is_some();
        match self.room_names.same(&name.keys()) {
            None if kept => {
                self.add_room(name.clone());
            }
            Some(id) if !kept && self.rooms.get(&id).is_some_and(|room| room.members == 0) => {
                self.drop_room(id);
            }
            _ => {}
        }
    }

    /// Takes a session out of its room, if it is in one.
    pub fn vacate(&mut self, session: SessionId) -> Option<Vacated> {
        let entry = self.sessions.get_mut(&session)?;
        let (member, room) = (entry.member, entry.room.take()?);
        Some(self.vacated(member, room))
    }

    fn vacated(&mut self, member: MemberId, id: RoomId) -> Vacated {
        let Some(room) = self.rooms.get_mut(&id) else {
            return Vacated { member, room: id, closed: true };
        };
        room.members = room.members.saturating_sub(1);
        let closed = room.members == 0;
        if closed && self.access.kept_room(&room.name).is_none() {
            self.drop_room(id);
        }
        Vacated { member, room: id, closed }
    }

    /// Removes a session for good. Any number of times; a session that was taken over is not there any more.
    pub fn remove(&mut self, session: SessionId) -> Option<Vacated> {
        let entry = self.sessions.remove(&session)?;
        self.users.remove(&entry.name.keys(), entry.member);
        self.by_member.remove(&entry.member);
        self.by_resume.remove(&handle_of(&entry.resume));
        let room = entry.room?;
        Some(self.vacated(entry.member, room))
    }

    /// Gives a session another name.
    ///
    /// # Errors
    /// The name is unfit, in use, or looks like one in use by someone else.
    pub fn rename(
        &mut self,
        session: SessionId,
        text: &str,
        now_ms: u64,
    ) -> Result<UserName, Refusal> {
        let name = self.fit_name(text, session, now_ms)?;
        if let Some(entry) = self.sessions.get_mut(&session) {
            let before = std::mem::replace(&mut entry.name, name.clone());
            self.users.remove(&before.keys(), entry.member);
            self.users.insert(name.keys(), entry.member);
        }
        Ok(name)
    }

    /// Rooms with how many are in them, by name, at most as many as an answer may have.
    #[must_use]
    pub fn rooms(&self) -> Vec<RoomInfo> {
        let ids = self.room_names.folded.values().take(LIST_TOTAL_MAX);
        let by_name = ids.filter_map(|id| self.rooms.get(id));
        by_name
            .map(|r| RoomInfo {
                name: r.name.clone(),
                members: r.members,
                locked: self.access.kept_room(&r.name).is_some_and(|kept| kept.password.is_some()),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::access::attempts::Target;
    use crate::actors::access::core::{Lock, Verify};
    use crate::actors::access::password::PasswordRecord;
    use crate::net::secret::Secret;

    fn secret(k: u8) -> ResumeSecret {
        Secret::new([k; 32])
    }

    fn lobby(names: &[&str]) -> LobbyCore {
        let mut lobby = LobbyCore::new(7, AccessCore::default(), Arc::default());
        for (k, name) in names.iter().enumerate() {
            come(&mut lobby, k as u64, name, None, k as u8).unwrap();
        }
        lobby
    }

    fn come(
        lobby: &mut LobbyCore,
        session: u64,
        name: &str,
        resume: Option<&ResumeSecret>,
        fresh: u8,
    ) -> Result<Admission, Denial> {
        let (session, fresh) = (SessionId(session), secret(fresh));
        let ask = Ask { session, name, resume, fresh, claim: Claim::default() };
        lobby.admit(ask, &Proofs::default(), 0)
    }

    fn code(denial: impl Into<Denial>) -> ErrorCode {
        match denial.into() {
            Denial::Refused(Refusal(message)) => match *message {
                ServerMessage::Error { code, .. } => code,
                other => panic!("{other:?}"),
            },
            Denial::Verify(question) => panic!("{question:?}"),
        }
    }

    #[test]
    fn a_name_in_use_is_refused_whatever_its_case_and_script() {
        let mut lobby = lobby(&["Pace", "Анна"]);
        for (name, expected) in [
            ("pace", ErrorCode::NameTaken),
            ("PACE", ErrorCode::NameTaken),
            ("анна", ErrorCode::NameTaken),
            ("расе", ErrorCode::NameLooksTaken),
            ("\u{7}", ErrorCode::BadName),
        ] {
            let refused = come(&mut lobby, 9, name, None, 9).unwrap_err();
            assert_eq!(code(refused), expected, "{name}");
        }
        assert!(come(&mut lobby, 9, "Anna", None, 9).is_ok());
        lobby.remove(SessionId(0));
        assert!(come(&mut lobby, 10, "pace", None, 10).is_ok());
    }

    #[test]
    fn a_name_can_be_changed_to_another_case_of_itself() {
        let mut lobby = lobby(&["anna", "bert"]);
        assert_eq!(lobby.rename(SessionId(0), "ANNA", 0).unwrap().as_str(), "ANNA");
        assert_eq!(code(lobby.rename(SessionId(0), "Bert", 0).unwrap_err()), ErrorCode::NameTaken);
        assert_eq!(lobby.find_user("AnNa"), Some(SessionId(0)));
        lobby.rename(SessionId(0), "carl", 0).unwrap();
        assert_eq!(lobby.find_user("anna"), None);
        come(&mut lobby, 9, "anna", None, 9).unwrap();
    }

    #[test]
    fn a_room_lives_from_its_first_member_to_its_last() {
        let mut lobby = lobby(&["a", "b"]);
        let first = lobby.place(SessionId(0), "Hall").unwrap().unwrap();
        assert!(first.created);
        let second = lobby.place(SessionId(1), "hall").unwrap().unwrap();
        assert_eq!((second.room, second.created), (first.room, false));
        assert_eq!(second.name.as_str(), "Hall");
        assert_eq!(lobby.rooms()[0].members, 2);
        assert!(!lobby.vacate(SessionId(0)).unwrap().closed);
        assert!(lobby.remove(SessionId(1)).unwrap().closed);
        assert_eq!(lobby.rooms(), []);
        let again = lobby.place(SessionId(0), "Hall").unwrap().unwrap();
        assert!(again.created && again.room != first.room);
    }

    #[test]
    fn a_room_with_a_password_is_kept_when_empty_and_asks_for_it() {
        let mut lobby = lobby(&["a", "b"]);
        let hall = RoomName::parse("Hall").unwrap();
        let record = PasswordRecord("sesame".to_owned());
        let first = lobby.place(SessionId(0), "Hall").unwrap().unwrap();
        lobby.access.set_room_password(&hall, Some(record.clone())).unwrap();
        lobby.sync_kept(&hall);
        assert!(lobby.vacate(SessionId(0)).unwrap().closed, "its actor ends");
        assert_eq!(lobby.rooms(), [RoomInfo { name: hall.clone(), members: 0, locked: true }]);
        let mut review = |given, proofs: &Proofs| {
            lobby.review_join(SessionId(1), "hall", given, proofs, 0).map_err(|d| match d {
                Denial::Verify(_) => None,
                refused => Some(code(refused)),
            })
        };
        let (mut right, mut wrong) = (Proofs::default(), Proofs::default());
        let target = Target::Server;
        let question = Verify { what: Lock::Room, record, target };
        right.add(question.clone(), true);
        wrong.add(question, false);
        assert_eq!(review(false, &Proofs::default()), Err(Some(ErrorCode::RoomPassword)));
        assert_eq!(review(true, &Proofs::default()), Err(None), "it must be compared");
        assert_eq!(review(true, &wrong), Err(Some(ErrorCode::BadRoomPassword)));
        assert!(review(true, &right).is_ok());
        lobby.remember_proofs(SessionId(1), &right);
        assert!(lobby.review_join(SessionId(1), "hall", false, &Proofs::default(), 0).is_ok());
        let second = lobby.place(SessionId(1), "hall").unwrap().unwrap();
        assert!(second.created && second.room != first.room);
        lobby.access.set_room_password(&hall, None).unwrap();
        lobby.sync_kept(&hall);
        assert_eq!(lobby.rooms().len(), 1, "someone is in it");
        lobby.vacate(SessionId(1)).unwrap();
        assert_eq!(lobby.rooms(), []);
    }

    #[test]
    fn a_room_that_looks_like_another_is_refused() {
        let mut lobby = lobby(&["a", "b"]);
        lobby.place(SessionId(0), "pace").unwrap();
        let refused = lobby.place(SessionId(1), "расе").unwrap_err();
        assert_eq!(code(refused), ErrorCode::RoomLooksTaken);
        assert_eq!(lobby.room_of(SessionId(1)), None);
    }

    #[test]
    fn the_resume_secret_takes_the_name_and_the_room_over_at_once() {
        let mut lobby = lobby(&["anna"]);
        lobby.place(SessionId(0), "hall").unwrap();
        let wrong = come(&mut lobby, 5, "anna", Some(&secret(77)), 5);
        assert_eq!(code(wrong.unwrap_err()), ErrorCode::NameTaken);
        let right = come(&mut lobby, 6, "whatever", Some(&secret(0)), 6).unwrap();
        assert_eq!(right.name.as_str(), "anna");
        let (old, room) = right.resumed.unwrap();
        assert_eq!((old, room.unwrap().as_str()), (SessionId(0), "hall"));
        assert_eq!(lobby.remove(SessionId(0)), None, "the old session has nothing left to lose");
        assert_eq!(lobby.rooms()[0].members, 1);
        let used = come(&mut lobby, 7, "anna", Some(&secret(0)), 7);
        assert!(used.is_err(), "a secret is good once");
        assert!(lobby.remove(SessionId(6)).unwrap().closed);
        assert_eq!(lobby.sizes(), (0, 0));
    }

    #[test]
    fn ssrcs_are_never_given_twice() {
        let mut lobby = LobbyCore::new(u32::MAX, AccessCore::default(), Arc::default());
        let mut seen = std::collections::BTreeSet::new();
        for k in 0..1000 {
            let admission = come(&mut lobby, k, "x", None, 0).unwrap();
            for n in 0..SSRCS_PER_SESSION {
                assert!(seen.insert(admission.base.0.wrapping_add(n)));
            }
            assert_eq!(admission.base.0 % SSRCS_PER_SESSION, 0);
            lobby.remove(SessionId(k));
        }
    }
}
