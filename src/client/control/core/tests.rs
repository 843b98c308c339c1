//! The control core, driven by hand: a server's words in, actions out, time as the test says.

use super::*;
use crate::client::control::dial::{DialError, Target, Trust};
use crate::client::control::port::Keys;
use crate::client::texts;
use crate::client::voice::{Direction, VoiceEvent, VoicePath};
use crate::net::clock;
use crate::net::codec::Codec;
use crate::net::device::DeviceKey;
use crate::net::fingerprint::Fingerprint;
use crate::net::ids::{MemberId, Ssrc};
use crate::net::message::{
    Hello, LeaveReason, MemberInfo, PROTOCOL_VERSION, Protection, RoomInfo, ServerMessage,
    Standing, StreamGrant, StreamInfo,
};
use crate::net::secret::Secret;

mod coming_back;
mod door;
mod hostile_text;
mod recording;
mod sounds;
mod volumes;

fn settings() -> Settings {
    Settings {
        server: "example.org:8888".to_owned(),
        name: UserName::parse("Ann").unwrap(),
        room: RoomName::parse("general").unwrap(),
        udp_port: None,
        state: MemberState { muted: true, deafened: false, recording: false },
        agent: "test".to_owned(),
        device: None,
        target: Target { host: "example.org".to_owned(), port: 8888, fingerprint: None },
        keys: Keys::default(),
        asks: false,
    }
}

fn member(id: u64, name: &str) -> MemberInfo {
    let ssrc = Ssrc(u32::try_from(id).unwrap() * 4);
    MemberInfo {
        id: MemberId(id),
        name: UserName::parse(name).unwrap(),
        muted: true,
        deafened: false,
        recording: false,
        speaking: false,
        silenced: false,
        role: None,
        streams: vec![StreamInfo { ssrc, clock_hz: 16_000, payload_type: None, roc: 0, seq: None }],
    }
}

fn welcome(name: &str, resumed: bool) -> ServerMessage {
    ServerMessage::Welcome(Box::new(Welcome {
        version: PROTOCOL_VERSION,
        agent: "server".to_owned(),
        features: vec![],
        id: MemberId(1),
        name: UserName::parse(name).unwrap(),
        udp_port: 8889,
        protection: Protection::Plain,
        up_key: Secret::new([1; 28]),
        down_key: Secret::new([2; 28]),
        streams: vec![StreamGrant { ssrc: Ssrc(4), clock_hz: 16_000 }],
        control_ssrc: Ssrc(6),
        payload_types: vec![],
        resume: Secret::new([3; 32]),
        resumed,
        standing: Standing::default(),
    }))
}

/// A welcome inside TLS: voice is encrypted too.
fn let_in(name: &str, resumed: bool) -> ServerMessage {
    let mut message = welcome(name, resumed);
    if let ServerMessage::Welcome(welcome) = &mut message {
        welcome.protection = Protection::AeadAes128Gcm;
    }
    message
}

fn joined(room: &str, members: Vec<MemberInfo>, more: bool) -> ServerMessage {
    ServerMessage::Joined { room: RoomName::parse(room).unwrap(), members, codecs: vec![], more }
}

