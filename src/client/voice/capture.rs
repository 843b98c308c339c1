//! The capture core: samples of any rate in, RTP packets of L16 at 16 kHz out, while transmitting.
//!
//! Pure. Sequence numbers go on over silences, time stamps follow the time of the samples, the marker
//! starts a talkspurt and three empty packets end it. What came in before a talkspurt is never sent.

use super::resample::{ResampleError, Resampler};
use crate::net::codec::{L16_FRAME_SAMPLES, L16_RATE, PT_L16, l16_encode};
use crate::net::ids::{PacketIndex, Ssrc};
use crate::net::limits::TALKSPURT_END_PACKETS;
use crate::net::rtp::{AudioLevel, RtpHeader};
use std::time::Duration;

/// Takes each packet: its bytes, its index for sealing, its time stamp, the bytes of its payload.
pub type Emit<'a> = dyn FnMut(&[u8], PacketIndex, u32, usize) + 'a;

/// What becomes of the samples of one microphone.
#[derive(Debug)]
pub struct Capture {
    resampler: Resampler,
    /// Samples that came in at the present rate, and the media time, in 16 kHz units, before them.
    taken: u64,
    media_before: u64,
    stream: Option<Stream>,
    spurt: Option<Spurt>,
    resampled: Vec<f32>,
    frame: Vec<i16>,
    packet: Vec<u8>,
    level: f32,
}

/// The stream that packets are numbered in.
#[derive(Debug, Clone, Copy)]
struct Stream {
    ssrc: Ssrc,
    next: PacketIndex,
    timestamp_base: u32,
    /// Media time that no later packet may lie before.
    media_end: u64,
}

/// A talkspurt under way.
#[derive(Debug, Clone, Copy)]
struct Spurt {
    media: u64,
    first: bool,
}

impl Capture {
    /// No stream yet, samples come at 16 kHz.
    ///
    /// # Errors
    /// The resampler cannot be made.
    pub fn new() -> Result<Self, ResampleError> {
        Ok(Self {
            resampler: Resampler::new(L16_RATE, L16_RATE)?,
            taken: 0,
            media_before: 0,
            stream: None,
            spurt: None,
            resampled: Vec::new(),
            frame: Vec::with_capacity(L16_FRAME_SAMPLES),
            packet: Vec::new(),
            level: 0.0,
        })
    }

    /// Samples come at this rate from now on.
    ///
    /// # Errors
    /// No such rate can be converted; nothing changes then.
    pub fn set_rate(&mut self, rate: u32) -> Result<(), ResampleError> {
        if rate != self.resampler.rate_in() {
            let resampler = Resampler::new(rate, L16_RATE)?;
            self.media_before = self.media();
            self.taken = 0;
            self.resampler = resampler;
        }
        Ok(())
    }

    /// Packets are numbered in this stream from now on. One that we had already goes on where it was.
    pub fn set_stream(&mut self, ssrc: Ssrc, first_seq: u16, timestamp_base: u32) {
        if self.stream.is_none_or(|stream| stream.ssrc != ssrc) {
            let next = PacketIndex::new(0, first_seq & 0x7fff);
            self.stream = Some(Stream { ssrc, next, timestamp_base, media_end: 0 });
            self.spurt = None;
        }
    }

    /// Whether a talkspurt is under way.
    #[must_use]
    pub fn is_talking(&self) -> bool {
        self.spurt.is_some()
    }

    /// Level of the microphone lately: mean square.
    #[must_use]
    pub fn level(&self) -> f32 {
        self.level
    }

    /// Samples have come that nobody may hear.
    pub fn discard(&mut self, samples: &[f32]) {
        self.measure(samples);
        self.taken += samples.len() as u64;
    }

    /// Time has gone by without samples: the microphone was away.
    pub fn advance(&mut self, time: Duration) {
        let units = time.as_secs_f64() * f64::from(L16_RATE);
        self.media_before += units as u64;
    }

    /// Samples have come that are to be heard: every full frame is sent.
    pub fn transmit(&mut self, samples: &[f32], emit: &mut Emit<'_>) {
        if self.stream.is_none() {
            self.discard(samples);
            return;
        }
        if self.spurt.is_none() {
            self.begin();
        }
        self.measure(samples);
        self.taken += samples.len() as u64;
        self.resampled.clear();
        let mut resampled = std::mem::take(&mut self.resampled);
        self.resampler.push(samples, &mut resampled);
        for sample in &resampled {
            self.frame.push(to_i16(*sample));
            if self.frame.len() == L16_FRAME_SAMPLES {
                self.send_frame(emit);
                self.frame.clear();
            }
        }
        self.resampled = resampled;
    }

