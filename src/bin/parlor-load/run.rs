//! The measurement: connect, let speakers speak in turn, count what arrives and what it costs.

use crate::Args;
use crate::connect::Connector;
use crate::members::Members;
use crate::process::{cpu_seconds, resident_kib};
use parlor::net::clock;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::runtime::Runtime;

/// The receivers' socket is looked at this often, so that the server pays for no wake-up.
const DRAIN_INTERVAL: Duration = Duration::from_micros(500);
/// After the last packet was sent, copies may still be on their way for this long.
const SETTLE: Duration = Duration::from_millis(300);

/// What was measured; medians over the runs.
pub struct Figures {
    /// How voice was protected.
    pub protection: &'static str,
    /// Copies that arrived, per second.
    pub forwarded_per_s: f64,
    /// Share of copies that did not arrive.
    pub loss: f64,
    /// Server CPU.
    pub cpu_s_per_million: Option<f64>,
    /// From sending to the kernel's receiving.
    pub p50_us: Option<f64>,
    /// From sending to the kernel's receiving.
    pub p99_us: Option<f64>,
    /// Server memory at the end.
    pub rss_kib: Option<f64>,
    /// Server memory that one idle session takes.
    pub idle_session_kib: Option<f64>,
    /// Sessions connected and joined per second, one after the other.
    pub joins_per_s: f64,
}

impl Figures {
    /// As one JSON object, with what was asked for.
    pub fn to_json(&self, args: &Args) -> Value {
        json!({
            "members": args.members, "speakers": args.speakers, "rooms": args.rooms,
            "payload": args.payload, "pps": args.pps, "seconds": args.seconds,
            "repeat": args.repeat, "protection": self.protection, "tls": !args.insecure,
            "forwarded_per_s": self.forwarded_per_s,
            "loss": self.loss,
            "cpu_s_per_million": self.cpu_s_per_million,
            "p50_us": self.p50_us,
            "p99_us": self.p99_us,
            "rss_kib": self.rss_kib,
            "idle_session_kib": self.idle_session_kib,
            "joins_per_s": self.joins_per_s,
        })
    }
}

struct Round {
    forwarded_per_s: f64,
    loss: f64,
    cpu_s_per_million: Option<f64>,
    p50_us: Option<f64>,
    p99_us: Option<f64>,
}

/// Runs everything.
pub fn run(
    args: &Args,
    runtime: &Runtime,
    connector: &Connector,
    pid: Option<u32>,
) -> anyhow::Result<Figures> {
    let tcp = connector.server;
    let mut members = Members::new(tcp)?;
    let mut idle_session_kib = None;
    if args.idle > 0 {
        let before = pid.and_then(resident_kib);
        runtime.block_on(async {
            for k in 0..args.idle {
                members.connect(connector, &format!("idle {k}"), None).await?;
            }
            anyhow::Ok(())
        })?;
        if let (Some(before), Some(after)) = (before, pid.and_then(resident_kib)) {
            idle_session_kib = Some((after - before) / f64::from(args.idle));
        }
    }
    let first = members.all.len();
    let began = clock::now();
    let mut port = tcp.port();
    runtime.block_on(async {
        for room in 0..args.rooms {
            for k in 0..args.members {
                let (name, room) = (format!("load {room} {k}"), format!("room {room}"));
                port = members.connect(connector, &name, Some(&room)).await?;
            }
        }
        anyhow::Ok(())
    })?;
    let count = f64::from(args.rooms) * f64::from(args.members);
    let joins_per_s = count / began.elapsed().as_secs_f64();
    members.set_voice(SocketAddr::new(tcp.ip(), port));
    // Connections are kept alive by the runtime's own thread.
    let breathe = |ms| std::thread::sleep(Duration::from_millis(ms));
    breathe(100);
    members.prove(first)?;
    breathe(300);
    let speakers: Vec<usize> = (0..usize::from(args.speakers))
        .flat_map(|k| {
            (0..usize::from(args.rooms)).map(move |r| first + r * usize::from(args.members) + k)
        })
        .collect();
    let mut rounds = Vec::new();
    for _ in 0..args.repeat {
        rounds.push(round(args, &mut members, &speakers, pid));
        breathe(200);
    }
    let median = |value: &dyn Fn(&Round) -> Option<f64>| {
        let mut values: Vec<f64> = rounds.iter().filter_map(value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    Ok(Figures {
        protection: members.protection(),
        forwarded_per_s: median(&|r| Some(r.forwarded_per_s)).unwrap_or(0.0),
        loss: median(&|r| Some(r.loss)).unwrap_or(0.0),
        cpu_s_per_million: median(&|r| r.cpu_s_per_million),
        p50_us: median(&|r| r.p50_us),
        p99_us: median(&|r| r.p99_us),
        rss_kib: pid.and_then(resident_kib),
        idle_session_kib,
        joins_per_s,
    })
}

fn round(args: &Args, members: &mut Members, speakers: &[usize], pid: Option<u32>) -> Round {
    let mut latencies = Vec::new();
    let (mut sent, mut received) = (0u64, 0u64);
    let cpu_before = pid.and_then(cpu_seconds);
    let began = clock::now();
    let length = Duration::from_secs(u64::from(args.seconds));
    // Speakers are spread evenly over one packet's time.
    let step = Duration::from_secs_f64(1.0 / args.pps / speakers.len().max(1) as f64);
    let mut turn = 0u32;
    loop {
        let now = clock::now();
        if now >= began + length {
            break;
        }
        while !speakers.is_empty() && began + step * turn <= now {
            if let Some(k) = speakers.get(turn as usize % speakers.len()) {
                members.speak(*k, usize::from(args.payload));
                sent += 1;
            }
            turn += 1;
        }
        members.flush();
        received += members.receive(&mut latencies);
        let next = (began + step * turn).saturating_duration_since(clock::now());
        std::thread::sleep(next.min(DRAIN_INTERVAL));
    }
    let wall = began.elapsed().as_secs_f64();
    let settled = clock::now() + SETTLE;
    while clock::now() < settled {
        received += members.receive(&mut latencies);
        std::thread::sleep(DRAIN_INTERVAL);
    }
    let cpu = pid.and_then(cpu_seconds).zip(cpu_before).map(|(after, before)| after - before);
    let expected = sent * u64::from(args.members.saturating_sub(1));
    latencies.sort_unstable();
    let percentile = |share: f64| {
        let at = (latencies.len().saturating_sub(1) as f64 * share) as usize;
        latencies.get(at).map(|ns| *ns as f64 / 1000.0)
    };
    Round {
        forwarded_per_s: received as f64 / wall,
        loss: expected.saturating_sub(received) as f64 / expected.max(1) as f64,
        cpu_s_per_million: cpu.filter(|_| received > 0).map(|s| s * 1e6 / received as f64),
        p50_us: percentile(0.5),
        p99_us: percentile(0.99),
    }
}
