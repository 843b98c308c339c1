//! The client's own sounds: somebody has come or gone, our microphone was opened or closed, our ears.
//!
//! Pure. Made once at the start, two short tones each: rising for what begins, falling for what ends. They are
//! mixed in behind the speakers, so that no recording holds them and deafening leaves them, and ahead of the
//! limiter, so that the echo canceller hears what the loudspeaker plays. One sounds at a time, and nothing is
//! allocated while it does.
//!
//! Only sound devices play them: what goes into a file, to nowhere or back into an echo room is voice, bit for bit.

use super::playback::MIX_RATE;
use std::f32::consts::TAU;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Level of a sound while it sounds, in dBFS (root mean square).
const LEVEL_DB: f32 = -30.0;
/// Each tone fades in and out over so many samples: 8 ms.
const FADE: usize = MIX_RATE as usize / 125;
/// Between two sounds about others lie so many samples at least, from start to start: 350 ms.
const OTHERS_EVERY: usize = MIX_RATE as usize * 35 / 100;

/// What is told by a sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sound {
    /// Somebody has come into our room.
    Joined,
    /// Somebody has left it.
    Left,
    /// Our microphone is open.
    Unmuted,
    /// Our microphone is closed, but for the talk key.
    Muted,
    /// We hear again.
    Undeafened,
    /// We hear nobody.
    Deafened,
    /// Nothing: it shows whether a loudspeaker can be heard.
    Tone,
}

impl Sound {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Joined,
        Self::Left,
        Self::Unmuted,
        Self::Muted,
        Self::Undeafened,
        Self::Deafened,
        Self::Tone,
    ];

    /// It answers something that we did ourselves.
    #[must_use]
    pub fn is_own(self) -> bool {
        !matches!(self, Self::Joined | Self::Left)
    }

    /// Two frequencies in Hz, how long each lasts in ms, and how strong the second and third harmonics are.
    /// Others are high and pure, the microphone is short and in the middle, the ears are low and dark.
    fn notes(self) -> ([f32; 2], usize, [f32; 2]) {
        const ROOM: ([f32; 2], usize, [f32; 2]) = ([784.0, 1046.5], 70, [0.1, 0.0]);
        const MICROPHONE: ([f32; 2], usize, [f32; 2]) = ([440.0, 659.3], 45, [0.5, 0.2]);
        const EARS: ([f32; 2], usize, [f32; 2]) = ([261.6, 392.0], 75, [0.4, 0.4]);
        const TONE: ([f32; 2], usize, [f32; 2]) = ([440.0, 554.4], 450, [0.2, 0.0]);
        let ([low, high], ms, timbre) = match self {
            Self::Tone => return TONE,
            Self::Joined | Self::Left => ROOM,
            Self::Unmuted | Self::Muted => MICROPHONE,
            Self::Undeafened | Self::Deafened => EARS,
        };
        match self {
            Self::Joined | Self::Unmuted | Self::Undeafened | Self::Tone => {
                ([low, high], ms, timbre)
            }
            Self::Left | Self::Muted | Self::Deafened => ([high, low], ms, timbre),
        }
    }

    /// Its samples at 48 kHz.
    fn samples(self) -> Vec<f32> {
        let (tones, ms, [second, third]) = self.notes();
        let length = MIX_RATE as usize * ms / 1000;
        let mut samples = Vec::with_capacity(2 * length);
        for hz in tones {
            for k in 0..length {
                let phase = k as f32 * hz / MIX_RATE as f32 * TAU;
                let wave = phase.sin() + second * (2.0 * phase).sin() + third * (3.0 * phase).sin();
                let edge = k.min(length - 1 - k) as f32 / FADE as f32;
                samples.push(wave * (edge.min(1.0) * TAU / 4.0).sin().powi(2));
            }
        }
        let power = samples.iter().map(|s| s * s).sum::<f32>() / samples.len() as f32;
        let factor = 10f32.powf(LEVEL_DB / 20.0) / power.sqrt();
        samples.iter_mut().for_each(|sample| *sample *= factor);
        samples
    }
}

/// All sounds, and the one that sounds.
#[derive(Debug)]
pub struct Sounds {
    made: [Vec<f32>; Sound::ALL.len()],
    /// Which, and its next sample.
    playing: Option<(Sound, usize)>,
    /// What we did while it sounded: the last of it is told next.
    next: Option<Sound>,
    /// Samples since the last sound about others began.
    since_others: usize,
}

impl Default for Sounds {
    fn default() -> Self {
        Self {
            made: Sound::ALL.map(Sound::samples),
            playing: None,
            next: None,
            since_others: OTHERS_EVERY,
        }
    }
}

impl Sounds {
    /// Plays a sound. What concerns others is left out while another sounds or shortly after the last, however
    /// many come and go.
    pub fn play(&mut self, sound: Sound) {
        match self.playing {
            None if sound.is_own() || self.since_others >= OTHERS_EVERY => {
                self.start(sound);
            }
            Some(_) if sound.is_own() => self.next = Some(sound),
            _ => {}
        }
    }

    /// Adds what sounds to a block of the mix.
    pub fn mix(&mut self, block: &mut [f32]) {
        self.since_others = self.since_others.saturating_add(block.len());
        let mut done = 0;
        while let Some((sound, at)) = self.playing {
            let rest = self.made.get(sound as usize).and_then(|made| made.get(at..));
            let rest = rest.unwrap_or_default();
            let out = block.get_mut(done..).unwrap_or_default();
            let count = rest.len().min(out.len());
            for (sample, own) in out.iter_mut().zip(rest) {
                *sample += own;
            }
            if rest.len() > count {
                self.playing = Some((sound, at + count));
                return;
            }
            done += count;
            self.playing = None;
            if let Some(next) = self.next.take() {
                self.start(next);
            }
        }
    }

