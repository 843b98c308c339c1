//! Title, chat, own state and the line that is being typed.

use super::theme::Theme;
use super::{fill, row};
use crate::client::interface::conversation::{Entry, Kind, Place};
use crate::client::interface::layout::Area;
use crate::client::interface::wrap::fit;
use crate::client::interface::{Focus, Interface, Overlay};
use crate::client::ptt::Mode;
use crate::client::texts;
use crate::client::texts::interface as words;
use crate::net::name::printable;
use ratatui::buffer::Buffer;
use ratatui::layout::Position;
use ratatui::style::Style;
use ratatui::text::Span;
use std::collections::VecDeque;
use unicode_width::UnicodeWidthStr;

/// The level meter: how many signs, and what the lowest and the highest stand for in dBFS.
const METER: usize = 8;
const METER_FROM_DB: f32 = -60.0;
/// Columns that the line has at least, whatever stands before it.
const LINE_WIDTH_MIN: usize = 12;
/// Stands for a character of a password.
const HIDDEN: &str = "•";

pub(super) fn title(view: &Interface, theme: &Theme, area: Area, buffer: &mut Buffer) {
    fill(area, theme.bar, buffer);
    let place = match view.talk().map(|talk| &talk.place) {
        Some(Place::Person(name)) => format!("@ {}", printable(name.as_str())),
        Some(Place::Room(name)) if view.app().room().is_some() => printable(name.as_str()),
        _ => {
            let (up, ever) = view.app().link();
            match up {
                true => words::NOWHERE.to_owned(),
                false => texts::status_link(up, ever).to_owned(),
            }
        }
    };
    // Where the list is folded away, the title tells of what is unread, and who speaks.
    let mut more = String::new();
    if view.panels().list.width == 0 {
        let new: usize = view.unread().map(|talk| talk.unread).sum();
        if new > 0 {
            more = format!("  {}", words::unread(new));
        }
        let speakers: Vec<String> =
            view.app().speakers().map(|member| printable(member.name.as_str())).collect();
        if !speakers.is_empty() {
            more = format!("{more}  ♪ {}", speakers.join(", "));
        }
    }
    let width = usize::from(area.width);
    let left = fit(&format!(" Parlor  {place}{more}"), width);
    let keys = words::TITLE_KEYS;
    let gap = width.saturating_sub(left.width() + keys.width() + 1);
    let mut spans = vec![Span::raw(left)];
    if gap > 0 {
        spans.push(Span::raw(" ".repeat(gap)));
        spans.push(Span::raw(keys));
    }
    row(spans, area, 0, buffer);
}

pub(super) fn rule(theme: &Theme, area: Area, buffer: &mut Buffer) {
    (0..area.height).for_each(|y| row(vec![Span::styled("│", theme.dim)], area, y, buffer));
}

pub(super) fn chat(view: &Interface, theme: &Theme, area: Area, buffer: &mut Buffer) {
    let Some(talk) = view.talk().filter(|_| area.width > 0 && area.height > 0) else { return };
    let sought = view.sought();
    let (height, scroll) = (usize::from(area.height), view.scroll());
    // From the last one up, as far as anything can be seen.
    let mut rows: VecDeque<Vec<Span<'_>>> = VecDeque::new();
    for entry in talk.entries.iter().rev() {
        if rows.len() >= height + scroll {
            break;
        }
        if view.shows(entry, sought.as_deref()) {
            let shown = spans(view, theme, entry, usize::from(area.width), sought.as_deref());
            shown.into_iter().rev().for_each(|spans| rows.push_front(spans));
        }
    }
    let below = scroll.min(rows.len().saturating_sub(height));
    rows.truncate(rows.len() - below);
    let first = rows.len().saturating_sub(height);
    (0u16..).zip(rows.into_iter().skip(first)).for_each(|(y, spans)| row(spans, area, y, buffer));
    if below > 0 {
        let mark = format!(" {} ", words::scrolled(below));
        let width = u16::try_from(mark.width()).unwrap_or(area.width).min(area.width);
        let place = Area { x: area.x + area.width - width, width, ..area };
        row(vec![Span::styled(mark, theme.chosen)], place, area.height - 1, buffer);
    }
}

/// The rows of an entry: time, who, what.
fn spans<'a>(
    view: &Interface,
    theme: &Theme,
    entry: &Entry,
    width: usize,
    sought: Option<&str>,
) -> Vec<Vec<Span<'a>>> {
    let head = view.head(entry);
    let look = match entry.kind {
        Kind::Said | Kind::Own if entry.mention && matches!(entry.kind, Kind::Said) => {
            match view.talk().map(|talk| &talk.place) {
                Some(Place::Person(_)) => Style::new(),
                _ => theme.mention,
            }
        }
        Kind::Said | Kind::Own => Style::new(),
        Kind::Before => theme.dim,
        Kind::Told => theme.told,
        Kind::Warning => theme.alert,
    };
    let name = if entry.kind == Kind::Own { theme.own } else { theme.name };
    let indent = crate::client::interface::wrap::indent(width);
    let rows = view.rows_of(entry, width);
    let shown = rows.into_iter().enumerate().map(|(at, text)| {
        if at > 0 {
            let mut spans = vec![Span::raw(" ".repeat(indent))];
            spans.extend(marked(&text, look, theme, sought));
            return spans;
        }
        // The head may itself be cut by a narrow screen.
        let time = text.get(..5).unwrap_or_default().to_owned();
        let rest = text.get(5..).unwrap_or_default();
        let who = head.get(5..).unwrap_or_default();
        let mut spans = vec![Span::styled(time, theme.dim)];
        match rest.strip_prefix(who) {
            Some(said) if entry.who.is_some() => {
                spans.push(Span::styled(who.to_owned(), name));
                spans.extend(marked(said, look, theme, sought));
            }
            _ => spans.extend(marked(rest, look, theme, sought)),
        }
        spans
    });
    shown.collect()
}

