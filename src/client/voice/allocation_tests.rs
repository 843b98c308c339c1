//! Once everybody has been heard, nothing is allocated between the datagram and the mix, whatever the network does.

use super::jitter::Packet;
use super::link::{Action, Link, Way};
use super::opus::{Application, Bandwidth, Encoder, Settings};
use super::playback::{Playback, ToPlayback};
use super::speaker::Arrived;
use super::{SpeakerStats, VoiceSession};
use crate::net::clock;
use crate::net::codec::{L16_RATE, OPUS_RATE, PT_L16, PT_OPUS, PT_RED, PayloadType, l16_encode};
use crate::net::ids::{MemberId, PacketIndex, Ssrc};
use crate::net::message::{MemberInfo, Protection, StreamGrant, StreamInfo};
use crate::net::name::UserName;
use crate::net::protect::Sealer;
use crate::net::red::{self, Block};
use crate::net::rtp::RtpHeader;
use crate::net::secret::Secret;
use std::time::{Duration, Instant};

/// How long everybody speaks, and from when on allocations are counted.
const LENGTH_MS: u32 = 12_000;
const WARM_MS: u64 = 6000;
/// Opus is encoded for so long, and then again from its beginning.
const LOOP_MS: u32 = 4000;

/// How a speaker sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// Opus with a copy of the frame before.
    Red,
    /// Opus with in-band FEC, in frames of 20 ms.
    Lbrr,
    /// Opus with deep redundancy, in frames of 20 ms.
    Dred,
    /// L16 with a copy of the frame before.
    Pcm,
}

/// Numbers that look like chance, 0 to 1.
struct Random(u32);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(self.0 >> 8) / f64::from(1 << 24)
    }
}

impl How {
    fn frame_ms(self) -> u32 {
        match self {
            Self::Red | Self::Pcm => 10,
            Self::Lbrr | Self::Dred => 20,
        }
    }

    fn clock_hz(self) -> u32 {
        if self == Self::Pcm { L16_RATE } else { OPUS_RATE }
    }

    /// Something like a voice of this pitch and loudness with pauses, encoded frame by frame.
    fn encode(self, hz: f32, loud: f32) -> Vec<Vec<u8>> {
        let base = Settings::default();
        let settings = match self {
            Self::Red | Self::Pcm => base,
            Self::Lbrr => Settings {
                bitrate: 28_000,
                bandwidth: Bandwidth::Wide,
                fec: true,
                loss_percent: 15,
                ..base
            },
            Self::Dred => Settings { bitrate: 40_000, dred_ms: 300, loss_percent: 20, ..base },
        };
        let mut encoder = Encoder::new(Application::Audio, settings).unwrap();
        let length = (self.frame_ms() * self.clock_hz() / 1000) as usize;
        let sample = |k: usize| {
            let t = k as f32 / self.clock_hz() as f32;
            let turn = (t * hz).fract() - 0.5;
            if t.fract() < 0.8 { turn * loud } else { 0.0 }
        };
        let frames = (LOOP_MS / self.frame_ms()) as usize;
        (0..frames)
            .map(|k| {
                let samples: Vec<f32> = (k * length..(k + 1) * length).map(sample).collect();
                let mut payload = Vec::new();
                if self == Self::Pcm {
                    let words: Vec<i16> = samples.iter().map(|s| (s * 32767.0) as i16).collect();
                    l16_encode(&words, &mut payload);
                } else {
                    encoder.encode(&samples, &mut payload).unwrap();
                }
                payload
            })
            .collect()
    }

    /// All packets of a speaker.
    fn packets(self, hz: f32, loud: f32) -> Vec<Packet> {
        let frames = self.encode(hz, loud);
        let own_type: PayloadType = if self == Self::Pcm { PT_L16 } else { PT_OPUS };
        let units = self.frame_ms() * self.clock_hz() / 1000;
        let copies = matches!(self, Self::Red | Self::Pcm);
        (0..LENGTH_MS / self.frame_ms())
            .map(|k| {
                let own = &frames[k as usize % frames.len()];
                let block = |offset, data| Block { payload_type: own_type, offset, data };
                let mut payload = own.clone();
                if copies && k > 0 {
                    let before = &frames[(k as usize - 1) % frames.len()];
                    payload.clear();
                    red::write(&[block(units, before)], block(0, own), &mut payload).unwrap();
                }
                Packet {
                    index: u64::from(k),
                    timestamp: 77_000 + units * k,
                    marker: k == 0,
                    duration: units,
                    payload_type: if copies && k > 0 { PT_RED } else { own_type },
                    payload,
                }
            })
            .collect()
    }
}

