//! Fuzz bodies: what must hold for any bytes. Plain functions, for tests and for `fuzz/` alike.
//!
//! Each takes bytes as a hostile peer would send them and panics only where Parlor is wrong.
#![doc(hidden)]

use super::address::HostPort;
use super::codec::{CLOCKS, OPUS_SAMPLES_MAX, PT_L16, PT_OPUS, PT_RED, l16_decode};
use super::device::DeviceProof;
use super::frame;
use super::frames::frames;
use super::ids::PacketIndex;
use super::invite::Invite;
use super::message::{ClientMessage, Envelope, Protection, ServerMessage};
use super::moderation::{AdminReply, AdminRequest};
use super::name::{RoomName, UserName, printable};
use super::protect::{KEY_BYTES, Opener, Sealer};
use super::rtcp::{self, RtcpPacket};
use super::rtp::{self, RtpPacket};
use super::secret::Secret;

pub fn control_frame(bytes: &[u8]) {
    if let Ok(message) = frame::decode::<Envelope<ClientMessage>>(bytes)
        && let Ok(written) = frame::encode(&message)
    {
        let again = frame::decode::<Envelope<ClientMessage>>(written.get(4..).unwrap_or_default());
        assert_eq!(again.ok(), Some(message));
    }
    let _ = frame::decode::<Envelope<ServerMessage>>(bytes);
}

pub fn rtp_packet(bytes: &[u8]) {
    let _ = rtp::peek_seq(bytes);
    if let Ok(packet) = RtpPacket::parse(bytes) {
        assert!(packet.payload.len() + rtp::HEADER_BYTES <= bytes.len());
        assert_eq!(rtp::peek_ssrc(bytes), Some(packet.header.ssrc));
        let mut written = Vec::new();
        packet.header.write(&mut written);
        written.extend_from_slice(packet.payload);
        if let Ok(again) = RtpPacket::parse(&written) {
            assert_eq!((again.header, again.payload), (packet.header, packet.payload));
        }
        let _ = l16_decode(packet.payload, &mut Vec::new());
    }
}

/// What a voice packet carries, whatever it says that it is.
pub fn voice_payload(bytes: &[u8]) {
    for clock_hz in CLOCKS {
        for payload_type in [PT_L16, PT_OPUS, PT_RED] {
            let Ok(frames) = frames(payload_type, clock_hz, bytes) else { continue };
            let mut total = 0;
            let mut own = 0;
            for frame in frames {
                assert_eq!(frame.payload_type.clock_hz(), Some(clock_hz));
                assert!(frame.payload_type != PT_OPUS || frame.duration <= OPUS_SAMPLES_MAX);
                assert!(frame.offset == 0 || frame.duration > 0);
                own += usize::from(frame.offset == 0);
                total += frame.data.len();
            }
            assert_eq!(own, 1, "every packet has a frame of its own");
            assert!(total <= bytes.len());
        }
    }
}

pub fn rtcp_packets(bytes: &[u8]) {
    for packet in rtcp::packets(bytes) {
        if let Ok(RtcpPacket::Sender { blocks, .. } | RtcpPacket::Receiver { blocks, .. }) = packet
        {
            assert!(blocks.count() <= 31);
        }
    }
}

pub fn protected_datagram(bytes: &[u8]) {
    let Ok(opener) = Opener::new(Protection::Plain, &Secret::new([1; 28])) else { return };
    let mut copy = bytes.to_vec();
    if let Ok(packet) = opener.open_rtp(&mut copy, PacketIndex(0)) {
        assert!(packet.len() < bytes.len());
    }
    let _ = opener.open_rtcp(&mut copy);
}

/// Keys that a fuzzer's seeds may be sealed with.
pub const SRTP_KEY: [u8; KEY_BYTES] = [1; KEY_BYTES];

pub fn srtp_datagram(bytes: &[u8]) {
    let key = Secret::new(SRTP_KEY);
    let made = (
        Opener::new(Protection::AeadAes128Gcm, &key),
        Sealer::new(Protection::AeadAes128Gcm, &key),
    );
    let (Ok(opener), Ok(sealer)) = made else { return };
    let index = PacketIndex(u64::from(rtp::peek_seq(bytes).unwrap_or_default()));
    let mut copy = bytes.to_vec();
    if let Ok(packet) = opener.open_rtp(&mut copy, index) {
        // What opens is exactly what the key's owner seals.
        let mut again = Vec::new();
        assert_eq!(sealer.seal_rtp(packet, index, &mut again), Ok(()));
        assert_eq!(again, bytes);
    }
    let mut copy = bytes.to_vec();
    if let Ok((packet, index)) = opener.open_rtcp(&mut copy) {
        let mut again = Vec::new();
        assert_eq!(sealer.seal_rtcp(packet, index, &mut again), Ok(()));
        assert_eq!(again, bytes);
    }
    // And whatever can be sealed opens again.
    let mut sealed = Vec::new();
    if sealer.seal_rtp(bytes, index, &mut sealed).is_ok() {
        assert_eq!(opener.open_rtp(&mut sealed, index).as_deref(), Ok(&bytes.to_vec()[..]));
    }
    sealed.clear();
    if sealer.seal_rtcp(bytes, index, &mut sealed).is_ok() {
        let opened = opener.open_rtcp(&mut sealed);
        assert!(opened.is_ok_and(|(packet, at)| *packet == *bytes && at == index));
    }
}

pub fn invite(bytes: &[u8]) {
    if let Ok(invite) = String::from_utf8_lossy(bytes).parse::<Invite>() {
        let line = invite.to_string();
        assert_eq!(line.parse(), Ok(invite), "an invite reads back as written");
    }
}

pub fn device_proof(bytes: &[u8]) {
    let Some((head, rest)) = bytes.split_first_chunk::<32>() else { return };
    let Some((signature, binding)) = rest.split_first_chunk::<64>() else { return };
    let proof = DeviceProof { key: *head, signature: *signature };
    // Nobody signs by chance.
    let binding = Secret::new(binding.first_chunk().copied().unwrap_or([0; 32]));
    let _ = proof.verify(&binding);
}

/// What reaches a running server over its own socket, and what comes back.
pub fn admin_frame(bytes: &[u8]) {
    if let Ok(request) = frame::decode::<AdminRequest>(bytes)
        && let Ok(written) = frame::encode(&request)
    {
        let again = frame::decode::<AdminRequest>(written.get(4..).unwrap_or_default());
        assert_eq!(again.ok(), Some(request));
    }
    let _ = frame::decode::<AdminReply>(bytes);
}

pub fn names_and_addresses(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(name) = UserName::parse(&text) {
        // A name reads back as itself, so that both ends agree on it.
        assert_eq!(UserName::parse(name.as_str()), Ok(name.clone()));
        assert!(!name.as_str().chars().any(char::is_control));
        let _ = name.keys();
    }
    if let Ok(name) = RoomName::parse(&text) {
        assert_eq!(RoomName::parse(name.as_str()), Ok(name));
    }
    assert!(!printable(&text).chars().any(|c| c.is_control() && c != '\n'));
    if let Ok(address) = HostPort::parse(&text) {
        assert_eq!(HostPort::parse(&address.to_string()), Ok(address));
    }
}
