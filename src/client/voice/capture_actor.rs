//! The capture actor: a timer that moves samples from the source through the capture core to the socket.
//!
//! Owns the source and the numbering of our stream. Voice goes from here straight to the socket (or, by
//! event, into the control connection); the mailbox carries only questions and the end.

use super::capture::{Capture, level_db};
use super::chain::ChainFigures;
use super::chain::far_end::FarEnd;
use super::chain::gate::Transmit;
use super::desk::{CLOSE_TIME, Wanted};
use super::device::{BUSY, InputDevice};
use super::keeper::{Change, Keeper, Open};
use super::link::LastSent;
use super::load::PerMinute;
use super::packetizer::Outgoing;
use super::sending::SendingStats;
use super::shared::{Outbox, Shared};
use super::source::Source;
use super::trial::{TRIAL_MS, TrialNews, Verdict};
use super::{ByWay, Direction, VoiceEvent};
use crate::net::clock;
use crate::net::limits::{CLIENT_MAILBOX, DATAGRAM_BYTES_MAX};
use crate::net::protect::Sealer;
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, SpawnHandle};
use rtrb::chunks::ReadChunk;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the source is looked at while we speak: half of this is added to the delay.
const TICK_OPEN: Duration = Duration::from_millis(1);
/// The same while nobody may hear us.
const TICK_CLOSED: Duration = Duration::from_millis(4);
/// A source that gives nothing for this long is away: the talkspurt ends, time goes on without it.
const AWAY: Duration = Duration::from_millis(200);
/// A trial for which a microphone gives nothing for this long is given up, ...
const TRIAL_WAIT: Duration = Duration::from_secs(2);
/// ... and so is one that is not played to its end after this.
const TRIAL_MAX: Duration = Duration::from_secs(20);
/// What voice takes on the wire is taken over this time, ...
const WIRE_OVER: Duration = Duration::from_secs(1);
/// ... in which there is no longer pause.
const WIRE_PAUSE: Duration = Duration::from_millis(100);

/// The actor.
pub struct CaptureActor {
    shared: Arc<Shared>,
    source: Source,
    name: String,
    /// A microphone that was chosen and is being opened; the source stays until it runs.
    next: Option<Next>,
    /// What is played, for a microphone that takes the place of what is none.
    far: Option<FarEnd>,
    core: Capture,
    sender: Sender,
    samples: Vec<f32>,
    generation: u64,
    openings: u64,
    shuts: u64,
    /// The microphone is tried out.
    trial: Option<Running>,
    /// The talk key was down at this opening when a trial ended: it must be let go first.
    stale_key: Option<u64>,
    last_samples: Option<Instant>,
    overruns_before: u64,
    overruns: u64,
    overruns_lately: PerMinute,
    timer: Option<SpawnHandle>,
}

/// A microphone that is being opened.
struct Next {
    name: String,
    open: Open<InputDevice>,
    keeper: Keeper<InputDevice>,
    /// What was closed for it.
    alone: Option<String>,
    from: Instant,
}

/// A trial that runs.
#[derive(Debug, Clone, Copy)]
struct Running {
    since: Instant,
    /// It is being played.
    plays: bool,
}

/// Where packets go.
struct Sender {
    shared: Arc<Shared>,
    outbox: Outbox,
    sealer: Option<Sealer>,
    socket: Option<Arc<UdpSocket>>,
    stream: bool,
    sealed: Vec<u8>,
    wire: Wire,
}

/// What voice takes on the wire.
#[derive(Debug, Default)]
struct Wire {
    /// Since when bytes are counted, and how many.
    since: Option<Instant>,
    last: Option<Instant>,
    bytes: usize,
    kbps: f32,
}

/// Asks for figures.
#[derive(Debug, Message)]
#[rtype(result = "CaptureFigures")]
pub struct AskCapture;

/// Figures of the microphone.
#[derive(Debug, Clone, Default, PartialEq, actix::MessageResponse)]
pub struct CaptureFigures {
    /// Level lately, dBFS.
    pub level_db: f32,
    /// What it is.
    pub input: String,
    /// Times that samples were lost.
    pub overruns: u64,
    /// The same in the last minute.
    pub overruns_lately: u32,
    /// It is a sound device, and not a file or the like.
    pub is_device: bool,
    /// Time from the microphone until its samples are taken, in ms.
    pub latency_ms: f32,
    /// How voice is sent.
    pub sending: SendingStats,
    /// What the capture chain does, if there is one.
    pub chain: Option<ChainFigures>,
}

