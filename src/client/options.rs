//! The client's arguments. What is wrong with them is said in one line, with exit code 2.

use super::cli;
use super::config::layers::{self, LayerError, Layered, Origin};
use super::config::{self, Config};
use super::console::draw::theme::ThemeChoice;
use super::console::full::Looks;
use super::control::dial::Target;
use super::control::port::Keys;
use super::listen::{self, Plan, Surroundings, Wish};
use super::ptt::Mode;
use super::talk_key::TalkKey;
use super::texts::arguments;
use super::voice::{
    BITRATE, BITRATES, ChainSettings, FrameLength, InputChoice, OutputChoice, Sending,
};
use crate::net::address::{AddressError, HostPort, TCP_PORT};
use crate::net::codec::Codec;
use crate::net::fingerprint::Fingerprint;
use crate::net::invite::{Invite, InviteError, SCHEME};
use crate::net::limits::INVITE_BYTES_MAX;
use crate::net::name::{RoomName, UserName};
use crate::net::secret::Password;
use clap::{CommandFactory, FromArgMatches, Parser};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use tracing_subscriber::EnvFilter;
use zeroize::Zeroizing;

/// What the client is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// To talk.
    Talk,
    /// To see what is wrong.
    Doctor,
    /// To see how to talk by key.
    DoctorPtt,
    /// To record a room, with nobody at the keyboard.
    Record,
    /// To see what is set, and by what.
    ShowConfig,
}

impl Work {
    /// How many words of the command line say so.
    fn words(self) -> usize {
        match self {
            Self::Talk => 0,
            Self::Doctor | Self::Record => 1,
            Self::DoctorPtt | Self::ShowConfig => 2,
        }
    }
}

/// What the user has set for talking, and a recorder has no use for.
const NOT_FOR_RECORDING: &[&str] = &["input", "output", "loop", "talk", "unmute", "deafen"];

/// The room that is entered where nothing names another.
const ROOM: &str = "general";

