//! The rules of one session: what a client may say when, and how often. Pure.

use crate::actors::bucket::{Bucket, Rate};
use crate::actors::limits::{Limits, text_cost};
use crate::net::limits::{
    IGNORED_BURST, IGNORED_PER_SECOND, REQUEST_BURST, REQUEST_COST_PASSWORD,
    REQUEST_COST_TEXT_BYTES, REQUEST_COST_WIDE, TEXT_BYTES_MAX,
};
use crate::net::message::{ClientMessage, ErrorCode, MemberState, ServerMessage};
use crate::net::moderation::Moderation;
use crate::net::secret::Password;
use std::time::{Duration, Instant};

/// What a client's message asks of the server.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Go into this room.
    Join {
        /// Its name.
        room: String,
        /// Its password.
        password: Option<Password>,
        /// The last text that he has heard in it.
        after: Option<u64>,
    },
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
    /// Keep the name for him, with this password; or no longer.
    Register(Option<Password>),
    /// Keep order.
    Moderate(Moderation),
    /// Microphone and ears are like this now.
    State(MemberState),
    /// The connection is about to end on purpose.
    Bye,
    /// Answer with this at once.
    Answer(ServerMessage),
    /// Nothing at all: it came too often to deserve an answer.
    Ignore,
    /// End the connection: it sends far too much.
    CutOff,
}

/// The state of one session.
#[derive(Debug)]
pub struct SessionCore {
    secure: bool,
    requests: Bucket,
    chats: Bucket,
    text_bytes: Bucket,
    joins: Bucket,
    renames: Bucket,
    /// What may still come too fast before the session is cut off.
    patience: Bucket,
    warned: bool,
}

impl SessionCore {
    /// A session that has just come in; `secure` where nobody else can read its connection.
    #[must_use]
    pub fn new(secure: bool, limits: &Limits, now: Instant) -> Self {
        Self {
            secure,
            requests: Bucket::full(limits.requests(), now),
            chats: Bucket::full(limits.chats(), now),
            text_bytes: Bucket::full(limits.text_bytes(), now),
            joins: Bucket::full(limits.joins(), now),
            renames: Bucket::full(limits.renames(), now),
            patience: Bucket::full(IGNORED, now),
            warned: false,
        }
    }

    /// What a message means. `None` for one that could not be read.
    pub fn handle(&mut self, message: Option<ClientMessage>, now: Instant) -> Request {
        let cost = f64::from(message.as_ref().map_or(1, cost));
        if let Err(wait) = self.pay(cost, message.as_ref(), now) {
            if !self.patience.has(1.0, now) {
                return Request::CutOff;
            }
            self.patience.spend(1.0);
            // One answer for a flood, not one for each of its messages.
            let first = !std::mem::replace(&mut self.warned, true);
            let retry = ("retry_ms", wait.as_millis().max(1).to_string());
            return if first { error(ErrorCode::TooFast, [retry]) } else { Request::Ignore };
        }
        self.warned = false;
        match message {
            None => error(ErrorCode::BadMessage, []),
            Some(message) if !self.secure && brings_password(&message) => {
                error(ErrorCode::NeedsTls, [])
            }
            Some(message) => read(message),
        }
    }

    /// Takes what a message costs out of every bucket that it falls into, or out of none.
    ///
    /// # Errors
    /// How long until there is enough.
    fn pay(
        &mut self,
        cost: f64,
        message: Option<&ClientMessage>,
        now: Instant,
    ) -> Result<(), Duration> {
        if !self.requests.has(cost, now) {
            return Err(self.requests.wait(cost));
        }
        let bytes = message.and_then(text).map_or(0.0, text_cost);
        if !self.text_bytes.has(bytes, now) {
            return Err(self.text_bytes.wait(bytes));
        }
        if let Some(kind) = self.of_kind(message) {
            if !kind.has(1.0, now) {
                return Err(kind.wait(1.0));
            }
            kind.spend(1.0);
        }
        self.text_bytes.spend(bytes);
        self.requests.spend(cost);
        Ok(())
    }

