//! The link core against a hand-made server, in virtual time.

use super::link::{Action, LastSent, Link, Sent, Way};
use super::playback::ToPlayback;
use super::redundancy::Conditions;
use super::{VoiceEvent, VoicePath, VoiceSession};
use crate::net::clock;
use crate::net::codec::PT_L16;
use crate::net::ids::{MemberId, PacketIndex, Ssrc};
use crate::net::limits::UNKNOWN_STREAM_PACKETS_MAX;
use crate::net::message::{MemberInfo, Protection, StreamGrant, StreamInfo};
use crate::net::name::UserName;
use crate::net::protect::{Opener, Sealer};
use crate::net::rtcp::{self, App, Probe, ReportBlock, RtcpPacket, SenderInfo};
use crate::net::rtp::{self, RtpHeader};
use crate::net::secret::Secret;
use std::time::{Duration, Instant};

const PROTECTION: Protection = Protection::AeadAes128Gcm;
const OURS: Ssrc = Ssrc(40);
const CONTROL: Ssrc = Ssrc(42);
const THEIRS: Ssrc = Ssrc(80);

struct Rig {
    link: Link,
    start: Instant,
    control_index: u64,
    probes: u8,
}

impl Rig {
    fn new() -> Self {
        let start = clock::now();
        let mut rig = Self { link: Link::default(), start, control_index: 0, probes: 0 };
        rig.link.allow_stream(false, start);
        assert!(rig.link.connect(&session(), start));
        rig
    }

