//! What a forwarder decides, in virtual time and without a socket.

mod forged;
mod instructions;
mod many;
mod nonces;
mod overload;
mod shell;
mod withheld;

use super::core::{ForwarderCore, Origin, Outputs};
use crate::actors::outbox::{Outbox, Take};
use crate::actors::routes::{
    RoomRoutes, Route, SessionRoute, SessionVoice, VoiceNotice, VoicePath,
};
use crate::actors::stage::Stage;
use crate::net::clock;
use crate::net::codec::PT_L16;
use crate::net::ids::{PacketIndex, RoomId, SessionId, Ssrc};
use crate::net::limits::{
    ADDRESS_LIFETIME, CHALLENGE_LIFETIME, PATH_NEWS_INTERVAL, TALKSPURT_NEWS_INTERVAL,
    TALKSPURT_TIMEOUT,
};
use crate::net::message::Protection;
use crate::net::protect::{DirectionKey, Opener, Sealer};
use crate::net::rtcp::{self, App, RtcpPacket};
use crate::net::rtp::{RtpHeader, peek_seq};
use crate::net::secret::Secret;
use proptest::prelude::*;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A client as seen from the other end of its keys.
struct Client {
    session: SessionId,
    voice: Arc<SessionVoice>,
    up: Sealer,
    down: Opener,
    sealer: Sealer,
    outbox: Outbox,
    address: SocketAddr,
    index: PacketIndex,
    rtcp: u64,
}

fn sealer(key: &DirectionKey) -> Sealer {
    Sealer::new(Protection::AeadAes128Gcm, key).unwrap()
}

fn opener(key: &DirectionKey) -> Opener {
    Opener::new(Protection::AeadAes128Gcm, key).unwrap()
}

struct Bench {
    core: ForwarderCore,
    out: Outputs,
    now: Instant,
    stage: Stage,
}

impl Bench {
    fn new() -> Self {
        let mut counter = 0u64;
        let probes = Box::new(move || {
            counter += 1;
            counter.to_be_bytes()
        });
        let (core, now) = (ForwarderCore::new(probes), clock::now());
        Self { core, out: Outputs::default(), now, stage: Stage::boundless(now) }
    }

    fn client(&mut self, k: u8) -> Client {
        let voice = Arc::new(SessionVoice::new(Ssrc(u32::from(k) * 4)));
        let (up, down) = (Secret::new([k; 28]), Secret::new([k + 100; 28]));
        let client = Client {
            session: SessionId(u64::from(k)),
            voice: Arc::clone(&voice),
            up: sealer(&up),
            down: opener(&down),
            sealer: sealer(&down),
            outbox: Outbox::default(),
            address: SocketAddr::from(([127, 0, 0, k], 5000)),
            index: PacketIndex(100),
            rtcp: 1,
        };
        let route = SessionRoute {
            session: client.session,
            opener: opener(&up),
            sealer: client.sealer.clone(),
            voice,
            outbox: client.outbox.clone(),
        };
        self.core.add_session(route, self.now);
        client
    }

    fn room(&mut self, members: &[(&Client, Option<VoicePath>)]) {
        let members = members
            .iter()
            .map(|(client, path)| Route {
                session: client.session,
                path: path.clone(),
                sealer: client.sealer.clone(),
                voice: Arc::clone(&client.voice),
            })
            .collect();
        let stage = self.stage.clone();
        self.core.set_room(RoomId(1), Some(Arc::new(RoomRoutes { id: RoomId(1), members, stage })));
    }

    fn from(&mut self, from: SocketAddr, bytes: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut copy = bytes.to_vec();
        self.core.handle_datagram(Origin::Udp(from), &mut copy, self.now, &mut self.out);
        self.sent()
    }

    fn sent(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        self.core.forward(self.now, &mut self.out, |_| {});
        let sent = self.out.queue.iter().map(|(to, bytes)| (to, bytes.to_vec())).collect();
        self.out.queue.clear();
        sent
    }

    fn notices(&mut self) -> Vec<(SessionId, VoiceNotice)> {
        std::mem::take(&mut self.out.notices)
    }

