//! The app, driven by hand: keys, lines and events in, requests and events out.

use super::*;
use crate::client::event::{ErrorKind, LocalError, LossCause, Turn};
use crate::net::clock;
use crate::net::message::LeaveReason;
use crate::net::moderation::{Moderation, Role};
use crate::net::name::UserName;
use crate::net::secret::Password;
use std::time::Duration;

struct Bench {
    app: App,
    now: Instant,
    effects: Vec<Effect>,
}

impl Bench {
    fn new(keys: Option<Release>, mode: Mode) -> Self {
        Self { app: App::new(keys, mode, false), now: clock::now(), effects: Vec::new() }
    }

    /// In a room, with a terminal that reports when a key is let go.
    fn in_room() -> Self {
        let mut bench = Self::new(Some(Release::Reported), Mode::PushToTalk);
        bench.welcome(1);
        bench.join();
        bench.effects.clear();
        bench
    }

    fn give(&mut self, input: Input) {
        let effects = self.app.handle(input, self.now);
        self.effects.extend(effects);
    }

    fn event(&mut self, event: Event) {
        self.give(Input::Event(event));
    }

    fn welcome(&mut self, session: u32) {
        let name = UserName::parse("Ann").unwrap();
        let (id, agent, session) = (MemberId(1), String::new(), SessionNumber(session));
        self.event(Event::Welcome { id, name, agent, resumed: false, session });
    }

    fn join(&mut self) {
        let room = RoomName::parse("general").unwrap();
        self.event(Event::Joined { room, members: vec![] });
    }

    fn lose(&mut self) {
        let why = LossCause::Closed;
        self.event(Event::Lost { why, detail: String::new(), retry_ms: 500 });
    }

    fn key(&mut self, code: KeyCode, action: KeyAction) {
        self.give(Input::Key(Key { code, ctrl: false, alt: false, action }));
    }

    fn press(&mut self, code: KeyCode) {
        self.key(code, KeyAction::Press);
        self.key(code, KeyAction::Release);
    }

    fn ctrl(&mut self, c: char) {
        let action = KeyAction::Press;
        self.give(Input::Key(Key { code: KeyCode::Char(c), ctrl: true, alt: false, action }));
    }

    fn type_text(&mut self, text: &str) {
        text.chars().for_each(|c| self.press(KeyCode::Char(c)));
    }

    fn asking(mut self) -> Self {
        self.app = self.app.asking_passwords(true);
        self
    }

    fn wanted(&mut self, lock: LockKind, of: &str) {
        self.event(Event::PasswordWanted { lock, of: of.to_owned(), turn: Turn::First });
    }

    fn asked(&mut self) -> Vec<Request> {
        let asked =
            std::mem::take(&mut self.effects).into_iter().filter_map(|effect| match effect {
                Effect::Ask(request) => Some(request),
                _ => None,
            });
        asked.collect()
    }

    fn transmitted(&mut self) -> Vec<bool> {
        let asked = self.asked().into_iter().filter_map(|request| match request {
            Request::Transmit { transmit, .. } => Some(transmit.is_on()),
            _ => None,
        });
        asked.collect()
    }
}

#[test]
fn a_typed_line_is_said_and_a_command_is_done() {
    let mut bench = Bench::in_room();
    bench.type_text("hello");
    bench.press(KeyCode::Enter);
    bench.type_text("/join music");
    bench.press(KeyCode::Enter);
    assert_eq!(bench.asked(), [Request::Chat("hello".into()), Request::Join("music".into())]);
    assert!(bench.app.editor().is_empty());
}

#[test]
fn a_paste_of_several_lines_is_one_text_and_waits_for_enter() {
    let mut bench = Bench::in_room();
    bench.give(Input::Paste("one\n/exit\n".into()));
    assert_eq!(bench.asked(), []);
    bench.press(KeyCode::Enter);
    assert_eq!(bench.asked(), [Request::Chat("one\n/exit".into())]);
}