/// Ten speakers of all kinds on a network that loses one packet in ten and, now and then, four in a row,
/// and holds others up by 12 ms at most. They speak 0.2 % too fast, so that playout must be shortened, and
/// not equally loud. When it comes, in us, and what.
fn ten_speakers(start: Instant, hows: [How; 10]) -> Vec<(u64, Arrived)> {
    let mut random = Random(5);
    let mut all = Vec::new();
    for (k, how) in hows.into_iter().enumerate() {
        let (id, loud) = (k as u64 + 1, if k % 2 == 0 { 0.02 } else { 0.3 });
        let packets = how.packets(110.0 + 13.0 * k as f32, loud);
        for packet in packets {
            let gone = random.unit() < 0.1 || packet.index % 50 < 4;
            let left = f64::from(how.frame_ms()) * packet.index as f64 * 998.0;
            let us = (left + random.unit() * 12_000.0) as u64;
            let first = packet.index < 4;
            if first || !gone {
                let (member, ssrc) = (MemberId(id), Ssrc(4 * id as u32 + 1));
                let at = start + Duration::from_micros(us);
                all.push((us, Arrived { member, ssrc, clock_hz: how.clock_hz(), packet, at }));
            }
        }
    }
    all.sort_by_key(|(us, _)| *us);
    all
}

const MIXED: [How; 10] = {
    use How::{Dred, Lbrr, Pcm, Red};
    [Red, Red, Red, Red, Lbrr, Lbrr, Dred, Dred, Pcm, Pcm]
};

/// Plays what came until then: the mix's peaks summed up.
fn play(
    playback: &mut Playback,
    start: Instant,
    ms: std::ops::Range<u64>,
    mut take: impl FnMut(u64, &mut Playback),
) -> f32 {
    let mut sum = 0.0;
    for us in (ms.start * 1000..ms.end * 1000).step_by(2500) {
        take(us, playback);
        let mix = playback.render(start + Duration::from_micros(us));
        sum += mix.iter().fold(0.0f32, |most, sample| most.max(sample.abs()));
    }
    sum
}

fn sums(figures: &[SpeakerStats], value: impl Fn(&SpeakerStats) -> u64) -> u64 {
    figures.iter().map(value).sum()
}

#[test]
fn whatever_stands_in_for_what_is_lost_decoding_and_mixing_allocates_nothing() {
    let (mut playback, start) = (Playback::new(None), clock::now());
    let mut incoming = ten_speakers(start, MIXED).into_iter().peekable();
    let mut take = |us: u64, playback: &mut Playback| {
        while let Some((_, arrived)) = incoming.next_if(|(at, _)| *at <= us) {
            playback.handle(ToPlayback::Packet(arrived));
        }
    };
    play(&mut playback, start, 0..WARM_MS, &mut take);
    let before = playback.figures();
    let (mut heard, end) = (0.0, u64::from(LENGTH_MS) - 100);
    let counted = allocation_counter::measure(|| {
        heard = play(&mut playback, start, WARM_MS..end, &mut take);
    });
    assert!(heard > 100.0, "{heard}");
    assert_eq!(counted.count_total, 0, "{counted:?}");
    // Every rung was used meanwhile.
    let after = playback.figures();
    let used = |value: fn(&SpeakerStats) -> u64| sums(&after, value) - sums(&before, value);
    let used = [
        used(|f| f.repaired_red),
        used(|f| f.repaired_fec),
        used(|f| f.repaired_dred),
        used(|f| f.lost),
    ];
    println!("RED, LBRR, DRED, lost: {used:?}");
    assert!(used.iter().all(|count| *count > 10), "{used:?}");
    assert!(after.len() == 10 && after.iter().all(|f| f.concealed > 0.0), "{after:?}");
}

