//! One stream as it is played: jitter buffer, decoder, and the line of samples between them and the mix.
//!
//! Pure. A frame that is missing when its time has come is stood in for by the best that is here: a
//! copy (then it is not missing), in-band FEC, deep redundancy, or what the decoder makes up. Keeps
//! playout at the jitter buffer's target by cutting out or putting in pitch periods, which also
//! makes up for the drift between his sound card and ours.

use super::decoding::{Decoding, Made};
use super::jitter::{Held, JitterBuffer, Next, Packet};
use super::opus::{OpusError, PACKET_SAMPLES_MAX};
use super::stretch::{Change, FADE, LAG_MAX, RATE, VoiceLine};
use super::tap::Tap;
use crate::net::ids::{MemberId, Ssrc};
use std::time::Instant;

/// How far behind its target playout may be before a period is cut out of speech, in ms, beyond
/// what the puller's steps make of it; out of silence it goes at once. Each change inside speech costs
/// more of its quality than some ms of delay, and the next pause is not far.
const BEHIND_MS: f64 = 8.0;
/// How far ahead it may be before a period is put in, in ms.
const AHEAD_MS: f64 = 6.0;
/// What is not worth a change even in silence, in ms: so much behind, or so much ahead, which makes frames late.
const TRIFLE_MS: (f64, f64) = (0.9, 1.0);
/// Longest step of the puller that is made allowance for, in ms.
const STEP_MAX_MS: f64 = 12.0;
/// How much of a long step is forgotten at the next.
const STEP_DECAY: f64 = 0.98;
/// Deviation that is worth a worse cut, in ms.
const URGENT_MS: f64 = 12.0;
/// Samples between two looks for a place to change the length. No multiple of a frame: right after
/// a frame there is more to look at than right before the next.
const LOOK: usize = 600;
/// Samples between two changes of length, not urgent and urgent.
const PAUSE: usize = 4800;
const PAUSE_URGENT: usize = 960;
/// What is late is waited for with what the line makes up for so long; then the decoder takes over.
const WAIT_LINE: usize = 480;
/// What is made up while waiting fades from here on, and is silent when it is given up: 100 and 200 ms.
const WAIT_FADE: std::ops::Range<usize> = 4800..9600;
/// Comfort noise goes on for 600 ms after a frame that says that there is silence; others follow it
/// sooner, if the silence goes on.
const COMFORT: usize = 28_800;
/// The decoder makes it in pieces of 10 ms.
const COMFORT_STEP: usize = 480;
/// Samples over which the share of concealment is taken: 3 s.
const CONCEALED_OVER: f32 = 144_000.0;
/// Samples of the fade when a speaker is taken away.
const LEAVE_FADE: usize = FADE;

/// A stream's packet as it comes from the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// Who speaks.
    pub member: MemberId,
    /// Which of his streams.
    pub ssrc: Ssrc,
    /// Its RTP clock, in Hz.
    pub clock_hz: u32,
    /// The packet.
    pub packet: Packet,
    /// When it came.
    pub at: Instant,
}

/// One stream's way from packets to samples.
#[derive(Debug)]
pub struct Speaker {
    member: MemberId,
    jitter: JitterBuffer,
    decoding: Decoding,
    line: VoiceLine,
    floats: Vec<f32>,
    /// Media time up to which the decoder was told of everything, played or missing.
    decoded: Option<i64>,
    /// Samples made up while waiting for what is late.
    waited: usize,
    /// The last frame said that there is silence.
    silent: bool,
    /// Samples of comfort noise that may still follow the last frame.
    comfort: usize,
    speaking: bool,
    leaving: bool,
    since_change: usize,
    since_look: usize,
    /// Samples since a change of length has been wanted.
    wanting: usize,
    deviation_ms: f64,
    /// When samples were last pulled, and how long a puller's step is lately: frames are needed so
    /// much earlier or later when playout moves by next to nothing.
    pulled: Option<Instant>,
    step_ms: f64,
    figures: SpeakerFigures,
    last_used: Instant,
}

