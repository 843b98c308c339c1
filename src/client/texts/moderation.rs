//! The words for keeping order: what was done to us and by us, lists, roles.

use super::shown;
use crate::client::event::{LockKind, Turn};
use crate::net::message::{LeaveReason, Standing};
use crate::net::moderation::{AuditEntry, InviteInfo, Report, Role, Sanction, SanctionKind};
use crate::net::name::RoomName;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use unicode_width::UnicodeWidthStr;

/// Columns of a table that one cell may take; the rest of it is cut off.
const CELL_WIDTH_MAX: usize = 40;

/// A moment as people here write it; nothing for one that no calendar holds.
pub(super) fn moment(at_ms: u64, zone: &TimeZone) -> Option<String> {
    let at = Timestamp::from_millisecond(i64::try_from(at_ms).ok()?).ok()?;
    Some(at.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string())
}

/// A moment in the time zone of this machine.
pub(super) fn here(at_ms: u64) -> Option<String> {
    moment(at_ms, &TimeZone::system())
}

/// A time, here, as it stands in names of files: sorted by name they are sorted by time.
#[must_use]
pub fn file_time(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let text = |at: Timestamp| {
        at.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d_%H-%M-%S").to_string()
    };
    at.map_or_else(|| at_ms.to_string(), text)
}

fn until(until_ms: Option<u64>) -> String {
    until_ms.and_then(here).unwrap_or_else(|| "for good".to_owned())
}

/// `by NAME`, `: WHY`, `until WHEN`, each where it is known.
pub(super) fn circumstances(by: &str, why: &str, until: &str) -> String {
    let by = if by.is_empty() { String::new() } else { format!(" by {by}") };
    let until = if until.is_empty() { String::new() } else { format!(" until {until}") };
    let why = if why.is_empty() { String::new() } else { format!(": {why}") };
    format!("{by}{until}{}", why.trim_end_matches('.'))
}

/// We were put out of a room.
pub(super) fn put_out(
    room: &str,
    reason: LeaveReason,
    by: Option<&String>,
    why: Option<&String>,
) -> String {
    let by = by.map(shown).unwrap_or_default();
    let why = why.map(shown).unwrap_or_default();
    let and = circumstances(&by, &why, "");
    let what = match reason {
        LeaveReason::Kicked => format!("You were sent out of {room}{and}."),
        LeaveReason::Banned => format!("You are banned from {room}{and}."),
        LeaveReason::Moved => format!("You were moved out of {room}{and}."),
        LeaveReason::Closed => format!("The room {room} was closed{and}."),
        _ => format!("You are no longer in {room}{and}."),
    };
    let next = match reason {
        LeaveReason::Moved => "",
        _ => " /join ROOM takes you to another room.",
    };
    format!("! {what} The microphone is off.{next}")
}

/// What is different about what we may do.
pub(super) fn standing(now: Standing, before: Standing, room: Option<&RoomName>) -> Vec<String> {
    let room = room.map_or_else(|| "this room".to_owned(), shown);
    let mut lines = Vec::new();
    if now.role != before.role {
        lines.push(match now.role {
            Some(Role::Operator) => {
                "* You are an operator of this server. /help moderation tells what you may do."
                    .to_owned()
            }
            Some(_) => "* You keep order on this server. /help moderation tells what you may do."
                .to_owned(),
            None => "* You are no operator any more.".to_owned(),
        });
    }
    if now.room_role != before.room_role {
        lines.push(match now.room_role {
            Some(_) => {
                format!("* You are a moderator of {room}. /help moderation tells what you may do.")
            }
            None => "* You are no moderator here.".to_owned(),
        });
    }
    match (before.silenced, now.silenced) {
        (false, true) => lines.push(
            "! You have been silenced: the others cannot hear you, whatever the microphone does. \
             Text still works; a moderator can let you be heard again."
                .to_owned(),
        ),
        (true, false) => lines.push("* The others can hear you again.".to_owned()),
        _ => {}
    }
    lines
}