    /// What is counted for itself, beside what all messages have in common.
    fn of_kind(&mut self, message: Option<&ClientMessage>) -> Option<&mut Bucket> {
        match message? {
            ClientMessage::Chat { .. } | ClientMessage::Private { .. } => Some(&mut self.chats),
            ClientMessage::Join { .. } => Some(&mut self.joins),
            ClientMessage::Rename { .. } => Some(&mut self.renames),
            _ => None,
        }
    }
}

/// What comes too fast before the session is cut off.
const IGNORED: Rate = Rate { per_second: IGNORED_PER_SECOND as f64, burst: IGNORED_BURST as f64 };

/// What is said in a message, if it is a text.
fn text(message: &ClientMessage) -> Option<&str> {
    match message {
        // What is too long is refused, and costs as much as a request.
        ClientMessage::Chat { text } | ClientMessage::Private { text, .. } => {
            Some(text).filter(|text| text.len() <= TEXT_BYTES_MAX).map(String::as_str)
        }
        _ => None,
    }
}

/// What a message counts for: what it makes the server write.
fn cost(message: &ClientMessage) -> u32 {
    let said = |text: &str| {
        1 + u32::try_from(text.len() / REQUEST_COST_TEXT_BYTES).unwrap_or(REQUEST_BURST)
    };
    match message {
        message if brings_password(message) => REQUEST_COST_PASSWORD,
        ClientMessage::Chat { text } | ClientMessage::Private { text, .. } => said(text),
        ClientMessage::Join { .. }
        | ClientMessage::ListRooms
        | ClientMessage::ListUsers { .. }
        | ClientMessage::Moderate { .. }
        | ClientMessage::Rename { .. } => REQUEST_COST_WIDE,
        _ => 1,
    }
}

/// Whether there is a password in it, which no eavesdropper may see and which takes time to hash.
fn brings_password(message: &ClientMessage) -> bool {
    matches!(
        message,
        ClientMessage::Join { password: Some(_), .. }
            | ClientMessage::Register { .. }
            | ClientMessage::Moderate { order: Moderation::RoomPassword { password: Some(_), .. } }
    )
}

fn error<const N: usize>(code: ErrorCode, args: [(&str, String); N]) -> Request {
    Request::Answer(ServerMessage::error(code, args))
}