/// A core and what it has done.
struct Bench {
    core: ControlCore,
    now: Instant,
    actions: Vec<Action>,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let now = clock::now();
        let mut bench = Self { core: ControlCore::new(settings, 5, now), now, actions: vec![] };
        bench.give(Input::Start);
        bench
    }

    /// A client that is in `general` with Bob.
    fn in_room() -> Self {
        let mut bench = Self::new(settings());
        bench.connect();
        bench.answer(welcome("Ann", false));
        bench.answer(joined("general", vec![member(1, "Ann"), member(2, "Bob")], false));
        bench.actions.clear();
        bench
    }

    fn give(&mut self, input: Input) {
        let actions = self.core.handle(input, self.now);
        self.actions.extend(actions);
    }

    fn connect(&mut self) {
        self.give(Input::Connected {
            server: "10.0.0.9:8888".parse().unwrap(),
            binding: None,
            trust: Trust::Plain,
        });
    }

    fn connect_by(&mut self, trust: Trust) {
        let server = "10.0.0.9:8888".parse().unwrap();
        self.give(Input::Connected { server, binding: None, trust });
    }

    /// In `general`, over TLS.
    fn inside(settings: Settings) -> Self {
        let mut bench = Self::new(settings);
        bench.connect_by(Trust::Known);
        bench.answer(let_in("Ann", false));
        bench.answer(joined("general", vec![member(1, "Ann")], false));
        bench.actions.clear();
        bench
    }

    fn ask(&mut self, request: Request) {
        self.give(Input::Request(request));
    }

    fn event(&mut self, body: ServerMessage) {
        self.give(Input::Message(Envelope::event(body)));
    }

    /// Answers the last request that was sent.
    fn answer(&mut self, body: ServerMessage) {
        let re = self.sent().last().unwrap().re;
        assert!(re.is_some());
        self.give(Input::Message(Envelope { re, body }));
    }

    fn refuse(&mut self, code: ErrorCode) {
        self.answer(ServerMessage::error(code, []));
    }

    fn lose(&mut self) {
        self.give(Input::Ended { cause: LossCause::Closed, detail: String::new() });
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(50) {
            self.now += Duration::from_millis(50);
            self.give(Input::Tick);
        }
    }

    fn sent(&self) -> Vec<&Envelope<ClientMessage>> {
        let sent = self.actions.iter().filter_map(|action| match action {
            Action::Send(message) => Some(message),
            _ => None,
        });
        sent.collect()
    }

    fn last_sent(&self) -> &ClientMessage {
        &self.sent().last().unwrap().body
    }

    fn told(&self) -> Vec<&Event> {
        let told = self.actions.iter().filter_map(|action| match action {
            Action::Tell(event) => Some(event),
            _ => None,
        });
        told.collect()
    }

    fn errors(&self) -> Vec<ErrorKind> {
        let errors = self.told().into_iter().filter_map(|event| match event {
            Event::Error { code, .. } => Some(*code),
            _ => None,
        });
        errors.collect()
    }

    fn voice(&self) -> Vec<&VoiceCommand> {
        let voice = self.actions.iter().filter_map(|action| match action {
            Action::Voice(command) => Some(command),
            _ => None,
        });
        voice.collect()
    }

    fn has(&self, action: &Action) -> bool {
        self.actions.contains(action)
    }
}

// ---- coming ------------------------------------------------------------------------------------

#[test]
fn a_client_greets_joins_and_hands_the_session_to_the_voice_side() {
    let mut bench = Bench::new(settings());
    assert!(bench.has(&Action::Dial));
    bench.connect();
    let ClientMessage::Hello(hello) = bench.last_sent() else { panic!("no hello") };
    assert_eq!((hello.name.as_str(), hello.version), ("Ann", PROTOCOL_VERSION));
    assert_eq!(
        (hello.resume.clone(), hello.codecs.as_slice()),
        (None, &[Codec::Opus, Codec::Pcm][..])
    );
    bench.answer(welcome("Ann", false));
    let session = bench.voice().into_iter().find_map(|command| match command {
        VoiceCommand::Connect(session) => Some(session.server.to_string()),
        _ => None,
    });
    assert_eq!(
        session.as_deref(),
        Some("10.0.0.9:8889"),
        "the host that answered, the port it named"
    );
    assert_eq!(*bench.last_sent(), ClientMessage::join("general"));
    bench.answer(joined("general", vec![member(1, "Ann"), member(2, "Bob")], false));
    assert!(bench.has(&Action::Voice(VoiceCommand::EnterRoom(vec![member(2, "Bob")]))));
    let Some(Event::Joined { room, members }) = bench.told().last().copied() else { panic!() };
    assert_eq!((room.as_str(), members.len(), members[0].you), ("general", 2, true));
}

#[test]
fn an_explicit_udp_port_wins() {
    let mut bench = Bench::new(Settings { udp_port: Some(7000), ..settings() });
    bench.connect();
    bench.answer(welcome("Ann", false));
    let found = bench.voice().into_iter().any(|command| {
        matches!(command, VoiceCommand::Connect(session) if session.server.port() == 7000)
    });
    assert!(found);
}

