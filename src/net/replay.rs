//! Replay window and index estimate of one stream (RFC 3711, 3.3.1 and 3.3.2).
//!
//! `check` first, authenticate, then `commit`: nothing changes for a packet that is not authentic.

use super::ids::PacketIndex;
use super::limits::REPLAY_WINDOW;

const WORDS: usize = (REPLAY_WINDOW / 64) as usize;

/// Which of the last [`REPLAY_WINDOW`] packets of a stream have been seen.
#[derive(Clone, Debug, Default)]
pub struct ReplayWindow {
    highest: Option<PacketIndex>,
    seen: [u64; WORDS],
}

/// Why a packet is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Seen before.
    #[error("packet seen before")]
    Seen,
    /// Older than the window reaches back.
    #[error("packet older than the replay window")]
    TooOld,
}

impl ReplayWindow {
    /// A window that takes only what comes after `index`: everything up to it counts as seen.
    #[must_use]
    pub fn after(index: PacketIndex) -> Self {
        Self { highest: Some(index), seen: [u64::MAX; WORDS] }
    }

    /// The highest index committed so far.
    #[must_use]
    pub fn highest(&self) -> Option<PacketIndex> {
        self.highest
    }

    /// The index that a packet of sequence number `seq` must have.
    #[must_use]
    pub fn estimate(&self, seq: u16) -> PacketIndex {
        match self.highest {
            Some(highest) => highest.nearest(seq),
            None => PacketIndex::new(0, seq),
        }
    }

    /// Whether a packet of this index may still be accepted; changes nothing.
    ///
    /// # Errors
    /// It was committed before, or is older than the window.
    pub fn check(&self, index: PacketIndex) -> Result<(), ReplayError> {
        let Some(highest) = self.highest else { return Ok(()) };
        if index > highest {
            return Ok(());
        }
        if highest.0 - index.0 >= REPLAY_WINDOW {
            return Err(ReplayError::TooOld);
        }
        let (word, bit) = place(index);
        match self.seen.get(word) {
            Some(bits) if bits & bit == 0 => Ok(()),
            _ => Err(ReplayError::Seen),
        }
    }

    /// Marks an authentic packet as seen. Whether it is the highest so far.
    pub fn commit(&mut self, index: PacketIndex) -> bool {
        let newest = match self.highest {
            Some(highest) if index <= highest => false,
            Some(highest) => {
                self.forget_between(highest, index);
                self.highest = Some(index);
                true
            }
            None => {
                self.highest = Some(index);
                true
            }
        };
        let (word, bit) = place(index);
        if let Some(bits) = self.seen.get_mut(word) {
            *bits |= bit;
        }
        newest
    }

    /// Clears the places that the window moves over.
    fn forget_between(&mut self, from: PacketIndex, to: PacketIndex) {
        if to.0 - from.0 >= REPLAY_WINDOW {
            self.seen = [0; WORDS];
            return;
        }
        for index in from.0 + 1..=to.0 {
            let (word, bit) = place(PacketIndex(index));
            if let Some(bits) = self.seen.get_mut(word) {
                *bits &= !bit;
            }
        }
    }
}

fn place(index: PacketIndex) -> (usize, u64) {
    let slot = index.0 % REPLAY_WINDOW;
    ((slot / 64) as usize, 1 << (slot % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_packet_passes_once() {
        let mut window = ReplayWindow::default();
        let first = window.estimate(0x7000);
        assert_eq!(window.check(first), Ok(()));
        assert!(window.commit(first));
        assert_eq!(window.check(first), Err(ReplayError::Seen));
    }

    #[test]
    fn it_reaches_back_at_least_as_far_as_the_rfc_and_the_field_want() {
        let mut window = ReplayWindow::default();
        window.commit(PacketIndex(70_000));
        assert_eq!(window.check(PacketIndex(70_000 - 1023)), Ok(()));
        assert_eq!(window.check(PacketIndex(70_000 - 1024)), Err(ReplayError::TooOld));
    }

    #[test]
    fn a_window_begun_after_an_index_takes_nothing_up_to_it() {
        let mark = PacketIndex::new(2, 0xfffe);
        let mut window = ReplayWindow::after(mark);
        for back in 0..2000 {
            assert!(window.check(PacketIndex(mark.0 - back)).is_err());
        }
        let next = window.estimate(1);
        assert_eq!(next, PacketIndex::new(3, 1));
        assert_eq!(window.check(next), Ok(()));
        assert!(window.commit(next));
        // Overtaken, and not seen yet.
        assert_eq!(window.check(PacketIndex(mark.0 + 1)), Ok(()));
        assert_eq!(window.check(mark), Err(ReplayError::Seen));
    }

    proptest! {
        #[test]
        fn agrees_with_a_set_of_all_indices(steps in prop::collection::vec(-1500i64..1500, 1..400)) {
            let mut window = ReplayWindow::default();
            let mut seen = BTreeSet::new();
            let mut at = 100_000i64;
            for step in steps {
                at = (at + step).max(0);
                let index = PacketIndex(at as u64);
                let highest = seen.last().copied();
                let expected = match highest {
                    Some(h) if index <= h && h.0 - index.0 >= REPLAY_WINDOW => Err(ReplayError::TooOld),
                    _ if seen.contains(&index) => Err(ReplayError::Seen),
                    _ => Ok(()),
                };
                prop_assert_eq!(window.check(index), expected);
                if expected.is_ok() {
                    let newest = window.commit(index);
                    prop_assert_eq!(newest, highest.is_none_or(|h| index > h));
                    seen.insert(index);
                }
            }
        }
    }
}
