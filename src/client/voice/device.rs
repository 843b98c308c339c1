//! Sound devices through cpal: finding, opening, and the callbacks, which only convert samples and
//! move them between a ring and the device.
//!
//! Opening may block (a sound server that does not answer), so it happens on a thread of its own.

use super::resample::RATES;
use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{
    BufferSize, Data, FromSample, I24, Sample, SampleFormat, SizedSample, StreamConfig,
    SupportedBufferSize, SupportedStreamConfigRange, U24,
};
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Rate asked for where the device has it.
const RATE: u32 = 48_000;
/// Frames in a microphone's buffer asked for, best first, where the device takes them.
const INPUT_BUFFERS: [u32; 3] = [480, 512, 256];
/// The same for a loudspeaker, smallest first: the smaller, the sooner its sound is heard.
pub const OUTPUT_BUFFERS: [u32; 6] = [240, 256, 480, 512, 960, 1024];
/// Samples between a callback and its worker: half a second at any usual rate.
const RING: usize = 1 << 15;

/// The error of a device whose formats are all strange.
const NO_FORMAT: &str = "the device offers no usable format";

/// The error of a device that somebody else has, and be it we ourselves by another name.
pub const BUSY: &str = "the device is in use";

/// What callbacks tell their worker.
#[derive(Debug, Default)]
pub struct DeviceState {
    /// Callbacks so far.
    pub callbacks: AtomicU64,
    /// Frames of the largest callback.
    pub period: AtomicU32,
    /// Time from the microphone to the callback, or from the callback to the ear, in microseconds.
    pub latency_us: AtomicU32,
    /// Samples that found no room, or times that there were none.
    pub glitches: AtomicU64,
    /// Times that the device itself ran dry or over, whatever its ring held.
    pub xruns: AtomicU64,
    /// Output only: the fewest samples that a callback left in the ring, since the worker looked.
    pub spare: AtomicU32,
    /// Output only: whether the worker means to keep the ring filled.
    pub wanted: AtomicBool,
    /// Errors since the last callback.
    troubles: AtomicU32,
    failed: AtomicBool,
    error: Mutex<Option<String>>,
}

impl DeviceState {
    /// What made the device unusable, if anything did.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.failed.load(Ordering::Acquire).then(|| self.text())
    }

    /// What goes wrong since the last callback, if anything does; it may pass.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        (self.troubles.load(Ordering::Relaxed) > 0).then(|| self.text())
    }

    fn text(&self) -> String {
        let error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        error.clone().unwrap_or_else(|| "the device has stopped".to_owned())
    }

    /// Called by cpal, perhaps thousands of times in a row: only the first counts.
    fn report(&self, error: &cpal::Error) {
        match error.kind() {
            cpal::ErrorKind::Xrun => {
                self.glitches.fetch_add(1, Ordering::Relaxed);
                self.xruns.fetch_add(1, Ordering::Relaxed);
            }
            cpal::ErrorKind::RealtimeDenied | cpal::ErrorKind::DeviceChanged => {}
            _ if self.failed.load(Ordering::Acquire) => {}
            kind => {
                // ALSA's plugins have passing troubles; those that last are failures.
                let passing =
                    matches!(kind, cpal::ErrorKind::BackendError | cpal::ErrorKind::DeviceBusy);
                let first = self.troubles.fetch_add(1, Ordering::Relaxed) == 0;
                if (first || !passing)
                    && let Ok(mut text) = self.error.try_lock()
                {
                    *text = Some(error.to_string());
                }
                if !passing {
                    self.failed.store(true, Ordering::Release);
                }
            }
        }
    }
}

/// An open microphone.
pub struct InputDevice {
    stream: Option<cpal::Stream>,
    /// Mono samples.
    pub ring: Consumer<f32>,
    /// Rate in Hz.
    pub rate: u32,
    /// Name, rate, channels and format, for people.
    pub description: String,
    /// What its callbacks tell.
    pub state: Arc<DeviceState>,
}

/// An open loudspeaker.
pub struct OutputDevice {
    stream: Option<cpal::Stream>,
    /// Mono samples, which go to all channels.
    pub ring: Producer<f32>,
    /// Rate in Hz.
    pub rate: u32,
    /// Name, rate, channels and format, for people.
    pub description: String,
    /// What its callbacks tell.
    pub state: Arc<DeviceState>,
}

