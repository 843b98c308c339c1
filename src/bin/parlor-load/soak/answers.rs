//! What answers to members mean for the model of who should be where.

use super::crowd::Crowd;
use super::member::{Asked, Open};
use super::orders::Outcome;
use parlor::net::message::{ClientMessage, ErrorCode, ServerMessage};

impl Crowd {
    /// Takes the answer to a member's open request.
    pub fn on_answer(&mut self, k: usize, body: ServerMessage) {
        let Some(member) = self.members.get_mut(k) else { return };
        let Some(Open { asked, .. }) = member.open.take() else { return };
        let nowhere = member.room.is_none();
        let refused = match &body {
            ServerMessage::Error { code, .. } => Some(*code),
            _ => None,
        };
        if refused == Some(ErrorCode::TooFast) {
            self.tally.count("requests refused as too fast");
            // The next one to be refused would get no answer at all, unless something else is heeded before it.
            member.send(None, ClientMessage::Ping { token: 2 });
        }
        let right = match (&asked, body) {
            (Asked::Order(order), body) => {
                let outcome = match body {
                    ServerMessage::Report { report } => Outcome::Done(report),
                    other => Outcome::Refused(format!("{other:?}")),
                };
                self.members.iter_mut().take(1).for_each(|operator| operator.locked = false);
                self.on_outcome(order.clone(), outcome);
                true
            }
            (Asked::Join(room), ServerMessage::Joined { room: name, .. }) => {
                self.tally.count("joins");
                let same = name.as_str() == room;
                member.is_in(Some(name.to_string()));
                same
            }
            (Asked::Join(_), ServerMessage::Members { .. }) => {
                self.tally.count("joins");
                member.is_in(member.view.room.clone());
                true
            }
            (Asked::Leave, ServerMessage::Left { .. }) => {
                self.tally.count("leaves");
                member.is_in(None);
                true
            }
            (Asked::Rename(wanted), ServerMessage::Renamed { name }) => {
                self.tally.count("renames");
                member.name = name.to_string();
                member.name == *wanted
            }
            (Asked::State(wanted), ServerMessage::Changed(state)) => {
                self.tally.count("mutes and deafs");
                member.state = state;
                state == *wanted
            }
            (Asked::Register(wanted), ServerMessage::Registered { registered, .. }) => {
                self.tally.count("registrations");
                member.registered = registered;
                registered == *wanted
            }
            (Asked::Text(said), ServerMessage::Chat { text, .. }) => {
                self.tally.count("texts");
                text == *said
            }
            (Asked::Private, ServerMessage::Private { .. }) => {
                self.tally.count("texts");
                true
            }
            (Asked::ListRooms, body @ ServerMessage::Rooms { .. })
            | (Asked::ListUsers, body @ ServerMessage::Users { .. }) => {
                self.tally.count("lists");
                self.lists.insert(k, body);
                true
            }
            (Asked::Resumed, ServerMessage::Pong { .. }) => {
                self.on_resumed(k);
                true
            }
            (asked, ServerMessage::Error { code, .. }) => {
                if matches!(asked, Asked::Join(_)) {
                    // Not there, then.
                    member.is_in(member.room.clone());
                }
                match code {
                    ErrorCode::TooFast => true,
                    ErrorCode::NotInRoom => {
                        nowhere && matches!(asked, Asked::Leave | Asked::Text(_) | Asked::ListUsers)
                    }
                    ErrorCode::NameTaken => matches!(asked, Asked::Rename(_)),
                    ErrorCode::NoSuchUser => matches!(asked, Asked::Private),
                    _ => false,
                }
            }
            _ => false,
        };
        if !right {
            let found = format!("member {k} asked {asked:?} and is answered wrongly: {refused:?}");
            self.tally.fault(found);
        }
    }
}
