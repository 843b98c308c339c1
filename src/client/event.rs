//! Everything that the client tells its user: what happened, typed, without words.
//!
//! The text console words events (`texts`), `--json` writes them as they are: the names of events
//! and fields are stable, scripts rely on them. No field holds a secret.

use super::control::dial::Trust;
use super::diagnosis::{Diagnosis, diagnose};
use super::listen::Way;
use super::voice::{
    ByWay, ChainFigures, DeviceList, Direction, SendingStats, StageName, TrialNews, VoicePath,
    VoiceStats,
};
use super::volumes::Volume;
use crate::net::codec::Codec;
use crate::net::ids::MemberId;
use crate::net::message::{ErrorCode, GoodbyeReason, LeaveReason, MemberInfo, Standing};
use crate::net::moderation::{Report, Role};
use crate::net::name::{RoomName, UserName, is_invisible};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Counts the sessions of one run of the client, so that a late command for a lost one is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct SessionNumber(pub u32);

/// Whether we were there when a text was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Heard {
    /// Just now.
    #[default]
    Live,
    /// It was said while we were away, after what we had heard there.
    Missed,
    /// It was said before we first came.
    Before,
}

impl Heard {
    /// Just now.
    fn is_live(&self) -> bool {
        *self == Self::Live
    }
}

