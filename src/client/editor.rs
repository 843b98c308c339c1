//! The line that is being typed: characters, cursor, history. Pure; knows nothing of a terminal.
//!
//! The cursor moves over whole user-perceived characters: a base character with the combining
//! marks, joiners and variation selectors behind it. Line feeds come in by a paste and are shown
//! as `⏎`.

use crate::net::limits::{INPUT_CHARS_MAX, INPUT_HISTORY_MAX};
use std::collections::VecDeque;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How a line feed is shown inside the line.
const LINE_FEED_SHOWN: &str = "⏎";

/// What is done to the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// A character is typed.
    Insert(char),
    /// A text is pasted.
    Paste(String),
    /// The character before the cursor is deleted.
    Backspace,
    /// The character under the cursor is deleted.
    Delete,
    /// One character back.
    Left,
    /// One character on.
    Right,
    /// One word back.
    WordLeft,
    /// One word on.
    WordRight,
    /// To the start.
    Home,
    /// To the end.
    End,
    /// All before the cursor is deleted.
    KillToStart,
    /// All from the cursor on is deleted.
    KillToEnd,
    /// The word before the cursor is deleted.
    KillWord,
    /// The line before this one in history.
    Older,
    /// The line after this one in history.
    Newer,
}

/// The line, its cursor and its history.
#[derive(Debug, Clone, Default)]
pub struct Editor {
    /// User-perceived characters.
    line: Vec<String>,
    /// How many of them stand before the cursor.
    cursor: usize,
    history: VecDeque<String>,
    /// Which line of history is shown, counted from the newest, and what was typed before.
    recalled: Option<(usize, String)>,
}

/// The part of the line that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visible {
    /// The text, at most as wide as asked for.
    pub text: String,
    /// Columns of it before the cursor.
    pub cursor: usize,
}

impl Editor {
    /// The text as it would be sent.
    #[must_use]
    pub fn text(&self) -> String {
        self.line.concat()
    }

    /// Whether nothing is on the line.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// Does one edit.
    pub fn edit(&mut self, edit: Edit) {
        match edit {
            Edit::Insert(c) => self.insert(c),
            Edit::Paste(text) => {
                // Line ends of every system become line feeds; one at the end is not wanted.
                let text = text.replace("\r\n", "\n").replace('\r', "\n");
                text.trim_end_matches('\n').chars().for_each(|c| self.insert(c));
            }
            Edit::Backspace if self.cursor > 0 => {
                self.cursor -= 1;
                self.line.remove(self.cursor);
            }
            Edit::Delete if self.cursor < self.line.len() => {
                self.line.remove(self.cursor);
            }
            Edit::Backspace | Edit::Delete => {}
            Edit::Left => self.cursor = self.cursor.saturating_sub(1),
            Edit::Right => self.cursor = (self.cursor + 1).min(self.line.len()),
            Edit::WordLeft => self.cursor = self.word_start(),
            Edit::WordRight => {
                let rest = self.line.iter().skip(self.cursor);
                let rest = rest.skip_while(|c| is_space(c)).skip_while(|c| !is_space(c));
                self.cursor = self.line.len() - rest.count();
            }
            Edit::Home => self.cursor = 0,
            Edit::End => self.cursor = self.line.len(),
            Edit::KillToStart => {
                self.line.drain(..self.cursor);
                self.cursor = 0;
            }
            Edit::KillToEnd => self.line.truncate(self.cursor),
            Edit::KillWord => {
                let start = self.word_start();
                self.line.drain(start..self.cursor);
                self.cursor = start;
            }
            Edit::Older => self.recall(1),
            Edit::Newer => self.recall(-1),
        }
    }

    /// Takes the line away to be sent, and remembers it.
    pub fn submit(&mut self) -> String {
        let text = self.text();
        self.line.clear();
        self.cursor = 0;
        self.recalled = None;
        let keep = !text.trim().is_empty() && !super::command::is_secret(&text);
        if keep && self.history.back() != Some(&text) {
            if self.history.len() >= INPUT_HISTORY_MAX {
                self.history.pop_front();
            }
            self.history.push_back(text.clone());
        }
        text
    }

    /// The text before the cursor.
    #[must_use]
    pub fn before(&self) -> String {
        self.line.iter().take(self.cursor).map(String::as_str).collect()
    }

    /// Puts `text` where the last `characters` before the cursor are.
    pub fn replace_before(&mut self, characters: usize, text: &str) {
        let mut left = characters;
        while left > 0 && self.cursor > 0 {
            self.cursor -= 1;
            let gone = self.line.remove(self.cursor);
            left = left.saturating_sub(gone.chars().count());
        }
        text.chars().for_each(|c| self.insert(c));
    }

