//! How much redundancy our voice needs.

use super::opus::{Bandwidth, Settings};
use super::sending::Sending;
use crate::net::codec::Codec;
use std::time::Instant;

/// Which earlier payloads go with each packet: so many packets back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copies([u8; Copies::MAX]);

impl Copies {
    /// Most copies in one packet.
    pub const MAX: usize = 2;
    /// None.
    pub const NONE: Self = Self([0; Self::MAX]);

    /// How far back each is, the farthest first.
    pub fn oldest_first(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().rev().filter(|back| *back > 0).map(usize::from)
    }
}

/// What reports say of our voice on its way.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Conditions {
    /// Share of our packets that the server missed since its last report, 0 to 1.
    pub uplink_loss: f32,
}

/// How packets are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// Bits per second of the encoder.
    pub bitrate: u32,
    /// Highest frequencies.
    pub bandwidth: Bandwidth,
    /// Copies.
    pub copies: Copies,
    /// Most bytes of an RTP packet.
    pub packet_bytes_max: usize,
}

impl Plan {
    /// The encoder's settings.
    #[must_use]
    pub fn settings(&self, sending: Sending) -> Settings {
        Settings {
            bitrate: self.bitrate,
            bandwidth: self.bandwidth,
            constant: sending.constant,
            dtx: sending.dtx,
            ..Settings::default()
        }
    }
}

/// Chooses the redundancy.
#[derive(Debug)]
pub struct Redundancy {
    sending: Sending,
}

impl Redundancy {
    /// A network of which nothing bad is known.
    #[must_use]
    pub fn new(sending: Sending) -> Self {
        Self { sending }
    }

    /// The user chooses.
    pub fn choose(&mut self, sending: Sending) {
        self.sending = sending;
    }

    /// A report.
    pub fn report(&mut self, _: Conditions, _: Instant) {}

    /// How packets of this codec are made now.
    #[must_use]
    pub fn plan(&self, _: Codec) -> Plan {
        Plan {
            bitrate: self.sending.bitrate,
            bandwidth: Bandwidth::Full,
            copies: Copies::NONE,
            packet_bytes_max: usize::MAX,
        }
    }
}
