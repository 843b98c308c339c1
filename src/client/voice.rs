//! The voice side of the client as the rest of it sees it: a handle, events, figures.
//!
//! Behind the handle stand three actors, each on a thread of its own: capture, playback and link.
//! Voice itself goes through rings and sockets, never through a mailbox.

#[cfg(test)]
mod allocation_tests;
mod capture;
mod capture_actor;
pub(crate) mod chain;
mod decoding;
mod delays;
mod desk;
mod device;
mod encoder;
#[cfg(test)]
mod handle_tests;
pub(crate) mod jitter;
mod keeper;
#[cfg(test)]
mod key_tests;
mod limiter;
pub(crate) mod link;
mod link_actor;
#[cfg(test)]
mod link_tests;
mod load;
mod loudness;
mod margin;
mod opus;
mod packetizer;
mod path;
#[cfg(test)]
mod path_tests;
pub(crate) mod playback;
mod playback_actor;
#[cfg(test)]
mod playback_tests;
pub mod recording;
mod redundancy;
mod replay;
mod reports;
mod resample;
mod sending;
mod shared;
#[cfg(test)]
mod simulation;
mod sounds;
mod source;
pub(crate) mod speaker;
mod stretch;
mod system;
mod tap;
mod trial;
#[cfg(test)]
mod trial_tests;
mod upsample;
mod wav;
pub mod workload;

pub use chain::gate::Transmit;
pub use chain::{ChainFigures, ChainSettings, StageName, StageState};
pub use desk::{DeviceList, DeviceName};
pub use recording::RecordingEnd;
pub use sending::{BITRATE, BITRATES, FrameLength, Sending, SendingStats};
pub use sounds::Sound;
pub use tap::Tap;
pub use trial::{TrialFigures, TrialNews, Verdict};

use crate::net::codec::Codec;
use crate::net::ids::{MemberId, Ssrc};
use crate::net::message::{MemberInfo, Protection, StreamGrant};
use crate::net::protect::DirectionKey;
use capture_actor::AskCapture;
use desk::Wanted;
use link_actor::AskLink;
use playback_actor::AskPlayback;
use serde::Serialize;
use shared::{Command, path_name};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use system::VoiceSystem;
use tokio::sync::mpsc;

/// Where sound comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum InputChoice {
    /// The device that the environment names.
    Default,
    /// A device by its name (or a part of it that only one has).
    Device(String),
    /// A WAV file, at its own pace; silence after its end, or again from its start.
    Wav {
        /// The file.
        path: PathBuf,
        /// Start again at the end.
        repeat: bool,
    },
    /// A sine wave of this frequency in Hz.
    Tone(f32),
    /// Digital silence.
    Silence,
    /// What is heard, a second later: the other end of an echo room. Transmits only while there is something to say back.
    Echo,
}

/// Where sound goes.
#[derive(Debug, Clone, PartialEq)]
pub enum OutputChoice {
    /// The device that the environment names.
    Default,
    /// A device by its name (or a part of it that only one has).
    Device(String),
    /// A WAV file, 48 kHz mono 16 bit, written at the pace of the clock.
    Wav(PathBuf),
    /// Nowhere, at the pace of the clock; speakers are decoded and measured as for a device.
    Null,
}

/// What the voice side is started with.
#[derive(Debug, Clone, PartialEq)]
pub struct VoiceConfig {
    /// Microphone.
    pub input: InputChoice,
    /// Loudspeaker.
    pub output: OutputChoice,
    /// How our voice is sent.
    pub sending: Sending,
    /// What is done to a microphone's sound before. Files, tones and echoes stay as they are.
    pub chain: ChainSettings,
    /// Speakers are brought near to one loudness.
    pub levelling: bool,
    /// Who comes and goes, and what we do with microphone and ears, is told by sounds. Only sound devices play
    /// them: files, the null output and echoes hold voice alone.
    pub sounds: bool,
}

impl VoiceConfig {
    /// These devices, and everything else as by default.
    #[must_use]
    pub fn new(input: InputChoice, output: OutputChoice) -> Self {
        Self {
            input,
            output,
            sending: Sending::default(),
            chain: ChainSettings::default(),
            levelling: true,
            sounds: true,
        }
    }

    /// The same, and our voice is sent like this.
    #[must_use]
    pub fn sending(self, sending: Sending) -> Self {
        Self { sending, ..self }
    }

