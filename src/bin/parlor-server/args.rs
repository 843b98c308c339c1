//! The sub-commands as they are written, and the requests that they stand for.

use clap::{Args, Subcommand};
use clap_complete::Shell;
use ipnet::IpNet;
use parlor::net::address::HostPort;
use parlor::net::moderation::{AdminRequest, Moderation, Role, Target};
use parlor::net::secret::Password;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make an invite: prints the line to send to whoever is invited
    Invite {
        /// The room that it leads to
        #[arg(long)]
        room: Option<String>,
        /// How long it is good, for example 2d or "1h 30m"
        #[arg(long, value_name = "TIME", value_parser = seconds)]
        expires: Option<u64>,
        /// How many may use it [default: 1]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        uses: Option<u32>,
        /// Whoever uses it becomes an operator
        #[arg(long)]
        operator: bool,
    },
    /// List the invites that can still be used
    Invites,
    /// Make an invite worthless
    Revoke {
        /// Its number: see 'invites'
        id: u64,
    },
    /// Send someone away; he may come back
    Kick {
        name: String,
        /// Why; he is told
        #[arg(long)]
        reason: Option<String>,
    },
    /// Send someone away and keep him out
    Ban(Ban),
    /// Let nobody hear someone any more
    Silence {
        name: String,
        /// How long, for example 10m [default: until 'unsilence']
        #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
        seconds: Option<u64>,
        /// Why; he is told
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let someone be heard again
    Unsilence { name: String },
    /// Lift a ban or a silence
    Lift {
        /// Its number: see 'sanctions'
        id: u64,
    },
    /// List bans and silences
    Sanctions,
    /// Move someone into another room
    Move { name: String, room: String },
    /// Send everyone out of a room and forget what was kept of it
    Close {
        room: String,
        /// Why; they are told
        #[arg(long)]
        reason: Option<String>,
    },
    /// Give a room another name
    RenameRoom { room: String, to: String },
    /// Give a user another name
    RenameUser { name: String, to: String },
    /// Set a room's password (asked for, and not shown), or remove it
    RoomPassword {
        room: String,
        /// A file whose first line is the password
        #[arg(long, value_name = "FILE", conflicts_with = "remove")]
        password_file: Option<PathBuf>,
        /// No password any more
        #[arg(long)]
        remove: bool,
    },
    /// Make someone an operator: he may do everything, everywhere
    Op { name: String },
    /// Make an operator a user again
    Deop { name: String },
    /// Make someone a moderator of a room
    Mod {
        name: String,
        #[arg(long)]
        room: String,
    },
    /// Make a moderator of a room a user again
    Unmod {
        name: String,
        #[arg(long)]
        room: String,
    },
    /// Free a registered name
    ForgetName { name: String },
    /// Show who did what
    Audit {
        /// How many entries
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        last: u32,
    },
    /// Show where the running server is and who is there
    Status,
    /// Say whether friends outside can reach this server, and what to open for them
    Doctor(Doctor),
    /// Print what a shell completes command lines with
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page: parlor-server man | man -l -
    Man {
        /// Write it, and those of the sub-commands, into this directory
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

/// Whom to keep out, from what, how long.
#[derive(Debug, Args)]
pub(crate) struct Ban {
    #[command(flatten)]
    whom: Whom,
    /// The name alone, whoever bears it
    #[arg(long, requires = "name", conflicts_with_all = ["address", "network", "address_of"])]
    name_only: bool,
    /// From this room only [default: from the whole server]
    #[arg(long)]
    room: Option<String>,
    /// How long, for example 2d or "1h 30m" [default: for good]
    #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
    seconds: Option<u64>,
    /// Why; he is told
    #[arg(long)]
    reason: Option<String>,
}

/// Exactly one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Whom {
    /// A user: his registered identity and device if he has one, and the name
    name: Option<String>,
    /// An address
    #[arg(long)]
    address: Option<IpAddr>,
    /// A network: ADDRESS/BITS
    #[arg(long)]
    network: Option<IpNet>,
    /// The address that this user, who is here now, comes from
    #[arg(long, value_name = "NAME")]
    address_of: Option<String>,
}

/// What `doctor` looks at where no server runs.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// How friends outside are to reach the server: HOST or HOST:PORT
    #[arg(long, value_name = "HOST[:PORT]", value_parser = HostPort::parse)]
    pub(crate) public_address: Option<HostPort>,
    /// Where the server is to listen for clients; the running server's own if there is one
    #[arg(long, value_name = "HOST:PORT", value_parser = HostPort::parse)]
    pub(crate) tcp: Option<HostPort>,
    /// Where it is to listen for voice
    #[arg(long, value_name = "HOST:PORT", value_parser = HostPort::parse)]
    pub(crate) udp: Option<HostPort>,
}

