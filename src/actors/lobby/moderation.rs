//! The lobby's side of keeping order: carries out what the core decides, and reports when it is in
//! force in every forwarder and on disk.

pub mod core;

use self::core::{Action, Decision, Orderer, Supplies, decide};
use super::core::Refusal;
use super::{Join, Lobby};
use crate::actors::access::attempts::Origin;
use crate::actors::access::store::NotWritten;
use crate::actors::room;
use crate::actors::room::core::Change;
use crate::net::ids::{RoomId, SessionId};
use crate::net::limits::{AUDIT_ANSWER_MAX, REPORT_BYTES_MAX};
use crate::net::message::{ErrorCode, LeaveReason, ServerMessage};
use crate::net::moderation::{Moderation, Report};
use crate::net::name::{RoomName, UserName};
use crate::net::secret::Secret;
use crate::net::{clock, frame};
use actix::prelude::*;
use serde::Serialize;
use std::future::ready;

/// Session to lobby: keep order. Answered by a report or an error in the client's outbox.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Moderate {
    /// Which session.
    pub session: SessionId,
    /// How.
    pub order: Moderation,
    /// The request.
    pub re: Option<u32>,
}

/// Control socket to lobby: keep order. Answered by a report or an error.
#[derive(Message)]
#[rtype(result = "ServerMessage")]
pub struct Command(
    /// How.
    pub Moderation,
);

/// Control socket to lobby: who is here?
#[derive(Message)]
#[rtype(result = "RollCall")]
pub struct Roll;

/// Everyone on the server, as far as an answer has place for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RollCall {
    /// Rooms by name, and who is in them.
    pub rooms: Vec<(RoomName, Vec<UserName>)>,
    /// Users who are in no room.
    pub elsewhere: Vec<UserName>,
    /// How many users there are.
    pub users: usize,
}

/// Lobby to session: somebody puts it into another room. Answered when it is there.
#[derive(Message)]
#[rtype(result = "Result<(), Refusal>")]
pub struct Transfer {
    /// The room.
    pub room: RoomName,
    /// Who does it.
    pub by: String,
}

/// Session to lobby: into this room, as somebody wants it.
#[derive(Message)]
#[rtype(result = "Result<(), Refusal>")]
pub struct MoveIn {
    /// With what it comes.
    pub join: Join,
    /// Who does it.
    pub by: String,
}

/// What is still under way of an order.
#[derive(Default)]
struct Works {
    pending: Vec<ResponseFuture<Result<(), Refusal>>>,
    /// What sessions are told when they are out of their rooms in every forwarder.
    told: Vec<(SessionId, ServerMessage)>,
    fenced: bool,
}

type Answering = ResponseActFuture<Lobby, ServerMessage>;

fn refuse<const N: usize>(code: ErrorCode, args: [(&str, String); N]) -> Refusal {
    Refusal(Box::new(ServerMessage::error(code, args)))
}

fn at_once(answer: ServerMessage) -> Answering {
    Box::pin(actix::fut::ready(answer))
}

/// As many of these as fit into a report, from the front.
fn fitting<T: Serialize>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut left = REPORT_BYTES_MAX;
    let fits = |item: &T| {
        let size = frame::encode(item).map_or(usize::MAX, |bytes| bytes.len());
        let fits = size <= left;
        left = left.saturating_sub(size);
        fits
    };
    items.into_iter().take_while(fits).collect()
}

fn fitted(report: Report) -> Report {
    match report {
        Report::Sanctions { sanctions, total } => {
            Report::Sanctions { sanctions: fitting(sanctions), total }
        }
        Report::Invites { invites, total } => Report::Invites { invites: fitting(invites), total },
        report => report,
    }
}

