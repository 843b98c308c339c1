//! What members hear, and what they must not.

use super::crowd::Crowd;
use super::member::Voice;
use super::speech::Speech;
use super::wire::Arrival;
use parlor::net::clock;
use parlor::net::message::ClientMessage;
use parlor::net::replay::ReplayError;
use parlor::net::rtcp::{self, App, ReportBlock, RtcpPacket};
use parlor::net::rtp::{RtpPacket, is_rtcp, peek_seq, peek_ssrc};
use std::time::Instant;

impl Crowd {
    /// Takes everything that has arrived for a member.
    pub fn listen(&mut self, k: usize, now: Instant) {
        let mut arrived = Vec::new();
        {
            let Self { members, receiver, .. } = self;
            let Some(voice) = members.get_mut(k).and_then(|m| m.voice.as_mut()) else { return };
            while let Ok(count) = receiver.receive_from(voice.wire.socket()) {
                receiver.for_each(count, |arrival, datagram| {
                    let at_ns = arrival.at_ns;
                    let at_ns = if at_ns == 0 { clock::unix_ns() } else { at_ns };
                    arrived.push((at_ns, datagram.to_vec()));
                });
                if count == 0 {
                    break;
                }
            }
        }
        for (at_ns, datagram) in arrived {
            self.tally.count("datagrams down");
            self.examine(k, &datagram, at_ns);
            let Self { members, random, tally, weather, .. } = self;
            let Some(voice) = members.get_mut(k).and_then(|m| m.voice.as_mut()) else { return };
            for arrival in voice.wire.down(&datagram, weather, random, now, tally) {
                self.take(k, arrival, now);
            }
        }
        let late = self.members.get_mut(k).and_then(|m| m.voice.as_mut());
        for arrival in late.map(|voice| voice.wire.due(now)).unwrap_or_default() {
            self.take(k, arrival, now);
        }
    }

    /// A datagram inside the control connection.
    pub fn hear_by_stream(&mut self, k: usize, packet: Vec<u8>, now: Instant) {
        self.tally.count("datagrams down, inside the connection");
        self.examine(k, &packet, clock::unix_ns());
        self.take(k, Arrival { bytes: packet, altered: false }, now);
    }

    /// Looks at a datagram as the server sent it: it opens, comes once, and is meant for this member.
    fn examine(&mut self, k: usize, datagram: &[u8], at_ns: u64) {
        let mut bytes = datagram.to_vec();
        let Self { members, speakers, tally, heard_call, call, .. } = self;
        let Some(voice) = members.get_mut(k).and_then(|m| m.voice.as_mut()) else { return };
        if is_rtcp(&bytes) {
            if peek_ssrc(&bytes) != Some(voice.control_ssrc) {
                tally.fault(format!("member {k} gets a report that is not meant for him"));
            }
            match voice.opener.open_rtcp(&mut bytes) {
                Err(error) => tally.fault(format!("a report to member {k}: {error}")),
                Ok((_, index)) => {
                    if voice.seen_rtcp.check(index) == Err(ReplayError::Seen) {
                        tally.fault(format!("report {} to member {k} comes twice", index.0));
                    }
                    voice.seen_rtcp.commit(index);
                }
            }
            return;
        }
        let ssrc = peek_ssrc(&bytes);
        let Some((ssrc, speaker)) = ssrc.and_then(|s| Some((s, speakers.get(&s)?))) else {
            return tally.fault(format!("member {k} hears a stream of nobody: {ssrc:?}"));
        };
        let index = speaker.index.nearest(peek_seq(&bytes).unwrap_or(0));
        let speech = match voice.opener.open_rtp(&mut bytes, index) {
            Err(error) => {
                return tally.fault(format!("voice to member {k}, index {}: {error}", index.0));
            }
            Ok(packet) => RtpPacket::parse(packet).ok().and_then(|p| Speech::parse(p.payload)),
        };
        let window = voice.seen.entry(ssrc).or_default();
        if window.check(index) == Err(ReplayError::Seen) {
            tally.fault(format!("packet {} comes to member {k} twice", index.0));
        }
        window.commit(index);
        let (from, epoch) = (speaker.member, speaker.epoch);
        let genuine = speech
            .filter(|speech| usize::try_from(speech.speaker) == Ok(from) && speech.epoch == epoch);
        let Some(speech) = genuine else {
            return tally.fault(format!("member {k} hears what member {from} has not said"));
        };
        tally.count("voice packets heard");
        if speech.call == *call && *call > 0 {
            heard_call.insert((k, from));
        }
        self.judge(k, from, &speech, at_ns);
    }

