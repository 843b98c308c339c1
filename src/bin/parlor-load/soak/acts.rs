//! The storm: what members do and what befalls them, as the random source says.

use super::crowd::Crowd;
use super::link::Cut;
use super::member::{Asked, Stage};
use super::orders::Order;
use super::visitors::Errand;
use super::wire::Weather;
use parlor::net::message::{ClientMessage, MemberState};
use parlor::net::secret::Password;
use std::time::{Duration, Instant};

/// What members do in a second, each.
const ACTS_PER_SECOND: f64 = 5.0;
/// Faults of connections, orders and visits in a second, for each member.
const FAULTS_PER_SECOND: f64 = 0.04;
const ORDERS_PER_SECOND: f64 = 0.02;
const VISITS_PER_SECOND: f64 = 0.25;
/// Orders under way at once, and visitors.
const ORDERS_MAX: usize = 2;
const VISITORS_MAX: usize = 8;
/// Who talks at the same time, as one of so many.
const TALKERS: usize = 6;
/// How late an act may be.
const LATE_MAX: Duration = Duration::from_millis(100);
/// The weather changes this often.
const WEATHER_INTERVAL: Duration = Duration::from_secs(3);

/// The storm's clock.
pub struct Storm {
    next_act: Instant,
    next_fault: Instant,
    next_order: Instant,
    next_visit: Instant,
    next_weather: Instant,
    visitors: u64,
    /// Connections may be left to the server's own timeouts.
    pub ghosts: usize,
    /// The server may be stopped once, for so long.
    pub pause: Option<(Instant, Duration)>,
}