/// Ends the talkspurt and closes the source; the actor stops.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Stop;

impl CaptureActor {
    /// An actor that reads this source; `name` is how it was asked for.
    #[must_use]
    pub fn new(
        shared: Arc<Shared>,
        mut source: Source,
        name: String,
        core: Capture,
        outbox: Outbox,
    ) -> Self {
        shared.devices.note(Direction::Input, &source.description());
        let sender = Sender {
            shared: shared.clone(),
            outbox,
            sealer: None,
            socket: None,
            stream: false,
            sealed: Vec::with_capacity(DATAGRAM_BYTES_MAX),
            wire: Wire::default(),
        };
        Self {
            shared,
            source,
            name,
            next: None,
            far: None,
            core,
            sender,
            samples: Vec::new(),
            generation: 0,
            openings: 0,
            shuts: 0,
            trial: None,
            stale_key: None,
            last_samples: None,
            overruns_before: 0,
            overruns: 0,
            overruns_lately: PerMinute::default(),
            timer: None,
        }
    }

    /// The same; a microphone that is chosen later hears an echo of this.
    #[must_use]
    pub fn beside(self, far: Option<FarEnd>) -> Self {
        Self { far, ..self }
    }

    /// Looks at the source at the pace of now, and again when that is another.
    fn run(&mut self, context: &mut Context<Self>) {
        let open = self.is_open();
        let every = if open { TICK_OPEN } else { TICK_CLOSED };
        self.timer = Some(context.run_interval(every, move |actor, context| {
            actor.tick(clock::now());
            if actor.is_open() != open
                && let Some(timer) = actor.timer.take()
            {
                context.cancel_future(timer);
                actor.run(context);
            }
        }));
    }

    /// Whether something is being sent, or may be at any moment.
    fn is_open(&self) -> bool {
        self.shared.transmit().0.is_on() || self.core.is_talking()
    }

    fn tick(&mut self, now: Instant) {
        self.sender.outbox.flush();
        self.follow_session();
        if let Some(tape) = self.shared.recorder.spoken.take() {
            self.core.set_tape(tape);
        }
        self.core.set_opus_heard(self.shared.opus_heard());
        let sending = *self.shared.sending();
        self.core.set_sending(sending);
        let chain = *self.shared.chain();
        self.core.set_chain(chain);
        if let Some(conditions) = self.shared.take_conditions() {
            let before = self.core.plan();
            self.core.heard_of(conditions, now);
            if self.core.plan() != before {
                tracing::debug!(?conditions, plan = ?self.core.plan(), "redundancy changes");
            }
        }
        self.follow_choice(now);
        self.samples.clear();
        let pulled = self.source.pull(now, &mut self.samples);
        if let Some(change) = pulled.change {
            self.core.restart();
            self.tell(change);
        }
        self.count_overruns(now);
        if let Some(rate) = self.source.rate()
            && self.core.set_rate(rate).is_err()
        {
            self.samples.clear();
        }
        self.note_gap(now);

        self.switch_trial(now);
        let (transmit, openings) = self.shared.transmit();
        let connected = self.sender.sealer.is_some();
        if connected && self.openings != openings {
            self.openings = openings;
            self.source.opened(now);
            tracing::debug!(?transmit, "microphone opened");
        }
        let shuts = self.shared.shuts();
        if self.shuts != shuts {
            self.shuts = shuts;
            self.core.set_latency(self.source.latency());
            self.core.forget(&mut |packet| self.sender.send(packet, now));
        }
        if self.stale_key != Some(openings) || !transmit.is_held() {
            self.stale_key = None;
        }
        let free = self.trial.is_none() && self.stale_key.is_none();
        let transmit = match connected && !pulled.mute && free {
            true => transmit,
            false => Transmit::Shut,
        };
        self.core.set_latency(self.source.latency());
        self.core.hear(&self.samples, transmit, &mut |packet| self.sender.send(packet, now));
        self.shared.devices.note_level(self.core.level());
        self.follow_trial(now);
    }

