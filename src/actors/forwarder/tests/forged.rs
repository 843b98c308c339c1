//! What strangers send costs the server a look and nothing else.

use super::*;
use crate::net::limits::DATAGRAM_BYTES_MAX;

/// Datagrams that look right and are not: every kind, every length, of a stream that exists and of one that does not.
fn forged(real: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for good in real {
        for length in 0..good.len() {
            all.push(good[..length].to_vec());
            let mut bent = good.clone();
            bent[length] ^= 0x40;
            all.push(bent);
        }
    }
    for length in (0..=DATAGRAM_BYTES_MAX + 1).step_by(37) {
        for kind in [0x60, 200, 204] {
            for ssrc in [4u32, 5, 7, 0xdead_beef] {
                let mut bytes = vec![0xa5; length];
                let at = if kind >= 200 { 4 } else { 8 };
                for (to, from) in bytes.iter_mut().zip([0x80, kind]) {
                    *to = from;
                }
                if let Some(word) = bytes.get_mut(at..at + 4) {
                    word.copy_from_slice(&ssrc.to_be_bytes());
                }
                all.push(bytes);
            }
        }
    }
    all
}

#[test]
fn forged_datagrams_allocate_nothing_and_leave_no_trace() {
    let mut bench = Bench::new();
    let (mut a, b) = (bench.client(1), bench.client(2));
    bench.room(&[(&a, a.udp()), (&b, b.udp())]);
    bench.prove(&mut a);
    // A real one first, so that a stream exists and replays can be tried.
    let spent = a.voice(b"heard once");
    bench.from(a.address, &spent);
    let (voice, keepalive) = (a.voice(b"voice"), a.app(App::Keepalive([3; 8])));
    let mut forged = forged(&[voice.clone(), keepalive]);
    forged.push(spent);
    bench.notices();
    let before = (bench.core.sizes(), a.voice.infos());
    let (core, out, now) = (&mut bench.core, &mut bench.out, bench.now);
    let dropped = core.counters().dropped;
    let allocated = allocation_counter::measure(|| {
        for datagram in &mut forged {
            core.handle_datagram(Origin::Udp(a.address), datagram, now, out);
        }
        core.forward(now, out, |_| {});
    });
    assert_eq!(allocated.count_total, 0, "{} datagrams", forged.len());
    assert_eq!(bench.core.counters().dropped, dropped + forged.len() as u64);
    assert!(bench.out.queue.is_empty() && bench.out.notices.is_empty());
    assert_eq!((bench.core.sizes(), a.voice.infos()), before);
    assert_eq!(bench.from(a.address, &voice).len(), 1, "the real one still passes");
}

#[test]
fn voice_is_passed_on_without_an_allocation() {
    let mut bench = Bench::new();
    let mut a = bench.client(1);
    let others: Vec<Client> = (2..40).map(|k| bench.client(k)).collect();
    let mut members = vec![(&a, a.udp())];
    members.extend(others.iter().map(|other| (other, other.udp())));
    bench.room(&members);
    bench.prove(&mut a);
    let mut said: Vec<Vec<u8>> = (0..100).map(|_| a.voice(&[9; 640])).collect();
    let (first, rest) = said.split_at_mut(20);
    let (core, out) = (&mut bench.core, &mut bench.out);
    let mut now = bench.now;
    let mut forward = |packets: &mut [Vec<u8>]| {
        for datagram in packets {
            now += Duration::from_millis(20);
            core.handle_datagram(Origin::Udp(a.address), datagram, now, out);
            core.forward(now, out, |_| {});
            assert_eq!(out.queue.len(), others.len());
            out.queue.clear();
        }
    };
    forward(first);
    let allocated = allocation_counter::measure(|| forward(rest));
    assert_eq!(allocated.count_total, 0);
    let counter_works = allocation_counter::measure(|| drop(vec![0u8; 10]));
    assert_eq!(counter_works.count_total, 1);
}