    /// Whether a member may hear this from another now.
    fn judge(&mut self, k: usize, from: usize, speech: &Speech, at_ns: u64) {
        let (Some(member), Some(speaker)) = (self.members.get(k), self.members.get(from)) else {
            return;
        };
        let here = member.stays.iter().filter(|stay| stay.covers(member.epoch, at_ns, at_ns));
        let there = |room: &str| {
            let mut stays = speaker.stays.iter();
            stays.any(|s| s.room == room && s.covers(speech.epoch, speech.at_ns, at_ns))
        };
        let here: Vec<&str> = here.map(|stay| stay.room.as_str()).collect();
        if !here.iter().any(|room| there(room)) {
            let of = speaker.room.as_deref().unwrap_or("no room");
            let found = format!(
                "member {k}, who can be in {here:?} only, hears member {from}, who is in {of}"
            );
            return self.tally.fault(found);
        }
        if speaker.silenced_ns.is_some_and(|since| since < speech.at_ns) {
            self.tally.fault(format!("member {k} hears member {from}, who is silenced"));
        }
    }

    /// Takes a datagram as the network has left it.
    fn take(&mut self, k: usize, Arrival { mut bytes, altered }: Arrival, now: Instant) {
        let Self { members, speakers, tally, .. } = self;
        let Some(voice) = members.get_mut(k).and_then(|m| m.voice.as_mut()) else { return };
        if altered {
            let opens = if is_rtcp(&bytes) {
                voice.opener.open_rtcp(&mut bytes).is_ok()
            } else {
                let index = peek_ssrc(&bytes).and_then(|ssrc| speakers.get(&ssrc));
                let index = index.map_or(voice.index, |speaker| speaker.index);
                let index = index.nearest(peek_seq(&bytes).unwrap_or(0));
                voice.opener.open_rtp(&mut bytes, index).is_ok()
            };
            if opens {
                tally.fault(format!("what was altered on the way opens at member {k}"));
            }
            return;
        }
        if !is_rtcp(&bytes) {
            return;
        }
        let Ok((packet, _)) = voice.opener.open_rtcp(&mut bytes) else { return };
        let mut answers = Vec::new();
        for packet in rtcp::packets(packet).flatten() {
            match packet {
                RtcpPacket::App { app: App::Challenge(probe), .. } => answers.push(probe),
                RtcpPacket::App { app: App::KeepaliveAnswer(_), .. } => voice.proven = true,
                _ => {}
            }
        }
        for probe in answers {
            self.tally.count("path challenges answered");
            self.answer_challenge(k, probe, now);
        }
    }

    fn answer_challenge(&mut self, k: usize, probe: rtcp::Probe, now: Instant) {
        let Self { members, random, tally, weather, .. } = self;
        let Some(voice) = members.get_mut(k).and_then(|m| m.voice.as_mut()) else { return };
        // Always by datagram: the address is what is asked for.
        let answer = voice.app(App::ChallengeAnswer(probe));
        voice.wire.up(&answer, weather, random, now, tally);
    }

    /// Blocks for a report on what a member hears, with figures of no sense now and then.
    pub fn heard_streams(&mut self, k: usize) -> Vec<ReportBlock> {
        let due = |voice: &Voice| clock::now() >= voice.next_report;
        let voice = self.members.get(k).and_then(|member| member.voice.as_ref());
        let Some(voice) = voice.filter(|voice| due(voice)) else { return Vec::new() };
        let random = &mut self.random;
        let blocks = voice.seen.iter().take(8).map(|(ssrc, window)| ReportBlock {
            ssrc: *ssrc,
            fraction_lost: random.next() as u8,
            cumulative_lost: random.next() as i32 >> 8,
            highest_seq: window.highest().map_or(0, |index| (index.0 & 0xffff_ffff) as u32),
            jitter: random.next() as u32,
            last_sender_report: random.next() as u32,
            delay_since_last: random.next() as u32,
        });
        blocks.collect()
    }

    /// Sends voice another way from now on.
    pub fn turn(&mut self, k: usize, by_stream: bool, now: Instant) {
        let Some(member) = self.members.get_mut(k) else { return };
        let Some(voice) = &mut member.voice else { return };
        voice.by_stream = by_stream;
        voice.proven = false;
        voice.next_keepalive = now;
        // Said on the safe way, too.
        let wish = voice.app(App::Path { stream: by_stream });
        member.send(None, ClientMessage::Voice { packet: wish });
    }
}
