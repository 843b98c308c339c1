//! Hostile and broken peers: each gets a typed error or is cut off, and nobody else notices.

use std::net::SocketAddr;
use std::sync::Arc;

use parlor::actors::connection::Caller;
use parlor::actors::limits::Limits;
use parlor::actors::server::{Server, ServerConfig};
use parlor::net::frame;
use parlor::net::limits::{FRAME_BYTES_MAX, HALF_OPEN_MAX, OUTBOX_BYTES_MAX, TEXT_BYTES_MAX};
use parlor::net::message::{
    ClientMessage, Envelope, ErrorCode, GoodbyeReason, LeaveReason, PROTOCOL_VERSION, ServerMessage,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::codec::FramedRead;

use crate::support::peer::{DEADLINE, Peer, hello, until};
use crate::support::random::Random;

async fn server() -> Server {
    let any = "127.0.0.1:0".parse().unwrap();
    Server::start(ServerConfig::new(any, any, Some(1))).await.unwrap()
}

async fn server_with(limits: Limits) -> Server {
    let any = "127.0.0.1:0".parse().unwrap();
    let limits = Arc::new(limits);
    Server::start(ServerConfig { limits, ..ServerConfig::new(any, any, Some(1)) }).await.unwrap()
}

/// Everything that the server says to these bytes until it closes or has answered a ping behind them.
async fn answers(server: SocketAddr, bytes: &[u8]) -> Vec<ServerMessage> {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut all = Vec::new();
    let mut frames = FramedRead::new(stream, frame::codec());
    while let Some(Ok(frame)) = frame::next(&mut frames).await {
        all.push(frame::decode::<Envelope<ServerMessage>>(&frame).unwrap().body);
    }
    all
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut all = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    all.extend(bytes);
    all
}

fn message(body: ClientMessage) -> Vec<u8> {
    frame::encode(&Envelope::event(body)).unwrap().to_vec()
}

fn codes(answers: &[ServerMessage]) -> Vec<ErrorCode> {
    let codes = answers.iter().filter_map(|answer| match answer {
        ServerMessage::Error { code, .. } => Some(*code),
        _ => None,
    });
    codes.collect()
}

#[actix::test]
async fn what_is_no_hello_is_answered_with_a_typed_error_and_closed() {
    let server = server().await;
    let tcp = server.tcp();
    let protocol = ServerMessage::goodbye(GoodbyeReason::Protocol);
    for (bytes, expected) in [
        (framed(b"GET / HTTP/1.1"), vec![ErrorCode::BadMessage]),
        (framed(b""), vec![ErrorCode::BadMessage]),
        (message(ClientMessage::Leave), vec![ErrorCode::HelloFirst]),
        // A length that no frame has: nothing is read, nothing is kept.
        (vec![0xff; 64], vec![]),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![]),
    ] {
        let answers = answers(tcp, &bytes).await;
        assert_eq!(codes(&answers), expected, "{bytes:?}");
        assert_eq!(answers.last(), Some(&protocol), "{bytes:?}");
    }
    let ClientMessage::Hello(mut old) = hello("anna", None) else { unreachable!() };
    old.version = PROTOCOL_VERSION + 1;
    assert_eq!(
        codes(&answers(tcp, &message(ClientMessage::Hello(old))).await),
        [ErrorCode::Version]
    );
    until("the door is free", || async { server.census().await == (0, 0, 0) }).await;
    server.stop().await;
}

#[actix::test]
async fn bad_requests_are_answered_and_the_session_goes_on() {
    let server = server().await;
    let mut anna = Peer::connect(&server, "anna").await;
    for (body, expected) in [
        (ClientMessage::join("\u{7}"), ErrorCode::BadRoom),
        (ClientMessage::Rename { name: "x".repeat(33) }, ErrorCode::BadName),
        (ClientMessage::Leave, ErrorCode::NotInRoom),
        (ClientMessage::Chat { text: "x".repeat(TEXT_BYTES_MAX + 1) }, ErrorCode::TextTooLong),
        (ClientMessage::ListUsers { room: Some("nowhere".to_owned()) }, ErrorCode::NoSuchRoom),
        (hello("bert", None), ErrorCode::HelloTwice),
    ] {
        let answer = anna.request(body).await;
        assert_eq!(codes(&[answer]), [expected]);
    }
    anna.write_raw(&framed(b"\x81\xa4type\xa5dance")).await;
    let unknown = anna.read().await.unwrap().body;
    assert_eq!(codes(&[unknown]), [ErrorCode::UnknownType]);
    anna.write_raw(&framed(b"\xc1")).await;
    let bad = anna.read().await.unwrap().body;
    assert_eq!(codes(&[bad]), [ErrorCode::BadMessage]);
    anna.join("hall").await;
    server.stop().await;
}

