//! `parlor config`: what is set and by what, where the file is, and one to begin with.

use super::layers::Origin;
use super::{flags, kind, path};
use crate::client::options::{Options, Written};
use crate::client::run::{EXIT_FAILED, EXIT_USAGE};
use crate::client::state;
use crate::client::texts::config as words;
use clap::{Arg, Command, CommandFactory, Parser, Subcommand};
use serde::Serialize;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;
use unicode_width::UnicodeWidthStr;

/// One line of `parlor config show`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What the setting is called.
    pub key: String,
    /// What it is; where nothing says so, what is done then.
    pub value: String,
    /// By what.
    #[serde(flatten)]
    pub origin: Origin,
}

/// Every setting, in the order of the help. Holds no secret: of an invite only where it leads.
#[must_use]
pub fn rows(options: &Options) -> Vec<Row> {
    let command = Options::command();
    let row = |(key, _): (&str, &Arg)| {
        let origin = options.settled.origins.get(key).cloned().unwrap_or(Origin::Default);
        let written = options.settled.values.get(key).map(|values| values.join(" "));
        let value = match (key, &origin, &options.address) {
            ("server", _, Some(Written::Server(server))) => server.to_string(),
            ("server", _, Some(Written::Invite(Ok(invite)))) => {
                words::invite(&invite.server.to_string())
            }
            ("server", _, Some(Written::Invite(Err(_)))) => words::DAMAGED_INVITE.to_owned(),
            (_, Origin::Environment { .. }, _) if written.is_none() => words::SECRET.to_owned(),
            _ => written.unwrap_or_else(|| usual(key, options)),
        };
        Row { key: key.to_owned(), value, origin }
    };
    flags(&command).map(row).collect()
}

/// What is done where nothing says so.
fn usual(key: &str, options: &Options) -> String {
    match key {
        "name" => options.user_name().map(|name| name.to_string()).unwrap_or_default(),
        "server" => "127.0.0.1".to_owned(),
        "room" => words::USUAL_ROOM.to_owned(),
        "tcp-port" => crate::net::address::TCP_PORT.to_string(),
        "udp-port" => words::USUAL_UDP_PORT.to_owned(),
        "fingerprint" => words::USUAL_FINGERPRINT.to_owned(),
        "state-dir" => state::usual_directory()
            .map_or_else(|| words::NONE.to_owned(), |path| path.display().to_string()),
        "input" | "output" => words::USUAL_DEVICE.to_owned(),
        "frame-ms" => words::USUAL_FRAME.to_owned(),
        "talk" => words::mode(options.mode()).to_owned(),
        "theme" => words::USUAL_THEME.to_owned(),
        "log-file" => words::USUAL_LOG_FILE.to_owned(),
        _ => words::NONE.to_owned(),
    }
}

/// The lines of `parlor config show`.
#[must_use]
pub fn lines(options: &Options) -> Vec<String> {
    let config = &options.settled.config;
    let mut lines = vec![words::file(config.path.as_deref())];
    let rows = rows(options);
    let wide = |width: &dyn Fn(&Row) -> usize| rows.iter().map(width).max().unwrap_or(0);
    let (keys, values) =
        (wide(&|row| row.key.width()), wide(&|row| row.value.width()).min(VALUE_WIDTH_MAX));
    for Row { key, value, origin } in &rows {
        let gap = " ".repeat(values.saturating_sub(value.width()));
        lines.push(format!("{key:<keys$}  {value}{gap}  {}", words::origin(origin)));
    }
    for (name, entry) in &config.servers {
        lines.push(words::entry(name, &entry.address()));
    }
    lines
}

/// Values that are wider than this push what stands behind them aside.
const VALUE_WIDTH_MAX: usize = 44;

/// A file with every setting, of which none counts yet.
#[must_use]
pub fn example() -> String {
    let command = Options::command();
    let mut text = words::EXAMPLE_HEAD.to_owned();
    for (key, arg) in flags(&command) {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let _ = write!(text, "\n# {}\n# {key} = {}\n", help.replace('\n', " "), sample(key, arg));
    }
    text.push_str(words::EXAMPLE_SERVERS);
    text
}

