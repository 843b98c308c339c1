//! Making the connection: names resolved, every address tried, IPv6 and IPv4; then TLS, unless it
//! is to be plain.

use crate::client::event::LocalError;
use crate::net::address::HostPort;
use crate::net::device::ChannelBinding;
use crate::net::fingerprint::Fingerprint;
use crate::net::limits::{ADDRESSES_TRIED_MAX, CONNECT_TIMEOUT};
use crate::net::stream_voice;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

pub use tls::{Authorities, TlsDialer};

/// Head start of one address before the next is tried beside it (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Makes connections of some kind; the control actor asks again after every loss.
pub trait Dialer: Unpin + 'static {
    /// What it makes.
    type Stream: AsyncRead + AsyncWrite + Send + 'static;

    /// Makes one.
    fn dial(&self) -> impl Future<Output = Result<Dialed<Self::Stream>, DialError>> + 'static;

    /// From now on, makes them to this server.
    fn retarget(&mut self, target: Target);
}

/// A server to go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name or address.
    pub host: String,
    /// Port of the control connection.
    pub port: u16,
    /// The key that it must have; what is known of it decides if left out.
    pub fingerprint: Option<Fingerprint>,
}

impl Target {
    /// The server as people write it.
    #[must_use]
    pub fn label(&self) -> String {
        HostPort { host: self.host.clone(), port: Some(self.port) }.to_string()
    }
}

/// A connection that stands.
#[derive(Debug)]
pub struct Dialed<S> {
    /// What is read and written.
    pub stream: S,
    /// The server's address; voice goes to the same host.
    pub address: SocketAddr,
    /// What binds a device's proof to it; only inside TLS.
    pub binding: Option<ChannelBinding>,
    /// Why the server is believed.
    pub trust: Trust,
}

/// Why a server is believed to be the one that was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// It is not: nothing is encrypted.
    Plain,
    /// Its key is the one that it had before, or that the user named.
    Known,
    /// Never seen before: its key is remembered from now on.
    FirstUse(Fingerprint),
    /// A certificate authority vouches for its name.
    Certificate,
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialError {
    /// Nothing answers, or it breaks off; for people. Worth another attempt.
    Unreachable(String),
    /// What answers is not to be trusted: not worth another attempt.
    Untrusted {
        /// Why.
        code: LocalError,
        /// What the error is worded with.
        args: BTreeMap<String, String>,
    },
}

/// Plain TCP.
#[derive(Debug, Clone)]
pub struct TcpDialer {
    /// Name or address.
    pub host: String,
    /// Port of the control connection.
    pub port: u16,
}

impl TcpDialer {
    /// The server as people write it.
    #[must_use]
    pub fn label(&self) -> String {
        HostPort { host: self.host.clone(), port: Some(self.port) }.to_string()
    }
}

impl Dialer for TcpDialer {
    type Stream = TcpStream;

    fn dial(&self) -> impl Future<Output = Result<Dialed<TcpStream>, DialError>> + 'static {
        let (host, port) = (self.host.clone(), self.port);
        async move {
            let (stream, address) = connect_in_time(host, port).await?;
            Ok(Dialed { stream, address, binding: None, trust: Trust::Plain })
        }
    }

    /// A key cannot be asked of a plain connection: [`Trust::Plain`] says so, and no secret is sent.
    fn retarget(&mut self, target: Target) {
        (self.host, self.port) = (target.host, target.port);
    }
}

/// Plain or with TLS, as the user wants it. Neither ever takes the place of the other.
#[derive(Debug, Clone)]
pub enum ServerDialer {
    /// Plain TCP.
    Plain(TcpDialer),
    /// With TLS.
    Tls(TlsDialer),
}

impl ServerDialer {
    /// The server as people write it.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Plain(dialer) => dialer.label(),
            Self::Tls(dialer) => dialer.target.label(),
        }
    }
}

impl Dialer for ServerDialer {
    type Stream = Either<TcpStream, TlsStream<TcpStream>>;

