//! The seam between packets and what protects them: open what came up, seal what goes down.
//!
//! Forwarders and clients know only [`Opener`] and [`Sealer`]. Behind them stands SRTP (see `srtp`)
//! or, with `--insecure`, the plain form: every datagram carries the session's secret tag of that direction.
//!
//! ```text
//! RTP    packet | tag (16)
//! RTCP   packet | tag (16) | E=0, index (4)      the layout of SRTCP with an AEAD (RFC 7714, 9.2)
//! ```
//!
//! The trailing tag leaves the SSRC where the kernel's steering program looks for it. The plain tag
//! proves who sent a datagram to anyone who cannot read the path, and nothing more.

use super::ids::PacketIndex;
use super::message::Protection;
use super::secret::Secret;
use super::srtp::SrtpKeys;
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
    /// No packet can have this index.
    #[error("packet index beyond the last")]
    Exhausted,
}

/// Why a packet is not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Every index of this key is used up: the session must get new keys.
    #[error("no packet index is left under this key")]
    Exhausted,
    /// The bytes are no packet, or not the one of that index.
    #[error("no packet that can be sealed")]
    Packet,
}

/// Why a session cannot be protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A protection that this version does not know.
    #[error("unknown protection")]
    Unknown,
    /// The cryptographic library cannot set the key up.
    #[error("the keys cannot be set up")]
    Setup,
}

/// Opens datagrams of one session in one direction. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Opener {
    /// Secret tag, nothing encrypted.
    Plain(Arc<DirectionKey>),
    /// AEAD_AES_128_GCM.
    Srtp(Arc<SrtpKeys>),
}

/// Seals datagrams of one session in one direction. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Sealer {
    /// Secret tag, nothing encrypted.
    Plain(Arc<DirectionKey>),
    /// AEAD_AES_128_GCM.
    Srtp(Arc<SrtpKeys>),
}

impl Opener {
    /// Opens what is protected so, with this direction's secret.
    ///
    /// # Errors
    /// The protection is unknown, or its keys cannot be set up.
    pub fn new(protection: Protection, key: &DirectionKey) -> Result<Self, KeyError> {
        match protection {
            Protection::Plain => Ok(Self::Plain(Arc::new(key.clone()))),
            Protection::AeadAes128Gcm => Ok(Self::Srtp(Arc::new(SrtpKeys::derive(key)?))),
            Protection::Unknown => Err(KeyError::Unknown),
        }
    }

    /// Whether a packet that opens proves its index: the roll-over counter, too, is authentic then.
    #[must_use]
    pub fn proves_index(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Srtp(_) => true,
        }
    }

    /// Opens an RTP datagram in place: the packet's bytes, at the front of `datagram`.
    ///
    /// `index` is what the replay window estimates for the packet.
    ///
    /// # Errors
    /// Too short, not sealed with this session's key, or beyond the last index. The bytes may be spoilt then.
    pub fn open_rtp<'a>(
        &self,
        datagram: &'a mut [u8],
        index: PacketIndex,
    ) -> Result<&'a mut [u8], OpenError> {
        if index > PacketIndex::RTP_MAX {
            return Err(OpenError::Exhausted);
        }
        match self {
            Self::Srtp(keys) => keys.open_rtp(datagram, index),
            Self::Plain(key) => {
                let length = datagram.len().checked_sub(RTP_OVERHEAD);
                let parts = length.and_then(|length| datagram.split_at_mut_checked(length));
                let (packet, tag) = parts.ok_or(OpenError::Truncated)?;
                verify(key, tag)?;
                Ok(packet)
            }
        }
    }

    /// Opens an RTCP datagram in place: the packet's bytes and its index (RFC 3711, 3.4).
    ///
    /// # Errors
    /// Too short, or not sealed with this session's key. The bytes may be spoilt then.
    pub fn open_rtcp<'a>(
        &self,
        datagram: &'a mut [u8],
    ) -> Result<(&'a mut [u8], PacketIndex), OpenError> {
        match self {
            Self::Srtp(keys) => keys.open_rtcp(datagram),
            Self::Plain(key) => {
                let length = datagram.len().checked_sub(RTCP_OVERHEAD);
                let parts = length.and_then(|length| datagram.split_at_mut_checked(length));
                let (packet, trailer) = parts.ok_or(OpenError::Truncated)?;
                let (tag, index) =
                    trailer.split_at_checked(TAG_BYTES).ok_or(OpenError::Truncated)?;
                verify(key, tag)?;
                let index = index.first_chunk::<4>().ok_or(OpenError::Truncated)?;
                Ok((packet, PacketIndex(u64::from(u32::from_be_bytes(*index) & 0x7fff_ffff))))
            }
        }
    }
}

fn verify(key: &DirectionKey, tag: &[u8]) -> Result<(), OpenError> {
    let genuine = Secret::new(plain_tag(key)).matches(tag);
    if genuine { Ok(()) } else { Err(OpenError::Unauthentic) }
}

impl Sealer {
    /// Seals with this protection and this direction's secret.
    ///
    /// # Errors
    /// The protection is unknown, or its keys cannot be set up.
    pub fn new(protection: Protection, key: &DirectionKey) -> Result<Self, KeyError> {
        match protection {
            Protection::Plain => Ok(Self::Plain(Arc::new(key.clone()))),
            Protection::AeadAes128Gcm => Ok(Self::Srtp(Arc::new(SrtpKeys::derive(key)?))),
            Protection::Unknown => Err(KeyError::Unknown),
        }
    }

