//! The integration tests, in one binary: a module for each behaviour, `support` for what they share.
//!
//! Every module stands under `#[cfg(test)]`, although all of this is test code, so that the lints
//! allow helpers outside test functions what they allow tests: to stop at the first surprise.

#[cfg(test)]
#[cfg(feature = "server")]
mod access;
#[cfg(test)]
#[cfg(feature = "server")]
mod all_faults;
#[cfg(test)]
#[cfg(all(feature = "server", unix))]
mod bad_input;
#[cfg(test)]
#[cfg(all(feature = "server", feature = "client", unix))]
mod console;
#[cfg(test)]
#[cfg(all(feature = "server", feature = "client", unix))]
mod control_socket;
#[cfg(test)]
#[cfg(all(feature = "server", feature = "client"))]
mod fallback;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
#[cfg(feature = "server")]
mod history;
#[cfg(test)]
#[cfg(all(feature = "server", feature = "client", unix))]
mod invites;
#[cfg(test)]
#[cfg(feature = "server")]
mod kept_keys;
#[cfg(test)]
#[cfg(all(feature = "server", feature = "client", unix))]
mod killed_server;
#[cfg(test)]
#[cfg(feature = "server")]
mod moderation;
#[cfg(test)]
#[cfg(feature = "server")]
mod original_faults;
#[cfg(test)]
#[cfg(all(feature = "server", feature = "client", target_os = "linux"))]
mod roaming;
#[cfg(test)]
#[cfg(feature = "server")]
mod rooms;
#[cfg(test)]
#[cfg(all(feature = "server", feature = "client", target_os = "linux"))]
mod secrets;
#[cfg(test)]
#[cfg(all(feature = "server", feature = "client", unix))]
mod security_tls;
#[cfg(test)]
#[cfg(feature = "server")]
mod security_voice;
#[cfg(test)]
#[cfg(all(feature = "server", feature = "client", target_os = "linux"))]
mod sound_card;
#[cfg(test)]
mod srtp_interop;
#[cfg(test)]
mod support;
#[cfg(test)]
#[cfg(all(feature = "server", feature = "client"))]
mod voice_path;