impl std::fmt::Debug for InputDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("InputDevice").field(&self.description).finish()
    }
}

impl std::fmt::Debug for OutputDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OutputDevice").field(&self.description).finish()
    }
}

#[cfg(test)]
impl InputDevice {
    /// A device of this name that is only a ring, and the end that it is filled from.
    pub fn fake(name: &str) -> (Self, Producer<f32>) {
        let (producer, ring) = RingBuffer::new(RING);
        let state = Arc::new(DeviceState::default());
        let description = format!("{name}: {RATE} Hz");
        (Self { stream: None, ring, rate: RATE, description, state }, producer)
    }
}

#[cfg(test)]
impl OutputDevice {
    /// A device of this name that is only a ring, and the end that it is emptied from.
    pub fn fake(name: &str) -> (Self, Consumer<f32>) {
        let (ring, consumer) = RingBuffer::new(RING);
        let state = Arc::new(DeviceState::default());
        let description = format!("{name}: {RATE} Hz");
        (Self { stream: None, ring, rate: RATE, description, state }, consumer)
    }
}

impl Drop for InputDevice {
    fn drop(&mut self) {
        close(self.stream.take());
    }
}

impl Drop for OutputDevice {
    fn drop(&mut self) {
        close(self.stream.take());
    }
}

/// Closing waits for the device's thread, which a dead sound server may hold up.
fn close(stream: Option<cpal::Stream>) {
    if let Some(stream) = stream {
        let thread = std::thread::Builder::new().name("device-close".to_owned());
        // Where no thread can be had, the stream closed itself when the closure was dropped.
        let _ = thread.spawn(move || drop(stream));
    }
}

/// Opens the microphone of this name, or the one that the environment names.
///
/// # Errors
/// What the sound system said.
pub fn open_input(name: Option<&str>) -> Result<InputDevice, String> {
    let _quiet = Quiet::new();
    on_some_host(name, true, |device| {
        let ranges = device.supported_input_configs().map_err(|e| e.to_string())?.collect();
        let mut error = NO_FORMAT.to_owned();
        for (config, format) in candidates(ranges, 1, &INPUT_BUFFERS) {
            let (producer, ring) = RingBuffer::new(RING);
            let state = Arc::new(DeviceState::default());
            let stream = build_input(device, config, format, producer, &state)
                .and_then(|stream| stream.play().map(|()| stream));
            match stream {
                Ok(stream) => {
                    return Ok(InputDevice {
                        description: describe(device, &stream, config, format),
                        stream: Some(stream),
                        ring,
                        rate: config.sample_rate,
                        state,
                    });
                }
                Err(why) => error = worded(&why),
            }
        }
        Err(error)
    })
}

/// Why a device cannot be opened.
fn worded(why: &cpal::Error) -> String {
    match why.kind() {
        cpal::ErrorKind::DeviceBusy => BUSY.to_owned(),
        _ => why.to_string(),
    }
}

/// Opens the loudspeaker of this name, or the one that the environment names. The first `skip` of
/// [`OUTPUT_BUFFERS`] are known to be too small.
///
/// # Errors
/// What the sound system said.
pub fn open_output(name: Option<&str>, skip: usize) -> Result<OutputDevice, String> {
    let _quiet = Quiet::new();
    let buffers = OUTPUT_BUFFERS.get(skip..).unwrap_or_default();
    on_some_host(name, false, |device| {
        let ranges = device.supported_output_configs().map_err(|e| e.to_string())?.collect();
        let mut error = NO_FORMAT.to_owned();
        for (config, format) in candidates(ranges, 2, buffers) {
            let (ring, consumer) = RingBuffer::new(RING);
            let state = Arc::new(DeviceState::default());
            let stream = build_output(device, config, format, consumer, &state)
                .and_then(|stream| stream.play().map(|()| stream));
            match stream {
                Ok(stream) => {
                    return Ok(OutputDevice {
                        description: describe(device, &stream, config, format),
                        stream: Some(stream),
                        ring,
                        rate: config.sample_rate,
                        state,
                    });
                }
                Err(why) => error = worded(&why),
            }
        }
        Err(error)
    })
}

