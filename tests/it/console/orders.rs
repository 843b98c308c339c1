//! Orders to a client that runs: from a key of the desktop, a foot pedal, a script.

use std::path::Path;

use super::{Server, ends, event, json};
use crate::support::process::{Running, command};
use crate::support::state;

/// Gives an order: the exit code and what is said.
fn order(state: &Path, words: &[&str]) -> (Option<i32>, String) {
    let mut program = command(env!("CARGO_BIN_EXE_parlor"));
    program.args(words).env(state::CLIENT, state);
    ends(program)
}

fn done(state: &Path, words: &[&str]) {
    assert_eq!(order(state, words), (Some(0), String::new()), "{words:?}");
}

/// A client whose microphone holds a tone, and its state.
fn talker(server: &Server, name: &str) -> (Running, std::path::PathBuf) {
    let state = state::fresh();
    let mut program = command(env!("CARGO_BIN_EXE_parlor"));
    program.args(["--name", name, "--server", &server.tcp, "--json"]);
    program.args(["--input", "tone:440", "--output", "null"]).env(state::CLIENT, &state);
    (Running::start(name, program), state)
}

#[test]
fn a_running_client_is_made_to_talk_to_be_silent_and_to_say_something() {
    let server = Server::start();
    let mut bert = json(&server.tcp, "bert", &[]);
    let (mut anna, state) = talker(&server, "anna");
    event(&mut anna, "joined", &[], 1);
    event(&mut anna, "path", &[("path", "udp".into())], 1);
    event(&mut bert, "joined", &[], 1);
    let speaking = |on: bool| [("name", "anna".into()), ("on", on.into())];
    done(&state, &["ptt", "press"]);
    event(&mut bert, "speaking", &speaking(true), 1);
    done(&state, &["ptt", "release"]);
    event(&mut bert, "speaking", &speaking(false), 1);
    done(&state, &["ptt", "toggle"]);
    event(&mut bert, "speaking", &speaking(true), 2);
    done(&state, &["mute"]);
    event(&mut bert, "speaking", &speaking(false), 2);
    // Muted while it was held: letting go opens nothing.
    done(&state, &["ptt", "release"]);
    done(&state, &["deafen"]);
    let deaf = |on: bool| [("name", "anna".into()), ("deafened", on.into())];
    event(&mut bert, "member_changed", &deaf(true), 1);
    done(&state, &["undeafen"]);
    done(&state, &["say", "/exit", "is no command here"]);
    event(&mut bert, "chat", &[("text", "/exit is no command here".into())], 1);
    // In no room nobody would hear it, and that is said.
    anna.type_line("/leave");
    event(&mut anna, "left", &[], 1);
    let (code, said) = order(&state, &["ptt", "press"]);
    assert!(code == Some(1) && said.contains("in no room"), "{said}");
    anna.terminate();
    assert!(anna.wait_end(super::SOON).success());
    let (code, said) = order(&state, &["ptt", "press"]);
    assert_eq!((code, said.trim().lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("no client runs"), "{said}");
    assert!(!state.join("orders.sock").exists(), "the socket is taken away");
}

#[test]
fn the_doctor_says_how_to_talk_by_key() {
    let mut program = command(env!("CARGO_BIN_EXE_parlor"));
    program.args(["doctor", "ptt"]);
    for variable in ["SWAYSOCK", "HYPRLAND_INSTANCE_SIGNATURE", "DISPLAY"] {
        program.env_remove(variable);
    }
    program.env("WAYLAND_DISPLAY", "wayland-1");
    let (code, said) = ends(program);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("parlor ptt toggle") && said.contains("/voice"), "{said}");
}
