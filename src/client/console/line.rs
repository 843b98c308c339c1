//! Line mode: a line in is a command or a text, a line out is an event. Drives scripts and tests.
//!
//! The actor may block on stdout: it has a thread of its own, and whoever is ahead of it waits.

use super::stdin::{self, Typed};
use super::{Asker, News, TalkKey, Wires, echo, pump};
use crate::client::app::{App, Effect, Input};
use crate::client::control::request::Request;
use crate::client::event::{Event, LocalError};
use crate::client::remote::socket::Remote;
use crate::client::texts;
use crate::net::clock;
use crate::net::limits::{CLIENT_MAILBOX, REQUEST_QUEUE_MAX};
use actix::prelude::*;
use std::io::Write;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Lines of a script that may wait to be sent; the next is read when one has gone.
const LINES_WAITING_MAX: usize = REQUEST_QUEUE_MAX / 4;

/// The actor.
pub struct LineConsole {
    app: App,
    json: bool,
    asker: Asker,
    events: Option<mpsc::Receiver<Event>>,
    done: Option<oneshot::Sender<()>>,
    /// Nobody reads stdout any more.
    unread: bool,
    /// What is typed is not shown: it is a password.
    hidden: bool,
    /// `/exit` was read; what stands behind it is not done.
    leaving: bool,
    /// The end of stdin is not the end: nobody is at the keyboard.
    stays: bool,
}

/// Stdin to console.
#[derive(Message)]
#[rtype(result = "()")]
struct FromStdin(Typed, Option<OwnedSemaphorePermit>);

impl LineConsole {
    /// A console that reads stdin when it is started.
    #[must_use]
    pub fn new(app: App, json: bool, wires: Wires) -> Self {
        let Wires { asker, events, done } = wires;
        Self {
            app,
            json,
            asker,
            events: Some(events),
            done: Some(done),
            unread: false,
            hidden: false,
            leaving: false,
            stays: false,
        }
    }

    /// The same, which goes on after the end of stdin.
    #[must_use]
    pub fn staying(mut self, stays: bool) -> Self {
        self.stays = stays;
        self
    }

    fn give(&mut self, input: Input, mut permit: Option<OwnedSemaphorePermit>) {
        for effect in self.app.handle(input, clock::now()) {
            match effect {
                Effect::Ask(request) => {
                    // A script's /exit takes effect in its turn: what stands before it is done.
                    let request = match request {
                        Request::Quit => Request::Finish,
                        request => request,
                    };
                    self.leaving |= request == Request::Finish;
                    if let Err(what) = self.asker.ask(request, permit.take()) {
                        self.show(&Event::error(LocalError::QueueFull, [("what", what)]));
                    }
                }
                Effect::Show(event) => self.show(&event),
                Effect::Redraw => {}
            }
        }
        self.switch_echo();
    }

    /// While a password is asked for, the next line is one.
    fn switch_echo(&mut self) {
        let hidden = self.app.asking().is_open();
        if hidden != self.hidden {
            self.hidden = hidden;
            match hidden {
                true => {
                    if let Err(error) = echo::hide() {
                        tracing::warn!(%error, "the terminal shows what is typed");
                    }
                }
                false => echo::restore(),
            }
        }
    }

    /// No key is held here but from elsewhere: that has a longest time.
    fn look_later(&mut self, ctx: &mut Context<Self>) {
        if let Some(deadline) = self.app.deadline() {
            let wait = deadline.saturating_duration_since(clock::now());
            ctx.run_later(wait, |console, _| console.give(Input::Tick, None));
        }
    }

    fn show(&mut self, event: &Event) {
        if let Event::Error { code, args, fatal: true } = event {
            eprintln!("{}", texts::fatal(*code, args));
            if !self.json {
                return;
            }
        }
        let lines = if self.json { vec![event.to_json()] } else { texts::words(event) };
        if self.unread || lines.is_empty() {
            return;
        }
        let text = lines.join("\n") + "\n";
        let mut out = std::io::stdout().lock();
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            // Whoever read us has gone: leave without a word.
            self.unread = true;
            let _ = self.asker.ask(Request::Quit, None);
        }
    }
}

/// No terminal stays without its echo.
impl Drop for LineConsole {
    fn drop(&mut self) {
        echo::restore();
    }
}

impl Actor for LineConsole {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(CLIENT_MAILBOX);
        if let Some(events) = self.events.take() {
            actix_rt::spawn(pump(events, ctx.address()));
        }
        match stdin::read() {
            Ok(typed) => {
                actix_rt::spawn(pump_stdin(typed, ctx.address()));
            }
            Err(error) => tracing::error!(%error, "stdin cannot be read"),
        }
    }
}

async fn pump_stdin(mut typed: mpsc::Receiver<Typed>, console: Addr<LineConsole>) {
    let permits = Arc::new(Semaphore::new(LINES_WAITING_MAX));
    while let Some(typed) = typed.recv().await {
        let permit = Arc::clone(&permits).acquire_owned().await.ok();
        if console.send(FromStdin(typed, permit)).await.is_err() {
            return;
        }
    }
}

impl Handler<FromStdin> for LineConsole {
    type Result = ();

    fn handle(&mut self, FromStdin(typed, permit): FromStdin, _: &mut Self::Context) {
        match typed {
            Typed::Line(_) | Typed::End if self.leaving => {}
            Typed::Line(line) => self.give(Input::Line(line), permit),
            Typed::End if self.stays => {}
            Typed::End => {
                let _ = self.asker.ask(Request::Finish, None);
            }
            Typed::Nothing => {}
        }
    }
}

impl Handler<Remote> for LineConsole {
    type Result = ();

    fn handle(&mut self, Remote(order, done): Remote, ctx: &mut Self::Context) {
        let answer = self.app.would(&order);
        if answer.is_ok() {
            self.give(Input::Remote(order), None);
        }
        self.look_later(ctx);
        // Whoever asked may have gone.
        let _ = done.send(answer);
    }
}

impl Handler<TalkKey> for LineConsole {
    type Result = ();

    fn handle(&mut self, TalkKey(down): TalkKey, ctx: &mut Self::Context) {
        self.give(Input::TalkKey(down), None);
        self.look_later(ctx);
    }
}

impl Handler<News> for LineConsole {
    type Result = ();

    fn handle(&mut self, News(event): News, ctx: &mut Self::Context) {
        match event {
            Some(event) => self.give(Input::Event(event), None),
            None => {
                if let Some(done) = self.done.take() {
                    // Nobody waits: the client is being torn down already.
                    let _ = done.send(());
                }
                ctx.stop();
            }
        }
    }
}