/// What was played of a stream, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SpeakerFigures {
    /// Packets received.
    pub received: u64,
    /// Packets lost on the way.
    pub lost: u64,
    /// Packets whose frame came after its time.
    pub late: u64,
    /// Share of the last seconds of speech that was made up, 0 to 1.
    pub concealed: f32,
    /// Frames played from a copy in a later packet (RED).
    pub repaired_red: u64,
    /// Frames made good by in-band FEC (LBRR).
    pub repaired_fec: u64,
    /// Frames made good by deep redundancy (DRED).
    pub repaired_dred: u64,
    /// Playout delay aimed for, in ms.
    pub target_ms: f32,
    /// Playout delay now, in ms.
    pub buffer_ms: f32,
    /// By how much what was played was lengthened so far to keep to the target, less what was cut out, in ms.
    pub stretched_ms: f64,
}

impl Speaker {
    /// A stream of this RTP clock of which nothing has come yet.
    ///
    /// # Errors
    /// No decoder can be had.
    pub fn new(member: MemberId, clock_hz: u32, now: Instant) -> Result<Self, OpusError> {
        Ok(Self {
            member,
            jitter: JitterBuffer::new(clock_hz, now),
            decoding: Decoding::new(clock_hz)?,
            line: VoiceLine::default(),
            floats: Vec::with_capacity(2 * PACKET_SAMPLES_MAX),
            decoded: None,
            waited: 0,
            silent: false,
            comfort: 0,
            speaking: false,
            leaving: false,
            since_change: PAUSE,
            since_look: 0,
            wanting: 0,
            deviation_ms: 0.0,
            pulled: None,
            step_ms: 0.0,
            figures: SpeakerFigures::default(),
            last_used: now,
        })
    }

    /// The speaker goes over from another of his streams into this one, whose first packet has this
    /// time stamp: it is played with the other's delay.
    pub fn follow(&mut self, other: &Self, timestamp: u32, now: Instant) {
        self.jitter.follow(&other.jitter, timestamp, now);
    }

    /// Takes a packet.
    pub fn insert(&mut self, packet: &Packet, at: Instant) {
        self.last_used = at;
        self.jitter.insert(packet, at);
    }

    /// From now on nothing of this speaker is played but a short fade.
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

    /// Whether voice waits to be played.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.leaving && self.jitter.is_waiting()
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

    /// What was played, and how.
    #[must_use]
    pub fn figures(&self) -> SpeakerFigures {
        let counted = self.jitter.figures();
        let target = self.jitter.target_ms();
        SpeakerFigures {
            received: counted.received,
            lost: counted.lost,
            late: counted.late,
            target_ms: target as f32,
            buffer_ms: (target + self.deviation_ms).max(0.0) as f32,
            ..self.figures
        }
    }

    /// The next samples, at 48 kHz.
    pub fn pull(&mut self, now: Instant, out: &mut [f32], mut tap: Option<&mut Tap>) {
        out.fill(0.0);
        if self.leaving {
            self.line.pop(out);
            return;
        }
        self.note_step(now);
        while self.line.ahead() < out.len() {
            let missing = out.len() - self.line.ahead();
            self.fetch(now, missing, true, &mut tap);
        }
        self.keep_pace(now, out.len(), &mut tap);
        self.line.pop(out);
    }

    fn note_step(&mut self, now: Instant) {
        let before = self.pulled.replace(now).unwrap_or(now);
        let step = now.saturating_duration_since(before).as_secs_f64() * 1e3;
        if step > 0.0 {
            self.step_ms = step.min(STEP_MAX_MS).max(self.step_ms * STEP_DECAY);
        }
    }

