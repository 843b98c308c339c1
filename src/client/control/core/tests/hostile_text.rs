//! Terminal escape sequences in names, chat and everything else that a server or a peer can write
//! never reach the terminal raw: not in terminal mode, not in line mode, not as JSON.

use super::*;
use crate::client::app::{App, Effect, Input as AppInput};
use crate::client::console::draw::theme::{Theme, ThemeChoice};
use crate::client::console::full::Canvas;
use crate::client::console::screen::{Prompt, Screen};
use crate::client::interface::layout::Size;
use crate::client::interface::{Effect as Screened, Interface, Moment};
use crate::client::ptt::{Mode, Release};
use crate::net::message::{ChatLine, PayloadFormat, Welcome};
use crate::net::moderation::{
    AuditEntry, InviteInfo, Moderation, Report, Role, Sanction, SanctionKind,
};
use jiff::tz::TimeZone;
use serde_json::Value;

/// CSI, OSC, BEL, DEL, CR, C1, bidi overrides, isolates and marks, zero-width characters, separators, tags.
const NASTY: &str = "\u{1b}[2J\u{1b}]0;title\u{7}\u{8}\u{7f}\rover\u{9b}31m\u{9d}x\u{85}\u{202e}a\u{2066}b\u{200e}c\u{61c}d\
                     \u{200b}e\u{200c}f\u{200d}g\u{2028}h\u{2029}i\u{feff}j\u{ad}k\u{e0041}l\u{fff9}m\nn";

fn room() -> RoomName {
    RoomName::parse("general").unwrap()
}

fn bob() -> UserName {
    UserName::parse("Bob").unwrap()
}

fn some() -> Option<String> {
    Some("x".to_owned())
}

fn reports() -> Vec<Report> {
    let text = || "x".to_owned();
    let sanction = Sanction {
        id: 1,
        kind: SanctionKind::Ban,
        target: text(),
        room: Some(room()),
        until_ms: Some(5),
        by: text(),
        reason: some(),
    };
    let invite = InviteInfo {
        id: 1,
        room: Some(room()),
        operator: true,
        uses_left: 1,
        until_ms: None,
        by: text(),
    };
    let entry = AuditEntry { at_ms: 1, by: text(), action: text(), target: text(), detail: text() };
    let all = vec![
        Report::Done,
        Report::Sanctioned { id: 1, affected: 1 },
        Report::Sanctions { sanctions: vec![sanction], total: 2 },
        Report::Invited { id: 1, line: text() },
        Report::Invites { invites: vec![invite], total: 2 },
        Report::Audit { entries: vec![entry] },
        Report::Unknown,
    ];
    // A kind that is added must be added above.
    for report in &all {
        match report {
            Report::Done | Report::Sanctioned { .. } | Report::Sanctions { .. } => {}
            Report::Invited { .. } | Report::Invites { .. } | Report::Audit { .. } => {}
            Report::Unknown => {}
        }
    }
    all
}

