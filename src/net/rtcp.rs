//! RTCP packets that Parlor speaks: sender and receiver reports (RFC 3550, 6.4) and its own APP packets (6.7).
//!
//! Packets may stand alone (reduced size, RFC 5506). What is of another kind is read past.

use super::ids::Ssrc;
use super::limits::REPORT_BLOCKS_MAX;

const PT_SENDER_REPORT: u8 = 200;
const PT_RECEIVER_REPORT: u8 = 201;
const PT_APP: u8 = 204;
/// Name in Parlor's APP packets.
const APP_NAME: [u8; 4] = *b"PRLR";
const REPORT_BLOCK_BYTES: usize = 24;

/// Bytes of a path challenge, of its answer, and of a keepalive: no answer is larger than its question.
pub const APP_PROBE_BYTES: usize = 20;

/// Why bytes are no RTCP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtcpError {
    /// The packet is cut short, or says that it is longer than it is.
    #[error("RTCP packet cut short")]
    Truncated,
    /// The version is not 2.
    #[error("RTCP version {0}, not 2")]
    Version(u8),
}

/// Eight bytes that only their receiver can send back.
pub type Probe = [u8; 8];

/// How a stream arrives at one receiver (RFC 3550, 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBlock {
    /// The stream reported on.
    pub ssrc: Ssrc,
    /// Share lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the beginning, 24 bits, signed.
    pub cumulative_lost: i32,
    /// Highest sequence number received, with its cycles above.
    pub highest_seq: u32,
    /// Interarrival jitter in units of the stream's clock.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time in the last sender report, 0 if none came.
    pub last_sender_report: u32,
    /// Time since that report, in 1/65536 s.
    pub delay_since_last: u32,
}

/// What a sender says of its own stream (RFC 3550, 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    /// Time of the report in 1/2^32 s, from any origin that stays (RFC 3550, section 4).
    pub ntp: u64,
    /// The same time on the stream's RTP clock.
    pub rtp_timestamp: u32,
    /// Packets sent.
    pub packets: u32,
    /// Payload bytes sent.
    pub octets: u32,
}

/// Parlor's own packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum App {
    /// Client to server: I am here, and this is my address.
    Keepalive(Probe),
    /// Server to client, to a proven address: heard you.
    KeepaliveAnswer(Probe),
    /// Server to client, to a new address: send this back and I shall believe it.
    Challenge(Probe),
    /// Client to server: here it is.
    ChallengeAnswer(Probe),
    /// Server to speaker: how the room hears you.
    Downlink {
        /// 90th percentile of the receivers' downlink loss, in 1/256.
        loss_p90: u8,
        /// Receivers that reported, at most 255.
        receivers: u8,
        /// Mean length of what they miss in a row, in ms; 0 if nothing or not known.
        burst_ms: u8,
        /// The same of what the server itself misses of yours.
        uplink_burst_ms: u8,
    },
    /// Client to server: send me voice this way from now on. Said again and again; the newest counts.
    Path {
        /// Inside the control connection; by datagrams otherwise.
        stream: bool,
    },
    /// Client to server, beside its report blocks: how a stream gets lost on the way to it, over some seconds.
    Losses {
        /// The stream.
        ssrc: Ssrc,
        /// Share that is lost or comes far too late, in 1/256.
        share: u8,
        /// Mean length of what is lost in a row, in ms.
        burst_ms: u8,
    },
}

/// One RTCP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtcpPacket<'a> {
    /// A sender report with its report blocks.
    Sender {
        /// Who reports.
        ssrc: Ssrc,
        /// Its own stream.
        info: SenderInfo,
        /// What it receives.
        blocks: Blocks<'a>,
    },
    /// A receiver report.
    Receiver {
        /// Who reports.
        ssrc: Ssrc,
        /// What it receives.
        blocks: Blocks<'a>,
    },
    /// One of Parlor's own.
    App {
        /// Who sends it.
        ssrc: Ssrc,
        /// What it says.
        app: App,
    },
    /// Another kind, read past.
    Other,
}

/// Report blocks inside a packet, read one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks<'a>(&'a [u8]);

impl Iterator for Blocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.0.split_first_chunk::<REPORT_BLOCK_BYTES>()?;
        self.0 = rest;
        let words = block.as_chunks::<4>().0;
        let word = |k: usize| words.get(k).map_or(0, |w| u32::from_be_bytes(*w));
        let lost = word(1);
        Some(ReportBlock {
            ssrc: Ssrc(word(0)),
            fraction_lost: (lost >> 24) as u8,
            cumulative_lost: ((lost << 8) as i32) >> 8,
            highest_seq: word(2),
            jitter: word(3),
            last_sender_report: word(4),
            delay_since_last: word(5),
        })
    }
}

/// The packets of one datagram, in order; ends after the first that cannot be read.
#[derive(Clone, Copy, Debug)]
pub struct RtcpPackets<'a>(&'a [u8]);

/// Reads the packets of one datagram.
#[must_use]
pub fn packets(bytes: &[u8]) -> RtcpPackets<'_> {
    RtcpPackets(bytes)
}

