//! Who talks when: the patterns of talk that a load is made of. Pure, and the same for the same seed.

use clap::ValueEnum;
use std::time::Duration;

/// How speakers talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Talk {
    /// Every speaker without a pause.
    Steady,
    /// One after the other, with a little overlap, as a conversation goes.
    Turns,
    /// Across each other: talkspurts of 1 to 4 s, pauses of half a second to 2 s.
    Cross,
    /// Push-to-talk: bursts of 1 to 2 s, silence of 3 to 8 s.
    Ptt,
}

/// The talkspurts of one speaker.
#[derive(Debug)]
pub struct Spurts {
    talk: Talk,
    /// His place among so many.
    turn: (u32, u32),
    seed: u64,
    speaking: bool,
    until: Duration,
}

/// How long each one's turn is in [`Talk::Turns`], ...
const TURN: Duration = Duration::from_secs(2);
/// ... and how long he goes on in the next one's.
const OVERLAP: Duration = Duration::from_millis(300);

impl Spurts {
    /// The talkspurts of the `k`th of `count` speakers.
    pub fn new(talk: Talk, k: u32, count: u32) -> Self {
        let seed = u64::from(k).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { talk, turn: (k, count.max(1)), seed, speaking: false, until: Duration::ZERO }
    }

    fn between(&mut self, least_ms: u64, most_ms: u64) -> Duration {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        Duration::from_millis(least_ms + (self.seed >> 20) % (most_ms - least_ms))
    }

    /// Whether he speaks at this time since the beginning, which only grows.
    pub fn speaks(&mut self, at: Duration) -> bool {
        match self.talk {
            Talk::Steady => true,
            Talk::Turns => {
                let (k, count) = self.turn;
                let round = TURN * count;
                let into = at.as_micros() % round.as_micros();
                let begin = (TURN * k).as_micros();
                let since = (into + round.as_micros() - begin) % round.as_micros();
                since < (TURN + OVERLAP).as_micros()
            }
            Talk::Cross | Talk::Ptt => {
                while at >= self.until {
                    self.speaking = !self.speaking;
                    let length = match (self.talk, self.speaking) {
                        (Talk::Ptt, true) => self.between(1000, 2000),
                        (Talk::Ptt, false) => self.between(3000, 8000),
                        (_, true) => self.between(1000, 4000),
                        (_, false) => self.between(500, 2000),
                    };
                    self.until += length;
                }
                self.speaking
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(talk: Talk, count: u32) -> f64 {
        let mut spoken = 0;
        for k in 0..count {
            let mut spurts = Spurts::new(talk, k, count);
            spoken += (0..6000).filter(|n| spurts.speaks(Duration::from_millis(20 * n))).count();
        }
        spoken as f64 / 6000.0
    }

    #[test]
    fn patterns_are_what_they_are_called() {
        assert!((share(Talk::Steady, 4) - 4.0).abs() < 0.01);
        assert!((1.1..1.2).contains(&share(Talk::Turns, 5)), "one, and a little overlap");
        assert!((5.5..7.5).contains(&share(Talk::Cross, 10)), "{}", share(Talk::Cross, 10));
        assert!((1.5..3.0).contains(&share(Talk::Ptt, 10)), "{}", share(Talk::Ptt, 10));
    }
}
