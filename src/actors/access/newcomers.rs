//! How many new people an address may bring: names registered, invites used by the unknown. Pure.
//!
//! The server remembers each of them for good, and it remembers a bounded number.

use super::attempts::{Origin, is_own};
use crate::actors::bucket::Rate;
use crate::net::limits::{IDENTITIES_PER_HOUR, IDENTITY_BURST, NEWCOMER_ADDRESSES_MAX};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// What an address may still do, as of a moment. A bucket as [`crate::actors::bucket::Bucket`], by the
/// clock that outlives the process.
#[derive(Debug, Clone, Copy)]
struct Level {
    tokens: f64,
    at_ms: u64,
}

/// Who has brought new people lately.
#[derive(Debug)]
pub struct Newcomers {
    rate: Rate,
    levels: BTreeMap<Origin, Level>,
}

impl Default for Newcomers {
    fn default() -> Self {
        Self::with_rate(Rate {
            per_second: f64::from(IDENTITIES_PER_HOUR) / 3600.0,
            burst: f64::from(IDENTITY_BURST),
        })
    }
}

impl Newcomers {
    /// Nobody yet; each address may bring so many.
    #[must_use]
    pub fn with_rate(rate: Rate) -> Self {
        Self { rate, levels: BTreeMap::new() }
    }

    fn tokens(&mut self, origin: Origin, now_ms: u64) -> f64 {
        let Some(level) = self.levels.get_mut(&origin) else { return self.rate.burst };
        // Where the clock was set back, time counts from there.
        level.at_ms = level.at_ms.min(now_ms);
        let passed = Duration::from_millis(now_ms.saturating_sub(level.at_ms));
        (level.tokens + passed.as_secs_f64() * self.rate.per_second).min(self.rate.burst)
    }

    /// How long this address has to wait before it may bring another, if at all. This machine's own
    /// never has to.
    #[must_use]
    pub fn wait(&mut self, address: Option<IpAddr>, now_ms: u64) -> Option<Duration> {
        if is_own(address) {
            return None;
        }
        let missing = 1.0 - self.tokens(Origin::of(address), now_ms);
        let wait = Duration::try_from_secs_f64(missing.max(0.0) / self.rate.per_second);
        (missing > 0.0).then(|| wait.unwrap_or(Duration::MAX))
    }

    /// This address has brought one.
    pub fn note(&mut self, address: Option<IpAddr>, now_ms: u64) {
        if is_own(address) {
            return;
        }
        let origin = Origin::of(address);
        let tokens = self.tokens(origin, now_ms) - 1.0;
        if !self.levels.contains_key(&origin) && self.levels.len() >= NEWCOMER_ADDRESSES_MAX {
            let oldest = self.levels.iter().min_by_key(|(_, level)| level.at_ms);
            if let Some(oldest) = oldest.map(|(origin, _)| *origin) {
                self.levels.remove(&oldest);
            }
        }
        self.levels.insert(origin, Level { tokens, at_ms: now_ms });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn from(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    /// Brings as many as it may.
    fn bring(newcomers: &mut Newcomers, address: Option<IpAddr>, now_ms: u64) -> usize {
        let mut brought = 0;
        while newcomers.wait(address, now_ms).is_none() && brought < 1000 {
            newcomers.note(address, now_ms);
            brought += 1;
        }
        brought
    }

    #[test]
    fn an_address_brings_its_burst_and_then_its_rate() {
        let mut newcomers = Newcomers::with_rate(Rate { per_second: 2.0 / 3600.0, burst: 3.0 });
        let eve = from("203.0.113.9");
        assert_eq!(bring(&mut newcomers, eve, 0), 3);
        assert_eq!(newcomers.wait(eve, 0), Some(Duration::from_secs(1800)));
        assert_eq!(newcomers.wait(eve, HOUR / 4), Some(Duration::from_secs(900)));
        assert_eq!(bring(&mut newcomers, eve, HOUR), 2);
        assert_eq!(bring(&mut newcomers, eve, 100 * HOUR), 3, "no more than the burst");
        assert_eq!(bring(&mut newcomers, from("203.0.113.10"), 100 * HOUR), 3, "another address");
    }

    #[test]
    fn half_of_an_ipv6_address_is_one_address_and_this_machine_has_no_such_limit() {
        let mut newcomers = Newcomers::default();
        assert!(bring(&mut newcomers, from("2001:db8::1"), 0) < 1000);
        assert_eq!(bring(&mut newcomers, from("2001:db8::ffff"), 0), 0);
        assert!(bring(&mut newcomers, from("2001:db8:0:1::1"), 0) > 0);
        for own in [from("127.0.0.1"), from("::1"), from("::ffff:127.0.0.1"), None] {
            assert_eq!(bring(&mut newcomers, own, 0), 1000);
        }
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out_for_longer_than_the_rule_says() {
        let mut newcomers = Newcomers::with_rate(Rate { per_second: 1.0 / 60.0, burst: 1.0 });
        let ann = from("192.0.2.1");
        newcomers.note(ann, 100 * HOUR);
        assert_eq!(newcomers.wait(ann, 0), Some(Duration::from_secs(60)));
        assert_eq!(newcomers.wait(ann, 60_000), None);
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut newcomers = Newcomers::default();
        for k in 0..40_000u32 {
            newcomers.note(Some(IpAddr::V4((k | 1 << 30).into())), u64::from(k));
        }
        assert_eq!(newcomers.levels.len(), NEWCOMER_ADDRESSES_MAX);
    }
}
