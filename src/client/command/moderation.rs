//! What the lines of those who keep order mean: whom, where, for how long, why. Pure.

use super::{Command, Line, Mistake, split_name};
use crate::client::event::LocalError;
use crate::net::limits::REASON_CHARS_MAX;
use crate::net::moderation::{Moderation, Role, Target};
use std::net::IpAddr;

/// Entries of the audit log that are shown where no number is given.
const AUDIT_ENTRIES: u32 = 20;

/// Every command of those who keep order and how it is used, in the order of `/help moderation`.
pub const COMMANDS: &[(&str, &str)] = &[
    ("/kick", "/kick NAME [WHY]"),
    ("/ban", "/ban NAME [for TIME] [WHY]"),
    ("/banip", "/banip NAME|ADDRESS|NETWORK [for TIME] [WHY]"),
    ("/roomban", "/roomban NAME [for TIME] [WHY]"),
    ("/bans", "/bans"),
    ("/unban", "/unban NUMBER"),
    ("/silence", "/silence NAME [for TIME] [WHY]"),
    ("/unsilence", "/unsilence NAME"),
    ("/move", "/move NAME ROOM"),
    ("/close", "/close ROOM, or /close \"ROOM\" WHY"),
    ("/rename", "/rename ROOM NEW"),
    ("/renameuser", "/renameuser NAME NEW"),
    ("/lock", "/lock [ROOM]"),
    ("/unlock", "/unlock [ROOM]"),
    ("/op", "/op NAME"),
    ("/deop", "/deop NAME"),
    ("/mod", "/mod NAME [ROOM]"),
    ("/unmod", "/unmod NAME [ROOM]"),
    ("/invite", "/invite [ROOM] [uses NUMBER] [for TIME] [operator]"),
    ("/invites", "/invites"),
    ("/uninvite", "/uninvite NUMBER"),
    ("/forget", "/forget NAME"),
    ("/audit", "/audit [NUMBER]"),
];

/// Reads the words behind a command of those who keep order.
///
/// # Errors
/// Something is missing, too much, or not what should stand there.
pub(super) fn parse(line: &Line<'_>) -> Result<Command, Mistake> {
    let order = match line.word {
        "/kick" => {
            let (name, rest) = line.name()?;
            Moderation::Kick { name, reason: reason(rest)? }
        }
        "/ban" => {
            let (name, term) = line.termed()?;
            let target = Target::User(name);
            Moderation::Ban { target, room: None, seconds: term.seconds, reason: term.reason }
        }
        "/banip" => {
            let (name, term) = line.termed()?;
            let target = origin(name);
            Moderation::Ban { target, room: None, seconds: term.seconds, reason: term.reason }
        }
        "/roomban" => {
            let (name, term) = line.termed()?;
            let room = Some(line.here()?);
            let target = Target::User(name);
            Moderation::Ban { target, room, seconds: term.seconds, reason: term.reason }
        }
        "/bans" => line.nothing(Moderation::ListSanctions)?,
        "/unban" => Moderation::Lift { id: line.number(line.rest)? },
        "/silence" => {
            let (name, term) = line.termed()?;
            Moderation::Mute { name, seconds: term.seconds, reason: term.reason }
        }
        "/unsilence" => Moderation::Unmute { name: line.one()? },
        "/move" => {
            let (name, room) = line.pair()?;
            Moderation::Move { name, room }
        }
        "/close" if line.rest.starts_with('"') => {
            let (room, rest) = line.name()?;
            Moderation::CloseRoom { room, reason: reason(rest)? }
        }
        "/close" => Moderation::CloseRoom { room: line.one()?, reason: None },
        "/rename" => {
            let (room, to) = line.pair()?;
            Moderation::RenameRoom { room, to }
        }
        "/renameuser" => {
            let (name, to) = line.pair()?;
            Moderation::RenameUser { name, to }
        }
        "/lock" => return Ok(Command::Lock { room: line.room(line.rest)? }),
        "/unlock" => Moderation::RoomPassword { room: line.room(line.rest)?, password: None },
        "/op" => Moderation::Grant { name: line.one()?, role: Role::Operator, room: None },
        "/deop" => Moderation::Revoke { name: line.one()?, role: Role::Operator, room: None },
        "/mod" => {
            let (name, rest) = line.name()?;
            let room = Some(line.room(rest)?);
            Moderation::Grant { name, role: Role::Moderator, room }
        }
        "/unmod" => {
            let (name, rest) = line.name()?;
            let room = Some(line.room(rest)?);
            Moderation::Revoke { name, role: Role::Moderator, room }
        }
        "/invite" => invite(line)?,
        "/invites" => line.nothing(Moderation::ListInvites)?,
        "/uninvite" => Moderation::RevokeInvite { id: line.number(line.rest)? },
        "/forget" => Moderation::ForgetName { name: line.one()? },
        "/audit" if line.rest.is_empty() => Moderation::Audit { last: AUDIT_ENTRIES },
        "/audit" => Moderation::Audit { last: line.number(line.rest)? },
        _ => return Ok(Command::Nothing),
    };
    Ok(Command::Moderate(order))
}

