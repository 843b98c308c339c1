//! What a forwarder decides: which datagram is whose, who gets a copy, which address is believed.
//!
//! No socket, clock or randomness: datagrams and times come in, datagrams and notices go out. Nothing
//! is stored for a datagram before it authenticates.

use super::reception::Reception;
use crate::actors::allowance::Allowance;
use crate::actors::routes::{Heard, RoomRoutes, SessionRoute, VoiceNotice, VoicePath};
use crate::net::codec::CLOCKS;
use crate::net::ids::{PacketIndex, RoomId, SSRCS_PER_SESSION, SessionId, Ssrc};
use crate::net::limits::{
    ADDRESS_LIFETIME, CHALLENGE_INTERVAL, CHALLENGE_LIFETIME, DATAGRAM_BYTES_MAX,
    PATH_NEWS_INTERVAL, REPORT_INTERVAL, TALKSPURT_NEWS_INTERVAL, TALKSPURT_TIMEOUT,
};
use crate::net::protect::RTCP_OVERHEAD;
use crate::net::replay::ReplayWindow;
use crate::net::rtcp::{self, APP_PROBE_BYTES, App, Probe, RtcpPacket};
use crate::net::rtp::{self, RtpPacket};
use crate::net::udp::SendQueue;
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// Gives eight bytes that nobody can guess.
pub type ProbeSource = Box<dyn FnMut() -> Probe + Send>;

/// Where a datagram came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The UDP socket.
    Udp(SocketAddr),
    /// The control connection of this session.
    Stream(SessionId),
}

/// What a forwarder wants done.
#[derive(Default)]
pub struct Outputs {
    /// Datagrams to send.
    pub queue: SendQueue,
    /// News for sessions.
    pub notices: Vec<(SessionId, VoiceNotice)>,
}

/// Counters, for the operator and for tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams received.
    pub received: u64,
    /// Voice packets accepted from members of a room.
    pub accepted: u64,
    /// Copies of them sent.
    pub forwarded: u64,
    /// Datagrams of no session, not authentic, replayed, or no packet at all.
    pub dropped: u64,
}

/// A session whose streams this forwarder owns.
struct Owned {
    route: SessionRoute,
    room: Option<RoomId>,
    streams: [Stream; CLOCKS.len()],
    rtcp_seen: ReplayWindow,
    rtcp_sent: u64,
    address: Option<SocketAddr>,
    /// Something authentic has come inside the control connection.
    by_stream: bool,
    /// Whether the client wants voice inside the control connection, and the packet that said so last.
    wish: Option<(PacketIndex, bool)>,
    /// Last told to the session: the way of its voice, and when.
    told_way: (Way, Option<Instant>),
    challenge: Option<Challenge>,
    last_seen: Instant,
    last_voice: Option<Instant>,
    /// Last told to the session: speaking or not, and when.
    told: (bool, Option<Instant>),
    last_report: Option<Instant>,
    last_blocks: Option<Instant>,
    allowance: Allowance,
}

/// How voice reaches a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    None,
    Udp(SocketAddr),
    Stream,
}

#[derive(Default)]
struct Stream {
    replay: ReplayWindow,
    reception: Reception,
}

struct Challenge {
    to: SocketAddr,
    probe: Probe,
    begun: Instant,
    sent: Instant,
}

/// The state of one forwarder.
pub struct ForwarderCore {
    sessions: HashMap<u32, Owned>,
    rooms: HashMap<RoomId, Arc<RoomRoutes>>,
    talking: BTreeSet<u32>,
    /// Whose way of voice has changed so soon after the last time that it is told later.
    turning: BTreeSet<u32>,
    probes: ProbeSource,
    counters: Counters,
    scratch: Vec<u8>,
}

fn group(ssrc: Ssrc) -> u32 {
    ssrc.0 / SSRCS_PER_SESSION
}

impl ForwarderCore {
    /// A forwarder that owns nothing yet.
    #[must_use]
    pub fn new(probes: ProbeSource) -> Self {
        Self {
            sessions: HashMap::new(),
            rooms: HashMap::new(),
            talking: BTreeSet::new(),
            turning: BTreeSet::new(),
            probes,
            counters: Counters::default(),
            scratch: Vec::with_capacity(DATAGRAM_BYTES_MAX),
        }
    }

