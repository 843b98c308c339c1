//! The terminal's echo, in line mode: off while a password is typed, restored on every way out.
//!
//! The reader of stdin is blocked in a read already when a password is asked for, so nobody else can
//! read it: the next line is the password, and the terminal must not show it.

#[cfg(unix)]
mod system {
    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
    use std::io::{self, IsTerminal, stdin};
    use std::sync::{Mutex, PoisonError};

    /// The modes to go back to, while the echo is off.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    pub(super) fn can_hide() -> bool {
        stdin().is_terminal()
    }

    pub(super) fn hide() -> io::Result<()> {
        let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
        if before.is_some() {
            return Ok(());
        }
        let modes = tcgetattr(stdin())?;
        let mut hidden = modes.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        // The end of the line is shown, so that the next text begins on one of its own.
        hidden.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(stdin(), OptionalActions::Now, &hidden)?;
        *before = Some(modes);
        Ok(())
    }

    pub(super) fn restore() {
        let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(modes) = before {
            // A terminal that is gone has nothing to restore.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &modes);
        }
    }
}

#[cfg(not(unix))]
mod system {
    pub(super) fn can_hide() -> bool {
        false
    }

    pub(super) fn hide() -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    pub(super) fn restore() {}
}

/// Whether lines come from a terminal whose echo can be switched off.
#[must_use]
pub fn can_hide() -> bool {
    system::can_hide()
}

/// Shows no longer what is typed.
///
/// # Errors
/// The terminal refuses, or the system has no way to.
pub fn hide() -> std::io::Result<()> {
    system::hide()
}

/// Shows it again; any number of times.
pub fn restore() {
    system::restore();
}