#[test]
fn ten_speakers_of_pcm_allocate_nothing_either() {
    let (mut playback, start) = (Playback::new(None), clock::now());
    let mut incoming = ten_speakers(start, [How::Pcm; 10]).into_iter().peekable();
    let mut take = |us: u64, playback: &mut Playback| {
        while let Some((_, arrived)) = incoming.next_if(|(at, _)| *at <= us) {
            playback.handle(ToPlayback::Packet(arrived));
        }
    };
    play(&mut playback, start, 0..WARM_MS, &mut take);
    let counted = allocation_counter::measure(|| {
        play(&mut playback, start, WARM_MS..u64::from(LENGTH_MS) - 100, &mut take);
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

const CONTROL: Ssrc = Ssrc(2);

/// A link in a room with ten others.
fn link(hows: [How; 10], start: Instant) -> Link {
    let mut link = Link::default();
    let session = VoiceSession {
        id: MemberId(100),
        server: ([127, 0, 0, 1], 9).into(),
        protection: Protection::AeadAes128Gcm,
        up_key: Secret::new([1; 28]),
        down_key: Secret::new([2; 28]),
        streams: vec![StreamGrant { ssrc: Ssrc(3), clock_hz: OPUS_RATE }],
        control_ssrc: CONTROL,
    };
    link.allow_stream(false, start);
    assert!(link.connect(&session, start));
    let member = |(k, how): (usize, How)| MemberInfo {
        id: MemberId(k as u64 + 1),
        name: UserName::parse(&format!("u{k}")).unwrap(),
        muted: false,
        deafened: false,
        recording: false,
        speaking: false,
        silenced: false,
        role: None,
        streams: vec![StreamInfo {
            ssrc: Ssrc(4 * (k as u32 + 1) + 1),
            clock_hz: how.clock_hz(),
            payload_type: None,
            roc: 0,
            seq: None,
        }],
    };
    let members: Vec<MemberInfo> = hows.into_iter().enumerate().map(member).collect();
    link.enter_room(&members, start);
    link
}

#[test]
fn from_the_datagram_to_the_mix_nothing_is_allocated_for_a_packet() {
    let start = clock::now();
    let (mut playback, mut link) = (Playback::new(None), link(MIXED, start));
    let sealer = Sealer::new(Protection::AeadAes128Gcm, &Secret::new([2; 28])).unwrap();
    let sealed = |(us, arrived): (u64, Arrived)| {
        let Packet { index, timestamp, marker, payload_type, payload, .. } = arrived.packet;
        let (index, ssrc) = (PacketIndex(index), arrived.ssrc);
        let seq = index.seq();
        let header = RtpHeader { marker, payload_type, seq, timestamp, ssrc, audio_level: None };
        let mut packet = Vec::new();
        header.write(&mut packet);
        packet.extend(payload);
        let mut out = Vec::new();
        sealer.seal_rtp(&packet, index, &mut out).unwrap();
        (us, out)
    };
    let incoming: Vec<_> = ten_speakers(start, MIXED).into_iter().map(sealed).collect();
    let mut incoming = incoming.into_iter().peekable();
    let mut actions = Vec::new();
    let mut take = |us: u64, playback: &mut Playback| {
        while let Some((at, mut datagram)) = incoming.next_if(|(at, _)| *at <= us) {
            let at = start + Duration::from_micros(at);
            link.datagram(Way::Datagram, &mut datagram, at);
            link.swap_actions(&mut actions);
            for action in actions.drain(..) {
                if let Action::Play(item) = action
                    && let Some(payload) = playback.handle(item)
                {
                    link.recycle(payload);
                }
            }
        }
    };
    play(&mut playback, start, 0..WARM_MS, &mut take);
    let end = u64::from(LENGTH_MS) - 100;
    let counted = allocation_counter::measure(|| {
        play(&mut playback, start, WARM_MS..end, &mut take);
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
    assert!(playback.figures().iter().all(|f| f.received > 400), "{:?}", playback.figures());
}
