//! What a typed line means. Pure.

use super::control::request::VolumeWish;
use super::event::{ErrorKind, Event, LocalError};
use super::voice::{BITRATES, StageName};
use super::volumes::PERCENT_MAX;
use crate::net::codec::Codec;
use crate::net::invite::{Invite, SCHEME};
use crate::net::limits::TEXT_BYTES_MAX;
use crate::net::moderation::Moderation;
use crate::net::name::RoomName;

pub mod moderation;

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
    /// A microphone that opens while somebody speaks.
    Voice,
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
    /// Send our voice as this.
    Codec(Codec),
    /// Opus has so many bits per second.
    Bitrate(u32),
    /// A stage of the capture chain, on or off.
    Stage(StageName, bool),
    /// Play someone so loud.
    Volume {
        /// His name.
        name: String,
        /// How.
        wish: VolumeWish,
    },
    /// Bring speakers near to one loudness, or not.
    Levelling(bool),
    /// Play our own sounds, or none.
    Sounds(bool),
    /// Which sound devices are there?
    Devices,
    /// Take another microphone.
    Input(String),
    /// Take another loudspeaker.
    Output(String),
    /// Play a test tone.
    Tone,
    /// Hear ourselves.
    Test,
    /// Record the room: into this directory, or where recordings usually go.
    Record(Option<String>),
    /// End the recording.
    StopRecording,
    /// Figures.
    Stats,
    /// The commands there are.
    Help {
        /// Only of those who keep order.
        moderation: bool,
    },
    /// Keep my name for me; a password is asked for.
    Register,
    /// Keep it no longer.
    Unregister,
    /// Keep order.
    Moderate(Moderation),
    /// Give a room a password, which is asked for.
    Lock {
        /// The room.
        room: String,
    },
    /// Go to the server of an invite.
    Visit(Box<Invite>),
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
pub const COMMANDS: &[(&str, &str)] = &[
    ("/mute", "/mute"),
    ("/unmute", "/unmute"),
    ("/voice", "/voice"),
    ("/list", "/list"),
    ("/users", "/users [ROOM]"),
    ("/join", "/join ROOM"),
    ("/leave", "/leave"),
    ("/msg", "/msg NAME TEXT"),
    ("/me", "/me TEXT"),
    ("/nick", "/nick NAME"),
    ("/deafen", "/deafen"),
    ("/undeafen", "/undeafen"),
    ("/stats", "/stats"),
    ("/devices", "/devices"),
    ("/input", "/input NAME"),
    ("/output", "/output NAME"),
    ("/tone", "/tone"),
    ("/test", "/test"),
    ("/codec", "/codec opus|pcm"),
    ("/bitrate", "/bitrate 6-256"),
    ("/echo", "/echo on|off"),
    ("/noise", "/noise on|off"),
    ("/gain", "/gain on|off"),
    ("/highpass", "/highpass on|off"),
    ("/volume", "/volume NAME 0-200"),
    ("/ignore", "/ignore NAME"),
    ("/unignore", "/unignore NAME"),
    ("/levelling", "/levelling on|off"),
    ("/sounds", "/sounds on|off"),
    ("/record", "/record [DIR], /record stop"),
    ("/register", "/register"),
    ("/unregister", "/unregister"),
    ("/help", "/help [moderation]"),
    ("/exit", "/exit"),
    ("/quit", "/quit"),
    ("/rooms", "/rooms"),
    ("/who", "/who [ROOM]"),
];

/// A text that begins so tells what its sender does. Whoever shows texts as they are shows it so.
pub const ACT: &str = "/me ";

/// A command's words.
struct Line<'a> {
    /// The command, with its stroke.
    word: &'static str,
    usage: &'static str,
    /// What stands behind it.
    rest: &'a str,
    /// The own room.
    here: Option<&'a RoomName>,
}

