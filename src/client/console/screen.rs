//! What the terminal shows: the prompt as spans of text, and frames of bytes. Pure.
//!
//! Lines scroll up as in any shell; below them stands one row with status and input. A frame
//! clears that row, prints what is new, and draws the row again, inside one synchronised update,
//! so that typing is never torn.

use crate::client::app::App;
use crate::client::ptt::Mode;
use crate::client::texts;
use crate::net::name::printable;
use std::fmt::Write;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Narrower than this there is no room for a status.
const STATUS_WIDTH_MIN: usize = 24;
/// Columns that the status leaves to the input, whatever it has to say.
const INPUT_WIDTH_MIN: usize = 8;
/// Columns for the name of the room.
const ROOM_WIDTH_MAX: usize = 20;
/// In front of the second and further rows of a long line.
const WRAP_INDENT: &str = "    ";
/// Columns for one name of those who speak.
const SPEAKER_WIDTH_MAX: usize = 14;

/// Stands for a character of a password.
const HIDDEN: &str = "•";

/// How a span looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// As the terminal's text.
    Plain,
    /// Less important.
    Dim,
    /// The microphone is on.
    Alert,
    /// Someone speaks.
    Voice,
}

/// The row at the bottom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Its parts, together narrower than the terminal.
    pub spans: Vec<(Look, String)>,
    /// Column of the cursor.
    pub cursor: usize,
}

impl Prompt {
    /// The prompt of this state, for a terminal of this width.
    #[must_use]
    pub fn new(app: &App, width: usize) -> Self {
        // The last column stays free: a character there makes some terminals wrap.
        let width = width.saturating_sub(1);
        let mut spans = Vec::new();
        if let Some((lock, of, turn)) = app.asking().question() {
            let label = texts::password_prompt(lock, of, turn);
            return Self::hidden(&label, app.asking().typed(), width);
        }
        if width >= STATUS_WIDTH_MIN {
            status(app, width / 2, &mut spans);
            let wide = |spans: &[(Look, String)]| spans.iter().map(|s| s.1.width()).sum::<usize>();
            while spans.len() > 1 && wide(&spans) + INPUT_WIDTH_MIN > width {
                spans.pop();
            }
        }
        spans.push((Look::Dim, if width >= STATUS_WIDTH_MIN { "▏" } else { ">" }.to_owned()));
        let used: usize = spans.iter().map(|(_, text)| text.width()).sum();
        let visible = app.editor().visible(width.saturating_sub(used));
        let cursor = used + visible.cursor;
        spans.push((Look::Plain, visible.text));
        Self { spans, cursor }
    }

    /// A question for a password: what is typed is shown as dots.
    fn hidden(label: &str, typed: usize, width: usize) -> Self {
        let label = fit(label, width.saturating_sub(INPUT_WIDTH_MIN));
        let room = width.saturating_sub(label.width() + 1);
        let dots = HIDDEN.repeat(typed.min(room));
        let cursor = label.width() + dots.width();
        Self { spans: vec![(Look::Alert, label), (Look::Plain, dots)], cursor }
    }

    /// Its text, without looks.
    #[must_use]
    pub fn text(&self) -> String {
        self.spans.iter().map(|(_, text)| text.as_str()).collect()
    }
}

fn status(app: &App, room: usize, spans: &mut Vec<(Look, String)>) {
    let (up, ever) = app.link();
    let place = match app.room() {
        Some(name) => fit(&printable(name.as_str()), ROOM_WIDTH_MAX.min(room / 2)),
        None => texts::status_link(up, ever).to_owned(),
    };
    spans.push((Look::Plain, format!("[{place}] ")));
    let (mode, on, there) = app.microphone();
    let microphone = match app.testing() {
        true => texts::STATUS_TESTING,
        false => texts::status_microphone(mode, on, there),
    };
    let look = if app.testing() {
        Look::Voice
    } else if there && (on || mode != Mode::PushToTalk) {
        Look::Alert
    } else {
        Look::Dim
    };
    spans.push((look, format!("{microphone} ")));
    if app.standing().silenced {
        spans.push((Look::Alert, format!("{} ", texts::STATUS_SILENCED)));
    }
    if app.deafened() {
        spans.push((Look::Alert, format!("{} ", texts::STATUS_DEAFENED)));
    }
    let used: usize = spans.iter().map(|(_, text)| text.width()).sum();
    let mut left = room.saturating_sub(used);
    let names: Vec<String> =
        app.speakers().map(|m| fit(&printable(m.name.as_str()), SPEAKER_WIDTH_MAX)).collect();
    let mut shown = String::new();
    for (k, name) in names.iter().enumerate() {
        let more = names.len() - k;
        let next = format!("{}{name}", if k == 0 { "♪ " } else { ", " });
        // The first is always named; of the others at least how many there are.
        let mark = if more > 1 { 4 } else { 0 };
        if k > 0 && next.width() + mark > left {
            let _ = write!(shown, " +{more}");
            break;
        }
        left = left.saturating_sub(next.width());
        shown.push_str(&next);
    }
    if !shown.is_empty() {
        spans.push((Look::Voice, format!("{shown} ")));
    }
}