/// How long and why.
struct Term {
    seconds: Option<u64>,
    reason: Option<String>,
}

impl Line<'_> {
    /// A name, and what follows it: perhaps a time, perhaps a reason.
    fn termed(&self) -> Result<(String, Term), Mistake> {
        let (name, rest) = self.name()?;
        let (seconds, rest) = match self.time(rest)? {
            Some((seconds, rest)) => (Some(seconds), rest),
            None => (None, rest),
        };
        Ok((name, Term { seconds, reason: reason(rest)? }))
    }

    /// `for TIME`, and what follows it. "For" with no digit behind it begins a reason.
    fn time<'t>(&self, text: &'t str) -> Result<Option<(u64, &'t str)>, Mistake> {
        let Some(rest) = keyword(text, "for") else { return Ok(None) };
        if !rest.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(None);
        }
        let (word, after) = split_word(rest);
        // "2 days" as well as "2d".
        let (unit, behind) = split_word(after);
        let bare = word.bytes().all(|b| b.is_ascii_digit());
        let (written, after) = match bare {
            true => (format!("{word}{unit}"), behind),
            false => (word.to_owned(), after),
        };
        match humantime::parse_duration(&written).map(|time| time.as_secs()) {
            Ok(seconds) if seconds > 0 => Ok(Some((seconds, after))),
            _ => Err(self.mistaken(LocalError::BadTime, word)),
        }
    }

    fn number<T: std::str::FromStr>(&self, text: &str) -> Result<T, Mistake> {
        if text.is_empty() {
            return Err(self.mistake(LocalError::MissingArgument));
        }
        let digits = text.strip_prefix('#').unwrap_or(text);
        digits.parse().map_err(|_| self.mistaken(LocalError::BadNumber, text))
    }

    fn nothing(&self, order: Moderation) -> Result<Moderation, Mistake> {
        match self.rest {
            "" => Ok(order),
            _ => Err(self.mistake(LocalError::TooManyArguments)),
        }
    }

    /// The room that is written, or the own one.
    fn room(&self, text: &str) -> Result<String, Mistake> {
        match self.whole(text)? {
            "" => self.here(),
            room => Ok(room.to_owned()),
        }
    }

    fn here(&self) -> Result<String, Mistake> {
        let here = self.here.map(|room| room.as_str().to_owned());
        here.ok_or_else(|| self.mistake(LocalError::WhichRoom))
    }

    /// A name and what else the line holds, which must be there too.
    fn pair(&self) -> Result<(String, String), Mistake> {
        let (first, rest) = self.name()?;
        match self.whole(rest)? {
            "" => Err(self.mistake(LocalError::MissingArgument)),
            second => Ok((first, second.to_owned())),
        }
    }

    /// A name, and what follows it.
    fn name(&self) -> Result<(String, &str), Mistake> {
        let unclosed = || self.mistake(LocalError::UnclosedQuote);
        match split_name(self.rest).ok_or_else(unclosed)? {
            ("", _) => Err(self.mistake(LocalError::MissingArgument)),
            (name, rest) => Ok((name.to_owned(), rest)),
        }
    }
}

