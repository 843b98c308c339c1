//! Who may come in, tried on a real server: what the disk refuses is not done.

use parlor::actors::server::Server;
use parlor::net::message::{ErrorCode, ServerMessage};
use rusqlite::Connection;
use std::path::Path;

use crate::moderation::{Visit, server_in};
use crate::support::peer::{Peer, until};

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
    let server = &server;
    until("the disk takes it", || async { ask(server, 1).await.is_ok() }).await;
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