    /// The same, with these stages of the capture chain.
    #[must_use]
    pub fn chain(self, chain: ChainSettings) -> Self {
        Self { chain, ..self }
    }
}

/// A session's part of `Welcome` and the address that voice goes to.
#[derive(Debug, Clone)]
pub struct VoiceSession {
    /// Who we are to the others.
    pub id: MemberId,
    /// Where datagrams go.
    pub server: SocketAddr,
    /// How datagrams are protected.
    pub protection: Protection,
    /// Seals what goes up.
    pub up_key: DirectionKey,
    /// Opens what comes down.
    pub down_key: DirectionKey,
    /// Our streams, one for each RTP clock.
    pub streams: Vec<StreamGrant>,
    /// SSRC of the server's own control packets to us.
    pub control_ssrc: Ssrc,
}

/// How voice travels between us and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoicePath {
    /// Not proven yet, or no session.
    None,
    /// Datagrams.
    Udp,
    /// Inside the control connection.
    Stream,
}

/// RTP packets, told apart by the way they took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ByWay {
    /// By UDP.
    pub udp: u64,
    /// Inside the control connection.
    pub stream: u64,
}

/// Microphone or loudspeaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Microphone.
    Input,
    /// Loudspeaker.
    Output,
}

/// What the voice side has to tell.
#[derive(Debug, Clone, PartialEq)]
pub enum VoiceEvent {
    /// A device is open and running.
    DeviceUp {
        /// Which.
        direction: Direction,
        /// Its name, and rate, channels and sample format as opened, for people.
        description: String,
    },
    /// A device cannot be opened or has gone; it is tried again until it is back.
    DeviceDown {
        /// Which.
        direction: Direction,
        /// Its name.
        name: String,
        /// What happened, in words of the sound system.
        error: String,
    },
    /// A device that was chosen cannot be opened: what was in use before is in use still.
    DeviceRefused {
        /// Which.
        direction: Direction,
        /// The name by which it was chosen.
        name: String,
        /// What happened, in words of the sound system.
        error: String,
        /// What is in use; empty for nothing.
        kept: String,
    },
    /// The sound devices there are, as asked for.
    Devices(DeviceList),
    /// A test tone plays on this loudspeaker; empty: on none, because none is open.
    Tone(String),
    /// Someone's voice is played, or is not any more. Comes from the stream itself.
    Speaking {
        /// Who.
        id: MemberId,
        /// Started or stopped.
        on: bool,
    },
    /// A recording has ended, as it should or by itself.
    RecordingEnded(RecordingEnd),
    /// Hearing ourselves goes on, or has ended.
    Trial(TrialNews),
    /// The way of voice has changed.
    Path(VoicePath),
    /// A sealed datagram that must go through the control connection (`VoicePath::Stream`).
    ToServer {
        /// The datagram.
        datagram: Vec<u8>,
        /// When it was made: voice that is late is not worth sending.
        at: Instant,
    },
}

/// Figures for `/stats`. Counters are since the session began.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VoiceStats {
    /// Way of voice: `udp`, `stream` or `none`.
    pub path: &'static str,
    /// Round trip to the server in ms, if measured.
    pub round_trip_ms: Option<f32>,
    /// RTP packets sent.
    pub packets_sent: u64,
    /// RTP packets received and authentic.
    pub packets_received: u64,
    /// Which way those sent went; a packet for which there was no way yet is in neither.
    pub sent_by: ByWay,
    /// Which way those received came.
    pub received_by: ByWay,
    /// Datagrams dropped: not authentic, replayed, or of no known stream.
    pub packets_dropped: u64,
    /// Share of our packets that the server missed lately, 0 to 1.
    pub uplink_loss: f32,
    /// 90th percentile of what the room's members miss of what the server sends them, 0 to 1.
    pub room_loss: f32,
    /// Share that we miss lately of what the server itself sends us, 0 to 1.
    pub downlink_loss: f32,
    /// How our voice is sent.
    pub sending: SendingStats,
    /// What the capture chain does; none where the source is no microphone.
    pub chain: Option<ChainFigures>,
    /// Time from the microphone until its samples are taken, in ms, as the sound system tells.
    pub input_latency_ms: f32,
    /// Time from the mix to the ear, in ms, as far as the sound system tells.
    pub output_latency_ms: f32,
    /// The microphone is a sound device, and not a file or the like.
    pub input_is_device: bool,
    /// Most that waits in the ring to the loudspeaker's own buffer, in ms; 0 where there is no device.
    pub output_ring_ms: f32,
    /// Level of the microphone lately, dBFS (-120 for none).
    pub input_level_db: f32,
    /// Level of what is played lately, dBFS (-120 for none).
    pub output_level_db: f32,
    /// What the microphone is, as opened.
    pub input: String,
    /// What the loudspeaker is, as opened.
    pub output: String,
    /// Times that the sound system lost samples, microphone and loudspeaker.
    pub input_overruns: u64,
    /// Times that the loudspeaker found no samples.
    pub output_underruns: u64,
    /// Times in the last minute that microphone or loudspeaker lost samples.
    pub gaps_per_minute: u32,
    /// What this process takes of one core, 1 for all of it, if it is known.
    pub cpu: Option<f32>,
    /// Everyone heard since the session began and still in the room.
    pub speakers: Vec<SpeakerStats>,
}

