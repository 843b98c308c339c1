//! Simulated members: real sessions over TCP, one UDP socket for the voice of all of them.
//!
//! Member `k` is 127.1.x.y on the port of that one wildcard socket, so whose a datagram is stands in its destination. One
//! socket keeps the receivers' share of the kernel's work, which a server on the same machine is billed for, the same whatever
//! the number of members; the kernel's times of arrival keep this program's own scheduling out of the latencies.

use crate::connect::{Connector, Stream};
use anyhow::{Context, bail};
use parlor::net::frame;
use parlor::net::ids::{PacketIndex, Ssrc};
use parlor::net::limits::{KEEPALIVE_INTERVAL, PING_INTERVAL};
use parlor::net::message::{ClientMessage, Envelope, Hello, Protection, ServerMessage, Welcome};
use parlor::net::protect::{DirectionKey, Opener, Sealer};
use parlor::net::rtcp::{self, App, RtcpPacket};
use parlor::net::rtp::{AudioLevel, RtpHeader, is_rtcp, peek_seq, peek_ssrc};
use parlor::net::udp::{Receiver, SendQueue, Transmitter, Watch, receive_buffer};
use parlor::net::{clock, codec};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

const PROOF_DEADLINE: Duration = Duration::from_secs(20);
const RECEIVE_BUFFER_BYTES: usize = 256 << 20;
/// Addresses in each network of 8 bits.
const ADDRESSES: usize = 250;
/// Connections that are made at the same time.
const AT_ONCE: usize = 16;

/// Frames as they are read.
pub type Frames = FramedRead<ReadHalf<Stream>, LengthDelimitedCodec>;

/// One session.
struct Member {
    sealer: Sealer,
    opener: Opener,
    ssrc: Ssrc,
    seq: u64,
    timestamp: u32,
    rtcp: u64,
}

/// What has arrived.
#[derive(Default)]
pub struct Heard {
    /// Copies of voice.
    pub packets: u64,
    /// Copies by speaker.
    pub by_speaker: HashMap<Ssrc, u64>,
    /// From the sender's clock reading to the kernel's receiving, in ns.
    pub latencies: Vec<u64>,
    /// Datagrams that did not authenticate.
    pub bad: u64,
}

/// All members and the socket of their voice.
pub struct Members {
    all: Vec<Member>,
    by_stream: HashMap<Ssrc, usize>,
    protection: Option<Protection>,
    socket: UdpSocket,
    receiver: Receiver,
    transmitter: Transmitter,
    queue: SendQueue,
    voice: SocketAddr,
    /// When their voice paths have to show life again.
    alive: Instant,
    /// One in so many copies is opened and its latency noted; the others are counted alone.
    pub opened_every: u64,
    stop: watch::Sender<bool>,
}

impl Drop for Members {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// Where member `k` is.
pub fn address(k: usize) -> Ipv4Addr {
    let (high, low) = (k / ADDRESSES, k % ADDRESSES + 1);
    Ipv4Addr::new(127, 1, u8::try_from(high).unwrap_or(u8::MAX), u8::try_from(low).unwrap_or(0))
}

/// Who is at an address.
pub fn at(address: Ipv4Addr) -> Option<usize> {
    match address.octets() {
        [127, 1, high, low] if low > 0 => {
            Some(usize::from(high) * ADDRESSES + usize::from(low) - 1)
        }
        _ => None,
    }
}

impl Members {
    /// Nobody yet. `voice` is where their voice goes.
    pub fn new(voice: SocketAddr) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("no UDP socket")?;
        socket.set_nonblocking(true)?;
        // Nothing from outside this machine: where it is refused, it authenticates nothing that comes.
        #[cfg(target_os = "linux")]
        let _ = socket2::SockRef::from(&socket).bind_device(Some(b"lo"));
        receive_buffer(&socket, RECEIVE_BUFFER_BYTES);
        let watch = Watch { times: true, drops: false, destinations: true };
        let receiver = Receiver::watching(&socket, watch)
            .context("no times of arrival; parlor-load needs Linux")?;
        Ok(Self {
            all: Vec::new(),
            by_stream: HashMap::new(),
            protection: None,
            socket,
            receiver,
            transmitter: Transmitter::default(),
            queue: SendQueue::default(),
            voice,
            alive: clock::now(),
            opened_every: 1,
            stop: watch::Sender::new(false),
        })
    }

    /// The port of all members.
    pub fn port(&self) -> anyhow::Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// The first stream of a member.
    pub fn ssrc(&self, k: usize) -> Option<Ssrc> {
        self.all.get(k).map(|member| member.ssrc)
    }

