//! The rules of the control connection: greeting, room, requests and their answers, loss and
//! return. Pure: inputs and the time in, actions out.
//!
//! After a loss it comes back by itself, with the resume secret, to the same room and name, and
//! never with the microphone on. Only the first connection that fails ends the client.

use super::backoff::Backoff;
use super::request::{Asked, Pace, Pending, Request};
use super::roster::Roster;
use crate::client::event::{
    ErrorKind, Event, LocalError, LossCause, NoticeCode, Room, SessionNumber, Stats,
};
use crate::client::texts;
use crate::client::voice::{VoiceEvent, VoiceSession, VoiceStats};
use crate::net::codec::Codec;
use crate::net::ids::MemberId;
use crate::net::limits::{
    ANSWER_TIMEOUT, CONTROL_SILENCE_MAX, PING_INTERVAL, REQUEST_QUEUE_MAX, REQUESTS_OPEN_MAX,
    ROOM_MEMBERS_MAX, ROOMS_MAX,
};
use crate::net::message::{
    ClientMessage, Envelope, ErrorCode, GoodbyeReason, Hello, MemberInfo, MemberState,
    PROTOCOL_VERSION, Protection, RoomInfo, ServerMessage, Welcome,
};
use crate::net::name::{RoomName, UserName};
use crate::net::secret::ResumeSecret;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A connection that has lasted this long was good: the next loss is tried again at once.
const GOOD_AFTER: Duration = Duration::from_secs(10);

/// What the client was started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The server as the user wrote it, with its port.
    pub server: String,
    /// The wanted name.
    pub name: UserName,
    /// The room to enter.
    pub room: RoomName,
    /// Wins over the port that the server names.
    pub udp_port: Option<u16>,
    /// Microphone and ears at the start.
    pub state: MemberState,
    /// Client program and version.
    pub agent: String,
}

/// What happens to the connection.
#[derive(Debug)]
pub enum Input {
    /// The client starts.
    Start,
    /// The connection stands, with this address.
    Connected(SocketAddr),
    /// It could not be made.
    NotConnected(String),
    /// The server says something.
    Message(Envelope<ServerMessage>),
    /// The connection is not read because the console is behind: its silence means nothing.
    NotRead,
    /// The connection has ended.
    Ended {
        /// Why.
        cause: LossCause,
        /// The system's words.
        detail: String,
    },
    /// The console wants something.
    Request(Request),
    /// The voice side has news.
    Voice(VoiceEvent),
    /// The figures that were asked for.
    Stats(Box<VoiceStats>),
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Make a connection; one before it is over.
    Dial,
    /// The connection is over: drop it.
    HangUp,
    /// Send this.
    Send(Envelope<ClientMessage>),
    /// Tell the voice side.
    Voice(VoiceCommand),
    /// Ask the voice side for its figures.
    AskStats,
    /// Tell the user.
    Tell(Event),
    /// The client ends with this exit code, when what was sent is out.
    End(u8),
}

/// A call of the voice handle.
#[derive(Debug, Clone)]
pub enum VoiceCommand {
    /// A session has begun.
    Connect(Box<VoiceSession>),
    /// The session is over.
    Disconnect,
    /// We are in a room with these others.
    EnterRoom(Vec<MemberInfo>),
    /// We are in no room.
    LeaveRoom,
    /// A member has come or has other streams.
    Member(MemberInfo),
    /// A member has gone.
    MemberLeft(MemberId),
    /// The microphone.
    Transmit(bool),
    /// The ears.
    Deafened(bool),
}

/// Sessions hold keys, which have no equality worth the name: only the kind and ids are compared.
impl PartialEq for VoiceCommand {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Connect(a), Self::Connect(b)) => (a.id, a.server) == (b.id, b.server),
            (Self::Disconnect, Self::Disconnect) | (Self::LeaveRoom, Self::LeaveRoom) => true,
            (Self::EnterRoom(a), Self::EnterRoom(b)) => a == b,
            (Self::Member(a), Self::Member(b)) => a == b,
            (Self::MemberLeft(a), Self::MemberLeft(b)) => a == b,
            (Self::Transmit(a), Self::Transmit(b)) | (Self::Deafened(a), Self::Deafened(b)) => {
                a == b
            }
            _ => false,
        }
    }
}

