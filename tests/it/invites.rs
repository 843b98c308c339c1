//! Invites as people use them: a line that the server prints, pasted behind the client's name, and nothing else.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use parlor::net::clock;
use parlor::net::fingerprint::Fingerprint;
use parlor::net::invite::Invite;
use serde_json::Value;

use crate::console::Terminal;
use crate::support::process::{Running, command, poll_until};
use crate::support::{state, tools};

/// How long anything may take on a loaded machine.
const SOON: Duration = Duration::from_secs(30);
/// What a first start says before its invites.
const OWNER: &str = "to become this server's operator (once): parlor ";
const GUEST: &str = "to invite your friends: parlor ";

struct Server {
    running: Running,
    tcp: String,
    state: PathBuf,
}

impl Server {
    fn start(more: &[&str]) -> Self {
        Self::at(state::fresh(), more)
    }

    fn at(state: PathBuf, more: &[&str]) -> Self {
        let mut program = command(env!("CARGO_BIN_EXE_parlor-server"));
        program.args(["--tcp", "127.0.0.1:0", "--udp", "127.0.0.1:0"]).args(more);
        let mut running = Running::start("parlor-server", program_in(program, &state));
        let tcp = running.wait_for("start line", SOON, |line| {
            Some(line.strip_prefix("listening on tcp ")?.split_once(" and udp ")?.0.to_owned())
        });
        Self { running, tcp, state }
    }

    /// The invite that the start has shown.
    fn shown(&mut self, before: &str) -> String {
        self.running.wait_for(before, SOON, |line| {
            let quoted = line.strip_prefix(before)?;
            Some(quoted.strip_prefix('\'')?.strip_suffix('\'')?.to_owned())
        })
    }

    /// Asks it as its owner does.
    fn ask(&self, line: &[&str]) -> String {
        let mut program = command(env!("CARGO_BIN_EXE_parlor-server"));
        program.args(line).env(state::SERVER, &self.state);
        let output = program.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{line:?}: {said}");
        said.trim_end().to_owned()
    }

    /// A new invite.
    fn invite(&self, terms: &[&str]) -> String {
        self.ask(&[&["invite"], terms].concat())
    }

    /// The invites that can still be used, as (number, uses left).
    fn invites(&self) -> Vec<(u64, u64)> {
        let reply: Value = serde_json::from_str(&self.ask(&["invites", "--json"])).unwrap();
        let invites = reply["report"]["invites"].as_array().unwrap();
        let number = |value: &Value| value.as_u64().unwrap();
        invites.iter().map(|one| (number(&one["id"]), number(&one["uses_left"]))).collect()
    }

    fn newest(&self) -> (u64, u64) {
        *self.invites().last().unwrap()
    }
}

fn program_in(mut program: Command, state: &Path) -> Command {
    program.env(state::SERVER, state);
    program
}

/// A server that lets nobody in who has neither its password nor an invite.
fn closed() -> Server {
    let directory = state::fresh();
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("password");
    std::fs::write(&file, "sesame\n").unwrap();
    Server::start(&["--server-password-file", file.to_str().unwrap()])
}

/// The client, without sound devices, on a device of its own.
fn client(name: &str, device: &Path, line: &[&str]) -> Command {
    let mut program = command(env!("CARGO_BIN_EXE_parlor"));
    program.args(["--name", name, "--input", "silence", "--output", "null", "--json"]).args(line);
    program.env(state::CLIENT, device).env("LC_ALL", "C.UTF-8").env_remove("PARLOR_LOG");
    program
}

/// Waits for an event of this kind.
fn event(running: &mut Running, kind: &str) -> Value {
    running.wait_for(kind, SOON, |line| {
        let event: Value = serde_json::from_str(line).ok()?;
        (event["event"] == kind).then_some(event)
    })
}

/// Somebody who comes in: the room that he is in, and his role.
struct Inside {
    running: Running,
    trust: String,
    room: String,
    role: Option<String>,
}

fn comes_in(name: &str, program: Command) -> Inside {
    let mut running = Running::start(name, program);
    let trust = event(&mut running, "connected")["trust"].as_str().unwrap().to_owned();
    let joined = event(&mut running, "joined");
    let members = joined["members"].as_array().unwrap();
    let me = members.iter().find(|member| member["you"] == true).unwrap();
    let role = me["role"].as_str().map(str::to_owned);
    Inside { running, trust, room: joined["room"].as_str().unwrap().to_owned(), role }
}

impl Inside {
    /// He is still there, and is answered.
    fn is_undisturbed(&mut self) {
        self.running.type_line("/list");
        event(&mut self.running, "rooms");
        assert!(!self.running.said().iter().any(|line| line.contains("\"lost\"")));
    }

