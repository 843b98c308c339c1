//! A named pipe whose name comes from the state directory. Pipes have no place in the file system, and
//! no access list can be given to one here without unsafe code.
//!
//! The default access list gives its owner, administrators and the system everything, and lets everyone
//! on this machine (nobody from elsewhere) open it for reading. A reader cannot ask anything, so he is
//! answered nothing; but he holds a connection until it times out, and enough of them keep the owner
//! waiting. The name can also be taken first by another user: the server then does not start, and says
//! that one runs already; but a sub-command that is run while no server does would speak to him.
//! On a machine with users whom its owner does not trust, the server belongs on another system.

use super::ControlSocketError;
use aws_lc_rs::digest;
use std::fmt::Write;
use std::io;
use std::path::Path;
use tokio::net::windows::named_pipe::{
    ClientOptions, NamedPipeClient, NamedPipeServer, ServerOptions,
};

/// All instances of the pipe are taken (`ERROR_PIPE_BUSY`).
const PIPE_BUSY: i32 = 231;
/// How long a client waits before it tries a busy pipe again.
const BUSY_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Listener {
    name: String,
    /// The instance that waits for the next client.
    next: NamedPipeServer,
}

impl Listener {
    pub(super) fn bind(path: &Path) -> Result<Self, ControlSocketError> {
        let directory = path.parent().unwrap_or(path);
        crate::net::private::make_directory(directory)?;
        let name = name(path);
        match ServerOptions::new().first_pipe_instance(true).create(&name) {
            Ok(next) => Ok(Self { name, next }),
            // So the system says that there is a first one already.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(ControlSocketError::Live(directory.to_owned()))
            }
            Err(error) => Err(ControlSocketError::Io { path: path.to_owned(), error }),
        }
    }

    /// The next connection.
    pub(super) async fn accept(&mut self) -> io::Result<Option<NamedPipeServer>> {
        self.next.connect().await?;
        let fresh = ServerOptions::new().create(&self.name)?;
        Ok(Some(std::mem::replace(&mut self.next, fresh)))
    }
}

pub(super) async fn connect(path: &Path) -> io::Result<NamedPipeClient> {
    let name = name(path);
    loop {
        match ClientOptions::new().open(&name) {
            Err(error) if error.raw_os_error() == Some(PIPE_BUSY) => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            opened => return opened,
        }
    }
}

/// The pipe's name: the same for every way to write the directory.
fn name(path: &Path) -> String {
    let directory = path.parent().unwrap_or(path);
    let whole = std::fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    let text = whole.to_string_lossy().to_lowercase();
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    hash.as_ref().iter().take(16).fold(r"\\.\pipe\parlor-".to_owned(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    })
}
