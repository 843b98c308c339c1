//! UDP that is blocked, or dies in the middle of a call: voice goes on inside the control connection, and
//! goes back when UDP does. What is judged is what the listener's decoder got, and when.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use parlor::actors::connection::Caller;
use parlor::actors::server::Server;
use parlor::client::event::{Event, PathKind};
use parlor::client::voice::Transmit;
use parlor::net::clock;
use parlor::net::message::{ClientMessage, ServerMessage};
use parlor::net::protect::RTP_OVERHEAD;
use parlor::net::rtcp::App;
use parlor::net::rtp;

use crate::support::peer::Peer;
use crate::support::talker::{Talker, finish, missing, server};

/// Packets of a second.
const SECOND: u32 = 100;

/// Both in the room, each by UDP.
async fn pair() -> (Rc<Server>, Talker, Talker) {
    let server = server().await;
    let mut anna = Talker::start(&server, "anna", false).await;
    let mut bert = Talker::start(&server, "bert", false).await;
    anna.wait_for_path(PathKind::Udp, false).await;
    bert.wait_for_path(PathKind::Udp, false).await;
    (server, anna, bert)
}

/// The first packet played after this moment.
async fn first_after(talker: &Talker, moment: Instant) -> Instant {
    loop {
        if let Some((at, _)) = talker.played().into_iter().find(|(at, _)| *at > moment) {
            return at;
        }
        talker.hear(1).await;
    }
}

#[actix::test]
async fn where_a_firewall_drops_all_udp_both_hear_each_other_within_a_second_of_joining() {
    let server = server().await;
    let mut anna = Talker::start(&server, "anna", true).await;
    anna.voice.set_transmit(Transmit::Open);
    let mut bert = Talker::start(&server, "bert", true).await;
    let joined = clock::now();
    bert.voice.set_transmit(Transmit::Open);
    for talker in [&anna, &bert] {
        let took = first_after(talker, joined).await - joined;
        println!("heard after {took:?}");
        assert!(took < Duration::from_secs(1), "{took:?}");
        talker.hear(100).await;
    }
    anna.wait_for_path(PathKind::Stream, false).await;
    bert.wait_for_path(PathKind::Stream, false).await;
    for talker in [&anna, &bert] {
        let played = talker.played();
        assert!(missing(&played[played.len() - 90..]).0 <= 2, "it goes on without gaps");
        assert_eq!(talker.voice.stats().await.path, "stream");
    }
    finish(server, vec![anna, bert]).await;
}

/// UDP dies for Anna while she talks and listens, in these directions; and comes back.
async fn dies_and_returns(up: bool, down: bool) {
    let (server, mut anna, mut bert) = pair().await;
    anna.voice.set_transmit(Transmit::Open);
    bert.voice.set_transmit(Transmit::Open);
    anna.hear(50).await;
    bert.hear(50).await;
    let marks = [anna.played().len(), bert.played().len()];
    anna.wire.cut(up, down);
    anna.wait_for_path(PathKind::Stream, false).await;
    anna.hear(100).await;
    bert.hear(100).await;
    for (talker, mark) in [(&anna, marks[0]), (&bert, marks[1])] {
        let (_, longest) = missing(&talker.played()[mark - 20..]);
        println!("{longest} packets missing when UDP died");
        assert!(longest < SECOND, "{longest} packets missing");
    }
    // What was lost is not lost on the way back.
    let marks = [anna.played().len(), bert.played().len()];
    anna.wire.cut(false, false);
    anna.wait_for_path(PathKind::Udp, true).await;
    anna.hear(100).await;
    bert.hear(100).await;
    for (talker, mark) in [(&anna, marks[0]), (&bert, marks[1])] {
        let (all, _) = missing(&talker.played()[mark - 20..]);
        println!("{all} packets missing when UDP came back");
        assert!(all <= 2, "{all} packets missing");
    }
    assert_eq!(anna.voice.stats().await.path, "udp");
    // Nobody has come or gone, and Bert's voice never left UDP.
    for event in anna.news().iter().chain(&bert.news()) {
        let noticed = matches!(event, Event::MemberLeft { .. } | Event::Lost { .. });
        assert!(!noticed, "{event:?}");
    }
    finish(server, vec![anna, bert]).await;
}

