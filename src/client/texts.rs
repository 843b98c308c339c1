//! Every text that people see, in English. Each says what happened, why, and what to do.
//!
//! Names and texts of peers pass through `printable` here, so that nothing of theirs can move a
//! cursor.

use super::command::ACT;
use super::doctor::findings::Level;
use super::event::{
    DeviceKind, ErrorKind, Event, Heard, HelpTopic, LocalError, LossCause, NoticeCode, PathKind,
    Person, Room,
};
use super::ptt::{Mode, Release};
use super::voice::{DeviceList, StageName, TrialFigures, TrialNews, Verdict};
use super::volumes::Volume;
use crate::net::codec::Codec;
use crate::net::message::{ErrorCode, GoodbyeReason, LeaveReason};
use crate::net::name::printable;
use std::collections::BTreeMap;
use std::fmt::Display;

pub mod cli;
pub mod config;
pub mod first;
pub mod interface;
pub mod listen;
mod moderation;
pub mod remote;
pub mod stats;

pub use moderation::password_prompt;

type Args = BTreeMap<String, String>;

/// The lines that tell of an event; none for one that is only for scripts or the status line.
#[must_use]
pub fn words(event: &Event) -> Vec<String> {
    let line = match event {
        Event::Connecting { server } => format!("* Connecting to {} ...", shown(server)),
        Event::Connected { server, .. } => format!("* Connected to {server}."),
        Event::NewServer { server, fingerprint } => format!(
            "* New server {}: fingerprint {fingerprint} - remembered from now on. To be sure that it is the right one, \
             compare it with what its operator sees.",
            shown(server)
        ),
        Event::Welcome { name, .. } => format!("* You are {}.", shown(name)),
        Event::Joined { room, members } => {
            let mut lines = vec![joined(&shown(room), members)];
            lines.extend(recorders(members));
            return lines;
        }
        Event::Left { room, reason: None, .. } => {
            format!("* You have left {}. /join ROOM takes you to another room.", shown(room))
        }
        Event::Left { room, reason: Some(reason), by, why } => {
            moderation::put_out(&shown(room), *reason, by.as_ref(), why.as_ref())
        }
        Event::RoomRenamed { from, room, by } => {
            format!(
                "* {} has renamed the room {}: it is {} now.",
                shown(by),
                shown(from),
                shown(room)
            )
        }
        Event::Registered { name, registered: true } => format!(
            "* The name '{}' is kept for you. This device is known; another one needs the password.",
            shown(name)
        ),
        Event::Registered { name, registered: false } => {
            format!("* The name '{}' is free again: anyone may take it.", shown(name))
        }
        Event::Standing { standing, before, room } => {
            return moderation::standing(*standing, *before, room.as_ref());
        }
        Event::Withheld { withheld: true } => {
            "! Nobody hears you now: too many speak at once, and others are louder. Wait a moment, or speak up."
                .to_owned()
        }
        Event::Withheld { withheld: false } => "* You can be heard again.".to_owned(),
        Event::Report(report) => return moderation::report(report),
        Event::PasswordWanted { lock, of, turn } => moderation::password_wanted(*lock, of, *turn),
        Event::MemberJoined(member) if member.recording => format!(
            "! {} has come in and RECORDS this room: what you say is kept.",
            shown(&member.name)
        ),
        Event::MemberJoined(member) => format!("* {} has come in.", shown(&member.name)),
        Event::MemberLeft { name, reason, .. } => {
            format!("* {} has left{}.", shown(name), left_because(*reason))
        }
        Event::MemberChanged { member, renamed_from: Some(before), .. } if !member.you => {
            format!("* {} is now called {}.", shown(before), shown(&member.name))
        }
        Event::MemberChanged { member, change, .. } if !member.you => {
            let mut what = Vec::new();
            if change.deafened {
                what.push(if member.deafened { "hears nobody now" } else { "hears again" });
            }
            if change.muted {
                let closed = "has closed the microphone (push-to-talk)";
                what.push(if member.muted { closed } else { "has an open microphone" });
            }
            if change.recording {
                what.push(match member.recording {
                    true => "RECORDS this room: what you say is kept",
                    false => "records no longer",
                });
            }
            if change.silenced {
                what.push(if member.silenced {
                    "has been silenced by a moderator"
                } else {
                    "can be heard again"
                });
            }
            if change.role {
                what.push(match moderation::role_mark(member.role) {
                    Some("operator") => "is an operator now",
                    Some(_) => "is a moderator now",
                    None => "keeps order no longer",
                });
            }
            if what.is_empty() {
                return Vec::new();
            }
            format!("* {} {}.", shown(&member.name), what.join(" and "))
        }
        // Goodbye is told as the reason of the loss that follows.
        Event::MemberChanged { .. } | Event::State { .. } | Event::Goodbye { .. } => {
            return Vec::new();
        }
        Event::Speaking { name, on: true, .. } => format!("* {} speaks.", shown(name)),
        Event::Speaking { name, on: false, .. } => format!("* {} is silent.", shown(name)),
        Event::Chat { name, text, at_ms, heard, .. } => {
            let when = match heard {
                Heard::Live => String::new(),
                Heard::Missed | Heard::Before => {
                    moderation::here(*at_ms).map(|at| format!("[{at}] ")).unwrap_or_default()
                }
            };
            return match text.starts_with(ACT) {
                true => text_of(&format!("{when}{ACT_MARK} {} ", shown(name)), act(text)),
                false => text_of(&format!("{when}{}: ", shown(name)), text),
            };
        }
        Event::Private { from, to, text, you, .. } => {
            let head = match you {
                true => format!("[to {}] ", shown(to)),
                false => format!("[from {}] ", shown(from)),
            };
            return match text.starts_with(ACT) {
                true => text_of(&format!("{head}{ACT_MARK} {} ", shown(from)), act(text)),
                false => text_of(&head, text),
            };
        }
        Event::Rooms { rooms, total } => return room_list(rooms, *total),
        Event::Users { room, members, total } => return user_list(&shown(room), members, *total),
        Event::Renamed { name } => format!("* You are now called {}.", shown(name)),
        Event::Microphone { open, waiting, voice } => {
            microphone(*open, *waiting, *voice).to_owned()
        }
        Event::Stage { stage, on } => {
            format!("* {} is {}.", stage_name(*stage), if *on { "on" } else { "off" })
        }
        Event::Deafened { on: true } => {
            "* You hear nobody now. /undeafen lets you hear again.".to_owned()
        }
        Event::Volume { name, volume, here: false } if volume.ignored => format!(
            "* You will not hear {} whenever this name comes; nobody here is called so. /unignore {0} changes that.",
            shown(name)
        ),
        Event::Volume { name, volume, here: false } => format!(
            "* {} will be played at {} % whenever this name comes; nobody here is called so.",
            shown(name),
            volume.percent
        ),
        Event::Volume { name, volume: Volume { ignored: true, .. }, .. } => format!(
            "* You do not hear {} any more, now and whenever this name comes. /unignore {0} changes that.",
            shown(name)
        ),
        Event::Volume { name, volume, .. } => {
            format!(
                "* {} is played at {} %, now and whenever this name comes.",
                shown(name),
                volume.percent
            )
        }
        Event::Levelling { on: true } => {
            "* Soft and loud speakers are brought near to one loudness.".to_owned()
        }
        Event::Levelling { on: false } => "* Everyone is played as loud as he comes.".to_owned(),
        Event::Sounds { on: true } => {
            "* Sounds tell who comes and goes, and what you do with microphone and ears.".to_owned()
        }
        Event::Sounds { on: false } => "* No sounds are played but voices.".to_owned(),
        Event::Test(news) => test(*news),
        Event::Recording { directory } => format!(
            "* RECORDING: everyone in the room knows. The files are in {}. /record stop ends it.",
            shown(directory.display())
        ),
        Event::RecordingEnded { directory, files, length_ms, lost_ms, error } => {
            return recording_ended(
                &shown(directory.display()),
                files.len(),
                *length_ms,
                *lost_ms,
                error.as_deref(),
            );
        }
        Event::Codec { codec: Codec::Opus } => {
            "* Your voice is sent as Opus, wherever everyone in the room can decode that."
                .to_owned()
        }
        Event::Codec { .. } => "* Your voice is sent as PCM.".to_owned(),
        Event::Bitrate { kbps } => format!("* Opus has {kbps} kbit/s."),
        Event::Deafened { on: false } => "* You hear the others again.".to_owned(),
        Event::Error { code, args, .. } => format!("! {}", error(*code, args)),
        Event::Notice { code: code @ NoticeCode::Unencrypted } => format!("! {}", notice(*code)),
        Event::Notice { code } => format!("* {}", notice(*code)),
        Event::Stats(stats) => return stats::lines(stats),
        Event::Lost { why, detail, retry_ms } => format!(
            "! The connection is lost: {}. The microphone is off. Trying again in {}; /exit ends.",
            loss(*why, detail),
            seconds(*retry_ms)
        ),
        // The second and third, then about one a minute: the status line shows the rest.
        Event::Retrying { attempt, .. } if *attempt > 3 && attempt % 6 != 0 => return Vec::new(),
        Event::Retrying { why, detail, retry_ms, .. } => {
            format!("! Not yet: {}. Trying again in {}.", loss(*why, detail), seconds(*retry_ms))
        }
        Event::DeviceUp { direction, description } => {
            format!("* {}: {}.", device(*direction), shown(description))
        }
        Event::DeviceDown { direction, name, error } => format!(
            "! {} '{}' cannot be used: {}. Text works, and sound comes back when the device does.",
            device(*direction),
            shown(name),
            shown(error).trim_end_matches('.')
        ),
        Event::DeviceRefused { direction, name, error, kept } => {
            let stays = match kept.is_empty() {
                true => "Nothing is changed".to_owned(),
                false => format!("'{}' stays in use", shown(kept.split(": ").next().unwrap_or(kept))),
            };
            format!(
                "! {} '{}' cannot be used: {}. {stays}; /devices shows what there is.",
                device(*direction),
                shown(name),
                shown(error).trim_end_matches('.')
            )
        }
        Event::Devices(list) => return devices(list),
        Event::Tone { output } if output.is_empty() => {
            "! No tone can be heard: no loudspeaker is open. /devices shows those there are, /output NAME takes one."
                .to_owned()
        }
        Event::TalkKey { key, way: Some(way), .. } => listen::everywhere(key, *way),
        Event::TalkKey { key, at_terminal, error, .. } => {
            listen::here(key, *at_terminal, error.as_deref().unwrap_or_default())
        }
        Event::Tone { output } => format!("* A test tone plays on {}.", shown(output)),
        Event::Path { path, back } => match (path, back) {
            (PathKind::Udp, false) => "* Voice goes by UDP.".to_owned(),
            (PathKind::Udp, true) => "* Voice is back on UDP.".to_owned(),
            (PathKind::Stream, _) => {
                "* Voice now goes through the control connection: UDP is blocked.".to_owned()
            }
            (PathKind::None, _) => return Vec::new(),
        },
        Event::Help { topic: HelpTopic::Moderation, .. } => return lines(moderation::HELP),
        Event::Help { keys, topic: HelpTopic::Everyone } => return help(*keys),
        Event::Help { keys, topic: HelpTopic::All } => {
            return [help(*keys), lines(moderation::HELP)].concat();
        }
        Event::Bye => "* You have left. Goodbye!".to_owned(),
    };
    vec![line]
}

