//! The client's state directory: which servers it knows, and the device's own key.
//!
//! Both are small files that are read when they are needed, so that what the user changes in them
//! counts at once, and several clients can run side by side. Everything here blocks.

use super::texts;
use super::trust::{Accepted, Expect, KnownServers, Memory, Refusal, ServerId, Shown, judge};
use super::visits::{Visit, Visits};
use super::volumes::{Volume, VolumeBook};
use crate::net::device::DeviceKey;
use crate::net::limits::{KNOWN_SERVERS_BYTES_MAX, VISITS_BYTES_MAX, VOLUMES_BYTES_MAX};
use crate::net::name::UserName;
use crate::net::private::{self, PrivateError};
use crate::net::secret::{NoRandomness, Secret};
use std::path::PathBuf;
use zeroize::Zeroizing;

/// The file of known servers.
const KNOWN_SERVERS: &str = "known_servers";
/// The file of the device's key: the 32 bytes of an Ed25519 seed.
const DEVICE_KEY: &str = "device.key";
/// The file of how loud whom.
const VOLUMES: &str = "volumes";
/// The file of where the user was.
const VISITS: &str = "visits";
/// The socket that takes orders.
const ORDERS: &str = "orders.sock";
const SEED_BYTES: usize = 32;

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The system names no home directory.
    #[error("{}", texts::state::NO_HOME)]
    NoHome,
    /// A file or directory.
    #[error(transparent)]
    Private(#[from] PrivateError),
    /// The device's key is no key; which file.
    #[error("{}", texts::state::damaged_key(.0))]
    DamagedKey(String),
    /// The file of known servers is no text; which file.
    #[error("{}", texts::state::no_text(.0))]
    NoText(String),
    /// No key can be made.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

/// The state directory.
#[derive(Debug, Clone)]
pub struct ClientState {
    directory: PathBuf,
}

impl ClientState {
    /// The state in this directory, or where the system keeps such things. It is made if it is not there.
    ///
    /// # Errors
    /// It cannot be made, or others may change what is in it.
    pub fn open(directory: Option<PathBuf>) -> Result<Self, StateError> {
        let directory = directory.or_else(usual_directory).ok_or(StateError::NoHome)?;
        private::make_directory(&directory)?;
        Ok(Self { directory })
    }

    /// The same, but a directory that is not there is made only when something is to be remembered in it.
    ///
    /// # Errors
    /// The system names no place for it, or others may change what is in it.
    pub fn open_later(directory: Option<PathBuf>) -> Result<Self, StateError> {
        let directory = directory.or_else(usual_directory).ok_or(StateError::NoHome)?;
        if directory.exists() {
            private::make_directory(&directory)?;
        }
        Ok(Self { directory })
    }

    /// Where the known servers are written down.
    #[must_use]
    pub fn known_servers(&self) -> PathBuf {
        self.directory.join(KNOWN_SERVERS)
    }

    /// Where a client that runs takes orders.
    #[must_use]
    pub fn orders(&self) -> PathBuf {
        self.directory.join(ORDERS)
    }

    /// Whether anything was ever remembered here.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.directory.exists()
    }

    /// The device's key, made at first use.
    ///
    /// # Errors
    /// It cannot be read or made, or others may read it.
    pub fn device_key(&self) -> Result<DeviceKey, StateError> {
        let path = self.directory.join(DEVICE_KEY);
        let bytes = private::read_or_make(&path, SEED_BYTES as u64, || {
            let seed = DeviceKey::fresh_seed()?;
            Ok::<_, StateError>(Zeroizing::new(seed.expose().to_vec()))
        });
        let damaged = || StateError::DamagedKey(path.display().to_string());
        let bytes = match bytes {
            Err(StateError::Private(PrivateError::TooLarge(_))) => return Err(damaged()),
            bytes => bytes?,
        };
        let seed: &[u8; SEED_BYTES] = bytes.as_slice().try_into().map_err(|_| damaged())?;
        DeviceKey::from_seed(&Secret::new(*seed)).map_err(|_| damaged())
    }

    /// How loud the user wants whom. What cannot be read as text counts as nothing.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn volumes(&self) -> Result<VolumeBook, StateError> {
        let bytes = private::read_intact(&self.directory.join(VOLUMES), VOLUMES_BYTES_MAX)?;
        let text = bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(VolumeBook::parse(&text.unwrap_or_default()))
    }

    /// Remembers how loud the user wants this one, beside what other clients have written down meanwhile.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn set_volume(&self, name: &UserName, volume: Volume) -> Result<(), StateError> {
        private::make_directory(&self.directory)?;
        let path = self.directory.join(VOLUMES);
        let _lock = private::lock(&path)?;
        let mut book = self.volumes()?;
        book.set(name.clone(), volume);
        private::replace(&path, book.to_string().as_bytes())?;
        Ok(())
    }

    /// Where the user was. What cannot be read as text counts as nothing.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn visits(&self) -> Result<Visits, StateError> {
        let bytes = private::read_intact(&self.directory.join(VISITS), VISITS_BYTES_MAX)?;
        let text = bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(Visits::parse(&text.unwrap_or_default()))
    }

    /// Remembers that the user is there now.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn remember_visit(&self, visit: Visit) -> Result<(), StateError> {
        private::make_directory(&self.directory)?;
        let path = self.directory.join(VISITS);
        let _lock = private::lock(&path)?;
        let mut visits = self.visits()?;
        if visits.remember(visit) {
            private::replace(&path, visits.to_string().as_bytes())?;
        }
        Ok(())
    }

    /// What is remembered of a server.
    ///
    /// # Errors
    /// The file cannot be read, or others may change it.
    pub fn recall(&self, server: &ServerId) -> Result<Memory, StateError> {
        Ok(self.read()?.recall(server))
    }

    /// Judges a server by what is remembered right now, and writes down what is to be remembered
    /// of it. Of several clients that meet a server at the same time the first decides for all.
    ///
    /// # Errors
    /// The file cannot be read or written; inside, the server is not to be believed.
    pub fn settle(
        &self,
        server: &ServerId,
        expect: Expect,
        shown: &Shown,
    ) -> Result<Result<Accepted, Refusal>, StateError> {
        let first = judge(expect, &self.recall(server)?, shown);
        if !matches!(first, Ok(Accepted { remember: Some(_), .. })) {
            return Ok(first);
        }
        let path = self.known_servers();
        let _lock = private::lock(&path)?;
        let mut known = self.read()?;
        let verdict = judge(expect, &known.recall(server), shown);
        if let Ok(Accepted { remember: Some(entry), .. }) = verdict {
            known.remember(server, entry);
            private::replace(&path, known.to_string().as_bytes())?;
        }
        Ok(verdict)
    }

    fn read(&self) -> Result<KnownServers, StateError> {
        let path = self.known_servers();
        let Some(bytes) = private::read_intact(&path, KNOWN_SERVERS_BYTES_MAX)? else {
            return Ok(KnownServers::parse(None));
        };
        let text = std::str::from_utf8(&bytes);
        let text = text.map_err(|_| StateError::NoText(path.display().to_string()))?;
        Ok(KnownServers::parse(Some(text)))
    }
}

