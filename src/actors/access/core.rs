//! What the server knows of people, invites, bans and kept rooms, and what it concludes. Pure.
//!
//! Every change is noted for the store. Times are milliseconds since 1970, because they outlive
//! the process.

mod invites;
mod sanctions;

use self::sanctions::InForce;
pub use self::sanctions::banned;
use super::attempts::{Attempts, Origin, Target, is_own};
use super::levels::Levels;
use super::newcomers::Newcomers;
use super::password::PasswordRecord;
use crate::actors::bucket::Rate;
use crate::actors::lobby::core::Refusal;
use crate::net::device::DeviceId;
use crate::net::invite::InviteToken;
use crate::net::limits::{
    IDENTITIES_MAX, IDENTITIES_REGISTERED_MAX, IDENTITY_DEVICES_MAX, KEPT_ROOMS_MAX,
    NEWCOMER_ADDRESSES_MAX, REGISTRATION_BURST, REGISTRATIONS_PER_HOUR, ROOM_ADMITTED_MAX,
    ROOM_MODERATORS_MAX,
};
use crate::net::message::{ErrorCode, ServerMessage};
use crate::net::moderation::{AuditEntry, Role, SanctionKind};
use crate::net::name::{NameKeys, RoomName, UserName};
use aws_lc_rs::digest::{SHA256, digest};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::LazyLock;

/// Someone whom the server knows again: by his device, or by his name's password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityId(pub u64);

/// What is known of an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Which.
    pub id: IdentityId,
    /// The name that is kept for it, if any.
    pub name: Option<UserName>,
    /// The password of the name.
    pub password: Option<PasswordRecord>,
    /// Keeps order everywhere.
    pub operator: bool,
    /// Since when.
    pub created_ms: u64,
}

/// SHA-256 of an invite's token.
pub type TokenHash = [u8; 32];

/// An invite, without its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InviteRecord {
    /// Which.
    pub id: u64,
    /// What its token must hash to.
    pub hash: TokenHash,
    /// The room that it leads to, and into which it lets one without the password.
    pub room: Option<RoomName>,
    /// Makes an operator.
    pub operator: bool,
    /// How many may still use it.
    pub uses_left: u32,
    /// Until when.
    pub until_ms: Option<u64>,
    /// Who made it, by the name that he had.
    pub by: String,
    /// Who that is; nobody if the server itself made it.
    pub maker: Option<IdentityId>,
    /// Who has used it.
    pub used_by: BTreeSet<IdentityId>,
}

/// What a sanction recognises people by; one match is enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A known identity.
    Identity(IdentityId),
    /// A device.
    Device(DeviceId),
    /// A name, whatever its case, and what looks like it.
    Name(NameKeys),
    /// Addresses.
    Network(IpNet),
}

/// A ban or a silence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SanctionRecord {
    /// Which.
    pub id: u64,
    /// What it does.
    pub kind: SanctionKind,
    /// Whom it meets.
    pub subjects: Vec<Subject>,
    /// Whom it is meant for, in words.
    pub label: String,
    /// Where; everywhere if none.
    pub room: Option<RoomName>,
    /// Until when; for good if none.
    pub until_ms: Option<u64>,
    /// Who did it.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

/// A room that is kept when it is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRoom {
    /// Its name.
    pub name: RoomName,
    /// Its password.
    pub password: Option<PasswordRecord>,
    /// Who keeps order in it.
    pub moderators: BTreeSet<IdentityId>,
    /// Who comes in without the password: an invite led here.
    pub admitted: BTreeSet<IdentityId>,
}

/// What the store holds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Everyone known.
    pub identities: Vec<Identity>,
    /// Devices, and whose they are; those that came last stand last.
    pub devices: Vec<(DeviceId, IdentityId)>,
    /// Invites, used-up ones included.
    pub invites: Vec<InviteRecord>,
    /// Bans and silences.
    pub sanctions: Vec<SanctionRecord>,
    /// Rooms.
    pub rooms: Vec<KeptRoom>,
    /// Above every number that was ever given.
    pub next_id: u64,
}

/// A change for the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// New, or different.
    Identity(Identity),
    /// Gone, with its devices.
    IdentityGone(IdentityId),
    /// This device is this identity's.
    Device(DeviceId, IdentityId),
    /// This device is nobody's.
    DeviceGone(DeviceId),
    /// New, or different.
    Invite(InviteRecord),
    /// Gone.
    InviteGone(u64),
    /// New.
    Sanction(SanctionRecord),
    /// Gone.
    SanctionGone(u64),
    /// New, or different; named as before if it has another name now.
    Room {
        /// As it is now.
        room: KeptRoom,
        /// Its name before.
        before: Option<RoomName>,
    },
    /// Gone.
    RoomGone(RoomName),
    /// Somebody did something.
    Audit {
        /// Who, and what.
        entry: AuditEntry,
        /// It was somebody without a role, who may do it often: such entries have a bound of their own, so that
        /// they push out none of those who keep order.
        routine: bool,
    },
}

