//! One speaker's decoded samples between decoder and mixer: handed on bit for bit, unless they must
//! be shortened, lengthened (a pitch period cut out or put in, cross-faded: WSOLA) or made up.
//!
//! Pure. Rate: 48 kHz; lengths are in samples. Nothing is allocated once it runs.
#![expect(clippy::indexing_slicing, reason = "bounds are checked at the head of each operation")]

/// Sampling rate that lengths here are meant for.
pub const RATE: u32 = 48_000;
/// Shortest pitch period looked for: 2.5 ms, 400 Hz.
const LAG_MIN: usize = 120;
/// Longest pitch period looked for: 15 ms, 67 Hz.
pub const LAG_MAX: usize = 720;
/// Cross-fade: 4 ms.
pub const FADE: usize = 192;
/// Samples compared when looking for a period: 10 ms.
const WINDOW: usize = 480;
/// Periods are looked for in every fourth sample first, and then around the best.
const COARSE: usize = 4;
/// Samples that a search looks at.
const SPAN: usize = WINDOW + LAG_MAX;
/// Played samples kept for looking back.
const PAST: usize = SPAN + FADE;
/// Samples of the past beyond which the line is moved to its start.
const MOVE: usize = 4 * PAST;
/// What the line has room for from the start: the past, and the longest packet with what is before and after it.
const ROOM: usize = MOVE + 4 * 5760;
/// Concealment sounds at full level for this long, ...
const CONCEAL_FULL: usize = 720;
/// ... and is silent after this long: 100 ms.
pub const CONCEAL_MAX: usize = 4800;
/// A voice that begins loud is faded in: 2.5 ms.
const FADE_IN: usize = 120;
/// Below this mean square a passage counts as silence, where any cut is good (-56 dBFS).
const QUIET: f32 = 2.5e-6;

/// Samples played and samples still to play.
#[derive(Debug)]
pub struct VoiceLine {
    /// The past up to `at`, then the future.
    line: Vec<f32>,
    at: usize,
    concealment: Concealment,
    scratch: Vec<f32>,
}

/// What is made up where nothing came.
#[derive(Debug, Default)]
struct Concealment {
    active: bool,
    period: Vec<f32>,
    phase: usize,
    made: usize,
    /// What the first samples are corrected by, so that they join the last real one.
    step: f32,
}

/// How much is wanted of a change of length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Samples that would be right where the voice is silent, ...
    pub wanted: usize,
    /// ... and the most that may go or come where it is not.
    pub most: usize,
    /// How well the ends of the cut must match, 0 to 1; above 1, only silence will do.
    pub likeness: f32,
}

impl Default for VoiceLine {
    fn default() -> Self {
        let mut line = Vec::with_capacity(ROOM);
        line.resize(PAST, 0.0);
        Self {
            line,
            at: PAST,
            concealment: Concealment {
                period: Vec::with_capacity(LAG_MAX),
                ..Concealment::default()
            },
            scratch: Vec::with_capacity(SPAN),
        }
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
        self.concealment.active
    }

    /// Appends decoded samples. After concealment the first 4 ms are faded over.
    pub fn push(&mut self, samples: &[f32]) {
        let mut fade = 0;
        if std::mem::take(&mut self.concealment.active) {
            fade = FADE.min(samples.len());
            for (k, sample) in samples.iter().take(fade).enumerate() {
                let share = (k + 1) as f32 / (fade + 1) as f32;
                let made = self.concealment.next();
                self.line.push(made * (1.0 - share) + sample * share);
            }
        }
        self.line.extend_from_slice(&samples[fade..]);
    }

    /// Appends the first samples of a talkspurt, faded in if they begin loud.
    pub fn push_first(&mut self, samples: &[f32]) {
        let from = self.line.len();
        self.push(samples);
        if samples.first().is_some_and(|first| first.abs() > 1e-3) {
            for (k, sample) in self.line[from..].iter_mut().take(FADE_IN).enumerate() {
                *sample *= (k + 1) as f32 / (FADE_IN + 1) as f32;
            }
        }
    }

    /// Appends `count` made-up samples that go on from what came before, fading out over 100 ms.
    pub fn conceal(&mut self, count: usize) {
        if !self.concealment.active {
            self.begin_concealment();
        }
        for _ in 0..count {
            let sample = self.concealment.next();
            self.line.push(sample);
        }
    }

