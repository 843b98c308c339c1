//! More open microphones than are heard at once.

use super::*;
use crate::net::limits::WITHHELD_NEWS_INTERVAL;
use crate::net::rtp::{AudioLevel, RtpPacket};

impl Client {
    fn loud(&mut self, level: u8, payload: &[u8]) -> Vec<u8> {
        let header = RtpHeader {
            marker: false,
            payload_type: PT_L16,
            seq: self.index.seq(),
            timestamp: 0,
            ssrc: self.voice.stream(0),
            audio_level: Some(AudioLevel { voice: true, level }),
        };
        let mut packet = Vec::new();
        header.write(&mut packet);
        packet.extend_from_slice(payload);
        let mut sealed = Vec::new();
        self.up.seal_rtp(&packet, self.index, &mut sealed).unwrap();
        self.index.0 += 1;
        sealed
    }
}

fn withheld(bench: &mut Bench) -> Vec<(SessionId, bool)> {
    let notices = bench.notices().into_iter().filter_map(|(session, notice)| match notice {
        VoiceNotice::Withheld(withheld) => Some((session, withheld)),
        VoiceNotice::Speaking(_) | VoiceNotice::Path(_) => None,
    });
    notices.collect()
}

/// Payloads that a listener hears.
fn heard(bench: &mut Bench, listener: &Client, from: SocketAddr, voice: &[u8]) -> Vec<Vec<u8>> {
    let sent = bench.from(from, voice).into_iter().filter(|(to, _)| *to == listener.address);
    sent.map(|(_, mut sealed)| {
        let index = PacketIndex::new(0, peek_seq(&sealed).unwrap());
        let packet = listener.down.open_rtp(&mut sealed, index).unwrap();
        RtpPacket::parse(packet).unwrap().payload.to_vec()
    })
    .collect()
}

#[test]
fn the_loudest_are_heard_and_whoever_is_withheld_is_told_and_so_is_the_end_of_it() {
    let mut bench = Bench::new();
    bench.stage = Stage::new(2, bench.now);
    let mut clients: Vec<Client> = (1..=4).map(|k| bench.client(k)).collect();
    let routes: Vec<_> = clients.iter().map(|client| (client, client.udp())).collect();
    bench.room(&routes);
    let listener = clients.pop().unwrap();
    let levels = [30, 40, 35];
    for (k, level) in levels.into_iter().enumerate() {
        let voice = clients[k].loud(level, b"first");
        let got = heard(&mut bench, &listener, clients[k].address, &voice);
        assert_eq!(got.len(), usize::from(k < 2), "the first two find a place");
    }
    assert_eq!(withheld(&mut bench), [(clients[2].session, true)]);
    // Clearly louder than the quieter of them: he is heard, and the other one is not.
    bench.now += WITHHELD_NEWS_INTERVAL;
    for k in 0..2 {
        let voice = clients[k].loud(levels[k], b"on");
        assert_eq!(heard(&mut bench, &listener, clients[k].address, &voice).len(), 1);
    }
    let voice = clients[2].loud(20, b"louder");
    assert_eq!(heard(&mut bench, &listener, clients[2].address, &voice), [b"louder".to_vec()]);
    assert_eq!(withheld(&mut bench), [(clients[2].session, false)]);
    // The end of his talkspurt goes to the others in three packets without payload, and then nothing.
    let mut got = Vec::new();
    for _ in 0..10 {
        let voice = clients[1].loud(40, b"unheard");
        got.extend(heard(&mut bench, &listener, clients[1].address, &voice));
    }
    assert_eq!(got, vec![Vec::<u8>::new(); 3]);
    assert_eq!(withheld(&mut bench), [(clients[1].session, true)]);
    // Who stops to speak is withheld no longer.
    bench.now += WITHHELD_NEWS_INTERVAL;
    bench.core.handle_timeout(bench.now, &mut bench.out);
    assert_eq!(withheld(&mut bench), [(clients[1].session, false)]);
}

#[test]
fn however_long_somebody_is_withheld_his_voice_opens_when_he_is_heard_again() {
    let mut bench = Bench::new();
    bench.stage = Stage::new(1, bench.now);
    let (mut a, mut b, c) = (bench.client(1), bench.client(2), bench.client(3));
    bench.room(&[(&a, a.udp()), (&b, b.udp()), (&c, c.udp())]);
    let mut highest = PacketIndex(0);
    let mut last = Vec::new();
    // Half an hour at 50 packets a second: sequence numbers roll over.
    for k in 0..90_000u32 {
        bench.now += Duration::from_millis(20);
        if k < 89_900 {
            let voice = a.loud(10, b"louder");
            bench.from(a.address, &voice);
        }
        let voice = b.loud(60, b"quiet");
        for (to, mut sealed) in bench.from(b.address, &voice) {
            if to == c.address {
                // As a receiver works it out.
                let index = highest.nearest(peek_seq(&sealed).unwrap());
                last = c.down.open_rtp(&mut sealed, index).unwrap().to_vec();
                highest = index;
            }
        }
        bench.notices();
    }
    assert!(last.ends_with(b"quiet"));
    assert!(highest.roc() > 0);
    let counters = bench.core.counters();
    assert!(counters.withheld > 89_000, "{counters:?}");
}
