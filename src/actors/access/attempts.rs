//! Wrong guesses: by address, of which a few are free and then each doubles the wait; and, with a gentler slope, by
//! the site of an address and by what is guessed at. Pure.
//!
//! What strangers guess at a name must not keep its owner out: whoever has not guessed wrong, or was right
//! before from where he is, is not held back by what others did.

use super::core::IdentityId;
use super::levels::Levels;
use crate::actors::bucket::Rate;
use crate::net::limits::{
    ATTEMPT_ADDRESSES_MAX, ATTEMPT_MEMORY, ATTEMPT_TARGETS_MAX, ATTEMPT_WAIT, ATTEMPTS_FREE,
    SITE_ATTEMPTS_BURST, SITE_ATTEMPTS_PER_HOUR, TARGET_ATTEMPTS_BURST, TARGET_ATTEMPTS_PER_HOUR,
};
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

    /// The whole site, where an IPv6 address is of one (48 bits); else the address itself.
    #[must_use]
    pub fn network(self) -> Self {
        match self.0 {
            IpAddr::V6(v6) => Self(IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 80 << 80))),
            IpAddr::V4(_) => self,
        }
    }

    /// Of this machine itself; [`is_own`].
    #[must_use]
    pub fn is_own(self) -> bool {
        self.0.is_loopback() || self.0.is_unspecified()
    }
}

/// What is guessed at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The server's password.
    Server,
    /// The password of this one's name.
    Name(IdentityId),
    /// The password of the room of this name, without case.
    Room(String),
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
#[derive(Debug)]
pub struct Attempts {
    origins: BTreeMap<Origin, Guesses>,
    sites: Levels<Origin>,
    targets: Levels<Target>,
    /// Who was right, at what, and when last.
    right: BTreeMap<(Origin, Target), u64>,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn hourly(most: u32, burst: u32) -> Rate {
    Rate { per_second: f64::from(most) / 3600.0, burst: f64::from(burst) }
}

impl Default for Attempts {
    fn default() -> Self {
        let sites = hourly(SITE_ATTEMPTS_PER_HOUR, SITE_ATTEMPTS_BURST);
        let targets = hourly(TARGET_ATTEMPTS_PER_HOUR, TARGET_ATTEMPTS_BURST);
        Self {
            origins: BTreeMap::new(),
            sites: Levels::new(sites, ATTEMPT_ADDRESSES_MAX),
            targets: Levels::new(targets, ATTEMPT_TARGETS_MAX),
            right: BTreeMap::new(),
        }
    }
}

/// The site of an origin that is one of many there.
fn site(origin: Origin) -> Option<Origin> {
    (matches!(origin.0, IpAddr::V6(_)) && !origin.is_own()).then(|| origin.network())
}

impl Attempts {
    /// How long this origin has to wait before its next guess counts, if at all: at this, or at an invite.
    #[must_use]
    pub fn wait(
        &mut self,
        origin: Origin,
        target: Option<&Target>,
        now_ms: u64,
    ) -> Option<Duration> {
        let own = self.wait_of(origin, now_ms);
        if target.is_some_and(|target| self.right.contains_key(&(origin, target.clone()))) {
            return own;
        }
        let site = site(origin).and_then(|site| self.sites.wait(&site, now_ms));
        let guessed = self.origins.contains_key(&origin);
        let target = target.filter(|_| guessed).and_then(|t| self.targets.wait(t, now_ms));
        own.max(site).max(target)
    }

    fn wait_of(&mut self, origin: Origin, now_ms: u64) -> Option<Duration> {
        let guesses = self.origins.get_mut(&origin)?;
        // Where the clock was set back, time counts from there.
        guesses.last_ms = guesses.last_ms.min(now_ms);
        let beyond = guesses.wrong.checked_sub(ATTEMPTS_FREE)?;
        let (first, longest) = ATTEMPT_WAIT;
        let wait = first.saturating_mul(1 << beyond.min(16)).min(longest);
        let until = guesses.last_ms.saturating_add(millis(wait));
        let left = until.checked_sub(now_ms).filter(|left| *left > 0)?;
        Some(Duration::from_millis(left))
    }

