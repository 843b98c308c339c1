//! What stands in for frames that no copy brings: in-band FEC, deep redundancy, what the decoder makes up.

use super::*;
use crate::client::voice::opus::{Application, Encoder, Settings};
use crate::client::voice::speaker::SpeakerFigures;
use crate::net::codec::{OPUS_RATE, PT_OPUS};

/// Frames of 20 ms as these settings encode them.
fn encoded(seconds: usize, settings: Settings) -> Vec<Packet> {
    let mut encoder = Encoder::new(Application::Audio, settings).unwrap();
    let mut source: Vec<f32> = Vec::new();
    for sample in speech(seconds) {
        // Coarse, but a voice to the encoder all the same.
        source.extend([f32::from(sample) / 32768.0; 3]);
    }
    source
        .chunks_exact(960)
        .enumerate()
        .map(|(k, frame)| {
            let mut payload = Vec::new();
            encoder.encode(frame, &mut payload).unwrap();
            Packet {
                index: k as u64,
                timestamp: 960 * k as u32,
                marker: k == 0,
                duration: 960,
                payload_type: PT_OPUS,
                payload,
            }
        })
        .collect()
}

/// Plays them where these do not arrive.
fn play(packets: &[Packet], lost: impl Fn(u64) -> bool) -> (Listener, SpeakerFigures) {
    let mut listener = Listener::of(OPUS_RATE);
    let mut k = 0;
    listener.send(0.0, packets, || {
        k += 1;
        (!lost(k - 1)).then_some(0.5)
    });
    listener.play(packets.len() as f64 * 20.0, 0.0);
    let figures = listener.speaker.figures();
    println!("{figures:?}");
    (listener, figures)
}

#[test]
fn in_band_fec_makes_single_losses_good_once_the_delay_has_room_for_it() {
    let settings = Settings { bitrate: 28_000, fec: true, loss_percent: 15, ..Settings::default() };
    let packets = encoded(12, settings);
    let (listener, figures) = play(&packets, |k| k % 10 == 7);
    assert_eq!(figures.lost, 60);
    assert!(figures.repaired_fec > 40, "{figures:?}");
    let last = *listener.delays.last().unwrap();
    assert!((20.0..30.0).contains(&last), "one frame of delay: {last}");
    let without = Settings { fec: false, loss_percent: 0, ..settings };
    let (_, figures) = play(&encoded(12, without), |k| k % 10 == 7);
    assert_eq!(figures.repaired_fec, 0);
}

#[test]
fn deep_redundancy_fills_a_burst_where_the_delay_reaches_over_it() {
    let settings =
        Settings { bitrate: 40_000, dred_ms: 300, loss_percent: 20, ..Settings::default() };
    let packets = encoded(8, settings);
    let mut listener = Listener::of(OPUS_RATE);
    // The network holds things up now and then, so that there is delay; then three are lost.
    let mut k = 0;
    listener.send(0.0, &packets, || {
        k += 1;
        let late = if k % 20 == 0 { 90.0 } else { 1.0 };
        (!(200..203).contains(&k)).then_some(late)
    });
    listener.play(8000.0, 0.0);
    let figures = listener.speaker.figures();
    assert!(figures.repaired_dred >= 2, "{figures:?}");
}

#[test]
fn what_nothing_repairs_is_made_up_and_fades_to_silence() {
    let packets = encoded(2, Settings::default());
    let mut listener = Listener::of(OPUS_RATE);
    listener.send(0.0, &packets[..35], || Some(0.5));
    listener.play(2000.0, 0.0);
    let at = |ms: usize| &listener.played[ms * 48..];
    assert!(at(720)[..960].iter().any(|s| s.abs() > 0.01), "made up at first");
    let loudest = |ms: usize| at(ms)[..960].iter().fold(0.0f32, |most, s| most.max(s.abs()));
    assert!(loudest(880) < loudest(720) / 2.0, "fading");
    assert!(at(960).iter().all(|s| *s == 0.0), "and then silent");
    let natural = roughest(&listener.played[4800..33_600]);
    assert!(roughest(&listener.played) < natural * 1.5, "without a click");
    assert!(!listener.speaker.is_speaking());
}

#[test]
fn a_packet_that_is_no_opus_is_made_up_for_and_the_next_one_is_heard() {
    let mut packets = encoded(2, Settings::default());
    // A length that Opus has, and nothing that could be decoded.
    packets[40].payload = vec![0x7b, 0xc2, 0xff];
    let (listener, figures) = play(&packets, |_| false);
    assert_eq!(figures.lost, 0);
    assert!(listener.played[60 * 960..70 * 960].iter().any(|s| s.abs() > 0.01));
}

