//! The voice link's core: whose datagrams are believed, what is played, what is reported, and which way voice goes.
//!
//! Pure: datagrams, news of the room and the time come in; actions come out. Nothing is stored for a
//! datagram before it authenticates.

use super::jitter::Packet;
use super::path::{PathRules, Talk};
use super::playback::ToPlayback;
use super::redundancy::Conditions;
use super::reports::{Reception, long_time, middle};
use super::speaker::Arrived;
use super::{ByWay, VoiceEvent, VoicePath, VoiceSession};
use crate::net::codec::CLOCKS;
use crate::net::frames::frames;
use crate::net::ids::{MemberId, PacketIndex, Ssrc};
use crate::net::limits::{
    DATAGRAM_BYTES_MAX, FORMER_STREAMS_MAX, REPORT_BLOCKS_MAX, REPORT_INTERVAL, REPORT_LOSSES_MAX,
    ROOM_MEMBERS_MAX, RTP_BYTES_MAX, UNKNOWN_STREAM_HOLD, UNKNOWN_STREAM_PACKETS_MAX,
    UNKNOWN_STREAM_ROCS, VOICE_QUEUE_PACKETS_MAX,
};
use crate::net::losses::LossMeter;
use crate::net::message::{MemberInfo, StreamInfo};
use crate::net::protect::{Opener, Sealer};
use crate::net::replay::ReplayWindow;
use crate::net::rtcp::{self, App, Probe, ReportBlock, RtcpPacket, SenderInfo};
use crate::net::rtp::{self, RtpPacket};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How often the server is told again which way we want voice, while it may not know.
const WISH_INTERVAL: Duration = Duration::from_millis(500);
/// A voice is expected for this long after its last packet, ...
const EXPECTED_AFTER_VOICE: Duration = Duration::from_millis(600);
/// ... and after the news that its talkspurt has begun.
const EXPECTED_AFTER_NEWS: Duration = Duration::from_millis(1200);

/// Which way a datagram goes or came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By UDP.
    Datagram,
    /// Inside the control connection.
    Stream,
}

/// What the shell must do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Send this datagram to the server.
    Send(Way, Vec<u8>),
    /// Hand this to playback, in order.
    Play(ToPlayback),
    /// Tell the rest of the client.
    Tell(VoiceEvent),
    /// Tell capture what the network does to our voice.
    Heed(Conditions),
}

/// What capture has sent so far, for sender reports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Packets.
    pub packets: u64,
    /// Which way they went, as far as there was one.
    pub by_way: ByWay,
    /// The last packet.
    pub last: Option<LastSent>,
}

/// The last packet that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastSent {
    /// Its stream.
    pub ssrc: Ssrc,
    /// The stream's RTP clock, in Hz.
    pub clock_hz: u32,
    /// Its time stamp.
    pub timestamp: u32,
    /// When it was sent.
    pub at: Instant,
    /// Packets of its stream so far.
    pub packets: u64,
    /// Bytes of their payloads.
    pub octets: u64,
}

/// Figures of the link.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LinkFigures {
    /// Round trip, smoothed, in ms.
    pub round_trip_ms: Option<f32>,
    /// Authentic RTP packets.
    pub received: u64,
    /// Which way they came.
    pub received_by: ByWay,
    /// Datagrams dropped, and packets that could not be read.
    pub dropped: u64,
    /// What the server missed of ours lately.
    pub uplink_loss: f32,
    /// What the room misses lately.
    pub room_loss: f32,
    /// What we miss lately of what the server itself sends us, whoever speaks.
    pub downlink_loss: f32,
    /// Mean length of what is missed in a row, in ms: by the server of ours, and by the room.
    pub bursts_ms: (f32, f32),
}

/// How a member's voice arrives here.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Arrival {
    /// Interarrival jitter, in ms.
    pub jitter_ms: f32,
    /// Share lost lately between his device and ours, 0 to 1.
    pub loss: f32,
}

/// The link, with or without a session.
#[derive(Debug)]
pub struct Link {
    session: Option<Session>,
    /// Never goes back, whatever the session: a sealed index is not used twice under one key.
    rtcp_index: u64,
    stream_allowed: bool,
    actions: Vec<Action>,
    scratch: Vec<u8>,
    /// Buffers of payloads that were played, for those that come.
    spare: Vec<Vec<u8>>,
    figures: LinkFigures,
}

