//! Batch UDP on Linux: recvmmsg, sendmmsg, UDP_SEGMENT, steering by SSRC.
//!
//! Owned by one thread at a time. It must not allocate once it has seen its largest batch, and decides nothing: what
//! the kernel refuses is reported to whoever asks. The only `unsafe` code of the server stands in this file.
#![expect(
    unsafe_code,
    reason = "recvmmsg, sendmmsg, their control messages and the steering program have no safe wrapper"
)]

use super::{Arrival, Entry, SLOT_BYTES, SendQueue, Sent, Watch};
use crate::net::ids::SSRCS_PER_SESSION;
use crate::net::limits::{RECEIVE_BATCH, SEGMENTS_MAX, SEND_BATCH};
use socket2::Socket;
use std::io;
use std::mem::zeroed;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Room for the control messages of one datagram: time of arrival, drop counter, destination, with
/// headers and alignment 88 bytes; outgoing, segment size and source, 56.
const CONTROL_BYTES: usize = 128;

/// Aligned as control messages must be.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// Lets several sockets share a port.
pub(super) fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

/// Asks for a receive buffer of so many bytes: beyond the system's bound where this process may, else up to it.
/// How many there are now.
pub fn receive_buffer(socket: &impl AsFd, bytes: usize) -> usize {
    let socket = socket2::SockRef::from(socket);
    let wanted = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    if set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &wanted).is_err() {
        let _ = socket.set_recv_buffer_size(bytes);
    }
    socket.recv_buffer_size().unwrap_or(0)
}

/// Datagrams go whole or not at all, whatever the kernel has heard of the path: none is longer than what every path takes.
/// For a datagram that may be cut the kernel has to find an identification, which costs a twentieth of sending it.
pub(super) fn never_fragment(socket: &Socket) {
    let probe: libc::c_int = libc::IP_PMTUDISC_PROBE;
    // An IPv6 socket sends IPv4, too; one that knows nothing of the other family refuses, and needs it not.
    let _ = set_option(socket.as_raw_fd(), libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, &probe);
    let _ = set_option(socket.as_raw_fd(), libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, &probe);
}

