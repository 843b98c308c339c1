//! The server under the soak: a real process in its default, secure form, with a state directory of its own. It is
//! paused, killed and started again, asked at its control socket, and measured from outside.

use crate::process::resident_kib;
use anyhow::{Context, bail};
use parlor::actors::control_socket;
use parlor::net::clock;
use parlor::net::invite::{Invite, InviteToken};
use parlor::net::moderation::{AdminReply, AdminRequest};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Where Debian, Fedora and Arch keep the library that makes a process see another wall clock.
const FAKETIME: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
];
/// How long a start may take on a loaded machine.
const START_MAX: Duration = Duration::from_secs(60);
const LOG: &str = "server.log";
const CLOCK: &str = "clock";

/// A directory that goes with the server.
struct Home(PathBuf);

impl Drop for Home {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// A process that ends with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A state directory and the server that runs in it.
pub struct SoakServer {
    // Before its home, so that it has ended when that goes.
    running: Running,
    home: Home,
    /// Where it listens.
    pub tcp: SocketAddr,
    /// Makes an operator; only from the first start.
    pub owner: Option<InviteToken>,
    /// It sees the wall clock that it is told.
    pub wall_clock: bool,
    fingerprint: String,
}

/// What the system tells of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory, in KiB.
    pub resident_kib: u64,
    /// What of it is memory of its own, and no part of a file such as the program: all that can leak.
    pub own_kib: u64,
    /// Threads.
    pub threads: u64,
    /// Open files; 0 where they cannot be seen.
    pub files: u64,
}

/// What a server says at its start.
struct Said {
    tcp: SocketAddr,
    fingerprint: String,
    owner: Option<InviteToken>,
}

impl SoakServer {
    /// Starts a server in a new directory below the system's place for such.
    pub fn start() -> anyhow::Result<Self> {
        let directory = std::env::temp_dir().join(format!("parlor-soak-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let home = Home(directory);
        let wall_clock = cfg!(target_os = "linux") && faketime().is_some();
        let (running, Said { tcp, fingerprint, owner }) = launch(&home.0, wall_clock, true)?;
        Ok(Self { running, home, tcp, owner, wall_clock, fingerprint })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running.0.id()
    }

    /// Its state directory, with the control socket in it.
    pub fn state(&self) -> PathBuf {
        self.home.0.join("state")
    }

    /// Ends it in the middle of whatever it does, and starts another on what it has kept.
    pub fn kill_and_start_again(&mut self) -> anyhow::Result<()> {
        self.running.0.kill()?;
        self.running.0.wait()?;
        let (running, said) = launch(&self.home.0, self.wall_clock, false)?;
        (self.running, self.tcp) = (running, said.tcp);
        if said.fingerprint != self.fingerprint {
            bail!("the server has another key after a restart");
        }
        Ok(())
    }

    /// Whether it has ended by itself.
    pub fn ended(&mut self) -> Option<String> {
        self.running.0.try_wait().ok().flatten().map(|status| status.to_string())
    }

    /// Stops all its threads, or lets them go on. Whether this system can do that.
    pub fn pause(&self, paused: bool) -> bool {
        pause(self.running.0.id(), paused)
    }

    /// Moves its wall clock so many seconds from the true time.
    pub fn set_wall_clock(&self, seconds: i64) -> anyhow::Result<()> {
        Ok(std::fs::write(self.home.0.join(CLOCK), format!("{seconds:+}\n"))?)
    }

    /// What the system tells of it.
    pub fn usage(&self) -> Option<Usage> {
        let pid = self.pid();
        let resident = resident_kib(pid)?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let number = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        Some(Usage {
            resident_kib: resident as u64,
            own_kib: number("RssAnon:")?,
            threads: number("Threads:")?,
            files: u64::try_from(files).ok()?,
        })
    }

    /// Lines of its log that tell of a panic or an error, and how many warnings there are.
    pub fn complaints(&self) -> (Vec<String>, usize) {
        let log = log_of(&self.home.0);
        let bad = |line: &&str| line.contains("panicked") || line.contains("ERROR");
        let complaints = log.lines().filter(bad).take(20).map(str::to_owned).collect();
        (complaints, log.lines().filter(|line| line.contains("WARN")).count())
    }

    /// Leaves what it has written, for whoever looks into a fault. Where.
    pub fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.home.0)
    }
}

