//! The server: every room, every session and every UDP forwarder is an actix actor, and one lobby owns names and rooms.
//!
//! Each actor is a shell around a core that knows no actor, socket, clock or randomness. Voice
//! never enters a mailbox: forwarders read routes from latest-value cells and packets from their sockets.

pub mod access;
mod allowance;
pub mod bucket;
pub mod connection;
pub mod control_socket;
pub mod forwarder;
pub mod identity;
pub mod limits;
pub mod lobby;
pub mod outbox;
pub mod public;
pub mod room;
pub mod routes;
pub mod server;
pub mod session;
pub mod stage;