impl Change {
    /// Whom it is about, where he stands on it when he comes back.
    #[must_use]
    pub fn identity(&self) -> Option<IdentityId> {
        match self {
            Self::Identity(identity) => Some(identity.id),
            Self::Device(_, id) => Some(*id),
            _ => None,
        }
    }
}

/// Who stands before the door, or is inside: everything that sanctions can recognise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Where from.
    pub address: Option<IpAddr>,
    /// The device, proven.
    pub device: Option<DeviceId>,
    /// The identity, established.
    pub identity: Option<IdentityId>,
}

/// What somebody who wants to come in brings along.
#[derive(Debug, Clone, Default)]
pub struct Claim<'a> {
    /// Where from.
    pub address: Option<IpAddr>,
    /// The device, proven.
    pub device: Option<DeviceId>,
    /// An invite's token.
    pub invite: Option<&'a InviteToken>,
    /// A password for the server was given.
    pub server_password: bool,
    /// A password for the name was given.
    pub password: bool,
}

/// A password that must be compared before it can go on, by someone who may take his time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verify {
    /// Which password.
    pub what: Lock,
    /// What it is compared with.
    pub record: PasswordRecord,
    /// What is guessed at, if it is a guess.
    pub target: Target,
}

/// What a password opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lock {
    /// The server.
    Server,
    /// The name.
    Name,
    /// The room.
    Room,
}

/// Which passwords were compared, with what, and whether they fit. Another record in the meantime is another question.
#[derive(Debug, Clone, Default)]
pub struct Proofs(Vec<(Verify, bool)>);

impl Proofs {
    /// Notes what came of a comparison.
    pub fn add(&mut self, question: Verify, fits: bool) {
        self.0.push((question, fits));
    }

    /// The last comparison.
    #[must_use]
    pub fn last(&self) -> Option<(&Verify, bool)> {
        self.0.last().map(|(question, fits)| (question, *fits))
    }

    /// How many comparisons there were.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// What others tell, too.
    pub fn extend(&mut self, others: &Self) {
        self.0.extend(others.0.iter().cloned());
    }

    /// Keeps what was proven, of room passwords, and at most so many; the oldest go.
    pub fn remember(&mut self, others: &Self, most: usize) {
        for (question, fits) in &others.0 {
            if *fits
                && question.what == Lock::Room
                && self.answer(Lock::Room, &question.record).is_none()
            {
                self.0.push((question.clone(), true));
            }
        }
        let surplus = self.0.len().saturating_sub(most);
        self.0.drain(..surplus);
    }

    fn answer(&self, what: Lock, record: &PasswordRecord) -> Option<bool> {
        let same =
            |(question, _): &&(Verify, bool)| question.what == what && question.record == *record;
        self.0.iter().find(same).map(|(_, fits)| *fits)
    }
}

/// Why somebody does not come in, or not yet.
#[derive(Debug, Clone, PartialEq)]
pub enum Denial {
    /// A password must be compared first; ask again with the answer.
    Verify(Verify),
    /// No.
    Refused(Refusal),
}

impl From<Refusal> for Denial {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What somebody who comes in gains by it; put in force by [`AccessCore::settle`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// Who he is, if he is known.
    pub identity: Option<IdentityId>,
    invite: Option<u64>,
    bind: bool,
    address: Option<IpAddr>,
}

/// A name that somebody registers, or that many share a look with.
#[derive(Debug, Default)]
struct Names {
    folded: BTreeMap<String, IdentityId>,
    looks: BTreeMap<String, IdentityId>,
}

impl Names {
    fn insert(&mut self, keys: NameKeys, id: IdentityId) {
        self.looks.insert(keys.skeleton, id);
        self.looks.insert(keys.folded_skeleton, id);
        self.folded.insert(keys.folded, id);
    }

