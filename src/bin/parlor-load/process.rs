//! The server's process: started beside this program, measured from outside, ended with it.

use anyhow::{Context, bail};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

/// A server that this program has started.
pub struct ServerProcess {
    child: Child,
    /// Kept open, so that what the server says goes somewhere.
    _said: Option<BufReader<ChildStdout>>,
    /// Where it listens.
    pub tcp: SocketAddr,
}

impl ServerProcess {
    /// Starts the `parlor-server` that lies beside this program; the server gets the first core and
    /// this program the second, where there are two.
    pub fn start(forwarders: u16, insecure: bool) -> anyhow::Result<Self> {
        let beside = std::env::current_exe()?.with_file_name("parlor-server");
        pin(0);
        let mut child = Command::new(&beside)
            .args(["--tcp", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--forwarders"])
            .arg(forwarders.to_string())
            .arg(if insecure { "--insecure" } else { "--ephemeral" })
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}; build it first", beside.display()))?;
        pin(1);
        let mut line = String::new();
        let mut said = child.stdout.take().map(BufReader::new);
        if let Some(said) = &mut said {
            said.read_line(&mut line)?;
        }
        let address = line.strip_prefix("listening on tcp ").and_then(|l| l.split(' ').next());
        let Some(tcp) = address.and_then(|address| address.parse().ok()) else {
            let _ = child.kill();
            bail!("the server did not start: {line}");
        };
        Ok(Self { child, _said: said, tcp })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps this process, and what it starts, on one core.
#[cfg(target_os = "linux")]
fn pin(core: usize) {
    use rustix::thread::{CpuSet, sched_setaffinity};
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores > core && (core > 0 || cores > 1) {
        let mut set = CpuSet::new();
        set.set(core);
        // Where it is refused the figures are noisier, nothing else.
        let _ = sched_setaffinity(None, &set);
    }
}

#[cfg(not(target_os = "linux"))]
fn pin(_core: usize) {}

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

/// CPU time of all threads of a process, in seconds, where the system tells.
pub fn cpu_seconds(pid: u32) -> Option<f64> {
    let mut ns = 0u64;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        ns += stat.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(ns as f64 / 1e9)
}

/// Resident memory of a process, in KiB, where the system tells.
pub fn resident_kib(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
