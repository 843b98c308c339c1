//! The interface of the batches where there is no fast path: one datagram after the other.
//!
//! Tells no times of arrival, drops or destinations, and steers nothing.

use super::{Arrival, SLOT_BYTES, SendQueue, Sent, Watch};
use crate::net::limits::RECEIVE_BATCH;
use socket2::Socket;
use std::io;
use std::net::SocketAddr;
use tokio::net::UdpSocket;

/// Lets several sockets share a port; not here.
pub(super) fn share_port(_socket: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Keeps datagrams from being fragmented; what the system does by itself is left to it.
pub(super) fn never_fragment(_socket: &Socket) {}

/// Attaches the program that picks a socket; not here.
pub(super) fn steer(_socket: &Socket, _sockets: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Asks for a receive buffer of so many bytes. How many there are now.
pub fn receive_buffer<'s, S>(socket: &'s S, bytes: usize) -> usize
where
    socket2::SockRef<'s>: From<&'s S>,
{
    let socket = socket2::SockRef::from(socket);
    let _ = socket.set_recv_buffer_size(bytes);
    socket.recv_buffer_size().unwrap_or(0)
}

/// A socket registered with the runtime.
#[derive(Debug)]
pub struct VoiceSocket(UdpSocket);

impl VoiceSocket {
    /// Registers a socket that does not block.
    ///
    /// # Errors
    /// Those of the runtime.
    pub fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        Ok(Self(UdpSocket::from_std(socket)?))
    }

    /// Waits until something can be received.
    ///
    /// # Errors
    /// Those of the runtime.
    pub async fn readable(&self) -> io::Result<()> {
        self.0.readable().await
    }

    /// The socket itself.
    #[must_use]
    pub fn socket(&self) -> &UdpSocket {
        &self.0
    }
}

/// Room for one batch of received datagrams.
pub struct Receiver {
    slots: Vec<([u8; SLOT_BYTES], usize, Option<SocketAddr>)>,
    full: bool,
}

impl Default for Receiver {
    fn default() -> Self {
        Self { slots: vec![([0; SLOT_BYTES], 0, None); RECEIVE_BATCH], full: false }
    }
}

impl Receiver {
    /// A receiver; this system tells nothing beside the bytes.
    ///
    /// # Errors
    /// More was wanted.
    pub fn watching<S>(_socket: &S, _watch: Watch) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Receives what is queued, at most one batch; `WouldBlock` if nothing is.
    ///
    /// # Errors
    /// Those of the system.
    pub fn receive(&mut self, socket: &VoiceSocket) -> io::Result<usize> {
        self.fill(|slot| socket.0.try_recv_from(slot))
    }

    /// Receives from a socket of no runtime that does not block; `WouldBlock` if nothing is queued.
    ///
    /// # Errors
    /// Those of the system.
    pub fn receive_from(&mut self, socket: &std::net::UdpSocket) -> io::Result<usize> {
        self.fill(|slot| socket.recv_from(slot))
    }

    /// Receives one datagram from a socket that blocks.
    ///
    /// # Errors
    /// Those of the system.
    pub fn wait_from(&mut self, socket: &std::net::UdpSocket) -> io::Result<usize> {
        let mut first = true;
        self.fill(|slot| match std::mem::take(&mut first) {
            true => socket.recv_from(slot),
            false => Err(io::ErrorKind::WouldBlock.into()),
        })
    }

    /// Whether more may be queued than was received last.
    #[must_use]
    pub fn was_full(&self) -> bool {
        self.full
    }

    /// How many datagrams the socket has dropped; never known here.
    #[must_use]
    pub fn drops(&self) -> u32 {
        0
    }

    fn fill(
        &mut self,
        mut receive: impl FnMut(&mut [u8]) -> io::Result<(usize, SocketAddr)>,
    ) -> io::Result<usize> {
        let mut count = 0;
        self.full = false;
        for (slot, length, from) in &mut self.slots {
            match receive(slot) {
                Ok((n, address)) => (*length, *from) = (n, Some(address)),
                Err(error) if count == 0 => return Err(error),
                Err(_) => break,
            }
            count += 1;
        }
        self.full = count == RECEIVE_BATCH;
        Ok(count)
    }

    /// Calls `handle` with each of the first `count` datagrams and where it came from.
    pub fn for_each(&mut self, count: usize, mut handle: impl FnMut(Arrival, &mut [u8])) {
        for (slot, length, from) in self.slots.iter_mut().take(count) {
            if let (Some(from), Some(datagram)) = (*from, slot.get_mut(..*length)) {
                handle(Arrival { from, at_ns: 0, to: None }, datagram);
            }
        }
    }
}

/// A socket that sends one datagram without waiting.
pub trait SendOne {
    /// Sends one datagram.
    ///
    /// # Errors
    /// Those of the system.
    fn send_one(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize>;
}

impl SendOne for UdpSocket {
    fn send_one(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.try_send_to(datagram, to)
    }
}

impl SendOne for std::net::UdpSocket {
    fn send_one(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.send_to(datagram, to)
    }
}

/// Sends batches.
#[derive(Default)]
pub struct Transmitter {}

impl Transmitter {
    /// A transmitter; this system knows no segments, which is no news.
    pub fn segmenting<S>(_socket: &S) -> Self {
        Self::default()
    }

    /// How many datagrams to one receiver may go as one message.
    #[must_use]
    pub fn segments_max(&self) -> usize {
        1
    }

    /// Why segments cannot be had, if they were expected.
    pub fn take_refusal(&mut self) -> Option<io::Error> {
        None
    }

    /// Sends what is queued and empties the queue. Voice that the system has no room for is stale by the time it
    /// has: it is dropped.
    pub fn send(&mut self, socket: &impl SendOne, queue: &mut SendQueue) -> Sent {
        let mut sent = Sent::default();
        for (to, datagram) in queue.iter() {
            match socket.send_one(datagram, to) {
                Ok(_) => sent.taken += 1,
                Err(_) => sent.refused += 1,
            }
        }
        queue.clear();
        sent
    }
}
