//! The consoles: `line` for pipes and scripts, `terminal` for people at a terminal.
//!
//! Each is an actor on a thread of its own, so that a terminal or pipe that takes nothing cannot
//! hold up the connection. Both are shells around `app`.

pub mod line;
pub mod stdin;

use super::control::actor::Ask;
use super::control::request::Request;
use super::event::Event;
use actix::prelude::*;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// What a console is connected to.
pub struct Wires {
    /// The connection.
    pub control: Recipient<Ask>,
    /// What it has to tell. Its end is the end of the console.
    pub events: mpsc::Receiver<Event>,
    /// Told, or dropped, when the console has shown everything.
    pub done: oneshot::Sender<()>,
}

/// Connection to console: something happened; `None` when nothing will any more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct News(pub Option<Event>);

/// Sends a request to the connection. False: it is too busy or gone.
fn ask(control: &Recipient<Ask>, request: Request, permit: Option<OwnedSemaphorePermit>) -> bool {
    control.try_send(Ask { request, permit }).is_ok()
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
