//! The rules of the control connection: greeting, room, requests and their answers, loss and
//! return. Pure: inputs and the time in, actions out.
//!
//! After a loss it comes back by itself, with the resume secret, to the same room and name, and
//! never with the microphone on. Only the first connection that fails ends the client.

use super::backoff::Backoff;
use super::dial::{DialError, Trust};
pub use super::port::{Action, Input, Settings, VoiceCommand};
use super::protection;
use super::request::{Asked, Pace, Pending, Request};
use super::roster::Roster;
use crate::client::event::{ErrorKind, Event, LocalError, LossCause, NoticeCode, SessionNumber};
use crate::client::texts;
use crate::client::voice::{Sound, Transmit, VoiceSession};
use crate::net::device::{ChannelBinding, DeviceProof};
use crate::net::ids::MemberId;
use crate::net::limits::{
    ANSWER_TIMEOUT, CONTROL_SILENCE_MAX, PING_INTERVAL, REQUEST_QUEUE_MAX, REQUESTS_OPEN_MAX,
};
use crate::net::message::{
    ClientMessage, Envelope, ErrorCode, GoodbyeReason, MemberState, Standing, Welcome,
};
use crate::net::name::{RoomName, UserName};
use crate::net::secret::ResumeSecret;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A connection that has lasted this long was good: the next loss is tried again at once.
const GOOD_AFTER: Duration = Duration::from_secs(3);
/// Rooms of which it is known how far they were heard.
const ROOMS_HEARD_MAX: usize = 256;

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
    /// It is tried again when the user has typed a password.
    Asking,
    /// The client has ended.
    Over,
}

