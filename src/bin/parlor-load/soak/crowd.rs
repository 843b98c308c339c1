//! The crowd: all members, what is on its way to them and from them, and the model of who should be where.
//!
//! One task owns all of it and deals with one thing at a time. Connections, orders and visitors are tasks of
//! their own, which only tell what came of them.

use super::acts::Storm;
use super::link::{Cut, News, Told};
use super::member::{Member, Stage};
use super::orders::{Order, Outcome};
use super::random::Random;
use super::server::SoakServer;
use super::tally::Tally;
use super::visitors::Visit;
use super::wire::{self, Weather};
use crate::connect::Connector;
use parlor::net::clock;
use parlor::net::device::DeviceKey;
use parlor::net::ids::{PacketIndex, Ssrc};
use parlor::net::limits::{
    CONTROL_SILENCE_MAX, KEEPALIVE_INTERVAL, LIVENESS_TIMEOUT, PING_INTERVAL,
};
use parlor::net::message::{ClientMessage, Envelope, GoodbyeReason, ServerMessage};
use parlor::net::rtcp::App;
use parlor::net::secret::Secret;
use parlor::net::udp::Receiver;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::UdpSocket;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// How often sockets are looked at.
const TICK: Duration = Duration::from_millis(10);
/// A tick that comes so late is worth a note.
const SLEEP: Duration = Duration::from_secs(5);
/// A keepalive without an answer is said again after this.
const KEEPALIVE_AGAIN: Duration = Duration::from_millis(300);
/// How often a member reports what he hears.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);
/// Packets of one who talks.
const PACKET_INTERVAL: Duration = Duration::from_millis(40);
/// How long an answer may take.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(90);
/// Sockets that were given up keep their ports for so long, so that nobody gets what was meant for another.
const GRAVE: Duration = Duration::from_secs(60);
/// Stays that ended so long ago say nothing any more.
const STAY_MEMORY_NS: u64 = 180_000_000_000;

/// What tasks tell the crowd.
pub enum Event {
    /// Of a member's connection.
    Link { member: usize, epoch: u32, news: News },
    /// What came of an order.
    Order { order: Order, outcome: Outcome },
    /// A visitor has gone.
    Visit(Visit),
}

/// Whose a stream is, and how far it is.
pub struct Speaker {
    /// Whose.
    pub member: usize,
    /// In which of his sessions.
    pub epoch: u32,
    /// The index of his next packet.
    pub index: PacketIndex,
}

/// Everything.
pub struct Crowd {
    /// The server.
    pub server: SoakServer,
    /// The way to it.
    pub connector: Connector,
    /// The members, by their numbers.
    pub members: Vec<Member>,
    /// The rooms that they go to.
    pub rooms: Vec<String>,
    /// What decides.
    pub random: Random,
    /// What was done, and what is wrong.
    pub tally: Tally,
    /// What happens to datagrams now.
    pub weather: Weather,
    /// What happens to everything else; nothing at quiet points.
    pub storm: Option<Storm>,
    /// All streams of sessions that may still be heard.
    pub speakers: HashMap<Ssrc, Speaker>,
    /// Receives for all voice sockets.
    pub receiver: Receiver,
    /// Ends connections that were left half-open.
    pub release: watch::Sender<u64>,
    /// Where tasks tell what came of them.
    pub told: Told<Event>,
    /// Orders from the console that are under way.
    pub orders_open: usize,
    /// Visitors who have not gone.
    pub visitors_open: usize,
    /// The server's process is stopped until then.
    pub paused_until: Option<Instant>,
    /// The server's wall clock is not right.
    pub wall_clock_off: bool,
    /// The roll call that was made last.
    pub call: u64,
    /// Who has heard whom answer it.
    pub heard_call: BTreeSet<(usize, usize)>,
    /// Answers to list requests at a quiet point.
    pub lists: HashMap<usize, ServerMessage>,
    events: mpsc::UnboundedReceiver<Event>,
    ticks: tokio::time::Interval,
    graves: VecDeque<(Instant, UdpSocket)>,
    last_tick: Instant,
    /// When this process was last found to have been kept waiting for long.
    slept: Option<Instant>,
}

