//! One session as the forwarder that owns its streams sees it: its addresses, its allowance, what it was told.
//!
//! Part of the core: no socket, clock or randomness. Nothing here is touched before a packet has authenticated.

use super::core::{Origin, Outputs, ProbeSource};
use super::reception::Reception;
use crate::actors::allowance::Allowance;
use crate::actors::routes::{Heard, SessionRoute, VoiceNotice, VoicePath};
use crate::actors::stage::{Loudness, Stage};
use crate::net::codec::CLOCKS;
use crate::net::ids::{PacketIndex, RoomId, SSRCS_PER_SESSION, Ssrc};
use crate::net::limits::{
    CHALLENGE_INTERVAL, CHALLENGE_LIFETIME, PATH_NEWS_INTERVAL, REPORT_INTERVAL,
    TALKSPURT_END_PACKETS, TALKSPURT_NEWS_INTERVAL, TALKSPURT_TIMEOUT, WITHHELD_NEWS_INTERVAL,
};
use crate::net::protect::RTCP_OVERHEAD;
use crate::net::replay::ReplayWindow;
use crate::net::rtcp::{self, APP_PROBE_BYTES, App, Probe};
use crate::net::rtp::RtpPacket;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Receivers miss what was withheld, which is no loss: for so long behind it the speaker is told of none.
const LOSS_UNTOLD: Duration = Duration::from_secs(5);
/// One in so many withheld packets goes out, without its payload, so that receivers' roll-over counters keep up.
const WITHHELD_SIGN_PACKETS: u64 = 4096;

/// What a session's SSRCs have in common.
pub(super) fn group(ssrc: Ssrc) -> u32 {
    ssrc.0 / SSRCS_PER_SESSION
}

/// A session whose streams this forwarder owns.
pub(super) struct Owned {
    pub(super) route: SessionRoute,
    pub(super) room: Option<RoomId>,
    pub(super) streams: [Stream; CLOCKS.len()],
    pub(super) rtcp_seen: ReplayWindow,
    pub(super) rtcp_sent: u64,
    pub(super) address: Option<SocketAddr>,
    /// Something authentic has come inside the control connection.
    pub(super) by_stream: bool,
    /// Whether the client wants voice inside the control connection, and the packet that said so last.
    pub(super) wish: Option<(PacketIndex, bool)>,
    /// Last told to the session: the way of its voice, and when.
    pub(super) told_way: (Way, Option<Instant>),
    pub(super) challenge: Option<Challenge>,
    pub(super) last_seen: Instant,
    pub(super) last_voice: Option<Instant>,
    /// Last told to the session: speaking or not, and when.
    pub(super) told: (bool, Option<Instant>),
    pub(super) last_report: Option<Instant>,
    pub(super) last_blocks: Option<Instant>,
    pub(super) allowance: Allowance,
    /// How loud he is, to choose by.
    pub(super) loudness: Loudness,
    /// Too many are speaking, and he is not heard: since this packet of his, the last one.
    pub(super) withheld: Option<Instant>,
    /// The end of the talkspurt that others have heard goes to them in so many packets yet.
    pub(super) ends_due: u8,
    /// When he was last withheld.
    pub(super) withheld_last: Option<Instant>,
    /// Last told to the session: withheld or not, and when.
    pub(super) told_withheld: (bool, Option<Instant>),
}

/// How much of a packet goes on to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// All of it.
    Whole,
    /// Its header: the talkspurt ends here for them.
    Header,
    /// None of it.
    Nothing,
}

/// How voice reaches a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    None,
    Udp(SocketAddr),
    Stream,
}

#[derive(Default)]
pub(super) struct Stream {
    pub(super) replay: ReplayWindow,
    pub(super) reception: Reception,
}

pub(super) struct Challenge {
    to: SocketAddr,
    probe: Probe,
    begun: Instant,
    sent: Instant,
}