/// What came of an order.
pub(super) fn report(report: &Report) -> Vec<String> {
    match report {
        Report::Done => vec!["* Done.".to_owned()],
        Report::Sanctioned { id, affected } => {
            let met = match affected {
                0 => "nobody who is here".to_owned(),
                1 => "one who is here".to_owned(),
                n => format!("{n} who are here"),
            };
            vec![format!("* Done; it meets {met}. /unban {id} lifts it again.")]
        }
        Report::Sanctions { sanctions, total } => sanction_list(sanctions, *total),
        Report::Invited { id, line } => vec![
            format!(
                "* Invite {id}. Give this line to whoever you invite; it is shown only now, and \
                 /uninvite {id} makes it worthless:"
            ),
            // At the start of a line and whole, to be copied.
            shown(line),
        ],
        Report::Invites { invites, total } => invite_list(invites, *total),
        Report::Audit { entries } => audit_list(entries),
        Report::Unknown => {
            vec![
                "* The server did it, and says so in a way that this version does not know."
                    .to_owned(),
            ]
        }
    }
}

fn sanction_list(sanctions: &[Sanction], total: u64) -> Vec<String> {
    if sanctions.is_empty() {
        return vec!["* Nobody is banned or silenced.".to_owned()];
    }
    let row = |s: &Sanction| {
        let kind = match s.kind {
            SanctionKind::Ban => "ban",
            SanctionKind::Mute => "silence",
            SanctionKind::Unknown => "?",
        };
        let place = s.room.as_ref().map_or_else(|| "everywhere".to_owned(), shown);
        let why = s.reason.as_ref().map(shown).unwrap_or_default();
        [
            s.id.to_string(),
            kind.to_owned(),
            shown(&s.target),
            place,
            until(s.until_ms),
            shown(&s.by),
            why,
        ]
    };
    let head = ["number", "what", "whom", "where", "until", "by", "why"];
    let mut lines = vec![format!("* Bans and silences: {total}. /unban NUMBER lifts one.")];
    lines.extend(table(head, sanctions.iter().map(row).collect()));
    lines.extend(rest(sanctions.len(), total));
    lines
}

fn invite_list(invites: &[InviteInfo], total: u64) -> Vec<String> {
    if invites.is_empty() {
        return vec![
            "* There are no invites that can still be used. /invite makes one.".to_owned(),
        ];
    }
    let row = |i: &InviteInfo| {
        let room = i.room.as_ref().map_or_else(|| "any".to_owned(), shown);
        let makes = if i.operator { "operator" } else { "" };
        [
            i.id.to_string(),
            room,
            i.uses_left.to_string(),
            until(i.until_ms),
            shown(&i.by),
            makes.to_owned(),
        ]
    };
    let head = ["number", "room", "uses left", "until", "by", "makes"];
    let mut lines = vec![format!("* Invites: {total}. /uninvite NUMBER makes one worthless.")];
    lines.extend(table(head, invites.iter().map(row).collect()));
    lines.extend(rest(invites.len(), total));
    lines
}

fn audit_list(entries: &[AuditEntry]) -> Vec<String> {
    if entries.is_empty() {
        return vec!["* The audit log is empty.".to_owned()];
    }
    let row = |e: &AuditEntry| {
        let when = here(e.at_ms).unwrap_or_else(|| "?".to_owned());
        [when, shown(&e.by), shown(&e.action), shown(&e.target), shown(&e.detail)]
    };
    let mut lines = vec![format!("* The audit log's last entries: {}", entries.len())];
    lines.extend(table(["when", "who", "what", "whom", "more"], entries.iter().map(row).collect()));
    lines
}

fn rest(shown: usize, total: u64) -> Option<String> {
    let more = total.saturating_sub(u64::try_from(shown).unwrap_or(u64::MAX));
    (more > 0).then(|| format!("    and {more} more"))
}

