//! Bans and silences.

use super::person::Person;
use super::{Action, Decision, Desk, done, goodbye, millis, not_allowed, refuse, too_many, worded};
use crate::actors::access::core::{SanctionRecord, Subject};
use crate::actors::lobby::core::Refusal;
use crate::net::limits::{
    BAN_IPV4_BITS_MIN, BAN_IPV6_BITS, BAN_IPV6_BITS_MIN, ROOM_SANCTIONS_MAX, SANCTION_LIFETIME_MAX,
};
use crate::net::message::{ErrorCode, GoodbyeReason, LeaveReason};
use crate::net::moderation::{Report, SanctionKind, Target};
use crate::net::name::{RoomName, UserName, printable};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::IpAddr;
use std::time::Duration;

fn bad_target(target: &str, why: &str) -> Refusal {
    refuse(ErrorCode::BadTarget, [("target", printable(target)), ("why", why.to_owned())])
}

/// What one person has of addresses: one of IPv4, 64 bits of IPv6.
fn network_of(address: IpAddr) -> Option<IpNet> {
    let network = match address.to_canonical() {
        IpAddr::V4(v4) => Ipv4Net::new(v4, 32).ok().map(IpNet::V4),
        IpAddr::V6(v6) => Ipv6Net::new(v6, BAN_IPV6_BITS).ok().map(IpNet::V6),
    };
    network.map(|network| network.trunc())
}

fn address(text: &str) -> Result<IpNet, Refusal> {
    let bad = || bad_target(text, "write an IPv4 or IPv6 address, such as 192.0.2.7");
    let address: IpAddr = text.trim().parse().map_err(|_| bad())?;
    network_of(address).ok_or_else(bad)
}

fn network(text: &str) -> Result<IpNet, Refusal> {
    let parsed: Result<IpNet, _> = text.trim().parse();
    let bad = "write a network as ADDRESS/BITS, such as 192.0.2.0/24";
    let network = parsed.map_err(|_| bad_target(text, bad))?.trunc();
    match network {
        IpNet::V4(v4) if v4.prefix_len() < BAN_IPV4_BITS_MIN => {
            let why =
                format!("that is too wide; a network of IPv4 has at least /{BAN_IPV4_BITS_MIN}");
            Err(bad_target(text, &why))
        }
        IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some() => {
            Err(bad_target(text, "write it as a network of IPv4"))
        }
        IpNet::V6(v6) if v6.prefix_len() < BAN_IPV6_BITS_MIN => {
            let why =
                format!("that is too wide; a network of IPv6 has at least /{BAN_IPV6_BITS_MIN}");
            Err(bad_target(text, &why))
        }
        network => Ok(network),
    }
}

/// What moderators are shown of a ban that is written against addresses.
const AN_ADDRESS: &str = "an address";

fn names_an_address(record: &SanctionRecord) -> bool {
    record.subjects.iter().any(|subject| matches!(subject, Subject::Network(_)))
}

/// Everything that a person is recognised by.
fn subjects(person: &Person) -> Vec<Subject> {
    let identity = person.facts.identity.map(Subject::Identity);
    let device = person.facts.device.map(Subject::Device);
    let name = Some(Subject::Name(person.name.keys()));
    [identity, device, name].into_iter().flatten().collect()
}

impl Desk<'_, '_> {
    fn until(&self, seconds: Option<u64>) -> Option<u64> {
        let lasts = Duration::from_secs(seconds?.max(1)).min(SANCTION_LIFETIME_MAX);
        Some(self.now_ms.saturating_add(millis(lasts)))
    }

