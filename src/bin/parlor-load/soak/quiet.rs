//! Quiet points: the storm is off, everybody comes in, and everything is compared with everything: what each member
//! knows by events, what the server says, and what the model says; and everybody is heard by whom he should be.

use super::crowd::Crowd;
use super::link::Cut;
use super::member::{Asked, Member, Stage};
use super::orders::{Order, Outcome};
use super::server;
use super::wire::Weather;
use parlor::net::clock;
use parlor::net::message::{ClientMessage, MemberInfo, ServerMessage};
use parlor::net::moderation::{AdminReply, AdminRequest, Moderation, Report, Role, Target};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long it may take until everybody is there: ghosts stay for as long as the server waits, and machines can be slow.
const SETTLE_MAX: Duration = Duration::from_secs(180);
/// How long everybody may take to hear everybody.
const CALL_MAX: Duration = Duration::from_secs(60);
/// How often whoever has not been heard by all speaks again.
const CALL_INTERVAL: Duration = Duration::from_millis(300);
/// How long lists may be behind, after everything has been answered.
const LISTS_MAX: Duration = Duration::from_secs(30);
const LISTS_INTERVAL: Duration = Duration::from_millis(200);
/// Whoever could not join tries again after this.
const REJOIN_INTERVAL: Duration = Duration::from_millis(1100);
/// Differences that are told of one comparison.
const DIFFERENCES_MAX: usize = 5;
/// Nobody of the crowd: banned for all of the soak.
const OUTLAW: &str = "mallory";

type Rooms = BTreeMap<String, BTreeSet<String>>;

impl Crowd {
    /// A quiet point. How long it took until all lists were right; none if they were not.
    pub async fn quiet(&mut self) -> anyhow::Result<Option<Duration>> {
        let began = clock::now();
        self.calm_down();
        if !self.settle().await {
            self.tell_unsettled();
            return Ok(None);
        }
        let settled = clock::now().saturating_duration_since(began);
        self.roll_call().await;
        self.until(CALL_MAX, |crowd| !crowd.members.iter().any(|m| m.view.anyone_speaks())).await;
        let right = self.compare().await;
        self.tidy();
        self.tally.count("quiet points");
        Ok(right.then_some(settled))
    }

    fn calm_down(&mut self) {
        self.storm = None;
        self.weather = Weather::default();
        self.release.send_modify(|times| *times += 1);
        for member in &mut self.members {
            member.talks_until = None;
        }
        if std::mem::take(&mut self.wall_clock_off) {
            let _ = self.server.set_wall_clock(0);
        }
    }

    fn is_settled(&self) -> bool {
        let settled = |member: &Member| {
            let voice = member.voice.as_ref();
            member.is_free()
                && member.room.is_some()
                && voice.is_some_and(|voice| voice.proven && voice.wire.is_idle())
        };
        self.orders_open == 0
            && self.visitors_open == 0
            && self.paused_until.is_none()
            && self.members.iter().all(settled)
    }

    /// Waits until everybody is in a room, can be heard, and nothing is under way.
    async fn settle(&mut self) -> bool {
        let deadline = clock::now() + SETTLE_MAX;
        let mut next_join = clock::now();
        while !self.is_settled() {
            let now = clock::now();
            if now >= deadline {
                return false;
            }
            for k in 0..self.members.len() {
                let banned = self.members.get(k).filter(|m| !m.locked).and_then(|m| m.banned);
                if let Some(id) = banned {
                    self.order(Order::Lift { member: k, id });
                }
            }
            if now >= next_join {
                next_join = now + REJOIN_INTERVAL;
                for k in 0..self.members.len() {
                    let room = self.random.pick(&self.rooms).cloned().unwrap_or_default();
                    let Some(member) = self.members.get_mut(k) else { continue };
                    if member.is_free() && member.room.is_none() {
                        let asked = Asked::Join(room.clone());
                        member.ask(asked, ClientMessage::join(&room), now);
                    }
                }
            }
            self.step().await;
        }
        true
    }

