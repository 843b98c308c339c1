//! The work of one microphone and of one listener, frame by frame, for benchmarks.

use super::Transmit;
use super::capture::Capture;
use super::chain::far_end::FarEnd;
use super::chain::{ChainSettings, FRAME};
use super::jitter::Packet;
use super::playback::{BLOCK, Playback, ToPlayback};
use super::redundancy::Conditions;
use super::sending::Sending;
use super::speaker::Arrived;
use crate::net::clock;
use crate::net::codec::OPUS_RATE;
use crate::net::frames::frames;
use crate::net::ids::{MemberId, Ssrc};
use crate::net::message::StreamGrant;
use crate::net::rtp::RtpPacket;
use rtrb::{Producer, RingBuffer};
use std::time::{Duration, Instant};

/// What the microphone hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// A voice in a quiet room, and nothing is played: no stage has anything to do.
    Quiet,
    /// The same beside a fan: noise is suppressed.
    Noisy,
    /// The same while others are heard from a loudspeaker: noise is suppressed and the echo cancelled.
    Echo,
}

/// A microphone that is open.
#[derive(Debug)]
pub struct Workload {
    capture: Capture,
    played: Producer<f32>,
    near: Vec<f32>,
    far: Vec<f32>,
    at: usize,
}

impl Workload {
    /// A microphone that has run for ten seconds; with the default chain, or without any.
    ///
    /// Nothing comes back if there is no encoder to be had.
    #[must_use]
    pub fn new(scene: Scene, chain: ChainSettings) -> Option<Self> {
        let (played, far_end) = RingBuffer::new(8 * FRAME);
        let mut capture = Capture::new(Sending::default()).ok()?;
        capture.improve(chain, FarEnd::new(far_end));
        capture.set_streams(&[StreamGrant { ssrc: Ssrc(1), clock_hz: OPUS_RATE }], 0, 0);
        let seconds = OPUS_RATE as usize * 4;
        let mut random = 1u32;
        let mut voice = |pitch: f32, noise: f32| -> Vec<f32> {
            let syllable = |k: usize| if k % 12_000 < 8000 { 0.2 } else { 0.0 };
            (0..seconds)
                .map(|k| {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let white = random as f32 / u32::MAX as f32 - 0.5;
                    let turn = (k as f32 * pitch / OPUS_RATE as f32).fract();
                    (turn - 0.5) * syllable(k) + white * noise
                })
                .collect()
        };
        let noise = if scene == Scene::Quiet { 0.0003 } else { 0.01 };
        let (mut near, far) = (voice(130.0, noise), voice(210.0, 0.0));
        let far = if scene == Scene::Echo { far } else { vec![0.0; seconds] };
        let echoes = far.iter().cycle().skip(seconds - 2000);
        near.iter_mut().zip(echoes).for_each(|(near, echo)| *near += 0.3 * echo);
        let mut workload = Self { capture, played, near, far, at: 0 };
        for _ in 0..1000 {
            workload.frame();
        }
        Some(workload)
    }

    /// 10 ms more; how many bytes were sent.
    pub fn frame(&mut self) -> usize {
        let (from, mut sent) = (self.at, 0);
        self.at = (self.at + FRAME) % self.near.len();
        for sample in self.far.iter().skip(from).take(FRAME) {
            let _ = self.played.push(*sample);
        }
        let near = self.near.get(from..from + FRAME).unwrap_or_default();
        self.capture.hear(near, Transmit::Open, &mut |packet| sent += packet.bytes.len());
        sent
    }
}

/// How long a listened-to voice is, in frames of 10 ms, before it is said again.
const SAID: u64 = 1000;

