//! A soak: a real server, a crowd that comes, goes, talks and changes rooms, and a network, a machine and a power
//! supply that fail them all, as a seed says. It ends with memory flat and every list right, or says what is wrong.
//!
//! Storms and quiet points take turns. In the storm faults are made; at a quiet point they are off, and everything is
//! compared: see `quiet`. What must never happen (voice for somebody who is not in the room, a packet twice, one
//! that was altered) is looked for in every packet, at all times: see `hearing`.

mod acts;
mod answers;
mod crowd;
mod door;
mod hearing;
mod link;
mod member;
mod memory;
mod orders;
mod quiet;
mod random;
mod server;
mod speech;
mod tally;
mod view;
mod visitors;
mod wire;

use self::acts::Storm;
use self::crowd::Crowd;
use self::memory::Sample;
use self::random::Random;
use self::server::SoakServer;
use parlor::net::clock;
use std::time::{Duration, Instant};

/// How often it is said how it goes.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// How long one storm is.
const STORM: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(20));
/// Kept at the end for the last restart and quiet point.
const LAST: Duration = Duration::from_secs(10);
/// Ghosts are made in one of so many storms: the quiet point behind it waits for the server's own timeout.
const GHOSTS_EVERY: u64 = 16;
/// Soaks at least this long also see the server asleep for longer than anybody waits.
const LONG: Duration = Duration::from_secs(600);
const LONG_SLEEP: Duration = Duration::from_secs(40);
/// What counts as an event of a session.
const EVENTS: [&str; 12] = [
    "sessions",
    "joins",
    "leaves",
    "renames",
    "mutes and deafs",
    "texts",
    "registrations",
    "kicks",
    "bans",
    "silences",
    "moves",
    "connections ended",
];

/// What comes into the audit log.
const AUDITED: [&str; 9] = [
    "registrations",
    "kicks",
    "bans",
    "bans lifted",
    "silences",
    "silences lifted",
    "moves",
    "rooms closed",
    "rooms renamed",
];

/// What is wanted.
pub struct Plan {
    /// How long.
    pub length: Duration,
    /// What decides.
    pub seed: u64,
    /// How many members.
    pub members: u32,
}

/// Soaks. Whether nothing is wrong.
pub async fn run(plan: &Plan) -> anyhow::Result<bool> {
    println!(
        "soak of {}, --seed {}, {} members",
        humantime::format_duration(plan.length),
        plan.seed,
        plan.members
    );
    let server = SoakServer::start()?;
    if !server.wall_clock {
        println!("NOT RUN: jumps of the wall clock (they need libfaketime)");
    }
    let crowd = Crowd::new(server, plan.members, Random::new(plan.seed))?;
    let mut soak =
        Soak { crowd, began: clock::now(), samples: Vec::new(), slowest: Duration::ZERO };
    let outcome = tokio::select! {
        outcome = soak.run(plan) => outcome,
        () = interrupted() => Err(anyhow::anyhow!("interrupted")),
    };
    if let Err(error) = outcome {
        soak.crowd.tally.fault(format!("{error:#}"));
    }
    Ok(soak.report(plan))
}

struct Soak {
    crowd: Crowd,
    began: Instant,
    samples: Vec<Sample>,
    slowest: Duration,
}

impl Soak {
    async fn run(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let storm = (plan.length / 18).clamp(STORM.0, STORM.1);
        // Everybody comes, and all is well before anything is made bad.
        self.crowd.ban_outlaw().await;
        self.quiet().await?;
        let end = self.began + plan.length.saturating_sub(LAST);
        let mut cycle = 0;
        while clock::now() < end || cycle == 0 {
            cycle += 1;
            self.storm(plan, cycle, storm).await?;
            if cycle == 1 {
                // Before memory is looked at: that of another process says nothing.
                self.crowd.crash().await?;
                self.samples.clear();
            }
            self.quiet().await?;
            self.sample();
            if cycle % 3 == 0 && !self.crowd.order_about_room().await {
                break;
            }
        }
        self.storm(plan, 1, STORM.0).await?;
        self.crowd.crash().await?;
        self.quiet().await
    }

