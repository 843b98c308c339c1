//! Bans and silences: whom they meet, and where.

use super::{
    AccessCore, Change, Facts, InviteRecord, Refusal, SanctionRecord, Subject, alike, in_force,
    refuse, room_key, too_many,
};
use crate::net::limits::SANCTIONS_MAX;
use crate::net::message::{ErrorCode, ServerMessage};
use crate::net::moderation::{Role, Sanction, SanctionKind};
use crate::net::name::{NameKeys, RoomName, UserName};

/// A sanction, and what it would take time to find out at each look.
#[derive(Debug)]
pub(super) struct InForce {
    pub record: SanctionRecord,
    /// Its room's name without case.
    pub room: Option<String>,
}

impl InForce {
    pub fn new(record: SanctionRecord) -> Self {
        Self { room: record.room.as_ref().map(room_key), record }
    }
}

impl SanctionRecord {
    /// Whether it is meant for somebody of this name and these facts, wherever he is.
    #[must_use]
    pub fn meets(&self, name: &UserName, facts: &Facts) -> bool {
        self.meets_keys(&mut None, name, facts)
    }

    /// The same, with what the name must differ in, once it had to be found out.
    fn meets_keys(&self, keys: &mut Option<NameKeys>, name: &UserName, facts: &Facts) -> bool {
        self.subjects.iter().any(|subject| match subject {
            Subject::Identity(id) => facts.identity == Some(*id),
            Subject::Device(device) => facts.device == Some(*device),
            // Most sanctions meet nobody by his name, and it takes time to compare.
            Subject::Name(other) => alike(other, keys.get_or_insert_with(|| name.keys())),
            Subject::Network(network) => {
                facts.address.is_some_and(|address| network.contains(&address.to_canonical()))
            }
        })
    }
}

impl AccessCore {
    /// Bans or silences. The record's number is set here.
    ///
    /// # Errors
    /// There are too many.
    pub fn sanction(&mut self, record: SanctionRecord, now_ms: u64) -> Result<u64, Refusal> {
        self.expire(now_ms);
        if self.sanctions.len() >= SANCTIONS_MAX {
            return Err(too_many("bans", SANCTIONS_MAX));
        }
        let id = self.fresh_id();
        let record = SanctionRecord { id, ..record };
        self.changes.push(Change::Sanction(record.clone()));
        self.sanctions.insert(id, InForce::new(record));
        Ok(id)
    }

    /// A sanction by its number.
    #[must_use]
    pub fn sanction_record(&self, id: u64) -> Option<&SanctionRecord> {
        Some(&self.sanctions.get(&id)?.record)
    }

    /// Lifts a sanction. What it was.
    ///
    /// # Errors
    /// There is none of this number.
    pub fn lift(&mut self, id: u64) -> Result<SanctionRecord, Refusal> {
        let error = || refuse(ErrorCode::NoSuchEntry, [("id", id.to_string())]);
        self.drop_sanction(id).ok_or_else(error)
    }

    pub(super) fn drop_sanction(&mut self, id: u64) -> Option<SanctionRecord> {
        let InForce { record, .. } = self.sanctions.remove(&id)?;
        self.changes.push(Change::SanctionGone(id));
        Some(record)
    }

    /// What is in force, by number.
    #[must_use]
    pub fn sanctions(&self, now_ms: u64) -> Vec<Sanction> {
        let info = |s: &SanctionRecord| Sanction {
            id: s.id,
            kind: s.kind,
            target: s.label.clone(),
            room: s.room.clone(),
            until_ms: s.until_ms,
            by: s.by.clone(),
            reason: s.reason.clone(),
        };
        let in_force = |s: &&SanctionRecord| in_force(s.until_ms, now_ms);
        self.sanctions.values().map(|s| &s.record).filter(in_force).map(info).collect()
    }

    /// The sanction of this kind that meets somebody here and now: on the whole server, or in this room.
    #[must_use]
    pub fn sanctioned(
        &self,
        kind: SanctionKind,
        name: &UserName,
        facts: &Facts,
        room: Option<&RoomName>,
        now_ms: u64,
    ) -> Option<&SanctionRecord> {
        let key = room.map(room_key);
        let mut keys = None;
        let candidates = self.sanctions.values().filter(|s| s.record.kind == kind);
        let candidates = candidates.filter(|s| in_force(s.record.until_ms, now_ms));
        let mut here = candidates.filter(|s| s.room.is_none() || s.room == key);
        here.find(|s| s.record.meets_keys(&mut keys, name, facts)).map(|s| &s.record)
    }

    /// Numbers of the silences that are meant for somebody: those of this room, or of any place.
    #[must_use]
    pub fn silences(&self, name: &UserName, facts: &Facts, room: Option<&RoomName>) -> Vec<u64> {
        let key = room.map(room_key);
        let mut keys = None;
        let mutes = self.sanctions.values().filter(|s| s.record.kind == SanctionKind::Mute);
        let here = mutes.filter(|s| key.is_none() || s.room == key);
        here.filter(|s| s.record.meets_keys(&mut keys, name, facts)).map(|s| s.record.id).collect()
    }

    /// How many sanctions and usable invites there are of one room.
    #[must_use]
    pub fn count_of_room(&self, room: &RoomName, now_ms: u64) -> (usize, usize) {
        let key = room_key(room);
        let leads = |i: &&InviteRecord| {
            i.uses_left > 0
                && in_force(i.until_ms, now_ms)
                && i.room.as_ref().is_some_and(|room| room_key(room) == key)
        };
        let sanctions = self.sanctions.values().filter(|s| s.room.as_ref() == Some(&key)).count();
        (sanctions, self.invites.values().filter(leads).count())
    }

    /// Whether somebody is banned: from the server, or from this room.
    ///
    /// # Errors
    /// He is.
    pub fn refuse_banned(
        &self,
        name: &UserName,
        facts: &Facts,
        room: Option<&RoomName>,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        // Nobody can lock the operators out.
        if self.role(facts.identity) == Some(Role::Operator) {
            return Ok(());
        }
        match self.sanctioned(SanctionKind::Ban, name, facts, room, now_ms) {
            None => Ok(()),
            Some(ban) => Err(banned(ban)),
        }
    }

    /// The sanctions of one room, by number.
    pub(super) fn sanctions_of(&self, room: &RoomName) -> Vec<u64> {
        let key = Some(room_key(room));
        let of_room = self.sanctions.values().filter(|s| s.room == key);
        of_room.map(|s| s.record.id).collect()
    }

    /// The bans and silences of a room go with its name.
    pub(super) fn rename_sanctions(&mut self, from: &RoomName, to: &RoomName) {
        let (from, to_key) = (Some(room_key(from)), Some(room_key(to)));
        for sanction in self.sanctions.values_mut().filter(|s| s.room == from) {
            sanction.room.clone_from(&to_key);
            sanction.record.room = Some(to.clone());
            self.changes.push(Change::Sanction(sanction.record.clone()));
        }
    }
}

/// The answer to somebody who is banned.
#[must_use]
pub fn banned(ban: &SanctionRecord) -> Refusal {
    let mut args = vec![("by", ban.by.clone())];
    args.extend(ban.until_ms.map(|until| ("until_ms", until.to_string())));
    args.extend(ban.reason.clone().map(|why| ("why", why)));
    args.extend(ban.room.as_ref().map(|room| ("room", room.to_string())));
    let args = args.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Refusal(Box::new(ServerMessage::Error { code: ErrorCode::Banned, args }))
}
