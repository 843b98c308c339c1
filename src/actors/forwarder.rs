//! The forwarder actor: owns one socket and the streams steered to it.
//!
//! Its loop receives a batch, lets the core decide, sends a batch, and takes new routes in between.
//! Its mailbox sees only `Stop`. It must not look inside a payload, wait for anyone, or log per packet; once everybody
//! was heard it allocates nothing for a packet either.

mod backlog;
pub mod core;
mod meter;
mod owned;
pub mod pace;
mod reception;
#[cfg(test)]
mod tests;

use self::core::{ForwarderCore, Origin, Outputs, ProbeSource};
pub use self::meter::{ForwarderMeter, Traffic};
use self::pace::{Hold, Pace};
use super::routes::{RouteFeed, StreamDatagram, VoiceNotice, VoicePath};
use crate::net::clock;
use crate::net::ids::{SessionId, Ssrc};
use crate::net::limits::{ARRIVAL_AGE_MAX, FORWARDER_MAILBOX, RECEIVE_BATCH, RECEIVE_LOOP_MAX};
use crate::net::udp::{Receiver, SendQueue, Transmitter, VoiceSocket, Watch};
use actix::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};
use tokio::time::MissedTickBehavior;

/// While datagrams come, what is due is looked for so often, beside them: they wake the thread anyway.
const TICK: Duration = Duration::from_millis(100);
/// While none come, so often. To wake a thread for nothing costs more than to forward a packet.
const IDLE_TICK: Duration = Duration::from_millis(500);
/// Addresses that show no life are looked for so often.
const SWEEP: Duration = Duration::from_secs(1);

/// What a forwarder is made of. It moves to the forwarder's own thread.
pub struct Parts {
    /// Its socket, not yet registered.
    pub socket: std::net::UdpSocket,
    /// Where its routes come from.
    pub feed: Arc<RouteFeed>,
    /// Where voice from control connections comes from.
    pub streams: mpsc::Receiver<StreamDatagram>,
    /// Unguessable bytes for path challenges.
    pub probes: ProbeSource,
    /// Where its counters go.
    pub meter: Arc<ForwarderMeter>,
    /// Whether it waits so that packets go together.
    pub hold: Hold,
    /// Ended loudly if the forwarder ever ends by itself.
    pub on_death: Box<dyn FnOnce() + Send>,
}

/// The actor.
pub struct Forwarder {
    parts: Option<Parts>,
    stop: Arc<Notify>,
}

/// Ends the forwarder: nothing is sent once the message is answered.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Stop;

impl Forwarder {
    /// A forwarder that starts to work when its actor does.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self { parts: Some(parts), stop: Arc::new(Notify::new()) }
    }
}

impl Actor for Forwarder {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(FORWARDER_MAILBOX);
        if let Some(parts) = self.parts.take() {
            ctx.spawn(run(parts, Arc::clone(&self.stop)).into_actor(self));
        }
    }
}

impl Handler<Stop> for Forwarder {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.stop.notify_one();
        ctx.stop();
    }
}

/// Releases those who wait for routes, and tells the server unless the end was asked for.
struct Deathbed {
    feed: Arc<RouteFeed>,
    on_death: Option<Box<dyn FnOnce() + Send>>,
    stop: Arc<Notify>,
}

impl Drop for Deathbed {
    fn drop(&mut self) {
        self.feed.retire();
        let asked = std::pin::pin!(self.stop.notified()).enable();
        if let Some(on_death) = self.on_death.take()
            && !asked
        {
            on_death();
        }
    }
}