/// Where the system keeps such things, if there is a home directory.
#[must_use]
pub fn usual_directory() -> Option<PathBuf> {
    let directories = directories::ProjectDirs::from("", "", "parlor")?;
    let state = directories.state_dir().unwrap_or_else(|| directories.data_local_dir());
    Some(state.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::control::dial::Trust;
    use crate::client::trust::Vouched;
    use crate::net::fingerprint::Fingerprint;

    fn state() -> (tempfile::TempDir, ClientState) {
        let home = tempfile::tempdir().unwrap();
        let state = ClientState::open(Some(home.path().join("state"))).unwrap();
        (home, state)
    }

    fn shown(byte: u8) -> Shown {
        let vouched = Vouched::No(String::new());
        Shown { fingerprint: Fingerprint::new([byte; 32]), vouched }
    }

    #[test]
    fn the_device_keeps_its_key_and_another_device_has_another() {
        let ((_one, here), (_two, there)) = (state(), state());
        let id = here.device_key().unwrap().id();
        assert_eq!(here.device_key().unwrap().id(), id);
        assert_ne!(there.device_key().unwrap().id(), id);
    }

    #[test]
    fn volumes_are_remembered_by_name_and_clients_side_by_side_lose_none() {
        let (_home, state) = state();
        let name = |text: &str| UserName::parse(text).unwrap();
        let half = Volume { percent: 50, ignored: false };
        let ignored = Volume { percent: 100, ignored: true };
        state.set_volume(&name("Bob"), half).unwrap();
        state.clone().set_volume(&name("Eve"), ignored).unwrap();
        let book = state.volumes().unwrap();
        assert_eq!((book.get(&name("bob")), book.get(&name("Eve"))), (half, ignored));
        assert_eq!(book.get(&name("Ann")), Volume::default());
    }

    #[test]
    fn nothing_is_made_before_there_is_something_to_remember() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("state");
        let state = ClientState::open_later(Some(directory.clone())).unwrap();
        assert_eq!(state.volumes().unwrap(), VolumeBook::default());
        assert!(!directory.exists());
        let half = Volume { percent: 50, ignored: false };
        state.set_volume(&UserName::parse("Bob").unwrap(), half).unwrap();
        let again = ClientState::open_later(Some(directory)).unwrap().volumes().unwrap();
        assert_eq!(again.get(&UserName::parse("Bob").unwrap()), half);
    }

    #[cfg(unix)]
    #[test]
    fn the_key_is_for_its_owner_alone_and_a_damaged_one_is_told() {
        use std::os::unix::fs::PermissionsExt;
        let (_home, state) = state();
        state.device_key().unwrap();
        let key = state.directory.join(DEVICE_KEY);
        let mode = |path: &PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&state.directory), mode(&key)), (0o700, 0o600));
        for length in [0, 31, 33] {
            private::replace(&key, &vec![1; length]).unwrap();
            let error = state.device_key().unwrap_err();
            assert!(matches!(error, StateError::DamagedKey(_)), "{length}: {error}");
        }
        private::replace(&key, &[1; 32]).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(state.device_key(), Err(StateError::Private(PrivateError::Open { .. }))));
    }

    #[test]
    fn clients_that_meet_many_servers_at_once_lose_none_of_them() {
        let (_home, state) = state();
        let clients: Vec<_> = (0..16u8)
            .map(|k| {
                let state = state.clone();
                std::thread::spawn(move || {
                    let server = ServerId::new("h", u16::from(k));
                    state.settle(&server, Expect::Nothing, &shown(k)).unwrap().unwrap()
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        for k in 0..16u8 {
            let memory = state.recall(&ServerId::new("h", u16::from(k))).unwrap();
            assert_eq!(memory.keys, [Fingerprint::new([k; 32])]);
        }
    }

    #[test]
    fn of_two_keys_shown_at_the_same_first_use_only_one_is_believed() {
        let (_home, state) = state();
        let clients: Vec<_> = (1..=8u8)
            .map(|k| {
                let state = state.clone();
                std::thread::spawn(move || {
                    let server = ServerId::new("h", 1);
                    state.settle(&server, Expect::Nothing, &shown(k)).unwrap().is_ok()
                })
            })
            .collect();
        let believed = clients.into_iter().map(|client| client.join().unwrap());
        assert_eq!(believed.filter(|believed| *believed).count(), 1);
    }

    #[test]
    fn what_the_user_removes_from_the_file_is_forgotten() {
        let (_home, state) = state();
        let server = ServerId::new("h", 1);
        let settle = |byte| state.settle(&server, Expect::Nothing, &shown(byte)).unwrap();
        assert!(matches!(settle(1), Ok(Accepted { trust: Trust::FirstUse(_), .. })));
        assert!(matches!(settle(1), Ok(Accepted { trust: Trust::Known, .. })));
        assert!(settle(2).is_err());
        let text = std::fs::read_to_string(state.known_servers()).unwrap();
        let kept: String = text.lines().filter(|l| !l.starts_with("h:1 ")).collect();
        std::fs::write(state.known_servers(), kept).unwrap();
        assert!(matches!(settle(2), Ok(Accepted { trust: Trust::FirstUse(_), .. })));
    }
}
