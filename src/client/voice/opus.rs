//! Opus (RFC 6716, RFC 7587) by libopus 1.6: encoder, decoder and DRED behind safe types.
//!
//! Everything is mono at 48 kHz. States are allocated when they are made; encoding, decoding and
//! concealing allocate nothing afterwards.
//!
//! The only unsafe code here is the calls into libopus. Each type owns its state and nobody else
//! sees the pointer; every length handed over is that of a slice that outlives the call.
#![expect(unsafe_code, reason = "libopus is C")]

use opusic_sys as sys;
use std::ffi::{CStr, c_int};
use std::ptr::NonNull;

/// Samples of the longest packet: 120 ms (RFC 6716, 3.1).
pub const PACKET_SAMPLES_MAX: usize = 5760;
/// Bytes of the longest packet that is written.
pub const PACKET_BYTES_MAX: usize = 1275;
/// Smallest step of what can be concealed: 2.5 ms.
pub const STEP: usize = 120;
/// How far back DRED reaches at most: 1 s, in samples.
const DRED_MAX: c_int = 48_000;
/// Highest bit rate at which SILK codes the lower half of the spectrum.
const HYBRID_BITRATE_MAX: u32 = 128_000;
/// libopus's request to code in one mode, and the mode in which SILK codes what is below 8 kHz and CELT
/// what is above. They stand in its opus_private.h, beside its own demo, and have been the same since 1.0.
const SET_FORCE_MODE: c_int = 11_002;
const MODE_HYBRID: c_int = 1001;

/// libopus refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpusError {
    /// There is no memory for a state.
    #[error("no memory for Opus")]
    NoMemory,
    /// The packet is no Opus packet, or not one that lasts as long as was said.
    #[error("not a packet of Opus that can be decoded")]
    Packet,
    /// A frame of a length that Opus does not have, or a setting out of range.
    #[error("Opus does not take this ({0})")]
    Argument(i32),
}

/// What an encoder is made for; it cannot be changed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Application {
    /// Speech and everything else at any rate, as true as it can be, with 6.5 ms of look-ahead.
    Audio,
    /// Transform coding alone: 2.5 ms of look-ahead, no in-band FEC.
    LowDelay,
}

/// The highest frequencies that are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bandwidth {
    /// Up to 8 kHz: all bits go where speech is.
    Wide,
    /// Up to 20 kHz, as far as the bit rate is good for it.
    Full,
}

/// How an encoder encodes. Can be changed between any two frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Bits per second, 6,000 to 256,000, for frames and DRED together.
    pub bitrate: u32,
    /// How high frequencies go.
    pub bandwidth: Bandwidth,
    /// Every packet of one frame length has the same size, so that sizes say nothing of what is said (RFC 6562).
    pub constant: bool,
    /// 0 to 10: how much work is put into it.
    pub complexity: u8,
    /// Share of packets that are expected to be lost, in percent; FEC and DRED get their bits by it.
    pub loss_percent: u8,
    /// In-band FEC (LBRR): a packet carries its predecessor at a lower rate. Where the mode is SILK's.
    pub fec: bool,
    /// How much of the past each packet describes for deep redundancy, in ms, up to 1000; 0 for none.
    pub dred_ms: u16,
    /// Discontinuous transmission: hardly anything is sent for silence.
    pub dtx: bool,
    /// Each frame can be decoded without the one before it.
    pub independent: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bitrate: 64_000,
            bandwidth: Bandwidth::Full,
            constant: true,
            complexity: 9,
            loss_percent: 0,
            fec: false,
            dred_ms: 0,
            dtx: false,
            independent: false,
        }
    }
}

/// An encoder.
#[derive(Debug)]
pub struct Encoder {
    state: NonNull<sys::OpusEncoder>,
    settings: Settings,
    lookahead: usize,
    low_delay: bool,
}

// SAFETY: the state has no ties to the thread that made it, and is never shared.
unsafe impl Send for Encoder {}

