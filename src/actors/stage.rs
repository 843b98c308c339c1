//! Who of a room's open microphones is heard, when there are more than can be listened to.
//!
//! A room has one stage with a fixed number of places, and all forwarders share it: each claims and gives up places
//! for the speakers whose streams it owns, with one atomic word for each place and no lock. Who finds a free place is
//! heard from his first packet on. When all are taken, he must be clearly louder than the quietest, so that two who are
//! about as loud do not push each other out again and again. Levels are those of RFC 6464, turned around: more is louder.
//! Pure: the time comes with each call.

use crate::net::limits::{HEARD_AT_ONCE_MAX, HEARD_IDLE};
use crate::net::rtp::AudioLevel;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// By how many dB a newcomer must be louder than the quietest who is heard.
const MARGIN_DB: u8 = 6;
/// Between words one stays as loud as one was; so fast it fades, in ms for each dB.
const FADE_MS_PER_DB: u128 = 100;
/// How loud somebody counts who never said it: as usual speech does.
const UNTOLD_DB: u8 = 127 - 35;
/// No one stands here. A group is below 2^30, so no word of a speaker looks like this.
const EMPTY: u64 = u64::MAX;
/// Times are kept in 24 bits of milliseconds, and compared within far less than their range.
const TIME_MASK: u64 = 0xff_ffff;

/// The places of one room. Cheap to clone: all clones are one stage.
#[derive(Debug, Clone)]
pub struct Stage(Arc<Places>);

#[derive(Debug)]
struct Places {
    places: Box<[AtomicU64]>,
    epoch: Instant,
}

/// How loud a speaker is: at once as loud as his loudest packet, and only slowly quieter.
#[derive(Debug, Clone, Copy)]
pub struct Loudness {
    db: u8,
    at: Instant,
}

impl Loudness {
    /// Nothing heard yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { db: UNTOLD_DB, at: now }
    }

    /// A packet says how loud it is, or does not. How loud the speaker counts now, 0 to 127.
    pub fn hear(&mut self, level: Option<AudioLevel>, now: Instant) -> u8 {
        let Some(AudioLevel { level, .. }) = level else { return self.db };
        let fade = now.saturating_duration_since(self.at).as_millis() / FADE_MS_PER_DB;
        let faded = self.db.saturating_sub(u8::try_from(fade).unwrap_or(u8::MAX));
        let heard = 127 - level.min(127);
        if heard >= faded || fade > 0 {
            *self = Self { db: heard.max(faded), at: now };
        }
        self.db
    }
}

/// One place's word: whose (32 bits), how loud (8), when he spoke last (24, in ms).
#[derive(Clone, Copy)]
struct Taken {
    group: u32,
    db: u8,
    ms: u64,
}

impl Taken {
    fn read(word: u64) -> Option<Self> {
        let [g0, g1, g2, g3, db, ..] = word.to_be_bytes();
        let group = u32::from_be_bytes([g0, g1, g2, g3]);
        (word != EMPTY).then_some(Self { group, db, ms: word & TIME_MASK })
    }

    fn word(self) -> u64 {
        u64::from(self.group) << 32 | u64::from(self.db) << 24 | self.ms & TIME_MASK
    }

    fn idle(self, ms: u64) -> bool {
        let silent = Duration::from_millis(ms.wrapping_sub(self.ms) & TIME_MASK);
        // A clock read by another thread may be a little ahead of ours.
        silent >= HEARD_IDLE && silent < Duration::from_millis(TIME_MASK / 2)
    }
}

impl Stage {
    /// A stage of so many places, at most `HEARD_AT_ONCE_MAX`; with 0 everybody is heard.
    #[must_use]
    pub fn new(places: usize, now: Instant) -> Self {
        let places = (0..places.min(HEARD_AT_ONCE_MAX)).map(|_| AtomicU64::new(EMPTY)).collect();
        Self(Arc::new(Places { places, epoch: now }))
    }

    /// A stage on which there is room for everybody.
    #[must_use]
    pub fn boundless(now: Instant) -> Self {
        Self::new(0, now)
    }

    /// Whether a speaker is heard with the packet that he sends now. `group` is his alone: his SSRCs' common part.
    /// Only the forwarder that owns his streams asks.
    #[must_use]
    pub fn admits(&self, group: u32, db: u8, now: Instant) -> bool {
        let Places { places, epoch } = &*self.0;
        if places.is_empty() {
            return true;
        }
        let ms = u64::try_from(now.saturating_duration_since(*epoch).as_millis()).unwrap_or(0);
        let own = Taken { group, db, ms }.word();
        let mut quietest: Option<(&AtomicU64, u64, u8)> = None;
        let mut free: Option<(&AtomicU64, u64)> = None;
        for place in places {
            let word = place.load(Ordering::Relaxed);
            match Taken::read(word) {
                Some(taken) if taken.group == group => {
                    // Failing means that another has just taken it: louder, or after a pause.
                    return swap(place, word, own);
                }
                Some(taken) if !taken.idle(ms) => {
                    if quietest.is_none_or(|(.., least)| taken.db < least) {
                        quietest = Some((place, word, taken.db));
                    }
                }
                Some(_) | None => free = free.or(Some((place, word))),
            }
        }
        if let Some((place, word)) = free {
            return swap(place, word, own);
        }
        match quietest {
            Some((place, word, least)) if db >= least.saturating_add(MARGIN_DB) => {
                swap(place, word, own)
            }
            _ => false,
        }
    }

