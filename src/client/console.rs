//! The consoles: `line` for pipes, scripts and screen readers, `full` for people at a terminal,
//! `terminal` for those who rather have a prompt below what scrolls.
//!
//! Each is an actor on a thread of its own, so that a terminal or pipe that takes nothing cannot
//! hold up the connection. All are shells: around `app`, and `full` around `interface`.

pub mod draw;
pub mod echo;
pub mod full;
pub mod keyboard;
pub mod keys;
pub mod line;
pub mod screen;
pub mod stdin;
pub mod terminal;
mod threads;
pub mod tty;

use super::control::actor::Ask;
use super::control::request::Request;
use super::event::Event;
use super::voice::{Transmit, VoiceHandle};
use actix::prelude::*;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// What a console is connected to.
pub struct Wires {
    /// The way to the connection.
    pub asker: Asker,
    /// What it has to tell. Its end is the end of the console.
    pub events: mpsc::Receiver<Event>,
    /// Told, or dropped, when the console has shown everything.
    pub done: oneshot::Sender<()>,
}

/// Connection to console: something happened; `None` when nothing will any more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct News(pub Option<Event>);

/// Listener to console: the talk key went down, or was let go, in whatever window.
#[derive(Message)]
#[rtype(result = "()")]
pub struct TalkKey(pub bool);

/// Sends requests to the connection. The microphone is special: what was asked of it last must
/// arrive, and closing it takes effect here at once.
pub struct Asker {
    control: Recipient<Ask>,
    voice: VoiceHandle,
    owed: Option<Request>,
}

impl Asker {
    /// A way to this connection and this voice.
    #[must_use]
    pub fn new(control: Recipient<Ask>, voice: VoiceHandle) -> Self {
        Self { control, voice, owed: None }
    }

    /// Asks for something.
    ///
    /// # Errors
    /// The connection is too busy; what was asked for, in words.
    pub fn ask(
        &mut self,
        request: Request,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<(), String> {
        self.pay();
        if let Request::Transmit { transmit, .. } = request {
            if !transmit.is_on() {
                self.voice.set_transmit(transmit);
            }
            self.owed = Some(request);
            self.pay();
            return Ok(());
        }
        let what = request.describe();
        self.control.try_send(Ask { request, permit }).map_err(|_| what)
    }

    /// Whether the microphone's last command has not arrived yet.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.owed.is_some()
    }

    /// Tries to send it again.
    pub fn pay(&mut self) {
        if let Some(request) = self.owed.take() {
            let ask = Ask { request: request.clone(), permit: None };
            match self.control.try_send(ask) {
                // Closed: the connection, and with it the microphone, has ended.
                Ok(()) | Err(SendError::Closed(_)) => {}
                Err(SendError::Full(_)) => self.owed = Some(request),
            }
        }
    }

    /// Closes the microphone, past everything else.
    pub fn close_microphone(&self) {
        self.voice.set_transmit(Transmit::Shut);
    }
}

/// Brings events to a console, one at a time; a console that is behind holds them up.
async fn pump<A>(mut events: mpsc::Receiver<Event>, console: Addr<A>)
where
    A: Actor<Context = Context<A>> + Handler<News>,
{
    while let Some(event) = events.recv().await {
        if console.send(News(Some(event))).await.is_err() {
            return;
        }
    }
    let _ = console.send(News(None)).await;
}
