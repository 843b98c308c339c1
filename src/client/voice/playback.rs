//! The playback core: speakers in, one mix out, at 48 kHz mono.
//!
//! Pure: it is pulled by whoever knows the sound card's clock, and never pulls itself.

use super::limiter::Limiter;
use super::resample::{ResampleError, Resampler};
use super::speaker::{Arrived, Speaker, Turn};
use super::stretch::RATE;
use super::tap::Tap;
use super::{SpeakerStats, VoiceEvent};
use crate::net::ids::{MemberId, Ssrc};
use crate::net::limits::SPEAKERS_MAX;
use std::collections::BTreeMap;
use std::time::Instant;

/// Rate of the mix, in Hz.
pub const MIX_RATE: u32 = 48_000;
/// Samples of 16 kHz pulled from each speaker at a time: 5 ms.
const BLOCK: usize = 80;
/// How fast deafening turns the sound down or up: 5 ms.
const GAIN_STEP: f32 = 1.0 / 240.0;

/// What comes to playback, in the order in which the link saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToPlayback {
    /// A packet of someone's voice.
    Packet(Arrived),
    /// Only these are in the room; everyone else falls silent.
    Room(Vec<MemberId>),
    /// This one falls silent.
    Gone(MemberId),
}

/// All speakers and their mix.
pub struct Playback {
    speakers: BTreeMap<(MemberId, Ssrc), Speaker>,
    to_mix: Resampler,
    limiter: Limiter,
    block: [f32; BLOCK],
    sum: [f32; BLOCK],
    deafened: bool,
    gain: f32,
    events: Vec<VoiceEvent>,
    tap: Option<Tap>,
    level: f32,
}

impl std::fmt::Debug for Playback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Playback").field("speakers", &self.speakers).finish_non_exhaustive()
    }
}

impl Playback {
    /// Nobody speaks yet.
    ///
    /// # Errors
    /// The resampler cannot be made.
    pub fn new(tap: Option<Tap>) -> Result<Self, ResampleError> {
        Ok(Self {
            speakers: BTreeMap::new(),
            to_mix: Resampler::new(RATE, MIX_RATE)?,
            limiter: Limiter::default(),
            block: [0.0; BLOCK],
            sum: [0.0; BLOCK],
            deafened: false,
            gain: 1.0,
            events: Vec::new(),
            tap,
            level: 0.0,
        })
    }

    /// Takes what came from the link.
    pub fn handle(&mut self, item: ToPlayback) {
        match item {
            ToPlayback::Packet(arrived) => self.insert(arrived),
            ToPlayback::Room(members) => self.leave_where(|id| !members.contains(&id)),
            ToPlayback::Gone(gone) => self.leave_where(|id| id == gone),
        }
    }

    /// Plays nobody, or everybody again; figures and speaking events go on.
    pub fn set_deafened(&mut self, on: bool) {
        self.deafened = on;
    }

    /// Appends about 5 ms of the mix to `out`.
    pub fn render(&mut self, now: Instant, out: &mut Vec<f32>) {
        self.sum.fill(0.0);
        for ((id, _), speaker) in &mut self.speakers {
            let turn = speaker.pull(now, &mut self.block, self.tap.as_mut());
            for (sum, sample) in self.sum.iter_mut().zip(&self.block) {
                *sum += sample;
            }
            match turn {
                Turn::Same => {}
                Turn::Starts => self.events.push(VoiceEvent::Speaking { id: *id, on: true }),
                Turn::Stops => self.events.push(VoiceEvent::Speaking { id: *id, on: false }),
            }
        }
        self.speakers.retain(|_, speaker| !speaker.is_gone());
        let start = out.len();
        self.to_mix.push(&self.sum, out);
        let mixed = out.get_mut(start..).unwrap_or_default();
        self.apply_gain(mixed);
        self.limiter.process(mixed);
        let power = mixed.iter().map(|s| s * s).sum::<f32>() / mixed.len().max(1) as f32;
        self.level += (power - self.level) * 0.05;
    }

    /// Events since the last call.
    pub fn take_events(&mut self) -> Vec<VoiceEvent> {
        std::mem::take(&mut self.events)
    }

    /// Level of the mix lately: mean square.
    #[must_use]
    pub fn level(&self) -> f32 {
        self.level
    }

    /// Figures of everyone heard and still in the room.
    #[must_use]
    pub fn figures(&self) -> Vec<SpeakerStats> {
        let mut all: BTreeMap<MemberId, SpeakerStats> = BTreeMap::new();
        for speaker in self.speakers.values().filter(|speaker| !speaker.is_leaving()) {
            let figures = speaker.figures();
            let entry = all.entry(speaker.member()).or_insert(SpeakerStats {
                id: speaker.member(),
                received: 0,
                lost: 0,
                late: 0,
                concealed: 0.0,
                jitter_ms: 0.0,
                buffer_ms: 0.0,
            });
            entry.received += figures.received;
            entry.lost += figures.lost;
            entry.late += figures.late;
            entry.concealed = entry.concealed.max(speaker.concealed());
            entry.buffer_ms = entry.buffer_ms.max(speaker.buffer_ms());
        }
        all.into_values().collect()
    }

    fn insert(&mut self, arrived: Arrived) {
        let key = (arrived.member, arrived.ssrc);
        if !self.speakers.contains_key(&key) {
            if self.speakers.len() >= SPEAKERS_MAX && !self.make_room() {
                return;
            }
            self.speakers.insert(key, Speaker::new(arrived.member, arrived.at));
        }
        if let Some(speaker) = self.speakers.get_mut(&key) {
            speaker.insert(arrived.packet, arrived.at);
        }
    }

    /// Forgets the one who has been silent for longest. Whether there is room now.
    fn make_room(&mut self) -> bool {
        let oldest = self
            .speakers
            .iter()
            .filter(|(_, speaker)| !speaker.is_speaking())
            .min_by_key(|(_, speaker)| speaker.last_used())
            .map(|(key, _)| *key);
        oldest.is_some_and(|key| self.speakers.remove(&key).is_some())
    }

    fn leave_where(&mut self, goes: impl Fn(MemberId) -> bool) {
        for ((id, _), speaker) in &mut self.speakers {
            if goes(*id) {
                if speaker.is_speaking() {
                    self.events.push(VoiceEvent::Speaking { id: *id, on: false });
                }
                speaker.leave();
            }
        }
    }

    fn apply_gain(&mut self, mixed: &mut [f32]) {
        let wanted = if self.deafened { 0.0 } else { 1.0 };
        for sample in mixed {
            if self.gain != wanted {
                let step = (wanted - self.gain).clamp(-GAIN_STEP, GAIN_STEP);
                self.gain = (self.gain + step).clamp(0.0, 1.0);
            }
            if self.gain != 1.0 {
                *sample *= self.gain;
            }
        }
    }
}
