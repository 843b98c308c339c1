//! TLS and identities as an attacker meets them: nobody is talked out of encryption, nobody is taken
//! for somebody else, and keys stay with their owners.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use parlor::actors::connection::door::Security;
use parlor::actors::identity::{Identity, Source};
use parlor::actors::server::{Server as InProcess, ServerConfig};
use parlor::net::clock;
use parlor::net::fingerprint::Fingerprint;
use parlor::net::limits::HALF_OPEN_MAX;
use parlor::net::tls::{self, Judge};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::Value;

use crate::support::peer::{Peer, until};
use crate::support::process::{Running, command, poll_until};
use crate::support::random::Random;
use crate::support::state;

/// How long anything may take on a loaded machine.
const SOON: Duration = Duration::from_secs(30);

struct Server {
    running: Running,
    tcp: String,
    port: String,
    fingerprint: String,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        Self::at("127.0.0.1:0", arguments)
    }

    fn at(tcp: &str, arguments: &[&str]) -> Self {
        let mut program = command(env!("CARGO_BIN_EXE_parlor-server"));
        program.args(["--tcp", tcp, "--udp", "127.0.0.1:0", "--log", "info"]).args(arguments);
        let mut running = Running::start("parlor-server", program);
        let tcp = running.wait_for("start line", SOON, |line| {
            Some(line.strip_prefix("listening on tcp ")?.split_once(" and udp ")?.0.to_owned())
        });
        let fingerprint = match arguments.contains(&"--insecure") {
            true => String::new(),
            false => running.wait_for("fingerprint", SOON, |line| {
                line.strip_prefix("fingerprint ").map(str::to_owned)
            }),
        };
        let port = tcp.rsplit_once(':').unwrap().1.to_owned();
        Self { running, tcp, port, fingerprint }
    }

    fn with_state(tcp: &str, directory: &Path) -> Self {
        Self::at(tcp, &["--state-dir", directory.to_str().unwrap()])
    }
}

fn client(server: &str, state: &Path, more: &[&str]) -> Command {
    let mut program = command(env!("CARGO_BIN_EXE_parlor"));
    program.args(["--name", "anna", "--input", "silence", "--output", "null", "--json"]);
    program.args(["--server", server]).args(more).env(state::CLIENT, state);
    program.env("LC_ALL", "C.UTF-8").env_remove("PARLOR_LOG");
    program
}

/// Waits for an event of this kind.
fn event(running: &mut Running, kind: &str) -> Value {
    running.wait_for(kind, SOON, |line| {
        let event: Value = serde_json::from_str(line).ok()?;
        (event["event"] == kind).then_some(event)
    })
}

/// A client that comes in: why it believes the server.
fn comes_in(mut program: Command) -> (Running, String) {
    program.stdin(Stdio::piped());
    let mut running = Running::start("anna", program);
    let trust = event(&mut running, "connected")["trust"].as_str().unwrap().to_owned();
    event(&mut running, "joined");
    (running, trust)
}

/// A client that must end by itself with exit code 1: the error that it ends with.
fn is_refused(mut program: Command) -> Value {
    let output = program.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let events = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut errors = events.filter(|event| event["event"] == "error");
    let error = errors.next_back().unwrap_or_else(|| panic!("no error in:\n{said}"));
    assert!(!said.contains("\"welcome\""), "{said}");
    error
}

/// Believes anyone and notes the key.
#[derive(Debug, Default)]
struct Note(Mutex<Option<Fingerprint>>);

impl Judge for Note {
    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: UnixTime,
    ) -> Result<(), rustls::Error> {
        *self.0.lock().unwrap() = Some(tls::fingerprint(end_entity)?);
        Ok(())
    }
}

/// The fingerprint that a server shows right now.
fn shown_by(server: &str) -> String {
    let note = Arc::new(Note::default());
    let config = Arc::new(tls::client_config(Arc::clone(&note)).unwrap());
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = rustls::ClientConnection::new(config, name).unwrap();
    let mut stream = TcpStream::connect(server).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).unwrap();
    }
    let shown = note.0.lock().unwrap().unwrap();
    shown.to_string()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn known_servers(state: &Path) -> String {
    std::fs::read_to_string(state.join("known_servers")).unwrap_or_default()
}

/// What a listener hears from the one client that comes to it, until that gives up.
fn overhears(listener: std::net::TcpListener) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut heard = vec![0; 5];
        stream.read_exact(&mut heard).unwrap();
        // As a server without TLS answers what it does not understand.
        let _ = stream.write_all(&[0, 0, 0, 1, 0xc0]);
        let _ = stream.read_to_end(&mut heard);
        heard
    })
}

