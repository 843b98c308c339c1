//! Voice inside a control connection: the queue in front of the stream, and what the system is told of it.
//!
//! A stream delivers everything, however late. Voice that is late is worth nothing and holds up what comes
//! behind it, so what has waited too long is dropped here, where it still can be.

use super::limits::{STREAM_VOICE_AGE_MAX, STREAM_VOICE_PACKETS_MAX};
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Instant;
use tokio::net::TcpStream;

/// Voice frames that wait for the stream, bounded in number and in age. Pure.
#[derive(Debug, Default)]
pub struct StreamVoice {
    frames: VecDeque<(Instant, Bytes)>,
    dropped: u64,
}

impl StreamVoice {
    /// Queues a frame whose voice is from `at`. Where there are too many, the oldest goes.
    pub fn push(&mut self, frame: Bytes, at: Instant) {
        if self.frames.len() >= STREAM_VOICE_PACKETS_MAX {
            self.frames.pop_front();
            self.dropped += 1;
        }
        self.frames.push_back((at, frame));
    }

    /// The oldest frame that is not stale.
    pub fn pop(&mut self, now: Instant) -> Option<Bytes> {
        while let Some((at, frame)) = self.frames.pop_front() {
            if now.saturating_duration_since(at) <= STREAM_VOICE_AGE_MAX {
                return Some(frame);
            }
            self.dropped += 1;
        }
        None
    }

    /// Whether there is nothing to pop, stale or not.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Forgets everything that waits.
    pub fn clear(&mut self) {
        self.frames.clear();
    }

    /// Frames dropped because they were stale or too many.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// Has the system send small frames at once and take no more than it is about to send, as far as it can.
pub fn tune(stream: &TcpStream) {
    // What cannot be had costs only latency.
    let _ = stream.set_nodelay(true);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket2::SockRef::from(stream)
        .set_tcp_notsent_lowat(super::limits::STREAM_UNSENT_BYTES_MAX);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;
    use std::time::Duration;

    fn frame(k: usize) -> Bytes {
        Bytes::from(k.to_be_bytes().to_vec())
    }

    #[test]
    fn fresh_voice_comes_out_in_order() {
        let mut queue = StreamVoice::default();
        let now = clock::now();
        for k in 0..5 {
            queue.push(frame(k), now);
        }
        let out: Vec<_> = std::iter::from_fn(|| queue.pop(now)).collect();
        assert_eq!(out, (0..5).map(frame).collect::<Vec<_>>());
        assert_eq!(queue.dropped(), 0);
    }

    #[test]
    fn stale_voice_is_dropped_and_what_is_behind_it_is_not_held_up() {
        let mut queue = StreamVoice::default();
        let start = clock::now();
        for k in 0..20 {
            queue.push(frame(k), start + Duration::from_millis(20) * k as u32);
        }
        // The stream takes nothing for 400 ms.
        let now = start + Duration::from_millis(400);
        let out: Vec<_> = std::iter::from_fn(|| queue.pop(now)).collect();
        assert_eq!(out, (14..20).map(frame).collect::<Vec<_>>());
        assert_eq!(queue.dropped(), 14);
    }

    #[test]
    fn where_there_is_too_much_the_oldest_goes() {
        let mut queue = StreamVoice::default();
        let now = clock::now();
        for k in 0..STREAM_VOICE_PACKETS_MAX + 3 {
            queue.push(frame(k), now);
        }
        assert_eq!(queue.pop(now), Some(frame(3)));
        assert_eq!(queue.dropped(), 3);
    }
}
