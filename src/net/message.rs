//! Messages of the control connection, as both ends read and write them.
//!
//! Each is a MessagePack map with a `type`. Both ends pass over fields they do not know; a type
//! they do not know becomes `Unknown`, which the server answers with a typed error. A request may
//! carry a number `re`, and its answer repeats it.

use super::codec::{Codec, PayloadType};
use super::ids::{MemberId, Ssrc};
use super::name::{RoomName, UserName};
use super::protect::DirectionKey;
use super::secret::ResumeSecret;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the control protocol. The first message tells it; other versions are refused.
pub const PROTOCOL_VERSION: u16 = 1;

/// A message and, where it is a request or the answer to one, the request's number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// Number of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub re: Option<u32>,
    /// The message.
    #[serde(flatten)]
    pub body: T,
}

/// From client to server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientMessage {
    /// The first message; answered by `Welcome` or `Error`.
    Hello(Hello),
    /// Enter a room, leaving the one before; answered by `Joined` or `Error`.
    Join {
        /// The room, made if it does not exist.
        room: String,
    },
    /// Leave the room and stay connected; answered by `Left`.
    Leave,
    /// Text to everyone in the room; comes back as `Chat`.
    Chat {
        /// What is said.
        text: String,
    },
    /// Text to one user, in any room; answered by `Private` or `Error`.
    Private {
        /// His name.
        to: String,
        /// What is said.
        text: String,
    },
    /// Answered by `Rooms`.
    ListRooms,
    /// Answered by `Users`.
    ListUsers {
        /// Which room; the own one if left out.
        #[serde(default)]
        room: Option<String>,
    },
    /// Take another name; answered by `Renamed` or `Error`.
    Rename {
        /// The new name.
        name: String,
    },
    /// Tell the room about microphone and ears; answered by `Changed`.
    State(MemberState),
    /// A sign of life; answered by `Pong`.
    Ping {
        /// Comes back in the answer.
        #[serde(default)]
        token: u64,
    },
    /// Goodbye: the connection is about to close on purpose.
    Bye,
    /// A protected voice datagram, where UDP does not get through.
    Voice {
        /// The datagram as UDP would carry it.
        #[serde(with = "serde_bytes")]
        packet: Vec<u8>,
    },
    /// A type that this version does not know.
    #[serde(other)]
    Unknown,
}

/// The first message of a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// Protocol version of the client.
    pub version: u16,
    /// Wanted name.
    pub name: String,
    /// Codecs that the client can decode.
    #[serde(default)]
    pub codecs: Vec<Codec>,
    /// Optional abilities of the client, by name.
    #[serde(default)]
    pub features: Vec<String>,
    /// Client program and version, for the operator.
    #[serde(default)]
    pub agent: String,
    /// Microphone and ears at the start.
    #[serde(default)]
    pub state: MemberState,
    /// Takes over the session that this secret was given to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<ResumeSecret>,
}

/// What a member tells of himself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemberState {
    /// His microphone is off (push-to-talk counts as off while the key is up).
    #[serde(default)]
    pub muted: bool,
    /// He hears nobody.
    #[serde(default)]
    pub deafened: bool,
}