    fn remove(&mut self, keys: &NameKeys, id: IdentityId) {
        for key in [&keys.skeleton, &keys.folded_skeleton] {
            if self.looks.get(key) == Some(&id) {
                self.looks.remove(key);
            }
        }
        self.folded.remove(&keys.folded);
    }
}

/// How many names may be registered from where, whoever registers them: each makes work.
#[derive(Debug)]
struct Registrations(Levels<Origin>);

impl Default for Registrations {
    fn default() -> Self {
        let per_second = f64::from(REGISTRATIONS_PER_HOUR) / 3600.0;
        let rate = Rate { per_second, burst: f64::from(REGISTRATION_BURST) };
        Self(Levels::new(rate, NEWCOMER_ADDRESSES_MAX))
    }
}

/// The state.
#[derive(Debug, Default)]
pub struct AccessCore {
    identities: BTreeMap<IdentityId, Identity>,
    names: Names,
    devices: HashMap<DeviceId, IdentityId>,
    of_identity: BTreeMap<IdentityId, Vec<DeviceId>>,
    invites: BTreeMap<u64, InviteRecord>,
    by_hash: HashMap<TokenHash, u64>,
    sanctions: BTreeMap<u64, InForce>,
    rooms: BTreeMap<String, KeptRoom>,
    server_password: Option<PasswordRecord>,
    attempts: Attempts,
    newcomers: Newcomers,
    registrations: Registrations,
    store_refuses: bool,
    next_id: u64,
    changes: Vec<Change>,
}

fn refuse<const N: usize>(code: ErrorCode, args: [(&str, String); N]) -> Refusal {
    Refusal(Box::new(ServerMessage::error(code, args)))
}

fn too_many(what: &str, max: usize) -> Refusal {
    refuse(ErrorCode::TooMany, [("what", what.to_owned()), ("max", max.to_string())])
}

/// What the audit log calls the server's own sub-commands.
pub const CONSOLE: &str = "console";
/// Who the first invites are from.
pub const FIRST_START: &str = "first start";

/// Nobody goes by a name that the log has for the server itself, or that looks like it.
fn refuse_reserved(keys: &NameKeys) -> Result<(), Refusal> {
    static RESERVED: LazyLock<Vec<NameKeys>> = LazyLock::new(|| {
        let names = [CONSOLE, FIRST_START].into_iter();
        names.filter_map(|name| UserName::parse(name).ok()).map(|name| name.keys()).collect()
    });
    if RESERVED.iter().any(|reserved| alike(reserved, keys)) {
        let why = "the server itself goes by it".to_owned();
        return Err(refuse(ErrorCode::BadName, [("why", why)]));
    }
    Ok(())
}

/// Whether two names are the same but for their case, or look the same.
fn alike(a: &NameKeys, b: &NameKeys) -> bool {
    a.folded == b.folded || a.skeleton == b.skeleton || a.folded_skeleton == b.folded_skeleton
}

/// The hash that is kept of a token.
#[must_use]
pub fn token_hash(token: &InviteToken) -> TokenHash {
    let hash = digest(&SHA256, token.expose());
    hash.as_ref().first_chunk().copied().unwrap_or_default()
}

fn room_key(room: &RoomName) -> String {
    room.keys().folded
}

fn in_force(until_ms: Option<u64>, now_ms: u64) -> bool {
    until_ms.is_none_or(|until| now_ms < until)
}

impl AccessCore {
    /// What the store held, and the server's own password, if it has one.
    #[must_use]
    pub fn new(snapshot: Snapshot, server_password: Option<PasswordRecord>) -> Self {
        let mut core =
            Self { server_password, next_id: snapshot.next_id.max(1), ..Self::default() };
        for identity in snapshot.identities {
            if let Some(name) = &identity.name {
                core.names.insert(name.keys(), identity.id);
            }
            core.identities.insert(identity.id, identity);
        }
        for (device, identity) in snapshot.devices {
            core.devices.insert(device, identity);
            core.of_identity.entry(identity).or_default().push(device);
        }
        for invite in snapshot.invites {
            core.by_hash.insert(invite.hash, invite.id);
            core.invites.insert(invite.id, invite);
        }
        core.sanctions.extend(snapshot.sanctions.into_iter().map(|s| (s.id, InForce::new(s))));
        core.rooms.extend(snapshot.rooms.into_iter().map(|room| (room_key(&room.name), room)));
        core
    }

    /// Whether nothing has ever been kept.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.next_id <= 1
    }

    /// What has changed since the last call, for the store.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Whether the store refuses changes. While it does, nobody gains anything by coming in or registering: he would
    /// lose it with the next start, and an invite would be used up or not, as it happens.
    pub fn store_refuses(&mut self, refuses: bool) {
        self.store_refuses = refuses;
    }

    fn fresh_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    // ---- coming in -------------------------------------------------------------------------

    /// Whether somebody may come in under this name; changes nothing but the count of wrong guesses.
    ///
    /// # Errors
    /// A password must be compared first; or he may not.
    pub fn review(
        &mut self,
        name: &UserName,
        claim: &Claim<'_>,
        proofs: &Proofs,
        now_ms: u64,
    ) -> Result<Grant, Denial> {
        let known = claim.device.and_then(|device| self.devices.get(&device).copied());
        let mut facts = Facts { address: claim.address, device: claim.device, identity: known };
        // Whoever says that he is an operator is judged when his password has been compared.
        if !(claim.password && self.role(self.owner_of(name)) == Some(Role::Operator)) {
            self.refuse_banned(name, &facts, None, now_ms)?;
        }
        let origin = Origin::of(claim.address);
        if claim.invite.is_some() && proofs.count() == 0 {
            self.hold_back(origin, None, now_ms)?;
        }
        let identity = self.own_name(name, known, claim.password, proofs, origin, now_ms)?;
        facts.identity = identity;
        self.refuse_banned(name, &facts, None, now_ms)?;
        let invite = match claim.invite {
            Some(token) => self.usable(token, identity, claim.device, origin, now_ms)?,
            None => None,
        };
        if identity.is_none() && invite.is_none() {
            self.open_server(claim.server_password, proofs, origin, now_ms)?;
        }
        if invite.is_some() && self.store_refuses {
            return Err(refuse(ErrorCode::NotKept, []).into());
        }
        // Without it he comes in all the same, with his password.
        // A device that is somebody's stays his: a password opens its name there for that session alone.
        let bind =
            identity.is_some() && known.is_none() && claim.device.is_some() && !self.store_refuses;
        if identity.is_none() && invite.is_some() {
            self.refuse_newcomer(claim.address, IDENTITIES_MAX, now_ms)?;
        }
        Ok(Grant { identity, invite, bind, address: claim.address })
    }

