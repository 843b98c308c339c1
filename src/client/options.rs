//! The client's arguments. What is wrong with them is said in one line, with exit code 2.

use super::texts::arguments;
use super::voice::{InputChoice, OutputChoice};
use crate::net::address::{AddressError, HostPort, TCP_PORT};
use crate::net::fingerprint::Fingerprint;
use crate::net::name::{RoomName, UserName};
use clap::Parser;
use std::path::{Path, PathBuf};
use tracing_subscriber::EnvFilter;

/// Parlor: talk with the people in a room of a Parlor server.
#[derive(Debug, Parser)]
#[command(name = "parlor", version, about)]
pub struct Options {
    /// The server: HOST or HOST:PORT; an IPv6 address before a port stands in brackets
    #[arg(value_name = "SERVER", value_parser = server)]
    pub address: Option<HostPort>,
    /// Your name, 1 to 32 characters [default: your login name]
    #[arg(long, value_parser = UserName::parse)]
    pub name: Option<UserName>,
    /// The server, as in SERVER [default: 127.0.0.1]
    #[arg(long, value_name = "HOST[:PORT]", value_parser = server, conflicts_with = "address")]
    pub server: Option<HostPort>,
    /// The room to enter; it is made if it does not exist
    #[arg(long, default_value = "general", value_parser = RoomName::parse)]
    pub room: RoomName,
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
    /// Where this device's key and the known servers are kept [default: the system's place]
    #[arg(long, value_name = "DIR", env = "PARLOR_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Microphone: a device's name, wav:FILE, tone:HZ, silence, or echo (says back what it hears)
    #[arg(long, value_name = "SOURCE", value_parser = input)]
    pub input: Option<InputChoice>,
    /// Loudspeaker: a device's name, wav:FILE, or null
    #[arg(long, value_name = "SINK", value_parser = output)]
    pub output: Option<OutputChoice>,
    /// Repeat the WAV file of --input
    #[arg(long = "loop")]
    pub repeat: bool,
    /// Name the sound devices there are, and end
    #[arg(long)]
    pub list_devices: bool,
    /// Start with an open microphone
    #[arg(long)]
    pub unmute: bool,
    /// Start deafened
    #[arg(long)]
    pub deafen: bool,
    /// One JSON object for each event, for scripts
    #[arg(long)]
    pub json: bool,
    /// Lines in, lines out, also on a terminal
    #[arg(long)]
    pub plain: bool,
    /// Do without reports of keys let go, if keys type the wrong characters
    #[arg(long)]
    pub plain_keys: bool,
    /// What to log: error, warn, info, debug, or a filter
    #[arg(long, value_name = "LEVEL", env = "PARLOR_LOG", value_parser = log_filter)]
    pub log: Option<EnvFilter>,
    /// Where to log [default: stderr]
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
}

impl Options {
    /// The server's host and port: the port in the address wins over `--tcp-port`.
    #[must_use]
    pub fn target(&self) -> (String, u16) {
        let written = self.address.as_ref().or(self.server.as_ref());
        let host = written.map_or("127.0.0.1", |address| address.host.as_str());
        let port = written.and_then(|address| address.port);
        (host.to_owned(), port.or(self.tcp_port).unwrap_or(TCP_PORT))
    }

    /// Whether people sit at a terminal and want the prompt.
    #[must_use]
    pub fn on_terminal(&self) -> bool {
        use std::io::IsTerminal;
        let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        terminal && !self.plain && !self.json
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

fn server(text: &str) -> Result<HostPort, AddressError> {
    let address = HostPort::parse(text)?;
    match address.port {
        Some(0) => Err(AddressError::BadPort("0".to_owned())),
        _ => Ok(address),
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
        assert_eq!((options.room.as_str(), options.udp_port), ("music", Some(9001)));
        assert_eq!(options.user_name().unwrap().as_str(), "Ann");
    }

    #[test]
    fn defaults_and_every_form_of_the_server_work() {
        let target = |line: &str| parse(line).unwrap().target();
        assert_eq!(target(""), ("127.0.0.1".to_owned(), 8888));
        assert_eq!(target("localhost"), ("localhost".to_owned(), 8888));
        assert_eq!(target("--server [::1]:5 --tcp-port 6"), ("::1".to_owned(), 5));
        assert_eq!(target("::1"), ("::1".to_owned(), 8888));
        assert_eq!(parse("").unwrap().room.as_str(), "general");
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
