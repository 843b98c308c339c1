//! From crossterm's keys to ours.
//!
//! With the kitty keyboard protocol every key arrives as the unshifted key and modifiers; shift
//! comes resolved (alternate keys), caps lock does not. Ctrl with a Cyrillic layout names the
//! Cyrillic letter of that key.

use crate::client::app::{Key, KeyAction, KeyCode};
use crate::client::ptt::Release;
use crossterm::event::{
    KeyCode as Code, KeyEvent, KeyEventKind, KeyEventState, KeyModifiers as Modifiers,
    ModifierKeyCode,
};

/// Letters of the Russian layout that stand where Latin ones with a Ctrl meaning do.
const SAME_KEY: [(char, char); 13] = [
    ('ф', 'a'),
    ('и', 'b'),
    ('с', 'c'),
    ('в', 'd'),
    ('у', 'e'),
    ('а', 'f'),
    ('р', 'h'),
    ('л', 'k'),
    ('д', 'l'),
    ('т', 'n'),
    ('з', 'p'),
    ('г', 'u'),
    ('ц', 'w'),
];

/// Whether this is the key that reaches a layout's third or fifth level.
#[must_use]
pub fn is_alt_gr(event: &KeyEvent) -> bool {
    use ModifierKeyCode::{IsoLevel3Shift, IsoLevel5Shift};
    matches!(event.code, Code::Modifier(IsoLevel3Shift | IsoLevel5Shift))
}

/// The key, if it is one that means something here.
#[must_use]
pub fn translate(event: KeyEvent, release: Release) -> Option<Key> {
    let mut ctrl = event.modifiers.contains(Modifiers::CONTROL);
    let mut alt = event.modifiers.contains(Modifiers::ALT);
    if event.modifiers.intersects(Modifiers::SUPER | Modifiers::HYPER | Modifiers::META) {
        return None;
    }
    let code = match event.code {
        Code::Char(c) => {
            if cfg!(windows) && ctrl && alt {
                // AltGr, already resolved.
                (ctrl, alt) = (false, false);
            }
            let kitty = release == Release::Reported && !cfg!(windows);
            KeyCode::Char(character(c, event, ctrl, kitty))
        }
        Code::Enter => KeyCode::Enter,
        Code::Backspace => KeyCode::Backspace,
        Code::Delete => KeyCode::Delete,
        Code::Left => KeyCode::Left,
        Code::Right => KeyCode::Right,
        Code::Up => KeyCode::Up,
        Code::Down => KeyCode::Down,
        Code::Home => KeyCode::Home,
        Code::End => KeyCode::End,
        Code::Esc => KeyCode::Escape,
        Code::Tab if event.modifiers.contains(Modifiers::SHIFT) => KeyCode::BackTab,
        Code::Tab => KeyCode::Tab,
        Code::BackTab => KeyCode::BackTab,
        Code::PageUp => KeyCode::PageUp,
        Code::PageDown => KeyCode::PageDown,
        Code::F(number) => KeyCode::Function(number),
        code => KeyCode::Bare(bare(code)?),
    };
    let action = match event.kind {
        KeyEventKind::Press => KeyAction::Press,
        KeyEventKind::Repeat => KeyAction::Repeat,
        KeyEventKind::Release => KeyAction::Release,
    };
    Some(Key { code, ctrl, alt, action })
}

/// Keys without a character, as Linux numbers them.
fn bare(code: Code) -> Option<u16> {
    Some(match code {
        Code::Insert => 110,
        Code::Pause => 119,
        Code::ScrollLock => 70,
        Code::CapsLock => 58,
        Code::Menu => 127,
        Code::Modifier(ModifierKeyCode::LeftControl) => 29,
        Code::Modifier(ModifierKeyCode::RightControl) => 97,
        Code::Modifier(ModifierKeyCode::LeftShift) => 42,
        Code::Modifier(ModifierKeyCode::RightShift) => 54,
        Code::Modifier(ModifierKeyCode::LeftAlt) => 56,
        Code::Modifier(ModifierKeyCode::RightAlt) => 100,
        _ => return None,
    })
}

