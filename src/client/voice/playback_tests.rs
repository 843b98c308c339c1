//! The playback core: who is heard, how loud, and who is told.

use super::VoiceEvent;
use super::jitter::Packet;
use super::playback::{Playback, ToPlayback};
use super::speaker::Arrived;
use crate::net::clock;
use crate::net::codec::{L16_RATE, PT_L16, l16_encode};
use crate::net::ids::{MemberId, Ssrc};
use crate::net::limits::SPEAKERS_MAX;
use std::time::{Duration, Instant};

struct Rig {
    playback: Playback,
    start: Instant,
    us: u64,
    mix: Vec<f32>,
}

impl Rig {
    fn new() -> Self {
        let playback = Playback::new(None);
        Self { playback, start: clock::now(), us: 0, mix: Vec::new() }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_micros(self.us)
    }

    /// A frame of a square wave from this member.
    fn hear(&mut self, id: u64, index: u64, level: i16) {
        let samples: Vec<i16> =
            (0..320).map(|k| if (k / 40) % 2 == 0 { level } else { -level }).collect();
        let mut payload = Vec::new();
        l16_encode(&samples, &mut payload);
        self.playback.handle(ToPlayback::Packet(Arrived {
            member: MemberId(id),
            ssrc: Ssrc(4 * id as u32),
            clock_hz: L16_RATE,
            packet: Packet {
                payload_type: PT_L16,
                index,
                timestamp: 320 * index as u32,
                marker: index == 0,
                duration: 320,
                payload,
            },
            at: self.now(),
        }));
    }

    fn render(&mut self, ms: u64) -> Vec<f32> {
        let from = self.mix.len();
        for _ in 0..2 * ms / 5 {
            self.us += 2500;
            let now = self.now();
            self.mix.extend_from_slice(self.playback.render(now));
        }
        self.mix[from..].to_vec()
    }

    /// All of these speak for as long.
    fn talk(&mut self, ids: std::ops::Range<u64>, ms: u64, level: i16) -> Vec<f32> {
        let from = self.mix.len();
        for _ in 0..ms / 20 {
            for id in ids.clone() {
                self.hear(id, self.us / 20_000, level);
            }
            self.render(20);
        }
        self.mix[from..].to_vec()
    }
}

fn peak(samples: &[f32]) -> f32 {
    samples.iter().fold(0.0, |m, s| m.max(s.abs()))
}

#[test]
fn a_crowd_at_full_scale_neither_wraps_nor_clips() {
    let mut rig = Rig::new();
    let mix = rig.talk(1..41, 400, i16::MAX);
    assert!(peak(&mix) <= 0.95, "{}", peak(&mix));
    assert!(peak(&mix[mix.len() / 2..]) > 0.5);
}

#[test]
fn a_leave_is_heard_within_ten_ms_and_told_once() {
    let mut rig = Rig::new();
    rig.talk(1..3, 300, 3000);
    rig.playback.take_events();
    rig.playback.handle(ToPlayback::Gone(MemberId(1)));
    rig.playback.handle(ToPlayback::Gone(MemberId(1)));
    rig.playback.handle(ToPlayback::Room(vec![MemberId(2)]));
    let expected = [VoiceEvent::Speaking { id: MemberId(1), on: false }];
    assert_eq!(rig.playback.take_events(), expected);
    rig.playback.handle(ToPlayback::Room(vec![]));
    rig.render(10);
    let after = rig.render(100);
    assert!(peak(&after) < 1e-3, "{}", peak(&after));
    assert!(rig.playback.figures().is_empty());
}

#[test]
fn deafened_hears_nothing_while_figures_and_events_go_on() {
    let mut rig = Rig::new();
    rig.playback.set_deafened(true);
    rig.render(10);
    let mix = rig.talk(1..2, 300, 10_000);
    assert_eq!(peak(&mix), 0.0);
    assert!(!rig.playback.take_events().is_empty());
    assert_eq!(rig.playback.figures()[0].received, 15);
    rig.playback.set_deafened(false);
    assert!(peak(&rig.render(20)) > 0.1);
}

#[test]
fn speakers_are_bounded_and_the_silent_make_room() {
    let mut rig = Rig::new();
    for id in 0..200 {
        rig.hear(id, 0, 100);
    }
    assert_eq!(rig.playback.figures().len(), SPEAKERS_MAX);
    // These have been here for longest and are silent; a new voice takes the place of one.
    rig.render(1000);
    rig.hear(777, 0, 100);
    let figures = rig.playback.figures();
    assert_eq!(figures.len(), SPEAKERS_MAX);
    assert!(figures.iter().any(|figure| figure.id == MemberId(777)));
}