impl Encoder {
    /// An encoder with these settings.
    ///
    /// # Errors
    /// No memory, or a setting out of range.
    pub fn new(application: Application, settings: Settings) -> Result<Self, OpusError> {
        let low_delay = application == Application::LowDelay;
        let application = match application {
            Application::Audio => sys::OPUS_APPLICATION_AUDIO,
            Application::LowDelay => sys::OPUS_APPLICATION_RESTRICTED_LOWDELAY,
        };
        let mut error = sys::OPUS_OK;
        // SAFETY: `error` outlives the call; the result is checked.
        let state = unsafe { sys::opus_encoder_create(48_000, 1, application, &raw mut error) };
        let state = NonNull::new(state).ok_or(OpusError::NoMemory)?;
        let mut encoder = Self { state, settings, lookahead: 0, low_delay };
        let mut lookahead: c_int = 0;
        // SAFETY: this request takes a pointer to an int, which outlives the call.
        let result = unsafe {
            sys::opus_encoder_ctl(
                encoder.state.as_ptr(),
                sys::OPUS_GET_LOOKAHEAD_REQUEST,
                &raw mut lookahead,
            )
        };
        check(result)?;
        encoder.lookahead = usize::try_from(lookahead).unwrap_or(0);
        encoder.control(sys::OPUS_SET_SIGNAL_REQUEST, sys::OPUS_SIGNAL_VOICE)?;
        encoder.apply(settings)?;
        Ok(encoder)
    }

    /// By how many samples what is decoded lags behind what was encoded.
    #[must_use]
    pub fn lookahead(&self) -> usize {
        self.lookahead
    }

    /// Encodes differently from the next frame on.
    ///
    /// # Errors
    /// A setting is out of range.
    pub fn set(&mut self, settings: Settings) -> Result<(), OpusError> {
        if settings == self.settings { Ok(()) } else { self.apply(settings) }
    }

    fn apply(&mut self, to: Settings) -> Result<(), OpusError> {
        let flag = |on: bool| c_int::from(on);
        let bitrate = c_int::try_from(to.bitrate).unwrap_or(c_int::MAX);
        self.control(sys::OPUS_SET_BITRATE_REQUEST, bitrate)?;
        let highest = match to.bandwidth {
            Bandwidth::Wide => sys::OPUS_BANDWIDTH_WIDEBAND,
            Bandwidth::Full => sys::OPUS_BANDWIDTH_FULLBAND,
        };
        self.control(sys::OPUS_SET_MAX_BANDWIDTH_REQUEST, highest)?;
        // By itself libopus leaves SILK at some 64 kbit/s. For speech that is a loss: PESQ-WB falls from 4.56
        // to 4.29 at 80 kbit/s, from 4.59 to 4.44 at 96.
        let keeps_silk = to.bitrate <= HYBRID_BITRATE_MAX && !self.low_delay;
        let mode = if keeps_silk { MODE_HYBRID } else { sys::OPUS_AUTO };
        self.control(SET_FORCE_MODE, mode)?;
        self.control(sys::OPUS_SET_VBR_REQUEST, flag(!to.constant))?;
        self.control(sys::OPUS_SET_COMPLEXITY_REQUEST, c_int::from(to.complexity))?;
        self.control(sys::OPUS_SET_PACKET_LOSS_PERC_REQUEST, c_int::from(to.loss_percent))?;
        self.control(sys::OPUS_SET_INBAND_FEC_REQUEST, flag(to.fec))?;
        // In frames of 10 ms.
        self.control(sys::OPUS_SET_DRED_DURATION_REQUEST, c_int::from(to.dred_ms / 10))?;
        self.control(sys::OPUS_SET_DTX_REQUEST, flag(to.dtx))?;
        self.control(sys::OPUS_SET_PREDICTION_DISABLED_REQUEST, flag(to.independent))?;
        self.settings = to;
        Ok(())
    }

    /// Forgets what was encoded before: the next frame begins something new.
    pub fn reset(&mut self) {
        // SAFETY: this request takes no argument.
        unsafe { sys::opus_encoder_ctl(self.state.as_ptr(), sys::OPUS_RESET_STATE) };
    }

