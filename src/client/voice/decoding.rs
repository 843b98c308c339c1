//! From frames to samples at 48 kHz, one decoder for each stream: L16 brought up to 48 kHz, and Opus with
//! all that it has for frames that are missing.
//!
//! Pure. Nothing is allocated once a decoder is made.

use super::jitter::Held;
use super::opus::{Decoder, Dred, OpusError, PACKET_SAMPLES_MAX, STEP, has_fec};
use super::upsample::Upsampler;
use crate::net::codec::{L16_RATE, OPUS_RATE, l16_decode};

/// How much work goes into decoding Opus: deep PLC, NoLACE, and bandwidth extension where only SILK speaks.
const COMPLEXITY: u8 = 7;

/// What stands in for a frame that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// In-band FEC (LBRR) of the frame after it.
    Fec,
    /// Deep redundancy of a later packet.
    Dred,
    /// Made up by the decoder (PLC).
    Concealed,
    /// Nothing: this codec leaves it to the line of samples.
    Nothing,
}

/// Hears the time stamp and the samples of each frame as decoded.
pub type Listen<'a> = dyn FnMut(u32, &[i16]) + 'a;

/// The decoder of one stream.
#[derive(Debug)]
pub enum Decoding {
    /// L16 at 16 kHz.
    Pcm(Box<PcmDecoding>),
    /// Opus.
    Opus(Box<OpusDecoding>),
}

/// L16, and where it puts what it reads.
#[derive(Debug)]
pub struct PcmDecoding {
    upsampler: Upsampler,
    samples: Vec<i16>,
}

/// Opus, and where it puts what it decodes.
#[derive(Debug)]
pub struct OpusDecoding {
    decoder: Decoder,
    dred: Dred,
    samples: Vec<f32>,
    /// The same, as the tap takes it.
    rounded: Vec<i16>,
}

impl Decoding {
    /// The decoder of a stream of this RTP clock.
    ///
    /// # Errors
    /// There is no memory, or no codec of that clock.
    pub fn new(clock_hz: u32) -> Result<Self, OpusError> {
        match clock_hz {
            L16_RATE => Ok(Self::Pcm(Box::new(PcmDecoding {
                upsampler: Upsampler::default(),
                samples: Vec::with_capacity(PACKET_SAMPLES_MAX),
            }))),
            OPUS_RATE => Ok(Self::Opus(Box::new(OpusDecoding {
                decoder: Decoder::new(COMPLEXITY)?,
                dred: Dred::new()?,
                samples: vec![0.0; PACKET_SAMPLES_MAX],
                rounded: Vec::with_capacity(PACKET_SAMPLES_MAX),
            }))),
            _ => Err(OpusError::Argument(0)),
        }
    }

    /// Decodes a frame and appends its samples to `out`. False if it cannot be decoded; nothing is appended then.
    pub fn decode(
        &mut self,
        frame: &Held,
        out: &mut Vec<f32>,
        tap: Option<&mut Listen<'_>>,
    ) -> bool {
        match self {
            Self::Pcm(pcm) => {
                pcm.samples.clear();
                if l16_decode(&frame.data, &mut pcm.samples).is_err() {
                    return false;
                }
                if let Some(tap) = tap {
                    tap(frame.timestamp, &pcm.samples);
                }
                pcm.upsampler.push(&pcm.samples, out);
                true
            }
            Self::Opus(opus) => {
                let Ok(count) = opus.decoder.decode(&frame.data, &mut opus.samples) else {
                    return false;
                };
                let samples = opus.samples.get(..count).unwrap_or_default();
                if let Some(tap) = tap {
                    opus.rounded.clear();
                    opus.rounded.extend(samples.iter().map(|s| super::encoder::to_i16(*s)));
                    tap(frame.timestamp, &opus.rounded);
                }
                out.extend_from_slice(samples);
                true
            }
        }
    }

    /// A talkspurt begins, which its sender has coded without what was before.
    pub fn reset(&mut self) {
        match self {
            Self::Pcm(pcm) => pcm.upsampler.reset(),
            Self::Opus(opus) => opus.decoder.reset(),
        }
    }

    /// `count` samples are missing. `next` is the first frame after them that is here, and how many
    /// samples after the first missing one it begins. Appends what stands in for them to `out`, all
    /// or nothing.
    pub fn fill(&mut self, count: usize, next: Option<(&Held, usize)>, out: &mut Vec<f32>) -> Made {
        match self {
            Self::Pcm(_) => Made::Nothing,
            Self::Opus(opus) => opus.fill(count, next, out),
        }
    }
}

impl OpusDecoding {
    fn fill(&mut self, count: usize, next: Option<(&Held, usize)>, out: &mut Vec<f32>) -> Made {
        // Opus makes up multiples of 2.5 ms, and a packet at most.
        let steps = count.next_multiple_of(STEP).min(PACKET_SAMPLES_MAX);
        let Some(samples) = self.samples.get_mut(..steps) else { return Made::Nothing };
        let mut made = None;
        if let Some((frame, before)) = next {
            let whole = before == steps && usize::try_from(frame.duration) == Ok(steps);
            if whole && has_fec(&frame.data) {
                made = self.decoder.decode_fec(&frame.data, samples).ok().map(|_| Made::Fec);
            } else if let Ok(reach) = self.dred.read(&frame.data)
                && reach > 0
                && reach + steps / 2 >= before
            {
                let done = self.decoder.conceal_with(&self.dred, before, samples);
                made = done.ok().map(|_| Made::Dred);
            }
        }
        let made = made.or_else(|| self.decoder.conceal(samples).ok().map(|_| Made::Concealed));
        let Some(made) = made else { return Made::Nothing };
        out.extend_from_slice(samples.get(..count).unwrap_or(samples));
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_without_a_codec_has_no_decoder() {
        assert!(Decoding::new(8000).is_err());
    }
}
