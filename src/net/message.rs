//! Messages of the control connection, as both ends read and write them.
//!
//! Each is a MessagePack map with a `type`. Both ends pass over fields they do not know; a type
//! they do not know becomes `Unknown`, which the server answers with a typed error. A request may
//! carry a number `re`, and its answer repeats it.

use super::codec::{Codec, PayloadType};
use super::device::DeviceProof;
use super::ids::{MemberId, Ssrc};
use super::invite::InviteToken;
use super::moderation::{Moderation, Report, Role};
use super::name::{RoomName, UserName};
use super::protect::DirectionKey;
use super::secret::{Password, ResumeSecret};
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
    Hello(Box<Hello>),
    /// Enter a room, leaving the one before; answered by `Joined` or `Error`.
    Join {
        /// The room, made if it does not exist.
        room: String,
        /// The room's password, where it has one and nothing else opens it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        password: Option<Password>,
        /// The number of the last text that was heard in it: only what was said after it is told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
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
    /// Keep my name for me, with this password, also when I am away; answered by `Registered` or `Error`.
    /// A registered user changes his password so.
    Register {
        /// The password.
        password: Password,
    },
    /// Keep my name for me no longer; answered by `Registered` or `Error`.
    Unregister,
    /// Keep order; answered by `Report` or `Error`.
    Moderate {
        /// How.
        order: Moderation,
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
    /// The device's own key. Only inside TLS, as are all that follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceProof>,
    /// An invite's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invite: Option<InviteToken>,
    /// The server's password, where it has one and nothing else lets the client in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_password: Option<Password>,
    /// The password of the name, where it is registered and the device is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
}

impl Hello {
    /// A `Hello` that brings nothing but a name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            version: PROTOCOL_VERSION,
            name: name.to_owned(),
            codecs: vec![Codec::Pcm],
            features: Vec::new(),
            agent: String::new(),
            state: MemberState::default(),
            resume: None,
            device: None,
            invite: None,
            server_password: None,
            password: None,
        }
    }
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
    /// He records what is said in the room.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recording: bool,
}

