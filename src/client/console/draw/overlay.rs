//! What lies over the panels: help, menus, forms, an invite.

use super::panels::meter;
use super::qr;
use super::theme::Theme;
use crate::client::event::DeviceKind;
use crate::client::interface::devices::{Picker, PickerRow};
use crate::client::interface::menu::Menu;
use crate::client::interface::wrap::{fit, wrap};
use crate::client::interface::{Interface, Overlay};
use crate::client::texts::interface as words;
use crate::net::name::printable;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Widget};
use unicode_width::UnicodeWidthStr;

/// Draws what lies over the panels; where the cursor is then.
pub(super) fn draw(
    view: &Interface,
    theme: &Theme,
    buffer: &mut Buffer,
    cursor: Option<Position>,
) -> Option<Position> {
    // A question for a password is answered first.
    if view.app().asking().is_open() {
        return cursor;
    }
    match view.overlay() {
        None | Some(Overlay::Find) => cursor,
        Some(Overlay::Form { question, before }) => {
            let before = before.trim().to_owned();
            let rows = [(before, theme.strong), ((*question).to_owned(), Style::new())];
            let rows = rows.into_iter().filter(|(text, _)| !text.is_empty()).collect();
            boxed("", rows, 0, words::FORM_KEYS, theme, buffer, true);
            cursor
        }
        Some(Overlay::Help(from)) => {
            let rows = words::HELP_LINES.lines().map(|line| (line.to_owned(), Style::new()));
            boxed(words::HELP, rows.collect(), *from, "", theme, buffer, false);
            None
        }
        Some(Overlay::Menu(menu)) => {
            self::menu(menu, theme, buffer);
            None
        }
        Some(Overlay::Devices(picker)) => {
            devices(view, picker, theme, buffer);
            None
        }
        Some(Overlay::Invite(line)) => {
            invite(line, theme, buffer);
            None
        }
    }
}

fn menu(menu: &Menu, theme: &Theme, buffer: &mut Buffer) {
    let wide = menu.items.iter().map(|item| item.label.width()).max().unwrap_or(0);
    let keyed = menu.items.iter().any(|item| !item.key.is_empty());
    let rows = menu.items.iter().enumerate().map(|(at, item)| {
        let mark = if at == menu.chosen { '>' } else { ' ' };
        let gap = " ".repeat(wide - item.label.width());
        let key = if keyed { format!("  {:<5}", item.key) } else { String::new() };
        let look = if at == menu.chosen { theme.chosen } else { Style::new() };
        (format!("{mark} {}{gap}{key}", item.label), look)
    });
    let height = usize::from(buffer.area.height).saturating_sub(2);
    let from = (menu.chosen + 1).saturating_sub(height);
    boxed(
        &words::menu::title(&menu.kind),
        rows.collect(),
        from,
        words::MENU_KEYS,
        theme,
        buffer,
        false,
    );
}

fn devices(view: &Interface, picker: &Picker, theme: &Theme, buffer: &mut Buffer) {
    let level = view.figures().level_db.unwrap_or(picker.level_db());
    let (shown, chosen) = picker.rows();
    let rows = shown.into_iter().map(|row| match row {
        PickerRow::Heading(kind) => {
            let mut text = words::device_heading(kind).to_owned();
            if let Some(beside) = picker.beside(kind) {
                text = format!("{text}: {}", printable(beside));
            }
            if kind == DeviceKind::Input {
                text = format!("{text}  {}", meter(level));
            }
            (text, theme.strong)
        }
        PickerRow::None => (format!("    {}", words::NO_DEVICE), theme.dim),
        PickerRow::Device(device, is_chosen) => {
            let mark = if is_chosen { '>' } else { ' ' };
            let used = if device.used { format!(" ({})", words::IN_USE) } else { String::new() };
            let look = if is_chosen { theme.chosen } else { Style::new() };
            (format!("{mark} {}{used}", printable(&device.name)), look)
        }
    });
    let height = usize::from(buffer.area.height).saturating_sub(2);
    let from = (chosen + 1).saturating_sub(height);
    boxed(words::DEVICES, rows.collect(), from, words::DEVICES_KEYS, theme, buffer, false);
}