impl<'a> Iterator for RtcpPackets<'a> {
    type Item = Result<RtcpPacket<'a>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        match split(self.0) {
            Ok((packet, rest)) => {
                self.0 = rest;
                Some(Ok(packet))
            }
            Err(error) => {
                self.0 = &[];
                Some(Err(error))
            }
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Result<u32, RtcpError> {
    let word = bytes.get(at..).and_then(|b| b.first_chunk::<4>()).ok_or(RtcpError::Truncated)?;
    Ok(u32::from_be_bytes(*word))
}

fn split(bytes: &[u8]) -> Result<(RtcpPacket<'_>, &[u8]), RtcpError> {
    let ([b0, kind, l0, l1], _) = bytes.split_first_chunk::<4>().ok_or(RtcpError::Truncated)?;
    if b0 >> 6 != 2 {
        return Err(RtcpError::Version(b0 >> 6));
    }
    let length = (usize::from(u16::from_be_bytes([*l0, *l1])) + 1) * 4;
    let (packet, rest) = bytes.split_at_checked(length).ok_or(RtcpError::Truncated)?;
    let count = usize::from(b0 & 0x1f);
    let packet = match *kind {
        PT_SENDER_REPORT => RtcpPacket::Sender {
            ssrc: Ssrc(word(packet, 4)?),
            info: SenderInfo {
                ntp: u64::from(word(packet, 8)?) << 32 | u64::from(word(packet, 12)?),
                rtp_timestamp: word(packet, 16)?,
                packets: word(packet, 20)?,
                octets: word(packet, 24)?,
            },
            blocks: blocks(packet, 28, count)?,
        },
        PT_RECEIVER_REPORT => {
            RtcpPacket::Receiver { ssrc: Ssrc(word(packet, 4)?), blocks: blocks(packet, 8, count)? }
        }
        PT_APP if packet.get(8..12) == Some(APP_NAME.as_slice()) => {
            match read_app(b0 & 0x1f, packet.get(12..).unwrap_or_default()) {
                Some(app) => RtcpPacket::App { ssrc: Ssrc(word(packet, 4)?), app },
                None => RtcpPacket::Other,
            }
        }
        _ => RtcpPacket::Other,
    };
    Ok((packet, rest))
}

fn blocks(packet: &[u8], at: usize, count: usize) -> Result<Blocks<'_>, RtcpError> {
    packet.get(at..at + count * REPORT_BLOCK_BYTES).map(Blocks).ok_or(RtcpError::Truncated)
}

fn read_app(subtype: u8, data: &[u8]) -> Option<App> {
    let probe = data.first_chunk::<8>().copied();
    Some(match subtype {
        0 => App::Keepalive(probe?),
        1 => App::KeepaliveAnswer(probe?),
        2 => App::Challenge(probe?),
        3 => App::ChallengeAnswer(probe?),
        4 => match data {
            [loss_p90, receivers, bursts @ ..] => {
                let burst = |k: usize| bursts.get(k).copied().unwrap_or(0);
                App::Downlink {
                    loss_p90: *loss_p90,
                    receivers: *receivers,
                    burst_ms: burst(0),
                    uplink_burst_ms: burst(1),
                }
            }
            _ => return None,
        },
        5 => match data {
            [way @ (0 | 1), ..] => App::Path { stream: *way == 1 },
            _ => return None,
        },
        6 => match data {
            [a, b, c, d, share, burst_ms, ..] => App::Losses {
                ssrc: Ssrc(u32::from_be_bytes([*a, *b, *c, *d])),
                share: *share,
                burst_ms: *burst_ms,
            },
            _ => return None,
        },
        _ => return None,
    })
}

/// Appends a header: `count` is the report count or subtype, `body` the bytes after the SSRC.
fn write_header(out: &mut Vec<u8>, count: u8, kind: u8, ssrc: Ssrc, body: usize) {
    let words = u16::try_from(body / 4 + 1).unwrap_or(u16::MAX);
    out.extend([0x80 | count & 0x1f, kind]);
    out.extend(words.to_be_bytes());
    out.extend(ssrc.0.to_be_bytes());
}

fn write_blocks(out: &mut Vec<u8>, blocks: &[ReportBlock]) {
    for block in blocks {
        let lost = (block.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff) as u32) & 0xff_ffff;
        out.extend(block.ssrc.0.to_be_bytes());
        out.extend((u32::from(block.fraction_lost) << 24 | lost).to_be_bytes());
        for word in
            [block.highest_seq, block.jitter, block.last_sender_report, block.delay_since_last]
        {
            out.extend(word.to_be_bytes());
        }
    }
}

fn fitting(blocks: &[ReportBlock]) -> &[ReportBlock] {
    blocks.get(..REPORT_BLOCKS_MAX).unwrap_or(blocks)
}