    /// What has been counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Sessions and rooms held.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        (self.sessions.len(), self.rooms.len())
    }

    /// As if a session's first stream and the server's packets to it had come this far.
    #[cfg(test)]
    pub(super) fn wind_forward(&mut self, base: Ssrc, rtp: PacketIndex, rtcp_sent: u64) {
        if let Some(owned) = self.sessions.get_mut(&group(base)) {
            let [first, ..] = &mut owned.streams;
            first.replay = ReplayWindow::after(rtp);
            owned.rtcp_sent = rtcp_sent;
        }
    }

    /// Owns the streams of one more session.
    pub fn add_session(&mut self, route: SessionRoute, now: Instant) {
        self.sessions.insert(group(route.voice.base()), Owned::new(route, now));
    }

    /// Forgets the session whose SSRCs begin at `base`: nothing of it authenticates any more.
    pub fn remove_session(&mut self, base: Ssrc) {
        self.sessions.remove(&group(base));
        self.talking.remove(&group(base));
        self.turning.remove(&group(base));
    }

    /// Puts a room's members in force as they are now; `None` when the room is gone.
    pub fn set_room(&mut self, id: RoomId, routes: Option<Arc<RoomRoutes>>) {
        if let Some(before) = self.rooms.remove(&id) {
            for member in &before.members {
                if let Some(owned) = self.sessions.get_mut(&group(member.voice.base()))
                    && owned.room == Some(id)
                {
                    owned.room = None;
                }
            }
        }
        let Some(routes) = routes else { return };
        for member in &routes.members {
            if let Some(owned) = self.sessions.get_mut(&group(member.voice.base())) {
                owned.room = Some(id);
            }
        }
        self.rooms.insert(id, routes);
    }

    /// Takes one datagram. Opens it in place.
    pub fn handle_datagram(
        &mut self,
        origin: Origin,
        datagram: &mut [u8],
        now: Instant,
        out: &mut Outputs,
    ) {
        self.counters.received += 1;
        let handled = match rtp::peek_ssrc(datagram) {
            None => None,
            Some(_) if datagram.len() > DATAGRAM_BYTES_MAX => None,
            Some(ssrc) if rtp::is_rtcp(datagram) => {
                self.handle_rtcp(ssrc, origin, datagram, now, out)
            }
            Some(ssrc) => self.handle_rtp(ssrc, origin, datagram, now, out),
        };
        if handled.is_none() {
            self.counters.dropped += 1;
        }
    }

    fn handle_rtp(
        &mut self,
        ssrc: Ssrc,
        origin: Origin,
        datagram: &mut [u8],
        now: Instant,
        out: &mut Outputs,
    ) -> Option<()> {
        let length = datagram.len();
        let owned = self.sessions.get_mut(&group(ssrc))?;
        let k = usize::try_from(ssrc.0 % SSRCS_PER_SESSION).ok()?;
        let stream = owned.streams.get_mut(k)?;
        let index = stream.replay.estimate(rtp::peek_seq(datagram)?);
        stream.replay.check(index).ok()?;
        let packet = owned.route.opener.open_rtp(datagram, index).ok()?;
        let parsed = RtpPacket::parse(packet).ok()?;
        // Authentic from here on.
        let newest = stream.replay.commit(index);
        let clock_hz = CLOCKS.get(k).copied().unwrap_or(CLOCKS[0]);
        stream.reception.note(index, parsed.header.timestamp, clock_hz, now);
        if newest {
            owned.route.voice.advance(k, index, parsed.header.payload_type);
            owned.consider(origin, length, now, &mut self.probes, out);
            if owned.tell_way(now, out) {
                self.turning.insert(group(ssrc));
            }
            // A packet that was overtaken says nothing of now, and one that nobody hears is no speech.
            let heard = !parsed.payload.is_empty() && !owned.route.voice.silenced();
            owned.last_voice = heard.then_some(now);
            if owned.tell_speaking(now, out) {
                self.talking.insert(group(ssrc));
            }
        }
        if !owned.allowance.take(length, now) {
            return None;
        }
        if owned.route.voice.silenced() {
            return Some(());
        }
        let room = self.rooms.get(&owned.room?)?;
        self.counters.accepted += 1;
        for member in room.members.iter().filter(|m| m.session != owned.route.session) {
            let Some(path) = &member.path else { continue };
            // The window lets an index pass once, so no receiver's key seals it twice.
            let sent = match path {
                VoicePath::Udp(to) => out.queue.push(*to, |bytes| {
                    let _ = member.sealer.seal_rtp(packet, index, bytes);
                }),
                VoicePath::Stream(outbox) => {
                    self.scratch.clear();
                    let sealed = member.sealer.seal_rtp(packet, index, &mut self.scratch);
                    if sealed.is_ok() {
                        outbox.push_voice(&self.scratch, now);
                    }
                    sealed.is_ok()
                }
            };
            self.counters.forwarded += u64::from(sent);
        }
        Some(())
    }

    fn handle_rtcp(
        &mut self,
        ssrc: Ssrc,
        origin: Origin,
        datagram: &mut [u8],
        now: Instant,
        out: &mut Outputs,
    ) -> Option<()> {
        let length = datagram.len();
        let owned = self.sessions.get_mut(&group(ssrc))?;
        let (packet, index) = owned.route.opener.open_rtcp(datagram).ok()?;
        owned.rtcp_seen.check(index).ok()?;
        // Authentic from here on.
        if owned.rtcp_seen.commit(index) {
            owned.consider(origin, length, now, &mut self.probes, out);
        }
        let mut answer = Vec::new();
        let (mut reported, mut probed) = (false, None);
        let reports = &*packet;
        for packet in rtcp::packets(reports) {
            match packet.ok()? {
                RtcpPacket::Sender { ssrc, info, blocks } => {
                    if let Some(stream) = owned.stream_mut(ssrc) {
                        stream.reception.note_sender_report(info.ntp, now);
                    }
                    if !reported && owned.heeds_blocks(now) {
                        record(&self.rooms, owned.room, blocks, reports);
                    }
                    reported = true;
                }
                RtcpPacket::Receiver { blocks, .. } => {
                    if !reported && owned.heeds_blocks(now) {
                        record(&self.rooms, owned.room, blocks, reports);
                    }
                    reported = true;
                }
                RtcpPacket::App { app: App::Keepalive(probe), .. } => probed = Some(probe),
                RtcpPacket::App { app: App::ChallengeAnswer(probe), .. } => {
                    if owned.prove(origin, probe, now) {
                        probed = Some(probe);
                    }
                }
                RtcpPacket::App { app: App::Path { stream }, .. } => {
                    // One that was overtaken says nothing of now.
                    if owned.wish.is_none_or(|(last, _)| index > last) {
                        owned.wish = Some((index, stream));
                    }
                }
                RtcpPacket::App { .. } | RtcpPacket::Other => {}
            }
        }
        if owned.tell_way(now, out) {
            self.turning.insert(group(ssrc));
        }
        if let Some(probe) = probed {
            let app = App::KeepaliveAnswer(probe);
            rtcp::write_app(&mut answer, owned.route.voice.control(), app);
        }
        // One report for one datagram, and not for each of a flood.
        if reported && owned.last_report.is_none_or(|at| now >= at + REPORT_INTERVAL / 2) {
            owned.last_report = Some(now);
            owned.report(&mut answer, now);
        }
        if !answer.is_empty() && owned.proven(origin) {
            owned.send(origin, &answer, now, out);
        }
        Some(())
    }

    /// Ends talkspurts that were never closed, and tells of those whose news had to wait.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Outputs) {
        let Self { talking, turning, sessions, .. } = self;
        turning.retain(|group| sessions.get_mut(group).is_some_and(|s| s.tell_way(now, out)));
        talking.retain(|group| {
            let Some(owned) = sessions.get_mut(group) else { return false };
            if owned.last_voice.is_some_and(|last| now >= last + TALKSPURT_TIMEOUT) {
                owned.last_voice = None;
            }
            owned.tell_speaking(now, out)
        });
    }

    /// Forgets addresses that have shown no life for too long; slower than `handle_timeout`, once a second is enough.
    pub fn sweep(&mut self, now: Instant, out: &mut Outputs) {
        for owned in self.sessions.values_mut() {
            if owned.address.is_some() && now.duration_since(owned.last_seen) >= ADDRESS_LIFETIME {
                owned.address = None;
                if owned.tell_way(now, out) {
                    self.turning.insert(group(owned.route.voice.base()));
                }
            }
        }
    }
}