    /// Encodes one frame of 2.5, 5, 10, 20, 40 or 60 ms to the end of `out`.
    ///
    /// # Errors
    /// The frame has another length.
    pub fn encode(&mut self, frame: &[f32], out: &mut Vec<u8>) -> Result<(), OpusError> {
        let samples = c_int::try_from(frame.len()).map_err(|_| OpusError::Argument(0))?;
        let mut packet = [0u8; PACKET_BYTES_MAX];
        // SAFETY: `frame` has `samples` floats (one channel), `packet` has the bytes that are said.
        let length = unsafe {
            sys::opus_encode_float(
                self.state.as_ptr(),
                frame.as_ptr(),
                samples,
                packet.as_mut_ptr(),
                PACKET_BYTES_MAX as i32,
            )
        };
        let length = usize::try_from(length).map_err(|_| OpusError::Argument(length))?;
        out.extend_from_slice(packet.get(..length).unwrap_or_default());
        Ok(())
    }

    fn control(&mut self, request: c_int, value: c_int) -> Result<(), OpusError> {
        // SAFETY: every request that is made with this takes one int.
        check(unsafe { sys::opus_encoder_ctl(self.state.as_ptr(), request, value) })
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: made by `opus_encoder_create`, and not used again.
        unsafe { sys::opus_encoder_destroy(self.state.as_ptr()) };
    }
}

/// A decoder, which also makes up what is missing.
#[derive(Debug)]
pub struct Decoder {
    state: NonNull<sys::OpusDecoder>,
}

// SAFETY: as for the encoder.
unsafe impl Send for Decoder {}

impl Decoder {
    /// A decoder. `complexity` 0 to 10: from 5 on, what is missing is made up by a neural network,
    /// from 6 on (LACE) and 7 on (NoLACE), what SILK decodes is enhanced. From 4 on, what SILK alone
    /// decodes at wideband gets a high band that is made up (OSCE bandwidth extension).
    ///
    /// # Errors
    /// No memory.
    pub fn new(complexity: u8) -> Result<Self, OpusError> {
        let mut error = sys::OPUS_OK;
        // SAFETY: `error` outlives the call; the result is checked.
        let state = unsafe { sys::opus_decoder_create(48_000, 1, &raw mut error) };
        let decoder = Self { state: NonNull::new(state).ok_or(OpusError::NoMemory)? };
        let settings = [
            (sys::OPUS_SET_COMPLEXITY_REQUEST, c_int::from(complexity)),
            (sys::OPUS_SET_OSCE_BWE_REQUEST, 1),
        ];
        for (request, value) in settings {
            // SAFETY: each of these requests takes one int.
            check(unsafe { sys::opus_decoder_ctl(decoder.state.as_ptr(), request, value) })?;
        }
        Ok(decoder)
    }

    /// Forgets what was decoded before.
    pub fn reset(&mut self) {
        // SAFETY: this request takes no argument.
        unsafe { sys::opus_decoder_ctl(self.state.as_ptr(), sys::OPUS_RESET_STATE) };
    }

    /// Decodes a packet into `out`, which must have room for all of it: how many samples it lasts.
    ///
    /// # Errors
    /// It is no packet of Opus, or longer than `out`.
    pub fn decode(&mut self, packet: &[u8], out: &mut [f32]) -> Result<usize, OpusError> {
        if packet.is_empty() {
            // To libopus, nothing is a loss.
            return Err(OpusError::Packet);
        }
        self.run(packet, out, false)
    }

    /// Decodes what a packet carries of its predecessor (in-band FEC) into all of `out`, as long as the
    /// predecessor; where it carries nothing, that is made up.
    ///
    /// # Errors
    /// It is no packet of Opus, or `out` is no multiple of 2.5 ms.
    pub fn decode_fec(&mut self, packet: &[u8], out: &mut [f32]) -> Result<usize, OpusError> {
        if packet.is_empty() {
            return Err(OpusError::Packet);
        }
        self.run(packet, out, true)
    }

    /// Makes up what is missing, all of `out`.
    ///
    /// # Errors
    /// `out` is no multiple of 2.5 ms, or longer than 120 ms.
    pub fn conceal(&mut self, out: &mut [f32]) -> Result<usize, OpusError> {
        self.run(&[], out, false)
    }

