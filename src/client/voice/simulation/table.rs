//! The promises about delay and quality on bad networks, kept by Opus with redundant copies and by L16.
//!
//! Speech goes through the encoder, a seeded network, and a speaker that a sound card pulls in its
//! uneven way. `PARLOR_SIMULATION_DIR` names a folder that gets what was said and heard as WAV files.

use super::*;
use crate::client::voice::opus::{Application, Bandwidth, Encoder, Settings};
use crate::client::voice::resample::Resampler;
use crate::net::codec::{OPUS_RATE, PT_OPUS, PT_RED};
use crate::net::red::{self, Block};
use rustfft::FftPlanner;
use rustfft::num_complex::Complex;
use std::path::Path;

/// Samples of a frame of 10 ms.
const FRAME: usize = 480;
/// The first seconds are for learning.
const LEARNING_MS: f64 = 3000.0;

/// How voice is sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sent {
    /// Opus at this bit rate and bandwidth, with copies of frames so many packets back.
    Opus(u32, Bandwidth, &'static [usize]),
    /// L16 with such copies.
    Pcm(&'static [usize]),
}

/// What the network does.
#[derive(Debug, Clone, Copy)]
struct Weather {
    loss: f64,
    /// Mean length of a burst of losses in ms; 0 for losses that come alone.
    burst_ms: f64,
    /// Further delay of each packet in ms, ...
    jitter_ms: f64,
    /// ... evenly spread up to that, or the magnitude of a normal deviate.
    normal: bool,
}

/// How it was heard.
#[derive(Debug)]
struct Heard {
    /// Mean playout delay beyond the network's least, after the learning, in ms.
    delay_ms: f64,
    /// Most of it.
    delay_max_ms: f64,
    /// Share of the last seconds that was made up.
    concealed: f64,
    /// Mean difference of the spectra, in dB.
    distance_db: f64,
    /// Share of speech where they differ by more than 12 dB.
    broken: f64,
}

const CLEAN: Weather = Weather { loss: 0.0, burst_ms: 0.0, jitter_ms: 0.0, normal: false };
const LOSS_5: Weather = Weather { loss: 0.05, ..CLEAN };
const LOSS_15: Weather = Weather { loss: 0.15, ..CLEAN };
const UNIFORM: Weather = Weather { jitter_ms: 30.0, ..CLEAN };
const NORMAL: Weather = Weather { normal: true, ..UNIFORM };
const LOSS_AND_JITTER: Weather = Weather { loss: 0.05, ..UNIFORM };
const BURSTS: Weather = Weather { loss: 0.1, burst_ms: 60.0, ..CLEAN };

const PLAIN: Sent = Sent::Opus(64_000, Bandwidth::Full, &[]);
const ONE_COPY: Sent = Sent::Opus(46_000, Bandwidth::Wide, &[1]);
const TWO_COPIES: Sent = Sent::Opus(29_000, Bandwidth::Wide, &[2, 1]);
const FAR_COPY: Sent = Sent::Opus(46_000, Bandwidth::Wide, &[8]);

/// The speech at 48 kHz, about 24 s of it.
fn source() -> Vec<f32> {
    let path = std::env::var("PARLOR_SIMULATION_SPEECH")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/assets/speech.wav").to_owned());
    let mut reader = hound::WavReader::open(path).unwrap();
    let rate = reader.spec().sample_rate;
    let samples: Vec<f32> =
        reader.samples::<i16>().map(|s| f32::from(s.unwrap()) / 32768.0).collect();
    let mut once = Vec::new();
    Resampler::new(rate, OPUS_RATE).unwrap().push(&samples, &mut once);
    let seconds = once.len() / OPUS_RATE as usize;
    let times = 24 / seconds.max(1) + 1;
    let mut all: Vec<f32> = std::iter::repeat_n(once, times).flatten().collect();
    all.truncate(all.len() / FRAME * FRAME);
    all
}

/// The packets, 10 ms each.
fn packets(source: &[f32], sent: Sent) -> Vec<Packet> {
    let mut frames: Vec<Vec<u8>> = Vec::new();
    let (own_type, clock, copies) = match sent {
        Sent::Opus(bitrate, bandwidth, copies) => {
            let settings = Settings { bitrate, bandwidth, ..Settings::default() };
            let mut encoder = Encoder::new(Application::Audio, settings).unwrap();
            for chunk in source.chunks_exact(FRAME) {
                frames.push(Vec::new());
                encoder.encode(chunk, frames.last_mut().unwrap()).unwrap();
            }
            (PT_OPUS, 480, copies)
        }
        Sent::Pcm(copies) => {
            let mut down = Resampler::new(OPUS_RATE, L16_RATE).unwrap();
            let mut samples = Vec::new();
            down.push(source, &mut samples);
            for chunk in samples.chunks_exact(160) {
                let words: Vec<i16> = chunk.iter().map(|s| (s * 32767.0) as i16).collect();
                frames.push(Vec::new());
                l16_encode(&words, frames.last_mut().unwrap());
            }
            (PT_L16, 160, copies)
        }
    };
    let block = |offset, data| Block { payload_type: own_type, offset, data };
    let packet = |k: usize| {
        let older = copies.iter().filter(|back| **back <= k);
        let blocks: Vec<Block<'_>> =
            older.map(|back| block(clock * *back as u32, &frames[k - back][..])).collect();
        let mut payload = frames[k].clone();
        if !blocks.is_empty() {
            payload.clear();
            red::write(&blocks, block(0, &frames[k]), &mut payload).unwrap();
        }
        Packet {
            index: k as u64,
            timestamp: clock * k as u32,
            marker: k == 0,
            duration: clock,
            payload_type: if blocks.is_empty() { own_type } else { PT_RED },
            payload,
        }
    };
    (0..frames.len()).map(packet).collect()
}

/// What the network does to each packet: none is lost in the first half second.
fn way(weather: Weather, random: &mut Random) -> impl FnMut() -> Option<f64> {
    let (mut bad, mut k) = (false, 0);
    move || {
        k += 1;
        let (chance, delay) = (random.unit(), random.unit());
        let normal = random.normal().abs();
        bad = if weather.burst_ms > 0.0 {
            let leave = 10.0 / weather.burst_ms;
            let enter = leave * weather.loss / (1.0 - weather.loss);
            chance < if bad { 1.0 - leave } else { enter }
        } else {
            chance < weather.loss
        };
        let delay = weather.jitter_ms * if weather.normal { normal } else { delay };
        (k < 50 || !bad).then_some(delay)
    }
}

fn run(name: &str, weather: Weather, sent: Sent, seed: u64) -> Heard {
    let mut random = Random::new(seed);
    let source = source();
    let packets = packets(&source, sent);
    let clock_hz = if matches!(sent, Sent::Pcm(_)) { L16_RATE } else { OPUS_RATE };
    let mut listener = Listener::of(clock_hz);
    listener.period_ms = 5.0;
    listener.send_every(10.0, 0.0, &packets, way(weather, &mut random));
    listener.play(packets.len() as f64 * 10.0, 0.0);
    let learnt = &listener.delays[(LEARNING_MS / 2.5) as usize..];
    let (distance_db, broken) = distance(&source, &listener.played);
    let heard = Heard {
        delay_ms: learnt.iter().sum::<f64>() / learnt.len() as f64,
        delay_max_ms: learnt.iter().copied().fold(0.0, f64::max),
        concealed: f64::from(listener.speaker.figures().concealed),
        distance_db,
        broken,
    };
    println!(
        "{name:14} delay {:.1} ms (at most {:.1}), made up {:.4}, spectra {:.2} dB apart, broken {:.4}",
        heard.delay_ms, heard.delay_max_ms, heard.concealed, heard.distance_db, heard.broken
    );
    println!("{:?}", listener.speaker.figures());
    if let Ok(folder) = std::env::var("PARLOR_SIMULATION_DIR") {
        write_wav(Path::new(&folder).join("said.wav").as_path(), &source);
        write_wav(
            Path::new(&folder).join(format!("{name}-{seed}.wav")).as_path(),
            &listener.played,
        );
    }
    heard
}

pub(super) fn write_wav(path: &Path, samples: &[f32]) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: OPUS_RATE,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    for sample in samples {
        writer.write_sample((sample * 32767.0) as i16).unwrap();
    }
    writer.finalize().unwrap();
}

