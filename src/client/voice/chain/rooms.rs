//! For tests: voices, noises, and a room with a loudspeaker and a microphone in it.

use super::{FRAME, Frame, decibels, power};
use crate::client::voice::resample::Resampler;

/// A random source that gives the same run twice.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        println!("seed {seed}");
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// 0 to 1.
    pub fn unit(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Mean 0, variance 1.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() - 6.0
    }
}

/// An amplitude of so many dB.
pub fn db(db: f32) -> f32 {
    10.0f32.powf(db / 20.0)
}

/// White noise of this level (root mean square).
pub fn noise(random: &mut Random, samples: usize, level: f32) -> Vec<f32> {
    (0..samples).map(|_| random.normal() * level).collect()
}

/// A fan: a rumble, air, and the whine of a motor.
pub fn fan(random: &mut Random, samples: usize) -> Vec<f32> {
    let (mut low, mut air) = (0.0, 0.0);
    (0..samples)
        .map(|k| {
            let white = random.normal();
            low += (white - low) * 0.02;
            air += (white - air) * 0.25;
            let t = k as f32 / 48_000.0;
            let whine: f32 = [117.0, 234.0, 702.0]
                .iter()
                .map(|hz| ((t * hz).fract() * std::f32::consts::TAU).sin() * 0.03)
                .sum();
            low * 1.5 + air * 0.15 + whine
        })
        .collect()
}

/// Eleven seconds of one voice with its pauses, at 48 kHz and -24 dBFS while it speaks.
pub fn speech() -> Vec<f32> {
    voice(1.0)
}

/// The same text by another voice: so much higher and faster.
pub fn voice(pitch: f32) -> Vec<f32> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/speech.wav");
    let mut file = hound::WavReader::open(path).unwrap();
    let samples: Vec<f32> =
        file.samples::<i16>().map(|sample| f32::from(sample.unwrap()) / 32_768.0).collect();
    let mut out = Vec::new();
    let rate = (16_000.0 * pitch).round() as u32;
    Resampler::new(rate, 48_000).unwrap().push(&samples, &mut out);
    scaled(&out, -24.0)
}

/// The same sound at this level while it sounds, dBFS.
pub fn scaled(sound: &[f32], level_db: f32) -> Vec<f32> {
    let factor = db(level_db - active_db(sound));
    sound.iter().map(|sample| sample * factor).collect()
}

/// Level of a sound without its pauses, dBFS.
pub fn active_db(sound: &[f32]) -> f32 {
    let powers: Vec<f32> = sound.chunks(FRAME).map(power).collect();
    let most = powers.iter().copied().fold(0.0, f32::max);
    let active: Vec<f32> = powers.into_iter().filter(|p| *p > most * 1e-3).collect();
    decibels(active.iter().sum::<f32>() / active.len() as f32)
}

/// Level of a sound, dBFS.
pub fn level_db(sound: &[f32]) -> f32 {
    decibels(power(sound))
}

/// Many people who talk at once.
pub fn babble(samples: usize) -> Vec<f32> {
    let mut out = vec![0.0; samples];
    for k in 0..8 {
        let one = voice(0.8 + 0.055 * k as f32);
        let start = k * 61_000;
        for (sample, voice) in out.iter_mut().zip(one.iter().cycle().skip(start)) {
            *sample += voice;
        }
    }
    out
}

/// A sound repeated up to a length.
pub fn repeated(sound: &[f32], samples: usize) -> Vec<f32> {
    sound.iter().copied().cycle().take(samples).collect()
}

/// Two sounds at once.
pub fn sum(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// A room between a loudspeaker and a microphone.
pub struct Room {
    /// Direct sound's delay from render to capture, in ms, devices included.
    pub delay_ms: f32,
    /// How much weaker the echo is than what is played, in dB.
    pub loss_db: f32,
    /// Time in which reverberation falls by 60 dB, in ms.
    pub reverberation_ms: f32,
    /// How much faster the loudspeaker's clock is, in parts of a million.
    pub ppm: f32,
}

impl Room {
    /// What the microphone hears of what is played.
    pub fn echo(&self, played: &[f32], random: &mut Random) -> Vec<f32> {
        // A small loudspeaker: it saturates a little, and has no bass.
        let mut bass = 0.0;
        let driven: Vec<f32> = played
            .iter()
            .map(|sample| {
                let bent = sample - 0.05 * sample * sample.abs() - 0.1 * sample.powi(3);
                bass += (bent - bass) * 0.03;
                bent - bass
            })
            .collect();
        let length = (self.reverberation_ms * 48.0) as usize;
        // Sparse early reflections and a dense tail, cut where it is 40 dB down.
        let taps: Vec<(usize, f32)> = (0..(length * 2 / 3).max(1))
            .filter_map(|k| {
                let decay = db(-60.0 * k as f32 / length as f32);
                match k {
                    0 => Some((k, 1.0)),
                    k if k % 23 == 0 => Some((k, random.normal() * 0.25 * decay)),
                    _ => None,
                }
            })
            .collect();
        let energy: f32 = taps.iter().map(|(_, tap)| tap * tap).sum();
        let gain = db(-self.loss_db) / energy.sqrt();
        let delay = (self.delay_ms * 48.0) as usize;
        let mut echo = vec![0.0; played.len()];
        for (at, tap) in taps {
            let shift = delay + at;
            for (out, sample) in echo.iter_mut().skip(shift).zip(&driven) {
                *out += sample * tap * gain;
            }
        }
        self.on_another_clock(&echo)
    }

    /// What a microphone hears whose clock the loudspeaker's runs ahead of.
    fn on_another_clock(&self, sound: &[f32]) -> Vec<f32> {
        let step = 1.0 + f64::from(self.ppm) * 1e-6;
        (0..sound.len())
            .map_while(|k| {
                let at = k as f64 * step;
                let (base, t) = (at as usize, at.fract() as f32);
                let [a, b, c, d] =
                    [0, 1, 2, 3].map(|n| sound.get((base + n).checked_sub(1)?).copied());
                // The windowed sinc would be better; up to 8 kHz this does.
                let (a, b, c, d) = (a.unwrap_or(0.0), b?, c?, d?);
                let (p, m, n) = (t + 1.0, t - 1.0, t - 2.0);
                Some(
                    -a * t * m * n / 6.0 + b * p * m * n / 2.0 - c * p * t * n / 2.0
                        + d * p * t * m / 6.0,
                )
            })
            .collect()
    }
}

/// Whole frames of a sound.
pub fn frames(sound: &[f32]) -> &[Frame] {
    sound.as_chunks().0
}
