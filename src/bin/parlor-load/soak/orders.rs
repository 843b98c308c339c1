//! Orders that keep order: from the server's console and from its operator, and what they mean for the model.

use super::crowd::{Crowd, Event};
use super::member::{Asked, Stage};
use super::server;
use parlor::net::clock;
use parlor::net::message::ClientMessage;
use parlor::net::moderation::{AdminReply, AdminRequest, Moderation, Report, Target};

/// An order and whom it is about.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Out of the server.
    Kick { member: usize, epoch: u32 },
    /// Out, and not in again until lifted.
    Ban { member: usize, epoch: u32 },
    /// In again.
    Lift { member: usize, id: u64 },
    /// Not heard any more.
    Mute { member: usize },
    /// Heard again.
    Unmute { member: usize },
    /// Into another room.
    Move { member: usize, epoch: u32, room: String },
    /// Another name.
    Rename { member: usize, epoch: u32, name: String },
}

/// What came of it.
#[derive(Debug)]
pub enum Outcome {
    /// It is in force.
    Done(Report),
    /// It is not.
    Refused(String),
}

impl Outcome {
    /// From the control socket's answer.
    pub fn of(reply: Result<AdminReply, String>) -> Self {
        match reply {
            Ok(AdminReply::Report { report }) => Self::Done(report),
            Ok(other) => Self::Refused(format!("{other:?}")),
            Err(error) => Self::Refused(error),
        }
    }
}

impl Order {
    fn member(&self) -> usize {
        match self {
            Self::Kick { member, .. }
            | Self::Ban { member, .. }
            | Self::Lift { member, .. }
            | Self::Mute { member }
            | Self::Unmute { member }
            | Self::Move { member, .. }
            | Self::Rename { member, .. } => *member,
        }
    }
}

impl Crowd {
    /// Gives an order about somebody who is free (or banned), from the console or the operator.
    pub fn order(&mut self, order: Order) {
        let by_operator = self.random.per_mille(300)
            && self.members.first().is_some_and(|operator| operator.is_free());
        let now = clock::now();
        let Some(member) = self.members.get_mut(order.member()) else { return };
        let name = member.name.clone();
        member.locked = true;
        let moderation = match &order {
            Order::Kick { .. } => {
                member.sent_away = true;
                member.resume = None;
                Moderation::Kick { name, reason: Some("soak".to_owned()) }
            }
            Order::Ban { .. } => {
                member.sent_away = true;
                member.resume = None;
                let target = Target::User(name);
                Moderation::Ban { target, room: None, seconds: None, reason: None }
            }
            Order::Lift { id, .. } => {
                member.banned = None;
                Moderation::Lift { id: *id }
            }
            Order::Mute { .. } => Moderation::Mute { name, seconds: None, reason: None },
            Order::Unmute { .. } => {
                member.silenced_ns = None;
                Moderation::Unmute { name }
            }
            Order::Move { room, .. } => {
                member.may_be_in(room.clone());
                Moderation::Move { name, room: room.clone() }
            }
            Order::Rename { name: to, .. } => Moderation::RenameUser { name, to: to.clone() },
        };
        if by_operator && let Some(operator) = self.members.first_mut() {
            operator.locked = true;
            let body = ClientMessage::Moderate { order: moderation };
            return operator.ask(Asked::Order(order), body, now);
        }
        self.orders_open += 1;
        let (state, told) = (self.server.state(), self.told.clone());
        tokio::spawn(async move {
            let reply = server::ask(state, AdminRequest::Moderate { order: moderation }).await;
            let _ = told.send(Event::Order { order, outcome: Outcome::of(reply) });
        });
    }

    /// Takes what came of an order.
    pub fn on_outcome(&mut self, order: Order, outcome: Outcome) {
        let k = order.member();
        let Self { members, tally, .. } = self;
        let Some(member) = members.get_mut(k) else { return };
        member.locked = false;
        let report = match outcome {
            Outcome::Done(report) => report,
            Outcome::Refused(why) => {
                // He may have gone by himself in the meantime.
                let same = match &order {
                    Order::Move { epoch, .. } | Order::Rename { epoch, .. } => {
                        *epoch == member.epoch && member.stage == Stage::Here
                    }
                    _ => true,
                };
                if same {
                    tally.fault(format!("{order:?} is refused: {why}"));
                }
                return;
            }
        };
        match (order, report) {
            (Order::Kick { epoch, .. }, Report::Done) => {
                tally.count("kicks");
                member.end_stays(epoch);
            }
            (Order::Ban { epoch, .. }, Report::Sanctioned { id, .. }) => {
                tally.count("bans");
                member.end_stays(epoch);
                member.banned = Some(id);
            }
            (Order::Lift { .. }, Report::Done) => tally.count("bans lifted"),
            (Order::Mute { .. }, Report::Sanctioned { .. }) => {
                tally.count("silences");
                member.silenced_ns = Some(clock::unix_ns());
            }
            (Order::Unmute { .. }, Report::Done) => tally.count("silences lifted"),
            (Order::Move { epoch, room, .. }, Report::Done) => {
                tally.count("moves");
                if epoch == member.epoch && member.stage == Stage::Here {
                    member.is_in(Some(room));
                }
            }
            (Order::Rename { epoch, name, .. }, Report::Done) => {
                tally.count("renames");
                if epoch == member.epoch {
                    member.name = name;
                }
            }
            (order, report) => tally.fault(format!("{order:?} is answered with {report:?}")),
        }
    }
}
