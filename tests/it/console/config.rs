//! The file of settings and the address book, as a user has them: in their usual place.

use super::{SOON, Server, ends, event};
use crate::support::process::{Running, command};
use crate::support::state;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A home with this file of settings in it.
fn home(text: &str) -> (tempfile::TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("parlor");
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("config.toml");
    std::fs::write(&file, text).unwrap();
    (home, file)
}

/// The client in this home.
fn at(home: &Path, words: &[&str]) -> Command {
    let mut program = command(env!("CARGO_BIN_EXE_parlor"));
    program.args(words).env("XDG_CONFIG_HOME", home).env_remove(state::CONFIG);
    program.env("LC_ALL", "C.UTF-8").env_remove("PARLOR_LOG");
    program
}

#[test]
fn a_name_of_the_address_book_is_all_that_must_be_typed() {
    let server = Server::start();
    let (home, file) = home(&format!(
        "input = \"silence\"\noutput = \"null\"\njson = true\nname = \"anna\"\nserver = \"127.0.0.1:1\"\n
[servers.work]\naddress = \"{}\"\nname = \"Anna at work\"\nroom = \"standup\"\n",
        server.tcp
    ));
    let mut anna = Running::start("anna", at(home.path(), &["work"]));
    let joined = event(&mut anna, "joined", &[("room", "standup".into())], 1);
    let members = joined["members"].as_array().unwrap();
    assert!(members.iter().any(|m| m["name"] == "Anna at work"), "{members:?}");
    // A flag goes before, and the file named by a flag before the usual one.
    let mut bert = Running::start("bert", at(home.path(), &["work", "--name", "bert"]));
    event(&mut anna, "member_joined", &[("name", "bert".into())], 1);
    event(&mut bert, "joined", &[], 1);
    for running in [&mut anna, &mut bert] {
        running.terminate();
        assert!(running.wait_end(SOON).success());
    }
    let (code, said) = ends(at(home.path(), &["wrok"]));
    assert_eq!((code, said.trim().lines().count()), (Some(2), 1), "{said}");
    assert!(said.contains("'wrok'") && said.contains("there is: work"), "{said}");
    assert!(said.contains(&file.display().to_string()), "{said}");
    // Without a word it goes where the top of the file says.
    let (code, said) = ends(at(home.path(), &[]));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("127.0.0.1:1"), "{said}");
}

#[test]
fn what_is_set_and_by_what_is_shown_and_a_mistake_is_one_line_and_exit_code_2() {
    let (home, file) = home("bitrate = 96\nname = \"anna\"\n");
    let (code, said) = ends(at(home.path(), &["config", "path"]));
    assert_eq!((code, said.trim()), (Some(0), file.to_str().unwrap()));
    let mut program = at(home.path(), &["config", "show", "--json", "--codec", "pcm"]);
    program.env(state::CLIENT, "/somewhere");
    let (code, said) = ends(program);
    assert_eq!(code, Some(0), "{said}");
    let all: serde_json::Value = serde_json::from_str(&said).unwrap();
    let row = |key: &str| {
        let rows = all["settings"].as_array().unwrap();
        rows.iter().find(|row| row["key"] == key).unwrap().clone()
    };
    let bitrate = row("bitrate");
    assert_eq!((&bitrate["value"], &bitrate["from"]), (&"96".into(), &"config".into()));
    assert_eq!(bitrate["line"], 1);
    assert_eq!(row("codec")["from"], "flag");
    assert_eq!(row("frame-ms")["from"], "default");
    let state = row("state-dir");
    assert_eq!((&state["value"], &state["from"]), (&"/somewhere".into(), &"environment".into()));
    assert_eq!(state["variable"], "PARLOR_STATE_DIR");
    let (code, said) = ends(at(home.path(), &["config", "show"]));
    assert!(code == Some(0) && said.contains("file, line 2"), "{said}");

    for (text, part) in [
        ("bitrat = 96", "did you mean 'bitrate'"),
        ("bitrate = \"96\"", "a number"),
        ("bitrate = 9999", "6..=256"),
        ("name = ", "line 1"),
    ] {
        std::fs::write(&file, text).unwrap();
        for words in [&["config", "show"][..], &["--plain"], &["doctor"], &["ptt", "press"]] {
            let mut program = at(home.path(), words);
            program.env_remove(state::CLIENT);
            let (code, said) = ends(program);
            assert_eq!((code, said.trim().lines().count()), (Some(2), 1), "{words:?}: {said}");
            assert!(said.contains(part) && said.contains("config.toml, line 1"), "{said}");
        }
        // What does not need it goes on.
        for words in [&["--help"][..], &["--version"], &["config", "path"], &["man"]] {
            assert_eq!(ends(at(home.path(), words)).0, Some(0), "{words:?}");
        }
    }
    let mut absent = at(home.path(), &["config", "show"]);
    absent.env(state::CONFIG, "/nowhere/at/all.toml");
    let (code, said) = ends(absent);
    assert!(code == Some(2) && said.contains("/nowhere/at/all.toml is not there"), "{said}");
}

#[test]
fn an_example_file_is_taken_as_it_is() {
    let (home, file) = home("");
    let (code, said) = ends(at(home.path(), &["config", "example"]));
    assert_eq!(code, Some(0));
    std::fs::write(&file, &said).unwrap();
    assert_eq!(ends(at(home.path(), &["config", "show"])).0, Some(0));
}

#[test]
fn orders_reach_a_client_whose_file_says_where_its_state_is() {
    let server = Server::start();
    let (home, _) = home("state-dir = \"state\"\ninput = \"tone:440\"\noutput = \"null\"\n");
    let own = |words: &[&str]| {
        let mut program = at(home.path(), words);
        program.env_remove(state::CLIENT);
        program
    };
    let mut anna =
        Running::start("anna", own(&["--name", "anna", "--server", &server.tcp, "--json"]));
    event(&mut anna, "path", &[("path", "udp".into())], 1);
    assert_eq!(ends(own(&["say", "hello"])), (Some(0), String::new()));
    event(&mut anna, "chat", &[("text", "hello".into())], 1);
    assert!(home.path().join("parlor/state/orders.sock").exists());
}