    fn tell_unsettled(&mut self) {
        let unsettled: Vec<String> = self
            .members
            .iter()
            .filter(|m| !(m.is_free() && m.room.is_some()) || m.voice.as_ref().is_none_or(|v| !v.proven))
            .take(DIFFERENCES_MAX)
            .map(|m| {
                let proven = m.voice.as_ref().map(|voice| (voice.proven, voice.by_stream));
                format!(
                    "member {} ({:?}, asked {:?}, locked {}, banned {:?}, room {:?}, voice {proven:?}, lost as '{}')",
                    m.number, m.stage, m.open, m.locked, m.banned, m.room, m.ended
                )
            })
            .collect();
        let (orders, visitors) = (self.orders_open, self.visitors_open);
        self.tally.fault(format!(
            "after {} s it is not quiet: {orders} orders, {visitors} visitors, {unsettled:?}",
            SETTLE_MAX.as_secs()
        ));
    }

    /// Everybody speaks until everybody has heard everybody in his room; `judge` sees to it that nobody else does.
    async fn roll_call(&mut self) {
        self.call += 1;
        self.heard_call.clear();
        let mut expected = BTreeSet::new();
        for (k, member) in self.members.iter().enumerate() {
            for (from, speaker) in self.members.iter().enumerate() {
                let heard = k != from && member.room == speaker.room;
                if heard && speaker.silenced_ns.is_none() {
                    expected.insert((k, from));
                }
            }
        }
        let deadline = clock::now() + CALL_MAX;
        while !expected.is_subset(&self.heard_call) && clock::now() < deadline {
            let now = clock::now();
            for k in 0..self.members.len() {
                let call = self.call;
                let missing =
                    expected.iter().any(|pair| pair.1 == k && !self.heard_call.contains(pair));
                // Whoever is silenced speaks, too: nobody may hear him.
                let Some(member) = self.members.get_mut(k) else { continue };
                if !missing && member.silenced_ns.is_none() {
                    continue;
                }
                let (number, epoch) = (member.number, member.epoch);
                let Some(voice) = &mut member.voice else { continue };
                let datagram = voice.speak(number, epoch, call);
                let (ssrc, index) = (voice.ssrc, voice.index);
                if let Some(speaker) = self.speakers.get_mut(&ssrc) {
                    speaker.index = index;
                }
                self.send_voice(k, &datagram, now);
            }
            let heard = |crowd: &Self| expected.is_subset(&crowd.heard_call);
            self.until(CALL_INTERVAL, heard).await;
        }
        let missing: Vec<_> = expected.difference(&self.heard_call).take(DIFFERENCES_MAX).collect();
        if !missing.is_empty() {
            let found = format!("in a quiet room (listener, speaker) do not hear: {missing:?}");
            self.tally.fault(found);
        }
    }

    /// Compares all lists, again and again while they differ and may still be on their way. Whether they are right.
    async fn compare(&mut self) -> bool {
        let deadline = clock::now() + LISTS_MAX;
        loop {
            let differences = self.differences().await;
            if differences.is_empty() {
                return true;
            }
            if clock::now() >= deadline {
                for difference in differences.into_iter().take(DIFFERENCES_MAX) {
                    self.tally.fault(difference);
                }
                return false;
            }
            self.until(LISTS_INTERVAL, |_| false).await;
        }
    }

