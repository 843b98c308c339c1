//! How much lies in the ring to a loudspeaker beyond what it takes at a time: as little as does without gaps.
//!
//! Pure. What is left in the ring when the device has taken its share tells how near a gap was: the
//! margin grows before there is one, and comes down by what was never needed.

use std::time::{Duration, Instant};

/// Least margin, in ms, ...
const MIN_MS: f32 = 4.0;
/// ... and what a device begins with, which the first seconds bring down.
const START_MS: f32 = 8.0;
/// Most, in ms.
const MAX_MS: f32 = 40.0;
/// It grows by this when the device found too little, in ms.
const GAP_MS: f32 = 2.0;
/// So much must always be left, in ms: what is less is added.
const SPARE_MS: f32 = 1.5;
/// It comes down by a share of what was left beyond that, if it is more than this.
const TOO_MUCH_MS: f32 = 1.0;
const DOWN: f32 = 0.5;
/// After this long at the start, ...
const CALM_START: Duration = Duration::from_secs(1);
/// ... and twice as long after each time, up to this.
const CALM_MAX: Duration = Duration::from_secs(64);
/// A device that has just begun may find too little without that meaning anything.
const BEGIN: Duration = Duration::from_millis(500);

/// The margin of one device.
#[derive(Debug)]
pub struct Margin {
    ms: f32,
    calm: Duration,
    /// When it last changed, and the least that was left since then.
    since: Option<Instant>,
    spare_ms: f32,
    began: Option<Instant>,
}

impl Default for Margin {
    fn default() -> Self {
        Self { ms: START_MS, calm: CALM_START, since: None, spare_ms: f32::INFINITY, began: None }
    }
}

impl Margin {
    /// The margin now.
    #[must_use]
    pub fn ms(&self) -> f32 {
        self.ms
    }

    /// Since the last call the device found too little so often, and left so much at least, in ms;
    /// infinite if it took nothing.
    pub fn note(&mut self, gaps: u64, spare_ms: f32, now: Instant) {
        let began = *self.began.get_or_insert(now);
        if now.saturating_duration_since(began) < BEGIN {
            return;
        }
        let since = *self.since.get_or_insert(now);
        self.spare_ms = self.spare_ms.min(spare_ms);
        if gaps > 0 {
            self.change(GAP_MS, now);
        } else if self.spare_ms < SPARE_MS {
            self.change(SPARE_MS - self.spare_ms, now);
        } else if now.saturating_duration_since(since) >= self.calm {
            let unused = self.spare_ms - SPARE_MS;
            self.calm = (self.calm * 2).min(CALM_MAX);
            let down = if unused.is_finite() && unused > TOO_MUCH_MS { unused * DOWN } else { 0.0 };
            self.change(-down, now);
        }
    }

    fn change(&mut self, by_ms: f32, now: Instant) {
        self.ms = (self.ms + by_ms).clamp(MIN_MS, MAX_MS);
        self.since = Some(now);
        self.spare_ms = f32::INFINITY;
    }
}

/// So many times may a device itself run dry ...
const XRUNS_MAX: u64 = 4;
/// ... in this time before its buffer is taken for too small.
const XRUNS_TIME: Duration = Duration::from_secs(10);

/// How often a device itself ran dry lately.
#[derive(Debug, Default)]
pub struct Xruns {
    /// When the count began, and how many there had been.
    since: Option<(Instant, u64)>,
}

impl Xruns {
    /// Whether it does so too often; `count` is since it was opened.
    pub fn are_too_many(&mut self, count: u64, now: Instant) -> bool {
        let (since, before) = *self.since.get_or_insert((now + BEGIN, count));
        if now < since || now.saturating_duration_since(since) > XRUNS_TIME {
            self.since = Some((since.max(now), count));
            return false;
        }
        count.saturating_sub(before) > XRUNS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;

    /// A device whose worker comes late by up to `late_ms`, looked at every 10 ms: the gaps it had.
    fn run(margin: &mut Margin, seconds: u64, late_ms: impl Fn(u64) -> f32) -> usize {
        let start = margin.since.unwrap_or_else(clock::now);
        let mut gaps = 0;
        for k in 0..seconds * 100 {
            let left = margin.ms() - late_ms(k);
            let gap = left < 0.0;
            gaps += usize::from(gap);
            margin.note(u64::from(gap), left.max(0.0), start + Duration::from_millis(10 * k));
        }
        gaps
    }

    #[test]
    fn it_comes_down_to_what_is_needed_without_a_gap() {
        let mut margin = Margin::default();
        let gaps = run(&mut margin, 60, |k| if k % 70 == 0 { 3.0 } else { 0.5 });
        assert_eq!(gaps, 0);
        assert!((4.4..6.0).contains(&margin.ms()), "{}", margin.ms());
    }

    #[test]
    fn where_nothing_is_late_it_is_small_within_seconds() {
        let mut margin = Margin::default();
        assert_eq!(run(&mut margin, 12, |_| 0.3), 0);
        assert!(margin.ms() <= MIN_MS + 0.5, "{}", margin.ms());
    }

    #[test]
    fn it_grows_before_there_is_a_gap_and_with_each_that_comes_all_the_same() {
        let mut margin = Margin::default();
        // What is late comes to 12 ms, slowly.
        assert_eq!(run(&mut margin, 30, |k| (k as f32 / 200.0).min(12.0)), 0);
        assert!(margin.ms() >= 13.0, "{}", margin.ms());
        let gaps = run(&mut margin, 30, |_| 25.0);
        assert!((1..9).contains(&gaps), "{gaps}");
        assert!((25.0..29.0).contains(&margin.ms()), "{}", margin.ms());
    }

    #[test]
    fn a_beginning_means_nothing_and_nothing_is_too_much() {
        let start = clock::now();
        let mut margin = Margin::default();
        margin.note(3, 0.0, start);
        margin.note(3, 0.0, start + BEGIN / 2);
        assert_eq!(margin.ms(), START_MS);
        run(&mut margin, 60, |_| 1e9);
        assert_eq!(margin.ms(), MAX_MS);
    }

    #[test]
    fn a_buffer_is_too_small_when_the_device_keeps_running_dry_and_not_when_it_does_now_and_then() {
        let start = clock::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut xruns = Xruns::default();
        // Many at the beginning, and then one in five seconds.
        assert!(!xruns.are_too_many(0, at(0)));
        for k in 1..100 {
            assert!(!xruns.are_too_many(20 + k / 10, at(k * 500 - 100)));
        }
        let mut xruns = Xruns::default();
        let found = (0..20).find(|k| xruns.are_too_many(*k, at(k * 500)));
        assert!(found.is_some_and(|k| k < 10), "{found:?}");
    }
}
