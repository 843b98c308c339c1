//! The interface, driven by hand: keys and events in, requests and a state to draw out.

use super::*;
use crate::client::app::{Key, KeyAction, KeyCode};
use crate::client::event::{DeviceKind, Person, SessionNumber, Stats};
use crate::client::ptt::{Mode, Release};
use crate::client::voice::{DeviceList, DeviceName, VoiceStats};
use crate::net::clock;
use crate::net::message::Standing;
use crate::net::moderation::Role;
use proptest::prelude::*;

/// A quarter past two in the afternoon.
const AFTERNOON_MS: u64 = 14 * 3_600_000 + 15 * 60_000;

/// Somebody who is in a room.
pub(crate) fn person(id: u64, name: &str) -> Person {
    Person {
        id: MemberId(id),
        name: UserName::parse(name).unwrap(),
        muted: true,
        deafened: false,
        recording: false,
        volume: None,
        speaking: false,
        silenced: false,
        role: None,
        you: id == 1,
    }
}

fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

/// An interface, and what it asked for.
pub(crate) struct Bench {
    pub(crate) view: Interface,
    now: Instant,
    pub(crate) effects: Vec<Effect>,
}

impl Bench {
    pub(crate) fn new(width: u16, height: u16) -> Self {
        let app = App::new(Some(Release::Reported), Mode::PushToTalk, false);
        let app = app.asking_passwords(true);
        let view = Interface::new(app, TimeZone::UTC, Size { width, height });
        Self { view, now: clock::now(), effects: Vec::new() }
    }

    /// Ann, in the room `general` with Bob and Big Joe; there are the rooms `attic` and `den`, too.
    pub(crate) fn in_room(width: u16, height: u16) -> Self {
        let mut bench = Self::new(width, height);
        let name = UserName::parse("Ann").unwrap();
        let (id, agent, session) = (MemberId(1), String::new(), SessionNumber(1));
        bench.event(Event::Welcome { id, name, agent, resumed: false, session });
        let members = vec![person(1, "Ann"), person(2, "Bob"), person(3, "Big Joe")];
        bench.event(Event::Joined { room: room("general"), members });
        let known = [("attic", 2, true), ("general", 3, false), ("den", 1, false)];
        let rooms = known.map(|(name, members, locked)| Room {
            name: room(name),
            members,
            locked,
            here: name == "general",
        });
        bench.event(Event::Rooms { rooms: rooms.into(), total: 3 });
        bench.effects.clear();
        bench
    }

    pub(crate) fn give(&mut self, input: Input) {
        let at = Moment { now: self.now, unix_ms: AFTERNOON_MS };
        let effects = self.view.handle(input, at);
        self.effects.extend(effects);
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.give(Input::Event(event));
    }

    pub(crate) fn press(&mut self, code: KeyCode) {
        self.key(code, false, KeyAction::Press);
        self.key(code, false, KeyAction::Release);
    }

    fn key(&mut self, code: KeyCode, alt: bool, action: KeyAction) {
        self.give(Input::Key(Key { code, ctrl: false, alt, action }));
    }

    pub(crate) fn type_text(&mut self, text: &str) {
        text.chars().for_each(|c| self.press(KeyCode::Char(c)));
    }

    pub(crate) fn chat(&mut self, name: &str, text: &str) {
        let (name, text) = (UserName::parse(name).unwrap(), text.to_owned());
        self.event(Event::Chat {
            id: MemberId(2),
            name,
            text,
            at_ms: AFTERNOON_MS,
            you: false,
            heard: Heard::Live,
        });
    }

    pub(crate) fn private(&mut self, from: &str, text: &str) {
        let (from, to) = (UserName::parse(from).unwrap(), UserName::parse("Ann").unwrap());
        let text = text.to_owned();
        self.event(Event::Private { from, to, text, at_ms: AFTERNOON_MS, you: false });
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.give(Input::Tick);
    }

    /// What was asked for meanwhile, but the questions of its own.
    pub(crate) fn asked(&mut self) -> Vec<Request> {
        let asked =
            std::mem::take(&mut self.effects).into_iter().filter_map(|effect| match effect {
                Effect::Ask(Request::Rooms | Request::Stats | Request::Transmit { .. }) => None,
                Effect::Ask(request) => Some(request),
                _ => None,
            });
        asked.collect()
    }

    fn texts(&self) -> Vec<String> {
        let talk = self.view.talk().unwrap();
        talk.entries.iter().map(|entry| entry.text.clone()).collect()
    }

