//! The measurement: who connects, who speaks, what is measured beside it, in what order.

use crate::Args;
use crate::connect::Connector;
use crate::floor;
use crate::members::Members;
use crate::ping::Pings;
use crate::process::{Started, resident_kib};
use crate::round::{Measured, Round, Speech, median, middle, round};
use anyhow::Context;
use parlor::net::clock;
use parlor::net::message::Protection;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Between two rounds.
const BREATH: Duration = Duration::from_millis(200);
/// Loss up to which a load counts as carried.
const LOSS_MAX: f64 = 0.001;
/// Rounds of the search for the highest load.
const STEPS_MAX: usize = 24;

/// What was measured.
#[derive(Default)]
pub struct Figures {
    /// How voice was protected.
    pub protection: &'static str,
    /// The server's rounds.
    pub rounds: Vec<Round>,
    /// The bare loop's, each behind one of the server's.
    pub floor: Vec<Round>,
    /// Server memory at the end.
    pub rss_kib: Option<f64>,
    /// Server memory that one idle session takes.
    pub idle_session_kib: Option<f64>,
    /// Idle sessions connected per second.
    pub idle_joins_per_s: Option<f64>,
    /// Sessions connected and joined per second.
    pub joins_per_s: f64,
    /// Loads tried for the highest: speakers in each room, and what came of it.
    pub steps: Vec<(u16, Round)>,
    /// The highest that was carried.
    pub most: Option<(u16, Round)>,
    /// Beyond it.
    pub overload: Option<Overload>,
    /// Round trips of the control connection in ms, sorted, of the rounds.
    pub pings_ms: Vec<f64>,
}

/// What happened at a multiple of the highest load, and right behind it.
pub struct Overload {
    /// Speakers in each room.
    pub speakers: u16,
    /// Under overload.
    pub during: Round,
    /// Round trips of the control connection meanwhile, in ms, sorted.
    pub pings_ms: Vec<f64>,
    /// Half of the highest load, at once afterwards.
    pub after: Round,
}

impl Figures {
    /// Server CPU against the bare loop's: the middle of the ratios of neighbouring rounds.
    pub fn ratio(&self) -> Option<f64> {
        let pairs = self.rounds.iter().zip(&self.floor);
        let ratios = pairs.filter_map(|(server, floor)| {
            Some(server.cpu_s_per_million? / floor.cpu_s_per_million?)
        });
        middle(ratios.collect())
    }
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
    let mut figures = Figures::default();
    if args.idle > 0 {
        let before = pid.and_then(resident_kib);
        let began = clock::now();
        let idle = (0..args.idle).map(|k| (format!("idle {k}"), None)).collect();
        runtime.block_on(members.connect(connector, idle))?;
        figures.idle_joins_per_s = Some(f64::from(args.idle) / began.elapsed().as_secs_f64());
        std::thread::sleep(BREATH);
        if let (Some(before), Some(after)) = (before, pid.and_then(resident_kib)) {
            figures.idle_session_kib = Some((after - before) / f64::from(args.idle));
        }
    }
    let first = members.len();
    let began = clock::now();
    let wanted = (0..args.rooms).flat_map(|room| {
        (0..args.members).map(move |k| (format!("load {room} {k}"), Some(format!("room {room}"))))
    });
    let port = runtime.block_on(members.connect(connector, wanted.collect()))?;
    let count = f64::from(args.rooms) * f64::from(args.members);
    figures.joins_per_s = count / began.elapsed().as_secs_f64();
    let port = port.context("the server has let nobody in")?;
    members.set_voice(SocketAddr::new(tcp.ip(), port));
    // Connections are kept alive by the runtime's own thread.
    std::thread::sleep(BREATH);
    members.prove(first)?;
    std::thread::sleep(BREATH * 2);
    let measured = Measured { pid, port };
    let mut floor = match args.with_floor {
        true => Some(Beside::start(args)?),
        false => None,
    };
    let speech = speech(args, first, args.speakers);
    let pings = args.ping.then(|| Pings::start(runtime, connector));
    for _ in 0..args.repeat {
        figures.rounds.push(round(&speech, &mut members, measured));
        std::thread::sleep(BREATH);
        if let Some(beside) = &mut floor {
            figures.floor.push(beside.round(&speech_of_floor(args)));
            std::thread::sleep(BREATH);
        }
    }
    figures.pings_ms = pings.map(|pings| pings.stop()).unwrap_or_default();
    figures.rss_kib = pid.and_then(resident_kib);
    if args.max {
        search(args, first, &mut members, measured, &mut figures);
        if let (Some(factor), Some((most, _))) = (args.overload, &figures.most) {
            figures.overload = Some(overload(
                args,
                first,
                *most,
                factor,
                &mut members,
                measured,
                runtime,
                connector,
            ));
        }
    }
    figures.protection = members.protection();
    Ok(figures)
}