/// Parlor: talk with the people in a room of a Parlor server.
#[derive(Debug, Parser)]
#[command(name = "parlor", version, long_version = cli::version(), about)]
pub struct Options {
    /// The server: HOST or HOST:PORT; an IPv6 address before a port stands in brackets. Or an
    /// invite (parlor://...), which holds all that is needed. Who is logged in to this machine can
    /// see it in the list of processes while you are connected, and use it if it is good for more
    /// than one: --invite-file, PARLOR_INVITE, and pasting it at the prompt keep it to yourself
    #[arg(value_name = "SERVER|INVITE", value_parser = written)]
    pub address: Option<Written>,
    /// A file that holds an invite [or the variable PARLOR_INVITE]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["address", "server"])]
    pub invite_file: Option<PathBuf>,
    /// A file that holds the password of your name, if it is registered [or PARLOR_PASSWORD]
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// A file that holds the server's password, if it has one [or PARLOR_SERVER_PASSWORD]
    #[arg(long, value_name = "FILE")]
    pub server_password_file: Option<PathBuf>,
    /// A file that holds the password of a locked room [or PARLOR_ROOM_PASSWORD]
    #[arg(long, value_name = "FILE")]
    pub room_password_file: Option<PathBuf>,
    /// Your name, 1 to 32 characters [default: your login name]
    #[arg(long, value_parser = UserName::parse)]
    pub name: Option<UserName>,
    /// The server, as in SERVER [default: 127.0.0.1]
    #[arg(long, value_name = "HOST[:PORT]", value_parser = server, conflicts_with = "address")]
    pub server: Option<HostPort>,
    /// The room to enter; it is made if it does not exist [default: the invite's, or general]
    #[arg(long, value_parser = RoomName::parse)]
    pub room: Option<RoomName>,
    /// The server's TCP port, where SERVER names none [default: 8888]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub tcp_port: Option<u16>,
    /// The server's UDP port [default: what the server says]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub udp_port: Option<u16>,
    /// The server's key, as its operator sees it: SHA256:...; remembered from now on
    #[arg(long, value_name = "SHA256:...")]
    pub fingerprint: Option<Fingerprint>,
    /// Without any encryption, to a server that has none; only for networks that you trust
    #[arg(long, conflicts_with = "fingerprint")]
    pub insecure: bool,
    /// The file of settings [or PARLOR_CONFIG, empty for none; default: the system's place]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where this device's key and the known servers are kept [default: the system's place]
    #[arg(long, value_name = "DIR", env = "PARLOR_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Microphone: a device's name, wav:FILE, tone:HZ, silence, or echo (says back what it hears)
    #[arg(long, value_name = "SOURCE", value_parser = input)]
    pub input: Option<InputChoice>,
    /// Loudspeaker: a device's name, wav:FILE, or null
    #[arg(long, value_name = "SINK", value_parser = output)]
    pub output: Option<OutputChoice>,
    /// How your voice is sent: opus, or pcm; everyone hears both
    #[arg(long, value_name = "opus|pcm", default_value = "opus", value_parser = codec)]
    pub codec: Codec,
    /// Bit rate of Opus in kbit/s, 6 to 256; headers and, while packets get lost, copies come on top
    #[arg(long, value_name = "KBIT", default_value_t = BITRATE / 1000,
        value_parser = clap::value_parser!(u32).range(i64::from(*BITRATES.start() / 1000)..=i64::from(*BITRATES.end() / 1000)))]
    pub bitrate: u32,
    /// What a packet of Opus holds: 10 or 20 ms [default: 10, and 20 up to 32 kbit/s]
    #[arg(long, value_name = "MS", value_parser = frame_length)]
    pub frame_ms: Option<FrameLength>,
    /// Let the bit rate of Opus follow what is said: better for the same, but sizes of packets tell of the words
    #[arg(long)]
    pub vbr: bool,
    /// Send hardly anything of pauses while you talk
    #[arg(long)]
    pub dtx: bool,
    /// When the microphone is on: ptt (while you hold the talk key), open (always), or voice (while
    /// you speak) [default: ptt]
    #[arg(long, value_name = "ptt|open|voice", value_parser = talk, conflicts_with = "unmute")]
    pub talk: Option<Mode>,
    /// The key that talks: grave (left of 1), f1 to f24, a letter, space, pause, right-ctrl, mouse4 and others. One that
    /// you name talks while other windows are in front, too, where the desktop is X11 [default: grave, in this window]
    #[arg(long, value_name = "KEY", value_parser = TalkKey::parse)]
    pub ptt_key: Option<TalkKey>,
    /// Who sees the talk key in other windows: auto, off, x11, or evdev (reads the keyboard, where you may)
    #[arg(long, value_name = "auto|off|x11|evdev", value_parser = listening, default_value = "auto")]
    pub ptt_listen: Wish,
    /// Let rumble and hum below the voice pass
    #[arg(long)]
    pub no_high_pass: bool,
    /// Do not take what the loudspeaker plays out of the microphone's sound
    #[arg(long)]
    pub no_echo_cancel: bool,
    /// Do not suppress noise
    #[arg(long)]
    pub no_noise_suppression: bool,
    /// Do not bring a soft or loud voice to a common level
    #[arg(long)]
    pub no_gain: bool,
    /// Repeat the WAV file of --input
    #[arg(long = "loop")]
    pub repeat: bool,
    /// Name the sound devices there are, and end
    #[arg(long)]
    pub list_devices: bool,
    /// Record into this directory, from the first room on: a WAV file for each speaker, and a mix. Everyone is told
    #[arg(long, value_name = "DIR", visible_alias = "out")]
    pub record: Option<PathBuf>,
    /// Nobody is at the keyboard.
    #[arg(skip)]
    pub headless: bool,
    /// Play everyone as loud as he comes, without bringing speakers near to one loudness
    #[arg(long)]
    pub no_levelling: bool,
    /// Play no sounds when somebody comes or goes, or when you mute or deafen
    #[arg(long)]
    pub no_sounds: bool,
    /// Start with an open microphone, as --talk open
    #[arg(long)]
    pub unmute: bool,
    /// Start deafened
    #[arg(long)]
    pub deafen: bool,
    /// One JSON object for each event, for scripts
    #[arg(long)]
    pub json: bool,
    /// Lines in, lines out, also on a terminal; for screen readers
    #[arg(long)]
    pub plain: bool,
    /// A prompt below what scrolls, as in a shell, in place of the full screen
    #[arg(long, conflicts_with = "plain")]
    pub inline: bool,
    /// Looks of the full screen: dark, light, or plain (without colours) [default: dark, and plain with NO_COLOR]
    #[arg(long, value_name = "dark|light|plain", value_parser = theme)]
    pub theme: Option<ThemeChoice>,
    /// Ring the terminal's bell when somebody names you or writes to you alone while you look elsewhere
    #[arg(long)]
    pub bell: bool,
    /// Do without reports of keys let go, if keys type the wrong characters
    #[arg(long)]
    pub plain_keys: bool,
    /// What to log: error, warn, info, debug, or a filter
    #[arg(long, value_name = "LEVEL", env = "PARLOR_LOG", value_parser = log_filter)]
    pub log: Option<EnvFilter>,
    /// Where to log [default: stderr]
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// Where each setting comes from.
    #[arg(skip)]
    pub settled: Settled,
}

