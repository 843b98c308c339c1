//! The capture core: samples of any rate in, RTP packets of one of our streams out, while transmitting.
//!
//! Pure. Samples are brought to 48 kHz, cut into frames of 10 ms and go through the capture chain all the
//! time, also while nobody may hear them; the gate decides which frames are encoded. The last 150 ms before a key
//! are kept for the word that opens it; what came in before that, or before the microphone was shut, is never sent.

use super::chain::activity::VoiceActivity;
use super::chain::far_end::FarEnd;
use super::chain::gate::{Gate, Transmit, Verdict};
use super::chain::pre_roll::{LATE, PRE_ROLL, PreRoll};
use super::chain::{self, Chain, ChainFigures, ChainSettings};
use super::encoder::{EncoderError, VoiceEncoder};
use super::packetizer::{Around, Emit, Packetizer};
use super::recording::Tape;
use super::redundancy::{Conditions, Plan, Redundancy};
use super::resample::{ResampleError, Resampler};
use super::sending::Sending;
use super::trial::{Raw, Take, Trial};
use crate::net::codec::{Codec, L16_RATE, OPUS_RATE};
use crate::net::message::StreamGrant;
use std::time::{Duration, Instant};

/// Samples of a frame of 10 ms at the highest rate that frames have.
const FRAME: usize = OPUS_RATE as usize / 100;
/// A packet of no more bytes says that there is silence (DTX).
const DTX_BYTES_MAX: usize = 2;
/// Of such packets the first two are sent, and some in each 200 ms, so that nobody takes the speaker for
/// gone; in frames.
const DTX_EVERY: u32 = 20;
/// Media time of a frame, in units of 48 kHz.
const FRAME_MEDIA: u64 = OPUS_RATE as u64 / 100;
/// Frames after a trial that are not kept for a later word: what was said during it has passed by then.
const TRIAL_TAIL: u32 = 10;

/// Frames of what sounded earlier that the chain may still hold back, and the one that is being filled.
const CHAIN_FRAMES: usize = 4;

/// What becomes of the samples of one microphone.
#[derive(Debug)]
pub struct Capture {
    resampler: Resampler,
    /// Rate of the frames: 48 kHz, but for L16 of a source that has its very rate.
    frame_rate: u32,
    /// Samples that came in at the present rate, and the media time before them, in units of 48 kHz.
    taken: u64,
    media_before: u64,
    /// The next frame is to end where the next samples do: how the device's blocks lie is not known.
    align: bool,
    streams: Vec<Packetizer>,
    sending: Sending,
    /// Everyone in the room can decode Opus, and has done with redundant audio.
    opus_heard: bool,
    encoder: Option<VoiceEncoder>,
    redundancy: Redundancy,
    improving: Improving,
    gate: Gate,
    pre_roll: PreRoll,
    /// Frames between a sound and its samples' coming: so much less of the pre-roll is sent.
    latency_frames: usize,
    /// Frames that still hold what sounded before the microphone was shut.
    unheard: usize,
    spurt: Option<Spurt>,
    tape: Option<Tape>,
    trial: Option<Box<Trial>>,
    /// Frames in which nothing is sent or kept, on account of a trial.
    hushed: u32,
    resampled: Vec<f32>,
    frame: Vec<f32>,
    payload: Vec<u8>,
    level: f32,
}

/// What becomes of a frame before the gate.
#[derive(Debug)]
enum Improving {
    /// It goes through the chain, beside what was played meanwhile.
    Chain(Box<Chain>, FarEnd),
    /// It stays as it is; only voices are looked for.
    Nothing(Box<VoiceActivity>),
}

/// A talkspurt under way.
#[derive(Debug, Clone, Copy)]
struct Spurt {
    codec: Codec,
    /// Media time of the packet that is being filled, in units of 48 kHz.
    media: u64,
    /// Frames in it, and the sum of their mean squares.
    frames: u32,
    power: f32,
    /// Packets in a row that said that there is nothing but silence.
    quiet: u32,
}

impl Capture {
    /// No stream yet, samples come at 48 kHz.
    ///
    /// # Errors
    /// The resampler cannot be made.
    pub fn new(sending: Sending) -> Result<Self, ResampleError> {
        Ok(Self {
            resampler: Resampler::new(OPUS_RATE, OPUS_RATE)?,
            frame_rate: OPUS_RATE,
            taken: 0,
            media_before: 0,
            align: false,
            streams: Vec::new(),
            sending,
            opus_heard: true,
            encoder: None,
            redundancy: Redundancy::new(sending),
            improving: Improving::Nothing(Box::default()),
            gate: Gate::default(),
            pre_roll: PreRoll::default(),
            latency_frames: 0,
            unheard: 0,
            spurt: None,
            tape: None,
            trial: None,
            hushed: 0,
            resampled: Vec::with_capacity(8 * FRAME),
            frame: Vec::with_capacity(FRAME),
            payload: Vec::with_capacity(2 * FRAME),
            level: 0.0,
        })
    }

    /// The source is a microphone in the room where `far` is played: its sound goes through the chain.
    pub fn improve(&mut self, settings: ChainSettings, far: FarEnd) {
        self.improving = Improving::Chain(Box::new(Chain::new(settings)), far);
    }

