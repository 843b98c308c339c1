//! The jitter buffer of one stream: packets in, in any order and at any time; out, what to play next.
//!
//! Pure: time comes in as an argument. Frames are kept by their media time, and it does not matter
//! whether a packet of their own or a copy in a later one brought them: what comes first counts.
//! Playout is measured against the fastest frames (see [`Delays`]): a frame that took as long as
//! they did is due `target` later. Nothing here stretches sound; [`JitterBuffer::deviation_ms`] says
//! by how much playout is behind or ahead of where it should be, and the owner of the samples acts.
//!
//! Silence is not loss: empty packets end a talkspurt, a later one starts by its own time stamp.
//! Media times and lengths are in samples at 48 kHz, whatever the stream's RTP clock.

use super::delays::Delays;
use crate::net::codec::{OPUS_RATE, PT_OPUS, PayloadType};
use crate::net::frames::{Frame, frames};
use crate::net::limits::{JITTER_FRAMES_MAX, JITTER_GAPS_MAX};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Beyond this a stream's clock is taken to have been set anew, not to be late.
const RESET_MS: f64 = 400.0;
/// A pause in the arrivals after which a stream's clock may have been set anew.
const PAUSE_MS: f64 = 200.0;
/// A burst after an outage is over by then.
const OUTAGE_MS: f64 = 1000.0;
/// How much longer than the target a frame may have waited before it is skipped.
const STALE_MS: f64 = 300.0;
/// A stream that just stops is made up for this long: 200 ms. By then what the decoder makes up has faded.
const STARVE_MAX: i64 = 9600;
/// A gap is made up for this long before it becomes silence: 200 ms.
const GAP_MAX: i64 = 9600;
/// What a talkspurt begins with may have been kept for it, and come in one burst: 200 ms.
const OPENING: i64 = 9600;
/// Steps in which a gap is made up where nothing says how long its frames were: 10 ms.
const GAP_STEP: i64 = 480;
/// Steps in which it is waited for what is late: 2.5 ms.
const WAIT_STEP: i64 = 120;
/// A packet of Opus that is no longer says only that there is silence.
const DTX_BYTES_MAX: usize = 2;
/// Room for a frame from the start, so that no buffer grows later: the longest of Opus has 1275 bytes.
const FRAME_BYTES: usize = 1275;
/// Frames that there is room for from the start, so that nothing is allocated when the delay grows.
const READY: usize = 32;
/// How long the least playout delay is looked for, in halves of this.
const WINDOW: Duration = Duration::from_millis(80);
/// Time stamps that go back by more than this, in later packets, are those of another clock: 20 ms.
const BACKWARD: i64 = 960;

/// An authentic packet of voice on its way to playback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Sequence number with its roll-overs.
    pub index: u64,
    /// RTP time stamp of its own frame.
    pub timestamp: u32,
    /// Starts a talkspurt.
    pub marker: bool,
    /// What its own frame lasts, in units of the RTP clock; 0 ends a talkspurt.
    pub duration: u32,
    /// What the payload is.
    pub payload_type: PayloadType,
    /// The payload as received.
    pub payload: Vec<u8>,
}

/// One frame, as it waits to be decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// Media time at which it begins.
    pub media: i64,
    /// What it lasts; 0 ends a talkspurt.
    pub duration: i64,
    /// RTP time stamp.
    pub timestamp: u32,
    /// What it is encoded as.
    pub payload_type: PayloadType,
    /// A copy in a later packet brought it.
    pub copy: bool,
    /// Its packet starts a talkspurt.
    marker: bool,
    /// Nothing is missing before it, though it does not follow directly: the speaker was silent.
    after_silence: bool,
    at_ms: f64,
    /// The frame.
    pub data: Vec<u8>,
}

/// What to play next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Decode and play this frame, without its first `skip` samples. Give it back by `recycle`.
    Voice {
        /// The frame.
        frame: Held,
        /// Samples that something else has stood in for already.
        skip: usize,
        /// Begins to sound after silence.
        begins: bool,
        /// Begins a talkspurt: its sender has coded it without what was before.
        anew: bool,
    },
    /// This is missing and its time has come: what was not played of it yet must be made up.
    Gap {
        /// Media time at which the missing frame begins.
        from: i64,
        /// Media time at which it ends.
        to: i64,
        /// Samples of it that waiting has stood in for already.
        skip: usize,
    },
    /// What comes next may be late: make this many samples up meanwhile.
    Wait(usize),
    /// Nobody speaks.
    Silence,
}

