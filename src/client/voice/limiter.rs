//! A look-ahead limiter: what is below its threshold passes bit for bit, what is above is turned down smoothly.
//!
//! Pure: samples in, samples out, delayed by [`LOOK_AHEAD`]. The gain is the box average of a
//! running minimum, so it has come down in full when the peak that needs it leaves the delay line.
#![expect(clippy::indexing_slicing, reason = "ring positions are reduced modulo their length")]

use std::collections::VecDeque;

/// Samples between input and output at 48 kHz: 2.5 ms.
pub const LOOK_AHEAD: usize = 120;
/// Largest magnitude that comes out.
pub const THRESHOLD: f32 = 0.94;

/// Gain 1 as a fixed-point number: sums of it are exact, so gain 1 is exactly 1.
const ONE: u32 = 1 << 24;
/// Share of the way back to gain 1 in each sample: about 120 ms at 48 kHz.
const RELEASE: f64 = 1.0 / 5760.0;

/// The limiter's state.
#[derive(Debug)]
pub struct Limiter {
    delay: Vec<f32>,
    at: usize,
    clock: u64,
    /// Candidates for the minimum over the look-ahead: position and gain, gains rising.
    minima: VecDeque<(u64, u32)>,
    envelope: u32,
    envelopes: Vec<u32>,
    sum: u64,
}

impl Default for Limiter {
    fn default() -> Self {
        Self {
            delay: vec![0.0; LOOK_AHEAD - 1],
            at: 0,
            clock: 0,
            minima: VecDeque::with_capacity(LOOK_AHEAD + 1),
            envelope: ONE,
            envelopes: vec![ONE; LOOK_AHEAD],
            sum: u64::from(ONE) * LOOK_AHEAD as u64,
        }
    }
}

impl Limiter {
    /// Limits samples in place; they come out [`LOOK_AHEAD`] - 1 samples later.
    pub fn process(&mut self, samples: &mut [f32]) {
        for sample in samples {
            *sample = self.step(*sample);
        }
    }

    fn step(&mut self, input: f32) -> f32 {
        let input = if input.is_finite() { input } else { 0.0 };
        let magnitude = input.abs();
        let needed = if magnitude <= THRESHOLD {
            ONE
        } else {
            (f64::from(THRESHOLD) / f64::from(magnitude) * f64::from(ONE)) as u32
        };
        while self.minima.back().is_some_and(|(_, gain)| *gain >= needed) {
            self.minima.pop_back();
        }
        self.minima.push_back((self.clock, needed));
        while self.minima.front().is_some_and(|(at, _)| at + (LOOK_AHEAD as u64) <= self.clock) {
            self.minima.pop_front();
        }
        let lowest = self.minima.front().map_or(ONE, |(_, gain)| *gain);
        self.envelope = if lowest <= self.envelope {
            lowest
        } else {
            let way = f64::from(lowest - self.envelope) * RELEASE;
            (self.envelope + (way as u32).max(16)).min(lowest)
        };
        let slot = (self.clock % LOOK_AHEAD as u64) as usize;
        self.sum = self.sum - u64::from(self.envelopes[slot]) + u64::from(self.envelope);
        self.envelopes[slot] = self.envelope;
        self.clock += 1;

        let delayed = std::mem::replace(&mut self.delay[self.at], input);
        self.at = (self.at + 1) % self.delay.len();
        let whole = u64::from(ONE) * LOOK_AHEAD as u64;
        if self.sum == whole {
            return delayed;
        }
        let gain = (self.sum as f64 / whole as f64) as f32;
        (delayed * gain).clamp(-1.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(input: &[f32]) -> Vec<f32> {
        let mut limiter = Limiter::default();
        let mut samples = input.to_vec();
        samples.extend([0.0; LOOK_AHEAD - 1]);
        limiter.process(&mut samples);
        samples.split_off(LOOK_AHEAD - 1)
    }

    #[test]
    fn below_the_threshold_every_bit_passes() {
        let input: Vec<f32> = (0..48_000).map(|k| (k as f32 * 0.37).sin() * 0.93).collect();
        assert_eq!(run(&input), input);
    }

    #[test]
    fn after_a_loud_passage_gain_comes_back_to_exactly_one() {
        let mut input: Vec<f32> = (0..4800).map(|k| (k as f32 * 0.2).sin() * 6.0).collect();
        input.extend((0..240_000).map(|k| (k as f32 * 0.2).sin() * 0.5));
        let output = run(&input);
        assert_eq!(output[230_000..], input[230_000..]);
    }

    proptest! {
        #[test]
        fn nothing_comes_out_above_full_scale(seed: u64, gain in 0.1f32..60.0) {
            let mut x = seed | 1;
            let input: Vec<f32> = (0..5000).map(|k| {
                x ^= x << 13; x ^= x >> 7; x ^= x << 17;
                let burst = if (k / 300) % 3 == 0 { gain } else { 0.3 };
                ((x >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * burst
            }).collect();
            for sample in run(&input) {
                prop_assert!(sample.abs() <= THRESHOLD + 1e-3, "{sample}");
            }
        }
    }

    #[test]
    fn what_is_no_number_becomes_silence() {
        assert!(run(&[f32::NAN, f32::INFINITY, 0.5]).iter().all(|s| s.is_finite()));
    }
}