/// Hands receivers' reports on streams of their room to whoever owns those streams.
fn record(
    rooms: &HashMap<RoomId, Arc<RoomRoutes>>,
    room: Option<RoomId>,
    blocks: rtcp::Blocks<'_>,
    reports: &[u8],
) {
    let Some(room) = room.and_then(|room| rooms.get(&room)) else { return };
    let mut counted = Vec::new();
    for block in blocks {
        if counted.contains(&block.ssrc) {
            continue;
        }
        counted.push(block.ssrc);
        let speaker = room.members.iter().find(|m| group(m.voice.base()) == group(block.ssrc));
        if let Some(speaker) = speaker {
            let (share, burst_ms) = losses(reports, block.ssrc).unwrap_or((block.fraction_lost, 0));
            speaker.voice.heard.record(share, burst_ms);
        }
    }
}

/// What a receiver's datagram says of a stream's loss beside its block: share in 1/256 and length of bursts in ms.
fn losses(reports: &[u8], stream: Ssrc) -> Option<(u8, u8)> {
    rtcp::packets(reports).flatten().find_map(|packet| match packet {
        RtcpPacket::App { app: App::Losses { ssrc, share, burst_ms }, .. } => {
            (ssrc == stream).then_some((share, burst_ms))
        }
        _ => None,
    })
}