    async fn differences(&mut self) -> Vec<String> {
        let now = clock::now();
        self.lists.clear();
        for (k, member) in self.members.iter_mut().enumerate() {
            match k {
                0 => member.ask(Asked::ListRooms, ClientMessage::ListRooms, now),
                _ => {
                    let body = ClientMessage::ListUsers { room: None };
                    member.ask(Asked::ListUsers, body, now);
                }
            }
        }
        let most = Duration::from_secs(100);
        self.until(most, |crowd| crowd.members.iter().all(Member::is_free)).await;
        let mut rooms = Rooms::new();
        let mut elsewhere = BTreeSet::new();
        for member in &self.members {
            match &member.room {
                Some(room) => {
                    rooms.entry(room.clone()).or_default().insert(member.name.clone());
                }
                None => {
                    elsewhere.insert(member.name.clone());
                }
            }
        }
        let mut found = self.of_status(&rooms, &elsewhere).await;
        for (k, member) in self.members.iter().enumerate() {
            found.extend(of_view(member, &self.members));
            found.extend(self.lists.get(&k).and_then(|list| of_list(member, list, &rooms)));
        }
        found
    }

    /// What the server's own list says otherwise.
    async fn of_status(&self, rooms: &Rooms, elsewhere: &BTreeSet<String>) -> Vec<String> {
        match server::ask(self.server.state(), AdminRequest::Status).await {
            Ok(AdminReply::Status { rooms: told, elsewhere: others, users, .. }) => {
                let told: Rooms = told
                    .iter()
                    .map(|(room, names)| {
                        (room.to_string(), names.iter().map(ToString::to_string).collect())
                    })
                    .collect();
                let others: BTreeSet<String> = others.iter().map(ToString::to_string).collect();
                let mut found = Vec::new();
                if told != *rooms || others != *elsewhere {
                    found.push(format!(
                        "the server says {told:?} and {others:?} elsewhere; \
                         it should be {rooms:?} and {elsewhere:?}"
                    ));
                }
                if usize::try_from(users) != Ok(self.members.len()) {
                    found.push(format!("the server has {users} users"));
                }
                found
            }
            other => vec![format!("the server's status is {other:?}")],
        }
    }

    /// Bans somebody for all of the soak.
    pub async fn ban_outlaw(&mut self) {
        let target = Target::Name(OUTLAW.to_owned());
        let order = Moderation::Ban { target, room: None, seconds: None, reason: None };
        let banned = self.command(order).await;
        if !matches!(banned, Outcome::Done(Report::Sanctioned { .. })) {
            self.tally.fault(format!("nobody can be banned: {banned:?}"));
        }
    }

    async fn command(&self, order: Moderation) -> Outcome {
        Outcome::of(server::ask(self.server.state(), AdminRequest::Moderate { order }).await)
    }

    /// Kills the server in the middle of whatever it does, and starts it again on what it has kept. What
    /// it has said to be kept is looked at when members come back.
    pub async fn crash(&mut self) -> anyhow::Result<()> {
        // What is not answered may be kept or not; it is waited for, and nothing else is.
        let unsure = |member: &Member| {
            let asked = member.open.as_ref().map(|open| &open.asked);
            member.locked || matches!(asked, Some(Asked::Register(_)))
        };
        self.storm = None;
        let done = move |crowd: &Self| {
            crowd.orders_open == 0
                && crowd.paused_until.is_none()
                && !crowd.members.iter().any(unsure)
        };
        if !self.until(SETTLE_MAX, done).await {
            self.tally.fault("orders before a restart are not answered".to_owned());
        }
        self.server.kill_and_start_again()?;
        self.tally.count("kills of the server's process");
        self.connector.server = self.server.tcp;
        for k in 0..self.members.len() {
            if self.members.get(k).is_some_and(|m| !matches!(m.stage, Stage::Away(_))) {
                self.cut(k, Cut::Closed, true);
            }
            if let Some(member) = self.members.get_mut(k) {
                // No session outlives the server.
                member.perhaps = None;
            }
        }
        let kept = self.command(Moderation::ListSanctions).await;
        let mut expected: BTreeMap<String, usize> = BTreeMap::new();
        for member in &self.members {
            let sanctions =
                usize::from(member.banned.is_some()) + usize::from(member.silenced_ns.is_some());
            if sanctions > 0 {
                expected.insert(member.name.clone(), sanctions);
            }
        }
        expected.insert(OUTLAW.to_owned(), 1);
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        if let Outcome::Done(Report::Sanctions { sanctions, .. }) = &kept {
            for sanction in sanctions {
                let name = sanction.target.trim_start_matches("name ").to_owned();
                *found.entry(name).or_default() += 1;
            }
        }
        if found != expected {
            let found = format!("after a restart bans and silences are {kept:?}, not {expected:?}");
            self.tally.fault(found);
        }
        Ok(())
    }

