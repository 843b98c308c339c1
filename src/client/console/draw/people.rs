//! The list on the left: rooms, who is in them, and with whom we talk alone.

use super::theme::Theme;
use super::{fill, row};
use crate::client::event::Person;
use crate::client::interface::conversation::{Conversation, Place};
use crate::client::interface::layout::Area;
use crate::client::interface::list::{Quality, Row};
use crate::client::interface::wrap::fit;
use crate::client::interface::{Focus, Interface};
use crate::client::texts::interface as words;
use crate::net::moderation::Role;
use crate::net::name::printable;
use ratatui::buffer::Buffer;
use ratatui::style::Style;
use ratatui::text::Span;
use unicode_width::UnicodeWidthStr;

pub(super) fn list(view: &Interface, theme: &Theme, area: Area, buffer: &mut Buffer) {
    if area.width == 0 || area.height == 0 {
        return;
    }
    let rows = view.rows();
    let (chosen, height) = (view.chosen(), usize::from(area.height));
    // The row that the list stands on is in sight.
    let from = if view.focus() == Focus::List { chosen.saturating_sub(height - 1) } else { 0 };
    for (y, (at, of)) in (0u16..).zip(rows.iter().enumerate().skip(from).take(height)) {
        let (look, text, end) = cells(view, theme, of);
        let width = usize::from(area.width);
        let room = width.saturating_sub(if end.is_empty() { 0 } else { end.width() + 1 });
        let text = fit(&text, room);
        let gap = " ".repeat(width.saturating_sub(text.width() + end.width()));
        let chosen = view.focus() == Focus::List && at == chosen;
        let end_look = if chosen { look } else { theme.dim };
        row(
            vec![Span::styled(text, look), Span::raw(gap), Span::styled(end, end_look)],
            area,
            y,
            buffer,
        );
        if chosen {
            fill(Area { y: area.y + y, height: 1, ..area }, theme.chosen, buffer);
        }
    }
}

/// How a row looks, what it says, and what stands at its end.
fn cells(view: &Interface, theme: &Theme, of: &Row) -> (Style, String, String) {
    match of {
        Row::Room(name) => {
            let here = view.app().room().is_some_and(|here| here.folded() == name.folded());
            let told = view.room(name);
            let count = if here {
                view.app().members().count()
            } else {
                told.map_or(0, |room| usize::try_from(room.members).unwrap_or(usize::MAX))
            };
            let unread = view.talk_in(&Place::Room(name.clone())).map(unread).unwrap_or_default();
            let locked = if told.is_some_and(|room| room.locked) { words::LOCKED } else { "" };
            let mark = if here { '>' } else { ' ' };
            let look = if here { theme.strong } else { Style::new() };
            let end = join(&[&unread, locked, &count.to_string()]);
            (look, format!("{mark}{}", printable(name.as_str())), end)
        }
        Row::Member(id) => match view.app().members().find(|member| member.id == *id) {
            Some(member) => member_cells(view, theme, member),
            None => Default::default(),
        },
        Row::Elsewhere(_, name) => {
            (theme.dim, format!("   {}", printable(name.as_str())), String::new())
        }
        Row::People => (theme.dim, words::PEOPLE.to_owned(), String::new()),
        Row::Person(name) => {
            let talk = view.talk_in(&Place::Person(name.clone()));
            let open = view.talk().is_some_and(|open| talk.is_some_and(|t| t.place == open.place));
            let new = talk.is_some_and(|talk| talk.unread > 0);
            let look = match (open, new) {
                (true, _) => theme.strong,
                (_, true) => theme.mention,
                _ => Style::new(),
            };
            let mark = if open { '>' } else { ' ' };
            let end = talk.map(unread).unwrap_or_default();
            (look, format!("{mark}{}", printable(name.as_str())), end)
        }
    }
}

fn member_cells(view: &Interface, theme: &Theme, member: &Person) -> (Style, String, String) {
    let (mode, on, _) = view.app().microphone();
    let open = match member.you {
        true => mode != crate::client::ptt::Mode::PushToTalk,
        false => !member.muted,
    };
    let speaks = if member.you { on && member.speaking } else { member.speaking };
    let mark = match (member.silenced, speaks, open) {
        (true, ..) => 'x',
        (_, true, _) => '♪',
        (_, _, true) => 'o',
        _ => '·',
    };
    let role = match member.role {
        Some(Role::Operator) => "@",
        Some(Role::Moderator) => "%",
        _ => "",
    };
    let ignored = member.volume.is_some_and(|volume| volume.ignored);
    let volume = match member.volume {
        Some(volume) if !volume.ignored && volume.percent != 100 => format!("{}%", volume.percent),
        _ => String::new(),
    };
    let quality = match view.figures().quality.get(&member.id) {
        Some(Quality::Good) => "▮▮▮",
        Some(Quality::Fair) => "▮▮▯",
        Some(Quality::Bad) => "▮▯▯",
        None => "",
    };
    let flag = |on: bool, word: &'static str| if on { word } else { "" };
    let end = join(&[
        flag(member.you, words::YOU),
        flag(member.silenced, words::SILENCED),
        flag(member.deafened, words::DEAF),
        flag(member.recording, words::RECORDS),
        flag(ignored, words::IGNORED),
        &volume,
        quality,
    ]);
    let look = match (member.recording || member.silenced, speaks) {
        (_, true) => theme.voice,
        (true, _) => theme.alert,
        _ => Style::new(),
    };
    (look, format!(" {mark} {role}{}", printable(member.name.as_str())), end)
}

/// How many texts of it are unread; with a sign where one names us.
fn unread(talk: &Conversation) -> String {
    let alone = matches!(talk.place, Place::Person(_));
    match (talk.unread, talk.mentioned && !alone) {
        (0, _) => String::new(),
        (n, false) => format!("({n})"),
        (n, true) => format!("({n}!)"),
    }
}

fn join(words: &[&str]) -> String {
    words.iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(" ")
}
