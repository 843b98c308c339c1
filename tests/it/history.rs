//! What was said before somebody came, and while somebody was away.

use std::sync::Arc;

use parlor::actors::limits::Limits;
use parlor::actors::server::{Server, ServerConfig};
use parlor::net::message::{ClientMessage, ServerMessage};

use crate::support::peer::Peer;

async fn server(lines: usize) -> Server {
    let any = "127.0.0.1:0".parse().unwrap();
    let mut config = ServerConfig::new(any, any, Some(1));
    config.limits = Arc::new(Limits { room_history_lines: lines, ..Limits::default() });
    Server::start(config).await.unwrap()
}

/// Says this to the room; its number.
async fn say(peer: &mut Peer, text: &str) -> u64 {
    match peer.request(ClientMessage::Chat { text: text.to_owned() }).await {
        ServerMessage::Chat { no, .. } => no,
        other => panic!("{other:?}"),
    }
}

/// All that was told of the past so far.
async fn told(peer: &mut Peer) -> Vec<(String, String)> {
    peer.catch_up().await;
    let lines = peer.events.drain(..).filter_map(|event| match event {
        ServerMessage::History { lines } => Some(lines),
        _ => None,
    });
    lines.flatten().map(|line| (line.name.to_string(), line.text)).collect()
}

fn lines(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[actix::test]
async fn who_comes_in_and_who_comes_back_are_told_what_they_did_not_hear() {
    let server = server(100).await;
    let mut ann = Peer::connect(&server, "Ann").await;
    ann.join("hall").await;
    assert!(told(&mut ann).await.is_empty());
    say(&mut ann, "one").await;
    let two = say(&mut ann, "two").await;

    let mut bob = Peer::connect(&server, "Bob").await;
    bob.join("hall").await;
    assert_eq!(told(&mut bob).await, lines(&[("Ann", "one"), ("Ann", "two")]));
    let resume = Some(bob.welcome.resume.clone());
    drop(bob);
    say(&mut ann, "three").await;
    let mut bob = Peer::try_connect(&server, "Bob", resume).await.unwrap();
    let join = |after| ClientMessage::Join { room: "hall".to_owned(), password: None, after };
    bob.request(join(Some(two))).await;
    let missed = told(&mut bob).await;
    assert_eq!(missed.last(), Some(&("Ann".to_owned(), "three".to_owned())));
    bob.request(join(Some(u64::MAX))).await;
    assert!(told(&mut bob).await.is_empty());

    // It goes with the room: another one of the same name inherits nothing.
    for peer in [&mut ann, &mut bob] {
        peer.request(ClientMessage::Leave).await;
    }
    let mut eve = Peer::connect(&server, "Eve").await;
    eve.join("hall").await;
    assert!(told(&mut eve).await.is_empty());
    assert!(say(&mut eve, "four").await > two, "numbers only rise");
    server.stop().await;
}

#[actix::test]
async fn a_server_may_keep_nothing() {
    let server = server(0).await;
    let mut ann = Peer::connect(&server, "Ann").await;
    ann.join("hall").await;
    say(&mut ann, "one").await;
    let mut bob = Peer::connect(&server, "Bob").await;
    bob.join("hall").await;
    assert!(told(&mut bob).await.is_empty());
    server.stop().await;
}
