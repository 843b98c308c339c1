//! Compares what was said with what was heard: where each sentence lies in the recording, how much
//! of it is the same, and where it is missing.
//!
//! Everything here is pure: mono samples at one rate in, figures out.

use std::f64::consts::PI;
use std::ops::Range;

use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

/// Samples per second of everything that is compared.
pub const RATE: usize = 16_000;

/// The band of telephone speech, in which sameness is judged.
const BAND_HZ: [f64; 2] = [300.0, 3400.0];
/// A pause this long ends a sentence.
const SENTENCE_PAUSE: usize = RATE * 3 / 10;
/// Pieces of a sentence that are aligned on their own, as a playout buffer may shift between them.
const PIECE: usize = RATE * 3 / 10;
/// How far a piece may lie from where its sentence lies.
const PIECE_SHIFT: usize = RATE * 6 / 100;
/// Below this the reference is taken for silent, in dBFS.
const SPEECH_DB: f64 = -40.0;
/// Below this what is heard is taken for silent, in dBFS at the reference's own loudness.
const SILENCE_DB: f64 = -60.0;
/// The reference must speak this long before and after a moment whose silence is a fault.
const SPEECH_AROUND: usize = 15;
/// The shortest silence that counts, in ms.
const DROP_OUT_MS: usize = 10;

/// Where a piece was found in something longer, and how much it is the same (1 is identical).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Match {
    /// First sample of the piece in the longer signal.
    pub at: usize,
    /// Normalised cross-correlation there, -1 to 1.
    pub correlation: f64,
}

/// A silence in the recording where the reference speaks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DropOut {
    /// When in the reference, in ms.
    pub at_ms: usize,
    /// How long, in ms.
    pub length_ms: usize,
}

/// One sentence as it was heard.
#[derive(Debug, Clone, PartialEq)]
pub struct Sentence {
    /// Where it lies in the reference.
    pub said: Range<usize>,
    /// How far behind the reference it was heard, in samples.
    pub lag: f64,
    /// How much of it is the same, after its pieces are aligned; 1 is identical.
    pub correlation: f64,
    /// Where it is missing.
    pub drop_outs: Vec<DropOut>,
}

/// Finds the sentences of a reference: speech between pauses.
pub fn sentences(reference: &[f32]) -> Vec<Range<usize>> {
    const FRAME: usize = RATE / 100;
    let mut found: Vec<Range<usize>> = Vec::new();
    for (index, frame) in reference.chunks_exact(FRAME).enumerate() {
        if level_db(energy(frame), FRAME) < -50.0 {
            continue;
        }
        let here = index * FRAME..(index + 1) * FRAME;
        match found.last_mut() {
            Some(last) if here.start - last.end < SENTENCE_PAUSE => last.end = here.end,
            _ => found.push(here),
        }
    }
    found.retain(|sentence| sentence.len() > PIECE);
    found
}

/// Judges every sentence of `reference` as heard in `heard`.
///
/// `start` is the sample of `heard` at which sample 0 of the reference was said, and `lags` bounds
/// how far behind that it is looked for.
pub fn judge(reference: &[f32], heard: &[f32], start: f64, lags: Range<f64>) -> Vec<Sentence> {
    let (band_said, band_heard) = (band_limited(reference), band_limited(heard));
    sentences(reference)
        .into_iter()
        .map(|said| {
            let from = start + said.start as f64;
            let near = window(from + lags.start..from + lags.end + said.len() as f64, heard.len());
            let found = find(&band_said[said.clone()], &band_heard[near.clone()]);
            let sentence_at = near.start + found.at;
            let mut weighed = 0.0;
            let mut weight = 0.0;
            let mut aligned = Vec::with_capacity(said.len());
            let mut places = Vec::new();
            for piece in pieces(said.clone()) {
                let expected = sentence_at + piece.start - said.start;
                let near = expected.saturating_sub(PIECE_SHIFT)
                    ..(expected + piece.len() + PIECE_SHIFT).min(heard.len());
                let part = &band_said[piece.clone()];
                let found = find(part, &band_heard[near.clone()]);
                let at = near.start + found.at;
                weighed += found.correlation * energy(part);
                weight += energy(part);
                places.push(at as f64 - start - piece.start as f64);
                aligned
                    .extend((at..at + piece.len()).map(|i| heard.get(i).copied().unwrap_or(0.0)));
            }
            Sentence {
                drop_outs: drop_outs(&reference[said.clone()], &aligned, said.start),
                lag: median(&mut places),
                correlation: if weight > 0.0 { weighed / weight } else { 0.0 },
                said,
            }
        })
        .collect()
}