    /// Switches stages of the chain, if there is one.
    pub fn set_chain(&mut self, settings: ChainSettings) {
        if let Improving::Chain(chain, _) = &mut self.improving
            && chain.settings() != settings
        {
            chain.set(settings);
        }
    }

    /// What the chain does, if there is one.
    #[must_use]
    pub fn chain_figures(&self) -> Option<ChainFigures> {
        match &self.improving {
            Improving::Chain(chain, _) => Some(chain.figures()),
            Improving::Nothing(_) => None,
        }
    }

    /// So long ago did the samples sound that come now: so much less of the pre-roll is sent.
    pub fn set_latency(&mut self, latency: Duration) {
        self.latency_frames = usize::try_from(latency.as_millis().div_ceil(10)).unwrap_or(PRE_ROLL);
    }

    /// The microphone was shut just now: a talkspurt ends, and nothing that sounded until now is sent any more.
    pub fn forget(&mut self, emit: &mut Emit<'_>) {
        self.end(emit);
        self.pre_roll.clear();
        self.unheard = self.latency_frames.min(PRE_ROLL) + CHAIN_FRAMES;
    }

    /// Samples come at this rate from now on.
    ///
    /// # Errors
    /// No such rate can be converted; nothing changes then.
    pub fn set_rate(&mut self, rate: u32) -> Result<(), ResampleError> {
        if rate != self.resampler.rate_in() {
            let frame_rate = self.frame_rate(rate, self.codec());
            let resampler = Resampler::new(rate, frame_rate)?;
            self.media_before = self.media();
            self.taken = 0;
            self.change_resampler(resampler, frame_rate);
        }
        Ok(())
    }

    /// The source begins anew: what lies in an unfinished frame has nothing to do with what follows.
    pub fn restart(&mut self) {
        self.frame.clear();
        self.align = !self.resampler.is_transparent();
        self.pre_roll.clear();
        match &mut self.improving {
            Improving::Chain(chain, far) => {
                chain.reset();
                far.clear();
            }
            Improving::Nothing(voice) => voice.reset(),
        }
    }

    /// Packets are numbered in these streams from now on. Those that we had already go on where they were.
    pub fn set_streams(&mut self, grants: &[StreamGrant], first_seq: u16, timestamp_base: u32) {
        let same = |stream: &Packetizer| grants.iter().any(|grant| grant.ssrc == stream.ssrc());
        if !self.streams.is_empty() && self.streams.iter().all(same) {
            return;
        }
        let stream = |codec: Codec| {
            let grant = grants.iter().find(|grant| grant.clock_hz == codec.clock_hz())?;
            Some(Packetizer::new(codec, grant.ssrc, first_seq, timestamp_base))
        };
        self.streams = [Codec::Opus, Codec::Pcm].into_iter().filter_map(stream).collect();
        self.spurt = None;
        self.redundancy = Redundancy::new(self.sending);
    }

    /// We send like this from the next packet on. Another codec ends the talkspurt and begins one.
    pub fn set_sending(&mut self, sending: Sending) {
        self.sending = sending;
        self.redundancy.choose(sending);
    }

    /// Whether everyone in the room can decode Opus; L16 is sent while not.
    pub fn set_opus_heard(&mut self, heard: bool) {
        self.opus_heard = heard;
    }

    /// What we say is recorded on this from now on, or not any more.
    pub fn set_tape(&mut self, tape: Option<Tape>) {
        self.tape = tape;
    }

    /// A trial listens from now on. Nothing is sent until it is dismissed, and nothing of that time later.
    ///
    /// # Errors
    /// Our voice cannot be encoded.
    pub fn begin_trial(&mut self) -> Result<(), EncoderError> {
        let codec = self.codec();
        self.prepare(codec)?;
        let plan = self.redundancy.plan(codec);
        self.trial = Some(Box::new(Trial::new(codec, self.frame_rate, self.sending, plan)?));
        self.hushed = u32::MAX;
        Ok(())
    }

    /// What the trial has heard, once it is enough.
    pub fn take_trial(&mut self) -> Option<Take> {
        let full = self.trial.as_ref().is_some_and(|trial| trial.is_full());
        let trial = if full { self.trial.take() } else { None };
        trial.map(|trial| trial.finish())
    }

    /// The trial is over.
    pub fn end_trial(&mut self) {
        self.trial = None;
        self.hushed = TRIAL_TAIL;
    }

