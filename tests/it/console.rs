//! The two programs as a user or a script drives them: line mode, JSON events, exit codes, lost connections, a terminal.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::process::{Running, command};
use crate::support::{state, tools};

mod config;
mod first;
mod full;
mod orders;
mod package;
mod papers;
mod recording;
#[cfg(target_os = "linux")]
mod talk_key;

/// How long anything may take on a loaded machine.
const SOON: Duration = Duration::from_secs(30);

struct Server {
    running: Running,
    tcp: String,
    udp: String,
    state: PathBuf,
}

impl Server {
    fn start() -> Self {
        Self::at("127.0.0.1:0", "127.0.0.1:0", state::fresh())
    }

    fn at(tcp: &str, udp: &str, state: PathBuf) -> Self {
        let mut program = command(env!("CARGO_BIN_EXE_parlor-server"));
        program.args(["--tcp", tcp, "--udp", udp]).env(state::SERVER, &state);
        let mut running = Running::start("parlor-server", program);
        let (tcp, udp) = running.wait_for("start line", SOON, |line| {
            let (tcp, udp) = line.strip_prefix("listening on tcp ")?.split_once(" and udp ")?;
            Some((tcp.to_owned(), udp.to_owned()))
        });
        Self { running, tcp, udp, state }
    }
}

/// A client without sound devices, away from the user's own settings.
fn client(tcp: &str, name: &str, more: &[&str]) -> Command {
    let mut program = command(env!("CARGO_BIN_EXE_parlor"));
    program.args(["--name", name, "--server", tcp, "--input", "silence", "--output", "null"]);
    program.args(more).env("LC_ALL", "C.UTF-8").env_remove("PARLOR_LOG");
    program
}

fn json(tcp: &str, name: &str, more: &[&str]) -> Running {
    let mut program = client(tcp, name, &["--json"]);
    program.args(more);
    Running::start(name, program)
}

/// Waits for the `nth` event of this kind that has these fields.
fn event(running: &mut Running, kind: &str, fields: &[(&str, Value)], nth: usize) -> Value {
    let count = std::cell::Cell::new(0);
    running.wait_for(&format!("{kind} {fields:?} number {nth}"), SOON, |line| {
        let event: Value = serde_json::from_str(line).ok()?;
        let fits = event["event"] == kind && fields.iter().all(|(key, value)| event[key] == *value);
        count.set(count.get() + usize::from(fits));
        (fits && count.get() == nth).then_some(event)
    })
}

