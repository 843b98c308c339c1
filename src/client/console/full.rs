//! Full-screen mode: a shell around `interface`, which it draws.
//!
//! The actor never blocks on the terminal. Frames are made only when the writer thread can take
//! one, at most thirty in a second, and only of what is different from the last.

use super::draw::theme::{Theme, ThemeChoice};
use super::draw::{self};
use super::keyboard::Keyboard;
use super::{Asker, News, TalkKey, Wires, pump, threads, tty};
use crate::client::app::{App, Input};
use crate::client::control::request::Request;
use crate::client::event::{Event, LocalError};
use crate::client::interface::layout::Size;
use crate::client::interface::{Effect, Interface, Moment};
use crate::client::ptt::Release;
use crate::client::remote::socket::Remote;
use crate::net::clock;
use crate::net::limits::CLIENT_MAILBOX;
use actix::prelude::*;
use crossterm::event::Event as TerminalEvent;
use jiff::tz::TimeZone;
use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use std::fmt::Write;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, oneshot};

/// The shortest time between two frames.
const FRAME_PAUSE: Duration = Duration::from_millis(34);
/// Size where the terminal does not tell one.
const SIZE_DEFAULT: (u16, u16) = (80, 24);
/// The largest that is drawn: what a hostile or mistaken terminal says costs memory.
const SIZE_MAX: (u16, u16) = (1000, 500);
/// Pause before a microphone command that found no room is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// What stands on the screen.
#[derive(Debug, Default)]
pub struct Canvas {
    shown: Buffer,
    cursor: Option<Position>,
    /// The terminal may show something else: everything is drawn.
    forgotten: bool,
}

impl Canvas {
    /// An empty screen, of which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self { shown: Buffer::default(), cursor: None, forgotten: true }
    }

    /// The next frame draws everything.
    pub fn forget(&mut self) {
        self.forgotten = true;
    }

    /// The bytes that make the screen show this state; none where it does already.
    pub fn frame(&mut self, view: &Interface, theme: &Theme) -> String {
        let Size { width, height } = view.size();
        let area = Rect { x: 0, y: 0, width, height };
        let mut next = Buffer::empty(area);
        let cursor = draw::draw(view, theme, &mut next);
        let whole = self.forgotten || self.shown.area != area;
        if whole {
            self.shown = Buffer::empty(area);
        }
        let updates = self.shown.diff(&next);
        if updates.is_empty() && !whole && cursor == self.cursor {
            return String::new();
        }
        let mut cells = Vec::new();
        // Writing to memory cannot fail.
        let _ = CrosstermBackend::new(&mut cells).draw(updates.into_iter());
        let mut bytes = String::from("\x1b[?2026h\x1b[?25l");
        if whole {
            bytes.push_str("\x1b[0m\x1b[2J");
        }
        bytes.push_str(&String::from_utf8_lossy(&cells));
        if let Some(Position { x, y }) = cursor {
            let _ = write!(bytes, "\x1b[{};{}H\x1b[?25h", y + 1, x + 1);
        }
        bytes.push_str("\x1b[?2026l");
        (self.shown, self.cursor, self.forgotten) = (next, cursor, false);
        bytes
    }
}

/// How the full screen is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Looks {
    /// The theme.
    pub theme: ThemeChoice,
    /// Ring when somebody names us or writes to us alone while we look elsewhere.
    pub bell: bool,
}

/// The actor.
pub struct FullConsole {
    view: Interface,
    canvas: Canvas,
    theme: Theme,
    bell: bool,
    keyboard: Keyboard,
    asker: Asker,
    events: Option<mpsc::Receiver<Event>>,
    done: Option<oneshot::Sender<()>>,
    fatal: Option<String>,
    /// Codes beside frames: a bell.
    codes: String,
    /// Told when there may be something to draw.
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

impl FullConsole {
    /// A console for a terminal whose modes are set.
    #[must_use]
    pub fn new(app: App, release: Release, looks: Looks, wires: Wires) -> Self {
        let Wires { asker, events, done } = wires;
        let size = crossterm::terminal::size().unwrap_or(SIZE_DEFAULT);
        let keyboard = Keyboard::new(release, app.talk_key());
        Self {
            view: Interface::new(app, TimeZone::system(), bounded(size)),
            canvas: Canvas::new(),
            theme: Theme::new(looks.theme),
            bell: looks.bell,
            keyboard,
            asker,
            events: Some(events),
            done: Some(done),
            fatal: None,
            codes: String::new(),
            dirty: Rc::new(Notify::new()),
            closing: false,
            timer: None,
        }
    }

