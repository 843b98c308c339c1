//! Recording: told first, then begun.

use super::*;
use crate::client::voice::RecordingEnd;
use std::path::{Path, PathBuf};

fn state(recording: bool) -> MemberState {
    MemberState { muted: true, deafened: false, recording }
}

fn asks_to_record() -> (Bench, PathBuf) {
    let (mut bench, directory) = (Bench::in_room(), PathBuf::from("there"));
    bench.ask(Request::Record(directory.clone()));
    bench.pass(100);
    assert_eq!(*bench.last_sent(), ClientMessage::State(state(true)));
    (bench, directory)
}

fn begun(directory: &Path) -> Action {
    let name = UserName::parse("Ann").unwrap();
    Action::Voice(VoiceCommand::Record(directory.to_owned(), name))
}

#[test]
fn nothing_is_recorded_before_the_room_was_told() {
    let (mut bench, directory) = asks_to_record();
    assert!(!bench.has(&begun(&directory)));
    bench.answer(ServerMessage::Changed(state(true)));
    assert!(bench.has(&begun(&directory)));
    assert!(bench.told().contains(&&Event::Recording { directory: directory.clone() }));
    bench.ask(Request::Record(directory));
    assert_eq!(bench.errors(), [ErrorKind::Local(LocalError::RecordsAlready)]);
}

#[test]
fn a_server_that_cannot_tell_the_room_makes_no_recording() {
    let (mut bench, directory) = asks_to_record();
    bench.answer(ServerMessage::Changed(state(false)));
    assert_eq!(bench.errors(), [ErrorKind::Local(LocalError::RecordingUntold)]);
    assert!(!bench.has(&begun(&directory)));
}

#[test]
fn an_answer_to_an_earlier_state_says_nothing_of_the_recording() {
    let mut bench = Bench::in_room();
    bench.ask(Request::Deafen(true));
    bench.pass(100);
    let before = bench.sent().last().unwrap().re;
    let directory = PathBuf::from("there");
    bench.ask(Request::Record(directory.clone()));
    bench.pass(100);
    let old = MemberState { muted: true, deafened: true, recording: false };
    let body = ServerMessage::Changed(old);
    bench.give(Input::Message(Envelope { re: before, body }));
    assert_eq!(bench.errors(), []);
    bench.answer(ServerMessage::Changed(MemberState { recording: true, ..old }));
    assert!(bench.has(&begun(&directory)));
}

#[test]
fn a_recording_that_ends_is_told_to_the_room() {
    let (mut bench, directory) = asks_to_record();
    bench.answer(ServerMessage::Changed(state(true)));
    bench.ask(Request::StopRecording);
    bench.pass(100);
    assert!(bench.has(&Action::Voice(VoiceCommand::StopRecording)));
    assert_eq!(*bench.last_sent(), ClientMessage::State(state(false)));
    // Nor does one go on being shown that the disk has ended.
    let (mut bench, _) = asks_to_record();
    bench.answer(ServerMessage::Changed(state(true)));
    let error = Some("no space left".to_owned());
    let end = RecordingEnd { directory, files: vec![], length_ms: 61_000, lost_ms: 0, error };
    bench.give(Input::Voice(VoiceEvent::RecordingEnded(end)));
    bench.pass(100);
    assert_eq!(*bench.last_sent(), ClientMessage::State(state(false)));
    let told = bench.told().into_iter().flat_map(texts::words).collect::<Vec<_>>().join("\n");
    assert!(told.contains("no space left") && told.contains("1:01"), "{told}");
    bench.ask(Request::StopRecording);
    assert_eq!(bench.errors(), [ErrorKind::Local(LocalError::RecordsNothing)]);
}

#[test]
fn a_recording_outlives_a_lost_connection_and_is_told_with_the_next_greeting() {
    let (mut bench, _) = asks_to_record();
    bench.answer(ServerMessage::Changed(state(true)));
    bench.lose();
    bench.pass(10_000);
    bench.connect();
    let ClientMessage::Hello(hello) = bench.last_sent() else { panic!("no hello") };
    assert!(hello.state.recording);
    assert!(!bench.has(&Action::Voice(VoiceCommand::StopRecording)));
}

#[test]
fn a_recording_that_was_not_told_yet_is_given_up_with_the_connection() {
    let (mut bench, _) = asks_to_record();
    bench.lose();
    assert_eq!(bench.errors().last(), Some(&ErrorKind::Local(LocalError::NotConnected)));
    bench.pass(10_000);
    bench.connect();
    let ClientMessage::Hello(hello) = bench.last_sent() else { panic!("no hello") };
    assert!(!hello.state.recording);
}