    fn leaves(mut self) {
        self.running.type_line("/exit");
        assert!(self.running.wait_end(SOON).success());
    }
}

/// A client that must end by itself with exit code 1: what it ends with, as code and words.
fn is_refused(mut program: Command) -> (String, String) {
    let output = program.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains("\"welcome\""), "{said}");
    let mut events = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let error = events.rfind(|event| event["event"] == "error");
    let error = error.unwrap_or_else(|| panic!("no error in:\n{said}"));
    let text = |key: &str| error[key].as_str().unwrap().to_owned();
    (text("code"), text("message"))
}

// ---- the lines of a first start -----------------------------------------------------------

#[test]
fn the_owner_s_line_of_a_first_start_is_all_that_it_takes_to_be_the_operator() {
    let mut server = Server::start(&[]);
    let line = server.shown(OWNER);
    let olga = comes_in("olga", client("olga", &state::fresh(), &[&line]));
    assert_eq!((olga.role.as_deref(), olga.room.as_str()), (Some("operator"), "general"));
    assert_eq!(olga.trust, "known", "the line says which key is the server's");
}

#[test]
fn the_guest_s_line_of_a_first_start_lets_guests_in_and_makes_no_operator() {
    let mut server = Server::start(&[]);
    let line = server.shown(GUEST);
    for name in ["anna", "bert"] {
        let guest = comes_in(name, client(name, &state::fresh(), &[&line]));
        assert_eq!((guest.role.as_deref(), guest.room.as_str()), (None, "general"));
    }
}

#[test]
fn whoever_was_let_in_comes_back_without_the_line_and_is_still_the_operator() {
    let mut server = closed();
    let (line, olga) = (server.shown(OWNER), state::fresh());
    comes_in("olga", client("olga", &olga, &[&line])).leaves();
    let again = comes_in("olga", client("olga", &olga, &[&server.tcp]));
    assert_eq!((again.role.as_deref(), again.trust.as_str()), (Some("operator"), "known"));
    // Another device of the same name is a stranger.
    let stranger = is_refused(client("Olga 2", &state::fresh(), &[&server.tcp]));
    assert_eq!(stranger.0, "server_password");
}

#[test]
fn a_second_start_shows_no_line_once_there_is_an_operator() {
    let mut server = Server::start(&[]);
    let (line, olga) = (server.shown(OWNER), state::fresh());
    comes_in("olga", client("olga", &olga, &[&line])).leaves();
    server.running.terminate();
    assert!(server.running.wait_end(SOON).success());
    let mut server = Server::at(server.state.clone(), &[]);
    let back = comes_in("olga", client("olga", &olga, &[&server.tcp]));
    assert_eq!(back.role.as_deref(), Some("operator"));
    // The lines of the start stand before anyone's coming in.
    assert!(!server.running.said().iter().any(|line| line.contains("parlor://")));
}

// ---- invites in use -----------------------------------------------------------------------

#[test]
fn a_stolen_line_that_was_good_once_is_refused_and_its_first_holder_is_not_disturbed() {
    let mut server = closed();
    let (line, thief) = (server.shown(OWNER), state::fresh());
    let device = state::fresh();
    let mut olga = comes_in("olga", client("olga", &device, &[&line]));
    let (code, text) = is_refused(client("eve", &thief, &[&line]));
    assert_eq!(code, "bad_invite");
    assert!(text.contains("used up") && text.contains("another"), "{text}");
    olga.is_undisturbed();
    olga.leaves();
    let again = comes_in("olga", client("olga", &device, &[&line]));
    assert_eq!(again.role.as_deref(), Some("operator"), "her own line does her no harm");
}

#[test]
fn an_invite_made_at_the_console_leads_into_its_room_past_the_server_s_password() {
    let server = closed();
    let line = server.invite(&["--room", "Die Höhle", "--expires", "2d", "--uses", "5"]);
    let bert = comes_in("bert", client("bert", &state::fresh(), &[&line]));
    assert_eq!((bert.room.as_str(), bert.role.as_deref()), ("Die Höhle", None));
    assert_eq!(server.newest().1, 4);
}