fn set_option<T>(fd: i32, level: i32, option: i32, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of_val(value)).map_err(io::Error::other)?;
    // SAFETY: `value` lives until the call returns, which reads `length` bytes of it: its own size. Every
    // caller hands over the structure that its option takes.
    let result = unsafe { libc::setsockopt(fd, level, option, (&raw const *value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends without checksums from now on, which the kernel does not do with segments.
#[cfg(test)]
pub(super) fn without_checksums(socket: &impl AsRawFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, &on)
}

/// Attaches the program that picks a socket: RTP carries its SSRC in bytes 8 to 11, RTCP (second
/// byte 192 to 223, RFC 5761) in bytes 4 to 7; the owner is SSRC / 4 modulo the number of sockets, as in
/// `Ssrc::owner`. Too short a datagram yields 0, which is a socket too.
pub(super) fn steer(socket: &Socket, sockets: usize) -> io::Result<()> {
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
    // The option takes a `sock_fprog`; the instructions that it points to live until the call
    // returns, and the kernel copies them.
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_mut_ptr(),
    };
    set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

/// A socket registered with the runtime, for reading alone: one that is registered for writing too wakes its
/// thread for every copy that the kernel has taken.
#[derive(Debug)]
pub struct VoiceSocket(AsyncFd<std::net::UdpSocket>);

impl VoiceSocket {
    /// Registers a socket that does not block.
    ///
    /// # Errors
    /// Those of the runtime.
    pub fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        // SAFETY: a socket of the standard library names one descriptor as long as it lives, and `AsyncFd`
        // owns it: it is closed after it was taken out of the runtime.
        let registered = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        Ok(Self(registered?))
    }

    /// Waits until something can be received.
    ///
    /// # Errors
    /// Those of the runtime.
    pub async fn readable(&self) -> io::Result<()> {
        self.0.readable().await.map(|mut ready| ready.retain_ready())
    }

    /// The socket itself.
    #[must_use]
    pub fn socket(&self) -> &std::net::UdpSocket {
        self.0.get_ref()
    }
}

/// The structures that the kernel reads and fills. They hold pointers into their owner, which are written anew before
/// each call and mean nothing between calls.
struct Headers {
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    /// Of the longest kind of address that there is here.
    names: Box<[libc::sockaddr_in6]>,
    controls: Box<[Control]>,
}

// SAFETY: the pointers in it are never followed but inside a call that has just written them.
unsafe impl Send for Headers {}

impl Headers {
    fn new(count: usize) -> Self {
        // SAFETY: all-zero is a valid value of these three C structures: null pointers, no lengths.
        let (header, vector, name) = unsafe { (zeroed(), zeroed(), zeroed()) };
        Self {
            headers: vec![header; count].into_boxed_slice(),
            vectors: vec![vector; count].into_boxed_slice(),
            names: vec![name; count].into_boxed_slice(),
            controls: vec![Control([0; CONTROL_BYTES]); count].into_boxed_slice(),
        }
    }
}

/// So many datagrams are asked for where few come: what describes a slot to the kernel is written anew for each call,
/// and to touch all of it costs more than to copy one datagram.
const RECEIVE_FEW: usize = 8;

/// Room for one batch of received datagrams.
pub struct Receiver {
    slots: Box<[[u8; SLOT_BYTES]]>,
    kernel: Headers,
    watch: Watch,
    drops: u32,
    /// So many are asked for next time: more where the last batch was full.
    wanted: usize,
    full: bool,
}

impl Default for Receiver {
    fn default() -> Self {
        Self {
            slots: vec![[0; SLOT_BYTES]; RECEIVE_BATCH].into_boxed_slice(),
            kernel: Headers::new(RECEIVE_BATCH),
            watch: Watch::default(),
            drops: 0,
            wanted: RECEIVE_FEW,
            full: false,
        }
    }
}

impl Receiver {
    /// A receiver that is told more of each datagram; switches that on for the socket.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn watching(socket: &impl AsRawFd, watch: Watch) -> io::Result<Self> {
        let on: libc::c_int = 1;
        let options = [
            (watch.times, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS),
            (watch.drops, libc::SOL_SOCKET, libc::SO_RXQ_OVFL),
            (watch.destinations, libc::IPPROTO_IP, libc::IP_PKTINFO),
        ];
        for (_, level, option) in options.into_iter().filter(|(wanted, ..)| *wanted) {
            set_option(socket.as_raw_fd(), level, option, &on)?;
        }
        Ok(Self { watch, ..Self::default() })
    }

    /// Receives what is queued, at most one batch; `WouldBlock` if nothing is.
    ///
    /// # Errors
    /// Those of recvmmsg(2).
    pub fn receive(&mut self, socket: &VoiceSocket) -> io::Result<usize> {
        let mut count = 0;
        let outcome = socket.0.try_io(Interest::READABLE, |socket| {
            count = self.receive_now(socket.as_raw_fd(), libc::MSG_DONTWAIT)?;
            // The queue is empty: what comes from now on is a new event. It need not be asked again.
            if self.full { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
        });
        if count > 0 { Ok(count) } else { outcome.map(|()| 0) }
    }

    /// Receives from a socket of no runtime, without waiting; `WouldBlock` if nothing is queued.
    ///
    /// # Errors
    /// Those of recvmmsg(2).
    pub fn receive_from(&mut self, socket: &std::net::UdpSocket) -> io::Result<usize> {
        self.receive_now(socket.as_raw_fd(), libc::MSG_DONTWAIT)
    }

    /// Receives from a socket that blocks: waits for one datagram and takes what else is queued.
    ///
    /// # Errors
    /// Those of recvmmsg(2), a time-out of the socket's among them.
    pub fn wait_from(&mut self, socket: &std::net::UdpSocket) -> io::Result<usize> {
        self.receive_now(socket.as_raw_fd(), libc::MSG_WAITFORONE)
    }

    /// Whether more may be queued than was received last.
    #[must_use]
    pub fn was_full(&self) -> bool {
        self.full
    }

    /// How many datagrams the socket has dropped for want of room, as of the last one received; 0 unless watched.
    #[must_use]
    pub fn drops(&self) -> u32 {
        self.drops
    }

    fn receive_now(&mut self, fd: i32, flags: libc::c_int) -> io::Result<usize> {
        let wanted = self.wanted;
        self.full = false;
        let Headers { headers, vectors, names, controls } = &mut self.kernel;
        let watches = self.watch.times || self.watch.drops || self.watch.destinations;
        let parts = headers.iter_mut().zip(vectors.iter_mut());
        let room = self.slots.iter_mut().zip(names.iter_mut()).zip(controls.iter_mut());
        for ((header, vector), ((slot, name), control)) in parts.zip(room).take(wanted) {
            vector.iov_base = slot.as_mut_ptr().cast();
            vector.iov_len = slot.len();
            let header = &mut header.msg_hdr;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_name = (&raw mut *name).cast();
            header.msg_namelen = size_of_val(name) as libc::socklen_t;
            if watches {
                header.msg_control = control.0.as_mut_ptr().cast();
                header.msg_controllen = CONTROL_BYTES as _;
            }
        }
        // SAFETY: no more headers are asked for than there are, and each of them points to one vector, one address storage
        // and perhaps one control buffer, each vector to one slot of its length; all of them belong to this receiver, outlive
        // the call, and none is shared.
        let count = unsafe {
            libc::recvmmsg(
                fd,
                headers.as_mut_ptr(),
                wanted as libc::c_uint,
                flags as _,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        self.full = count == wanted;
        self.wanted = (2 * count).clamp(RECEIVE_FEW, RECEIVE_BATCH);
        Ok(count)
    }

    /// Calls `handle` with each of the first `count` datagrams and where it came from.
    pub fn for_each(&mut self, count: usize, mut handle: impl FnMut(Arrival, &mut [u8])) {
        let Headers { headers, names, .. } = &self.kernel;
        let parts = self.slots.iter_mut().zip(headers.iter()).zip(names.iter());
        for ((slot, header), name) in parts.take(count) {
            let length = header.msg_len as usize;
            let (Some(from), Some(datagram)) = (address_of(name), slot.get_mut(..length)) else {
                continue;
            };
            let told = told(&header.msg_hdr);
            self.drops = told.drops.unwrap_or(self.drops);
            handle(Arrival { from, at_ns: told.at_ns, to: told.to }, datagram);
        }
    }
}

/// What control messages say.
#[derive(Default)]
struct Told {
    at_ns: u64,
    drops: Option<u32>,
    to: Option<Ipv4Addr>,
}

/// Reads the control messages that the kernel wrote for one datagram.
fn told(header: &libc::msghdr) -> Told {
    let mut told = Told::default();
    // SAFETY: the control buffer that the header points to, if any, is this receiver's; the kernel has filled it
    // and set its length, and the macros stay inside it. What is read is copied out, whatever its alignment, as the
    // structure that the kernel writes for this level and type.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            let data = libc::CMSG_DATA(message);
            match ((*message).cmsg_level, (*message).cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    let time = data.cast::<libc::timespec>().read_unaligned();
                    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
                    told.at_ns = seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0);
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                    told.drops = Some(data.cast::<u32>().read_unaligned());
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    told.to = Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)));
                }
                _ => {}
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    told
}

