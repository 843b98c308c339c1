//! Processes under load: started beside this program, pinned, measured from outside, ended with it.

use crate::floor::{Crypto, Mode};
use anyhow::{Context, bail};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A server or a bare loop that this program has started.
pub struct Started {
    child: Child,
    /// Kept open, so that what it says goes somewhere, and so that a bare loop goes on.
    _said: Option<BufReader<ChildStdout>>,
    _stdin: Option<ChildStdin>,
    /// Where it listens.
    pub address: SocketAddr,
}

/// What a server is started with.
pub struct ServerPlan<'a> {
    /// Forwarders.
    pub forwarders: u16,
    /// Without encryption.
    pub insecure: bool,
    /// The forwarders' hold, as the server takes it.
    pub hold: &'a str,
    /// Microphones heard at once, 0 for all.
    pub heard_at_once: u16,
}

impl Started {
    /// Starts the `parlor-server` that lies beside this program, on the first core; on any with several forwarders.
    pub fn server(plan: &ServerPlan<'_>) -> anyhow::Result<Self> {
        let beside = std::env::current_exe()?.with_file_name("parlor-server");
        let mut command = Command::new(&beside);
        command
            .args(["--tcp", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--hold", plan.hold])
            .args(["--forwarders", &plan.forwarders.to_string()])
            .args(["--heard-at-once", &plan.heard_at_once.to_string()])
            .arg(if plan.insecure { "--insecure" } else { "--ephemeral" });
        let started = Self::start(command, "listening on tcp ", plan.forwarders == 1);
        started.with_context(|| format!("cannot start {}; build it first", beside.display()))
    }

    /// Starts this program as a bare loop, on the first core.
    pub fn floor(
        members: u16,
        peer_port: u16,
        mode: Mode,
        crypto: Crypto,
        hold_us: u64,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let word = |value: Option<clap::builder::PossibleValue>| {
            value.map(|value| value.get_name().to_owned()).unwrap_or_default()
        };
        command
            .args(["floor", "--members", &members.to_string()])
            .args(["--peer-port", &peer_port.to_string()])
            .args(["--mode", &word(clap::ValueEnum::to_possible_value(&mode))])
            .args(["--crypto", &word(clap::ValueEnum::to_possible_value(&crypto))])
            .args(["--hold-us", &hold_us.to_string()])
            .stdin(Stdio::piped());
        Self::start(command, "floor on ", true).context("cannot start the bare loop")
    }

    fn start(mut command: Command, says: &str, first_core: bool) -> anyhow::Result<Self> {
        if command.get_args().next().is_none_or(|first| first != "floor") {
            command.stdin(Stdio::null());
        }
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        if first_core {
            pin_process(child.id(), 0);
        }
        let mut line = String::new();
        let mut said = child.stdout.take().map(BufReader::new);
        if let Some(said) = &mut said {
            said.read_line(&mut line)?;
        }
        let address = line.strip_prefix(says).and_then(|rest| rest.split_whitespace().next());
        let Some(address) = address.and_then(|address| address.parse().ok()) else {
            let _ = child.kill();
            let _ = child.wait();
            bail!("it did not start: {line}");
        };
        if first_core {
            // Threads that it had begun before it was pinned.
            pin_process(child.id(), 0);
        }
        let stdin = child.stdin.take();
        Ok(Self { child, _said: said, _stdin: stdin, address })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps this process, and the threads that it begins from now on, on the last core.
pub fn pin_self() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    pin_thread(None, cores.saturating_sub(1));
}

/// Keeps all present threads of a process on one core, if there are several.
pub fn pin_process(pid: u32, core: usize) {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    for task in tasks.into_iter().flatten().flatten() {
        let id = task.file_name().to_str().and_then(|id| id.parse::<i32>().ok());
        pin_thread(id, core);
    }
}

/// Where it is refused the figures are noisier, nothing else.
fn pin_thread(id: Option<i32>, core: usize) {
    #[cfg(target_os = "linux")]
    {
        use rustix::thread::{CpuSet, sched_setaffinity};
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let id = id.and_then(rustix::process::Pid::from_raw);
        if cores > 1 {
            let mut set = CpuSet::new();
            set.set(core);
            let _ = sched_setaffinity(id, &set);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (id, core);
}

/// As many file descriptors as the system lets us have.
pub fn raise_file_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

/// CPU time of a process in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu {
    /// Of all its threads.
    pub all_s: f64,
    /// Of the threads that forward voice: all but the first. (The store's and the runtime's have nothing to do.)
    pub forwarders_s: f64,
}

/// CPU time so far, from the scheduler's own count, where the system tells.
pub fn cpu(pid: u32) -> Option<Cpu> {
    let mut cpu = Cpu::default();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        let seconds = stat.split_whitespace().next()?.parse::<u64>().ok()? as f64 / 1e9;
        cpu.all_s += seconds;
        if task.file_name().to_str() != Some(&pid.to_string()) {
            cpu.forwarders_s += seconds;
        }
    }
    Some(cpu)
}

/// CPU time of all threads of a process, in seconds, where the system tells.
pub fn cpu_seconds(pid: u32) -> Option<f64> {
    cpu(pid).map(|cpu| cpu.all_s)
}

/// Resident memory of a process, in KiB, where the system tells.
pub fn resident_kib(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Datagrams that the sockets of a local UDP port have dropped.
pub fn udp_drops(port: u16) -> Option<u64> {
    let table = std::fs::read_to_string("/proc/net/udp").ok()?;
    let wanted = format!(":{port:04X}");
    let lines = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace();
        let here = fields.nth(1)?.ends_with(&wanted);
        fields.last().filter(|_| here)?.parse::<u64>().ok()
    });
    Some(lines.sum())
}
