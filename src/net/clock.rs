//! The one place that reads the clocks. Shells call it and hand the time on; cores never do.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Monotonic time, for everything that is measured or waited for.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Time that also goes on while the computer sleeps, since some moment.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[must_use]
pub fn always() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanoseconds)
}

/// Time that also goes on while the computer sleeps: the wall clock, where there is no other one.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[must_use]
pub fn always() -> Duration {
    Duration::from_nanos(unix_ns())
}

/// Milliseconds since 1970, for time stamps that people read.
#[must_use]
pub fn unix_ms() -> u64 {
    unix_ns() / 1_000_000
}

/// Nanoseconds since 1970, to compare with the times of arrival that the kernel notes.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
