//! The server's door: what opens it, asking for what is missing, and going to another server.
//!
//! Secrets go out only when the server asks for them, only inside TLS, and only to the server that
//! they were meant for: an invite's token goes to the key that the invite names, and what one
//! server was opened with is forgotten before the next is dialled.

use super::{ControlCore, Link};
use crate::client::control::dial::{Target, Trust};
use crate::client::control::port::{Action, Keys, VoiceCommand};
use crate::client::control::request::{Asked, Lock, Pending, Request};
use crate::client::event::{ErrorKind, Event, LocalError, LockKind, LossCause, NoticeCode, Turn};
use crate::client::texts;
use crate::client::voice::Transmit;
use crate::net::address::TCP_PORT;
use crate::net::codec::Codec;
use crate::net::invite::Invite;
use crate::net::limits::{RECONNECT_PAUSE, ROOM_PASSWORDS_MAX};
use crate::net::message::{ClientMessage, Envelope, ErrorCode, Hello};
use crate::net::moderation::{Moderation, Role};
use crate::net::name::RoomName;
use crate::net::secret::Password;
use std::collections::BTreeMap;
use std::time::Instant;

/// How often a name that is still in use is tried again after a move: it may be our own, from the
/// session that we have just left.
const NAME_RETRIES: u8 = 4;

/// What opens the server and what is in it.
#[derive(Debug, Default)]
pub(super) struct Door {
    /// What the user brought.
    pub(super) keys: Keys,
    /// Passwords that have opened rooms, by the rooms' folded names.
    opened: BTreeMap<String, Password>,
    /// What this connection was shown already.
    shown: [bool; 2],
    /// What is said if no password is given.
    refusal: Option<(ErrorCode, Args)>,
    /// Where we were before an invite was followed, until it has let us in.
    before: Option<Box<Place>>,
    name_retries: u8,
}

type Args = BTreeMap<String, String>;

/// A server, and what we wanted and had there.
#[derive(Debug)]
struct Place {
    target: Target,
    keys: Keys,
    opened: BTreeMap<String, Password>,
    room: Option<RoomName>,
}

impl Door {
    /// A door that opens with these.
    pub(super) fn new(keys: Keys) -> Self {
        Self { keys, ..Self::default() }
    }

    /// Whether we are on our way to the server of an invite, and could go back.
    pub(super) fn on_the_way(&self) -> bool {
        self.before.is_some()
    }

    /// We are in. An invite is redeemed by that: the server knows the device from now on.
    pub(super) fn passed(&mut self) {
        self.keys.invite = None;
        self.before = None;
        self.refusal = None;
        self.name_retries = 0;
    }

    fn given(&mut self, lock: &Lock) -> Option<(&mut Option<Password>, &mut bool)> {
        let [server, name] = &mut self.shown;
        match lock {
            Lock::Server => Some((&mut self.keys.server, server)),
            Lock::Name => Some((&mut self.keys.name, name)),
            Lock::Room(_) => None,
        }
    }

    fn shown(&self) -> (Option<Password>, Option<Password>) {
        let [server, name] = self.shown;
        let server = self.keys.server.clone().filter(|_| server);
        (server, self.keys.name.clone().filter(|_| name))
    }

    /// A room's password was right.
    pub(super) fn opened(&mut self, room: &RoomName, password: Password) {
        if self.opened.len() < ROOM_PASSWORDS_MAX {
            self.opened.insert(room.keys().folded, password);
        }
    }

    /// A room is called otherwise now.
    pub(super) fn room_renamed(&mut self, from: &RoomName, to: &RoomName) {
        if let Some(password) = self.opened.remove(&from.keys().folded) {
            self.opened.insert(to.keys().folded, password);
        }
    }

    fn of_room(&self, room: &str) -> Option<&Password> {
        self.opened.get(&RoomName::parse(room).ok()?.keys().folded)
    }

    fn forget_room(&mut self, room: &str) {
        if let Ok(room) = RoomName::parse(room) {
            self.opened.remove(&room.keys().folded);
        }
    }
}

impl ControlCore {
    // ---- coming in ------------------------------------------------------------------------

    /// The connection stands: says hello, with an invite if there is one and it may be shown.
    pub(super) fn knock(&mut self, now: Instant) {
        self.door.shown = [false; 2];
        if let Some(invite) = &self.door.keys.invite {
            let why = match (self.trust, invite.fingerprint) {
                (Trust::Plain, _) => Some(LocalError::SecretNeedsTls),
                (Trust::Certificate, _) | (Trust::Known, Some(_)) => None,
                (Trust::FirstUse(seen), Some(meant)) if seen == meant => None,
                _ => Some(LocalError::InviteUnproven),
            };
            if let Some(why) = why {
                self.act(Action::HangUp);
                return self.fail(ErrorKind::Local(why), self.about_server());
            }
        }
        self.greet(now);
    }

