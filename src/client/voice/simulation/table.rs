//! The promises about delay and quality on bad networks, kept by Opus with redundant copies and by L16.
//!
//! Speech goes through the encoder, a seeded network, and a speaker that a sound card pulls in its
//! uneven way. `PARLOR_SIMULATION_DIR` names a folder that gets what was said and heard as WAV files.

use super::distance::{Distance, distance};
use super::*;
use crate::client::voice::opus::{Application, Bandwidth, Encoder, Settings};
use crate::client::voice::resample::Resampler;
use crate::net::codec::{OPUS_RATE, PT_OPUS, PT_RED};
use crate::net::red::{self, Block};
use std::path::Path;

/// Samples of a frame of 10 ms.
const FRAME: usize = 480;
/// The first seconds are for learning.
pub(super) const LEARNING_MS: f64 = 3000.0;

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
    /// What happens to packets beside that.
    event: Event,
    /// How much faster than the speaker's the listener's sound card is, in parts of a million.
    ppm: f64,
}

/// What a network does to packets beside chance.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Event {
    None,
    /// One in five takes 25 ms longer: two overtake it.
    Overtaking,
    /// What comes is kept until the next beacon, every 100 ms (Wi-Fi that saves power).
    PowerSave,
    /// For two seconds nothing gets through, ...
    Outage,
    /// ... or all of it at their end.
    Stall,
}

/// Begin and end of an outage, in ms.
const OUTAGE: (f64, f64) = (15_000.0, 17_000.0);
/// So long afterwards everything must be as before, in ms.
const AFTERWARDS_MS: f64 = 500.0;

/// How it was heard.
#[derive(Debug)]
struct Heard {
    /// Mean playout delay beyond the network's least, after the learning, in ms.
    delay_ms: f64,
    /// Most of it.
    delay_max_ms: f64,
    /// Share of the last seconds that was made up.
    concealed: f64,
    distance: Distance,
}

