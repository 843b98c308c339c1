//! How much lies in the ring to a loudspeaker beyond what it takes at a time: as little as does without gaps.
//!
//! Pure. It grows when the device found too little, and comes down when it has not for long; each
//! time that this was a mistake, the next attempt waits twice as long.

use std::time::{Duration, Instant};

/// Least margin, in ms; ...
const MIN_MS: f32 = 2.0;
/// ... it grows by this when the device found too little, ...
const UP_MS: f32 = 2.0;
/// ... up to this, ...
const MAX_MS: f32 = 40.0;
/// ... comes down by this ...
const DOWN_MS: f32 = 1.0;
/// ... after this long without, ...
const CALM: Duration = Duration::from_secs(20);
/// ... or up to this long, where it was too little so often before.
const CALM_MAX: Duration = Duration::from_secs(640);
/// A device that has just begun may find too little without that meaning anything.
const BEGIN: Duration = Duration::from_millis(500);

/// The margin of one device.
#[derive(Debug)]
pub struct Margin {
    ms: f32,
    calm: Duration,
    /// When it last changed.
    since: Option<Instant>,
    /// The last change was downwards.
    fell: bool,
    began: Option<Instant>,
}

impl Default for Margin {
    fn default() -> Self {
        Self { ms: MIN_MS, calm: CALM, since: None, fell: false, began: None }
    }
}

impl Margin {
    /// The margin now.
    #[must_use]
    pub fn ms(&self) -> f32 {
        self.ms
    }

    /// Since the last call the device found too little so often.
    pub fn note(&mut self, glitches: u64, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let since = *self.since.get_or_insert(now);
        let calm = now.saturating_duration_since(since);
        if glitches > 0 {
            if now.saturating_duration_since(began) < BEGIN {
                return;
            }
            if std::mem::take(&mut self.fell) {
                self.calm = (self.calm * 2).min(CALM_MAX);
            }
            self.ms = (self.ms + UP_MS).min(MAX_MS);
            self.since = Some(now);
        } else if self.ms > MIN_MS && calm > self.calm {
            self.ms = (self.ms - DOWN_MS).max(MIN_MS);
            self.since = Some(now);
            self.fell = true;
        }
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

    #[test]
    fn it_grows_with_each_gap_and_comes_down_when_there_are_none() {
        let start = clock::now();
        let mut margin = Margin::default();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        margin.note(3, at(0));
        assert_eq!(margin.ms(), MIN_MS, "a beginning means nothing");
        margin.note(1, at(1));
        margin.note(1, at(2));
        assert_eq!(margin.ms(), MIN_MS + 2.0 * UP_MS);
        for second in 3..60 {
            margin.note(0, at(second));
        }
        assert_eq!(margin.ms(), MIN_MS + 2.0 * UP_MS - 2.0 * DOWN_MS);
    }

    #[test]
    fn what_was_too_little_before_is_tried_more_and_more_seldom() {
        let start = clock::now();
        let mut margin = Margin::default();
        let (mut gaps, mut last) = (0, 0);
        // A device that has gaps below 5 ms, for an hour.
        for second in 0..3600u64 {
            let short = second > 0 && margin.ms() < 5.0;
            margin.note(u64::from(short), start + Duration::from_secs(second));
            if short {
                (gaps, last) = (gaps + 1, second);
            }
        }
        assert!(gaps < 12, "{gaps}, the last after {last} s");
        assert!(margin.ms() <= 9.0);
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
