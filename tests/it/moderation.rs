//! Keeping order on a real server: whoever is sent away or silenced is so from the next packet on, bans
//! hold against what they are written against and end, and all of it outlives the server.
//!
//! Control connections are in memory, with a made-up channel binding where TLS would bring one, so that
//! devices can prove themselves; voice is real datagrams.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parlor::actors::connection::Caller;
use parlor::actors::connection::door::Security;
use parlor::actors::control_socket::{CONTROL_SOCKET_FILE, ControlSocket, ask as ask_at};
use parlor::actors::identity::{Identity, Source};
use parlor::actors::limits::Limits;
use parlor::actors::server::{Keeping, Server, ServerConfig};
use parlor::net::address::HostPort;
use parlor::net::clock;
use parlor::net::device::DeviceKey;
use parlor::net::invite::{Invite, InviteToken};
use parlor::net::limits::{ATTEMPT_WAIT, ATTEMPTS_FREE};
use parlor::net::message::{
    ClientMessage, ErrorCode, GoodbyeReason, Hello, LeaveReason, MemberState, ServerMessage,
    Standing,
};
use parlor::net::moderation::{
    AdminReply, AdminRequest, AuditEntry, Moderation, Report, Role, Sanction, Target,
};
use parlor::net::secret::{Password, ResumeSecret, Secret};
use parlor::net::tls;

use crate::support::peer::{DUPLEX_BYTES, Peer, until};

/// Tests give orders faster than people do.
pub fn hasty() -> Limits {
    Limits { requests_per_second: 10_000, request_burst: 10_000, ..Limits::default() }
}

/// A server that keeps its state in this directory.
pub async fn server_in(state: &Path) -> Server {
    server_with(state, hasty()).await
}

async fn server_with(state: &Path, limits: Limits) -> Server {
    let any = "127.0.0.1:0".parse().unwrap();
    let identity = Identity::load(Source::Memory).unwrap();
    let security = Security::Tls(Arc::new(tls::server_config(identity.certificates()).unwrap()));
    let keeping = Keeping {
        store: Some(state.join("parlor.db")),
        public: Some(HostPort::parse("voice.example:8888").unwrap()),
        ..Keeping::default()
    };
    let base = ServerConfig::new(any, any, Some(2));
    let config = ServerConfig { security, keeping, limits: Arc::new(limits), ..base };
    Server::start(config).await.unwrap()
}

/// Into a room, with its password.
fn enter(room: &str, password: &str) -> ClientMessage {
    let password = Some(Password::new(password.to_owned()).unwrap());
    ClientMessage::Join { room: room.to_owned(), password, after: None }
}

/// A room with a password, and somebody in it.
async fn locked_room(house: &mut House, room: &str, password: &str) -> Peer {
    let mut host = Visit::on(2).come(&house.server, "host").await.unwrap();
    host.join(room).await;
    let password = Some(Password::new(password.to_owned()).unwrap());
    let order = Moderation::RoomPassword { room: room.to_owned(), password };
    assert_eq!(house.order(order).await, Report::Done);
    host
}

/// Somebody who comes in.
#[derive(Default)]
pub struct Visit {
    pub device: Option<u8>,
    pub address: Option<&'static str>,
    pub invite: Option<InviteToken>,
    pub resume: Option<ResumeSecret>,
    pub password: Option<Password>,
}

impl Visit {
    pub fn on(device: u8) -> Self {
        Self { device: Some(device), ..Self::default() }
    }

    pub fn from(address: &'static str) -> Self {
        Self { address: Some(address), ..Self::default() }
    }

    pub async fn come(self, server: &Server, name: &str) -> Result<Peer, ServerMessage> {
        let binding = Secret::new([7; 32]);
        let device = self
            .device
            .map(|k| DeviceKey::from_seed(&Secret::new([k; 32])).unwrap().prove(&binding));
        let hello = Hello {
            state: MemberState { muted: true, deafened: false, recording: false },
            device,
            invite: self.invite,
            resume: self.resume,
            password: self.password,
            ..Hello::new(name)
        };
        let address: Option<IpAddr> = self.address.map(|address| address.parse().unwrap());
        let (near, far) = tokio::io::duplex(DUPLEX_BYTES);
        server.connect(far, Caller { address, binding: Some(binding), ..Caller::default() });
        let hello = ClientMessage::Hello(Box::new(hello));
        Peer::greeting(Box::new(near), server.udp(), hello).await
    }
}

/// A server with its operator, who is in the hall.
struct House {
    server: Server,
    owner: Peer,
    state: tempfile::TempDir,
}

async fn house() -> House {
    house_with(hasty()).await
}

async fn house_with(limits: Limits) -> House {
    let state = tempfile::tempdir().unwrap();
    let server = server_with(state.path(), limits).await;
    let invite = server.invites().owner.as_ref().map(|invite| invite.token.clone());
    let visit = Visit { invite, ..Visit::on(1) };
    let mut owner = visit.come(&server, "Olga").await.unwrap();
    assert_eq!(owner.welcome.standing.role, Some(Role::Operator));
    owner.join("hall").await;
    House { server, owner, state }
}

impl House {
    /// Somebody in the hall, with a proven voice path.
    async fn member(&self, visit: Visit, name: &str) -> Peer {
        let mut peer = visit.come(&self.server, name).await.unwrap();
        peer.open_voice().await;
        peer.join("hall").await;
        peer
    }

    /// An order of the operator that is carried out.
    async fn order(&mut self, order: Moderation) -> Report {
        report(&mut self.owner, order).await
    }