/// Where the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// Nothing has begun.
    Idle,
    /// It is being made.
    Dialing,
    /// `Hello` is not answered yet.
    Greeting,
    /// The server knows us since then.
    Up(Instant),
    /// It is tried again then.
    Paused(Instant),
    /// The client has ended.
    Over,
}

/// The state of the control connection.
#[derive(Debug)]
pub struct ControlCore {
    settings: Settings,
    link: Link,
    peer: Option<SocketAddr>,
    session: SessionNumber,
    resume: Option<ResumeSecret>,
    state: MemberState,
    /// The server has not been told of the state yet.
    state_untold: bool,
    /// Where we want to be: the room we are in, or were in when the connection was lost.
    room: Option<RoomName>,
    /// A name chosen while there was no connection.
    other_name: Option<UserName>,
    roster: Roster,
    /// Pages of a room that we have just entered; whether its `Joined` goes untold.
    arriving: bool,
    untold: bool,
    /// Requests may go: the first room was entered (or refused).
    ready: bool,
    queue: VecDeque<Request>,
    open: BTreeMap<u32, Pending>,
    next_re: u32,
    stats_asked: usize,
    pace: Pace,
    heard_at: Instant,
    pinged_at: Instant,
    goodbye: Option<GoodbyeReason>,
    last_refusal: Option<ErrorCode>,
    backoff: Backoff,
    finishing: Option<Finish>,
    actions: Vec<Action>,
}

/// How far leaving politely has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finish {
    /// What is queued goes first.
    Draining,
    /// The answer to the barrier is awaited.
    Barrier,
}

impl ControlCore {
    /// A client that has not begun. `seed` spreads its attempts to come back.
    #[must_use]
    pub fn new(settings: Settings, seed: u64, now: Instant) -> Self {
        Self {
            link: Link::Idle,
            peer: None,
            session: SessionNumber(0),
            resume: None,
            state: settings.state,
            state_untold: false,
            room: Some(settings.room.clone()),
            other_name: None,
            roster: Roster::default(),
            arriving: false,
            untold: false,
            ready: false,
            queue: VecDeque::new(),
            open: BTreeMap::new(),
            next_re: 1,
            stats_asked: 0,
            pace: Pace::new(now),
            heard_at: now,
            pinged_at: now,
            goodbye: None,
            last_refusal: None,
            backoff: Backoff::new(seed),
            finishing: None,
            actions: Vec::new(),
            settings,
        }
    }

    /// How many requests wait to be sent.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Takes one input and says what is to be done, in this order.
    pub fn handle(&mut self, input: Input, now: Instant) -> Vec<Action> {
        if self.link != Link::Over {
            match input {
                Input::Start => {
                    let server = self.settings.server.clone();
                    self.tell(Event::Connecting { server });
                    self.voice(VoiceCommand::Deafened(self.state.deafened));
                    self.dial();
                }
                Input::Connected(peer) => self.connected(peer, now),
                Input::NotConnected(why) => self.lost(LossCause::Unreachable, why, now),
                Input::Message(message) => self.message(message, now),
                Input::NotRead => self.heard_at = now,
                Input::Ended { cause, detail } => self.lost(cause, detail, now),
                Input::Request(request) => self.request(request, now),
                Input::Voice(event) => self.voice_event(event),
                Input::Stats(stats) => self.stats(*stats),
                Input::Tick => self.tick(now),
            }
            self.drain(now);
        }
        std::mem::take(&mut self.actions)
    }

    // ---- coming and going -----------------------------------------------------------------

    fn dial(&mut self) {
        self.link = Link::Dialing;
        self.act(Action::Dial);
    }

