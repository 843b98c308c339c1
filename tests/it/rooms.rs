//! Simulated rooms: hundreds of users join, leave, switch, talk, rename, die and come back in random order. After
//! every step the lists agree everywhere, voice reaches exactly the room's other members, and nothing is leaked.
//!
//! The order of steps comes from a printed seed (`PARLOR_SEED` runs it again). Real actors, real
//! forwarders, real datagrams; the control connections are in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parlor::actors::limits::Limits;
use parlor::actors::server::{Server, ServerConfig};
use parlor::net::ids::MemberId;
use parlor::net::message::{
    ClientMessage, ErrorCode, GoodbyeReason, LeaveReason, MemberState, ServerMessage,
};

use crate::support::peer::{Peer, until};
use crate::support::random::Random;

const USERS: usize = 240;
const ROOMS: [&str; 6] = ["hall", "Garden", "Кухня", "attic", "café", "cellar"];

async fn server(forwarders: usize) -> Server {
    let any = "127.0.0.1:0".parse().unwrap();
    let mut config = ServerConfig::new(any, any, Some(forwarders));
    // However many speak: who is heard of too many has tests of its own.
    config.limits = Arc::new(Limits { heard_at_once: 0, ..Limits::default() });
    Server::start(config).await.unwrap()
}

/// What must be true, kept beside the server.
#[derive(Default)]
struct Model {
    /// Who is in which room.
    rooms: BTreeMap<String, BTreeSet<usize>>,
    /// Where each user is.
    place: BTreeMap<usize, String>,
    muted: BTreeMap<usize, bool>,
    names: BTreeMap<usize, String>,
}

impl Model {
    fn put(&mut self, user: usize, room: Option<&str>) {
        if let Some(before) = self.place.remove(&user) {
            let members = self.rooms.get_mut(&before).unwrap();
            members.remove(&user);
            if members.is_empty() {
                self.rooms.remove(&before);
            }
        }
        if let Some(room) = room {
            self.place.insert(user, room.to_owned());
            self.rooms.entry(room.to_owned()).or_default().insert(user);
        }
    }

    fn others(&self, user: usize) -> Vec<usize> {
        let room = self.place.get(&user).and_then(|room| self.rooms.get(room));
        room.into_iter().flatten().copied().filter(|other| *other != user).collect()
    }
}

struct World {
    server: Server,
    random: Random,
    peers: BTreeMap<usize, Peer>,
    model: Model,
    spoken: u32,
}

impl World {
    async fn connect(&mut self, user: usize) {
        let name = format!("user {user}");
        let mut peer = Peer::connect(&self.server, &name).await;
        peer.open_voice().await;
        self.peers.insert(user, peer);
        self.model.names.insert(user, name);
        self.model.muted.insert(user, true);
    }

    /// One random step; the rooms that it touched.
    async fn step(&mut self) -> BTreeSet<String> {
        let user = self.random.below(USERS);
        let mut touched: BTreeSet<String> =
            self.model.place.get(&user).cloned().into_iter().collect();
        if !self.peers.contains_key(&user) {
            self.connect(user).await;
        }
        let room = *self.random.pick(&ROOMS);
        let peer = self.peers.get_mut(&user).unwrap();
        match self.random.below(10) {
            0..=3 => {
                // A room has one name, whoever writes it how.
                let written =
                    if self.random.below(2) == 0 { room.to_lowercase() } else { room.to_owned() };
                let there =
                    self.model.rooms.keys().find(|r| r.to_lowercase() == room.to_lowercase());
                let expected = there.cloned().unwrap_or_else(|| written.clone());
                peer.join(&written).await;
                assert_eq!(peer.room.as_deref(), Some(expected.as_str()));
                self.model.put(user, Some(&expected));
                touched.insert(expected);
            }
            4 => {
                let answer = peer.request(ClientMessage::Leave).await;
                match self.model.place.get(&user) {
                    Some(room) => assert!(
                        matches!(&answer, ServerMessage::Left { room: left, .. } if left.as_str() == room)
                    ),
                    None => assert!(matches!(
                        answer,
                        ServerMessage::Error { code: ErrorCode::NotInRoom, .. }
                    )),
                }
                self.model.put(user, None);
            }
            5 => self.chat(user).await,
            6 => {
                let muted = self.random.below(2) == 0;
                let state = MemberState { muted, deafened: false, recording: false };
                let answer = peer.request(ClientMessage::State(state)).await;
                assert_eq!(answer, ServerMessage::Changed(state));
                self.model.muted.insert(user, muted);
            }
            7 => {
                let name = format!("user {user} №{}", self.random.below(3));
                let answer = peer.request(ClientMessage::Rename { name: name.clone() }).await;
                assert!(matches!(answer, ServerMessage::Renamed { name: n } if n.as_str() == name));
                self.model.names.insert(user, name);
            }
            8 => {
                // Dies or quits; the server notices by itself.
                let mut peer = self.peers.remove(&user).unwrap();
                if self.random.below(2) == 0 {
                    peer.send(ClientMessage::Bye).await;
                }
                let sessions = self.peers.len();
                drop(peer);
                self.model.put(user, None);
                self.model.names.remove(&user);
                self.model.muted.remove(&user);
                let server = &self.server;
                until("the end of a dead session", || async {
                    server.census().await.0 == sessions
                })
                .await;
            }
            _ => self.resume(user).await,
        }
        touched
    }

