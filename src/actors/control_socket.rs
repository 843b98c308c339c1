//! The door for the server's owner: a local socket on which `parlor-server`'s own sub-commands ask
//! the running server.
//!
//! Whoever can open it may do everything, so only the server's user (and root) can. Frames are those
//! of the control connection; requests and answers are those of [`crate::net::moderation`].

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

use crate::net::frame::{self, codec};
use crate::net::limits::{
    CONTROL_SOCKET_CONNECTIONS_MAX, CONTROL_SOCKET_IDLE_MAX, CONTROL_SOCKET_REQUEST_MAX,
};
use crate::net::message::ErrorCode;
use crate::net::moderation::{AdminReply, AdminRequest};
use crate::net::private::PrivateError;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::codec::FramedRead;

/// The socket's file in the state directory. On Windows its path only gives the pipe its name.
pub const CONTROL_SOCKET_FILE: &str = "control.sock";

/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the socket cannot be opened. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ControlSocketError {
    /// A server answers there.
    #[error(
        "a server runs already with the state directory {0}; stop it, or give this one another with --state-dir DIR"
    )]
    Live(PathBuf),
    /// Something else is in the socket's place.
    #[error("{0} is no socket, but stands where the control socket belongs; move it away")]
    InTheWay(PathBuf),
    /// Sockets' paths are short.
    #[error(
        "the path {0} is too long for a socket (about 100 bytes at most); choose a shorter one with --state-dir DIR"
    )]
    TooLong(PathBuf),
    /// The directory cannot be used.
    #[error(transparent)]
    Directory(#[from] PrivateError),
    /// The system says no.
    #[error("the control socket {path}: {error}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Its words.
        error: io::Error,
    },
}

/// Why the running server gives no answer. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error(
        "no server runs with the state directory {0}: start it, or name its own with --state-dir DIR \
         (servers with --ephemeral or --insecure cannot be asked)"
    )]
    NobodyThere(PathBuf),
    /// The server is somebody else's.
    #[error(
        "the server with the state directory {0} is another user's: ask as that user, or as root"
    )]
    NotYours(PathBuf),
    /// It has taken too long.
    #[error(
        "the server has not answered in time; it may be busy: look with 'status', and try again"
    )]
    TooLate,
    /// The connection ended before the answer.
    #[error("the server ended the connection without an answer; it may be stopping: try again")]
    Ended,
    /// An answer that cannot be read.
    #[error("the server's answer cannot be understood; use the same release as the running server")]
    NotUnderstood,
    /// A request larger than a frame.
    #[error("the request is too large")]
    TooLarge,
    /// The system says no.
    #[error("the control socket in {path}: {error}")]
    Io {
        /// The state directory.
        path: PathBuf,
        /// Its words.
        error: io::Error,
    },
}

/// The open socket. Its file goes when this is dropped.
#[derive(Debug)]
pub struct ControlSocket(system::Listener);

impl ControlSocket {
    /// Opens the socket at this path. The directory around it is made if need be; a socket that a
    /// server has left behind is replaced, one at which a server answers is not. Blocks shortly.
    ///
    /// # Errors
    /// A server runs there, something else has the name, or the system refuses.
    pub fn bind(path: &Path) -> Result<Self, ControlSocketError> {
        system::Listener::bind(path).map(Self)
    }