fn address_of(name: &libc::sockaddr_in6) -> Option<SocketAddr> {
    match i32::from(name.sin6_family) {
        libc::AF_INET => {
            // SAFETY: the family, in the same place in both, says that the kernel wrote the shorter and
            // no more strictly aligned structure.
            let v4 = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            let port = u16::from_be(name.sin6_port);
            Some(SocketAddrV6::new(ip, port, name.sin6_flowinfo, name.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// Writes an address as the kernel reads it. Its length.
fn write_address(to: SocketAddr, name: &mut libc::sockaddr_in6) -> libc::socklen_t {
    match to {
        SocketAddr::V4(to) => {
            let plain = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: to.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*to.ip()).to_be() },
                sin_zero: [0; 8],
            };
            // SAFETY: the storage is longer than this structure and no less strictly aligned; both are plain bytes.
            unsafe { (&raw mut *name).cast::<libc::sockaddr_in>().write(plain) };
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(to) => {
            *name = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: to.port().to_be(),
                sin6_flowinfo: to.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: to.ip().octets() },
                sin6_scope_id: to.scope_id(),
            };
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

/// Messages of segments that are refused in a row before they are given up.
const STRIKES_MAX: u32 = 3;

/// Sends batches.
pub struct Transmitter {
    kernel: Headers,
    segments_max: usize,
    /// Messages of segments refused since the last that was taken.
    strikes: u32,
    /// What the kernel has refused, until somebody asks.
    refused: Option<io::Error>,
}

impl Default for Transmitter {
    fn default() -> Self {
        Self { kernel: Headers::new(SEND_BATCH), segments_max: 1, strikes: 0, refused: None }
    }
}

impl Transmitter {
    /// A transmitter that sends several datagrams of one size in one message, if the kernel can that.
    pub fn segmenting(socket: &impl AsRawFd) -> Self {
        let off: libc::c_int = 0;
        // Kernels before 4.18 do not know the option; they would overlook the control message and send one
        // datagram, so they must be asked before.
        match set_option(socket.as_raw_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, &off) {
            Ok(()) => Self { segments_max: SEGMENTS_MAX, ..Self::default() },
            Err(error) => Self { refused: Some(error), ..Self::default() },
        }
    }

    /// How many datagrams to one receiver may go as one message now.
    #[must_use]
    pub fn segments_max(&self) -> usize {
        self.segments_max
    }

    /// Why segments cannot be had, the first time that this is asked after it was found out.
    pub fn take_refusal(&mut self) -> Option<io::Error> {
        self.refused.take()
    }

    /// Sends what is queued and empties the queue. Voice that the kernel has no room for is stale by the time
    /// it has: it is dropped. A message of segments that is refused goes again, one by one.
    pub fn send(&mut self, socket: &impl AsRawFd, queue: &mut SendQueue) -> Sent {
        let fd = socket.as_raw_fd();
        let mut sent = Sent::default();
        let mut rest = queue.entries.as_slice();
        while let Some(first) = rest.first() {
            match self.send_now(fd, &queue.bytes, rest) {
                Ok(count) => {
                    let (done, left) = rest.split_at_checked(count).unwrap_or((rest, &[]));
                    sent.taken += done.iter().map(|entry| entry.datagrams).sum::<usize>();
                    if done.iter().any(|entry| entry.datagrams > 1) {
                        self.strikes = 0;
                    }
                    rest = left;
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN | libc::ENOBUFS) => {
                        sent.refused += rest.iter().map(|entry| entry.datagrams).sum::<usize>();
                        break;
                    }
                    _ => {
                        // The first of the rest has no way there, or not as segments.
                        let taken = match first.datagrams {
                            1 => 0,
                            _ => self.send_singly(fd, &queue.bytes, first, error),
                        };
                        sent.taken += taken;
                        sent.refused += first.datagrams - taken;
                        rest = rest.get(1..).unwrap_or_default();
                    }
                },
            }
        }
        queue.clear();
        sent
    }

    /// Sends the segments of one message one by one, after the kernel has refused them together. How many it took.
    fn send_singly(&mut self, fd: i32, bytes: &[u8], entry: &Entry, together: io::Error) -> usize {
        let mut taken = 0;
        let mut start = entry.range.start;
        while start < entry.range.end {
            let end = (start + entry.segment.max(1)).min(entry.range.end);
            let one = Entry { range: start..end, datagrams: 1, ..entry.clone() };
            taken += self.send_now(fd, bytes, std::slice::from_ref(&one)).unwrap_or(0);
            start = end;
        }
        // Too long for one path alone, or nothing that is ever taken here?
        let local = [libc::EMSGSIZE, libc::EINVAL].map(Some).contains(&together.raw_os_error());
        self.strikes += if local { 1 } else { STRIKES_MAX };
        if taken > 0 && self.strikes >= STRIKES_MAX {
            self.segments_max = 1;
            self.refused = Some(together);
        }
        taken
    }

    fn send_now(&mut self, fd: i32, bytes: &[u8], entries: &[Entry]) -> io::Result<usize> {
        let Headers { headers, vectors, names, controls } = &mut self.kernel;
        let mut count = 0;
        let parts = headers.iter_mut().zip(vectors.iter_mut());
        let room = names.iter_mut().zip(controls.iter_mut());
        for (((header, vector), (name, control)), entry) in parts.zip(room).zip(entries) {
            let datagrams = bytes.get(entry.range.clone()).unwrap_or_default();
            vector.iov_base = datagrams.as_ptr().cast_mut().cast();
            vector.iov_len = datagrams.len();
            let header = &mut header.msg_hdr;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_namelen = write_address(entry.to, name);
            header.msg_name = (&raw mut *name).cast();
            let controls = write_controls(entry, control);
            header.msg_control = match controls {
                0 => std::ptr::null_mut(),
                _ => control.0.as_mut_ptr().cast(),
            };
            header.msg_controllen = controls as _;
            count += 1;
        }
        // SAFETY: each of the first `count` headers points to one vector, one address and perhaps one control buffer
        // of this transmitter, each vector to bytes of the queue; all outlive the call, and sendmmsg only reads them.
        let result = unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), count, 0) };
        usize::try_from(result).map_err(|_| io::Error::last_os_error())
    }
}

