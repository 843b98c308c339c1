//! Parlor: voice chat that a group hosts itself.
//!
//! `net` is the ground floor: wire formats, framing, protection of datagrams, limits and batch UDP.
//! `actors` (the server) and `client` stand on it and never see each other; `manual` makes the papers of both.

#[cfg(feature = "server")]
pub mod actors;
#[cfg(feature = "client")]
pub mod client;
#[cfg(any(feature = "server", feature = "client"))]
pub mod manual;
pub mod net;

// Both ends of a voice path in one test: the only place that sees server and client at once.
#[cfg(test)]
#[cfg(all(feature = "server", feature = "client"))]
mod voice_hop_tests;
