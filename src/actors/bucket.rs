//! A token bucket: how much somebody may still do, filled up as time passes. Pure.

use std::time::{Duration, Instant};

/// What a bucket holds at most, and how fast it fills.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Tokens of one second.
    pub per_second: f64,
    /// Tokens at most.
    pub burst: f64,
}

/// The bucket.
#[derive(Debug, Clone)]
pub struct Bucket {
    rate: Rate,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// A full one.
    #[must_use]
    pub fn full(rate: Rate, at: Instant) -> Self {
        Self { rate, tokens: rate.burst, at }
    }

    /// Whether there is enough for this at `now`. A cost above the burst can be had when the bucket is full.
    pub fn has(&mut self, cost: f64, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.tokens = (self.tokens + seconds * self.rate.per_second).min(self.rate.burst);
        self.tokens >= cost.min(self.rate.burst)
    }

    /// Takes this out, which may leave the bucket in debt.
    pub fn spend(&mut self, cost: f64) {
        self.tokens -= cost;
    }

    /// How long until there is enough for this.
    #[must_use]
    pub fn wait(&self, cost: f64) -> Duration {
        let missing = (cost.min(self.rate.burst) - self.tokens).max(0.0);
        Duration::try_from_secs_f64(missing / self.rate.per_second).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let start = clock::now();
        let mut bucket = Bucket::full(Rate { per_second: 2.0, burst: 3.0 }, start);
        let mut take = |now| {
            let has = bucket.has(1.0, now);
            if has {
                bucket.spend(1.0);
            }
            has
        };
        assert_eq!([take(start), take(start), take(start), take(start)], [true, true, true, false]);
        let later = start + Duration::from_secs(1);
        assert_eq!([take(later), take(later), take(later)], [true, true, false]);
        assert_eq!(bucket.wait(1.0), Duration::from_millis(500));
    }

    #[test]
    fn what_costs_more_than_the_burst_is_possible_and_paid_for_later() {
        let start = clock::now();
        let mut bucket = Bucket::full(Rate { per_second: 1.0, burst: 5.0 }, start);
        assert!(bucket.has(20.0, start));
        bucket.spend(20.0);
        assert!(!bucket.has(1.0, start + Duration::from_secs(15)));
        assert!(bucket.has(1.0, start + Duration::from_secs(16)));
    }
}
