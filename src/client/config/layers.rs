//! One above the other: flags, the environment, an entry of the address book, the top of the file,
//! defaults. What is set higher hides what is set lower, and also what that excludes.
//!
//! The file's settings become clap's own defaults, so that they are parsed as the flags are. Pure,
//! but for what clap itself reads: the environment, and files that flags name.

use super::{Config, ConfigError, Setting, conflict, flag, flags};
use clap::builder::OsStr;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::OsString;

/// Variables that hold what these flags name a file for.
pub const SECRETS: [(&str, &str); 4] = [
    ("invite-file", "PARLOR_INVITE"),
    ("password-file", "PARLOR_PASSWORD"),
    ("room-password-file", "PARLOR_ROOM_PASSWORD"),
    ("server-password-file", "PARLOR_SERVER_PASSWORD"),
];
/// What belongs to one server: at the top of the file it counts for the server named there and for no other,
/// so that nobody is shown another's password.
const OF_ONE_SERVER: [&str; 10] = [
    "fingerprint",
    "insecure",
    "invite-file",
    "password-file",
    "room",
    "room-password-file",
    "server",
    "server-password-file",
    "tcp-port",
    "udp-port",
];

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Origin {
    /// The command line.
    Flag,
    /// The environment.
    Environment {
        /// Its variable.
        variable: String,
    },
    /// An entry of the address book.
    Server {
        /// Its name.
        entry: String,
        /// Its line in the file.
        line: usize,
    },
    /// The top of the file.
    Config {
        /// Its line in the file.
        line: usize,
    },
    /// Nowhere.
    Default,
}

/// What counts.
#[derive(Debug)]
pub struct Layered {
    /// The values.
    pub matches: ArgMatches,
    /// Where each comes from, by its key; what is not here is as by default.
    pub origins: BTreeMap<String, Origin>,
    /// The entry of the address book that was named.
    pub entry: Option<String>,
}

/// Why nothing counts.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The command line.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    /// The file.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// The same command, whose switches can also be taken back: `--bell=false`.
#[must_use]
pub fn with_switches(command: Command) -> Command {
    command.mut_args(|arg| match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .value_name("true|false")
            .value_parser(clap::value_parser!(bool))
            .default_value("false")
            .default_missing_value("true"),
        _ => arg,
    })
}

/// Reads the command line (the program's name first) above the file. `without` are keys of the file that do
/// not count; `variable` has the environment's secrets.
///
/// # Errors
/// The command line makes no sense, or names an entry that is none.
pub fn layer(
    command: &Command,
    arguments: &[OsString],
    config: &Config,
    without: &[&str],
    variable: &dyn Fn(&str) -> bool,
) -> Result<Layered, LayerError> {
    let switched = with_switches(command.clone());
    let given = switched.clone().try_get_matches_from(arguments)?;
    let mut layers = Layers { command, given: Vec::new(), origins: BTreeMap::new() };
    for (key, arg) in flags(command) {
        let origin = match given.value_source(arg.get_id().as_str()) {
            Some(ValueSource::CommandLine) => Origin::Flag,
            Some(ValueSource::EnvVariable) => {
                let variable = arg.get_env().unwrap_or_default().to_string_lossy().into_owned();
                Origin::Environment { variable }
            }
            _ => continue,
        };
        let value = given.try_get_one::<bool>(arg.get_id().as_str());
        layers.stands(key, arg, !matches!(value, Ok(Some(false))), origin);
    }
    let word = given.get_raw("address").and_then(|mut all| all.next()).map(ToOwned::to_owned);
    let word = word.as_ref().and_then(|word| word.to_str());
    let led = word.is_some() || layers.origins.contains_key("server");
    for (key, name) in SECRETS {
        // A file that a flag names goes before, and a server that one names before an invite to another.
        let hidden = layers.origins.contains_key(key) || (led && key == "invite-file");
        if !hidden
            && variable(name)
            && let Some(arg) = flag(command, key)
        {
            layers.stands(key, arg, true, Origin::Environment { variable: name.to_owned() });
        }
    }
    let entry = match word {
        Some(word) => config.entry(word)?.map(|entry| (word.to_owned(), entry)),
        None => None,
    };
    let mut defaults: Vec<&Setting> = Vec::new();
    if let Some((name, entry)) = &entry {
        layers.put(&entry.settings, without, &mut defaults, &|line| Origin::Server {
            entry: name.clone(),
            line,
        });
    } else if let Some(arg) = command.get_arguments().find(|arg| arg.get_id() == "address")
        && word.is_some()
    {
        layers.stands("server", arg, true, Origin::Flag);
    }
    let elsewhere = ["server", "invite-file"].iter().any(|key| layers.origins.contains_key(*key));
    let mut without = without.to_vec();
    if elsewhere {
        without.extend(OF_ONE_SERVER);
    }
    layers.put(&config.settings, &without, &mut defaults, &|line| Origin::Config { line });
    let mut whole = switched;
    for setting in defaults {
        if let Some(arg) = flag(command, &setting.key) {
            let values: Vec<OsStr> = setting.values.iter().map(OsStr::from).collect();
            whole = whole.mut_arg(arg.get_id().clone(), |arg| arg.default_values(values));
        }
    }
    let matches = whole.try_get_matches_from(arguments)?;
    Ok(Layered { matches, origins: layers.origins, entry: entry.map(|(name, _)| name) })
}

struct Layers<'c> {
    command: &'c Command,
    /// What is on so far.
    given: Vec<(&'c str, &'c Arg)>,
    origins: BTreeMap<String, Origin>,
}

impl<'c> Layers<'c> {
    fn stands(&mut self, key: &'c str, arg: &'c Arg, on: bool, origin: Origin) {
        self.origins.insert(key.to_owned(), origin);
        if on {
            self.given.push((key, arg));
        }
    }

    /// Puts settings below what is there already.
    fn put<'s>(
        &mut self,
        settings: &'s [Setting],
        without: &[&str],
        defaults: &mut Vec<&'s Setting>,
        origin: &dyn Fn(usize) -> Origin,
    ) {
        let above = self.given.clone();
        for setting in settings {
            let Some(arg) = flag(self.command, &setting.key) else { continue };
            let Some(key) = arg.get_long() else { continue };
            let hidden = self.origins.contains_key(key)
                || without.contains(&key)
                || (setting.is_on(arg)
                    && above.iter().any(|(_, other)| conflict(self.command, arg, other)));
            if !hidden {
                self.stands(key, arg, setting.is_on(arg), origin(setting.line));
                defaults.push(setting);
            }
        }
    }
}
