//! Simulated members: real sessions over TCP, one UDP socket for the voice of all of them.
//!
//! One socket keeps the receivers' share of the kernel's work, which a server on the same machine
//! is billed for, the same whatever the number of members. Whose a datagram is, only its keys can
//! tell: control packets name their receiver, and copies of voice come in the order of the room.

use crate::connect::{Connector, Stream};
use anyhow::{Context, bail};
use parlor::net::frame;
use parlor::net::ids::{PacketIndex, Ssrc};
use parlor::net::limits::{DATAGRAM_BYTES_MAX, PING_INTERVAL};
use parlor::net::message::{ClientMessage, Envelope, Hello, Protection, ServerMessage, Welcome};
use parlor::net::protect::{Opener, Sealer};
use parlor::net::rtcp::{self, App, RtcpPacket};
use parlor::net::rtp::{RtpHeader, is_rtcp, peek_seq, peek_ssrc};
use parlor::net::udp::{Receiver, SendQueue, Transmitter};
use parlor::net::{clock, codec};
use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, ReadHalf};
use tokio::sync::watch;
use tokio_util::codec::FramedRead;

const PROOF_DEADLINE: Duration = Duration::from_secs(10);
const RECEIVE_BUFFER_BYTES: usize = 64 << 20;

/// One session.
pub struct Member {
    sealer: Sealer,
    opener: Opener,
    ssrc: Ssrc,
    room: Option<String>,
    /// Which member of the room the next copy of his voice is expected for.
    next_copy: usize,
    seq: u64,
    timestamp: u32,
    rtcp: u64,
    /// Voice packets received.
    pub received: u64,
}

/// All members and the socket of their voice.
pub struct Members {
    /// The members, room by room.
    pub all: Vec<Member>,
    /// Members by their streams, and by the server's own packets to them.
    by_stream: HashMap<Ssrc, usize>,
    by_control: HashMap<Ssrc, usize>,
    /// Members of each room, in the order in which they came.
    rooms: BTreeMap<String, Vec<usize>>,
    protection: Option<Protection>,
    scratch: Vec<u8>,
    socket: UdpSocket,
    receiver: Receiver,
    transmitter: Transmitter,
    queue: SendQueue,
    voice: SocketAddr,
    stop: watch::Sender<bool>,
}

impl Drop for Members {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl Members {
    /// Nobody yet. `voice` is the server's UDP address.
    pub fn new(voice: SocketAddr) -> anyhow::Result<Self> {
        let any = if voice.is_ipv6() { "[::1]:0" } else { "127.0.0.1:0" };
        let socket = UdpSocket::bind(any).context("no UDP socket")?;
        socket.set_nonblocking(true)?;
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
        let receiver = Receiver::timed(&socket).context("no times of arrival")?;
        Ok(Self {
            all: Vec::new(),
            by_stream: HashMap::new(),
            by_control: HashMap::new(),
            rooms: BTreeMap::new(),
            protection: None,
            scratch: Vec::with_capacity(DATAGRAM_BYTES_MAX),
            socket,
            receiver,
            transmitter: Transmitter::default(),
            queue: SendQueue::default(),
            voice,
            stop: watch::Sender::new(false),
        })
    }

    /// Connects one more session, into a room if one is named, and keeps it alive in the background.
    pub async fn connect(
        &mut self,
        connector: &Connector,
        name: &str,
        room: Option<&str>,
    ) -> anyhow::Result<u16> {
        let stream = connector.connect().await?;
        let (read, mut write) = tokio::io::split(stream);
        write.write_all(&greet(name, room)?).await?;
        write.flush().await?;
        let mut frames = FramedRead::with_capacity(read, frame::codec(), 1024);
        let ServerMessage::Welcome(welcome) = read_message(&mut frames).await? else {
            bail!("the server refused a session");
        };
        if room.is_some() {
            let joined = read_message(&mut frames).await?;
            if !matches!(joined, ServerMessage::Joined { .. }) {
                bail!("the server refused a member: {joined:?}");
            }
        }
        let udp_port = welcome.udp_port;
        self.add(&welcome, room)?;
        let mut stop = self.stop.subscribe();
        tokio::spawn(async move {
            let ping = frame::encode(&Envelope::event(ClientMessage::Ping { token: 0 }));
            let Ok(ping) = ping else { return };
            let mut interval = tokio::time::interval(PING_INTERVAL);
            loop {
                tokio::select! {
                    _ = stop.changed() => return,
                    _ = interval.tick() => {
                        let written = async {
                            write.write_all(&ping).await?;
                            write.flush().await
                        };
                        if written.await.is_err() {
                            return;
                        }
                    }
                    frame = frame::next(&mut frames) => if !matches!(frame, Some(Ok(_))) { return },
                }
            }
        });
        Ok(udp_port)
    }