/// Names of the devices there are: inputs and outputs.
///
/// # Errors
/// What the sound system said.
pub fn list() -> Result<(Vec<String>, Vec<String>), String> {
    let _quiet = Quiet::new();
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    let mut error = None;
    for host in hosts(true) {
        match (host.input_devices(), host.output_devices()) {
            (Ok(ins), Ok(outs)) => {
                inputs.extend(host.default_input_device().iter().map(name_of));
                inputs.extend(ins.map(|device| name_of(&device)));
                outputs.extend(host.default_output_device().iter().map(name_of));
                outputs.extend(outs.map(|device| name_of(&device)));
            }
            (Err(why), _) | (_, Err(why)) => error = Some(why.to_string()),
        }
    }
    for names in [&mut inputs, &mut outputs] {
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
    }
    match error {
        Some(why) if inputs.is_empty() && outputs.is_empty() => Err(why),
        _ => Ok((inputs, outputs)),
    }
}

/// The sound systems of this machine, best first.
///
/// A microphone behind PulseAudio (or PipeWire in its place) is asked for there directly: ALSA's plugin
/// for it costs 20 to 40 % of a core and 15 ms. A loudspeaker is not: cpal asks PulseAudio for no latency
/// at all in the sink, which measured 83 to 155 ms with drop-outs where ALSA's plugin had 70 and none.
fn hosts(input: bool) -> Vec<cpal::Host> {
    let mut ids = cpal::available_hosts();
    ids.sort_by_key(|id| (host_prefix(*id) == "pulse") != input);
    ids.into_iter().filter_map(|id| cpal::host_from_id(id).ok()).collect()
}

/// What a device's name starts with to mean one of this host.
fn host_prefix(id: cpal::HostId) -> &'static str {
    match id.name() {
        "PulseAudio" => "pulse",
        "ALSA" => "alsa",
        other => other,
    }
}

/// Finds the device on the hosts, in turn, and opens it on the first where that works.
fn on_some_host<T>(
    name: Option<&str>,
    input: bool,
    open: impl Fn(&cpal::Device) -> Result<T, String>,
) -> Result<T, String> {
    let mut errors = Vec::new();
    for host in hosts(input) {
        let prefix = host_prefix(host.id());
        let wanted = match name.and_then(|name| name.split_once(':')) {
            Some((of, rest)) if of == prefix => Some(rest),
            Some(("alsa" | "pulse", _)) => continue,
            _ => name,
        };
        match find(&host, wanted, input).and_then(|device| open(&device)) {
            Ok(opened) => return Ok(opened),
            Err(why) => errors.push(format!("{prefix}: {why}")),
        }
    }
    match errors.is_empty() {
        true => Err("there is no sound system on this machine".to_owned()),
        false => Err(errors.join("; ")),
    }
}

/// The name by which a device can be asked for.
fn name_of(device: &cpal::Device) -> String {
    let Ok(description) = device.description() else { return device.to_string() };
    match device.id() {
        // What the sound system calls it tells two of the same make apart.
        Ok(id) if id.id() != description.name() => format!("{} ({})", id.id(), description.name()),
        _ => description.name().to_owned(),
    }
}

fn find(host: &cpal::Host, name: Option<&str>, input: bool) -> Result<cpal::Device, String> {
    // The PulseAudio host does not look at these by itself; ALSA's plugin does.
    let from_environment = std::env::var(if input { "PULSE_SOURCE" } else { "PULSE_SINK" });
    let name = match name.filter(|name| *name != "default") {
        None if host_prefix(host.id()) == "pulse" => from_environment.ok(),
        name => name.map(str::to_owned),
    };
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        let device = if input { host.default_input_device() } else { host.default_output_device() };
        return device.ok_or_else(|| "there is no such device on this machine".to_owned());
    };
    let devices = if input { host.input_devices() } else { host.output_devices() };
    let devices: Vec<_> = devices.map_err(|e| e.to_string())?.collect();
    let exact = devices.iter().find(|device| {
        name_of(device) == name
            || device.description().is_ok_and(|d| d.name() == name)
            || device.id().is_ok_and(|id| id.id() == name)
    });
    if let Some(device) = exact {
        return Ok(device.clone());
    }
    let part = name.to_lowercase();
    let mut like = devices.iter().filter(|device| name_of(device).to_lowercase().contains(&part));
    match (like.next(), like.next()) {
        (Some(device), None) => Ok(device.clone()),
        (Some(_), Some(_)) => Err(format!("more than one device is called like \"{name}\"")),
        _ => Err(format!("no device is called \"{name}\"")),
    }
}

