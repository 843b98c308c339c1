//! Draws the full-screen interface into a buffer of cells. Reads the state, changes nothing, and
//! writes to no terminal.
//!
//! Whatever a colour says, a sign or a word says too. What peers wrote was made fit to be shown
//! before it came here; what still could not be shown has no width and is left out by the buffer.

mod overlay;
mod panels;
mod people;
pub mod qr;
pub mod theme;

use crate::client::interface::Interface;
use crate::client::interface::layout::Area;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use theme::Theme;

/// Draws everything; where the cursor stands, if it is to be seen.
pub fn draw(view: &Interface, theme: &Theme, buffer: &mut Buffer) -> Option<Position> {
    let panels = view.panels();
    panels::title(view, theme, panels.title, buffer);
    people::list(view, theme, panels.list, buffer);
    panels::rule(theme, panels.rule, buffer);
    panels::chat(view, theme, panels.chat, buffer);
    panels::state(view, theme, panels.state, buffer);
    let cursor = panels::line(view, theme, panels.line, buffer);
    overlay::draw(view, theme, buffer, cursor)
}

/// Spans in one row of an area; what does not fit is cut off.
fn row(spans: Vec<Span<'_>>, area: Area, y: u16, buffer: &mut Buffer) {
    if y < area.height && area.width > 0 {
        buffer.set_line(area.x, area.y + y, &Line::from(spans), area.width);
    }
}

/// All of an area in one look.
fn fill(area: Area, look: Style, buffer: &mut Buffer) {
    let Area { x, y, width, height } = area;
    buffer.set_style(Rect { x, y, width, height }, look);
}

#[cfg(test)]
mod pictures;
#[cfg(test)]
mod tests;