/// Mean difference of the spectra of what was said and heard in dB, and the share of speech where it
/// is large. What was heard is looked for anew every 300 ms, as playout may shift.
fn distance(said: &[f32], heard: &[f32]) -> (f64, f64) {
    const PIECE: usize = 14_400;
    const WINDOW: usize = 960;
    const FLOOR: f64 = 1e-4;
    let fft = FftPlanner::<f32>::new().plan_fft_forward(WINDOW);
    let bands = |samples: &[f32]| -> Vec<f64> {
        let mut spectrum: Vec<Complex<f32>> = samples
            .iter()
            .enumerate()
            .map(|(k, x)| {
                let window = (std::f32::consts::PI * k as f32 / WINDOW as f32).sin();
                Complex::new(x * window, 0.0)
            })
            .collect();
        fft.process(&mut spectrum);
        // Bands that widen with frequency, up to 8 kHz.
        let edges = [2usize, 4, 6, 8, 11, 14, 18, 23, 29, 37, 47, 60, 76, 98, 125, 160];
        edges
            .windows(2)
            .map(|edge| {
                let energy = spectrum[edge[0]..edge[1]].iter().map(|c| f64::from(c.norm_sqr()));
                10.0 * (energy.sum::<f64>() / (edge[1] - edge[0]) as f64 + FLOOR).log10()
            })
            .collect()
    };
    let (mut sum, mut count, mut broken) = (0.0, 0usize, 0usize);
    let first = (LEARNING_MS * 48.0) as usize;
    for start in (first..said.len() - PIECE - 9600).step_by(PIECE) {
        let piece = &said[start..start + PIECE];
        if piece.iter().map(|x| x * x).sum::<f32>() < 1e-4 * PIECE as f32 {
            continue;
        }
        let Some(lag) = best_lag(piece, &heard[start..]) else { continue };
        let other = &heard[start + lag..];
        for k in (0..PIECE - WINDOW).step_by(WINDOW / 2) {
            let own = &piece[k..k + WINDOW];
            if own.iter().map(|x| x * x).sum::<f32>() < 1e-4 * WINDOW as f32 {
                continue;
            }
            let Some(other) = other.get(k..k + WINDOW) else { continue };
            let (a, b) = (bands(own), bands(other));
            let difference =
                a.iter().zip(&b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len() as f64;
            sum += difference;
            count += 1;
            broken += usize::from(difference > 12.0);
        }
    }
    (sum / count.max(1) as f64, broken as f64 / count.max(1) as f64)
}

/// How many samples later, up to 180 ms, this piece is heard.
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
    let coarse = best(&mut (0..8640).step_by(6), 7)?;
    best(&mut (coarse.saturating_sub(6)..coarse + 7), 1)
}

