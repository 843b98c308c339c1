//! Voice that was opened and is not forwarded yet, room by room.
//!
//! With time to spare it is empty at the end of each wake-up. Under overload it is where fairness is made: rooms have
//! turns of about equally many copies, so that a large room delays a small one by one turn at most, and what waits too long
//! is dropped, the oldest first. Pure. Slots are used again and again: once it has been as long as it gets, nothing is allocated.

use crate::net::ids::{PacketIndex, RoomId, SessionId};
use crate::net::limits::{BACKLOG_PACKETS_MAX, ROOM_BACKLOG_PACKETS_MAX};
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

/// What there is to know of a packet beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    /// Who said it.
    pub(super) session: SessionId,
    /// His SSRCs' common part.
    pub(super) group: u32,
    /// The packet's index.
    pub(super) index: PacketIndex,
    /// When it reached the server.
    pub(super) arrived: Instant,
}

/// A packet in its slot.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) said: Said,
    /// The RTP packet, open.
    pub(super) bytes: Vec<u8>,
}

/// Where a packet lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(usize);

/// The packets that wait.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    packets: Vec<Packet>,
    free: Vec<Slot>,
    rooms: HashMap<RoomId, VecDeque<Slot>>,
    /// Rooms with packets, in the order of their turns.
    turns: VecDeque<RoomId>,
}