/// What is known of where the options come from.
#[derive(Debug, Clone, Default)]
pub struct Settled {
    /// The file of settings and its address book.
    pub config: Config,
    /// The entry of the address book that was named.
    pub entry: Option<String>,
    /// Where each value comes from, by its key; what is not here is as by default.
    pub origins: BTreeMap<String, Origin>,
    /// Each value as it was written, by its key.
    pub values: BTreeMap<String, Vec<String>>,
}

impl Settled {
    fn new(config: Config, layered: Layered, command: &clap::Command) -> Self {
        let Layered { matches, origins, entry } = layered;
        let written = |arg: &clap::Arg| -> Option<Vec<String>> {
            let all = matches.get_raw(arg.get_id().as_str())?;
            Some(all.map(|value| value.to_string_lossy().into_owned()).collect())
        };
        let values = config::flags(command)
            .filter_map(|(key, arg)| Some((key.to_owned(), written(arg)?)))
            .collect();
        Self { config, entry, origins, values }
    }
}

impl Options {
    /// Reads the arguments, the program's name first, above the environment and the file of settings. A first
    /// word may say that it is not for talking; a server of that name is meant with `--server`.
    ///
    /// # Errors
    /// They make no sense, or help was asked for; the file is not right.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<(Work, Self), LayerError> {
        let variable = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        Self::read_above(arguments, &|named| Config::load(named, &Self::command()), &variable)
    }

    /// The same, where `load` has the file (the one that a flag names, if any) and `variable` says
    /// whether the environment holds a secret.
    ///
    /// # Errors
    /// As for `read`.
    pub fn read_above(
        arguments: impl IntoIterator<Item = OsString>,
        load: &dyn Fn(Option<PathBuf>) -> Result<Config, config::ConfigError>,
        variable: &dyn Fn(&str) -> bool,
    ) -> Result<(Work, Self), LayerError> {
        let mut arguments: Vec<OsString> = arguments.into_iter().collect();
        let written = arguments.clone();
        let word = |arguments: &[OsString], at: usize| {
            arguments.get(at).and_then(|word| word.to_str()).map(str::to_owned)
        };
        let work = match (word(&arguments, 1).as_deref(), word(&arguments, 2).as_deref()) {
            (Some("doctor"), Some("ptt")) => Work::DoctorPtt,
            (Some("doctor"), _) => Work::Doctor,
            (Some("record"), _) => Work::Record,
            (Some("config"), Some("show")) => Work::ShowConfig,
            _ => Work::Talk,
        };
        if work != Work::Talk {
            arguments.drain(1..=work.words());
        }
        let command = Self::command();
        let given = layers::with_switches(command.clone()).try_get_matches_from(&arguments);
        let given = given.map_err(|error| match error.use_stderr() {
            true => error,
            // That of the word in front, and of switches without how they are taken back.
            false => cli::help(&written).unwrap_or(error),
        })?;
        let config = load(given.get_one::<PathBuf>("config").cloned())?;
        let without = if work == Work::Record { NOT_FOR_RECORDING } else { &[] };
        let layered = layers::layer(&command, &arguments, &config, without, variable)?;
        let mut options = Self::from_arg_matches(&layered.matches)?;
        if layered.entry.is_some() {
            // What it stands for is the server now.
            options.address = None;
        }
        if work == Work::Record {
            options.headless = true;
            options.input.get_or_insert(InputChoice::Silence);
            options.output.get_or_insert(OutputChoice::Null);
        }
        options.settled = Settled::new(config, layered, &command);
        Ok((work, options))
    }

    /// Where recordings go, and whether one begins in the first room.
    #[must_use]
    pub fn recordings(&self) -> (PathBuf, bool) {
        let usual = || {
            let dirs = directories::UserDirs::new();
            let music = dirs.as_ref().and_then(|dirs| dirs.audio_dir().or(Some(dirs.home_dir())));
            music.map(Path::to_owned).unwrap_or_default().join("parlor-recordings")
        };
        let at_once = self.headless || self.record.is_some();
        (self.record.clone().unwrap_or_else(usual), at_once)
    }

    /// Whether a server or an invite was named.
    #[must_use]
    pub fn names_server(&self) -> bool {
        self.address.is_some()
            || self.server.is_some()
            || self.invite_file.is_some()
            || std::env::var_os("PARLOR_INVITE").is_some()
    }

    /// The server's host and port: the port in the address wins over `--tcp-port`.
    #[must_use]
    pub fn target(&self) -> (String, u16) {
        let written = match &self.address {
            Some(Written::Server(address)) => Some(address),
            Some(Written::Invite(Ok(invite))) => Some(&invite.server),
            Some(Written::Invite(Err(_))) | None => self.server.as_ref(),
        };
        let host = written.map_or("127.0.0.1", |address| address.host.as_str());
        let port = written.and_then(|address| address.port);
        (host.to_owned(), port.or(self.tcp_port).unwrap_or(TCP_PORT))
    }

    /// Where to go, and what opens it: from flags, the files that they name, and the environment,
    /// in this order.
    ///
    /// # Errors
    /// A file that cannot be read; what it or the environment holds is no invite or no password.
    /// None of the texts shows a secret.
    pub fn destination(&self) -> Result<Destination, String> {
        let invite = match &self.address {
            Some(Written::Invite(Ok(invite))) => Some(invite.as_ref().clone()),
            Some(Written::Invite(Err(error))) => return Err(arguments::invite(error)),
            Some(Written::Server(_)) => None,
            // Whoever names a server means that one.
            None if self.server.is_some() => None,
            None => match secret(self.invite_file.as_deref(), "PARLOR_INVITE")? {
                Some(line) => {
                    Some(line.parse::<Invite>().map_err(|error| arguments::invite(&error))?)
                }
                None => None,
            },
        };
        let password = |file: &Option<PathBuf>, variable| match secret(file.as_deref(), variable)? {
            Some(text) => {
                let password = Password::new(text.to_string());
                let from =
                    || file.as_ref().map_or(variable.to_owned(), |f| f.display().to_string());
                password.map(Some).map_err(|error| arguments::password(&from(), &error.to_string()))
            }
            None => Ok(None),
        };
        let (server, name, room) = (
            password(&self.server_password_file, "PARLOR_SERVER_PASSWORD")?,
            password(&self.password_file, "PARLOR_PASSWORD")?,
            password(&self.room_password_file, "PARLOR_ROOM_PASSWORD")?,
        );
        let (host, port) = match &invite {
            Some(invite) => {
                let port = invite.server.port.or(self.tcp_port).unwrap_or(TCP_PORT);
                (invite.server.host.clone(), port)
            }
            None => self.target(),
        };
        let invited = invite.as_ref().and_then(|invite| invite.fingerprint);
        let fingerprint = self.fingerprint.or(invited);
        let there = invite.as_ref().and_then(|invite| invite.room.clone());
        let general = || RoomName::parse(ROOM).map_err(|error| error.to_string());
        Ok(Destination {
            target: Target { host, port, fingerprint },
            room: self.room.clone().or(there).map_or_else(general, Ok)?,
            keys: Keys { invite, server, name, room },
        })
    }

    /// Whether somebody can be asked for a password without others seeing it.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.on_terminal() || super::console::echo::can_hide()
    }

    /// Whether people sit at a terminal and want the prompt.
    #[must_use]
    pub fn on_terminal(&self) -> bool {
        use std::io::IsTerminal;
        let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        terminal && !self.headless && !self.plain && !self.json
    }

    /// The name: as given, or the login name, or a guest's.
    #[must_use]
    pub fn user_name(&self) -> Option<UserName> {
        let login = ["USER", "LOGNAME", "USERNAME"].into_iter();
        let login = login.filter_map(|variable| std::env::var(variable).ok());
        let login = login.filter_map(|name| UserName::parse(&name).ok()).next();
        let guest = || UserName::parse(&format!("guest-{}", std::process::id())).ok();
        self.name.clone().or(login).or_else(guest)
    }

    /// Microphone and loudspeaker.
    ///
    /// # Errors
    /// `--loop` without a file.
    pub fn sound(&self) -> Result<(InputChoice, OutputChoice), String> {
        let input = match (self.input.clone().unwrap_or(InputChoice::Default), self.repeat) {
            (InputChoice::Wav { path, .. }, true) => InputChoice::Wav { path, repeat: true },
            (input, false) => input,
            (_, true) => return Err(arguments::LOOP.to_owned()),
        };
        Ok((input, self.output.clone().unwrap_or(OutputChoice::Default)))
    }
}