/// A time as people write it, in whole seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let example = "write it like 2d, 12h or \"1h 30m\"";
    let time: Duration =
        humantime::parse_duration(text).map_err(|error| format!("{error}; {example}"))?;
    match time.as_secs() {
        0 => Err(format!("at least one second; {example}")),
        seconds => Ok(seconds),
    }
}

impl Ban {
    fn order(self) -> Moderation {
        let Self { whom, name_only, room, seconds, reason } = self;
        let Whom { name, address, network, address_of } = whom;
        let target = match (name, address, network, address_of) {
            (Some(name), ..) if name_only => Target::Name(name),
            (Some(name), ..) => Target::User(name),
            (_, Some(address), ..) => Target::Address(address.to_string()),
            (.., Some(network), _) => Target::Network(network.to_string()),
            (.., Some(name)) => Target::AddressOf(name),
            // Excluded by the group: one of them is required.
            (None, None, None, None) => Target::Unknown,
        };
        Moderation::Ban { target, room, seconds, reason }
    }
}

impl Command {
    /// What to ask the running server; `password` is the new one for a room.
    pub(crate) fn request(self, password: Option<Password>) -> AdminRequest {
        let grant = |name, role, room| Moderation::Grant { name, role, room };
        let revoke = |name, role, room| Moderation::Revoke { name, role, room };
        let order = match self {
            // The latter three ask for nothing; whoever carries them out never comes here.
            Self::Status | Self::Doctor(_) | Self::Completions { .. } | Self::Man { .. } => {
                return AdminRequest::Status;
            }
            Self::Invite { room, expires, uses, operator } => {
                Moderation::Invite { room, seconds: expires, uses, operator }
            }
            Self::Invites => Moderation::ListInvites,
            Self::Revoke { id } => Moderation::RevokeInvite { id },
            Self::Kick { name, reason } => Moderation::Kick { name, reason },
            Self::Ban(ban) => ban.order(),
            Self::Silence { name, seconds, reason } => Moderation::Mute { name, seconds, reason },
            Self::Unsilence { name } => Moderation::Unmute { name },
            Self::Lift { id } => Moderation::Lift { id },
            Self::Sanctions => Moderation::ListSanctions,
            Self::Move { name, room } => Moderation::Move { name, room },
            Self::Close { room, reason } => Moderation::CloseRoom { room, reason },
            Self::RenameRoom { room, to } => Moderation::RenameRoom { room, to },
            Self::RenameUser { name, to } => Moderation::RenameUser { name, to },
            Self::RoomPassword { room, .. } => Moderation::RoomPassword { room, password },
            Self::Op { name } => grant(name, Role::Operator, None),
            Self::Deop { name } => revoke(name, Role::Operator, None),
            Self::Mod { name, room } => grant(name, Role::Moderator, Some(room)),
            Self::Unmod { name, room } => revoke(name, Role::Moderator, Some(room)),
            Self::ForgetName { name } => Moderation::ForgetName { name },
            Self::Audit { last } => Moderation::Audit { last },
        };
        AdminRequest::Moderate { order }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Args as Line;
    use clap::{CommandFactory, Parser};

    fn order(line: &[&str]) -> Moderation {
        let words = ["parlor-server"].iter().chain(line);
        let command = Line::try_parse_from(words).unwrap().command.unwrap();
        match command.request(None) {
            AdminRequest::Moderate { order } => order,
            other => panic!("{other:?}"),
        }
    }

    fn refused(line: &[&str]) -> String {
        let words = ["parlor-server"].iter().chain(line);
        match Line::try_parse_from(words) {
            Ok(_) => panic!("{line:?} is taken"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Line::command().debug_assert();
    }

    #[test]
    fn without_a_sub_command_it_serves() {
        let line = Line::try_parse_from(["parlor-server", "--ephemeral"]).unwrap();
        assert!(line.command.is_none() && line.ephemeral);
    }

    #[test]
    fn the_state_directory_may_stand_before_and_behind_the_sub_command() {
        for words in [["--state-dir", "x", "status"], ["status", "--state-dir", "x"]] {
            let line = Line::try_parse_from(["parlor-server"].iter().chain(&words)).unwrap();
            assert_eq!(line.state_dir, Some(PathBuf::from("x")), "{words:?}");
        }
    }

    #[test]
    fn an_invite_says_where_how_long_and_how_often() {
        let line = ["invite", "--room", "den", "--expires", "1h 30m", "--uses", "5", "--operator"];
        let expected = Moderation::Invite {
            room: Some("den".to_owned()),
            seconds: Some(5400),
            uses: Some(5),
            operator: true,
        };
        assert_eq!(order(&line), expected);
    }

    #[test]
    fn a_ban_has_exactly_one_target() {
        let target = |line: &[&str]| match order(line) {
            Moderation::Ban { target, .. } => target,
            other => panic!("{other:?}"),
        };
        assert_eq!(target(&["ban", "eve"]), Target::User("eve".to_owned()));
        assert_eq!(target(&["ban", "eve", "--name-only"]), Target::Name("eve".to_owned()));
        assert_eq!(target(&["ban", "--address-of", "eve"]), Target::AddressOf("eve".to_owned()));
        assert_eq!(target(&["ban", "--address", "::1"]), Target::Address("::1".to_owned()));
        let network = Target::Network("192.0.2.0/24".to_owned());
        assert_eq!(target(&["ban", "--network", "192.0.2.0/24"]), network);
        refused(&["ban"]);
        refused(&["ban", "eve", "--address", "::1"]);
        refused(&["ban", "--address", "::1", "--network", "::/8"]);
        refused(&["ban", "--address", "::1", "--name-only"]);
        refused(&["ban", "--network", "192.0.2.0/33"]);
    }

    #[test]
    fn a_ban_says_where_how_long_and_why() {
        let line = ["ban", "eve", "--room", "den", "--for", "2d", "--reason", "loud"];
        let expected = Moderation::Ban {
            target: Target::User("eve".to_owned()),
            room: Some("den".to_owned()),
            seconds: Some(172_800),
            reason: Some("loud".to_owned()),
        };
        assert_eq!(order(&line), expected);
    }

    #[test]
    fn a_time_that_is_none_is_refused_with_an_example() {
        for text in ["0s", "10", "soon", "500ms"] {
            let error = refused(&["silence", "eve", "--for", text]);
            assert!(error.contains("like 2d"), "{error}");
        }
    }

    #[test]
    fn roles_are_given_and_taken_where_they_hold() {
        let (name, room) = ("eve".to_owned(), Some("den".to_owned()));
        let operator = Moderation::Grant { name: name.clone(), role: Role::Operator, room: None };
        assert_eq!(order(&["op", "eve"]), operator);
        let moderator = Moderation::Revoke { name, role: Role::Moderator, room };
        assert_eq!(order(&["unmod", "eve", "--room", "den"]), moderator);
        refused(&["mod", "eve"]);
    }
}
