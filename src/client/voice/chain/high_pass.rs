//! The high-pass filter: rumble, wind and mains hum below speech go, at no delay.
//!
//! A Butterworth filter of second order: 3 dB down at 80 Hz, 12 dB for each octave below.

use super::{Frame, Stage, StageState, Surroundings};

/// Coefficients for 80 Hz at 48 kHz (bilinear transform, Q = 1/sqrt 2).
const B: [f64; 3] = [0.992_622_542_756, -1.985_245_085_512, 0.992_622_542_756];
const A: [f64; 2] = [-1.985_190_657_896, 0.985_299_513_128];

/// The filter's state.
#[derive(Debug, Default)]
pub struct HighPass {
    enabled: bool,
    /// Transposed direct form II.
    state: [f64; 2],
}

impl Stage for HighPass {
    fn process(&mut self, frame: &mut Frame, _: &Surroundings<'_>) {
        if !self.enabled {
            return;
        }
        let [mut first, mut second] = self.state;
        for sample in frame {
            let x = f64::from(*sample);
            let y = B[0] * x + first;
            first = B[1] * x - A[0] * y + second;
            second = B[2] * x - A[1] * y;
            *sample = y as f32;
        }
        // What has died away would be slow to compute with.
        let calm = |value: f64| if value.abs() < 1e-15 { 0.0 } else { value };
        self.state = [calm(first), calm(second)];
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
        self.state = [0.0; 2];
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FRAME, RATE, decibels, power};
    use super::*;
    use crate::client::voice::chain::activity::Activity;

    /// What a sine of this frequency is changed by, in dB.
    fn response(hz: f32) -> f32 {
        let mut filter = HighPass::default();
        filter.set_enabled(true);
        let around = Surroundings { far: &[0.0; FRAME], activity: Activity::default() };
        let mut powers = 0.0;
        for k in 0..100 {
            let mut frame = std::array::from_fn(|n| {
                let turns = (k * FRAME + n) as f32 * hz / RATE as f32;
                (turns.fract() * std::f32::consts::TAU).sin()
            });
            filter.process(&mut frame, &around);
            if k >= 50 {
                powers += power(&frame) / 50.0;
            }
        }
        decibels(powers) - decibels(0.5)
    }

    #[test]
    fn rumble_goes_and_speech_stays() {
        assert!((response(80.0) + 3.0).abs() < 0.2, "{}", response(80.0));
        assert!(response(20.0) < -23.0, "{}", response(20.0));
        for hz in [200.0, 1000.0, 10_000.0] {
            assert!(response(hz).abs() < 0.15, "{hz}: {}", response(hz));
        }
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
