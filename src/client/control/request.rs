//! What the console asks of the connection, what of it waits for an answer, and how fast it goes.

use crate::client::event::SessionNumber;
use crate::client::texts::requests;
use crate::net::limits::{CLIENT_REQUEST_BURST, CLIENT_REQUESTS_PER_SECOND};
use crate::net::message::{ClientMessage, MemberInfo, RoomInfo};
use std::time::Instant;

/// From the console to the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Go to this room.
    Join(String),
    /// Leave the room.
    Leave,
    /// Say this to the room.
    Chat(String),
    /// Say this to one user.
    Private {
        /// His name.
        to: String,
        /// What.
        text: String,
    },
    /// Which rooms are there?
    Rooms,
    /// Who is in this room, or the own one?
    Users(Option<String>),
    /// Take another name.
    Rename(String),
    /// Figures of the voice side.
    Stats,
    /// The microphone's mode: the others are told.
    Microphone {
        /// Open, or push-to-talk.
        open: bool,
    },
    /// Hear nobody, or everybody again.
    Deafen(bool),
    /// Open or close the microphone now. Opening counts only for the session it was meant for.
    Transmit {
        /// Open.
        on: bool,
        /// The session.
        session: SessionNumber,
    },
    /// No more input comes: wait for the answers, then leave.
    Finish,
    /// Leave at once.
    Quit,
}

impl Request {
    /// Whether it keeps its place in the queue until the server can have it.
    #[must_use]
    pub fn waits(&self) -> bool {
        !matches!(
            self,
            Self::Microphone { .. }
                | Self::Deafen(_)
                | Self::Transmit { .. }
                | Self::Finish
                | Self::Quit
        )
    }

    /// What it is, for errors about it.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Join(room) => format!("/join {room}"),
            Self::Leave => "/leave".to_owned(),
            Self::Chat(text) => requests::text(text),
            Self::Private { to, text } => requests::private(to, text),
            Self::Rooms => "/list".to_owned(),
            Self::Users(_) => "/users".to_owned(),
            Self::Rename(name) => format!("/nick {name}"),
            Self::Stats => "/stats".to_owned(),
            Self::Microphone { open: true } => "/unmute".to_owned(),
            Self::Microphone { open: false } => "/mute".to_owned(),
            Self::Deafen(true) => "/deafen".to_owned(),
            Self::Deafen(false) => "/undeafen".to_owned(),
            Self::Transmit { .. } | Self::Finish | Self::Quit => String::new(),
        }
    }

    /// The message that asks the server, for those that ask it.
    #[must_use]
    pub fn message(&self) -> Option<ClientMessage> {
        Some(match self.clone() {
            Self::Join(room) => ClientMessage::join(room),
            Self::Leave => ClientMessage::Leave,
            Self::Chat(text) => ClientMessage::Chat { text },
            Self::Private { to, text } => ClientMessage::Private { to, text },
            Self::Rooms => ClientMessage::ListRooms,
            Self::Users(room) => ClientMessage::ListUsers { room },
            Self::Rename(name) => ClientMessage::Rename { name },
            _ => return None,
        })
    }
}

/// What an unanswered message asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// To be let in.
    Hello,
    /// What the user wanted.
    Request(Request),
    /// That the others are told of our state.
    State,
    /// For a sign of life.
    Ping,
    /// For everything before it to be answered.
    Barrier,
}

/// A message that waits for its answer.
#[derive(Debug, Clone)]
pub struct Pending {
    /// What it asked.
    pub asked: Asked,
    /// When.
    pub at: Instant,
    /// Pages of the answer so far.
    pub rooms: Vec<RoomInfo>,
    /// Pages of the answer so far.
    pub members: Vec<MemberInfo>,
}

impl Pending {
    /// Asked just now.
    #[must_use]
    pub fn new(asked: Asked, at: Instant) -> Self {
        Self { asked, at, rooms: Vec::new(), members: Vec::new() }
    }
}

/// Lets requests go at a pace that every server accepts (a token bucket).
#[derive(Debug, Clone)]
pub struct Pace {
    tokens: f64,
    at: Instant,
}

impl Pace {
    /// A full bucket.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { tokens: f64::from(CLIENT_REQUEST_BURST), at: now }
    }

    /// Whether one more may go now.
    pub fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        let full = f64::from(CLIENT_REQUEST_BURST);
        self.tokens = (self.tokens + since * f64::from(CLIENT_REQUESTS_PER_SECOND)).min(full);
        self.at = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}
