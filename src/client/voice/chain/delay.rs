//! A delay line of a fixed length, and cross-fades between a sound and another that lags behind it.
#![expect(clippy::indexing_slicing, reason = "ring positions are reduced modulo their length")]

use super::{FRAME, Frame};

/// Delays by a fixed number of samples.
#[derive(Debug)]
pub struct DelayLine {
    ring: Vec<f32>,
    at: usize,
}

impl DelayLine {
    /// A line of this many samples, silent.
    #[must_use]
    pub fn new(samples: usize) -> Self {
        Self { ring: vec![0.0; samples.max(1)], at: 0 }
    }

    /// Puts a frame in; what went in that long ago comes out.
    pub fn process(&mut self, frame: &Frame) -> Frame {
        let mut out = [0.0; FRAME];
        for (sample, out) in frame.iter().zip(&mut out) {
            *out = std::mem::replace(&mut self.ring[self.at], *sample);
            self.at = (self.at + 1) % self.ring.len();
        }
        out
    }

    /// Silence again.
    pub fn clear(&mut self) {
        self.ring.fill(0.0);
    }
}

/// A weight between two sounds that moves within one frame.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Fader {
    weight: f32,
}

impl Fader {
    /// How much of the second is heard now, 0 to 1.
    #[must_use]
    pub fn weight(self) -> f32 {
        self.weight
    }

    /// Goes towards `wanted` over this frame: `first` becomes the mix of both.
    pub fn mix(&mut self, first: &mut Frame, second: &Frame, wanted: f32) {
        let (from, step) = (self.weight, (wanted - self.weight) / FRAME as f32);
        self.weight = wanted;
        if from == 0.0 && wanted == 0.0 {
            return;
        }
        if from == 1.0 && wanted == 1.0 {
            first.copy_from_slice(second);
            return;
        }
        for (k, (first, second)) in first.iter_mut().zip(second).enumerate() {
            *first += (second - *first) * (from + step * (k + 1) as f32);
        }
    }

    /// At once, without a fade.
    pub fn jump(&mut self, to: f32) {
        self.weight = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_that_many_samples_later() {
        let mut line = DelayLine::new(500);
        let first: Frame = std::array::from_fn(|k| k as f32 + 1.0);
        assert!(line.process(&first).iter().all(|sample| *sample == 0.0));
        let out = line.process(&[0.0; FRAME]);
        assert_eq!((out[19], out[20], out[479]), (0.0, 1.0, 460.0));
    }

    #[test]
    fn a_fade_has_no_step_and_ends_at_the_other_sound() {
        let (mut fader, mut first, second) = (Fader::default(), [0.0; FRAME], [1.0; FRAME]);
        fader.mix(&mut first, &second, 1.0);
        assert!(first.windows(2).all(|w| (0.0..0.003).contains(&(w[1] - w[0]))));
        assert!((first[479] - 1.0).abs() < 1e-4);
        let mut next = [0.0; FRAME];
        fader.mix(&mut next, &second, 1.0);
        assert_eq!(next, second);
    }
}
