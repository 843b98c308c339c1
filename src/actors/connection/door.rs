//! The door: what happens to a connection before its first frame.
//!
//! With TLS that is the handshake, within one time limit for all of it, and in a place among the
//! half-open connections: whoever holds one open without getting on loses it to the next who comes.
//! Who does not speak TLS at all is told so in his own words.

use super::{Caller, Reception, serve};
use crate::net::device::ChannelBinding;
use crate::net::frame;
use crate::net::limits::{FRAME_BYTES_MAX, GOODBYE_TIMEOUT, HANDSHAKE_TIMEOUT};
use crate::net::message::{ClientMessage, Envelope, ErrorCode, ServerMessage};
use crate::net::tls;
use rustls::ServerConfig;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::codec::FramedRead;

/// How control connections are secured.
#[derive(Debug, Clone, Default)]
pub enum Security {
    /// Not at all: everyone on the way can read and change what passes.
    #[default]
    Plain,
    /// With TLS.
    Tls(Arc<ServerConfig>),
}

/// Serves a connection from its first byte to its last.
pub async fn open<S>(reception: Rc<Reception>, security: Security, stream: S, caller: Caller)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let Some((_counted, crowded)) = reception.count_from(caller.address) else { return };
    let caller = Caller { crowded, ..caller };
    let Security::Tls(config) = security else { return serve(reception, stream, caller).await };
    let Some((stream, binding)) = admit(&reception, config, stream, &caller).await else { return };
    serve(reception, stream, Caller { binding, ..caller }).await;
}

/// The handshake, in a place among the half-open connections. `None`: it has failed, or took too
/// long, or the place was lost.
async fn admit<S>(
    reception: &Reception,
    config: Arc<ServerConfig>,
    stream: S,
    caller: &Caller,
) -> Option<(TlsStream<Rewound<S>>, Option<ChannelBinding>)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let _open = reception.count();
    let (ticket, evicted) = reception.knock(caller.address);
    let may = || reception.may_shake_hands(caller.address);
    let outcome = tokio::select! {
        biased;
        _ = evicted => None,
        outcome = timeout(HANDSHAKE_TIMEOUT, secure(config, stream, may)) => Some(outcome),
    };
    reception.half_open.borrow_mut().remove(&ticket);
    match outcome? {
        Ok(Ok(stream)) => {
            let binding = tls::channel_binding(stream.get_ref().1);
            Some((stream, binding))
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "a handshake has failed");
            None
        }
        Err(_) => {
            tracing::debug!("a handshake took too long");
            None
        }
    }
}

async fn secure<S>(
    config: Arc<ServerConfig>,
    mut stream: S,
    may: impl FnOnce() -> bool,
) -> io::Result<TlsStream<Rewound<S>>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let first = stream.read_u8().await?;
    let stream = Rewound { first: Some(first), stream };
    if first == tls::HANDSHAKE_RECORD {
        // Only now: what costs this thread its time is the handshake.
        if !may() {
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, "too many from there"));
        }
        return TlsAcceptor::from(config).accept(stream).await;
    }
    refuse_plain(stream).await?;
    Err(io::Error::new(io::ErrorKind::InvalidData, "it does not speak TLS"))
}

/// Answers a client that greets without TLS; anyone else gets no answer.
async fn refuse_plain<S: AsyncRead + AsyncWrite + Unpin>(stream: Rewound<S>) -> io::Result<()> {
    let mut frames = FramedRead::with_capacity(stream, frame::codec(), FIRST_FRAME_BYTES);
    let Some(Ok(first)) = frame::next(&mut frames).await else { return Ok(()) };
    let Ok(Envelope { re, body: ClientMessage::Hello(_) }) = frame::decode_from_client(&first)
    else {
        return Ok(());
    };
    let answer = Envelope { re, body: ServerMessage::error(ErrorCode::NeedsTls, []) };
    let Ok(bytes) = frame::encode(&answer) else { return Ok(()) };
    let mut stream = frames.into_inner();
    stream.write_all(&bytes).await?;
    stream.shutdown().await?;
    // Closing with bytes unread would take the answer back (RFC 1122, 4.2.2.13).
    let mut rest = stream.take(FRAME_BYTES_MAX as u64);
    let _ = timeout(GOODBYE_TIMEOUT, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    Ok(())
}

/// Read buffer for a greeting at first; it grows to a frame when it must.
const FIRST_FRAME_BYTES: usize = 512;

/// A stream whose first byte was looked at, and comes again.
#[derive(Debug)]
pub struct Rewound<S> {
    first: Option<u8>,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() > 0
            && let Some(first) = self.first.take()
        {
            buffer.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
