//! The user's file of settings: every flag of the client under its name, and the address book.
//!
//! What a setting is called, which type it has and which values are good is clap's to say: keys are
//! the long names of [`Options`](super::options::Options), and values go through the same parsers.
//! The file is only ever read; what the client itself remembers stands in [`state`](super::state).

pub mod layers;
pub mod show;

use super::texts::config as words;
use super::voice::FrameLength;
use crate::net::limits::CONFIG_BYTES_MAX;
use crate::net::private;
use clap::builder::ValueHint;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Command};
use std::any::TypeId;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Names another file; empty for none.
pub const VARIABLE: &str = "PARLOR_CONFIG";
/// The table of the address book.
const SERVERS: &str = "servers";
/// Where an entry of it leads.
const ADDRESS: &str = "address";
/// Flags that are no settings: they ask for something else than the usual.
pub const NO_SETTINGS: [&str; 4] = ["config", "help", "list-devices", "version"];
/// What an entry cannot say: where it leads is its address, and orders to a running client must find its state.
const NOT_IN_ENTRIES: [&str; 3] = ["invite-file", "server", "state-dir"];
/// First words of a command line that mean something else than an entry.
pub const TAKEN: [&str; 12] = [
    "completions",
    "config",
    "deafen",
    "doctor",
    "help",
    "man",
    "mute",
    "ptt",
    "record",
    "say",
    "undeafen",
    "unmute",
];

/// What is wrong with the file: one line that names it, the key, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// One setting of the file; its values are good ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The long name of the flag.
    pub key: String,
    /// As the flag takes them; more than one only where it may stand several times.
    pub values: Vec<OsString>,
    /// Where it stands in the file, from 1.
    pub line: usize,
}

impl Setting {
    /// Whether it says anything: a switch that is off could as well be left out.
    #[must_use]
    pub fn is_on(&self, arg: &Arg) -> bool {
        kind(arg) != Kind::Switch || self.values.iter().any(|value| value == "true")
    }
}

/// A server of the address book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its address, as a setting `server`, and what else holds there.
    pub settings: Vec<Setting>,
}

impl Entry {
    /// Where it leads, for people.
    #[must_use]
    pub fn address(&self) -> String {
        let address = self.settings.iter().find(|setting| setting.key == "server");
        let value = address.and_then(|setting| setting.values.first());
        value.map(|value| value.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// The file; none where there is none.
    pub path: Option<PathBuf>,
    /// What stands at its top.
    pub settings: Vec<Setting>,
    /// The address book.
    pub servers: BTreeMap<String, Entry>,
}

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Switch,
    Number,
    Text,
}

/// Where the system keeps settings, if there is a home directory.
#[must_use]
pub fn usual_path() -> Option<PathBuf> {
    let directories = directories::ProjectDirs::from("", "", "parlor")?;
    Some(directories.config_dir().join("config.toml"))
}

/// The file that counts: the named one, that of the environment, or the system's place.
#[must_use]
pub fn path(named: Option<PathBuf>) -> Option<PathBuf> {
    match (named, std::env::var_os(VARIABLE)) {
        (Some(path), _) => Some(path),
        (None, Some(empty)) if empty.is_empty() => None,
        (None, Some(path)) => Some(PathBuf::from(path)),
        (None, None) => usual_path(),
    }
}

impl Config {
    /// Reads the file that counts. In the system's place there need not be one.
    ///
    /// # Errors
    /// It cannot be read, others may change it, or what stands in it is not right.
    pub fn load(named: Option<PathBuf>, command: &Command) -> Result<Self, ConfigError> {
        let must_be_there = named.is_some() || std::env::var_os(VARIABLE).is_some();
        let Some(path) = path(named) else { return Ok(Self::default()) };
        match private::read_intact(&path, CONFIG_BYTES_MAX) {
            Ok(Some(bytes)) => match std::str::from_utf8(&bytes) {
                Ok(text) => Self::parse(&path, text, command),
                Err(_) => Err(ConfigError(words::no_text(&path))),
            },
            Ok(None) if must_be_there => Err(ConfigError(words::missing(&path))),
            Ok(None) => Ok(Self { path: Some(path), ..Self::default() }),
            Err(error) => Err(ConfigError(words::unreadable(&error.to_string()))),
        }
    }