impl Options {
    /// The key that talks.
    #[must_use]
    pub fn talk_key(&self) -> TalkKey {
        self.ptt_key.unwrap_or_default()
    }

    /// Whether, and how, it is listened for the talk key in all windows.
    #[must_use]
    pub fn listening(&self, there: Surroundings) -> Plan {
        match self.headless {
            true => Plan::NotAsked,
            false => listen::plan(self.ptt_listen, self.ptt_key.is_some(), there),
        }
    }

    /// When the microphone is on at the start.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.talk.unwrap_or(if self.unmute { Mode::Open } else { Mode::PushToTalk })
    }

    /// How the full screen looks. An empty NO_COLOR counts as none (no-color.org).
    #[must_use]
    pub fn looks(&self) -> Looks {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let usual = if no_color { ThemeChoice::Plain } else { ThemeChoice::Dark };
        Looks { theme: self.theme.unwrap_or(usual), bell: self.bell }
    }

    /// What is done to the microphone's sound.
    #[must_use]
    pub fn chain(&self) -> ChainSettings {
        ChainSettings {
            high_pass: !self.no_high_pass,
            echo: !self.no_echo_cancel,
            noise: !self.no_noise_suppression,
            gain: !self.no_gain,
        }
    }

    /// How our voice is sent.
    #[must_use]
    pub fn sending(&self) -> Sending {
        Sending {
            codec: self.codec,
            bitrate: self.bitrate * 1000,
            frame: self.frame_ms,
            constant: !self.vbr,
            dtx: self.dtx,
        }
    }
}