/// What to try, best first: 48 kHz before other rates, these channels, floats, small buffers.
fn candidates(
    ranges: Vec<SupportedStreamConfigRange>,
    best_channels: u16,
    buffers: &[u32],
) -> Vec<(StreamConfig, SampleFormat)> {
    let mut all: Vec<(u32, StreamConfig, SampleFormat)> = Vec::new();
    for range in ranges {
        let Some(format_cost) = cost(range.sample_format()) else { continue };
        let rate = RATE.clamp(range.min_sample_rate(), range.max_sample_rate());
        if !RATES.contains(&rate) || range.channels() == 0 {
            continue;
        }
        let channel_cost = match range.channels() {
            best if best == best_channels => 0,
            few @ 1..=2 => u32::from(few),
            more => u32::from(more),
        };
        let rate_cost = match rate {
            RATE => 0,
            // Above is better than below: nothing is lost.
            above if above > RATE => 100 + above / 1000,
            below => 1000 - below / 1000,
        };
        let cost = rate_cost * 10_000 + channel_cost * 100 + format_cost * 10;
        let config = |buffer_size| StreamConfig {
            channels: range.channels(),
            sample_rate: rate,
            buffer_size,
        };
        for (k, wanted) in buffers.iter().copied().enumerate() {
            let frames = (u64::from(wanted) * u64::from(rate) / u64::from(RATE)) as u32;
            let fits = match range.buffer_size() {
                SupportedBufferSize::Range { min, max } => (*min..=*max).contains(&frames),
                SupportedBufferSize::Unknown => false,
            };
            if fits {
                let cost = cost + k as u32;
                all.push((cost, config(BufferSize::Fixed(frames)), range.sample_format()));
            }
        }
        all.push((cost + 9, config(BufferSize::Default), range.sample_format()));
    }
    all.sort_by_key(|(cost, ..)| *cost);
    all.truncate(24);
    all.into_iter().map(|(_, config, format)| (config, format)).collect()
}

fn cost(format: SampleFormat) -> Option<u32> {
    Some(match format {
        SampleFormat::F32 => 0,
        SampleFormat::I16 => 1,
        SampleFormat::I32 => 2,
        SampleFormat::I24 => 3,
        SampleFormat::F64 => 4,
        SampleFormat::U16 => 5,
        SampleFormat::U24 | SampleFormat::U32 | SampleFormat::I64 | SampleFormat::U64 => 6,
        SampleFormat::I8 | SampleFormat::U8 => 9,
        _ => return None,
    })
}

fn describe(
    device: &cpal::Device,
    stream: &cpal::Stream,
    config: StreamConfig,
    format: SampleFormat,
) -> String {
    let buffer = match stream.buffer_size() {
        Ok(frames) => format!(", {frames} frames"),
        Err(_) => String::new(),
    };
    let (rate, channels) = (config.sample_rate, config.channels);
    format!("{}: {rate} Hz, {channels} ch, {format}{buffer}", name_of(device))
}

fn build_input(
    device: &cpal::Device,
    config: StreamConfig,
    format: SampleFormat,
    ring: Producer<f32>,
    state: &Arc<DeviceState>,
) -> Result<cpal::Stream, cpal::Error> {
    match format {
        SampleFormat::I8 => input::<i8>(device, config, ring, state),
        SampleFormat::I16 => input::<i16>(device, config, ring, state),
        SampleFormat::I24 => input::<I24>(device, config, ring, state),
        SampleFormat::I32 => input::<i32>(device, config, ring, state),
        SampleFormat::I64 => input::<i64>(device, config, ring, state),
        SampleFormat::U8 => input::<u8>(device, config, ring, state),
        SampleFormat::U16 => input::<u16>(device, config, ring, state),
        SampleFormat::U24 => input::<U24>(device, config, ring, state),
        SampleFormat::U32 => input::<u32>(device, config, ring, state),
        SampleFormat::U64 => input::<u64>(device, config, ring, state),
        SampleFormat::F32 => input::<f32>(device, config, ring, state),
        SampleFormat::F64 => input::<f64>(device, config, ring, state),
        _ => Err(cpal::ErrorKind::UnsupportedConfig.into()),
    }
}

