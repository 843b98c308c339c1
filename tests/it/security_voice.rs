//! Attacks on voice, over real sockets against a real server: none may be heard, answered too loudly, or leave a trace.

use std::net::UdpSocket;

use parlor::actors::server::{Server, ServerConfig, StartError};
use parlor::net::codec::PT_L16;
use parlor::net::ids::{PacketIndex, Ssrc};
use parlor::net::message::{ClientMessage, Protection, ServerMessage};
use parlor::net::protect::{DirectionKey, Opener, Sealer};
use parlor::net::rtcp::{self, App, ReportBlock, SenderInfo};
use parlor::net::rtp::{RtpHeader, peek_seq};

use crate::support::peer::{Peer, payloads, raw, until};

async fn server() -> Server {
    let any = "127.0.0.1:0".parse().unwrap();
    Server::start(ServerConfig::new(any, any, Some(2))).await.unwrap()
}

async fn member(server: &Server, name: &str, room: &str) -> Peer {
    let mut peer = Peer::connect(server, name).await;
    assert_eq!(peer.welcome.protection, Protection::AeadAes128Gcm, "the default is safe");
    peer.join(room).await;
    peer.open_voice().await;
    peer
}

/// Voice of this stream, sealed with this key.
fn voice_as(ssrc: Ssrc, index: PacketIndex, key: &DirectionKey, payload: &[u8]) -> Vec<u8> {
    let header = RtpHeader {
        marker: false,
        payload_type: PT_L16,
        seq: index.seq(),
        timestamp: 0,
        ssrc,
        audio_level: None,
    };
    let mut packet = Vec::new();
    header.write(&mut packet);
    packet.extend(payload);
    let mut sealed = Vec::new();
    let sealer = Sealer::new(Protection::AeadAes128Gcm, key).unwrap();
    sealer.seal_rtp(&packet, index, &mut sealed).unwrap();
    sealed
}

#[actix::test]
async fn nobody_speaks_in_another_s_name_by_stream_or_by_address() {
    let server = server().await;
    let (mut anna, mut bert, mut eve) = (
        member(&server, "anna", "hall").await,
        member(&server, "bert", "hall").await,
        member(&server, "eve", "hall").await,
    );
    // Anna's stream and number with Eve's keys, from Eve's address and from Anna's own.
    for key in [&eve.welcome.up_key, &eve.welcome.down_key] {
        let forged = voice_as(anna.ssrc(), anna.index, key, b"forged");
        eve.send_datagram(&forged);
        anna.send_datagram(&forged);
    }
    anna.settle_voice();
    eve.settle_voice();
    assert_eq!(payloads(&mut bert), Vec::<Vec<u8>>::new());
    // Eve's own voice from Anna's address is Eve's voice, and Anna's address stays Anna's.
    let spoofed = eve.seal_voice(b"from eve, long enough to be answered");
    anna.send_datagram(&spoofed);
    eve.settle_voice();
    let heard = bert.heard();
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].ssrc, eve.ssrc());
    // What has come to Anna's socket: Eve's voice for Anna, and a challenge to Eve that only Eve can read.
    let came = raw(&anna.socket);
    let readable = |datagram: &[u8]| {
        let index = PacketIndex(u64::from(peek_seq(datagram).unwrap()));
        anna.opener.open_rtp(&mut datagram.to_vec(), index).is_ok()
            || anna.opener.open_rtcp(&mut datagram.to_vec()).is_ok()
    };
    assert_eq!(came.iter().filter(|datagram| readable(datagram)).count(), 1);
    assert_eq!(came.len(), 2);
    bert.speak(b"for both");
    assert_eq!(payloads(&mut anna), [b"for both"]);
    assert_eq!(payloads(&mut eve), [b"for both"]);
    server.stop().await;
}

#[actix::test]
async fn nobody_speaks_in_another_s_name_inside_his_own_connection() {
    let server = server().await;
    let (mut anna, mut bert, mut eve) = (
        member(&server, "anna", "hall").await,
        member(&server, "bert", "hall").await,
        member(&server, "eve", "hall").await,
    );
    // Eve has caught a datagram of Anna's before the server has seen it.
    let caught = anna.seal_voice(b"caught");
    eve.send(ClientMessage::Voice { packet: caught.clone() }).await;
    // Her own voice goes through there, and behind it.
    let own = eve.seal_voice(b"own");
    eve.send(ClientMessage::Voice { packet: own }).await;
    eve.catch_up().await;
    let wait = || async {
        let counters = server.traffic().counters;
        counters.accepted == 1
    };
    until("eve's own voice", wait).await;
    assert_eq!(payloads(&mut bert), [b"own"]);
    anna.heard();
    anna.send_datagram(&caught);
    anna.settle_voice();
    assert_eq!(payloads(&mut bert), [b"caught"]);
    server.stop().await;
}

