//! At the door: how members come, what they are told when they are let in, and why they are not.

use super::crowd::{ANSWER_PATIENCE, Crowd, Event, Speaker};
use super::link::Link;
use super::member::{Asked, Perhaps, Stage, Voice};
use super::wire::Wire;
use parlor::net::limits::PING_INTERVAL;
use parlor::net::message::{ClientMessage, ErrorCode, Hello, Protection, Welcome};
use parlor::net::moderation::Role;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a name may stay taken by a ghost: as long as the server waits for a sign of life, and more on a slow machine.
const NAME_PATIENCE: Duration = Duration::from_secs(120);

impl Crowd {
    /// Connects and says `Hello`.
    pub fn come(&mut self, k: usize, now: Instant) {
        let (told, release) = (self.told.clone(), self.release.subscribe());
        let connector = self.connector.clone();
        let invite = self.server.owner.clone();
        let Some(member) = self.members.get_mut(k) else { return };
        member.epoch += 1;
        member.stage = Stage::Coming(now);
        member.view = Default::default();
        member.open = None;
        member.sent_away = false;
        member.last_heard = now;
        let resume = member.resume.clone().filter(|_| member.resumes);
        if resume.is_some() {
            let rooms = member.perhaps.iter().flat_map(|perhaps| perhaps.rooms.clone());
            for room in rooms.flatten().collect::<Vec<_>>() {
                member.may_be_in(room);
            }
        }
        let hello = Hello {
            agent: "parlor-load --soak".to_owned(),
            state: member.state,
            resume,
            invite: invite.filter(|_| member.operator),
            ..Hello::new(&member.name)
        };
        let epoch = member.epoch;
        let wrap = move |news| Event::Link { member: k, epoch, news };
        let device = member.device.clone();
        member.link = Some(Link::open(connector, hello, device, release, told, wrap));
    }

    /// He is let in: what he is told must be what is known of him.
    pub fn on_welcome(&mut self, k: usize, welcome: &Welcome, now: Instant) {
        self.tally.count("sessions");
        let voice = SocketAddr::new(self.connector.server.ip(), welcome.udp_port);
        let first = u16::try_from(self.random.below(1 << 15)).unwrap_or(0);
        let made = Wire::new(voice).and_then(|wire| Voice::new(welcome, wire, first, now));
        let room = self.random.pick(&self.rooms).cloned().unwrap_or_default();
        let Self { members, tally, speakers, .. } = self;
        let Some(member) = members.get_mut(k) else { return };
        let mut fault = |what: &str| tally.fault(format!("member {k}, let in: {what}"));
        if member.banned.is_some() {
            fault("he is banned");
        }
        if welcome.protection != Protection::AeadAes128Gcm {
            fault("voice is not protected");
        }
        let operator = welcome.standing.role == Some(Role::Operator);
        if operator != member.operator {
            fault("an operator is none, or another one is");
        }
        if std::mem::take(&mut member.registration_unsure) {
            member.registered = welcome.standing.registered;
        }
        let known = (welcome.standing.registered, welcome.standing.silenced);
        if !member.locked && known != (member.registered, member.silenced_ns.is_some()) {
            fault("his name is not kept, or his silence, or somebody else's is");
        }
        match made {
            Ok(voice) => {
                let (epoch, index) = (member.epoch, voice.index);
                speakers.insert(voice.ssrc, Speaker { member: k, epoch, index });
                member.voice = Some(voice);
            }
            Err(error) => fault(&format!("no voice: {error:#}")),
        }
        member.stage = Stage::Here;
        member.next_ping = now + PING_INTERVAL;
        member.resume = Some(welcome.resume.clone());
        let name = welcome.name.to_string();
        let perhaps = member.perhaps.take().unwrap_or_default();
        if welcome.resumed {
            tally.count("sessions resumed");
            if !member.resumes || !perhaps.names.contains(&name) {
                tally.fault(format!("member {k} takes over a session of '{name}'"));
            }
            member.name = name;
            member.perhaps = Some(perhaps);
            member.ask(Asked::Resumed, ClientMessage::Ping { token: 1 }, now);
        } else {
            if name != member.name {
                fault(&format!("he is called '{name}'"));
            }
            member.is_in(None);
            member.ask(Asked::Join(room.clone()), ClientMessage::join(&room), now);
        }
        member.resumes = false;
        if operator {
            // Good once.
            self.server.owner = None;
        }
    }

    /// He is not let in; there must be a reason.
    pub fn on_refusal(
        &mut self,
        k: usize,
        code: ErrorCode,
        args: &BTreeMap<String, String>,
        now: Instant,
    ) {
        let pause = Duration::from_millis(self.random.between(200, 700));
        let Some(member) = self.members.get_mut(k) else { return };
        let waited = now.saturating_duration_since(member.first_try);
        let expected = match code {
            ErrorCode::NameTaken | ErrorCode::NameLooksTaken => waited < NAME_PATIENCE,
            ErrorCode::Banned => member.banned.is_some() || member.locked,
            ErrorCode::Busy => waited < ANSWER_PATIENCE,
            _ => false,
        };
        if !expected {
            self.tally.fault(format!("member {k} is not let in: {code:?} {args:?}"));
            member.first_try = now;
        }
        self.tally.count("refusals at the door");
        member.link = None;
        member.stage = Stage::Away(now + pause);
    }

    /// What somebody is, whose session was taken over, is known now.
    pub fn on_resumed(&mut self, k: usize) {
        let Some(member) = self.members.get_mut(k) else { return };
        let Perhaps { rooms, .. } = member.perhaps.take().unwrap_or_default();
        let room = member.view.room.clone();
        if !rooms.contains(&room) {
            let found = format!("member {k} comes back to {room:?}, and was in one of {rooms:?}");
            self.tally.fault(found);
        }
        member.is_in(room);
    }
}
