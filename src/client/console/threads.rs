//! The threads that read keys and write frames: neither can be interrupted, so each stands alone,
//! and what goes between them and a console has a bound.

use crossterm::event::Event as TerminalEvent;
use std::io::Write;
use tokio::sync::{mpsc, oneshot};

/// Keys read ahead.
const KEYS_AHEAD: usize = 64;

/// Where frames go, and what tells that the last one is written.
pub(super) type Frames = (mpsc::Sender<String>, oneshot::Receiver<()>);

/// Reads the terminal; `None` when it is gone.
pub(super) fn read() -> std::io::Result<mpsc::Receiver<Option<TerminalEvent>>> {
    let (sender, receiver) = mpsc::channel(KEYS_AHEAD);
    std::thread::Builder::new().name("keys".to_owned()).spawn(move || {
        loop {
            let event = crossterm::event::read().ok();
            let gone = event.is_none();
            if sender.blocking_send(event).is_err() || gone {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// Writes frames: the terminal may be stopped.
pub(super) fn write() -> std::io::Result<Frames> {
    let (sender, mut receiver) = mpsc::channel::<String>(1);
    let (ended, written) = oneshot::channel();
    std::thread::Builder::new().name("screen".to_owned()).spawn(move || {
        let mut out = std::io::stdout();
        while let Some(frame) = receiver.blocking_recv() {
            // A terminal that is gone is noticed by the reader.
            let _ = out.write_all(frame.as_bytes()).and_then(|()| out.flush());
        }
        // Nobody waits: the client is being torn down already.
        let _ = ended.send(());
    })?;
    Ok((sender, written))
}
