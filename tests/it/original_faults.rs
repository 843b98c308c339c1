//! The faults of the program that Parlor re-implements, each as a test that would catch it.

use std::sync::Arc;

use parlor::actors::limits::Limits;
use parlor::actors::server::{Server, ServerConfig};
use parlor::net::ids::PacketIndex;
use parlor::net::limits::TEXT_BYTES_MAX;
use parlor::net::message::{ClientMessage, Envelope, ServerMessage};
use parlor::net::protect::Sealer;
use parlor::net::rtcp::App;
use parlor::net::secret::Secret;
use parlor::net::{frame, rtp};

use crate::support::peer::Peer;

async fn server() -> Server {
    server_with(Limits::default()).await
}

async fn server_with(limits: Limits) -> Server {
    let any = "127.0.0.1:0".parse().unwrap();
    let limits = Arc::new(limits);
    Server::start(ServerConfig { limits, ..ServerConfig::new(any, any, Some(2)) }).await.unwrap()
}

async fn pair(server: &Server) -> (Peer, Peer) {
    let (mut anna, mut bert) =
        (Peer::connect(server, "anna").await, Peer::connect(server, "bert").await);
    for peer in [&mut anna, &mut bert] {
        peer.join("hall").await;
        peer.open_voice().await;
    }
    (anna, bert)
}

#[actix::test]
async fn knowing_a_name_an_ssrc_and_an_address_is_not_enough_to_speak_as_its_owner() {
    let server = server().await;
    let (mut anna, mut bert) = pair(&server).await;
    let mut eve = Peer::connect(&server, "eve").await;
    eve.join("hall").await;
    eve.open_voice().await;
    // Eve knows everything but Anna's secret: her SSRC, where her numbers are, her packets' layout.
    let voice = anna.seal_voice(b"honest");
    anna.send_datagram(&voice);
    anna.settle_voice();
    let index = anna.index;
    let mut forged = anna.seal_voice(b"forged");
    let length = forged.len();
    // With her own keys, with a tag that she makes up, and with one that she has seen.
    let mut packet = forged[..rtp::HEADER_BYTES].to_vec();
    packet.extend(b"forged");
    for key in [&eve.welcome.up_key, &eve.welcome.down_key] {
        let mut sealed = Vec::new();
        let sealer = Sealer::new(eve.welcome.protection, key).unwrap();
        sealer.seal_rtp(&packet, index, &mut sealed).unwrap();
        eve.send_datagram(&sealed);
    }
    for guess in [&[0; 16], &voice[voice.len() - 16..]] {
        forged[length - 16..].copy_from_slice(guess);
        eve.send_datagram(&forged);
    }
    let mut named = forged.clone();
    named.splice(..0, b"anna\0".iter().copied());
    eve.send_datagram(&named);
    eve.send_datagram(b"anna");
    // To both forwarders, whichever owns Anna's stream.
    anna.settle_voice();
    eve.heard();
    eve.settle_voice();
    let heard: Vec<_> = bert.heard().into_iter().map(|heard| heard.payload).collect();
    assert_eq!(heard, [b"honest"]);
    server.stop().await;
}

#[actix::test]
async fn knowing_a_name_an_ssrc_and_an_address_is_not_enough_to_be_sent_voice_as_its_owner() {
    let server = server().await;
    let (mut anna, mut bert) = pair(&server).await;
    // A stranger's socket claims to be Bert's new address: with no tag, a wrong one, and a replay of Bert's own.
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let seen = bert.seal_app(App::Keepalive([5; 8]));
    bert.send_datagram(&seen);
    bert.wait_app(|app| (app == App::KeepaliveAnswer([5; 8])).then_some(()));
    stranger.send_to(&seen, server.udp()).unwrap();
    let mut packet = Vec::new();
    parlor::net::rtcp::write_app(&mut packet, bert.ssrc(), App::Keepalive([6; 8]));
    let mut forged = Vec::new();
    let stranger_s = Sealer::new(bert.welcome.protection, &Secret::new([9; 28])).unwrap();
    stranger_s.seal_rtcp(&packet, PacketIndex(1 << 20), &mut forged).unwrap();
    stranger.send_to(&forged, server.udp()).unwrap();
    stranger.send_to(b"bert", server.udp()).unwrap();
    bert.settle_voice();
    anna.speak(b"for bert");
    assert_eq!(bert.heard().len(), 1);
    stranger.set_nonblocking(true).unwrap();
    let nothing = stranger.recv_from(&mut [0; 2048]).unwrap_err();
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    server.stop().await;
}

