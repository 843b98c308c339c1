//! Figures and what is said of them, case by case.

use super::*;
use crate::client::event::Speaker;
use crate::client::texts;
use crate::client::voice::{SpeakerStats, VoiceStats};
use crate::net::ids::MemberId;

fn name(text: &str) -> UserName {
    UserName::parse(text).unwrap()
}

/// A good line, and two who are heard well.
fn well() -> Stats {
    let voice = VoiceStats {
        path: "udp",
        round_trip_ms: Some(20.0),
        input: "Mic".to_owned(),
        input_is_device: true,
        input_level_db: -40.0,
        output: "Speaker".to_owned(),
        cpu: Some(0.05),
        speakers: vec![SpeakerStats::new(MemberId(1)), SpeakerStats::new(MemberId(2))],
        ..VoiceStats::default()
    };
    let names = [name("Eve"), name("Bob")];
    let mut stats = Stats::new(voice, |id| Some((names.get(id.0 as usize - 1).cloned()?, None)));
    for speaker in &mut stats.speakers {
        (speaker.received, speaker.jitter_ms, speaker.buffer_ms) = (1000, 3.0, 25.0);
    }
    stats
}

fn sentence(change: impl FnOnce(&mut Stats)) -> String {
    let mut stats = well();
    change(&mut stats);
    texts::stats::diagnosis(&diagnose(&stats))
}

fn eve(stats: &mut Stats) -> &mut Speaker {
    &mut stats.speakers[0]
}

#[test]
fn each_trouble_has_its_own_sentence() {
    type Change = fn(&mut Stats);
    let cases: [(&str, Change); 17] = [
        ("all is well", |_| {}),
        ("nobody has been heard yet", |s| s.speakers.clear()),
        ("no way for voice", |s| s.path = "none".to_owned()),
        ("loudspeaker", |s| s.output.clear()),
        ("no microphone", |s| s.input.clear()),
        ("drops out 3 times a minute", |s| s.gaps_per_minute = 3),
        ("Parlor itself", |s| (s.gaps_per_minute, s.cpu) = (3, Some(0.97))),
        ("UDP does not get through", |s| s.path = "stream".to_owned()),
        ("loses 4 % on the way to the server; what comes to you is fine", |s| s.uplink_loss = 0.04),
        ("loses 5 % of what the server sends you", |s| {
            s.speakers.iter_mut().for_each(|speaker| speaker.loss = 0.05);
        }),
        ("both ways", |s| {
            s.uplink_loss = 0.03;
            s.speakers.iter_mut().for_each(|speaker| speaker.loss = 0.05);
        }),
        ("Only the voice of Eve arrives badly", |s| eve(s).loss = 0.08),
        ("The voices of Bob and Eve", |s| {
            eve(s).loss = 0.08;
            s.speakers[1].loss = 0.2;
            let mut cleo = s.speakers[0].clone();
            (cleo.loss, cleo.id) = (0.0, MemberId(3));
            s.speakers.push(cleo);
        }),
        ("unevenly", |s| eve(s).jitter_ms = 45.0),
        ("far away", |s| s.round_trip_ms = Some(300.0)),
        ("Others in the room", |s| s.room_loss = 0.1),
        ("gives nothing but silence", |s| s.input_level_db = -120.0),
    ];
    for (words, change) in cases {
        let said = sentence(change);
        assert!(said.contains(words), "{words}: {said}");
        assert_eq!(said.matches(". ").count(), 0, "one sentence: {said}");
    }
}

#[test]
fn the_only_voice_is_not_blamed_for_our_own_line() {
    let alone = |stats: &mut Stats| {
        stats.speakers.truncate(1);
        eve(stats).loss = 0.06;
    };
    let said = sentence(|stats| {
        alone(stats);
        stats.downlink_loss = 0.07;
    });
    assert!(said.contains("6 % of what the server sends you"), "{said}");
    let said = sentence(alone);
    assert!(said.contains("The voice of Eve arrives badly"), "{said}");
}

#[test]
fn a_speaker_who_has_hardly_said_a_word_is_not_judged() {
    let said = sentence(|stats| (eve(stats).received, eve(stats).loss) = (20, 0.5));
    assert!(said.contains("all is well"), "{said}");
}

#[test]
fn what_is_nearer_comes_first() {
    let said = sentence(|stats| {
        stats.gaps_per_minute = 5;
        stats.uplink_loss = 0.2;
        eve(stats).loss = 0.2;
    });
    assert!(said.contains("drops out 5 times"), "{said}");
}

#[test]
fn a_file_that_is_silent_is_no_muted_microphone() {
    let said = sentence(|stats| (stats.input_level_db, stats.input_is_device) = (-120.0, false));
    assert!(said.contains("all is well"), "{said}");
}