    async fn chat(&mut self, user: usize) {
        let text = format!("chat {}", self.random.next());
        let peer = self.peers.get_mut(&user).unwrap();
        let answer = peer.request(ClientMessage::Chat { text: text.clone() }).await;
        if !self.model.place.contains_key(&user) {
            assert!(matches!(answer, ServerMessage::Error { code: ErrorCode::NotInRoom, .. }));
            return;
        }
        assert!(matches!(&answer, ServerMessage::Chat { text: t, .. } if *t == text));
        for other in self.model.others(user) {
            let peer = self.peers.get_mut(&other).unwrap();
            let chat = peer.wait_for(|m| matches!(m, ServerMessage::Chat { .. })).await;
            assert!(matches!(&chat, ServerMessage::Chat { text: t, .. } if *t == text));
        }
    }

    /// Comes back with the resume secret while the old connection still stands.
    async fn resume(&mut self, user: usize) {
        let mut old = self.peers.remove(&user).unwrap();
        let secret = old.welcome.resume.clone();
        let mut new = Peer::try_connect(&self.server, "another", Some(secret)).await.unwrap();
        assert!(new.welcome.resumed);
        assert_eq!(new.id(), old.id());
        let used = [new.welcome.streams.clone(), old.welcome.streams.clone()].concat();
        assert_eq!(used.iter().map(|s| s.ssrc).collect::<BTreeSet<_>>().len(), used.len());
        let goodbye = old.wait_for(|m| matches!(m, ServerMessage::Goodbye { .. })).await;
        assert_eq!(goodbye, ServerMessage::goodbye(GoodbyeReason::Resumed));
        if self.model.place.contains_key(&user) {
            new.wait_for(|m| matches!(m, ServerMessage::Joined { .. })).await;
        }
        new.open_voice().await;
        // The new session says anew what its microphone is like.
        self.model.muted.insert(user, true);
        assert_eq!(new.welcome.name.as_str(), self.model.names[&user]);
        self.peers.insert(user, new);
    }

    /// The lists of all members of these rooms agree with the model.
    async fn check_lists(&mut self, rooms: &BTreeSet<String>) {
        for room in rooms {
            let Some(members) = self.model.rooms.get(room) else { continue };
            let expected: BTreeMap<MemberId, (String, bool)> = members
                .iter()
                .map(|user| {
                    let facts = (self.model.names[user].clone(), self.model.muted[user]);
                    (self.peers[user].id(), facts)
                })
                .collect();
            for user in members {
                let peer = self.peers.get_mut(user).unwrap();
                peer.catch_up().await;
                peer.events.clear();
                assert_eq!(peer.room.as_deref(), Some(room.as_str()));
                let listed: BTreeMap<MemberId, (String, bool)> =
                    peer.members.values().map(|m| (m.id, (m.name.to_string(), m.muted))).collect();
                assert_eq!(listed, expected, "as user {user} sees {room}");
            }
        }
    }

