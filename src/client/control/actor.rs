//! The actor that holds the control connection: carries out what the core decides.
//!
//! | message | from | when its mailbox is full |
//! |---|---|---|
//! | [`Ask`] | console | the console says so, or tries again (closing the microphone) |
//! | `FromLink` | its own reader, writer and dialer | they wait |
//! | `FromVoice` | the pump of voice events | it waits |
//!
//! Events go to the console through a bounded channel; the connection is read only while it has
//! room, so that sending to it never has to wait.

use super::core::{Action, ControlCore, Input, VoiceCommand};
use super::dial::{Dialed, Dialer};
use super::link::{Deliver, Link, VoiceLane};
use super::request::Request;
use crate::client::asleep::SleepWatch;
use crate::client::event::{Event, LocalError, LossCause};
use crate::client::state::ClientState;
use crate::client::texts;
use crate::client::visits::Watcher;
use crate::client::voice::{VoiceEvent, VoiceHandle, VoiceStats};
use crate::client::volumes::Volume;
use crate::net::limits::CLIENT_MAILBOX;
use crate::net::message::{ClientMessage, Envelope};
use crate::net::name::UserName;
use crate::net::{clock, frame};
use actix::prelude::*;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// How often the core looks at its deadlines.
const TICK: Duration = Duration::from_millis(50);

/// Console to connection: the user wants something.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Ask {
    /// What.
    pub request: Request,
    /// Given back when the request has left the queue; keeps a script from running ahead.
    pub permit: Option<OwnedSemaphorePermit>,
}

/// Which connection an input belongs to: what comes late from a lost one is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Generation(u32);

#[derive(Message)]
#[rtype(result = "()")]
struct FromLink(Generation, Input);

#[derive(Message)]
#[rtype(result = "()")]
struct Connected<S>(Generation, Dialed<S>);

#[derive(Message)]
#[rtype(result = "()")]
struct FromVoice(VoiceEvent);

#[derive(Message)]
#[rtype(result = "()")]
struct Figures(Box<VoiceStats>);

/// Where voice for the server goes, if there is a connection.
type VoiceOut = Rc<RefCell<Option<VoiceLane>>>;

/// The actor.
pub struct ControlActor<D: Dialer> {
    core: ControlCore,
    dialer: D,
    voice: VoiceHandle,
    state: Option<ClientState>,
    /// Sees where the user goes, where that is remembered.
    watcher: Option<Watcher>,
    voice_events: Option<mpsc::Receiver<VoiceEvent>>,
    voice_out: VoiceOut,
    events: mpsc::Sender<Event>,
    ended: Option<oneshot::Sender<u8>>,
    generation: Generation,
    link: Option<Link>,
    permits: VecDeque<Option<OwnedSemaphorePermit>>,
    sleep: SleepWatch,
}

/// What the actor is made of.
pub struct Parts<D> {
    /// The rules.
    pub core: ControlCore,
    /// Makes connections.
    pub dialer: D,
    /// The voice side.
    pub voice: VoiceHandle,
    /// Its news.
    pub voice_events: mpsc::Receiver<VoiceEvent>,
    /// Where events go.
    pub events: mpsc::Sender<Event>,
    /// Gets the exit code, when what was sent is out.
    pub ended: oneshot::Sender<u8>,
}

impl<D: Dialer> ControlActor<D> {
    /// An actor that connects when it is started.
    #[must_use]
    pub fn new(parts: Parts<D>) -> Self {
        Self {
            core: parts.core,
            dialer: parts.dialer,
            voice: parts.voice,
            state: None,
            watcher: None,
            voice_events: Some(parts.voice_events),
            voice_out: Rc::default(),
            events: parts.events,
            ended: Some(parts.ended),
            generation: Generation(0),
            link: None,
            permits: VecDeque::new(),
            sleep: SleepWatch::default(),
        }
    }

    /// The same, and what the user wants remembered is kept here.
    #[must_use]
    pub fn keeping(mut self, state: Option<ClientState>) -> Self {
        if let Some(Ok(book)) = state.as_ref().map(ClientState::volumes) {
            self.core.recall_volumes(book);
        }
        self.state = state;
        self
    }

    /// The same, and where the user goes is remembered, too.
    #[must_use]
    pub fn remembering_visits(mut self, on: bool) -> Self {
        self.watcher = on.then(Watcher::default);
        self
    }

