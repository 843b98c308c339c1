//! Control connections to the server under load: with TLS, or plain.

use anyhow::Context;
use parlor::net::tls::{self, Judge};
use rustls::Error;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

/// A control connection.
pub type Stream = Either<TcpStream, TlsStream<TcpStream>>;

/// Makes control connections to one server.
#[derive(Clone)]
pub struct Connector {
    /// Where it is.
    pub server: SocketAddr,
    tls: Option<TlsConnector>,
}

/// Whoever answers on this machine is the server that was named: nothing of worth is sent to it.
#[derive(Debug)]
struct Anyone;

impl Judge for Anyone {
    fn judge(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _now: UnixTime,
    ) -> Result<(), Error> {
        Ok(())
    }
}

impl Connector {
    /// Makes them to this server.
    pub fn new(server: SocketAddr, insecure: bool) -> anyhow::Result<Self> {
        let tls = match insecure {
            true => None,
            false => Some(TlsConnector::from(Arc::new(tls::client_config(Arc::new(Anyone))?))),
        };
        Ok(Self { server, tls })
    }

    /// Makes one.
    pub async fn connect(&self) -> anyhow::Result<Stream> {
        let stream = TcpStream::connect(self.server).await.context("cannot connect")?;
        self.secure(stream).await
    }

    /// Does the handshake over a connection that stands.
    pub async fn secure(&self, stream: TcpStream) -> anyhow::Result<Stream> {
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Either::Left(stream)) };
        let name = ServerName::from(self.server.ip());
        let stream =
            tls.connect(name, stream).await.context("no TLS; is the server --insecure?")?;
        Ok(Either::Right(stream))
    }
}
