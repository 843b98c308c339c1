//! The server's door: invites, passwords, being put out, going elsewhere.

use super::*;
use crate::client::control::request::Lock;
use crate::client::event::{LockKind, Turn};
use crate::net::address::HostPort;
use crate::net::fingerprint::Fingerprint;
use crate::net::invite::Invite;
use crate::net::moderation::{Moderation, Report, Role, Target as Whom};
use crate::net::secret::Password;

fn pw(text: &str) -> Password {
    Password::new(text.to_owned()).unwrap()
}

fn key(byte: u8) -> Fingerprint {
    Fingerprint::new([byte; 32])
}

fn invite(server: &str, fingerprint: Option<Fingerprint>, room: Option<&str>) -> Invite {
    Invite {
        server: HostPort::parse(server).unwrap(),
        fingerprint,
        room: room.map(|room| RoomName::parse(room).unwrap()),
        token: Secret::new([0xef; 32]),
    }
}

/// Settings of somebody at a terminal.
fn asking() -> Settings {
    Settings { asks: true, ..settings() }
}

fn invited() -> Settings {
    let invite = Some(invite("example.org:8888", Some(key(7)), None));
    Settings { keys: Keys { invite, ..Keys::default() }, ..settings() }
}

impl Bench {
    fn hello(&self) -> Hello {
        let hello = self.sent().into_iter().rev().find_map(|message| match &message.body {
            ClientMessage::Hello(hello) => Some(hello.as_ref().clone()),
            _ => None,
        });
        hello.expect("no hello")
    }

    fn hellos(&self) -> usize {
        self.sent().iter().filter(|m| matches!(m.body, ClientMessage::Hello(_))).count()
    }

    fn wanted(&self) -> Vec<(LockKind, &str, Turn)> {
        let wanted = self.told().into_iter().filter_map(|event| match event {
            Event::PasswordWanted { lock, of, turn } => Some((*lock, of.as_str(), *turn)),
            _ => None,
        });
        wanted.collect()
    }

    fn ended(&self) -> Option<u8> {
        self.actions.iter().find_map(|action| match action {
            Action::End(code) => Some(*code),
            _ => None,
        })
    }

    fn retargeted(&self) -> Vec<String> {
        let targets = self.actions.iter().filter_map(|action| match action {
            Action::Retarget(target) => Some(target.label()),
            _ => None,
        });
        targets.collect()
    }
}

// ---- invites -----------------------------------------------------------------------------------

#[test]
fn an_invite_is_shown_until_it_has_let_us_in_and_never_again() {
    let mut bench = Bench::new(invited());
    bench.connect_by(Trust::Known);
    assert_eq!(bench.hello().invite, Some(Secret::new([0xef; 32])));
    bench.answer(let_in("Ann", false));
    bench.answer(joined("general", vec![], false));
    bench.lose();
    bench.pass(600);
    bench.connect_by(Trust::Known);
    let hello = bench.hello();
    assert_eq!((hello.invite, hello.resume.is_some()), (None, true));
}

#[test]
fn an_invite_that_was_not_answered_is_shown_again_with_the_password_that_was_missing() {
    let mut bench = Bench::new(Settings { asks: true, ..invited() });
    bench.connect_by(Trust::Known);
    bench.refuse(ErrorCode::NameRegistered);
    bench.ask(Request::Password { lock: Lock::Name, password: Some(pw("mine")) });
    bench.connect_by(Trust::Known);
    bench.refuse(ErrorCode::NameRegistered);
    let hello = bench.hello();
    assert_eq!((hello.password, hello.invite.is_some()), (Some(pw("mine")), true));
}

#[test]
fn an_invite_goes_only_to_the_key_that_it_names() {
    let other = Trust::FirstUse(key(8));
    let unproven = LocalError::InviteUnproven;
    for (fingerprint, trust, refused) in [
        (Some(key(7)), Trust::Known, None),
        (Some(key(7)), Trust::FirstUse(key(7)), None),
        (Some(key(7)), other, Some(unproven)),
        (Some(key(7)), Trust::Plain, Some(LocalError::SecretNeedsTls)),
        (None, Trust::Certificate, None),
        (None, Trust::Known, Some(unproven)),
        (None, other, Some(unproven)),
    ] {
        let invite = Some(invite("example.org:8888", fingerprint, None));
        let keys = Keys { invite, ..Keys::default() };
        let mut bench = Bench::new(Settings { keys, ..settings() });
        bench.connect_by(trust);
        assert_eq!(bench.hellos(), usize::from(refused.is_none()), "{fingerprint:?} {trust:?}");
        let refused: Vec<_> = refused.into_iter().map(ErrorKind::Local).collect();
        assert_eq!(bench.errors(), refused, "{fingerprint:?} {trust:?}");
        assert_eq!(bench.ended(), (!refused.is_empty()).then_some(1));
    }
}