    /// The lines that were sent, the oldest first.
    pub fn history(&self) -> impl Iterator<Item = &str> {
        self.history.iter().map(String::as_str)
    }

    /// The part around the cursor that fits into `width` columns.
    #[must_use]
    pub fn visible(&self, width: usize) -> Visible {
        let shown = |k: usize| self.line.get(k).map_or("", |cluster| show(cluster));
        // One column stays for the cursor behind the last character.
        let room = width.saturating_sub(1);
        let (mut start, mut before) = (self.cursor, 0);
        while start > 0 && before + shown(start - 1).width() <= room {
            start -= 1;
            before += shown(start).width();
        }
        let (mut text, mut used) = (String::new(), 0);
        for k in start..self.line.len() {
            let cluster = shown(k);
            used += cluster.width();
            if used > room {
                break;
            }
            text.push_str(cluster);
        }
        Visible { text, cursor: before }
    }

    fn insert(&mut self, c: char) {
        let c = if c == '\t' { ' ' } else { c };
        let unfit = c.is_control() && c != '\n';
        if unfit || self.line.iter().map(|k| k.chars().count()).sum::<usize>() >= INPUT_CHARS_MAX {
            return;
        }
        let before = self.cursor.checked_sub(1).and_then(|k| self.line.get_mut(k));
        match before {
            // A mark joins the character before it, and so does what follows a joiner.
            Some(cluster) if cluster != "\n" && (is_mark(c) || cluster.ends_with('\u{200D}')) => {
                cluster.push(c);
            }
            _ => {
                self.line.insert(self.cursor, c.to_string());
                self.cursor += 1;
            }
        }
    }

    fn word_start(&self) -> usize {
        let back = self.line.iter().take(self.cursor).rev();
        back.skip_while(|c| is_space(c)).skip_while(|c| !is_space(c)).count()
    }

    fn recall(&mut self, step: isize) {
        let shown = self.recalled.as_ref().map_or(0, |(at, _)| at + 1);
        let Some(wanted) = shown.checked_add_signed(step) else { return };
        if wanted > self.history.len() {
            return;
        }
        let typed = match self.recalled.take() {
            Some((_, typed)) => typed,
            None => self.text(),
        };
        let text = match wanted.checked_sub(1) {
            Some(at) => {
                let line = self.history.iter().rev().nth(at).cloned().unwrap_or_default();
                self.recalled = Some((at, typed));
                line
            }
            None => typed,
        };
        self.line.clear();
        self.cursor = 0;
        text.chars().for_each(|c| self.insert(c));
    }
}

fn show(cluster: &str) -> &str {
    if cluster == "\n" { LINE_FEED_SHOWN } else { cluster }
}

fn is_space(cluster: &str) -> bool {
    cluster.chars().all(char::is_whitespace)
}

