//! Talkspurts that begin with what was kept for them: a burst of packets with their true times.

use super::*;

/// Packets of the burst: 160 ms.
const KEPT: usize = 8;

/// Sends a talkspurt whose first packets were kept until the last of them was full.
fn send_kept(
    listener: &mut Listener,
    at_ms: f64,
    packets: &[Packet],
    mut way: impl FnMut() -> f64,
) {
    let burst = at_ms + 20.0 * KEPT as f64;
    let (kept, others) = packets.split_at(KEPT);
    listener.send_every(0.0, burst, kept, || Some(way()));
    listener.send(burst, others, || Some(way()));
}

/// Talkspurts of three seconds, five seconds apart; the target delay during the last one.
fn target_after(kept: bool, seed: u64, shake_ms: f64) -> f32 {
    let mut random = Random::new(seed);
    let mut listener = Listener::new();
    let source = speech(3);
    for k in 0..6u32 {
        let packets = talkspurt(&source, u64::from(k) * 153, k * 5 * 16_000);
        let at = 5000.0 * f64::from(k);
        if kept {
            send_kept(&mut listener, at, &packets, || random.unit() * shake_ms);
        } else {
            listener.send(at, &packets, || Some(random.unit() * shake_ms));
        }
    }
    listener.play(28_000.0, 0.0);
    assert_eq!(listener.speaker.figures().lost, 0);
    listener.speaker.figures().target_ms
}

#[test]
fn what_was_kept_for_a_talkspurt_is_not_taken_for_jitter() {
    for shake_ms in [1.0, 20.0] {
        let (without, with) = (target_after(false, 31, shake_ms), target_after(true, 31, shake_ms));
        println!("shaken by {shake_ms} ms: target {without:.1} ms, with pre-roll {with:.1} ms");
        assert!((with - without).abs() < 4.0, "{without} {with}");
    }
}

#[test]
fn what_was_kept_is_played_whole_and_the_delay_comes_down_within_two_seconds() {
    let source = speech(6);
    let mut listener = Listener::new();
    send_kept(&mut listener, 0.0, &talkspurt(&source, 0, 0), || 1.0);
    listener.play(7000.0, 0.0);
    assert!(listener.all_decoded() == source, "the first syllable is there");
    let at = |ms: usize| listener.delays[ms * 2 / 5];
    println!(
        "delay after 0.3, 0.5, 1, 1.5, 2, 3 s: {:?}",
        [300, 500, 1000, 1500, 2000, 3000].map(at)
    );
    assert!(at(300) > 100.0, "{}", at(300));
    assert!(at(2200) < 30.0, "{}", at(2200));
    let natural = roughest(&source.iter().map(|s| f32::from(*s) / 32768.0).collect::<Vec<_>>());
    assert!(roughest(&listener.played) < natural * 2.0);
}
