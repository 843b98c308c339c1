//! The lobby actor: carries out what the registry decides, and makes and ends rooms.

pub mod core;
pub mod moderation;

use self::core::{Admission, Ask, LobbyCore, Place, Refusal, Vacated};
use self::moderation::Transfer;
use super::access::attempts::Origin;
use super::access::core::{Claim, Denial, Facts, Lock, Proofs, Verify};
use super::access::gate::Gate;
use super::access::password::{HashError, Hasher};
use super::access::store::{Commit, NotWritten, Store};
use super::bucket::{Bucket, Rate};
use super::limits::{Limits, text_cost};
use super::outbox::Outbox;
use super::room::core::{Change, Member, TextNumbers};
use super::room::{self, Room};
use super::routes::{Routes, SessionVoice, VoicePath};
use crate::net::clock;
use crate::net::codec::Codec;
use crate::net::device::DeviceId;
use crate::net::ids::{RoomId, SessionId, Ssrc};
use crate::net::invite::{InviteToken, Issuer};
use crate::net::limits::{
    LIST_ENTRIES_MAX, LOBBY_MAILBOX, PROOFS_MAX, SANCTION_SWEEP, SESSION_REGISTRATION_BURST,
    SESSION_REGISTRATIONS_PER_MINUTE,
};
use crate::net::message::{
    ErrorCode, GoodbyeReason, LeaveReason, MemberState, ServerMessage, Standing,
};
use crate::net::name::{RoomName, UserName};
use crate::net::protect::Sealer;
use crate::net::secret::{Password, ResumeSecret};
use actix::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The actor.
pub struct Lobby {
    core: LobbyCore,
    rooms: BTreeMap<RoomId, Addr<Room>>,
    clients: BTreeMap<SessionId, Client>,
    routes: Routes,
    store: Store,
    hasher: Hasher,
    issuer: Option<Issuer>,
    limits: Arc<Limits>,
    /// Of all rooms' texts.
    numbers: TextNumbers,
}

struct Client {
    outbox: Outbox,
    session: Option<Recipient<Placed>>,
    transfer: Option<Recipient<Transfer>>,
    /// His streams, and the first of their SSRCs.
    voice: Option<Arc<SessionVoice>>,
    base: Ssrc,
    /// What he was last told that the server thinks of him.
    standing: Standing,
    /// How often he may still register a name.
    registering: Bucket,
    /// What he may still be told in private, in bytes.
    told: Bucket,
}

/// How often a session may register a name.
fn registrations() -> Rate {
    Rate {
        per_second: f64::from(SESSION_REGISTRATIONS_PER_MINUTE) / 60.0,
        burst: f64::from(SESSION_REGISTRATION_BURST),
    }
}

/// Connection to lobby: let this client in. Nobody may hear of it before the commit is on disk.
#[derive(Message)]
#[rtype(result = "Result<(Admission, Commit), Denial>")]
pub struct Admit {
    /// His session.
    pub session: SessionId,
    /// The name he wants.
    pub name: String,
    /// The secret of a session to take over.
    pub resume: Option<ResumeSecret>,
    /// The secret to resume the new session with.
    pub fresh: ResumeSecret,
    /// Where his events go.
    pub outbox: Outbox,
    /// Where he comes from.
    pub address: Option<IpAddr>,
    /// His device, proven.
    pub device: Option<DeviceId>,
    /// An invite's token.
    pub invite: Option<InviteToken>,
    /// Which passwords he gave.
    pub given: (Option<Lock>, Option<Lock>),
    /// What came of comparing them; the last is new with each time that he asks.
    pub proofs: Proofs,
}

/// Connection to lobby: what was to be compared was not, so it counts for nothing.
#[derive(Message)]
#[rtype(result = "()")]
pub struct NotCompared {
    /// Where the password came from.
    pub address: Option<IpAddr>,
    /// What it was to be compared with.
    pub question: Verify,
}