    /// Makes up all of `out` from what a later packet says of the past: from `before` samples before that packet.
    ///
    /// # Errors
    /// `out` is no multiple of 2.5 ms.
    pub fn conceal_with(
        &mut self,
        dred: &Dred,
        before: usize,
        out: &mut [f32],
    ) -> Result<usize, OpusError> {
        let (samples, before) = (length(out)?, c_int::try_from(before).unwrap_or(c_int::MAX));
        // SAFETY: `out` has `samples` floats; both states are alive and not shared.
        let done = unsafe {
            sys::opus_decoder_dred_decode_float(
                self.state.as_ptr(),
                dred.state.as_ptr(),
                before,
                out.as_mut_ptr(),
                samples,
            )
        };
        usize::try_from(done).map_err(|_| OpusError::Argument(done))
    }

    fn run(&mut self, packet: &[u8], out: &mut [f32], fec: bool) -> Result<usize, OpusError> {
        let samples = length(out)?;
        let bytes = i32::try_from(packet.len()).map_err(|_| OpusError::Packet)?;
        let data = if packet.is_empty() { std::ptr::null() } else { packet.as_ptr() };
        // SAFETY: `data` is null or has `bytes` bytes; `out` has `samples` floats.
        let done = unsafe {
            sys::opus_decode_float(
                self.state.as_ptr(),
                data,
                bytes,
                out.as_mut_ptr(),
                samples,
                c_int::from(fec),
            )
        };
        usize::try_from(done).map_err(|_| OpusError::Packet)
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: made by `opus_decoder_create`, and not used again.
        unsafe { sys::opus_decoder_destroy(self.state.as_ptr()) };
    }
}

/// What a packet says of the past (deep redundancy).
#[derive(Debug)]
pub struct Dred {
    decoder: NonNull<sys::OpusDREDDecoder>,
    state: NonNull<sys::OpusDRED>,
}

// SAFETY: as for the encoder.
unsafe impl Send for Dred {}

impl Dred {
    /// Nothing is known yet.
    ///
    /// # Errors
    /// No memory.
    pub fn new() -> Result<Self, OpusError> {
        let mut error = sys::OPUS_OK;
        // SAFETY: `error` outlives the call; the result is checked.
        let decoder = unsafe { sys::opus_dred_decoder_create(&raw mut error) };
        let decoder = NonNull::new(decoder).ok_or(OpusError::NoMemory)?;
        // SAFETY: as above.
        let state = unsafe { sys::opus_dred_alloc(&raw mut error) };
        let Some(state) = NonNull::new(state) else {
            // SAFETY: made above, and not used again.
            unsafe { sys::opus_dred_decoder_destroy(decoder.as_ptr()) };
            return Err(OpusError::NoMemory);
        };
        Ok(Self { decoder, state })
    }

    /// Reads what a packet says of the past: how many samples before it that reaches back; 0 if it says nothing.
    ///
    /// # Errors
    /// It is no packet of Opus.
    pub fn read(&mut self, packet: &[u8]) -> Result<usize, OpusError> {
        if packet.is_empty() {
            return Err(OpusError::Packet);
        }
        let bytes = i32::try_from(packet.len()).map_err(|_| OpusError::Packet)?;
        let mut end: c_int = 0;
        // SAFETY: `packet` has `bytes` bytes; `end` outlives the call; both states are alive and not shared.
        let reaches = unsafe {
            sys::opus_dred_parse(
                self.decoder.as_ptr(),
                self.state.as_ptr(),
                packet.as_ptr(),
                bytes,
                DRED_MAX,
                48_000,
                &raw mut end,
                0,
            )
        };
        usize::try_from(reaches).map_err(|_| OpusError::Packet)
    }
}

impl Drop for Dred {
    fn drop(&mut self) {
        // SAFETY: made together, and not used again.
        unsafe {
            sys::opus_dred_free(self.state.as_ptr());
            sys::opus_dred_decoder_destroy(self.decoder.as_ptr());
        }
    }
}

/// What the library calls itself, with its version.
#[must_use]
pub fn library_version() -> String {
    // SAFETY: it gives a text that ends with a zero and stays for good.
    let text = unsafe { CStr::from_ptr(sys::opus_get_version_string()) };
    text.to_string_lossy().into_owned()
}