impl Lobby {
    /// Decides an order, carries it out, and answers when it is in force and on disk.
    fn moderate(&mut self, by: Orderer, order: Moderation, supplied: Option<Hashed>) -> Answering {
        if self.store.overfull() {
            return at_once(ServerMessage::error(ErrorCode::NotKept, []));
        }
        let token = match order {
            Moderation::Invite { .. } => Secret::random().ok(),
            _ => None,
        };
        let supplies = Supplies { issuer: self.issuer.as_ref(), token, password: supplied };
        let decision = decide(&mut self.core, by, &order, supplies, clock::unix_ms());
        match decision {
            Err(Refusal(message)) => {
                // What was begun, such as somebody made known, is kept like everything else.
                let commit = self.commit();
                Box::pin(commit.on_disk().into_actor(self).map(|_, _, _| *message))
            }
            Ok(Decision::Audit(last)) => at_once(self.audit(last)),
            Ok(Decision::Hash(password)) => {
                let hasher = self.hasher.clone();
                let facts = match by {
                    Orderer::Session(session) => self.core.facts(session),
                    Orderer::Console => None,
                };
                let origin = Origin::of(facts.and_then(|facts| facts.address));
                let hashed = async move { hasher.hash(origin, password).await };
                Box::pin(hashed.into_actor(self).then(move |hashed, lobby, _| match hashed {
                    // Judged once more: he may not be what he was.
                    Ok(record) => lobby.moderate(by, order, Some(record)),
                    Err(_) => at_once(ServerMessage::error(ErrorCode::Busy, [])),
                }))
            }
            Ok(Decision::Done { actions, report }) => self.carry_out(actions, fitted(report)),
        }
    }

    fn audit(&self, last: u32) -> ServerMessage {
        let last = usize::try_from(last.min(AUDIT_ANSWER_MAX)).unwrap_or(0);
        let entries: Vec<_> = self.store.audit(last).cloned().collect();
        let mut entries = fitting(entries.into_iter().rev());
        entries.reverse();
        ServerMessage::Report { report: Report::Audit { entries } }
    }

    fn carry_out(&mut self, actions: Vec<Action>, report: Report) -> Answering {
        let mut works = Works::default();
        for action in actions {
            self.act(action, &mut works);
        }
        let commit = self.commit();
        let Works { pending, told, .. } = works;
        let finished = async move {
            let mut refused = None;
            for work in pending {
                refused = refused.or(work.await.err());
            }
            (refused, commit.on_disk().await)
        };
        Box::pin(finished.into_actor(self).map(move |(refused, written), lobby, _| {
            for (session, left) in told {
                // Whoever has gone on to a room by himself in the meantime knows where he is.
                if lobby.core.room_of(session).is_none() {
                    lobby.answer(session, None, left);
                }
                lobby.tell_standing(session);
            }
            match (refused, written) {
                (Some(Refusal(message)), _) => *message,
                (None, Err(NotWritten)) => ServerMessage::error(ErrorCode::NotKept, []),
                (None, Ok(())) => ServerMessage::Report { report },
            }
        }))
    }

    fn act(&mut self, action: Action, works: &mut Works) {
        match action {
            Action::SendAway { session, reason, goodbye: (code, goodbye) } => {
                let done = self.send_away(session, reason, code, goodbye);
                works.pending.push(done);
            }
            Action::TakeOut { session, reason, by, why } => {
                let Some(room) = self.room_name(session) else { return };
                let Some(vacated) = self.core.vacate(session) else { return };
                self.placed(session, None);
                let left = self.leave_room(vacated, reason);
                works.pending.push(Box::pin(async move {
                    left.await;
                    Ok(())
                }));
                let (reason, by) = (Some(reason), Some(by));
                works.told.push((session, ServerMessage::Left { room, reason, by, why }));
            }
            Action::PutInto { session, room, by } => {
                let moved = self.transfer(session, Transfer { room, by });
                works.pending.push(moved);
            }
            Action::Empty { room, name, by, why } => {
                let emptied = self.empty(room);
                works.pending.extend(emptied.1);
                for session in emptied.0 {
                    let (room, why) = (name.clone(), why.clone());
                    let (reason, by) = (Some(LeaveReason::Closed), Some(by.clone()));
                    works.told.push((session, ServerMessage::Left { room, reason, by, why }));
                }
            }
            Action::NameRoom { room, from, to, by } => {
                if let Some(addr) = self.rooms.get(&room) {
                    let renamed = addr.send(room::Rename { from, to, by });
                    works.pending.push(Box::pin(async move {
                        // A room that has closed in the meantime has nobody to tell.
                        let _ = renamed.await;
                        Ok(())
                    }));
                }
            }
            Action::NameUser { session, name } => {
                let told = self.tell_name(session, None, name);
                works.pending.push(Box::pin(async move {
                    told.await;
                    Ok(())
                }));
            }
            Action::Review(session) => {
                self.tell_standing(session);
                // Once for all of them: what forwarders had begun before is out then.
                if !std::mem::replace(&mut works.fenced, true) {
                    let fence = self.routes.fence();
                    works.pending.push(Box::pin(async move {
                        fence.in_force().await;
                        Ok(())
                    }));
                }
            }
            Action::Settle(room) => self.core.sync_kept(&room),
        }
    }

