//! Passwords hashed with argon2id (RFC 9106), on threads that may block, a few at a time.

use crate::net::limits::{HASHING_AT_ONCE, HASHING_QUEUE_MAX};
use crate::net::secret::Password;
use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use argon2::{Algorithm, Argon2, Params, Version};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Semaphore;

/// A password as it is kept: argon2id in the PHC string format, salt included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PasswordRecord(pub String);

/// Why a password is not hashed or compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// Too many wait already.
    #[error("too many passwords wait to be checked")]
    Busy,
    /// The library or the system refused.
    #[error("the password cannot be hashed")]
    Failed,
}

/// Hashes passwords; clones share the bound on how many at once.
#[derive(Clone, Debug)]
pub struct Hasher {
    running: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

impl Default for Hasher {
    fn default() -> Self {
        Self { running: Arc::new(Semaphore::new(HASHING_AT_ONCE)), waiting: Arc::default() }
    }
}

/// Counts one that waits or runs.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// OWASP's second recommendation for argon2id: 19 MiB, two passes, one lane.
fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default())
}

impl Hasher {
    /// Hashes a password with a fresh salt.
    ///
    /// # Errors
    /// Too many wait, or the system gives no randomness.
    pub async fn hash(&self, password: Password) -> Result<PasswordRecord, HashError> {
        let hash = move || {
            let hash = argon2().hash_password(password.expose().as_bytes());
            hash.map(|hash| PasswordRecord(hash.to_string())).map_err(|_| HashError::Failed)
        };
        self.run(hash).await
    }

    /// Whether this is the password that was hashed; takes the same time whether it is or not.
    ///
    /// # Errors
    /// Too many wait. A damaged record matches nothing.
    pub async fn verify(
        &self,
        password: Password,
        record: PasswordRecord,
    ) -> Result<bool, HashError> {
        let verify = move || {
            let parsed = PasswordHash::new(&record.0).map_err(|_| HashError::Failed)?;
            Ok(argon2().verify_password(password.expose().as_bytes(), &parsed).is_ok())
        };
        self.run(verify).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, HashError> {
        let place = Place(Arc::clone(&self.waiting));
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= HASHING_QUEUE_MAX {
            return Err(HashError::Busy);
        }
        let permit = Arc::clone(&self.running).acquire_owned().await;
        let permit = permit.map_err(|_| HashError::Failed)?;
        // Both go with the work, which runs to its end even if nobody waits for it any more.
        let work = tokio::task::spawn_blocking(move || {
            let _held = (permit, place);
            work()
        });
        work.await.map_err(|_| HashError::Failed)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::new(text.to_owned()).unwrap()
    }

    #[tokio::test]
    async fn only_the_password_itself_is_accepted() {
        let hasher = Hasher::default();
        let record = hasher.hash(password("Open, sesame")).await.unwrap();
        assert!(record.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{record:?}");
        assert_ne!(hasher.hash(password("Open, sesame")).await.unwrap(), record, "fresh salt");
        assert_eq!(hasher.verify(password("Open, sesame"), record.clone()).await, Ok(true));
        assert_eq!(hasher.verify(password("open, sesame"), record).await, Ok(false));
        let damaged = PasswordRecord("$argon2id$x".to_owned());
        assert!(hasher.verify(password("x"), damaged).await.is_err());
    }

    #[tokio::test]
    async fn a_flood_of_guesses_is_refused_beyond_the_queue() {
        let hasher = Hasher::default();
        let record = hasher.hash(password("x")).await.unwrap();
        let blocked = hasher.running.clone().acquire_many_owned(HASHING_AT_ONCE as u32).await;
        let mut flood = Vec::new();
        for _ in 0..HASHING_QUEUE_MAX + 5 {
            let (hasher, record) = (hasher.clone(), record.clone());
            flood.push(tokio::spawn(async move { hasher.verify(password("y"), record).await }));
        }
        tokio::task::yield_now().await;
        drop(blocked);
        let mut busy = 0;
        for guess in flood {
            busy += usize::from(guess.await.unwrap() == Err(HashError::Busy));
        }
        assert_eq!(busy, 5);
        assert_eq!(hasher.waiting.load(Ordering::Relaxed), 0);
    }
}
