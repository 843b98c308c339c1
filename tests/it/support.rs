//! What several tests share: processes that always end, tools that may be missing, a sound card
//! without hardware, the comparison of what was said with what was heard, and a bare client.

#[cfg(all(feature = "server", feature = "client"))]
pub mod listening;
#[cfg(feature = "server")]
pub mod peer;
#[cfg(all(feature = "server", feature = "client", unix))]
pub mod process;
#[cfg(feature = "server")]
pub mod random;
#[cfg(all(feature = "server", feature = "client"))]
pub mod relay;
#[cfg(all(feature = "server", feature = "client", target_os = "linux"))]
pub mod sound;
#[cfg(all(feature = "server", feature = "client", unix))]
pub mod state;
#[cfg(all(feature = "server", feature = "client", unix))]
pub mod tools;