    /// Ends the talkspurt, if there is one; what does not fill a frame is not sent.
    pub fn end(&mut self, emit: &mut Emit<'_>) {
        let Some(spurt) = self.spurt.take() else { return };
        if spurt.first {
            return;
        }
        for _ in 0..TALKSPURT_END_PACKETS {
            self.send(&[], spurt.media, false, emit);
        }
    }

    fn begin(&mut self) {
        self.resampler.reset();
        self.frame.clear();
        let end = self.stream.map_or(0, |stream| stream.media_end);
        self.spurt = Some(Spurt { media: self.media().max(end), first: true });
    }

    fn send_frame(&mut self, emit: &mut Emit<'_>) {
        let Some(spurt) = self.spurt else { return };
        let frame = std::mem::take(&mut self.frame);
        self.send(&frame, spurt.media, spurt.first, emit);
        let media = spurt.media + frame.len() as u64;
        self.frame = frame;
        self.spurt = Some(Spurt { media, first: false });
    }

    fn send(&mut self, samples: &[i16], media: u64, marker: bool, emit: &mut Emit<'_>) {
        let Some(stream) = &mut self.stream else { return };
        let index = stream.next;
        let header = RtpHeader {
            marker,
            payload_type: PT_L16,
            seq: index.seq(),
            timestamp: stream.timestamp_base.wrapping_add((media & 0xffff_ffff) as u32),
            ssrc: stream.ssrc,
            audio_level: Some(AudioLevel::of(samples, !samples.is_empty())),
        };
        stream.next = PacketIndex(index.0 + 1);
        stream.media_end = stream.media_end.max(media + samples.len() as u64);
        self.packet.clear();
        header.write(&mut self.packet);
        l16_encode(samples, &mut self.packet);
        emit(&self.packet, index, header.timestamp, samples.len() * 2);
    }

    /// Media time now, in 16 kHz units.
    fn media(&self) -> u64 {
        let rate = u64::from(self.resampler.rate_in()).max(1);
        self.media_before + self.taken * u64::from(L16_RATE) / rate
    }

    fn measure(&mut self, samples: &[f32]) {
        for sample in samples {
            self.level += (sample * sample - self.level) * LEVEL_WEIGHT;
        }
        if !self.level.is_finite() {
            self.level = 0.0;
        }
    }
}

/// Weight of a sample in the running level: some 100 ms at usual rates.
const LEVEL_WEIGHT: f32 = 1.0 / 4096.0;

/// A sample as 16 bits; what was 16 bits before comes out the same.
#[must_use]
pub fn to_i16(sample: f32) -> i16 {
    (sample * 32768.0).round().clamp(-32768.0, 32767.0) as i16
}

