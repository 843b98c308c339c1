//! Ids and counters as types, so that none is mistaken for another.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One control connection that has said `Hello`. Never reused while the server runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(pub u64);

/// One person as others see him: kept when a lost session is resumed. Never reused while the server runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemberId(pub u64);

/// One room from its first member to its last. A later room of the same name has another id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RoomId(pub u64);

/// RTP synchronisation source (RFC 3550, section 3): one stream of one session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ssrc(pub u32);

/// SSRCs given to one session: its streams and its control packets. They share an owner.
pub const SSRCS_PER_SESSION: u32 = 4;

impl Ssrc {
    /// The forwarder, of `forwarders`, that owns this stream. The kernel's steering program does
    /// the same arithmetic (see `net::udp`).
    #[must_use]
    pub fn owner(self, forwarders: usize) -> usize {
        let group = self.0 / SSRCS_PER_SESSION;
        usize::try_from(group).unwrap_or(0) % forwarders.max(1)
    }
}

impl fmt::Display for Ssrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// A packet's 48-bit index: roll-over counter above the 16-bit sequence number (RFC 3711, 3.3.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PacketIndex(pub u64);

impl PacketIndex {
    /// The last index of an RTP packet under one key (RFC 3711, 9.2).
    pub const RTP_MAX: Self = Self((1 << 48) - 1);
    /// The last index of an RTCP packet under one key (RFC 3711, 9.2).
    pub const RTCP_MAX: Self = Self((1 << 31) - 1);

    /// Index of sequence number `seq` in roll-over `roc`.
    #[must_use]
    pub fn new(roc: u32, seq: u16) -> Self {
        Self(u64::from(roc) << 16 | u64::from(seq))
    }

    /// The sequence number on the wire.
    #[must_use]
    pub fn seq(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// The roll-over counter.
    #[must_use]
    pub fn roc(self) -> u32 {
        (self.0 >> 16 & 0xffff_ffff) as u32
    }

    /// The index nearest to this one that has sequence number `seq` (RFC 3711, appendix A).
    #[must_use]
    pub fn nearest(self, seq: u16) -> Self {
        let delta = i64::from(seq.wrapping_sub(self.seq()) as i16);
        let index = self.0 as i64 + delta;
        if index < 0 { Self(index as u64 & 0xffff) } else { Self(index as u64) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_index_follows_the_roll_over_both_ways() {
        let at = PacketIndex::new(1, 3);
        assert_eq!(at.nearest(0xfffe), PacketIndex::new(0, 0xfffe));
        assert_eq!(at.nearest(9), PacketIndex::new(1, 9));
        assert_eq!(PacketIndex::new(1, 0xfff0).nearest(2), PacketIndex::new(2, 2));
        assert_eq!(PacketIndex::new(0, 3).nearest(0xfffe), PacketIndex::new(0, 0xfffe));
    }

    #[test]
    fn a_session_s_ssrcs_share_one_owner() {
        for base in [0u32, 4, 8, 0xffff_fffc] {
            let owners: Vec<_> = (0..4).map(|k| Ssrc(base + k).owner(3)).collect();
            assert!(owners.windows(2).all(|w| w[0] == w[1]), "{owners:?}");
        }
    }
}