    /// Proves the client's address as a client does.
    fn prove(&mut self, client: &mut Client) {
        let keepalive = client.app(App::Keepalive([0; 8]));
        let challenge = self.from(client.address, &keepalive);
        let [(to, sealed)] = &challenge[..] else { panic!("{challenge:?}") };
        assert_eq!(*to, client.address);
        assert!(sealed.len() <= keepalive.len(), "no answer is larger than its question");
        let App::Challenge(probe) = client.read_app(sealed) else { panic!() };
        let answer = client.app(App::ChallengeAnswer(probe));
        self.from(client.address, &answer);
        let path = self.notices();
        let proven = matches!(&path[..], [(session, VoiceNotice::Path(Some(VoicePath::Udp(to))))]
            if *session == client.session && *to == client.address);
        assert!(proven, "{path:?}");
    }
}

impl Client {
    fn app(&mut self, app: App) -> Vec<u8> {
        let mut packet = Vec::new();
        rtcp::write_app(&mut packet, self.voice.stream(0), app);
        self.rtcp(&packet)
    }

    fn rtcp(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        self.up.seal_rtcp(packet, PacketIndex(self.rtcp), &mut sealed).unwrap();
        self.rtcp += 1;
        sealed
    }

    fn voice(&mut self, payload: &[u8]) -> Vec<u8> {
        let header = RtpHeader {
            marker: false,
            payload_type: PT_L16,
            seq: self.index.seq(),
            timestamp: (self.index.0 * 320) as u32,
            ssrc: self.voice.stream(0),
            audio_level: None,
        };
        let mut packet = Vec::new();
        header.write(&mut packet);
        packet.extend(payload);
        let mut sealed = Vec::new();
        self.up.seal_rtp(&packet, self.index, &mut sealed).unwrap();
        self.index.0 += 1;
        sealed
    }

    fn read_app(&self, sealed: &[u8]) -> App {
        let mut copy = sealed.to_vec();
        let (packet, _) = self.down.open_rtcp(&mut copy).unwrap();
        match rtcp::packets(packet).next() {
            Some(Ok(RtcpPacket::App { app, .. })) => app,
            other => panic!("{other:?}"),
        }
    }

    fn udp(&self) -> Option<VoicePath> {
        Some(VoicePath::Udp(self.address))
    }
}

fn address(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 1, host], port))
}