    /// Whom a ban is written against, and what it is called.
    fn subjects_of(
        &self,
        target: &Target,
        room: Option<&RoomName>,
    ) -> Result<(Vec<Subject>, String), Refusal> {
        // Addresses belong to many, and tell where somebody lives: that is for operators alone.
        if !matches!(target, Target::User(_) | Target::Name(_)) {
            self.chair.operates()?;
        }
        match target {
            Target::User(name) => {
                let person = Person::find(self.core, name)?;
                self.chair.over(self.core, &person, room)?;
                person.refuse_operator(self.core)?;
                Ok((subjects(&person), person.name.to_string()))
            }
            Target::Name(text) => {
                let name =
                    UserName::parse(text).map_err(|why| bad_target(text, &why.to_string()))?;
                if let Ok(person) = Person::find(self.core, text) {
                    self.chair.over(self.core, &person, room)?;
                    person.refuse_operator(self.core)?;
                }
                Ok((vec![Subject::Name(name.keys())], format!("name {name}")))
            }
            Target::AddressOf(name) => {
                let person = Person::here(self.core, name)?;
                self.chair.over(self.core, &person, room)?;
                let network = person.facts.address.and_then(network_of);
                let network =
                    network.ok_or_else(|| bad_target(name, "where he comes from is not known"))?;
                Ok((vec![Subject::Network(network)], format!("{network} ({})", person.name)))
            }
            Target::Address(text) => {
                let network = address(text)?;
                Ok((vec![Subject::Network(network)], network.to_string()))
            }
            Target::Network(text) => {
                let network = network(text)?;
                Ok((vec![Subject::Network(network)], network.to_string()))
            }
            Target::Unknown => Err(refuse(ErrorCode::UnknownType, [])),
        }
    }

    pub(super) fn ban(
        &mut self,
        target: &Target,
        room: Option<&str>,
        seconds: Option<u64>,
        reason: Option<&str>,
    ) -> Result<Decision, Refusal> {
        self.chair.keeps_order()?;
        let why = worded(reason)?;
        let room = match room {
            None => {
                self.chair.operates()?;
                None
            }
            Some(text) => {
                let (_, room) = self.room(text)?;
                self.chair.moderates(self.core, &room)?;
                Some(room)
            }
        };
        let (subjects, label) = self.subjects_of(target, room.as_ref())?;
        let record = self.record(SanctionKind::Ban, (subjects, label), room, seconds, why);
        // Also over everyone whom it meets by the look of a name or by an address.
        for session in self.core.met_by(&record) {
            if let Some((_, name)) = self.core.member(session) {
                let person = Person::here(self.core, name.as_str())?;
                self.chair.over(self.core, &person, record.room.as_ref())?;
            }
        }
        let record = self.sanction("ban", record, seconds)?;
        let out = |session| match &record.room {
            Some(_) => Action::TakeOut {
                session,
                reason: LeaveReason::Banned,
                by: record.by.clone(),
                why: record.reason.clone(),
            },
            None => {
                let said = (Some(record.by.clone()), record.reason.clone(), record.until_ms);
                let goodbye = goodbye(GoodbyeReason::Banned, said);
                Action::SendAway { session, reason: LeaveReason::Banned, goodbye }
            }
        };
        let actions = self.core.met_by(&record).into_iter().map(out).collect();
        Ok(sanctioned(record.id, actions))
    }

    pub(super) fn mute(
        &mut self,
        name: &str,
        seconds: Option<u64>,
        reason: Option<&str>,
    ) -> Result<Decision, Refusal> {
        self.chair.keeps_order()?;
        let why = worded(reason)?;
        let (person, room) = self.heard(name)?;
        self.chair.over(self.core, &person, room.as_ref())?;
        person.refuse_operator(self.core)?;
        let target = (subjects(&person), person.name.to_string());
        let record = self.record(SanctionKind::Mute, target, room, seconds, why);
        let record = self.sanction("silence", record, seconds)?;
        let met = self.core.met_by(&record);
        Ok(sanctioned(record.id, met.into_iter().map(Action::Review).collect()))
    }

    /// Somebody to be silenced or heard again, and where: everywhere by an operator, by a moderator
    /// in the room where he is.
    fn heard(&self, name: &str) -> Result<(Person, Option<RoomName>), Refusal> {
        if self.chair.operates().is_ok() {
            return Ok((Person::find(self.core, name)?, None));
        }
        let person = Person::here(self.core, name)?;
        let room = self.core.room_of(person.session()?);
        let room = room.and_then(|id| self.core.room_name(id)).cloned().ok_or_else(not_allowed)?;
        self.chair.moderates(self.core, &room)?;
        Ok((person, Some(room)))
    }

