//! The server: reads its arguments, starts, prints where it listens, stops on SIGINT and SIGTERM.
//! With a sub-command it asks the server that runs already.

mod args;
mod command;
mod doctor;
mod texts;

use anyhow::Context;
use clap::{CommandFactory, Parser};
use parlor::actors::access::gate::FirstInvites;
use parlor::actors::connection::door::Security;
use parlor::actors::control_socket::{CONTROL_SOCKET_FILE, ControlSocket, ControlSocketError};
use parlor::actors::forwarder::pace::Hold;
use parlor::actors::identity::{Identity, Source, default_state_directory};
use parlor::actors::limits::Limits;
use parlor::actors::public::{self, Reach};
use parlor::actors::server::{Keeping, Server, ServerConfig, StartError};
use parlor::manual;
use parlor::net::address::{HostPort, TCP_PORT, UDP_PORT};
use parlor::net::fingerprint::Fingerprint;
use parlor::net::message::Protection;
use parlor::net::secret::Password;
use parlor::net::{private, process, tls};
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tracing_subscriber::EnvFilter;
use zeroize::Zeroizing;

/// Exit code for what the one who started the server can mend: a flag, a port in use.
const EXIT_USAGE: u8 = 2;
/// Exit code for a fault inside (as sysexits' EX_SOFTWARE).
const EXIT_FAULT: u8 = 70;

const INSECURE: &str = "INSECURE: nothing is encrypted. Whoever is on the way between this server and its clients hears and \
    reads everything, passwords too, and can pretend to be any of them. Only for networks that you trust; clients must say \
    --insecure, too.";
const NO_HOME: &str = "there is no home directory to keep the server's key in; choose a place with --state-dir DIR, or keep \
    nothing with --ephemeral";

/// The store's file in the state directory.
const STORE_FILE: &str = "parlor.db";
/// Where the server's password may stand.
const PASSWORD_VARIABLE: &str = "PARLOR_SERVER_PASSWORD";
const PASSWORD_IN_THE_OPEN: &str =
    "with --insecure a password would be shown to everyone on the way; leave one of them out";

/// Parlor's server: rooms in which people talk.
#[derive(Parser)]
#[command(name = "parlor-server", version, long_version = texts::version(), about, after_help = texts::after_help())]
struct Args {
    /// Where clients connect: HOST:PORT, `[IPV6]:PORT`; port 0 lets the system pick
    #[arg(long, value_name = "HOST:PORT", default_value_t = any(TCP_PORT), value_parser = HostPort::parse)]
    tcp: HostPort,
    /// Where voice arrives: HOST:PORT, `[IPV6]:PORT`; port 0 lets the system pick
    #[arg(long, value_name = "HOST:PORT", default_value_t = any(UDP_PORT), value_parser = HostPort::parse)]
    udp: HostPort,
    /// Threads that forward voice [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    forwarders: Option<u16>,
    /// Wait a little so that several packets for one receiver go together: off, busy (only while a core is
    /// busy), or a time up to 4ms
    #[arg(long, value_name = "HOLD", default_value = "busy")]
    hold: Hold,
    /// Open microphones of one room that are heard at once, the loudest; 0 for all [default: 12, or what the configuration says]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=64))]
    heard_at_once: Option<u16>,
    /// Where the server's key is kept [default: the system's place]
    #[arg(long, value_name = "DIR", env = "PARLOR_SERVER_STATE_DIR", global = true)]
    state_dir: Option<PathBuf>,
    /// Keep nothing: a new key at each start, in memory only
    #[arg(long)]
    ephemeral: bool,
    /// Certificate of your own instead of that key: PEM, with its chain; read again when it changes
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// How friends outside reach this server, for its invites: HOST or HOST:PORT
    #[arg(long, value_name = "HOST[:PORT]", value_parser = HostPort::parse)]
    public_address: Option<HostPort>,
    /// A file whose first line is the password to come in without an invite [or: PARLOR_SERVER_PASSWORD]
    #[arg(long, value_name = "FILE")]
    server_password_file: Option<PathBuf>,
    /// Configuration with the server's limits, TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Without any encryption, for clients that say --insecure, too; only for networks that you trust
    #[arg(long, conflicts_with_all = ["cert", "key"])]
    insecure: bool,
    /// What to log to stderr: error, warn, info, debug, or a filter
    #[arg(long, value_name = "LEVEL", env = "PARLOR_LOG", default_value = "warn")]
    log: EnvFilter,
    /// The answer of a sub-command as JSON, for programs
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<args::Command>,
}

fn any(port: u16) -> HostPort {
    HostPort { host: "0.0.0.0".to_owned(), port: Some(port) }
}