    fn give(&mut self, input: Input, ctx: &mut Context<Self>) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for action in self.core.handle(input, clock::now()) {
                inputs.extend(self.carry_out(action, ctx));
            }
        }
        while self.permits.len() > self.core.queued() {
            self.permits.pop_front();
        }
    }

    /// Does one thing; what it leads to at once comes back as input.
    fn carry_out(&mut self, action: Action, ctx: &mut Context<Self>) -> Option<Input> {
        match action {
            Action::Dial => self.dial(ctx),
            Action::Retarget(target) => self.dialer.retarget(target),
            Action::HangUp => self.hang_up(),
            Action::Send(message) => return self.send(&message),
            Action::Voice(command) => self.command(command),
            Action::Remember(name, volume) => self.remember(&name, volume),
            Action::AskStats => {
                let (voice, addr) = (self.voice.clone(), ctx.address());
                actix_rt::spawn(async move {
                    let stats = Box::new(voice.stats().await);
                    let _ = addr.send(Figures(stats)).await;
                });
            }
            Action::Tell(event) => {
                self.watch(&event);
                if let Err(error) = self.events.try_send(event) {
                    tracing::warn!(%error, "the console is behind: an event is left out");
                }
            }
            Action::End(code) => self.end(code, ctx),
        }
        None
    }

    fn dial(&mut self, ctx: &mut Context<Self>) {
        self.generation.0 = self.generation.0.wrapping_add(1);
        tracing::info!(attempt = self.generation.0, "connecting");
        let (generation, addr, dial) = (self.generation, ctx.address(), self.dialer.dial());
        actix_rt::spawn(async move {
            // An actor that is gone needs no connection.
            let _ = match dial.await {
                Ok(dialed) => addr.send(Connected(generation, dialed)).await,
                Err(why) => addr.send(FromLink(generation, Input::NotConnected(why))).await,
            };
        });
    }

    fn hang_up(&mut self) {
        tracing::info!("the connection is over");
        self.generation.0 = self.generation.0.wrapping_add(1);
        self.voice_out.borrow_mut().take();
        self.link = None;
    }

    fn send(&mut self, message: &Envelope<ClientMessage>) -> Option<Input> {
        let link = self.link.as_ref()?;
        match frame::encode(message) {
            Ok(frame) => {
                if link.send(frame) {
                    return None;
                }
                let detail = "it takes nothing any more".to_owned();
                Some(Input::Ended { cause: LossCause::Failed, detail })
            }
            Err(error) => {
                tracing::warn!(%error, "a message cannot be sent");
                None
            }
        }
    }

    fn command(&self, command: VoiceCommand) {
        match command {
            VoiceCommand::Connect(session) => self.voice.connect(*session),
            VoiceCommand::Disconnect => self.voice.disconnect(),
            VoiceCommand::EnterRoom(members) => self.voice.enter_room(members),
            VoiceCommand::LeaveRoom => self.voice.leave_room(),
            VoiceCommand::Member(member) => self.voice.member(member),
            VoiceCommand::MemberLeft(id) => self.voice.member_left(id),
            VoiceCommand::Transmit(transmit) => self.voice.set_transmit(transmit),
            VoiceCommand::Deafened(on) => self.voice.set_deafened(on),
            VoiceCommand::Volumes(volumes) => self.voice.set_volumes(volumes),
            VoiceCommand::Levelling(on) => self.voice.set_levelling(on),
            VoiceCommand::Sound(sound) => self.voice.play_sound(sound),
            VoiceCommand::Sounds(on) => self.voice.set_sounds(on),
            VoiceCommand::Devices => self.voice.list(),
            VoiceCommand::Input(name) => self.voice.choose_input(name),
            VoiceCommand::Output(name) => self.voice.choose_output(name),
            VoiceCommand::Tone => self.voice.play_tone(),
            VoiceCommand::TryOut => self.voice.try_out(),
            VoiceCommand::Record(directory, own) => {
                let began = texts::file_time(clock::unix_ms());
                self.voice.record(directory, own.to_string(), began);
            }
            VoiceCommand::StopRecording => self.voice.stop_recording(),
            VoiceCommand::Codec(codec) => self.voice.set_codec(codec),
            VoiceCommand::Stage(stage, on) => self.voice.set_stage(stage, on),
            VoiceCommand::Bitrate(bitrate) => self.voice.set_bitrate(bitrate),
            VoiceCommand::RoomCodecs(codecs) => self.voice.room_codecs(&codecs),
        }
    }

    /// Writes down a volume. A file of a line for each name: that blocks no longer than a look at the screen.
    fn remember(&self, name: &UserName, volume: Volume) {
        let Some(state) = &self.state else { return };
        if let Err(error) = state.set_volume(name, volume) {
            let why = error.to_string();
            let _ = self.events.try_send(Event::error(LocalError::State, [("why", why)]));
        }
    }

    /// Writes down where the user is. What cannot be is no reason to bother him.
    fn watch(&mut self, event: &Event) {
        let visit = self.watcher.as_mut().and_then(|watcher| watcher.see(event));
        if let (Some(visit), Some(state)) = (visit, &self.state)
            && let Err(error) = state.remember_visit(visit)
        {
            tracing::warn!(%error, "where we are is not remembered");
        }
    }

    fn end(&mut self, code: u8, ctx: &mut Context<Self>) {
        self.voice_out.borrow_mut().take();
        let (link, ended) = (self.link.take(), self.ended.take());
        let written = async move {
            if let Some(link) = link {
                link.finish().await;
            }
        };
        ctx.spawn(written.into_actor(self).map(move |(), _, ctx| {
            if let Some(ended) = ended {
                // Nobody waits: the client is being torn down already.
                let _ = ended.send(code);
            }
            ctx.stop();
        }));
    }
}

