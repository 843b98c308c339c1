//! `parlor doctor`: whether sound and the way to a server work, and what to do where they do not.
//!
//! Looks at the devices that a call would use, and goes to the server as a call would, but enters no
//! room: nobody hears it or is told of it. `findings` judges what was seen.

pub mod findings;
pub mod ptt;

use super::control::dial::{Dialer, ServerDialer, Target, Trust, plain};
use super::event::ErrorKind;
use super::options::Options;
use super::voice::{
    Direction, InputChoice, OutputChoice, Transmit, VoiceConfig, VoiceEvent, VoiceHandle,
    VoicePath, VoiceSession,
};
use super::{run, texts};
use crate::net::device::DeviceKey;
use crate::net::limits::{ADDRESSES_TRIED_MAX, ANSWER_TIMEOUT, CLIENT_MAILBOX, CONNECT_TIMEOUT};
use crate::net::message::{ClientMessage, Envelope, Hello, MemberState, ServerMessage, Welcome};
use crate::net::{clock, frame};
use findings::{Device, Facts, Finding, Level, Server, Udp};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::codec::FramedRead;

/// How long devices may take to open, ...
const OPEN_TIMEOUT: Duration = Duration::from_secs(4);
/// ... and how long the microphone is then listened to.
const LISTEN: Duration = Duration::from_secs(2);
/// How often its level is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long the way of voice may take to be found.
const PATH_TIMEOUT: Duration = Duration::from_secs(4);
/// How long packets are sent on it.
const MEASURE: Duration = Duration::from_secs(5);

/// Looks at everything and says what was found; the exit code: 0 where nothing stands in the way.
pub async fn run(options: Options) -> u8 {
    let (input, output) = match options.sound() {
        Ok(sound) => sound,
        Err(why) => return refuse(&why),
    };
    let there = match options.names_server() {
        false => None,
        true => match options.destination() {
            Ok(there) => Some(there.target),
            Err(why) => return refuse(&why),
        },
    };
    let mut facts = Facts { level_db: -120.0, ..Facts::default() };
    look_at_devices(input, output, &mut facts).await;
    if let Some(target) = there {
        facts.server = Some(look_at_server(&options, target).await);
    }
    let found = findings::findings(&facts);
    show(&found, options.json);
    let bad = found.iter().any(|finding| finding.level == Level::Problem);
    if bad { run::EXIT_FAILED } else { 0 }
}

fn refuse(why: &str) -> u8 {
    eprintln!("parlor: {why}");
    run::EXIT_USAGE
}

fn show(found: &[Finding], json: bool) {
    if json {
        let line = serde_json::json!({ "event": "doctor", "findings": found });
        return println!("{}", crate::net::name::printable(&line.to_string()));
    }
    for Finding { about, level, text } in found {
        println!("{}", texts::doctor_line(about, *level, text));
    }
}