/// Every message of a server, with every text that it can hold.
fn messages() -> Vec<ServerMessage> {
    let text = || "x".to_owned();
    let bobs = MemberInfo { role: Some(Role::Operator), silenced: true, ..member(2, "Bob") };
    let ServerMessage::Welcome(plain) = welcome("Ann", false) else { panic!() };
    let payload_types = vec![PayloadFormat {
        payload_type: serde_json::from_value(96.into()).unwrap(),
        encoding: text(),
        clock_hz: 1,
        channels: 1,
    }];
    let mut all = vec![
        ServerMessage::Welcome(Box::new(Welcome {
            features: vec![text()],
            payload_types,
            standing: Standing { silenced: true, ..Standing::default() },
            ..*plain
        })),
        joined("general", vec![member(1, "Ann"), bobs.clone()], false),
        ServerMessage::Members { members: vec![bobs.clone()], more: false },
        ServerMessage::RoomRenamed { from: room(), room: room(), by: text() },
        ServerMessage::MemberJoined { member: bobs.clone(), codecs: vec![] },
        ServerMessage::MemberChanged { member: bobs.clone(), renamed_from: Some(bob()) },
        ServerMessage::Chat { id: MemberId(2), name: bob(), text: text(), at_ms: 0, no: 3 },
        ServerMessage::History {
            lines: vec![ChatLine { no: 4, id: MemberId(2), name: bob(), text: text(), at_ms: 0 }],
        },
        ServerMessage::Private { from: bob(), to: bob(), text: text(), at_ms: 0 },
        ServerMessage::Rooms {
            rooms: vec![RoomInfo { name: room(), members: 1, locked: true }],
            total: 1,
            more: false,
        },
        ServerMessage::Users { room: room(), members: vec![bobs], total: 1, more: false },
        ServerMessage::Renamed { name: bob() },
        ServerMessage::Registered { name: bob(), registered: true },
        ServerMessage::Standing(Standing { role: Some(Role::Operator), ..Standing::default() }),
        ServerMessage::Changed(MemberState::default()),
        ServerMessage::Pong { token: 0 },
        ServerMessage::Voice { packet: vec![1] },
        ServerMessage::Unknown,
    ];
    for reason in all_of::<LeaveReason>(&[
        "left", "switched", "quit", "lost", "timeout", "cut_off", "kicked", "banned", "moved",
        "closed", "unknown",
    ]) {
        let left =
            ServerMessage::Left { room: room(), reason: Some(reason), by: some(), why: some() };
        let name = bob();
        all.push(left);
        all.push(ServerMessage::MemberLeft { id: MemberId(2), name, reason, codecs: vec![] });
    }
    for reason in all_of::<GoodbyeReason>(&[
        "stopping",
        "timeout",
        "protocol",
        "resumed",
        "full",
        "kicked",
        "banned",
        "unknown",
        "too_many_attempts",
    ]) {
        all.push(ServerMessage::Goodbye { reason, by: some(), why: some(), until_ms: Some(1) });
    }
    for code in codes() {
        let keys = [
            "why", "name", "like", "room", "max", "server", "by", "until_ms", "id", "target",
            "what", "retry_s", "retry_ms", "needs",
        ];
        let args = keys.iter().map(|key| ((*key).to_owned(), text())).collect();
        all.push(ServerMessage::Error { code, args });
    }
    all.extend(reports().into_iter().map(|report| ServerMessage::Report { report }));
    // A message that is added must be added above.
    for message in &all {
        use ServerMessage as M;
        match message {
            M::Welcome(_) | M::Error { .. } | M::Joined { .. } | M::Members { .. } => {}
            M::Left { .. } | M::RoomRenamed { .. } | M::MemberJoined { .. } => {}
            M::MemberLeft { .. } | M::MemberChanged { .. } | M::Chat { .. } => {}
            M::Private { .. } | M::Rooms { .. } | M::Users { .. } | M::Renamed { .. } => {}
            M::Registered { .. } | M::Report { .. } | M::Standing(_) | M::Changed(_) => {}
            M::Withheld { .. } | M::History { .. } | M::Pong { .. } | M::Goodbye { .. } => {}
            M::Voice { .. } | M::Unknown => {}
        }
    }
    all
}

fn all_of<T: serde::de::DeserializeOwned>(names: &[&str]) -> Vec<T> {
    names.iter().map(|name| serde_json::from_value((*name).into()).unwrap()).collect()
}

fn codes() -> Vec<ErrorCode> {
    let names = [
        "unknown_type",
        "bad_message",
        "hello_first",
        "hello_twice",
        "version",
        "bad_name",
        "name_taken",
        "name_looks_taken",
        "bad_room",
        "room_looks_taken",
        "room_full",
        "too_many_rooms",
        "server_full",
        "not_in_room",
        "no_such_user",
        "no_such_room",
        "empty_text",
        "text_too_long",
        "too_fast",
        "server_password",
        "bad_server_password",
        "name_registered",
        "bad_password",
        "room_password",
        "bad_room_password",
        "bad_invite",
        "invite_expired",
        "device_needed",
        "bad_device",
        "too_many_attempts",
        "too_many_newcomers",
        "banned",
        "too_many_connections",
        "not_allowed",
        "not_over_him",
        "needs_tls",
        "not_registered",
        "no_such_entry",
        "bad_target",
        "nobody_known",
        "not_kept",
        "too_many",
        "busy",
        "unknown",
    ];
    let codes = all_of::<ErrorCode>(&names);
    let unknown = codes.iter().filter(|code| **code == ErrorCode::Unknown).count();
    assert_eq!(unknown, 1, "each of these is one that this version knows");
    codes
}