    /// Someone speaks: exactly the others of his room hear it.
    fn check_voice(&mut self, speaker: usize) {
        self.spoken += 1;
        let said = self.spoken.to_be_bytes();
        let ssrc = self.peers[&speaker].ssrc();
        self.peers.get_mut(&speaker).unwrap().speak(&said);
        let others: BTreeSet<usize> = self.model.others(speaker).into_iter().collect();
        for (user, peer) in &mut self.peers {
            let heard = peer.heard();
            if others.contains(user) {
                assert_eq!(heard.len(), 1, "user {user} hears {speaker} once");
                assert_eq!((heard[0].ssrc, heard[0].payload.as_slice()), (ssrc, said.as_slice()));
            } else {
                assert_eq!(heard, [], "user {user} does not hear {speaker}");
            }
        }
    }

    async fn check_census(&mut self) {
        let (sessions, rooms, _) = self.server.census().await;
        assert_eq!((sessions, rooms), (self.peers.len(), self.model.rooms.len()));
    }
}

#[actix::test]
async fn hundreds_of_users_in_random_order_always_agree() {
    let mut world = World {
        server: server(2).await,
        random: Random::from_env(20_261_123),
        peers: BTreeMap::new(),
        model: Model::default(),
        spoken: 0,
    };
    for user in 0..USERS {
        world.connect(user).await;
        let room = ROOMS[user % ROOMS.len()];
        world.peers.get_mut(&user).unwrap().join(room).await;
        world.model.put(user, Some(room));
    }
    let all: BTreeSet<String> = world.model.rooms.keys().cloned().collect();
    world.check_lists(&all).await;
    for step in 0..400 {
        let touched = world.step().await;
        world.check_lists(&touched).await;
        world.check_census().await;
        let users: Vec<usize> = world.peers.keys().copied().collect();
        let speaker = *world.random.pick(&users);
        world.check_voice(speaker);
        if step % 50 == 0 {
            let all: BTreeSet<String> = world.model.rooms.keys().cloned().collect();
            world.check_lists(&all).await;
        }
    }
    world.peers.clear();
    let server = &world.server;
    until("everyone has gone", || async { server.census().await == (0, 0, 0) }).await;
    until("forwarders have forgotten everyone", || async {
        server.held().iter().all(|held| *held == (0, 0))
    })
    .await;
    world.server.stop().await;
}

#[actix::test]
async fn everyone_in_the_room_hears_of_joins_leaves_and_changes_by_event() {
    let server = server(1).await;
    let mut anna = Peer::connect(&server, "anna").await;
    anna.join("hall").await;
    let mut bert = Peer::connect(&server, "bert").await;
    bert.join("hall").await;
    let event = anna.wait_for(|m| matches!(m, ServerMessage::MemberJoined { .. })).await;
    let ServerMessage::MemberJoined { member, .. } = event else { unreachable!() };
    assert_eq!((member.id, member.name.as_str(), member.speaking), (bert.id(), "bert", false));
    // Without a microphone and without a UDP path he is in the list all the same.
    assert_eq!(anna.names(), ["anna", "bert"]);
    bert.open_voice().await;
    bert.speak(b"hello");
    let event = anna.wait_for(|m| matches!(m, ServerMessage::MemberChanged { .. })).await;
    assert!(matches!(event, ServerMessage::MemberChanged { member, .. } if member.speaking));
    let listed = anna.request(ClientMessage::ListUsers { room: None }).await;
    let ServerMessage::Users { members, total, .. } = listed else { panic!("{listed:?}") };
    assert_eq!((members.len(), total), (2, 2));
    let stream = members.iter().find(|m| m.id == bert.id()).unwrap().streams[0];
    assert_eq!((stream.ssrc, stream.roc, stream.seq), (bert.ssrc(), 0, Some(1000)));
    // An empty packet ends the talkspurt.
    bert.speak(b"");
    let event = anna.wait_for(|m| matches!(m, ServerMessage::MemberChanged { .. })).await;
    assert!(matches!(event, ServerMessage::MemberChanged { member, .. } if !member.speaking));
    bert.request(ClientMessage::Rename { name: "Bertha".to_owned() }).await;
    let event = anna.wait_for(|m| matches!(m, ServerMessage::MemberChanged { .. })).await;
    let ServerMessage::MemberChanged { member, renamed_from } = event else { unreachable!() };
    assert_eq!((member.name.as_str(), renamed_from.unwrap().as_str()), ("Bertha", "bert"));
    drop(bert);
    let event = anna.wait_for(|m| matches!(m, ServerMessage::MemberLeft { .. })).await;
    let ServerMessage::MemberLeft { name, reason, .. } = event else { unreachable!() };
    assert_eq!((name.as_str(), reason), ("Bertha", LeaveReason::Lost));
    server.stop().await;
}