const CLEAN: Weather = Weather {
    loss: 0.0,
    burst_ms: 0.0,
    jitter_ms: 0.0,
    normal: false,
    event: Event::None,
    ppm: 0.0,
};
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
    let (mut bad, mut k) = (false, 0u32);
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
        let sent = 10.0 * f64::from(k);
        let cut = (OUTAGE.0..OUTAGE.1).contains(&sent);
        let delay = weather.jitter_ms * if weather.normal { normal } else { delay };
        let more = match weather.event {
            Event::Overtaking if k % 5 == 0 => 25.0,
            Event::PowerSave => (sent / 100.0).ceil() * 100.0 - sent,
            Event::Stall if cut => OUTAGE.1 - sent,
            _ => 0.0,
        };
        let lost = bad || (cut && weather.event == Event::Outage);
        (k < 50 || !lost).then_some(delay + more)
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
    listener.play(packets.len() as f64 * 10.0, weather.ppm);
    let events = matches!(weather.event, Event::Outage | Event::Stall);
    let from = if events { OUTAGE.1 + AFTERWARDS_MS } else { LEARNING_MS };
    let learnt = &listener.delays[(from / 2.5) as usize..];
    let mut said = source.clone();
    if events {
        // Nobody can hear what was not there.
        said[OUTAGE.0 as usize * 48..(OUTAGE.1 + AFTERWARDS_MS) as usize * 48].fill(0.0);
    }
    let distance = distance(&said, &listener.played);
    let heard = Heard {
        delay_ms: learnt.iter().sum::<f64>() / learnt.len() as f64,
        delay_max_ms: learnt.iter().copied().fold(0.0, f64::max),
        concealed: f64::from(listener.speaker.figures().concealed),
        distance,
    };
    println!(
        "{name:14} delay {:.1} ms (at most {:.1}), made up {:.4}, score {:.2}, spectra {:.2} dB apart, broken {:.4}",
        heard.delay_ms,
        heard.delay_max_ms,
        heard.concealed,
        distance.score,
        distance.db,
        distance.broken
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

/// The delay (ms) and the quality (score; spectral distance in dB and broken share) that a row of the
/// table promises, with a margin for the seed.
fn promise(
    name: &str,
    weather: Weather,
    sent: Sent,
    (delay, score, distance, broken): (f64, f64, f64, f64),
) {
    for seed in 1..3 {
        let heard = run(name, weather, sent, seed);
        assert!(heard.delay_ms <= delay, "{name}: {heard:?}");
        assert!(heard.delay_max_ms <= delay + 20.0 && heard.concealed <= 0.03, "{name}: {heard:?}");
        assert!(heard.distance.score >= score, "{name}: {heard:?}");
        let worse = heard.distance.db > distance || heard.distance.broken > broken;
        assert!(!worse, "{name}: {heard:?}");
    }
}

#[test]
fn a_clean_network_costs_next_to_no_delay() {
    promise("clean", CLEAN, PLAIN, (11.0, 4.3, 1.0, 0.01));
}

#[test]
fn one_copy_repairs_a_loss_of_five_percent_for_ten_ms_of_delay() {
    promise("loss5", LOSS_5, ONE_COPY, (19.0, 4.0, 1.2, 0.01));
}

#[test]
fn two_copies_repair_a_loss_of_fifteen_percent_for_twenty_ms_of_delay() {
    promise("loss15", LOSS_15, TWO_COPIES, (29.0, 3.5, 1.6, 0.01));
}

#[test]
fn jitter_of_thirty_ms_costs_thirty_ms() {
    promise("jitter30", UNIFORM, PLAIN, (37.0, 4.3, 1.0, 0.01));
}

#[test]
fn jitter_without_a_bound_costs_what_its_tail_costs() {
    promise("jitter30n", NORMAL, PLAIN, (96.0, 3.8, 1.3, 0.02));
}

#[test]
fn a_copy_in_the_next_packet_takes_a_third_off_what_a_long_tail_of_jitter_costs() {
    promise("jitter30n-copy", NORMAL, ONE_COPY, (72.0, 3.9, 1.0, 0.01));
}

#[test]
fn loss_and_jitter_together_cost_less_than_one_after_the_other() {
    promise("loss5jitter30", LOSS_AND_JITTER, ONE_COPY, (46.0, 3.9, 1.3, 0.02));
}

#[test]
fn copies_of_long_ago_carry_over_bursts_of_loss() {
    promise("burst10", BURSTS, FAR_COPY, (90.0, 2.9, 2.0, 0.04));
}

#[test]
fn pcm_is_as_fast_and_its_copies_repair_as_much() {
    promise("pcm-clean", CLEAN, Sent::Pcm(&[]), (11.0, 4.4, 0.4, 0.01));
    promise("pcm-loss5", LOSS_5, Sent::Pcm(&[1]), (19.0, 3.85, 0.5, 0.01));
    promise("pcm-jitter30", UNIFORM, Sent::Pcm(&[]), (37.0, 4.4, 0.5, 0.01));
}

#[test]
fn packets_that_overtake_others_cost_what_they_take_longer() {
    let weather = Weather { event: Event::Overtaking, ..CLEAN };
    promise("overtaking", weather, PLAIN, (33.0, 4.3, 0.8, 0.005));
}

#[test]
fn wi_fi_that_saves_power_costs_one_of_its_intervals() {
    let weather = Weather { event: Event::PowerSave, ..CLEAN };
    promise("power-save", weather, PLAIN, (102.0, 4.3, 0.8, 0.005));
}

#[test]
fn sound_cards_two_hundred_ppm_apart_are_heard_as_nothing() {
    for (name, ppm) in [("200 ppm", 200.0), ("-200 ppm", -200.0)] {
        promise(name, Weather { ppm, ..CLEAN }, PLAIN, (11.0, 3.9, 0.8, 0.005));
    }
}

#[test]
fn half_a_second_after_an_outage_nothing_is_left_of_it() {
    for (name, event) in [("outage", Event::Outage), ("stall", Event::Stall)] {
        promise(name, Weather { event, ..CLEAN }, PLAIN, (11.0, 3.9, 0.8, 0.005));
    }
}

#[test]
fn the_score_falls_with_what_is_lost() {
    let without = |loss| run("no copies", Weather { loss, ..CLEAN }, PLAIN, 1).distance.score;
    let scores = [without(0.0), without(0.02), without(0.05), without(0.15)];
    assert!(scores.windows(2).all(|pair| pair[0] > pair[1] + 0.1), "{scores:?}");
}
