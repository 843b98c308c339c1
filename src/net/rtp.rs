//! RTP packets (RFC 3550, 5.1) with the audio-level header extension (RFC 6464, RFC 8285).
//!
//! Reading never allocates and never fails loudly: bytes are a packet or an error. The payload is
//! not looked into.

use super::codec::PayloadType;
use super::ids::Ssrc;
use super::limits::RTP_BYTES_MAX;

/// Bytes of the fixed header.
pub const HEADER_BYTES: usize = 12;
/// Id of the audio-level element in the one-byte header extension, by convention of this protocol.
pub const AUDIO_LEVEL_ID: u8 = 1;
/// Profile of the one-byte header extension (RFC 8285, 4.2).
const ONE_BYTE_PROFILE: u16 = 0xbede;
/// Bytes that the audio level adds to a header.
pub const AUDIO_LEVEL_BYTES: usize = 8;

/// Why bytes are no RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    /// The packet ends before its header does.
    #[error("packet ends inside its header")]
    Truncated,
    /// The version is not 2.
    #[error("RTP version {0}, not 2")]
    Version(u8),
    /// The padding counts more bytes than there are.
    #[error("padding longer than the payload")]
    Padding,
    /// More bytes than a packet may have.
    #[error("packet of {0} bytes is too long")]
    TooLong(usize),
    /// It is RTCP (RFC 5761, section 4).
    #[error("RTCP, not RTP")]
    Rtcp,
}

/// The fields of a header that Parlor reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// Starts a talkspurt (RFC 3551, 4.1).
    pub marker: bool,
    /// What the payload is.
    pub payload_type: PayloadType,
    /// Sequence number.
    pub seq: u16,
    /// Media time in units of the payload's clock.
    pub timestamp: u32,
    /// Whose packet it is.
    pub ssrc: Ssrc,
    /// How loud it is, where the packet says so.
    pub audio_level: Option<AudioLevel>,
}

/// Audio level (RFC 6464): 0 is the loudest, 127 is silence, in -dBov.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLevel {
    /// The sender's voice detector says that this is voice.
    pub voice: bool,
    /// Level in -dBov, 0 to 127.
    pub level: u8,
}

/// A packet as read: its header and where its payload lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpPacket<'a> {
    /// The header.
    pub header: RtpHeader,
    /// The payload, without padding.
    pub payload: &'a [u8],
}

/// Whether a datagram that starts with these bytes is RTCP (RFC 5761, section 4).
#[must_use]
pub fn is_rtcp(bytes: &[u8]) -> bool {
    matches!(bytes.get(1), Some(192..=223))
}

/// The SSRC of an RTP or RTCP packet without reading the rest; what steering and look-up go by.
#[must_use]
pub fn peek_ssrc(bytes: &[u8]) -> Option<Ssrc> {
    let at = if is_rtcp(bytes) { 4 } else { 8 };
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    Some(Ssrc(u32::from_be_bytes(*word)))
}

/// The SSRC of an RTP packet, whatever its second byte says.
#[must_use]
pub fn ssrc_at_8(bytes: &[u8]) -> Option<Ssrc> {
    Some(Ssrc(u32::from_be_bytes(*bytes.get(8..)?.first_chunk::<4>()?)))
}

/// Bytes of an RTP packet's header with its CSRCs and extension: what SRTP leaves readable. None if the
/// packet ends before.
#[must_use]
pub fn header_bytes(bytes: &[u8]) -> Option<usize> {
    let first = *bytes.first()?;
    let mut length = HEADER_BYTES + usize::from(first & 0x0f) * 4;
    if first & 0x10 != 0 {
        let [_, _, l0, l1] = *bytes.get(length..)?.first_chunk::<4>()?;
        length += 4 + usize::from(u16::from_be_bytes([l0, l1])) * 4;
    }
    (length <= bytes.len()).then_some(length)
}

/// Says of an RTP packet that no padding follows its header: for one whose payload was cut off.
pub fn clear_padding(bytes: &mut [u8]) {
    if let Some(first) = bytes.first_mut() {
        *first &= !0x20;
    }
}

