//! Every fuzz body on bytes at random and on real messages with random damage, for a bounded time.

use parlor::net::ids::Ssrc;
use parlor::net::message::{ClientMessage, Envelope};
use parlor::net::rtcp::{self, App};
use parlor::net::rtp::{AudioLevel, RtpHeader};
use parlor::net::{codec, frame, fuzz};
use proptest::prelude::*;

fn seeds() -> Vec<Vec<u8>> {
    let chat = ClientMessage::Chat { text: "hello".to_owned() };
    let voice = ClientMessage::Voice { packet: vec![1, 2, 3] };
    let mut all: Vec<Vec<u8>> = [chat, voice, ClientMessage::Leave]
        .into_iter()
        .map(|body| frame::encode(&Envelope::answer(Some(1), body)).unwrap()[4..].to_vec())
        .collect();
    let header = RtpHeader {
        marker: true,
        payload_type: codec::PT_L16,
        seq: 7,
        timestamp: 8,
        ssrc: Ssrc(9),
        audio_level: Some(AudioLevel { voice: true, level: 20 }),
    };
    let mut rtp = Vec::new();
    header.write(&mut rtp);
    rtp.extend([0; 40]);
    all.push(rtp);
    let mut report = Vec::new();
    rtcp::write_receiver_report(&mut report, Ssrc(1), &[]);
    rtcp::write_app(&mut report, Ssrc(1), App::Keepalive([3; 8]));
    all.push(report);
    all.push("Zoë [::1]:8888".as_bytes().to_vec());
    all
}

/// A real message with bytes changed, cut off, or added.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (prop::sample::select(seeds()), changes, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(mut bytes, changes, cut, cuts)| {
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if cuts {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            bytes
        },
    )
}

fn all_bodies(bytes: &[u8]) {
    fuzz::control_frame(bytes);
    fuzz::rtp_packet(bytes);
    fuzz::rtcp_packets(bytes);
    fuzz::protected_datagram(bytes);
    fuzz::names_and_addresses(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        all_bodies(&bytes);
    }

    #[test]
    fn damaged_messages(bytes in damaged()) {
        all_bodies(&bytes);
    }

    #[test]
    fn random_texts(text in "\\PC{0,80}|[\\u{0}-\\u{20}\\u{300}-\\u{36f}\\u{1100}-\\u{11ff}\\u{202a}-\\u{202e}a-f]{0,70}") {
        all_bodies(text.as_bytes());
    }
}
