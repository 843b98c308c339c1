//! Where captured samples come from: a device, a WAV file, a tone, silence, or the echo of what is played.

use super::device::InputDevice;
use super::keeper::{Change, Keeper};
use super::playback::MIX_RATE;
use super::wav::WavInput;
use crate::net::codec::L16_RATE;
use rtrb::Consumer;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The echo comes this many samples later: one second.
const ECHO_DELAY: usize = MIX_RATE as usize;
/// A sample of the mix above this is something to say back.
const ECHO_FLOOR: f32 = 1.0 / 32768.0;
/// The echo goes on for this long after the last such sample, so that pauses between words stay.
const ECHO_HANG: usize = MIX_RATE as usize * 3 / 10;
/// A source on the clock never hands out more than this at a time.
const BURST_MAX: Duration = Duration::from_millis(200);

/// A microphone or what stands in for one.
#[derive(Debug)]
pub enum Source {
    /// A sound device.
    Device(Keeper<InputDevice>),
    /// A file; its clock starts when the microphone is opened for the first time.
    Wav(WavInput, Pacer),
    /// A sine wave: Hz and phase in turns.
    Tone(f32, f32, Pacer),
    /// Zeros.
    Silence(Pacer),
    /// What was played a second ago.
    Echo(Box<Echo>),
}

/// Hands out samples at the pace of the monotonic clock.
#[derive(Debug, Default)]
pub struct Pacer {
    started: Option<Instant>,
    given: u64,
}

/// The delay line of the echo.
#[derive(Debug)]
pub struct Echo {
    ring: Consumer<f32>,
    line: VecDeque<f32>,
    quiet_for: usize,
}

/// What pulling brought beside samples.
#[derive(Debug, Default)]
pub struct Pulled {
    /// The device came or went.
    pub change: Option<Change>,
    /// There is nothing worth sending (only the echo says so).
    pub mute: bool,
}

impl Source {
    /// Sampling rate now, in Hz, if anything is open.
    pub fn rate(&mut self) -> Option<u32> {
        match self {
            Self::Device(keeper) => keeper.device().map(|device| device.rate),
            Self::Wav(file, _) => Some(file.rate()),
            Self::Tone(..) | Self::Silence(_) => Some(L16_RATE),
            Self::Echo(_) => Some(MIX_RATE),
        }
    }

    /// What it is, for people; empty while a device is away.
    pub fn description(&mut self) -> String {
        match self {
            Self::Device(keeper) => {
                keeper.device().map(|device| device.description.clone()).unwrap_or_default()
            }
            Self::Wav(file, _) => format!("WAV file, {} Hz", file.rate()),
            Self::Tone(hz, ..) => format!("tone of {hz} Hz"),
            Self::Silence(_) => "silence".to_owned(),
            Self::Echo(_) => "echo".to_owned(),
        }
    }

    /// Times that samples were lost.
    pub fn overruns(&mut self) -> u64 {
        match self {
            Self::Device(keeper) => {
                keeper.device().map_or(0, |device| device.state.glitches.load(Ordering::Relaxed))
            }
            _ => 0,
        }
    }

    /// How long ago the samples pulled now were sounding.
    pub fn latency(&mut self) -> Duration {
        match self {
            Self::Device(keeper) => keeper.device().map_or(Duration::ZERO, |device| {
                Duration::from_micros(device.state.latency_us.load(Ordering::Relaxed).into())
            }),
            _ => Duration::ZERO,
        }
    }

    /// Gives up its device for another one, if it has one.
    pub fn rest(&mut self) -> bool {
        match self {
            Self::Device(keeper) => keeper.rest(),
            _ => false,
        }
    }

    /// Takes its device again.
    pub fn wake(&mut self) {
        if let Self::Device(keeper) = self {
            keeper.wake();
        }
    }

    /// The microphone is opened: a file begins, if it has not.
    pub fn opened(&mut self, now: Instant) {
        if let Self::Wav(_, pacer) = self {
            pacer.started.get_or_insert(now);
        }
    }

