//! The socket that takes orders, and the other end of it. Only its user can connect.

use super::{Answer, LINE_BYTES_MAX, Order};
use crate::client::state::ClientState;
use crate::client::texts::remote as words;
use crate::net::limits::{REMOTE_CONNECTIONS_MAX, REMOTE_IDLE_MAX};
use crate::net::private;
use actix::prelude::*;
use std::io::{BufRead, BufReader as Lines, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream as Stream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

/// From a socket to the console: an order, and where to say what has come of it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Remote(pub Order, pub oneshot::Sender<Answer>);

/// A socket that takes orders.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of its file.
    file: (u64, u64),
}

impl Socket {
    /// Listens at this path. A file that a dead client has left there gives way.
    ///
    /// # Errors
    /// Another client takes orders there, or the file cannot be made.
    pub fn bind(path: &Path) -> std::io::Result<Self> {
        let other = |error: private::PrivateError| std::io::Error::other(error);
        if let Some(directory) = path.parent() {
            private::make_directory(directory).map_err(other)?;
        }
        let _lock = private::lock(path).map_err(other)?;
        if answers(path) {
            return Err(std::io::ErrorKind::AddrInUse.into());
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // The directory is its user's alone, and so is whatever is made in it.
        let listener = UnixListener::bind(path)?;
        let file = identity(path)?;
        Ok(Self { listener, path: path.to_owned(), file })
    }

    /// Takes orders until the console is gone.
    pub async fn serve(self, console: Recipient<Remote>) {
        let places = Arc::new(Semaphore::new(REMOTE_CONNECTIONS_MAX));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "no more orders are taken");
                    return;
                }
            };
            if !ours(&stream) {
                continue;
            }
            let console = console.clone();
            actix_rt::spawn(async move {
                let _place = place;
                // Whoever asked and went away needs no answer.
                let _ = timeout(REMOTE_IDLE_MAX, one(stream, console)).await;
            });
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Not that of a client that has taken the place since.
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|about| (about.dev(), about.ino()))
}

fn ours(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

/// One order and its answer.
async fn one(mut stream: UnixStream, console: Recipient<Remote>) -> std::io::Result<()> {
    let mut line = String::new();
    let (reader, mut writer) = stream.split();
    let bound = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
    BufReader::new(reader.take(bound)).read_line(&mut line).await?;
    let answer = match Order::read(line.trim_end_matches('\n')) {
        None => Err(words::NOT_UNDERSTOOD.to_owned()),
        Some(order) => {
            let (done_in, done) = oneshot::channel();
            match console.send(Remote(order, done_in)).await {
                Ok(()) => done.await.unwrap_or_else(|_| Err(words::ENDING.to_owned())),
                Err(_) => Err(words::ENDING.to_owned()),
            }
        }
    };
    let line = match answer {
        Ok(()) => "ok\n".to_owned(),
        Err(why) => format!("no {}\n", why.replace('\n', " ")),
    };
    writer.write_all(line.as_bytes()).await
}

/// Whether a client takes orders here.
#[must_use]
pub fn answers(path: &Path) -> bool {
    Stream::connect(path).is_ok()
}

/// Gives an order to the client that keeps its state in this directory, or in the system's place.
///
/// # Errors
/// No client takes orders there, or it does not do what is asked; in words.
pub fn give(order: &Order, state: Option<PathBuf>) -> Answer {
    let state = ClientState::open_later(state).map_err(|error| error.to_string())?;
    let mut stream = Stream::connect(state.orders()).map_err(|_| words::NOBODY.to_owned())?;
    let failed = |error: std::io::Error| words::failed(&error.to_string());
    stream.set_read_timeout(Some(REMOTE_IDLE_MAX)).map_err(failed)?;
    stream.set_write_timeout(Some(REMOTE_IDLE_MAX)).map_err(failed)?;
    stream.write_all(format!("{}\n", order.line()).as_bytes()).map_err(failed)?;
    let mut line = String::new();
    let bound = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
    Lines::new(stream.take(bound)).read_line(&mut line).map_err(failed)?;
    match line.trim_end() {
        "ok" => Ok(()),
        other => Err(other.strip_prefix("no ").unwrap_or(words::ENDING).to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Console(Vec<Order>);

    impl Actor for Console {
        type Context = Context<Self>;
    }

    impl Handler<Remote> for Console {
        type Result = ();

        fn handle(&mut self, Remote(order, done): Remote, _: &mut Self::Context) {
            let answer = match &order {
                Order::Mute => Err("not now".to_owned()),
                _ => Ok(()),
            };
            self.0.push(order);
            let _ = done.send(answer);
        }
    }

    #[test]
    fn orders_reach_the_console_and_the_answer_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        actix_rt::System::new().block_on(async {
            let path = ClientState::open(Some(state.clone())).unwrap().orders();
            let socket = Socket::bind(&path).unwrap();
            assert!(Socket::bind(&path).is_err(), "one client takes orders");
            let console = Console(Vec::new()).start();
            let serving = actix_rt::spawn(socket.serve(console.recipient()));
            let give = |order: Order| {
                let state = state.clone();
                async move {
                    tokio::task::spawn_blocking(move || super::give(&order, Some(state)))
                        .await
                        .unwrap()
                }
            };
            assert_eq!(give(Order::Press).await, Ok(()));
            assert_eq!(give(Order::Say("a\nb".into())).await, Ok(()));
            assert_eq!(give(Order::Mute).await, Err("not now".to_owned()));
            serving.abort();
            let _ = serving.await;
            assert!(!path.exists(), "nothing is left behind");
            assert_eq!(give(Order::Press).await, Err(words::NOBODY.to_owned()));
            // What a dead client has left gives way.
            std::fs::write(&path, "").unwrap();
            assert!(Socket::bind(&path).is_ok());
        });
    }
}
