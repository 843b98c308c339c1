//! The keyboard itself is read, where its user may do that: it works on every desktop and on none.

use super::Teller;
use crate::client::talk_key::{Place, TalkKey};
use crate::client::texts::listen as words;
use evdev::{Device, EventSummary, InputEvent, KeyCode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Where Linux has keyboards and mice.
const FOLDER: &str = "/dev/input";
/// How often it is looked for new ones.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };
/// Devices at most.
const DEVICES_MAX: usize = 256;

/// What is read, by its file; nothing for a device that has no such key or may not be read.
#[derive(Default)]
pub(super) struct Keyboards {
    all: BTreeMap<PathBuf, Option<Device>>,
    /// One may not be read.
    forbidden: bool,
}

impl Keyboards {
    /// Opens what is new and forgets what is gone.
    fn look(&mut self, code: KeyCode) {
        let files = std::fs::read_dir(FOLDER).into_iter().flatten().flatten();
        let is_event = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with("event"))
        };
        let there: Vec<PathBuf> =
            files.map(|file| file.path()).filter(is_event).take(DEVICES_MAX).collect();
        self.all.retain(|path, _| there.contains(path));
        for path in there {
            if !self.all.contains_key(&path) {
                let device = self.open(&path, code);
                self.all.insert(path, device);
            }
        }
    }

    fn open(&mut self, path: &Path, code: KeyCode) -> Option<Device> {
        match Device::open(path) {
            Ok(device) => {
                let has = device.supported_keys().is_some_and(|keys| keys.contains(code));
                (has && device.set_nonblocking(true).is_ok()).then_some(device)
            }
            Err(error) => {
                self.forbidden |= error.kind() == ErrorKind::PermissionDenied;
                None
            }
        }
    }

    fn are_none(&self) -> bool {
        self.all.values().flatten().next().is_none()
    }
}

/// The number of an event's file.
fn number(path: &Path) -> u64 {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(u64::MAX)
}

fn code(key: TalkKey) -> KeyCode {
    match key.place() {
        Place::Key(code) | Place::Button(code) => KeyCode::new(code),
    }
}

/// The keyboards (or mice) that have the key.
///
/// # Errors
/// There are none, or none may be read; in words.
pub(super) fn open(key: TalkKey) -> Result<Keyboards, String> {
    let mut keyboards = Keyboards::default();
    keyboards.look(code(key));
    match (keyboards.are_none(), keyboards.forbidden) {
        (false, _) => Ok(keyboards),
        (true, true) => Err(words::NO_RIGHT.to_owned()),
        (true, false) => Err(words::NO_KEYBOARD.to_owned()),
    }
}

/// Reads on a thread of its own while anybody listens.
///
/// # Errors
/// As for `open`.
pub(super) fn start(key: TalkKey, mut tell: Teller) -> Result<(), String> {
    let mut keyboards = open(key)?;
    let code = code(key);
    let read = move || {
        while !tell.out.is_closed() {
            let mut readers: Vec<PollFd<'_>> = keyboards
                .all
                .values()
                .flatten()
                .map(|device| PollFd::new(device, PollFlags::IN))
                .collect();
            // Whatever went wrong shows when it is read.
            let _ = poll(&mut readers, Some(&LOOK_EVERY));
            drop(readers);
            for (path, slot) in &mut keyboards.all {
                let keyboard = number(path);
                let Some(device) = slot else { continue };
                // 1 is down and 2 a repetition.
                let turn = |event: InputEvent| match event.destructure() {
                    EventSummary::Key(_, key, value) if key == code => Some(value != 0),
                    _ => None,
                };
                let read = device.fetch_events().map(|all| all.filter_map(turn).collect());
                let turns: Vec<bool> = match read {
                    Ok(turns) => turns,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                    // Unplugged: it holds nothing.
                    Err(_) => {
                        *slot = None;
                        vec![false]
                    }
                };
                for down in turns {
                    if !tell.turn(keyboard, down) {
                        return;
                    }
                }
            }
            keyboards.look(code);
        }
    };
    let thread = std::thread::Builder::new().name("talk-key".to_owned()).spawn(read);
    thread.map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyboards_are_told_apart_by_their_number() {
        assert_eq!(number(Path::new("/dev/input/event17")), 17);
        assert_eq!(number(Path::new("/dev/input/event")), u64::MAX);
        assert_eq!(code(TalkKey::parse("mouse4").unwrap()), KeyCode::BTN_SIDE);
        assert_eq!(code(TalkKey::default()), KeyCode::KEY_GRAVE);
        assert_eq!(code(TalkKey::parse("f13").unwrap()), KeyCode::KEY_F13);
        assert_eq!(code(TalkKey::parse("menu").unwrap()), KeyCode::KEY_COMPOSE);
        assert_eq!(code(TalkKey::parse("right-ctrl").unwrap()), KeyCode::KEY_RIGHTCTRL);
        assert_eq!(code(TalkKey::parse("scroll-lock").unwrap()), KeyCode::KEY_SCROLLLOCK);
        assert_eq!(code(TalkKey::parse("m").unwrap()), KeyCode::KEY_M);
    }
}
