//! Voice from a speaker through the forwarder's core to the cores of clients' links, in virtual time: what
//! is sealed for a receiver with the speaker's index, the receiver opens with the index that he works out.

use crate::actors::forwarder::core::{ForwarderCore, Origin, Outputs};
use crate::actors::outbox::Outbox;
use crate::actors::routes::{RoomRoutes, Route, SessionRoute, SessionVoice, VoicePath};
use crate::actors::stage::Stage;
use crate::client::voice::link::{Action, Link, Way};
use crate::client::voice::playback::ToPlayback;
use crate::client::voice::{VoicePath as ClientPath, VoiceSession};
use crate::net::clock;
use crate::net::codec::PT_L16;
use crate::net::ids::{MemberId, PacketIndex, RoomId, SessionId, Ssrc};
use crate::net::limits::UNKNOWN_STREAM_HOLD;
use crate::net::message::{MemberInfo, Protection, StreamGrant};
use crate::net::name::UserName;
use crate::net::protect::{DirectionKey, Opener, Sealer};
use crate::net::rtp::RtpHeader;
use crate::net::secret::Secret;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PROTECTION: Protection = Protection::AeadAes128Gcm;
const FRAME: Duration = Duration::from_millis(20);

/// A member: the server's half of his session, and his link.
struct Member {
    k: u8,
    voice: Arc<SessionVoice>,
    sealer: Sealer,
    link: Link,
}

/// A room with one speaker, the first member.
struct World {
    core: ForwarderCore,
    out: Outputs,
    now: Instant,
    members: Vec<Member>,
    next: PacketIndex,
    random: u64,
}

fn keys(k: u8) -> (DirectionKey, DirectionKey) {
    (Secret::new([k; 28]), Secret::new([k + 100; 28]))
}

fn address(k: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, k], 5000))
}

impl World {
    /// Members 1 to `count`, of whom the first speaks, from this index on.
    fn new(count: u8, next: PacketIndex) -> Self {
        let core = ForwarderCore::new(Box::new(|| [0; 8]));
        let now = clock::now();
        let (out, members) = (Outputs::default(), Vec::new());
        let mut world = Self { core, out, now, members, next, random: 11 };
        for _ in 0..count {
            world.connect();
        }
        world
    }

    /// One more session; he is in no room yet.
    fn connect(&mut self) -> usize {
        let k = u8::try_from(self.members.len() + 1).unwrap();
        let ((up, down), voice) = (keys(k), Arc::new(SessionVoice::new(Ssrc(u32::from(k) * 4))));
        let sealer = Sealer::new(PROTECTION, &down).unwrap();
        let route = SessionRoute {
            session: SessionId(u64::from(k)),
            opener: Opener::new(PROTECTION, &up).unwrap(),
            sealer: sealer.clone(),
            voice: Arc::clone(&voice),
            outbox: Outbox::default(),
        };
        self.core.add_session(route, self.now);
        let mut link = Link::default();
        let session = VoiceSession {
            id: MemberId(u64::from(k)),
            server: address(99),
            protection: PROTECTION,
            up_key: up,
            down_key: down,
            streams: vec![StreamGrant { ssrc: voice.stream(0), clock_hz: 16_000 }],
            control_ssrc: voice.control(),
        };
        assert!(link.connect(&session, self.now));
        assert_eq!(link.path(), ClientPath::None);
        self.members.push(Member { k, voice, sealer, link });
        self.members.len() - 1
    }

    /// What newcomers are told of everyone.
    fn infos(&self) -> Vec<MemberInfo> {
        let info = |member: &Member| MemberInfo {
            id: MemberId(u64::from(member.k)),
            name: UserName::parse(&format!("u{}", member.k)).unwrap(),
            muted: false,
            deafened: false,
            recording: false,
            speaking: false,
            silenced: false,
            role: None,
            streams: member.voice.infos(),
        };
        self.members.iter().map(info).collect()
    }

    /// Tells a member's link who is here.
    fn tell(&mut self, member: usize) {
        let infos = self.infos();
        self.members[member].link.enter_room(&infos, self.now);
        self.members[member].link.take_actions();
    }