/// The start of a text that fits, with a mark where it was cut.
fn fit(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let (mut cut, mut used) = (String::new(), 1);
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        cut.push(c);
    }
    cut.push('…');
    cut
}

/// Breaks a line at its spaces into rows that fit; rows after the first are set in. What has no
/// space to break at is left to the terminal.
fn wrap(line: &str, width: usize, rows: &mut Vec<String>) {
    let width = width.max(2 * WRAP_INDENT.len());
    let (mut row, mut used, mut empty) = (String::new(), 0, true);
    for word in line.split_inclusive(' ') {
        let wide = word.trim_end_matches(' ').width();
        if !empty && used + wide > width {
            rows.push(std::mem::replace(&mut row, WRAP_INDENT.to_owned()));
            used = WRAP_INDENT.len();
        }
        row.push_str(word);
        used += word.width();
        empty = empty && wide == 0;
    }
    rows.push(row);
}

/// What was drawn last, to be replaced by the next frame.
#[derive(Debug, Default)]
pub struct Screen {
    /// The prompt that stands there now.
    prompt: Option<Prompt>,
    width: usize,
}

impl Screen {
    /// The bytes that print `lines` and then draw the prompt, or none at the end; no bytes at all
    /// when nothing is different.
    ///
    /// `width` is the terminal's now: if it has become narrower, the old prompt has been wrapped
    /// into several rows, and all of them are cleared.
    pub fn frame(&mut self, lines: &[String], prompt: Option<&Prompt>, width: usize) -> String {
        if lines.is_empty() && self.prompt.as_ref() == prompt && self.width == width {
            return String::new();
        }
        let mut out = String::from("\x1b[?2026h");
        let rows_up = self.prompt.as_ref().map_or(0, |old| old.cursor / width.max(1));
        if rows_up > 0 {
            let _ = write!(out, "\x1b[{rows_up}A");
        }
        out.push_str("\r\x1b[J");
        let mut rows = Vec::with_capacity(lines.len());
        lines.iter().for_each(|line| wrap(line, width.saturating_sub(1), &mut rows));
        for row in rows {
            out.push_str(row.trim_end());
            out.push_str("\r\n");
        }
        if let Some(prompt) = prompt {
            draw(prompt, &mut out);
        }
        out.push_str("\x1b[?2026l");
        (self.prompt, self.width) = (prompt.cloned(), width);
        out
    }

    /// Forgets what stands there: the next frame draws it again.
    pub fn forget(&mut self) {
        self.width = 0;
    }
}

