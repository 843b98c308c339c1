//! What a typed line means. Pure.

use super::event::{ErrorKind, Event, LocalError};
use crate::net::limits::TEXT_BYTES_MAX;

/// A command or a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Nothing was typed.
    Nothing,
    /// Text to the room.
    Say(String),
    /// Back to push-to-talk.
    Mute,
    /// Open microphone.
    Unmute,
    /// Which rooms are there?
    List,
    /// Who is in this room, or the own one?
    Users(Option<String>),
    /// Leave and end.
    Exit,
    /// Go to this room.
    Join(String),
    /// Leave the room, stay connected.
    Leave,
    /// Text to one user.
    Msg {
        /// His name.
        to: String,
        /// What.
        text: String,
    },
    /// Another name.
    Nick(String),
    /// Hear nobody.
    Deafen,
    /// Hear again.
    Undeafen,
    /// Figures.
    Stats,
    /// The commands there are.
    Help,
}

/// A line that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Why.
    pub code: LocalError,
    /// What the error is worded with.
    pub args: Vec<(&'static str, String)>,
}

impl From<Mistake> for Event {
    fn from(Mistake { code, args }: Mistake) -> Self {
        let args = args.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Self::Error { code: ErrorKind::Local(code), args, fatal: false }
    }
}

/// Every command's word and how it is used, in the order of `/help`. An alias stands behind.
pub const COMMANDS: [(&str, &str); 16] = [
    ("/mute", "/mute"),
    ("/unmute", "/unmute"),
    ("/list", "/list"),
    ("/users", "/users [ROOM]"),
    ("/join", "/join ROOM"),
    ("/leave", "/leave"),
    ("/msg", "/msg NAME TEXT"),
    ("/nick", "/nick NAME"),
    ("/deafen", "/deafen"),
    ("/undeafen", "/undeafen"),
    ("/stats", "/stats"),
    ("/help", "/help"),
    ("/exit", "/exit"),
    ("/quit", "/quit"),
    ("/rooms", "/rooms"),
    ("/who", "/who [ROOM]"),
];

/// Reads a line.
///
/// # Errors
/// An unknown command, a missing argument, a quotation mark without its partner, a text too long.
pub fn parse(line: &str) -> Result<Command, Mistake> {
    if line.trim().is_empty() {
        return Ok(Command::Nothing);
    }
    if line.len() > TEXT_BYTES_MAX {
        let args = vec![("max", TEXT_BYTES_MAX.to_string())];
        return Err(Mistake { code: LocalError::LineTooLong, args });
    }
    // Two strokes let a text begin with one.
    if let Some(text) = line.strip_prefix('/').filter(|text| text.starts_with('/')) {
        return Ok(Command::Say(text.to_owned()));
    }
    if !line.starts_with('/') {
        return Ok(Command::Say(line.to_owned()));
    }
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let (word, rest) = (word.to_lowercase(), rest.trim());
    let Some((word, usage)) = COMMANDS.iter().find(|(name, _)| *name == word) else {
        return Err(unknown(&word));
    };
    let mistake = |code| Mistake { code, args: vec![("usage", (*usage).to_owned())] };
    let missing = || mistake(LocalError::MissingArgument);
    let unclosed = || mistake(LocalError::UnclosedQuote);
    let one = || match unquote(rest) {
        Some("") => Err(missing()),
        Some(name) => Ok(name.to_owned()),
        None => Err(unclosed()),
    };
    Ok(match *word {
        "/mute" => Command::Mute,
        "/unmute" => Command::Unmute,
        "/list" | "/rooms" => Command::List,
        "/users" | "/who" if rest.is_empty() => Command::Users(None),
        "/users" | "/who" => Command::Users(Some(one()?)),
        "/exit" | "/quit" => Command::Exit,
        "/join" => Command::Join(one()?),
        "/leave" => Command::Leave,
        "/msg" => {
            let (to, text) = split_name(rest).ok_or_else(unclosed)?;
            if to.is_empty() || text.is_empty() {
                return Err(missing());
            }
            Command::Msg { to: to.to_owned(), text: text.to_owned() }
        }
        "/nick" => Command::Nick(one()?),
        "/deafen" => Command::Deafen,
        "/undeafen" => Command::Undeafen,
        "/stats" => Command::Stats,
        _ => Command::Help,
    })
}

/// A whole argument, with or without quotation marks around it. `None` if one has no partner.
fn unquote(text: &str) -> Option<&str> {
    match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').map(str::trim),
        None => Some(text),
    }
}