/// One who hears others, all of whom speak at once.
pub struct Listener {
    playback: Playback,
    start: Instant,
    voices: Vec<Vec<Packet>>,
    /// One packet in so many is lost; 0 for none.
    lost: u64,
    spare: Vec<Vec<u8>>,
    /// Frames of 10 ms so far.
    at: u64,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Listener {
    /// One who has heard so many speakers for five seconds, at default settings, where this share is
    /// lost (0 to 1); what is sent of copies is what senders do about it.
    ///
    /// Nothing comes back if there is no encoder or decoder to be had.
    #[must_use]
    pub fn new(speakers: u32, loss: f32) -> Option<Self> {
        let voices: Option<Vec<_>> = (0..speakers).map(|k| said(k, loss)).collect();
        let mut listener = Self {
            playback: Playback::new(None),
            start: clock::now(),
            voices: voices?,
            lost: if loss > 0.0 { (1.0 / loss).round() as u64 } else { 0 },
            spare: Vec::new(),
            at: 0,
        };
        for _ in 0..500 {
            listener.frame();
        }
        Some(listener)
    }

    /// 10 ms more: a packet of each speaker comes, and as much is mixed. The loudest sample.
    pub fn frame(&mut self) -> f32 {
        let now = self.start + Duration::from_millis(10 * self.at);
        for (voice, id) in self.voices.iter().zip(1u32..) {
            let lost = self.lost > 0 && (self.at + 7 * u64::from(id)).is_multiple_of(self.lost);
            let Some(said) = voice.get((self.at % SAID) as usize).filter(|_| !lost) else {
                continue;
            };
            let mut payload = self.spare.pop().unwrap_or_default();
            payload.clone_from(&said.payload);
            let packet = Packet {
                index: self.at,
                timestamp: (self.at as u32).wrapping_mul(FRAME as u32),
                marker: self.at == 0,
                payload,
                ..*said
            };
            let arrived = Arrived {
                member: MemberId(id.into()),
                ssrc: Ssrc(id),
                clock_hz: OPUS_RATE,
                packet,
                at: now,
            };
            self.spare.extend(self.playback.handle(ToPlayback::Packet(arrived)));
        }
        let mut loudest = 0.0f32;
        for _ in 0..FRAME / BLOCK {
            let block = self.playback.render(now);
            loudest = block.iter().fold(loudest, |most, sample| most.max(sample.abs()));
        }
        self.at += 1;
        loudest
    }
}

/// What the speaker of this number sends in [`SAID`] frames.
fn said(speaker: u32, loss: f32) -> Option<Vec<Packet>> {
    let mut capture = Capture::new(Sending::default()).ok()?;
    capture.set_streams(&[StreamGrant { ssrc: Ssrc(1), clock_hz: OPUS_RATE }], 0, 0);
    let now = clock::now();
    if loss > 0.0 {
        let conditions = Conditions { room_loss: loss, ..Conditions::default() };
        capture.heard_of(conditions, now);
    }
    let mut packets = Vec::new();
    let pitch = 110.0 + 17.0 * speaker as f32;
    let mut samples = [0.0; FRAME];
    for frame in 0..SAID as usize + 20 {
        for (k, sample) in samples.iter_mut().enumerate() {
            let k = frame * FRAME + k + 7000 * speaker as usize;
            let syllable = if k % 12_000 < 10_000 { 0.2 } else { 0.02 };
            *sample = ((k as f32 * pitch / OPUS_RATE as f32).fract() - 0.5) * syllable;
        }
        capture.hear(&samples, Transmit::Open, &mut |sent| {
            let Ok(RtpPacket { header, payload }) = RtpPacket::parse(sent.bytes) else { return };
            let own = frames(header.payload_type, OPUS_RATE, payload).ok();
            let duration = own.and_then(Iterator::last).map_or(0, |own| own.duration);
            packets.push(Packet {
                index: 0,
                timestamp: 0,
                marker: false,
                duration,
                payload_type: header.payload_type,
                payload: payload.to_vec(),
            });
        });
    }
    // The first ones have no copies yet.
    let first = packets.len().checked_sub(SAID as usize)?;
    Some(packets.split_off(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scene_puts_its_stages_to_work() {
        for (scene, noise, echo) in
            [(Scene::Quiet, false, false), (Scene::Noisy, true, false), (Scene::Echo, true, true)]
        {
            let mut workload = Workload::new(scene, ChainSettings::default()).unwrap();
            assert!(workload.frame() > 0);
            let figures = workload.capture.chain_figures().unwrap();
            assert_eq!((figures.noise.acting, figures.echo.acting), (noise, echo), "{scene:?}");
        }
    }

    #[test]
    fn a_listener_hears_all_and_copies_make_good_what_is_lost() {
        let mut clean = Listener::new(3, 0.0).unwrap();
        let mut lossy = Listener::new(3, 0.05).unwrap();
        assert!(clean.frame() > 0.05 && lossy.frame() > 0.05);
        for (listener, repaired) in [(&clean, false), (&lossy, true)] {
            let figures = listener.playback.figures();
            assert_eq!(figures.len(), 3);
            assert!(figures.iter().all(|f| (f.repaired_red > 10) == repaired), "{figures:?}");
            assert!(figures.iter().all(|f| f.concealed < 0.02), "{figures:?}");
        }
    }
}