/// What stands where the server or an invite does. That an invite is damaged is said later: an
/// error here would repeat it, token included.
#[derive(Debug, Clone)]
pub enum Written {
    /// A server.
    Server(HostPort),
    /// An invite.
    Invite(Result<Box<Invite>, InviteError>),
}

/// Where to go, and what opens it.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The server.
    pub target: Target,
    /// The room to enter.
    pub room: RoomName,
    /// What opens the server and what is in it.
    pub keys: Keys,
}

fn written(text: &str) -> Result<Written, AddressError> {
    let start = text.trim_start().get(..SCHEME.len());
    if start.is_some_and(|start| start.eq_ignore_ascii_case(SCHEME)) {
        return Ok(Written::Invite(text.parse().map(Box::new)));
    }
    server(text).map(Written::Server)
}

/// The first line of a file, or of a variable of the environment if no file is named.
fn secret(file: Option<&Path>, variable: &str) -> Result<Option<Zeroizing<String>>, String> {
    let text = match file {
        Some(path) => {
            let mut text = Zeroizing::new(String::with_capacity(2 * INVITE_BYTES_MAX));
            let bound = u64::try_from(2 * INVITE_BYTES_MAX).unwrap_or(u64::MAX);
            let read = std::fs::File::open(path)
                .and_then(|file| file.take(bound).read_to_string(&mut text));
            read.map_err(|error| {
                let why = super::control::dial::plain(&error);
                arguments::unreadable(&path.display().to_string(), &why)
            })?;
            Some(text)
        }
        None => std::env::var(variable).ok().filter(|text| !text.is_empty()).map(Zeroizing::new),
    };
    Ok(text.map(|text| Zeroizing::new(text.lines().next().unwrap_or_default().to_owned())))
}

