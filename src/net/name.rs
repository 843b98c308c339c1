//! Names of users and rooms: parsed once, then known to be fit to show.
//!
//! A name is Unicode NFC, trimmed, with single spaces, and with no control, invisible, formatting or unassigned
//! characters. Two names are the same when
//! they differ only in case, and look the same when their skeletons (UTS 39, section 4) agree.

use super::limits::{ROOM_NAME_CHARS_MAX, USER_NAME_CHARS_MAX};
use serde::{Deserialize, Serialize};
use std::fmt;
use unicode_normalization::UnicodeNormalization;
use unicode_security::GeneralSecurityProfile;
use unicode_security::confusable_detection::skeleton;
use unicode_security::general_security_profile::IdentifierType;

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing is left after trimming.
    #[error("the name is empty")]
    Empty,
    /// More characters than fit.
    #[error("the name is longer than {max} characters")]
    TooLong {
        /// How many characters fit.
        max: usize,
    },
    /// A control, invisible or direction-changing character.
    #[error("the name holds a character that cannot be shown (U+{code:04X})")]
    Unprintable {
        /// The first such character.
        code: u32,
    },
}

/// What must differ between two names in use at once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameKeys {
    /// The name without case.
    pub folded: String,
    /// What the name looks like as written.
    pub skeleton: String,
    /// What the name looks like in lower case.
    pub folded_skeleton: String,
}

fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}'
            | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{13430}'..='\u{1343F}'
            | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}'
            | '\u{E000}'..='\u{F8FF}' | '\u{E0000}'..='\u{E0FFF}' | '\u{F0000}'..='\u{10FFFF}')
}

/// What can be seen in a text, or does no harm there, and has no place in a name: it looks like nothing, or as
/// each screen likes, so that two names could not be told apart.
fn is_unfit_in_names(c: char) -> bool {
    // Characters that do not exist, or not yet, and those to be passed over where they cannot be shown.
    let nothing = matches!(
        c.identifier_type(),
        None | Some(IdentifierType::Not_Character | IdentifierType::Default_Ignorable)
    );
    // Blanks that are no white space, and what only says how others are drawn (general category Cf).
    let blank = matches!(
        c,
        '\u{2800}' | '\u{FFFC}' | '\u{1107F}' | '\u{13440}'
            ..='\u{13455}' | '\u{16FE4}' | '\u{1BC9D}' | '\u{1D159}'
    );
    let formatting = matches!(
        c,
        '\u{0600}'
            ..='\u{0605}'
                | '\u{06DD}'
                | '\u{070F}'
                | '\u{0890}'
                | '\u{0891}'
                | '\u{08E2}'
                | '\u{110BD}'
                | '\u{110CD}'
    );
    is_unfit(c) || nothing || blank || formatting
}

fn parse(text: &str, max: usize) -> Result<String, NameError> {
    // Four times the bound leaves room for compositions and keeps a hostile text from costing time.
    if text.chars().nth(max * 4).is_some() {
        return Err(NameError::TooLong { max });
    }
    let name: String = text.nfc().collect::<String>().trim().to_owned();
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(c) = name.chars().find(|c| is_unfit_in_names(*c)) {
        return Err(NameError::Unprintable { code: u32::from(c) });
    }
    // However wide it is: names must not differ in what nobody can count.
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    if name.chars().count() > max {
        return Err(NameError::TooLong { max });
    }
    Ok(name)
}

fn folded(name: &str) -> String {
    name.to_lowercase().nfc().collect()
}

