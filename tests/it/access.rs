//! Who may come in, tried on a real server: what the disk refuses is not done, and nobody is kept out by what strangers
//! do.

use parlor::actors::server::Server;
use parlor::net::limits::ATTEMPTS_FREE;
use parlor::net::message::{ClientMessage, ErrorCode, ServerMessage};
use parlor::net::moderation::{Moderation, Report};
use parlor::net::secret::Password;
use rusqlite::Connection;
use std::path::Path;

use crate::moderation::{Visit, server_in};
use crate::support::peer::{DEADLINE, Peer, until};

fn code(came: Result<Peer, ServerMessage>) -> ErrorCode {
    match came {
        Ok(peer) => panic!("{} has come in", peer.welcome.name),
        Err(ServerMessage::Error { code, .. }) => code,
        Err(other) => panic!("{other:?}"),
    }
}

/// Has the store refuse new people, as a full disk would, until it is told otherwise.
fn refuse_people(state: &Path, refuse: bool) {
    let trigger = match refuse {
        true => {
            "CREATE TRIGGER full BEFORE INSERT ON identities BEGIN SELECT RAISE(ABORT, 'full'); END"
        }
        false => "DROP TRIGGER full",
    };
    Connection::open(state.join("parlor.db")).unwrap().execute_batch(trigger).unwrap();
}

#[actix::test]
async fn whoever_s_invite_the_disk_refused_is_let_in_neither_then_nor_when_he_asks_again() {
    let state = tempfile::tempdir().unwrap();
    let server = server_in(state.path()).await;
    let owner = server.invites().owner.as_ref().map(|invite| invite.token.clone());
    let ask = async |server: &Server, device| {
        let visit = Visit { invite: owner.clone(), ..Visit::on(device) };
        visit.come(server, "Olga").await
    };
    refuse_people(state.path(), true);
    for _ in 0..3 {
        assert_eq!(code(ask(&server, 1).await), ErrorCode::NotKept);
    }
    // Those of whom nothing is to be kept come in all the same.
    Visit::on(2).come(&server, "guest").await.unwrap();
    refuse_people(state.path(), false);
    until("the disk takes it", || async { ask(&server, 1).await.is_ok() }).await;
    server.stop().await;
}

#[actix::test]
async fn an_invite_that_was_used_up_before_the_disk_refused_is_used_up_after_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let server = server_in(state.path()).await;
    let owner = server.invites().owner.as_ref().map(|invite| invite.token.clone());
    refuse_people(state.path(), true);
    let visit = |device| Visit { invite: owner.clone(), ..Visit::on(device) };
    assert_eq!(code(visit(1).come(&server, "Olga").await), ErrorCode::NotKept);
    refuse_people(state.path(), false);
    until("the disk takes it", || async { visit(1).come(&server, "Olga").await.is_ok() }).await;
    server.stop().await;
    let server = server_in(state.path()).await;
    assert!(server.invites().owner.is_none(), "there is an operator");
    assert_eq!(code(visit(2).come(&server, "Eve").await), ErrorCode::BadInvite);
    assert!(Visit::on(1).come(&server, "Olga").await.unwrap().welcome.standing.role.is_some());
    server.stop().await;
}

fn password(text: &str) -> Option<Password> {
    Some(Password::new(text.to_owned()).unwrap())
}

#[actix::test]
async fn whoever_knows_his_password_comes_in_while_many_register_names_without_end() {
    const ADDRESSES: [&str; 8] = [
        "203.0.113.1",
        "203.0.113.2",
        "203.0.113.3",
        "203.0.113.4",
        "203.0.113.5",
        "203.0.113.6",
        "203.0.113.7",
        "203.0.113.8",
    ];
    let state = tempfile::tempdir().unwrap();
    let server = server_in(state.path()).await;
    let mut ann = Visit::on(1).come(&server, "ann").await.unwrap();
    let register = |text| ClientMessage::Register { password: password(text).unwrap() };
    let kept = ann.request(register("sesame")).await;
    assert!(matches!(kept, ServerMessage::Registered { .. }), "{kept:?}");
    drop(ann);
    // More than wait in line, and each with more requests under way than the server deals with in this time.
    let mut crowd = Vec::new();
    for k in 0..80 {
        let visit = Visit::from(ADDRESSES[k % ADDRESSES.len()]);
        let mut eve = visit.come(&server, &format!("eve {k}")).await.unwrap();
        for _ in 0..40 {
            eve.send(register("x")).await;
        }
        crowd.push(eve);
    }
    let mut asking = Visit::default().come(&server, "asking").await.unwrap();
    for device in 2..12 {
        let visit = Visit { password: password("sesame"), ..Visit::on(device) };
        let visit = Visit { address: Some("198.51.100.7"), ..visit };
        gone(&mut asking, "ann").await;
        let came = visit.come(&server, "ann").await;
        assert!(came.is_ok(), "device {device}: {:?}", came.err());
    }
    server.stop().await;
}

/// Waits until nobody of this name is on the server.
async fn gone(asking: &mut Peer, name: &str) {
    let asks = async {
        loop {
            let tell = ClientMessage::Private { to: name.to_owned(), text: "?".to_owned() };
            if let ServerMessage::Error { code: ErrorCode::NoSuchUser, .. } =
                asking.request(tell).await
            {
                break;
            }
        }
    };
    tokio::time::timeout(DEADLINE, asks).await.expect("he goes");
}

#[actix::test]
async fn whoever_guesses_at_a_room_s_password_has_to_wait_and_keeps_nobody_else_out() {
    let state = tempfile::tempdir().unwrap();
    let server = server_in(state.path()).await;
    let invite = server.invites().owner.as_ref().map(|invite| invite.token.clone());
    let mut olga = Visit { invite, ..Visit::on(1) }.come(&server, "Olga").await.unwrap();
    olga.join("den").await;
    let room = "den".to_owned();
    let order = Moderation::RoomPassword { room: room.clone(), password: password("sesame") };
    let locked = olga.request(ClientMessage::Moderate { order }).await;
    assert!(matches!(locked, ServerMessage::Report { report: Report::Done }), "{locked:?}");
    let guess = |text: &str| ClientMessage::Join {
        room: room.clone(),
        password: password(text),
        after: None,
    };
    let mut eve = Visit::from("203.0.113.9").come(&server, "eve").await.unwrap();
    for k in 0..ATTEMPTS_FREE {
        let answer = eve.request(guess(&format!("guess {k}"))).await;
        assert_eq!(code(Err(answer)), ErrorCode::BadRoomPassword);
    }
    let answer = eve.request(guess("sesame")).await;
    let ServerMessage::Error { code: ErrorCode::TooManyAttempts, args } = &answer else {
        panic!("{answer:?}")
    };
    assert!((1..=3).contains(&args["retry_s"].parse::<u64>().unwrap()), "{args:?}");
    // Another session, from the same address and from another.
    let mut again = Visit::from("203.0.113.9").come(&server, "eva").await.unwrap();
    assert_eq!(code(Err(again.request(guess("sesame")).await)), ErrorCode::TooManyAttempts);
    let mut ann = Visit::from("198.51.100.7").come(&server, "ann").await.unwrap();
    let joined = ann.request(guess("sesame")).await;
    assert!(matches!(joined, ServerMessage::Joined { .. }), "{joined:?}");
    server.stop().await;
}
