//! Speakers in virtual time: packets over a seeded bad network, played by a card whose clock is off.

use super::jitter::Packet;
use super::speaker::{Speaker, Turn};
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

/// One listener.
struct Listener {
    start: Instant,
    speaker: Speaker,
    arrivals: Vec<(f64, Packet)>,
    played: Vec<f32>,
    decoded: Arc<Mutex<Vec<i16>>>,
    turns: Vec<(f64, Turn)>,
    delays: Vec<f64>,
}

impl Listener {
    fn new() -> Self {
        let start = clock::now();
        Self {
            start,
            speaker: Speaker::new(MemberId(1), L16_RATE, start).unwrap(),
            arrivals: Vec::new(),
            played: Vec::new(),
            decoded: Arc::default(),
            turns: Vec::new(),
            delays: Vec::new(),
        }
    }

    /// Packets leave every 20 ms from `at_ms`, and arrive after what `way` says, if at all.
    fn send(&mut self, at_ms: f64, packets: &[Packet], mut way: impl FnMut() -> Option<f64>) {
        for (k, packet) in packets.iter().enumerate() {
            let voiced = packets.iter().filter(|p| p.duration > 0).count();
            if let Some(delay) = way() {
                let left = at_ms + 20.0 * (k + 1).min(voiced) as f64;
                self.arrivals.push((left + delay, packet.clone()));
            }
        }
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
            let ms = k as f64 * step;
            if ms > end_ms {
                break;
            }
            while let Some((at, packet)) = arrivals.next_if(|(at, _)| *at <= ms) {
                self.speaker.insert(&packet, self.at(at));
            }
            let now = self.at(ms);
            let mut block = [0.0; 120];
            match self.speaker.pull(now, &mut block, Some(&mut tap)) {
                Turn::Same => {}
                turn => self.turns.push((ms, turn)),
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

#[test]
fn without_loss_the_decoder_hands_on_every_bit_in_order() {
    let source = speech(6);
    let mut listener = Listener::new();
    let mut random = Random::new(1);
    // Two talkspurts with a pause between, on a network that shakes by up to 10 ms.
    listener.send(0.0, &talkspurt(&source[..48_000], 500, 77), || Some(random.unit() * 10.0));
    let later = talkspurt(&source[48_000..], 653, 77 + 5 * 16_000);
    listener.send(5000.0, &later, || Some(random.unit() * 10.0));
    listener.play(9000.0, 0.0);
    assert!(listener.all_decoded() == source);
    let figures = listener.speaker.figures();
    assert_eq!((figures.received, figures.lost, figures.late), (306, 0, 0));
    assert!(listener.speaker.figures().concealed == 0.0);
    let turns: Vec<_> = listener.turns.iter().map(|(_, turn)| *turn).collect();
    assert_eq!(turns, [Turn::Starts, Turn::Stops, Turn::Starts, Turn::Stops]);
    // 20 ms of frame and 40 ms of buffer for the first; not more for the second.
    assert!((listener.turns[0].0 - 65.0).abs() < 10.0, "{:?}", listener.turns);
    assert!((listener.turns[2].0 - 5055.0).abs() < 15.0, "{:?}", listener.turns);
}

#[test]
fn a_steady_network_plays_the_very_samples() {
    let source = speech(2);
    let mut listener = Listener::new();
    listener.send(0.0, &talkspurt(&source, 0, 0), || Some(1.0));
    // Before the delay is brought down to its floor, nothing is touched.
    listener.play(700.0, 0.0);
    let start = listener.played.iter().position(|s| *s != 0.0).unwrap();
    for (k, sample) in listener.played[start..].iter().enumerate() {
        assert_eq!(*sample, f32::from(source[k]) / 32768.0, "{k}");
    }
}

#[test]
fn the_delay_comes_down_to_its_floor_and_is_heard_as_nothing() {
    let source = speech(20);
    let mut listener = Listener::new();
    listener.send(0.0, &talkspurt(&source, 0, 0), || Some(1.0));
    listener.play(20_500.0, 0.0);
    let last = *listener.delays.last().unwrap();
    assert!(last < 32.0, "{last}");
    let natural = roughest(&source.iter().map(|s| f32::from(*s) / 32768.0).collect::<Vec<_>>());
    assert!(roughest(&listener.played) < natural * 1.5);
    assert!(listener.all_decoded() == source);
}

#[test]
fn loss_is_counted_exactly_and_concealed() {
    for seed in 1..4 {
        let mut random = Random::new(seed);
        let source = speech(20);
        let packets = talkspurt(&source, 9, 1 << 31);
        let mut listener = Listener::new();
        let mut lost = 0;
        listener.send(0.0, &packets[..1000], || {
            let gone = random.unit() < 0.05;
            lost += u64::from(gone);
            (!gone).then_some(random.unit() * 5.0)
        });
        // The first and the last packets come, so that all losses lie between.
        if listener.arrivals[0].1.index != 9 {
            lost -= 1;
        }
        listener.send(20_000.0, &packets[1000..], || Some(0.0));
        listener.play(21_000.0, 0.0);
        let figures = listener.speaker.figures();
        assert_eq!((figures.lost, figures.late), (lost, 0));
        let concealed = listener.speaker.figures().concealed;
        assert!(concealed > 0.001 && concealed < 0.15, "{concealed}");
        let natural = roughest(&source.iter().map(|s| f32::from(*s) / 32768.0).collect::<Vec<_>>());
        assert!(roughest(&listener.played) < natural * 3.0);
    }
}

#[test]
fn jitter_is_learnt_and_few_packets_come_too_late() {
    for (seed, name) in [(1, "uniform"), (2, "normal"), (3, "uniform"), (4, "normal")] {
        let mut random = Random::new(seed);
        let source = speech(30);
        let mut listener = Listener::new();
        listener.send(0.0, &talkspurt(&source, 0, 0), || {
            Some(match name {
                "uniform" => random.unit() * 30.0,
                _ => (random.normal() * 30.0).abs(),
            })
        });
        listener.play(30_500.0, 0.0);
        let figures = listener.speaker.figures();
        let delay =
            listener.delays[3000..].iter().sum::<f64>() / (listener.delays.len() - 3000) as f64;
        println!(
            "{name}: {figures:?}, delay {delay:.1} ms, concealed {}",
            listener.speaker.figures().concealed
        );
        assert_eq!(figures.lost, 0);
        assert!(figures.late < 60, "{figures:?}");
        assert!(delay < if name == "uniform" { 50.0 } else { 95.0 }, "{delay}");
        assert!(listener.speaker.figures().concealed < 0.05);
    }
}

#[test]
fn an_hour_on_a_slow_card_never_drops_out() {
    drift_for_an_hour(-200.0);
}

#[test]
fn an_hour_on_a_fast_card_never_drops_out() {
    drift_for_an_hour(200.0);
}

fn drift_for_an_hour(ppm: f64) {
    let second = speech(4);
    {
        let mut random = Random::new(7);
        let mut listener = Listener::new();
        // One talkspurt of an hour, in pieces that need not be kept in memory at once.
        let mut payloads: Vec<Vec<u8>> = Vec::new();
        for frame in second.chunks_exact(320) {
            let mut payload = Vec::new();
            l16_encode(frame, &mut payload);
            payloads.push(payload);
        }
        let step = 2.5 / (1.0 + ppm * 1e-6);
        let mut next = 0u64;
        let mut arrives = 20.0;
        let mut worst = (f64::INFINITY, 0.0f64);
        for k in 1u64..720_000 {
            let ms = k as f64 * step;
            while arrives <= ms {
                let packet = Packet {
                    index: next,
                    timestamp: (next * 320) as u32,
                    marker: next == 0,
                    duration: 320,
                    payload_type: PT_L16,
                    payload: payloads[(next % payloads.len() as u64) as usize].clone(),
                };
                let at = listener.at(arrives);
                listener.speaker.insert(&packet, at);
                next += 1;
                arrives = (next + 1) as f64 * 20.0 + random.unit() * 3.0;
            }
            let now = listener.at(ms);
            listener.speaker.pull(now, &mut [0.0; 120], None);
            let delay = f64::from(listener.speaker.figures().buffer_ms);
            worst = (worst.0.min(delay), worst.1.max(delay));
            assert_eq!(listener.speaker.figures().concealed, 0.0, "{ppm} ppm at {ms} ms");
        }
        println!("{ppm} ppm: delay between {:.1} and {:.1} ms", worst.0, worst.1);
        assert!(worst.0 > 5.0 && worst.1 < 60.0, "{worst:?}");
        assert!(listener.speaker.is_speaking());
        assert_eq!(listener.speaker.figures().lost, 0);
    }
}

#[test]
fn after_an_outage_of_two_seconds_speech_goes_on_as_before() {
    let source = speech(8);
    let packets = talkspurt(&source, 0, 0);
    let mut listener = Listener::new();
    listener.send(0.0, &packets[..150], || Some(1.0));
    listener.send(5000.0, &packets[250..], || Some(1.0));
    listener.play(8500.0, 0.0);
    let figures = listener.speaker.figures();
    assert_eq!((figures.lost, figures.late), (100, 0));
    let decoded = listener.all_decoded();
    assert_eq!(decoded.len(), 300 * 320);
    assert!(decoded[150 * 320..] == source[250 * 320..]);
    assert!(*listener.delays.last().unwrap() < 60.0);
    // Silent in between, but for a tenth of a second that fades.
    let quiet = &listener.played[(3250 * 16)..(4950 * 16)];
    assert!(quiet.iter().all(|s| *s == 0.0));
}

#[test]
fn an_outage_that_delivers_everything_late_is_skipped_not_replayed() {
    let source = speech(8);
    let packets = talkspurt(&source, 0, 0);
    let mut listener = Listener::new();
    listener.send(0.0, &packets[..150], || Some(1.0));
    // Two seconds of packets come in one burst.
    for packet in &packets[150..250] {
        listener.arrivals.push((5010.0, packet.clone()));
    }
    listener.send(5000.0, &packets[250..], || Some(15.0));
    listener.play(8500.0, 0.0);
    let last = *listener.delays.last().unwrap();
    assert!(last < 120.0, "{last}");
}

#[test]
fn a_stream_that_just_stops_is_not_lost_for_ever() {
    let source = speech(1);
    let packets = talkspurt(&source, 0, 0);
    let mut listener = Listener::new();
    listener.send(0.0, &packets[..35], || Some(1.0));
    listener.play(60_000.0, 0.0);
    let figures = listener.speaker.figures();
    assert_eq!((figures.received, figures.lost), (35, 0));
    assert!(!listener.speaker.is_speaking());
    let end = listener.played.iter().rposition(|s| *s != 0.0).unwrap() / 16;
    assert!(end < 35 * 20 + 70 + 110, "{end}");
    assert!(listener.speaker.figures().concealed < 0.05);
}

#[test]
fn packets_that_swap_places_are_put_right() {
    let mut random = Random::new(5);
    let source = speech(10);
    let mut listener = Listener::new();
    listener.send(0.0, &talkspurt(&source, 0, 0), || {
        Some(if random.unit() < 0.2 { 25.0 } else { 1.0 })
    });
    listener.play(11_000.0, 0.0);
    let figures = listener.speaker.figures();
    assert_eq!(figures.lost, 0);
    assert!(figures.late <= 3, "{figures:?}");
}

#[test]
fn whoever_comes_in_the_middle_of_a_talkspurt_hears_the_rest() {
    let source = speech(4);
    let packets = talkspurt(&source, 1 << 20, u32::MAX - 64_000);
    let mut listener = Listener::new();
    listener.send(2000.0, &packets[100..], || Some(1.0));
    listener.play(4500.0, 0.0);
    assert!(listener.all_decoded() == source[100 * 320..]);
    assert_eq!(listener.speaker.figures().lost, 0);
}

#[test]
fn a_clock_that_stands_still_in_silence_is_no_delay() {
    let source = speech(2);
    let mut listener = Listener::new();
    for spurt in 0..5u32 {
        // Time stamps go on as if there had been no pause.
        let packets = talkspurt(&source, 103 * u64::from(spurt), 32_000 * spurt);
        listener.send(f64::from(spurt) * 7000.0, &packets, || Some(1.0));
    }
    listener.play(36_000.0, 0.0);
    assert_eq!(listener.all_decoded().len(), 5 * 32_000);
    assert!(*listener.delays.last().unwrap() < 60.0);
    for (k, (ms, turn)) in listener.turns.iter().enumerate() {
        if *turn == Turn::Starts {
            let late = ms - (k / 2) as f64 * 7000.0;
            assert!(late < 90.0, "{late} at {k}");
        }
    }
}

#[test]
fn a_long_silence_does_not_turn_drift_into_delay() {
    let source = speech(2);
    let mut listener = Listener::new();
    // The sender's clock is 200 ppm slow over ten minutes: its stamps lag by 120 ms.
    listener.send(0.0, &talkspurt(&source, 0, 0), || Some(1.0));
    let lag = (600.0 * 16_000.0 * 200e-6) as u32;
    listener.send(600_000.0, &talkspurt(&source, 103, 600 * 16_000 - lag), || Some(1.0));
    listener.play(603_000.0, 0.0);
    let start = listener.turns[2].0 - 600_000.0;
    assert!((start - 60.0).abs() < 15.0, "{start}");
    assert_eq!(listener.speaker.figures().concealed, 0.0);
}

#[test]
fn leaving_stops_the_sound_within_five_ms_without_a_click() {
    let source = speech(1);
    let mut listener = Listener::new();
    listener.send(0.0, &talkspurt(&source, 0, 0), || Some(1.0));
    listener.play(500.0, 0.0);
    listener.speaker.leave();
    let now = listener.at(505.0);
    let mut tail = [0.0; 320];
    listener.speaker.pull(now, &mut tail, None);
    assert!(tail[80..].iter().all(|s| *s == 0.0));
    assert!(listener.speaker.is_gone());
    let mut whole = listener.played[7000..].to_vec();
    whole.extend(tail);
    let natural = roughest(&listener.played);
    assert!(roughest(&whole) <= natural * 1.3);
}
