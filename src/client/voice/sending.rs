//! How we send: what the user chooses, and what of it can change while a packet is made.
//!
//! Pure values.

use crate::net::codec::Codec;
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
