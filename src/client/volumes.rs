//! How loud the user wants whom, by name: what is remembered, and the file that it is remembered in. Pure.
//!
//! A line of the file is `PERCENT NAME`, or `PERCENT! NAME` for one who is ignored.

use crate::net::limits::VOLUMES_MAX;
use crate::net::name::UserName;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Most that anyone can be turned up to, in percent.
pub const PERCENT_MAX: u16 = 200;

/// What is wanted for one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// 100 for as he is.
    pub percent: u16,
    /// Not heard at all; the volume waits.
    pub ignored: bool,
}

impl Default for Volume {
    fn default() -> Self {
        Self { percent: 100, ignored: false }
    }
}

impl Volume {
    /// What his samples are multiplied with.
    #[must_use]
    pub fn factor(self) -> f32 {
        if self.ignored { 0.0 } else { f32::from(self.percent) / 100.0 }
    }
}

/// All that is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeBook {
    /// By name, folded as the server compares names.
    names: BTreeMap<String, (UserName, Volume)>,
}

impl VolumeBook {
    /// Reads a file; what makes no sense in it is passed over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut book = Self::default();
        for line in text.lines() {
            let Some((percent, name)) = line.split_once(' ') else { continue };
            let (percent, ignored) = match percent.strip_suffix('!') {
                Some(percent) => (percent, true),
                None => (percent, false),
            };
            if let (Ok(percent), Ok(name)) = (percent.parse::<u16>(), UserName::parse(name)) {
                let percent = percent.min(PERCENT_MAX);
                book.set(name, Volume { percent, ignored });
            }
        }
        book
    }

    /// What is wanted for this name.
    #[must_use]
    pub fn get(&self, name: &UserName) -> Volume {
        self.names.get(&name.folded()).map(|(_, volume)| *volume).unwrap_or_default()
    }

    /// Everybody is played as he is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// This is wanted for this name from now on. False if there is no more room.
    pub fn set(&mut self, name: UserName, volume: Volume) -> bool {
        let key = name.folded();
        if volume == Volume::default() {
            self.names.remove(&key);
            return true;
        }
        let fits = self.names.len() < VOLUMES_MAX || self.names.contains_key(&key);
        if fits {
            self.names.insert(key, (name, volume));
        }
        fits
    }
}

impl fmt::Display for VolumeBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, Volume { percent, ignored }) in self.names.values() {
            let mark = if *ignored { "!" } else { "" };
            writeln!(f, "{percent}{mark} {name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UserName {
        UserName::parse(text).unwrap()
    }

    #[test]
    fn what_is_wanted_reads_back_as_written_and_nonsense_is_passed_over() {
        let mut book = VolumeBook::default();
        book.set(name("Big Joe"), Volume { percent: 150, ignored: false });
        book.set(name("\u{451}\u{436}"), Volume { percent: 80, ignored: true });
        let text = format!("{book}x\n5\n-3 Bob\n70000 Bob\n");
        assert_eq!(VolumeBook::parse(&text), book);
        assert_eq!(book.get(&name("big joe")).factor(), 1.5);
        assert_eq!(book.get(&name("\u{451}\u{436}")).factor(), 0.0);
    }

    #[test]
    fn what_is_as_usual_is_not_kept() {
        let mut book = VolumeBook::default();
        book.set(name("Bob"), Volume { percent: 50, ignored: false });
        book.set(name("BOB"), Volume::default());
        assert_eq!(book.to_string(), "");
    }

    #[test]
    fn a_file_without_end_is_bounded() {
        let text: String = (0..3 * VOLUMES_MAX).map(|k| format!("50 a{k}\n")).collect();
        assert_eq!(VolumeBook::parse(&text).names.len(), VOLUMES_MAX);
    }
}
