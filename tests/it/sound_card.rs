//! Real sound, end to end: two clients on a sound card without hardware, a real server between
//! them. One is spoken to, the other is listened to.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::listening::{self, RATE, Sentence};
use crate::support::process::{Running, alive_with, command};
use crate::support::sound::{self, Recorder, Recording, Side, SoundCard};
use crate::support::tools;

/// How long anything may take to start, on a loaded machine.
const SOON: Duration = Duration::from_secs(30);
/// Sound that takes longer than this from mouth to ear is no conversation.
const LATENCY_MS_MAX: f64 = 1000.0;
/// What a sentence must have in common with what was said, in the band of telephone speech. Opus keeps its
/// sound, not its waveform; something else than what was said has below 0.5.
const CORRELATION_MIN: f64 = 0.75;
/// The same while the playout delay still settles.
const CORRELATION_MIN_FIRST: f64 = 0.7;
/// Sentences of the speech.
const SENTENCES: usize = 4;
/// Latency of the bare loop that stands in for Parlor.
const LOOP_MS: u16 = 150;
/// Rounds in which the sound card itself may lose sound before the test gives up.
const ROUNDS_MAX: usize = 4;

#[test]
fn two_people_hear_each_other() {
    if sound::missing("two_people_hear_each_other") {
        return;
    }
    let card = SoundCard::up();
    let mark = card.mark();
    let mut server = Server::start();
    // One after the other, so that the first hears the second come in.
    let mut alice = server.client(&card, Side::A, "Alice", &["--unmute"]);
    await_event(&mut alice, "joined", "room", "general");
    let mut bob = server.client(&card, Side::B, "Bob", &[]);
    await_event(&mut bob, "joined", "room", "general");
    await_event(&mut alice, "member_joined", "name", "Bob");
    for client in [&mut alice, &mut bob] {
        await_event(client, "path", "path", "udp");
    }
    await_event(&mut alice, "device_up", "direction", "input");
    await_event(&mut bob, "device_up", "direction", "output");

    // At first the playout delay comes down to what the path needs, which shifts speech a little.
    let judged = converse(&card, Side::A, Side::B);
    assert_eq!(judged.len(), SENTENCES);
    understood("mouth to ear, first words", &judged, CORRELATION_MIN_FIRST);
    let judged = converse(&card, Side::A, Side::B);
    assert_eq!(judged.len(), SENTENCES);
    let latency = understood("mouth to ear", &judged, CORRELATION_MIN);
    assert!(latency <= LATENCY_MS_MAX, "{latency:.0} ms from mouth to ear");

    for (name, mut client) in [("Alice", alice), ("Bob", bob)] {
        client.type_line("/exit");
        let status = client.wait_end(SOON);
        assert!(status.success(), "{name} ended with {status}: {:?}", client.said());
    }
    server.running.terminate();
    let status = server.running.wait_end(SOON);
    assert!(status.success(), "the server ended with {status}: {:?}", server.running.said());
    drop(card);
    assert_eq!(alive_with(&mark), Vec::<String>::new(), "something was left running");
}

/// Devices that go in mid-call are a message, text goes on, and sound comes back with them.
#[test]
fn sound_comes_back_when_the_device_does() {
    if sound::missing("sound_comes_back_when_the_device_does") {
        return;
    }
    let mut card = SoundCard::up();
    let server = Server::start();
    let mut alice = server.client(&card, Side::A, "Alice", &["--unmute"]);
    let mut bob = server.client(&card, Side::B, "Bob", &[]);
    for client in [&mut alice, &mut bob] {
        await_event(client, "path", "path", "udp");
        await_event(client, "device_up", "direction", "input");
        await_event(client, "device_up", "direction", "output");
    }
    card.unplug();
    await_event(&mut alice, "device_down", "direction", "input");
    await_event(&mut bob, "device_down", "direction", "output");
    alice.type_line("can you read this?");
    await_event(&mut bob, "chat", "text", "can you read this?");
    let (before_a, before_b) = (count(&mut alice, "device_up"), count(&mut bob, "device_up"));
    card.plug_back();
    for (client, before) in [(&mut alice, before_a), (&mut bob, before_b)] {
        let deadline = parlor::net::clock::now() + SOON;
        let back = crate::support::process::poll_until(deadline, || {
            (count(client, "device_up") >= before + 2).then_some(())
        });
        assert!(back.is_some(), "devices do not come back: {:?}", client.said());
    }
    // While the first sentence is spoken, buffers settle on the new devices; then all is as before.
    let judged = converse(&card, Side::A, Side::B);
    assert_eq!(judged.len(), SENTENCES);
    let latency = understood("after the device came back", &judged[1..], CORRELATION_MIN_FIRST);
    assert!(latency <= LATENCY_MS_MAX, "{latency:.0} ms from mouth to ear");
}