#[actix::test]
async fn voice_that_is_played_again_is_not_heard_again() {
    let server = server().await;
    let (mut anna, mut bert, mut eve) = (
        member(&server, "anna", "hall").await,
        member(&server, "bert", "hall").await,
        member(&server, "eve", "hall").await,
    );
    let said: Vec<Vec<u8>> = (0..20u8).map(|k| anna.seal_voice(&[k; 100])).collect();
    for voice in &said {
        anna.send_datagram(voice);
    }
    anna.settle_voice();
    assert_eq!(payloads(&mut bert).len(), 20);
    eve.heard();
    for voice in &said {
        anna.send_datagram(voice);
        eve.send_datagram(voice);
        anna.send(ClientMessage::Voice { packet: voice.clone() }).await;
    }
    anna.settle_voice();
    eve.settle_voice();
    // The bundle that goes through the connection is dealt with before this.
    anna.catch_up().await;
    let own = anna.seal_voice(b"new");
    anna.send(ClientMessage::Voice { packet: own }).await;
    let wait = || async { server.traffic().counters.accepted == 21 };
    until("the new packet", wait).await;
    assert_eq!(payloads(&mut bert), [b"new"]);
    // What came down to Bert is no voice for the server, and none for Eve.
    anna.speak(b"down");
    let down = raw(&bert.socket).remove(0);
    eve.heard();
    bert.send_datagram(&down);
    anna.send_datagram(&down);
    bert.settle_voice();
    anna.settle_voice();
    assert_eq!(payloads(&mut eve), Vec::<Vec<u8>>::new());
    server.stop().await;
}

#[actix::test]
async fn a_packet_that_lacks_or_changes_a_single_byte_is_dropped_without_an_answer() {
    let server = server().await;
    let (mut anna, mut bert) =
        (member(&server, "anna", "hall").await, member(&server, "bert", "hall").await);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let voice = anna.seal_voice(&[7; 60]);
    let keepalive = anna.seal_app(App::Keepalive([9; 8]));
    for good in [&voice, &keepalive] {
        for k in 0..good.len() {
            let mut bent = good.clone();
            bent[k] ^= 1 << (k % 8);
            for bad in [&bent[..], &good[..k]] {
                anna.send_datagram(bad);
                stranger.send_to(bad, server.udp()).unwrap();
            }
        }
    }
    // `settle_voice` takes the first answer to its own question, so an answer to those above would show.
    anna.settle_voice();
    bert.settle_voice();
    assert_eq!(raw(&anna.socket), Vec::<Vec<u8>>::new());
    assert_eq!(raw(&stranger), Vec::<Vec<u8>>::new());
    assert_eq!(payloads(&mut bert), Vec::<Vec<u8>>::new());
    // The packets themselves were good, and still are.
    anna.send_datagram(&voice);
    anna.send_datagram(&keepalive);
    anna.wait_app(|app| (app == App::KeepaliveAnswer([9; 8])).then_some(()));
    assert_eq!(payloads(&mut bert), [[7; 60]]);
    server.stop().await;
}

#[actix::test]
async fn nothing_of_a_room_reaches_another() {
    let server = server().await;
    let (mut anna, mut bert, mut carl) = (
        member(&server, "anna", "hall").await,
        member(&server, "bert", "hall").await,
        member(&server, "carl", "cellar").await,
    );
    for _ in 0..10 {
        anna.speak(b"hall");
        carl.speak(b"cellar");
    }
    assert_eq!(payloads(&mut bert).len(), 10);
    assert_eq!(payloads(&mut carl), Vec::<Vec<u8>>::new());
    assert_eq!(payloads(&mut anna), Vec::<Vec<u8>>::new());
    // Carl's keys open nothing that goes to the hall.
    anna.speak(b"hall");
    let down = raw(&bert.socket).remove(0);
    cannot_open(&carl, &down);
    server.stop().await;
}

/// None of a session's keys opens this, whatever the roll-over counter.
fn cannot_open(peer: &Peer, datagram: &[u8]) {
    for key in [&peer.welcome.up_key, &peer.welcome.down_key] {
        let opener = Opener::new(peer.welcome.protection, key).unwrap();
        for roc in 0..4 {
            let index = PacketIndex::new(roc, peek_seq(datagram).unwrap());
            assert!(opener.open_rtp(&mut datagram.to_vec(), index).is_err());
        }
    }
}