fn invite(line: &Line<'_>) -> Result<Moderation, Mistake> {
    let (mut room, mut seconds, mut uses, mut operator) = (None, None, None, false);
    let mut rest = line.rest;
    let begins = |text: &str| {
        keyword(text, "uses").is_some()
            || keyword(text, "operator").is_some()
            || keyword(text, "for").is_some()
    };
    if !rest.is_empty() && !begins(rest) {
        let unclosed = || line.mistake(LocalError::UnclosedQuote);
        let (name, behind) = split_name(rest).ok_or_else(unclosed)?;
        (room, rest) = (Some(name.to_owned()), behind);
    }
    while !rest.is_empty() {
        if let Some(behind) = keyword(rest, "uses") {
            let (number, behind) = split_word(behind);
            let number: u32 = line.number(number)?;
            if number == 0 {
                return Err(line.mistaken(LocalError::BadNumber, "0"));
            }
            (uses, rest) = (Some(number), behind);
        } else if let Some(behind) = keyword(rest, "operator") {
            (operator, rest) = (true, behind);
        } else if keyword(rest, "for").is_some() {
            match line.time(rest)? {
                Some((time, behind)) => (seconds, rest) = (Some(time), behind),
                None => return Err(line.mistaken(LocalError::BadTime, rest)),
            }
        } else {
            return Err(line.mistake(LocalError::TooManyArguments));
        }
    }
    let room = room.or_else(|| line.here.map(|room| room.as_str().to_owned()));
    Ok(Moderation::Invite { room, seconds, uses, operator })
}

/// An address or network as written, or the address of someone who is here.
fn origin(text: String) -> Target {
    let network = text.split_once('/').is_some_and(|(address, bits)| {
        address.parse::<IpAddr>().is_ok() && bits.parse::<u8>().is_ok()
    });
    match text.parse::<IpAddr>() {
        Ok(_) => Target::Address(text),
        Err(_) if network => Target::Network(text),
        Err(_) => Target::AddressOf(text),
    }
}

fn reason(text: &str) -> Result<Option<String>, Mistake> {
    if text.chars().count() > REASON_CHARS_MAX {
        let args = vec![("max", REASON_CHARS_MAX.to_string())];
        return Err(Mistake { code: LocalError::ReasonTooLong, args });
    }
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

/// What stands behind a word, if the text begins with it.
fn keyword<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let (first, rest) = split_word(text);
    first.eq_ignore_ascii_case(word).then_some(rest)
}