/// Who speaks: the first `count` members of each room.
fn speech(args: &Args, first: usize, count: u16) -> Speech {
    let (rooms, size) = (usize::from(args.rooms), usize::from(args.members));
    let others = u64::from(args.members.saturating_sub(1));
    let speakers = (0..usize::from(count))
        .flat_map(|k| (0..rooms).map(move |room| (first + room * size + k, others)));
    Speech {
        speakers: speakers.collect(),
        pps: args.pps,
        payload: (args.payload, args.payload_max.unwrap_or(args.payload)),
        talk: args.talk,
        aligned: args.aligned,
        length: Duration::from_secs(u64::from(args.seconds)),
        levels: args.levels,
    }
}

/// The bare loop has one room, whatever the server has.
fn speech_of_floor(args: &Args) -> Speech {
    Speech {
        speakers: speech(args, 0, args.speakers)
            .speakers
            .into_iter()
            .take(usize::from(args.speakers))
            .collect(),
        ..speech(args, 0, 0)
    }
}

/// A bare loop and its receivers, beside the server.
pub struct Beside {
    members: Members,
    process: Started,
}

impl Beside {
    /// Starts it.
    pub fn start(args: &Args) -> anyhow::Result<Self> {
        let mut members = Members::new(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let process = Started::floor(
            args.members,
            members.port()?,
            args.floor_mode,
            args.floor_crypto,
            args.floor_hold_us,
        )?;
        members.set_voice(process.address);
        let protection = match args.floor_crypto {
            floor::Crypto::Each => Protection::AeadAes128Gcm,
            floor::Crypto::None => Protection::Plain,
        };
        for k in 0..usize::from(args.members) {
            let down = match protection {
                // What comes is what went in.
                Protection::Plain => floor::up_key(),
                _ => floor::down_key(k),
            };
            members.add(protection, &floor::up_key(), &down, floor::ssrc(k))?;
        }
        Ok(Self { members, process })
    }

    /// One round of it.
    pub fn round(&mut self, speech: &Speech) -> Round {
        let measured =
            Measured { pid: Some(self.process.pid()), port: self.process.address.port() };
        round(speech, &mut self.members, measured)
    }
}

/// Looks for the most speakers in each room that are carried: up in steps of a quarter, then between the last two.
fn search(
    args: &Args,
    first: usize,
    members: &mut Members,
    measured: Measured,
    figures: &mut Figures,
) {
    // To open every copy would make this program the limit.
    members.opened_every = 8;
    let (mut low, mut high) = (0u16, None);
    let mut next = args.speakers.max(1);
    for _ in 0..STEPS_MAX {
        let speech = speech(args, first, next);
        let mut outcome = round(&speech, members, measured);
        std::thread::sleep(BREATH);
        if outcome.loss > LOSS_MAX {
            // Once more: somebody else may have needed the machine.
            let again = round(&speech, members, measured);
            std::thread::sleep(BREATH);
            if again.loss < outcome.loss {
                outcome = again;
            }
        }
        let carried = outcome.loss <= LOSS_MAX;
        figures.steps.push((next, outcome.clone()));
        if carried {
            low = next;
            figures.most = Some((next, outcome));
        } else {
            high = Some(next);
        }
        next = match high {
            None if low >= args.members => break,
            None => (low + (low / 4).max(1)).min(args.members),
            Some(high) if high <= low + (low / 32).max(1) => break,
            Some(high) => low + (high - low) / 2,
        };
        if next == low || next == 0 {
            break;
        }
    }
    members.opened_every = 1;
}

#[expect(clippy::too_many_arguments, reason = "all of them are the run's own")]
fn overload(
    args: &Args,
    first: usize,
    most: u16,
    factor: f64,
    members: &mut Members,
    measured: Measured,
    runtime: &Runtime,
    connector: &Connector,
) -> Overload {
    let speakers = (f64::from(most) * factor).min(f64::from(args.members)) as u16;
    members.opened_every = 8;
    let mut speech_beyond = speech(args, first, speakers);
    // More than all members cannot speak: then they speak faster.
    speech_beyond.pps *= f64::from(most) * factor / f64::from(speakers.max(1));
    let pings = Pings::start(runtime, connector);
    let during = round(&speech_beyond, members, measured);
    let pings_ms = pings.stop();
    let after = round(&speech(args, first, (most / 2).max(1)), members, measured);
    members.opened_every = 1;
    Overload { speakers, during, pings_ms, after }
}

/// Medians over the server's rounds.
pub fn of(figures: &Figures, value: impl Fn(&Round) -> Option<f64>) -> Option<f64> {
    median(&figures.rounds, value)
}