impl Storm {
    /// A storm that begins now.
    pub fn new(now: Instant, ghosts: usize, pause: Option<(Instant, Duration)>) -> Self {
        Self {
            next_act: now,
            next_fault: now,
            next_order: now,
            next_visit: now,
            next_weather: now,
            visitors: 0,
            ghosts,
            pause,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Switch,
    Leave,
    State,
    Text,
    Private,
    Rename,
    ListRooms,
    ListUsers,
    Talk,
    Turn,
    Register,
    Port,
    Jump,
    ClockJump,
}

const ACTS: [(u32, Act); 14] = [
    (200, Act::Switch),
    (40, Act::Leave),
    (260, Act::State),
    (120, Act::Text),
    (30, Act::Private),
    (25, Act::Rename),
    (20, Act::ListRooms),
    (20, Act::ListUsers),
    (120, Act::Talk),
    (25, Act::Turn),
    (4, Act::Register),
    (30, Act::Port),
    (30, Act::Jump),
    (20, Act::ClockJump),
];

const CUTS: [(u32, (Cut, &str)); 6] = [
    (30, (Cut::Closed, "connections cut: closed")),
    (20, (Cut::Reset, "connections cut: reset")),
    (20, (Cut::MidFrame, "connections cut: in mid-frame")),
    (25, (Cut::HalfOpen, "connections left half-open")),
    (15, (Cut::HalfOpenMidFrame, "connections left half-open in mid-frame")),
    (10, (Cut::Garbage, "connections cut: bytes that are no TLS")),
];

impl Crowd {
    /// Everything of the storm that is due.
    pub fn rage(&mut self, now: Instant) {
        let Some(mut storm) = self.storm.take() else { return };
        let each = self.members.len() as f64;
        let pace = |per_second: f64| Duration::from_secs_f64(1.0 / (per_second * each).max(0.01));
        let due = |next: &mut Instant, every: Duration| {
            let is_due = now >= *next;
            if is_due {
                // What this machine is too late with is left out, not made up for.
                *next = (*next + every).max(now - LATE_MAX);
            }
            is_due
        };
        if due(&mut storm.next_weather, WEATHER_INTERVAL) {
            self.weather = Weather::storm(&mut self.random);
        }
        while due(&mut storm.next_act, pace(ACTS_PER_SECOND)) {
            self.act(now);
        }
        let asleep = self.paused_until.is_some();
        if due(&mut storm.next_order, pace(ORDERS_PER_SECOND)) && !asleep {
            self.keep_order();
        }
        if due(&mut storm.next_visit, pace(VISITS_PER_SECOND)) && self.visitors_open < VISITORS_MAX
        {
            storm.visitors += 1;
            self.visit(storm.visitors);
        }
        if due(&mut storm.next_fault, pace(FAULTS_PER_SECOND)) {
            let ghost = storm.ghosts > 0 && self.random.per_mille(300);
            if self.break_connection(ghost) && ghost {
                storm.ghosts -= 1;
            }
        }
        if let Some((at, length)) = storm.pause
            && now >= at
            && self.orders_open == 0
            && self.members.iter().all(|member| !member.locked)
        {
            storm.pause = None;
            self.sleep(now, length);
        }
        self.storm = Some(storm);
    }

    fn sleep(&mut self, now: Instant, length: Duration) {
        if self.server.pause(true) {
            self.tally.count("pauses of the server's process");
            self.paused_until = Some(now + length);
        }
    }

    fn any(&mut self, fits: impl Fn(&super::member::Member) -> bool) -> Option<usize> {
        let fitting: Vec<usize> =
            self.members.iter().enumerate().filter(|(_, m)| fits(m)).map(|(k, _)| k).collect();
        self.random.pick(&fitting).copied()
    }

    fn any_room(&mut self) -> String {
        self.random.pick(&self.rooms).cloned().unwrap_or_default()
    }

    fn act(&mut self, now: Instant) {
        let Some(k) = self.any(|member| member.is_free()) else { return };
        let Some(act) = self.random.weighted(&ACTS) else { return };
        let room = self.any_room();
        let number = self.random.next();
        let other = self.any(|_| true).unwrap_or(0);
        let other = self.members.get(other).map(|m| m.name.clone()).unwrap_or_default();
        let talkers = self.members.iter().filter(|m| m.talks_until.is_some_and(|t| now < t));
        let crowded = talkers.count() >= self.members.len().div_ceil(TALKERS);
        let Self { members, tally, .. } = self;
        let Some(member) = members.get_mut(k) else { return };
        let nowhere = member.room.is_none();
        match act {
            Act::Leave if !nowhere => member.ask(Asked::Leave, ClientMessage::Leave, now),
            Act::Switch | Act::Leave => {
                member.ask(Asked::Join(room.clone()), ClientMessage::join(&room), now);
            }
            Act::State => {
                let state = MemberState {
                    muted: number & 1 == 0,
                    deafened: number & 2 == 0,
                    recording: false,
                };
                member.ask(Asked::State(state), ClientMessage::State(state), now);
            }
            Act::Text if !nowhere => {
                let text = format!("text {number:x} ").repeat(1 + (number % 20) as usize);
                member.ask(Asked::Text(text.clone()), ClientMessage::Chat { text }, now);
            }
            Act::Text | Act::Private => {
                let text = "between us".to_owned();
                member.ask(Asked::Private, ClientMessage::Private { to: other, text }, now);
            }
            // A name that is kept, or silenced, is not changed.
            Act::Rename if !member.registered && member.silenced_ns.is_none() => {
                member.renames += 1;
                let name = format!("soak {} take {}", member.number, member.renames % 1000);
                member.ask(Asked::Rename(name.clone()), ClientMessage::Rename { name }, now);
            }
            Act::ListRooms => member.ask(Asked::ListRooms, ClientMessage::ListRooms, now),
            Act::ListUsers if !nowhere => {
                let body = ClientMessage::ListUsers { room: None };
                member.ask(Asked::ListUsers, body, now);
            }
            Act::Talk if !crowded => {
                tally.count("talkspurts");
                member.talks_until = Some(now + Duration::from_millis(500 + number % 6000));
                member.next_packet = now;
            }
            Act::Register if member.device.is_some() => {
                let on = !member.registered;
                let body = match Password::new(format!("password {}", member.number)) {
                    Ok(password) if on => ClientMessage::Register { password },
                    _ => ClientMessage::Unregister,
                };
                member.ask(Asked::Register(on), body, now);
            }
            Act::Turn => {
                let by_stream = member.voice.as_ref().is_some_and(|voice| voice.by_stream);
                tally.count("turns between datagrams and connection");
                self.turn(k, !by_stream, now);
            }
            Act::Port => self.change_port(k, now),
            Act::Jump => {
                if let Some(voice) = &mut member.voice {
                    tally.count("jumps of sequence number and timestamp");
                    voice.jump((number % 4000) as u16, (number >> 32) as u32);
                }
            }
            Act::ClockJump => {
                if let Some(voice) = &mut member.voice {
                    tally.count("jumps of a reporting clock");
                    voice.ntp_jump = number;
                }
            }
            Act::Rename | Act::ListUsers | Act::Talk | Act::Register => {}
        }
    }

    fn change_port(&mut self, k: usize, now: Instant) {
        let Some(voice) = self.members.get_mut(k).and_then(|m| m.voice.as_mut()) else { return };
        let Ok(before) = voice.wire.change_port() else { return };
        voice.proven = false;
        voice.next_keepalive = now;
        self.tally.count("source ports changed");
        self.bury(before);
    }

    fn keep_order(&mut self) {
        if self.orders_open >= ORDERS_MAX {
            return;
        }
        // Whoever is banned or silenced is not so for long.
        if let Some(member) = self.any(|m| m.banned.is_some() && !m.locked)
            && self.random.per_mille(500)
            && let Some(id) = self.members.get(member).and_then(|m| m.banned)
        {
            return self.order(Order::Lift { member, id });
        }
        if let Some(member) = self.any(|m| m.silenced_ns.is_some() && m.is_free())
            && self.random.per_mille(400)
        {
            return self.order(Order::Unmute { member });
        }
        let Some(member) = self.any(|m| m.is_free() && !m.operator) else { return };
        let (room, number) = (self.any_room(), self.random.below(100));
        let Some(he) = self.members.get_mut(member) else { return };
        let epoch = he.epoch;
        let order = match number {
            0..25 => Order::Kick { member, epoch },
            25..35 => Order::Ban { member, epoch },
            35..60 if he.silenced_ns.is_none() => Order::Mute { member },
            60..75 if !he.registered && he.silenced_ns.is_none() => {
                he.renames += 1;
                let name = format!("soak {} take {}", he.number, he.renames % 1000);
                Order::Rename { member, epoch, name }
            }
            _ => Order::Move { member, epoch, room },
        };
        self.order(order);
    }

    fn visit(&mut self, number: u64) {
        let here = self.any(|m| m.is_free());
        let kept = self.any(|m| m.keeps_name().is_some());
        let kept =
            kept.and_then(|k| self.members.get(k).map(|m| (k, m.keeps_name(), m.name.clone())));
        let (room, dice) = (self.any_room(), self.random.below(100));
        let whose = here.and_then(|k| self.members.get(k).map(|m| (k, m.epoch, m.name.clone())));
        let errand = match (dice, whose, kept) {
            (0..12, Some((member, epoch, name)), _) => Errand::Namesake { member, epoch, name },
            (12..24, _, Some((member, Some(registration), name))) => {
                Errand::Usurper { member, registration, name }
            }
            (24..32, ..) => Errand::Nonsense,
            (32..40, ..) => Errand::HalfHandshake,
            _ => {
                let (name, polite) = (format!("visitor {number}"), dice % 2 == 0);
                Errand::Pass { name, room, polite }
            }
        };
        self.send_visitor(errand);
    }

    /// Breaks somebody's connection. Whether there was one.
    fn break_connection(&mut self, ghost: bool) -> bool {
        let Some(k) = self.any(|m| m.stage == Stage::Here && !m.locked) else { return false };
        if ghost {
            self.tally.count("connections left as ghosts");
            self.cut(k, Cut::Ghost, false);
            return true;
        }
        let Some((cut, what)) = self.random.weighted(&CUTS) else { return false };
        self.tally.count(what);
        let half_open = matches!(cut, Cut::HalfOpen | Cut::HalfOpenMidFrame);
        // Others may know by then that their session is over, or not.
        let resumes = half_open || self.random.per_mille(600);
        self.cut(k, cut, resumes);
        true
    }
}
