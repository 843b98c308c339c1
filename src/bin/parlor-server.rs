//! The server: reads its arguments, starts, prints where it listens, stops on SIGINT and SIGTERM.

use anyhow::Context;
use clap::Parser;
use parlor::actors::server::{Server, ServerConfig, StartError};
use parlor::net::address::{HostPort, TCP_PORT, UDP_PORT};
use parlor::net::message::Protection;
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Exit code for what the one who started the server can mend: a flag, a port in use.
const EXIT_USAGE: u8 = 2;
/// Exit code for a fault inside (as sysexits' EX_SOFTWARE).
const EXIT_FAULT: u8 = 70;

/// Parlor's server: rooms in which people talk.
#[derive(Parser)]
#[command(version, about)]
struct Args {
    /// Where clients connect: HOST:PORT, `[IPV6]:PORT`; port 0 lets the system pick
    #[arg(long, value_name = "HOST:PORT", default_value_t = any(TCP_PORT), value_parser = HostPort::parse)]
    tcp: HostPort,
    /// Where voice arrives: HOST:PORT, `[IPV6]:PORT`; port 0 lets the system pick
    #[arg(long, value_name = "HOST:PORT", default_value_t = any(UDP_PORT), value_parser = HostPort::parse)]
    udp: HostPort,
    /// Threads that forward voice [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    forwarders: Option<u16>,
    /// Do not encrypt: for a network that you trust, or to look at packets. Clients must say it, too
    #[arg(long)]
    insecure: bool,
    /// What to log to stderr: error, warn, info, debug, or a filter
    #[arg(long, value_name = "LEVEL", env = "PARLOR_LOG", default_value = "warn")]
    log: EnvFilter,
}

fn any(port: u16) -> HostPort {
    HostPort { host: "0.0.0.0".to_owned(), port: Some(port) }
}

async fn resolve(address: &HostPort, default_port: u16) -> anyhow::Result<SocketAddr> {
    let port = address.port.unwrap_or(default_port);
    tokio::net::lookup_host((address.host.as_str(), port))
        .await
        .with_context(|| format!("cannot find the address of '{}'", address.host))?
        .next()
        .with_context(|| format!("'{}' has no address", address.host))
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(parsed) => parsed,
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => {
            // One line that says what is wrong; --help says the rest.
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            let line = line.trim_start_matches("error: ");
            let _ = writeln!(std::io::stderr(), "parlor-server: {line} (try --help)");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    tracing_subscriber::fmt().with_env_filter(args.log.clone()).with_writer(std::io::stderr).init();
    raise_file_limit();
    actix::System::new().block_on(run(args))
}

async fn run(args: Args) -> ExitCode {
    let (tcp, udp) = match (resolve(&args.tcp, TCP_PORT).await, resolve(&args.udp, UDP_PORT).await)
    {
        (Ok(tcp), Ok(udp)) => (tcp, udp),
        (Err(error), _) | (_, Err(error)) => return fail(&format!("{error:#}")),
    };
    let mut config = ServerConfig::new(tcp, udp, args.forwarders.map(usize::from));
    if args.insecure {
        config.protection = Protection::Plain;
    }
    let server = match Server::start(config).await {
        Ok(server) => server,
        Err(error @ StartError::Bind { .. }) => return fail(&error.to_string()),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "parlor-server: {error}");
            return ExitCode::from(EXIT_FAULT);
        }
    };
    say(&format!("listening on tcp {} and udp {}", server.tcp(), server.udp()));
    if args.insecure {
        say("nothing is encrypted: use this server on networks that you trust");
    } else {
        say("text is not encrypted yet: use this server on networks that you trust");
    }
    let (forwarders, note) = server.forwarders();
    tracing::info!(forwarders, "started");
    if let Some(note) = note {
        tracing::warn!("one forwarder instead of many: {note}");
    }
    let code = tokio::select! {
        () = stop_signal() => {
            say("stopping");
            ExitCode::SUCCESS
        }
        () = server.died() => {
            let _ = writeln!(
                std::io::stderr(),
                "parlor-server: a forwarder has ended unexpectedly; stopping"
            );
            ExitCode::from(EXIT_FAULT)
        }
    };
    server.stop().await;
    code
}

/// As many file descriptors as the system lets us have: each client takes one.
fn raise_file_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

/// A line on stdout. That nobody reads it any more is no reason to stop serving.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn fail(what: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "parlor-server: {what}");
    ExitCode::from(EXIT_USAGE)
}

#[cfg(unix)]
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        _ => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn stop_signal() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}