fn build_output(
    device: &cpal::Device,
    config: StreamConfig,
    format: SampleFormat,
    ring: Consumer<f32>,
    state: &Arc<DeviceState>,
) -> Result<cpal::Stream, cpal::Error> {
    match format {
        SampleFormat::I8 => output::<i8>(device, config, ring, state),
        SampleFormat::I16 => output::<i16>(device, config, ring, state),
        SampleFormat::I24 => output::<I24>(device, config, ring, state),
        SampleFormat::I32 => output::<i32>(device, config, ring, state),
        SampleFormat::I64 => output::<i64>(device, config, ring, state),
        SampleFormat::U8 => output::<u8>(device, config, ring, state),
        SampleFormat::U16 => output::<u16>(device, config, ring, state),
        SampleFormat::U24 => output::<U24>(device, config, ring, state),
        SampleFormat::U32 => output::<u32>(device, config, ring, state),
        SampleFormat::U64 => output::<u64>(device, config, ring, state),
        SampleFormat::F32 => output::<f32>(device, config, ring, state),
        SampleFormat::F64 => output::<f64>(device, config, ring, state),
        _ => Err(cpal::ErrorKind::UnsupportedConfig.into()),
    }
}

fn input<T>(
    device: &cpal::Device,
    config: StreamConfig,
    mut ring: Producer<f32>,
    state: &Arc<DeviceState>,
) -> Result<cpal::Stream, cpal::Error>
where
    T: SizedSample,
    f32: FromSample<T>,
{
    let channels = usize::from(config.channels).max(1);
    let (inside, errors) = (state.clone(), state.clone());
    device.build_input_stream_raw(
        config,
        T::FORMAT,
        move |data: &Data, info| {
            let times = info.timestamp();
            let age = times.callback.checked_duration_since(times.capture).unwrap_or_default();
            let samples = data.as_slice::<T>().unwrap_or_default();
            on_input(samples, channels, age, &mut ring, &inside);
        },
        move |error| errors.report(&error),
        None,
    )
}

fn output<T>(
    device: &cpal::Device,
    config: StreamConfig,
    mut ring: Consumer<f32>,
    state: &Arc<DeviceState>,
) -> Result<cpal::Stream, cpal::Error>
where
    T: SizedSample + FromSample<f32>,
{
    let channels = usize::from(config.channels).max(1);
    let (inside, errors) = (state.clone(), state.clone());
    device.build_output_stream_raw(
        config,
        T::FORMAT,
        move |data: &mut Data, info: &cpal::OutputCallbackInfo| {
            let time = info.timestamp();
            let ahead = time.playback.saturating_duration_since(time.callback);
            let samples = data.as_slice_mut::<T>().unwrap_or_default();
            on_output(samples, channels, ahead, &mut ring, &inside);
        },
        move |error| errors.report(&error),
        None,
    )
}

impl DeviceState {
    fn note(&self, frames: usize) {
        self.callbacks.fetch_add(1, Ordering::Relaxed);
        self.troubles.store(0, Ordering::Relaxed);
        let frames = u32::try_from(frames).unwrap_or(u32::MAX);
        self.period.fetch_max(frames, Ordering::Relaxed);
    }
}

/// All that a microphone's callback does.
fn on_input<T>(
    samples: &[T],
    channels: usize,
    age: Duration,
    ring: &mut Producer<f32>,
    state: &DeviceState,
) where
    T: Sample,
    f32: FromSample<T>,
{
    let age = u32::try_from(age.as_micros()).unwrap_or(u32::MAX);
    state.latency_us.store(age, Ordering::Relaxed);
    state.note(samples.len() / channels);
    if !pour_in(samples, channels, ring) {
        state.glitches.fetch_add(1, Ordering::Relaxed);
    }
}

/// All that a loudspeaker's callback does.
fn on_output<T>(
    samples: &mut [T],
    channels: usize,
    ahead: Duration,
    ring: &mut Consumer<f32>,
    state: &DeviceState,
) where
    T: Sample + FromSample<f32>,
{
    let ahead = u32::try_from(ahead.as_micros()).unwrap_or(u32::MAX);
    state.latency_us.store(ahead, Ordering::Relaxed);
    state.note(samples.len() / channels);
    let whole = pour_out(ring, channels, samples);
    let spare = u32::try_from(ring.slots()).unwrap_or(u32::MAX);
    state.spare.fetch_min(spare, Ordering::Relaxed);
    if !whole && state.wanted.load(Ordering::Relaxed) {
        state.glitches.fetch_add(1, Ordering::Relaxed);
    }
}

