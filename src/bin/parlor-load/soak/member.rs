//! One member: what he wants, what the server has confirmed, what he believes, and his voice.

use super::link::Link;
use super::orders::Order;
use super::speech::Speech;
use super::view::View;
use super::wire::Wire;
use parlor::net::clock;
use parlor::net::codec::PT_L16;
use parlor::net::device::DeviceKey;
use parlor::net::ids::{PacketIndex, Ssrc};
use parlor::net::message::{ClientMessage, MemberState, Welcome};
use parlor::net::protect::{Opener, Sealer};
use parlor::net::replay::ReplayWindow;
use parlor::net::rtcp::{self, App, ReportBlock, SenderInfo};
use parlor::net::rtp::RtpHeader;
use parlor::net::secret::ResumeSecret;
use std::collections::HashMap;
use std::time::Instant;

const NANOS: u64 = 1_000_000_000;

/// Where a member is on his way to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Not connected, until then.
    Away(Instant),
    /// Has been coming since then.
    Coming(Instant),
    /// Let in.
    Here,
}

/// What a member has asked and has no answer to.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// Into this room.
    Join(String),
    /// Out of it.
    Leave,
    /// This name.
    Rename(String),
    /// Microphone and ears.
    State(MemberState),
    /// His name to be kept, or not.
    Register(bool),
    /// A text that comes back to him.
    Text(String),
    /// A text to somebody who may have gone.
    Private,
    /// The operator's order.
    Order(Order),
    /// Which rooms there are.
    ListRooms,
    /// Who is in his.
    ListUsers,
    /// Behind everything that follows on a session's being taken over.
    Resumed,
}

/// A request without an answer.
#[derive(Debug, Clone)]
pub struct Open {
    /// Its number.
    pub re: u32,
    /// What it is.
    pub asked: Asked,
    /// When it was sent.
    pub since: Instant,
}

/// A time in a room, by the member's session: from when he may have been in it to when he was surely out of it.
#[derive(Debug, Clone)]
pub struct Stay {
    /// In which of his sessions.
    pub epoch: u32,
    /// Which room.
    pub room: String,
    /// From when on, in nanoseconds since 1970.
    pub since_ns: u64,
    /// Until when, in nanoseconds since 1970, if it is over.
    pub until_ns: Option<u64>,
}

impl Stay {
    /// He may have been there at some time between these.
    pub fn covers(&self, epoch: u32, from_ns: u64, to_ns: u64) -> bool {
        self.epoch == epoch
            && self.since_ns <= to_ns
            && self.until_ns.is_none_or(|until| until >= from_ns)
    }
}

/// What he may be after a loss, when it is not known what the server had got to.
#[derive(Debug, Clone, Default)]
pub struct Perhaps {
    /// The rooms that he may be in.
    pub rooms: Vec<Option<String>>,
    /// The names that he may have.
    pub names: Vec<String>,
}

/// A member.
pub struct Member {
    /// Which of them.
    pub number: u32,
    /// Which of his sessions this is.
    pub epoch: u32,
    /// How far he is.
    pub stage: Stage,
    /// His connection.
    pub link: Option<Link>,
    /// His name; this and what follows as confirmed by answers to him and to orders about him.
    pub name: String,
    /// His room.
    pub room: Option<String>,
    /// His microphone and ears.
    pub state: MemberState,
    /// His name is kept for him.
    pub registered: bool,
    /// How often he has asked for his name to be kept, or not to be: what is known of it is good for so long.
    pub registrations: u32,
    /// He has asked for that, and lost his connection before it was answered.
    pub registration_unsure: bool,
    /// He is the server's operator.
    pub operator: bool,
    /// Silenced, and in force since then, in nanoseconds since 1970.
    pub silenced_ns: Option<u64>,
    /// Banned by the sanction of this number.
    pub banned: Option<u64>,
    /// Sent away on purpose: the goodbye is no surprise.
    pub sent_away: bool,
    /// What he is, where that is not known.
    pub perhaps: Option<Perhaps>,
    /// Why the last connection ended, as far as that was not his own doing.
    pub ended: String,
    /// What the server can know him by.
    pub device: Option<DeviceKey>,
    /// Takes his last session over.
    pub resume: Option<ResumeSecret>,
    /// He does that when he comes back.
    pub resumes: bool,
    /// What he has asked; one thing at a time.
    pub open: Option<Open>,
    /// An order about him is under way.
    pub locked: bool,
    /// As he knows it from events.
    pub view: View,
    /// Where he has been lately.
    pub stays: Vec<Stay>,
    /// His voice, while he is let in.
    pub voice: Option<Voice>,
    /// Talks until then.
    pub talks_until: Option<Instant>,
    /// When he says his next packet.
    pub next_packet: Instant,
    /// When he gives the next sign of life.
    pub next_ping: Instant,
    /// When something came from the server.
    pub last_heard: Instant,
    /// The number of his next request.
    pub next_re: u32,
    /// How many names he has had.
    pub renames: u32,
    /// When he began to come for the last time.
    pub first_try: Instant,
}