    fn on_line(&self) -> String {
        self.view.app().editor().text()
    }
}

#[test]
fn enter_in_the_list_goes_to_another_room() {
    let mut bench = Bench::in_room(80, 24);
    bench.press(KeyCode::Tab);
    bench.press(KeyCode::Enter);
    assert_eq!(bench.asked(), [Request::Join("attic".into())]);
    assert_eq!(bench.view.focus(), Focus::Line);
}

#[test]
fn what_is_typed_beside_a_persons_messages_goes_to_him_alone() {
    let mut bench = Bench::in_room(80, 24);
    bench.private("Bob", "psst");
    bench.press(KeyCode::Tab);
    bench.press(KeyCode::End);
    bench.press(KeyCode::Enter);
    assert_eq!(bench.texts(), ["psst"]);
    bench.type_text("what?");
    bench.press(KeyCode::Enter);
    let to_bob = |text: &str| Request::Private { to: "Bob".into(), text: text.into() };
    assert_eq!(bench.asked(), [to_bob("what?")]);
    bench.type_text("//x");
    bench.press(KeyCode::Enter);
    bench.type_text("/me waves");
    bench.press(KeyCode::Enter);
    bench.type_text("/leave");
    bench.press(KeyCode::Enter);
    assert_eq!(
        bench.asked(),
        [to_bob("/x"), to_bob("/me waves"), Request::Leave],
        "commands stay commands"
    );
    bench.press(KeyCode::Escape);
    bench.type_text("hi all");
    bench.press(KeyCode::Enter);
    assert_eq!(bench.asked(), [Request::Chat("hi all".into())]);
}

#[test]
fn texts_that_nobody_has_looked_at_are_unread_until_somebody_does() {
    let mut bench = Bench::in_room(80, 24);
    bench.chat("Bob", "seen at once");
    assert_eq!(bench.view.unread().count(), 0);
    bench.give(Input::FocusLost);
    bench.chat("Bob", "unseen");
    bench.chat("Bob", "ann: look");
    let talk = bench.view.unread().next().unwrap();
    assert_eq!((talk.unread, talk.mentioned), (2, true));
    assert_eq!(bench.effects.iter().filter(|e| **e == Effect::Bell).count(), 1);
    bench.give(Input::FocusGained);
    assert_eq!(bench.view.unread().count(), 0);
    bench.private("Bob", "psst");
    assert_eq!(bench.view.unread().next().unwrap().unread, 1);
    bench.key(KeyCode::Down, true, KeyAction::Press);
    assert_eq!(bench.view.unread().count(), 0, "Alt-Down has opened it");
}

#[test]
fn what_is_read_stays_in_place_while_more_comes() {
    let mut bench = Bench::in_room(80, 12);
    (0..40).for_each(|k| bench.chat("Bob", &format!("line {k}")));
    bench.press(KeyCode::PageUp);
    let scroll = bench.view.scroll();
    assert!(scroll > 0);
    bench.chat("Bob", "one more");
    assert_eq!(bench.view.scroll(), scroll + 1);
    assert_eq!(bench.view.unread().count(), 1);
    (0..30).for_each(|_| bench.press(KeyCode::PageUp));
    assert!(bench.view.scroll() <= 45, "{}", bench.view.scroll());
    bench.press(KeyCode::Escape);
    assert_eq!((bench.view.scroll(), bench.view.unread().count()), (0, 0));
}

