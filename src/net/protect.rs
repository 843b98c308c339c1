//! The seam between packets and what protects them: open what came up, seal what goes down.
//!
//! Forwarders and clients know only [`Opener`] and [`Sealer`]. Behind them stands the plain form
//! (`--insecure`): every datagram carries the session's secret tag of that direction.
//!
//! ```text
//! RTP    packet | tag (16)
//! RTCP   packet | tag (16) | E=0, index (4)      the layout of SRTCP with an AEAD (RFC 7714, 9.2)
//! ```
//!
//! The trailing tag leaves the SSRC where the kernel's steering program looks for it. The plain tag
//! proves who sent a datagram to anyone who cannot read the path, and nothing more.

use super::ids::PacketIndex;
use super::secret::Secret;
use std::sync::Arc;

/// Bytes that sealing adds to an RTP packet.
pub const RTP_OVERHEAD: usize = TAG_BYTES;
/// Bytes that sealing adds to an RTCP packet.
pub const RTCP_OVERHEAD: usize = TAG_BYTES + 4;
/// Bytes of a tag.
pub const TAG_BYTES: usize = 16;

/// Bytes of a direction's secret: an SRTP master key of 16 and a master salt of 12 (RFC 7714, 12).
pub const KEY_BYTES: usize = 28;

/// The secret of one session in one direction. The plain form uses its first 16 bytes as tag.
pub type DirectionKey = Secret<KEY_BYTES>;

/// The tag that the plain form puts on a direction's datagrams.
#[must_use]
pub fn plain_tag(key: &DirectionKey) -> [u8; TAG_BYTES] {
    key.expose().first_chunk().copied().unwrap_or_default()
}

/// Why a datagram is dropped, without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Shorter than any protected packet.
    #[error("datagram too short")]
    Truncated,
    /// The tag is not the session's.
    #[error("datagram does not authenticate")]
    Unauthentic,
}

/// Opens datagrams of one session in one direction.
#[derive(Clone, Debug)]
pub enum Opener {
    /// Secret tag, nothing encrypted.
    Plain(Arc<DirectionKey>),
}

/// Seals datagrams of one session in one direction.
#[derive(Clone, Debug)]
pub enum Sealer {
    /// Secret tag, nothing encrypted.
    Plain(Arc<DirectionKey>),
}

impl Opener {
    /// The plain form with this direction's secret.
    #[must_use]
    pub fn plain(key: DirectionKey) -> Self {
        Self::Plain(Arc::new(key))
    }

    /// Opens an RTP datagram in place: the packet's bytes, at the front of `datagram`.
    ///
    /// `index` is what the replay window estimates for the packet.
    ///
    /// # Errors
    /// Too short, or not sealed with this session's key.
    pub fn open_rtp<'a>(
        &self,
        datagram: &'a mut [u8],
        _index: PacketIndex,
    ) -> Result<&'a mut [u8], OpenError> {
        let length = datagram.len().checked_sub(RTP_OVERHEAD).ok_or(OpenError::Truncated)?;
        let (packet, tag) = datagram.split_at_mut_checked(length).ok_or(OpenError::Truncated)?;
        self.verify(tag)?;
        Ok(packet)
    }

    /// Opens an RTCP datagram in place: the packet's bytes and its index (RFC 3711, 3.4).
    ///
    /// # Errors
    /// Too short, or not sealed with this session's key.
    pub fn open_rtcp<'a>(
        &self,
        datagram: &'a mut [u8],
    ) -> Result<(&'a mut [u8], PacketIndex), OpenError> {
        let length = datagram.len().checked_sub(RTCP_OVERHEAD).ok_or(OpenError::Truncated)?;
        let (packet, trailer) =
            datagram.split_at_mut_checked(length).ok_or(OpenError::Truncated)?;
        let (tag, index) = trailer.split_at_checked(TAG_BYTES).ok_or(OpenError::Truncated)?;
        self.verify(tag)?;
        let index = index.first_chunk::<4>().ok_or(OpenError::Truncated)?;
        Ok((packet, PacketIndex(u64::from(u32::from_be_bytes(*index) & 0x7fff_ffff))))
    }

    fn verify(&self, tag: &[u8]) -> Result<(), OpenError> {
        match self {
            Self::Plain(key) if Secret::new(plain_tag(key)).matches(tag) => Ok(()),
            Self::Plain(_) => Err(OpenError::Unauthentic),
        }
    }
}

impl Sealer {
    /// The plain form with this direction's secret.
    #[must_use]
    pub fn plain(key: DirectionKey) -> Self {
        Self::Plain(Arc::new(key))
    }

    /// Appends the sealed form of an RTP packet to `out`; how many bytes that were.
    pub fn seal_rtp(&self, packet: &[u8], _index: PacketIndex, out: &mut Vec<u8>) -> usize {
        let before = out.len();
        out.extend_from_slice(packet);
        self.append_tag(out);
        out.len() - before
    }

    /// Appends the sealed form of an RTCP packet to `out`; how many bytes that were.
    ///
    /// `index` counts this direction's RTCP packets and is never used twice.
    pub fn seal_rtcp(&self, packet: &[u8], index: PacketIndex, out: &mut Vec<u8>) -> usize {
        let before = out.len();
        out.extend_from_slice(packet);
        self.append_tag(out);
        out.extend(((index.0 & 0x7fff_ffff) as u32).to_be_bytes());
        out.len() - before
    }

    fn append_tag(&self, out: &mut Vec<u8>) {
        match self {
            Self::Plain(key) => out.extend_from_slice(&plain_tag(key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Sealer, Opener) {
        (Sealer::plain(Secret::new([7; 28])), Opener::plain(Secret::new([7; 28])))
    }

    #[test]
    fn what_is_sealed_opens_and_nothing_else_does() {
        let (sealer, opener) = pair();
        let packet = b"\x80\x60 an RTP packet".to_vec();
        let mut sealed = Vec::new();
        assert_eq!(sealer.seal_rtp(&packet, PacketIndex(5), &mut sealed), packet.len() + 16);
        assert_eq!(opener.open_rtp(&mut sealed.clone(), PacketIndex(5)).unwrap(), packet);
        let other = Opener::plain(Secret::new([8; 28]));
        assert_eq!(
            other.open_rtp(&mut sealed.clone(), PacketIndex(5)),
            Err(OpenError::Unauthentic)
        );
        for length in 0..sealed.len() {
            assert!(opener.open_rtp(&mut sealed[..length].to_vec(), PacketIndex(5)).is_err());
        }
    }

    #[test]
    fn an_rtcp_packet_brings_its_index() {
        let (sealer, opener) = pair();
        let mut sealed = Vec::new();
        sealer.seal_rtcp(b"report", PacketIndex(77), &mut sealed);
        let mut copy = sealed.clone();
        let (packet, index) = opener.open_rtcp(&mut copy).unwrap();
        assert_eq!((&packet[..], index), (&b"report"[..], PacketIndex(77)));
        for length in 0..sealed.len() {
            assert!(opener.open_rtcp(&mut sealed[..length].to_vec()).is_err());
        }
    }
}