/// An error that ends the client, as its last line on stderr.
#[must_use]
pub fn fatal(code: ErrorKind, args: &Args) -> String {
    format!("parlor: {}", error(code, args))
}

/// What the prompt says while there is no connection.
#[must_use]
pub fn status_link(up: bool, ever: bool) -> &'static str {
    match (up, ever) {
        (true, _) => "no room",
        (false, false) => "connecting",
        (false, true) => "reconnecting",
    }
}

/// What the prompt says of the microphone.
#[must_use]
pub fn status_microphone(mode: Mode, talking: bool, device: bool) -> &'static str {
    match (device, mode, talking) {
        (false, ..) => "no mic",
        (true, Mode::Open, _) => "MIC OPEN",
        (true, Mode::Voice, _) => "MIC BY VOICE",
        (true, Mode::PushToTalk, true) => "TALKING",
        (true, Mode::PushToTalk, false) => "mic off",
    }
}

/// What the prompt says of the microphone while we hear ourselves.
pub const STATUS_TESTING: &str = "mic test";

/// What the prompt says when we hear nobody.
pub const STATUS_DEAFENED: &str = "deafened";

/// What the prompt says when a moderator has silenced us.
pub const STATUS_SILENCED: &str = "SILENCED";

/// A line that was left out because the screen could not keep up.
#[must_use]
pub fn skipped(lines: usize) -> String {
    format!("* {lines} lines were left out: they came faster than the screen could show them.")
}

/// One line of `parlor doctor`.
#[must_use]
pub fn doctor_line(about: &str, level: Level, text: &str) -> String {
    let level = match level {
        Level::Good => "good",
        Level::Note => "note",
        Level::Problem => "problem",
    };
    format!("{level:<8} {about:<12} {}", shown(text))
}

pub use moderation::file_time;

/// Stands before what somebody does: not the mark of news, which nobody can make up.
pub const ACT_MARK: char = '—';

/// What somebody does, from a text that tells so.
fn act(text: &str) -> &str {
    text.strip_prefix(ACT).unwrap_or(text)
}

fn shown(text: impl Display) -> String {
    printable(&text.to_string()).replace('\n', " ")
}