    /// Reads the text of a file. `command` has the flags that there are.
    ///
    /// # Errors
    /// It is no TOML, a key is unknown, a value is of another type or not a good one.
    pub fn parse(path: &Path, text: &str, command: &Command) -> Result<Self, ConfigError> {
        let reader = Reader { path, text, command };
        let table = DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(1, |span| reader.line(span.start));
            let why = error.message().lines().next().unwrap_or_default().to_owned();
            reader.wrong(line, &words::no_toml(&why))
        })?;
        let mut config = Self { path: Some(path.to_owned()), ..Self::default() };
        for (key, value) in table.get_ref() {
            if key.get_ref() == SERVERS {
                config.servers = reader.servers(key, value)?;
            } else {
                config.settings.push(reader.setting("", key, value)?);
            }
        }
        config.settings.sort_by_key(|setting| setting.line);
        reader.no_contradiction(&config.settings)?;
        Ok(config)
    }

    /// What stands at the top under this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.key == key)
    }

    /// Where the client keeps its state, if the file says so.
    #[must_use]
    pub fn state_directory(&self) -> Option<PathBuf> {
        self.get("state-dir").and_then(|setting| setting.values.first()).map(PathBuf::from)
    }

    /// The entry of this name. A word that cannot be told from one, and is none, is refused: a host
    /// without a dot in its name is meant with `--server`.
    ///
    /// # Errors
    /// There are entries, and none of this name.
    pub fn entry(&self, word: &str) -> Result<Option<&Entry>, ConfigError> {
        let host = word.contains(['.', ':', '/', '#']) || word.eq_ignore_ascii_case("localhost");
        match self.servers.get(word) {
            Some(entry) => Ok(Some(entry)),
            None if host || self.servers.is_empty() => Ok(None),
            None => {
                let names: Vec<&str> = self.servers.keys().map(String::as_str).collect();
                Err(ConfigError(words::no_entry(word, self.path.as_deref(), &names)))
            }
        }
    }
}

/// The flag of this long name, unless it is no setting.
#[must_use]
pub fn flag<'c>(command: &'c Command, key: &str) -> Option<&'c Arg> {
    let mut all = command.get_arguments();
    all.find(|arg| arg.get_long() == Some(key) && !NO_SETTINGS.contains(&key))
}

/// All flags that are settings, in the order of the help.
pub fn flags(command: &Command) -> impl Iterator<Item = (&str, &Arg)> {
    let named = command.get_arguments().filter_map(|arg| Some((arg.get_long()?, arg)));
    named.filter(|(key, _)| !NO_SETTINGS.contains(key))
}

/// Whether two flags exclude each other.
#[must_use]
pub fn conflict(command: &Command, one: &Arg, other: &Arg) -> bool {
    let has = |arg: &Arg, other: &Arg| {
        command.get_arg_conflicts_with(arg).iter().any(|arg| arg.get_id() == other.get_id())
    };
    has(one, other) || has(other, one)
}

fn kind(arg: &Arg) -> Kind {
    let taken = arg.get_value_parser().type_id();
    let is = |of: TypeId| taken == of;
    if is(TypeId::of::<bool>()) {
        return Kind::Switch;
    }
    let numbers = [
        TypeId::of::<u8>(),
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<usize>(),
        TypeId::of::<i32>(),
        TypeId::of::<i64>(),
        TypeId::of::<f32>(),
        TypeId::of::<f64>(),
        TypeId::of::<FrameLength>(),
    ];
    if numbers.into_iter().any(is) { Kind::Number } else { Kind::Text }
}

/// Reads one file.
struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    command: &'a Command,
}

type Key<'i> = Spanned<std::borrow::Cow<'i, str>>;
type Value<'i> = Spanned<DeValue<'i>>;

