//! The path rules against a network that loses, delays and dies, in virtual time.

use super::VoicePath;
use super::path::{PathRules, Talk};
use crate::net::clock;
use crate::net::limits::REPORT_INTERVAL;
use crate::net::rtcp::Probe;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const TICK_MS: u64 = 25;
const FRAME_MS: u64 = 20;

/// Share lost in percent, on the way up and on the way down.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Loss {
    up: u32,
    down: u32,
}

const CLEAN: Loss = Loss { up: 0, down: 0 };
const BLOCKED: Loss = Loss { up: 100, down: 100 };

const WE: Talk = Talk { speaking: true, expecting: false };
const OTHERS: Talk = Talk { speaking: false, expecting: true };
const ALL: Talk = Talk { speaking: true, expecting: true };
const NOBODY: Talk = Talk { speaking: false, expecting: false };

/// What arrives at the client.
#[derive(Debug, Clone, Copy)]
enum Arrival {
    Answer(Probe),
    Report,
    Voice,
}

/// A client's rules, the network, and a server that answers.
struct World {
    rules: PathRules,
    start: Instant,
    ms: u64,
    random: u64,
    loss: Loss,
    trip_ms: u64,
    talk: Talk,
    arrivals: BTreeMap<(u64, u64), Arrival>,
    count: u64,
    next_report: u64,
    heard: bool,
    /// Every change of the way, and when.
    turns: Vec<(u64, VoicePath)>,
    probes: u64,
}

impl World {
    fn new(seed: u64, trip_ms: u64) -> Self {
        let start = clock::now();
        Self {
            rules: PathRules::new(true, start),
            start,
            ms: 0,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            loss: CLEAN,
            trip_ms,
            talk: NOBODY,
            arrivals: BTreeMap::new(),
            count: 0,
            next_report: 0,
            heard: false,
            turns: Vec::new(),
            probes: 0,
        }
    }

    /// Proven, with a history of ten clean seconds in which nobody or someone talked.
    fn settled(seed: u64, trip_ms: u64, talk: Talk) -> Self {
        let mut world = Self::new(seed, trip_ms);
        world.talk = talk;
        world.run(10_000 + seed % 300);
        assert_eq!(world.rules.path(), VoicePath::Udp);
        world.turns.clear();
        world
    }

    fn chance(&mut self, percent: u32) -> bool {
        // xorshift64* (Vigna).
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let word = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        (word % 100) < u64::from(percent)
    }

    /// Something goes up and its answer comes down, if nothing is lost.
    fn ask(&mut self, answer: Arrival) {
        if !self.chance(self.loss.up) {
            self.down(answer, self.trip_ms);
        }
    }

    fn down(&mut self, what: Arrival, after_ms: u64) {
        if !self.chance(self.loss.down) {
            self.count += 1;
            self.arrivals.insert((self.ms + after_ms, self.count), what);
        }
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.step();
        }
    }

    fn step(&mut self) {
        self.ms += 1;
        let now = self.start + Duration::from_millis(self.ms);
        while let Some(entry) = self.arrivals.first_entry()
            && entry.key().0 <= self.ms
        {
            match entry.remove() {
                Arrival::Answer(probe) => {
                    self.rules.heard_control(now);
                    self.rules.answered(probe, now);
                }
                Arrival::Report => self.rules.heard_control(now),
                Arrival::Voice => {
                    self.heard = true;
                    self.rules.heard_voice(now);
                }
            }
        }
        let by_udp = self.rules.path() != VoicePath::Stream;
        if by_udp && self.talk.expecting && self.ms.is_multiple_of(FRAME_MS) {
            self.down(Arrival::Voice, self.trip_ms / 2);
        }
        if self.ms.is_multiple_of(TICK_MS) {
            if self.rules.tick(self.talk, now) {
                self.probes += 1;
                let probe = self.probes.to_be_bytes();
                self.rules.sent(probe, now);
                self.ask(Arrival::Answer(probe));
            }
            if by_udp && self.ms >= self.next_report && (self.talk.speaking || self.heard) {
                self.heard = false;
                self.next_report = self.ms + REPORT_INTERVAL.as_millis() as u64;
                self.ask(Arrival::Report);
            }
        }
        let path = self.rules.path();
        if self.turns.last().map_or(VoicePath::None, |last| last.1) != path
            && (path != VoicePath::Udp || !self.turns.is_empty() || self.ms < 1000)
        {
            self.turns.push((self.ms, path));
        }
    }

    /// Runs until voice goes this way; how long that took, in ms.
    fn until(&mut self, path: VoicePath, most_ms: u64) -> Option<u64> {
        let from = self.ms;
        while self.ms < from + most_ms {
            self.step();
            if self.rules.path() == path {
                return Some(self.ms - from);
            }
        }
        None
    }
}