    /// Appends to the line what the jitter buffer says; `missing` samples at least if it is silence.
    fn fetch(&mut self, now: Instant, missing: usize, needed: bool, tap: &mut Option<&mut Tap>) {
        match self.jitter.next(now, needed) {
            Next::Voice { frame, skip, begins, anew } => {
                let silent = frame.is_silent();
                // One frame in silence renews the noise (Opus sends one every 400 ms): only what goes
                // on is speech.
                let renews = std::mem::replace(&mut self.silent, silent) && !silent && !anew;
                self.speaking = !silent && !renews;
                self.comfort = if self.speaking { 0 } else { COMFORT };
                if anew {
                    self.decoding.reset();
                }
                self.play(&frame, skip, begins, tap);
                self.jitter.recycle(frame);
            }
            Next::Gap { from, to, skip } => self.fill(from, to, skip),
            Next::Wait(count) => self.wait(count),
            Next::Silence => {
                self.speaking = false;
                self.decoded = None;
                self.waited = 0;
                if self.jitter.has_ended() || !self.comfort() {
                    self.line.rest(missing);
                }
            }
        }
    }

    /// Where the sender leaves silence out (DTX), what the decoder makes of the last of it goes on.
    fn comfort(&mut self) -> bool {
        self.floats.clear();
        if self.comfort == 0
            || self.decoding.fill(COMFORT_STEP, None, &mut self.floats) == Made::Nothing
        {
            return false;
        }
        self.comfort = self.comfort.saturating_sub(COMFORT_STEP);
        self.line.push(&self.floats);
        true
    }

    fn play(&mut self, frame: &Held, skip: usize, begins: bool, tap: &mut Option<&mut Tap>) {
        let next = self.decoded.filter(|_| !begins);
        if let Some(missing) = self.missing_before(frame, next) {
            // It was waited for in vain: the decoder must know before it goes on.
            self.floats.clear();
            let made = self.decoding.fill(missing, Some((frame, missing)), &mut self.floats);
            if made == Made::Fec {
                let (media, at) = (frame.media - frame.duration, frame.at_ms());
                self.jitter.repaired(media, frame.duration, at);
            }
        }
        self.floats.clear();
        let member = self.member;
        let mut listen = tap
            .as_mut()
            .map(|tap| move |timestamp: u32, samples: &[i16]| tap(member, timestamp, samples));
        let listen = listen.as_mut().map(|listen| listen as &mut dyn FnMut(u32, &[i16]));
        let decoded = self.decoding.decode(frame, &mut self.floats, listen);
        self.decoded = Some(frame.media + frame.duration);
        if !decoded {
            let count = usize::try_from(frame.duration).unwrap_or(0).saturating_sub(skip);
            self.line.conceal(count);
            self.count(count, true);
            return;
        }
        // Where a jump in time is not a pause, the seam is faded over.
        let jumps = next.is_some_and(|next| next != frame.media) || skip > 0 || self.waited > 0;
        if jumps && !self.line.is_concealing() {
            self.line.jump();
        }
        self.waited = 0;
        let samples = self.floats.get(skip..).unwrap_or_default();
        if begins {
            self.line.push_first(samples);
        } else {
            self.line.push(samples);
        }
        let count = samples.len();
        self.count(count, false);
        self.figures.repaired_red += u64::from(frame.copy);
    }

    /// Samples before this frame of which the decoder knows nothing.
    fn missing_before(&self, frame: &Held, decoded: Option<i64>) -> Option<usize> {
        let missing = usize::try_from(frame.media - decoded?).ok()?;
        (1..=PACKET_SAMPLES_MAX).contains(&missing).then_some(missing)
    }

    /// Stands in for what is missing, without what waiting has stood in for.
    fn fill(&mut self, from: i64, to: i64, skip: usize) {
        let known = self.decoded.unwrap_or(from).clamp(from, to);
        let missing = usize::try_from(to - known).unwrap_or(0);
        let wanted = usize::try_from(to - from).unwrap_or(0).saturating_sub(skip);
        self.floats.clear();
        let mut made = Made::Concealed;
        if missing > 0 {
            let next = self.jitter.front().and_then(|frame| {
                let before = usize::try_from(frame.media - known).ok()?;
                Some((frame, before))
            });
            let at = next.map(|(frame, _)| frame.at_ms());
            made = self.decoding.fill(missing, next, &mut self.floats);
            if let (Made::Fec, Some(at)) = (made, at) {
                self.jitter.repaired(known, to - known, at);
            }
        }
        self.decoded = Some(to);
        let tail = self.floats.len().checked_sub(wanted).and_then(|start| self.floats.get(start..));
        match tail {
            Some(tail) => self.line.push(tail),
            None => self.line.conceal(wanted),
        }
        self.waited = 0;
        self.figures.repaired_fec += u64::from(made == Made::Fec);
        self.figures.repaired_dred += u64::from(made == Made::Dred);
        self.count(wanted, matches!(made, Made::Concealed | Made::Nothing));
    }