fn read(message: ClientMessage) -> Request {
    match message {
        ClientMessage::Hello(_) => error(ErrorCode::HelloTwice, []),
        ClientMessage::Join { room, password, after } => Request::Join { room, password, after },
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
        ClientMessage::Register { password } => Request::Register(Some(password)),
        ClientMessage::Unregister => Request::Register(None),
        ClientMessage::Moderate { order } => Request::Moderate(order),
        ClientMessage::Unknown => error(ErrorCode::UnknownType, []),
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
    use crate::net::limits::REQUESTS_PER_SECOND;

    fn code(request: &Request) -> Option<ErrorCode> {
        match request {
            Request::Answer(ServerMessage::Error { code, .. }) => Some(*code),
            _ => None,
        }
    }

    #[test]
    fn texts_have_a_bound_and_no_escape_sequences() {
        let mut core = SessionCore::new(true, &Limits::default(), clock::now());
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
        let mut core = SessionCore::new(true, &Limits::default(), start);
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
    fn a_flood_that_does_not_end_is_cut_off_and_a_little_too_much_is_not() {
        let start = clock::now();
        let ping = || Some(ClientMessage::Ping { token: 1 });
        let mut core = SessionCore::new(true, &Limits::default(), start);
        let answered = std::iter::from_fn(|| {
            Some(core.handle(ping(), start)).filter(|request| *request != Request::CutOff)
        });
        assert_eq!(answered.count(), (REQUEST_BURST + IGNORED_BURST) as usize);
        // A tenth more than it may, for an hour.
        let mut core = SessionCore::new(true, &Limits::default(), start);
        let rate = REQUESTS_PER_SECOND + REQUESTS_PER_SECOND / 10;
        for k in 0..3600 * rate {
            let now = start + Duration::from_secs(1) * k / rate;
            assert_ne!(core.handle(ping(), now), Request::CutOff);
        }
    }

    #[test]
    fn joins_texts_and_new_names_have_rates_of_their_own_and_say_when_to_try_again() {
        let limits = Limits {
            join_burst: 2,
            joins_per_minute: 60,
            chat_burst: 3,
            rename_burst: 1,
            ..Limits::default()
        };
        let start = clock::now();
        let chat = || ClientMessage::Chat { text: "x".to_owned() };
        let rename = || ClientMessage::Rename { name: "x".to_owned() };
        let all: [(&dyn Fn() -> ClientMessage, u32); 3] =
            [(&|| ClientMessage::join("x"), 2), (&chat, 3), (&rename, 1)];
        for (message, burst) in all {
            let mut core = SessionCore::new(true, &limits, start);
            for _ in 0..burst {
                assert_eq!(code(&core.handle(Some(message()), start)), None);
            }
            let refused = core.handle(Some(message()), start);
            assert_eq!(code(&refused), Some(ErrorCode::TooFast));
            let Request::Answer(ServerMessage::Error { args, .. }) = refused else { panic!() };
            let wait = Duration::from_millis(args["retry_ms"].parse().unwrap());
            let ping = core.handle(Some(ClientMessage::Ping { token: 1 }), start);
            assert_eq!(code(&ping), None, "other requests go on");
            let soon = start + wait + Duration::from_millis(1);
            assert_eq!(code(&core.handle(Some(message()), soon)), None);
        }
    }

    #[test]
    fn long_texts_have_a_rate_by_their_bytes_and_other_requests_go_on() {
        let start = clock::now();
        let limits = Limits { text_bytes_burst: 8192, ..Limits::default() };
        let mut core = SessionCore::new(true, &limits, start);
        let long = || "x".repeat(TEXT_BYTES_MAX);
        let chat = || Some(ClientMessage::Chat { text: long() });
        let private = || Some(ClientMessage::Private { to: "ann".to_owned(), text: long() });
        assert_eq!(code(&core.handle(chat(), start)), None);
        for message in [chat(), private()] {
            let refused = core.handle(message, start);
            assert_eq!(code(&refused), Some(ErrorCode::TooFast));
            assert_eq!(code(&core.handle(Some(ClientMessage::Leave), start)), None);
        }
        let later = start + Duration::from_secs(2);
        assert_eq!(code(&core.handle(private(), later)), None);
    }

    #[test]
    fn no_password_is_taken_over_a_connection_that_others_can_read() {
        let password = || Password::new("secret".to_owned()).unwrap();
        for message in [
            ClientMessage::Register { password: password() },
            ClientMessage::Join { room: "x".to_owned(), password: Some(password()), after: None },
        ] {
            let mut core = SessionCore::new(false, &Limits::default(), clock::now());
            let answer = core.handle(Some(message.clone()), clock::now());
            assert_eq!(code(&answer), Some(ErrorCode::NeedsTls));
            let mut core = SessionCore::new(true, &Limits::default(), clock::now());
            assert_eq!(code(&core.handle(Some(message), clock::now())), None);
        }
    }

    #[test]
    fn what_cannot_be_read_or_is_not_known_is_a_typed_error() {
        let mut core = SessionCore::new(true, &Limits::default(), clock::now());
        assert_eq!(code(&core.handle(None, clock::now())), Some(ErrorCode::BadMessage));
        let unknown = core.handle(Some(ClientMessage::Unknown), clock::now());
        assert_eq!(code(&unknown), Some(ErrorCode::UnknownType));
    }
}