    async fn make_moderator(&mut self, name: &str) {
        let (name, room) = (name.to_owned(), Some("hall".to_owned()));
        let grant = Moderation::Grant { name, role: Role::Moderator, room };
        assert_eq!(self.order(grant).await, Report::Done);
    }

    async fn ban(&mut self, target: Target, seconds: Option<u64>) -> (u64, u32) {
        let reason = Some("noise".to_owned());
        match self.order(Moderation::Ban { target, room: None, seconds, reason }).await {
            Report::Sanctioned { id, affected } => (id, affected),
            other => panic!("{other:?}"),
        }
    }

    async fn sanctions(&mut self) -> Vec<Sanction> {
        match self.order(Moderation::ListSanctions).await {
            Report::Sanctions { sanctions, .. } => sanctions,
            other => panic!("{other:?}"),
        }
    }

    async fn log(&mut self) -> Vec<AuditEntry> {
        match self.order(Moderation::Audit { last: 100 }).await {
            Report::Audit { entries } => entries,
            other => panic!("{other:?}"),
        }
    }
}

async fn ask(peer: &mut Peer, order: Moderation) -> ServerMessage {
    peer.request(ClientMessage::Moderate { order }).await
}

async fn report(peer: &mut Peer, order: Moderation) -> Report {
    match ask(peer, order).await {
        ServerMessage::Report { report } => report,
        other => panic!("{other:?}"),
    }
}

async fn refused(peer: &mut Peer, order: Moderation) -> ErrorCode {
    code(&ask(peer, order).await)
}

fn code(answer: &ServerMessage) -> ErrorCode {
    match answer {
        ServerMessage::Error { code, .. } => *code,
        other => panic!("{other:?}"),
    }
}

fn turned_away(came: Result<Peer, ServerMessage>) -> ServerMessage {
    match came {
        Ok(peer) => panic!("{} has come in", peer.welcome.name),
        Err(answer) => answer,
    }
}

fn kick(name: &str) -> Moderation {
    Moderation::Kick { name: name.to_owned(), reason: Some("noise".to_owned()) }
}

fn mute(name: &str, seconds: Option<u64>) -> Moderation {
    Moderation::Mute { name: name.to_owned(), seconds, reason: None }
}

fn user(name: &str) -> Target {
    Target::User(name.to_owned())
}

/// Somebody who talks all the time, on a thread of his own.
struct Talker {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Talker {
    /// Below the rate that a member may send.
    const PAUSE: Duration = Duration::from_millis(6);

    fn start(peer: &mut Peer) -> Self {
        let packets: Vec<Vec<u8>> = (0..2000).map(|_| peer.seal_voice(b"on and on")).collect();
        let (socket, server) = (peer.socket.try_clone().unwrap(), peer.server);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut sent = 0;
            for packet in packets {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                socket.send_to(&packet, server).unwrap();
                sent += 1;
                std::thread::sleep(Self::PAUSE);
            }
            sent
        });
        Self { stop, thread }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        assert!(self.thread.join().unwrap() < 2000, "he has talked to the end of the test");
    }
}

/// Waits until this one has heard so many packets more.
async fn hears(peer: &mut Peer, packets: usize) {
    let mut heard = 0;
    until("voice", || {
        heard += peer.heard().len();
        let enough = heard >= packets;
        async move { enough }
    })
    .await;
}

async fn wait_standing(peer: &mut Peer, what: impl Fn(&Standing) -> bool) -> Standing {
    let fits = |m: &ServerMessage| matches!(m, ServerMessage::Standing(s) if what(s));
    match peer.wait_for(fits).await {
        ServerMessage::Standing(standing) => standing,
        other => panic!("{other:?}"),
    }
}

// ---- kicks --------------------------------------------------------------------------------

#[actix::test]
async fn whoever_is_kicked_hears_nothing_and_is_heard_by_nobody_from_the_next_packet_on() {
    let mut house = house().await;
    let mut talker = house.member(Visit::default(), "talker").await;
    let mut bob = house.member(Visit::default(), "bob").await;
    let mut carl = house.member(Visit::default(), "carl").await;
    let talking = Talker::start(&mut talker);
    hears(&mut bob, 5).await;
    let last_words = bob.seal_voice(b"too late");
    assert_eq!(house.order(kick("bob")).await, Report::Done);
    // What was on its way when the order was given has arrived by now, and nothing follows.
    bob.heard();
    carl.heard();
    bob.send_datagram(&last_words);
    hears(&mut carl, 20).await;
    assert_eq!(bob.heard(), []);
    talking.end();
    talker.settle_voice();
    carl.heard();
    carl.settle_voice();
    let goodbye = bob.wait_for(|m| matches!(m, ServerMessage::Goodbye { .. })).await;
    let expected = ServerMessage::Goodbye {
        reason: GoodbyeReason::Kicked,
        by: Some("Olga".to_owned()),
        why: Some("noise".to_owned()),
        until_ms: None,
    };
    assert_eq!(goodbye, expected);
    assert!(bob.read().await.is_none(), "the connection ends");
    let left = carl.wait_for(|m| matches!(m, ServerMessage::MemberLeft { .. })).await;
    let ServerMessage::MemberLeft { name, reason, .. } = left else { unreachable!() };
    assert_eq!((name.as_str(), reason), ("bob", LeaveReason::Kicked));
    // He has no session to resume, and may come in again: a kick is no ban.
    let resume = Some(bob.welcome.resume.clone());
    let back = Visit { resume, ..Visit::default() }.come(&house.server, "bob").await.unwrap();
    assert!(!back.welcome.resumed);
    house.server.stop().await;
}

