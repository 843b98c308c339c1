//! How late a stream's frames become available, and the playout delay that follows from it.
//!
//! Pure. A frame's offset is its arrival minus its media time. The base is the least offset of the
//! last ten seconds, the lateness of a frame is what its offset has beyond the base. Latenesses are
//! kept in a histogram that forgets; the target is what all but a few of them stay below.

/// Width of a bin of the histogram.
const BIN_MS: f64 = 0.5;
/// Bins: half a second.
const BINS: usize = 1024;
/// Bins below the base when the histogram is laid anew, and bins that it is moved by when the base rises.
const BELOW: usize = 16;
const MOVE: usize = 128;
/// How long it takes until a frame counts for a third, in ms of speech.
const MEMORY_MS: f64 = 5000.0;
/// Share of the frames that must be in time.
const IN_TIME: f64 = 0.997;
/// What is believed before anything is known, as ms of speech without any lateness.
const PRIOR_MS: f64 = 3500.0;
/// What the puller's own unevenness takes.
const SLACK_MS: f64 = 1.5;
/// Least and most delay aimed for.
const TARGET_MIN_MS: f64 = 8.0;
const TARGET_MAX_MS: f64 = 400.0;
/// Delay aimed for at the start, ...
const TARGET_START_MS: f64 = 14.0;
/// ... and for how much speech at least.
const START_MS: f64 = 1500.0;
/// The target stays while what is wanted is less than this below it, ...
const HOLD_MS: f64 = 1.0;
/// ... waits for so much speech before it comes down, ...
const FALL_WAIT_MS: f64 = 1000.0;
/// ... and then falls by so much per ms of speech.
const FALL: f64 = 0.02;
/// The least offset is known for each of so many pieces of time of this length: ten seconds.
const LOWS: usize = 20;
const LOW_MS: f64 = 500.0;
/// After the base was made anew, what was known of latenesses follows it for so much speech.
const SETTLING_MS: f64 = 500.0;

/// What is known of a stream's delays. Times are in ms.
#[derive(Debug)]
pub struct Delays {
    bins: Vec<f32>,
    /// The offset at the lower edge of the first bin.
    edge: f64,
    /// Weight of a ms of speech now: it grows, which is how the past is forgotten.
    weight: f64,
    total: f64,
    lows: [f64; LOWS],
    /// Number of the piece of time that the last offset was in; none before the first.
    slot: Option<u64>,
    base: f64,
    /// Speech since the base was made anew, and since the stream began.
    settled: f64,
    heard: f64,
    target: f64,
    /// For how much speech less was wanted.
    below: f64,
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            bins: vec![0.0; BINS],
            edge: 0.0,
            weight: 1.0,
            total: 0.0,
            lows: [f64::INFINITY; LOWS],
            slot: None,
            base: 0.0,
            settled: 0.0,
            heard: 0.0,
            target: TARGET_START_MS,
            below: 0.0,
        }
    }
}

impl Delays {
    /// The offset of the fastest frames.
    #[must_use]
    pub fn base(&self) -> f64 {
        self.base
    }

    /// How long after the fastest frames a frame should be played.
    #[must_use]
    pub fn target(&self) -> f64 {
        self.target
    }