    /// Makes something up until what comes next is here, or given up.
    fn wait(&mut self, count: usize) {
        let before = self.waited;
        self.waited += count;
        self.count(count, true);
        if before < WAIT_LINE {
            self.line.conceal(count);
            return;
        }
        self.floats.clear();
        if before == WAIT_LINE {
            // What the line stood in for is missing to the decoder, too.
            let _ = self.decoding.fill(WAIT_LINE, None, &mut self.floats);
            self.decoded = self.decoded.map(|at| at + samples(WAIT_LINE));
            self.floats.clear();
        }
        match self.decoding.fill(count, None, &mut self.floats) {
            Made::Nothing => self.line.conceal(count),
            _ => {
                fade(&mut self.floats, before);
                self.line.push(&self.floats);
            }
        }
        self.decoded = self.decoded.map(|at| at + samples(count));
    }

    /// Brings playout back to its target by changing the length of what is played.
    fn keep_pace(&mut self, now: Instant, step: usize, tap: &mut Option<&mut Tap>) {
        self.since_change = self.since_change.saturating_add(step);
        self.since_look = self.since_look.saturating_add(step);
        let Some(deviation) = self.jitter.deviation_ms() else { return };
        self.deviation_ms = deviation;
        // A cut may not make a frame be needed before it can be there.
        let deviation =
            if deviation > 0.0 { (deviation - self.step_ms).max(0.0) } else { deviation };
        let (behind, ahead) = TRIFLE_MS;
        if (-ahead..behind).contains(&deviation) || self.line.is_concealing() {
            self.wanting = 0;
            return;
        }
        self.wanting = self.wanting.saturating_add(step);
        if self.since_look < LOOK {
            return;
        }
        self.since_look = 0;
        let urgent = deviation.abs() > URGENT_MS;
        let rested = self.since_change >= if urgent { PAUSE_URGENT } else { PAUSE };
        // The longer none comes, the less choosy.
        let waited = self.wanting as f32 / RATE as f32;
        let likeness = if urgent { 0.8 - waited * 0.5 } else { 0.95 - waited * 0.2 }.max(0.4);
        let wanted = (deviation.abs() * f64::from(RATE) / 1e3) as usize;
        let changed = if deviation > 0.0 {
            // Out of speech goes no more than is too much.
            let most = if rested && deviation > BEHIND_MS { wanted } else { 0 };
            let change = Change { wanted, most, likeness };
            while self.line.ahead() < FADE + wanted.min(LAG_MAX) && self.jitter.has_more() {
                self.fetch(now, 0, false, tap);
            }
            -samples_ms(self.line.shorten(change))
        } else {
            let most = if rested && deviation < -AHEAD_MS { LAG_MAX } else { 0 };
            samples_ms(self.line.lengthen(Change { wanted, most, likeness }))
        };
        if changed != 0.0 {
            self.jitter.stretched(changed);
            self.figures.stretched_ms += changed;
            self.since_change = 0;
            self.wanting = 0;
        }
    }

    fn count(&mut self, samples: usize, made_up: bool) {
        let weight = (samples as f32 / CONCEALED_OVER).min(1.0);
        let value = if made_up { 1.0 } else { 0.0 };
        self.figures.concealed += (value - self.figures.concealed) * weight;
    }
}

/// Turns down what stands in for what is late, after so many samples of it.
fn fade(made: &mut [f32], before: usize) {
    let length = WAIT_FADE.len() as f32;
    for (place, sample) in (before..).zip(made) {
        let gone = place.saturating_sub(WAIT_FADE.start) as f32 / length;
        *sample *= (1.0 - gone).max(0.0);
    }
}

fn samples(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn samples_ms(count: usize) -> f64 {
    count as f64 * 1e3 / f64::from(RATE)
}