#[test]
fn a_mistyped_command_is_shown_and_not_sent() {
    let mut bench = Bench::in_room();
    bench.give(Input::Line("/mtue".into()));
    assert!(matches!(
        bench.effects[..],
        [Effect::Show(Event::Error { code: ErrorKind::Local(LocalError::UnknownCommand), .. })]
    ));
}

#[test]
fn the_talk_key_talks_only_while_it_is_held_and_only_in_a_room() {
    let mut bench = Bench::in_room();
    bench.key(KeyCode::Char('ё'), KeyAction::Press);
    bench.key(KeyCode::Char('ё'), KeyAction::Repeat);
    bench.key(KeyCode::Char('ё'), KeyAction::Release);
    assert_eq!(bench.transmitted(), [true, false]);
    assert!(bench.app.editor().is_empty());
    let room = RoomName::parse("general").unwrap();
    bench.key(KeyCode::Char('`'), KeyAction::Press);
    bench.event(Event::Left { room, reason: None, by: None, why: None });
    assert_eq!(bench.transmitted(), [true, false]);
    bench.key(KeyCode::Char('`'), KeyAction::Release);
    bench.key(KeyCode::Char('`'), KeyAction::Press);
    let notice = Effect::Show(Event::Notice { code: NoticeCode::NobodyToTalkTo });
    assert!(bench.effects.contains(&notice));
    assert_eq!(bench.transmitted(), [false; 0]);
}

#[test]
fn on_a_line_with_text_a_tap_types_the_key() {
    let mut bench = Bench::in_room();
    bench.type_text("в");
    bench.press(KeyCode::Char('ё'));
    assert_eq!(bench.app.editor().text(), "вё");
    assert_eq!(bench.transmitted(), [false; 0]);
    bench.key(KeyCode::Char('ё'), KeyAction::Press);
    bench.now += Duration::from_millis(200);
    bench.give(Input::Tick);
    bench.key(KeyCode::Char('ё'), KeyAction::Release);
    assert_eq!((bench.transmitted(), bench.app.editor().text()), (vec![true, false], "вё".into()));
}

#[test]
fn losing_focus_closes_the_microphone() {
    let mut bench = Bench::in_room();
    bench.key(KeyCode::Char('`'), KeyAction::Press);
    bench.give(Input::FocusLost);
    bench.key(KeyCode::Char('`'), KeyAction::Repeat);
    assert_eq!(bench.transmitted(), [true, false]);
}

#[test]
fn a_return_after_a_loss_is_never_unmuted() {
    let mut bench = Bench::in_room();
    bench.give(Input::Line("/unmute".into()));
    assert_eq!(bench.transmitted(), [true]);
    bench.lose();
    assert_eq!(bench.transmitted(), [false]);
    bench.welcome(2);
    bench.join();
    assert_eq!(bench.transmitted(), [false; 0]);
    assert_eq!(bench.app.microphone(), (Mode::PushToTalk, false, true));
    // A key that was down all the time neither.
    bench.key(KeyCode::Char('`'), KeyAction::Press);
    bench.lose();
    bench.welcome(3);
    bench.join();
    bench.key(KeyCode::Char('`'), KeyAction::Repeat);
    assert_eq!(bench.transmitted(), [true, false]);
}

#[test]
fn an_open_microphone_begins_with_the_room_and_with_its_session() {
    let mut bench = Bench::new(None, Mode::Open);
    bench.welcome(4);
    assert_eq!(bench.asked(), []);
    bench.join();
    let session = SessionNumber(4);
    assert_eq!(bench.asked(), [Request::Transmit { transmit: Transmit::Open, session }]);
    bench.give(Input::Line("/mute".into()));
    let expected = [
        Request::Microphone { open: false },
        Request::Transmit { transmit: Transmit::Shut, session },
    ];
    assert_eq!(bench.asked(), expected);
}