async fn resolve(address: &HostPort, default_port: u16) -> anyhow::Result<SocketAddr> {
    let port = address.port.unwrap_or(default_port);
    tokio::net::lookup_host((address.host.as_str(), port))
        .await
        .with_context(|| format!("cannot find the address of '{}'", address.host))?
        .next()
        .with_context(|| format!("'{}' has no address", address.host))
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(parsed) => parsed,
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => {
            // The first paragraph, in one line, says what is wrong; --help says the rest.
            let text = error.to_string();
            let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
            let line = lines.collect::<Vec<_>>().join(" ");
            warn(&format!("{} (try --help)", line.trim_start_matches("error: ")));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if let Some(code) = args.command.as_ref().and_then(papers) {
        return code;
    }
    let log = tracing_subscriber::fmt().with_env_filter(args.log.clone());
    log.with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr).init();
    process::keep_memory_private();
    if let Some(command) = args.command {
        return actix::System::new().block_on(command::run(command, args.state_dir, args.json));
    }
    raise_file_limit();
    actix::System::new().block_on(run(args))
}

/// Completions and manual; `None` for every other sub-command.
fn papers(command: &args::Command) -> Option<ExitCode> {
    let out = &mut std::io::stdout().lock();
    let (whole, chapters) = (Args::command(), texts::chapters());
    let done = match command {
        args::Command::Completions { shell } => manual::completions(whole, *shell, out),
        args::Command::Man { out: None } => manual::page(whole, &chapters, out),
        args::Command::Man { out: Some(directory) } => {
            manual::pages(whole, &chapters, directory).map(drop)
        }
        _ => return None,
    };
    Some(match done {
        // Whoever reads no further has seen enough.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            warn(&error.to_string());
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    })
}

async fn run(args: Args) -> ExitCode {
    let (tcp, udp) = match (resolve(&args.tcp, TCP_PORT).await, resolve(&args.udp, UDP_PORT).await)
    {
        (Ok(tcp), Ok(udp)) => (tcp, udp),
        (Err(error), _) | (_, Err(error)) => return fail(&format!("{error:#}")),
    };
    let (security, identity) = match secure(&args) {
        Ok(secured) => secured,
        Err(error) => return fail(&format!("{error:#}")),
    };
    let forwarders = args.forwarders.map(usize::from);
    let protection = if args.insecure { Protection::Plain } else { Protection::AeadAes128Gcm };
    let keeping = match keeping(&args, identity.as_ref()) {
        Ok(keeping) => keeping,
        Err(error) => return fail(&format!("{error:#}")),
    };
    let limits = match limits(&args) {
        Ok(mut limits) => {
            limits.heard_at_once = args.heard_at_once.map_or(limits.heard_at_once, usize::from);
            Arc::new(limits)
        }
        Err(error) => return fail(&format!("{error:#}")),
    };
    // Where nothing is kept, there is no directory for the control socket either. Before the store is
    // opened: a second server must not touch what the first one keeps.
    let control = match control(keeping.store.as_deref().and_then(Path::parent)) {
        Ok(control) => control,
        Err(code) => return code,
    };
    let base = ServerConfig::new(tcp, udp, forwarders);
    let config = ServerConfig { security, protection, keeping, limits, hold: args.hold, ..base };
    let server = match Server::start(config).await {
        Ok(server) => server,
        Err(error @ (StartError::Bind { .. } | StartError::Gate(_))) => {
            return fail(&error.to_string());
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "parlor-server: {error}");
            return ExitCode::from(EXIT_FAULT);
        }
    };
    if let Some(control) = control {
        server.open_control(control);
    }
    say(&format!("listening on tcp {} and udp {}", server.tcp(), server.udp()));
    match identity {
        Some((identity, fingerprint)) => {
            say(&format!("fingerprint {fingerprint}"));
            actix::spawn(identity.follow());
        }
        None => warn(INSECURE),
    }
    show_invites(&server, args.public_address.is_some());
    let (forwarders, note) = server.forwarders();
    tracing::info!(forwarders, "started");
    if let Some(note) = note {
        tracing::warn!("one forwarder instead of many: {note}");
    }
    let code = tokio::select! {
        () = stop_signal() => {
            say("stopping");
            ExitCode::SUCCESS
        }
        () = server.died() => {
            let _ = writeln!(
                std::io::stderr(),
                "parlor-server: a forwarder has ended unexpectedly; stopping"
            );
            ExitCode::from(EXIT_FAULT)
        }
    };
    server.stop().await;
    code
}