    /// How many new people an address may bring.
    pub fn limit_newcomers(&mut self, rate: Rate) {
        self.newcomers = Newcomers::with_rate(rate);
    }

    /// No more people to be remembered, of all or from this address.
    fn refuse_newcomer(
        &mut self,
        address: Option<IpAddr>,
        most: usize,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        if self.identities.len() >= most {
            return Err(too_many("identities", most));
        }
        match self.newcomers.wait(address, now_ms) {
            None => Ok(()),
            Some(wait) => {
                let seconds = wait.as_secs() + 1;
                Err(refuse(ErrorCode::TooManyNewcomers, [("retry_s", seconds.to_string())]))
            }
        }
    }

    /// No more guesses, at this or at an invite, from where there were too many wrong ones.
    fn hold_back(
        &mut self,
        origin: Origin,
        target: Option<&Target>,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        match self.attempts.wait(origin, target, now_ms) {
            None => Ok(()),
            Some(wait) => {
                let seconds = wait.as_secs() + 1;
                Err(refuse(ErrorCode::TooManyAttempts, [("retry_s", seconds.to_string())]))
            }
        }
    }

    /// What came of a comparison. The guess is counted as wrong when the comparison is asked for, so that many
    /// at once are not free; see [`AccessCore::was_right`] and [`AccessCore::was_not_compared`].
    fn compare(
        &mut self,
        question: Verify,
        proofs: &Proofs,
        origin: Origin,
        now_ms: u64,
    ) -> Result<bool, Denial> {
        match proofs.answer(question.what, &question.record) {
            Some(fits) => Ok(fits),
            None => {
                let target = Some(&question.target);
                self.hold_back(origin, target, now_ms)?;
                self.attempts.note_wrong(origin, target, now_ms);
                Err(Denial::Verify(question))
            }
        }
    }

    /// A password that was compared for somebody from this address did fit: that was no guess.
    pub fn was_right(&mut self, address: Option<IpAddr>, question: &Verify, now_ms: u64) {
        let origin = Origin::of(address);
        self.attempts.take_back(origin, &question.target);
        self.attempts.note_right(origin, question.target.clone(), now_ms);
    }

    /// A password that somebody from this address gave was not compared after all: that tells nobody anything.
    pub fn was_not_compared(&mut self, address: Option<IpAddr>, question: &Verify) {
        self.attempts.take_back(Origin::of(address), &question.target);
    }

    /// Who he is under this name: the one whom it is kept for, or whoever his device says.
    fn own_name(
        &mut self,
        name: &UserName,
        known: Option<IdentityId>,
        password: bool,
        proofs: &Proofs,
        origin: Origin,
        now_ms: u64,
    ) -> Result<Option<IdentityId>, Denial> {
        let keys = name.keys();
        refuse_reserved(&keys)?;
        let Some(owner) = self.names.folded.get(&keys.folded).copied() else {
            let alike = [&keys.skeleton, &keys.folded_skeleton];
            let alike = alike.iter().find_map(|key| self.names.looks.get(*key).copied());
            return match alike.filter(|owner| Some(*owner) != known) {
                Some(owner) => {
                    let like = self.identities.get(&owner).and_then(|i| i.name.clone());
                    let like = like.map(String::from).unwrap_or_default();
                    let args = [("name", name.to_string()), ("like", like)];
                    Err(refuse(ErrorCode::NameLooksTaken, args).into())
                }
                None => Ok(known),
            };
        };
        if Some(owner) == known {
            return Ok(known);
        }
        let args = || [("name", name.to_string())];
        let record = self.identities.get(&owner).and_then(|identity| identity.password.clone());
        let Some(record) = record.filter(|_| password) else {
            return Err(refuse(ErrorCode::NameRegistered, args()).into());
        };
        let question = Verify { what: Lock::Name, record, target: Target::Name(owner) };
        match self.compare(question, proofs, origin, now_ms)? {
            true => Ok(Some(owner)),
            false => Err(refuse(ErrorCode::BadPassword, args()).into()),
        }
    }

    /// The invite of a token, if it lets this one in. None: he has used it before, and needs it no more.
    fn usable(
        &mut self,
        token: &InviteToken,
        identity: Option<IdentityId>,
        device: Option<DeviceId>,
        origin: Origin,
        now_ms: u64,
    ) -> Result<Option<u64>, Refusal> {
        // The table is searched by the hash of 256 random bits: its timing tells nothing of a token.
        let id = self.by_hash.get(&token_hash(token)).copied();
        let Some(invite) = id.and_then(|id| self.invites.get(&id)) else {
            self.attempts.note_wrong(origin, None, now_ms);
            return Err(refuse(ErrorCode::BadInvite, []));
        };
        if identity.is_some_and(|identity| invite.used_by.contains(&identity)) {
            return Ok(None);
        }
        if !in_force(invite.until_ms, now_ms) {
            return Err(refuse(ErrorCode::InviteExpired, []));
        }
        if invite.uses_left == 0 {
            return Err(refuse(ErrorCode::BadInvite, []));
        }
        if device.is_none() {
            return Err(refuse(ErrorCode::DeviceNeeded, []));
        }
        Ok(Some(invite.id))
    }