#[derive(Debug)]
struct Session {
    id: MemberId,
    opener: Opener,
    sealer: Sealer,
    ours: Ssrc,
    own_ssrcs: Vec<Ssrc>,
    control_ssrc: Ssrc,
    began: Instant,
    control_window: ReplayWindow,
    control_losses: LossMeter,
    streams: BTreeMap<Ssrc, Stream>,
    /// How far streams were when their members left: what was heard then is not heard again.
    former: BTreeMap<Ssrc, PacketIndex>,
    held: VecDeque<Held>,
    rules: PathRules,
    /// The way of voice as it was told last.
    path: VoicePath,
    /// When the server is told again which way we want voice.
    next_wish: Instant,
    /// Voice has come inside the control connection since then.
    by_stream: bool,
    /// Whose voice should be reaching us, until when.
    expected: BTreeMap<MemberId, Instant>,
    next_report: Instant,
    reported_packets: u64,
    /// The stream that we send in, whether we did before our last report, and what is told of it.
    sends: Option<Ssrc>,
    spoke: bool,
    conditions: Conditions,
    /// Last sender report of each source: middle of its NTP time, and when it came.
    sender_reports: BTreeMap<Ssrc, (u32, Instant)>,
}

#[derive(Debug)]
struct Stream {
    member: MemberId,
    clock_hz: u32,
    window: ReplayWindow,
    reception: Reception,
}

/// An authentic packet of a stream that nobody has named yet.
#[derive(Debug)]
struct Held {
    ssrc: Ssrc,
    /// The index that it opened with; a guess where opening does not prove it.
    index: PacketIndex,
    packet: Vec<u8>,
    way: Way,
    at: Instant,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            session: None,
            rtcp_index: 0,
            stream_allowed: true,
            actions: Vec::new(),
            scratch: Vec::new(),
            spare: Vec::with_capacity(VOICE_QUEUE_PACKETS_MAX),
            figures: LinkFigures::default(),
        }
    }
}

impl Link {
    /// What is to be done since the last call.
    #[cfg(test)]
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// What is to be done since the last call, in exchange for a list of which the room is used again.
    pub fn swap_actions(&mut self, actions: &mut Vec<Action>) {
        actions.clear();
        std::mem::swap(&mut self.actions, actions);
    }

    /// Takes back the buffer of a payload that playback has read.
    pub fn recycle(&mut self, payload: Vec<u8>) {
        if self.spare.len() < VOICE_QUEUE_PACKETS_MAX && payload.capacity() >= RTP_BYTES_MAX {
            self.spare.push(payload);
        }
    }

    /// Figures since the session began.
    #[must_use]
    pub fn figures(&self) -> &LinkFigures {
        &self.figures
    }

    /// The way of voice.
    #[must_use]
    pub fn path(&self) -> VoicePath {
        self.session.as_ref().map_or(VoicePath::None, |session| session.path)
    }

    /// How long no datagram has come, where datagrams are not in use.
    #[must_use]
    pub fn unproven_for(&self, now: Instant) -> Option<Duration> {
        self.session.as_ref().and_then(|session| session.rules.unproven_for(now))
    }

    /// How each member's voice arrives.
    #[must_use]
    pub fn arrivals(&self) -> BTreeMap<MemberId, Arrival> {
        let mut all = BTreeMap::new();
        for stream in self.session.iter().flat_map(|session| session.streams.values()) {
            let arrival: &mut Arrival = all.entry(stream.member).or_default();
            arrival.jitter_ms = arrival.jitter_ms.max(stream.reception.jitter_ms());
            arrival.loss = arrival.loss.max(stream.reception.recent_loss());
        }
        all
    }

    /// A session has begun. False if its protection is unknown here: nothing is sent or believed then.
    pub fn connect(&mut self, session: &VoiceSession, now: Instant) -> bool {
        self.disconnect();
        self.figures = LinkFigures::default();
        let (Ok(opener), Ok(sealer)) = (
            Opener::new(session.protection, &session.down_key),
            Sealer::new(session.protection, &session.up_key),
        ) else {
            return false;
        };
        self.scratch.reserve(DATAGRAM_BYTES_MAX);
        let Some(first) = session.streams.first() else { return false };
        self.session = Some(Session {
            id: session.id,
            opener,
            sealer,
            ours: first.ssrc,
            own_ssrcs: session.streams.iter().map(|grant| grant.ssrc).collect(),
            control_ssrc: session.control_ssrc,
            began: now,
            control_window: ReplayWindow::default(),
            control_losses: LossMeter::default(),
            streams: BTreeMap::new(),
            former: BTreeMap::new(),
            held: VecDeque::new(),
            rules: PathRules::new(self.stream_allowed, now),
            path: VoicePath::None,
            next_wish: now,
            by_stream: false,
            expected: BTreeMap::new(),
            next_report: now + REPORT_INTERVAL,
            reported_packets: 0,
            sends: None,
            spoke: false,
            conditions: Conditions::default(),
            sender_reports: BTreeMap::new(),
        });
        true
    }

