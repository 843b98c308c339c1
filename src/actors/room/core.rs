//! The rules of one room: who is in it, in what state, and what the others are told. Pure.

use crate::actors::bucket::Bucket;
use crate::actors::limits::text_cost;
use crate::actors::routes::{RoomRoutes, Route, SessionVoice, VoicePath};
use crate::actors::stage::Stage;
use crate::net::codec::Codec;
use crate::net::ids::{MemberId, RoomId, SessionId};
use crate::net::limits::{LIST_ENTRIES_MAX, LIST_TOTAL_MAX, ROOM_MEMBERS_MAX};
use crate::net::message::{LeaveReason, MemberInfo, MemberState, ServerMessage};
use crate::net::moderation::Role;
use crate::net::name::{RoomName, UserName};
use crate::net::protect::Sealer;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A member, as his session brings him.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who.
    pub id: MemberId,
    /// His present session.
    pub session: SessionId,
    /// His name.
    pub name: UserName,
    /// Microphone and ears.
    pub state: MemberState,
    /// In a talkspurt right now.
    pub speaking: bool,
    /// His role on the server or in this room.
    pub role: Option<Role>,
    /// A moderator has silenced him.
    pub silenced: bool,
    /// Codecs that he can decode.
    pub codecs: Vec<Codec>,
    /// His streams.
    pub voice: Arc<SessionVoice>,
    /// Seals what goes down to him.
    pub sealer: Sealer,
    /// Where his voice goes, if anywhere yet.
    pub path: Option<VoicePath>,
}

/// A change of one member.
#[derive(Clone, Debug)]
pub enum Change {
    /// Another name.
    Name(UserName),
    /// Another state.
    State(MemberState),
    /// Started or stopped to speak.
    Speaking(bool),
    /// Voice reaches him on another way.
    Path(Option<VoicePath>),
    /// Another role, or silenced or not any more.
    Standing {
        /// His role on the server or in this room.
        role: Option<Role>,
        /// Silenced.
        silenced: bool,
    },
}

/// The room is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the room is full")]
pub struct Full;

/// What to do after a change.
#[derive(Debug, Default, PartialEq)]
pub struct Effects {
    /// To everyone in the room but the one that changed.
    pub others: Option<ServerMessage>,
    /// To the one that changed, in this order.
    pub own: Vec<ServerMessage>,
    /// The forwarders need a new snapshot.
    pub routes_changed: bool,
}

/// The state of one room.
#[derive(Debug)]
pub struct RoomCore {
    id: RoomId,
    name: RoomName,
    members: BTreeMap<MemberId, Member>,
    /// What may still be said here, in bytes.
    text: Bucket,
    /// Who of those who speak is heard.
    stage: Stage,
}

impl RoomCore {
    /// An empty room, in which so many bytes of text may be said and so many are heard at once.
    #[must_use]
    pub fn new(id: RoomId, name: RoomName, text: Bucket, stage: Stage) -> Self {
        Self { id, name, members: BTreeMap::new(), text, stage }
    }

