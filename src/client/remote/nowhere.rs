//! Where there are no Unix sockets nobody can be given orders; it is said so.

use super::{Answer, Order};
use crate::client::texts::remote as words;
use actix::prelude::*;
use std::path::{Path, PathBuf};
use tokio::sync::oneshot;

/// From a socket to the console.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Remote(pub Order, pub oneshot::Sender<Answer>);

/// A socket that takes orders.
#[derive(Debug)]
pub struct Socket;

impl Socket {
    /// Takes no orders.
    ///
    /// # Errors
    /// Always.
    pub fn bind(_: &Path) -> std::io::Result<Self> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    /// Never takes one.
    pub async fn serve(self, _: Recipient<Remote>) {}
}

/// Whether a client takes orders here.
#[must_use]
pub fn answers(_: &Path) -> bool {
    false
}

/// Gives an order.
///
/// # Errors
/// Always.
pub fn give(_: &Order, _: Option<PathBuf>) -> Answer {
    Err(words::NO_SOCKETS.to_owned())
}