#[test]
fn a_line_works_from_a_file_from_the_environment_and_typed_into_a_running_client() {
    let server = closed();
    let line = server.invite(&["--room", "den", "--uses", "3"]);
    let file = state::fresh();
    std::fs::write(&file, format!("{line}\n")).unwrap();
    let from_file = client("anna", &state::fresh(), &["--invite-file", file.to_str().unwrap()]);
    assert_eq!(comes_in("anna", from_file).room, "den");
    let mut from_environment = client("bert", &state::fresh(), &[]);
    from_environment.env("PARLOR_INVITE", &line);
    assert_eq!(comes_in("bert", from_environment).room, "den");
    // On another server, with the line for its input.
    let elsewhere = Server::start(&[]);
    let mut carl = comes_in("carl", client("carl", &state::fresh(), &[&elsewhere.tcp]));
    carl.running.type_line(&line);
    carl.running.wait_for("the other room", SOON, |line| {
        let event: Value = serde_json::from_str(line).ok()?;
        (event["event"] == "joined" && event["room"] == "den").then_some(())
    });
    assert_eq!(server.invites().last().map(|(_, left)| *left), Some(50), "the guests' is left");
}

#[test]
fn a_line_pasted_at_the_prompt_of_a_terminal_is_followed_and_not_said() {
    let absent: Vec<&str> = ["tmux"].into_iter().filter(|p| tools::find(p).is_none()).collect();
    let test = "a_line_pasted_at_the_prompt_of_a_terminal_is_followed_and_not_said";
    if tools::skips(test, &absent, "PARLOR_TEST_REQUIRE_TMUX") {
        return;
    }
    let (server, elsewhere) = (closed(), Server::start(&[]));
    let line = server.invite(&["--room", "den"]);
    let mut watcher = comes_in("watcher", client("watcher", &state::fresh(), &[&elsewhere.tcp]));
    let terminal = Terminal::open(&format!(
        "'{}' --name anna --server {} --input silence --output null --state-dir '{}'",
        env!("CARGO_BIN_EXE_parlor"),
        elsewhere.tcp,
        state::fresh().display()
    ));
    terminal.shows("the room", |screen| screen.contains("You are in general"));
    terminal.press(&["-l", &line]);
    terminal.press(&["Enter"]);
    terminal.shows("the other room", |screen| screen.contains("You are in den"));
    event(&mut watcher.running, "member_left");
    assert!(!watcher.running.said().iter().any(|line| line.contains("\"chat\"")));
}

// ---- invites that are good no more --------------------------------------------------------

#[test]
fn a_revoked_invite_is_refused() {
    let server = closed();
    let line = server.invite(&["--uses", "5"]);
    comes_in("anna", client("anna", &state::fresh(), &[&line])).leaves();
    server.ask(&["revoke", &server.newest().0.to_string()]);
    let (code, text) = is_refused(client("bert", &state::fresh(), &[&line]));
    assert_eq!(code, "bad_invite");
    assert!(text.contains("revoked"), "{text}");
}

#[test]
fn an_expired_invite_is_refused_as_expired_and_whoever_used_it_in_time_is_let_in() {
    let server = closed();
    let before = server.invites().len();
    let (line, device) = (server.invite(&["--expires", "5s", "--uses", "5"]), state::fresh());
    let mut anna = comes_in("anna", client("anna", &device, &[&line]));
    let expired = || (server.invites().len() == before).then_some(());
    poll_until(clock::now() + SOON, expired).expect("it expires");
    // The server has looked for what is over: that ends a silence.
    server.ask(&["silence", "anna", "--for", "1s"]);
    let silenced = Cell::new(false);
    anna.running.wait_for("the end of a silence", SOON, |line| {
        let event: Value = serde_json::from_str(line).ok()?;
        let now = (event["event"] == "standing").then(|| event["silenced"] == true)?;
        (silenced.replace(now) && !now).then_some(())
    });
    anna.leaves();
    let (code, text) = is_refused(client("bert", &state::fresh(), &[&line]));
    assert_eq!(code, "invite_expired", "{text}");
    assert!(text.contains("expired"), "{text}");
    comes_in("anna", client("anna", &device, &[&line]));
}

#[test]
fn a_line_with_another_fingerprint_is_not_shown_to_the_server() {
    let server = closed();
    let line = server.invite(&[]);
    let good: Invite = line.parse().unwrap();
    let mut bytes = *good.fingerprint.unwrap().bytes();
    bytes[31] ^= 1;
    let bent = Invite { fingerprint: Some(Fingerprint::new(bytes)), ..good };
    let anna = state::fresh();
    let (code, text) = is_refused(client("anna", &anna, &[&bent.to_string()]));
    assert_eq!(code, "other_key");
    assert!(text.contains("SHA256:"), "{text}");
    // The server has seen no token: neither used nor guessed.
    assert_eq!(server.newest().1, 1);
    assert!(!server.ask(&["audit"]).contains("redeem"));
    let came = comes_in("anna", client("anna", &anna, &[&line]));
    assert_eq!(came.role, None);
}