#[test]
fn what_is_typed_early_is_sent_in_order_when_the_room_is_entered() {
    let mut bench = Bench::new(settings());
    bench.ask(Request::Chat("one".into()));
    bench.connect();
    bench.ask(Request::Join("music".into()));
    bench.answer(welcome("Ann", false));
    assert_eq!(bench.sent().len(), 2, "hello and the first join");
    bench.answer(joined("general", vec![member(1, "Ann")], false));
    let bodies: Vec<_> = bench.sent().into_iter().skip(2).map(|m| m.body.clone()).collect();
    let chat = ClientMessage::Chat { text: "one".into() };
    assert_eq!(bodies, [chat, ClientMessage::join("music")]);
}

#[test]
fn a_first_connection_that_fails_ends_the_client_and_says_why() {
    let mut bench = Bench::new(settings());
    bench.give(Input::NotConnected(DialError::Unreachable("nothing listens there".into())));
    assert_eq!(bench.errors(), [ErrorKind::Local(LocalError::CannotConnect)]);
    assert!(bench.has(&Action::End(1)));
    for (input, code) in [
        (LossCause::Closed, LocalError::NotParlor),
        (LossCause::Garbled, LocalError::NotParlor),
        (LossCause::Failed, LocalError::CannotConnect),
    ] {
        let mut bench = Bench::new(settings());
        bench.connect();
        bench.give(Input::Ended { cause: input, detail: String::new() });
        assert_eq!(bench.errors(), [ErrorKind::Local(code)]);
        assert!(bench.has(&Action::End(1)));
    }
}

#[test]
fn a_name_in_use_at_the_start_ends_the_client() {
    let mut bench = Bench::new(settings());
    bench.connect();
    bench.refuse(ErrorCode::NameTaken);
    assert_eq!(bench.errors(), [ErrorKind::Server(ErrorCode::NameTaken)]);
    assert!(bench.has(&Action::End(1)));
    bench.actions.clear();
    bench.ask(Request::Chat("x".into()));
    bench.pass(1000);
    assert_eq!(bench.actions, [], "nothing follows the end");
}

#[test]
fn a_first_room_that_refuses_leaves_a_client_that_can_go_elsewhere() {
    let mut bench = Bench::new(settings());
    bench.connect();
    bench.answer(welcome("Ann", false));
    bench.ask(Request::Join("music".into()));
    bench.refuse(ErrorCode::RoomFull);
    assert_eq!(bench.errors(), [ErrorKind::Server(ErrorCode::RoomFull)]);
    assert_eq!(*bench.last_sent(), ClientMessage::join("music"));
}

#[test]
fn a_protection_that_we_do_not_know_ends_the_client() {
    let mut bench = Bench::new(settings());
    bench.connect();
    let ServerMessage::Welcome(mut message) = welcome("Ann", false) else { panic!() };
    message.protection = Protection::Unknown;
    bench.answer(ServerMessage::Welcome(message));
    assert_eq!(bench.errors(), [ErrorKind::Local(LocalError::Protection)]);
    assert!(bench.has(&Action::End(1)));
}

#[test]
fn a_server_that_is_trusted_by_its_key_cannot_talk_the_client_out_of_encrypting_voice() {
    let mut bench = Bench::new(settings());
    bench.give(Input::Connected {
        server: "10.0.0.9:8888".parse().unwrap(),
        binding: None,
        trust: Trust::Known,
    });
    let ServerMessage::Welcome(mut message) = welcome("Ann", false) else { panic!() };
    message.protection = Protection::Plain;
    bench.answer(ServerMessage::Welcome(message));
    assert_eq!(bench.errors(), [ErrorKind::Local(LocalError::VoiceUnprotected)]);
    assert!(bench.has(&Action::End(1)));
    let connects = |action: &Action| matches!(action, Action::Voice(VoiceCommand::Connect(_)));
    assert!(!bench.actions.iter().any(connects));
}

// ---- in the room -------------------------------------------------------------------------------