/// Finds the place in `within` that is most like `piece`.
pub fn find(piece: &[f32], within: &[f32]) -> Match {
    if piece.is_empty() || within.len() < piece.len() {
        return Match { at: 0, correlation: 0.0 };
    }
    let size = (piece.len() + within.len()).next_power_of_two();
    let mut planner = FftPlanner::<f64>::new();
    let (forward, inverse) = (planner.plan_fft_forward(size), planner.plan_fft_inverse(size));
    let spectrum = |samples: &[f32]| {
        let padding = std::iter::repeat_n(0.0, size - samples.len());
        let samples = samples.iter().map(|&s| f64::from(s)).chain(padding);
        let mut bins: Vec<Complex<f64>> = samples.map(|s| Complex::new(s, 0.0)).collect();
        forward.process(&mut bins);
        bins
    };
    let mut product: Vec<Complex<f64>> =
        spectrum(within).iter().zip(spectrum(piece)).map(|(w, p)| w * p.conj()).collect();
    inverse.process(&mut product);

    let piece_energy = energy(piece);
    let mut here_energy = energy(&within[..piece.len()]);
    let mut best = Match { at: 0, correlation: f64::MIN };
    for at in 0..=within.len() - piece.len() {
        // The floor keeps rounding in digital silence from looking like a likeness.
        let scale = (piece_energy * here_energy.max(piece_energy * 1e-6)).sqrt().max(1e-12);
        let correlation = product[at].re / size as f64 / scale;
        if correlation > best.correlation {
            best = Match { at, correlation };
        }
        if let Some(&next) = within.get(at + piece.len()) {
            here_energy += f64::from(next).powi(2) - f64::from(within[at]).powi(2);
        }
    }
    best
}

/// The silences of `heard` where `said` speaks; both begin at the same moment of speech, which is
/// sample `offset` of the reference.
fn drop_outs(said: &[f32], heard: &[f32], offset: usize) -> Vec<DropOut> {
    let (said, heard) = (levels(said), levels(heard));
    let both: Vec<(f64, f64)> = said.iter().copied().zip(heard).collect();
    let loud = both.iter().filter(|(s, h)| *s > SPEECH_DB && *h > SILENCE_DB);
    let gains: Vec<f64> = loud.map(|(s, h)| h - s).collect();
    let gain = if gains.is_empty() { 0.0 } else { gains.iter().sum::<f64>() / gains.len() as f64 };

    let silent = (0..both.len()).map(|at| {
        let around = at.saturating_sub(SPEECH_AROUND)..(at + SPEECH_AROUND + 1).min(both.len());
        let speaks = both[around].iter().all(|(s, _)| *s > SPEECH_DB);
        speaks && both[at].1 - gain < SILENCE_DB
    });
    let mut found = Vec::new();
    let mut run = 0;
    for (at, silent) in silent.chain([false]).enumerate() {
        if silent {
            run += 1;
        } else if run > 0 {
            // A level looks at 5 ms, so that n silent levels in a row span n + 4 ms.
            if run + 4 > DROP_OUT_MS {
                found.push(DropOut { at_ms: offset * 1000 / RATE + at - run, length_ms: run + 4 });
            }
            run = 0;
        }
    }
    found
}

/// The level of every 5 ms, each ms, in dBFS.
fn levels(samples: &[f32]) -> Vec<f64> {
    const HOP: usize = RATE / 1000;
    samples.windows(5 * HOP).step_by(HOP).map(|part| level_db(energy(part), 5 * HOP)).collect()
}

