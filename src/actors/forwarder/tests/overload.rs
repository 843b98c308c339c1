//! More voice than can be sent: who is served, what is dropped, and how soon it is over. In virtual time: the forwarder
//! has a capacity in copies per millisecond.

use super::*;
use crate::net::limits::{ROOM_TURN_COPIES, VOICE_AGE_MAX};
use crate::net::rtp::peek_ssrc;
use std::collections::BTreeMap;

/// Copies that the simulated machine sends in a millisecond.
const COPIES_PER_MS: usize = 100;
const PACKET_MS: u64 = 20;

struct Crowd {
    bench: Bench,
    /// Rooms of clients; the speakers are the first ones.
    rooms: Vec<(Vec<Client>, usize)>,
    /// Time of the machine that is still owed to copies, in ms.
    owed: f64,
}

/// What became of a room's packets.
#[derive(Debug, Default, Clone, Copy)]
struct Outcome {
    said: usize,
    heard: usize,
    latest_ms: u64,
}

impl Crowd {
    fn new(sizes: &[(u8, usize)]) -> Self {
        let mut bench = Bench::new();
        let mut k = 0;
        let mut rooms = Vec::new();
        for (number, (members, speakers)) in sizes.iter().enumerate() {
            let clients: Vec<Client> = (0..*members)
                .map(|_| {
                    k += 1;
                    bench.client(k)
                })
                .collect();
            let members = clients.iter().map(|client| Route {
                session: client.session,
                path: client.udp(),
                sealer: client.sealer.clone(),
                voice: Arc::clone(&client.voice),
            });
            let id = RoomId(number as u64);
            let stage = bench.stage.clone();
            let routes = RoomRoutes { id, members: members.collect(), stage };
            bench.core.set_room(id, Some(Arc::new(routes)));
            rooms.push((clients, *speakers));
        }
        Self { bench, rooms, owed: 0.0 }
    }

    /// Everybody who speaks does so for so long; what came of it, by room and by speaker.
    fn run(&mut self, length_ms: u64) -> (Vec<Outcome>, Vec<BTreeMap<Ssrc, usize>>) {
        let mut outcomes = vec![Outcome::default(); self.rooms.len()];
        let mut by_speaker = vec![BTreeMap::new(); self.rooms.len()];
        let mut said_at: BTreeMap<(Ssrc, u16), (usize, Instant)> = BTreeMap::new();
        for ms in 0..length_ms {
            for (room, (clients, speakers)) in self.rooms.iter_mut().enumerate() {
                let others = clients.len() - 1;
                for (k, client) in clients.iter_mut().take(*speakers).enumerate() {
                    if ms % PACKET_MS != k as u64 % PACKET_MS {
                        continue;
                    }
                    let voice = client.voice(&[7; 60]);
                    let key = (client.voice.stream(0), peek_seq(&voice).unwrap());
                    said_at.insert(key, (room, self.bench.now));
                    outcomes[room].said += others;
                    self.bench.take(client.address, &voice);
                }
            }
            self.bench.out.queue.clear();
            self.owed -= 1.0;
            while self.owed <= 0.0 && self.bench.core.is_waiting() {
                self.bench.core.forward(self.bench.now, &mut self.bench.out, |_| {});
                let sent: Vec<_> = self.bench.out.queue.iter().map(|(_, b)| b.to_vec()).collect();
                self.bench.out.queue.clear();
                self.owed += sent.len() as f64 / COPIES_PER_MS as f64;
                for sealed in sent {
                    let key = (peek_ssrc(&sealed).unwrap(), peek_seq(&sealed).unwrap());
                    let Some((room, at)) = said_at.get(&key) else { continue };
                    outcomes[*room].heard += 1;
                    *by_speaker[*room].entry(key.0).or_default() += 1;
                    let waited = self.bench.now.duration_since(*at).as_millis() as u64;
                    outcomes[*room].latest_ms = outcomes[*room].latest_ms.max(waited);
                }
            }
            self.owed = self.owed.max(0.0);
            self.bench.now += Duration::from_millis(1);
        }
        (outcomes, by_speaker)
    }
}

#[test]
fn beyond_what_can_be_sent_a_room_loses_what_is_stale_and_everybody_in_it_equally() {
    // 20 speakers before 99 others: 50 x 20 x 99 copies a second, 99 in a millisecond; the machine makes half of it.
    let mut crowd = Crowd::new(&[(100, 40)]);
    let (outcomes, by_speaker) = crowd.run(3000);
    let Outcome { said, heard, latest_ms } = outcomes[0];
    let share = heard as f64 / said as f64;
    assert!((0.4..0.6).contains(&share), "{share}");
    assert!(u128::from(latest_ms) <= VOICE_AGE_MAX.as_millis() + 1, "{latest_ms} ms");
    let heard: Vec<usize> = by_speaker[0].values().copied().collect();
    assert_eq!(heard.len(), 40);
    let (least, most) = (heard.iter().min().unwrap(), heard.iter().max().unwrap());
    assert!(most * 2 < least * 3, "{least} to {most} copies of a speaker");
    assert!(crowd.bench.core.counters().stale > 0);
}

#[test]
fn a_room_that_is_too_much_takes_nothing_from_a_small_one() {
    let mut crowd = Crowd::new(&[(100, 40), (5, 1), (10, 2)]);
    let (outcomes, _) = crowd.run(2000);
    for small in &outcomes[1..] {
        assert_eq!(small.heard, small.said, "{small:?}");
        // One turn of the large room, and one packet's time.
        assert!(small.latest_ms <= 45, "{small:?}");
    }
    assert!(outcomes[0].heard * 10 > outcomes[0].said * 4, "{:?}", outcomes[0]);
}

#[test]
fn when_there_is_time_again_everything_is_at_once_as_before() {
    let mut crowd = Crowd::new(&[(100, 40)]);
    crowd.run(1000);
    crowd.rooms[0].1 = 5;
    // What waits is dealt with or dropped within its age, and one turn more.
    let turn_ms = (ROOM_TURN_COPIES / COPIES_PER_MS) as u64;
    crowd.run(VOICE_AGE_MAX.as_millis() as u64 + turn_ms + PACKET_MS);
    let (outcomes, _) = crowd.run(1000);
    // The last milliseconds' packets are on their way when it ends.
    assert!(outcomes[0].said - outcomes[0].heard <= 2 * 99, "{:?}", outcomes[0]);
    assert!(outcomes[0].latest_ms <= 3, "{:?}", outcomes[0]);
}

#[test]
fn what_was_too_long_in_the_socket_is_not_even_opened_and_control_packets_are() {
    let mut bench = Bench::new();
    let (mut a, b) = (bench.client(1), bench.client(2));
    bench.room(&[(&a, a.udp()), (&b, b.udp())]);
    bench.prove(&mut a);
    let late = bench.now + VOICE_AGE_MAX + Duration::from_millis(1);
    let (mut voice, mut keepalive) = (a.voice(b"late"), a.app(App::Keepalive([1; 8])));
    let times = (bench.now, late);
    bench.core.handle_arrived(Origin::Udp(a.address), &mut voice, times, &mut bench.out);
    assert_eq!(bench.sent(), []);
    assert_eq!(bench.core.counters().stale, 1);
    bench.core.handle_arrived(Origin::Udp(a.address), &mut keepalive, times, &mut bench.out);
    assert_eq!(bench.sent().len(), 1, "its answer");
}