    /// Opens a microphone that was chosen, and goes over to it when it runs. A talkspurt goes on in it.
    fn follow_choice(&mut self, now: Instant) {
        if let Some(Wanted { name, open }) = self.shared.devices.input.take() {
            self.source.wake();
            let keeper = Keeper::new(open.clone());
            self.next = Some(Next { name, open, keeper, alone: None, from: now });
        }
        let Some(mut next) = self.next.take() else { return };
        let change = if now >= next.from { next.keeper.poll(now) } else { None };
        match change {
            None => self.next = Some(next),
            Some(Change::Up(description)) => self.take_over(next, description),
            Some(Change::Down(error)) => {
                let kept = self.source.description();
                if next.alone.is_none() && error.contains(BUSY) && self.source.rest() {
                    let keeper = Keeper::new(next.open.clone());
                    let from = now + CLOSE_TIME;
                    self.next = Some(Next { keeper, alone: Some(kept), from, ..next });
                    return;
                }
                self.source.wake();
                let (direction, name) = (Direction::Input, next.name);
                let kept = next.alone.unwrap_or(kept);
                self.sender.outbox.push(VoiceEvent::DeviceRefused { direction, name, error, kept });
            }
        }
    }

    fn take_over(&mut self, next: Next, description: String) {
        let Next { name, mut keeper, .. } = next;
        // What it gave so far is not of this moment.
        if let Some(device) = keeper.device() {
            let there = device.ring.slots();
            let _ = device.ring.read_chunk(there).map(ReadChunk::commit_all);
        }
        (self.source, self.name) = (Source::Device(keeper), name);
        self.overruns_before = self.source.overruns();
        if let Some(far) = self.far.take() {
            let chain = *self.shared.chain();
            self.core.improve(chain, far);
        }
        self.core.restart();
        self.tell(Change::Up(description));
    }

    /// Begins a trial if one is asked for, or ends the one that runs.
    fn switch_trial(&mut self, now: Instant) {
        if !self.shared.trial.is_asked() {
            return;
        }
        if self.trial.is_some() {
            return self.end_trial(TrialNews::Stopped);
        }
        if let Err(error) = self.core.begin_trial() {
            tracing::error!(%error, "voice cannot be encoded for a trial");
            return self.end_trial(TrialNews::Failed);
        }
        self.trial = Some(Running { since: now, plays: false });
        self.source.opened(now);
        let news = TrialNews::Speak { ms: TRIAL_MS };
        self.sender.outbox.push(VoiceEvent::Trial(news));
    }

    fn follow_trial(&mut self, now: Instant) {
        let Some(Running { since, plays }) = self.trial else { return };
        let silent = now.saturating_duration_since(self.last_samples.unwrap_or(now).max(since));
        if plays {
            let long = now.saturating_duration_since(since) > TRIAL_MAX;
            if self.shared.trial.is_played() || long {
                self.end_trial(TrialNews::Over);
            }
        } else if let Some(take) = self.core.take_trial() {
            self.sender.outbox.push(VoiceEvent::Trial(TrialNews::Heard(take.figures)));
            if take.figures.verdict == Verdict::Silent {
                return self.end_trial(TrialNews::Over);
            }
            self.shared.trial.hand_over(take);
            self.trial = Some(Running { since: now, plays: true });
        } else if silent > TRIAL_WAIT {
            self.end_trial(TrialNews::NoMicrophone);
        }
    }

    fn end_trial(&mut self, news: TrialNews) {
        if self.trial.take().is_some_and(|running| running.plays) {
            self.shared.trial.stop();
        }
        self.core.end_trial();
        let (transmit, openings) = self.shared.transmit();
        self.stale_key = transmit.is_held().then_some(openings);
        self.sender.outbox.push(VoiceEvent::Trial(news));
    }

    /// Takes over a new session, or the end of one.
    fn follow_session(&mut self) {
        let shared = self.shared.clone();
        let uplink = shared.uplink();
        self.sender.stream = uplink.stream;
        if uplink.generation != self.generation {
            self.generation = uplink.generation;
            self.sender.sealer = None;
            if let Some((streams, sealer)) = &uplink.session {
                let mut random = [0u8; 8];
                if let Err(error) = getrandom::fill(&mut random) {
                    tracing::error!(%error, "no random numbers: the stream starts at zero");
                }
                let [a, b, c, d, e, f, ..] = random;
                let seq = u16::from_be_bytes([a, b]);
                self.core.set_streams(streams, seq, u32::from_be_bytes([c, d, e, f]));
                self.sender.sealer = Some(sealer.clone());
            }
        }
        match (&self.sender.socket, &uplink.socket) {
            (Some(old), Some(new)) if Arc::ptr_eq(old, new) => {}
            (_, new) => self.sender.socket = new.clone(),
        }
    }

