//! Recording: samples leave playback and capture through bounded rings, and a thread of its own writes them.
//!
//! One time line holds for all files: the samples that playback has rendered since the beginning. What is
//! lost because the disk is too slow is counted and told; playback and capture never wait.

mod files;

use super::VoiceEvent;
use super::playback::BLOCK;
use crate::net::ids::MemberId;
use crate::net::limits::{RECORDING_CHUNKS_MAX, RECORDING_NAMES_MAX};
use files::Files;
use rtrb::{Consumer, Producer, RingBuffer};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;

/// How often the thread looks at its rings.
const LOOK: Duration = Duration::from_millis(50);
/// Looks between two times that headers are brought up to date.
const FLUSH_EVERY: u32 = 20;
/// How often the end is tried to be told to a client that is behind.
const TELL_TRIES: u32 = 40;
/// Our own samples go on where they were while the time line is not further off than this: 50 ms.
const DRIFT_MAX: u64 = 2400;
/// Length of an own frame: 10 ms at 48 kHz.
const FRAME: u64 = 480;

/// Whose sound it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Our microphone, as far as it is sent.
    Own,
    /// A member of the room.
    Member(MemberId),
}

/// Some sound of one speaker.
#[derive(Debug, Clone, Copy)]
pub struct Chunk {
    /// Whose.
    pub who: Who,
    /// Where it stands on the time line, in samples.
    pub at: u64,
    /// The sound.
    pub samples: [f32; BLOCK],
}

/// What the ends of the rings share.
#[derive(Debug, Default)]
pub struct Line {
    /// Samples rendered since the beginning.
    now: AtomicU64,
    /// Chunks that found no room.
    lost: AtomicU64,
}

/// The end of a ring that playback or capture holds.
#[derive(Debug)]
pub struct Tape {
    ring: Producer<Chunk>,
    line: Arc<Line>,
    /// Where our own sound goes on.
    own: Option<u64>,
}

impl Tape {
    /// A speaker's block, as it is played at this moment.
    pub fn push(&mut self, member: MemberId, samples: &[f32; BLOCK]) {
        let at = self.line.now.load(Ordering::Relaxed);
        self.put(Chunk { who: Who::Member(member), at, samples: *samples });
    }

    /// Playback has rendered a block.
    pub fn advance(&self) {
        self.line.now.fetch_add(BLOCK as u64, Ordering::Relaxed);
    }

    /// A frame of 10 ms of our own, at 48 or 16 kHz, that was spoken just now.
    pub fn push_own(&mut self, frame: &[f32]) {
        let now = self.line.now.load(Ordering::Relaxed).saturating_sub(FRAME);
        let mut at = match self.own {
            Some(next) if next.abs_diff(now) <= DRIFT_MAX => next,
            _ => now,
        };
        let each = (FRAME as usize / frame.len().max(1)).max(1);
        let mut long = frame.iter().flat_map(|sample| std::iter::repeat_n(*sample, each));
        for _ in 0..FRAME as usize / BLOCK {
            let mut samples = [0.0; BLOCK];
            samples.iter_mut().zip(&mut long).for_each(|(out, sample)| *out = sample);
            self.put(Chunk { who: Who::Own, at, samples });
            at += BLOCK as u64;
        }
        self.own = Some(at);
    }

