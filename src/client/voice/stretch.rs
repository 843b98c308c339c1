//! One speaker's decoded samples between decoder and mixer: handed on bit for bit, unless they must
//! be shortened, lengthened (a pitch period cut out or put in, cross-faded) or made up (concealment).
//!
//! Pure. Rate: 16 kHz; lengths are in samples.
#![expect(clippy::indexing_slicing, reason = "bounds are checked at the head of each operation")]

/// Sampling rate that lengths here are meant for.
pub const RATE: u32 = 16_000;
/// Shortest pitch period looked for: 2.5 ms, 400 Hz.
const LAG_MIN: usize = 40;
/// Longest pitch period looked for: 15 ms, 67 Hz.
const LAG_MAX: usize = 240;
/// Cross-fade: 5 ms.
const FADE: usize = 80;
/// Samples compared when looking for a period: 10 ms.
const WINDOW: usize = 160;
/// Played samples kept for looking back.
const PAST: usize = LAG_MAX + WINDOW + FADE;
/// Concealment sounds at full level for this long, ...
const CONCEAL_FULL: usize = 240;
/// ... and is silent after this long: 100 ms.
pub const CONCEAL_MAX: usize = 1600;
/// Samples that must lie ahead so that a period can be cut out.
pub const SHORTEN_AHEAD: usize = LAG_MAX + FADE;
/// Below this mean square a passage counts as silence, where any cut is good (-56 dBFS).
const QUIET: f32 = 2.5e-6;

/// Samples played and samples still to play.
#[derive(Debug)]
pub struct VoiceLine {
    /// The past up to `at`, then the future.
    line: Vec<f32>,
    at: usize,
    concealing: Option<Concealment>,
}

/// What is made up where nothing came.
#[derive(Debug)]
struct Concealment {
    period: Vec<f32>,
    phase: usize,
    made: usize,
    /// What the first samples are corrected by, so that they join the last real one.
    step: f32,
}

impl Default for VoiceLine {
    fn default() -> Self {
        Self { line: vec![0.0; PAST], at: PAST, concealing: None }
    }
}

impl VoiceLine {
    /// Samples still to play.
    #[must_use]
    pub fn ahead(&self) -> usize {
        self.line.len() - self.at
    }

    /// Whether what was last appended is made up.
    #[must_use]
    pub fn is_concealing(&self) -> bool {
        self.concealing.is_some()
    }

    /// Appends decoded samples. After concealment the first 5 ms are faded over.
    pub fn push(&mut self, samples: &[f32]) {
        let start = self.line.len();
        if let Some(mut concealment) = self.concealing.take() {
            let fade = FADE.min(samples.len());
            for (k, sample) in samples.iter().take(fade).enumerate() {
                let share = (k + 1) as f32 / (fade + 1) as f32;
                let made = concealment.next();
                self.line.push(made * (1.0 - share) + sample * share);
            }
            self.line.extend_from_slice(&samples[fade..]);
        } else {
            self.line.extend_from_slice(samples);
        }
        debug_assert_eq!(self.line.len(), start + samples.len());
    }

    /// Appends `count` made-up samples that go on from what came before, fading out over 100 ms.
    pub fn conceal(&mut self, count: usize) {
        if self.concealing.is_none() {
            self.concealing = Some(Concealment::after(&self.line));
        }
        if let Some(concealment) = &mut self.concealing {
            for _ in 0..count {
                self.line.push(concealment.next());
            }
        }
    }

    /// Appends silence, after a fade of 5 ms if something was sounding.
    pub fn rest(&mut self, count: usize) {
        let sounding = self.line.iter().rev().take(8).any(|s| s.abs() > 1e-4);
        if sounding {
            let from = self.line.len();
            self.conceal(FADE);
            for (k, sample) in self.line[from..].iter_mut().enumerate() {
                *sample *= 1.0 - (k + 1) as f32 / FADE as f32;
            }
        }
        self.concealing = None;
        let silent = count.saturating_sub(if sounding { FADE } else { 0 });
        self.line.resize(self.line.len() + silent, 0.0);
    }

    /// Drops what was not played yet.
    pub fn drop_ahead(&mut self) {
        self.line.truncate(self.at);
        self.concealing = None;
    }

    /// Takes the next samples; what is missing stays untouched. How many there were.
    pub fn pop(&mut self, out: &mut [f32]) -> usize {
        let count = self.ahead().min(out.len());
        out[..count].copy_from_slice(&self.line[self.at..self.at + count]);
        self.at += count;
        if self.at > 16 * PAST {
            self.line.drain(..self.at - PAST);
            self.at = PAST;
        }
        count
    }

