//! The words about the file of settings and its address book.

use super::shown;
use crate::client::config::layers::Origin;
use crate::client::ptt::Mode;
use std::path::Path;

/// What a switch is set to.
pub const SWITCH: &str = "true or false, without quotation marks";
/// What a number is set to.
pub const NUMBER: &str = "a number, without quotation marks";
/// What everything else is set to.
pub const TEXT: &str = "a text, in quotation marks";
/// A value that is empty.
pub const EMPTY: &str = "it is empty";
/// The address book is something else than tables.
pub const BOOK: &str =
    "the address book is made of tables: write [servers.NAME], and below it address = \"HOST\"";
/// There is no place for the file.
pub const NO_PLACE: &str =
    "there is no home directory to keep the configuration in; --config FILE names a file";

/// The place of what is wrong.
#[must_use]
pub fn wrong(path: &Path, line: usize, what: &str) -> String {
    format!("{}, line {line}: {}", shown(path.display()), shown(what))
}

/// The file is no TOML.
#[must_use]
pub fn no_toml(why: &str) -> String {
    format!("{why}; a setting is written like name = \"Ada\" (parlor config example shows all)")
}

/// The file is no text.
#[must_use]
pub fn no_text(path: &Path) -> String {
    format!("{} is no text file (UTF-8); correct or remove it", path.display())
}

/// The file that was named is not there.
#[must_use]
pub fn missing(path: &Path) -> String {
    format!("the configuration {} is not there; name another, or make it", path.display())
}

/// The file cannot be read.
#[must_use]
pub fn unreadable(why: &str) -> String {
    format!("the configuration {why}")
}

/// A key that is none.
#[must_use]
pub fn unknown(key: &str, similar: Option<&str>) -> String {
    match similar {
        Some(similar) => format!("there is no setting '{key}'; did you mean '{similar}'?"),
        None => format!("there is no setting '{key}'; parlor config show lists all there are"),
    }
}

/// A flag that is no setting.
#[must_use]
pub fn no_setting(key: &str) -> String {
    format!("'{key}' is no setting: use it on the command line, and remove it here")
}

/// A value of another type.
#[must_use]
pub fn wrong_type(key: &str, takes: &str) -> String {
    format!("'{key}' takes {takes}; correct it")
}

/// A value that is none of the good ones.
#[must_use]
pub fn bad(key: &str, why: &str) -> String {
    format!("'{key}': {why}; correct or remove it")
}

/// Two settings exclude each other.
#[must_use]
pub fn contradiction(key: &str, other: &str, line: usize) -> String {
    format!("'{key}' and '{other}' (line {line}) exclude each other; remove one of them")
}

/// The name of an entry is none.
#[must_use]
pub fn bad_entry_name(name: &str) -> String {
    format!("'{name}' cannot name a server: use letters, digits, - and _")
}

/// The name of an entry means something else.
#[must_use]
pub fn taken_entry_name(name: &str) -> String {
    format!(
        "'{name}' cannot name a server, since 'parlor {name}' means something else; call it otherwise"
    )
}

/// An entry says what it cannot.
#[must_use]
pub fn not_in_entries(key: &str) -> String {
    format!(
        "'{key}' does not belong into an entry of the address book, which leads to its 'address'; remove it"
    )
}

/// An entry leads nowhere.
#[must_use]
pub fn no_address(name: &str) -> String {
    format!("the server '{name}' has no address; add address = \"HOST\" or \"HOST:PORT\"")
}

/// There is no entry of this name.
#[must_use]
pub fn no_entry(word: &str, path: Option<&Path>, names: &[&str]) -> String {
    let (word, file) = (shown(word), path.map(|path| format!(" in {}", shown(path.display()))));
    let file = file.unwrap_or_default();
    format!(
        "there is no server '{word}'{file}; there {}: {}. A host of that name is meant with --server {word}",
        if names.len() == 1 { "is" } else { "are" },
        names.join(", ")
    )
}

/// What `parlor config` is for.
pub const ABOUT: &str = "The file of settings and its address book";
/// An invite that is not shown, and cannot be used either.
pub const DAMAGED_INVITE: &str = "an invite that is not complete";
/// A secret in the environment.
pub const SECRET: &str = "(set, and not shown)";
/// Nothing says so, and nothing is done.
pub const NONE: &str = "-";
/// What is done where no room is named.
pub const USUAL_ROOM: &str = "general, or the invite's";
/// What is done where no port is named.
pub const USUAL_UDP_PORT: &str = "what the server says";
/// What is done where no key is named.
pub const USUAL_FINGERPRINT: &str = "remembered at the first visit";
/// What is done where no device is named.
pub const USUAL_DEVICE: &str = "the system's default";
/// What is done where no frame length is named.
pub const USUAL_FRAME: &str = "10, and 20 up to 32 kbit/s";
/// What is done where no theme is named.
pub const USUAL_THEME: &str = "dark, and plain with NO_COLOR";
/// What is done where no log file is named.
pub const USUAL_LOG_FILE: &str = "stderr";
/// What stands at the top of an example.
pub const EXAMPLE_HEAD: &str = "# Settings of parlor. Remove the # before those that you want.
# A flag on the command line goes before the environment, and both before this file.
# Switches are taken back for once with --bell=false. Paths begin with ~/ or beside this file.
";
/// What stands at the end of an example.
pub const EXAMPLE_SERVERS: &str = "
# The address book: 'parlor work' goes here. Every setting may stand in an entry, too, and goes before those above.
# [servers.work]
# address = \"voice.example.org:8888\"
# name = \"Ada Lovelace\"
# room = \"standup\"
";

/// An invite that somebody names.
#[must_use]
pub fn invite(server: &str) -> String {
    format!("an invite to {server}")
}

/// When the microphone is on.
#[must_use]
pub fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::PushToTalk => "ptt",
        Mode::Open => "open",
        Mode::Voice => "voice",
    }
}

/// Which file counts.
#[must_use]
pub fn file(path: Option<&Path>) -> String {
    match path {
        None => "# No file of settings.".to_owned(),
        Some(path) if path.exists() => format!("# {}", path.display()),
        Some(path) => format!("# {} (there is none yet)", path.display()),
    }
}

/// By what something is set.
#[must_use]
pub fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Flag => "command line".to_owned(),
        Origin::Environment { variable } => format!("environment, {variable}"),
        Origin::Server { entry, line } => format!("server {entry}, line {line}"),
        Origin::Config { line } => format!("file, line {line}"),
        Origin::Default => "default".to_owned(),
    }
}

/// An entry of the address book.
#[must_use]
pub fn entry(name: &str, address: &str) -> String {
    format!("# parlor {name} goes to {address}")
}
