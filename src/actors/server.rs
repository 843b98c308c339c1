//! Starting and stopping: sockets, forwarders, the lobby, the door.

use super::access::gate::{FirstInvites, Gate, GateError};
use super::connection::door::{self, Security};
use super::connection::{Caller, Reception, serve};
use super::control_socket::{ControlSocket, refused};
use super::forwarder::core::ProbeSource;
use super::forwarder::pace::Hold;
use super::forwarder::{Forwarder, ForwarderMeter, Parts, Stop, Traffic};
use super::limits::Limits;
use super::lobby::moderation::{Command, Roll, RollCall};
use super::lobby::{Census, CloseAll, Lobby};
use super::public;
use super::routes::{Routes, StreamDatagram};
use crate::net::address::HostPort;
use crate::net::clock;
use crate::net::fingerprint::Fingerprint;
use crate::net::invite::Issuer;
use crate::net::limits::{FORWARDERS_MAX, GOODBYE_TIMEOUT, STREAM_DATAGRAMS_MAX};
use crate::net::message::{ErrorCode, Protection, ServerMessage};
use crate::net::moderation::{AdminReply, AdminRequest, VoiceCounts};
use crate::net::protect::{KeyError, Opener};
use crate::net::secret::{NoRandomness, Password, Secret};
use crate::net::stream_voice;
use crate::net::udp;
use actix::prelude::*;
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

/// Pause after a connection could not be accepted, most often for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often a stopping server looks whether everyone has gone.
const STOP_POLL: Duration = Duration::from_millis(10);

/// What a server is started with.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where the control connection is listened for.
    pub tcp: SocketAddr,
    /// Where voice is listened for.
    pub udp: SocketAddr,
    /// Forwarders; one for each core if left out.
    pub forwarders: Option<usize>,
    /// How control connections are secured.
    pub security: Security,
    /// What the server knows of people, and where that is kept.
    pub keeping: Keeping,
    /// What one client, address or room may ask.
    pub limits: Arc<Limits>,
    /// How voice is protected: SRTP, unless someone wants it otherwise.
    pub protection: Protection,
    /// Whether forwarders wait a little, so that packets go together.
    pub hold: Hold,
}

/// What a server knows of people, and where that is kept.
#[derive(Debug, Clone, Default)]
pub struct Keeping {
    /// The store's file; with none, nothing outlives the process.
    pub store: Option<PathBuf>,
    /// Needed to come in, by whoever has no invite.
    pub password: Option<Password>,
    /// How friends outside reach the server; guessed if left out.
    pub public: Option<HostPort>,
    /// The server's key, for invites, unless its certificate speaks for itself.
    pub fingerprint: Option<Fingerprint>,
}

impl ServerConfig {
    /// A server that listens at these addresses, in the plain form, everything else as by default.
    #[must_use]
    pub fn new(tcp: SocketAddr, udp: SocketAddr, forwarders: Option<usize>) -> Self {
        Self {
            tcp,
            udp,
            forwarders,
            security: Security::Plain,
            keeping: Keeping::default(),
            limits: Arc::default(),
            protection: Protection::AeadAes128Gcm,
            hold: Hold::default(),
        }
    }
}

impl ServerConfig {
    /// What stands in invites, if there are any: a token is worth nothing where everyone can read it.
    fn issuer(&self, tcp: SocketAddr) -> Option<Issuer> {
        let Keeping { public, fingerprint, .. } = &self.keeping;
        let server = public::address(public.as_ref(), tcp);
        let issuer = Issuer { server, fingerprint: *fingerprint };
        matches!(self.security, Security::Tls(_)).then_some(issuer)
    }
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {transport} {address}: {why}")]
    Bind {
        /// TCP or UDP.
        transport: &'static str,
        /// Which address.
        address: SocketAddr,
        /// Why, and what to do.
        why: String,
    },
    /// The system has no randomness.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The store, or what is to be written to it.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// Voice cannot be protected in the way that was asked for.
    #[error("voice cannot be protected: {0}")]
    Protection(#[from] KeyError),
}

/// A running server.
pub struct Server {
    tcp: SocketAddr,
    udp: SocketAddr,
    note: Option<String>,
    invites: FirstInvites,
    reception: Rc<Reception>,
    forwarders: Vec<(Addr<Forwarder>, Arbiter)>,
    meters: Vec<Arc<ForwarderMeter>>,
    door: actix_rt::task::JoinHandle<()>,
    died: Arc<Notify>,
    public: HostPort,
    fingerprint: Option<Fingerprint>,
    control: RefCell<Option<actix_rt::task::JoinHandle<()>>>,
}

fn bind_error(transport: &'static str, address: SocketAddr, error: &io::Error) -> StartError {
    let flag = transport.to_lowercase();
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "the port is in use; stop the other program or choose another with --{flag} HOST:PORT"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("this machine has no such address; choose one with --{flag} HOST:PORT")
        }
        io::ErrorKind::PermissionDenied => {
            format!("not permitted; choose a port above 1023 with --{flag} HOST:PORT")
        }
        _ => error.to_string(),
    };
    StartError::Bind { transport, address, why }
}

