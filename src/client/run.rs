//! Puts the client together: voice, connection, console; and takes it apart again.
//!
//! Voice and console stand before the connection is made, so that nobody joins a room and then
//! fails to start.

use super::app::App;
use super::console::full::FullConsole;
use super::console::line::LineConsole;
use super::console::terminal::TerminalConsole;
use super::console::{Asker, TalkKey, Wires, echo, tty};
use super::control::actor::{Ask, ControlActor, Parts};
use super::control::core::{ControlCore, Settings};
use super::control::dial::{Authorities, ServerDialer, Target, TcpDialer, TlsDialer};
use super::control::request::Request;
use super::event::Event;
use super::listen::{self, Plan, Surroundings};
use super::options::Options;
use super::ptt::{Mode, Release};
use super::remote::socket::{Remote, Socket};
use super::state::{ClientState, StateError};
use super::texts;
use super::trust::Expect;
use super::voice::{VoiceConfig, VoiceError, VoiceHandle};
use crate::net::clock;
use crate::net::device::DeviceKey;
use crate::net::limits::{BYE_TIMEOUT, CLIENT_EVENTS_MAX, CLIENT_MAILBOX};
use crate::net::message::MemberState;
use actix::prelude::*;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The client could not do what it was started for.
pub const EXIT_FAILED: u8 = 1;
/// What the one who started the client can mend: a flag, a file.
pub const EXIT_USAGE: u8 = 2;
/// A fault inside (as sysexits' EX_SOFTWARE).
pub const EXIT_FAULT: u8 = 70;

/// How long the console may take to show its last lines.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the sound devices and files may take to close.
const VOICE_STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// How long anything may take after a signal.
const SIGNAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs the client to its end inside an actix system. What is said on stderr is said; the result is the exit code.
pub async fn run(options: Options) -> u8 {
    let (input, output) = match options.sound() {
        Ok(sound) => sound,
        Err(why) => return refuse(&why, EXIT_USAGE),
    };
    let Some(name) = options.user_name() else {
        return refuse(texts::arguments::NO_NAME, EXIT_USAGE);
    };
    let there = match options.destination() {
        Ok(there) => there,
        Err(why) => return refuse(&why, EXIT_USAGE),
    };
    let (dialer, device) = match dialer(&options, &there.target) {
        Ok(ready) => ready,
        Err(error) => return refuse(&texts::state::unusable(&error.to_string()), EXIT_USAGE),
    };
    let config = VoiceConfig {
        levelling: !options.no_levelling,
        sounds: !options.no_sounds,
        ..VoiceConfig::new(input, output).sending(options.sending()).chain(options.chain())
    };
    let (voice_events_in, voice_events) = mpsc::channel(CLIENT_MAILBOX);
    let voice = match VoiceHandle::start(config, voice_events_in) {
        Ok(voice) => voice,
        Err(error @ VoiceError::File { .. }) => return refuse(&error.to_string(), EXIT_USAGE),
        Err(error) => return refuse(&error.to_string(), EXIT_FAILED),
    };
    let settings = Settings {
        server: there.target.label(),
        name,
        room: there.room,
        udp_port: options.udp_port,
        state: MemberState {
            muted: options.mode() == Mode::PushToTalk,
            deafened: options.deafen,
            recording: false,
        },
        agent: concat!("parlor/", env!("CARGO_PKG_VERSION")).to_owned(),
        device,
        target: there.target,
        keys: there.keys,
        asks: options.asks(),
    };
    let (events_in, events) = mpsc::channel(CLIENT_EVENTS_MAX);
    let (ended_in, ended) = oneshot::channel();
    let (done_in, done) = oneshot::channel();
    // Whatever goes wrong with it is told, and the client goes on.
    let (listener, told) = listener(&options);
    if let Some(event) = told {
        let _ = events_in.try_send(event);
    }
    let parts = Parts {
        core: ControlCore::new(settings, seed(), clock::now()),
        dialer,
        voice: voice.clone(),
        voice_events,
        events: events_in,
        ended: ended_in,
    };
    let terminal = options.on_terminal();
    let wanted = tty::Wanted { plain_keys: options.plain_keys, alternate: !options.inline };
    let keys = match terminal.then(|| tty::set(wanted, options.log_file.as_deref())) {
        None => None,
        Some(Ok(release)) => Some(release),
        Some(Err(error)) => return refuse(&texts::arguments::terminal(&error), EXIT_FAILED),
    };
    // The connection's mailbox exists before the console, and the connection starts after it.
    let console = Arbiter::new();
    // Without a place for it nothing is remembered beyond this run.
    let state = ClientState::open_later(options.state_dir.clone()).ok();
    let orders = state.as_ref().filter(|state| state.exists()).map(ClientState::orders);
    let mut serving = None;
    let control = ControlActor::create(|ctx| {
        let asker = Asker::new(ctx.address().recipient(), voice.clone());
        let wires = Wires { asker, events, done: done_in };
        let (shown, talk_key) = start_console(&options, keys, &console, wires);
        serving = orders.and_then(|path| serve(&path, shown));
        if let Some(changes) = listener {
            actix_rt::spawn(bring(changes, talk_key));
        }
        ControlActor::new(parts)
            .keeping(state)
            .remembering_visits(!options.json && !options.headless)
    });
    let code = wait(&control, ended, done).await;
    drop(control);
    if let Some(serving) = serving {
        serving.abort();
        // Its end takes the socket away.
        let _ = serving.await;
    }
    tty::restore_soon().await;
    echo::restore();
    let _ = timeout(VOICE_STOP_TIMEOUT, voice.stop()).await;
    console.stop();
    code
}