#[actix::test]
async fn nobody_hears_one_who_was_kicked_whatever_he_goes_on_to_send() {
    let mut house = house().await;
    let mut bob = house.member(Visit::default(), "bob").await;
    let mut carl = house.member(Visit::default(), "carl").await;
    let talking = Talker::start(&mut bob);
    hears(&mut carl, 5).await;
    house.order(kick("bob")).await;
    carl.heard();
    // While he goes on, others are heard: what they say comes behind what he has sent.
    let mut dora = house.member(Visit::default(), "dora").await;
    for _ in 0..20 {
        dora.speak(b"dora");
        for heard in carl.heard() {
            assert_eq!((heard.ssrc, heard.payload.as_slice()), (dora.ssrc(), &b"dora"[..]));
        }
    }
    talking.end();
    house.server.stop().await;
}

#[actix::test]
async fn a_moderator_kicks_out_of_his_room_and_from_the_next_packet_on_nothing_of_it_is_heard() {
    let mut house = house().await;
    let mut talker = house.member(Visit::default(), "talker").await;
    let mut bob = house.member(Visit::default(), "bob").await;
    let mut max = house.member(Visit::on(2), "max").await;
    assert_eq!(refused(&mut max, kick("bob")).await, ErrorCode::NotAllowed);
    house.make_moderator("max").await;
    let told = wait_standing(&mut max, |standing| standing.room_role.is_some()).await;
    assert_eq!(told.room_role, Some(Role::Moderator));
    bob.catch_up().await;
    assert_eq!(bob.members[&max.id()].role, Some(Role::Moderator), "everyone in the room sees it");
    let talking = Talker::start(&mut talker);
    hears(&mut bob, 5).await;
    assert_eq!(report(&mut max, kick("BOB")).await, Report::Done);
    bob.heard();
    max.heard();
    hears(&mut max, 20).await;
    assert_eq!(bob.heard(), []);
    talking.end();
    let left = bob.wait_for(|m| matches!(m, ServerMessage::Left { .. })).await;
    let ServerMessage::Left { room, reason, by, why } = left else { unreachable!() };
    assert_eq!((room.as_str(), reason), ("hall", Some(LeaveReason::Kicked)));
    assert_eq!((by.as_deref(), why.as_deref()), (Some("max"), Some("noise")));
    // He is still on the server, and may come in again.
    bob.join("hall").await;
    assert_eq!(refused(&mut max, kick("Olga")).await, ErrorCode::NotOverHim);
    assert_eq!(refused(&mut max, kick("max")).await, ErrorCode::NotOverHim);
    house.server.stop().await;
}

// ---- bans ---------------------------------------------------------------------------------

#[actix::test]
async fn a_banned_user_does_not_come_in_with_another_name_on_his_device_nor_with_his_name_on_another()
 {
    let mut house = house().await;
    let mut bob = house.member(Visit::on(5), "bob").await;
    let before = clock::unix_ms();
    let (id, affected) = house.ban(user("bob"), Some(3600)).await;
    assert_eq!(affected, 1);
    let goodbye = bob.wait_for(|m| matches!(m, ServerMessage::Goodbye { .. })).await;
    let ServerMessage::Goodbye { reason, by, why, until_ms } = goodbye else { unreachable!() };
    assert_eq!(reason, GoodbyeReason::Banned);
    assert_eq!((by.as_deref(), why.as_deref()), (Some("Olga"), Some("noise")));
    let until = until_ms.unwrap();
    assert!((before + 3_600_000..=clock::unix_ms() + 3_600_000).contains(&until));
    let resume = Some(bob.welcome.resume.clone());
    let resumed = Visit { resume, ..Visit::on(5) };
    let attempts = [(Visit::on(5), "robert"), (Visit::on(6), "BOB"), (resumed, "bob")];
    for (visit, name) in attempts {
        let answer = turned_away(visit.come(&house.server, name).await);
        let ServerMessage::Error { code, args } = answer else { panic!("{answer:?}") };
        assert_eq!(code, ErrorCode::Banned, "{name}");
        assert_eq!((args["by"].as_str(), args["why"].as_str()), ("Olga", "noise"));
        assert_eq!(args["until_ms"], until.to_string());
    }
    assert!(Visit::on(6).come(&house.server, "bobby").await.is_ok());
    assert_eq!(house.order(Moderation::Lift { id }).await, Report::Done);
    assert!(Visit::on(5).come(&house.server, "bob").await.is_ok());
    house.server.stop().await;
}

#[actix::test]
async fn a_ban_of_an_address_or_network_sends_away_whoever_is_there_but_no_operator_and_ends() {
    let mut house = house().await;
    let owner = Visit { address: Some("203.0.113.5"), ..Visit::on(1) };
    let mut second = owner.come(&house.server, "Olga two").await.unwrap();
    let mut bob = house.member(Visit::from("203.0.113.77"), "bob").await;
    let mut eve = house.member(Visit::from("2001:db8::1"), "eve").await;
    let network = Target::Network("203.0.113.0/24".to_owned());
    assert_eq!(house.ban(network, Some(1)).await.1, 1);
    bob.wait_for(|m| matches!(m, ServerMessage::Goodbye { .. })).await;
    second.catch_up().await;
    let of_eve = house.ban(Target::AddressOf("eve".to_owned()), None).await;
    assert_eq!(of_eve.1, 1);
    eve.wait_for(|m| matches!(m, ServerMessage::Goodbye { .. })).await;
    let listed = house.sanctions().await;
    assert_eq!(listed.last().unwrap().target, "2001:db8::/64 (eve)");
    let neighbour = Visit::from("2001:db8::ffff:1").come(&house.server, "x").await;
    assert_eq!(code(&turned_away(neighbour)), ErrorCode::Banned);
    assert!(Visit::from("2001:db8:0:1::1").come(&house.server, "y").await.is_ok());
    let server = &house.server;
    until("the end of the ban", || async {
        Visit::from("203.0.113.77").come(server, "bob").await.is_ok()
    })
    .await;
    house.server.stop().await;
}

