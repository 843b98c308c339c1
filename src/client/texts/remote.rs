//! The words about orders to a client that runs, and about the ways to talk by key.

/// What the commands are for.
pub const ABOUT: &str =
    "Gives an order to the client that runs: for keys of the desktop, foot pedals and scripts";
/// No client takes orders.
pub const NOBODY: &str = "no client runs that takes orders; start parlor first (with the same --state-dir, if it has one)";
/// The system has no such sockets.
pub const NO_SOCKETS: &str = "on this system a running client takes no orders";
/// The client is about to end.
pub const ENDING: &str = "the client is ending";
/// The client is of another version.
pub const NOT_UNDERSTOOD: &str = "the client does not know this order; is it of another version?";
/// Nobody would hear it.
pub const NO_ROOM: &str = "nobody would hear it: the client is in no room now";
/// Nothing can be heard.
pub const NO_MICROPHONE: &str = "there is no microphone";

/// The socket fails.
#[must_use]
pub fn failed(why: &str) -> String {
    format!("the client does not answer ({why})")
}

/// What `parlor doctor ptt` says.
pub mod ladder {
    use crate::client::listen::Way;

    /// The step in use, and its key.
    #[must_use]
    pub fn step(step: &str, key: &str) -> String {
        format!(
            "you talk by {step}; the key is {key} (--ptt-key NAME chooses another: F8, pause, right-ctrl, mouse4, ...)"
        )
    }

    /// A step of the ladder.
    pub const STEP_X11: &str = "a key that the X server tells of in all windows, exactly";
    /// A step of the ladder.
    pub const STEP_EVDEV: &str =
        "a key that is read from the keyboard itself, in all windows, exactly";
    /// A step of the ladder.
    pub const STEP_RELEASES: &str = "a key in this terminal, exactly until it is let go";
    /// A step of the ladder.
    pub const STEP_REPEATS: &str = "a key in this terminal, as long as it repeats";
    /// A step of the ladder.
    pub const STEP_ORDERS: &str = "orders from elsewhere (parlor ptt)";
    /// A terminal tells of no such button.
    pub const MOUSE: &str =
        "a terminal does not tell of this button: it must be seen in all windows (next line)";
    /// It could be seen.
    pub const POSSIBLE: &str = "the X server would tell of a key while another window is in front: name one that you do not type, with --ptt-key F8";
    /// It is not wanted.
    pub const NOT_ASKED: &str =
        "the key is seen in this window only, because --ptt-listen off says so";
    /// Wayland.
    pub const WAYLAND_KEYS: &str = "Wayland lets no program see the keys of other windows. Better: a key of the desktop (below), or --ptt-listen evdev, where you may read the keyboard (group input)";

    /// It is seen.
    #[must_use]
    pub fn seen(by: Way) -> String {
        format!(
            "the key talks while another window is in front, too: {}",
            super::super::listen::way(by)
        )
    }

    /// It is not.
    #[must_use]
    pub fn not_seen(why: &str) -> String {
        format!("the key is not seen while another window is in front: {why}")
    }

    /// Not on a terminal.
    pub const NO_TERMINAL: &str = "not asked from a terminal: run it in the one that you talk in";
    /// The terminal reports releases.
    pub const REPORTS: &str = "this terminal reports when a key is let go (kitty keyboard protocol): holding the key talks exactly as long as you hold it";
    /// Windows reports releases.
    pub const WINDOWS: &str = "the Windows console reports when a key is let go: holding the key talks exactly as long as you hold it";
    /// The terminal reports none.
    pub const REPEATS: &str = "this terminal does not report when a key is let go, so the key's repetition counts: the microphone closes 0.15 s after it (0.7 s after a single press). Better: kitty, foot, WezTerm, Ghostty or Alacritty, or a key of the desktop (below)";
    /// Something stands between us and the terminal.
    pub const MULTIPLEXER: &str = "tmux or screen stands between Parlor and your terminal and passes no releases on, so the key's repetition counts. Better: run parlor outside of it, or use a key of the desktop (below)";
    /// A client takes orders.
    pub const SOCKET_RUNS: &str =
        "a client runs and takes orders: parlor ptt press, release or toggle talks from anywhere";
    /// None does.
    pub const SOCKET_FREE: &str = "no client runs now; while one does, parlor ptt press, release or toggle talks from anywhere";
    /// None can.
    pub const SOCKET_NONE: &str = "on this system a running client takes no orders";
    /// For sway.
    pub const SWAY: &str = "to talk by a key of the desktop, in ~/.config/sway/config: bindsym --no-repeat Mod4+grave exec parlor ptt press; bindsym --release Mod4+grave exec parlor ptt release";
    /// For Hyprland.
    pub const HYPRLAND: &str = "to talk by a key of the desktop, in hyprland.conf: bind = SUPER, grave, exec, parlor ptt press; bindr = SUPER, grave, exec, parlor ptt release";
    /// For X11.
    pub const X11: &str = "to talk by a key of the desktop: in i3, bindsym Mod4+grave exec parlor ptt press and bindsym --release Mod4+grave exec parlor ptt release; elsewhere bind a key to parlor ptt toggle";
    /// For other desktops.
    pub const WAYLAND: &str = "to talk by a key of the desktop, bind a key in its settings to parlor ptt toggle: press once to talk, once more to end";
    /// Without a desktop.
    pub const NO_DESKTOP: &str = "no desktop is seen from here, so there are no keys of it";
    /// Whatever else there is.
    pub const OPEN: &str =
        "without any key: /voice opens the microphone while you speak, /unmute for good";
}