/// What makes the connection, and the key that this device shows on it. Without TLS there is neither
/// a key to show nor a server to know.
pub(super) fn dialer(
    options: &Options,
    there: &Target,
) -> Result<(ServerDialer, Option<DeviceKey>), StateError> {
    let target = TcpDialer { host: there.host.clone(), port: there.port };
    if options.insecure {
        return Ok((ServerDialer::Plain(target), None));
    }
    let state = ClientState::open(options.state_dir.clone())?;
    let device = state.device_key()?;
    let expect = match (options.fingerprint, there.fingerprint) {
        (Some(fingerprint), _) => Expect::Key { fingerprint, from_now_on: true },
        (None, Some(fingerprint)) => Expect::Key { fingerprint, from_now_on: false },
        (None, None) => Expect::Nothing,
    };
    let authorities = Arc::new(Authorities::default());
    Ok((ServerDialer::Tls(TlsDialer { target, expect, state, authorities }), Some(device)))
}

/// Takes orders for the console. Of several clients with the same state the first does.
fn serve(path: &Path, console: Recipient<Remote>) -> Option<JoinHandle<()>> {
    match Socket::bind(path) {
        Ok(socket) => Some(actix_rt::spawn(socket.serve(console))),
        Err(error) => {
            tracing::info!(%error, "no orders are taken");
            None
        }
    }
}

/// A listener for the talk key in all windows, and what is to be said about it.
fn listener(options: &Options) -> (Option<mpsc::Receiver<bool>>, Option<Event>) {
    let key = options.talk_key();
    let told = |way, error: Option<String>| Event::TalkKey {
        key: key.name().to_owned(),
        way,
        at_terminal: key.is_at_terminal(),
        error,
    };
    let why = match options.listening(Surroundings::seen()) {
        Plan::NotAsked if key.is_at_terminal() => return (None, None),
        Plan::NotAsked => texts::listen::SWITCHED_OFF.to_owned(),
        Plan::Wayland => texts::listen::WAYLAND.to_owned(),
        Plan::NoDesktop => texts::listen::NO_DESKTOP.to_owned(),
        Plan::Listen(way) => match listen::start(way, key) {
            Ok(listener) => return (Some(listener.changes), Some(told(Some(way), None))),
            Err(why) => why,
        },
    };
    (None, Some(told(None, Some(why))))
}

/// Brings what becomes of the talk key to the console.
async fn bring(mut changes: mpsc::Receiver<bool>, console: Recipient<TalkKey>) {
    while let Some(down) = changes.recv().await {
        if console.send(TalkKey(down)).await.is_err() {
            return;
        }
    }
}

fn start_console(
    options: &Options,
    keys: Option<Release>,
    arbiter: &Arbiter,
    wires: Wires,
) -> (Recipient<Remote>, Recipient<TalkKey>) {
    let (recordings, at_once) = options.recordings();
    let app = App::new(keys, options.mode(), options.deafen)
        .asking_passwords(options.asks())
        .recording_to(recordings, at_once)
        .talking_by(options.talk_key());
    let headless = options.headless;
    let json = options.json;
    let arbiter = arbiter.handle();
    match keys {
        Some(release) if !options.inline => {
            let looks = options.looks();
            let console = FullConsole::start_in_arbiter(&arbiter, move |_| {
                FullConsole::new(app, release, looks, wires)
            });
            (console.clone().recipient(), console.recipient())
        }
        Some(release) => {
            let console = TerminalConsole::start_in_arbiter(&arbiter, move |_| {
                TerminalConsole::new(app, release, wires)
            });
            (console.clone().recipient(), console.recipient())
        }
        None => {
            let console = LineConsole::start_in_arbiter(&arbiter, move |_| {
                LineConsole::new(app, json, wires).staying(headless)
            });
            (console.clone().recipient(), console.recipient())
        }
    }
}

/// Waits for the end: of the connection's own accord, by a signal, or by a fault.
async fn wait(
    control: &Addr<ControlActor<ServerDialer>>,
    ended: oneshot::Receiver<u8>,
    mut done: oneshot::Receiver<()>,
) -> u8 {
    let mut ended = ended;
    let code = tokio::select! {
        // The connection says its code before it lets go of the console.
        biased;
        code = &mut ended => code.unwrap_or(EXIT_FAULT),
        // The console is gone: the connection's end that it has shown is about to arrive here
        // too, or it has panicked and the connection must be told.
        _ = &mut done => {
            quit(control);
            return match timeout(BYE_TIMEOUT, &mut ended).await {
                Ok(Ok(code)) => code,
                Ok(Err(_)) | Err(_) => EXIT_FAULT,
            };
        }
        () = signalled() => {
            quit(control);
            tokio::select! {
                code = timeout(SIGNAL_TIMEOUT, &mut ended) => match code {
                    Ok(code) => code.unwrap_or(EXIT_FAULT),
                    Err(_) => 0,
                },
                () = signalled() => 0,
            }
        }
    };
    let _ = timeout(LAST_LINES_TIMEOUT, done).await;
    code
}

fn quit(control: &Addr<ControlActor<ServerDialer>>) {
    // Full: it is busy with what will end anyway, and the bound of the wait ends us.
    let _ = control.try_send(Ask { request: Request::Quit, permit: None });
}

fn refuse(why: &str, code: u8) -> u8 {
    eprintln!("parlor: {why}");
    code
}

/// Spreads the attempts of many clients to come back; where there is no randomness the process
/// number has to do.
fn seed() -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_ne_bytes(bytes),
        Err(_) => u64::from(std::process::id()),
    }
}

/// Waits for a signal that asks the client to end.
#[cfg(unix)]
pub(super) async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = kinds.map(signal) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

#[cfg(not(unix))]
pub(super) async fn signalled() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}
