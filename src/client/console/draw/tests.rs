//! Whole screens, as they are seen.

use super::theme::ThemeChoice;
use super::*;
use crate::client::app::KeyCode;
use crate::client::event::{Event, Stats};
use crate::client::interface::tests::{Bench, devices, person};
use crate::client::voice::{SpeakerStats, VoiceStats};
use crate::client::volumes::Volume;
use crate::net::ids::MemberId;
use crate::net::message::LeaveReason;
use crate::net::moderation::{Report, Role};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use unicode_width::UnicodeWidthStr;

/// The screen's rows without what is empty at their ends; and where the cursor is.
fn screen(bench: &Bench) -> (Vec<String>, Option<Position>) {
    let size = bench.view.size();
    let mut terminal = Terminal::new(TestBackend::new(size.width, size.height)).unwrap();
    let mut cursor = None;
    let theme = Theme::new(ThemeChoice::Plain);
    terminal.draw(|frame| cursor = draw(&bench.view, &theme, frame.buffer_mut())).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = (0..size.height).map(|y| {
        let mut row = String::new();
        let mut covered = false;
        for x in 0..size.width {
            let symbol = buffer.cell((x, y)).unwrap().symbol();
            // A wide character stands in one cell and covers the next.
            if !std::mem::replace(&mut covered, symbol.width() > 1) {
                row.push_str(symbol);
            }
        }
        row.trim_end().to_owned()
    });
    (rows.collect(), cursor)
}

