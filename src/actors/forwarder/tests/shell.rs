//! The shell with a real socket: nothing is allocated for a packet, from recvmmsg to sendmmsg.

use super::many::room_of;
use super::*;
use crate::actors::forwarder::pace::Hold;
use crate::actors::forwarder::{ForwarderMeter, Shell};
use crate::actors::routes::RouteFeed;
use crate::net::udp::bind_group;
use std::net::UdpSocket;

#[tokio::test]
async fn nothing_is_allocated_from_one_system_call_to_the_other() {
    let mut bench = Bench::new();
    let group = bind_group("127.0.0.1:0".parse().unwrap(), 1).unwrap();
    let (server, socket) = (group.address, group.sockets.into_iter().next().unwrap());
    let mut shell = Shell::new(
        socket,
        Arc::new(RouteFeed::default()),
        Box::new(|| [0; 8]),
        Arc::new(ForwarderMeter::default()),
        Hold::Off,
    )
    .unwrap();
    // The bench's room in the shell's core; everybody is at one socket, which is never read.
    let mut clients = room_of(&mut bench, 30);
    let everybody = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = everybody.local_addr().unwrap();
    for client in &mut clients {
        client.address = at;
    }
    let routes: Vec<_> = clients.iter().map(|client| (client, client.udp())).collect();
    bench.room(&routes);
    std::mem::swap(&mut shell.core, &mut bench.core);
    /// Sends some packets and lets the shell deal with them: what it allocated meanwhile.
    async fn round(
        shell: &mut Shell,
        (everybody, server): (&UdpSocket, SocketAddr),
        packets: &[Vec<u8>],
    ) -> u64 {
        let wanted = shell.core.counters().accepted + packets.len() as u64;
        for packet in packets {
            everybody.send_to(packet, server).unwrap();
        }
        let mut allocated = 0;
        while shell.core.counters().accepted < wanted {
            // The runtime's own part is not counted: this thread is not the forwarder's alone here.
            let ready = tokio::time::timeout(Duration::from_secs(20), shell.ready(false)).await;
            ready.expect("datagrams came").unwrap();
            allocated += allocation_counter::measure(|| while shell.work() {}).count_total;
        }
        allocated
    }
    let way = (&everybody, server);
    let mut said = |count: usize| -> Vec<Vec<u8>> {
        (0..count).map(|k| clients[k % 10].voice(&[k as u8; 100])).collect()
    };
    // Every speaker is heard, and the largest batch is seen.
    round(&mut shell, way, &said(100)).await;
    let (one, many) = (said(20), said(60));
    let mut allocated = 0;
    for packet in one.chunks(1) {
        allocated += round(&mut shell, way, packet).await;
    }
    allocated += round(&mut shell, way, &many).await;
    assert_eq!(allocated, 0);
    let counters = shell.core.counters();
    assert_eq!((counters.accepted, counters.forwarded), (180, 180 * 29));
}