impl Line<'_> {
    fn mistake(&self, code: LocalError) -> Mistake {
        Mistake { code, args: vec![("usage", self.usage.to_owned())] }
    }

    /// A mistake in one word of the line.
    fn mistaken(&self, code: LocalError, word: &str) -> Mistake {
        let word = word.chars().take(32).collect();
        Mistake { code, args: vec![("usage", self.usage.to_owned()), ("word", word)] }
    }

    /// All of a text as one argument; perhaps nothing.
    fn whole<'t>(&self, text: &'t str) -> Result<&'t str, Mistake> {
        unquote(text).ok_or_else(|| self.mistake(LocalError::UnclosedQuote))
    }

    /// The one argument that there must be.
    fn one(&self) -> Result<String, Mistake> {
        match self.whole(self.rest)? {
            "" => Err(self.mistake(LocalError::MissingArgument)),
            argument => Ok(argument.to_owned()),
        }
    }

    /// The one argument is `on` or `off`.
    fn on_or_off(&self) -> Result<bool, Mistake> {
        match self.one()?.to_lowercase().as_str() {
            "on" => Ok(true),
            "off" => Ok(false),
            word => Err(self.mistaken(LocalError::NotOnOrOff, word)),
        }
    }

    /// A command that asks for a password takes none on its line.
    fn no_password<T>(&self, command: T) -> Result<T, Mistake> {
        match self.rest {
            "" => Ok(command),
            _ => Err(self.mistake(LocalError::PasswordOnLine)),
        }
    }
}

/// Whether a line holds, or may hold, what must not be shown again.
#[must_use]
pub fn is_secret(line: &str) -> bool {
    let line = line.trim_start();
    is_invite(line) || line.get(..9).is_some_and(|word| word.eq_ignore_ascii_case("/register"))
}

/// The text that a line says, if it is no invite and no command but `/me`; two strokes let it begin
/// with one.
#[must_use]
pub fn said(line: &str) -> Option<String> {
    let text = match line.strip_prefix('/') {
        Some(_) if line.starts_with(ACT) => line,
        Some(text) => text.starts_with('/').then_some(text)?,
        None => line,
    };
    let said =
        !text.trim().is_empty() && text.len() <= TEXT_BYTES_MAX && !is_invite(text.trim_start());
    said.then(|| text.to_owned())
}

fn is_invite(line: &str) -> bool {
    line.get(..SCHEME.len()).is_some_and(|start| start.eq_ignore_ascii_case(SCHEME))
}

