//! Batches of datagrams: many received in one system call, many sent in one.
//!
//! On Linux (`linux`) this is recvmmsg and sendmmsg, with UDP_SEGMENT where several datagrams of one
//! size go to one receiver; elsewhere (`portable`) the same interface goes one by one. Several sockets may share a port,
//! and the kernel hands each datagram to the socket of the forwarder that owns its SSRC. Where that cannot be had there
//! is one socket. What the kernel refuses is done without, and can be asked for, to be logged once.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod portable;
#[cfg(test)]
mod tests;

#[cfg(target_os = "linux")]
use self::linux as system;
#[cfg(not(target_os = "linux"))]
use self::portable as system;
use super::limits::{DATAGRAM_BYTES_MAX, SEGMENT_BYTES_MAX, SEND_BATCH, SEND_BATCH_BYTES};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;

pub use system::{Receiver, Transmitter, VoiceSocket, receive_buffer};

/// Receive buffer asked for; the kernel may give less.
const RECEIVE_BUFFER_BYTES: usize = 8 << 20;
/// Send buffer asked for; the kernel may give less.
const SEND_BUFFER_BYTES: usize = 4 << 20;
/// Room for one datagram; one byte more than allowed, so that a longer one shows.
const SLOT_BYTES: usize = DATAGRAM_BYTES_MAX + 1;

/// Sockets that share one port, one for each forwarder, in the order of their owners.
#[derive(Debug)]
pub struct SocketGroup {
    /// The sockets, not yet registered with a runtime.
    pub sockets: Vec<std::net::UdpSocket>,
    /// The address that they are bound to.
    pub address: SocketAddr,
    /// Why there are fewer sockets than asked for, if so.
    pub fallback: Option<String>,
}

/// Binds one port for `wanted` forwarders.
///
/// # Errors
/// The address cannot be bound. That steering cannot be had is no error: there is one socket then.
pub fn bind_group(address: SocketAddr, wanted: usize) -> io::Result<SocketGroup> {
    if wanted > 1 {
        // With SO_REUSEPORT a port in use would be shared without a word, so ask without it first.
        let probe = open(address, false)?;
        let address = local_address(&probe)?;
        drop(probe);
        match bind_steered(address, wanted) {
            Ok(sockets) => return Ok(SocketGroup { sockets, address, fallback: None }),
            Err(error) => {
                let socket = open(address, false)?;
                let fallback = Some(format!("datagrams cannot be steered: {error}"));
                return Ok(SocketGroup { sockets: vec![socket.into()], address, fallback });
            }
        }
    }
    let socket = open(address, false)?;
    let address = local_address(&socket)?;
    Ok(SocketGroup { sockets: vec![socket.into()], address, fallback: None })
}

fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("no internet address"))
}

fn open(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // Both families on [::]; where the system refuses, IPv6 alone still works.
        let _ = socket.set_only_v6(false);
    }
    receive_buffer(&socket, RECEIVE_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SEND_BUFFER_BYTES);
    system::never_fragment(&socket);
    socket.set_nonblocking(true)?;
    if shared {
        system::share_port(&socket)?;
    }
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

fn bind_steered(address: SocketAddr, wanted: usize) -> io::Result<Vec<std::net::UdpSocket>> {
    let mut sockets = Vec::with_capacity(wanted);
    for _ in 0..wanted {
        sockets.push(open(address, true)?);
    }
    if let Some(first) = sockets.first() {
        system::steer(first, wanted)?;
    }
    Ok(sockets.into_iter().map(Into::into).collect())
}

/// How many bytes of datagrams a socket holds until they are received; 0 if that is not known.
#[must_use]
pub fn receive_buffer_bytes(socket: &std::net::UdpSocket) -> usize {
    socket2::SockRef::from(socket).recv_buffer_size().unwrap_or(0)
}

/// Where a datagram came from, and what the kernel noted of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Who sent it.
    pub from: SocketAddr,
    /// When the kernel got it, in nanoseconds since 1970; 0 where it was not asked or does not tell.
    pub at_ns: u64,
    /// Which address of ours it was sent to; only where that was asked for, and for IPv4.
    pub to: Option<Ipv4Addr>,
}

/// What a receiver is to be told of each datagram beside its bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Watch {
    /// When the kernel got it.
    pub times: bool,
    /// How many were dropped before it for want of room.
    pub drops: bool,
    /// Which address of ours it was sent to (IPv4).
    pub destinations: bool,
}

/// Datagrams of one size to one receiver, one behind the other in the queue's memory; the last may be shorter.
#[derive(Debug, Clone)]
struct Entry {
    to: SocketAddr,
    /// From which address of ours, where the socket has several.
    from: Option<Ipv4Addr>,
    range: Range<usize>,
    /// Bytes of each datagram but the last.
    segment: usize,
    datagrams: usize,
}

/// Datagrams to send, in one growing piece of memory that is used again and again.
#[derive(Debug)]
pub struct SendQueue {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    datagrams: usize,
    /// How many datagrams to one receiver may go as one message.
    segments_max: usize,
}

impl Default for SendQueue {
    fn default() -> Self {
        Self { bytes: Vec::new(), entries: Vec::new(), datagrams: 0, segments_max: 1 }
    }
}

impl SendQueue {
    /// From now on so many datagrams of one size that follow each other to one receiver go as one message: what
    /// [`Transmitter::segments_max`] says.
    pub fn set_segments_max(&mut self, segments_max: usize) {
        self.segments_max = segments_max.max(1);
    }

    /// Adds a datagram: `write` appends its bytes. If it appends none, there is none to send. Whether it did.
    pub fn push(&mut self, to: SocketAddr, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.push_from(None, to, write)
    }

    /// The same from one of several addresses of ours (Linux and IPv4 alone; elsewhere that is left out).
    pub fn push_from(
        &mut self,
        from: Option<Ipv4Addr>,
        to: SocketAddr,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let end = self.bytes.len();
        if end <= start {
            return false;
        }
        self.datagrams += 1;
        if let Some(last) = self.entries.last_mut()
            && last.takes(from, to, end - start, self.segments_max)
        {
            last.range.end = end;
            last.datagrams += 1;
            return true;
        }
        self.entries.push(Entry {
            to,
            from,
            range: start..end,
            segment: end - start,
            datagrams: 1,
        });
        true
    }

    /// How many datagrams wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.datagrams
    }

    /// In how many messages to the kernel they go.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether it holds what one system call takes, or as much as caches like.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.entries.len() >= SEND_BATCH || self.bytes.len() >= SEND_BATCH_BYTES
    }

    /// The datagrams that wait, in order.
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        self.entries.iter().flat_map(|entry| {
            let bytes = self.bytes.get(entry.range.clone()).unwrap_or_default();
            bytes.chunks(entry.segment.max(1)).map(|datagram| (entry.to, datagram))
        })
    }

    /// Forgets all of them and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.datagrams = 0;
    }
}

impl Entry {
    /// Whether one more datagram of this length can follow in the same message.
    fn takes(&self, from: Option<Ipv4Addr>, to: SocketAddr, length: usize, most: usize) -> bool {
        self.datagrams < most
            && self.to == to
            && self.from == from
            && length <= self.segment
            // A shorter one is the last: nothing can follow it.
            && self.range.len() == self.segment * self.datagrams
            && self.range.len() + length <= SEGMENT_BYTES_MAX
    }
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Datagrams that the kernel took.
    pub taken: usize,
    /// Datagrams that it refused: no room, or no way there.
    pub refused: usize,
}