/// A name (in quotation marks if it holds spaces) and what follows it.
fn split_name(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = match text.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?,
        None => text.split_once(char::is_whitespace).unwrap_or((text, "")),
    };
    Some((name.trim(), rest.trim_start()))
}

fn unknown(word: &str) -> Mistake {
    let nearest = COMMANDS
        .iter()
        .map(|(name, _)| (distance(word, name), *name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= 2);
    let mut args = vec![("word", word.chars().take(32).collect())];
    args.extend(nearest.map(|(_, nearest)| ("nearest", nearest.to_owned())));
    Mistake { code: LocalError::UnknownCommand, args }
}

/// Letters to insert, leave out, replace or swap with their neighbour to make one word of the
/// other (optimal string alignment). A word that is the start of the other is as near as one slip.
fn distance(from: &str, to: &str) -> usize {
    if from.chars().count() > 2 && to.starts_with(from) {
        return 1;
    }
    let from: Vec<char> = from.chars().take(32).collect();
    let to: Vec<char> = to.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    let at = |row: &[usize], k: usize| row.get(k).copied().unwrap_or(usize::MAX / 2);
    for (i, a) in from.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let replaced = at(&row, j) + usize::from(a != b);
            let mut best = replaced.min(at(&row, j + 1) + 1).min(at(&next, j) + 1);
            let swapped = i > 0 && j > 0 && from.get(i - 1) == Some(b) && to.get(j - 1) == Some(a);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    at(&row, to.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(line: &str) -> (LocalError, Option<String>) {
        let Mistake { code, args } = parse(line).unwrap_err();
        (code, args.into_iter().find(|(key, _)| *key == "nearest").map(|(_, value)| value))
    }

    #[test]
    fn the_words_of_the_original_are_understood() {
        for (line, command) in [
            ("/mute", Command::Mute),
            ("/unmute", Command::Unmute),
            ("/list", Command::List),
            ("/users", Command::Users(None)),
            ("/exit", Command::Exit),
            ("/QUIT ", Command::Exit),
            ("hello /mute", Command::Say("hello /mute".into())),
            ("  ", Command::Nothing),
        ] {
            assert_eq!(parse(line), Ok(command), "{line}");
        }
    }

    #[test]
    fn names_with_spaces_are_quoted_or_take_the_rest_of_the_line() {
        let msg = |to: &str, text: &str| Ok(Command::Msg { to: to.into(), text: text.into() });
        assert_eq!(parse("/msg Bob  hi  there"), msg("Bob", "hi  there"));
        assert_eq!(parse("/msg \"Big Joe\" hi"), msg("Big Joe", "hi"));
        assert_eq!(parse("/msg \"Big Joe\"hi"), msg("Big Joe", "hi"));
        assert_eq!(parse("/join the lounge"), Ok(Command::Join("the lounge".into())));
        assert_eq!(parse("/join \"the lounge\""), Ok(Command::Join("the lounge".into())));
        assert_eq!(parse("/nick Big Joe"), Ok(Command::Nick("Big Joe".into())));
        assert_eq!(parse("/users the lounge"), Ok(Command::Users(Some("the lounge".into()))));
        assert_eq!(error("/msg \"Big Joe hi").0, LocalError::UnclosedQuote);
        assert_eq!(error("/join \"x").0, LocalError::UnclosedQuote);
    }

    #[test]
    fn two_strokes_say_a_text_that_begins_with_one() {
        assert_eq!(parse("//mute"), Ok(Command::Say("/mute".into())));
        assert_eq!(parse("///"), Ok(Command::Say("//".into())));
    }

    #[test]
    fn what_is_missing_is_said() {
        for line in ["/join", "/nick  ", "/msg", "/msg Bob", "/msg \"\" hi", "/join \"\""] {
            assert_eq!(error(line).0, LocalError::MissingArgument, "{line}");
        }
        assert_eq!(error(&"x".repeat(TEXT_BYTES_MAX + 1)).0, LocalError::LineTooLong);
    }

    #[test]
    fn an_unknown_command_is_never_said_aloud_and_the_nearest_is_named() {
        for (line, nearest) in [
            ("/umnute", Some("/unmute")),
            ("/mut", Some("/mute")),
            ("/joni x", Some("/join")),
            ("/unde", Some("/undeafen")),
            ("/xyzzy", None),
            ("/", None),
        ] {
            let (code, found) = error(line);
            assert_eq!((code, found.as_deref()), (LocalError::UnknownCommand, nearest), "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_a_command_or_an_error(line in ".{0,60}") {
            let _ = parse(&line);
            let _ = parse(&format!("/msg {line}"));
        }
    }
}