/// Connection to lobby: the session's actor runs.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Attach {
    /// Which session.
    pub session: SessionId,
    /// Its actor.
    pub addr: Recipient<Placed>,
    /// The same, to be sent elsewhere.
    pub transfer: Recipient<Transfer>,
    /// His streams.
    pub voice: Arc<SessionVoice>,
}

/// Lobby to session: which room it is in now.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Placed(
    /// The room, if any.
    pub Option<Addr<Room>>,
);

/// Session to lobby: into this room, out of the one before.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Join {
    /// Which session.
    pub session: SessionId,
    /// The room's name.
    pub room: String,
    /// The room's password.
    pub password: Option<Password>,
    /// The last text that he has heard in it.
    pub after: Option<u64>,
    /// The request.
    pub re: Option<u32>,
    /// Microphone and ears.
    pub state: MemberState,
    /// In a talkspurt right now.
    pub speaking: bool,
    /// Codecs that he can decode.
    pub codecs: Vec<Codec>,
    /// His streams.
    pub voice: Arc<SessionVoice>,
    /// Seals what goes down to him.
    pub sealer: Sealer,
    /// Where his voice goes.
    pub path: Option<VoicePath>,
}

/// Session to lobby: out of the room.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Part {
    /// Which session.
    pub session: SessionId,
    /// The request.
    pub re: Option<u32>,
}

/// Session to lobby: text to one user.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Tell {
    /// Which session.
    pub session: SessionId,
    /// The name of the user to tell.
    pub to: String,
    /// What.
    pub text: String,
    /// When.
    pub at_ms: u64,
    /// The request.
    pub re: Option<u32>,
}

/// Session to lobby: which rooms are there?
#[derive(Message)]
#[rtype(result = "()")]
pub struct ListRooms {
    /// Which session.
    pub session: SessionId,
    /// The request.
    pub re: Option<u32>,
}

/// Session to lobby: who is in a room?
#[derive(Message)]
#[rtype(result = "()")]
pub struct ListUsers {
    /// Which session.
    pub session: SessionId,
    /// Which room; the own one if left out.
    pub room: Option<String>,
    /// The request.
    pub re: Option<u32>,
}

/// Session to lobby: another name.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Rename {
    /// Which session.
    pub session: SessionId,
    /// The new name.
    pub name: String,
    /// The request.
    pub re: Option<u32>,
}

/// Session to lobby: keep my name for me.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Register {
    /// Which session.
    pub session: SessionId,
    /// The name's password; none to keep it no longer.
    pub password: Option<Password>,
    /// The request.
    pub re: Option<u32>,
}

/// Session to lobby: this session is over. Answered when no forwarder sends it anything any more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Farewell {
    /// Which session.
    pub session: SessionId,
    /// What the others are told.
    pub reason: LeaveReason,
}

/// Server to lobby: tell everyone that the server stops.
#[derive(Message)]
#[rtype(result = "()")]
pub struct CloseAll;

/// Sessions and rooms that the lobby holds, for the operator and for leak tests.
#[derive(Message)]
#[rtype(result = "(usize, usize)")]
pub struct Census;

impl Lobby {
    /// A lobby with nobody in it. `random` decides where SSRCs begin.
    #[must_use]
    pub fn new(random: u32, routes: Routes, gate: Gate, limits: Arc<Limits>) -> Self {
        Self {
            core: LobbyCore::new(random, gate.access, Arc::clone(&limits)),
            rooms: BTreeMap::new(),
            clients: BTreeMap::new(),
            routes,
            store: gate.store,
            hasher: gate.hasher,
            issuer: gate.issuer,
            limits,
            numbers: TextNumbers::default(),
        }
    }

    /// Hands what has changed to the store.
    fn commit(&mut self) -> Commit {
        let changes = self.core.access.take_changes();
        self.store.commit(changes)
    }

    fn outbox(&self, session: SessionId) -> Option<&Outbox> {
        self.clients.get(&session).map(|client| &client.outbox)
    }

    fn answer(&self, session: SessionId, re: Option<u32>, message: ServerMessage) {
        if let Some(outbox) = self.outbox(session) {
            outbox.answer(re, message);
        }
    }

