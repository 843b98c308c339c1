//! The control connection: what is said over it (`core`), and the actor that holds it (`actor`).

pub mod actor;
pub mod backoff;
pub mod core;
pub mod dial;
pub mod link;
pub mod port;
pub mod protection;
pub mod request;
pub mod roster;