/// A second of speech over a soft noise (-54 dBFS), two seconds of the noise, and speech again, sent as
/// capture sends DTX: of silence the second frame, and two in ten. Those of which `lost` says so do not arrive.
fn heard_with_dtx(sent_ms: f64, play_ms: f64, lost: impl Fn(u64) -> bool) -> Listener {
    let settings = Settings { dtx: true, ..Settings::default() };
    let mut encoder = Encoder::new(Application::Audio, settings).unwrap();
    let (mut random, mut listener) = (Random::new(3), Listener::of(OPUS_RATE));
    let (mut index, mut silent) = (0, 0);
    for (k, frame) in speech(4).chunks_exact(320).enumerate() {
        let loud = if (50..150).contains(&k) { 0.0 } else { 1.0 / 32768.0 };
        let noisy = |s: &i16| [f32::from(*s) * loud + 0.002 * random.normal() as f32; 3];
        let samples: Vec<f32> = frame.iter().flat_map(noisy).collect();
        let mut payload = Vec::new();
        encoder.encode(&samples, &mut payload).unwrap();
        silent = if payload.len() <= 2 { silent + 1 } else { 0 };
        if silent > 2 && silent % 10 > 1 {
            continue;
        }
        let (timestamp, marker) = (960 * k as u32, k == 0);
        let packet =
            Packet { index, timestamp, marker, duration: 960, payload_type: PT_OPUS, payload };
        let sent = 20.0 * (k + 1) as f64 + 0.5;
        if !lost(index) && sent < sent_ms {
            listener.arrivals.push((sent, packet));
        }
        index += 1;
    }
    assert!(index < 150, "{index} packets of 200");
    listener.play(play_ms, 0.0);
    listener
}

/// Levels of these milliseconds in pieces of 20, dBFS.
fn levels(listener: &Listener, ms: std::ops::Range<usize>) -> Vec<f32> {
    let part = &listener.played[ms.start * 48..ms.end * 48];
    let level = |part: &[f32]| part.iter().map(|s| s * s).sum::<f32>() / part.len() as f32;
    part.chunks(960).map(|part| 10.0 * level(part).max(1e-12).log10()).collect()
}

#[test]
fn silence_that_is_left_out_is_filled_with_noise_and_counts_neither_as_loss_nor_as_speech() {
    let listener = heard_with_dtx(4000.0, 3900.0, |_| false);
    let figures = listener.speaker.figures();
    assert_eq!((figures.lost, figures.concealed), (0, 0.0), "{figures:?}");
    let turns: Vec<_> = listener.turns.iter().map(|(_, turn)| *turn).collect();
    assert_eq!(turns, [Turn::Starts, Turn::Stops, Turn::Starts], "{:?}", listener.turns);
}

#[test]
fn comfort_noise_is_as_loud_as_the_noise_that_it_stands_for() {
    let listener = heard_with_dtx(4000.0, 3900.0, |_| false);
    // The noise as it was sent, before silence was left out, and all that stands for it after.
    let sent = levels(&listener, 1000..1200);
    let sent = sent.iter().sum::<f32>() / sent.len() as f32;
    let comfort = levels(&listener, 1300..2960);
    let least = comfort.iter().copied().fold(f32::INFINITY, f32::min);
    let most = comfort.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    println!("sent at {sent:.1} dBFS, comfort noise {least:.1} to {most:.1}");
    assert!(least > sent - 6.0 && most < sent + 3.0, "{sent}: {least} to {most}");
    let seam = roughest(&listener.played[1150 * 48..2960 * 48]);
    assert!(seam < 0.02, "no click: {seam}");
}

#[test]
fn comfort_noise_goes_on_where_packets_of_it_are_lost() {
    // Every other packet around the end of speech and after, so that those before, between and after renewals are hit.
    for odd in [0, 1] {
        let listener = heard_with_dtx(4000.0, 3900.0, |index| index > 60 && index % 2 == odd);
        let levels = levels(&listener, 1400..2900);
        let least = levels.iter().copied().fold(f32::INFINITY, f32::min);
        println!("{least:.1} dBFS at least: {levels:.0?}");
        assert!(least > -70.0, "{least}");
        assert_eq!(listener.turns.len(), 3, "{:?}", listener.turns);
    }
}

#[test]
fn comfort_noise_ends_by_itself_when_nothing_follows_and_at_once_when_its_speaker_leaves() {
    let listener = heard_with_dtx(1900.0, 3900.0, |_| false);
    assert!(levels(&listener, 2000..2300).iter().all(|level| *level > -70.0));
    assert!(listener.played[2600 * 48..].iter().all(|sample| *sample == 0.0));
    let mut listener = heard_with_dtx(4000.0, 2000.0, |_| false);
    let now = listener.at(2005.0);
    assert!(levels(&listener, 1900..2000).iter().all(|level| *level > -70.0));
    listener.speaker.leave();
    let mut tail = [0.0; 960];
    listener.speaker.pull(now, &mut tail, None);
    assert!(tail[240..].iter().all(|sample| *sample == 0.0) && listener.speaker.is_gone());
}
