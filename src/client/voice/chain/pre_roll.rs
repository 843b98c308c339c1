//! The pre-roll: what was said in the last 150 ms, for the word that opens the microphone; and while it was not
//! known yet whether a key was for talking.
//!
//! What is older is gone for good.

use super::{FRAME, FRAMES_PER_SECOND};

/// Frames of the time before a key: 150 ms.
pub const PRE_ROLL: usize = 15 * FRAMES_PER_SECOND / 100;

/// Frames since a key went down that turned out 180 ms later to be for talking, and up to two that it fell into: as
/// many as receivers take for the opening of a talkspurt and not for a network that holds packets up.
pub const LATE: usize = 20 * FRAMES_PER_SECOND / 100;
/// Frames that are kept.
const KEPT: usize = LATE;

/// The last frames that were not sent, of 10 ms at any rate up to 48 kHz.
#[derive(Debug)]
pub struct PreRoll {
    frames: Vec<Vec<f32>>,
    /// Where the next frame goes, and how many are there.
    next: usize,
    count: usize,
}

impl Default for PreRoll {
    fn default() -> Self {
        Self { frames: (0..KEPT).map(|_| Vec::with_capacity(FRAME)).collect(), next: 0, count: 0 }
    }
}

impl PreRoll {
    /// Keeps a frame; the oldest goes for it.
    pub fn keep(&mut self, frame: &[f32]) {
        if let Some(slot) = self.frames.get_mut(self.next) {
            slot.clear();
            slot.extend_from_slice(frame);
        }
        self.next = (self.next + 1) % KEPT;
        self.count = (self.count + 1).min(KEPT);
    }

    /// How many frames are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// The frame that was kept so many frames ago; 1 is the last.
    #[must_use]
    pub fn back(&self, frames: usize) -> Option<&[f32]> {
        let there = (1..=self.count).contains(&frames);
        let slot = (self.next + KEPT).checked_sub(frames)? % KEPT;
        self.frames.get(slot).filter(|_| there).map(Vec::as_slice)
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
    fn only_the_last_frames_are_kept() {
        let mut kept = PreRoll::default();
        for k in 0..60u8 {
            kept.keep(&[f32::from(k); FRAME]);
        }
        let all: Vec<f32> = (1..50).map_while(|back| kept.back(back)).map(|f| f[0]).collect();
        assert_eq!(all, (40..60u8).rev().map(f32::from).collect::<Vec<_>>());
        assert_eq!((kept.len(), kept.back(0)), (KEPT, None));
        kept.clear();
        assert_eq!(kept.back(1), None);
    }
}
