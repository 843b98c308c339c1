//! A bad network: a UDP relay that loses, delays, reorders and doubles datagrams as its seed says.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parlor::net::clock;

use super::random::Random;

/// How bad one direction is.
#[derive(Clone, Copy, Default)]
pub struct Weather {
    /// Share of datagrams lost, in percent.
    pub loss_percent: usize,
    /// Share of datagrams doubled, in percent.
    pub double_percent: usize,
    /// Extra delay, evenly spread; later datagrams may overtake.
    pub jitter_ms: usize,
}

/// Runs until dropped.
pub struct Relay {
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// A relay to `server`; `down` is the weather on the way from there.
    pub fn start(server: SocketAddr, up: Weather, down: Weather, random: Random) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || run(&socket, server, up, down, random, &flag));
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

/// A datagram on its way: when, in which order, from which socket, where to, what.
type Flight = Reverse<(Instant, u64, Option<SocketAddr>, SocketAddr, Vec<u8>)>;

fn run(
    socket: &UdpSocket,
    server: SocketAddr,
    up: Weather,
    down: Weather,
    mut random: Random,
    stop: &AtomicBool,
) {
    let mut behind: BTreeMap<SocketAddr, UdpSocket> = BTreeMap::new();
    let mut flights: BinaryHeap<Flight> = BinaryHeap::new();
    let mut number = 0;
    let mut buffer = [0; 2048];
    socket.set_nonblocking(true).unwrap();
    while !stop.load(Ordering::Relaxed) {
        let now = clock::now();
        let mut arrived = Vec::new();
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            behind.entry(from).or_insert_with(|| {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.set_nonblocking(true).unwrap();
                socket
            });
            arrived.push((up, Some(from), server, buffer[..length].to_vec()));
        }
        for (client, socket) in &behind {
            while let Ok((length, _)) = socket.recv_from(&mut buffer) {
                arrived.push((down, None, *client, buffer[..length].to_vec()));
            }
        }
        for (weather, by, to, bytes) in arrived {
            if random.below(100) < weather.loss_percent {
                continue;
            }
            let copies = 1 + usize::from(random.below(100) < weather.double_percent);
            for _ in 0..copies {
                let late = Duration::from_micros(random.below(weather.jitter_ms * 1000 + 1) as u64);
                number += 1;
                flights.push(Reverse((now + late, number, by, to, bytes.clone())));
            }
        }
        while flights.peek().is_some_and(|Reverse(flight)| flight.0 <= now) {
            let Some(Reverse((_, _, by, to, bytes))) = flights.pop() else { break };
            let from = by.and_then(|client| behind.get(&client)).unwrap_or(socket);
            let _ = from.send_to(&bytes, to);
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}