/// A text with its head; further lines of it are set in.
fn text_of(head: &str, text: &str) -> Vec<String> {
    let text = printable(text);
    let lines = text.split('\n').enumerate();
    lines
        .map(|(k, line)| if k == 0 { format!("{head}{line}") } else { format!("    {line}") })
        .collect()
}

fn joined(room: &str, members: &[Person]) -> String {
    let others: Vec<String> = members.iter().filter(|m| !m.you).map(|m| shown(&m.name)).collect();
    match others.as_slice() {
        [] => format!("* You are in {room}. Nobody else is here yet."),
        [one] => format!("* You are in {room} with {one}."),
        [.., last] if others.len() <= 8 => {
            let first = others.iter().take(others.len() - 1).cloned().collect::<Vec<_>>();
            format!("* You are in {room} with {} and {last}.", first.join(", "))
        }
        _ => format!("* You are in {room} with {} others; /users lists them.", others.len()),
    }
}

/// Who records the room that we have come into.
fn recorders(members: &[Person]) -> Option<String> {
    let names: Vec<String> =
        members.iter().filter(|m| m.recording && !m.you).map(|m| shown(&m.name)).collect();
    match names.as_slice() {
        [] => None,
        [one] => Some(format!("! {one} RECORDS this room: what you say is kept.")),
        names => Some(format!("! {} RECORD this room: what you say is kept.", names.join(" and "))),
    }
}

fn recording_ended(
    directory: &str,
    files: usize,
    length_ms: u64,
    lost_ms: u64,
    error: Option<&str>,
) -> Vec<String> {
    let length = format!("{}:{:02}", length_ms / 60_000, length_ms / 1000 % 60);
    let mut lines = vec![match error {
        None => format!("* The recording has ended: {length} min in {files} files in {directory}."),
        Some(why) => format!(
            "! The recording has ended by itself, the call goes on: {}. What was said until then ({length} min, {files} files) is in {directory}.",
            shown(why)
        ),
    }];
    if lost_ms > 0 {
        lines.push(format!("! {} of it are missing: the disk was too slow.", seconds(lost_ms)));
    }
    lines
}

fn left_because(reason: LeaveReason) -> &'static str {
    match reason {
        LeaveReason::Switched => " for another room",
        LeaveReason::Lost => ": the connection was lost",
        LeaveReason::Timeout => ": no sign of life",
        LeaveReason::CutOff => ": cut off by the server",
        LeaveReason::Kicked => ": sent away by a moderator",
        LeaveReason::Banned => ": banned",
        LeaveReason::Moved => ": moved to another room",
        LeaveReason::Closed => ": the room was closed",
        LeaveReason::Left | LeaveReason::Quit | LeaveReason::Unknown => "",
    }
}

fn room_list(rooms: &[Room], total: u64) -> Vec<String> {
    if rooms.is_empty() {
        return vec!["* There are no rooms. /join ROOM makes one.".to_owned()];
    }
    let mut lines = vec![match total {
        1 => "* 1 room:".to_owned(),
        _ => format!("* {total} rooms:"),
    }];
    lines.extend(rooms.iter().map(|room| {
        let people = match room.members {
            1 => "1 person".to_owned(),
            n => format!("{n} people"),
        };
        let here = if room.here { ", you are here" } else { "" };
        let locked = if room.locked { ", has a password" } else { "" };
        format!("    {} ({people}{locked}{here})", shown(&room.name))
    }));
    lines
}

fn user_list(room: &str, members: &[Person], total: u64) -> Vec<String> {
    let people = if total == 1 { "1 person".to_owned() } else { format!("{total} people") };
    let mut lines = vec![format!("* In {room}: {people}")];
    lines.extend(members.iter().map(|member| {
        let volume = member.volume.map(|volume| format!("{} %", volume.percent));
        let volume = volume.unwrap_or_default();
        let ignored = member.volume.is_some_and(|volume| volume.ignored);
        let marks: Vec<&str> = [
            (member.you, "you"),
            (member.role.is_some(), moderation::role_mark(member.role).unwrap_or("keeps order")),
            (member.speaking, "speaking"),
            (member.silenced, "silenced"),
            (member.muted, "muted"),
            (member.deafened, "deafened"),
            (member.recording, "RECORDING"),
            (ignored, "ignored"),
            (!ignored && !volume.is_empty(), volume.as_str()),
        ]
        .into_iter()
        .filter_map(|(on, mark)| on.then_some(mark))
        .collect();
        match marks.is_empty() {
            true => format!("    {}", shown(&member.name)),
            false => format!("    {} ({})", shown(&member.name), marks.join(", ")),
        }
    }));
    lines
}

fn microphone(open: bool, waiting: bool, voice: bool) -> &'static str {
    match (open, waiting) {
        (true, _) if voice => {
            "* The microphone opens by itself while you speak: your room hears you then. /mute closes it."
        }
        (true, false) => "* The microphone is open: your room hears you. /mute closes it.",
        (true, true) => {
            "* The microphone will be open when you are in a room: it will hear you. /mute closes it."
        }
        (false, _) => {
            "* The microphone is off, except while you hold the talk key. /unmute opens it."
        }
    }
}

fn test(news: TrialNews) -> String {
    match news {
        TrialNews::Speak { ms } => format!(
            "* Speak for {} seconds: nobody else hears it. Then you hear how you sound. /test again ends it.",
            ms / 1000
        ),
        TrialNews::Heard(figures) => heard(figures),
        TrialNews::Over => "* The test is over: the microphone is as before.".to_owned(),
        TrialNews::Stopped => {
            "* The test has been ended: the microphone is as before.".to_owned()
        }
        TrialNews::NoMicrophone => {
            "! The test has ended: no microphone gives any sound. Plug one in, or choose one (/devices shows them).".to_owned()
        }
        TrialNews::Failed => {
            "! There can be no test: your voice cannot be encoded. The log (--log) tells why.".to_owned()
        }
    }
}

/// What a test has heard.
fn heard(figures: TrialFigures) -> String {
    let TrialFigures { verdict, level_db, sent_db, .. } = figures;
    match verdict {
        Verdict::Good => format!(
            "* This is how you sound. Your voice comes in at {level_db:.0} dBFS, which is fine, and is sent at {sent_db:.0} dBFS."
        ),
        Verdict::Quiet => format!(
            "! Your microphone is very quiet ({level_db:.0} dBFS): turn it up in the system's sound settings, or come \
             closer. This is how you sound, at {sent_db:.0} dBFS:"
        ),
        Verdict::Clipped => "! Your microphone is too loud, so your voice is cut off and sounds harsh: turn it down in the \
             system's sound settings. This is how you sound:"
            .to_owned(),
        Verdict::NoVoice => format!(
            "! No voice was heard; the loudest sound had {level_db:.0} dBFS. If you did speak, turn the microphone up in \
             the system's sound settings. This is what others would have heard:"
        ),
        Verdict::Silent => "! The microphone gives nothing but silence: is it muted in the system, or by a switch of its own? \
             /devices shows whether there is another."
            .to_owned(),
    }
}

