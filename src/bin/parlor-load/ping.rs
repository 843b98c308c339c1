//! How soon the server answers on a control connection while voice goes on.

use crate::connect::Connector;
use crate::members::{greet, read_message};
use parlor::net::clock;
use parlor::net::frame;
use parlor::net::message::{ClientMessage, Envelope, ServerMessage};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::codec::FramedRead;

/// Between an answer and the next question.
const PAUSE: Duration = Duration::from_millis(40);

/// Asks in the background until it is stopped.
pub struct Pings {
    times_ms: Arc<Mutex<Vec<f64>>>,
    task: JoinHandle<()>,
}

impl Pings {
    /// Begins.
    pub fn start(runtime: &Runtime, connector: &Connector) -> Self {
        let times_ms = Arc::new(Mutex::new(Vec::new()));
        let (connector, times) = (connector.clone(), Arc::clone(&times_ms));
        let task = runtime.spawn(async move {
            // What cannot be asked shows in the figures: nothing was measured.
            let _ = ask(&connector, &times).await;
        });
        Self { times_ms, task }
    }

    /// Ends. Round trips in ms, sorted.
    pub fn stop(self) -> Vec<f64> {
        self.task.abort();
        let mut times =
            std::mem::take(&mut *self.times_ms.lock().unwrap_or_else(PoisonError::into_inner));
        times.sort_by(f64::total_cmp);
        times
    }
}

async fn ask(connector: &Connector, times_ms: &Mutex<Vec<f64>>) -> anyhow::Result<()> {
    let (read, mut write) = tokio::io::split(connector.connect().await?);
    write.write_all(&greet(&format!("ping {}", clock::unix_ns() % 1_000_000), None)?).await?;
    write.flush().await?;
    let mut frames = FramedRead::with_capacity(read, frame::codec(), 1024);
    read_message(&mut frames).await?;
    for token in 0.. {
        let asked = clock::now();
        let ping = frame::encode(&Envelope::event(ClientMessage::Ping { token }))?;
        write.write_all(&ping).await?;
        write.flush().await?;
        while !matches!(read_message(&mut frames).await?, ServerMessage::Pong { token: t } if t == token)
        {
        }
        let ms = asked.elapsed().as_secs_f64() * 1000.0;
        times_ms.lock().unwrap_or_else(PoisonError::into_inner).push(ms);
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
