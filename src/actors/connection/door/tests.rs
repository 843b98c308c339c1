//! The door in virtual time, over streams in memory.

use super::*;
use crate::actors::access::gate::Gate;
use crate::actors::access::password::Hasher;
use crate::actors::limits::Limits;
use crate::actors::lobby::Lobby;
use crate::actors::routes::Routes;
use crate::net::limits::{HALF_OPEN_MAX, HELLO_TIMEOUT};
use crate::net::message::Protection;
use crate::net::message::{GoodbyeReason, Hello};
use crate::net::tls::test_support::{Anyone, self_signed, server};
use actix::Actor;
use rustls::pki_types::ServerName;
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_rustls::{TlsConnector, client};

fn reception(limits: Limits) -> Rc<Reception> {
    let limits = Arc::new(limits);
    let routes = Routes::new(1);
    routes.feeds()[0].retire();
    let lobby = Lobby::new(0, routes.clone(), Gate::open(), Arc::clone(&limits)).start();
    let (streams, _) = mpsc::channel(1);
    Rc::new(Reception::new(
        lobby,
        routes,
        vec![streams],
        0,
        Hasher::default(),
        limits,
        Protection::Plain,
    ))
}

struct House {
    reception: Rc<Reception>,
    security: Security,
}

impl House {
    fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    fn with_limits(limits: Limits) -> Self {
        let config = server(&self_signed("parlor-server"));
        Self { reception: reception(limits), security: Security::Tls(config) }
    }

    async fn empty(&self) {
        while self.reception.open() > 0 {
            tokio::task::yield_now().await;
        }
    }

    /// A caller at the door: his end of the line.
    fn call(&self) -> DuplexStream {
        self.call_over(64 * 1024)
    }

    /// The same over a line that holds so many bytes.
    fn call_over(&self, bytes: usize) -> DuplexStream {
        self.call_as(Caller::default(), bytes)
    }

    fn call_from(&self, address: &str) -> DuplexStream {
        let address = Some(address.parse().unwrap());
        self.call_as(Caller { address, ..Caller::default() }, 64 * 1024)
    }

    fn call_as(&self, caller: Caller, bytes: usize) -> DuplexStream {
        let (near, far) = tokio::io::duplex(bytes);
        let (reception, security) = (Rc::clone(&self.reception), self.security.clone());
        actix_rt::spawn(open(reception, security, far, caller));
        near
    }

    async fn call_with_tls(&self) -> client::TlsStream<DuplexStream> {
        secure(self.call()).await
    }
}

async fn secure(stream: DuplexStream) -> client::TlsStream<DuplexStream> {
    let config = Arc::new(tls::client_config(Arc::new(Anyone)).unwrap());
    let name = ServerName::try_from("any").unwrap();
    TlsConnector::from(config).connect(name, stream).await.unwrap()
}

fn hello(name: &str) -> Vec<u8> {
    let hello = ClientMessage::Hello(Box::new(Hello::new(name)));
    frame::encode(&Envelope { re: Some(7), body: hello }).unwrap().to_vec()
}

async fn answers(stream: impl AsyncRead + Unpin) -> Vec<Envelope<ServerMessage>> {
    let mut frames = FramedRead::new(stream, frame::codec());
    let mut all = Vec::new();
    while let Some(Ok(frame)) = frame::next(&mut frames).await {
        all.push(frame::decode(&frame).unwrap());
    }
    all
}

/// The clock's own step is a millisecond.
fn about(elapsed: Duration, expected: Duration) -> bool {
    elapsed >= expected && elapsed <= expected + Duration::from_millis(2)
}

async fn end(mut stream: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    rest
}

#[actix::test]
async fn a_greeting_inside_tls_is_let_in() {
    let house = House::new();
    let mut stream = house.call_with_tls().await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(tls::ALPN));
    stream.write_all(&hello("anna")).await.unwrap();
    let mut frames = FramedRead::new(stream, frame::codec());
    let frame = frame::next(&mut frames).await.unwrap().unwrap();
    let answer: Envelope<ServerMessage> = frame::decode(&frame).unwrap();
    assert!(matches!(answer, Envelope { re: Some(7), body: ServerMessage::Welcome(_) }));
}

#[actix::test]
async fn what_the_server_says_does_not_wait_in_a_buffer_of_tls() {
    tokio::time::pause();
    let house = House::new();
    // The line holds less than the welcome: most of it cannot be written at once.
    let mut stream = secure(house.call_over(64)).await;
    let begun = Instant::now();
    stream.write_all(&hello("anna")).await.unwrap();
    stream.flush().await.unwrap();
    let mut frames = FramedRead::new(stream, frame::codec());
    assert!(frame::next(&mut frames).await.unwrap().is_ok());
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[actix::test]
async fn a_greeting_without_tls_is_answered_that_it_needs_it_and_closed() {
    let house = House::new();
    let mut stream = house.call();
    stream.write_all(&hello("anna")).await.unwrap();
    let needs_tls = ServerMessage::error(ErrorCode::NeedsTls, []);
    assert_eq!(answers(stream).await, [Envelope { re: Some(7), body: needs_tls }]);
    tokio::time::timeout(GOODBYE_TIMEOUT / 2, house.empty()).await.expect("it is closed");
}

#[actix::test]
async fn what_is_neither_tls_nor_a_greeting_gets_no_answer() {
    tokio::time::pause();
    let house = House::new();
    let mut long = (60_000u32).to_be_bytes().to_vec();
    long.extend([0xc1; 60_000]);
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 64], &[0xff; 64], &long] {
        let mut stream = house.call();
        stream.write_all(bytes).await.unwrap();
        assert_eq!(end(stream).await, b"");
    }
}