/// Only what lies in the band of telephone speech: two Butterworth sections at each edge.
fn band_limited(samples: &[f32]) -> Vec<f32> {
    // The pole pairs of a fourth-order Butterworth filter.
    const QUALITY: [f64; 2] = [0.541_196_1, 1.306_563];
    let mut signal: Vec<f64> = samples.iter().map(|&s| f64::from(s)).collect();
    for quality in QUALITY {
        for (frequency, high_pass) in BAND_HZ.into_iter().zip([true, false]) {
            section(&mut signal, frequency, quality, high_pass);
        }
    }
    signal.into_iter().map(|s| s as f32).collect()
}

/// One second-order section, in place (R. Bristow-Johnson's formulae).
fn section(signal: &mut [f64], frequency: f64, quality: f64, high_pass: bool) {
    let angle = 2.0 * PI * frequency / RATE as f64;
    let (cosine, alpha) = (angle.cos(), angle.sin() / (2.0 * quality));
    let edge = if high_pass { (1.0 + cosine) / 2.0 } else { (1.0 - cosine) / 2.0 };
    let middle = if high_pass { -2.0 * edge } else { 2.0 * edge };
    let unit = 1.0 + alpha;
    let (b0, b1, a1, a2) = (edge / unit, middle / unit, -2.0 * cosine / unit, (1.0 - alpha) / unit);
    let [mut x1, mut x2, mut y1, mut y2] = [0.0; 4];
    for sample in signal {
        let y = b0 * *sample + b1 * x1 + b0 * x2 - a1 * y1 - a2 * y2;
        (x2, x1, y2, y1) = (x1, *sample, y1, y);
        *sample = y;
    }
}

fn pieces(sentence: Range<usize>) -> Vec<Range<usize>> {
    let count = (sentence.len() / PIECE).max(1);
    let edge = |index: usize| sentence.start + sentence.len() * index / count;
    (0..count).map(|index| edge(index)..edge(index + 1)).collect()
}

fn window(wanted: Range<f64>, length: usize) -> Range<usize> {
    let start = (wanted.start.max(0.0) as usize).min(length);
    start..(wanted.end.max(0.0) as usize).clamp(start, length)
}

fn energy(samples: &[f32]) -> f64 {
    samples.iter().map(|&s| f64::from(s).powi(2)).sum()
}

fn level_db(energy: f64, samples: usize) -> f64 {
    10.0 * (energy / samples as f64 + 1e-12).log10()
}

/// The middle value; 0 for none.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

mod tests {
    use super::*;