/// A text that was said in a room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatLine {
    /// Its number, higher than those of all texts before it in this room.
    pub no: u64,
    /// Who said it.
    pub id: MemberId,
    /// His name then.
    pub name: UserName,
    /// What he said.
    pub text: String,
    /// When, in milliseconds since 1970 by the server's clock.
    pub at_ms: u64,
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
        /// Why, where it was not your own wish.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<LeaveReason>,
        /// Who did it, where somebody did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        /// His words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// Your room has another name.
    RoomRenamed {
        /// The name before.
        from: RoomName,
        /// The name now.
        room: RoomName,
        /// Who did it.
        by: String,
    },
    /// Someone has come into your room.
    MemberJoined {
        /// Who.
        member: MemberInfo,
        /// Codecs that everyone can decode now.
        codecs: Vec<Codec>,
    },
    /// Someone has left your room. What of his voice is on the way may still come; it is not played.
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
    /// What was said in the room that you have joined, the oldest first: all that it keeps, or what came after
    /// the text that you have named.
    History {
        /// The texts.
        lines: Vec<ChatLine>,
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
        /// Its number, higher than those of all texts before it in this room.
        #[serde(default)]
        no: u64,
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
    /// Your name is kept for you, or no longer.
    Registered {
        /// The name.
        name: UserName,
        /// Kept.
        registered: bool,
    },
    /// Answer to `Moderate`.
    Report {
        /// What came of it.
        report: Report,
    },
    /// What you may do has changed, or a moderator has silenced you or lets you be heard again.
    Standing(Standing),
    /// Too many speak in your room at once, and others are louder: nobody is sent your voice; or that is over.
    Withheld {
        /// Not heard.
        withheld: bool,
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
        /// Who did it, where somebody did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        /// His words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
        /// Until when it lasts, in milliseconds since 1970, for a ban with an end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until_ms: Option<u64>,
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

/// What the server thinks of you.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Standing {
    /// Your role on the whole server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Your role in the room that you are in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room_role: Option<Role>,
    /// Your name is kept for you.
    #[serde(default)]
    pub registered: bool,
    /// A moderator has silenced you: nobody hears you.
    #[serde(default)]
    pub silenced: bool,
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
    /// What the server thinks of you.
    #[serde(default)]
    pub standing: Standing,
}

/// How datagrams are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protection {
    /// A secret tag; nothing is encrypted.
    Plain,
    /// SRTP with AEAD_AES_128_GCM (RFC 7714).
    AeadAes128Gcm,
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
    /// Records what is said in the room.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recording: bool,
    /// In a talkspurt right now.
    pub speaking: bool,
    /// A moderator has silenced him.
    #[serde(default)]
    pub silenced: bool,
    /// His role on the server or, if he has none there, in this room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
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
    /// It has a password.
    #[serde(default)]
    pub locked: bool,
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
    /// Sent away by an operator or moderator.
    Kicked,
    /// Banned.
    Banned,
    /// Moved to another room.
    Moved,
    /// The room was closed.
    Closed,
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
    /// Sent away by an operator.
    Kicked,
    /// Banned.
    Banned,
    /// Too many wrong passwords, invites or refused names.
    TooManyAttempts,
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
    /// Too many requests; args: `retry_ms` where it is known.
    TooFast,
    /// Others said more than your line could take: so many texts were skipped; args: `count`.
    TextsMissed,
    /// The server has a password; none was given.
    ServerPassword,
    /// That is not the server's password.
    BadServerPassword,
    /// The name is registered and its password is needed; args: `name`.
    NameRegistered,
    /// That is not the password of the name; args: `name`.
    BadPassword,
    /// The room has a password; none was given; args: `room`.
    RoomPassword,
    /// That is not the room's password; args: `room`.
    BadRoomPassword,
    /// The invite is unknown, used up or revoked.
    BadInvite,
    /// The invite has expired.
    InviteExpired,
    /// An invite needs a client with a device key.
    DeviceNeeded,
    /// The device's proof is not good on this connection.
    BadDevice,
    /// Too many wrong guesses; args: `retry_s`.
    TooManyAttempts,
    /// Too many people new to the server from this address; args: `retry_s`.
    TooManyNewcomers,
    /// Banned; args: `until_ms`, `why`, `by`, `room`, where there are any.
    Banned,
    /// Too many connections from this address; args: `max`.
    TooManyConnections,
    /// You may not do that; args: `needs` (`operator`) where a room's moderator may not either.
    NotAllowed,
    /// He outranks you, or is you; args: `name`.
    NotOverHim,
    /// Passwords, invites and device keys need an encrypted connection.
    NeedsTls,
    /// The name is not registered; args: `name`.
    NotRegistered,
    /// There is no such ban, silence or invite; args: `id`.
    NoSuchEntry,
    /// That is no address, network or name; args: `target`, `why`.
    BadTarget,
    /// There is no such user here, and no such registered name; args: `name`.
    NobodyKnown,
    /// The server keeps nothing (`--ephemeral`), so this would not last; or its disk refuses.
    NotKept,
    /// The server keeps as many of these as it may; args: `what`, `max`.
    TooMany,
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

impl ClientMessage {
    /// Into a room that has no password.
    #[must_use]
    pub fn join(room: impl Into<String>) -> Self {
        Self::Join { room: room.into(), password: None, after: None }
    }
}

impl ServerMessage {
    /// A goodbye that nobody in particular is behind.
    #[must_use]
    pub fn goodbye(reason: GoodbyeReason) -> Self {
        Self::Goodbye { reason, by: None, why: None, until_ms: None }
    }

    /// Out of a room by one's own wish.
    #[must_use]
    pub fn left(room: RoomName) -> Self {
        Self::Left { room, reason: None, by: None, why: None }
    }

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
    use super::super::moderation::Target;
    use super::super::secret::Secret;
    use super::*;
    use proptest::prelude::*;

    fn hello() -> ClientMessage {
        ClientMessage::Hello(Box::new(Hello {
            agent: "test".to_owned(),
            state: MemberState { muted: true, deafened: false, recording: false },
            resume: Some(Secret::new([5; 32])),
            device: Some(DeviceProof { key: [1; 32], signature: [2; 64] }),
            invite: Some(Secret::new([6; 32])),
            server_password: Password::new("open".to_owned()).ok(),
            ..Hello::new("Zoë")
        }))
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
            up_key: Secret::new([1; 28]),
            down_key: Secret::new([2; 28]),
            streams: vec![StreamGrant { ssrc: Ssrc(4), clock_hz: 16_000 }],
            control_ssrc: Ssrc(6),
            payload_types: vec![],
            resume: Secret::new([3; 32]),
            resumed: false,
            standing: Standing::default(),
        }))
    }

    #[test]
    fn messages_read_back_as_written() {
        for body in [
            hello(),
            ClientMessage::Leave,
            ClientMessage::ListUsers { room: None },
            ClientMessage::Voice { packet: vec![0, 255, 3] },
            ClientMessage::State(MemberState { muted: false, deafened: true, recording: false }),
            ClientMessage::Join { room: "r".to_owned(), password: None, after: Some(7) },
            ClientMessage::Moderate {
                order: Moderation::Ban {
                    target: Target::Network("10.0.0.0/8".to_owned()),
                    room: None,
                    seconds: Some(60),
                    reason: None,
                },
            },
            ClientMessage::Moderate { order: Moderation::ListSanctions },
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
            ServerMessage::History {
                lines: vec![ChatLine {
                    no: 9,
                    id: MemberId(2),
                    name: UserName::parse("Bob").unwrap(),
                    text: "hi".to_owned(),
                    at_ms: 5,
                }],
            },
            ServerMessage::Standing(Standing::default()),
            ServerMessage::Report { report: Report::Sanctioned { id: 3, affected: 1 } },
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