/// The sequence number of an RTP packet without reading the rest.
#[must_use]
pub fn peek_seq(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(2..)?.first_chunk::<2>()?))
}

impl AudioLevel {
    /// Level of a frame of samples: the root of the mean square against full scale.
    #[must_use]
    pub fn of(samples: &[i16], voice: bool) -> Self {
        let sum: f64 = samples.iter().map(|s| f64::from(*s) * f64::from(*s)).sum();
        let mean = sum / samples.len().max(1) as f64;
        Self::of_power((mean / (32768.0 * 32768.0)) as f32, voice)
    }

    /// Level of a mean square, where full scale is 1.
    #[must_use]
    pub fn of_power(mean_square: f32, voice: bool) -> Self {
        let db = 10.0 * mean_square.max(1e-13).log10();
        Self { voice, level: (-db).round().clamp(0.0, 127.0) as u8 }
    }
}

impl<'a> RtpPacket<'a> {
    /// Reads a packet.
    ///
    /// # Errors
    /// The bytes are cut short, too many, of another version, or RTCP.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RtpError> {
        if bytes.len() > RTP_BYTES_MAX {
            return Err(RtpError::TooLong(bytes.len()));
        }
        let (fixed, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(RtpError::Truncated)?;
        let [b0, b1, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3] = *fixed;
        if b0 >> 6 != 2 {
            return Err(RtpError::Version(b0 >> 6));
        }
        if is_rtcp(bytes) {
            return Err(RtpError::Rtcp);
        }
        let csrc_bytes = usize::from(b0 & 0x0f) * 4;
        let mut rest = rest.get(csrc_bytes..).ok_or(RtpError::Truncated)?;
        let mut audio_level = None;
        if b0 & 0x10 != 0 {
            let ([p0, p1, l0, l1], after) =
                rest.split_first_chunk::<4>().ok_or(RtpError::Truncated)?;
            let length = usize::from(u16::from_be_bytes([*l0, *l1])) * 4;
            let (elements, after) = after.split_at_checked(length).ok_or(RtpError::Truncated)?;
            if u16::from_be_bytes([*p0, *p1]) == ONE_BYTE_PROFILE {
                audio_level = find_audio_level(elements);
            }
            rest = after;
        }
        if b0 & 0x20 != 0 {
            let padding = usize::from(*rest.last().ok_or(RtpError::Padding)?);
            let length = rest.len().checked_sub(padding).ok_or(RtpError::Padding)?;
            if padding == 0 {
                return Err(RtpError::Padding);
            }
            rest = rest.get(..length).ok_or(RtpError::Padding)?;
        }
        let header = RtpHeader {
            marker: b1 & 0x80 != 0,
            payload_type: PayloadType(b1 & 0x7f),
            seq: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: Ssrc(u32::from_be_bytes([r0, r1, r2, r3])),
            audio_level,
        };
        Ok(Self { header, payload: rest })
    }
}

/// Looks for the audio level among one-byte elements (RFC 8285, 4.2).
fn find_audio_level(mut elements: &[u8]) -> Option<AudioLevel> {
    while let Some((first, rest)) = elements.split_first() {
        if *first == 0 {
            elements = rest;
            continue;
        }
        let (id, length) = (first >> 4, usize::from(first & 0x0f) + 1);
        if id == 15 {
            return None;
        }
        let (data, after) = rest.split_at_checked(length)?;
        if id == AUDIO_LEVEL_ID {
            let byte = data.first()?;
            return Some(AudioLevel { voice: byte & 0x80 != 0, level: byte & 0x7f });
        }
        elements = after;
    }
    None
}

impl RtpHeader {
    /// Bytes that `write` adds.
    #[must_use]
    pub fn len(&self) -> usize {
        HEADER_BYTES + if self.audio_level.is_some() { AUDIO_LEVEL_BYTES } else { 0 }
    }

