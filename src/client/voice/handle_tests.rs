//! Whole voice sides over real sockets on this machine, with files for sound, against a server of a few lines.
//!
//! Nothing here sleeps: each test waits for the event or the file that it is about.

use super::*;
use crate::net::codec::l16_decode;
use crate::net::ids::PacketIndex;
use crate::net::message::StreamInfo;
use crate::net::name::UserName;
use crate::net::protect::{Opener, Sealer};
use crate::net::rtcp::{self, App, RtcpPacket};
use crate::net::rtp::{self, RtpPacket};
use crate::net::secret::Secret;
use std::net::UdpSocket;
use std::sync::{Mutex, mpsc as blocking};
use std::time::Duration;

const PROTECTION: Protection = Protection::AeadAes128Gcm;
/// Longest that any test waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);

fn key(of: u64, down: bool) -> DirectionKey {
    Secret::new([of as u8 + if down { 100 } else { 0 }; 28])
}

fn ssrc(of: u64) -> Ssrc {
    Ssrc(4 * of as u32)
}

fn session(of: u64, server: SocketAddr) -> VoiceSession {
    VoiceSession {
        id: MemberId(of),
        server,
        protection: PROTECTION,
        up_key: key(of, false),
        down_key: key(of, true),
        streams: vec![StreamGrant { ssrc: ssrc(of), clock_hz: 16_000 }],
        control_ssrc: Ssrc(4 * of as u32 + 2),
    }
}

fn member(of: u64) -> MemberInfo {
    MemberInfo {
        id: MemberId(of),
        name: UserName::parse(&format!("u{of}")).unwrap(),
        muted: false,
        deafened: false,
        recording: false,
        speaking: false,
        silenced: false,
        role: None,
        streams: vec![StreamInfo {
            ssrc: ssrc(of),
            clock_hz: 16_000,
            payload_type: None,
            roc: 0,
            seq: None,
        }],
    }
}

/// Forwards the voice of 1 to 2 and back, answers keepalives, and tells which voice packets it saw.
fn serve() -> (SocketAddr, blocking::Receiver<Vec<u8>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let (seen_in, seen) = blocking::channel();
    std::thread::spawn(move || {
        let mut addresses = [None; 3];
        let mut index = 0;
        let mut buffer = [0u8; 2048];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            let datagram = &mut buffer[..length];
            let of = u64::from(rtp::peek_ssrc(datagram).unwrap().0 / 4);
            let opener = Opener::new(PROTECTION, &key(of, false)).unwrap();
            let mut sealed = Vec::new();
            if rtp::is_rtcp(datagram) {
                let (packet, _) = opener.open_rtcp(datagram).unwrap();
                for packet in rtcp::packets(packet).flatten() {
                    if let RtcpPacket::App { app: App::Keepalive(probe), ssrc } = packet {
                        addresses[of as usize] = Some(from);
                        let mut answer = Vec::new();
                        rtcp::write_app(&mut answer, ssrc, App::KeepaliveAnswer(probe));
                        let sealer = Sealer::new(PROTECTION, &key(of, true)).unwrap();
                        sealer.seal_rtcp(&answer, PacketIndex(index), &mut sealed).unwrap();
                        index += 1;
                        socket.send_to(&sealed, from).unwrap();
                    }
                }
            } else {
                let index = PacketIndex(u64::from(rtp::peek_seq(datagram).unwrap()));
                let packet = opener.open_rtp(datagram, index).unwrap();
                let sealer = Sealer::new(PROTECTION, &key(3 - of, true)).unwrap();
                sealer.seal_rtp(packet, index, &mut sealed).unwrap();
                if let Some(to) = addresses[3 - of as usize] {
                    socket.send_to(&sealed, to).unwrap();
                }
                if seen_in.send(packet.to_vec()).is_err() {
                    return;
                }
            }
        }
    });
    (address, seen)
}

async fn wait_for(
    events: &mut mpsc::Receiver<VoiceEvent>,
    wanted: impl Fn(&VoiceEvent) -> bool,
) -> VoiceEvent {
    let wait = async {
        loop {
            let event = events.recv().await.expect("the voice side goes on");
            if wanted(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the event comes")
}

fn side(input: InputChoice, output: OutputChoice) -> (VoiceHandle, mpsc::Receiver<VoiceEvent>) {
    let (sender, events) = mpsc::channel(64);
    (
        VoiceHandle::start(VoiceConfig::new(input, output).sending(Sending::pcm()), sender)
            .unwrap(),
        events,
    )
}

fn noise(count: usize) -> Vec<i16> {
    let mut x = 77u64;
    let mut step = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 48) as i16
    };
    (0..count).map(|_| step()).collect()
}

fn write_wav(path: &std::path::Path, samples: &[i16]) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    for sample in samples {
        writer.write_sample(*sample).unwrap();
    }
    writer.finalize().unwrap();
}

