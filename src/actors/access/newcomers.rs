//! How many new people an address may bring: names registered, invites used by the unknown. Pure.
//!
//! The server remembers each of them for good, and it remembers a bounded number.

use super::attempts::{Origin, is_own};
use super::levels::Levels;
use crate::actors::bucket::Rate;
use crate::net::limits::{IDENTITIES_PER_HOUR, IDENTITY_BURST, NEWCOMER_ADDRESSES_MAX};
use std::net::IpAddr;
use std::time::Duration;

/// Who has brought new people lately.
#[derive(Debug)]
pub struct Newcomers(Levels<Origin>);

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
        Self(Levels::new(rate, NEWCOMER_ADDRESSES_MAX))
    }

    /// How long this address has to wait before it may bring another, if at all. This machine's own
    /// never has to.
    #[must_use]
    pub fn wait(&mut self, address: Option<IpAddr>, now_ms: u64) -> Option<Duration> {
        if is_own(address) {
            return None;
        }
        self.0.wait(&Origin::of(address), now_ms)
    }

    /// This address has brought one.
    pub fn note(&mut self, address: Option<IpAddr>, now_ms: u64) {
        if !is_own(address) {
            self.0.take(Origin::of(address), now_ms);
        }
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
        assert_eq!(newcomers.0.len(), NEWCOMER_ADDRESSES_MAX);
    }
}
