//! Making the connection with TLS: the server is judged in the middle of the handshake, before
//! anything of ours is sent, and what is to be remembered of it is written down before it is used.

use super::{DialError, Dialed, Dialer, Target, TcpDialer, connect_in_time, plain};
use crate::client::event::LocalError;
use crate::client::state::{ClientState, StateError};
use crate::client::trust::{Accepted, Expect, Memory, Refusal, ServerId, Shown, Vouched, judge};
use crate::net::limits::HANDSHAKE_TIMEOUT;
use crate::net::tls::{self, Judge};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, Error, RootCertStore};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Names of other hosts in a certificate that are told.
const NAMES_TOLD_MAX: usize = 5;

/// TCP, and TLS inside it.
#[derive(Debug, Clone)]
pub struct TlsDialer {
    /// The server.
    pub target: TcpDialer,
    /// What is known of its key beforehand.
    pub expect: Expect,
    /// Where known servers are remembered.
    pub state: ClientState,
    /// Who may vouch for a certificate.
    pub authorities: Arc<Authorities>,
}

/// The authorities that this system trusts, read at first need.
#[derive(Debug, Default)]
pub struct Authorities(OnceLock<Option<Arc<WebPkiServerVerifier>>>);

impl Authorities {
    /// Reads the system's list; blocks. `None` where there is none.
    fn verifier(&self) -> Option<Arc<WebPkiServerVerifier>> {
        let read = || {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::info!(%error, "some of the system's authorities cannot be read");
            }
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(found.certs);
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), tls::provider())
                .build()
                .ok()
        };
        self.0.get_or_init(read).clone()
    }
}

impl Dialer for TlsDialer {
    type Stream = TlsStream<TcpStream>;

    fn dial(&self) -> impl Future<Output = Result<Dialed<Self::Stream>, DialError>> + 'static {
        let dialer = self.clone();
        async move {
            let (host, port) = (dialer.target.host.clone(), dialer.target.port);
            let (stream, address) = connect_in_time(host, port).await?;
            dialer.secure(stream, address).await
        }
    }

    /// Asks for the target's key, if one is named, but never in the place of another that is remembered.
    fn retarget(&mut self, target: Target) {
        let expect = |fingerprint| Expect::Key { fingerprint, from_now_on: false };
        self.expect = target.fingerprint.map_or(Expect::Nothing, expect);
        self.target.retarget(target);
    }
}

