//! The store on disk: SQLite in the state directory. Read once at the start, then written to by one thread.
//!
//! Changes go in transactions with `synchronous=FULL` on a write-ahead log: what was confirmed is there
//! after a kill or a power cut, and what was not is not there in part. Batches that wait are
//! written together, so that many confirmations share one sync.

mod writer;

use self::writer::{Batch, Progress, write_all};

use super::core::{
    Change, Identity, IdentityId, InviteRecord, KeptRoom, SanctionRecord, Snapshot, Subject,
};
use super::password::PasswordRecord;
use crate::net::device::DeviceId;
use crate::net::limits::{
    AUDIT_ENTRIES_MAX, AUDIT_ROUTINE_MAX, STORE_BACKLOG_MAX, STORE_QUEUE_MAX,
};
use crate::net::moderation::{AuditEntry, SanctionKind};
use crate::net::name::{NameKeys, RoomName, UserName};
use rusqlite::ffi::{
    SQLITE_CONSTRAINT_CHECK, SQLITE_CONSTRAINT_DATATYPE, SQLITE_CONSTRAINT_FOREIGNKEY,
    SQLITE_CONSTRAINT_NOTNULL, SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE,
};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Version of the tables, in the file's `user_version`.
const SCHEMA_VERSION: i64 = 2;
/// Version 1.
const SCHEMA: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
    CREATE TABLE identities (
        id INTEGER PRIMARY KEY, name TEXT, password TEXT, operator INTEGER NOT NULL, created_ms INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE devices (
        device BLOB PRIMARY KEY, identity INTEGER NOT NULL REFERENCES identities(id) ON DELETE CASCADE,
        at INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE invites (
        id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, room TEXT, operator INTEGER NOT NULL,
        uses_left INTEGER NOT NULL, until_ms INTEGER, by TEXT NOT NULL
    ) STRICT;
    CREATE TABLE redemptions (
        invite INTEGER NOT NULL REFERENCES invites(id) ON DELETE CASCADE, identity INTEGER NOT NULL,
        PRIMARY KEY (invite, identity)
    ) STRICT;
    CREATE TABLE sanctions (
        id INTEGER PRIMARY KEY, kind TEXT NOT NULL, label TEXT NOT NULL, room TEXT, until_ms INTEGER,
        by TEXT NOT NULL, reason TEXT
    ) STRICT;
    CREATE TABLE subjects (
        sanction INTEGER NOT NULL REFERENCES sanctions(id) ON DELETE CASCADE, kind TEXT NOT NULL, value ANY NOT NULL
    ) STRICT;
    CREATE TABLE rooms (name TEXT PRIMARY KEY, password TEXT) STRICT;
    CREATE TABLE room_people (
        room TEXT NOT NULL REFERENCES rooms(name) ON DELETE CASCADE ON UPDATE CASCADE,
        identity INTEGER NOT NULL, role TEXT NOT NULL, PRIMARY KEY (room, identity, role)
    ) STRICT;
    CREATE TABLE audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, by TEXT NOT NULL, action TEXT NOT NULL,
        target TEXT NOT NULL, detail TEXT NOT NULL
    ) STRICT;
";
/// What version 2 adds: who made an invite, and which entries of the log are routine.
const SCHEMA_2: &str = "
    ALTER TABLE invites ADD COLUMN maker INTEGER;
    ALTER TABLE audit ADD COLUMN routine INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX audit_by_kind ON audit (routine);
";

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite says no.
    #[error("the store {path} cannot be used: {why}")]
    Database {
        /// The file.
        path: String,
        /// SQLite's words.
        why: String,
    },
    /// A newer server wrote it.
    #[error(
        "the store {path} was written by a newer parlor-server (tables {found}, this one knows {SCHEMA_VERSION}); use that one"
    )]
    Newer {
        /// The file.
        path: String,
        /// Its version.
        found: i64,
    },
    /// Its thread cannot be started.
    #[error("no thread for the store: {0}")]
    Thread(std::io::Error),
}

/// A change has not reached the disk. It holds in memory, and is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the change could not be written to the store")]
pub struct NotWritten;

/// The store's file, open. Blocking: for the store's thread, and for the start.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    path: String,
}