impl Backlog {
    /// Adds a packet for a room: `write` appends its bytes. How many packets had to be dropped for want of room.
    pub(super) fn push(
        &mut self,
        room: RoomId,
        said: Said,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> u64 {
        let queue = self.rooms.entry(room).or_default();
        let mut dropped = 0;
        if queue.len() >= ROOM_BACKLOG_PACKETS_MAX {
            self.free.extend(queue.pop_front());
            dropped = 1;
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.packets.len() < BACKLOG_PACKETS_MAX => {
                self.packets.push(Packet { said, bytes: Vec::new() });
                Slot(self.packets.len() - 1)
            }
            None => return dropped + 1,
        };
        if let Some(packet) = self.packets.get_mut(slot.0) {
            packet.said = said;
            packet.bytes.clear();
            write(&mut packet.bytes);
        }
        if queue.is_empty() {
            self.turns.push_back(room);
        }
        queue.push_back(slot);
        dropped
    }

    /// The room whose turn it is. What it has is taken with [`Self::take`]; [`Self::end_turn`] follows.
    pub(super) fn begin_turn(&mut self) -> Option<RoomId> {
        self.turns.pop_front()
    }

    /// Takes up to `most` packets of a room that `keep` wants, the oldest first, into `taken`; others on the
    /// way are dropped. How many were.
    pub(super) fn take(
        &mut self,
        room: RoomId,
        most: usize,
        taken: &mut Vec<Slot>,
        mut keep: impl FnMut(&Said) -> bool,
    ) -> u64 {
        let Some(queue) = self.rooms.get_mut(&room) else { return 0 };
        let mut dropped = 0;
        while taken.len() < most
            && let Some(slot) = queue.pop_front()
        {
            match self.packets.get(slot.0) {
                Some(packet) if keep(&packet.said) => taken.push(slot),
                _ => {
                    self.free.push(slot);
                    dropped += 1;
                }
            }
        }
        dropped
    }

    /// A packet that was taken.
    pub(super) fn packet(&self, slot: Slot) -> Option<&Packet> {
        self.packets.get(slot.0)
    }

    /// Gives the slots back. A room with packets left has another turn when the others have had theirs.
    pub(super) fn end_turn(&mut self, room: RoomId, taken: &mut Vec<Slot>) {
        self.free.append(taken);
        if self.rooms.get(&room).is_some_and(|queue| !queue.is_empty()) {
            self.turns.push_back(room);
        }
    }

    /// Whether any packet waits.
    pub(super) fn is_waiting(&self) -> bool {
        !self.turns.is_empty()
    }

    /// A room is gone, and what waits for it.
    pub(super) fn remove_room(&mut self, room: RoomId) {
        if let Some(queue) = self.rooms.remove(&room) {
            self.free.extend(queue);
            self.turns.retain(|other| *other != room);
        }
    }

    /// Orders packets so that as many as possible of one size follow each other, the longer ones first, and each speaker's
    /// stay in their order: first the first of everyone, then the second of everyone, ...
    pub(super) fn arrange(&self, taken: &mut [Slot], scratch: &mut Vec<(usize, usize, usize)>) {
        let length = |slot: &Slot| self.packet(*slot).map_or(0, |packet| packet.bytes.len());
        let mut lengths = taken.iter().map(length);
        let first = lengths.next();
        if lengths.all(|length| Some(length) == first) {
            return;
        }
        let group = |slot: &Slot| self.packet(*slot).map(|packet| packet.said.group);
        scratch.clear();
        for (k, slot) in taken.iter().enumerate() {
            let before = taken.iter().take(k).filter(|other| group(other) == group(slot)).count();
            scratch.push((before, usize::MAX - length(slot), slot.0));
        }
        // Unstable, because the stable one allocates. Slots are used in any order, so equals are told apart by the
        // place that they had: nobody hears a difference.
        scratch.sort_unstable();
        for (slot, (.., place)) in taken.iter_mut().zip(scratch.iter()) {
            *slot = Slot(*place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;

    fn said(group: u32, index: u64, arrived: Instant) -> Said {
        Said { session: SessionId(u64::from(group)), group, index: PacketIndex(index), arrived }
    }

    fn indices(backlog: &Backlog, taken: &[Slot]) -> Vec<u64> {
        taken.iter().map(|slot| backlog.packet(*slot).unwrap().said.index.0).collect()
    }

    #[test]
    fn rooms_have_turns_and_a_full_one_loses_its_oldest() {
        let now = clock::now();
        let mut backlog = Backlog::default();
        let full = ROOM_BACKLOG_PACKETS_MAX as u64;
        for k in 0..full + 10 {
            let dropped = backlog.push(RoomId(1), said(1, k, now), |bytes| bytes.push(1));
            assert_eq!(dropped, u64::from(k >= full));
        }
        backlog.push(RoomId(2), said(2, 7, now), |bytes| bytes.push(1));
        let mut taken = Vec::new();
        assert_eq!(backlog.begin_turn(), Some(RoomId(1)));
        backlog.take(RoomId(1), 3, &mut taken, |_| true);
        assert_eq!(indices(&backlog, &taken), [10, 11, 12]);
        backlog.end_turn(RoomId(1), &mut taken);
        assert_eq!(backlog.begin_turn(), Some(RoomId(2)));
        assert_eq!(backlog.take(RoomId(2), 3, &mut taken, |said| said.index.0 != 7), 1);
        backlog.end_turn(RoomId(2), &mut taken);
        assert_eq!(backlog.begin_turn(), Some(RoomId(1)), "the other has nothing left");
        backlog.end_turn(RoomId(1), &mut taken);
        backlog.remove_room(RoomId(1));
        assert!(!backlog.is_waiting());
        assert_eq!(backlog.free.len(), backlog.packets.len());
    }

    #[test]
    fn all_rooms_together_have_a_bound_too() {
        let now = clock::now();
        let mut backlog = Backlog::default();
        let mut dropped = 0;
        for room in 0..10 {
            for k in 0..ROOM_BACKLOG_PACKETS_MAX as u64 {
                dropped += backlog.push(RoomId(room), said(1, k, now), |bytes| bytes.push(1));
            }
        }
        assert_eq!(backlog.packets.len(), BACKLOG_PACKETS_MAX);
        assert_eq!(dropped, (10 * ROOM_BACKLOG_PACKETS_MAX - BACKLOG_PACKETS_MAX) as u64);
    }

    #[test]
    fn packets_of_one_size_come_together_and_nobody_s_voice_changes_its_order() {
        let now = clock::now();
        let mut backlog = Backlog::default();
        for (group, index, length) in [
            (1, 10, 80),
            (2, 20, 88),
            (3, 30, 80),
            (1, 11, 88),
            (2, 21, 80),
            (3, 31, 80),
            (3, 32, 99),
        ] {
            let said = said(group, index, now);
            backlog.push(RoomId(1), said, |bytes| bytes.resize(length, 0));
        }
        let (mut taken, mut scratch) = (Vec::new(), Vec::new());
        backlog.take(RoomId(1), 99, &mut taken, |_| true);
        backlog.arrange(&mut taken, &mut scratch);
        assert_eq!(indices(&backlog, &taken), [20, 10, 30, 11, 21, 31, 32]);
    }
}