#[actix::test]
async fn a_ban_from_a_room_leaves_the_rest_of_the_server_open() {
    let mut house = house().await;
    let mut max = house.member(Visit::on(2), "max").await;
    house.make_moderator("max").await;
    let mut bob = house.member(Visit::on(5), "bob").await;
    let ban = |target, room: Option<&str>| {
        let room = room.map(str::to_owned);
        Moderation::Ban { target, room, seconds: None, reason: None }
    };
    assert_eq!(refused(&mut max, ban(user("bob"), None)).await, ErrorCode::NotAllowed);
    let done = report(&mut max, ban(user("bob"), Some("hall"))).await;
    assert!(matches!(done, Report::Sanctioned { affected: 1, .. }), "{done:?}");
    let left = bob.wait_for(|m| matches!(m, ServerMessage::Left { .. })).await;
    assert!(matches!(left, ServerMessage::Left { reason: Some(LeaveReason::Banned), .. }));
    let again = bob.request(ClientMessage::join("hall")).await;
    assert_eq!(code(&again), ErrorCode::Banned);
    bob.join("attic").await;
    house.server.stop().await;
}

// ---- silence ------------------------------------------------------------------------------

#[actix::test]
async fn one_who_is_silenced_is_heard_by_nobody_from_the_next_packet_on_and_everyone_sees_it() {
    let mut house = house().await;
    let mut bob = house.member(Visit::default(), "bob").await;
    let mut carl = house.member(Visit::default(), "carl").await;
    let talking = Talker::start(&mut bob);
    hears(&mut carl, 5).await;
    let done = house.order(mute("bob", None)).await;
    assert!(matches!(done, Report::Sanctioned { affected: 1, .. }), "{done:?}");
    carl.heard();
    // He goes on; each answer tells that all that he has sent before is dealt with.
    for _ in 0..50 {
        bob.settle_voice();
    }
    assert_eq!(carl.heard(), []);
    talking.end();
    wait_standing(&mut bob, |standing| standing.silenced).await;
    carl.catch_up().await;
    assert!(carl.members[&bob.id()].silenced);
    let new_name = bob.request(ClientMessage::Rename { name: "rob".to_owned() }).await;
    assert_eq!(code(&new_name), ErrorCode::BadName, "he would be another to a ban by name");
    assert_eq!(house.order(Moderation::Unmute { name: "bob".to_owned() }).await, Report::Done);
    wait_standing(&mut bob, |standing| !standing.silenced).await;
    let talking = Talker::start(&mut bob);
    hears(&mut carl, 5).await;
    talking.end();
    house.server.stop().await;
}

#[actix::test]
async fn a_silence_lasts_through_resuming_and_coming_anew() {
    let mut house = house().await;
    let mut bob = house.member(Visit::on(5), "bob").await;
    let mut carl = house.member(Visit::default(), "carl").await;
    house.order(mute("bob", None)).await;
    let resume = Some(bob.welcome.resume.clone());
    let resumed = Visit { resume, ..Visit::on(5) };
    let mut back = resumed.come(&house.server, "bob").await.unwrap();
    assert!(back.welcome.resumed && back.welcome.standing.silenced);
    back.wait_for(|m| matches!(m, ServerMessage::Joined { .. })).await;
    back.open_voice().await;
    back.speak(b"resumed");
    assert_eq!(carl.heard(), []);
    bob.wait_for(|m| matches!(m, ServerMessage::Goodbye { .. })).await;
    drop(back);
    carl.wait_for(|m| matches!(m, ServerMessage::MemberLeft { .. })).await;
    let mut anew = house.member(Visit::on(5), "somebody else").await;
    assert!(anew.welcome.standing.silenced && anew.members[&anew.id()].silenced);
    anew.speak(b"anew");
    assert_eq!(carl.heard(), []);
    house.server.stop().await;
}

#[actix::test]
async fn a_silence_ends_by_itself_and_he_is_told() {
    let mut house = house().await;
    let mut bob = house.member(Visit::default(), "bob").await;
    let mut carl = house.member(Visit::default(), "carl").await;
    house.order(mute("bob", Some(2))).await;
    bob.speak(b"unheard");
    assert_eq!(carl.heard(), []);
    wait_standing(&mut bob, |standing| standing.silenced).await;
    wait_standing(&mut bob, |standing| !standing.silenced).await;
    bob.speak(b"heard");
    assert_eq!(carl.heard().len(), 1);
    carl.catch_up().await;
    assert!(!carl.members[&bob.id()].silenced);
    house.server.stop().await;
}

