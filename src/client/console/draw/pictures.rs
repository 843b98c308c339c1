//! Screens as pictures for the README: what a test draws, as SVG.

use super::theme::{Theme, ThemeChoice};
use super::*;
use crate::client::app::KeyCode;
use crate::client::console::draw::tests::busy;
use crate::client::interface::tests::Bench;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Cell;
use ratatui::style::{Color, Modifier};
use std::fmt::Write;
use unicode_width::UnicodeWidthStr;

/// Size of a cell and of the margin around all, in units of the picture.
const CELL: (f32, f32) = (8.4, 18.0);
const MARGIN: f32 = 12.0;
/// Colours of a terminal that has not been told otherwise.
const PAPER: &str = "#16181d";
const INK: &str = "#d7dae0";

fn hex(colour: Color, otherwise: &'static str) -> &'static str {
    match colour {
        Color::Yellow => "#e5c07b",
        Color::Green => "#98c379",
        Color::Cyan => "#56b6c2",
        Color::LightRed | Color::Red => "#e06c75",
        Color::Blue => "#61afef",
        Color::Magenta => "#c678dd",
        _ => otherwise,
    }
}

/// How a cell looks: ink, paper, and its modifiers.
fn look(cell: &Cell) -> (&'static str, &'static str, Modifier) {
    let (ink, paper) = (hex(cell.fg, INK), hex(cell.bg, PAPER));
    match cell.modifier.contains(Modifier::REVERSED) {
        true => (paper, ink, cell.modifier),
        false => (ink, paper, cell.modifier),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The screen as SVG.
fn picture(bench: &Bench) -> String {
    let size = bench.view.size();
    let mut terminal = Terminal::new(TestBackend::new(size.width, size.height)).unwrap();
    let theme = Theme::new(ThemeChoice::Dark);
    let paint = |frame: &mut ratatui::Frame| {
        let _ = draw(&bench.view, &theme, frame.buffer_mut());
    };
    terminal.draw(paint).unwrap();
    let buffer = terminal.backend().buffer();
    let (width, height) = (
        f32::from(size.width) * CELL.0 + 2.0 * MARGIN,
        f32::from(size.height) * CELL.1 + 2.0 * MARGIN,
    );
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"14\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{PAPER}\"/>\n"
    );
    for y in 0..size.height {
        let mut x = 0;
        while x < size.width {
            // Cells that look the same are drawn together.
            let (begin, looks) = (x, look(buffer.cell((x, y)).unwrap()));
            let mut text = String::new();
            while x < size.width && look(buffer.cell((x, y)).unwrap()) == looks {
                let symbol = buffer.cell((x, y)).unwrap().symbol();
                text.push_str(symbol);
                x += u16::try_from(symbol.width()).unwrap().max(1);
            }
            let (left, top) = (MARGIN + f32::from(begin) * CELL.0, MARGIN + f32::from(y) * CELL.1);
            let long = f32::from(x - begin) * CELL.0;
            let (ink, paper, modifier) = looks;
            if paper != PAPER {
                let _ = writeln!(
                    svg,
                    "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{long:.1}\" height=\"{}\" fill=\"{paper}\"/>",
                    CELL.1
                );
            }
            if text.trim().is_empty() {
                continue;
            }
            let mut style = String::new();
            for (with, how) in [
                (Modifier::BOLD, " font-weight=\"bold\""),
                (Modifier::DIM, " opacity=\"0.6\""),
                (Modifier::UNDERLINED, " text-decoration=\"underline\""),
            ] {
                if modifier.contains(with) {
                    style.push_str(how);
                }
            }
            let base = top + 13.5;
            let _ = writeln!(
                svg,
                "<text x=\"{left:.1}\" y=\"{base:.1}\" textLength=\"{long:.1}\" lengthAdjust=\"spacingAndGlyphs\" fill=\"{ink}\"{style} xml:space=\"preserve\">{}</text>",
                escaped(&text)
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// The picture is the one in `docs/pictures`; with PARLOR_SCREENS=write it is written there.
fn is_pictured(bench: &Bench, name: &str) {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/pictures");
    let (path, shown) = (format!("{directory}/{name}.svg"), picture(bench));
    if std::env::var("PARLOR_SCREENS").is_ok_and(|wish| wish == "write") {
        std::fs::create_dir_all(directory).unwrap();
        std::fs::write(&path, &shown).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == shown, "docs/pictures/{name}.svg is old: scripts/pictures draws it anew");
}

#[test]
fn the_readme_shows_what_there_is() {
    let mut bench = busy(88, 20);
    is_pictured(&bench, "room");
    bench.press(KeyCode::Function(2));
    is_pictured(&bench, "menu");
}
