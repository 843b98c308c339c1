//! What the chain is worth, in figures: echo, double talk, noise, and what it does to a clean voice.
//!
//! `cargo test --lib chain::measures -- --nocapture` prints them.

use super::far_end::FarEnd;
use super::intelligibility::stoi;
use super::rooms::{
    Random, Room, active_db, babble, db, fan, frames, level_db, noise, repeated, scaled, speech,
    sum, voice,
};
use super::*;

const SECOND: usize = RATE as usize;

/// What comes out of a chain.
fn through(chain: &mut Chain, near: &[f32], far: &[f32]) -> Vec<f32> {
    let mut out = Vec::with_capacity(near.len());
    for (near, far) in frames(near).iter().zip(frames(far)) {
        let mut frame = *near;
        chain.process(&mut frame, far);
        out.extend(frame);
    }
    out
}

fn default_chain() -> Chain {
    Chain::new(ChainSettings::default())
}

/// Samples by which `late` lags behind `sound`, up to 25 ms.
fn lag(sound: &[f32], late: &[f32]) -> usize {
    let match_at = |lag: usize| sound.iter().zip(&late[lag..]).map(|(a, b)| a * b).sum::<f32>();
    (0..1200).max_by(|a, b| match_at(*a).total_cmp(&match_at(*b))).unwrap()
}

#[test]
fn an_echo_is_forty_decibels_down() {
    for (delay_ms, ppm) in [(20.0, 0.0), (60.0, 50.0), (120.0, -100.0)] {
        let mut random = Random::new(11);
        let far = repeated(&speech(), 24 * SECOND);
        let room = Room { delay_ms, loss_db: 6.0, reverberation_ms: 250.0, ppm };
        let echo = room.echo(&far, &mut random);
        let near = sum(&echo, &noise(&mut random, far.len(), db(-78.0)));
        let out = through(&mut default_chain(), &near, &far);
        let loss = |from: usize, to: usize| {
            let part = from * SECOND..to * SECOND;
            active_db(&echo[part.clone()]) - level_db(&out[part])
        };
        println!(
            "echo, {delay_ms} ms, {ppm} ppm: {:.0} dB down in the first 5 s, {:.0} dB after 6 s",
            loss(0, 5),
            loss(6, 23)
        );
        assert!(loss(0, 5) > 20.0 && loss(6, 23) > 40.0);
    }
}

#[test]
fn sound_cards_with_two_clocks_and_uneven_blocks_change_nothing_of_that() {
    for ppm in [100.0, -100.0] {
        let mut random = Random::new(22);
        let far = repeated(&speech(), 50 * SECOND);
        let room = Room { delay_ms: 50.0, loss_db: 6.0, reverberation_ms: 250.0, ppm };
        let echo = room.echo(&far, &mut random);
        let near = sum(&echo, &noise(&mut random, far.len(), db(-78.0)));
        let (mut played, ring) = rtrb::RingBuffer::new(SECOND / 5);
        let (mut far_end, mut chain) = (FarEnd::new(ring), default_chain());
        let (mut rendered, mut out) = (0, Vec::new());
        for (k, frame) in frames(&near).iter().enumerate() {
            // Playback renders 5 ms at a time, ahead of what its card takes in blocks of 10.7 ms.
            let taken = (k + 1) as f64 * FRAME as f64 * (1.0 + f64::from(ppm) * 1e-6) / 512.0;
            while rendered < taken as usize * 512 + 512 && rendered + 240 <= far.len() {
                for sample in &far[rendered..rendered + 240] {
                    let _ = played.push(*sample);
                }
                rendered += 240;
            }
            let mut frame = *frame;
            chain.process(&mut frame, &far_end.next());
            out.extend(frame);
        }
        let loss = |from: usize, to: usize| {
            let part = from * SECOND..to * SECOND;
            active_db(&echo[part.clone()]) - level_db(&out[part])
        };
        println!(
            "echo through rings, {ppm} ppm: {:.0} dB down after 8 s, {:.0} dB after 30 s",
            loss(8, 30),
            loss(30, 48)
        );
        assert!(loss(8, 30) > 40.0 && loss(30, 48) > 40.0);
    }
}

/// What becomes of both voices while both speak.
#[derive(Debug)]
struct DoubleTalk {
    /// How far the echo is down where the near voice pauses, in dB, ...
    echo_db: f32,
    /// ... and by how much the near voice is changed where the far one pauses, and where it does not, in dB.
    alone_db: f32,
    over_db: f32,
    /// How much of the near voice is understood with the echo, and behind the chain.
    stoi: (f32, f32),
}

