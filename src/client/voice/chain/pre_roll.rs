//! The pre-roll: what was said in the last 150 ms, for the word that opens the microphone.
//!
//! What is older is gone for good.

use super::{FRAME, FRAMES_PER_SECOND, Frame};

/// Frames that are kept: 150 ms.
pub const PRE_ROLL: usize = 15 * FRAMES_PER_SECOND / 100;

/// The last frames that were not sent.
#[derive(Debug)]
pub struct PreRoll {
    frames: Box<[Frame; PRE_ROLL]>,
    /// Where the next frame goes, and how many are there.
    next: usize,
    count: usize,
}

impl Default for PreRoll {
    fn default() -> Self {
        Self { frames: Box::new([[0.0; FRAME]; PRE_ROLL]), next: 0, count: 0 }
    }
}

impl PreRoll {
    /// Keeps a frame; the oldest goes for it.
    pub fn keep(&mut self, frame: &Frame) {
        if let Some(slot) = self.frames.get_mut(self.next) {
            *slot = *frame;
        }
        self.next = (self.next + 1) % PRE_ROLL;
        self.count = (self.count + 1).min(PRE_ROLL);
    }

    /// How many frames are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The last `count` of the frames, the oldest first.
    pub fn last(&self, count: usize) -> impl Iterator<Item = &Frame> {
        let count = count.min(self.count);
        let first = self.next + PRE_ROLL - count;
        (first..first + count).filter_map(|k| self.frames.get(k % PRE_ROLL))
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_frames_are_kept_in_their_order() {
        let mut kept = PreRoll::default();
        for k in 0..40u8 {
            kept.keep(&[f32::from(k); FRAME]);
        }
        let all: Vec<f32> = kept.last(PRE_ROLL).map(|frame| frame[0]).collect();
        assert_eq!(all, (25..40u8).map(f32::from).collect::<Vec<_>>());
        let some: Vec<f32> = kept.last(2).map(|frame| frame[0]).collect();
        assert_eq!(some, [38.0, 39.0]);
        kept.clear();
        assert_eq!(kept.last(PRE_ROLL).count(), 0);
    }
}
