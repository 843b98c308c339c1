//! For tests: how much of a voice is still understood, from 0 to 1, after Taal et al., "An Algorithm
//! for Intelligibility Prediction of Time-Frequency Weighted Noisy Speech" (STOI, 2011), with
//! frames of 20 ms at 48 kHz.

use rustfft::{FftPlanner, num_complex::Complex};

const WINDOW: usize = 1920;
const HOP: usize = WINDOW / 2;
const BANDS: usize = 15;
/// Windows that are compared at a time: 380 ms.
const SEGMENT: usize = 19;
/// Lower bound of the signal to distortion ratio, -15 dB.
const CLIP: f32 = 5.623;

/// Compares what is heard with the voice as it was said.
pub fn stoi(said: &[f32], heard: &[f32]) -> f32 {
    let (said, heard) = (bands(said), bands(heard));
    let loudness = |bands: &[f32; BANDS]| bands.iter().map(|x| x * x).sum::<f32>();
    let most = said.iter().map(loudness).fold(0.0, f32::max);
    // Windows 40 dB below the loudest are pauses.
    let spoken: Vec<usize> =
        (0..said.len().min(heard.len())).filter(|k| loudness(&said[*k]) > most * 1e-4).collect();
    let (mut sum, mut count) = (0.0, 0);
    for segment in spoken.windows(SEGMENT) {
        for band in 0..BANDS {
            let x: Vec<f32> = segment.iter().map(|k| said[*k][band]).collect();
            let y: Vec<f32> = segment.iter().map(|k| heard[*k][band]).collect();
            let norm = |v: &[f32]| v.iter().map(|a| a * a).sum::<f32>().sqrt();
            let scale = norm(&x) / norm(&y).max(1e-9);
            let y: Vec<f32> =
                x.iter().zip(&y).map(|(x, y)| (y * scale).min(x * (1.0 + CLIP))).collect();
            sum += correlation(&x, &y);
            count += 1;
        }
    }
    sum / count as f32
}

fn correlation(x: &[f32], y: &[f32]) -> f32 {
    let mean = |v: &[f32]| v.iter().sum::<f32>() / v.len() as f32;
    let (mx, my) = (mean(x), mean(y));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        xy += (x - mx) * (y - my);
        xx += (x - mx) * (x - mx);
        yy += (y - my) * (y - my);
    }
    xy / (xx * yy).sqrt().max(1e-12)
}

/// Amplitudes in one-third octaves from 150 Hz, window by window.
fn bands(sound: &[f32]) -> Vec<[f32; BANDS]> {
    let fft = FftPlanner::new().plan_fft_forward(WINDOW);
    let hann = |k: usize| {
        let turn = k as f32 / WINDOW as f32 * std::f32::consts::TAU;
        0.5 - 0.5 * turn.cos()
    };
    (0..sound.len().saturating_sub(WINDOW) / HOP)
        .map(|k| {
            let window = &sound[k * HOP..k * HOP + WINDOW];
            let mut bins: Vec<Complex<f32>> =
                window.iter().enumerate().map(|(k, x)| Complex::new(x * hann(k), 0.0)).collect();
            fft.process(&mut bins);
            std::array::from_fn(|band| {
                let centre = 150.0 * 2.0f32.powf(band as f32 / 3.0);
                let bin = |hz: f32| (hz * WINDOW as f32 / 48_000.0).round() as usize;
                let (from, to) =
                    (bin(centre / 2.0f32.powf(1.0 / 6.0)), bin(centre * 2.0f32.powf(1.0 / 6.0)));
                bins[from..to.max(from + 1)].iter().map(|x| x.norm_sqr()).sum::<f32>().sqrt()
            })
        })
        .collect()
}
