//! The lobby actor: carries out what the registry decides, and makes and ends rooms.

pub mod core;

use self::core::{Admission, LobbyCore, Refusal, Vacated};
use super::outbox::Outbox;
use super::room::core::{Change, Member};
use super::room::{self, Room};
use super::routes::{Routes, SessionVoice, VoicePath};
use crate::net::codec::Codec;
use crate::net::ids::{RoomId, SessionId};
use crate::net::limits::{LIST_ENTRIES_MAX, LOBBY_MAILBOX};
use crate::net::message::{ErrorCode, GoodbyeReason, LeaveReason, MemberState, ServerMessage};
use crate::net::name::RoomName;
use crate::net::protect::Sealer;
use crate::net::secret::ResumeSecret;
use actix::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The actor.
pub struct Lobby {
    core: LobbyCore,
    rooms: BTreeMap<RoomId, Addr<Room>>,
    clients: BTreeMap<SessionId, Client>,
    routes: Routes,
}

struct Client {
    outbox: Outbox,
    session: Option<Recipient<Placed>>,
}

/// Connection to lobby: let this client in.
#[derive(Message)]
#[rtype(result = "Result<Admission, Refusal>")]
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
}

/// Connection to lobby: the session's actor runs.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Attach {
    /// Which session.
    pub session: SessionId,
    /// Its actor.
    pub addr: Recipient<Placed>,
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
    pub fn new(random: u32, routes: Routes) -> Self {
        Self {
            core: LobbyCore::new(random),
            rooms: BTreeMap::new(),
            clients: BTreeMap::new(),
            routes,
        }
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
    fn enter_room(&mut self, join: Join, left: Option<RoomName>) {
        let session = join.session;
        let current = self.core.room_of(session);
        let (room, addr) = match current {
            Some(room) => (room, None),
            None => match self.core.place(session, &join.room) {
                Err(refusal) => {
                    // The last place went while he was on his way: he is in no room, and must know.
                    if let Some(room) = left {
                        self.answer(session, None, ServerMessage::left(room));
                    }
                    return self.refuse(session, join.re, refusal);
                }
                Ok(None) => return,
                Ok(Some(place)) => {
                    let routes = self.routes.clone();
                    let made =
                        place.created.then(|| Room::new(place.room, place.name, routes).start());
                    (place.room, made)
                }
            },
        };
        if let Some(addr) = addr {
            self.rooms.insert(room, addr);
        }
        let Some(addr) = self.rooms.get(&room).cloned() else { return };
        let Some((id, name)) = self.core.member(session) else { return };
        let Some(outbox) = self.outbox(session).cloned() else { return };
        let member = Member {
            id,
            session,
            name: name.clone(),
            state: join.state,
            speaking: join.speaking,
            codecs: join.codecs,
            voice: join.voice,
            sealer: join.sealer,
            path: join.path,
        };
        // One for each request; the registry has counted the places, so the room cannot refuse. The
        // session hears of the room only then, so that what it tells the room comes behind this.
        addr.do_send(room::Enter { member, outbox, re: join.re });
        self.placed(session, Some(addr));
    }
}

impl Actor for Lobby {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(LOBBY_MAILBOX);
    }
}

impl Handler<Admit> for Lobby {
    type Result = Result<Admission, Refusal>;

    fn handle(&mut self, admit: Admit, _: &mut Self::Context) -> Self::Result {
        let Admit { session, name, resume, fresh, outbox } = admit;
        let admission = self.core.admit(session, &name, resume.as_ref(), fresh)?;
        if let Some((lost, _)) = &admission.resumed
            && let Some(client) = self.clients.remove(lost)
        {
            client.outbox.close(GoodbyeReason::Resumed);
        }
        self.clients.insert(session, Client { outbox, session: None });
        Ok(admission)
    }
}

impl Handler<Attach> for Lobby {
    type Result = ();

    fn handle(&mut self, Attach { session, addr }: Attach, _: &mut Self::Context) {
        if let Some(client) = self.clients.get_mut(&session) {
            client.session = Some(addr);
        }
    }
}

impl Handler<Join> for Lobby {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, join: Join, _: &mut Self::Context) -> Self::Result {
        let wanted = self.core.find_room(&join.room);
        let current = self.core.room_of(join.session);
        if current.is_none() || current == wanted {
            self.enter_room(join, None);
            return Box::pin(actix::fut::ready(()));
        }
        // Nobody is moved out of one room only to hear that he cannot get into another.
        if let Err(refusal) = self.core.check_room(&join.room) {
            self.refuse(join.session, join.re, refusal);
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
        Box::pin(left.into_actor(self).map(move |(), lobby, _| lobby.enter_room(join, before)))
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
        let message = ServerMessage::Private { from, to: to.clone(), text, at_ms };
        if receiver != session {
            self.answer(receiver, None, message.clone());
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
        let found = id.and_then(|id| self.rooms.get(&id)).cloned();
        if let (Some(addr), Some(outbox)) = (found, self.outbox(session).cloned()) {
            return Box::pin(async move {
                let _ = addr.send(room::ListMembers { outbox, re }).await;
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
    type Result = ResponseFuture<()>;

    fn handle(
        &mut self,
        Rename { session, name, re }: Rename,
        _: &mut Self::Context,
    ) -> Self::Result {
        let name = match self.core.rename(session, &name) {
            Ok(name) => name,
            Err(refusal) => {
                self.refuse(session, re, refusal);
                return Box::pin(std::future::ready(()));
            }
        };
        let room = self.core.room_of(session).and_then(|id| self.rooms.get(&id)).cloned();
        let id = self.core.member(session).map(|(id, _)| id);
        let outbox = self.outbox(session).cloned();
        Box::pin(async move {
            if let (Some(room), Some(id)) = (room, id) {
                let change = Change::Name(name.clone());
                let _ = room.send(room::Alter { id, session, change }).await;
            }
            if let Some(outbox) = outbox {
                outbox.answer(re, ServerMessage::Renamed { name });
            }
        })
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
