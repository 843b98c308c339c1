//! The sub-commands of `parlor-server`, as the owner of a running server uses them.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use serde_json::Value;

use crate::support::process::{Running, command};
use crate::support::state;

/// How long anything may take on a loaded machine.
const SOON: Duration = Duration::from_secs(30);

fn serve(directory: &Path) -> Running {
    let mut program = command(env!("CARGO_BIN_EXE_parlor-server"));
    program.args(["--tcp", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--state-dir"]).arg(directory);
    Running::start("parlor-server", program)
}

fn listening(server: &mut Running) -> String {
    server.wait_for("start line", SOON, |line| {
        Some(line.strip_prefix("listening on tcp ")?.split_once(" and udp ")?.0.to_owned())
    })
}

fn ask(directory: &Path, line: &[&str]) -> Output {
    let mut program = command(env!("CARGO_BIN_EXE_parlor-server"));
    program.args(line).env(state::SERVER, directory).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn status_says_where_the_running_server_is() {
    let home = tempfile::tempdir().unwrap();
    let mut server = serve(home.path());
    let tcp = listening(&mut server);
    let plain = ask(home.path(), &["status"]);
    assert_eq!(plain.status.code(), Some(0), "{}", text(&plain.stderr));
    assert!(text(&plain.stdout).contains(&format!("tcp {tcp} ")), "{}", text(&plain.stdout));
    let json = ask(home.path(), &["status", "--json"]);
    let reply: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&reply["type"], &reply["tcp"]), (&"status".into(), &tcp.into()));
    assert!(reply["fingerprint"].is_string());
}

#[test]
fn without_a_server_it_is_said_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let plain = ask(home.path(), &["kick", "eve"]);
    assert_eq!(plain.status.code(), Some(1));
    assert!(text(&plain.stderr).contains("--state-dir"), "{}", text(&plain.stderr));
    assert!(plain.stdout.is_empty());
    let json = ask(home.path(), &["kick", "eve", "--json"]);
    let reply: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&reply["type"], &reply["code"]), (&"error".into(), &"unreachable".into()));
    assert_eq!(ask(home.path(), &["kick"]).status.code(), Some(2));
}

#[test]
fn the_socket_is_its_owner_s_and_goes_with_the_server() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("state");
    let mut server = serve(&directory);
    listening(&mut server);
    let socket = directory.join("control.sock");
    let metadata = std::fs::metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    server.terminate();
    assert!(server.wait_end(SOON).success());
    assert!(!socket.exists());
}

#[test]
fn after_a_crash_the_next_server_takes_the_socket_and_a_second_one_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let mut crashed = serve(home.path());
    listening(&mut crashed);
    drop(crashed);
    assert!(home.path().join("control.sock").exists(), "killed, it leaves its socket behind");
    let mut server = serve(home.path());
    let tcp = listening(&mut server);
    let mut second = serve(home.path());
    let said = second
        .wait_for("refusal", SOON, |line| line.contains("runs already").then(|| line.to_owned()));
    assert!(said.contains("--state-dir"), "{said}");
    assert_eq!(second.wait_end(SOON).code(), Some(2));
    let status = ask(home.path(), &["status"]);
    assert!(text(&status.stdout).contains(&tcp), "the first one still answers");
}

#[test]
fn a_second_server_that_is_refused_has_touched_nothing_that_the_first_one_keeps() {
    let home = tempfile::tempdir().unwrap();
    let mut server = serve(home.path());
    listening(&mut server);
    let mut second = serve(home.path());
    assert_eq!(second.wait_end(SOON).code(), Some(2));
    server.terminate();
    assert!(server.wait_end(SOON).success());
    let mut again = serve(home.path());
    listening(&mut again);
    let log = ask(home.path(), &["audit", "--last", "100", "--json"]);
    let log: Value = serde_json::from_slice(&log.stdout).unwrap();
    let entries = log["report"]["entries"].as_array().unwrap();
    let starts = entries.iter().filter(|entry| entry["action"] == "revoke invite").count();
    // A start without an operator revokes the owner's invite of the start before.
    assert_eq!(starts, 1, "{entries:?}");
}

#[test]
fn doctor_finds_that_loopback_keeps_friends_out() {
    let home = tempfile::tempdir().unwrap();
    let mut server = serve(home.path());
    listening(&mut server);
    let line = ["doctor", "--json", "--public-address", "127.0.0.1"];
    let output = ask(home.path(), &line);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let reply: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = reply["findings"].as_array().unwrap();
    let says = |level: &str, words: &str| {
        findings.iter().any(|f| f["level"] == level && f["text"].as_str().unwrap().contains(words))
    };
    assert!(says("problem", "this machine alone reaches"), "{findings:?}");
    assert!(says("good", "a server runs"), "{findings:?}");
}
