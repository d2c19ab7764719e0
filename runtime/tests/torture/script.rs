//! What is asked of a store, step by step: random, and the same for the same seed, in any process.

use crate::harness::{Disk, Harness, append, compact, entries, identity, record};
use crate::steps::{Rng, step};
use crate::verdict::Truth;
use bytes::Bytes;
use raftyard::store::{
    Boot, GroupRecord, LogStore, MemoryLogStore, RecoveredGroup, SegmentLogStore, StoreContents, StoreError, Tombstone,
};
use raftyard_groups::{Entry, GroupId, LogId, LogIndex, Payload, Persist};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Small steps between two large ones.
const SMALL: u64 = 4;
/// So many large ones fill two segments, and the oldest is given up.
const LARGE: u64 = 20;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Ends the store, if there is one, and opens it.
    Open,
    Create(Vec<GroupRecord>),
    Import(GroupRecord, LogId),
    Destroy(Vec<GroupId>),
    Rebuild(GroupRecord),
    Forget(GroupId),
    Write(Vec<Persist>),
    Read(GroupId, LogIndex, LogIndex, usize),
}

pub(crate) fn script(seed: u64) -> Vec<Step> {
    let mut rng = Rng(seed);
    let disk = Recording::blank();
    let steps = Arc::clone(&disk.steps);
    let mut h = Harness::on(disk);
    for _ in 0..LARGE {
        for _ in 0..SMALL {
            step(&mut h, &mut rng);
        }
        large(&mut h, &mut rng);
    }
    let steps = steps.lock().unwrap();
    steps.clone()
}

/// Writes much, and drops it a moment later.
fn large(h: &mut Harness<Recording>, rng: &mut Rng) {
    let groups = h.model.groups();
    let Some(group) = groups.first().copied() else {
        return h.create(&record(7));
    };
    let last = h.model.last(group);
    // Filled with zeros beforehand, or so long that it is not.
    let bytes = [60 << 10, 1 << 20, 2 << 20][rng.index(3)];
    let mut much = entries(last.index.0 + 1, 4, last.term.0.max(1));
    for entry in &mut much {
        entry.payload = Payload::Command(Bytes::from(vec![7; bytes / 4]));
    }
    h.write(&[append(group.0, much)]);
    let last = h.model.last(group);
    h.write(&[compact(group.0, last.index.0, last.term.0, Vec::new())]);
}

/// Takes a step. A read's answer is returned.
pub(crate) fn take(store: &mut dyn LogStore, step: &Step) -> Result<Vec<Entry>, StoreError> {
    match step {
        Step::Open => {}
        Step::Create(records) => store.create(records)?,
        Step::Import(record, base) => store.import(record, *base)?,
        Step::Destroy(groups) => drop(store.destroy(groups)?),
        Step::Rebuild(record) => store.rebuild(record)?,
        Step::Forget(group) => drop(store.forget(*group)?),
        Step::Write(batch) => store.write(batch)?,
        Step::Read(group, from, through, bytes_max) => return store.read(*group, *from, *through, *bytes_max),
    }
    Ok(Vec::new())
}

/// Opens a store as a node does.
pub(crate) fn open(dir: &Path) -> Result<(SegmentLogStore, Boot, StoreContents), StoreError> {
    let mut store = SegmentLogStore::open(dir, &identity())?;
    let boot = store.boot(10)?;
    let contents = store.recover()?;
    Ok((store, boot, contents))
}

/// What is there after the first `taken` steps.
pub(crate) fn truth(script: &[Step], taken: usize) -> Truth {
    let mut memory = MemoryLogStore::new();
    for step in &script[..taken] {
        take(&mut memory, step).unwrap();
    }
    let contents = memory.recover().unwrap();
    Truth::of(&memory, contents)
}

/// A store in memory that notes what is asked of it.
struct Recording {
    store: MemoryLogStore,
    steps: Arc<Mutex<Vec<Step>>>,
}

impl Recording {
    fn note(&self, step: Step) {
        self.steps.lock().unwrap().push(step);
    }
}

impl Disk for Recording {
    type Store = Self;

    fn blank() -> Self {
        Self {
            store: MemoryLogStore::new(),
            steps: Arc::default(),
        }
    }

    fn open(&self) -> Self {
        self.note(Step::Open);
        Self {
            store: self.store.clone(),
            steps: Arc::clone(&self.steps),
        }
    }
}

impl LogStore for Recording {
    fn boot(&mut self, promise_ms: u64) -> Result<Boot, StoreError> {
        self.store.boot(promise_ms)
    }

    fn recover(&mut self) -> Result<StoreContents, StoreError> {
        self.store.recover()
    }

    fn inspect(&self, group: GroupId) -> Result<RecoveredGroup, StoreError> {
        self.store.inspect(group)
    }

    fn create(&mut self, records: &[GroupRecord]) -> Result<(), StoreError> {
        self.note(Step::Create(records.to_vec()));
        self.store.create(records)
    }

    fn import(&mut self, record: &GroupRecord, base: LogId) -> Result<(), StoreError> {
        self.note(Step::Import(record.clone(), base));
        self.store.import(record, base)
    }

    fn destroy(&mut self, groups: &[GroupId]) -> Result<Vec<Tombstone>, StoreError> {
        self.note(Step::Destroy(groups.to_vec()));
        self.store.destroy(groups)
    }

    fn rebuild(&mut self, record: &GroupRecord) -> Result<(), StoreError> {
        self.note(Step::Rebuild(record.clone()));
        self.store.rebuild(record)
    }

    fn forget(&mut self, group: GroupId) -> Result<RecoveredGroup, StoreError> {
        self.note(Step::Forget(group));
        self.store.forget(group)
    }

    fn write(&mut self, batch: &[Persist]) -> Result<(), StoreError> {
        self.note(Step::Write(batch.to_vec()));
        self.store.write(batch)
    }

    fn read(
        &self,
        group: GroupId,
        from: LogIndex,
        through: LogIndex,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.note(Step::Read(group, from, through, bytes_max));
        self.store.read(group, from, through, bytes_max)
    }
}