/// From server to client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// Answer to `Hello`.
    Welcome(Box<Welcome>),
    /// The request failed.
    Error {
        /// What went wrong.
        code: ErrorCode,
        /// What the client words the error with.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        args: BTreeMap<String, String>,
    },
    /// You are in this room now, and nowhere else.
    Joined {
        /// The room.
        room: RoomName,
        /// Everyone in it, you included; the first of them if there are `more`.
        members: Vec<MemberInfo>,
        /// Codecs that everyone in it can decode.
        codecs: Vec<Codec>,
        /// The rest follows at once in `Members`.
        #[serde(default)]
        more: bool,
    },
    /// More of those who are in the room that you have joined.
    Members {
        /// The next of them.
        members: Vec<MemberInfo>,
        /// The rest follows at once in another `Members`.
        #[serde(default)]
        more: bool,
    },
    /// You are in no room any more; no voice of it follows.
    Left {
        /// The room left.
        room: RoomName,
    },
    /// Someone has come into your room.
    MemberJoined {
        /// Who.
        member: MemberInfo,
        /// Codecs that everyone can decode now.
        codecs: Vec<Codec>,
    },
    /// Someone has left your room; nothing of his voice follows.
    MemberLeft {
        /// Who.
        id: MemberId,
        /// His last name.
        name: UserName,
        /// Why.
        reason: LeaveReason,
        /// Codecs that everyone can decode now.
        codecs: Vec<Codec>,
    },
    /// Someone in your room (perhaps you) has another name, state or streams, or started or stopped to speak.
    MemberChanged {
        /// As he is now.
        member: MemberInfo,
        /// His name before, if it changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        renamed_from: Option<UserName>,
    },
    /// Text to your room.
    Chat {
        /// Who said it.
        id: MemberId,
        /// His name.
        name: UserName,
        /// What he said.
        text: String,
        /// When, in milliseconds since 1970 by the server's clock.
        at_ms: u64,
    },
    /// Text between two users: to its receiver, and as the answer to its sender.
    Private {
        /// Who said it.
        from: UserName,
        /// Whom he told.
        to: UserName,
        /// What.
        text: String,
        /// When, in milliseconds since 1970 by the server's clock.
        at_ms: u64,
    },
    /// Answer to `ListRooms`.
    Rooms {
        /// The rooms by name; some of them if there are `more`.
        rooms: Vec<RoomInfo>,
        /// How many there are.
        total: u64,
        /// The rest follows at once in another `Rooms`.
        #[serde(default)]
        more: bool,
    },
    /// Answer to `ListUsers`.
    Users {
        /// The room asked for.
        room: RoomName,
        /// Its members; some of them if there are `more`.
        members: Vec<MemberInfo>,
        /// How many there are.
        total: u64,
        /// The rest follows at once in another `Users`.
        #[serde(default)]
        more: bool,
    },
    /// Your name is this now.
    Renamed {
        /// The name as the server took it.
        name: UserName,
    },
    /// Your state is this now.
    Changed(MemberState),
    /// Answer to `Ping`.
    Pong {
        /// The token of the question.
        token: u64,
    },
    /// The server is about to close this connection.
    Goodbye {
        /// Why.
        reason: GoodbyeReason,
    },
    /// A protected voice datagram, where UDP does not get through.
    Voice {
        /// The datagram as UDP would carry it.
        #[serde(with = "serde_bytes")]
        packet: Vec<u8>,
    },
    /// A type that this version does not know.
    #[serde(other)]
    Unknown,
}

/// Everything a session needs to speak and hear.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// Protocol version of the server.
    pub version: u16,
    /// Server program and version.
    #[serde(default)]
    pub agent: String,
    /// Optional abilities of the server, by name.
    #[serde(default)]
    pub features: Vec<String>,
    /// Who you are to the others.
    pub id: MemberId,
    /// Your name as the server took it.
    pub name: UserName,
    /// Port for voice, at the same host.
    pub udp_port: u16,
    /// How datagrams are protected.
    pub protection: Protection,
    /// Seals what goes up.
    pub up_key: DirectionKey,
    /// Opens what comes down.
    pub down_key: DirectionKey,
    /// Your streams, one for each RTP clock (RFC 7160).
    pub streams: Vec<StreamGrant>,
    /// SSRC of the server's own control packets to you.
    pub control_ssrc: Ssrc,
    /// Payload types and what they carry.
    pub payload_types: Vec<PayloadFormat>,
    /// Takes this session over after a lost connection.
    pub resume: ResumeSecret,
    /// This session goes on from a lost one, in the same room if it was in one.
    #[serde(default)]
    pub resumed: bool,
}

/// How datagrams are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protection {
    /// A secret tag; nothing is encrypted.
    Plain,
    /// One that this version does not know.
    #[serde(other)]
    Unknown,
}

