//! The far end as the echo canceller needs it: what was handed to the loudspeaker, frame by frame
//! beside the microphone's.
//!
//! Two sound cards have two clocks. The samples that wait here are kept at a steady number by
//! reading a little faster or slower than they come (third-order interpolation), so that an echo
//! keeps its distance from what caused it however long the call lasts.
#![expect(clippy::indexing_slicing, reason = "positions are checked against the line's length")]

use super::{FRAME, Frame, RATE};
use rtrb::Consumer;

/// Samples that wait beside the frame that is read, at first: 5 ms, ...
const CUSHION: usize = RATE as usize / 200;
/// ... more by this when they were too few, ...
const CUSHION_STEP: usize = RATE as usize / 400;
/// ... up to 30 ms.
const CUSHION_MAX: usize = 3 * RATE as usize / 100;
/// Samples that wait at most: beyond 100 ms, the microphone has been away.
const WAITING_MAX: usize = RATE as usize / 10;
/// Weight of a frame in the mean number of waiting samples: 3 s.
const LEVEL_WEIGHT: f64 = 1.0 / 300.0;
/// Frames before that mean is what will be kept.
const SETTLE: u32 = 400;
/// Faster by this share for each sample too many.
const PULL: f64 = 1e-6;
/// Most by which one reads faster or slower.
const PULL_MAX: f64 = 400e-6;

/// Reads what playback renders.
#[derive(Debug)]
pub struct FarEnd {
    ring: Consumer<f32>,
    line: Vec<f32>,
    /// Where the next sample lies in the line; at least one lies before it.
    position: f64,
    running: bool,
    cushion: usize,
    frames: u32,
    level: f64,
    target: Option<f64>,
}

impl FarEnd {
    /// Reads what comes through this ring.
    #[must_use]
    pub fn new(ring: Consumer<f32>) -> Self {
        Self {
            ring,
            line: Vec::with_capacity(2 * WAITING_MAX),
            position: 1.0,
            running: false,
            cushion: CUSHION,
            frames: 0,
            level: 0.0,
            target: None,
        }
    }

    /// The next 10 ms; silence where nothing is there.
    pub fn next(&mut self) -> Frame {
        let mut out = [0.0; FRAME];
        self.take_in();
        if !self.running {
            if self.line.len() < FRAME + self.cushion + 4 {
                return out;
            }
            self.start();
        }
        let pull = self.target.map_or(0.0, |target| (self.level - target) * PULL);
        let step = 1.0 + pull.clamp(-PULL_MAX, PULL_MAX);
        if self.position + step * FRAME as f64 + 2.0 >= self.line.len() as f64 {
            self.running = false;
            self.cushion = (self.cushion + CUSHION_STEP).min(CUSHION_MAX);
            return out;
        }
        for out in &mut out {
            *out = self.at(self.position);
            self.position += step;
        }
        let used = (self.position as usize).saturating_sub(1);
        self.line.drain(..used);
        self.position -= used as f64;
        self.watch();
        out
    }

    /// Forgets what waits: the microphone has been away.
    pub fn clear(&mut self) {
        self.take_in();
        self.line.clear();
        self.running = false;
    }

    fn take_in(&mut self) {
        let there = self.ring.slots();
        if let Ok(chunk) = self.ring.read_chunk(there) {
            let room = (2 * WAITING_MAX).saturating_sub(self.line.len());
            let old = there.saturating_sub(room);
            self.line.extend(chunk.into_iter().skip(old));
        }
        if self.line.len() > WAITING_MAX + FRAME {
            let surplus = self.line.len() - FRAME - self.cushion - 4;
            self.line.drain(..surplus);
            self.running = false;
        }
    }

    fn start(&mut self) {
        let surplus = self.line.len().saturating_sub(FRAME + self.cushion + 4);
        self.line.drain(..surplus);
        (self.running, self.position, self.frames, self.target) = (true, 1.0, 0, None);
    }

