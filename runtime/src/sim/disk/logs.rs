//! Logs on a simulated disk.

use super::{Fate, NodeDisk, failed};
use crate::sim::vital::Vital;
use crate::sim::watch::{Event, Watch};
use crate::store::{Boot, GroupRecord, LogStore, MemoryLogStore, RecoveredGroup, StoreContents, StoreError, Tombstone};
use raftyard_groups::{Entry, GroupId, LogId, LogIndex, Persist};

/// The logs on a node's disk, as one life of its process has them open.
pub(crate) struct SimLogStore {
    disk: NodeDisk,
    logs: MemoryLogStore,
    vital: Vital,
    watch: Watch,
    is_poisoned: bool,
}

impl SimLogStore {
    pub(crate) fn open(disk: NodeDisk, vital: Vital, watch: Watch) -> Self {
        let logs = disk.0.lock().logs.clone();
        Self {
            disk,
            logs,
            vital,
            watch,
            is_poisoned: false,
        }
    }

    /// What becomes of a write that begins now.
    fn fate(&mut self) -> Result<Fate, StoreError> {
        if self.is_poisoned {
            return Err(StoreError::Poisoned);
        }
        if self.vital.is_dead() {
            return Ok(Fate::Lost);
        }
        let mut disk = self.disk.0.lock();
        if self.vital.burns_down("a write") || std::mem::take(&mut disk.fails) {
            return Ok(disk.failure());
        }
        Ok(Fate::Done)
    }

    /// Writes, unless the disk has it otherwise.
    fn change<T>(
        &mut self,
        kind: u64,
        size: usize,
        write: impl FnOnce(&mut MemoryLogStore) -> Result<T, StoreError>,
        note: impl FnOnce(&Watch),
    ) -> Result<T, StoreError> {
        let fate = self.fate()?;
        {
            let disk = self.disk.0.lock();
            disk.trace.event(&[kind, disk.node.0, size as u64, fate as u64]);
        }
        if fate == Fate::Lost {
            self.is_poisoned = true;
            return Err(StoreError::io("write", failed()));
        }
        let outcome = write(&mut self.logs)?;
        self.disk.0.lock().written();
        note(&self.watch);
        if fate == Fate::Indeterminate {
            self.is_poisoned = true;
            return Err(StoreError::io("write", failed()));
        }
        Ok(outcome)
    }
}

impl LogStore for SimLogStore {
    fn boot(&mut self, promise_ms: u64) -> Result<Boot, StoreError> {
        // A disk that is to fail does so at a later write: a node that can't count its start does not start.
        let fails = std::mem::take(&mut self.disk.0.lock().fails);
        let boot = self.change(8, 0, |logs| logs.boot(promise_ms), |_| {});
        self.disk.0.lock().fails |= fails;
        boot
    }

    fn recover(&mut self) -> Result<StoreContents, StoreError> {
        let contents = self.logs.recover()?;
        self.watch.see(&Event::Opens(&contents));
        Ok(contents)
    }

    fn inspect(&self, group: GroupId) -> Result<RecoveredGroup, StoreError> {
        self.logs.inspect(group)
    }

    fn create(&mut self, records: &[GroupRecord]) -> Result<(), StoreError> {
        let note = |watch: &Watch| records.iter().for_each(|record| watch.see(&Event::Creates(record)));
        self.change(3, records.len(), |logs| logs.create(records), note)
    }

    fn import(&mut self, record: &GroupRecord, base: LogId) -> Result<(), StoreError> {
        let note = |watch: &Watch| watch.see(&Event::Creates(record));
        self.change(4, 1, |logs| logs.import(record, base), note)
    }

    fn destroy(&mut self, groups: &[GroupId]) -> Result<Vec<Tombstone>, StoreError> {
        let lives: Vec<_> = groups.iter().filter_map(|group| self.watch.life_of(*group)).collect();
        let note = |watch: &Watch| lives.iter().for_each(|life| watch.see(&Event::Destroys(*life)));
        self.change(5, groups.len(), |logs| logs.destroy(groups), note)
    }

    fn rebuild(&mut self, record: &GroupRecord) -> Result<(), StoreError> {
        let note = |watch: &Watch| watch.see(&Event::Creates(record));
        self.change(6, 1, |logs| logs.rebuild(record), note)
    }

    fn forget(&mut self, group: GroupId) -> Result<RecoveredGroup, StoreError> {
        self.change(9, 1, |logs| logs.forget(group), |_| {})
    }

    fn write(&mut self, batch: &[Persist]) -> Result<(), StoreError> {
        let note = |watch: &Watch| batch.iter().for_each(|persist| watch.see(&Event::Writes(persist)));
        let entries = batch.iter().map(|persist| persist.entries.len()).sum();
        self.change(7, entries, |logs| logs.write(batch), note)
    }

    fn read(
        &self,
        group: GroupId,
        from: LogIndex,
        through: LogIndex,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.logs.read(group, from, through, bytes_max)
    }
}
