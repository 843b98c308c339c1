//! One SRTP stream of Parlor's on loopback, for `scripts/interop-srtp`, which lets other implementations
//! open what this seals and opens here what they seal.
//!
//! ```text
//! srtp-stream send RTP_PORT RTCP_PORT KEY FOLDER
//! srtp-stream receive KEY FOLDER BYTES
//! ```
//!
//! `KEY` is master key and salt, 28 bytes in hexadecimal. `send` writes what it sends into the folder:
//! `said.rtp` and `said.rtcp` (payloads and packets before sealing, one after the other) and
//! `sent.pcap`. `receive` prints its port, then writes the payloads that it opens to `heard.rtp`, until
//! it has as many bytes as it was told.

use parlor::net::codec::PT_L16;
use parlor::net::ids::{PacketIndex, Ssrc};
use parlor::net::message::Protection;
use parlor::net::protect::{DirectionKey, Opener, Sealer};
use parlor::net::replay::ReplayWindow;
use parlor::net::rtcp::{self, SenderInfo};
use parlor::net::rtp::{self, AudioLevel, RtpHeader, RtpPacket};
use parlor::net::secret::Secret;
use std::error::Error;
use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

type Outcome = Result<(), Box<dyn Error>>;

const PROTECTION: Protection = Protection::AeadAes128Gcm;
const SSRC: Ssrc = Ssrc(0x5061_726c);
/// Shortly before the sequence numbers roll over.
const FIRST: PacketIndex = PacketIndex(0xfff0);
const PACKETS: u64 = 300;
const PACKETS_PER_REPORT: u64 = 10;
const PAYLOAD_BYTES: usize = 640;
const PACE: Duration = Duration::from_millis(2);
/// How long `receive` waits for a packet.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["send", rtp, rtcp, key, folder] => {
            send(rtp.parse()?, rtcp.parse()?, &parse_key(key)?, folder.as_ref())
        }
        ["receive", key, folder, bytes] => {
            receive(&parse_key(key)?, folder.as_ref(), bytes.parse()?)
        }
        _ => {
            Err("usage: srtp-stream send RTP_PORT RTCP_PORT KEY FOLDER | receive KEY FOLDER BYTES")?
        }
    }
}

fn parse_key(hex: &str) -> Result<DirectionKey, Box<dyn Error>> {
    let digits: Option<Vec<u8>> =
        hex.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let digits = digits.ok_or("the key is not hexadecimal")?;
    let pairs = digits.as_chunks::<2>().0.iter();
    let bytes: Vec<u8> = pairs.map(|[high, low]| high << 4 | low).collect();
    Ok(Secret::new(bytes.try_into().map_err(|_| "the key has 28 bytes")?))
}

fn send(rtp_port: u16, rtcp_port: u16, key: &DirectionKey, folder: &Path) -> Outcome {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let sealer = Sealer::new(PROTECTION, key)?;
    let (mut said, mut reported, mut pcap) = (Vec::new(), Vec::new(), pcap_header());
    let mut sealed = Vec::new();
    for k in 0..PACKETS {
        let index = PacketIndex(FIRST.0 + k);
        let payload: Vec<u8> =
            (0..PAYLOAD_BYTES).map(|n| ((k as usize * 31 + n * 7) & 0xff) as u8).collect();
        let timestamp = (k * 320) as u32;
        let header = RtpHeader {
            marker: k == 0,
            payload_type: PT_L16,
            seq: index.seq(),
            timestamp,
            ssrc: SSRC,
            audio_level: Some(AudioLevel { voice: true, level: 20 }),
        };
        let mut packet = Vec::new();
        header.write(&mut packet);
        packet.extend(&payload);
        said.extend(&payload);
        sealed.clear();
        sealer.seal_rtp(&packet, index, &mut sealed)?;
        socket.send_to(&sealed, ("127.0.0.1", rtp_port))?;
        add_to_pcap(&mut pcap, k, rtp_port, &sealed);
        if k % PACKETS_PER_REPORT == 0 {
            let mut report = Vec::new();
            let info =
                SenderInfo { ntp: k << 32, rtp_timestamp: timestamp, packets: k as u32, octets: 0 };
            rtcp::write_sender_report(&mut report, SSRC, info, &[]);
            reported.extend(&report);
            sealed.clear();
            sealer.seal_rtcp(&report, PacketIndex(k / PACKETS_PER_REPORT), &mut sealed)?;
            socket.send_to(&sealed, ("127.0.0.1", rtcp_port))?;
            add_to_pcap(&mut pcap, k, rtcp_port, &sealed);
        }
        std::thread::sleep(PACE);
    }
    fs::write(folder.join("said.rtp"), said)?;
    fs::write(folder.join("said.rtcp"), reported)?;
    fs::write(folder.join("sent.pcap"), pcap)?;
    println!("sent {PACKETS} RTP packets from {} on", FIRST.seq());
    Ok(())
}

fn receive(key: &DirectionKey, folder: &Path, bytes: usize) -> Outcome {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    println!("{}", socket.local_addr()?.port());
    std::io::stdout().flush()?;
    let opener = Opener::new(PROTECTION, key)?;
    let mut window = ReplayWindow::default();
    let mut heard = Vec::new();
    let mut buffer = [0; 2048];
    while heard.len() < bytes {
        let (length, _) = socket.recv_from(&mut buffer)?;
        let datagram = buffer.get_mut(..length).ok_or("a datagram too long")?;
        let index = window.estimate(rtp::peek_seq(datagram).ok_or("no RTP packet")?);
        window.check(index)?;
        let packet = opener.open_rtp(datagram, index)?;
        window.commit(index);
        heard.extend(RtpPacket::parse(packet)?.payload);
    }
    fs::write(folder.join("heard.rtp"), heard)?;
    let highest = window.highest().ok_or("no packet")?;
    println!("heard up to packet {} of roll-over {}", highest.seq(), highest.roc());
    Ok(())
}

/// Head of a capture file of IPv4 packets (LINKTYPE_RAW).
fn pcap_header() -> Vec<u8> {
    let mut out = Vec::new();
    for (word, half) in [(0xa1b2_c3d4u32, false), (2, true), (4, true), (0, false), (0, false)] {
        match half {
            true => out.extend(((word & 0xffff) as u16).to_be_bytes()),
            false => out.extend(word.to_be_bytes()),
        }
    }
    out.extend(65_535u32.to_be_bytes());
    out.extend(101u32.to_be_bytes());
    out
}

/// A UDP datagram on loopback, 20 ms after the one before.
fn add_to_pcap(out: &mut Vec<u8>, k: u64, port: u16, datagram: &[u8]) {
    let half = |value: usize| ((value & 0xffff) as u16).to_be_bytes();
    let total = 28 + datagram.len();
    let us = k * 20_000;
    out.extend(((us / 1_000_000) as u32).to_be_bytes());
    out.extend(((us % 1_000_000) as u32).to_be_bytes());
    out.extend([(total as u32).to_be_bytes(), (total as u32).to_be_bytes()].concat());
    out.extend([0x45, 0]);
    out.extend(half(total));
    out.extend([0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
    out.extend([40_000u16.to_be_bytes(), port.to_be_bytes()].concat());
    out.extend(half(8 + datagram.len()));
    out.extend([0, 0]);
    out.extend(datagram);
}