#[actix::test]
async fn a_moderator_s_silence_ends_at_the_door_of_his_room() {
    let mut house = house().await;
    let mut max = house.member(Visit::on(2), "max").await;
    house.make_moderator("max").await;
    let mut bob = house.member(Visit::on(5), "bob").await;
    let mut carl = house.member(Visit::default(), "carl").await;
    report(&mut max, mute("bob", None)).await;
    bob.speak(b"hall");
    assert_eq!(carl.heard(), []);
    carl.join("attic").await;
    bob.join("attic").await;
    bob.speak(b"attic");
    assert_eq!(carl.heard().len(), 1);
    // Another name would be heard again in the hall.
    let renamed = bob.request(ClientMessage::Rename { name: "robert".to_owned() }).await;
    assert_eq!(code(&renamed), ErrorCode::BadName);
    bob.join("hall").await;
    carl.join("hall").await;
    assert!(carl.members[&bob.id()].silenced);
    bob.speak(b"hall again");
    assert_eq!(carl.heard(), []);
    house.server.stop().await;
}

// ---- rooms and names ----------------------------------------------------------------------

#[actix::test]
async fn one_who_is_moved_is_told_and_hears_the_new_room_alone() {
    let mut house = house().await;
    let mut bob = house.member(Visit::default(), "bob").await;
    let mut carl = house.member(Visit::default(), "carl").await;
    let mut dora = house.member(Visit::default(), "dora").await;
    dora.join("attic").await;
    // Its password does not hold an operator's order up.
    let password = Password::new("sesame".to_owned()).ok();
    house.order(Moderation::RoomPassword { room: "attic".to_owned(), password }).await;
    let locked = bob.request(ClientMessage::join("attic")).await;
    assert_eq!(code(&locked), ErrorCode::RoomPassword);
    let order = Moderation::Move { name: "bob".to_owned(), room: "Attic".to_owned() };
    assert_eq!(house.order(order).await, Report::Done);
    let left = bob.wait_for(|m| matches!(m, ServerMessage::Left { .. })).await;
    let ServerMessage::Left { room, reason, by, .. } = left else { unreachable!() };
    assert_eq!((room.as_str(), reason), ("hall", Some(LeaveReason::Moved)));
    assert_eq!(by.as_deref(), Some("Olga"));
    bob.wait_for(|m| matches!(m, ServerMessage::Joined { .. })).await;
    assert_eq!(bob.room.as_deref(), Some("attic"));
    let moved = LeaveReason::Moved;
    carl.wait_for(|m| matches!(m, ServerMessage::MemberLeft { reason, .. } if *reason == moved))
        .await;
    carl.speak(b"hall");
    assert_eq!(bob.heard(), []);
    dora.speak(b"attic");
    assert_eq!(bob.heard().len(), 1);
    bob.speak(b"bob");
    assert_eq!((dora.heard().len(), carl.heard().len()), (1, 0));
    house.server.stop().await;
}

#[actix::test]
async fn a_closed_room_is_empty_from_the_next_packet_on_and_forgotten() {
    let mut house = house().await;
    let mut bob = house.member(Visit::default(), "bob").await;
    let mut carl = house.member(Visit::default(), "carl").await;
    let password = Password::new("sesame".to_owned()).ok();
    house.order(Moderation::RoomPassword { room: "hall".to_owned(), password }).await;
    let reason = Some("late".to_owned());
    house.order(Moderation::CloseRoom { room: "HALL".to_owned(), reason }).await;
    for peer in [&mut bob, &mut carl, &mut house.owner] {
        let left = peer.wait_for(|m| matches!(m, ServerMessage::Left { .. })).await;
        let ServerMessage::Left { room, reason, by, why } = left else { unreachable!() };
        assert_eq!((room.as_str(), reason), ("hall", Some(LeaveReason::Closed)));
        assert_eq!((by.as_deref(), why.as_deref()), (Some("Olga"), Some("late")));
        assert!(!peer.events.iter().any(|m| matches!(m, ServerMessage::MemberLeft { .. })));
    }
    bob.speak(b"into nothing");
    assert_eq!(carl.heard(), []);
    assert_eq!(house.server.census().await.1, 0);
    // Neither password nor members of the old one.
    bob.join("hall").await;
    assert_eq!(bob.names(), ["bob"]);
    house.server.stop().await;
}

#[actix::test]
async fn a_renamed_room_goes_on_under_its_new_name() {
    let mut house = house().await;
    let mut bob = house.member(Visit::default(), "bob").await;
    let mut carl = house.member(Visit::default(), "carl").await;
    let rename = |to: &str| Moderation::RenameRoom { room: "hall".to_owned(), to: to.to_owned() };
    assert_eq!(house.order(rename("library")).await, Report::Done);
    let renamed = bob.wait_for(|m| matches!(m, ServerMessage::RoomRenamed { .. })).await;
    let ServerMessage::RoomRenamed { from, room, by } = renamed else { unreachable!() };
    assert_eq!((from.as_str(), room.as_str(), by.as_str()), ("hall", "library", "Olga"));
    bob.speak(b"still here");
    assert_eq!(carl.heard().len(), 1);
    let missing = refused(&mut house.owner, rename("x")).await;
    assert_eq!(missing, ErrorCode::NoSuchRoom);
    let listed = carl.request(ClientMessage::ListUsers { room: Some("LIBRARY".to_owned()) }).await;
    let ServerMessage::Users { room, total, .. } = listed else { panic!("{listed:?}") };
    assert_eq!((room.as_str(), total), ("library", 3));
    house.server.stop().await;
}