impl Owned {
    fn new(route: SessionRoute, now: Instant) -> Self {
        let allowance = Allowance::full(route.voice.rates, now);
        Self {
            route,
            room: None,
            streams: Default::default(),
            rtcp_seen: ReplayWindow::default(),
            rtcp_sent: 0,
            address: None,
            by_stream: false,
            wish: None,
            told_way: (Way::None, None),
            challenge: None,
            last_seen: now,
            last_voice: None,
            told: (false, None),
            last_report: None,
            last_blocks: None,
            allowance,
        }
    }

    /// Tells the session whether it speaks, if that is news and not too soon after the last; whether
    /// there is anything to come back to.
    fn tell_speaking(&mut self, now: Instant, out: &mut Outputs) -> bool {
        let speaking = self.last_voice.is_some();
        let (told, at) = self.told;
        if speaking != told && at.is_none_or(|at| now >= at + TALKSPURT_NEWS_INTERVAL) {
            self.told = (speaking, Some(now));
            out.notices.push((self.route.session, VoiceNotice::Speaking(speaking)));
        }
        speaking || self.told.0
    }

    /// Whether this receiver's blocks count now: so often and no more, that no listener outweighs the others.
    fn heeds_blocks(&mut self, now: Instant) -> bool {
        let heeds = self.last_blocks.is_none_or(|at| now >= at + REPORT_INTERVAL * 4 / 5);
        if heeds {
            self.last_blocks = Some(now);
        }
        heeds
    }

    fn stream_mut(&mut self, ssrc: Ssrc) -> Option<&mut Stream> {
        let k = usize::try_from(ssrc.0.checked_sub(self.route.voice.base().0)?).ok()?;
        self.streams.get_mut(k)
    }

    fn proven(&self, origin: Origin) -> bool {
        match origin {
            Origin::Udp(from) => self.address == Some(from),
            Origin::Stream(session) => session == self.route.session,
        }
    }

