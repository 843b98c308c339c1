//! The actor with a real core and a server that the test plays, over streams in memory.

use super::*;
use crate::client::control::dial::{DialError, Target, Trust};
use crate::client::control::port::{Keys, Settings};
use crate::client::control::request::Lock;
use crate::client::event::ErrorKind;
use crate::client::voice::{InputChoice, OutputChoice, VoiceConfig};
use crate::net::ids::{MemberId, Ssrc};
use crate::net::invite::Invite;
use crate::net::limits::{CLIENT_EVENTS_MAX, FRAME_BYTES_MAX};
use crate::net::message::{
    ErrorCode, GoodbyeReason, MemberInfo, MemberState, PROTOCOL_VERSION, Protection, ServerMessage,
    Standing, StreamGrant, Welcome,
};
use crate::net::name::{RoomName, UserName};
use crate::net::secret::{Password, Secret};
use std::cell::Cell;
use tokio::io::{AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

/// Hands out the near ends of streams whose far ends the test holds; refuses while it may not.
struct Memory {
    far: mpsc::UnboundedSender<DuplexStream>,
    open: Rc<Cell<bool>>,
    trust: Trust,
    /// Where it was sent to.
    target: Rc<RefCell<Option<Target>>>,
}

impl Dialer for Memory {
    type Stream = DuplexStream;

    fn dial(&self) -> impl Future<Output = Result<Dialed<DuplexStream>, DialError>> + 'static {
        let made = match self.open.get() {
            true => {
                let (near, far) = tokio::io::duplex(4096);
                self.far.send(far).unwrap();
                let address = "10.0.0.9:8888".parse().unwrap();
                Ok(Dialed { stream: near, address, binding: None, trust: self.trust })
            }
            false => Err(DialError::Unreachable("closed by the test".to_owned())),
        };
        std::future::ready(made)
    }

    fn retarget(&mut self, target: Target) {
        *self.target.borrow_mut() = Some(target);
    }
}

/// A client on one side, the server's end of its connection on the other.
struct Bench {
    control: Addr<ControlActor<Memory>>,
    events: mpsc::Receiver<Event>,
    ended: oneshot::Receiver<u8>,
    dialed: mpsc::UnboundedReceiver<DuplexStream>,
    open: Rc<Cell<bool>>,
    target: Rc<RefCell<Option<Target>>>,
}

impl Bench {
    fn start() -> Self {
        Self::with(Trust::Plain, false)
    }

    /// A client that believes the server for this reason, and can ask for passwords or not.
    fn with(trust: Trust, asks: bool) -> Self {
        let (far, dialed) = mpsc::unbounded_channel();
        let open = Rc::new(Cell::new(true));
        let target = Rc::default();
        let (events_in, events) = mpsc::channel(CLIENT_EVENTS_MAX);
        let (voice_in, voice_events) = mpsc::channel(16);
        let (ended_in, ended) = oneshot::channel();
        let config = VoiceConfig::new(InputChoice::Silence, OutputChoice::Null);
        let settings = Settings {
            server: "memory".to_owned(),
            name: UserName::parse("Ann").unwrap(),
            room: RoomName::parse("general").unwrap(),
            udp_port: None,
            state: MemberState { muted: true, deafened: false, recording: false },
            agent: "test".to_owned(),
            device: None,
            target: Target { host: "memory".to_owned(), port: 1, fingerprint: None },
            keys: Keys::default(),
            asks,
        };
        let control = ControlActor::new(Parts {
            core: ControlCore::new(settings, 3, clock::now()),
            dialer: Memory { far, open: Rc::clone(&open), trust, target: Rc::clone(&target) },
            voice: VoiceHandle::start(config, voice_in).unwrap(),
            voice_events,
            events: events_in,
            ended: ended_in,
        })
        .start();
        Self { control, events, ended, dialed, open, target }
    }

    async fn accept(&mut self) -> Server {
        let (read, write) = tokio::io::split(self.dialed.recv().await.unwrap());
        Server { frames: FramedRead::new(read, frame::codec()), write }
    }

    async fn ask(&self, request: Request) {
        self.control.send(Ask { request, permit: None }).await.unwrap();
    }

    /// The next event that `pick` accepts.
    async fn until<T>(&mut self, pick: impl Fn(&Event) -> Option<T>) -> T {
        loop {
            let event = self.events.recv().await.expect("the client has ended");
            if let Some(found) = pick(&event) {
                return found;
            }
        }
    }

    async fn in_room(&mut self) -> Server {
        let mut server = self.accept().await;
        server.let_in().await;
        self.until(|event| matches!(event, Event::Joined { .. }).then_some(())).await;
        server
    }
}

