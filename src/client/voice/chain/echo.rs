//! Echo cancellation: what the loudspeaker plays is taken out of what the microphone hears (AEC3).
//!
//! The canceller finds the delay between the two by itself, up to half a second. It lags by 9 ms, so
//! its sound is used only while something is played and its echo is really there: with headphones,
//! every sample passes untouched and at once. That an echo is there is taken for granted until the
//! microphone has stayed at its noise floor while the far end was loud; it is believed again as soon
//! as the canceller finds something to take out.
//!
//! The canceller allocates some forty small buffers for each frame that it works on.

use super::delay::{DelayLine, Fader};
use super::floor::FloorTracker;
use super::{FRAME, Frame, RATE, Stage, StageState, Surroundings, decibels, power};
use sonora::config::{EchoCanceller as Aec3, MaxProcessingRate, Pipeline, TransparentModeType};
use sonora::{AudioProcessing, Config, StreamConfig};

/// Level from which on the far end is something to have an echo, dBFS, ...
const FAR_SOUNDS_DB: f32 = -65.0;
/// ... and from which on its echo cannot be missed.
const FAR_LOUD_DB: f32 = -45.0;
/// Frames that an echo may come after what caused it, reverberation included.
const TAIL: u32 = 80;
/// Frames in which a loud far end is looked for, of those up to 640 ms ago: so late that its echo
/// has come, if there is one.
const BEGUN: u64 = !0 << 20;
/// That many of them must have been loud.
const LOUD_MIN: u32 = 12;
/// Frames without anything played after which the delay is given up, at a pause: 20 s.
const IDLE: u32 = 2000;
/// Frames that the canceller runs before it is heard.
const WARM_UP: u32 = 2;
/// Level above the floor that is more than the floor, in dB.
const ABOVE_FLOOR_DB: f32 = 5.0;
/// Reduction that shows an echo, in dB, ...
const REDUCTION_DB: f32 = 10.0;
/// ... where the linear filter alone takes out so much on average. Without it, it may have been
/// a voice that was suppressed.
const LINEAR_DB: f64 = 2.0;
/// Frames of silence at the far end after which the microphone's floor is no echo's, ...
const GAP: u32 = 25;
/// ... and for how many more that holds.
const GAP_AGE: u32 = 350;
/// How fast the belief in an echo falls for each frame that speaks against it: 1.5 s from 1 to 0, ...
const DOUBT: f32 = 1.0 / 150.0;
/// ... and rises for each that shows one.
const TRUST: f32 = 1.0 / 15.0;
/// Weight of a frame in the smoothed powers.
const SMOOTHING: f32 = 0.25;

/// The stage.
#[derive(Debug)]
pub struct EchoCanceller {
    enabled: bool,
    canceller: Box<AudioProcessing>,
    dry: DelayLine,
    /// Between the sound as it came and the delayed one, ...
    engaged: Fader,
    /// ... and, in the latter, between the dry and the one without echo.
    cancelling: Fader,
    /// Belief that there is an echo, 0 to 1, and what follows from it.
    belief: f32,
    present: bool,
    floor: FloorTracker,
    /// Frames since the far end was last heard, and since it was silent for a while.
    far_silent: u32,
    far_gap: u32,
    /// The last 64 frames, the latest lowest: the far end was loud, the microphone above its floor.
    far_loud: u64,
    near_loud: u64,
    warm: u32,
    power_in: f32,
    power_out: f32,
}

impl EchoCanceller {
    /// Samples by which the canceller's sound lags: its blocks and its bands.
    pub const DELAY: usize = 431;

    /// A canceller that knows nothing of the room.
    #[must_use]
    pub fn new() -> Self {
        Self {
            enabled: false,
            canceller: Box::new(canceller()),
            dry: DelayLine::new(Self::DELAY),
            engaged: Fader::default(),
            cancelling: Fader::default(),
            belief: 1.0,
            present: true,
            floor: FloorTracker::default(),
            far_silent: u32::MAX,
            far_gap: u32::MAX,
            far_loud: 0,
            near_loud: !0,
            warm: 0,
            power_in: 0.0,
            power_out: 0.0,
        }
    }

    fn hear_far_end(&mut self, far: &Frame) {
        let level = decibels(power(far));
        self.far_silent = if level > FAR_SOUNDS_DB { 0 } else { self.far_silent.saturating_add(1) };
        self.far_gap = if self.far_silent > GAP { 0 } else { self.far_gap.saturating_add(1) };
        self.far_loud = self.far_loud << 1 | u64::from(level > FAR_LOUD_DB);
    }

