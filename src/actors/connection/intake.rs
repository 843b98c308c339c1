//! How many bytes a control connection brings, whatever they are. Pure.
//!
//! What comes too fast is read later, so that the client's own network holds it up; a client that has
//! to be held up for long is cut off.

use crate::actors::bucket::{Bucket, Rate};
use crate::net::limits::{CONTROL_WAIT_FORGIVEN, CONTROL_WAIT_MAX};
use std::time::{Duration, Instant};

/// What one connection may still bring, and how long it may still be waited for.
#[derive(Debug)]
pub(super) struct Intake {
    bytes: Bucket,
    /// In seconds.
    patience: Bucket,
}

/// The client has been waited for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMuch;

impl Intake {
    /// Everything that it may bring at once.
    pub(super) fn new(bytes: Rate, now: Instant) -> Self {
        let patience = Rate {
            per_second: 1.0 / f64::from(CONTROL_WAIT_FORGIVEN),
            burst: CONTROL_WAIT_MAX.as_secs_f64(),
        };
        Self { bytes: Bucket::full(bytes, now), patience: Bucket::full(patience, now) }
    }

    /// So many bytes have come: how long to wait before anything is done with them.
    ///
    /// # Errors
    /// There has been too much waiting already.
    pub(super) fn take(&mut self, length: usize, now: Instant) -> Result<Duration, TooMuch> {
        let cost = length as f64;
        let wait = match self.bytes.has(cost, now) {
            true => Duration::ZERO,
            false => self.bytes.wait(cost),
        };
        self.bytes.spend(cost);
        if !self.patience.has(wait.as_secs_f64(), now) {
            return Err(TooMuch);
        }
        self.patience.spend(wait.as_secs_f64());
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::limits::Limits;
    use crate::net::clock;
    use crate::net::limits::{FRAME_BYTES_MAX, VOICE_BYTES_PER_SECOND, VOICE_PACKETS_PER_SECOND};

    fn intake(now: Instant) -> Intake {
        Intake::new(Limits::default().control_bytes(), now)
    }

    #[test]
    fn a_flood_is_read_at_its_rate_and_then_cut_off() {
        let start = clock::now();
        let (mut intake, mut now, mut read) = (intake(start), start, 0);
        while let Ok(wait) = intake.take(FRAME_BYTES_MAX, now) {
            now += wait;
            read += FRAME_BYTES_MAX;
        }
        let rate = Limits::default().control_bytes();
        let seconds = now.duration_since(start).as_secs_f64();
        assert!(seconds <= 1.2 * CONTROL_WAIT_MAX.as_secs_f64(), "{seconds}");
        assert!(read as f64 <= rate.burst + (seconds + 1.0) * rate.per_second, "{read}");
    }

    #[test]
    fn as_much_voice_as_a_session_may_send_is_never_held_up_and_texts_beside_it_neither() {
        let start = clock::now();
        let mut intake = intake(start);
        let packet = (VOICE_BYTES_PER_SECOND / VOICE_PACKETS_PER_SECOND) as usize + 40;
        for k in 0..20 * VOICE_PACKETS_PER_SECOND {
            let now = start + Duration::from_secs(1) * k / VOICE_PACKETS_PER_SECOND;
            assert_eq!(intake.take(packet, now), Ok(Duration::ZERO));
            if k % VOICE_PACKETS_PER_SECOND == 0 {
                assert_eq!(intake.take(16 * 1024, now), Ok(Duration::ZERO));
            }
        }
    }
}