    pub(super) fn unmute(&mut self, name: &str) -> Result<Decision, Refusal> {
        self.chair.keeps_order()?;
        let (person, room) = self.heard(name)?;
        self.chair.over(self.core, &person, room.as_ref())?;
        let ids = self.core.access.silences(&person.name, &person.facts, room.as_ref());
        if ids.is_empty() {
            return Err(bad_target(person.name.as_str(), "he is not silenced"));
        }
        let mut met = Vec::new();
        for id in ids {
            let record = self.core.access.lift(id)?;
            met.extend(self.core.met_by(&record));
        }
        self.note("lift silence", person.name.as_str(), &[room.map(|room| format!("room {room}"))]);
        met.sort_unstable();
        met.dedup();
        done(met.into_iter().map(Action::Review).collect())
    }

    pub(super) fn lift(&mut self, id: u64) -> Result<Decision, Refusal> {
        self.chair.keeps_order()?;
        let missing = || refuse(ErrorCode::NoSuchEntry, [("id", id.to_string())]);
        let record = self.core.access.sanction_record(id).ok_or_else(missing)?;
        if self.chair.operates().is_err() {
            // What is not in his list does not exist for him.
            let room = record.room.as_ref().ok_or_else(missing)?;
            self.chair.moderates(self.core, room).map_err(|_| missing())?;
            if self.chair.is_met_by(record) {
                return Err(refuse(ErrorCode::NotOverHim, [("name", self.by())]));
            }
        }
        let record = self.core.access.lift(id)?;
        let room = record.room.as_ref().map(|room| format!("room {room}"));
        let what = match record.kind {
            SanctionKind::Ban => "lift ban",
            SanctionKind::Mute | SanctionKind::Unknown => "lift silence",
        };
        self.note(what, &record.label, &[room]);
        match record.kind {
            SanctionKind::Mute => {
                done(self.core.met_by(&record).into_iter().map(Action::Review).collect())
            }
            _ => done(Vec::new()),
        }
    }

    pub(super) fn sanctions(&self) -> Decision {
        let mut sanctions = self.core.access.sanctions(self.now_ms);
        sanctions.retain(|sanction| {
            let room = sanction.room.as_ref();
            self.chair.operates().is_ok()
                || room.is_some_and(|room| self.chair.moderates(self.core, room).is_ok())
        });
        if self.chair.operates().is_err() {
            for sanction in &mut sanctions {
                let record = self.core.access.sanction_record(sanction.id);
                // Where somebody comes from is for operators alone.
                if record.is_none_or(names_an_address) {
                    sanction.target = AN_ADDRESS.to_owned();
                }
            }
        }
        let total = u64::try_from(sanctions.len()).unwrap_or(0);
        Decision::Done { actions: Vec::new(), report: Report::Sanctions { sanctions, total } }
    }

    fn record(
        &self,
        kind: SanctionKind,
        (subjects, label): (Vec<Subject>, String),
        room: Option<RoomName>,
        seconds: Option<u64>,
        reason: Option<String>,
    ) -> SanctionRecord {
        let (until_ms, by) = (self.until(seconds), self.by());
        SanctionRecord { id: 0, kind, subjects, label, room, until_ms, by, reason }
    }

    /// Puts a sanction in force and notes it.
    fn sanction(
        &mut self,
        action: &str,
        record: SanctionRecord,
        seconds: Option<u64>,
    ) -> Result<SanctionRecord, Refusal> {
        if let Some(room) = &record.room
            && self.core.access.count_of_room(room, self.now_ms).0 >= ROOM_SANCTIONS_MAX
        {
            return Err(too_many("bans", ROOM_SANCTIONS_MAX));
        }
        let id = self.core.access.sanction(record.clone(), self.now_ms)?;
        let lasts = seconds.map(|seconds| {
            let lasts = Duration::from_secs(seconds.max(1)).min(SANCTION_LIFETIME_MAX);
            format!("for {}", humantime::format_duration(lasts))
        });
        let room = record.room.as_ref().map(|room| format!("room {room}"));
        self.note(action, &record.label, &[room, lasts, record.reason.clone()]);
        Ok(SanctionRecord { id, ..record })
    }
}

fn sanctioned(id: u64, actions: Vec<Action>) -> Decision {
    let affected = u32::try_from(actions.len()).unwrap_or(u32::MAX);
    Decision::Done { actions, report: Report::Sanctioned { id, affected } }
}