/// How long a packet lasts, in samples at 48 kHz; none if it is no packet of Opus (RFC 6716, 3.2).
#[cfg(test)]
#[must_use]
pub fn packet_samples(packet: &[u8]) -> Option<usize> {
    let bytes = i32::try_from(packet.len()).ok().filter(|bytes| *bytes > 0)?;
    // SAFETY: `packet` has `bytes` bytes, at least one.
    let samples = unsafe { sys::opus_packet_get_nb_samples(packet.as_ptr(), bytes, 48_000) };
    usize::try_from(samples).ok().filter(|samples| (1..=PACKET_SAMPLES_MAX).contains(samples))
}

/// Whether a packet carries its predecessor (in-band FEC).
#[must_use]
pub fn has_fec(packet: &[u8]) -> bool {
    let Some(bytes) = i32::try_from(packet.len()).ok().filter(|bytes| *bytes > 0) else {
        return false;
    };
    // SAFETY: `packet` has `bytes` bytes, at least one.
    unsafe { sys::opus_packet_has_lbrr(packet.as_ptr(), bytes) == 1 }
}

fn length(out: &[f32]) -> Result<c_int, OpusError> {
    let samples = out.len().min(PACKET_SAMPLES_MAX);
    c_int::try_from(samples).map_err(|_| OpusError::Argument(0))
}