    async fn storm(&mut self, plan: &Plan, cycle: u64, length: Duration) -> anyhow::Result<()> {
        let now = clock::now();
        let random = &mut self.crowd.random;
        let at = now + length.mul_f64(0.2 + 0.3 * random.below(100) as f64 / 100.0);
        let nap = Duration::from_millis(random.between(500, 4000));
        let pause = match cycle {
            4 if plan.length >= LONG => Some((at, LONG_SLEEP)),
            _ => random.per_mille(600).then_some((at, nap)),
        };
        let ghosts = if cycle % GHOSTS_EVERY == 2 { 2 } else { 0 };
        self.crowd.storm = Some(Storm::new(now, ghosts, pause));
        if self.crowd.server.wall_clock && self.crowd.random.per_mille(700) {
            let days = i64::try_from(self.crowd.random.below(4_000_000)).unwrap_or(0) - 2_000_000;
            self.crowd.server.set_wall_clock(days)?;
            self.crowd.wall_clock_off = true;
            self.crowd.tally.count("jumps of the server's wall clock");
        }
        let end = now + length;
        while clock::now() < end {
            let left = end.saturating_duration_since(clock::now());
            self.crowd.until(left.min(PROGRESS_INTERVAL), |_| false).await;
            self.progress("storm");
            if let Some(status) = self.crowd.server.ended() {
                anyhow::bail!("the server has ended by itself: {status}");
            }
        }
        Ok(())
    }

    async fn quiet(&mut self) -> anyhow::Result<()> {
        match self.crowd.quiet().await? {
            Some(settled) => self.slowest = self.slowest.max(settled),
            None => anyhow::bail!("not everything came right"),
        }
        self.progress("quiet");
        Ok(())
    }

    fn events(&self) -> u64 {
        self.crowd.tally.sum(&EVENTS)
    }

    fn sample(&mut self) {
        if let Some(usage) = self.crowd.server.usage() {
            let at = clock::now().saturating_duration_since(self.began);
            let (events, sessions) = (self.events(), self.crowd.tally.of("sessions"));
            let audited = self.crowd.tally.sum(&AUDITED);
            self.samples.push(Sample { at, usage, events, sessions, audited });
        }
    }

    fn progress(&self, what: &str) {
        let tally = &self.crowd.tally;
        let at = clock::now().saturating_duration_since(self.began).as_secs();
        let memory = self.crowd.server.usage().unwrap_or_default();
        println!(
            "{at:>5} s  {what}: {} session events, {} sessions, {} voice packets heard, {} faults found; \
             server {} KiB, {} files, {} threads",
            self.events(),
            tally.of("sessions"),
            tally.of("voice packets heard"),
            tally.faults().1,
            memory.resident_kib,
            memory.files,
            memory.threads,
        );
    }

    /// The end: one screen, and the verdict.
    fn report(mut self, plan: &Plan) -> bool {
        // A server that sleeps cannot be ended politely.
        self.crowd.server.pause(false);
        let tally = &mut self.crowd.tally;
        let (complaints, warnings) = self.crowd.server.complaints();
        for complaint in complaints {
            tally.fault(format!("the server's log says: {complaint}"));
        }
        println!("\nWhat was done, and what befell it:");
        let all: Vec<_> = tally.all().collect();
        for pair in all.chunks(2) {
            let shown = pair.iter().map(|(what, many)| format!("{many:>9} {what:<48}"));
            println!("  {}", shown.collect::<String>().trim_end());
        }
        println!(
            "  settled within {:.1} s at every quiet point; {warnings} warnings in the server's log",
            self.slowest.as_secs_f64()
        );
        println!("Memory of the server at quiet points, in KiB (of it its own; files, threads):");
        for sample in self.samples.iter().step_by(self.samples.len().div_ceil(12).max(1)) {
            let Sample { at, usage, events, .. } = sample;
            println!(
                "  {:>5} s  {:>7} ({}; {}, {})  after {events} events",
                at.as_secs(),
                usage.resident_kib,
                usage.own_kib,
                usage.files,
                usage.threads
            );
        }
        let judgement = memory::judge(&self.samples);
        let judged = judgement.is_some();
        match judgement {
            Some(judgement) => {
                println!(
                    "  last third against the middle one: {:+} KiB of its own (at most {:+}), {:+} files, {:+} threads",
                    judgement.growth_kib,
                    judgement.growth_kib_max,
                    judgement.more_files,
                    judgement.more_threads,
                );
                println!(
                    "  a leak of {} bytes for each of {} events, or {} for each of {} sessions, would have been seen",
                    judgement.seen_bytes(judgement.events),
                    judgement.events,
                    judgement.seen_bytes(judgement.sessions),
                    judgement.sessions,
                );
                if !judgement.flat {
                    tally.fault(format!("memory is not flat: {:+} KiB", judgement.growth_kib));
                }
            }
            None => println!("  NOT JUDGED: too few quiet points, or none can be measured here"),
        }
        let (_, faults) = tally.faults();
        if faults == 0 {
            let memory = if judged { "memory flat, " } else { "" };
            println!("OK: {memory}every list right (--seed {})", plan.seed);
            return true;
        }
        for fault in tally.faults().0 {
            println!("FAULT: {fault}");
        }
        println!("FAILED: {faults} faults (--seed {})", plan.seed);
        println!("what the server has written is in {}", self.crowd.server.keep().display());
        false
    }
}

/// Somebody wants this to end.
async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
