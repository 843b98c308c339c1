//! A bare client: speaks both protocols byte by byte, keeps the lists that its events tell it, and waits for answers,
//! never for time.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use parlor::actors::connection::Caller;
use parlor::actors::server::Server;
use parlor::net::codec::PT_L16;
use parlor::net::frame;
use parlor::net::ids::{MemberId, PacketIndex, Ssrc};
use parlor::net::message::{
    ClientMessage, Envelope, Hello, MemberInfo, MemberState, ServerMessage, Welcome,
};
use parlor::net::protect::{Opener, Sealer};
use parlor::net::rtcp::{self, App, RtcpPacket};
use parlor::net::rtp::{RtpHeader, RtpPacket, is_rtcp, peek_seq};
use parlor::net::secret::ResumeSecret;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

pub trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// How long an event that must come may take on a loaded machine.
pub const DEADLINE: Duration = Duration::from_secs(20);
pub const DUPLEX_BYTES: usize = 256 * 1024;

pub struct Peer {
    frames: FramedRead<ReadHalf<Box<dyn Stream>>, LengthDelimitedCodec>,
    write: WriteHalf<Box<dyn Stream>>,
    pub socket: UdpSocket,
    pub server: SocketAddr,
    pub welcome: Welcome,
    pub opener: Opener,
    pub sealer: Sealer,
    pub room: Option<String>,
    pub members: BTreeMap<MemberId, MemberInfo>,
    /// Everything that came and was no answer, oldest first.
    pub events: VecDeque<ServerMessage>,
    next_request: u32,
    next_rtcp: u64,
    /// The index of the next packet of speech.
    pub index: PacketIndex,
    timestamp: u32,
}

/// What came out of a datagram.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    pub ssrc: Ssrc,
    pub seq: u16,
    pub marker: bool,
    pub payload: Vec<u8>,
}

pub fn hello(name: &str, resume: Option<ResumeSecret>) -> ClientMessage {
    ClientMessage::Hello(Box::new(Hello {
        agent: "test".to_owned(),
        state: MemberState { muted: true, deafened: false, recording: false },
        resume,
        ..Hello::new(name)
    }))
}

impl Peer {
    /// Connects inside the process and says `Hello`.
    pub async fn connect(server: &Server, name: &str) -> Self {
        Self::try_connect(server, name, None).await.unwrap()
    }

    pub async fn try_connect(
        server: &Server,
        name: &str,
        resume: Option<ResumeSecret>,
    ) -> Result<Self, ServerMessage> {
        let (near, far) = tokio::io::duplex(DUPLEX_BYTES);
        server.connect(far, Caller::default());
        Self::over(Box::new(near), server.udp(), name, resume).await
    }

    /// Says `Hello` over any stream.
    pub async fn over(
        stream: Box<dyn Stream>,
        server: SocketAddr,
        name: &str,
        resume: Option<ResumeSecret>,
    ) -> Result<Self, ServerMessage> {
        Self::greeting(stream, server, hello(name, resume)).await
    }

    /// Says this as its first word.
    pub async fn greeting(
        stream: Box<dyn Stream>,
        server: SocketAddr,
        hello: ClientMessage,
    ) -> Result<Self, ServerMessage> {
        let (read, mut write) = tokio::io::split(stream);
        let mut frames = FramedRead::new(read, frame::codec());
        let request = Envelope::answer(Some(0), hello);
        write.write_all(&frame::encode(&request).unwrap()).await.unwrap();
        let answer = frame::next(&mut frames).await.unwrap().unwrap();
        let answer: Envelope<ServerMessage> = frame::decode(&answer).unwrap();
        assert_eq!(answer.re, Some(0));
        let ServerMessage::Welcome(welcome) = answer.body else { return Err(answer.body) };
        let local = if server.is_ipv6() { "[::1]:0" } else { "127.0.0.1:0" };
        let socket = UdpSocket::bind(local).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Ok(Self {
            frames,
            write,
            socket,
            server,
            opener: Opener::new(welcome.protection, &welcome.down_key).unwrap(),
            sealer: Sealer::new(welcome.protection, &welcome.up_key).unwrap(),
            welcome: *welcome,
            room: None,
            members: BTreeMap::new(),
            events: VecDeque::new(),
            next_request: 1,
            next_rtcp: 1,
            index: PacketIndex(1000),
            timestamp: 0,
        })
    }