#[actix::test]
async fn a_member_who_joins_late_hears_and_is_told_how_far_the_streams_are() {
    let server = server(2).await;
    let mut anna = Peer::connect(&server, "anna").await;
    anna.join("hall").await;
    anna.open_voice().await;
    for _ in 0..5 {
        anna.speak(b"nobody hears this");
    }
    let mut bert = Peer::connect(&server, "bert").await;
    // Joined first, voice path later: both orders work.
    bert.join("hall").await;
    bert.open_voice().await;
    let stream = bert.members[&anna.id()].streams[0];
    assert_eq!((stream.ssrc, stream.seq), (anna.ssrc(), Some(1004)));
    anna.speak(b"now");
    let heard = bert.heard();
    assert_eq!((heard.len(), heard[0].seq), (1, 1005));
    server.stop().await;
}

#[actix::test]
async fn private_texts_and_lists_reach_who_asked_and_nobody_else() {
    let server = server(1).await;
    let mut anna = Peer::connect(&server, "Anna").await;
    let mut bert = Peer::connect(&server, "bert").await;
    let mut carl = Peer::connect(&server, "carl").await;
    anna.join("hall").await;
    carl.join("hall").await;
    let tell = |to: &str| ClientMessage::Private { to: to.to_owned(), text: "psst".to_owned() };
    let echo = anna.request(tell("BERT")).await;
    assert!(matches!(&echo, ServerMessage::Private { to, .. } if to.as_str() == "bert"));
    let told = bert.wait_for(|m| matches!(m, ServerMessage::Private { .. })).await;
    assert_eq!(told, echo);
    let missing = anna.request(tell("dora")).await;
    assert!(matches!(missing, ServerMessage::Error { code: ErrorCode::NoSuchUser, .. }));
    carl.catch_up().await;
    assert!(!carl.events.iter().any(|m| matches!(m, ServerMessage::Private { .. })));
    let ServerMessage::Rooms { rooms, total, .. } = bert.request(ClientMessage::ListRooms).await
    else {
        panic!()
    };
    let listed: Vec<_> = rooms.iter().map(|r| (r.name.as_str(), r.members)).collect();
    assert_eq!((listed, total), (vec![("hall", 2)], 1));
    server.stop().await;
}

#[actix::test]
async fn a_stopping_server_says_why_to_everyone() {
    let server = server(2).await;
    let mut peers = Vec::new();
    for k in 0..20 {
        let mut peer = Peer::connect(&server, &format!("p{k}")).await;
        peer.join("hall").await;
        peers.push(peer);
    }
    server.stop().await;
    for mut peer in peers {
        let goodbye = peer.wait_for(|m| matches!(m, ServerMessage::Goodbye { .. })).await;
        assert_eq!(goodbye, ServerMessage::goodbye(GoodbyeReason::Stopping));
        assert!(peer.read().await.is_none());
    }
}

#[actix::test]
async fn a_room_of_many_is_told_in_several_frames() {
    let server = server(1).await;
    let mut peers = Vec::new();
    for k in 0..300 {
        let mut peer = Peer::connect(&server, &format!("{}{k}", "ж".repeat(29))).await;
        peer.join("hall").await;
        assert_eq!(peer.members.len(), k + 1);
        peers.push(peer);
    }
    server.stop().await;
}