    fn put(&mut self, chunk: Chunk) {
        if self.ring.push(chunk).is_err() {
            self.line.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Where an actor finds the tape that it is to fill, if there is news of one.
#[derive(Debug, Default)]
pub struct Slot {
    fresh: AtomicBool,
    tape: Mutex<Option<Tape>>,
}

impl Slot {
    /// From now on this one, or none.
    pub fn put(&self, tape: Option<Tape>) {
        *lock(&self.tape) = tape;
        self.fresh.store(true, Ordering::Release);
    }

    /// The news since the last call, if there is any.
    pub fn take(&self) -> Option<Option<Tape>> {
        let news = self.fresh.swap(false, Ordering::AcqRel);
        news.then(|| lock(&self.tape).take())
    }
}

/// How a recording has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingEnd {
    /// Where the files are.
    pub directory: PathBuf,
    /// Their names, the mix first.
    pub files: Vec<String>,
    /// How long they are, in ms.
    pub length_ms: u64,
    /// How much sound is missing because the disk was too slow, in ms, summed over all who spoke.
    pub lost_ms: u64,
    /// Why it has ended by itself, in the system's words.
    pub error: Option<String>,
}

/// Starts and ends recordings; knows the names of those in the room.
#[derive(Debug, Default)]
pub struct Recorder {
    /// For playback.
    pub played: Slot,
    /// For capture.
    pub spoken: Slot,
    names: Arc<Mutex<BTreeMap<MemberId, String>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Recorder {
    /// This member is called so.
    pub fn learn(&self, id: MemberId, name: &str) {
        let mut names = lock(&self.names);
        if names.len() >= RECORDING_NAMES_MAX && !names.contains_key(&id) {
            names.pop_first();
        }
        names.insert(id, name.to_owned());
    }

    /// Records into this directory from now on; `own` is our name, `began` the beginning as it stands in
    /// names of files. How it ends comes as an event.
    pub fn start(
        &self,
        directory: PathBuf,
        own: String,
        began: String,
        events: mpsc::Sender<VoiceEvent>,
    ) {
        let line = Arc::new(Line::default());
        let (played, played_out) = RingBuffer::new(RECORDING_CHUNKS_MAX);
        let (spoken, spoken_out) = RingBuffer::new(RECORDING_CHUNKS_MAX);
        let tape = |ring| Tape { ring, line: line.clone(), own: None };
        let (played, spoken) = (tape(played), tape(spoken));
        let names = self.names.clone();
        let name_of = move |who| match who {
            Who::Own => Some(own.clone()),
            Who::Member(id) => lock(&names).get(&id).cloned(),
        };
        let end_events = events.clone();
        let end_directory = directory.clone();
        let write = move || {
            let files = Files::new(directory, began, Box::new(name_of));
            let end = record([played_out, spoken_out], &line, files);
            tell(&events, end);
        };
        let spawned = std::thread::Builder::new().name("recording".to_owned()).spawn(write);
        match spawned {
            Ok(thread) => {
                self.played.put(Some(played));
                self.spoken.put(Some(spoken));
                *lock(&self.thread) = Some(thread);
            }
            Err(error) => {
                let _ = end_events.try_send(VoiceEvent::RecordingEnded(RecordingEnd {
                    directory: end_directory,
                    files: Vec::new(),
                    length_ms: 0,
                    lost_ms: 0,
                    error: Some(error.to_string()),
                }));
            }
        }
    }

    /// Ends it; what was said is written, and its end is told.
    pub fn stop(&self) {
        self.played.put(None);
        self.spoken.put(None);
    }

    /// The thread that writes the last recording, to be waited for.
    pub fn take_thread(&self) -> Option<JoinHandle<()>> {
        // Whoever holds tapes has ended: nothing more comes.
        lock(&self.played.tape).take();
        lock(&self.spoken.tape).take();
        lock(&self.thread).take()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes what comes until nobody holds the other ends.
fn record(mut rings: [Consumer<Chunk>; 2], line: &Line, mut files: Files) -> RecordingEnd {
    let mut looks = 0;
    let error = loop {
        // First this, then the rest: nothing comes after it.
        let over = rings.iter().all(Consumer::is_abandoned);
        let mut result = files.open();
        for ring in &mut rings {
            while let Ok(chunk) = ring.pop() {
                result = result.and_then(|()| files.put(&chunk));
            }
        }
        looks += 1;
        let now = line.now.load(Ordering::Relaxed);
        if over || looks % FLUSH_EVERY == 0 {
            result = result.and_then(|()| files.flush(now, over));
        }
        match result {
            Err(why) => break Some(why),
            Ok(()) if over => break None,
            Ok(()) => std::thread::park_timeout(LOOK),
        }
    };
    let ms = |samples: u64| samples / (FRAME / 10);
    RecordingEnd {
        directory: files.directory().to_owned(),
        files: files.names(),
        length_ms: ms(line.now.load(Ordering::Relaxed)),
        lost_ms: ms(line.lost.load(Ordering::Relaxed) * BLOCK as u64),
        error,
    }
}

/// Tells the end; waits a while where the client is behind, and gives up where it is gone.
fn tell(events: &mpsc::Sender<VoiceEvent>, end: RecordingEnd) {
    let mut event = VoiceEvent::RecordingEnded(end);
    for _ in 0..TELL_TRIES {
        match events.try_send(event) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => return,
            Err(mpsc::error::TrySendError::Full(again)) => event = again,
        }
        std::thread::park_timeout(LOOK);
    }
}

#[cfg(test)]
mod tests;
