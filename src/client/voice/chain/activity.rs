//! Voice activity: whether somebody speaks in a frame, from a small neural detector and the level
//! above the noise floor.
//!
//! The detector (earshot) works on 16 ms at 16 kHz and tells voices from other sounds; the level
//! keeps out the neighbour's radio. The threshold follows the floor.

use super::floor::FloorTracker;
use super::{FRAME, Frame, decibels, power};
use earshot::Detector;

/// Samples at 16 kHz that the detector takes at a time.
const DETECTOR_FRAME: usize = 256;
/// Score of the detector from which on it is a voice, ...
const SCORE: f32 = 0.5;
/// ... and to which it must fall to be none.
const SCORE_END: f32 = 0.3;
/// Level above the floor that a voice has, in dB, ...
const ABOVE_FLOOR_DB: f32 = 9.0;
/// ... and the least that it has at all, dBFS.
const LEVEL_MIN_DB: f32 = -62.0;
/// A floor that is not known yet, dBFS.
const FLOOR_GUESS_DB: f32 = -65.0;

/// What was found in a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Activity {
    /// Somebody speaks.
    pub voice: bool,
    /// How sure the detector is, 0 to 1.
    pub score: f32,
    /// Level of the frame, dBFS.
    pub level_db: f32,
    /// The noise floor, dBFS.
    pub floor_db: f32,
}

impl Default for Activity {
    fn default() -> Self {
        Self { voice: false, score: 0.0, level_db: -120.0, floor_db: FLOOR_GUESS_DB }
    }
}

/// The detector and what it needs.
pub struct VoiceActivity {
    detector: Box<Detector>,
    decimator: Decimator,
    waiting: Vec<f32>,
    floor: FloorTracker,
    score: f32,
    voice: bool,
}

impl std::fmt::Debug for VoiceActivity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VoiceActivity").field("score", &self.score).finish_non_exhaustive()
    }
}

impl Default for VoiceActivity {
    fn default() -> Self {
        Self {
            detector: Detector::default_boxed(),
            decimator: Decimator::default(),
            waiting: Vec::with_capacity(DETECTOR_FRAME + FRAME / 3),
            floor: FloorTracker::default(),
            score: 0.0,
            voice: false,
        }
    }
}

impl VoiceActivity {
    /// Hears a frame.
    pub fn hear(&mut self, frame: &Frame) -> Activity {
        self.floor.hear(frame);
        self.decimator.process(frame, &mut self.waiting);
        while let Some(piece) = self.waiting.get(..DETECTOR_FRAME) {
            self.score = self.detector.predict_f32(piece);
            self.waiting.drain(..DETECTOR_FRAME);
        }
        let level_db = decibels(power(frame));
        let floor_db = self.floor.floor_db().unwrap_or(FLOOR_GUESS_DB);
        let threshold = (floor_db + ABOVE_FLOOR_DB).max(LEVEL_MIN_DB);
        let loud = level_db > threshold;
        self.voice =
            if self.voice { self.score > SCORE_END && loud } else { self.score > SCORE && loud };
        Activity { voice: self.voice, score: self.score, level_db, floor_db }
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.detector.reset();
        self.waiting.clear();
        self.floor = FloorTracker::default();
        (self.score, self.voice) = (0.0, false);
    }
}

/// 48 kHz to 16 kHz for the detector: a short symmetric low-pass, every third sample.
#[derive(Debug)]
struct Decimator {
    tail: [f32; TAPS.len() - 1],
}

/// A windowed sinc (Hamming), cut off at 7 kHz; sums to one.
const TAPS: [f32; 25] = [
    -0.0021269, -0.0016892, 0.0011695, 0.0070325, 0.0107064, 0.0025042, -0.0203033, -0.0416928,
    -0.0307072, 0.0352135, 0.1445866, 0.2491409, 0.2923319, 0.2491409, 0.1445866, 0.0352135,
    -0.0307072, -0.0416928, -0.0203033, 0.0025042, 0.0107064, 0.0070325, 0.0011695, -0.0016892,
    -0.0021269,
];

impl Default for Decimator {
    fn default() -> Self {
        Self { tail: [0.0; TAPS.len() - 1] }
    }
}

impl Decimator {
    fn process(&mut self, frame: &Frame, out: &mut Vec<f32>) {
        let mut line = [0.0; TAPS.len() - 1 + FRAME];
        let (before, now) = line.split_at_mut(TAPS.len() - 1);
        before.copy_from_slice(&self.tail);
        now.copy_from_slice(frame);
        out.extend(line.windows(TAPS.len()).step_by(3).map(|window| {
            window.iter().zip(&TAPS).map(|(sample, tap)| sample * tap).sum::<f32>().clamp(-1.0, 1.0)
        }));
        if let Some(tail) = line.get(FRAME..) {
            self.tail.copy_from_slice(tail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rooms::{Random, db, fan, noise, scaled, speech};
    use super::*;

    /// Share of frames in which a voice is found, and the frames themselves.
    fn share(sound: &[f32]) -> f32 {
        let mut voice = VoiceActivity::default();
        let frames = sound.as_chunks().0;
        let found = frames.iter().filter(|frame| voice.hear(frame).voice).count();
        found as f32 / frames.len() as f32
    }

    #[test]
    fn speech_is_found() {
        let found = share(&speech());
        println!("voice in {:.0} % of the frames of speech with its pauses", found * 100.0);
        assert!(found > 0.45, "{found}");
    }

    #[test]
    fn noise_is_no_voice() {
        let mut random = Random::new(3);
        let white = share(&noise(&mut random, 10 * 48_000, db(-45.0)));
        let fan = share(&scaled(&fan(&mut random, 10 * 48_000), -40.0));
        println!("voice in {white} of white noise, {fan} of a fan");
        assert!(white < 0.01 && fan < 0.01);
    }

    #[test]
    fn a_whisper_of_the_radio_next_door_is_no_voice() {
        assert!(share(&scaled(&speech(), -75.0)) < 0.01);
    }
}
