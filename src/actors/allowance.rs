//! How much voice a session may still send, by whatever way it comes. Pure.

use crate::net::limits::{
    VOICE_BYTES_BURST, VOICE_BYTES_PER_SECOND, VOICE_PACKETS_BURST, VOICE_PACKETS_PER_SECOND,
};
use std::time::Instant;

/// Packets and bytes that are left, filled up as time passes.
#[derive(Debug)]
pub struct Allowance {
    packets: f64,
    bytes: f64,
    at: Instant,
}

impl Allowance {
    /// Everything that it may send at once.
    #[must_use]
    pub fn full(at: Instant) -> Self {
        Self { packets: VOICE_PACKETS_BURST, bytes: VOICE_BYTES_BURST, at }
    }

    /// Takes one packet of `length` bytes, if there is enough left for it.
    pub fn take(&mut self, length: usize, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.packets = (self.packets + seconds * VOICE_PACKETS_PER_SECOND).min(VOICE_PACKETS_BURST);
        self.bytes = (self.bytes + seconds * VOICE_BYTES_PER_SECOND).min(VOICE_BYTES_BURST);
        let enough = self.packets >= 1.0 && self.bytes >= length as f64;
        if enough {
            self.packets -= 1.0;
            self.bytes -= length as f64;
        }
        enough
    }
}