    /// In a room with one other.
    fn in_room() -> Self {
        let mut rig = Self::new();
        rig.link.enter_room(&[member(1, OURS, None), member(2, THEIRS, None)], rig.start);
        rig.link.take_actions();
        rig
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn tick(&mut self, ms: u64, sent: Sent) -> Vec<Action> {
        let now = self.at(ms);
        let probes = &mut self.probes;
        let mut fresh = || -> Probe {
            *probes += 1;
            [*probes; 8]
        };
        self.link.tick(sent, now, &mut fresh);
        self.link.take_actions()
    }

    fn control(&mut self, ms: u64, packet: &[u8]) -> Vec<Action> {
        let mut sealed = Vec::new();
        let index = PacketIndex(self.control_index);
        down().seal_rtcp(packet, index, &mut sealed).unwrap();
        self.control_index += 1;
        let now = self.at(ms);
        self.link.datagram(Way::Datagram, &mut sealed, now);
        self.link.take_actions()
    }

    fn app(&mut self, ms: u64, app: App) -> Vec<Action> {
        let mut packet = Vec::new();
        rtcp::write_app(&mut packet, CONTROL, app);
        self.control(ms, &packet)
    }

    fn voice(&mut self, ms: u64, datagram: &[u8]) -> Vec<Action> {
        let now = self.at(ms);
        self.link.datagram(Way::Datagram, &mut datagram.to_vec(), now);
        self.link.take_actions()
    }

    /// Proves the path: the first probe is answered at once.
    fn prove(&mut self) {
        let asked = probes(&self.tick(0, Sent::default()));
        let actions = self.app(10, App::KeepaliveAnswer(asked[0]));
        assert_eq!(actions, [Action::Tell(VoiceEvent::Path(VoicePath::Udp))]);
    }
}

fn last(timestamp: u32, at: Instant) -> LastSent {
    LastSent { ssrc: OURS, clock_hz: 16_000, timestamp, at, packets: 50, octets: 32_000 }
}

fn session() -> VoiceSession {
    VoiceSession {
        id: MemberId(1),
        server: ([127, 0, 0, 1], 9).into(),
        protection: PROTECTION,
        up_key: Secret::new([1; 28]),
        down_key: Secret::new([2; 28]),
        streams: vec![StreamGrant { ssrc: OURS, clock_hz: 16_000 }],
        control_ssrc: CONTROL,
    }
}

fn member(id: u64, ssrc: Ssrc, far: Option<(u32, u16)>) -> MemberInfo {
    MemberInfo {
        id: MemberId(id),
        name: UserName::parse(&format!("u{id}")).unwrap(),
        muted: false,
        deafened: false,
        recording: false,
        speaking: false,
        silenced: false,
        role: None,
        streams: vec![StreamInfo {
            ssrc,
            clock_hz: 16_000,
            payload_type: None,
            roc: far.map_or(0, |(roc, _)| roc),
            seq: far.map(|(_, seq)| seq),
        }],
    }
}

fn down() -> Sealer {
    Sealer::new(PROTECTION, &Secret::new([2; 28])).unwrap()
}

/// A sealed voice packet.
fn voice(ssrc: Ssrc, seq: u16, timestamp: u32) -> Vec<u8> {
    voice_of(ssrc, PacketIndex::new(0, seq), timestamp)
}

fn voice_of(ssrc: Ssrc, index: PacketIndex, timestamp: u32) -> Vec<u8> {
    let seq = index.seq();
    let header =
        RtpHeader { marker: false, payload_type: PT_L16, seq, timestamp, ssrc, audio_level: None };
    let mut packet = Vec::new();
    header.write(&mut packet);
    packet.extend([1, 2, 3, 4]);
    let mut sealed = Vec::new();
    down().seal_rtp(&packet, index, &mut sealed).unwrap();
    sealed
}

/// The control packets among what is sent.
fn opened(actions: &[Action]) -> Vec<(PacketIndex, Vec<u8>)> {
    let opener = Opener::new(PROTECTION, &Secret::new([1; 28])).unwrap();
    let sent = actions.iter().filter_map(|action| match action {
        Action::Send(_, datagram) => Some(datagram.clone()),
        _ => None,
    });
    sent.map(|mut datagram| {
        assert!(rtp::is_rtcp(&datagram));
        let (packet, index) = opener.open_rtcp(&mut datagram).unwrap();
        (index, packet.to_vec())
    })
    .collect()
}

fn probes(actions: &[Action]) -> Vec<Probe> {
    let mut all = Vec::new();
    for (_, packet) in opened(actions) {
        for packet in rtcp::packets(&packet).flatten() {
            if let RtcpPacket::App { ssrc, app: App::Keepalive(probe) } = packet {
                assert_eq!(ssrc, OURS);
                all.push(probe);
            }
        }
    }
    all
}

fn played(actions: &[Action]) -> Vec<(MemberId, u64)> {
    let packets = actions.iter().filter_map(|action| match action {
        Action::Play(ToPlayback::Packet(arrived)) => Some((arrived.member, arrived.packet.index)),
        _ => None,
    });
    packets.collect()
}

#[test]
fn probes_go_out_at_once_and_until_one_is_answered() {
    let mut rig = Rig::new();
    let counts: Vec<_> =
        [0, 50, 100, 150, 200].map(|ms| probes(&rig.tick(ms, Sent::default())).len()).into();
    assert_eq!(counts, [1, 0, 1, 0, 1]);
    let actions = rig.app(320, App::KeepaliveAnswer([3; 8]));
    assert_eq!(actions, [Action::Tell(VoiceEvent::Path(VoicePath::Udp))]);
    assert!((rig.link.figures().round_trip_ms.unwrap() - 120.0).abs() < 1.0);
    let quiet: Vec<_> =
        (13..212).map(|k| probes(&rig.tick(k * 25, Sent::default())).len()).collect();
    assert_eq!(quiet.iter().sum::<usize>(), 0);
    assert_eq!(probes(&rig.tick(5325, Sent::default())).len(), 1);
}

#[test]
fn an_answer_to_what_was_never_asked_proves_nothing() {
    let mut rig = Rig::new();
    rig.tick(0, Sent::default());
    assert_eq!(rig.app(5, App::KeepaliveAnswer([77; 8])), []);
    assert_eq!(rig.link.path(), VoicePath::None);
}

#[test]
fn a_challenge_is_sent_back_and_followed_by_a_probe() {
    let mut rig = Rig::new();
    rig.tick(0, Sent::default());
    let actions = rig.app(5, App::Challenge([9; 8]));
    let packets = opened(&actions);
    let mut expected = Vec::new();
    rtcp::write_app(&mut expected, OURS, App::ChallengeAnswer([9; 8]));
    assert_eq!(packets.iter().map(|(_, p)| p.clone()).collect::<Vec<_>>(), [expected]);
    assert_eq!(probes(&rig.tick(6, Sent::default())).len(), 1);
}

#[test]
fn sealed_control_packets_never_use_an_index_twice() {
    let mut rig = Rig::new();
    let mut indices = Vec::new();
    for k in 0..20 {
        indices.extend(opened(&rig.tick(k * 250, Sent::default())));
        if k == 10 {
            let now = rig.at(k * 250);
            assert!(rig.link.connect(&session(), now));
        }
    }
    assert!(indices.len() > 10);
    assert!(indices.windows(2).all(|w| w[0].0 < w[1].0));
}

#[test]
fn a_path_that_goes_silent_is_given_up_and_comes_back() {
    let mut rig = Rig::new();
    rig.prove();
    let mut told = Vec::new();
    let mut last = Vec::new();
    for k in 1..400 {
        let actions = rig.tick(k * 25, Sent::default());
        last.extend(probes(&actions));
        for action in actions {
            if let Action::Tell(event) = action {
                told.push((k * 25, event));
            }
        }
    }
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].1, VoiceEvent::Path(VoicePath::None));
    assert!((6000..7500).contains(&told[0].0), "{told:?}");
    let probe = *last.last().unwrap();
    let actions = rig.app(10_010, App::KeepaliveAnswer(probe));
    assert_eq!(actions, [Action::Tell(VoiceEvent::Path(VoicePath::Udp))]);
}