/// The screen is the one that stands in `screens/NAME.txt`. With PARLOR_SCREENS=write it is written
/// there, to be looked at.
fn shows(bench: &Bench, name: &str) {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/client/console/draw/screens");
    let path = format!("{directory}/{name}.txt");
    let shown = screen(bench).0.join("\n") + "\n";
    if std::env::var("PARLOR_SCREENS").is_ok_and(|wish| wish == "write") {
        std::fs::create_dir_all(directory).unwrap();
        std::fs::write(&path, &shown).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(shown, expected, "\n{shown}\n");
}

/// A room in which something goes on.
pub(super) fn busy(width: u16, height: u16) -> Bench {
    let mut bench = Bench::in_room(width, height);
    bench.chat("Bob", "hi Ann, see https://example.org/notes");
    bench.chat("Big Joe", "日本語 and e\u{301}, two lines:\nhere is the second");
    bench.chat("Bob", "/me has left.");
    let mut joe = person(3, "Big Joe");
    (joe.muted, joe.speaking, joe.role) = (false, true, Some(Role::Operator));
    joe.volume = Some(Volume { percent: 150, ignored: false });
    bench.event(Event::MemberJoined(joe));
    let mut cid = person(4, "Cid");
    (cid.deafened, cid.recording) = (true, true);
    bench.event(Event::MemberJoined(cid));
    bench.private("Bob", "psst");
    let mut joes = SpeakerStats::new(MemberId(3));
    (joes.received, joes.loss) = (100, 0.05);
    let stats = VoiceStats {
        round_trip_ms: Some(23.4),
        uplink_loss: 0.01,
        speakers: vec![joes],
        ..VoiceStats::default()
    };
    bench.event(Event::Stats(Box::new(Stats::new(stats, |_| None))));
    bench.type_text("half a sen");
    bench
}

#[test]
fn a_busy_room_at_80_by_24() {
    let bench = busy(80, 24);
    shows(&bench, "busy-80x24");
    let (_, cursor) = screen(&bench);
    assert_eq!(cursor, Some(Position { x: 12, y: 23 }));
}

#[test]
fn a_busy_room_at_120_by_40() {
    shows(&busy(120, 40), "busy-120x40");
}

#[test]
fn a_small_screen_folds_the_list_away_and_tells_what_it_would() {
    let mut bench = busy(36, 8);
    shows(&bench, "busy-36x8");
    bench.press(KeyCode::Function(6));
    shows(&bench, "list-36x8");
    shows(&busy(20, 2), "busy-20x2");
}

#[test]
fn the_menu_of_a_person_lies_over_the_room() {
    let mut bench = busy(80, 14);
    bench.press(KeyCode::Function(6));
    (0..9).for_each(|_| bench.press(KeyCode::Up));
    (0..4).for_each(|_| bench.press(KeyCode::Down));
    bench.press(KeyCode::Char(' '));
    shows(&bench, "person-80x14");
}

#[test]
fn the_menu_and_a_question_lie_over_the_room() {
    let mut bench = busy(80, 24);
    bench.press(KeyCode::Function(2));
    shows(&bench, "menu-80x24");
    (0..5).for_each(|_| bench.press(KeyCode::Down));
    bench.press(KeyCode::Enter);
    bench.type_text("att");
    shows(&bench, "question-80x24");
    bench.press(KeyCode::Escape);
    bench.press(KeyCode::Function(3));
    bench.type_text("notes");
    shows(&bench, "search-80x24");
}

#[test]
fn devices_are_picked_with_a_level_beside_them() {
    let mut bench = busy(80, 24);
    bench.event(Event::Devices(devices()));
    bench.press(KeyCode::Down);
    bench.press(KeyCode::Down);
    // The picker asks for the level by itself.
    bench.pass(200);
    let stats = VoiceStats { input_level_db: -24.0, ..VoiceStats::default() };
    bench.event(Event::Stats(Box::new(Stats::new(stats, |_| None))));
    shows(&bench, "devices-80x24");
    bench.view.resize(crate::client::interface::layout::Size { width: 30, height: 5 });
    let shown = screen(&bench).0.join("\n");
    assert!(shown.contains("> hdmi"), "what is chosen is seen: {shown}");
}

#[test]
fn the_help_tells_all_keys_at_80_by_24() {
    let mut bench = busy(80, 24);
    bench.press(KeyCode::Function(1));
    let (rows, cursor) = screen(&bench);
    let shown = rows.join("\n");
    for line in crate::client::texts::interface::HELP_LINES.lines() {
        assert!(shown.contains(line.trim_end()), "{line} is cut off:\n{shown}");
    }
    assert_eq!(cursor, None);
}

#[test]
fn an_invite_has_a_picture_where_there_is_room_for_one() {
    let mut bench = Bench::in_room(80, 24);
    let line = "parlor://198.51.100.7:8888/den#1.abcdefghijklmnopqrstuvwx".to_owned();
    bench.event(Event::Report(Report::Invited { id: 1, line: line.clone() }));
    let (rows, _) = screen(&bench);
    assert!(rows.iter().any(|row| row.contains("█▀▀▀▀▀█")), "{}", rows.join("\n"));
    assert!(rows.iter().any(|row| row.contains(&line)));
    // One with a key and a token has a larger picture: alone it still fits.
    let long = format!("{line}{}", "x".repeat(70));
    bench.press(KeyCode::Escape);
    bench.event(Event::Report(Report::Invited { id: 2, line: long }));
    let (rows, _) = screen(&bench);
    let corners = rows.iter().filter(|row| row.contains("█▀▀▀▀▀█")).count();
    assert_eq!(corners, 2, "{}", rows.join("\n"));
    bench.view.resize(crate::client::interface::layout::Size { width: 30, height: 8 });
    let (rows, _) = screen(&bench);
    assert!(!rows.iter().any(|row| row.contains('█')));
}

#[test]
fn what_is_older_is_marked_as_such() {
    let mut bench = Bench::in_room(60, 8);
    (0..20).for_each(|k| bench.chat("Bob", &format!("line {k}")));
    bench.press(KeyCode::PageUp);
    let (rows, _) = screen(&bench);
    assert!(rows[5].contains("more below"), "{}", rows.join("\n"));
}

#[test]
fn a_lost_connection_is_seen_and_the_room_is_no_longer_shown_as_ours() {
    let mut bench = busy(80, 10);
    let why = crate::client::event::LossCause::Closed;
    bench.event(Event::Lost { why, detail: String::new(), retry_ms: 500 });
    let shown = screen(&bench).0.join("\n");
    assert!(shown.contains("reconnecting") && !shown.contains(">general"), "{shown}");
}

#[test]
fn someone_who_leaves_is_gone_from_the_list() {
    let mut bench = Bench::in_room(80, 24);
    let (id, name) = (MemberId(3), person(3, "Big Joe").name);
    bench.event(Event::MemberLeft { id, name, reason: LeaveReason::Quit });
    let shown = screen(&bench).0.join("\n");
    assert!(!shown.contains("· Big Joe") && shown.contains("Big Joe has left"), "{shown}");
}

#[test]
fn a_password_is_shown_as_dots_only() {
    let mut bench = Bench::in_room(80, 24);
    bench.type_text("/register");
    bench.press(KeyCode::Enter);
    bench.type_text("hunter2");
    let shown = screen(&bench).0.join("\n");
    assert!(shown.contains("•••••••") && !shown.contains("hunter"), "{shown}");
}