/// Figures of one speaker as heard here.
#[derive(Debug, Clone, PartialEq)]
pub struct SpeakerStats {
    /// Who.
    pub id: MemberId,
    /// Packets received.
    pub received: u64,
    /// Packets lost on the way (not silence).
    pub lost: u64,
    /// Packets that came too late to be played.
    pub late: u64,
    /// Share of the last seconds of speech that was concealed, 0 to 1.
    pub concealed: f32,
    /// What levelling adds to him now, in dB.
    pub levelling_db: f32,
    /// Frames played from a copy in a later packet (RED).
    pub repaired_red: u64,
    /// Frames made good by in-band FEC (LBRR).
    pub repaired_fec: u64,
    /// Frames made good by deep redundancy (DRED).
    pub repaired_dred: u64,
    /// Share lost lately on the way from his device to ours, 0 to 1.
    pub loss: f32,
    /// Interarrival jitter (RFC 3550, 6.4.1) in ms.
    pub jitter_ms: f32,
    /// Playout delay that the jitter buffer aims for, in ms.
    pub target_ms: f32,
    /// Playout delay in the jitter buffer now, in ms.
    pub buffer_ms: f32,
}

impl SpeakerStats {
    /// Nothing was heard of this member yet.
    #[must_use]
    pub fn new(id: MemberId) -> Self {
        Self {
            id,
            received: 0,
            lost: 0,
            late: 0,
            concealed: 0.0,
            levelling_db: 0.0,
            repaired_red: 0,
            repaired_fec: 0,
            repaired_dred: 0,
            loss: 0.0,
            jitter_ms: 0.0,
            target_ms: 0.0,
            buffer_ms: 0.0,
        }
    }
}

/// The voice side cannot start at all. A missing device is no such case.
#[derive(Debug, thiserror::Error)]
pub enum VoiceError {
    /// A thread or socket could not be had.
    #[error("cannot start the voice threads: {0}")]
    Start(String),
    /// A WAV file cannot be read or written.
    #[error("{path}: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// Commands to the voice side. Cheap to clone; none of the calls blocks.
///
/// When the last handle is dropped, the threads end by themselves.
#[derive(Clone, Debug)]
pub struct VoiceHandle {
    system: Arc<VoiceSystem>,
}

impl VoiceHandle {
    /// Starts the voice threads and opens the devices. The microphone is off.
    ///
    /// # Errors
    /// No thread or socket could be had, or a WAV file cannot be used.
    pub fn start(
        config: VoiceConfig,
        events: mpsc::Sender<VoiceEvent>,
    ) -> Result<Self, VoiceError> {
        Self::start_tapped(&config, &events, None)
    }

    /// As `start`, and `tap` sees every packet's samples as decoded, before anything is done to them.
    ///
    /// # Errors
    /// As for `start`.
    pub fn start_with_tap(
        config: VoiceConfig,
        events: mpsc::Sender<VoiceEvent>,
        tap: Tap,
    ) -> Result<Self, VoiceError> {
        Self::start_tapped(&config, &events, Some(tap))
    }

    fn start_tapped(
        config: &VoiceConfig,
        events: &mpsc::Sender<VoiceEvent>,
        tap: Option<Tap>,
    ) -> Result<Self, VoiceError> {
        Ok(Self { system: Arc::new(VoiceSystem::start(config, events, tap)?) })
    }

