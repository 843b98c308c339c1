//! Voice from file to ear over loopback: bit-exact on a good network, intelligible and in time on a bad one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use parlor::actors::server::{Server, ServerConfig};
use parlor::client::voice::{
    InputChoice, OutputChoice, Sending, Transmit, VoiceConfig, VoiceEvent, VoiceHandle, VoicePath,
    VoiceSession, VoiceStats,
};
use parlor::net::codec::Codec;
use parlor::net::ids::MemberId;
use tokio::sync::mpsc;

use crate::support::listening::{self, judge};
use crate::support::peer::{DEADLINE, Peer};
use crate::support::random::Random;
use crate::support::relay::{Relay, Weather};

const FRAME: usize = 160;

/// Everything that a decoder has handed on: time stamp and samples, by speaker.
type Heard = Arc<Mutex<BTreeMap<MemberId, Vec<(u32, Vec<i16>)>>>>;

/// One client without a console: a bare control connection and a real voice side.
struct Client {
    peer: Peer,
    voice: VoiceHandle,
    events: mpsc::Receiver<VoiceEvent>,
    heard: Heard,
}

impl Client {
    async fn start(server: &Server, udp: SocketAddr, name: &str, config: VoiceConfig) -> Self {
        let (sender, events) = mpsc::channel(256);
        let heard = Heard::default();
        let tapped = Arc::clone(&heard);
        let tap = Box::new(move |id: MemberId, timestamp: u32, samples: &[i16]| {
            let mut heard = tapped.lock().unwrap();
            heard.entry(id).or_default().push((timestamp, samples.to_vec()));
        });
        let voice = VoiceHandle::start_with_tap(config, sender, tap).unwrap();
        let mut peer = Peer::connect(server, name).await;
        let welcome = &peer.welcome;
        voice.connect(VoiceSession {
            id: welcome.id,
            server: udp,
            protection: welcome.protection,
            up_key: welcome.up_key.clone(),
            down_key: welcome.down_key.clone(),
            streams: welcome.streams.clone(),
            control_ssrc: welcome.control_ssrc,
        });
        peer.join("hall").await;
        voice.enter_room(peer.members.values().cloned().collect());
        let mut client = Self { peer, voice, events, heard };
        client.wait_for(|event| matches!(event, VoiceEvent::Path(VoicePath::Udp))).await;
        client.peer.catch_up().await;
        client
    }

    async fn wait_for(&mut self, what: impl Fn(&VoiceEvent) -> bool) {
        let wait = async {
            while let Some(event) = self.events.recv().await {
                if what(&event) {
                    return;
                }
            }
            panic!("the voice side has ended");
        };
        tokio::time::timeout(DEADLINE, wait).await.expect("the event comes");
    }

    fn heard_from(&self, id: MemberId) -> Vec<(u32, Vec<i16>)> {
        self.heard.lock().unwrap().get(&id).cloned().unwrap_or_default()
    }