    /// Follows how many samples wait.
    fn watch(&mut self) {
        let waiting = self.line.len() as f64 - self.position;
        self.frames = self.frames.saturating_add(1);
        let weight = LEVEL_WEIGHT.max(1.0 / f64::from(self.frames));
        self.level += (waiting - self.level) * weight;
        if self.frames == SETTLE {
            self.target = Some(self.level);
        }
    }

    /// The sound between two samples (Lagrange, four points).
    fn at(&self, position: f64) -> f32 {
        let base = position as usize;
        let t = (position - base as f64) as f32;
        let [a, b, c, d] = [-1isize, 0, 1, 2].map(|k| self.line[base.wrapping_add_signed(k)]);
        if t == 0.0 {
            return b;
        }
        let (p, m, n) = (t + 1.0, t - 1.0, t - 2.0);
        -a * t * m * n / 6.0 + b * p * m * n / 2.0 - c * p * t * n / 2.0 + d * p * t * m / 6.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtrb::RingBuffer;

    fn tone(k: f64) -> f32 {
        (k * 0.05).sin() as f32
    }

    #[test]
    fn with_one_clock_every_sample_passes_unchanged() {
        let (mut producer, consumer) = RingBuffer::new(48_000);
        let mut far = FarEnd::new(consumer);
        let (mut pushed, mut all) = (0, Vec::new());
        for _ in 0..1000 {
            for _ in 0..FRAME {
                producer.push(tone(f64::from(pushed))).unwrap();
                pushed += 1;
            }
            all.extend(far.next());
        }
        let start = all.iter().position(|sample| *sample != 0.0).unwrap();
        let lag = (0..2000).find(|k| tone(f64::from(*k)) == all[start]).unwrap();
        for (k, sample) in all[start..].iter().enumerate() {
            assert_eq!(*sample, tone(f64::from(lag) + k as f64));
        }
    }

    #[test]
    fn with_two_clocks_the_distance_stays_the_same() {
        for ppm in [-200.0, 100.0] {
            let (mut producer, consumer) = RingBuffer::new(48_000);
            let mut far = FarEnd::new(consumer);
            let (mut pushed, mut distances) = (0u64, Vec::new());
            // An hour, where the other card's clock is off and gives 256 samples at a time.
            for k in 0..360_000u64 {
                let given = (k * 480) as f64 * (1.0 + ppm * 1e-6) + 700.0;
                while (pushed + 256) as f64 <= given {
                    for _ in 0..256 {
                        let _ = producer.push(pushed as f32);
                        pushed += 1;
                    }
                }
                let frame = far.next();
                if k % 1000 == 999 {
                    distances.push(given - f64::from(frame[479]));
                }
            }
            // Numbers above 2^24 are no longer exact as f32: the last two thirds have steps of 2 to 16.
            let late = &distances[30..];
            let least = late.iter().copied().fold(f64::INFINITY, f64::min);
            let most = late.iter().copied().fold(0.0, f64::max);
            println!("{ppm} ppm: {least:.0} to {most:.0} samples");
            assert!(most - least < 300.0, "{ppm}: {least} to {most}");
        }
    }

    #[test]
    fn nothing_there_is_silence_and_an_old_heap_is_thrown_away() {
        let (mut producer, consumer) = RingBuffer::new(96_000);
        let mut far = FarEnd::new(consumer);
        assert_eq!(far.next(), [0.0; FRAME]);
        for k in 0..96_000 {
            let _ = producer.push(k as f32);
        }
        let frame = far.next();
        assert!(frame[0] > 94_000.0, "{}", frame[0]);
        let counted = allocation_counter::measure(|| {
            for _ in 0..1000 {
                for k in 0..FRAME {
                    let _ = producer.push(k as f32);
                }
                far.next();
            }
        });
        assert_eq!(counted.count_total, 0);
    }
}
