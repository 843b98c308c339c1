//! No nonce comes twice: each index of an SSRC is sealed once for each receiver's key, and no later than
//! the last index there is (RFC 3711, 9.1; RFC 7714, 8.1 and 9.1).

use super::*;
use crate::net::frame;
use crate::net::message::{Envelope, ServerMessage};
use crate::net::rtp::{is_rtcp, peek_ssrc};
use std::collections::BTreeSet;

/// What was sealed for one receiver, by what its nonces are made of.
#[derive(Default)]
struct Nonces {
    rtp: BTreeSet<(Ssrc, u16)>,
    rtcp: BTreeSet<(Ssrc, u64)>,
}

impl Nonces {
    /// Notes a datagram that the receiver must be able to open, and that no nonce of it was there before.
    fn note(&mut self, receiver: &Client, sealed: &[u8]) {
        let mut copy = sealed.to_vec();
        let ssrc = peek_ssrc(sealed).unwrap();
        if is_rtcp(sealed) {
            let (_, index) = receiver.down.open_rtcp(&mut copy).unwrap();
            assert!(self.rtcp.insert((ssrc, index.0)), "RTCP index {} again", index.0);
        } else {
            let seq = peek_seq(sealed).unwrap();
            // These tests stay within the first roll-over.
            receiver.down.open_rtp(&mut copy, PacketIndex::new(0, seq)).unwrap();
            assert!(self.rtp.insert((ssrc, seq)), "RTP packet {seq} of {ssrc} again");
        }
    }
}

/// What waits in a control connection.
async fn inside(outbox: &Outbox) -> Vec<Vec<u8>> {
    let frames = tokio::select! {
        biased;
        take = outbox.take() => match take {
            Take::Write(frames) => frames,
            Take::Close => Vec::new(),
        },
        () = std::future::ready(()) => Vec::new(),
    };
    let packets = frames.iter().map(|bytes| {
        match frame::decode::<Envelope<ServerMessage>>(&bytes[4..]).unwrap().body {
            ServerMessage::Voice { packet } => packet,
            other => panic!("{other:?}"),
        }
    });
    packets.collect()
}

#[tokio::test]
async fn however_often_and_from_wherever_a_packet_comes_it_is_sealed_once_for_each_receiver() {
    let mut bench = Bench::new();
    let (mut a, b, c) = (bench.client(1), bench.client(2), bench.client(3));
    bench.room(&[(&a, a.udp()), (&b, b.udp()), (&c, Some(VoicePath::Stream(c.outbox.clone())))]);
    let said: Vec<Vec<u8>> = (0..60u8).map(|k| a.voice(&[k; 50])).collect();
    let (mut for_a, mut for_b, mut for_c) =
        (Nonces::default(), Nonces::default(), Nonces::default());
    // Each packet three times, interleaved and out of order, from three addresses and the stream.
    for round in 0..4u8 {
        for k in 0..said.len() {
            let mut voice = said[(k * 7 + usize::from(round) * 13) % said.len()].clone();
            let origin = match round {
                0 => Origin::Udp(a.address),
                3 => Origin::Stream(a.session),
                _ => Origin::Udp(address(round, 99)),
            };
            bench.core.handle_datagram(origin, &mut voice, bench.now, &mut bench.out);
            bench.now += Duration::from_millis(5);
            for (to, sealed) in bench.sent() {
                match to {
                    to if to == b.address => for_b.note(&b, &sealed),
                    // Challenges.
                    _ => for_a.note(&a, &sealed),
                }
            }
            for sealed in inside(&c.outbox).await {
                for_c.note(&c, &sealed);
            }
        }
    }
    assert_eq!((for_b.rtp.len(), for_c.rtp.len(), for_a.rtp.len()), (60, 60, 0));
}

#[tokio::test]
async fn the_server_s_own_packets_never_use_an_index_twice_whichever_way_they_go() {
    let mut bench = Bench::new();
    let (mut a, b) = (bench.client(1), bench.client(2));
    bench.room(&[(&a, None), (&b, b.udp())]);
    let mut nonces = Nonces::default();
    let mut by_stream = 0;
    for k in 0..400u16 {
        let mut packet = Vec::new();
        match k % 3 {
            0 => rtcp::write_app(&mut packet, a.voice.stream(0), App::Keepalive([1; 8])),
            1 => rtcp::write_receiver_report(&mut packet, a.voice.stream(0), &[]),
            _ => rtcp::write_app(&mut packet, a.voice.stream(0), App::ChallengeAnswer([0; 8])),
        }
        // The address changes all the time, and now and then a challenge is answered.
        let from = address(5, 5000 + k / 50);
        let mut datagram = a.rtcp(&packet);
        let stream = k % 4 == 0;
        let origin = if stream { Origin::Stream(a.session) } else { Origin::Udp(from) };
        bench.core.handle_datagram(origin, &mut datagram, bench.now, &mut bench.out);
        bench.now += Duration::from_millis(130);
        let mut open = bench.sent();
        while let Some((to, sealed)) = open.pop() {
            nonces.note(&a, &sealed);
            if let App::Challenge(probe) = read_any(&a, &sealed) {
                let answer = a.app(App::ChallengeAnswer(probe));
                open.extend(bench.from(to, &answer));
            }
        }
        for sealed in inside(&a.outbox).await {
            nonces.note(&a, &sealed);
            by_stream += 1;
        }
        bench.notices();
    }
    assert!(by_stream > 20 && nonces.rtcp.len() > by_stream + 100, "{by_stream}");
    // One counter for all ways, without a hole: none was sealed that was not sent.
    let indices: Vec<u64> = nonces.rtcp.iter().map(|(_, index)| *index).collect();
    assert_eq!(indices, (0..indices.len() as u64).collect::<Vec<_>>());
}

/// The first of the server's packets in a datagram, if it is one of Parlor's own.
fn read_any(client: &Client, sealed: &[u8]) -> App {
    let mut copy = sealed.to_vec();
    let (packet, _) = client.down.open_rtcp(&mut copy).unwrap();
    match rtcp::packets(packet).next() {
        Some(Ok(RtcpPacket::App { app, .. })) => app,
        _ => App::Keepalive([0; 8]),
    }
}

#[test]
fn after_the_last_index_nothing_more_is_sealed_under_a_key() {
    let mut bench = Bench::new();
    let (mut a, b) = (bench.client(1), bench.client(2));
    bench.room(&[(&a, a.udp()), (&b, b.udp())]);
    bench.prove(&mut a);
    bench.core.wind_forward(a.voice.base(), PacketIndex((1 << 48) - 3), (1 << 31) - 1);
    a.index = PacketIndex((1 << 48) - 2);
    for _ in 0..2 {
        let voice = a.voice(b"to the end");
        let sent = bench.from(a.address, &voice);
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].0, b.address);
    }
    // The next number would be the first again: neither it nor its first namesake passes.
    for index in [0, 1 << 32] {
        a.index = PacketIndex(index);
        let voice = a.voice(b"once more from the beginning");
        assert_eq!(bench.from(a.address, &voice), []);
    }
    let keepalive = a.app(App::Keepalive([7; 8]));
    let last = bench.from(a.address, &keepalive);
    let mut copy = last[0].1.clone();
    assert_eq!(a.down.open_rtcp(&mut copy).unwrap().1, PacketIndex((1 << 31) - 1));
    let keepalive = a.app(App::Keepalive([8; 8]));
    assert_eq!(bench.from(a.address, &keepalive), []);
}