/// Where the sub-commands come in. Without them the server is still a server, unless there is
/// another in the same place.
fn control(directory: Option<&Path>) -> Result<Option<ControlSocket>, ExitCode> {
    let Some(directory) = directory else { return Ok(None) };
    match ControlSocket::bind(&directory.join(CONTROL_SOCKET_FILE)) {
        Ok(socket) => Ok(Some(socket)),
        Err(error @ ControlSocketError::Live(_)) => Err(fail(&error.to_string())),
        Err(error) => {
            warn(&format!("no sub-command will reach this server: {error}"));
            Ok(None)
        }
    }
}

/// How connections are secured, and the identity behind it with its fingerprint.
fn secure(args: &Args) -> anyhow::Result<(Security, Option<(Identity, Fingerprint)>)> {
    if args.insecure {
        return Ok((Security::Plain, None));
    }
    let source = match (&args.cert, &args.key) {
        (Some(chain), Some(key)) => Source::Files { chain: chain.clone(), key: key.clone() },
        _ if args.ephemeral => Source::Memory,
        _ => {
            let directory = args.state_dir.clone().or_else(default_state_directory);
            Source::State(directory.context(NO_HOME)?)
        }
    };
    let from_state = matches!(source, Source::State(_));
    let identity = Identity::load(source).map_err(|error| match from_state {
        true => anyhow::anyhow!("{error} (--state-dir DIR chooses another place)"),
        false => error.into(),
    })?;
    let fingerprint = identity.fingerprint()?;
    let config = tls::server_config(identity.certificates())?;
    Ok((Security::Tls(Arc::new(config)), Some((identity, fingerprint))))
}

/// What the server keeps, and where.
fn keeping(args: &Args, identity: Option<&(Identity, Fingerprint)>) -> anyhow::Result<Keeping> {
    let password = match (&args.server_password_file, std::env::var(PASSWORD_VARIABLE)) {
        (Some(path), _) => Some(password_in(path)?),
        (None, Ok(text)) => Some(
            Password::new(text).with_context(|| format!("the password in {PASSWORD_VARIABLE}"))?,
        ),
        (None, Err(_)) => None,
    };
    anyhow::ensure!(password.is_none() || !args.insecure, PASSWORD_IN_THE_OPEN);
    let store = if args.ephemeral || args.insecure {
        None
    } else {
        let directory = args.state_dir.clone().or_else(default_state_directory);
        let directory = directory.context(NO_HOME)?;
        private::make_directory(&directory)?;
        Some(directory.join(STORE_FILE))
    };
    let own_certificate = args.cert.is_some();
    let fingerprint = identity.map(|(_, fingerprint)| *fingerprint).filter(|_| !own_certificate);
    Ok(Keeping { store, password, public: args.public_address.clone(), fingerprint })
}

/// The first line of a file.
fn password_in(path: &Path) -> anyhow::Result<Password> {
    let shown = path.display();
    let text = Zeroizing::new(
        std::fs::read_to_string(path).with_context(|| format!("the password file {shown}"))?,
    );
    let line = text.lines().next().unwrap_or_default().to_owned();
    Password::new(line).with_context(|| format!("the password in {shown}"))
}

/// What the configuration file sets.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct File {
    limits: Limits,
}

fn limits(args: &Args) -> anyhow::Result<Limits> {
    let Some(path) = &args.config else { return Ok(Limits::default()) };
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the configuration {shown} cannot be read"))?;
    let file: File =
        toml::from_str(&text).with_context(|| format!("the configuration {shown} is not right"))?;
    file.limits.check().with_context(|| format!("the configuration {shown}"))?;
    Ok(file.limits)
}

/// Shows the invites of a start to whoever sits before it.
fn show_invites(server: &Server, named: bool) {
    let FirstInvites { owner, guest } = server.invites();
    if let Some(owner) = owner {
        say(&format!("to become this server's operator (once): parlor '{owner}'"));
    }
    if let Some(guest) = guest {
        say(&format!("to invite your friends: parlor '{guest}'"));
    }
    let shown = owner.as_ref().or(guest.as_ref());
    if let Some(invite) = shown.filter(|_| !named)
        && let Ok(address) = invite.server.host.parse()
        && public::reach(address) != Reach::World
    {
        say(&format!(
            "friends outside your network cannot reach {address}: \
             --public-address HOST says how they get here"
        ));
    }
}

/// As many file descriptors as the system lets us have: each client takes one.
fn raise_file_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

/// A line on stdout. That nobody reads it any more is no reason to stop serving.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A line on stderr.
fn warn(line: &str) {
    let _ = writeln!(std::io::stderr(), "parlor-server: {line}");
}

fn fail(what: &str) -> ExitCode {
    warn(what);
    ExitCode::from(EXIT_USAGE)
}

#[cfg(unix)]
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        _ => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn stop_signal() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}