#[actix::test]
async fn a_taken_name_can_be_followed_by_another_on_the_same_connection() {
    let server = server().await;
    let _anna = Peer::connect(&server, "anna").await;
    let mut bytes = message(hello("ANNA", None));
    bytes.extend(message(hello("bert", None)));
    let answers = answers(server.tcp(), &bytes).await;
    assert_eq!(codes(&answers), [ErrorCode::NameTaken]);
    assert!(
        answers.iter().any(|m| matches!(m, ServerMessage::Welcome(w) if w.name.as_str() == "bert"))
    );
    server.stop().await;
}

#[actix::test]
async fn random_bytes_on_both_ports_disturb_nobody() {
    let server = server().await;
    let (mut anna, mut bert) =
        (Peer::connect(&server, "anna").await, Peer::connect(&server, "bert").await);
    for peer in [&mut anna, &mut bert] {
        peer.join("hall").await;
        peer.open_voice().await;
    }
    let mut random = Random::from_env(7);
    let noise = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for round in 0..200 {
        let length = random.below(2000);
        let mut bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        noise.send_to(&bytes, server.udp()).unwrap();
        if round % 2 == 0 {
            // A plausible length in front, so that the bytes are read as a message.
            bytes = framed(&bytes);
        }
        answers(server.tcp(), &bytes).await;
        anna.speak(b"undisturbed");
        assert_eq!(bert.heard().len(), 1);
        if round % 10 == 0 {
            anna.catch_up().await;
        }
    }
    noise.set_nonblocking(true).unwrap();
    assert!(noise.recv_from(&mut [0; 64]).is_err(), "strangers get no answer");
    until("nothing is left of them", || async { server.census().await == (2, 1, 2) }).await;
    server.stop().await;
}

#[actix::test]
async fn who_reads_nothing_is_cut_off_and_the_others_go_on() {
    let server = server_with(Limits::loosest()).await;
    let mut anna = Peer::connect(&server, "anna").await;
    anna.join("hall").await;
    // Says hello and joins, and never reads.
    let (near, far) = tokio::io::duplex(1024);
    server.connect(far, Caller::default());
    let (_never_read, mut write) = tokio::io::split(near);
    let mut bytes = message(hello("sleeper", None));
    bytes.extend(message(ClientMessage::join("hall")));
    write.write_all(&bytes).await.unwrap();
    anna.wait_for(|m| matches!(m, ServerMessage::MemberJoined { .. })).await;
    // Several, because each may say only so much at once.
    let mut chatty = Vec::new();
    for k in 0..6 {
        let mut peer = Peer::connect(&server, &format!("chatty {k}")).await;
        peer.join("hall").await;
        chatty.push(peer);
    }
    let text = "x".repeat(TEXT_BYTES_MAX);
    let (mut said, mut turn, mut cut) = (0, 0, None);
    anna.catch_up().await;
    while cut.is_none() {
        assert!(said <= OUTBOX_BYTES_MAX + 64 * 1024, "the bound on what waits is kept");
        let peer = &mut chatty[turn % 6];
        turn += 1;
        let answer = peer.request(ClientMessage::Chat { text: text.clone() }).await;
        assert!(matches!(answer, ServerMessage::Chat { .. }), "{answer:?}");
        said += text.len();
        let speaker = (turn - 1) % 6;
        let others = chatty.iter_mut().enumerate().filter(|(k, _)| *k != speaker);
        for (_, peer) in others {
            peer.wait_for(|m| matches!(m, ServerMessage::Chat { .. })).await;
        }
        let told = |m: &ServerMessage| {
            matches!(m, ServerMessage::Chat { .. } | ServerMessage::MemberLeft { .. })
        };
        while let ServerMessage::MemberLeft { reason, .. } = anna.wait_for(told).await {
            cut = Some(reason);
        }
    }
    assert_eq!(cut, Some(LeaveReason::CutOff));
    assert!(said > OUTBOX_BYTES_MAX / 2, "and not cut off before it is reached");
    anna.catch_up().await;
    assert_eq!(anna.members.len(), 7, "the others go on");
    server.stop().await;
}

