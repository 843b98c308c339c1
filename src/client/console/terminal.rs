//! Terminal mode: a prompt at the bottom, what happens above it, push-to-talk by key.
//!
//! The actor never blocks on the terminal. Frames are made only when the writer thread can take
//! one; until then lines wait, within a bound, so that a stopped terminal cannot keep the
//! microphone open.

use super::keyboard::Keyboard;
use super::screen::{Prompt, Screen};
use super::{Asker, News, TalkKey, Wires, pump, threads, tty};
use crate::client::app::{App, Effect, Input};
use crate::client::control::request::Request;
use crate::client::event::{Event, LocalError, NoticeCode};
use crate::client::ptt::Release;
use crate::client::remote::socket::Remote;
use crate::client::texts;
use crate::net::clock;
use crate::net::limits::{CLIENT_MAILBOX, SCREEN_LINES_MAX};
use actix::prelude::*;
use crossterm::event::Event as TerminalEvent;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, oneshot};

/// Lines in one frame.
const FRAME_LINES_MAX: usize = 200;
/// Width where the terminal does not tell one.
const WIDTH_DEFAULT: usize = 80;
/// Pause before a microphone command that found no room is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// The actor.
pub struct TerminalConsole {
    app: App,
    keyboard: Keyboard,
    asker: Asker,
    events: Option<mpsc::Receiver<Event>>,
    done: Option<oneshot::Sender<()>>,
    screen: Screen,
    width: usize,
    lines: VecDeque<String>,
    skipped: usize,
    fatal: Option<String>,
    /// Told when there is something to draw.
    dirty: Rc<Notify>,
    closing: bool,
    timer: Option<SpawnHandle>,
}

/// Terminal to console; `None` when it is gone.
#[derive(Message)]
#[rtype(result = "()")]
struct FromTerminal(Option<TerminalEvent>);

/// Painter to console: the writer can take a frame.
#[derive(Message)]
#[rtype(result = "Frame")]
struct NextFrame;

#[derive(MessageResponse)]
struct Frame {
    bytes: String,
    last: bool,
}

/// Painter to console: the last frame is out and the terminal is restored.
#[derive(Message)]
#[rtype(result = "()")]
struct Painted;

impl TerminalConsole {
    /// A console for a terminal whose modes are set.
    #[must_use]
    pub fn new(app: App, release: Release, wires: Wires) -> Self {
        let Wires { asker, events, done } = wires;
        let keyboard = Keyboard::new(release, app.talk_key());
        Self {
            app,
            keyboard,
            asker,
            events: Some(events),
            done: Some(done),
            screen: Screen::default(),
            width: width(),
            lines: VecDeque::new(),
            skipped: 0,
            fatal: None,
            dirty: Rc::new(Notify::new()),
            closing: false,
            timer: None,
        }
    }

    fn give(&mut self, input: Input, ctx: &mut Context<Self>) {
        for effect in self.app.handle(input, clock::now()) {
            match effect {
                Effect::Ask(request) => {
                    if let Err(what) = self.asker.ask(request, None) {
                        self.show(&Event::error(LocalError::QueueFull, [("what", what)]));
                    }
                }
                Effect::Show(event) => self.show(&event),
                Effect::Redraw => {
                    self.width = width();
                    self.screen.forget();
                }
            }
        }
        self.set_timer(ctx);
        self.dirty.notify_one();
    }

    fn set_timer(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let retry = self.asker.owes().then_some(RETRY_PAUSE);
        let now = clock::now();
        let wait = |at: Instant| at.saturating_duration_since(now);
        let (deadline, alt_gr) =
            (self.app.deadline().map(wait), self.keyboard.deadline().map(wait));
        if let Some(wait) = [retry, deadline, alt_gr].into_iter().flatten().min() {
            self.timer = Some(ctx.run_later(wait, |console, ctx| {
                console.timer = None;
                console.asker.pay();
                console.keyboard.tick(clock::now());
                console.give(Input::Tick, ctx);
            }));
        }
    }

    fn show(&mut self, event: &Event) {
        match event {
            Event::Error { code, args, fatal: true } => {
                self.fatal = Some(texts::fatal(*code, args));
            }
            // The prompt shows it.
            Event::Speaking { .. } => {}
            event => self.lines.extend(texts::words(event)),
        }
        while self.lines.len() > SCREEN_LINES_MAX {
            self.lines.pop_front();
            self.skipped += 1;
        }
    }

