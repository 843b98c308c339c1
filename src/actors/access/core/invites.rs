//! Invites: making them, what ends them. Whom one lets in is decided where people come in.

use super::{
    AccessCore, Change, InviteRecord, InviteTerms, Refusal, in_force, refuse, room_key, token_hash,
    too_many,
};
use crate::net::invite::InviteToken;
use crate::net::limits::{INVITE_MEMORY, INVITES_MAX};
use crate::net::message::ErrorCode;
use crate::net::moderation::InviteInfo;
use crate::net::name::RoomName;
use std::collections::BTreeSet;

impl AccessCore {
    /// Makes an invite for the bearer of a token.
    ///
    /// # Errors
    /// There are too many.
    pub fn invite(
        &mut self,
        token: &InviteToken,
        terms: InviteTerms,
        by: &str,
        now_ms: u64,
    ) -> Result<u64, Refusal> {
        self.expire(now_ms);
        if self.invites.len() >= INVITES_MAX {
            return Err(too_many("invites", INVITES_MAX));
        }
        let id = self.fresh_id();
        let invite = InviteRecord {
            id,
            hash: token_hash(token),
            room: terms.room,
            operator: terms.operator,
            uses_left: terms.uses.max(1),
            until_ms: terms.until_ms,
            by: by.to_owned(),
            maker: terms.maker,
            used_by: BTreeSet::new(),
        };
        self.note(now_ms, by, "invite", &format!("invite {id}"), &describe(&invite));
        self.by_hash.insert(invite.hash, id);
        self.changes.push(Change::Invite(invite.clone()));
        self.invites.insert(id, invite);
        Ok(id)
    }

    /// Makes an invite worthless.
    ///
    /// # Errors
    /// There is none of this number.
    pub fn revoke_invite(&mut self, id: u64, by: &str, now_ms: u64) -> Result<(), Refusal> {
        if !self.drop_invite(id) {
            return Err(refuse(ErrorCode::NoSuchEntry, [("id", id.to_string())]));
        }
        self.note(now_ms, by, "revoke invite", &format!("invite {id}"), "");
        Ok(())
    }

    pub(super) fn drop_invite(&mut self, id: u64) -> bool {
        let Some(invite) = self.invites.remove(&id) else { return false };
        self.by_hash.remove(&invite.hash);
        self.changes.push(Change::InviteGone(id));
        true
    }

    /// One invite, used-up and expired ones included.
    #[must_use]
    pub fn invite_record(&self, id: u64) -> Option<&InviteRecord> {
        self.invites.get(&id)
    }

    /// The invites that can still be used, by number.
    #[must_use]
    pub fn invites(&self, now_ms: u64) -> Vec<InviteInfo> {
        let usable = |i: &&InviteRecord| i.uses_left > 0 && in_force(i.until_ms, now_ms);
        let info = |i: &InviteRecord| InviteInfo {
            id: i.id,
            room: i.room.clone(),
            operator: i.operator,
            uses_left: i.uses_left,
            until_ms: i.until_ms,
            by: i.by.clone(),
        };
        self.invites.values().filter(usable).map(info).collect()
    }

    /// Forgets what has ended: invites that have expired long ago, sanctions that are over.
    pub fn expire(&mut self, now_ms: u64) {
        // Invites that are good no more stay for a while, so that whoever used one may come with it
        // again, and whoever is late is told why; they go when they are in the way.
        let crowded = self.invites.len() >= INVITES_MAX / 2;
        let memory = u64::try_from(INVITE_MEMORY.as_millis()).unwrap_or(u64::MAX);
        let forgotten = |until: u64| until.saturating_add(memory);
        let over = |i: &InviteRecord| {
            !in_force(i.until_ms.map(forgotten), now_ms)
                || (crowded && (i.uses_left == 0 || !in_force(i.until_ms, now_ms)))
        };
        let gone: Vec<u64> = self.invites.values().filter(|i| over(i)).map(|i| i.id).collect();
        for id in gone {
            self.drop_invite(id);
        }
        let sanctions = self.sanctions.values().map(|s| &s.record);
        let over = sanctions.filter(|s| !in_force(s.until_ms, now_ms));
        let gone: Vec<u64> = over.map(|s| s.id).collect();
        for id in gone {
            self.drop_sanction(id);
        }
    }

    /// What invites open of a room ends: those of its moderators are worth nothing any more, those of operators open
    /// the server alone.
    pub(super) fn close_invites(&mut self, room: &RoomName) {
        let key = room_key(room);
        let mut gone = Vec::new();
        for invite in self.invites.values_mut() {
            if invite.room.as_ref().is_none_or(|room| room_key(room) != key) {
                continue;
            }
            let maker = invite.maker.and_then(|maker| self.identities.get(&maker));
            if invite.maker.is_none() || maker.is_some_and(|maker| maker.operator) {
                invite.room = None;
                self.changes.push(Change::Invite(invite.clone()));
            } else {
                gone.push(invite.id);
            }
        }
        self.drop_invites(gone);
    }

    pub(super) fn drop_invites(&mut self, gone: Vec<u64>) {
        for id in gone {
            self.drop_invite(id);
        }
    }
}

fn describe(invite: &InviteRecord) -> String {
    let room = invite.room.as_ref().map(|room| format!("room {room}, ")).unwrap_or_default();
    let operator = if invite.operator { "operator, " } else { "" };
    format!("{room}{operator}{} use(s)", invite.uses_left)
}