impl<D: Dialer> Actor for ControlActor<D> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(CLIENT_MAILBOX);
        ctx.run_interval(TICK, |actor, ctx| {
            if actor.sleep.look(clock::now(), clock::always()) {
                actor.give(Input::Slept, ctx);
            }
            actor.give(Input::Tick, ctx);
        });
        if let Some(events) = self.voice_events.take() {
            actix_rt::spawn(pump_voice(events, Rc::clone(&self.voice_out), ctx.address()));
        }
        self.give(Input::Start, ctx);
    }
}

/// Brings news of the voice side to the actor, and its datagrams past it to the connection.
async fn pump_voice<D: Dialer>(
    mut events: mpsc::Receiver<VoiceEvent>,
    out: VoiceOut,
    addr: Addr<ControlActor<D>>,
) {
    while let Some(event) = events.recv().await {
        match event {
            VoiceEvent::ToServer { datagram, at } => {
                let message = Envelope::event(ClientMessage::Voice { packet: datagram });
                if let (Some(out), Ok(frame)) = (out.borrow().as_ref(), frame::encode(&message)) {
                    out.push(frame, at);
                }
            }
            event => {
                if addr.send(FromVoice(event)).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Delivers the input of one connection.
struct Post<D: Dialer>(Generation, Addr<ControlActor<D>>);

impl<D: Dialer> Clone for Post<D> {
    fn clone(&self) -> Self {
        Self(self.0, self.1.clone())
    }
}

impl<D: Dialer> Deliver for Post<D> {
    async fn deliver(&self, input: Input) -> bool {
        self.1.send(FromLink(self.0, input)).await.is_ok()
    }
}

impl<D: Dialer> Handler<Connected<D::Stream>> for ControlActor<D> {
    type Result = ();

    fn handle(
        &mut self,
        Connected(generation, dialed): Connected<D::Stream>,
        ctx: &mut Self::Context,
    ) {
        if generation != self.generation {
            return;
        }
        let Dialed { stream, address: server, binding, trust } = dialed;
        tracing::info!(%server, ?trust, "connected");
        let post = Post(generation, ctx.address());
        let link = Link::start(stream, post, self.events.clone(), self.voice.clone());
        *self.voice_out.borrow_mut() = Some(link.voice());
        self.link = Some(link);
        self.give(Input::Connected { server, binding, trust }, ctx);
    }
}

impl<D: Dialer> Handler<FromLink> for ControlActor<D> {
    type Result = ();

    fn handle(&mut self, FromLink(generation, input): FromLink, ctx: &mut Self::Context) {
        if generation == self.generation {
            self.give(input, ctx);
        }
    }
}

impl<D: Dialer> Handler<FromVoice> for ControlActor<D> {
    type Result = ();

    fn handle(&mut self, FromVoice(event): FromVoice, ctx: &mut Self::Context) {
        self.give(Input::Voice(event), ctx);
    }
}

impl<D: Dialer> Handler<Figures> for ControlActor<D> {
    type Result = ();

    fn handle(&mut self, Figures(stats): Figures, ctx: &mut Self::Context) {
        self.give(Input::Stats(stats), ctx);
    }
}

impl<D: Dialer> Handler<Ask> for ControlActor<D> {
    type Result = ();

    fn handle(&mut self, Ask { request, permit }: Ask, ctx: &mut Self::Context) {
        if request.waits() {
            self.permits.push_back(permit);
        }
        self.give(Input::Request(request), ctx);
    }
}

#[cfg(test)]
mod tests;