    fn connected(&mut self, peer: SocketAddr, now: Instant) {
        if self.link != Link::Dialing {
            return;
        }
        self.link = Link::Greeting;
        (self.peer, self.heard_at, self.pinged_at) = (Some(peer), now, now);
        self.goodbye = None;
        self.state_untold = false;
        self.tell(Event::Connected { server: peer });
        let hello = Hello {
            version: PROTOCOL_VERSION,
            name: self.settings.name.to_string(),
            codecs: vec![Codec::Pcm],
            features: Vec::new(),
            agent: self.settings.agent.clone(),
            state: self.state,
            resume: self.resume.clone(),
        };
        self.ask(ClientMessage::Hello(hello), Asked::Hello, now);
    }

    fn welcome(&mut self, welcome: Welcome, now: Instant) {
        let Some(peer) = self.peer.filter(|_| self.link == Link::Greeting) else { return };
        if welcome.protection != Protection::Plain {
            return self.fail(ErrorKind::Local(LocalError::Protection), BTreeMap::new());
        }
        let again = self.session.0 > 0;
        self.session.0 += 1;
        self.link = Link::Up(now);
        self.last_refusal = None;
        self.resume = Some(welcome.resume);
        self.roster.me = Some(welcome.id);
        let port = self.settings.udp_port.unwrap_or(welcome.udp_port);
        self.voice(VoiceCommand::Connect(Box::new(VoiceSession {
            id: welcome.id,
            server: SocketAddr::new(peer.ip(), port),
            protection: welcome.protection,
            up_key: welcome.up_key,
            down_key: welcome.down_key,
            streams: welcome.streams,
            control_ssrc: welcome.control_ssrc,
        })));
        self.tell(Event::Welcome {
            id: welcome.id,
            name: welcome.name.clone(),
            agent: welcome.agent,
            resumed: welcome.resumed,
            session: self.session,
        });
        if again {
            self.tell(Event::Notice { code: NoticeCode::Back });
        }
        match self.other_name.take().filter(|name| *name != welcome.name) {
            Some(name) => self.send_request(Request::Rename(name.into()), now),
            None => self.settings.name = welcome.name,
        }
        match self.room.clone() {
            Some(room) => self.send_request(Request::Join(room.into()), now),
            None => self.ready = true,
        }
    }

    /// The connection is gone, or could not be made, or is given up.
    fn lost(&mut self, cause: LossCause, detail: String, now: Instant) {
        let was_up = match self.link {
            Link::Up(since) => {
                if now.saturating_duration_since(since) >= GOOD_AFTER {
                    self.backoff.reset();
                }
                true
            }
            Link::Dialing | Link::Greeting => false,
            Link::Idle | Link::Paused(_) | Link::Over => return,
        };
        let (cause, detail) = match self.goodbye.take() {
            Some(reason) => (LossCause::Goodbye, texts::goodbye(reason).to_owned()),
            None => (cause, detail),
        };
        self.act(Action::HangUp);
        self.voice(VoiceCommand::Transmit(false));
        self.voice(VoiceCommand::Disconnect);
        self.roster.clear();
        (self.arriving, self.untold, self.ready) = (false, false, false);
        self.state.muted = true;
        if self.session.0 == 0 {
            return self.never_came_up(cause, detail);
        }
        let open = std::mem::take(&mut self.open);
        for Pending { asked, .. } in open.into_values() {
            if let Asked::Request(request) = asked {
                self.tell_about(LocalError::LostUnanswered, &request);
            }
        }
        for request in std::mem::take(&mut self.queue) {
            self.tell_about(LocalError::NotConnected, &request);
        }
        let pause = self.backoff.pause();
        let retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.link = Link::Paused(now + pause);
        let attempt = self.backoff.failures();
        self.tell(match was_up {
            true => Event::Lost { why: cause, detail, retry_ms },
            false => Event::Retrying { attempt, why: cause, detail, retry_ms },
        });
        if self.finishing.is_some() {
            self.end(1);
        }
    }