/// Samples of a device as mono into the ring; false if some found no room.
fn pour_in<T>(samples: &[T], channels: usize, ring: &mut Producer<f32>) -> bool
where
    T: Sample,
    f32: FromSample<T>,
{
    let frames = samples.len() / channels;
    let room = ring.slots().min(frames);
    if let Ok(chunk) = ring.write_chunk_uninit(room) {
        chunk.fill_from_iter(samples.chunks_exact(channels).map(|frame| {
            let sum: f32 = frame.iter().map(|s| f32::from_sample(*s)).sum();
            if channels == 1 { sum } else { sum / channels as f32 }
        }));
    }
    room == frames
}

/// Mono samples from the ring to all channels of a device, silence where there are none; whether
/// there were enough.
fn pour_out<T>(ring: &mut Consumer<f32>, channels: usize, samples: &mut [T]) -> bool
where
    T: Sample + FromSample<f32>,
{
    let frames = samples.len() / channels;
    let there = ring.slots().min(frames);
    let mut out = samples.chunks_exact_mut(channels);
    if let Ok(chunk) = ring.read_chunk(there) {
        for (sample, frame) in chunk.into_iter().zip(out.by_ref()) {
            frame.fill(T::from_sample(sample.clamp(-1.0, 1.0)));
        }
    }
    for frame in out {
        frame.fill(T::EQUILIBRIUM);
    }
    there == frames
}

/// Keeps the sound library's own messages off the terminal while it lives, on this thread.
struct Quiet {
    #[cfg(target_os = "linux")]
    _messages: Option<std::rc::Rc<std::cell::RefCell<alsa::Output>>>,
}

impl Quiet {
    fn new() -> Self {
        Self {
            #[cfg(target_os = "linux")]
            _messages: alsa::Output::local_error_handler().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_averaged_and_formats_scaled() {
        let (mut producer, mut consumer) = RingBuffer::new(8);
        assert!(pour_in(&[i16::MAX, i16::MIN, 16_384, 16_384], 2, &mut producer));
        assert!(pour_in(&[128u8, 192], 1, &mut producer));
        let all: Vec<f32> = consumer.read_chunk(4).unwrap().into_iter().collect();
        assert!(all[0].abs() < 1e-4);
        assert_eq!(all[1..], [0.5, 0.0, 0.5]);
        assert!(!pour_in(&[0.0f32; 9], 1, &mut producer));
    }

    #[test]
    fn sixteen_bits_survive_the_device_s_format() {
        let (mut producer, mut consumer) = RingBuffer::new(1 << 16);
        let samples: Vec<i16> = (i16::MIN..=i16::MAX).collect();
        pour_in(&samples, 1, &mut producer);
        let floats: Vec<f32> = consumer.read_chunk(1 << 16).unwrap().into_iter().collect();
        let back: Vec<i16> = floats.iter().map(|s| super::super::encoder::to_i16(*s)).collect();
        assert_eq!(back, samples);
    }

    #[test]
    fn callbacks_allocate_nothing() {
        let (mut producer, mut consumer) = RingBuffer::new(4096);
        let state = DeviceState::default();
        state.wanted.store(true, Ordering::Relaxed);
        let (heard, mut played) = ([0.25f32; 960], [0i16; 1920]);
        let counted = allocation_counter::measure(|| {
            for _ in 0..100 {
                on_input(&heard, 2, Duration::from_millis(5), &mut producer, &state);
                on_output(&mut played, 2, Duration::from_millis(5), &mut consumer, &state);
            }
        });
        assert_eq!(counted.count_total, 0, "{counted:?}");
        assert_eq!(state.callbacks.load(Ordering::Relaxed), 200);
        assert_eq!(state.glitches.load(Ordering::Relaxed), 100, "and too little is noticed");
        let counter_works = allocation_counter::measure(|| {
            drop(std::hint::black_box(vec![0u8; 10]));
        });
        assert_eq!(counter_works.count_total, 1);
    }

    #[test]
    fn what_is_missing_is_silence_in_every_format() {
        let (mut producer, mut consumer) = RingBuffer::new(8);
        producer.push(1.5).unwrap();
        let mut out = [7u8; 6];
        assert!(!pour_out(&mut consumer, 2, &mut out));
        assert_eq!(out, [255, 255, 128, 128, 128, 128]);
    }
}
