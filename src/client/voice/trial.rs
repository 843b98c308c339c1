//! Hearing oneself: some seconds of our microphone as others would hear them. Nothing of it is sent.
//!
//! Pure. Frames that have been through the capture chain go to an encoder and a stream of their own, set as
//! those whose packets others get; the packets are kept, and played when all of them are there (`replay`).

use super::capture::{level_db, mean_square};
use super::encoder::{EncoderError, VoiceEncoder};
use super::jitter::Packet;
use super::packetizer::{Around, Outgoing, Packetizer};
use super::redundancy::{Copies, Plan};
use super::sending::Sending;
use crate::net::codec::Codec;
use crate::net::frames::frames;
use crate::net::ids::Ssrc;
use crate::net::rtp::RtpPacket;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// How long a trial listens, in ms.
pub const TRIAL_MS: u32 = 5000;
/// Frames of that.
const FRAMES: u32 = TRIAL_MS / 10;
/// Voice below this is too quiet, in dBFS (mean while somebody speaks).
const QUIET_DB: f32 = -45.0;
/// What never comes above this is silence, in dBFS.
const SILENT_DB: f32 = -90.0;
/// Frames of 10 ms with a voice that make a judgement possible.
const VOICE_MIN: u32 = 30;
/// A sample of this magnitude is as large as it can be, ...
const FULL: f32 = 0.99;
/// ... and so many frames with such samples are heard as distortion.
const CLIPPED_MAX: u32 = 3;

/// The part that listens.
#[derive(Debug)]
pub struct Trial {
    encoder: VoiceEncoder,
    stream: Packetizer,
    sending: Sending,
    plan: Plan,
    /// Samples of a frame.
    frame: usize,
    heard: u32,
    /// Frames in the packet that is being filled, and the sum of their mean squares.
    filling: (u32, f32),
    /// Media time of that packet, in units of the stream's clock.
    media: u64,
    payload: Vec<u8>,
    packets: Vec<Packet>,
    levels: Levels,
}

/// What was measured so far.
#[derive(Debug, Default)]
struct Levels {
    /// Frames with a voice, and the sums of their mean squares before the chain and behind it.
    voices: u32,
    before: f32,
    behind: f32,
    /// The loudest frame's mean square.
    loudest: f32,
    /// Frames that were cut off at full scale.
    clipped: u32,
}

/// What a microphone gives before anything is done to it.
#[derive(Debug, Clone, Copy)]
pub struct Raw {
    power: f32,
    peak: f32,
}

/// What was said, as others would get it.
#[derive(Debug)]
pub struct Take {
    /// Packets in their order.
    pub packets: Vec<Packet>,
    /// Their RTP clock, in Hz.
    pub clock_hz: u32,
    /// How it sounded.
    pub figures: TrialFigures,
}

/// How a microphone sounded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TrialFigures {
    /// What to make of it.
    pub verdict: Verdict,
    /// How long somebody spoke, in ms.
    pub voice_ms: u32,
    /// Level of his voice at the microphone, dBFS; of the loudest sound, if nobody spoke.
    pub level_db: f32,
    /// Level of his voice as it is sent, dBFS.
    pub sent_db: f32,
}

/// What to make of a microphone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It gives nothing but silence.
    Silent,
    /// It gives something, and no voice.
    NoVoice,
    /// The voice is hardly there.
    Quiet,
    /// The voice is cut off at full scale.
    Clipped,
    /// As it should be.
    Good,
}

/// How a trial goes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum TrialNews {
    /// It listens from now on.
    Speak {
        /// For so long.
        ms: u32,
    },
    /// It plays what it has heard.
    Heard(TrialFigures),
    /// It has ended, and the microphone is what it was before.
    Over,
    /// It was ended before its time.
    Stopped,
    /// It has ended because no microphone gives any sound.
    NoMicrophone,
    /// It cannot begin: our voice cannot be encoded.
    Failed,
}