/// The state of the control connection.
#[derive(Debug)]
pub struct ControlCore {
    settings: Settings,
    link: Link,
    peer: Option<SocketAddr>,
    /// Why the server at the other end is believed.
    trust: Trust,
    door: Door,
    /// That this device is there, for the present connection.
    proof: Option<DeviceProof>,
    session: SessionNumber,
    resume: Option<ResumeSecret>,
    state: MemberState,
    /// The server has not been told of the state yet.
    state_untold: bool,
    /// Where we want to be: the room we are in, or were in when the connection was lost.
    room: Option<RoomName>,
    /// The user has left his room while there was no connection.
    wants_out: bool,
    /// What the server thinks of us, and in which room.
    standing: (Standing, Option<RoomName>),
    /// A name chosen while there was no connection.
    other_name: Option<UserName>,
    roster: Roster,
    /// The last text that was heard in each room, by its name in one case.
    heard: BTreeMap<String, u64>,
    /// Pages of a room that we have just entered; whether its `Joined` goes untold.
    arriving: bool,
    untold: bool,
    /// Requests may go: the first room was entered (or refused).
    ready: bool,
    queue: VecDeque<Request>,
    open: BTreeMap<u32, Pending>,
    next_re: u32,
    stats_asked: usize,
    /// What of sound devices was asked for and is not answered yet.
    devices: Devices,
    /// Voice goes through the control connection.
    voice_by_stream: bool,
    pace: Pace,
    heard_at: Instant,
    pinged_at: Instant,
    goodbye: Option<GoodbyeReason>,
    last_refusal: Option<ErrorCode>,
    backoff: Backoff,
    finishing: Option<Finish>,
    recording: Recording,
    /// What the voice side knows of volumes.
    factors: BTreeMap<MemberId, f32>,
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
    pub fn new(mut settings: Settings, seed: u64, now: Instant) -> Self {
        Self {
            link: Link::Idle,
            peer: None,
            trust: Trust::Plain,
            door: Door::new(std::mem::take(&mut settings.keys)),
            proof: None,
            session: SessionNumber(0),
            resume: None,
            state: settings.state,
            state_untold: false,
            room: Some(settings.room.clone()),
            wants_out: false,
            standing: (Standing::default(), None),
            other_name: None,
            roster: Roster::default(),
            heard: BTreeMap::new(),
            arriving: false,
            untold: false,
            ready: false,
            queue: VecDeque::new(),
            open: BTreeMap::new(),
            next_re: 1,
            stats_asked: 0,
            devices: Devices::default(),
            voice_by_stream: false,
            pace: Pace::new(now),
            heard_at: now,
            pinged_at: now,
            goodbye: None,
            last_refusal: None,
            backoff: Backoff::new(seed),
            finishing: None,
            recording: Recording::Off,
            factors: BTreeMap::new(),
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
                Input::Connected { server, binding, trust } => {
                    self.connected(server, binding.as_ref(), trust, now);
                }
                Input::NotConnected(DialError::Unreachable(why)) => {
                    self.lost(LossCause::Unreachable, why, now);
                }
                Input::NotConnected(DialError::Untrusted { code, args }) => {
                    self.fail(ErrorKind::Local(code), args);
                }
                Input::Message(message) => self.message(message, now),
                Input::NotRead => self.heard_at = now,
                Input::Ended { cause, detail } => self.lost(cause, detail, now),
                Input::Request(request) => self.request(request, now),
                Input::Voice(event) => self.voice_event(event),
                Input::Stats(stats) => self.stats(*stats),
                Input::Slept => self.slept(),
                Input::Tick => self.tick(now),
            }
            self.apply_volumes();
            self.drain(now);
        }
        std::mem::take(&mut self.actions)
    }

    // ---- coming and going -----------------------------------------------------------------

    fn dial(&mut self) {
        self.link = Link::Dialing;
        self.act(Action::Dial);
    }

    fn connected(
        &mut self,
        peer: SocketAddr,
        binding: Option<&ChannelBinding>,
        trust: Trust,
        now: Instant,
    ) {
        if self.link != Link::Dialing {
            return;
        }
        self.link = Link::Greeting;
        (self.peer, self.trust, self.heard_at, self.pinged_at) = (Some(peer), trust, now, now);
        self.goodbye = None;
        self.state_untold = false;
        self.tell(Event::Connected { server: peer, trust: trust.into() });
        self.tell_trust(trust);
        // The proof is good on this connection only: whoever is shown it cannot pass it on.
        let device = self.settings.device.as_ref().zip(binding);
        self.proof = device.map(|(key, binding)| key.prove(binding));
        self.knock(now);
    }

    /// What the user should know of the server's identity.
    fn tell_trust(&mut self, trust: Trust) {
        let server = self.settings.server.clone();
        match trust {
            Trust::Plain if self.session.0 == 0 => {
                self.tell(Event::Notice { code: NoticeCode::Unencrypted });
            }
            Trust::FirstUse(fingerprint) => {
                self.tell(Event::NewServer { server, fingerprint: fingerprint.to_string() });
            }
            Trust::Plain | Trust::Known | Trust::Certificate => {}
        }
    }

    fn welcome(&mut self, welcome: Welcome, now: Instant) {
        let Some(peer) = self.peer.filter(|_| self.link == Link::Greeting) else { return };
        if let Err(error) = protection::accept(self.trust, welcome.protection) {
            return self.fail(ErrorKind::Local(error), BTreeMap::new());
        }
        let again = self.session.0 > 0 && !self.door.on_the_way();
        self.door.passed();
        self.session.0 += 1;
        self.link = Link::Up(now);
        self.last_refusal = None;
        self.resume = Some(welcome.resume);
        self.wants_out &= welcome.resumed;
        if !welcome.resumed {
            self.roster.renumbered();
            self.factors.clear();
        }
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
        self.stand(welcome.standing);
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
            Link::Idle | Link::Paused(_) | Link::Asking | Link::Over => return,
        };
        let (cause, detail) = match self.goodbye.take() {
            Some(reason) => (LossCause::Goodbye, texts::goodbye(reason).to_owned()),
            None => (cause, detail),
        };
        self.act(Action::HangUp);
        self.quiet();
        self.recording_lost();
        if self.session.0 == 0 || self.door.on_the_way() {
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
            LossCause::Unreachable | LossCause::Failed => LocalError::CannotConnect,
            LossCause::Goodbye => LocalError::SentAway,
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

    fn fail(&mut self, code: ErrorKind, args: BTreeMap<String, String>) {
        if self.go_back(code, &args) {
            return;
        }
        self.tell(Event::Error { code, args, fatal: true });
        self.end(1);
    }

    fn end(&mut self, code: u8) {
        if matches!(self.link, Link::Up(_)) {
            self.act(Action::Send(Envelope::event(ClientMessage::Bye)));
        }
        self.link = Link::Over;
        if self.recording != Recording::Off {
            self.voice(VoiceCommand::StopRecording);
        }
        self.voice(VoiceCommand::Transmit(Transmit::Shut));
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
                    self.ready |= request.enters();
                    self.tell_about(LocalError::NoAnswer, &request);
                }
                Asked::Barrier => self.end(1),
                Asked::Hello | Asked::State | Asked::Ping => {}
            }
        }
    }

    /// The computer has slept: whoever wakes it up does not mean to be heard at once.
    fn slept(&mut self) {
        self.voice(VoiceCommand::Transmit(Transmit::Shut));
        if !self.state.muted {
            (self.state.muted, self.state_untold) = (true, true);
        }
        self.tell(Event::Notice { code: NoticeCode::Slept });
    }

    // ---- what the user wants --------------------------------------------------------------

    fn request(&mut self, request: Request, now: Instant) {
        match request {
            Request::Quit => self.end(0),
            // While the connection is lost nothing is left to be answered.
            Request::Finish if matches!(self.link, Link::Paused(_)) => self.end(0),
            Request::Finish if self.link == Link::Asking => self.no_password(),
            Request::Finish if self.finishing.is_none() => self.finishing = Some(Finish::Draining),
            Request::Finish => {}
            // Nobody comes back with an open microphone, whatever he asked for meanwhile.
            Request::Microphone { open: true }
                if self.session.0 > 0 && !matches!(self.link, Link::Up(_)) =>
            {
                self.tell_about(LocalError::NotConnected, &request);
            }
            Request::Microphone { open } => {
                if self.state.muted == open {
                    let sound = if open { Sound::Unmuted } else { Sound::Muted };
                    self.voice(VoiceCommand::Sound(sound));
                    self.state_untold = true;
                }
                self.state.muted = !open;
                if !open {
                    // Whatever it was: what was said until now is never sent.
                    self.voice(VoiceCommand::Transmit(Transmit::Shut));
                }
            }
            Request::Deafen(on) => {
                self.voice(VoiceCommand::Deafened(on));
                if self.state.deafened != on {
                    let sound = if on { Sound::Deafened } else { Sound::Undeafened };
                    self.voice(VoiceCommand::Sound(sound));
                    self.state_untold = true;
                }
                self.state.deafened = on;
            }
            Request::Volume { name, wish } => self.want_volume(&name, wish),
            Request::Levelling(on) => {
                self.voice(VoiceCommand::Levelling(on));
                self.tell(Event::Levelling { on });
            }
            Request::Sounds(on) => {
                self.voice(VoiceCommand::Sounds(on));
                self.tell(Event::Sounds { on });
            }
            request @ (Request::Devices
            | Request::Input(_)
            | Request::Output(_)
            | Request::Tone) => self.ask_devices(request),
            Request::TryOut => self.voice(VoiceCommand::TryOut),
            Request::Record(directory) => self.record(directory),
            Request::StopRecording => self.stop_recording(),
            Request::Codec(codec) => {
                self.voice(VoiceCommand::Codec(codec));
                self.tell(Event::Codec { codec });
            }
            Request::Bitrate(bitrate) => {
                self.voice(VoiceCommand::Bitrate(bitrate));
                self.tell(Event::Bitrate { kbps: bitrate / 1000 });
            }
            Request::Stage(stage, on) => {
                self.voice(VoiceCommand::Stage(stage, on));
                self.tell(Event::Stage { stage, on });
            }
            Request::Transmit { transmit, .. } if !transmit.is_on() => {
                self.voice(VoiceCommand::Transmit(transmit));
            }
            Request::Transmit { transmit, session } => {
                // A key that was pressed in a lost session must not open the microphone in the next.
                let here = matches!(self.link, Link::Up(_)) && self.roster.room().is_some();
                if here && session == self.session {
                    self.voice(VoiceCommand::Transmit(transmit));
                }
            }
            Request::Password { lock, password } => self.password(lock, password, now),
            Request::Visit(invite) => self.visit(*invite),
            _ if self.session.0 > 0 && !matches!(self.link, Link::Up(_)) => {
                self.offline(request, now);
            }
            _ if self.queue.len() >= REQUEST_QUEUE_MAX => {
                self.tell_about(LocalError::QueueFull, &request);
            }
            request => {
                let request = self.with_password(request);
                self.queue.extend(request);
            }
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
                    self.wants_out = false;
                    self.tell(Event::Notice { code: NoticeCode::WhenBack });
                }
                Err(error) => self.tell_bad(ErrorCode::BadRoom, &error.to_string()),
            },
            Request::Leave => {
                self.room = None;
                self.wants_out = true;
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
        let answered = self.stats_asked == 0 && self.devices.are_answered();
        let drained = self.queue.is_empty() && !self.state_untold && answered;
        if drained && self.finishing == Some(Finish::Draining) {
            // The server answers in order: what it has not answered by then it never will.
            self.finishing = Some(Finish::Barrier);
            self.ask(ClientMessage::Ping { token: 1 }, Asked::Barrier, now);
        }
    }

    fn send_request(&mut self, request: Request, now: Instant) {
        let Some(request) = self.sealed(request) else { return };
        if let Some(mut message) = request.message() {
            if let ClientMessage::Join { room, after, .. } = &mut message {
                *after = RoomName::parse(room).ok().and_then(|room| self.heard_up_to(&room));
            }
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

mod devices;
mod door;
mod incoming;
mod recording;
mod volumes;

use devices::Devices;
use door::Door;
use recording::Recording;

#[cfg(test)]
mod tests;