#[test]
fn a_large_room_comes_in_pages_and_is_told_once() {
    let mut bench = Bench::new(settings());
    bench.connect();
    bench.answer(welcome("Ann", false));
    bench.answer(joined("general", vec![member(1, "Ann"), member(2, "Bob")], true));
    bench.event(ServerMessage::Members { members: vec![member(3, "Cid")], more: true });
    bench.event(ServerMessage::Members { members: vec![member(4, "Dee")], more: false });
    let told = bench.told();
    let told: Vec<_> = told.iter().filter(|event| matches!(event, Event::Joined { .. })).collect();
    let [Event::Joined { members, .. }] = told[..] else { panic!("{told:?}") };
    assert_eq!(members.len(), 4);
    let others = ["Bob", "Cid", "Dee"].iter().zip(2..).map(|(name, id)| member(id, name));
    assert!(bench.has(&Action::Voice(VoiceCommand::EnterRoom(others.collect()))));
}

#[test]
fn the_voice_side_hears_of_members_before_the_user_does() {
    let mut bench = Bench::in_room();
    bench.event(ServerMessage::MemberJoined { member: member(3, "Cid"), codecs: vec![] });
    assert_eq!(bench.actions[0], Action::Voice(VoiceCommand::Member(member(3, "Cid"))));
    assert!(matches!(bench.told()[0], Event::MemberJoined(_)));
    bench.actions.clear();
    bench.event(ServerMessage::MemberLeft {
        id: MemberId(3),
        name: UserName::parse("Cid").unwrap(),
        reason: LeaveReason::Quit,
        codecs: vec![],
    });
    assert_eq!(bench.actions[0], Action::Voice(VoiceCommand::MemberLeft(MemberId(3))));
    assert!(matches!(bench.told()[0], Event::MemberLeft { .. }));
}

#[test]
fn leaving_closes_the_microphone_and_stops_the_sound() {
    let mut bench = Bench::in_room();
    bench.ask(Request::Leave);
    bench.answer(ServerMessage::left(RoomName::parse("general").unwrap()));
    let voice = bench.voice();
    assert_eq!(voice, [&VoiceCommand::Transmit(Transmit::Shut), &VoiceCommand::LeaveRoom]);
    assert!(matches!(bench.told()[..], [Event::Left { .. }]));
}

#[test]
fn every_request_carries_a_number_of_its_own_and_errors_find_their_request() {
    let mut bench = Bench::in_room();
    bench.ask(Request::Private { to: "Zed".into(), text: "hi".into() });
    bench.ask(Request::Rooms);
    let numbers: Vec<_> = bench.sent().iter().map(|message| message.re.unwrap()).collect();
    assert_eq!(numbers.len(), 2);
    assert_ne!(numbers[0], numbers[1]);
    // The answer to the first comes last.
    let rooms =
        vec![RoomInfo { name: RoomName::parse("general").unwrap(), members: 2, locked: false }];
    bench.answer(ServerMessage::Rooms { rooms, total: 1, more: false });
    let body = ServerMessage::error(ErrorCode::NoSuchUser, [("name", "Zed".to_owned())]);
    bench.give(Input::Message(Envelope { re: Some(numbers[0]), body }));
    let told = bench.told();
    assert!(matches!(told[0], Event::Rooms { rooms, .. } if rooms[0].here));
    assert_eq!(bench.errors(), [ErrorKind::Server(ErrorCode::NoSuchUser)]);
    bench.pass(20_000);
    let late = ErrorKind::Local(LocalError::NoAnswer);
    assert!(!bench.errors().contains(&late), "both were answered");
}

#[test]
fn lists_in_pages_are_told_whole() {
    let mut bench = Bench::in_room();
    bench.ask(Request::Users(None));
    let re = bench.sent().last().unwrap().re;
    let room = RoomName::parse("general").unwrap();
    for (members, more) in [(vec![member(1, "Ann")], true), (vec![member(2, "Bob")], false)] {
        let body = ServerMessage::Users { room: room.clone(), members, total: 2, more };
        bench.give(Input::Message(Envelope { re, body }));
    }
    assert!(
        matches!(bench.told()[..], [Event::Users { members, total: 2, .. }] if members.len() == 2)
    );
}

#[test]
fn an_answer_that_does_not_come_is_told() {
    let mut bench = Bench::in_room();
    bench.ask(Request::Rooms);
    for _ in 0..3 {
        bench.pass(4000);
        bench.event(ServerMessage::Pong { token: 0 });
    }
    assert_eq!(bench.errors(), [ErrorKind::Local(LocalError::NoAnswer)]);
}