/// Another microphone and another loudspeaker in mid-call, without a reconnect; and one that cannot be had.
#[test]
fn a_call_goes_on_with_another_microphone_and_another_loudspeaker() {
    if sound::missing("a_call_goes_on_with_another_microphone_and_another_loudspeaker") {
        return;
    }
    let card = SoundCard::up();
    let server = Server::start();
    let mut alice = server.client(&card, Side::A, "Alice", &["--unmute"]);
    let mut bob = server.client(&card, Side::B, "Bob", &[]);
    for client in [&mut alice, &mut bob] {
        await_event(client, "path", "path", "udp");
        await_event(client, "device_up", "direction", "input");
        await_event(client, "device_up", "direction", "output");
    }
    alice.type_line("/input nonsense");
    await_event(&mut alice, "device_refused", "name", "nonsense");
    alice.type_line("/devices");
    let used = alice.wait_for("a list of devices", SOON, |line| {
        let told: Value = serde_json::from_str(line).ok()?;
        let inputs = told.get("inputs")?.as_array()?.clone();
        inputs.into_iter().find(|device| device["used"] == true)
    });
    assert!(used["name"].as_str().unwrap().contains("mic_a"), "{used}");
    // The other side's microphone, which lies on the same card.
    let before = count(&mut alice, "device_up");
    alice.type_line(&format!("/input {}.monitor", Side::B.microphone()));
    let deadline = parlor::net::clock::now() + SOON;
    let up = crate::support::process::poll_until(deadline, || {
        (count(&mut alice, "device_up") > before).then_some(())
    });
    assert!(up.is_some(), "the other microphone does not run: {:?}", alice.said());
    converse(&card, Side::B, Side::B);
    let judged = converse(&card, Side::B, Side::B);
    understood("another microphone in mid-call", &judged, CORRELATION_MIN_FIRST);
    // And the tone comes out of the loudspeaker that was taken.
    bob.type_line(&format!("/output {}", Side::A.loudspeaker()));
    let up = crate::support::process::poll_until(parlor::net::clock::now() + SOON, || {
        (count(&mut bob, "device_up") > 2).then_some(())
    });
    assert!(up.is_some(), "the other loudspeaker does not run: {:?}", bob.said());
    let recorder = card.record(Side::A.loudspeaker());
    recorder.wait_awake();
    bob.type_line("/tone");
    await_event(&mut bob, "tone", "event", "tone");
    let heard = finish_after_play(recorder);
    let loudest = heard.samples.iter().fold(0.0f32, |most, sample| most.max(sample.abs()));
    assert!(loudest > 0.02, "no tone: {loudest}");
    for client in [&mut alice, &mut bob] {
        assert_eq!((count(client, "welcome"), count(client, "lost")), (1, 0), "no reconnect");
    }
}

/// How many events of this kind a client has told of.
fn count(client: &mut Running, kind: &str) -> usize {
    let fits = |line: &&String| {
        serde_json::from_str::<Value>(line).is_ok_and(|event| event["event"] == kind)
    };
    client.said().iter().filter(fits).count()
}

/// The control of the test above: with a bare loop in the place of Parlor everything is heard, and
/// after it nothing is left.
#[test]
fn a_bare_loop_through_the_sound_card_is_heard_whole() {
    if sound::missing("a_bare_loop_through_the_sound_card_is_heard_whole") {
        return;
    }
    let card = SoundCard::up();
    let mark = card.mark();
    assert!(!alive_with(&mark).is_empty(), "the mark does not find the sound server");
    card.loop_back(Side::A.microphone(), Side::B.loudspeaker(), LOOP_MS);
    let latency = understood("bare loop", &converse(&card, Side::A, Side::B), CORRELATION_MIN);
    assert!((latency - f64::from(LOOP_MS)).abs() < 60.0, "a loop of {LOOP_MS} ms has {latency} ms");
    drop(card);
    assert_eq!(alive_with(&mark), Vec::<String>::new(), "something was left running");
}

/// A server on ports that the system picked.
struct Server {
    running: Running,
    tcp: String,
    udp_port: String,
}

impl Server {
    fn start() -> Self {
        let mut program = command(env!("CARGO_BIN_EXE_parlor-server"));
        program.args(["--tcp", "127.0.0.1:0", "--udp", "127.0.0.1:0"]);
        let mut running = Running::start("parlor-server", program);
        let (tcp, udp) = running.wait_for("start line", SOON, |line| {
            let (tcp, udp) = line.strip_prefix("listening on tcp ")?.split_once(" and udp ")?;
            Some((tcp.to_owned(), udp.to_owned()))
        });
        let (_, udp_port) = udp.rsplit_once(':').unwrap();
        Self { running, tcp, udp_port: udp_port.to_owned() }
    }