    /// Waits until this much of a speaker has been heard, and returns it.
    async fn hear(&self, id: MemberId, frames: usize) -> Vec<(u32, Vec<i16>)> {
        let wait = async {
            loop {
                let heard = self.heard_from(id);
                if heard.len() >= frames {
                    return heard;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(DEADLINE * 2, wait).await.expect("speech goes on")
    }
}

fn speech() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/speech.wav")
}

fn speech_samples() -> Vec<i16> {
    let mut reader = hound::WavReader::open(speech()).unwrap();
    assert_eq!((reader.spec().sample_rate, reader.spec().channels), (16_000, 1));
    reader.samples::<i16>().map(Result::unwrap).collect()
}

async fn server() -> Server {
    let any = "127.0.0.1:0".parse().unwrap();
    Server::start(ServerConfig::new(any, any, Some(2))).await.unwrap()
}

/// A speaker who reads the speech again and again, and a listener behind a relay or not.
async fn pair(
    server: &Server,
    listener_udp: SocketAddr,
    output: OutputChoice,
    sending: Sending,
) -> (Client, Client) {
    let input = InputChoice::Wav { path: speech(), repeat: true };
    let speaks = VoiceConfig::new(input, OutputChoice::Null).sending(sending);
    let speaker = Client::start(server, server.udp(), "anna", speaks).await;
    let listens = VoiceConfig::new(InputChoice::Silence, output);
    let listener = Client::start(server, listener_udp, "bert", listens).await;
    (speaker, listener)
}

/// Where each heard frame lies in the source, which repeats; panics if one is not in it bit for bit.
fn places(heard: &[(u32, Vec<i16>)], source: &[i16]) -> Vec<usize> {
    let around = [source, source].concat();
    let (first_timestamp, first) = &heard[0];
    // The first frame that is not all alike settles where the file was when the key went down.
    let start = around.windows(first.len()).position(|window| window == &first[..]);
    let start = start.expect("the first frame is in the source, bit for bit");
    let mut places = Vec::new();
    for (timestamp, samples) in heard {
        let offset = timestamp.wrapping_sub(*first_timestamp) as usize;
        let at = (start + offset) % source.len();
        assert_eq!(&around[at..at + samples.len()], &samples[..], "at {offset} samples");
        places.push(offset);
    }
    places
}

#[actix::test]
async fn without_loss_the_decoder_hands_on_exactly_what_was_said() {
    let server = server().await;
    let (speaker, listener) = pair(&server, server.udp(), OutputChoice::Null, Sending::pcm()).await;
    speaker.voice.set_transmit(Transmit::Open);
    let heard = listener.hear(speaker.peer.id(), 300).await;
    let places = places(&heard[1..], &speech_samples());
    let whole = places.windows(2).all(|pair| pair[1] - pair[0] == FRAME);
    assert!(whole, "every frame, once, in order");
    speaker.voice.stop().await;
    listener.voice.stop().await;
    server.stop().await;
}

#[actix::test]
async fn a_lossy_network_leaves_speech_intelligible_and_in_time() {
    let server = server().await;
    let down = Weather { loss_percent: 5, double_percent: 2, jitter_ms: 30 };
    let random = Random::from_env(5);
    let relay = Relay::start(server.udp(), Weather::default(), down, random);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("heard.wav");
    let output = OutputChoice::Wav(file.clone());
    let (speaker, listener) = pair(&server, relay.address, output, Sending::pcm()).await;
    speaker.voice.set_transmit(Transmit::Open);
    let frames = speech_samples().len() * 3 / 2 / FRAME;
    let heard = listener.hear(speaker.peer.id(), frames * 9 / 10).await;
    let offsets = places(&heard[1..], &speech_samples());
    assert!(offsets.windows(2).all(|pair| pair[1] > pair[0]), "in order, none twice");
    let stats: VoiceStats = listener.voice.stats().await;
    let figures = stats.speakers.iter().find(|s| s.id == speaker.peer.id()).unwrap();
    println!("{figures:?}");
    let share = offsets.len() as f64 / (*offsets.last().unwrap() as f64 / FRAME as f64);
    assert!(share > 0.88, "{share:.2} of the frames arrived in time, where 0.95 arrived at all");
    assert!(figures.lost > 0, "the network lost some");
    assert!(figures.buffer_ms < 400.0, "in time: {} ms of playout delay", figures.buffer_ms);
    speaker.voice.stop().await;
    listener.voice.stop().await;
    intelligible(&file);
    server.stop().await;
}

#[actix::test]
async fn opus_is_sent_by_default_and_codecs_change_in_mid_call_without_a_gap() {
    let server = server().await;
    let (speaker, mut listener) =
        pair(&server, server.udp(), OutputChoice::Null, Sending::default()).await;
    let id = speaker.peer.id();
    speaker.voice.set_transmit(Transmit::Open);
    listener.wait_for(|event| *event == VoiceEvent::Speaking { id, on: true }).await;
    listener.hear(id, 50).await;
    assert_eq!(speaker.voice.stats().await.sending.codec, Codec::Opus);
    speaker.voice.set_codec(Codec::Pcm);
    // L16 frames have 160 samples, those of Opus 480.
    let samples = |heard: &[(u32, Vec<i16>)]| heard.last().map(|(_, samples)| samples.len());
    let mut heard = listener.hear(id, 150).await;
    assert_eq!(samples(&heard), Some(160));
    speaker.voice.set_codec(Codec::Opus);
    heard = listener.hear(id, heard.len() + 100).await;
    assert_eq!(samples(&heard), Some(480));
    let stats = listener.voice.stats().await;
    let figures = stats.speakers.iter().find(|figures| figures.id == id).unwrap();
    assert_eq!(figures.lost, 0);
    speaker.voice.stop().await;
    listener.voice.stop().await;
    server.stop().await;
}

#[actix::test]
async fn where_packets_get_lost_on_the_way_down_the_speaker_sends_copies_that_repair_them() {
    let server = server().await;
    let down = Weather { loss_percent: 5, ..Weather::default() };
    let relay = Relay::start(server.udp(), Weather::default(), down, Random::from_env(5));
    let (speaker, listener) =
        pair(&server, relay.address, OutputChoice::Null, Sending::default()).await;
    let id = speaker.peer.id();
    speaker.voice.set_transmit(Transmit::Open);
    let copied = async {
        while speaker.voice.stats().await.sending.copies_ms.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, copied).await.expect("copies are sent");
    let repaired = async {
        loop {
            let stats = listener.voice.stats().await;
            let figures = stats.speakers.iter().find(|figures| figures.id == id);
            if figures.is_some_and(|figures| figures.repaired_red > 5) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, repaired).await.expect("losses are repaired");
    speaker.voice.stop().await;
    listener.voice.stop().await;
    server.stop().await;
}

/// Whether the sentences of the speech are in the recording, one after the other.
fn intelligible(file: &Path) {
    let mut reader = hound::WavReader::open(file).unwrap();
    assert_eq!((reader.spec().sample_rate, reader.spec().channels), (48_000, 1));
    let fine: Vec<f32> = reader.samples::<i16>().map(|s| f32::from(s.unwrap()) / 32768.0).collect();
    let heard: Vec<f32> =
        fine.chunks_exact(3).map(|three| three.iter().sum::<f32>() / 3.0).collect();
    let reference: Vec<f32> =
        speech_samples().into_iter().map(|sample| f32::from(sample) / 32768.0).collect();
    // The file was at an unknown place when the key went down: look for the whole of it once.
    let longest = listening::sentences(&reference).into_iter().max_by_key(|s| s.len()).unwrap();
    // Playout may shift inside it, so that only a part lies where it is looked for; each piece is judged below.
    let part = longest.len() / 3;
    let parts = (0..3).map(|k| {
        let begin = k * part;
        let place = longest.start + begin;
        (begin, listening::find(&reference[place..place + part], &heard))
    });
    let (begin, found) = parts.max_by(|a, b| a.1.correlation.total_cmp(&b.1.correlation)).unwrap();
    assert!(found.correlation > 0.7, "{found:?}");
    let sentence = &reference[longest];
    let start = found.at as f64 - begin as f64;
    let judged = judge(sentence, &heard, start, -1600.0..1600.0);
    let correlation = judged.iter().map(|s| s.correlation).fold(f64::INFINITY, f64::min);
    println!("correlation of the longest sentence {correlation:.3}");
    assert!(correlation > 0.6, "{judged:?}");
}
