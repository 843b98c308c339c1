//! The registry: who is on the server, under which name, in which room; which rooms there are. Pure.
//!
//! It is the one authority for names, rooms and places. Every change of place goes through it, so a
//! room exists exactly from its first member to its last.

use crate::net::ids::{MemberId, RoomId, SSRCS_PER_SESSION, SessionId, Ssrc};
use crate::net::limits::{LIST_TOTAL_MAX, ROOM_MEMBERS_MAX, ROOMS_MAX, SESSIONS_MAX};
use crate::net::message::{ErrorCode, RoomInfo, ServerMessage};
use crate::net::name::{NameKeys, RoomName, UserName};
use crate::net::secret::ResumeSecret;
use std::collections::BTreeMap;

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
}

#[derive(Debug)]
struct RoomEntry {
    name: RoomName,
    members: u32,
}

/// The state of the lobby.
#[derive(Debug)]
pub struct LobbyCore {
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
}

/// A place in a room.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Which room.
    pub room: RoomId,
    /// Its name as first given.
    pub name: RoomName,
    /// It must be made first.
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
    /// An empty server. `random` decides where SSRCs begin (RFC 3550, 8.1).
    #[must_use]
    pub fn new(random: u32) -> Self {
        Self {
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
        }
    }

    /// Sessions and rooms there are.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        (self.sessions.len(), self.rooms.len())
    }

    /// Lets a session in under a name, or lets it take over another with that one's secret.
    /// `fresh` is the secret to resume the new session with.
    ///
    /// # Errors
    /// The name is unfit, in use, or looks like one in use; the server is full.
    pub fn admit(
        &mut self,
        session: SessionId,
        name: &str,
        resume: Option<&ResumeSecret>,
        fresh: ResumeSecret,
    ) -> Result<Admission, Refusal> {
        let lost = resume.and_then(|secret| {
            let found = *self.by_resume.get(&handle_of(secret))?;
            self.sessions.get(&found).filter(|entry| entry.resume == *secret).map(|_| found)
        });
        if let Some(lost) = lost {
            let base = self.take_ssrcs()?;
            let Some(entry) = self.sessions.remove(&lost) else {
                return Err(refuse(ErrorCode::Busy, []));
            };
            let (member, name) = (entry.member, entry.name.clone());
            let room = entry.room.and_then(|id| self.rooms.get(&id)).map(|r| r.name.clone());
            self.by_member.insert(member, session);
            self.by_resume.remove(&handle_of(&entry.resume));
            self.by_resume.insert(handle_of(&fresh), session);
            self.sessions.insert(session, Entry { resume: fresh, ..entry });
            return Ok(Admission { member, name, base, resumed: Some((lost, room)) });
        }
        if self.sessions.len() >= SESSIONS_MAX {
            return Err(refuse(ErrorCode::ServerFull, [("max", SESSIONS_MAX.to_string())]));
        }
        let name = self.fit_name(name, None)?;
        let base = self.take_ssrcs()?;
        let member = MemberId(self.next_member);
        self.next_member += 1;
        self.users.insert(name.keys(), member);
        self.by_member.insert(member, session);
        self.by_resume.insert(handle_of(&fresh), session);
        let entry = Entry { member, name: name.clone(), resume: fresh, room: None };
        self.sessions.insert(session, entry);
        Ok(Admission { member, name, base, resumed: None })
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

    fn fit_name(&self, text: &str, own: Option<MemberId>) -> Result<UserName, Refusal> {
        let name = UserName::parse(text)
            .map_err(|why| refuse(ErrorCode::BadName, [("why", why.to_string())]))?;
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
            None => Ok(name),
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

    /// Whether a session could go into the room of this name now; changes nothing.
    ///
    /// # Errors
    /// The name is unfit or looks like another room's, the room is full, or there are too many rooms.
    pub fn check_room(&self, text: &str) -> Result<RoomName, Refusal> {
        let name = RoomName::parse(text)
            .map_err(|why| refuse(ErrorCode::BadRoom, [("why", why.to_string())]))?;
        let keys = name.keys();
        let full = u32::try_from(ROOM_MEMBERS_MAX).unwrap_or(u32::MAX);
        if let Some(entry) = self.room_names.same(&keys).and_then(|id| self.rooms.get(&id)) {
            if entry.members >= full {
                return Err(refuse(ErrorCode::RoomFull, [("max", full.to_string())]));
            }
            return Ok(entry.name.clone());
        }
        if let Some(other) = self.room_names.alike(&keys, None).and_then(|id| self.rooms.get(&id)) {
            let args = [("room", name.to_string()), ("like", other.name.to_string())];
            return Err(refuse(ErrorCode::RoomLooksTaken, args));
        }
        if self.rooms.len() >= ROOMS_MAX {
            return Err(refuse(ErrorCode::TooManyRooms, [("max", ROOMS_MAX.to_string())]));
        }
        Ok(name)
    }

    /// Puts a session that is in no room into one. `None` if the session is gone.
    ///
    /// # Errors
    /// As `check_room`.
    pub fn place(&mut self, session: SessionId, room: &str) -> Result<Option<Place>, Refusal> {
        let name = self.check_room(room)?;
        let Some(entry) = self.sessions.get_mut(&session) else { return Ok(None) };
        let found = self.room_names.same(&name.keys());
        let id = found.unwrap_or(RoomId(self.next_room));
        entry.room = Some(id);
        if found.is_none() {
            self.next_room += 1;
            self.room_names.insert(name.keys(), id);
            self.rooms.insert(id, RoomEntry { name: name.clone(), members: 0 });
        }
        if let Some(room) = self.rooms.get_mut(&id) {
            room.members += 1;
        }
        Ok(Some(Place { room: id, name, created: found.is_none() }))
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
        if closed {
            let keys = room.name.keys();
            self.room_names.remove(&keys, id);
            self.rooms.remove(&id);
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
    pub fn rename(&mut self, session: SessionId, text: &str) -> Result<UserName, Refusal> {
        let own = self.sessions.get(&session).map(|entry| entry.member);
        let name = self.fit_name(text, own)?;
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
            .map(|r| RoomInfo { name: r.name.clone(), members: r.members, locked: false })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::secret::Secret;

    fn secret(k: u8) -> ResumeSecret {
        Secret::new([k; 32])
    }

    fn lobby(names: &[&str]) -> LobbyCore {
        let mut lobby = LobbyCore::new(7);
        for (k, name) in names.iter().enumerate() {
            lobby.admit(SessionId(k as u64), name, None, secret(k as u8)).unwrap();
        }
        lobby
    }

    fn code(refusal: Refusal) -> ErrorCode {
        match *refusal.0 {
            ServerMessage::Error { code, .. } => code,
            other => panic!("{other:?}"),
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
            let refused = lobby.admit(SessionId(9), name, None, secret(9)).unwrap_err();
            assert_eq!(code(refused), expected, "{name}");
        }
        assert!(lobby.admit(SessionId(9), "Anna", None, secret(9)).is_ok());
        lobby.remove(SessionId(0));
        assert!(lobby.admit(SessionId(10), "pace", None, secret(10)).is_ok());
    }

    #[test]
    fn a_name_can_be_changed_to_another_case_of_itself() {
        let mut lobby = lobby(&["anna", "bert"]);
        assert_eq!(lobby.rename(SessionId(0), "ANNA").unwrap().as_str(), "ANNA");
        assert_eq!(code(lobby.rename(SessionId(0), "Bert").unwrap_err()), ErrorCode::NameTaken);
        assert_eq!(lobby.find_user("AnNa"), Some(SessionId(0)));
        lobby.rename(SessionId(0), "carl").unwrap();
        assert_eq!(lobby.find_user("anna"), None);
        lobby.admit(SessionId(9), "anna", None, secret(9)).unwrap();
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
        let wrong = lobby.admit(SessionId(5), "anna", Some(&secret(77)), secret(5));
        assert_eq!(code(wrong.unwrap_err()), ErrorCode::NameTaken);
        let right = lobby.admit(SessionId(6), "whatever", Some(&secret(0)), secret(6)).unwrap();
        assert_eq!(right.name.as_str(), "anna");
        let (old, room) = right.resumed.unwrap();
        assert_eq!((old, room.unwrap().as_str()), (SessionId(0), "hall"));
        assert_eq!(lobby.remove(SessionId(0)), None, "the old session has nothing left to lose");
        assert_eq!(lobby.rooms()[0].members, 1);
        let used = lobby.admit(SessionId(7), "anna", Some(&secret(0)), secret(7));
        assert!(used.is_err(), "a secret is good once");
        assert!(lobby.remove(SessionId(6)).unwrap().closed);
        assert_eq!(lobby.sizes(), (0, 0));
    }

    #[test]
    fn ssrcs_are_never_given_twice() {
        let mut lobby = LobbyCore::new(u32::MAX);
        let mut seen = std::collections::BTreeSet::new();
        for k in 0..1000 {
            let admission = lobby.admit(SessionId(k), "x", None, secret(0)).unwrap();
            for n in 0..SSRCS_PER_SESSION {
                assert!(seen.insert(admission.base.0.wrapping_add(n)));
            }
            assert_eq!(admission.base.0 % SSRCS_PER_SESSION, 0);
            lobby.remove(SessionId(k));
        }
    }
}
