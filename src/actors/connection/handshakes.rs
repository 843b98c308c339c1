//! How many TLS handshakes an address may begin. Pure.
//!
//! Each costs the thread that everyone shares about a millisecond, and costs the other end much less.

use crate::actors::access::attempts::{Origin, is_own};
use crate::actors::bucket::{Bucket, Rate};
use crate::net::limits::HANDSHAKE_ADDRESSES_MAX;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

/// Who has begun handshakes lately.
#[derive(Debug)]
pub(super) struct Handshakes {
    rate: Rate,
    from: BTreeMap<Origin, (Bucket, Instant)>,
}

impl Handshakes {
    /// Nobody yet; each address may begin so many.
    pub(super) fn with_rate(rate: Rate) -> Self {
        Self { rate, from: BTreeMap::new() }
    }

    /// Counts one, if this address may begin it. This machine's own always may.
    pub(super) fn take(&mut self, address: Option<IpAddr>, now: Instant) -> bool {
        if is_own(address) {
            return true;
        }
        let origin = Origin::of(address);
        if !self.from.contains_key(&origin) && self.from.len() >= HANDSHAKE_ADDRESSES_MAX {
            self.forget(now);
        }
        let (bucket, at) =
            self.from.entry(origin).or_insert_with(|| (Bucket::full(self.rate, now), now));
        *at = now;
        let may = bucket.has(1.0, now);
        if may {
            bucket.spend(1.0);
        }
        may
    }

    /// Makes room: whoever may begin as many as ever is as good as unknown; or else the oldest goes.
    fn forget(&mut self, now: Instant) {
        let full = self.rate.burst;
        self.from.retain(|_, (bucket, _)| !bucket.has(full, now));
        if self.from.len() >= HANDSHAKE_ADDRESSES_MAX {
            let oldest = self.from.iter().min_by_key(|(_, (_, at))| *at);
            if let Some(oldest) = oldest.map(|(origin, _)| *origin) {
                self.from.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;
    use std::time::Duration;

    fn from(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn an_address_begins_its_burst_and_then_its_rate_and_others_are_not_disturbed() {
        let start = clock::now();
        let mut handshakes = Handshakes::with_rate(Rate { per_second: 2.0, burst: 3.0 });
        let mut begun = |address, now| (0..1000).filter(|_| handshakes.take(address, now)).count();
        assert_eq!(begun(from("203.0.113.9"), start), 3);
        assert_eq!(begun(from("203.0.113.9"), start + Duration::from_secs(1)), 2);
        assert_eq!(begun(from("203.0.113.10"), start), 3);
        assert_eq!(begun(from("2001:db8::1"), start), 3);
        assert_eq!(begun(from("2001:db8::ffff"), start), 0, "one person has all of them");
        for own in [from("127.0.0.1"), from("::1"), None] {
            assert_eq!(begun(own, start), 1000);
        }
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let start = clock::now();
        let mut handshakes = Handshakes::with_rate(Rate { per_second: 1.0, burst: 2.0 });
        for k in 0..3 * HANDSHAKE_ADDRESSES_MAX as u32 {
            let address = Some(IpAddr::V4((k | 1 << 30).into()));
            assert!(handshakes.take(address, start));
            assert!(handshakes.from.len() <= HANDSHAKE_ADDRESSES_MAX);
        }
        assert!(handshakes.take(from("192.0.2.1"), start + Duration::from_secs(60)));
        assert_eq!(handshakes.from.len(), 1, "who has been quiet is forgotten");
    }
}
