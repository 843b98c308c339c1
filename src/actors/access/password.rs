//! Passwords hashed with argon2id (RFC 9106), on threads that may block, a few at a time.

use super::attempts::Origin;
use super::turns::Turns;
use crate::net::limits::HASHING_AT_ONCE;
use crate::net::secret::{Password, Secret};
use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};

/// A password as it is kept: argon2id in the PHC string format, salt included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PasswordRecord(pub String);

/// Bytes that are reserved for a hash, of which only as many are touched as it needs. So large a piece is never kept
/// by an allocator for later, whatever was freed before (glibc: at most 32 MiB, M_MMAP_THRESHOLD in mallopt(3)): when it
/// is freed, its memory is the system's again, and hashing on one thread after the other does not add up.
const RESERVED_BYTES: usize = 48 * 1024 * 1024;

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
    turns: Turns,
    /// One at a time, and then in line with the others: however many register, nobody waits longer to come in.
    registering: Turns,
}

impl Default for Hasher {
    fn default() -> Self {
        Self { turns: Turns::new(HASHING_AT_ONCE), registering: Turns::new(1) }
    }
}

/// OWASP's second recommendation for argon2id: 19 MiB, two passes, one lane.
fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default())
}

/// The hash of a password, as long as the parameters say.
fn digest(argon2: &Argon2<'_>, password: &Password, salt: &[u8]) -> Result<Output, HashError> {
    let length = argon2.params().output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
    let blocks = argon2.params().block_count();
    let mut memory = Vec::with_capacity(blocks.max(RESERVED_BYTES / Block::SIZE));
    memory.resize(blocks, Block::new());
    let mut out = [0; Output::MAX_LENGTH];
    let out = out.get_mut(..length).ok_or(HashError::Failed)?;
    let password = password.expose().as_bytes();
    let hashed = argon2.hash_password_into_with_memory(password, salt, out, &mut memory);
    hashed.map_err(|_| HashError::Failed)?;
    Output::new(out).map_err(|_| HashError::Failed)
}

fn hash(password: &Password) -> Result<PasswordRecord, HashError> {
    let argon2 = argon2();
    let fresh = Secret::<{ Salt::RECOMMENDED_LENGTH }>::random().map_err(|_| HashError::Failed)?;
    let salt = Salt::new(fresh.expose()).map_err(|_| HashError::Failed)?;
    let record = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(argon2.params()).map_err(|_| HashError::Failed)?,
        hash: Some(digest(&argon2, password, &salt)?),
        salt: Some(salt),
    };
    Ok(PasswordRecord(record.to_string()))
}

/// Compares with what the record says of how it was hashed.
fn verify(password: &Password, record: &PasswordRecord) -> Result<bool, HashError> {
    let parsed = PasswordHash::new(&record.0).map_err(|_| HashError::Failed)?;
    let algorithm =
        Algorithm::try_from(parsed.algorithm.as_str()).map_err(|_| HashError::Failed)?;
    let version = parsed.version.map_or(Ok(Version::V0x13), Version::try_from);
    let version = version.map_err(|_| HashError::Failed)?;
    let params = Params::try_from(&parsed).map_err(|_| HashError::Failed)?;
    let (Some(salt), Some(expected)) = (&parsed.salt, &parsed.hash) else {
        return Err(HashError::Failed);
    };
    // In the same time whether they are equal or not: `Output` sees to that.
    Ok(digest(&Argon2::new(algorithm, version, params), password, salt)? == *expected)
}

impl Hasher {
    /// Hashes a password with a fresh salt, for somebody from there.
    ///
    /// # Errors
    /// Too many wait, or the system gives no randomness.
    pub async fn hash(
        &self,
        origin: Origin,
        password: Password,
    ) -> Result<PasswordRecord, HashError> {
        self.run(origin, move || hash(&password)).await
    }

    /// As [`Self::hash`], for a name: anybody may ask for it, and those who come in go before.
    ///
    /// # Errors
    /// As [`Self::hash`].
    pub async fn hash_for_name(
        &self,
        origin: Origin,
        password: Password,
    ) -> Result<PasswordRecord, HashError> {
        let _turn = self.registering.take(origin).await.map_err(|_| HashError::Busy)?;
        // Nobody's line but this one's is in the way of it.
        self.hash(Origin::of(None), password).await
    }