    fn refuse(&self, session: SessionId, re: Option<u32>, Refusal(message): Refusal) {
        self.answer(session, re, *message);
    }

    /// Tells a session which room it is in. A full mailbox means that its forwarder floods it with
    /// news: `do_send` then, because there is one such message for each request and none may be lost.
    fn placed(&self, session: SessionId, room: Option<Addr<Room>>) {
        if let Some(Client { session: Some(addr), .. }) = self.clients.get(&session) {
            addr.do_send(Placed(room));
        }
    }

    /// Takes a member out of a room's actor, and ends the room if it was the last.
    fn leave_room(&mut self, vacated: Vacated, reason: LeaveReason) -> ResponseFuture<()> {
        let Some(room) = self.rooms.get(&vacated.room).cloned() else {
            return Box::pin(std::future::ready(()));
        };
        let left = room.send(room::Leave { id: vacated.member, reason });
        if vacated.closed {
            self.rooms.remove(&vacated.room);
            // Behind the leave in the same mailbox; once for each room.
            room.do_send(room::Close);
        }
        Box::pin(async move {
            let _ = left.await;
        })
    }

    /// Puts a session that is in no room (or in this very one) into a room.
    /// `left` is the room that it came from just now.
    fn enter_room(&mut self, join: Join, proofs: &Proofs, left: Option<RoomName>) {
        let session = join.session;
        if let Some(room) = self.core.room_of(session) {
            return self.enter(join, room, proofs);
        }
        // Once more: he may have been banned, or the password changed, while he was on his way.
        let placed = self.may_join(&join, proofs);
        match placed.and_then(|()| self.core.place(session, &join.room)) {
            Err(refusal) => {
                // The last place went while he was on his way: he is in no room, and must know.
                if let Some(room) = left {
                    self.answer(session, None, ServerMessage::left(room));
                }
                self.refuse(session, join.re, refusal);
            }
            Ok(None) => {}
            Ok(Some(place)) => {
                let room = self.open_room(place);
                self.enter(join, room, proofs);
            }
        }
    }

    /// Puts a session onto the place that it was given.
    fn seat(&mut self, join: Join, place: Place) {
        let room = self.open_room(place);
        self.enter(join, room, &Proofs::default());
    }

    /// The room of a place, which is made if nobody was in it.
    fn open_room(&mut self, Place { room, name, created }: Place) -> RoomId {
        if created {
            let actor =
                Room::new(room, name, self.routes.clone(), &self.limits, self.numbers.clone());
            self.rooms.insert(room, actor.start());
        }
        room
    }

    /// Tells a room's actor that a session is in it.
    fn enter(&mut self, join: Join, room: RoomId, proofs: &Proofs) {
        let session = join.session;
        let Some(addr) = self.rooms.get(&room).cloned() else { return };
        self.core.remember_proofs(session, proofs);
        let standing = self.core.standing(session, clock::unix_ms());
        // Before anyone could hear him there.
        join.voice.silence(standing.silenced);
        let Some((id, name)) = self.core.member(session) else { return };
        let Some(outbox) = self.outbox(session).cloned() else { return };
        let member = Member {
            id,
            session,
            name: name.clone(),
            state: join.state,
            speaking: join.speaking,
            role: standing.role.or(standing.room_role),
            silenced: standing.silenced,
            codecs: join.codecs,
            voice: join.voice,
            sealer: join.sealer,
            path: join.path,
        };
        // One for each request; the registry has counted the places, so the room cannot refuse. The
        // session hears of the room only then, so that what it tells the room comes behind this.
        addr.do_send(room::Enter { member, outbox, after: join.after, re: join.re });
        // Behind the answer; the room's role is the news.
        self.tell_standing(session);
        self.placed(session, Some(addr));
    }

