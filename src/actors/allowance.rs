//! How much voice a session may still send, by whatever way it comes. Pure.

use super::bucket::Bucket;
use super::limits::VoiceRates;
use std::time::Instant;

/// Packets and bytes that are left, filled up as time passes.
#[derive(Debug)]
pub struct Allowance {
    packets: Bucket,
    bytes: Bucket,
}

impl Allowance {
    /// Everything that it may send at once.
    #[must_use]
    pub fn full(rates: VoiceRates, at: Instant) -> Self {
        Self { packets: Bucket::full(rates.packets, at), bytes: Bucket::full(rates.bytes, at) }
    }

    /// Takes one packet of `length` bytes, if there is enough left for it.
    pub fn take(&mut self, length: usize, now: Instant) -> bool {
        let length = length as f64;
        let enough = self.packets.has(1.0, now) & self.bytes.has(length, now);
        if enough {
            self.packets.spend(1.0);
            self.bytes.spend(length);
        }
        enough
    }
}