    /// Appends what has come since the last call.
    pub fn pull(&mut self, now: Instant, out: &mut Vec<f32>) -> Pulled {
        match self {
            Self::Device(keeper) => {
                let change = keeper.poll(now);
                if let Some(device) = keeper.device() {
                    let there = device.ring.slots();
                    if let Ok(chunk) = device.ring.read_chunk(there) {
                        out.extend(chunk);
                    }
                }
                return Pulled { change, mute: false };
            }
            Self::Wav(file, pacer) => {
                if pacer.started.is_some() {
                    file.read(pacer.due(now, file.rate()), out);
                }
            }
            Self::Tone(hz, phase, pacer) => {
                pacer.started.get_or_insert(now);
                for _ in 0..pacer.due(now, L16_RATE) {
                    out.push((*phase * std::f32::consts::TAU).sin() * 0.25);
                    *phase = (*phase + *hz / L16_RATE as f32).fract();
                }
            }
            Self::Silence(pacer) => {
                pacer.started.get_or_insert(now);
                out.resize(out.len() + pacer.due(now, L16_RATE), 0.0);
            }
            Self::Echo(echo) => return Pulled { change: None, mute: echo.pull(out) },
        }
        Pulled::default()
    }
}

impl Pacer {
    /// Samples that are due at this rate. After a stall the rest is put off, not skipped.
    pub fn due(&mut self, now: Instant, rate: u32) -> usize {
        let Some(started) = self.started else { return 0 };
        let passed = now.saturating_duration_since(started).as_secs_f64() * f64::from(rate);
        let due = (passed as u64).saturating_sub(self.given);
        let most = (BURST_MAX.as_secs_f64() * f64::from(rate)) as u64;
        if due > most {
            let late = (due - most) as f64 / f64::from(rate);
            self.started = Some(started + Duration::from_secs_f64(late));
        }
        let due = due.min(most);
        self.given += due;
        usize::try_from(due).unwrap_or(0)
    }

    /// More was handed out than was due.
    pub fn ahead(&mut self, count: usize) {
        self.given += count as u64;
    }

    /// Starts the clock, if it does not run.
    pub fn start(&mut self, now: Instant) {
        self.started.get_or_insert(now);
    }

    /// Stops it; it starts anew with nothing due.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

impl Echo {
    /// An echo of what comes through this ring.
    #[must_use]
    pub fn new(ring: Consumer<f32>) -> Self {
        Self { ring, line: VecDeque::with_capacity(2 * ECHO_DELAY), quiet_for: ECHO_HANG }
    }

    /// Appends what was played a second ago; whether it is silence.
    fn pull(&mut self, out: &mut Vec<f32>) -> bool {
        let there = self.ring.slots();
        if let Ok(chunk) = self.ring.read_chunk(there) {
            self.line.extend(chunk);
        }
        let ready = self.line.len().saturating_sub(ECHO_DELAY);
        for sample in self.line.drain(..ready) {
            self.quiet_for =
                if sample.abs() > ECHO_FLOOR { 0 } else { self.quiet_for.saturating_add(1) };
            out.push(sample);
        }
        self.quiet_for >= ECHO_HANG
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;

    #[test]
    fn a_source_keeps_to_the_clock_and_never_bursts() {
        let start = clock::now();
        let mut source = Source::Tone(440.0, 0.0, Pacer::default());
        let mut out = Vec::new();
        for ms in 0..=1000 {
            source.pull(start + Duration::from_millis(ms), &mut out);
        }
        assert_eq!(out.len(), 16_000);
        source.pull(start + Duration::from_secs(60), &mut out);
        assert_eq!(out.len(), 16_000 + 3200);
        source.pull(start + Duration::from_millis(60_001), &mut out);
        assert!(out.len() < 16_000 + 3200 + 40);
    }

    #[test]
    fn the_echo_comes_a_second_later_and_only_while_there_is_one() {
        let (mut producer, ring) = rtrb::RingBuffer::new(ECHO_DELAY * 4);
        let mut echo = Echo::new(ring);
        let mut out = Vec::new();
        let mut mutes = Vec::new();
        for k in 0..300 {
            for _ in 0..480 {
                let _ = producer.push(if (100..110).contains(&k) { 0.5 } else { 0.0 });
            }
            mutes.push(echo.pull(&mut out));
        }
        let first = out.iter().position(|s| *s != 0.0);
        assert_eq!(first, Some(48_000));
        let sounding: Vec<_> = (0..300).filter(|k| !mutes[*k]).collect();
        assert_eq!((sounding.first(), sounding.last()), (Some(&200), Some(&(239 - 1))));
    }
}