    pub fn id(&self) -> MemberId {
        self.welcome.id
    }

    pub fn ssrc(&self) -> Ssrc {
        self.welcome.streams[0].ssrc
    }

    pub fn names(&self) -> Vec<String> {
        self.members.values().map(|member| member.name.to_string()).collect()
    }

    /// Writes raw bytes into the control connection.
    pub async fn write_raw(&mut self, bytes: &[u8]) {
        self.write.write_all(bytes).await.unwrap();
    }

    /// Reads one message; `None` when the connection has ended.
    pub async fn read(&mut self) -> Option<Envelope<ServerMessage>> {
        let next = tokio::time::timeout(DEADLINE, frame::next(&mut self.frames));
        let frame = next.await.expect("the server answers")?.ok()?;
        let message: Envelope<ServerMessage> = frame::decode(&frame).unwrap();
        self.follow(&message.body);
        Some(message)
    }

    /// Keeps the lists as the messages tell.
    fn follow(&mut self, message: &ServerMessage) {
        match message {
            ServerMessage::Joined { room, members, .. } => {
                self.room = Some(room.to_string());
                self.members = members.iter().map(|m| (m.id, m.clone())).collect();
            }
            ServerMessage::Members { members, .. } => {
                self.members.extend(members.iter().map(|m| (m.id, m.clone())));
            }
            ServerMessage::Left { .. } => {
                self.room = None;
                self.members.clear();
            }
            ServerMessage::MemberJoined { member, .. } => {
                let before = self.members.insert(member.id, member.clone());
                assert_eq!(before, None, "he was here already");
            }
            ServerMessage::MemberChanged { member, .. } => {
                let before = self.members.insert(member.id, member.clone());
                assert!(before.is_some(), "he was not here");
            }
            ServerMessage::MemberLeft { id, .. } => {
                assert!(self.members.remove(id).is_some(), "he was not here");
            }
            _ => {}
        }
    }

    pub async fn send(&mut self, body: ClientMessage) -> u32 {
        let re = self.next_request;
        self.next_request += 1;
        let frame = frame::encode(&Envelope::answer(Some(re), body)).unwrap();
        self.write_raw(&frame).await;
        re
    }

    /// Sends a request and reads up to the end of its answer.
    pub async fn request(&mut self, body: ClientMessage) -> ServerMessage {
        let re = self.send(body).await;
        loop {
            let message = self.read().await.expect("the connection is open");
            let more = matches!(
                message.body,
                ServerMessage::Joined { more: true, .. }
                    | ServerMessage::Members { more: true, .. }
            );
            if message.re == Some(re) && !more {
                return message.body;
            }
            self.events.push_back(message.body);
        }
    }

    pub async fn join(&mut self, room: &str) {
        let joined = self.request(ClientMessage::join(room)).await;
        let good = matches!(joined, ServerMessage::Joined { .. } | ServerMessage::Members { .. });
        assert!(good, "{joined:?}");
    }

    /// Everything that the server had to say before now has been read after this.
    pub async fn catch_up(&mut self) {
        let pong = self.request(ClientMessage::Ping { token: 7 }).await;
        assert_eq!(pong, ServerMessage::Pong { token: 7 });
    }

    /// Reads until an event of this kind comes.
    pub async fn wait_for(&mut self, what: impl Fn(&ServerMessage) -> bool) -> ServerMessage {
        loop {
            if let Some(event) = self.events.pop_front() {
                if what(&event) {
                    return event;
                }
                continue;
            }
            let message = self.read().await.expect("the connection is open");
            self.events.push_back(message.body);
        }
    }

    pub fn seal_app(&mut self, app: App) -> Vec<u8> {
        let mut packet = Vec::new();
        rtcp::write_app(&mut packet, self.ssrc(), app);
        self.seal_rtcp(&packet)
    }

    /// RTCP of one's own making, sealed.
    pub fn seal_rtcp(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        self.sealer.seal_rtcp(packet, PacketIndex(self.next_rtcp), &mut sealed).unwrap();
        self.next_rtcp += 1;
        sealed
    }

