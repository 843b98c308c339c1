//! `parlor-load`: simulated members over the real protocol, and what serving them costs.
//!
//! It starts a `parlor-server` of its own (or is told of a running one on this machine), fills rooms with members, lets some speak, and prints
//! forwarded packets per second, server CPU per million of them, loss, latency and memory. It sends to
//! that server only, and stops by itself.

mod connect;
mod handshakes;
mod members;
mod process;
mod run;
mod soak;

use anyhow::{Context, bail};
use clap::Parser;
use connect::Connector;
use parlor::net::address::{HostPort, TCP_PORT};
use process::ServerProcess;
use run::Figures;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

/// Loads a Parlor server with simulated members and prints what that costs.
#[derive(Parser)]
#[command(name = "parlor-load", version)]
pub struct Args {
    /// Server to load, on this machine; without it one is started
    #[arg(long, value_name = "HOST:PORT", value_parser = HostPort::parse)]
    server: Option<HostPort>,
    /// Process id of that server, for its CPU and memory
    #[arg(long, requires = "server")]
    pid: Option<u32>,
    /// Forwarders of the server that is started
    #[arg(long, default_value_t = 1)]
    forwarders: u16,
    /// Members of each room
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1024))]
    members: u16,
    /// Members of each room that speak
    #[arg(long, default_value_t = 2)]
    speakers: u16,
    /// Rooms
    #[arg(long, default_value_t = 1)]
    rooms: u16,
    /// Payload of each packet, in bytes
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u16).range(16..=1000))]
    payload: u16,
    /// Packets per second of each speaker
    #[arg(long, default_value_t = 50.0)]
    pps: f64,
    /// Length of each run, in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Runs; medians are printed
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    repeat: u16,
    /// Idle sessions to connect first, for the memory that each takes
    #[arg(long, default_value_t = 0, value_name = "N")]
    idle: u16,
    /// Measure N connections with TLS handshake and Hello instead, and nothing of voice
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    handshakes: Option<u32>,
    /// Soak a server for so long (1h, 2m) with --members members in all and random faults, and see that nothing goes wrong
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration,
        conflicts_with_all = ["server", "insecure", "handshakes", "json"])]
    soak: Option<Duration>,
    /// What the soak's random source begins with [default: a random one, printed]
    #[arg(long, requires = "soak")]
    seed: Option<u64>,
    /// Without encryption; a server that is named must be without it, too
    #[arg(long)]
    insecure: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if let Some(length) = args.soak {
        process::raise_file_limit();
        let seed = args.seed.unwrap_or_else(|| parlor::net::clock::unix_ns() % 1_000_000);
        let plan = soak::Plan { length, seed, members: u32::from(args.members) };
        // One thread: everything that happens is one order of events.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let good = runtime.block_on(soak::run(&plan))?;
        return Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if args.speakers > args.members {
        bail!("--speakers {} are more than --members {}", args.speakers, args.members);
    }
    if !(args.pps > 0.0 && args.pps <= 10_000.0) {
        bail!("--pps must be above 0 and at most 10000");
    }
    process::raise_file_limit();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let own = match args.server {
        Some(_) => None,
        None => Some(ServerProcess::start(args.forwarders, args.insecure)?),
    };
    let tcp = match (&args.server, &own) {
        (Some(server), _) => runtime.block_on(resolve(server))?,
        (None, Some(own)) => own.tcp,
        (None, None) => bail!("no server"),
    };
    if !tcp.ip().is_loopback() {
        bail!("{tcp} is another machine; parlor-load loads servers on this machine only");
    }
    let pid = args.pid.or(own.as_ref().map(ServerProcess::pid));
    let connector = Connector::new(tcp, args.insecure)?;
    if let Some(count) = args.handshakes {
        let measured = runtime.block_on(handshakes::measure(&connector, count, pid))?;
        println!("{}", measured.shown(args.json)?);
        return Ok(ExitCode::SUCCESS);
    }
    let figures = run::run(&args, &runtime, &connector, pid)?;
    print(&args, &figures)?;
    Ok(ExitCode::SUCCESS)
}

async fn resolve(server: &HostPort) -> anyhow::Result<SocketAddr> {
    let port = server.port.unwrap_or(TCP_PORT);
    tokio::net::lookup_host((server.host.as_str(), port))
        .await
        .with_context(|| format!("cannot find the address of '{}'", server.host))?
        .next()
        .with_context(|| format!("'{}' has no address", server.host))
}

fn print(args: &Args, figures: &Figures) -> anyhow::Result<()> {
    if args.json {
        println!("{}", serde_json::to_string(&figures.to_json(args))?);
        return Ok(());
    }
    println!(
        "{} room(s) of {} members, {} speaking in each, {} packets/s of {} bytes, {} x {} s, {}",
        args.rooms,
        args.members,
        args.speakers,
        args.pps,
        args.payload,
        args.repeat,
        args.seconds,
        figures.protection
    );
    let shown = |value: Option<f64>, unit: &str| match value {
        Some(value) => format!("{value:.2} {unit}"),
        None => "not known here".to_owned(),
    };
    println!("  forwarded          {:.0} packets/s", figures.forwarded_per_s);
    println!("  loss               {:.4} %", figures.loss * 100.0);
    println!(
        "  server CPU         {}",
        shown(figures.cpu_s_per_million, "s per million forwarded")
    );
    println!("  latency            p50 {}", shown(figures.p50_us, "us"));
    println!("                     p99 {}", shown(figures.p99_us, "us"));
    println!("  server memory      {}", shown(figures.rss_kib, "KiB"));
    if let Some(idle) = figures.idle_session_kib {
        println!("  idle session       {idle:.2} KiB each, over {} of them", args.idle);
    }
    println!("  joins              {:.0} per second, one after the other", figures.joins_per_s);
    Ok(())
}