/// Both speak for half a minute in this room, after seven seconds of the far voice alone.
fn double_talk(room: &Room) -> DoubleTalk {
    let mut random = Random::new(12);
    let far = repeated(&speech(), 40 * SECOND);
    let echo = room.echo(&far, &mut random);
    let mut near = vec![0.0; far.len()];
    let spoken = repeated(&voice(0.82), far.len());
    near[7 * SECOND..].copy_from_slice(&spoken[SECOND..spoken.len() - 6 * SECOND]);
    let heard = sum(&sum(&near, &echo), &noise(&mut random, far.len(), db(-78.0)));
    let out = through(&mut default_chain(), &heard, &far);
    let part = 10 * SECOND..39 * SECOND;
    let late = part.start + EchoCanceller::DELAY..part.end + EchoCanceller::DELAY;
    let (near, echo) = (&near[part.clone()], &echo[part.clone()]);
    let (heard, out) = (&heard[part], &out[late]);
    // Levels of what comes in and goes out, where both voices are as wanted for 30 ms.
    let levels = |wanted: &dyn Fn(f32, f32) -> bool| {
        let level = |sound: &[f32], k: usize| level_db(&sound[k * FRAME..(k + 1) * FRAME]);
        let fits = |k: usize| wanted(level(near, k), level(echo, k));
        let frames = near.len() / FRAME;
        let chosen: Vec<usize> = (1..frames - 1).filter(|k| (k - 1..k + 2).all(fits)).collect();
        assert!(chosen.len() > 50, "{} frames", chosen.len());
        let mean = |sound: &[f32]| {
            let powers = chosen.iter().map(|k| power(&sound[k * FRAME..(k + 1) * FRAME]));
            decibels(powers.sum::<f32>() / chosen.len() as f32)
        };
        (mean(near), mean(echo), mean(out))
    };
    let (_, echo_in, echo_out) = levels(&|near, echo| near < -75.0 && echo > -50.0);
    let (alone_in, _, alone_out) = levels(&|near, echo| near > -40.0 && echo < -65.0);
    let (over_in, _, over_out) = levels(&|near, echo| near > -35.0 && echo > -50.0);
    DoubleTalk {
        echo_db: echo_in - echo_out,
        alone_db: alone_out - alone_in,
        over_db: over_out - over_in,
        stoi: (stoi(near, heard), stoi(near, out)),
    }
}

#[test]
fn in_double_talk_the_near_voice_is_understood_and_the_echo_stays_down() {
    for (name, loss_db, reverberation_ms) in [
        ("a laptop", 12.0, 250.0),
        ("a room of 0.3 s", 12.0, 300.0),
        ("a loud speaker", 6.0, 300.0),
    ] {
        let room = Room { delay_ms: 60.0, loss_db, reverberation_ms, ppm: 50.0 };
        let talk = double_talk(&room);
        println!(
            "double talk, {name}: STOI {:.2} with the echo, {:.2} without; echo {:.0} dB down where the \
             near voice pauses; near voice {:+.1} dB alone, {:+.1} dB over the far one",
            talk.stoi.0, talk.stoi.1, talk.echo_db, talk.alone_db, talk.over_db
        );
        assert!(talk.stoi.1 > if loss_db > 10.0 { 0.75 } else { 0.64 }, "{talk:?}");
        assert!(talk.echo_db > 20.0, "{talk:?}");
        assert!(talk.alone_db > -3.0 && talk.over_db > -9.0, "{talk:?}");
    }
}

#[test]
fn in_a_room_of_three_tenths_of_a_second_the_echo_is_forty_decibels_down_while_it_sounds() {
    for loss_db in [12.0, 6.0, 0.0] {
        let mut random = Random::new(23);
        let far = repeated(&speech(), 30 * SECOND);
        let room = Room { delay_ms: 40.0, loss_db, reverberation_ms: 300.0, ppm: 0.0 };
        let echo = room.echo(&far, &mut random);
        let near = sum(&echo, &noise(&mut random, far.len(), db(-78.0)));
        let out = through(&mut default_chain(), &near, &far);
        // Only where there is an echo counts: pauses would flatter.
        let (mut before, mut after, mut worst) = (Vec::new(), Vec::new(), f32::INFINITY);
        for k in 800..2990 {
            let frame = |sound: &[f32], k: usize| power(&sound[k * FRAME..(k + 1) * FRAME]);
            let (came, left) = (frame(&echo, k), frame(&out, k + 1).max(frame(&out, k)));
            if decibels(came) > active_db(&echo) - 15.0 {
                before.push(came);
                after.push(left);
                worst = worst.min(decibels(came) - decibels(left));
            }
        }
        let mean = |all: &[f32]| decibels(all.iter().sum::<f32>() / all.len() as f32);
        let down = mean(&before) - mean(&after);
        println!(
            "echo, RT60 0.3 s, {loss_db} dB below what is played: {down:.0} dB down while it sounds, \
             {worst:.0} dB in the worst 10 ms"
        );
        assert!(down > 40.0, "{down}");
        // Without the canceller it would not be down at all: the measure can fail.
        let without = ChainSettings { echo: false, ..ChainSettings::default() };
        let out = through(&mut Chain::new(without), &near, &far);
        let part = 10 * SECOND..29 * SECOND;
        assert!((level_db(&out[part.clone()]) - level_db(&echo[part])).abs() < 12.0);
    }
}