    /// As `review_join`; a password that is not compared by now will not be.
    fn may_join(&mut self, join: &Join, proofs: &Proofs) -> Result<(), Refusal> {
        let now = clock::unix_ms();
        match self.core.review_join(join.session, &join.room, false, proofs, now) {
            Ok(_) => Ok(()),
            Err(Denial::Refused(refusal)) => Err(refusal),
            Err(Denial::Verify(question)) => {
                let address = self.core.facts(join.session).and_then(|facts| facts.address);
                self.core.access.was_not_compared(address, &question);
                Err(Refusal(Box::new(ServerMessage::error(ErrorCode::Busy, []))))
            }
        }
    }

    /// Lets a session into a room, once its password, where it needs one, has been compared.
    fn join(&mut self, join: Join, mut proofs: Proofs) -> ResponseActFuture<Self, ()> {
        let nothing = || -> ResponseActFuture<Self, ()> { Box::pin(actix::fut::ready(())) };
        let wanted = self.core.find_room(&join.room);
        let current = self.core.room_of(join.session);
        if current.is_some() && current == wanted {
            self.enter_room(join, &proofs, None);
            return nothing();
        }
        // Nobody is moved out of one room only to hear that he cannot get into another.
        let now = clock::unix_ms();
        let given = join.password.is_some();
        let question = match self.core.review_join(join.session, &join.room, given, &proofs, now) {
            Ok(_) => return self.change_room(join, proofs),
            Err(Denial::Refused(refusal)) => {
                self.refuse(join.session, join.re, refusal);
                return nothing();
            }
            Err(Denial::Verify(question)) => question,
        };
        let address = self.core.facts(join.session).and_then(|facts| facts.address);
        let Some(password) = join.password.clone().filter(|_| proofs.count() < PROOFS_MAX) else {
            self.core.access.was_not_compared(address, &question);
            self.answer(join.session, join.re, ServerMessage::error(ErrorCode::Busy, []));
            return nothing();
        };
        let hasher = self.hasher.clone();
        let record = question.record.clone();
        let compared = async move { hasher.verify(Origin::of(address), password, record).await };
        Box::pin(compared.into_actor(self).then(move |compared, lobby, _| match compared {
            Ok(fits) => {
                if fits {
                    lobby.core.access.was_right(address, &question, clock::unix_ms());
                }
                proofs.add(question, fits);
                lobby.join(join, proofs)
            }
            Err(HashError::Busy | HashError::Failed) => {
                lobby.core.access.was_not_compared(address, &question);
                lobby.answer(join.session, join.re, ServerMessage::error(ErrorCode::Busy, []));
                Box::pin(actix::fut::ready(()))
            }
        }))
    }

    /// Takes a session out of its room, if it is in one, and then into another.
    fn change_room(&mut self, join: Join, proofs: Proofs) -> ResponseActFuture<Self, ()> {
        if self.core.room_of(join.session).is_none() {
            self.enter_room(join, &proofs, None);
            return Box::pin(actix::fut::ready(()));
        }
        let before = self.room_name(join.session);
        let left: ResponseFuture<()> = match self.core.vacate(join.session) {
            Some(vacated) => self.leave_room(vacated, LeaveReason::Switched),
            None => Box::pin(std::future::ready(())),
        };
        self.placed(join.session, None);
        // If the session ends while it is between two rooms, the registry knows it no more and it
        // enters none.
        Box::pin(
            left.into_actor(self).map(move |(), lobby, _| lobby.enter_room(join, &proofs, before)),
        )
    }
}

impl Actor for Lobby {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(LOBBY_MAILBOX);
        ctx.run_interval(SANCTION_SWEEP, |lobby, _| lobby.lapse());
    }
}

impl Handler<Admit> for Lobby {
    type Result = Result<(Admission, Commit), Denial>;