fn device(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::Input => "Microphone",
        DeviceKind::Output => "Loudspeaker",
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

fn loss(why: LossCause, detail: &str) -> String {
    let detail = shown(detail);
    match why {
        LossCause::Closed => "the server closed it".to_owned(),
        LossCause::Failed => format!("the network failed ({detail})"),
        LossCause::Silence => "the server is silent".to_owned(),
        LossCause::Garbled => "what came could not be understood".to_owned(),
        LossCause::Goodbye => format!("the server has ended it ({detail})"),
        LossCause::Unreachable => format!("the server cannot be reached ({detail})"),
        LossCause::Refused => format!("the server refused: {detail}"),
    }
}

/// Why the server says goodbye.
#[must_use]
pub fn goodbye(reason: GoodbyeReason) -> &'static str {
    match reason {
        GoodbyeReason::Stopping => "it is stopping",
        GoodbyeReason::Timeout => "it has heard nothing from us for too long",
        GoodbyeReason::HelloTimeout => "our greeting took too long",
        GoodbyeReason::SlowReader => "we read too slowly",
        GoodbyeReason::Protocol => "it could not understand us",
        GoodbyeReason::TooFast => "we sent too much",
        GoodbyeReason::Resumed => "this session was taken over from elsewhere",
        GoodbyeReason::Full => "it is full",
        GoodbyeReason::Kicked => "an operator has sent us away",
        GoodbyeReason::Banned => "we are banned",
        GoodbyeReason::TooManyAttempts => "too many attempts were refused",
        GoodbyeReason::Unknown => "for a reason that this version does not know",
    }
}

fn notice(code: NoticeCode) -> &'static str {
    match code {
        NoticeCode::KeysRelease => {
            "Hold the talk key (` or ё, if you have named no other) to talk; the microphone closes when you let go. /help tells the rest."
        }
        NoticeCode::KeysRepeat => {
            "Hold the talk key (` or ё, if you have named no other) on an empty line to talk. This terminal does not tell when a key is let go, \
             so the microphone closes a moment later. /help tells the rest."
        }
        NoticeCode::NobodyToTalkTo => {
            "You are in no room, so nobody can hear you. /join ROOM enters one."
        }
        NoticeCode::HeldTooLong => {
            "The talk key was held for so long that the microphone was closed. Let go and press it again."
        }
        NoticeCode::Slept => {
            "The computer has slept: the microphone is off, except while you hold the talk key. /unmute opens it."
        }
        NoticeCode::TestRuns => {
            "The test runs, so nobody hears you. Press the key again when it is over, or /test ends it."
        }
        NoticeCode::Back => "Back again. The microphone is off.",
        NoticeCode::WhenBack => "There is no connection now; that takes effect when it is back.",
        NoticeCode::GoingBack => "Going back to the server before.",
        NoticeCode::NotEntered => "No password was given: you stay where you are.",
        NoticeCode::NothingChanged => "No password was given: nothing has changed.",
        NoticeCode::LinesSkipped => "Lines were left out.",
        NoticeCode::Unencrypted => {
            "NOT ENCRYPTED (--insecure): whoever is on the way to the server hears and reads everything, and can pretend to \
             be the server, or you. Only for networks that you trust."
        }
    }
}

/// An error in words.
#[must_use]
pub fn error(code: ErrorKind, args: &Args) -> String {
    let arg = |key: &str| args.get(key).map(shown).unwrap_or_default();
    match code {
        ErrorKind::Local(code) => local_error(code, &arg),
        ErrorKind::Server(code) => server_error(code, &arg),
    }
}

fn local_error(code: LocalError, arg: &dyn Fn(&str) -> String) -> String {
    match code {
        LocalError::VolumeOfSelf => {
            "You do not hear yourself here, so you have no volume. /test lets you hear how you sound.".to_owned()
        }
        LocalError::UnknownCommand if arg("nearest").is_empty() => {
            format!(
                "There is no command {}. /help lists them; //text says a text that begins with /.",
                arg("word")
            )
        }
        LocalError::UnknownCommand => {
            format!(
                "There is no command {}. Did you mean {}? /help lists them.",
                arg("word"),
                arg("nearest")
            )
        }
        LocalError::MissingArgument => format!("Something is missing: {}", arg("usage")),
        LocalError::UnclosedQuote => {
            format!("A quotation mark has no partner: {}", arg("usage"))
        }
        LocalError::LineTooLong => {
            format!("The text is too long: at most {} bytes. Send it in parts.", arg("max"))
        }
        LocalError::BadTime => {
            format!("'{}' is no time; write 30m, 12h or 7d: {}", arg("word"), arg("usage"))
        }
        LocalError::BadNumber => {
            format!("'{}' is no number that can stand here: {}", arg("word"), arg("usage"))
        }
        LocalError::NotOnOrOff => {
            format!("'{}' is neither on nor off: {}", arg("word"), arg("usage"))
        }
        LocalError::BadCodec => format!("There is no codec '{}': {}", arg("word"), arg("usage")),
        LocalError::ReasonTooLong => {
            format!("The reason is too long: at most {} characters.", arg("max"))
        }
        LocalError::TooManyArguments => {
            format!("There is more on the line than the command takes: {}", arg("usage"))
        }
        LocalError::PasswordOnLine => format!(
            "A password does not belong on the line, where others may see it; {} alone asks for it.",
            arg("usage")
        ),
        LocalError::WhichRoom => format!("You are in no room, so name one: {}", arg("usage")),
        LocalError::BadInvite => format!("That is no invite: {}.", arg("why")),
        LocalError::BadPassword => format!("That cannot be a password: {}.", arg("why")),
        LocalError::PasswordsDiffer => {
            "The two passwords differ, so nothing has changed. Start again.".to_owned()
        }
        LocalError::CannotAsk => format!(
            "A password is needed for {}, and there is nobody to ask here. {}",
            locked(arg),
            password_flags(&arg("lock"))
        ),
        LocalError::NoPassword => {
            format!(
                "{} is needed, and none was given.",
                sentence(&format!("the password of {}", locked(arg)))
            )
        }
        LocalError::TooManyVolumes => {
            format!("More volumes cannot be remembered, so that of '{}' stays as it is.", arg("name"))
        }
        LocalError::RecordsAlready => {
            format!("A recording runs already, in {}. /record stop ends it.", arg("directory"))
        }
        LocalError::RecordsNothing => {
            "There is no recording to be ended. /record begins one.".to_owned()
        }
        LocalError::RecordingUntold => {
            "Nothing is recorded: this server is too old to tell the others of it.".to_owned()
        }
        LocalError::SecretNeedsTls => format!(
            "The connection to {} is not encrypted, so the invite or password was not sent: anyone on the way could read it. Connect without --insecure, or to the port that speaks TLS.",
            arg("server")
        ),
        LocalError::InviteUnproven => format!(
            "The invite says nothing of the key of {}, and no certificate authority vouches for it, so the invite was not sent: whoever answers there could be anyone. Ask for an invite that is complete.",
            arg("server")
        ),
        LocalError::Kicked => format!(
            "you were sent away from {}{}. You may come back when it is settled: start again.",
            arg("server"),
            moderation::circumstances(&arg("by"), &arg("why"), "")
        ),
        LocalError::Banned => format!(
            "you are banned from {}{}.",
            arg("server"),
            moderation::circumstances(&arg("by"), &arg("why"), &until(arg))
        ),
        LocalError::NotConnected => {
            format!("Not sent, there is no connection: {}. Try again when it is back.", arg("what"))
        }
        LocalError::NoAnswer => format!("The server has not answered: {}.", arg("what")),
        LocalError::LostUnanswered => {
            format!(
                "The connection was lost before the server answered: {}. It may not have arrived.",
                arg("what")
            )
        }
        LocalError::QueueFull => format!("Too much waits to be sent. Left out: {}.", arg("what")),
        LocalError::CannotConnect => format!(
            "cannot reach {}: {}. Is the server running, and are host and port right (--server HOST:PORT)?",
            arg("server"),
            arg("why")
        ),
        LocalError::SentAway => {
            format!("{} has sent us away: {}. Try again later.", arg("server"), arg("why"))
        }
        LocalError::NotParlor => format!(
            "what answers at {} is no Parlor server (or speaks another version): {}",
            arg("server"),
            arg("why")
        ),
        LocalError::Protection => {
            "The server protects voice in a way that this version does not know. \
             Use a newer client."
                .to_owned()
        }
        LocalError::VoiceUnprotected => {
            "The server would not encrypt voice, so nothing was sent to it. Ask its operator to start it \
             without --insecure."
                .to_owned()
        }
        LocalError::TakenOver => {
            "This session was taken over from elsewhere; this client ends.".to_owned()
        }
        LocalError::KeyChanged
        | LocalError::OtherKey
        | LocalError::CertificateLost
        | LocalError::CertificateForOthers
        | LocalError::NotVouched
        | LocalError::KnownServersDamaged
        | LocalError::NoTls => trust_error(code, arg),
        LocalError::State => format!(
            "the client's own files cannot be used: {}. Mend that, or choose another place with --state-dir DIR.",
            arg("why")
        ),
    }
}