#[test]
fn noise_goes_and_the_voice_stays() {
    let mut random = Random::new(13);
    let said = repeated(&speech(), 40 * SECOND);
    let length = said.len();
    for (name, sound, level, wanted) in [
        ("fan", fan(&mut random, length), -40.0, 15.0),
        ("white noise", noise(&mut random, length, 0.1), -42.0, 15.0),
        ("babble", babble(length), -36.0, 4.0),
    ] {
        let sound = scaled(&sound, level);
        let heard = sum(&said, &sound);
        let out = through(&mut default_chain(), &heard, &vec![0.0; length]);
        let part = 12 * SECOND..38 * SECOND;
        let late = part.start + NoiseSuppressor::DELAY..part.end + NoiseSuppressor::DELAY;
        // Level while the voice is there and while it is not.
        let snr = |out: &[f32]| {
            let (mut voiced, mut pauses) = (Vec::new(), Vec::new());
            for (said, out) in said[part.clone()].chunks(FRAME).zip(out.chunks(FRAME)) {
                match decibels(power(said)) {
                    -35.0.. => voiced.push(power(out)),
                    ..-75.0 => pauses.push(power(out)),
                    _ => {}
                }
            }
            let mean = |all: &[f32]| all.iter().sum::<f32>() / all.len() as f32;
            decibels(mean(&voiced) - mean(&pauses)) - decibels(mean(&pauses))
        };
        let (before, after) = (snr(&heard[part.clone()]), snr(&out[late.clone()]));
        let (understood, then) = (
            stoi(&said[part.clone()], &heard[part.clone()]),
            stoi(&said[part.clone()], &out[late]),
        );
        println!("{name}: SNR {before:.1} -> {after:.1} dB, STOI {understood:.2} -> {then:.2}");
        assert!(after - before > wanted, "{name}");
        assert!(then > understood - 0.03, "{name}");
    }
}

#[test]
fn a_clean_voice_passes_untouched_but_for_the_high_pass() {
    let mut random = Random::new(14);
    let sound = repeated(&speech(), 30 * SECOND);
    let sound = sum(&sound, &noise(&mut random, sound.len(), db(-78.0)));
    let silence = vec![0.0; sound.len()];
    let only = ChainSettings { high_pass: true, ..ChainSettings::NONE };
    let expected = through(&mut Chain::new(only), &sound, &silence);
    assert!(through(&mut default_chain(), &sound, &silence) == expected);
}

#[test]
fn with_headphones_the_canceller_steps_aside() {
    let mut random = Random::new(15);
    let far = repeated(&speech(), 40 * SECOND);
    let mut near = noise(&mut random, far.len(), db(-70.0));
    // The near voice speaks now and then, also over the far one.
    let spoken = repeated(&voice(0.82), far.len());
    for (k, (near, spoken)) in near.iter_mut().zip(&spoken).enumerate() {
        if k % (8 * SECOND) > 5 * SECOND {
            *near += spoken;
        }
    }
    let mut chain = default_chain();
    let out = through(&mut chain, &near, &far);
    assert_eq!(chain.figures().echo.delay_ms, 0.0);
    let only = ChainSettings { high_pass: true, ..ChainSettings::NONE };
    let expected = through(&mut Chain::new(only), &near, &far);
    let touched = |from: usize| {
        let part = from * SECOND..out.len();
        out[part.clone()].iter().zip(&expected[part]).filter(|(a, b)| a != b).count()
    };
    assert_eq!(touched(20), 0);
}

#[test]
fn a_loudspeaker_that_is_put_in_place_of_headphones_is_found() {
    let mut random = Random::new(16);
    let far = repeated(&speech(), 40 * SECOND);
    let room = Room { delay_ms: 40.0, loss_db: 6.0, reverberation_ms: 200.0, ppm: 20.0 };
    let mut echo = room.echo(&far, &mut random);
    echo[..15 * SECOND].fill(0.0);
    let near = sum(&echo, &noise(&mut random, far.len(), db(-75.0)));
    let mut chain = default_chain();
    through(&mut chain, &near[..14 * SECOND], &far[..14 * SECOND]);
    assert_eq!(chain.figures().echo.delay_ms, 0.0);
    let out = through(&mut chain, &near[14 * SECOND..], &far[14 * SECOND..]);
    let loss = |from: usize, to: usize| {
        active_db(&echo[from * SECOND..to * SECOND])
            - level_db(&out[(from - 14) * SECOND..(to - 14) * SECOND])
    };
    println!("plugged in: {:.0} dB down after 5 s", loss(22, 38));
    assert!(loss(22, 38) > 35.0);
}

