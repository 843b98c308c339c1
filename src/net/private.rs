//! Files that belong to one user alone: keys, and lists that trust rests on.
//!
//! Directories are made with mode 0700 and files with 0600. A file is replaced as a whole (a new
//! one is written, synced and renamed), so that whoever reads it finds the old or the new one, also
//! after a power cut. Everything here blocks.

use super::clock;
use super::limits::STATE_LOCK_MAX;
use super::secret::Secret;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// How often a locked file is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// Why a private file cannot be used. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// The system says no.
    #[error("{path}: {error}")]
    Io {
        /// Which file or directory.
        path: String,
        /// Its words.
        error: io::Error,
    },
    /// Others can read the file.
    #[error(
        "{path} can be read or changed by other users of this machine (mode {mode:04o}). If nobody has, close it: \
         chmod 600 '{path}'. Otherwise put a new one in its place; Parlor's own are made anew when they are removed"
    )]
    Open {
        /// Which.
        path: String,
        /// Its permissions.
        mode: u32,
    },
    /// Others can change what is in the directory.
    #[error(
        "other users of this machine can change the directory {path} (mode {mode:04o}); close it: chmod 700 '{path}'"
    )]
    OpenDirectory {
        /// Which.
        path: String,
        /// Its permissions.
        mode: u32,
    },
    /// It belongs to somebody else, who can open it at any time.
    #[error(
        "{path} belongs to another user of this machine (number {owner}), who could change it at any time. If it is meant \
         for Parlor, make it yours: chown it to the user that runs this; otherwise choose another"
    )]
    Foreign {
        /// Which.
        path: String,
        /// The user's number.
        owner: u32,
    },
    /// More bytes than such a file ever has.
    #[error("{0} is too large to be what it should be")]
    TooLarge(String),
    /// Another process holds it.
    #[error("{0} is locked by another process, which should let go at once; end it and try again")]
    Locked(String),
}

fn at(path: &Path) -> impl Fn(io::Error) -> PrivateError + '_ {
    |error| PrivateError::Io { path: path.display().to_string(), error }
}

/// Makes a directory, and those above it, for this user alone. One that is there must not be open
/// to changes by others, nor be another user's.
///
/// # Errors
/// It cannot be made, is none, is another user's, or others may write to it.
pub fn make_directory(path: &Path) -> Result<(), PrivateError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(at(path))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let found = std::fs::metadata(path).map_err(at(path))?;
        refuse_foreign(path, &found)?;
        let mode = found.permissions().mode() & 0o7777;
        if mode & 0o022 != 0 {
            return Err(PrivateError::OpenDirectory { path: path.display().to_string(), mode });
        }
    }
    Ok(())
}

/// Whoever owns a file can open it, whatever its mode says now. Root can do that anyway.
#[cfg(unix)]
fn refuse_foreign(path: &Path, found: &std::fs::Metadata) -> Result<(), PrivateError> {
    let owner = std::os::unix::fs::MetadataExt::uid(found);
    match is_trusted(owner, rustix::process::geteuid().as_raw()) {
        true => Ok(()),
        false => Err(PrivateError::Foreign { path: path.display().to_string(), owner }),
    }
}

#[cfg(unix)]
fn is_trusted(owner: u32, user: u32) -> bool {
    owner == user || owner == rustix::process::Uid::ROOT.as_raw()
}

/// Reads a file that only its owner may read; `None` if there is none.
///
/// # Errors
/// It cannot be read, others may read it, or it is larger than `bytes_max`.
pub fn read(path: &Path, bytes_max: u64) -> Result<Option<Zeroizing<Vec<u8>>>, PrivateError> {
    read_closed_to(0o077, path, bytes_max)
}

/// Reads a file that only its owner may change; `None` if there is none.
///
/// # Errors
/// It cannot be read, others may write to it, or it is larger than `bytes_max`.
pub fn read_intact(
    path: &Path,
    bytes_max: u64,
) -> Result<Option<Zeroizing<Vec<u8>>>, PrivateError> {
    read_closed_to(0o022, path, bytes_max)
}