impl Reader<'_> {
    fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    fn wrong(&self, line: usize, what: &dyn fmt::Display) -> ConfigError {
        ConfigError(words::wrong(self.path, line, &what.to_string()))
    }

    fn servers(&self, key: &Key, value: &Value) -> Result<BTreeMap<String, Entry>, ConfigError> {
        let line = self.line(key.span().start);
        let Some(table) = value.get_ref().as_table() else {
            return Err(self.wrong(line, &words::BOOK));
        };
        let mut servers = BTreeMap::new();
        for (name, value) in table {
            let line = self.line(name.span().start);
            let good = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
            let name = name.get_ref();
            if name.is_empty() || name.starts_with('-') || !name.chars().all(good) {
                return Err(self.wrong(line, &words::bad_entry_name(name)));
            }
            if TAKEN.contains(&name.as_ref()) {
                return Err(self.wrong(line, &words::taken_entry_name(name)));
            }
            let Some(table) = value.get_ref().as_table() else {
                return Err(self.wrong(line, &words::BOOK));
            };
            servers.insert(name.to_string(), self.entry(name, line, table)?);
        }
        Ok(servers)
    }

    fn entry(&self, name: &str, line: usize, table: &DeTable) -> Result<Entry, ConfigError> {
        let within = format!("{SERVERS}.{name}.");
        let mut settings = Vec::new();
        for (key, value) in table {
            let at = self.line(key.span().start);
            let shown = format!("{within}{}", key.get_ref());
            if key.get_ref() == ADDRESS {
                let Some(server) = flag(self.command, "server") else { continue };
                let values = self.values(&shown, at, server, value)?;
                settings.push(Setting { key: "server".to_owned(), values, line: at });
                continue;
            }
            if NOT_IN_ENTRIES.contains(&key.get_ref().as_ref()) {
                return Err(self.wrong(at, &words::not_in_entries(&shown)));
            }
            settings.push(self.setting(&within, key, value)?);
        }
        if !settings.iter().any(|setting| setting.key == "server") {
            return Err(self.wrong(line, &words::no_address(name)));
        }
        settings.sort_by_key(|setting| setting.line);
        self.no_contradiction(&settings)?;
        Ok(Entry { settings })
    }

    /// One key; `within` is what stands before it.
    fn setting(&self, within: &str, key: &Key, value: &Value) -> Result<Setting, ConfigError> {
        let line = self.line(key.span().start);
        let (key, shown) = (key.get_ref(), format!("{within}{}", key.get_ref()));
        let Some(arg) = flag(self.command, key) else {
            return Err(self.wrong(
                line,
                &match NO_SETTINGS.contains(&key.as_ref()) {
                    true => words::no_setting(&shown),
                    false => words::unknown(&shown, self.similar(key).as_deref()),
                },
            ));
        };
        let values = self.values(&shown, line, arg, value)?;
        Ok(Setting { key: key.to_string(), values, line })
    }

    /// What a flag is given, each of which it takes.
    fn values(
        &self,
        shown: &str,
        line: usize,
        arg: &Arg,
        value: &Value,
    ) -> Result<Vec<OsString>, ConfigError> {
        let several = matches!(arg.get_action(), ArgAction::Append);
        let values: Vec<&DeValue> = match value.get_ref() {
            DeValue::Array(all) if several => all.iter().map(Spanned::get_ref).collect(),
            one => vec![one],
        };
        let take = |value: &DeValue| -> Result<OsString, ConfigError> {
            let value = self.value(arg, value).ok_or_else(|| match kind(arg) {
                Kind::Switch => words::SWITCH,
                Kind::Number => words::NUMBER,
                Kind::Text => words::TEXT,
            });
            let value =
                value.map_err(|takes| self.wrong(line, &words::wrong_type(shown, takes)))?;
            self.check(arg, &value).map_err(|why| self.wrong(line, &words::bad(shown, &why)))?;
            Ok(value)
        };
        values.into_iter().map(take).collect()
    }

    /// As a flag takes it; `None` for another type.
    fn value(&self, arg: &Arg, value: &DeValue) -> Option<OsString> {
        match (kind(arg), value) {
            (Kind::Switch, DeValue::Boolean(on)) => Some(on.to_string().into()),
            (Kind::Number, DeValue::Integer(number)) => {
                let number = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
                Some(number.to_string().into())
            }
            (Kind::Number, DeValue::Float(number)) => Some(number.as_str().into()),
            (Kind::Text, DeValue::String(text)) => Some(self.text(arg, text)),
            _ => None,
        }
    }

    /// Paths begin at home, or beside the file: from where the client is started says nothing.
    fn text(&self, arg: &Arg, text: &str) -> OsString {
        let path = matches!(
            arg.get_value_hint(),
            ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath
        );
        if !path || text.is_empty() {
            return text.into();
        }
        let home = || directories::BaseDirs::new().map(|dirs| dirs.home_dir().to_owned());
        if let Some(rest) = text.strip_prefix("~/")
            && let Some(home) = home()
        {
            return home.join(rest).into();
        }
        let beside = self.path.parent().unwrap_or(Path::new(""));
        beside.join(text).into()
    }

    /// Asks the flag itself.
    fn check(&self, arg: &Arg, value: &OsString) -> Result<(), String> {
        if kind(arg) == Kind::Switch {
            return Ok(());
        }
        let mut word = OsString::from(format!("--{}=", arg.get_long().unwrap_or_default()));
        word.push(value);
        let taken = self.command.clone().try_get_matches_from([OsString::from("parlor"), word]);
        taken.map(drop).map_err(|error| match std::error::Error::source(&error) {
            Some(why) => why.to_string(),
            None => words::EMPTY.to_owned(),
        })
    }

    /// A flag that is nearly written so.
    fn similar(&self, key: &str) -> Option<String> {
        let word = format!("--{}", key.replace('_', "-"));
        if let Some(same) = flag(self.command, word.trim_start_matches('-')) {
            return same.get_long().map(str::to_owned);
        }
        let taken = self.command.clone().try_get_matches_from(["parlor", &word]);
        let error = taken.err()?;
        let Some(ContextValue::String(like)) = error.get(ContextKind::SuggestedArg) else {
            return None;
        };
        let like = like.trim_start_matches('-');
        flag(self.command, like).and_then(Arg::get_long).map(str::to_owned)
    }

    /// Nothing in one table excludes another.
    fn no_contradiction(&self, settings: &[Setting]) -> Result<(), ConfigError> {
        let on: Vec<(&Setting, &Arg)> = settings
            .iter()
            .filter_map(|setting| Some((setting, flag(self.command, &setting.key)?)))
            .filter(|(setting, arg)| setting.is_on(arg))
            .collect();
        for (k, (setting, arg)) in on.iter().enumerate() {
            for (before, other) in on.iter().take(k) {
                if conflict(self.command, arg, other) {
                    let what = words::contradiction(&setting.key, &before.key, before.line);
                    return Err(self.wrong(setting.line, &what));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
