//! How packets of one stream get lost: which share lately, and how many in a row.
//!
//! Pure. Goes by sequence numbers, which go on over silences: silence is not loss. Neither is a packet that
//! later ones overtake: how long a missing one is waited for follows how far they overtook each other lately.

use super::ids::PacketIndex;

/// A packet is given up when so many later ones have come: at least, and at most. Nobody waits longer to
/// play it.
const GIVEN_UP_PACKETS: std::ops::RangeInclusive<u32> = 3..=16;
/// A packet that so many later ones overtake comes too late to be waited for: a copy in the next packet
/// would have been there long before.
const LATE_PACKETS: u32 = 3;
/// Most of them that is told as if it were loss: one copy does, however many they are.
const LATE_TOLD_MAX: f32 = 0.04;
/// How many more than any packet was overtaken by lately.
const GIVEN_UP_SLACK: f32 = 2.0;
/// Voice over which it is remembered by how many, in ms.
const REACH_OVER_MS: f32 = 20_000.0;
/// Voice over which the share is taken, in ms: long enough to tell 5 % from 10, short enough to see a change.
const SHARE_OVER_MS: f32 = 1500.0;
/// Voice over which bursts are remembered, in ms.
const BURSTS_OVER_MS: f32 = 5000.0;
/// What a packet lasts while that is not known, in ms, ...
const PACKET_MS: f32 = 10.0;
/// ... and at most: more is a pause between two talkspurts.
const PACKET_MS_MAX: f32 = 60.0;
/// A jump in the numbers beyond this is no loss: the stream has begun anew.
const JUMP_MAX: u64 = 3000;

/// Loss of one stream.
#[derive(Debug, Clone, Default)]
pub struct LossMeter {
    highest: Option<PacketIndex>,
    /// Bit k: the packet k before the highest has come.
    seen: u64,
    /// Of those before this one it is decided whether they came.
    undecided: u64,
    /// Time stamp of the highest.
    timestamp: u32,
    packet_ms: Option<f32>,
    /// By how many later ones a packet was overtaken, at most; it fades.
    reach: f32,
    /// Packets that were given up in a row, the last one just now.
    run: u32,
    /// Since the last look: packets decided upon, and lost ones among them.
    decided: u32,
    lost: u32,
    /// Packets since the last look that came far too late.
    late: u32,
    /// The same since the last fraction was told.
    decided_untold: u64,
    lost_untold: u64,
    share: f32,
    late_share: f32,
    /// Bursts and the packets lost in them; both fade.
    bursts: f32,
    missing: f32,
}

/// What became of a stream's packets lately.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Losses {
    /// Share that was lost, 0 to 1, over the last seconds of voice.
    pub share: f32,
    /// Share that came, but was overtaken by so many others that it was too late.
    pub late: f32,
    /// Mean length of what was lost in a row, in ms; 0 if nothing was.
    pub burst_ms: f32,
}

impl LossMeter {
    /// Counts an authentic packet that was not seen before.
    pub fn note(&mut self, index: PacketIndex, timestamp: u32, clock_hz: u32) {
        let Some(highest) = self.highest else {
            return self.begin(index, timestamp);
        };
        let Some(ahead) = index.0.checked_sub(highest.0).filter(|ahead| *ahead > 0) else {
            let behind = highest.0 - index.0;
            return self.fill_in(index.0, behind);
        };
        if ahead > JUMP_MAX {
            return self.begin(index, timestamp);
        }
        let ms = f64::from(timestamp.wrapping_sub(self.timestamp) as i32) * 1e3
            / f64::from(clock_hz.max(1));
        let each = ms / ahead as f64;
        let told = each > 1.0 && each <= f64::from(PACKET_MS_MAX);
        if told && (ahead == 1 || self.packet_ms.is_none()) {
            self.packet_ms = Some(each as f32);
        }
        self.reach *= 1.0 - weight(ms.clamp(0.0, 1e3) as f32, REACH_OVER_MS);
        let depth = u64::from(self.depth());
        for highest in highest.0 + 1..=index.0 {
            self.seen <<= 1;
            while self.undecided + depth < highest {
                let back = highest - self.undecided;
                self.undecided += 1;
                self.decide(back < 64 && self.seen >> back & 1 == 1);
            }
        }
        self.seen |= 1;
        self.highest = Some(index);
        self.timestamp = timestamp;
    }