#[test]
fn the_state_is_told_once_for_many_changes() {
    let mut bench = Bench::in_room();
    // Use up the pace, then change the state again and again.
    for k in 0..60 {
        bench.ask(Request::Chat(k.to_string()));
    }
    for open in [true, false, true] {
        bench.ask(Request::Microphone { open });
    }
    bench.ask(Request::Deafen(true));
    bench.pass(1000);
    let states: Vec<_> = bench
        .sent()
        .into_iter()
        .filter_map(|m| match m.body {
            ClientMessage::State(state) => Some(state),
            _ => None,
        })
        .collect();
    assert_eq!(states, [MemberState { muted: false, deafened: true, recording: false }]);
    assert!(bench.has(&Action::Voice(VoiceCommand::Deafened(true))));
}

#[test]
fn push_to_talk_sends_no_message() {
    let mut bench = Bench::in_room();
    for transmit in [Transmit::Held, Transmit::Released, Transmit::Held, Transmit::Shut] {
        bench.ask(Request::Transmit { transmit, session: SessionNumber(1) });
    }
    assert_eq!(bench.sent(), Vec::<&Envelope<ClientMessage>>::new());
    assert_eq!(bench.voice().len(), 4);
}

#[test]
fn requests_go_no_faster_than_a_server_allows() {
    let mut bench = Bench::in_room();
    for k in 0..250 {
        bench.ask(Request::Chat(k.to_string()));
        let re = bench.sent().last().unwrap().re;
        let body = ServerMessage::error(ErrorCode::NotInRoom, []);
        bench.give(Input::Message(Envelope { re, body }));
    }
    assert_eq!(bench.sent().len(), 60);
    bench.pass(1000);
    assert!((68..=72).contains(&bench.sent().len()), "{}", bench.sent().len());
    for k in 0..300 {
        bench.ask(Request::Chat(k.to_string()));
    }
    assert!(bench.errors().contains(&ErrorKind::Local(LocalError::QueueFull)));
}

#[test]
fn who_speaks_is_told_from_the_stream() {
    let mut bench = Bench::in_room();
    bench.give(Input::Voice(VoiceEvent::Speaking { id: MemberId(2), on: true }));
    bench.give(Input::Voice(VoiceEvent::Speaking { id: MemberId(9), on: true }));
    assert!(matches!(bench.told()[..], [Event::Speaking { on: true, you: false, .. }]));
    let name = "Mic".to_owned();
    let direction = Direction::Input;
    bench.give(Input::Voice(VoiceEvent::DeviceDown { direction, name, error: "gone".into() }));
    assert!(matches!(bench.told()[1], Event::DeviceDown { .. }));
}

#[test]
fn voice_that_goes_another_way_is_told_and_so_is_its_return() {
    let mut bench = Bench::in_room();
    for path in [VoicePath::Udp, VoicePath::Stream, VoicePath::Udp] {
        bench.give(Input::Voice(VoiceEvent::Path(path)));
    }
    let lines: Vec<_> = bench.told().into_iter().flat_map(texts::words).collect();
    let expected = [
        "* Voice goes by UDP.",
        "* Voice now goes through the control connection: UDP is blocked.",
        "* Voice is back on UDP.",
    ];
    assert_eq!(lines, expected);
}

// ---- signs of life -----------------------------------------------------------------------------

#[test]
fn an_idle_connection_is_pinged_and_lives_on_its_answers() {
    let mut bench = Bench::in_room();
    for _ in 0..10 {
        bench.pass(5000);
        assert!(matches!(bench.last_sent(), ClientMessage::Ping { .. }));
        bench.answer(ServerMessage::Pong { token: 0 });
    }
    assert_eq!(bench.sent().len(), 10);
    assert_eq!(bench.told(), Vec::<&Event>::new());
}

#[test]
fn a_silent_server_is_a_lost_one() {
    let mut bench = Bench::in_room();
    bench.pass(11_900);
    assert_eq!(bench.told(), Vec::<&Event>::new());
    bench.pass(150);
    assert!(matches!(bench.told()[..], [Event::Lost { why: LossCause::Silence, .. }]));
    assert!(bench.has(&Action::HangUp));
}

