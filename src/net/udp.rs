//! Batches of datagrams: many received in one system call, many sent in one.
//!
//! On Linux this is recvmmsg and sendmmsg; elsewhere the same interface goes one by one. Several
//! sockets may share a port, and the kernel hands each datagram to the socket of the forwarder
//! that owns its SSRC. Where that cannot be had there is one socket. The only `unsafe` code of the
//! project stands in this file.
#![cfg_attr(
    target_os = "linux",
    expect(
        unsafe_code,
        reason = "recvmmsg, sendmmsg and the steering program have no safe wrapper"
    )
)]

use super::ids::SSRCS_PER_SESSION;
use super::limits::{DATAGRAM_BYTES_MAX, RECEIVE_BATCH};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use tokio::net::UdpSocket;

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
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SEND_BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    if shared {
        share_port(&socket)?;
    }
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

#[cfg(target_os = "linux")]
fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(not(target_os = "linux"))]
fn share_port(_socket: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn bind_steered(address: SocketAddr, wanted: usize) -> io::Result<Vec<std::net::UdpSocket>> {
    let mut sockets = Vec::with_capacity(wanted);
    for _ in 0..wanted {
        sockets.push(open(address, true)?);
    }
    if let Some(first) = sockets.first() {
        steer(first, wanted)?;
    }
    Ok(sockets.into_iter().map(Into::into).collect())
}

/// Attaches the program that picks a socket: RTP carries its SSRC in bytes 8 to 11, RTCP (second
/// byte 192 to 223, RFC 5761) in bytes 4 to 7; the owner is SSRC / 4 modulo the number of sockets, as in
/// `Ssrc::owner`. Too short a datagram yields 0, which is a socket too.
#[cfg(target_os = "linux")]
fn steer(socket: &Socket, sockets: usize) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let instruction = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: (code & 0xffff) as u16,
        jt,
        jf,
        k,
    };
    let count = u32::try_from(sockets).map_err(io::Error::other)?;
    let shift = SSRCS_PER_SESSION.trailing_zeros();
    let mut program = [
        instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, 1),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 3, 192),
        instruction(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, 2, 0, 223),
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 4),
        instruction(libc::BPF_JMP | libc::BPF_JA, 0, 0, 1),
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 8),
        instruction(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 0, 0, shift),
        instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, 0, 0, count),
        instruction(libc::BPF_RET | libc::BPF_A, 0, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_mut_ptr(),
    };
    let length = libc::socklen_t::try_from(size_of_val(&program)).map_err(io::Error::other)?;
    // SAFETY: the option takes a `sock_fprog`; `program` and the instructions it points to live
    // until the call returns, and the kernel copies them.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            length,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(target_os = "linux"))]
