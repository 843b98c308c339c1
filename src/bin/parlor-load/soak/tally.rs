//! What was done how often, and what was found wrong.

use std::collections::BTreeMap;

/// Faults that are kept in words; more are only counted.
const FOUND_MAX: usize = 20;

/// Counters by name, and the faults found.
#[derive(Debug, Default)]
pub struct Tally {
    counts: BTreeMap<&'static str, u64>,
    found: Vec<String>,
    found_total: u64,
}

impl Tally {
    /// One more of these.
    pub fn count(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    /// So many more of these.
    pub fn add(&mut self, what: &'static str, many: u64) {
        *self.counts.entry(what).or_default() += many;
    }

    /// How many of these there were.
    pub fn of(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// How many of all these together.
    pub fn sum(&self, what: &[&str]) -> u64 {
        what.iter().map(|what| self.of(what)).sum()
    }

    /// Something is wrong with the server.
    pub fn fault(&mut self, what: String) {
        self.found_total += 1;
        if self.found.len() < FOUND_MAX {
            println!("FAULT: {what}");
            self.found.push(what);
        }
    }

    /// The faults, as far as they are kept, and how many there were.
    pub fn faults(&self) -> (&[String], u64) {
        (&self.found, self.found_total)
    }

    /// All counters.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.counts.iter().map(|(what, many)| (*what, *many))
    }
}
