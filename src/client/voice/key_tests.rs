//! From a key to the first packet and from its release to the last, in virtual time: the terminal's keys through the
//! console's core and the capture core, with a microphone that gives a block each 10 ms.
//!
//! Figures are printed. What a real machine adds to them is measured over sockets in `handle_tests` and `tests/it`.

use super::capture::Capture;
use super::chain::gate::Transmit;
use super::chain::rooms::speech;
use super::jitter::Packet;
use super::packetizer::Outgoing;
use super::playback::{BLOCK, Playback, ToPlayback};
use super::sending::Sending;
use super::speaker::Arrived;
use crate::client::app::{App, Effect, Input};
use crate::client::console::keyboard::Keyboard;
use crate::client::control::request::Request;
use crate::client::event::{Event, SessionNumber};
use crate::client::ptt::{Mode, Release};
use crate::client::remote::Order;
use crate::client::talk_key::TalkKey;
use crate::net::clock;
use crate::net::codec::OPUS_RATE;
use crate::net::frames::frames;
use crate::net::ids::{MemberId, Ssrc};
use crate::net::message::StreamGrant;
use crate::net::name::{RoomName, UserName};
use crate::net::rtp::RtpPacket;
use crossterm::event::{
    Event as TerminalEvent, KeyCode, KeyEvent, KeyEventKind, KeyEventState, KeyModifiers,
};
use std::time::{Duration, Instant};

/// Samples that the microphone gives each 10 ms.
const DEVICE_BLOCK: usize = 480;
/// Most between a key and its first packet, in ms.
const FIRST_MS_MAX: u64 = 30;
/// One frame and the tail behind the key, in ms.
const LAST_MS_MAX: u64 = 10 + 150;
/// The same where only repetition shows that it is held.
const LAST_MS_MAX_GUESSED: u64 = 150;

/// A packet that was sent.
struct Sent {
    at_ms: u64,
    /// Media time in ms: of sound since the beginning.
    media_ms: u64,
    empty: bool,
    packet: Option<Packet>,
}

/// A client at a terminal.
struct Desk {
    keyboard: Keyboard,
    app: App,
    capture: Capture,
    transmit: Transmit,
    begin: Instant,
    ms: u64,
    /// When the microphone's blocks come.
    phase: u64,
    sound: Vec<f32>,
    sent: Vec<Sent>,
}

impl Desk {
    fn new(release: Release, phase: u64) -> Self {
        let begin = clock::now();
        let mut app = App::new(Some(release), Mode::PushToTalk, false);
        let name = UserName::parse("Ann").unwrap();
        let (id, agent, session) = (MemberId(1), String::new(), SessionNumber(1));
        let welcome = Event::Welcome { id, name, agent, resumed: false, session };
        app.handle(Input::Event(welcome), begin);
        let joined = Event::Joined { room: RoomName::parse("den").unwrap(), members: Vec::new() };
        app.handle(Input::Event(joined), begin);
        let mut capture = Capture::new(Sending::default()).unwrap();
        capture.set_streams(&[StreamGrant { ssrc: Ssrc(4), clock_hz: OPUS_RATE }], 0, 0);
        let keyboard = Keyboard::new(release, TalkKey::default());
        let (transmit, sent) = (Transmit::Shut, Vec::new());
        Self { keyboard, app, capture, transmit, begin, ms: 0, phase, sound: speech(), sent }
    }

    fn now(&self) -> Instant {
        self.begin + Duration::from_millis(self.ms)
    }

    fn give(&mut self, input: Input) {
        for effect in self.app.handle(input, self.now()) {
            if let Effect::Ask(Request::Transmit { transmit, .. }) = effect {
                self.transmit = transmit;
            }
        }
    }

    fn key(&mut self, c: char, kind: KeyEventKind) {
        let (code, state) = (KeyCode::Char(c), KeyEventState::NONE);
        let key = KeyEvent::new_with_kind_and_state(code, KeyModifiers::NONE, kind, state);
        let now = self.now();
        if let Some(input) = self.keyboard.input(TerminalEvent::Key(key), now) {
            self.give(input);
        }
    }