/// Writes the control messages of one outgoing message: the size of its segments if it has several, and from where
/// it goes if that was said. How many bytes.
fn write_controls(entry: &Entry, control: &mut Control) -> usize {
    let mut used = 0;
    if entry.datagrams > 1 {
        let segment = u16::try_from(entry.segment).unwrap_or(u16::MAX);
        used += write_control(control, used, libc::SOL_UDP, libc::UDP_SEGMENT, segment);
    }
    if let Some(from) = entry.from {
        let info = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: u32::from(from).to_be() },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        used += write_control(control, used, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
    }
    used
}

/// Appends one control message behind the first `used` bytes. How many bytes it takes.
fn write_control<T>(control: &mut Control, used: usize, level: i32, kind: i32, value: T) -> usize {
    let length = size_of::<T>() as u32;
    // SAFETY: these two only compute.
    let (length, space) = unsafe { (libc::CMSG_LEN(length), libc::CMSG_SPACE(length) as usize) };
    let Some(room) = control.0.get_mut(used..used + space) else { return 0 };
    // SAFETY: `room` lies in an aligned buffer at a multiple of the alignment (every space is one) and is long
    // enough for header and value; the value is written whatever its alignment.
    unsafe {
        let message = room.as_mut_ptr().cast::<libc::cmsghdr>();
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = length as _;
        libc::CMSG_DATA(message).cast::<T>().write_unaligned(value);
    }
    space
}
