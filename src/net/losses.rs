//! How packets of one stream get lost: which share lately, and how many in a row.
//!
//! Pure. Goes by sequence numbers, which go on over silences: silence is not loss. A packet that a good
//! many later ones have overtaken is as good as lost: nobody waits that long to play it.

use super::ids::PacketIndex;

/// A packet is given up when packets that were sent so much later have come, in ms.
const GIVEN_UP_MS: f32 = 70.0;
/// The same in packets, whatever they last: at least, and at most.
const GIVEN_UP_PACKETS: std::ops::RangeInclusive<u32> = 3..=16;
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
    /// Time stamp of the highest.
    timestamp: u32,
    packet_ms: Option<f32>,
    /// Packets that were given up in a row, the last one just now.
    run: u32,
    /// Since the last look: packets decided upon, and lost ones among them.
    decided: u32,
    lost: u32,
    share: f32,
    /// Bursts and the packets lost in them; both fade.
    bursts: f32,
    missing: f32,
}

/// What became of a stream's packets lately.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Losses {
    /// Share that was lost, 0 to 1, over the last seconds of voice.
    pub share: f32,
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
            if behind < 64 {
                self.seen |= 1 << behind;
            }
            return;
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
        let depth = ((GIVEN_UP_MS / self.packet_ms()) as u32)
            .clamp(*GIVEN_UP_PACKETS.start(), *GIVEN_UP_PACKETS.end());
        for _ in 0..ahead {
            self.seen <<= 1;
            self.decide(self.seen >> depth & 1 == 1);
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
        let ms = decided as f32 * self.packet_ms();
        self.share += (lost as f32 / decided as f32 - self.share) * weight(ms, SHARE_OVER_MS);
        let stays = 1.0 - weight(ms, BURSTS_OVER_MS);
        self.bursts *= stays;
        self.missing *= stays;
        Some(self.losses())
    }

    /// What was known at the last look.
    #[must_use]
    pub fn losses(&self) -> Losses {
        let mean = if self.bursts > 0.01 { self.missing / self.bursts } else { 0.0 };
        Losses { share: self.share, burst_ms: mean * self.packet_ms() }
    }

    fn begin(&mut self, index: PacketIndex, timestamp: u32) {
        // What came before is no loss.
        (self.highest, self.seen, self.run) = (Some(index), u64::MAX, 0);
        self.timestamp = timestamp;
    }

    fn decide(&mut self, came: bool) {
        self.decided += 1;
        if !came {
            self.lost += 1;
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
    /// As reports carry them: the share in 1/256, and the burst in whole ms.
    #[must_use]
    pub fn bytes(self) -> (u8, u8) {
        // Both casts saturate.
        ((self.share * 256.0).round() as u8, self.burst_ms.round() as u8)
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
    fn packets_that_swap_places_are_not_lost_and_those_far_overtaken_are() {
        let mut swapped = LossMeter::default();
        let mut late = LossMeter::default();
        for k in 0..100u64 {
            let index = |k: u64| PacketIndex(k);
            swapped.note(index(k ^ 3), 480 * (k ^ 3) as u32, 48_000);
            if k != 50 {
                late.note(index(k), 480 * k as u32, 48_000);
            }
            if k == 60 {
                late.note(index(50), 480 * 50, 48_000);
            }
        }
        assert_eq!(swapped.look().map(Losses::bytes), Some((0, 0)));
        assert!(late.look().unwrap().share > 0.0);
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
