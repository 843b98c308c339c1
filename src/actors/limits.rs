//! What one client, one address and one room may ask of the server: safe by default, set by the
//! operator in the configuration file, within the bounds that the server is built for.

use super::bucket::Rate;
use crate::net::limits::{
    CHATS_BURST, CHATS_PER_SECOND, CONNECTIONS_PER_ADDRESS, CONTROL_BYTES_PER_SECOND,
    HALF_OPEN_MAX, HALF_OPEN_PER_ADDRESS, HANDSHAKE_BURST, HANDSHAKES_PER_SECOND, HEARD_AT_ONCE,
    HEARD_AT_ONCE_MAX, IDENTITIES_PER_HOUR, IDENTITY_BURST, JOINS_BURST, JOINS_PER_MINUTE,
    OUTBOX_BYTES_MAX, RENAMES_BURST, RENAMES_PER_MINUTE, REQUEST_BURST, REQUESTS_PER_SECOND,
    ROOM_HISTORY_LINES, ROOM_HISTORY_LINES_MAX, ROOM_MEMBERS_MAX, ROOM_TEXT_BYTES_BURST,
    ROOM_TEXT_BYTES_PER_SECOND, ROOMS_MAX, SESSIONS_MAX, TEXT_BYTES_BESIDE, TEXT_BYTES_BURST,
    TEXT_BYTES_MAX, TEXT_BYTES_PER_SECOND, TOLD_BYTES_BURST, TOLD_BYTES_PER_SECOND,
    VOICE_BYTES_PER_SECOND, VOICE_FRAME_BYTES, VOICE_PACKETS_PER_SECOND,
};
use serde::Deserialize;

/// The limits. A limit that is reached is answered with an error that names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Limits {
    /// Users on the server.
    pub sessions: usize,
    /// Rooms at once, kept ones included.
    pub rooms: usize,
    /// Members of one room.
    pub members_per_room: usize,
    /// Connections from one address (IPv4) or network of 64 bits (IPv6). This machine's own have no such limit.
    pub connections_per_address: usize,
    /// Connections that have not said who they are, handshakes under way among them; the oldest go.
    pub half_open: usize,
    /// The same, from one address.
    pub half_open_per_address: usize,
    /// TLS handshakes that one address may begin in a second, on average; this machine's own has no such
    /// limit ...
    pub handshakes_per_second: u32,
    /// ... and at once.
    pub handshake_burst: u32,
    /// People new to the server (names registered, invites used) whom one address may bring in an hour,
    /// on average; this machine's own has no such limit ...
    pub identities_per_hour: u32,
    /// ... and at once.
    pub identity_burst: u32,
    /// Messages that a session may send in a second, on average ...
    pub requests_per_second: u32,
    /// ... and at once.
    pub request_burst: u32,
    /// Texts that a session may send in a second, on average ...
    pub chats_per_second: u32,
    /// ... and at once.
    pub chat_burst: u32,
    /// Bytes of text that a session may send in a second, on average ...
    pub text_bytes_per_second: u32,
    /// ... and at once.
    pub text_bytes_burst: u32,
    /// Bytes of text that all members of a room together may say in a second, on average ...
    pub room_text_bytes_per_second: u32,
    /// ... and at once.
    pub room_text_bytes_burst: u32,
    /// Texts that a room keeps for whoever comes in later or was away; 0 for none. They go with the room.
    pub room_history_lines: usize,
    /// Bytes of private text that one user may be told in a second, by whomever, on average ...
    pub told_bytes_per_second: u32,
    /// ... and at once.
    pub told_bytes_burst: u32,
    /// Rooms that a session may enter in a minute, on average ...
    pub joins_per_minute: u32,
    /// ... and at once.
    pub join_burst: u32,
    /// Names that a session may take in a minute, on average ...
    pub renames_per_minute: u32,
    /// ... and at once.
    pub rename_burst: u32,
    /// Open microphones of one room that are heard at once: the loudest are; 0 for all.
    pub heard_at_once: usize,
    /// Voice packets that a session may send in a second, on average; half as many more at once.
    pub voice_packets_per_second: u32,
    /// Bytes of voice that a session may send in a second, on average; twice as many at once.
    pub voice_bytes_per_second: u32,
    /// Bytes that wait for a slow reader before he is cut off.
    pub queued_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: SESSIONS_MAX,
            rooms: ROOMS_MAX,
            members_per_room: ROOM_MEMBERS_MAX,
            connections_per_address: CONNECTIONS_PER_ADDRESS,
            half_open: HALF_OPEN_MAX,
            half_open_per_address: HALF_OPEN_PER_ADDRESS,
            handshakes_per_second: HANDSHAKES_PER_SECOND,
            handshake_burst: HANDSHAKE_BURST,
            identities_per_hour: IDENTITIES_PER_HOUR,
            identity_burst: IDENTITY_BURST,
            requests_per_second: REQUESTS_PER_SECOND,
            request_burst: REQUEST_BURST,
            chats_per_second: CHATS_PER_SECOND,
            chat_burst: CHATS_BURST,
            text_bytes_per_second: TEXT_BYTES_PER_SECOND,
            text_bytes_burst: TEXT_BYTES_BURST,
            room_text_bytes_per_second: ROOM_TEXT_BYTES_PER_SECOND,
            room_text_bytes_burst: ROOM_TEXT_BYTES_BURST,
            room_history_lines: ROOM_HISTORY_LINES,
            told_bytes_per_second: TOLD_BYTES_PER_SECOND,
            told_bytes_burst: TOLD_BYTES_BURST,
            joins_per_minute: JOINS_PER_MINUTE,
            join_burst: JOINS_BURST,
            renames_per_minute: RENAMES_PER_MINUTE,
            rename_burst: RENAMES_BURST,
            heard_at_once: HEARD_AT_ONCE,
            voice_packets_per_second: VOICE_PACKETS_PER_SECOND,
            voice_bytes_per_second: VOICE_BYTES_PER_SECOND,
            queued_bytes: OUTBOX_BYTES_MAX,
        }
    }
}