#[test]
fn a_pasted_invite_moves_to_its_server_and_room() {
    let mut bench = Bench::inside(settings());
    bench.ask(Request::Transmit { transmit: Transmit::Held, session: SessionNumber(1) });
    bench.actions.clear();
    bench.ask(Request::Visit(Box::new(invite("other.org", Some(key(9)), Some("attic")))));
    assert_eq!(bench.actions[0], Action::Send(Envelope::event(ClientMessage::Bye)));
    assert_eq!(bench.actions[1], Action::HangUp);
    assert_eq!(bench.voice(), [&VoiceCommand::Transmit(Transmit::Shut), &VoiceCommand::Disconnect]);
    let target = Target { host: "other.org".into(), port: 8888, fingerprint: Some(key(9)) };
    assert!(bench.has(&Action::Retarget(target)) && bench.has(&Action::Dial));
    bench.connect_by(Trust::Known);
    let hello = bench.hello();
    assert_eq!((hello.resume, hello.invite.is_some(), hello.state.muted), (None, true, true));
    bench.answer(let_in("Ann", false));
    assert_eq!(*bench.last_sent(), ClientMessage::join("attic"));
    let back = Event::Notice { code: NoticeCode::Back };
    assert!(!bench.told().contains(&&back), "this is another place");
}

#[test]
fn a_server_that_an_invite_leads_to_and_that_fails_is_left_for_the_one_before() {
    for way in 0..4 {
        let mut bench = Bench::inside(settings());
        bench.ask(Request::Visit(Box::new(invite("other.org", Some(key(9)), None))));
        match way {
            0 => bench.give(Input::NotConnected(DialError::Unreachable("gone".into()))),
            1 => {
                let (code, args) = (LocalError::InviteUnproven, BTreeMap::new());
                bench.give(Input::NotConnected(DialError::Untrusted { code, args }));
            }
            2 => {
                bench.connect_by(Trust::Known);
                bench.refuse(ErrorCode::InviteExpired);
            }
            _ => {
                bench.connect_by(Trust::Known);
                bench.lose();
            }
        }
        assert_eq!(bench.errors().len(), 1, "{way}");
        assert_eq!(bench.retargeted(), ["other.org:8888", "example.org:8888"], "{way}");
        assert_eq!(bench.ended(), None, "{way}");
        bench.connect_by(Trust::Known);
        assert_eq!(bench.hello().invite, None);
        bench.answer(let_in("Ann", false));
        assert_eq!(*bench.last_sent(), ClientMessage::join("general"));
    }
}

#[test]
fn our_own_name_that_is_not_free_yet_after_a_move_is_tried_again() {
    let mut bench = Bench::inside(settings());
    bench.ask(Request::Visit(Box::new(invite("example.org:8888", Some(key(9)), None))));
    bench.connect_by(Trust::Known);
    bench.refuse(ErrorCode::NameTaken);
    assert_eq!(bench.errors(), []);
    bench.actions.clear();
    bench.pass(600);
    assert!(bench.has(&Action::Dial));
    bench.connect_by(Trust::Known);
    assert!(bench.hello().invite.is_some());
}

// ---- passwords ---------------------------------------------------------------------------------

#[test]
fn passwords_go_out_only_when_the_server_asks_for_them() {
    let keys = Keys { server: Some(pw("open")), name: Some(pw("mine")), ..Keys::default() };
    let mut bench = Bench::new(Settings { keys, ..settings() });
    bench.connect_by(Trust::Known);
    let shown = |bench: &Bench| (bench.hello().server_password, bench.hello().password);
    assert_eq!(shown(&bench), (None, None));
    bench.refuse(ErrorCode::NameRegistered);
    assert_eq!(shown(&bench), (None, Some(pw("mine"))));
    bench.refuse(ErrorCode::ServerPassword);
    assert_eq!(shown(&bench), (Some(pw("open")), Some(pw("mine"))));
    bench.answer(let_in("Ann", false));
    bench.answer(joined("general", vec![], false));
    bench.lose();
    bench.pass(600);
    bench.connect_by(Trust::Known);
    assert_eq!(shown(&bench), (None, None), "the device, or the session, may do");
    bench.refuse(ErrorCode::ServerPassword);
    assert_eq!(shown(&bench).0, Some(pw("open")));
}