    fn open_server(
        &mut self,
        given: bool,
        proofs: &Proofs,
        origin: Origin,
        now_ms: u64,
    ) -> Result<(), Denial> {
        let Some(record) = self.server_password.clone() else { return Ok(()) };
        if !given {
            return Err(refuse(ErrorCode::ServerPassword, []).into());
        }
        let question = Verify { what: Lock::Server, record, target: Target::Server };
        match self.compare(question, proofs, origin, now_ms)? {
            true => Ok(()),
            false => Err(refuse(ErrorCode::BadServerPassword, []).into()),
        }
    }

    /// Puts a grant in force: the invite is used, the device is remembered. Who he is from now on.
    pub fn settle(
        &mut self,
        grant: &Grant,
        device: Option<DeviceId>,
        name: &UserName,
        now_ms: u64,
    ) -> Option<IdentityId> {
        let mut identity = grant.identity;
        if let Some(invite) = grant.invite.and_then(|id| self.invites.get(&id)).cloned() {
            let id = identity.unwrap_or_else(|| {
                self.newcomers.note(grant.address, now_ms);
                self.new_identity(now_ms)
            });
            identity = Some(id);
            let mut invite = invite;
            invite.uses_left = invite.uses_left.saturating_sub(1);
            invite.used_by.insert(id);
            if invite.operator {
                self.change_identity(id, |identity| identity.operator = true);
                self.note(now_ms, name.as_str(), "become operator", name.as_str(), "by invite");
            }
            if let Some(room) = &invite.room {
                self.admit_to_room(room, id);
            }
            let by = format!("invite {} of {}", invite.id, invite.by);
            self.note_own(id, now_ms, name.as_str(), "redeem", &by);
            self.changes.push(Change::Invite(invite.clone()));
            self.invites.insert(invite.id, invite);
            self.bind(device, id);
        } else if let (true, Some(id)) = (grant.bind, identity) {
            self.bind(device, id);
        }
        identity
    }

    fn new_identity(&mut self, now_ms: u64) -> IdentityId {
        let id = IdentityId(self.fresh_id());
        let identity =
            Identity { id, name: None, password: None, operator: false, created_ms: now_ms };
        self.changes.push(Change::Identity(identity.clone()));
        self.identities.insert(id, identity);
        id
    }

    fn change_identity(&mut self, id: IdentityId, change: impl FnOnce(&mut Identity)) {
        if let Some(identity) = self.identities.get_mut(&id) {
            let before = identity.clone();
            change(identity);
            if *identity != before {
                self.changes.push(Change::Identity(identity.clone()));
            }
        }
    }

    /// Makes a device this identity's, unless it is somebody's already; of too many the oldest goes.
    fn bind(&mut self, device: Option<DeviceId>, id: IdentityId) {
        let Some(device) = device else { return };
        if self.devices.contains_key(&device) {
            return;
        }
        self.devices.insert(device, id);
        let devices = self.of_identity.entry(id).or_default();
        devices.push(device);
        if devices.len() > IDENTITY_DEVICES_MAX {
            let oldest = devices.remove(0);
            self.devices.remove(&oldest);
            self.changes.push(Change::DeviceGone(oldest));
        }
        self.changes.push(Change::Device(device, id));
    }

    /// Whether there is such an identity.
    #[must_use]
    pub fn knows(&self, id: IdentityId) -> bool {
        self.identities.contains_key(&id)
    }

    /// Who somebody is now: who he was when he came in, unless that has been forgotten since; else whoever his
    /// device says.
    fn who(&self, facts: &Facts) -> Option<IdentityId> {
        let still = facts.identity.filter(|id| self.knows(*id));
        still.or_else(|| self.devices.get(&facts.device?).copied())
    }

    /// Whether somebody can come in as this identity: by its name, or by a device.
    fn can_return(&self, identity: &Identity) -> bool {
        let devices = self.of_identity.get(&identity.id);
        identity.name.is_some() || devices.is_some_and(|devices| !devices.is_empty())
    }

    /// Whether the server has a use for an identity without a name: a role, a room that lets it in, something
    /// against it, an invite that may come again.
    fn is_of_use(&self, id: IdentityId) -> bool {
        let against = |s: &InForce| s.record.subjects.contains(&Subject::Identity(id));
        self.identities.get(&id).is_some_and(|identity| identity.operator)
            || self.invites.values().any(|invite| invite.used_by.contains(&id))
            || self.rooms.values().any(|r| r.moderators.contains(&id) || r.admitted.contains(&id))
            || self.sanctions.values().any(against)
    }