    /// The first connection has failed: nothing is lost yet, and the user stands at the keyboard.
    fn never_came_up(&mut self, cause: LossCause, why: String) {
        let code = match cause {
            LossCause::Unreachable | LossCause::Failed | LossCause::Goodbye => {
                LocalError::CannotConnect
            }
            _ => LocalError::NotParlor,
        };
        let why = match cause {
            LossCause::Closed => "it closed the connection".to_owned(),
            LossCause::Silence => "it says nothing".to_owned(),
            LossCause::Garbled => "what it says makes no sense".to_owned(),
            _ => why,
        };
        let server = self.settings.server.clone();
        let args = [("server", server), ("why", why)];
        let args = args.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        self.fail(ErrorKind::Local(code), args);
    }

    /// `Hello` was refused.
    fn refused(&mut self, code: ErrorCode, args: BTreeMap<String, String>, now: Instant) {
        if self.session.0 == 0 {
            return self.fail(ErrorKind::Server(code), args);
        }
        // Said once, then only as the reason of the attempts.
        let detail = texts::error(ErrorKind::Server(code), &args);
        if self.last_refusal.replace(code) != Some(code) {
            self.tell(Event::Error { code: ErrorKind::Server(code), args, fatal: false });
        }
        self.lost(LossCause::Refused, detail, now);
    }

    fn fail(&mut self, code: ErrorKind, args: BTreeMap<String, String>) {
        self.tell(Event::Error { code, args, fatal: true });
        self.end(1);
    }

    fn end(&mut self, code: u8) {
        if matches!(self.link, Link::Up(_)) {
            self.act(Action::Send(Envelope::event(ClientMessage::Bye)));
        }
        self.link = Link::Over;
        self.voice(VoiceCommand::Transmit(false));
        self.voice(VoiceCommand::Disconnect);
        if code == 0 {
            self.tell(Event::Bye);
        }
        self.act(Action::End(code));
    }

    fn tick(&mut self, now: Instant) {
        match self.link {
            Link::Paused(until) if now >= until => self.dial(),
            Link::Greeting | Link::Up(_)
                if now.saturating_duration_since(self.heard_at) >= CONTROL_SILENCE_MAX =>
            {
                self.lost(LossCause::Silence, String::new(), now);
            }
            Link::Up(_) => {
                if now.saturating_duration_since(self.pinged_at) >= PING_INTERVAL {
                    self.pinged_at = now;
                    self.ask(ClientMessage::Ping { token: 0 }, Asked::Ping, now);
                }
                self.expire(now);
            }
            _ => {}
        }
    }

    /// Gives up on answers that do not come.
    fn expire(&mut self, now: Instant) {
        let late = |_: &u32, pending: &mut Pending| {
            now.saturating_duration_since(pending.at) >= ANSWER_TIMEOUT
        };
        let expired: Vec<Pending> = self.open.extract_if(.., late).map(|(_, p)| p).collect();
        for pending in expired {
            match pending.asked {
                Asked::Request(request) => {
                    self.ready |= matches!(request, Request::Join(_));
                    self.tell_about(LocalError::NoAnswer, &request);
                }
                Asked::Barrier => self.end(1),
                Asked::Hello | Asked::State | Asked::Ping => {}
            }
        }
    }

    // ---- what the user wants --------------------------------------------------------------

    fn request(&mut self, request: Request, now: Instant) {
        match request {
            Request::Quit => self.end(0),
            Request::Finish => self.finishing = Some(Finish::Draining),
            Request::Microphone { open } => {
                self.state_untold |= self.state.muted == open;
                self.state.muted = !open;
            }
            Request::Deafen(on) => {
                self.state_untold |= self.state.deafened != on;
                self.state.deafened = on;
                self.voice(VoiceCommand::Deafened(on));
            }
            Request::Transmit { on: false, .. } => self.voice(VoiceCommand::Transmit(false)),
            Request::Transmit { on: true, session } => {
                // A key that was pressed in a lost session must not open the microphone in the next.
                let here = matches!(self.link, Link::Up(_)) && self.roster.room().is_some();
                if here && session == self.session {
                    self.voice(VoiceCommand::Transmit(true));
                }
            }
            _ if self.session.0 > 0 && !matches!(self.link, Link::Up(_)) => {
                self.offline(request, now);
            }
            _ if self.queue.len() >= REQUEST_QUEUE_MAX => {
                self.tell_about(LocalError::QueueFull, &request);
            }
            _ => self.queue.push_back(request),
        }
    }