struct Server {
    frames: FramedRead<ReadHalf<DuplexStream>, LengthDelimitedCodec>,
    write: WriteHalf<DuplexStream>,
}

impl Server {
    async fn hears(&mut self) -> Envelope<ClientMessage> {
        let frame = frame::next(&mut self.frames).await.unwrap().unwrap();
        frame::decode(&frame).unwrap()
    }

    /// The next message but signs of life.
    async fn asked(&mut self) -> Envelope<ClientMessage> {
        loop {
            let message = self.hears().await;
            if !matches!(message.body, ClientMessage::Ping { token: 0 }) {
                return message;
            }
        }
    }

    async fn says(&mut self, re: Option<u32>, body: ServerMessage) {
        let frame = frame::encode(&Envelope { re, body }).unwrap();
        self.write.write_all(&frame).await.unwrap();
    }

    async fn let_in(&mut self) {
        let hello = self.asked().await;
        assert!(matches!(hello.body, ClientMessage::Hello(_)));
        self.welcome(hello.re, Protection::Plain).await;
    }

    async fn welcome(&mut self, re: Option<u32>, protection: Protection) {
        let welcome = Welcome {
            version: PROTOCOL_VERSION,
            agent: "test".to_owned(),
            features: vec![],
            id: MemberId(1),
            name: UserName::parse("Ann").unwrap(),
            udp_port: 9,
            protection,
            up_key: Secret::new([1; 28]),
            down_key: Secret::new([2; 28]),
            streams: vec![StreamGrant { ssrc: Ssrc(4), clock_hz: 16_000 }],
            control_ssrc: Ssrc(6),
            payload_types: vec![],
            resume: Secret::new([3; 32]),
            resumed: false,
            standing: Standing::default(),
        };
        self.says(re, ServerMessage::Welcome(Box::new(welcome))).await;
        let join = self.asked().await;
        let ClientMessage::Join { room, .. } = join.body else { panic!("no join: {join:?}") };
        let me = MemberInfo {
            id: MemberId(1),
            name: UserName::parse("Ann").unwrap(),
            muted: true,
            deafened: false,
            recording: false,
            speaking: false,
            silenced: false,
            role: None,
            streams: vec![],
        };
        let room = RoomName::parse(&room).unwrap();
        let joined = ServerMessage::Joined { room, members: vec![me], codecs: vec![], more: false };
        self.says(join.re, joined).await;
    }
}

#[actix::test]
async fn a_request_goes_out_and_its_answer_comes_back() {
    let mut bench = Bench::start();
    let mut server = bench.in_room().await;
    bench.ask(Request::Private { to: "Zed".into(), text: "hi".into() }).await;
    let asked = server.asked().await;
    assert_eq!(asked.body, ClientMessage::Private { to: "Zed".into(), text: "hi".into() });
    server.says(asked.re, ServerMessage::error(ErrorCode::NoSuchUser, [])).await;
    let is_error = |event: &Event| match event {
        Event::Error { code, .. } => Some(*code),
        _ => None,
    };
    assert_eq!(bench.until(is_error).await, ErrorKind::Server(ErrorCode::NoSuchUser));
}

#[actix::test]
async fn a_lost_connection_is_made_again_with_the_resume_secret() {
    let mut bench = Bench::start();
    let mut server = bench.in_room().await;
    server.says(None, ServerMessage::goodbye(GoodbyeReason::Stopping)).await;
    bench.open.set(false);
    drop(server);
    bench.until(|event| matches!(event, Event::Lost { .. }).then_some(())).await;
    bench.until(|event| matches!(event, Event::Retrying { .. }).then_some(())).await;
    bench.open.set(true);
    let mut server = bench.accept().await;
    let hello = server.asked().await;
    let ClientMessage::Hello(hello) = hello.body else { panic!() };
    assert_eq!(hello.resume, Some(Secret::new([3; 32])));
    assert!(hello.state.muted);
}

#[actix::test]
async fn garbage_and_frames_without_end_are_a_lost_connection() {
    let mut bench = Bench::start();
    for garbage in [
        vec![0, 0, 0, 3, 0xc1, 0xc1, 0xc1],
        u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_be_bytes().to_vec(),
    ] {
        let mut server = bench.in_room().await;
        server.write.write_all(&garbage).await.unwrap();
        bench.until(|event| matches!(event, Event::Lost { .. }).then_some(())).await;
    }
}

