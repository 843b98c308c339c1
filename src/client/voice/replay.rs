//! Plays what a trial has heard: its packets come as if from a network that delays nothing.
//!
//! Pure. It has a jitter buffer and a decoder as every speaker has, and is none of the room's: no recording,
//! no figures and no levelling see it.

use super::jitter::Packet;
use super::opus::OpusError;
use super::playback::BLOCK;
use super::speaker::Speaker;
use super::trial::Take;
use crate::net::ids::MemberId;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Blocks that are still played after the last voice, so that it fades: 50 ms.
const TAIL: u32 = 20;

/// A trial that is played.
#[derive(Debug)]
pub struct Replay {
    speaker: Speaker,
    packets: VecDeque<Packet>,
    clock_hz: u32,
    /// When the first packet came, and its time stamp.
    began: (Instant, u32),
    tail: u32,
}

impl Replay {
    /// It begins now.
    ///
    /// # Errors
    /// No decoder can be had.
    pub fn new(take: Take, now: Instant) -> Result<Self, OpusError> {
        let Take { packets, clock_hz, .. } = take;
        let speaker = Speaker::new(MemberId(0), clock_hz, now)?;
        let packets = VecDeque::from(packets);
        let first = packets.front().map_or(0, |packet| packet.timestamp);
        Ok(Self { speaker, packets, clock_hz, began: (now, first), tail: TAIL })
    }

    /// Adds the next block to the mix. False when that was the last.
    pub fn mix(&mut self, now: Instant, sum: &mut [f32; BLOCK]) -> bool {
        let (began, first) = self.began;
        while let Some(packet) = self.packets.front() {
            let units = packet.timestamp.wrapping_sub(first);
            let at = began + Duration::from_secs(1) * units / self.clock_hz.max(1);
            if at > now {
                break;
            }
            self.speaker.insert(packet, at);
            self.packets.pop_front();
        }
        let mut block = [0.0; BLOCK];
        self.speaker.pull(now, &mut block, None);
        for (sum, sample) in sum.iter_mut().zip(&block) {
            *sum += sample;
        }
        let goes_on =
            !self.packets.is_empty() || self.speaker.is_speaking() || self.speaker.is_waiting();
        match goes_on && !self.speaker.is_leaving() {
            true => self.tail = TAIL,
            false => self.tail = self.tail.saturating_sub(1),
        }
        self.tail > 0
    }

    /// It fades out at once.
    pub fn stop(&mut self) {
        self.packets.clear();
        self.speaker.leave();
    }
}
