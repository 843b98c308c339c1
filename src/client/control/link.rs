//! One control connection: its bytes to messages, messages to bytes. Owned by the control actor.
//!
//! Messages go into the actor's mailbox one at a time, each awaited, so that a server cannot fill
//! it. Voice goes past the actor, both ways, and past messages that wait: each has its turn, and
//! voice that has waited too long is dropped.

use super::core::Input;
use super::dial::plain;
use crate::client::event::{Event, LossCause};
use crate::client::voice::VoiceHandle;
use crate::net::limits::{
    BYE_TIMEOUT, CLIENT_EVENTS_SPARE, OUTBOX_FRAMES_MAX, WRITE_PIECE_BYTES, WRITE_STALL_MAX,
};
use crate::net::message::{Envelope, ServerMessage};
use crate::net::stream_voice::StreamVoice;
use crate::net::{clock, frame};
use bytes::Bytes;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::codec::FramedRead;

/// How often a reader that waits for the console says so.
const NOT_READ_INTERVAL: Duration = Duration::from_secs(1);

/// Sends input to the actor, in order, and waits until it is dealt with. False: the actor is gone.
pub trait Deliver: Clone + 'static {
    /// Delivers one.
    fn deliver(&self, input: Input) -> impl Future<Output = bool>;
}

/// Voice on its way to the writer of one connection. Clones lead to the same queue.
#[derive(Debug, Clone, Default)]
pub struct VoiceLane(Rc<Lane>);

#[derive(Debug, Default)]
struct Lane {
    queue: RefCell<StreamVoice>,
    wake: Notify,
}

impl VoiceLane {
    /// Queues a frame whose voice is from `at`.
    pub fn push(&self, frame: Bytes, at: Instant) {
        self.0.queue.borrow_mut().push(frame, at);
        self.0.wake.notify_one();
    }

    /// Frames dropped because they were stale or too many.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.queue.borrow().dropped()
    }

    fn pop(&self) -> Option<Bytes> {
        self.0.queue.borrow_mut().pop(clock::now())
    }

    /// Returns when something may have been pushed.
    async fn pushed(&self) {
        self.0.wake.notified().await;
    }
}

/// A running connection. Dropping it ends the reader; what was queued is still written.
#[derive(Debug)]
pub struct Link {
    frames: mpsc::Sender<Bytes>,
    voice: VoiceLane,
    reader: JoinHandle<()>,
    writer: Option<JoinHandle<()>>,
}