    /// Puts the routes in force: everyone is in the room but those `outside`.
    fn route(&mut self, outside: &[usize]) {
        let inside = self.members.iter().enumerate().filter(|(n, _)| !outside.contains(n));
        let members = inside.map(|(_, member)| Route {
            session: SessionId(u64::from(member.k)),
            path: Some(VoicePath::Udp(address(member.k))),
            sealer: member.sealer.clone(),
            voice: Arc::clone(&member.voice),
        });
        let stage = Stage::boundless(self.now);
        let routes = RoomRoutes { id: RoomId(1), members: members.collect(), stage };
        self.core.set_room(RoomId(1), Some(Arc::new(routes)));
    }

    /// The speaker's next packet, as sealed for the server.
    fn say(&mut self) -> (PacketIndex, Vec<u8>) {
        let index = self.next;
        self.next.0 += 1;
        let header = RtpHeader {
            marker: false,
            payload_type: PT_L16,
            seq: index.seq(),
            timestamp: (index.0 * 320) as u32,
            ssrc: self.members[0].voice.stream(0),
            audio_level: None,
        };
        let mut packet = Vec::new();
        header.write(&mut packet);
        packet.extend(index.0.to_be_bytes());
        let mut sealed = Vec::new();
        let up = Sealer::new(PROTECTION, &keys(1).0).unwrap();
        up.seal_rtp(&packet, index, &mut sealed).unwrap();
        (index, sealed)
    }

    /// The server takes a datagram: copies for whom.
    fn forward(&mut self, mut datagram: Vec<u8>) -> Vec<(usize, Vec<u8>)> {
        self.now += FRAME;
        let origin = Origin::Udp(address(1));
        self.core.handle_datagram(origin, &mut datagram, self.now, &mut self.out);
        self.core.forward(self.now, &mut self.out, |_| {});
        let copies = self.out.queue.iter().filter_map(|(to, bytes)| {
            let member = self.members.iter().position(|member| address(member.k) == to)?;
            // The speaker's own copies are the server's challenges.
            (member > 0).then(|| (member, bytes.to_vec()))
        });
        let copies = copies.collect();
        self.out.queue.clear();
        copies
    }

    /// A link takes a datagram: the indices and payloads of what it hands to playback.
    fn hear(&mut self, member: usize, mut datagram: Vec<u8>) -> Vec<(u64, u64)> {
        self.members[member].link.datagram(Way::Datagram, &mut datagram, self.now);
        self.heard(member)
    }

    fn heard(&mut self, member: usize) -> Vec<(u64, u64)> {
        let actions = self.members[member].link.take_actions();
        let packets = actions.into_iter().filter_map(|action| match action {
            Action::Play(ToPlayback::Packet(arrived)) => {
                assert_eq!(arrived.member, MemberId(1));
                let said = arrived.packet.payload.try_into().unwrap();
                Some((arrived.packet.index, u64::from_be_bytes(said)))
            }
            _ => None,
        });
        packets.collect()
    }

    /// True in about one of ten cases, the same ones in every run.
    fn chance(&mut self) -> bool {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33).is_multiple_of(10)
    }

    fn dropped(&self, member: usize) -> u64 {
        self.members[member].link.figures().dropped
    }
}

/// The packets around a roll-over: lost whatever else is.
fn around_the_wrap(index: PacketIndex) -> bool {
    matches!(index.seq(), 0xfffd..=0xffff | 0..=2)
}

#[test]
fn voice_goes_on_over_roll_overs_with_packets_lost_around_them() {
    // From the highest start that there is (2^15 - 1) over two roll-overs.
    let mut world = World::new(3, PacketIndex(0x7fff));
    world.route(&[]);
    world.tell(1);
    world.tell(2);
    let mut reached = [0, 0];
    while world.next < PacketIndex::new(2, 500) {
        let (index, datagram) = world.say();
        // Lost on the way up, here and around every roll-over.
        if world.chance() || around_the_wrap(index) {
            continue;
        }
        for (member, copy) in world.forward(datagram) {
            if world.chance() {
                continue;
            }
            assert_eq!(world.hear(member, copy), [(index.0, index.0)]);
            reached[member - 1] += 1;
        }
    }
    // Nine tenths of nine tenths.
    assert!(reached.iter().all(|count| *count > 70_000), "{reached:?}");
    assert_eq!((world.dropped(1), world.dropped(2)), (0, 0));
}

