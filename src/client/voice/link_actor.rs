//! The link actor: the UDP socket, the link core, and the ring to playback.
//!
//! Datagrams are read by a task of their own on the actor's thread, not through the mailbox. The mailbox
//! carries `Wake` (commands wait in the shared queue; a full mailbox means that one is already on its way).

use super::capture_actor::Stop;
use super::link::{Action, Arrival, Link, LinkFigures, Way};
use super::playback::ToPlayback;
use super::shared::{Command, Outbox, Shared};
use super::{VoiceEvent, VoicePath, VoiceSession};
use crate::net::clock;
use crate::net::ids::MemberId;
use crate::net::limits::{CLIENT_MAILBOX, DATAGRAM_BYTES_MAX, RECEIVE_LOOP_MAX, VOICE_NEWS_MAX};
use crate::net::protect::Sealer;
use crate::net::rtcp::Probe;
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use rtrb::{Consumer, Producer};
use socket2::{Domain, Protocol, Socket, Type};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How often probes, reports and expiry are looked at.
const TICK: Duration = Duration::from_millis(25);
/// Receive buffer asked for, in bytes.
const RECEIVE_BUFFER: usize = 1 << 20;
/// A path without proof for this long gets a new socket, as often.
const REOPEN: Duration = Duration::from_secs(5);
/// Places in the ring that voice leaves free for news of the room.
const RING_RESERVE: usize = 64;

/// The actor.
pub struct LinkActor {
    shell: Rc<RefCell<Shell>>,
}

/// Commands wait in the shared queue.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Wake;

/// Asks for figures.
#[derive(Debug, Message)]
#[rtype(result = "LinkReport")]
pub struct AskLink;

/// Figures of the link.
#[derive(Debug, Clone, Default, PartialEq, actix::MessageResponse)]
pub struct LinkReport {
    /// Way of voice.
    pub path: Option<VoicePath>,
    /// Counters.
    pub figures: LinkFigures,
    /// How the voice of each member arrives.
    pub arrivals: BTreeMap<MemberId, Arrival>,
}

struct Shell {
    shared: Arc<Shared>,
    core: Link,
    ring: Producer<ToPlayback>,
    /// Buffers of payloads that playback has read.
    emptied: Consumer<Vec<u8>>,
    actions: Vec<Action>,
    /// News of the room that found the ring full; voice waits behind it.
    news: VecDeque<ToPlayback>,
    outbox: Outbox,
    server: Option<SocketAddr>,
    socket: Option<Arc<UdpSocket>>,
    opened_at: Option<Instant>,
    receiver: Option<JoinHandle<()>>,
    /// Packets that playback did not take in time, and errors of the socket.
    overflow: u64,
    errors: u64,
}

impl LinkActor {
    /// An actor without a session.
    #[must_use]
    pub fn new(
        shared: Arc<Shared>,
        ring: Producer<ToPlayback>,
        emptied: Consumer<Vec<u8>>,
        outbox: Outbox,
    ) -> Self {
        Self {
            shell: Rc::new(RefCell::new(Shell {
                shared,
                core: Link::default(),
                ring,
                emptied,
                actions: Vec::new(),
                news: VecDeque::new(),
                outbox,
                server: None,
                socket: None,
                opened_at: None,
                receiver: None,
                overflow: 0,
                errors: 0,
            })),
        }
    }

    fn tick(&mut self) {
        let now = clock::now();
        let mut shell = self.shell.borrow_mut();
        let sent = *shell.shared.sent();
        shell.core.tick(sent, now, &mut fresh_probe);
        shell.act();
        let stale = shell.core.unproven_for(now).is_some_and(|time| time > REOPEN)
            && shell.opened_at.is_some_and(|at| now.saturating_duration_since(at) > REOPEN);
        let missing = shell.server.is_some() && shell.socket.is_none();
        drop(shell);
        if stale || missing {
            self.open_socket();
        }
    }

    fn run_commands(&mut self) {
        let commands = self.shell.borrow().shared.take_commands();
        for command in commands {
            let now = clock::now();
            let mut shell = self.shell.borrow_mut();
            match command {
                Command::Connect(session) => {
                    shell.connect(&session, now);
                    drop(shell);
                    self.open_socket();
                    shell = self.shell.borrow_mut();
                    let sent = *shell.shared.sent();
                    shell.core.tick(sent, now, &mut fresh_probe);
                }
                Command::Disconnect => shell.disconnect(),
                Command::EnterRoom(members) => shell.core.enter_room(&members, now),
                Command::LeaveRoom => shell.core.leave_room(),
                Command::Member(member) => shell.core.member(&member, now),
                Command::MemberLeft(id) => shell.core.member_left(id),
                Command::FromServer(mut datagram) => {
                    shell.core.datagram(Way::Stream, &mut datagram, now);
                }
                Command::AllowStream(on) => shell.core.allow_stream(on, now),
            }
            shell.act();
        }
    }

    /// Opens a socket to the server and starts to read it; the one before is closed.
    fn open_socket(&mut self) {
        let mut shell = self.shell.borrow_mut();
        shell.close_socket();
        shell.opened_at = Some(clock::now());
        let Some(server) = shell.server else { return };
        let opened = open(server).and_then(|socket| {
            let reader = tokio::net::UdpSocket::from_std(socket.try_clone()?)?;
            Ok((Arc::new(socket), reader))
        });
        match opened {
            Ok((socket, reader)) => {
                shell.socket = Some(socket.clone());
                shell.shared.uplink().socket = Some(socket);
                shell.receiver =
                    Some(tokio::task::spawn_local(receive(self.shell.clone(), reader)));
            }
            Err(error) => {
                shell.errors += 1;
                tracing::warn!(%server, %error, "no socket for voice");
            }
        }
    }
}

