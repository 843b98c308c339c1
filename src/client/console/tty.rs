//! The terminal's modes: set once, restored on every way out, any number of times.
//!
//! While they are set nothing but frames may be written: what libraries print on stderr (ALSA
//! does) goes to the log file or nowhere.

use crate::client::ptt::Release;
use crossterm::event::{
    DisableBracketedPaste, DisableFocusChange, EnableBracketedPaste, EnableFocusChange,
    KeyboardEnhancementFlags as Flags, PopKeyboardEnhancementFlags, PushKeyboardEnhancementFlags,
};
use crossterm::style::ResetColor;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};
use crossterm::{execute, terminal};
use std::io;
use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// Every key as a key, with its release: the flags that `enter` pushes (kitty keyboard protocol).
pub const KEYS_WITH_RELEASE: &str = "\x1b[=15;1u";
/// Keys that make text as that text, without their release.
pub const KEYS_AS_TEXT: &str = "\x1b[=7;1u";
/// How long the terminal may take to go back to its modes.
const RESTORE_TIMEOUT: Duration = Duration::from_millis(500);

static SET: AtomicBool = AtomicBool::new(false);
static ALTERNATE: AtomicBool = AtomicBool::new(false);
static KEYS_PUSHED: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// What is wanted of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Ask for no more than any terminal has.
    pub plain_keys: bool,
    /// A screen of our own: what stood there before comes back at the end.
    pub alternate: bool,
}

/// Sets the modes and says how it is known that a key was let go.
///
/// # Errors
/// The terminal refuses.
pub fn set(wanted: Wanted, log_file: Option<&Path>) -> io::Result<Release> {
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            before(panic);
        }));
    });
    terminal::enable_raw_mode()?;
    SET.store(true, Ordering::SeqCst);
    let release = match enter(wanted) {
        Ok(release) => release,
        Err(error) => {
            restore();
            return Err(error);
        }
    };
    stderr::redirect(log_file);
    Ok(release)
}

fn enter(wanted: Wanted) -> io::Result<Release> {
    // The screen first: kitty's protocol keeps its flags apart for each.
    if wanted.alternate {
        ALTERNATE.store(true, Ordering::SeqCst);
        execute!(io::stdout(), EnterAlternateScreen)?;
    }
    execute!(io::stdout(), EnableBracketedPaste, EnableFocusChange)?;
    if cfg!(windows) {
        return Ok(Release::Reported);
    }
    if wanted.plain_keys || !matches!(terminal::supports_keyboard_enhancement(), Ok(true)) {
        return Ok(Release::Guessed);
    }
    let flags = Flags::DISAMBIGUATE_ESCAPE_CODES
        | Flags::REPORT_EVENT_TYPES
        | Flags::REPORT_ALTERNATE_KEYS
        | Flags::REPORT_ALL_KEYS_AS_ESCAPE_CODES;
    KEYS_PUSHED.store(true, Ordering::SeqCst);
    execute!(io::stdout(), PushKeyboardEnhancementFlags(flags))?;
    Ok(Release::Reported)
}

/// Puts everything back as it was. Errors have nobody to be told to.
pub fn restore() {
    if !SET.swap(false, Ordering::SeqCst) {
        return;
    }
    // First what cannot block: a terminal that takes nothing holds up the rest.
    let _ = terminal::disable_raw_mode();
    stderr::restore();
    let mut out = io::stdout();
    if KEYS_PUSHED.swap(false, Ordering::SeqCst) {
        let _ = execute!(out, PopKeyboardEnhancementFlags);
    }
    let _ = execute!(out, DisableFocusChange, DisableBracketedPaste, crossterm::cursor::Show);
    if ALTERNATE.swap(false, Ordering::SeqCst) {
        let _ = execute!(out, ResetColor, LeaveAlternateScreen);
    }
}

/// The same, but waits no longer than a moment for a terminal that takes nothing.
pub async fn restore_soon() {
    let (done, restored) = oneshot::channel();
    // Not a blocking task of the runtime: that would be waited for when the runtime ends.
    let thread = std::thread::Builder::new().name("restore".to_owned()).spawn(move || {
        restore();
        // Nobody waits any more.
        let _ = done.send(());
    });
    if thread.is_ok() {
        let _ = tokio::time::timeout(RESTORE_TIMEOUT, restored).await;
    }
}

#[cfg(unix)]
mod stderr {
    use std::fs::{File, OpenOptions};
    use std::io::{IsTerminal, stderr};
    use std::os::fd::{AsFd, OwnedFd};
    use std::path::Path;
    use std::sync::{Mutex, PoisonError};

    static BEFORE: Mutex<Option<OwnedFd>> = Mutex::new(None);

    pub(super) fn redirect(log_file: Option<&Path>) {
        if !stderr().is_terminal() {
            return;
        }
        let to = match log_file {
            Some(path) => OpenOptions::new().create(true).append(true).open(path),
            None => File::options().write(true).open("/dev/null"),
        };
        let (Ok(to), Ok(before)) = (to, stderr().as_fd().try_clone_to_owned()) else { return };
        if rustix::stdio::dup2_stderr(&to).is_ok() {
            *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        }
    }

    pub(super) fn restore() {
        if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = rustix::stdio::dup2_stderr(&before);
        }
    }
}

#[cfg(not(unix))]
mod stderr {
    use std::path::Path;

    pub(super) fn redirect(_log_file: Option<&Path>) {}

    pub(super) fn restore() {}
}
