//! A UDP wire to the server that can be cut in either direction, and whose far end can move: to another
//! port, as when a NAT forgets, or to another address, as when a network changes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Runs until dropped.
pub struct Wire {
    /// Where the client sends to.
    pub address: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    up_cut: AtomicBool,
    down_cut: AtomicBool,
    /// Counts moves; the lowest bit of the last octet of the source address follows `host`.
    moves: AtomicU32,
    host: AtomicU32,
    stop: AtomicBool,
}

impl Wire {
    /// A whole wire to `server`.
    pub fn start(server: SocketAddr) -> Self {
        let near = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = near.local_addr().unwrap();
        let state = Arc::new(State::default());
        state.host.store(1, Ordering::SeqCst);
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || run(&near, server, &shared));
        Self { address, state, thread: Some(thread) }
    }

    /// Drops what goes up, what comes down, or both; or no longer.
    pub fn cut(&self, up: bool, down: bool) {
        self.state.up_cut.store(up, Ordering::SeqCst);
        self.state.down_cut.store(down, Ordering::SeqCst);
    }

    /// From now on the server sees another port; what it sends to the one before is lost.
    pub fn change_port(&self) {
        self.state.moves.fetch_add(1, Ordering::SeqCst);
    }

    /// From now on the server sees this address of the loopback network, 127.0.0.`host`.
    pub fn change_address(&self, host: u8) {
        self.state.host.store(u32::from(host), Ordering::SeqCst);
        self.change_port();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        let _ = self.thread.take().unwrap().join();
    }
}

fn open(host: u32) -> UdpSocket {
    let ip = IpAddr::V4(Ipv4Addr::new(127, 0, 0, u8::try_from(host).unwrap()));
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn run(near: &UdpSocket, server: SocketAddr, state: &State) {
    near.set_nonblocking(true).unwrap();
    let mut far = open(state.host.load(Ordering::SeqCst));
    let mut moves = 0;
    let mut client = None;
    let mut buffer = [0; 2048];
    while !state.stop.load(Ordering::SeqCst) {
        let wanted = state.moves.load(Ordering::SeqCst);
        if wanted != moves {
            moves = wanted;
            far = open(state.host.load(Ordering::SeqCst));
        }
        while let Ok((length, from)) = near.recv_from(&mut buffer) {
            client = Some(from);
            if !state.up_cut.load(Ordering::SeqCst) {
                let _ = far.send_to(&buffer[..length], server);
            }
        }
        while let Ok((length, _)) = far.recv_from(&mut buffer) {
            if let (Some(client), false) = (client, state.down_cut.load(Ordering::SeqCst)) {
                let _ = near.send_to(&buffer[..length], client);
            }
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}