    /// An order about a whole room, at a quiet point: another name for it, or everybody out.
    pub async fn order_about_room(&mut self) -> bool {
        let rooms: Vec<String> = self.members.iter().filter_map(|m| m.room.clone()).collect();
        let Some(room) = self.random.pick(&rooms).cloned() else { return true };
        let closes = self.random.per_mille(500);
        let to = format!("{room} {}", self.random.below(1000));
        let order = match closes {
            true => Moderation::CloseRoom { room: room.clone(), reason: None },
            false => Moderation::RenameRoom { room: room.clone(), to: to.clone() },
        };
        match self.command(order).await {
            Outcome::Done(Report::Done) => {}
            other => self.tally.fault(format!("an order about '{room}' is answered {other:?}")),
        }
        self.tally.count(if closes { "rooms closed" } else { "rooms renamed" });
        for member in self.members.iter_mut().filter(|m| m.room.as_ref() == Some(&room)) {
            match closes {
                true => member.is_in(None),
                false => {
                    for stay in member.stays.iter_mut().filter(|stay| stay.room == room) {
                        stay.room.clone_from(&to);
                    }
                    member.room = Some(to.clone());
                }
            }
        }
        self.compare().await
    }
}

/// What a member believes otherwise than the model.
fn of_view(member: &Member, all: &[Member]) -> Option<String> {
    let shown = |m: &Member| {
        let role = m.operator.then_some(Role::Operator);
        let silenced = m.silenced_ns.is_some();
        (m.name.clone(), m.state.muted, m.state.deafened, false, silenced, role)
    };
    let mut expected: Vec<_> = match &member.room {
        Some(_) => all.iter().filter(|m| m.room == member.room).map(shown).collect(),
        None => Vec::new(),
    };
    let seen =
        |m: &MemberInfo| (m.name.to_string(), m.muted, m.deafened, m.speaking, m.silenced, m.role);
    let mut believed: Vec<_> = member.view.members.values().map(seen).collect();
    expected.sort();
    believed.sort();
    if member.view.room == member.room && believed == expected {
        return None;
    }
    Some(format!(
        "member {} believes to be in {:?} with {believed:?}; it is {:?} with {expected:?}",
        member.number, member.view.room, member.room
    ))
}

/// What the server answers otherwise than the member believes.
fn of_list(member: &Member, list: &ServerMessage, rooms: &Rooms) -> Option<String> {
    match list {
        ServerMessage::Users { members, total, .. } => {
            let bare = |m: &MemberInfo| MemberInfo { streams: Vec::new(), ..m.clone() };
            let told: BTreeMap<_, _> = members.iter().map(|m| (m.id, bare(m))).collect();
            let believed: BTreeMap<_, _> =
                member.view.members.iter().map(|(id, m)| (*id, bare(m))).collect();
            let whole = usize::try_from(*total) == Ok(told.len());
            (told != believed || !whole).then(|| {
                format!("member {} believes {believed:?}; he is told {told:?}", member.number)
            })
        }
        ServerMessage::Rooms { rooms: told, .. } => {
            let told: BTreeMap<_, _> = told
                .iter()
                .map(|r| (r.name.to_string(), usize::try_from(r.members).ok()))
                .collect();
            let expected: BTreeMap<_, _> =
                rooms.iter().map(|(room, names)| (room.clone(), Some(names.len()))).collect();
            (told != expected).then(|| format!("the list of rooms is {told:?}, not {expected:?}"))
        }
        _ => None,
    }
}
