//! What the server does a million times, without sockets: open a packet, look up its room, seal a
//! copy for each other member. And the control messages around it.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use parlor::actors::forwarder::core::{ForwarderCore, Origin, Outputs};
use parlor::actors::outbox::Outbox;
use parlor::actors::routes::{RoomRoutes, Route, SessionRoute, SessionVoice, VoicePath};
use parlor::actors::stage::Stage;
use parlor::net::codec::PT_L16;
use parlor::net::ids::{PacketIndex, RoomId, SessionId, Ssrc};
use parlor::net::message::{ClientMessage, Envelope, Protection};
use parlor::net::protect::{DirectionKey, Opener, Sealer};
use parlor::net::rtp::RtpHeader;
use parlor::net::secret::Secret;
use parlor::net::{clock, frame};
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const PAYLOAD_BYTES: usize = 80;

const FORMS: [(&str, Protection); 2] =
    [("plain", Protection::Plain), ("srtp", Protection::AeadAes128Gcm)];

fn sealer(protection: Protection, key: &DirectionKey) -> Sealer {
    Sealer::new(protection, key).unwrap_or_else(|error| unreachable!("{error}"))
}

fn opener(protection: Protection, key: &DirectionKey) -> Opener {
    Opener::new(protection, key).unwrap_or_else(|error| unreachable!("{error}"))
}

/// A room of `members`, all of them reachable.
fn room(members: u32, protection: Protection) -> ForwarderCore {
    let now = clock::now();
    let mut core = ForwarderCore::new(Box::new(|| [0; 8]));
    let mut routes = Vec::new();
    for k in 0..members {
        let (up, down) = (Secret::new([1; 28]), Secret::new([2; 28]));
        let voice = Arc::new(SessionVoice::new(Ssrc(k * 4)));
        let session = SessionId(u64::from(k));
        let sealer = sealer(protection, &down);
        core.add_session(
            SessionRoute {
                session,
                opener: opener(protection, &up),
                sealer: sealer.clone(),
                voice: Arc::clone(&voice),
                outbox: Outbox::default(),
            },
            now,
        );
        let path = VoicePath::Udp(SocketAddr::from(([127, 0, 0, 1], 9)));
        routes.push(Route { session, path: Some(path), sealer, voice });
    }
    let stage = Stage::boundless(now);
    core.set_room(RoomId(1), Some(Arc::new(RoomRoutes { id: RoomId(1), members: routes, stage })));
    core
}

fn packet(index: PacketIndex) -> Vec<u8> {
    let header = RtpHeader {
        marker: false,
        payload_type: PT_L16,
        seq: index.seq(),
        timestamp: 0,
        ssrc: Ssrc(0),
        audio_level: None,
    };
    let mut packet = Vec::new();
    header.write(&mut packet);
    packet.resize(packet.len() + PAYLOAD_BYTES, 0x5a);
    packet
}

fn sealed(sealer: &Sealer, index: PacketIndex) -> Vec<u8> {
    let mut sealed = Vec::new();
    let _ = sealer.seal_rtp(&packet(index), index, &mut sealed);
    sealed
}

/// One packet, without anything around it.
fn protect(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("protect");
    let key = Secret::new([1; 28]);
    for (name, protection) in FORMS {
        let (sealer, opener) = (sealer(protection, &key), opener(protection, &key));
        let index = PacketIndex(7);
        let plain = packet(index);
        let mut out = Vec::with_capacity(2 * plain.len());
        group.bench_function(BenchmarkId::new("seal", name), |bencher| {
            bencher.iter(|| {
                out.clear();
                sealer.seal_rtp(black_box(&plain), index, &mut out)
            });
        });
        let datagram = sealed(&sealer, index);
        let mut copy = datagram.clone();
        group.bench_function(BenchmarkId::new("open", name), |bencher| {
            bencher.iter(|| {
                copy.copy_from_slice(black_box(&datagram));
                opener.open_rtp(&mut copy, index).is_ok()
            });
        });
    }
    group.finish();
}

fn forward(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forward");
    for (name, protection) in FORMS {
        for members in [10u32, 50, 200] {
            group.throughput(Throughput::Elements(u64::from(members - 1)));
            group.bench_with_input(
                BenchmarkId::new(name, members),
                &members,
                |bencher, members| {
                    let mut core = room(*members, protection);
                    let up = sealer(protection, &Secret::new([1; 28]));
                    let mut out = Outputs::default();
                    let (mut index, mut now) = (PacketIndex(1), clock::now());
                    let from = SocketAddr::from(([127, 0, 0, 1], 9));
                    bencher.iter_batched(
                        || {
                            index.0 += 1;
                            sealed(&up, index)
                        },
                        |mut datagram| {
                            now += Duration::from_millis(20);
                            core.handle_datagram(Origin::Udp(from), &mut datagram, now, &mut out);
                            core.forward(now, &mut out, |_| {});
                            black_box(out.queue.len());
                            out.queue.clear();
                            out.notices.clear();
                        },
                        criterion::BatchSize::SmallInput,
                    );
                },
            );
        }
    }
    group.finish();
}

fn control(criterion: &mut Criterion) {
    let chat = Envelope::answer(Some(1), ClientMessage::Chat { text: "hello ".repeat(20) });
    criterion.bench_function("control/encode", |b| b.iter(|| frame::encode(black_box(&chat))));
    let bytes = frame::encode(&chat).unwrap_or_default();
    let body = bytes.get(4..).unwrap_or_default();
    criterion.bench_function("control/decode", |b| {
        b.iter(|| frame::decode::<Envelope<ClientMessage>>(black_box(body)));
    });
}

criterion_group!(benches, protect, forward, control);
criterion_main!(benches);