/// Runs a program that is expected to end by itself: its code and everything it says.
fn ends(mut program: Command) -> (Option<i32>, String) {
    let mut output = program.stdin(std::process::Stdio::null()).output().unwrap();
    output.stdout.append(&mut output.stderr);
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_script_talks_through_pipes_and_leaves_at_the_end_of_its_input() {
    let server = Server::start();
    let mut watcher = json(&server.tcp, "watcher", &[]);
    event(&mut watcher, "joined", &[], 1);
    let mut script = Running::start("script", client(&server.tcp, "script", &[]));
    // Typed before the room is entered: nothing is lost.
    for line in ["/list", "/users", "hello, all", "/msg watcher psst", "/nick Scribe", "/dance"] {
        script.type_line(line);
    }
    let status = script.wait_end(SOON);
    assert!(status.success(), "{status}");
    let said = script.said().join("\n");
    for expected in ["general", "watcher", "hello, all", "psst", "Scribe", "/dance"] {
        assert!(said.contains(expected), "no '{expected}' in:\n{said}");
    }
    event(&mut watcher, "chat", &[("name", "script".into()), ("text", "hello, all".into())], 1);
    event(&mut watcher, "private", &[("from", "script".into()), ("text", "psst".into())], 1);
    event(&mut watcher, "member_changed", &[("renamed_from", "script".into())], 1);
    event(&mut watcher, "member_left", &[("name", "Scribe".into())], 1);
}

#[test]
fn rooms_are_changed_without_reconnecting() {
    let server = Server::start();
    let mut anna = json(&server.tcp, "anna", &[]);
    let mut bert = json(&server.tcp, "bert", &["--room", "attic"]);
    event(&mut anna, "joined", &[("room", "general".into())], 1);
    event(&mut bert, "joined", &[("room", "attic".into())], 1);
    anna.type_line("/join attic");
    event(&mut anna, "joined", &[("room", "attic".into())], 1);
    event(&mut bert, "member_joined", &[("name", "anna".into())], 1);
    anna.type_line("here I am");
    event(&mut bert, "chat", &[("text", "here I am".into())], 1);
    assert_eq!(anna.said().iter().filter(|l| l.contains("\"welcome\"")).count(), 1);
}

#[test]
fn a_lost_connection_comes_back_to_the_same_room_and_name_with_the_microphone_off() {
    let server = Server::start();
    let mut anna = json(&server.tcp, "Anna", &["--room", "attic", "--unmute"]);
    event(&mut anna, "joined", &[("room", "attic".into())], 1);
    let (tcp, udp, state) = (server.tcp.clone(), server.udp.clone(), server.state.clone());
    // Dies without a word.
    drop(server);
    event(&mut anna, "lost", &[], 1);
    let again = Server::at(&tcp, &udp, state);
    event(&mut anna, "joined", &[("room", "attic".into())], 2);
    let mut watcher = json(&again.tcp, "watcher", &["--room", "attic"]);
    let joined = event(&mut watcher, "joined", &[], 1);
    let back = joined["members"].as_array().unwrap().iter().find(|m| m["name"] == "Anna");
    let back = back.expect("the same name in the same room");
    assert_eq!((&back["muted"], &back["speaking"]), (&true.into(), &false.into()));
}

#[test]
fn a_stopping_server_is_announced_and_a_client_told_to_stop_leaves_at_once() {
    let mut server = Server::start();
    let mut anna = json(&server.tcp, "anna", &[]);
    let mut bert = json(&server.tcp, "bert", &[]);
    event(&mut anna, "joined", &[], 1);
    event(&mut bert, "joined", &[], 1);
    bert.terminate();
    assert!(bert.wait_end(SOON).success());
    event(&mut anna, "member_left", &[("name", "bert".into()), ("reason", "quit".into())], 1);
    server.running.terminate();
    event(&mut anna, "goodbye", &[("reason", "stopping".into())], 1);
    assert!(server.running.wait_end(SOON).success());
    anna.terminate();
    assert!(anna.wait_end(SOON).success());
}

#[test]
fn ctrl_c_ends_both_programs_politely() {
    let mut server = Server::start();
    let mut anna = json(&server.tcp, "anna", &[]);
    let mut bert = json(&server.tcp, "bert", &[]);
    event(&mut anna, "joined", &[], 1);
    event(&mut bert, "joined", &[], 1);
    bert.interrupt();
    assert!(bert.wait_end(SOON).success());
    event(&mut anna, "member_left", &[("name", "bert".into()), ("reason", "quit".into())], 1);
    server.running.interrupt();
    event(&mut anna, "goodbye", &[("reason", "stopping".into())], 1);
    assert!(server.running.wait_end(SOON).success());
}

#[test]
fn what_the_user_can_mend_is_one_clear_line_and_exit_code_2() {
    let server = Server::start();
    let mut second = command(env!("CARGO_BIN_EXE_parlor-server"));
    second.args(["--tcp", &server.tcp, "--udp", "127.0.0.1:0"]);
    let (code, said) = ends(second);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("in use") && said.trim().lines().count() == 1, "{said}");
    let mut second = command(env!("CARGO_BIN_EXE_parlor-server"));
    second.args(["--tcp", "127.0.0.1:0", "--udp", &server.udp]);
    let (code, said) = ends(second);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("UDP") && said.contains("in use"), "{said}");
    for bad in
        [&["--input", "wav:/no/such/file.wav"][..], &["--tcp-port", "70000"], &["--room", ""]]
    {
        let (code, said) = ends(client(&server.tcp, "anna", bad));
        assert_eq!(code, Some(2), "{bad:?}: {said}");
        assert_eq!(said.trim().lines().count(), 1, "{said}");
    }
    for bad in [&["--tcp", "a:b"][..], &["--forwarders", "0"], &["--nonsense"]] {
        let mut program = command(env!("CARGO_BIN_EXE_parlor-server"));
        program.args(bad);
        let (code, said) = ends(program);
        assert_eq!((code, said.trim().lines().count()), (Some(2), 1), "{bad:?}: {said}");
    }
    let (code, said) = ends(client("127.0.0.1:1", "anna", &[]));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("127.0.0.1:1"), "{said}");
    let mut anna = json(&server.tcp, "anna", &[]);
    event(&mut anna, "joined", &[], 1);
    let (code, said) = ends(client(&server.tcp, "ANNA", &[]));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("in use"), "{said}");
}

