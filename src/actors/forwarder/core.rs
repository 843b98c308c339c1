//! What a forwarder decides: which datagram is whose, who gets a copy, which address is believed.
//!
//! No socket, clock or randomness: datagrams and times come in, datagrams and notices go out. Nothing
//! is stored for a datagram before it authenticates.

use super::backlog::{Backlog, Said, Slot};
use super::owned::{Owned, Share, group};
use crate::actors::routes::{RoomRoutes, Route, SessionRoute, VoiceNotice, VoicePath};
use crate::net::codec::CLOCKS;
use crate::net::ids::{RoomId, SSRCS_PER_SESSION, SessionId, Ssrc};
use crate::net::limits::{
    ADDRESS_LIFETIME, DATAGRAM_BYTES_MAX, FORWARD_LOOP_COPIES, REPORT_INTERVAL, ROOM_TURN_COPIES,
    SEGMENTS_MAX, VOICE_AGE_MAX,
};
use crate::net::rtcp::{self, App, Probe, RtcpPacket};
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
    /// Voice that had waited too long, or for which there was no room.
    pub stale: u64,
    /// Voice that nobody was sent because too many spoke at once.
    pub withheld: u64,
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
    backlog: Backlog,
    /// Room for what one turn takes, and for ordering it.
    turn: Vec<Slot>,
    order: Vec<(usize, usize, usize)>,
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
            backlog: Backlog::default(),
            turn: Vec::with_capacity(SEGMENTS_MAX),
            order: Vec::with_capacity(SEGMENTS_MAX),
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
    pub(super) fn wind_forward(
        &mut self,
        base: Ssrc,
        rtp: crate::net::ids::PacketIndex,
        rtcp_sent: u64,
    ) {
        if let Some(owned) = self.sessions.get_mut(&group(base)) {
            let [first, ..] = &mut owned.streams;
            first.replay = crate::net::replay::ReplayWindow::after(rtp);
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
        let Some(routes) = routes else { return self.backlog.remove_room(id) };
        for member in &routes.members {
            if let Some(owned) = self.sessions.get_mut(&group(member.voice.base())) {
                owned.room = Some(id);
            }
        }
        self.rooms.insert(id, routes);
    }

    /// Takes one datagram that has just arrived. Opens it in place. Voice waits until [`Self::forward`].
    pub fn handle_datagram(
        &mut self,
        origin: Origin,
        datagram: &mut [u8],
        now: Instant,
        out: &mut Outputs,
    ) {
        self.handle_arrived(origin, datagram, (now, now), out);
    }

    /// Takes one datagram that has arrived at the first of these times, now being the second.
    pub fn handle_arrived(
        &mut self,
        origin: Origin,
        datagram: &mut [u8],
        (arrived, now): (Instant, Instant),
        out: &mut Outputs,
    ) {
        self.counters.received += 1;
        let handled = match rtp::peek_ssrc(datagram) {
            None => None,
            Some(_) if datagram.len() > DATAGRAM_BYTES_MAX => None,
            Some(ssrc) if rtp::is_rtcp(datagram) => {
                self.handle_rtcp(ssrc, origin, datagram, now, out)
            }
            // Not even opened: under overload that is what time is won by.
            Some(_) if now.saturating_duration_since(arrived) > VOICE_AGE_MAX => {
                self.counters.stale += 1;
                Some(())
            }
            Some(ssrc) => self.handle_rtp(ssrc, origin, datagram, (arrived, now), out),
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
        (arrived, now): (Instant, Instant),
        out: &mut Outputs,
    ) -> Option<()> {
        let length = datagram.len();
        let owned = self.sessions.get_mut(&group(ssrc))?;
        let k = usize::try_from(ssrc.0 % SSRCS_PER_SESSION).ok()?;
        let stream = owned.streams.get_mut(k)?;
        let index = stream.replay.estimate(rtp::peek_seq(datagram)?);
        stream.replay.check(index).ok()?;
        let packet = &*owned.route.opener.open_rtp(datagram, index).ok()?;
        let parsed = RtpPacket::parse(packet).ok()?;
        // Authentic from here on.
        let newest = stream.replay.commit(index);
        let clock_hz = CLOCKS.get(k).copied().unwrap_or(CLOCKS[0]);
        stream.reception.note(index, parsed.header.timestamp, clock_hz, arrived);
        let allowed = owned.allowance.take(length, now);
        let stage = owned.room.and_then(|room| self.rooms.get(&room)).map(|room| &room.stage);
        let share = match allowed {
            true => owned.share(stage, &parsed, (index, newest), now),
            false => Share::Nothing,
        };
        if newest {
            owned.route.voice.advance(k, index, parsed.header.payload_type);
            owned.consider(origin, length, now, &mut self.probes, out);
            if owned.tell_way(now, out) {
                self.turning.insert(group(ssrc));
            }
            // A packet that was overtaken says nothing of now, and one that nobody hears is no speech.
            let spoken = !parsed.payload.is_empty() && !owned.route.voice.silenced();
            owned.last_voice = (spoken && owned.withheld.is_none()).then_some(now);
            if owned.tell_speaking(now, out) | owned.tell_withheld(now, out) {
                self.talking.insert(group(ssrc));
            }
        }
        if !allowed {
            return None;
        }
        if owned.route.voice.silenced() {
            return Some(());
        }
        let (room, session) = (owned.room?, owned.route.session);
        let bytes = match share {
            Share::Whole => packet,
            Share::Header => packet.get(..rtp::header_bytes(packet)?)?,
            Share::Nothing => {
                self.counters.withheld += 1;
                return Some(());
            }
        };
        self.counters.accepted += 1;
        let said = Said { session, group: group(ssrc), index, arrived };
        self.counters.stale += self.backlog.push(room, said, |slot| {
            slot.extend_from_slice(bytes);
            if share == Share::Header {
                rtp::clear_padding(slot);
            }
        });
        Some(())
    }

    /// Whether voice waits to be forwarded.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.backlog.is_waiting()
    }

    /// Seals what waits for its receivers, room by room, until nothing waits or much was made. Calls `full` whenever the
    /// queue is, to be sent and emptied. Whether more waits.
    pub fn forward(
        &mut self,
        now: Instant,
        out: &mut Outputs,
        mut full: impl FnMut(&mut SendQueue),
    ) -> bool {
        let enough = self.counters.forwarded + FORWARD_LOOP_COPIES as u64;
        while self.counters.forwarded < enough
            && let Some(room) = self.backlog.begin_turn()
        {
            self.forward_room(room, now, &mut out.queue, &mut full);
        }
        self.backlog.is_waiting()
    }

    /// One room's turn: each member's copies of all its packets one after the other, so that they go together.
    fn forward_room(
        &mut self,
        id: RoomId,
        now: Instant,
        queue: &mut SendQueue,
        full: &mut impl FnMut(&mut SendQueue),
    ) {
        let Self { sessions, rooms, backlog, turn, order, scratch, counters, .. } = self;
        let Some(room) = rooms.get(&id) else { return backlog.remove_room(id) };
        let most = (ROOM_TURN_COPIES / room.members.len().max(1)).clamp(1, SEGMENTS_MAX);
        // Much can have happened while it waited: who has left or was silenced meanwhile is heard no more.
        counters.stale += backlog.take(id, most, turn, |said| {
            now.saturating_duration_since(said.arrived) <= VOICE_AGE_MAX
                && sessions.get(&said.group).is_some_and(|owned| {
                    owned.route.session == said.session
                        && owned.room == Some(id)
                        && !owned.route.voice.silenced()
                })
        });
        backlog.arrange(turn, order);
        for member in &room.members {
            let Some(path) = &member.path else { continue };
            for packet in turn.iter().filter_map(|slot| backlog.packet(*slot)) {
                if packet.said.session == member.session {
                    continue;
                }
                let sent = seal(member, path, &packet.said, &packet.bytes, now, queue, scratch);
                counters.forwarded += u64::from(sent);
            }
            if queue.is_full() {
                full(queue);
            }
        }
        backlog.end_turn(id, turn);
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
            owned.time_out(now);
            owned.tell_speaking(now, out) | owned.tell_withheld(now, out)
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

/// Seals one copy for one member, into the queue or into his control connection. Whether there is one.
fn seal(
    member: &Route,
    path: &VoicePath,
    said: &Said,
    packet: &[u8],
    now: Instant,
    queue: &mut SendQueue,
    scratch: &mut Vec<u8>,
) -> bool {
    // The window lets an index pass once, and a packet has one turn, so no receiver's key seals it twice.
    match path {
        VoicePath::Udp(to) => queue.push(*to, |bytes| {
            let _ = member.sealer.seal_rtp(packet, said.index, bytes);
        }),
        VoicePath::Stream(outbox) => {
            scratch.clear();
            let sealed = member.sealer.seal_rtp(packet, said.index, scratch);
            if sealed.is_ok() {
                outbox.push_voice(scratch, now);
            }
            sealed.is_ok()
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