#[test]
fn a_server_that_goes_on_asking_for_what_it_was_shown_ends_the_client() {
    let keys = Keys { server: Some(pw("open")), ..Keys::default() };
    let mut bench = Bench::new(Settings { keys, ..settings() });
    bench.connect_by(Trust::Known);
    bench.refuse(ErrorCode::ServerPassword);
    bench.refuse(ErrorCode::ServerPassword);
    assert_eq!((bench.hellos(), bench.ended()), (2, Some(1)));
}

#[test]
fn a_password_that_is_missing_is_asked_for_until_it_is_right() {
    let mut bench = Bench::new(asking());
    bench.connect_by(Trust::FirstUse(key(1)));
    bench.refuse(ErrorCode::ServerPassword);
    assert!(bench.has(&Action::HangUp), "people type more slowly than a server waits");
    bench.pass(60_000);
    assert_eq!(bench.ended(), None);
    for (typed, code) in [("guess", ErrorCode::BadServerPassword), ("open", ErrorCode::TooFast)] {
        bench.ask(Request::Password { lock: Lock::Server, password: Some(pw(typed)) });
        bench.connect_by(Trust::Known);
        bench.refuse(ErrorCode::ServerPassword);
        assert_eq!(bench.hello().server_password, Some(pw(typed)));
        if code == ErrorCode::BadServerPassword {
            bench.refuse(code);
        }
    }
    bench.answer(let_in("Ann", false));
    let (lock, of) = (LockKind::Server, "example.org:8888");
    assert_eq!(bench.wanted(), [(lock, of, Turn::First), (lock, of, Turn::Wrong)]);
    assert_eq!(bench.errors(), []);
}

#[test]
fn who_gives_no_password_learns_why_it_ended() {
    let mut bench = Bench::new(asking());
    bench.connect_by(Trust::Known);
    bench.refuse(ErrorCode::NameRegistered);
    bench.ask(Request::Password { lock: Lock::Name, password: None });
    assert_eq!(bench.errors(), [ErrorKind::Server(ErrorCode::NameRegistered)]);
    assert_eq!(bench.ended(), Some(1));
}

#[test]
fn a_script_that_brings_no_password_is_told_the_flag_and_ends() {
    let mut bench = Bench::new(settings());
    bench.connect_by(Trust::Known);
    bench.refuse(ErrorCode::ServerPassword);
    let [Event::Error { code, args, fatal: true }] = bench.told()[2..] else { panic!() };
    assert!(texts::error(*code, args).contains("--server-password-file"));
    assert_eq!((bench.wanted(), bench.ended()), (vec![], Some(1)));
}

#[test]
fn no_password_goes_out_in_the_clear() {
    let keys = Keys { server: Some(pw("open")), name: Some(pw("mine")), ..Keys::default() };
    for code in [ErrorCode::ServerPassword, ErrorCode::NameRegistered] {
        let mut bench = Bench::new(Settings { keys: keys.clone(), ..asking() });
        bench.connect();
        bench.refuse(code);
        assert_eq!((bench.hellos(), bench.ended()), (1, Some(1)));
        assert_eq!(bench.errors(), [ErrorKind::Local(LocalError::SecretNeedsTls)]);
    }
    let mut bench = Bench::in_room();
    let room = || "attic".to_owned();
    bench.ask(Request::Unlock { room: room(), password: pw("x") });
    bench.ask(Request::Register(Some(pw("x"))));
    let password = Some(pw("x"));
    bench.ask(Request::Moderate(Moderation::RoomPassword { room: room(), password }));
    assert_eq!(bench.sent(), Vec::<&Envelope<ClientMessage>>::new());
    assert_eq!(bench.errors(), [ErrorKind::Local(LocalError::SecretNeedsTls); 3]);
}