#[actix::test]
async fn udp_that_dies_upwards_in_the_middle_of_a_call_is_replaced_within_a_second_and_returns() {
    dies_and_returns(true, false).await;
}

#[actix::test]
async fn udp_that_dies_downwards_in_the_middle_of_a_call_is_replaced_within_a_second_and_returns() {
    dies_and_returns(false, true).await;
}

#[actix::test]
async fn udp_that_dies_both_ways_in_the_middle_of_a_call_is_replaced_within_a_second_and_returns() {
    dies_and_returns(true, true).await;
}

#[actix::test]
async fn a_silent_listener_whose_udp_has_died_hears_whoever_speaks_next_within_a_second() {
    let (server, anna, bert) = pair().await;
    // In silence, and between two keepalives: nothing tells him yet.
    anna.wire.cut(true, true);
    bert.voice.set_transmit(Transmit::Open);
    let spoke = clock::now();
    let took = first_after(&anna, spoke).await - spoke;
    println!("heard after {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    finish(server, vec![anna, bert]).await;
}

#[actix::test]
async fn a_listener_who_reads_slowly_is_sent_fresh_voice_and_not_what_has_waited() {
    const TALK: Duration = Duration::from_millis(20);
    // What lies in the stream itself, and what the writer holds, cannot be taken back.
    const STREAM_BYTES: usize = 4096;
    let server = server().await;
    let (near, far) = tokio::io::duplex(STREAM_BYTES);
    server.connect(far, Caller::default());
    let over = Peer::over(Box::new(near), server.udp(), "slow", None).await;
    let mut slow = over.map_err(|refusal| format!("{refusal:?}")).unwrap();
    slow.join("hall").await;
    let wish = slow.seal_app(App::Path { stream: true });
    slow.send(ClientMessage::Voice { packet: wish }).await;
    let mut speaker = Peer::connect(&server, "speaker").await;
    speaker.join("hall").await;
    speaker.open_voice().await;
    // The wish is in force when the first voice comes through.
    while !slow.events.iter().any(|event| matches!(event, ServerMessage::Voice { .. })) {
        speaker.speak(&[0; 640]);
        slow.catch_up().await;
    }

    // A second of speech that nobody reads.
    let mut sent = VecDeque::new();
    let mut pace = tokio::time::interval(TALK);
    for k in 0..50u16 {
        pace.tick().await;
        let mut payload = [0; 640];
        payload[..2].copy_from_slice(&k.to_be_bytes());
        let voice = speaker.seal_voice(&payload);
        speaker.send_datagram(&voice);
        sent.push_back(rtp::peek_seq(&voice).unwrap());
    }
    speaker.settle_voice();
    slow.events.clear();
    slow.catch_up().await;
    let got: Vec<u16> = slow
        .events
        .iter()
        .filter_map(|event| match event {
            ServerMessage::Voice { packet } if packet.len() > 640 + RTP_OVERHEAD => {
                rtp::peek_seq(packet)
            }
            _ => None,
        })
        .collect();
    println!("{} of {} packets", got.len(), sent.len());
    // Those that were on their way when it stalled, and those of the last 120 ms and a little.
    let old = STREAM_BYTES / 640 + 8;
    let fresh: Vec<u16> = sent.iter().rev().take(12).rev().copied().collect();
    let stale = got.iter().skip(old).filter(|seq| !fresh.contains(seq)).count();
    assert_eq!(stale, 0, "{got:?}");
    assert_eq!(got.last(), sent.back(), "the newest word comes through");
    Rc::try_unwrap(server).ok().unwrap().stop().await;
}