fn total(meters: &[Arc<ForwarderMeter>]) -> Traffic {
    meters.iter().map(|meter| meter.read()).fold(Traffic::default(), |sum, more| sum + more)
}

fn voice_counts(Traffic { counters, refused, overflowed }: Traffic) -> VoiceCounts {
    VoiceCounts {
        accepted: counters.accepted,
        forwarded: counters.forwarded,
        stale: counters.stale,
        withheld: counters.withheld,
        refused,
        overflowed,
    }
}

fn probe_source() -> ProbeSource {
    Box::new(|| {
        // Without randomness no challenge can be answered by chance either: all-zero is never sent
        // twice to different addresses as a proof, because it is compared with a live challenge only.
        Secret::<8>::random().map(|secret| *secret.expose()).unwrap_or_default()
    })
}

impl Server {
    /// Starts a server inside the running actix system.
    ///
    /// # Errors
    /// An address cannot be bound.
    pub async fn start(config: ServerConfig) -> Result<Self, StartError> {
        let listener = TcpListener::bind(config.tcp)
            .await
            .map_err(|error| bind_error("TCP", config.tcp, &error))?;
        let tcp = listener.local_addr().map_err(|error| bind_error("TCP", config.tcp, &error))?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let wanted = config.forwarders.unwrap_or(cores).clamp(1, FORWARDERS_MAX);
        let group = udp::bind_group(config.udp, wanted)
            .map_err(|error| bind_error("UDP", config.udp, &error))?;
        let random = Secret::<4>::random()?;
        // Before any thread is started: what is refused here leaves nothing behind.
        let issuer = config.issuer(tcp);
        let public = public::address(config.keeping.public.as_ref(), tcp);
        let fingerprint = config.keeping.fingerprint;
        let limits = config.limits;
        let Keeping { store, password, .. } = config.keeping;
        let mut gate = Gate::from_store(store, password, issuer).await?;
        let invites = gate.first_invites(clock::unix_ms()).await?;
        let hasher = gate.hasher.clone();
        Opener::new(config.protection, &Secret::random()?)?;
        let routes = Routes::new(group.sockets.len());
        let died = Arc::new(Notify::new());
        let mut forwarders = Vec::new();
        let mut meters = Vec::new();
        let mut streams = Vec::new();
        for (socket, feed) in group.sockets.into_iter().zip(routes.feeds()) {
            let meter = Arc::new(ForwarderMeter::default());
            let (sender, receiver) = mpsc::channel::<StreamDatagram>(STREAM_DATAGRAMS_MAX);
            let on_death = {
                let died = Arc::clone(&died);
                Box::new(move || died.notify_one())
            };
            let parts = Parts {
                socket,
                feed: Arc::clone(feed),
                streams: receiver,
                probes: probe_source(),
                meter: Arc::clone(&meter),
                hold: config.hold,
                on_death,
            };
            let arbiter = Arbiter::new();
            let addr =
                Forwarder::start_in_arbiter(&arbiter.handle(), move |_| Forwarder::new(parts));
            forwarders.push((addr, arbiter));
            meters.push(meter);
            streams.push(sender);
        }
        let lobby = Lobby::new(
            u32::from_be_bytes(*random.expose()),
            routes.clone(),
            gate,
            Arc::clone(&limits),
        )
        .start();
        let udp = group.address;
        let (port, protection) = (udp.port(), config.protection);
        let reception = Reception::new(lobby, routes, streams, port, hasher, limits, protection);
        let reception = Rc::new(reception);
        let door = actix_rt::spawn(accept(listener, Rc::clone(&reception), config.security));
        let note = group.fallback;
        let control = RefCell::default();
        Ok(Self {
            tcp,
            udp,
            note,
            invites,
            reception,
            forwarders,
            meters,
            door,
            died,
            public,
            fingerprint,
            control,
        })
    }

    /// Where the control connection is listened for.
    #[must_use]
    pub fn tcp(&self) -> SocketAddr {
        self.tcp
    }

