//! Keeps a device open: opens it on a thread of its own, notices when it fails or falls silent, tells
//! that once, and tries again until it is back.
//!
//! Pure but for the thread that the opener function is run on.

use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

/// Time between two attempts.
const RETRY: Duration = Duration::from_secs(2);
/// How long opening may take before it is told that it does not work.
const OPEN_SLOW: Duration = Duration::from_secs(6);
/// A running device that reports errors and calls nobody back for this long has failed.
const TROUBLE_MAX: Duration = Duration::from_secs(1);
/// A running device that calls nobody back for this long has failed.
const STALL_MAX: Duration = Duration::from_secs(5);

/// What is kept open.
pub trait Opened: Send + 'static {
    /// Why it cannot be used any more.
    fn failure(&self) -> Option<String>;
    /// What goes wrong since the last callback; it may pass.
    fn trouble(&self) -> Option<String>;
    /// Callbacks so far.
    fn callbacks(&self) -> u64;
    /// What it is, for people.
    fn description(&self) -> String;
}

/// What has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It runs.
    Up(String),
    /// It does not, and why.
    Down(String),
}

impl Change {
    /// What runs now, for people; empty for nothing.
    #[must_use]
    pub fn description(&self) -> &str {
        match self {
            Self::Up(description) => description,
            Self::Down(_) => "",
        }
    }
}

/// A function that opens the device; may block.
pub type Open<T> = std::sync::Arc<dyn Fn() -> Result<T, String> + Send + Sync>;

/// The keeper of one device.
pub struct Keeper<T: Opened> {
    open: Open<T>,
    state: State<T>,
    /// Down has been told and Up has not been since.
    told_down: bool,
    /// Another device has its place for a while.
    resting: bool,
}

enum State<T> {
    Closed { retry_at: Option<Instant> },
    Opening { result: Receiver<Result<T, String>>, since: Instant },
    Running { device: T, callbacks: u64, seen: Instant, told: bool },
}

impl<T: Opened> std::fmt::Debug for Keeper<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("told_down", &self.told_down).finish_non_exhaustive()
    }
}

impl<T: Opened> Keeper<T> {
    /// Nothing is open yet; the first `poll` begins.
    pub fn new(open: Open<T>) -> Self {
        Self { open, state: State::Closed { retry_at: None }, told_down: false, resting: false }
    }

    /// The device, while it runs.
    pub fn device(&mut self) -> Option<&mut T> {
        match &mut self.state {
            State::Running { device, .. } => Some(device),
            _ => None,
        }
    }

    /// Closes the device and opens it again at the next `poll`, without a word if that works.
    pub fn reopen(&mut self) {
        if matches!(self.state, State::Running { .. }) {
            self.state = State::Closed { retry_at: None };
        }
    }

    /// Closes the device, if it runs, until [`Keeper::wake`]; whether it ran.
    pub fn rest(&mut self) -> bool {
        let ran = matches!(self.state, State::Running { .. });
        if ran {
            self.state = State::Closed { retry_at: None };
            self.resting = true;
        }
        ran
    }

    /// Opens the device again that was closed for another one.
    pub fn wake(&mut self) {
        self.resting = false;
    }

    /// Looks after the device.
    pub fn poll(&mut self, now: Instant) -> Option<Change> {
        if self.resting {
            return None;
        }
        match &mut self.state {
            State::Closed { retry_at } if retry_at.is_none_or(|at| now >= at) => {
                let (sender, result) = channel();
                let open = self.open.clone();
                let thread = std::thread::Builder::new().name("device-open".to_owned());
                let spawned = thread.spawn(move || {
                    // Nobody waits any more: the device is closed again.
                    let _ = sender.send(open());
                });
                if let Err(error) = spawned {
                    return self.fail(error.to_string(), now);
                }
                self.state = State::Opening { result, since: now };
                None
            }
            State::Closed { .. } => None,
            State::Opening { result, since } => match result.try_recv() {
                Ok(Ok(device)) => {
                    self.state = State::Running { device, callbacks: 0, seen: now, told: false };
                    None
                }
                Ok(Err(why)) => self.fail(why, now),
                Err(TryRecvError::Disconnected) => {
                    self.fail("the sound system broke off".to_owned(), now)
                }
                Err(TryRecvError::Empty) => {
                    // The thread is left to itself: it may yet succeed.
                    let slow = now.saturating_duration_since(*since) > OPEN_SLOW;
                    (slow && !std::mem::replace(&mut self.told_down, true))
                        .then(|| Change::Down("the sound system does not answer".to_owned()))
                }
            },
            State::Running { device, callbacks, seen, told } => {
                if let Some(why) = device.failure() {
                    return self.fail(format!("the device was lost ({why})"), now);
                }
                let count = device.callbacks();
                if count != *callbacks {
                    (*callbacks, *seen) = (count, now);
                    if !std::mem::replace(told, true) {
                        self.told_down = false;
                        return Some(Change::Up(device.description()));
                    }
                    return None;
                }
                let stalled = now.saturating_duration_since(*seen);
                match device.trouble() {
                    Some(why) if stalled > TROUBLE_MAX => {
                        self.fail(format!("the device was lost ({why})"), now)
                    }
                    None if stalled > STALL_MAX => {
                        self.fail("the device has stopped giving or taking sound".to_owned(), now)
                    }
                    _ => None,
                }
            }
        }
    }

