//! The rules of one session: what a client may say when, and how often. Pure.

use crate::net::limits::{
    REQUEST_BURST, REQUEST_COST_TEXT_BYTES, REQUEST_COST_WIDE, REQUESTS_PER_SECOND, TEXT_BYTES_MAX,
};
use crate::net::message::{ClientMessage, ErrorCode, MemberState, ServerMessage};
use std::time::Instant;

/// What a client's message asks of the server.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Go into this room.
    Join(String),
    /// Go out of the room.
    Leave,
    /// Say this to the room.
    Say(String),
    /// Tell one user this.
    Tell {
        /// His name.
        to: String,
        /// What.
        text: String,
    },
    /// Which rooms are there?
    ListRooms,
    /// Who is in this room (or the own one)?
    ListUsers(Option<String>),
    /// Take another name.
    Rename(String),
    /// Microphone and ears are like this now.
    State(MemberState),
    /// The connection is about to end on purpose.
    Bye,
    /// Answer with this at once.
    Answer(ServerMessage),
    /// Nothing at all: it came too often to deserve an answer.
    Ignore,
}

/// The state of one session.
#[derive(Debug)]
pub struct SessionCore {
    tokens: f64,
    refilled: Instant,
    warned: bool,
}

impl SessionCore {
    /// A session that has just come in.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { tokens: f64::from(REQUEST_BURST), refilled: now, warned: false }
    }

    /// What a message means. `None` for one that could not be read.
    pub fn handle(&mut self, message: Option<ClientMessage>, now: Instant) -> Request {
        let since = now.saturating_duration_since(self.refilled).as_secs_f64();
        let burst = f64::from(REQUEST_BURST);
        self.tokens = (self.tokens + since * f64::from(REQUESTS_PER_SECOND)).min(burst);
        self.refilled = now;
        let cost = f64::from(message.as_ref().map_or(1, cost));
        if self.tokens < cost {
            // One answer for a flood, not one for each of its messages.
            let first = !std::mem::replace(&mut self.warned, true);
            return if first { error(ErrorCode::TooFast, []) } else { Request::Ignore };
        }
        self.tokens -= cost;
        self.warned = false;
        match message {
            None => error(ErrorCode::BadMessage, []),
            Some(message) => read(message),
        }
    }
}

/// What a message counts for: what it makes the server write.
fn cost(message: &ClientMessage) -> u32 {
    let text = |text: &str| {
        1 + u32::try_from(text.len() / REQUEST_COST_TEXT_BYTES).unwrap_or(REQUEST_BURST)
    };
    match message {
        ClientMessage::Chat { text: said } | ClientMessage::Private { text: said, .. } => {
            text(said)
        }
        ClientMessage::Join { .. }
        | ClientMessage::ListRooms
        | ClientMessage::ListUsers { .. }
        | ClientMessage::Rename { .. } => REQUEST_COST_WIDE,
        _ => 1,
    }
}

fn error<const N: usize>(code: ErrorCode, args: [(&str, String); N]) -> Request {
    Request::Answer(ServerMessage::error(code, args))
}

fn read(message: ClientMessage) -> Request {
    match message {
        ClientMessage::Hello(_) => error(ErrorCode::HelloTwice, []),
        ClientMessage::Join { room, .. } => Request::Join(room),
        ClientMessage::Leave => Request::Leave,
        ClientMessage::Chat { text } => with_text(text, Request::Say),
        ClientMessage::Private { to, text } => with_text(text, |text| Request::Tell { to, text }),
        ClientMessage::ListRooms => Request::ListRooms,
        ClientMessage::ListUsers { room } => Request::ListUsers(room),
        ClientMessage::Rename { name } => Request::Rename(name),
        ClientMessage::State(state) => Request::State(state),
        ClientMessage::Ping { token } => Request::Answer(ServerMessage::Pong { token }),
        ClientMessage::Bye => Request::Bye,
        // The connection hands it to the forwarder itself.
        ClientMessage::Voice { .. } => Request::Ignore,
        ClientMessage::Register { .. }
        | ClientMessage::Unregister
        | ClientMessage::Moderate { .. }
        | ClientMessage::Unknown => error(ErrorCode::UnknownType, []),
    }
}

fn with_text(text: String, request: impl FnOnce(String) -> Request) -> Request {
    if text.trim().is_empty() {
        error(ErrorCode::EmptyText, [])
    } else if text.len() > TEXT_BYTES_MAX {
        error(ErrorCode::TextTooLong, [("max", TEXT_BYTES_MAX.to_string())])
    } else {
        request(crate::net::name::printable(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;
    use std::time::Duration;

    fn code(request: &Request) -> Option<ErrorCode> {
        match request {
            Request::Answer(ServerMessage::Error { code, .. }) => Some(*code),
            _ => None,
        }
    }

    #[test]
    fn texts_have_a_bound_and_no_escape_sequences() {
        let mut core = SessionCore::new(clock::now());
        let mut say = |text: &str| {
            core.handle(Some(ClientMessage::Chat { text: text.to_owned() }), clock::now())
        };
        assert_eq!(say("a\u{1b}c"), Request::Say("a\u{FFFD}c".to_owned()));
        assert_eq!(code(&say("  ")), Some(ErrorCode::EmptyText));
        assert_eq!(code(&say(&"x".repeat(TEXT_BYTES_MAX + 1))), Some(ErrorCode::TextTooLong));
    }

    #[test]
    fn a_flood_gets_one_answer_and_then_the_average_rate() {
        let start = clock::now();
        let mut core = SessionCore::new(start);
        let mut ping = |at| core.handle(Some(ClientMessage::Ping { token: 1 }), at);
        for _ in 0..REQUEST_BURST {
            assert_eq!(ping(start), Request::Answer(ServerMessage::Pong { token: 1 }));
        }
        assert_eq!(code(&ping(start)), Some(ErrorCode::TooFast));
        assert_eq!(ping(start), Request::Ignore);
        let later = start + Duration::from_secs(1);
        for _ in 0..REQUESTS_PER_SECOND {
            assert_eq!(code(&ping(later)), None);
        }
        assert_eq!(code(&ping(later)), Some(ErrorCode::TooFast));
    }

    #[test]
    fn what_cannot_be_read_or_is_not_known_is_a_typed_error() {
        let mut core = SessionCore::new(clock::now());
        assert_eq!(code(&core.handle(None, clock::now())), Some(ErrorCode::BadMessage));
        let unknown = core.handle(Some(ClientMessage::Unknown), clock::now());
        assert_eq!(code(&unknown), Some(ErrorCode::UnknownType));
    }
}