impl Limits {
    /// New people from an address.
    #[must_use]
    pub fn identities(&self) -> Rate {
        let per_second = f64::from(self.identities_per_hour) / 3600.0;
        Rate { per_second, burst: f64::from(self.identity_burst) }
    }

    /// TLS handshakes with an address.
    #[must_use]
    pub fn handshakes(&self) -> Rate {
        per_second(self.handshakes_per_second, self.handshake_burst)
    }

    /// Bytes of a control connection: all the voice that there may be with what frames it, and the rest.
    #[must_use]
    pub fn control_bytes(&self) -> Rate {
        let voice = self.voice();
        let beside = f64::from(CONTROL_BYTES_PER_SECOND);
        let frames = f64::from(VOICE_FRAME_BYTES) * voice.packets.per_second;
        Rate {
            per_second: voice.bytes.per_second + frames + beside,
            burst: voice.bytes.burst + 2.0 * (frames + beside),
        }
    }

    /// Messages of a session.
    #[must_use]
    pub fn requests(&self) -> Rate {
        per_second(self.requests_per_second, self.request_burst)
    }

    /// Its texts.
    #[must_use]
    pub fn chats(&self) -> Rate {
        per_second(self.chats_per_second, self.chat_burst)
    }

    /// The bytes of its texts, by [`text_cost`].
    #[must_use]
    pub fn text_bytes(&self) -> Rate {
        per_second(self.text_bytes_per_second, self.text_bytes_burst)
    }

    /// The bytes of all texts in one room.
    #[must_use]
    pub fn room_text_bytes(&self) -> Rate {
        per_second(self.room_text_bytes_per_second, self.room_text_bytes_burst)
    }

    /// The bytes of all private texts to one user.
    #[must_use]
    pub fn told_bytes(&self) -> Rate {
        per_second(self.told_bytes_per_second, self.told_bytes_burst)
    }

    /// The rooms that it enters.
    #[must_use]
    pub fn joins(&self) -> Rate {
        per_minute(self.joins_per_minute, self.join_burst)
    }

    /// The names that it takes.
    #[must_use]
    pub fn renames(&self) -> Rate {
        per_minute(self.renames_per_minute, self.rename_burst)
    }

    /// Packets and bytes of its voice.
    #[must_use]
    pub fn voice(&self) -> VoiceRates {
        let rate = |most: u32, seconds| Rate {
            per_second: f64::from(most),
            burst: f64::from(most) * seconds,
        };
        VoiceRates {
            packets: rate(self.voice_packets_per_second, 1.5),
            bytes: rate(self.voice_bytes_per_second, 2.0),
        }
    }
}

/// How much voice a session may send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VoiceRates {
    /// Packets.
    pub packets: Rate,
    /// Bytes of the datagrams.
    pub bytes: Rate,
}

/// Bytes that a text counts for: its own and what goes with them.
#[must_use]
pub fn text_cost(text: &str) -> f64 {
    (text.len() + TEXT_BYTES_BESIDE) as f64
}

fn per_second(rate: u32, burst: u32) -> Rate {
    Rate { per_second: f64::from(rate), burst: f64::from(burst) }
}

fn per_minute(rate: u32, burst: u32) -> Rate {
    Rate { per_second: f64::from(rate) / 60.0, burst: f64::from(burst) }
}

/// A limit that the server is not built for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the limit {name} is {value}; it can be from {least} to {most}")]
pub struct OutOfRange {
    name: &'static str,
    value: usize,
    least: usize,
    most: usize,
}

