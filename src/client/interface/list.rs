//! The list on the left: rooms with those who are in them, and those with whom we talk alone. Pure.

use super::Interface;
use super::conversation::Place;
use crate::client::event::Person;
use crate::net::ids::MemberId;
use crate::net::name::{RoomName, UserName};

/// One row of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// A room.
    Room(RoomName),
    /// One who is in our room.
    Member(MemberId),
    /// One who is in another room, as far as it is known.
    Elsewhere(RoomName, UserName),
    /// What stands over the people.
    People,
    /// One with whom we talk alone.
    Person(UserName),
}

/// How well one arrives here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quality {
    /// Hardly anything is missing.
    Good,
    /// Some is missing.
    Fair,
    /// Much is missing.
    Bad,
}

impl Quality {
    /// By the share that is lost on the way, and the share of what is heard that had to be made up.
    #[must_use]
    pub fn new(lost: f32, concealed: f32) -> Self {
        match lost.max(concealed * 2.0) {
            share if share < 0.03 => Self::Good,
            share if share < 0.10 => Self::Fair,
            _ => Self::Bad,
        }
    }
}

impl Interface {
    /// The rows of the list.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let mut rooms: Vec<RoomName> = self.rooms.iter().map(|room| room.name.clone()).collect();
        let here = self.app.room();
        if let Some(here) = here
            && !rooms.iter().any(|room| room.folded() == here.folded())
        {
            rooms.push(here.clone());
        }
        rooms.sort_by_key(RoomName::folded);
        let mut rows = Vec::new();
        for room in rooms {
            let own = here.is_some_and(|here| here.folded() == room.folded());
            let others = self.elsewhere.as_ref().filter(|(of, _)| *of == room && !own);
            rows.push(Row::Room(room.clone()));
            if own {
                rows.extend(self.people_here().into_iter().map(|member| Row::Member(member.id)));
            }
            if let Some((_, names)) = others {
                rows.extend(names.iter().map(|name| Row::Elsewhere(room.clone(), name.clone())));
            }
        }
        let people = self.conversations.iter().filter_map(|talk| match &talk.place {
            Place::Person(name) => Some(Row::Person(name.clone())),
            _ => None,
        });
        let people: Vec<Row> = people.collect();
        if !people.is_empty() {
            rows.push(Row::People);
            rows.extend(people);
        }
        rows
    }

    /// Those in our room, by name.
    #[must_use]
    pub fn people_here(&self) -> Vec<&Person> {
        let mut people: Vec<&Person> = self.app.members().collect();
        people.sort_by_key(|member| member.name.folded());
        people
    }

    /// Which row the list stands on.
    #[must_use]
    pub fn chosen(&self) -> usize {
        let rows = self.rows();
        let same = self.row.as_ref().and_then(|row| rows.iter().position(|other| other == row));
        same.unwrap_or(self.row_at).min(rows.len().saturating_sub(1))
    }

    /// Who stands on the row that the list stands on.
    pub(super) fn chosen_person(&self) -> Option<UserName> {
        match self.rows().get(self.chosen())? {
            Row::Member(id) => {
                let member = self.app.members().find(|member| member.id == *id)?;
                (!member.you).then(|| member.name.clone())
            }
            Row::Elsewhere(_, name) | Row::Person(name) => Some(name.clone()),
            Row::Room(_) | Row::People => None,
        }
    }

    /// Goes so many rows further; the heading is passed over.
    pub(super) fn step(&mut self, by: isize) {
        let rows = self.rows();
        let last = rows.len().saturating_sub(1);
        let mut at = self.chosen().saturating_add_signed(by).min(last);
        if rows.get(at) == Some(&Row::People) {
            at = at.saturating_add_signed(by.signum()).min(last);
        }
        self.row_at = at;
        self.row = rows.get(at).cloned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_makes_the_quality() {
        assert_eq!(Quality::new(0.0, 0.0), Quality::Good);
        assert_eq!(Quality::new(0.05, 0.0), Quality::Fair);
        assert_eq!(Quality::new(0.0, 0.2), Quality::Bad);
        assert_eq!(Quality::new(f32::NAN, f32::NAN), Quality::Bad);
    }
}
