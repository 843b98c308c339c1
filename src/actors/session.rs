//! The session actor: one client that has said `Hello`.
//!
//! Its connection hands it one message at a time and waits until it is dealt with, so that a client
//! can never have more than one request inside the server.

pub mod core;

use self::core::{Request, SessionCore};
use super::limits::Limits;
use super::lobby::core::Refusal;
use super::lobby::moderation::{Moderate, MoveIn, Transfer};
use super::lobby::{self, Lobby, Placed};
use super::outbox::Outbox;
use super::room::core::Change;
use super::room::{self, Room};
use super::routes::{Routes, SessionRoute, SessionVoice, VoiceNotice, VoicePath};
use crate::net::clock;
use crate::net::codec::Codec;
use crate::net::ids::{MemberId, SessionId};
use crate::net::limits::SESSION_MAILBOX;
use crate::net::message::{
    ClientMessage, Envelope, ErrorCode, GoodbyeReason, LeaveReason, MemberState, ServerMessage,
};
use crate::net::protect::{Opener, Sealer};
use crate::net::secret::Password;
use actix::prelude::*;
use std::sync::Arc;

/// Connection to session: a message of the client, or `None` for one that could not be read.
#[derive(Message)]
#[rtype(result = "()")]
pub struct FromClient {
    /// The request's number.
    pub re: Option<u32>,
    /// The message.
    pub message: Option<ClientMessage>,
}

/// Connection to session: it is over. Answered when every forwarder has forgotten the session.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Ended(
    /// What the others are told.
    pub LeaveReason,
);

/// What a session is made of.
pub struct Parts {
    /// Which session.
    pub id: SessionId,
    /// Who he is to the others.
    pub member: MemberId,
    /// Microphone and ears at the start.
    pub state: MemberState,
    /// Codecs that he can decode.
    pub codecs: Vec<Codec>,
    /// Opens what comes up.
    pub opener: Opener,
    /// Seals what goes down.
    pub sealer: Sealer,
    /// His streams.
    pub voice: Arc<SessionVoice>,
    /// Where his events go.
    pub outbox: Outbox,
    /// The lobby.
    pub lobby: Addr<Lobby>,
    /// The forwarders' cells.
    pub routes: Routes,
    /// Nobody else can read his connection.
    pub secure: bool,
    /// What he may ask of the server.
    pub limits: Arc<Limits>,
}

/// The actor.
pub struct Session {
    parts: Parts,
    core: SessionCore,
    room: Option<Addr<Room>>,
    path: Option<VoicePath>,
    speaking: bool,
    /// Counts news of this session's voice, so that news that crosses a join is noticed.
    news: u64,
    news_at_join: u64,
}

impl Session {
    /// A session that the lobby has let in.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            core: SessionCore::new(parts.secure, &parts.limits, clock::now()),
            parts,
            room: None,
            path: None,
            speaking: false,
            news: 0,
            news_at_join: 0,
        }
    }

    fn join(
        &mut self,
        room: String,
        password: Option<Password>,
        after: Option<u64>,
        re: Option<u32>,
    ) -> ResponseFuture<()> {
        let join = lobby::Join { after, ..self.as_member(room, password, re) };
        self.ask_lobby(join, re)
    }

    /// All that this session brings into a room.
    fn as_member(
        &mut self,
        room: String,
        password: Option<Password>,
        re: Option<u32>,
    ) -> lobby::Join {
        self.news_at_join = self.news;
        lobby::Join {
            session: self.parts.id,
            room,
            password,
            after: None,
            re,
            state: self.parts.state,
            speaking: self.speaking,
            codecs: self.parts.codecs.clone(),
            voice: Arc::clone(&self.parts.voice),
            sealer: self.parts.sealer.clone(),
            path: self.path.clone(),
        }
    }

    /// Asks the lobby and waits until the answer is in the outbox.
    fn ask_lobby<M>(&self, message: M, re: Option<u32>) -> ResponseFuture<()>
    where
        M: Message<Result = ()> + Send + 'static,
        Lobby: Handler<M>,
    {
        let (lobby, outbox) = (self.parts.lobby.clone(), self.parts.outbox.clone());
        Box::pin(async move {
            if lobby.send(message).await.is_err() {
                outbox.answer(re, ServerMessage::error(ErrorCode::Busy, []));
            }
        })
    }

    /// Tells the room, if there is one, of a change of this member, and waits until it is done.
    fn alter(&self, change: Change) -> ResponseFuture<()> {
        let alter = room::Alter { id: self.parts.member, session: self.parts.id, change };
        match self.room.clone() {
            Some(room) => Box::pin(async move {
                // A room that has closed in the meantime has nobody to tell.
                let _ = room.send(alter).await;
            }),
            None => Box::pin(std::future::ready(())),
        }
    }

    fn carry_out(&mut self, request: Request, re: Option<u32>) -> ResponseFuture<()> {
        let (session, outbox) = (self.parts.id, self.parts.outbox.clone());
        match request {
            Request::Join { room, password, after } => {
                return self.join(room, password, after, re);
            }
            Request::Leave => return self.ask_lobby(lobby::Part { session, re }, re),
            Request::Tell { to, text } => {
                let tell = lobby::Tell { session, to, text, at_ms: clock::unix_ms(), re };
                return self.ask_lobby(tell, re);
            }
            Request::ListRooms => return self.ask_lobby(lobby::ListRooms { session, re }, re),
            Request::ListUsers(room) => {
                return self.ask_lobby(lobby::ListUsers { session, room, re }, re);
            }
            Request::Rename(name) => {
                return self.ask_lobby(lobby::Rename { session, name, re }, re);
            }
            Request::Register(password) => {
                return self.ask_lobby(lobby::Register { session, password, re }, re);
            }
            Request::Moderate(order) => {
                return self.ask_lobby(Moderate { session, order, re }, re);
            }
            Request::Say(text) => match self.room.clone() {
                Some(room) => {
                    let id = self.parts.member;
                    let say = room::Say { id, text, at_ms: clock::unix_ms(), re };
                    return Box::pin(async move {
                        let _ = room.send(say).await;
                    });
                }
                None => outbox.answer(re, ServerMessage::error(ErrorCode::NotInRoom, [])),
            },
            Request::State(state) => {
                self.parts.state = state;
                let told = self.alter(Change::State(state));
                return Box::pin(async move {
                    told.await;
                    outbox.answer(re, ServerMessage::Changed(state));
                });
            }
            Request::Bye => outbox.finish(),
            Request::Answer(message) => outbox.answer(re, message),
            Request::Ignore => {}
            Request::CutOff => outbox.close(GoodbyeReason::TooFast),
        }
        Box::pin(std::future::ready(()))
    }
}

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(SESSION_MAILBOX);
        let route = SessionRoute {
            session: self.parts.id,
            opener: self.parts.opener.clone(),
            sealer: self.parts.sealer.clone(),
            voice: Arc::clone(&self.parts.voice),
            outbox: self.parts.outbox.clone(),
        };
        // The session's first packet cannot come before its `Welcome`, which waits for nothing: a
        // packet that overtakes its route is dropped and the keepalive tries again.
        let _ = self.parts.routes.publish_session(route, ctx.address().recipient());
    }
}

