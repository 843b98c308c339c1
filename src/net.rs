//! The ground floor: everything both ends must agree on, and nothing else.
//!
//! No actor, no sound and no clock lives here. Bytes become typed values in this module once; the
//! floors above never look at raw packets.

pub mod address;
pub mod clock;
pub mod codec;
pub mod device;
pub mod fingerprint;
pub mod frame;
pub mod frames;
pub mod fuzz;
pub mod ids;
pub mod invite;
pub mod limits;
pub mod losses;
pub mod message;
pub mod moderation;
pub mod name;
pub mod private;
pub mod process;
pub mod protect;
pub mod red;
pub mod replay;
pub mod rtcp;
pub mod rtp;
pub mod secret;
pub mod srtp;
pub mod stream_voice;
pub mod tls;
pub mod udp;
