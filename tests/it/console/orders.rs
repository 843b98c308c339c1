//! Orders to a client that runs: from a key of the desktop, a foot pedal, a script.

use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use parlor::net::clock;

use super::{Server, ends, event, json};
use crate::support::process::{Running, command};
use crate::support::{state, tools};

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

/// Passes datagrams between one client and the server, and tells when the client's voice goes by.
fn tap(server: SocketAddr) -> (u16, mpsc::Receiver<Instant>) {
    let (near, far) =
        (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    far.connect(server).unwrap();
    let port = near.local_addr().unwrap().port();
    let (seen_in, seen) = mpsc::channel();
    let client = Arc::new(Mutex::new(None));
    let (back, from) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    let known = Arc::clone(&client);
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, address)) = near.recv_from(&mut buffer) {
            *known.lock().unwrap() = Some(address);
            // RTCP has these types in its second byte (RFC 5761).
            let voice = length > 12 && !(192..=223).contains(&buffer[1]);
            if voice && seen_in.send(clock::now()).is_err() {
                return;
            }
            let _ = far.send(&buffer[..length]);
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok(length) = from.recv(&mut buffer) {
            if let Some(address) = *client.lock().unwrap() {
                let _ = back.send_to(&buffer[..length], address);
            }
        }
    });
    (port, seen)
}

#[test]
fn an_order_to_talk_is_on_the_wire_within_moments() {
    let server = Server::start();
    let state = state::fresh();
    let (port, voice) = tap(server.udp.parse().unwrap());
    let mut program = command(env!("CARGO_BIN_EXE_parlor"));
    program.args(["--name", "anna", "--server", &server.tcp, "--json", "--input", "tone:440"]);
    program.args(["--output", "null", "--udp-port", &port.to_string()]);
    program.env(state::CLIENT, &state);
    let mut anna = Running::start("anna", program);
    event(&mut anna, "joined", &[], 1);
    event(&mut anna, "path", &[("path", "udp".into())], 1);
    let order = |word: &str| {
        let mut socket = UnixStream::connect(state.join("orders.sock")).unwrap();
        let given = clock::now();
        socket.write_all(format!("{word}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "ok\n");
        given
    };
    let (mut begins, mut ends) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let pressed = order("press");
        let first = voice.recv_timeout(super::SOON).unwrap();
        begins.push(first.saturating_duration_since(pressed).as_secs_f64() * 1e3);
        let released = order("release");
        // The tail is 150 ms; what comes within half a second is of it.
        let mut last = released;
        while let Ok(at) = voice.recv_timeout(Duration::from_millis(500)) {
            last = at;
        }
        ends.push(last.saturating_duration_since(released).as_secs_f64() * 1e3);
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    // Only figures: how fast a machine is does not fail a test.
    tools::say(&format!(
        "order to first packet {:.1} ms, release to last packet {:.1} ms (medians, on the wire)",
        median(&mut begins),
        median(&mut ends)
    ));
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