fn is_mark(c: char) -> bool {
    c != '\n' && c.width() == Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn typed(text: &str) -> Editor {
        let mut editor = Editor::default();
        text.chars().for_each(|c| editor.edit(Edit::Insert(c)));
        editor
    }

    fn after(text: &str, edits: &[Edit]) -> (String, usize) {
        let mut editor = typed(text);
        edits.iter().for_each(|edit| editor.edit(edit.clone()));
        (editor.text(), editor.cursor)
    }

    #[test]
    fn characters_are_inserted_and_deleted_at_the_cursor() {
        assert_eq!(after("abd", &[Edit::Left, Edit::Insert('c')]), ("abcd".into(), 3));
        assert_eq!(after("abc", &[Edit::Left, Edit::Backspace]), ("ac".into(), 1));
        assert_eq!(after("abc", &[Edit::Home, Edit::Delete]), ("bc".into(), 0));
        assert_eq!(
            after("", &[Edit::Backspace, Edit::Delete, Edit::Left, Edit::Right]),
            ("".into(), 0)
        );
    }

    #[test]
    fn words_and_ends_are_killed() {
        assert_eq!(after("one two  ", &[Edit::KillWord]), ("one ".into(), 4));
        assert_eq!(after("one two", &[Edit::WordLeft, Edit::KillToStart]), ("two".into(), 0));
        assert_eq!(
            after("one two", &[Edit::Home, Edit::WordRight, Edit::KillToEnd]),
            ("one".into(), 3)
        );
        assert_eq!(after("one", &[Edit::Home, Edit::End]), ("one".into(), 3));
    }

    #[test]
    fn a_character_with_its_marks_is_one_step_and_one_deletion() {
        assert_eq!(after("e\u{301}x", &[Edit::Left, Edit::Left]), ("e\u{301}x".into(), 0));
        assert_eq!(after("ae\u{301}", &[Edit::Backspace]), ("a".into(), 1));
        let family = "👩\u{200D}👧";
        assert_eq!(after(family, &[Edit::Backspace]), ("".into(), 0));
    }

    #[test]
    fn wide_characters_take_two_columns_and_the_cursor_stays_in_sight() {
        let mut editor = typed("日本語");
        assert_eq!(editor.visible(20), Visible { text: "日本語".into(), cursor: 6 });
        assert_eq!(editor.visible(6), Visible { text: "本語".into(), cursor: 4 });
        editor.edit(Edit::Home);
        assert_eq!(editor.visible(6), Visible { text: "日本".into(), cursor: 0 });
        assert_eq!(editor.visible(0), Visible { text: "".into(), cursor: 0 });
    }

    #[test]
    fn a_paste_with_line_feeds_stays_one_text() {
        let mut editor = Editor::default();
        editor.edit(Edit::Paste("one\r\ntwo\u{1b}[31m\n".into()));
        assert_eq!(editor.visible(40).text, "one⏎two[31m");
        assert_eq!(editor.submit(), "one\ntwo[31m");
        assert!(editor.is_empty());
    }

    #[test]
    fn history_goes_back_and_returns_to_what_was_typed() {
        let mut editor = typed("one");
        editor.submit();
        "two".chars().for_each(|c| editor.edit(Edit::Insert(c)));
        editor.submit();
        editor.edit(Edit::Insert('x'));
        for (edit, text) in [
            (Edit::Older, "two"),
            (Edit::Older, "one"),
            (Edit::Older, "one"),
            (Edit::Newer, "two"),
            (Edit::Newer, "x"),
            (Edit::Newer, "x"),
        ] {
            editor.edit(edit);
            assert_eq!(editor.text(), text);
        }
    }

    #[test]
    fn what_stands_before_the_cursor_is_completed_in_its_place() {
        let mut editor = typed("hi Ан, there");
        (0..7).for_each(|_| editor.edit(Edit::Left));
        assert_eq!(editor.before(), "hi Ан");
        editor.replace_before(2, "Анна");
        assert_eq!((editor.text().as_str(), editor.cursor), ("hi Анна, there", 7));
        editor.replace_before(99, "");
        assert_eq!(editor.text(), ", there");
    }

    #[test]
    fn an_invite_stands_in_no_history() {
        let mut editor = typed("parlor://h/#.secret");
        assert_eq!(editor.submit(), "parlor://h/#.secret");
        editor.edit(Edit::Older);
        assert!(editor.is_empty());
    }

    #[test]
    fn the_line_and_its_history_have_a_bound() {
        let mut editor = typed(&"x".repeat(INPUT_CHARS_MAX + 5));
        assert_eq!(editor.text().len(), INPUT_CHARS_MAX);
        for k in 0..INPUT_HISTORY_MAX + 9 {
            editor.edit(Edit::Paste(k.to_string()));
            editor.submit();
        }
        assert_eq!(editor.history.len(), INPUT_HISTORY_MAX);
    }

    fn any_edit() -> impl Strategy<Value = Edit> {
        prop_oneof![
            any::<char>().prop_map(Edit::Insert),
            ".{0,9}".prop_map(Edit::Paste),
            prop::sample::select(vec![
                Edit::Backspace,
                Edit::Delete,
                Edit::Left,
                Edit::Right,
                Edit::WordLeft,
                Edit::WordRight,
                Edit::Home,
                Edit::End,
                Edit::KillToStart,
                Edit::KillToEnd,
                Edit::KillWord,
                Edit::Older,
                Edit::Newer,
            ]),
        ]
    }

    proptest! {
        #[test]
        fn any_edits_leave_a_line_that_can_be_shown(edits in prop::collection::vec(any_edit(), 0..80),
                                                    width in 0usize..40) {
            let mut editor = Editor::default();
            for edit in edits {
                if edit == Edit::Home {
                    editor.submit();
                }
                editor.edit(edit);
                prop_assert!(editor.cursor <= editor.line.len());
                let visible = editor.visible(width);
                prop_assert!(visible.text.width() <= width);
                prop_assert!(visible.cursor <= width);
                prop_assert!(!visible.text.contains(char::is_control));
            }
        }
    }
}