impl Crowd {
    /// Members who have yet to come.
    pub fn new(server: SoakServer, members: u32, random: Random) -> anyhow::Result<Self> {
        let connector = Connector::new(server.tcp, false)?;
        let (told, events) = mpsc::unbounded_channel();
        let now = clock::now();
        let mut all = Vec::new();
        for number in 0..members {
            // Every other one has a device, so that he can be somebody whom the server knows.
            let device = match number % 2 {
                0 => Some(DeviceKey::from_seed(&Secret::random()?)?),
                _ => None,
            };
            all.push(Member::new(number, device, now));
        }
        let rooms = members.div_ceil(5).clamp(3, 40);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let weather = Weather::default();
        let receiver = Receiver::watching(&wire::socket(server.tcp)?, wire::WATCH)?;
        Ok(Self {
            server,
            connector,
            members: all,
            rooms: (1..=rooms).map(|k| format!("room {k}")).collect(),
            random,
            tally: Tally::default(),
            weather,
            storm: None,
            speakers: HashMap::new(),
            receiver,
            release: watch::Sender::new(0),
            told,
            orders_open: 0,
            visitors_open: 0,
            paused_until: None,
            wall_clock_off: false,
            call: 0,
            heard_call: BTreeSet::new(),
            lists: HashMap::new(),
            events,
            ticks,
            graves: VecDeque::new(),
            last_tick: now,
            slept: None,
        })
    }

    /// Goes on by one event, or by one tick if none comes before it.
    pub async fn step(&mut self) {
        tokio::select! {
            biased;
            _ = self.ticks.tick() => self.tick(),
            Some(event) = self.events.recv() => self.handle(event),
        }
    }

    /// Goes on until `done`, but no longer than so long. Whether it was done.
    pub async fn until(&mut self, most: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let deadline = clock::now() + most;
        loop {
            if done(self) {
                return true;
            }
            if clock::now() >= deadline {
                return false;
            }
            self.step().await;
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Link { member, epoch, news } => {
                let now = clock::now();
                let current = self.members.get(member).is_some_and(|m| {
                    m.epoch == epoch && matches!(m.stage, Stage::Here | Stage::Coming(_))
                });
                match news {
                    News::Message(message) if current => self.on_message(member, *message, now),
                    News::Ended(why) if current => {
                        self.tally.count("connections ended");
                        if let Some(member) = self.members.get_mut(member) {
                            member.ended = why;
                        }
                        self.lose(member, now);
                    }
                    _ => {}
                }
            }
            Event::Order { order, outcome } => {
                self.orders_open -= 1;
                self.on_outcome(order, outcome);
            }
            Event::Visit(visit) => {
                self.visitors_open -= 1;
                self.on_visit(visit);
            }
        }
    }

    /// Ends a member's connection so; he comes back with his secret, or as if for the first time.
    pub fn cut(&mut self, k: usize, cut: Cut, resumes: bool) {
        if let Some(member) = self.members.get_mut(k) {
            if let Some(link) = &member.link {
                link.cut(cut);
            }
            member.resumes = resumes;
        }
        self.lose(k, clock::now());
    }

    /// The connection is gone, whoever ended it: he comes back after a short while.
    fn lose(&mut self, k: usize, now: Instant) {
        let pause = Duration::from_millis(self.random.between(30, 1200));
        let Some(member) = self.members.get_mut(k) else { return };
        member.lose();
        member.stage = Stage::Away(now + pause);
        member.first_try = now;
        if let Some(voice) = member.voice.take() {
            self.graves.push_back((now, voice.wire.into_socket()));
        }
    }

    /// Keeps the port of a socket that is not used any more.
    pub fn bury(&mut self, socket: UdpSocket) {
        self.graves.push_back((clock::now(), socket));
    }

    fn tick(&mut self) {
        let now = clock::now();
        if now >= self.last_tick + SLEEP {
            self.tally.count("times that this process was kept waiting");
            self.slept = Some(now);
        }
        self.last_tick = now;
        if self.paused_until.is_some_and(|until| now >= until) {
            self.paused_until = None;
            self.server.pause(false);
        }
        if self.storm.is_some() {
            self.rage(now);
        }
        for k in 0..self.members.len() {
            self.tend(k, now);
        }
        while self.graves.front().is_some_and(|(since, _)| now >= *since + GRAVE) {
            self.graves.pop_front();
        }
    }

    /// What one member does by the clock.
    fn tend(&mut self, k: usize, now: Instant) {
        let Some(member) = self.members.get_mut(k) else { return };
        match member.stage {
            Stage::Away(until) if now >= until => return self.come(k, now),
            Stage::Away(_) => return,
            Stage::Coming(since) => {
                if now >= since + ANSWER_PATIENCE {
                    self.tally.fault(format!("member {k} gets no answer to his Hello"));
                    self.lose(k, now);
                }
                return;
            }
            Stage::Here => {}
        }
        if now >= member.next_ping {
            member.next_ping = now + PING_INTERVAL;
            member.send(None, ClientMessage::Ping { token: 0 });
        }
        // What every client does when nothing comes any more.
        if now >= member.last_heard + CONTROL_SILENCE_MAX {
            self.tally.count("connections given up in silence");
            return self.cut(k, Cut::Closed, true);
        }
        if let Some(open) = &member.open
            && now >= open.since + ANSWER_PATIENCE
        {
            let asked = format!("member {k} gets no answer to {:?}", open.asked);
            self.tally.fault(asked);
            return self.cut(k, Cut::Closed, false);
        }
        self.tend_voice(k, now);
        self.listen(k, now);
    }