    /// The session is over.
    pub fn disconnect(&mut self) {
        self.actions.push(Action::Play(ToPlayback::Room(Vec::new())));
        if let Some(session) = self.session.take()
            && session.path != VoicePath::None
        {
            self.actions.push(Action::Tell(VoiceEvent::Path(VoicePath::None)));
        }
    }

    /// Whether voice may go through the control connection while datagrams do not get through.
    pub fn allow_stream(&mut self, on: bool, now: Instant) {
        self.stream_allowed = on;
        if let Some(session) = &mut self.session {
            session.rules.allow_stream(on, now);
        }
        self.follow_path(now);
    }

    /// These members, and no others, are in the room.
    pub fn enter_room(&mut self, members: &[MemberInfo], now: Instant) {
        let Some(session) = &mut self.session else { return };
        let ids: Vec<MemberId> = members.iter().map(|member| member.id).collect();
        session.keep(|_, stream| ids.contains(&stream.member));
        session.expected.clear();
        self.actions.push(Action::Play(ToPlayback::Room(ids)));
        for member in members {
            self.member(member, now);
        }
    }

    /// We are in no room.
    pub fn leave_room(&mut self) {
        if let Some(session) = &mut self.session {
            session.keep(|_, _| false);
            session.held.clear();
            session.expected.clear();
        }
        self.actions.push(Action::Play(ToPlayback::Room(Vec::new())));
    }

    /// A member has left.
    pub fn member_left(&mut self, id: MemberId) {
        if let Some(session) = &mut self.session {
            session.keep(|_, stream| stream.member != id);
            session.expected.remove(&id);
        }
        self.actions.push(Action::Play(ToPlayback::Gone(id)));
    }

    /// A member has come, or has other streams, or has started or stopped to speak.
    pub fn member(&mut self, member: &MemberInfo, now: Instant) {
        let Some(session) = &mut self.session else { return };
        if member.id == session.id {
            return;
        }
        if member.speaking {
            session.expect(member.id, now, EXPECTED_AFTER_NEWS);
        } else {
            session.expected.remove(&member.id);
        }
        session.keep(|ssrc, stream| {
            stream.member != member.id || member.streams.iter().any(|info| info.ssrc == *ssrc)
        });
        for info in member.streams.iter().take(CLOCKS.len()) {
            if !session.streams.contains_key(&info.ssrc)
                && session.streams.len() >= ROOM_MEMBERS_MAX * CLOCKS.len()
            {
                break;
            }
            let former = &mut session.former;
            let stream = session.streams.entry(info.ssrc).or_insert_with(|| Stream {
                member: member.id,
                clock_hz: info.clock_hz,
                window: begin(info, former.remove(&info.ssrc)),
                reception: Reception::new(info.clock_hz),
            });
            stream.member = member.id;
            stream.learn(info);
        }
        for info in &member.streams {
            self.release_held(info.ssrc, now);
        }
    }

    /// A datagram has come, this way.
    pub fn datagram(&mut self, way: Way, bytes: &mut [u8], now: Instant) {
        let known = if rtp::is_rtcp(bytes) {
            self.control(way, bytes, now)
        } else {
            self.voice(way, bytes, now)
        };
        if known.is_none() {
            self.figures.dropped += 1;
        }
    }