/// Hands changes to the store's thread. A server that keeps nothing has one that only remembers the audit log.
#[derive(Debug)]
pub struct Store {
    queue: Option<mpsc::Sender<Batch>>,
    thread: Option<JoinHandle<()>>,
    /// The audit log, and whether an entry is routine.
    recent: VecDeque<(AuditEntry, bool)>,
    progress: Arc<Progress>,
    /// Number of the last batch.
    number: u64,
    /// The last batch that is about somebody, of those that may not be on disk yet.
    unsettled: BTreeMap<IdentityId, u64>,
    /// What found no place in the queue; it goes with the next batch.
    held: Vec<Change>,
}

/// Changes on their way to the disk.
#[derive(Debug)]
#[must_use = "nobody may be told before it is on disk"]
pub struct Commit(Option<oneshot::Receiver<Result<(), NotWritten>>>);

impl Commit {
    /// Nothing to wait for.
    pub fn nothing() -> Self {
        Self(None)
    }

    /// Waits until the changes are on disk.
    ///
    /// # Errors
    /// They are not, or not yet.
    pub async fn on_disk(self) -> Result<(), NotWritten> {
        match self.0 {
            None => Ok(()),
            Some(done) => done.await.unwrap_or(Err(NotWritten)),
        }
    }
}

impl Store {
    /// Opens (or makes) the store in a file, and reads all of it.
    ///
    /// # Errors
    /// The file cannot be used, or is of a newer version.
    pub fn open(path: PathBuf) -> Result<(Self, Snapshot), StoreError> {
        let mut database = Database::open(&path)?;
        let snapshot = database.read().map_err(|error| database.error(&error))?;
        let recent = database.audit().map_err(|error| database.error(&error))?;
        let (queue, batches) = mpsc::channel(STORE_QUEUE_MAX);
        let progress = Arc::new(Progress::default());
        let theirs = Arc::clone(&progress);
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || write_all(&mut database, batches, &theirs))
            .map_err(StoreError::Thread)?;
        let mut store = Self::ephemeral();
        (store.queue, store.thread) = (Some(queue), Some(thread));
        (store.recent, store.progress) = (recent, progress);
        Ok((store, snapshot))
    }

    /// A store that keeps nothing.
    #[must_use]
    pub fn ephemeral() -> Self {
        Self {
            queue: None,
            thread: None,
            recent: VecDeque::new(),
            progress: Arc::default(),
            number: 0,
            unsettled: BTreeMap::new(),
            held: Vec::new(),
        }
    }

    /// Whether it keeps anything.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.queue.is_some()
    }

    /// Hands changes over; they are written in the order of the calls.
    pub fn commit(&mut self, changes: Vec<Change>) -> Commit {
        self.commit_of(None, changes)
    }

    /// As [`Self::commit`], for somebody who stands on what was handed over about him before: that must be on
    /// disk, too, even if nothing is new now.
    pub fn commit_of(&mut self, identity: Option<IdentityId>, changes: Vec<Change>) -> Commit {
        self.remember(&changes);
        let settled = self.progress.settled.load(Ordering::Acquire);
        self.unsettled.retain(|_, number| *number > settled);
        let stands_on = identity.is_some_and(|id| self.unsettled.contains_key(&id));
        if changes.is_empty() && self.held.is_empty() && !stands_on {
            return Commit::nothing();
        }
        self.hand_over(identity, changes)
    }

    /// Has the disk tried again, if it has refused something.
    pub fn retry(&mut self) {
        if self.refuses() {
            // Nobody waits for it.
            drop(self.hand_over(None, Vec::new()));
        }
    }

    /// Whether memory holds what the disk has refused so far.
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.progress.refused.load(Ordering::Acquire) > 0 || !self.held.is_empty()
    }

    /// Whether so much waits that no more may come.
    #[must_use]
    pub fn overfull(&self) -> bool {
        self.progress.refused.load(Ordering::Acquire) >= STORE_BACKLOG_MAX || !self.held.is_empty()
    }

    fn remember(&mut self, changes: &[Change]) {
        for change in changes {
            let Change::Audit { entry, routine } = change else { continue };
            let alike = |(_, other): &(AuditEntry, bool)| other == routine;
            if self.recent.iter().filter(|entry| alike(entry)).count() >= entries_max(*routine)
                && let Some(oldest) = self.recent.iter().position(alike)
            {
                self.recent.remove(oldest);
            }
            self.recent.push_back((entry.clone(), *routine));
        }
    }

    fn hand_over(&mut self, identity: Option<IdentityId>, changes: Vec<Change>) -> Commit {
        let Some(queue) = &self.queue else { return Commit::nothing() };
        let mut all = std::mem::take(&mut self.held);
        all.extend(changes);
        self.number += 1;
        let number = self.number;
        let about = all.iter().filter_map(Change::identity);
        self.unsettled.extend(about.chain(identity).map(|id| (id, number)));
        let (done, wait) = oneshot::channel();
        let batch = Batch { number, changes: all, done: Some(done) };
        if let Err(error) = queue.try_send(batch) {
            tracing::error!(%error, "the store does not keep up: a change waits");
            // The sender goes with the batch: that says "not written".
            self.held = error.into_inner().changes;
        }
        Commit(Some(wait))
    }

    /// The last entries of the audit log, oldest first.
    pub fn audit(&self, last: usize) -> impl Iterator<Item = &AuditEntry> {
        let last = self.recent.iter().skip(self.recent.len().saturating_sub(last));
        last.map(|(entry, _)| entry)
    }
}

