//! How far what was heard is from what was said: differences of spectra, and a score like that of PESQ.
//!
//! The score follows ITU-T P.862 in what matters here: 32 ms windows, loudness (Zwicker) in bands of one
//! Bark, differences that masking lets through, more for what was added than for what is missing, bad
//! moments that count for more than their share. It leaves out the filters of telephones and has an
//! alignment of its own, so it is no PESQ: it says which of two runs is nearer to what was said.

use super::table::LEARNING_MS;
use rustfft::FftPlanner;
use rustfft::num_complex::Complex;
use std::sync::Arc;

/// What was heard is looked for anew every 300 ms, as playout may shift.
const PIECE: usize = 14_400;
/// The most that it may be late: 180 ms.
const LAG_MAX: usize = 8640;
/// Mean square below which nobody speaks.
const SPOKEN: f32 = 1e-4;

/// What was heard beside what was said.
#[derive(Debug, Clone, Copy)]
pub struct Distance {
    /// Mean difference of the spectra, in dB.
    pub db: f64,
    /// Share of speech where they differ by more than 12 dB.
    pub broken: f64,
    /// Like PESQ: 4.5 for the same, 1 for anything.
    pub score: f64,
}

/// Compares at 48 kHz; both begin at the same time, and what was heard is late by up to 180 ms.
pub fn distance(said: &[f32], heard: &[f32]) -> Distance {
    let (coarse, fine) = (Spectrum::new(960), Spectrum::new(1536));
    let (mut sum, mut count, mut broken) = (0.0, 0usize, 0usize);
    let mut disturbances = Vec::new();
    let first = (LEARNING_MS * 48.0) as usize;
    for start in (first..said.len() - PIECE - 9600).step_by(PIECE) {
        let piece = &said[start..start + PIECE];
        if power(piece) < SPOKEN {
            continue;
        }
        let Some(lag) = best_lag(piece, &heard[start..]) else { continue };
        let other = &heard[start + lag..];
        for (own, other) in pairs(piece, other, coarse.length) {
            let difference = coarse.difference_db(own, other);
            sum += difference;
            count += 1;
            broken += usize::from(difference > 12.0);
        }
        let pairs = pairs(piece, other, fine.length);
        disturbances.extend(pairs.map(|(own, other)| fine.disturbance(own, other)));
    }
    let count = count.max(1) as f64;
    Distance { db: sum / count, broken: broken as f64 / count, score: score(&disturbances) }
}

/// Windows in which somebody speaks, half overlapping.
fn pairs<'a>(
    said: &'a [f32],
    heard: &'a [f32],
    length: usize,
) -> impl Iterator<Item = (&'a [f32], &'a [f32])> {
    let starts = (0..said.len() - length).step_by(length / 2);
    let pair = move |k| Some((&said[k..k + length], heard.get(k..k + length)?));
    starts.filter_map(pair).filter(|(said, _)| power(said) >= SPOKEN)
}

fn power(samples: &[f32]) -> f32 {
    samples.iter().map(|x| x * x).sum::<f32>() / samples.len() as f32
}

/// Power spectra of windows of one length.
struct Spectrum {
    fft: Arc<dyn rustfft::Fft<f32>>,
    length: usize,
}

impl Spectrum {
    fn new(length: usize) -> Self {
        Self { fft: FftPlanner::new().plan_fft_forward(length), length }
    }

    /// Mean power in each band between two of these bins.
    fn bands(&self, samples: &[f32], edges: &[usize]) -> Vec<f64> {
        let window = |k: usize| (std::f32::consts::PI * k as f32 / self.length as f32).sin();
        let mut spectrum: Vec<Complex<f32>> =
            samples.iter().enumerate().map(|(k, x)| Complex::new(x * window(k), 0.0)).collect();
        self.fft.process(&mut spectrum);
        let mean = |edge: &[usize]| {
            let bins = &spectrum[edge[0]..edge[1]];
            bins.iter().map(|c| f64::from(c.norm_sqr())).sum::<f64>() / bins.len() as f64
        };
        edges.windows(2).map(mean).collect()
    }