    /// Connects sessions, some at a time, each into its room if it has one; they are kept alive in the background. The
    /// server's voice port.
    pub async fn connect(
        &mut self,
        connector: &Connector,
        wanted: Vec<(String, Option<String>)>,
    ) -> anyhow::Result<Option<u16>> {
        let first = self.all.len();
        let mut welcomes: Vec<Option<Box<Welcome>>> = wanted.iter().map(|_| None).collect();
        let (mut waiting, mut running) = (wanted.into_iter().enumerate(), JoinSet::new());
        let mut port = None;
        loop {
            while running.len() < AT_ONCE
                && let Some((k, (name, room))) = waiting.next()
            {
                let (connector, stop) = (connector.clone(), self.stop.subscribe());
                running.spawn(async move {
                    let (welcome, frames, write) =
                        come_in(&connector, &name, room.as_deref()).await?;
                    tokio::spawn(stay(frames, write, stop));
                    anyhow::Ok((k, welcome))
                });
            }
            let Some(done) = running.join_next().await else { break };
            let (k, welcome) = done??;
            port = Some(welcome.udp_port);
            if let Some(place) = welcomes.get_mut(k) {
                *place = Some(welcome);
            }
        }
        for welcome in welcomes.into_iter().flatten() {
            let ssrc = welcome.streams.first().map_or(Ssrc(0), |stream| stream.ssrc);
            self.add(welcome.protection, &welcome.up_key, &welcome.down_key, ssrc)?;
        }
        debug_assert!(self.all.len() >= first);
        Ok(port)
    }