    /// Where voice is listened for.
    #[must_use]
    pub fn udp(&self) -> SocketAddr {
        self.udp
    }

    /// Invites that were made at this start, for whoever started the server.
    #[must_use]
    pub fn invites(&self) -> &FirstInvites {
        &self.invites
    }

    /// How many forwarders there are, and why not as many as wanted, if so.
    #[must_use]
    pub fn forwarders(&self) -> (usize, Option<&str>) {
        (self.forwarders.len(), self.note.as_deref())
    }

    /// Serves one more control connection, over any stream, as it is: the server's own security is
    /// for those that it accepts itself.
    pub fn connect<S: AsyncRead + AsyncWrite + 'static>(&self, stream: S, caller: Caller) {
        actix_rt::spawn(serve(Rc::clone(&self.reception), stream, caller));
    }

    /// Answers the sub-commands of the server's owner at this control socket. It closes when the
    /// server stops, or when another is opened.
    pub fn open_control(&self, socket: ControlSocket) {
        let (lobby, meters) = (self.reception.lobby.clone(), self.meters.clone());
        let (tcp, udp) = (self.tcp.to_string(), self.udp.to_string());
        let (public, fingerprint) = (self.public.to_string(), self.fingerprint);
        let serving = actix_rt::spawn(socket.serve(move |request| {
            let (lobby, meters) = (lobby.clone(), meters.clone());
            let (tcp, udp, public) = (tcp.clone(), udp.clone(), public.clone());
            async move {
                match request {
                    AdminRequest::Status => match lobby.send(Roll).await {
                        Ok(RollCall { rooms, elsewhere, users }) => AdminReply::Status {
                            users: u64::try_from(users).unwrap_or(u64::MAX),
                            datagrams: total(&meters).counters.received,
                            voice: Some(voice_counts(total(&meters))),
                            agent: concat!("parlor-server/", env!("CARGO_PKG_VERSION")).to_owned(),
                            tcp,
                            udp,
                            public,
                            fingerprint: fingerprint.map(|fingerprint| fingerprint.to_string()),
                            rooms,
                            elsewhere,
                        },
                        Err(_) => refused(ErrorCode::Busy),
                    },
                    AdminRequest::Moderate { order } => match lobby.send(Command(order)).await {
                        Ok(ServerMessage::Report { report }) => AdminReply::Report { report },
                        Ok(ServerMessage::Error { code, args }) => AdminReply::Error { code, args },
                        Ok(_) | Err(_) => refused(ErrorCode::Busy),
                    },
                    AdminRequest::Unknown => refused(ErrorCode::UnknownType),
                }
            }
        }));
        if let Some(before) = self.control.replace(Some(serving)) {
            before.abort();
        }
    }

    /// Sessions, rooms and open connections.
    pub async fn census(&self) -> (usize, usize, usize) {
        let (sessions, rooms) = self.reception.lobby.send(Census).await.unwrap_or_default();
        (sessions, rooms, self.reception.open())
    }

    /// Sessions and rooms that each forwarder holds; half a second old at most.
    #[must_use]
    pub fn held(&self) -> Vec<(usize, usize)> {
        self.meters.iter().map(|meter| meter.held()).collect()
    }

    /// What all forwarders have counted; half a second old at most.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        total(&self.meters)
    }

    /// Returns when a forwarder has ended by itself, which is a fault: the server cannot go on.
    pub async fn died(&self) {
        self.died.notified().await;
    }

    /// Tells every client that the server stops, waits for them a little, and ends all threads.
    pub async fn stop(self) {
        self.door.abort();
        if let Some(control) = self.control.take() {
            control.abort();
            // Its file is gone when this returns.
            let _ = control.await;
        }
        self.reception.close_half_open();
        let _ = self.reception.lobby.send(CloseAll).await;
        let gone = async {
            while self.reception.open() > 0 {
                tokio::time::sleep(STOP_POLL).await;
            }
        };
        let _ = tokio::time::timeout(GOODBYE_TIMEOUT + STOP_POLL, gone).await;
        for (addr, arbiter) in self.forwarders {
            let _ = addr.send(Stop).await;
            arbiter.stop();
            let _ = arbiter.join();
        }
    }
}

async fn accept(listener: TcpListener, reception: Rc<Reception>, security: Security) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                stream_voice::tune(&stream);
                let address = Some(from.ip().to_canonical());
                let caller = Caller { address, ..Caller::default() };
                let (reception, security) = (Rc::clone(&reception), security.clone());
                actix_rt::spawn(door::open(reception, security, stream, caller));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