/// The delay and the quality that a row of the table promises, with a margin for the seed.
fn promise(name: &str, weather: Weather, sent: Sent, (delay, distance, broken): (f64, f64, f64)) {
    for seed in 1..3 {
        let heard = run(name, weather, sent, seed);
        assert!(heard.delay_ms <= delay, "{name}: {heard:?}");
        assert!(heard.delay_max_ms <= delay + 20.0 && heard.concealed <= 0.03, "{name}: {heard:?}");
        assert!(heard.distance_db <= distance && heard.broken <= broken, "{name}: {heard:?}");
    }
}

#[test]
fn a_clean_network_costs_next_to_no_delay() {
    promise("clean", CLEAN, PLAIN, (11.0, 1.0, 0.01));
}

#[test]
fn one_copy_repairs_a_loss_of_five_percent_for_ten_ms_of_delay() {
    promise("loss5", LOSS_5, ONE_COPY, (19.0, 1.2, 0.01));
}

#[test]
fn two_copies_repair_a_loss_of_fifteen_percent_for_twenty_ms_of_delay() {
    promise("loss15", LOSS_15, TWO_COPIES, (29.0, 1.6, 0.01));
}

#[test]
fn jitter_of_thirty_ms_costs_thirty_ms() {
    promise("jitter30", UNIFORM, PLAIN, (37.0, 1.0, 0.01));
}

#[test]
fn jitter_without_a_bound_costs_what_its_tail_costs() {
    promise("jitter30n", NORMAL, PLAIN, (92.0, 1.3, 0.02));
}

#[test]
fn loss_and_jitter_together_cost_less_than_one_after_the_other() {
    promise("loss5jitter30", LOSS_AND_JITTER, ONE_COPY, (46.0, 1.3, 0.02));
}

#[test]
fn copies_of_long_ago_carry_over_bursts_of_loss() {
    promise("burst10", BURSTS, FAR_COPY, (90.0, 2.0, 0.04));
}

#[test]
fn pcm_is_as_fast_and_its_copies_repair_as_much() {
    promise("pcm-clean", CLEAN, Sent::Pcm(&[]), (11.0, 0.4, 0.01));
    promise("pcm-loss5", LOSS_5, Sent::Pcm(&[1]), (19.0, 0.5, 0.01));
    promise("pcm-jitter30", UNIFORM, Sent::Pcm(&[]), (37.0, 0.5, 0.01));
}
