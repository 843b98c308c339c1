//! The contract of coming back: whatever is said, lost, muted or left meanwhile, it is the same room, name, ears and
//! volumes; the microphone never comes back open; each text is told once.

use super::*;
use crate::client::control::request::VolumeWish;
use crate::client::event::Heard;
use crate::net::message::ChatLine;
use proptest::prelude::*;

fn line(no: u64) -> ChatLine {
    let name = UserName::parse("Bob").unwrap();
    ChatLine { no, id: MemberId(2), name, text: format!("text {no}"), at_ms: no }
}

fn live(no: u64) -> ServerMessage {
    let ChatLine { no, id, name, text, at_ms } = line(no);
    ServerMessage::Chat { id, name, text, at_ms, no }
}

fn history(numbers: impl IntoIterator<Item = u64>) -> ServerMessage {
    ServerMessage::History { lines: numbers.into_iter().map(line).collect() }
}

/// The numbers of the texts that were told, and whether we were there.
fn texts_told(bench: &Bench) -> Vec<(u64, Heard)> {
    let told = bench.told().into_iter().filter_map(|event| match event {
        Event::Chat { at_ms, heard, .. } => Some((*at_ms, *heard)),
        _ => None,
    });
    told.collect()
}

/// What the last request to enter a room asks for.
fn entering(bench: &Bench) -> (String, Option<u64>) {
    let join = bench.sent().into_iter().rev().find_map(|message| match &message.body {
        ClientMessage::Join { room, after, .. } => Some((room.clone(), *after)),
        _ => None,
    });
    join.unwrap()
}

#[test]
fn what_was_said_before_is_told_once_and_as_such() {
    let mut bench = Bench::in_room();
    bench.event(history([3, 4]));
    bench.event(live(5));
    bench.lose();
    bench.pass(600);
    bench.connect();
    bench.answer(welcome("Ann", true));
    assert_eq!(entering(&bench), ("general".to_owned(), Some(5)));
    // The server puts a resumed session into its room by itself, with all that is kept there.
    bench.event(joined("general", vec![member(1, "Ann"), member(2, "Bob")], false));
    bench.event(history([3, 4, 5, 6, 7]));
    bench.answer(joined("general", vec![member(1, "Ann"), member(2, "Bob")], false));
    bench.event(history([6, 7]));
    bench.event(live(8));
    let expected = [
        (3, Heard::Before),
        (4, Heard::Before),
        (5, Heard::Live),
        (6, Heard::Missed),
        (7, Heard::Missed),
        (8, Heard::Live),
    ];
    assert_eq!(texts_told(&bench), expected);
}

#[test]
fn each_room_is_known_as_far_as_it_was_heard() {
    let mut bench = Bench::in_room();
    bench.event(live(5));
    bench.ask(Request::Join("Music".into()));
    assert_eq!(entering(&bench), ("Music".to_owned(), None));
    bench.answer(joined("music", vec![member(1, "Ann")], false));
    bench.event(history([7]));
    bench.ask(Request::Join("General".into()));
    assert_eq!(entering(&bench), ("General".to_owned(), Some(5)));
    bench.answer(joined("general", vec![member(1, "Ann")], false));
    let (from, to) = (RoomName::parse("general").unwrap(), RoomName::parse("hall").unwrap());
    bench.event(ServerMessage::RoomRenamed { from, room: to, by: "Bob".into() });
    bench.ask(Request::Join("hall".into()));
    assert_eq!(entering(&bench), ("hall".to_owned(), Some(5)));
}

#[test]
fn a_server_that_numbers_nothing_is_understood() {
    let mut bench = Bench::in_room();
    bench.event(live(0));
    bench.event(live(0));
    assert_eq!(texts_told(&bench).len(), 2);
    bench.ask(Request::Join("general".into()));
    assert_eq!(entering(&bench), ("general".to_owned(), None));
}

#[derive(Debug, Clone)]
enum Step {
    /// Bob says something; it is on its way, and with a connection it comes.
    Said,
    Microphone(bool),
    Deafen(bool),
    Volume(u16),
    Lose,
    /// The connection is made again; the server knows the session, or not.
    Return {
        resumed: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Said),
        1 => any::<bool>().prop_map(Step::Microphone),
        1 => any::<bool>().prop_map(Step::Deafen),
        1 => (0u16..=200).prop_map(Step::Volume),
        2 => Just(Step::Lose),
        3 => any::<bool>().prop_map(|resumed| Step::Return { resumed }),
    ];
    prop::collection::vec(step, 1..60)
}