    /// He has stopped to speak: his place is free at once.
    pub fn leave(&self, group: u32) {
        for place in &self.0.places {
            let word = place.load(Ordering::Relaxed);
            if Taken::read(word).is_some_and(|taken| taken.group == group) {
                swap(place, word, EMPTY);
            }
        }
    }
}

/// Puts one word for another, unless a third was faster.
fn swap(place: &AtomicU64, before: u64, after: u64) -> bool {
    place.compare_exchange(before, after, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;
    use std::collections::BTreeSet;

    const PACKET: Duration = Duration::from_millis(20);

    fn level(db: u8) -> Option<AudioLevel> {
        Some(AudioLevel { voice: true, level: 127 - db })
    }

    #[test]
    fn without_a_bound_everybody_is_heard() {
        let now = clock::now();
        let stage = Stage::boundless(now);
        assert!((0..1000).all(|group| stage.admits(group, 0, now)));
    }

    #[test]
    fn who_finds_a_place_is_heard_from_his_first_packet_on_however_quiet_he_is() {
        let now = clock::now();
        let stage = Stage::new(3, now);
        assert!(stage.admits(1, 0, now) && stage.admits(2, 90, now) && stage.admits(3, 5, now));
        assert!(!stage.admits(4, 5, now), "no clearly louder than the quietest");
        stage.leave(2);
        assert!(stage.admits(4, 0, now), "a place is free at once");
        let later = now + HEARD_IDLE;
        assert!(stage.admits(1, 0, later) && stage.admits(5, 0, later), "and after a pause");
    }

    #[test]
    fn the_clearly_louder_takes_the_place_of_the_quietest() {
        let now = clock::now();
        let stage = Stage::new(2, now);
        assert!(stage.admits(1, 80, now) && stage.admits(2, 60, now));
        assert!(!stage.admits(3, 60 + MARGIN_DB - 1, now));
        assert!(stage.admits(3, 60 + MARGIN_DB, now));
        assert!(!stage.admits(2, 60, now), "he has lost it");
        assert!(stage.admits(1, 80, now) && stage.admits(3, 66, now));
    }

    /// Random loudness of many open microphones: who is heard changes rarely, and the loudest are.
    #[test]
    fn nobody_flaps_and_the_loudest_are_heard() {
        let mut now = clock::now();
        let stage = Stage::new(4, now);
        let mut speakers: Vec<Loudness> = (0..12).map(|_| Loudness::new(now)).collect();
        let (mut seed, mut changes) = (7u32, 0);
        println!("seed {seed}");
        let mut before = BTreeSet::new();
        // Four are 12 dB louder than the rest, all of them by turns 5 dB louder and quieter.
        for round in 0..3000u32 {
            let mut heard = BTreeSet::new();
            for (group, speaker) in (0..).zip(&mut speakers) {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let base = if group % 3 == 0 { 92 } else { 80 };
                let told = (round % 5 == 0).then(|| level(base + (seed >> 16) as u8 % 10 - 5));
                let db = speaker.hear(told.flatten(), now);
                if stage.admits(group, db, now) {
                    heard.insert(group);
                }
            }
            // A change within a round shows both.
            assert!(heard.len() <= 8);
            changes += usize::from(heard != before);
            before = heard;
            now += PACKET;
        }
        assert_eq!(before, BTreeSet::from([0, 3, 6, 9]));
        assert!(changes <= 20, "{changes} changes in a minute");
    }

    #[test]
    fn between_words_one_stays_as_loud_as_one_was() {
        let now = clock::now();
        let mut loudness = Loudness::new(now);
        assert_eq!(loudness.hear(level(100), now), 100);
        assert_eq!(loudness.hear(level(10), now + Duration::from_millis(300)), 97);
        assert_eq!(loudness.hear(None, now + Duration::from_millis(350)), 97);
        assert_eq!(loudness.hear(level(99), now + Duration::from_millis(350)), 99);
        assert_eq!(loudness.hear(level(0), now + Duration::from_secs(60)), 0);
    }

    #[test]
    fn many_forwarders_never_let_more_speak_than_there_are_places() {
        let now = clock::now();
        let stage = Stage::new(5, now);
        std::thread::scope(|scope| {
            for thread in 0..4u32 {
                let stage = stage.clone();
                scope.spawn(move || {
                    for k in 0..20_000u32 {
                        let group = thread * 100 + k % 7;
                        let _ = stage.admits(group, (k % 120) as u8, now);
                    }
                });
            }
        });
        let words = stage.0.places.iter().map(|place| place.load(Ordering::Relaxed));
        let groups: Vec<u32> = words.filter_map(Taken::read).map(|taken| taken.group).collect();
        let different: BTreeSet<u32> = groups.iter().copied().collect();
        assert_eq!((groups.len(), different.len()), (5, 5));
    }
}
