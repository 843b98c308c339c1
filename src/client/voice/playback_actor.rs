//! The playback actor: a timer that takes packets from the link's ring and keeps the loudspeaker's ring filled.
//!
//! The sound card sets the pace: blocks are mixed when its ring has drained below a small level. Files, the
//! null output and the time while a device is away go by the clock.

use super::capture::level_db;
use super::capture_actor::Stop;
use super::desk::{CLOSE_TIME, OpenOutput, Wanted};
use super::device::{BUSY, OUTPUT_BUFFERS, OutputDevice};
use super::keeper::{Change, Keeper};
use super::load::{CpuMeter, PerMinute};
use super::margin::{Margin, Xruns};
use super::playback::{BLOCK, MIX_RATE, Playback, ToPlayback};
use super::resample::Resampler;
use super::shared::{Outbox, Shared};
use super::sounds::Sound;
use super::source::Pacer;
use super::wav::WavOutput;
use super::{Direction, SpeakerStats, VoiceEvent};
use crate::net::limits::CLIENT_MAILBOX;
use crate::net::{clock, process};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use rtrb::{Consumer, Producer};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How often rings are looked at.
const TICK: Duration = Duration::from_millis(1);
/// Frames of a device whose period is not known yet.
const PERIOD_GUESS: u32 = 480;
/// Blocks mixed at one look at most.
const BLOCKS_MAX: usize = 64;
/// How often a file's header is brought up to date.
const FLUSH_INTERVAL: Duration = Duration::from_millis(500);

/// Where the mix goes.
#[derive(Debug)]
pub enum Sink {
    /// A sound device.
    Device(Box<DeviceSink>),
    /// A file.
    Wav {
        /// Where it is.
        path: PathBuf,
        /// None after the disk refused it.
        file: Option<WavOutput>,
        /// When its header was last brought up to date.
        flushed: Option<Instant>,
    },
    /// Nowhere.
    Null,
}

/// A sound device and what its ring is kept filled with.
#[derive(Debug)]
pub struct DeviceSink {
    keeper: Keeper<OutputDevice>,
    name: String,
    resampler: Option<Resampler>,
    resampled: Vec<f32>,
    margin: Margin,
    /// What lies between the mix and the device's own buffer at most.
    latency_ms: f32,
    glitches_seen: u64,
    xruns_seen: u64,
    xruns: Xruns,
    /// How many of the device's buffer sizes, smallest first, have turned out too small.
    too_small: Arc<AtomicUsize>,
}

/// A loudspeaker that is being opened.
struct Next {
    sink: Box<DeviceSink>,
    open: OpenOutput,
    /// What was closed for it.
    alone: Option<String>,
    from: Instant,
}

/// Where voice comes from.
#[derive(Debug)]
pub struct Intake {
    /// From the link.
    pub packets: Consumer<ToPlayback>,
    /// Back to the link: buffers of payloads that were read.
    pub emptied: Producer<Vec<u8>>,
}

/// The actor.
pub struct PlaybackActor {
    shared: Arc<Shared>,
    core: Playback,
    intake: Intake,
    sink: Sink,
    /// A loudspeaker that was chosen and is being opened; the sink stays until it runs.
    next: Option<Next>,
    /// What is played goes back to the others: nothing but voice may be.
    echoes: bool,
    pacer: Pacer,
    echo: Option<Producer<f32>>,
    outbox: Outbox,
    underruns: u64,
    underruns_lately: PerMinute,
    cpu: CpuMeter,
}

/// Asks for figures.
#[derive(Debug, Message)]
#[rtype(result = "PlaybackFigures")]
pub struct AskPlayback;

/// Figures of the loudspeaker and of all who are heard.
#[derive(Debug, Clone, Default, PartialEq, actix::MessageResponse)]
pub struct PlaybackFigures {
    /// Level lately, dBFS.
    pub level_db: f32,
    /// What it is.
    pub output: String,
    /// Times that it found no samples.
    pub underruns: u64,
    /// The same in the last minute.
    pub underruns_lately: u32,
    /// What lies in the ring to the device at most, in ms; 0 where there is no device.
    pub ring_ms: f32,
    /// From the device's own buffer to the ear, in ms, as the sound system tells.
    pub device_ms: f32,
    /// What this process takes of one core.
    pub cpu: Option<f32>,
    /// Everyone heard.
    pub speakers: Vec<SpeakerStats>,
}