/// Rows with their columns below each other; the last column takes what it needs.
fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>) -> Vec<String> {
    let mut rows = rows;
    rows.insert(0, head.map(str::to_owned));
    let mut widths = [0; N];
    for row in &mut rows {
        for (k, (cell, width)) in row.iter_mut().zip(&mut widths).enumerate() {
            if k + 1 < N && cell.width() > CELL_WIDTH_MAX {
                *cell = cut(cell);
            }
            *width = (*width).max(cell.width());
        }
    }
    let line = |row: &[String; N]| {
        let mut line = String::from("   ");
        for (cell, width) in row.iter().zip(widths) {
            line.push(' ');
            line.push_str(cell);
            // A space stands between columns in any case.
            line.push_str(&" ".repeat(width.saturating_sub(cell.width()) + 1));
        }
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn cut(cell: &str) -> String {
    let mut cut = String::new();
    for c in cell.chars() {
        if cut.width() + 2 > CELL_WIDTH_MAX {
            break;
        }
        cut.push(c);
    }
    cut + "…"
}

/// A member's mark in lists.
pub(super) fn role_mark(role: Option<Role>) -> Option<&'static str> {
    match role? {
        Role::Operator => Some("operator"),
        Role::Moderator => Some("moderator"),
        Role::Unknown => None,
    }
}

/// What is asked for, before what is typed.
#[must_use]
pub fn password_prompt(lock: LockKind, of: &str, turn: Turn) -> String {
    let of = shown(of);
    let what = match lock {
        LockKind::Server => format!("Password of the server {of}"),
        LockKind::Name => format!("Password of the name {of}"),
        LockKind::Room => format!("Password of the room {of}"),
        LockKind::NewName => format!("New password for your name {of}"),
        LockKind::NewRoom => format!("New password for the room {of}"),
    };
    match turn {
        Turn::First => format!("{what}: "),
        Turn::Wrong => format!("{what}, again: "),
        Turn::Repeat => "The same password once more: ".to_owned(),
    }
}

/// The line above the question.
pub(super) fn password_wanted(lock: LockKind, of: &str, turn: Turn) -> String {
    let of = shown(of);
    let give_up = "Nothing of it is shown; Escape, or an empty line, gives up.";
    match (lock, turn) {
        (_, Turn::Repeat) => "* Type the same password once more.".to_owned(),
        (LockKind::Server, Turn::Wrong) => {
            format!("! That is not the password of the server {of}. {give_up}")
        }
        (LockKind::Name | LockKind::NewName, Turn::Wrong) => {
            format!("! That is not the password of '{of}'. {give_up}")
        }
        (LockKind::Room | LockKind::NewRoom, Turn::Wrong) => {
            format!("! That is not the password of the room {of}. {give_up}")
        }
        (LockKind::Server, Turn::First) => {
            format!("* The server {of} has a password. Type it. {give_up}")
        }
        (LockKind::Name, Turn::First) => {
            format!("* The name '{of}' is registered. If it is yours, type its password. {give_up}")
        }
        (LockKind::Room, Turn::First) => {
            format!("* The room {of} has a password. Type it. {give_up}")
        }
        (LockKind::NewName, Turn::First) => format!(
            "* Choose a password that keeps the name '{of}' for you. This device will not need it; \
             others of yours will. {give_up}"
        ),
        (LockKind::NewRoom, Turn::First) => {
            format!("* Choose a password for the room {of}. {give_up}")
        }
    }
}

/// The commands of those who keep order.
pub(super) const HELP: &str = "* To keep order (what you may do depends on your role). A name with spaces stands in \"quotation marks\";
  TIME is like 30m, 12h or 7d, and without it a ban or a silence lasts until it is lifted:
    /kick NAME [WHY]                  send away: an operator from the server, a moderator from the room
    /ban NAME [for TIME] [WHY]        keep out of the server: the user, his device, his name
    /banip NAME [for TIME] [WHY]      the same for his address, or an ADDRESS, or a NETWORK/BITS
    /roomban NAME [for TIME] [WHY]    keep out of this room
    /bans, /unban NUMBER              bans and silences; lift one
    /silence NAME [for TIME] [WHY]    nobody hears him
    /unsilence NAME                   he is heard again
    /move NAME ROOM                   put someone into another room
    /lock [ROOM], /unlock [ROOM]      give a room a password (asked for); take it off
    /rename ROOM NEW                  another name for a room
    /close ROOM                       everyone out of a room, and forget it
    /mod NAME [ROOM], /unmod NAME     make someone a moderator of the room; no more
    /op NAME, /deop NAME              make someone an operator; no more
    /renameuser NAME NEW              another name for someone
    /invite [ROOM] [uses N] [for TIME] [operator]
                                      a line that lets someone in, to this room where none is named
    /invites, /uninvite NUMBER        invites that can still be used; make one worthless
    /forget NAME                      free a registered name
    /audit [NUMBER]                   who did what, and when";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_in_local_time() {
        let zone = TimeZone::fixed(jiff::tz::offset(3));
        assert_eq!(moment(1_764_054_000_000, &zone).unwrap(), "2025-11-25 10:00");
        assert_eq!(moment(u64::MAX, &zone), None);
    }

    #[test]
    fn lists_stand_in_columns() {
        let sanction = |id, target: &str, reason: Option<&str>| Sanction {
            id,
            kind: SanctionKind::Ban,
            target: target.to_owned(),
            room: None,
            until_ms: None,
            by: "Ann".to_owned(),
            reason: reason.map(str::to_owned),
        };
        let sanctions = vec![sanction(7, "Bob", Some("spam")), sanction(12, "日本", None)];
        let lines = report(&Report::Sanctions { sanctions, total: 3 });
        assert_eq!(
            lines,
            [
                "* Bans and silences: 3. /unban NUMBER lifts one.",
                "    number  what  whom  where       until     by   why",
                "    7       ban   Bob   everywhere  for good  Ann  spam",
                "    12      ban   日本  everywhere  for good  Ann",
                "    and 1 more",
            ]
        );
        let empty = report(&Report::Invites { invites: vec![], total: 0 });
        assert!(empty[0].contains("/invite"));
    }

    #[test]
    fn a_new_invite_stands_alone_on_its_line() {
        let line = "parlor://h:1/x#a.b".to_owned();
        let lines = report(&Report::Invited { id: 5, line: line.clone() });
        assert_eq!(lines[1], line);
        assert!(lines[0].contains("/uninvite 5"));
    }

    #[test]
    fn a_change_of_standing_is_said_once() {
        let none = Standing::default();
        let silenced = Standing { silenced: true, ..none };
        let operator = Standing { role: Some(Role::Operator), ..none };
        assert_eq!(standing(none, none, None), Vec::<String>::new());
        assert!(standing(silenced, none, None)[0].contains("silenced"));
        assert!(standing(none, silenced, None)[0].contains("hear you again"));
        assert!(standing(operator, none, None)[0].contains("operator"));
        assert_eq!(standing(operator, operator, None), Vec::<String>::new());
    }

    #[test]
    fn who_was_put_out_learns_by_whom_and_why_and_that_his_microphone_is_off() {
        let (by, why) = ("Ann".to_owned(), "enough.".to_owned());
        for (reason, words) in [
            (LeaveReason::Kicked, "sent out of attic by Ann: enough."),
            (LeaveReason::Banned, "banned from attic by Ann: enough."),
            (LeaveReason::Moved, "moved out of attic by Ann: enough."),
            (LeaveReason::Closed, "attic was closed by Ann: enough."),
        ] {
            let line = put_out("attic", reason, Some(&by), Some(&why));
            assert!(line.contains(words) && line.contains("microphone is off"), "{line}");
        }
    }

    #[test]
    fn help_names_every_command() {
        for (command, _) in crate::client::command::moderation::COMMANDS {
            assert!(HELP.contains(command), "{command}");
        }
    }
}