/// Rows in a box in the middle of the screen, from one of them on.
fn boxed(
    title: &str,
    rows: Vec<(String, Style)>,
    from: usize,
    keys: &str,
    theme: &Theme,
    buffer: &mut Buffer,
    low: bool,
) {
    let screen = buffer.area;
    let texts = rows.iter().map(|(text, _)| text.width()).chain([title.width(), keys.width()]);
    let wide = u16::try_from(texts.max().unwrap_or(0)).unwrap_or(u16::MAX).saturating_add(4);
    let high = u16::try_from(rows.len()).unwrap_or(u16::MAX).saturating_add(2);
    // A form stays off the line that is typed on.
    let space = if low { screen.height.saturating_sub(1) } else { screen.height };
    let (width, height) = (wide.min(screen.width), high.min(space));
    let area = Rect {
        x: screen.x + (screen.width - width) / 2,
        y: screen.y + (space - height) / 2,
        width,
        height,
    };
    let inner = framed(title, keys, theme, area, buffer);
    for (y, (text, look)) in (inner.y..inner.bottom()).zip(rows.into_iter().skip(from)) {
        let width = usize::from(inner.width.saturating_sub(2));
        let text = fit(&text, width);
        let gap = " ".repeat(width.saturating_sub(text.width()));
        let line = Line::from(vec![Span::raw(" "), Span::styled(text + &gap, look)]);
        buffer.set_line(inner.x, y, &line, inner.width);
    }
}

/// An empty box; what is left inside it.
fn framed(title: &str, keys: &str, theme: &Theme, area: Rect, buffer: &mut Buffer) -> Rect {
    Clear.render(area, buffer);
    let mut block = Block::bordered().border_style(theme.dim);
    if !title.is_empty() {
        block = block.title(Line::styled(format!(" {title} "), theme.strong));
    }
    if !keys.is_empty() {
        block = block.title_bottom(Line::styled(format!(" {keys} "), theme.dim).right_aligned());
    }
    let inner = block.inner(area);
    block.render(area, buffer);
    inner
}

fn invite(line: &str, theme: &Theme, buffer: &mut Buffer) {
    let screen = buffer.area;
    let (across, down) = (usize::from(screen.width), usize::from(screen.height));
    let width = across.saturating_sub(4);
    let text = wrap(line, width, 0);
    let picture = qr::rows(line);
    let wide = picture.iter().flatten().map(|row| row.width()).max().unwrap_or(0);
    let mut rows: Vec<(String, Style)> = Vec::new();
    match picture {
        Some(picture) if wide <= width && picture.len() + text.len() + 2 <= down => {
            // Dark on light whatever the theme: not every reader takes it the other way round.
            rows.extend(picture.into_iter().map(|row| (row, qr::LOOK)));
        }
        // The line itself stands in the conversation, too: the picture alone is what helps.
        Some(picture) if wide <= across && picture.len() <= down => {
            return bare(&picture, wide, buffer);
        }
        _ => rows.push((words::INVITE_SMALL.to_owned(), theme.dim)),
    }
    rows.extend(text.into_iter().map(|row| (row, Style::new())));
    boxed(words::INVITE, rows, 0, words::INVITE_KEYS, theme, buffer, false);
}

/// A picture with nothing around it, where there is no room for more.
fn bare(picture: &[String], wide: usize, buffer: &mut Buffer) {
    let screen = buffer.area;
    let width = u16::try_from(wide).unwrap_or(screen.width).min(screen.width);
    let height = u16::try_from(picture.len()).unwrap_or(screen.height).min(screen.height);
    let (x, y) = ((screen.width - width) / 2, (screen.height - height) / 2);
    Clear.render(Rect { x, y, width, height }, buffer);
    for (y, row) in (y..screen.bottom()).zip(picture) {
        buffer.set_line(x, y, &Line::styled(row.as_str(), qr::LOOK), width);
    }
}
