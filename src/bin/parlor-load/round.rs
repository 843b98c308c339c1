//! One round: some speak for some seconds, what arrives is counted, and what it costs.

use crate::members::{Heard, Members};
use crate::process::{Cpu, cpu, udp_drops};
use crate::talk::{Spurts, Talk};
use parlor::net::clock;
use parlor::net::limits::TALKSPURT_END_PACKETS;
use parlor::net::rtp::AudioLevel;
use serde_json::{Value, json};
use std::time::Duration;

/// The receivers' socket is looked at this often, so that the server pays for no wake-up.
const DRAIN_INTERVAL: Duration = Duration::from_micros(500);
/// After the last packet was sent, copies may still be on their way for this long.
const SETTLE: Duration = Duration::from_millis(300);

/// What is said in a round.
#[derive(Debug, Clone)]
pub struct Speech {
    /// Who may speak, and how many others are in his room.
    pub speakers: Vec<(usize, u64)>,
    /// Packets per second of each.
    pub pps: f64,
    /// Payload bytes, least and most.
    pub payload: (u16, u16),
    /// When they speak.
    pub talk: Talk,
    /// All at the same moment instead of spread over a packet's time.
    pub aligned: bool,
    /// For so long.
    pub length: Duration,
    /// One packet in five says how loud it is, as real clients' do; sizes differ then.
    pub levels: bool,
}

/// Whose process is measured, and the port that voice reaches it at.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Its process, if known.
    pub pid: Option<u32>,
    /// The port.
    pub port: u16,
}

/// What came of a round.
#[derive(Debug, Clone, Default)]
pub struct Round {
    /// Copies that arrived, per second.
    pub forwarded_per_s: f64,
    /// Share of copies that did not arrive.
    pub loss: f64,
    /// Server CPU, all threads, per million copies.
    pub cpu_s_per_million: Option<f64>,
    /// Of the forwarders' threads alone.
    pub forwarders_cpu_s_per_million: Option<f64>,
    /// Server CPU, as a share of one core.
    pub busy: Option<f64>,
    /// From sending to the kernel's receiving.
    pub p50_us: Option<f64>,
    /// From sending to the kernel's receiving.
    pub p99_us: Option<f64>,
    /// Copies that did not authenticate.
    pub bad: u64,
    /// Datagrams that the server's sockets dropped.
    pub server_drops: Option<u64>,
    /// The least and the most that a speaker got through of what he said.
    pub share: (f64, f64),
}

impl Round {
    /// As JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "forwarded_per_s": self.forwarded_per_s, "loss": self.loss,
            "cpu_s_per_million": self.cpu_s_per_million,
            "forwarders_cpu_s_per_million": self.forwarders_cpu_s_per_million,
            "busy": self.busy, "p50_us": self.p50_us, "p99_us": self.p99_us,
            "server_drops": self.server_drops,
            "share_least": self.share.0, "share_most": self.share.1,
        })
    }
}

/// A speaker on his way through a round.
struct Speaker {
    k: usize,
    receivers: u64,
    spurts: Spurts,
    speaking: bool,
    packets: u64,
    expected: u64,
}

impl Speaker {
    /// His next packet, if he has one: payload bytes and level.
    fn next(&mut self, at: Duration, speech: &Speech) -> Option<(usize, Option<AudioLevel>)> {
        let before = std::mem::replace(&mut self.speaking, self.spurts.speaks(at));
        if !self.speaking {
            return before.then_some((0, None));
        }
        self.packets += 1;
        self.expected += self.receivers;
        let (least, most) = speech.payload;
        let spread = u64::from(most.saturating_sub(least)) + 1;
        let more = self.packets.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        let payload = usize::from(least) + usize::try_from(more % spread).unwrap_or(0);
        let told = speech.levels && self.packets.is_multiple_of(5);
        Some((payload, told.then_some(AudioLevel { voice: true, level: 30 })))
    }
}