/// A value that the flag takes.
fn sample(key: &str, arg: &Arg) -> String {
    let default =
        arg.get_default_values().first().map(|value| value.to_string_lossy().into_owned());
    match (kind(arg), key) {
        (super::Kind::Switch, _) => "true".to_owned(),
        (super::Kind::Number, "frame-ms") => "20".to_owned(),
        (super::Kind::Number, "tcp-port") => "8888".to_owned(),
        (super::Kind::Number, "udp-port") => "8889".to_owned(),
        (super::Kind::Number, _) => default.unwrap_or_else(|| "1".to_owned()),
        (super::Kind::Text, _) => {
            let text = match key {
                "name" => "Ada",
                "server" => "voice.example.org",
                "room" => "general",
                "talk" => "ptt",
                "theme" => "dark",
                "log" => "info",
                "ptt-key" => "grave",
                "input" | "output" => "default",
                "fingerprint" => "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                _ => default.as_deref().unwrap_or("~/parlor"),
            };
            format!("{text:?}")
        }
    }
}

/// The words of a command line about settings.
#[derive(Debug, Parser)]
#[command(name = "parlor", about = words::ABOUT)]
struct Arguments {
    #[command(subcommand)]
    word: Word,
}

#[derive(Debug, Subcommand)]
enum Word {
    /// The file of settings and its address book
    Config {
        #[command(subcommand)]
        word: ConfigWord,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigWord {
    /// Each setting, what it is, and by what; with all flags, as they would count (--json for scripts)
    Show,
    /// Where the file of settings is, whether it is there or not
    Path {
        /// Another file [or PARLOR_CONFIG]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// A file with every setting, to begin one with: parlor config example > "$(parlor config path)"
    Example,
}

/// The command line about settings, for help, completions and manual.
#[must_use]
pub fn command() -> Command {
    let mut whole = Arguments::command();
    whole.find_subcommand_mut("config").cloned().unwrap_or_default()
}

/// Answers a command line whose first word is `config`, unless it is about what is set (`Options::read` knows
/// that); `None` for every other.
///
/// # Errors
/// The words behind the first make no sense, or help was asked for.
pub fn answer(all: &[OsString]) -> Option<Result<u8, clap::Error>> {
    if all.get(1)? != "config" || all.get(2).is_some_and(|word| word == "show") {
        return None;
    }
    match Arguments::try_parse_from(all) {
        Err(error) => Some(Err(error)),
        Ok(Arguments { word: Word::Config { word } }) => match word {
            ConfigWord::Show => None,
            ConfigWord::Example => Some(Ok(say(&example()))),
            ConfigWord::Path { config } => Some(Ok(match path(config) {
                Some(path) => say(&format!("{}\n", path.display())),
                None => {
                    let _ = writeln!(io::stderr(), "parlor: {}", words::NO_PLACE);
                    EXIT_USAGE
                }
            })),
        },
    }
}

/// `parlor config show`: says it, and gives the exit code.
#[must_use]
pub fn show(options: &Options) -> u8 {
    if options.json && options.settled.origins.get("json") == Some(&Origin::Flag) {
        let config = &options.settled.config;
        let file = config.path.as_ref().map(|path| path.display().to_string());
        let servers: Vec<_> = config
            .servers
            .iter()
            .map(|(name, entry)| serde_json::json!({ "name": name, "address": entry.address() }))
            .collect();
        let all =
            serde_json::json!({ "file": file, "settings": rows(options), "servers": servers });
        return say(&format!("{all}\n"));
    }
    say(&(lines(options).join("\n") + "\n"))
}

/// Says it on stdout. Whoever reads no further has seen enough.
fn say(text: &str) -> u8 {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => EXIT_FAILED,
        _ => 0,
    }
}