#[actix::test]
async fn who_has_left_or_gone_elsewhere_can_open_nothing_and_is_sent_nothing() {
    let server = server().await;
    let (mut anna, mut bert, mut carl, mut dora) = (
        member(&server, "anna", "hall").await,
        member(&server, "bert", "hall").await,
        member(&server, "carl", "hall").await,
        member(&server, "dora", "hall").await,
    );
    anna.speak(b"all together");
    for peer in [&mut bert, &mut carl, &mut dora] {
        assert_eq!(payloads(peer), [b"all together"]);
    }
    assert!(matches!(bert.request(ClientMessage::Leave).await, ServerMessage::Left { .. }));
    dora.join("elsewhere").await;
    for k in 0..20u8 {
        anna.speak(&[k; 30]);
    }
    // They kept their keys, and can see what goes to the one who stayed.
    let captured = raw(&carl.socket);
    assert_eq!(captured.len(), 20);
    for datagram in &captured {
        cannot_open(&bert, datagram);
        cannot_open(&dora, datagram);
        let index = PacketIndex(u64::from(peek_seq(datagram).unwrap()));
        assert!(carl.opener.open_rtp(&mut datagram.clone(), index).is_ok(), "he who stayed can");
    }
    assert_eq!(raw(&bert.socket), Vec::<Vec<u8>>::new());
    assert_eq!(raw(&dora.socket), Vec::<Vec<u8>>::new());
    server.stop().await;
}

#[actix::test]
async fn the_keys_of_an_ended_session_are_good_for_nothing() {
    let server = server().await;
    let (mut anna, mut bert) =
        (member(&server, "anna", "hall").await, member(&server, "bert", "hall").await);
    bert.speak(b"still here");
    assert_eq!(payloads(&mut anna), [b"still here"]);
    bert.send(ClientMessage::Bye).await;
    while bert.read().await.is_some() {}
    let forgotten =
        || async { server.held().iter().map(|(sessions, _)| sessions).sum::<usize>() == 1 };
    until("the end of bert's session", forgotten).await;
    let (voice, keepalive) = (bert.seal_voice(b"a ghost"), bert.seal_app(App::Keepalive([1; 8])));
    let elsewhere = UdpSocket::bind("127.0.0.1:0").unwrap();
    let dropped = server.traffic().counters.dropped;
    for datagram in [&voice, &keepalive] {
        bert.send_datagram(datagram);
        elsewhere.send_to(datagram, server.udp()).unwrap();
    }
    until("the drops", || async { server.traffic().counters.dropped >= dropped + 4 }).await;
    assert_eq!(payloads(&mut anna), Vec::<Vec<u8>>::new());
    assert_eq!(raw(&bert.socket), Vec::<Vec<u8>>::new());
    assert_eq!(raw(&elsewhere), Vec::<Vec<u8>>::new());
    server.stop().await;
}

/// One RTCP packet or several of each kind that a client can make.
fn every_control_packet(anna: &Peer) -> Vec<Vec<u8>> {
    let ours = anna.ssrc();
    let block = ReportBlock {
        ssrc: ours,
        fraction_lost: 0,
        cumulative_lost: 0,
        highest_seq: 0,
        jitter: 0,
        last_sender_report: 0,
        delay_since_last: 0,
    };
    let info = SenderInfo { ntp: 1 << 32, rtp_timestamp: 0, packets: 1, octets: 1 };
    let build = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = Vec::new();
        write(&mut packet);
        packet
    };
    let app = |app: App| build(&|packet| rtcp::write_app(packet, ours, app));
    let mut all = vec![
        app(App::Keepalive([1; 8])),
        app(App::KeepaliveAnswer([2; 8])),
        app(App::Challenge([3; 8])),
        app(App::ChallengeAnswer([4; 8])),
        app(App::Downlink { loss_p90: 1, receivers: 1, burst_ms: 0, uplink_burst_ms: 0 }),
        build(&|packet| rtcp::write_receiver_report(packet, ours, &[])),
        build(&|packet| rtcp::write_receiver_report(packet, ours, &[block])),
        build(&|packet| rtcp::write_sender_report(packet, ours, info, &[])),
        build(&|packet| rtcp::write_sender_report(packet, ours, info, &[block; 31])),
        // The smallest RTCP packet there is, of a kind that nobody knows.
        [&[0x80, 207, 0, 1], &ours.0.to_be_bytes()[..]].concat(),
    ];
    // Everything at once, in one datagram.
    all.push(all[..8].concat());
    all
}

