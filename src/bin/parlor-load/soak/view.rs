//! A room as a member knows it: from events alone.

use parlor::net::ids::MemberId;
use parlor::net::message::{MemberInfo, ServerMessage};
use std::collections::BTreeMap;

/// What a member believes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// The room that he is in.
    pub room: Option<String>,
    /// Everyone in it.
    pub members: BTreeMap<MemberId, MemberInfo>,
}

impl View {
    /// Follows a message. What an event cannot mean is a fault, in words.
    pub fn follow(&mut self, message: &ServerMessage) -> Result<(), String> {
        let (name, possible, what) = match message {
            ServerMessage::MemberJoined { member, .. } => {
                let before = self.members.insert(member.id, member.clone());
                (&member.name, before.is_none(), "came, and was there")
            }
            ServerMessage::MemberChanged { member, .. } => {
                let before = self.members.insert(member.id, member.clone());
                (&member.name, before.is_some(), "changed, and was not there")
            }
            ServerMessage::MemberLeft { id, name, .. } => {
                (name, self.members.remove(id).is_some(), "left, and was not there")
            }
            other => {
                self.move_about(other);
                return Ok(());
            }
        };
        if possible { Ok(()) } else { Err(format!("{name} {what}")) }
    }

    /// Follows what he is told of his own place.
    fn move_about(&mut self, message: &ServerMessage) {
        match message {
            ServerMessage::Joined { room, members, .. } => {
                self.room = Some(room.to_string());
                self.members = members.iter().map(|m| (m.id, m.clone())).collect();
            }
            ServerMessage::Members { members, .. } => {
                self.members.extend(members.iter().map(|m| (m.id, m.clone())));
            }
            ServerMessage::Left { .. } => {
                self.room = None;
                self.members.clear();
            }
            ServerMessage::RoomRenamed { room, .. } => self.room = Some(room.to_string()),
            _ => {}
        }
    }

    /// Somebody is in a talkspurt.
    pub fn anyone_speaks(&self) -> bool {
        self.members.values().any(|member| member.speaking)
    }
}