async fn look_at_devices(input: InputChoice, output: OutputChoice, facts: &mut Facts) {
    let (events_in, mut events) = mpsc::channel(CLIENT_MAILBOX);
    let voice = match VoiceHandle::start(VoiceConfig::new(input.clone(), output.clone()), events_in)
    {
        Ok(voice) => voice,
        Err(error) => {
            let down = Device::Down(error.to_string());
            (facts.input, facts.output) = (down.clone(), down);
            return;
        }
    };
    let device = |text: &str| Device::Up { description: text.to_owned(), latency_ms: 0.0 };
    let is_file =
        |input: &InputChoice| !matches!(input, InputChoice::Default | InputChoice::Device(_));
    let (mut ins, mut outs) = (None, None);
    // What is no device says nothing: it is just there.
    if is_file(&input) {
        ins = Some(device("a file or the like"));
    }
    if !matches!(output, OutputChoice::Default | OutputChoice::Device(_)) {
        outs = Some(device("a file or the like"));
    }
    let until = clock::now() + OPEN_TIMEOUT;
    while ins.is_none() || outs.is_none() {
        let event = match timeout(left(until), events.recv()).await {
            Ok(Some(event)) => event,
            Ok(None) | Err(_) => break,
        };
        let (direction, found) = match event {
            VoiceEvent::DeviceUp { direction, description } => (direction, device(&description)),
            VoiceEvent::DeviceDown { direction, error, .. } => (direction, Device::Down(error)),
            _ => continue,
        };
        match direction {
            Direction::Input => ins = ins.or(Some(found)),
            Direction::Output => outs = outs.or(Some(found)),
        }
    }
    if is_file(&input) {
        facts.level_db = 0.0;
    }
    let until = clock::now() + LISTEN;
    let mut stats = voice.stats().await;
    while matches!(ins, Some(Device::Up { .. })) && !left(until).is_zero() {
        facts.level_db = facts.level_db.max(stats.input_level_db);
        sleep(LOOK).await;
        stats = voice.stats().await;
    }
    let with = |device: Option<Device>, ms: f32| match device {
        Some(Device::Up { description, .. }) => Device::Up { description, latency_ms: ms },
        device => device.unwrap_or_default(),
    };
    facts.input = with(ins, stats.input_latency_ms);
    facts.output = with(outs, stats.output_latency_ms);
    voice.stop().await;
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(clock::now())
}

/// Goes as far towards the server as it can.
async fn look_at_server(options: &Options, target: Target) -> Server {
    let mut server = Server { label: target.label(), ..Server::default() };
    let addresses = match lookup_host((target.host.as_str(), target.port)).await {
        Ok(found) => found.take(ADDRESSES_TRIED_MAX).collect::<Vec<_>>(),
        Err(error) => {
            server.addresses = Some(Err(plain(&error)));
            return server;
        }
    };
    let texts = addresses.iter().map(|address| address.ip().to_string()).collect();
    server.addresses = Some(Ok(texts));
    let tcp = connect(&addresses).await;
    let answers = tcp.is_ok();
    server.tcp = Some(tcp);
    if !answers {
        return server;
    }
    let (dialer, device) = match run::dialer(options, &target) {
        Ok(ready) => ready,
        Err(error) => {
            server.tls = Some(Err(error.to_string()));
            return server;
        }
    };
    look_inside(options, &dialer, device, &mut server).await;
    server
}

/// Milliseconds until one of the addresses takes a connection.
async fn connect(addresses: &[SocketAddr]) -> Result<f32, String> {
    let mut why = "the name has no address".to_owned();
    for address in addresses {
        let begun = clock::now();
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(_)) => {
                return Ok(clock::now().saturating_duration_since(begun).as_secs_f32() * 1e3);
            }
            Ok(Err(error)) => why = plain(&error),
            Err(_) => why = format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()),
        }
    }
    Err(why)
}

