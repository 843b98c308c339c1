//! The talk key while another window is in front: a real X server without a screen, and keys pressed on it.

use std::process::Command;

use parlor::net::clock;

use super::{SOON, Server, client, ends, event, json};
use crate::support::process::{Running, command};
use crate::support::tools;

/// The variable with which `./test` makes a missing program a failure.
const REQUIRED_BY: &str = "PARLOR_TEST_REQUIRE_X11";

fn skips(test: &str) -> bool {
    let tools = ["Xvfb", "xdotool"];
    let absent: Vec<&str> =
        tools.iter().copied().filter(|tool| tools::find(tool).is_none()).collect();
    tools::skips(test, &absent, REQUIRED_BY)
}

/// An X server of our own, on a display that it picked.
struct Screen {
    display: String,
    server: Running,
}

impl Screen {
    fn up() -> Self {
        let mut program = command("Xvfb");
        program.args(["-displayfd", "1", "-screen", "0", "320x240x24", "-nolisten", "tcp"]);
        let mut server = Running::start("Xvfb", program);
        let number = server.wait_for("a display", SOON, |line| line.trim().parse::<u32>().ok());
        Self { display: format!(":{number}"), server }
    }

    /// What hands do.
    fn xdotool(&self, words: &[&str]) {
        let mut program = command("xdotool");
        let status = program.args(words).env("DISPLAY", &self.display).status().unwrap();
        assert!(status.success(), "{words:?}");
    }

    fn seen_by(&self, program: &mut Command) {
        program.env("DISPLAY", &self.display).env_remove("WAYLAND_DISPLAY");
    }
}

/// A client that holds a tone to its microphone and talks by this key.
fn talker(server: &Server, screen: &Screen, name: &str, key: &str) -> Running {
    let mut program = command(env!("CARGO_BIN_EXE_parlor"));
    program.args(["--name", name, "--server", &server.tcp, "--json", "--ptt-key", key]);
    program.args(["--input", "tone:440", "--output", "null"]);
    screen.seen_by(&mut program);
    let mut talker = Running::start(name, program);
    event(&mut talker, "talk_key", &[("key", key.into()), ("way", "x11".into())], 1);
    event(&mut talker, "joined", &[], 1);
    event(&mut talker, "path", &[("path", "udp".into())], 1);
    talker
}

#[test]
fn a_key_and_a_button_of_the_mouse_talk_whatever_window_is_in_front() {
    if skips("a_key_and_a_button_of_the_mouse_talk_whatever_window_is_in_front") {
        return;
    }
    let (screen, server) = (Screen::up(), Server::start());
    let mut bert = json(&server.tcp, "bert", &[]);
    event(&mut bert, "joined", &[], 1);
    let _anna = talker(&server, &screen, "anna", "f8");
    let _cleo = talker(&server, &screen, "cleo", "mouse4");
    event(&mut bert, "member_joined", &[("name", "cleo".into())], 1);
    for nth in 1..=2 {
        for (name, down, up) in [
            ("anna", ["keydown", "F8"], ["keyup", "F8"]),
            ("cleo", ["mousedown", "8"], ["mouseup", "8"]),
        ] {
            let speaks = |on: bool| [("name", name.into()), ("on", on.into())];
            // Other keys say nothing.
            screen.xdotool(&["key", "grave", "F7", "a"]);
            let pressed = clock::now();
            screen.xdotool(&down);
            event(&mut bert, "speaking", &speaks(true), nth);
            let heard = clock::now().saturating_duration_since(pressed).as_millis();
            tools::say(&format!(
                "{down:?}: {heard} ms until another member's client says so (with the start of xdotool and playout)"
            ));
            screen.xdotool(&up);
            event(&mut bert, "speaking", &speaks(false), nth);
        }
    }
    let spoke = |bert: &mut Running| {
        let told = |line: &&String| line.contains("\"speaking\"") && line.contains("\"on\":true");
        bert.said().iter().filter(told).count()
    };
    assert_eq!(spoke(&mut bert), 4, "each time one of them, and at no other key");
    // A server that goes while the key is down lets go of it.
    screen.xdotool(&["keydown", "F8"]);
    event(&mut bert, "speaking", &[("name", "anna".into()), ("on", true.into())], 3);
    let Screen { server: x, .. } = screen;
    drop(x);
    event(&mut bert, "speaking", &[("name", "anna".into()), ("on", false.into())], 3);
}

#[test]
fn the_doctor_names_the_step_and_a_better_one() {
    if skips("the_doctor_names_the_step_and_a_better_one") {
        return;
    }
    let screen = Screen::up();
    let doctor = |more: &[&str]| {
        let mut program = command(env!("CARGO_BIN_EXE_parlor"));
        program.args(["doctor", "ptt"]).args(more);
        screen.seen_by(&mut program);
        let (code, said) = ends(program);
        assert_eq!(code, Some(0), "{said}");
        said
    };
    let said = doctor(&[]);
    assert!(said.contains("parlor ptt") && said.contains("--ptt-key F8"), "{said}");
    let said = doctor(&["--ptt-key", "F8"]);
    assert!(said.contains("in all windows") && said.contains("F8"), "{said}");
}

#[test]
fn where_a_key_cannot_be_seen_it_is_said_and_the_client_goes_on() {
    let server = Server::start();
    let key = |name: &str, more: &[&str]| {
        let mut program = client(&server.tcp, "anna", &["--json", "--ptt-key", name]);
        program.args(more).env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
        program
    };
    let mut anna = Running::start("anna", key("mouse5", &[]));
    let told = event(&mut anna, "talk_key", &[("key", "mouse5".into())], 1);
    assert!(told["error"].is_string() && told["way"].is_null(), "{told}");
    event(&mut anna, "joined", &[], 1);
    anna.type_line("/exit");
    assert!(anna.wait_end(SOON).success());
    // A display on which nobody answers.
    let mut program = key("f8", &["--ptt-listen", "x11"]);
    program.env("DISPLAY", ":4093");
    let mut anna = Running::start("anna", program);
    let told = event(&mut anna, "talk_key", &[("key", "f8".into())], 1);
    assert!(told["error"].as_str().unwrap().contains("X server"), "{told}");
    event(&mut anna, "joined", &[], 1);
    let (code, said) = ends(key("hyper", &[]));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("F8") && said.contains("mouse4"), "{said}");
}
