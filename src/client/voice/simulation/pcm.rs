//! What the jitter buffer promises, tried with L16, whose samples can be compared bit for bit.

use super::*;

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
    // 20 ms of frame and what the network shakes by for each.
    assert!((listener.turns[0].0 - 35.0).abs() < 8.0, "{:?}", listener.turns);
    assert!((listener.turns[2].0 - 5032.0).abs() < 6.0, "{:?}", listener.turns);
}

#[test]
fn a_steady_network_plays_the_very_samples() {
    let source = speech(2);
    let mut listener = Listener::new();
    listener.send(0.0, &talkspurt(&source, 0, 0), || Some(1.0));
    // Before the delay is brought down to its floor, nothing is touched.
    listener.play(700.0, 0.0);
    let played = listener.played_l16();
    let start = played.iter().position(|s| *s != 0.0).unwrap();
    assert!(played.len() - start > 9000);
    for (k, sample) in played[start..].iter().enumerate() {
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
    // The least delay aimed for, and what the card takes at a time.
    assert!(last < 12.5, "{last}");
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
        assert!(figures.late < 40, "{figures:?}");
        assert!(delay < if name == "uniform" { 50.0 } else { 105.0 }, "{delay}");
        assert!(listener.speaker.figures().concealed < 0.05);
    }
}

#[test]
fn a_wi_fi_that_saves_power_costs_one_of_its_intervals_and_no_more() {
    let source = speech(12);
    let packets = talkspurt(&source, 0, 0);
    let mut listener = Listener::new();
    // What comes is held until the next beacon, every 100 ms.
    for (k, packet) in packets.iter().enumerate() {
        let sent = 20.0 * (k + 1).min(600) as f64;
        listener.arrivals.push(((sent / 100.0).ceil() * 100.0, packet.clone()));
    }
    listener.play(11_900.0, 0.0);
    let figures = listener.speaker.figures();
    println!("{figures:?}");
    assert_eq!((figures.lost, figures.concealed < 0.02), (0, true), "{figures:?}");
    let late = listener.delays[1200..].iter().copied().fold(0.0, f64::max);
    assert!(late < 105.0, "{late}");
    assert!(figures.late < 20, "{figures:?}");
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
    assert!(*listener.delays.last().unwrap() < 15.0);
    // Silent in between, but for a tenth of a second that fades.
    let quiet = &listener.played[(3250 * 48)..(4950 * 48)];
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
    let end = listener.played.iter().rposition(|s| *s != 0.0).unwrap() / 48;
    assert!(end < 35 * 20 + 70 + 110, "{end}");
    // Of the last three seconds 200 ms were waited for.
    assert!(listener.speaker.figures().concealed < 0.07);
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
    assert!(*listener.delays.last().unwrap() < 15.0);
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
    assert!((start - 30.0).abs() < 6.0, "{start}");
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
    let mut tail = [0.0; 960];
    listener.speaker.pull(now, &mut tail, None);
    assert!(tail[240..].iter().all(|s| *s == 0.0));
    assert!(listener.speaker.is_gone());
    let mut whole = listener.played[21_000..].to_vec();
    whole.extend(tail);
    let natural = roughest(&listener.played);
    assert!(roughest(&whole) <= natural * 1.3);
}
