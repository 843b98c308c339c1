//! Speakers in virtual time: packets over a seeded bad network, played by a card whose clock is off.

mod distance;
mod drift;
mod ladder;
mod openings;
mod pcm;
mod table;

use super::jitter::Packet;
use super::speaker::Speaker;
use super::tap::Tap;
use crate::net::clock;
use crate::net::codec::{L16_RATE, PT_L16, l16_encode};
use crate::net::ids::MemberId;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A random source that gives the same run twice.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        println!("seed {seed}");
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// 0 to 1.
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

/// Something like a vowel that changes its pitch, with a pause in each second.
fn speech(seconds: usize) -> Vec<i16> {
    let mut phase = 0.0f64;
    (0..seconds * 16_000)
        .map(|k| {
            let t = k as f64 / 16_000.0;
            phase += (130.0 + 30.0 * (t * 1.7).sin()) / 16_000.0;
            let p = phase * std::f64::consts::TAU;
            let tone = p.sin() + 0.5 * (2.0 * p).sin() + 0.3 * (5.0 * p).cos();
            let loud = if t.fract() < 0.8 { 5000.0 } else { 0.0 };
            (tone * loud) as i16
        })
        .collect()
}

/// The packets of one talkspurt: 20 ms each, three empty ones at the end.
fn talkspurt(samples: &[i16], index: u64, timestamp: u32) -> Vec<Packet> {
    let mut packets: Vec<Packet> = samples
        .chunks_exact(320)
        .enumerate()
        .map(|(k, frame)| {
            let mut payload = Vec::new();
            l16_encode(frame, &mut payload);
            Packet {
                index: index + k as u64,
                timestamp: timestamp.wrapping_add(320 * k as u32),
                marker: k == 0,
                duration: 320,
                payload_type: PT_L16,
                payload,
            }
        })
        .collect();
    for _ in 0..3 {
        let count = packets.len() as u64;
        packets.push(Packet {
            index: index + count,
            timestamp: timestamp.wrapping_add(320 * (samples.len() / 320) as u32),
            marker: false,
            duration: 0,
            payload_type: PT_L16,
            payload: Vec::new(),
        });
    }
    packets
}

/// What becomes of a speaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Starts,
    Stops,
}

/// One listener.
struct Listener {
    start: Instant,
    speaker: Speaker,
    arrivals: Vec<(f64, Packet)>,
    played: Vec<f32>,
    decoded: Arc<Mutex<Vec<i16>>>,
    turns: Vec<(f64, Turn)>,
    delays: Vec<f64>,
    /// How much the sound card takes at a time, in ms.
    period_ms: f64,
}

impl Listener {
    fn new() -> Self {
        Self::of(L16_RATE)
    }

    /// One who hears a stream of this clock.
    fn of(clock_hz: u32) -> Self {
        let start = clock::now();
        Self {
            start,
            speaker: Speaker::new(MemberId(1), clock_hz, start).unwrap(),
            arrivals: Vec::new(),
            played: Vec::new(),
            decoded: Arc::default(),
            turns: Vec::new(),
            delays: Vec::new(),
            period_ms: 2.5,
        }
    }

    /// Packets leave every 20 ms from `at_ms`, and arrive after what `way` says, if at all.
    fn send(&mut self, at_ms: f64, packets: &[Packet], way: impl FnMut() -> Option<f64>) {
        self.send_every(20.0, at_ms, packets, way);
    }

    fn send_every(
        &mut self,
        frame_ms: f64,
        at_ms: f64,
        packets: &[Packet],
        mut way: impl FnMut() -> Option<f64>,
    ) {
        for (k, packet) in packets.iter().enumerate() {
            let voiced = packets.iter().filter(|p| p.duration > 0).count();
            if let Some(delay) = way() {
                let left = at_ms + frame_ms * (k + 1).min(voiced) as f64;
                self.arrivals.push((left + delay, packet.clone()));
            }
        }
    }

    /// Every third sample that was played: those of L16 itself.
    fn played_l16(&self) -> Vec<f32> {
        self.played.iter().copied().step_by(3).collect()
    }

    /// Plays until `end_ms` on a card that is `ppm` too fast.
    fn play(&mut self, end_ms: f64, ppm: f64) {
        self.arrivals.sort_by(|a, b| a.0.total_cmp(&b.0));
        let decoded = self.decoded.clone();
        let mut tap: Tap = Box::new(move |_, _, samples| {
            decoded.lock().unwrap().extend_from_slice(samples);
        });
        let mut arrivals = std::mem::take(&mut self.arrivals).into_iter().peekable();
        let step = 2.5 / (1.0 + ppm * 1e-6);
        let mut k = 0u64;
        loop {
            k += 1;
            // Whole periods are pulled at once.
            let ms = (k as f64 * step / self.period_ms).ceil() * self.period_ms;
            if ms > end_ms {
                break;
            }
            while let Some((at, packet)) = arrivals.next_if(|(at, _)| *at <= ms) {
                self.speaker.insert(&packet, self.at(at));
            }
            let now = self.at(ms);
            let mut block = [0.0; 120];
            let before = self.speaker.is_speaking();
            self.speaker.pull(now, &mut block, Some(&mut tap));
            match (before, self.speaker.is_speaking()) {
                (false, true) => self.turns.push((ms, Turn::Starts)),
                (true, false) => self.turns.push((ms, Turn::Stops)),
                _ => {}
            }
            self.played.extend(block);
            self.delays.push(f64::from(self.speaker.figures().buffer_ms));
        }
    }

    fn at(&self, ms: f64) -> Instant {
        self.start + Duration::from_secs_f64(ms / 1e3)
    }

    fn all_decoded(&self) -> Vec<i16> {
        self.decoded.lock().unwrap().clone()
    }
}

fn roughest(samples: &[f32]) -> f32 {
    samples.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max)
}
