//! Who is in our room, and who of them speaks. Pure.
//!
//! Two sources tell who speaks: the voice side, which plays the stream, and the server. Someone
//! speaks while either says so; each beginning and each end is told once.

use crate::client::event::{Change, Event, Person};
use crate::client::volumes::{Volume, VolumeBook};
use crate::net::ids::MemberId;
use crate::net::limits::ROOM_MEMBERS_MAX;
use crate::net::limits::VOLUMES_MAX;
use crate::net::message::{LeaveReason, MemberInfo};
use crate::net::name::{RoomName, UserName};
use std::collections::{BTreeMap, BTreeSet};

/// The own room.
#[derive(Debug, Default)]
pub struct Roster {
    /// Who we are.
    pub me: Option<MemberId>,
    room: Option<RoomName>,
    members: BTreeMap<MemberId, MemberInfo>,
    /// How loud the user wants whom.
    pub volumes: VolumeBook,
    /// What was wanted of members who have taken another name since: that holds as long as they are here.
    renamed: BTreeMap<MemberId, Volume>,
    /// Whose voice is played.
    heard: BTreeSet<MemberId>,
    /// Who was told to speak.
    told: BTreeSet<MemberId>,
}

impl Roster {
    /// The room, if we are in one.
    #[must_use]
    pub fn room(&self) -> Option<&RoomName> {
        self.room.as_ref()
    }

    /// A member's name.
    #[must_use]
    pub fn name_of(&self, id: MemberId) -> Option<UserName> {
        self.members.get(&id).map(|member| member.name.clone())
    }

    /// How loud a member is wanted, where it is not as he is.
    #[must_use]
    pub fn volume_of(&self, id: MemberId) -> Option<Volume> {
        let volume = self.wanted(self.members.get(&id)?);
        (volume != Volume::default()).then_some(volume)
    }

    /// The members but ourselves.
    #[must_use]
    pub fn others(&self) -> Vec<MemberInfo> {
        self.members.values().filter(|member| Some(member.id) != self.me).cloned().collect()
    }

    /// What the samples of members are multiplied with, where it is not 1.
    #[must_use]
    pub fn factors(&self) -> BTreeMap<MemberId, f32> {
        if self.volumes.is_empty() && self.renamed.is_empty() {
            return BTreeMap::new();
        }
        let factor = |member: &MemberInfo| self.wanted(member).factor();
        let all = self.members.values().map(|member| (member.id, factor(member)));
        all.filter(|(_, factor)| *factor != 1.0).collect()
    }

    /// The name as a member of the room bears it, if one does.
    #[must_use]
    pub fn spelled(&self, name: &UserName) -> UserName {
        self.named(name).map_or_else(|| name.clone(), |member| member.name.clone())
    }

    /// The member of the room who bears this name.
    #[must_use]
    pub fn named(&self, name: &UserName) -> Option<&MemberInfo> {
        let folded = name.folded();
        self.members.values().find(|member| member.name.folded() == folded)
    }

    /// Whether this one is in the room.
    #[must_use]
    pub fn is_here(&self, id: MemberId) -> bool {
        self.members.contains_key(&id)
    }

    /// How loud the user wants a member: by the name that he bears, or bore when it was said.
    #[must_use]
    pub fn wanted(&self, member: &MemberInfo) -> Volume {
        match self.volumes.get(&member.name) {
            volume if volume != Volume::default() => volume,
            volume => self.renamed.get(&member.id).copied().unwrap_or(volume),
        }
    }

    /// The user wants this name so loud, whether its bearer is here or not. False if there is no more room.
    pub fn want(&mut self, name: &UserName, volume: Volume) -> bool {
        if let Some(id) = self.named(name).map(|member| member.id) {
            self.renamed.remove(&id);
        }
        self.volumes.set(name.clone(), volume)
    }

    /// Members have other numbers from now on: another session has begun.
    pub fn renumbered(&mut self) {
        self.renamed.clear();
    }

    /// A member as shown.
    #[must_use]
    pub fn person(&self, info: &MemberInfo) -> Person {
        let mut person = Person::new(info, self.me);
        person.speaking |= self.heard.contains(&info.id);
        let volume = self.wanted(info);
        person.volume = (volume != Volume::default() && !person.you).then_some(volume);
        person
    }

    /// We are in this room now, with these members.
    pub fn enter(&mut self, room: RoomName, members: Vec<MemberInfo>) {
        self.clear();
        self.room = Some(room);
        self.add(members);
    }

    /// More of those who are there.
    pub fn add(&mut self, members: Vec<MemberInfo>) {
        for member in members {
            if member.speaking {
                self.told.insert(member.id);
            }
            if self.members.len() < ROOM_MEMBERS_MAX || self.members.contains_key(&member.id) {
                self.members.insert(member.id, member);
            }
        }
    }

    /// All members as shown.
    #[must_use]
    pub fn people(&self) -> Vec<Person> {
        self.members.values().map(|member| self.person(member)).collect()
    }

    /// Our room is called so now.
    pub fn rename_room(&mut self, room: RoomName) {
        if self.room.is_some() {
            self.room = Some(room);
        }
    }

    /// We are in no room.
    pub fn clear(&mut self) {
        self.room = None;
        self.members.clear();
        self.heard.clear();
        self.told.clear();
    }

    /// Someone has come.
    pub fn joined(&mut self, member: MemberInfo) -> Vec<Event> {
        let (id, person) = (member.id, self.person(&member));
        self.add(vec![member]);
        self.told.remove(&id);
        let mut events = vec![Event::MemberJoined(person)];
        events.extend(self.speaking(id));
        events
    }