    /// Time has passed: probes, reports, expiry. `fresh` makes eight random bytes.
    pub fn tick(&mut self, sent: Sent, now: Instant, fresh: &mut dyn FnMut() -> Probe) {
        let Some(session) = &mut self.session else { return };
        while session
            .held
            .front()
            .is_some_and(|held| now.saturating_duration_since(held.at) > UNKNOWN_STREAM_HOLD)
        {
            session.held.pop_front();
            self.figures.dropped += 1;
        }
        session.expected.retain(|_, until| *until > now);
        let speaking =
            sent.last.is_some_and(|last| now.saturating_duration_since(last.at) < REPORT_INTERVAL);
        let talk = Talk { speaking, expecting: !session.expected.is_empty() };
        let probe = session.rules.tick(talk, now).then(fresh);
        if let Some(probe) = probe {
            session.rules.sent(probe, now);
        }
        self.follow_path(now);
        if let Some(probe) = probe {
            self.probe(probe);
        }
        self.repeat_wish(now);
        self.report(sent, now);
    }

    /// Opens and reads a control packet. None: dropped.
    fn control(&mut self, way: Way, bytes: &mut [u8], now: Instant) -> Option<()> {
        let session = self.session.as_mut()?;
        let (packet, index) = session.opener.open_rtcp(bytes).ok()?;
        session.control_window.check(index).ok()?;
        session.control_window.commit(index);
        // The server numbers what it says to us alone: what is missing there got lost on its way down.
        session.control_losses.note(index, 0, 1);
        if session.control_losses.look().is_some() {
            self.figures.downlink_loss = session.control_losses.losses().share;
        }
        if way == Way::Datagram {
            session.rules.heard_control(now);
        }
        for packet in rtcp::packets(packet) {
            match packet {
                Ok(RtcpPacket::App { app, .. }) => self.app(way, app, now),
                Ok(RtcpPacket::Sender { ssrc, info, blocks }) => {
                    if let Some(session) = &mut self.session
                        && (ssrc == session.control_ssrc || session.streams.contains_key(&ssrc))
                    {
                        session.sender_reports.insert(ssrc, (middle(info.ntp), now));
                    }
                    blocks.for_each(|block| self.block(&block, now));
                }
                Ok(RtcpPacket::Receiver { blocks, .. }) => {
                    blocks.for_each(|block| self.block(&block, now));
                }
                Ok(RtcpPacket::Other) => {}
                Err(_) => break,
            }
        }
        Some(())
    }

    fn app(&mut self, way: Way, app: App, now: Instant) {
        let Some(session) = &mut self.session else { return };
        match (app, way) {
            (App::Challenge(probe), Way::Datagram) => {
                session.rules.challenged();
                self.send_apps(Way::Datagram, &[App::ChallengeAnswer(probe)]);
            }
            (App::KeepaliveAnswer(probe), Way::Datagram) => {
                if let Some(trip) = session.rules.answered(probe, now) {
                    self.follow_path(now);
                    if self.path() == VoicePath::Udp {
                        self.round_trip(trip);
                    }
                }
            }
            (App::Downlink { loss_p90, burst_ms, uplink_burst_ms, .. }, _) => {
                self.figures.room_loss = f32::from(loss_p90) / 256.0;
                session.conditions.room_loss = self.figures.room_loss;
                session.conditions.room_burst_ms = burst_ms.into();
                session.conditions.uplink_burst_ms = uplink_burst_ms.into();
                self.figures.bursts_ms = (uplink_burst_ms.into(), burst_ms.into());
                // While we say nothing, nothing of ours gets lost: that is no news.
                if std::mem::take(&mut session.spoke) {
                    self.actions.push(Action::Heed(session.conditions));
                }
            }
            (App::Challenge(_) | App::KeepaliveAnswer(_), Way::Stream)
            | (
                App::Keepalive(_) | App::ChallengeAnswer(_) | App::Path { .. } | App::Losses { .. },
                _,
            ) => {}
        }
    }

    /// What the server says of one of our own streams.
    fn block(&mut self, block: &ReportBlock, now: Instant) {
        let Some(session) = &mut self.session else { return };
        if !session.own_ssrcs.contains(&block.ssrc) {
            return;
        }
        // A stream that rests says nothing of the way.
        if session.sends.is_none_or(|ssrc| ssrc == block.ssrc) {
            let loss = f32::from(block.fraction_lost) / 256.0;
            session.conditions.uplink_loss = loss;
            self.figures.uplink_loss += (loss - self.figures.uplink_loss) * 0.3;
        }
        if block.last_sender_report != 0 {
            let here = middle(long_time(now.saturating_duration_since(session.began)));
            let units =
                here.wrapping_sub(block.last_sender_report).wrapping_sub(block.delay_since_last);
            // What is above a minute is a clock that went wrong, not a round trip.
            if units < 60 << 16 {
                self.round_trip(Duration::from_secs_f64(f64::from(units) / 65536.0));
            }
        }
    }

