//! Who may do what over whom, and what follows from it. Pure.
//!
//! Operators keep order everywhere, moderators in their rooms; the server's own console may do everything.
//! Nobody acts on himself or on an operator, and moderators not on each other; that holds for what
//! a ban is written against and for whom it meets.

mod person;
mod sanction;
#[cfg(test)]
mod tests;

use self::person::{Chair, Person};
use crate::actors::access::core::InviteTerms;
use crate::actors::access::password::PasswordRecord;
use crate::actors::lobby::core::{LobbyCore, Refusal};
use crate::net::ids::{RoomId, SessionId};
use crate::net::invite::{InviteToken, Issuer};
use crate::net::limits::{
    INVITE_LIFETIME, INVITE_LIFETIME_MAX, INVITE_USES_MAX, REASON_CHARS_MAX, ROOM_INVITE_MAX,
    ROOM_INVITES_MAX,
};
use crate::net::message::{ErrorCode, GoodbyeReason, LeaveReason, ServerMessage};
use crate::net::moderation::{Moderation, Report, Role};
use crate::net::name::{RoomName, UserName, printable};
use crate::net::secret::Password;
use std::time::Duration;

/// Who gives an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orderer {
    /// Whoever may open the server's control socket: may do everything.
    Console,
    /// A session.
    Session(SessionId),
}

/// What an order may need and the core cannot make.
#[derive(Debug, Clone)]
pub struct Supplies<'a> {
    /// What stands in invites; none without TLS.
    pub issuer: Option<&'a Issuer>,
    /// Random, for an invite.
    pub token: Option<InviteToken>,
    /// The order's password, hashed.
    pub password: Option<PasswordRecord>,
}

/// What comes of an order.
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// It is decided: do this, then report.
    Done {
        /// What to do, in this order.
        actions: Vec<Action>,
        /// What to report when it is in force and on disk.
        report: Report,
    },
    /// Hash this password, and ask again with it.
    Hash(Password),
    /// Report so many of the audit log's last entries.
    Audit(u32),
}

/// What follows from an order, for the lobby to carry out.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Ends a session.
    SendAway {
        /// Which.
        session: SessionId,
        /// What the others are told.
        reason: LeaveReason,
        /// What he is told: reason and words of a goodbye.
        goodbye: (GoodbyeReason, ServerMessage),
    },
    /// Takes a session out of its room.
    TakeOut {
        /// Which.
        session: SessionId,
        /// What he and the others are told.
        reason: LeaveReason,
        /// Who did it.
        by: String,
        /// Why.
        why: Option<String>,
    },
    /// Puts a session into a room, out of the one before.
    PutInto {
        /// Which.
        session: SessionId,
        /// The room.
        room: RoomName,
        /// Who did it.
        by: String,
    },
    /// Everyone out of a room at once.
    Empty {
        /// Which.
        room: RoomId,
        /// Its name.
        name: RoomName,
        /// Who did it.
        by: String,
        /// Why.
        why: Option<String>,
    },
    /// Tells a room its new name.
    NameRoom {
        /// Which.
        room: RoomId,
        /// The name before.
        from: RoomName,
        /// The name now.
        to: RoomName,
        /// Who did it.
        by: String,
    },
    /// Tells a session and its room its new name.
    NameUser {
        /// Which.
        session: SessionId,
        /// The name now.
        name: UserName,
    },
    /// What the server thinks of a session may have changed.
    Review(SessionId),
    /// Whether a room is kept may have changed.
    Settle(RoomName),
}

fn refuse<const N: usize>(code: ErrorCode, args: [(&str, String); N]) -> Refusal {
    Refusal(Box::new(ServerMessage::error(code, args)))
}

fn not_allowed() -> Refusal {
    refuse(ErrorCode::NotAllowed, [])
}