#[test]
fn what_opened_one_server_is_never_shown_to_another() {
    let keys = Keys {
        server: Some(pw("open")),
        name: Some(pw("mine")),
        room: Some(pw("in")),
        ..Keys::default()
    };
    let mut bench = Bench::inside(Settings { keys, ..settings() });
    bench.ask(Request::Visit(Box::new(invite("other.org", Some(key(9)), None))));
    bench.connect_by(Trust::Known);
    for code in [ErrorCode::ServerPassword, ErrorCode::NameRegistered] {
        bench.refuse(code);
        let hello = bench.hello();
        assert_eq!((hello.server_password, hello.password, hello.resume), (None, None, None));
        if code == ErrorCode::ServerPassword {
            // Back, and there again.
            bench.connect_by(Trust::Known);
            bench.answer(let_in("Ann", false));
            bench.ask(Request::Visit(Box::new(invite("other.org", Some(key(9)), None))));
            bench.connect_by(Trust::Known);
        }
    }
}

// ---- rooms -------------------------------------------------------------------------------------

#[test]
fn a_locked_room_asks_and_its_password_is_remembered_for_the_way_back() {
    let mut bench = Bench::inside(asking());
    bench.ask(Request::Join("Attic".into()));
    bench.refuse(ErrorCode::RoomPassword);
    for (typed, right) in [("guess", false), ("up", true)] {
        let lock = Lock::Room("Attic".into());
        bench.ask(Request::Password { lock, password: Some(pw(typed)) });
        let password = Some(pw(typed));
        assert_eq!(
            *bench.last_sent(),
            ClientMessage::Join { room: "Attic".into(), password, after: None }
        );
        match right {
            true => bench.answer(joined("Attic", vec![member(1, "Ann")], false)),
            false => bench.refuse(ErrorCode::BadRoomPassword),
        }
    }
    let (lock, of) = (LockKind::Room, "Attic");
    assert_eq!(bench.wanted(), [(lock, of, Turn::First), (lock, of, Turn::Wrong)]);
    bench.lose();
    bench.pass(600);
    bench.connect_by(Trust::Known);
    bench.answer(let_in("Ann", false));
    let password = Some(pw("up"));
    assert_eq!(
        *bench.last_sent(),
        ClientMessage::Join { room: "Attic".into(), password, after: None }
    );
    // Another password by now: asked for again.
    bench.refuse(ErrorCode::BadRoomPassword);
    assert_eq!(bench.wanted().last(), Some(&(lock, of, Turn::Wrong)));
    bench.ask(Request::Join("attic".into()));
    assert_eq!(*bench.last_sent(), ClientMessage::join("attic"), "the old one is forgotten");
}

#[test]
fn a_first_room_that_is_locked_holds_nothing_else_up() {
    let mut bench = Bench::new(asking());
    bench.connect_by(Trust::Known);
    bench.answer(let_in("Ann", false));
    bench.ask(Request::Rooms);
    bench.refuse(ErrorCode::RoomPassword);
    assert_eq!(*bench.last_sent(), ClientMessage::ListRooms);
    bench.ask(Request::Password { lock: Lock::Room("general".into()), password: None });
    assert_eq!(bench.told().last(), Some(&&Event::Notice { code: NoticeCode::NotEntered }));
}

#[test]
fn a_script_opens_a_locked_room_with_what_it_was_started_with_and_tries_once() {
    let keys = Keys { room: Some(pw("up")), ..Keys::default() };
    let mut bench = Bench::inside(Settings { keys, ..settings() });
    bench.ask(Request::Join("attic".into()));
    bench.refuse(ErrorCode::RoomPassword);
    let password = Some(pw("up"));
    assert_eq!(
        *bench.last_sent(),
        ClientMessage::Join { room: "attic".into(), password, after: None }
    );
    bench.refuse(ErrorCode::BadRoomPassword);
    assert_eq!(bench.errors(), [ErrorKind::Server(ErrorCode::BadRoomPassword)]);
    assert_eq!(bench.sent().len(), 2);
    bench.ask(Request::LockRoom("general".into()));
    let password = Some(pw("up"));
    let order = Moderation::RoomPassword { room: "general".into(), password };
    assert_eq!(*bench.last_sent(), ClientMessage::Moderate { order });
}

#[test]
fn a_renamed_room_keeps_its_password_and_is_come_back_to() {
    let room = |name: &str| RoomName::parse(name).unwrap();
    let mut bench = Bench::inside(asking());
    bench.ask(Request::Unlock { room: "attic".into(), password: pw("up") });
    bench.answer(joined("attic", vec![member(1, "Ann")], false));
    let (from, by) = (room("attic"), "Bob".to_owned());
    bench.event(ServerMessage::RoomRenamed { from, room: room("loft"), by });
    assert!(matches!(bench.told().last(), Some(Event::RoomRenamed { .. })));
    bench.lose();
    bench.pass(600);
    bench.connect_by(Trust::Known);
    bench.answer(let_in("Ann", false));
    let password = Some(pw("up"));
    assert_eq!(
        *bench.last_sent(),
        ClientMessage::Join { room: "loft".into(), password, after: None }
    );
}