    /// The next packet of speech, sealed.
    pub fn seal_voice(&mut self, payload: &[u8]) -> Vec<u8> {
        let header = RtpHeader {
            marker: false,
            payload_type: PT_L16,
            seq: self.index.seq(),
            timestamp: self.timestamp,
            ssrc: self.ssrc(),
            audio_level: None,
        };
        let mut packet = Vec::new();
        header.write(&mut packet);
        packet.extend(payload);
        let mut sealed = Vec::new();
        self.sealer.seal_rtp(&packet, self.index, &mut sealed).unwrap();
        self.index.0 += 1;
        self.timestamp = self.timestamp.wrapping_add(320);
        sealed
    }

    pub fn send_datagram(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.server).unwrap();
    }

    /// Proves the address of the voice socket and waits until it is in force.
    pub async fn open_voice(&mut self) {
        let keepalive = self.seal_app(App::Keepalive([1; 8]));
        self.send_datagram(&keepalive);
        let challenge = self.wait_app(|app| match app {
            App::Challenge(probe) => Some(probe),
            _ => None,
        });
        let answer = self.seal_app(App::ChallengeAnswer(challenge));
        self.send_datagram(&answer);
        self.wait_app(|app| (app == App::KeepaliveAnswer(challenge)).then_some(()));
        // The forwarder has told the session; a request behind it is dealt with after that.
        self.catch_up().await;
    }

    /// Everything that this peer has sent by UDP has been dealt with after this.
    pub fn settle_voice(&mut self) {
        let probe = self.next_rtcp.to_be_bytes();
        let keepalive = self.seal_app(App::Keepalive(probe));
        self.send_datagram(&keepalive);
        self.wait_app(|app| (app == App::KeepaliveAnswer(probe)).then_some(()));
    }

    /// Waits for one of the server's own packets; voice that comes before it is an error.
    pub fn wait_app<T>(&mut self, want: impl Fn(App) -> Option<T>) -> T {
        let mut buffer = [0; 2048];
        loop {
            let (length, from) = self.socket.recv_from(&mut buffer).expect("an answer comes");
            assert_eq!(from, self.server);
            assert!(is_rtcp(&buffer[..length]), "voice came instead of an answer");
            let (packet, _) = self.opener.open_rtcp(&mut buffer[..length]).unwrap();
            for packet in rtcp::packets(packet) {
                if let RtcpPacket::App { app, ssrc } = packet.unwrap() {
                    assert_eq!(ssrc, self.welcome.control_ssrc);
                    if let Some(found) = want(app) {
                        return found;
                    }
                }
            }
        }
    }

    /// Says this and waits until the server has passed it on.
    pub fn speak(&mut self, payload: &[u8]) {
        let voice = self.seal_voice(payload);
        self.send_datagram(&voice);
        self.settle_voice();
    }

    /// All voice that lies in the socket now.
    pub fn heard(&mut self) -> Vec<Heard> {
        self.socket.set_nonblocking(true).unwrap();
        let mut all = Vec::new();
        let mut buffer = [0; 2048];
        loop {
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    assert_eq!(from, self.server);
                    let datagram = &mut buffer[..length];
                    assert!(!is_rtcp(datagram), "an answer to nothing");
                    let index = PacketIndex::new(0, peek_seq(datagram).unwrap());
                    let packet = self.opener.open_rtp(datagram, index).unwrap();
                    let RtpPacket { header, payload } = RtpPacket::parse(packet).unwrap();
                    all.push(Heard {
                        ssrc: header.ssrc,
                        seq: header.seq,
                        marker: header.marker,
                        payload: payload.to_vec(),
                    });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        self.socket.set_nonblocking(false).unwrap();
        all
    }
}

/// Everything that lies in a socket now, as it came.
pub fn raw(socket: &UdpSocket) -> Vec<Vec<u8>> {
    socket.set_nonblocking(true).unwrap();
    let mut all = Vec::new();
    let mut buffer = [0; 2048];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((length, _)) => all.push(buffer[..length].to_vec()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    socket.set_nonblocking(false).unwrap();
    all
}

/// What a peer has heard by now.
pub fn payloads(peer: &mut Peer) -> Vec<Vec<u8>> {
    peer.heard().into_iter().map(|heard| heard.payload).collect()
}

/// Waits until `reached` holds, giving the server its turn in between.
pub async fn until<F: Future<Output = bool>>(what: &str, mut reached: impl FnMut() -> F) {
    let wait = async {
        while !reached().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("never came: {what}"));
}