    /// Appends the sealed form of an RTP packet to `out`. On an error `out` is as it was.
    ///
    /// Whoever calls this never uses an SSRC and index twice under one key.
    ///
    /// # Errors
    /// No packet of that index, or no index is left.
    pub fn seal_rtp(
        &self,
        packet: &[u8],
        index: PacketIndex,
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        match self {
            Self::Srtp(keys) => keys.seal_rtp(packet, index, out),
            Self::Plain(_) if index > PacketIndex::RTP_MAX => Err(SealError::Exhausted),
            Self::Plain(key) => {
                out.extend_from_slice(packet);
                out.extend_from_slice(&plain_tag(key));
                Ok(())
            }
        }
    }

    /// Appends the sealed form of an RTCP packet to `out`. On an error `out` is as it was.
    ///
    /// `index` counts this direction's RTCP packets and is never used twice.
    ///
    /// # Errors
    /// No packet, or no index is left.
    pub fn seal_rtcp(
        &self,
        packet: &[u8],
        index: PacketIndex,
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        match self {
            Self::Srtp(keys) => keys.seal_rtcp(packet, index, out),
            Self::Plain(_) if index > PacketIndex::RTCP_MAX => Err(SealError::Exhausted),
            Self::Plain(key) => {
                out.extend_from_slice(packet);
                out.extend_from_slice(&plain_tag(key));
                out.extend_from_slice(&((index.0 & 0x7fff_ffff) as u32).to_be_bytes());
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMS: [Protection; 2] = [Protection::Plain, Protection::AeadAes128Gcm];
    const PACKET: &[u8] = b"\x80\x60\x00\x05 an RTP packet";

    fn pair(protection: Protection) -> (Sealer, Opener) {
        let key = Secret::new([7; 28]);
        (Sealer::new(protection, &key).unwrap(), Opener::new(protection, &key).unwrap())
    }

    #[test]
    fn what_is_sealed_opens_and_nothing_else_does() {
        for form in FORMS {
            let (sealer, opener) = pair(form);
            let mut sealed = Vec::new();
            sealer.seal_rtp(PACKET, PacketIndex(5), &mut sealed).unwrap();
            assert_eq!(sealed.len(), PACKET.len() + RTP_OVERHEAD);
            assert_eq!(opener.open_rtp(&mut sealed.clone(), PacketIndex(5)).unwrap(), PACKET);
            let other = Opener::new(form, &Secret::new([8; 28])).unwrap();
            let mut copy = sealed.clone();
            assert_eq!(other.open_rtp(&mut copy, PacketIndex(5)), Err(OpenError::Unauthentic));
            for length in 0..sealed.len() {
                assert!(opener.open_rtp(&mut sealed[..length].to_vec(), PacketIndex(5)).is_err());
            }
        }
    }

    #[test]
    fn an_rtcp_packet_brings_its_index() {
        for form in FORMS {
            let (sealer, opener) = pair(form);
            let mut sealed = Vec::new();
            sealer.seal_rtcp(b"a report", PacketIndex(77), &mut sealed).unwrap();
            assert_eq!(sealed.len(), 8 + RTCP_OVERHEAD);
            let mut copy = sealed.clone();
            let (packet, index) = opener.open_rtcp(&mut copy).unwrap();
            assert_eq!((&packet[..], index), (&b"a report"[..], PacketIndex(77)));
            for length in 0..sealed.len() {
                assert!(opener.open_rtcp(&mut sealed[..length].to_vec()).is_err());
            }
        }
    }

    #[test]
    fn neither_form_opens_the_other_s_datagrams() {
        let ((plain_sealer, plain), (srtp_sealer, srtp)) = (pair(FORMS[0]), pair(FORMS[1]));
        for (sealer, opener) in [(plain_sealer, srtp), (srtp_sealer, plain)] {
            let (mut rtp, mut rtcp) = (Vec::new(), Vec::new());
            sealer.seal_rtp(PACKET, PacketIndex(5), &mut rtp).unwrap();
            sealer.seal_rtcp(b"a report", PacketIndex(5), &mut rtcp).unwrap();
            assert!(opener.open_rtp(&mut rtp, PacketIndex(5)).is_err());
            assert!(opener.open_rtcp(&mut rtcp).is_err());
        }
    }

    #[test]
    fn no_form_seals_or_opens_beyond_the_last_index() {
        for form in FORMS {
            let (sealer, opener) = pair(form);
            let mut sealed = Vec::new();
            let beyond = PacketIndex((1 << 48) + 5);
            assert_eq!(sealer.seal_rtp(PACKET, beyond, &mut sealed), Err(SealError::Exhausted));
            let beyond_rtcp = PacketIndex(1 << 31);
            let refused = sealer.seal_rtcp(b"a report", beyond_rtcp, &mut sealed);
            assert_eq!(refused, Err(SealError::Exhausted));
            assert!(sealed.is_empty());
            sealer.seal_rtp(PACKET, PacketIndex(5), &mut sealed).unwrap();
            assert_eq!(opener.open_rtp(&mut sealed, beyond), Err(OpenError::Exhausted));
        }
    }

    #[test]
    fn an_unknown_protection_protects_nothing() {
        let key = Secret::new([1; 28]);
        assert!(matches!(Opener::new(Protection::Unknown, &key), Err(KeyError::Unknown)));
        assert!(matches!(Sealer::new(Protection::Unknown, &key), Err(KeyError::Unknown)));
    }
}
