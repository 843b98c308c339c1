//! A Unix socket with mode 0600; whoever connects must be the server's user or root.

use super::ControlSocketError;
use crate::net::private;
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 16;
/// How long a client waits before it tries a full queue again.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Listener {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the socket's file.
    file: (u64, u64),
}

impl Listener {
    pub(super) fn bind(path: &Path) -> Result<Self, ControlSocketError> {
        let failed = |error| ControlSocketError::Io { path: path.to_owned(), error };
        let address =
            SockAddr::unix(path).map_err(|_| ControlSocketError::TooLong(path.to_owned()))?;
        if let Some(directory) = path.parent() {
            private::make_directory(directory)?;
        }
        // Of two servers that start at once, the second finds the first one's socket alive.
        let _lock = private::lock(path)?;
        make_way(path, &address)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
        socket.bind(&address).map_err(failed)?;
        // Nobody can connect between these two: a socket that does not listen yet refuses.
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
        socket.listen(BACKLOG).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let listener = UnixListener::from_std(socket.into()).map_err(failed)?;
        let file = identity(path).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned(), file })
    }

    /// The next connection; `None` for one of another user.
    pub(super) async fn accept(&mut self) -> io::Result<Option<UnixStream>> {
        let (stream, _) = self.listener.accept().await?;
        let uid = stream.peer_cred()?.uid();
        let ours = uid == 0 || uid == rustix::process::geteuid().as_raw();
        Ok(ours.then_some(stream))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Not the one of a server that has taken the place since.
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

pub(super) async fn connect(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            // Too many wait already; whoever asks says for how long.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            connected => return connected,
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Removes a socket at which nobody listens.
fn make_way(path: &Path, address: &SockAddr) -> Result<(), ControlSocketError> {
    let failed = |error| ControlSocketError::Io { path: path.to_owned(), error };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(ControlSocketError::InTheWay(path.to_owned()));
        }
        Ok(_) => {}
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    // Without waiting: with its queue full a server lives, too.
    probe.set_nonblocking(true).map_err(failed)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(failed(error)),
        Ok(()) | Err(_) => {
            let directory = path.parent().unwrap_or(path);
            Err(ControlSocketError::Live(directory.to_owned()))
        }
    }
}