// ---- names -------------------------------------------------------------------------------------

#[test]
fn a_name_registered_here_is_come_back_to_with_its_password() {
    let mut bench = Bench::inside(settings());
    bench.ask(Request::Register(Some(pw("mine"))));
    assert_eq!(*bench.last_sent(), ClientMessage::Register { password: pw("mine") });
    let name = UserName::parse("Ann").unwrap();
    bench.answer(ServerMessage::Registered { name, registered: true });
    assert!(matches!(bench.told().last(), Some(Event::Registered { registered: true, .. })));
    bench.lose();
    bench.pass(600);
    bench.connect_by(Trust::Known);
    bench.refuse(ErrorCode::NameRegistered);
    assert_eq!(bench.hello().password, Some(pw("mine")));
}

#[test]
fn a_script_without_a_password_cannot_register() {
    let mut bench = Bench::inside(settings());
    bench.ask(Request::Register(None));
    assert_eq!(bench.errors(), [ErrorKind::Local(LocalError::CannotAsk)]);
    assert_eq!(bench.sent(), Vec::<&Envelope<ClientMessage>>::new());
}

// ---- keeping order -----------------------------------------------------------------------------

#[test]
fn an_order_goes_out_and_its_report_is_told() {
    let mut bench = Bench::inside(settings());
    let order = Moderation::Kick { name: "Bob".into(), reason: None };
    bench.ask(Request::Moderate(order.clone()));
    assert_eq!(*bench.last_sent(), ClientMessage::Moderate { order });
    bench.answer(ServerMessage::Report { report: Report::Done });
    assert_eq!(bench.told(), [&Event::Report(Report::Done)]);
}

#[test]
fn what_is_not_allowed_says_what_it_takes() {
    let mut bench = Bench::inside(settings());
    let (target, reason) = (Whom::User("Bob".into()), None);
    let ban = Moderation::Ban { target, room: None, seconds: None, reason };
    for (order, role) in [(ban, "operator"), (Moderation::Lift { id: 1 }, "moderator")] {
        bench.ask(Request::Moderate(order));
        bench.refuse(ErrorCode::NotAllowed);
        let Some(Event::Error { code, args, .. }) = bench.told().last() else { panic!() };
        assert!(texts::error(*code, args).contains(role), "{args:?}");
    }
}

#[test]
fn who_is_sent_away_or_banned_learns_why_and_does_not_come_back() {
    for (reason, code) in
        [(GoodbyeReason::Kicked, LocalError::Kicked), (GoodbyeReason::Banned, LocalError::Banned)]
    {
        let mut bench = Bench::inside(settings());
        let (by, why) = (Some("Bob".to_owned()), Some("spam".to_owned()));
        let until_ms = Some(1_764_054_000_000);
        bench.event(ServerMessage::Goodbye { reason, by, why, until_ms });
        let Some(Event::Error { code: told, args, fatal: true }) = bench.told().last() else {
            panic!()
        };
        assert_eq!(*told, ErrorKind::Local(code));
        let text = texts::fatal(*told, args);
        assert!(text.contains("by Bob") && text.contains("spam"), "{text}");
        assert_eq!(text.contains("until 2025-11-2"), reason == GoodbyeReason::Banned, "{text}");
        assert_eq!(bench.ended(), Some(1));
        assert!(bench.voice().contains(&&VoiceCommand::Transmit(Transmit::Shut)));
        bench.actions.clear();
        bench.lose();
        bench.pass(60_000);
        assert_eq!(bench.actions, []);
    }
}

#[test]
fn who_finds_himself_banned_on_his_way_back_ends() {
    let mut bench = Bench::inside(settings());
    bench.lose();
    bench.pass(600);
    bench.connect_by(Trust::Known);
    bench.refuse(ErrorCode::Banned);
    assert_eq!(bench.ended(), Some(1));
}