    /// Forgets an identity that nobody has a use for any more. Its devices count only where they let one in: on a
    /// server with a password.
    fn forget_unused(&mut self, id: IdentityId) {
        let Some(identity) = self.identities.get(&id) else { return };
        let lets_in = self.server_password.is_some() && self.can_return(identity);
        if identity.name.is_some() || lets_in || self.is_of_use(id) {
            return;
        }
        self.identities.remove(&id);
        for device in self.of_identity.remove(&id).unwrap_or_default() {
            self.devices.remove(&device);
        }
        self.changes.push(Change::IdentityGone(id));
    }

    // ---- names -----------------------------------------------------------------------------

    /// Whether somebody may go by this name: it is his own, or nobody's.
    ///
    /// # Errors
    /// It is kept for somebody else, or looks like such a name.
    pub fn check_name(&self, name: &UserName, identity: Option<IdentityId>) -> Result<(), Refusal> {
        let keys = name.keys();
        refuse_reserved(&keys)?;
        let same = self.names.folded.get(&keys.folded).copied();
        if same.is_some_and(|owner| Some(owner) != identity) {
            return Err(refuse(ErrorCode::NameRegistered, [("name", name.to_string())]));
        }
        let looks = [&keys.skeleton, &keys.folded_skeleton];
        let alike = looks.iter().find_map(|key| self.names.looks.get(*key).copied());
        match alike.filter(|owner| Some(*owner) != identity) {
            None => Ok(()),
            Some(owner) => {
                let like = self.identities.get(&owner).and_then(|i| i.name.clone());
                let like = like.map(String::from).unwrap_or_default();
                Err(refuse(ErrorCode::NameLooksTaken, [("name", name.to_string()), ("like", like)]))
            }
        }
    }

    /// Whether somebody may register this name now; before its password is hashed, which counts for his address.
    ///
    /// # Errors
    /// As [`Self::register`]; or there were too many from his address lately.
    pub fn begin_registering(
        &mut self,
        name: &UserName,
        facts: &Facts,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        self.review_register(name, facts, now_ms)?;
        let origin = Origin::of(facts.address);
        if is_own(facts.address) {
            return Ok(());
        }
        if let Some(wait) = self.registrations.0.wait(&origin, now_ms) {
            let wait = wait.as_millis().max(1).to_string();
            return Err(refuse(ErrorCode::TooFast, [("retry_ms", wait)]));
        }
        self.registrations.0.take(origin, now_ms);
        Ok(())
    }

    fn review_register(
        &mut self,
        name: &UserName,
        facts: &Facts,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let known = self.who(facts);
        self.check_name(name, known)?;
        if self.store_refuses {
            return Err(refuse(ErrorCode::NotKept, []));
        }
        match known {
            Some(_) => Ok(()),
            None => self.refuse_newcomer(facts.address, IDENTITIES_REGISTERED_MAX, now_ms),
        }
    }

    /// Keeps a name for somebody, with a password; a name that was kept for him before is free again.
    ///
    /// # Errors
    /// It is kept for somebody else, or he is new and one too many of all or from his address; or the store
    /// refuses changes.
    pub fn register(
        &mut self,
        name: &UserName,
        facts: &Facts,
        password: PasswordRecord,
        now_ms: u64,
    ) -> Result<IdentityId, Refusal> {
        self.review_register(name, facts, now_ms)?;
        let id = self.who(facts).unwrap_or_else(|| {
            self.newcomers.note(facts.address, now_ms);
            self.new_identity(now_ms)
        });
        self.bind(facts.device, id);
        if let Some(before) = self.identities.get(&id).and_then(|identity| identity.name.clone()) {
            self.names.remove(&before.keys(), id);
        }
        self.names.insert(name.keys(), id);
        self.change_identity(id, |identity| {
            identity.name = Some(name.clone());
            identity.password = Some(password);
        });
        self.note_own(id, now_ms, name.as_str(), "register", name.as_str());
        Ok(id)
    }

    /// Keeps a name for nobody any more, nor whoever it was kept for if the server has no other use for him. Whose
    /// it was.
    ///
    /// # Errors
    /// It is not registered.
    pub fn unregister(
        &mut self,
        name: &UserName,
        by: &str,
        now_ms: u64,
    ) -> Result<IdentityId, Refusal> {
        let keys = name.keys();
        let Some(id) = self.names.folded.get(&keys.folded).copied() else {
            return Err(refuse(ErrorCode::NotRegistered, [("name", name.to_string())]));
        };
        self.names.remove(&keys, id);
        self.change_identity(id, |identity| {
            identity.name = None;
            identity.password = None;
        });
        match by == name.as_str() {
            true => self.note_own(id, now_ms, by, "forget name", name.as_str()),
            false => self.note(now_ms, by, "forget name", name.as_str(), ""),
        }
        self.forget_unused(id);
        Ok(id)
    }

    /// Whom a name is kept for.
    #[must_use]
    pub fn owner_of(&self, name: &UserName) -> Option<IdentityId> {
        self.names.folded.get(&name.keys().folded).copied()
    }