    /// An authentic packet above all others came from `origin`: the only thing that may start a change of address.
    fn consider(
        &mut self,
        origin: Origin,
        length: usize,
        now: Instant,
        probes: &mut ProbeSource,
        out: &mut Outputs,
    ) {
        let from = match origin {
            Origin::Udp(from) => from,
            Origin::Stream(_) => {
                self.by_stream = true;
                return;
            }
        };
        if self.address == Some(from) {
            self.last_seen = now;
            return;
        }
        // No answer is larger than its question.
        if length < APP_PROBE_BYTES + RTCP_OVERHEAD {
            return;
        }
        let probe = match &self.challenge {
            Some(open) if open.to == from && now < open.begun + CHALLENGE_LIFETIME => {
                if now < open.sent + CHALLENGE_INTERVAL {
                    return;
                }
                open.probe
            }
            _ => probes(),
        };
        let begun = match &self.challenge {
            Some(open) if open.probe == probe => open.begun,
            _ => now,
        };
        self.challenge = Some(Challenge { to: from, probe, begun, sent: now });
        let mut packet = Vec::with_capacity(APP_PROBE_BYTES);
        rtcp::write_app(&mut packet, self.route.voice.control(), App::Challenge(probe));
        self.send(Origin::Udp(from), &packet, now, out);
    }

    /// A challenge has come back: the address is believed if it is the one that was asked.
    fn prove(&mut self, origin: Origin, probe: Probe, now: Instant) -> bool {
        let Origin::Udp(from) = origin else { return false };
        let good = matches!(&self.challenge, Some(open) if open.to == from && open.probe == probe
            && now < open.begun + CHALLENGE_LIFETIME);
        if good {
            self.challenge = None;
            self.address = Some(from);
            self.last_seen = now;
        }
        good
    }

    /// The way of voice to this session: as the client wishes, as far as it can be had.
    fn way(&self) -> Way {
        match (self.wish, self.address) {
            (Some((_, true)), _) => Way::Stream,
            (_, Some(address)) => Way::Udp(address),
            (_, None) if self.by_stream => Way::Stream,
            (_, None) => Way::None,
        }
    }

    /// Tells the session of the way of its voice, if that is news and not too soon after the last;
    /// whether there is anything to come back to.
    fn tell_way(&mut self, now: Instant, out: &mut Outputs) -> bool {
        let way = self.way();
        let (told, at) = self.told_way;
        if way == told {
            return false;
        }
        if at.is_some_and(|at| now < at + PATH_NEWS_INTERVAL) {
            return true;
        }
        self.told_way = (way, Some(now));
        let path = match way {
            Way::None => None,
            Way::Udp(address) => Some(VoicePath::Udp(address)),
            Way::Stream => Some(VoicePath::Stream(self.route.outbox.clone())),
        };
        out.notices.push((self.route.session, VoiceNotice::Path(path)));
        false
    }

    /// Appends our report on what comes up, and what the room's receivers report of it.
    fn report(&mut self, answer: &mut Vec<u8>, now: Instant) {
        let control = self.route.voice.control();
        let mut blocks = Vec::new();
        for (k, stream) in self.streams.iter_mut().enumerate() {
            blocks.extend(stream.reception.report(self.route.voice.stream(k), now));
        }
        rtcp::write_receiver_report(answer, control, &blocks);
        if !blocks.is_empty() {
            let Heard { loss_p90, reports, burst_ms } = self.route.voice.heard.look();
            let receivers = u8::try_from(reports).unwrap_or(u8::MAX);
            let bursts = self.streams.iter_mut().filter_map(|stream| stream.reception.burst_ms());
            let uplink_burst_ms = bursts.max().unwrap_or(0);
            let app = App::Downlink { loss_p90, receivers, burst_ms, uplink_burst_ms };
            rtcp::write_app(answer, control, app);
        }
    }

    fn send(&mut self, to: Origin, packet: &[u8], now: Instant, out: &mut Outputs) {
        let index = PacketIndex(self.rtcp_sent);
        self.rtcp_sent += 1;
        match to {
            Origin::Udp(to) => {
                // No index left: the server says nothing more under this key. A new session brings another.
                out.queue.push(to, |bytes| {
                    let _ = self.route.sealer.seal_rtcp(packet, index, bytes);
                });
            }
            Origin::Stream(_) => {
                let mut sealed = Vec::with_capacity(packet.len() + RTCP_OVERHEAD);
                if self.route.sealer.seal_rtcp(packet, index, &mut sealed).is_ok() {
                    self.route.outbox.push_voice(&sealed, now);
                }
            }
        }
    }
}
