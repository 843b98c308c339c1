//! The full screen in a real pseudo-terminal: people talk, write, go from room to room, lose the
//! server; and whatever ends the client leaves a shell that can be used.

use super::{SOON, Server, Terminal, client, event, json};
use crate::support::process::Running;
use crate::support::{state, tools};

const REQUIRED: &str = "PARLOR_TEST_REQUIRE_TMUX";

fn skips(test: &str) -> bool {
    let absent: Vec<&str> = ["tmux"].into_iter().filter(|p| tools::find(p).is_none()).collect();
    tools::skips(test, &absent, REQUIRED)
}

/// A full screen; behind the client, a shell says its modes and goes on.
fn full(server: &Server, name: &str) -> Terminal {
    let parlor = env!("CARGO_BIN_EXE_parlor");
    Terminal::open(&format!(
        "sh -c \"trap : INT; '{parlor}' --name {name} --server {} --input tone:440 --output null \
         --state-dir '{}'; stty -a; echo ended; exec sleep 600\"",
        server.tcp,
        state::fresh().display()
    ))
}

/// The shell has its terminal back: line by line, with echo, and not on the client's screen.
fn usable(terminal: &Terminal) {
    let screen = terminal.shows("the shell", |screen| screen.contains("ended"));
    for mode in ["icanon", "echo", "isig", "icrnl", "opost"] {
        assert!(screen.split([' ', ';', '\n']).any(|word| word == mode), "{mode}:\n{screen}");
    }
    assert!(!screen.contains("F1 help"), "{screen}");
}

#[test]
fn two_people_on_full_screens_talk_write_change_rooms_and_survive_a_restart() {
    if skips("two_people_on_full_screens_talk_write_change_rooms_and_survive_a_restart") {
        return;
    }
    let server = Server::start();
    let (anna, bert) = (full(&server, "anna"), full(&server, "bert"));
    anna.shows("both", |screen| screen.contains("anna") && screen.contains("· bert"));
    bert.shows("the room", |screen| screen.contains(">general"));
    // Text, with what is typed left alone.
    bert.press(&["-l", "half a sen"]);
    anna.press(&["-l", "hello, bert"]);
    anna.press(&["Enter"]);
    let screen = bert.shows("what anna says", |screen| screen.contains("anna: hello, bert"));
    assert!(screen.trim_end().ends_with("> half a sen"), "{screen}");
    // Voice, by the repetition of the key: the other side sees who speaks.
    bert.press(&["C-u"]);
    anna.press(&["-l", "`"]);
    bert.shows("that anna speaks", |screen| screen.contains("♪ anna"));
    bert.shows("that anna is silent", |screen| screen.contains("· anna"));
    // Alone with one: the list is the way there.
    anna.press(&["-l", "/msg bert psst"]);
    anna.press(&["Enter"]);
    bert.shows("an unread message", |screen| screen.contains("Messages") && screen.contains("(1)"));
    bert.press(&["Tab", "End", "Enter"]);
    bert.shows("the message", |screen| screen.contains("anna: psst") && screen.contains("@anna>"));
    bert.press(&["Escape"]);
    // Another room, by the menu.
    bert.press(&["F2"]);
    bert.shows("the menu", |screen| screen.contains("Go to a room"));
    bert.press(&["-l", "g"]);
    bert.press(&["Enter"]);
    bert.press(&["-l", "attic"]);
    bert.press(&["Enter"]);
    bert.shows("the attic", |screen| screen.contains(">attic"));
    anna.shows("that bert has left", |screen| screen.contains("bert has left for another room"));
    // The server dies without a word and comes back.
    let (tcp, udp, state) = (server.tcp.clone(), server.udp.clone(), server.state.clone());
    drop(server);
    bert.shows("the loss", |screen| screen.contains("reconnecting"));
    let _again = Server::at(&tcp, &udp, state);
    bert.shows("the attic again", |screen| {
        screen.contains(">attic") && screen.contains("mic off") && !screen.contains("reconnecting")
    });
    anna.shows("the room again", |screen| screen.contains(">general"));
    anna.press(&["F10"]);
    bert.press(&["C-c"]);
    usable(&anna);
    usable(&bert);
}

#[test]
fn a_client_that_is_told_to_end_or_cannot_come_in_leaves_a_shell_that_can_be_used() {
    if skips("a_client_that_is_told_to_end_or_cannot_come_in_leaves_a_shell_that_can_be_used") {
        return;
    }
    let server = Server::start();
    for signal in ["TERM", "HUP", "INT"] {
        let terminal = full(&server, "anna");
        terminal.shows("the room", |screen| screen.contains(">general"));
        let parlor = child_of(&terminal);
        let killed = std::process::Command::new("kill").args(["-s", signal, &parlor]).status();
        assert!(killed.unwrap().success());
        usable(&terminal);
    }
    let mut anna = json(&server.tcp, "anna", &[]);
    event(&mut anna, "joined", &[], 1);
    let terminal = full(&server, "anna");
    usable(&terminal);
    let screen = terminal.shows("why", |screen| screen.contains("in use"));
    assert!(screen.contains("parlor: "), "{screen}");
}

#[test]
fn a_terminal_that_goes_away_takes_the_client_with_it() {
    if skips("a_terminal_that_goes_away_takes_the_client_with_it") {
        return;
    }
    let server = Server::start();
    let mut bert = json(&server.tcp, "bert", &[]);
    event(&mut bert, "joined", &[], 1);
    let terminal = full(&server, "anna");
    terminal.shows("the room", |screen| screen.contains(">general"));
    drop(terminal);
    event(&mut bert, "member_left", &[("name", "anna".into())], 1);
}

#[test]
fn without_a_terminal_there_are_lines_as_ever() {
    let server = Server::start();
    let mut anna = Running::start("anna", client(&server.tcp, "anna", &[]));
    anna.type_line("/exit");
    assert!(anna.wait_end(SOON).success());
    let said = anna.said().join("\n");
    assert!(said.contains("You are in general") && !said.contains('\u{1b}'), "{said}");
}

/// The process of the client that runs in this terminal.
fn child_of(terminal: &Terminal) -> String {
    let shell = terminal.tmux(&["display-message", "-p", "#{pane_pid}"]);
    let list = format!("/proc/{0}/task/{0}/children", shell.trim());
    // tmux may run the command in a shell of its own: the last of the line is the client.
    let mut of = std::fs::read_to_string(list).unwrap().trim().to_owned();
    while let Ok(more) = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children")) {
        if more.trim().is_empty() {
            break;
        }
        of = more.trim().to_owned();
    }
    of
}