impl Member {
    /// Somebody who has never been there.
    pub fn new(number: u32, device: Option<DeviceKey>, now: Instant) -> Self {
        Self {
            number,
            epoch: 0,
            stage: Stage::Away(now),
            link: None,
            name: format!("soak {number}"),
            room: None,
            state: MemberState::default(),
            registered: false,
            registrations: 0,
            registration_unsure: false,
            operator: number == 0,
            silenced_ns: None,
            banned: None,
            sent_away: false,
            perhaps: None,
            ended: String::new(),
            device,
            resume: None,
            resumes: false,
            open: None,
            locked: false,
            view: View::default(),
            stays: Vec::new(),
            voice: None,
            talks_until: None,
            next_packet: now,
            next_ping: now,
            last_heard: now,
            next_re: 1,
            renames: 0,
            first_try: now,
        }
    }

    /// Let in, with nothing asked and nothing ordered about him.
    pub fn is_free(&self) -> bool {
        self.stage == Stage::Here && self.open.is_none() && !self.locked
    }

    /// His name is surely kept for him now; which of his registrations that is.
    pub fn keeps_name(&self) -> Option<u32> {
        let asks = matches!(&self.open, Some(Open { asked: Asked::Register(_), .. }));
        let sure = self.registered && !asks && !self.registration_unsure;
        sure.then_some(self.registrations)
    }

    /// Asks something.
    pub fn ask(&mut self, asked: Asked, body: ClientMessage, now: Instant) {
        let re = self.next_re;
        self.next_re += 1;
        match &asked {
            Asked::Join(room) => self.may_be_in(room.clone()),
            Asked::Register(_) => self.registrations += 1,
            _ => {}
        }
        self.open = Some(Open { re, asked, since: now });
        self.send(Some(re), body);
    }

    /// Says something that is not answered by its number.
    pub fn send(&self, re: Option<u32>, body: ClientMessage) {
        if let Some(link) = &self.link {
            link.send(re, body);
        }
    }

    /// From now on he may be in this room, too.
    pub fn may_be_in(&mut self, room: String) {
        let open =
            |stay: &Stay| stay.epoch == self.epoch && stay.room == room && stay.until_ns.is_none();
        if !self.stays.iter().any(open) {
            let since_ns = clock::unix_ns();
            self.stays.push(Stay { epoch: self.epoch, room, since_ns, until_ns: None });
        }
    }

    /// It is confirmed that he is in this room, or in none, and in no other.
    pub fn is_in(&mut self, room: Option<String>) {
        let now_ns = clock::unix_ns();
        for stay in &mut self.stays {
            let ends = stay.epoch == self.epoch && Some(&stay.room) != room.as_ref();
            if ends && stay.until_ns.is_none() {
                stay.until_ns = Some(now_ns);
            }
        }
        if let Some(room) = &room {
            self.may_be_in(room.clone());
        }
        self.room = room;
    }

    /// It is confirmed that he was in no room any more, in that session.
    pub fn end_stays(&mut self, epoch: u32) {
        let now_ns = clock::unix_ns();
        for stay in self.stays.iter_mut().filter(|stay| stay.epoch == epoch) {
            stay.until_ns.get_or_insert(now_ns);
        }
    }

    /// What he may be, now that the connection is lost.
    pub fn lose(&mut self) {
        let mut perhaps =
            Perhaps { rooms: vec![self.room.clone()], names: vec![self.name.clone()] };
        match self.open.take().map(|open| open.asked) {
            Some(Asked::Join(room)) => perhaps.rooms.extend([Some(room), None]),
            Some(Asked::Leave) => perhaps.rooms.push(None),
            Some(Asked::Rename(name)) => perhaps.names.push(name),
            Some(Asked::Register(_)) => self.registration_unsure = true,
            _ => {}
        }
        // Lost again before it was known what had become of the loss before.
        if let Some(before) = self.perhaps.take() {
            perhaps.rooms.extend(before.rooms);
            perhaps.names.extend(before.names);
        }
        self.perhaps = Some(perhaps);
        self.link = None;
        self.talks_until = None;
    }
}

