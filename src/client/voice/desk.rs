//! Sound devices that are chosen in mid-call, on their way from the handle to capture and playback; and what
//! those two have open, for whoever wants a list.
//!
//! Whoever takes a wish opens the new device beside the old one, and goes over when it runs: one that cannot be
//! opened disturbs nobody. Where the new one is in use, perhaps by us under another name, it is tried once more
//! without the old one, which comes back if that fails.

use super::Direction;
use super::device::{InputDevice, OutputDevice};
use super::keeper::Open;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a device that is given up may take to be closed, before another one is tried in its place.
pub const CLOSE_TIME: Duration = Duration::from_millis(300);

/// Opens a loudspeaker; so many of its buffer sizes, smallest first, are known to be too small.
pub type OpenOutput = Arc<dyn Fn(usize) -> Result<OutputDevice, String> + Send + Sync>;

/// A device that is wanted.
pub struct Wanted<O> {
    /// How it was asked for.
    pub name: String,
    /// Opens it.
    pub open: O,
}

/// The latest wish that was not taken yet.
pub struct Slot<O> {
    fresh: AtomicBool,
    wanted: Mutex<Option<Wanted<O>>>,
}

impl<O> Default for Slot<O> {
    fn default() -> Self {
        Self { fresh: AtomicBool::new(false), wanted: Mutex::new(None) }
    }
}

impl<O> Slot<O> {
    /// This is wanted, in place of whatever was not taken yet.
    pub fn put(&self, wanted: Wanted<O>) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(wanted);
        self.fresh.store(true, Ordering::Release);
    }

    /// What is wanted since the last call.
    pub fn take(&self) -> Option<Wanted<O>> {
        let fresh = self.fresh.swap(false, Ordering::AcqRel);
        fresh.then(|| self.wanted.lock().unwrap_or_else(PoisonError::into_inner).take())?
    }
}

/// A device in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceName {
    /// The name by which it can be chosen.
    pub name: String,
    /// It is open now.
    pub used: bool,
}

/// The sound devices there are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceList {
    /// Microphones.
    pub inputs: Vec<DeviceName>,
    /// Loudspeakers.
    pub outputs: Vec<DeviceName>,
    /// What sound comes from now, as opened; empty while that is away.
    pub input: String,
    /// Where sound goes now, as opened; empty while that is away.
    pub output: String,
    /// Level of the microphone lately, dBFS (-120 for none).
    pub input_level_db: f32,
    /// Why there is no list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Wishes and what is open.
#[derive(Default)]
pub struct DeviceDesk {
    /// For capture.
    pub input: Slot<Open<InputDevice>>,
    /// For playback.
    pub output: Slot<OpenOutput>,
    open: Mutex<[String; 2]>,
    /// Mean square of the microphone, as bits.
    level: AtomicU32,
}

impl std::fmt::Debug for DeviceDesk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceDesk").field("open", &self.open).finish_non_exhaustive()
    }
}

impl DeviceDesk {
    /// This is open now, as described for people; nothing where that is empty.
    pub fn note(&self, direction: Direction, description: &str) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let [input, output] = &mut *open;
        description.clone_into(match direction {
            Direction::Input => input,
            Direction::Output => output,
        });
    }

    /// The microphone is so loud lately: mean square.
    pub fn note_level(&self, level: f32) {
        self.level.store(level.to_bits(), Ordering::Relaxed);
    }

    /// A list of these devices, with marks at those that are open.
    #[must_use]
    pub fn list(&self, found: Result<(Vec<String>, Vec<String>), String>) -> DeviceList {
        let [input, output] = self.open.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (names, error) = match found {
            Ok(names) => (names, None),
            Err(error) => (Default::default(), Some(error)),
        };
        let marked = |names: Vec<String>, open: &str| {
            let mark = |name: String| {
                let rest = open.strip_prefix(name.as_str());
                let used = rest.is_some_and(|rest| rest.starts_with(": "));
                DeviceName { name, used }
            };
            names.into_iter().map(mark).collect()
        };
        DeviceList {
            inputs: marked(names.0, &input),
            outputs: marked(names.1, &output),
            input,
            output,
            input_level_db: super::capture::level_db(f32::from_bits(
                self.level.load(Ordering::Relaxed),
            )),
            error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_marked_in_the_list() {
        let desk = DeviceDesk::default();
        desk.note(Direction::Input, "Mic (USB): 48000 Hz, 1 ch, f32");
        desk.note_level(0.01);
        let names = |names: [&str; 2]| names.map(str::to_owned).to_vec();
        let list = desk.list(Ok((names(["Mic", "Mic (USB)"]), names(["A", "B"]))));
        let used: Vec<bool> = list.inputs.iter().map(|device| device.used).collect();
        assert_eq!(used, [false, true]);
        assert!(list.outputs.iter().all(|device| !device.used));
        assert!((list.input_level_db - -20.0).abs() < 0.1, "{}", list.input_level_db);
        let none = desk.list(Err("no sound system".to_owned()));
        assert_eq!((none.inputs.len(), none.error.as_deref()), (0, Some("no sound system")));
    }

    #[test]
    fn the_latest_wish_counts_and_is_taken_once() {
        let slot: Slot<u8> = Slot::default();
        assert!(slot.take().is_none());
        slot.put(Wanted { name: "a".into(), open: 1 });
        slot.put(Wanted { name: "b".into(), open: 2 });
        assert_eq!(slot.take().map(|wanted| (wanted.name, wanted.open)), Some(("b".into(), 2)));
        assert!(slot.take().is_none());
    }
}