    /// What is known now, if any packet was decided upon since the last look.
    pub fn look(&mut self) -> Option<Losses> {
        let decided = std::mem::take(&mut self.decided);
        let lost = std::mem::take(&mut self.lost);
        if decided == 0 {
            return None;
        }
        let late = std::mem::take(&mut self.late);
        let ms = decided as f32 * self.packet_ms();
        let newest = weight(ms, SHARE_OVER_MS);
        self.share += (lost as f32 / decided as f32 - self.share) * newest;
        self.late_share += (late as f32 / decided as f32 - self.late_share) * newest;
        let stays = 1.0 - weight(ms, BURSTS_OVER_MS);
        self.bursts *= stays;
        self.missing *= stays;
        Some(self.losses())
    }

    /// Share of the packets decided upon since the last call that was lost, in 1/256, as a report block's
    /// fraction (RFC 3550, 6.4.1): packets that overtake each other are not taken for lost.
    pub fn fraction(&mut self) -> u8 {
        let decided = std::mem::take(&mut self.decided_untold);
        let lost = std::mem::take(&mut self.lost_untold);
        u8::try_from((lost * 256).checked_div(decided).unwrap_or(0)).unwrap_or(u8::MAX)
    }

    /// What was known at the last look.
    #[must_use]
    pub fn losses(&self) -> Losses {
        let mean = if self.bursts > 0.01 { self.missing / self.bursts } else { 0.0 };
        Losses { share: self.share, late: self.late_share, burst_ms: mean * self.packet_ms() }
    }

    fn begin(&mut self, index: PacketIndex, timestamp: u32) {
        // What came before is no loss.
        (self.highest, self.seen, self.run) = (Some(index), u64::MAX, 0);
        self.undecided = index.0;
        self.timestamp = timestamp;
    }

    /// A packet comes that later ones have overtaken.
    fn fill_in(&mut self, index: u64, behind: u64) {
        let Ok(behind) = u32::try_from(behind) else { return };
        if behind > *GIVEN_UP_PACKETS.end() || self.seen >> behind & 1 == 1 {
            return;
        }
        self.seen |= 1 << behind;
        if index < self.undecided {
            // It was given up too soon.
            self.lost = self.lost.saturating_sub(1);
            self.lost_untold = self.lost_untold.saturating_sub(1);
            self.run = self.run.saturating_sub(1);
        }
        self.late += u32::from(behind >= LATE_PACKETS);
        self.reach = self.reach.max(behind as f32);
    }

    /// How many later packets a missing one is waited for.
    fn depth(&self) -> u32 {
        let reach = (self.reach + GIVEN_UP_SLACK).round() as u32;
        reach.clamp(*GIVEN_UP_PACKETS.start(), *GIVEN_UP_PACKETS.end())
    }

    fn decide(&mut self, came: bool) {
        self.decided += 1;
        self.decided_untold += 1;
        if !came {
            self.lost += 1;
            self.lost_untold += 1;
            self.run += 1;
        } else if self.run > 0 {
            self.bursts += 1.0;
            self.missing += self.run as f32;
            self.run = 0;
        }
    }

    fn packet_ms(&self) -> f32 {
        self.packet_ms.unwrap_or(PACKET_MS)
    }
}

impl Losses {
    /// As reports carry them: the share that was lost or came far too late in 1/256, and the burst in whole ms.
    #[must_use]
    pub fn bytes(self) -> (u8, u8) {
        let share = self.share.max(self.late.min(LATE_TOLD_MAX));
        // Both casts saturate.
        ((share * 256.0).round() as u8, self.burst_ms.round() as u8)
    }
}