/// Reads a line that is typed in room `here`.
///
/// # Errors
/// An unknown command, a missing argument, a quotation mark without its partner, a text too long.
pub fn parse(line: &str, here: Option<&RoomName>) -> Result<Command, Mistake> {
    if line.trim().is_empty() {
        return Ok(Command::Nothing);
    }
    if line.len() > TEXT_BYTES_MAX {
        let args = vec![("max", TEXT_BYTES_MAX.to_string())];
        return Err(Mistake { code: LocalError::LineTooLong, args });
    }
    // Said to the room it would let in whoever reads it there.
    if is_invite(line.trim_start()) {
        let invite = line.parse().map_err(|error: crate::net::invite::InviteError| Mistake {
            code: LocalError::BadInvite,
            args: vec![("why", error.to_string())],
        });
        return invite.map(|invite| Command::Visit(Box::new(invite)));
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
    let find = |table: &'static [(&str, &str)]| table.iter().find(|(name, _)| *name == word);
    if let Some((word, usage)) = find(moderation::COMMANDS) {
        return moderation::parse(&Line { word, usage, rest, here });
    }
    let Some((word, usage)) = find(COMMANDS) else { return Err(unknown(&word)) };
    let line = Line { word, usage, rest, here };
    Ok(match *word {
        "/mute" => Command::Mute,
        "/unmute" => Command::Unmute,
        "/voice" => Command::Voice,
        "/echo" => Command::Stage(StageName::Echo, line.on_or_off()?),
        "/noise" => Command::Stage(StageName::Noise, line.on_or_off()?),
        "/gain" => Command::Stage(StageName::Gain, line.on_or_off()?),
        "/highpass" => Command::Stage(StageName::HighPass, line.on_or_off()?),
        "/list" | "/rooms" => Command::List,
        "/users" | "/who" if rest.is_empty() => Command::Users(None),
        "/users" | "/who" => Command::Users(Some(line.one()?)),
        "/exit" | "/quit" => Command::Exit,
        "/join" => Command::Join(line.one()?),
        "/leave" => Command::Leave,
        "/msg" => {
            let unclosed = || line.mistake(LocalError::UnclosedQuote);
            let (to, text) = split_name(rest).ok_or_else(unclosed)?;
            if to.is_empty() || text.is_empty() {
                return Err(line.mistake(LocalError::MissingArgument));
            }
            Command::Msg { to: to.to_owned(), text: text.to_owned() }
        }
        "/me" if rest.is_empty() => return Err(line.mistake(LocalError::MissingArgument)),
        "/me" => Command::Say(format!("{ACT}{rest}")),
        "/nick" => Command::Nick(line.one()?),
        "/deafen" => Command::Deafen,
        "/undeafen" => Command::Undeafen,
        "/stats" => Command::Stats,
        "/devices" => Command::Devices,
        "/input" => Command::Input(line.one()?),
        "/output" => Command::Output(line.one()?),
        "/tone" => Command::Tone,
        "/test" => Command::Test,
        "/volume" => {
            let (name, percent) = match rest.rsplit_once(char::is_whitespace) {
                Some((name, percent)) => (line.whole(name.trim())?, percent),
                None => return Err(line.mistake(LocalError::MissingArgument)),
            };
            match percent.trim_end_matches('%').parse() {
                Ok(percent) if percent <= PERCENT_MAX => {
                    let wish = VolumeWish::Percent(percent);
                    Command::Volume { name: name.to_owned(), wish }
                }
                _ => return Err(line.mistaken(LocalError::BadNumber, percent)),
            }
        }
        "/ignore" => Command::Volume { name: line.one()?, wish: VolumeWish::Ignore(true) },
        "/unignore" => Command::Volume { name: line.one()?, wish: VolumeWish::Ignore(false) },
        "/levelling" => Command::Levelling(line.on_or_off()?),
        "/sounds" => Command::Sounds(line.on_or_off()?),
        "/record" if rest.is_empty() => Command::Record(None),
        "/record" if rest.eq_ignore_ascii_case("stop") => Command::StopRecording,
        "/record" => Command::Record(Some(line.one()?)),
        "/codec" => match line.one()?.to_lowercase().as_str() {
            "opus" => Command::Codec(Codec::Opus),
            "pcm" => Command::Codec(Codec::Pcm),
            word => return Err(line.mistaken(LocalError::BadCodec, word)),
        },
        "/bitrate" => {
            let word = line.one()?;
            let bitrate = word.parse().ok().and_then(|kbps: u32| kbps.checked_mul(1000));
            match bitrate.filter(|bitrate| BITRATES.contains(bitrate)) {
                Some(bitrate) => Command::Bitrate(bitrate),
                None => return Err(line.mistaken(LocalError::BadNumber, &word)),
            }
        }
        "/register" => line.no_password(Command::Register)?,
        "/unregister" => Command::Unregister,
        _ => Command::Help { moderation: "moderation".starts_with(rest) && rest.len() > 2 },
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
        .chain(moderation::COMMANDS)
        .map(|(name, _)| (distance(word, name), *name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= 2 && distance + 1 < word.chars().count());
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

    fn parse(line: &str) -> Result<Command, Mistake> {
        super::parse(line, None)
    }

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
    fn what_one_does_is_a_text_that_says_so() {
        assert_eq!(parse("/me waves \"hi"), Ok(Command::Say("/me waves \"hi".into())));
        assert_eq!(error("/me ").0, LocalError::MissingArgument);
        for (line, text) in [
            ("/me waves", Some("/me waves")),
            ("hi", Some("hi")),
            ("//x", Some("/x")),
            ("/exit", None),
            ("parlor://h/#x", None),
            ("  ", None),
        ] {
            assert_eq!(said(line).as_deref(), text, "{line}");
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
    fn codec_and_bit_rate_are_chosen_by_command_and_nonsense_is_refused() {
        assert_eq!(parse("/codec PCM"), Ok(Command::Codec(Codec::Pcm)));
        assert_eq!(parse("/codec opus"), Ok(Command::Codec(Codec::Opus)));
        assert_eq!(parse("/bitrate 32"), Ok(Command::Bitrate(32_000)));
        assert_eq!(error("/codec mp3").0, LocalError::BadCodec);
        for line in ["/bitrate 5", "/bitrate 257", "/bitrate 5000000", "/bitrate x", "/bitrate -8"]
        {
            assert_eq!(error(line).0, LocalError::BadNumber, "{line}");
        }
        assert_eq!(error("/codec").0, LocalError::MissingArgument);
    }

    #[test]
    fn stages_of_the_chain_are_switched_by_on_and_off() {
        assert_eq!(parse("/echo off"), Ok(Command::Stage(StageName::Echo, false)));
        assert_eq!(parse("/Noise ON"), Ok(Command::Stage(StageName::Noise, true)));
        assert_eq!(error("/gain 7").0, LocalError::NotOnOrOff);
        assert_eq!(error("/highpass").0, LocalError::MissingArgument);
        assert_eq!(parse("/voice"), Ok(Command::Voice));
    }

    #[test]
    fn a_volume_is_chosen_for_a_name_with_or_without_spaces() {
        let volume = |name: &str, wish| Ok(Command::Volume { name: name.into(), wish });
        assert_eq!(parse("/volume Bob 150"), volume("Bob", VolumeWish::Percent(150)));
        assert_eq!(parse("/volume Big Joe 0%"), volume("Big Joe", VolumeWish::Percent(0)));
        assert_eq!(parse("/volume \"Big Joe\" 20"), volume("Big Joe", VolumeWish::Percent(20)));
        assert_eq!(parse("/ignore Big Joe"), volume("Big Joe", VolumeWish::Ignore(true)));
        assert_eq!(parse("/unignore Bob"), volume("Bob", VolumeWish::Ignore(false)));
        assert_eq!(error("/volume Bob").0, LocalError::MissingArgument);
        assert_eq!(error("/volume Bob 201").0, LocalError::BadNumber);
        assert_eq!(error("/volume Bob loud").0, LocalError::BadNumber);
        assert_eq!(parse("/levelling OFF"), Ok(Command::Levelling(false)));
        assert_eq!(parse("/test"), Ok(Command::Test));
        assert_eq!(parse("/sounds off"), Ok(Command::Sounds(false)));
        assert_eq!(error("/levelling maybe").0, LocalError::NotOnOrOff);
    }

    #[test]
    fn devices_are_listed_and_chosen_by_names_with_spaces() {
        assert_eq!(parse("/devices"), Ok(Command::Devices));
        assert_eq!(parse("/input USB Mic (2)"), Ok(Command::Input("USB Mic (2)".into())));
        assert_eq!(parse("/OUTPUT \"hw:0\""), Ok(Command::Output("hw:0".into())));
        assert_eq!(parse("/tone"), Ok(Command::Tone));
        assert_eq!(error("/input").0, LocalError::MissingArgument);
    }

    #[test]
    fn a_recording_is_begun_and_ended_by_command() {
        assert_eq!(parse("/record"), Ok(Command::Record(None)));
        assert_eq!(parse("/record my calls"), Ok(Command::Record(Some("my calls".into()))));
        assert_eq!(parse("/record STOP"), Ok(Command::StopRecording));
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
            ("/slience", Some("/silence")),
            ("/xyzzy", None),
            ("/", None),
        ] {
            let (code, found) = error(line);
            assert_eq!((code, found.as_deref()), (LocalError::UnknownCommand, nearest), "{line}");
        }
    }

    #[test]
    fn an_invite_is_gone_to_and_never_said_aloud() {
        let token = "A".repeat(43);
        let line = format!("Parlor://[::1]:7/attic#.{token}");
        let Ok(Command::Visit(invite)) = parse(&format!("  {line} ")) else { panic!() };
        assert_eq!(invite.server.to_string(), "[::1]:7");
        let (code, _) = error(&line[..line.len() - 1]);
        assert_eq!(code, LocalError::BadInvite);
        let Mistake { args, .. } = parse(&line[..line.len() - 1]).unwrap_err();
        assert!(!format!("{args:?}").contains("AAAA"), "{args:?}");
        assert!(is_secret(&line) && !is_secret("hello"));
    }

    #[test]
    fn a_password_on_the_line_is_refused_and_not_repeated() {
        assert_eq!(parse("/register"), Ok(Command::Register));
        let Mistake { code, args } = parse("/register hunter2").unwrap_err();
        assert_eq!(code, LocalError::PasswordOnLine);
        assert!(!format!("{args:?}").contains("hunter2"));
        assert!(is_secret("/Register hunter2"));
    }

    proptest! {
        #[test]
        fn any_line_is_a_command_or_an_error(line in ".{0,60}") {
            let _ = parse(&line);
            let _ = parse(&format!("/msg {line}"));
        }
    }
}
