//! Which way voice goes: by datagrams or, where they do not get through, inside the control connection.
//!
//! Pure: what came by datagram, who talks and the time come in; probes and the way come out.
//!
//! Both directions always go the same way. A probe (a keepalive) is answered only when datagrams get through
//! both ways, so a path whose probes are answered is good for both, and one dead direction is reason enough
//! to leave. How soon a probe is missed depends on who talks: nobody, and a keepalive every 5 s is enough;
//! someone, and within half a second of silence so many probes have gone unanswered that loss cannot be the
//! reason. How many that takes follows from how many were answered lately.
//!
//! The way back is open when nearly all of the last probes were answered, and for longer the sooner
//! datagrams died again after the last time.

use super::VoicePath;
use crate::net::limits::{KEEPALIVE_INTERVAL, PROBES_REMEMBERED};
use crate::net::rtcp::Probe;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A path that has not been proven after this long is taken for blocked.
const START_PATIENCE: Duration = Duration::from_millis(500);
/// While we speak, a path is probed this often.
const SPEAKING_INTERVAL: Duration = Duration::from_millis(100);
/// While we speak, no proof for this long (and a round trip) is suspicious.
const SPEAKING_SILENCE: Duration = Duration::from_millis(150);
/// While anyone talks reports are answered every 250 ms: no proof for this long (and a round trip) is suspicious.
const REPORT_SILENCE: Duration = Duration::from_millis(300);
/// While a voice is expected, nothing at all for this long is suspicious. It may only be that our
/// address has changed: the probe tells the server.
const VOICE_SILENCE: Duration = Duration::from_millis(80);
/// How often a suspicious path is probed while anyone talks, and while nobody does.
const SUSPICION_INTERVAL: (Duration, Duration) =
    (Duration::from_millis(25), Duration::from_millis(100));
/// Unanswered probes in a row that make a path dead, at least and at most.
const MISSED_MAX: (u32, u32) = (16, 30);
/// How unlikely it must be that loss alone explains them.
const MISTAKE: f64 = 1e-6;
/// How often an unproven path is probed at first, and later.
const START_INTERVAL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// While voice goes through the stream, datagrams are probed this often: when they seem to come back, at
/// first, and later.
const RETURN_INTERVAL: (Duration, Duration, Duration) =
    (Duration::from_millis(100), Duration::from_millis(250), Duration::from_secs(1));
/// After this long without an answer a dead path is probed less often.
const HURRY: Duration = Duration::from_secs(30);
/// Probes that are looked at before voice goes back to datagrams, and how many of them must have been answered.
const RETURN_PROBES: (u32, u32) = (10, 9);
/// Datagrams that die again sooner than this have to prove themselves for longer: ...
const SHORT_LIVED: Duration = Duration::from_secs(10);
/// ... at first, and at most; each time doubles it.
const RETURN_HOLD: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(32));
/// How long an answer may take before a probe counts as missed: at least, at most, and while no round trip is known.
const PATIENCE: (Duration, Duration, Duration) =
    (Duration::from_millis(50), Duration::from_secs(1), Duration::from_millis(300));

/// Who talks right now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Talk {
    /// We do.
    pub speaking: bool,
    /// Someone whose voice should be reaching us.
    pub expecting: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Datagrams are not proven, and the stream is not used either (yet).
    Unproven,
    /// Datagrams get through.
    Udp,
    /// They do not: voice goes through the stream, at least until then.
    Stream { hold: Instant },
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    probe: Probe,
    at: Instant,
    /// Its time is up; an answer may still come.
    missed: bool,
}

/// The rules of one session's voice path.
#[derive(Debug)]
pub struct PathRules {
    stream_allowed: bool,
    state: State,
    since: Instant,
    /// Last proof that datagrams get through both ways, and last datagram at all.
    proven_at: Option<Instant>,
    heard_at: Instant,
    speaking_since: Option<Instant>,
    expecting_since: Option<Instant>,
    asked: VecDeque<Asked>,
    last_probe: Option<Instant>,
    /// The next probe must not wait.
    hurry: bool,
    /// Probes that went unanswered since the last proof.
    missed: u32,
    outcomes: Outcomes,
    /// Share of the probes that was answered up to the last proof.
    usual: f64,
    round_trip: Option<Duration>,
    hold: Duration,
}