/// Sends the same bytes again and again over real TCP until it is cut off, and tells what it was told.
/// Meanwhile somebody else is answered.
async fn flood(server: &Server, bytes: Vec<u8>) -> Vec<ServerMessage> {
    let stream = TcpStream::connect(server.tcp()).await.unwrap();
    let (read, mut write) = stream.into_split();
    write.write_all(&message(hello("flood", None))).await.unwrap();
    let mut frames = FramedRead::new(read, frame::codec());
    let first = frame::next(&mut frames).await.unwrap().unwrap();
    let first: Envelope<ServerMessage> = frame::decode(&first).unwrap();
    assert!(matches!(first.body, ServerMessage::Welcome(_)));
    let sending = actix_rt::spawn(async move { while write.write_all(&bytes).await.is_ok() {} });
    let mut anna = Peer::connect(server, "anna").await;
    let mut told = Vec::new();
    loop {
        // Hers are dealt with, whatever waits of the other's.
        if told.len() < 20 {
            anna.catch_up().await;
        }
        let next = tokio::time::timeout(DEADLINE, frame::next(&mut frames)).await;
        let Some(Ok(frame)) = next.expect("it is told, or cut off") else { break };
        told.push(frame::decode::<Envelope<ServerMessage>>(&frame).unwrap().body);
        assert!(told.len() < 1000, "it goes on without end");
    }
    sending.abort();
    anna.catch_up().await;
    until("it is gone", || async { server.census().await == (1, 0, 1) }).await;
    told
}

#[actix::test]
async fn a_flood_of_requests_is_told_so_once_and_cut_off() {
    let server = server().await;
    let told = flood(&server, message(ClientMessage::Ping { token: 5 }).repeat(100)).await;
    assert!(codes(&told).contains(&ErrorCode::TooFast));
    assert_eq!(told.last(), Some(&ServerMessage::goodbye(GoodbyeReason::TooFast)));
    server.stop().await;
}

#[actix::test]
async fn a_flood_of_bytes_that_mean_nothing_is_held_up_and_cut_off() {
    let server = server().await;
    // As many values as fit: what is most expensive to read.
    let mut junk = vec![0x82, 0xa4, b't', b'y', b'p', b'e', 0xa4, b'p', b'i', b'n', b'g'];
    junk.extend([0xa1, b'x', 0xdc, 0xff, 0x00]);
    junk.resize(FRAME_BYTES_MAX, 0x90);
    let begun = server.census().await;
    assert_eq!(begun, (0, 0, 0));
    let told = flood(&server, framed(&junk)).await;
    assert_eq!(told.last(), Some(&ServerMessage::goodbye(GoodbyeReason::TooFast)));
    let answers = codes(&told);
    assert!(answers.iter().all(|code| *code == ErrorCode::BadMessage), "{answers:?}");
    // What could be brought at once, and what may come while it is waited for: no more was read.
    let rate = Limits::default().control_bytes();
    let most = (rate.burst + 8.0 * rate.per_second) / FRAME_BYTES_MAX as f64;
    assert!((answers.len() as f64) < most, "{} were read", answers.len());
    server.stop().await;
}

/// A member who takes little at a time from a line that holds little.
struct Narrow {
    read: tokio::net::tcp::OwnedReadHalf,
    write: tokio::net::tcp::OwnedWriteHalf,
    taken: Vec<u8>,
}

impl Narrow {
    async fn enter(server: &Server, name: &str, room: &str) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let (read, write) = socket.connect(server.tcp()).await.unwrap().into_split();
        let mut narrow = Self { read, write, taken: Vec::new() };
        let mut bytes = message(hello(name, None));
        bytes.extend(message(ClientMessage::join(room)));
        narrow.write.write_all(&bytes).await.unwrap();
        narrow
    }

    /// Takes what is there, at most this much.
    fn sip(&mut self, most: usize) {
        let mut bytes = vec![0; most];
        if let Ok(length) = self.read.try_read(&mut bytes) {
            self.taken.extend(&bytes[..length]);
        }
    }

    /// Everything up to the answer to a ping, or to the end of the connection.
    async fn catch_up(self) -> Vec<ServerMessage> {
        let Self { read, mut write, taken } = self;
        write.write_all(&message(ClientMessage::Ping { token: 99 })).await.unwrap();
        let mut frames = FramedRead::new(std::io::Cursor::new(taken).chain(read), frame::codec());
        let mut all = Vec::new();
        while all.last() != Some(&ServerMessage::Pong { token: 99 }) {
            let next = tokio::time::timeout(DEADLINE, frame::next(&mut frames)).await;
            let Some(Ok(frame)) = next.expect("the server answers") else { break };
            all.push(frame::decode::<Envelope<ServerMessage>>(&frame).unwrap().body);
        }
        all
    }
}