/// A server with one room, and what is true of the client.
struct World {
    bench: Bench,
    up: bool,
    said: u64,
    deafened: bool,
    percent: Option<u16>,
    bob: u64,
}

impl World {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Said => {
                self.said += 1;
                if self.up {
                    self.bench.event(live(self.said));
                }
            }
            Step::Microphone(open) => self.bench.ask(Request::Microphone { open: *open }),
            Step::Deafen(on) => {
                self.bench.ask(Request::Deafen(*on));
                self.deafened = *on;
            }
            Step::Volume(percent) => {
                let wish = VolumeWish::Percent(*percent);
                self.bench.ask(Request::Volume { name: "Bob".to_owned(), wish });
                self.percent = Some(*percent);
            }
            Step::Lose if self.up => {
                self.bench.actions.clear();
                self.bench.lose();
                self.up = false;
                // Closed at once, and it stays so.
                let shut = VoiceCommand::Transmit(Transmit::Shut);
                assert!(self.bench.voice().contains(&&shut), "{:?}", self.bench.voice());
            }
            Step::Return { resumed } if !self.up => self.come_back(*resumed),
            Step::Lose | Step::Return { .. } => {}
        }
    }

    fn come_back(&mut self, resumed: bool) {
        // All that was asked while away was refused or is told on the way in.
        self.bench.pass(11_000);
        self.bench.connect();
        let ClientMessage::Hello(hello) = self.bench.last_sent().clone() else {
            panic!("no hello")
        };
        assert_eq!(hello.name, "Ann");
        assert!(hello.state.muted, "came back unmuted");
        assert_eq!(hello.state.deafened, self.deafened);
        assert!(hello.resume.is_some());
        self.bob += u64::from(!resumed);
        self.bench.answer(welcome("Ann", resumed));
        let (room, after) = entering(&self.bench);
        assert_eq!(room, "general");
        let all = vec![member(1, "Ann"), member(self.bob, "Bob")];
        if resumed {
            self.bench.event(joined("general", all.clone(), false));
            self.bench.event(history(1..=self.said));
        }
        let join = self.bench.sent().into_iter().rev().find_map(|message| {
            matches!(message.body, ClientMessage::Join { .. }).then_some(message.re)
        });
        let answer = |body| Input::Message(Envelope { re: join.unwrap(), body });
        self.bench.give(answer(joined("general", all, false)));
        let missed: Vec<u64> = (1..=self.said).filter(|no| after.is_none_or(|a| *no > a)).collect();
        if !missed.is_empty() {
            self.bench.event(history(missed));
        }
        self.up = true;
        // Nobody opens the microphone for having come back.
        let opened = self.bench.voice().into_iter().any(
            |command| matches!(command, VoiceCommand::Transmit(mode) if *mode != Transmit::Shut),
        );
        assert!(!opened, "{:?}", self.bench.voice());
        if let Some(percent) = self.percent.filter(|percent| *percent != 100) {
            let factor = f32::from(percent) / 100.0;
            let last = self.bench.core.factors.get(&MemberId(self.bob)).copied();
            assert_eq!(last, Some(factor), "Bob's volume is forgotten");
        }
    }
}

proptest! {
    #[test]
    fn coming_back_keeps_the_contract(steps in steps()) {
        let mut bench = Bench::in_room();
        let mut texts = Vec::new();
        bench.actions.clear();
        let mut world =
            World { bench, up: true, said: 0, deafened: false, percent: None, bob: 2 };
        for step in &steps {
            let before = world.bench.actions.len();
            let lost = matches!(step, Step::Lose) && world.up;
            world.apply(step);
            let from = if lost { 0 } else { before };
            texts.extend(world.bench.actions[from..].iter().filter_map(|action| match action {
                Action::Tell(Event::Chat { at_ms, .. }) => Some(*at_ms),
                _ => None,
            }));
            if matches!(step, Step::Return { .. }) {
                world.bench.actions.clear();
            }
        }
        world.apply(&Step::Lose);
        let before = world.bench.actions.len();
        world.apply(&Step::Return { resumed: true });
        texts.extend(world.bench.actions[before..].iter().filter_map(|action| match action {
            Action::Tell(Event::Chat { at_ms, .. }) => Some(*at_ms),
            _ => None,
        }));
        prop_assert_eq!(texts, (1..=world.said).collect::<Vec<_>>());
    }
}
