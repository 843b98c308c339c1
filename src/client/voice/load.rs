//! How busy this machine keeps us: what the process takes of a core, and how often sound dropped out lately.
//!
//! Pure: the time, and what the system has counted, come in.

use std::time::{Duration, Instant};

/// What is counted is told over so long, ...
const OVER: Duration = Duration::from_secs(60);
/// ... in parts of this length.
const PARTS: u32 = 12;
/// The processor's time is looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Weight of the newest look: the last ten seconds or so count.
const NEWEST: f32 = 0.3;

/// Events of the last minute.
#[derive(Debug, Clone, Default)]
pub struct PerMinute {
    parts: [u32; PARTS as usize],
    /// Since when anything is counted, and which part is the present one.
    began: Option<Instant>,
    part: u64,
}

impl PerMinute {
    /// Counts so many events, which have happened just now.
    pub fn count(&mut self, events: u64, now: Instant) {
        self.advance(now);
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        if let Some(part) = self.parts.first_mut() {
            *part = part.saturating_add(events);
        }
    }

    /// Events of the last minute.
    pub fn total(&mut self, now: Instant) -> u32 {
        self.advance(now);
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(*part))
    }

    fn advance(&mut self, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let passed = now.saturating_duration_since(began).as_millis() as u64;
        let part = passed / u64::from(OVER.as_millis() as u32 / PARTS);
        for _ in self.part..part.min(self.part + u64::from(PARTS)) {
            self.parts.rotate_right(1);
            if let Some(first) = self.parts.first_mut() {
                *first = 0;
            }
        }
        self.part = part;
    }
}

/// What the process takes of one core.
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuMeter {
    last: Option<(Instant, Duration)>,
    share: Option<f32>,
}

impl CpuMeter {
    /// Looks again, if it is time; `used` asks the system how long this process has computed.
    pub fn look(&mut self, now: Instant, used: impl FnOnce() -> Option<Duration>) {
        let since = self.last.map(|(then, _)| now.saturating_duration_since(then));
        if since.is_some_and(|since| since < LOOK_EVERY) {
            return;
        }
        let Some(used) = used() else { return };
        if let Some((then, before)) = self.last.replace((now, used)) {
            let passed = now.saturating_duration_since(then).as_secs_f32();
            let share = used.saturating_sub(before).as_secs_f32() / passed;
            self.share = Some(self.share.map_or(share, |mean| mean + (share - mean) * NEWEST));
        }
    }

    /// Share of one core, 1 for all of it, if it is known yet.
    #[must_use]
    pub fn share(&self) -> Option<f32> {
        self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;

    #[test]
    fn what_is_older_than_a_minute_is_forgotten() {
        let start = clock::now();
        let at = |s: u64| start + Duration::from_secs(s);
        let mut gaps = PerMinute::default();
        gaps.count(2, at(0));
        gaps.count(1, at(30));
        assert_eq!((gaps.total(at(50)), gaps.total(at(62))), (3, 1));
        assert_eq!(gaps.total(at(3600)), 0);
    }

    #[test]
    fn half_of_a_core_is_told_as_half() {
        let start = clock::now();
        let mut meter = CpuMeter::default();
        for s in 0..40 {
            let now = start + Duration::from_secs(s);
            meter.look(now, || Some(Duration::from_millis(500 * s)));
        }
        assert!((meter.share().unwrap() - 0.5).abs() < 0.01);
    }

    #[test]
    fn where_the_system_says_nothing_nothing_is_told() {
        let mut meter = CpuMeter::default();
        meter.look(clock::now(), || None);
        assert_eq!(meter.share(), None);
    }
}