fn draw(prompt: &Prompt, out: &mut String) {
    for (look, text) in &prompt.spans {
        let code = match look {
            Look::Plain => "",
            Look::Dim => "\x1b[2m",
            Look::Alert => "\x1b[1;31m",
            Look::Voice => "\x1b[32m",
        };
        let end = if code.is_empty() { "" } else { "\x1b[0m" };
        let _ = write!(out, "{code}{text}{end}");
    }
    out.push('\r');
    if prompt.cursor > 0 {
        let _ = write!(out, "\x1b[{}C", prompt.cursor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::app::{Input, Key, KeyAction, KeyCode};
    use crate::client::event::{Event, Person, SessionNumber};
    use crate::client::ptt::Release;
    use crate::net::clock;
    use crate::net::ids::MemberId;
    use crate::net::name::{RoomName, UserName};

    fn app(speakers: &[&str]) -> App {
        let mut app = App::new(Some(Release::Reported), Mode::PushToTalk, false);
        let name = UserName::parse("me").unwrap();
        let session = SessionNumber(1);
        let agent = String::new();
        let id = MemberId(1);
        let welcome = Event::Welcome { id, name, agent, resumed: false, session };
        app.handle(Input::Event(welcome), clock::now());
        let members = speakers.iter().zip(2u64..).map(|(name, id)| Person {
            id: MemberId(id),
            name: UserName::parse(name).unwrap(),
            muted: true,
            deafened: false,
            recording: false,
            volume: None,
            speaking: true,
            silenced: false,
            role: None,
            you: false,
        });
        let room = RoomName::parse("general").unwrap();
        let joined = Event::Joined { room, members: members.collect() };
        app.handle(Input::Event(joined), clock::now());
        app
    }

    fn key(app: &mut App, code: char, action: KeyAction) {
        let key = Key { code: KeyCode::Char(code), ctrl: false, alt: false, action };
        app.handle(Input::Key(key), clock::now());
    }

    #[test]
    fn the_prompt_shows_room_microphone_and_the_line() {
        let mut app = app(&[]);
        "hi".chars().for_each(|c| key(&mut app, c, KeyAction::Press));
        let prompt = Prompt::new(&app, 80);
        assert_eq!(prompt.text(), "[general] mic off ▏hi");
        assert_eq!(prompt.cursor, 21);
    }

    #[test]
    fn while_we_hear_ourselves_the_microphone_is_no_open_one() {
        use crate::client::event::NoticeCode;
        use crate::client::voice::TrialNews;
        let mut app = app(&[]);
        let test = |news| Input::Event(Event::Test(news));
        app.handle(test(TrialNews::Speak { ms: 5000 }), clock::now());
        let (code, action) = (KeyCode::Char('`'), KeyAction::Press);
        let press = Input::Key(Key { code, ctrl: false, alt: false, action });
        let told = format!("{:?}", app.handle(press, clock::now()));
        assert!(told.contains(&format!("{:?}", NoticeCode::TestRuns)), "{told}");
        assert_eq!(Prompt::new(&app, 80).text(), "[general] mic test ▏");
        key(&mut app, '`', KeyAction::Release);
        app.handle(test(TrialNews::Over), clock::now());
        assert_eq!(Prompt::new(&app, 80).text(), "[general] mic off ▏");
    }

    #[test]
    fn talking_and_who_else_talks_are_shown() {
        let mut talking = app(&["Ann", "Bob"]);
        key(&mut talking, '`', KeyAction::Press);
        assert_eq!(Prompt::new(&talking, 80).text(), "[general] TALKING ♪ Ann, Bob ▏");
        key(&mut talking, '`', KeyAction::Release);
        assert_eq!(Prompt::new(&talking, 80).text(), "[general] mic off ♪ Ann, Bob ▏");
        let crowd = app(&["Ann", "Bartholomew the Great", "Cid", "Dee"]);
        let text = Prompt::new(&crowd, 80).text();
        assert_eq!(text, "[general] mic off ♪ Ann +3 ▏");
        let text = Prompt::new(&crowd, 120).text();
        assert_eq!(text, "[general] mic off ♪ Ann, Bartholomew t…, Cid, Dee ▏");
    }

    #[test]
    fn a_password_is_shown_as_dots_and_silence_as_a_mark() {
        use crate::client::event::{LockKind, Turn};
        use crate::net::message::Standing;
        let mut app = app(&[]).asking_passwords(true);
        let standing = Standing { silenced: true, ..Standing::default() };
        let event = Event::Standing { standing, before: Standing::default(), room: None };
        app.handle(Input::Event(event), clock::now());
        assert_eq!(Prompt::new(&app, 80).text(), "[general] mic off SILENCED ▏");
        let (lock, of, turn) = (LockKind::Room, "attic".to_owned(), Turn::First);
        app.handle(Input::Event(Event::PasswordWanted { lock, of, turn }), clock::now());
        "hunter2".chars().for_each(|c| key(&mut app, c, KeyAction::Press));
        let prompt = Prompt::new(&app, 80);
        assert_eq!(prompt.text(), "Password of the room attic: •••••••");
        assert_eq!(prompt.cursor, 35);
        for width in 0..60 {
            let prompt = Prompt::new(&app, width);
            assert!(
                prompt.text().width() < width.max(2) && prompt.cursor < width.max(2),
                "{width}"
            );
        }
    }

    #[test]
    fn no_connection_is_shown() {
        let app = App::new(None, Mode::PushToTalk, true);
        assert_eq!(Prompt::new(&app, 80).text(), "[connecting] mic off deafened ▏");
    }

    #[test]
    fn the_prompt_never_fills_the_row() {
        let mut app = app(&["Ann", "Bartholomew the Great", "日本語日本語日本語"]);
        for _ in 0..100 {
            key(&mut app, '語', KeyAction::Press);
        }
        for width in 0..200 {
            let prompt = Prompt::new(&app, width);
            assert!(prompt.text().width() < width.max(2), "{width}: {}", prompt.text());
            assert!(prompt.cursor < width.max(2));
        }
    }

    #[test]
    fn a_frame_clears_the_prompt_prints_the_lines_and_draws_it_again() {
        let mut screen = Screen::default();
        let prompt = Prompt::new(&app(&[]), 80);
        let frame = screen.frame(&["one".into(), "two".into()], Some(&prompt), 80);
        let expected = "\x1b[?2026h\r\x1b[Jone\r\ntwo\r\n[general] \x1b[2mmic off \x1b[0m\
                        \x1b[2m▏\x1b[0m\r\x1b[19C\x1b[?2026l";
        assert_eq!(frame, expected);
        assert_eq!(screen.frame(&[], Some(&prompt), 80), "", "nothing is different");
        // Narrower now: the old prompt takes two rows.
        assert!(screen.frame(&[], None, 15).starts_with("\x1b[?2026h\x1b[1A\r\x1b[J"));
    }

    #[test]
    fn long_lines_break_at_spaces_and_long_words_are_left_to_the_terminal() {
        let rows = |line: &str, width| {
            let mut rows = Vec::new();
            wrap(line, width, &mut rows);
            rows.into_iter().map(|row| row.trim_end().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(rows("one two three", 20), ["one two three"]);
        assert_eq!(rows("one two three four", 13), ["one two three", "    four"]);
        assert_eq!(rows("    set in line", 12), ["    set in", "    line"]);
        assert_eq!(rows("日本 日本 日本", 9), ["日本 日本", "    日本"]);
        assert_eq!(rows(&"x".repeat(50), 10), ["x".repeat(50)]);
        assert_eq!(rows("", 10), [""]);
    }
}