/// Several members say as much as they are let, and one on a narrow line takes a part of it.
async fn talked_at(say: impl Fn(String) -> ClientMessage) {
    let server = server().await;
    let mut attackers = Vec::new();
    for k in 0..6 {
        let stream = Box::new(TcpStream::connect(server.tcp()).await.unwrap());
        let name = format!("attacker {k}");
        let mut peer = Peer::over(stream, server.udp(), &name, None).await.unwrap();
        peer.join("hall").await;
        attackers.push(peer);
    }
    let mut narrow = Narrow::enter(&server, "narrow", "hall").await;
    attackers[0].wait_for(|m| matches!(m, ServerMessage::MemberJoined { .. })).await;
    let (mut said, mut refused) = (0, 0);
    for _ in 0..40 {
        for peer in &mut attackers {
            match peer.request(say("x".repeat(TEXT_BYTES_MAX))).await {
                ServerMessage::Error { code: ErrorCode::TooFast, args } => {
                    assert!(args.contains_key("retry_ms"));
                    refused += 1;
                    // Only the first of several in a row is answered: leave it at that.
                    peer.catch_up().await;
                }
                ServerMessage::Chat { .. } | ServerMessage::Private { .. } => said += 1,
                other => panic!("{other:?}"),
            }
            narrow.sip(512);
        }
    }
    assert!(said > 0 && refused > 0, "{said} said, {refused} refused");
    let heard = narrow.catch_up().await;
    assert_eq!(heard.last(), Some(&ServerMessage::Pong { token: 99 }), "he is still there");
    let texts = |m: &&ServerMessage| {
        matches!(m, ServerMessage::Chat { .. } | ServerMessage::Private { .. })
    };
    assert_eq!(heard.iter().filter(texts).count(), said, "and has missed nothing");
    server.stop().await;
}

#[actix::test]
async fn nobody_is_talked_out_of_a_room_by_what_others_say_there() {
    talked_at(|text| ClientMessage::Chat { text }).await;
}

#[actix::test]
async fn nobody_is_talked_off_the_server_by_private_texts() {
    talked_at(|text| ClientMessage::Private { to: "narrow".to_owned(), text }).await;
}

#[actix::test]
async fn a_reader_who_lags_behind_misses_texts_and_stays() {
    let server = server_with(Limits::loosest()).await;
    let mut anna = Peer::connect(&server, "anna").await;
    anna.join("hall").await;
    let (near, far) = tokio::io::duplex(1024);
    server.connect(far, Caller::default());
    let (mut read, mut write) = tokio::io::split(near);
    let mut bytes = message(hello("slow", None));
    bytes.extend(message(ClientMessage::join("hall")));
    write.write_all(&bytes).await.unwrap();
    anna.wait_for(|m| matches!(m, ServerMessage::MemberJoined { .. })).await;
    let mut taken = Vec::new();
    let rounds = 3 * OUTBOX_BYTES_MAX / TEXT_BYTES_MAX;
    for _ in 0..rounds {
        let said = anna.request(ClientMessage::Chat { text: "x".repeat(TEXT_BYTES_MAX) }).await;
        assert!(matches!(said, ServerMessage::Chat { .. }), "{said:?}");
        let mut piece = [0; 1024];
        read.read_exact(&mut piece).await.unwrap();
        taken.extend(piece);
    }
    write.write_all(&message(ClientMessage::Ping { token: 99 })).await.unwrap();
    let mut frames = FramedRead::new(std::io::Cursor::new(taken).chain(read), frame::codec());
    let (mut heard, mut missed, mut answered) = (0, 0, false);
    while !answered || heard + missed < rounds {
        let next = tokio::time::timeout(DEADLINE, frame::next(&mut frames)).await;
        let frame = next.expect("he is told").expect("he is still there").unwrap();
        match frame::decode::<Envelope<ServerMessage>>(&frame).unwrap().body {
            ServerMessage::Chat { .. } => heard += 1,
            ServerMessage::Error { code: ErrorCode::TextsMissed, args } => {
                missed += args["count"].parse::<usize>().unwrap();
            }
            ServerMessage::Pong { token: 99 } => answered = true,
            _ => {}
        }
    }
    assert!(missed > 0);
    assert_eq!(heard + missed, rounds, "he knows how much he has missed");
    server.stop().await;
}