/// Something that the user should know.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first attempt to reach the server begins.
    Connecting {
        /// As the user wrote it, with its port.
        server: String,
    },
    /// The control connection stands.
    Connected {
        /// The address that answered.
        server: SocketAddr,
        /// Why the server is believed.
        trust: TrustKind,
    },
    /// A server that was never seen before: its key is remembered from now on.
    NewServer {
        /// As the user wrote it, with its port.
        server: String,
        /// The fingerprint of its key.
        fingerprint: String,
    },
    /// The server knows us.
    Welcome {
        /// Who we are to the others.
        id: MemberId,
        /// Our name as the server took it.
        name: UserName,
        /// Server program and version.
        agent: String,
        /// A lost session goes on.
        resumed: bool,
        /// Which session this is.
        session: SessionNumber,
    },
    /// We are in this room now.
    Joined {
        /// The room.
        room: RoomName,
        /// Everyone in it, ourselves included.
        members: Vec<Person>,
    },
    /// We are in no room any more.
    Left {
        /// The room left.
        room: RoomName,
        /// Why, where it was not our own wish.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<LeaveReason>,
        /// Who did it.
        #[serde(skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        /// His words.
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// Our room has another name.
    RoomRenamed {
        /// The name before.
        from: RoomName,
        /// The name now.
        room: RoomName,
        /// Who did it.
        by: String,
    },
    /// Someone has come into our room.
    MemberJoined(Person),
    /// Someone has left our room.
    MemberLeft {
        /// Who.
        id: MemberId,
        /// His last name.
        name: UserName,
        /// Why.
        reason: LeaveReason,
    },
    /// Someone in our room has another name, state or streams.
    MemberChanged {
        /// As he is now.
        #[serde(flatten)]
        member: Person,
        /// His name before, if it changed.
        #[serde(skip_serializing_if = "Option::is_none")]
        renamed_from: Option<UserName>,
        /// What is different, for people.
        #[serde(skip)]
        change: Change,
    },
    /// Someone has begun or ceased to speak.
    Speaking {
        /// Who.
        id: MemberId,
        /// His name.
        name: UserName,
        /// Begun or ceased.
        on: bool,
        /// It is ourselves: the server hears us.
        you: bool,
    },
    /// Text to the room.
    Chat {
        /// Who said it.
        id: MemberId,
        /// His name.
        name: UserName,
        /// What.
        text: String,
        /// When, in milliseconds since 1970 by the server's clock.
        at_ms: u64,
        /// We said it ourselves.
        you: bool,
        /// Whether we were there.
        #[serde(skip_serializing_if = "Heard::is_live")]
        heard: Heard,
    },
    /// Text between two users, one of whom we are.
    Private {
        /// Who said it.
        from: UserName,
        /// Whom he told.
        to: UserName,
        /// What.
        text: String,
        /// When, in milliseconds since 1970 by the server's clock.
        at_ms: u64,
        /// We said it ourselves.
        you: bool,
    },
    /// The rooms there are.
    Rooms {
        /// By name.
        rooms: Vec<Room>,
        /// How many there are.
        total: u64,
    },
    /// Who is in a room.
    Users {
        /// The room.
        room: RoomName,
        /// Its members.
        members: Vec<Person>,
        /// How many there are.
        total: u64,
    },
    /// Our name is this now.
    Renamed {
        /// The name as the server took it.
        name: UserName,
    },
    /// Our name is kept for us, or no longer.
    Registered {
        /// The name.
        name: UserName,
        /// Kept.
        registered: bool,
    },
    /// What we may do, and whether we are heard.
    Standing {
        /// As it is now.
        #[serde(flatten)]
        standing: Standing,
        /// As it was before, for people.
        #[serde(skip)]
        before: Standing,
        /// The room that it is about.
        #[serde(skip_serializing_if = "Option::is_none")]
        room: Option<RoomName>,
    },
    /// Too many speak in the room at once and others are louder: nobody hears us; or that is over.
    Withheld {
        /// Not heard.
        withheld: bool,
    },
    /// Order was kept: what came of it.
    Report(Report),
    /// A password is asked for; it is typed hidden, and stands in no event.
    PasswordWanted {
        /// What it opens.
        lock: LockKind,
        /// The server, name or room that it belongs to.
        of: String,
        /// How often it was asked for.
        turn: Turn,
    },
    /// The server knows our state.
    State {
        /// The microphone is not open (push-to-talk).
        muted: bool,
        /// We hear nobody.
        deafened: bool,
        /// We record the room.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        recording: bool,
    },
    /// The microphone's mode was chosen.
    Microphone {
        /// Open, or push-to-talk.
        open: bool,
        /// It stays off until we are in a room.
        waiting: bool,
        /// Open only while somebody speaks.
        voice: bool,
    },
    /// A stage of the capture chain was switched.
    Stage {
        /// Which.
        stage: StageName,
        /// On or off.
        on: bool,
    },
    /// Hearing was switched off or on.
    Deafened {
        /// Off.
        on: bool,
    },
    /// Someone is played so loud from now on, here and whenever he comes.
    Volume {
        /// Who.
        name: UserName,
        /// How loud.
        #[serde(flatten)]
        volume: Volume,
        /// One of that name is in our room.
        here: bool,
    },
    /// Speakers are brought near to one loudness from now on, or are not.
    Levelling {
        /// They are.
        on: bool,
    },
    /// Who comes and goes, and our microphone and ears, are told by sounds, or are not.
    Sounds {
        /// They are.
        on: bool,
    },
    /// Hearing ourselves (`/test`) goes on, or has ended.
    Test(TrialNews),
    /// Everyone in the room knows that we record; the recording has begun.
    Recording {
        /// Where the files are.
        directory: PathBuf,
    },
    /// A recording has ended.
    RecordingEnded {
        /// Where the files are.
        directory: PathBuf,
        /// Their names, the mix first.
        files: Vec<String>,
        /// How long they are.
        length_ms: u64,
        /// How much sound is missing because the disk was too slow.
        lost_ms: u64,
        /// Why it has ended by itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// Our voice is encoded as this from now on.
    Codec {
        /// The codec.
        codec: Codec,
    },
    /// Opus has another bit rate from now on.
    Bitrate {
        /// In kbit/s.
        kbps: u32,
    },
    /// A request or a command failed.
    Error {
        /// Why.
        code: ErrorKind,
        /// What the error is worded with.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        args: BTreeMap<String, String>,
        /// The client ends because of it.
        fatal: bool,
    },
    /// Something worth a line.
    Notice {
        /// What.
        code: NoticeCode,
    },
    /// Figures of the voice side.
    Stats(Box<Stats>),
    /// The connection is lost; it is tried again by itself.
    Lost {
        /// Why.
        why: LossCause,
        /// The system's words, where there are any.
        #[serde(skip_serializing_if = "String::is_empty")]
        detail: String,
        /// Pause before the next attempt.
        retry_ms: u64,
    },
    /// An attempt to come back has failed.
    Retrying {
        /// How many have failed in a row.
        attempt: u32,
        /// Why.
        why: LossCause,
        /// The system's words, where there are any.
        #[serde(skip_serializing_if = "String::is_empty")]
        detail: String,
        /// Pause before the next attempt.
        retry_ms: u64,
    },
    /// The server closes the connection.
    Goodbye {
        /// Why.
        reason: GoodbyeReason,
        /// Who did it.
        #[serde(skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        /// His words.
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<String>,
        /// Until when it lasts, in milliseconds since 1970.
        #[serde(skip_serializing_if = "Option::is_none")]
        until_ms: Option<u64>,
    },
    /// A sound device is open and running.
    DeviceUp {
        /// Microphone or loudspeaker.
        direction: DeviceKind,
        /// Its name and format.
        description: String,
    },
    /// A sound device cannot be opened or has gone.
    DeviceDown {
        /// Microphone or loudspeaker.
        direction: DeviceKind,
        /// Its name.
        name: String,
        /// The sound system's words.
        error: String,
    },
    /// A sound device that was chosen cannot be opened: what was in use before is in use still.
    DeviceRefused {
        /// Microphone or loudspeaker.
        direction: DeviceKind,
        /// The name by which it was chosen.
        name: String,
        /// The sound system's words.
        error: String,
        /// What is in use; empty for nothing.
        kept: String,
    },
    /// The sound devices there are (`/devices`).
    Devices(DeviceList),
    /// Where the talk key is seen.
    TalkKey {
        /// Its name.
        key: String,
        /// How it is seen while another window is in front; none if it is not.
        #[serde(skip_serializing_if = "Option::is_none")]
        way: Option<Way>,
        /// The terminal can tell of it.
        at_terminal: bool,
        /// Why it is not seen in other windows.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// A test tone plays (`/tone`).
    Tone {
        /// On which loudspeaker; empty for none, because none is open.
        output: String,
    },
    /// Voice travels another way.
    Path {
        /// Which.
        path: PathKind,
        /// It went by UDP before, and UDP was blocked for a while.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        back: bool,
    },
    /// The commands there are.
    Help {
        /// How push-to-talk works in this terminal; `None` where there are no keys.
        #[serde(skip)]
        keys: Option<super::ptt::Release>,
        /// Of which commands.
        #[serde(skip)]
        topic: HelpTopic,
    },
    /// The client has left; the last event.
    Bye,
}

/// What `/help` tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HelpTopic {
    /// What everyone needs.
    Everyone,
    /// That, and the commands of those who keep order.
    All,
    /// Only the commands of those who keep order.
    Moderation,
}

/// What a password opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LockKind {
    /// The server.
    Server,
    /// A registered name.
    Name,
    /// A room.
    Room,
    /// A name that is being registered.
    NewName,
    /// A room that is being locked.
    NewRoom,
}