    /// What is pushed next does not go on from what was: it is faded over.
    pub fn jump(&mut self) {
        self.conceal(0);
    }

    /// Appends silence, after a fade if something was sounding.
    pub fn rest(&mut self, count: usize) {
        let sounding = self.line.iter().rev().take(24).any(|s| s.abs() > 1e-4);
        if sounding {
            let from = self.line.len();
            self.conceal(FADE);
            for (k, sample) in self.line[from..].iter_mut().enumerate() {
                *sample *= 1.0 - (k + 1) as f32 / FADE as f32;
            }
        }
        self.concealment.active = false;
        let silent = count.saturating_sub(if sounding { FADE } else { 0 });
        self.line.resize(self.line.len() + silent, 0.0);
    }

    /// Drops what was not played yet.
    pub fn drop_ahead(&mut self) {
        self.line.truncate(self.at);
        self.concealment.active = false;
    }

    /// Takes the next samples; what is missing stays untouched. How many there were.
    pub fn pop(&mut self, out: &mut [f32]) -> usize {
        let count = self.ahead().min(out.len());
        out[..count].copy_from_slice(&self.line[self.at..self.at + count]);
        self.at += count;
        if self.at > MOVE {
            self.line.drain(..self.at - PAST);
            self.at = PAST;
        }
        count
    }

    /// Cuts one pitch period out of what is to play, if a good one is found, or just what is wanted
    /// out of silence: how many samples went.
    pub fn shorten(&mut self, change: Change) -> usize {
        let room = self.ahead().saturating_sub(FADE);
        let at = self.at;
        // Past samples help to compare: the window ends with the cross-fade.
        let from = at + FADE - WINDOW;
        let quiet = change.wanted.min(room).min(LAG_MAX);
        let lag = if quiet > 0 && self.is_quiet(at, FADE + quiet) {
            quiet
        } else {
            let most = change.most.min(room).min(LAG_MAX);
            match self.best_lag(from, 1, most) {
                Some((lag, likeness)) if likeness >= change.likeness => lag,
                _ => return 0,
            }
        };
        for k in 0..FADE {
            let share = (k + 1) as f32 / (FADE + 1) as f32;
            self.line[at + k] = self.line[at + k] * (1.0 - share) + self.line[at + lag + k] * share;
        }
        self.line.drain(at + FADE..at + FADE + lag);
        lag
    }

    /// Plays one pitch period twice, if a good one is found, or makes a silence as much longer as is
    /// wanted: how many samples came.
    pub fn lengthen(&mut self, change: Change) -> usize {
        if self.ahead() < FADE {
            return 0;
        }
        let at = self.at;
        let from = at + FADE - WINDOW;
        let quiet = change.wanted.min(LAG_MAX);
        let lag = if quiet > 0 && self.is_quiet(at - quiet, FADE + quiet) {
            quiet
        } else {
            match self.best_lag(from, -1, change.most.min(LAG_MAX)) {
                Some((lag, likeness)) if likeness >= change.likeness => lag,
                _ => return 0,
            }
        };
        // Fade from what comes next to what came a period ago, and go on from there.
        self.scratch.clear();
        self.scratch.extend((0..FADE).map(|k| {
            let share = (k + 1) as f32 / (FADE + 1) as f32;
            self.line[at + k] * (1.0 - share) + self.line[at + k - lag] * share
        }));
        self.scratch.extend_from_slice(&self.line[at + FADE - lag..at + FADE]);
        // Room for as much as comes, and the future behind it.
        let end = self.line.len();
        self.line.resize(end + lag, 0.0);
        self.line.copy_within(at + FADE..end, at + FADE + lag);
        self.line[at..at + FADE + lag].copy_from_slice(&self.scratch);
        lag
    }

    fn is_quiet(&self, from: usize, count: usize) -> bool {
        let passage = &self.line[from..from + count];
        passage.iter().map(|x| x * x).sum::<f32>() < QUIET * count as f32
    }

