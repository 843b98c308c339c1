//! The key that talks: which keys there are to choose from, and what each is to a terminal and to the system. Pure.
//!
//! A key is a place on the keyboard, whatever the layout makes of it: the system numbers it (Linux's input codes,
//! of which X11's are the same and 8 more), a terminal tells what it types.

use super::app::{Key, KeyCode};
use super::texts::arguments as words;

/// What a terminal tells of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AtTerminal {
    /// One of these characters: Latin and Russian, without and with shift.
    Types(&'static str),
    /// A function key.
    Function(u8),
    /// A key without a character, by its number.
    Bare,
    /// Nothing: it is a button of the mouse.
    Nothing,
}

/// A key, or a button of the mouse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TalkKey {
    name: &'static str,
    code: u16,
    terminal: AtTerminal,
}

use AtTerminal::{Bare, Function, Nothing, Types};

const fn key(name: &'static str, code: u16, terminal: AtTerminal) -> TalkKey {
    TalkKey { name, code, terminal }
}

/// The key left of `1`.
const GRAVE: TalkKey = key("grave", 41, Types("`~ёЁ"));
/// The first button of a mouse, as a number of Linux.
const BUTTONS: u16 = 0x110;

/// All of them.
const KEYS: &[TalkKey] = &[
    GRAVE,
    key("f1", 59, Function(1)),
    key("f2", 60, Function(2)),
    key("f3", 61, Function(3)),
    key("f4", 62, Function(4)),
    key("f5", 63, Function(5)),
    key("f6", 64, Function(6)),
    key("f7", 65, Function(7)),
    key("f8", 66, Function(8)),
    key("f9", 67, Function(9)),
    key("f10", 68, Function(10)),
    key("f11", 87, Function(11)),
    key("f12", 88, Function(12)),
    key("f13", 183, Function(13)),
    key("f14", 184, Function(14)),
    key("f15", 185, Function(15)),
    key("f16", 186, Function(16)),
    key("f17", 187, Function(17)),
    key("f18", 188, Function(18)),
    key("f19", 189, Function(19)),
    key("f20", 190, Function(20)),
    key("f21", 191, Function(21)),
    key("f22", 192, Function(22)),
    key("f23", 193, Function(23)),
    key("f24", 194, Function(24)),
    key("a", 30, Types("aAфФ")),
    key("b", 48, Types("bBиИ")),
    key("c", 46, Types("cCсС")),
    key("d", 32, Types("dDвВ")),
    key("e", 18, Types("eEуУ")),
    key("f", 33, Types("fFаА")),
    key("g", 34, Types("gGпП")),
    key("h", 35, Types("hHрР")),
    key("i", 23, Types("iIшШ")),
    key("j", 36, Types("jJоО")),
    key("k", 37, Types("kKлЛ")),
    key("l", 38, Types("lLдД")),
    key("m", 50, Types("mMьЬ")),
    key("n", 49, Types("nNтТ")),
    key("o", 24, Types("oOщЩ")),
    key("p", 25, Types("pPзЗ")),
    key("q", 16, Types("qQйЙ")),
    key("r", 19, Types("rRкК")),
    key("s", 31, Types("sSыЫ")),
    key("t", 20, Types("tTеЕ")),
    key("u", 22, Types("uUгГ")),
    key("v", 47, Types("vVмМ")),
    key("w", 17, Types("wWцЦ")),
    key("x", 45, Types("xXчЧ")),
    key("y", 21, Types("yYнН")),
    key("z", 44, Types("zZяЯ")),
    key("space", 57, Types(" ")),
    key("insert", 110, Bare),
    key("pause", 119, Bare),
    key("scroll-lock", 70, Bare),
    key("caps-lock", 58, Bare),
    key("menu", 127, Bare),
    key("left-ctrl", 29, Bare),
    key("right-ctrl", 97, Bare),
    key("left-shift", 42, Bare),
    key("right-shift", 54, Bare),
    key("left-alt", 56, Bare),
    key("right-alt", 100, Bare),
    key("mouse-middle", BUTTONS + 2, Nothing),
    key("mouse4", BUTTONS + 3, Nothing),
    key("mouse5", BUTTONS + 4, Nothing),
];

/// What the system sees of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A key of the keyboard, as Linux numbers it.
    Key(u16),
    /// A button of the mouse, as Linux numbers it.
    Button(u16),
}

impl Default for TalkKey {
    fn default() -> Self {
        GRAVE
    }
}

