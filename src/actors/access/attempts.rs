//! Wrong guesses, by address: a few are free, then each doubles the wait. Pure.

use crate::net::limits::{ATTEMPT_ADDRESSES_MAX, ATTEMPT_MEMORY, ATTEMPT_WAIT, ATTEMPTS_FREE};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Where a guess comes from: an IPv4 address, or the first half of an IPv6 address, of which one person has all the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(IpAddr);

impl Origin {
    /// The origin of an address; one for all where none is known.
    #[must_use]
    pub fn of(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V6(v6)) => Self(IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64))),
            Some(v4) => Self(v4),
            None => Self(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        }
    }
}

/// This machine's own addresses, and none at all: a proxy may stand there for many.
#[must_use]
pub fn is_own(address: Option<IpAddr>) -> bool {
    address.is_none_or(|address| address.to_canonical().is_loopback())
}

#[derive(Debug, Clone, Copy)]
struct Guesses {
    wrong: u32,
    last_ms: u64,
}

/// Who has guessed wrong lately.
#[derive(Debug, Default)]
pub struct Attempts(BTreeMap<Origin, Guesses>);

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Attempts {
    /// How long this origin has to wait before its next guess counts, if at all.
    #[must_use]
    pub fn wait(&self, origin: Origin, now_ms: u64) -> Option<Duration> {
        let guesses = self.0.get(&origin)?;
        let beyond = guesses.wrong.checked_sub(ATTEMPTS_FREE)?;
        let (first, longest) = ATTEMPT_WAIT;
        let wait = first.saturating_mul(1 << beyond.min(16)).min(longest);
        let until = guesses.last_ms.saturating_add(millis(wait));
        let left = until.checked_sub(now_ms).filter(|left| *left > 0)?;
        // A clock that was set back must not lock anyone out for longer than the rule says.
        Some(Duration::from_millis(left).min(longest))
    }

    /// Notes a wrong guess.
    pub fn note_wrong(&mut self, origin: Origin, now_ms: u64) {
        if !self.0.contains_key(&origin) && self.0.len() >= ATTEMPT_ADDRESSES_MAX {
            let oldest = self.0.iter().min_by_key(|(_, guesses)| guesses.last_ms);
            if let Some(oldest) = oldest.map(|(origin, _)| *origin) {
                self.0.remove(&oldest);
            }
        }
        let guesses = self.0.entry(origin).or_insert(Guesses { wrong: 0, last_ms: now_ms });
        if now_ms.saturating_sub(guesses.last_ms) > millis(ATTEMPT_MEMORY) {
            guesses.wrong = 0;
        }
        guesses.wrong = guesses.wrong.saturating_add(1);
        guesses.last_ms = now_ms;
    }

    /// Takes back one guess that was noted as wrong before it was known to be right. The slips before it
    /// stay: whoever knows one password could otherwise guess at another without end.
    pub fn take_back(&mut self, origin: Origin) {
        if let Some(guesses) = self.0.get_mut(&origin) {
            guesses.wrong = guesses.wrong.saturating_sub(1);
            if guesses.wrong == 0 {
                self.0.remove(&origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        Origin::of(Some(text.parse().unwrap()))
    }

    #[test]
    fn guessing_gets_slower_and_slower() {
        let mut attempts = Attempts::default();
        let eve = origin("203.0.113.9");
        let (mut now, mut guesses) = (0, 0);
        while now < 24 * 3_600_000 {
            match attempts.wait(eve, now) {
                Some(wait) => now += millis(wait),
                None => {
                    attempts.note_wrong(eve, now);
                    guesses += 1;
                }
            }
        }
        assert!((60..150).contains(&guesses), "{guesses} guesses in a day");
        assert_eq!(attempts.wait(origin("203.0.113.10"), now), None);
    }

    #[test]
    fn a_slip_is_free_and_a_right_guess_costs_nothing() {
        let mut attempts = Attempts::default();
        let ann = origin("2001:db8::1");
        for _ in 0..ATTEMPTS_FREE - 1 {
            attempts.note_wrong(ann, 0);
        }
        assert_eq!(attempts.wait(ann, 0), None);
        attempts.note_wrong(ann, 0);
        assert!(attempts.wait(origin("2001:db8::ffff"), 0).is_some(), "the same half of IPv6");
        assert_eq!(attempts.wait(origin("2001:db8:0:1::1"), 0), None);
        attempts.take_back(ann);
        assert_eq!(attempts.wait(ann, 0), None);
        attempts.note_wrong(ann, 0);
        assert!(attempts.wait(ann, 0).is_some(), "the slips before are not forgotten");
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut attempts = Attempts::default();
        for k in 0..40_000u32 {
            attempts.note_wrong(Origin::of(Some(IpAddr::V4(k.into()))), u64::from(k));
        }
        assert_eq!(attempts.0.len(), ATTEMPT_ADDRESSES_MAX);
    }
}
