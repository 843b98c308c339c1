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
