//! A text as a QR code of half blocks: two of its rows in one of the screen.

use qrcode::{Color, EcLevel, QrCode};
use ratatui::style::{Color as Shade, Style};

/// How it looks on any screen.
pub const LOOK: Style = Style::new().fg(Shade::Black).bg(Shade::White);
/// Empty modules around it: the standard asks for four, readers do with two.
const QUIET: usize = 2;

/// The rows of the code; none for a text that is too long for one.
#[must_use]
pub fn rows(text: &str) -> Option<Vec<String>> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let (width, modules) = (code.width(), code.to_colors());
    let dark = |x: usize, y: usize| {
        let inside = |at: usize| at.checked_sub(QUIET).filter(|at| *at < width);
        let module = inside(x).zip(inside(y)).and_then(|(x, y)| modules.get(y * width + x));
        module == Some(&Color::Dark)
    };
    let side = width + 2 * QUIET;
    let row = |y: usize| {
        let sign = |x| match (dark(x, y), dark(x, y + 1)) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        };
        (0..side).map(sign).collect()
    };
    Some((0..side).step_by(2).map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_a_square_with_its_three_corners() {
        let rows = rows("parlor://127.0.0.1:8888/den#x").unwrap();
        let side = rows[0].chars().count();
        assert_eq!(rows.len(), side.div_ceil(2));
        assert!(rows.iter().all(|row| row.chars().count() == side));
        assert_eq!(rows[0].trim(), "", "a quiet edge");
        assert!(rows[1].starts_with("  █▀▀▀▀▀█ "), "{}", rows[1]);
        assert!(rows[1].ends_with(" █▀▀▀▀▀█  "), "{}", rows[1]);
    }

    #[test]
    fn a_text_without_end_has_no_code() {
        assert_eq!(rows(&"x".repeat(10_000)), None);
    }
}
