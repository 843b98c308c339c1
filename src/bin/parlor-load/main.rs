//! `parlor-load`: simulated members over the real protocol, and what serving them costs.
//!
//! It starts a `parlor-server` of its own (or is told of a running one on this machine), fills rooms with members, lets some
//! speak, measures the bare loop beside it, and prints
//! forwarded packets per second, server CPU per million of them, loss, latency and memory. It sends to
//! that server only, and stops by itself.

mod connect;
mod floor;
mod handshakes;
mod members;
mod ping;
mod plot;
mod process;
mod report;
mod round;
mod run;
mod soak;
mod talk;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use connect::Connector;
use floor::{Crypto, Floor, Mode};
use parlor::net::address::{HostPort, TCP_PORT};
use process::{ServerPlan, Started};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use talk::Talk;

/// Loads a Parlor server with simulated members and prints what that costs.
#[derive(Parser)]
#[command(name = "parlor-load", version)]
pub struct Args {
    /// Server to load, on this machine; without it one is started
    #[arg(long, value_name = "HOST:PORT", value_parser = HostPort::parse)]
    server: Option<HostPort>,
    /// Process id of that server, for its CPU and memory; it is kept on the first core
    #[arg(long, requires = "server")]
    pid: Option<u32>,
    /// Forwarders of the server that is started
    #[arg(long, default_value_t = 1)]
    forwarders: u16,
    /// The forwarders' hold of the server that is started: off, busy, or a time up to 4ms
    #[arg(long, default_value = "off")]
    hold: String,
    /// Open microphones of a room that the server that is started lets through, 0 for all
    #[arg(long, default_value_t = 0)]
    heard_at_once: u16,
    /// Members of each room
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1024))]
    members: u16,
    /// Members of each room that speak
    #[arg(long, default_value_t = 2)]
    speakers: u16,
    /// Rooms
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=4096))]
    rooms: u16,
    /// Payload of each packet, in bytes
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u16).range(16..=1000))]
    payload: u16,
    /// Largest payload, where sizes are to differ
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(16..=1000))]
    payload_max: Option<u16>,
    /// One packet in five carries its level, as real clients' do
    #[arg(long)]
    levels: bool,
    /// Packets per second of each speaker
    #[arg(long, default_value_t = 50.0)]
    pps: f64,
    /// Who talks when
    #[arg(long, value_enum, default_value = "steady")]
    talk: Talk,
    /// All speakers in step instead of spread over a packet's time
    #[arg(long)]
    aligned: bool,
    /// Length of each run, in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Runs; medians are printed
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    repeat: u16,
    /// Measure the bare loop, too, run by run with the server
    #[arg(long)]
    with_floor: bool,
    /// How that bare loop sends
    #[arg(long, value_enum, default_value = "sendmmsg")]
    floor_mode: Mode,
    /// Whether that bare loop encrypts
    #[arg(long, value_enum, default_value = "each")]
    floor_crypto: Crypto,
    /// That bare loop sleeps so long after each batch, in microseconds
    #[arg(long, default_value_t = 0)]
    floor_hold_us: u64,
    /// Look for the most speakers in each room that are carried with a loss of at most 0.1 %
    #[arg(long)]
    max: bool,
    /// Then load it so many times as much, and see what becomes of voice and control
    #[arg(long, value_name = "FACTOR", requires = "max")]
    overload: Option<f64>,
    /// Ask on a control connection meanwhile, and print how long answers took
    #[arg(long)]
    ping: bool,
    /// Draw what --max tried, as SVG
    #[arg(long, value_name = "FILE", requires = "max")]
    plot: Option<PathBuf>,
    /// Idle sessions to connect first, for the memory that each takes
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u16).range(..=16_000))]
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
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Be the bare loop: receive, open, seal for everyone else, send, and nothing more
    Floor(Floor),
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if let Some(Command::Floor(floor)) = &args.command {
        floor.serve()?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(length) = args.soak {
        process::raise_file_limit();
        let seed = args.seed.unwrap_or_else(|| parlor::net::clock::unix_ns() % 1_000_000);
        let plan = soak::Plan { length, seed, members: u32::from(args.members) };
        // One thread: everything that happens is one order of events.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let good = runtime.block_on(soak::run(&plan))?;
        return Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    check(&args)?;
    process::raise_file_limit();
    // Before any thread of ours is started: they stay where this one is.
    process::pin_self();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let own = match args.server {
        Some(_) => None,
        None => Some(Started::server(&ServerPlan {
            forwarders: args.forwarders,
            insecure: args.insecure,
            hold: &args.hold,
            heard_at_once: args.heard_at_once,
        })?),
    };
    let tcp = match (&args.server, &own) {
        (Some(server), _) => runtime.block_on(resolve(server))?,
        (None, Some(own)) => own.address,
        (None, None) => bail!("no server"),
    };
    if !tcp.ip().is_loopback() || !tcp.is_ipv4() {
        bail!("{tcp} is not on this machine's IPv4; parlor-load loads servers at 127.0.0.1 only");
    }
    if let Some(pid) = args.pid {
        process::pin_process(pid, 0);
    }
    let pid = args.pid.or(own.as_ref().map(Started::pid));
    let connector = Connector::new(tcp, args.insecure)?;
    if let Some(count) = args.handshakes {
        let measured = runtime.block_on(handshakes::measure(&connector, count, pid))?;
        println!("{}", measured.shown(args.json)?);
        return Ok(ExitCode::SUCCESS);
    }
    let figures = run::run(&args, &runtime, &connector, pid)?;
    if args.json {
        println!("{}", serde_json::to_string(&report::to_json(&args, &figures))?);
    } else {
        print!("{}", report::to_text(&args, &figures));
    }
    if let Some(file) = &args.plot {
        std::fs::write(file, plot::draw(&args, &figures))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn check(args: &Args) -> anyhow::Result<()> {
    if args.speakers > args.members {
        bail!("--speakers {} are more than --members {}", args.speakers, args.members);
    }
    if !(args.pps > 0.0 && args.pps <= 10_000.0) {
        bail!("--pps must be above 0 and at most 10000");
    }
    if u32::from(args.rooms) * u32::from(args.members) + u32::from(args.idle) > 16_000 {
        bail!("more than 16000 members");
    }
    if args.with_floor && args.members < 2 {
        bail!("the bare loop needs two members");
    }
    if args.overload.is_some_and(|factor| !(1.0..=16.0).contains(&factor)) {
        bail!("--overload must be from 1 to 16");
    }
    Ok(())
}

async fn resolve(server: &HostPort) -> anyhow::Result<SocketAddr> {
    let port = server.port.unwrap_or(TCP_PORT);
    tokio::net::lookup_host((server.host.as_str(), port))
        .await
        .with_context(|| format!("cannot find the address of '{}'", server.host))?
        .next()
        .with_context(|| format!("'{}' has no address", server.host))
}
