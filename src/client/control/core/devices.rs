//! Sound devices: what the user asks of the voice side, and what of it is not answered yet.

use super::{ControlCore, Request, VoiceCommand};
use crate::client::voice::Direction;

/// Whoever has asked for something and leaves waits for its answer.
#[derive(Debug, Default)]
pub(super) struct Devices {
    lists: usize,
    tones: usize,
    input: bool,
    output: bool,
}

impl Devices {
    /// A device runs, or is refused.
    pub(super) fn settled(&mut self, direction: Direction) {
        match direction {
            Direction::Input => self.input = false,
            Direction::Output => self.output = false,
        }
    }

    /// A list has come.
    pub(super) fn listed(&mut self) {
        self.lists = self.lists.saturating_sub(1);
    }

    /// A tone plays.
    pub(super) fn sounded(&mut self) {
        self.tones = self.tones.saturating_sub(1);
    }

    /// Nothing waits for its answer.
    pub(super) fn are_answered(&self) -> bool {
        self.lists == 0 && self.tones == 0 && !self.input && !self.output
    }
}

impl ControlCore {
    pub(super) fn ask_devices(&mut self, request: Request) {
        let command = match request {
            Request::Devices => {
                self.devices.lists += 1;
                VoiceCommand::Devices
            }
            Request::Input(name) => {
                self.devices.input = true;
                VoiceCommand::Input(name)
            }
            Request::Output(name) => {
                self.devices.output = true;
                VoiceCommand::Output(name)
            }
            // Of several that are asked for at once one is heard.
            Request::Tone => {
                self.devices.tones = 1;
                VoiceCommand::Tone
            }
            _ => return,
        };
        self.voice(command);
    }
}
