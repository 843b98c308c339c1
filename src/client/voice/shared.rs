//! What the handle, the three actors and their threads share: latest-value cells, the uplink, and the
//! commands on their way to the link.
//!
//! Sound callbacks see none of this. Locks here are held for a few instructions by worker threads.

use super::chain::ChainSettings;
use super::chain::gate::Transmit;
use super::desk::DeviceDesk;
use super::link::Sent;
use super::loudness::Volumes;
use super::recording::Recorder;
use super::redundancy::Conditions;
use super::sending::Sending;
use super::sounds::SoundBoard;
use super::trial::TrialDesk;
use super::{VoiceEvent, VoicePath, VoiceSession};
use crate::net::ids::MemberId;
use crate::net::limits::{CLIENT_MAILBOX, STREAM_VOICE_PACKETS_MAX, VOICE_COMMANDS_MAX};
use crate::net::message::{MemberInfo, StreamGrant};
use crate::net::protect::Sealer;
use std::collections::VecDeque;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// A command to the link. All of them keep their order.
#[derive(Debug)]
pub enum Command {
    /// A session has begun.
    Connect(Box<VoiceSession>),
    /// It is over.
    Disconnect,
    /// These members and no others are in the room.
    EnterRoom(Vec<MemberInfo>),
    /// We are in no room.
    LeaveRoom,
    /// A member has come or changed.
    Member(Box<MemberInfo>),
    /// A member has left.
    MemberLeft(MemberId),
    /// A datagram from the control connection.
    FromServer(Vec<u8>),
    /// Voice may go through the control connection.
    AllowStream(bool),
}

/// Where capture sends packets.
#[derive(Debug, Default)]
pub struct Uplink {
    /// Changes with every session.
    pub generation: u64,
    /// Streams and protection of the session, if there is one.
    pub session: Option<(Vec<StreamGrant>, Sealer)>,
    /// Socket connected to the server.
    pub socket: Option<Arc<UdpSocket>>,
    /// Packets go through the control connection instead.
    pub stream: bool,
}

/// How loud the user wants whom, for playback: the latest counts.
#[derive(Debug, Default)]
pub struct Wishes {
    fresh: AtomicBool,
    wanted: Mutex<(Volumes, bool)>,
}