impl Handler<FromClient> for Session {
    type Result = ResponseFuture<()>;

    fn handle(
        &mut self,
        FromClient { re, message }: FromClient,
        _: &mut Self::Context,
    ) -> Self::Result {
        let request = self.core.handle(message, clock::now());
        self.carry_out(request, re)
    }
}

impl Handler<VoiceNotice> for Session {
    type Result = ();

    fn handle(&mut self, notice: VoiceNotice, ctx: &mut Self::Context) {
        self.news += 1;
        let change = match notice {
            VoiceNotice::Path(path) => {
                self.path = path.clone();
                Change::Path(path)
            }
            VoiceNotice::Speaking(speaking) => {
                self.speaking = speaking;
                Change::Speaking(speaking)
            }
            // The others see that he does not speak; why is for him to know.
            VoiceNotice::Withheld(withheld) => {
                self.parts.outbox.answer(None, ServerMessage::Withheld { withheld });
                return;
            }
        };
        let told = self.alter(change);
        ctx.wait(told.into_actor(self));
    }
}

impl Handler<Placed> for Session {
    type Result = ();

    fn handle(&mut self, Placed(room): Placed, ctx: &mut Self::Context) {
        self.room = room;
        if self.room.is_some() && self.news != self.news_at_join {
            let (path, speaking) =
                (Change::Path(self.path.clone()), Change::Speaking(self.speaking));
            let told = (self.alter(path), self.alter(speaking));
            ctx.wait(
                async move {
                    told.0.await;
                    told.1.await;
                }
                .into_actor(self),
            );
        }
    }
}

impl Handler<Transfer> for Session {
    type Result = ResponseFuture<Result<(), Refusal>>;

    fn handle(&mut self, Transfer { room, by }: Transfer, _: &mut Self::Context) -> Self::Result {
        let join = self.as_member(room.into(), None, None);
        let moved = self.parts.lobby.send(MoveIn { join, by });
        Box::pin(async move {
            let busy = || Refusal(Box::new(ServerMessage::error(ErrorCode::Busy, [])));
            moved.await.unwrap_or_else(|_| Err(busy()))
        })
    }
}

impl Handler<Ended> for Session {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Ended(reason): Ended, ctx: &mut Self::Context) -> Self::Result {
        let receipt = self.parts.routes.revoke_session(self.parts.id, self.parts.voice.base());
        let farewell = lobby::Farewell { session: self.parts.id, reason };
        let lobby = self.parts.lobby.clone();
        // Sent from here, not from the future: it must reach the lobby even if nobody waits. One for
        // each session, so that it cannot fill a mailbox that has room for all of them.
        let told = lobby.send(farewell);
        ctx.stop();
        Box::pin(async move {
            let _ = told.await;
            receipt.in_force().await;
        })
    }
}

/// The envelope of a frame, taken apart; what cannot be read becomes `None`.
#[must_use]
pub fn from_frame(frame: &[u8]) -> FromClient {
    match crate::net::frame::decode_from_client::<Envelope<ClientMessage>>(frame) {
        Ok(Envelope { re, body }) => FromClient { re, message: Some(body) },
        Err(_) => FromClient { re: None, message: None },
    }
}
