//! A member's control connection: one task that makes it, says `Hello`, carries frames both ways, and ends it as badly
//! as it is told to.

use crate::connect::{Connector, Stream};
use bytes::Bytes;
use parlor::net::device::DeviceKey;
use parlor::net::limits::CONNECT_TIMEOUT;
use parlor::net::message::{ClientMessage, Envelope, Hello, ServerMessage};
use parlor::net::{frame, tls};
use std::io::Write;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};
use tokio_util::either::Either;

/// Frames that wait for the connection. Nobody sends that many before the next look at the connection.
const ORDERS_MAX: usize = 1024;
/// A handshake that takes so long has met a server that sleeps.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(40);
/// Ghosts stay for longer than the server waits for a sign of life.
const GHOST_LIFETIME: Duration = Duration::from_secs(45);

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Closed without a word.
    Closed,
    /// Reset.
    Reset,
    /// Closed behind half a frame.
    MidFrame,
    /// Left open, and nobody there any more: until `release`.
    HalfOpen,
    /// The same, behind half a frame.
    HalfOpenMidFrame,
    /// The same, for longer than the server waits.
    Ghost,
    /// Bytes that are no TLS, from somebody on the way.
    Garbage,
}

/// To the connection's task.
enum Order {
    Send(Bytes),
    Cut(Cut),
}

/// From the connection's task.
pub enum News {
    /// A frame.
    Message(Box<Envelope<ServerMessage>>),
    /// It is over, or was never made.
    Ended(String),
}

/// Where a connection's news goes, with whose it is and which of his it is.
pub type Told<T> = mpsc::UnboundedSender<T>;

/// A connection, or one that is being made. Closed when dropped.
pub struct Link(mpsc::Sender<Order>);

impl Link {
    /// Makes one. `release` ends half-open ones.
    pub fn open<T: Send + 'static>(
        connector: Connector,
        hello: Hello,
        device: Option<DeviceKey>,
        release: watch::Receiver<u64>,
        told: Told<T>,
        wrap: impl Fn(News) -> T + Send + Sync + 'static,
    ) -> Self {
        let (orders, inbox) = mpsc::channel(ORDERS_MAX);
        tokio::spawn(async move {
            let tell = |news| {
                let _ = told.send(wrap(news));
            };
            let ended = live(connector, hello, device, release, inbox, &tell).await;
            let why = ended.map_or_else(|error| format!("{error:#}"), |()| "closed".to_owned());
            tell(News::Ended(why));
        });
        Self(orders)
    }

    /// Queues a message.
    pub fn send(&self, re: Option<u32>, body: ClientMessage) {
        if let Ok(frame) = frame::encode(&Envelope { re, body }) {
            let _ = self.0.try_send(Order::Send(frame));
        }
    }

    /// Ends it so, behind what is queued.
    pub fn cut(&self, cut: Cut) {
        let _ = self.0.try_send(Order::Cut(cut));
    }
}

async fn live(
    connector: Connector,
    mut hello: Hello,
    device: Option<DeviceKey>,
    mut release: watch::Receiver<u64>,
    mut inbox: mpsc::Receiver<Order>,
    tell: &(impl Fn(News) + Sync),
) -> anyhow::Result<()> {
    let (stream, raw) = tokio::select! {
        made = tokio::time::timeout(HANDSHAKE_PATIENCE, make(&connector)) => made??,
        () = closed(&mut inbox) => return Ok(()),
    };
    if let (Either::Right(tls), Some(device)) = (&stream, &device) {
        hello.device = tls::channel_binding(tls.get_ref().1).map(|binding| device.prove(&binding));
    }
    let (read, mut write) = tokio::io::split(stream);
    let mut frames = FramedRead::with_capacity(read, frame::codec(), 1024);
    let hello = ClientMessage::Hello(Box::new(hello));
    send(&mut write, &frame::encode(&Envelope::answer(Some(0), hello))?).await?;
    loop {
        let order = tokio::select! {
            order = inbox.recv() => order.unwrap_or(Order::Cut(Cut::Closed)),
            next = frame::next(&mut frames) => {
                let Some(next) = next else { return Ok(()) };
                tell(News::Message(Box::new(frame::decode(&next?)?)));
                continue;
            }
        };
        match order {
            Order::Send(bytes) => send(&mut write, &bytes).await?,
            Order::Cut(cut) => {
                return end(cut, frames, write, &raw, &mut release, tell).await;
            }
        }
    }
}

async fn make(connector: &Connector) -> anyhow::Result<(Stream, std::net::TcpStream)> {
    let connected = TcpStream::connect(connector.server);
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, connected).await??.into_std()?;
    let raw = stream.try_clone()?;
    Ok((connector.secure(TcpStream::from_std(stream)?).await?, raw))
}

/// Returns when nobody wants the connection any more.
async fn closed(inbox: &mut mpsc::Receiver<Order>) {
    while let Some(order) = inbox.recv().await {
        if matches!(order, Order::Cut(_)) {
            return;
        }
    }
}

async fn send(write: &mut WriteHalf<Stream>, bytes: &[u8]) -> std::io::Result<()> {
    write.write_all(bytes).await?;
    write.flush().await
}

async fn end(
    cut: Cut,
    mut frames: FramedRead<ReadHalf<Stream>, LengthDelimitedCodec>,
    mut write: WriteHalf<Stream>,
    raw: &std::net::TcpStream,
    release: &mut watch::Receiver<u64>,
    tell: &(impl Fn(News) + Sync),
) -> anyhow::Result<()> {
    if matches!(cut, Cut::MidFrame | Cut::HalfOpenMidFrame) {
        send(&mut write, b"\0\0\x01\0and no more").await?;
    }
    match cut {
        Cut::Closed | Cut::MidFrame => {}
        Cut::Reset => socket2::SockRef::from(raw).set_linger(Some(Duration::ZERO))?,
        Cut::HalfOpen | Cut::HalfOpenMidFrame => {
            tell(News::Ended("left half-open".to_owned()));
            release.mark_unchanged();
            let _ = tokio::time::timeout(GHOST_LIFETIME, release.changed()).await;
        }
        Cut::Ghost => {
            tell(News::Ended("left as a ghost".to_owned()));
            tokio::time::sleep(GHOST_LIFETIME).await;
        }
        Cut::Garbage => {
            let mut raw = raw;
            let _ = raw.write(&[0x5a; 64]);
            // It is the server's part to end this.
            while let Some(Ok(_)) = frame::next(&mut frames).await {}
        }
    }
    Ok(())
}
