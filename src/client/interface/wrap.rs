//! Breaks a text into rows that fit, by what its characters take on a screen. Pure.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Breaks a text at its line feeds and spaces into rows of at most `width` columns; rows after the
/// first are `indent` columns narrower. A word that is wider than a row is broken inside, and never
/// between a character and its marks.
#[must_use]
pub fn wrap(text: &str, width: usize, indent: usize) -> Vec<String> {
    let mut rows = Vec::new();
    for line in text.split('\n') {
        wrap_line(line, width.max(1), indent, &mut rows);
    }
    rows
}

/// How far the second and further rows of an entry are set in.
#[must_use]
pub fn indent(width: usize) -> usize {
    if width >= 30 { 6 } else { 1 }
}

fn wrap_line(line: &str, width: usize, indent: usize, rows: &mut Vec<String>) {
    let narrow = width.saturating_sub(indent).max(1);
    let (mut row, mut used) = (String::new(), 0);
    let begun = rows.len();
    for word in line.split_inclusive(' ') {
        let fits = |rows: &Vec<String>| {
            if rows.is_empty() && begun == 0 { width } else { narrow }
        };
        let wide = word.trim_end_matches(' ').width();
        if used > 0 && used + wide > fits(rows) {
            rows.push(std::mem::take(&mut row).trim_end_matches(' ').to_owned());
            used = 0;
        }
        for cluster in word.graphemes(true) {
            let columns = cluster.width();
            let blank = cluster == " ";
            if used + columns > fits(rows) {
                if blank {
                    continue;
                }
                if used > 0 {
                    rows.push(std::mem::take(&mut row));
                    used = 0;
                }
            }
            row.push_str(cluster);
            used += columns;
        }
    }
    rows.push(row.trim_end_matches(' ').to_owned());
}

/// The start of a text that fits into so many columns, with a mark where it was cut.
#[must_use]
pub fn fit(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let (mut cut, mut used) = (String::new(), 1);
    for cluster in text.graphemes(true) {
        used += cluster.width();
        if used > width {
            break;
        }
        cut.push_str(cluster);
    }
    if width > 0 {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_break_at_spaces_and_line_feeds() {
        assert_eq!(wrap("one two three", 8, 0), ["one two", "three"]);
        assert_eq!(wrap("one two three", 8, 4), ["one two", "thre", "e"]);
        assert_eq!(wrap("a\n\nb", 8, 0), ["a", "", "b"]);
        assert_eq!(wrap("", 8, 0), [""]);
    }

    #[test]
    fn wide_characters_and_marks_stay_whole() {
        assert_eq!(wrap("日本語", 5, 0), ["日本", "語"]);
        assert_eq!(wrap("ae\u{301}e\u{301}", 2, 0), ["ae\u{301}", "e\u{301}"]);
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("abc", 3), "abc");
        assert_eq!(fit("abc", 0), "");
    }

    proptest! {
        #[test]
        fn rows_fit_and_nothing_but_blanks_is_lost(text in "[a-cж日é \n]{0,60}", width in 2usize..20,
                                                   indent in 0usize..6) {
            let rows = wrap(&text, width, indent);
            for row in &rows {
                prop_assert!(row.width() <= width, "{row:?}");
            }
            let bare = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(bare(&rows.concat()), bare(&text));
        }
    }
}
