//! Whether a frame is sent: from the key, the mode and the voice.
//!
//! Pure. The gate opens before the word that opened it (the pre-roll, which its owner keeps) and
//! closes behind the last one: after a hang-over where voices open it, after a short tail where a
//! key does. A microphone that is shut is shut at once.

use super::FRAMES_PER_SECOND;

/// Frames that voice activation stays open after the last voice: 300 ms.
pub const HANG_OVER: u32 = 3 * FRAMES_PER_SECOND as u32 / 10;
/// Frames that are still sent after the key was let go: 150 ms.
pub const TAIL: u32 = 15 * FRAMES_PER_SECOND as u32 / 100;
/// Frames with a voice, on balance, before voice activation opens: 30 ms.
const ATTACK: u32 = 3;

/// What the microphone is meant to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Transmit {
    /// Nothing is sent: by a command, or because focus, room or connection was lost.
    #[default]
    Shut,
    /// The key was let go: what was being said is sent to its end.
    Released,
    /// The key is held.
    Held,
    /// The same, and it was held for a while before it was known to be for talking.
    HeldLate,
    /// Everything is sent.
    Open,
    /// Voices are sent.
    Voice,
}

impl Transmit {
    /// All of them.
    const ALL: [Self; 6] =
        [Self::Shut, Self::Released, Self::Held, Self::HeldLate, Self::Open, Self::Voice];

    /// Whether anything that is said from now on may be heard.
    #[must_use]
    pub fn is_on(self) -> bool {
        !matches!(self, Self::Shut | Self::Released)
    }

    /// Whether a key is held.
    #[must_use]
    pub fn is_held(self) -> bool {
        matches!(self, Self::Held | Self::HeldLate)
    }

    /// As a number, for an atomic.
    #[must_use]
    pub fn to_bits(self) -> u8 {
        self as u8
    }

    /// The other way; any other number is a shut microphone.
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        Self::ALL.get(usize::from(bits)).copied().unwrap_or_default()
    }
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is not sent.
    Closed,
    /// It is sent, and before it what was kept of the time before.
    Opens,
    /// It is the first to be sent.
    Starts,
    /// It is sent.
    Open,
}

impl Verdict {
    /// Whether it is sent.
    #[must_use]
    pub fn sends(self) -> bool {
        self != Self::Closed
    }
}

/// The gate.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gate {
    open: bool,
    /// Frames left of tail or hang-over.
    left: u32,
    voices: u32,
}

impl Gate {
    /// Decides on a frame, in which a voice was found or not.
    pub fn pass(&mut self, transmit: Transmit, voice: bool) -> Verdict {
        self.voices = match voice {
            true => (self.voices + 1).min(ATTACK),
            false => self.voices.saturating_sub(1),
        };
        let was_open = self.open;
        match transmit {
            Transmit::Shut => (self.open, self.left) = (false, 0),
            Transmit::Held | Transmit::HeldLate | Transmit::Open => {
                (self.open, self.left) = (true, TAIL)
            }
            Transmit::Released => {
                self.open = was_open && self.left > 0;
                self.left = self.left.min(TAIL).saturating_sub(1);
            }
            Transmit::Voice => {
                if self.voices == ATTACK || (was_open && voice) {
                    self.left = HANG_OVER;
                }
                self.open = self.left > 0;
                self.left = self.left.saturating_sub(1);
            }
        }
        match (was_open, self.open) {
            (_, false) => Verdict::Closed,
            (true, true) => Verdict::Open,
            (false, true) if transmit == Transmit::Open => Verdict::Starts,
            (false, true) => Verdict::Opens,
        }
    }

    /// Shuts it at once.
    pub fn shut(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Transmit::{Held, Open, Released, Shut, Voice};

    fn run(gate: &mut Gate, transmit: Transmit, voices: &[bool]) -> Vec<Verdict> {
        voices.iter().map(|voice| gate.pass(transmit, *voice)).collect()
    }

    fn sent(verdicts: &[Verdict]) -> usize {
        verdicts.iter().filter(|verdict| verdict.sends()).count()
    }

    #[test]
    fn a_key_opens_with_what_was_before_and_closes_with_a_tail() {
        let mut gate = Gate::default();
        assert_eq!(run(&mut gate, Held, &[false; 3])[..2], [Verdict::Opens, Verdict::Open]);
        let after = run(&mut gate, Released, &[false; 100]);
        assert_eq!(sent(&after), TAIL as usize);
        assert!(after[..TAIL as usize].iter().all(|verdict| verdict.sends()));
    }

    #[test]
    fn a_key_pressed_again_within_the_tail_goes_on() {
        let mut gate = Gate::default();
        run(&mut gate, Held, &[false; 3]);
        run(&mut gate, Released, &[false; 5]);
        assert_eq!(gate.pass(Held, false), Verdict::Open);
    }

    #[test]
    fn a_shut_microphone_sends_nothing_more() {
        for transmit in [Held, Open, Voice] {
            let mut gate = Gate::default();
            assert!(sent(&run(&mut gate, transmit, &[true; 10])) > 0);
            assert_eq!(sent(&run(&mut gate, Shut, &[true; 10])), 0);
            assert_eq!(sent(&run(&mut gate, Released, &[true; 10])), 0);
        }
    }

    #[test]
    fn an_open_microphone_needs_nothing_of_the_time_before() {
        let mut gate = Gate::default();
        assert_eq!(run(&mut gate, Open, &[false; 2]), [Verdict::Starts, Verdict::Open]);
    }

    #[test]
    fn a_voice_opens_and_a_pause_longer_than_the_hang_over_closes() {
        let mut gate = Gate::default();
        assert_eq!(sent(&run(&mut gate, Voice, &[false; 50])), 0);
        let opening = run(&mut gate, Voice, &[true; 10]);
        assert_eq!(opening[..4], [Verdict::Closed, Verdict::Closed, Verdict::Opens, Verdict::Open]);
        let pause = HANG_OVER as usize;
        assert_eq!(sent(&run(&mut gate, Voice, &vec![false; pause - 1])), pause - 1);
        assert_eq!(sent(&run(&mut gate, Voice, &[true; 1])), 1, "a word after a short pause");
        assert_eq!(sent(&run(&mut gate, Voice, &vec![false; 2 * pause])), pause - 1);
    }

    #[test]
    fn every_wish_survives_an_atomic() {
        for wish in Transmit::ALL {
            assert_eq!(Transmit::from_bits(wish.to_bits()), wish);
        }
        assert_eq!(Transmit::from_bits(77), Shut);
    }

    #[test]
    fn a_click_does_not_open_it() {
        let mut gate = Gate::default();
        let clicks: Vec<bool> = (0..100).map(|k| k % 20 < 2).collect();
        assert_eq!(sent(&run(&mut gate, Voice, &clicks)), 0);
    }
}
