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
    /// Not on a terminal.
    pub const NO_TERMINAL: &str = "not asked from a terminal: run it in the one that you talk in";
    /// The terminal reports releases.
    pub const REPORTS: &str = "this terminal reports when a key is let go (kitty keyboard protocol): holding ` or ё talks exactly as long as you hold it";
    /// Windows reports releases.
    pub const WINDOWS: &str = "the Windows console reports when a key is let go: holding ` or ё talks exactly as long as you hold it";
    /// The terminal reports none.
    pub const REPEATS: &str = "this terminal does not report when a key is let go, so the key's repetition counts: the microphone closes 0.2 s after it (0.7 s after a single press). Better: kitty, foot, WezTerm, Ghostty or Alacritty, or a key of the desktop (below)";
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
