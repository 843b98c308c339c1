//! Where a password or an invite could come to light by itself: lists of processes, logs, files, memory.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use parlor::net::clock;
use parlor::net::invite::Invite;
use serde_json::Value;

use crate::console::Terminal;
use crate::support::process::{Running, command, poll_until};
use crate::support::{state, tools};

/// How long anything may take on a loaded machine.
const SOON: Duration = Duration::from_secs(30);
/// Of the server, of a name, of a room: nothing else looks like them.
const PASSWORDS: [&str; 3] = ["sesame-Q7x1", "hunter2-Q7x2", "swordfish-Q7x3"];

/// How a password is brought along.
#[derive(Clone, Copy)]
enum Way {
    Files,
    Environment,
}

fn brought(mut program: Command, way: Way, locks: &[(&str, &str, &str)]) -> Command {
    for (flag, variable, password) in locks {
        match way {
            Way::Environment => {
                program.env(variable, password);
            }
            Way::Files => {
                let file = state::fresh();
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(&file, format!("{password}\n")).unwrap();
                program.arg(flag).arg(file);
            }
        }
    }
    program
}

fn server(state: &Path) -> Command {
    let mut program = command(env!("CARGO_BIN_EXE_parlor-server"));
    program.args(["--tcp", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--log", "trace"]);
    program.env(state::SERVER, state);
    program
}

fn client(name: &str, there: &str, state: &Path) -> Command {
    let mut program = command(env!("CARGO_BIN_EXE_parlor"));
    program.args(["--name", name, "--input", "silence", "--output", "null", "--json"]);
    program.args(["--log", "trace", there]);
    program.env(state::CLIENT, state).env("LC_ALL", "C.UTF-8").env_remove("PARLOR_LOG");
    program
}

fn listening(server: &mut Running) -> String {
    server.wait_for("start line", SOON, |line| {
        Some(line.strip_prefix("listening on tcp ")?.split_once(" and udp ")?.0.to_owned())
    })
}

fn event(running: &mut Running, kind: &str, fields: &[(&str, Value)]) {
    running.wait_for(kind, SOON, |line| {
        let event: Value = serde_json::from_str(line).ok()?;
        let fits = event["event"] == kind && fields.iter().all(|(key, value)| event[key] == *value);
        fits.then_some(())
    });
}

fn command_line(running: &Running) -> String {
    let bytes = std::fs::read(format!("/proc/{}/cmdline", running.pid())).unwrap();
    assert!(!bytes.is_empty());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Everything in a directory, as one text.
fn files(directory: &Path) -> String {
    let entries = std::fs::read_dir(directory).unwrap().flatten();
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files
        .map(|entry| String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).into_owned())
        .collect()
}

/// Comes in, registers his name and locks his room, with passwords brought this way: everything that
/// both programs show of themselves meanwhile.
fn traces_of(way: Way) -> Vec<(&'static str, String)> {
    let [of_server, of_name, of_room] = PASSWORDS;
    let (its, ours) = (state::fresh(), state::fresh());
    let lock = ("--server-password-file", "PARLOR_SERVER_PASSWORD", of_server);
    let mut server = Running::start("parlor-server", brought(server(&its), way, &[lock]));
    let tcp = listening(&mut server);
    let keys = [
        lock,
        ("--password-file", "PARLOR_PASSWORD", of_name),
        ("--room-password-file", "PARLOR_ROOM_PASSWORD", of_room),
    ];
    let mut anna = Running::start("anna", brought(client("anna", &tcp, &ours), way, &keys));
    event(&mut anna, "joined", &[]);
    anna.type_line("/register");
    event(&mut anna, "registered", &[]);
    let lines = [command_line(&server), command_line(&anna)].concat();
    // The owner, so that a room can be locked; a device that nobody knows needs the name's password.
    anna.type_line("/exit");
    assert!(anna.wait_end(SOON).success());
    let ask = |line: &[&str]| {
        let mut program = command(env!("CARGO_BIN_EXE_parlor-server"));
        let output = program.args(line).env(state::SERVER, &its).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    ask(&["op", "anna"]);
    let elsewhere = state::fresh();
    let mut again = Running::start("anna", brought(client("anna", &tcp, &elsewhere), way, &keys));
    event(&mut again, "joined", &[]);
    again.type_line("/lock general");
    event(&mut again, "report", &[]);
    let guest = state::fresh();
    let mut bert = Running::start("bert", brought(client("bert", &tcp, &guest), way, &keys));
    event(&mut bert, "joined", &[("room", "general".into())]);
    let said = [anna.said(), again.said(), bert.said()].concat().join("\n");
    vec![
        ("lists of processes", lines + &command_line(&again) + &command_line(&bert)),
        ("the client's log and output", said),
        ("the server's log and output", server.said().join("\n")),
        ("the client's files", files(&ours) + &files(&elsewhere) + &files(&guest)),
        ("the server's files", files(&its)),
    ]
}

fn show_none(traces: &[(&str, String)]) {
    for (place, text) in traces {
        for password in PASSWORDS {
            assert!(!text.contains(password), "{password} stands in {place}:\n{text}");
        }
    }
    // It is looked for where it would be: both have logged.
    for place in ["the client's log and output", "the server's log and output"] {
        let (_, text) = traces.iter().find(|(name, _)| *name == place).unwrap();
        assert!(text.contains(" INFO "), "{place}:\n{text}");
    }
}

#[test]
fn passwords_from_files_stand_in_no_list_of_processes_no_log_and_no_file() {
    show_none(&traces_of(Way::Files));
}

#[test]
fn passwords_from_the_environment_stand_in_no_list_of_processes_no_log_and_no_file() {
    show_none(&traces_of(Way::Environment));
}

#[test]
fn an_invite_stands_in_no_log_and_no_file() {
    let (its, ours, file) = (state::fresh(), state::fresh(), state::fresh());
    let mut server = Running::start("parlor-server", server(&its));
    listening(&mut server);
    let line = server.wait_for("owner's line", SOON, |line| {
        line.strip_prefix("to become this server's operator (once): parlor '").map(str::to_owned)
    });
    let line = line.trim_end_matches('\'');
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, line).unwrap();
    let mut program = client("olga", "--invite-file", &ours);
    program.arg(&file);
    let mut olga = Running::start("olga", program);
    event(&mut olga, "joined", &[]);
    let (_, token) = line.rsplit_once('.').unwrap();
    assert!(!command_line(&olga).contains(token));
    assert!(!olga.said().join("\n").contains(token));
    assert!(!files(&ours).contains(token) && !files(&its).contains(token));
    let shown = server.said().iter().filter(|said| said.contains(token)).count();
    assert_eq!(shown, 1, "once, to whoever started it");
    // Nor as bytes.
    let token = line.parse::<Invite>().unwrap().token;
    for entry in std::fs::read_dir(&its).unwrap().chain(std::fs::read_dir(&ours).unwrap()) {
        let Ok(bytes) = std::fs::read(entry.unwrap().path()) else { continue };
        assert!(!bytes.windows(32).any(|part| part == token.expose()));
    }
}

#[test]
fn a_password_typed_at_the_prompt_stands_in_no_log() {
    let absent: Vec<&str> = ["tmux"].into_iter().filter(|p| tools::find(p).is_none()).collect();
    let test = "a_password_typed_at_the_prompt_stands_in_no_log";
    if tools::skips(test, &absent, "PARLOR_TEST_REQUIRE_TMUX") {
        return;
    }
    let mut server = Running::start("parlor-server", server(&state::fresh()));
    let (tcp, log, ours) = (listening(&mut server), state::fresh(), state::fresh());
    let terminal = Terminal::open(&format!(
        "'{}' --name anna --server {tcp} --input silence --output null --state-dir '{}' --log trace \
         --log-file '{}'",
        env!("CARGO_BIN_EXE_parlor"),
        ours.display(),
        log.display()
    ));
    terminal.shows("the room", |screen| screen.contains("You are in general"));
    for line in ["/register", PASSWORDS[1], PASSWORDS[1]] {
        terminal.press(&["-l", line]);
        terminal.press(&["Enter"]);
    }
    terminal.shows("the answer", |screen| screen.contains("is kept for you"));
    let logged = std::fs::read_to_string(&log).unwrap();
    assert!(logged.contains(" INFO "), "{logged}");
    for said in [logged, server.said().join("\n"), files(&ours)] {
        assert!(!said.contains(PASSWORDS[1]), "{said}");
        assert!(!said.contains("Char('"), "no key by itself either:\n{said}");
    }
}

#[test]
fn no_program_takes_a_password_on_its_command_line() {
    for flag in ["--password", "--server-password", "--room-password"] {
        for program in [env!("CARGO_BIN_EXE_parlor"), env!("CARGO_BIN_EXE_parlor-server")] {
            let mut program = command(program);
            let output = program.args([flag, PASSWORDS[0]]).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{flag}");
            let said = [output.stdout, output.stderr].concat();
            assert!(!String::from_utf8_lossy(&said).contains(PASSWORDS[0]), "{flag}");
        }
    }
}

// ---- memory -------------------------------------------------------------------------------

/// A user who is nobody else's, for when the tests run as root, who may read everything.
const SOMEBODY: u32 = 54_321;

/// A program as an ordinary user, and who that is. `None`: there is no way to start it as one.
fn as_user(program: &str, place: &Path) -> Option<(Command, u32)> {
    let own = std::fs::metadata("/proc/self").unwrap().uid();
    let mut ready = command(program);
    let mut uid = own;
    if own == 0 {
        tools::find("setpriv")?;
        uid = SOMEBODY;
        let id = SOMEBODY.to_string();
        ready = command("setpriv");
        ready.args(["--reuid", &id, "--regid", &id, "--clear-groups", program]);
        let works = Command::new("setpriv")
            .args(["--reuid", &id, "--clear-groups", "test", "-x", program])
            .status();
        works.ok().filter(std::process::ExitStatus::success)?;
    }
    ready.env(state::CLIENT, place.join("client")).env(state::SERVER, place.join("server"));
    Some((ready, uid))
}

/// Whose a process' environment and memory are: the system's own if other processes of the same user may
/// not look into it.
fn owner_of_environment(pid: u32) -> u32 {
    std::fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid()
}

#[test]
fn other_programs_of_the_same_user_see_neither_memory_nor_environment_of_either() {
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let ready = |program: &str| as_user(program, place.path());
    let programs = (
        ready("/bin/sleep"),
        ready(env!("CARGO_BIN_EXE_parlor-server")),
        ready(env!("CARGO_BIN_EXE_parlor")),
    );
    let (Some((mut sleep, uid)), Some((mut server, _)), Some((mut anna, _))) = programs else {
        let test = "other_programs_of_the_same_user_see_neither_memory_nor_environment_of_either";
        let absent = ["a user besides root who may run the programs"];
        tools::skips(test, &absent, "PARLOR_TEST_REQUIRE_USER");
        return;
    };
    // How it looks where nobody sees to it.
    sleep.arg("600");
    let sleep = Running::start("sleep", sleep);
    let visible = || (owner_of_environment(sleep.pid()) == uid).then_some(());
    poll_until(clock::now() + SOON, visible).expect("an ordinary program is its user's");
    server.args(["--tcp", "127.0.0.1:0", "--udp", "127.0.0.1:0"]);
    let mut server = Running::start("parlor-server", server);
    let tcp = listening(&mut server);
    anna.args(["--name", "anna", "--input", "silence", "--output", "null", "--json", &tcp]);
    let mut anna = Running::start("anna", anna);
    event(&mut anna, "joined", &[]);
    for running in [&server, &anna] {
        let pid = running.pid();
        let status = std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/status"))).unwrap();
        let line = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
        assert!(line.contains(&uid.to_string()), "{line}");
        assert_ne!(owner_of_environment(pid), uid);
    }
}
