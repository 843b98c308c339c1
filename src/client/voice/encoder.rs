//! The speaker's codec: frames of 10 ms in, payloads out.
//!
//! Pure. After the first frame of a codec, encoding allocates nothing.

use super::opus::{Application, Encoder, OpusError, Settings};
use super::resample::{ResampleError, Resampler};
use crate::net::codec::{Codec, L16_RATE, OPUS_RATE, l16_encode};

/// Samples of a frame of Opus, and of L16.
const FRAME: usize = OPUS_RATE as usize / 100;
const L16_FRAME: usize = L16_RATE as usize / 100;

/// A codec cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// libopus refuses.
    #[error(transparent)]
    Opus(#[from] OpusError),
    /// There is no way from the rate of the frames to the codec's.
    #[error(transparent)]
    Rate(#[from] ResampleError),
}

/// Encodes one voice.
#[derive(Debug)]
pub struct VoiceEncoder {
    /// Frames of the packet that is being filled.
    frames: u32,
    engine: Engine,
}

#[derive(Debug)]
enum Engine {
    Opus {
        encoder: Box<Encoder>,
        samples: Vec<f32>,
    },
    Pcm {
        /// From the rate of the frames to the codec's.
        resampler: Box<Resampler>,
        samples: Vec<f32>,
        words: Vec<i16>,
        /// Nothing has come since the talkspurt began.
        begins: bool,
    },
}

impl VoiceEncoder {
    /// Opus of frames that come at 48 kHz.
    ///
    /// # Errors
    /// There is no memory, or a setting is out of range.
    pub fn opus(settings: Settings) -> Result<Self, EncoderError> {
        let encoder = Box::new(Encoder::new(Application::Audio, settings)?);
        let engine = Engine::Opus { encoder, samples: Vec::with_capacity(2 * FRAME) };
        Ok(Self { frames: 0, engine })
    }

    /// L16 at 16 kHz of frames that come at this rate; each makes a packet.
    ///
    /// # Errors
    /// No such rate can be converted.
    pub fn pcm(rate: u32) -> Result<Self, EncoderError> {
        let resampler = Box::new(Resampler::new(rate, L16_RATE)?);
        let engine = Engine::Pcm {
            resampler,
            samples: Vec::with_capacity(4 * L16_FRAME),
            words: Vec::with_capacity(L16_FRAME),
            begins: true,
        };
        Ok(Self { frames: 0, engine })
    }

    /// What it makes.
    #[must_use]
    pub fn codec(&self) -> Codec {
        match &self.engine {
            Engine::Opus { .. } => Codec::Opus,
            Engine::Pcm { .. } => Codec::Pcm,
        }
    }

    /// Encodes differently from the next packet on. Only Opus has settings.
    ///
    /// # Errors
    /// A setting is out of range.
    pub fn set(&mut self, settings: Settings) -> Result<(), EncoderError> {
        match &mut self.engine {
            Engine::Opus { encoder, .. } => Ok(encoder.set(settings)?),
            Engine::Pcm { .. } => Ok(()),
        }
    }

    /// A talkspurt begins: nothing of the one before is in it.
    pub fn reset(&mut self) {
        self.frames = 0;
        match &mut self.engine {
            Engine::Opus { encoder, samples } => {
                encoder.reset();
                samples.clear();
            }
            Engine::Pcm { resampler, samples, begins, .. } => {
                resampler.reset();
                samples.clear();
                *begins = true;
            }
        }
    }

    /// Takes a frame of 10 ms. Once there are `frames` of them (L16: each) they make a packet: appends its
    /// payload to `out` and says so.
    ///
    /// # Errors
    /// The frames are not 10 ms long.
    pub fn push(
        &mut self,
        frame: &[f32],
        frames: u32,
        out: &mut Vec<u8>,
    ) -> Result<bool, EncoderError> {
        match &mut self.engine {
            Engine::Opus { encoder, samples } => {
                samples.extend_from_slice(frame);
                self.frames += 1;
                if self.frames < frames {
                    return Ok(false);
                }
                self.frames = 0;
                let encoded = encoder.encode(samples, out);
                samples.clear();
                Ok(encoded.map(|()| true)?)
            }
            Engine::Pcm { resampler, samples, words, begins } => {
                resampler.push(frame, samples);
                let short = L16_FRAME.saturating_sub(samples.len());
                if std::mem::take(begins) && short > 0 {
                    // The filter begins with less than it was given: silence in front costs no time.
                    samples.splice(..0, std::iter::repeat_n(0.0, short));
                }
                let Some(ready) = samples.get(..L16_FRAME) else { return Ok(false) };
                words.clear();
                words.extend(ready.iter().map(|sample| to_i16(*sample)));
                l16_encode(words, out);
                samples.drain(..L16_FRAME);
                Ok(true)
            }
        }
    }
}

/// A sample as 16 bits; what was 16 bits before comes out the same.
#[must_use]
pub fn to_i16(sample: f32) -> i16 {
    (sample * 32768.0).round().clamp(-32768.0, 32767.0) as i16
}