fn server(text: &str) -> Result<HostPort, AddressError> {
    let address = HostPort::parse(text)?;
    match address.port {
        Some(0) => Err(AddressError::BadPort("0".to_owned())),
        _ => Ok(address),
    }
}

fn listening(text: &str) -> Result<Wish, &'static str> {
    match text {
        "auto" => Ok(Wish::Auto),
        "off" => Ok(Wish::Off),
        "x11" => Ok(Wish::X11),
        "evdev" => Ok(Wish::Evdev),
        _ => Err(arguments::NO_LISTENER),
    }
}

fn codec(text: &str) -> Result<Codec, String> {
    match text {
        "opus" => Ok(Codec::Opus),
        "pcm" => Ok(Codec::Pcm),
        _ => Err(arguments::CODEC.to_owned()),
    }
}

fn talk(text: &str) -> Result<Mode, String> {
    match text {
        "ptt" => Ok(Mode::PushToTalk),
        "open" => Ok(Mode::Open),
        "voice" => Ok(Mode::Voice),
        _ => Err(arguments::TALK.to_owned()),
    }
}

fn theme(text: &str) -> Result<ThemeChoice, String> {
    match text {
        "dark" => Ok(ThemeChoice::Dark),
        "light" => Ok(ThemeChoice::Light),
        "plain" => Ok(ThemeChoice::Plain),
        _ => Err(arguments::THEME.to_owned()),
    }
}

fn frame_length(text: &str) -> Result<FrameLength, String> {
    match text {
        "10" => Ok(FrameLength::Ms10),
        "20" => Ok(FrameLength::Ms20),
        _ => Err(arguments::FRAME.to_owned()),
    }
}

fn log_filter(text: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    EnvFilter::try_new(text)
}

/// Parses `--input`.
///
/// # Errors
/// An empty name, a file that is not there, a frequency that nobody hears.
pub fn input(text: &str) -> Result<InputChoice, String> {
    if let Some(file) = text.strip_prefix("wav:") {
        let (file, repeat) = match file.strip_suffix("?repeat") {
            Some(file) => (file, true),
            None => (file, false),
        };
        return readable(file).map(|path| InputChoice::Wav { path, repeat });
    }
    if let Some(hz) = text.strip_prefix("tone:") {
        return match hz.trim_end_matches("Hz").trim().parse::<f32>() {
            Ok(hz) if (20.0..=20_000.0).contains(&hz) => Ok(InputChoice::Tone(hz)),
            _ => Err(arguments::TONE.to_owned()),
        };
    }
    match text {
        "silence" => Ok(InputChoice::Silence),
        "echo" => Ok(InputChoice::Echo),
        "default" => Ok(InputChoice::Default),
        name if name.trim().is_empty() => Err(arguments::NO_SOURCE.to_owned()),
        name => Ok(InputChoice::Device(name.strip_prefix("device:").unwrap_or(name).to_owned())),
    }
}

/// Parses `--output`.
///
/// # Errors
/// An empty name.
pub fn output(text: &str) -> Result<OutputChoice, String> {
    match text {
        "null" => Ok(OutputChoice::Null),
        "default" => Ok(OutputChoice::Default),
        name if name.trim().is_empty() => Err(arguments::NO_SINK.to_owned()),
        name => match name.strip_prefix("wav:") {
            Some("") => Err(arguments::WAV.to_owned()),
            Some(file) => Ok(OutputChoice::Wav(PathBuf::from(file))),
            None => {
                let device = name.strip_prefix("device:").unwrap_or(name);
                Ok(OutputChoice::Device(device.to_owned()))
            }
        },
    }
}