impl Wishes {
    /// Members are wanted so loud.
    pub fn set_volumes(&self, volumes: Volumes) {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).0 = volumes;
        self.fresh.store(true, Ordering::Release);
    }

    /// Speakers are brought near to one loudness, or not.
    pub fn set_levelling(&self, on: bool) {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).1 = on;
        self.fresh.store(true, Ordering::Release);
    }

    /// Volumes and levelling, if either is new.
    pub fn take(&self) -> Option<(Volumes, bool)> {
        let fresh = self.fresh.swap(false, Ordering::AcqRel);
        fresh.then(|| self.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// The shared state.
#[derive(Debug, Default)]
pub struct Shared {
    transmit: AtomicU8,
    openings: AtomicU64,
    shuts: AtomicU64,
    deafened: AtomicBool,
    no_opus: AtomicBool,
    sending: Mutex<Sending>,
    chain: Mutex<ChainSettings>,
    conditions: Mutex<Option<Conditions>>,
    uplink: Mutex<Uplink>,
    sent: Mutex<Sent>,
    commands: Mutex<VecDeque<Command>>,
    /// How loud the user wants whom.
    pub wishes: Wishes,
    /// Recordings.
    pub recorder: Recorder,
    /// Our own sounds.
    pub sounds: SoundBoard,
    /// Hearing ourselves.
    pub trial: TrialDesk,
    /// Devices that are chosen, and those that are open.
    pub devices: DeviceDesk,
}

impl Shared {
    /// What the microphone is meant to do from now on.
    pub fn set_transmit(&self, to: Transmit) {
        let before = self.transmit.swap(to.to_bits(), Ordering::AcqRel);
        if to.is_on() && !Transmit::from_bits(before).is_on() {
            self.openings.fetch_add(1, Ordering::AcqRel);
        }
        if to == Transmit::Shut {
            self.shuts.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// How often the microphone was shut, also where it was before.
    pub fn shuts(&self) -> u64 {
        self.shuts.load(Ordering::Acquire)
    }

    /// What the microphone is meant to do, and how often it has been opened.
    pub fn transmit(&self) -> (Transmit, u64) {
        let transmit = Transmit::from_bits(self.transmit.load(Ordering::Acquire));
        (transmit, self.openings.load(Ordering::Acquire))
    }

    /// Plays nobody, or everybody again.
    pub fn set_deafened(&self, on: bool) {
        self.deafened.store(on, Ordering::Release);
    }

    /// Whether nobody is to be played.
    pub fn deafened(&self) -> bool {
        self.deafened.load(Ordering::Acquire)
    }

    /// Whether everyone in the room can decode Opus.
    pub fn set_opus_heard(&self, heard: bool) {
        self.no_opus.store(!heard, Ordering::Release);
    }

    /// Whether everyone in the room can decode Opus, as far as we know.
    pub fn opus_heard(&self) -> bool {
        !self.no_opus.load(Ordering::Acquire)
    }

    /// How we send.
    pub fn sending(&self) -> MutexGuard<'_, Sending> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which stages of the capture chain are switched on.
    pub fn chain(&self) -> MutexGuard<'_, ChainSettings> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// News of what the network does to our voice, for capture.
    pub fn heed(&self, conditions: Conditions) {
        *self.conditions.lock().unwrap_or_else(PoisonError::into_inner) = Some(conditions);
    }

    /// The latest of it since the last call.
    pub fn take_conditions(&self) -> Option<Conditions> {
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Where packets go.
    pub fn uplink(&self) -> MutexGuard<'_, Uplink> {
        self.uplink.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has been sent.
    pub fn sent(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a command. False if the queue is full and it is dropped.
    pub fn command(&self, command: Command) -> bool {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        let most = match command {
            Command::FromServer(_) => CLIENT_MAILBOX,
            _ => VOICE_COMMANDS_MAX,
        };
        let fits = commands.len() < most;
        if fits {
            commands.push_back(command);
        }
        fits
    }

    /// The commands since the last call, in order.
    pub fn take_commands(&self) -> VecDeque<Command> {
        std::mem::take(&mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Events on their way out. Where the receiver is slow, they wait here, in order and bounded.
#[derive(Debug)]
pub struct Outbox {
    sender: mpsc::Sender<VoiceEvent>,
    waiting: VecDeque<VoiceEvent>,
}

impl Outbox {
    /// Events go to this sender.
    #[must_use]
    pub fn new(sender: mpsc::Sender<VoiceEvent>) -> Self {
        Self { sender, waiting: VecDeque::new() }
    }

    /// Sends an event, or keeps it until `flush`. Voice that has to wait too long is dropped.
    pub fn push(&mut self, event: VoiceEvent) {
        let most = match event {
            VoiceEvent::ToServer { .. } => STREAM_VOICE_PACKETS_MAX,
            _ => CLIENT_MAILBOX,
        };
        if self.waiting.len() >= most {
            if let VoiceEvent::ToServer { .. } = event {
                return;
            }
            self.waiting.pop_front();
        }
        self.waiting.push_back(event);
        self.flush();
    }

    /// Tries again to send what waits.
    pub fn flush(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            match self.sender.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.waiting.push_front(event);
                    return;
                }
                Err(TrySendError::Closed(_)) => self.waiting.clear(),
            }
        }
    }
}

/// The name of a way of voice in figures.
#[must_use]
pub fn path_name(path: VoicePath) -> &'static str {
    match path {
        VoicePath::None => "none",
        VoicePath::Udp => "udp",
        VoicePath::Stream => "stream",
    }
}
