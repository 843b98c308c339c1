//! When a forwarder waits a little, so that several packets for one receiver can go together. Pure.
//!
//! Copies that go together cost the kernel a third of what each costs alone. Under load they come together by
//! themselves; a hold makes that happen sooner. Whoever is the first to speak is never held: only what follows a
//! batch within the hold waits for its end.

use crate::net::limits::BATCH_HOLD_MAX;
use std::time::{Duration, Instant};

/// Whether and how long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hold {
    /// Never.
    Off,
    /// Only while the forwarder's core is busy.
    #[default]
    Busy,
    /// Always so long, at most `BATCH_HOLD_MAX`.
    Always(Duration),
}

/// How a hold is written: `off`, `busy` or a time like `2ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hold is 'off', 'busy' or a time from 0ms to 4ms, for example 2ms")]
pub struct NoHold;

impl std::str::FromStr for Hold {
    type Err = NoHold;

    fn from_str(text: &str) -> Result<Self, NoHold> {
        match text {
            "off" => Ok(Self::Off),
            "busy" => Ok(Self::Busy),
            _ => {
                let time = text.strip_suffix("us").map(|us| (us, 1));
                let time = time.or_else(|| text.strip_suffix("ms").map(|ms| (ms, 1000)));
                let (number, us) = time.ok_or(NoHold)?;
                let number: u64 = number.trim().parse().map_err(|_| NoHold)?;
                let hold = Duration::from_micros(number.checked_mul(us).ok_or(NoHold)?);
                if hold > BATCH_HOLD_MAX { Err(NoHold) } else { Ok(Self::Always(hold)) }
            }
        }
    }
}

/// Over this time it is looked how busy the core is.
const WINDOW: Duration = Duration::from_millis(100);
/// Above this share of it the hold grows, ...
const BUSY: f64 = 0.6;
/// ... and below this one, which is less than what a hold saves, it shrinks.
const IDLE: f64 = 0.2;
/// By so much.
const STEP: Duration = Duration::from_millis(2);

/// What a forwarder remembers to keep its pace.
#[derive(Debug)]
pub struct Pace {
    hold: Hold,
    /// The hold for being busy, now.
    own: Duration,
    begun: Instant,
    worked: Duration,
    /// No sooner than this does it go on.
    next: Instant,
}

impl Pace {
    /// Nothing done yet.
    #[must_use]
    pub fn new(hold: Hold, now: Instant) -> Self {
        Self { hold, own: Duration::ZERO, begun: now, worked: Duration::ZERO, next: now }
    }

    /// How long to wait before what has arrived is taken.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now).min(BATCH_HOLD_MAX)
    }

    /// The hold in force.
    #[must_use]
    pub fn hold(&self) -> Duration {
        match self.hold {
            Hold::Off => Duration::ZERO,
            Hold::Busy => self.own,
            Hold::Always(hold) => hold.min(BATCH_HOLD_MAX),
        }
    }

    /// A batch was dealt with, from `began` to `ended`.
    pub fn worked(&mut self, began: Instant, ended: Instant) {
        self.worked += ended.saturating_duration_since(began);
        let passed = ended.saturating_duration_since(self.begun);
        if passed >= WINDOW {
            let share = self.worked.as_secs_f64() / passed.as_secs_f64();
            if share > BUSY {
                self.own = (self.own + STEP).min(BATCH_HOLD_MAX);
            } else if share < IDLE {
                self.own = self.own.saturating_sub(STEP);
            }
            (self.begun, self.worked) = (ended, Duration::ZERO);
        }
        self.next = ended + self.hold();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_to_speak_is_not_held_and_what_follows_is_for_the_hold_at_most() {
        let mut now = clock::now();
        let mut pace = Pace::new(Hold::Always(2 * MS), now);
        assert_eq!(pace.wait(now), Duration::ZERO);
        pace.worked(now, now + MS);
        now += MS;
        assert_eq!(pace.wait(now), 2 * MS);
        assert_eq!(pace.wait(now + MS), MS);
        assert_eq!(pace.wait(now + 20 * MS), Duration::ZERO);
        let mut off = Pace::new(Hold::Off, now);
        off.worked(now, now + MS);
        assert_eq!(off.wait(now + MS), Duration::ZERO);
    }

    #[test]
    fn a_busy_core_holds_by_itself_and_an_idle_one_stops_to() {
        let mut now = clock::now();
        let mut pace = Pace::new(Hold::Busy, now);
        let run = |pace: &mut Pace, now: &mut Instant, share: f64| {
            for _ in 0..250 {
                pace.worked(*now, *now + (2 * MS).mul_f64(share));
                *now += 2 * MS;
            }
        };
        run(&mut pace, &mut now, 0.5);
        assert_eq!(pace.hold(), Duration::ZERO);
        run(&mut pace, &mut now, 0.9);
        assert_eq!(pace.hold(), BATCH_HOLD_MAX);
        run(&mut pace, &mut now, 0.4);
        assert_eq!(pace.hold(), BATCH_HOLD_MAX, "what the hold has saved is no reason to stop it");
        run(&mut pace, &mut now, 0.1);
        assert_eq!(pace.hold(), Duration::ZERO);
    }

    #[test]
    fn a_hold_is_written_in_words_or_as_a_time() {
        assert_eq!("off".parse(), Ok(Hold::Off));
        assert_eq!("busy".parse(), Ok(Hold::Busy));
        assert_eq!("2ms".parse(), Ok(Hold::Always(2 * MS)));
        assert_eq!("1500us".parse(), Ok(Hold::Always(1500 * MS / 1000)));
        for wrong in ["", "5ms", "on", "-1ms", "2", "99999999999999999999ms"] {
            assert_eq!(wrong.parse::<Hold>(), Err(NoHold), "{wrong}");
        }
    }
}