    fn handle(&mut self, admit: Admit, _: &mut Self::Context) -> Self::Result {
        let Admit { session, name, resume, fresh, outbox, address, device, .. } = admit;
        if let Some((question, true)) = admit.proofs.last() {
            self.core.access.was_right(address, question, clock::unix_ms());
        }
        let given = |lock| admit.given.0 == Some(lock) || admit.given.1 == Some(lock);
        let claim = Claim {
            address,
            device,
            invite: admit.invite.as_ref(),
            server_password: given(Lock::Server),
            password: given(Lock::Name),
        };
        let ask = Ask { session, name: &name, resume: resume.as_ref(), fresh, claim };
        self.core.access.store_refuses(self.store.refuses());
        let admission = self.core.admit(ask, &admit.proofs, clock::unix_ms())?;
        if let Some((lost, _)) = &admission.resumed
            && let Some(client) = self.clients.remove(lost)
        {
            client.outbox.close(GoodbyeReason::Resumed);
        }
        let standing = admission.standing;
        let client = Client {
            outbox,
            session: None,
            transfer: None,
            voice: None,
            base: admission.base,
            standing,
            registering: Bucket::full(registrations(), clock::now()),
            told: Bucket::full(self.limits.told_bytes(), clock::now()),
        };
        self.clients.insert(session, client);
        let identity = self.core.facts(session).and_then(|facts| facts.identity);
        Ok((admission, self.store.commit_of(identity, self.core.access.take_changes())))
    }
}

impl Handler<NotCompared> for Lobby {
    type Result = ();

    fn handle(&mut self, NotCompared { address, question }: NotCompared, _: &mut Self::Context) {
        self.core.access.was_not_compared(address, &question);
    }
}

impl Handler<Attach> for Lobby {
    type Result = ();

    fn handle(&mut self, Attach { session, addr, transfer, voice }: Attach, _: &mut Self::Context) {
        if let Some(client) = self.clients.get_mut(&session) {
            voice.silence(client.standing.silenced);
            client.session = Some(addr);
            client.transfer = Some(transfer);
            client.voice = Some(voice);
        }
    }
}

impl Handler<Join> for Lobby {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, join: Join, _: &mut Self::Context) -> Self::Result {
        self.join(join, Proofs::default())
    }
}

impl Handler<Part> for Lobby {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, Part { session, re }: Part, _: &mut Self::Context) -> Self::Result {
        let name = self.room_name(session);
        match (self.core.vacate(session), name) {
            (Some(vacated), Some(room)) => {
                self.placed(session, None);
                let left = self.leave_room(vacated, LeaveReason::Left);
                Box::pin(left.into_actor(self).map(move |(), lobby, _| {
                    lobby.answer(session, re, ServerMessage::left(room));
                    lobby.tell_standing(session);
                }))
            }
            _ => {
                self.answer(session, re, ServerMessage::error(ErrorCode::NotInRoom, []));
                Box::pin(actix::fut::ready(()))
            }
        }
    }
}

impl Lobby {
    fn room_name(&self, session: SessionId) -> Option<RoomName> {
        let id = self.core.room_of(session)?;
        self.core.room_name(id).cloned()
    }
}

impl Handler<Farewell> for Lobby {
    type Result = ResponseFuture<()>;

    fn handle(
        &mut self,
        Farewell { session, reason }: Farewell,
        _: &mut Self::Context,
    ) -> Self::Result {
        self.clients.remove(&session);
        match self.core.remove(session) {
            Some(vacated) => self.leave_room(vacated, reason),
            None => Box::pin(std::future::ready(())),
        }
    }
}

impl Handler<Tell> for Lobby {
    type Result = ();

    fn handle(&mut self, Tell { session, to, text, at_ms, re }: Tell, _: &mut Self::Context) {
        let Some((_, from)) = self.core.member(session) else { return };
        let from = from.clone();
        let found = self.core.find_user(&to);
        let Some((receiver, (_, to))) = found.and_then(|s| Some((s, self.core.member(s)?))) else {
            let name = crate::net::name::printable(&to);
            let error = ServerMessage::error(ErrorCode::NoSuchUser, [("name", name)]);
            return self.answer(session, re, error);
        };
        let to = to.clone();
        let (cost, now) = (text_cost(&text), clock::now());
        let message = ServerMessage::Private { from, to, text, at_ms };
        if receiver != session
            && let Some(client) = self.clients.get_mut(&receiver)
        {
            if !client.told.has(cost, now) {
                let wait = client.told.wait(cost);
                return self.answer(session, re, room::too_fast(wait));
            }
            client.told.spend(cost);
            client.outbox.text(message.clone());
        }
        self.answer(session, re, message);
    }
}