    fn dial(&self) -> impl Future<Output = Result<Dialed<Self::Stream>, DialError>> + 'static {
        let dialer = self.clone();
        async move {
            Ok(match dialer {
                Self::Plain(dialer) => dialer.dial().await?.map(Either::Left),
                Self::Tls(dialer) => dialer.dial().await?.map(Either::Right),
            })
        }
    }

    fn retarget(&mut self, target: Target) {
        match self {
            Self::Plain(dialer) => dialer.retarget(target),
            Self::Tls(dialer) => dialer.retarget(target),
        }
    }
}

impl<S> Dialed<S> {
    fn map<T>(self, wrap: impl FnOnce(S) -> T) -> Dialed<T> {
        let Self { stream, address, binding, trust } = self;
        Dialed { stream: wrap(stream), address, binding, trust }
    }
}

async fn connect_in_time(host: String, port: u16) -> Result<(TcpStream, SocketAddr), DialError> {
    match timeout(CONNECT_TIMEOUT, connect(host, port)).await {
        Ok(result) => result.map_err(DialError::Unreachable),
        Err(_) => {
            let why = format!("no answer within {} s", CONNECT_TIMEOUT.as_secs());
            Err(DialError::Unreachable(why))
        }
    }
}

async fn connect(host: String, port: u16) -> Result<(TcpStream, SocketAddr), String> {
    let found = lookup_host((host.as_str(), port))
        .await
        .map_err(|error| format!("the name '{host}' cannot be resolved: {}", plain(&error)))?;
    let addresses: Vec<SocketAddr> = found.take(ADDRESSES_TRIED_MAX).collect();
    race(interleaved(addresses)).await
}

/// IPv6 and IPv4 in turn, so that a family that leads nowhere costs one head start, not all.
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut second = second.into_iter();
    let mut mixed = Vec::new();
    for address in first {
        mixed.push(address);
        mixed.extend(second.next());
    }
    mixed.extend(second);
    mixed
}

async fn race(addresses: Vec<SocketAddr>) -> Result<(TcpStream, SocketAddr), String> {
    let mut waiting = addresses.into_iter();
    let mut running = JoinSet::new();
    let mut last = "the name has no address".to_owned();
    let mut start_next = true;
    loop {
        if start_next {
            match waiting.next() {
                Some(address) => {
                    running.spawn(async move { (address, TcpStream::connect(address).await) });
                }
                None if running.is_empty() => return Err(last),
                None => {}
            }
        }
        match timeout(HEAD_START, running.join_next()).await {
            Ok(Some(Ok((address, Ok(stream))))) => {
                // Control messages are small and wanted at once.
                stream_voice::tune(&stream);
                return Ok((stream, address));
            }
            Ok(Some(Ok((_, Err(error))))) => last = plain(&error),
            Ok(Some(Err(error))) => last = error.to_string(),
            Ok(None) | Err(_) => {}
        }
        start_next = true;
    }
}

/// An error of the system in plain words.
#[must_use]
pub fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nothing listens there".to_owned(),
        io::ErrorKind::TimedOut => "no answer".to_owned(),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "there is no way to it".to_owned()
        }
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "the other end broke it off".to_owned()
        }
        io::ErrorKind::UnexpectedEof => "it ended in the middle of a message".to_owned(),
        _ => {
            let text = error.to_string();
            let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
            text.split(" (os error").next().unwrap_or(text).to_owned()
        }
    }
}

mod tls;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        let all = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"].map(parse).to_vec();
        let mixed = interleaved(all);
        assert_eq!(mixed, ["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"].map(parse));
    }

    #[tokio::test]
    async fn the_second_address_answers_where_the_first_does_not() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = listener.local_addr().unwrap();
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nowhere = closed.local_addr().unwrap();
        drop(closed);
        let (_stream, address) = race(vec![nowhere, there]).await.unwrap();
        assert_eq!(address, there);
        assert_eq!(race(vec![nowhere]).await.unwrap_err(), "nothing listens there");
        assert!(race(vec![]).await.is_err());
    }
}
