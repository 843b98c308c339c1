//! Hearing oneself: what is heard, and that nobody else hears it.

use super::capture::Capture;
use super::chain::gate::Transmit;
use super::packetizer::Outgoing;
use super::playback::{BLOCK, Playback};
use super::sending::{FrameLength, Sending};
use super::trial::Take;
use crate::net::clock;
use crate::net::codec::{Codec, L16_RATE, OPUS_RATE};
use crate::net::ids::Ssrc;
use crate::net::message::StreamGrant;
use std::time::Duration;

fn capture(sending: Sending) -> Capture {
    let mut capture = Capture::new(sending).unwrap();
    capture.set_rate(OPUS_RATE).unwrap();
    let grants = [(8, L16_RATE), (9, OPUS_RATE)]
        .map(|(ssrc, clock_hz)| StreamGrant { ssrc: Ssrc(ssrc), clock_hz });
    capture.set_streams(&grants, 7, 0);
    capture
}

/// 10 ms of a tone.
fn tone(frame: u32) -> Vec<f32> {
    (480 * frame..480 * (frame + 1))
        .map(|k| (k as f32 * 440.0 / 48e3 * std::f32::consts::TAU).sin() * 0.3)
        .collect()
}

fn nobody(_: Outgoing<'_>) {
    panic!("others hear it");
}

/// Runs a trial of a tone to the end of what it listens to.
fn try_out(capture: &mut Capture) -> Take {
    capture.begin_trial().unwrap();
    (0..600)
        .find_map(|k| {
            capture.hear(&tone(k), Transmit::Open, &mut nobody);
            capture.take_trial()
        })
        .unwrap()
}

/// All that is played of it.
fn played(playback: &mut Playback, take: Take) -> Vec<f32> {
    let start = clock::now();
    playback.replay(take, start).unwrap();
    let mut mix = Vec::new();
    for k in 1..4000u32 {
        mix.extend_from_slice(playback.render(start + Duration::from_micros(2500) * k));
        if !playback.is_replaying() {
            return mix;
        }
    }
    panic!("it does not end");
}

fn level(samples: &[f32]) -> f32 {
    (samples.iter().map(|s| s * s).sum::<f32>() / samples.len() as f32).sqrt()
}

#[test]
fn five_seconds_are_heard_as_others_would_hear_them_with_either_codec_and_length() {
    let opus = |frame| Sending { frame: Some(frame), ..Sending::default() };
    for sending in [opus(FrameLength::Ms10), opus(FrameLength::Ms20), Sending::pcm()] {
        let take = try_out(&mut capture(sending));
        let codec = if take.clock_hz == L16_RATE { Codec::Pcm } else { Codec::Opus };
        assert_eq!(codec, sending.codec);
        let mut playback = Playback::new(None);
        let mix = played(&mut playback, take);
        let seconds = mix.len() as f32 / 48e3;
        assert!((5.0..5.5).contains(&seconds), "{seconds}");
        let middle = &mix[48_000..4 * 48_000];
        assert!((level(middle) - 0.212).abs() < 0.02, "{}", level(middle));
        // Nothing is missing between, and nothing clicks where it begins and ends.
        assert!(middle.chunks(480).all(|part| level(part) > 0.15));
        let step = mix.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
        assert!(step < 0.3 * 440.0 / 48e3 * std::f32::consts::TAU * 1.5, "{step}");
        assert!(playback.figures().is_empty() && playback.take_events().is_empty());
    }
}

#[test]
fn who_is_deafened_hears_himself_and_can_end_it() {
    let mut playback = Playback::new(None);
    playback.set_deafened(true);
    let start = clock::now();
    playback.replay(try_out(&mut capture(Sending::default())), start).unwrap();
    let render = |playback: &mut Playback, blocks: std::ops::Range<u32>| {
        let mut mix = Vec::new();
        for k in blocks {
            mix.extend_from_slice(playback.render(start + Duration::from_micros(2500) * k));
        }
        mix
    };
    assert!(level(&render(&mut playback, 0..400)[24_000..]) > 0.1);
    playback.stop_replay();
    let rest = render(&mut playback, 400..440);
    assert!(!playback.is_replaying());
    assert_eq!(level(&rest[8 * BLOCK..]), 0.0);
}

#[test]
fn nothing_that_is_said_during_a_trial_is_sent_even_after_it() {
    for transmit in [Transmit::Held, Transmit::Open, Transmit::Voice] {
        let mut capture = capture(Sending::pcm());
        let _take = try_out(&mut capture);
        // It is played: what is said meanwhile is loud, what follows is silence.
        for k in 0..100 {
            capture.hear(&tone(k), transmit, &mut nobody);
        }
        capture.hear(&tone(100)[..300], transmit, &mut nobody);
        capture.end_trial();
        let mut loudest = 0i16;
        for _ in 0..60 {
            capture.hear(&[0.0; 480], transmit, &mut |packet| {
                let words = packet.bytes.rchunks_exact(2).take(160);
                loudest = words.map(|w| i16::from_be_bytes([w[0], w[1]])).fold(loudest, i16::max);
            });
        }
        assert!(loudest < 300, "{transmit:?}: {loudest}");
    }
}

#[test]
fn a_talkspurt_under_way_ends_when_a_trial_begins_and_another_begins_after_it() {
    let mut capture = capture(Sending::default());
    let mut packets = 0;
    for k in 0..20 {
        capture.hear(&tone(k), Transmit::Open, &mut |_| packets += 1);
    }
    assert!(capture.is_talking());
    capture.begin_trial().unwrap();
    packets = 0;
    capture.hear(&tone(20), Transmit::Open, &mut |_| packets += 1);
    assert_eq!((packets, capture.is_talking()), (3, false), "the end of a talkspurt, three times");
    capture.end_trial();
    for k in 0..20 {
        capture.hear(&tone(k), Transmit::Open, &mut |_| packets += 1);
    }
    assert!(capture.is_talking());
}