/// A stream that a session may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamGrant {
    /// Its SSRC.
    pub ssrc: Ssrc,
    /// RTP clock in Hz.
    pub clock_hz: u32,
}

/// What a payload type carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadFormat {
    /// The payload type.
    pub payload_type: PayloadType,
    /// Encoding name (RFC 4855): `L16`, `opus`, `red`.
    pub encoding: String,
    /// RTP clock in Hz.
    pub clock_hz: u32,
    /// Channels.
    pub channels: u8,
}

/// A member as the others see him.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberInfo {
    /// Who.
    pub id: MemberId,
    /// His name.
    pub name: UserName,
    /// Microphone off.
    pub muted: bool,
    /// Hears nobody.
    pub deafened: bool,
    /// In a talkspurt right now.
    pub speaking: bool,
    /// His streams and how far they are, so that a late joiner can decode.
    pub streams: Vec<StreamInfo>,
}

/// How far a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamInfo {
    /// Its SSRC.
    pub ssrc: Ssrc,
    /// RTP clock in Hz.
    pub clock_hz: u32,
    /// Payload type last seen, if any packet came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_type: Option<PayloadType>,
    /// Roll-over counter.
    pub roc: u32,
    /// Highest sequence number, if any packet came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u16>,
}

/// A room in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomInfo {
    /// Its name.
    pub name: RoomName,
    /// How many are in it.
    pub members: u32,
}

/// Why a member left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaveReason {
    /// Left the room.
    Left,
    /// Went to another room.
    Switched,
    /// Ended the connection.
    Quit,
    /// The connection was lost.
    Lost,
    /// No sign of life.
    Timeout,
    /// Read too slowly or broke the protocol.
    CutOff,
    /// One that this version does not know.
    #[serde(other)]
    Unknown,
}

/// Why the server closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GoodbyeReason {
    /// The server is stopping.
    Stopping,
    /// No sign of life.
    Timeout,
    /// Did not say `Hello` in time.
    HelloTimeout,
    /// Reads too slowly.
    SlowReader,
    /// Sent what is no message.
    Protocol,
    /// Sends too much.
    TooFast,
    /// Taken over from elsewhere with the resume secret.
    Resumed,
    /// No room for more sessions.
    Full,
    /// One that this version does not know.
    #[serde(other)]
    Unknown,
}

/// What went wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The server does not know this type of message.
    UnknownType,
    /// The bytes are no message of this protocol.
    BadMessage,
    /// `Hello` must come first.
    HelloFirst,
    /// `Hello` came twice.
    HelloTwice,
    /// Another protocol version; args: `server`.
    Version,
    /// The name is not fit; args: `why`.
    BadName,
    /// The name is in use; args: `name`.
    NameTaken,
    /// The name looks the same as one in use; args: `name`, `like`.
    NameLooksTaken,
    /// The room's name is not fit; args: `why`.
    BadRoom,
    /// The room's name looks the same as that of another room; args: `room`, `like`.
    RoomLooksTaken,
    /// The room is full; args: `max`.
    RoomFull,
    /// No more rooms; args: `max`.
    TooManyRooms,
    /// No more sessions; args: `max`.
    ServerFull,
    /// You are in no room.
    NotInRoom,
    /// No such user; args: `name`.
    NoSuchUser,
    /// No such room; args: `room`.
    NoSuchRoom,
    /// The text is empty.
    EmptyText,
    /// The text is too long; args: `max`.
    TextTooLong,
    /// Too many requests.
    TooFast,
    /// The server cannot do this now.
    Busy,
    /// One that this version does not know.
    #[serde(other)]
    Unknown,
}

impl<T> Envelope<T> {
    /// A message that is no answer.
    pub fn event(body: T) -> Self {
        Self { re: None, body }
    }

    /// The answer to request `re`.
    pub fn answer(re: Option<u32>, body: T) -> Self {
        Self { re, body }
    }
}

