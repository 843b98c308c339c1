//! What comes from the terminal, as input; and the codes that change what it sends.
//!
//! The protocol that reports releases names keys, not what AltGr makes of them: while it is used,
//! the terminal is asked for text instead, and nothing talks.

use super::{keys, tty};
use crate::client::app::{Input, KeyAction, KeyCode};
use crate::client::ptt::Release;
use crate::client::talk_key::TalkKey;
use crossterm::event::{Event as TerminalEvent, KeyEvent, KeyEventKind};
use std::time::{Duration, Instant};

/// How long after AltGr, or the last key, keys still come as text.
const ALT_GR_TIME: Duration = Duration::from_millis(700);

/// The keyboard of a terminal.
#[derive(Debug)]
pub struct Keyboard {
    release: Release,
    talk_key: TalkKey,
    /// AltGr was pressed: until then keys come as text, as the layout makes it.
    alt_gr: Option<Instant>,
    /// Codes for the terminal's modes, to go out with the next frame.
    codes: String,
}

impl Keyboard {
    /// A keyboard whose releases are known so, and whose talk key is this.
    #[must_use]
    pub fn new(release: Release, talk_key: TalkKey) -> Self {
        Self { release, talk_key, alt_gr: None, codes: String::new() }
    }

    /// How it is known that a key was let go.
    #[must_use]
    pub fn release(&self) -> Release {
        self.release
    }

    /// What an event of the terminal means, if anything.
    pub fn input(&mut self, event: TerminalEvent, now: Instant) -> Option<Input> {
        match event {
            TerminalEvent::Key(key) => self.key(key, now),
            TerminalEvent::Paste(text) => Some(Input::Paste(text)),
            TerminalEvent::FocusLost => Some(Input::FocusLost),
            TerminalEvent::FocusGained => Some(Input::FocusGained),
            TerminalEvent::Resize(..) | TerminalEvent::Mouse(_) => None,
        }
    }

    fn key(&mut self, key: KeyEvent, now: Instant) -> Option<Input> {
        let kitty = self.release == Release::Reported && !cfg!(windows);
        if kitty && keys::is_alt_gr(&key) {
            if key.kind == KeyEventKind::Press {
                if self.alt_gr.replace(now + ALT_GR_TIME).is_none() {
                    self.codes.push_str(tty::KEYS_AS_TEXT);
                }
                return Some(Input::FocusLost);
            }
            return None;
        }
        let translated = keys::translate(key, self.release)?;
        let talks = self.talk_key.is(&translated);
        // Shift and the like mean nothing by themselves.
        if matches!(translated.code, KeyCode::Bare(_)) && talks.is_none() {
            return None;
        }
        if let Some(until) = &mut self.alt_gr {
            *until = now + ALT_GR_TIME;
            if let Some(Some(c)) = talks {
                let typed = translated.action != KeyAction::Release;
                return typed.then(|| Input::Paste(c.to_string()));
            }
        }
        Some(Input::Key(translated))
    }

    /// When [`Keyboard::tick`] must come.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.alt_gr
    }

    /// Time has passed: AltGr may be over.
    pub fn tick(&mut self, now: Instant) {
        if self.alt_gr.is_some_and(|until| now >= until) {
            self.alt_gr = None;
            self.codes.push_str(tty::KEYS_WITH_RELEASE);
        }
    }

    /// Codes that the terminal must get.
    pub fn codes(&mut self) -> String {
        std::mem::take(&mut self.codes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;
    use crossterm::event::{KeyCode as Code, KeyModifiers, ModifierKeyCode};

    #[test]
    fn while_alt_gr_is_used_the_terminal_is_asked_for_text_and_nothing_talks() {
        let (mut keyboard, now) =
            (Keyboard::new(Release::Reported, TalkKey::default()), clock::now());
        let key = |code| TerminalEvent::Key(KeyEvent::new(code, KeyModifiers::NONE));
        let alt_gr = key(Code::Modifier(ModifierKeyCode::IsoLevel3Shift));
        assert_eq!(keyboard.input(alt_gr, now), Some(Input::FocusLost));
        assert_eq!(keyboard.codes(), tty::KEYS_AS_TEXT);
        let typed = keyboard.input(key(Code::Char('`')), now);
        assert_eq!(typed, Some(Input::Paste("`".into())));
        keyboard.tick(now + ALT_GR_TIME);
        assert_eq!(keyboard.codes(), tty::KEYS_WITH_RELEASE);
        assert_eq!(keyboard.deadline(), None);
        assert!(matches!(keyboard.input(key(Code::Char('`')), now), Some(Input::Key(_))));
    }

    #[test]
    fn keys_without_characters_come_only_where_they_talk() {
        let now = clock::now();
        let press = |keyboard: &mut Keyboard, code| {
            keyboard.input(TerminalEvent::Key(KeyEvent::new(code, KeyModifiers::NONE)), now)
        };
        let right = Code::Modifier(ModifierKeyCode::RightControl);
        let left = Code::Modifier(ModifierKeyCode::LeftControl);
        let mut plain = Keyboard::new(Release::Reported, TalkKey::default());
        assert_eq!(press(&mut plain, right), None);
        let key = TalkKey::parse("right-ctrl").unwrap();
        let mut keyboard = Keyboard::new(Release::Reported, key);
        let Some(Input::Key(talks)) = press(&mut keyboard, right) else { panic!() };
        assert_eq!(key.is(&talks), Some(None));
        assert_eq!(press(&mut keyboard, left), None);
        let mut keyboard = Keyboard::new(Release::Guessed, TalkKey::parse("pause").unwrap());
        assert!(press(&mut keyboard, Code::Pause).is_some());
    }
}