    /// Cuts one pitch period out of what is to play, if a good one is found: how many samples went.
    ///
    /// `likeness` (0 to 1) is how well the two ends of the cut must match.
    pub fn shorten(&mut self, likeness: f32) -> usize {
        if self.ahead() < SHORTEN_AHEAD {
            return 0;
        }
        let at = self.at;
        // Past samples help to compare: the window ends with the cross-fade.
        let from = at + FADE - WINDOW;
        let Some(lag) = self.best_lag(from, from, 1, self.line.len() - at - FADE, likeness) else {
            return 0;
        };
        for k in 0..FADE {
            let share = (k + 1) as f32 / (FADE + 1) as f32;
            self.line[at + k] = self.line[at + k] * (1.0 - share) + self.line[at + lag + k] * share;
        }
        self.line.drain(at + FADE..at + FADE + lag);
        lag
    }

    /// Plays one pitch period twice, if a good one is found: how many samples came.
    pub fn lengthen(&mut self, likeness: f32) -> usize {
        if self.ahead() < FADE {
            return 0;
        }
        let at = self.at;
        let from = at + FADE - WINDOW;
        let Some(lag) = self.best_lag(from, from, -1, LAG_MAX, likeness) else { return 0 };
        // Fade from what comes next to what came a period ago, and go on from there.
        let mut inserted: Vec<f32> = (0..FADE)
            .map(|k| {
                let share = (k + 1) as f32 / (FADE + 1) as f32;
                self.line[at + k] * (1.0 - share) + self.line[at + k - lag] * share
            })
            .collect();
        inserted.extend_from_slice(&self.line[at + FADE - lag..at + FADE]);
        self.line.splice(at..at + FADE, inserted);
        lag
    }

    /// The lag, in the given direction, at which the window at `from` is most like itself.
    fn best_lag(
        &self,
        from: usize,
        to: usize,
        direction: isize,
        lag_max: usize,
        likeness: f32,
    ) -> Option<usize> {
        let window = self.line.get(from..from + WINDOW)?;
        let energy: f32 = window.iter().map(|x| x * x).sum();
        let lag_max = lag_max.min(LAG_MAX);
        let mut best = (0, 0.0f32);
        let mut all_quiet = energy < QUIET * WINDOW as f32;
        for lag in LAG_MIN..=lag_max {
            let other = to.checked_add_signed(direction * lag as isize)?;
            let Some(other) = self.line.get(other..other + WINDOW) else { continue };
            let (mut product, mut power) = (0.0f32, 0.0f32);
            for (a, b) in window.iter().zip(other) {
                product += a * b;
                power += b * b;
            }
            all_quiet &= power < QUIET * WINDOW as f32;
            let match_ = product / (energy * power).sqrt().max(1e-9);
            if match_ > best.1 {
                best = (lag, match_);
            }
        }
        if all_quiet && lag_max >= LAG_MIN {
            return Some(lag_max);
        }
        (best.1 >= likeness && best.0 > 0).then_some(best.0)
    }
}

impl Concealment {
    /// Looks for the pitch at the end of `line` and prepares one period to repeat.
    fn after(line: &[f32]) -> Self {
        let end = line.len();
        let recent = &line[end - WINDOW..];
        let energy: f32 = recent.iter().map(|x| x * x).sum();
        let mut best = (LAG_MAX, 0.3f32);
        for lag in LAG_MIN..=LAG_MAX {
            let other = &line[end - WINDOW - lag..end - lag];
            let (mut product, mut power) = (0.0f32, 0.0f32);
            for (a, b) in recent.iter().zip(other) {
                product += a * b;
                power += b * b;
            }
            let match_ = product / (energy * power).sqrt().max(1e-9);
            // A multiple of the period matches as well as the period: it must do clearly better.
            if match_ > best.1 * 1.02 {
                best = (lag, match_);
            }
        }
        let lag = best.0;
        let mut period = line[end - lag..].to_vec();
        // The end of the period runs into its beginning.
        let fade = (lag / 4).max(1);
        for k in 0..fade {
            let share = (k + 1) as f32 / (fade + 1) as f32;
            let place = lag - fade + k;
            period[place] = period[place] * (1.0 - share) + line[end - lag - fade + k] * share;
        }
        let step = line[end - 1] - line[end - lag - 1];
        Self { period, phase: 0, made: 0, step }
    }