    /// The name that is kept for an identity.
    #[must_use]
    pub fn registered_name(&self, id: IdentityId) -> Option<&UserName> {
        self.identities.get(&id)?.name.as_ref()
    }

    // ---- roles -----------------------------------------------------------------------------

    /// The role on the whole server.
    #[must_use]
    pub fn role(&self, identity: Option<IdentityId>) -> Option<Role> {
        let identity = self.identities.get(&identity?)?;
        identity.operator.then_some(Role::Operator)
    }

    /// The role in a room.
    #[must_use]
    pub fn room_role(&self, identity: Option<IdentityId>, room: &RoomName) -> Option<Role> {
        let kept = self.rooms.get(&room_key(room))?;
        kept.moderators.contains(&identity?).then_some(Role::Moderator)
    }

    /// Whether somebody keeps order in any room.
    #[must_use]
    pub fn moderates(&self, identity: Option<IdentityId>) -> bool {
        identity.is_some_and(|id| self.rooms.values().any(|room| room.moderators.contains(&id)))
    }

    /// Whether anyone is an operator who can come in as one.
    #[must_use]
    pub fn has_operator(&self) -> bool {
        self.identities.values().any(|identity| identity.operator && self.can_return(identity))
    }

    /// Makes somebody an operator, or none any more: then his invites are worth nothing, but those to rooms that he
    /// still keeps order in.
    pub fn set_operator(&mut self, id: IdentityId, on: bool) {
        self.change_identity(id, |identity| identity.operator = on);
        if !on {
            let rooms = &self.rooms;
            let keeps = |room: &Option<RoomName>| {
                let kept = room.as_ref().and_then(|room| rooms.get(&room_key(room)));
                kept.is_some_and(|kept| kept.moderators.contains(&id))
            };
            let his = self.invites.values().filter(|i| i.maker == Some(id));
            let gone = his.filter(|i| i.operator || !keeps(&i.room)).map(|i| i.id).collect();
            self.drop_invites(gone);
        }
    }

    /// An identity for somebody who is here and has none yet, so that he can be given a role.
    ///
    /// # Errors
    /// He has no device key to be known by, or the server knows too many people.
    pub fn make_known(&mut self, facts: &Facts, now_ms: u64) -> Result<IdentityId, Refusal> {
        match (self.who(facts), facts.device) {
            (Some(id), _) => Ok(id),
            (None, None) => Err(refuse(ErrorCode::DeviceNeeded, [])),
            (None, Some(_)) if self.identities.len() >= IDENTITIES_MAX => {
                Err(too_many("identities", IDENTITIES_MAX))
            }
            (None, device) => {
                let id = self.new_identity(now_ms);
                self.bind(device, id);
                Ok(id)
            }
        }
    }

    // ---- rooms -----------------------------------------------------------------------------

    /// The rooms that are kept when empty.
    pub fn kept_rooms(&self) -> impl Iterator<Item = &KeptRoom> {
        self.rooms.values()
    }

    /// A room that is kept.
    #[must_use]
    pub fn kept_room(&self, room: &RoomName) -> Option<&KeptRoom> {
        self.rooms.get(&room_key(room))
    }

    /// Whether somebody may go into a room; changes nothing but the count of wrong guesses.
    ///
    /// # Errors
    /// A password must be compared first; or he may not.
    pub fn review_room(
        &mut self,
        room: &RoomName,
        name: &UserName,
        facts: &Facts,
        given: bool,
        proofs: &Proofs,
        now_ms: u64,
    ) -> Result<(), Denial> {
        if self.role(facts.identity) == Some(Role::Operator) {
            return Ok(());
        }
        self.refuse_banned(name, facts, Some(room), now_ms)?;
        let Some(kept) = self.rooms.get(&room_key(room)) else { return Ok(()) };
        let welcome = facts
            .identity
            .is_some_and(|id| kept.admitted.contains(&id) || kept.moderators.contains(&id));
        let Some(record) = kept.password.clone().filter(|_| !welcome) else { return Ok(()) };
        let args = [("room", kept.name.to_string())];
        let answer = proofs.answer(Lock::Room, &record);
        if !given && answer.is_none() {
            return Err(refuse(ErrorCode::RoomPassword, args).into());
        }
        let origin = Origin::of(facts.address);
        let target = Target::Room(room_key(room));
        let question = Verify { what: Lock::Room, record, target };
        match self.compare(question, proofs, origin, now_ms)? {
            true => Ok(()),
            false => Err(refuse(ErrorCode::BadRoomPassword, args).into()),
        }
    }

    /// The kept room of this name, made if it does not exist.
    fn keep(&mut self, room: &RoomName) -> Result<&mut KeptRoom, Refusal> {
        let key = room_key(room);
        if !self.rooms.contains_key(&key) && self.rooms.len() >= KEPT_ROOMS_MAX {
            return Err(too_many("rooms", KEPT_ROOMS_MAX));
        }
        Ok(self.rooms.entry(key).or_insert_with(|| KeptRoom {
            name: room.clone(),
            password: None,
            moderators: BTreeSet::new(),
            admitted: BTreeSet::new(),
        }))
    }