impl TlsDialer {
    /// The handshake over a connection that stands.
    async fn secure<S>(
        &self,
        stream: S,
        address: SocketAddr,
    ) -> Result<Dialed<TlsStream<S>>, DialError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // The zone of a link-local address (RFC 4007) is this machine's own affair.
        let host = self.target.host.split('%').next().unwrap_or_default().to_owned();
        let name = ServerName::try_from(host)
            .map_err(|_| DialError::Unreachable("a server's name does not look so".to_owned()))?;
        let judgement = Arc::new(self.judgement().await?);
        let config = tls::client_config(Arc::clone(&judgement))
            .map_err(|error| DialError::Unreachable(error.to_string()))?;
        let connector = TlsConnector::from(Arc::new(config));
        let stream = match timeout(HANDSHAKE_TIMEOUT, connector.connect(name, stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                return Err(match judgement.verdict() {
                    Some((_, Err(refusal))) => self.untrusted(&refusal),
                    _ => self.failed(&error),
                });
            }
            Err(_) => {
                let why = format!("no TLS handshake within {} s", HANDSHAKE_TIMEOUT.as_secs());
                return Err(DialError::Unreachable(why));
            }
        };
        let connection = stream.get_ref().1;
        if connection.alpn_protocol() != Some(tls::ALPN) {
            let why = "it speaks TLS, and something else inside".to_owned();
            return Err(self.error(LocalError::NotParlor, [("why", why)]));
        }
        let binding = tls::channel_binding(connection);
        let Some((shown, Ok(_))) = judgement.verdict() else {
            return Err(DialError::Unreachable("it showed no certificate".to_owned()));
        };
        let Accepted { trust, .. } = self.settle(shown).await?;
        Ok(Dialed { stream, address, binding, trust })
    }

    fn id(&self) -> ServerId {
        ServerId::new(&self.target.host, self.target.port)
    }

    async fn judgement(&self) -> Result<Judgement, DialError> {
        let dialer = self.clone();
        // Files, off this thread.
        let prepared = tokio::task::spawn_blocking(move || {
            let memory = dialer.state.recall(&dialer.id())?;
            Ok::<_, StateError>((memory, dialer.authorities.verifier()))
        });
        let (memory, authorities) = self.blocking(prepared).await?;
        Ok(Judgement { expect: self.expect, memory, authorities, verdict: Mutex::default() })
    }

    /// Judges once more, by what is written down now, and writes down what is new.
    async fn settle(&self, shown: Shown) -> Result<Accepted, DialError> {
        let dialer = self.clone();
        let settled = tokio::task::spawn_blocking(move || {
            dialer.state.settle(&dialer.id(), dialer.expect, &shown)
        });
        self.blocking(settled).await?.map_err(|refusal| self.untrusted(&refusal))
    }

    async fn blocking<T>(
        &self,
        work: tokio::task::JoinHandle<Result<T, StateError>>,
    ) -> Result<T, DialError> {
        match work.await {
            Ok(done) => {
                done.map_err(|error| self.error(LocalError::State, [("why", error.to_string())]))
            }
            Err(error) => Err(DialError::Unreachable(error.to_string())),
        }
    }

    fn error<const N: usize>(&self, code: LocalError, args: [(&str, String); N]) -> DialError {
        let server = ("server".to_owned(), self.target.label());
        let args = args.into_iter().map(|(key, value)| (key.to_owned(), value));
        let args: BTreeMap<String, String> = args.chain([server]).collect();
        DialError::Untrusted { code, args }
    }

    /// A refused server, with all that the user needs to decide what to do.
    fn untrusted(&self, refusal: &Refusal) -> DialError {
        let file = || ("file", self.state.known_servers().display().to_string());
        match refusal {
            Refusal::KeyChanged { known, shown, line, vouched } => self.error(
                LocalError::KeyChanged,
                [
                    ("old", known.to_string()),
                    ("new", shown.to_string()),
                    file(),
                    ("line", line.to_string()),
                    ("vouched", vouched.to_string()),
                ],
            ),
            Refusal::OtherKey { expected, shown } => self.error(
                LocalError::OtherKey,
                [("expected", expected.to_string()), ("new", shown.to_string())],
            ),
            Refusal::CertificateLost { why, shown, line } => self.error(
                LocalError::CertificateLost,
                [
                    ("why", why.clone()),
                    ("new", shown.to_string()),
                    file(),
                    ("line", line.to_string()),
                ],
            ),
            Refusal::CertificateForOthers(names) => {
                self.error(LocalError::CertificateForOthers, [("names", names.clone())])
            }
            Refusal::Unknown { why, shown } => {
                let args = [("why", why.clone()), ("new", shown.to_string())];
                self.error(LocalError::NotVouched, args)
            }
            Refusal::Damaged { line } => {
                self.error(LocalError::KnownServersDamaged, [file(), ("line", line.to_string())])
            }
        }
    }

    fn failed(&self, error: &io::Error) -> DialError {
        if tls::is_no_tls(error) {
            return self.error(LocalError::NoTls, []);
        }
        let why = match tls::tls_error(error) {
            Some(error) => format!("the TLS handshake failed ({error})"),
            None => format!("in the TLS handshake, {}", plain(error)),
        };
        DialError::Unreachable(why)
    }
}

/// Judges the server of one handshake, and keeps the verdict.
#[derive(Debug)]
struct Judgement {
    expect: Expect,
    memory: Memory,
    authorities: Option<Arc<WebPkiServerVerifier>>,
    verdict: Mutex<Option<(Shown, Result<Accepted, Refusal>)>>,
}

impl Judgement {
    fn verdict(&self) -> Option<(Shown, Result<Accepted, Refusal>)> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn ask_authorities(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Vouched {
        let Some(authorities) = &self.authorities else {
            return Vouched::No("this system has no list of authorities".to_owned());
        };
        let asked = authorities.verify_server_cert(end_entity, intermediates, name, &[], now);
        match asked.map_err(|error| error_words(&error)) {
            Ok(_) => Vouched::Yes,
            Err(vouched) => vouched,
        }
    }
}

impl Judge for Judgement {
    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let fingerprint = tls::fingerprint(end_entity)?;
        let vouched = self.ask_authorities(end_entity, intermediates, name, now);
        let shown = Shown { fingerprint, vouched };
        let verdict = judge(self.expect, &self.memory, &shown);
        let believed = verdict.is_ok();
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some((shown, verdict));
        match believed {
            true => Ok(()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }
}

/// Why authorities do not vouch for a certificate. The name is looked at last: a certificate for
/// other names is otherwise good.
fn error_words(error: &Error) -> Vouched {
    let Error::InvalidCertificate(error) = error else { return Vouched::No(error.to_string()) };
    Vouched::No(match error {
        CertificateError::NotValidForName => return Vouched::ForOthers(String::new()),
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names = presented.iter().take(NAMES_TOLD_MAX).map(|name| {
                let bare = name.strip_prefix("DnsName(\"").and_then(|n| n.strip_suffix("\")"));
                bare.unwrap_or(name).to_owned()
            });
            return Vouched::ForOthers(names.collect::<Vec<_>>().join(", "));
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet; perhaps the clock of this machine is wrong".to_owned()
        }
        CertificateError::UnknownIssuer => {
            "no authority that this system trusts vouches for it".to_owned()
        }
        error => error.to_string(),
    })
}

#[cfg(test)]
mod tests;
