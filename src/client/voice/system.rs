//! Starts and ends the voice threads: one for the actor system, and an arbiter for each of the three actors.

use super::capture::Capture;
use super::capture_actor::{CaptureActor, Stop};
use super::chain::far_end::FarEnd;
use super::chain::gate::Transmit;
use super::device::{open_input, open_output};
use super::keeper::Keeper;
use super::link_actor::{LinkActor, Wake};
use super::playback::{MIX_RATE, Playback};
use super::playback_actor::{DeviceSink, Intake, PlaybackActor, Sink};
use super::shared::{Command, Outbox, Shared};
use super::source::{Echo, Pacer, Source};
use super::tap::Tap;
use super::wav::{WavInput, WavOutput};
use super::{InputChoice, OutputChoice, VoiceConfig, VoiceError, VoiceEvent};
use crate::net::limits::VOICE_QUEUE_PACKETS_MAX;
use actix::{Actor, Addr, Arbiter, System};
use rtrb::{Consumer, RingBuffer};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Samples on their way to the echo: one second is the delay, the rest is slack.
const ECHO_RING: usize = MIX_RATE as usize;
/// Samples on their way to the echo canceller: 200 ms.
const FAR_END_RING: usize = MIX_RATE as usize / 5;
/// How long each actor may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The running voice side.
#[derive(Debug)]
pub struct VoiceSystem {
    /// What all share.
    pub shared: Arc<Shared>,
    /// Microphone.
    pub capture: Addr<CaptureActor>,
    /// Loudspeaker.
    pub playback: Addr<PlaybackActor>,
    /// Datagrams.
    pub link: Addr<LinkActor>,
    /// Where news go.
    pub events: mpsc::WeakSender<VoiceEvent>,
    end: Mutex<Option<oneshot::Sender<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

type Addresses = (Addr<CaptureActor>, Addr<PlaybackActor>, Addr<LinkActor>);

impl VoiceSystem {
    /// Opens files, starts the threads and has the devices opened.
    pub fn start(
        config: &VoiceConfig,
        events: &mpsc::Sender<VoiceEvent>,
        tap: Option<Tap>,
    ) -> Result<Self, VoiceError> {
        let error = |why: &dyn std::fmt::Display| VoiceError::Start(why.to_string());
        let shared = Arc::new(Shared::default());
        *shared.sending() = config.sending;
        *shared.chain() = config.chain;
        shared.wishes.set_levelling(config.levelling);
        shared.sounds.switch(config.sounds);
        let (echo_in, echo_out) = match config.input {
            InputChoice::Echo => {
                let (producer, consumer) = RingBuffer::new(ECHO_RING);
                (Some(producer), Some(consumer))
            }
            _ => (None, None),
        };
        let mut capture_core = Capture::new(config.sending).map_err(|why| error(&why))?;
        // What is played is what a microphone hears an echo of; one may be chosen later.
        let (echo_in, far) = match config.input {
            InputChoice::Echo => (echo_in, None),
            _ => {
                let (producer, consumer) = RingBuffer::new(FAR_END_RING);
                (Some(producer), Some(FarEnd::new(consumer)))
            }
        };
        let far = match (&config.input, far) {
            (InputChoice::Default | InputChoice::Device(_), Some(far)) => {
                capture_core.improve(config.chain, far);
                None
            }
            (_, far) => far,
        };
        let (source, source_name) = source(&config.input, echo_out)?;
        let sink = sink(&config.output)?;
        // What is played to an echo goes back to the others.
        let alone = matches!(sink, Sink::Device(_)) && config.input != InputChoice::Echo;
        let playback_core = match alone {
            true => Playback::new(tap).with_sounds(),
            false => Playback::new(tap),
        };
        let outbox = || Outbox::new(events.clone());
        let capture =
            CaptureActor::new(shared.clone(), source, source_name, capture_core, outbox())
                .beside(far);
        let echoes = config.input == InputChoice::Echo;
        let (for_playback, playback_outbox) = (shared.clone(), outbox());
        // Playback is built where it runs, because the link's ring begins there.
        let make_playback: MakePlayback = Box::new(move |intake| {
            PlaybackActor::new(for_playback, playback_core, intake, sink, echo_in, playback_outbox)
                .echoing(echoes)
        });

        let (end, ended) = oneshot::channel();
        let (ready_in, ready) = std::sync::mpsc::channel();
        let (link_shared, link_outbox) = (shared.clone(), outbox());
        let thread = std::thread::Builder::new()
            .name("voice".to_owned())
            .spawn(move || {
                run(capture, make_playback, (link_shared, link_outbox), &ready_in, ended);
            })
            .map_err(|why| error(&why))?;
        let (capture, playback, link) =
            ready.recv().map_err(|_| VoiceError::Start("the thread broke off".to_owned()))?;
        Ok(Self {
            shared,
            capture,
            playback,
            link,
            events: events.downgrade(),
            end: Mutex::new(Some(end)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Queues a command for the link. If its mailbox is full, it is already about to look.
    pub fn command(&self, command: Command) {
        if self.shared.command(command) {
            let _ = self.link.try_send(Wake);
        } else {
            tracing::error!("the voice link does not take commands any more");
        }
    }

    /// Ends the actors in order, then the threads. Any number of times.
    pub async fn stop(&self) {
        self.shared.set_transmit(Transmit::Shut);
        let _ = tokio::time::timeout(STOP_TIMEOUT, self.capture.send(Stop)).await;
        let _ = tokio::time::timeout(STOP_TIMEOUT, self.link.send(Stop)).await;
        let _ = tokio::time::timeout(STOP_TIMEOUT, self.playback.send(Stop)).await;
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(end);
        let recording = self.shared.recorder.take_thread();
        if let Some(thread) = recording {
            let joined = tokio::task::spawn_blocking(move || thread.join());
            if tokio::time::timeout(STOP_TIMEOUT, joined).await.is_err() {
                tracing::warn!("the recording does not end");
            }
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join());
            if tokio::time::timeout(STOP_TIMEOUT, joined).await.is_err() {
                tracing::warn!("the voice threads do not end");
            }
        }
    }
}

type MakePlayback = Box<dyn FnOnce(Intake) -> PlaybackActor + Send>;

/// The thread of the actor system.
fn run(
    capture: CaptureActor,
    make_playback: MakePlayback,
    (shared, outbox): (Arc<Shared>, Outbox),
    ready: &std::sync::mpsc::Sender<Addresses>,
    ended: oneshot::Receiver<()>,
) {
    System::new().block_on(async move {
        let arbiters = [Arbiter::new(), Arbiter::new(), Arbiter::new()];
        let (producer, packets) = RingBuffer::new(VOICE_QUEUE_PACKETS_MAX);
        let (emptied, for_reuse) = RingBuffer::new(VOICE_QUEUE_PACKETS_MAX);
        let intake = Intake { packets, emptied };
        let [for_capture, for_playback, for_link] = &arbiters;
        let capture = CaptureActor::start_in_arbiter(&for_capture.handle(), |_| capture);
        let playback =
            PlaybackActor::start_in_arbiter(&for_playback.handle(), |_| make_playback(intake));
        let link = LinkActor::start_in_arbiter(&for_link.handle(), move |_| {
            LinkActor::new(shared, producer, for_reuse, outbox)
        });
        if ready.send((capture, playback, link)).is_ok() {
            // The end of the handle is the end of this, too.
            let _ = ended.await;
        }
        for arbiter in arbiters {
            arbiter.stop();
            let _ = arbiter.join();
        }
    });
}

fn source(
    choice: &InputChoice,
    echo: Option<Consumer<f32>>,
) -> Result<(Source, String), VoiceError> {
    let device = |name: Option<String>| {
        let shown = name.clone().unwrap_or_else(|| "default".to_owned());
        let keeper = Keeper::new(Arc::new(move || open_input(name.as_deref())));
        (Source::Device(keeper), shown)
    };
    Ok(match choice {
        InputChoice::Default => device(None),
        InputChoice::Device(name) => device(Some(name.clone())),
        InputChoice::Wav { path, repeat } => (
            Source::Wav(WavInput::open(path, *repeat)?, Pacer::default()),
            path.display().to_string(),
        ),
        InputChoice::Tone(hz) => (Source::Tone(*hz, 0.0, Pacer::default()), format!("tone:{hz}")),
        InputChoice::Silence => (Source::Silence(Pacer::default()), "silence".to_owned()),
        InputChoice::Echo => match echo {
            Some(ring) => (Source::Echo(Box::new(Echo::new(ring))), "echo".to_owned()),
            None => (Source::Silence(Pacer::default()), "silence".to_owned()),
        },
    })
}

fn sink(choice: &OutputChoice) -> Result<Sink, VoiceError> {
    let device = |name: Option<String>| {
        let shown = name.clone().unwrap_or_else(|| "default".to_owned());
        let open = Arc::new(move |skip| open_output(name.as_deref(), skip));
        Sink::Device(Box::new(DeviceSink::new(shown, open)))
    };
    Ok(match choice {
        OutputChoice::Default => device(None),
        OutputChoice::Device(name) => device(Some(name.clone())),
        OutputChoice::Wav(path) => Sink::Wav {
            path: path.clone(),
            file: Some(WavOutput::create(path, MIX_RATE)?),
            flushed: None,
        },
        OutputChoice::Null => Sink::Null,
    })
}
