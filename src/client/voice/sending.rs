//! How we send: what the user chooses, and what of it can change while a packet is made.
//!
//! Pure values.

use super::opus::Bandwidth;
use super::redundancy::Plan;
use crate::net::codec::Codec;
use serde::Serialize;
use std::time::Duration;

/// Bit rates that can be chosen, in bits per second.
pub const BITRATES: std::ops::RangeInclusive<u32> = 6_000..=256_000;
/// The bit rate if nothing else is said.
pub const BITRATE: u32 = 64_000;
/// Up to this bit rate a packet holds 20 ms unless told otherwise: headers would take as much as speech.
const LONG_FRAMES_BITRATE_MAX: u32 = 32_000;

/// What the user chooses about his own voice on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sending {
    /// How it is encoded, where all in the room can decode that.
    pub codec: Codec,
    /// Bits per second of Opus, of [`BITRATES`], while the network is good.
    pub bitrate: u32,
    /// What a packet of Opus holds; none: as the bit rate suggests.
    pub frame: Option<FrameLength>,
    /// Every packet has the same size, so that sizes say nothing of what is said (RFC 6562).
    pub constant: bool,
    /// Hardly anything is sent of silence inside a talkspurt.
    pub dtx: bool,
}

/// What one packet holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameLength {
    /// 10 ms: the least delay.
    Ms10,
    /// 20 ms: half as many headers.
    Ms20,
}

impl Default for Sending {
    fn default() -> Self {
        Self { codec: Codec::Opus, bitrate: BITRATE, frame: None, constant: true, dtx: false }
    }
}

impl Sending {
    /// L16, as by default otherwise.
    #[must_use]
    pub fn pcm() -> Self {
        Self { codec: Codec::Pcm, ..Self::default() }
    }

    /// What a packet holds. PCM has 10 ms: two frames of 20 would not fit into a datagram.
    #[must_use]
    pub fn frame_length(&self) -> FrameLength {
        match (self.codec, self.frame) {
            (Codec::Opus, Some(length)) => length,
            (Codec::Opus, None) if self.bitrate <= LONG_FRAMES_BITRATE_MAX => FrameLength::Ms20,
            _ => FrameLength::Ms10,
        }
    }
}

impl FrameLength {
    /// In 10 ms.
    #[must_use]
    pub fn tens(self) -> u32 {
        match self {
            Self::Ms10 => 1,
            Self::Ms20 => 2,
        }
    }

    /// As a time.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_millis(10) * self.tens()
    }
}

/// How our voice is sent, for figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SendingStats {
    /// The codec in use.
    pub codec: Codec,
    /// PCM is sent although Opus was chosen: somebody in the room cannot decode it.
    pub fallback: bool,
    /// Bit rate of the codec, in kbit/s.
    pub bitrate_kbps: f32,
    /// What a packet holds, in ms.
    pub frame_ms: u32,
    /// By how much the encoder's look-ahead delays voice, in ms.
    pub lookahead_ms: f32,
    /// Nothing above 8 kHz is encoded.
    pub wide: bool,
    /// How much later each packet is sent again, in ms (RED).
    pub copies_ms: Vec<u32>,
    /// Packets carry their predecessors at a lower rate (LBRR).
    pub fec: bool,
    /// How much of the past each packet describes, in ms (DRED).
    pub dred_ms: u16,
    /// What voice takes on the wire while we speak, in kbit/s of UDP payload.
    pub wire_kbps: f32,
}

impl SendingStats {
    /// What was `chosen`, and what is in force. Nothing was measured yet.
    #[must_use]
    pub fn new(chosen: Sending, codec: Codec, plan: Plan) -> Self {
        let frame_ms = Sending { codec, ..chosen }.frame_length().tens() * 10;
        let copies = plan.copies.oldest_first();
        let mut copies_ms: Vec<u32> =
            copies.filter_map(|back| Some(u32::try_from(back).ok()? * frame_ms)).collect();
        copies_ms.reverse();
        Self {
            codec,
            fallback: codec != chosen.codec,
            bitrate_kbps: match codec {
                Codec::Opus => plan.bitrate as f32 / 1e3,
                Codec::Pcm | Codec::Unknown => 256.0,
            },
            frame_ms,
            lookahead_ms: 0.0,
            wide: plan.bandwidth == Bandwidth::Wide,
            copies_ms,
            fec: plan.fec,
            dred_ms: plan.dred_ms,
            wire_kbps: 0.0,
        }
    }
}

impl Default for SendingStats {
    fn default() -> Self {
        let (sending, codec) = (Sending::default(), Codec::Opus);
        let plan = super::redundancy::Redundancy::new(sending).plan(codec);
        Self::new(sending, codec, plan)
    }
}