/// Why a server is not believed. Nothing was sent to it.
fn trust_error(code: LocalError, arg: &dyn Fn(&str) -> String) -> String {
    let what = match code {
        LocalError::KeyChanged => format!(
            "THE KEY OF {} HAS CHANGED. It was {}, and now it is {}. Either the server was set up anew, or \
             somebody between you and it pretends to be it. {}Ask its operator for the fingerprint. If the new one is right, \
             remove line {} of {}, or start once with --fingerprint {}.",
            arg("server"),
            arg("old"),
            arg("new"),
            match arg("vouched").as_str() {
                "true" => {
                    "A certificate authority vouches for the new one, which proves little here: it was known by its key. "
                }
                _ => "",
            },
            arg("line"),
            arg("file"),
            arg("new")
        ),
        LocalError::OtherKey => format!(
            "{} is not the server that was meant: its fingerprint is {}, and it should be {}. Somebody between you and \
             it may pretend to be it. Ask its operator which is right.",
            arg("server"),
            arg("new"),
            arg("expected")
        ),
        LocalError::CertificateLost => format!(
            "the certificate of {} is no longer good: {}. It was known by its certificate until now; somebody between you \
             and it may pretend to be it, or its operator must renew the certificate. If he has given it up on purpose and \
             tells you that the fingerprint {} is right, remove line {} of {}, or start once with --fingerprint {}.",
            arg("server"),
            arg("why"),
            arg("new"),
            arg("line"),
            arg("file"),
            arg("new")
        ),
        LocalError::CertificateForOthers => format!(
            "the certificate of {} is for other hosts ({}). Use the name that it is for, or ask the operator for the \
             fingerprint and start with --fingerprint.",
            arg("server"),
            arg("names")
        ),
        LocalError::NotVouched => format!(
            "nothing says that {} is the server that was meant: {}. Ask its operator for the fingerprint; if it is {}, start \
             with --fingerprint {}.",
            arg("server"),
            arg("why"),
            arg("new"),
            arg("new")
        ),
        LocalError::KnownServersDamaged => format!(
            "line {} of {} should say what {} is known by, and cannot be read. Correct or remove it.",
            arg("line"),
            arg("file"),
            arg("server")
        ),
        _ => format!(
            "what answers at {} does not speak TLS. Is the port right? If it is a Parlor server that was started with \
             --insecure, and you trust the network, start the client with --insecure, too.",
            arg("server")
        ),
    };
    format!("{what} Nothing was sent to it.")
}