impl Handler<ListRooms> for Lobby {
    type Result = ();

    fn handle(&mut self, ListRooms { session, re }: ListRooms, _: &mut Self::Context) {
        let rooms = self.core.rooms();
        let total = u64::try_from(self.core.sizes().1).unwrap_or(0);
        if rooms.is_empty() {
            let none = ServerMessage::Rooms { rooms, total, more: false };
            return self.answer(session, re, none);
        }
        let count = rooms.len().div_ceil(LIST_ENTRIES_MAX);
        for (k, page) in rooms.chunks(LIST_ENTRIES_MAX).enumerate() {
            let rooms = page.to_vec();
            self.answer(session, re, ServerMessage::Rooms { rooms, total, more: k + 1 < count });
        }
    }
}

impl Handler<ListUsers> for Lobby {
    type Result = ResponseFuture<()>;

    fn handle(
        &mut self,
        ListUsers { session, room, re }: ListUsers,
        _: &mut Self::Context,
    ) -> Self::Result {
        let id = match &room {
            Some(name) => self.core.find_room(name),
            None => self.core.room_of(session),
        };
        if let Some(id) = id
            && let Err(refusal) = self.core.review_look(session, id, clock::unix_ms())
        {
            self.refuse(session, re, refusal);
            return Box::pin(std::future::ready(()));
        }
        let found = id.and_then(|id| self.rooms.get(&id)).cloned();
        if let (Some(addr), Some(outbox)) = (found, self.outbox(session).cloned()) {
            let inside = self.core.room_of(session) == id;
            return Box::pin(async move {
                let _ = addr.send(room::ListMembers { outbox, inside, re }).await;
            });
        }
        let error = match room {
            Some(name) => {
                let room = crate::net::name::printable(&name);
                ServerMessage::error(ErrorCode::NoSuchRoom, [("room", room)])
            }
            None => ServerMessage::error(ErrorCode::NotInRoom, []),
        };
        self.answer(session, re, error);
        Box::pin(std::future::ready(()))
    }
}

impl Handler<Rename> for Lobby {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(
        &mut self,
        Rename { session, name, re }: Rename,
        _: &mut Self::Context,
    ) -> Self::Result {
        let now = clock::unix_ms();
        // Who is silenced by his name alone would otherwise be heard again under another; in whatever
        // room, since he could leave it for that and come back.
        let renamed = match self.core.silenced_anywhere(session, now) {
            true => {
                let why = "it cannot be changed while you are silenced".to_owned();
                Err(Refusal(Box::new(ServerMessage::error(ErrorCode::BadName, [("why", why)]))))
            }
            false => self.core.rename(session, &name, now),
        };
        match renamed {
            Ok(name) => {
                let told = self.tell_name(session, re, name).into_actor(self);
                Box::pin(told.map(move |(), lobby, _| lobby.tell_standing(session)))
            }
            Err(refusal) => {
                self.refuse(session, re, refusal);
                Box::pin(actix::fut::ready(()))
            }
        }
    }
}

