//! Pauses between attempts to come back: each twice as long as the one before, up to a bound, and
//! spread, so that the clients of a server that restarts do not all come at once. Pure: the seed of
//! the spread is handed in.

use crate::net::limits::RECONNECT_PAUSE;
use std::time::Duration;

/// The next pause.
#[derive(Debug, Clone)]
pub struct Backoff {
    failures: u32,
    random: u64,
}

impl Backoff {
    /// No failure yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { failures: 0, random: seed }
    }

    /// How many attempts have failed in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The connection was good: the next pause is the first again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// An attempt has failed: wait this long. From three quarters to all of the nominal pause.
    pub fn pause(&mut self) -> Duration {
        let (first, longest) = RECONNECT_PAUSE;
        let nominal = first.saturating_mul(1 << self.failures.min(10)).min(longest);
        self.failures = self.failures.saturating_add(1);
        // splitmix64 (Steele, Lea, Flood 2014): good enough to spread.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        let share = (bits >> 40) as f64 / (1u64 << 24) as f64;
        nominal.mul_f64(0.75 + 0.25 * share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_again_after_a_good_connection() {
        let mut backoff = Backoff::new(7);
        for nominal in [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0] {
            let pause = backoff.pause().as_secs_f64();
            assert!((nominal * 0.75..=nominal).contains(&pause), "{pause} for {nominal}");
        }
        assert_eq!(backoff.failures(), 7);
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(500));
        let mut long = Backoff { failures: u32::MAX, random: 1 };
        assert!(long.pause() <= Duration::from_secs(10));
    }

    #[test]
    fn different_seeds_spread_and_the_same_seed_repeats() {
        let first = |seed| Backoff::new(seed).pause();
        assert_eq!(first(1), first(1));
        assert_ne!(first(1), first(2));
    }
}