    fn add(&mut self, welcome: &Welcome, room: Option<&str>) -> anyhow::Result<()> {
        let ssrc = welcome.streams.first().map_or(Ssrc(0), |stream| stream.ssrc);
        let k = self.all.len();
        self.by_stream.insert(ssrc, k);
        self.by_control.insert(welcome.control_ssrc, k);
        if let Some(room) = room {
            self.rooms.entry(room.to_owned()).or_default().push(k);
        }
        self.protection = Some(welcome.protection);
        self.all.push(Member {
            sealer: Sealer::new(welcome.protection, &welcome.up_key)?,
            opener: Opener::new(welcome.protection, &welcome.down_key)?,
            ssrc,
            room: room.map(str::to_owned),
            next_copy: 0,
            seq: 1,
            timestamp: 0,
            rtcp: 1,
            received: 0,
        });
        Ok(())
    }

    /// How the server protects voice.
    pub fn protection(&self) -> &'static str {
        match self.protection {
            Some(Protection::Plain) => "plain",
            Some(Protection::AeadAes128Gcm) => "AEAD_AES_128_GCM",
            Some(Protection::Unknown) | None => "unknown",
        }
    }

    /// Sets where voice goes, once the server has said its port.
    pub fn set_voice(&mut self, voice: SocketAddr) {
        self.voice = voice;
    }

    /// Proves the voice address of every member from `first` on.
    pub fn prove(&mut self, first: usize) -> anyhow::Result<()> {
        let deadline = clock::now() + PROOF_DEADLINE;
        let mut open: Vec<usize> = (first..self.all.len()).collect();
        while !open.is_empty() {
            if clock::now() > deadline {
                bail!("{} members have no voice path", open.len());
            }
            let mut proven = Vec::new();
            for chunk in open.chunks(128) {
                for k in chunk {
                    self.send_app(*k, App::Keepalive([0; 8]));
                }
                self.flush();
                std::thread::sleep(Duration::from_millis(20));
                self.drain_apps(&mut proven);
            }
            std::thread::sleep(Duration::from_millis(20));
            self.drain_apps(&mut proven);
            open.retain(|k| !proven.contains(k));
        }
        Ok(())
    }

    fn send_app(&mut self, k: usize, app: App) {
        let (Some(member), voice) = (self.all.get_mut(k), self.voice) else { return };
        let mut packet = Vec::new();
        rtcp::write_app(&mut packet, member.ssrc, app);
        let index = PacketIndex(member.rtcp);
        member.rtcp += 1;
        self.queue.push(voice, |bytes| {
            let _ = member.sealer.seal_rtcp(&packet, index, bytes);
        });
    }

    /// Answers challenges; members whose keepalive was answered come to `proven`.
    fn drain_apps(&mut self, proven: &mut Vec<usize>) {
        let mut answers = Vec::new();
        while let Ok(count) = self.receiver.receive_from(&self.socket) {
            let (by_control, all) = (&self.by_control, &self.all);
            self.receiver.for_each_timed(count, |_, datagram| {
                let control = peek_ssrc(datagram).filter(|_| is_rtcp(datagram));
                let Some(k) = control.and_then(|c| by_control.get(&c)).copied() else { return };
                let Some(Ok((packet, _))) = all.get(k).map(|m| m.opener.open_rtcp(datagram)) else {
                    return;
                };
                for packet in rtcp::packets(packet).flatten() {
                    match packet {
                        RtcpPacket::App { app: App::Challenge(probe), .. } => {
                            answers.push((k, probe));
                        }
                        RtcpPacket::App { app: App::KeepaliveAnswer(_), .. } => proven.push(k),
                        _ => {}
                    }
                }
            });
        }
        for (k, probe) in answers {
            self.send_app(k, App::ChallengeAnswer(probe));
        }
        self.flush();
    }