#[test]
fn silence_means_nothing_while_we_do_not_listen() {
    let mut bench = Bench::in_room();
    for _ in 0..40 {
        bench.pass(1000);
        bench.give(Input::NotRead);
    }
    assert_eq!(bench.told(), Vec::<&Event>::new());
}

// ---- loss and return ---------------------------------------------------------------------------

#[test]
fn a_lost_connection_comes_back_to_the_same_room_never_unmuted() {
    let mut bench = Bench::in_room();
    bench.ask(Request::Microphone { open: true });
    bench.ask(Request::Deafen(true));
    bench.ask(Request::Join("music".into()));
    bench.answer(joined("music", vec![member(1, "Ann")], false));
    bench.ask(Request::Transmit { transmit: Transmit::Held, session: SessionNumber(1) });
    bench.actions.clear();

    bench.lose();
    assert_eq!(bench.actions[0], Action::HangUp);
    assert_eq!(bench.voice(), [&VoiceCommand::Transmit(Transmit::Shut), &VoiceCommand::Disconnect]);
    let Some(Event::Lost { retry_ms, .. }) = bench.told().last() else { panic!() };
    assert!((375..=500).contains(retry_ms), "{retry_ms}");
    bench.pass(550);
    assert!(bench.has(&Action::Dial));

    bench.actions.clear();
    bench.connect();
    let ClientMessage::Hello(hello) = bench.last_sent() else { panic!() };
    assert_eq!(hello.resume, Some(Secret::new([3; 32])));
    assert_eq!(hello.state, MemberState { muted: true, deafened: true, recording: false });
    bench.answer(welcome("Ann", true));
    assert_eq!(*bench.last_sent(), ClientMessage::join("music"));
    // The server has put a resumed session into its room by itself; that is told once.
    bench.event(joined("music", vec![member(1, "Ann")], false));
    bench.answer(joined("music", vec![member(1, "Ann")], false));
    let told = bench.told();
    assert_eq!(told.iter().filter(|event| matches!(event, Event::Joined { .. })).count(), 1);
    // A key that was pressed in the lost session comes late.
    bench.ask(Request::Transmit { transmit: Transmit::Held, session: SessionNumber(1) });
    assert!(!bench.voice().contains(&&VoiceCommand::Transmit(Transmit::Held)));
    bench.ask(Request::Transmit { transmit: Transmit::Held, session: SessionNumber(2) });
    assert!(bench.voice().contains(&&VoiceCommand::Transmit(Transmit::Held)));
}

#[test]
fn attempts_go_on_with_longer_pauses_and_without_end() {
    let mut bench = Bench::in_room();
    bench.lose();
    for attempt in 2..40 {
        bench.pass(10_050);
        bench.give(Input::NotConnected(DialError::Unreachable("nothing listens there".into())));
        let Some(Event::Retrying { attempt: told, retry_ms, .. }) = bench.told().last() else {
            panic!()
        };
        assert_eq!(*told, attempt);
        assert!(*retry_ms <= 10_000);
    }
    bench.connect();
    assert!(!bench.actions.iter().any(|action| matches!(action, Action::End(_))));
}

#[test]
fn a_server_that_stops_is_come_back_to() {
    let mut bench = Bench::in_room();
    bench.event(ServerMessage::goodbye(GoodbyeReason::Stopping));
    bench.lose();
    assert!(matches!(bench.told()[0], Event::Goodbye { reason: GoodbyeReason::Stopping, .. }));
    assert!(matches!(bench.told()[1], Event::Lost { why: LossCause::Goodbye, .. }));
    bench.pass(600);
    assert!(bench.has(&Action::Dial));
}

#[test]
fn a_session_taken_over_from_elsewhere_is_not_taken_back() {
    let mut bench = Bench::in_room();
    bench.event(ServerMessage::goodbye(GoodbyeReason::Resumed));
    assert_eq!(bench.errors(), [ErrorKind::Local(LocalError::TakenOver)]);
    assert!(bench.has(&Action::End(1)));
}

