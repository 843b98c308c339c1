//! Every fuzz body on bytes at random and on real messages with random damage, for a bounded time.

use parlor::net::address::HostPort;
use parlor::net::device::{ChannelBinding, DeviceKey, DeviceProof};
use parlor::net::fingerprint::Fingerprint;
use parlor::net::ids::{PacketIndex, Ssrc};
use parlor::net::invite::Invite;
use parlor::net::message::{ClientMessage, Envelope, Hello, Protection};
use parlor::net::moderation::{AdminRequest, Moderation, Target};
use parlor::net::name::RoomName;
use parlor::net::protect::{Opener, Sealer};
use parlor::net::rtcp::{self, App};
use parlor::net::rtp::{AudioLevel, RtpHeader};
use parlor::net::secret::Secret;
use parlor::net::{codec, frame, fuzz, red};
use proptest::prelude::*;

fn seeds() -> Vec<Vec<u8>> {
    let chat = ClientMessage::Chat { text: "hello".to_owned() };
    let voice = ClientMessage::Voice { packet: vec![1, 2, 3] };
    let order = Moderation::Ban {
        target: Target::Network("10.0.0.0/8".to_owned()),
        room: None,
        seconds: Some(60),
        reason: Some("spam".to_owned()),
    };
    let moderate = ClientMessage::Moderate { order: order.clone() };
    let mut hello = Hello::new("Zoë");
    hello.device = Some(DeviceProof { key: [1; 32], signature: [2; 64] });
    hello.invite = Some(Secret::new([3; 32]));
    let hello = ClientMessage::Hello(Box::new(hello));
    let mut all: Vec<Vec<u8>> = [chat, voice, moderate, hello, ClientMessage::Leave]
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
    let sealer = Sealer::new(Protection::AeadAes128Gcm, &Secret::new(fuzz::SRTP_KEY)).unwrap();
    let (mut srtp, mut srtcp) = (Vec::new(), Vec::new());
    sealer.seal_rtp(&rtp, PacketIndex(7), &mut srtp).unwrap();
    all.extend([rtp, srtp]);
    let mut report = Vec::new();
    rtcp::write_receiver_report(&mut report, Ssrc(1), &[]);
    rtcp::write_app(&mut report, Ssrc(1), App::Keepalive([3; 8]));
    sealer.seal_rtcp(&report, PacketIndex(5), &mut srtcp).unwrap();
    all.extend([report, srtcp]);
    let invite = Invite {
        server: HostPort::parse("[::1]:8888").unwrap(),
        fingerprint: Some(Fingerprint::new([9; 32])),
        room: Some(RoomName::parse("Café / 2").unwrap()),
        token: Secret::new([4; 32]),
    };
    all.push(invite.to_string().into_bytes());
    for request in [AdminRequest::Moderate { order }, AdminRequest::Status] {
        all.push(frame::encode(&request).unwrap()[4..].to_vec());
    }
    let binding: ChannelBinding = Secret::new([5; 32]);
    let proof = DeviceKey::from_seed(&Secret::new([6; 32])).unwrap().prove(&binding);
    assert!(proof.verify(&binding).is_some());
    all.push([&proof.key[..], &proof.signature, binding.expose()].concat());
    all.push("Zoë [::1]:8888".as_bytes().to_vec());
    let frame = [8 << 3, 1, 2, 3];
    let block = |offset| red::Block { payload_type: codec::PT_OPUS, offset, data: &frame };
    let mut redundant = Vec::new();
    red::write(&[block(960), block(480)], block(0), &mut redundant).unwrap();
    all.push(redundant);
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

#[test]
fn seeds_are_what_the_bodies_are_about() {
    let opener = Opener::new(Protection::AeadAes128Gcm, &Secret::new(fuzz::SRTP_KEY)).unwrap();
    let seeds = seeds();
    let opens = |seed: &&Vec<u8>| {
        opener.open_rtp(&mut seed.to_vec(), PacketIndex(7)).is_ok()
            || opener.open_rtcp(&mut seed.to_vec()).is_ok()
    };
    assert_eq!(seeds.iter().filter(opens).count(), 2);
    let text = |seed: &Vec<u8>| String::from_utf8_lossy(seed).into_owned();
    assert_eq!(seeds.iter().filter(|seed| text(seed).parse::<Invite>().is_ok()).count(), 1);
    let admin = |seed: &&Vec<u8>| {
        frame::decode::<AdminRequest>(seed).is_ok_and(|request| request != AdminRequest::Unknown)
    };
    assert!(seeds.iter().filter(admin).count() >= 2);
    seeds.iter().for_each(|seed| all_bodies(seed));
}

fn all_bodies(bytes: &[u8]) {
    fuzz::control_frame(bytes);
    fuzz::rtp_packet(bytes);
    fuzz::voice_payload(bytes);
    fuzz::rtcp_packets(bytes);
    fuzz::protected_datagram(bytes);
    fuzz::srtp_datagram(bytes);
    fuzz::invite(bytes);
    fuzz::device_proof(bytes);
    fuzz::admin_frame(bytes);
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
