//! Whether the computer has slept: two clocks of which one goes on meanwhile. Pure.

use std::time::{Duration, Instant};

/// The clocks drift, and are read one after the other: less than this is no sleep.
const SLEEP_MIN: Duration = Duration::from_secs(2);

/// What the clocks said last.
#[derive(Debug, Default)]
pub struct SleepWatch {
    last: Option<(Instant, Duration)>,
}

impl SleepWatch {
    /// Now by the clock that stands still while the computer sleeps, and by the one that goes on: whether it has
    /// slept since the last look.
    pub fn look(&mut self, awake: Instant, always: Duration) -> bool {
        let Some((awake_before, always_before)) = self.last.replace((awake, always)) else {
            return false;
        };
        let passed = awake.saturating_duration_since(awake_before);
        always.saturating_sub(always_before) >= passed + SLEEP_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;

    #[test]
    fn a_jump_of_one_clock_is_a_sleep_and_a_long_wait_is_none() {
        let mut watch = SleepWatch::default();
        let (start, s) = (clock::now(), Duration::from_secs);
        assert!(!watch.look(start, s(100)));
        assert!(
            !watch.look(start + s(60), s(161)),
            "a machine that was busy, and clocks that drift"
        );
        assert!(watch.look(start + s(61), s(600)));
        assert!(!watch.look(start + s(62), s(601)), "once told");
        assert!(!watch.look(start + s(63), s(300)), "a clock that was set back");
    }

    #[test]
    fn the_clocks_of_this_machine_go_alike_while_it_is_awake() {
        let mut watch = SleepWatch::default();
        for _ in 0..1000 {
            assert!(!watch.look(clock::now(), clock::always()));
        }
    }
}
