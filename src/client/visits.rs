//! Where the user was: servers, his name there and his last room, the latest first; and the file that they are
//! remembered in. Pure.
//!
//! A line of the file is `SERVER`, `NAME` and `ROOM` with tabs between them; in none of the three is one.

use super::event::{Event, NoticeCode};
use crate::net::limits::VISITS_MAX;
use crate::net::name::{RoomName, UserName};
use std::fmt;

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// `HOST:PORT`, as the user wrote it.
    pub server: String,
    /// Who he was there.
    pub name: UserName,
    /// Where.
    pub room: RoomName,
}

/// All of them, at most [`VISITS_MAX`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Visits(Vec<Visit>);

impl Visits {
    /// Reads a file; what makes no sense in it is passed over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let visit = |line: &str| {
            let mut parts = line.split('\t');
            let (server, name, room) = (parts.next()?, parts.next()?, parts.next()?);
            let (name, room) = (UserName::parse(name).ok()?, RoomName::parse(room).ok()?);
            (!server.is_empty()).then(|| Visit { server: server.to_owned(), name, room })
        };
        Self(text.lines().filter_map(visit).take(VISITS_MAX).collect())
    }

    /// The latest.
    #[must_use]
    pub fn last(&self) -> Option<&Visit> {
        self.0.first()
    }

    /// The user is there now. False if that is what was known.
    pub fn remember(&mut self, visit: Visit) -> bool {
        if self.last() == Some(&visit) {
            return false;
        }
        self.0.retain(|before| before.server != visit.server);
        self.0.insert(0, visit);
        self.0.truncate(VISITS_MAX);
        true
    }
}

impl fmt::Display for Visits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|Visit { server, name, room }| writeln!(f, "{server}\t{name}\t{room}"))
    }
}

/// Sees from events where the user is. Servers without encryption are none to go to by Enter alone.
#[derive(Debug, Default)]
pub struct Watcher {
    server: Option<String>,
    name: Option<UserName>,
}

impl Watcher {
    /// A visit, where this event is the beginning of one.
    pub fn see(&mut self, event: &Event) -> Option<Visit> {
        match event {
            Event::Connecting { server } => self.server = Some(server.clone()),
            Event::Notice { code: NoticeCode::Unencrypted } => self.server = None,
            Event::Welcome { name, .. } | Event::Renamed { name } => self.name = Some(name.clone()),
            Event::Joined { room, .. } => {
                let (server, name) = (self.server.clone()?, self.name.clone()?);
                return Some(Visit { server, name, room: room.clone() });
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(server: &str, room: &str) -> Visit {
        let name = UserName::parse("Big Joe").unwrap();
        Visit { server: server.to_owned(), name, room: RoomName::parse(room).unwrap() }
    }

    #[test]
    fn the_latest_stands_first_each_server_once_and_nonsense_is_passed_over() {
        let mut visits = Visits::default();
        for (server, room) in [("a:1", "den"), ("b:1", "x y"), ("a:1", "attic")] {
            assert!(visits.remember(visit(server, room)));
        }
        assert!(!visits.remember(visit("a:1", "attic")), "nothing new");
        let text = visits.to_string();
        assert_eq!(text, "a:1\tBig Joe\tattic\nb:1\tBig Joe\tx y\n");
        let read = Visits::parse(&format!("\n\tx\ty\na\tb\nc\t\troom\n{text}"));
        assert_eq!(read, visits);
    }

    #[test]
    fn visits_have_a_bound() {
        let mut visits = Visits::default();
        for k in 0..2 * VISITS_MAX {
            visits.remember(visit(&format!("h:{k}"), "den"));
        }
        assert_eq!(visits.0.len(), VISITS_MAX);
        assert_eq!(Visits::parse(&"a:1\tx\ty\n".repeat(3 * VISITS_MAX)).0.len(), VISITS_MAX);
    }

    #[test]
    fn a_room_that_is_entered_is_a_visit_unless_nothing_is_encrypted() {
        let room = RoomName::parse("den").unwrap();
        let joined = Event::Joined { room, members: Vec::new() };
        let name = UserName::parse("Big Joe").unwrap();
        let mut watcher = Watcher::default();
        assert_eq!(watcher.see(&joined), None);
        watcher.see(&Event::Connecting { server: "a:1".to_owned() });
        watcher.see(&Event::Renamed { name });
        assert_eq!(watcher.see(&joined), Some(visit("a:1", "den")));
        watcher.see(&Event::Connecting { server: "b:1".to_owned() });
        watcher.see(&Event::Notice { code: NoticeCode::Unencrypted });
        assert_eq!(watcher.see(&joined), None);
    }
}