/// The same message with the nasty text in every place that takes it. A name does not: there it is
/// refused before anything sees it.
fn filled(message: &ServerMessage) -> ServerMessage {
    fn places(value: &Value, path: String, found: &mut Vec<String>) {
        match value {
            Value::String(_) => found.push(path),
            Value::Array(all) => {
                all.iter().enumerate().for_each(|(k, v)| places(v, format!("{path}/{k}"), found));
            }
            Value::Object(all) => {
                all.iter().for_each(|(k, v)| places(v, format!("{path}/{k}"), found));
            }
            _ => {}
        }
    }
    let mut value = serde_json::to_value(message).unwrap();
    let mut found = Vec::new();
    places(&value, String::new(), &mut found);
    for path in found.iter().filter(|path| !path.ends_with("/type") && !path.ends_with("/report")) {
        let before = std::mem::replace(value.pointer_mut(path).unwrap(), NASTY.into());
        let same =
            |read: ServerMessage| std::mem::discriminant(&read) == std::mem::discriminant(message);
        // An enumeration takes any text for its unknown.
        let kept = serde_json::from_value::<ServerMessage>(value.clone()).is_ok_and(|read| {
            same(read.clone())
                && serde_json::to_value(&read).unwrap().pointer(path) == Some(&NASTY.into())
        });
        if !kept {
            *value.pointer_mut(path).unwrap() = before;
        }
    }
    serde_json::from_value(value).unwrap()
}

fn raw(c: char) -> bool {
    let bidi = matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200E}' | '\u{200F}' | '\u{61C}');
    let hidden = matches!(c, '\u{200B}'..='\u{200D}' | '\u{2060}'..='\u{2064}' | '\u{FEFF}' | '\u{AD}'
        | '\u{2028}' | '\u{2029}' | '\u{E0000}'..='\u{E007F}' | '\u{FFF9}'..='\u{FFFB}');
    c.is_control() || bidi || hidden
}

fn clean(text: &str, of: &dyn std::fmt::Debug) {
    assert!(!text.contains(raw), "{text:?} of {of:?}");
}

/// A frame without its control sequences: cursor, looks, clearing, modes. An OSC or another kind
/// of sequence, which drawing never sends, stays.
fn without_codes(frame: &str) -> String {
    let mut parts = frame.split("\x1b[");
    let mut rest = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !matches!(c, '0'..='9' | ';' | '?')).unwrap_or(part.len());
        let last = part.get(end..).unwrap_or_default();
        let own = last.starts_with(['H', 'm', 'J', 'h', 'l']);
        rest.push_str(if own { last.get(1..).unwrap_or_default() } else { "\x1b" });
    }
    rest
}

