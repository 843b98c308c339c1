//! The fingerprint of a server's key: SHA-256 over the certificate's SubjectPublicKeyInfo (RFC 7469, 2.4).

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use std::fmt;
use std::str::FromStr;

/// SHA-256 of a public key in its DER form (SubjectPublicKeyInfo, RFC 5280, 4.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Fingerprint([u8; 32]);

/// A text that is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no fingerprint; it looks like SHA256:7fYV... and holds 43 characters after the colon"
)]
pub struct FingerprintError(String);

impl Fingerprint {
    /// The fingerprint of a public key.
    #[must_use]
    pub fn of_spki(der: &[u8]) -> Self {
        let hash = digest(&SHA256, der);
        Self(hash.as_ref().first_chunk().copied().unwrap_or_default())
    }

    /// A fingerprint of known bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes themselves.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SHA256:{}", STANDARD_NO_PAD.encode(self.0))
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// Reads base64 of both alphabets, with or without `SHA256:` and padding, or 64 hexadecimal
    /// digits, with or without colons.
    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let error = || FingerprintError(text.chars().take(80).collect());
        let body = text.trim();
        let body = body.strip_prefix("SHA256:").unwrap_or(body).trim_end_matches('=');
        let hex: String = body.chars().filter(|c| *c != ':').collect();
        if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            let mut bytes = [0; 32];
            for (k, byte) in bytes.iter_mut().enumerate() {
                let pair = hex.get(2 * k..2 * k + 2).ok_or_else(error)?;
                *byte = u8::from_str_radix(pair, 16).map_err(|_| error())?;
            }
            return Ok(Self(bytes));
        }
        let bytes = STANDARD_NO_PAD.decode(body).or_else(|_| URL_SAFE_NO_PAD.decode(body));
        let bytes = bytes.map_err(|_| error())?;
        Ok(Self(bytes.try_into().map_err(|_| error())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_writing_it_is_read() {
        let fingerprint = Fingerprint::of_spki(b"a key");
        let shown = fingerprint.to_string();
        assert_eq!(shown.len(), "SHA256:".len() + 43);
        let url = URL_SAFE_NO_PAD.encode(fingerprint.bytes());
        let hex: String = fingerprint.bytes().iter().map(|b| format!("{b:02X}")).collect();
        let pairs: Vec<String> = fingerprint.bytes().iter().map(|b| format!("{b:02x}")).collect();
        for text in [shown.clone(), format!(" {shown}= "), url, hex, pairs.join(":")] {
            assert_eq!(text.parse(), Ok(fingerprint), "{text}");
        }
        for text in ["", "SHA256:", "SHA256:abc", "zz", &shown[..40], &format!("{shown}AAAA")] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }
}