    fn greet(&mut self, now: Instant) {
        let (server_password, password) = self.door.shown();
        let hello = Hello {
            agent: self.settings.agent.clone(),
            codecs: vec![Codec::Opus, Codec::Pcm],
            state: self.state,
            resume: self.resume.clone(),
            invite: self.door.keys.invite.as_ref().map(|invite| invite.token.clone()),
            server_password,
            password,
            device: self.proof,
            ..Hello::new(self.settings.name.as_str())
        };
        self.ask(ClientMessage::Hello(Box::new(hello)), Asked::Hello, now);
    }

    /// `Hello` was refused.
    pub(super) fn refused(&mut self, code: ErrorCode, args: Args, now: Instant) {
        let lock = match code {
            ErrorCode::ServerPassword => Some((Lock::Server, Turn::First)),
            ErrorCode::BadServerPassword => Some((Lock::Server, Turn::Wrong)),
            ErrorCode::NameRegistered => Some((Lock::Name, Turn::First)),
            ErrorCode::BadPassword => Some((Lock::Name, Turn::Wrong)),
            _ => None,
        };
        if let Some((lock, turn)) = lock
            && self.unlock(lock, turn, code, &args, now)
        {
            return;
        }
        if code == ErrorCode::NameTaken && self.door.name_retries > 0 {
            self.door.name_retries -= 1;
            self.act(Action::HangUp);
            self.link = Link::Paused(now + RECONNECT_PAUSE.0);
            return;
        }
        // Who is banned need not try again and again.
        let for_good = code == ErrorCode::Banned;
        if self.session.0 == 0 || self.door.on_the_way() || for_good {
            self.act(Action::HangUp);
            return self.fail(ErrorKind::Server(code), args);
        }
        // Said once, then only as the reason of the attempts.
        let detail = texts::error(ErrorKind::Server(code), &args);
        if self.last_refusal.replace(code) != Some(code) {
            self.tell(Event::Error { code: ErrorKind::Server(code), args, fatal: false });
        }
        self.lost(LossCause::Refused, detail, now);
    }

    /// Shows the password that is asked for, or asks the user for it. False: there is none to be had.
    fn unlock(
        &mut self,
        lock: Lock,
        turn: Turn,
        code: ErrorCode,
        args: &Args,
        now: Instant,
    ) -> bool {
        let Some((given, shown)) = self.door.given(&lock) else { return false };
        if turn == Turn::Wrong {
            *given = None;
        }
        let show = given.is_some() && !std::mem::replace(shown, true);
        let ask = self.settings.asks && self.finishing.is_none();
        if (show || ask) && self.trust == Trust::Plain {
            self.act(Action::HangUp);
            let args = self.about_server();
            self.fail(ErrorKind::Local(LocalError::SecretNeedsTls), args);
        } else if show {
            self.greet(now);
        } else if ask {
            // People type more slowly than a server waits for a greeting.
            self.act(Action::HangUp);
            self.link = Link::Asking;
            self.door.refusal = Some((code, args.clone()));
            let of = match lock {
                Lock::Server => self.settings.server.clone(),
                _ => self.settings.name.to_string(),
            };
            self.tell(Event::PasswordWanted { lock: lock.kind(), of, turn });
        }
        show || ask
    }

    /// The user has answered, or gave up.
    pub(super) fn password(&mut self, lock: Lock, password: Option<Password>, now: Instant) {
        match (lock, password) {
            (Lock::Room(room), Some(password)) => {
                self.request(Request::Unlock { room, password }, now);
            }
            (Lock::Room(_), None) => self.tell(Event::Notice { code: NoticeCode::NotEntered }),
            _ if self.link != Link::Asking => {}
            (lock, Some(password)) => {
                if let Some((given, _)) = self.door.given(&lock) {
                    *given = Some(password);
                }
                self.dial();
            }
            (_, None) => self.no_password(),
        }
    }

    /// There is no password to come in with.
    pub(super) fn no_password(&mut self) {
        if let Some((code, args)) = self.door.refusal.take() {
            self.fail(ErrorKind::Server(code), args);
        }
    }

    // ---- rooms and names ------------------------------------------------------------------

    /// A room could not be entered for want of a password. False: that was not it, or nothing helps.
    pub(super) fn room_locked(&mut self, request: &Request, code: ErrorCode, now: Instant) -> bool {
        let (Request::Join(room) | Request::Unlock { room, .. }) = request else { return false };
        let turn = match code {
            ErrorCode::RoomPassword => Turn::First,
            ErrorCode::BadRoomPassword => Turn::Wrong,
            _ => return false,
        };
        self.door.forget_room(room);
        let brought = self.door.keys.room.clone().filter(|_| matches!(request, Request::Join(_)));
        if let Some(password) = brought {
            self.send_request(Request::Unlock { room: room.clone(), password }, now);
            return true;
        }
        let ask = self.settings.asks && self.finishing.is_none();
        if ask {
            let (lock, of) = (LockKind::Room, room.clone());
            self.tell(Event::PasswordWanted { lock, of, turn });
        }
        ask
    }

