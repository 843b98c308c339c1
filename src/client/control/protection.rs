//! Which protection of voice a client puts up with, given why it believes the server. Pure.

use super::dial::Trust;
use crate::client::event::LocalError;
use crate::net::message::Protection;

/// Whether voice may be protected so over a connection trusted so.
///
/// A server must not talk a client out of encryption: what is not encrypted is for a client that was
/// told to do without.
///
/// # Errors
/// What the user is told.
pub fn accept(trust: Trust, protection: Protection) -> Result<(), LocalError> {
    match (protection, trust) {
        (Protection::AeadAes128Gcm, _) | (Protection::Plain, Trust::Plain) => Ok(()),
        (Protection::Plain, _) => Err(LocalError::VoiceUnprotected),
        (Protection::Unknown, _) => Err(LocalError::Protection),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::fingerprint::Fingerprint;

    #[test]
    fn unprotected_voice_is_for_clients_that_do_without_encryption_themselves() {
        let first = Trust::FirstUse(Fingerprint::new([1; 32]));
        for trust in [Trust::Known, first, Trust::Certificate] {
            assert_eq!(accept(trust, Protection::AeadAes128Gcm), Ok(()));
            assert_eq!(accept(trust, Protection::Plain), Err(LocalError::VoiceUnprotected));
            assert_eq!(accept(trust, Protection::Unknown), Err(LocalError::Protection));
        }
        assert_eq!(accept(Trust::Plain, Protection::Plain), Ok(()));
        assert_eq!(accept(Trust::Plain, Protection::AeadAes128Gcm), Ok(()));
        assert_eq!(accept(Trust::Plain, Protection::Unknown), Err(LocalError::Protection));
    }
}