    /// Notes a wrong guess at this, or at an invite.
    pub fn note_wrong(&mut self, origin: Origin, target: Option<&Target>, now_ms: u64) {
        if !self.origins.contains_key(&origin) && self.origins.len() >= ATTEMPT_ADDRESSES_MAX {
            // Not the oldest: many new ones would then set one free who has to wait.
            let weight = |guesses: &Guesses| {
                let lately = now_ms.saturating_sub(guesses.last_ms) <= millis(ATTEMPT_MEMORY);
                (if lately { guesses.wrong } else { 0 }, guesses.last_ms)
            };
            let least = self.origins.iter().min_by_key(|(_, guesses)| weight(guesses));
            if let Some(least) = least.map(|(origin, _)| *origin) {
                self.origins.remove(&least);
            }
        }
        let guesses = self.origins.entry(origin).or_insert(Guesses { wrong: 0, last_ms: now_ms });
        if now_ms.saturating_sub(guesses.last_ms) > millis(ATTEMPT_MEMORY) {
            guesses.wrong = 0;
        }
        guesses.wrong = guesses.wrong.saturating_add(1);
        guesses.last_ms = now_ms;
        if let Some(site) = site(origin) {
            self.sites.take(site, now_ms);
        }
        if let Some(target) = target {
            self.targets.take(target.clone(), now_ms);
        }
    }

    /// Takes back one guess that was noted as wrong before it was known to be right, or that was never compared.
    /// The slips before it stay: whoever knows one password could otherwise guess at another without end.
    pub fn take_back(&mut self, origin: Origin, target: &Target) {
        if let Some(guesses) = self.origins.get_mut(&origin) {
            guesses.wrong = guesses.wrong.saturating_sub(1);
            if guesses.wrong == 0 {
                self.origins.remove(&origin);
            }
        }
        if let Some(site) = site(origin) {
            self.sites.give_back(&site);
        }
        self.targets.give_back(target);
    }

    /// Remembers that somebody there knows this password.
    pub fn note_right(&mut self, origin: Origin, target: Target, now_ms: u64) {
        let key = (origin, target);
        if !self.right.contains_key(&key) && self.right.len() >= ATTEMPT_ADDRESSES_MAX {
            let oldest = self.right.iter().min_by_key(|(_, at_ms)| **at_ms);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.right.remove(&oldest);
            }
        }
        self.right.insert(key, now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        Origin::of(Some(text.parse().unwrap()))
    }

    const TARGET: Target = Target::Server;

    /// Guesses as soon as it may until then: how often.
    fn guess(attempts: &mut Attempts, from: &[Origin], until_ms: u64) -> usize {
        let (mut now, mut guesses) = (0, 0);
        while now < until_ms {
            let mut soonest = u64::MAX;
            for origin in from {
                match attempts.wait(*origin, Some(&TARGET), now) {
                    Some(wait) => soonest = soonest.min(millis(wait).max(1)),
                    None => {
                        attempts.note_wrong(*origin, Some(&TARGET), now);
                        guesses += 1;
                        soonest = 0;
                    }
                }
            }
            now += soonest;
        }
        guesses
    }

    const DAY: u64 = 24 * 3_600_000;

    #[test]
    fn guessing_gets_slower_and_slower() {
        let mut attempts = Attempts::default();
        let eve = origin("203.0.113.9");
        let guesses = guess(&mut attempts, &[eve], DAY);
        assert!((60..150).contains(&guesses), "{guesses} guesses in a day");
        assert_eq!(attempts.wait(origin("203.0.113.10"), Some(&TARGET), DAY), None);
    }

