//! The server's identity: its key and certificate, and where they are kept.
//!
//! By default a P-256 key lies in the state directory and a self-signed certificate is made for it
//! at each start: clients know the server by the key. An operator's own certificate is read from
//! its files, again and again, so that a renewal needs no restart.

use crate::net::fingerprint::Fingerprint;
use crate::net::limits::{CERTIFICATE_POLL, PEM_BYTES_MAX};
use crate::net::private::{self, PrivateError};
use crate::net::tls;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use zeroize::{Zeroize, Zeroizing};

/// The key's file in the state directory.
const KEY_FILE: &str = "key.pem";
/// What the self-signed certificate calls the server; nobody goes by it.
const COMMON_NAME: &str = "parlor-server";

/// Where the identity comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Made now, gone with the process.
    Memory,
    /// A key in this state directory, made at the first start.
    State(PathBuf),
    /// The operator's certificate chain and key, PEM.
    Files {
        /// The certificate, and those between it and its authority.
        chain: PathBuf,
        /// Its key.
        key: PathBuf,
    },
}

/// Why there is no identity. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error(transparent)]
    Private(#[from] PrivateError),
    /// The state's key is no key.
    #[error(
        "{path} holds no usable key ({why}). Put the right file back; without it remove the file, and a new key is \
         made, which every client will refuse at first"
    )]
    Damaged {
        /// The file.
        path: String,
        /// The library's words.
        why: String,
    },
    /// `--cert` and `--key` do not make a pair.
    #[error("the certificate {chain} and the key {key} cannot be used: {why}")]
    Pair {
        /// The certificate's file.
        chain: String,
        /// The key's file.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// The libraries refuse to make a key.
    #[error("no key can be made: {0}")]
    Library(String),
}

/// The directory for the server's state, where the system keeps such things; `None` where there is no home.
#[must_use]
pub fn default_state_directory() -> Option<PathBuf> {
    let directories = directories::ProjectDirs::from("", "", "parlor-server")?;
    let state = directories.state_dir().unwrap_or_else(|| directories.data_local_dir());
    Some(state.to_owned())
}

/// The certificate that is shown now. Shared with TLS, which asks at each handshake.
#[derive(Debug)]
pub struct Certificates(RwLock<Arc<CertifiedKey>>);

impl Certificates {
    fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, to: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(to);
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

/// The identity of a running server.
#[derive(Debug)]
pub struct Identity {
    source: Source,
    certificates: Arc<Certificates>,
    /// What the files held when they were looked at last.
    seen: Option<Pem>,
}

impl Identity {
    /// Loads the identity, or makes one. Blocks.
    ///
    /// # Errors
    /// The files cannot be used, or are not for the owner alone.
    pub fn load(source: Source) -> Result<Self, IdentityError> {
        let mut seen = None;
        let certified = match &source {
            Source::Memory => self_signed(&fresh_key()?)?,
            Source::State(directory) => {
                private::make_directory(directory)?;
                from_state(&directory.join(KEY_FILE))?
            }
            Source::Files { chain, key } => {
                let files = Pem::read(chain, key)?;
                let certified = files.parse().map_err(|why| pair_error(chain, key, why))?;
                seen = Some(files);
                certified
            }
        };
        let certificates = Arc::new(Certificates(RwLock::new(Arc::new(certified))));
        Ok(Self { source, certificates, seen })
    }

    /// What TLS shows of it; stays right when the certificate changes.
    #[must_use]
    pub fn certificates(&self) -> Arc<Certificates> {
        Arc::clone(&self.certificates)
    }

    /// What clients know the server by, as of now.
    ///
    /// # Errors
    /// The certificate cannot be read, which has been checked before.
    pub fn fingerprint(&self) -> Result<Fingerprint, IdentityError> {
        fingerprint(&self.certificates.current())
            .map_err(|error| IdentityError::Library(error.to_string()))
    }

    /// Looks at the operator's files again and again, and shows what is new in them. What cannot be
    /// used is said once, and the certificate before it stays. Never ends; with nothing to look at it only waits.
    pub async fn follow(mut self) {
        let Source::Files { chain, key } = self.source.clone() else {
            return std::future::pending().await;
        };
        let mut unreadable = None;
        loop {
            tokio::time::sleep(CERTIFICATE_POLL).await;
            let (chain, key) = (chain.clone(), key.clone());
            // Off this thread: the files may lie on a network.
            let read = tokio::task::spawn_blocking(move || Pem::read(&chain, &key)).await;
            match read {
                Ok(Ok(files)) => {
                    unreadable = None;
                    self.take(files);
                }
                Ok(Err(error)) => {
                    let why = error.to_string();
                    if unreadable.as_ref() != Some(&why) {
                        tracing::warn!(%why, "the certificate cannot be read again; the one before stays");
                    }
                    unreadable = Some(why);
                }
                Err(_) => return std::future::pending().await,
            }
        }
    }

