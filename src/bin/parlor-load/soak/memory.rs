//! Whether memory is flat: quiet points with the same crowd, one third of them against the next. Pure.

use super::server::Usage;
use std::time::Duration;

/// How much the medians may differ, in KiB: what an allocator gives and takes between two quiet points. A leak of 1 KiB
/// for each of a few thousand events breaks it.
const GROWTH_KIB_MAX: i64 = 384;
/// What the server may grow by for each entry of its audit log, which it keeps on purpose, up to ten thousand of them: four
/// texts in memory, and the store's pages.
const AUDIT_ENTRY_BYTES: i64 = 512;
/// How many files and threads more there may be.
const COUNT_GROWTH_MAX: i64 = 4;
/// Quiet points that a judgement takes.
const SAMPLES_MIN: usize = 6;
/// The share of the samples that is still warming up, as one of so many.
const WARM_UP: usize = 5;

/// One quiet point.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When, since the start.
    pub at: Duration,
    /// What the system said.
    pub usage: Usage,
    /// Session events so far.
    pub events: u64,
    /// Sessions so far.
    pub sessions: u64,
    /// Entries of the audit log so far.
    pub audited: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// How much the server's own memory grew between the medians, in KiB.
    pub growth_kib: i64,
    /// How much it may have grown.
    pub growth_kib_max: i64,
    /// Files and threads that came in addition.
    pub more_files: i64,
    /// Threads that came in addition.
    pub more_threads: i64,
    /// Events between the medians.
    pub events: u64,
    /// Sessions between the medians.
    pub sessions: u64,
    /// All of it is within its margin.
    pub flat: bool,
}

impl Judgement {
    /// The smallest leak for one of so many that would have been seen, in bytes.
    pub fn seen_bytes(&self, of: u64) -> u64 {
        u64::try_from(self.growth_kib_max).unwrap_or(0) * 1024 / of.max(1)
    }
}

fn median(samples: &[Sample], value: impl Fn(&Sample) -> u64) -> i64 {
    let mut values: Vec<u64> = samples.iter().map(value).collect();
    values.sort_unstable();
    values.get(values.len() / 2).and_then(|value| i64::try_from(*value).ok()).unwrap_or(0)
}

/// Compares the last third of the samples with the one before, without the warm-up. `None` for too few samples.
pub fn judge(samples: &[Sample]) -> Option<Judgement> {
    let warm = samples.get(samples.len() / WARM_UP..)?;
    if warm.len() < SAMPLES_MIN {
        return None;
    }
    let third = warm.len() / 3;
    let (rest, last) = warm.split_at_checked(warm.len() - third)?;
    let (_, middle) = rest.split_at_checked(rest.len() - third)?;
    let growth = |value: fn(&Sample) -> u64| median(last, value) - median(middle, value);
    let growth_kib = growth(|sample| sample.usage.own_kib);
    let audited = growth(|sample| sample.audited);
    let growth_kib_max = GROWTH_KIB_MAX + audited * AUDIT_ENTRY_BYTES / 1024;
    let more_files = growth(|sample| sample.usage.files);
    let more_threads = growth(|sample| sample.usage.threads);
    Some(Judgement {
        growth_kib,
        growth_kib_max,
        more_files,
        more_threads,
        events: u64::try_from(growth(|sample| sample.events)).unwrap_or(0),
        sessions: u64::try_from(growth(|sample| sample.sessions)).unwrap_or(0),
        flat: growth_kib <= growth_kib_max
            && more_files <= COUNT_GROWTH_MAX
            && more_threads <= COUNT_GROWTH_MAX,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Quiet points with so many events between each two, and so much leaked for each event.
    fn run(count: u64, leak_bytes: u64) -> Vec<Sample> {
        let sample = |k: u64| Sample {
            at: Duration::from_secs(8 * k),
            usage: Usage {
                resident_kib: 30_000,
                own_kib: 20_000 + k * 600 * leak_bytes / 1024 + k * 7919 % 300,
                threads: 6,
                files: 40,
            },
            events: k * 600,
            sessions: k * 20,
            audited: k,
        };
        (0..count).map(sample).collect()
    }

    #[test]
    fn noise_is_flat_and_a_leak_of_1_kib_for_each_event_is_not() {
        assert!(judge(&run(12, 0)).unwrap().flat);
        let leaky = judge(&run(12, 1024)).unwrap();
        assert!(!leaky.flat, "{leaky:?}");
        assert!(leaky.seen_bytes(leaky.events) < 1024);
    }

    #[test]
    fn growth_in_the_warm_up_alone_is_none() {
        let mut samples = run(12, 0);
        for sample in samples.iter_mut().take(2) {
            sample.usage.own_kib = 1000;
        }
        assert!(judge(&samples).unwrap().flat);
    }

    #[test]
    fn files_that_stay_open_are_seen() {
        let mut samples = run(12, 0);
        for (k, sample) in samples.iter_mut().enumerate() {
            sample.usage.files += 2 * k as u64;
        }
        assert!(!judge(&samples).unwrap().flat);
    }

    #[test]
    fn a_handful_of_samples_is_no_judgement() {
        assert_eq!(judge(&run(5, 0)), None);
    }
}