impl PathRules {
    /// A path of which nothing is known.
    #[must_use]
    pub fn new(stream_allowed: bool, now: Instant) -> Self {
        Self {
            stream_allowed,
            state: State::Unproven,
            since: now,
            proven_at: None,
            heard_at: now,
            speaking_since: None,
            expecting_since: None,
            asked: VecDeque::new(),
            last_probe: None,
            hurry: false,
            missed: 0,
            outcomes: Outcomes::default(),
            usual: Outcomes::default().rate(),
            round_trip: None,
            hold: Duration::ZERO,
        }
    }

    /// The way that voice goes now.
    #[must_use]
    pub fn path(&self) -> VoicePath {
        match self.state {
            State::Unproven => VoicePath::None,
            State::Udp => VoicePath::Udp,
            State::Stream { .. } => VoicePath::Stream,
        }
    }

    /// How long datagrams have not come, where they are not in use.
    #[must_use]
    pub fn unproven_for(&self, now: Instant) -> Option<Duration> {
        (self.state != State::Udp).then(|| now.saturating_duration_since(self.heard_at))
    }

    /// Whether voice may go through the stream.
    pub fn allow_stream(&mut self, on: bool, now: Instant) {
        self.stream_allowed = on;
        if !on && matches!(self.state, State::Stream { .. }) {
            self.turn(State::Unproven, now);
        }
    }

    /// Authentic voice has come by datagram: they get through downwards.
    pub fn heard_voice(&mut self, now: Instant) {
        self.heard_at = now;
    }

    /// An authentic control packet has come by datagram. The server sends them only as answers to our
    /// datagrams: they get through both ways.
    pub fn heard_control(&mut self, now: Instant) {
        self.heard_at = now;
        self.proven_at = Some(now);
        self.missed = 0;
        self.usual = self.outcomes.rate();
    }

    /// The server has asked whether this is our address: the next probe must not wait.
    pub fn challenged(&mut self) {
        self.hurry = true;
    }

    /// A probe has been answered by datagram: the round trip, if we had asked.
    pub fn answered(&mut self, probe: Probe, now: Instant) -> Option<Duration> {
        let asked = self.asked.iter().position(|asked| asked.probe == probe);
        let asked = asked.and_then(|k| self.asked.remove(k))?;
        if !asked.missed {
            self.outcomes.push(true);
        }
        let trip = now.saturating_duration_since(asked.at);
        self.round_trip = Some(match self.round_trip {
            Some(before) => (before * 3 + trip) / 4,
            None => trip,
        });
        match self.state {
            State::Unproven => self.turn(State::Udp, now),
            State::Udp => {}
            State::Stream { hold } => {
                if now >= hold && self.outcomes.are_good() {
                    self.turn(State::Udp, now);
                }
            }
        }
        Some(trip)
    }

    /// Time has passed. Whether to send a probe now; `path` may have changed.
    pub fn tick(&mut self, talk: Talk, now: Instant) -> bool {
        self.note(talk, now);
        self.judge(now);
        match self.state {
            State::Udp if self.missed >= self.missed_max() => {
                self.hold = match now.saturating_duration_since(self.since) < SHORT_LIVED {
                    true => (self.hold * 2).clamp(RETURN_HOLD.0, RETURN_HOLD.1),
                    false => Duration::ZERO,
                };
                let hold = now + self.hold;
                let allowed = self.stream_allowed;
                self.turn(if allowed { State::Stream { hold } } else { State::Unproven }, now);
            }
            State::Unproven
                if self.stream_allowed
                    && now.saturating_duration_since(self.since) >= START_PATIENCE =>
            {
                self.turn(State::Stream { hold: now }, now);
            }
            _ => {}
        }
        // An answer to anything else says as much as one to a probe.
        let last = self.last_probe.max(self.proven_at);
        self.hurry || last.is_none_or(|last| now >= last + self.interval(now))
    }

    /// A probe is on its way.
    pub fn sent(&mut self, probe: Probe, now: Instant) {
        self.last_probe = Some(now);
        self.hurry = false;
        if self.asked.len() >= PROBES_REMEMBERED {
            self.asked.pop_front();
        }
        self.asked.push_back(Asked { probe, at: now, missed: false });
    }

