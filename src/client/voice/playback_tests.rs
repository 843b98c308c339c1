//! The playback core: who is heard, how loud, and who is told.

use super::VoiceEvent;
use super::jitter::Packet;
use super::opus::{Application, Encoder, Settings};
use super::playback::{Playback, ToPlayback};
use super::sounds::Sound;
use super::speaker::Arrived;
use crate::net::clock;
use crate::net::codec::{L16_RATE, OPUS_RATE, PT_L16, PT_OPUS, PT_RED, l16_encode};
use crate::net::ids::{MemberId, Ssrc};
use crate::net::limits::SPEAKERS_MAX;
use crate::net::red::{self, Block};
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

/// Opus packets of a steady tone in 10 ms frames, with a copy of the one before in each.
fn opus_tone(hz: f32, count: u32) -> Vec<Packet> {
    let mut encoder = Encoder::new(Application::Audio, Settings::default()).unwrap();
    let mut frames: Vec<Vec<u8>> = Vec::new();
    for k in 0..count {
        let sample = |n: u32| (n as f32 * hz / 48_000.0 * std::f32::consts::TAU).sin() * 0.3;
        let samples: Vec<f32> = (k * 480..(k + 1) * 480).map(sample).collect();
        frames.push(Vec::new());
        encoder.encode(&samples, frames.last_mut().unwrap()).unwrap();
    }
    let packet = |k: u32| {
        let block =
            |offset, k: u32| Block { payload_type: PT_OPUS, offset, data: &frames[k as usize] };
        let mut payload = Vec::new();
        let copies = [block(480, k.saturating_sub(1))];
        let copies = if k > 0 { &copies[..] } else { &[] };
        red::write(copies, block(0, k), &mut payload).unwrap();
        Packet {
            index: u64::from(k),
            timestamp: 77_000 + 480 * k,
            marker: k == 0,
            duration: 480,
            payload_type: PT_RED,
            payload,
        }
    };
    (0..count).map(packet).collect()
}

impl Rig {
    /// A packet of this stream of member 1, come now.
    fn take(&mut self, ssrc: u32, clock_hz: u32, packet: Packet) {
        let at = self.now();
        let (member, ssrc) = (MemberId(1), Ssrc(ssrc));
        self.playback.handle(ToPlayback::Packet(Arrived { member, ssrc, clock_hz, packet, at }));
    }
}

#[test]
fn a_change_of_codec_goes_on_where_the_other_stream_ended() {
    let mut rig = Rig::new();
    let tone =
        |n: u32| ((n as f32 * 440.0 / 16_000.0 * std::f32::consts::TAU).sin() * 9830.0) as i16;
    // Jitter lets the delay grow first: every fifth packet comes 40 ms late.
    let mut arrivals: Vec<(u32, u32, Packet)> = Vec::new();
    for k in 0..200u32 {
        let mut payload = Vec::new();
        let samples: Vec<i16> = (k * 160..(k + 1) * 160).map(tone).collect();
        l16_encode(&samples, &mut payload);
        let packet = Packet {
            index: u64::from(k),
            timestamp: 160 * k,
            marker: k == 0,
            duration: 160,
            payload_type: PT_L16,
            payload,
        };
        arrivals.push((k + 1 + if k % 5 == 0 { 4 } else { 0 }, 4, packet));
    }
    for k in 200..203 {
        let end = Packet {
            index: k,
            timestamp: 160 * 200,
            marker: false,
            duration: 0,
            payload_type: PT_L16,
            payload: Vec::new(),
        };
        arrivals.push((201, 4, end));
    }
    for (k, packet) in opus_tone(440.0, 100).into_iter().enumerate() {
        arrivals.push((201 + k as u32, 5, packet));
    }
    for ten_ms in 0..300 {
        for (_, ssrc, packet) in arrivals.extract_if(.., |(at, ..)| *at <= ten_ms) {
            let clock_hz = if ssrc == 4 { L16_RATE } else { OPUS_RATE };
            rig.take(ssrc, clock_hz, packet);
        }
        rig.render(10);
    }
    let around = &rig.mix[190 * 480..240 * 480];
    let quiet = around.chunks(240).filter(|part| peak(part) < 0.1).count();
    assert!(quiet <= 3, "{quiet} times 5 ms of silence");
    let click = around.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
    assert!(click < 0.05, "{click}");
    let told = rig.playback.take_events();
    assert_eq!(told, [VoiceEvent::Speaking { id: MemberId(1), on: true }], "and nobody stops");
}