    fn start(&mut self, sound: Sound) {
        self.playing = Some((sound, 0));
        if !sound.is_own() {
            self.since_others = 0;
        }
    }
}

/// Sounds on their way to playback: the latest of our own, the latest of others.
#[derive(Debug, Default)]
pub struct SoundBoard {
    off: AtomicBool,
    own: AtomicU8,
    others: AtomicU8,
}

impl SoundBoard {
    /// Sounds are played from now on, or not.
    pub fn switch(&self, on: bool) {
        self.off.store(!on, Ordering::Release);
    }

    /// This is to be heard; a test tone also where sounds are switched off.
    pub fn ask(&self, sound: Sound) {
        if sound == Sound::Tone || !self.off.load(Ordering::Acquire) {
            let number = u8::try_from(1 + sound as usize).unwrap_or(0);
            let slot = if sound.is_own() { &self.own } else { &self.others };
            slot.store(number, Ordering::Release);
        }
    }

    /// What is to be heard since the last call. Of others nothing is told to one who is deafened.
    pub fn take(&self, deafened: bool) -> [Option<Sound>; 2] {
        let taken = |slot: &AtomicU8| {
            let number = usize::from(slot.swap(0, Ordering::AcqRel)).checked_sub(1)?;
            Sound::ALL.get(number).copied()
        };
        let (own, others) = (taken(&self.own), taken(&self.others));
        [own, others.filter(|_| !deafened)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::voice::playback::BLOCK;

    /// What so many blocks hold of the sounds.
    fn run(sounds: &mut Sounds, blocks: usize) -> Vec<f32> {
        let mut all = Vec::new();
        for _ in 0..blocks {
            let mut block = [0.0; BLOCK];
            sounds.mix(&mut block);
            all.extend(block);
        }
        all
    }

    fn crossings(samples: &[f32]) -> usize {
        samples.windows(2).filter(|w| w[0] <= 0.0 && w[1] > 0.0).count()
    }

    #[test]
    fn each_sound_is_short_soft_and_without_a_click() {
        for sound in Sound::ALL {
            let samples = sound.samples();
            let ms_max = if sound == Sound::Tone { 1000 } else { 150 };
            assert!(samples.len() <= MIX_RATE as usize * ms_max / 1000, "{sound:?}");
            let power = samples.iter().map(|s| s * s).sum::<f32>() / samples.len() as f32;
            assert!((10.0 * power.log10() + 30.0).abs() < 0.1, "{sound:?}");
            let peak = samples.iter().fold(0.0f32, |m, s| m.max(s.abs()));
            assert!(peak < 0.12, "{sound:?}: {peak}");
            // The steepest of these tones, at this peak, and no jump at either end.
            let steepest = samples.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
            assert!(steepest < 0.2 * peak, "{sound:?}: {steepest}");
            let ends = [samples[0], samples[samples.len() - 1]];
            assert!(ends.iter().all(|end| end.abs() < 1e-4), "{sound:?}: {ends:?}");
        }
    }

    #[test]
    fn what_begins_rises_and_what_ends_falls_and_no_two_are_alike() {
        let halves = Sound::ALL.map(|sound| {
            let samples = sound.samples();
            let (first, second) = samples.split_at(samples.len() / 2);
            (crossings(first), crossings(second))
        });
        for pair in halves.as_chunks::<2>().0 {
            assert!(pair[0].0 < pair[0].1 && pair[1].0 > pair[1].1, "{pair:?}");
        }
        let lengths = Sound::ALL.map(|sound| sound.samples().len());
        let kinds: std::collections::BTreeSet<_> = halves.iter().zip(lengths).collect();
        assert_eq!(kinds.len(), Sound::ALL.len());
    }

    #[test]
    fn a_flood_of_joins_sounds_a_few_times_in_a_second() {
        let mut sounds = Sounds::default();
        let mut begins = 0;
        let mut was_silent = true;
        let mut peak = 0.0f32;
        for _ in 0..400 {
            sounds.play(Sound::Joined);
            sounds.play(Sound::Left);
            let silent = sounds.playing.is_none();
            begins += usize::from(was_silent && !silent);
            was_silent = silent;
            peak = run(&mut sounds, 1).into_iter().fold(peak, f32::max);
        }
        assert_eq!(begins, 3);
        assert!(peak < 0.12, "{peak}");
    }

    #[test]
    fn of_what_we_do_quickly_the_last_is_heard_last() {
        let mut sounds = Sounds::default();
        sounds.play(Sound::Muted);
        run(&mut sounds, 4);
        sounds.play(Sound::Unmuted);
        sounds.play(Sound::Muted);
        sounds.play(Sound::Unmuted);
        let rest = run(&mut sounds, 200);
        let heard: Vec<f32> =
            [Sound::Muted.samples()[4 * BLOCK..].to_vec(), Sound::Unmuted.samples()].concat();
        assert_eq!(rest[..heard.len()], heard);
        assert!(rest[heard.len()..].iter().all(|sample| *sample == 0.0));
    }

    #[test]
    fn who_is_deafened_hears_what_he_does_and_not_who_comes() {
        let board = SoundBoard::default();
        board.ask(Sound::Joined);
        board.ask(Sound::Deafened);
        assert_eq!(board.take(true), [Some(Sound::Deafened), None]);
        assert_eq!(board.take(true), [None, None]);
        board.ask(Sound::Left);
        assert_eq!(board.take(false), [None, Some(Sound::Left)]);
        board.switch(false);
        board.ask(Sound::Joined);
        assert_eq!(board.take(false), [None, None]);
        board.ask(Sound::Tone);
        assert_eq!(board.take(true), [Some(Sound::Tone), None], "who asks for it wants to hear it");
    }
}