#[test]
fn a_clean_network_is_proven_within_a_round_trip_and_stays() {
    let mut world = World::new(1, 60);
    let took = world.until(VoicePath::Udp, 1000);
    assert!(took.is_some_and(|ms| ms <= 60 + TICK_MS), "{took:?}");
    for talk in [NOBODY, WE, OTHERS, ALL, NOBODY] {
        world.talk = talk;
        world.run(20_000);
    }
    assert_eq!(world.turns.len(), 1, "{:?}", world.turns);
}

#[test]
fn where_datagrams_are_blocked_from_the_start_voice_goes_through_the_stream_within_a_second() {
    for loss in [BLOCKED, Loss { up: 100, down: 0 }, Loss { up: 0, down: 100 }] {
        let mut world = World::new(2, 60);
        world.loss = loss;
        let took = world.until(VoicePath::Stream, 5000);
        assert!(took.is_some_and(|ms| ms <= 600), "{loss:?}: {took:?}");
        world.run(60_000);
        assert_eq!(world.rules.path(), VoicePath::Stream);
    }
}

#[test]
fn nobody_talks_and_a_dead_path_is_noticed_by_its_keepalives() {
    let mut world = World::settled(3, 60, NOBODY);
    world.loss = BLOCKED;
    let took = world.until(VoicePath::Stream, 60_000);
    assert!(took.is_some_and(|ms| ms <= 7500), "{took:?}");
}

#[test]
fn a_path_that_died_in_silence_is_left_within_a_second_of_the_first_word() {
    for (seed, talk) in [(4, WE), (5, OTHERS), (6, ALL)] {
        let mut world = World::settled(seed, 40, NOBODY);
        world.loss = BLOCKED;
        world.run(300);
        assert_eq!(world.rules.path(), VoicePath::Udp);
        world.talk = talk;
        let took = world.until(VoicePath::Stream, 10_000);
        assert!(took.is_some_and(|ms| ms <= 800), "{talk:?}: {took:?}");
    }
}

#[test]
fn silence_costs_a_keepalive_every_five_seconds_and_speech_ten_a_second_at_most() {
    let mut world = World::settled(7, 40, NOBODY);
    let before = world.probes;
    world.run(60_000);
    assert!((11..=13).contains(&(world.probes - before)), "{}", world.probes - before);
    world.talk = WE;
    let before = world.probes;
    world.run(10_000);
    assert!(world.probes - before <= 100, "{}", world.probes - before);
    // Listening costs next to nothing: the reports are proof enough.
    world.talk = OTHERS;
    let before = world.probes;
    world.run(10_000);
    assert!(world.probes - before <= 3, "{}", world.probes - before);
}

#[test]
fn voice_goes_back_to_datagrams_when_they_return_and_not_before_they_have_proven_themselves() {
    for (seed, talk) in [(8, WE), (9, OTHERS), (10, ALL), (11, NOBODY)] {
        let mut world = World::settled(seed, 40, talk);
        world.run(10_000);
        world.loss = BLOCKED;
        world.until(VoicePath::Stream, 10_000).unwrap();
        world.run(5000);
        world.loss = CLEAN;
        let took = world.until(VoicePath::Udp, 10_000);
        let good = 800..=if talk == NOBODY { 2500 } else { 1800 };
        assert!(took.is_some_and(|ms| good.contains(&ms)), "{talk:?}: {took:?}");
    }
}

