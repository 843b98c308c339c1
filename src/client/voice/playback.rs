//! The playback core: speakers in, one mix out, at 48 kHz mono.
//!
//! Pure: it is pulled by whoever knows the sound card's clock, and never pulls itself.

use super::limiter::Limiter;
use super::loudness::{Loudness, Volumes};
use super::opus::OpusError;
use super::recording::Tape;
use super::replay::Replay;
use super::sounds::{Sound, Sounds};
use super::speaker::{Arrived, Speaker};
use super::tap::Tap;
use super::trial::Take;
use super::{SpeakerStats, VoiceEvent};
use crate::net::ids::{MemberId, Ssrc};
use crate::net::limits::SPEAKERS_MAX;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Rate of the mix, in Hz.
pub const MIX_RATE: u32 = 48_000;
/// Samples that are mixed at a time: 2.5 ms.
pub const BLOCK: usize = 120;
/// A member's other stream goes over into a new one if it was heard so shortly before.
const FOLLOW_MAX: Duration = Duration::from_millis(500);
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
    limiter: Limiter,
    block: [f32; BLOCK],
    sum: [f32; BLOCK],
    deafened: bool,
    gain: f32,
    events: Vec<VoiceEvent>,
    /// Who was told to sound.
    sounding: BTreeSet<MemberId>,
    tap: Option<Tap>,
    tape: Option<Tape>,
    loudness: Loudness,
    /// None where the mix goes to no sound device.
    sounds: Option<Sounds>,
    replay: Option<Replay>,
    level: f32,
}

impl std::fmt::Debug for Playback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Playback").field("speakers", &self.speakers).finish_non_exhaustive()
    }
}

impl Playback {
    /// Nobody speaks yet.
    #[must_use]
    pub fn new(tap: Option<Tap>) -> Self {
        Self {
            speakers: BTreeMap::new(),
            limiter: Limiter::default(),
            block: [0.0; BLOCK],
            sum: [0.0; BLOCK],
            deafened: false,
            gain: 1.0,
            events: Vec::new(),
            sounding: BTreeSet::new(),
            tap,
            tape: None,
            loudness: Loudness::default(),
            sounds: None,
            replay: None,
            level: 0.0,
        }
    }

    /// The same for a sound device, which plays our own sounds as well.
    #[must_use]
    pub fn with_sounds(self) -> Self {
        Self { sounds: Some(Sounds::default()), ..self }
    }

    /// From now on a sound device plays the mix, and our own sounds with it.
    pub fn add_sounds(&mut self) {
        self.sounds.get_or_insert_default();
    }

    /// Takes what came from the link. The buffer of a payload that was read comes back, to be used again.
    pub fn handle(&mut self, item: ToPlayback) -> Option<Vec<u8>> {
        match item {
            ToPlayback::Packet(arrived) => {
                self.insert(&arrived);
                return Some(arrived.packet.payload);
            }
            ToPlayback::Room(members) => self.leave_where(|id| !members.contains(&id)),
            ToPlayback::Gone(gone) => self.leave_where(|id| id == gone),
        }
        None
    }

    /// Plays nobody, or everybody again; figures and speaking events go on.
    pub fn set_deafened(&mut self, on: bool) {
        self.deafened = on;
    }

    /// Members are played so loud, and with or without levelling, from now on.
    pub fn set_loudness(&mut self, volumes: Volumes, levelling: bool) {
        self.loudness.set_volumes(volumes);
        self.loudness.set_levelling(levelling);
    }

    /// Plays a sound of our own, deafened or not; nothing where no sound device plays.
    pub fn play_sound(&mut self, sound: Sound) {
        if let Some(sounds) = &mut self.sounds {
            sounds.play(sound);
        }
    }

    /// Plays what a trial has heard, deafened or not.
    ///
    /// # Errors
    /// No decoder can be had.
    pub fn replay(&mut self, take: Take, now: Instant) -> Result<(), OpusError> {
        self.replay = Some(Replay::new(take, now)?);
        Ok(())
    }

    /// Plays it no longer.
    pub fn stop_replay(&mut self) {
        if let Some(replay) = &mut self.replay {
            replay.stop();
        }
    }

    /// Whether a trial is being played.
    #[must_use]
    pub fn is_replaying(&self) -> bool {
        self.replay.is_some()
    }

    /// What is played is recorded on this from now on, or not any more.
    pub fn set_tape(&mut self, tape: Option<Tape>) {
        self.tape = tape;
    }

    /// The next [`BLOCK`] of the mix.
    pub fn render(&mut self, now: Instant) -> &[f32] {
        self.sum.fill(0.0);
        self.mix_speakers(now);
        self.tell_turns();
        self.forget_gone();
        if let Some(tape) = &self.tape {
            tape.advance();
        }
        self.apply_gain();
        if let Some(replay) = &mut self.replay
            && !replay.mix(now, &mut self.sum)
        {
            self.replay = None;
        }
        if let Some(sounds) = &mut self.sounds {
            sounds.mix(&mut self.sum);
        }
        self.limiter.process(&mut self.sum);
        let power = self.sum.iter().map(|s| s * s).sum::<f32>() / BLOCK as f32;
        self.level += (power - self.level) * 0.025;
        &self.sum
    }