// ---- downgrade ----------------------------------------------------------------------------

#[test]
fn a_client_is_not_talked_out_of_tls_by_a_server_that_has_none() {
    let server = Server::start(&["--insecure"]);
    let error = is_refused(client(&server.tcp, &state::fresh(), &[]));
    assert_eq!(error["code"], "no_tls");
    assert!(error["message"].as_str().unwrap().contains("--insecure"), "{error}");
}

#[test]
fn nothing_readable_is_sent_to_one_who_answers_without_tls() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let overheard = overhears(listener);
    assert_eq!(is_refused(client(&at, &state::fresh(), &[]))["code"], "no_tls");
    let heard = overheard.join().unwrap();
    assert_eq!(heard[..2], [tls::HANDSHAKE_RECORD, 3]);
    for word in [&b"anna"[..], b"hello", b"general"] {
        assert!(!heard.windows(word.len()).any(|part| part == word));
    }
}

#[test]
fn a_client_without_tls_is_told_that_the_server_needs_it() {
    let server = Server::start(&[]);
    let error = is_refused(client(&server.tcp, &state::fresh(), &["--insecure"]));
    assert_eq!(error["code"], "needs_tls");
}

#[test]
fn no_encryption_at_all_takes_the_word_of_both_ends_and_is_loud_at_both() {
    let mut server = Server::start(&["--insecure"]);
    let say = |line: &str| line.contains("INSECURE: nothing is encrypted").then_some(());
    server.running.wait_for("warning", SOON, say);
    let state = state::fresh();
    let (mut anna, trust) = comes_in(client(&server.tcp, &state, &["--insecure"]));
    assert_eq!(trust, "plain");
    let notice = event(&mut anna, "notice");
    assert_eq!(notice["code"], "unencrypted");
    assert!(!state.exists(), "no key to keep, no server to know");
}

// ---- who the server is --------------------------------------------------------------------

#[test]
fn a_server_is_remembered_at_first_use_and_known_after_both_have_started_again() {
    let (ours, its) = (state::fresh(), state::fresh());
    let server = Server::with_state("127.0.0.1:0", &its);
    let (mut anna, trust) = comes_in(client(&server.tcp, &ours, &[]));
    assert_eq!(trust, "first_use");
    assert_eq!(event(&mut anna, "new_server")["fingerprint"], server.fingerprint);
    let tcp = server.tcp.clone();
    let line = format!("{tcp} {}", server.fingerprint);
    assert!(known_servers(&ours).lines().any(|known| known == line), "{}", known_servers(&ours));
    let before = server.fingerprint.clone();
    drop((anna, server));
    let server = Server::with_state(&tcp, &its);
    assert_eq!(server.fingerprint, before);
    assert_eq!(comes_in(client(&tcp, &ours, &[])).1, "known");
}

#[test]
fn a_changed_key_is_refused_until_the_user_says_so() {
    let ours = state::fresh();
    let server = Server::start(&["--ephemeral"]);
    let (anna, _) = comes_in(client(&server.tcp, &ours, &[]));
    let (tcp, before) = (server.tcp.clone(), server.fingerprint.clone());
    drop((anna, server));
    let other = Server::at(&tcp, &["--ephemeral"]);
    assert_ne!(other.fingerprint, before);
    let error = is_refused(client(&tcp, &ours, &[]));
    assert_eq!(error["code"], "key_changed");
    let message = error["message"].as_str().unwrap();
    let file = ours.join("known_servers").display().to_string();
    for part in [&before, &other.fingerprint, &file, "line 3", "--fingerprint"] {
        assert!(message.contains(part), "no '{part}' in: {message}");
    }
    assert!(known_servers(&ours).contains(&before), "a refusal changes nothing");
    let named = client(&tcp, &ours, &["--fingerprint", &other.fingerprint]);
    assert_eq!(comes_in(named).1, "known");
    assert_eq!(comes_in(client(&tcp, &ours, &[])).1, "known");
    assert!(!known_servers(&ours).contains(&before));
}

#[test]
fn a_client_that_comes_back_to_an_impostor_ends_at_once() {
    let server = Server::start(&["--ephemeral"]);
    let (mut anna, _) = comes_in(client(&server.tcp, &state::fresh(), &[]));
    let tcp = server.tcp.clone();
    drop(server);
    event(&mut anna, "lost");
    let _impostor = Server::at(&tcp, &["--ephemeral"]);
    let error = event(&mut anna, "error");
    assert_eq!((&error["code"], &error["fatal"]), (&"key_changed".into(), &true.into()));
    assert_eq!(anna.wait_end(SOON).code(), Some(1));
}