    /// Queues a packet of speech; its payload begins with the time.
    pub fn speak(&mut self, k: usize, payload: usize) {
        let (Some(member), voice) = (self.all.get_mut(k), self.voice) else { return };
        let header = RtpHeader {
            marker: false,
            payload_type: codec::PT_L16,
            seq: (member.seq & 0xffff) as u16,
            timestamp: member.timestamp,
            ssrc: member.ssrc,
            audio_level: None,
        };
        let mut packet = Vec::with_capacity(payload + 12);
        header.write(&mut packet);
        packet.extend(clock::unix_ns().to_be_bytes());
        packet.resize(payload + 12, 0x5a);
        let index = PacketIndex(member.seq);
        member.seq += 1;
        member.timestamp = member.timestamp.wrapping_add(320);
        self.queue.push(voice, |bytes| {
            let _ = member.sealer.seal_rtp(&packet, index, bytes);
        });
    }

    /// Sends what is queued.
    pub fn flush(&mut self) {
        self.transmitter.send(&self.socket, &mut self.queue);
    }

    /// Takes the voice that has arrived: latencies in nanoseconds into `latencies`. How many packets.
    pub fn receive(&mut self, latencies: &mut Vec<u64>) -> u64 {
        let mut total = 0;
        loop {
            match self.receiver.receive_from(&self.socket) {
                Ok(count) => {
                    let Self { by_stream, rooms, all, scratch, .. } = self;
                    self.receiver.for_each_timed(count, |arrival, datagram| {
                        let speaker = peek_ssrc(datagram).filter(|_| !is_rtcp(datagram));
                        let speaker = speaker.and_then(|ssrc| by_stream.get(&ssrc)).copied();
                        let Some(k) = speaker else { return };
                        let Some(sent) = open_copy(k, datagram, rooms, all, scratch) else {
                            return;
                        };
                        total += 1;
                        latencies.push(arrival.saturating_sub(sent));
                    });
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return total,
            }
        }
    }
}

/// Opens a copy of speaker `k`'s voice with the keys of whoever it was for, and counts it for him: when it was said.
///
/// The server sends the copies of a packet in one order; so whose the next one is, is known unless one is
/// lost, and then the others' keys are tried.
fn open_copy(
    k: usize,
    datagram: &[u8],
    rooms: &BTreeMap<String, Vec<usize>>,
    all: &mut [Member],
    scratch: &mut Vec<u8>,
) -> Option<u64> {
    let speaker = all.get(k)?;
    let members = rooms.get(speaker.room.as_deref()?)?;
    // Never far from what he has said last.
    let index = PacketIndex(speaker.seq).nearest(peek_seq(datagram)?);
    let first = speaker.next_copy;
    for step in 0..members.len() {
        let place = (first + step) % members.len();
        let to = *members.get(place)?;
        if to == k {
            continue;
        }
        scratch.clear();
        scratch.extend_from_slice(datagram);
        let receiver = all.get_mut(to)?;
        let Ok(packet) = receiver.opener.open_rtp(scratch, index) else { continue };
        receiver.received += 1;
        let sent = packet.get(12..).and_then(|payload| payload.first_chunk::<8>());
        let sent = sent.map(|bytes| u64::from_be_bytes(*bytes));
        all.get_mut(k)?.next_copy = place + 1;
        return sent;
    }
    None
}

/// The first words of a session, and of its way into a room if one is named.
pub fn greet(name: &str, room: Option<&str>) -> anyhow::Result<Vec<u8>> {
    let hello = Hello {
        agent: concat!("parlor-load/", env!("CARGO_PKG_VERSION")).to_owned(),
        ..Hello::new(name)
    };
    let mut bytes =
        frame::encode(&Envelope::event(ClientMessage::Hello(Box::new(hello))))?.to_vec();
    if let Some(room) = room {
        bytes.extend(frame::encode(&Envelope::event(ClientMessage::join(room)))?);
    }
    Ok(bytes)
}

/// The next message of a connection.
pub async fn read_message(
    frames: &mut FramedRead<ReadHalf<Stream>, tokio_util::codec::LengthDelimitedCodec>,
) -> anyhow::Result<ServerMessage> {
    let frame = frame::next(frames).await.context("the server closed the connection")??;
    Ok(frame::decode::<Envelope<ServerMessage>>(&frame)?.body)
}