/// The wishes among what is sent: by which way, and whether for the stream.
fn wishes(actions: &[Action]) -> Vec<(Way, bool)> {
    let opener = Opener::new(PROTECTION, &Secret::new([1; 28])).unwrap();
    let mut all = Vec::new();
    for action in actions {
        let Action::Send(way, datagram) = action else { continue };
        let mut datagram = datagram.clone();
        let (packet, _) = opener.open_rtcp(&mut datagram).unwrap();
        for packet in rtcp::packets(packet).flatten() {
            if let RtcpPacket::App { app: App::Path { stream }, .. } = packet {
                all.push((*way, stream));
            }
        }
    }
    all
}

impl Rig {
    /// Proven, in a room with one other, the stream allowed.
    fn ready() -> Self {
        let mut rig = Self::in_room();
        let now = rig.start;
        rig.link.allow_stream(true, now);
        rig.prove();
        rig
    }

    /// Until the first tick whose path is this one: when, and what that tick did.
    fn until(&mut self, path: VoicePath, from: u64) -> (u64, Vec<Action>) {
        for ms in (from..from + 10_000).step_by(25) {
            let actions = self.tick(ms, Sent::default());
            if self.link.path() == path {
                return (ms, actions);
            }
        }
        panic!("never {path:?}");
    }

    fn says_that_he_speaks(&mut self, ms: u64) {
        let now = self.at(ms);
        let speaking = MemberInfo { speaking: true, ..member(2, THEIRS, None) };
        self.link.member(&speaking, now);
        self.link.take_actions();
    }
}

#[test]
fn news_of_a_speaker_whom_nothing_is_heard_of_leads_to_the_stream_and_the_server_is_told_both_ways()
{
    let mut rig = Rig::ready();
    rig.says_that_he_speaks(2000);
    let (ms, actions) = rig.until(VoicePath::Stream, 2000);
    assert!(ms < 2700, "after {} ms", ms - 2000);
    assert!(actions.contains(&Action::Tell(VoiceEvent::Path(VoicePath::Stream))));
    let wishes = wishes(&actions);
    assert!(wishes.contains(&(Way::Stream, true)) && wishes.contains(&(Way::Datagram, true)));
    assert!(!wishes.iter().any(|(_, stream)| !stream), "{wishes:?}");
}

