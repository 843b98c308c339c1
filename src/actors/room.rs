//! The room actor: tells members what happens and forwarders who is there.
//!
//! It pushes into members' outboxes itself, so that each sees one order of events. It must not wait for a member.

pub mod core;

use self::core::{Change, Effects, Full, Member, RoomCore, TextNumbers};
use super::limits::Limits;
use super::outbox::Outbox;
use super::routes::{Receipt, Routes};
use crate::net::clock;
use crate::net::frame;
use crate::net::ids::{MemberId, RoomId, SessionId};
use crate::net::limits::ROOM_MAILBOX;
use crate::net::message::{Envelope, ErrorCode, LeaveReason, ServerMessage};
use crate::net::name::RoomName;
use actix::prelude::*;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// The actor.
pub struct Room {
    id: RoomId,
    core: RoomCore,
    outboxes: BTreeMap<MemberId, Outbox>,
    routes: Routes,
}

/// Lobby to room: someone comes in. Answered when he is in the list.
#[derive(Message)]
#[rtype(result = "Result<(), Full>")]
pub struct Enter {
    /// Who.
    pub member: Member,
    /// Where his events go.
    pub outbox: Outbox,
    /// The last text of this room that he has heard; what was said since is told to him.
    pub after: Option<u64>,
    /// His request.
    pub re: Option<u32>,
}

/// Lobby to room: someone goes. Answered when no forwarder sends him anything any more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Leave {
    /// Who.
    pub id: MemberId,
    /// Why.
    pub reason: LeaveReason,
}

/// Session or lobby to room: someone changes.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Alter {
    /// Who.
    pub id: MemberId,
    /// The session that says so.
    pub session: SessionId,
    /// How.
    pub change: Change,
}

/// Session to room: text to everyone.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Say {
    /// Who says it.
    pub id: MemberId,
    /// What.
    pub text: String,
    /// When.
    pub at_ms: u64,
    /// His request.
    pub re: Option<u32>,
}

/// Lobby to room: who is there?
#[derive(Message)]
#[rtype(result = "()")]
pub struct ListMembers {
    /// Where the answer goes.
    pub outbox: Outbox,
    /// Who asks is a member.
    pub inside: bool,
    /// The request.
    pub re: Option<u32>,
}

/// Lobby to room: everyone goes at once. Answered when no forwarder sends them anything any more.
/// What they are told is the lobby's care.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Empty;

/// Lobby to room: it has another name.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Rename {
    /// The name before.
    pub from: RoomName,
    /// The name now.
    pub to: RoomName,
    /// Who did it.
    pub by: String,
}

/// Lobby to room: the last member has left.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Close;

impl Room {
    /// An empty room, with what the limits say of text and of how many are heard.
    #[must_use]
    pub fn new(
        id: RoomId,
        name: RoomName,
        routes: Routes,
        limits: &Limits,
        numbers: TextNumbers,
    ) -> Self {
        let core = RoomCore::new(id, name, limits, numbers, clock::now());
        Self { id, core, outboxes: BTreeMap::new(), routes }
    }

    /// Carries out what the core decided; the receipt where routes have changed.
    fn carry_out(&self, who: MemberId, effects: Effects, re: Option<u32>) -> Option<Receipt> {
        if let Some(message) = effects.others
            && let Some(frame) = encode(message)
        {
            for (_, outbox) in self.outboxes.iter().filter(|(id, _)| **id != who) {
                outbox.push(frame.clone());
            }
        }
        if let Some(outbox) = self.outboxes.get(&who) {
            for message in effects.own {
                // It comes behind the answer, and is no part of it.
                let event = matches!(message, ServerMessage::History { .. });
                outbox.answer(re.filter(|_| !event), message);
            }
        }
        effects.routes_changed.then(|| self.routes.publish_room(self.id, Some(self.core.routes())))
    }
}

/// He says, or all of them say, more than others can bear; when to try again.
#[must_use]
pub fn too_fast(wait: Duration) -> ServerMessage {
    let retry = ("retry_ms", wait.as_millis().max(1).to_string());
    ServerMessage::error(ErrorCode::TooFast, [retry])
}

fn encode(message: ServerMessage) -> Option<Bytes> {
    frame::encode(&Envelope::event(message))
        .inspect_err(|error| tracing::error!(%error, "an event cannot be encoded"))
        .ok()
}

impl Actor for Room {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(ROOM_MAILBOX);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        // No member is left, so nobody waits for this to be in force.
        let _ = self.routes.publish_room(self.id, None);
    }
}

impl Handler<Enter> for Room {
    type Result = Result<(), Full>;

    fn handle(
        &mut self,
        Enter { member, outbox, after, re }: Enter,
        _: &mut Self::Context,
    ) -> Self::Result {
        let id = member.id;
        let effects = self.core.enter(member, after)?;
        self.outboxes.insert(id, outbox);
        // A join gives rights and takes none: it need not be in force before it is answered.
        let _ = self.carry_out(id, effects, re);
        Ok(())
    }
}

impl Handler<Leave> for Room {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Leave { id, reason }: Leave, _: &mut Self::Context) -> Self::Result {
        let outbox = self.outboxes.remove(&id);
        let effects = self.core.leave(id, reason);
        let receipt = self.carry_out(id, effects, None);
        Box::pin(async move {
            if let Some(receipt) = receipt {
                receipt.in_force().await;
            }
            // No forwarder adds to it any more. What waits would follow the answer.
            if let Some(outbox) = outbox {
                outbox.forget_voice();
            }
        })
    }
}