fn done(actions: Vec<Action>) -> Result<Decision, Refusal> {
    Ok(Decision::Done { actions, report: Report::Done })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A reason on one line, fit to show; none if there is nothing in it.
fn worded(reason: Option<&str>) -> Result<Option<String>, Refusal> {
    let text = printable(reason.unwrap_or_default()).replace('\n', " ");
    let text = text.trim();
    if text.chars().count() > REASON_CHARS_MAX {
        return Err(refuse(ErrorCode::TextTooLong, [("max", REASON_CHARS_MAX.to_string())]));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// Decides an order, and puts in force what needs no actor.
///
/// # Errors
/// He may not; or whom or what it is meant for does not exist; or there is no place for it.
pub fn decide(
    core: &mut LobbyCore,
    by: Orderer,
    order: &Moderation,
    supplies: Supplies<'_>,
    now_ms: u64,
) -> Result<Decision, Refusal> {
    let chair = Chair::of(core, by)?;
    let mut desk = Desk { core, chair, supplies, now_ms };
    match order {
        Moderation::Kick { name, reason } => desk.kick(name, reason.as_deref()),
        Moderation::Ban { target, room, seconds, reason } => {
            desk.ban(target, room.as_deref(), *seconds, reason.as_deref())
        }
        Moderation::Mute { name, seconds, reason } => desk.mute(name, *seconds, reason.as_deref()),
        Moderation::Unmute { name } => desk.unmute(name),
        Moderation::Lift { id } => desk.lift(*id),
        Moderation::ListSanctions => Ok(desk.sanctions()),
        Moderation::Move { name, room } => desk.relocate(name, room),
        Moderation::CloseRoom { room, reason } => desk.close_room(room, reason.as_deref()),
        Moderation::RenameRoom { room, to } => desk.rename_room(room, to),
        Moderation::RenameUser { name, to } => desk.rename_user(name, to),
        Moderation::RoomPassword { room, password } => desk.room_password(room, password.as_ref()),
        Moderation::Grant { name, role, room } => desk.grant(name, *role, room.as_deref()),
        Moderation::Revoke { name, role, room } => desk.revoke(name, *role, room.as_deref()),
        Moderation::Invite { room, seconds, uses, operator } => {
            desk.invite(room.as_deref(), *seconds, *uses, *operator)
        }
        Moderation::ListInvites => Ok(desk.invites()),
        Moderation::RevokeInvite { id } => desk.revoke_invite(*id),
        Moderation::ForgetName { name } => desk.forget_name(name),
        Moderation::Audit { last } => desk.chair.operates().map(|()| Decision::Audit(*last)),
        Moderation::Unknown => Err(refuse(ErrorCode::UnknownType, [])),
    }
}

/// One order being decided.
struct Desk<'a, 's> {
    core: &'a mut LobbyCore,
    chair: Chair,
    supplies: Supplies<'s>,
    now_ms: u64,
}

impl Desk<'_, '_> {
    fn note(&mut self, action: &str, target: &str, details: &[Option<String>]) {
        let detail: Vec<&str> = details.iter().filter_map(Option::as_deref).collect();
        let by = self.chair.name.as_str();
        self.core.access.note(self.now_ms, by, action, target, &detail.join(", "));
    }

    fn by(&self) -> String {
        self.chair.name.clone()
    }

    /// A room that is there, by its name.
    fn room(&self, text: &str) -> Result<(RoomId, RoomName), Refusal> {
        let id = self.core.find_room(text);
        let found = id.and_then(|id| Some((id, self.core.room_name(id)?.clone())));
        found.ok_or_else(|| refuse(ErrorCode::NoSuchRoom, [("room", printable(text))]))
    }

    // ---- people ----------------------------------------------------------------------------

    fn kick(&mut self, name: &str, reason: Option<&str>) -> Result<Decision, Refusal> {
        self.chair.keeps_order()?;
        let why = worded(reason)?;
        let person = Person::here(self.core, name)?;
        let (session, by) = (person.session()?, self.by());
        let room = self.core.room_of(session).and_then(|id| self.core.room_name(id)).cloned();
        let action = if self.chair.operates().is_ok() {
            self.chair.over(self.core, &person, None)?;
            let said = (Some(by), why.clone(), None);
            let reason = LeaveReason::Kicked;
            Action::SendAway { session, reason, goodbye: goodbye(GoodbyeReason::Kicked, said) }
        } else {
            let room = room.as_ref().ok_or_else(not_allowed)?;
            self.chair.moderates(self.core, room)?;
            self.chair.over(self.core, &person, Some(room))?;
            Action::TakeOut { session, reason: LeaveReason::Kicked, by, why: why.clone() }
        };
        let place = match action {
            Action::TakeOut { .. } => room.map(|room| format!("room {room}")),
            _ => None,
        };
        self.note("kick", person.name.as_str(), &[place, why]);
        done(vec![action])
    }

    /// The room's password and bans from it hold nobody up whom an operator puts there; its size does.
    fn relocate(&mut self, name: &str, room: &str) -> Result<Decision, Refusal> {
        self.chair.operates()?;
        let person = Person::here(self.core, name)?;
        self.chair.over(self.core, &person, None)?;
        let session = person.session()?;
        let to = self.core.find_room(room);
        if to.is_some() && to == self.core.room_of(session) {
            return done(Vec::new());
        }
        let room = self.core.check_room(room)?;
        self.note("move", person.name.as_str(), &[Some(format!("to room {room}"))]);
        done(vec![Action::PutInto { session, room, by: self.by() }])
    }

    fn rename_user(&mut self, name: &str, to: &str) -> Result<Decision, Refusal> {
        self.chair.operates()?;
        let person = Person::here(self.core, name)?;
        self.chair.over(self.core, &person, None)?;
        let session = person.session()?;
        let name = self.core.rename(session, to, self.now_ms)?;
        self.note("rename user", person.name.as_str(), &[Some(format!("to {name}"))]);
        done(vec![Action::NameUser { session, name }, Action::Review(session)])
    }

    fn forget_name(&mut self, name: &str) -> Result<Decision, Refusal> {
        self.chair.operates()?;
        let error = || refuse(ErrorCode::NotRegistered, [("name", printable(name))]);
        let name = UserName::parse(name).map_err(|_| error())?;
        let owner = self.core.access.owner_of(&name).ok_or_else(error)?;
        let person = Person::known(name.clone(), owner);
        self.chair.over(self.core, &person, None)?;
        let reviews = self.reviews(&person);
        self.core.unregister(&name, &self.chair.name, self.now_ms)?;
        done(reviews)
    }

    fn reviews(&self, person: &Person) -> Vec<Action> {
        let Some(id) = person.facts.identity else { return Vec::new() };
        self.core.sessions_of(id, &person.facts).into_iter().map(Action::Review).collect()
    }

    // ---- roles -----------------------------------------------------------------------------

    /// The room that a moderator's role is in: the one that is named, or the one that the orderer is in.
    fn role_room(&self, room: Option<&str>) -> Result<RoomName, Refusal> {
        match room {
            Some(text) => self.core.room_named(text),
            None => self.chair.room.clone().ok_or_else(|| refuse(ErrorCode::NotInRoom, [])),
        }
    }

    fn grant(&mut self, name: &str, role: Role, room: Option<&str>) -> Result<Decision, Refusal> {
        self.chair.operates()?;
        let mut person = Person::find(self.core, name)?;
        let room = match role {
            Role::Operator => None,
            Role::Moderator => Some(self.role_room(room)?),
            Role::Unknown => return Err(refuse(ErrorCode::UnknownType, [])),
        };
        let id = self.core.access.make_known(&person.facts, self.now_ms)?;
        // Whoever is here on this device is known from now on.
        for session in self.core.sessions_of(id, &person.facts) {
            self.core.set_identity(session, id);
        }
        person.facts.identity = Some(id);
        match &room {
            None => self.core.access.set_operator(id, true),
            Some(room) => self.core.access.set_moderator(room, id, true)?,
        }
        self.role_changed("grant", &person, room)
    }

    fn revoke(&mut self, name: &str, role: Role, room: Option<&str>) -> Result<Decision, Refusal> {
        self.chair.operates()?;
        let person = Person::find(self.core, name)?;
        self.chair.over(self.core, &person, None)?;
        let room = match role {
            Role::Operator => None,
            Role::Moderator => Some(self.role_room(room)?),
            Role::Unknown => return Err(refuse(ErrorCode::UnknownType, [])),
        };
        let Some(id) = person.facts.identity else {
            return Err(refuse(ErrorCode::NobodyKnown, [("name", person.name.to_string())]));
        };
        match &room {
            None => self.core.access.set_operator(id, false),
            Some(room) => self.core.access.set_moderator(room, id, false)?,
        }
        self.role_changed("revoke", &person, room)
    }

    fn role_changed(
        &mut self,
        action: &str,
        person: &Person,
        room: Option<RoomName>,
    ) -> Result<Decision, Refusal> {
        let role = match &room {
            None => "operator".to_owned(),
            Some(room) => format!("moderator of room {room}"),
        };
        self.note(action, person.name.as_str(), &[Some(role)]);
        let mut actions = self.reviews(person);
        actions.extend(room.map(Action::Settle));
        done(actions)
    }

    // ---- rooms -----------------------------------------------------------------------------

    fn close_room(&mut self, room: &str, reason: Option<&str>) -> Result<Decision, Refusal> {
        self.chair.operates()?;
        let why = worded(reason)?;
        let (room, name) = self.room(room)?;
        self.core.access.forget_room(&name);
        self.note("close room", name.as_str(), std::slice::from_ref(&why));
        let empty = Action::Empty { room, name: name.clone(), by: self.by(), why };
        done(vec![empty, Action::Settle(name)])
    }

    fn rename_room(&mut self, room: &str, to: &str) -> Result<Decision, Refusal> {
        self.chair.operates()?;
        let (room, from) = self.room(room)?;
        let to = self.core.rename_room(room, to)?;
        self.note("rename room", from.as_str(), &[Some(format!("to {to}"))]);
        done(vec![Action::NameRoom { room, from, to, by: self.by() }])
    }

    fn room_password(
        &mut self,
        room: &str,
        password: Option<&Password>,
    ) -> Result<Decision, Refusal> {
        self.chair.keeps_order()?;
        let room = match self.chair.operates() {
            // An operator may keep a room that nobody is in yet.
            Ok(()) => self.core.room_named(room)?,
            Err(_) => self.room(room)?.1,
        };
        self.chair.moderates(self.core, &room)?;
        let record = match (password, self.supplies.password.take()) {
            (None, _) => None,
            (Some(password), None) => return Ok(Decision::Hash(password.clone())),
            (Some(_), Some(record)) => Some(record),
        };
        let what = if record.is_some() { "set" } else { "removed" };
        self.core.access.set_room_password(&room, record)?;
        self.note("room password", room.as_str(), &[Some(what.to_owned())]);
        done(vec![Action::Settle(room)])
    }

    // ---- invites ---------------------------------------------------------------------------

    fn invite(
        &mut self,
        room: Option<&str>,
        seconds: Option<u64>,
        uses: Option<u32>,
        operator: bool,
    ) -> Result<Decision, Refusal> {
        self.chair.keeps_order()?;
        let (issuer, token) = match (self.supplies.issuer, self.supplies.token.take()) {
            (None, _) => return Err(refuse(ErrorCode::NeedsTls, [])),
            (_, None) => return Err(refuse(ErrorCode::Busy, [])),
            (Some(issuer), Some(token)) => (issuer, token),
        };
        let operates = self.chair.operates();
        let room = match (room, &operates) {
            (None, Ok(())) => None,
            (Some(room), _) => Some(self.core.room_named(room)?),
            (None, Err(_)) => Some(self.chair.room.clone().ok_or_else(not_allowed)?),
        };
        let (uses_max, lifetime_max) = match (&operates, &room) {
            (Ok(()), _) => (INVITE_USES_MAX, INVITE_LIFETIME_MAX),
            (Err(_), Some(room)) => {
                self.chair.moderates(self.core, room)?;
                if operator {
                    return Err(not_allowed());
                }
                if self.core.access.count_of_room(room, self.now_ms).1 >= ROOM_INVITES_MAX {
                    return Err(too_many("invites", ROOM_INVITES_MAX));
                }
                ROOM_INVITE_MAX
            }
            (Err(_), None) => return Err(not_allowed()),
        };
        let uses = uses.unwrap_or(1).max(1);
        if uses > uses_max {
            return Err(too_many("uses", uses_max));
        }
        let seconds = seconds.unwrap_or(INVITE_LIFETIME.as_secs()).max(1);
        if seconds > lifetime_max.as_secs() {
            return Err(too_many("seconds", lifetime_max.as_secs()));
        }
        let until = self.now_ms.saturating_add(millis(Duration::from_secs(seconds)));
        let (until_ms, maker) = (Some(until), self.chair.identity());
        let terms = InviteTerms { room: room.clone(), operator, uses, until_ms, maker };
        let id = self.core.access.invite(&token, terms, &self.chair.name, self.now_ms)?;
        let line = issuer.invite(room, token).to_string();
        Ok(Decision::Done { actions: Vec::new(), report: Report::Invited { id, line } })
    }

    fn invites(&self) -> Decision {
        let mut invites = self.core.access.invites(self.now_ms);
        invites.retain(|invite| {
            let room = invite.room.as_ref();
            // An operator's invite is no moderator's business, whatever room it leads to.
            self.chair.operates().is_ok()
                || (!invite.operator
                    && room.is_some_and(|room| self.chair.moderates(self.core, room).is_ok()))
        });
        let total = u64::try_from(invites.len()).unwrap_or(0);
        Decision::Done { actions: Vec::new(), report: Report::Invites { invites, total } }
    }

    fn revoke_invite(&mut self, id: u64) -> Result<Decision, Refusal> {
        self.chair.keeps_order()?;
        let missing = || refuse(ErrorCode::NoSuchEntry, [("id", id.to_string())]);
        let invite = self.core.access.invite_record(id).ok_or_else(missing)?;
        if self.chair.operates().is_err() {
            // What is not in his list does not exist for him.
            let room = invite.room.clone().filter(|_| !invite.operator).ok_or_else(missing)?;
            self.chair.moderates(self.core, &room).map_err(|_| missing())?;
        }
        self.core.access.revoke_invite(id, &self.chair.name, self.now_ms)?;
        done(Vec::new())
    }
}

fn too_many(what: &str, max: impl ToString) -> Refusal {
    refuse(ErrorCode::TooMany, [("what", what.to_owned()), ("max", max.to_string())])
}

/// By whom, why, and until when.
type Said = (Option<String>, Option<String>, Option<u64>);

fn goodbye(reason: GoodbyeReason, (by, why, until_ms): Said) -> (GoodbyeReason, ServerMessage) {
    (reason, ServerMessage::Goodbye { reason, by, why, until_ms })
}