impl Drop for Store {
    /// Waits until everything is written.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Makes the file for its owner alone; what SQLite puts beside it gets the same mode. Whether the file can be
/// used at all, SQLite says better.
fn make_private(path: &Path) {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let _ = options.open(path);
}

impl Database {
    /// Opens or makes the file.
    ///
    /// # Errors
    /// It cannot be used, or is of a newer version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let shown = path.display().to_string();
        let error = |error: rusqlite::Error| StoreError::Database {
            path: shown.clone(),
            why: error.to_string(),
        };
        make_private(path);
        let mut connection = Connection::open(path).map_err(error)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(error)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(error)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(error)?;
        connection.pragma_update(None, "trusted_schema", false).map_err(error)?;
        let found: i64 =
            connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(error)?;
        match found {
            0..SCHEMA_VERSION => {
                let made = connection.transaction().and_then(|transaction| {
                    if found < 1 {
                        transaction.execute_batch(SCHEMA)?;
                    }
                    transaction.execute_batch(SCHEMA_2)?;
                    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
                    transaction.commit()
                });
                made.map_err(error)?;
            }
            SCHEMA_VERSION => {}
            found => return Err(StoreError::Newer { path: shown, found }),
        }
        Ok(Self { connection, path: shown })
    }

    fn error(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::Database { path: self.path.clone(), why: error.to_string() }
    }

