//! The jitter buffer of one speaker: packets in, in any order and at any time; out, what to play next.
//!
//! Pure: time comes in as an argument. Playout is measured against the fastest packets of the last
//! ten seconds: a packet that took as long as they did is due `target` later. The target follows
//! the spread of the arrivals. Nothing here stretches sound; [`JitterBuffer::deviation_ms`] says by
//! how much playout is behind or ahead of where it should be, and the owner of the samples acts.
//!
//! Silence is not loss: empty packets end a talkspurt, a later one starts by its own time stamp.

use crate::net::limits::JITTER_PACKETS_MAX;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Delay before anything is known of the path.
const TARGET_START_MS: f64 = 40.0;
/// Least delay aimed for.
const TARGET_MIN_MS: f64 = 20.0;
/// Most delay aimed for.
const TARGET_MAX_MS: f64 = 400.0;
/// What the puller's own unevenness (device periods, timers) takes.
const SLACK_MS: f64 = 10.0;
/// How fast the target comes down, in ms per second of received speech.
const TARGET_FALL: f64 = 4.0;
/// Share of the packets that must come in time.
const IN_TIME: f64 = 0.97;
/// Arrivals are remembered this long, and this many of them.
const MEMORY: Duration = Duration::from_secs(10);
const MEMORY_PACKETS: usize = 512;
/// Beyond this a stream's clock is taken to have been set anew, not to be late.
const RESET_MS: f64 = 400.0;
/// A pause in the arrivals after which a stream's clock may have been set anew.
const PAUSE_MS: f64 = 200.0;
/// A burst after an outage is over by then.
const OUTAGE_MS: f64 = 1000.0;
/// Arrivals between two reviews of the target.
const REVIEW_PACKETS: u32 = 4;
/// How much longer than the target a packet may have waited before it is skipped.
const STALE_MS: f64 = 300.0;
/// A stream that just stops is concealed for this long.
const STARVE_MAX_MS: f64 = 100.0;

/// An authentic packet on its way to the decoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Sequence number with its roll-overs.
    pub index: u64,
    /// RTP time stamp.
    pub timestamp: u32,
    /// Starts a talkspurt.
    pub marker: bool,
    /// What it lasts, in units of the clock; 0 ends a talkspurt.
    pub duration: u32,
    /// The payload as received.
    pub payload: Vec<u8>,
}

/// What to play next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Decode and play this packet, without its first `skip` units.
    Voice {
        /// The packet.
        packet: Packet,
        /// Units that concealment has stood in for already.
        skip: u32,
        /// Begins a talkspurt.
        begins: bool,
    },
    /// Something is missing: make this many units up.
    Conceal(u32),
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
    /// Packets that came after their time.
    pub late: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// Between talkspurts.
    Idle,
    /// Inside one: the media time that comes next, in units, and what was made up while starving.
    Playing { next: i64, held: i64 },
}

/// One speaker's packets.
#[derive(Debug)]
pub struct JitterBuffer {
    clock_hz: u32,
    origin: Instant,
    packets: BTreeMap<u64, (Packet, i64)>,
    state: State,
    /// Index after the last one played or skipped.
    next_index: Option<u64>,
    /// Unrolled media time of the last packet that came.
    last_media: Option<i64>,
    /// Arrival time and offset (arrival minus media time), in ms.
    offsets: VecDeque<(f64, f64)>,
    base: f64,
    target: f64,
    /// When a burst of packets that had been stuck began to come, in ms.
    outage: Option<f64>,
    since_review: u32,
    reviewed_ms: f64,
    figures: JitterFigures,
}

impl JitterBuffer {
    /// An empty buffer for a stream of this RTP clock.
    #[must_use]
    pub fn new(clock_hz: u32, now: Instant) -> Self {
        Self {
            clock_hz: clock_hz.max(1),
            origin: now,
            packets: BTreeMap::new(),
            state: State::Idle,
            next_index: None,
            last_media: None,
            offsets: VecDeque::new(),
            base: 0.0,
            target: TARGET_START_MS,
            outage: None,
            since_review: 0,
            reviewed_ms: 0.0,
            figures: JitterFigures::default(),
        }
    }

    /// Counters.
    #[must_use]
    pub fn figures(&self) -> JitterFigures {
        self.figures
    }

    /// The delay aimed for, in ms.
    #[must_use]
    pub fn target_ms(&self) -> f64 {
        self.target
    }