    /// Takes the echo out of a frame, if the canceller can.
    fn cancel(&mut self, frame: &Frame, far: &Frame) -> Frame {
        let (mut out, mut rendered) = (*frame, [0.0; FRAME]);
        // Formats that were accepted once are accepted always.
        let _ = self.canceller.process_render_f32(&[far], &mut [&mut rendered]);
        let _ = self.canceller.process_capture_f32(&[frame], &mut [&mut out]);
        out
    }

    /// Looks for an echo in what came (delayed as the other) and what is left of it.
    fn look_for_echo(&mut self, dry: &Frame, wet: &Frame) {
        self.power_in += (power(dry) - self.power_in) * SMOOTHING;
        self.power_out += (power(wet) - self.power_out) * SMOOTHING;
        let Some(floor) = self.floor.floor_db() else { return };
        let above = decibels(self.power_in) - floor > ABOVE_FLOOR_DB;
        let reduction = decibels(self.power_in) - decibels(self.power_out);
        self.near_loud = self.near_loud << 1 | u64::from(above);
        let linear = self.canceller.statistics().echo_return_loss_enhancement;
        if above && reduction > REDUCTION_DB && linear.is_some_and(|db| db > LINEAR_DB) {
            self.belief += TRUST;
        } else if self.near_loud == 0
            && (self.far_loud & BEGUN).count_ones() >= LOUD_MIN
            && self.far_gap < GAP_AGE
        {
            self.belief -= DOUBT;
        }
        self.belief = self.belief.clamp(0.0, 1.0);
        let present = self.belief > if self.present { 0.0 } else { 0.5 };
        if self.present && !present {
            // What it learned of the room holds no longer.
            *self.canceller = canceller();
        }
        self.present = present;
    }

    /// Whether the delay is worth it.
    fn wants_delay(&self, frame: &Frame) -> bool {
        if !self.enabled {
            return false;
        }
        let engaged = self.engaged.weight() > 0.0;
        if !engaged {
            return self.present && self.far_silent == 0;
        }
        // Back only where nobody hears the seam.
        let quiet = self
            .floor
            .floor_db()
            .is_some_and(|floor| decibels(power(frame)) < floor + 2.0 * ABOVE_FLOOR_DB);
        let idle = !self.present || self.far_silent > IDLE;
        !(idle && quiet)
    }
}

impl Default for EchoCanceller {
    fn default() -> Self {
        Self::new()
    }
}

impl Stage for EchoCanceller {
    fn process(&mut self, frame: &mut Frame, around: &Surroundings<'_>) {
        self.hear_far_end(around.far);
        self.floor.hear(frame);
        let sounds = self.far_silent < TAIL;
        let delayed = self.wants_delay(frame);
        if !delayed && self.engaged.weight() == 0.0 && !(self.enabled && sounds) {
            self.warm = 0;
            return;
        }
        let mut late = self.dry.process(frame);
        if sounds {
            let wet = self.cancel(frame, around.far);
            self.look_for_echo(&late, &wet);
            self.warm = self.warm.saturating_add(1);
            let weight = f32::from(self.warm > WARM_UP);
            self.cancelling.mix(&mut late, &wet, weight);
        } else {
            let dry = late;
            self.cancelling.mix(&mut late, &dry, 0.0);
            self.warm = 0;
        }
        self.engaged.mix(frame, &late, f32::from(delayed));
    }

    fn set_enabled(&mut self, on: bool) {
        self.enabled = on;
    }

    fn state(&self) -> StageState {
        let delay = if self.engaged.weight() > 0.0 { Self::DELAY } else { 0 };
        StageState {
            enabled: self.enabled,
            acting: self.engaged.weight() > 0.0 && self.cancelling.weight() > 0.0,
            delay_ms: delay as f32 / 48.0,
        }
    }

    fn reset(&mut self) {
        self.floor = FloorTracker::default();
        self.dry.clear();
        self.engaged.jump(0.0);
        self.cancelling.jump(0.0);
        (self.belief, self.present, self.warm, self.near_loud) = (1.0, true, 0, !0);
    }
}

fn canceller() -> AudioProcessing {
    let format = StreamConfig::new(RATE, 1);
    let pipeline = Pipeline {
        maximum_internal_processing_rate: MaxProcessingRate::Rate48kHz,
        ..Pipeline::default()
    };
    // The chain has a high-pass filter of its own.
    let echo_canceller = Some(Aec3 {
        enforce_high_pass_filtering: false,
        transparent_mode: TransparentModeType::Hmm,
    });
    AudioProcessing::builder()
        .config(Config { pipeline, echo_canceller, ..Config::default() })
        .capture_config(format)
        .render_config(format)
        .build()
}