/// `others`: permissions that nobody but the owner may have.
fn read_closed_to(
    others: u32,
    path: &Path,
    bytes_max: u64,
) -> Result<Option<Zeroizing<Vec<u8>>>, PrivateError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(path)(error)),
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let found = file.metadata().map_err(at(path))?;
        refuse_foreign(path, &found)?;
        let mode = found.permissions().mode() & 0o7777;
        if mode & others != 0 {
            return Err(PrivateError::Open { path: path.display().to_string(), mode });
        }
    }
    #[cfg(not(unix))]
    let _ = others;
    read_bounded(file, path, bytes_max).map(Some)
}

/// Reads a file that its owner and group may read, as services are given keys.
///
/// # Errors
/// There is none, everyone may read it, or it is larger than `bytes_max`.
pub fn read_unshared(path: &Path, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>, PrivateError> {
    let found = read_closed_to(0o027, path, bytes_max)?;
    found.ok_or_else(|| at(path)(io::ErrorKind::NotFound.into()))
}

/// Reads any file up to `bytes_max`.
///
/// # Errors
/// It cannot be read, or is larger.
pub fn read_any(path: &Path, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>, PrivateError> {
    read_bounded(File::open(path).map_err(at(path))?, path, bytes_max)
}

fn read_bounded(
    file: File,
    path: &Path,
    bytes_max: u64,
) -> Result<Zeroizing<Vec<u8>>, PrivateError> {
    // With room for all of it at once: a vector that grows leaves copies behind.
    let length = file.metadata().map_err(at(path))?.len();
    if length > bytes_max {
        return Err(PrivateError::TooLarge(path.display().to_string()));
    }
    let room = usize::try_from(length).unwrap_or(0).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(at(path))?;
    if bytes.len() as u64 > bytes_max {
        return Err(PrivateError::TooLarge(path.display().to_string()));
    }
    Ok(bytes)
}

/// Puts a file with these bytes in the place of the one before, if there was one: whole, or not at all.
///
/// # Errors
/// It cannot be written; the one before is untouched.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), PrivateError> {
    let random = Secret::<8>::random().map_err(|e| at(path)(io::Error::other(e)))?;
    let temporary = sibling(path, &format!("{:016x}.tmp", u64::from_ne_bytes(*random.expose())));
    let written = write_new(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path));
    if let Err(error) = written {
        let _ = std::fs::remove_file(&temporary);
        return Err(at(path)(error));
    }
    // The name, too, must survive a power cut. Where directories cannot be synced it does anyway.
    #[cfg(unix)]
    if let Some(directory) = path.parent()
        && let Ok(directory) = File::open(directory)
    {
        let _ = directory.sync_all();
    }
    Ok(())
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A file beside `path`, with something behind its name.
fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

/// The right to change a file, held until it is dropped. Other processes wait for it.
#[derive(Debug)]
pub struct Lock(Option<File>);

/// Takes the right to change `path`. The lock is a file beside it, which stays.
///
/// # Errors
/// The lock's file cannot be made, or another process keeps it for too long.
pub fn lock(path: &Path) -> Result<Lock, PrivateError> {
    let beside = sibling(path, "lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&beside).map_err(at(&beside))?;
    let deadline = clock::now() + STATE_LOCK_MAX;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock(Some(file))),
            Err(TryLockError::WouldBlock) if clock::now() < deadline => {
                std::thread::sleep(LOCK_RETRY);
            }
            Err(TryLockError::WouldBlock) => {
                return Err(PrivateError::Locked(beside.display().to_string()));
            }
            // Some network file systems have no locks. Files are replaced as a whole there, too.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                return Ok(Lock(None));
            }
            Err(TryLockError::Error(error)) => return Err(at(&beside)(error)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(file) = &self.0 {
            let _ = file.unlock();
        }
    }
}