/// How often a password was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// For the first time.
    First,
    /// What was typed was wrong.
    Wrong,
    /// Once more, to be sure.
    Repeat,
}

/// An event with its words.
#[derive(Serialize)]
struct Worded<'a> {
    #[serde(flatten)]
    event: &'a Event,
    message: String,
}

/// A member, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Person {
    /// Who.
    pub id: MemberId,
    /// His name.
    pub name: UserName,
    /// His microphone is not open.
    pub muted: bool,
    /// He hears nobody.
    pub deafened: bool,
    /// He records what is said in the room.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub recording: bool,
    /// He speaks right now.
    pub speaking: bool,
    /// How loud we play him, where it is not as he is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<Volume>,
    /// A moderator has silenced him.
    pub silenced: bool,
    /// His role on the server or in the room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// It is ourselves.
    pub you: bool,
}

impl Person {
    /// A member as the server tells of him; `me` is ourselves.
    #[must_use]
    pub fn new(info: &MemberInfo, me: Option<MemberId>) -> Self {
        Self {
            id: info.id,
            name: info.name.clone(),
            muted: info.muted,
            deafened: info.deafened,
            recording: info.recording,
            volume: None,
            speaking: info.speaking,
            silenced: info.silenced,
            role: info.role,
            you: me == Some(info.id),
        }
    }
}