#[actix::test]
async fn a_client_hears_on_the_socket_that_it_speaks_from() {
    let server = server().await;
    let (mut anna, mut bert) = pair(&server).await;
    anna.speak(b"one");
    assert_eq!(bert.heard()[0].payload, b"one");
    bert.speak(b"two");
    assert_eq!(anna.heard()[0].payload, b"two");
    server.stop().await;
}

#[actix::test]
async fn long_texts_arrive_whole_and_texts_that_run_together_arrive_apart() {
    // More at once than one member may say by default.
    let server = server_with(Limits::loosest()).await;
    let (mut anna, mut bert) = pair(&server).await;
    let texts: Vec<String> = (0..15).map(|k| format!("{k} ").repeat(TEXT_BYTES_MAX / 4)).collect();
    let mut together = Vec::new();
    for text in &texts {
        let chat = ClientMessage::Chat { text: text.clone() };
        together.extend(frame::encode(&Envelope::event(chat)).unwrap());
    }
    // In one write, and then cut at the original's 1024 bytes.
    for piece in [together.len(), 1024] {
        for bytes in together.chunks(piece) {
            anna.write_raw(bytes).await;
        }
        for text in &texts {
            let chat = bert.wait_for(|m| matches!(m, ServerMessage::Chat { .. })).await;
            let ServerMessage::Chat { text: heard, name, .. } = chat else { unreachable!() };
            assert_eq!((heard, name.as_str()), (text.clone(), "anna"));
        }
    }
    server.stop().await;
}

#[actix::test]
async fn a_member_who_leaves_is_sent_no_voice_from_the_next_packet_on() {
    let server = server().await;
    let (mut anna, mut bert) = pair(&server).await;
    let mut carl = Peer::connect(&server, "carl").await;
    carl.join("hall").await;
    carl.open_voice().await;
    anna.speak(b"before");
    assert_eq!(bert.heard().len(), 1);
    assert_eq!(carl.heard().len(), 1);
    let left = bert.request(ClientMessage::Leave).await;
    assert!(matches!(left, ServerMessage::Left { .. }));
    carl.join("elsewhere").await;
    for _ in 0..20 {
        anna.speak(b"after");
    }
    assert_eq!(bert.heard(), []);
    assert_eq!(carl.heard(), []);
    // And nothing of theirs reaches the room any more.
    bert.speak(b"still here?");
    carl.speak(b"over there");
    assert_eq!(anna.heard(), []);
    server.stop().await;
}

#[actix::test]
async fn voice_is_passed_on_exactly_the_first_packet_and_the_later_ones() {
    let server = server().await;
    let (mut anna, mut bert) = pair(&server).await;
    let said: Vec<Vec<u8>> =
        (0..30u8).map(|k| (0..640u32).map(|n| (n * 7) as u8 ^ k).collect()).collect();
    for payload in &said {
        anna.speak(payload);
    }
    let heard = bert.heard();
    assert!(heard.iter().all(|h| h.ssrc == anna.ssrc()));
    let payloads: Vec<_> = heard.into_iter().map(|h| h.payload).collect();
    assert_eq!(payloads, said);
    let voice = anna.seal_voice(b"");
    assert_eq!(voice.len(), rtp::HEADER_BYTES + 16, "nothing but a header and a tag is added");
    server.stop().await;
}