/// Appends a sender report; blocks beyond 31 are left out.
pub fn write_sender_report(
    out: &mut Vec<u8>,
    ssrc: Ssrc,
    info: SenderInfo,
    blocks: &[ReportBlock],
) {
    let blocks = fitting(blocks);
    let body = 20 + blocks.len() * REPORT_BLOCK_BYTES;
    write_header(out, blocks.len() as u8, PT_SENDER_REPORT, ssrc, body);
    out.extend(info.ntp.to_be_bytes());
    for word in [info.rtp_timestamp, info.packets, info.octets] {
        out.extend(word.to_be_bytes());
    }
    write_blocks(out, blocks);
}

/// Appends a receiver report; blocks beyond 31 are left out.
pub fn write_receiver_report(out: &mut Vec<u8>, ssrc: Ssrc, blocks: &[ReportBlock]) {
    let blocks = fitting(blocks);
    let body = blocks.len() * REPORT_BLOCK_BYTES;
    write_header(out, blocks.len() as u8, PT_RECEIVER_REPORT, ssrc, body);
    write_blocks(out, blocks);
}

/// Appends one of Parlor's own packets.
pub fn write_app(out: &mut Vec<u8>, ssrc: Ssrc, app: App) {
    let mut data = [0u8; 8];
    let (subtype, length) = match app {
        App::Keepalive(probe) => (0, put(&mut data, &probe)),
        App::KeepaliveAnswer(probe) => (1, put(&mut data, &probe)),
        App::Challenge(probe) => (2, put(&mut data, &probe)),
        App::ChallengeAnswer(probe) => (3, put(&mut data, &probe)),
        App::Downlink { loss_p90, receivers, burst_ms, uplink_burst_ms } => {
            (4, put(&mut data, &[loss_p90, receivers, burst_ms, uplink_burst_ms]))
        }
        App::Path { stream } => (5, put(&mut data, &[u8::from(stream), 0, 0, 0])),
        App::Losses { ssrc, share, burst_ms } => {
            let [a, b, c, d] = ssrc.0.to_be_bytes();
            (6, put(&mut data, &[a, b, c, d, share, burst_ms, 0, 0]))
        }
    };
    write_header(out, subtype, PT_APP, ssrc, 4 + length);
    out.extend(APP_NAME);
    out.extend(data.iter().take(length));
}

fn put(data: &mut [u8; 8], bytes: &[u8]) -> usize {
    for (to, from) in data.iter_mut().zip(bytes) {
        *to = *from;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(ssrc: u32) -> ReportBlock {
        ReportBlock {
            ssrc: Ssrc(ssrc),
            fraction_lost: 12,
            cumulative_lost: -3,
            highest_seq: 0x0001_2345,
            jitter: 77,
            last_sender_report: 5,
            delay_since_last: 6,
        }
    }

    #[test]
    fn reports_read_back_as_written() {
        let info = SenderInfo { ntp: 1 << 40 | 3, rtp_timestamp: 9, packets: 10, octets: 11 };
        let sent = [block(1), block(2)];
        let mut bytes = Vec::new();
        write_sender_report(&mut bytes, Ssrc(8), info, &sent);
        write_receiver_report(&mut bytes, Ssrc(9), &sent[..1]);
        let read: Vec<_> = packets(&bytes).map(Result::unwrap).collect();
        let [RtcpPacket::Sender { ssrc, info: i, blocks }, RtcpPacket::Receiver { blocks: b, .. }] =
            read[..]
        else {
            panic!("{read:?}")
        };
        assert_eq!((ssrc, i), (Ssrc(8), info));
        assert_eq!(blocks.collect::<Vec<_>>(), sent);
        assert_eq!(b.collect::<Vec<_>>(), sent[..1]);
    }

    #[test]
    fn apps_read_back_as_written_and_probes_have_one_size() {
        let probe = [1, 2, 3, 4, 5, 6, 7, 8];
        for app in [
            App::Keepalive(probe),
            App::KeepaliveAnswer(probe),
            App::Challenge(probe),
            App::ChallengeAnswer(probe),
            App::Downlink { loss_p90: 25, receivers: 9, burst_ms: 60, uplink_burst_ms: 11 },
            App::Losses { ssrc: Ssrc(0x0102_0304), share: 13, burst_ms: 40 },
            App::Path { stream: false },
            App::Path { stream: true },
        ] {
            let mut bytes = Vec::new();
            write_app(&mut bytes, Ssrc(3), app);
            if !matches!(app, App::Downlink { .. } | App::Path { .. }) {
                assert_eq!(bytes.len(), APP_PROBE_BYTES);
            }
            let read: Vec<_> = packets(&bytes).collect();
            assert_eq!(read, [Ok(RtcpPacket::App { ssrc: Ssrc(3), app })]);
        }
    }

    #[test]
    fn every_truncation_ends_in_an_error_or_fewer_packets() {
        let mut bytes = Vec::new();
        write_receiver_report(&mut bytes, Ssrc(9), &[block(1); 40]);
        assert_eq!(bytes.len(), 8 + 31 * 24);
        write_app(&mut bytes, Ssrc(9), App::Keepalive([0; 8]));
        for length in 0..bytes.len() {
            for packet in packets(&bytes[..length]).flatten() {
                if let RtcpPacket::Receiver { blocks, .. } = packet {
                    assert_eq!(blocks.count(), 31);
                }
            }
        }
    }
}