#[actix::test]
async fn an_unproven_address_never_gets_more_bytes_than_it_sent() {
    let server = server().await;
    let mut anna = member(&server, "anna", "hall").await;
    let _listener = member(&server, "bert", "hall").await;
    type Make = Box<dyn Fn(&mut Peer) -> Vec<u8>>;
    let mut all: Vec<Make> = Vec::new();
    for packet in every_control_packet(&anna) {
        all.push(Box::new(move |anna| anna.seal_rtcp(&packet)));
    }
    for length in [0, 1, 11, 12, 13, 28, 80, 640, 1000] {
        all.push(Box::new(move |anna| anna.seal_voice(&vec![5; length])));
    }
    // Each from an address of its own, so that nothing holds an answer back but the rule; and again.
    let (mut answered, mut unanswered) = (0, 0);
    for make in all {
        let datagram = make(&mut anna);
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..3 {
            stranger.send_to(&datagram, server.udp()).unwrap();
        }
        anna.settle_voice();
        let out: usize = raw(&stranger).iter().map(Vec::len).sum();
        assert!(out <= datagram.len(), "{out} bytes for {}", datagram.len());
        match out {
            0 => unanswered += 1,
            _ => answered += 1,
        }
    }
    // All but the smallest start a challenge: it is the rule that is tried here, not silence.
    assert!(answered >= 12 && unanswered >= 3, "{answered} answered, {unanswered} not");
    server.stop().await;
}

#[actix::test]
async fn proving_an_address_is_answered_with_no_more_than_it_took() {
    let server = server().await;
    let mut anna = member(&server, "anna", "hall").await;
    let new = UdpSocket::bind("127.0.0.1:0").unwrap();
    new.set_read_timeout(Some(crate::support::peer::DEADLINE)).unwrap();
    let mut buffer = [0; 2048];
    let keepalive = anna.seal_app(App::Keepalive([1; 8]));
    new.send_to(&keepalive, server.udp()).unwrap();
    let (challenge, _) = new.recv_from(&mut buffer).unwrap();
    assert!(challenge <= keepalive.len());
    let Some(App::Challenge(probe)) = first_app(&anna, &mut buffer[..challenge]) else { panic!() };
    let answer = anna.seal_app(App::ChallengeAnswer(probe));
    new.send_to(&answer, server.udp()).unwrap();
    let (proof, _) = new.recv_from(&mut buffer).unwrap();
    assert!(proof <= answer.len());
    assert_eq!(first_app(&anna, &mut buffer[..proof]), Some(App::KeepaliveAnswer(probe)));
    server.stop().await;
}

fn first_app(peer: &Peer, datagram: &mut [u8]) -> Option<App> {
    let (packet, _) = peer.opener.open_rtcp(datagram).ok()?;
    match rtcp::packets(packet).next()? {
        Ok(rtcp::RtcpPacket::App { app, .. }) => Some(app),
        _ => None,
    }
}

#[actix::test]
async fn a_server_without_encryption_says_so_and_still_lets_nobody_speak_for_another() {
    let any = "127.0.0.1:0".parse().unwrap();
    let mut config = ServerConfig::new(any, any, Some(2));
    config.protection = Protection::Plain;
    let server = Server::start(config).await.unwrap();
    let (mut anna, mut bert) =
        (Peer::connect(&server, "anna").await, Peer::connect(&server, "bert").await);
    for peer in [&mut anna, &mut bert] {
        assert_eq!(peer.welcome.protection, Protection::Plain);
        peer.join("hall").await;
        peer.open_voice().await;
    }
    let mut voice = anna.seal_voice(b"readable");
    assert!(voice.windows(8).any(|window| window == b"readable"));
    let length = voice.len();
    voice[length - 1] ^= 1;
    anna.send_datagram(&voice);
    voice[length - 1] ^= 1;
    anna.send_datagram(&voice);
    anna.settle_voice();
    assert_eq!(payloads(&mut bert), [b"readable"]);
    server.stop().await;
}

#[actix::test]
async fn a_server_does_not_start_with_a_protection_that_it_does_not_know() {
    let any = "127.0.0.1:0".parse().unwrap();
    let mut config = ServerConfig::new(any, any, Some(1));
    config.protection = Protection::Unknown;
    assert!(matches!(Server::start(config).await, Err(StartError::Protection(_))));
}