    fn fail(&mut self, why: String, now: Instant) -> Option<Change> {
        self.state = State::Closed { retry_at: Some(now + RETRY) };
        (!std::mem::replace(&mut self.told_down, true)).then_some(Change::Down(why))
    }
}

impl Opened for super::device::InputDevice {
    fn failure(&self) -> Option<String> {
        self.state.failure()
    }

    fn trouble(&self) -> Option<String> {
        self.state.trouble()
    }

    fn callbacks(&self) -> u64 {
        self.state.callbacks.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn description(&self) -> String {
        self.description.clone()
    }
}

impl Opened for super::device::OutputDevice {
    fn failure(&self) -> Option<String> {
        self.state.failure()
    }

    fn trouble(&self) -> Option<String> {
        self.state.trouble()
    }

    fn callbacks(&self) -> u64 {
        self.state.callbacks.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn description(&self) -> String {
        self.description.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Fake {
        failure: Arc<Mutex<Option<String>>>,
        callbacks: Arc<AtomicU64>,
    }

    impl Opened for Fake {
        fn failure(&self) -> Option<String> {
            self.failure.lock().unwrap().clone()
        }
        fn trouble(&self) -> Option<String> {
            None
        }
        fn callbacks(&self) -> u64 {
            self.callbacks.load(Ordering::Relaxed)
        }
        fn description(&self) -> String {
            "fake".to_owned()
        }
    }

    /// Polls at one instant until the opening thread has answered.
    fn settle(keeper: &mut Keeper<Fake>, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        loop {
            changes.extend(keeper.poll(now));
            match keeper.state {
                State::Opening { .. } => std::thread::yield_now(),
                _ => break,
            }
        }
        changes.extend(keeper.poll(now));
        changes
    }

    #[test]
    fn loss_is_told_once_and_the_return_as_well() {
        let fake = Fake::default();
        let there = Arc::new(Mutex::new(false));
        let (opened, asked) = (fake.clone(), there.clone());
        let mut keeper: Keeper<Fake> = Keeper::new(Arc::new(move || {
            if *asked.lock().unwrap() { Ok(opened.clone()) } else { Err("gone".to_owned()) }
        }));
        let start = clock::now();
        let at = |s: u64| start + Duration::from_secs(s);
        assert_eq!(settle(&mut keeper, at(0)), [Change::Down("gone".to_owned())]);
        assert_eq!(settle(&mut keeper, at(3)), []);
        *there.lock().unwrap() = true;
        assert_eq!(settle(&mut keeper, at(6)), []);
        fake.callbacks.store(1, Ordering::Relaxed);
        assert_eq!(settle(&mut keeper, at(7)), [Change::Up("fake".to_owned())]);
        *fake.failure.lock().unwrap() = Some("unplugged".to_owned());
        assert_eq!(
            settle(&mut keeper, at(8)),
            [Change::Down("the device was lost (unplugged)".to_owned())]
        );
        assert!(keeper.device().is_none());
        *fake.failure.lock().unwrap() = None;
        assert_eq!(settle(&mut keeper, at(11)), [Change::Up("fake".to_owned())]);
        assert_eq!(
            settle(&mut keeper, at(20)),
            [Change::Down("the device has stopped giving or taking sound".to_owned())]
        );
    }
}
