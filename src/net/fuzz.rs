//! Fuzz bodies: what must hold for any bytes. Plain functions, for tests and for `fuzz/` alike.
//!
//! Each takes bytes as a hostile peer would send them and panics only where Parlor is wrong.
#![doc(hidden)]

use super::address::HostPort;
use super::codec::l16_decode;
use super::frame;
use super::ids::PacketIndex;
use super::message::{ClientMessage, Envelope, ServerMessage};
use super::name::{RoomName, UserName, printable};
use super::protect::Opener;
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

pub fn rtcp_packets(bytes: &[u8]) {
    for packet in rtcp::packets(bytes) {
        if let Ok(RtcpPacket::Sender { blocks, .. } | RtcpPacket::Receiver { blocks, .. }) = packet
        {
            assert!(blocks.count() <= 31);
        }
    }
}

pub fn protected_datagram(bytes: &[u8]) {
    let opener = Opener::plain(Secret::new([1; 28]));
    let mut copy = bytes.to_vec();
    if let Ok(packet) = opener.open_rtp(&mut copy, PacketIndex(0)) {
        assert!(packet.len() < bytes.len());
    }
    let _ = opener.open_rtcp(&mut copy);
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