    /// Takes a packet that came at `now`. The caller has dropped duplicates by the replay window;
    /// those that come all the same are passed over.
    pub fn insert(&mut self, packet: Packet, now: Instant) {
        if self.packets.contains_key(&packet.index) {
            return;
        }
        let media = self.unroll(packet.timestamp);
        self.figures.received += 1;
        if let Some(next) = self.next_index.filter(|next| packet.index < *next) {
            // It was given up already: late, not lost.
            if next - packet.index < 1 << 15 {
                self.figures.lost = self.figures.lost.saturating_sub(1);
                if packet.duration > 0 {
                    self.figures.late += 1;
                    self.note_arrival(media, now, false);
                }
            }
            return;
        }
        if packet.duration > 0 {
            let restarts = packet.marker || self.last_media.is_none();
            self.note_arrival(media, now, restarts);
        }
        self.last_media = Some(self.last_media.map_or(media, |last| last.max(media)));
        self.packets.insert(packet.index, (packet, media));
        while self.packets.len() > JITTER_PACKETS_MAX {
            self.drop_first();
        }
    }

    /// What to play next, where `ahead` units of this stream are decoded and not played.
    pub fn next(&mut self, now: Instant, ahead: u32) -> Next {
        let now_ms = self.ms(now);
        loop {
            let (next, held) = match self.state {
                State::Idle => return self.begin(now_ms),
                State::Playing { next, held } => (next, held),
            };
            let Some((&index, &(ref packet, media))) = self.packets.first_key_value() else {
                return self.starve(next, held);
            };
            let end = media + i64::from(packet.duration);
            let expected = self.next_index.unwrap_or(index);
            if packet.duration == 0 {
                // The end of the talkspurt, unless voice before it is still missing.
                if media <= next + held || index == expected {
                    self.pass(index);
                    self.state = State::Idle;
                    self.skip_ends();
                    continue;
                }
            } else if end <= next {
                // Wholly concealed already: it came too late.
                self.figures.late += 1;
                self.pass(index);
                continue;
            } else if media <= next + held {
                let skip = u32::try_from(next - media).unwrap_or(0);
                let delay = self.delay(now_ms, media.max(next), ahead);
                if delay > self.target + STALE_MS {
                    self.pass(index);
                    self.state = State::Playing { next: end, held: 0 };
                    continue;
                }
                let Some((packet, _)) = self.take(index) else { continue };
                self.state = State::Playing { next: end, held: 0 };
                return Next::Voice { packet, skip, begins: false };
            } else if index == expected {
                // Nothing is missing, time has passed: the speaker was silent.
                self.state = State::Idle;
                continue;
            }
            // Something before this packet is missing, and it is its turn.
            let gap = media - next - held;
            if self.units_ms(gap) > STARVE_MAX_MS {
                self.state = State::Idle;
                continue;
            }
            let step = gap.min(self.units(10.0)).max(1);
            self.state = State::Playing { next: next + held + step, held: 0 };
            return Next::Conceal(u32::try_from(step).unwrap_or(1));
        }
    }

    /// How far playout is behind (positive) or ahead of its target, in ms; none while silent.
    #[must_use]
    pub fn deviation_ms(&self, now: Instant, ahead: u32) -> Option<f64> {
        match self.state {
            State::Playing { next, held: 0 } => {
                Some(self.delay(self.ms(now), next, ahead) - self.target)
            }
            _ => None,
        }
    }

    /// Whether voice that directly follows what was handed out is here.
    #[must_use]
    pub fn has_more(&self) -> bool {
        match (self.state, self.packets.first_key_value()) {
            (State::Playing { next, held: 0 }, Some((_, (packet, media)))) => {
                packet.duration > 0 && *media == next
            }
            _ => false,
        }
    }

    /// Between talkspurts: starts the next one when it is due.
    fn begin(&mut self, now_ms: f64) -> Next {
        self.skip_ends();
        loop {
            let Some((&index, &(_, media))) = self.packets.first_key_value() else {
                return Next::Silence;
            };
            let delay = self.delay(now_ms, media, 0);
            // A tenth of a millisecond for rounding.
            if delay + 0.1 < self.target {
                return Next::Silence;
            }
            if delay > self.target + STALE_MS && self.packets.len() > 1 {
                self.pass(index);
                self.skip_ends();
                continue;
            }
            let Some((packet, media)) = self.take(index) else { return Next::Silence };
            self.state = State::Playing { next: media + i64::from(packet.duration), held: 0 };
            return Next::Voice { packet, skip: 0, begins: true };
        }
    }

    /// Inside a talkspurt and nothing there: wait a little for what is late, then give up.
    fn starve(&mut self, next: i64, held: i64) -> Next {
        if self.units_ms(held) >= STARVE_MAX_MS {
            self.state = State::Idle;
            return Next::Silence;
        }
        let step = self.units(5.0).max(1);
        self.state = State::Playing { next, held: held + step };
        Next::Conceal(u32::try_from(step).unwrap_or(1))
    }

