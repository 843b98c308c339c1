//! The high-pass filter: rumble, wind and mains hum below speech go, at no delay.
//!
//! Two Butterworth filters of second order (12 dB for each octave below): at 40 Hz always, which no
//! voice notices; at 80 Hz where the microphone hears a steady rumble.

use super::delay::Fader;
use super::floor::FloorTracker;
use super::{Frame, Stage, StageState, Surroundings, power};

/// Coefficients at 48 kHz (bilinear transform, Q = 1/sqrt 2).
const AT_40_HZ: Biquad = Biquad {
    b: [0.996_304_442_969, -1.992_608_885_939, 0.996_304_442_969],
    a: [-1.992_595_228_750, 0.992_622_543_127],
};
const AT_80_HZ: Biquad = Biquad {
    b: [0.992_622_542_756, -1.985_245_085_512, 0.992_622_542_756],
    a: [-1.985_190_657_896, 0.985_299_513_128],
};
/// Level of what lies below speech, between the words, from which on it is a rumble, dBFS, ...
const RUMBLE_ON_DB: f32 = -62.0;
/// ... and below which it is none.
const RUMBLE_OFF_DB: f32 = -68.0;

/// The stage.
#[derive(Debug, Default)]
pub struct HighPass {
    enabled: bool,
    gentle: State,
    strict: State,
    below: FloorTracker,
    rumble: bool,
    fader: Fader,
}

struct Biquad {
    b: [f64; 3],
    a: [f64; 2],
}

/// Transposed direct form II.
#[derive(Debug, Clone, Copy, Default)]
struct State([f64; 2]);

impl Biquad {
    fn filter(&self, state: &mut State, frame: &Frame) -> Frame {
        let [mut first, mut second] = state.0;
        let [b0, b1, b2] = self.b;
        let [a1, a2] = self.a;
        let out = frame.map(|sample| {
            let x = f64::from(sample);
            let y = b0 * x + first;
            first = b1 * x - a1 * y + second;
            second = b2 * x - a2 * y;
            y as f32
        });
        // What has died away would be slow to compute with.
        state.0 = [first, second].map(|value| if value.abs() < 1e-15 { 0.0 } else { value });
        out
    }
}

impl Stage for HighPass {
    fn process(&mut self, frame: &mut Frame, _: &Surroundings<'_>) {
        if !self.enabled {
            return;
        }
        let strict = AT_80_HZ.filter(&mut self.strict, frame);
        let mut below = *frame;
        for (below, above) in below.iter_mut().zip(&strict) {
            *below -= above;
        }
        self.below.hear_power(power(&below));
        if let Some(floor) = self.below.floor_db() {
            self.rumble = floor > if self.rumble { RUMBLE_OFF_DB } else { RUMBLE_ON_DB };
        }
        *frame = AT_40_HZ.filter(&mut self.gentle, frame);
        self.fader.mix(frame, &strict, f32::from(self.rumble));
    }

    fn set_enabled(&mut self, on: bool) {
        if on != self.enabled {
            self.enabled = on;
            self.reset();
        }
    }

    fn state(&self) -> StageState {
        StageState { enabled: self.enabled, acting: self.enabled, delay_ms: 0.0 }
    }

    fn reset(&mut self) {
        *self = Self { enabled: self.enabled, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::super::activity::Activity;
    use super::super::{FRAME, RATE, decibels};
    use super::*;

    /// By how much a sine of this frequency and level is changed, in dB.
    fn response(hz: f32, level_db: f32) -> f32 {
        let mut filter = HighPass::default();
        filter.set_enabled(true);
        let around = Surroundings { far: &[0.0; FRAME], activity: Activity::default() };
        let factor = 10.0f32.powf(level_db / 20.0) * std::f32::consts::SQRT_2;
        let mut powers = 0.0;
        for k in 0..100 {
            let mut frame = std::array::from_fn(|n| {
                let turns = (k * FRAME + n) as f32 * hz / RATE as f32;
                (turns.fract() * std::f32::consts::TAU).sin() * factor
            });
            filter.process(&mut frame, &around);
            if k >= 50 {
                powers += power(&frame) / 50.0;
            }
        }
        decibels(powers) - level_db
    }

    #[test]
    fn rumble_goes_and_speech_stays() {
        assert!((response(80.0, -20.0) + 3.0).abs() < 0.2, "{}", response(80.0, -20.0));
        assert!(response(20.0, -40.0) < -23.0, "{}", response(20.0, -40.0));
        for hz in [200.0, 1000.0, 10_000.0] {
            assert!(response(hz, -30.0).abs() < 0.15, "{hz}: {}", response(hz, -30.0));
        }
    }

    #[test]
    fn where_nothing_rumbles_a_deep_voice_keeps_its_lowest_tone() {
        assert!(response(85.0, -70.0) > -0.3, "{}", response(85.0, -70.0));
        assert!(response(20.0, -70.0) < -11.0, "{}", response(20.0, -70.0));
    }

    #[test]
    fn a_constant_offset_goes() {
        let mut filter = HighPass::default();
        filter.set_enabled(true);
        let around = Surroundings { far: &[0.0; FRAME], activity: Activity::default() };
        let mut frame = [0.2; FRAME];
        for _ in 0..50 {
            frame = [0.2; FRAME];
            filter.process(&mut frame, &around);
        }
        assert!(frame.iter().all(|sample| sample.abs() < 1e-5));
    }
}