impl Handler<Register> for Lobby {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(
        &mut self,
        Register { session, password, re }: Register,
        _: &mut Self::Context,
    ) -> Self::Result {
        let nothing = || -> ResponseActFuture<Self, ()> { Box::pin(actix::fut::ready(())) };
        let Some((name, facts)) = self.known(session) else { return nothing() };
        if self.store.overfull() {
            self.answer(session, re, ServerMessage::error(ErrorCode::NotKept, []));
            return nothing();
        }
        let Some(password) = password else {
            let result = match self.core.access.owner_of(&name) {
                owner if owner.is_some() && owner == facts.identity => {
                    let now = clock::unix_ms();
                    self.core.unregister(&name, name.as_str(), now).map(|_| ())
                }
                _ => Err(not_registered(&name)),
            };
            return self.registered(session, re, name, false, result);
        };
        let now = clock::unix_ms();
        self.core.access.store_refuses(self.store.refuses());
        let begun = self
            .may_hash(session)
            .and_then(|()| self.core.access.begin_registering(&name, &facts, now));
        if let Err(refusal) = begun {
            self.refuse(session, re, refusal);
            return nothing();
        }
        let (hasher, origin) = (self.hasher.clone(), Origin::of(facts.address));
        let hashed = async move { hasher.hash_for_name(origin, password).await };
        Box::pin(hashed.into_actor(self).then(move |hashed, lobby, _| {
            let Ok(record) = hashed else {
                lobby.answer(session, re, ServerMessage::error(ErrorCode::Busy, []));
                return nothing();
            };
            // He may have another name by now, or be gone.
            let Some((name, facts)) = lobby.known(session) else { return nothing() };
            lobby.core.access.store_refuses(lobby.store.refuses());
            let result = lobby.core.access.register(&name, &facts, record, clock::unix_ms());
            let result = result.map(|identity| lobby.core.set_identity(session, identity));
            lobby.registered(session, re, name, true, result)
        }))
    }
}

fn not_registered(name: &UserName) -> Refusal {
    let args = [("name", name.to_string())];
    Refusal(Box::new(ServerMessage::error(ErrorCode::NotRegistered, args)))
}

impl Lobby {
    /// Takes a registration out of what a session has of them.
    fn may_hash(&mut self, session: SessionId) -> Result<(), Refusal> {
        let Some(client) = self.clients.get_mut(&session) else { return Ok(()) };
        if client.registering.has(1.0, clock::now()) {
            client.registering.spend(1.0);
            return Ok(());
        }
        let wait = client.registering.wait(1.0).as_millis().max(1).to_string();
        Err(Refusal(Box::new(ServerMessage::error(ErrorCode::TooFast, [("retry_ms", wait)]))))
    }

    fn known(&self, session: SessionId) -> Option<(UserName, Facts)> {
        let (_, name) = self.core.member(session)?;
        Some((name.clone(), self.core.facts(session)?.clone()))
    }

    /// Answers that a name is registered or not, when the store has it.
    fn registered(
        &mut self,
        session: SessionId,
        re: Option<u32>,
        name: UserName,
        registered: bool,
        result: Result<(), Refusal>,
    ) -> ResponseActFuture<Self, ()> {
        let answer = match result {
            Ok(()) => ServerMessage::Registered { name, registered },
            Err(Refusal(message)) => *message,
        };
        let commit = self.commit();
        Box::pin(commit.on_disk().into_actor(self).map(move |written, lobby, _| {
            let answer = match written {
                Ok(()) => answer,
                Err(NotWritten) => ServerMessage::error(ErrorCode::NotKept, []),
            };
            lobby.answer(session, re, answer);
            lobby.tell_standing(session);
        }))
    }

    /// Puts in force what the server thinks of a session, and tells it and its room if that is news.
    fn tell_standing(&mut self, session: SessionId) {
        let standing = self.core.standing(session, clock::unix_ms());
        let Some(client) = self.clients.get_mut(&session) else { return };
        if let Some(voice) = &client.voice {
            voice.silence(standing.silenced);
        }
        if client.standing == standing {
            return;
        }
        client.standing = standing;
        client.outbox.event(ServerMessage::Standing(standing));
        let room = self.core.room_of(session).and_then(|id| self.rooms.get(&id));
        if let (Some(room), Some((id, _))) = (room, self.core.member(session)) {
            let role = standing.role.or(standing.room_role);
            let change = Change::Standing { role, silenced: standing.silenced };
            // One for each change of a standing, and none may be lost.
            room.do_send(room::Alter { id, session, change });
        }
    }
}

impl Handler<CloseAll> for Lobby {
    type Result = ();

    fn handle(&mut self, _: CloseAll, _: &mut Self::Context) {
        for client in self.clients.values() {
            client.outbox.close(GoodbyeReason::Stopping);
        }
    }
}

impl Handler<Census> for Lobby {
    type Result = MessageResult<Census>;

    fn handle(&mut self, _: Census, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.core.sizes())
    }
}