impl TrialNews {
    /// Whether it goes on after this.
    #[must_use]
    pub fn goes_on(self) -> bool {
        matches!(self, Self::Speak { .. } | Self::Heard(_))
    }
}

impl Raw {
    /// Of a frame.
    #[must_use]
    pub fn of(frame: &[f32]) -> Self {
        let peak = frame.iter().fold(0.0f32, |peak, sample| peak.max(sample.abs()));
        Self { power: mean_square(frame), peak }
    }
}

impl Trial {
    /// A trial of a voice that is sent like this, in frames of this rate in Hz.
    ///
    /// # Errors
    /// It cannot be encoded.
    pub fn new(
        codec: Codec,
        frame_rate: u32,
        sending: Sending,
        plan: Plan,
    ) -> Result<Self, EncoderError> {
        let (codec, encoder) = match codec {
            Codec::Opus => (Codec::Opus, VoiceEncoder::opus(plan.settings(sending))?),
            Codec::Pcm | Codec::Unknown => (Codec::Pcm, VoiceEncoder::pcm(frame_rate)?),
        };
        Ok(Self {
            encoder,
            stream: Packetizer::new(codec, Ssrc(0), 0, 0),
            sending,
            plan,
            frame: (frame_rate / 100) as usize,
            heard: 0,
            filling: (0, 0.0),
            media: 0,
            payload: Vec::new(),
            packets: Vec::with_capacity(FRAMES as usize + 4),
            levels: Levels::default(),
        })
    }

    /// Whether it has heard enough.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.heard >= FRAMES
    }

    /// A frame of 10 ms behind the chain, what it was before, and whether there is a voice in it.
    ///
    /// # Errors
    /// It cannot be encoded.
    pub fn push(&mut self, frame: &[f32], raw: Raw, voice: bool) -> Result<(), EncoderError> {
        if self.is_full() || frame.len() != self.frame {
            return Ok(());
        }
        self.heard += 1;
        self.levels.count(mean_square(frame), raw, voice);
        self.filling.0 += 1;
        self.filling.1 += mean_square(frame);
        let codec = self.stream.codec();
        let wanted = if codec == Codec::Opus { self.sending.frame_length().tens() } else { 1 };
        self.payload.clear();
        if !self.encoder.push(frame, wanted, &mut self.payload)? {
            return Ok(());
        }
        let (count, power) = std::mem::take(&mut self.filling);
        let duration = u64::from(codec.clock_hz() / 100) * u64::from(count);
        let around = Around {
            media: self.media,
            duration,
            power: power / count.max(1) as f32,
            // Nothing is lost on the way to ourselves.
            copies: Copies::NONE,
            bytes_max: self.plan.packet_bytes_max,
        };
        self.media += duration;
        let packets = &mut self.packets;
        self.stream.send(&self.payload, around, &mut |packet| packets.extend(received(packet)));
        Ok(())
    }

    /// What there is now.
    #[must_use]
    pub fn finish(mut self) -> Take {
        let packets = &mut self.packets;
        self.stream.end(self.media, &mut |packet| packets.extend(received(packet)));
        let clock_hz = self.stream.codec().clock_hz();
        Take { packets: self.packets, clock_hz, figures: self.levels.figures() }
    }
}

/// A packet as whoever gets it takes it.
fn received(packet: Outgoing<'_>) -> Option<Packet> {
    let RtpPacket { header, payload } = RtpPacket::parse(packet.bytes).ok()?;
    let own = frames(header.payload_type, packet.clock_hz, payload).ok()?.last()?;
    Some(Packet {
        index: packet.index.0,
        timestamp: header.timestamp,
        marker: header.marker,
        duration: own.duration,
        payload_type: header.payload_type,
        payload: payload.to_vec(),
    })
}

impl Levels {
    fn count(&mut self, behind: f32, raw: Raw, voice: bool) {
        self.loudest = self.loudest.max(raw.power);
        self.clipped += u32::from(raw.peak >= FULL);
        if voice {
            self.voices += 1;
            self.before += raw.power;
            self.behind += behind;
        }
    }