impl TalkKey {
    /// The key of this name. Case and hyphens do not matter; a character may stand for the key that types it.
    ///
    /// # Errors
    /// There is none; in words, with examples.
    pub fn parse(name: &str) -> Result<Self, String> {
        let bare = |text: &str| text.replace(['-', '_', ' '], "").to_lowercase();
        let named = KEYS.iter().find(|key| bare(key.name) == bare(name));
        let mut all = name.chars();
        let one = all.next().filter(|_| all.next().is_none());
        let typed = one.and_then(|c| KEYS.iter().find(|key| key.types(c)));
        named.or(typed).copied().ok_or_else(|| words::no_such_key(name))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it is called beside the microphone's state.
    #[must_use]
    pub fn label(&self) -> String {
        match self.terminal {
            Types("`~ёЁ") => "`".to_owned(),
            Function(number) => format!("F{number}"),
            Types(_) | Bare | Nothing => self.name.to_owned(),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> Place {
        match self.terminal {
            Nothing => Place::Button(self.code),
            Types(_) | Function(_) | Bare => Place::Key(self.code),
        }
    }

    /// Whether a terminal can tell of it at all.
    #[must_use]
    pub fn is_at_terminal(&self) -> bool {
        self.terminal != Nothing
    }

    fn types(&self, c: char) -> bool {
        matches!(self.terminal, Types(all) if all.contains(c))
    }

    /// Whether a terminal types a character where it is pressed.
    #[must_use]
    pub fn types_text(&self) -> bool {
        matches!(self.terminal, Types(_))
    }

    /// Whether this key of the terminal, let go, is this one: with whatever other keys are held by then.
    #[must_use]
    pub fn is_let_go(&self, key: &Key) -> bool {
        self.is(&Key { ctrl: false, alt: false, ..*key }).is_some()
    }

    /// Whether a key of the terminal is this one, and the character that it types there, if it types any.
    #[must_use]
    pub fn is(&self, key: &Key) -> Option<Option<char>> {
        match (key.code, self.terminal) {
            // With Ctrl it is a command; what a modifier does to other keys does not concern them.
            (KeyCode::Char(c), Types(all)) if !key.ctrl && !key.alt && all.contains(c) => {
                Some(Some(c))
            }
            (KeyCode::Function(number), Function(own)) if number == own => Some(None),
            (KeyCode::Bare(code), Bare) if code == self.code => Some(None),
            _ => None,
        }
    }
}

impl std::str::FromStr for TalkKey {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::parse(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::app::KeyAction;
    use proptest::prelude::*;

    fn pressed(code: KeyCode) -> Key {
        Key { code, ctrl: false, alt: false, action: KeyAction::Press }
    }

    #[test]
    fn every_key_has_its_own_name_number_and_characters() {
        let mut chars = std::collections::BTreeSet::new();
        for (at, key) in KEYS.iter().enumerate() {
            assert_eq!(TalkKey::parse(key.name), Ok(*key));
            assert_eq!(TalkKey::parse(&key.name.to_uppercase()), Ok(*key));
            let others = || KEYS.iter().take(at);
            assert!(others().all(|other| other.code != key.code && other.name != key.name));
            if let Types(all) = key.terminal {
                assert!(all.chars().all(|c| chars.insert(c)), "{key:?}");
            }
        }
    }

    #[test]
    fn a_name_that_is_none_is_refused_with_examples() {
        for name in ["", "hyper", "mouse1", "f25", "ab", "`~"] {
            let why = TalkKey::parse(name).unwrap_err();
            assert!(why.contains("F8") && why.contains("mouse4"), "{why}");
        }
        assert_eq!(TalkKey::parse("ё").map(|key| key.name()), Ok("grave"));
        assert_eq!(TalkKey::parse("RightCtrl").map(|key| key.name()), Ok("right-ctrl"));
    }

    #[test]
    fn a_key_is_known_in_both_layouts_and_not_with_ctrl() {
        let v = TalkKey::parse("v").unwrap();
        assert_eq!(v.is(&pressed(KeyCode::Char('М'))), Some(Some('М')));
        assert_eq!(v.is(&Key { ctrl: true, ..pressed(KeyCode::Char('v')) }), None);
        assert_eq!(v.is(&pressed(KeyCode::Char('`'))), None);
        let f8 = TalkKey::parse("F8").unwrap();
        assert_eq!(f8.is(&pressed(KeyCode::Function(8))), Some(None), "it types nothing");
        assert_eq!((f8.label().as_str(), f8.place()), ("F8", Place::Key(66)));
        let mouse = TalkKey::parse("mouse4").unwrap();
        assert_eq!((mouse.place(), mouse.is_at_terminal()), (Place::Button(0x113), false));
        assert_eq!(TalkKey::default().label(), "`");
    }

    proptest! {
        #[test]
        fn any_text_is_a_key_or_an_error(text in ".{0,12}") {
            let _ = TalkKey::parse(&text);
        }
    }
}