/// A text with its links, and with what is searched for.
fn marked<'a>(text: &str, look: Style, theme: &Theme, sought: Option<&str>) -> Vec<Span<'a>> {
    let mut spans = Vec::new();
    for word in text.split_inclusive(' ') {
        let bare = word.trim_end();
        let link = bare.starts_with("https://") || bare.starts_with("http://");
        let found =
            sought.is_some_and(|sought| !sought.is_empty() && bare.to_lowercase().contains(sought));
        let look = match (found, link) {
            (true, _) => look.patch(theme.sought),
            (_, true) => look.patch(theme.link),
            _ => look,
        };
        spans.push(Span::styled(word.to_owned(), look));
    }
    spans
}

pub(super) fn state(view: &Interface, theme: &Theme, area: Area, buffer: &mut Buffer) {
    let app = view.app();
    let (mode, on, there) = app.microphone();
    let word = match app.testing() {
        true => texts::STATUS_TESTING,
        false => texts::status_microphone(mode, on, there),
    };
    let live = there && !app.testing() && (on || mode != Mode::PushToTalk);
    let look = if live { theme.alert } else { theme.strong };
    let mut parts: Vec<(Style, String)> = vec![(look, word.to_owned())];
    if let (Mode::PushToTalk, true, Some(release)) = (mode, there && !on, app.keys()) {
        parts.push((theme.dim, words::talk_key(&app.talk_key().label(), release)));
    }
    for (shown, word) in [
        (app.standing().silenced, texts::STATUS_SILENCED),
        (app.deafened(), texts::STATUS_DEAFENED),
        (view.recording(), words::RECORDS),
    ] {
        if shown {
            parts.push((theme.alert, word.to_owned()));
        }
    }
    if let Some(level) = view.figures().level_db.filter(|_| on || app.testing()) {
        parts.push((theme.voice, meter(level)));
    }
    let (up, ever) = app.link();
    if up {
        let figures = view.figures();
        parts.push((theme.dim, words::ping(figures.ping_ms)));
        parts.push((theme.dim, words::loss(figures.loss_up, figures.loss_down)));
        let path = words::path(view.path());
        if !path.is_empty() {
            parts.push((theme.alert, path.to_owned()));
        }
    } else {
        parts.push((theme.alert, texts::status_link(up, ever).to_owned()));
    }
    let mut spans = Vec::new();
    for (look, text) in parts {
        spans.push(Span::raw(if spans.is_empty() { " " } else { "  " }));
        spans.push(Span::styled(text, look));
    }
    row(spans, area, 0, buffer);
}

/// How loud it is, as signs and as a number.
pub(super) fn meter(level_db: f32) -> String {
    let share = ((level_db - METER_FROM_DB) / -METER_FROM_DB).clamp(0.0, 1.0);
    let full = (0..METER).filter(|k| share * METER as f32 > *k as f32).count();
    format!("{}{} {level_db:.0} dB", "▮".repeat(full), "▯".repeat(METER - full))
}

/// The line, and where its cursor is.
pub(super) fn line(
    view: &Interface,
    theme: &Theme,
    area: Area,
    buffer: &mut Buffer,
) -> Option<Position> {
    if area.width == 0 || area.height == 0 {
        return None;
    }
    let width = usize::from(area.width);
    let asked = view.app().asking().question();
    let (look, label) = match (asked, view.overlay(), view.talk().map(|talk| &talk.place)) {
        (Some((lock, of, turn)), ..) => (theme.alert, texts::password_prompt(lock, of, turn)),
        (_, Some(Overlay::Find), _) => {
            let sought = view.sought();
            let count = view.talk().map_or(0, |talk| {
                talk.entries.iter().filter(|entry| view.shows(entry, sought.as_deref())).count()
            });
            let label =
                format!("{} ({}, {}): ", words::FIND, words::found(count), words::FIND_KEYS);
            (theme.strong, label)
        }
        (_, Some(Overlay::Form { .. }), _) => (theme.strong, "? ".to_owned()),
        (_, _, Some(Place::Person(name))) => {
            (theme.name, format!("@{}> ", printable(name.as_str())))
        }
        _ => (theme.dim, "> ".to_owned()),
    };
    let label = fit(&label, width.saturating_sub(LINE_WIDTH_MIN).max(2).min(width));
    let room = width.saturating_sub(label.width());
    let (text, cursor) = match asked {
        Some(_) => {
            let dots = view.app().asking().typed().min(room.saturating_sub(1));
            (HIDDEN.repeat(dots), dots)
        }
        None => {
            let visible = view.app().editor().visible(room);
            (visible.text, visible.cursor)
        }
    };
    let x = u16::try_from(label.width() + cursor).unwrap_or(area.width).min(area.width - 1);
    row(vec![Span::styled(label, look), Span::raw(text)], area, 0, buffer);
    let typing = view.focus() == Focus::Line || asked.is_some();
    typing.then_some(Position { x: area.x + x, y: area.y })
}