fn keys(name: &str) -> NameKeys {
    let folded = folded(name);
    NameKeys {
        skeleton: skeleton(name).collect(),
        folded_skeleton: skeleton(&folded).collect(),
        folded,
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Parses a text into a name.
            ///
            /// # Errors
            /// The text is empty, too long, or holds a character that cannot be shown.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                parse(text, $max).map(Self)
            }

            /// The name as it is shown.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// What must differ between this name and every other in use.
            #[must_use]
            pub fn keys(&self) -> NameKeys {
                keys(&self.0)
            }

            /// The name without case.
            #[must_use]
            pub fn folded(&self) -> String {
                folded(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

name_type!(
    /// A user's name: 1 to 32 characters.
    UserName,
    USER_NAME_CHARS_MAX
);
name_type!(
    /// A room's name: 1 to 64 characters.
    RoomName,
    ROOM_NAME_CHARS_MAX
);

/// A text from a peer, made fit for a terminal: what could move a cursor, turn the direction of a
/// line or hide becomes U+FFFD, so that nothing of a peer's reaches another's screen but what can
/// be seen. Line feeds stay, and so do joiners where emoji, Arabic and Indic letters need them.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut before = None;
    let mut characters = text.chars().filter(|c| *c != '\r').peekable();
    let mut shown = String::with_capacity(text.len());
    while let Some(c) = characters.next() {
        let fit = c == '\n' || !is_invisible(c) || joins(before, c, characters.peek().copied());
        shown.push(if fit { c } else { '\u{FFFD}' });
        before = Some(c);
    }
    shown
}

/// Whether a character moves a cursor, turns a direction, or cannot be seen. Everything that a
/// name may not hold; but the variation selectors of emoji and private letters are shown in texts.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    let shown =
        matches!(c, '\u{FE00}'..='\u{FE0F}' | '\u{E000}'..='\u{F8FF}' | '\u{F0000}'..='\u{10FFFF}');
    is_unfit(c) && !shown
}

/// Whether `c` is a joiner that makes one sign of those around it.
fn joins(before: Option<char>, c: char, after: Option<char>) -> bool {
    let emoji =
        |c: char| matches!(c, '\u{2600}'..='\u{27BF}' | '\u{FE0F}' | '\u{1F000}'..='\u{1FAFF}');
    let letter = |c: char| matches!(c, '\u{0620}'..='\u{06FF}' | '\u{0900}'..='\u{0D7F}');
    match (before, c, after) {
        (Some(a), '\u{200D}', Some(b)) => (emoji(a) && emoji(b)) || (letter(a) && letter(b)),
        (Some(a), '\u{200C}', Some(b)) => letter(a) && letter(b),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str) -> UserName {
        UserName::parse(text).unwrap()
    }

    #[test]
    fn a_name_is_trimmed_and_composed() {
        assert_eq!(user("  Zoe\u{308} ").as_str(), "Zo\u{eb}");
    }

    #[test]
    fn unfit_names_say_why() {
        assert_eq!(UserName::parse(" \t"), Err(NameError::Empty));
        assert_eq!(UserName::parse("a\u{1b}[2J"), Err(NameError::Unprintable { code: 0x1b }));
        assert_eq!(UserName::parse("a\u{202e}b"), Err(NameError::Unprintable { code: 0x202e }));
        assert_eq!(UserName::parse(&"x".repeat(33)), Err(NameError::TooLong { max: 32 }));
        assert!(UserName::parse(&"ж".repeat(32)).is_ok());
        assert!(RoomName::parse(&"ж".repeat(64)).is_ok());
        assert!(UserName::parse(&"e\u{301}".repeat(32)).is_ok());
    }

    #[test]
    fn nothing_blank_or_unassigned_makes_another_name() {
        for c in [
            '\u{2800}',
            '\u{1D159}',
            '\u{16FE4}',
            '\u{13430}',
            '\u{13441}',
            '\u{1107F}',
            '\u{0378}',
            '\u{FFFF}',
            '\u{1FFFE}',
            '\u{FDD0}',
            '\u{1BCA0}',
            '\u{1BCA3}',
            '\u{1BC9D}',
            '\u{0600}',
            '\u{110CD}',
            '\u{FFFC}',
            '\u{E000}',
            '\u{3164}',
        ] {
            for text in [format!("{c}"), format!("ann{c}"), format!("a{c}nn")] {
                let code = u32::from(c);
                assert_eq!(
                    UserName::parse(&text),
                    Err(NameError::Unprintable { code }),
                    "{text:?}"
                );
                assert_eq!(
                    RoomName::parse(&text),
                    Err(NameError::Unprintable { code }),
                    "{text:?}"
                );
            }
        }
        for space in ["  ", "\u{A0}", "\u{2003}\u{2003}", " \u{3000} "] {
            assert_eq!(user(&format!("ann{space}b")), user("ann b"), "{space:?}");
        }
        assert_eq!(printable("a\u{1BCA0}b\u{1BCA3}"), "a\u{FFFD}b\u{FFFD}");
    }

    #[test]
    fn names_of_all_the_world_are_names() {
        for name in [
            "O'Neil-Smith",
            "Łukasz",
            "Ёжик",
            "Ελένη",
            "שרה",
            "فاطمة",
            "अनीता",
            "நிலா",
            "ธนา",
            "さくら",
            "サクラ",
            "佐藤",
            "김민준",
            "Հայկ",
            "თამარ",
            "ሰላም",
            "R2-D2 & co. [bot]",
            "x_☃_✓",
            "🦀 Ferris",
            "½ €5",
        ] {
            assert_eq!(UserName::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn case_does_not_make_another_name() {
        assert_eq!(user("Анна").keys().folded, user("АННА").keys().folded);
        assert_ne!(user("Анна").keys().folded, user("Алла").keys().folded);
    }

    #[test]
    fn look_alikes_across_scripts_share_a_skeleton() {
        // The second is written with Cyrillic letters only.
        let latin = user("pace");
        let cyrillic = user("расе");
        assert_ne!(latin.keys().folded, cyrillic.keys().folded);
        assert_eq!(latin.keys().skeleton, cyrillic.keys().skeleton);
        // Another case does not hide the likeness.
        assert_eq!(user("PACE").keys().folded_skeleton, user("расе").keys().folded_skeleton);
    }

    #[test]
    fn honest_cyrillic_names_stay_apart_from_latin_ones() {
        for (a, b) in [("Вова", "Boba"), ("Анна", "Anna"), ("Нина", "Huha")] {
            let (a, b) = (user(a).keys(), user(b).keys());
            assert_ne!(a.skeleton, b.skeleton);
            assert_ne!(a.folded_skeleton, b.folded_skeleton);
        }
    }

    #[test]
    fn printable_text_has_no_escape() {
        assert_eq!(printable("a\u{1b}[31mb\r\nc\u{9b}"), "a\u{FFFD}[31mb\nc\u{FFFD}");
    }

    #[test]
    fn printable_text_hides_and_turns_nothing() {
        for c in [
            '\u{202E}',
            '\u{2067}',
            '\u{200E}',
            '\u{200B}',
            '\u{200D}',
            '\u{2028}',
            '\u{FEFF}',
            '\u{E0041}',
        ] {
            assert_eq!(printable(&format!("a{c}b")), "a\u{FFFD}b", "{c:?}");
        }
        // A family of three, a heart, a Persian word.
        for text in ["👩\u{200D}👩\u{200D}👦", "❤\u{FE0F}", "می\u{200C}خواهم"] {
            assert_eq!(printable(text), text);
        }
    }
}
