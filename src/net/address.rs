//! Addresses that people write: `host`, `host:port`, `[v6]:port`, bare IPv6.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Default port of the control connection (TCP).
pub const TCP_PORT: u16 = 8888;
/// Default port of voice (UDP).
pub const UDP_PORT: u16 = 8889;

/// A host, by name or address, and perhaps a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Name, IPv4 or IPv6 address, without brackets.
    pub host: String,
    /// The port, where one was written.
    pub port: Option<u16>,
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no host.
    #[error("'{0}' names no host; write HOST or HOST:PORT, for example 192.168.1.10:8888")]
    NoHost(String),
    /// The port is no number from 0 to 65535.
    #[error("'{0}' is no port; a port is a number from 0 to 65535")]
    BadPort(String),
    /// A bracket without its partner, or a space inside.
    #[error("'{0}' is no address; write HOST:PORT, and an IPv6 address as [ADDRESS]:PORT")]
    Malformed(String),
}

impl HostPort {
    /// Parses `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address.
    ///
    /// # Errors
    /// No host, a port that is no number, or brackets that do not match.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        if text.parse::<Ipv6Addr>().is_ok() {
            return Ok(Self { host: text.to_owned(), port: None });
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(AddressError::Malformed(text.to_owned()));
        }
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, after) =
                rest.split_once(']').ok_or_else(|| AddressError::Malformed(text.to_owned()))?;
            host.parse::<Ipv6Addr>().map_err(|_| AddressError::Malformed(text.to_owned()))?;
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err(AddressError::Malformed(text.to_owned())),
            }
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        if host.is_empty() {
            return Err(AddressError::NoHost(text.to_owned()));
        }
        if host.contains(['/', '[', ']', '#', '@']) {
            return Err(AddressError::Malformed(text.to_owned()));
        }
        let port = match port {
            Some(port) => Some(port.parse().map_err(|_| AddressError::BadPort(port.to_owned()))?),
            None => None,
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v6 = matches!(self.host.parse::<IpAddr>(), Ok(IpAddr::V6(_)));
        match (self.port, v6) {
            (Some(port), true) => write!(f, "[{}]:{port}", self.host),
            (Some(port), false) => write!(f, "{}:{port}", self.host),
            (None, _) => f.write_str(&self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_address_is_read() {
        for (text, host, port) in [
            ("localhost", "localhost", None),
            ("chat.example.org:9000", "chat.example.org", Some(9000)),
            ("::1", "::1", None),
            ("[::1]", "::1", None),
            ("[::1]:8888", "::1", Some(8888)),
            ("0.0.0.0:0", "0.0.0.0", Some(0)),
        ] {
            let expected = HostPort { host: host.to_owned(), port };
            assert_eq!(HostPort::parse(text), Ok(expected.clone()), "{text}");
            assert_eq!(HostPort::parse(&expected.to_string()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn bad_addresses_are_refused() {
        for text in ["", ":80", "a:b", "a:70000", "[::1", "[x]:1", "[::1]x", "a b", "a/b", "a:1:2"]
        {
            assert!(HostPort::parse(text).is_err(), "{text}");
        }
    }
}