/// Counters since the stream began.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct JitterFigures {
    /// Packets that came.
    pub received: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Packets whose frame came after its time.
    pub late: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// Between talkspurts.
    Idle,
    /// Inside one: the media time that comes next, what was made up while waiting for it, and how
    /// much of the present gap was made up.
    Playing { next: i64, held: i64, made: i64 },
}

/// What is known of a frame by the packet that brought it.
#[derive(Debug, Clone, Copy)]
struct Origin {
    media: i64,
    timestamp: u32,
    marker: bool,
    after_silence: bool,
    at: f64,
    /// It came with many others that had been stuck.
    stuck: bool,
}

/// One stream's frames.
#[derive(Debug)]
pub struct JitterBuffer {
    clock_hz: u32,
    origin: Instant,
    /// By media time, ends of talkspurts before voice.
    frames: VecDeque<Held>,
    /// Buffers of frames that were played.
    spare: Vec<Vec<u8>>,
    state: State,
    /// The last talkspurt has ended, and no other has begun.
    ended: bool,
    /// The last frame said that there is silence (DTX): nothing need follow it.
    silent: bool,
    /// Media time up to which was played, whatever the state.
    played: Option<i64>,
    /// What was made up lately: begins and ends.
    gaps: VecDeque<(i64, i64)>,
    /// Index of the newest packet, and the media times of its begin and end.
    newest: Option<(u64, i64, i64)>,
    /// Media time at which the opening of the last talkspurt ends.
    opening: Option<i64>,
    /// Lowest index so far.
    lowest: u64,
    received: u64,
    late: u64,
    delays: Delays,
    last_arrival: f64,
    /// When a burst of packets that had been stuck began to come, in ms.
    outage: Option<f64>,
    least: Least,
    frame: i64,
}

/// The least delay of the last frames when they were needed, as time minus media time in ms.
#[derive(Debug, Default)]
struct Least {
    began: Option<Instant>,
    before: Option<f64>,
    now: Option<f64>,
}

impl JitterBuffer {
    /// An empty buffer for a stream of this RTP clock.
    #[must_use]
    pub fn new(clock_hz: u32, now: Instant) -> Self {
        let mut spare = Vec::with_capacity(JITTER_FRAMES_MAX + 1);
        spare.extend((0..READY).map(|_| Vec::with_capacity(FRAME_BYTES)));
        Self {
            clock_hz: clock_hz.clamp(1, OPUS_RATE),
            origin: now,
            frames: VecDeque::with_capacity(JITTER_FRAMES_MAX + 1),
            spare,
            state: State::Idle,
            ended: true,
            silent: false,
            played: None,
            gaps: VecDeque::with_capacity(JITTER_GAPS_MAX + 1),
            newest: None,
            opening: None,
            lowest: u64::MAX,
            received: 0,
            late: 0,
            delays: Delays::default(),
            last_arrival: 0.0,
            outage: None,
            least: Least::default(),
            frame: GAP_STEP,
        }
    }

    /// Counters.
    #[must_use]
    pub fn figures(&self) -> JitterFigures {
        let expected = self.newest.map_or(0, |(index, ..)| index - self.lowest + 1);
        let lost = expected.saturating_sub(self.received);
        JitterFigures { received: self.received, lost, late: self.late }
    }

    /// The delay aimed for, in ms.
    #[must_use]
    pub fn target_ms(&self) -> f64 {
        self.delays.target()
    }

    /// The stream of `other`, of the same speaker, goes over into this one: its end is our beginning at
    /// this time stamp, which is that of the first packet, come at `now`.
    pub fn follow(&mut self, other: &Self, timestamp: u32, now: Instant) {
        let Some((_, _, end)) = other.newest else { return };
        let (now_ms, began) = (self.ms(now), self.ms_of(other.origin));
        let base = other.delays.base() + began + samples_ms(end)
            - samples_ms(self.media_of(i64::from(timestamp)));
        let late = now_ms - samples_ms(self.media_of(i64::from(timestamp))) - base;
        // What does not go on where the other ended has a clock of its own.
        if other.delays.is_known() && (-50.0..PAUSE_MS).contains(&late) {
            self.delays.follow(now_ms, base, other.delays.target());
        }
    }

