//! A sound card without hardware: a private PulseAudio with null sinks. What is played into a
//! `mic_…` sink is what a program hears whose microphone is that sink's monitor; what a program
//! plays into a `spk_…` sink can be recorded from its monitor.
//!
//! Nothing of it touches the user's own sound server: it has its own folder, socket and cookie.

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parlor::net::clock;
use tempfile::TempDir;

use super::listening::RATE;
use super::process::{Running, command, poll_until};
use super::tools;

/// The programs that it needs.
const TOOLS: [&str; 4] = ["pulseaudio", "pactl", "pacat", "parec"];
/// The part of ALSA that takes its programs to the sound server, and where systems keep it.
const PLUG_IN: &str = "libasound_module_pcm_pulse.so";
const PLUG_IN_FOLDERS: [&str; 3] = ["/usr/lib", "/usr/lib64", "/usr/local/lib"];
/// The variable with which `./test` makes a missing program a failure.
const REQUIRED_BY: &str = "PARLOR_TEST_REQUIRE_SOUND";

const START_MAX: Duration = Duration::from_secs(20);
/// A null sink that nobody listens to sleeps in blocks of 2 s. It is awake when this many chunks
/// have come in a row, each within `AWAKE_GAP` of the last.
const AWAKE_CHUNKS: usize = 20;
const AWAKE_GAP: Duration = Duration::from_millis(60);

/// Says whether the test must be skipped, and says so loudly, because there can be no sound card.
pub fn missing(test: &str) -> bool {
    let absent = TOOLS.iter().copied().filter(|tool| tools::find(tool).is_none());
    let absent: Vec<&str> = absent.chain((!has_plug_in()).then_some(PLUG_IN)).collect();
    tools::skips(test, &absent, REQUIRED_BY)
}

/// Looks for ALSA's plug-in in the library folders, and one level below for those of an
/// architecture (`/usr/lib/x86_64-linux-gnu`).
fn has_plug_in() -> bool {
    let holds = |folder: &Path| folder.join("alsa-lib").join(PLUG_IN).is_file();
    PLUG_IN_FOLDERS.iter().map(Path::new).any(|folder| {
        let below = fs::read_dir(folder).into_iter().flatten().flatten();
        holds(folder) || below.into_iter().any(|entry| holds(&entry.path()))
    })
}

/// One of the two people: a microphone and a loudspeaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The first.
    A,
    /// The second.
    B,
}

impl Side {
    /// The sink whose monitor is this side's microphone.
    pub fn microphone(self) -> &'static str {
        match self {
            Self::A => "mic_a",
            Self::B => "mic_b",
        }
    }

    /// The sink that is this side's loudspeaker.
    pub fn loudspeaker(self) -> &'static str {
        match self {
            Self::A => "spk_a",
            Self::B => "spk_b",
        }
    }
}

/// The sound card. Dropping it ends the sound server and removes its folder.
#[derive(Debug)]
pub struct SoundCard {
    // Fields end in this order: the recorders, then the server, then its folder.
    awake: Vec<Recorder>,
    daemon: Option<Running>,
    folder: TempDir,
}

impl SoundCard {
    /// Starts the sound server, and returns when every sink is awake.
    pub fn up() -> Self {
        let folder = tempfile::Builder::new().prefix("parlor-sound-").tempdir().unwrap();
        let path = folder.path();
        fs::create_dir(path.join("run")).unwrap();
        fs::write(path.join("cookie"), [7; 256]).unwrap();
        fs::write(
            path.join("alsa.conf"),
            "pcm.!default { type pulse }\nctl.!default { type pulse }\n",
        )
        .unwrap();
        fs::write(path.join("default.pa"), script(path)).unwrap();

        let mut card = Self { awake: Vec::new(), daemon: None, folder };
        card.plug_back();
        card
    }

    /// The sound server dies: every device is gone, for every program.
    pub fn unplug(&mut self) {
        self.awake.clear();
        self.daemon = None;
    }

    /// Starts the sound server, again if need be, and returns when every sink is awake.
    pub fn plug_back(&mut self) {
        let path = self.folder.path();
        // Left behind by one that was killed.
        let _ = fs::remove_file(self.socket());
        let mut daemon = command("pulseaudio");
        daemon
            .args(["-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1"])
            .args(["--disable-shm=yes", "--resample-method=speex-float-5", "-F"])
            .arg(path.join("default.pa"))
            .env("HOME", path)
            .env("XDG_RUNTIME_DIR", path.join("run"))
            .env("PULSE_RUNTIME_PATH", path.join("run"))
            .env("DBUS_SESSION_BUS_ADDRESS", "disabled:");
        self.daemon = Some(Running::start("pulseaudio", daemon));
        let deadline = clock::now() + START_MAX;
        let socket = self.socket();
        let up = poll_until(deadline, || UnixStream::connect(&socket).ok());
        assert!(up.is_some(), "the sound server does not answer");
        let sinks = [Side::A, Side::B].into_iter().flat_map(|s| [s.microphone(), s.loudspeaker()]);
        self.awake = sinks.map(|sink| self.record(sink)).collect();
        self.awake.iter().for_each(Recorder::wait_awake);
    }

    /// Gives a program this side's microphone and loudspeaker, and no other sound.
    pub fn plug_in(&self, side: Side, program: &mut Command) {
        self.point(program);
        program
            .env("ALSA_CONFIG_PATH", self.folder.path().join("alsa.conf"))
            .env("PULSE_SOURCE", format!("{}.monitor", side.microphone()))
            .env("PULSE_SINK", side.loudspeaker());
    }