    /// A request while the connection is lost: what can wait for its return does.
    fn offline(&mut self, request: Request, now: Instant) {
        match request {
            Request::Rename(name) => match UserName::parse(&name) {
                Ok(name) => {
                    (self.settings.name, self.other_name) = (name.clone(), Some(name));
                    self.link = match self.link {
                        Link::Paused(_) => Link::Paused(now),
                        link => link,
                    };
                    self.tell(Event::Notice { code: NoticeCode::WhenBack });
                    self.tick(now);
                }
                Err(error) => self.tell_bad(ErrorCode::BadName, &error.to_string()),
            },
            Request::Join(room) => match RoomName::parse(&room) {
                Ok(room) => {
                    self.room = Some(room);
                    self.tell(Event::Notice { code: NoticeCode::WhenBack });
                }
                Err(error) => self.tell_bad(ErrorCode::BadRoom, &error.to_string()),
            },
            Request::Leave => {
                self.room = None;
                self.tell(Event::Notice { code: NoticeCode::WhenBack });
            }
            Request::Stats => self.ask_stats(),
            request => self.tell_about(LocalError::NotConnected, &request),
        }
    }

    /// Sends what may go now.
    fn drain(&mut self, now: Instant) {
        if !matches!(self.link, Link::Up(_)) || !self.ready {
            return;
        }
        if self.state_untold && self.pace.take(now) {
            self.state_untold = false;
            self.ask(ClientMessage::State(self.state), Asked::State, now);
        }
        while self.open.len() < REQUESTS_OPEN_MAX && !self.queue.is_empty() && self.pace.take(now) {
            let Some(request) = self.queue.pop_front() else { break };
            match request {
                Request::Stats => self.ask_stats(),
                request => self.send_request(request, now),
            }
        }
        let drained = self.queue.is_empty() && !self.state_untold && self.stats_asked == 0;
        if drained && self.finishing == Some(Finish::Draining) {
            // The server answers in order: what it has not answered by then it never will.
            self.finishing = Some(Finish::Barrier);
            self.ask(ClientMessage::Ping { token: 1 }, Asked::Barrier, now);
        }
    }

    fn send_request(&mut self, request: Request, now: Instant) {
        if let Some(message) = request.message() {
            self.ask(message, Asked::Request(request), now);
        }
    }

    fn ask(&mut self, message: ClientMessage, asked: Asked, now: Instant) {
        let re = self.next_re;
        self.next_re = self.next_re.wrapping_add(1);
        self.open.insert(re, Pending::new(asked, now));
        self.act(Action::Send(Envelope { re: Some(re), body: message }));
    }

    fn ask_stats(&mut self) {
        self.stats_asked += 1;
        self.act(Action::AskStats);
    }

    // ---- what the server says -------------------------------------------------------------

