//! A store beside its model: each step goes to both, and both must agree.

use crate::model::Model;
use bytes::Bytes;
use raftyard::store::{
    GroupRecord, LogStore, MemoryLogStore, SegmentLogStore, StoreContents, StoreError, StoreIdentity, Tombstone,
};
use raftyard_groups::{
    Entry, GroupId, HardState, Incarnation, LogBase, LogId, LogIndex, Membership, NodeId, Payload, Persist, PersistSeq,
    Recovered, Term,
};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// Something that outlives the stores opened on it.
pub(crate) trait Disk {
    type Store: LogStore;
    fn blank() -> Self;
    fn open(&self) -> Self::Store;
}

pub(crate) struct MemoryDisk(MemoryLogStore);

impl Disk for MemoryDisk {
    type Store = MemoryLogStore;

    fn blank() -> Self {
        Self(MemoryLogStore::new())
    }

    fn open(&self) -> MemoryLogStore {
        self.0.clone()
    }
}

pub(crate) struct DirectoryDisk(TempDir);

impl DirectoryDisk {
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Disk for DirectoryDisk {
    type Store = SegmentLogStore;

    fn blank() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn open(&self) -> SegmentLogStore {
        SegmentLogStore::open(self.path(), &identity()).unwrap()
    }
}

pub(crate) struct Harness<D: Disk> {
    disk: D,
    /// None only while it is reopened.
    store: Option<D::Store>,
    pub(crate) model: Model,
}

impl<D: Disk> Harness<D> {
    pub(crate) fn new() -> Self {
        Self::on(D::blank())
    }

    /// On a disk with nothing on it.
    pub(crate) fn on(disk: D) -> Self {
        let mut store = disk.open();
        assert_eq!(store.recover().unwrap(), StoreContents::default());
        Self {
            disk,
            store: Some(store),
            model: Model::default(),
        }
    }

    /// With these groups created.
    pub(crate) fn with_groups(groups: &[u64]) -> Self {
        let mut harness = Self::new();
        for group in groups {
            harness.create(&record(*group));
        }
        harness
    }

    pub(crate) fn store(&mut self) -> &mut D::Store {
        self.store.as_mut().unwrap()
    }

    pub(crate) fn disk(&self) -> &D {
        &self.disk
    }

    pub(crate) fn create(&mut self, record: &GroupRecord) {
        self.store().create(std::slice::from_ref(record)).unwrap();
        self.model.create(record);
    }

    pub(crate) fn import(&mut self, record: &GroupRecord, base: LogId) {
        self.store().import(record, base).unwrap();
        self.model.import(record, base);
    }

    pub(crate) fn destroy(&mut self, groups: &[u64]) -> Vec<Tombstone> {
        let groups: Vec<GroupId> = groups.iter().copied().map(GroupId).collect();
        let tombstones: Vec<Tombstone> = groups.iter().map(|group| self.model.destroy(*group)).collect();
        assert_eq!(self.store().destroy(&groups).unwrap(), tombstones);
        tombstones
    }

    pub(crate) fn rebuild(&mut self, record: &GroupRecord) {
        self.store().rebuild(record).unwrap();
        self.model.rebuild(record);
    }

    pub(crate) fn write(&mut self, batch: &[Persist]) {
        self.store().write(batch).unwrap();
        self.model.write(batch);
    }

    /// Writes, reads it back, and looks once more after reopening.
    pub(crate) fn write_and_check(&mut self, batch: &[Persist]) {
        self.write(batch);
        self.check_logs();
        self.reopen();
        self.check_logs();
    }

    /// Ends the store; another one must find what this one held.
    pub(crate) fn reopen(&mut self) {
        self.store = None;
        let mut store = self.disk.open();
        assert_eq!(store.recover().unwrap(), self.model.recovered());
        self.store = Some(store);
    }

    /// What a store that was just opened finds of a group.
    pub(crate) fn recovered(&self, group: GroupId) -> Recovered {
        self.model.inspect(group).state
    }

    /// Closes the store.
    pub(crate) fn into_disk(self) -> D {
        drop(self.store);
        self.disk
    }

