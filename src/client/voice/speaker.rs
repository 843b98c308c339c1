//! One speaker as he is played: jitter buffer, decoder, and the line of samples between them and the mix.
//!
//! Pure. Keeps playout at the jitter buffer's target by cutting out or putting in pitch periods,
//! which also makes up for the drift between his sound card and ours.

use super::jitter::{JitterBuffer, JitterFigures, Next, Packet};
use super::stretch::{RATE, SHORTEN_AHEAD, VoiceLine};
use super::tap::Tap;
use crate::net::codec::{L16_RATE, PT_L16, PayloadType, l16_decode};
use crate::net::ids::{MemberId, Ssrc};
use std::time::Instant;

/// Deviation from the target that is left alone, in ms: no single period is longer than twice this.
const TOLERANCE_MS: f64 = 10.0;
/// Deviation that is worth a worse cut, in ms.
const URGENT_MS: f64 = 40.0;
/// Weight of a new deviation in the running mean, at a pull of 5 ms.
const DEVIATION_WEIGHT: f64 = 0.03;
/// Samples between two changes of length, not urgent and urgent.
const PAUSE: usize = 3200;
const PAUSE_URGENT: usize = 480;
/// Samples over which the share of concealment is taken: 3 s.
const CONCEALED_OVER: f32 = 48_000.0;
/// Samples of the fade when a speaker is taken away: 5 ms.
const LEAVE_FADE: usize = 80;

/// A stream's packet as it comes from the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// Who speaks.
    pub member: MemberId,
    /// Which of his streams.
    pub ssrc: Ssrc,
    /// What the payload is.
    pub payload_type: PayloadType,
    /// The packet.
    pub packet: Packet,
    /// When it came.
    pub at: Instant,
}

/// How long a payload lasts in units of its clock; none if nobody here can decode it.
#[must_use]
pub fn duration(payload_type: PayloadType, payload: &[u8]) -> Option<u32> {
    match payload_type {
        PT_L16 if payload.len().is_multiple_of(2) => u32::try_from(payload.len() / 2).ok(),
        _ => None,
    }
}

/// One speaker's way from packets to samples.
#[derive(Debug)]
pub struct Speaker {
    member: MemberId,
    jitter: JitterBuffer,
    line: VoiceLine,
    decoded: Vec<i16>,
    floats: Vec<f32>,
    next_timestamp: Option<u32>,
    speaking: bool,
    leaving: bool,
    deviation_ms: f64,
    since_change: usize,
    /// Samples since a change of length has been wanted.
    waiting: usize,
    concealed: f32,
    last_used: Instant,
}

/// What pulling brought beside samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing has changed.
    Same,
    /// A talkspurt begins to sound.
    Starts,
    /// It has ended.
    Stops,
}

impl Speaker {
    /// A speaker of whom nothing has come yet.
    #[must_use]
    pub fn new(member: MemberId, now: Instant) -> Self {
        Self {
            member,
            jitter: JitterBuffer::new(L16_RATE, now),
            line: VoiceLine::default(),
            decoded: Vec::new(),
            floats: Vec::new(),
            next_timestamp: None,
            speaking: false,
            leaving: false,
            deviation_ms: 0.0,
            since_change: 0,
            waiting: 0,
            concealed: 0.0,
            last_used: now,
        }
    }

    /// Takes a packet.
    pub fn insert(&mut self, packet: Packet, at: Instant) {
        self.last_used = at;
        self.jitter.insert(packet, at);
    }

    /// From now on nothing of this speaker is played but a fade of 5 ms.
    pub fn leave(&mut self) {
        if !self.leaving {
            self.leaving = true;
            self.speaking = false;
            self.line.drop_ahead();
            self.line.rest(LEAVE_FADE);
        }
    }