fn readable(file: &str) -> Result<PathBuf, String> {
    if file.is_empty() {
        return Err(arguments::WAV.to_owned());
    }
    let path = Path::new(file);
    let opened = std::fs::File::open(path).and_then(|file| file.metadata());
    match opened {
        Ok(about) if about.is_dir() => Err(arguments::unreadable(file, "it is a directory")),
        Ok(_) => Ok(path.to_owned()),
        Err(error) => Err(arguments::unreadable(file, &super::control::dial::plain(&error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, clap::Error> {
        Options::try_parse_from(std::iter::once("parlor").chain(line.split_whitespace()))
    }

    #[test]
    fn the_flags_of_the_original_are_understood() {
        let line = "--name Ann --server 10.0.0.1 --room music --tcp-port 9000 --udp-port 9001";
        let options = parse(line).unwrap();
        assert_eq!(options.target(), ("10.0.0.1".to_owned(), 9000));
        let room = options.destination().unwrap().room;
        assert_eq!((room.as_str(), options.udp_port), ("music", Some(9001)));
        assert_eq!(options.user_name().unwrap().as_str(), "Ann");
    }

    #[test]
    fn a_first_word_may_say_what_the_client_is_started_for() {
        let read = |line: &str| {
            let words = line.split_whitespace().map(OsString::from);
            Options::read_above(words, &|_| Ok(Config::default()), &|_| false).unwrap()
        };
        let (work, options) = read("parlor doctor --server a:7 --json");
        assert_eq!((work, options.target().0.as_str()), (Work::Doctor, "a"));
        assert!(options.names_server() && options.json);
        assert_eq!(read("parlor doctor ptt --json").0, Work::DoctorPtt);
        let (work, options) = read("parlor record --room hall --out there");
        assert_eq!((work, options.recordings()), (Work::Record, ("there".into(), true)));
        let silent = (InputChoice::Silence, OutputChoice::Null);
        assert_eq!(options.sound().unwrap(), silent);
        assert_eq!(read("parlor --record x").1.recordings(), ("x".into(), true));
        assert!(!read("parlor").1.recordings().1);
        let (work, options) = read("parlor --server doctor");
        assert_eq!((work, options.target().0.as_str()), (Work::Talk, "doctor"));
    }

    #[test]
    fn defaults_and_every_form_of_the_server_work() {
        let target = |line: &str| parse(line).unwrap().target();
        assert_eq!(target(""), ("127.0.0.1".to_owned(), 8888));
        assert_eq!(target("localhost"), ("localhost".to_owned(), 8888));
        assert_eq!(target("--server [::1]:5 --tcp-port 6"), ("::1".to_owned(), 5));
        assert_eq!(target("::1"), ("::1".to_owned(), 8888));
        assert_eq!(parse("").unwrap().destination().unwrap().room.as_str(), "general");
    }

    #[test]
    fn bad_values_are_usage_errors() {
        for line in [
            "--server a:b",
            "--server host:0",
            "--udp-port 70000",
            "--udp-port 0",
            "--input tone:loud",
            "--input tone:5",
            "--input wav:",
            "--input wav:/nowhere/x.wav",
            "--output wav:",
            "--codec mp3",
            "--talk loud",
            "--theme loud",
            "--plain --inline",
            "--talk voice --unmute",
            "--bitrate 5",
            "--bitrate 257",
            "--frame-ms 15",
            "--log a=b=c",
            "--frobnicate",
            "a b",
            "a --server b",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
        let name = Options::try_parse_from(["parlor", "--name", " "]).unwrap_err();
        assert_eq!(name.exit_code(), 2);
        let unreadable = parse("--input wav:/nowhere/x.wav").unwrap_err().to_string();
        assert!(unreadable.contains("/nowhere/x.wav"), "{unreadable}");
    }

    #[test]
    fn every_stage_of_the_chain_has_its_switch() {
        let chain = |line: &str| parse(line).unwrap().chain();
        assert_eq!(chain(""), ChainSettings::default());
        let on = ChainSettings::default();
        assert_eq!(chain("--no-high-pass"), ChainSettings { high_pass: false, ..on });
        assert_eq!(chain("--no-echo-cancel"), ChainSettings { echo: false, ..on });
        assert_eq!(chain("--no-noise-suppression"), ChainSettings { noise: false, ..on });
        assert_eq!(chain("--no-gain"), ChainSettings { gain: false, ..on });
    }

    #[test]
    fn the_microphone_s_mode_can_be_chosen() {
        let mode = |line: &str| parse(line).unwrap().mode();
        assert_eq!(mode(""), Mode::PushToTalk);
        assert_eq!(mode("--unmute"), Mode::Open);
        assert_eq!(mode("--talk voice"), Mode::Voice);
        assert_eq!(mode("--talk open"), Mode::Open);
    }

    #[test]
    fn how_voice_is_sent_can_be_chosen_and_has_defaults() {
        let sending = |line: &str| parse(line).unwrap().sending();
        assert_eq!(sending(""), Sending::default());
        let line = "--codec pcm --bitrate 96 --frame-ms 20 --vbr --dtx";
        let chosen = Sending {
            codec: Codec::Pcm,
            bitrate: 96_000,
            frame: Some(FrameLength::Ms20),
            constant: false,
            dtx: true,
        };
        assert_eq!(sending(line), chosen);
        assert_eq!(sending("--bitrate 32").frame_length(), FrameLength::Ms20);
        assert_eq!(sending("--bitrate 33").frame_length(), FrameLength::Ms10);
        assert_eq!(sending("--bitrate 32 --frame-ms 10").frame_length(), FrameLength::Ms10);
    }

    fn invite(room: &str) -> String {
        format!("parlor://example.org:7/{room}#{0}.{0}", "A".repeat(43))
    }

    #[test]
    fn an_invite_needs_nothing_else_and_a_room_wins_over_its_own() {
        let there = parse(&invite("attic")).unwrap().destination().unwrap();
        assert_eq!(
            (there.target.label().as_str(), there.room.as_str()),
            ("example.org:7", "attic")
        );
        assert!(there.target.fingerprint.is_some() && there.keys.invite.is_some());
        let there = parse(&format!("{} --room cellar", invite("attic"))).unwrap();
        assert_eq!(there.destination().unwrap().room.as_str(), "cellar");
        assert!(parse(&format!("{} --server a", invite(""))).is_err());
    }

    #[test]
    fn a_damaged_invite_is_refused_without_being_repeated() {
        let line = invite("attic");
        let options = parse(&line[..line.len() - 1]).unwrap();
        let error = options.destination().unwrap_err();
        assert!(error.contains("not complete") && !error.contains("AAAA"), "{error}");
        assert!(!format!("{:?}", parse(&line)).contains(&"A".repeat(20)));
    }

    #[test]
    fn secrets_come_from_the_first_line_of_their_files() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let (name, server) = (file("name", "hunter2\r\nnote\n"), file("server", " spaced "));
        let line = file("invite", &format!("{}\n", invite("attic")));
        let options =
            format!("--password-file {name} --server-password-file {server} --invite-file {line}");
        let there = parse(&options).unwrap().destination().unwrap();
        assert_eq!(there.keys.name.unwrap().expose(), "hunter2");
        assert_eq!(there.keys.server.unwrap().expose(), " spaced ");
        assert_eq!(there.target.label(), "example.org:7");
        for (flag, path) in [
            ("--password-file", file("empty", "\n")),
            ("--password-file", file("long", &"x".repeat(300))),
            ("--invite-file", file("wrong", "hello")),
            ("--room-password-file", "/nowhere/x".to_owned()),
        ] {
            let error = parse(&format!("{flag} {path}")).unwrap().destination().unwrap_err();
            assert!(!error.contains("xxx"), "{error}");
        }
    }

    #[test]
    fn sources_and_sinks_are_read() {
        assert_eq!(input("tone:440"), Ok(InputChoice::Tone(440.0)));
        assert_eq!(input("silence"), Ok(InputChoice::Silence));
        assert_eq!(input("USB Mic"), Ok(InputChoice::Device("USB Mic".to_owned())));
        assert_eq!(input("device:echo"), Ok(InputChoice::Device("echo".to_owned())));
        assert_eq!(output("null"), Ok(OutputChoice::Null));
        assert_eq!(output("wav:x.wav"), Ok(OutputChoice::Wav("x.wav".into())));
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_owned();
        let wav = format!("wav:{}", path.display());
        assert_eq!(input(&wav), Ok(InputChoice::Wav { path: path.clone(), repeat: false }));
        let repeated = InputChoice::Wav { path, repeat: true };
        assert_eq!(input(&format!("{wav}?repeat")), Ok(repeated.clone()));
        let options = parse(&format!("--input {wav} --loop")).unwrap();
        assert_eq!(options.sound(), Ok((repeated, OutputChoice::Default)));
        assert!(parse("--loop").unwrap().sound().is_err());
    }
}