#[test]
fn a_name_taken_meanwhile_is_told_once_and_nick_comes_back_at_once() {
    let mut bench = Bench::in_room();
    bench.lose();
    for _ in 0..3 {
        bench.pass(10_050);
        bench.connect();
        bench.refuse(ErrorCode::NameTaken);
    }
    assert_eq!(bench.errors(), [ErrorKind::Server(ErrorCode::NameTaken)]);
    bench.actions.clear();
    bench.ask(Request::Rename("Ann 2".into()));
    assert!(bench.has(&Action::Dial));
    bench.connect();
    let ClientMessage::Hello(hello) = bench.last_sent() else { panic!() };
    assert_eq!(hello.name, "Ann 2");
    bench.answer(welcome("Ann 2", false));
    assert_eq!(*bench.last_sent(), ClientMessage::join("general"));
}

#[test]
fn a_name_chosen_while_away_is_taken_after_the_return() {
    let mut bench = Bench::in_room();
    bench.lose();
    bench.ask(Request::Rename("Zoe".into()));
    bench.connect();
    bench.answer(welcome("Ann", true));
    let renamed = bench
        .sent()
        .into_iter()
        .any(|message| message.body == ClientMessage::Rename { name: "Zoe".into() });
    assert!(renamed, "the resumed session has its old name");
}

#[test]
fn what_is_asked_while_away_is_refused_or_remembered() {
    let mut bench = Bench::in_room();
    bench.ask(Request::Chat("lost on the way".into()));
    bench.lose();
    bench.ask(Request::Chat("not sent".into()));
    bench.ask(Request::Join("music".into()));
    bench.ask(Request::Join("bad\u{1b}room".into()));
    let expected = [
        ErrorKind::Local(LocalError::LostUnanswered),
        ErrorKind::Local(LocalError::NotConnected),
        ErrorKind::Server(ErrorCode::BadRoom),
    ];
    assert_eq!(bench.errors(), expected);
    bench.pass(600);
    bench.connect();
    bench.answer(welcome("Ann", false));
    assert_eq!(*bench.last_sent(), ClientMessage::join("music"));
}

// ---- leaving -----------------------------------------------------------------------------------

#[test]
fn exit_says_bye_and_ends_at_once() {
    let mut bench = Bench::in_room();
    bench.ask(Request::Chat("never answered".into()));
    bench.ask(Request::Quit);
    assert_eq!(*bench.last_sent(), ClientMessage::Bye);
    assert!(matches!(bench.told().last(), Some(Event::Bye)));
    assert_eq!(bench.actions.last(), Some(&Action::End(0)));
}

#[test]
fn the_end_of_a_script_waits_for_its_answers() {
    let mut bench = Bench::new(settings());
    bench.ask(Request::Chat("one".into()));
    bench.ask(Request::Stats);
    bench.ask(Request::Finish);
    bench.connect();
    bench.answer(welcome("Ann", false));
    bench.answer(joined("general", vec![member(1, "Ann")], false));
    assert!(bench.has(&Action::AskStats));
    assert_eq!(*bench.last_sent(), ClientMessage::Chat { text: "one".into() });
    bench.give(Input::Stats(Box::default()));
    assert_eq!(*bench.last_sent(), ClientMessage::Ping { token: 1 });
    assert!(!bench.has(&Action::End(0)));
    bench.answer(ServerMessage::Pong { token: 1 });
    assert!(bench.has(&Action::End(0)));
}

#[test]
fn a_script_whose_connection_is_lost_at_its_end_fails() {
    let mut bench = Bench::in_room();
    bench.ask(Request::Finish);
    bench.lose();
    assert!(bench.has(&Action::End(1)));
}

#[test]
fn the_end_of_a_script_while_away_ends_at_once() {
    let mut bench = Bench::in_room();
    bench.lose();
    bench.ask(Request::Finish);
    assert!(bench.has(&Action::End(0)));
}

#[test]
fn a_server_that_is_full_says_so() {
    let mut bench = Bench::new(settings());
    bench.connect();
    bench.event(ServerMessage::goodbye(GoodbyeReason::Full));
    bench.lose();
    assert_eq!(bench.errors(), [ErrorKind::Local(LocalError::SentAway)]);
}