    fn next(&mut self) -> f32 {
        let raw = self.period[self.phase];
        self.phase = (self.phase + 1) % self.period.len();
        let joined = raw + self.step * (1.0 - self.made as f32 / 32.0).max(0.0);
        let gain = if self.made < CONCEAL_FULL {
            1.0
        } else {
            (1.0 - (self.made - CONCEAL_FULL) as f32 / (CONCEAL_MAX - CONCEAL_FULL) as f32).max(0.0)
        };
        self.made += 1;
        joined * gain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(from: usize, count: usize) -> Vec<f32> {
        (from..from + count)
            .map(|k| {
                let t = k as f32 / RATE as f32 * std::f32::consts::TAU;
                0.3 * (t * 150.0).sin() + 0.15 * (t * 300.0).sin() + 0.05 * (t * 450.0).cos()
            })
            .collect()
    }

    /// Largest jump between neighbours.
    fn roughest(samples: &[f32]) -> f32 {
        samples.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn untouched_samples_pass_bit_for_bit() {
        let mut line = VoiceLine::default();
        let source = voice(0, 40_000);
        let mut out = vec![0.0; 40_000];
        for (chunk, out) in source.chunks(320).zip(out.chunks_mut(320)) {
            line.push(chunk);
            let (a, b) = out.split_at_mut(80);
            assert_eq!(line.pop(a) + line.pop(b), 320);
        }
        assert_eq!(out, source);
    }

    #[test]
    fn a_period_more_or_less_is_not_heard_as_a_click() {
        let source = voice(0, 3200);
        for longer in [false, true] {
            let mut line = VoiceLine::default();
            line.push(&source);
            let mut head = vec![0.0; 1000];
            line.pop(&mut head);
            let changed = if longer { line.lengthen(0.8) } else { line.shorten(0.8) };
            assert!(changed.abs_diff(107) <= 2 || changed.abs_diff(213) <= 2, "{changed}");
            let mut tail = vec![0.0; 4000];
            let count = line.pop(&mut tail);
            assert_eq!(count, if longer { 2200 + changed } else { 2200 - changed });
            head.extend_from_slice(&tail[..count]);
            assert!(roughest(&head) < roughest(&source) * 1.2);
        }
    }

    #[test]
    fn silence_can_be_cut_and_noise_cannot() {
        let mut line = VoiceLine::default();
        line.push(&[0.0; 640]);
        assert_eq!(line.shorten(0.9), LAG_MAX);
        let mut x = 1u64;
        let noise: Vec<f32> = (0..3000)
            .map(|_| {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                (x >> 40) as f32 / (1u64 << 24) as f32 - 0.5
            })
            .collect();
        let mut line = VoiceLine::default();
        line.push(&noise);
        line.pop(&mut [0.0; 1000]);
        assert_eq!(line.shorten(0.7), 0);
        assert_eq!(line.lengthen(0.7), 0);
    }

    #[test]
    fn a_gap_is_filled_without_a_click_and_fades() {
        let source = voice(0, 16_000);
        let mut line = VoiceLine::default();
        line.push(&source[..3200]);
        line.conceal(320);
        line.push(&source[3520..8000]);
        let mut out = vec![0.0; 8000];
        assert_eq!(line.pop(&mut out), 8000);
        assert!(roughest(&out) < roughest(&source) * 1.5, "{}", roughest(&out));
        let error: f32 = out.iter().zip(&source).map(|(a, b)| (a - b) * (a - b)).sum();
        let power: f32 = source[3200..3520].iter().map(|b| b * b).sum();
        assert!(error < power * 0.2, "{error} {power}");

        line.conceal(CONCEAL_MAX + 100);
        let mut out = vec![1.0; CONCEAL_MAX + 100];
        line.pop(&mut out);
        assert!(out[CONCEAL_MAX..].iter().all(|x| *x == 0.0));
    }

    #[test]
    fn an_end_fades_within_five_ms() {
        let mut line = VoiceLine::default();
        line.push(&voice(0, 1000));
        line.rest(320);
        let mut out = vec![0.0; 1320];
        assert_eq!(line.pop(&mut out), 1320);
        assert!(roughest(&out) < roughest(&voice(0, 1000)) * 1.5);
        assert!(out[1080..].iter().all(|x| *x == 0.0));
    }
}