/// Voice of one session.
pub struct Voice {
    /// His socket, and the network behind it.
    pub wire: Wire,
    /// Opens what comes down.
    pub opener: Opener,
    sealer: Sealer,
    /// His stream.
    pub ssrc: Ssrc,
    /// That of the server's own packets to him.
    pub control_ssrc: Ssrc,
    /// The index of his next packet.
    pub index: PacketIndex,
    timestamp: u32,
    next_rtcp: u64,
    number: u64,
    packets: u32,
    /// What the clock of his reports says more than the true one, in 1/2^32 s.
    pub ntp_jump: u64,
    /// Which of the server's packets have come, by stream; no packet of the server comes twice.
    pub seen: HashMap<Ssrc, ReplayWindow>,
    /// The same of the server's own packets to him.
    pub seen_rtcp: ReplayWindow,
    /// The server has answered on the way that he wants.
    pub proven: bool,
    /// He wants voice inside the control connection.
    pub by_stream: bool,
    /// When he says that he is there.
    pub next_keepalive: Instant,
    /// When he reports.
    pub next_report: Instant,
}

impl Voice {
    /// Voice as the welcome says.
    pub fn new(welcome: &Welcome, wire: Wire, first: u16, now: Instant) -> anyhow::Result<Self> {
        let ssrc = welcome.streams.first().map_or(Ssrc(0), |stream| stream.ssrc);
        Ok(Self {
            wire,
            opener: Opener::new(welcome.protection, &welcome.down_key)?,
            sealer: Sealer::new(welcome.protection, &welcome.up_key)?,
            ssrc,
            control_ssrc: welcome.control_ssrc,
            index: PacketIndex::new(0, first),
            timestamp: 0,
            next_rtcp: 1,
            number: 0,
            packets: 0,
            ntp_jump: 0,
            seen: HashMap::new(),
            seen_rtcp: ReplayWindow::default(),
            proven: false,
            by_stream: false,
            next_keepalive: now,
            next_report: now,
        })
    }

    /// The next packet of speech, sealed.
    pub fn speak(&mut self, speaker: u32, epoch: u32, call: u64) -> Vec<u8> {
        self.number += 1;
        let speech = Speech { speaker, epoch, number: self.number, at_ns: clock::unix_ns(), call };
        let header = RtpHeader {
            marker: false,
            payload_type: PT_L16,
            seq: self.index.seq(),
            timestamp: self.timestamp,
            ssrc: self.ssrc,
            audio_level: None,
        };
        let (mut packet, mut sealed) = (Vec::new(), Vec::new());
        header.write(&mut packet);
        packet.extend(speech.to_bytes());
        // Indices end long after any soak.
        let _ = self.sealer.seal_rtp(&packet, self.index, &mut sealed);
        self.index.0 += 1;
        self.packets = self.packets.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(320);
        sealed
    }

    /// Sequence number and timestamp jump ahead, as after a suspend.
    pub fn jump(&mut self, packets: u16, timestamp: u32) {
        self.index.0 += u64::from(packets);
        self.timestamp = self.timestamp.wrapping_add(timestamp);
    }

    /// One of Parlor's own packets, sealed.
    pub fn app(&mut self, app: App) -> Vec<u8> {
        let mut packet = Vec::new();
        rtcp::write_app(&mut packet, self.ssrc, app);
        self.seal_rtcp(&packet)
    }

    /// A report with a clock that may have jumped, sealed.
    pub fn report(&mut self, blocks: &[ReportBlock]) -> Vec<u8> {
        let ns = clock::unix_ns();
        let ntp = ((ns / NANOS) << 32) | (((ns % NANOS) << 32) / NANOS);
        let info = SenderInfo {
            ntp: ntp.wrapping_add(self.ntp_jump),
            rtp_timestamp: self.timestamp,
            packets: self.packets,
            octets: self.packets.wrapping_mul(80),
        };
        let mut packet = Vec::new();
        rtcp::write_sender_report(&mut packet, self.ssrc, info, blocks);
        self.seal_rtcp(&packet)
    }

    fn seal_rtcp(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        let _ = self.sealer.seal_rtcp(packet, PacketIndex(self.next_rtcp), &mut sealed);
        self.next_rtcp += 1;
        sealed
    }
}
