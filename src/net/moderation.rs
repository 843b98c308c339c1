//! What operators and moderators do: the same words from the client, from the server's own
//! sub-commands, and in the audit log.

use super::name::{RoomName, UserName};
use super::secret::Password;
use serde::{Deserialize, Serialize};

/// What someone may do on the whole server or in one room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Keeps order in a room.
    Moderator,
    /// Keeps order everywhere, and says who else may.
    Operator,
    /// One that this version does not know; may nothing.
    #[serde(other)]
    Unknown,
}

/// Whom a ban or a silence is meant for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
pub enum Target {
    /// A user by name: his registered identity and device if he has one, and the name.
    User(String),
    /// A name alone, whoever bears it (and what looks like it).
    Name(String),
    /// The address that this user, who is here now, comes from.
    AddressOf(String),
    /// An address: IPv4 or IPv6.
    Address(String),
    /// A network: `ADDRESS/BITS`.
    Network(String),
    /// One that this version does not know.
    #[serde(other)]
    Unknown,
}

/// A request to keep order; answered by a [`Report`] or an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Moderation {
    /// Out of the server (an operator) or out of the room (its moderator).
    Kick {
        /// Who.
        name: String,
        /// Why.
        #[serde(default)]
        reason: Option<String>,
    },
    /// Out, and not in again for some time.
    Ban {
        /// Whom.
        target: Target,
        /// From this room only; from the whole server if left out.
        #[serde(default)]
        room: Option<String>,
        /// How long, in seconds; for good if left out.
        #[serde(default)]
        seconds: Option<u64>,
        /// Why.
        #[serde(default)]
        reason: Option<String>,
    },
    /// Nobody hears him any more, whatever his client sends.
    Mute {
        /// Whom.
        name: String,
        /// How long, in seconds; until lifted if left out.
        #[serde(default)]
        seconds: Option<u64>,
        /// Why.
        #[serde(default)]
        reason: Option<String>,
    },
    /// He is heard again.
    Unmute {
        /// Who.
        name: String,
    },
    /// Lifts a ban or a silence by its number.
    Lift {
        /// Its number in the list.
        id: u64,
    },
    /// Lists bans and silences.
    ListSanctions,
    /// Into another room.
    Move {
        /// Who.
        name: String,
        /// Where to.
        room: String,
    },
    /// Everyone out of a room; what was kept of it is forgotten.
    CloseRoom {
        /// Which.
        room: String,
        /// Why.
        #[serde(default)]
        reason: Option<String>,
    },
    /// Another name for a room.
    RenameRoom {
        /// Which.
        room: String,
        /// The new name.
        to: String,
    },
    /// Another name for a user.
    RenameUser {
        /// Who.
        name: String,
        /// The new name.
        to: String,
    },
    /// Sets or takes off a room's password. A room with one is kept when empty.
    RoomPassword {
        /// Which.
        room: String,
        /// The password; none if left out.
        #[serde(default)]
        password: Option<Password>,
    },
    /// Makes a user who is here (or whose name is registered) an operator, or a room's moderator.
    Grant {
        /// Who.
        name: String,
        /// What.
        role: Role,
        /// Where, for a moderator.
        #[serde(default)]
        room: Option<String>,
    },
    /// Takes a role away.
    Revoke {
        /// From whom.
        name: String,
        /// Which.
        role: Role,
        /// Where, for a moderator.
        #[serde(default)]
        room: Option<String>,
    },
    /// Makes an invite.
    Invite {
        /// The room that it leads to.
        #[serde(default)]
        room: Option<String>,
        /// How long it is good, in seconds.
        #[serde(default)]
        seconds: Option<u64>,
        /// How many may use it; one if left out.
        #[serde(default)]
        uses: Option<u32>,
        /// Makes whoever uses it an operator.
        #[serde(default)]
        operator: bool,
    },
    /// Lists the invites that can still be used.
    ListInvites,
    /// Makes an invite worthless.
    RevokeInvite {
        /// Its number in the list.
        id: u64,
    },
    /// Frees a registered name.
    ForgetName {
        /// Which.
        name: String,
    },
    /// The last entries of the audit log.
    Audit {
        /// How many.
        last: u32,
    },
    /// One that this version does not know.
    #[serde(other)]
    Unknown,
}

