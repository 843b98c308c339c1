//! Noise suppression: a recurrent network (RNNoise) that knows voices from what is none.
//!
//! It costs 10 ms, so it acts only where the microphone's noise floor is high enough to be heard;
//! below, every sample passes untouched and at once. Between the two it fades, at a pause if one
//! comes. A share of the noise is left, so that the room does not fall silent between words.

use super::delay::{DelayLine, Fader};
use super::floor::FloorTracker;
use super::{FRAME, Frame, Stage, StageState, Surroundings, decibels, power};
use nnnoiseless::DenoiseState;

/// Floor from which on noise is removed, dBFS, ...
const FLOOR_ON_DB: f32 = -60.0;
/// ... and below which it is left alone again.
const FLOOR_OFF_DB: f32 = -66.0;
/// Frames that the floor must stay there.
const PATIENCE: u32 = 50;
/// Frames that the network hears before it is heard.
const WARM_UP: u32 = 30;
/// Frames that a pause is waited for.
const WAIT_MAX: u32 = 300;
/// Share of the sound that passes as it is: noise goes down by 24 dB at most.
const RESIDUE: f32 = 0.063;
/// The network was trained on 16-bit samples.
const SCALE: f32 = 32_768.0;

/// The stage.
pub struct NoiseSuppressor {
    enabled: bool,
    network: Box<DenoiseState<'static>>,
    floor: FloorTracker,
    dry: DelayLine,
    fader: Fader,
    /// It should act, and for how many frames that has been otherwise than it is.
    wanted: bool,
    since: u32,
    /// Frames that the network has run without a break.
    warm: u32,
}

impl std::fmt::Debug for NoiseSuppressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NoiseSuppressor").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl NoiseSuppressor {
    /// Samples by which the network's sound lags: one frame, by its overlapping windows.
    pub const DELAY: usize = FRAME;

    /// A suppressor that has heard nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            enabled: false,
            network: DenoiseState::new(),
            floor: FloorTracker::default(),
            dry: DelayLine::new(Self::DELAY),
            fader: Fader::default(),
            wanted: false,
            since: 0,
            warm: 0,
        }
    }

    /// The noise floor that comes in, dBFS, -120 if it is not known yet.
    #[must_use]
    pub fn floor_db(&self) -> f32 {
        self.floor.floor_db().unwrap_or(-120.0)
    }

    /// Whether noise should be removed now.
    fn decide(&mut self, frame: &Frame) {
        let Some(floor) = self.floor.floor_db() else { return };
        let wanted = if self.wanted { floor > FLOOR_OFF_DB } else { floor > FLOOR_ON_DB };
        if wanted == self.wanted {
            self.since = 0;
            return;
        }
        self.since += 1;
        let pause = decibels(power(frame)) < floor + 6.0;
        if self.since > PATIENCE && (pause || self.since > WAIT_MAX) {
            (self.wanted, self.since) = (wanted, 0);
        }
    }

    /// What the network makes of a frame, one frame late.
    fn denoise(&mut self, frame: &Frame) -> Frame {
        let mut wet = [0.0; FRAME];
        self.network.process_frame(&mut wet, &frame.map(|sample| sample * SCALE));
        let dry = self.dry.process(frame);
        for (wet, dry) in wet.iter_mut().zip(&dry) {
            *wet = *wet / SCALE * (1.0 - RESIDUE) + dry * RESIDUE;
        }
        wet
    }
}

impl Default for NoiseSuppressor {
    fn default() -> Self {
        Self::new()
    }
}

impl Stage for NoiseSuppressor {
    fn process(&mut self, frame: &mut Frame, _: &Surroundings<'_>) {
        self.floor.hear(frame);
        if self.enabled {
            self.decide(frame);
        } else {
            self.wanted = false;
        }
        if !self.wanted && self.fader.weight() == 0.0 {
            self.warm = 0;
            return;
        }
        let wet = self.denoise(frame);
        self.warm = self.warm.saturating_add(1);
        let weight = f32::from(self.wanted && self.warm > WARM_UP);
        self.fader.mix(frame, &wet, weight);
    }

    fn set_enabled(&mut self, on: bool) {
        self.enabled = on;
    }

    fn state(&self) -> StageState {
        let acting = self.fader.weight() > 0.0;
        let delay = if acting { Self::DELAY } else { 0 };
        StageState { enabled: self.enabled, acting, delay_ms: delay as f32 / 48.0 }
    }

    fn reset(&mut self) {
        self.floor = FloorTracker::default();
        self.dry.clear();
        self.fader.jump(0.0);
        (self.wanted, self.since, self.warm) = (false, 0, 0);
    }
}