    fn client(&self, card: &SoundCard, side: Side, name: &str, more: &[&str]) -> Running {
        let mut program = command(env!("CARGO_BIN_EXE_parlor"));
        program
            .args(["--name", name, "--room", "general", "--json", "--server", &self.tcp])
            .args(["--udp-port", &self.udp_port])
            // On the command line, where the mark can be seen: the memory and environment of the
            // programs cannot be read from outside.
            .args(["--state-dir", &format!("{}/state-of-{name}", card.mark())])
            .args(more);
        isolate(&mut program, &card.mark());
        card.plug_in(side, &mut program);
        Running::start(name, program)
    }
}

/// Keeps a program away from the user's own settings.
fn isolate(program: &mut Command, folder: &str) {
    program.env("HOME", folder).env("XDG_RUNTIME_DIR", folder).env("LC_ALL", "C.UTF-8");
}

/// Speaks into one side's microphone and judges what comes out of the other's loudspeaker.
///
/// The microphone is recorded too. Where the sound card itself lost sound (a machine that was too
/// busy), the round says nothing about Parlor and is done again.
fn converse(card: &SoundCard, from: Side, to: Side) -> Vec<Sentence> {
    for _ in 0..ROUNDS_MAX {
        let microphone = card.record(from.microphone());
        let loudspeaker = card.record(to.loudspeaker());
        microphone.wait_awake();
        loudspeaker.wait_awake();
        card.play(from.microphone(), &speech_file());
        let said = finish_after_play(microphone);
        let heard = finish_after_play(loudspeaker);
        let control = judge_whole(&said);
        if !is_faithful(&control) {
            tools::say(&format!("the sound card lost sound, once more: {}", brief(&control)));
            continue;
        }
        let mut lags: Vec<f64> = control.iter().map(|sentence| sentence.lag).collect();
        let said_at = listening::median(&mut lags) + between(&said, &heard);
        let lags = -0.05 * RATE as f64..2.5 * RATE as f64;
        return listening::judge(&speech(), &heard.samples, said_at, lags);
    }
    panic!("the sound card lost sound in each of {ROUNDS_MAX} rounds: the machine is too busy");
}

/// Samples from the start of `heard` to the start of `said`.
fn between(said: &Recording, heard: &Recording) -> f64 {
    let ahead = said.start.saturating_duration_since(heard.start).as_secs_f64();
    let behind = heard.start.saturating_duration_since(said.start).as_secs_f64();
    (ahead - behind) * RATE as f64
}

/// Ends a recording when the longest latency that is looked for has passed.
fn finish_after_play(recorder: Recorder) -> Recording {
    recorder.wait_past(parlor::net::clock::now() + Duration::from_millis(1500));
    recorder.finish()
}

fn judge_whole(recording: &Recording) -> Vec<Sentence> {
    let lags = 0.0..recording.samples.len() as f64;
    listening::judge(&speech(), &recording.samples, 0.0, lags)
}

fn is_faithful(judged: &[Sentence]) -> bool {
    judged.len() == SENTENCES
        && judged.iter().all(|s| s.correlation > 0.98 && s.drop_outs.is_empty())
}

/// Asserts that every sentence came through whole; the latency in ms, which is also printed.
fn understood(what: &str, judged: &[Sentence], correlation_min: f64) -> f64 {
    let mut latencies: Vec<f64> = judged.iter().map(|s| s.lag * 1000.0 / RATE as f64).collect();
    let latency = listening::median(&mut latencies);
    let each = brief(judged);
    tools::say(&format!("real sound, {what}: latency {latency:.0} ms (median), {each}"));
    for sentence in judged {
        assert!(sentence.correlation >= correlation_min, "not what was said: {sentence:?}");
        assert!(sentence.drop_outs.is_empty(), "sound was lost: {sentence:?}");
    }
    latency
}

fn brief(judged: &[Sentence]) -> String {
    let each = judged.iter().map(|s| {
        let lost: usize = s.drop_outs.iter().map(|d| d.length_ms).sum();
        format!("{:.0} ms/{:.3}/{lost}", s.lag * 1000.0 / RATE as f64, s.correlation)
    });
    let each: Vec<String> = each.collect();
    format!("each sentence's lag/correlation/ms lost: {}", each.join(", "))
}

fn speech_file() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/speech.wav")
}

fn speech() -> Vec<f32> {
    let mut file = hound::WavReader::open(speech_file()).unwrap();
    assert_eq!(file.spec().sample_rate as usize, RATE);
    assert_eq!(file.spec().channels, 1);
    file.samples::<i16>().map(|sample| f32::from(sample.unwrap()) / 32768.0).collect()
}

/// Waits until a client has told of an event with this field.
fn await_event(client: &mut Running, event: &str, field: &str, value: &str) {
    client.wait_for(&format!("{event} with {field} {value}"), SOON, |line| {
        let told: Value = serde_json::from_str(line).ok()?;
        (told.get("event")? == event && told.get(field)? == value).then_some(())
    });
}
