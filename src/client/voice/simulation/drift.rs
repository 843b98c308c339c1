//! Hours between two sound cards whose clocks differ: the delay stays, and nobody hears anything.

use super::distance::distance;
use super::*;
use crate::client::voice::opus::{Application, Encoder, Settings};
use crate::net::codec::{OPUS_RATE, PT_OPUS};

/// What is said again and again, in ms.
const LOOP_MS: u32 = 4000;
/// How much is listened to closely, at the begin and at the end.
const CLOSELY_MS: f64 = 60_000.0;
/// It is listened to from so much before what is said, as what is heard may be only so late.
const LEAD_MS: f64 = 20.0;

/// One talkspurt without an end, all frames of one length.
struct Stream {
    packet: Packet,
    payloads: Vec<Vec<u8>>,
    frame_ms: u32,
    clock_hz: u32,
}

impl Stream {
    fn pcm() -> Self {
        let encode = |frame: &[i16]| {
            let mut payload = Vec::new();
            l16_encode(frame, &mut payload);
            payload
        };
        let payloads = speech(LOOP_MS as usize / 1000).chunks_exact(320).map(encode).collect();
        Self::of(PT_L16, payloads, 20, L16_RATE)
    }

    fn opus() -> Self {
        let mut encoder = Encoder::new(Application::Audio, Settings::default()).unwrap();
        let samples: Vec<f32> = speech(LOOP_MS as usize / 1000)
            .into_iter()
            .flat_map(|sample| [f32::from(sample) / 32768.0; 3])
            .collect();
        let mut encode = |frame: &[f32]| {
            let mut payload = Vec::new();
            encoder.encode(frame, &mut payload).unwrap();
            payload
        };
        let payloads = samples.chunks_exact(480).map(&mut encode).collect();
        Self::of(PT_OPUS, payloads, 10, OPUS_RATE)
    }

    fn of(
        payload_type: crate::net::codec::PayloadType,
        payloads: Vec<Vec<u8>>,
        frame_ms: u32,
        clock_hz: u32,
    ) -> Self {
        let packet = Packet {
            index: 0,
            // It rolls over within the first hour.
            timestamp: u32::MAX - 40_000_000,
            marker: true,
            duration: clock_hz / 1000 * frame_ms,
            payload_type,
            payload: Vec::new(),
        };
        Self { packet, payloads, frame_ms, clock_hz }
    }

    /// When the next packet has been spoken, in ms.
    fn spoken(&self) -> f64 {
        (self.packet.index + 1) as f64 * f64::from(self.frame_ms)
    }

    fn next(&mut self, listener: &mut Listener, at_ms: f64) {
        let at = listener.at(at_ms);
        let payload = &self.payloads[(self.packet.index % self.payloads.len() as u64) as usize];
        self.packet.payload.clone_from(payload);
        listener.speaker.insert(&self.packet, at);
        self.packet.index += 1;
        self.packet.timestamp = self.packet.timestamp.wrapping_add(self.packet.duration);
        self.packet.marker = false;
    }
}

/// What was heard of it.
#[derive(Debug, Default)]
struct Heard {
    /// Mean delay of the second minute and of the last one, in ms.
    delay_ms: (f64, f64),
    /// The least and the most after the first minute.
    range_ms: (f64, f64),
    /// The largest change of length, and how many there were in an hour.
    step_ms: f64,
    steps: f64,
    /// The steepest step between two samples.
    roughest: f32,
    /// The second minute and the last one.
    closely: [Vec<f32>; 2],
}