async fn run(parts: Parts, stop: Arc<Notify>) {
    let Parts { socket, feed, mut streams, probes, meter, hold, on_death } = parts;
    let _deathbed =
        Deathbed { feed: Arc::clone(&feed), on_death: Some(on_death), stop: Arc::clone(&stop) };
    let mut shell = match Shell::new(socket, feed, probes, meter, hold) {
        Ok(shell) => shell,
        Err(error) => {
            tracing::error!(%error, "a voice socket cannot be used");
            return;
        }
    };
    let mut tick = tokio::time::interval(IDLE_TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut more = false;
    loop {
        tokio::select! {
            biased;
            () = stop.notified() => {
                // Deathbed looks for the permission to end.
                stop.notify_one();
                return;
            }
            () = shell.feed.changed() => shell.take_routes(),
            _ = tick.tick() => shell.tick(clock::now()),
            Some(datagram) = streams.recv() => {
                shell.handle_stream(datagram);
                // Both ways have their turn: nobody's stream keeps the socket waiting.
                more = shell.work();
            }
            ready = shell.ready(more) => {
                if let Err(error) = ready {
                    tracing::error!(%error, "the voice socket has failed");
                    return;
                }
                more = shell.work();
            }
        }
        if more {
            // Timers, routes and the end have their turn even if there is always something to do.
            tokio::task::yield_now().await;
        }
    }
}

/// A receiver that is told when datagrams came and how many were dropped, or as much of that as can be had.
fn receiver(socket: &std::net::UdpSocket) -> Receiver {
    let watch = Watch { times: true, drops: true, destinations: false };
    Receiver::watching(socket, watch).unwrap_or_else(|error| {
        if cfg!(target_os = "linux") {
            tracing::warn!(
                "what waits in the voice socket, and what it drops, is not known: {error}"
            );
        }
        Receiver::default()
    })
}

struct Shell {
    core: ForwarderCore,
    sessions: HashMap<SessionId, Recipient<VoiceNotice>>,
    bases: HashMap<SessionId, Ssrc>,
    out: Outputs,
    /// What was answered while datagrams were received: it goes out behind the copies of what came before the
    /// question, so that whoever hears the answer knows that they are on their way.
    answers: SendQueue,
    undelivered: BTreeMap<SessionId, News>,
    transmitter: Transmitter,
    receiver: Receiver,
    socket: VoiceSocket,
    feed: Arc<RouteFeed>,
    pace: Pace,
    ticked: Instant,
    swept: Instant,
    meter: Arc<ForwarderMeter>,
    taken: u64,
    refused: u64,
}

/// The latest of each kind that a session has not been told yet.
#[derive(Default)]
struct News {
    path: Option<Option<VoicePath>>,
    speaking: Option<bool>,
    withheld: Option<bool>,
}

impl Shell {
    fn new(
        socket: std::net::UdpSocket,
        feed: Arc<RouteFeed>,
        probes: ProbeSource,
        meter: Arc<ForwarderMeter>,
        hold: Hold,
    ) -> io::Result<Self> {
        let receiver = receiver(&socket);
        let transmitter = Transmitter::segmenting(&socket);
        tracing::info!(
            receive_buffer = crate::net::udp::receive_buffer_bytes(&socket),
            segments = transmitter.segments_max(),
            "a forwarder has its socket"
        );
        let (mut out, mut answers, now) = (Outputs::default(), SendQueue::default(), clock::now());
        for queue in [&mut out.queue, &mut answers] {
            queue.set_segments_max(transmitter.segments_max());
        }
        let mut shell = Self {
            core: ForwarderCore::new(probes),
            sessions: HashMap::new(),
            bases: HashMap::new(),
            out,
            answers,
            undelivered: BTreeMap::new(),
            transmitter,
            receiver,
            socket: VoiceSocket::new(socket)?,
            feed,
            pace: Pace::new(hold, now),
            ticked: now,
            swept: now,
            meter,
            taken: 0,
            refused: 0,
        };
        shell.heed_refusal();
        Ok(shell)
    }

    /// Waits until there is something to do, and then for the end of the hold.
    async fn ready(&self, more: bool) -> io::Result<()> {
        if more {
            return Ok(());
        }
        self.socket.readable().await?;
        let wait = self.pace.wait(clock::now());
        if !wait.is_zero() {
            // The thread is this forwarder's alone, and the runtime's timers are too coarse.
            std::thread::sleep(wait);
        }
        Ok(())
    }

    fn take_routes(&mut self) {
        let now = clock::now();
        let update = self.feed.take();
        for (session, (base, route)) in update.sessions {
            match route {
                Some((route, notices)) => {
                    self.sessions.insert(session, notices);
                    self.bases.insert(session, base);
                    self.core.add_session(route, now);
                }
                None => {
                    self.sessions.remove(&session);
                    self.bases.remove(&session);
                    self.undelivered.remove(&session);
                    self.core.remove_session(base);
                }
            }
        }
        for (id, routes) in update.rooms {
            self.core.set_room(id, routes);
        }
        self.taken = update.version;
        self.feed.confirm(update.version);
    }

    /// Receives what waits, up to a bound, and sends what it leads to, up to a bound. Whether there is more to do.
    fn work(&mut self) -> bool {
        let began = clock::now();
        let (full, now) = self.receive(began);
        self.tell_news();
        std::mem::swap(&mut self.out.queue, &mut self.answers);
        let waiting = self.forward(now);
        std::mem::swap(&mut self.out.queue, &mut self.answers);
        self.flush();
        let ended = clock::now();
        self.pace.worked(began, ended);
        if ended >= self.ticked + TICK {
            self.tick(ended);
        }
        full || waiting
    }

    /// Whether more may wait in the socket, and the time.
    fn receive(&mut self, mut now: Instant) -> (bool, Instant) {
        for round in 0..RECEIVE_LOOP_MAX / RECEIVE_BATCH {
            if self.feed.published() != self.taken {
                self.take_routes();
            }
            let count = match self.receiver.receive(&self.socket) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (false, now),
                // An ICMP error of an earlier send, reported here by some systems.
                Err(_) => continue,
            };
            if round > 0 {
                now = clock::now();
            }
            let unix_ns = clock::unix_ns();
            let Self { receiver, core, out, .. } = self;
            receiver.for_each(count, |arrival, datagram| {
                let waited = Duration::from_nanos(unix_ns.saturating_sub(arrival.at_ns));
                // No time of arrival, or one by another wall clock than ours.
                let known = arrival.at_ns > 0 && waited <= ARRIVAL_AGE_MAX;
                let waited = if known { waited } else { Duration::ZERO };
                let arrived = now.checked_sub(waited).unwrap_or(now);
                core.handle_arrived(Origin::Udp(arrival.from), datagram, (arrived, now), out);
            });
            if !self.receiver.was_full() {
                return (false, now);
            }
        }
        (true, now)
    }

    /// Sends copies of the voice that waits. Whether more of it does.
    fn forward(&mut self, now: Instant) -> bool {
        if !self.core.is_waiting() {
            return false;
        }
        // A moment old at most: what has changed meanwhile counts.
        if self.feed.published() != self.taken {
            self.take_routes();
        }
        let Self { core, out, transmitter, socket, refused, .. } = self;
        let more = core.forward(now, out, |queue| {
            let sent = transmitter.send(socket.socket(), queue);
            *refused += u64::try_from(sent.refused).unwrap_or(0);
        });
        self.flush();
        more
    }

    /// Goes on without segments where the kernel or a device refuses them, and says so once.
    fn heed_refusal(&mut self) {
        if let Some(error) = self.transmitter.take_refusal() {
            tracing::warn!("voice is sent datagram by datagram: no UDP_SEGMENT here: {error}");
            for queue in [&mut self.out.queue, &mut self.answers] {
                queue.set_segments_max(self.transmitter.segments_max());
            }
        }
    }

    fn handle_stream(&mut self, mut datagram: StreamDatagram) {
        if self.feed.published() != self.taken {
            self.take_routes();
        }
        // A session speaks inside its own connection as itself alone.
        let own = self.bases.get(&datagram.session).copied();
        let claimed = crate::net::rtp::peek_ssrc(&datagram.bytes);
        if let (Some(own), Some(claimed)) = (own, claimed)
            && claimed.0 / crate::net::ids::SSRCS_PER_SESSION
                == own.0 / crate::net::ids::SSRCS_PER_SESSION
        {
            let origin = Origin::Stream(datagram.session);
            self.core.handle_datagram(origin, &mut datagram.bytes, clock::now(), &mut self.out);
        }
    }

    /// What time brings by itself.
    fn tick(&mut self, now: Instant) {
        self.ticked = now;
        self.core.handle_timeout(now, &mut self.out);
        if now >= self.swept + SWEEP {
            self.swept = now;
            self.core.sweep(now, &mut self.out);
        }
        self.flush();
        self.meter.write(&self.core, self.refused, self.receiver.drops());
        for (session, news) in std::mem::take(&mut self.undelivered) {
            if let Some(path) = news.path {
                self.tell(session, VoiceNotice::Path(path));
            }
            if let Some(speaking) = news.speaking {
                self.tell(session, VoiceNotice::Speaking(speaking));
            }
            if let Some(withheld) = news.withheld {
                self.tell(session, VoiceNotice::Withheld(withheld));
            }
        }
    }

    /// Delivers what the core decided. News first: whoever hears an answer of ours may rely on
    /// the news behind it being on its way to the session.
    fn flush(&mut self) {
        self.tell_news();
        if !self.out.queue.is_empty() {
            let sent = self.transmitter.send(self.socket.socket(), &mut self.out.queue);
            self.refused += u64::try_from(sent.refused).unwrap_or(0);
        }
        self.heed_refusal();
    }

    fn tell_news(&mut self) {
        if !self.out.notices.is_empty() {
            let mut notices = std::mem::take(&mut self.out.notices);
            for (session, notice) in notices.drain(..) {
                self.tell(session, notice);
            }
            self.out.notices = notices;
        }
    }

    /// Tells a session; when its mailbox is full, the latest of each kind is tried again at the next tick.
    fn tell(&mut self, session: SessionId, notice: VoiceNotice) {
        let Some(recipient) = self.sessions.get(&session) else { return };
        if let Err(SendError::Full(notice)) = recipient.try_send(notice) {
            let news = self.undelivered.entry(session).or_default();
            match notice {
                VoiceNotice::Path(path) => news.path = Some(path),
                VoiceNotice::Speaking(speaking) => news.speaking = Some(speaking),
                VoiceNotice::Withheld(withheld) => news.withheld = Some(withheld),
            }
        }
    }
}