    fn figures(&self) -> TrialFigures {
        let mean = |sum: f32| level_db(sum / self.voices.max(1) as f32);
        let (loudest, before) = (level_db(self.loudest), mean(self.before));
        let verdict = match self.voices {
            _ if loudest <= SILENT_DB => Verdict::Silent,
            _ if self.clipped >= CLIPPED_MAX => Verdict::Clipped,
            ..VOICE_MIN => Verdict::NoVoice,
            _ if before < QUIET_DB => Verdict::Quiet,
            _ => Verdict::Good,
        };
        let level_db = if verdict == Verdict::NoVoice { loudest } else { before };
        let voice_ms = 10 * self.voices;
        TrialFigures { verdict, voice_ms, level_db, sent_db: mean(self.behind) }
    }
}

/// Trials on their way between the handle, capture and playback.
#[derive(Debug, Default)]
pub struct TrialDesk {
    asked: AtomicBool,
    take: Mutex<Option<Take>>,
    stop: AtomicBool,
    played: AtomicBool,
}

impl TrialDesk {
    /// The user wants a trial; one that runs is ended.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Release);
    }

    /// Whether he has asked since the last call.
    pub fn is_asked(&self) -> bool {
        self.asked.swap(false, Ordering::AcqRel)
    }

    /// Playback is to play this.
    pub fn hand_over(&self, take: Take) {
        self.stop.store(false, Ordering::Release);
        self.played.store(false, Ordering::Release);
        *self.take.lock().unwrap_or_else(PoisonError::into_inner) = Some(take);
    }

    /// What playback is to play since the last call.
    pub fn take(&self) -> Option<Take> {
        self.take.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Playback is to play it no longer.
    pub fn stop(&self) {
        self.take();
        self.stop.store(true, Ordering::Release);
    }

    /// Whether it is to be played no longer, since the last call.
    pub fn is_stopped(&self) -> bool {
        self.stop.swap(false, Ordering::AcqRel)
    }

    /// It has been played to its end.
    pub fn set_played(&self) {
        self.played.store(true, Ordering::Release);
    }

    /// Whether it has, since the last call.
    pub fn is_played(&self) -> bool {
        self.played.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::voice::redundancy::Redundancy;
    use crate::net::codec::OPUS_RATE;

    /// The verdict on a tone of this amplitude that is, or is not, a voice.
    fn judged(amplitude: f32, voice: bool) -> TrialFigures {
        let sending = Sending::default();
        let plan = Redundancy::new(sending).plan(Codec::Opus);
        let mut trial = Trial::new(Codec::Opus, OPUS_RATE, sending, plan).unwrap();
        let frame: Vec<f32> = (0..480)
            .map(|k| (k as f32 * 0.05).sin() * amplitude)
            .map(|s| s.clamp(-1.0, 1.0))
            .collect();
        while !trial.is_full() {
            trial.push(&frame, Raw::of(&frame), voice).unwrap();
        }
        let take = trial.finish();
        assert_eq!(take.packets.len(), 500 + 3);
        take.figures
    }

    #[test]
    fn a_microphone_is_judged_by_the_voice_in_it() {
        let good = judged(0.1, true);
        assert_eq!((good.verdict, good.voice_ms), (Verdict::Good, 5000));
        assert!((good.level_db - -23.0).abs() < 1.0, "{good:?}");
        assert_eq!(judged(0.003, true).verdict, Verdict::Quiet);
        assert_eq!(judged(1.5, true).verdict, Verdict::Clipped);
        let noise = judged(0.1, false);
        assert_eq!(noise.verdict, Verdict::NoVoice);
        assert!((noise.level_db - -23.0).abs() < 1.0, "{noise:?}");
        assert_eq!(judged(0.0, false).verdict, Verdict::Silent);
    }
}