#[test]
fn an_unplugged_microphone_lets_go_of_the_key_and_is_shown() {
    let mut bench = Bench::in_room();
    bench.key(KeyCode::Char('`'), KeyAction::Press);
    let direction = DeviceKind::Input;
    let (name, error) = ("Mic".to_owned(), "gone".to_owned());
    bench.event(Event::DeviceDown { direction, name, error });
    assert_eq!(bench.transmitted(), [true, false]);
    assert!(!bench.app.microphone().2);
    bench.event(Event::DeviceUp { direction, description: "Mic".to_owned() });
    assert!(bench.app.microphone().2);
}

#[test]
fn ctrl_c_leaves_and_ctrl_d_only_from_an_empty_line() {
    let mut bench = Bench::in_room();
    bench.ctrl('c');
    assert_eq!(bench.asked(), [Request::Quit]);
    bench.type_text("x");
    bench.ctrl('d');
    assert_eq!(bench.asked(), []);
    bench.ctrl('u');
    bench.ctrl('d');
    assert_eq!(bench.asked(), [Request::Quit]);
}

#[test]
fn speakers_come_and_go_with_their_events() {
    let mut bench = Bench::in_room();
    let name = UserName::parse("Bob").unwrap();
    let id = MemberId(2);
    let (muted, deafened, speaking, you) = (true, false, false, false);
    let (silenced, role) = (false, None);
    let bob = Person {
        id,
        name: name.clone(),
        muted,
        deafened,
        recording: false,
        volume: None,
        speaking,
        silenced,
        role,
        you,
    };
    bench.event(Event::MemberJoined(bob));
    bench.event(Event::Speaking { id, name: name.clone(), on: true, you });
    assert_eq!(bench.app.speakers().count(), 1);
    bench.event(Event::Speaking { id, name, on: false, you });
    assert_eq!(bench.app.speakers().count(), 0);
}

fn password(text: &str) -> Option<Password> {
    Password::new(text.to_owned()).ok()
}

#[test]
fn a_password_is_typed_hidden_and_stands_in_no_history() {
    let mut bench = Bench::in_room().asking();
    bench.type_text("half a line");
    bench.wanted(LockKind::Server, "example.org");
    bench.type_text("hunter2x");
    bench.press(KeyCode::Backspace);
    assert_eq!(bench.app.editor().text(), "half a line");
    bench.press(KeyCode::Enter);
    let answer = Request::Password { lock: Lock::Server, password: password("hunter2") };
    assert_eq!(bench.asked(), [answer]);
    bench.ctrl('u');
    bench.press(KeyCode::Up);
    assert_eq!(bench.app.editor().text(), "");
}

#[test]
fn escape_gives_up_a_password() {
    let mut bench = Bench::in_room().asking();
    bench.wanted(LockKind::Room, "attic");
    bench.type_text("hun");
    bench.press(KeyCode::Escape);
    let answer = Request::Password { lock: Lock::Room("attic".into()), password: None };
    assert_eq!(bench.asked(), [answer]);
    bench.type_text("x");
    assert_eq!(bench.app.editor().text(), "x");
}

#[test]
fn a_question_for_a_password_closes_the_microphone_and_its_key_types() {
    let mut bench = Bench::in_room().asking();
    bench.key(KeyCode::Char('`'), KeyAction::Press);
    bench.wanted(LockKind::Name, "Ann");
    bench.key(KeyCode::Char('`'), KeyAction::Release);
    assert_eq!(bench.transmitted(), [true, false]);
    bench.press(KeyCode::Char('`'));
    assert_eq!((bench.transmitted(), bench.app.asking().typed()), (vec![], 1));
}

