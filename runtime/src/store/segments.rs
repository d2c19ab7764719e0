//! A store on a disk, in segments that are only appended to.
//!
//! All that the groups of a node write at the same time is one batch: one write and one fsync, whatever the number of
//! groups. Where each group's entries stand is in memory, and found again by reading all segments when the store is
//! opened. Segments are given up from the oldest on: what somebody still needs of it is written once more, behind
//! what is new, a little with every batch.

#[cfg(feature = "fuzzing")]
mod fuzzing;
mod header;
mod index;
mod journal;
mod judge;
mod lives;
mod read;
mod replay;
mod survey;
mod tidy;
mod usage;
mod write;

#[cfg(feature = "fuzzing")]
pub(crate) use fuzzing::LOG;

use super::boot::{Boot, boot_is_gone, count_boot, read_boot};
use super::dir_lock::DirLock;
use super::disk::{Directory, Disk};
use super::identity::{claim, create_dir_durably, sync_dir};
use super::refusal::Refusal;
use super::{
    Damage, Finding, GroupRecord, LogStore, LostGroups, RecoveredGroup, StoreContents, StoreError, StoreIdentity,
    Tombstone,
};
use index::{Held, Index};
use journal::{BATCH_BYTES_MAX, Batch, Journal, Written};
use raftyard_groups::{Entry, GroupId, LogId, LogIndex, Persist};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use tidy::Tidy;

/// What a batch may keep of its memory.
const BATCH_BYTES_KEPT: usize = 4 << 20;

/// Logs on a disk; in one data directory:
///
/// ```text
/// identity   whose directory it is
/// lock       held while a store has it open
/// log/       the segments, a mark, a count of starts, and which disk it is
/// ```
pub struct SegmentLogStore<D = Directory> {
    journal: Journal<D>,
    index: Index,
    batch: Batch,
    /// Bytes of the batch that are moved, before those that are new.
    moved: usize,
    tidy: Tidy,
    /// Number of the last write, to notice a group that appears twice in one.
    write: u64,
    is_loaded: bool,
    /// What was damaged when it was opened.
    findings: Vec<Finding>,
    /// A write failed: whether it is on disk is unknown, and so is what a later fsync would say of it. Barriers
    /// fail too from then on, because they wait for that write.
    is_poisoned: bool,
    /// The list of peers is beside it.
    has_peers: bool,
    /// Shared with whoever else writes to the data directory.
    lock: Option<Arc<DirLock>>,
}

impl SegmentLogStore {
    /// Opens the store of `identity` in the data directory `dir`, creating both if there is nothing yet.
    ///
    /// # Errors
    ///
    /// - [`StoreError::Io`], naming the path, if the directory can't be created, read or written
    /// - [`StoreError::InUse`] if another store has it open
    /// - [`StoreError::NotOurs`] if it belongs to another node or cluster, or is of another format
    /// - [`StoreError::Damaged`] if it is not what was written
    pub fn open(dir: &Path, identity: &StoreIdentity) -> Result<Self, StoreError> {
        let lock = DirLock::take(dir)?;
        let path = dir.join("log");
        let is_new = !path
            .try_exists()
            .map_err(|e| StoreError::io(format!("look for {}", path.display()), e))?;
        claim(dir, identity, is_new)?;
        if is_new {
            create(dir, &path, identity)?;
        }
        let mut store = Self::with(Directory::open(&path)?, identity);
        store.lock = Some(Arc::new(lock));
        if store.segments()? == 0 {
            let what = "its segments are gone".to_owned();
            return Err(StoreError::Damaged { path, what });
        }
        Ok(store)
    }
}

/// Creates an empty log at `path`, all of it or nothing, so that one whose segments are gone is never taken for new.
fn create(dir: &Path, path: &Path, identity: &StoreIdentity) -> Result<(), StoreError> {
    let new = dir.join("log.new");
    match fs::remove_dir_all(&new) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            return Err(StoreError::io(format!("remove {}", new.display()), e));
        }
        _ => create_dir_durably(&new)?,
    }
    journal::found(&mut Directory::open(&new)?, identity.seed())?;
    fs::rename(&new, path).map_err(|e| StoreError::io(format!("create {}", path.display()), e))?;
    sync_dir(dir)
}