/// What is in a private file; where there is none, what `make` makes becomes it. Processes that
/// start at the same time all get the same.
///
/// # Errors
/// The file cannot be read or written, or others may read it, or `make` fails.
pub fn read_or_make<E: From<PrivateError>>(
    path: &Path,
    bytes_max: u64,
    make: impl FnOnce() -> Result<Zeroizing<Vec<u8>>, E>,
) -> Result<Zeroizing<Vec<u8>>, E> {
    if let Some(bytes) = read(path, bytes_max)? {
        return Ok(bytes);
    }
    let _lock = lock(path)?;
    if let Some(bytes) = read(path, bytes_max)? {
        return Ok(bytes);
    }
    replace(path, &make()?)?;
    // What is on the disk counts: without locks another process may have been later.
    match read(path, bytes_max)? {
        Some(bytes) => Ok(bytes),
        None => Err(at(path)(io::ErrorKind::NotFound.into()).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    fn mode(path: &Path) -> u32 {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[cfg(unix)]
    fn set_mode(path: &Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn directories_are_0700_and_files_0600_whatever_the_mask() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("a/b");
        make_directory(&directory).unwrap();
        let file = directory.join("key");
        replace(&file, b"secret").unwrap();
        let _lock = lock(&file).unwrap();
        assert_eq!((mode(&directory), mode(&home.path().join("a"))), (0o700, 0o700));
        assert_eq!((mode(&file), mode(&directory.join("key.lock"))), (0o600, 0o600));
    }

    #[cfg(unix)]
    #[test]
    fn what_others_can_read_or_change_is_refused_with_what_to_do() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("key");
        replace(&file, b"secret").unwrap();
        assert_eq!(read(&file, 100).unwrap().unwrap().as_slice(), b"secret");
        for bits in [0o640, 0o604, 0o660, 0o602] {
            set_mode(&file, bits);
            let error = read(&file, 100).unwrap_err();
            assert!(matches!(error, PrivateError::Open { mode, .. } if mode == bits), "{error}");
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        set_mode(&file, 0o644);
        assert!(read_intact(&file, 100).unwrap().is_some(), "no secret, and nobody can change it");
        set_mode(&file, 0o664);
        assert!(read_intact(&file, 100).is_err());
        set_mode(home.path(), 0o770);
        let error = make_directory(home.path()).unwrap_err();
        assert!(error.to_string().contains("chmod 700"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn what_belongs_to_another_user_is_refused() {
        for (owner, user, trusted) in [
            (1000, 1000, true),
            (0, 1000, true),
            (0, 0, true),
            (1001, 1000, false),
            (1000, 0, false),
        ] {
            assert_eq!(is_trusted(owner, user), trusted, "{owner} {user}");
        }
        // Only root can give files away, to try it on the disk.
        if rustix::process::geteuid().is_root() {
            let home = tempfile::tempdir().unwrap();
            let file = home.path().join("key");
            replace(&file, b"secret").unwrap();
            std::os::unix::fs::chown(&file, Some(4711), None).unwrap();
            for error in [
                read(&file, 100).unwrap_err(),
                read_intact(&file, 100).unwrap_err(),
                read_unshared(&file, 100).unwrap_err(),
            ] {
                assert!(matches!(error, PrivateError::Foreign { owner: 4711, .. }), "{error}");
                assert!(error.to_string().contains("chown"), "{error}");
            }
            std::os::unix::fs::chown(home.path(), Some(4711), None).unwrap();
            let error = make_directory(home.path()).unwrap_err();
            assert!(matches!(error, PrivateError::Foreign { owner: 4711, .. }), "{error}");
        }
    }

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("list");
        assert!(read(&file, 3).unwrap().is_none());
        replace(&file, b"abc").unwrap();
        assert_eq!(read(&file, 3).unwrap().unwrap().as_slice(), b"abc");
        assert!(matches!(read(&file, 2), Err(PrivateError::TooLarge(_))));
    }

    #[test]
    fn those_who_start_at_once_get_the_same_and_leave_nothing_lying_about() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("key");
        let starts: Vec<_> = (0..8u8)
            .map(|k| {
                let file = file.clone();
                std::thread::spawn(move || {
                    let make = || Ok::<_, PrivateError>(Zeroizing::new(vec![k; 32]));
                    read_or_make(&file, 100, make).unwrap()
                })
            })
            .collect();
        let all: Vec<_> = starts.into_iter().map(|start| start.join().unwrap()).collect();
        assert!(all.iter().all(|bytes| bytes == &all[0]));
        let mut names: Vec<_> = std::fs::read_dir(home.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["key", "key.lock"]);
    }

    #[test]
    fn a_file_that_cannot_be_replaced_stays_as_it_was() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("taken");
        std::fs::create_dir(&directory).unwrap();
        // A directory stands where the file should go: the rename fails after all was written.
        assert!(replace(&directory, b"bytes").is_err());
        assert!(directory.is_dir());
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);
    }
}
