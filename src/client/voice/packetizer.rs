//! One stream of ours: payloads in, numbered RTP packets out, with copies of earlier ones where they are wanted.
//!
//! Pure. Sequence numbers go on over silences, time stamps follow media time, the marker starts a
//! talkspurt and three empty packets end it. After warm-up nothing is allocated.

use super::redundancy::Copies;
use crate::net::codec::{Codec, PT_RED};
use crate::net::ids::{PacketIndex, Ssrc};
use crate::net::limits::{RTP_BYTES_MAX, TALKSPURT_END_PACKETS};
use crate::net::red::{self, Block};
use crate::net::rtp::{AudioLevel, HEADER_BYTES, RtpHeader};

/// A talkspurt's first packet says how loud it is, and then each of this number: it takes 8 bytes.
pub const LEVEL_EVERY: u32 = 5;
/// Payloads that are kept to be sent again.
const HISTORY: usize = 8;
/// The longest payload there is: L16 of 20 ms is 640 bytes, Opus has 1275 at most.
const PAYLOAD_BYTES_MAX: usize = 1275;

/// A packet to seal and send.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// The RTP packet.
    pub bytes: &'a [u8],
    /// Its index, for sealing.
    pub index: PacketIndex,
    /// Whose it is.
    pub ssrc: Ssrc,
    /// Its time stamp.
    pub timestamp: u32,
    /// What its time stamp counts, in Hz.
    pub clock_hz: u32,
    /// Packets of the stream so far, and bytes of their payloads, this one's among them.
    pub sent: (u64, u64),
}

/// Takes each packet.
pub type Emit<'a> = dyn FnMut(Outgoing<'_>) + 'a;

/// How one payload is to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Around {
    /// Its media time, in units of the stream's clock.
    pub media: u64,
    /// How long it lasts, in the same units.
    pub duration: u64,
    /// Mean square of its samples.
    pub power: f32,
    /// Which earlier payloads go with it.
    pub copies: Copies,
    /// Most bytes of the RTP packet, its header's extension apart: copies that do not fit are left out.
    pub bytes_max: usize,
}

/// The stream of one codec.
#[derive(Debug)]
pub struct Packetizer {
    codec: Codec,
    ssrc: Ssrc,
    next: PacketIndex,
    /// Packets so far, and bytes of their payloads.
    counted: (u64, u64),
    timestamp_base: u32,
    /// Media time that no later packet may lie before.
    media_end: u64,
    /// Packets of this talkspurt.
    spurt: u32,
    history: [Sent; HISTORY],
    /// Payloads in the history, and where the next one goes.
    kept: (usize, usize),
    packet: Vec<u8>,
}

/// A payload that was sent.
#[derive(Debug, Default)]
struct Sent {
    timestamp: u32,
    payload: Vec<u8>,
}

impl Packetizer {
    /// A stream that begins. Its first sequence number lies below 2^15, so that the first roll-over is
    /// far away (RFC 3711, 3.3.1).
    #[must_use]
    pub fn new(codec: Codec, ssrc: Ssrc, first_seq: u16, timestamp_base: u32) -> Self {
        let sent = || Sent { timestamp: 0, payload: Vec::with_capacity(PAYLOAD_BYTES_MAX) };
        Self {
            codec,
            ssrc,
            next: PacketIndex::new(0, first_seq & 0x7fff),
            counted: (0, 0),
            timestamp_base,
            media_end: 0,
            spurt: 0,
            history: std::array::from_fn(|_| sent()),
            kept: (0, 0),
            packet: Vec::with_capacity(RTP_BYTES_MAX),
        }
    }

    /// Whose stream it is.
    #[must_use]
    pub fn ssrc(&self) -> Ssrc {
        self.ssrc
    }

    /// Its codec.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// A talkspurt begins. Media time that is not before any that was sent, and not before `media`.
    pub fn begin(&mut self, media: u64) -> u64 {
        self.spurt = 0;
        self.kept = (0, 0);
        self.not_before(media)
    }

    /// A media time that lies before nothing that was sent.
    #[must_use]
    pub fn not_before(&self, media: u64) -> u64 {
        media.max(self.media_end)
    }