    #[test]
    fn a_site_with_many_addresses_guesses_little_more_than_one_address() {
        let mut attempts = Attempts::default();
        let site: Vec<Origin> =
            (0..2000).map(|k| origin(&format!("2001:db8:1:{k:x}::1"))).collect();
        let guesses = guess(&mut attempts, &site, 3_600_000);
        assert!((40..=161).contains(&guesses), "{guesses} guesses in an hour");
        // At an invite it is the same; elsewhere nobody is held back by that.
        assert!(attempts.wait(site[1999], None, 0).is_some());
        assert_eq!(attempts.wait(origin("2001:db8:2::1"), Some(&TARGET), 3_600_000), None);
    }

    #[test]
    fn many_addresses_guess_at_one_password_with_a_bound_and_keep_its_owner_out_nowhere() {
        let mut attempts = Attempts::default();
        let ann = origin("198.51.100.7");
        attempts.note_right(ann, TARGET, 0);
        let many: Vec<Origin> = (0..200).map(|k| origin(&format!("203.0.113.{k}"))).collect();
        let guesses = guess(&mut attempts, &many, 3_600_000);
        // Each once, and what all of them have together.
        assert!((200..=200 + 461).contains(&guesses), "{guesses} guesses in an hour");
        let now = 3_600_000;
        attempts.note_wrong(ann, Some(&TARGET), now);
        assert_eq!(attempts.wait(ann, Some(&TARGET), now), None, "she was right here before");
        let elsewhere = origin("198.51.100.8");
        assert_eq!(attempts.wait(elsewhere, Some(&TARGET), now), None, "nor has she guessed here");
        let room = Target::Room("den".to_owned());
        assert_eq!(attempts.wait(elsewhere, Some(&room), now), None, "another password");
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out_for_longer_than_the_rule_says() {
        let mut attempts = Attempts::default();
        let ann = origin("192.0.2.1");
        for _ in 0..ATTEMPTS_FREE {
            attempts.note_wrong(ann, Some(&TARGET), 100 * DAY);
        }
        assert_eq!(attempts.wait(ann, Some(&TARGET), DAY), Some(ATTEMPT_WAIT.0));
        assert_eq!(attempts.wait(ann, Some(&TARGET), DAY + millis(ATTEMPT_WAIT.0)), None);
    }

    #[test]
    fn a_slip_is_free_and_a_right_guess_costs_nothing() {
        let mut attempts = Attempts::default();
        let ann = origin("2001:db8::1");
        for _ in 0..ATTEMPTS_FREE - 1 {
            attempts.note_wrong(ann, Some(&TARGET), 0);
        }
        assert_eq!(attempts.wait(ann, Some(&TARGET), 0), None);
        attempts.note_wrong(ann, Some(&TARGET), 0);
        let same_half = origin("2001:db8::ffff");
        assert!(attempts.wait(same_half, Some(&TARGET), 0).is_some(), "the same half of IPv6");
        assert_eq!(attempts.wait(origin("2001:db8:0:1::1"), Some(&TARGET), 0), None);
        attempts.take_back(ann, &TARGET);
        assert_eq!(attempts.wait(ann, Some(&TARGET), 0), None);
        attempts.note_wrong(ann, Some(&TARGET), 0);
        assert!(
            attempts.wait(ann, Some(&TARGET), 0).is_some(),
            "the slips before are not forgotten"
        );
    }

    #[test]
    fn what_is_remembered_has_a_bound_and_whoever_has_to_wait_is_not_forgotten_first() {
        let mut attempts = Attempts::default();
        let eve = origin("203.0.113.9");
        for _ in 0..20 {
            attempts.note_wrong(eve, None, 0);
        }
        for k in 0..20_000u32 {
            let origin = Origin::of(Some(IpAddr::V4((1 << 30 | k).into())));
            attempts.note_wrong(origin, None, 1 + u64::from(k));
            attempts.note_right(origin, TARGET, u64::from(k));
        }
        assert_eq!(attempts.origins.len(), ATTEMPT_ADDRESSES_MAX);
        assert_eq!(attempts.right.len(), ATTEMPT_ADDRESSES_MAX);
        assert!(attempts.wait(eve, None, 20_000).is_some());
    }
}
