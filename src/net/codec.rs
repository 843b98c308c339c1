//! Payload types and codecs of the voice protocol, and the L16 payload (RFC 3551, 4.5.11).

use serde::{Deserialize, Serialize};

/// An RTP payload type (RFC 3550, 5.1): seven bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PayloadType(pub u8);

/// L16, 16,000 Hz, mono, big-endian: 20 ms are 320 samples, 640 bytes.
pub const PT_L16: PayloadType = PayloadType(96);
/// Opus, 48,000 Hz clock (RFC 7587).
pub const PT_OPUS: PayloadType = PayloadType(111);
/// Redundant audio (RFC 2198).
pub const PT_RED: PayloadType = PayloadType(63);

/// Sampling rate of the L16 payload, in Hz; also its RTP clock.
pub const L16_RATE: u32 = 16_000;
/// RTP clock of Opus, in Hz (RFC 7587, 4.1).
pub const OPUS_RATE: u32 = 48_000;
/// Samples in one 20 ms frame of L16.
pub const L16_FRAME_SAMPLES: usize = 320;
/// RTP clocks a session has a stream for (RFC 7160: one SSRC per clock).
pub const CLOCKS: [u32; 2] = [L16_RATE, OPUS_RATE];

/// A codec by its name in `Hello`. Names we do not know are kept apart from those we do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// L16/16000 mono: the baseline, always there.
    Pcm,
    /// Opus, and redundant audio of either codec.
    Opus,
    /// One that this version does not know.
    #[serde(other)]
    Unknown,
}

impl Codec {
    /// What its packets carry.
    #[must_use]
    pub fn payload_type(self) -> PayloadType {
        match self {
            Self::Opus => PT_OPUS,
            Self::Pcm | Self::Unknown => PT_L16,
        }
    }

    /// Its RTP clock, in Hz.
    #[must_use]
    pub fn clock_hz(self) -> u32 {
        match self {
            Self::Opus => OPUS_RATE,
            Self::Pcm | Self::Unknown => L16_RATE,
        }
    }

    /// Its name, for people and figures.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::Pcm | Self::Unknown => "pcm",
        }
    }
}

impl PayloadType {
    /// The RTP clock of this payload type, in Hz, where it has one of its own.
    #[must_use]
    pub fn clock_hz(self) -> Option<u32> {
        match self {
            PT_L16 => Some(L16_RATE),
            PT_OPUS => Some(OPUS_RATE),
            _ => None,
        }
    }
}

/// Longest packet of Opus: 120 ms, in units of its clock (RFC 6716, 3.1).
pub const OPUS_SAMPLES_MAX: u32 = 5760;

/// How long a payload lasts, in units of its type's clock: 0 if it is empty, which ends a talkspurt.
/// None if it is malformed, or of a type that has no length of its own.
#[must_use]
pub fn duration(payload_type: PayloadType, payload: &[u8]) -> Option<u32> {
    match payload_type {
        PT_L16 if payload.len().is_multiple_of(2) => u32::try_from(payload.len() / 2).ok(),
        PT_OPUS if payload.is_empty() => Some(0),
        PT_OPUS => opus_duration(payload),
        _ => None,
    }
}

/// How long a packet of Opus lasts, in units of 1/48000 s, by its TOC byte (RFC 6716, 3.1 and 3.2).
/// None if it is empty, lasts longer than 120 ms or says that it has no frames.
fn opus_duration(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let frame = match toc >> 3 {
        // SILK: 10, 20, 40 or 60 ms.
        config @ 0..12 => [480, 960, 1920, 2880].get(usize::from(config & 3)).copied()?,
        // Hybrid: 10 or 20 ms.
        config @ 12..16 => 480 << (config & 1),
        // CELT: 2.5, 5, 10 or 20 ms.
        config => 120 << (config & 3),
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(*packet.get(1)? & 0x3f),
    };
    Some(frame * frames).filter(|samples| (1..=OPUS_SAMPLES_MAX).contains(samples))
}

/// Writes samples as big-endian 16-bit words to the end of `out`.
pub fn l16_encode(samples: &[i16], out: &mut Vec<u8>) {
    out.extend(samples.iter().flat_map(|s| s.to_be_bytes()));
}

/// Reads big-endian 16-bit words to the end of `out`.
///
/// # Errors
/// The payload has an odd number of bytes; nothing is written then.
pub fn l16_decode(payload: &[u8], out: &mut Vec<i16>) -> Result<(), OddLength> {
    let (words, rest) = payload.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(OddLength(payload.len()));
    }
    out.extend(words.iter().map(|word| i16::from_be_bytes(*word)));
    Ok(())
}

/// An L16 payload that ends in the middle of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an L16 payload of {0} bytes ends inside a sample")]
pub struct OddLength(pub usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l16_is_big_endian_and_exact() {
        let samples: Vec<i16> = (i16::MIN..=i16::MAX).step_by(77).collect();
        let mut bytes = Vec::new();
        l16_encode(&samples, &mut bytes);
        assert_eq!(&bytes[..2], &[0x80, 0x00]);
        let mut back = Vec::new();
        l16_decode(&bytes, &mut back).unwrap();
        assert_eq!(back, samples);
        assert_eq!(l16_decode(&bytes[1..], &mut back), Err(OddLength(bytes.len() - 1)));
    }

    #[test]
    fn payloads_last_as_long_as_they_say() {
        assert_eq!(duration(PT_L16, &[0; 640]), Some(320));
        assert_eq!(duration(PT_L16, &[0; 641]), None);
        // SILK 10 ms, hybrid 20 ms, CELT 2.5 ms twice, and three times 20 ms of CELT.
        assert_eq!(duration(PT_OPUS, &[8 << 3, 1, 2]), Some(480));
        assert_eq!(duration(PT_OPUS, &[15 << 3, 1, 2]), Some(960));
        assert_eq!(duration(PT_OPUS, &[28 << 3 | 1, 1, 2]), Some(240));
        assert_eq!(duration(PT_OPUS, &[31 << 3 | 3, 3, 2]), Some(2880));
        assert_eq!((duration(PT_OPUS, &[]), duration(PT_L16, &[])), (Some(0), Some(0)));
        // No frames at all, more than 120 ms, and a count that is missing.
        for bad in [&[31 << 3 | 3, 0][..], &[31 << 3 | 3, 7], &[31 << 3 | 3]] {
            assert_eq!(duration(PT_OPUS, bad), None);
        }
        assert_eq!(duration(PT_RED, &[0; 640]), None);
    }

    #[test]
    fn an_unknown_codec_name_is_no_error() {
        let bytes = rmp_serde::to_vec_named(&["pcm", "codec2"]).unwrap();
        let codecs: Vec<Codec> = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!(codecs, [Codec::Pcm, Codec::Unknown]);
    }
}
