//! What it costs the server to let somebody in: TCP, the whole TLS handshake, Hello and Welcome.

use crate::connect::Connector;
use crate::members::{greet, read_message};
use crate::process::cpu_seconds;
use anyhow::bail;
use parlor::net::message::ServerMessage;
use parlor::net::{clock, frame};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio_util::codec::FramedRead;

/// Handshakes at the same time.
const AT_ONCE: u32 = 16;

/// What was measured.
pub struct Measured {
    count: u32,
    seconds: f64,
    server_cpu_s: Option<f64>,
}

/// Lets `count` clients in, some at a time, each of which leaves at once.
pub async fn measure(
    connector: &Connector,
    count: u32,
    pid: Option<u32>,
) -> anyhow::Result<Measured> {
    let cpu_before = pid.and_then(cpu_seconds);
    let began = clock::now();
    let mut running = JoinSet::new();
    for k in 0..AT_ONCE.min(count) {
        let connector = connector.clone();
        running.spawn(async move {
            for turn in (k..count).step_by(AT_ONCE as usize) {
                let stream = connector.connect().await?;
                let (read, mut write) = tokio::io::split(stream);
                write.write_all(&greet(&format!("handshake {turn}"), None)?).await?;
                write.flush().await?;
                let mut frames = FramedRead::with_capacity(read, frame::codec(), 1024);
                let answer = read_message(&mut frames).await?;
                if !matches!(answer, ServerMessage::Welcome(_)) {
                    bail!("the server refused a session: {answer:?}");
                }
            }
            Ok(())
        });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    let seconds = began.elapsed().as_secs_f64();
    let cpu = pid.and_then(cpu_seconds).zip(cpu_before).map(|(after, before)| after - before);
    Ok(Measured { count, seconds, server_cpu_s: cpu })
}

impl Measured {
    /// For people, or as one JSON object.
    pub fn shown(&self, as_json: bool) -> anyhow::Result<String> {
        let per_s = f64::from(self.count) / self.seconds;
        let cpu_ms = self.server_cpu_s.map(|s| s * 1000.0 / f64::from(self.count));
        if as_json {
            let object = json!({
                "handshakes": self.count,
                "handshakes_per_s": per_s,
                "server_cpu_ms_per_handshake": cpu_ms,
            });
            return Ok(serde_json::to_string(&object)?);
        }
        let cpu = match cpu_ms {
            Some(ms) => format!("{ms:.3} ms of server CPU each"),
            None => "server CPU not known here".to_owned(),
        };
        Ok(format!(
            "{} connections with Hello, {AT_ONCE} at a time: {per_s:.0} handshakes/s, {cpu}",
            self.count
        ))
    }
}