    /// Time passes: ticks come when they are due, and the microphone's blocks.
    fn pass(&mut self, ms: u64) {
        for _ in 0..ms {
            self.ms += 1;
            let now = self.now();
            if self.app.deadline().is_some_and(|at| at <= now) {
                self.give(Input::Tick);
            }
            let block = if self.ms % 10 == self.phase { DEVICE_BLOCK } else { 0 };
            let from = usize::try_from(self.ms).unwrap() / 10 * DEVICE_BLOCK;
            let heard: Vec<f32> = (from..from + block)
                .map(|k| self.sound.get(k % self.sound.len()).copied().unwrap_or(0.0))
                .collect();
            let (sent, at_ms) = (&mut self.sent, self.ms);
            self.capture.hear(&heard, self.transmit, &mut |out: Outgoing<'_>| {
                let RtpPacket { header, payload } = RtpPacket::parse(out.bytes).unwrap();
                let own = frames(header.payload_type, out.clock_hz, payload).ok();
                let duration = own.and_then(|own| own.last()).map(|own| own.duration);
                let packet = duration.map(|duration| Packet {
                    index: out.index.0,
                    timestamp: header.timestamp,
                    marker: header.marker,
                    duration,
                    payload_type: header.payload_type,
                    payload: payload.to_vec(),
                });
                let media_ms = u64::from(header.timestamp) / 48;
                let empty = payload.is_empty();
                sent.push(Sent { at_ms, media_ms, empty, packet });
            });
        }
    }

    /// When the first packet went out, and the last that holds a voice.
    fn first_and_last(&self) -> (u64, u64) {
        let first = self.sent.first().map(|sent| sent.at_ms).unwrap();
        let last = self.sent.iter().rfind(|sent| !sent.empty).map(|sent| sent.at_ms).unwrap();
        (first, last)
    }
}

/// From the key to the first packet and from its release to the last, in ms: the longest of all phases.
fn longest(mut one: impl FnMut(u64) -> (u64, u64)) -> (u64, u64) {
    (0..10).map(&mut one).fold((0, 0), |(a, b), (c, d)| (a.max(c), b.max(d)))
}

#[test]
fn a_key_with_release_talks_within_a_frame_and_ends_within_a_frame_and_the_tail() {
    let (first, last) = longest(|phase| {
        let mut desk = Desk::new(Release::Reported, phase);
        desk.pass(1000);
        desk.key('`', KeyEventKind::Press);
        desk.pass(2000);
        desk.key('`', KeyEventKind::Release);
        desk.pass(1000);
        let (first, last) = desk.first_and_last();
        (first - 1000, last.saturating_sub(3000))
    });
    println!("kitty: first packet {first} ms after the key, last {last} ms after its release");
    assert!(first < FIRST_MS_MAX && last <= LAST_MS_MAX, "{first} {last}");
}

#[test]
fn an_order_or_a_listener_talks_within_a_frame_and_ends_within_a_frame_and_the_tail() {
    let ways = [
        ("socket", Input::Remote(Order::Press), Input::Remote(Order::Release)),
        ("listener", Input::TalkKey(true), Input::TalkKey(false)),
    ];
    for (name, down, up) in ways {
        let (first, last) = longest(|phase| {
            let mut desk = Desk::new(Release::Guessed, phase);
            desk.pass(1000);
            desk.give(down.clone());
            desk.pass(2000);
            desk.give(up.clone());
            desk.pass(1000);
            let (first, last) = desk.first_and_last();
            (first - 1000, last.saturating_sub(3000))
        });
        println!("{name}: first packet {first} ms after it, last {last} ms after the release");
        assert!(first < FIRST_MS_MAX && last <= LAST_MS_MAX, "{name}: {first} {last}");
    }
}