impl Link {
    /// Starts to read and write `stream`.
    pub fn start<S, D>(
        stream: S,
        deliver: D,
        events: mpsc::Sender<Event>,
        voice: VoiceHandle,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + 'static,
        D: Deliver,
    {
        let (read, write) = tokio::io::split(stream);
        let (frames, queued_frames) = mpsc::channel(OUTBOX_FRAMES_MAX);
        let lane = VoiceLane::default();
        let queued_voice = lane.clone();
        let reader = actix_rt::spawn(read_all(read, deliver.clone(), events, voice));
        let writer = actix_rt::spawn(async move {
            if let Err(error) = write_all(write, queued_frames, queued_voice).await {
                let detail = plain(&error);
                deliver.deliver(Input::Ended { cause: LossCause::Failed, detail }).await;
            }
        });
        Self { frames, voice: lane, reader, writer: Some(writer) }
    }

    /// Queues a frame. False: the connection takes nothing any more.
    #[must_use]
    pub fn send(&self, frame: Bytes) -> bool {
        self.frames.try_send(frame).is_ok()
    }

    /// Where voice for the server goes.
    #[must_use]
    pub fn voice(&self) -> VoiceLane {
        self.voice.clone()
    }

    /// Writes what is queued and closes, within a bound.
    pub fn finish(mut self) -> impl Future<Output = ()> {
        let writer = self.writer.take();
        drop(self);
        async move {
            if let Some(writer) = writer {
                let _ = timeout(BYE_TIMEOUT, writer).await;
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read_all<S, D>(
    read: ReadHalf<S>,
    deliver: D,
    events: mpsc::Sender<Event>,
    voice: VoiceHandle,
) where
    S: AsyncRead,
    D: Deliver,
{
    let mut frames = FramedRead::new(read, frame::codec());
    loop {
        // A console that is behind slows the server down instead of filling our memory.
        while let Err(_late) =
            timeout(NOT_READ_INTERVAL, events.reserve_many(CLIENT_EVENTS_SPARE)).await
        {
            deliver.deliver(Input::NotRead).await;
        }
        let input = match frame::next(&mut frames).await {
            Some(Ok(frame)) => match frame::decode::<Envelope<ServerMessage>>(&frame) {
                Ok(Envelope { body: ServerMessage::Voice { packet }, .. }) => {
                    voice.from_server(packet);
                    continue;
                }
                Ok(message) => Input::Message(message),
                Err(error) => Input::Ended { cause: LossCause::Garbled, detail: error.to_string() },
            },
            Some(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                Input::Ended { cause: LossCause::Garbled, detail: error.to_string() }
            }
            Some(Err(error)) => Input::Ended { cause: LossCause::Failed, detail: plain(&error) },
            None => Input::Ended { cause: LossCause::Closed, detail: String::new() },
        };
        let ended = matches!(input, Input::Ended { .. });
        if !deliver.deliver(input).await || ended {
            return;
        }
    }
}

async fn write_all<S: AsyncWrite>(
    mut write: WriteHalf<S>,
    mut frames: mpsc::Receiver<Bytes>,
    voice: VoiceLane,
) -> io::Result<()> {
    loop {
        let first = tokio::select! {
            biased;
            frame = frames.recv() => match frame {
                Some(frame) => Some(frame),
                None => break,
            },
            () = voice.pushed() => None,
        };
        let mut piece: Vec<u8> = first.map(Vec::from).unwrap_or_default();
        while piece.len() < WRITE_PIECE_BYTES
            && let Ok(frame) = frames.try_recv()
        {
            piece.extend_from_slice(&frame);
        }
        while let Some(packet) = voice.pop() {
            piece.extend_from_slice(&packet);
        }
        // Flushed each time: what waits in a buffer of the encryption is late, and out of our hands.
        let written = async {
            write.write_all(&piece).await?;
            write.flush().await
        };
        timeout(WRITE_STALL_MAX, written)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    }
    let _ = timeout(BYE_TIMEOUT, write.shutdown()).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tls;
    use crate::net::tls::test_support::{Anyone, self_signed, server};
    use std::sync::Arc;
    use tokio::io::AsyncReadExt;
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    #[tokio::test(start_paused = true)]
    async fn what_the_client_says_does_not_wait_in_a_buffer_of_tls() {
        // The line holds less than the frame: most of it cannot be written at once.
        let (near, far) = tokio::io::duplex(64);
        let config = Arc::new(tls::client_config(Arc::new(Anyone)).unwrap());
        let name = rustls::pki_types::ServerName::try_from("any").unwrap();
        let (near, far) = tokio::join!(
            TlsConnector::from(config).connect(name, near),
            TlsAcceptor::from(server(&self_signed("any"))).accept(far)
        );
        let (_read, write) = tokio::io::split(near.unwrap());
        let (frames, queued_frames) = mpsc::channel(1);
        frames.try_send(Bytes::from_static(&[7; 4000])).unwrap();
        let mut heard = vec![0; 4000];
        let mut far = far.unwrap();
        tokio::select! {
            ended = write_all(write, queued_frames, VoiceLane::default()) => panic!("{ended:?}"),
            read = timeout(BYE_TIMEOUT, far.read_exact(&mut heard)) => {
                read.expect("it comes").unwrap();
            }
        }
        assert_eq!(heard, [7; 4000]);
    }
}