    /// Someone has gone.
    pub fn left(&mut self, id: MemberId, name: UserName, reason: LeaveReason) -> Vec<Event> {
        self.heard.remove(&id);
        if let Some(member) = self.members.get_mut(&id) {
            member.speaking = false;
        }
        let mut events: Vec<Event> = self.speaking(id).into_iter().collect();
        self.members.remove(&id);
        events.push(Event::MemberLeft { id, name, reason });
        events
    }

    /// Someone is different. The second is whether his streams are.
    pub fn changed(
        &mut self,
        member: MemberInfo,
        renamed_from: Option<UserName>,
    ) -> (Vec<Event>, bool) {
        let id = member.id;
        // Another name is no way around being ignored.
        let known = self.members.get(&id).filter(|before| before.name != member.name);
        let wanted = known.map(|before| self.wanted(before)).unwrap_or_default();
        if wanted != Volume::default() && self.renamed.len() < VOLUMES_MAX {
            self.renamed.insert(id, wanted);
        }
        let Some(before) = self.members.insert(id, member.clone()) else {
            self.members.remove(&id);
            return (self.joined(member), true);
        };
        let change = Change {
            muted: before.muted != member.muted,
            deafened: before.deafened != member.deafened,
            recording: before.recording != member.recording,
            silenced: before.silenced != member.silenced,
            role: before.role != member.role,
        };
        let ssrcs = |info: &MemberInfo| info.streams.iter().map(|s| s.ssrc).collect::<Vec<_>>();
        let other_streams = ssrcs(&before) != ssrcs(&member);
        let same_name = before.name == member.name && renamed_from.is_none();
        let only_speaks = same_name && change == Change::default() && !other_streams;
        let mut events = Vec::new();
        if !only_speaks {
            let member = self.person(&member);
            events.push(Event::MemberChanged { member, renamed_from, change });
        }
        events.extend(self.speaking(id));
        (events, other_streams)
    }

    /// The voice side plays someone, or does not any more.
    pub fn heard(&mut self, id: MemberId, on: bool) -> Option<Event> {
        if !self.members.contains_key(&id) {
            return None;
        }
        if on {
            self.heard.insert(id);
        } else {
            self.heard.remove(&id);
        }
        self.speaking(id)
    }

    /// Tells of someone's beginning or end, if it was not told yet.
    fn speaking(&mut self, id: MemberId) -> Option<Event> {
        let member = self.members.get(&id)?;
        let on = member.speaking || self.heard.contains(&id);
        let news = if on { self.told.insert(id) } else { self.told.remove(&id) };
        let you = self.me == Some(id);
        news.then(|| Event::Speaking { id, name: member.name.clone(), on, you })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::ids::Ssrc;
    use crate::net::message::StreamInfo;

    pub fn member(id: u64, name: &str) -> MemberInfo {
        let ssrc = Ssrc(u32::try_from(id).unwrap() * 4);
        MemberInfo {
            id: MemberId(id),
            name: UserName::parse(name).unwrap(),
            muted: true,
            deafened: false,
            recording: false,
            speaking: false,
            silenced: false,
            role: None,
            streams: vec![StreamInfo {
                ssrc,
                clock_hz: 16_000,
                payload_type: None,
                roc: 0,
                seq: None,
            }],
        }
    }

    fn roster() -> Roster {
        let mut roster = Roster { me: Some(MemberId(1)), ..Roster::default() };
        let room = RoomName::parse("general").unwrap();
        roster.enter(room, vec![member(1, "me"), member(2, "Bob")]);
        roster
    }

    fn spoken(events: &[Event]) -> Vec<bool> {
        let on = events.iter().filter_map(|event| match event {
            Event::Speaking { on, .. } => Some(*on),
            _ => None,
        });
        on.collect()
    }

    #[test]
    fn two_sources_make_one_beginning_and_one_end() {
        let mut roster = roster();
        let speaks = |on| MemberInfo { speaking: on, ..member(2, "Bob") };
        assert_eq!(spoken(&roster.changed(speaks(true), None).0), [true]);
        assert_eq!(roster.heard(MemberId(2), true), None);
        assert_eq!(roster.changed(speaks(false), None).0, []);
        assert!(roster.people()[1].speaking);
        assert!(matches!(
            roster.heard(MemberId(2), false),
            Some(Event::Speaking { on: false, .. })
        ));
    }

    #[test]
    fn who_leaves_while_he_speaks_has_stopped() {
        let mut roster = roster();
        roster.heard(MemberId(2), true);
        let name = UserName::parse("Bob").unwrap();
        let events = roster.left(MemberId(2), name, LeaveReason::Quit);
        assert_eq!(spoken(&events), [false]);
        assert!(matches!(events.last(), Some(Event::MemberLeft { .. })));
        assert_eq!(roster.heard(MemberId(2), true), None, "a late word of his is nobody's");
    }

    #[test]
    fn a_new_session_of_the_same_member_has_other_streams() {
        let mut roster = roster();
        let mut bob = member(2, "Bob");
        bob.streams[0].ssrc = Ssrc(99);
        let (events, other_streams) = roster.changed(bob.clone(), None);
        assert!(other_streams && matches!(events[..], [Event::MemberChanged { .. }]));
        assert!(!roster.changed(bob, None).1);
    }

    #[test]
    fn a_room_that_a_server_fills_without_end_has_a_bound() {
        let mut roster = roster();
        roster.add((0..5000).map(|id| member(id, "x")).collect());
        assert_eq!(roster.people().len(), ROOM_MEMBERS_MAX);
    }
}