    /// Whether anything has come yet.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.slot.is_some()
    }

    /// Whether something of the last ten seconds says what the base is.
    #[must_use]
    pub fn is_fresh(&self, at: f64) -> bool {
        let slot = (at / LOW_MS).max(0.0) as u64;
        self.slot.is_some_and(|last| slot.saturating_sub(last) < LOWS as u64 / 2)
    }

    /// Another stream of the same speaker goes over into this one: this is its base in our media
    /// time, and its target.
    pub fn follow(&mut self, at: f64, base: f64, target: f64) {
        self.note(at, base, 0.0);
        self.target = target.clamp(TARGET_MIN_MS, TARGET_MAX_MS);
        self.heard = 0.0;
    }

    /// The stream's clock was set anew: the next offset has nothing to do with those before.
    pub fn restart(&mut self) {
        self.slot = None;
    }

    /// A frame that lasts `duration` has become available at `at`.
    pub fn note(&mut self, at: f64, offset: f64, duration: f64) {
        self.set_base(at, offset);
        self.settled += duration;
        self.heard += duration;
        self.count(offset, duration);
        self.follow_wanted(duration);
    }

    fn set_base(&mut self, at: f64, offset: f64) {
        let slot = (at / LOW_MS).max(0.0) as u64;
        let last = self.slot.replace(slot);
        let passed = last.map_or(LOWS, |last| {
            usize::try_from(slot.saturating_sub(last)).unwrap_or(LOWS).min(LOWS)
        });
        for back in 0..passed {
            self.set_low(slot.saturating_sub(back as u64), f64::INFINITY);
        }
        self.set_low(slot, self.low(slot).min(offset));
        let base = self.lows.iter().copied().fold(f64::INFINITY, f64::min);
        let risen = base - std::mem::replace(&mut self.base, base);
        if passed == LOWS {
            // Nothing is left to compare with. How late frames were may still be true.
            self.settled = 0.0;
            if self.total == 0.0 {
                self.edge = base - BELOW as f64 * BIN_MS;
                self.put(base, PRIOR_MS);
            } else {
                self.edge += risen;
            }
        } else if risen < 0.0 && self.settled < SETTLING_MS {
            self.edge += risen;
        }
    }

    fn low(&self, slot: u64) -> f64 {
        self.lows.get((slot % LOWS as u64) as usize).copied().unwrap_or(f64::INFINITY)
    }

    fn set_low(&mut self, slot: u64, value: f64) {
        if let Some(low) = self.lows.get_mut((slot % LOWS as u64) as usize) {
            *low = value;
        }
    }

    /// Puts an offset into the histogram, and time passes.
    fn count(&mut self, offset: f64, duration: f64) {
        self.put(offset, duration);
        self.weight *= (duration.min(MEMORY_MS) / MEMORY_MS).exp();
        if self.weight > 1e6 {
            self.bins.iter_mut().for_each(|bin| *bin /= self.weight as f32);
            self.total /= self.weight;
            self.weight = 1.0;
        }
    }

    /// Puts an offset into the histogram.
    fn put(&mut self, offset: f64, duration: f64) {
        if self.base - self.edge > 2.0 * MOVE as f64 * BIN_MS {
            // The base has risen: what lies below it says no more than that.
            self.bins.rotate_left(MOVE);
            let start = BINS - MOVE;
            let (kept, moved) = self.bins.split_at_mut(start);
            if let Some(first) = kept.first_mut() {
                *first += moved.iter().sum::<f32>();
            }
            moved.fill(0.0);
            self.edge += MOVE as f64 * BIN_MS;
        }
        let lower = ((self.edge - offset) / BIN_MS).ceil();
        if lower > 0.0 {
            let moved = (lower as usize + BELOW).min(BINS);
            self.bins.rotate_right(moved);
            let (new, kept) = self.bins.split_at_mut(moved);
            let beyond = new.iter().sum::<f32>();
            new.fill(0.0);
            if let Some(last) = kept.last_mut().or(new.last_mut()) {
                *last += beyond;
            }
            self.edge -= (lower + BELOW as f64) * BIN_MS;
        }
        let bin = (((offset - self.edge) / BIN_MS).max(0.0) as usize).min(BINS - 1);
        let added = duration * self.weight;
        if let Some(bin) = self.bins.get_mut(bin) {
            *bin += added as f32;
        }
        self.total += added;
    }

    /// The delay that all but a few of the frames are in time for.
    fn wanted(&self) -> f64 {
        let few = self.total * (1.0 - IN_TIME);
        let mut above = 0.0;
        let late = self.bins.iter().rposition(|bin| {
            above += f64::from(*bin);
            above > few
        });
        let offset = late.map_or(self.base, |bin| self.edge + (bin + 1) as f64 * BIN_MS);
        (offset - self.base + SLACK_MS).clamp(TARGET_MIN_MS, TARGET_MAX_MS)
    }

    fn follow_wanted(&mut self, duration: f64) {
        let wanted = self.wanted();
        if wanted >= self.target {
            self.target = wanted;
            self.below = 0.0;
        } else if wanted > self.target - HOLD_MS {
            self.below = 0.0;
        } else {
            self.below += duration;
            if self.below > FALL_WAIT_MS && self.heard > START_MS {
                self.target = (self.target - FALL * duration).max(wanted);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of 10 ms that come as late as this says.
    struct Stream {
        delays: Delays,
        ms: f64,
    }

    impl Stream {
        fn new() -> Self {
            Self { delays: Delays::default(), ms: 0.0 }
        }

        fn hear(&mut self, frames: usize, mut late: impl FnMut(usize) -> f64) -> f64 {
            for k in 0..frames {
                let late = late(k);
                self.delays.note(self.ms + late, 1000.0 + late, 10.0);
                self.ms += 10.0;
            }
            self.delays.target()
        }
    }

    /// Evenly spread over 0 to 1, in an order that looks like chance.
    fn spread(k: usize) -> f64 {
        (k as f64 * 0.618_034).fract()
    }

    #[test]
    fn it_starts_low_and_comes_down_to_the_floor_where_nothing_shakes() {
        let mut stream = Stream::new();
        assert_eq!(stream.hear(20, |_| 0.0), TARGET_START_MS);
        let target = stream.hear(400, |_| 0.0);
        assert!(target <= TARGET_MIN_MS + HOLD_MS, "{target}");
    }

    #[test]
    fn one_late_frame_of_a_thousand_changes_nothing() {
        let mut stream = Stream::new();
        stream.hear(600, |_| 0.0);
        let before = stream.delays.target();
        let after = stream.hear(3000, |k| if k % 1000 == 250 { 60.0 } else { 0.0 });
        assert!((after - before).abs() < 1.0, "{before} {after}");
        // Nor does the very first one.
        let mut stream = Stream::new();
        assert_eq!(stream.hear(50, |k| if k == 30 { 60.0 } else { 0.0 }), TARGET_START_MS);
    }

    #[test]
    fn a_real_change_is_followed_within_half_a_second() {
        let mut stream = Stream::new();
        stream.hear(1000, |_| 0.0);
        let target = stream.hear(50, |k| 30.0 * spread(k));
        assert!((27.0..33.0).contains(&target), "{target}");
        let target = stream.hear(1000, |k| 30.0 * spread(k));
        assert!((30.0..33.0).contains(&target), "{target}");
    }

    #[test]
    fn it_comes_down_within_seconds_after_a_burst() {
        let mut stream = Stream::new();
        stream.hear(500, |_| 1.0);
        assert!(stream.hear(20, |k| 80.0 - 4.0 * k as f64) > 60.0);
        let after = stream.hear(1500, |_| 1.0);
        assert!(after <= TARGET_MIN_MS + HOLD_MS, "{after}");
    }

    #[test]
    fn the_copies_of_lost_frames_set_the_delay_only_where_loss_is_frequent() {
        // One in twenty is there only 10 ms later, with the next packet.
        let mut stream = Stream::new();
        let target = stream.hear(800, |k| if k % 20 == 7 { 10.0 } else { 0.0 });
        assert!((10.0..13.0).contains(&target), "{target}");
        let target = stream.hear(4000, |k| if k % 1000 == 7 { 10.0 } else { 0.0 });
        assert!(target <= TARGET_MIN_MS + HOLD_MS, "{target}");
    }

    #[test]
    fn the_base_follows_a_clock_that_drifts_and_the_target_stays() {
        let mut delays = Delays::default();
        for k in 0..360_000 {
            let (ms, late) = (k as f64 * 10.0, 5.0 * spread(k));
            delays.note(ms, ms * 200e-6 + late, 10.0);
            if k > 1000 {
                assert!((5.0..11.0).contains(&delays.target()), "{k}: {}", delays.target());
                assert!((delays.base() - ms * 200e-6).abs() < 3.0);
            }
        }
    }

    #[test]
    fn after_a_long_silence_the_base_is_new_and_what_was_known_of_the_path_is_not_lost() {
        let mut stream = Stream::new();
        let before = stream.hear(1000, |k| 30.0 * spread(k));
        stream.ms += 600_000.0;
        let delays = &mut stream.delays;
        for k in 0..100 {
            let late = 30.0 * spread(k);
            delays.note(stream.ms + late, 880.0 + late, 10.0);
            stream.ms += 10.0;
            assert!((delays.target() - before).abs() < 5.0, "{k}: {}", delays.target());
        }
        assert!((delays.base() - 880.0).abs() < 1.5);
    }

    #[test]
    fn any_offsets_leave_it_sane() {
        let mut delays = Delays::default();
        let mut x = 1u64;
        for k in 0..20_000u32 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let wild =
                (x >> 40) as f64 / (1 << (k % 24)) as f64 * if x & 1 == 0 { 1.0 } else { -1.0 };
            delays.note(f64::from(k), wild, (x >> 60) as f64 * 10.0);
            assert!((TARGET_MIN_MS..=TARGET_MAX_MS).contains(&delays.target()));
            assert!(delays.base().is_finite());
        }
    }
}