fn server_error(code: ErrorCode, arg: &dyn Fn(&str) -> String) -> String {
    match code {
        ErrorCode::UnknownType => {
            "The server does not know this request; it may be older than this client.".to_owned()
        }
        ErrorCode::BadMessage | ErrorCode::HelloFirst | ErrorCode::HelloTwice => {
            "The server did not understand us; client and server may not fit together.".to_owned()
        }
        ErrorCode::Version => format!(
            "The server speaks version {} of the protocol, this client version {}. Use the same release on both ends.",
            arg("server"),
            crate::net::message::PROTOCOL_VERSION
        ),
        ErrorCode::BadName => format!(
            "The name cannot be used: {}. Choose another: /nick NAME (at the start --name NAME).",
            arg("why")
        ),
        ErrorCode::NameTaken => format!(
            "The name '{}' is in use. Choose another: /nick NAME (at the start --name NAME).",
            arg("name")
        ),
        ErrorCode::NameLooksTaken => format!(
            "The name '{}' looks like '{}', which is in use. Choose another: /nick NAME (at the start --name NAME).",
            arg("name"),
            arg("like")
        ),
        ErrorCode::BadRoom => format!("The room's name cannot be used: {}.", arg("why")),
        ErrorCode::RoomLooksTaken => format!(
            "The room's name '{}' looks like '{}', which exists. Join that, or choose another name.",
            arg("room"),
            arg("like")
        ),
        ErrorCode::RoomFull => {
            format!("The room is full ({} people). Try again later, or another room.", arg("max"))
        }
        ErrorCode::TooManyRooms => format!(
            "There are too many rooms already ({}). /list shows them; join one.",
            arg("max")
        ),
        ErrorCode::ServerFull => {
            format!("The server is full ({} people). Try again later.", arg("max"))
        }
        ErrorCode::NotInRoom => "You are in no room. /join ROOM enters one.".to_owned(),
        ErrorCode::NoSuchUser => format!(
            "There is nobody called '{}' here. /users shows who is in your room.",
            arg("name")
        ),
        ErrorCode::NoSuchRoom => {
            format!("There is no room '{}'. /list shows the rooms.", arg("room"))
        }
        ErrorCode::EmptyText => "An empty text is not sent.".to_owned(),
        ErrorCode::TextTooLong => {
            format!("The text is too long: at most {} bytes. Send it in parts.", arg("max"))
        }
        ErrorCode::TooFast => {
            "That was too much at once; the server left some of it out. Wait a moment.".to_owned()
        }
        ErrorCode::TextsMissed => format!(
            "Your line is too slow for all that is being said: {} text(s) did not reach you.",
            arg("count")
        ),
        ErrorCode::ServerPassword => {
            format!(
                "This server has a password. Ask for it, or for an invite. {}",
                password_flags("server")
            )
        }
        ErrorCode::BadServerPassword => {
            "That is not the server's password. Check it, or ask for an invite.".to_owned()
        }
        ErrorCode::NameRegistered => format!(
            "The name '{}' is registered, and this device is not known as its owner's. If it is yours, its password is needed; otherwise choose another (at the start --name NAME). {}",
            arg("name"),
            password_flags("name")
        ),
        ErrorCode::BadPassword => format!(
            "That is not the password of '{}'. Check it, or choose another name (--name NAME).",
            arg("name")
        ),
        ErrorCode::RoomPassword => format!(
            "The room '{}' has a password. Ask a moderator of it for the password, or for an invite. {}",
            arg("room"),
            password_flags("room")
        ),
        ErrorCode::BadRoomPassword => format!(
            "That is not the password of the room '{}'. /join ROOM asks again.",
            arg("room")
        ),
        ErrorCode::BadInvite => {
            "The invite is not known here, or used up, or revoked. Ask whoever gave it to you for another."
                .to_owned()
        }
        ErrorCode::InviteExpired => {
            "The invite has expired. Ask whoever gave it to you for another.".to_owned()
        }
        ErrorCode::DeviceNeeded => {
            "The server must know the device by its key, and it has shown none. The connection must be encrypted (no --insecure), and the client not older than the server."
                .to_owned()
        }
        ErrorCode::BadDevice => {
            "This device's key does not fit this connection: something on the way may be listening in. Try again from another network; if it stays so, tell the operator."
                .to_owned()
        }
        ErrorCode::TooManyAttempts => {
            format!("Too many wrong guesses. Wait {} s, then try again.", arg("retry_s"))
        }
        ErrorCode::TooManyNewcomers => format!(
            "Too many from your address are new to this server (a name registered, an invite used for the first time). Try again in {}.",
            wait(&arg("retry_s"))
        ),
        ErrorCode::Banned => {
            let room = arg("room");
            let place = if room.is_empty() { String::new() } else { format!(" from the room {room}") };
            let and = moderation::circumstances(&arg("by"), &arg("why"), &until(arg));
            format!("You are banned{place}{and}. Only whoever keeps order here can lift it.")
        }
        ErrorCode::TooManyConnections => format!(
            "Too many connections come from your address (at most {}). Close some, or try again later.",
            arg("max")
        ),
        ErrorCode::NotAllowed => match arg("needs").as_str() {
            "operator" => "You may not do that: it takes an operator of the server.".to_owned(),
            _ => "You may not do that: it takes a moderator of the room, or an operator.".to_owned(),
        },
        ErrorCode::NotOverHim => format!(
            "You may not do that to '{}': only one whose role is higher can, and nobody to himself.",
            arg("name")
        ),
        ErrorCode::NeedsTls => {
            "That needs an encrypted connection, and this one is not. Connect without --insecure.".to_owned()
        }
        ErrorCode::NotRegistered => {
            format!("The name '{}' is not registered. /register keeps your own.", arg("name"))
        }
        ErrorCode::NoSuchEntry => {
            format!("There is no entry number {}. /bans and /invites show the numbers.", arg("id"))
        }
        ErrorCode::BadTarget => format!("'{}' cannot be meant: {}.", arg("target"), arg("why")),
        ErrorCode::NobodyKnown => format!(
            "There is nobody called '{}' here, and no such name is registered. /users shows who is in the room.",
            arg("name")
        ),
        ErrorCode::NotKept => {
            "The server cannot keep that: it runs without a store (--ephemeral), or its disk refuses. Its operator can change that."
                .to_owned()
        }
        ErrorCode::TooMany => format!(
            "The server keeps no more than {} of these ({}). Some must go first.",
            arg("max"),
            arg("what")
        ),
        ErrorCode::Busy => "The server cannot do this now. Try again.".to_owned(),
        ErrorCode::Unknown => {
            "The server refused, for a reason that this version does not know.".to_owned()
        }
    }
}

/// What a password is for, from the arguments of an error.
fn locked(arg: &dyn Fn(&str) -> String) -> String {
    match arg("lock").as_str() {
        "server" => format!("the server {}", arg("of")),
        "name" | "new_name" => format!("the name '{}'", arg("of")),
        _ => format!("the room '{}'", arg("of")),
    }
}

/// How a script gives a password.
fn password_flags(lock: &str) -> String {
    let (flag, variable) = match lock {
        "server" => ("--server-password-file FILE", "PARLOR_SERVER_PASSWORD"),
        "name" | "new_name" => ("--password-file FILE", "PARLOR_PASSWORD"),
        _ => ("--room-password-file FILE", "PARLOR_ROOM_PASSWORD"),
    };
    format!("At a terminal you are asked for it; a script gives it with {flag} or {variable}.")
}

/// A wait in words, from an argument in seconds.
fn wait(retry_s: &str) -> String {
    match retry_s.parse::<u64>() {
        Ok(seconds) if seconds >= 120 => format!("{} minutes", seconds.div_ceil(60)),
        Ok(seconds) => format!("{seconds} s"),
        Err(_) => "some time".to_owned(),
    }
}

/// Until when, from the arguments of an error.
fn until(arg: &dyn Fn(&str) -> String) -> String {
    arg("until_ms").parse().ok().and_then(moderation::here).unwrap_or_default()
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// A stage of the capture chain, at the start of a sentence.
fn stage_name(stage: StageName) -> &'static str {
    match stage {
        StageName::HighPass => "The high-pass filter",
        StageName::Echo => "Echo cancellation",
        StageName::Noise => "Noise suppression",
        StageName::Gain => "Automatic gain",
    }
}