#[test]
fn a_question_outlives_the_connection_so_that_no_password_is_said_aloud() {
    let mut bench = Bench::in_room().asking();
    bench.wanted(LockKind::Room, "attic");
    bench.type_text("hun");
    bench.lose();
    bench.welcome(2);
    bench.join();
    bench.asked();
    bench.type_text("ter2");
    bench.press(KeyCode::Enter);
    let lock = Lock::Room("attic".into());
    assert_eq!(bench.asked(), [Request::Password { lock, password: password("hunter2") }]);
}

#[test]
fn registering_and_locking_ask_twice_in_both_consoles() {
    let mut bench = Bench::in_room().asking();
    bench.give(Input::Line("/register".into()));
    bench.give(Input::Line("mine".into()));
    assert_eq!(bench.asked(), []);
    bench.give(Input::Line("mine".into()));
    assert_eq!(bench.asked(), [Request::Register(password("mine"))]);
    bench.type_text("/lock");
    bench.press(KeyCode::Enter);
    for _ in 0..2 {
        bench.type_text("up");
        bench.press(KeyCode::Enter);
    }
    let room = "general".to_owned();
    let order = Moderation::RoomPassword { room, password: password("up") };
    assert_eq!(bench.asked(), [Request::Moderate(order)]);
}

#[test]
fn where_nobody_can_be_asked_the_connection_has_to_know() {
    let mut bench = Bench::in_room();
    bench.give(Input::Line("/register".into()));
    bench.give(Input::Line("/lock attic".into()));
    assert_eq!(bench.asked(), [Request::Register(None), Request::LockRoom("attic".into())]);
}

#[test]
fn who_is_moved_is_not_heard_in_the_other_room_until_he_wants_to_be() {
    for open in [false, true] {
        let mut bench = Bench::in_room();
        match open {
            true => bench.give(Input::Line("/unmute".into())),
            false => bench.key(KeyCode::Char('`'), KeyAction::Press),
        }
        let (room, reason) = (RoomName::parse("general").unwrap(), Some(LeaveReason::Moved));
        bench.event(Event::Left { room, reason, by: None, why: None });
        bench.join();
        bench.key(KeyCode::Char('`'), KeyAction::Repeat);
        assert_eq!(bench.transmitted(), [true, false], "{open}");
    }
}

#[test]
fn going_to_another_server_closes_the_microphone() {
    let mut bench = Bench::in_room();
    bench.give(Input::Line("/unmute".into()));
    bench.event(Event::Connecting { server: "other.org:8888".into() });
    bench.welcome(2);
    bench.join();
    assert_eq!(bench.transmitted(), [true, false]);
}

#[test]
fn help_shows_the_commands_of_moderators_to_those_who_are() {
    let mut bench = Bench::in_room();
    let topic = |bench: &mut Bench, line: &str| {
        bench.effects.clear();
        bench.give(Input::Line(line.into()));
        match bench.effects[..] {
            [Effect::Show(Event::Help { topic, .. })] => topic,
            ref other => panic!("{other:?}"),
        }
    };
    assert_eq!(topic(&mut bench, "/help"), HelpTopic::Everyone);
    assert_eq!(topic(&mut bench, "/help moderation"), HelpTopic::Moderation);
    let standing = Standing { room_role: Some(Role::Moderator), ..Standing::default() };
    bench.event(Event::Standing { standing, before: Standing::default(), room: None });
    assert_eq!(topic(&mut bench, "/help"), HelpTopic::All);
}

#[test]
fn an_order_from_elsewhere_talks_without_a_terminal_in_front_and_says_text_only() {
    let mut bench = Bench::in_room();
    assert_eq!(bench.app.would(&Order::Press), Ok(()));
    bench.give(Input::Remote(Order::Toggle));
    bench.give(Input::FocusLost);
    assert_eq!(bench.transmitted(), [true], "another window is in front, as it is meant to be");
    bench.give(Input::Remote(Order::Toggle));
    assert_eq!(bench.transmitted(), [false]);
    bench.give(Input::Remote(Order::Say("/exit".into())));
    assert_eq!(bench.asked(), [Request::Chat("/exit".into())]);
    bench.give(Input::Remote(Order::Press));
    bench.lose();
    assert_eq!(bench.transmitted(), [true, false]);
    assert!(bench.app.would(&Order::Press).is_err());
    assert!(bench.app.would(&Order::Say("hi".into())).is_err());
    assert_eq!(bench.app.would(&Order::Release), Ok(()));
    bench.welcome(2);
    bench.join();
    assert!(!bench.transmitted().contains(&true), "it is let go with the connection");
}