/// Weight of something that took `ms` in a mean that is taken over so much.
fn weight(ms: f32, over_ms: f32) -> f32 {
    1.0 - (-ms / over_ms).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Random(u64);

    impl Random {
        fn unit(&mut self) -> f64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) as f64 / (1u64 << 53) as f64
        }
    }

    /// Packets of 10 ms of which those come that `comes` says; a look every 25.
    fn after(count: u64, mut comes: impl FnMut(u64) -> bool) -> LossMeter {
        let mut meter = LossMeter::default();
        for k in 0..count {
            if comes(k) {
                meter.note(PacketIndex(500 + k), 480 * k as u32, 48_000);
            }
            if k % 25 == 24 {
                meter.look();
            }
        }
        meter
    }

    #[test]
    fn a_good_network_loses_nothing() {
        assert_eq!(after(1000, |_| true).losses(), Losses::default());
    }

    #[test]
    fn single_losses_are_bursts_of_one_packet() {
        for share in [0.05, 0.15] {
            let mut random = Random(7);
            let losses = after(3000, |_| random.unit() >= share).losses();
            assert!((f64::from(losses.share) - share).abs() < 0.05, "{losses:?}");
            assert!((9.9..14.0).contains(&losses.burst_ms), "{losses:?}");
        }
    }

    #[test]
    fn the_mean_length_of_bursts_is_measured() {
        let losses = after(3000, |k| k % 60 >= 6).losses();
        assert!((55.0..62.0).contains(&losses.burst_ms), "{losses:?}");
        assert!((0.06..0.16).contains(&losses.share), "{losses:?}");
    }

    #[test]
    fn the_first_loss_shows_at_the_next_look() {
        let losses = after(50, |k| k != 30).losses();
        assert!(losses.bytes().0 > 0 && losses.burst_ms == 10.0, "{losses:?}");
    }

    #[test]
    fn what_is_over_is_forgotten_within_some_seconds() {
        let losses = after(1500, |k| k > 300 || k % 5 > 0).losses();
        assert_eq!(losses.bytes().0, 0, "{losses:?}");
    }

    #[test]
    fn overtaking_packets_are_waited_for_and_losses_show_all_the_same() {
        let mut random = Random(3);
        // Each takes up to 90 ms longer than the fastest; one in fifty is lost.
        let mut sent: Vec<(f64, u64)> =
            (0..6000).map(|k| (k as f64 * 10.0 + 90.0 * random.unit(), k)).collect();
        sent.sort_by(|a, b| a.0.total_cmp(&b.0));
        for lose in [false, true] {
            let (mut meter, mut count) = (LossMeter::default(), 0.0f32);
            for (n, (_, k)) in sent.iter().enumerate() {
                if !lose || k % 50 != 0 {
                    meter.note(PacketIndex(*k), 480 * *k as u32, 48_000);
                }
                if n % 25 == 24 {
                    meter.look();
                }
                if n > 500 {
                    count += meter.losses().share / 5500.0;
                }
            }
            let expected = if lose { 0.02 } else { 0.0 };
            assert!((count - expected).abs() < 0.004, "{count} for {expected}");
        }
    }

    #[test]
    fn packets_that_swap_places_are_not_lost_and_those_far_overtaken_are() {
        let mut swapped = LossMeter::default();
        let mut late = LossMeter::default();
        for k in 0..100u64 {
            let index = |k: u64| PacketIndex(k);
            swapped.note(index(k ^ 3), 480 * (k ^ 3) as u32, 48_000);
            if k != 50 {
                late.note(index(k), 480 * k as u32, 48_000);
            }
            if k == 75 {
                late.note(index(50), 480 * 50, 48_000);
            }
        }
        let swapped = swapped.look().unwrap();
        assert_eq!((swapped.share, swapped.burst_ms), (0.0, 0.0));
        assert!(late.look().unwrap().share > 0.0);
    }

    #[test]
    fn what_comes_far_too_late_is_told_like_a_little_loss_and_what_is_overtaken_by_two_is_not() {
        // Blocks of packets come in reverse: their first ones are overtaken by all others.
        let told = |block: u64| {
            let mut meter = LossMeter::default();
            for k in 0..600u64 {
                let k = k / block * block + (block - 1 - k % block);
                meter.note(PacketIndex(k), 480 * k as u32, 48_000);
                meter.look();
            }
            // At most one was given up before it was known how far they overtake each other.
            assert!(meter.losses().share < 0.01);
            meter.losses().bytes().0
        };
        assert_eq!((told(1), told(2), told(3)), (0, 0, 0));
        assert_eq!(told(4), (LATE_TOLD_MAX * 256.0).round() as u8);
        assert_eq!(told(10), told(4));
    }

    #[test]
    fn silence_is_not_loss_and_neither_is_a_stream_that_begins_anew() {
        let mut meter = LossMeter::default();
        for k in 0..200u64 {
            let pause = if k < 100 { 0 } else { 480_000 };
            let jump = if k < 150 { 0 } else { 100_000 };
            meter.note(PacketIndex(k + jump), 480 * k as u32 + pause, 48_000);
        }
        assert_eq!(meter.look(), Some(Losses::default()));
        assert_eq!(meter.look(), None);
    }
}
