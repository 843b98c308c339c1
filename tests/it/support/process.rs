//! Processes that a test starts: their lines as they come, and an end to them whatever happens.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use parlor::net::clock;

use super::state;

/// What stands before every program: more of the processor where the user may have it (a loaded
/// machine must not pass for bad sound), and an end with the test even if that is killed.
static PREFIX: LazyLock<Vec<String>> = LazyLock::new(|| {
    let words = |line: &str| line.split(' ').map(String::from).collect::<Vec<_>>();
    let works = |line: &[String]| {
        let [program, arguments @ ..] = line else { return false };
        let probe = Command::new(program).args(arguments).arg("true").output();
        probe.is_ok_and(|output| output.status.success() && output.stderr.is_empty())
    };
    let candidates = [words("nice -n -11"), words("setpriv --pdeathsig KILL")];
    candidates.into_iter().filter(|line| works(line)).flatten().collect()
});

/// A command that runs `program` under the common prefix, with state directories of its own and no settings.
pub fn command(program: &str) -> Command {
    let mut line = PREFIX.iter().map(String::as_str).chain([program]);
    let mut command = Command::new(line.next().unwrap());
    command.args(line).env(state::CLIENT, state::fresh()).env(state::SERVER, state::fresh());
    command.env(state::CONFIG, "");
    command
}

/// A running process. It is killed and reaped when this is dropped, also by a panic.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    /// Starts a command and collects the lines of its stdout and stderr.
    pub fn start(name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{name} does not start: {e}"));
        let (sender, lines) = channel();
        read_lines(child.stdout.take().unwrap(), sender.clone());
        read_lines(child.stderr.take().unwrap(), sender);
        let stdin = child.stdin.take();
        Self { name: name.to_owned(), child, stdin, lines, seen: Vec::new() }
    }

    /// Waits until `pick` accepts a line: one that was already seen, or one that comes in time.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        within: Duration,
        pick: impl Fn(&str) -> Option<T>,
    ) -> T {
        if let Some(found) = self.seen.iter().find_map(|line| pick(line)) {
            return found;
        }
        let deadline = clock::now() + within;
        loop {
            let left = deadline.saturating_duration_since(clock::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    let found = pick(&line);
                    self.seen.push(line);
                    if let Some(found) = found {
                        return found;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.fail(&format!("no {what} in {within:?}")),
                Err(RecvTimeoutError::Disconnected) => self.fail(&format!("ended before {what}")),
            }
        }
    }

    /// Everything it has said so far.
    pub fn said(&mut self) -> &[String] {
        self.seen.extend(self.lines.try_iter());
        &self.seen
    }

    /// Types a line into its stdin.
    pub fn type_line(&mut self, line: &str) {
        let written = self.stdin.as_mut().map(|stdin| writeln!(stdin, "{line}"));
        if !matches!(written, Some(Ok(()))) {
            self.fail(&format!("takes no input: {line}"));
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop, as a service manager does.
    pub fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Asks it to stop, as Ctrl-C does.
    pub fn interrupt(&self) {
        self.signal("-INT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args([signal, &pid]).status();
    }

    /// Waits for its end.
    pub fn wait_end(&mut self, within: Duration) -> ExitStatus {
        self.stdin = None;
        let deadline = clock::now() + within;
        match poll_until(deadline, || self.child.try_wait().unwrap()) {
            Some(status) => status,
            None => self.fail(&format!("still runs after {within:?}")),
        }
    }

    fn fail(&mut self, why: &str) -> ! {
        let name = self.name.clone();
        let said = self.said().join("\n  ");
        panic!("{name}: {why}; it said:\n  {said}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks `ready` again and again until it has an answer or the deadline has passed; for events that
/// no channel announces.
pub fn poll_until<T>(deadline: Instant, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    loop {
        let answer = ready();
        if answer.is_some() || clock::now() >= deadline {
            return answer;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn read_lines(stream: impl std::io::Read + Send + 'static, sender: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
}

/// The processes whose command line or environment holds `mark`; a test uses it to see that
/// nothing that it started is left.
pub fn alive_with(mark: &str) -> Vec<String> {
    let holds = |file: std::path::PathBuf| {
        std::fs::read(file)
            .is_ok_and(|bytes| bytes.windows(mark.len()).any(|part| part == mark.as_bytes()))
    };
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit()))
        .filter(|entry| entry.file_name().to_string_lossy() != std::process::id().to_string())
        .filter(|entry| holds(entry.path().join("cmdline")) || holds(entry.path().join("environ")))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn a_dropped_process_is_gone() {
    let mark = format!("parlor-test-{}", std::process::id());
    let mut command = command("sh");
    command.args(["-c", "echo up; exec sleep 600", &mark]).env("PARLOR_TEST_MARK", &mark);
    let mut running = Running::start("sleeper", command);
    running.wait_for("line", Duration::from_secs(10), |line| (line == "up").then_some(()));
    assert_eq!(alive_with(&mark).len(), 1);
    drop(running);
    assert_eq!(alive_with(&mark), Vec::<String>::new());
}

#[test]
fn a_late_line_names_the_process_and_shows_what_it_said() {
    let outcome = std::panic::catch_unwind(|| {
        let mut command = command("sh");
        command.args(["-c", "echo something else; exec sleep 600"]);
        let mut running = Running::start("talker", command);
        running.wait_for("greeting", Duration::from_millis(300), |line| {
            (line == "hello").then_some(())
        });
    });
    let text = *outcome.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("talker: no greeting"), "{text}");
    assert!(text.contains("something else"), "{text}");
}
