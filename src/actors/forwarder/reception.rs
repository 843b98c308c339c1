//! How well one stream arrives (RFC 3550, 6.4.1, A.3 and A.8). Pure: packets and times in, report blocks out.

use crate::net::ids::{PacketIndex, Ssrc};
use crate::net::losses::LossMeter;
use crate::net::rtcp::ReportBlock;
use std::time::Instant;

/// Statistics of one received stream. Sequence numbers go on over silences, so silence is not loss.
#[derive(Debug, Default)]
pub struct Reception {
    base: Option<PacketIndex>,
    highest: PacketIndex,
    received: u64,
    jitter: f64,
    last: Option<(Instant, u32)>,
    sender_report: Option<(u32, Instant)>,
    losses: LossMeter,
}

impl Reception {
    /// Notes an authentic packet, not seen before.
    pub fn note(&mut self, index: PacketIndex, timestamp: u32, clock_hz: u32, now: Instant) {
        self.received += 1;
        self.losses.note(index, timestamp, clock_hz);
        let base = *self.base.get_or_insert(index);
        if index < base {
            self.base = Some(index);
        }
        self.highest = self.highest.max(index);
        if let Some((then, before)) = self.last {
            let elapsed = now.saturating_duration_since(then).as_secs_f64() * f64::from(clock_hz);
            let media = f64::from(timestamp.wrapping_sub(before) as i32);
            let transit = (elapsed - media).abs();
            // A second's difference is a pause on another clock, not jitter.
            if transit < f64::from(clock_hz) {
                self.jitter += (transit - self.jitter) / 16.0;
            }
        }
        self.last = Some((now, timestamp));
    }

    /// Notes a sender report, so that the sender can tell the round trip from our next block.
    pub fn note_sender_report(&mut self, ntp: u64, now: Instant) {
        self.sender_report = Some(((ntp >> 16 & 0xffff_ffff) as u32, now));
    }

    /// Mean length in ms of what is lost in a row, 0 for none; nothing if no packet came since the last look.
    pub fn burst_ms(&mut self) -> Option<u8> {
        self.losses.look().map(|losses| losses.bytes().1)
    }

    /// A block on this stream, if any packet came; loss since the last one.
    pub fn report(&mut self, ssrc: Ssrc, now: Instant) -> Option<ReportBlock> {
        let base = self.base?;
        let expected = self.highest.0 - base.0 + 1;
        let lost = expected as i64 - self.received as i64;
        let (last_sender_report, delay) = match self.sender_report {
            Some((ntp, at)) => {
                let delay = now.saturating_duration_since(at).as_secs_f64() * 65536.0;
                (ntp, delay as u32)
            }
            None => (0, 0),
        };
        Some(ReportBlock {
            ssrc,
            fraction_lost: self.losses.fraction(),
            cumulative_lost: i32::try_from(lost).unwrap_or(i32::MAX),
            highest_seq: (self.highest.0 & 0xffff_ffff) as u32,
            jitter: self.jitter as u32,
            last_sender_report,
            delay_since_last: delay,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;
    use std::time::Duration;

    #[test]
    fn loss_is_counted_between_reports_and_silence_is_none() {
        let mut reception = Reception::default();
        let start = clock::now();
        assert_eq!(reception.report(Ssrc(1), start), None);
        let at = |ms| start + Duration::from_millis(ms);
        for k in (0..100u64).filter(|k| k % 4 != 1) {
            reception.note(PacketIndex(5000 + k), (k * 320) as u32, 16_000, at(k * 20));
        }
        let block = reception.report(Ssrc(1), at(2000)).unwrap();
        assert_eq!((block.fraction_lost, block.cumulative_lost), (64, 25));
        assert_eq!(block.jitter, 0);
        // Ten seconds of silence: numbers go on where they were, media time does not.
        reception.note(PacketIndex(5100), 320 * 600, 16_000, at(12_000));
        let block = reception.report(Ssrc(1), at(12_000)).unwrap();
        assert_eq!((block.fraction_lost, block.highest_seq, block.jitter), (0, 5100, 0));
    }
}