fn help(keys: Option<Release>) -> Vec<String> {
    let mut text = String::from(
        "* What you type is said to the room. Commands:
    /mute, /unmute        push-to-talk (the start); open microphone
    /voice                the microphone opens by itself while you speak
    /list                 the rooms, and how many are in each
    /users [ROOM]         who is there; who is muted, deafened, speaking
    /join ROOM, /leave    go to a room (it is made if it does not exist); go out of it
    /msg NAME TEXT        a private message; a name with spaces in \"quotation marks\"
    /me TEXT              say what you do: — NAME TEXT
    /nick NAME            another name
    /deafen, /undeafen    stop hearing; hear again
    /register             keep your name for you, with a password (asked for); /unregister frees it
    parlor://...          an invite that you paste takes you to its server
    /codec, /bitrate      send as opus or pcm; with how many kbit/s (Opus; 6 to 256)
    /echo, /noise, /gain, /highpass on|off   what is done to your microphone's sound
    /devices              microphones and loudspeakers; /input NAME, /output NAME take one, /tone plays a test tone
    /test                 hear yourself: five seconds of you, as others would hear them; nobody else does
    /stats                levels, packets, loss, round trip, each speaker
    /volume NAME 0-200    how loud you hear someone, also when he comes back; /ignore, /unignore NAME
    /levelling on|off     bring soft and loud speakers near to one loudness (on at the start)
    /sounds on|off        a sound when somebody comes or goes, and when you mute or deafen (on at the start)
    /record [DIR]         record the room into WAV files, and everyone is told; /record stop ends it
    /help moderation      the commands of operators and moderators
    /exit                 leave
    //TEXT                says a text that begins with /",
    );
    match keys {
        Some(Release::Reported) => text.push_str(
            "
* Talk: hold the key left of 1 (` or ё), or the one that --ptt-key names. On a line with text a short tap types it, holding talks.",
        ),
        Some(Release::Guessed) => text.push_str(
            "
* Talk: hold the key left of 1 (` or ё; --ptt-key names another) on an empty line; on a line with text it types. \
             This terminal does not tell when a key is let go: the microphone stays on while the key \
             repeats, and closes 0.15 s after that (0.7 s after a single press). /unmute opens it for good.",
        ),
        None => {}
    }
    lines(&text)
}

/// The sound devices there are, with those in use.
fn devices(list: &DeviceList) -> Vec<String> {
    if let Some(error) = &list.error {
        return vec![format!("! There is no list of sound devices: {}.", shown(error))];
    }
    let mut lines = Vec::new();
    let level = format!(", {:.0} dB now", list.input_level_db);
    for (head, devices, open, level) in [
        ("* Microphones; /input NAME takes one:", &list.inputs, &list.input, level.as_str()),
        (
            "* Loudspeakers; /output NAME takes one, /tone plays a tone on it:",
            &list.outputs,
            &list.output,
            "",
        ),
    ] {
        lines.push(head.to_owned());
        lines.extend(devices.iter().map(|device| match device.used {
            true => format!("    {} (in use{level})", shown(&device.name)),
            false => format!("    {}", shown(&device.name)),
        }));
        if devices.is_empty() {
            lines.push("    none".to_owned());
        }
        if !open.is_empty() && !devices.iter().any(|device| device.used) {
            lines.push(format!("    {} (in use{level})", shown(open)));
        }
    }
    lines
}

/// The sound devices there are.
#[must_use]
pub fn device_list(inputs: &[String], outputs: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    for (what, names) in [("Microphones (--input):", inputs), ("Loudspeakers (--output):", outputs)]
    {
        lines.push(what.to_owned());
        lines.extend(names.iter().map(|name| format!("    {}", shown(name))));
        if names.is_empty() {
            lines.push("    none".to_owned());
        }
    }
    lines
}

/// What one request was, for errors about it.
pub mod requests {
    use super::shown;
    use crate::net::moderation::{Moderation, Role};

    /// Where an invite leads; never its token.
    #[must_use]
    pub fn invite(server: &str) -> String {
        format!("the invite to {}", shown(server))
    }

    /// A command of those who keep order.
    #[must_use]
    pub fn order(order: &Moderation) -> String {
        let (command, whom) = match order {
            Moderation::Kick { name, .. } => ("/kick", name.as_str()),
            Moderation::Ban { .. } => ("/ban", ""),
            Moderation::Mute { name, .. } => ("/silence", name.as_str()),
            Moderation::Unmute { name } => ("/unsilence", name.as_str()),
            Moderation::Lift { .. } => ("/unban", ""),
            Moderation::ListSanctions => ("/bans", ""),
            Moderation::Move { name, .. } => ("/move", name.as_str()),
            Moderation::CloseRoom { room, .. } => ("/close", room.as_str()),
            Moderation::RenameRoom { room, .. } => ("/rename", room.as_str()),
            Moderation::RenameUser { name, .. } => ("/renameuser", name.as_str()),
            Moderation::RoomPassword { room, password: None } => ("/unlock", room.as_str()),
            Moderation::RoomPassword { room, .. } => ("/lock", room.as_str()),
            Moderation::Grant { name, role: Role::Operator, .. } => ("/op", name.as_str()),
            Moderation::Grant { name, .. } => ("/mod", name.as_str()),
            Moderation::Revoke { name, role: Role::Operator, .. } => ("/deop", name.as_str()),
            Moderation::Revoke { name, .. } => ("/unmod", name.as_str()),
            Moderation::Invite { .. } => ("/invite", ""),
            Moderation::ListInvites => ("/invites", ""),
            Moderation::RevokeInvite { .. } => ("/uninvite", ""),
            Moderation::ForgetName { name } => ("/forget", name.as_str()),
            Moderation::Audit { .. } => ("/audit", ""),
            Moderation::Unknown => ("", ""),
        };
        format!("{command} {}", shown(whom)).trim_end().to_owned()
    }

    /// The start of a text, so that the user knows which.
    #[must_use]
    pub fn text(text: &str) -> String {
        let text = shown(text);
        match text.char_indices().nth(40) {
            Some((end, _)) => format!("\"{}...\"", text.get(..end).unwrap_or_default()),
            None => format!("\"{text}\""),
        }
    }

    /// A text to one user.
    #[must_use]
    pub fn private(to: &str, what: &str) -> String {
        format!("{} to {}", text(what), shown(to))
    }
}

/// Problems with the client's own files.
pub mod state {
    /// They cannot be used.
    #[must_use]
    pub fn unusable(why: &str) -> String {
        format!("{why} (--state-dir DIR chooses another place)")
    }

    /// There is no home directory.
    pub const NO_HOME: &str = "there is no home directory to keep the client's files in";

    /// The device's key is damaged.
    #[must_use]
    pub fn damaged_key(path: &str) -> String {
        format!(
            "{path} should hold this device's key and does not. Put the right file back; without it remove the file, and a \
             new key is made, which servers do not know yet"
        )
    }

    /// The file of known servers is no text.
    #[must_use]
    pub fn no_text(path: &str) -> String {
        format!("{path} is no text file; correct or remove it")
    }
}

