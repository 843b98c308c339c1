//! The capture chain: what is done to the microphone's sound before anybody else hears it.
//!
//! Pure. Frames of 10 ms at 48 kHz go through high-pass, echo cancellation, noise suppression and
//! automatic gain, each a [`Stage`] with a switch of its own; voice activity is found behind the
//! noise suppression. A stage that has nothing to do passes every sample untouched and at once; it
//! takes its delay upon itself (at most 10 ms) only while there is an echo or a noise to remove.

pub mod activity;
pub mod delay;
pub mod echo;
pub mod far_end;
pub mod floor;
pub mod gain;
pub mod gate;
pub mod high_pass;
#[cfg(test)]
mod intelligibility;
#[cfg(test)]
mod measures;
pub mod noise;
pub mod pre_roll;
#[cfg(test)]
pub(super) mod rooms;

use activity::{Activity, VoiceActivity};
use echo::EchoCanceller;
use gain::AutomaticGain;
use high_pass::HighPass;
use noise::NoiseSuppressor;
use serde::Serialize;

/// Sampling rate of the chain, in Hz.
pub const RATE: u32 = 48_000;
/// Samples of a frame: 10 ms.
pub const FRAME: usize = 480;
/// Frames of one second.
pub const FRAMES_PER_SECOND: usize = 100;

/// 10 ms of one channel at 48 kHz, full scale at 1.
pub type Frame = [f32; FRAME];

/// What a stage may know beside the frame.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// What was handed to the loudspeaker in the 10 ms before; silence if nothing is known of it.
    pub far: &'a Frame,
    /// What was found in the microphone's sound: in this frame behind the noise suppression, in
    /// the one before it ahead of that.
    pub activity: Activity,
}

/// One stage of the chain.
pub trait Stage: std::fmt::Debug + Send {
    /// Processes a frame in place.
    fn process(&mut self, frame: &mut Frame, around: &Surroundings<'_>);

    /// Switches it on or off. Off, it passes every sample untouched and at once.
    fn set_enabled(&mut self, on: bool);

    /// What it does now.
    fn state(&self) -> StageState;

    /// Another microphone, or a gap in its sound: what was learned of the sound is forgotten.
    fn reset(&mut self);
}

/// What a stage does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct StageState {
    /// Switched on.
    pub enabled: bool,
    /// It changes the sound now.
    pub acting: bool,
    /// By how much it delays the sound now, in ms.
    pub delay_ms: f32,
}

/// Which stages are switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainSettings {
    /// High-pass filter.
    pub high_pass: bool,
    /// Echo cancellation.
    pub echo: bool,
    /// Noise suppression.
    pub noise: bool,
    /// Automatic gain.
    pub gain: bool,
}

impl Default for ChainSettings {
    fn default() -> Self {
        Self { high_pass: true, echo: true, noise: true, gain: true }
    }
}

impl ChainSettings {
    /// Every stage switched off.
    pub const NONE: Self = Self { high_pass: false, echo: false, noise: false, gain: false };

    /// Switches one stage.
    pub fn switch(&mut self, stage: StageName, on: bool) {
        match stage {
            StageName::HighPass => self.high_pass = on,
            StageName::Echo => self.echo = on,
            StageName::Noise => self.noise = on,
            StageName::Gain => self.gain = on,
        }
    }
}

/// A stage, as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StageName {
    /// High-pass filter.
    HighPass,
    /// Echo cancellation.
    Echo,
    /// Noise suppression.
    Noise,
    /// Automatic gain.
    Gain,
}

/// Figures of the chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct ChainFigures {
    /// High-pass filter.
    pub high_pass: StageState,
    /// Echo cancellation.
    pub echo: StageState,
    /// Noise suppression.
    pub noise: StageState,
    /// Automatic gain.
    pub gain: StageState,
    /// What automatic gain adds now, in dB.
    pub gain_db: f32,
    /// The microphone's noise floor ahead of the noise suppression, dBFS.
    pub floor_db: f32,
}

/// All stages in their order.
#[derive(Debug)]
pub struct Chain {
    settings: ChainSettings,
    high_pass: HighPass,
    echo: EchoCanceller,
    noise: NoiseSuppressor,
    gain: AutomaticGain,
    voice: VoiceActivity,
    activity: Activity,
}

impl Chain {
    /// A chain that has heard nothing yet. What its stages need is allocated here.
    #[must_use]
    pub fn new(settings: ChainSettings) -> Self {
        let mut chain = Self {
            settings,
            high_pass: HighPass::default(),
            echo: EchoCanceller::new(),
            noise: NoiseSuppressor::new(),
            gain: AutomaticGain::default(),
            voice: VoiceActivity::default(),
            activity: Activity::default(),
        };
        chain.set(settings);
        chain
    }

    /// Which stages are switched on.
    #[must_use]
    pub fn settings(&self) -> ChainSettings {
        self.settings
    }

    /// Switches stages on and off.
    pub fn set(&mut self, settings: ChainSettings) {
        self.settings = settings;
        self.high_pass.set_enabled(settings.high_pass);
        self.echo.set_enabled(settings.echo);
        self.noise.set_enabled(settings.noise);
        self.gain.set_enabled(settings.gain);
    }

    /// Processes a frame in place, where `far` was handed to the loudspeaker meanwhile. What was
    /// found in it comes back.
    pub fn process(&mut self, frame: &mut Frame, far: &Frame) -> Activity {
        *frame = frame.map(in_range);
        let far = &far.map(in_range);
        let around = Surroundings { far, activity: self.activity };
        self.high_pass.process(frame, &around);
        self.echo.process(frame, &around);
        self.noise.process(frame, &around);
        self.activity = self.voice.hear(frame);
        let around = Surroundings { far, activity: self.activity };
        self.gain.process(frame, &around);
        self.activity
    }

    /// Another microphone, or a gap in its sound.
    pub fn reset(&mut self) {
        self.high_pass.reset();
        self.echo.reset();
        self.noise.reset();
        self.gain.reset();
        self.voice.reset();
        self.activity = Activity::default();
    }

    /// What the stages do now.
    #[must_use]
    pub fn figures(&self) -> ChainFigures {
        ChainFigures {
            high_pass: self.high_pass.state(),
            echo: self.echo.state(),
            noise: self.noise.state(),
            gain: self.gain.state(),
            gain_db: self.gain.gain_db(),
            floor_db: self.noise.floor_db(),
        }
    }
}

/// What is no number becomes silence, what is out of range is clipped.
fn in_range(sample: f32) -> f32 {
    if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 }
}

/// Mean square of a frame.
#[must_use]
pub fn power(frame: &[f32]) -> f32 {
    frame.iter().map(|sample| sample * sample).sum::<f32>() / frame.len().max(1) as f32
}

/// A mean square as dBFS, -120 for none.
#[must_use]
pub fn decibels(power: f32) -> f32 {
    10.0 * power.max(1e-12).log10()
}
