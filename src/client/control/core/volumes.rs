//! How loud the user wants whom: by name, whenever he comes.

use super::ControlCore;
use crate::client::control::port::{Action, VoiceCommand};
use crate::client::control::request::VolumeWish;
use crate::client::event::{Event, LocalError};
use crate::client::volumes::{Volume, VolumeBook};
use crate::net::limits::VOLUMES_MAX;
use crate::net::message::ErrorCode;
use crate::net::name::UserName;

impl ControlCore {
    /// What was remembered from before.
    pub fn recall_volumes(&mut self, book: VolumeBook) {
        self.roster.volumes = book;
    }

    /// The user wants someone so loud; whether he is here or not.
    pub(super) fn want_volume(&mut self, name: &str, wish: VolumeWish) {
        let name = match UserName::parse(name) {
            Ok(name) => self.roster.spelled(&name),
            Err(error) => return self.tell_bad(ErrorCode::BadName, &error.to_string()),
        };
        let member = self.roster.named(&name);
        if member.is_some() && member.map(|member| member.id) == self.roster.me {
            return self.tell(Event::error(LocalError::VolumeOfSelf, []));
        }
        let here = member.is_some();
        let before = member.map(|member| self.roster.wanted(member));
        let before = before.unwrap_or_else(|| self.roster.volumes.get(&name));
        let volume = match wish {
            VolumeWish::Percent(percent) => Volume { percent, ..before },
            VolumeWish::Ignore(ignored) => Volume { ignored, ..before },
        };
        if !self.roster.want(&name, volume) {
            let args = [("name", name.to_string())];
            return self.tell(Event::error(LocalError::TooManyVolumes, args));
        }
        self.act(Action::Remember(name.clone(), volume));
        self.apply_volumes();
        self.tell(Event::Volume { name, volume, here });
    }

    /// Tells the voice side, after anyone has come, gone, or taken another name.
    pub(super) fn apply_volumes(&mut self) {
        let mut factors = self.roster.factors();
        // Who has just left still sounds for a moment: he must not become louder for it.
        for (id, factor) in &self.factors {
            if factors.len() < VOLUMES_MAX && !self.roster.is_here(*id) {
                factors.insert(*id, *factor);
            }
        }
        if factors != self.factors {
            self.factors.clone_from(&factors);
            self.voice(VoiceCommand::Volumes(factors));
        }
    }
}