    /// Ends a session: nothing of it is left here at once, and in the forwarders when this is done.
    fn send_away(
        &mut self,
        session: SessionId,
        reason: LeaveReason,
        code: crate::net::message::GoodbyeReason,
        goodbye: ServerMessage,
    ) -> ResponseFuture<Result<(), Refusal>> {
        self.placed(session, None);
        let vacated = self.core.remove(session);
        let revoked = self.clients.remove(&session).map(|client| {
            client.outbox.close_with(code, goodbye);
            self.routes.revoke_session(session, client.base)
        });
        let left = vacated.map(|vacated| self.leave_room(vacated, reason));
        Box::pin(async move {
            if let Some(left) = left {
                left.await;
            }
            if let Some(revoked) = revoked {
                revoked.in_force().await;
            }
            Ok(())
        })
    }

    /// Takes everyone out of a room at once and ends it: who was in it, and what is under way.
    fn empty(
        &mut self,
        room: RoomId,
    ) -> (Vec<SessionId>, Option<ResponseFuture<Result<(), Refusal>>>) {
        let sessions: Vec<SessionId> = self.core.sessions_in(room).collect();
        for session in &sessions {
            self.core.vacate(*session);
            self.placed(*session, None);
        }
        let Some(addr) = self.rooms.remove(&room) else { return (sessions, None) };
        let empty = addr.send(room::Empty);
        // Behind it in the same mailbox; once for each room.
        addr.do_send(room::Close);
        let emptied: ResponseFuture<Result<(), Refusal>> = Box::pin(async move {
            let _ = empty.await;
            Ok(())
        });
        (sessions, Some(emptied))
    }

    /// Asks a session to go elsewhere: it alone knows all that it brings along.
    fn transfer(
        &self,
        session: SessionId,
        transfer: Transfer,
    ) -> ResponseFuture<Result<(), Refusal>> {
        let gone = || refuse(ErrorCode::Busy, []);
        let client = self.clients.get(&session).and_then(|client| client.transfer.clone());
        let Some(client) = client else { return Box::pin(ready(Err(gone()))) };
        let sent = client.send(transfer);
        Box::pin(async move { sent.await.unwrap_or_else(|_| Err(gone())) })
    }