fn character(c: char, event: KeyEvent, ctrl: bool, kitty: bool) -> char {
    if ctrl {
        let c = lower(c);
        return SAME_KEY.iter().find(|(other, _)| *other == c).map_or(c, |(_, latin)| *latin);
    }
    if !kitty {
        return c;
    }
    // crossterm takes shift away where it has found the shifted character.
    let shifted = event.modifiers.contains(Modifiers::SHIFT) && c.is_lowercase();
    let c = if shifted { upper(c) } else { c };
    match event.state.contains(KeyEventState::CAPS_LOCK) {
        true if c.is_lowercase() => upper(c),
        true if c.is_uppercase() => lower(c),
        _ => c,
    }
}

/// The capital letter, where it is one character.
fn upper(c: char) -> char {
    let mut all = c.to_uppercase();
    all.next().filter(|_| all.next().is_none()).unwrap_or(c)
}

fn lower(c: char) -> char {
    let mut all = c.to_lowercase();
    all.next().filter(|_| all.next().is_none()).unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(code: Code, modifiers: Modifiers, state: KeyEventState) -> Option<Key> {
        let event = KeyEvent::new_with_kind_and_state(code, modifiers, KeyEventKind::Press, state);
        translate(event, Release::Reported)
    }

    fn typed(c: char, modifiers: Modifiers, state: KeyEventState) -> Option<KeyCode> {
        translated(Code::Char(c), modifiers, state).map(|key| key.code)
    }

    #[test]
    fn caps_lock_and_shift_make_capitals_and_cancel_each_other() {
        let (none, caps) = (KeyEventState::NONE, KeyEventState::CAPS_LOCK);
        let (plain, shift) = (Modifiers::NONE, Modifiers::SHIFT);
        assert_eq!(typed('ж', plain, none), Some(KeyCode::Char('ж')));
        assert_eq!(typed('ж', plain, caps), Some(KeyCode::Char('Ж')));
        // Shift was resolved by the terminal.
        assert_eq!(typed('Ж', plain, none), Some(KeyCode::Char('Ж')));
        assert_eq!(typed('Ж', plain, caps), Some(KeyCode::Char('ж')));
        // A terminal that tells no shifted key.
        assert_eq!(typed('g', shift, none), Some(KeyCode::Char('G')));
        assert_eq!(typed('1', plain, caps), Some(KeyCode::Char('1')));
        assert_eq!(typed('ß', shift, none), Some(KeyCode::Char('ß')));
    }

    #[test]
    fn ctrl_works_on_a_russian_keyboard() {
        let key = translated(Code::Char('с'), Modifiers::CONTROL, KeyEventState::NONE).unwrap();
        assert_eq!((key.code, key.ctrl), (KeyCode::Char('c'), true));
    }

    #[test]
    fn keys_that_move_between_panels_are_known() {
        let code =
            |code, modifiers| translated(code, modifiers, KeyEventState::NONE).map(|key| key.code);
        assert_eq!(code(Code::F(1), Modifiers::NONE), Some(KeyCode::Function(1)));
        assert_eq!(code(Code::Tab, Modifiers::NONE), Some(KeyCode::Tab));
        assert_eq!(code(Code::Tab, Modifiers::SHIFT), Some(KeyCode::BackTab));
        assert_eq!(code(Code::BackTab, Modifiers::SHIFT), Some(KeyCode::BackTab));
    }

    #[test]
    fn keys_of_the_window_manager_type_nothing() {
        assert_eq!(typed('d', Modifiers::SUPER, KeyEventState::NONE), None);
        assert_eq!(translated(Code::F(1), Modifiers::SUPER, KeyEventState::NONE), None);
    }
}
