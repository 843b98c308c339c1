//! The words about the talk key, and about listeners that see it in all windows.

use crate::client::listen::Way;

/// The system has no such listener.
pub const NOT_HERE: &str =
    "on this system there is no such listener; parlor doctor ptt names the ways there are";
/// No keyboard may be read.
pub const NO_RIGHT: &str = "you may not read the keyboard: sudo usermod -aG input $USER gives you that right from your \
    next login on (every program of yours can then read all that you type)";
/// There is none.
pub const NO_KEYBOARD: &str = "no keyboard or mouse in /dev/input has this key";

/// The X server does not do it.
#[must_use]
pub fn no_x11(why: &str) -> String {
    format!("the X server does not tell of keys ({why})")
}

/// A way, in a sentence.
#[must_use]
pub fn way(way: Way) -> &'static str {
    match way {
        Way::X11 => "the X server tells of it",
        Way::Evdev => "the keyboard is read",
    }
}

/// The talk key works everywhere.
#[must_use]
pub fn everywhere(key: &str, by: Way) -> String {
    format!("* Talk key: {key}, also while another window is in front ({}).", way(by))
}

/// The talk key works in this window alone, or not at all.
#[must_use]
pub fn here(key: &str, at_terminal: bool, why: &str) -> String {
    match at_terminal {
        true => format!("! Talk key: {key}, in this window only: {why}."),
        false => format!(
            "! Talk key: {key} cannot be seen: {why}. parlor doctor ptt shows other ways to talk."
        ),
    }
}

/// Why there is no listener.
pub const WAYLAND: &str = "Wayland lets no program see the keys of other windows; parlor doctor ptt shows what can be done";
/// Why there is no listener.
pub const NO_DESKTOP: &str = "no desktop is seen from here (DISPLAY is not set)";
/// Why there is no listener.
pub const SWITCHED_OFF: &str =
    "a terminal does not tell of it, and nothing else was asked for (--ptt-listen)";