impl DeviceSink {
    /// A device that is kept open; `name` is how it was asked for.
    #[must_use]
    pub fn new(name: String, open: OpenOutput) -> Self {
        let too_small = Arc::new(AtomicUsize::new(0));
        let skip = too_small.clone();
        Self {
            keeper: Keeper::new(Arc::new(move || open(skip.load(Ordering::Relaxed)))),
            name,
            resampler: None,
            resampled: Vec::new(),
            margin: Margin::default(),
            latency_ms: 0.0,
            glitches_seen: 0,
            xruns_seen: 0,
            xruns: Xruns::default(),
            too_small,
        }
    }

    /// A device that runs dry whatever its ring holds gets a larger buffer.
    fn enlarge(&mut self, now: Instant) {
        let Some(device) = self.keeper.device() else { return };
        let larger = self.too_small.load(Ordering::Relaxed) + 1;
        if self.xruns.are_too_many(device.state.xruns.load(Ordering::Relaxed), now)
            && larger < OUTPUT_BUFFERS.len()
        {
            tracing::info!(device = %device.description, "a larger buffer for the loudspeaker");
            self.too_small.store(larger, Ordering::Relaxed);
            self.keeper.reopen();
            self.xruns = Xruns::default();
            self.margin = Margin::default();
        }
    }

    /// Fills the device's ring; how often it had found too little, or none if it is not open.
    fn fill(
        &mut self,
        now: Instant,
        mut render: impl FnMut(&mut dyn FnMut(&[f32])),
    ) -> Option<u64> {
        let device = self.keeper.device()?;
        let rate = device.rate;
        if self.resampler.as_ref().is_none_or(|_| !device.state.wanted.load(Ordering::Relaxed)) {
            self.resampler = Resampler::new(MIX_RATE, rate).ok();
            self.glitches_seen = device.state.glitches.load(Ordering::Relaxed);
            self.xruns_seen = device.state.xruns.load(Ordering::Relaxed);
        }
        let resampler = self.resampler.as_mut()?;
        let glitches = device.state.glitches.load(Ordering::Relaxed);
        let new = glitches.saturating_sub(self.glitches_seen);
        self.glitches_seen = glitches;
        // What the device itself had too little of, no ring mends.
        let xruns = device.state.xruns.load(Ordering::Relaxed);
        let gaps = new.saturating_sub(xruns.saturating_sub(self.xruns_seen));
        self.xruns_seen = xruns;
        let spare_ms = match device.state.spare.swap(u32::MAX, Ordering::Relaxed) {
            u32::MAX => f32::INFINITY,
            spare => spare as f32 * 1e3 / rate as f32,
        };
        self.margin.note(gaps, spare_ms, now);
        let period = match device.state.period.load(Ordering::Relaxed) {
            0 => PERIOD_GUESS,
            period => period,
        };
        let frames = |ms: f32| (ms * rate as f32 / 1e3) as usize;
        let wanted = usize::try_from(period).unwrap_or(0) + frames(self.margin.ms());
        self.latency_ms = wanted as f32 * 1e3 / rate as f32;
        let capacity = device.ring.buffer().capacity();
        for _ in 0..BLOCKS_MAX {
            if capacity - device.ring.slots() >= wanted.min(capacity / 2) {
                break;
            }
            self.resampled.clear();
            render(&mut |block| resampler.push(block, &mut self.resampled));
            pour(&mut device.ring, &self.resampled);
        }
        device.state.wanted.store(true, Ordering::Relaxed);
        Some(new)
    }
}

/// Puts as many samples into a ring as find room.
fn pour(ring: &mut Producer<f32>, samples: &[f32]) {
    let room = ring.slots().min(samples.len());
    if let Ok(chunk) = ring.write_chunk_uninit(room) {
        chunk.fill_from_iter(samples.iter().copied());
    }
}