#[test]
fn voice_goes_to_all_others_of_the_room_and_a_replay_to_nobody() {
    let mut bench = Bench::new();
    let (mut a, b, c) = (bench.client(1), bench.client(2), bench.client(3));
    bench.room(&[(&a, a.udp()), (&b, b.udp()), (&c, None)]);
    let voice = a.voice(b"hello");
    let sent = bench.from(a.address, &voice);
    let [(to, sealed)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(*to, b.address);
    let mut copy = sealed.clone();
    assert!(b.down.open_rtp(&mut copy, PacketIndex(100)).unwrap().ends_with(b"hello"));
    assert_eq!(bench.from(a.address, &voice), []);
    assert_eq!(bench.from(address(9, 9), &voice), []);
}

#[test]
fn an_address_is_believed_only_after_its_challenge_comes_back_from_there() {
    let mut bench = Bench::new();
    let (mut a, mut b) = (bench.client(1), bench.client(2));
    bench.room(&[(&a, None), (&b, None)]);
    bench.prove(&mut a);
    // A new address starts a challenge, and the old one stays in force.
    let roamed = address(7, 7000);
    let keepalive = a.app(App::Keepalive([0; 8]));
    let challenge = bench.from(roamed, &keepalive);
    let App::Challenge(probe) = a.read_app(&challenge[0].1) else { panic!() };
    assert_eq!(challenge[0].0, roamed);
    assert!(bench.notices().is_empty());
    // The answer counts only from the address that was asked, with the right bytes, in time.
    let elsewhere = a.app(App::ChallengeAnswer(probe));
    bench.from(address(8, 8000), &elsewhere);
    let wrong = a.app(App::ChallengeAnswer([9; 8]));
    bench.from(roamed, &wrong);
    assert!(bench.notices().is_empty());
    // Each of those came from a new address too; the last one asked is the candidate.
    bench.sent();
    bench.now += CHALLENGE_LIFETIME;
    let keepalive = a.app(App::Keepalive([0; 8]));
    let challenge = bench.from(roamed, &keepalive);
    let App::Challenge(fresh) = a.read_app(&challenge[0].1) else { panic!() };
    assert_ne!(fresh, probe, "a challenge has an end");
    let answer = a.app(App::ChallengeAnswer(fresh));
    bench.from(roamed, &answer);
    assert!(matches!(&bench.notices()[..],
        [(_, VoiceNotice::Path(Some(VoicePath::Udp(to))))] if *to == roamed));
    // Voice keeps flowing from the new address at once.
    bench.prove(&mut b);
    bench.room(&[(&a, Some(VoicePath::Udp(roamed))), (&b, b.udp())]);
    let voice = b.voice(b"to the new place");
    assert_eq!(bench.from(b.address, &voice)[0].0, roamed);
}

#[test]
fn an_old_packet_from_another_address_changes_nothing() {
    let mut bench = Bench::new();
    let (mut a, b) = (bench.client(1), bench.client(2));
    bench.room(&[(&a, None), (&b, None)]);
    bench.prove(&mut a);
    let held_back = a.voice(b"held back by a stranger, long enough to be answered");
    let newer = a.voice(b"newer");
    bench.from(a.address, &newer);
    // Fresh to the window, authentic, but not above the highest: no challenge.
    assert_eq!(bench.from(address(66, 6), &held_back), []);
}

#[test]
fn what_does_not_authenticate_is_dropped_without_an_answer_or_a_trace() {
    let mut bench = Bench::new();
    let (mut a, mut b) = (bench.client(1), bench.client(2));
    bench.room(&[(&a, a.udp()), (&b, b.udp())]);
    let before = (bench.core.sizes(), a.voice.infos());
    let voice = a.voice(b"voice");
    let keepalive = a.app(App::Keepalive([0; 8]));
    for good in [&voice, &keepalive] {
        for position in 0..good.len() {
            let mut bad = good.clone();
            bad[position] ^= 1;
            assert_eq!(bench.from(address(5, 5), &bad), []);
            assert_eq!(bench.from(address(5, 5), &good[..position]), []);
        }
    }
    // B's own secret does not open A's stream.
    let mut stolen = voice.clone();
    let length = stolen.len();
    let own = b.voice(b"voice");
    stolen[length - 16..].copy_from_slice(&own[own.len() - 16..]);
    assert_eq!(bench.from(b.address, &stolen), []);
    assert!(bench.notices().is_empty());
    assert_eq!((bench.core.sizes(), a.voice.infos()), before);
    assert_eq!(bench.from(a.address, &voice).len(), 1, "the real one still passes");
}

#[test]
fn talkspurts_begin_with_voice_and_end_with_an_empty_packet_or_silence() {
    let mut bench = Bench::new();
    let (mut a, b) = (bench.client(1), bench.client(2));
    bench.room(&[(&a, None), (&b, None)]);
    let speaking = |bench: &mut Bench| -> Vec<bool> {
        let notices = bench.notices();
        let news = notices.iter().filter_map(|(_, n)| match n {
            VoiceNotice::Speaking(on) => Some(*on),
            VoiceNotice::Path(_) | VoiceNotice::Withheld(_) => None,
        });
        news.collect()
    };
    for payload in [&b"one"[..], b"two", b"", b"", b""] {
        let voice = a.voice(payload);
        bench.from(a.address, &voice);
    }
    assert_eq!(speaking(&mut bench), [true], "the end comes a little later, and once");
    bench.now += TALKSPURT_NEWS_INTERVAL;
    bench.core.handle_timeout(bench.now, &mut bench.out);
    assert_eq!(speaking(&mut bench), [false]);
    bench.now += TALKSPURT_NEWS_INTERVAL;
    let voice = a.voice(b"cut off");
    bench.from(a.address, &voice);
    bench.now += TALKSPURT_TIMEOUT / 2;
    bench.core.handle_timeout(bench.now, &mut bench.out);
    assert_eq!(speaking(&mut bench), [true]);
    bench.now += TALKSPURT_TIMEOUT / 2;
    bench.core.handle_timeout(bench.now, &mut bench.out);
    assert_eq!(speaking(&mut bench), [false]);
}

#[test]
fn a_member_who_flaps_is_told_of_a_few_times_a_second() {
    let mut bench = Bench::new();
    let (mut a, b) = (bench.client(1), bench.client(2));
    bench.room(&[(&a, None), (&b, None)]);
    for k in 0..1000 {
        let voice = a.voice(if k % 2 == 0 { b"x" } else { b"" });
        bench.from(a.address, &voice);
        bench.now += Duration::from_millis(5);
        bench.core.handle_timeout(bench.now, &mut bench.out);
    }
    let told = bench.notices().len();
    assert!((10..=26).contains(&told), "{told} times in 5 s");
}

#[test]
fn a_member_cannot_flood_the_room() {
    let mut bench = Bench::new();
    let (mut a, b) = (bench.client(1), bench.client(2));
    bench.room(&[(&a, a.udp()), (&b, b.udp())]);
    let mut passed = 0;
    for _ in 0..10_000 {
        let voice = a.voice(b"far too much");
        let sent = bench.from(a.address, &voice);
        passed += sent.iter().filter(|(to, _)| *to == b.address).count();
        bench.now += Duration::from_millis(1);
    }
    // Ten seconds at the average rate, and one burst.
    assert!((2000..=2301).contains(&passed), "{passed}");
}

#[test]
fn one_datagram_of_reports_has_one_answer_and_a_flood_of_them_few() {
    let mut bench = Bench::new();
    let mut a = bench.client(1);
    bench.room(&[(&a, a.udp())]);
    bench.prove(&mut a);
    let mut many = Vec::new();
    for _ in 0..100 {
        rtcp::write_receiver_report(&mut many, a.voice.stream(0), &[]);
    }
    let mut answers = 0;
    for _ in 0..50 {
        let report = a.rtcp(&many);
        for (_, answer) in bench.from(a.address, &report) {
            assert!(answer.len() < 100);
            answers += 1;
        }
        bench.now += Duration::from_millis(10);
    }
    assert!((3..=5).contains(&answers), "{answers} in half a second");
}

#[test]
fn an_address_without_a_sign_of_life_is_forgotten() {
    let mut bench = Bench::new();
    let mut a = bench.client(1);
    bench.prove(&mut a);
    bench.now += ADDRESS_LIFETIME - Duration::from_secs(1);
    bench.core.sweep(bench.now, &mut bench.out);
    assert!(bench.notices().is_empty());
    bench.now += Duration::from_secs(1);
    bench.core.sweep(bench.now, &mut bench.out);
    assert!(matches!(&bench.notices()[..], [(_, VoiceNotice::Path(None))]));
}

#[test]
fn a_report_is_answered_with_ours_and_with_what_the_room_hears() {
    let mut bench = Bench::new();
    let (mut a, mut b) = (bench.client(1), bench.client(2));
    bench.room(&[(&a, a.udp()), (&b, b.udp())]);
    bench.prove(&mut a);
    bench.prove(&mut b);
    for k in 0..10 {
        let voice = a.voice(b"x");
        if k % 2 == 0 {
            bench.from(a.address, &voice);
        }
    }
    // B has lost a tenth of A's packets.
    let mut report = Vec::new();
    let block = rtcp::ReportBlock {
        ssrc: a.voice.stream(0),
        fraction_lost: 26,
        cumulative_lost: 1,
        highest_seq: 109,
        jitter: 0,
        last_sender_report: 0,
        delay_since_last: 0,
    };
    rtcp::write_receiver_report(&mut report, b.voice.stream(0), &[block]);
    // A tenth in this quarter second, and a twentieth over the last ones, in bursts of 60 ms.
    let losses = App::Losses { ssrc: a.voice.stream(0), share: 13, burst_ms: 60 };
    rtcp::write_app(&mut report, b.voice.stream(0), losses);
    let report = b.rtcp(&report);
    assert_eq!(bench.from(b.address, &report).len(), 1);
    let info = rtcp::SenderInfo { ntp: 0xaa_bbbb_cccc, rtp_timestamp: 0, packets: 10, octets: 10 };
    let mut report = Vec::new();
    rtcp::write_sender_report(&mut report, a.voice.stream(0), info, &[]);
    let report = a.rtcp(&report);
    bench.now += Duration::from_millis(500);
    let answer = bench.from(a.address, &report).remove(0).1;
    let mut copy = answer.clone();
    let (packet, _) = a.down.open_rtcp(&mut copy).unwrap();
    let packets: Vec<_> = rtcp::packets(packet).map(Result::unwrap).collect();
    let [RtcpPacket::Receiver { mut blocks, .. }, RtcpPacket::App { app, .. }] = packets[..] else {
        panic!("{packets:?}")
    };
    let ours = blocks.next().unwrap();
    assert_eq!((ours.ssrc, ours.last_sender_report), (a.voice.stream(0), 0x00aa_bbbb));
    // Five of nine came, the last one sent never; of the last four it is not known whether they were overtaken.
    assert_eq!((ours.cumulative_lost, ours.fraction_lost), (4, (2 * 256 / 5) as u8));
    assert_eq!(
        app,
        App::Downlink { loss_p90: 13, receivers: 1, burst_ms: 60, uplink_burst_ms: 20 }
    );
}

#[tokio::test]
async fn where_udp_does_not_get_through_voice_goes_inside_the_control_connection() {
    let mut bench = Bench::new();
    let (mut a, b) = (bench.client(1), bench.client(2));
    let stream = VoicePath::Stream(b.outbox.clone());
    bench.room(&[(&a, None), (&b, Some(stream))]);
    let voice = a.voice(b"inside");
    let mut copy = voice.clone();
    let origin = Origin::Stream(a.session);
    bench.core.handle_datagram(origin, &mut copy, bench.now, &mut bench.out);
    assert_eq!(bench.sent(), []);
    let path = bench.notices();
    assert!(
        matches!(&path[0], (s, VoiceNotice::Path(Some(VoicePath::Stream(_)))) if *s == a.session)
    );
    b.outbox.finish();
    let Take::Write(frames) = b.outbox.take().await else { panic!() };
    assert_eq!(frames.len(), 1);
}

/// The ways that a session was told of, as far as they can be compared.
fn ways(bench: &mut Bench) -> Vec<Option<Option<SocketAddr>>> {
    let notices = bench.notices().into_iter().filter_map(|(_, notice)| match notice {
        VoiceNotice::Path(path) => Some(path),
        VoiceNotice::Speaking(_) | VoiceNotice::Withheld(_) => None,
    });
    let way = |path: Option<VoicePath>| {
        path.map(|path| match path {
            VoicePath::Udp(to) => Some(to),
            VoicePath::Stream(_) => None,
        })
    };
    notices.map(way).collect()
}

const STREAM: Option<Option<SocketAddr>> = Some(None);

impl Bench {
    fn inside(&mut self, client: &Client, bytes: &[u8]) {
        let mut copy = bytes.to_vec();
        let origin = Origin::Stream(client.session);
        self.core.handle_datagram(origin, &mut copy, self.now, &mut self.out);
    }
}

#[test]
fn voice_goes_the_way_that_the_client_wishes_and_the_last_wish_counts() {
    let mut bench = Bench::new();
    let mut a = bench.client(1);
    bench.prove(&mut a);
    bench.now += PATH_NEWS_INTERVAL;
    let stream = a.app(App::Path { stream: true });
    bench.inside(&a, &stream);
    assert_eq!(ways(&mut bench), [STREAM]);
    // Said again, by any way: no news.
    let again = a.app(App::Path { stream: true });
    bench.from(a.address, &again);
    // Held back on the way: another wish has come since.
    let old = a.app(App::Path { stream: false });
    let new = a.app(App::Path { stream: true });
    bench.inside(&a, &new);
    bench.inside(&a, &old);
    bench.now += PATH_NEWS_INTERVAL;
    bench.core.handle_timeout(bench.now, &mut bench.out);
    assert_eq!(ways(&mut bench), []);
    let back = a.app(App::Path { stream: false });
    bench.from(a.address, &back);
    assert_eq!(ways(&mut bench), [Some(Some(a.address))]);
}

#[test]
fn a_wish_from_anyone_else_or_a_replayed_one_changes_nothing() {
    let mut bench = Bench::new();
    let (mut a, mut b) = (bench.client(1), bench.client(2));
    bench.prove(&mut a);
    bench.prove(&mut b);
    bench.now += PATH_NEWS_INTERVAL;
    // B seals a wish in A's name with his own key.
    let mut packet = Vec::new();
    rtcp::write_app(&mut packet, a.voice.stream(0), App::Path { stream: true });
    let forged = b.rtcp(&packet);
    bench.from(a.address, &forged);
    bench.inside(&b, &forged);
    assert_eq!(ways(&mut bench), []);
    let stream = a.app(App::Path { stream: true });
    bench.inside(&a, &stream);
    bench.now += PATH_NEWS_INTERVAL;
    let back = a.app(App::Path { stream: false });
    bench.inside(&a, &back);
    assert_eq!(ways(&mut bench), [STREAM, Some(Some(a.address))]);
    bench.now += PATH_NEWS_INTERVAL;
    bench.inside(&a, &stream);
    bench.from(address(6, 6), &stream);
    assert_eq!(ways(&mut bench), []);
}

#[test]
fn a_client_that_flaps_makes_the_room_change_its_routes_ten_times_a_second_at_most() {
    let mut bench = Bench::new();
    let mut a = bench.client(1);
    bench.prove(&mut a);
    let mut told = 0;
    for k in 0..1000 {
        let wish = a.app(App::Path { stream: k % 2 == 0 });
        bench.inside(&a, &wish);
        bench.now += Duration::from_millis(1);
        bench.core.handle_timeout(bench.now, &mut bench.out);
        told += ways(&mut bench).len();
    }
    assert!((2..=10).contains(&told), "{told} in a second");
    // What it wished last is in force in the end.
    bench.now += PATH_NEWS_INTERVAL;
    let last = a.app(App::Path { stream: true });
    bench.inside(&a, &last);
    bench.now += PATH_NEWS_INTERVAL;
    bench.core.handle_timeout(bench.now, &mut bench.out);
    assert_eq!(ways(&mut bench).last(), Some(&STREAM));
}

#[test]
fn a_new_address_is_followed_while_voice_goes_by_datagrams_and_only_noted_while_it_does_not() {
    let mut bench = Bench::new();
    let mut a = bench.client(1);
    bench.prove(&mut a);
    bench.now += PATH_NEWS_INTERVAL;
    let stream = a.app(App::Path { stream: true });
    bench.inside(&a, &stream);
    assert_eq!(ways(&mut bench), [STREAM]);
    let roamed = address(7, 7000);
    let keepalive = a.app(App::Keepalive([0; 8]));
    let challenge = bench.from(roamed, &keepalive);
    let App::Challenge(probe) = a.read_app(&challenge[0].1) else { panic!() };
    let answer = a.app(App::ChallengeAnswer(probe));
    bench.from(roamed, &answer);
    bench.now += PATH_NEWS_INTERVAL;
    assert_eq!(ways(&mut bench), [], "the stream is still what it wishes");
    let back = a.app(App::Path { stream: false });
    bench.from(roamed, &back);
    assert_eq!(ways(&mut bench), [Some(Some(roamed))]);
}

#[test]
fn voice_inside_the_control_connection_has_the_same_allowance() {
    let mut bench = Bench::new();
    let (mut a, b) = (bench.client(1), bench.client(2));
    bench.room(&[(&a, None), (&b, b.udp())]);
    let mut passed = 0;
    for k in 0..10_000 {
        let voice = a.voice(b"far too much");
        if k % 2 == 0 {
            bench.inside(&a, &voice);
            passed += bench.sent().len();
        } else {
            let sent = bench.from(a.address, &voice);
            passed += sent.iter().filter(|(to, _)| *to == b.address).count();
        }
        bench.now += Duration::from_millis(1);
    }
    assert!((2000..=2301).contains(&passed), "{passed}");
}

proptest! {
    #[test]
    fn any_bytes_from_anywhere_are_dropped_quietly(
        datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 1..20)
    ) {
        let mut bench = Bench::new();
        let (a, b) = (bench.client(1), bench.client(2));
        bench.room(&[(&a, a.udp()), (&b, b.udp())]);
        for mut datagram in datagrams {
            // Half of them name a stream that exists.
            if let Some(ssrc) = datagram.get_mut(8..12).filter(|w| w[0] % 2 == 0) {
                ssrc.copy_from_slice(&4u32.to_be_bytes());
            }
            prop_assert_eq!(bench.from(address(1, 1), &datagram), []);
        }
        prop_assert!(bench.notices().is_empty());
    }

    #[test]
    fn authentic_nonsense_never_panics(payload in prop::collection::vec(any::<u8>(), 0..200), rtcp in any::<bool>()) {
        let mut bench = Bench::new();
        let (a, b) = (bench.client(1), bench.client(2));
        bench.room(&[(&a, a.udp()), (&b, b.udp())]);
        let mut packet = payload;
        if let Some(word) = packet.get_mut(if rtcp { 4..8 } else { 8..12 }) {
            word.copy_from_slice(&4u32.to_be_bytes());
        }
        if let Some(kind) = packet.get_mut(1) {
            *kind = if rtcp { 200 + *kind % 6 } else { *kind & 0x7f };
        }
        let mut sealed = Vec::new();
        let index = PacketIndex(u64::from(peek_seq(&packet).unwrap_or_default()));
        let done = match rtcp {
            true => a.up.seal_rtcp(&packet, PacketIndex(1), &mut sealed),
            false => a.up.seal_rtp(&packet, index, &mut sealed),
        };
        if done.is_ok() {
            bench.from(address(1, 1), &sealed);
        }
    }
}