/// What a user of each console gets to see of these events.
fn show(events: &[Event]) {
    let mut app = App::new(Some(Release::Reported), Mode::PushToTalk, false).asking_passwords(true);
    let mut screen = Screen::default();
    let size = Size { width: 80, height: 24 };
    let full = App::new(Some(Release::Reported), Mode::PushToTalk, false).asking_passwords(true);
    let mut full = Interface::new(full, TimeZone::UTC, size);
    let (mut canvas, theme) = (Canvas::new(), Theme::new(ThemeChoice::Dark));
    for event in events {
        let mut shown = vec![event.clone()];
        for effect in app.handle(AppInput::Event(event.clone()), clock::now()) {
            if let Effect::Show(event) = effect {
                shown.push(event);
            }
        }
        // Full screen: nothing but what the drawing itself sends.
        let at = Moment { now: clock::now(), unix_ms: 0 };
        for effect in full.handle(AppInput::Event(event.clone()), at) {
            if let Screened::Fatal(why) = effect {
                clean(&why, &event);
            }
        }
        clean(&without_codes(&canvas.frame(&full, &theme)), &event);
        for event in shown {
            // JSON: one line, and still the text that was said.
            clean(&event.to_json(), &event);
            let _: Value = serde_json::from_str(&event.to_json()).unwrap();
            // Line mode, and what ends the client.
            let lines = texts::words(&event);
            lines.iter().for_each(|line| clean(line, &event));
            if let Event::Error { code, args, .. } = &event {
                clean(&texts::fatal(*code, args), &event);
            }
            // Terminal mode: nothing but the screen's own sequences.
            let prompt = Prompt::new(&app, 80);
            clean(&prompt.text(), &event);
            let frame = screen.frame(&lines, Some(&prompt), 80);
            let own = [
                "\x1b[?2026h",
                "\x1b[?2026l",
                "\x1b[J",
                "\x1b[0m",
                "\x1b[2m",
                "\x1b[1;31m",
                "\x1b[32m",
                "\r\n",
                "\r",
            ];
            let mut rest = own.iter().fold(frame, |rest, own| rest.replace(own, ""));
            for columns in 0..80 {
                rest = rest
                    .replace(&format!("\x1b[{columns}C"), "")
                    .replace(&format!("\x1b[{columns}A"), "");
            }
            clean(&rest, &event);
        }
    }
}

#[test]
fn nothing_that_a_server_says_reaches_the_terminal_raw() {
    let mut told_nasty = 0;
    for message in messages() {
        let message = filled(&message);
        // Before and after it is let in; unasked, and as the answer to each kind of request.
        let requests = [
            None,
            Some(Request::Rooms),
            Some(Request::Users(None)),
            Some(Request::Join(NASTY.into())),
            Some(Request::Private { to: NASTY.into(), text: NASTY.into() }),
            Some(Request::Rename(NASTY.into())),
            Some(Request::Register(None)),
            Some(Request::Moderate(Moderation::Kick { name: NASTY.into(), reason: None })),
        ];
        let mut greeting = Bench::new(Settings { asks: true, ..settings() });
        greeting.connect_by(Trust::Known);
        greeting.answer(message.clone());
        let mut benches = vec![greeting];
        for request in requests {
            let mut bench = Bench::inside(Settings { asks: true, ..settings() });
            match request {
                Some(request) => {
                    bench.ask(request);
                    if bench.sent().is_empty() {
                        bench.event(message.clone());
                    } else {
                        bench.answer(message.clone());
                    }
                }
                None => bench.event(message.clone()),
            }
            // What goes wrong later words the request.
            bench.pass(11_000);
            bench.lose();
            benches.push(bench);
        }
        for bench in benches {
            let events: Vec<Event> = bench.told().into_iter().cloned().collect();
            told_nasty += usize::from(format!("{events:?}").contains("title"));
            show(&events);
        }
    }
    assert!(told_nasty > 300, "{told_nasty}: the nasty text hardly came through at all");
}

#[test]
fn a_nasty_name_is_refused_before_anything_sees_it() {
    let chat =
        ServerMessage::Chat { id: MemberId(2), name: bob(), text: String::new(), at_ms: 0, no: 1 };
    let mut value = serde_json::to_value(chat).unwrap();
    value["name"] = NASTY.into();
    let error = serde_json::from_value::<ServerMessage>(value).unwrap_err().to_string();
    clean(&error, &"the error about it");
}

#[test]
fn json_keeps_what_was_said_although_it_is_escaped() {
    let event = Event::Chat {
        id: MemberId(2),
        name: bob(),
        text: NASTY.into(),
        at_ms: 0,
        you: false,
        heard: Default::default(),
    };
    let value: Value = serde_json::from_str(&event.to_json()).unwrap();
    assert_eq!(value["text"], NASTY);
}