    /// Whether this is the password that was hashed; takes the same time whether it is or not.
    ///
    /// # Errors
    /// Too many wait. A damaged record matches nothing.
    pub async fn verify(
        &self,
        origin: Origin,
        password: Password,
        record: PasswordRecord,
    ) -> Result<bool, HashError> {
        self.run(origin, move || verify(&password, &record)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        origin: Origin,
        work: impl FnOnce() -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, HashError> {
        let turn = self.turns.take(origin).await.map_err(|_| HashError::Busy)?;
        // It goes with the work, which runs to its end even if nobody waits for it any more.
        let work = tokio::task::spawn_blocking(move || {
            let _held = turn;
            work()
        });
        work.await.map_err(|_| HashError::Failed)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::limits::HASHING_PER_ADDRESS_MAX;

    fn here() -> Origin {
        Origin::of(None)
    }

    fn password(text: &str) -> Password {
        Password::new(text.to_owned()).unwrap()
    }

    #[tokio::test]
    async fn only_the_password_itself_is_accepted() {
        let hasher = Hasher::default();
        let record = hasher.hash(here(), password("Open, sesame")).await.unwrap();
        assert!(record.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{record:?}");
        assert_ne!(
            hasher.hash(here(), password("Open, sesame")).await.unwrap(),
            record,
            "fresh salt"
        );
        assert_eq!(hasher.verify(here(), password("Open, sesame"), record.clone()).await, Ok(true));
        assert_eq!(hasher.verify(here(), password("open, sesame"), record).await, Ok(false));
        let damaged = PasswordRecord("$argon2id$x".to_owned());
        assert!(hasher.verify(here(), password("x"), damaged).await.is_err());
    }

    #[tokio::test]
    async fn records_are_those_of_the_library() {
        use argon2::{PasswordHasher, PasswordVerifier};
        let theirs = argon2().hash_password(b"Open, sesame").unwrap().to_string();
        let hasher = Hasher::default();
        let verified =
            hasher.verify(here(), password("Open, sesame"), PasswordRecord(theirs)).await;
        assert_eq!(verified, Ok(true));
        let ours = hasher.hash(here(), password("Open, sesame")).await.unwrap();
        assert!(argon2().verify_password(b"Open, sesame", ours.0.as_str()).is_ok());
        assert!(argon2().verify_password(b"open, sesame", ours.0.as_str()).is_err());
    }

    /// The allocator of Linux is the one that keeps what it can.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_hash_s_memory_goes_back_to_the_system() {
        let resident_kib = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<i64>().unwrap()
        };
        // Other tests hash, too, and it is no fault if one of them does so at the end of this one: a thread that keeps
        // its memory would add 19 MiB each time.
        let before = resident_kib();
        let threads: Vec<_> = (0..8)
            .map(|_| std::thread::spawn(|| (0..2).for_each(|_| drop(hash(&password("x"))))))
            .collect();
        // Alive until all are counted: an arena goes on with its thread.
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let grown = resident_kib() - before;
        assert!(grown < 4 * 19 * 1024, "{grown} KiB");
    }

    #[tokio::test]
    async fn a_flood_of_guesses_is_refused_beyond_the_line_and_keeps_nobody_else_out() {
        let hasher = Hasher::default();
        let record = hasher.hash(here(), password("x")).await.unwrap();
        let eve = Origin::of(Some("203.0.113.1".parse().unwrap()));
        let guess = |from, text| {
            let (hasher, record) = (hasher.clone(), record.clone());
            tokio::spawn(async move { hasher.verify(from, password(text), record).await })
        };
        let flood: Vec<_> = (0..HASHING_PER_ADDRESS_MAX + 5).map(|_| guess(eve, "y")).collect();
        tokio::task::yield_now().await;
        let ann = Origin::of(Some("203.0.113.2".parse().unwrap()));
        assert_eq!(guess(ann, "x").await.unwrap(), Ok(true));
        let mut busy = 0;
        for guess in flood {
            busy += usize::from(guess.await.unwrap() == Err(HashError::Busy));
        }
        assert_eq!((busy, hasher.turns.waiting()), (5, 0));
    }

    #[tokio::test]
    async fn those_who_register_leave_the_turns_to_those_who_come_in() {
        let hasher = Hasher::default();
        let origin = |k: u32| Origin::of(Some(std::net::IpAddr::V4((1 << 30 | k).into())));
        let registering: Vec<_> = (0..20)
            .map(|k| {
                let hasher = hasher.clone();
                tokio::spawn(async move { hasher.hash_for_name(origin(k), password("x")).await })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!((hasher.registering.waiting(), hasher.turns.waiting()), (20, 1));
        for one in registering {
            one.await.unwrap().unwrap();
        }
    }
}