#[test]
fn plus_and_minus_change_a_volume_as_fast_as_they_are_pressed() {
    let mut bench = Bench::in_room(80, 24);
    bench.press(KeyCode::Function(6));
    let joe = UserName::parse("Big Joe").unwrap();
    while bench.view.chosen_person() != Some(joe.clone()) {
        bench.press(KeyCode::Down);
    }
    bench.asked();
    "+++-".chars().for_each(|c| bench.press(KeyCode::Char(c)));
    let percents: Vec<_> = bench
        .asked()
        .into_iter()
        .map(|request| match request {
            Request::Volume { name, wish } => (name, format!("{wish:?}")),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [110, 120, 130, 120].map(|n| ("Big Joe".to_owned(), format!("Percent({n})")));
    assert_eq!(percents, expected);
}

#[test]
fn a_menu_does_what_a_command_does_and_asks_for_what_it_needs() {
    let mut bench = Bench::in_room(80, 24);
    bench.type_text("half a sen");
    bench.press(KeyCode::Function(2));
    bench.press(KeyCode::Enter);
    assert_eq!(bench.asked(), [Request::Microphone { open: true }]);
    bench.press(KeyCode::Function(2));
    let Some(Overlay::Menu(menu)) = bench.view.overlay() else { panic!() };
    let join = menu
        .items
        .iter()
        .position(|item| matches!(&item.act, menu::Act::Ask { before, .. } if before == "/join "));
    (0..join.unwrap()).for_each(|_| bench.press(KeyCode::Down));
    bench.press(KeyCode::Enter);
    assert_eq!(bench.on_line(), "", "the line is lent to the question");
    bench.type_text("de");
    bench.press(KeyCode::Tab);
    bench.press(KeyCode::Enter);
    assert_eq!(bench.asked(), [Request::Join("den".into())]);
    assert_eq!(bench.on_line(), "half a sen", "and comes back as it was");
}

#[test]
fn a_form_that_is_given_up_does_nothing_and_an_invite_form_says_nothing_to_the_room() {
    let mut bench = Bench::in_room(80, 24);
    let open = |bench: &mut Bench, act: menu::Act| {
        bench.press(KeyCode::Function(2));
        let Some(Overlay::Menu(menu)) = bench.view.overlay() else { panic!() };
        let at = menu.items.iter().position(|item| item.act == act).unwrap();
        (0..at).for_each(|_| bench.press(KeyCode::Down));
        bench.press(KeyCode::Enter);
    };
    let question = texts::interface::menu::WHICH_INVITE;
    open(&mut bench, menu::Act::Ask { before: String::new(), question });
    bench.type_text("no invite");
    bench.press(KeyCode::Enter);
    assert_eq!(bench.asked(), []);
    let question = texts::interface::menu::WHICH_ROOM;
    open(&mut bench, menu::Act::Ask { before: "/join ".into(), question });
    bench.type_text("attic");
    bench.press(KeyCode::Escape);
    assert_eq!((bench.asked(), bench.on_line()), (vec![], String::new()));
}

#[test]
fn tab_completes_commands_names_and_rooms() {
    let mut bench = Bench::in_room(80, 24);
    for (typed, completed) in
        [("/msg b", "/msg \"Big Joe\" "), ("bo", "Bob: "), ("/join at", "/join attic ")]
    {
        bench.type_text(typed);
        bench.press(KeyCode::Tab);
        assert_eq!(bench.on_line(), completed);
        bench.give(Input::Key(Key {
            code: KeyCode::Char('u'),
            ctrl: true,
            alt: false,
            action: KeyAction::Press,
        }));
    }
    bench.type_text("b");
    bench.press(KeyCode::Tab);
    bench.press(KeyCode::Tab);
    assert_eq!(bench.on_line(), "Bob: ", "the next one");
    bench.press(KeyCode::BackTab);
    bench.press(KeyCode::BackTab);
    assert_eq!(bench.on_line(), "Bob: ");
}

#[test]
fn a_search_shows_only_what_holds_the_word() {
    let mut bench = Bench::in_room(80, 24);
    bench.type_text("draft");
    ["red", "Green", "greenish"].iter().for_each(|text| bench.chat("Bob", text));
    bench.press(KeyCode::Function(3));
    bench.type_text("gREEn");
    let sought = bench.view.sought().unwrap();
    let talk = bench.view.talk().unwrap();
    let shown = talk.entries.iter().filter(|entry| bench.view.shows(entry, Some(&sought)));
    assert_eq!(shown.count(), 2);
    bench.press(KeyCode::Escape);
    assert_eq!((bench.view.sought(), bench.on_line()), (None, "draft".to_owned()));
    assert_eq!(bench.asked(), []);
}

#[test]
fn the_key_that_talks_talks_wherever_the_user_is() {
    let mut bench = Bench::in_room(80, 24);
    for opened in [KeyCode::Function(1), KeyCode::Function(2), KeyCode::Function(6)] {
        bench.press(opened);
        bench.key(KeyCode::Char('`'), false, KeyAction::Press);
        assert!(bench.view.app().microphone().1, "{opened:?}");
        bench.key(KeyCode::Char('`'), false, KeyAction::Release);
        assert!(!bench.view.app().microphone().1, "{opened:?}");
        bench.press(KeyCode::Escape);
    }
}

#[test]
fn questions_of_its_own_are_not_told_and_those_of_the_user_are() {
    let mut bench = Bench::in_room(80, 24);
    let before = bench.texts().len();
    let stats = || Event::Stats(Box::new(Stats::new(VoiceStats::default(), |_| None)));
    // Asked for when the room was entered.
    bench.event(stats());
    bench.pass(2000);
    assert!(bench.effects.contains(&Effect::Ask(Request::Stats)));
    let args = [("what".to_owned(), "/stats".to_owned())].into();
    let code = ErrorKind::Local(crate::client::event::LocalError::NoAnswer);
    bench.event(Event::Error { code, args, fatal: false });
    assert_eq!(bench.texts().len(), before, "{:?}", bench.texts());
    bench.type_text("/stats");
    bench.press(KeyCode::Enter);
    bench.event(stats());
    assert_eq!(bench.texts().len(), before + 1);
}

#[test]
fn who_is_in_another_room_is_asked_when_the_list_stands_on_it() {
    let mut bench = Bench::in_room(80, 24);
    bench.press(KeyCode::Tab);
    bench.press(KeyCode::Down);
    assert_eq!(bench.asked(), [Request::Users(Some("den".into()))]);
    let users = Event::Users { room: room("den"), members: vec![person(9, "Zoe")], total: 1 };
    let before = bench.texts().len();
    bench.event(users);
    let zoe = Row::Elsewhere(room("den"), UserName::parse("Zoe").unwrap());
    assert!(bench.view.rows().contains(&zoe));
    assert_eq!(bench.texts().len(), before);
}

#[test]
fn an_invite_is_shown_until_it_is_closed_on_purpose() {
    let mut bench = Bench::in_room(80, 24);
    let line = "parlor://h/#.token".to_owned();
    bench.event(Event::Report(Report::Invited { id: 1, line }));
    bench.press(KeyCode::Char('x'));
    assert!(matches!(bench.view.overlay(), Some(Overlay::Invite(_))));
    bench.press(KeyCode::Escape);
    assert!(bench.view.overlay().is_none());
}

#[test]
fn the_role_decides_what_a_persons_menu_offers() {
    let mut bench = Bench::in_room(80, 24);
    assert_eq!(bench.view.power(), Power::default());
    let standing = Standing { role: Some(Role::Operator), ..Standing::default() };
    bench.event(Event::Standing { standing, before: Standing::default(), room: None });
    assert!(bench.view.power().server);
}

#[test]
fn a_fatal_error_is_left_for_the_shell_to_say() {
    let mut bench = Bench::new(80, 24);
    let code = ErrorKind::Local(crate::client::event::LocalError::CannotConnect);
    bench.event(Event::Error { code, args: BTreeMap::new(), fatal: true });
    assert!(matches!(&bench.effects[..], [Effect::Fatal(why)] if why.starts_with("parlor: ")));
}

#[test]
fn conversations_have_a_bound_and_the_open_one_stays() {
    let mut bench = Bench::in_room(80, 24);
    for k in 0..3 * CONVERSATIONS_MAX {
        bench.private(&format!("user {k}"), "x");
    }
    assert!(bench.view.conversations.len() <= CONVERSATIONS_MAX);
    assert_eq!(bench.view.talk().unwrap().place, Place::Room(room("general")));
}

fn any_key() -> impl Strategy<Value = Input> {
    let codes = vec![
        KeyCode::Enter,
        KeyCode::Backspace,
        KeyCode::Delete,
        KeyCode::Left,
        KeyCode::Right,
        KeyCode::Up,
        KeyCode::Down,
        KeyCode::Home,
        KeyCode::End,
        KeyCode::Escape,
        KeyCode::Tab,
        KeyCode::BackTab,
        KeyCode::PageUp,
        KeyCode::PageDown,
    ];
    let code = prop_oneof![
        prop::sample::select(codes),
        (1u8..13).prop_map(KeyCode::Function),
        any::<char>().prop_map(KeyCode::Char),
        prop::sample::select(vec!['`', 'ё', '/', '+', '-', 'm', 'i', 'k', ' ', '?'])
            .prop_map(KeyCode::Char),
    ];
    let action =
        prop::sample::select(vec![KeyAction::Press, KeyAction::Repeat, KeyAction::Release]);
    let key = (code, any::<bool>(), any::<bool>(), action)
        .prop_map(|(code, ctrl, alt, action)| Input::Key(Key { code, ctrl, alt, action }));
    let down = || Event::DeviceDown {
        direction: DeviceKind::Input,
        name: "Mic".into(),
        error: "gone".into(),
    };
    prop_oneof![
        20 => key,
        1 => ".{0,9}".prop_map(Input::Paste),
        1 => prop::sample::select(vec![Input::FocusLost, Input::FocusGained, Input::Tick]),
        1 => Just(()).prop_map(move |()| Input::Event(down())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_keys_leave_a_screen_that_can_be_drawn(
        inputs in prop::collection::vec(any_key(), 0..120),
        width in 0u16..130,
        height in 0u16..45,
    ) {
        use crate::client::console::draw::theme::{Theme, ThemeChoice};
        use crate::client::console::full::Canvas;
        let mut bench = Bench::in_room(80, 24);
        bench.chat("Bob", "hello 日本語 e\u{301} 👩\u{200D}👧");
        bench.private("Bob", "psst");
        let (mut canvas, theme) = (Canvas::new(), Theme::new(ThemeChoice::Dark));
        for (k, input) in inputs.into_iter().enumerate() {
            bench.give(input);
            if k == 9 {
                bench.view.resize(Size { width, height });
            }
            canvas.frame(&bench.view, &theme);
        }
        canvas.frame(&bench.view, &theme);
        prop_assert!(canvas.frame(&bench.view, &theme).is_empty(), "nothing changed, nothing drawn");
    }
}

/// Two microphones, of which the second is in use, and two loudspeakers.
pub(crate) fn devices() -> DeviceList {
    let device = |name: &str, used| DeviceName { name: name.to_owned(), used };
    DeviceList {
        inputs: vec![device("Built-in Audio", false), device("usb-mic (Mic 日本)", true)],
        outputs: vec![device("default", true), device("hdmi (Screen)", false)],
        input: "usb-mic (Mic 日本): 48000 Hz".to_owned(),
        output: "default: 48000 Hz".to_owned(),
        input_level_db: -40.0,
        error: None,
    }
}

#[test]
fn the_picker_does_what_the_commands_do_and_stays_open() {
    let mut bench = Bench::in_room(80, 24);
    bench.type_text("half");
    bench.press(KeyCode::Function(2));
    let menu = |bench: &Bench| match bench.view.overlay() {
        Some(Overlay::Menu(menu)) => menu.act(),
        _ => None,
    };
    while menu(&bench) != Some(menu::Act::Line("/devices".into())) {
        bench.press(KeyCode::Down);
    }
    bench.press(KeyCode::Enter);
    assert_eq!(bench.asked(), [Request::Devices]);
    bench.event(Event::Devices(devices()));
    bench.press(KeyCode::Up);
    bench.press(KeyCode::Enter);
    assert_eq!(bench.asked(), [Request::Input("Built-in Audio".into())]);
    (0..3).for_each(|_| bench.press(KeyCode::Down));
    bench.press(KeyCode::Enter);
    bench.press(KeyCode::Char('t'));
    assert_eq!(bench.asked(), [Request::Output("hdmi (Screen)".into()), Request::Tone]);
    // The marks follow what is in use.
    let description = "hdmi (Screen): 48000 Hz".to_owned();
    bench.event(Event::DeviceUp { direction: DeviceKind::Output, description });
    assert_eq!(bench.asked(), [Request::Devices]);
    let mut later = devices();
    later.outputs[0].used = false;
    later.outputs[1].used = true;
    bench.event(Event::Devices(later));
    let Some(Overlay::Devices(picker)) = bench.view.overlay() else { panic!() };
    assert_eq!(picker.chosen().map(|(_, device)| device.used), Some(true));
    // What was typed was not touched, and the talk key talks.
    bench.press(KeyCode::Escape);
    assert!(bench.view.overlay().is_none());
    assert_eq!(bench.on_line(), "half");
}

#[test]
fn the_level_is_asked_for_often_while_devices_are_picked_and_not_after() {
    let mut bench = Bench::in_room(80, 24);
    let asks = |bench: &mut Bench| {
        bench.effects.clear();
        for _ in 0..40 {
            bench.pass(50);
            let stats = Stats::new(VoiceStats::default(), |_| None);
            bench.event(Event::Stats(Box::new(stats)));
        }
        let asked = bench.effects.iter();
        asked.filter(|effect| **effect == Effect::Ask(Request::Stats)).count()
    };
    assert!(asks(&mut bench) <= 2);
    bench.event(Event::Devices(devices()));
    assert!(asks(&mut bench) >= 10);
    bench.press(KeyCode::Escape);
    assert!(asks(&mut bench) <= 2);
}