/// Does it.
pub fn round(speech: &Speech, members: &mut Members, measured: Measured) -> Round {
    let mut heard = Heard::default();
    let count = u32::try_from(speech.speakers.len()).unwrap_or(u32::MAX);
    let mut speakers: Vec<Speaker> = (0..)
        .zip(&speech.speakers)
        .map(|(turn, (k, receivers))| Speaker {
            k: *k,
            receivers: *receivers,
            spurts: Spurts::new(speech.talk, turn, count),
            speaking: false,
            packets: 0,
            expected: 0,
        })
        .collect();
    let drops_before = udp_drops(measured.port);
    let cpu_before = measured.pid.and_then(cpu);
    let began = clock::now();
    let period = Duration::from_secs_f64(1.0 / speech.pps);
    let step = if speech.aligned { Duration::ZERO } else { period / count.max(1) };
    let (mut turn, mut frame) = (0usize, 0u32);
    loop {
        let now = clock::now();
        if now >= began + speech.length {
            break;
        }
        let mut due = began + period * frame + step * u32::try_from(turn).unwrap_or(0);
        while due <= now && !speakers.is_empty() {
            if let Some(speaker) = speakers.get_mut(turn)
                && let Some((payload, level)) = speaker.next(due - began, speech)
            {
                let ends = if payload == 0 { TALKSPURT_END_PACKETS } else { 1 };
                for _ in 0..ends {
                    members.speak(speaker.k, payload, level);
                }
            }
            turn += 1;
            if turn >= speakers.len() {
                (turn, frame) = (0, frame + 1);
            }
            due = began + period * frame + step * u32::try_from(turn).unwrap_or(0);
        }
        members.flush();
        members.keep_alive();
        members.receive(&mut heard);
        let next = due.saturating_duration_since(clock::now());
        std::thread::sleep(next.min(DRAIN_INTERVAL));
    }
    let wall = began.elapsed().as_secs_f64();
    let settled = clock::now() + SETTLE;
    while clock::now() < settled {
        members.receive(&mut heard);
        std::thread::sleep(DRAIN_INTERVAL);
    }
    let used = measured.pid.and_then(cpu).zip(cpu_before);
    let drops = udp_drops(measured.port).zip(drops_before).map(|(after, before)| after - before);
    sum_up(&speakers, members, heard, wall, used, drops)
}

fn sum_up(
    speakers: &[Speaker],
    members: &Members,
    mut heard: Heard,
    wall: f64,
    used: Option<(Cpu, Cpu)>,
    server_drops: Option<u64>,
) -> Round {
    let expected: u64 = speakers.iter().map(|speaker| speaker.expected).sum();
    heard.latencies.sort_unstable();
    let percentile = |share: f64| {
        let at = (heard.latencies.len().saturating_sub(1) as f64 * share) as usize;
        heard.latencies.get(at).map(|ns| *ns as f64 / 1000.0)
    };
    let mut share = (f64::INFINITY, 0.0f64);
    for speaker in speakers.iter().filter(|speaker| speaker.expected > 0) {
        let got = members.ssrc(speaker.k).and_then(|ssrc| heard.by_speaker.get(&ssrc));
        let part = got.copied().unwrap_or(0) as f64 / speaker.expected as f64;
        share = (share.0.min(part), share.1.max(part));
    }
    let per_million = |seconds: f64| seconds * 1e6 / heard.packets as f64;
    let used = used.filter(|_| heard.packets > 0).map(|(after, before)| Cpu {
        all_s: after.all_s - before.all_s,
        forwarders_s: after.forwarders_s - before.forwarders_s,
    });
    Round {
        forwarded_per_s: heard.packets as f64 / wall,
        loss: expected.saturating_sub(heard.packets) as f64 / expected.max(1) as f64,
        cpu_s_per_million: used.map(|used| per_million(used.all_s)),
        forwarders_cpu_s_per_million: used.map(|used| per_million(used.forwarders_s)),
        busy: used.map(|used| used.all_s / wall),
        p50_us: percentile(0.5),
        p99_us: percentile(0.99),
        bad: heard.bad,
        server_drops,
        share,
    }
}

/// The middle of what rounds have, of those that have it.
pub fn median(rounds: &[Round], value: impl Fn(&Round) -> Option<f64>) -> Option<f64> {
    middle(rounds.iter().filter_map(value).collect())
}

/// The middle one.
pub fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