#[actix::test]
async fn a_renamed_user_and_his_room_are_told_and_the_rules_of_names_hold() {
    let mut house = house().await;
    let mut bob = house.member(Visit::default(), "bob").await;
    let mut carl = house.member(Visit::default(), "carl").await;
    let rename = |to: &str| Moderation::RenameUser { name: "bob".to_owned(), to: to.to_owned() };
    assert_eq!(refused(&mut house.owner, rename("Carl")).await, ErrorCode::NameTaken);
    assert_eq!(refused(&mut house.owner, rename("\u{7}")).await, ErrorCode::BadName);
    assert_eq!(house.order(rename("robert")).await, Report::Done);
    let told = bob.wait_for(|m| matches!(m, ServerMessage::Renamed { .. })).await;
    assert!(matches!(told, ServerMessage::Renamed { name } if name.as_str() == "robert"));
    carl.catch_up().await;
    assert_eq!(carl.members[&bob.id()].name.as_str(), "robert");
    house.server.stop().await;
}

#[actix::test]
async fn a_moderator_locks_his_room_and_nobody_inside_is_put_out() {
    let mut house = house().await;
    let mut max = house.member(Visit::on(2), "max").await;
    house.make_moderator("max").await;
    let mut bob = house.member(Visit::default(), "bob").await;
    let lock = |room: &str| Moderation::RoomPassword {
        room: room.to_owned(),
        password: Password::new("sesame".to_owned()).ok(),
    };
    assert_eq!(report(&mut max, lock("hall")).await, Report::Done);
    let mut attic = Visit::default().come(&house.server, "dora").await.unwrap();
    attic.join("attic").await;
    assert_eq!(refused(&mut max, lock("attic")).await, ErrorCode::NotAllowed);
    bob.catch_up().await;
    assert_eq!(bob.room.as_deref(), Some("hall"));
    let join = |password: &str| ClientMessage::Join {
        room: "hall".to_owned(),
        password: Password::new(password.to_owned()).ok(),
        after: None,
    };
    assert_eq!(code(&attic.request(ClientMessage::join("hall")).await), ErrorCode::RoomPassword);
    assert_eq!(code(&attic.request(join("guess")).await), ErrorCode::BadRoomPassword);
    let joined = attic.request(join("sesame")).await;
    assert!(matches!(joined, ServerMessage::Joined { .. }), "{joined:?}");
    house.server.stop().await;
}

// ---- roles and invites --------------------------------------------------------------------

#[actix::test]
async fn roles_are_seen_at_once_by_him_and_by_his_room_when_given_and_when_taken() {
    let mut house = house().await;
    let mut bob = house.member(Visit::on(5), "bob").await;
    let mut carl = house.member(Visit::default(), "carl").await;
    let grant =
        |name: &str| Moderation::Grant { name: name.to_owned(), role: Role::Operator, room: None };
    assert_eq!(refused(&mut bob, grant("bob")).await, ErrorCode::NotAllowed);
    assert_eq!(house.order(grant("bob")).await, Report::Done);
    let told = wait_standing(&mut bob, |standing| standing.role.is_some()).await;
    assert_eq!(told.role, Some(Role::Operator));
    carl.catch_up().await;
    assert_eq!(carl.members[&bob.id()].role, Some(Role::Operator));
    // Without a device he would not be known again.
    let nobody = house.member(Visit::default(), "nobody").await;
    assert_eq!(refused(&mut house.owner, grant("nobody")).await, ErrorCode::DeviceNeeded);
    drop(nobody);
    let name = "bob".to_owned();
    let revoke = Moderation::Revoke { name, role: Role::Operator, room: None };
    let between_operators = refused(&mut house.owner, revoke).await;
    assert_eq!(between_operators, ErrorCode::NotOverHim, "only the console takes that role away");
    house.server.stop().await;
}

#[actix::test]
async fn a_moderator_s_role_can_be_taken_away_and_he_may_nothing_more() {
    let mut house = house().await;
    let mut max = house.member(Visit::on(2), "max").await;
    let _bob = house.member(Visit::default(), "bob").await;
    house.make_moderator("max").await;
    assert!(matches!(report(&mut max, mute("bob", None)).await, Report::Sanctioned { .. }));
    let (name, room) = ("max".to_owned(), Some("hall".to_owned()));
    let revoke = Moderation::Revoke { name, role: Role::Moderator, room };
    assert_eq!(house.order(revoke).await, Report::Done);
    wait_standing(&mut max, |standing| standing.room_role.is_none()).await;
    assert_eq!(refused(&mut max, kick("bob")).await, ErrorCode::NotAllowed);
    house.server.stop().await;
}