    /// A session has begun (or begun anew): keys, streams and address of the server.
    pub fn connect(&self, session: VoiceSession) {
        self.system.command(Command::Connect(Box::new(session)));
    }

    /// The session is over: nothing is sent or played any more, the microphone is off.
    pub fn disconnect(&self) {
        self.system.shared.set_transmit(Transmit::Shut);
        self.system.command(Command::Disconnect);
    }

    /// We are in a room with these members and in no other: what others played stops at once.
    pub fn enter_room(&self, members: Vec<MemberInfo>) {
        for member in &members {
            self.system.shared.recorder.learn(member.id, member.name.as_str());
        }
        self.system.command(Command::EnterRoom(members));
    }

    /// We are in no room: all sound stops at once.
    pub fn leave_room(&self) {
        self.system.command(Command::LeaveRoom);
    }

    /// A member has come, or has other streams.
    pub fn member(&self, member: MemberInfo) {
        self.system.shared.recorder.learn(member.id, member.name.as_str());
        self.system.command(Command::Member(Box::new(member)));
    }

    /// A member has left: his voice stops at once.
    pub fn member_left(&self, id: MemberId) {
        self.system.command(Command::MemberLeft(id));
    }

    /// What the microphone is meant to do. A talkspurt starts with a marked packet and ends with three empty ones.
    pub fn set_transmit(&self, transmit: Transmit) {
        self.system.shared.set_transmit(transmit);
    }

    /// Switches a stage of the capture chain on or off.
    pub fn set_stage(&self, stage: StageName, on: bool) {
        self.system.shared.chain().switch(stage, on);
    }

    /// Voice is encoded as this from the next packet on.
    pub fn set_codec(&self, codec: Codec) {
        self.system.shared.sending().codec = codec;
    }

    /// Opus has this many bits per second from the next packet on.
    pub fn set_bitrate(&self, bitrate: u32) {
        self.system.shared.sending().bitrate = bitrate.clamp(*BITRATES.start(), *BITRATES.end());
    }

    /// Codecs that everyone in the room can decode; L16 is sent where Opus is not among them.
    pub fn room_codecs(&self, codecs: &[Codec]) {
        // Who names none says nothing.
        self.system.shared.set_opus_heard(codecs.is_empty() || codecs.contains(&Codec::Opus));
    }

    /// How loud each member is played, 1 for as he is; who is left out is played as he is.
    pub fn set_volumes(&self, volumes: BTreeMap<MemberId, f32>) {
        self.system.shared.wishes.set_volumes(volumes);
    }

    /// Brings speakers near to one loudness, or not.
    pub fn set_levelling(&self, on: bool) {
        self.system.shared.wishes.set_levelling(on);
    }

    /// Records everyone who is heard, and us while we are sent, into files in this directory. `own` is our name,
    /// `began` the beginning as it stands in names of files. One before is ended.
    pub fn record(&self, directory: PathBuf, own: String, began: String) {
        let recorder = &self.system.shared.recorder;
        recorder.stop();
        // Nobody listens to a voice side that has ended.
        if let Some(events) = self.system.events.upgrade() {
            recorder.start(directory, own, began, events);
        }
    }

    /// Ends the recording; [`VoiceEvent::RecordingEnded`] tells what came of it.
    pub fn stop_recording(&self) {
        self.system.shared.recorder.stop();
    }

    /// Listens to our microphone for some seconds and plays what others would have heard; nothing of it is sent.
    /// While a trial runs, this ends it. [`VoiceEvent::Trial`] tells how it goes.
    ///
    /// The microphone is shut to the room meanwhile, whatever it is meant to do; a talk key that is held beyond
    /// the end must be let go first.
    pub fn try_out(&self) {
        self.system.shared.trial.ask();
    }

    /// Takes the microphone of this name (or a part of it that only one has), or the default one, from now on. The
    /// one before stays until it runs. [`VoiceEvent::DeviceUp`] or [`VoiceEvent::DeviceRefused`] tells how it went.
    pub fn choose_input(&self, name: String) {
        let wanted = name.clone();
        let open = Arc::new(move || device::open_input(Some(&wanted)));
        self.system.shared.devices.input.put(Wanted { name, open });
    }