/// Starts a server and waits until it has said all that is to be known; at the first start of all,
/// that is also how to become its operator.
fn launch(directory: &Path, wall_clock: bool, first: bool) -> anyhow::Result<(Running, Said)> {
    let program = std::env::current_exe()?.with_file_name("parlor-server");
    let log = File::options().create(true).append(true).open(directory.join(LOG))?;
    let mut command = command(&program);
    command
        .args(["--tcp", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--log", "warn", "--state-dir"])
        .arg(directory.join("state"))
        .env_remove("PARLOR_SERVER_PASSWORD")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log);
    if let Some(library) = faketime().filter(|_| wall_clock) {
        std::fs::write(directory.join(CLOCK), "+0\n")?;
        command
            .env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", directory.join(CLOCK))
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
    let child = command
        .spawn()
        .with_context(|| format!("cannot start {}; build it first", program.display()))?;
    let mut running = Running(child);
    let stdout = running.0.stdout.take().context("the server has no output")?;
    let (sender, lines) = mpsc::channel();
    // Goes on to the end of the process, so that it can always say what it wants.
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let (mut tcp, mut fingerprint, mut owner) = (None, None, None);
    let deadline = clock::now() + START_MAX;
    while fingerprint.is_none() || (first && owner.is_none()) {
        let left = deadline.saturating_duration_since(clock::now());
        let Ok(line) = lines.recv_timeout(left) else { break };
        if let Some(rest) = line.strip_prefix("listening on tcp ") {
            tcp = rest.split(' ').next().and_then(|address| address.parse().ok());
        } else if let Some(rest) = line.strip_prefix("fingerprint ") {
            fingerprint = Some(rest.to_owned());
        } else if let Some(rest) = line.strip_prefix("to become this server's operator") {
            owner = rest.split('\'').nth(1).and_then(|line| line.parse::<Invite>().ok());
        }
    }
    let (Some(tcp), Some(fingerprint)) = (tcp, fingerprint) else {
        bail!("the server did not start; its log says: {}", log_of(directory));
    };
    Ok((running, Said { tcp, fingerprint, owner: owner.map(|invite| invite.token) }))
}

/// Asks the server at its control socket.
pub async fn ask(state: PathBuf, request: AdminRequest) -> Result<AdminReply, String> {
    control_socket::ask(&state, &request).await.map_err(|error| error.to_string())
}

/// The server's command; where there is a tool for that, it ends with this process even if that is killed.
fn command(program: &Path) -> Command {
    let guard = ["setpriv", "--pdeathsig", "KILL"];
    let [tool, flags @ ..] = guard;
    let works = Command::new(tool).args(flags).arg("true").stderr(Stdio::null()).status();
    if works.is_ok_and(|status| status.success()) {
        let mut command = Command::new(tool);
        command.args(flags).arg(program);
        command
    } else {
        Command::new(program)
    }
}

fn log_of(directory: &Path) -> String {
    std::fs::read_to_string(directory.join(LOG)).unwrap_or_default()
}

fn faketime() -> Option<&'static str> {
    FAKETIME.into_iter().find(|path| Path::new(path).exists())
}

#[cfg(unix)]
fn pause(pid: u32, paused: bool) -> bool {
    use rustix::process::{Pid, Signal, kill_process};
    let signal = if paused { Signal::STOP } else { Signal::CONT };
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}

#[cfg(not(unix))]
fn pause(_pid: u32, _paused: bool) -> bool {
    false
}