    fn message(&mut self, Envelope { re, body }: Envelope<ServerMessage>, now: Instant) {
        if !matches!(self.link, Link::Greeting | Link::Up(_)) {
            return;
        }
        self.heard_at = now;
        match body {
            ServerMessage::Goodbye { reason } => self.said_goodbye(reason),
            ServerMessage::Welcome(welcome) => {
                self.close(re);
                self.welcome(*welcome, now);
            }
            ServerMessage::Error { code, args } => self.failed(re, code, args, now),
            // Nothing else can come before the welcome.
            _ if self.link == Link::Greeting => {}
            ServerMessage::Joined { room, members, more, .. } => {
                self.joined(re, room, members, more);
            }
            ServerMessage::Members { members, more } => self.more_members(members, more),
            ServerMessage::Left { room } => {
                self.close(re);
                self.room = None;
                self.roster.clear();
                self.voice(VoiceCommand::Transmit(false));
                self.voice(VoiceCommand::LeaveRoom);
                self.tell(Event::Left { room });
            }
            ServerMessage::MemberJoined { member, .. } => {
                self.voice_member(&member);
                let events = self.roster.joined(member);
                self.tell_all(events);
            }
            ServerMessage::MemberLeft { id, name, reason, .. } => {
                self.voice(VoiceCommand::MemberLeft(id));
                let events = self.roster.left(id, name, reason);
                self.tell_all(events);
            }
            ServerMessage::MemberChanged { member, renamed_from } => {
                let (events, other_streams) = self.roster.changed(member.clone(), renamed_from);
                if other_streams {
                    self.voice_member(&member);
                }
                self.tell_all(events);
            }
            ServerMessage::Rooms { rooms, total, more } => self.rooms(re, rooms, total, more),
            ServerMessage::Users { room, members, total, more } => {
                self.users(re, room, members, total, more);
            }
            body => self.answer(re, body),
        }
    }

    /// Answers that need no more than to be told.
    fn answer(&mut self, re: Option<u32>, body: ServerMessage) {
        let asked = self.close(re);
        match body {
            ServerMessage::Chat { id, name, text, at_ms } => {
                let you = self.roster.me == Some(id);
                self.tell(Event::Chat { id, name, text, at_ms, you });
            }
            ServerMessage::Private { from, to, text, at_ms } => {
                let you = asked.is_some();
                self.tell(Event::Private { from, to, text, at_ms, you });
            }
            ServerMessage::Renamed { name } => {
                self.settings.name = name.clone();
                self.tell(Event::Renamed { name });
            }
            ServerMessage::Changed(MemberState { muted, deafened }) => {
                self.tell(Event::State { muted, deafened });
            }
            ServerMessage::Pong { .. } => {
                if let Some(Pending { asked: Asked::Barrier, .. }) = asked {
                    self.end(0);
                }
            }
            _ => {}
        }
    }

    fn failed(
        &mut self,
        re: Option<u32>,
        code: ErrorCode,
        args: BTreeMap<String, String>,
        now: Instant,
    ) {
        let asked = self.close(re).map(|pending| pending.asked);
        if asked == Some(Asked::Hello) || self.link == Link::Greeting {
            return self.refused(code, args, now);
        }
        if matches!(asked, Some(Asked::Request(Request::Join(_)))) {
            // No room is a state to go on from: /join works, and what was queued gets its answers.
            self.ready = true;
        }
        self.tell(Event::Error { code: ErrorKind::Server(code), args, fatal: false });
    }

    fn said_goodbye(&mut self, reason: GoodbyeReason) {
        self.tell(Event::Goodbye { reason });
        self.goodbye = Some(reason);
        if reason == GoodbyeReason::Resumed {
            // Coming back would take the session from whoever has it now, again and again.
            self.fail(ErrorKind::Local(LocalError::TakenOver), BTreeMap::new());
        }
    }

    fn joined(&mut self, re: Option<u32>, room: RoomName, members: Vec<MemberInfo>, more: bool) {
        let ours = self.close(re).is_some();
        let asked = |pending: &Pending| matches!(pending.asked, Asked::Request(Request::Join(_)));
        // A resumed session is put into its room by the server; our own request follows at once.
        self.untold = !ours && self.open.values().any(asked);
        self.room = Some(room.clone());
        self.roster.enter(room, members);
        self.arriving = true;
        self.arrive(more);
    }

    fn more_members(&mut self, members: Vec<MemberInfo>, more: bool) {
        if self.arriving {
            self.roster.add(members);
            self.arrive(more);
        }
    }