impl Shell {
    fn connect(&mut self, session: &VoiceSession, now: Instant) {
        let known = self.core.connect(session, now);
        if !known {
            tracing::error!(protection = ?session.protection, "voice cannot be protected");
        }
        self.server = known.then_some(session.server);
        *self.shared.sent() = super::link::Sent::default();
        let mut uplink = self.shared.uplink();
        uplink.generation += 1;
        let sealer = Sealer::new(session.protection, &session.up_key).ok();
        let streams = Some(session.streams.clone()).filter(|_| known);
        uplink.session = streams.zip(sealer);
    }

    fn disconnect(&mut self) {
        self.core.disconnect();
        self.server = None;
        self.close_socket();
        let mut uplink = self.shared.uplink();
        uplink.generation += 1;
        uplink.session = None;
    }

    fn close_socket(&mut self) {
        if let Some(receiver) = self.receiver.take() {
            receiver.abort();
        }
        self.socket = None;
        self.shared.uplink().socket = None;
    }

    /// Carries out what the core wants.
    fn act(&mut self) {
        while let Ok(payload) = self.emptied.pop() {
            self.core.recycle(payload);
        }
        let mut actions = std::mem::take(&mut self.actions);
        self.core.swap_actions(&mut actions);
        for action in actions.drain(..) {
            match action {
                Action::Send(Way::Datagram, datagram) => self.send(&datagram),
                Action::Send(Way::Stream, datagram) => {
                    self.outbox.push(VoiceEvent::ToServer { datagram, at: clock::now() });
                }
                Action::Play(item) => self.play(item),
                Action::Heed(conditions) => self.shared.heed(conditions),
                Action::Tell(event) => {
                    if let VoiceEvent::Path(path) = event {
                        self.shared.uplink().stream = path == VoicePath::Stream;
                    }
                    self.outbox.push(event);
                }
            }
        }
        self.actions = actions;
        self.flush_news();
        self.outbox.flush();
    }

    fn send(&mut self, datagram: &[u8]) {
        if let Some(socket) = &self.socket
            && socket.send(datagram).is_err()
        {
            self.errors += 1;
        }
    }

    /// Hands an item to playback. News of the room is never lost, voice is when playback is stuck.
    fn play(&mut self, item: ToPlayback) {
        self.flush_news();
        let voice = matches!(item, ToPlayback::Packet(_));
        let room = self.ring.slots();
        if voice && (!self.news.is_empty() || room <= RING_RESERVE) {
            self.overflow += 1;
        } else if voice || (self.news.is_empty() && room > 0) {
            // There is room: only this thread fills the ring.
            let _ = self.ring.push(item);
        } else {
            if matches!(item, ToPlayback::Room(_)) || self.news.len() >= VOICE_NEWS_MAX {
                self.news.clear();
            }
            self.news.push_back(item);
        }
    }

    fn flush_news(&mut self) {
        while self.ring.slots() > 0 {
            let Some(item) = self.news.pop_front() else { return };
            let _ = self.ring.push(item);
        }
    }
}

/// Reads datagrams as they come.
async fn receive(shell: Rc<RefCell<Shell>>, socket: tokio::net::UdpSocket) {
    let mut buffer = [0u8; 2048];
    loop {
        if socket.readable().await.is_err() {
            tokio::time::sleep(TICK).await;
            continue;
        }
        for _ in 0..RECEIVE_LOOP_MAX {
            match socket.try_recv(&mut buffer) {
                Ok(length) => {
                    let Some(datagram) = buffer.get_mut(..length) else { continue };
                    if length <= DATAGRAM_BYTES_MAX {
                        let mut shell = shell.borrow_mut();
                        shell.core.datagram(Way::Datagram, datagram, clock::now());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    // Nobody listens there (yet): counted, and asked again by the next probe.
                    shell.borrow_mut().errors += 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    break;
                }
            }
        }
        shell.borrow_mut().act();
        tokio::task::yield_now().await;
    }
}

/// A socket of the server's address family, connected to it.
fn open(server: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(server), Type::DGRAM, Some(Protocol::UDP))?;
    // What the system gives is good enough.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.set_nonblocking(true)?;
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    socket.bind(&any.into())?;
    socket.connect(&server.into())?;
    Ok(socket.into())
}

fn fresh_probe() -> Probe {
    let mut probe = Probe::default();
    if let Err(error) = getrandom::fill(&mut probe) {
        tracing::error!(%error, "no random numbers for a probe");
    }
    probe
}

impl Actor for LinkActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.set_mailbox_capacity(CLIENT_MAILBOX);
        context.run_interval(TICK, |actor, _| actor.tick());
    }
}

impl Handler<Wake> for LinkActor {
    type Result = ();

    fn handle(&mut self, _: Wake, _: &mut Context<Self>) {
        self.run_commands();
    }
}

impl Handler<AskLink> for LinkActor {
    type Result = LinkReport;

    fn handle(&mut self, _: AskLink, _: &mut Context<Self>) -> LinkReport {
        let shell = self.shell.borrow();
        let mut figures = shell.core.figures().clone();
        figures.dropped += shell.overflow;
        LinkReport { path: Some(shell.core.path()), figures, arrivals: shell.core.arrivals() }
    }
}

impl Handler<Stop> for LinkActor {
    type Result = ();

    fn handle(&mut self, _: Stop, context: &mut Context<Self>) {
        let mut shell = self.shell.borrow_mut();
        shell.disconnect();
        shell.act();
        drop(shell);
        context.stop();
    }
}