    /// Sends a payload.
    pub fn send(&mut self, payload: &[u8], around: Around, emit: &mut Emit<'_>) {
        let audio_level = self
            .spurt
            .is_multiple_of(LEVEL_EVERY)
            .then(|| AudioLevel::of_power(around.power, true));
        let marker = self.spurt == 0;
        let mut header = self.header(around.media, marker, audio_level);
        let mut packet = std::mem::take(&mut self.packet);
        packet.clear();
        let own = Block { payload_type: self.codec.payload_type(), offset: 0, data: payload };
        let room = around.bytes_max.saturating_sub(HEADER_BYTES);
        let room = room.min(RTP_BYTES_MAX.saturating_sub(header.len()));
        let mut blocks = [own; Copies::MAX];
        let count = self.copies(own, header.timestamp, around.copies, room, &mut blocks);
        let copies = blocks.get(..count).unwrap_or_default();
        if !copies.is_empty() {
            header.payload_type = PT_RED;
        }
        header.write(&mut packet);
        let start = packet.len();
        if copies.is_empty() || red::write(copies, own, &mut packet).is_err() {
            packet.extend_from_slice(payload);
        }
        self.packet = packet;
        let octets = self.packet.len() - start;
        self.media_end = self.media_end.max(around.media + around.duration);
        self.spurt = self.spurt.saturating_add(1);
        self.emit(header.timestamp, octets, emit);
        self.keep(header.timestamp, payload);
    }

    /// Nothing of this payload is sent: it holds silence only (DTX). Time goes on.
    pub fn skip(&mut self, around: Around) {
        self.media_end = self.media_end.max(around.media + around.duration);
    }

    /// Ends the talkspurt, if there is one.
    pub fn end(&mut self, media: u64, emit: &mut Emit<'_>) {
        if std::mem::take(&mut self.spurt) == 0 {
            return;
        }
        for _ in 0..TALKSPURT_END_PACKETS {
            let header = self.header(media, false, None);
            self.packet.clear();
            header.write(&mut self.packet);
            self.emit(header.timestamp, 0, emit);
        }
    }

    fn header(&self, media: u64, marker: bool, audio_level: Option<AudioLevel>) -> RtpHeader {
        RtpHeader {
            marker,
            payload_type: self.codec.payload_type(),
            seq: self.next.seq(),
            timestamp: self.timestamp_base.wrapping_add((media & 0xffff_ffff) as u32),
            ssrc: self.ssrc,
            audio_level,
        }
    }

    /// Puts the wanted copies that fit beside `own` into `blocks`, oldest first: how many.
    fn copies<'a>(
        &'a self,
        own: Block<'a>,
        timestamp: u32,
        wanted: Copies,
        room: usize,
        blocks: &mut [Block<'a>; Copies::MAX],
    ) -> usize {
        let mut count = 0;
        let mut used = 1 + own.data.len();
        for back in wanted.oldest_first() {
            let Some(sent) = self.sent(back) else { continue };
            let offset = timestamp.wrapping_sub(sent.timestamp);
            let bytes = red::COPY_HEADER_BYTES + sent.payload.len();
            let fits = offset <= red::OFFSET_MAX
                && sent.payload.len() <= red::COPY_BYTES_MAX
                && used + bytes <= room;
            if let (true, Some(block)) = (fits, blocks.get_mut(count)) {
                *block = Block { offset, data: &sent.payload, ..own };
                used += bytes;
                count += 1;
            }
        }
        count
    }

    /// The payload that was sent so many packets ago; 1 is the last.
    fn sent(&self, back: usize) -> Option<&Sent> {
        let (kept, next) = self.kept;
        (1..=kept).contains(&back).then(|| self.history.get((next + HISTORY - back) % HISTORY))?
    }

    fn keep(&mut self, timestamp: u32, payload: &[u8]) {
        let (kept, next) = self.kept;
        if let Some(sent) = self.history.get_mut(next) {
            sent.timestamp = timestamp;
            sent.payload.clear();
            sent.payload.extend_from_slice(payload);
        }
        self.kept = ((kept + 1).min(HISTORY), (next + 1) % HISTORY);
    }

    fn emit(&mut self, timestamp: u32, octets: usize, emit: &mut Emit<'_>) {
        let index = self.next;
        self.next = PacketIndex(index.0 + 1);
        self.counted = (self.counted.0 + 1, self.counted.1 + octets as u64);
        emit(Outgoing {
            bytes: &self.packet,
            index,
            ssrc: self.ssrc,
            timestamp,
            clock_hz: self.codec.clock_hz(),
            sent: self.counted,
        });
    }
}
