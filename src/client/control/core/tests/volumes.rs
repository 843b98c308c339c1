//! Volumes: by name, and in force whenever that name is in the room.

use super::*;
use crate::client::control::request::VolumeWish;
use crate::client::volumes::Volume;

fn factors(bench: &Bench) -> Vec<Vec<(u64, f32)>> {
    let all = bench.voice().into_iter().filter_map(|command| match command {
        VoiceCommand::Volumes(factors) => Some(factors.iter().map(|(id, f)| (id.0, *f)).collect()),
        _ => None,
    });
    all.collect()
}

fn want(bench: &mut Bench, name: &str, wish: VolumeWish) {
    bench.ask(Request::Volume { name: name.to_owned(), wish });
}

#[test]
fn a_volume_holds_for_the_name_when_he_comes_back() {
    let mut bench = Bench::in_room();
    want(&mut bench, "bob", VolumeWish::Percent(50));
    assert_eq!(factors(&bench), [[(2, 0.5)]]);
    let bob = UserName::parse("Bob").unwrap();
    let half = Volume { percent: 50, ignored: false };
    assert!(bench.has(&Action::Remember(bob.clone(), half)));
    assert!(bench.told().contains(&&Event::Volume { name: bob.clone(), volume: half }));
    let reason = LeaveReason::Quit;
    bench.event(ServerMessage::MemberLeft { id: MemberId(2), name: bob, reason, codecs: vec![] });
    bench.event(ServerMessage::MemberJoined { member: member(9, "Bob"), codecs: vec![] });
    assert_eq!(factors(&bench), [vec![(2, 0.5)], vec![], vec![(9, 0.5)]]);
    let joined = bench.told().into_iter().rev().find_map(|event| match event {
        Event::MemberJoined(person) => person.volume,
        _ => None,
    });
    assert_eq!(joined, Some(half));
}

#[test]
fn who_is_heard_again_is_as_loud_as_before() {
    let mut bench = Bench::in_room();
    want(&mut bench, "Bob", VolumeWish::Percent(150));
    want(&mut bench, "Bob", VolumeWish::Ignore(true));
    want(&mut bench, "Bob", VolumeWish::Ignore(false));
    assert_eq!(factors(&bench), [[(2, 1.5)], [(2, 0.0)], [(2, 1.5)]]);
}

#[test]
fn a_name_that_cannot_be_one_is_refused() {
    let mut bench = Bench::in_room();
    want(&mut bench, " ", VolumeWish::Ignore(true));
    assert_eq!(bench.errors(), [ErrorKind::Server(ErrorCode::BadName)]);
}
