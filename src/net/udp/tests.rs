//! Batches over real sockets of this machine.

use super::*;
use crate::net::ids::Ssrc;

async fn receive_one(receiver: &mut Receiver, socket: &VoiceSocket) -> Vec<(SocketAddr, Vec<u8>)> {
    loop {
        socket.readable().await.unwrap();
        match receiver.receive(socket) {
            Ok(count) => {
                let mut got = Vec::new();
                receiver.for_each(count, |arrival, bytes| got.push((arrival.from, bytes.to_vec())));
                return got;
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
}

fn unblocked(address: &str) -> std::net::UdpSocket {
    let socket = std::net::UdpSocket::bind(address).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

#[tokio::test]
async fn a_batch_arrives_whole_and_in_order_on_both_families() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(group) = bind_group(address.parse().unwrap(), 1) else {
            assert!(address.starts_with('['), "IPv4 loopback is always there");
            continue;
        };
        let to = group.address;
        let server = VoiceSocket::new(group.sockets.into_iter().next().unwrap()).unwrap();
        let client = std::net::UdpSocket::from(open(address.parse().unwrap(), false).unwrap());
        let mut queue = SendQueue::default();
        for k in 0..300u32 {
            queue.push(to, |bytes| bytes.extend(k.to_be_bytes()));
        }
        let sent = Transmitter::default().send(&client, &mut queue);
        assert_eq!(sent, Sent { taken: 300, refused: 0 });
        assert!(queue.is_empty());
        let mut receiver = Receiver::default();
        let mut got = Vec::new();
        while got.len() < 300 {
            for (from, bytes) in receive_one(&mut receiver, &server).await {
                assert_eq!(from, client.local_addr().unwrap());
                got.push(u32::from_be_bytes(bytes.try_into().unwrap()));
            }
        }
        assert_eq!(got, (0..300).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn datagrams_of_any_sizes_arrive_as_they_were_whether_or_not_they_go_as_segments() {
    for segmenting in [true, false] {
        let server = VoiceSocket::new(unblocked("127.0.0.1:0")).unwrap();
        let other = VoiceSocket::new(unblocked("127.0.0.1:0")).unwrap();
        let client = unblocked("127.0.0.1:0");
        let to = server.socket().local_addr().unwrap();
        let elsewhere = other.socket().local_addr().unwrap();
        let mut transmitter = match segmenting {
            true => Transmitter::segmenting(&client),
            false => Transmitter::default(),
        };
        let mut queue = SendQueue::default();
        queue.set_segments_max(transmitter.segments_max());
        // Equal ones, a shorter one, a longer one; another receiver; more than one message takes.
        let mut lengths = vec![100, 100, 100, 60, 60, 100, 1200, 1200, 7, 1, 1, 2];
        lengths.extend([80; 200]);
        let datagram = |k: usize, length: usize| vec![(k % 251) as u8; length];
        for (k, length) in lengths.iter().enumerate() {
            queue.push(to, |bytes| bytes.extend(datagram(k, *length)));
            if k == 2 {
                queue.push(elsewhere, |bytes| bytes.extend(b"for the other"));
            }
        }
        assert_eq!(queue.len(), lengths.len() + 1);
        assert_eq!(queue.iter().count(), queue.len());
        if transmitter.segments_max() > 1 {
            assert!(queue.messages() < 20, "{}", queue.messages());
        }
        let sent = transmitter.send(&client, &mut queue);
        assert_eq!(sent, Sent { taken: lengths.len() + 1, refused: 0 });
        let (mut receiver, mut got) = (Receiver::default(), Vec::new());
        while got.len() < lengths.len() {
            got.extend(receive_one(&mut receiver, &server).await.into_iter().map(|(_, b)| b));
        }
        let said: Vec<_> = lengths.iter().enumerate().map(|(k, n)| datagram(k, *n)).collect();
        assert_eq!(got, said);
        assert_eq!(receive_one(&mut receiver, &other).await.remove(0).1, b"for the other");
    }
}

#[tokio::test]
async fn a_receiver_without_a_way_costs_the_others_nothing() {
    let server = VoiceSocket::new(unblocked("127.0.0.1:0")).unwrap();
    let client = unblocked("127.0.0.1:0");
    let to = server.socket().local_addr().unwrap();
    let nowhere = "255.255.255.255:9".parse().unwrap();
    let mut transmitter = Transmitter::segmenting(&client);
    let mut queue = SendQueue::default();
    queue.set_segments_max(transmitter.segments_max());
    for receiver in [to, nowhere, to] {
        for _ in 0..3 {
            queue.push(receiver, |bytes| bytes.extend(b"voice"));
        }
    }
    assert_eq!(transmitter.send(&client, &mut queue), Sent { taken: 6, refused: 3 });
    let (mut receiver, mut got) = (Receiver::default(), 0);
    while got < 6 {
        got += receive_one(&mut receiver, &server).await.len();
    }
    assert!(transmitter.take_refusal().is_none(), "segments are not to blame");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn segments_that_a_path_refuses_go_one_by_one() {
    let server = VoiceSocket::new(unblocked("127.0.0.1:0")).unwrap();
    let client = unblocked("127.0.0.1:0");
    system::without_checksums(&client).unwrap();
    let mut transmitter = Transmitter::segmenting(&client);
    if transmitter.segments_max() == 1 {
        return;
    }
    let to = server.socket().local_addr().unwrap();
    let mut queue = SendQueue::default();
    queue.set_segments_max(transmitter.segments_max());
    let mut receiver = Receiver::default();
    for _ in 0..3 {
        assert!(transmitter.take_refusal().is_none(), "once is chance");
        for k in 0..5u8 {
            queue.push(to, |bytes| bytes.extend([k; 50]));
        }
        assert_eq!(transmitter.send(&client, &mut queue), Sent { taken: 5, refused: 0 });
        let mut got = Vec::new();
        while got.len() < 5 {
            got.extend(receive_one(&mut receiver, &server).await.into_iter().map(|(_, b)| b[0]));
        }
        assert_eq!(got, [0, 1, 2, 3, 4]);
    }
    assert_eq!(transmitter.segments_max(), 1, "not tried again");
    assert!(transmitter.take_refusal().is_some(), "and told,");
    assert!(transmitter.take_refusal().is_none(), "once");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_receiver_is_told_times_drops_and_destinations() {
    let socket = unblocked("0.0.0.0:0");
    let port = socket.local_addr().unwrap().port();
    socket2::SockRef::from(&socket).set_recv_buffer_size(1).unwrap();
    let watch = Watch { times: true, drops: true, destinations: true };
    let mut receiver = Receiver::watching(&socket, watch).unwrap();
    let client = unblocked("0.0.0.0:0");
    let mut queue = SendQueue::default();
    let (from, to) = (Ipv4Addr::new(127, 1, 2, 3), Ipv4Addr::new(127, 0, 9, 9));
    for _ in 0..100 {
        queue.push_from(Some(from), (to, port).into(), |bytes| bytes.extend([7; 500]));
    }
    let sent = Transmitter::default().send(&client, &mut queue);
    assert_eq!(sent.taken, 100);
    let mut got = 0;
    while let Ok(count) = receiver.receive_from(&socket) {
        receiver.for_each(count, |arrival, _| {
            assert_eq!((arrival.from.ip(), arrival.to), (from.into(), Some(to)));
            let age = crate::net::clock::unix_ns().saturating_sub(arrival.at_ns);
            assert!(age < 60_000_000_000, "{age}");
            got += 1;
        });
    }
    assert!(got < 100, "the buffer was too small");
    queue.push((to, port).into(), |bytes| bytes.push(1));
    Transmitter::default().send(&client, &mut queue);
    let count = receiver.receive_from(&socket).unwrap();
    receiver.for_each(count, |_, _| {});
    assert_eq!(receiver.drops(), 100 - got, "told with the next datagram");
}

#[tokio::test]
async fn datagrams_reach_the_socket_of_their_stream_s_owner() {
    let group = bind_group("127.0.0.1:0".parse().unwrap(), 3).unwrap();
    if cfg!(not(target_os = "linux")) {
        assert!(group.fallback.is_some());
        return;
    }
    assert_eq!(group.fallback, None);
    let sockets: Vec<_> =
        group.sockets.into_iter().map(|socket| VoiceSocket::new(socket).unwrap()).collect();
    let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for number in [0u32, 4, 7, 8, 0xffff_ffff, 0x1234_5678] {
        let ssrc = Ssrc(number);
        let mut rtp = vec![0x80, 0xe0, 0, 1, 0, 0, 0, 0];
        rtp.extend(number.to_be_bytes());
        let mut rtcp = vec![0x80, 204, 0, 1];
        rtcp.extend(number.to_be_bytes());
        for datagram in [rtp, rtcp] {
            client.send_to(&datagram, group.address).unwrap();
            let owner = &sockets[ssrc.owner(3)];
            let got = receive_one(&mut Receiver::default(), owner).await;
            assert_eq!(got[0].1, datagram);
        }
    }
}

#[tokio::test]
async fn a_port_in_use_is_an_error_even_when_it_would_be_shared() {
    let first = bind_group("127.0.0.1:0".parse().unwrap(), 2).unwrap();
    let again = bind_group(first.address, 2).unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
}
