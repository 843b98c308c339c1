//! Orders to a client that runs already: a key of the desktop, a foot pedal or a script opens its
//! microphone, mutes it, or says something. Pure but for `socket`.
//!
//! One connection carries one order: a line there, a line back. The socket stands in the client's
//! state directory, which only its user can enter.

#[cfg(unix)]
pub mod socket;
#[cfg(not(unix))]
#[path = "remote/nowhere.rs"]
pub mod socket;

use super::texts::remote as words;
use crate::net::limits::TEXT_BYTES_MAX;
use clap::{CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// Longest line there and back, in bytes.
pub const LINE_BYTES_MAX: usize = TEXT_BYTES_MAX + 64;

/// What is ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// The talk key goes down.
    Press,
    /// The talk key is let go.
    Release,
    /// The talk key goes down, or is let go if it was down.
    Toggle,
    /// Back to push-to-talk.
    Mute,
    /// Open microphone.
    Unmute,
    /// Hear nobody.
    Deafen,
    /// Hear again.
    Undeafen,
    /// Text to the room; never a command.
    Say(String),
}

/// What has come of an order.
pub type Answer = Result<(), String>;

impl Order {
    /// The line that carries it. A text is written as JSON, so that it stays one line.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Self::Press => "press".to_owned(),
            Self::Release => "release".to_owned(),
            Self::Toggle => "toggle".to_owned(),
            Self::Mute => "mute".to_owned(),
            Self::Unmute => "unmute".to_owned(),
            Self::Deafen => "deafen".to_owned(),
            Self::Undeafen => "undeafen".to_owned(),
            Self::Say(text) => format!("say {}", serde_json::Value::from(text.as_str())),
        }
    }

    /// Reads a line; `None` for what is no order.
    #[must_use]
    pub fn read(line: &str) -> Option<Self> {
        Some(match line {
            "press" => Self::Press,
            "release" => Self::Release,
            "toggle" => Self::Toggle,
            "mute" => Self::Mute,
            "unmute" => Self::Unmute,
            "deafen" => Self::Deafen,
            "undeafen" => Self::Undeafen,
            _ => {
                let text: String = serde_json::from_str(line.strip_prefix("say ")?).ok()?;
                (text.len() <= TEXT_BYTES_MAX && !text.trim().is_empty())
                    .then_some(Self::Say(text))?
            }
        })
    }
}

/// The words of a command line that gives an order.
#[derive(Debug, Parser)]
#[command(name = "parlor", about = words::ABOUT)]
struct Arguments {
    #[command(subcommand)]
    word: Word,
    /// The state directory of the client that runs [default: the system's place]
    #[arg(long, value_name = "DIR", env = "PARLOR_STATE_DIR", global = true)]
    state_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Word {
    /// The talk key: press, release, or toggle
    Ptt {
        #[command(subcommand)]
        key: Key,
    },
    /// Back to push-to-talk
    Mute,
    /// Open microphone
    Unmute,
    /// Hear nobody
    Deafen,
    /// Hear again
    Undeafen,
    /// Says a text to the room
    Say {
        /// The text; several words are put together
        #[arg(required = true)]
        text: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
enum Key {
    /// It goes down
    Press,
    /// It is let go
    Release,
    /// The one or the other
    Toggle,
}

/// The command lines that give orders, for help, completions and manual.
#[must_use]
pub fn commands() -> Vec<clap::Command> {
    let whole = Arguments::command();
    let state = whole.get_arguments().find(|arg| arg.get_id() == "state_dir").cloned();
    let with = |word: clap::Command| word.args(state.clone());
    whole.get_subcommands().cloned().map(with).collect()
}

/// The order of a command line, and where the client that it is for keeps its state; `None` for a
/// command line that gives none.
///
/// # Errors
/// The words behind the first make no sense, or help was asked for.
pub fn arguments(all: &[OsString]) -> Option<Result<(Order, Option<PathBuf>), clap::Error>> {
    let first = all.get(1)?.to_str()?;
    if !["ptt", "mute", "unmute", "deafen", "undeafen", "say"].contains(&first) {
        return None;
    }
    Some(Arguments::try_parse_from(all).map(|Arguments { word, state_dir }| {
        let order = match word {
            Word::Ptt { key: Key::Press } => Order::Press,
            Word::Ptt { key: Key::Release } => Order::Release,
            Word::Ptt { key: Key::Toggle } => Order::Toggle,
            Word::Mute => Order::Mute,
            Word::Unmute => Order::Unmute,
            Word::Deafen => Order::Deafen,
            Word::Undeafen => Order::Undeafen,
            Word::Say { text } => Order::Say(text.join(" ")),
        };
        (order, state_dir)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(line: &str) -> Option<(Order, Option<PathBuf>)> {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        arguments(&words).map(|read| read.unwrap())
    }

    #[test]
    fn a_first_word_makes_an_order_and_every_other_does_not() {
        let order = |line: &str| read(line).map(|(order, _)| order);
        assert_eq!(order("parlor ptt press"), Some(Order::Press));
        assert_eq!(order("parlor ptt toggle"), Some(Order::Toggle));
        assert_eq!(order("parlor deafen"), Some(Order::Deafen));
        assert_eq!(order("parlor say hello all"), Some(Order::Say("hello all".into())));
        let (_, state) = read("parlor mute --state-dir there").unwrap();
        assert_eq!(state, Some("there".into()));
        for line in ["parlor", "parlor --server ptt", "parlor music", "parlor doctor"] {
            assert_eq!(order(line), None, "{line}");
        }
        assert!(arguments(&["parlor".into(), "ptt".into(), "hold".into()]).unwrap().is_err());
        assert!(arguments(&["parlor".into(), "say".into()]).unwrap().is_err());
    }

    proptest! {
        #[test]
        fn an_order_reads_back_as_written_on_one_line(text in "(?s).{1,40}") {
            prop_assume!(!text.trim().is_empty());
            let order = Order::Say(text);
            prop_assert!(!order.line().contains('\n'));
            prop_assert_eq!(Order::read(&order.line()), Some(order));
        }

        #[test]
        fn any_line_is_an_order_or_none(line in "(?s).{0,60}") {
            let _ = Order::read(&line);
        }
    }

    #[test]
    fn every_order_has_its_line() {
        for order in [
            Order::Press,
            Order::Release,
            Order::Toggle,
            Order::Mute,
            Order::Unmute,
            Order::Deafen,
            Order::Undeafen,
        ] {
            assert_eq!(Order::read(&order.line()), Some(order));
        }
        assert_eq!(Order::read("say \"\""), None);
        assert_eq!(Order::read("say hello"), None);
    }
}