/// So many hours on a network that shakes by 3 ms, played in steps of so many ms by a card that is
/// `ppm` too fast.
fn listen(mut stream: Stream, ppm: f64, hours: f64, period_ms: f64) -> Heard {
    let mut random = Random::new(7);
    let mut listener = Listener::of(stream.clock_hz);
    let end_ms = hours * 3.6e6;
    let (mut arrives, mut last, mut before) = (stream.spoken(), 0.0f32, None);
    let mut block = vec![0.0; (period_ms * 48.0) as usize];
    let mut heard = Heard { range_ms: (f64::INFINITY, 0.0), ..Heard::default() };
    let mut sums = [(0.0, 0u32); 2];
    let late = end_ms - CLOSELY_MS - f64::from(LOOP_MS);
    let late = (late / f64::from(LOOP_MS)).floor() * f64::from(LOOP_MS);
    // Whole loops, so that the same is said in both.
    let windows = [15.0 * f64::from(LOOP_MS), late].map(|start| start - LEAD_MS);
    let mut k = 0u64;
    loop {
        k += 1;
        let ms = k as f64 * period_ms / (1.0 + ppm * 1e-6);
        if ms > end_ms {
            break;
        }
        while arrives <= ms {
            stream.next(&mut listener, arrives);
            arrives = stream.spoken() + random.unit() * 3.0;
        }
        let now = listener.at(ms);
        listener.speaker.pull(now, &mut block, None);
        let figures = listener.speaker.figures();
        let delay = f64::from(figures.buffer_ms);
        for sample in &block {
            heard.roughest = heard.roughest.max((sample - last).abs());
            last = *sample;
        }
        for (part, start) in windows.iter().enumerate() {
            if (*start..start + CLOSELY_MS).contains(&ms) {
                sums[part] = (sums[part].0 + delay, sums[part].1 + 1);
                heard.closely[part].extend(&block);
            }
        }
        assert_eq!(figures.concealed, 0.0, "{ppm} ppm at {ms} ms");
        if ms > CLOSELY_MS {
            heard.range_ms = (heard.range_ms.0.min(delay), heard.range_ms.1.max(delay));
            let stretched = figures.stretched_ms;
            let step = (stretched - before.unwrap_or(stretched)).abs();
            heard.step_ms = heard.step_ms.max(step);
            heard.steps += f64::from(u8::from(step > 0.0));
            before = Some(stretched);
        }
    }
    assert!(listener.speaker.is_speaking());
    let figures = listener.speaker.figures();
    assert_eq!((figures.lost, figures.late), (0, 0));
    heard.steps /= hours;
    heard.delay_ms = (sums[0].0 / f64::from(sums[0].1), sums[1].0 / f64::from(sums[1].1));
    heard
}

/// Holds for any stream, whatever the cards.
fn check(name: &str, heard: &Heard, ppm: f64, clean: &Heard) {
    let close = |part: usize| distance(&clean.closely[0][960..], &heard.closely[part]);
    let (first, last) = (close(0), close(1));
    let Heard { delay_ms, range_ms, step_ms, steps, roughest, .. } = heard;
    println!(
        "{name}: delay {:.1} ms in the second minute, {:.1} in the last, {:.1} to {:.1} between; \
         {steps:.0} changes an hour of {step_ms:.1} ms at most; steepest {roughest:.3}; \
         spectra {:.2} and {:.2} dB apart, score {:.2} and {:.2}",
        delay_ms.0, delay_ms.1, range_ms.0, range_ms.1, first.db, last.db, first.score, last.score
    );
    assert!((delay_ms.0 - delay_ms.1).abs() < 2.0, "{delay_ms:?}");
    // No more than the clocks are apart asks for, where no change is worth less than 0.7 ms; in the
    // pauses of speech, and never so much that it is heard there.
    let apart_ms = ppm.abs() * 3.6;
    assert!(steps * 0.7 < apart_ms * 1.2 && *step_ms < 3.0, "{steps} of up to {step_ms} ms");
    assert!(*roughest < clean.roughest * 1.2, "no click: {roughest}");
    // Where the pause before or after a syllable has changed, the two do not lie quite upon each other.
    assert!(last.db < first.db + 0.1 && last.db < 0.2 && last.broken < 0.005, "{last:?}");
    assert!(last.score > 3.6, "{last:?}");
}

/// The same stream, where both cards are the same.
fn clean(stream: Stream, period_ms: f64) -> Heard {
    listen(stream, 0.0, 0.04, period_ms)
}

#[test]
fn over_eight_hours_of_two_cards_that_differ_the_delay_stays_and_nobody_hears_it() {
    let reference = clean(Stream::pcm(), 5.0);
    let heard = listen(Stream::pcm(), 100.0, 8.0, 5.0);
    check("PCM, 8 h, 100 ppm", &heard, 100.0, &reference);
    assert!(heard.range_ms.0 > 2.5 && heard.range_ms.1 < 20.0, "{:?}", heard.range_ms);
}

#[test]
fn an_hour_on_a_slow_or_a_fast_card_never_drops_out() {
    let reference = clean(Stream::pcm(), 5.0);
    for ppm in [-200.0, 200.0] {
        let heard = listen(Stream::pcm(), ppm, 1.0, 5.0);
        check(&format!("PCM, 1 h, {ppm} ppm"), &heard, ppm, &reference);
        assert!(heard.range_ms.0 > 2.5 && heard.range_ms.1 < 18.0, "{:?}", heard.range_ms);
    }
}

#[test]
fn opus_follows_the_other_card_s_clock_as_well() {
    let reference = clean(Stream::opus(), 5.0);
    for ppm in [-200.0, 200.0] {
        let heard = listen(Stream::opus(), ppm, 0.15, 5.0);
        check(&format!("Opus, 9 min, {ppm} ppm"), &heard, ppm, &reference);
    }
}
