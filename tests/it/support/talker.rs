//! A whole client without a console: the real connection, rules and voice side against a server in
//! the same process, with a wire for its datagrams and an ear that notes what is heard when.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix::{Actor, Addr};
use parlor::actors::connection::Caller;
use parlor::actors::server::{Server, ServerConfig};
use parlor::client::control::actor::{Ask, ControlActor, Parts};
use parlor::client::control::core::{ControlCore, Settings};
use parlor::client::control::dial::{DialError, Dialed, Dialer, Target, Trust};
use parlor::client::control::port::Keys;
use parlor::client::control::request::Request;
use parlor::client::event::{Event, PathKind};
use parlor::client::voice::{InputChoice, OutputChoice, Sending, VoiceConfig, VoiceHandle};
use parlor::net::clock;
use parlor::net::ids::MemberId;
use parlor::net::limits::CLIENT_EVENTS_MAX;
use parlor::net::message::MemberState;
use parlor::net::name::{RoomName, UserName};
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot};

use super::peer::DEADLINE;
use super::wire::Wire;

/// Samples of one packet.
const FRAME: u32 = 160;

/// Connects inside the process; datagrams go through the wire.
struct Inside {
    server: Rc<Server>,
    address: SocketAddr,
}

impl Dialer for Inside {
    type Stream = DuplexStream;

    fn dial(&self) -> impl Future<Output = Result<Dialed<DuplexStream>, DialError>> + 'static {
        let (near, far) = tokio::io::duplex(64 * 1024);
        self.server.connect(far, Caller::default());
        let address = self.address;
        std::future::ready(Ok(Dialed { stream: near, address, binding: None, trust: Trust::Plain }))
    }

    /// There is one server.
    fn retarget(&mut self, _: Target) {}
}

/// A packet that was decoded: when, and its time stamp.
pub type Played = (Instant, u32);

/// A client whose microphone hears a steady tone.
pub struct Talker {
    pub voice: VoiceHandle,
    pub wire: Wire,
    control: Addr<ControlActor<Inside>>,
    events: mpsc::Receiver<Event>,
    ended: oneshot::Receiver<u8>,
    heard: Arc<Mutex<Vec<Played>>>,
    /// Everything that was told so far.
    pub told: Vec<Event>,
}

/// A server with two forwarders.
pub async fn server() -> Rc<Server> {
    let any = "127.0.0.1:0".parse().unwrap();
    Rc::new(Server::start(ServerConfig::new(any, any, Some(2))).await.unwrap())
}

impl Talker {
    /// Comes into the room over a wire that is whole or cut.
    pub async fn start(server: &Rc<Server>, name: &str, cut: bool) -> Self {
        let wire = Wire::start(server.udp());
        wire.cut(cut, cut);
        let (events_in, events) = mpsc::channel(CLIENT_EVENTS_MAX);
        let (voice_in, voice_events) = mpsc::channel(256);
        let (ended_in, ended) = oneshot::channel();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&heard);
        let tap = Box::new(move |_: MemberId, timestamp: u32, _: &[i16]| {
            ear.lock().unwrap().push((clock::now(), timestamp));
        });
        let config =
            VoiceConfig::new(InputChoice::Tone(440.0), OutputChoice::Null).sending(Sending::pcm());
        let voice = VoiceHandle::start_with_tap(config, voice_in, tap).unwrap();
        let settings = Settings {
            server: "inside".to_owned(),
            name: UserName::parse(name).unwrap(),
            room: RoomName::parse("hall").unwrap(),
            udp_port: Some(wire.address.port()),
            state: MemberState { muted: true, deafened: false, recording: false },
            agent: "test".to_owned(),
            device: None,
            target: Target { host: "inside".to_owned(), port: 1, fingerprint: None },
            keys: Keys::default(),
            asks: false,
        };
        let dialer = Inside { server: Rc::clone(server), address: server.tcp() };
        let control = ControlActor::new(Parts {
            core: ControlCore::new(settings, 3, clock::now()),
            dialer,
            voice: voice.clone(),
            voice_events,
            events: events_in,
            ended: ended_in,
        })
        .start();
        let mut talker = Self { voice, wire, control, events, ended, heard, told: Vec::new() };
        talker.wait_for(|event| matches!(event, Event::Joined { .. })).await;
        talker
    }

    /// Waits for an event.
    pub async fn wait_for(&mut self, what: impl Fn(&Event) -> bool) {
        let wait = async {
            loop {
                let event = self.events.recv().await.expect("the client goes on");
                let found = what(&event);
                self.told.push(event);
                if found {
                    return;
                }
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.expect("the event comes");
    }

    /// Waits until voice goes this way; `back` where that is said to be a return.
    pub async fn wait_for_path(&mut self, wanted: PathKind, wanted_back: bool) {
        self.wait_for(|event| {
            matches!(event, Event::Path { path, back } if *path == wanted && *back == wanted_back)
        })
        .await;
    }

    /// Everything told since the last call.
    pub fn news(&mut self) -> Vec<Event> {
        while let Ok(event) = self.events.try_recv() {
            self.told.push(event);
        }
        std::mem::take(&mut self.told)
    }

    /// What has been played so far.
    pub fn played(&self) -> Vec<Played> {
        self.heard.lock().unwrap().clone()
    }

    /// Waits until this many more packets have been played.
    pub async fn hear(&self, packets: usize) {
        let wanted = self.played().len() + packets;
        let wait = async {
            while self.heard.lock().unwrap().len() < wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.expect("speech goes on");
    }

    /// Leaves for good.
    pub async fn stop(self) {
        self.control.send(Ask { request: Request::Quit, permit: None }).await.unwrap();
        drop(self.events);
        let _ = tokio::time::timeout(DEADLINE, self.ended).await.expect("the client ends");
        self.voice.stop().await;
    }
}

/// How many packets are missing between the first and the last of these, and in the longest gap.
pub fn missing(played: &[Played]) -> (u32, u32) {
    let gaps: Vec<u32> = played
        .windows(2)
        .map(|pair| pair[1].1.wrapping_sub(pair[0].1) / FRAME)
        .inspect(|step| assert!((1..1_000_000).contains(step), "played twice, or out of order"))
        .map(|step| step - 1)
        .collect();
    (gaps.iter().sum(), gaps.iter().copied().max().unwrap_or(0))
}

/// The end of the test: every client leaves, and the server stops.
pub async fn finish(server: Rc<Server>, talkers: Vec<Talker>) {
    for talker in talkers {
        talker.stop().await;
    }
    if let Ok(server) = Rc::try_unwrap(server) {
        server.stop().await;
    }
}