    fn arrive(&mut self, more: bool) {
        if more {
            return;
        }
        self.arriving = false;
        self.voice(VoiceCommand::EnterRoom(self.roster.others()));
        if !self.untold
            && let Some(room) = self.roster.room().cloned()
        {
            self.ready = true;
            self.tell(Event::Joined { room, members: self.roster.people() });
        }
    }

    fn rooms(&mut self, re: Option<u32>, rooms: Vec<RoomInfo>, total: u64, more: bool) {
        let Some(pending) = re.and_then(|re| self.open.get_mut(&re)) else { return };
        let room_left = ROOMS_MAX.saturating_sub(pending.rooms.len());
        pending.rooms.extend(rooms.into_iter().take(room_left));
        if more {
            return;
        }
        let rooms = self.close(re).map(|pending| pending.rooms).unwrap_or_default();
        let here = |name: &RoomName| self.roster.room() == Some(name);
        let rooms = rooms.into_iter().map(|RoomInfo { name, members }| {
            let here = here(&name);
            Room { name, members, here }
        });
        let rooms = rooms.collect();
        self.tell(Event::Rooms { rooms, total });
    }

    fn users(
        &mut self,
        re: Option<u32>,
        room: RoomName,
        members: Vec<MemberInfo>,
        total: u64,
        more: bool,
    ) {
        let Some(pending) = re.and_then(|re| self.open.get_mut(&re)) else { return };
        let room_left = ROOM_MEMBERS_MAX.saturating_sub(pending.members.len());
        pending.members.extend(members.into_iter().take(room_left));
        if more {
            return;
        }
        let members = self.close(re).map(|pending| pending.members).unwrap_or_default();
        let members = members.iter().map(|member| self.roster.person(member)).collect();
        self.tell(Event::Users { room, members, total });
    }

    fn close(&mut self, re: Option<u32>) -> Option<Pending> {
        self.open.remove(&re?)
    }

    // ---- the voice side -------------------------------------------------------------------

    fn voice_event(&mut self, event: VoiceEvent) {
        match event {
            VoiceEvent::DeviceUp { direction, description } => {
                self.tell(Event::DeviceUp { direction: direction.into(), description });
            }
            VoiceEvent::DeviceDown { direction, name, error } => {
                self.tell(Event::DeviceDown { direction: direction.into(), name, error });
            }
            VoiceEvent::Speaking { id, on } => {
                let event = self.roster.heard(id, on);
                self.tell_all(event);
            }
            VoiceEvent::Path(path) => self.tell(Event::Path { path: path.into() }),
            // Voice never comes this way: the shell hands it to the connection itself.
            VoiceEvent::ToServer(_) => {}
        }
    }

    fn voice_member(&mut self, member: &MemberInfo) {
        if self.roster.me != Some(member.id) {
            self.voice(VoiceCommand::Member(member.clone()));
        }
    }

    fn stats(&mut self, stats: VoiceStats) {
        self.stats_asked = self.stats_asked.saturating_sub(1);
        let stats = Stats::new(stats, |id| self.roster.name_of(id));
        self.tell(Event::Stats(Box::new(stats)));
    }

    // ---- actions --------------------------------------------------------------------------

    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn voice(&mut self, command: VoiceCommand) {
        self.act(Action::Voice(command));
    }

    fn tell(&mut self, event: Event) {
        self.act(Action::Tell(event));
    }

    fn tell_all(&mut self, events: impl IntoIterator<Item = Event>) {
        events.into_iter().for_each(|event| self.tell(event));
    }

    fn tell_about(&mut self, code: LocalError, request: &Request) {
        self.tell(Event::error(code, [("what", request.describe())]));
    }

    fn tell_bad(&mut self, code: ErrorCode, why: &str) {
        let args = [("why".to_owned(), why.to_owned())].into_iter().collect();
        self.tell(Event::Error { code: ErrorKind::Server(code), args, fatal: false });
    }
}

#[cfg(test)]
mod tests;