#[test]
fn who_comes_late_learns_how_often_the_numbers_have_rolled_over() {
    // Before the first roll-over, right at it, after it, and after the second.
    for late_at in [0xff00, 0xfffd, 0xffff, 0x1_0000, 0x1_0001, 0x1_0032, 0x2_0001] {
        let mut world = World::new(2, PacketIndex(0x7ff0));
        world.route(&[]);
        world.tell(1);
        let mut copies = Vec::new();
        while world.next.0 < late_at {
            let (_, datagram) = world.say();
            copies = world.forward(datagram);
        }
        assert_eq!(copies.len(), 1);
        let late = world.connect();
        // The news is made before the routes are, and the packets around the roll-over never arrive.
        world.tell(late);
        world.route(&[]);
        let mut heard = 0;
        for _ in 0..300 {
            let (index, datagram) = world.say();
            for (member, copy) in world.forward(datagram) {
                if member == late && !around_the_wrap(index) {
                    assert_eq!(
                        world.hear(member, copy),
                        [(index.0, index.0)],
                        "late at {late_at:x}"
                    );
                    heard += 1;
                }
            }
        }
        assert!(heard >= 294, "{heard}");
        assert_eq!(world.dropped(late), 0);
    }
}

#[test]
fn voice_that_overtakes_the_news_of_its_stream_is_kept_whatever_its_roll_over_counter() {
    let mut world = World::new(2, PacketIndex(0x7ff0));
    world.route(&[]);
    while world.next.0 < 0x1_0010 {
        let (_, datagram) = world.say();
        world.forward(datagram);
    }
    let news = world.infos();
    let late = world.connect();
    world.route(&[]);
    let mut sent = Vec::new();
    for _ in 0..3 {
        let (index, datagram) = world.say();
        let copies = world.forward(datagram);
        let (_, copy) = copies.iter().find(|(member, _)| *member == late).unwrap();
        assert_eq!(world.hear(late, copy.clone()), []);
        // The same again is the same, and takes no place.
        assert_eq!(world.hear(late, copy.clone()), []);
        sent.push((index.0, index.0));
    }
    assert!(FRAME * 3 < UNKNOWN_STREAM_HOLD);
    world.members[late].link.enter_room(&news, world.now);
    assert_eq!(world.heard(late), sent);
}

#[test]
fn what_was_heard_before_is_not_heard_again_when_someone_comes_back() {
    let mut world = World::new(2, PacketIndex(0x7000));
    world.route(&[]);
    world.tell(1);
    let mut recorded = Vec::new();
    let mut stale = world.infos();
    for k in 0..200 {
        if k == 180 {
            stale = world.infos();
        }
        let (_, datagram) = world.say();
        for (member, copy) in world.forward(datagram) {
            assert_eq!(world.hear(member, copy.clone()).len(), 1);
            recorded.push(copy);
        }
    }
    // He leaves and comes back, with news that is older than what was heard; then the listener does.
    // Nothing that was recorded sounds again.
    for listener_goes in [false, true] {
        if listener_goes {
            world.members[1].link.leave_room();
        } else {
            world.members[1].link.member_left(MemberId(1));
        }
        for copy in &recorded {
            assert_eq!(world.hear(1, copy.clone()), []);
        }
        world.members[1].link.enter_room(&stale, world.now);
        assert_eq!(world.heard(1), []);
        for copy in &recorded {
            assert_eq!(world.hear(1, copy.clone()), []);
        }
        let (index, datagram) = world.say();
        for (member, copy) in world.forward(datagram) {
            assert_eq!(world.hear(member, copy.clone()), [(index.0, index.0)]);
            recorded.push(copy);
        }
    }
}

#[test]
fn nobody_can_open_what_was_sealed_for_another() {
    let mut world = World::new(3, PacketIndex(100));
    world.route(&[]);
    world.tell(1);
    world.tell(2);
    let (_, datagram) = world.say();
    let uplink = datagram.clone();
    let copies = world.forward(datagram);
    let [(first, for_first), (second, for_second)] = &copies[..] else { panic!("{copies:?}") };
    let (first, second) = (*first, *second);
    assert_eq!(world.hear(first, for_second.clone()), []);
    assert_eq!(world.hear(second, for_first.clone()), []);
    assert_eq!(world.hear(first, uplink), []);
    assert_eq!(world.hear(first, for_first.clone()).len(), 1);
}