impl PlaybackActor {
    /// An actor that plays what comes in.
    #[must_use]
    pub fn new(
        shared: Arc<Shared>,
        core: Playback,
        intake: Intake,
        mut sink: Sink,
        echo: Option<Producer<f32>>,
        outbox: Outbox,
    ) -> Self {
        shared.devices.note(Direction::Output, &sink.description());
        Self {
            shared,
            core,
            intake,
            sink,
            next: None,
            echoes: false,
            pacer: Pacer::default(),
            echo,
            outbox,
            underruns: 0,
            underruns_lately: PerMinute::default(),
            cpu: CpuMeter::default(),
        }
    }

    /// The same, where what is played goes back to the others.
    #[must_use]
    pub fn echoing(self, echoes: bool) -> Self {
        Self { echoes, ..self }
    }

    fn tick(&mut self, now: Instant) {
        self.follow_choice(now);
        while let Ok(item) = self.intake.packets.pop() {
            if let Some(payload) = self.core.handle(item) {
                // Where the ring is full, there are buffers enough.
                let _ = self.intake.emptied.push(payload);
            }
        }
        let deafened = self.shared.deafened();
        self.core.set_deafened(deafened);
        for sound in self.shared.sounds.take(deafened).into_iter().flatten() {
            self.core.play_sound(sound);
            if sound == Sound::Tone {
                self.outbox.push(VoiceEvent::Tone(self.sink.sounding()));
            }
        }
        if self.shared.trial.is_stopped() {
            self.core.stop_replay();
        }
        if let Some(take) = self.shared.trial.take()
            && let Err(error) = self.core.replay(take, now)
        {
            tracing::error!(%error, "a trial cannot be played");
            self.shared.trial.set_played();
        }
        let replaying = self.core.is_replaying();
        if let Some((volumes, levelling)) = self.shared.wishes.take() {
            self.core.set_loudness(volumes, levelling);
        }
        if let Some(tape) = self.shared.recorder.played.take() {
            self.core.set_tape(tape);
        }
        let (core, echo) = (&mut self.core, &mut self.echo);
        let mut render = |take: &mut dyn FnMut(&[f32])| {
            let block = core.render(now);
            if let Some(ring) = echo {
                pour(ring, block);
            }
            take(block);
        };
        let mut change = None;
        let on_device = match &mut self.sink {
            Sink::Device(sink) => {
                sink.enlarge(now);
                change = sink.keeper.poll(now);
                sink.fill(now, &mut render)
            }
            Sink::Wav { .. } | Sink::Null => None,
        };
        match on_device {
            Some(glitches) => {
                self.underruns += glitches;
                self.underruns_lately.count(glitches, now);
                self.pacer.reset();
            }
            None => {
                self.pacer.start(now);
                let mut due = self.pacer.due(now, MIX_RATE);
                while due > 0 {
                    render(&mut |block| change = change.take().or(self.sink.write(block, now)));
                    // What is rendered too much is not due next time.
                    self.pacer.ahead(BLOCK.saturating_sub(due));
                    due = due.saturating_sub(BLOCK);
                }
            }
        }
        if replaying && !self.core.is_replaying() {
            self.shared.trial.set_played();
        }
        if let Some(change) = change {
            self.tell(change);
        }
        for event in self.core.take_events() {
            self.outbox.push(event);
        }
        self.outbox.flush();
        self.cpu.look(now, process::cpu_time);
    }

    /// Opens a loudspeaker that was chosen, and goes over to it when it runs.
    fn follow_choice(&mut self, now: Instant) {
        if let Some(Wanted { name, open }) = self.shared.devices.output.take() {
            self.sink.wake();
            let sink = Box::new(DeviceSink::new(name, open.clone()));
            self.next = Some(Next { sink, open, alone: None, from: now });
        }
        let Some(mut next) = self.next.take() else { return };
        let change = if now >= next.from { next.sink.keeper.poll(now) } else { None };
        match change {
            None => self.next = Some(next),
            Some(Change::Up(description)) => {
                self.sink.finish();
                self.sink = Sink::Device(next.sink);
                if !self.echoes {
                    self.core.add_sounds();
                }
                self.tell(Change::Up(description));
            }
            Some(Change::Down(error)) => {
                let kept = self.sink.description();
                let name = next.sink.name.clone();
                if next.alone.is_none() && error.contains(BUSY) && self.sink.rest() {
                    let sink = Box::new(DeviceSink::new(name, next.open.clone()));
                    let from = now + CLOSE_TIME;
                    self.next = Some(Next { sink, alone: Some(kept), from, ..next });
                    return;
                }
                self.sink.wake();
                let direction = Direction::Output;
                let kept = next.alone.unwrap_or(kept);
                self.outbox.push(VoiceEvent::DeviceRefused { direction, name, error, kept });
            }
        }
    }