fn check(result: c_int) -> Result<(), OpusError> {
    match result {
        sys::OPUS_OK => Ok(()),
        error => Err(OpusError::Argument(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vowel of a voice at 140 Hz, whose pitch and colour wander.
    fn voice(samples: usize) -> Vec<f32> {
        let mut phase = 0.0f32;
        (0..samples)
            .map(|k| {
                let t = k as f32 / 48_000.0;
                phase += std::f32::consts::TAU * (140.0 + 10.0 * (t * 4.0).sin()) / 48_000.0;
                let colour = 0.5 + 0.4 * (t * 5.0).sin();
                (1..12).map(|h| (phase * h as f32).sin() * colour.powi(h) / 4.0).sum()
            })
            .collect()
    }

    /// Share of the energy of `of` that is not in `is`, at the best delay up to 20 ms.
    fn distance(is: &[f32], of: &[f32]) -> f32 {
        let energy: f32 = of.iter().map(|x| x * x).sum();
        let at = |delay: usize| -> f32 {
            is[delay..].iter().zip(of).map(|(a, b)| (a - b) * (a - b)).sum::<f32>() / energy
        };
        (0..960.min(is.len())).map(at).fold(f32::INFINITY, f32::min)
    }

    #[test]
    fn what_is_encoded_is_what_is_decoded() {
        for (application, frame, most) in
            [(Application::LowDelay, 480, 0.05), (Application::Audio, 960, 0.2)]
        {
            let mut encoder = Encoder::new(application, Settings::default()).unwrap();
            let mut decoder = Decoder::new(5).unwrap();
            let source = voice(48_000);
            let mut heard = Vec::new();
            for chunk in source.chunks_exact(frame) {
                let mut packet = Vec::new();
                encoder.encode(chunk, &mut packet).unwrap();
                assert_eq!(packet.len(), 64_000 / 8 * frame / 48_000, "constant bit rate");
                assert_eq!(packet_samples(&packet), Some(frame));
                let mut out = vec![0.0; PACKET_SAMPLES_MAX];
                let samples = decoder.decode(&packet, &mut out).unwrap();
                heard.extend_from_slice(&out[..samples]);
            }
            let error = distance(&heard[4800..], &source[4800..40_000]);
            assert!(error < most, "{application:?}: {error}");
        }
    }

    #[test]
    fn look_ahead_is_short_where_it_was_asked_for() {
        let of = |a| Encoder::new(a, Settings::default()).unwrap().lookahead();
        assert_eq!((of(Application::LowDelay), of(Application::Audio)), (120, 312));
    }

    #[test]
    fn a_packet_says_what_was_in_the_ones_before_it() {
        let settings =
            Settings { bitrate: 40_000, loss_percent: 20, dred_ms: 500, ..Settings::default() };
        let mut encoder = Encoder::new(Application::Audio, settings).unwrap();
        let (mut decoder, mut dred) = (Decoder::new(5).unwrap(), Dred::new().unwrap());
        let mut out = vec![0.0; PACKET_SAMPLES_MAX];
        let mut reach = 0;
        for chunk in voice(96_000).chunks_exact(960) {
            let mut packet = Vec::new();
            encoder.encode(chunk, &mut packet).unwrap();
            reach = dred.read(&packet).unwrap();
            decoder.decode(&packet, &mut out).unwrap();
        }
        assert!(reach > 9600, "{reach}");
        let made = decoder.conceal_with(&dred, 4800, &mut out[..960]).unwrap();
        assert_eq!(made, 960);
        assert!(out[..960].iter().any(|x| x.abs() > 0.01));
    }

    #[test]
    fn a_lost_frame_is_in_the_next_one_where_fec_is_on() {
        let settings =
            Settings { bitrate: 24_000, loss_percent: 20, fec: true, ..Settings::default() };
        let mut encoder = Encoder::new(Application::Audio, settings).unwrap();
        let packets: Vec<Vec<u8>> = voice(48_000)
            .chunks_exact(960)
            .map(|chunk| {
                let mut packet = Vec::new();
                encoder.encode(chunk, &mut packet).unwrap();
                packet
            })
            .collect();
        assert!(packets[1..20].iter().all(|packet| has_fec(packet)));
        let mut decoder = Decoder::new(5).unwrap();
        let mut out = vec![0.0; 960];
        assert_eq!(decoder.decode_fec(&packets[15], &mut out), Ok(960));
        assert!(out.iter().any(|x| x.abs() > 0.01));
    }

    #[test]
    fn what_is_missing_is_made_up_in_steps() {
        let mut encoder = Encoder::new(Application::LowDelay, Settings::default()).unwrap();
        let mut decoder = Decoder::new(5).unwrap();
        let mut out = vec![0.0; PACKET_SAMPLES_MAX];
        for chunk in voice(48_000).chunks_exact(480) {
            let mut packet = Vec::new();
            encoder.encode(chunk, &mut packet).unwrap();
            decoder.decode(&packet, &mut out).unwrap();
        }
        assert_eq!(decoder.conceal(&mut out[..STEP * 4]), Ok(STEP * 4));
        assert!(out[..480].iter().any(|x| x.abs() > 0.01));
        assert!(decoder.conceal(&mut out[..100]).is_err());
    }

    #[test]
    fn no_bytes_that_come_make_trouble() {
        let (mut decoder, mut dred) = (Decoder::new(7).unwrap(), Dred::new().unwrap());
        let mut out = vec![0.0; PACKET_SAMPLES_MAX];
        assert_eq!(decoder.decode(&[], &mut out), Err(OpusError::Packet));
        assert_eq!((packet_samples(&[]), has_fec(&[])), (None, false));
        let mut x = 1u64;
        let mut byte = || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 32) as u8
        };
        for length in (1..200).chain([1275, 1276, 5000]) {
            let packet: Vec<u8> = (0..length).map(|_| byte()).collect();
            let lasts = packet_samples(&packet);
            let told = crate::net::codec::duration(crate::net::codec::PT_OPUS, &packet);
            assert!(lasts.is_none() || told.map(|told| told as usize) == lasts);
            let _ = dred.read(&packet);
            if let Ok(samples) = decoder.decode(&packet, &mut out) {
                assert_eq!(Some(samples), lasts);
                assert!(out[..samples].iter().all(|x| x.is_finite()));
            }
            let _ = decoder.decode_fec(&packet, &mut out[..960]);
            let _ = decoder.conceal(&mut out[..480]);
        }
    }

    #[test]
    fn nothing_is_allocated_once_it_runs() {
        let settings =
            Settings { loss_percent: 10, fec: true, dred_ms: 200, ..Settings::default() };
        let mut encoder = Encoder::new(Application::Audio, settings).unwrap();
        let (mut decoder, mut dred) = (Decoder::new(7).unwrap(), Dred::new().unwrap());
        let (mut packet, mut out) = (Vec::with_capacity(1500), vec![0.0; PACKET_SAMPLES_MAX]);
        let source = voice(960);
        let counted = allocation_counter::measure(|| {
            for _ in 0..10 {
                packet.clear();
                encoder.encode(&source, &mut packet).unwrap();
                dred.read(&packet).unwrap();
                decoder.decode(&packet, &mut out).unwrap();
                decoder.conceal(&mut out[..480]).unwrap();
            }
        });
        assert_eq!(counted.count_total, 0);
    }
}