    /// Takes a packet that came at `now`. The caller has dropped duplicates by the replay window, and
    /// packets whose payload is malformed.
    pub fn insert(&mut self, packet: &Packet, now: Instant) {
        let Ok(frames) = frames(packet.payload_type, self.clock_hz, &packet.payload) else {
            return;
        };
        let at = self.ms(now);
        let own = self.unroll(packet.timestamp);
        let duration = self.media_of(i64::from(packet.duration));
        let mut after_silence = packet.marker;
        if let Some((index, begin, end)) = self.newest
            && packet.index > index
        {
            if own < begin - BACKWARD {
                self.restart();
            } else if packet.index == index + 1 && own > end {
                after_silence = true;
            }
        }
        let begins = packet.marker
            || self.newest.is_none_or(|(index, begin, end)| packet.index > index && begin == end);
        if duration > 0 && begins {
            self.opening = Some(own + OPENING);
        }
        self.received += 1;
        self.lowest = self.lowest.min(packet.index);
        if self.newest.is_none_or(|(index, ..)| packet.index > index) {
            self.newest = Some((packet.index, own, own + duration));
        }
        let stuck = self.is_stuck(own, at, packet.marker);
        self.last_arrival = at;
        for frame in frames {
            let first = frame.offset == 0;
            let from = Origin {
                media: own - self.media_of(i64::from(frame.offset)),
                timestamp: packet.timestamp.wrapping_sub(frame.offset),
                marker: packet.marker && first,
                after_silence: after_silence && first,
                at,
                stuck,
            };
            self.offer(&frame, from);
        }
        while self.frames.len() > JITTER_FRAMES_MAX {
            self.drop_first();
        }
    }

    /// What to play next. `needed`: it must sound now; otherwise only what is here is asked for.
    pub fn next(&mut self, now: Instant, needed: bool) -> Next {
        let now_ms = self.ms(now);
        loop {
            let State::Playing { next, held, made } = self.state else {
                return self.begin(now_ms);
            };
            let Some(front) = self.frames.front() else {
                return self.starve(next, held, made);
            };
            let (media, end) = (front.media, front.media + front.duration);
            if front.duration == 0 {
                // The end of the talkspurt, unless voice before it is still missing.
                if media <= next + held || front.after_silence {
                    self.pass();
                    self.ended = true;
                    self.rest(next.max(media.min(next + held)));
                    continue;
                }
            } else if end <= next {
                // Wholly made up already.
                self.pass();
                continue;
            } else if media <= next + held {
                if needed {
                    let passed = now_ms - samples_ms(next.max(media));
                    self.least.note(now, passed);
                }
                if self.delay(now_ms, media.max(next)) > self.target_ms() + STALE_MS {
                    self.pass();
                    self.play_on(end);
                    continue;
                }
                let Some(frame) = self.frames.pop_front() else { continue };
                if media > next {
                    self.give_up(next, media);
                }
                // What was waited for nothing that was missing is delay from now on.
                self.least.shift(samples_ms(held - (media - next).max(0)));
                self.take(&frame);
                let skip = usize::try_from(next - media).unwrap_or(0);
                return Next::Voice { frame, skip, begins: false, anew: false };
            } else if front.after_silence {
                // Nothing is missing, time has passed: the speaker was silent.
                self.rest(next);
                continue;
            }
            // Something before this frame is missing, and it is its turn.
            if made >= GAP_MAX {
                self.rest(next);
                continue;
            }
            let step = (media - next).min(self.frame.max(GAP_STEP)).max(1);
            let skip = usize::try_from(held.min(step)).unwrap_or(0);
            self.give_up(next, next + step);
            let (held, made) = ((held - step).max(0), made + step);
            self.state = State::Playing { next: next + step, held, made };
            return Next::Gap { from: next, to: next + step, skip };
        }
    }

    /// The frame that comes first of what is here, unless it ends the talkspurt.
    #[must_use]
    pub fn front(&self) -> Option<&Held> {
        self.frames.front().filter(|frame| frame.duration > 0)
    }

