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

    /// By how much its look-ahead delays voice, in ms.
    #[must_use]
    pub fn lookahead_ms(&self) -> f32 {
        match &self.engine {
            Engine::Opus { encoder, .. } => encoder.lookahead() as f32 * 1e3 / OPUS_RATE as f32,
            Engine::Pcm { .. } => 0.0,
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

#[cfg(test)]
mod tests {
    use super::super::opus::{Bandwidth, Decoder};
    use super::*;

    /// A voice of many harmonics at 48 kHz.
    fn voice(samples: usize) -> Vec<f32> {
        let mut phase = 0.0f32;
        (0..samples)
            .map(|k| {
                let t = k as f32 / OPUS_RATE as f32;
                phase += std::f32::consts::TAU * (140.0 + 10.0 * (t * 4.0).sin()) / 48_000.0;
                (1..30).map(|h| (phase * h as f32).sin() * 0.8f32.powi(h) / 6.0).sum()
            })
            .collect()
    }

    /// What is heard where packet `k` is made as `plan` says.
    fn heard(plan: impl Fn(usize) -> Settings) -> Vec<f32> {
        let mut encoder = VoiceEncoder::opus(plan(0)).unwrap();
        let mut decoder = Decoder::new(7).unwrap();
        let (mut packet, mut out, mut all) = (Vec::new(), [0.0; 480], Vec::new());
        for (k, frame) in voice(96_000).chunks_exact(480).enumerate() {
            packet.clear();
            encoder.set(plan(k)).unwrap();
            assert!(encoder.push(frame, 1, &mut packet).unwrap());
            decoder.decode(&packet, &mut out).unwrap();
            all.extend_from_slice(&out);
        }
        all
    }

    fn roughest(samples: &[f32]) -> f32 {
        samples.windows(3).map(|w| (w[0] - 2.0 * w[1] + w[2]).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn nothing_clicks_where_settings_change_in_mid_speech() {
        let full = Settings::default();
        let wide = Settings { bitrate: 44_800, bandwidth: Bandwidth::Wide, ..full };
        let heavy = Settings { bitrate: 28_800, ..wide };
        let fec = Settings { fec: true, loss_percent: 15, ..wide };
        for other in [wide, heavy, fec] {
            let steady = |settings: Settings| roughest(&heard(|_| settings)[4800..]);
            let natural = steady(full).max(steady(other));
            let changing = heard(|k| if k / 25 % 2 == 0 { full } else { other });
            let rough = roughest(&changing[4800..]);
            // A jump in this voice would be thirty times as rough.
            assert!(rough < natural * 3.0, "{other:?}: {rough} against {natural}");
        }
    }

    #[test]
    fn sixteen_bits_round_trip_exactly() {
        for sample in i16::MIN..=i16::MAX {
            assert_eq!(to_i16(f32::from(sample) / 32768.0), sample);
        }
        assert_eq!((to_i16(2.0), to_i16(-2.0), to_i16(f32::NAN)), (32767, -32768, 0));
    }

    #[test]
    fn pcm_of_another_rate_comes_with_the_very_frame_it_was_in() {
        let mut encoder = VoiceEncoder::pcm(OPUS_RATE).unwrap();
        for _ in 0..3 {
            encoder.reset();
            for frame in voice(4800).chunks_exact(480) {
                let mut packet = Vec::new();
                assert!(encoder.push(frame, 1, &mut packet).unwrap());
                assert_eq!(packet.len(), 320);
            }
        }
    }
}