/// What is different about a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// His microphone was opened or closed.
    pub muted: bool,
    /// He has ceased or begun to hear.
    pub deafened: bool,
    /// He has begun or ceased to record.
    pub recording: bool,
    /// He was silenced, or is heard again.
    pub silenced: bool,
    /// His role is another.
    pub role: bool,
}

/// A room in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Room {
    /// Its name.
    pub name: RoomName,
    /// How many are in it.
    pub members: u32,
    /// It has a password.
    pub locked: bool,
    /// We are in it.
    pub here: bool,
}

/// Where an error comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ErrorKind {
    /// The server refused.
    Server(ErrorCode),
    /// The client itself.
    Local(LocalError),
}

/// Errors of the client itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LocalError {
    /// No such command; args: `word`, perhaps `nearest`.
    UnknownCommand,
    /// Something is missing behind the command; args: `usage`.
    MissingArgument,
    /// A quotation mark without its partner; args: `usage`.
    UnclosedQuote,
    /// The line is longer than a text may be; args: `max`.
    LineTooLong,
    /// What stands for a time is none; args: `word`, `usage`.
    BadTime,
    /// What stands for a number is none; args: `word`, `usage`.
    BadNumber,
    /// There is no such codec; args: `word`, `usage`.
    BadCodec,
    /// Neither `on` nor `off`; args: `word`, `usage`.
    NotOnOrOff,
    /// The reason is longer than it may be; args: `max`.
    ReasonTooLong,
    /// More stands behind the command than it takes; args: `usage`.
    TooManyArguments,
    /// A password was written behind the command, where everyone can read it; args: `usage`.
    PasswordOnLine,
    /// A room must be named, because we are in none; args: `usage`.
    WhichRoom,
    /// The line is no invite; args: `why`.
    BadInvite,
    /// What was typed cannot be a password; args: `why`.
    BadPassword,
    /// Two times the same password was asked for, and two were typed.
    PasswordsDiffer,
    /// A password is needed and cannot be asked for here; args: `lock`, `of`.
    CannotAsk,
    /// The one who was asked for a password gave none; args: `lock`, `of`.
    NoPassword,
    /// More volumes are remembered than may be; args: `name`.
    TooManyVolumes,
    /// We do not play ourselves.
    VolumeOfSelf,
    /// A recording is asked for while one runs already; args: `directory`.
    RecordsAlready,
    /// There is no recording to be ended.
    RecordsNothing,
    /// The server cannot tell the room of a recording, so there is none.
    RecordingUntold,
    /// An invite or a password was not sent because the connection is not encrypted; args: `server`.
    SecretNeedsTls,
    /// An invite that names no key was not sent to a server that nobody vouches for; args: `server`.
    InviteUnproven,
    /// A request while there is no connection; args: `what`.
    NotConnected,
    /// The server has not answered; args: `what`.
    NoAnswer,
    /// The connection was lost before the answer; args: `what`.
    LostUnanswered,
    /// Too many requests wait to be sent; args: `what`.
    QueueFull,
    /// The server cannot be reached; args: `server`, `why`.
    CannotConnect,
    /// The server said goodbye before it let us in; args: `server`, `why`.
    SentAway,
    /// What answers is no Parlor server, or an incompatible one; args: `server`.
    NotParlor,
    /// The server wants a protection that this version does not know.
    Protection,
    /// The server would not protect voice, and this client was not told to do without.
    VoiceUnprotected,
    /// Another client has taken this session over.
    TakenOver,
    /// An operator has sent us away; args: `server`, `by`, `why` where there are any.
    Kicked,
    /// We were banned while we were here; args: `server`, `by`, `why`, `until_ms` where there are any.
    Banned,
    /// The server has another key than it had; args: `server`, `old`, `new`, `file`, `line`.
    KeyChanged,
    /// The server has not the key that was named; args: `server`, `expected`, `new`.
    OtherKey,
    /// No authority vouches any more for a server that was known by its certificate; args: `server`, `why`,
    /// `new`, `file`, `line`.
    CertificateLost,
    /// The server's certificate is for other hosts; args: `server`, `names`.
    CertificateForOthers,
    /// Nobody vouches for a server that must be vouched for; args: `server`, `why`, `new`.
    NotVouched,
    /// What is remembered of the server cannot be read; args: `server`, `file`, `line`.
    KnownServersDamaged,
    /// What answers does not speak TLS; args: `server`.
    NoTls,
    /// The client's own files cannot be used; args: `why`, perhaps `server`.
    State,
}