    /// Whether voice waits to be played.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.frames.iter().any(|frame| frame.duration > 0)
    }

    /// Takes back the buffer of a frame.
    pub fn recycle(&mut self, frame: Held) {
        if self.spare.len() < JITTER_FRAMES_MAX {
            self.spare.push(frame.data);
        }
    }

    /// A frame that was given up was made good by what came with the one after it, so late did it come.
    pub fn repaired(&mut self, media: i64, duration: i64, at_ms: f64) {
        self.gaps.retain(|gap| gap.0 != media);
        self.note(media, duration, at_ms);
    }

    /// How far playout is behind (positive) or ahead of its target, in ms; none while silent.
    #[must_use]
    pub fn deviation_ms(&self) -> Option<f64> {
        match self.state {
            State::Playing { held: 0, .. } => {
                Some(self.least.value()? - self.delays.base() - self.target_ms())
            }
            _ => None,
        }
    }

    /// What is played has become longer (or shorter) by so many ms than what was said.
    pub fn stretched(&mut self, ms: f64) {
        self.least.shift(ms);
    }

    /// Whether the last talkspurt has ended, as its sender said, and no other has begun.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether voice that directly follows what was handed out is here.
    #[must_use]
    pub fn has_more(&self) -> bool {
        match (self.state, self.front()) {
            (State::Playing { next, held: 0, .. }, Some(frame)) => frame.media == next,
            _ => false,
        }
    }

    /// Between talkspurts: starts the next one when it is due.
    fn begin(&mut self, now_ms: f64) -> Next {
        loop {
            let Some(front) = self.frames.front() else { return Next::Silence };
            if front.duration == 0 {
                self.pass();
                self.ended = true;
                continue;
            }
            let delay = self.delay(now_ms, front.media);
            // A tenth of a millisecond for rounding.
            if delay + 0.1 < self.target_ms() {
                return Next::Silence;
            }
            if delay > self.target_ms() + STALE_MS && self.frames.len() > 1 {
                self.pass();
                continue;
            }
            let Some(frame) = self.frames.pop_front() else { return Next::Silence };
            let skip = self.played.map_or(0, |played| (played - frame.media).max(0));
            self.least = Least::default();
            self.take(&frame);
            let skip = usize::try_from(skip).unwrap_or(0);
            let anew = std::mem::take(&mut self.ended) || frame.marker;
            return Next::Voice { frame, skip, begins: true, anew };
        }
    }

    /// Inside a talkspurt and nothing there: wait a little for what is late, then give up.
    fn starve(&mut self, next: i64, held: i64, made: i64) -> Next {
        if self.silent {
            self.rest(next);
            return Next::Silence;
        }
        if held + made >= STARVE_MAX {
            if held > 0 {
                self.give_up(next, next + held);
            }
            self.rest(next);
            return Next::Silence;
        }
        // What has not come by then is most likely lost, and a decoder makes up 10 ms at a time.
        let step = if held < GAP_STEP { WAIT_STEP } else { GAP_STEP };
        self.state = State::Playing { next, held: held + step, made };
        Next::Wait(usize::try_from(step).unwrap_or(0))
    }

    fn take(&mut self, frame: &Held) {
        self.frame = frame.duration;
        self.silent = frame.is_silent();
        self.play_on(frame.media + frame.duration);
    }

    fn play_on(&mut self, next: i64) {
        self.played = Some(next);
        self.state = State::Playing { next, held: 0, made: 0 };
    }

    /// The talkspurt is over.
    fn rest(&mut self, played: i64) {
        self.played = Some(played);
        self.state = State::Idle;
    }

    /// A frame of a packet that has come.
    fn offer(&mut self, frame: &Frame<'_>, from: Origin) {
        let Origin { media, timestamp, marker, after_silence, at, stuck } = from;
        let duration = self.media_of(i64::from(frame.duration));
        let (end, copy) = (media + duration, frame.offset > 0);
        let place = self
            .frames
            .partition_point(|held| (held.media, held.duration > 0) < (media, duration > 0));
        let over = match self.state {
            State::Playing { next, .. } => Some(next),
            State::Idle => self.played,
        };
        if duration == 0 && over.is_some_and(|over| media < over) {
            // An end that was there already, or of a talkspurt before this one.
            return;
        }
        if duration > 0 {
            if over.is_some_and(|over| end <= over) {
                // Its time is over: too late if something was made up for it, else here already.
                if let Some(gap) = self.gaps.iter().position(|gap| gap.0 < end && media < gap.1) {
                    self.gaps.remove(gap);
                    self.late += u64::from(!copy);
                    if !stuck {
                        self.note(media, duration, at);
                    }
                }
                return;
            }
            if let Some(known) = self.frames.get_mut(place)
                && known.media == media
                && known.duration > 0
            {
                known.copy &= copy;
                return;
            }
            if !stuck {
                self.note(media, duration, at);
            }
        }
        let mut data = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(FRAME_BYTES));
        data.clear();
        data.extend_from_slice(frame.data);
        let held = Held {
            media,
            duration,
            timestamp,
            payload_type: frame.payload_type,
            copy,
            marker,
            after_silence,
            at_ms: at,
            data,
        };
        self.frames.insert(place, held);
    }

    fn note(&mut self, media: i64, duration: i64, at: f64) {
        let offset = at - samples_ms(media);
        // What is late at the begin of a talkspurt was kept for it (the pre-roll), not held up.
        // Of its packets the first need not have come first.
        let kept = self.opening.is_some_and(|end| (end - 2 * OPENING..end).contains(&media))
            && self.delays.is_fresh(at)
            && offset - self.delays.base() > self.target_ms();
        if !kept {
            self.delays.note(at, offset, samples_ms(duration));
        }
    }

    /// Whether a packet is one of many that were stuck somewhere and now come in a burst: they say
    /// nothing of what follows, unless it goes on like this. Then the path or the clock has changed.
    fn is_stuck(&mut self, media: i64, at: f64, marker: bool) -> bool {
        if !self.delays.is_known() {
            return false;
        }
        let late = at - samples_ms(media) - self.delays.base();
        let pause = at - self.last_arrival > PAUSE_MS;
        if late < -RESET_MS || (late > RESET_MS && marker) {
            self.delays.restart();
        } else if self.outage.is_some() || (late > RESET_MS && pause) {
            let since = *self.outage.get_or_insert(at);
            if late > self.target_ms() && at - since < OUTAGE_MS {
                return true;
            }
            if late > RESET_MS {
                self.delays.restart();
            }
        }
        self.outage = None;
        false
    }

    /// The stream's clock was set anew: nothing of before has a place on it.
    fn restart(&mut self) {
        while !self.frames.is_empty() {
            self.pass();
        }
        self.state = State::Idle;
        self.played = None;
        self.gaps.clear();
        self.delays.restart();
    }

    fn give_up(&mut self, from: i64, to: i64) {
        if self.gaps.len() >= JITTER_GAPS_MAX {
            self.gaps.pop_front();
        }
        self.gaps.push_back((from, to));
    }

    /// Removes the first frame.
    fn pass(&mut self) {
        if let Some(frame) = self.frames.pop_front() {
            self.recycle(frame);
        }
    }

    /// Makes room: the oldest frame goes, and playout goes on after it.
    fn drop_first(&mut self) {
        let Some(end) = self.frames.front().map(|frame| frame.media + frame.duration) else {
            return;
        };
        self.pass();
        if let State::Playing { next, .. } = self.state {
            self.play_on(next.max(end));
        }
    }

    /// How long after the fastest arrivals the media time `at` is played.
    fn delay(&self, now_ms: f64, at: i64) -> f64 {
        now_ms - samples_ms(at) - self.delays.base()
    }

    /// The media time of a time stamp, near that of the newest packet.
    fn unroll(&self, timestamp: u32) -> i64 {
        let scale = self.media_of(1);
        let units = match self.newest {
            Some((_, begin, _)) => {
                let last = begin / scale;
                last + i64::from(timestamp.wrapping_sub(last as u32) as i32)
            }
            None => i64::from(timestamp),
        };
        units * scale
    }

    fn media_of(&self, units: i64) -> i64 {
        units * i64::from(OPUS_RATE / self.clock_hz)
    }

    fn ms(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.origin).as_secs_f64() * 1e3
    }

    /// As `ms`, and before our beginning it is negative.
    fn ms_of(&self, then: Instant) -> f64 {
        self.ms(then) - self.origin.saturating_duration_since(then).as_secs_f64() * 1e3
    }
}

impl Held {
    /// Whether it says that there is silence from here on (DTX): Opus has no shorter packet.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.payload_type == PT_OPUS && self.data.len() <= DTX_BYTES_MAX
    }

    /// When it came, as [`JitterBuffer::repaired`] takes it.
    #[must_use]
    pub fn at_ms(&self) -> f64 {
        self.at_ms
    }
}

impl Least {
    fn note(&mut self, now: Instant, value: f64) {
        let half = WINDOW / 2;
        if self.began.is_none_or(|began| now.saturating_duration_since(began) >= half) {
            self.before = self.now.take();
            self.began = Some(now);
        }
        self.now = Some(self.now.map_or(value, |least| least.min(value)));
    }

    fn value(&self) -> Option<f64> {
        match (self.before, self.now) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn shift(&mut self, ms: f64) {
        for value in [&mut self.before, &mut self.now] {
            *value = value.map(|value| value + ms);
        }
    }
}

fn samples_ms(samples: i64) -> f64 {
    samples as f64 * 1e3 / f64::from(OPUS_RATE)
}