#[actix::test]
async fn leaving_writes_bye_closes_and_reports_the_exit_code() {
    let mut bench = Bench::start();
    let mut server = bench.in_room().await;
    bench.ask(Request::Chat("last words".into())).await;
    bench.ask(Request::Quit).await;
    assert_eq!(server.asked().await.body, ClientMessage::Chat { text: "last words".into() });
    assert_eq!(server.asked().await.body, ClientMessage::Bye);
    assert!(frame::next(&mut server.frames).await.is_none());
    assert_eq!((&mut bench.ended).await, Ok(0));
    bench.until(|event| matches!(event, Event::Bye).then_some(())).await;
    assert_eq!(bench.events.recv().await, None, "the console is let go of");
}

#[actix::test]
async fn a_server_that_cannot_be_reached_ends_the_client() {
    let mut bench = Bench::start();
    drop(bench.accept().await);
    assert_eq!((&mut bench.ended).await, Ok(1));
}

#[actix::test]
async fn a_console_that_is_behind_slows_the_server_down_and_loses_nothing() {
    let mut bench = Bench::start();
    let mut server = bench.in_room().await;
    let count = 3 * CLIENT_EVENTS_MAX;
    let name = UserName::parse("Bob").unwrap();
    let flood = actix_rt::spawn(async move {
        for k in 0..count {
            let (id, name, text) = (MemberId(2), name.clone(), k.to_string());
            server.says(None, ServerMessage::Chat { id, name, text, at_ms: 0, no: 0 }).await;
        }
        server
    });
    for k in 0..count {
        let text = bench
            .until(|event| match event {
                Event::Chat { text, .. } => Some(text.clone()),
                _ => None,
            })
            .await;
        assert_eq!(text, k.to_string());
    }
    drop(flood.await.unwrap());
}

#[actix::test]
async fn a_script_s_lines_wait_for_their_turn() {
    let mut bench = Bench::start();
    let permits = std::sync::Arc::new(tokio::sync::Semaphore::new(4));
    for text in ["one", "two"] {
        let permit = std::sync::Arc::clone(&permits).try_acquire_owned().ok();
        let request = Request::Chat(text.into());
        bench.control.send(Ask { request, permit }).await.unwrap();
    }
    assert_eq!(permits.available_permits(), 2, "nobody has let us in yet");
    let mut server = bench.in_room().await;
    server.asked().await;
    server.asked().await;
    assert_eq!(permits.available_permits(), 4);
}

#[actix::test]
async fn a_password_that_the_server_asks_for_is_typed_and_lets_one_in() {
    let mut bench = Bench::with(Trust::Known, true);
    let mut server = bench.accept().await;
    let hello = server.asked().await;
    server.says(hello.re, ServerMessage::error(ErrorCode::ServerPassword, [])).await;
    bench.until(|event| matches!(event, Event::PasswordWanted { .. }).then_some(())).await;
    assert!(frame::next(&mut server.frames).await.is_none(), "nobody waits for a slow typist");
    let password = Password::new("open".to_owned()).ok();
    bench.ask(Request::Password { lock: Lock::Server, password: password.clone() }).await;
    let mut server = bench.accept().await;
    let hello = server.asked().await;
    server.says(hello.re, ServerMessage::error(ErrorCode::ServerPassword, [])).await;
    let hello = server.asked().await;
    let ClientMessage::Hello(body) = hello.body else { panic!() };
    assert_eq!(body.server_password, password);
    server.welcome(hello.re, Protection::AeadAes128Gcm).await;
    bench.until(|event| matches!(event, Event::Joined { .. }).then_some(())).await;
}

#[actix::test]
async fn a_pasted_invite_says_goodbye_here_and_dials_there() {
    let mut bench = Bench::with(Trust::Known, false);
    let mut server = bench.accept().await;
    let hello = server.asked().await;
    server.welcome(hello.re, Protection::AeadAes128Gcm).await;
    bench.until(|event| matches!(event, Event::Joined { .. }).then_some(())).await;
    let key = "A".repeat(43);
    let invite: Invite = format!("parlor://other.org:7/attic#{key}.{key}").parse().unwrap();
    bench.ask(Request::Visit(Box::new(invite.clone()))).await;
    assert_eq!(server.asked().await.body, ClientMessage::Bye);
    assert!(frame::next(&mut server.frames).await.is_none());
    let mut other = bench.accept().await;
    let target = bench.target.borrow().clone().unwrap();
    assert_eq!((target.label().as_str(), target.fingerprint), ("other.org:7", invite.fingerprint));
    let ClientMessage::Hello(hello) = other.asked().await.body else { panic!() };
    assert_eq!((hello.invite, hello.resume), (Some(invite.token), None));
}