#[test]
fn a_path_that_dies_again_and_again_is_trusted_less_each_time() {
    let mut world = World::settled(12, 40, ALL);
    for _ in 0..60 {
        world.loss = BLOCKED;
        world.run(2000);
        world.loss = CLEAN;
        world.run(2000);
    }
    let turns = world.turns.len();
    assert!((3..=24).contains(&turns), "{turns} turns in four minutes");
    // Where it stays, it is used again.
    world.loss = CLEAN;
    assert!(world.until(VoicePath::Udp, 40_000).is_some());
}

#[test]
fn a_path_that_loses_a_third_is_not_left_and_not_gone_back_to_in_haste() {
    let mut world = World::settled(13, 60, ALL);
    world.loss = Loss { up: 30, down: 30 };
    world.run(300_000);
    assert_eq!(world.turns, []);
    world.loss = BLOCKED;
    world.until(VoicePath::Stream, 10_000).unwrap();
    world.loss = Loss { up: 30, down: 30 };
    world.run(120_000);
    assert!(world.turns.len() <= 2, "{:?}", world.turns);
}

#[test]
fn where_the_stream_is_not_allowed_a_dead_path_is_no_path() {
    let mut world = World::settled(14, 40, WE);
    let now = world.start + Duration::from_millis(world.ms);
    world.rules.allow_stream(false, now);
    world.loss = BLOCKED;
    assert!(world.until(VoicePath::None, 1000).is_some());
    world.run(10_000);
    assert_eq!(world.rules.path(), VoicePath::None);
    world.loss = CLEAN;
    assert!(world.until(VoicePath::Udp, 1000).is_some());
}

fn talk() -> impl Strategy<Value = Talk> {
    prop_oneof![Just(WE), Just(OTHERS), Just(ALL)]
}

fn death() -> impl Strategy<Value = Loss> {
    let (up, down) = (Loss { up: 100, down: 0 }, Loss { up: 0, down: 100 });
    prop_oneof![Just(up), Just(down), Just(BLOCKED)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_direction_that_dies_while_anyone_talks_is_left_within_a_second(
        seed in 0u64..10_000, trip in 2u64..50, talk in talk(), death in death()
    ) {
        let mut world = World::settled(seed, trip, talk);
        world.loss = death;
        let took = world.until(VoicePath::Stream, 10_000);
        prop_assert!(took.is_some_and(|ms| ms <= 950), "{:?}", took);
    }

    #[test]
    fn far_away_and_after_loss_it_takes_little_longer(
        seed in 0u64..10_000, trip in 50u64..250, talk in talk(), death in death(), loss in 0u32..25
    ) {
        let mut world = World::settled(seed, trip, talk);
        world.loss = Loss { up: loss, down: loss };
        world.run(10_000);
        world.loss = death;
        let took = world.until(VoicePath::Stream, 10_000);
        prop_assert!(took.is_some_and(|ms| ms <= 2000), "{:?}", took);
    }

    #[test]
    fn loss_alone_never_turns_voice_away(
        seed in 0u64..10_000, trip in 2u64..250, up in 0u32..=40, down in 0u32..=40,
        talks in prop::collection::vec((talk(), 500u64..8000, 0u64..8000), 1..8)
    ) {
        let mut world = World::settled(seed, trip, NOBODY);
        world.loss = Loss { up, down };
        for (talk, said, silent) in talks {
            world.talk = talk;
            world.run(said);
            world.talk = NOBODY;
            world.run(silent);
        }
        prop_assert_eq!(&world.turns, &[]);
    }

    #[test]
    fn whatever_the_network_does_a_path_that_works_again_is_found(
        seed in 0u64..10_000, trip in 2u64..250,
        weather in prop::collection::vec((0u32..=100, 0u32..=100, 100u64..5000, talk()), 1..12)
    ) {
        let mut world = World::settled(seed, trip, NOBODY);
        for (up, down, ms, talk) in weather {
            world.loss = Loss { up, down };
            world.talk = talk;
            world.run(ms);
        }
        world.loss = CLEAN;
        world.run(40_000);
        prop_assert_eq!(world.rules.path(), VoicePath::Udp);
        let turns = world.turns.len();
        world.run(20_000);
        prop_assert_eq!(world.turns.len(), turns);
    }
}