#[test]
fn who_is_moved_has_his_microphone_closed_and_stays_where_he_was_put() {
    let mut bench = Bench::inside(settings());
    bench.ask(Request::Microphone { open: true });
    bench.ask(Request::Transmit { transmit: Transmit::Held, session: SessionNumber(1) });
    bench.actions.clear();
    let (room, reason) = (RoomName::parse("general").unwrap(), Some(LeaveReason::Moved));
    let (by, why) = (Some("Bob".to_owned()), None);
    bench.event(ServerMessage::Left { room, reason, by, why });
    bench.event(joined("attic", vec![member(1, "Ann")], false));
    assert_eq!(bench.voice()[0], &VoiceCommand::Transmit(Transmit::Shut));
    let states: Vec<_> = bench.sent().iter().map(|message| message.body.clone()).collect();
    assert_eq!(
        states,
        [ClientMessage::State(MemberState { muted: true, deafened: false, recording: false })]
    );
    assert!(matches!(bench.told()[..], [Event::Left { .. }, Event::Joined { .. }]));
    bench.lose();
    bench.pass(600);
    bench.connect_by(Trust::Known);
    bench.answer(let_in("Ann", false));
    assert_eq!(*bench.last_sent(), ClientMessage::join("attic"));
}

#[test]
fn a_move_without_a_word_closes_the_microphone_too() {
    let mut bench = Bench::inside(settings());
    bench.event(joined("attic", vec![member(1, "Ann")], false));
    assert_eq!(
        bench.voice()[..2],
        [&VoiceCommand::Transmit(Transmit::Shut), &VoiceCommand::LeaveRoom]
    );
    let [Event::Left { reason, .. }, Event::Joined { room, .. }] = bench.told()[..] else {
        panic!("{:?}", bench.told())
    };
    assert_eq!((*reason, room.as_str()), (Some(LeaveReason::Moved), "attic"));
}

#[test]
fn who_left_while_away_is_taken_out_of_the_room_that_he_is_put_into() {
    let mut bench = Bench::inside(settings());
    bench.lose();
    bench.ask(Request::Leave);
    bench.pass(600);
    bench.connect_by(Trust::Known);
    bench.answer(let_in("Ann", true));
    bench.event(joined("general", vec![member(1, "Ann")], false));
    assert_eq!(*bench.last_sent(), ClientMessage::Leave);
}

#[test]
fn what_the_server_thinks_of_us_is_told_when_it_changes() {
    let mut bench = Bench::inside(settings());
    let moderator = Standing { room_role: Some(Role::Moderator), ..Standing::default() };
    let silenced = Standing { silenced: true, ..moderator };
    bench.event(ServerMessage::Standing(moderator));
    bench.event(ServerMessage::Standing(silenced));
    let words: Vec<_> = bench.told().into_iter().map(texts::words).collect();
    assert!(words[0].concat().contains("moderator of general"), "{words:?}");
    assert!(words[1].concat().contains("silenced"), "{words:?}");
    // In another room the role is not lost, it is only not there.
    bench.ask(Request::Join("attic".into()));
    bench.answer(joined("attic", vec![member(1, "Ann")], false));
    bench.event(ServerMessage::Standing(Standing { silenced: true, ..Standing::default() }));
    let last = bench.told().last().copied().map(texts::words);
    assert_eq!(last, Some(vec![]));
}

#[test]
fn no_secret_stands_in_what_is_told_or_printed_for_debugging() {
    let secret = "hunter2";
    let keys = Keys { name: Some(pw(secret)), server: Some(pw(secret)), ..Keys::default() };
    let mut bench = Bench::new(Settings { keys, ..asking() });
    bench.connect_by(Trust::Known);
    bench.refuse(ErrorCode::ServerPassword);
    bench.refuse(ErrorCode::BadServerPassword);
    bench.ask(Request::Password { lock: Lock::Server, password: Some(pw(secret)) });
    bench.connect_by(Trust::Known);
    bench.answer(let_in("Ann", false));
    bench.answer(joined("general", vec![], false));
    bench.ask(Request::Unlock { room: "attic".into(), password: pw(secret) });
    bench.ask(Request::Register(Some(pw(secret))));
    bench.ask(Request::Chat("x".into()));
    bench.lose();
    for action in &bench.actions {
        assert!(!format!("{action:?}").contains(secret), "{action:?}");
        if let Action::Tell(event) = action {
            assert!(
                !event.to_json().contains(secret) && !texts::words(event).concat().contains(secret)
            );
        }
    }
    assert!(!format!("{:?}", bench.core).contains(secret));
}