#[actix::test]
async fn an_invite_is_counted_listed_and_revoked() {
    let mut house = house().await;
    let invite = |uses| Moderation::Invite {
        room: Some("cellar".to_owned()),
        seconds: None,
        uses: Some(uses),
        operator: false,
    };
    let Report::Invited { id, line } = house.order(invite(2)).await else { panic!() };
    let invite: Invite = line.parse().unwrap();
    assert_eq!(invite.server.to_string(), "voice.example:8888");
    assert_eq!(invite.room.as_ref().unwrap().as_str(), "cellar");
    let with = |device| Visit { invite: Some(invite.token.clone()), ..Visit::on(device) };
    let first = with(11).come(&house.server, "one").await.unwrap();
    let left = |report| match report {
        Report::Invites { invites, .. } => {
            invites.iter().find(|invite| invite.id == id).map(|invite| invite.uses_left)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(left(house.order(Moderation::ListInvites).await), Some(1));
    drop(first);
    let second = with(12).come(&house.server, "two").await.unwrap();
    let third = turned_away(with(13).come(&house.server, "three").await);
    assert_eq!(code(&third), ErrorCode::BadInvite);
    assert_eq!(left(house.order(Moderation::ListInvites).await), None, "used up");
    assert_eq!(house.order(Moderation::RevokeInvite { id }).await, Report::Done);
    let gone = refused(&mut house.owner, Moderation::RevokeInvite { id }).await;
    assert_eq!(gone, ErrorCode::NoSuchEntry);
    drop(second);
    house.server.stop().await;
}

#[actix::test]
async fn one_address_brings_no_more_new_people_than_it_may_and_is_told_when_to_try_again() {
    let mut house = house_with(Limits { identity_burst: 2, ..hasty() }).await;
    let invite = Moderation::Invite { room: None, seconds: None, uses: Some(20), operator: false };
    let Report::Invited { line, .. } = house.order(invite).await else { panic!() };
    let token = line.parse::<Invite>().unwrap().token;
    let from = |device, address, invite: bool| Visit {
        address: Some(address),
        invite: invite.then(|| token.clone()),
        ..Visit::on(device)
    };
    let register = || ClientMessage::Register { password: Password::new("x".to_owned()).unwrap() };
    let there = "192.0.2.9";
    let mut anna = from(11, there, false).come(&house.server, "anna").await.unwrap();
    assert!(matches!(anna.request(register()).await, ServerMessage::Registered { .. }));
    let _bert = from(12, there, true).come(&house.server, "bert").await.unwrap();
    // The third is refused, whichever way he goes; and is told when.
    let by_invite = turned_away(from(13, there, true).come(&house.server, "carl").await);
    let mut carl = from(13, there, false).come(&house.server, "carl").await.unwrap();
    for refused in [by_invite, carl.request(register()).await] {
        let ServerMessage::Error { code, args } = refused else { panic!("{refused:?}") };
        assert_eq!(code, ErrorCode::TooManyNewcomers);
        let seconds: u64 = args["retry_s"].parse().unwrap();
        assert!((1..=181).contains(&seconds), "twenty in an hour: {seconds}");
    }
    // Who is known there is, elsewhere others are let in, and so is this machine.
    assert!(matches!(anna.request(register()).await, ServerMessage::Registered { .. }));
    from(14, "192.0.2.10", true).come(&house.server, "dora").await.unwrap();
    for k in 20..24 {
        from(k, "127.0.0.1", true).come(&house.server, &format!("own {k}")).await.unwrap();
    }
    house.server.stop().await;
}

// ---- the console --------------------------------------------------------------------------

#[actix::test]
async fn the_owner_s_orders_come_through_the_control_socket_and_are_noted_as_the_console_s() {
    let mut house = house().await;
    let socket = ControlSocket::bind(&house.state.path().join(CONTROL_SOCKET_FILE)).unwrap();
    house.server.open_control(socket);
    let mut bob = house.member(Visit::on(5), "bob").await;
    let directory = house.state.path().to_owned();
    let order = |order| {
        let directory = directory.clone();
        async move { ask_at(&directory, &AdminRequest::Moderate { order }).await.unwrap() }
    };
    let done = AdminReply::Report { report: Report::Done };
    assert_eq!(order(kick("bob")).await, done);
    bob.wait_for(|m| matches!(m, ServerMessage::Goodbye { by: Some(by), .. } if by == "console"))
        .await;
    let missing = order(kick("bob")).await;
    assert!(matches!(missing, AdminReply::Error { code: ErrorCode::NoSuchUser, .. }));
    // The console alone takes the operators' role away.
    let name = "Olga".to_owned();
    let revoke = Moderation::Revoke { name, role: Role::Operator, room: None };
    assert_eq!(order(revoke).await, done);
    wait_standing(&mut house.owner, |standing| standing.role.is_none()).await;
    assert_eq!(refused(&mut house.owner, kick("x")).await, ErrorCode::NotAllowed);
    let log = order(Moderation::Audit { last: 2 }).await;
    let AdminReply::Report { report: Report::Audit { entries } } = log else { panic!("{log:?}") };
    let told: Vec<_> = entries.iter().map(|e| (e.by.as_str(), e.action.as_str())).collect();
    assert_eq!(told, [("console", "kick"), ("console", "revoke")]);
    house.server.stop().await;
}

// ---- what stays ---------------------------------------------------------------------------

#[actix::test]
async fn bans_silences_roles_and_the_log_outlive_the_server() {
    let mut house = house().await;
    let bob = house.member(Visit::on(5), "bob").await;
    let carl = house.member(Visit::on(6), "carl").await;
    house.make_moderator("carl").await;
    house.ban(user("bob"), None).await;
    house.order(mute("carl", None)).await;
    let entries = house.log().await;
    let House { server, owner, state } = house;
    drop((bob, carl, owner));
    until("everyone has gone", || async { server.census().await.0 == 0 }).await;
    server.stop().await;
    let server = server_in(state.path()).await;
    let answer = turned_away(Visit::on(5).come(&server, "robert").await);
    assert_eq!(code(&answer), ErrorCode::Banned);
    let mut carl = Visit::on(6).come(&server, "carl").await.unwrap();
    assert!(carl.welcome.standing.silenced);
    carl.join("hall").await;
    assert_eq!(carl.members[&carl.id()].role, Some(Role::Moderator));
    let owner = Visit::on(1).come(&server, "Olga").await.unwrap();
    let mut house = House { server, owner, state };
    assert_eq!(house.log().await[..entries.len()], entries[..]);
    house.server.stop().await;
}

#[actix::test]
async fn the_log_tells_who_did_what_to_whom_and_is_for_operators() {
    let mut house = house().await;
    let mut bob = house.member(Visit::on(5), "bob").await;
    let refused = refused(&mut bob, Moderation::Audit { last: 5 }).await;
    assert_eq!(refused, ErrorCode::NotAllowed);
    let password = Password::new("sesame".to_owned()).ok();
    house.order(Moderation::RoomPassword { room: "hall".to_owned(), password }).await;
    house.order(mute("bob", Some(60))).await;
    house.order(kick("bob")).await;
    let log = house.log().await;
    let told: Vec<_> = log
        .iter()
        .map(|e| (e.by.as_str(), e.action.as_str(), e.target.as_str(), e.detail.as_str()))
        .collect();
    let expected = [
        ("Olga", "room password", "hall", "set"),
        ("Olga", "silence", "bob", "for 1m"),
        ("Olga", "kick", "bob", "noise"),
    ];
    assert!(told.ends_with(&expected), "{told:?}");
    assert!(!format!("{log:?}").contains("sesame"));
    house.server.stop().await;
}

#[actix::test]
async fn long_lists_are_cut_to_what_fits_and_counted() {
    let mut house = house().await;
    let reason = "ж".repeat(200);
    for k in 0..200 {
        let target = Target::Address(format!("198.51.100.{k}"));
        let reason = Some(reason.clone());
        house.order(Moderation::Ban { target, room: None, seconds: None, reason }).await;
    }
    let Report::Sanctions { sanctions, total } = house.order(Moderation::ListSanctions).await
    else {
        panic!()
    };
    assert_eq!(total, 200);
    assert!((50..200).contains(&sanctions.len()), "{}", sanctions.len());
    house.server.stop().await;
}

#[actix::test]
async fn guessing_a_room_s_password_is_slowed_down_with_a_clear_error() {
    let mut house = house().await;
    let _host = locked_room(&mut house, "den", "sesame").await;
    let mut eve = Visit::from("203.0.113.9").come(&house.server, "eve").await.unwrap();
    let mut wrong = 0;
    let args = loop {
        assert!(wrong <= ATTEMPTS_FREE, "it goes on without end");
        match eve.request(enter("den", &format!("guess {wrong}"))).await {
            ServerMessage::Error { code: ErrorCode::BadRoomPassword, args } => {
                assert_eq!(args["room"], "den");
                wrong += 1;
            }
            ServerMessage::Error { code: ErrorCode::TooManyAttempts, args } => break args,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(wrong, ATTEMPTS_FREE);
    let retry_s: u64 = args["retry_s"].parse().unwrap();
    assert!((1..=ATTEMPT_WAIT.1.as_secs()).contains(&retry_s), "{retry_s}");
    // Not even the right one is looked at now, under whatever name he comes.
    let mut again = Visit::from("203.0.113.9").come(&house.server, "mallory").await.unwrap();
    for peer in [&mut eve, &mut again] {
        let refused = peer.request(enter("den", "sesame")).await;
        assert!(
            matches!(refused, ServerMessage::Error { code: ErrorCode::TooManyAttempts, .. }),
            "{refused:?}"
        );
        assert_eq!(peer.room, None);
    }
    let mut honest = Visit::from("203.0.113.10").come(&house.server, "honest").await.unwrap();
    let joined = honest.request(enter("den", "sesame")).await;
    assert!(matches!(joined, ServerMessage::Joined { .. }), "{joined:?}");
    house.server.stop().await;
}

#[actix::test]
async fn nobody_looks_into_a_room_that_he_may_not_enter_and_streams_are_for_its_members() {
    let mut house = house().await;
    let _host = locked_room(&mut house, "den", "sesame").await;
    let look = |room: &str| ClientMessage::ListUsers { room: Some(room.to_owned()) };
    let mut eve = house.member(Visit::from("203.0.113.9"), "eve").await;
    let refused = eve.request(look("den")).await;
    assert!(
        matches!(refused, ServerMessage::Error { code: ErrorCode::RoomPassword, .. }),
        "{refused:?}"
    );
    // Her own room, and then from outside: who, but not which streams.
    let streams = |answer| match answer {
        ServerMessage::Users { members, .. } => {
            assert!(!members.is_empty());
            members.iter().map(|member| member.streams.len()).sum::<usize>()
        }
        other => panic!("{other:?}"),
    };
    assert!(streams(eve.request(look("hall")).await) > 0);
    assert!(matches!(eve.request(ClientMessage::Leave).await, ServerMessage::Left { .. }));
    assert_eq!(streams(eve.request(look("hall")).await), 0);
    // Who has given the password once may look, and so may operators.
    eve.request(enter("den", "sesame")).await;
    assert!(streams(eve.request(look("den")).await) > 0);
    assert_eq!(streams(house.owner.request(look("den")).await), 0);
    // A ban is one from looking, too.
    let ban = Moderation::Ban {
        target: Target::User("eve".to_owned()),
        room: Some("den".to_owned()),
        seconds: None,
        reason: None,
    };
    report(&mut house.owner, ban).await;
    eve.wait_for(|m| matches!(m, ServerMessage::Left { .. })).await;
    let refused = eve.request(look("den")).await;
    assert!(matches!(refused, ServerMessage::Error { code: ErrorCode::Banned, .. }), "{refused:?}");
    house.server.stop().await;
}
