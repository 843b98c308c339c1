//! The talk key in all windows: a listener that the system tells of the key while another window is in front.
//!
//! It is there for those who choose a key for it, or say so: whoever types a backquote elsewhere does not mean to
//! talk. The X11 listener is asked for where a desktop of X11 answers. Reading the keyboard itself (evdev) is for
//! those alone who say so: the right to do it is the right to read everything that is typed.
//!
//! Only the talk key leaves the listener, and only whether it is down.

#[cfg(target_os = "linux")]
mod evdev;
#[cfg(all(unix, not(target_os = "macos")))]
mod x11;

use super::talk_key::TalkKey;
use serde::Serialize;
use std::collections::BTreeSet;
use tokio::sync::mpsc;

/// Changes that may wait for the console.
const CHANGES_MAX: usize = 32;

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wish {
    /// The best way that asks for no special right, for a key that was chosen.
    #[default]
    Auto,
    /// The terminal alone.
    Off,
    /// The X server.
    X11,
    /// The keyboard itself.
    Evdev,
}

/// A way to see the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The X server tells.
    X11,
    /// The keyboard is read.
    Evdev,
}

/// What is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Surroundings {
    /// `DISPLAY` names an X server.
    pub x11: bool,
    /// The desktop is one of Wayland.
    pub wayland: bool,
}

impl Surroundings {
    /// What the environment says.
    #[must_use]
    pub fn seen() -> Self {
        let is_set = |variable| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
        Self { x11: is_set("DISPLAY"), wayland: is_set("WAYLAND_DISPLAY") }
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Listen so.
    Listen(Way),
    /// Do not: nobody has asked for it.
    NotAsked,
    /// Do not: Wayland lets no program see keys of other windows.
    Wayland,
    /// Do not: there is no desktop.
    NoDesktop,
}

/// A listener that runs.
#[derive(Debug)]
pub struct Listener {
    /// How.
    pub way: Way,
    /// The key went down, or was let go.
    pub changes: mpsc::Receiver<bool>,
}

/// What to do for this wish; `chosen`: the user has named a key.
#[must_use]
pub fn plan(wish: Wish, chosen: bool, there: Surroundings) -> Plan {
    match wish {
        Wish::X11 => Plan::Listen(Way::X11),
        Wish::Evdev => Plan::Listen(Way::Evdev),
        Wish::Off => Plan::NotAsked,
        Wish::Auto if !chosen => Plan::NotAsked,
        Wish::Auto if there.wayland => Plan::Wayland,
        Wish::Auto if there.x11 => Plan::Listen(Way::X11),
        Wish::Auto => Plan::NoDesktop,
    }
}

/// Listens for this key, on a thread of its own.
///
/// # Errors
/// It cannot be seen so; in words.
pub fn start(way: Way, key: TalkKey) -> Result<Listener, String> {
    let (changes_in, changes) = mpsc::channel(CHANGES_MAX);
    let tell = Teller { held: Held::default(), out: changes_in };
    match way {
        #[cfg(all(unix, not(target_os = "macos")))]
        Way::X11 => x11::start(key, tell)?,
        #[cfg(target_os = "linux")]
        Way::Evdev => evdev::start(key, tell)?,
        #[cfg(not(all(unix, not(target_os = "macos"))))]
        Way::X11 => return Err(super::texts::listen::NOT_HERE.to_owned()),
        #[cfg(not(target_os = "linux"))]
        Way::Evdev => return Err(super::texts::listen::NOT_HERE.to_owned()),
    }
    Ok(Listener { way, changes })
}

/// Whether it could listen so, without beginning to.
///
/// # Errors
/// Why not, in words.
pub fn try_out(way: Way, key: TalkKey) -> Result<(), String> {
    match way {
        #[cfg(all(unix, not(target_os = "macos")))]
        Way::X11 => x11::open(key).map(drop),
        #[cfg(target_os = "linux")]
        Way::Evdev => evdev::open(key).map(drop),
        #[cfg(not(all(unix, not(target_os = "macos"))))]
        Way::X11 => Err(super::texts::listen::NOT_HERE.to_owned()),
        #[cfg(not(target_os = "linux"))]
        Way::Evdev => Err(super::texts::listen::NOT_HERE.to_owned()),
    }
}

/// Which keyboards hold the key down. It repeats while it is held, and several keyboards may have it. Pure.
#[derive(Debug, Default)]
struct Held(BTreeSet<u64>);

impl Held {
    /// The key of this keyboard went down or was let go; what that changes.
    fn turn(&mut self, keyboard: u64, down: bool) -> Option<bool> {
        let before = !self.0.is_empty();
        match down {
            true => self.0.insert(keyboard),
            false => self.0.remove(&keyboard),
        };
        let now = !self.0.is_empty();
        (now != before).then_some(now)
    }

    /// All keyboards are gone.
    fn clear(&mut self) -> Option<bool> {
        let before = !std::mem::take(&mut self.0).is_empty();
        before.then_some(false)
    }
}

/// Tells the console what changes. A listener that ends lets go of the key.
#[derive(Debug)]
struct Teller {
    held: Held,
    out: mpsc::Sender<bool>,
}

impl Teller {
    /// Tells it; false when nobody listens any more.
    fn turn(&mut self, keyboard: u64, down: bool) -> bool {
        match self.held.turn(keyboard, down) {
            // The console is behind: it is waited for, so that letting go is not lost.
            Some(change) => self.out.blocking_send(change).is_ok(),
            None => !self.out.is_closed(),
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        if let Some(change) = self.held.clear() {
            // Nobody listens: there is no microphone any more either.
            let _ = self.out.blocking_send(change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_listens_unless_a_key_was_chosen_and_the_keyboard_is_read_only_for_who_says_so() {
        let (nothing, x11) = (Surroundings::default(), Surroundings { x11: true, wayland: false });
        let wayland = Surroundings { x11: true, wayland: true };
        for there in [nothing, x11, wayland] {
            assert_eq!(plan(Wish::Auto, false, there), Plan::NotAsked);
            assert_eq!(plan(Wish::Off, true, there), Plan::NotAsked);
            assert_eq!(plan(Wish::Evdev, false, there), Plan::Listen(Way::Evdev));
            assert_ne!(plan(Wish::Auto, true, there), Plan::Listen(Way::Evdev));
        }
        assert_eq!(plan(Wish::Auto, true, x11), Plan::Listen(Way::X11));
        assert_eq!(plan(Wish::Auto, true, wayland), Plan::Wayland);
        assert_eq!(plan(Wish::Auto, true, nothing), Plan::NoDesktop);
        assert_eq!(plan(Wish::X11, false, wayland), Plan::Listen(Way::X11));
    }

    #[test]
    fn repetitions_and_second_keyboards_change_nothing() {
        let mut held = Held::default();
        let turns = [(1, true), (1, true), (2, true), (1, false), (2, false), (2, false)];
        let told = turns.map(|(keyboard, down)| held.turn(keyboard, down));
        assert_eq!(told, [Some(true), None, None, None, Some(false), None]);
    }

    #[test]
    fn a_listener_that_ends_lets_go_of_the_key() {
        let (out, mut changes) = mpsc::channel(4);
        let mut teller = Teller { held: Held::default(), out };
        assert!(teller.turn(7, true));
        drop(teller);
        assert_eq!((changes.try_recv(), changes.try_recv()), (Ok(true), Ok(false)));
        let (out, changes) = mpsc::channel(4);
        drop(changes);
        let mut teller = Teller { held: Held::default(), out };
        assert!(!teller.turn(7, true), "nobody listens: the thread may end");
    }
}