impl Handler<Empty> for Room {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Empty, _: &mut Self::Context) -> Self::Result {
        let outboxes = std::mem::take(&mut self.outboxes);
        self.core.clear();
        let receipt = self.routes.publish_room(self.id, Some(self.core.routes()));
        Box::pin(async move {
            receipt.in_force().await;
            outboxes.values().for_each(Outbox::forget_voice);
        })
    }
}

impl Handler<Rename> for Room {
    type Result = ();

    fn handle(&mut self, Rename { from, to, by }: Rename, _: &mut Self::Context) {
        self.core.rename(to.clone());
        if let Some(frame) = encode(ServerMessage::RoomRenamed { from, room: to, by }) {
            for outbox in self.outboxes.values() {
                outbox.push(frame.clone());
            }
        }
    }
}

impl Handler<Alter> for Room {
    type Result = ();

    fn handle(&mut self, Alter { id, session, change }: Alter, _: &mut Self::Context) {
        let effects = self.core.change(id, session, change);
        let _ = self.carry_out(id, effects, None);
    }
}

impl Handler<Say> for Room {
    type Result = ();

    fn handle(&mut self, Say { id, text, at_ms, re }: Say, _: &mut Self::Context) {
        let answer = match self.core.say(id, text, at_ms, clock::now()) {
            Ok(None) => return,
            Ok(Some(chat)) => {
                if let Some(frame) = encode(chat.clone()) {
                    for (_, outbox) in self.outboxes.iter().filter(|(other, _)| **other != id) {
                        outbox.push_text(frame.clone());
                    }
                }
                chat
            }
            Err(wait) => too_fast(wait),
        };
        if let Some(outbox) = self.outboxes.get(&id) {
            outbox.answer(re, answer);
        }
    }
}

impl Handler<ListMembers> for Room {
    type Result = ();

    fn handle(&mut self, ask: ListMembers, _: &mut Self::Context) {
        let ListMembers { outbox, inside, re } = ask;
        for page in self.core.list(inside) {
            outbox.answer(re, page);
        }
    }
}

impl Handler<Close> for Room {
    type Result = ();

    fn handle(&mut self, _: Close, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::core::tests::member;
    use super::*;
    use crate::actors::outbox::Take;

    fn room(name: RoomName, routes: &Routes) -> Room {
        let numbers = TextNumbers::default();
        Room::new(RoomId(1), name, routes.clone(), &Limits::default(), numbers)
    }

    #[actix::test]
    async fn a_leave_is_confirmed_only_when_every_forwarder_has_it_in_force() {
        let routes = Routes::new(2);
        let name = RoomName::parse("hall").unwrap();
        let room = room(name, &routes).start();
        for k in 1..=2 {
            let enter =
                Enter { member: member(k), outbox: Outbox::default(), after: None, re: None };
            room.send(enter).await.unwrap().unwrap();
        }
        let leave = Leave { id: MemberId(1), reason: LeaveReason::Left };
        let left = actix_rt::spawn(room.send(leave));
        // Dealt with by the room, and by one forwarder of two.
        room.send(ListMembers { outbox: Outbox::default(), inside: true, re: None }).await.unwrap();
        for feed in routes.feeds() {
            tokio::task::yield_now().await;
            assert!(!left.is_finished());
            let update = feed.take();
            let members = &update.rooms[&RoomId(1)].as_ref().unwrap().members;
            assert_eq!(members.len(), 1, "the latest snapshot is without him");
            feed.confirm(update.version);
        }
        left.await.unwrap().unwrap();
    }

    #[actix::test]
    async fn voice_that_waits_for_a_slow_connection_does_not_follow_a_leave() {
        let routes = Routes::new(1);
        routes.feeds()[0].retire();
        let name = RoomName::parse("hall").unwrap();
        let room = room(name, &routes).start();
        let outboxes = [Outbox::default(), Outbox::default(), Outbox::default()];
        for (k, outbox) in (1..).zip(&outboxes) {
            let enter = Enter { member: member(k), outbox: outbox.clone(), after: None, re: None };
            room.send(enter).await.unwrap().unwrap();
        }
        for outbox in &outboxes {
            outbox.push_voice(b"voice", crate::net::clock::now());
        }
        let leave = Leave { id: MemberId(1), reason: LeaveReason::Left };
        room.send(leave).await.unwrap();
        assert_eq!(waiting_voice(&outboxes[0]).await, 0);
        assert_eq!(waiting_voice(&outboxes[1]).await, 1, "others go on to hear");
        room.send(Empty).await.unwrap();
        assert_eq!(waiting_voice(&outboxes[2]).await, 0, "nor that of a room that was closed");
    }

    /// How much voice the writer gets to write.
    async fn waiting_voice(outbox: &Outbox) -> usize {
        outbox.finish();
        let mut count = 0;
        while let Take::Write(frames) = outbox.take().await {
            for bytes in frames {
                let message: Envelope<ServerMessage> = frame::decode(&bytes[4..]).unwrap();
                count += usize::from(matches!(message.body, ServerMessage::Voice { .. }));
            }
        }
        count
    }
}