/// Problems with the arguments of the program; clap adds which.
pub mod arguments {
    /// `--input` is empty.
    pub const NO_SOURCE: &str = "name a device, or wav:FILE, tone:HZ, silence, echo";
    /// `--output` is empty.
    pub const NO_SINK: &str = "name a device, or wav:FILE, null";
    /// `tone:` without a frequency that can be heard.
    pub const TONE: &str = "a tone is a frequency from 20 to 20000 Hz, for example tone:440";
    /// A codec that is none.
    pub const CODEC: &str = "there are opus and pcm";
    /// A mode of the microphone that there is not.
    pub const TALK: &str = "there are ptt, open and voice";
    /// A theme that there is not.
    pub const THEME: &str = "there are dark, light and plain";
    /// A frame length that there is not.
    pub const FRAME: &str = "a packet holds 10 or 20 ms";
    /// `wav:` without a file.
    pub const WAV: &str = "name the file: wav:FILE";

    /// A file that cannot be read.
    #[must_use]
    pub fn unreadable(path: &str, why: &str) -> String {
        format!("{path} cannot be read: {why}")
    }

    /// A line that is no invite.
    #[must_use]
    pub fn invite(error: &crate::net::invite::InviteError) -> String {
        error.to_string()
    }

    /// A file or variable that holds no password.
    #[must_use]
    pub fn password(from: &str, why: &str) -> String {
        format!("no password is in {from}: {why}")
    }

    /// There is no login name, and a guest's name cannot be made.
    pub const NO_NAME: &str = "say who you are: --name NAME";
    /// No listener is called so.
    pub const NO_LISTENER: &str = "auto, off, x11, or evdev";

    /// No key is called so.
    #[must_use]
    pub fn no_such_key(name: &str) -> String {
        format!(
            "no key is called '{}'; for example: grave, F8, F13, v, space, pause, right-ctrl, mouse4, mouse5",
            super::shown(name)
        )
    }

    /// `--loop` without a file.
    pub const LOOP: &str = "--loop repeats a WAV file: use it with --input wav:FILE";
    /// `--log-file` cannot be opened.
    #[must_use]
    pub fn log_file(path: &str, why: &str) -> String {
        format!("the log file {path} cannot be written: {why}")
    }
    /// The terminal cannot be used as one.
    #[must_use]
    pub fn terminal(error: &std::io::Error) -> String {
        format!("the terminal cannot be used ({error}); --plain does without its features")
    }
    /// Logs on the terminal would tear the screen.
    pub const LOG_FILE_NEEDED: &str =
        "on a terminal the log needs a file: add --log-file FILE (or --plain)";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::ids::MemberId;
    use crate::net::name::{RoomName, UserName};

    #[test]
    fn stats_say_in_words_how_voice_is_sent_and_what_is_done_against_loss() {
        use super::stats::sending_line;
        use crate::client::voice::SendingStats;
        let sending = SendingStats { wire_kbps: 87.4, ..SendingStats::default() };
        assert_eq!(
            sending_line(&sending),
            "    voice up: Opus, 64 kbit/s, packets of 10 ms, 87 kbit/s on the wire; against loss: nothing"
        );
        let copies_ms = vec![10, 20];
        let heavy = SendingStats { wide: true, bitrate_kbps: 28.8, copies_ms, ..sending.clone() };
        let line = sending_line(&heavy);
        assert!(line.contains("29 kbit/s up to 8 kHz"), "{line}");
        assert!(line.ends_with("each packet again 10 and 20 ms later"), "{line}");
        let pcm = SendingStats { codec: Codec::Pcm, fallback: true, fec: true, ..sending };
        assert!(sending_line(&pcm).contains("PCM (somebody here cannot decode Opus), packets"));
    }

    fn person(name: &str) -> Person {
        Person {
            id: MemberId(1),
            name: UserName::parse(name).unwrap(),
            muted: false,
            deafened: false,
            recording: false,
            volume: None,
            speaking: false,
            silenced: false,
            role: None,
            you: false,
        }
    }

    #[test]
    fn no_text_of_a_peer_reaches_the_screen_with_an_escape_sequence() {
        let name = UserName::parse("Bob").unwrap();
        let text = "a\u{1b}[2J\nb\u{7}".to_owned();
        let heard = Heard::Live;
        let lines =
            words(&Event::Chat { id: MemberId(1), name, text, at_ms: 0, you: false, heard });
        assert_eq!(lines, ["Bob: a\u{FFFD}[2J", "    b\u{FFFD}"]);
        let args = [("why", "x\u{1b}]0;y".to_owned())];
        let line = words(&Event::error(LocalError::CannotConnect, args));
        assert!(!line.concat().contains('\u{1b}'));
    }

    #[test]
    fn what_somebody_does_does_not_look_like_news() {
        let name = UserName::parse("Bob").unwrap();
        let text = "/me has left.".to_owned();
        let act =
            Event::Chat { id: MemberId(1), name, text, at_ms: 0, you: false, heard: Heard::Live };
        assert_eq!(words(&act), ["— Bob has left."]);
    }

    #[test]
    fn marks_tell_who_is_muted_deafened_and_speaking() {
        let mut bob = person("Bob");
        (bob.muted, bob.deafened, bob.speaking) = (true, true, true);
        let room = RoomName::parse("general").unwrap();
        let members = vec![person("Ann"), bob];
        let lines = words(&Event::Users { room, members, total: 2 });
        assert_eq!(
            lines,
            ["* In general: 2 people", "    Ann", "    Bob (speaking, muted, deafened)"]
        );
    }

    #[test]
    fn a_join_tells_who_is_there() {
        let room = RoomName::parse("general").unwrap();
        let joined = |names: &[&str]| {
            let members = names.iter().map(|name| person(name)).collect();
            words(&Event::Joined { room: room.clone(), members }).concat()
        };
        assert_eq!(joined(&[]), "* You are in general. Nobody else is here yet.");
        assert_eq!(joined(&["a"]), "* You are in general with a.");
        assert_eq!(joined(&["a", "b", "c"]), "* You are in general with a, b and c.");
        let nine: Vec<String> = (0..9).map(|k| format!("u{k}")).collect();
        let nine: Vec<&str> = nine.iter().map(String::as_str).collect();
        assert_eq!(joined(&nine), "* You are in general with 9 others; /users lists them.");
    }

    #[test]
    fn whoever_has_to_wait_is_told_how_long() {
        for (retry_s, words) in [("45", "in 45 s."), ("3001", "in 51 minutes."), ("x", "some time")]
        {
            let args = Args::from([("retry_s".to_owned(), retry_s.to_owned())]);
            let text = error(ErrorKind::Server(ErrorCode::TooManyNewcomers), &args);
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn every_error_says_something_of_its_own() {
        let codes = [
            ErrorCode::Version,
            ErrorCode::BadName,
            ErrorCode::NameTaken,
            ErrorCode::RoomFull,
            ErrorCode::NotInRoom,
            ErrorCode::NoSuchUser,
            ErrorCode::NoSuchRoom,
            ErrorCode::TextTooLong,
            ErrorCode::Unknown,
        ];
        let mut seen: Vec<String> =
            codes.iter().map(|code| error(ErrorKind::Server(*code), &Args::new())).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), codes.len());
    }
}