    /// Notes a kept room's state for the store, or lets it go if nothing keeps it.
    fn settle_room(&mut self, room: &RoomName) {
        let key = room_key(room);
        let Some(kept) = self.rooms.get(&key) else { return };
        if kept.password.is_none() && kept.moderators.is_empty() {
            let name = kept.name.clone();
            self.rooms.remove(&key);
            self.changes.push(Change::RoomGone(name));
        } else {
            self.changes.push(Change::Room { room: kept.clone(), before: None });
        }
    }

    /// Sets or takes off a room's password. No invite that was made before opens a new one.
    ///
    /// # Errors
    /// Too many rooms are kept.
    pub fn set_room_password(
        &mut self,
        room: &RoomName,
        password: Option<PasswordRecord>,
    ) -> Result<(), Refusal> {
        let kept = self.keep(room)?;
        let locked = password.is_some();
        kept.admitted.clear();
        kept.password = password;
        self.settle_room(room);
        if locked {
            self.close_invites(room);
        }
        Ok(())
    }

    /// Makes somebody a moderator of a room, or none any more: then his invites to it are worth nothing.
    ///
    /// # Errors
    /// Too many rooms are kept, or the room has too many moderators.
    pub fn set_moderator(
        &mut self,
        room: &RoomName,
        id: IdentityId,
        on: bool,
    ) -> Result<(), Refusal> {
        let kept = self.keep(room)?;
        if on && !kept.moderators.contains(&id) && kept.moderators.len() >= ROOM_MODERATORS_MAX {
            return Err(too_many("moderators", ROOM_MODERATORS_MAX));
        }
        if on {
            kept.moderators.insert(id)
        } else {
            kept.moderators.remove(&id)
        };
        self.settle_room(room);
        if !on && self.role(Some(id)) != Some(Role::Operator) {
            let key = room_key(room);
            let there = |i: &&InviteRecord| i.room.as_ref().is_some_and(|r| room_key(r) == key);
            let his = self.invites.values().filter(|i| i.maker == Some(id)).filter(there);
            let gone = his.map(|i| i.id).collect();
            self.drop_invites(gone);
        }
        Ok(())
    }

    /// Lets an identity into a room that has a password.
    fn admit_to_room(&mut self, room: &RoomName, id: IdentityId) {
        if let Some(kept) = self.rooms.get_mut(&room_key(room))
            && kept.admitted.len() < ROOM_ADMITTED_MAX
            && kept.admitted.insert(id)
        {
            self.changes.push(Change::Room { room: kept.clone(), before: None });
        }
    }

    /// Forgets what was kept of a room, bans from it included. Another of that name is another room: no invite to
    /// this one opens it.
    pub fn forget_room(&mut self, room: &RoomName) {
        self.close_invites(room);
        if let Some(kept) = self.rooms.remove(&room_key(room)) {
            self.changes.push(Change::RoomGone(kept.name));
        }
        for id in self.sanctions_of(room) {
            self.drop_sanction(id);
        }
    }

    /// Gives a kept room, and the bans from it, another name. That the name is free is the lobby's care.
    pub fn rename_room(&mut self, from: &RoomName, to: &RoomName) {
        if let Some(mut kept) = self.rooms.remove(&room_key(from)) {
            kept.name = to.clone();
            let before = Some(from.clone());
            self.changes.push(Change::Room { room: kept.clone(), before });
            self.rooms.insert(room_key(to), kept);
        }
        self.rename_sanctions(from, to);
        let key = room_key(from);
        for invite in self.invites.values_mut() {
            if invite.room.as_ref().is_some_and(|room| room_key(room) == key) {
                invite.room = Some(to.clone());
                self.changes.push(Change::Invite(invite.clone()));
            }
        }
    }

    // ---- the audit log ---------------------------------------------------------------------

    /// Notes who did what.
    pub fn note(&mut self, at_ms: u64, by: &str, action: &str, target: &str, detail: &str) {
        tracing::info!(by, action, target, detail, "audit");
        let entry = AuditEntry {
            at_ms,
            by: by.to_owned(),
            action: action.to_owned(),
            target: target.to_owned(),
            detail: detail.to_owned(),
        };
        self.changes.push(Change::Audit { entry, routine: false });
    }

    /// Notes what somebody did for himself.
    fn note_own(&mut self, id: IdentityId, at_ms: u64, by: &str, action: &str, target: &str) {
        self.note(at_ms, by, action, target, "");
        let has_role = self.role(Some(id)).is_some() || self.moderates(Some(id));
        if let Some(Change::Audit { routine, .. }) = self.changes.last_mut() {
            *routine = !has_role;
        }
    }
}

/// What an invite is good for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InviteTerms {
    /// The room that it leads to.
    pub room: Option<RoomName>,
    /// Makes an operator.
    pub operator: bool,
    /// How many may use it.
    pub uses: u32,
    /// Until when.
    pub until_ms: Option<u64>,
    /// Who makes it; nobody if the server itself does.
    pub maker: Option<IdentityId>,
}

#[cfg(test)]
mod tests;