/// Why a server is believed, for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TrustKind {
    /// It is not: nothing is encrypted.
    Plain,
    /// Its key is known.
    Known,
    /// Its key is remembered from now on.
    FirstUse,
    /// An authority vouches for it.
    Certificate,
}

impl From<Trust> for TrustKind {
    fn from(trust: Trust) -> Self {
        match trust {
            Trust::Plain => Self::Plain,
            Trust::Known => Self::Known,
            Trust::FirstUse(_) => Self::FirstUse,
            Trust::Certificate => Self::Certificate,
        }
    }
}

/// Things worth a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeCode {
    /// How push-to-talk works here: the terminal reports when a key is let go.
    KeysRelease,
    /// How push-to-talk works here: a key is held while it repeats.
    KeysRepeat,
    /// The key was pressed and there is nobody to talk to.
    NobodyToTalkTo,
    /// The key was held for too long; the microphone was closed.
    HeldTooLong,
    /// The computer has slept; the microphone is off.
    Slept,
    /// The key was pressed while we hear ourselves: nothing is sent.
    TestRuns,
    /// We are back after a lost connection; the microphone is off.
    Back,
    /// There is no connection; what was asked for takes effect when it is back.
    WhenBack,
    /// The server that an invite led to did not let us in; we go back to the one before.
    GoingBack,
    /// No password was given, so the room was not entered.
    NotEntered,
    /// No password was given, so nothing was changed.
    NothingChanged,
    /// The screen could not keep up and lines were left out.
    LinesSkipped,
    /// Nothing is encrypted, because the user wants it so.
    Unencrypted,
}

/// Why a connection is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LossCause {
    /// The server closed it without a word.
    Closed,
    /// The network reported an error.
    Failed,
    /// Nothing was heard for too long.
    Silence,
    /// What came was no message.
    Garbled,
    /// The server said goodbye.
    Goodbye,
    /// It could not be made.
    Unreachable,
    /// The server refused us.
    Refused,
}

/// Microphone or loudspeaker, for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// Microphone.
    Input,
    /// Loudspeaker.
    Output,
}

impl From<Direction> for DeviceKind {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Input => Self::Input,
            Direction::Output => Self::Output,
        }
    }
}

/// The way of voice, for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PathKind {
    /// None yet.
    None,
    /// Datagrams.
    Udp,
    /// Inside the control connection.
    Stream,
}

impl From<VoicePath> for PathKind {
    fn from(path: VoicePath) -> Self {
        match path {
            VoicePath::None => Self::None,
            VoicePath::Udp => Self::Udp,
            VoicePath::Stream => Self::Stream,
        }
    }
}

