//! A store on a disk, in fjall, an LSM tree with a journal.
//!
//! One keyspace holds everything, so that nothing in it is ever idle while the rest is written: an idle
//! keyspace would keep journals alive that nobody needs. See `keys` for what is where.
//!
//! All of a batch goes into fjall's journal as one atomic write with one `fdatasync`, on the caller's
//! thread. Nothing on that way looks into the log: the store keeps every group's last entry in memory, so
//! an append that continues the log is an insert, and only one that replaces entries scans what it replaces.

mod keys;
mod lives;
mod open;
mod read;
mod recover;
mod write;

use super::boot::{Boot, count_boot};
use super::identity::{claim, create_dir_durably, lock_dir};
use super::record::Owner;
use super::refusal::Refusal;
use super::{GroupRecord, LogStore, RecoveredGroup, StoreContents, StoreError, StoreIdentity, Tombstone};
use ::fjall::{Database, Keyspace};
use raftyard_groups::{Entry, GroupId, LogId, LogIndex, Persist};
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Logs on a disk, in one data directory:
///
/// ```text
/// identity   whose directory it is
/// boot       how often it was opened, and the longest promise that was granted
/// lock       held while a store has it open
/// log/       the logs of all groups
/// ```
pub struct FjallLogStore {
    db: Database,
    records: Keyspace,
    /// Of every group that was recovered or created. Looked up, never iterated.
    groups: HashMap<GroupId, GroupState>,
    /// Number of the last batch, to notice a group that appears twice in one.
    batch: u64,
    /// A write failed: whether it is on disk is unknown, and so is what a later fsync would say of it. Barriers
    /// fail too from then on, because they wait for that write.
    poisoned: bool,
    /// A record while it is put together.
    scratch: Vec<u8>,
    /// The data directory.
    dir: PathBuf,
    path: PathBuf,
    /// Last, so that it is given up after the database is closed.
    _lock: File,
}

/// What the store remembers of a group.
#[derive(Clone, Copy, Debug)]
struct GroupState {
    owner: Owner,
    /// What the log begins after.
    base: LogId,
    /// Where the first record of entries starts: known, so that nobody scans what was removed before it.
    start: LogIndex,
    last: LogId,
    /// The last batch the group was in.
    batch: u64,
}

impl FjallLogStore {
    /// Opens the store of `identity` in the data directory `dir`, creating both if there is nothing yet.
    ///
    /// # Errors
    ///
    /// - [`StoreError::Io`], naming the path, if the directory can't be created, read or written
    /// - [`StoreError::InUse`] if another store has it open
    /// - [`StoreError::NotOurs`] if it belongs to another node or cluster, or is of another format
    /// - [`StoreError::Damaged`] if it is not what was written
    pub fn open(dir: &Path, identity: &StoreIdentity) -> Result<Self, StoreError> {
        let lock = lock_dir(dir)?;
        let path = dir.join("log");
        let is_new = !path
            .try_exists()
            .map_err(|e| StoreError::io(format!("look for {}", path.display()), e))?;
        claim(dir, identity, is_new)?;
        if is_new {
            open::create(dir, &path)?;
        }
        let (db, records) = open::open(&path)?;
        Ok(Self {
            db,
            records,
            groups: HashMap::new(),
            batch: 0,
            poisoned: false,
            scratch: Vec::new(),
            dir: dir.to_owned(),
            path,
            _lock: lock,
        })
    }

    fn state(&self, group: GroupId) -> Result<GroupState, StoreError> {
        self.groups
            .get(&group)
            .copied()
            .ok_or_else(|| StoreError::refused(group, Refusal::UnknownGroup))
    }

    /// Whatever fails but is no refusal may have left something on disk: nothing is written after it.
    fn poison_unless_refused(&mut self, result: &Result<(), StoreError>) {
        if let Err(error) = result
            && !matches!(error, StoreError::Refused { .. })
        {
            tracing::error!(%error, path = %self.path.display(), "log store poisoned");
            self.poisoned = true;
        }
    }
}

impl LogStore for FjallLogStore {
    fn boot(&mut self, promise_ms: u64) -> Result<Boot, StoreError> {
        count_boot(&self.dir, promise_ms)
    }

    fn recover(&mut self) -> Result<StoreContents, StoreError> {
        self.recover_all()
    }

    fn inspect(&self, group: GroupId) -> Result<RecoveredGroup, StoreError> {
        self.inspect_group(group)
    }

    fn create(&mut self, records: &[GroupRecord]) -> Result<(), StoreError> {
        let change = self.plan_create(records)?;
        self.change_lives(change)
    }

    fn import(&mut self, record: &GroupRecord, base: LogId) -> Result<(), StoreError> {
        let change = self.plan_import(record, base)?;
        self.change_lives(change)
    }

    fn destroy(&mut self, groups: &[GroupId]) -> Result<Vec<Tombstone>, StoreError> {
        let (change, tombstones) = self.plan_destroy(groups)?;
        self.change_lives(change)?;
        Ok(tombstones)
    }

    fn rebuild(&mut self, record: &GroupRecord) -> Result<(), StoreError> {
        let change = self.plan_rebuild(record)?;
        self.change_lives(change)
    }

    fn write(&mut self, batch: &[Persist]) -> Result<(), StoreError> {
        if self.poisoned {
            return Err(StoreError::Poisoned);
        }
        let result = self.write_batch(batch);
        self.poison_unless_refused(&result);
        result
    }

    fn read(
        &self,
        group: GroupId,
        from: LogIndex,
        through: LogIndex,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.read_entries(group, from, through, bytes_max)
    }
}

/// An error of fjall that has nothing to do with a single group.
fn failed(context: &str, path: &Path, error: ::fjall::Error) -> StoreError {
    match io_error(error) {
        Ok(source) => StoreError::io(format!("{context} {}", path.display()), source),
        Err(::fjall::Error::Locked) => StoreError::InUse(path.to_owned()),
        Err(::fjall::Error::Poisoned) => StoreError::Poisoned,
        Err(other) => StoreError::Damaged {
            path: path.to_owned(),
            what: other.to_string(),
        },
    }
}

/// An error of fjall while reading a group's records.
fn unreadable(group: GroupId, error: ::fjall::Error) -> StoreError {
    match io_error(error) {
        Ok(source) => StoreError::io(format!("read the log of {group}"), source),
        Err(other) => StoreError::corrupt(group, &other),
    }
}

/// What the operating system said, if it was that.
fn io_error(error: ::fjall::Error) -> Result<std::io::Error, ::fjall::Error> {
    match error {
        ::fjall::Error::Io(source) | ::fjall::Error::Storage(::fjall::LsmError::Io(source)) => Ok(source),
        other => Err(other),
    }
}
