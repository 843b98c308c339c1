//! Automatic gain: a voice that is too soft or too loud for the others is brought to their level, slowly.
//!
//! A voice whose level is as it should be passes untouched. Gain moves only while somebody speaks,
//! by less than is heard within a sentence; pauses keep what the words had, and noise is not lifted
//! above a bound. Peaks that gain would clip take the gain down with them.

use super::{FRAMES_PER_SECOND, Frame, Stage, StageState, Surroundings, decibels};

/// Level that a voice should have while it speaks, dBFS.
const TARGET_DB: f32 = -24.0;
/// Deviation that is left alone.
const TOLERANCE_DB: f32 = 4.0;
/// Most that is added or taken away.
const GAIN_MAX_DB: f32 = 12.0;
/// How fast gain moves while somebody speaks, in dB per frame: 1.5 dB a second.
const STEP_DB: f32 = 1.5 / FRAMES_PER_SECOND as f32;
/// Frames of speech before the level is believed: 1.5 s.
const BELIEVED: u32 = 150;
/// Frames of speech that the level is taken over: 4 s.
const MEMORY: f32 = 400.0;
/// Noise is not brought above this level, dBFS.
const NOISE_MAX_DB: f32 = -58.0;
/// Peaks do not go above this: -1 dBFS.
const PEAK_MAX: f32 = 0.891;

/// The stage.
#[derive(Debug, Default)]
pub struct AutomaticGain {
    enabled: bool,
    /// Mean square of the speech heard, before gain.
    speech: f32,
    frames: u32,
    gain_db: f32,
    /// Factor at the end of the last frame.
    factor: Option<f32>,
}

impl AutomaticGain {
    /// What is added now, in dB.
    #[must_use]
    pub fn gain_db(&self) -> f32 {
        if self.enabled { self.gain_db } else { 0.0 }
    }

    /// The gain that this voice should have in this noise.
    fn wanted_db(&self, floor_db: f32) -> f32 {
        let level = decibels(self.speech);
        let gain = if level < TARGET_DB - TOLERANCE_DB {
            (TARGET_DB - TOLERANCE_DB - level).min((NOISE_MAX_DB - floor_db).max(0.0))
        } else if level > TARGET_DB + TOLERANCE_DB {
            TARGET_DB + TOLERANCE_DB - level
        } else {
            0.0
        };
        gain.clamp(-GAIN_MAX_DB, GAIN_MAX_DB)
    }
}

impl Stage for AutomaticGain {
    fn process(&mut self, frame: &mut Frame, around: &Surroundings<'_>) {
        if !self.enabled {
            return;
        }
        let activity = around.activity;
        if activity.voice {
            let power = 10.0f32.powf(activity.level_db / 10.0);
            self.frames = self.frames.saturating_add(1);
            self.speech += (power - self.speech) / (self.frames as f32).min(MEMORY);
            if self.frames > BELIEVED {
                let way = self.wanted_db(activity.floor_db) - self.gain_db;
                self.gain_db += way.clamp(-STEP_DB, STEP_DB);
            }
        }
        let peak = frame.iter().fold(0.0f32, |peak, sample| peak.max(sample.abs()));
        let mut factor = factor(self.gain_db);
        if factor > 1.0 && peak * factor > PEAK_MAX {
            factor = (PEAK_MAX / peak).max(1.0);
            self.gain_db = decibels(factor * factor);
        }
        let before = self.factor.replace(factor).unwrap_or(factor);
        if before == 1.0 && factor == 1.0 {
            return;
        }
        let step = (factor - before) / frame.len() as f32;
        for (k, sample) in frame.iter_mut().enumerate() {
            *sample = (*sample * (before + step * (k + 1) as f32)).clamp(-1.0, 1.0);
        }
    }

    fn set_enabled(&mut self, on: bool) {
        if on != self.enabled {
            self.enabled = on;
            self.reset();
        }
    }

    fn state(&self) -> StageState {
        let acting = self.enabled && self.gain_db.abs() > 0.1;
        StageState { enabled: self.enabled, acting, delay_ms: 0.0 }
    }

    fn reset(&mut self) {
        (self.speech, self.frames, self.gain_db, self.factor) = (0.0, 0, 0.0, None);
    }
}

fn factor(gain_db: f32) -> f32 {
    if gain_db == 0.0 { 1.0 } else { 10.0f32.powf(gain_db / 20.0) }
}
