//! How a stream arrives, counted as RFC 3550 says (A.3 loss, A.8 jitter), and the report block made of it.
//!
//! Pure. Loss goes by sequence numbers, which go on over silences: silence is not loss.

use crate::net::ids::{PacketIndex, Ssrc};
use crate::net::losses::LossMeter;
use crate::net::rtcp::ReportBlock;
use std::time::{Duration, Instant};

/// One stream's reception.
#[derive(Debug, Clone)]
pub struct Reception {
    clock_hz: u32,
    /// Lowest and highest index so far, and how many packets came.
    span: Option<(PacketIndex, PacketIndex)>,
    received: u64,
    /// Arrival and media time of the last voice packet.
    last: Option<(Instant, u32)>,
    jitter: f64,
    heard: bool,
    losses: LossMeter,
}

impl Reception {
    /// Nothing has come yet of a stream of this RTP clock.
    #[must_use]
    pub fn new(clock_hz: u32) -> Self {
        Self {
            clock_hz: clock_hz.max(1),
            span: None,
            received: 0,
            last: None,
            jitter: 0.0,
            heard: false,
            losses: LossMeter::default(),
        }
    }

    /// Counts an authentic packet; `timestamp` only if it carries voice.
    pub fn count(&mut self, index: PacketIndex, timestamp: Option<u32>, now: Instant) {
        self.heard = true;
        self.received += 1;
        self.span = Some(match self.span {
            Some((lowest, highest)) => (lowest.min(index), highest.max(index)),
            None => (index, index),
        });
        let Some(timestamp) = timestamp else {
            let last = self.last.map_or(0, |(_, timestamp)| timestamp);
            return self.losses.note(index, last, self.clock_hz);
        };
        self.losses.note(index, timestamp, self.clock_hz);
        if let Some((then, before)) = self.last {
            let arrival = now.saturating_duration_since(then).as_secs_f64() * self.clock();
            let media = f64::from(timestamp.wrapping_sub(before) as i32);
            let difference = (arrival - media).abs();
            // A clock that was set anew is no jitter.
            if difference < 5.0 * self.clock() {
                self.jitter += (difference - self.jitter) / 16.0;
            }
        }
        self.last = Some((now, timestamp));
    }

    /// Loss over the last seconds of voice, if there is any: its share in 1/256, and the mean length of what
    /// is lost in a row, in ms. To be asked once for each report.
    pub fn losses(&mut self) -> Option<(u8, u8)> {
        self.losses.look();
        let (share, burst_ms) = self.losses.losses().bytes();
        (share > 0).then_some((share, burst_ms))
    }

    /// Share lost over the last seconds of voice, 0 to 1, as it was at the last report.
    #[must_use]
    pub fn recent_loss(&self) -> f32 {
        self.losses.losses().share
    }

    /// Interarrival jitter in ms.
    #[must_use]
    pub fn jitter_ms(&self) -> f32 {
        (self.jitter * 1e3 / self.clock()) as f32
    }

    /// The block for the next report, if anything came since the last one.
    ///
    /// `last_report` is the middle of the NTP time in the last sender report, and its age.
    pub fn block(
        &mut self,
        ssrc: Ssrc,
        last_report: Option<(u32, Duration)>,
    ) -> Option<ReportBlock> {
        if !std::mem::take(&mut self.heard) {
            return None;
        }
        let (lowest, highest) = self.span?;
        let expected = highest.0 - lowest.0 + 1;
        let cumulative = expected as i64 - self.received as i64;
        Some(ReportBlock {
            ssrc,
            fraction_lost: self.losses.fraction(),
            cumulative_lost: cumulative.clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_seq: (highest.0 & 0xffff_ffff) as u32,
            jitter: self.jitter as u32,
            last_sender_report: last_report.map_or(0, |(ntp, _)| ntp),
            delay_since_last: last_report.map_or(0, |(_, age)| short_time(age)),
        })
    }

    fn clock(&self) -> f64 {
        f64::from(self.clock_hz)
    }
}

/// A time in 1/65536 s, as reports carry it.
#[must_use]
pub fn short_time(time: Duration) -> u32 {
    (time.as_secs_f64() * 65536.0) as u64 as u32
}

/// A time in 1/2^32 s, as sender reports carry it.
#[must_use]
pub fn long_time(time: Duration) -> u64 {
    (time.as_secs() << 32) | (u64::from(time.subsec_nanos()) * (1 << 32) / 1_000_000_000)
}

/// The middle 32 bits of such a time.
#[must_use]
pub fn middle(ntp: u64) -> u32 {
    (ntp >> 16 & 0xffff_ffff) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn silence_is_not_loss_and_a_gap_in_the_numbers_is() {
        let start = clock::now();
        let mut reception = Reception::new(16_000);
        for k in 0..10u64 {
            reception.count(PacketIndex(100 + k), Some(320 * k as u32), at(start, 20 * k));
        }
        // Ten seconds of silence, then on with the next number.
        for k in 10..20u64 {
            let ms = 10_000 + 20 * k;
            reception.count(PacketIndex(100 + k), Some(160_000 + 320 * k as u32), at(start, ms));
        }
        let block = reception.block(Ssrc(1), None).unwrap();
        assert_eq!((block.fraction_lost, block.cumulative_lost, block.jitter), (0, 0, 0));
        assert_eq!(reception.block(Ssrc(1), None), None);
        // Of the next eight, six come; of the last three before the end it is not known yet.
        for k in [121, 123, 124, 125, 126, 127] {
            reception.count(PacketIndex(k), None, at(start, 11_000));
        }
        let block = reception.block(Ssrc(1), Some((7, Duration::from_millis(500)))).unwrap();
        assert_eq!((block.fraction_lost, block.cumulative_lost), (64, 2));
        assert_eq!((block.last_sender_report, block.delay_since_last), (7, 32_768));
        assert_eq!(block.highest_seq, 127);
    }

    #[test]
    fn jitter_is_that_of_the_rfc() {
        let start = clock::now();
        let mut reception = Reception::new(16_000);
        let mut expected = 0.0;
        for k in 0..100u64 {
            let late = if k % 2 == 0 { 0 } else { 8 };
            reception.count(PacketIndex(k), Some(320 * k as u32), at(start, 20 * k + late));
            if k > 0 {
                expected += (128.0 - expected) / 16.0;
            }
        }
        assert!((f64::from(reception.jitter_ms()) - expected / 16.0).abs() < 0.01);
    }

    #[test]
    fn times_are_in_units_of_the_reports() {
        assert_eq!(short_time(Duration::from_millis(1500)), 98_304);
        assert_eq!(long_time(Duration::from_millis(1500)), (1 << 32) + (1 << 31));
        assert_eq!(middle(long_time(Duration::from_millis(1500))), 98_304);
    }
}
