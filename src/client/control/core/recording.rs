//! Recording, as far as it concerns others: it begins when the room was told, and not before.

use super::ControlCore;
use crate::client::control::port::VoiceCommand;
use crate::client::control::request::Asked;
use crate::client::event::{Event, LocalError};
use crate::client::voice::RecordingEnd;
use std::path::PathBuf;

/// How far a recording is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Recording {
    /// There is none.
    #[default]
    Off,
    /// The server has been asked to tell the room.
    Asked(PathBuf),
    /// It runs.
    On(PathBuf),
}

impl ControlCore {
    /// The user wants one. The room is told first.
    pub(super) fn record(&mut self, directory: PathBuf) {
        if let Recording::Asked(directory) | Recording::On(directory) = &self.recording {
            let directory = directory.display().to_string();
            return self.tell(Event::error(LocalError::RecordsAlready, [("directory", directory)]));
        }
        self.recording = Recording::Asked(directory);
        self.state.recording = true;
        self.state_untold = true;
    }

    /// The user wants it no longer.
    pub(super) fn stop_recording(&mut self) {
        match self.recording {
            Recording::Off => self.tell(Event::error(LocalError::RecordsNothing, [])),
            _ => self.end_recording(),
        }
    }

    /// Nothing is recorded any more, and the room is told.
    pub(super) fn end_recording(&mut self) {
        if self.recording != Recording::Off {
            self.recording = Recording::Off;
            self.state.recording = false;
            self.state_untold = true;
            self.voice(VoiceCommand::StopRecording);
        }
    }

    /// The room knows our state as it was when it was told last.
    pub(super) fn state_told(&mut self, recording: bool) {
        let later = self.state_untold || self.open.values().any(|p| p.asked == Asked::State);
        let Recording::Asked(directory) = &self.recording else { return };
        if recording {
            let directory = directory.clone();
            self.recording = Recording::On(directory.clone());
            let name = self.settings.name.clone();
            self.voice(VoiceCommand::Record(directory.clone(), name));
            self.tell(Event::Recording { directory });
        } else if !later {
            // An older server, which has passed over what it does not know.
            self.end_recording();
            self.tell(Event::error(LocalError::RecordingUntold, []));
        }
    }

    /// The connection is lost. A recording that runs goes on, and is told of with the next greeting.
    pub(super) fn recording_lost(&mut self) {
        if let Recording::Asked(_) = self.recording {
            self.end_recording();
            self.tell(Event::error(LocalError::NotConnected, [("what", "/record".to_owned())]));
        }
    }

    /// The files are complete, or cannot be written any more.
    pub(super) fn recording_ended(&mut self, end: RecordingEnd) {
        let RecordingEnd { directory, files, length_ms, lost_ms, error } = end;
        if error.is_some() {
            self.end_recording();
        }
        self.tell(Event::RecordingEnded { directory, files, length_ms, lost_ms, error });
    }
}
