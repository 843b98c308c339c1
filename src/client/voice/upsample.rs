//! From 16 to 48 kHz by a filter of three phases: every third sample comes out as it went in, bit for bit.
//!
//! Pure. What comes out lags by three quarters of a millisecond; nothing is allocated once it runs.

/// Samples on each side of the one that is interpolated.
const SIDE: usize = 12;
/// Samples that one phase looks at.
const TAPS: usize = 2 * SIDE;
/// Samples that a push goes on from.
const PAST: usize = TAPS - 1;
/// Longest push that needs no more room than there is from the start: 60 ms.
const ROOM: usize = 960;

/// One channel on its way from 16 to 48 kHz.
#[derive(Debug)]
pub struct Upsampler {
    /// Weights for a third and two thirds of the way from one sample to the next.
    phases: [[f32; TAPS]; 2],
    /// The samples before, and those of a push.
    line: Vec<f32>,
}

impl Default for Upsampler {
    fn default() -> Self {
        let mut line = Vec::with_capacity(PAST + ROOM);
        line.resize(PAST, 0.0);
        Self { phases: [phase(1.0 / 3.0), phase(2.0 / 3.0)], line }
    }
}

impl Upsampler {
    /// Takes samples and appends three times as many to `out`, in -1 to 1.
    pub fn push(&mut self, samples: &[i16], out: &mut Vec<f32>) {
        self.line.extend(samples.iter().map(|sample| f32::from(*sample) / 32768.0));
        for window in self.line.windows(TAPS) {
            let exact = window.get(SIDE - 1).copied().unwrap_or_default();
            let [a, b] = self.phases.each_ref().map(|phase| {
                phase.iter().zip(window).map(|(weight, sample)| weight * sample).sum::<f32>()
            });
            out.extend([exact, a, b]);
        }
        let used = self.line.len() - PAST;
        self.line.copy_within(used.., 0);
        self.line.truncate(PAST);
    }

    /// Forgets what was pushed.
    pub fn reset(&mut self) {
        self.line.fill(0.0);
    }
}

/// Weights of a windowed sinc at this distance after the sample in the middle.
fn phase(at: f64) -> [f32; TAPS] {
    let weight = |k: usize| {
        let x = k as f64 - (SIDE as f64 - 1.0) - at;
        let window = (std::f64::consts::FRAC_PI_2 * x / SIDE as f64).cos().powi(2);
        let angle = std::f64::consts::PI * x;
        angle.sin() / angle * window
    };
    let all: [f64; TAPS] = std::array::from_fn(weight);
    let sum: f64 = all.iter().sum();
    all.map(|weight| (weight / sum) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(hz: f32, count: usize) -> Vec<i16> {
        let step = std::f32::consts::TAU * hz / 16_000.0;
        (0..count).map(|k| ((k as f32 * step).sin() * 16_000.0) as i16).collect()
    }

    /// Amplitude of `hz` at 48 kHz.
    fn amplitude(samples: &[f32], hz: f64) -> f64 {
        let step = std::f64::consts::TAU * hz / 48_000.0;
        let (mut s, mut c) = (0.0, 0.0);
        for (k, x) in samples.iter().enumerate() {
            s += f64::from(*x) * (k as f64 * step).sin();
            c += f64::from(*x) * (k as f64 * step).cos();
        }
        2.0 * s.hypot(c) / samples.len() as f64
    }

    #[test]
    fn every_third_sample_is_the_very_one() {
        let source = sine(1234.5, 3200);
        let mut upsampler = Upsampler::default();
        let mut out = Vec::new();
        for chunk in source.chunks(160) {
            upsampler.push(chunk, &mut out);
        }
        assert_eq!(out.len(), 9600);
        for (k, sample) in source[..3200 - SIDE].iter().enumerate() {
            assert_eq!(out[3 * (k + SIDE)], f32::from(*sample) / 32768.0);
        }
    }

    #[test]
    fn a_tone_keeps_its_level_and_leaves_no_image() {
        for hz in [300.0f32, 1000.0, 4000.0, 6500.0] {
            let mut out = Vec::new();
            Upsampler::default().push(&sine(hz, 16_000), &mut out);
            let middle = &out[4800..43_200];
            let level = amplitude(middle, f64::from(hz));
            assert!((level / (16_000.0 / 32_768.0) - 1.0).abs() < 0.02, "{hz}: {level}");
            let image = amplitude(middle, 16_000.0 - f64::from(hz));
            assert!(image < level * 0.03, "{hz}: {image}");
        }
    }

    #[test]
    fn what_was_before_a_reset_does_not_sound_after_it() {
        let mut upsampler = Upsampler::default();
        let mut out = Vec::new();
        upsampler.push(&[12_345; 160], &mut out);
        upsampler.reset();
        out.clear();
        upsampler.push(&[0; 160], &mut out);
        assert!(out.iter().all(|sample| *sample == 0.0));
    }

    #[test]
    fn nothing_is_allocated() {
        let (mut upsampler, source) = (Upsampler::default(), sine(440.0, 320));
        let mut out = Vec::with_capacity(960);
        let counted = allocation_counter::measure(|| {
            for _ in 0..10 {
                out.clear();
                upsampler.push(&source, &mut out);
            }
        });
        assert_eq!(counted.count_total, 0);
    }
}
