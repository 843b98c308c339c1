//! What goes into the core of the control connection and what comes out of it.

use super::dial::{DialError, Target, Trust};
use super::request::Request;
use crate::client::event::{Event, LossCause};
use crate::client::voice::{Sound, StageName, Transmit, VoiceEvent, VoiceSession, VoiceStats};
use crate::client::volumes::Volume;
use crate::net::codec::Codec;
use crate::net::device::{ChannelBinding, DeviceKey};
use crate::net::ids::MemberId;
use crate::net::invite::Invite;
use crate::net::message::{ClientMessage, Envelope, MemberInfo, MemberState, ServerMessage};
use crate::net::name::{RoomName, UserName};
use crate::net::secret::Password;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What the client was started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The server as the user wrote it, with its port.
    pub server: String,
    /// The wanted name.
    pub name: UserName,
    /// The room to enter.
    pub room: RoomName,
    /// Wins over the port that the server names.
    pub udp_port: Option<u16>,
    /// Microphone and ears at the start.
    pub state: MemberState,
    /// Client program and version.
    pub agent: String,
    /// The device's own key; shown inside TLS only.
    pub device: Option<DeviceKey>,
    /// The first server, to come back to.
    pub target: Target,
    /// What opens the first server and what is in it.
    pub keys: Keys,
    /// Somebody can be asked for a password.
    pub asks: bool,
}

/// What the user has brought to open a server with. Good for that server alone.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// An invite to it.
    pub invite: Option<Invite>,
    /// Its password.
    pub server: Option<Password>,
    /// The password of the name.
    pub name: Option<Password>,
    /// The password of any room that asks for one.
    pub room: Option<Password>,
}

/// What happens to the connection.
#[derive(Debug)]
pub enum Input {
    /// The client starts.
    Start,
    /// The connection stands.
    Connected {
        /// The address that answered.
        server: SocketAddr,
        /// What binds a device's proof to it; only inside TLS.
        binding: Option<ChannelBinding>,
        /// Why the server is believed.
        trust: Trust,
    },
    /// It could not be made.
    NotConnected(DialError),
    /// The server says something.
    Message(Envelope<ServerMessage>),
    /// The connection is not read because the console is behind: its silence means nothing.
    NotRead,
    /// The connection has ended.
    Ended {
        /// Why.
        cause: LossCause,
        /// The system's words.
        detail: String,
    },
    /// The console wants something.
    Request(Request),
    /// The voice side has news.
    Voice(VoiceEvent),
    /// The figures that were asked for.
    Stats(Box<VoiceStats>),
    /// The computer has slept since the last tick.
    Slept,
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Make a connection; one before it is over.
    Dial,
    /// Connections go to this server from now on.
    Retarget(Target),
    /// The connection is over: drop it.
    HangUp,
    /// Send this.
    Send(Envelope<ClientMessage>),
    /// Tell the voice side.
    Voice(VoiceCommand),
    /// Remember how loud the user wants this one.
    Remember(UserName, Volume),
    /// Ask the voice side for its figures.
    AskStats,
    /// Tell the user.
    Tell(Event),
    /// The client ends with this exit code, when what was sent is out.
    End(u8),
}

/// A call of the voice handle.
#[derive(Debug, Clone)]
pub enum VoiceCommand {
    /// A session has begun.
    Connect(Box<VoiceSession>),
    /// The session is over.
    Disconnect,
    /// We are in a room with these others.
    EnterRoom(Vec<MemberInfo>),
    /// We are in no room.
    LeaveRoom,
    /// A member has come or has other streams.
    Member(MemberInfo),
    /// A member has gone.
    MemberLeft(MemberId),
    /// The microphone.
    Transmit(Transmit),
    /// The ears.
    Deafened(bool),
    /// How loud members are played, where it is not as they are.
    Volumes(BTreeMap<MemberId, f32>),
    /// Bring speakers near to one loudness, or not.
    Levelling(bool),
    /// A sound of our own.
    Sound(Sound),
    /// Such sounds are played, or none.
    Sounds(bool),
    /// Tell which sound devices there are.
    Devices,
    /// Take this microphone.
    Input(String),
    /// Take this loudspeaker.
    Output(String),
    /// Play a test tone.
    Tone,
    /// Let us hear ourselves, or end that.
    TryOut,
    /// Record into this directory; we are called so.
    Record(PathBuf, UserName),
    /// End the recording.
    StopRecording,
    /// Encode as this.
    Codec(Codec),
    /// With so many bits per second.
    Bitrate(u32),
    /// A stage of the capture chain.
    Stage(StageName, bool),
    /// Everyone in the room can decode these.
    RoomCodecs(Vec<Codec>),
}

/// Sessions hold keys, which have no equality worth the name: only the kind and ids are compared.
impl PartialEq for VoiceCommand {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Connect(a), Self::Connect(b)) => (a.id, a.server) == (b.id, b.server),
            (Self::Disconnect, Self::Disconnect) | (Self::LeaveRoom, Self::LeaveRoom) => true,
            (Self::EnterRoom(a), Self::EnterRoom(b)) => a == b,
            (Self::Member(a), Self::Member(b)) => a == b,
            (Self::MemberLeft(a), Self::MemberLeft(b)) => a == b,
            (Self::Transmit(a), Self::Transmit(b)) => a == b,
            (Self::Deafened(a), Self::Deafened(b)) => a == b,
            (Self::Stage(a, on), Self::Stage(b, off)) => (a, on) == (b, off),
            (Self::Codec(a), Self::Codec(b)) => a == b,
            (Self::Record(a, b), Self::Record(c, d)) => (a, b) == (c, d),
            (Self::StopRecording, Self::StopRecording) => true,
            (Self::Volumes(a), Self::Volumes(b)) => a == b,
            (Self::Levelling(a), Self::Levelling(b)) => a == b,
            (Self::Sound(a), Self::Sound(b)) => a == b,
            (Self::Sounds(a), Self::Sounds(b)) => a == b,
            (Self::Devices, Self::Devices) | (Self::Tone, Self::Tone) => true,
            (Self::Input(a), Self::Input(b)) | (Self::Output(a), Self::Output(b)) => a == b,
            (Self::TryOut, Self::TryOut) => true,
            (Self::Bitrate(a), Self::Bitrate(b)) => a == b,
            (Self::RoomCodecs(a), Self::RoomCodecs(b)) => a == b,
            _ => false,
        }
    }
}