    /// Plays a WAV file into a sink, at the pace of the sound card; returns when all of it is out.
    pub fn play(&self, sink: &str, file: &Path) {
        let mut player = command("pacat");
        player.args(["--playback", "-d", sink, "--file-format=wav", "--latency-msec=1000"]);
        player.arg(file);
        self.point(&mut player);
        let status = Running::start("pacat", player).wait_end(Duration::from_secs(60));
        assert!(status.success(), "pacat: {status}");
    }

    /// Plays what is heard at the microphone `from` into the sink `to`, `latency_ms` later.
    pub fn loop_back(&self, from: &str, to: &str, latency_ms: u16) {
        let mut program = command("pactl");
        program.args(["load-module", "module-loopback"]);
        program.args([format!("source={from}.monitor"), format!("sink={to}")]);
        program.arg(format!("latency_msec={latency_ms}"));
        self.point(&mut program);
        let status = Running::start("pactl", program).wait_end(START_MAX);
        assert!(status.success(), "pactl: {status}");
    }

    /// Records what is played into a sink, from now on.
    pub fn record(&self, sink: &str) -> Recorder {
        let mut program = command("parec");
        program.args(["--raw", "--format=s16le", "--channels=1", "--latency-msec=5"]);
        program.args(["-d", &format!("{sink}.monitor"), &format!("--rate={RATE}")]);
        self.point(&mut program);
        Recorder::start(program)
    }

    /// What marks every process that belongs to this sound card.
    pub fn mark(&self) -> String {
        self.folder.path().to_string_lossy().into_owned()
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("native")
    }

    fn point(&self, program: &mut Command) {
        program
            .env("PULSE_SERVER", format!("unix:{}", self.socket().display()))
            .env("PULSE_COOKIE", self.folder.path().join("cookie"));
    }
}

fn script(folder: &Path) -> String {
    let socket = folder.join("native");
    let mut script = format!(
        "load-module module-native-protocol-unix auth-anonymous=1 socket={}\n",
        socket.display()
    );
    for side in [Side::A, Side::B] {
        for (sink, channels) in [(side.microphone(), 1), (side.loudspeaker(), 2)] {
            script += &format!(
                "load-module module-null-sink sink_name={sink} rate=48000 channels={channels} \
                 format=s16le\n"
            );
        }
    }
    script + "set-default-sink spk_b\nset-default-source mic_b.monitor\n"
}

/// What a recorder has heard so far, and when each chunk of it came.
#[derive(Debug, Default)]
struct Tape {
    bytes: Vec<u8>,
    arrivals: Vec<(Instant, usize)>,
    ended: bool,
}

/// A recording in progress. Dropping it ends its process.
#[derive(Debug)]
pub struct Recorder {
    child: Child,
    tape: Arc<Mutex<Tape>>,
    reader: Option<JoinHandle<()>>,
}

/// A finished recording.
#[derive(Debug)]
pub struct Recording {
    /// Mono samples at [`RATE`].
    pub samples: Vec<f32>,
    /// When the first of them was played.
    pub start: Instant,
}

impl Recorder {
    fn start(mut program: Command) -> Self {
        program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = program.spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let tape = Arc::new(Mutex::new(Tape::default()));
        let shared = Arc::clone(&tape);
        let reader = thread::spawn(move || {
            let mut chunk = [0; 65_536];
            while let Ok(length @ 1..) = stdout.read(&mut chunk) {
                let mut tape = shared.lock().unwrap();
                tape.bytes.extend(&chunk[..length]);
                let so_far = tape.bytes.len() / 2;
                tape.arrivals.push((clock::now(), so_far));
            }
            shared.lock().unwrap().ended = true;
        });
        Self { child, tape, reader: Some(reader) }
    }

    /// Waits until sound flows in small pieces.
    pub fn wait_awake(&self) {
        let awake = poll_until(clock::now() + START_MAX, || {
            let tape = self.tape.lock().unwrap();
            assert!(!tape.ended, "a recorder has ended by itself");
            let last = tape.arrivals.last_chunk::<AWAKE_CHUNKS>()?;
            let steady = last.windows(2).all(|pair| pair[1].0 - pair[0].0 < AWAKE_GAP);
            steady.then_some(())
        });
        assert!(awake.is_some(), "a sink stays asleep");
    }

    /// Waits until what was played up to `moment` is on the tape.
    pub fn wait_past(&self, moment: Instant) {
        let past = poll_until(clock::now() + START_MAX, || {
            let tape = self.tape.lock().unwrap();
            let (_, so_far) = *tape.arrivals.last()?;
            let recorded_to = tape.start()? + seconds(so_far as f64 / RATE as f64);
            (recorded_to > moment).then_some(())
        });
        assert!(past.is_some(), "a recording stands still");
    }

    /// Ends the recording.
    pub fn finish(mut self) -> Recording {
        self.end();
        let tape = self.tape.lock().unwrap();
        let samples = tape.bytes.chunks_exact(2);
        Recording {
            samples: samples
                .map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32768.0)
                .collect(),
            start: tape.start().expect("nothing was recorded"),
        }
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.end();
    }
}

impl Tape {
    /// When the first sample was played: a chunk may come late, never early, so that the earliest
    /// of the chunks tell; not the very first ones, which bring a backlog.
    fn start(&self) -> Option<Instant> {
        let settled = self.arrivals.get(AWAKE_CHUNKS..)?;
        let epoch = settled.first()?.0;
        let mut offsets: Vec<f64> = settled
            .iter()
            .map(|&(at, so_far)| (at - epoch).as_secs_f64() - so_far as f64 / RATE as f64)
            .collect();
        offsets.sort_by(f64::total_cmp);
        let early = *offsets.get(offsets.len() / 20)?;
        Some(if early < 0.0 { epoch - seconds(-early) } else { epoch + seconds(early) })
    }
}

fn seconds(value: f64) -> Duration {
    Duration::from_secs_f64(value.max(0.0))
}