/// A mean square as dBFS, -120 for none.
#[must_use]
pub fn level_db(mean_square: f32) -> f32 {
    10.0 * mean_square.max(1e-12).log10()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::codec::l16_decode;
    use crate::net::rtp::RtpPacket;

    #[derive(Default)]
    struct Sent(Vec<(RtpHeader, Vec<i16>, PacketIndex)>);

    impl Sent {
        fn emit(&mut self) -> impl FnMut(&[u8], PacketIndex, u32, usize) {
            |bytes, index, timestamp, octets| {
                let packet = RtpPacket::parse(bytes).unwrap();
                let mut samples = Vec::new();
                l16_decode(packet.payload, &mut samples).unwrap();
                assert_eq!(packet.header.timestamp, timestamp);
                assert_eq!(packet.payload.len(), octets);
                assert_eq!(packet.header.seq, index.seq());
                self.0.push((packet.header, samples, index));
            }
        }
    }

    fn capture(rate: u32) -> Capture {
        let mut capture = Capture::new().unwrap();
        capture.set_rate(rate).unwrap();
        capture.set_stream(Ssrc(7), 0x7ffe, u32::MAX - 100);
        capture
    }

    fn ramp(from: i16, count: i16) -> Vec<f32> {
        (from..from + count).map(|s| f32::from(s) / 32768.0).collect()
    }

    #[test]
    fn sixteen_bits_round_trip_exactly() {
        for sample in i16::MIN..=i16::MAX {
            assert_eq!(to_i16(f32::from(sample) / 32768.0), sample);
        }
        assert_eq!((to_i16(2.0), to_i16(-2.0), to_i16(f32::NAN)), (32767, -32768, 0));
    }

    #[test]
    fn at_the_codec_s_rate_every_sample_goes_out_as_it_came() {
        let (mut capture, mut sent) = (capture(16_000), Sent::default());
        for chunk in ramp(-1000, 3200).chunks(77) {
            capture.transmit(chunk, &mut sent.emit());
        }
        let all: Vec<i16> = sent.0.iter().flat_map(|(_, samples, _)| samples.clone()).collect();
        assert_eq!(all, (-1000..2200).collect::<Vec<i16>>());
    }

    #[test]
    fn a_talkspurt_starts_marked_and_ends_with_three_empty_packets() {
        let (mut capture, mut sent) = (capture(16_000), Sent::default());
        capture.transmit(&ramp(0, 700), &mut sent.emit());
        capture.end(&mut sent.emit());
        capture.end(&mut sent.emit());
        let shape: Vec<_> = sent.0.iter().map(|(h, s, _)| (h.marker, s.len())).collect();
        assert_eq!(shape, [(true, 320), (false, 320), (false, 0), (false, 0), (false, 0)]);
        assert!(sent.0.iter().all(|(h, _, _)| h.payload_type == PT_L16));
        let base = u32::MAX - 100;
        let times: Vec<_> = sent.0.iter().map(|(h, _, _)| h.timestamp.wrapping_sub(base)).collect();
        assert_eq!(times, [0, 320, 640, 640, 640]);
        let indices: Vec<_> = sent.0.iter().map(|(_, _, index)| index.0).collect();
        assert_eq!(indices, [0x7ffe, 0x7fff, 0x8000, 0x8001, 0x8002]);
    }

    #[test]
    fn numbers_go_on_over_a_silence_and_time_stamps_follow_it() {
        let (mut capture, mut sent) = (capture(48_000), Sent::default());
        capture.discard(&vec![0.1; 48_000]);
        capture.transmit(&vec![0.1; 4800], &mut sent.emit());
        capture.end(&mut sent.emit());
        capture.discard(&vec![0.1; 96_000]);
        capture.advance(Duration::from_secs(1));
        capture.transmit(&vec![0.1; 4800], &mut sent.emit());
        let marked: Vec<_> = sent.0.iter().filter(|(h, _, _)| h.marker).collect();
        assert_eq!(marked.len(), 2);
        let step = marked[1].0.timestamp.wrapping_sub(marked[0].0.timestamp);
        assert_eq!(step, 1600 + 32_000 + 16_000);
        assert!(sent.0.windows(2).all(|w| w[1].2.0 == w[0].2.0 + 1));
    }

    #[test]
    fn what_was_said_before_the_key_was_pressed_is_never_sent() {
        for rate in [16_000, 44_100, 48_000] {
            let (mut capture, mut sent) = (capture(rate), Sent::default());
            // Loud before, silent after; also between two talkspurts.
            for _ in 0..2 {
                capture.discard(&vec![0.9; 4_567]);
                capture.transmit(&vec![0.0; 9_000], &mut sent.emit());
                capture.end(&mut sent.emit());
            }
            assert!(sent.0.len() > 8);
            assert!(sent.0.iter().all(|(_, samples, _)| samples.iter().all(|s| *s == 0)));
        }
    }

    #[test]
    fn a_key_tapped_for_less_than_a_frame_sends_nothing() {
        let (mut capture, mut sent) = (capture(16_000), Sent::default());
        capture.transmit(&ramp(0, 100), &mut sent.emit());
        capture.end(&mut sent.emit());
        assert!(sent.0.is_empty());
    }

    #[test]
    fn a_resumed_stream_goes_on_and_a_new_one_starts_anew() {
        let (mut capture, mut sent) = (capture(16_000), Sent::default());
        capture.transmit(&ramp(0, 320), &mut sent.emit());
        capture.set_stream(Ssrc(7), 5, 5);
        capture.transmit(&ramp(0, 320), &mut sent.emit());
        capture.set_stream(Ssrc(8), 5, 5);
        capture.transmit(&ramp(0, 320), &mut sent.emit());
        let seqs: Vec<_> = sent.0.iter().map(|(h, _, _)| (h.ssrc.0, h.seq)).collect();
        assert_eq!(seqs, [(7, 0x7ffe), (7, 0x7fff), (8, 5)]);
    }
}
