//! One control connection: its bytes to messages, messages to bytes. Owned by the control actor.
//!
//! Messages go into the actor's mailbox one at a time, each awaited, so that a server cannot fill
//! it. Voice goes past the actor, both ways.

use super::core::Input;
use super::dial::plain;
use crate::client::event::{Event, LossCause};
use crate::client::voice::VoiceHandle;
use crate::net::frame;
use crate::net::limits::{
    BYE_TIMEOUT, CLIENT_EVENTS_SPARE, OUTBOX_FRAMES_MAX, STREAM_VOICE_PACKETS_MAX, WRITE_STALL_MAX,
};
use crate::net::message::{Envelope, ServerMessage};
use bytes::Bytes;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
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

/// A running connection. Dropping it ends the reader; what was queued is still written.
#[derive(Debug)]
pub struct Link {
    frames: mpsc::Sender<Bytes>,
    voice: mpsc::Sender<Bytes>,
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
        let (voice_out, queued_voice) = mpsc::channel(STREAM_VOICE_PACKETS_MAX);
        let reader = actix_rt::spawn(read_all(read, deliver.clone(), events, voice));
        let writer = actix_rt::spawn(async move {
            if let Err(error) = write_all(write, queued_frames, queued_voice).await {
                let detail = plain(&error);
                deliver.deliver(Input::Ended { cause: LossCause::Failed, detail }).await;
            }
        });
        Self { frames, voice: voice_out, reader, writer: Some(writer) }
    }

    /// Queues a frame. False: the connection takes nothing any more.
    #[must_use]
    pub fn send(&self, frame: Bytes) -> bool {
        self.frames.try_send(frame).is_ok()
    }

    /// Where voice for the server goes; what finds the queue full is stale and dropped.
    #[must_use]
    pub fn voice(&self) -> mpsc::Sender<Bytes> {
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
    mut voice: mpsc::Receiver<Bytes>,
) -> io::Result<()> {
    loop {
        let bytes = tokio::select! {
            biased;
            frame = frames.recv() => match frame {
                Some(frame) => frame,
                None => break,
            },
            Some(packet) = voice.recv() => packet,
        };
        let written = async {
            write.write_all(&bytes).await?;
            // To the network, and not only into the buffer that TLS writes its records to.
            write.flush().await
        };
        timeout(WRITE_STALL_MAX, written)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    }
    let _ = timeout(BYE_TIMEOUT, write.shutdown()).await;
    Ok(())
}