    /// Puts what the client was started with into a request that needs it; none if there is nothing.
    pub(super) fn with_password(&mut self, request: Request) -> Option<Request> {
        let (brought, lock, of) = match &request {
            Request::Register(None) => {
                let name = self.settings.name.to_string();
                (self.door.keys.name.clone(), "name", name)
            }
            Request::LockRoom(room) => (self.door.keys.room.clone(), "room", room.clone()),
            _ => return Some(request),
        };
        if brought.is_none() {
            let args = [("lock", lock.to_owned()), ("of", of)];
            self.tell(Event::error(LocalError::CannotAsk, args));
            return None;
        }
        Some(match request {
            Request::LockRoom(room) => {
                Request::Moderate(Moderation::RoomPassword { room, password: brought })
            }
            _ => Request::Register(brought),
        })
    }

    /// A request as it goes out: a room that was opened before is entered with its password, and no
    /// password goes out in the clear.
    pub(super) fn sealed(&mut self, request: Request) -> Option<Request> {
        let plain = self.trust == Trust::Plain;
        let secret = match &request {
            Request::Join(room) if !plain => {
                let password = self.door.of_room(room).cloned();
                let room = room.clone();
                return Some(match password {
                    Some(password) => Request::Unlock { room, password },
                    None => request,
                });
            }
            Request::Unlock { .. } | Request::Register(_) => true,
            Request::Moderate(Moderation::RoomPassword { password, .. }) => password.is_some(),
            _ => false,
        };
        if secret && plain {
            let code = ErrorKind::Local(LocalError::SecretNeedsTls);
            let args = self.about_server();
            self.tell(Event::Error { code, args, fatal: false });
            return None;
        }
        Some(request)
    }

    // ---- going elsewhere ------------------------------------------------------------------

    /// Goes to the server of an invite. If that does not let us in we come back.
    pub(super) fn visit(&mut self, invite: Invite) {
        if self.finishing.is_some() {
            return;
        }
        // Another server's rooms have not been told.
        self.end_recording();
        self.part();
        let target = Target {
            host: invite.server.host.clone(),
            port: invite.server.port.unwrap_or(TCP_PORT),
            fingerprint: invite.fingerprint,
        };
        let room = invite.room.clone().or_else(|| Some(self.settings.room.clone()));
        let keys = Keys { invite: Some(invite), ..Keys::default() };
        let here = Place {
            target: std::mem::replace(&mut self.settings.target, target),
            keys: std::mem::take(&mut self.door.keys),
            opened: std::mem::take(&mut self.door.opened),
            room: std::mem::replace(&mut self.room, room),
        };
        // Only where we have been is there a way back to.
        let before = self.door.before.take().or_else(|| (self.session.0 > 0).then(|| here.into()));
        self.door = Door { before, name_retries: NAME_RETRIES, ..Door::new(keys) };
        self.set_out();
    }

    /// Back to where we were before an invite was followed. False: there is no such place.
    pub(super) fn go_back(&mut self, code: ErrorKind, args: &Args) -> bool {
        let Some(place) = self.door.before.take() else { return false };
        self.tell(Event::Error { code, args: args.clone(), fatal: false });
        self.tell(Event::Notice { code: NoticeCode::GoingBack });
        self.part();
        self.settings.target = place.target;
        self.room = place.room;
        let opened = place.opened;
        self.door = Door { opened, name_retries: NAME_RETRIES, ..Door::new(place.keys) };
        self.set_out();
        true
    }

    /// Ends the session here, politely if there is one, and for good.
    fn part(&mut self) {
        if matches!(self.link, Link::Up(_)) {
            self.act(Action::Send(Envelope::event(ClientMessage::Bye)));
        }
        if !matches!(self.link, Link::Idle | Link::Paused(_) | Link::Asking) {
            self.act(Action::HangUp);
        }
        self.quiet();
        for Pending { asked, .. } in std::mem::take(&mut self.open).into_values() {
            if let Asked::Request(request) = asked {
                self.tell_about(LocalError::LostUnanswered, &request);
            }
        }
        self.resume = None;
        self.wants_out = false;
        self.backoff.reset();
    }

    fn set_out(&mut self) {
        let target = self.settings.target.clone();
        self.settings.server = target.label();
        self.act(Action::Retarget(target));
        let server = self.settings.server.clone();
        self.tell(Event::Connecting { server });
        self.dial();
    }

    pub(super) fn about_server(&self) -> Args {
        [("server".to_owned(), self.settings.server.clone())].into_iter().collect()
    }

    /// Nothing is heard, said or known of a room any more; the microphone is off when we are back.
    pub(super) fn quiet(&mut self) {
        self.voice(VoiceCommand::Transmit(Transmit::Shut));
        self.voice(VoiceCommand::Disconnect);
        self.roster.clear();
        (self.arriving, self.untold, self.ready) = (false, false, false);
        self.state.muted = true;
    }
}

/// What it takes to do what was not allowed, for the error about it.
pub(super) fn needs(request: &Request) -> Option<&'static str> {
    let Request::Moderate(order) = request else { return None };
    Some(match order {
        Moderation::Grant { role: Role::Operator, .. }
        | Moderation::Revoke { role: Role::Operator, .. }
        | Moderation::Ban { room: None, .. }
        | Moderation::RenameUser { .. }
        | Moderation::ForgetName { .. }
        | Moderation::Invite { operator: true, .. }
        | Moderation::Audit { .. } => "operator",
        _ => "moderator",
    })
}