    /// A member with these keys: they are all that voice needs.
    pub fn add(
        &mut self,
        protection: Protection,
        up: &DirectionKey,
        down: &DirectionKey,
        ssrc: Ssrc,
    ) -> anyhow::Result<()> {
        self.by_stream.insert(ssrc, self.all.len());
        self.protection = Some(protection);
        self.all.push(Member {
            sealer: Sealer::new(protection, up)?,
            opener: Opener::new(protection, down)?,
            ssrc,
            seq: 1,
            timestamp: 0,
            rtcp: 1,
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
        let mut open = vec![true; self.all.len()];
        open.iter_mut().take(first).for_each(|open| *open = false);
        while open.contains(&true) {
            if clock::now() > deadline {
                let count = open.iter().filter(|open| **open).count();
                bail!("{count} members have no voice path");
            }
            let asking: Vec<usize> =
                (first..open.len()).filter(|k| open.get(*k) == Some(&true)).collect();
            for chunk in asking.chunks(128) {
                for k in chunk {
                    self.send_app(*k, App::Keepalive([0; 8]));
                }
                self.flush();
                std::thread::sleep(Duration::from_millis(5));
                self.drain_apps(&mut open);
            }
            std::thread::sleep(Duration::from_millis(20));
            self.drain_apps(&mut open);
        }
        Ok(())
    }

    /// Shows signs of life on all voice paths when it is time, as clients do that are silent.
    pub fn keep_alive(&mut self) {
        let now = clock::now();
        if now < self.alive {
            return;
        }
        self.alive = now + KEEPALIVE_INTERVAL;
        for k in 0..self.all.len() {
            self.send_app(k, App::Keepalive([0; 8]));
        }
        self.flush();
    }

    fn send_app(&mut self, k: usize, app: App) {
        let (Some(member), voice) = (self.all.get_mut(k), self.voice) else { return };
        let mut packet = Vec::new();
        rtcp::write_app(&mut packet, member.ssrc, app);
        let index = PacketIndex(member.rtcp);
        member.rtcp += 1;
        self.queue.push_from(Some(address(k)), voice, |bytes| {
            let _ = member.sealer.seal_rtcp(&packet, index, bytes);
        });
    }

    /// Answers challenges; whose keepalive was answered is open no more.
    fn drain_apps(&mut self, open: &mut [bool]) {
        let mut answers = Vec::new();
        while let Ok(count) = self.receiver.receive_from(&self.socket) {
            let all = &self.all;
            self.receiver.for_each(count, |arrival, datagram| {
                let Some(k) = arrival.to.and_then(at).filter(|_| is_rtcp(datagram)) else { return };
                let Some(Ok((packet, _))) = all.get(k).map(|m| m.opener.open_rtcp(datagram)) else {
                    return;
                };
                for packet in rtcp::packets(packet).flatten() {
                    match packet {
                        RtcpPacket::App { app: App::Challenge(probe), .. } => {
                            answers.push((k, probe));
                        }
                        RtcpPacket::App { app: App::KeepaliveAnswer(_), .. } => {
                            open.iter_mut().skip(k).take(1).for_each(|open| *open = false);
                        }
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

    /// Queues a packet of speech of so many bytes; its payload begins with the time. With none it ends a talkspurt.
    pub fn speak(&mut self, k: usize, payload: usize, level: Option<AudioLevel>) {
        let (Some(member), voice) = (self.all.get_mut(k), self.voice) else { return };
        let header = RtpHeader {
            marker: false,
            payload_type: codec::PT_L16,
            seq: (member.seq & 0xffff) as u16,
            timestamp: member.timestamp,
            ssrc: member.ssrc,
            audio_level: level,
        };
        let mut packet = Vec::with_capacity(payload + 20);
        header.write(&mut packet);
        let whole = packet.len() + payload;
        if payload > 0 {
            packet.extend(clock::unix_ns().to_be_bytes());
        }
        packet.resize(whole, 0x5a);
        let index = PacketIndex(member.seq);
        member.seq += 1;
        member.timestamp = member.timestamp.wrapping_add(320);
        self.queue.push_from(Some(address(k)), voice, |bytes| {
            let _ = member.sealer.seal_rtp(&packet, index, bytes);
        });
    }

    /// Sends what is queued.
    pub fn flush(&mut self) {
        self.transmitter.send(&self.socket, &mut self.queue);
    }

    /// Takes the voice that has arrived.
    pub fn receive(&mut self, heard: &mut Heard) {
        loop {
            match self.receiver.receive_from(&self.socket) {
                Ok(count) => {
                    let Self { by_stream, all, opened_every, .. } = self;
                    self.receiver.for_each(count, |arrival, datagram| {
                        let (Some(to), false) = (arrival.to.and_then(at), is_rtcp(datagram)) else {
                            return;
                        };
                        let Some(ssrc) = peek_ssrc(datagram) else { return };
                        let Some(speaker) = by_stream.get(&ssrc).and_then(|k| all.get(*k)) else {
                            return;
                        };
                        if !heard.packets.is_multiple_of(*opened_every) {
                            heard.packets += 1;
                            *heard.by_speaker.entry(ssrc).or_default() += 1;
                            return;
                        }
                        // Never far from what he has said last.
                        let index =
                            peek_seq(datagram).map(|seq| PacketIndex(speaker.seq).nearest(seq));
                        let opened = all.get(to).zip(index).map(|(to, index)| {
                            to.opener
                                .open_rtp(datagram, index)
                                .ok()
                                .and_then(|packet| time_in(packet))
                        });
                        match opened.flatten() {
                            Some(sent) => {
                                heard.packets += 1;
                                *heard.by_speaker.entry(ssrc).or_default() += 1;
                                heard.latencies.push(arrival.at_ns.saturating_sub(sent));
                            }
                            None => heard.bad += 1,
                        }
                    });
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

/// The time at the beginning of a packet's payload.
fn time_in(packet: &[u8]) -> Option<u64> {
    let parsed = parlor::net::rtp::RtpPacket::parse(packet).ok()?;
    parsed.payload.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))
}

/// Connects one session and brings it into its room.
async fn come_in(
    connector: &Connector,
    name: &str,
    room: Option<&str>,
) -> anyhow::Result<(Box<Welcome>, Frames, WriteHalf<Stream>)> {
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
    Ok((welcome, frames, write))
}

/// Keeps a session alive, and reads what it is told.
async fn stay(mut frames: Frames, mut write: WriteHalf<Stream>, mut stop: watch::Receiver<bool>) {
    let ping = frame::encode(&Envelope::event(ClientMessage::Ping { token: 0 }));
    let Ok(ping) = ping else { return };
    let mut interval = tokio::time::interval(PING_INTERVAL);
    interval.tick().await;
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
pub async fn read_message(frames: &mut Frames) -> anyhow::Result<ServerMessage> {
    let frame = frame::next(frames).await.context("the server closed the connection")??;
    Ok(frame::decode::<Envelope<ServerMessage>>(&frame)?.body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_has_an_address_of_his_own() {
        for k in [0, 1, 249, 250, 251, 16_383] {
            assert_eq!(at(address(k)), Some(k));
        }
        assert_eq!(at(Ipv4Addr::LOCALHOST), None);
        assert_eq!(at(Ipv4Addr::new(127, 1, 0, 0)), None);
    }
}
