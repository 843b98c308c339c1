//! The forwarder actor: owns one socket and the streams steered to it.
//!
//! Its loop receives a batch, lets the core decide, sends a batch, and takes new routes in between.
//! Its mailbox sees only `Stop`. It must not look inside a payload, wait for anyone, or log per packet.

pub mod core;
mod reception;
#[cfg(test)]
mod tests;

use self::core::{Counters, ForwarderCore, Origin, Outputs, ProbeSource};
use super::routes::{RouteFeed, StreamDatagram, VoiceNotice, VoicePath};
use crate::net::clock;
use crate::net::ids::{SessionId, Ssrc};
use crate::net::limits::{FORWARDER_MAILBOX, RECEIVE_BATCH, RECEIVE_LOOP_MAX, SEND_BATCH};
use crate::net::udp::{Receiver, Transmitter};
use actix::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc};
use tokio::time::MissedTickBehavior;

const TICK: Duration = Duration::from_millis(100);
const TICKS_PER_SWEEP: u32 = 10;

/// Counters that a forwarder publishes from time to time.
#[derive(Debug, Default)]
pub struct ForwarderMeter {
    received: AtomicU64,
    accepted: AtomicU64,
    forwarded: AtomicU64,
    dropped: AtomicU64,
    refused: AtomicU64,
    sessions: AtomicUsize,
    rooms: AtomicUsize,
}

impl ForwarderMeter {
    /// Sessions and rooms held up to about now.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        (self.sessions.load(Ordering::Relaxed), self.rooms.load(Ordering::Relaxed))
    }

    /// What was counted up to about now, and how many copies the kernel refused.
    #[must_use]
    pub fn read(&self) -> (Counters, u64) {
        let counters = Counters {
            received: self.received.load(Ordering::Relaxed),
            accepted: self.accepted.load(Ordering::Relaxed),
            forwarded: self.forwarded.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        };
        (counters, self.refused.load(Ordering::Relaxed))
    }

    fn write(&self, core: &ForwarderCore, refused: u64) {
        let counters = core.counters();
        let (sessions, rooms) = core.sizes();
        self.sessions.store(sessions, Ordering::Relaxed);
        self.rooms.store(rooms, Ordering::Relaxed);
        self.received.store(counters.received, Ordering::Relaxed);
        self.accepted.store(counters.accepted, Ordering::Relaxed);
        self.forwarded.store(counters.forwarded, Ordering::Relaxed);
        self.dropped.store(counters.dropped, Ordering::Relaxed);
        self.refused.store(refused, Ordering::Relaxed);
    }
}

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
    let Parts { socket, feed, mut streams, probes, meter, on_death } = parts;
    let _deathbed =
        Deathbed { feed: Arc::clone(&feed), on_death: Some(on_death), stop: Arc::clone(&stop) };
    let socket = match UdpSocket::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%error, "a voice socket cannot be used");
            return;
        }
    };
    let mut shell = Shell {
        core: ForwarderCore::new(probes),
        sessions: HashMap::new(),
        bases: HashMap::new(),
        out: Outputs::default(),
        undelivered: BTreeMap::new(),
        transmitter: Transmitter::default(),
        socket,
        feed,
        taken: 0,
        refused: 0,
    };
    let mut receiver = Receiver::default();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ticks = 0u32;
    loop {
        tokio::select! {
            biased;
            () = stop.notified() => {
                // Deathbed looks for the permission to end.
                stop.notify_one();
                return;
            }
            () = shell.feed.changed() => shell.take_routes(),
            _ = tick.tick() => {
                ticks = ticks.wrapping_add(1);
                shell.tick(ticks.is_multiple_of(TICKS_PER_SWEEP));
                meter.write(&shell.core, shell.refused);
            }
            Some(datagram) = streams.recv() => {
                shell.handle_stream(datagram);
                // Both ways have their turn: nobody's stream keeps the socket waiting.
                shell.handle_readable(&mut receiver);
            }
            ready = shell.socket.readable() => {
                if let Err(error) = ready {
                    tracing::error!(%error, "the voice socket has failed");
                    return;
                }
                shell.handle_readable(&mut receiver);
            }
        }
    }
}

struct Shell {
    core: ForwarderCore,
    sessions: HashMap<SessionId, Recipient<VoiceNotice>>,
    bases: HashMap<SessionId, Ssrc>,
    out: Outputs,
    undelivered: BTreeMap<SessionId, News>,
    transmitter: Transmitter,
    socket: UdpSocket,
    feed: Arc<RouteFeed>,
    taken: u64,
    refused: u64,
}

/// The latest of each kind that a session has not been told yet.
#[derive(Default)]
struct News {
    path: Option<Option<VoicePath>>,
    speaking: Option<bool>,
}

impl Shell {
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

    fn handle_readable(&mut self, receiver: &mut Receiver) {
        for _ in 0..RECEIVE_LOOP_MAX / RECEIVE_BATCH {
            if self.feed.published() != self.taken {
                self.take_routes();
            }
            let count = match receiver.receive(&self.socket) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // An ICMP error of an earlier send, reported here by some systems.
                Err(_) => continue,
            };
            let now = clock::now();
            receiver.for_each(count, |from, datagram| {
                self.core.handle_datagram(Origin::Udp(from), datagram, now, &mut self.out);
                // A large room fills a system call with one packet's copies: out with them at once,
                // so that what waits stays small.
                if self.out.queue.len() >= SEND_BATCH {
                    self.flush();
                }
            });
            self.flush();
            if count < RECEIVE_BATCH {
                return;
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
            self.flush();
        }
    }

    fn tick(&mut self, sweep: bool) {
        let now = clock::now();
        self.core.handle_timeout(now, &mut self.out);
        if sweep {
            self.core.sweep(now, &mut self.out);
        }
        self.flush();
        for (session, news) in std::mem::take(&mut self.undelivered) {
            if let Some(path) = news.path {
                self.tell(session, VoiceNotice::Path(path));
            }
            if let Some(speaking) = news.speaking {
                self.tell(session, VoiceNotice::Speaking(speaking));
            }
        }
    }

    /// Delivers what the core decided. News first: whoever hears an answer of ours may rely on
    /// the news behind it being on its way to the session.
    fn flush(&mut self) {
        if !self.out.notices.is_empty() {
            let mut notices = std::mem::take(&mut self.out.notices);
            for (session, notice) in notices.drain(..) {
                self.tell(session, notice);
            }
            self.out.notices = notices;
        }
        if !self.out.queue.is_empty() {
            let sent = self.transmitter.send(&self.socket, &mut self.out.queue);
            self.refused += u64::try_from(sent.refused).unwrap_or(0);
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
            }
        }
    }
}