#[test]
fn whoever_wakes_the_computer_up_is_not_heard_at_once() {
    let mut bench = Bench::in_room();
    bench.give(Input::Line("/unmute".into()));
    bench.event(Event::Notice { code: NoticeCode::Slept });
    assert_eq!(bench.transmitted(), [true, false]);
    assert_eq!(bench.app.microphone().0, Mode::PushToTalk);
    for down in [Input::TalkKey(true), Input::Remote(Order::Press)] {
        bench.give(down);
        bench.event(Event::Notice { code: NoticeCode::Slept });
        assert_eq!(bench.transmitted(), [true, false]);
        bench.give(Input::TalkKey(false));
        bench.give(Input::Remote(Order::Release));
        assert_eq!(bench.transmitted(), [false; 0]);
    }
}

#[test]
fn another_key_talks_in_the_place_of_the_usual_one_whatever_is_on_the_line() {
    let key = TalkKey::parse("f8").unwrap();
    let mut bench = Bench::in_room();
    let app = std::mem::replace(&mut bench.app, App::new(None, Mode::PushToTalk, false));
    bench.app = app.talking_by(key);
    bench.type_text("a`");
    assert_eq!(bench.app.editor().text(), "a`", "the usual one types");
    assert_eq!(bench.transmitted(), [false; 0]);
    bench.key(KeyCode::Function(8), KeyAction::Press);
    bench.key(KeyCode::Function(8), KeyAction::Release);
    assert_eq!(bench.transmitted(), [true, false]);
}

#[test]
fn a_key_seen_in_all_windows_types_nothing_into_passwords_and_minds_no_focus() {
    let mut bench = Bench::in_room();
    bench.give(Input::FocusLost);
    bench.give(Input::TalkKey(true));
    bench.give(Input::FocusGained);
    bench.give(Input::FocusLost);
    bench.give(Input::TalkKey(false));
    assert_eq!(bench.transmitted(), [true, false]);
    // Text that waits on our line is of no concern while another window is in front.
    bench.type_text("half");
    bench.give(Input::TalkKey(true));
    assert_eq!(bench.transmitted(), [true]);
    bench.give(Input::TalkKey(false));
    bench.give(Input::FocusGained);
    bench.transmitted();
    bench.give(Input::TalkKey(true));
    assert_eq!(bench.transmitted(), [false; 0], "here it may be typing");
    bench.give(Input::TalkKey(false));
    bench.app = std::mem::replace(&mut bench.app, App::new(None, Mode::PushToTalk, false))
        .asking_passwords(true);
    let (lock, of, turn) = (LockKind::Room, "attic".to_owned(), Turn::First);
    bench.event(Event::PasswordWanted { lock, of, turn });
    bench.transmitted();
    bench.give(Input::TalkKey(true));
    bench.now += Duration::from_secs(1);
    bench.give(Input::Tick);
    assert_eq!(bench.transmitted(), [false; 0]);
}

#[test]
fn the_talk_key_let_go_together_with_ctrl_is_let_go() {
    let mut bench = Bench::in_room();
    bench.key(KeyCode::Char('`'), KeyAction::Press);
    let (code, action) = (KeyCode::Char('`'), KeyAction::Release);
    bench.give(Input::Key(Key { code, ctrl: true, alt: false, action }));
    assert_eq!(bench.transmitted(), [true, false]);
}