    /// A member says something to everyone. `None` if he is not here.
    ///
    /// # Errors
    /// More is said here than everyone's line bears: how long until there is room for this.
    pub fn say(
        &mut self,
        id: MemberId,
        text: String,
        at_ms: u64,
        now: Instant,
    ) -> Result<Option<ServerMessage>, Duration> {
        let Some(name) = self.member(id).map(|member| member.name.clone()) else { return Ok(None) };
        let cost = text_cost(&text);
        if !self.text.has(cost, now) {
            return Err(self.text.wait(cost));
        }
        self.text.spend(cost);
        Ok(Some(ServerMessage::Chat { id, name, text, at_ms }))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &RoomName {
        &self.name
    }

    /// Gives it another name.
    pub fn rename(&mut self, name: RoomName) {
        self.name = name;
    }

    /// Everyone goes.
    pub fn clear(&mut self) {
        self.members.clear();
    }

    /// Who is in it.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// One of its members.
    #[must_use]
    pub fn member(&self, id: MemberId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// Codecs that everyone in the room can decode.
    #[must_use]
    pub fn common_codecs(&self) -> Vec<Codec> {
        let mut members = self.members.values();
        let Some(first) = members.next() else { return Vec::new() };
        let mut common = first.codecs.clone();
        for member in members {
            common.retain(|codec| member.codecs.contains(codec));
        }
        common
    }

    /// All members as others see them, in pieces that fit into a frame, and whether more follow.
    fn pages(&self, most: usize) -> Vec<(Vec<MemberInfo>, bool)> {
        let infos: Vec<MemberInfo> = self.members.values().take(most).map(info).collect();
        let count = infos.len().div_ceil(LIST_ENTRIES_MAX);
        let pages = infos.chunks(LIST_ENTRIES_MAX).enumerate();
        pages.map(|(k, page)| (page.to_vec(), k + 1 < count)).collect()
    }

    /// The answer to a question for the members. Only for one of them (`inside`) are their streams.
    #[must_use]
    pub fn list(&self, inside: bool) -> Vec<ServerMessage> {
        let total = u64::try_from(self.members.len()).unwrap_or(0);
        let page = |(mut members, more): (Vec<MemberInfo>, bool)| {
            if !inside {
                members.iter_mut().for_each(|member| member.streams.clear());
            }
            ServerMessage::Users { room: self.name.clone(), members, total, more }
        };
        self.pages(LIST_TOTAL_MAX).into_iter().map(page).collect()
    }

    /// What someone who has just come in is told.
    fn welcome(&self) -> Vec<ServerMessage> {
        let codecs = self.common_codecs();
        let page = |(k, (members, more))| match k {
            0 => {
                let (room, codecs) = (self.name.clone(), codecs.clone());
                ServerMessage::Joined { room, members, codecs, more }
            }
            _ => ServerMessage::Members { members, more },
        };
        self.pages(ROOM_MEMBERS_MAX).into_iter().enumerate().map(page).collect()
    }

    /// Members as the forwarders see them.
    #[must_use]
    pub fn routes(&self) -> RoomRoutes {
        let members = self.members.values().map(|member| Route {
            session: member.session,
            path: member.path.clone(),
            sealer: member.sealer.clone(),
            voice: Arc::clone(&member.voice),
        });
        RoomRoutes { id: self.id, members: members.collect(), stage: self.stage.clone() }
    }

    /// Someone comes in, or comes back in a new session.
    ///
    /// # Errors
    /// The room is full.
    pub fn enter(&mut self, member: Member) -> Result<Effects, Full> {
        let (id, session) = (member.id, member.session);
        let known = self.members.contains_key(&id);
        if self.members.get(&id).is_some_and(|member| member.session == session) {
            // He is here already and asks again: nobody else needs to know.
            return Ok(Effects { own: self.welcome(), ..Effects::default() });
        }
        if !known && self.members.len() >= ROOM_MEMBERS_MAX {
            return Err(Full);
        }
        let joiner = info(&member);
        self.members.insert(id, member);
        let others = if known {
            ServerMessage::MemberChanged { member: joiner, renamed_from: None }
        } else {
            ServerMessage::MemberJoined { member: joiner, codecs: self.common_codecs() }
        };
        Ok(Effects { others: Some(others), own: self.welcome(), routes_changed: true })
    }

    /// Someone goes. Nothing happens if he is not here.
    pub fn leave(&mut self, id: MemberId, reason: LeaveReason) -> Effects {
        let Some(member) = self.members.remove(&id) else { return Effects::default() };
        let others = ServerMessage::MemberLeft {
            id,
            name: member.name,
            reason,
            codecs: self.common_codecs(),
        };
        Effects { others: Some(others), own: Vec::new(), routes_changed: true }
    }

    /// Someone changes. Nothing happens if he is not here or nothing is different.
    pub fn change(&mut self, id: MemberId, session: SessionId, change: Change) -> Effects {
        let Some(member) = self.members.get_mut(&id) else { return Effects::default() };
        let mut effects = Effects::default();
        let mut renamed_from = None;
        match change {
            // Only his present session speaks for him.
            _ if member.session != session => return effects,
            Change::Path(path) => {
                member.path = path;
                effects.routes_changed = true;
                return effects;
            }
            Change::Name(name) if name == member.name => return effects,
            Change::Name(name) => renamed_from = Some(std::mem::replace(&mut member.name, name)),
            Change::State(state) if state == member.state => return effects,
            Change::State(state) => member.state = state,
            Change::Speaking(speaking) if speaking == member.speaking => return effects,
            Change::Speaking(speaking) => member.speaking = speaking,
            Change::Standing { role, silenced }
                if (role, silenced) == (member.role, member.silenced) =>
            {
                return effects;
            }
            Change::Standing { role, silenced } => {
                member.role = role;
                member.silenced = silenced;
            }
        }
        let message = ServerMessage::MemberChanged { member: info(member), renamed_from };
        effects.own = vec![message.clone()];
        effects.others = Some(message);
        effects
    }
}

fn info(member: &Member) -> MemberInfo {
    MemberInfo {
        id: member.id,
        name: member.name.clone(),
        muted: member.state.muted,
        deafened: member.state.deafened,
        recording: member.state.recording,
        speaking: member.speaking,
        silenced: member.silenced,
        role: member.role,
        streams: member.voice.infos(),
    }
}