/// Figures of the voice side, with names.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stats {
    /// Way of voice: `udp`, `stream` or `none`.
    pub path: String,
    /// Round trip to the server in ms, if measured.
    pub round_trip_ms: Option<f32>,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets received.
    pub packets_received: u64,
    /// Which way those sent went.
    pub sent_by: ByWay,
    /// Which way those received came.
    pub received_by: ByWay,
    /// Datagrams dropped.
    pub packets_dropped: u64,
    /// Share of our packets that the server missed lately, 0 to 1.
    pub uplink_loss: f32,
    /// Share that the room misses of what the server sends, 0 to 1.
    pub room_loss: f32,
    /// Share that we miss of what the server itself sends us, 0 to 1.
    pub downlink_loss: f32,
    /// How our voice is sent.
    pub sending: SendingStats,
    /// What the capture chain does; none where the source is no microphone.
    pub chain: Option<ChainFigures>,
    /// Time from the microphone to us, in ms.
    pub input_latency_ms: f32,
    /// Time from the mix to the ear, in ms, as far as it is known.
    pub output_latency_ms: f32,
    /// The microphone is a sound device.
    pub input_is_device: bool,
    /// Level of the microphone, dBFS.
    pub input_level_db: f32,
    /// Level of what is played, dBFS.
    pub output_level_db: f32,
    /// The microphone, as opened.
    pub input: String,
    /// The loudspeaker, as opened.
    pub output: String,
    /// Times that the sound system lost samples of the microphone.
    pub input_overruns: u64,
    /// Times that the loudspeaker found no samples.
    pub output_underruns: u64,
    /// Times in the last minute that sound dropped out here.
    pub gaps_per_minute: u32,
    /// What this process takes of one core, if it is known.
    pub cpu: Option<f32>,
    /// Everyone heard.
    pub speakers: Vec<Speaker>,
    /// What all of it comes to.
    pub diagnosis: Diagnosis,
}

/// Figures of one speaker.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Speaker {
    /// Who.
    pub id: MemberId,
    /// His name, if he is still in the room.
    pub name: Option<UserName>,
    /// Packets received.
    pub received: u64,
    /// Packets lost on the way.
    pub lost: u64,
    /// Packets too late to be played.
    pub late: u64,
    /// How loud we play him, where it is not as he is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<Volume>,
    /// What levelling adds to him now, in dB.
    pub levelling_db: f32,
    /// Share lost lately, 0 to 1.
    pub loss: f32,
    /// Share of the last seconds of speech that was concealed, 0 to 1.
    pub concealed: f32,
    /// Share of all frames that was made good (from copies, in-band FEC or deep redundancy), 0 to 1.
    pub repaired: f32,
    /// Jitter in ms.
    pub jitter_ms: f32,
    /// Playout delay in ms.
    pub buffer_ms: f32,
    /// Playout delay aimed for, in ms.
    pub target_ms: f32,
    /// From his mouth to our ear, in ms: the sum of what is known, with his side taken to be like ours.
    pub mouth_to_ear_ms: f32,
}

/// Figures of all speakers together.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Total {
    /// Packets received.
    pub received: u64,
    /// Packets lost on the way.
    pub lost: u64,
    /// Share of the last seconds of speech that was concealed, 0 to 1: the mean.
    pub concealed: f32,
    /// Share of all frames that was made good, 0 to 1: the mean by packets.
    pub repaired: f32,
}

impl Stats {
    /// Figures with what `member` knows of speakers: their names, and volumes where they are not as usual.
    #[must_use]
    pub fn new(
        stats: VoiceStats,
        member: impl Fn(MemberId) -> Option<(UserName, Option<Volume>)>,
    ) -> Self {
        // Half a round trip on our side and, as nothing is known of it, the same on his.
        let way_ms = stats.round_trip_ms.unwrap_or(0.0);
        let sending = &stats.sending;
        let mouth_ms = stats.input_latency_ms + sending.frame_ms as f32 + sending.lookahead_ms;
        let around_ms = mouth_ms + way_ms + stats.output_latency_ms;
        let speakers = stats.speakers.iter().map(|s| {
            let repaired = s.repaired_red + s.repaired_fec + s.repaired_dred;
            let (name, volume) = member(s.id).unzip();
            Speaker {
                id: s.id,
                name,
                volume: volume.flatten(),
                levelling_db: s.levelling_db,
                received: s.received,
                lost: s.lost,
                late: s.late,
                loss: s.loss,
                concealed: s.concealed,
                repaired: (repaired as f32 / (s.received + s.lost).max(1) as f32).min(1.0),
                jitter_ms: s.jitter_ms,
                buffer_ms: s.buffer_ms,
                target_ms: s.target_ms,
                mouth_to_ear_ms: around_ms + s.buffer_ms,
            }
        });
        let speakers = speakers.collect();
        let mut figures = Self {
            path: if stats.path.is_empty() { "none" } else { stats.path }.to_owned(),
            round_trip_ms: stats.round_trip_ms,
            packets_sent: stats.packets_sent,
            packets_received: stats.packets_received,
            sent_by: stats.sent_by,
            received_by: stats.received_by,
            packets_dropped: stats.packets_dropped,
            uplink_loss: stats.uplink_loss,
            room_loss: stats.room_loss,
            downlink_loss: stats.downlink_loss,
            sending: stats.sending,
            chain: stats.chain,
            input_latency_ms: stats.input_latency_ms,
            output_latency_ms: stats.output_latency_ms,
            input_is_device: stats.input_is_device,
            input_level_db: stats.input_level_db,
            output_level_db: stats.output_level_db,
            input: stats.input,
            output: stats.output,
            input_overruns: stats.input_overruns,
            output_underruns: stats.output_underruns,
            gaps_per_minute: stats.gaps_per_minute,
            cpu: stats.cpu,
            speakers,
            diagnosis: Diagnosis::NotConnected,
        };
        figures.diagnosis = diagnose(&figures);
        figures
    }

