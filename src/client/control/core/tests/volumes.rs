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
    assert!(bench.told().contains(&&Event::Volume { name: bob.clone(), volume: half, here: true }));
    let reason = LeaveReason::Quit;
    bench.event(ServerMessage::MemberLeft { id: MemberId(2), name: bob, reason, codecs: vec![] });
    bench.event(ServerMessage::MemberJoined { member: member(9, "Bob"), codecs: vec![] });
    // He who has left may still sound for a moment.
    assert_eq!(factors(&bench), [vec![(2, 0.5)], vec![(2, 0.5), (9, 0.5)]]);
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

#[test]
fn who_is_ignored_and_takes_another_name_is_not_heard_for_it() {
    let mut bench = Bench::in_room();
    want(&mut bench, "Bob", VolumeWish::Ignore(true));
    let renamed_from = Some(UserName::parse("Bob").unwrap());
    let member = member(2, "Robert");
    bench.event(ServerMessage::MemberChanged { member, renamed_from });
    assert_eq!(factors(&bench), [[(2, 0.0)]], "and nothing has changed");
    let volume = bench.told().into_iter().rev().find_map(|event| match event {
        Event::MemberChanged { member, .. } => member.volume,
        _ => None,
    });
    assert!(volume.is_some_and(|volume| volume.ignored), "{volume:?}");
    want(&mut bench, "robert", VolumeWish::Ignore(false));
    assert_eq!(factors(&bench).last(), Some(&vec![]));
}

#[test]
fn who_is_ignored_is_not_heard_while_he_leaves_or_the_connection_does() {
    let mut bench = Bench::in_room();
    want(&mut bench, "Bob", VolumeWish::Ignore(true));
    let (id, name, reason) = (MemberId(2), UserName::parse("Bob").unwrap(), LeaveReason::Quit);
    bench.event(ServerMessage::MemberLeft { id, name, reason, codecs: vec![] });
    bench.give(Input::Ended { cause: LossCause::Failed, detail: String::new() });
    assert_eq!(factors(&bench), [[(2, 0.0)]]);
}

#[test]
fn our_own_volume_is_refused_and_a_name_that_is_not_here_is_told_as_such() {
    let mut bench = Bench::in_room();
    want(&mut bench, "ann", VolumeWish::Percent(50));
    assert_eq!(bench.errors(), [ErrorKind::Local(LocalError::VolumeOfSelf)]);
    want(&mut bench, "Eve", VolumeWish::Percent(50));
    let here = bench.told().into_iter().rev().find_map(|event| match event {
        Event::Volume { here, .. } => Some(*here),
        _ => None,
    });
    assert_eq!(here, Some(false));
}
