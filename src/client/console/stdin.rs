//! Lines from stdin, read on a thread of their own: a read there cannot be interrupted.

use crate::net::limits::TEXT_BYTES_MAX;
use std::io::{BufRead, BufReader, ErrorKind, IsTerminal, Read};
use std::time::Duration;
use tokio::sync::mpsc;

/// A line longer than this is cut; it is too long to be sent anyway.
const LINE_BYTES_MAX: usize = 2 * TEXT_BYTES_MAX;
/// Lines read ahead.
const LINES_AHEAD: usize = 16;
/// Pause where someone has made stdin non-blocking under our feet.
const WOULD_BLOCK_PAUSE: Duration = Duration::from_millis(50);

/// What comes from stdin.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// A line, without its end.
    Line(String),
    /// No more lines, and whoever sent them has finished.
    End,
    /// No more lines, but nobody meant anything by it (`/dev/null`).
    Nothing,
}

/// Starts to read.
///
/// # Errors
/// No thread can be had.
pub fn read() -> std::io::Result<mpsc::Receiver<Typed>> {
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let mut lines = BufReader::new(std::io::stdin());
        while let Some(line) = next_line(&mut lines) {
            if sender.blocking_send(Typed::Line(line)).is_err() {
                return;
            }
        }
        let end = if is_device() { Typed::Nothing } else { Typed::End };
        // Nobody listens: the client is ending.
        let _ = sender.blocking_send(end);
    })?;
    Ok(receiver)
}

fn next_line(input: &mut impl BufRead) -> Option<String> {
    let mut bytes = Vec::new();
    read_piece(input, &mut bytes)?;
    if bytes.is_empty() {
        return None;
    }
    let mut last = bytes.last().copied();
    while last != Some(b'\n') {
        let mut rest = Vec::new();
        read_piece(input, &mut rest)?;
        if rest.is_empty() {
            break;
        }
        last = rest.last().copied();
    }
    let line = String::from_utf8_lossy(&bytes);
    Some(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// Up to the next line end or the bound; nothing at the end of input.
fn read_piece(input: &mut impl BufRead, bytes: &mut Vec<u8>) -> Option<()> {
    let room = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
    loop {
        match input.by_ref().take(room).read_until(b'\n', bytes) {
            Ok(_) => return Some(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(WOULD_BLOCK_PAUSE);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// Whether stdin is a device that has no end to speak of. A terminal has one: Ctrl-D.
#[cfg(unix)]
fn is_device() -> bool {
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileTypeExt;
    let stdin = std::io::stdin();
    let metadata =
        stdin.as_fd().try_clone_to_owned().and_then(|fd| std::fs::File::from(fd).metadata());
    !stdin.is_terminal() && metadata.is_ok_and(|about| about.file_type().is_char_device())
}

#[cfg(not(unix))]
fn is_device() -> bool {
    !std::io::stdin().is_terminal() && std::io::stdin().lock().fill_buf().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<String> {
        let mut input = BufReader::new(bytes);
        std::iter::from_fn(|| next_line(&mut input)).collect()
    }

    #[test]
    fn lines_of_every_system_are_read_and_the_last_needs_no_end() {
        assert_eq!(lines(b"one\r\n\ntwo\nthree"), ["one", "", "two", "three"]);
        assert_eq!(lines(b""), [""; 0]);
        assert_eq!(lines(b"\xff\n"), ["\u{FFFD}"]);
    }

    #[test]
    fn a_line_without_end_is_cut_and_the_next_is_whole() {
        let mut bytes = vec![b'x'; 10 * LINE_BYTES_MAX];
        bytes.extend(b"\nnext\n");
        let lines = lines(&bytes);
        assert_eq!((lines[0].len(), lines[1].as_str()), (LINE_BYTES_MAX, "next"));
    }
}