    /// News of what the network does to our voice.
    pub fn heard_of(&mut self, conditions: Conditions, now: Instant) {
        self.redundancy.report(conditions, now);
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

    /// The codec in use.
    #[must_use]
    pub fn codec(&self) -> Codec {
        let there = |codec| self.streams.iter().any(|stream| stream.codec() == codec);
        match self.sending.codec {
            Codec::Opus if self.opus_heard && (self.streams.is_empty() || there(Codec::Opus)) => {
                Codec::Opus
            }
            _ => Codec::Pcm,
        }
    }

    /// How packets are made now.
    #[must_use]
    pub fn plan(&self) -> Plan {
        self.redundancy.plan(self.codec())
    }

    /// By how much the encoder's look-ahead delays voice, in ms.
    #[must_use]
    pub fn lookahead_ms(&self) -> f32 {
        self.encoder.as_ref().map_or(0.0, VoiceEncoder::lookahead_ms)
    }

    /// Time has gone by without samples: the microphone was away.
    pub fn advance(&mut self, time: Duration) {
        let units = time.as_secs_f64() * f64::from(OPUS_RATE);
        self.media_before += units as u64;
        self.restart();
    }

    /// Samples have come, and this is what the microphone is meant to do: every packet that is to be
    /// heard and is whole is sent.
    pub fn hear(&mut self, samples: &[f32], transmit: Transmit, emit: &mut Emit<'_>) {
        let codec = self.codec();
        let ready = self.hushed == 0 && self.stream(codec).is_some();
        let mut transmit = if ready { transmit } else { Transmit::Shut };
        if transmit == Transmit::Shut {
            self.end(emit);
        } else if let Err(error) = self.prepare(codec) {
            tracing::error!(%error, "voice cannot be encoded");
            transmit = Transmit::Shut;
        }
        self.push(samples, transmit, emit);
    }

    /// Ends the talkspurt at once, if there is one; what does not fill a packet is not sent.
    pub fn end(&mut self, emit: &mut Emit<'_>) {
        self.gate.shut();
        self.end_spurt(emit);
    }

    fn end_spurt(&mut self, emit: &mut Emit<'_>) {
        let Some(spurt) = self.spurt.take() else { return };
        let media = in_clock(spurt.media, spurt.codec);
        if let Some(stream) = self.stream(spurt.codec) {
            stream.end(media, emit);
        }
    }

    /// Makes encoder and frames ready for a codec.
    fn prepare(&mut self, codec: Codec) -> Result<(), EncoderError> {
        let frame_rate = self.frame_rate(self.resampler.rate_in(), codec);
        if frame_rate != self.frame_rate {
            let resampler = Resampler::new(self.resampler.rate_in(), frame_rate)?;
            self.change_resampler(resampler, frame_rate);
        }
        if self.encoder.as_ref().is_none_or(|encoder| encoder.codec() != codec) {
            let settings = self.redundancy.plan(codec).settings(self.sending);
            self.encoder = Some(match codec {
                Codec::Opus => VoiceEncoder::opus(settings)?,
                Codec::Pcm | Codec::Unknown => VoiceEncoder::pcm(self.frame_rate)?,
            });
        }
        Ok(())
    }

    fn change_resampler(&mut self, resampler: Resampler, frame_rate: u32) {
        if frame_rate != self.frame_rate {
            self.encoder = None;
        }
        self.resampler = resampler;
        self.frame_rate = frame_rate;
        self.restart();
    }

    /// A talkspurt begins at this media time.
    fn begin(&mut self, codec: Codec, media: u64) {
        if let Some(encoder) = &mut self.encoder {
            encoder.reset();
        }
        let media = self.in_order(codec, media, true);
        self.spurt = Some(Spurt { codec, media, frames: 0, power: 0.0, quiet: 0 });
    }

    /// A talkspurt begins with what was kept of the time before this media time, as far as it is not
    /// sent already. Time stamps say when it was said.
    fn begin_with_pre_roll(&mut self, codec: Codec, media: u64, late: bool, emit: &mut Emit<'_>) {
        let before = if late { LATE } else { PRE_ROLL };
        let wanted = before.saturating_sub(self.latency_frames);
        let kept = self.pre_roll.len().min(wanted);
        let start = media.saturating_sub(kept as u64 * FRAME_MEDIA);
        let unsent = media.saturating_sub(self.in_order(codec, start, false)) / FRAME_MEDIA;
        self.begin(codec, media.saturating_sub(unsent * FRAME_MEDIA));
        let frame = std::mem::take(&mut self.frame);
        for back in (1..=usize::try_from(unsent).unwrap_or(kept)).rev() {
            self.frame.clear();
            self.frame.extend_from_slice(self.pre_roll.back(back).unwrap_or_default());
            self.encode(emit);
        }
        self.frame = frame;
    }

    /// A media time that lies before nothing that was sent.
    fn in_order(&mut self, codec: Codec, media: u64, begins: bool) -> u64 {
        let units = u64::from(OPUS_RATE / codec.clock_hz());
        match self.stream(codec) {
            Some(stream) if begins => stream.begin(media / units) * units,
            Some(stream) => stream.not_before(media / units) * units,
            None => media,
        }
    }

    fn push(&mut self, samples: &[f32], transmit: Transmit, emit: &mut Emit<'_>) {
        self.measure(samples);
        self.taken += samples.len() as u64;
        let mut resampled = std::mem::take(&mut self.resampled);
        resampled.clear();
        self.resampler.push(samples, &mut resampled);
        let length = (self.frame_rate / 100) as usize;
        if self.align && !resampled.is_empty() {
            self.align = false;
            // Of blocks that the resampler does not take whole, it keeps up to 2.5 ms.
            let whole = self.resampler.rate_in().is_multiple_of(400);
            let slack = if whole { length / 60 } else { length / 4 };
            let short = (length + slack - resampled.len() % length) % length;
            self.frame.clear();
            self.frame.resize(short, 0.0);
            let samples = (short + resampled.len()) as u64;
            let units = u64::from(OPUS_RATE / self.frame_rate);
            let media = self.media().saturating_sub(samples * units);
            if let Some(spurt) = self.spurt {
                let media = self.in_order(spurt.codec, media, false);
                self.spurt = Some(Spurt { media, frames: 0, power: 0.0, ..spurt });
            }
        }
        let mut rest = resampled.as_slice();
        while !rest.is_empty() {
            let wanted = length.saturating_sub(self.frame.len());
            let (now, later) = rest.split_at_checked(wanted).unwrap_or((rest, &[]));
            self.frame.extend_from_slice(now);
            rest = later;
            if self.frame.len() >= length {
                let after = (rest.len() + length) as u64 * u64::from(OPUS_RATE / self.frame_rate);
                let media = self.media().saturating_sub(after);
                self.whole_frame(transmit, media, emit);
                self.frame.clear();
            }
        }
        self.resampled = resampled;
    }

    /// A frame of 10 ms is whole, heard or not, that began at this media time.
    fn whole_frame(&mut self, transmit: Transmit, media: u64, emit: &mut Emit<'_>) {
        let raw = self.trial.is_some().then(|| Raw::of(&self.frame));
        let mut voice = self.improve_frame();
        if self.hushed > 0 {
            return self.hush(raw, voice);
        }
        if self.unheard > 0 {
            self.unheard -= 1;
            self.frame.fill(0.0);
            voice = false;
        }
        let codec = self.codec();
        let verdict = self.gate.pass(transmit, voice);
        if !verdict.sends() {
            self.end_spurt(emit);
            self.pre_roll.keep(&self.frame);
            return;
        }
        if self.spurt.is_some_and(|spurt| spurt.codec != codec) {
            self.end_spurt(emit);
        }
        match (self.spurt, verdict) {
            (Some(_), _) => {}
            (None, Verdict::Opens) => {
                let late = transmit == Transmit::HeldLate;
                self.begin_with_pre_roll(codec, media, late, emit);
            }
            (None, _) => self.begin(codec, media),
        }
        self.pre_roll.clear();
        self.encode(emit);
    }

    /// A frame of a trial, or from right behind one: others never hear it.
    fn hush(&mut self, raw: Option<Raw>, voice: bool) {
        if let (Some(trial), Some(raw)) = (&mut self.trial, raw)
            && let Err(error) = trial.push(&self.frame, raw, voice)
        {
            tracing::debug!(%error, "a frame of a trial was not encoded");
        }
        self.pre_roll.clear();
        if self.hushed < u32::MAX {
            self.hushed -= 1;
        }
    }

    /// Does to the frame what makes a voice sound better; whether there is one.
    fn improve_frame(&mut self) -> bool {
        match (&mut self.improving, self.frame.as_mut_slice().try_into()) {
            (Improving::Chain(chain, far), Ok(frame)) => chain.process(frame, &far.next()).voice,
            (Improving::Nothing(voice), Ok(frame)) => voice.hear(frame).voice,
            // L16 of a file that has its rate: each sample counts for three.
            (Improving::Nothing(voice), Err(_)) => {
                let mut frame = [0.0; chain::FRAME];
                for (out, sample) in frame.chunks_exact_mut(3).zip(&self.frame) {
                    out.fill(*sample);
                }
                voice.hear(&frame).voice
            }
            (Improving::Chain(..), Err(_)) => false,
        }
    }

    fn encode(&mut self, emit: &mut Emit<'_>) {
        // Only what others hear is recorded.
        if let (Some(_), Some(tape)) = (self.spurt, &mut self.tape) {
            tape.push_own(&self.frame);
        }
        if let Some(spurt) = self.spurt
            && let Err(error) = self.encode_frame(spurt, emit)
        {
            tracing::debug!(%error, "a frame was not encoded");
        }
    }

    fn encode_frame(&mut self, mut spurt: Spurt, emit: &mut Emit<'_>) -> Result<(), EncoderError> {
        let Some(encoder) = &mut self.encoder else { return Ok(()) };
        let plan = self.redundancy.plan(spurt.codec);
        let mut frames = self.sending.frame_length().tens();
        if spurt.codec == Codec::Pcm {
            frames = 1;
        }
        if spurt.frames == 0 {
            encoder.set(plan.settings(self.sending))?;
        }
        spurt.frames += 1;
        spurt.power += mean_square(&self.frame);
        self.payload.clear();
        if !encoder.push(&self.frame, frames, &mut self.payload)? {
            self.spurt = Some(spurt);
            return Ok(());
        }
        let duration = FRAME_MEDIA * u64::from(frames);
        let around = Around {
            media: in_clock(spurt.media, spurt.codec),
            duration: in_clock(duration, spurt.codec),
            power: spurt.power / spurt.frames as f32,
            copies: plan.copies,
            bytes_max: plan.packet_bytes_max,
        };
        let media = spurt.media + duration;
        let silence = self.sending.dtx && self.payload.len() <= DTX_BYTES_MAX;
        let quiet = if silence { spurt.quiet + 1 } else { 0 };
        self.spurt = Some(Spurt { media, frames: 0, power: 0.0, quiet, ..spurt });
        if let Some(stream) = self.streams.iter_mut().find(|s| s.codec() == spurt.codec) {
            match quiet % (DTX_EVERY / frames) {
                // The second says the same again: without the first, its end would sound like loss.
                0 | 1 => stream.send(&self.payload, around, emit),
                _ if quiet == 2 => stream.send(&self.payload, around, emit),
                _ => stream.skip(around),
            }
        }
        Ok(())
    }

    /// The rate of frames: L16 of a file that has its rate goes out bit for bit.
    fn frame_rate(&self, source: u32, codec: Codec) -> u32 {
        let as_it_is = matches!(self.improving, Improving::Nothing(_));
        if as_it_is && (source, codec) == (L16_RATE, Codec::Pcm) { L16_RATE } else { OPUS_RATE }
    }

    fn stream(&mut self, codec: Codec) -> Option<&mut Packetizer> {
        self.streams.iter_mut().find(|stream| stream.codec() == codec)
    }

    /// Media time now, in units of 48 kHz.
    fn media(&self) -> u64 {
        let rate = u64::from(self.resampler.rate_in()).max(1);
        self.media_before + self.taken * u64::from(OPUS_RATE) / rate
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

/// A time in units of 48 kHz in those of a codec's clock.
fn in_clock(media: u64, codec: Codec) -> u64 {
    media / u64::from(OPUS_RATE / codec.clock_hz())
}

/// Mean square of samples.
#[must_use]
pub fn mean_square(samples: &[f32]) -> f32 {
    samples.iter().map(|s| s * s).sum::<f32>() / samples.len().max(1) as f32
}

/// A mean square as dBFS, -120 for none.
#[must_use]
pub fn level_db(mean_square: f32) -> f32 {
    10.0 * mean_square.max(1e-12).log10()
}

#[cfg(test)]
mod tests {
    use super::super::packetizer::Outgoing;
    use super::*;
    use crate::net::codec::{PT_L16, PT_OPUS, PT_RED, l16_decode};
    use crate::net::ids::{PacketIndex, Ssrc};
    use crate::net::red;
    use crate::net::rtp::{RtpHeader, RtpPacket};

    #[derive(Default)]
    struct Sent(Vec<(RtpHeader, Vec<i16>, PacketIndex)>, u64);

    impl Sent {
        fn emit(&mut self) -> impl FnMut(Outgoing<'_>) {
            |Outgoing { bytes, index, timestamp, sent: (packets, octets), .. }| {
                let packet = RtpPacket::parse(bytes).unwrap();
                let mut samples = Vec::new();
                l16_decode(packet.payload, &mut samples).unwrap();
                assert_eq!(packet.header.timestamp, timestamp);
                self.1 += packet.payload.len() as u64;
                assert!(packets == self.0.len() as u64 + 1 || packets == 1);
                assert!(octets == self.1 || packets == 1);
                assert_eq!(packet.header.seq, index.seq());
                self.0.push((packet.header, samples, index));
            }
        }
    }

    fn capture(rate: u32) -> Capture {
        let mut capture = Capture::new(Sending::pcm()).unwrap();
        capture.set_rate(rate).unwrap();
        capture.set_streams(&grants(7), 0x7ffe, u32::MAX - 100);
        capture
    }

    fn grants(base: u32) -> [StreamGrant; 2] {
        [(base, L16_RATE), (base + 1, OPUS_RATE)]
            .map(|(ssrc, clock_hz)| StreamGrant { ssrc: Ssrc(ssrc), clock_hz })
    }

    impl Capture {
        fn transmit(&mut self, samples: &[f32], emit: &mut Emit<'_>) {
            self.hear(samples, Transmit::Open, emit);
        }

        fn discard(&mut self, samples: &[f32]) {
            self.hear(samples, Transmit::Shut, &mut |_| panic!("sent while shut"));
        }
    }

    fn ramp(from: i16, count: i16) -> Vec<f32> {
        (from..from + count).map(|s| f32::from(s) / 32768.0).collect()
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
        capture.transmit(&ramp(0, 350), &mut sent.emit());
        capture.end(&mut sent.emit());
        capture.end(&mut sent.emit());
        let shape: Vec<_> = sent.0.iter().map(|(h, s, _)| (h.marker, s.len())).collect();
        assert_eq!(shape, [(true, 160), (false, 160), (false, 0), (false, 0), (false, 0)]);
        assert!(sent.0.iter().all(|(h, _, _)| h.payload_type == PT_L16));
        let base = u32::MAX - 100;
        let times: Vec<_> = sent.0.iter().map(|(h, _, _)| h.timestamp.wrapping_sub(base)).collect();
        assert_eq!(times, [0, 160, 320, 320, 320]);
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

    /// Lets time pass in which everything is heard at this level.
    fn say(
        capture: &mut Capture,
        level: f32,
        ms: usize,
        transmit: Transmit,
        sent: &mut Sent,
        rate: u32,
    ) {
        for chunk in vec![level; ms * rate as usize / 1000].chunks(77) {
            capture.hear(chunk, transmit, &mut sent.emit());
        }
    }

    #[test]
    fn what_was_said_longer_than_the_pre_roll_before_the_key_was_pressed_is_never_sent() {
        for rate in [16_000, 44_100, 48_000] {
            let (mut capture, mut sent) = (capture(rate), Sent::default());
            // Loud before, soft within the pre-roll (and what filters remember), silence after; twice.
            for _ in 0..2 {
                say(&mut capture, 0.9, 300, Transmit::Shut, &mut sent, rate);
                say(&mut capture, 0.1, 165, Transmit::Shut, &mut sent, rate);
                say(&mut capture, 0.0, 200, Transmit::Held, &mut sent, rate);
                capture.end(&mut sent.emit());
            }
            let most = |s: &Vec<i16>| s.iter().copied().max().unwrap_or(0);
            let loudest = sent.0.iter().map(|(_, samples, _)| most(samples)).max();
            assert!(loudest < Some(5000), "{rate}: {loudest:?}");
            let soft = sent.0.iter().filter(|(_, samples, _)| most(samples) > 2000).count();
            assert!((26..=34).contains(&soft), "{rate}: {soft} packets of pre-roll");
        }
    }

    #[test]
    fn a_microphone_s_latency_is_no_part_of_the_pre_roll() {
        let (mut capture, mut sent) = (capture(48_000), Sent::default());
        capture.set_latency(Duration::from_millis(31));
        say(&mut capture, 0.1, 500, Transmit::Shut, &mut sent, 48_000);
        say(&mut capture, 0.0, 10, Transmit::Held, &mut sent, 48_000);
        // Eleven frames of before, and the one after.
        assert_eq!(sent.0.len(), 12);
    }

    #[test]
    fn the_pre_roll_has_the_times_at_which_it_was_said() {
        let (mut capture, mut sent) = (capture(48_000), Sent::default());
        say(&mut capture, 0.1, 1000, Transmit::Shut, &mut sent, 48_000);
        say(&mut capture, 0.1, 100, Transmit::Held, &mut sent, 48_000);
        let base = u32::MAX - 100;
        let times: Vec<_> = sent.0.iter().map(|(h, _, _)| h.timestamp.wrapping_sub(base)).collect();
        assert_eq!(times, (0..25).map(|k| 16_000 - 2400 + 160 * k).collect::<Vec<_>>());
        let marked = sent.0.iter().position(|(h, _, _)| h.marker);
        assert_eq!((marked, sent.0.iter().filter(|(h, _, _)| h.marker).count()), (Some(0), 1));
    }

    #[test]
    fn a_key_that_was_late_for_talking_has_the_time_since_it_went_down() {
        let (mut capture, mut sent) = (capture(48_000), Sent::default());
        say(&mut capture, 0.1, 1000, Transmit::Shut, &mut sent, 48_000);
        say(&mut capture, 0.1, 180, Transmit::Released, &mut sent, 48_000);
        say(&mut capture, 0.1, 100, Transmit::HeldLate, &mut sent, 48_000);
        let base = u32::MAX - 100;
        let times: Vec<_> = sent.0.iter().map(|(h, _, _)| h.timestamp.wrapping_sub(base)).collect();
        // 20 ms before it went down.
        let first = 16_000 - 320;
        assert_eq!(times, (0..30).map(|k| first + 160 * k).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_from_before_the_microphone_was_shut_is_ever_sent() {
        for (latency, transmit) in [
            (0, Transmit::Held),
            (0, Transmit::HeldLate),
            (25, Transmit::Held),
            (0, Transmit::Open),
            (0, Transmit::Voice),
        ] {
            for before in [Transmit::Shut, Transmit::Released, Transmit::Held, Transmit::Voice] {
                for ms in [0, 5, 20, 100] {
                    let (mut capture, mut sent) = (capture(48_000), Sent::default());
                    capture.set_latency(Duration::from_millis(latency));
                    say(&mut capture, 0.1, 503, before, &mut sent, 48_000);
                    capture.forget(&mut sent.emit());
                    let from = sent.0.len();
                    // What sounded before is still on its way; then there is silence.
                    let on_the_way = usize::try_from(latency).unwrap();
                    say(&mut capture, 0.1, on_the_way, Transmit::Shut, &mut sent, 48_000);
                    say(&mut capture, 0.0, ms, Transmit::Shut, &mut sent, 48_000);
                    say(&mut capture, 0.0, 100, transmit, &mut sent, 48_000);
                    let rest = sent.0.iter().skip(from).flat_map(|(_, samples, _)| samples);
                    let most = rest.map(|sample| sample.unsigned_abs()).max().unwrap_or(0);
                    assert!(most < 50, "{latency} {transmit:?} {before:?} {ms}: {most}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_sent_twice_when_the_key_is_pressed_again() {
        let (mut capture, mut sent) = (capture(48_000), Sent::default());
        for _ in 0..4 {
            say(&mut capture, 0.1, 60, Transmit::Held, &mut sent, 48_000);
            say(&mut capture, 0.1, 200, Transmit::Released, &mut sent, 48_000);
        }
        let voiced = sent.0.iter().filter(|(_, samples, _)| !samples.is_empty());
        let times: Vec<_> = voiced.map(|(h, _, _)| h.timestamp).collect();
        assert!(times.windows(2).all(|w| w[1].wrapping_sub(w[0]) == 160), "and nothing is missing");
    }

    #[test]
    fn the_last_syllable_gets_out_after_the_key_and_nothing_after_a_shut_microphone() {
        let (mut capture, mut sent) = (capture(48_000), Sent::default());
        say(&mut capture, 0.1, 50, Transmit::Held, &mut sent, 48_000);
        let before = sent.0.len();
        say(&mut capture, 0.1, 500, Transmit::Released, &mut sent, 48_000);
        let shape: Vec<_> = sent.0[before..].iter().map(|(_, samples, _)| samples.len()).collect();
        assert_eq!(shape[..15], [160; 15]);
        assert_eq!(shape[15..], [0; 3]);
        say(&mut capture, 0.1, 50, Transmit::Held, &mut sent, 48_000);
        let before = sent.0.len();
        say(&mut capture, 0.1, 500, Transmit::Shut, &mut sent, 48_000);
        let shape: Vec<_> = sent.0[before..].iter().map(|(_, samples, _)| samples.len()).collect();
        assert_eq!(shape, [0; 3]);
    }

    #[test]
    fn voice_activation_sends_every_word_from_its_first_sound_to_its_last() {
        use crate::client::voice::chain::rooms::{Random, db, noise, speech, sum};
        let mut random = Random::new(21);
        let mut said = vec![0.0; 96_000];
        said.extend(speech());
        said.extend(vec![0.0; 96_000]);
        let heard = sum(&said, &noise(&mut random, said.len(), db(-65.0)));
        let (mut capture, mut sent) = (capture(48_000), Sent::default());
        for chunk in heard.chunks(333) {
            capture.hear(chunk, Transmit::Voice, &mut sent.emit());
        }
        let base = u32::MAX - 100;
        let frames: std::collections::BTreeSet<u32> = sent
            .0
            .iter()
            .filter(|(_, samples, _)| !samples.is_empty())
            .map(|(h, _, _)| h.timestamp.wrapping_sub(base) / 160)
            .collect();
        let loud = |frame: &[f32]| mean_square(frame) > db(-45.0).powi(2);
        let words = said.chunks(480).enumerate().filter(|(_, frame)| loud(frame));
        let (heard, cut): (Vec<_>, Vec<_>) =
            words.map(|(k, _)| u32::try_from(k).unwrap()).partition(|k| frames.contains(k));
        println!("{} frames sent, {} of words, {} cut", frames.len(), heard.len(), cut.len());
        assert!(heard.len() > 500 && cut.is_empty(), "{cut:?}");
        // And the seconds before and after are not sent.
        assert!(!frames.contains(&150) && !frames.contains(&(200 + 1180 + 90)));
        assert_eq!(sent.0.iter().rev().take(3).filter(|(_, s, _)| s.is_empty()).count(), 3);
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
        capture.transmit(&ramp(0, 160), &mut sent.emit());
        capture.set_streams(&grants(7), 5, 5);
        capture.transmit(&ramp(0, 160), &mut sent.emit());
        capture.set_streams(&grants(9), 5, 5);
        capture.transmit(&ramp(0, 160), &mut sent.emit());
        let seqs: Vec<_> = sent.0.iter().map(|(h, _, _)| (h.ssrc.0, h.seq)).collect();
        assert_eq!(seqs, [(7, 0x7ffe), (7, 0x7fff), (9, 5)]);
    }

    /// Opus, of a voice that takes all bands, at 48 kHz.
    fn opus(sending: Sending) -> Capture {
        let mut capture = Capture::new(sending).unwrap();
        capture.set_streams(&grants(7), 100, 0);
        capture
    }

    fn voice(samples: usize) -> Vec<f32> {
        let mut x = 1u64;
        (0..samples)
            .map(|k| {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                let noise = (x >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
                0.3 * (k as f32 * 0.02).sin() + 0.05 * noise
            })
            .collect()
    }

    /// The packets as they are: type, time stamp, whose, and payload.
    fn raw(into: &mut Vec<(RtpHeader, Vec<u8>)>) -> impl FnMut(Outgoing<'_>) {
        |Outgoing { bytes, .. }| {
            let packet = RtpPacket::parse(bytes).unwrap();
            into.push((packet.header, packet.payload.to_vec()));
        }
    }

    fn lossy(loss: f32, burst_ms: f32) -> Conditions {
        Conditions { room_loss: loss, room_burst_ms: burst_ms, ..Conditions::default() }
    }

    #[test]
    fn opus_goes_out_in_packets_of_one_size_with_a_level_in_each_fifth() {
        let mut packets = Vec::new();
        opus(Sending::default()).transmit(&voice(480 * 20), &mut raw(&mut packets));
        assert_eq!(packets.len(), 20);
        for (k, (header, payload)) in packets.iter().enumerate() {
            assert_eq!((header.payload_type, header.ssrc), (PT_OPUS, Ssrc(8)));
            assert_eq!((header.timestamp, header.marker), (480 * k as u32, k == 0));
            assert_eq!(payload.len(), 80);
            assert_eq!(header.audio_level.is_some(), k % 5 == 0);
        }
    }

    #[test]
    fn low_bit_rates_have_packets_of_20_ms() {
        let mut packets = Vec::new();
        let sending = Sending { bitrate: 32_000, ..Sending::default() };
        opus(sending).transmit(&voice(480 * 20), &mut raw(&mut packets));
        assert_eq!(packets.len(), 10);
        assert!(packets.iter().all(|(_, payload)| payload.len() == 78), "{packets:?}");
        assert_eq!(packets[1].0.timestamp, 960);
    }

    #[test]
    fn under_loss_packets_carry_the_very_ones_sent_before_within_the_budget() {
        for (loss, burst, backs) in
            [(0.05, 10.0, &[1][..]), (0.15, 12.0, &[2, 1]), (0.1, 60.0, &[8])]
        {
            let mut packets = Vec::new();
            let mut capture = opus(Sending::default());
            capture.heard_of(lossy(loss, burst), crate::net::clock::now());
            capture.transmit(&voice(480 * 40), &mut raw(&mut packets));
            let frames: Vec<Vec<u8>> = packets
                .iter()
                .map(|(header, payload)| match header.payload_type {
                    PT_RED => red::parse(payload).unwrap().last().unwrap().data.to_vec(),
                    _ => payload.clone(),
                })
                .collect();
            assert_eq!(packets[0].0.payload_type, PT_OPUS, "nothing was sent before");
            for (k, (header, payload)) in packets.iter().enumerate().skip(8) {
                let blocks: Vec<_> = red::parse(payload).unwrap().collect();
                assert_eq!(blocks.len(), backs.len() + 1);
                for (block, back) in blocks.iter().zip(backs) {
                    assert_eq!((block.payload_type, block.offset), (PT_OPUS, 480 * *back as u32));
                    assert_eq!(block.data, frames[k - back]);
                }
                assert!(header.len() + payload.len() + 16 <= 146 + 8);
            }
        }
    }

    #[test]
    fn a_change_of_codec_ends_one_talkspurt_and_begins_the_other_in_the_same_media_time() {
        let mut packets = Vec::new();
        let mut capture = opus(Sending::default());
        let pcm = Sending::pcm();
        for sending in [Sending::default(), pcm, Sending::default()] {
            capture.set_sending(sending);
            capture.transmit(&voice(480 * 10), &mut raw(&mut packets));
        }
        let shape: Vec<_> = packets
            .iter()
            .map(|(h, payload)| (h.payload_type, h.ssrc.0, h.marker, payload.is_empty()))
            .collect();
        let talk = |kind, ssrc| {
            let packet = move |k| (kind, ssrc, k == 0, k >= 10);
            (0..13).map(packet).collect::<Vec<_>>()
        };
        let mut wanted = [talk(PT_OPUS, 8), talk(PT_L16, 7), talk(PT_OPUS, 8)].concat();
        wanted.truncate(36);
        assert_eq!(shape, wanted);
        let stamp = |k: usize| packets[k].0.timestamp;
        assert_eq!((stamp(13), stamp(26)), (stamp(12) / 3, stamp(12) * 2));
    }

    #[test]
    fn where_somebody_cannot_decode_opus_pcm_is_sent_and_opus_again_when_all_can() {
        let mut packets = Vec::new();
        let mut capture = opus(Sending::default());
        for heard in [false, true] {
            capture.set_opus_heard(heard);
            capture.transmit(&voice(480 * 4), &mut raw(&mut packets));
        }
        assert_eq!(packets[0].0.payload_type, PT_L16);
        assert_eq!(packets.last().unwrap().0.payload_type, PT_OPUS);
    }

    #[test]
    fn a_device_s_blocks_leave_as_soon_as_they_come_at_any_rate() {
        for (rate, sending) in [
            (48_000, Sending::default()),
            (44_100, Sending::default()),
            (16_000, Sending::default()),
            (48_000, Sending::pcm()),
            (44_100, Sending::pcm()),
        ] {
            let block = voice(rate as usize / 100);
            let mut capture = opus(sending);
            capture.set_rate(rate).unwrap();
            capture.discard(&block);
            // The key is pressed in the middle of a block.
            let (before, after) = block.split_at(block.len() / 3);
            capture.discard(before);
            for k in 0..50 {
                let mut packets = Vec::new();
                let now = if k == 0 { after } else { &block };
                capture.transmit(now, &mut raw(&mut packets));
                assert_eq!(packets.len(), 1, "{rate} Hz, {:?}, block {k}", sending.codec);
            }
        }
    }

    #[test]
    fn with_dtx_hardly_anything_is_sent_of_silence_and_numbers_go_on() {
        let mut packets = Vec::new();
        let mut capture = opus(Sending { dtx: true, ..Sending::default() });
        capture.transmit(&voice(48_000), &mut raw(&mut packets));
        let speech = packets.len();
        capture.transmit(&vec![0.0; 96_000], &mut raw(&mut packets));
        let silence = packets.len() - speech;
        assert!(speech == 100 && (8..60).contains(&silence), "{speech} {silence}");
        assert!(packets.windows(2).all(|w| w[1].0.seq == w[0].0.seq + 1));
        assert!(packets.windows(2).all(|w| w[1].0.timestamp - w[0].0.timestamp <= 9600));
        capture.transmit(&voice(4800), &mut raw(&mut packets));
        assert!(packets.last().unwrap().1.len() > 70);
    }

    #[test]
    fn once_it_runs_nothing_is_allocated_whatever_the_network_does() {
        let now = crate::net::clock::now();
        for sending in [Sending::default(), Sending::pcm()] {
            let mut capture = opus(sending);
            let block = voice(480);
            let mut bytes = 0;
            let mut run = |capture: &mut Capture, seconds: u32| {
                for k in 0..seconds * 100 {
                    let conditions = match k / 100 {
                        0 => lossy(0.0, 0.0),
                        1 => lossy(0.05, 10.0),
                        2 => lossy(0.15, 10.0),
                        _ => lossy(0.1, 60.0),
                    };
                    capture.heard_of(conditions, now);
                    capture.transmit(&block, &mut |packet| bytes += packet.bytes.len());
                }
            };
            run(&mut capture, 4);
            let counted = allocation_counter::measure(|| run(&mut capture, 4));
            assert_eq!(counted.count_total, 0, "{:?}: {counted:?}", sending.codec);
            assert!(bytes > 0);
        }
    }
}
