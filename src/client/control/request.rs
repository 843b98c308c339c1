//! What the console asks of the connection, what of it waits for an answer, and how fast it goes.

use crate::client::event::{LockKind, SessionNumber};
use crate::client::texts::requests;
use crate::client::voice::{StageName, Transmit};
use crate::net::codec::Codec;
use crate::net::invite::Invite;
use crate::net::limits::{CLIENT_REQUEST_BURST, CLIENT_REQUESTS_PER_SECOND};
use crate::net::message::{ClientMessage, MemberInfo, RoomInfo};
use crate::net::moderation::Moderation;
use crate::net::secret::Password;
use std::path::PathBuf;
use std::time::Instant;

/// From the console to the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Go to this room.
    Join(String),
    /// Go to this room, which has a password.
    Unlock {
        /// The room.
        room: String,
        /// Its password.
        password: Password,
    },
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
    /// Keep our name for us. Without a password: with the one that the client was started with.
    Register(Option<Password>),
    /// Keep our name for us no longer.
    Unregister,
    /// Keep order.
    Moderate(Moderation),
    /// Give this room the password that the client was started with.
    LockRoom(String),
    /// The answer to a question for a password; none if the user gave none.
    Password {
        /// What it opens.
        lock: Lock,
        /// The password.
        password: Option<Password>,
    },
    /// Go to the server that this invite leads to.
    Visit(Box<Invite>),
    /// Figures of the voice side.
    Stats,
    /// The microphone's mode: the others are told.
    Microphone {
        /// Open, or push-to-talk.
        open: bool,
    },
    /// Hear nobody, or everybody again.
    Deafen(bool),
    /// Play this one so loud.
    Volume {
        /// His name.
        name: String,
        /// How.
        wish: VolumeWish,
    },
    /// Bring speakers near to one loudness, or not.
    Levelling(bool),
    /// Play our own sounds, or none.
    Sounds(bool),
    /// Which sound devices are there?
    Devices,
    /// Take another microphone.
    Input(String),
    /// Take another loudspeaker.
    Output(String),
    /// Play a test tone.
    Tone,
    /// Let us hear ourselves, or end that.
    TryOut,
    /// Record the room into this directory.
    Record(PathBuf),
    /// End the recording.
    StopRecording,
    /// Encode our voice as this.
    Codec(Codec),
    /// Opus has so many bits per second.
    Bitrate(u32),
    /// Switch a stage of the capture chain.
    Stage(StageName, bool),
    /// Open or close the microphone now. Opening counts only for the session it was meant for.
    Transmit {
        /// What it is meant to do.
        transmit: Transmit,
        /// The session.
        session: SessionNumber,
    },
    /// No more input comes: wait for the answers, then leave.
    Finish,
    /// Leave at once.
    Quit,
}

/// What is wanted of someone's volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeWish {
    /// So many percent.
    Percent(u16),
    /// Not to be heard, or to be heard as before.
    Ignore(bool),
}

/// What a password opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lock {
    /// The server.
    Server,
    /// Our name.
    Name,
    /// This room.
    Room(String),
}

impl Lock {
    /// Its kind, for events.
    #[must_use]
    pub fn kind(&self) -> LockKind {
        match self {
            Self::Server => LockKind::Server,
            Self::Name => LockKind::Name,
            Self::Room(_) => LockKind::Room,
        }
    }
}

impl Request {
    /// Whether it wants to enter a room.
    #[must_use]
    pub fn enters(&self) -> bool {
        matches!(self, Self::Join(_) | Self::Unlock { .. })
    }

    /// Whether it keeps its place in the queue until the server can have it.
    #[must_use]
    pub fn waits(&self) -> bool {
        !matches!(
            self,
            Self::Microphone { .. }
                | Self::Deafen(_)
                | Self::Volume { .. }
                | Self::Levelling(_)
                | Self::Sounds(_)
                | Self::Devices
                | Self::Input(_)
                | Self::Output(_)
                | Self::Tone
                | Self::TryOut
                | Self::Record(_)
                | Self::StopRecording
                | Self::Codec(_)
                | Self::Bitrate(_)
                | Self::Stage(..)
                | Self::Transmit { .. }
                | Self::Password { .. }
                | Self::Visit(_)
                | Self::Finish
                | Self::Quit
        )
    }

    /// What it is, for errors about it.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Join(room) | Self::Unlock { room, .. } => format!("/join {room}"),
            Self::Leave => "/leave".to_owned(),
            Self::Chat(text) => requests::text(text),
            Self::Private { to, text } => requests::private(to, text),
            Self::Rooms => "/list".to_owned(),
            Self::Users(_) => "/users".to_owned(),
            Self::Rename(name) => format!("/nick {name}"),
            Self::Register(_) => "/register".to_owned(),
            Self::Unregister => "/unregister".to_owned(),
            Self::Moderate(order) => requests::order(order),
            Self::LockRoom(room) => format!("/lock {room}"),
            Self::Visit(invite) => requests::invite(&invite.server.to_string()),
            Self::Stats => "/stats".to_owned(),
            Self::Microphone { open: true } => "/unmute".to_owned(),
            Self::Microphone { open: false } => "/mute".to_owned(),
            Self::Deafen(true) => "/deafen".to_owned(),
            Self::Deafen(false) => "/undeafen".to_owned(),
            Self::Volume { name, .. } => format!("/volume {name}"),
            Self::Levelling(_) => "/levelling".to_owned(),
            Self::Sounds(_) => "/sounds".to_owned(),
            Self::Devices => "/devices".to_owned(),
            Self::Input(name) => format!("/input {name}"),
            Self::Output(name) => format!("/output {name}"),
            Self::Tone => "/tone".to_owned(),
            Self::TryOut => "/test".to_owned(),
            Self::Record(_) => "/record".to_owned(),
            Self::StopRecording => "/record stop".to_owned(),
            Self::Codec(_) => "/codec".to_owned(),
            Self::Bitrate(_) => "/bitrate".to_owned(),
            Self::Stage(..) => "/sound".to_owned(),
            Self::Transmit { .. } | Self::Password { .. } | Self::Finish | Self::Quit => {
                String::new()
            }
        }
    }

    /// The message that asks the server, for those that ask it.
    #[must_use]
    pub fn message(&self) -> Option<ClientMessage> {
        Some(match self.clone() {
            Self::Join(room) => ClientMessage::join(room),
            Self::Unlock { room, password } => {
                ClientMessage::Join { room, password: Some(password), after: None }
            }
            Self::Register(Some(password)) => ClientMessage::Register { password },
            Self::Unregister => ClientMessage::Unregister,
            Self::Moderate(order) => ClientMessage::Moderate { order },
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