    /// Answers requests until it is dropped, on the thread's local tasks.
    pub async fn serve<H, F>(mut self, handler: H)
    where
        H: Fn(AdminRequest) -> F + 'static,
        F: Future<Output = AdminReply> + 'static,
    {
        let handler = Rc::new(handler);
        // Dropped with this future, and all connections with it.
        let mut connections = JoinSet::new();
        loop {
            if connections.len() >= CONTROL_SOCKET_CONNECTIONS_MAX {
                connections.join_next().await;
                continue;
            }
            let accepted = tokio::select! {
                Some(_) = connections.join_next() => continue,
                accepted = self.0.accept() => accepted,
            };
            match accepted {
                Ok(Some(stream)) => {
                    let handler = Rc::clone(&handler);
                    connections.spawn_local(async move { converse(stream, &*handler).await });
                }
                Ok(None) => tracing::warn!("another user tried the control socket"),
                Err(error) => {
                    tracing::warn!(%error, "the control socket could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Answers what one connection asks, one request after the other.
async fn converse<S, H, F>(stream: S, handler: &H)
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(AdminRequest) -> F,
    F: Future<Output = AdminReply>,
{
    let (reader, mut writer) = tokio::io::split(stream);
    let mut frames = FramedRead::new(reader, codec());
    while let Ok(Some(Ok(bytes))) = timeout(CONTROL_SOCKET_IDLE_MAX, frame::next(&mut frames)).await
    {
        let request = frame::decode::<AdminRequest>(&bytes);
        let understood = request.is_ok();
        let reply = match request {
            Err(_) => refused(ErrorCode::BadMessage),
            Ok(AdminRequest::Unknown) => refused(ErrorCode::UnknownType),
            Ok(request) => timeout(CONTROL_SOCKET_REQUEST_MAX, handler(request))
                .await
                .unwrap_or_else(|_| refused(ErrorCode::Busy)),
        };
        let Ok(bytes) = frame::encode(&reply).or_else(|error| {
            tracing::warn!(%error, "an answer of the control socket");
            frame::encode(&refused(ErrorCode::Busy))
        }) else {
            return;
        };
        let written = timeout(CONTROL_SOCKET_IDLE_MAX, writer.write_all(&bytes)).await;
        if !understood || !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}

/// An error without arguments.
#[must_use]
pub fn refused(code: ErrorCode) -> AdminReply {
    AdminReply::Error { code, args: BTreeMap::new() }
}

/// Asks the server whose socket is in this state directory.
///
/// # Errors
/// No server answers there, or not to us.
pub async fn ask(directory: &Path, request: &AdminRequest) -> Result<AdminReply, AskError> {
    let bytes = frame::encode(request).map_err(|_| AskError::TooLarge)?;
    let patience = CONTROL_SOCKET_IDLE_MAX + CONTROL_SOCKET_REQUEST_MAX;
    timeout(patience, exchange(directory, &bytes)).await.unwrap_or(Err(AskError::TooLate))
}

async fn exchange(directory: &Path, request: &[u8]) -> Result<AdminReply, AskError> {
    let at = || directory.to_owned();
    let mut stream = match system::connect(&directory.join(CONTROL_SOCKET_FILE)).await {
        Ok(stream) => stream,
        Err(error) => {
            return Err(match error.kind() {
                io::ErrorKind::NotFound
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::ConnectionRefused
                // Where the path is too long for a socket, no server has one.
                | io::ErrorKind::InvalidInput => AskError::NobodyThere(at()),
                io::ErrorKind::PermissionDenied => AskError::NotYours(at()),
                _ => AskError::Io { path: at(), error },
            });
        }
    };
    // A server that turns us away closes at once: what cannot be written, it has not read.
    if stream.write_all(request).await.is_err() {
        return Err(AskError::Ended);
    }
    let mut frames = FramedRead::new(stream, codec());
    match frame::next(&mut frames).await {
        Some(Ok(frame)) => frame::decode(&frame).map_err(|_| AskError::NotUnderstood),
        Some(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            Err(AskError::NotUnderstood)
        }
        Some(Err(_)) | None => Err(AskError::Ended),
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use crate::net::limits::FRAME_BYTES_MAX;
    use crate::net::moderation::{Moderation, Report};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("state").join(CONTROL_SOCKET_FILE);
        (home, path)
    }

    fn done() -> AdminReply {
        AdminReply::Report { report: Report::Done }
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[actix::test]
    async fn only_the_owner_can_open_it() {
        let (_home, path) = place();
        let _socket = ControlSocket::bind(&path).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }

    #[actix::test]
    async fn a_request_gets_the_handler_s_answer() {
        let (_home, path) = place();
        let socket = ControlSocket::bind(&path).unwrap();
        actix_rt::spawn(socket.serve(|request| async move {
            match request {
                AdminRequest::Moderate { order: Moderation::Lift { id: 4 } } => done(),
                _ => refused(ErrorCode::NoSuchEntry),
            }
        }));
        let directory = path.parent().unwrap();
        let lift = |id| AdminRequest::Moderate { order: Moderation::Lift { id } };
        assert_eq!(ask(directory, &lift(4)).await.unwrap(), done());
        assert_eq!(ask(directory, &lift(5)).await.unwrap(), refused(ErrorCode::NoSuchEntry));
        let unknown = ask(directory, &AdminRequest::Unknown).await.unwrap();
        assert_eq!(unknown, refused(ErrorCode::UnknownType));
    }

    #[actix::test]
    async fn a_socket_that_was_left_behind_is_replaced() {
        let (_home, path) = place();
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        // Closed, as by a crash: its file stays.
        drop(UnixListener::bind(&path).unwrap());
        let directory = path.parent().unwrap();
        let error = ask(directory, &AdminRequest::Status).await.unwrap_err();
        assert!(matches!(error, AskError::NobodyThere(_)), "{error}");
        let socket = ControlSocket::bind(&path).unwrap();
        actix_rt::spawn(socket.serve(|_| async { done() }));
        assert_eq!(ask(directory, &AdminRequest::Status).await.unwrap(), done());
        assert_eq!(mode(&path), 0o600);
    }

    #[actix::test]
    async fn a_live_server_keeps_its_socket_and_the_other_is_told_what_to_do() {
        let (_home, path) = place();
        let socket = ControlSocket::bind(&path).unwrap();
        // Also with its queue full, which no second server may wait for.
        let mut waiting = Vec::new();
        for _ in 0..40 {
            let probe = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
            let probe = probe.unwrap();
            probe.set_nonblocking(true).unwrap();
            let _ = probe.connect(&socket2::SockAddr::unix(&path).unwrap());
            waiting.push(probe);
        }
        let error = ControlSocket::bind(&path).unwrap_err();
        assert!(matches!(error, ControlSocketError::Live(_)), "{error}");
        assert!(error.to_string().contains("--state-dir"), "{error}");
        drop(waiting);
        actix_rt::spawn(socket.serve(|_| async { done() }));
        let reply = ask(path.parent().unwrap(), &AdminRequest::Status).await;
        assert_eq!(reply.unwrap(), done());
    }

    #[actix::test]
    async fn what_is_no_socket_is_left_alone() {
        let (_home, path) = place();
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "mine").unwrap();
        let error = ControlSocket::bind(&path).unwrap_err();
        assert!(matches!(error, ControlSocketError::InTheWay(_)), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    }

    #[actix::test]
    async fn its_file_goes_with_it_and_a_successor_s_stays() {
        let (_home, path) = place();
        drop(ControlSocket::bind(&path).unwrap());
        assert!(!path.exists());
        let first = ControlSocket::bind(&path).unwrap();
        // Kept aside, so that its inode is not given to the second.
        std::fs::rename(&path, path.with_extension("old")).unwrap();
        let _second = ControlSocket::bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
    }

    #[actix::test]
    async fn a_path_too_long_for_a_socket_is_called_so() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("d".repeat(120));
        let error = ControlSocket::bind(&directory.join(CONTROL_SOCKET_FILE)).unwrap_err();
        assert!(matches!(error, ControlSocketError::TooLong(_)), "{error}");
        let error = ask(&directory, &AdminRequest::Status).await.unwrap_err();
        assert!(matches!(error, AskError::NobodyThere(_)), "{error}");
    }

    #[actix::test]
    async fn bytes_that_are_no_request_end_the_connection_and_nothing_else() {
        let (_home, path) = place();
        let socket = ControlSocket::bind(&path).unwrap();
        actix_rt::spawn(socket.serve(|_| async { done() }));
        let too_large = u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_be_bytes();
        for bytes in [&[0, 0, 0, 1, 0xc1][..], &too_large] {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        }
        let reply = ask(path.parent().unwrap(), &AdminRequest::Status).await;
        assert_eq!(reply.unwrap(), done());
    }

    #[actix::test]
    async fn more_connections_than_are_served_wait_for_a_place() {
        let (_home, path) = place();
        let socket = ControlSocket::bind(&path).unwrap();
        actix_rt::spawn(socket.serve(|_| async { done() }));
        let mut idle = Vec::new();
        for _ in 0..CONTROL_SOCKET_CONNECTIONS_MAX {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            // Served, and stays.
            stream.write_all(&frame::encode(&AdminRequest::Status).unwrap()).await.unwrap();
            stream.read_u32().await.unwrap();
            idle.push(stream);
        }
        let asking = ask(path.parent().unwrap(), &AdminRequest::Status);
        tokio::pin!(asking);
        let early = timeout(Duration::from_millis(100), &mut asking).await;
        assert!(early.is_err(), "nobody has left");
        idle.pop();
        assert_eq!(asking.await.unwrap(), done());
    }
}