    /// All speakers together, if anyone was heard.
    #[must_use]
    pub fn total(&self) -> Option<Total> {
        let heard = self.speakers.iter().filter(|speaker| speaker.received > 0);
        let count = heard.clone().count();
        let mut total = Total::default();
        for speaker in heard {
            let packets = speaker.received + speaker.lost;
            total.received += speaker.received;
            total.lost += speaker.lost;
            total.concealed += speaker.concealed / count as f32;
            total.repaired += speaker.repaired * packets as f32;
        }
        total.repaired /= (total.received + total.lost).max(1) as f32;
        (count > 0).then_some(total)
    }
}

impl Event {
    /// An error of the client itself.
    #[must_use]
    pub fn error<const N: usize>(code: LocalError, args: [(&str, String); N]) -> Self {
        let args = args.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Self::Error { code: ErrorKind::Local(code), args, fatal: false }
    }

    /// The event as one line of JSON. What is worded for people is in `message`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let worded = matches!(
            self,
            Self::Error { .. }
                | Self::PasswordWanted { .. }
                | Self::Report(_)
                | Self::Notice { .. }
                | Self::Lost { .. }
                | Self::Retrying { .. }
                | Self::Goodbye { .. }
                | Self::DeviceDown { .. }
                | Self::DeviceRefused { .. }
                | Self::TalkKey { .. }
                | Self::NewServer { .. }
                | Self::Test(_)
                | Self::Help { .. }
        );
        let line = if worded {
            let message = match self {
                Self::Goodbye { reason, .. } => super::texts::goodbye(*reason).to_owned(),
                event => super::texts::words(event).join("\n"),
            };
            serde_json::to_string(&Worded { event: self, message })
        } else {
            serde_json::to_string(self)
        };
        let line = line
            .unwrap_or_else(|error| serde_json::json!({ "event": error.to_string() }).to_string());
        escaped(line)
    }
}

