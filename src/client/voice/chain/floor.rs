//! The noise floor: the level that sound comes down to between words, by minimum statistics.
//!
//! The smoothed power's minimum over the last seconds, in windows that drop out one by one, so that
//! a louder room is known after that time and a quieter one at once.

use super::{Frame, decibels, power};

/// Frames that the smoothed power is the mean of: 50 ms, which fit between two words.
const SMOOTHED: usize = 5;
/// Frames of a window: half a second, ...
const WINDOW: usize = 50;
/// ... and how many are looked at: 4 s, more than anybody speaks without a gap.
const WINDOWS: usize = 8;
/// By how much the minimum of smoothed noise lies below its mean, in dB.
const BIAS_DB: f32 = 0.5;

/// Follows the floor of one sound.
#[derive(Debug, Clone)]
pub struct FloorTracker {
    recent: [f32; SMOOTHED],
    /// Minimum of each window, the latest last.
    minima: [f32; WINDOWS],
    frames: usize,
}

impl Default for FloorTracker {
    fn default() -> Self {
        Self { recent: [0.0; SMOOTHED], minima: [f32::INFINITY; WINDOWS], frames: 0 }
    }
}

impl FloorTracker {
    /// Takes a frame in.
    pub fn hear(&mut self, frame: &Frame) {
        self.hear_power(power(frame));
    }

    /// Takes a frame's mean square in.
    pub fn hear_power(&mut self, now: f32) {
        self.recent.rotate_left(1);
        if let Some(last) = self.recent.last_mut() {
            *last = now;
        }
        self.frames += 1;
        if self.frames < SMOOTHED {
            return;
        }
        if self.frames.is_multiple_of(WINDOW) {
            self.minima.rotate_left(1);
            if let Some(last) = self.minima.last_mut() {
                *last = f32::INFINITY;
            }
        }
        let smoothed = self.smoothed();
        if let Some(last) = self.minima.last_mut() {
            *last = last.min(smoothed);
        }
    }

    /// The floor in dBFS; none while too little has been heard.
    #[must_use]
    pub fn floor_db(&self) -> Option<f32> {
        let least = self.minima.iter().copied().fold(f32::INFINITY, f32::min);
        least.is_finite().then(|| decibels(least) + BIAS_DB)
    }

    fn smoothed(&self) -> f32 {
        self.recent.iter().sum::<f32>() / SMOOTHED as f32
    }
}

#[cfg(test)]
mod tests {
    use super::super::rooms::{Random, db, noise};
    use super::*;

    fn floor_of(tracker: &mut FloorTracker, sound: &[f32]) -> f32 {
        for frame in sound.as_chunks().0 {
            tracker.hear(frame);
        }
        tracker.floor_db().unwrap()
    }

    #[test]
    fn the_floor_is_that_between_the_words() {
        let mut random = Random::new(1);
        let mut sound = noise(&mut random, 6 * 48_000, db(-60.0));
        for (k, sample) in sound.iter_mut().enumerate() {
            if k % 24_000 > 7200 {
                *sample += 0.1 * (k as f32 * 0.05).sin();
            }
        }
        let floor = floor_of(&mut FloorTracker::default(), &sound);
        assert!((floor + 60.0).abs() < 1.5, "{floor}");
    }

    #[test]
    fn a_quieter_room_is_known_at_once_and_a_louder_one_in_a_few_seconds() {
        let mut random = Random::new(2);
        let mut tracker = FloorTracker::default();
        floor_of(&mut tracker, &noise(&mut random, 5 * 48_000, db(-50.0)));
        let quiet = floor_of(&mut tracker, &noise(&mut random, 24_000, db(-70.0)));
        assert!((quiet + 70.0).abs() < 2.0, "{quiet}");
        let soon = floor_of(&mut tracker, &noise(&mut random, 2 * 48_000, db(-50.0)));
        assert!(soon < -65.0, "{soon}");
        let later = floor_of(&mut tracker, &noise(&mut random, 3 * 48_000, db(-50.0)));
        assert!((later + 50.0).abs() < 1.5, "{later}");
    }
}