#[test]
fn a_silenced_speaker_is_heard_by_nobody_from_the_next_packet_on_until_he_may_be_again() {
    let mut bench = Bench::new();
    let (mut a, b) = (bench.client(1), bench.client(2));
    bench.room(&[(&a, a.udp()), (&b, b.udp())]);
    let voice = a.voice(b"before");
    assert_eq!(bench.from(a.address, &voice).len(), 1);
    bench.notices();
    a.voice.silence(true);
    for _ in 0..20 {
        let voice = a.voice(b"unheard");
        assert_eq!(bench.from(a.address, &voice), []);
        bench.now += Duration::from_millis(20);
        let (now, mut out) = (bench.now, Outputs::default());
        bench.core.handle_timeout(now, &mut out);
        bench.out.notices.append(&mut out.notices);
    }
    let told: Vec<bool> = bench
        .notices()
        .into_iter()
        .filter_map(|(_, notice)| match notice {
            VoiceNotice::Speaking(speaking) => Some(speaking),
            VoiceNotice::Path(_) | VoiceNotice::Withheld(_) => None,
        })
        .collect();
    assert_eq!(told, [false], "nor does he speak for anyone to see");
    a.voice.silence(false);
    let voice = a.voice(b"after");
    let sent = bench.from(a.address, &voice);
    let [(_, sealed)] = &sent[..] else { panic!("{sent:?}") };
    let mut copy = sealed.clone();
    // Sequence numbers have gone on: late joiners and those who were there find the same place.
    assert!(b.down.open_rtp(&mut copy, PacketIndex(121)).unwrap().ends_with(b"after"));
}