    /// Puts a session into a room, out of the one before, whatever the room's password.
    fn move_in(
        &mut self,
        MoveIn { join, by }: MoveIn,
    ) -> ResponseActFuture<Self, Result<(), Refusal>> {
        let session = join.session;
        if let Err(refusal) = self.core.check_room(&join.room) {
            return Box::pin(actix::fut::ready(Err(refusal)));
        }
        let before = self.room_name(session);
        let left: ResponseFuture<()> = match self.core.vacate(session) {
            Some(vacated) => self.leave_room(vacated, LeaveReason::Moved),
            None => Box::pin(ready(())),
        };
        self.placed(session, None);
        Box::pin(left.into_actor(self).map(move |(), lobby, _| {
            if lobby.core.room_of(session).is_some() {
                // He went somewhere by himself while he was on his way.
                return Err(refuse(ErrorCode::Busy, []));
            }
            if let Some(room) = before {
                let (reason, by) = (Some(LeaveReason::Moved), Some(by));
                let left = ServerMessage::Left { room, reason, by, why: None };
                lobby.answer(session, None, left);
            }
            let place = lobby.core.place(session, &join.room).inspect_err(|_| {
                // The last place went while he was on his way; he is in no room now, and knows it.
                lobby.tell_standing(session);
            })?;
            let gone = refuse(ErrorCode::NoSuchUser, [("name", String::new())]);
            let place = place.ok_or(gone)?;
            lobby.seat(join, place);
            Ok(())
        }))
    }

    /// Tells a session and its room its new name.
    pub(super) fn tell_name(
        &self,
        session: SessionId,
        re: Option<u32>,
        name: UserName,
    ) -> ResponseFuture<()> {
        let room = self.core.room_of(session).and_then(|id| self.rooms.get(&id)).cloned();
        let id = self.core.member(session).map(|(id, _)| id);
        let outbox = self.outbox(session).cloned();
        Box::pin(async move {
            if let (Some(room), Some(id)) = (room, id) {
                let change = Change::Name(name.clone());
                let _ = room.send(room::Alter { id, session, change }).await;
            }
            if let Some(outbox) = outbox {
                outbox.answer(re, ServerMessage::Renamed { name });
            }
        })
    }

    /// Ends what has had its time: silences are told of, bans and invites only forgotten.
    pub(super) fn lapse(&mut self) {
        self.store.retry();
        if !self.store.overfull() {
            self.core.access.expire(clock::unix_ms());
            // Nobody waits for it.
            drop(self.commit());
        }
        let silenced = self.clients.iter().filter(|(_, client)| client.standing.silenced);
        let silenced: Vec<SessionId> = silenced.map(|(session, _)| *session).collect();
        for session in silenced {
            self.tell_standing(session);
        }
    }
}

type Hashed = crate::actors::access::password::PasswordRecord;

impl Handler<Moderate> for Lobby {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(
        &mut self,
        Moderate { session, order, re }: Moderate,
        _: &mut Self::Context,
    ) -> Self::Result {
        let answering = self.moderate(Orderer::Session(session), order, None);
        Box::pin(answering.map(move |answer, lobby, _| lobby.answer(session, re, answer)))
    }
}

impl Handler<Command> for Lobby {
    type Result = ResponseActFuture<Self, ServerMessage>;

    fn handle(&mut self, Command(order): Command, _: &mut Self::Context) -> Self::Result {
        self.moderate(Orderer::Console, order, None)
    }
}

impl Handler<MoveIn> for Lobby {
    type Result = ResponseActFuture<Self, Result<(), Refusal>>;

    fn handle(&mut self, move_in: MoveIn, _: &mut Self::Context) -> Self::Result {
        self.move_in(move_in)
    }
}

impl Handler<Roll> for Lobby {
    type Result = MessageResult<Roll>;

    fn handle(&mut self, _: Roll, _: &mut Self::Context) -> Self::Result {
        let (rooms, elsewhere) = self.core.roll();
        let mut left = REPORT_BYTES_MAX;
        let mut fits = |text: &str| {
            // Five bytes for the length at most, in MessagePack.
            let fits = text.len() + 5 <= left;
            left = left.saturating_sub(text.len() + 5);
            fits
        };
        let mut call = RollCall { users: self.core.sizes().0, ..RollCall::default() };
        for (room, members) in rooms {
            if !fits(room.as_str()) {
                break;
            }
            let members = members.into_iter().take_while(|name| fits(name.as_str()));
            call.rooms.push((room.clone(), members.cloned().collect()));
        }
        let elsewhere = elsewhere.into_iter().take_while(|name| fits(name.as_str()));
        call.elsewhere = elsewhere.cloned().collect();
        MessageResult(call)
    }
}