    /// Opens a voice packet and hands it on, or holds it. None: dropped.
    fn voice(&mut self, way: Way, bytes: &mut [u8], now: Instant) -> Option<()> {
        let session = self.session.as_mut()?;
        let ssrc = rtp::peek_ssrc(bytes)?;
        let seq = rtp::peek_seq(bytes)?;
        let Some(stream) = session.streams.get_mut(&ssrc) else {
            return self.hold(ssrc, seq, bytes, way, now);
        };
        let index = stream.window.estimate(seq);
        stream.window.check(index).ok()?;
        let packet = session.opener.open_rtp(bytes, index).ok()?;
        let newest = stream.window.commit(index);
        let (member, arrived) =
            (stream.member, stream.receive(ssrc, packet, index, now, &mut self.spare));
        session.came(way, now);
        if let (true, Some(arrived)) = (newest, &arrived) {
            session.note_talkspurt(member, arrived, now);
        }
        self.figures.count(way);
        self.figures.dropped += u64::from(arrived.is_none());
        self.actions.extend(arrived.map(Action::Play));
        Some(())
    }

    /// Keeps an authentic packet of a stream that nobody has named yet. None: dropped.
    ///
    /// How often its sequence number has rolled over is not known: the first few counters are tried.
    fn hold(&mut self, ssrc: Ssrc, seq: u16, bytes: &[u8], way: Way, now: Instant) -> Option<()> {
        let session = self.session.as_mut()?;
        if session.own_ssrcs.contains(&ssrc) || bytes.len() > DATAGRAM_BYTES_MAX {
            return None;
        }
        let (index, packet) = (0..UNKNOWN_STREAM_ROCS).find_map(|roc| {
            let index = PacketIndex::new(roc, seq);
            self.scratch.clear();
            self.scratch.extend_from_slice(bytes);
            let packet = session.opener.open_rtp(&mut self.scratch, index).ok()?;
            Some((index, packet.to_vec()))
        })?;
        let again = session.held.iter().any(|held| (held.ssrc, held.index) == (ssrc, index));
        if again || session.former.get(&ssrc).is_some_and(|highest| index <= *highest) {
            return None;
        }
        session.held.push_back(Held { ssrc, index, packet, way, at: now });
        session.came(way, now);
        if session.held.len() > UNKNOWN_STREAM_PACKETS_MAX {
            session.held.pop_front();
            self.figures.dropped += 1;
        }
        Some(())
    }

    /// Hands on what was held for a stream that has a name now.
    fn release_held(&mut self, ssrc: Ssrc, now: Instant) {
        let Some(session) = &mut self.session else { return };
        let Some(stream) = session.streams.get_mut(&ssrc) else { return };
        let (ready, rest): (VecDeque<_>, VecDeque<_>) =
            session.held.drain(..).partition(|held| held.ssrc == ssrc);
        session.held = rest;
        for held in ready {
            let fresh = now.saturating_duration_since(held.at) <= UNKNOWN_STREAM_HOLD;
            let index = match session.opener.proves_index() {
                true => held.index,
                false => stream.window.estimate(held.index.seq()),
            };
            match Some(index).filter(|index| fresh && stream.window.check(*index).is_ok()) {
                Some(index) => {
                    stream.window.commit(index);
                    self.figures.count(held.way);
                    let item = stream.receive(ssrc, &held.packet, index, held.at, &mut self.spare);
                    self.figures.dropped += u64::from(item.is_none());
                    self.actions.extend(item.map(Action::Play));
                }
                None => self.figures.dropped += 1,
            }
        }
    }

    fn probe(&mut self, probe: Probe) {
        let stream = self.path() == VoicePath::Stream;
        self.send_apps(Way::Datagram, &[App::Keepalive(probe), App::Path { stream }]);
    }

    /// Tells the rest of the client and the server if voice goes another way now.
    fn follow_path(&mut self, now: Instant) {
        let Some(session) = &mut self.session else { return };
        let path = session.rules.path();
        if path == session.path {
            return;
        }
        let before = std::mem::replace(&mut session.path, path);
        self.actions.push(Action::Tell(VoiceEvent::Path(path)));
        if path == VoicePath::Stream || before == VoicePath::Stream {
            self.wish(now);
        }
    }

