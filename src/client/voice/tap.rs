//! A place to listen in, for tests: what the decoder hands to the playback chain.

use crate::net::ids::MemberId;

/// Called on the playback thread with the speaker, the RTP time stamp and the decoded samples of
/// each packet that is played, before anything is done to them.
pub type Tap = Box<dyn FnMut(MemberId, u32, &[i16]) + Send>;
