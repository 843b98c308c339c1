//! The client: a small actor system around sound streams, with no user interface in its core.
//!
//! `control` holds the connection and knows the room; `voice` moves sound between devices and the
//! network; `console` is the only part that knows a terminal.

pub mod voice;