    /// Writes changes, all or none.
    ///
    /// # Errors
    /// The disk or SQLite refuses; nothing of it is written.
    pub fn write<'a>(&mut self, changes: impl Iterator<Item = &'a Change>) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        for change in changes {
            apply(&transaction, change)?;
        }
        trim(&transaction)?;
        transaction.commit()
    }

    /// Writes batches, each of them whole or not at all, up to the first that the disk refuses: whether those
    /// before it are written, and why it is refused. A batch that contradicts what is there will never
    /// be written, and holds nobody up.
    pub(super) fn write_batches<'a>(
        &mut self,
        batches: impl Iterator<Item = &'a [Change]>,
    ) -> (Vec<Result<(), NotWritten>>, Option<rusqlite::Error>) {
        let mut transaction = match self.connection.transaction() {
            Ok(transaction) => transaction,
            Err(error) => return (Vec::new(), Some(error)),
        };
        let (mut written, mut refused) = (Vec::new(), None);
        for batch in batches {
            match apply_all(&mut transaction, batch) {
                Ok(()) => written.push(Ok(())),
                Err(error) if contradicts(&error) => {
                    tracing::error!(%error, "a change contradicts the store and is not kept");
                    written.push(Err(NotWritten));
                }
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        // What was refused for want of space has undone the others, too; then this says so.
        let committed = trim(&transaction).and_then(|()| transaction.commit());
        match committed {
            Ok(()) => (written, refused),
            Err(error) => (Vec::new(), refused.or(Some(error))),
        }
    }

    /// Everything but the audit log.
    ///
    /// # Errors
    /// SQLite refuses, or a row is damaged.
    pub fn read(&mut self) -> rusqlite::Result<Snapshot> {
        let connection = &self.connection;
        let mut snapshot = Snapshot {
            identities: all(connection, "SELECT * FROM identities ORDER BY id", identity)?,
            devices: all(connection, "SELECT device, identity FROM devices ORDER BY at", |row| {
                Ok((DeviceId(row.get(0)?), IdentityId(number(row, 1)?)))
            })?,
            invites: all(connection, "SELECT * FROM invites ORDER BY id", invite)?,
            sanctions: all(connection, "SELECT * FROM sanctions ORDER BY id", sanction)?,
            rooms: all(connection, "SELECT name, password FROM rooms ORDER BY name", room)?,
            next_id: connection
                .query_row("SELECT value FROM meta WHERE key = 'next_id'", [], |row| number(row, 0))
                .optional()?
                .unwrap_or(1),
        };
        let used = all(connection, "SELECT invite, identity FROM redemptions", |row| {
            Ok((number(row, 0)?, IdentityId(number(row, 1)?)))
        })?;
        for (id, identity) in used {
            if let Some(invite) = snapshot.invites.iter_mut().find(|invite| invite.id == id) {
                invite.used_by.insert(identity);
            }
        }
        let subjects = all(connection, "SELECT sanction, kind, value FROM subjects", |row| {
            Ok((number(row, 0)?, subject(row)?))
        })?;
        for (id, subject) in subjects {
            if let Some(sanction) = snapshot.sanctions.iter_mut().find(|s| s.id == id) {
                sanction.subjects.push(subject);
            }
        }
        let people = all(connection, "SELECT room, identity, role FROM room_people", |row| {
            Ok((row.get::<_, String>(0)?, IdentityId(number(row, 1)?), row.get::<_, String>(2)?))
        })?;
        for (name, identity, role) in people {
            if let Some(room) = snapshot.rooms.iter_mut().find(|room| room.name.as_str() == name) {
                let set =
                    if role == "moderator" { &mut room.moderators } else { &mut room.admitted };
                set.insert(identity);
            }
        }
        Ok(snapshot)
    }

    fn audit(&self) -> rusqlite::Result<VecDeque<(AuditEntry, bool)>> {
        let entries = all(&self.connection, "SELECT * FROM audit ORDER BY id", |row| {
            let entry = AuditEntry {
                at_ms: number(row, 1)?,
                by: row.get(2)?,
                action: row.get(3)?,
                target: row.get(4)?,
                detail: row.get(5)?,
            };
            Ok((entry, row.get(6)?))
        })?;
        Ok(entries.into())
    }
}

fn all<T>(
    connection: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare(sql)?.query_map([], read)?.collect()
}

/// SQLite's integers have a sign; our numbers and times have none and stay far below.
fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| damaged(column, "a negative number"))
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn damaged(column: usize, why: impl ToString) -> rusqlite::Error {
    let why: Box<dyn std::error::Error + Send + Sync> = why.to_string().into();
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, why)
}

fn user_name(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<UserName>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| UserName::parse(&text).map_err(|error| damaged(column, error))).transpose()
}

fn room_name(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<RoomName>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| RoomName::parse(&text).map_err(|error| damaged(column, error))).transpose()
}

fn until(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    let value: Option<i64> = row.get(column)?;
    Ok(value.map(|value| u64::try_from(value).unwrap_or(0)))
}