#[tokio::test]
async fn a_file_is_heard_bit_for_bit_at_the_other_side() {
    let folder = tempfile::tempdir().unwrap();
    let (path, heard) = (folder.path().join("in.wav"), folder.path().join("out.wav"));
    let source = noise(16_000);
    write_wav(&path, &source);
    let (server, _seen) = serve();

    let decoded = Arc::new(Mutex::new(Vec::new()));
    let collected = decoded.clone();
    let tap: Tap = Box::new(move |id, _, samples| {
        assert_eq!(id, MemberId(1));
        collected.lock().unwrap().extend_from_slice(samples);
    });
    let (sender, mut hears) = mpsc::channel(64);
    let config = VoiceConfig::new(InputChoice::Silence, OutputChoice::Wav(heard.clone()));
    let listener = VoiceHandle::start_with_tap(config, sender, tap).unwrap();
    listener.connect(session(2, server));
    listener.enter_room(vec![member(1), member(2)]);
    wait_for(&mut hears, |e| *e == VoiceEvent::Path(VoicePath::Udp)).await;

    let (speaker, mut says) = side(InputChoice::Wav { path, repeat: false }, OutputChoice::Null);
    speaker.connect(session(1, server));
    speaker.enter_room(vec![member(1), member(2)]);
    wait_for(&mut says, |e| *e == VoiceEvent::Path(VoicePath::Udp)).await;
    speaker.set_transmit(Transmit::Open);
    let speaking = |on| move |e: &VoiceEvent| *e == VoiceEvent::Speaking { id: MemberId(1), on };
    wait_for(&mut hears, speaking(true)).await;
    let wait = async {
        while decoded.lock().unwrap().len() < source.len() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
    speaker.set_transmit(Transmit::Shut);
    wait_for(&mut hears, speaking(false)).await;

    let decoded = decoded.lock().unwrap().clone();
    assert!(decoded[..source.len()] == source[..]);
    assert!(decoded[source.len()..].iter().all(|sample| *sample == 0));
    let stats = listener.stats().await;
    assert_eq!((stats.path, stats.packets_dropped), ("udp", 0));
    let [figures] = stats.speakers.as_slice() else { panic!("{stats:?}") };
    assert_eq!((figures.id, figures.lost), (MemberId(1), 0));
    let said = speaker.stats().await;
    assert_eq!(said.packets_sent, figures.received);
    let all = ByWay { udp: figures.received, stream: 0 };
    assert_eq!((said.sent_by, stats.received_by), (all, all));
    assert!(stats.round_trip_ms.is_some());

    listener.stop().await;
    speaker.stop().await;
    let mut reader = hound::WavReader::open(&heard).unwrap();
    assert_eq!((reader.spec().sample_rate, reader.spec().channels), (48_000, 1));
    let loudest = reader.samples::<i16>().map(|s| s.unwrap().unsigned_abs()).max();
    assert!(loudest > Some(20_000), "{loudest:?}");
}

#[tokio::test]
async fn a_talkspurt_on_the_wire_is_marked_and_ended_and_a_closed_microphone_sends_nothing() {
    let (server, seen) = serve();
    let (speaker, mut events) = side(InputChoice::Tone(440.0), OutputChoice::Null);
    speaker.connect(session(1, server));
    wait_for(&mut events, |e| *e == VoiceEvent::Path(VoicePath::Udp)).await;
    for _ in 0..2 {
        assert!(seen.try_recv().is_err(), "the microphone is closed");
        speaker.set_transmit(Transmit::Open);
        let mut packets: Vec<Vec<u8>> = Vec::new();
        while packets.len() < 6 {
            packets.push(seen.recv_timeout(PATIENCE).unwrap());
        }
        speaker.set_transmit(Transmit::Shut);
        loop {
            let packet = seen.recv_timeout(PATIENCE).unwrap();
            packets.push(packet);
            let ends = packets.iter().filter(|p| RtpPacket::parse(p).unwrap().payload.is_empty());
            if ends.count() == 3 {
                break;
            }
        }
        let read: Vec<_> = packets.iter().map(|p| RtpPacket::parse(p).unwrap()).collect();
        let marked: Vec<_> = read.iter().map(|p| p.header.marker).collect();
        assert!(marked[0] && !marked[1..].contains(&true));
        assert!(read.windows(2).all(|w| w[1].header.seq == w[0].header.seq.wrapping_add(1)));
        // The first frame began before the microphone was opened: part of it is silence.
        assert!(read[0].header.audio_level.is_some());
        assert!(read[5].header.audio_level.is_some_and(|level| (13..17).contains(&level.level)));
        assert!(read[1..5].iter().all(|packet| packet.header.audio_level.is_none()));
        let mut samples = Vec::new();
        l16_decode(read[0].payload, &mut samples).unwrap();
        assert_eq!(samples.len(), 160);
        assert!(read[read.len() - 4..].iter().take(1).all(|p| p.payload.len() == 320));
    }
    speaker.stop().await;
}

#[tokio::test]
async fn without_datagrams_voice_goes_through_the_control_connection() {
    // A port on which nobody answers.
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (speaker, mut events) = side(InputChoice::Tone(440.0), OutputChoice::Null);
    speaker.connect(session(1, nobody.local_addr().unwrap()));
    wait_for(&mut events, |e| *e == VoiceEvent::Path(VoicePath::Stream)).await;
    speaker.set_transmit(Transmit::Open);
    let event = wait_for(
        &mut events,
        |e| matches!(e, VoiceEvent::ToServer { datagram, .. } if !rtp::is_rtcp(datagram)),
    )
    .await;
    let VoiceEvent::ToServer { mut datagram, .. } = event else { panic!("{event:?}") };
    let opener = Opener::new(PROTECTION, &key(1, false)).unwrap();
    let index = PacketIndex(u64::from(rtp::peek_seq(&datagram).unwrap()));
    let packet = opener.open_rtp(&mut datagram, index).unwrap();
    assert_eq!(RtpPacket::parse(packet).unwrap().header.ssrc, ssrc(1));
    speaker.disconnect();
    wait_for(&mut events, |e| *e == VoiceEvent::Path(VoicePath::None)).await;
    speaker.stop().await;
}

#[tokio::test]
async fn voice_from_the_control_connection_is_heard() {
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (listener, mut events) = side(InputChoice::Silence, OutputChoice::Null);
    listener.connect(session(2, nobody.local_addr().unwrap()));
    listener.enter_room(vec![member(1), member(2)]);
    let mut core = capture::Capture::new(Sending::pcm()).unwrap();
    core.set_streams(&session(1, nobody.local_addr().unwrap()).streams, 9, 0);
    let sealer = Sealer::new(PROTECTION, &key(2, true)).unwrap();
    core.hear(&vec![0.1; 48_000], Transmit::Open, &mut |packet| {
        let mut sealed = Vec::new();
        sealer.seal_rtp(packet.bytes, packet.index, &mut sealed).unwrap();
        listener.from_server(sealed);
    });
    let on = VoiceEvent::Speaking { id: MemberId(1), on: true };
    wait_for(&mut events, |e| *e == on).await;
    let stats = listener.stats().await;
    assert_eq!((stats.received_by.udp, stats.received_by.stream), (0, stats.packets_received));
    listener.leave_room();
    let off = VoiceEvent::Speaking { id: MemberId(1), on: false };
    wait_for(&mut events, |e| *e == off).await;
    assert!(listener.stats().await.speakers.is_empty());
    listener.stop().await;
    // Twice does no harm, and figures of a stopped voice side are empty.
    listener.stop().await;
    assert_eq!(listener.stats().await.packets_received, 0);
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_found_when_it_comes() {
    let placeholder = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = placeholder.local_addr().unwrap();
    drop(placeholder);
    let (side, mut events) = side(InputChoice::Silence, OutputChoice::Null);
    side.allow_stream(false);
    side.connect(session(1, address));
    // Refused meanwhile; then someone answers there.
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let answer = std::thread::spawn(move || {
        let mut buffer = [0u8; 2048];
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        let opener = Opener::new(PROTECTION, &key(1, false)).unwrap();
        let (packet, _) = opener.open_rtcp(&mut buffer[..length]).unwrap();
        let Some(Ok(RtcpPacket::App { app: App::Keepalive(probe), ssrc })) =
            rtcp::packets(packet).next()
        else {
            panic!("no keepalive")
        };
        let (mut answer, mut sealed) = (Vec::new(), Vec::new());
        rtcp::write_app(&mut answer, ssrc, App::KeepaliveAnswer(probe));
        let sealer = Sealer::new(PROTECTION, &key(1, true)).unwrap();
        sealer.seal_rtcp(&answer, PacketIndex(0), &mut sealed).unwrap();
        socket.send_to(&sealed, from).unwrap();
    });
    wait_for(&mut events, |e| *e == VoiceEvent::Path(VoicePath::Udp)).await;
    answer.join().unwrap();
    side.stop().await;
}

#[tokio::test]
async fn the_echo_says_back_what_it_heard_and_nothing_else() {
    let (server, seen) = serve();
    let (speaker, mut says) = side(InputChoice::Tone(440.0), OutputChoice::Null);
    let (echo, mut echoes) = side(InputChoice::Echo, OutputChoice::Null);
    for (handle, of) in [(&speaker, 1), (&echo, 2)] {
        handle.connect(session(of, server));
        handle.enter_room(vec![member(1), member(2)]);
    }
    wait_for(&mut says, |e| *e == VoiceEvent::Path(VoicePath::Udp)).await;
    wait_for(&mut echoes, |e| *e == VoiceEvent::Path(VoicePath::Udp)).await;
    echo.set_transmit(Transmit::Open);
    assert!(seen.try_recv().is_err(), "there is nothing to say back");
    speaker.set_transmit(Transmit::Open);
    let on = VoiceEvent::Speaking { id: MemberId(2), on: true };
    wait_for(&mut says, |e| *e == on).await;
    speaker.set_transmit(Transmit::Shut);
    let off = VoiceEvent::Speaking { id: MemberId(2), on: false };
    wait_for(&mut says, |e| *e == off).await;
    echo.stop().await;
    speaker.stop().await;
}

#[test]
fn a_bad_file_is_told_at_the_start() {
    let (sender, _events) = mpsc::channel(4);
    let input = InputChoice::Wav { path: "/nowhere/x.wav".into(), repeat: false };
    let config = VoiceConfig::new(input, OutputChoice::Null);
    let error = VoiceHandle::start(config, sender).unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/x.wav: "), "{error}");
}

#[tokio::test]
async fn who_hears_himself_is_heard_by_nobody_else_and_a_key_held_beyond_it_must_be_let_go() {
    let (server, seen) = serve();
    let (speaker, mut events) = side(InputChoice::Tone(440.0), OutputChoice::Null);
    speaker.connect(session(1, server));
    wait_for(&mut events, |e| *e == VoiceEvent::Path(VoicePath::Udp)).await;
    let trial = |e: &VoiceEvent| matches!(e, VoiceEvent::Trial(_));
    speaker.try_out();
    let speak = wait_for(&mut events, trial).await;
    assert!(matches!(speak, VoiceEvent::Trial(TrialNews::Speak { ms: 5000 })), "{speak:?}");
    speaker.set_transmit(Transmit::Held);
    let heard = wait_for(&mut events, trial).await;
    let VoiceEvent::Trial(TrialNews::Heard(figures)) = heard else { panic!("{heard:?}") };
    assert!(figures.verdict != Verdict::Silent, "{figures:?}");
    let over = wait_for(&mut events, trial).await;
    assert_eq!(over, VoiceEvent::Trial(TrialNews::Over));
    // The next one is ended by hand, and all the while nothing has been sent.
    speaker.try_out();
    wait_for(&mut events, trial).await;
    speaker.try_out();
    let stopped = wait_for(&mut events, trial).await;
    assert_eq!(stopped, VoiceEvent::Trial(TrialNews::Stopped));
    assert!(seen.try_recv().is_err(), "the key has not been let go");
    speaker.set_transmit(Transmit::Released);
    speaker.set_transmit(Transmit::Held);
    let packet = seen.recv_timeout(PATIENCE).unwrap();
    assert!(RtpPacket::parse(&packet).unwrap().header.marker);
    speaker.stop().await;
}

/// A voice side with nothing done to the microphone's sound.
fn plain(input: InputChoice, output: OutputChoice) -> (VoiceHandle, mpsc::Receiver<VoiceEvent>) {
    let (sender, events) = mpsc::channel(64);
    let chain = ChainSettings { high_pass: false, echo: false, noise: false, gain: false };
    let config = VoiceConfig::new(input, output).sending(Sending::pcm()).chain(chain);
    (VoiceHandle::start(config, sender).unwrap(), events)
}

#[tokio::test]
async fn another_microphone_takes_over_in_mid_word_and_one_that_fails_disturbs_nobody() {
    let (server, seen) = serve();
    let (speaker, mut events) = plain(InputChoice::Tone(440.0), OutputChoice::Null);
    speaker.connect(session(1, server));
    wait_for(&mut events, |e| *e == VoiceEvent::Path(VoicePath::Udp)).await;
    speaker.set_transmit(Transmit::Open);
    let mut packets = vec![seen.recv_timeout(PATIENCE).unwrap()];

    let devices = &speaker.system.shared.devices;
    let open = Arc::new(|| -> Result<device::InputDevice, _> { Err("it is busy".to_owned()) });
    devices.input.put(Wanted { name: "bad".to_owned(), open });
    let refused = wait_for(&mut events, |e| matches!(e, VoiceEvent::DeviceRefused { .. })).await;
    let (direction, name) = (Direction::Input, "bad".to_owned());
    let (error, kept) = ("it is busy".to_owned(), "tone of 440 Hz".to_owned());
    assert_eq!(refused, VoiceEvent::DeviceRefused { direction, name, error, kept });

    let (device, mut ring) = device::InputDevice::fake("Other");
    device.state.callbacks.store(1, std::sync::atomic::Ordering::Relaxed);
    // From before it was taken: never heard.
    (0..960).for_each(|_| ring.push(0.9).unwrap());
    let device = Mutex::new(Some(device));
    let taken = move || device.lock().unwrap().take().ok_or_else(|| "once only".to_owned());
    devices.input.put(Wanted { name: "Oth".to_owned(), open: Arc::new(taken) });
    let up = wait_for(&mut events, |e| matches!(e, VoiceEvent::DeviceUp { .. })).await;
    let description = "Other: 48000 Hz".to_owned();
    assert_eq!(up, VoiceEvent::DeviceUp { direction: Direction::Input, description });
    (0..48 * 400).for_each(|_| ring.push(0.5).unwrap());
    let level = |packet: &[u8]| {
        let mut samples = Vec::new();
        l16_decode(RtpPacket::parse(packet).unwrap().payload, &mut samples).unwrap();
        samples.into_iter().map(i16::unsigned_abs).max().unwrap_or(0)
    };
    while !packets.iter().rev().take(20).all(|packet| level(packet) > 15_000) {
        packets.push(seen.recv_timeout(PATIENCE).unwrap());
    }
    assert!(packets.iter().all(|packet| level(packet) < 20_000), "what it heard before is sent");
    let read: Vec<_> = packets.iter().map(|p| RtpPacket::parse(p).unwrap()).collect();
    let marked = read.iter().filter(|packet| packet.header.marker).count();
    // A machine that stood still between the two left a pause.
    match read.iter().any(|packet| packet.payload.is_empty()) {
        true => println!("too slow to see whether a word goes on"),
        false => assert_eq!(marked, 1, "one talkspurt"),
    }
    assert!(read.windows(2).all(|w| w[1].header.seq == w[0].header.seq.wrapping_add(1)));
    let step = |w: &[RtpPacket<'_>]| w[1].header.timestamp.wrapping_sub(w[0].header.timestamp);
    assert!(read.windows(2).all(|w| (160..16_000).contains(&step(w))), "time never goes back");
    let stats = speaker.stats().await;
    assert_eq!((stats.input.as_str(), stats.input_is_device), ("Other: 48000 Hz", true));
    speaker.list();
    let list = wait_for(&mut events, |e| matches!(e, VoiceEvent::Devices(_))).await;
    let VoiceEvent::Devices(list) = list else { panic!() };
    assert_eq!((list.input.as_str(), list.output.as_str()), ("Other: 48000 Hz", "null"));
    speaker.stop().await;
}

#[tokio::test]
async fn another_loudspeaker_takes_over_and_plays_the_tone_and_one_that_fails_changes_nothing() {
    let (side, mut events) = plain(InputChoice::Silence, OutputChoice::Null);
    side.play_tone();
    let none = wait_for(&mut events, |e| matches!(e, VoiceEvent::Tone(_))).await;
    assert_eq!(none, VoiceEvent::Tone(String::new()), "nothing that can be heard is open");
    let devices = &side.system.shared.devices;
    let open = Arc::new(|_: usize| -> Result<device::OutputDevice, _> {
        Err("no device is called \"x\"".to_owned())
    });
    devices.output.put(Wanted { name: "x".to_owned(), open });
    let refused = wait_for(&mut events, |e| matches!(e, VoiceEvent::DeviceRefused { .. })).await;
    assert!(matches!(refused, VoiceEvent::DeviceRefused { kept, .. } if kept == "null"));
    let (device, mut ring) = device::OutputDevice::fake("Ear");
    device.state.callbacks.store(1, std::sync::atomic::Ordering::Relaxed);
    let device = Mutex::new(Some(device));
    let taken = move |_: usize| device.lock().unwrap().take().ok_or_else(|| "once only".to_owned());
    devices.output.put(Wanted { name: "Ear".to_owned(), open: Arc::new(taken) });
    wait_for(&mut events, |e| matches!(e, VoiceEvent::DeviceUp { .. })).await;
    side.play_tone();
    let tone = wait_for(&mut events, |e| matches!(e, VoiceEvent::Tone(_))).await;
    assert_eq!(tone, VoiceEvent::Tone("Ear: 48000 Hz".to_owned()));
    let heard = async {
        while !ring.pop().is_ok_and(|sample| sample.abs() > 0.02) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.expect("the tone is heard");
    side.stop().await;
}

#[tokio::test]
async fn a_key_is_on_the_wire_within_moments() {
    let (server, seen) = serve();
    let (speaker, mut events) = side(InputChoice::Tone(440.0), OutputChoice::Null);
    speaker.connect(session(1, server));
    wait_for(&mut events, |e| *e == VoiceEvent::Path(VoicePath::Udp)).await;
    let mut waits = Vec::new();
    for _ in 0..8 {
        let pressed = crate::net::clock::now();
        speaker.set_transmit(Transmit::Held);
        seen.recv_timeout(PATIENCE).unwrap();
        waits.push(crate::net::clock::now().saturating_duration_since(pressed).as_secs_f32() * 1e3);
        speaker.set_transmit(Transmit::Shut);
        let ends = |packet: Vec<u8>| RtpPacket::parse(&packet).unwrap().payload.is_empty();
        let mut ended = 0;
        while ended < 3 {
            ended += usize::from(ends(seen.recv_timeout(PATIENCE).unwrap()));
        }
    }
    waits.sort_by(f32::total_cmp);
    // Only a figure: how fast a machine is does not fail a test.
    println!("from the key to the wire: {:.1} ms (median), {:.1} at most", waits[4], waits[7]);
    speaker.stop().await;
}

#[tokio::test]
async fn a_device_that_is_in_use_is_tried_without_the_old_one_which_comes_back_if_that_fails() {
    let running = |name: &'static str| {
        move || -> Result<device::InputDevice, String> {
            let (device, _) = device::InputDevice::fake(name);
            device.state.callbacks.store(1, std::sync::atomic::Ordering::Relaxed);
            Ok(device)
        }
    };
    let up = |name: &str| VoiceEvent::DeviceUp {
        direction: Direction::Input,
        description: format!("{name}: 48000 Hz"),
    };
    let (side, mut events) = plain(InputChoice::Silence, OutputChoice::Null);
    let choose = |name: &str, open: keeper::Open<device::InputDevice>| {
        side.system.shared.devices.input.put(Wanted { name: name.to_owned(), open });
    };
    choose("Old", Arc::new(running("Old")));
    wait_for(&mut events, |e| *e == up("Old")).await;
    // In use whoever else is open.
    choose("Bad", Arc::new(|| -> Result<device::InputDevice, _> { Err(device::BUSY.to_owned()) }));
    let refused = wait_for(&mut events, |e| matches!(e, VoiceEvent::DeviceRefused { .. })).await;
    let VoiceEvent::DeviceRefused { kept, .. } = refused else { panic!() };
    assert_eq!(kept, "Old: 48000 Hz");
    wait_for(&mut events, |e| *e == up("Old")).await;
    // In use by ourselves, under the old one's name.
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let new = running("New");
    choose(
        "New",
        Arc::new(move || match tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => Err(device::BUSY.to_owned()),
            _ => new(),
        }),
    );
    let event = wait_for(&mut events, |e| {
        matches!(e, VoiceEvent::DeviceRefused { .. } | VoiceEvent::DeviceUp { .. })
    });
    assert_eq!(event.await, up("New"));
    side.stop().await;
}