fn steer(_socket: &Socket, _sockets: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Datagrams to send, in one growing piece of memory that is used again and again.
#[derive(Debug, Default)]
pub struct SendQueue {
    bytes: Vec<u8>,
    entries: Vec<(SocketAddr, Range<usize>)>,
}

impl SendQueue {
    /// Adds a datagram: `write` appends its bytes. If it appends none, there is none to send. Whether it did.
    pub fn push(&mut self, to: SocketAddr, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let written = self.bytes.len() > start;
        if written {
            self.entries.push((to, start..self.bytes.len()));
        }
        written
    }

    /// How many datagrams wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The datagrams that wait, in order.
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        self.entries
            .iter()
            .map(|(to, range)| (*to, self.bytes.get(range.clone()).unwrap_or_default()))
    }

    /// Forgets all of them and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
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

pub use system::{Receiver, Transmitter};

#[cfg(target_os = "linux")]
mod system {
    use super::{RECEIVE_BATCH, SLOT_BYTES, SendQueue, Sent};
    use crate::net::limits::SEND_BATCH;
    use socket2::SockAddr;
    use std::io;
    use std::mem::zeroed;
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
    use std::os::fd::AsRawFd;
    use tokio::io::Interest;
    use tokio::net::UdpSocket;

    /// Room for one control message: the time of arrival, with its header and alignment.
    const CONTROL_BYTES: usize = 64;

    /// Aligned as control messages must be.
    #[derive(Clone, Copy)]
    #[repr(C, align(8))]
    struct Control([u8; CONTROL_BYTES]);

    /// Room for one batch of received datagrams.
    pub struct Receiver {
        slots: Box<[[u8; SLOT_BYTES]]>,
        names: Box<[libc::sockaddr_storage]>,
        controls: Box<[Control]>,
        lengths: Box<[usize]>,
        arrivals: Box<[u64]>,
        timed: bool,
    }

    impl Default for Receiver {
        fn default() -> Self {
            Self {
                slots: vec![[0; SLOT_BYTES]; RECEIVE_BATCH].into_boxed_slice(),
                // SAFETY: all-zero is a valid value of this C structure.
                names: vec![unsafe { zeroed() }; RECEIVE_BATCH].into_boxed_slice(),
                controls: vec![Control([0; CONTROL_BYTES]); RECEIVE_BATCH].into_boxed_slice(),
                lengths: vec![0; RECEIVE_BATCH].into_boxed_slice(),
                arrivals: vec![0; RECEIVE_BATCH].into_boxed_slice(),
                timed: false,
            }
        }
    }

    impl Receiver {
        /// Receives what is queued, at most one batch; `WouldBlock` if nothing is.
        ///
        /// # Errors
        /// Those of recvmmsg(2).
        pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
            socket.try_io(Interest::READABLE, || self.receive_now(socket.as_raw_fd()))
        }

        /// A receiver that also notes when the kernel got each datagram; switches that on for the socket.
        ///
        /// # Errors
        /// The kernel refuses.
        pub fn timed(socket: &std::net::UdpSocket) -> io::Result<Self> {
            let on: libc::c_int = 1;
            // SAFETY: the option takes an int, which lives until the call returns.
            let result = unsafe {
                libc::setsockopt(
                    socket.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_TIMESTAMPNS,
                    (&raw const on).cast(),
                    size_of_val(&on) as libc::socklen_t,
                )
            };
            if result != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self { timed: true, ..Self::default() })
        }

        /// Receives from a socket of no runtime, without waiting; `WouldBlock` if nothing is queued.
        ///
        /// # Errors
        /// Those of recvmmsg(2).
        pub fn receive_from(&mut self, socket: &std::net::UdpSocket) -> io::Result<usize> {
            self.receive_now(socket.as_raw_fd())
        }

        /// Calls `handle` with each of the first `count` datagrams and when the kernel got it, in
        /// nanoseconds since 1970 (0 unless this receiver is timed).
        pub fn for_each_timed(&mut self, count: usize, mut handle: impl FnMut(u64, &mut [u8])) {
            let parts = self.slots.iter_mut().zip(self.lengths.iter()).zip(self.arrivals.iter());
            for ((slot, length), arrival) in parts.take(count) {
                if let Some(datagram) = slot.get_mut(..*length) {
                    handle(*arrival, datagram);
                }
            }
        }

        fn receive_now(&mut self, fd: i32) -> io::Result<usize> {
            // SAFETY: all-zero is a valid value of these C structures: null pointers, no lengths.
            let mut vectors: [libc::iovec; RECEIVE_BATCH] = unsafe { zeroed() };
            // SAFETY: as above.
            let mut headers: [libc::mmsghdr; RECEIVE_BATCH] = unsafe { zeroed() };
            let parts = self.slots.iter_mut().zip(self.names.iter_mut());
            for ((header, vector), (slot, name)) in
                headers.iter_mut().zip(vectors.iter_mut()).zip(parts)
            {
                vector.iov_base = slot.as_mut_ptr().cast();
                vector.iov_len = slot.len();
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
                header.msg_hdr.msg_name = (&raw mut *name).cast();
                header.msg_hdr.msg_namelen = size_of_val(name) as libc::socklen_t;
            }
            if self.timed {
                for (header, control) in headers.iter_mut().zip(self.controls.iter_mut()) {
                    header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
                    header.msg_hdr.msg_controllen = CONTROL_BYTES as _;
                }
            }
            // SAFETY: every header points to one vector, one address storage and perhaps one control buffer, every
            // vector to one slot of its length; all of them outlive the call and none is shared.
            let count = unsafe {
                libc::recvmmsg(
                    fd,
                    headers.as_mut_ptr(),
                    RECEIVE_BATCH as libc::c_uint,
                    libc::MSG_DONTWAIT as _,
                    std::ptr::null_mut(),
                )
            };
            let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
            for (header, length) in headers.iter().zip(self.lengths.iter_mut()).take(count) {
                *length = header.msg_len as usize;
            }
            if self.timed {
                for (header, arrival) in headers.iter().zip(self.arrivals.iter_mut()).take(count) {
                    *arrival = arrival_of(&header.msg_hdr);
                }
            }
            Ok(count)
        }

        /// Calls `handle` with each of the first `count` datagrams and where it came from.
        pub fn for_each(&mut self, count: usize, mut handle: impl FnMut(SocketAddr, &mut [u8])) {
            let parts = self.slots.iter_mut().zip(self.names.iter()).zip(self.lengths.iter());
            for ((slot, name), length) in parts.take(count) {
                if let (Some(from), Some(datagram)) = (address_of(name), slot.get_mut(..*length)) {
                    handle(from, datagram);
                }
            }
        }
    }

    /// The time in the control messages that the kernel wrote, in nanoseconds since 1970.
    fn arrival_of(header: &libc::msghdr) -> u64 {
        // SAFETY: the kernel has filled the control buffer that the header points to, and set its
        // length; the macros stay inside it. The time is copied out, whatever its alignment.
        unsafe {
            let message = libc::CMSG_FIRSTHDR(header);
            if message.is_null()
                || (*message).cmsg_level != libc::SOL_SOCKET
                || (*message).cmsg_type != libc::SCM_TIMESTAMPNS
            {
                return 0;
            }
            let time = libc::CMSG_DATA(message).cast::<libc::timespec>().read_unaligned();
            let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
            seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
        }
    }

    fn address_of(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
        let start = &raw const *name;
        match i32::from(name.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says which structure the storage, larger and more strictly
                // aligned than any of them, holds.
                let v4 = unsafe { &*start.cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let v6 = unsafe { &*start.cast::<libc::sockaddr_in6>() };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let port = u16::from_be(v6.sin6_port);
                Some(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
            }
            _ => None,
        }
    }

    /// Sends batches.
    #[derive(Default)]
    pub struct Transmitter {
        names: Vec<SockAddr>,
    }

    impl Transmitter {
        /// Sends what is queued and empties the queue. Voice that the kernel has no room for is stale by the time it has: it is dropped.
        pub fn send(&mut self, socket: &impl AsRawFd, queue: &mut SendQueue) -> Sent {
            let mut sent = Sent::default();
            let total = queue.len();
            while sent.taken + sent.refused < total {
                let done = sent.taken + sent.refused;
                match self.send_now(socket.as_raw_fd(), queue, done) {
                    Ok(count) => sent.taken += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        sent.refused = total - sent.taken;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // The first of the rest has no way there: leave it out and go on.
                    Err(_) => sent.refused += 1,
                }
            }
            queue.clear();
            sent
        }

        fn send_now(&mut self, fd: i32, queue: &SendQueue, skip: usize) -> io::Result<usize> {
            // SAFETY: all-zero is a valid value of these C structures: null pointers, no lengths.
            let mut vectors: [libc::iovec; SEND_BATCH] = unsafe { zeroed() };
            // SAFETY: as above.
            let mut headers: [libc::mmsghdr; SEND_BATCH] = unsafe { zeroed() };
            self.names.clear();
            self.names.extend(
                queue.entries.iter().skip(skip).take(SEND_BATCH).map(|(to, _)| SockAddr::from(*to)),
            );
            let mut count = 0;
            let parts = headers.iter_mut().zip(vectors.iter_mut()).zip(self.names.iter());
            for (((header, vector), name), (_, datagram)) in parts.zip(queue.iter().skip(skip)) {
                vector.iov_base = datagram.as_ptr().cast_mut().cast();
                vector.iov_len = datagram.len();
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
                header.msg_hdr.msg_name = name.as_ptr().cast_mut().cast();
                header.msg_hdr.msg_namelen = name.len();
                count += 1;
            }
            // SAFETY: each of the first `count` headers points to one vector and one address, each vector to
            // bytes of the queue; all outlive the call, and sendmmsg only reads them.
            let result = unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), count, 0) };
            usize::try_from(result).map_err(|_| io::Error::last_os_error())
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::{RECEIVE_BATCH, SLOT_BYTES, SendQueue, Sent};
    use std::io;
    use std::net::SocketAddr;
    use tokio::net::UdpSocket;

    /// Room for one batch of received datagrams.
    pub struct Receiver {
        slots: Vec<([u8; SLOT_BYTES], usize, Option<SocketAddr>)>,
    }

    impl Default for Receiver {
        fn default() -> Self {
            Self { slots: vec![([0; SLOT_BYTES], 0, None); RECEIVE_BATCH] }
        }
    }

    impl Receiver {
        /// A receiver; this system tells no times of arrival.
        ///
        /// # Errors
        /// None here.
        pub fn timed(_socket: &std::net::UdpSocket) -> io::Result<Self> {
            Ok(Self::default())
        }

        /// Receives from a socket of no runtime, without waiting; `WouldBlock` if nothing is queued.
        ///
        /// # Errors
        /// Those of the system.
        pub fn receive_from(&mut self, socket: &std::net::UdpSocket) -> io::Result<usize> {
            self.fill(|slot| socket.recv_from(slot))
        }

        /// Calls `handle` with each of the first `count` datagrams; the time is always 0 here.
        pub fn for_each_timed(&mut self, count: usize, mut handle: impl FnMut(u64, &mut [u8])) {
            self.for_each(count, |_, datagram| handle(0, datagram));
        }

        /// Receives what is queued, at most one batch; `WouldBlock` if nothing is.
        ///
        /// # Errors
        /// Those of the system.
        pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
            self.fill(|slot| socket.try_recv_from(slot))
        }

        fn fill(
            &mut self,
            mut receive: impl FnMut(&mut [u8]) -> io::Result<(usize, SocketAddr)>,
        ) -> io::Result<usize> {
            let mut count = 0;
            for (slot, length, from) in &mut self.slots {
                match receive(slot) {
                    Ok((n, address)) => (*length, *from) = (n, Some(address)),
                    Err(error) if count == 0 => return Err(error),
                    Err(_) => break,
                }
                count += 1;
            }
            Ok(count)
        }

        /// Calls `handle` with each of the first `count` datagrams and where it came from.
        pub fn for_each(&mut self, count: usize, mut handle: impl FnMut(SocketAddr, &mut [u8])) {
            for (slot, length, from) in self.slots.iter_mut().take(count) {
                if let (Some(from), Some(datagram)) = (*from, slot.get_mut(..*length)) {
                    handle(from, datagram);
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
        /// Sends what is queued and empties the queue. Voice that the kernel has no room for is stale by the time it has: it is dropped.
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
}

/// Waits until something can be received.
///
/// # Errors
/// Those of the runtime.
pub async fn readable(socket: &UdpSocket) -> io::Result<()> {
    socket.readable().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::ids::Ssrc;

    fn register(socket: std::net::UdpSocket) -> UdpSocket {
        UdpSocket::from_std(socket).unwrap()
    }

    async fn receive_one(
        receiver: &mut Receiver,
        socket: &UdpSocket,
    ) -> Vec<(SocketAddr, Vec<u8>)> {
        loop {
            readable(socket).await.unwrap();
            match receiver.receive(socket) {
                Ok(count) => {
                    let mut got = Vec::new();
                    receiver.for_each(count, |from, bytes| got.push((from, bytes.to_vec())));
                    return got;
                }
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
    }

    #[tokio::test]
    async fn a_batch_arrives_whole_and_in_order_on_both_families() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(group) = bind_group(address.parse().unwrap(), 1) else {
                assert!(address.starts_with('['), "IPv4 loopback is always there");
                continue;
            };
            let to = group.address;
            let server = register(group.sockets.into_iter().next().unwrap());
            let client =
                register(std::net::UdpSocket::from(open(address.parse().unwrap(), false).unwrap()));
            let mut queue = SendQueue::default();
            for k in 0..300u32 {
                queue.push(to, |bytes| bytes.extend(k.to_be_bytes()));
            }
            let sent = Transmitter::default().send(&client, &mut queue);
            assert_eq!(sent, Sent { taken: 300, refused: 0 });
            assert!(queue.is_empty());
            let mut receiver = Receiver::default();
            let mut got = Vec::new();
            while got.len() < 300 {
                for (from, bytes) in receive_one(&mut receiver, &server).await {
                    assert_eq!(from, client.local_addr().unwrap());
                    got.push(u32::from_be_bytes(bytes.try_into().unwrap()));
                }
            }
            assert_eq!(got, (0..300).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn datagrams_reach_the_socket_of_their_stream_s_owner() {
        let group = bind_group("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        if cfg!(not(target_os = "linux")) {
            assert!(group.fallback.is_some());
            return;
        }
        assert_eq!(group.fallback, None);
        let sockets: Vec<_> = group.sockets.into_iter().map(register).collect();
        let client = register(std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into_nonblocking());
        for number in [0u32, 4, 7, 8, 0xffff_ffff, 0x1234_5678] {
            let ssrc = Ssrc(number);
            let mut rtp = vec![0x80, 0xe0, 0, 1, 0, 0, 0, 0];
            rtp.extend(number.to_be_bytes());
            let mut rtcp = vec![0x80, 204, 0, 1];
            rtcp.extend(number.to_be_bytes());
            for datagram in [rtp, rtcp] {
                client.send_to(&datagram, group.address).await.unwrap();
                let owner = &sockets[ssrc.owner(3)];
                let got = receive_one(&mut Receiver::default(), owner).await;
                assert_eq!(got[0].1, datagram);
            }
        }
    }

    #[tokio::test]
    async fn a_port_in_use_is_an_error_even_when_it_would_be_shared() {
        let first = bind_group("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let again = bind_group(first.address, 2).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
    }

    trait IntoNonblocking {
        fn into_nonblocking(self) -> Self;
    }
    impl IntoNonblocking for std::net::UdpSocket {
        fn into_nonblocking(self) -> Self {
            self.set_nonblocking(true).unwrap();
            self
        }
    }
}