    /// Adds all speakers to the mix, each as loud as he is wanted.
    fn mix_speakers(&mut self, now: Instant) {
        let mut streams = self.speakers.iter_mut().peekable();
        while let Some((&(id, _), speaker)) = streams.next() {
            let mut all = [0.0; BLOCK];
            let mut leaves = true;
            let mut one = Some(speaker);
            while let Some(speaker) = one {
                speaker.pull(now, &mut self.block, self.tap.as_mut());
                if let Some(tape) = &mut self.tape
                    && self.block.iter().any(|sample| *sample != 0.0)
                {
                    tape.push(id, &self.block);
                }
                for (all, sample) in all.iter_mut().zip(&self.block) {
                    *all += sample;
                }
                leaves &= speaker.is_leaving();
                one = streams.next_if(|((other, _), _)| *other == id).map(|(_, speaker)| speaker);
            }
            match leaves {
                true => self.loudness.fade(id, &mut all),
                false => self.loudness.process(id, &mut all),
            }
            for (sum, sample) in self.sum.iter_mut().zip(&all) {
                *sum += sample;
            }
        }
    }

    /// Forgets who has faded out.
    fn forget_gone(&mut self) {
        while let Some(key) = self.speakers.iter().find(|(_, s)| s.is_gone()).map(|(key, _)| *key) {
            self.remove(key);
        }
    }

    /// Removes a stream, and what was learned of its member if it was his last.
    fn remove(&mut self, key: (MemberId, Ssrc)) {
        self.speakers.remove(&key);
        let (first, last) = ((key.0, Ssrc(0)), (key.0, Ssrc(u32::MAX)));
        if self.speakers.range(first..=last).next().is_none() {
            self.loudness.forget(key.0);
        }
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
        let mut latest = BTreeMap::new();
        for speaker in self.speakers.values().filter(|speaker| !speaker.is_leaving()) {
            let figures = speaker.figures();
            let entry =
                all.entry(speaker.member()).or_insert_with(|| SpeakerStats::new(speaker.member()));
            entry.levelling_db = self.loudness.levelling_db(speaker.member());
            entry.received += figures.received;
            entry.lost += figures.lost;
            entry.late += figures.late;
            entry.repaired_red += figures.repaired_red;
            entry.repaired_fec += figures.repaired_fec;
            entry.repaired_dred += figures.repaired_dred;
            entry.concealed = entry.concealed.max(figures.concealed);
            // Of two streams, the one that was heard last tells how it is now.
            if latest.insert(speaker.member(), speaker.last_used()) <= Some(speaker.last_used()) {
                entry.target_ms = figures.target_ms;
                entry.buffer_ms = figures.buffer_ms;
            }
        }
        all.into_values().collect()
    }

    fn insert(&mut self, arrived: &Arrived) {
        let key = (arrived.member, arrived.ssrc);
        if !self.speakers.contains_key(&key) {
            if self.speakers.len() >= SPEAKERS_MAX && !self.make_room() {
                return;
            }
            let clock_hz = arrived.clock_hz;
            let Ok(speaker) = Speaker::new(arrived.member, clock_hz, arrived.at) else { return };
            self.speakers.insert(key, speaker);
            self.follow(key, arrived);
        } else if arrived.packet.marker {
            self.follow(key, arrived);
        }
        if let Some(speaker) = self.speakers.get_mut(&key) {
            speaker.insert(&arrived.packet, arrived.at);
        }
    }

    /// A stream begins: where the member's other stream was heard just now, it goes on from there.
    fn follow(&mut self, key: (MemberId, Ssrc), arrived: &Arrived) {
        let Some(mut speaker) = self.speakers.remove(&key) else { return };
        if let Some(other) = self.latest_of(arrived.member, arrived.at) {
            speaker.follow(other, arrived.packet.timestamp, arrived.at);
        }
        self.speakers.insert(key, speaker);
    }

    /// The stream of this member that was heard just now, if any was.
    fn latest_of(&self, member: MemberId, now: Instant) -> Option<&Speaker> {
        let all = self.speakers.range((member, Ssrc(0))..=(member, Ssrc(u32::MAX)));
        let latest = all.map(|(_, speaker)| speaker).max_by_key(|speaker| speaker.last_used())?;
        let age = now.saturating_duration_since(latest.last_used());
        (age < FOLLOW_MAX && !latest.is_leaving()).then_some(latest)
    }

    /// Forgets the one who has been silent for longest. Whether there is room now.
    fn make_room(&mut self) -> bool {
        let oldest = self
            .speakers
            .iter()
            .filter(|(_, speaker)| !speaker.is_speaking())
            .min_by_key(|(_, speaker)| speaker.last_used())
            .map(|(key, _)| *key);
        oldest.is_some_and(|key| {
            if self.sounding.remove(&key.0) {
                self.events.push(VoiceEvent::Speaking { id: key.0, on: false });
            }
            self.remove(key);
            true
        })
    }

    /// Tells who has begun or ended to sound. A member may go over from one stream into another, which
    /// is neither.
    fn tell_turns(&mut self) {
        let mut streams = self.speakers.iter().peekable();
        while let Some((&(id, _), speaker)) = streams.next() {
            let (mut sounds, mut waits) = (speaker.is_speaking(), speaker.is_waiting());
            while let Some((_, other)) = streams.next_if(|((other, _), _)| *other == id) {
                sounds |= other.is_speaking();
                waits |= other.is_waiting();
            }
            let told = self.sounding.contains(&id);
            if sounds && !told {
                self.sounding.insert(id);
                self.events.push(VoiceEvent::Speaking { id, on: true });
            } else if told && !sounds && !waits {
                self.sounding.remove(&id);
                self.events.push(VoiceEvent::Speaking { id, on: false });
            }
        }
    }

    fn leave_where(&mut self, goes: impl Fn(MemberId) -> bool) {
        for ((id, _), speaker) in &mut self.speakers {
            if goes(*id) {
                speaker.leave();
                if self.sounding.remove(id) {
                    self.events.push(VoiceEvent::Speaking { id: *id, on: false });
                }
            }
        }
    }

    fn apply_gain(&mut self) {
        let wanted = if self.deafened { 0.0 } else { 1.0 };
        for sample in &mut self.sum {
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