fn split_word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use crate::net::name::RoomName;
    use proptest::prelude::*;

    fn order(line: &str) -> Moderation {
        let here = RoomName::parse("general").unwrap();
        match parse(line, Some(&here)) {
            Ok(Command::Moderate(order)) => order,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn error(line: &str) -> LocalError {
        parse(line, None).unwrap_err().code
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn whom_for_how_long_and_why_are_told_apart() {
        let ban = |line: &str| match order(line) {
            Moderation::Ban { target, room, seconds, reason } => (target, room, seconds, reason),
            other => panic!("{other:?}"),
        };
        let bob = || Target::User("Bob".into());
        assert_eq!(ban("/ban Bob"), (bob(), None, None, None));
        assert_eq!(ban("/ban Bob for 1d spam"), (bob(), None, Some(86_400), some("spam")));
        assert_eq!(ban("/ban Bob FOR 2 hours"), (bob(), None, Some(7200), None));
        assert_eq!(
            ban("/ban Bob for 1h30m  so there"),
            (bob(), None, Some(5400), some("so there"))
        );
        assert_eq!(ban("/ban Bob for being rude"), (bob(), None, None, some("for being rude")));
        let joe = Target::User("Big Joe".into());
        assert_eq!(ban("/ban \"Big Joe\" spam"), (joe, None, None, some("spam")));
        assert_eq!(ban("/roomban Bob"), (bob(), some("general"), None, None));
    }

    #[test]
    fn a_ban_of_an_address_takes_addresses_networks_and_names() {
        for (line, wanted) in [
            ("/banip 10.0.0.1", Target::Address("10.0.0.1".into())),
            ("/banip 2001:db8::1", Target::Address("2001:db8::1".into())),
            ("/banip 10.0.0.0/8 for 1h", Target::Network("10.0.0.0/8".into())),
            ("/banip Bob", Target::AddressOf("Bob".into())),
            ("/banip Bob/2", Target::AddressOf("Bob/2".into())),
        ] {
            assert!(
                matches!(order(line), Moderation::Ban { target, .. } if target == wanted),
                "{line}"
            );
        }
    }

    #[test]
    fn rooms_and_users_are_moved_renamed_and_closed() {
        let the_lounge = || "the lounge".to_owned();
        for (line, wanted) in [
            ("/move Bob the lounge", Moderation::Move { name: "Bob".into(), room: the_lounge() }),
            (
                "/rename \"the lounge\" attic",
                Moderation::RenameRoom { room: the_lounge(), to: "attic".into() },
            ),
            (
                "/renameuser Bob \"Big Joe\"",
                Moderation::RenameUser { name: "Bob".into(), to: "Big Joe".into() },
            ),
            ("/close the lounge", Moderation::CloseRoom { room: the_lounge(), reason: None }),
            (
                "/close \"the lounge\" being painted",
                Moderation::CloseRoom { room: the_lounge(), reason: some("being painted") },
            ),
            (
                "/kick Bob enough now",
                Moderation::Kick { name: "Bob".into(), reason: some("enough now") },
            ),
            ("/forget Big Joe", Moderation::ForgetName { name: "Big Joe".into() }),
            ("/unban #7", Moderation::Lift { id: 7 }),
            ("/audit", Moderation::Audit { last: 20 }),
            ("/audit 3", Moderation::Audit { last: 3 }),
        ] {
            assert_eq!(order(line), wanted, "{line}");
        }
    }

    #[test]
    fn roles_are_for_the_own_room_where_none_is_named() {
        let role = Role::Moderator;
        let grant = |room: &str| Moderation::Grant { name: "Bob".into(), role, room: some(room) };
        assert_eq!(order("/mod Bob"), grant("general"));
        assert_eq!(order("/mod Bob the lounge"), grant("the lounge"));
        let unlock = Moderation::RoomPassword { room: "general".into(), password: None };
        assert_eq!(order("/unlock"), unlock);
        for line in ["/mod Bob", "/roomban Bob", "/lock", "/unlock"] {
            assert_eq!(error(line), LocalError::WhichRoom, "{line}");
        }
        let lock = Ok(Command::Lock { room: "the lounge".into() });
        assert_eq!(parse("/lock the lounge", None), lock);
    }

    #[test]
    fn an_invite_says_where_how_often_and_how_long() {
        let invite = |line: &str| match order(line) {
            Moderation::Invite { room, seconds, uses, operator } => (room, seconds, uses, operator),
            other => panic!("{other:?}"),
        };
        assert_eq!(invite("/invite"), (some("general"), None, None, false));
        assert_eq!(invite("/invite attic"), (some("attic"), None, None, false));
        let all = (some("the lounge"), Some(172_800), Some(5), true);
        assert_eq!(invite("/invite \"the lounge\" uses 5 for 2d operator"), all);
        assert_eq!(invite("/invite for 2 days uses 5").1, Some(172_800));
        assert_eq!(error("/invite uses 0"), LocalError::BadNumber);
        assert_eq!(error("/invite uses many"), LocalError::BadNumber);
        assert_eq!(error("/invite for ever"), LocalError::BadTime);
        assert_eq!(error("/invite attic soon"), LocalError::TooManyArguments);
    }

    #[test]
    fn what_cannot_be_meant_is_said() {
        for (line, code) in [
            ("/kick", LocalError::MissingArgument),
            ("/move Bob", LocalError::MissingArgument),
            ("/unban", LocalError::MissingArgument),
            ("/unban Bob", LocalError::BadNumber),
            ("/ban \"Bob", LocalError::UnclosedQuote),
            ("/ban Bob for 2dd", LocalError::BadTime),
            ("/ban Bob for 0s", LocalError::BadTime),
            ("/bans Bob", LocalError::TooManyArguments),
        ] {
            assert_eq!(error(line), code, "{line}");
        }
        let long = format!("/kick Bob {}", "x".repeat(REASON_CHARS_MAX + 1));
        assert_eq!(error(&long), LocalError::ReasonTooLong);
    }

    proptest! {
        #[test]
        fn any_words_behind_a_command_are_an_order_or_an_error(which in 0..COMMANDS.len(), words in ".{0,60}") {
            let _ = parse(&format!("{} {words}", COMMANDS[which].0), None);
        }
    }
}