#[test]
fn nothing_a_server_says_out_of_turn_matters() {
    let mut bench = Bench::new(settings());
    bench.event(ServerMessage::Pong { token: 1 });
    bench.connect();
    bench.event(joined("general", vec![], false));
    bench.event(ServerMessage::Unknown);
    bench.answer(welcome("Ann", false));
    let count = bench.actions.len();
    bench.event(welcome("Eve", false));
    bench.event(ServerMessage::Members { members: vec![member(3, "Cid")], more: false });
    let room = RoomName::parse("general").unwrap();
    bench.event(ServerMessage::Users { room, members: vec![], total: 0, more: false });
    assert_eq!(bench.actions.len(), count, "{:?}", &bench.actions[count..]);
}

// ---- the server's identity ----------------------------------------------------------------

fn hello_of(bench: &Bench) -> &Hello {
    let mut hellos = bench.sent().into_iter().filter_map(|message| match &message.body {
        ClientMessage::Hello(hello) => Some(&**hello),
        _ => None,
    });
    hellos.next_back().unwrap()
}

fn meet(trust: Trust, binding: Option<ChannelBinding>) -> Bench {
    let device = Some(DeviceKey::from_seed(&Secret::new([9; 32])).unwrap());
    let mut bench = Bench::new(Settings { device, ..settings() });
    bench.give(Input::Connected { server: "10.0.0.9:8888".parse().unwrap(), binding, trust });
    bench
}

fn told(bench: &Bench) -> Vec<&Event> {
    let told = bench.actions.iter().filter_map(|action| match action {
        Action::Tell(event) => Some(event),
        _ => None,
    });
    told.collect()
}

#[test]
fn the_device_proves_itself_for_each_connection_anew_and_inside_tls_only() {
    let mut bench = meet(Trust::Known, Some(Secret::new([1; 32])));
    let id = DeviceKey::from_seed(&Secret::new([9; 32])).unwrap().id();
    let first = hello_of(&bench).device.unwrap();
    assert_eq!(first.verify(&Secret::new([1; 32])), Some(id));
    bench.answer(let_in("Ann", false));
    bench.lose();
    bench.pass(20_000);
    let (server, trust) = ("10.0.0.9:8888".parse().unwrap(), Trust::Known);
    bench.give(Input::Connected { server, binding: Some(Secret::new([2; 32])), trust });
    let second = hello_of(&bench).device.unwrap();
    assert_eq!(second.verify(&Secret::new([2; 32])), Some(id));
    assert_eq!(second.verify(&Secret::new([1; 32])), None);
    assert_eq!(hello_of(&meet(Trust::Plain, None)).device, None);
}

#[test]
fn a_new_server_and_no_encryption_are_told() {
    let print = Fingerprint::new([4; 32]);
    let server = settings().server;
    let bench = meet(Trust::FirstUse(print), None);
    let fingerprint = print.to_string();
    let expected = Event::NewServer { server: server.clone(), fingerprint: fingerprint.clone() };
    assert!(told(&bench).contains(&&expected));
    let line = texts::words(&expected).concat();
    assert!(line.contains(&server) && line.contains(&fingerprint), "{line}");
    let unencrypted = Event::Notice { code: NoticeCode::Unencrypted };
    assert!(told(&meet(Trust::Plain, None)).contains(&&unencrypted));
    for trust in [Trust::Known, Trust::Certificate, Trust::FirstUse(print)] {
        assert!(!told(&meet(trust, None)).contains(&&unencrypted));
    }
}

#[test]
fn a_server_that_is_not_believed_ends_the_client_also_when_it_comes_back() {
    let mut bench = Bench::in_room();
    bench.lose();
    bench.pass(20_000);
    bench.actions.clear();
    let args = BTreeMap::from([("server".to_owned(), "example.org:8888".to_owned())]);
    let code = LocalError::KeyChanged;
    bench.give(Input::NotConnected(DialError::Untrusted { code, args: args.clone() }));
    assert!(bench.actions.contains(&Action::End(1)));
    let error = Event::Error { code: ErrorKind::Local(code), args, fatal: true };
    assert!(told(&bench).contains(&&error));
    bench.actions.clear();
    bench.pass(60_000);
    assert_eq!(bench.actions, []);
}