    /// Passes over the packets that end a talkspurt.
    fn skip_ends(&mut self) {
        while let Some((&index, (packet, _))) = self.packets.first_key_value() {
            if packet.duration > 0 {
                break;
            }
            self.pass(index);
        }
    }

    /// Removes a packet and counts what is missing before it.
    fn take(&mut self, index: u64) -> Option<(Packet, i64)> {
        if let Some(expected) = self.next_index {
            self.figures.lost += index.saturating_sub(expected);
        }
        self.next_index = Some(index + 1);
        self.packets.remove(&index)
    }

    fn pass(&mut self, index: u64) {
        self.take(index);
    }

    /// Makes room: the oldest packet goes, and playout goes on after it.
    fn drop_first(&mut self) {
        if let Some((&index, _)) = self.packets.first_key_value()
            && let Some((packet, media)) = self.take(index)
            && let State::Playing { next, .. } = self.state
        {
            let next = next.max(media + i64::from(packet.duration));
            self.state = State::Playing { next, held: 0 };
        }
    }

    /// Keeps the offset of a packet and sets base and target anew.
    fn note_arrival(&mut self, media: i64, now: Instant, restarts: bool) {
        let at = self.ms(now);
        let offset = at - self.units_ms(media);
        while self.offsets.front().is_some_and(|(then, _)| at - then > MEMORY.as_secs_f64() * 1e3)
            || self.offsets.len() >= MEMORY_PACKETS
        {
            self.offsets.pop_front();
        }
        let previous = self.offsets.back().map_or(at, |(then, _)| *then);
        if !self.offsets.is_empty() {
            let pause = at - previous > PAUSE_MS;
            let late = offset - self.base;
            if late < -RESET_MS || (late > RESET_MS && restarts) {
                self.offsets.clear();
            } else if self.outage.is_some() || (late > RESET_MS && pause) {
                // What was stuck somewhere comes in a burst. It says nothing of what follows,
                // unless it goes on like this: then the path or the clock has changed.
                let since = *self.outage.get_or_insert(at);
                if late > self.target && at - since < OUTAGE_MS {
                    return;
                }
                if late > RESET_MS {
                    self.offsets.clear();
                }
            }
        }
        self.outage = None;
        self.offsets.push_back((at, offset));
        self.since_review += 1;
        self.base = if self.offsets.len() == 1 { offset } else { self.base.min(offset) };
        // The review looks at all that is remembered: now and then, and when a packet is late.
        let late = offset - self.base + SLACK_MS > self.target;
        if !late && self.since_review < REVIEW_PACKETS {
            return;
        }
        self.since_review = 0;
        self.base = self.offsets.iter().map(|(_, o)| *o).fold(f64::INFINITY, f64::min);
        let wanted = self.wanted();
        let elapsed = (at - std::mem::replace(&mut self.reviewed_ms, at)).clamp(0.0, 100.0);
        if wanted >= self.target {
            self.target = wanted;
        } else if self.offsets.len() > 10 {
            self.target = (self.target - elapsed / 1e3 * TARGET_FALL).max(wanted);
        }
    }

    /// The delay that most of the remembered packets would have been in time for.
    fn wanted(&self) -> f64 {
        let mut spread: Vec<f64> = self.offsets.iter().map(|(_, o)| o - self.base).collect();
        let rank = ((spread.len() - 1) as f64 * IN_TIME).ceil() as usize;
        // With few packets known, one late packet must not decide.
        let rank = if spread.len() < 20 { rank.saturating_sub(1) } else { rank };
        let (_, spread, _) = spread.select_nth_unstable_by(rank, f64::total_cmp);
        (*spread + SLACK_MS).clamp(TARGET_MIN_MS, TARGET_MAX_MS)
    }

    /// How long after the fastest arrivals the media time `at`, less `ahead`, is played.
    fn delay(&self, now_ms: f64, at: i64, ahead: u32) -> f64 {
        now_ms - self.units_ms(at - i64::from(ahead)) - self.base
    }

    fn unroll(&self, timestamp: u32) -> i64 {
        match self.last_media {
            Some(last) => last + i64::from(timestamp.wrapping_sub(last as u32) as i32),
            None => i64::from(timestamp),
        }
    }

    fn ms(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.origin).as_secs_f64() * 1e3
    }

    fn units_ms(&self, units: i64) -> f64 {
        units as f64 * 1e3 / f64::from(self.clock_hz)
    }

    fn units(&self, ms: f64) -> i64 {
        (ms * f64::from(self.clock_hz) / 1e3) as i64
    }
}