    fn take(&mut self, files: Pem) {
        if self.seen.as_ref() == Some(&files) {
            return;
        }
        match files.parse() {
            Ok(certified) => {
                let fingerprint = fingerprint(&certified).map(|f| f.to_string());
                tracing::info!(fingerprint = fingerprint.unwrap_or_default(), "new certificate");
                self.certificates.change(certified);
            }
            Err(why) => {
                tracing::warn!(%why, "the new certificate cannot be used; the one before stays");
            }
        }
        self.seen = Some(files);
    }
}

fn fingerprint(certified: &CertifiedKey) -> Result<Fingerprint, rustls::Error> {
    tls::fingerprint(certified.end_entity_cert()?)
}

// ---- a key of our own ---------------------------------------------------------------------

/// A key whose bytes are wiped when it goes.
struct Key(KeyPair);

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

fn library(error: impl ToString) -> IdentityError {
    IdentityError::Library(error.to_string())
}

fn fresh_key() -> Result<Key, IdentityError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map(Key).map_err(library)
}

fn from_state(path: &Path) -> Result<CertifiedKey, IdentityError> {
    let bytes = private::read_or_make(path, PEM_BYTES_MAX, || {
        let pem = Zeroizing::new(fresh_key()?.0.serialize_pem());
        Ok::<_, IdentityError>(Zeroizing::new(pem.as_bytes().to_vec()))
    })?;
    let damaged = |why: String| IdentityError::Damaged { path: path.display().to_string(), why };
    let pem = std::str::from_utf8(&bytes).map_err(|error| damaged(error.to_string()))?;
    let key = KeyPair::from_pem(pem).map_err(|error| damaged(error.to_string()))?;
    self_signed(&Key(key))
}

/// A certificate for a key, by itself, without an end that anyone will see.
fn self_signed(key: &Key) -> Result<CertifiedKey, IdentityError> {
    let mut params = CertificateParams::new([COMMON_NAME.to_owned()]).map_err(library)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, COMMON_NAME);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2120, 1, 1);
    let certificate = params.self_signed(&key.0).map_err(library)?;
    let der = PrivateKeyDer::try_from(key.0.serialize_der()).map_err(library)?;
    let chain = vec![certificate.der().clone()];
    CertifiedKey::from_der(chain, der, &tls::provider()).map_err(library)
}

// ---- the operator's files -----------------------------------------------------------------

/// What the two files hold.
#[derive(PartialEq, Eq)]
struct Pem {
    chain: Zeroizing<Vec<u8>>,
    key: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pem")
    }
}

impl Pem {
    /// A key that every user of the machine can read is refused. Its group may: services are
    /// given such keys.
    fn read(chain: &Path, key: &Path) -> Result<Self, IdentityError> {
        Ok(Self {
            chain: private::read_any(chain, PEM_BYTES_MAX)?,
            key: private::read_unshared(key, PEM_BYTES_MAX)?,
        })
    }

    fn parse(&self) -> Result<CertifiedKey, String> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&self.chain)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("the certificate's file is no PEM: {}", pem_words(&error)))?;
        if chain.is_empty() {
            return Err("the certificate's file holds no certificate".to_owned());
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| format!("the key's file is no PEM key: {}", pem_words(&error)))?;
        let provider = tls::provider();
        CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                "the key is not that of the certificate (which comes first in its file)".to_owned()
            }
            error => error.to_string(),
        })
    }
}

fn pem_words(error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => "nothing of that kind in it".to_owned(),
        error => error.to_string(),
    }
}

