//! What is sent in one go, and in which messages.

use super::*;

/// A room of `members`, all reachable by datagrams.
pub(super) fn room_of(bench: &mut Bench, members: u8) -> Vec<Client> {
    let clients: Vec<Client> = (1..=members).map(|k| bench.client(k)).collect();
    let routes: Vec<_> = clients.iter().map(|client| (client, client.udp())).collect();
    bench.room(&routes);
    clients
}

impl Bench {
    /// Takes a datagram and lets it wait.
    pub(super) fn take(&mut self, from: SocketAddr, bytes: &[u8]) {
        let mut copy = bytes.to_vec();
        self.core.handle_datagram(Origin::Udp(from), &mut copy, self.now, &mut self.out);
    }
}

#[test]
fn packets_of_one_wake_up_go_to_each_receiver_in_one_message() {
    let mut bench = Bench::new();
    bench.out.queue.set_segments_max(64);
    let mut clients = room_of(&mut bench, 20);
    for client in clients.iter_mut().take(5) {
        let voice = client.voice(&[1; 80]);
        bench.take(client.address, &voice);
    }
    bench.notices();
    // What is sent before is the challenges to addresses that are new.
    bench.out.queue.clear();
    bench.core.forward(bench.now, &mut bench.out, |_| {});
    assert_eq!(bench.out.queue.messages(), 20, "one for each, those who speak among them");
    assert_eq!(bench.out.queue.len(), 5 * 19);
    for (to, sealed) in bench.sent() {
        let receiver = clients.iter().find(|client| client.address == to).unwrap();
        let index = PacketIndex::new(0, peek_seq(&sealed).unwrap());
        let mut copy = sealed.clone();
        assert!(receiver.down.open_rtp(&mut copy, index).unwrap().ends_with(&[1; 80]));
    }
}

#[test]
fn packets_of_different_sizes_all_arrive_and_each_speaker_s_in_order() {
    let mut bench = Bench::new();
    bench.out.queue.set_segments_max(64);
    let mut clients = room_of(&mut bench, 4);
    for k in 0..12u8 {
        for client in clients.iter_mut().take(3) {
            let length = 20 + usize::from(k.wrapping_mul(37) % 60);
            let voice = client.voice(&vec![k; length]);
            bench.take(client.address, &voice);
        }
    }
    bench.out.queue.clear();
    bench.core.forward(bench.now, &mut bench.out, |_| {});
    let last = clients.pop().unwrap();
    let mut heard: std::collections::BTreeMap<Ssrc, Vec<u16>> = Default::default();
    for (_, sealed) in bench.sent().into_iter().filter(|(to, _)| *to == last.address) {
        let seq = peek_seq(&sealed).unwrap();
        let mut copy = sealed.clone();
        last.down.open_rtp(&mut copy, PacketIndex::new(0, seq)).unwrap();
        heard.entry(crate::net::rtp::peek_ssrc(&sealed).unwrap()).or_default().push(seq);
    }
    assert_eq!(heard.len(), 3);
    for seqs in heard.values() {
        assert_eq!(*seqs, (100..=111).collect::<Vec<u16>>());
    }
}

#[test]
fn a_full_queue_is_sent_and_the_rest_follows() {
    let mut bench = Bench::new();
    let mut clients = room_of(&mut bench, 150);
    for _ in 0..4 {
        let voice = clients[0].voice(&[1; 640]);
        bench.take(clients[0].address, &voice);
    }
    bench.out.queue.clear();
    let mut sent = 0;
    let mut longest = 0;
    let more = bench.core.forward(bench.now, &mut bench.out, |queue| {
        longest = longest.max(queue.messages());
        sent += queue.len();
        queue.clear();
    });
    assert!(!more && longest < 300, "{longest}");
    assert_eq!(sent + bench.out.queue.len(), 4 * 149);
}

#[test]
fn who_leaves_or_is_silenced_while_his_voice_waits_is_not_heard_any_more() {
    let mut bench = Bench::new();
    let mut clients = room_of(&mut bench, 4);
    for client in clients.iter_mut().take(3) {
        let voice = client.voice(b"just said");
        bench.take(client.address, &voice);
    }
    bench.out.queue.clear();
    clients[0].voice.silence(true);
    bench.core.remove_session(clients[1].voice.base());
    let left = |client: &Client| client.session == clients[2].session;
    let rest: Vec<_> = clients.iter().filter(|c| !left(c)).map(|c| (c, c.udp())).collect();
    bench.room(&rest);
    assert_eq!(bench.sent(), []);
    assert!(!bench.core.is_waiting());
}