    fn turn(&mut self, state: State, now: Instant) {
        if std::mem::discriminant(&state) == std::mem::discriminant(&self.state) {
            return;
        }
        self.state = state;
        self.since = now;
        self.missed = 0;
        if matches!(state, State::Stream { .. }) {
            self.outcomes = Outcomes::default();
            // What was asked before the path died says nothing of its return.
            self.asked.clear();
        }
    }

    fn note(&mut self, talk: Talk, now: Instant) {
        let since = |on: bool, before: Option<Instant>| on.then(|| before.unwrap_or(now));
        self.speaking_since = since(talk.speaking, self.speaking_since);
        self.expecting_since = since(talk.expecting, self.expecting_since);
    }

    /// Counts the probes whose time is up.
    fn judge(&mut self, now: Instant) {
        let patience = self.patience();
        for asked in &mut self.asked {
            if asked.missed || now.saturating_duration_since(asked.at) < patience {
                continue;
            }
            asked.missed = true;
            self.outcomes.push(false);
            if self.proven_at.is_none_or(|proven| asked.at > proven) {
                self.missed += 1;
            }
        }
    }

    fn patience(&self) -> Duration {
        match self.round_trip {
            Some(trip) => (trip * 2 + Duration::from_millis(30)).clamp(PATIENCE.0, PATIENCE.1),
            None => PATIENCE.2,
        }
    }

    /// Unanswered probes in a row that loss alone would hardly explain.
    fn missed_max(&self) -> u32 {
        let misses = (MISTAKE.ln() / (1.0 - self.usual).ln()).ceil();
        (misses as u32).clamp(MISSED_MAX.0, MISSED_MAX.1)
    }

    /// Whether less has come than should have.
    fn is_suspicious(&self, now: Instant) -> bool {
        let trip = self.round_trip.unwrap_or_default();
        let older = |proof: Option<Instant>, talk: Option<Instant>, silence: Duration| {
            talk.is_some_and(|since| {
                let from = proof.map_or(since, |proof| proof.max(since));
                now.saturating_duration_since(from) >= silence
            })
        };
        self.missed > 0
            || older(self.proven_at, self.speaking_since, SPEAKING_SILENCE + trip)
            || older(self.proven_at, self.expecting_since, REPORT_SILENCE + trip)
            || older(Some(self.heard_at), self.expecting_since, VOICE_SILENCE)
    }

    /// How long after one probe the next is sent.
    fn interval(&self, now: Instant) -> Duration {
        let talking = self.speaking_since.is_some() || self.expecting_since.is_some();
        let lately = now.saturating_duration_since(self.heard_at);
        match self.state {
            State::Unproven if lately < HURRY => START_INTERVAL.0,
            State::Unproven => START_INTERVAL.1,
            State::Udp if self.is_suspicious(now) && talking => SUSPICION_INTERVAL.0,
            State::Udp if self.is_suspicious(now) => SUSPICION_INTERVAL.1,
            State::Udp if self.speaking_since.is_some() => SPEAKING_INTERVAL,
            State::Udp => KEEPALIVE_INTERVAL,
            State::Stream { .. } if lately < RETURN_INTERVAL.2 => RETURN_INTERVAL.0,
            State::Stream { .. } if talking || lately < HURRY => RETURN_INTERVAL.1,
            State::Stream { .. } => RETURN_INTERVAL.2,
        }
    }
}

/// What became of the last 64 probes: a bit each, the newest lowest.
#[derive(Debug, Clone, Copy, Default)]
struct Outcomes {
    answered: u64,
    count: u32,
}

impl Outcomes {
    fn push(&mut self, answered: bool) {
        self.answered = self.answered << 1 | u64::from(answered);
        self.count = (self.count + 1).min(u64::BITS);
    }

    /// Share of the probes that is answered, as far as is known; neither 0 nor 1.
    fn rate(&self) -> f64 {
        let mask = u64::MAX.checked_shr(u64::BITS - self.count).unwrap_or(0);
        let answered = (self.answered & mask).count_ones();
        // Laplace's rule of succession.
        (f64::from(answered) + 1.0) / (f64::from(self.count) + 2.0)
    }

    /// Whether datagrams get through well enough to go back to them.
    fn are_good(&self) -> bool {
        let newest = self.answered & ((1 << RETURN_PROBES.0) - 1);
        self.count >= RETURN_PROBES.0 && newest.count_ones() >= RETURN_PROBES.1
    }
}