#[test]
fn each_stage_delays_by_what_it_says() {
    let far = repeated(&scaled(&speech(), -30.0), 20 * SECOND);
    let mut random = Random::new(17);
    let said = repeated(&voice(0.9), 20 * SECOND);
    let heard = sum(&said, &noise(&mut random, said.len(), db(-45.0)));
    let mut noisy = Chain::new(ChainSettings { noise: true, ..ChainSettings::NONE });
    let out = through(&mut noisy, &heard, &far);
    let at = 12 * SECOND..14 * SECOND;
    assert_eq!(lag(&said[at.clone()], &out[at.start..]), NoiseSuppressor::DELAY);
    assert_eq!(noisy.figures().noise.delay_ms, 10.0);
    // Something of the far end, so that the canceller does not step aside.
    let room = Room { delay_ms: 40.0, loss_db: 15.0, reverberation_ms: 100.0, ppm: 0.0 };
    let echo = room.echo(&far, &mut random);
    let mut echoing = Chain::new(ChainSettings { echo: true, ..ChainSettings::NONE });
    let out = through(&mut echoing, &sum(&said, &echo), &far);
    let late = lag(&said[at.clone()], &out[at.start..]);
    println!("the canceller lags by {late} samples");
    assert!(late.abs_diff(EchoCanceller::DELAY) <= 3);
    assert!((echoing.figures().echo.delay_ms - 9.0).abs() < 0.1);
}

#[test]
fn gain_brings_a_soft_and_a_loud_voice_near_and_never_lifts_the_pauses() {
    for level in [-42.0, -34.0, -24.0, -14.0] {
        let mut random = Random::new(18);
        let said = scaled(&repeated(&speech(), 60 * SECOND), level);
        let heard = sum(&said, &noise(&mut random, said.len(), db(-75.0)));
        let mut chain = Chain::new(ChainSettings { gain: true, ..ChainSettings::NONE });
        let mut gains = Vec::new();
        let mut out = Vec::new();
        for frame in frames(&heard) {
            let mut frame = *frame;
            let activity = chain.process(&mut frame, &[0.0; FRAME]);
            gains.push((chain.figures().gain_db, activity.voice));
            out.extend(frame);
        }
        let then = active_db(&out[40 * SECOND..]);
        println!("gain: a voice at {level} dBFS is heard at {then:.1}");
        let wanted = if level < -40.0 { -30.5..-27.0 } else { -28.5..-19.5 };
        assert!(wanted.contains(&then), "{level}: {then}");
        for pair in gains.windows(2) {
            let step = pair[1].0 - pair[0].0;
            assert!(step == 0.0 || pair[1].1, "gain moves in a pause");
            assert!(step < 0.02, "faster than 2 dB a second");
        }
    }
}

#[test]
fn noise_alone_is_not_amplified() {
    let mut random = Random::new(19);
    let sound = noise(&mut random, 30 * SECOND, db(-60.0));
    let mut chain = Chain::new(ChainSettings { gain: true, ..ChainSettings::NONE });
    assert!(through(&mut chain, &sound, &vec![0.0; sound.len()]) == sound);
}

#[test]
fn after_warm_up_only_the_canceller_allocates() {
    let mut random = Random::new(20);
    let noisy = sum(&repeated(&speech(), 20 * SECOND), &noise(&mut random, 20 * SECOND, db(-45.0)));
    let silence = vec![0.0; noisy.len()];
    let mut chain = default_chain();
    through(&mut chain, &noisy[..10 * SECOND], &silence);
    assert!(chain.figures().noise.acting);
    let near: Vec<Frame> = frames(&noisy[10 * SECOND..]).to_vec();
    let counted = allocation_counter::measure(|| {
        for frame in &near {
            chain.process(&mut { *frame }, &[0.0; FRAME]);
        }
    });
    assert_eq!(counted.count_total, 0);
    let far = repeated(&speech(), 10 * SECOND);
    let counted = allocation_counter::measure(|| {
        for (frame, far) in near.iter().zip(frames(&far)) {
            chain.process(&mut { *frame }, far);
        }
    });
    println!("the canceller allocates {:.1} times a frame", counted.count_total as f32 / 1000.0);
    assert!(counted.count_total < 100 * 1000);
}

#[test]
fn what_is_no_number_does_no_harm() {
    let mut chain = default_chain();
    for bad in [f32::NAN, f32::INFINITY, -1e30] {
        chain.process(&mut [bad; FRAME], &[bad; FRAME]);
    }
    for frame in frames(&speech()) {
        let mut frame = *frame;
        chain.process(&mut frame, &[0.1; FRAME]);
        assert!(frame.iter().all(|sample| sample.is_finite()));
    }
}
