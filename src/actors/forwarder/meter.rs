//! What a forwarder counts, for whoever wants to see it.
//!
//! The forwarder writes a few times a second, others read: each number is right, the sum of several is nearly so.

use super::core::{Counters, ForwarderCore};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Counters that a forwarder publishes from time to time.
#[derive(Debug, Default)]
pub struct ForwarderMeter {
    received: AtomicU64,
    accepted: AtomicU64,
    forwarded: AtomicU64,
    dropped: AtomicU64,
    stale: AtomicU64,
    withheld: AtomicU64,
    refused: AtomicU64,
    overflowed: AtomicU64,
    sessions: AtomicUsize,
    rooms: AtomicUsize,
}

/// What was counted on the way of voice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// What the core counts.
    pub counters: Counters,
    /// Copies that the kernel refused.
    pub refused: u64,
    /// Datagrams that the socket dropped because its buffer was full.
    pub overflowed: u64,
}

impl std::ops::Add for Traffic {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        let (a, b) = (self.counters, more.counters);
        Self {
            counters: Counters {
                received: a.received + b.received,
                accepted: a.accepted + b.accepted,
                forwarded: a.forwarded + b.forwarded,
                dropped: a.dropped + b.dropped,
                stale: a.stale + b.stale,
                withheld: a.withheld + b.withheld,
            },
            refused: self.refused + more.refused,
            overflowed: self.overflowed + more.overflowed,
        }
    }
}

impl ForwarderMeter {
    /// Sessions and rooms held up to about now.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        (self.sessions.load(Ordering::Relaxed), self.rooms.load(Ordering::Relaxed))
    }

    /// What was counted up to about now.
    #[must_use]
    pub fn read(&self) -> Traffic {
        Traffic {
            counters: Counters {
                received: self.received.load(Ordering::Relaxed),
                accepted: self.accepted.load(Ordering::Relaxed),
                forwarded: self.forwarded.load(Ordering::Relaxed),
                dropped: self.dropped.load(Ordering::Relaxed),
                stale: self.stale.load(Ordering::Relaxed),
                withheld: self.withheld.load(Ordering::Relaxed),
            },
            refused: self.refused.load(Ordering::Relaxed),
            overflowed: self.overflowed.load(Ordering::Relaxed),
        }
    }

    pub(super) fn write(&self, core: &ForwarderCore, refused: u64, overflowed: u32) {
        let counters = core.counters();
        let (sessions, rooms) = core.sizes();
        self.sessions.store(sessions, Ordering::Relaxed);
        self.rooms.store(rooms, Ordering::Relaxed);
        self.received.store(counters.received, Ordering::Relaxed);
        self.accepted.store(counters.accepted, Ordering::Relaxed);
        self.forwarded.store(counters.forwarded, Ordering::Relaxed);
        self.dropped.store(counters.dropped, Ordering::Relaxed);
        self.stale.store(counters.stale, Ordering::Relaxed);
        self.withheld.store(counters.withheld, Ordering::Relaxed);
        self.refused.store(refused, Ordering::Relaxed);
        self.overflowed.store(u64::from(overflowed), Ordering::Relaxed);
    }
}