    /// Never: a header has bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Appends the header to `out`; the payload follows it.
    pub fn write(&self, out: &mut Vec<u8>) {
        let extension = if self.audio_level.is_some() { 0x10 } else { 0 };
        out.push(0x80 | extension);
        out.push(u8::from(self.marker) << 7 | self.payload_type.0 & 0x7f);
        out.extend(self.seq.to_be_bytes());
        out.extend(self.timestamp.to_be_bytes());
        out.extend(self.ssrc.0.to_be_bytes());
        if let Some(AudioLevel { voice, level }) = self.audio_level {
            out.extend(ONE_BYTE_PROFILE.to_be_bytes());
            out.extend(1u16.to_be_bytes());
            out.extend([AUDIO_LEVEL_ID << 4, u8::from(voice) << 7 | level & 0x7f, 0, 0]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::codec::PT_L16;

    fn header() -> RtpHeader {
        RtpHeader {
            marker: true,
            payload_type: PT_L16,
            seq: 0x1234,
            timestamp: 0xdead_beef,
            ssrc: Ssrc(0x0102_0304),
            audio_level: Some(AudioLevel { voice: true, level: 30 }),
        }
    }

    #[test]
    fn a_header_reads_back_as_written() {
        for level in [None, header().audio_level] {
            let header = RtpHeader { audio_level: level, ..header() };
            let mut bytes = Vec::new();
            header.write(&mut bytes);
            assert_eq!(bytes.len(), header.len());
            bytes.extend(b"voice");
            let packet = RtpPacket::parse(&bytes).unwrap();
            assert_eq!(packet.header, header);
            assert_eq!(packet.payload, b"voice");
            assert_eq!(peek_ssrc(&bytes), Some(header.ssrc));
            assert_eq!(peek_seq(&bytes), Some(header.seq));
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_rfc() {
        let mut bytes = Vec::new();
        header().write(&mut bytes);
        let expected = [
            0x90,
            0xe0,
            0x12,
            0x34,
            0xde,
            0xad,
            0xbe,
            0xef,
            1,
            2,
            3,
            4, // RFC 3550
            0xbe,
            0xde,
            0,
            1,
            0x10,
            0x80 | 30,
            0,
            0, // RFC 8285, RFC 6464
        ];
        assert_eq!(bytes, expected);
    }

    #[test]
    fn every_truncation_is_an_error_or_a_shorter_payload() {
        let mut bytes = Vec::new();
        header().write(&mut bytes);
        let whole = bytes.len();
        bytes.extend([7; 10]);
        for length in 0..bytes.len() {
            match RtpPacket::parse(&bytes[..length]) {
                Ok(packet) => assert_eq!(packet.payload.len(), length - whole),
                Err(error) => {
                    assert_eq!(error, RtpError::Truncated);
                    assert!(length < whole);
                }
            }
        }
    }

    #[test]
    fn foreign_headers_are_read_past() {
        // Two CSRCs, a two-byte-profile extension and padding.
        let mut bytes = vec![0x80 | 0x20 | 0x10 | 2, 111, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        bytes.extend([9; 8]);
        bytes.extend([0x10, 0x00, 0, 1, 5, 5, 5, 5]);
        bytes.extend([42, 43, 0, 0, 3]);
        let packet = RtpPacket::parse(&bytes).unwrap();
        assert_eq!(packet.payload, [42, 43]);
        assert_eq!(packet.header.audio_level, None);
        assert_eq!(header_bytes(&bytes), Some(28));
        assert_eq!(header_bytes(&bytes[..27]), None);
        *bytes.last_mut().unwrap() = 200;
        assert_eq!(RtpPacket::parse(&bytes), Err(RtpError::Padding));
    }

    #[test]
    fn level_of_a_full_scale_square_is_zero_and_of_silence_127() {
        assert_eq!(AudioLevel::of(&[i16::MIN; 320], true).level, 0);
        assert_eq!(AudioLevel::of(&[0; 320], false).level, 127);
        assert_eq!(AudioLevel::of(&[], false).level, 127);
    }
}