    /// Every log, from end to end.
    pub(crate) fn check_logs(&mut self) {
        for group in self.model.groups() {
            let inspected = self.store().inspect(group).unwrap();
            assert_eq!(inspected, self.model.inspect(group));
            self.check_read(group, 1, u64::MAX, usize::MAX);
        }
    }

    pub(crate) fn check_read(&mut self, group: GroupId, from: u64, through: u64, bytes_max: usize) -> Vec<Entry> {
        let found = self
            .store()
            .read(group, LogIndex(from), LogIndex(through), bytes_max)
            .unwrap();
        let wanted = self.model.read(group, from, through, bytes_max);
        assert_eq!(found, wanted, "{group}: {from}..={through}, {bytes_max} B");
        found
    }

    /// The batch must be refused, and nothing of it be there afterwards.
    pub(crate) fn check_refused(&mut self, batch: &[Persist]) -> StoreError {
        let error = self.store().write(batch).unwrap_err();
        assert!(matches!(error, StoreError::Refused { .. }), "{error}");
        self.check_logs();
        self.reopen();
        error
    }
}

pub(crate) fn identity() -> StoreIdentity {
    StoreIdentity {
        cluster: "test".into(),
        node: NodeId(1),
    }
}

pub(crate) fn record(group: u64) -> GroupRecord {
    GroupRecord {
        group: GroupId(group),
        incarnation: Incarnation(group ^ 1),
        membership: membership(3),
        is_witness: group.is_multiple_of(5),
    }
}

pub(crate) fn hard_state(term: u64, vote: Option<u64>) -> HardState {
    HardState {
        term: Term(term),
        vote: vote.map(NodeId),
    }
}

/// A configuration that `n` tells from others.
pub(crate) fn membership(n: u64) -> Membership {
    Membership::new([1, 2, n + 3].map(NodeId), [], [NodeId(n + 4)]).unwrap()
}

/// `count` entries of one term from `first` on, told apart by their commands.
pub(crate) fn entries(first: u64, count: u64, term: u64) -> Vec<Entry> {
    (first..first + count)
        .map(|index| Entry {
            index: LogIndex(index),
            term: Term(term),
            payload: match index % 8 {
                0 => Payload::Noop,
                4 => Payload::Membership(Arc::new(membership(index + 1000 * term))),
                _ => Payload::Command(Bytes::from(format!("command {index}@{term}"))),
            },
        })
        .collect()
}

/// An entry whose command is that large.
pub(crate) fn large(index: u64, term: u64, bytes: usize) -> Entry {
    Entry {
        index: LogIndex(index),
        term: Term(term),
        payload: Payload::Command(Bytes::from(vec![7; bytes])),
    }
}

pub(crate) fn append(group: u64, entries: Vec<Entry>) -> Persist {
    Persist::new(GroupId(group), PersistSeq(1), None, entries)
}

/// `entries` after the log's beginning up to `index` was dropped.
pub(crate) fn compact(group: u64, index: u64, term: u64, entries: Vec<Entry>) -> Persist {
    let mut persist = append(group, entries);
    persist.base = Some(LogBase::Compacted(LogId::new(term, index)));
    persist.membership = Some(Arc::new(membership(index)));
    persist
}

/// `entries` after a snapshot that ends with `index` took the place of the log.
pub(crate) fn install(group: u64, index: u64, term: u64, entries: Vec<Entry>) -> Persist {
    let mut persist = append(group, entries);
    persist.base = Some(LogBase::Installed(LogId::new(term, index)));
    persist.membership = Some(Arc::new(membership(index)));
    persist
}

pub(crate) fn vote(group: u64, hard_state: HardState) -> Persist {
    Persist::new(GroupId(group), PersistSeq(1), Some(hard_state), Vec::new())
}

/// Each check as a test of its own, against all stores.
macro_rules! conformance {
    ($($name:ident),* $(,)?) => {
        mod memory {
            use super::*;
            $(#[test] fn $name() { super::$name::<MemoryDisk>(); })*
        }
        mod directory {
            use super::*;
            $(#[test] fn $name() { super::$name::<DirectoryDisk>(); })*
        }
        mod small_segments {
            $(#[test] fn $name() { super::$name::<$crate::tame_disk::TameDisk>(); })*
        }
    };
}
pub(crate) use conformance;