    /// The lag, forward (1) or backward (-1), at which the window at `from` is most like itself, and how much.
    fn best_lag(&mut self, from: usize, direction: isize, most: usize) -> Option<(usize, f32)> {
        if most < LAG_MIN {
            return None;
        }
        let (start, end) = match direction {
            1 => (from, from + WINDOW + most),
            _ => (from - most, from + WINDOW),
        };
        if end > self.line.len() {
            return None;
        }
        let offset = |lag: usize| match direction {
            1 => (from - start, from - start + lag),
            _ => (from - start, from - start - lag),
        };
        thin(&self.line[start..end], &mut self.scratch);
        let thinned = &self.scratch;
        let mut best = (0, 0.0f32);
        for lag in (LAG_MIN..=most).step_by(COARSE) {
            let (a, b) = offset(lag);
            let likeness = likeness(thinned, a / COARSE, b / COARSE, WINDOW / COARSE);
            // A multiple of the period matches as well as the period: it must do clearly better.
            if likeness > best.1 * 1.02 {
                best = (lag, likeness);
            }
        }
        let coarse = Some(best.0).filter(|lag| *lag > 0)?;
        let span = &self.line[start..end];
        let around = coarse.saturating_sub(COARSE).max(LAG_MIN)..=(coarse + COARSE).min(most);
        let fine = around.map(|lag| {
            let (a, b) = offset(lag);
            (lag, likeness(span, a, b, WINDOW))
        });
        fine.max_by(|x, y| x.1.total_cmp(&y.1))
    }

    /// Looks for the pitch at the end of the line and prepares one period to repeat.
    fn begin_concealment(&mut self) {
        let end = self.line.len();
        let found = self.best_lag(end - WINDOW, -1, LAG_MAX);
        let lag = found.filter(|(_, likeness)| *likeness > 0.3).map_or(LAG_MAX, |(lag, _)| lag);
        let made = &mut self.concealment;
        made.period.clear();
        made.period.extend_from_slice(&self.line[end - lag..]);
        // The end of the period runs into its beginning.
        let fade = (lag / 4).max(1);
        for k in 0..fade {
            let share = (k + 1) as f32 / (fade + 1) as f32;
            let place = lag - fade + k;
            made.period[place] =
                made.period[place] * (1.0 - share) + self.line[end - lag - fade + k] * share;
        }
        made.step = self.line[end - 1] - self.line[end - lag - 1];
        (made.active, made.phase, made.made) = (true, 0, 0);
    }
}

impl Concealment {
    fn next(&mut self) -> f32 {
        let raw = self.period[self.phase];
        self.phase = (self.phase + 1) % self.period.len();
        let joined = raw + self.step * (1.0 - self.made as f32 / 96.0).max(0.0);
        let gain = if self.made < CONCEAL_FULL {
            1.0
        } else {
            (1.0 - (self.made - CONCEAL_FULL) as f32 / (CONCEAL_MAX - CONCEAL_FULL) as f32).max(0.0)
        };
        self.made += 1;
        joined * gain
    }
}

/// Means of each four samples.
fn thin(samples: &[f32], out: &mut Vec<f32>) {
    out.clear();
    out.extend(samples.chunks_exact(COARSE).map(|four| four.iter().sum::<f32>()));
}