#[test]
fn decoding_and_mixing_ten_speakers_allocates_nothing() {
    let mut rig = Rig::new();
    let packets = opus_tone(300.0, 300);
    let mut incoming: Vec<ToPlayback> = Vec::new();
    for (k, packet) in packets.iter().enumerate() {
        // One in ten is lost, and one in seventy with its copy.
        if k % 10 == 3 || k % 70 == 4 {
            continue;
        }
        for id in 1..11u64 {
            let at = rig.start + Duration::from_millis(10 * k as u64);
            let (member, ssrc) = (MemberId(id), Ssrc(4 * id as u32 + 1));
            let packet = packet.clone();
            let clock_hz = OPUS_RATE;
            incoming.push(ToPlayback::Packet(Arrived { member, ssrc, clock_hz, packet, at }));
        }
    }
    let at = |item: &ToPlayback| match item {
        ToPlayback::Packet(arrived) => arrived.at,
        _ => unreachable!(),
    };
    let mut incoming = incoming.into_iter().peekable();
    let (playback, start) = (&mut rig.playback, rig.start);
    let mut play = |from_us: u64, to_us: u64| {
        let mut sum = 0.0f32;
        for us in (from_us..to_us).step_by(2500) {
            let now = start + Duration::from_micros(us);
            while let Some(item) = incoming.next_if(|item| at(item) <= now) {
                playback.handle(item);
            }
            sum += peak(playback.render(now));
        }
        sum
    };
    play(0, 1_500_000);
    let mut heard = 0.0;
    let counted = allocation_counter::measure(|| heard = play(1_500_000, 2_900_000));
    assert!(heard > 100.0, "{heard}");
    assert_eq!(counted.count_total, 0, "{counted:?}");
    let figures = rig.playback.figures();
    assert_eq!(figures.len(), 10);
    assert!(figures.iter().all(|f| f.repaired_red > 20 && f.concealed > 0.0), "{figures:?}");
}

#[test]
fn who_is_deafened_hears_his_own_sounds_and_a_file_holds_none() {
    for device in [true, false] {
        let mut rig = Rig::new();
        if device {
            rig.playback = Playback::new(None).with_sounds();
        }
        rig.playback.set_deafened(true);
        rig.render(20);
        rig.playback.play_sound(Sound::Deafened);
        let mix = rig.render(200);
        assert_eq!(peak(&mix) > 0.02, device);
        assert!(peak(&mix) < 0.15, "{}", peak(&mix));
        assert_eq!(peak(&rig.render(50)), 0.0);
    }
}

