//! SRTP as another implementation understands it (rtc-srtp): it opens what we seal, and we open what it seals.

use parlor::net::ids::{PacketIndex, Ssrc};
use parlor::net::message::Protection;
use parlor::net::protect::{DirectionKey, KEY_BYTES, Opener, Sealer};
use parlor::net::replay::ReplayWindow;
use parlor::net::rtcp::{self, App};
use parlor::net::rtp::{AudioLevel, RtpHeader, peek_seq};
use parlor::net::secret::Secret;
use parlor::net::{codec, limits};
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;

const PROTECTION: Protection = Protection::AeadAes128Gcm;
const SSRC: Ssrc = Ssrc(0x1234_5678);
/// The highest sequence number that a stream may begin with, and beyond two roll-overs from there.
const FIRST: PacketIndex = PacketIndex(0x7fff);
const LAST: PacketIndex = PacketIndex(0x2_0100);

fn key() -> DirectionKey {
    Secret::new(std::array::from_fn(|k| (k * 37 + 11) as u8))
}

fn theirs() -> Context {
    let key = key();
    let bytes: &[u8; KEY_BYTES] = key.expose();
    let (master, salt) = bytes.split_at(16);
    let crypto = rtc_crypto::default_provider().unwrap();
    let profile = ProtectionProfile::AeadAes128Gcm;
    Context::new(master, salt, profile, None, None, crypto.crypto()).unwrap()
}

/// A packet of this index: with the audio level now and then, with a payload of every length, also none.
fn packet(index: PacketIndex) -> Vec<u8> {
    let level = AudioLevel { voice: true, level: 40 };
    let header = RtpHeader {
        marker: index.0.is_multiple_of(50),
        payload_type: codec::PT_L16,
        seq: index.seq(),
        timestamp: (index.0 * 320) as u32,
        ssrc: SSRC,
        audio_level: index.0.is_multiple_of(3).then_some(level),
    };
    let mut packet = Vec::new();
    header.write(&mut packet);
    packet.extend((0..index.0 % 97).map(|n| (n ^ index.0) as u8));
    packet
}

#[test]
fn another_implementation_opens_our_voice_over_two_roll_overs_with_losses() {
    let (sealer, mut theirs) = (Sealer::new(PROTECTION, &key()).unwrap(), theirs());
    let mut sealed = Vec::new();
    for index in (FIRST.0..LAST.0).map(PacketIndex) {
        // One of seven is lost, and all around the roll-overs.
        if index.0 % 7 == 3 || matches!(index.seq(), 0xfffe..=0xffff | 0..=1) {
            continue;
        }
        let packet = packet(index);
        sealed.clear();
        sealer.seal_rtp(&packet, index, &mut sealed).unwrap();
        assert_eq!(theirs.decrypt_rtp(&sealed).unwrap(), packet, "{index:?}");
    }
    *sealed.last_mut().unwrap() ^= 1;
    assert!(theirs.decrypt_rtp(&sealed).is_err(), "it does look at the tag");
}

#[test]
fn we_open_another_implementation_s_voice_over_two_roll_overs_with_losses() {
    let (opener, mut theirs) = (Opener::new(PROTECTION, &key()).unwrap(), theirs());
    let mut window = ReplayWindow::default();
    for index in (FIRST.0..LAST.0).map(PacketIndex) {
        let packet = packet(index);
        let mut sealed = theirs.encrypt_rtp(&packet).unwrap().to_vec();
        if index.0 % 7 == 3 || matches!(index.seq(), 0xfffe..=0xffff | 0..=1) {
            continue;
        }
        let estimate = window.estimate(peek_seq(&sealed).unwrap());
        assert_eq!(estimate, index);
        window.check(estimate).unwrap();
        assert_eq!(opener.open_rtp(&mut sealed, estimate).unwrap(), packet, "{index:?}");
        window.commit(estimate);
    }
}

fn report(k: u8) -> Vec<u8> {
    let mut report = Vec::new();
    rtcp::write_receiver_report(&mut report, SSRC, &[]);
    rtcp::write_app(&mut report, SSRC, App::Keepalive([k; 8]));
    report
}

#[test]
fn another_implementation_opens_our_rtcp() {
    let (sealer, mut theirs) = (Sealer::new(PROTECTION, &key()).unwrap(), theirs());
    for (k, index) in [1, 2, 900, 0x7fff_ffff].into_iter().enumerate() {
        let report = report(k as u8);
        let mut sealed = Vec::new();
        sealer.seal_rtcp(&report, PacketIndex(index), &mut sealed).unwrap();
        assert_eq!(theirs.decrypt_rtcp(&sealed).unwrap(), report);
        sealed[9] ^= 1;
        assert!(theirs.decrypt_rtcp(&sealed).is_err());
    }
}

#[test]
fn we_open_another_implementation_s_rtcp_each_packet_once() {
    let (opener, mut theirs) = (Opener::new(PROTECTION, &key()).unwrap(), theirs());
    let mut window = ReplayWindow::default();
    for k in 0..200 {
        let report = report(k);
        let mut sealed = theirs.encrypt_rtcp(&report).unwrap().to_vec();
        assert!(sealed.len() <= limits::DATAGRAM_BYTES_MAX);
        let (packet, index) = opener.open_rtcp(&mut sealed).unwrap();
        assert_eq!(*packet, report);
        assert_eq!(window.check(index), Ok(()));
        window.commit(index);
    }
}