/// The answer to a [`Moderation`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum Report {
    /// It is done and in force.
    Done,
    /// It is done; this is its number, to lift it with.
    Sanctioned {
        /// The number.
        id: u64,
        /// Sessions that were sent away or silenced by it at once.
        affected: u32,
    },
    /// Bans and silences in force; the first of them if there are `more`.
    Sanctions {
        /// By number.
        sanctions: Vec<Sanction>,
        /// How many there are.
        total: u64,
    },
    /// A new invite.
    Invited {
        /// Its number, to revoke it with.
        id: u64,
        /// The line to send to whoever is invited. Shown once: the server keeps a hash.
        line: String,
    },
    /// Invites that can still be used.
    Invites {
        /// By number.
        invites: Vec<InviteInfo>,
        /// How many there are.
        total: u64,
    },
    /// The audit log's last entries, oldest first.
    Audit {
        /// The entries.
        entries: Vec<AuditEntry>,
    },
    /// One that this version does not know.
    #[serde(other)]
    Unknown,
}

/// What a sanction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SanctionKind {
    /// Keeps out.
    Ban,
    /// Keeps silent.
    Mute,
    /// One that this version does not know.
    #[serde(other)]
    Unknown,
}

/// A ban or a silence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sanction {
    /// Its number.
    pub id: u64,
    /// What it does.
    pub kind: SanctionKind,
    /// Whom it is meant for, in words: a name, an address, a network.
    pub target: String,
    /// Where; everywhere if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomName>,
    /// Until when, in milliseconds since 1970; for good if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// Who did it.
    pub by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An invite that can still be used, without its token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteInfo {
    /// Its number.
    pub id: u64,
    /// The room that it leads to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomName>,
    /// Makes an operator.
    pub operator: bool,
    /// How many may still use it.
    pub uses_left: u32,
    /// Until when, in milliseconds since 1970; for good if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// Who made it.
    pub by: String,
}

/// Who did what, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// Who: a user's name, or `console` for the server's own sub-commands.
    pub by: String,
    /// What, in one word: `kick`, `ban`, `invite`, ...
    pub action: String,
    /// On whom or what.
    pub target: String,
    /// What else there is to say: a room, an end, a reason.
    #[serde(default)]
    pub detail: String,
}

/// From a sub-command of `parlor-server` to the running server, over a socket that only its owner can open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AdminRequest {
    /// Keep order; answered by `Report` or `Error`.
    Moderate {
        /// How.
        order: Moderation,
    },
    /// Who is here, and how it goes; answered by `Status`.
    Status,
    /// One that this version does not know.
    #[serde(other)]
    Unknown,
}

/// What has become of voice since the server started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VoiceCounts {
    /// Packets taken from members of a room.
    pub accepted: u64,
    /// Copies of them made.
    pub forwarded: u64,
    /// Packets dropped because they had waited too long: this machine has more to do than it can.
    pub stale: u64,
    /// Packets that nobody was sent because too many spoke at once.
    pub withheld: u64,
    /// Copies that the system did not take.
    pub refused: u64,
    /// Datagrams that the system dropped because the sockets' receive buffers were full.
    pub overflowed: u64,
}

/// From the running server to a sub-command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AdminReply {
    /// It is done.
    Report {
        /// What came of it.
        report: Report,
    },
    /// It is not done.
    Error {
        /// What went wrong.
        code: super::message::ErrorCode,
        /// What the error is worded with.
        #[serde(default)]
        args: std::collections::BTreeMap<String, String>,
    },
    /// Answer to `Status`.
    Status {
        /// Server program and version.
        agent: String,
        /// Where clients connect.
        tcp: String,
        /// Where voice arrives.
        udp: String,
        /// Address and port that stand in invites.
        public: String,
        /// The fingerprint that clients pin; none without TLS.
        #[serde(default)]
        fingerprint: Option<String>,
        /// Rooms and who is in them.
        rooms: Vec<(RoomName, Vec<UserName>)>,
        /// Users who are in no room.
        elsewhere: Vec<UserName>,
        /// How many users there are; the lists may be cut short.
        #[serde(default)]
        users: u64,
        /// Datagrams that have reached the server, good ones and bad.
        #[serde(default)]
        datagrams: u64,
        /// What became of the voice; not told by older servers.
        #[serde(default)]
        voice: Option<VoiceCounts>,
    },
    /// One that this version does not know.
    #[serde(other)]
    Unknown,
}
