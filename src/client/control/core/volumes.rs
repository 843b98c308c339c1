//! How loud the user wants whom: by name, whenever he comes.

use super::ControlCore;
use crate::client::control::port::{Action, VoiceCommand};
use crate::client::control::request::VolumeWish;
use crate::client::event::{Event, LocalError};
use crate::client::volumes::{Volume, VolumeBook};
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
        let before = self.roster.volumes.get(&name);
        let volume = match wish {
            VolumeWish::Percent(percent) => Volume { percent, ..before },
            VolumeWish::Ignore(ignored) => Volume { ignored, ..before },
        };
        if !self.roster.volumes.set(name.clone(), volume) {
            let args = [("name", name.to_string())];
            return self.tell(Event::error(LocalError::TooManyVolumes, args));
        }
        self.act(Action::Remember(name.clone(), volume));
        self.apply_volumes();
        self.tell(Event::Volume { name, volume });
    }

    /// Tells the voice side, after anyone has come, gone, or taken another name.
    pub(super) fn apply_volumes(&mut self) {
        let factors = self.roster.factors();
        if factors != self.factors {
            self.factors.clone_from(&factors);
            self.voice(VoiceCommand::Volumes(factors));
        }
    }
}
