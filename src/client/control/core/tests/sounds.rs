//! Sounds: who comes and goes, and what we do ourselves; not who was there before us.

use super::*;
use crate::client::voice::Sound;

fn sounds(bench: &Bench) -> Vec<Sound> {
    let sounds = bench.voice().into_iter().filter_map(|command| match command {
        VoiceCommand::Sound(sound) => Some(*sound),
        _ => None,
    });
    sounds.collect()
}

#[test]
fn who_comes_and_goes_sounds_and_who_was_there_before_us_does_not() {
    let mut bench = Bench::new(settings());
    bench.connect();
    bench.answer(welcome("Ann", false));
    bench.answer(joined("general", vec![member(1, "Ann"), member(2, "Bob")], false));
    assert_eq!(sounds(&bench), []);
    bench.event(ServerMessage::MemberJoined { member: member(3, "Eve"), codecs: vec![] });
    let (id, name, reason) = (MemberId(2), UserName::parse("Bob").unwrap(), LeaveReason::Left);
    bench.event(ServerMessage::MemberLeft { id, name, reason, codecs: vec![] });
    assert_eq!(sounds(&bench), [Sound::Joined, Sound::Left]);
}

#[test]
fn microphone_and_ears_sound_when_they_change_and_not_when_they_do_not() {
    let mut bench = Bench::in_room();
    for open in [false, true, true, false] {
        bench.ask(Request::Microphone { open });
    }
    for on in [true, true, false, false] {
        bench.ask(Request::Deafen(on));
    }
    let expected = [Sound::Unmuted, Sound::Muted, Sound::Deafened, Sound::Undeafened];
    assert_eq!(sounds(&bench), expected);
}

#[test]
fn whoever_asks_for_devices_and_leaves_waits_for_the_answers() {
    use crate::client::voice::{DeviceList, Direction, VoiceEvent};
    let mut bench = Bench::in_room();
    bench.actions.clear();
    bench.give(Input::Request(Request::Devices));
    bench.give(Input::Request(Request::Input("Mic".into())));
    bench.give(Input::Request(Request::Finish));
    let asked = |bench: &Bench, wanted: VoiceCommand| {
        bench.actions.iter().any(|action| *action == Action::Voice(wanted.clone()))
    };
    assert!(asked(&bench, VoiceCommand::Devices));
    assert!(asked(&bench, VoiceCommand::Input("Mic".into())));
    let pinged = |bench: &Bench| {
        let ping = |action: &Action| format!("{action:?}").contains("Ping");
        bench.actions.iter().any(ping)
    };
    assert!(!pinged(&bench), "what is asked for is not told yet");
    let list = DeviceList {
        inputs: Vec::new(),
        outputs: Vec::new(),
        input: String::new(),
        output: String::new(),
        input_level_db: -120.0,
        error: None,
    };
    bench.give(Input::Voice(VoiceEvent::Devices(list)));
    assert!(!pinged(&bench));
    let (direction, error, kept) = (Direction::Input, "gone".to_owned(), String::new());
    let name = "Mic".to_owned();
    bench.give(Input::Voice(VoiceEvent::DeviceRefused { direction, name, error, kept }));
    assert!(pinged(&bench), "now it may go");
}

#[test]
fn whatever_was_said_before_a_mute_is_never_sent() {
    let mut bench = Bench::in_room();
    bench.actions.clear();
    // Also where the microphone was off already.
    bench.ask(Request::Microphone { open: false });
    assert!(bench.has(&Action::Voice(VoiceCommand::Transmit(Transmit::Shut))));
}

#[test]
fn a_sleep_shuts_the_microphone_and_the_others_are_told() {
    let mut bench = Bench::in_room();
    bench.ask(Request::Microphone { open: true });
    bench.pass(1000);
    bench.actions.clear();
    bench.give(Input::Slept);
    bench.pass(1000);
    assert!(bench.has(&Action::Voice(VoiceCommand::Transmit(Transmit::Shut))));
    let notice = Event::Notice { code: NoticeCode::Slept };
    assert!(bench.told().contains(&&notice));
    let state = |m: &&Envelope<ClientMessage>| {
        matches!(m.body, ClientMessage::State(MemberState { muted: true, .. }))
    };
    assert_eq!(bench.sent().into_iter().filter(state).count(), 1);
}