#[test]
fn a_named_fingerprint_is_held_to_from_the_start() {
    let (server, other) = (Server::start(&["--ephemeral"]), Server::start(&["--ephemeral"]));
    let state = state::fresh();
    let named = ["--fingerprint", other.fingerprint.as_str()];
    let error = is_refused(client(&server.tcp, &state, &named));
    assert_eq!(error["code"], "other_key");
    assert!(!known_servers(&state).contains("SHA256:"));
    assert_eq!(comes_in(client(&other.tcp, &state, &named)).1, "known");
    assert!(known_servers(&state).contains(&format!("{} {}", other.tcp, other.fingerprint)));
}

// ---- certificates -------------------------------------------------------------------------

/// An authority, and the files of servers that it vouches for.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: PathBuf,
}

impl Authority {
    fn new() -> Self {
        let directory = state::fresh();
        std::fs::create_dir_all(&directory).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        std::fs::write(directory.join("root.pem"), params.self_signed(&key).unwrap().pem())
            .unwrap();
        Self { issuer: Issuer::new(params, key), directory }
    }

    fn file(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// Writes (or renews) the server's files: its new fingerprint.
    fn vouch(&self, name: &str) -> String {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        parlor::net::private::replace(
            Path::new(&self.file("cert.pem")),
            certificate.pem().as_bytes(),
        )
        .unwrap();
        let pem = key.serialize_pem();
        parlor::net::private::replace(Path::new(&self.file("key.pem")), pem.as_bytes()).unwrap();
        tls::fingerprint(certificate.der()).unwrap().to_string()
    }

    fn server(&self) -> Server {
        Server::start(&["--cert", &self.file("cert.pem"), "--key", &self.file("key.pem")])
    }

    fn client(&self, server: &str, state: &Path) -> Command {
        let mut program = client(server, state, &[]);
        program.env("SSL_CERT_FILE", self.file("root.pem")).env_remove("SSL_CERT_DIR");
        program
    }
}

#[test]
fn a_certificate_is_accepted_for_its_own_host_and_refused_for_another() {
    let authority = Authority::new();
    let print = authority.vouch("localhost");
    let server = authority.server();
    assert_eq!(server.fingerprint, print);
    let state = state::fresh();
    let own = format!("localhost:{}", server.port);
    let (_anna, trust) = comes_in(authority.client(&own, &state));
    assert_eq!(trust, "certificate");
    assert!(known_servers(&state).contains(&format!("{own} ca\n")), "{}", known_servers(&state));
    let error = is_refused(authority.client(&server.tcp, &state));
    assert_eq!(error["code"], "certificate_for_others");
    // Whose system does not trust the authority has been told of a certificate, and gets none.
    let error = is_refused(client(&own, &state, &[]));
    assert_eq!(error["code"], "certificate_lost");
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_is_not() {
    let authority = Authority::new();
    let first = authority.vouch("localhost");
    let mut server = authority.server();
    let state = state::fresh();
    let own = format!("localhost:{}", server.port);
    let (mut anna, _) = comes_in(authority.client(&own, &state));
    assert_eq!(shown_by(&server.tcp), first);
    let shows = |server: &Server, print: &str| {
        let found =
            poll_until(clock::now() + SOON, || (shown_by(&server.tcp) == print).then_some(()));
        found.unwrap_or_else(|| panic!("{print} is never shown"));
    };
    let second = authority.vouch("localhost");
    shows(&server, &second);
    std::fs::write(authority.file("cert.pem"), "no certificate at all").unwrap();
    let told = |line: &str| line.contains("the one before stays").then(|| line.to_owned());
    let why = server.running.wait_for("warning", SOON, told);
    assert!(why.contains("holds no certificate"), "{why}");
    assert_eq!(shown_by(&server.tcp), second);
    let third = authority.vouch("localhost");
    shows(&server, &third);
    // Who was there all the time is still there, and a new key behind a good certificate is no matter.
    anna.type_line("/list");
    event(&mut anna, "rooms");
    drop(anna);
    assert_eq!(comes_in(authority.client(&own, &state)).1, "certificate");
}

// ---- keys and their files -----------------------------------------------------------------

#[test]
fn keys_are_for_their_owners_alone_and_those_that_were_not_are_refused() {
    let (ours, its) = (state::fresh(), state::fresh());
    let server = Server::with_state("127.0.0.1:0", &its);
    drop(comes_in(client(&server.tcp, &ours, &[])));
    let (device, key) = (ours.join("device.key"), its.join("key.pem"));
    assert_eq!((mode(&ours), mode(&its)), (0o700, 0o700));
    assert_eq!((mode(&device), mode(&key)), (0o600, 0o600));
    assert_eq!(mode(&ours.join("known_servers")), 0o600);
    for file in [&device, &key] {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    let mut again = command(env!("CARGO_BIN_EXE_parlor-server"));
    again.args(["--tcp", "127.0.0.1:0", "--udp", "127.0.0.1:0"]).env(state::SERVER, &its);
    for mut program in [again, client(&server.tcp, &ours, &[])] {
        let output = program.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("chmod 600") && said.trim().lines().count() == 1, "{said}");
    }
}

#[test]
fn an_ephemeral_server_writes_nothing_anywhere() {
    let (home, state) = (state::fresh(), state::fresh());
    std::fs::create_dir_all(&home).unwrap();
    let mut program = command(env!("CARGO_BIN_EXE_parlor-server"));
    program.args(["--tcp", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--ephemeral"]);
    program.env(state::SERVER, &state).env("HOME", &home).current_dir(&home);
    for variable in ["XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
        program.env_remove(variable);
    }
    let mut running = Running::start("parlor-server", program);
    let tcp = running.wait_for("start line", SOON, |line| {
        Some(line.strip_prefix("listening on tcp ")?.split_once(" and udp ")?.0.to_owned())
    });
    drop(comes_in(client(&tcp, &state::fresh(), &[])));
    running.terminate();
    assert!(running.wait_end(SOON).success());
    assert!(!state.exists());
    assert_eq!(std::fs::read_dir(&home).unwrap().count(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn neither_program_leaves_a_core_file() {
    let server = Server::start(&["--ephemeral"]);
    let (anna, _) = comes_in(client(&server.tcp, &state::fresh(), &[]));
    for running in [&server.running, &anna] {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", running.pid())).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        let words: Vec<&str> = core.split_whitespace().skip(4).collect();
        assert_eq!(words, ["0", "0", "bytes"], "{core}");
    }
}

// ---- hostile handshakes -------------------------------------------------------------------

async fn in_process() -> InProcess {
    let any = "127.0.0.1:0".parse().unwrap();
    let identity = Identity::load(Source::Memory).unwrap();
    let security = Security::Tls(Arc::new(tls::server_config(identity.certificates()).unwrap()));
    let config = ServerConfig { security, ..ServerConfig::new(any, any, Some(1)) };
    InProcess::start(config).await.unwrap()
}

async fn honest(server: &InProcess, name: &str) -> Peer {
    let config = Arc::new(tls::client_config(Arc::new(Note::default())).unwrap());
    let stream = tokio::net::TcpStream::connect(server.tcp()).await.unwrap();
    let host = ServerName::try_from("localhost").unwrap();
    let stream = tokio_rustls::TlsConnector::from(config).connect(host, stream).await.unwrap();
    Peer::over(Box::new(stream), server.udp(), name, None).await.unwrap()
}

#[actix::test]
async fn garbage_and_truncated_handshakes_disturb_nobody() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = in_process().await;
    let mut anna = honest(&server, "anna").await;
    anna.join("hall").await;
    let mut random = Random::from_env(11);
    for round in 0..100 {
        let mut stream = tokio::net::TcpStream::connect(server.tcp()).await.unwrap();
        let mut bytes: Vec<u8> = (0..random.below(3000)).map(|_| random.next() as u8).collect();
        // Most of them look like the record of a handshake, of some length.
        let length = u16::try_from(random.below(0x4100)).unwrap().to_be_bytes();
        if round % 4 != 0 {
            bytes.splice(0..0, [tls::HANDSHAKE_RECORD, 3, 1, length[0], length[1]]);
        }
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
        anna.catch_up().await;
    }
    until("nothing is left of them", || async { server.census().await == (1, 1, 1) }).await;
    server.stop().await;
}

#[actix::test]
async fn handshakes_that_are_never_finished_keep_nobody_out() {
    use tokio::io::AsyncWriteExt;
    let server = in_process().await;
    let mut idlers = Vec::new();
    for k in 0..3 * HALF_OPEN_MAX {
        let mut idler = tokio::net::TcpStream::connect(server.tcp()).await.unwrap();
        // A third says nothing, a third begins a record, a third begins a plain frame.
        match k % 3 {
            0 => {}
            1 => idler.write_all(&[tls::HANDSHAKE_RECORD, 3, 1, 2, 0]).await.unwrap(),
            _ => idler.write_all(&[0, 0, 1]).await.unwrap(),
        }
        idlers.push(idler);
        if k % 500 == 499 {
            honest(&server, &format!("honest {k}")).await.join("hall").await;
        }
    }
    until("the oldest are gone", || async { server.census().await.2 <= HALF_OPEN_MAX + 5 }).await;
    honest(&server, "last").await.join("hall").await;
    server.stop().await;
}