#[test]
fn a_wish_for_the_stream_is_repeated_inside_it() {
    let mut rig = Rig::ready();
    rig.says_that_he_speaks(2000);
    let (from, _) = rig.until(VoicePath::Stream, 2000);
    let mut count = 0;
    for ms in (from + 25..from + 2025).step_by(25) {
        let actions = rig.tick(ms, Sent::default());
        count += wishes(&actions).iter().filter(|wish| **wish == (Way::Stream, true)).count();
    }
    assert!((3..=5).contains(&count), "{count} in two seconds");
}

#[test]
fn voice_that_still_comes_through_the_stream_has_the_wish_for_datagrams_said_again() {
    let mut rig = Rig::ready();
    let quiet = rig.tick(700, Sent::default());
    assert_eq!(wishes(&quiet), []);
    let now = rig.at(710);
    rig.link.datagram(Way::Stream, &mut voice(THEIRS, 9, 0), now);
    assert_eq!(played(&rig.link.take_actions()), [(MemberId(2), 9)]);
    let actions = rig.tick(725, Sent::default());
    assert!(wishes(&actions).contains(&(Way::Stream, false)), "{:?}", wishes(&actions));
}

#[test]
fn what_came_one_way_is_not_played_again_when_it_comes_the_other_way() {
    let mut rig = Rig::ready();
    let datagram = voice(THEIRS, 100, 0);
    assert_eq!(played(&rig.voice(0, &datagram)), [(MemberId(2), 100)]);
    let now = rig.at(1);
    rig.link.datagram(Way::Stream, &mut datagram.clone(), now);
    assert_eq!(played(&rig.link.take_actions()), []);
}

