//! The bare loops that a server is measured against: what the kernel allows with the same packets, the same keys and
//! the same receivers, and nothing else: no rooms, no sessions, no replay window, no timers.

use crate::members::address;
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use parlor::net::ids::{PacketIndex, SSRCS_PER_SESSION, Ssrc};
use parlor::net::message::Protection;
use parlor::net::protect::{DirectionKey, Opener, Sealer};
use parlor::net::rtp::{peek_seq, peek_ssrc};
use parlor::net::secret::Secret;
use parlor::net::udp::{Receiver, SendQueue, Transmitter};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// How the loop sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// One system call for each copy.
    Sendto,
    /// Many copies in one system call.
    Sendmmsg,
    /// Besides, several copies for one receiver in one message (UDP_SEGMENT).
    Segments,
}

/// Whether the loop encrypts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Crypto {
    /// Copies are what came.
    None,
    /// Each packet is opened, and each copy sealed with its receiver's key: AEAD_AES_128_GCM.
    Each,
}

/// Serves as the bare loop until stdin ends.
#[derive(Debug, Args)]
pub struct Floor {
    /// Members of its one room
    #[arg(long, value_parser = clap::value_parser!(u16).range(2..=1024))]
    pub members: u16,
    /// The port of all members, who are at 127.1.x.y
    #[arg(long)]
    pub peer_port: u16,
    /// How it sends
    #[arg(long, value_enum, default_value = "sendmmsg")]
    pub mode: Mode,
    /// Whether it encrypts
    #[arg(long, value_enum, default_value = "each")]
    pub crypto: Crypto,
    /// Sleep so long after each batch, in microseconds
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=4000))]
    pub hold_us: u64,
}

/// The key that everybody's voice comes up with.
pub fn up_key() -> DirectionKey {
    Secret::new([9; 28])
}

/// The key of member `k`'s copies.
pub fn down_key(k: usize) -> DirectionKey {
    let [a, b, ..] = k.to_le_bytes();
    let mut key = [a; 28];
    key.iter_mut().step_by(2).for_each(|byte| *byte = b);
    Secret::new(key)
}

/// The stream of member `k`.
pub fn ssrc(k: usize) -> Ssrc {
    Ssrc(u32::try_from(k).unwrap_or(0) * SSRCS_PER_SESSION)
}

/// A packet of one batch.
struct Said {
    from: usize,
    index: PacketIndex,
    bytes: Vec<u8>,
}

impl Floor {
    /// Serves. Ends the process when stdin does, so that it never outlives who started it.
    pub fn serve(&self) -> anyhow::Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("no UDP socket")?;
        let mut transmitter = match self.mode {
            Mode::Segments => Transmitter::segmenting(&socket),
            Mode::Sendto | Mode::Sendmmsg => Transmitter::default(),
        };
        if self.mode == Mode::Segments && transmitter.segments_max() == 1 {
            bail!("no UDP_SEGMENT here");
        }
        println!("floor on {}", socket.local_addr()?);
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(0);
        });
        let members = usize::from(self.members);
        let opener = Opener::new(Protection::AeadAes128Gcm, &up_key())?;
        let sealers: Result<Vec<Sealer>, _> =
            (0..members).map(|k| Sealer::new(Protection::AeadAes128Gcm, &down_key(k))).collect();
        let receivers: Vec<(SocketAddr, Sealer)> = (0..)
            .zip(sealers?)
            .map(|(k, sealer)| (SocketAddr::from((address(k), self.peer_port)), sealer))
            .collect();
        let mut newest = vec![PacketIndex(0); members];
        let (mut receiver, mut queue) = (Receiver::default(), SendQueue::default());
        queue.set_segments_max(transmitter.segments_max());
        let mut batch: Vec<Said> = Vec::new();
        let mut spare: Vec<Vec<u8>> = Vec::new();
        loop {
            let Ok(count) = receiver.wait_from(&socket) else { continue };
            receiver.for_each(count, |_, datagram| {
                let mut bytes = spare.pop().unwrap_or_default();
                bytes.clear();
                if let Some((from, index)) = self.take(datagram, &opener, &mut newest, &mut bytes) {
                    batch.push(Said { from, index, bytes });
                }
            });
            // Receivers outside: what one of them gets from a batch goes together.
            for (k, (to, sealer)) in receivers.iter().enumerate() {
                for said in batch.iter().filter(|said| said.from != k) {
                    queue.push(*to, |out| match self.crypto {
                        Crypto::None => out.extend_from_slice(&said.bytes),
                        Crypto::Each => {
                            let _ = sealer.seal_rtp(&said.bytes, said.index, out);
                        }
                    });
                    if queue.is_full() || self.mode == Mode::Sendto {
                        transmitter.send(&socket, &mut queue);
                    }
                }
            }
            transmitter.send(&socket, &mut queue);
            spare.extend(batch.drain(..).map(|said| said.bytes));
            if self.hold_us > 0 {
                std::thread::sleep(Duration::from_micros(self.hold_us));
            }
        }
    }

    /// Whose a datagram is, its index, and its packet.
    fn take(
        &self,
        datagram: &mut [u8],
        opener: &Opener,
        newest: &mut [PacketIndex],
        packet: &mut Vec<u8>,
    ) -> Option<(usize, PacketIndex)> {
        let from = usize::try_from(peek_ssrc(datagram)?.0 / SSRCS_PER_SESSION).ok()?;
        let newest = newest.get_mut(from)?;
        let index = newest.nearest(peek_seq(datagram)?);
        *newest = index;
        match self.crypto {
            Crypto::None => packet.extend_from_slice(datagram),
            Crypto::Each => packet.extend_from_slice(opener.open_rtp(datagram, index).ok()?),
        }
        Some((from, index))
    }
}