impl ServerMessage {
    /// An error with its arguments.
    #[must_use]
    pub fn error<const N: usize>(code: ErrorCode, args: [(&str, String); N]) -> Self {
        let args = args.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Self::Error { code, args }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame;
    use super::super::secret::Secret;
    use super::*;
    use proptest::prelude::*;

    fn hello() -> ClientMessage {
        ClientMessage::Hello(Hello {
            version: PROTOCOL_VERSION,
            name: "Zoë".to_owned(),
            codecs: vec![Codec::Pcm],
            features: vec![],
            agent: "test".to_owned(),
            state: MemberState { muted: true, deafened: false },
            resume: Some(Secret::new([5; 32])),
        })
    }

    fn welcome() -> ServerMessage {
        ServerMessage::Welcome(Box::new(Welcome {
            version: PROTOCOL_VERSION,
            agent: String::new(),
            features: vec!["x".to_owned()],
            id: MemberId(1 << 40),
            name: UserName::parse("a").unwrap(),
            udp_port: 8889,
            protection: Protection::Plain,
            up_key: Secret::new([1; 16]),
            down_key: Secret::new([2; 16]),
            streams: vec![StreamGrant { ssrc: Ssrc(4), clock_hz: 16_000 }],
            control_ssrc: Ssrc(6),
            payload_types: vec![],
            resume: Secret::new([3; 32]),
            resumed: false,
        }))
    }

    #[test]
    fn messages_read_back_as_written() {
        for body in [
            hello(),
            ClientMessage::Leave,
            ClientMessage::ListUsers { room: None },
            ClientMessage::Voice { packet: vec![0, 255, 3] },
            ClientMessage::State(MemberState { muted: false, deafened: true }),
        ] {
            for re in [None, Some(7)] {
                let message = Envelope { re, body: body.clone() };
                let bytes = frame::encode(&message).unwrap();
                let back: Envelope<ClientMessage> = frame::decode(&bytes[4..]).unwrap();
                assert_eq!(back, message);
            }
        }
        for body in [
            welcome(),
            ServerMessage::error(ErrorCode::NameTaken, [("name", "x".to_owned())]),
            ServerMessage::Changed(MemberState::default()),
        ] {
            let message = Envelope::answer(Some(1), body);
            let bytes = frame::encode(&message).unwrap();
            let back: Envelope<ServerMessage> = frame::decode(&bytes[4..]).unwrap();
            assert_eq!(back, message);
        }
    }

    #[test]
    fn unknown_fields_and_types_are_passed_over() {
        #[derive(Serialize)]
        struct Later<'a> {
            r#type: &'a str,
            re: u32,
            token: u64,
            colour: Vec<&'a str>,
        }
        let mut later = Later { r#type: "ping", re: 3, token: 9, colour: vec!["red"] };
        let bytes = frame::encode(&later).unwrap();
        let read: Envelope<ClientMessage> = frame::decode(&bytes[4..]).unwrap();
        assert_eq!(read, Envelope::answer(Some(3), ClientMessage::Ping { token: 9 }));
        later.r#type = "dance";
        let bytes = frame::encode(&later).unwrap();
        let read: Envelope<ClientMessage> = frame::decode(&bytes[4..]).unwrap();
        assert_eq!(read, Envelope::answer(Some(3), ClientMessage::Unknown));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = frame::encode(&Envelope::event(hello())).unwrap();
        for length in 4..bytes.len() {
            assert!(frame::decode::<Envelope<ClientMessage>>(&bytes[4..length]).is_err());
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        let mut bytes = vec![0x82, 0xa4, b't', b'y', b'p', b'e', 0xa4, b'p', b'i', b'n', b'g'];
        bytes.extend([0xa1, b'x']);
        bytes.extend(vec![0x91; 60_000]);
        assert!(frame::decode::<Envelope<ClientMessage>>(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = frame::decode::<Envelope<ClientMessage>>(&bytes);
            let _ = frame::decode::<Envelope<ServerMessage>>(&bytes);
        }
    }
}