impl Owned {
    pub(super) fn new(route: SessionRoute, now: Instant) -> Self {
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
            loudness: Loudness::new(now),
            withheld: None,
            ends_due: 0,
            withheld_last: None,
            told_withheld: (false, None),
        }
    }

    /// Tells the session whether it speaks, if that is news and not too soon after the last; whether
    /// there is anything to come back to.
    pub(super) fn tell_speaking(&mut self, now: Instant, out: &mut Outputs) -> bool {
        let speaking = self.last_voice.is_some();
        let (told, at) = self.told;
        if speaking != told && at.is_none_or(|at| now >= at + TALKSPURT_NEWS_INTERVAL) {
            self.told = (speaking, Some(now));
            out.notices.push((self.route.session, VoiceNotice::Speaking(speaking)));
        }
        speaking || self.told.0
    }

    /// Tells the session whether it is withheld, if that is news and not too soon after the last; whether there
    /// is anything to come back to.
    pub(super) fn tell_withheld(&mut self, now: Instant, out: &mut Outputs) -> bool {
        let withheld = self.withheld.is_some();
        let (told, at) = self.told_withheld;
        if withheld != told && at.is_none_or(|at| now >= at + WITHHELD_NEWS_INTERVAL) {
            self.told_withheld = (withheld, Some(now));
            out.notices.push((self.route.session, VoiceNotice::Withheld(withheld)));
        }
        withheld || self.told_withheld.0
    }

    /// How much of an authentic packet others are to hear, where the room's stage has a say.
    pub(super) fn share(
        &mut self,
        stage: Option<&Stage>,
        packet: &RtpPacket<'_>,
        (index, newest): (PacketIndex, bool),
        now: Instant,
    ) -> Share {
        let group = group(self.route.voice.base());
        let Some(stage) = stage else { return Share::Whole };
        if newest {
            let db = self.loudness.hear(packet.header.audio_level, now);
            let admitted = if packet.payload.is_empty() || self.route.voice.silenced() {
                stage.leave(group);
                true
            } else {
                stage.admits(group, db, now)
            };
            if admitted {
                self.withheld = None;
                // One that has just ended by itself needs no end of ours.
                let ended = packet.payload.is_empty();
                self.ends_due = if ended { 0 } else { TALKSPURT_END_PACKETS };
                return Share::Whole;
            }
            self.withheld = Some(now);
            self.withheld_last = self.withheld;
        }
        match self.withheld {
            None => Share::Whole,
            Some(_) if newest && self.ends_due > 0 => {
                self.ends_due -= 1;
                Share::Header
            }
            Some(_) if index.0.is_multiple_of(WITHHELD_SIGN_PACKETS) => Share::Header,
            Some(_) => Share::Nothing,
        }
    }

    /// What was never closed ends: talkspurts, and being withheld.
    pub(super) fn time_out(&mut self, now: Instant) {
        let over = |last: &mut Option<Instant>| {
            if last.is_some_and(|last| now >= last + TALKSPURT_TIMEOUT) {
                *last = None;
            }
        };
        over(&mut self.last_voice);
        over(&mut self.withheld);
    }

    /// Whether this receiver's blocks count now: so often and no more, that no listener outweighs the others.
    pub(super) fn heeds_blocks(&mut self, now: Instant) -> bool {
        let heeds = self.last_blocks.is_none_or(|at| now >= at + REPORT_INTERVAL * 4 / 5);
        if heeds {
            self.last_blocks = Some(now);
        }
        heeds
    }

    pub(super) fn stream_mut(&mut self, ssrc: Ssrc) -> Option<&mut Stream> {
        let k = usize::try_from(ssrc.0.checked_sub(self.route.voice.base().0)?).ok()?;
        self.streams.get_mut(k)
    }

    pub(super) fn proven(&self, origin: Origin) -> bool {
        match origin {
            Origin::Udp(from) => self.address == Some(from),
            Origin::Stream(session) => session == self.route.session,
        }
    }

    /// An authentic packet above all others came from `origin`: the only thing that may start a change of address.
    pub(super) fn consider(
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
    pub(super) fn prove(&mut self, origin: Origin, probe: Probe, now: Instant) -> bool {
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
    pub(super) fn tell_way(&mut self, now: Instant, out: &mut Outputs) -> bool {
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
    pub(super) fn report(&mut self, answer: &mut Vec<u8>, now: Instant) {
        let control = self.route.voice.control();
        let mut blocks = Vec::new();
        for (k, stream) in self.streams.iter_mut().enumerate() {
            blocks.extend(stream.reception.report(self.route.voice.stream(k), now));
        }
        rtcp::write_receiver_report(answer, control, &blocks);
        let told = self.withheld_last.is_none_or(|last| now >= last + LOSS_UNTOLD);
        if !blocks.is_empty() && told {
            let Heard { loss_p90, reports, burst_ms } = self.route.voice.heard.look();
            let receivers = u8::try_from(reports).unwrap_or(u8::MAX);
            let bursts = self.streams.iter_mut().filter_map(|stream| stream.reception.burst_ms());
            let uplink_burst_ms = bursts.max().unwrap_or(0);
            let app = App::Downlink { loss_p90, receivers, burst_ms, uplink_burst_ms };
            rtcp::write_app(answer, control, app);
        }
    }

    pub(super) fn send(&mut self, to: Origin, packet: &[u8], now: Instant, out: &mut Outputs) {
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