#[test]
fn a_sound_allocates_nothing() {
    let mut playback = Playback::new(None).with_sounds();
    let now = clock::now();
    playback.render(now);
    let counted = allocation_counter::measure(|| {
        for k in 0..200 {
            if k % 30 == 0 {
                playback.play_sound(Sound::Muted);
                playback.play_sound(Sound::Unmuted);
            }
            playback.render(now);
        }
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

/// The largest step between two samples.
fn steepest(samples: &[f32]) -> f32 {
    samples.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max)
}

impl Rig {
    /// 10 ms of a loud tone in L16 from this member, which makes a talkspurt from frame `first` on, and what is
    /// played meanwhile.
    fn tone(&mut self, frame: u32, first: u32) {
        let sample =
            |k: u32| ((k as f32 * 300.0 / 16e3 * std::f32::consts::TAU).sin() * 20_000.0) as i16;
        let samples: Vec<i16> = (frame * 160..(frame + 1) * 160).map(sample).collect();
        let mut payload = Vec::new();
        l16_encode(&samples, &mut payload);
        let packet = Packet {
            index: u64::from(frame),
            timestamp: 160 * frame,
            marker: frame == first,
            duration: 160,
            payload_type: PT_L16,
            payload,
        };
        self.take(4, L16_RATE, packet);
        self.render(10);
    }

    /// The talkspurt ends before this frame.
    fn end(&mut self, frame: u32) {
        for k in 0..3 {
            let packet = Packet {
                index: u64::from(frame + k),
                timestamp: 160 * frame,
                marker: false,
                duration: 0,
                payload_type: PT_L16,
                payload: Vec::new(),
            };
            self.take(4, L16_RATE, packet);
        }
    }
}

/// What a tone of 300 Hz at this amplitude rises by from sample to sample at most, and a little more for the
/// fades of 5 ms upon it.
const TONE_STEP: f32 = 20_000.0 / 32_768.0 * (300.0 * std::f32::consts::TAU / 48e3 + 1.0 / 120.0);

#[test]
fn a_loud_tone_clicks_neither_where_a_talkspurt_begins_nor_where_it_ends() {
    let mut rig = Rig::new();
    // Cut in and out at its crest: the tone has 160 / 3 samples to a wave.
    for first in [0, 41, 83] {
        for frame in first..first + 30 {
            rig.tone(frame, first);
        }
        rig.end(first + 30);
        rig.render(120);
    }
    assert!(peak(&rig.mix) > 0.5);
    assert!(steepest(&rig.mix) < TONE_STEP, "{}", steepest(&rig.mix));
}

#[test]
fn a_loud_tone_clicks_neither_where_he_leaves_nor_where_we_are_deafened() {
    for cut in 30..34 {
        let mut rig = Rig::new();
        for frame in 0..60 {
            match frame {
                f if f == cut => rig.playback.set_deafened(true),
                f if f == cut + 8 => rig.playback.set_deafened(false),
                55 => drop(rig.playback.handle(ToPlayback::Gone(MemberId(1)))),
                _ => {}
            }
            match frame {
                ..55 => rig.tone(frame, 0),
                _ => drop(rig.render(10)),
            }
        }
        assert!(peak(&rig.mix) > 0.5);
        assert!(steepest(&rig.mix) < TONE_STEP, "{cut}: {}", steepest(&rig.mix));
        assert_eq!(peak(&rig.mix[rig.mix.len() - 480..]), 0.0);
    }
}

#[test]
fn a_volume_that_changes_does_not_click_for_one_with_two_streams() {
    let mut rig = Rig::new();
    // His other stream is silent by now.
    let silent = opus_tone(300.0, 1).remove(0);
    rig.take(5, OPUS_RATE, silent);
    rig.render(500);
    for frame in 0..60 {
        let volume = if (20..40).contains(&frame) { 0.0 } else { 1.0 };
        rig.playback.set_loudness([(MemberId(1), volume)].into(), false);
        rig.tone(frame, 0);
    }
    let mix = &rig.mix[24_000..];
    assert!(peak(mix) > 0.5);
    assert!(steepest(mix) < TONE_STEP, "{}", steepest(mix));
}

#[test]
fn who_is_ignored_is_not_heard_however_many_have_spoken_before() {
    let mut rig = Rig::new();
    rig.playback.set_loudness([(MemberId(900), 0.0)].into(), true);
    for id in 0..4 * SPEAKERS_MAX as u64 {
        for frame in 0..3 {
            rig.hear(id, frame, 3000);
            rig.render(20);
        }
    }
    rig.render(2000);
    let before = rig.mix.len();
    for frame in 0..20 {
        rig.hear(900, frame, 20_000);
        rig.render(20);
    }
    assert_eq!(peak(&rig.mix[before..]), 0.0);
}