fn pair_error(chain: &Path, key: &Path, why: String) -> IdentityError {
    IdentityError::Pair { chain: chain.display().to_string(), key: key.display().to_string(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(source: &Source) -> Identity {
        Identity::load(source.clone()).unwrap()
    }

    fn print(source: &Source) -> Fingerprint {
        load(source).fingerprint().unwrap()
    }

    /// A pair of files as an authority's tool writes them.
    fn write_pair(directory: &Path) -> (Source, Fingerprint) {
        let key = fresh_key().unwrap();
        let certified = self_signed(&key).unwrap();
        let params = CertificateParams::new(["chat.example".to_owned()]).unwrap();
        let pem = params.self_signed(&key.0).unwrap().pem();
        let (chain, path) = (directory.join("chain.pem"), directory.join("private.pem"));
        private::replace(&chain, pem.as_bytes()).unwrap();
        private::replace(&path, key.0.serialize_pem().as_bytes()).unwrap();
        (Source::Files { chain, key: path }, fingerprint(&certified).unwrap())
    }

    #[test]
    fn the_same_state_directory_gives_the_same_fingerprint_and_another_one_another() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let source = Source::State(here.path().join("deep/state"));
        let first = print(&source);
        assert_eq!(print(&source), first);
        assert_ne!(print(&Source::State(there.path().to_owned())), first);
        assert_ne!(print(&Source::Memory), print(&Source::Memory));
    }

    #[cfg(unix)]
    #[test]
    fn the_key_is_for_its_owner_alone_and_refused_if_it_was_not() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("state");
        let source = Source::State(directory.clone());
        load(&source);
        let key = directory.join(KEY_FILE);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&directory), mode(&key)), (0o700, 0o600));
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = Identity::load(source).unwrap_err().to_string();
        assert!(error.contains("key.pem") && error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_damaged_key_is_neither_used_nor_replaced() {
        let home = tempfile::tempdir().unwrap();
        let source = Source::State(home.path().to_owned());
        load(&source);
        let key = home.path().join(KEY_FILE);
        let whole = std::fs::read(&key).unwrap();
        for cut in [0, 1, whole.len() / 2, whole.len() - 30] {
            private::replace(&key, &whole[..cut]).unwrap();
            let error = Identity::load(source.clone()).unwrap_err();
            assert!(matches!(error, IdentityError::Damaged { .. }), "{cut}: {error}");
            assert_eq!(std::fs::read(&key).unwrap(), whole[..cut]);
        }
    }

    #[test]
    fn starts_at_the_same_time_get_the_same_key() {
        let home = tempfile::tempdir().unwrap();
        let source = Source::State(home.path().join("state"));
        let starts: Vec<_> = (0..6)
            .map(|_| {
                let source = source.clone();
                std::thread::spawn(move || print(&source))
            })
            .collect();
        let all: Vec<_> = starts.into_iter().map(|start| start.join().unwrap()).collect();
        assert!(all.iter().all(|print| *print == all[0]));
    }

    #[test]
    fn a_renewed_certificate_is_shown_and_a_broken_one_is_not() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (source, first) = write_pair(here.path());
        let Source::Files { chain, key } = &source else { unreachable!() };
        let mut identity = load(&source);
        let read = || Pem::read(chain, key).unwrap();
        assert_eq!(identity.fingerprint().unwrap(), first);
        // Half of a renewal: the certificate is new and the key is not.
        let (Source::Files { chain: new_chain, key: new_key }, second) = write_pair(there.path())
        else {
            unreachable!()
        };
        std::fs::copy(&new_chain, chain).unwrap();
        identity.take(read());
        assert_eq!(identity.fingerprint().unwrap(), first);
        std::fs::copy(&new_key, key).unwrap();
        identity.take(read());
        assert_eq!(identity.fingerprint().unwrap(), second);
        std::fs::write(chain, "no certificate").unwrap();
        identity.take(read());
        assert_eq!(identity.fingerprint().unwrap(), second);
    }

    #[test]
    fn a_pair_that_is_none_is_refused_with_the_reason() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (Source::Files { chain, key }, _) = write_pair(here.path()) else { unreachable!() };
        let (Source::Files { key: other, .. }, _) = write_pair(there.path()) else {
            unreachable!()
        };
        let why = |chain: &PathBuf, key: &PathBuf| {
            let source = Source::Files { chain: chain.clone(), key: key.clone() };
            Identity::load(source).unwrap_err().to_string()
        };
        assert!(why(&chain, &other).contains("not that of the certificate"));
        assert!(why(&key, &key).contains("holds no certificate"));
        assert!(why(&chain, &chain).contains("no PEM key"));
        let absent = here.path().join("absent.pem");
        assert!(why(&chain, &absent).contains("absent.pem"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |bits| std::fs::Permissions::from_mode(bits);
            std::fs::set_permissions(&key, mode(0o640)).unwrap();
            load(&Source::Files { chain: chain.clone(), key: key.clone() });
            std::fs::set_permissions(&key, mode(0o644)).unwrap();
            assert!(why(&chain, &key).contains("chmod"), "{}", why(&chain, &key));
        }
    }
}