#[actix::test]
async fn connections_that_die_while_they_are_let_in_leave_nothing_behind() {
    let server = server().await;
    // A refused name and then a good one, and the connection is gone before any answer.
    for k in 0..50 {
        let mut bytes = message(hello("\u{7}", None));
        bytes.extend(message(hello(&format!("hasty {k}"), None)));
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        server.connect(far, Caller::default());
        near.write_all(&bytes).await.unwrap();
        for _ in 0..k % 5 {
            tokio::task::yield_now().await;
        }
        drop(near);
    }
    until("the hasty are gone", || async { server.census().await == (0, 0, 0) }).await;
    // A session that is resumed by a connection that dies at once.
    for k in 0..40 {
        let mut peer = Peer::connect(&server, &format!("lost {k}")).await;
        peer.join("hall").await;
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        server.connect(far, Caller::default());
        let resume = Some(peer.welcome.resume.clone());
        near.write_all(&message(hello("any", resume))).await.unwrap();
        for _ in 0..k % 8 {
            tokio::task::yield_now().await;
        }
        drop(near);
        drop(peer);
    }
    until("the lost are gone", || async { server.census().await == (0, 0, 0) }).await;
    server.stop().await;
}

#[actix::test]
async fn more_clients_at_once_than_may_be_half_open_all_come_in_or_are_turned_away() {
    let server = server().await;
    let mut waiting = Vec::new();
    for k in 0..3 * HALF_OPEN_MAX {
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        server.connect(far, Caller::default());
        near.write_all(&message(hello(&format!("all at once {k}"), None))).await.unwrap();
        waiting.push(near);
    }
    until("every session has its connection", || async {
        let (sessions, _, open) = server.census().await;
        sessions == open && sessions > HALF_OPEN_MAX / 2
    })
    .await;
    drop(waiting);
    until("everyone is gone", || async { server.census().await == (0, 0, 0) }).await;
    server.stop().await;
}

#[actix::test]
async fn ten_thousand_half_open_connections_keep_nobody_out() {
    const IDLERS: usize = 10_000;
    let limit = raise_file_limit();
    assert!(limit > 11_500, "this test needs 11,500 open files; the limit is {limit} (ulimit -n)");
    let server = server().await;
    let tcp = server.tcp();
    let mut idlers = Vec::with_capacity(IDLERS);
    for k in 0..IDLERS {
        let mut idler = TcpStream::connect(tcp).await.unwrap();
        if k % 2 == 0 {
            // Half of them begin a frame and never finish it.
            idler.write_all(&[0, 0, 1]).await.unwrap();
        }
        idlers.push(idler);
        if k % 1000 == 999 {
            let stream = TcpStream::connect(tcp).await.unwrap();
            let name = format!("honest {k}");
            let honest = Peer::over(Box::new(stream), server.udp(), &name, None).await;
            honest.unwrap().join("hall").await;
        }
    }
    until("the oldest idlers are gone", || async { server.census().await.2 <= HALF_OPEN_MAX + 10 })
        .await;
    // The oldest was let go; the newest still has his place.
    let mut goodbye = Vec::new();
    let _ = idlers[0].read_to_end(&mut goodbye).await;
    let newest = idlers.pop().unwrap();
    let newest = Peer::over(Box::new(newest), server.udp(), "newest", None).await;
    newest.unwrap().join("hall").await;
    server.stop().await;
}

fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[actix::test]
async fn a_frame_larger_than_any_is_refused_before_it_is_read() {
    let server = server().await;
    let mut anna = Peer::connect(&server, "anna").await;
    let length = u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_be_bytes();
    anna.write_raw(&length).await;
    let goodbye = anna.read().await.unwrap().body;
    assert_eq!(goodbye, ServerMessage::goodbye(GoodbyeReason::Protocol));
    assert!(anna.read().await.is_none());
    until("the session is gone", || async { server.census().await == (0, 0, 0) }).await;
    server.stop().await;
}
