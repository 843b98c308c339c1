//! Who may come in and what they may do there: identities, invites, passwords, roles, bans; and where that is kept.
//!
//! The core holds everything in memory and decides; the store is its log on disk. What the core
//! changes is on disk before anybody is told that it is done.

pub mod attempts;
pub mod core;
pub mod gate;
pub mod levels;
pub mod newcomers;
pub mod password;
pub mod store;
pub mod turns;
