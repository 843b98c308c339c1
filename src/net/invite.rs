//! Invites: one line that carries a server's address, its fingerprint, a room and a token.
//!
//! ```text
//! parlor://HOST[:PORT][/ROOM]#[FINGERPRINT].TOKEN
//! ```
//!
//! Fingerprint and token are 32 bytes each in base64url without padding. They stand in the
//! fragment, which no program sends to a server when it takes the line for a web address. Without a
//! fingerprint the server's certificate is checked as that of any web site.

use super::address::{AddressError, HostPort};
use super::fingerprint::Fingerprint;
use super::limits::INVITE_BYTES_MAX;
use super::name::{NameError, RoomName};
use super::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// What an invite begins with.
pub const SCHEME: &str = "parlor://";
/// What of a room's name is written as it is.
const ROOM_PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Lets its bearer in: 256 random bits, of which the server keeps a hash.
pub type InviteToken = Secret<32>;

/// What stands in every invite of a server: where it is, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// Where the server is, as friends outside reach it.
    pub server: HostPort,
    /// Its key, unless its certificate speaks for itself.
    pub fingerprint: Option<Fingerprint>,
}

impl Issuer {
    /// The invite of a token.
    #[must_use]
    pub fn invite(&self, room: Option<RoomName>, token: InviteToken) -> Invite {
        let (server, fingerprint) = (self.server.clone(), self.fingerprint);
        Invite { server, fingerprint, room, token }
    }
}

/// An invite. Its `Display` is the line, token included: for the one who is invited, never for a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// Where the server is.
    pub server: HostPort,
    /// The server's key, unless its certificate speaks for itself.
    pub fingerprint: Option<Fingerprint>,
    /// The room to enter.
    pub room: Option<RoomName>,
    /// Lets one in.
    pub token: InviteToken,
}

/// A text that is no invite. None of them shows the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// It does not begin with the scheme.
    #[error("an invite begins with {SCHEME}")]
    Scheme,
    /// It is cut off, or something stands behind it.
    #[error("the invite is not complete; copy the whole line, from {SCHEME} to its end")]
    Incomplete,
    /// The part that names the server.
    #[error("the invite names no server: {0}")]
    Server(#[from] AddressError),
    /// The part that names the room.
    #[error("the invite names no room: {0}")]
    Room(#[from] NameError),
}

impl fmt::Display for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}")?;
        // Brackets also without a port: a bare IPv6 address cannot stand in such a line.
        match (self.server.host.contains(':'), self.server.port) {
            (true, Some(port)) => write!(f, "[{}]:{port}", self.server.host)?,
            (true, None) => write!(f, "[{}]", self.server.host)?,
            (false, Some(port)) => write!(f, "{}:{port}", self.server.host)?,
            (false, None) => write!(f, "{}", self.server.host)?,
        }
        if let Some(room) = &self.room {
            write!(f, "/{}", utf8_percent_encode(room.as_str(), ROOM_PLAIN))?;
        }
        write!(f, "#")?;
        if let Some(fingerprint) = &self.fingerprint {
            write!(f, "{}", URL_SAFE_NO_PAD.encode(fingerprint.bytes()))?;
        }
        let token = Zeroizing::new(URL_SAFE_NO_PAD.encode(self.token.expose()));
        write!(f, ".{}", *token)
    }
}

impl FromStr for Invite {
    type Err = InviteError;

    fn from_str(text: &str) -> Result<Self, InviteError> {
        let text = text.trim();
        let scheme = text.get(..SCHEME.len()).filter(|s| s.eq_ignore_ascii_case(SCHEME));
        let body = scheme.and_then(|_| text.get(SCHEME.len()..)).ok_or(InviteError::Scheme)?;
        if text.len() > INVITE_BYTES_MAX {
            return Err(InviteError::Incomplete);
        }
        let (place, secret) = body.split_once('#').ok_or(InviteError::Incomplete)?;
        let (fingerprint, token) = secret.split_once('.').ok_or(InviteError::Incomplete)?;
        let fingerprint = match fingerprint {
            "" => None,
            text => Some(Fingerprint::new(*bytes(text)?.expose())),
        };
        let token = bytes(token)?;
        let (server, room) = match place.split_once('/') {
            Some((server, room)) => (server, Some(room).filter(|room| !room.is_empty())),
            None => (place, None),
        };
        let room = match room {
            Some(room) => {
                let room = percent_decode_str(room.trim_end_matches('/'));
                let room = room.decode_utf8().map_err(|_| InviteError::Incomplete)?;
                Some(RoomName::parse(&room)?)
            }
            None => None,
        };
        Ok(Self { server: HostPort::parse(server)?, fingerprint, room, token })
    }
}

fn bytes(text: &str) -> Result<Secret<32>, InviteError> {
    let decoded = URL_SAFE_NO_PAD.decode(text).map(Zeroizing::new);
    let decoded = decoded.map_err(|_| InviteError::Incomplete)?;
    let bytes: &[u8; 32] = decoded.as_slice().try_into().map_err(|_| InviteError::Incomplete)?;
    Ok(Secret::new(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn invite(server: &str, room: Option<&str>, pinned: bool) -> Invite {
        Invite {
            server: HostPort::parse(server).unwrap(),
            fingerprint: pinned.then(|| Fingerprint::new([0xfb; 32])),
            room: room.map(|room| RoomName::parse(room).unwrap()),
            token: Secret::new([0xef; 32]),
        }
    }

    #[test]
    fn every_invite_reads_back_as_written() {
        for server in ["voice.example.org:8888", "10.0.0.1", "[2001:db8::1]:9", "::1", "localhost"]
        {
            for room in [None, Some("general"), Some("Die Höhle / #1 50%"), Some("комната?x=1")]
            {
                for pinned in [true, false] {
                    let invite = invite(server, room, pinned);
                    let line = invite.to_string();
                    assert!(line.is_ascii() && !line.contains(' '), "{line}");
                    assert_eq!(line.parse(), Ok(invite), "{line}");
                }
            }
        }
    }

    #[test]
    fn a_line_cut_short_is_refused_and_its_token_is_not_shown() {
        let line = invite("h:1", Some("general"), true).to_string();
        for length in 0..line.len() {
            let error = line[..length].parse::<Invite>().unwrap_err().to_string();
            assert!(!error.contains("7-_v"), "{error}");
        }
        assert!(format!("{line}x").parse::<Invite>().is_err());
        assert!("https://h/#.x".parse::<Invite>().is_err());
        assert!(!format!("{:?}", invite("h", None, true)).contains("239"));
    }

    proptest! {
        #[test]
        fn any_text_is_an_invite_or_an_error(text in ".{0,80}") {
            let _ = text.parse::<Invite>();
            let _ = format!("{SCHEME}{text}").parse::<Invite>();
        }
    }
}