    /// Says again which way we want voice, while the server may not have heard it.
    fn repeat_wish(&mut self, now: Instant) {
        let Some(session) = &mut self.session else { return };
        let unheard = match session.path {
            VoicePath::Stream => true,
            VoicePath::Udp => std::mem::take(&mut session.by_stream),
            VoicePath::None => false,
        };
        if unheard && now >= session.next_wish {
            self.wish(now);
        }
    }

    /// Tells the server which way we want voice: both ways, as either may be the one that works.
    fn wish(&mut self, now: Instant) {
        let Some(session) = &mut self.session else { return };
        session.next_wish = now + WISH_INTERVAL;
        let stream = session.path == VoicePath::Stream;
        for way in [Way::Datagram, Way::Stream] {
            self.send_apps(way, &[App::Path { stream }]);
        }
    }

    fn report(&mut self, sent: Sent, now: Instant) {
        let Some(session) = &mut self.session else { return };
        if now < session.next_report {
            return;
        }
        session.next_report = now + REPORT_INTERVAL;
        let control = session.sender_reports.get(&session.control_ssrc).copied();
        let (mut blocks, mut losses) = (Vec::new(), Vec::new());
        for (ssrc, stream) in &mut session.streams {
            let last = session.sender_reports.get(ssrc).copied().or(control);
            let last = last.map(|(ntp, at)| (ntp, now.saturating_duration_since(at)));
            let block = stream.reception.block(*ssrc, last);
            if let (true, Some((share, burst_ms))) = (block.is_some(), stream.reception.losses()) {
                losses.push(App::Losses { ssrc: *ssrc, share, burst_ms });
            }
            blocks.extend(block);
        }
        let we_spoke = sent.packets != session.reported_packets;
        session.reported_packets = sent.packets;
        session.sends = sent.last.map(|last| last.ssrc);
        session.spoke |= we_spoke;
        let (ours, way) = (session.ours, session.way());
        let (first, rest) = blocks.split_at_checked(REPORT_BLOCKS_MAX).unwrap_or((&blocks, &[]));
        let mut packet = std::mem::take(&mut self.scratch);
        packet.clear();
        if let (true, Some(last)) = (we_spoke, sent.last) {
            let age = now.saturating_duration_since(last.at).as_secs_f64();
            let info = SenderInfo {
                ntp: long_time(now.saturating_duration_since(session.began)),
                rtp_timestamp: last.timestamp.wrapping_add((age * f64::from(last.clock_hz)) as u32),
                packets: last.packets as u32,
                octets: last.octets as u32,
            };
            rtcp::write_sender_report(&mut packet, last.ssrc, info, first);
        } else if !first.is_empty() {
            rtcp::write_receiver_report(&mut packet, ours, first);
        }
        // Where room is short, the first report has it: nobody heeds the others.
        losses.truncate(REPORT_LOSSES_MAX);
        for app in losses {
            rtcp::write_app(&mut packet, ours, app);
        }
        if !packet.is_empty() {
            self.send_control(way, &packet);
        }
        for chunk in rest.chunks(REPORT_BLOCKS_MAX) {
            packet.clear();
            rtcp::write_receiver_report(&mut packet, ours, chunk);
            self.send_control(way, &packet);
        }
        self.scratch = packet;
    }

    fn send_apps(&mut self, way: Way, apps: &[App]) {
        let Some(session) = &self.session else { return };
        let mut packet = Vec::with_capacity(rtcp::APP_PROBE_BYTES * apps.len());
        for app in apps {
            rtcp::write_app(&mut packet, session.ours, *app);
        }
        self.send_control(way, &packet);
    }

    fn send_control(&mut self, way: Way, packet: &[u8]) {
        let Some(session) = &self.session else { return };
        let mut sealed = Vec::with_capacity(packet.len() + 32);
        let done = session.sealer.seal_rtcp(packet, PacketIndex(self.rtcp_index), &mut sealed);
        self.rtcp_index += 1;
        if done.is_ok() {
            self.actions.push(Action::Send(way, sealed));
        }
    }

    fn round_trip(&mut self, time: Duration) {
        let ms = time.as_secs_f32() * 1e3;
        let smooth = self.figures.round_trip_ms.map_or(ms, |before| before + (ms - before) / 4.0);
        self.figures.round_trip_ms = Some(smooth);
    }
}