fn password(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<PasswordRecord>> {
    Ok(row.get::<_, Option<String>>(column)?.map(PasswordRecord))
}

fn identity(row: &Row<'_>) -> rusqlite::Result<Identity> {
    Ok(Identity {
        id: IdentityId(number(row, 0)?),
        name: user_name(row, 1)?,
        password: password(row, 2)?,
        operator: row.get(3)?,
        created_ms: number(row, 4)?,
    })
}

fn invite(row: &Row<'_>) -> rusqlite::Result<InviteRecord> {
    Ok(InviteRecord {
        id: number(row, 0)?,
        hash: row.get(1)?,
        room: room_name(row, 2)?,
        operator: row.get(3)?,
        uses_left: row.get(4)?,
        until_ms: until(row, 5)?,
        by: row.get(6)?,
        maker: row.get::<_, Option<i64>>(7)?.map(|_| number(row, 7)).transpose()?.map(IdentityId),
        used_by: Default::default(),
    })
}

fn sanction(row: &Row<'_>) -> rusqlite::Result<SanctionRecord> {
    let kind: String = row.get(1)?;
    Ok(SanctionRecord {
        id: number(row, 0)?,
        kind: match kind.as_str() {
            "ban" => SanctionKind::Ban,
            "mute" => SanctionKind::Mute,
            _ => return Err(damaged(1, "an unknown kind of sanction")),
        },
        subjects: Vec::new(),
        label: row.get(2)?,
        room: room_name(row, 3)?,
        until_ms: until(row, 4)?,
        by: row.get(5)?,
        reason: row.get(6)?,
    })
}

fn subject(row: &Row<'_>) -> rusqlite::Result<Subject> {
    let kind: String = row.get(1)?;
    Ok(match kind.as_str() {
        "identity" => Subject::Identity(IdentityId(number(row, 2)?)),
        "device" => Subject::Device(DeviceId(row.get(2)?)),
        "network" => {
            let text: String = row.get(2)?;
            Subject::Network(text.parse().map_err(|error| damaged(2, error))?)
        }
        "name" => {
            let text: String = row.get(2)?;
            let mut keys = text.split('\n').map(ToOwned::to_owned);
            let mut next = || keys.next().ok_or_else(|| damaged(2, "a name in parts"));
            Subject::Name(NameKeys { folded: next()?, skeleton: next()?, folded_skeleton: next()? })
        }
        _ => return Err(damaged(1, "an unknown kind of subject")),
    })
}

fn room(row: &Row<'_>) -> rusqlite::Result<KeptRoom> {
    Ok(KeptRoom {
        name: room_name(row, 0)?.ok_or_else(|| damaged(0, "a room without a name"))?,
        password: password(row, 1)?,
        moderators: Default::default(),
        admitted: Default::default(),
    })
}

/// Whether SQLite says that a change does not fit to what is there, and not that it cannot write.
fn contradicts(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(
        code,
        Some(
            SQLITE_CONSTRAINT_CHECK
                | SQLITE_CONSTRAINT_DATATYPE
                | SQLITE_CONSTRAINT_FOREIGNKEY
                | SQLITE_CONSTRAINT_NOTNULL
                | SQLITE_CONSTRAINT_PRIMARYKEY
                | SQLITE_CONSTRAINT_UNIQUE
        )
    )
}

/// All of these or none.
fn apply_all(to: &mut Transaction<'_>, changes: &[Change]) -> rusqlite::Result<()> {
    let savepoint = to.savepoint()?;
    for change in changes {
        apply(&savepoint, change)?;
    }
    savepoint.commit()
}

/// How many entries of the audit log are kept, of those that are routine or of the others.
fn entries_max(routine: bool) -> usize {
    let most = if routine { AUDIT_ROUTINE_MAX } else { AUDIT_ENTRIES_MAX };
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// Lets the oldest entries of the audit log go.
fn trim(to: &Connection) -> rusqlite::Result<()> {
    let mut oldest = to.prepare_cached(
        "DELETE FROM audit WHERE routine = ?1 AND id <= \
         (SELECT id FROM audit WHERE routine = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
    )?;
    oldest.execute(params![false, AUDIT_ENTRIES_MAX])?;
    oldest.execute(params![true, AUDIT_ROUTINE_MAX]).map(|_| ())
}

fn apply(to: &Connection, change: &Change) -> rusqlite::Result<()> {
    let used_id = match change {
        Change::Identity(identity) => Some(identity.id.0),
        Change::Invite(invite) => Some(invite.id),
        Change::Sanction(sanction) => Some(sanction.id),
        _ => None,
    };
    if let Some(id) = used_id {
        to.execute(
            "INSERT INTO meta VALUES ('next_id', ?1) ON CONFLICT DO UPDATE SET value = max(value, ?1)",
            [signed(id + 1)],
        )?;
    }
    match change {
        Change::Identity(i) => to.execute(
            "INSERT INTO identities VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE \
             SET name = ?2, password = ?3, operator = ?4",
            params![
                signed(i.id.0),
                i.name.as_ref().map(UserName::as_str),
                i.password.as_ref().map(|p| p.0.as_str()),
                i.operator,
                signed(i.created_ms)
            ],
        ),
        Change::IdentityGone(id) => {
            to.execute("DELETE FROM identities WHERE id = ?1", [signed(id.0)])
        }
        Change::Device(device, id) => to.execute(
            "INSERT OR REPLACE INTO devices \
             VALUES (?1, ?2, (SELECT coalesce(max(at), 0) + 1 FROM devices))",
            params![device.0, signed(id.0)],
        ),
        Change::DeviceGone(device) => {
            to.execute("DELETE FROM devices WHERE device = ?1", [device.0])
        }
        Change::Invite(i) => {
            to.execute("DELETE FROM invites WHERE id = ?1", [signed(i.id)])?;
            to.execute(
                "INSERT INTO invites VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    signed(i.id),
                    i.hash,
                    i.room.as_ref().map(RoomName::as_str),
                    i.operator,
                    i.uses_left,
                    i.until_ms.map(signed),
                    i.by,
                    i.maker.map(|maker| signed(maker.0))
                ],
            )?;
            for identity in &i.used_by {
                to.execute(
                    "INSERT INTO redemptions VALUES (?1, ?2)",
                    [signed(i.id), signed(identity.0)],
                )?;
            }
            Ok(0)
        }
        Change::InviteGone(id) => to.execute("DELETE FROM invites WHERE id = ?1", [signed(*id)]),
        Change::Sanction(s) => write_sanction(to, s),
        Change::SanctionGone(id) => {
            to.execute("DELETE FROM sanctions WHERE id = ?1", [signed(*id)])
        }
        Change::Room { room, before } => {
            if let Some(before) = before {
                to.execute("DELETE FROM rooms WHERE name = ?1", [before.as_str()])?;
            }
            write_room(to, room)
        }
        Change::RoomGone(name) => to.execute("DELETE FROM rooms WHERE name = ?1", [name.as_str()]),
        Change::Audit { entry: e, routine } => to.execute(
            "INSERT INTO audit (at_ms, by, action, target, detail, routine) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![signed(e.at_ms), e.by, e.action, e.target, e.detail, routine],
        ),
    }
    .map(|_| ())
}

fn write_sanction(to: &Connection, s: &SanctionRecord) -> rusqlite::Result<usize> {
    let kind = match s.kind {
        SanctionKind::Ban => "ban",
        SanctionKind::Mute | SanctionKind::Unknown => "mute",
    };
    to.execute("DELETE FROM sanctions WHERE id = ?1", [signed(s.id)])?;
    to.execute(
        "INSERT INTO sanctions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            signed(s.id),
            kind,
            s.label,
            s.room.as_ref().map(RoomName::as_str),
            s.until_ms.map(signed),
            s.by,
            s.reason
        ],
    )?;
    for subject in &s.subjects {
        let mut insert = to.prepare_cached("INSERT INTO subjects VALUES (?1, ?2, ?3)")?;
        let id = signed(s.id);
        match subject {
            Subject::Identity(identity) => {
                insert.execute(params![id, "identity", signed(identity.0)])?
            }
            Subject::Device(device) => insert.execute(params![id, "device", device.0])?,
            Subject::Network(network) => {
                insert.execute(params![id, "network", network.to_string()])?
            }
            Subject::Name(keys) => {
                // None of the three can hold a line feed: names have no control characters.
                let text = [&*keys.folded, &*keys.skeleton, &*keys.folded_skeleton].join("\n");
                insert.execute(params![id, "name", text])?
            }
        };
    }
    Ok(0)
}

fn write_room(to: &Connection, room: &KeptRoom) -> rusqlite::Result<usize> {
    let name = room.name.as_str();
    to.execute("DELETE FROM rooms WHERE name = ?1", [name])?;
    let password = room.password.as_ref().map(|password| password.0.as_str());
    to.execute("INSERT INTO rooms VALUES (?1, ?2)", params![name, password])?;
    let mut insert = to.prepare_cached("INSERT INTO room_people VALUES (?1, ?2, ?3)")?;
    for (people, role) in [(&room.moderators, "moderator"), (&room.admitted, "admitted")] {
        for identity in people {
            insert.execute(params![name, signed(identity.0), role])?;
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests;