    /// Time goes on while a source gives nothing.
    fn note_gap(&mut self, now: Instant) {
        let last = *self.last_samples.get_or_insert(now);
        let gap = now.saturating_duration_since(last);
        if !self.samples.is_empty() {
            if gap > AWAY {
                self.core.advance(gap);
            }
            self.last_samples = Some(now);
        } else if gap > AWAY && self.core.is_talking() {
            self.core.end(&mut |packet: Outgoing<'_>| self.sender.send(packet, now));
        }
    }

    fn count_overruns(&mut self, now: Instant) {
        let overruns = self.source.overruns();
        let new = overruns.saturating_sub(self.overruns_before);
        self.overruns += new;
        self.overruns_lately.count(new, now);
        self.overruns_before = overruns;
    }

    fn tell(&mut self, change: Change) {
        let direction = Direction::Input;
        self.shared.devices.note(direction, change.description());
        self.sender.outbox.push(match change {
            Change::Up(description) => VoiceEvent::DeviceUp { direction, description },
            Change::Down(error) => {
                VoiceEvent::DeviceDown { direction, name: self.name.clone(), error }
            }
        });
    }
}

impl Sender {
    fn send(&mut self, packet: Outgoing<'_>, now: Instant) {
        let Some(sealer) = &self.sealer else { return };
        self.sealed.clear();
        if sealer.seal_rtp(packet.bytes, packet.index, &mut self.sealed).is_err() {
            return;
        }
        let mut way = ByWay::default();
        if self.stream {
            way.stream = 1;
            let datagram = self.sealed.clone();
            self.outbox.push(VoiceEvent::ToServer { datagram, at: now });
        } else if let Some(socket) = &self.socket {
            way.udp = 1;
            if let Err(error) = socket.send(&self.sealed) {
                // A full buffer or an ICMP refusal: the packet is lost, the reports will tell.
                tracing::trace!(%error, "voice packet not sent");
            }
        }
        self.wire.count(self.sealed.len(), now);
        let mut sent = self.shared.sent();
        sent.packets += 1;
        sent.by_way.udp += way.udp;
        sent.by_way.stream += way.stream;
        let Outgoing { ssrc, clock_hz, timestamp, sent: (packets, octets), .. } = packet;
        sent.last = Some(LastSent { ssrc, clock_hz, timestamp, at: now, packets, octets });
    }
}

impl Wire {
    /// Counts a datagram. Only time in which we speak counts.
    fn count(&mut self, bytes: usize, now: Instant) {
        let pause = self.last.is_none_or(|last| now.saturating_duration_since(last) > WIRE_PAUSE);
        self.last = Some(now);
        if pause {
            (self.since, self.bytes) = (Some(now), 0);
            return;
        }
        self.bytes += bytes;
        let since = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        if since >= WIRE_OVER {
            self.kbps = self.bytes as f32 * 8.0 / 1e3 / since.as_secs_f32();
            (self.since, self.bytes) = (Some(now), 0);
        }
    }
}

impl Actor for CaptureActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.set_mailbox_capacity(CLIENT_MAILBOX);
        self.run(context);
    }
}

impl Handler<AskCapture> for CaptureActor {
    type Result = CaptureFigures;

    fn handle(&mut self, _: AskCapture, _: &mut Context<Self>) -> CaptureFigures {
        CaptureFigures {
            level_db: level_db(self.core.level()),
            input: self.source.description(),
            overruns: self.overruns,
            overruns_lately: self.overruns_lately.total(clock::now()),
            is_device: matches!(self.source, Source::Device(_)),
            latency_ms: self.source.latency().as_secs_f32() * 1e3,
            sending: SendingStats {
                wire_kbps: self.sender.wire.kbps,
                lookahead_ms: self.core.lookahead_ms(),
                ..SendingStats::new(*self.shared.sending(), self.core.codec(), self.core.plan())
            },
            chain: self.core.chain_figures(),
        }
    }
}

impl Handler<Stop> for CaptureActor {
    type Result = ();

    fn handle(&mut self, _: Stop, context: &mut Context<Self>) {
        let now = clock::now();
        let mut emit = |packet: Outgoing<'_>| self.sender.send(packet, now);
        self.core.end(&mut emit);
        self.core.set_tape(None);
        context.stop();
    }
}