    fn tell(&mut self, change: Change) {
        let direction = Direction::Output;
        self.shared.devices.note(direction, change.description());
        self.outbox.push(match change {
            Change::Up(description) => VoiceEvent::DeviceUp { direction, description },
            Change::Down(error) => {
                VoiceEvent::DeviceDown { direction, name: self.sink.name(), error }
            }
        });
    }
}

impl Sink {
    /// Writes to the file, if it is one; what went wrong, once.
    fn write(&mut self, samples: &[f32], now: Instant) -> Option<Change> {
        let Self::Wav { file, flushed, .. } = self else { return None };
        let writer = file.as_mut()?;
        let mut result = writer.write(samples);
        if flushed.is_none_or(|at| now.saturating_duration_since(at) > FLUSH_INTERVAL) {
            *flushed = Some(now);
            result = result.and(writer.flush());
        }
        let why = result.err()?;
        *file = None;
        Some(Change::Down(why))
    }

    /// Gives up its device for another one, if it has one.
    fn rest(&mut self) -> bool {
        match self {
            Self::Device(sink) => sink.keeper.rest(),
            Self::Wav { .. } | Self::Null => false,
        }
    }

    /// Takes its device again.
    fn wake(&mut self) {
        if let Self::Device(sink) = self {
            sink.keeper.wake();
        }
    }

    /// Brings a file to its end.
    fn finish(&mut self) {
        if let Self::Wav { file: Some(file), .. } = self
            && let Err(error) = file.flush()
        {
            tracing::warn!(%error, "the WAV output is not complete");
        }
    }

    /// The sound device that plays now; empty where none does.
    fn sounding(&mut self) -> String {
        match self {
            Self::Device(_) => self.description(),
            Self::Wav { .. } | Self::Null => String::new(),
        }
    }

    fn ring_ms(&self) -> f32 {
        match self {
            Self::Device(sink) => sink.latency_ms,
            Self::Wav { .. } | Self::Null => 0.0,
        }
    }

    fn device_ms(&mut self) -> f32 {
        let Self::Device(sink) = self else { return 0.0 };
        let micros = |device: &mut OutputDevice| device.state.latency_us.load(Ordering::Relaxed);
        sink.keeper.device().map_or(0.0, |device| micros(device) as f32 / 1e3)
    }

    fn name(&self) -> String {
        match self {
            Self::Device(sink) => sink.name.clone(),
            Self::Wav { path, .. } => path.display().to_string(),
            Self::Null => "null".to_owned(),
        }
    }

    fn description(&mut self) -> String {
        match self {
            Self::Device(sink) => {
                sink.keeper.device().map(|device| device.description.clone()).unwrap_or_default()
            }
            Self::Wav { path, .. } => format!("WAV file {}", path.display()),
            Self::Null => "null".to_owned(),
        }
    }
}

impl Actor for PlaybackActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.set_mailbox_capacity(CLIENT_MAILBOX);
        context.run_interval(TICK, |actor, _| actor.tick(clock::now()));
    }
}

impl Handler<AskPlayback> for PlaybackActor {
    type Result = PlaybackFigures;

    fn handle(&mut self, _: AskPlayback, _: &mut Context<Self>) -> PlaybackFigures {
        PlaybackFigures {
            level_db: level_db(self.core.level()),
            output: self.sink.description(),
            underruns: self.underruns,
            underruns_lately: self.underruns_lately.total(clock::now()),
            ring_ms: self.sink.ring_ms(),
            device_ms: self.sink.device_ms(),
            cpu: self.cpu.share(),
            speakers: self.core.figures(),
        }
    }
}

impl Handler<Stop> for PlaybackActor {
    type Result = ();

    fn handle(&mut self, _: Stop, context: &mut Context<Self>) {
        self.sink.finish();
        // Whatever is open is closed with it.
        self.sink = Sink::Null;
        self.core.set_tape(None);
        context.stop();
    }
}