#[test]
fn servers_are_found_by_name_and_by_both_families_of_addresses() {
    let server = Server::at("[::]:0", "[::]:0", state::fresh());
    let port = server.tcp.rsplit_once(':').unwrap().1;
    for (k, host) in ["localhost", "127.0.0.1", "[::1]"].into_iter().enumerate() {
        let mut anna = json(&format!("{host}:{port}"), &format!("anna {k}"), &[]);
        event(&mut anna, "joined", &[], 1);
        event(&mut anna, "path", &[("path", "udp".into())], 1);
    }
}

#[test]
fn a_log_that_is_on_no_terminal_has_no_colours() {
    let mut program = command(env!("CARGO_BIN_EXE_parlor-server"));
    program.args(["--tcp", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--ephemeral", "--log", "info"]);
    let mut server = Running::start("parlor-server", program);
    let started = |line: &str| line.contains("started").then(|| line.to_owned());
    let line = server.wait_for("log", SOON, started);
    assert!(line.contains(" INFO ") && !line.contains('\u{1b}'), "{line:?}");
}

#[test]
fn a_server_whose_output_nobody_reads_goes_on() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_parlor-server"));
    program.args(["--tcp", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--ephemeral"]);
    let mut child = program.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let tcp = line.strip_prefix("listening on tcp ").and_then(|l| l.split(' ').next()).unwrap();
    // The pipe is closed now.
    let mut anna = json(tcp, "anna", &[]);
    event(&mut anna, "joined", &[], 1);
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    let status = child.wait().unwrap();
    assert!(killed.success() && status.success(), "{status}");
}

/// A terminal of our own, on a server of its own, ended when dropped.
pub struct Terminal {
    socket: tempfile::TempDir,
}

impl Terminal {
    pub fn open(program: &str) -> Self {
        let terminal = Self { socket: tempfile::tempdir().unwrap() };
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", program]);
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(self.socket.path().join("socket")).args(arguments);
        tmux.env("LC_ALL", "C.UTF-8").env(state::CONFIG, "").env_remove("TMUX");
        let output = tmux.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until the screen shows something.
    pub fn shows(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let deadline = parlor::net::clock::now() + SOON;
        crate::support::process::poll_until(deadline, || Some(self.screen()).filter(|s| fits(s)))
            .unwrap_or_else(|| panic!("the screen never shows {what}:\n{}", self.screen()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(self.socket.path().join("socket")).arg("kill-server");
        let _ = tmux.output();
    }
}

#[test]
fn typing_in_a_terminal_is_never_torn_and_the_key_talks() {
    let absent: Vec<&str> = ["tmux"].into_iter().filter(|p| tools::find(p).is_none()).collect();
    let test = "typing_in_a_terminal_is_never_torn_and_the_key_talks";
    if tools::skips(test, &absent, "PARLOR_TEST_REQUIRE_TMUX") {
        return;
    }
    let server = Server::start();
    let mut bert = json(&server.tcp, "bert", &[]);
    event(&mut bert, "joined", &[], 1);
    let parlor = env!("CARGO_BIN_EXE_parlor");
    let udp_port = server.udp.rsplit_once(':').unwrap().1;
    let terminal = Terminal::open(&format!(
        "'{parlor}' --inline --name anna --server {} --udp-port {udp_port} --input tone:440 \
         --output null --state-dir '{}'",
        server.tcp,
        state::fresh().display()
    ));
    event(&mut bert, "member_joined", &[("name", "anna".into())], 1);
    terminal.press(&["-l", "half a sen"]);
    terminal.shows("what is typed", |screen| screen.contains("half a sen"));
    for k in 0..5 {
        bert.type_line(&format!("interruption {k}"));
    }
    let screen = terminal.shows("the interruptions", |screen| screen.contains("interruption 4"));
    let typed = screen.lines().filter(|line| line.contains("half a sen")).count();
    assert_eq!(typed, 1, "the line stands once, whole, below what came:\n{screen}");
    terminal.press(&["-l", "tence"]);
    terminal.press(&["Enter"]);
    event(&mut bert, "chat", &[("text", "half a sentence".into())], 1);
    // The key left of 1 talks while it repeats, and no longer.
    event(&mut bert, "path", &[("path", "udp".into())], 1);
    terminal.press(&["-l", "`"]);
    event(&mut bert, "speaking", &[("name", "anna".into()), ("on", true.into())], 1);
    event(&mut bert, "speaking", &[("name", "anna".into()), ("on", false.into())], 1);
    terminal.press(&["-l", "/exit"]);
    terminal.press(&["Enter"]);
    event(&mut bert, "member_left", &[("name", "anna".into()), ("reason", "quit".into())], 1);
}

#[test]
fn a_password_is_seen_in_no_terminal_and_the_echo_comes_back() {
    let absent: Vec<&str> = ["tmux"].into_iter().filter(|p| tools::find(p).is_none()).collect();
    let test = "a_password_is_seen_in_no_terminal_and_the_echo_comes_back";
    if tools::skips(test, &absent, "PARLOR_TEST_REQUIRE_TMUX") {
        return;
    }
    let server = Server::start();
    let parlor = env!("CARGO_BIN_EXE_parlor");
    for mode in ["", "--inline", "--plain"] {
        let terminal = Terminal::open(&format!(
            "sh -c \"trap : INT; '{parlor}' {mode} --name anna --server {} --input silence \
             --output null --state-dir '{}'; stty -a; exec sleep 600\"",
            server.tcp,
            state::fresh().display()
        ));
        let enter = |text: &str| {
            terminal.press(&["-l", text]);
            terminal.press(&["Enter"]);
        };
        terminal.shows("the room", |screen| screen.contains("You are in general"));
        enter("/register");
        terminal.shows("the question", |screen| screen.contains("Choose a password"));
        enter("hunter2");
        terminal.shows("the second question", |screen| screen.contains("once more"));
        enter("hunter3");
        let screen = terminal.shows("the mistake", |screen| screen.contains("passwords differ"));
        assert!(!screen.contains("hunter"), "{mode}:\n{screen}");
        // The line is shown again, and the password stands in no history.
        terminal.press(&["Up"]);
        terminal.press(&["-l", "half a sen"]);
        let screen = terminal.shows("what is typed", |screen| screen.contains("half a sen"));
        assert!(!screen.contains("hunter"), "{mode}:\n{screen}");
        terminal.press(&["C-u"]);
        // Ended in the middle of a question, the client leaves the terminal as it was.
        enter("/register");
        let asks_again = |screen: &str| screen.matches("Choose a password").count() == 2;
        terminal.shows("the question again", asks_again);
        terminal.press(&["-l", "hunter2"]);
        terminal.press(&["C-c"]);
        let screen = terminal.shows("the modes", |screen| screen.contains("icanon"));
        assert!(screen.contains(" echo ") && !screen.contains(" -echo "), "{mode}:\n{screen}");
        assert!(!screen.contains("hunter"), "{mode}:\n{screen}");
    }
}