    /// The same for the loudspeaker.
    pub fn choose_output(&self, name: String) {
        let wanted = name.clone();
        let open = Arc::new(move |skip| device::open_output(Some(&wanted), skip));
        self.system.shared.devices.output.put(Wanted { name, open });
    }

    /// Asks for the sound devices there are; [`VoiceEvent::Devices`] tells them. Sound systems take their time.
    pub fn list(&self) {
        // Nobody listens to a voice side that has ended.
        let Some(events) = self.system.events.upgrade() else { return };
        let shared = self.system.shared.clone();
        let look = move || {
            let list = shared.devices.list(device::list());
            // The receiver has gone with the client.
            let _ = events.blocking_send(VoiceEvent::Devices(list));
        };
        let thread = std::thread::Builder::new().name("device-list".to_owned());
        if let Err(error) = thread.spawn(look) {
            tracing::error!(%error, "the sound devices cannot be looked for");
        }
    }

    /// Plays a test tone; [`VoiceEvent::Tone`] tells where.
    pub fn play_tone(&self) {
        self.play_sound(Sound::Tone);
    }

    /// Plays a sound of our own, where a sound device plays.
    pub fn play_sound(&self, sound: Sound) {
        self.system.shared.sounds.ask(sound);
    }

    /// Plays such sounds from now on, or none.
    pub fn set_sounds(&self, on: bool) {
        self.system.shared.sounds.switch(on);
    }

    /// Plays nobody, or everybody again.
    pub fn set_deafened(&self, on: bool) {
        self.system.shared.set_deafened(on);
    }

    /// Whether voice may go through the control connection (`VoicePath::Stream`) while datagrams do
    /// not get through. On at the start.
    pub fn allow_stream(&self, on: bool) {
        self.system.command(Command::AllowStream(on));
    }

    /// A sealed datagram that came through the control connection.
    pub fn from_server(&self, datagram: Vec<u8>) {
        self.system.command(Command::FromServer(datagram));
    }

    /// Figures as they are now.
    pub async fn stats(&self) -> VoiceStats {
        let link = self.system.link.send(AskLink).await.unwrap_or_default();
        let capture = self.system.capture.send(AskCapture).await.unwrap_or_default();
        let playback = self.system.playback.send(AskPlayback).await.unwrap_or_default();
        let sent = *self.system.shared.sent();
        let mut speakers = playback.speakers;
        for speaker in &mut speakers {
            let arrival = link.arrivals.get(&speaker.id).copied().unwrap_or_default();
            (speaker.jitter_ms, speaker.loss) = (arrival.jitter_ms, arrival.loss);
        }
        VoiceStats {
            path: path_name(link.path.unwrap_or(VoicePath::None)),
            round_trip_ms: link.figures.round_trip_ms,
            packets_sent: sent.packets,
            packets_received: link.figures.received,
            sent_by: sent.by_way,
            received_by: link.figures.received_by,
            packets_dropped: link.figures.dropped,
            uplink_loss: link.figures.uplink_loss,
            room_loss: link.figures.room_loss,
            downlink_loss: link.figures.downlink_loss,
            sending: capture.sending,
            chain: capture.chain,
            input_latency_ms: capture.latency_ms,
            output_latency_ms: playback.ring_ms + playback.device_ms,
            input_is_device: capture.is_device,
            input_level_db: capture.level_db,
            output_ring_ms: playback.ring_ms,
            output_level_db: playback.level_db,
            input: capture.input,
            output: playback.output,
            input_overruns: capture.overruns,
            output_underruns: playback.underruns,
            gaps_per_minute: capture.overruns_lately.max(playback.underruns_lately),
            cpu: playback.cpu,
            speakers,
        }
    }

    /// Ends talkspurts, closes devices and files (a WAV output is complete then), joins the threads.
    pub async fn stop(&self) {
        self.system.stop().await;
    }
}

/// The library that Opus comes from, and its version.
#[must_use]
pub fn codec_library() -> String {
    opus::library_version()
}

/// Names of the sound devices there are, inputs and outputs, for `--list-devices`.
///
/// # Errors
/// The sound system cannot be asked.
pub fn list_devices() -> Result<(Vec<String>, Vec<String>), VoiceError> {
    device::list().map_err(VoiceError::Start)
}