    fn give(&mut self, input: Input, ctx: &mut Context<Self>) {
        let at = Moment { now: clock::now(), unix_ms: clock::unix_ms() };
        for effect in self.view.handle(input, at) {
            match effect {
                Effect::Ask(request) => self.ask(request, at),
                Effect::Redraw => self.canvas.forget(),
                Effect::Bell if self.bell => self.codes.push('\x07'),
                Effect::Bell => {}
                Effect::Fatal(why) => self.fatal = Some(why),
            }
        }
        self.set_timer(ctx);
        self.dirty.notify_one();
    }

    fn ask(&mut self, request: Request, at: Moment) {
        if let Err(what) = self.asker.ask(request, None) {
            let full = Event::error(LocalError::QueueFull, [("what", what)]);
            // It only tells: nothing more is asked for.
            let _ = self.view.handle(Input::Event(full), at);
        }
    }

    fn set_timer(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let now = clock::now();
        let wait = |at: Instant| at.saturating_duration_since(now);
        let retry = self.asker.owes().then_some(RETRY_PAUSE);
        let waits = [retry, self.view.deadline().map(wait), self.keyboard.deadline().map(wait)];
        if let Some(wait) = waits.into_iter().flatten().min() {
            self.timer = Some(ctx.run_later(wait, |console, ctx| {
                console.timer = None;
                console.asker.pay();
                console.keyboard.tick(clock::now());
                console.give(Input::Tick, ctx);
            }));
        }
    }
}

fn bounded((columns, rows): (u16, u16)) -> Size {
    Size { width: columns.min(SIZE_MAX.0), height: rows.min(SIZE_MAX.1) }
}

impl Actor for FullConsole {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(CLIENT_MAILBOX);
        if let Some(events) = self.events.take() {
            actix_rt::spawn(pump(events, ctx.address()));
        }
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

async fn pump_keys(mut keys: mpsc::Receiver<Option<TerminalEvent>>, console: Addr<FullConsole>) {
    while let Some(event) = keys.recv().await {
        if console.send(FromTerminal(event)).await.is_err() {
            return;
        }
    }
}

/// Asks for a frame when there may be something to draw, the writer can take it, and the last one
/// has stood for a moment.
async fn paint(
    console: Addr<FullConsole>,
    dirty: Rc<Notify>,
    frames: mpsc::Sender<String>,
    written: oneshot::Receiver<()>,
) {
    loop {
        dirty.notified().await;
        let Ok(permit) = frames.reserve().await else { break };
        let Ok(frame) = console.send(NextFrame).await else { break };
        let drawn = !frame.bytes.is_empty();
        if drawn {
            permit.send(frame.bytes);
        }
        if frame.last {
            break;
        }
        if drawn {
            tokio::time::sleep(FRAME_PAUSE).await;
        }
    }
    drop(frames);
    let _ = written.await;
    tty::restore_soon().await;
    let _ = console.send(Painted).await;
}

impl Handler<FromTerminal> for FullConsole {
    type Result = ();

    fn handle(&mut self, FromTerminal(event): FromTerminal, ctx: &mut Self::Context) {
        match event {
            Some(TerminalEvent::Resize(columns, rows)) => {
                self.view.resize(bounded((columns, rows)));
                self.canvas.forget();
                self.dirty.notify_one();
            }
            Some(event) => {
                if let Some(input) = self.keyboard.input(event, clock::now()) {
                    self.give(input, ctx);
                }
            }
            None => {
                // Nobody is there any more.
                self.give(Input::FocusLost, ctx);
                let _ = self.asker.ask(Request::Quit, None);
            }
        }
    }
}

impl Handler<NextFrame> for FullConsole {
    type Result = Frame;

    fn handle(&mut self, _: NextFrame, _: &mut Self::Context) -> Frame {
        let codes = self.keyboard.codes() + &std::mem::take(&mut self.codes);
        let frame = self.canvas.frame(&self.view, &self.theme);
        Frame { bytes: codes + &frame, last: self.closing }
    }
}

impl Handler<Painted> for FullConsole {
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

impl Handler<Remote> for FullConsole {
    type Result = ();

    fn handle(&mut self, Remote(order, done): Remote, ctx: &mut Self::Context) {
        let answer = self.view.app().would(&order);
        if answer.is_ok() {
            self.give(Input::Remote(order), ctx);
        }
        // Whoever asked may have gone.
        let _ = done.send(answer);
    }
}

impl Handler<TalkKey> for FullConsole {
    type Result = ();

    fn handle(&mut self, TalkKey(down): TalkKey, ctx: &mut Self::Context) {
        self.give(Input::TalkKey(down), ctx);
    }
}

impl Handler<News> for FullConsole {
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
impl Drop for FullConsole {
    fn drop(&mut self) {
        self.asker.close_microphone();
    }
}
