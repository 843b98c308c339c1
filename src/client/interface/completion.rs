//! What Tab makes of the word before the cursor: a command, a room, a name. Pure.

use crate::client::command::{self, moderation};

/// What may stand there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Everyone whom we know of, those nearest to us first.
    pub names: Vec<String>,
    /// The rooms there are.
    pub rooms: Vec<String>,
}

/// A completion that goes on with each Tab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    candidates: Vec<String>,
    /// Which of them stands on the line, if any does already.
    at: Option<usize>,
    /// How many characters before the cursor give way to the next.
    taken: usize,
}

/// Commands whose first argument is a room.
const OF_ROOMS: [&str; 8] =
    ["/join", "/users", "/who", "/lock", "/unlock", "/close", "/rename", "/invite"];
/// Commands whose second argument is a room.
const THEN_ROOMS: [&str; 3] = ["/move", "/mod", "/unmod"];

impl Completion {
    /// What the text before the cursor can be completed to, if to anything.
    #[must_use]
    pub fn new(before: &str, known: &Known) -> Option<Self> {
        let (command, rest) = match before.strip_prefix('/') {
            Some(_) => before.split_once(' ').map_or((before, None), |(c, r)| (c, Some(r))),
            None => ("", Some(before)),
        };
        let (word, candidates) = match rest {
            None => (before, commands(before)),
            Some(text) if command.is_empty() => {
                let word = text.rsplit([' ', '\n']).next().unwrap_or_default();
                let start = word.len() == text.len();
                let end = if start { ": " } else { " " };
                let bare = word.strip_prefix('@').unwrap_or(word);
                let at = if bare.len() < word.len() { "@" } else { "" };
                let name = |name: &String| format!("{at}{name}{end}");
                (word, fitting(&known.names, bare).map(name).collect())
            }
            Some(text) => {
                let open = text.matches('"').count() % 2 == 1;
                let word = if open {
                    text.get(text.rfind('"').unwrap_or(0)..).unwrap_or_default()
                } else {
                    text.rsplit(' ').next().unwrap_or_default()
                };
                let first = word.len() == text.len();
                let command = command.to_lowercase();
                let rooms = (first && OF_ROOMS.contains(&command.as_str()))
                    || (!first && THEN_ROOMS.contains(&command.as_str()));
                let among = if rooms { &known.rooms } else { &known.names };
                let bare = word.trim_start_matches('"');
                (word, fitting(among, bare).map(|name| quoted(name) + " ").collect())
            }
        };
        if candidates.is_empty() {
            return None;
        }
        Some(Self { candidates, at: None, taken: word.chars().count() })
    }

    /// The next candidate, or the one before: how many characters give way, and to what.
    pub fn step(&mut self, back: bool) -> (usize, &str) {
        let count = self.candidates.len().max(1);
        let at = match (self.at, back) {
            (None, false) => 0,
            (None, true) => count - 1,
            (Some(at), false) => (at + 1) % count,
            (Some(at), true) => (at + count - 1) % count,
        };
        self.at = Some(at);
        let text = self.candidates.get(at).map_or("", String::as_str);
        (std::mem::replace(&mut self.taken, text.chars().count()), text)
    }
}

/// A name as a command takes it, in quotation marks where it holds spaces.
#[must_use]
pub fn quoted(name: &str) -> String {
    if name.contains(' ') && !name.contains('"') { format!("\"{name}\"") } else { name.to_owned() }
}

fn commands(start: &str) -> Vec<String> {
    let start = start.to_lowercase();
    let all = command::COMMANDS.iter().chain(moderation::COMMANDS);
    all.filter(|(word, _)| word.starts_with(&start)).map(|(word, _)| format!("{word} ")).collect()
}

fn fitting<'a>(all: &'a [String], start: &str) -> impl Iterator<Item = &'a String> {
    let start = start.to_lowercase();
    all.iter().filter(move |name| name.to_lowercase().starts_with(&start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Known {
            names: all(&["Anna", "Anton", "Big Joe", "Ёж"]),
            rooms: all(&["attic", "the lounge"]),
        }
    }

    fn tabs(before: &str, count: usize) -> String {
        let mut line: Vec<char> = before.chars().collect();
        let Some(mut completion) = Completion::new(before, &known()) else {
            return before.to_owned();
        };
        for _ in 0..count {
            let (taken, text) = completion.step(false);
            line.truncate(line.len() - taken);
            line.extend(text.chars());
        }
        line.into_iter().collect()
    }

    #[test]
    fn commands_names_and_rooms_are_completed_where_they_belong() {
        for (before, after) in [
            ("/jo", "/join "),
            ("/join a", "/join attic "),
            ("/join t", "/join \"the lounge\" "),
            ("/msg b", "/msg \"Big Joe\" "),
            ("/msg \"big", "/msg \"Big Joe\" "),
            ("/move Anna t", "/move Anna \"the lounge\" "),
            ("an", "Anna: "),
            ("well, an", "well, Anna "),
            ("so @an", "so @Anna "),
            ("ё", "Ёж: "),
            ("zzz", "zzz"),
            ("/zzz", "/zzz"),
        ] {
            assert_eq!(tabs(before, 1), after, "{before}");
        }
    }

    #[test]
    fn each_further_tab_takes_the_next_and_comes_round() {
        assert_eq!(tabs("an", 2), "Anton: ");
        assert_eq!(tabs("an", 3), "Anna: ");
        let mut completion = Completion::new("", &known()).unwrap();
        assert_eq!(completion.step(true), (0, "Ёж: "));
        assert_eq!(completion.step(true), (4, "Big Joe: "));
        assert_eq!(completion.step(false), (9, "Ёж: "));
    }
}