/// JSON with everything invisible escaped as JSON does it, so that it does no harm on a terminal
/// either. Such characters stand only inside strings.
fn escaped(line: String) -> String {
    if !line.contains(is_invisible) {
        return line;
    }
    let mut safe = String::with_capacity(line.len() + 32);
    for c in line.chars() {
        if is_invisible(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::voice::DeviceName;
    use serde_json::{Value, json};

    fn person(name: &str) -> Person {
        Person {
            id: MemberId(7),
            name: UserName::parse(name).unwrap(),
            muted: true,
            deafened: false,
            recording: false,
            volume: None,
            speaking: false,
            silenced: false,
            role: None,
            you: false,
        }
    }

    fn value(event: &Event) -> Value {
        let line = event.to_json();
        assert!(!line.contains('\n'), "{line}");
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn members_are_flat_so_that_scripts_find_the_name_at_once() {
        let expected = json!({"event": "member_joined", "id": 7, "name": "Bob", "muted": true,
            "deafened": false, "speaking": false, "silenced": false, "you": false});
        assert_eq!(value(&Event::MemberJoined(person("Bob"))), expected);
        let changed = Event::MemberChanged {
            member: person("Bob"),
            renamed_from: Some(UserName::parse("Bo").unwrap()),
            change: Change::default(),
        };
        let changed = value(&changed);
        assert_eq!(
            (&changed["event"], &changed["name"]),
            (&json!("member_changed"), &json!("Bob"))
        );
        assert_eq!(changed["renamed_from"], json!("Bo"));
    }

    #[test]
    fn a_join_names_the_room_and_its_members() {
        let room = RoomName::parse("general").unwrap();
        let joined = value(&Event::Joined { room, members: vec![person("Bob")] });
        assert_eq!((&joined["event"], &joined["room"]), (&json!("joined"), &json!("general")));
        assert_eq!(joined["members"][0]["name"], json!("Bob"));
    }

    #[test]
    fn an_error_has_a_code_arguments_and_a_message() {
        let error = Event::error(LocalError::UnknownCommand, [("word", "/mut".to_owned())]);
        let error = value(&error);
        assert_eq!(error["code"], json!("unknown_command"));
        assert_eq!(error["args"]["word"], json!("/mut"));
        assert!(error["message"].as_str().unwrap().contains("/mut"));
        let code = ErrorKind::Server(ErrorCode::NameTaken);
        let error = value(&Event::Error { code, args: BTreeMap::new(), fatal: true });
        assert_eq!((&error["code"], &error["fatal"]), (&json!("name_taken"), &json!(true)));
    }

    #[test]
    fn a_text_stays_what_was_said() {
        let name = UserName::parse("Bob").unwrap();
        let chat = Event::Chat {
            id: MemberId(1),
            name,
            text: "a\nb".into(),
            at_ms: 5,
            you: true,
            heard: Heard::Live,
        };
        let expected = json!({"event": "chat", "id": 1, "name": "Bob", "text": "a\nb", "at_ms": 5,
            "you": true});
        assert_eq!(value(&chat), expected);
    }

    #[test]
    fn devices_paths_and_speaking_have_their_names() {
        let down = Event::DeviceDown {
            direction: DeviceKind::Input,
            name: "Mic".into(),
            error: "gone".into(),
        };
        assert_eq!(value(&down)["event"], json!("device_down"));
        assert_eq!(value(&down)["direction"], json!("input"));
        let refused = Event::DeviceRefused {
            direction: DeviceKind::Output,
            name: "B".into(),
            error: "busy".into(),
            kept: "A: 48000 Hz".into(),
        };
        assert_eq!(value(&refused)["event"], json!("device_refused"));
        assert!(value(&refused)["message"].as_str().unwrap().contains("'A' stays in use"));
        let name = DeviceName { name: "Mic".into(), used: true };
        let list = DeviceList {
            inputs: vec![name],
            outputs: Vec::new(),
            input: "Mic: 48000 Hz".into(),
            output: String::new(),
            input_level_db: -30.0,
            error: None,
        };
        assert_eq!(
            value(&Event::Devices(list)),
            json!({"event": "devices", "inputs": [{"name": "Mic", "used": true}], "outputs": [],
                "input": "Mic: 48000 Hz", "output": "", "input_level_db": -30.0})
        );
        assert_eq!(
            value(&Event::Path { path: PathKind::Udp, back: false }),
            json!({"event": "path", "path": "udp"})
        );
        assert_eq!(
            value(&Event::Path { path: PathKind::Udp, back: true }),
            json!({"event": "path", "path": "udp", "back": true})
        );
        let name = UserName::parse("Bob").unwrap();
        let speaking = Event::Speaking { id: MemberId(1), name, on: true, you: false };
        let expected =
            json!({"event": "speaking", "id": 1, "name": "Bob", "on": true, "you": false});
        assert_eq!(value(&speaking), expected);
        let stats = value(&Event::Stats(Box::new(Stats::new(VoiceStats::default(), |_| None))));
        assert_eq!((&stats["event"], &stats["path"]), (&json!("stats"), &json!("none")));
    }
}