#[actix::test]
async fn broken_and_truncated_handshakes_end_the_connection_and_nothing_else() {
    tokio::time::pause();
    let house = House::new();
    // A real first flight, to cut and bend.
    let config = Arc::new(tls::client_config(Arc::new(Anyone)).unwrap());
    let name = ServerName::try_from("any").unwrap();
    let mut client = rustls::ClientConnection::new(config, name).unwrap();
    let mut flight = Vec::new();
    client.write_tls(&mut flight).unwrap();
    assert_eq!(flight[0], tls::HANDSHAKE_RECORD);
    for cut in [1, 2, 5, 6, 40, flight.len() - 1] {
        let mut stream = house.call();
        stream.write_all(&flight[..cut]).await.unwrap();
        stream.shutdown().await.unwrap();
        end(stream).await;
    }
    for at in (1..flight.len()).step_by(7) {
        let mut bent = flight.clone();
        bent[at] ^= 0x55;
        let mut stream = house.call();
        stream.write_all(&bent).await.unwrap();
        stream.shutdown().await.unwrap();
        end(stream).await;
    }
    house.empty().await;
    house.call_with_tls().await;
}

#[actix::test]
async fn a_handshake_that_drips_is_cut_off_in_time_and_holds_up_nobody() {
    tokio::time::pause();
    let house = House::new();
    let begun = Instant::now();
    let slow = house.call();
    let (read, mut write) = tokio::io::split(slow);
    let drip = actix_rt::spawn(async move {
        // A record's header that promises much, and then a byte a second for as long as it is taken.
        let bytes = [tls::HANDSHAKE_RECORD, 3, 1, 0x10, 0].into_iter().chain(std::iter::repeat(1));
        for byte in bytes {
            if write.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    tokio::time::sleep(HANDSHAKE_TIMEOUT / 2).await;
    let before = begun.elapsed();
    house.call_with_tls().await;
    assert_eq!(begun.elapsed(), before, "nobody waited for it");
    end(read).await;
    let elapsed = begun.elapsed();
    assert!(elapsed >= HANDSHAKE_TIMEOUT && elapsed <= HANDSHAKE_TIMEOUT + Duration::from_secs(1));
    drip.await.unwrap();
}

#[actix::test]
async fn who_says_nothing_at_all_is_cut_off_in_time_with_tls_and_before_it() {
    tokio::time::pause();
    let house = House::new();
    let begun = Instant::now();
    assert_eq!(end(house.call()).await, b"");
    assert!(about(begun.elapsed(), HANDSHAKE_TIMEOUT));
    let begun = Instant::now();
    let stream = house.call_with_tls().await;
    let goodbye = ServerMessage::goodbye(GoodbyeReason::HelloTimeout);
    assert_eq!(answers(stream).await, [Envelope { re: None, body: goodbye }]);
    assert!(about(begun.elapsed(), HELLO_TIMEOUT));
}

#[actix::test]
async fn an_address_that_begins_too_many_handshakes_is_not_served_and_others_are() {
    let limits = Limits { handshakes_per_second: 0, handshake_burst: 2, ..Limits::default() };
    let house = House::with_limits(limits);
    // Who only connects has begun none.
    drop(house.call_from("203.0.113.9"));
    for _ in 0..2 {
        secure(house.call_from("203.0.113.9")).await;
    }
    let mut refused = house.call_from("203.0.113.9");
    refused.write_all(&[tls::HANDSHAKE_RECORD]).await.unwrap();
    assert_eq!(end(refused).await, b"");
    secure(house.call_from("203.0.113.10")).await;
    for _ in 0..5 {
        secure(house.call_from("127.0.0.1")).await;
    }
}

#[actix::test]
async fn more_handshakes_than_there_are_places_cost_the_oldest_theirs() {
    tokio::time::pause();
    let house = House::new();
    let mut idle: Vec<DuplexStream> = Vec::new();
    for _ in 0..2 * HALF_OPEN_MAX {
        let mut stream = house.call();
        stream.write_all(&[tls::HANDSHAKE_RECORD]).await.unwrap();
        tokio::task::yield_now().await;
        idle.push(stream);
    }
    // One after the other: an honest caller gets through among them.
    house.call_with_tls().await;
    let begun = Instant::now();
    for stream in idle.drain(..HALF_OPEN_MAX) {
        end(stream).await;
    }
    assert_eq!(begun.elapsed(), Duration::ZERO, "the oldest are gone already");
    assert!(house.reception.open() <= HALF_OPEN_MAX + 1);
    assert!(house.reception.open() > HALF_OPEN_MAX / 2, "and the newest are not");
}
