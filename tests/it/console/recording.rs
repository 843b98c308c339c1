//! A room is recorded: everyone is told, and the files hold what was said.

use super::{SOON, Server, client, event, json};
use crate::support::process::{Running, command, poll_until};
use parlor::net::clock;
use std::path::{Path, PathBuf};

fn file(directory: &Path, end: &str) -> Option<PathBuf> {
    let all = std::fs::read_dir(directory).ok()?;
    let mut paths = all.filter_map(|entry| Some(entry.ok()?.path()));
    paths.find(|path| path.to_string_lossy().ends_with(end))
}

fn samples(path: &Path) -> Vec<i16> {
    hound::WavReader::open(path).unwrap().samples::<i16>().map(Result::unwrap).collect()
}

#[test]
fn a_recorded_room_is_told_also_who_joins_later_and_the_files_hold_what_was_said() {
    let server = Server::start();
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("calls");
    let mut tom = command(env!("CARGO_BIN_EXE_parlor"));
    tom.args(["--name", "tom", "--server", &server.tcp, "--input", "tone:440", "--output", "null"]);
    tom.args(["--json", "--unmute"]).env("LC_ALL", "C.UTF-8");
    let mut tom = Running::start("tom", tom);
    event(&mut tom, "joined", &[], 1);
    let mut rita = command(env!("CARGO_BIN_EXE_parlor"));
    rita.args(["record", "--json", "--name", "rita", "--server", &server.tcp, "--out"]);
    rita.arg(&directory).env("LC_ALL", "C.UTF-8");
    let mut rita = Running::start("rita", rita);
    event(&mut rita, "recording", &[], 1);
    event(&mut tom, "member_changed", &[("name", "rita".into()), ("recording", true.into())], 1);
    let mut lea = json(&server.tcp, "lea", &[]);
    let joined = event(&mut lea, "joined", &[], 1);
    let members = joined["members"].as_array().unwrap();
    assert!(members.iter().any(|m| m["name"] == "rita" && m["recording"] == true), "{members:?}");
    let script = client(&server.tcp, "plain", &[]);
    let mut plain = Running::start("plain", script);
    plain
        .wait_for("the notice", SOON, |line| line.contains("rita RECORDS this room").then_some(()));
    // A second of him lies on the disk while the recording still runs.
    let whole = || {
        let path = file(&directory, "_tom.wav")?;
        (std::fs::metadata(&path).ok()?.len() > 44 + 2 * 48_000).then_some(path)
    };
    let path = poll_until(clock::now() + SOON, whole).expect("a file of his");
    rita.interrupt();
    assert!(rita.wait_end(SOON).success());
    let (said, mix) = (samples(&path), samples(&file(&directory, "_mix.wav").unwrap()));
    assert_eq!(said.len(), mix.len());
    let loud = said.iter().filter(|sample| sample.abs() > 2000).count();
    assert!(loud > 20_000, "the tone is heard in it: {loud} of {}", said.len());
}