#[test]
fn while_voice_goes_through_the_stream_reports_do_too_and_probes_do_not() {
    let mut rig = Rig::ready();
    rig.says_that_he_speaks(2000);
    let (from, _) = rig.until(VoicePath::Stream, 2000);
    let now = rig.at(from + 10);
    rig.link.datagram(Way::Stream, &mut voice(THEIRS, 9, 0), now);
    rig.link.take_actions();
    let (mut reports, mut asked) = (Vec::new(), 0);
    for ms in (from + 25..from + 525).step_by(25) {
        for action in rig.tick(ms, Sent::default()) {
            let Action::Send(way, _) = &action else { continue };
            for (_, packet) in opened(std::slice::from_ref(&action)) {
                for packet in rtcp::packets(&packet).flatten() {
                    match packet {
                        RtcpPacket::Receiver { .. } => reports.push(*way),
                        RtcpPacket::App { app: App::Keepalive(_), .. } => {
                            assert_eq!(*way, Way::Datagram);
                            asked += 1;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    assert_eq!(reports, [Way::Stream]);
    assert!(asked > 1);
}

#[test]
fn an_answer_that_came_through_the_stream_proves_no_datagrams() {
    let mut rig = Rig::new();
    let asked = probes(&rig.tick(0, Sent::default()));
    let mut packet = Vec::new();
    rtcp::write_app(&mut packet, CONTROL, App::KeepaliveAnswer(asked[0]));
    let mut sealed = Vec::new();
    down().seal_rtcp(&packet, PacketIndex(0), &mut sealed).unwrap();
    let now = rig.at(5);
    rig.link.datagram(Way::Stream, &mut sealed, now);
    assert_eq!(rig.link.take_actions(), []);
    assert_eq!(rig.link.path(), VoicePath::None);
}

#[test]
fn only_authentic_voice_of_known_members_is_played_and_only_once() {
    let mut rig = Rig::in_room();
    let datagram = voice(THEIRS, 100, 0);
    assert_eq!(played(&rig.voice(0, &datagram)), [(MemberId(2), 100)]);
    assert_eq!(played(&rig.voice(1, &datagram)), []);
    let mut forged = voice(THEIRS, 101, 0);
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(played(&rig.voice(2, &forged)), []);
    assert_eq!(played(&rig.voice(3, &voice(OURS, 5, 0))), []);
    for length in 0..datagram.len() {
        rig.voice(4, &datagram[..length]);
    }
    assert_eq!(rig.link.figures().received, 1);
    assert_eq!(rig.link.figures().dropped, 3 + datagram.len() as u64);
}

#[test]
fn roll_over_counters_start_where_the_server_says() {
    let mut rig = Rig::new();
    rig.link.enter_room(&[member(2, THEIRS, Some((3, 0xfffe)))], rig.start);
    rig.link.take_actions();
    for index in [0x3_ffff, 0x4_0002, 0x4_0001] {
        let datagram = voice_of(THEIRS, PacketIndex(index), 0);
        assert_eq!(played(&rig.voice(0, &datagram)), [(MemberId(2), index)]);
    }
    // Later news of what we know already changes nothing.
    let now = rig.start;
    rig.link.member(&member(2, THEIRS, Some((3, 0xffff))), now);
    let datagram = voice_of(THEIRS, PacketIndex(0x4_0003), 0);
    assert_eq!(played(&rig.voice(0, &datagram)), [(MemberId(2), 0x4_0003)]);
}

#[test]
fn voice_ahead_of_its_name_is_held_briefly_and_bounded() {
    let mut rig = Rig::new();
    assert_eq!(played(&rig.voice(0, &voice(THEIRS, 7, 0))), []);
    assert_eq!(played(&rig.voice(20, &voice(THEIRS, 8, 320))), []);
    assert_eq!(played(&rig.voice(20, &voice(THEIRS, 8, 320))), []);
    let now = rig.at(150);
    rig.link.member(&member(2, THEIRS, None), now);
    let expected = [(MemberId(2), 7), (MemberId(2), 8)];
    assert_eq!(played(&rig.link.take_actions()), expected);

    // Too late.
    rig.voice(1000, &voice(Ssrc(120), 7, 0));
    rig.tick(1250, Sent::default());
    let now = rig.at(1251);
    rig.link.member(&member(3, Ssrc(120), None), now);
    assert_eq!(played(&rig.link.take_actions()), []);

    // Too many.
    for k in 0..200 {
        rig.voice(2000, &voice(Ssrc(160 + 4 * k), 7, 0));
    }
    for k in 0..200 {
        let now = rig.at(2001);
        rig.link.member(&member(10 + u64::from(k), Ssrc(160 + 4 * k), None), now);
    }
    assert_eq!(played(&rig.link.take_actions()).len(), UNKNOWN_STREAM_PACKETS_MAX);
}

#[test]
fn nobody_who_has_left_is_heard() {
    let mut rig = Rig::in_room();
    rig.link.member_left(MemberId(2));
    assert_eq!(rig.link.take_actions(), [Action::Play(ToPlayback::Gone(MemberId(2)))]);
    assert_eq!(played(&rig.voice(0, &voice(THEIRS, 1, 0))), []);

    let mut rig = Rig::in_room();
    rig.link.enter_room(&[member(1, OURS, None), member(3, Ssrc(120), None)], rig.start);
    assert_eq!(
        rig.link.take_actions(),
        [Action::Play(ToPlayback::Room(vec![MemberId(1), MemberId(3)]))]
    );
    assert_eq!(played(&rig.voice(0, &voice(THEIRS, 1, 0))), []);
    rig.link.disconnect();
    assert_eq!(rig.link.take_actions(), [Action::Play(ToPlayback::Room(vec![]))]);
    assert_eq!(rig.tick(1000, Sent::default()), []);
}

#[test]
fn reports_tell_loss_and_nothing_is_reported_in_silence() {
    let mut rig = Rig::in_room();
    rig.prove();
    for seq in [10u16, 11, 13, 14] {
        rig.voice(100, &voice(THEIRS, seq, 320 * u32::from(seq)));
    }
    let reports = opened(&rig.tick(300, Sent::default()));
    let [(_, report)] = reports.as_slice() else { panic!("{reports:?}") };
    let packets: Vec<_> = rtcp::packets(report).flatten().collect();
    let [RtcpPacket::Receiver { ssrc, blocks }] = packets.as_slice() else { panic!("{packets:?}") };
    assert_eq!(*ssrc, OURS);
    let blocks: Vec<_> = blocks.collect();
    // The missing one may have been overtaken only.
    assert_eq!((blocks[0].ssrc, blocks[0].fraction_lost), (THEIRS, 0));
    assert_eq!((blocks[0].cumulative_lost, blocks[0].highest_seq), (1, 14));
    // Other packets overtake the lost one: its loss is told beside the block, and how long it was.
    for seq in 15u16..25 {
        rig.voice(310, &voice(THEIRS, seq, 320 * u32::from(seq)));
    }
    let reports = opened(&rig.tick(560, Sent::default()));
    let packets: Vec<_> = rtcp::packets(&reports[1].1).flatten().collect();
    let [_, RtcpPacket::App { app: App::Losses { ssrc, share, burst_ms }, .. }] = packets[..]
    else {
        panic!("{packets:?}")
    };
    assert_eq!((ssrc, burst_ms), (THEIRS, 20));
    assert!(share > 0);
    // The talkspurt was not ended: a probe asks where its voice has gone, and nothing is reported.
    let quiet = rig.tick(900, Sent::default());
    assert_eq!((opened(&quiet).len(), probes(&quiet).len()), (1, 1));

    // We speak: a sender report, on our stream's clock.
    let sent = Sent { packets: 50, last: Some(last(16_000, rig.at(1100))), ..Sent::default() };
    // Nothing has come for a while: a probe goes first.
    let reports = opened(&rig.tick(1200, sent));
    let packets: Vec<_> = rtcp::packets(&reports[1].1).flatten().collect();
    let [RtcpPacket::Sender { info, .. }] = packets.as_slice() else { panic!("{packets:?}") };
    assert_eq!((info.packets, info.octets, info.rtp_timestamp), (50, 32_000, 17_600));
    assert_eq!(info.ntp >> 32, 1);
}

#[test]
fn the_server_s_reports_give_uplink_loss_room_loss_and_round_trip() {
    let mut rig = Rig::in_room();
    rig.prove();
    let before = rig.link.figures().round_trip_ms.unwrap();
    assert!((before - 10.0).abs() < 1.0);
    let sent = Sent { packets: 5, last: Some(last(0, rig.at(1000))), ..Sent::default() };
    // Nothing has come for a while: a probe goes first.
    let reports = opened(&rig.tick(1000, sent));
    let Some(Ok(RtcpPacket::Sender { info, .. })) = rtcp::packets(&reports[1].1).next() else {
        panic!("{reports:?}")
    };
    let block = ReportBlock {
        ssrc: OURS,
        fraction_lost: 64,
        cumulative_lost: 9,
        highest_seq: 0,
        jitter: 0,
        last_sender_report: (info.ntp >> 16) as u32,
        // Half a second.
        delay_since_last: 32_768,
    };
    let mut report = Vec::new();
    rtcp::write_receiver_report(&mut report, CONTROL, &[block]);
    // 500 ms there, and 90 ms on the way.
    rig.control(1590, &report);
    let figures = rig.link.figures().clone();
    assert!((figures.round_trip_ms.unwrap() - (before + (90.0 - before) / 4.0)).abs() < 1.0);
    assert!((figures.uplink_loss - 0.25 * 0.3).abs() < 0.001);
    let app = App::Downlink { loss_p90: 128, receivers: 3, burst_ms: 60, uplink_burst_ms: 20 };
    let heed = rig.app(1600, app);
    assert!((rig.link.figures().room_loss - 0.5).abs() < 0.001);
    let conditions = Conditions {
        uplink_loss: 0.25,
        uplink_burst_ms: 20.0,
        room_loss: 0.5,
        room_burst_ms: 60.0,
    };
    assert_eq!(heed, [Action::Heed(conditions)]);
    // While we are silent the same is no news.
    assert_eq!(rig.app(1700, app), []);
}

#[test]
fn what_a_stream_has_reported_goes_with_it() {
    let mut rig = Rig::in_room();
    rig.prove();
    let info = SenderInfo { ntp: 7 << 16, rtp_timestamp: 0, packets: 1, octets: 1 };
    let mut report = Vec::new();
    rtcp::write_sender_report(&mut report, THEIRS, info, &[]);
    rig.control(20, &report);
    let last_heard = |rig: &mut Rig, ms, seq| {
        rig.voice(ms, &voice(THEIRS, seq, 0));
        let reports = opened(&rig.tick(ms + 1000, Sent::default()));
        let mut blocks =
            reports.iter().flat_map(|(_, packet)| rtcp::packets(packet)).filter_map(|packet| {
                match packet {
                    Ok(RtcpPacket::Receiver { blocks, .. }) => Some(blocks.collect::<Vec<_>>()),
                    _ => None,
                }
            });
        blocks.next().unwrap()[0].last_sender_report
    };
    assert_eq!(last_heard(&mut rig, 30, 100), 7);
    let others = [member(1, OURS, None), member(2, THEIRS, None)];
    rig.link.enter_room(&others[..1], rig.at(1100));
    rig.link.enter_room(&others, rig.at(1200));
    rig.link.take_actions();
    assert_eq!(last_heard(&mut rig, 1300, 200), 0);
}

#[test]
fn replayed_control_packets_are_dropped() {
    let mut rig = Rig::new();
    rig.app(1, App::Downlink { loss_p90: 128, receivers: 3, burst_ms: 0, uplink_burst_ms: 0 });
    rig.control_index = 0;
    rig.app(2, App::Downlink { loss_p90: 0, receivers: 3, burst_ms: 0, uplink_burst_ms: 0 });
    assert!((rig.link.figures().room_loss - 0.5).abs() < 0.001);
    assert_eq!(rig.link.figures().dropped, 1);
}

#[test]
fn an_unknown_protection_is_refused() {
    let mut link = Link::default();
    let mut session = session();
    session.protection = Protection::Unknown;
    assert!(!link.connect(&session, clock::now()));
}

#[test]
fn forged_datagrams_allocate_nothing_and_leave_no_trace() {
    let mut rig = Rig::in_room();
    rig.prove();
    let spent = voice(THEIRS, 99, 0);
    rig.voice(20, &spent);
    let real = voice(THEIRS, 100, 0);
    let mut app = Vec::new();
    rtcp::write_app(&mut app, CONTROL, App::Challenge([1; 8]));
    let mut control = Vec::new();
    down().seal_rtcp(&app, PacketIndex(50), &mut control).unwrap();
    // Of a stream that is known, of one that is not, of our own, and of the server's.
    let mut forged = vec![spent];
    for good in [real.clone(), voice(Ssrc(120), 7, 0), voice(OURS, 7, 0), control] {
        for byte in 0..good.len() {
            let mut bent = good.clone();
            bent[byte] ^= 0x20;
            forged.push(bent);
            forged.push(good[..byte].to_vec());
        }
    }
    let (before, now) = (rig.link.figures().dropped, rig.at(30));
    let link = &mut rig.link;
    let allocated = allocation_counter::measure(|| {
        for datagram in &mut forged {
            link.datagram(Way::Datagram, datagram, now);
        }
    });
    assert_eq!(allocated.count_total, 0);
    assert_eq!(rig.link.figures().dropped, before + forged.len() as u64);
    assert_eq!(rig.link.take_actions(), []);
    assert_eq!(played(&rig.voice(40, &real)), [(MemberId(2), 100)]);
}

#[test]
fn a_server_s_packets_are_believed_in_the_session_s_form_only() {
    let mut rig = Rig::in_room();
    let key = Secret::new([2; 28]);
    let plain = Sealer::new(Protection::Plain, &key).unwrap();
    let mut packet = Vec::new();
    rtcp::write_app(
        &mut packet,
        CONTROL,
        App::Downlink { loss_p90: 128, receivers: 3, burst_ms: 0, uplink_burst_ms: 0 },
    );
    let mut sealed = Vec::new();
    plain.seal_rtcp(&packet, PacketIndex(0), &mut sealed).unwrap();
    assert_eq!(rig.voice(0, &sealed), []);
    assert_eq!((rig.link.figures().room_loss, rig.link.figures().dropped), (0.0, 1));
}