#[test]
fn by_repetition_a_key_talks_within_a_frame_and_ends_soon_after_it_was_let_go() {
    // How long a keyboard waits before it repeats, how often it does then, when the key is let go after that.
    for (wait, every) in [(250, 33), (500, 40), (660, 25), (250, 92), (500, 100)] {
        for after in [1, every / 2, every - 1] {
            let (first, last) = longest(|phase| {
                let mut desk = Desk::new(Release::Guessed, phase);
                desk.pass(1000);
                desk.key('`', KeyEventKind::Press);
                desk.pass(wait);
                for _ in 0..20 {
                    desk.key('`', KeyEventKind::Press);
                    desk.pass(every);
                }
                desk.key('`', KeyEventKind::Press);
                desk.pass(after);
                let let_go = desk.ms;
                desk.pass(1000);
                let spurts = desk.sent.windows(2).filter(|w| w[0].empty && !w[1].empty).count();
                assert_eq!(spurts, 0, "it never closes while the key repeats");
                let (first, last) = desk.first_and_last();
                (first - 1000, last.saturating_sub(let_go))
            });
            if after == 1 {
                println!("repeat {wait}/{every}: first packet {first} ms, last {last} ms");
            }
            assert!(first < FIRST_MS_MAX && last <= LAST_MS_MAX_GUESSED, "{first} {last}");
        }
    }
}

#[test]
fn on_a_line_with_text_a_tap_types_and_holding_sends_all_since_the_key_went_down() {
    for phase in 0..10 {
        let mut desk = Desk::new(Release::Reported, phase);
        "hi".chars().for_each(|c| desk.key(c, KeyEventKind::Press));
        desk.pass(1000);
        desk.key('`', KeyEventKind::Press);
        desk.pass(179);
        desk.key('`', KeyEventKind::Release);
        assert_eq!(desk.app.editor().text(), "hi`");
        desk.pass(1000);
        assert!(desk.sent.is_empty(), "what is typed is not heard");
        let pressed = desk.ms;
        desk.key('`', KeyEventKind::Press);
        desk.pass(180 + 10);
        let (first, _) = desk.first_and_last();
        assert!(first - pressed <= 180 + 10, "decided after {} ms", first - pressed);
        desk.pass(1500);
        desk.key('`', KeyEventKind::Release);
        desk.pass(500);
        assert_eq!(desk.app.editor().text(), "hi`", "holding types nothing");
        let said: Vec<&Sent> = desk.sent.iter().filter(|sent| !sent.empty).collect();
        // A block that came when the key went down holds the 10 ms before.
        let from = said[0].media_ms;
        assert!(from <= pressed && from + 170 >= pressed, "from {from}, pressed at {pressed}");
        assert!(said.windows(2).all(|w| w[1].media_ms == w[0].media_ms + 10), "without a gap");
    }
}

#[test]
fn what_was_waited_for_is_caught_up_within_a_second() {
    let mut desk = Desk::new(Release::Reported, 3);
    "hi".chars().for_each(|c| desk.key(c, KeyEventKind::Press));
    desk.pass(1000);
    desk.key('`', KeyEventKind::Press);
    desk.pass(4000);
    let first = desk.first_and_last().0;
    let mut playback = Playback::new(None);
    let mut sent = desk.sent.iter().peekable();
    let mut behind = Vec::new();
    // Half a block each 1.25 ms would be no different: a block each 2.5 ms.
    for step in 0..(4000 * 2 / 5) {
        let now = desk.begin + Duration::from_micros((first + 1) * 1000 + step * 2500);
        while let Some(next) = sent.next_if(|s| desk.begin + Duration::from_millis(s.at_ms) <= now)
        {
            let at = desk.begin + Duration::from_millis(next.at_ms);
            if let Some(packet) = next.packet.clone() {
                let (member, ssrc, clock_hz) = (MemberId(1), Ssrc(4), OPUS_RATE);
                playback.handle(ToPlayback::Packet(Arrived { member, ssrc, clock_hz, packet, at }));
            }
        }
        let played = playback.render(now);
        assert_eq!(played.len(), BLOCK);
        if let Some(figures) = playback.figures().first() {
            behind.push((step * 5 / 2, figures.buffer_ms));
        }
    }
    let at = |ms: u64| behind.iter().find(|(at, _)| *at >= ms).map(|(_, b)| *b).unwrap_or(0.0);
    let most = behind.iter().map(|(_, b)| *b).fold(0.0, f32::max);
    println!(
        "held late: at most {most:.0} ms in the buffer; after 0.5 s {:.0}, 1 s {:.0}, 2 s {:.0} ms",
        at(500),
        at(1000),
        at(2000)
    );
    assert!(at(1000) < at(3000) + 25.0, "not caught up after a second: {:.0} ms", at(1000));
}