impl LinkFigures {
    /// An authentic packet has come, this way.
    fn count(&mut self, way: Way) {
        self.received += 1;
        match way {
            Way::Datagram => self.received_by.udp += 1,
            Way::Stream => self.received_by.stream += 1,
        }
    }
}

impl Session {
    /// Voice has come, this way.
    fn came(&mut self, way: Way, now: Instant) {
        match way {
            Way::Datagram => self.rules.heard_voice(now),
            Way::Stream => self.by_stream = true,
        }
    }

    /// More of this voice is to follow, unless its talkspurt has ended.
    fn note_talkspurt(&mut self, member: MemberId, arrived: &ToPlayback, now: Instant) {
        let ToPlayback::Packet(arrived) = arrived else { return };
        if arrived.packet.duration == 0 {
            self.expected.remove(&member);
        } else {
            self.expect(member, now, EXPECTED_AFTER_VOICE);
        }
    }

    /// This member's voice should be reaching us for so long.
    fn expect(&mut self, member: MemberId, now: Instant, time: Duration) {
        if self.expected.len() < ROOM_MEMBERS_MAX || self.expected.contains_key(&member) {
            let until = self.expected.entry(member).or_insert(now);
            *until = (*until).max(now + time);
        }
    }

    /// The way of reports: that of voice.
    fn way(&self) -> Way {
        match self.path {
            VoicePath::Stream => Way::Stream,
            VoicePath::Udp | VoicePath::None => Way::Datagram,
        }
    }
}

impl Session {
    /// Keeps these streams and lets go of the others, but remembers how far they were.
    fn keep(&mut self, keep: impl Fn(&Ssrc, &Stream) -> bool) {
        let former = &mut self.former;
        self.streams.retain(|ssrc, stream| {
            let keeps = keep(ssrc, stream);
            if !keeps && let Some(highest) = stream.window.highest() {
                former.insert(*ssrc, highest);
            }
            keeps
        });
        let (streams, control) = (&self.streams, self.control_ssrc);
        self.sender_reports.retain(|ssrc, _| *ssrc == control || streams.contains_key(ssrc));
        while self.former.len() > FORMER_STREAMS_MAX {
            // SSRCs are given in rising order: the oldest session goes first.
            self.former.pop_first();
        }
    }
}

/// The window of a stream that is new to us, or comes back. What it has sent so far was never for us, or was
/// heard before it left: all of that counts as seen, so that nobody can play it to us again.
fn begin(info: &StreamInfo, former: Option<PacketIndex>) -> ReplayWindow {
    let told = info.seq.map(|seq| PacketIndex::new(info.roc, seq));
    told.max(former).map_or_else(ReplayWindow::default, ReplayWindow::after)
}

impl Stream {
    /// Takes over how far the server says the stream is, where that is far ahead of what we know.
    fn learn(&mut self, info: &StreamInfo) {
        let Some(seq) = info.seq else { return };
        // The packet of this very index may still be on its way: the one before it is the mark.
        let mark = PacketIndex(PacketIndex::new(info.roc, seq).0.saturating_sub(1));
        let behind = match self.window.highest() {
            None => mark.0 > 0,
            Some(highest) => mark.0 > highest.0 + (1 << 14),
        };
        if behind {
            self.window.commit(mark);
        }
    }

    /// An authentic packet as playback takes it, if it can be read.
    fn receive(
        &mut self,
        ssrc: Ssrc,
        bytes: &[u8],
        index: PacketIndex,
        at: Instant,
        spare: &mut Vec<Vec<u8>>,
    ) -> Option<ToPlayback> {
        let RtpPacket { header, payload } = RtpPacket::parse(bytes).ok()?;
        let own = frames(header.payload_type, self.clock_hz, payload).ok().and_then(Iterator::last);
        let voice = own.is_some_and(|own| own.duration > 0);
        self.reception.count(index, voice.then_some(header.timestamp), at);
        let duration = own?.duration;
        let mut kept = spare.pop().unwrap_or_else(|| Vec::with_capacity(RTP_BYTES_MAX));
        kept.clear();
        kept.extend_from_slice(payload);
        let packet = Packet {
            index: index.0,
            timestamp: header.timestamp,
            marker: header.marker,
            duration,
            payload_type: header.payload_type,
            payload: kept,
        };
        let (member, clock_hz) = (self.member, self.clock_hz);
        Some(ToPlayback::Packet(Arrived { member, ssrc, clock_hz, packet, at }))
    }
}
