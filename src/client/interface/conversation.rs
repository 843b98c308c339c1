//! What was said in one place: in a room, with one person, or to us alone. Pure.

use crate::net::limits::CONVERSATION_ENTRIES_MAX;
use crate::net::name::{RoomName, UserName};
use std::collections::VecDeque;

/// Where something is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// While we are in no room.
    Nowhere,
    /// In a room.
    Room(RoomName),
    /// With one person.
    Person(UserName),
}

impl Place {
    /// Whether both are the same place, whatever the case of their names.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nowhere, Self::Nowhere) => true,
            (Self::Room(a), Self::Room(b)) => a.folded() == b.folded(),
            (Self::Person(a), Self::Person(b)) => a.folded() == b.folded(),
            _ => false,
        }
    }
}

/// What kind of entry it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Somebody said it.
    Said,
    /// It was said before we came.
    Before,
    /// We said it.
    Own,
    /// News, or the answer to a command.
    Told,
    /// Something to be minded.
    Warning,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Its kind.
    pub kind: Kind,
    /// Who said it.
    pub who: Option<UserName>,
    /// What; fit to be shown, perhaps in several lines.
    pub text: String,
    /// It tells what he does.
    pub act: bool,
    /// It names us.
    pub mention: bool,
}

/// All that was said in one place, as far as it is kept.
#[derive(Debug, Clone)]
pub struct Conversation {
    /// Where.
    pub place: Place,
    /// What was said, the oldest first.
    pub entries: VecDeque<Entry>,
    /// How many texts the user has not seen yet.
    pub unread: usize,
    /// One of them names him.
    pub mentioned: bool,
}

impl Conversation {
    /// Nothing was said yet.
    #[must_use]
    pub fn new(place: Place) -> Self {
        Self { place, entries: VecDeque::new(), unread: 0, mentioned: false }
    }

    /// One more entry; the oldest goes where there are too many.
    pub fn push(&mut self, entry: Entry) {
        if self.entries.len() >= CONVERSATION_ENTRIES_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// The user sees it.
    pub fn seen(&mut self) {
        self.unread = 0;
        self.mentioned = false;
    }
}

/// Whether a text names this user: his name as a word of its own, in any case.
#[must_use]
pub fn names(text: &str, name: &UserName) -> bool {
    let (text, name) = (text.to_lowercase(), name.folded());
    let letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(&name).any(|(at, found)| {
        let before = text.get(..at).and_then(|t| t.chars().next_back());
        let after = text.get(at + found.len()..).and_then(|t| t.chars().next());
        !letter(before) && !letter(after)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Entry {
        Entry {
            at_ms: 0,
            kind: Kind::Said,
            who: None,
            text: text.to_owned(),
            act: false,
            mention: false,
        }
    }

    #[test]
    fn a_name_is_a_mention_only_as_a_word_of_its_own() {
        let ann = UserName::parse("Ann").unwrap();
        for text in ["ann: hi", "hi ANN!", "@ann", "(Ann)", "x, ann"] {
            assert!(names(text, &ann), "{text}");
        }
        for text in ["annoying", "Joann", "anna", "", "ann_x"] {
            assert!(!names(text, &ann), "{text}");
        }
        assert!(names("привет, Ёж", &UserName::parse("ёж").unwrap()));
    }

    #[test]
    fn the_oldest_goes_where_there_is_too_much() {
        let mut talk = Conversation::new(Place::Nowhere);
        (0..CONVERSATION_ENTRIES_MAX + 3).for_each(|k| talk.push(entry(&k.to_string())));
        assert_eq!(talk.entries.len(), CONVERSATION_ENTRIES_MAX);
        assert_eq!(talk.entries.front().unwrap().text, "3");
    }
}