    fn next_frame(&mut self) -> Frame {
        let mut lines: Vec<String> = Vec::new();
        if self.skipped > 0 {
            lines.push(texts::skipped(std::mem::take(&mut self.skipped)));
        }
        let count = self.lines.len().min(FRAME_LINES_MAX);
        lines.extend(self.lines.drain(..count));
        let more = !self.lines.is_empty();
        if more {
            self.dirty.notify_one();
        }
        let last = self.closing && !more;
        let prompt = (!last).then(|| Prompt::new(&self.app, self.width));
        let codes = self.keyboard.codes();
        Frame { bytes: codes + &self.screen.frame(&lines, prompt.as_ref(), self.width), last }
    }
}

fn width() -> usize {
    crossterm::terminal::size().map_or(WIDTH_DEFAULT, |(columns, _)| usize::from(columns))
}

impl Actor for TerminalConsole {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(CLIENT_MAILBOX);
        if let Some(events) = self.events.take() {
            actix_rt::spawn(pump(events, ctx.address()));
        }
        let code = match self.keyboard.release() {
            Release::Reported => NoticeCode::KeysRelease,
            Release::Guessed => NoticeCode::KeysRepeat,
        };
        self.show(&Event::Notice { code });
        let started = threads::read().and_then(|keys| Ok((keys, threads::write()?)));
        match started {
            Ok((keys, (frames, written))) => {
                actix_rt::spawn(pump_keys(keys, ctx.address()));
                let dirty = Rc::clone(&self.dirty);
                actix_rt::spawn(paint(ctx.address(), dirty, frames, written));
                self.dirty.notify_one();
            }
            Err(error) => {
                tracing::error!(%error, "the terminal's threads cannot be started");
                ctx.stop();
            }
        }
    }
}

async fn pump_keys(
    mut keys: mpsc::Receiver<Option<TerminalEvent>>,
    console: Addr<TerminalConsole>,
) {
    while let Some(event) = keys.recv().await {
        if console.send(FromTerminal(event)).await.is_err() {
            return;
        }
    }
}

/// Asks for a frame when there is something to draw and the writer can take it.
async fn paint(
    console: Addr<TerminalConsole>,
    dirty: Rc<Notify>,
    frames: mpsc::Sender<String>,
    written: oneshot::Receiver<()>,
) {
    loop {
        dirty.notified().await;
        let Ok(permit) = frames.reserve().await else { break };
        let Ok(frame) = console.send(NextFrame).await else { break };
        if !frame.bytes.is_empty() {
            permit.send(frame.bytes);
        }
        if frame.last {
            break;
        }
    }
    drop(frames);
    let _ = written.await;
    tty::restore_soon().await;
    let _ = console.send(Painted).await;
}

impl Handler<FromTerminal> for TerminalConsole {
    type Result = ();

    fn handle(&mut self, FromTerminal(event): FromTerminal, ctx: &mut Self::Context) {
        let input = match event {
            Some(TerminalEvent::Resize(columns, _)) => {
                self.width = usize::from(columns);
                self.dirty.notify_one();
                return;
            }
            Some(event) => match self.keyboard.input(event, clock::now()) {
                Some(input) => input,
                None => return,
            },
            None => {
                // Nobody is there any more.
                self.give(Input::FocusLost, ctx);
                let _ = self.asker.ask(Request::Quit, None);
                return;
            }
        };
        self.give(input, ctx);
    }
}

impl Handler<NextFrame> for TerminalConsole {
    type Result = Frame;

    fn handle(&mut self, _: NextFrame, _: &mut Self::Context) -> Frame {
        self.next_frame()
    }
}

impl Handler<Painted> for TerminalConsole {
    type Result = ();

    fn handle(&mut self, _: Painted, ctx: &mut Self::Context) {
        if let Some(fatal) = &self.fatal {
            eprintln!("{fatal}");
        }
        if let Some(done) = self.done.take() {
            // Nobody waits: the client is being torn down already.
            let _ = done.send(());
        }
        ctx.stop();
    }
}

impl Handler<Remote> for TerminalConsole {
    type Result = ();

    fn handle(&mut self, Remote(order, done): Remote, ctx: &mut Self::Context) {
        let answer = self.app.would(&order);
        if answer.is_ok() {
            self.give(Input::Remote(order), ctx);
        }
        // Whoever asked may have gone.
        let _ = done.send(answer);
    }
}

impl Handler<TalkKey> for TerminalConsole {
    type Result = ();

    fn handle(&mut self, TalkKey(down): TalkKey, ctx: &mut Self::Context) {
        self.give(Input::TalkKey(down), ctx);
    }
}

impl Handler<News> for TerminalConsole {
    type Result = ();

    fn handle(&mut self, News(event): News, ctx: &mut Self::Context) {
        match event {
            Some(event) => self.give(Input::Event(event), ctx),
            None => {
                self.closing = true;
                self.dirty.notify_one();
            }
        }
    }
}

/// The microphone must not stay open because a console has ended.
impl Drop for TerminalConsole {
    fn drop(&mut self) {
        self.asker.close_microphone();
    }
}
