//! A log store that a test can have fail or wait.

use parking_lot::{Condvar, Mutex};
use raftyard::store::{
    Boot, GroupRecord, LogStore, MemoryLogStore, RecoveredGroup, StoreContents, StoreError, Tombstone,
};
use raftyard_groups::{Entry, GroupId, LogId, LogIndex, Persist};
use std::sync::Arc;

/// What a store is about to do.
pub enum Operation<'a> {
    Create,
    Import,
    Destroy,
    Rebuild,
    Forget,
    Write(&'a [Persist]),
    Read(GroupId),
}

/// Calls its hook before each operation, which is not carried out if that fails.
pub struct HookedStore<F> {
    inner: MemoryLogStore,
    hook: F,
}

impl<F> HookedStore<F>
where
    F: Fn(Operation<'_>) -> Result<(), StoreError> + Send + 'static,
{
    pub fn new(inner: MemoryLogStore, hook: F) -> Self {
        Self { inner, hook }
    }
}

impl<F> LogStore for HookedStore<F>
where
    F: Fn(Operation<'_>) -> Result<(), StoreError> + Send + 'static,
{
    fn boot(&mut self, promise_ms: u64) -> Result<Boot, StoreError> {
        self.inner.boot(promise_ms)
    }

    fn recover(&mut self) -> Result<StoreContents, StoreError> {
        self.inner.recover()
    }

    fn inspect(&self, group: GroupId) -> Result<RecoveredGroup, StoreError> {
        self.inner.inspect(group)
    }

    fn create(&mut self, records: &[GroupRecord]) -> Result<(), StoreError> {
        (self.hook)(Operation::Create)?;
        self.inner.create(records)
    }

    fn import(&mut self, record: &GroupRecord, base: LogId) -> Result<(), StoreError> {
        (self.hook)(Operation::Import)?;
        self.inner.import(record, base)
    }

    fn destroy(&mut self, groups: &[GroupId]) -> Result<Vec<Tombstone>, StoreError> {
        (self.hook)(Operation::Destroy)?;
        self.inner.destroy(groups)
    }

    fn rebuild(&mut self, record: &GroupRecord) -> Result<(), StoreError> {
        (self.hook)(Operation::Rebuild)?;
        self.inner.rebuild(record)
    }

    fn forget(&mut self, group: GroupId) -> Result<RecoveredGroup, StoreError> {
        (self.hook)(Operation::Forget)?;
        self.inner.forget(group)
    }

    fn write(&mut self, batch: &[Persist]) -> Result<(), StoreError> {
        (self.hook)(Operation::Write(batch))?;
        self.inner.write(batch)
    }

    fn read(&self, group: GroupId, from: LogIndex, to: LogIndex, bytes: usize) -> Result<Vec<Entry>, StoreError> {
        (self.hook)(Operation::Read(group))?;
        self.inner.read(group, from, to, bytes)
    }
}

/// A store that writes nothing while a gate is closed.
pub fn gated(inner: MemoryLogStore, gate: Arc<Gate>) -> impl LogStore {
    HookedStore::new(inner, move |operation| {
        if matches!(operation, Operation::Write(_)) {
            gate.pass();
        }
        Ok(())
    })
}

/// Open at first.
#[derive(Default)]
pub struct Gate {
    is_closed: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub fn close(&self) {
        *self.is_closed.lock() = true;
    }

    pub fn open(&self) {
        *self.is_closed.lock() = false;
        self.opened.notify_all();
    }

    /// Waits until it is open.
    pub fn pass(&self) {
        self.opened
            .wait_while(&mut self.is_closed.lock(), |is_closed| *is_closed);
    }
}
