//! Secret bytes: compared in constant time, never printed, wiped when dropped.

use super::limits::PASSWORD_BYTES_MAX;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// `N` secret bytes. `Debug` shows none of them.
#[derive(Clone)]
pub struct Secret<const N: usize>([u8; N]);

/// What a lost session is taken over with.
pub type ResumeSecret = Secret<32>;

/// The system has no randomness to give.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no random numbers: {0}")]
pub struct NoRandomness(getrandom::Error);

impl<const N: usize> Secret<N> {
    /// Fresh random bytes from the operating system.
    ///
    /// # Errors
    /// The operating system refused.
    pub fn random() -> Result<Self, NoRandomness> {
        let mut bytes = [0; N];
        getrandom::fill(&mut bytes).map_err(NoRandomness)?;
        Ok(Self(bytes))
    }

    /// A secret of known bytes (from the wire, or in a test).
    #[must_use]
    pub fn new(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// The bytes themselves, for sealing and for the wire.
    #[must_use]
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// Whether `other` holds the same bytes; takes the same time whatever they are.
    #[must_use]
    pub fn matches(&self, other: &[u8]) -> bool {
        self.0.as_slice().ct_eq(other).into()
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        self.matches(&other.0)
    }
}

impl<const N: usize> Eq for Secret<N> {}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret<{N}>")
    }
}

impl<const N: usize> Serialize for Secret<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Secret<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = serde_bytes::ByteArray::<N>::deserialize(deserializer)?;
        Ok(Self(bytes.into_array()))
    }
}

/// A password on its way: 1 to [`PASSWORD_BYTES_MAX`] bytes of UTF-8. `Debug` shows none of them.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

/// A text that cannot be a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Nothing at all.
    #[error("the password is empty")]
    Empty,
    /// More bytes than fit.
    #[error("the password is longer than {PASSWORD_BYTES_MAX} bytes")]
    TooLong,
}

impl Password {
    /// Takes a text over.
    ///
    /// # Errors
    /// It is empty or too long; it is wiped all the same.
    pub fn new(text: String) -> Result<Self, PasswordError> {
        let text = Zeroizing::new(text);
        match text.len() {
            0 => Err(PasswordError::Empty),
            length if length > PASSWORD_BYTES_MAX => Err(PasswordError::TooLong),
            _ => Ok(Self(text)),
        }
    }

    /// The text itself, for hashing and for the wire.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Password {}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

impl Serialize for Password {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_byte() {
        assert_eq!(format!("{:?}", Secret::new([7u8; 4])), "Secret<4>");
    }

    #[test]
    fn a_password_has_bounds_and_is_not_shown() {
        assert_eq!(Password::new(String::new()), Err(PasswordError::Empty));
        assert_eq!(Password::new("x".repeat(PASSWORD_BYTES_MAX + 1)), Err(PasswordError::TooLong));
        let password = Password::new("secret".to_owned()).unwrap();
        assert_eq!(format!("{password:?}"), "Password");
        assert_ne!(password, Password::new("Secret".to_owned()).unwrap());
    }

    #[test]
    fn only_the_same_bytes_match() {
        let secret = Secret::new([1u8, 2, 3]);
        assert!(secret.matches(&[1, 2, 3]));
        assert!(!secret.matches(&[1, 2, 4]));
        assert!(!secret.matches(&[1, 2]));
    }
}