    /// Noise with the rise and fall of speech: two sentences of a second, with syllables.
    fn speech() -> Vec<f32> {
        let mut state = 1_u32;
        let mut noise = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (f64::from(state >> 8) / f64::from(1_u32 << 23) - 1.0) as f32
        };
        let mut low = 0.0;
        (0..3 * RATE)
            .map(|at| {
                low += 0.3 * (noise() - low);
                let second = at as f64 / RATE as f64;
                let speaks = (0.3..1.3).contains(&second) || (1.8..2.8).contains(&second);
                let syllable = 0.6 + 0.4 * (second * 25.0).sin();
                if speaks { low * syllable as f32 * 0.4 } else { 0.0 }
            })
            .collect()
    }

    fn delayed(signal: &[f32], samples: usize, gain: f32) -> Vec<f32> {
        let mut heard = vec![0.0; samples];
        heard.extend(signal.iter().map(|s| s * gain));
        heard.extend([0.0; RATE]);
        heard
    }

    #[test]
    fn sentences_are_speech_between_pauses() {
        let found = sentences(&speech());
        assert_eq!(found.len(), 2, "{found:?}");
        for (sentence, start) in found.iter().zip([0.3, 1.8]) {
            assert!((sentence.start as f64 / RATE as f64 - start).abs() < 0.03, "{found:?}");
            assert!((sentence.len() as f64 / RATE as f64 - 1.0).abs() < 0.06, "{found:?}");
        }
    }

    #[test]
    fn a_quieter_and_later_copy_is_the_same_speech() {
        let said = speech();
        let heard = delayed(&said, 1234, 0.3);
        for sentence in judge(&said, &heard, 0.0, 0.0..16_000.0) {
            assert!((sentence.lag - 1234.0).abs() < 0.5, "{sentence:?}");
            assert!(sentence.correlation > 0.999, "{sentence:?}");
            assert_eq!(sentence.drop_outs, []);
        }
    }

    #[test]
    fn the_lag_is_counted_from_when_it_was_said() {
        let said = speech();
        let heard = delayed(&said, 5000, 1.0);
        let judged = judge(&said, &heard, 4000.0, -800.0..8000.0);
        assert!(judged.iter().all(|s| (s.lag - 1000.0).abs() < 0.5), "{judged:?}");
    }

    #[test]
    fn a_gap_is_one_drop_out_of_its_length_at_its_place() {
        let said = speech();
        let mut heard = delayed(&said, 700, 0.8);
        let gap = RATE / 2..RATE / 2 + RATE * 40 / 1000;
        heard[gap.start + 700..gap.end + 700].fill(0.0);
        let judged = judge(&said, &heard, 0.0, 0.0..8000.0);
        let [gapped, whole] = judged.as_slice() else { panic!("{judged:?}") };
        let [drop_out] = gapped.drop_outs.as_slice() else { panic!("{gapped:?}") };
        assert!(drop_out.at_ms.abs_diff(500) <= 6, "{drop_out:?}");
        assert!(drop_out.length_ms.abs_diff(40) <= 6, "{drop_out:?}");
        assert_eq!(whole.drop_outs, []);
    }

    #[test]
    fn a_silence_of_a_few_milliseconds_is_none() {
        let said = speech();
        let mut heard = delayed(&said, 0, 1.0);
        heard[8000..8000 + RATE * 6 / 1000].fill(0.0);
        let judged = judge(&said, &heard, 0.0, 0.0..8000.0);
        assert!(judged.iter().all(|s| s.drop_outs.is_empty()), "{judged:?}");
    }

    #[test]
    fn a_playout_that_shifts_in_mid_sentence_still_speaks() {
        let said = speech();
        let mut heard = delayed(&said, 900, 1.0);
        let shifted: Vec<f32> = heard[12_000..].to_vec();
        heard.truncate(12_000);
        heard.extend([0.0; RATE / 100]);
        heard.extend(shifted);
        let judged = judge(&said, &heard, 0.0, 0.0..8000.0);
        assert!(judged.iter().all(|s| s.correlation > 0.9), "{judged:?}");
        assert!((judged[1].lag - 1060.0).abs() < 0.5, "{judged:?}");
    }

    #[test]
    fn other_noise_of_the_same_loudness_is_not_the_speech() {
        let said = speech();
        let heard: Vec<f32> = said.iter().rev().copied().collect();
        let judged = judge(&said, &heard, 0.0, 0.0..8000.0);
        assert!(judged.iter().all(|s| s.correlation < 0.5), "{judged:?}");
    }

    #[test]
    fn silence_is_neither_like_speech_nor_free_of_drop_outs() {
        let said = speech();
        for sentence in judge(&said, &vec![0.0; 5 * RATE], 0.0, 0.0..8000.0) {
            assert!(sentence.correlation < 0.1, "{sentence:?}");
            let missing: usize = sentence.drop_outs.iter().map(|d| d.length_ms).sum();
            assert!(missing > 500, "{sentence:?}");
        }
    }

    #[test]
    fn the_band_keeps_speech_and_takes_off_hum_and_hiss() {
        let tone = |hz: f64| -> Vec<f32> {
            (0..RATE).map(|at| (2.0 * PI * hz * at as f64 / RATE as f64).sin() as f32).collect()
        };
        let kept = |hz: f64| energy(&band_limited(&tone(hz))) / energy(&tone(hz));
        assert!(kept(1000.0) > 0.97, "{}", kept(1000.0));
        assert!(kept(50.0) < 1e-4, "{}", kept(50.0));
        assert!(kept(7500.0) < 1e-2, "{}", kept(7500.0));
    }
}