    /// Taken away: only the fade is left, if anything.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// The fade has been played: nothing is left.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.leaving && self.line.ahead() == 0
    }

    /// Whether a talkspurt sounds.
    #[must_use]
    pub fn is_speaking(&self) -> bool {
        self.speaking
    }

    /// When the last packet came.
    #[must_use]
    pub fn last_used(&self) -> Instant {
        self.last_used
    }

    /// Who it is.
    #[must_use]
    pub fn member(&self) -> MemberId {
        self.member
    }

    /// Counters.
    #[must_use]
    pub fn figures(&self) -> JitterFigures {
        self.jitter.figures()
    }

    /// Share of the last seconds of speech that was made up.
    #[must_use]
    pub fn concealed(&self) -> f32 {
        self.concealed
    }

    /// Playout delay in ms.
    #[must_use]
    pub fn buffer_ms(&self) -> f32 {
        (self.jitter.target_ms() + self.deviation_ms) as f32
    }

    /// The next samples, at 16 kHz.
    pub fn pull(&mut self, now: Instant, out: &mut [f32], tap: Option<&mut Tap>) -> Turn {
        out.fill(0.0);
        if self.leaving {
            self.line.pop(out);
            return Turn::Same;
        }
        let before = self.speaking;
        let mut tap = tap;
        while self.line.ahead() < out.len() {
            let missing = out.len() - self.line.ahead();
            self.fetch(now, missing, &mut tap);
        }
        self.keep_pace(now, out.len(), &mut tap);
        self.line.pop(out);
        match (before, self.speaking) {
            (false, true) => Turn::Starts,
            (true, false) => Turn::Stops,
            _ => Turn::Same,
        }
    }

    /// Appends to the line what the jitter buffer says; `missing` samples at least if it is silence.
    fn fetch(&mut self, now: Instant, missing: usize, tap: &mut Option<&mut Tap>) {
        match self.jitter.next(now, units(self.line.ahead())) {
            Next::Voice { packet, skip, begins } => {
                if begins {
                    self.deviation_ms = 0.0;
                }
                self.speaking = true;
                self.play(&packet, skip, begins, tap);
            }
            Next::Conceal(count) => {
                let count = usize::try_from(count).unwrap_or(0);
                self.line.conceal(count);
                self.count(count, true);
            }
            Next::Silence => {
                self.speaking = false;
                self.next_timestamp = None;
                self.line.rest(missing);
            }
        }
    }

    fn play(&mut self, packet: &Packet, skip: u32, begins: bool, tap: &mut Option<&mut Tap>) {
        self.decoded.clear();
        if l16_decode(&packet.payload, &mut self.decoded).is_err() {
            return;
        }
        if let Some(tap) = tap {
            tap(self.member, packet.timestamp, &self.decoded);
        }
        // Where a jump in time is not a pause, the seam is faded over.
        let start = packet.timestamp.wrapping_add(skip);
        let jump = self.next_timestamp.is_some_and(|next| next != start);
        if jump && !begins && !self.line.is_concealing() {
            self.line.conceal(0);
        }
        self.next_timestamp = Some(packet.timestamp.wrapping_add(packet.duration));
        self.floats.clear();
        let skip = usize::try_from(skip).unwrap_or(0);
        self.floats.extend(self.decoded.iter().skip(skip).map(|s| f32::from(*s) / 32768.0));
        self.line.push(&self.floats);
        self.count(self.floats.len(), false);
    }

    /// Brings playout back to its target by changing the length of what is played.
    fn keep_pace(&mut self, now: Instant, step: usize, tap: &mut Option<&mut Tap>) {
        self.since_change = self.since_change.saturating_add(step);
        let Some(deviation) = self.jitter.deviation_ms(now, units(self.line.ahead())) else {
            return;
        };
        self.deviation_ms += (deviation - self.deviation_ms) * DEVIATION_WEIGHT;
        let urgent = self.deviation_ms.abs() > URGENT_MS;
        let pause = if urgent { PAUSE_URGENT } else { PAUSE };
        if self.deviation_ms.abs() < TOLERANCE_MS
            || self.since_change < pause
            || self.line.is_concealing()
        {
            if self.deviation_ms.abs() < TOLERANCE_MS {
                self.waiting = 0;
            }
            return;
        }
        // Quiet passages are best, for which any likeness will do; the longer none comes, the less
        // choosy.
        self.waiting += step;
        let waited = self.waiting as f32 / RATE as f32;
        let likeness = if urgent { 0.7 - waited * 0.5 } else { 1.3 - waited * 0.2 }.max(0.4);
        let changed = if self.deviation_ms > 0.0 {
            while self.line.ahead() < SHORTEN_AHEAD + step && self.jitter.has_more() {
                self.fetch(now, 0, tap);
            }
            -(self.line.shorten(likeness) as f64)
        } else {
            self.line.lengthen(likeness) as f64
        };
        if changed != 0.0 {
            self.deviation_ms += changed * 1e3 / f64::from(RATE);
            self.since_change = 0;
            self.waiting = 0;
        }
    }

    fn count(&mut self, samples: usize, made_up: bool) {
        let weight = (samples as f32 / CONCEALED_OVER).min(1.0);
        let value = if made_up { 1.0 } else { 0.0 };
        self.concealed += (value - self.concealed) * weight;
    }
}

fn units(samples: usize) -> u32 {
    u32::try_from(samples).unwrap_or(u32::MAX)
}
