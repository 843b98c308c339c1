//! The work of one microphone, frame by frame, for benchmarks.

use super::Transmit;
use super::capture::Capture;
use super::chain::far_end::FarEnd;
use super::chain::{ChainSettings, FRAME};
use super::sending::Sending;
use crate::net::codec::OPUS_RATE;
use crate::net::ids::Ssrc;
use crate::net::message::StreamGrant;
use rtrb::{Producer, RingBuffer};

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
}