    /// Mean difference in dB of bands that widen with frequency, up to 8 kHz.
    fn difference_db(&self, said: &[f32], heard: &[f32]) -> f64 {
        let edges = [2, 4, 6, 8, 11, 14, 18, 23, 29, 37, 47, 60, 76, 98, 125, 160];
        let db = |power: &f64| 10.0 * (power + 1e-4).log10();
        let (said, heard) = (self.bands(said, &edges), self.bands(heard, &edges));
        let sum: f64 = said.iter().zip(&heard).map(|(a, b)| (db(a) - db(b)).abs()).sum();
        sum / said.len() as f64
    }

    /// How disturbed a window sounds: symmetric, and where something was added.
    fn disturbance(&self, said: &[f32], heard: &[f32]) -> (f64, f64) {
        // One Bark wide, 100 Hz to 7.7 kHz, in bins of 31.25 Hz.
        let edges = [
            3, 6, 10, 13, 16, 20, 25, 29, 35, 41, 47, 55, 64, 74, 86, 101, 118, 141, 170, 205, 246,
        ];
        let (said, heard) = (self.bands(said, &edges), self.bands(heard, &edges));
        let (mut symmetric, mut added) = (0.0, 0.0);
        for (said, heard) in said.iter().zip(&heard) {
            // The threshold of hearing lies some 75 dB below full scale.
            let loudness = |power: &f64| (0.5 + 0.5 * power / 1e-3).powf(0.23) - 1.0;
            let (a, b) = (loudness(said), loudness(heard));
            let masked = 0.25 * a.min(b).max(0.0);
            let difference = ((b - a).abs() - masked).max(0.0).copysign(b - a);
            symmetric += difference * difference;
            let ratio = ((heard + 1e-2) / (said + 1e-2)).powf(1.2);
            added += if ratio < 3.0 { 0.0 } else { difference.abs() * ratio.min(12.0) };
        }
        (symmetric.sqrt(), added / said.len() as f64)
    }
}

/// Bad moments (320 ms) count by the sixth power, and these by the second. With these factors the rows of
/// the table come within 0.4 of what PESQ-WB says of the same sound.
fn score(disturbances: &[(f64, f64)]) -> f64 {
    let total = |value: fn(&(f64, f64)) -> f64| {
        let moments = disturbances.chunks(20).map(|moment| {
            let sixth: f64 = moment.iter().map(|d| value(d).powi(6)).sum();
            (sixth / moment.len() as f64).powf(1.0 / 6.0)
        });
        let squares: f64 = moments.map(|moment| moment * moment).sum();
        (squares / (disturbances.len() as f64 / 20.0).max(1.0)).sqrt()
    };
    (4.5 - 0.25 * total(|d| d.0) - 0.1 * total(|d| d.1)).max(1.0)
}

/// How many samples later this piece is heard.
fn best_lag(piece: &[f32], heard: &[f32]) -> Option<usize> {
    let likeness = |lag: usize, step: usize| -> Option<f32> {
        let other = heard.get(lag..lag + piece.len())?;
        let pairs = piece.iter().zip(other).step_by(step);
        let (mut product, mut power) = (0.0, 1e-9f32);
        for (a, b) in pairs {
            product += a * b;
            power += b * b;
        }
        Some(product / power.sqrt())
    };
    let best = |lags: &mut dyn Iterator<Item = usize>, step: usize| {
        lags.filter_map(|lag| Some((lag, likeness(lag, step)?)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .map(|(lag, _)| lag)
    };
    let coarse = best(&mut (0..LAG_MAX).step_by(6), 7)?;
    best(&mut (coarse.saturating_sub(6)..coarse + 7), 1)
}