    fn tend_voice(&mut self, k: usize, now: Instant) {
        let heard = self.heard_streams(k);
        let Some(member) = self.members.get_mut(k) else { return };
        let (number, epoch) = (member.number, member.epoch);
        let talks = member.talks_until.is_some_and(|until| now < until);
        let Some(voice) = &mut member.voice else { return };
        let mut out = Vec::new();
        if talks && now >= member.next_packet {
            // The pace is kept as far as the machine keeps up.
            member.next_packet = (member.next_packet + PACKET_INTERVAL).max(now);
            out.push(voice.speak(number, epoch, 0));
            self.tally.count("voice packets");
        }
        if now >= voice.next_keepalive {
            let pause = if voice.proven { KEEPALIVE_INTERVAL } else { KEEPALIVE_AGAIN };
            voice.next_keepalive = now + pause;
            let probe = self.random.next().to_be_bytes();
            out.push(voice.app(App::Path { stream: voice.by_stream }));
            out.push(voice.app(App::Keepalive(probe)));
        }
        if now >= voice.next_report && (talks || !heard.is_empty()) {
            voice.next_report = now + REPORT_INTERVAL;
            out.push(voice.report(&heard));
        }
        let (ssrc, index) = (voice.ssrc, voice.index);
        if let Some(speaker) = self.speakers.get_mut(&ssrc) {
            speaker.index = index;
        }
        for datagram in out {
            self.send_voice(k, &datagram, now);
        }
    }

    /// Sends a datagram the way that the member's voice goes.
    pub fn send_voice(&mut self, k: usize, datagram: &[u8], now: Instant) {
        let Self { members, random, tally, weather, .. } = self;
        let Some(member) = members.get_mut(k) else { return };
        let Some(voice) = &mut member.voice else { return };
        if voice.by_stream {
            let packet = datagram.to_vec();
            member.send(None, ClientMessage::Voice { packet });
        } else {
            voice.wire.up(datagram, weather, random, now, tally);
        }
    }

    fn on_message(&mut self, k: usize, message: Envelope<ServerMessage>, now: Instant) {
        // What had arrived before counts for before.
        if !matches!(message.body, ServerMessage::Voice { .. }) {
            self.listen(k, now);
        }
        let Some(member) = self.members.get_mut(k) else { return };
        member.last_heard = now;
        if let Err(wrong) = member.view.follow(&message.body) {
            self.tally.fault(format!("member {k} was told: {wrong}"));
        }
        let Some(member) = self.members.get_mut(k) else { return };
        if matches!(member.stage, Stage::Coming(_)) {
            match message.body {
                ServerMessage::Welcome(welcome) => self.on_welcome(k, &welcome, now),
                ServerMessage::Error { code, args } => self.on_refusal(k, code, &args, now),
                _ => {}
            }
            return;
        }
        match message.body {
            ServerMessage::Voice { packet } => self.hear_by_stream(k, packet, now),
            ServerMessage::Goodbye { reason, .. } => {
                self.tally.count("goodbyes");
                // A machine that lets this process sleep for long may cost it its connections.
                let slept = reason == GoodbyeReason::Timeout
                    && self.slept.is_some_and(|at| now < at + LIVENESS_TIMEOUT);
                if !member.sent_away && !slept {
                    let why = format!("member {k} is sent away without a cause: {reason:?}");
                    self.tally.fault(why);
                }
            }
            body => {
                let open = member.open.as_ref().map(|open| open.re);
                let more = matches!(
                    body,
                    ServerMessage::Joined { more: true, .. }
                        | ServerMessage::Members { more: true, .. }
                        | ServerMessage::Rooms { more: true, .. }
                        | ServerMessage::Users { more: true, .. }
                );
                if message.re.is_some() && message.re == open && !more {
                    self.on_answer(k, body);
                }
            }
        }
    }

    /// Forgets what cannot matter any more.
    pub fn tidy(&mut self) {
        let members = &self.members;
        self.speakers.retain(|_, speaker| {
            members.get(speaker.member).is_some_and(|member| member.epoch == speaker.epoch)
        });
        let speakers = &self.speakers;
        let now_ns = clock::unix_ns();
        for member in &mut self.members {
            let epoch = member.epoch;
            if let Some(voice) = &mut member.voice {
                voice.seen.retain(|ssrc, _| speakers.contains_key(ssrc));
            }
            member.stays.retain(|stay| {
                let old = stay.until_ns.is_some_and(|until| until + STAY_MEMORY_NS < now_ns);
                let ended = stay.epoch != epoch && stay.since_ns + 2 * STAY_MEMORY_NS < now_ns;
                !old && !ended
            });
        }
    }
}
