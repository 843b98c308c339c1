//! Token buckets by key, by the clock that outlives the process: how much each may still do. Pure.

use crate::actors::bucket::Rate;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is left to one, as of a moment.
#[derive(Debug, Clone, Copy)]
struct Level {
    tokens: f64,
    at_ms: u64,
}

impl Level {
    fn now(self, rate: Rate, now_ms: u64) -> f64 {
        let passed = Duration::from_millis(now_ms.saturating_sub(self.at_ms));
        (self.tokens + passed.as_secs_f64() * rate.per_second).min(rate.burst)
    }
}

/// The buckets. Whoever has none has a full one.
#[derive(Debug)]
pub struct Levels<K> {
    rate: Rate,
    most: usize,
    levels: BTreeMap<K, Level>,
}

impl<K: Ord + Clone> Levels<K> {
    /// Everyone may do so much; `most` of those who have less than that are remembered.
    #[must_use]
    pub fn new(rate: Rate, most: usize) -> Self {
        Self { rate, most, levels: BTreeMap::new() }
    }

    fn tokens(&mut self, key: &K, now_ms: u64) -> f64 {
        let Some(level) = self.levels.get_mut(key) else { return self.rate.burst };
        // Where the clock was set back, time counts from there.
        level.at_ms = level.at_ms.min(now_ms);
        level.now(self.rate, now_ms)
    }

    /// How long this one has to wait until he may, if at all.
    #[must_use]
    pub fn wait(&mut self, key: &K, now_ms: u64) -> Option<Duration> {
        let missing = 1.0 - self.tokens(key, now_ms);
        let wait = Duration::try_from_secs_f64(missing.max(0.0) / self.rate.per_second);
        (missing > 0.0).then(|| wait.unwrap_or(Duration::MAX))
    }

    /// He has done it once.
    pub fn take(&mut self, key: K, now_ms: u64) {
        let tokens = self.tokens(&key, now_ms) - 1.0;
        if !self.levels.contains_key(&key) && self.levels.len() >= self.most {
            // Whoever has most left loses least by being forgotten; others cannot be pushed out by many new ones.
            let fullest =
                self.levels.iter().map(|(key, level)| (key, level.now(self.rate, now_ms)));
            let fullest = fullest.max_by(|(_, a), (_, b)| a.total_cmp(b));
            if let Some(fullest) = fullest.map(|(key, _)| key.clone()) {
                self.levels.remove(&fullest);
            }
        }
        self.levels.insert(key, Level { tokens, at_ms: now_ms });
    }

    /// It did not count.
    pub fn give_back(&mut self, key: &K) {
        if let Some(level) = self.levels.get_mut(key) {
            level.tokens += 1.0;
            if level.tokens >= self.rate.burst {
                self.levels.remove(key);
            }
        }
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.levels.len()
    }

    /// Whether everyone has all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_new_ones_do_not_push_out_whoever_has_used_all() {
        let mut levels = Levels::new(Rate { per_second: 0.001, burst: 3.0 }, 100);
        for _ in 0..3 {
            levels.take(0, 0);
        }
        for key in 1..1000u64 {
            levels.take(key, key);
        }
        assert_eq!(levels.len(), 100);
        assert!(levels.wait(&0, 1000).is_some());
    }

    #[test]
    fn what_is_given_back_can_be_had_again() {
        let mut levels = Levels::new(Rate { per_second: 0.5, burst: 1.0 }, 10);
        levels.take("a", 0);
        assert_eq!(levels.wait(&"a", 0), Some(Duration::from_secs(2)));
        levels.give_back(&"a");
        assert_eq!(levels.wait(&"a", 0), None);
        assert!(levels.is_empty());
    }
}