/// TLS, the greeting, and voice.
async fn look_inside(
    options: &Options,
    dialer: &ServerDialer,
    device: Option<DeviceKey>,
    server: &mut Server,
) {
    let dialed = match dialer.dial().await {
        Ok(dialed) => dialed,
        Err(super::control::dial::DialError::Unreachable(why)) => {
            server.tls = Some(Err(why));
            return;
        }
        Err(super::control::dial::DialError::Untrusted { code, args }) => {
            server.tls = Some(Err(texts::error(ErrorKind::Local(code), &args)));
            return;
        }
    };
    server.tls = Some(Ok(trust(dialed.trust)));
    let hello = match hello(options, dialed.trust != Trust::Plain) {
        Ok(hello) => hello,
        Err(why) => {
            server.welcome = Some(Err(why));
            return;
        }
    };
    let proof = device.as_ref().zip(dialed.binding.as_ref());
    let hello = Hello { device: proof.map(|(key, binding)| key.prove(binding)), ..hello };
    let (read, mut write) = tokio::io::split(dialed.stream);
    let mut frames = FramedRead::new(read, frame::codec());
    let message = Envelope { re: Some(1), body: ClientMessage::Hello(Box::new(hello)) };
    let greeted = async {
        let bytes = frame::encode(&message).map_err(|error| error.to_string())?;
        write.write_all(&bytes).await.map_err(|error| plain(&error))?;
        while let Some(frame) = frame::next(&mut frames).await {
            let frame = frame.map_err(|error| plain(&error))?;
            let said: Envelope<ServerMessage> =
                frame::decode(&frame).map_err(|error| error.to_string())?;
            match said.body {
                ServerMessage::Welcome(welcome) => return Ok(*welcome),
                ServerMessage::Error { code, args } => {
                    return Err(texts::error(ErrorKind::Server(code), &args));
                }
                ServerMessage::Goodbye { reason, .. } => {
                    return Err(texts::goodbye(reason).to_owned());
                }
                _ => {}
            }
        }
        Err("it closed the connection".to_owned())
    };
    let welcome = match timeout(ANSWER_TIMEOUT, greeted).await {
        Ok(Ok(welcome)) => welcome,
        Ok(Err(why)) => {
            server.welcome = Some(Err(why));
            return;
        }
        Err(_) => {
            server.welcome = Some(Err("it says nothing".to_owned()));
            return;
        }
    };
    server.welcome = Some(Ok(()));
    let port = options.udp_port.unwrap_or(welcome.udp_port);
    server.udp = Some(try_voice(welcome, SocketAddr::new(dialed.address.ip(), port)).await);
    if let Ok(bytes) = frame::encode(&Envelope::event(ClientMessage::Bye)) {
        // The server notices the end of the connection as well.
        let _ = write.write_all(&bytes).await;
    }
}

fn hello(options: &Options, encrypted: bool) -> Result<Hello, String> {
    let name = options.user_name().ok_or_else(|| texts::arguments::NO_NAME.to_owned())?;
    let keys = options.destination()?.keys;
    Ok(Hello {
        agent: concat!("parlor/", env!("CARGO_PKG_VERSION"), " doctor").to_owned(),
        state: MemberState { muted: true, ..MemberState::default() },
        // An invite is not shown: it may be good for one time only. Passwords go into TLS alone.
        server_password: keys.server.filter(|_| encrypted),
        password: keys.name.filter(|_| encrypted),
        ..Hello::new(name.as_str())
    })
}

fn trust(trust: Trust) -> String {
    match trust {
        Trust::Plain => "none: nothing is encrypted (--insecure)".to_owned(),
        Trust::Known => "encrypted, and its key is the known one".to_owned(),
        Trust::FirstUse(fingerprint) => {
            format!("encrypted; it is new to you, its key {fingerprint} is remembered from now on")
        }
        Trust::Certificate => "encrypted, and an authority vouches for it".to_owned(),
    }
}

/// Sends silence for some seconds, in no room, and sees what becomes of it.
async fn try_voice(welcome: Welcome, server: SocketAddr) -> Udp {
    let mut udp = Udp { port: server.port(), ..Udp::default() };
    let (events_in, mut events) = mpsc::channel(CLIENT_MAILBOX);
    let config = VoiceConfig::new(InputChoice::Silence, OutputChoice::Null);
    let Ok(voice) = VoiceHandle::start(config, events_in) else { return udp };
    voice.allow_stream(false);
    voice.connect(VoiceSession {
        id: welcome.id,
        server,
        protection: welcome.protection,
        up_key: welcome.up_key,
        down_key: welcome.down_key,
        streams: welcome.streams,
        control_ssrc: welcome.control_ssrc,
    });
    let until = clock::now() + PATH_TIMEOUT;
    while let Ok(Some(event)) = timeout(left(until), events.recv()).await {
        if event == VoiceEvent::Path(VoicePath::Udp) {
            udp.works = true;
            break;
        }
    }
    if udp.works {
        voice.set_transmit(Transmit::Open);
        sleep(MEASURE).await;
        let stats = voice.stats().await;
        udp.round_trip_ms = stats.round_trip_ms;
        (udp.up, udp.down) = (stats.uplink_loss, stats.downlink_loss);
    }
    voice.stop().await;
    udp
}
