//! The running server's answers in words, and what the program says of itself.

use parlor::manual::Chapter;
use parlor::net::message::ErrorCode;
use parlor::net::moderation::{
    AdminReply, AuditEntry, InviteInfo, Report, Sanction, SanctionKind, VoiceCounts,
};
use parlor::net::name::{UserName, printable};
use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

/// What is said of an answer of another version.
pub(crate) const NOT_UNDERSTOOD: &str =
    "the server's answer cannot be understood; use the same release as the running server";

/// The last moment that is written as a date, in milliseconds since 1970: the end of the year 9999.
const DATE_MS_MAX: u64 = 253_402_300_799_000;

/// Each exit code, and what it means.
const EXIT_CODES: [(&str, &str); 4] = [
    ("0", "it has ended as asked"),
    ("1", "a sub-command could not be done; doctor found that friends cannot come in"),
    ("2", "something is wrong on the command line or in a file that it names, or a port is in use"),
    ("70", "a fault inside Parlor"),
];

/// What stands below the flags.
pub(crate) fn after_help() -> String {
    EXIT_CODES.iter().fold("Exit codes:".to_owned(), |text, (code, meaning)| {
        format!("{text}\n  {code:<4} {meaning}")
    })
}

/// What `--version` says: the version, what is built in, and the codec's library.
pub(crate) fn version() -> String {
    let features = if cfg!(feature = "client") { "server, client" } else { "server" };
    format!(
        "{}\nfeatures: {features}\ncodec library: none, voice is passed on as it comes\nsystem: {} {}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

/// What the manual says beside the flags.
pub(crate) fn chapters() -> Vec<Chapter> {
    vec![
        Chapter { title: "EXIT STATUS", entries: &EXIT_CODES },
        Chapter {
            title: "FILES",
            entries: &[(
                "~/.local/state/parlor-server/",
                "The server's key, people, invites and bans, and the socket for sub-commands (--state-dir).",
            )],
        },
        Chapter {
            title: "ENVIRONMENT",
            entries: &[
                ("PARLOR_SERVER_STATE_DIR", "As --state-dir."),
                (
                    "PARLOR_SERVER_PASSWORD",
                    "The password to come in without an invite, where no file is named.",
                ),
                ("PARLOR_LOG", "As --log."),
            ],
        },
    ]
}

/// An answer in lines; `None` for an error, or one that this version does not know.
pub(crate) fn lines(reply: &AdminReply) -> Option<Vec<String>> {
    match reply {
        AdminReply::Report { report } => report_lines(report),
        AdminReply::Status { .. } => Some(status(reply)),
        AdminReply::Error { .. } | AdminReply::Unknown => None,
    }
}

fn report_lines(report: &Report) -> Option<Vec<String>> {
    Some(match report {
        Report::Done => vec!["Done.".to_owned()],
        Report::Sanctioned { id, affected } => {
            let whom = match affected {
                0 => "nobody who is here".to_owned(),
                1 => "one who is here".to_owned(),
                count => format!("{count} who are here"),
            };
            vec![format!("Done, number {id}; it meets {whom}. To lift it: parlor-server lift {id}")]
        }
        // Nothing else: the line goes into other programs.
        Report::Invited { line, .. } => vec![one_line(line)],
        Report::Sanctions { sanctions, total } => {
            list(sanctions.iter().map(sanction), *total, "No bans or silences.")
        }
        Report::Invites { invites, total } => {
            list(invites.iter().map(invite), *total, "No invites can be used.")
        }
        Report::Audit { entries } => {
            let total = u64::try_from(entries.len()).unwrap_or(0);
            list(entries.iter().map(audit), total, "Nothing has been written down.")
        }
        Report::Unknown => return None,
    })
}

fn list(entries: impl Iterator<Item = String>, total: u64, none: &str) -> Vec<String> {
    let mut lines: Vec<String> = entries.collect();
    let shown = u64::try_from(lines.len()).unwrap_or(total);
    if lines.is_empty() && total == 0 {
        lines.push(none.to_owned());
    }
    if total > shown {
        lines.push(format!("... and {} more.", total - shown));
    }
    lines
}

fn sanction(entry: &Sanction) -> String {
    let kind = match entry.kind {
        SanctionKind::Ban => "ban",
        SanctionKind::Mute => "silence",
        SanctionKind::Unknown => "unknown",
    };
    let place = match &entry.room {
        Some(room) => format!("room {room}"),
        None => "everywhere".to_owned(),
    };
    let reason = entry.reason.as_ref().map(|why| format!(": {}", one_line(why)));
    format!(
        "{:>5}  {kind:<7}  {}  {place}  {}  by {}{}",
        entry.id,
        one_line(&entry.target),
        until(entry.until_ms),
        one_line(&entry.by),
        reason.unwrap_or_default()
    )
}

fn invite(entry: &InviteInfo) -> String {
    let room = entry.room.as_ref().map(|room| format!("  room {room}")).unwrap_or_default();
    let operator = if entry.operator { "  makes an operator" } else { "" };
    let uses = match entry.uses_left {
        1 => "1 use left".to_owned(),
        uses => format!("{uses} uses left"),
    };
    let until = until(entry.until_ms);
    format!("{:>5}  {uses}  {until}  by {}{room}{operator}", entry.id, one_line(&entry.by))
}

fn audit(entry: &AuditEntry) -> String {
    let AuditEntry { at_ms, by, action, target, detail } = entry;
    let words = [by, action, target, detail].map(|text| one_line(text));
    let line = format!("{}  {}", date(*at_ms), words.join("  "));
    line.trim_end().to_owned()
}

fn status(reply: &AdminReply) -> Vec<String> {
    let AdminReply::Status {
        agent, tcp, udp, public, fingerprint, rooms, elsewhere, voice, ..
    } = reply
    else {
        return Vec::new();
    };
    let mut lines = vec![
        one_line(agent),
        format!("listens on tcp {} and udp {}", one_line(tcp), one_line(udp)),
        format!("invites lead to {}", one_line(public)),
    ];
    lines.extend(fingerprint.as_ref().map(|text| format!("fingerprint {}", one_line(text))));
    lines.extend(voice.as_ref().map(voice_counts));
    let names =
        |users: &[UserName]| users.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    lines.extend(rooms.iter().map(|(room, users)| format!("room {room}: {}", names(users))));
    if !elsewhere.is_empty() {
        lines.push(format!("in no room: {}", names(elsewhere)));
    }
    lines
}

/// What has become of voice, with what to do where something is wrong.
fn voice_counts(counts: &VoiceCounts) -> String {
    let VoiceCounts { accepted, forwarded, stale, withheld, refused, overflowed } = counts;
    let mut line = format!("voice: {accepted} packets in, {forwarded} copies out");
    let mut add = |count: &u64, what: &str| {
        if *count > 0 {
            line.push_str(&format!(", {count} {what}"));
        }
    };
    add(withheld, "withheld because too many spoke at once");
    add(stale, "dropped as too old (this machine has more to do than it can)");
    add(overflowed, "lost in full receive buffers (a larger net.core.rmem_max helps)");
    add(refused, "copies refused by the system");
    line
}

fn until(until_ms: Option<u64>) -> String {
    match until_ms {
        Some(ms) => format!("until {}", date(ms)),
        None => "for good".to_owned(),
    }
}

fn date(ms: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_millis(ms.min(DATE_MS_MAX));
    humantime::format_rfc3339_seconds(time).to_string()
}

/// A text of somebody else's, in one line and without anything that steers a terminal.
fn one_line(text: &str) -> String {
    printable(text).replace('\n', " ")
}

/// Why the server does not do it, and what to do.
pub(crate) fn error(code: ErrorCode, args: &BTreeMap<String, String>) -> String {
    let arg = |key: &str| args.get(key).map(|text| one_line(text)).unwrap_or_default();
    match code {
        ErrorCode::NoSuchUser => {
            format!("nobody called '{}' is here; 'status' shows who is", arg("name"))
        }
        ErrorCode::NobodyKnown | ErrorCode::NotRegistered => format!(
            "nobody called '{}' is here, and the name is not registered; 'status' shows who is here",
            arg("name")
        ),
        ErrorCode::NoSuchRoom => {
            format!("there is no room '{}'; 'status' shows the rooms", arg("room"))
        }
        ErrorCode::NoSuchEntry => format!(
            "there is no number {}; 'sanctions' and 'invites' show those that there are",
            arg("id")
        ),
        ErrorCode::BadTarget => format!("'{}' cannot be banned: {}", arg("target"), arg("why")),
        ErrorCode::BadName => format!("the name cannot be used: {}", arg("why")),
        ErrorCode::BadRoom => format!("the room's name cannot be used: {}", arg("why")),
        ErrorCode::NameTaken => format!("the name '{}' is in use; choose another", arg("name")),
        ErrorCode::NameLooksTaken => format!(
            "the name '{}' looks like '{}', which is in use; choose another",
            arg("name"),
            arg("like")
        ),
        ErrorCode::NameRegistered => {
            format!("the name '{}' is registered; choose another, or free it with 'forget-name'", arg("name"))
        }
        ErrorCode::RoomLooksTaken => format!(
            "the room's name '{}' looks like '{}', which exists; choose another",
            arg("room"),
            arg("like")
        ),
        ErrorCode::RoomFull => format!("the room is full ({} people)", arg("max")),
        ErrorCode::TooManyRooms => format!("there are too many rooms already ({})", arg("max")),
        ErrorCode::TextTooLong => format!("the text is too long: at most {}", arg("max")),
        ErrorCode::NotInRoom => "he is in no room".to_owned(),
        ErrorCode::Banned => format!("he is banned from the room; {}", "lift the ban first: 'sanctions'"),
        ErrorCode::NotAllowed => "the server does not allow this".to_owned(),
        ErrorCode::NotOverHim => format!("'{}' outranks you; take his role away first", arg("name")),
        ErrorCode::NeedsTls => {
            "invites and passwords need encryption, and this server runs without; start it without --insecure".to_owned()
        }
        ErrorCode::NotKept => {
            "the server cannot keep this: it runs with --ephemeral, or its disk refuses; its log says more".to_owned()
        }
        ErrorCode::TooMany => format!(
            "the server keeps no more of these: {} (at most {}); take some away first",
            arg("what"),
            arg("max")
        ),
        ErrorCode::Busy | ErrorCode::TooFast => {
            "the server cannot do this now; wait a moment and try again".to_owned()
        }
        ErrorCode::UnknownType | ErrorCode::BadMessage | ErrorCode::Unknown => {
            "this program and the running server do not understand each other; use the same release for both".to_owned()
        }
        code => {
            let said: Vec<_> =
                args.iter().map(|(key, text)| format!("{key} {}", one_line(text))).collect();
            format!("the server refuses: {code:?} {}", said.join(", ")).trim_end().to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invite_is_one_line_and_nothing_else() {
        let report = Report::Invited { id: 3, line: "parlor://x\n".trim_end().to_owned() };
        assert_eq!(lines(&AdminReply::Report { report }).unwrap(), ["parlor://x"]);
    }

    #[test]
    fn lists_say_that_there_is_nothing_or_that_there_is_more() {
        let none = Report::Sanctions { sanctions: Vec::new(), total: 0 };
        assert_eq!(report_lines(&none).unwrap(), ["No bans or silences."]);
        let one = InviteInfo {
            id: 7,
            room: None,
            operator: true,
            uses_left: 1,
            until_ms: Some(0),
            by: "anna".to_owned(),
        };
        let report = Report::Invites { invites: vec![one], total: 3 };
        let lines = report_lines(&report).unwrap();
        assert!(lines[0].contains("1970-01-01T00:00:00Z") && lines[0].contains("operator"));
        assert_eq!(lines[1..], ["... and 2 more."]);
    }

    #[test]
    fn what_others_wrote_stays_in_its_line_and_steers_no_terminal() {
        let entry = AuditEntry {
            at_ms: u64::MAX,
            by: "anna".to_owned(),
            action: "kick".to_owned(),
            target: "eve\n\u{1b}[2J".to_owned(),
            detail: String::new(),
        };
        let line = audit(&entry);
        assert!(!line.contains(char::is_control), "{line:?}");
        assert!(line.starts_with("9999-"), "{line}");
        let args = BTreeMap::from([("name".to_owned(), "\u{1b}[2J".to_owned())]);
        assert!(!error(ErrorCode::NoSuchUser, &args).contains(char::is_control));
    }
}