impl<D: Disk> SegmentLogStore<D> {
    /// Opens the store of `identity` on a disk, creating it if that has neither segments nor a mark.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub fn on(disk: D, identity: &StoreIdentity) -> Result<Self, StoreError> {
        let mut store = Self::with(disk, identity);
        let is_new = store.journal.disk.mark().is_ok_and(|mark| mark.is_empty());
        if is_new && store.segments()? == 0 {
            journal::found(&mut store.journal.disk, identity.seed())?;
        }
        Ok(store)
    }

    /// Whether the list of peers was there when an earlier start was counted.
    pub(crate) fn had_peers(&self) -> Result<bool, StoreError> {
        Ok(read_boot(&self.journal.disk)?.is_some_and(|noted| noted.has_peers))
    }

    /// The list of peers is there, durably: the next start that is counted says so.
    pub(crate) fn note_peers(&mut self) {
        self.has_peers = true;
    }

    /// Whether nothing was ever written.
    fn is_blank(&mut self) -> Result<bool, StoreError> {
        if self.is_loaded {
            return Ok(self.journal.is_blank());
        }
        Ok(self.journal.survey(|_, _| {})?.is_blank())
    }

    /// What a disk holds whose checksums begin with `seed`, what a start would make of it, and whether nothing was ever
    /// written there. Nothing is written.
    pub(super) fn look_at(disk: D, seed: u32) -> Result<(StoreContents, bool), StoreError> {
        let mut store = Self::seeded(disk, seed);
        let (survey, _) = store.look_through()?;
        store.is_loaded = true;
        Ok((store.recover()?, survey.is_blank()))
    }

    /// What keeps the data directory in use as long as anybody has it.
    pub(super) fn lock(&self) -> Option<Arc<DirLock>> {
        self.lock.clone()
    }

    fn with(disk: D, identity: &StoreIdentity) -> Self {
        Self::seeded(disk, identity.seed())
    }

    fn seeded(disk: D, seed: u32) -> Self {
        Self {
            journal: Journal::new(disk, seed),
            index: Index::default(),
            batch: Batch::default(),
            moved: 0,
            tidy: Tidy::default(),
            write: 0,
            is_loaded: false,
            findings: Vec::new(),
            is_poisoned: false,
            has_peers: false,
            lock: None,
        }
    }

    fn segments(&self) -> Result<usize, StoreError> {
        let listed = self.journal.disk.list();
        let listed = listed.map_err(|e| {
            let place = self.journal.disk.place(1);
            StoreError::io(format!("list the segments beside {}", place.display()), e)
        })?;
        Ok(listed.len())
    }

    fn held(&self, group: GroupId) -> Result<&Held, StoreError> {
        let held = self.index.groups.get(&group);
        held.map(Box::as_ref)
            .ok_or_else(|| StoreError::refused(group, Refusal::UnknownGroup))
    }

    /// Before anything is put together for a write.
    fn begin(&mut self) -> Result<(), StoreError> {
        if self.is_poisoned {
            return Err(StoreError::Poisoned);
        }
        if !self.is_loaded {
            self.load()?;
        }
        self.batch.clear(self.index.totals);
        self.plan_moves();
        self.moved = self.batch.len();
        self.write += 1;
        Ok(())
    }

    /// Whether something was put together since [`SegmentLogStore::begin`].
    fn has_news(&self) -> bool {
        self.batch.len() > self.moved
    }

    /// Writes what was put together. What fails may have left something on disk: nothing is written after it. What there
    /// is no room for has left nothing: all is as it was.
    fn commit(&mut self) -> Result<Written, StoreError> {
        let written = self.journal.append(&mut self.batch).inspect_err(|error| {
            if !matches!(error, StoreError::Full { .. }) {
                tracing::error!(%error, "log store poisoned");
                self.is_poisoned = true;
            }
        })?;
        self.index.totals = self.batch.totals();
        self.index.backs.extend(self.batch.drain_backs(written));
        self.apply_moves(written, self.batch.len() - self.moved);
        self.batch.shrink(BATCH_BYTES_KEPT);
        Ok(written)
    }
}

impl<D: Disk> LogStore for SegmentLogStore<D> {
    fn boot(&mut self, promise_ms: u64) -> Result<Boot, StoreError> {
        if read_boot(&self.journal.disk)?.is_none() && !self.is_blank()? {
            return Err(boot_is_gone(&self.journal.disk));
        }
        count_boot(&mut self.journal.disk, promise_ms, self.has_peers)
    }

    fn recover(&mut self) -> Result<StoreContents, StoreError> {
        if !self.is_loaded {
            self.load()?;
        }
        let groups = self.index.groups.values().map(|held| held.recovered());
        let mut groups = groups.collect::<Result<Vec<_>, _>>()?;
        groups.sort_unstable_by_key(|group| group.record.group);
        let mut tombstones: Vec<_> = self
            .index
            .tombstones
            .values()
            .map(|(tombstone, _)| *tombstone)
            .collect();
        tombstones.sort_unstable_by_key(|tombstone| tombstone.group);
        Ok(StoreContents {
            groups,
            tombstones,
            lost: self.index.lost,
            findings: self.findings.clone(),
        })
    }

    fn inspect(&self, group: GroupId) -> Result<RecoveredGroup, StoreError> {
        self.held(group)?.recovered()
    }

    fn create(&mut self, records: &[GroupRecord]) -> Result<(), StoreError> {
        self.create_groups(records)
    }

    fn import(&mut self, record: &GroupRecord, base: LogId) -> Result<(), StoreError> {
        self.import_group(record, base)
    }

    fn destroy(&mut self, groups: &[GroupId]) -> Result<Vec<Tombstone>, StoreError> {
        self.destroy_groups(groups)
    }

    fn rebuild(&mut self, record: &GroupRecord) -> Result<(), StoreError> {
        self.rebuild_group(record, BATCH_BYTES_MAX)
    }

    fn forget(&mut self, group: GroupId) -> Result<RecoveredGroup, StoreError> {
        self.forget_log(group)
    }

    fn write(&mut self, batch: &[Persist]) -> Result<(), StoreError> {
        self.write_batch(batch)
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