impl Limits {
    /// Nothing but what the server is built for: for load tests, where one client stands for many.
    #[must_use]
    pub fn loosest() -> Self {
        let most = u32::try_from(RATE_MAX).unwrap_or(u32::MAX);
        Self {
            connections_per_address: SESSIONS_MAX,
            half_open: SESSIONS_MAX,
            half_open_per_address: SESSIONS_MAX,
            handshakes_per_second: most,
            handshake_burst: most,
            identities_per_hour: most,
            identity_burst: most,
            requests_per_second: most,
            request_burst: most,
            chats_per_second: most,
            chat_burst: most,
            text_bytes_per_second: most,
            text_bytes_burst: most,
            room_text_bytes_per_second: most,
            room_text_bytes_burst: most,
            told_bytes_per_second: most,
            told_bytes_burst: most,
            joins_per_minute: most,
            join_burst: most,
            renames_per_minute: most,
            rename_burst: most,
            ..Self::default()
        }
    }

    /// Looks whether the server can keep these.
    ///
    /// # Errors
    /// One is out of its range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let rate = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
        let ranges = [
            ("sessions", self.sessions, 1, SESSIONS_MAX),
            ("rooms", self.rooms, 1, 16 * ROOMS_MAX),
            ("members-per-room", self.members_per_room, 2, ROOM_MEMBERS_MAX),
            ("connections-per-address", self.connections_per_address, 1, SESSIONS_MAX),
            ("half-open", self.half_open, 8, SESSIONS_MAX),
            ("half-open-per-address", self.half_open_per_address, 1, SESSIONS_MAX),
            ("handshakes-per-second", rate(self.handshakes_per_second), 1, RATE_MAX),
            ("handshake-burst", rate(self.handshake_burst), 1, RATE_MAX),
            ("identities-per-hour", rate(self.identities_per_hour), 1, RATE_MAX),
            ("identity-burst", rate(self.identity_burst), 1, RATE_MAX),
            ("requests-per-second", rate(self.requests_per_second), 5, RATE_MAX),
            ("request-burst", rate(self.request_burst), 30, RATE_MAX),
            ("chats-per-second", rate(self.chats_per_second), 1, RATE_MAX),
            ("chat-burst", rate(self.chat_burst), 1, RATE_MAX),
            ("text-bytes-per-second", rate(self.text_bytes_per_second), 512, RATE_MAX),
            ("text-bytes-burst", rate(self.text_bytes_burst), TEXT_BYTES_MAX, RATE_MAX),
            ("room-text-bytes-per-second", rate(self.room_text_bytes_per_second), 512, RATE_MAX),
            ("room-text-bytes-burst", rate(self.room_text_bytes_burst), TEXT_BYTES_MAX, RATE_MAX),
            ("room-history-lines", self.room_history_lines, 0, ROOM_HISTORY_LINES_MAX),
            ("told-bytes-per-second", rate(self.told_bytes_per_second), 512, RATE_MAX),
            ("told-bytes-burst", rate(self.told_bytes_burst), TEXT_BYTES_MAX, RATE_MAX),
            ("joins-per-minute", rate(self.joins_per_minute), 1, RATE_MAX),
            ("join-burst", rate(self.join_burst), 1, RATE_MAX),
            ("renames-per-minute", rate(self.renames_per_minute), 1, RATE_MAX),
            ("rename-burst", rate(self.rename_burst), 1, RATE_MAX),
            ("heard-at-once", self.heard_at_once, 0, HEARD_AT_ONCE_MAX),
            ("voice-packets-per-second", rate(self.voice_packets_per_second), 20, 2000),
            ("voice-bytes-per-second", rate(self.voice_bytes_per_second), 4096, 4 << 20),
            ("queued-bytes", self.queued_bytes, 128 * 1024, 64 << 20),
        ];
        let wrong =
            ranges.into_iter().find(|(_, value, least, most)| value < least || value > most);
        match wrong {
            None => Ok(()),
            Some((name, value, least, most)) => Err(OutOfRange { name, value, least, most }),
        }
    }
}

/// Highest rate and burst that can be set.
const RATE_MAX: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_as_by_default_and_what_is_unknown_is_refused() {
        let limits: Limits = toml::from_str("members-per-room = 10").unwrap();
        assert_eq!(limits, Limits { members_per_room: 10, ..Limits::default() });
        let error = toml::from_str::<Limits>("members-per-rom = 10").unwrap_err().to_string();
        assert!(error.contains("members-per-rom") && error.contains("members-per-room"), "{error}");
    }

    #[test]
    fn the_defaults_can_be_kept_and_the_impossible_is_named() {
        Limits::default().check().unwrap();
        Limits::loosest().check().unwrap();
        let error = Limits { members_per_room: 5000, ..Limits::default() }.check().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the limit members-per-room is 5000; it can be from 2 to 1024"
        );
        assert!(Limits { queued_bytes: 0, ..Limits::default() }.check().is_err());
        assert!(Limits { identities_per_hour: 0, ..Limits::default() }.check().is_err());
    }
}
