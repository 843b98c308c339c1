//! Whoever has gone keeps the keys of his session, and may see every datagram there is: none of what is
//! said without him opens with them, and none of it is sent to him.

use std::net::UdpSocket;

use parlor::actors::control_socket::{CONTROL_SOCKET_FILE, ControlSocket, ask};
use parlor::actors::server::{Server, ServerConfig};
use parlor::net::ids::PacketIndex;
use parlor::net::message::{ClientMessage, ServerMessage, Welcome};
use parlor::net::moderation::{AdminReply, AdminRequest, Moderation, Report, Target};
use parlor::net::protect::Opener;
use parlor::net::rtcp::App;
use parlor::net::rtp::peek_seq;

use crate::support::peer::{Peer, payloads, raw, until};

/// Packets that are said while the one who has gone listens in.
const SAID: u8 = 20;

struct House {
    server: Server,
    state: tempfile::TempDir,
}

impl House {
    async fn open() -> Self {
        let any = "127.0.0.1:0".parse().unwrap();
        let server = Server::start(ServerConfig::new(any, any, Some(2))).await.unwrap();
        let state = tempfile::tempdir().unwrap();
        server.open_control(ControlSocket::bind(&state.path().join(CONTROL_SOCKET_FILE)).unwrap());
        Self { server, state }
    }

    async fn member(&self, name: &str) -> Peer {
        let mut peer = Peer::connect(&self.server, name).await;
        peer.open_voice().await;
        peer.join("hall").await;
        peer
    }

    /// An order of the owner that is carried out.
    async fn order(&self, order: Moderation) {
        let done = ask(self.state.path(), &AdminRequest::Moderate { order }).await.unwrap();
        let good = [Report::Done, Report::Sanctioned { id: 1, affected: 1 }];
        assert!(
            matches!(&done, AdminReply::Report { report } if good.contains(report)),
            "{done:?}"
        );
    }
}

/// Whether a key of this session opens this, as voice or as a report, in whichever direction it was
/// meant for and whatever the roll-over counter.
fn opens(keys: &Welcome, datagram: &[u8]) -> bool {
    [&keys.up_key, &keys.down_key].into_iter().any(|key| {
        let opener = Opener::new(keys.protection, key).unwrap();
        let voice = |roc| {
            let index = PacketIndex::new(roc, peek_seq(datagram).unwrap());
            opener.open_rtp(&mut datagram.to_vec(), index).is_ok()
        };
        (0..4).any(voice) || opener.open_rtcp(&mut datagram.to_vec()).is_ok()
    })
}

fn one(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 2048];
    let (length, _) = socket.recv_from(&mut buffer).expect("an answer comes");
    buffer[..length].to_vec()
}

/// What a member says, and asks, and is answered: as it goes up, and as it comes down to `other`.
fn talk(member: &mut Peer, other: &Peer) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut up: Vec<Vec<u8>> = (0..SAID).map(|k| member.seal_voice(&[k; 60])).collect();
    up.push(member.seal_app(App::Keepalive([2; 8])));
    up.iter().for_each(|datagram| member.send_datagram(datagram));
    // The answer to what was sent last: everything before it has been passed on.
    let mut down = vec![one(&member.socket)];
    down.extend(raw(&other.socket));
    (up, down)
}

/// Bob goes as `goes` says; Anna and Carl stay and go on.
async fn nothing_opens_after(goes: impl AsyncFnOnce(&House, &mut Peer)) {
    let house = House::open().await;
    let (mut anna, mut bob, mut carl) =
        (house.member("anna").await, house.member("bob").await, house.member("carl").await);
    anna.speak(b"all together");
    // While he is here his keys open what comes to him, so that it would show if they did later.
    let before = raw(&bob.socket);
    assert_eq!(before.len(), 1);
    assert!(opens(&bob.welcome, &before[0]));
    bob.speak(b"goodbye");
    assert_eq!(payloads(&mut anna), [b"goodbye"]);
    assert_eq!(carl.heard().len(), 2);
    goes(&house, &mut bob).await;
    raw(&bob.socket);

    let (up, down) = talk(&mut anna, &carl);
    let (carl_up, carl_down) = talk(&mut carl, &anna);
    let all = || up.iter().chain(&down).chain(&carl_up).chain(&carl_down);
    assert_eq!(all().count(), 4 * (usize::from(SAID) + 1), "he has seen all of it");
    for datagram in all() {
        assert!(!opens(&bob.welcome, datagram));
        // He has not been given what is no packet at all.
        assert!(opens(&anna.welcome, datagram) || opens(&carl.welcome, datagram));
    }
    assert_eq!(raw(&bob.socket), Vec::<Vec<u8>>::new(), "nothing is sent to him");
    house.server.stop().await;
}

#[actix::test]
async fn a_kicked_member_keeps_his_keys_and_opens_nothing() {
    nothing_opens_after(async |house, bob| {
        house.order(Moderation::Kick { name: "bob".to_owned(), reason: None }).await;
        while bob.read().await.is_some() {}
    })
    .await;
}

#[actix::test]
async fn a_member_who_was_banned_from_the_room_keeps_his_keys_and_opens_nothing() {
    nothing_opens_after(async |house, bob| {
        let (target, room) = (Target::User("bob".to_owned()), Some("hall".to_owned()));
        house.order(Moderation::Ban { target, room, seconds: None, reason: None }).await;
        bob.wait_for(|message| matches!(message, ServerMessage::Left { .. })).await;
    })
    .await;
}

#[actix::test]
async fn a_member_who_was_moved_keeps_his_keys_and_opens_nothing() {
    nothing_opens_after(async |house, bob| {
        let (name, room) = ("bob".to_owned(), "cellar".to_owned());
        house.order(Moderation::Move { name, room }).await;
        let in_cellar = |message: &ServerMessage| {
            matches!(message, ServerMessage::Joined { room, .. } if room.as_str() == "cellar")
        };
        bob.wait_for(in_cellar).await;
    })
    .await;
}

#[actix::test]
async fn a_member_who_left_keeps_his_keys_and_opens_nothing() {
    nothing_opens_after(async |_, bob| {
        let left = bob.request(ClientMessage::Leave).await;
        assert!(matches!(left, ServerMessage::Left { .. }), "{left:?}");
    })
    .await;
}

#[actix::test]
async fn a_member_who_changed_rooms_keeps_his_keys_and_opens_nothing_of_the_room_before() {
    nothing_opens_after(async |_, bob| bob.join("cellar").await).await;
}

#[actix::test]
async fn a_member_who_said_goodbye_keeps_his_keys_and_opens_nothing() {
    nothing_opens_after(async |house, bob| {
        bob.send(ClientMessage::Bye).await;
        while bob.read().await.is_some() {}
        let held = || house.server.held().iter().map(|(sessions, _)| sessions).sum::<usize>();
        until("the end of his session", || async { held() == 2 }).await;
    })
    .await;
}