/// How alike two passages are: their normalised correlation.
fn likeness(samples: &[f32], a: usize, b: usize, count: usize) -> f32 {
    let (Some(a), Some(b)) = (samples.get(a..a + count), samples.get(b..b + count)) else {
        return 0.0;
    };
    let (mut product, mut power_a, mut power_b) = (0.0f32, 0.0f32, 0.0f32);
    for (a, b) in a.iter().zip(b) {
        product += a * b;
        power_a += a * a;
        power_b += b * b;
    }
    product / (power_a * power_b).sqrt().max(1e-9)
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

    fn noise(count: usize) -> Vec<f32> {
        let mut x = 1u64;
        let mut step = || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        (0..count).map(|_| step()).collect()
    }

    const ANY: Change = Change { wanted: 0, most: LAG_MAX, likeness: 0.8 };

    /// Largest jump between neighbours.
    fn roughest(samples: &[f32]) -> f32 {
        samples.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn untouched_samples_pass_bit_for_bit() {
        let mut line = VoiceLine::default();
        let source = voice(0, 120_000);
        let mut out = vec![0.0; 120_000];
        for (chunk, out) in source.chunks(960).zip(out.chunks_mut(960)) {
            line.push(chunk);
            let (a, b) = out.split_at_mut(240);
            assert_eq!(line.pop(a) + line.pop(b), 960);
        }
        assert_eq!(out, source);
    }

    #[test]
    fn a_period_more_or_less_is_not_heard_as_a_click() {
        let source = voice(0, 9600);
        for longer in [false, true] {
            let mut line = VoiceLine::default();
            line.push(&source);
            let mut head = vec![0.0; 3000];
            line.pop(&mut head);
            let changed = if longer { line.lengthen(ANY) } else { line.shorten(ANY) };
            assert!(changed.abs_diff(320) <= 2 || changed.abs_diff(640) <= 2, "{changed}");
            let mut tail = vec![0.0; 12_000];
            let count = line.pop(&mut tail);
            assert_eq!(count, if longer { 6600 + changed } else { 6600 - changed });
            head.extend_from_slice(&tail[..count]);
            assert!(roughest(&head) < roughest(&source) * 1.2);
        }
    }

    #[test]
    fn no_more_goes_than_is_allowed() {
        let mut line = VoiceLine::default();
        line.push(&voice(0, 9600));
        line.pop(&mut [0.0; 3000]);
        assert_eq!(line.shorten(Change { most: 200, ..ANY }), 0);
        assert_eq!(line.lengthen(Change { most: 200, ..ANY }), 0);
    }

    #[test]
    fn silence_is_changed_by_exactly_what_is_wanted_and_noise_not_at_all() {
        let mut line = VoiceLine::default();
        line.push(&[0.0; 1920]);
        assert_eq!(line.shorten(Change { wanted: 77, ..ANY }), 77);
        assert_eq!(line.lengthen(Change { wanted: 55, ..ANY }), 55);
        assert_eq!(line.ahead(), 1920 - 77 + 55);
        let mut line = VoiceLine::default();
        line.push(&noise(9000));
        line.pop(&mut [0.0; 3000]);
        assert_eq!(line.shorten(Change { wanted: 100, ..ANY }), 0);
        assert_eq!(line.lengthen(Change { wanted: 100, ..ANY }), 0);
    }

    #[test]
    fn a_gap_is_filled_without_a_click_and_fades() {
        let source = voice(0, 48_000);
        let mut line = VoiceLine::default();
        line.push(&source[..9600]);
        line.conceal(960);
        line.push(&source[10_560..24_000]);
        let mut out = vec![0.0; 24_000];
        assert_eq!(line.pop(&mut out), 24_000);
        assert!(roughest(&out) < roughest(&source) * 1.5, "{}", roughest(&out));
        let error: f32 = out.iter().zip(&source).map(|(a, b)| (a - b) * (a - b)).sum();
        let power: f32 = source[9600..10_560].iter().map(|b| b * b).sum();
        assert!(error < power * 0.2, "{error} {power}");

        line.conceal(CONCEAL_MAX + 300);
        let mut out = vec![1.0; CONCEAL_MAX + 300];
        line.pop(&mut out);
        assert!(out[CONCEAL_MAX..].iter().all(|x| *x == 0.0));
    }

    #[test]
    fn an_end_fades_within_four_ms() {
        let mut line = VoiceLine::default();
        line.push(&voice(0, 3000));
        line.rest(960);
        let mut out = vec![0.0; 3960];
        assert_eq!(line.pop(&mut out), 3960);
        assert!(roughest(&out) < roughest(&voice(0, 3000)) * 1.5);
        assert!(out[3000 + FADE..].iter().all(|x| *x == 0.0));
    }

    #[test]
    fn a_loud_beginning_is_faded_in_and_a_soft_one_is_left_alone() {
        let loud = vec![0.5; 480];
        let mut line = VoiceLine::default();
        line.push_first(&loud);
        let mut out = vec![0.0; 480];
        line.pop(&mut out);
        assert!(roughest(&out) < 0.01 && out[0] < 0.01 && out[FADE_IN..] == loud[FADE_IN..]);
        let soft = voice(0, 480).iter().map(|s| s * 0.001).collect::<Vec<_>>();
        let mut line = VoiceLine::default();
        line.push_first(&soft);
        line.pop(&mut out);
        assert_eq!(out, soft);
    }

    #[test]
    fn nothing_is_allocated() {
        let (mut line, source) = (VoiceLine::default(), voice(0, 5760));
        let mut out = [0.0; 120];
        let counted = allocation_counter::measure(|| {
            for _ in 0..10 {
                line.push(&source);
                line.shorten(ANY);
                line.lengthen(ANY);
                line.conceal(480);
                line.rest(960);
                while line.pop(&mut out) > 0 {}
            }
        });
        assert_eq!(counted.count_total, 0);
    }
}
