//! Streaming resampling of one channel between any two rates (rubato), exact when the rates agree.
//!
//! Pure: samples are pushed in chunks of any size and come out as soon as they can.

use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{
    Async, FixedAsync, Resampler as _, SincInterpolationParameters, SincInterpolationType,
    WindowFunction,
};

/// Rates that a device may have, in Hz.
pub const RATES: std::ops::RangeInclusive<u32> = 4_000..=768_000;

/// The two rates cannot be converted into each other.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("cannot resample from {from} Hz to {to} Hz: {why}")]
pub struct ResampleError {
    /// Rate in.
    pub from: u32,
    /// Rate out.
    pub to: u32,
    /// The library's reason.
    pub why: String,
}

/// One channel on its way from one rate to another.
pub struct Resampler {
    from: u32,
    to: u32,
    /// None: the rates agree and samples pass untouched.
    engine: Option<Async<f32>>,
    waiting: Vec<f32>,
    produced: Vec<f32>,
}

impl std::fmt::Debug for Resampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resampler").field("from", &self.from).field("to", &self.to).finish()
    }
}

impl Resampler {
    /// A resampler that works in steps of about 2.5 ms.
    ///
    /// # Errors
    /// A rate is out of all reason.
    pub fn new(from: u32, to: u32) -> Result<Self, ResampleError> {
        let error = |why: String| ResampleError { from, to, why };
        if !RATES.contains(&from) || !RATES.contains(&to) {
            return Err(error("the rate is out of range".to_owned()));
        }
        let engine = if from == to {
            None
        } else {
            let ratio = f64::from(to) / f64::from(from);
            // The filter spans about 64 samples of the slower rate: 2 ms of delay at 16 kHz.
            let taps = (64.0 * (1.0 / ratio).max(1.0)).round().min(1024.0) as usize;
            let (interpolation, oversampling) = match exact_phases(from, to) {
                Some(phases) => (SincInterpolationType::Nearest, phases),
                None => (SincInterpolationType::Cubic, 128),
            };
            let parameters = SincInterpolationParameters::new(taps, WindowFunction::Hann2)
                .oversampling_factor(oversampling)
                .interpolation(interpolation);
            let chunk = usize::try_from(from / 400).unwrap_or(1).max(8);
            let engine = Async::new_sinc(ratio, 1.0, &parameters, chunk, 1, FixedAsync::Input)
                .map_err(|why| error(why.to_string()))?;
            Some(engine)
        };
        let produced = engine.as_ref().map_or(0, |engine| engine.output_frames_max());
        Ok(Self { from, to, engine, waiting: Vec::new(), produced: vec![0.0; produced] })
    }

    /// Rate that samples come in at, in Hz.
    #[must_use]
    pub fn rate_in(&self) -> u32 {
        self.from
    }

    /// Whether the rates agree and samples pass untouched, without delay.
    #[must_use]
    pub fn is_transparent(&self) -> bool {
        self.engine.is_none()
    }

    /// Takes samples in and appends those that are ready to `out`.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        let Some(engine) = &mut self.engine else {
            out.extend_from_slice(samples);
            return;
        };
        self.waiting.extend_from_slice(samples);
        let mut used = 0;
        loop {
            let wanted = engine.input_frames_next();
            let Some(chunk) = self.waiting.get(used..used + wanted) else { break };
            let room = self.produced.len();
            let (Ok(input), Ok(mut output)) = (
                SequentialSlice::new(chunk, 1, wanted),
                SequentialSlice::new_mut(&mut self.produced, 1, room),
            ) else {
                break;
            };
            match engine.process_into_buffer(&input, &mut output, None) {
                Ok((_, frames)) => out.extend(self.produced.iter().take(frames)),
                Err(_) => break,
            }
            used += wanted;
        }
        self.waiting.drain(..used);
    }

    /// Forgets everything that was pushed.
    pub fn reset(&mut self) {
        self.waiting.clear();
        if let Some(engine) = &mut self.engine {
            engine.reset();
        }
    }
}

/// How many filter phases make this conversion exact, where they are few.
fn exact_phases(from: u32, to: u32) -> Option<usize> {
    let (mut a, mut b) = (from, to);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    usize::try_from(to / a.max(1)).ok().filter(|phases| *phases <= 480)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(rate: u32, hz: f32, seconds: f32) -> Vec<f32> {
        let step = std::f32::consts::TAU * hz / rate as f32;
        (0..(rate as f32 * seconds) as usize).map(|k| 0.5 * (k as f32 * step).sin()).collect()
    }

    /// Amplitude of `hz` in `samples`, by correlation with a sine and a cosine.
    fn amplitude(samples: &[f32], rate: u32, hz: f32) -> f32 {
        let step = std::f64::consts::TAU * f64::from(hz) / f64::from(rate);
        let (mut s, mut c) = (0.0, 0.0);
        for (k, x) in samples.iter().enumerate() {
            s += f64::from(*x) * (k as f64 * step).sin();
            c += f64::from(*x) * (k as f64 * step).cos();
        }
        (2.0 * s.hypot(c) / samples.len() as f64) as f32
    }

    #[test]
    fn a_tone_keeps_its_pitch_level_and_length_at_every_rate() {
        for rate in
            [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 176_400, 192_000]
        {
            for (from, to) in [(rate, 16_000), (48_000, rate), (16_000, rate)] {
                let mut resampler = Resampler::new(from, to).unwrap();
                let mut out = Vec::new();
                for chunk in sine(from, 1000.0, 1.0).chunks(173) {
                    resampler.push(chunk, &mut out);
                }
                let missing = to as f32 - out.len() as f32;
                assert!((-1.0..to as f32 * 0.012).contains(&missing), "{from}->{to}: {missing}");
                // Whole periods from the middle.
                let middle = &out[to as usize / 4..to as usize / 4 + to as usize / 2];
                let level = amplitude(middle, to, 1000.0);
                assert!((level - 0.5).abs() < 0.005, "{from}->{to}: {level}");
                let power = middle.iter().map(|x| x * x).sum::<f32>() / middle.len() as f32;
                let noise = (power - level * level / 2.0).abs() / power;
                assert!(noise < 1e-4, "{from}->{to}: noise {noise}");
            }
        }
    }

    #[test]
    fn what_16_khz_cannot_carry_does_not_fold_back() {
        let mut resampler = Resampler::new(48_000, 16_000).unwrap();
        let mut out = Vec::new();
        resampler.push(&sine(48_000, 10_000.0, 1.0), &mut out);
        let peak = out[2000..14_000].iter().fold(0.0f32, |m, x| m.max(x.abs()));
        assert!(peak < 0.005, "{peak}");
    }

    #[test]
    fn equal_rates_pass_every_bit() {
        let mut resampler = Resampler::new(16_000, 16_000).unwrap();
        let input = sine(16_000, 333.0, 0.1);
        let mut out = Vec::new();
        resampler.push(&input, &mut out);
        assert_eq!(out, input);
    }

    #[test]
    fn absurd_rates_are_errors() {
        assert!(Resampler::new(0, 16_000).is_err());
        assert!(Resampler::new(48_000, u32::MAX).is_err());
    }
}
