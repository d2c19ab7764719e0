//! A store that forgets when the process ends.

use super::boot::Boot;
use super::record::Owner;
use super::refusal::{
    Refusal, check_entries, check_rebuild, first_state, forget_configuration, imported_state, next_term, rebased,
    tombstone_of,
};
use super::shape::LogShape;
use super::{DiskId, GroupRecord, LogStore, RecoveredGroup, StoreContents, StoreError, Tombstone};
use parking_lot::Mutex;
use raftyard_groups::{Entry, GroupId, HardState, LogBase, LogId, LogIndex, Membership, Payload, Persist};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Logs in memory, for simulations and for clusters inside one process. What was written is "durable" at
/// once. A clone is another handle on the same disk: give a clone to a node, drop the node, give another
/// clone to its next life.
#[derive(Clone, Debug, Default)]
pub struct MemoryLogStore {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Clone, Debug, Default)]
struct Disk {
    /// The last start; none if there was none yet.
    boot: Option<Boot>,
    groups: BTreeMap<GroupId, MemoryGroup>,
    tombstones: BTreeMap<GroupId, Tombstone>,
}

#[derive(Clone, Debug)]
struct MemoryGroup {
    record: GroupRecord,
    hard_state: HardState,
    forgotten: LogId,
    /// What the log begins after.
    base: LogId,
    /// The configuration in force there; none if no base was ever written.
    membership: Option<Arc<Membership>>,
    /// Consecutive, right after the base.
    log: Vec<Entry>,
}

impl MemoryLogStore {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Disk {
    fn group(&self, group: GroupId) -> Result<&MemoryGroup, StoreError> {
        let unknown = || StoreError::refused(group, Refusal::UnknownGroup);
        self.groups.get(&group).ok_or_else(unknown)
    }

    fn check_absent(&self, group: GroupId) -> Result<(), StoreError> {
        match self.groups.contains_key(&group) {
            true => Err(StoreError::refused(group, Refusal::Exists)),
            false => Ok(()),
        }
    }

    fn note(&mut self, record: &GroupRecord, hard_state: HardState, forgotten: LogId, base: LogId) {
        self.tombstones.remove(&record.group);
        let group = MemoryGroup {
            record: record.clone(),
            hard_state,
            forgotten,
            base,
            // A log that begins after an import is of its first configuration there.
            membership: (base != LogId::ZERO).then(|| Arc::new(record.membership.clone())),
            log: Vec::new(),
        };
        self.groups.insert(record.group, group);
    }
}

impl MemoryGroup {
    /// Where the entry with this index stands; beyond every log if it can't be addressed.
    fn position(&self, index: LogIndex) -> usize {
        let distance = index.prev().0.saturating_sub(self.base.index.0);
        usize::try_from(distance).unwrap_or(usize::MAX)
    }

    /// The identity of the entry right before `index`, or of the log's last one if that comes earlier.
    fn last_before(&self, index: LogIndex) -> LogId {
        let standing = self.position(index).min(self.log.len());
        match standing.checked_sub(1).and_then(|at| self.log.get(at)) {
            Some(entry) => entry.id(),
            None => self.base,
        }
    }

    fn check(&self, persist: &Persist) -> Result<(), StoreError> {
        let (base, last) = rebased(persist, self.base, self.last_before(LogIndex(u64::MAX)))?;
        match persist.entries.first() {
            Some(first) if last.index > base.index => {
                let before = self.last_before(first.index);
                check_entries(persist, base, if before.index < base.index { base } else { before })
            }
            _ => check_entries(persist, base, last),
        }
    }

    fn inspect(&self) -> Result<RecoveredGroup, StoreError> {
        let mut shape = LogShape::after(self.base, self.membership.clone());
        for entry in &self.log {
            let membership = match &entry.payload {
                Payload::Membership(membership) => Some(membership),
                Payload::Noop | Payload::Command(_) => None,
            };
            let pushed = shape.push(entry.id(), membership);
            pushed.map_err(|misfit| StoreError::corrupt(self.record.group, &misfit))?;
        }
        Ok(RecoveredGroup {
            record: self.record.clone(),
            state: shape.into_recovered(self.hard_state, self.forgotten),
            damage: None,
        })
    }

    fn write(&mut self, persist: &Persist) {
        if let Some(hard_state) = persist.hard_state {
            self.hard_state = hard_state;
        }
        match persist.base {
            Some(LogBase::Installed(id)) => {
                self.log.clear();
                self.base = id;
                self.membership.clone_from(&persist.membership);
            }
            Some(LogBase::Compacted(id)) if id != self.base => {
                self.log.retain(|entry| entry.index > id.index);
                self.base = id;
                self.membership.clone_from(&persist.membership);
            }
            Some(LogBase::Compacted(_)) | None => {}
        }
        if let Some(first) = persist.entries.first() {
            self.log.truncate(self.position(first.index));
            self.log.extend_from_slice(&persist.entries);
        }
    }
}

impl LogStore for MemoryLogStore {
    fn boot(&mut self, promise_ms: u64) -> Result<Boot, StoreError> {
        let mut disk = self.disk.lock();
        let before = disk.boot.unwrap_or_else(|| Boot::none_yet(DiskId::draw()));
        let (boot, noted) = before.next(promise_ms);
        disk.boot = Some(noted);
        Ok(boot)
    }

    fn recover(&mut self) -> Result<StoreContents, StoreError> {
        let disk = self.disk.lock();
        let groups = disk.groups.values().map(MemoryGroup::inspect);
        Ok(StoreContents {
            groups: groups.collect::<Result<_, _>>()?,
            tombstones: disk.tombstones.values().copied().collect(),
            ..StoreContents::default()
        })
    }

    fn inspect(&self, group: GroupId) -> Result<RecoveredGroup, StoreError> {
        self.disk.lock().group(group)?.inspect()
    }

    fn create(&mut self, records: &[GroupRecord]) -> Result<(), StoreError> {
        let mut disk = self.disk.lock();
        let mut seen = BTreeSet::new();
        let mut states = Vec::with_capacity(records.len());
        for record in records {
            if !seen.insert(record.group) {
                return Err(StoreError::refused(record.group, Refusal::Exists));
            }
            disk.check_absent(record.group)?;
            states.push(first_state(record, disk.tombstones.get(&record.group), None)?);
        }
        for (record, (hard_state, forgotten)) in records.iter().zip(states) {
            disk.note(record, hard_state, forgotten, LogId::ZERO);
        }
        Ok(())
    }

    fn import(&mut self, record: &GroupRecord, base: LogId) -> Result<(), StoreError> {
        let mut disk = self.disk.lock();
        disk.check_absent(record.group)?;
        let (hard_state, forgotten) = imported_state(record, base, disk.tombstones.get(&record.group), None)?;
        disk.note(record, hard_state, forgotten, base);
        Ok(())
    }

    fn destroy(&mut self, groups: &[GroupId]) -> Result<Vec<Tombstone>, StoreError> {
        let mut disk = self.disk.lock();
        let mut seen = BTreeSet::new();
        let mut tombstones = Vec::with_capacity(groups.len());
        for group in groups {
            if !seen.insert(*group) {
                return Err(StoreError::refused(*group, Refusal::TwiceInBatch));
            }
            let held = disk.group(*group)?;
            let owner = Owner {
                group: *group,
                incarnation: held.record.incarnation,
            };
            let last = held.last_before(LogIndex(u64::MAX));
            tombstones.push(tombstone_of(owner, held.hard_state, last, held.forgotten, false));
        }
        for tombstone in &tombstones {
            disk.groups.remove(&tombstone.group);
            disk.tombstones.insert(tombstone.group, *tombstone);
        }
        Ok(tombstones)
    }

    fn rebuild(&mut self, record: &GroupRecord) -> Result<(), StoreError> {
        let mut disk = self.disk.lock();
        check_rebuild(disk.group(record.group)?.record.incarnation, record)?;
        if let Some(held) = disk.groups.get_mut(&record.group) {
            held.record = record.clone();
            held.hard_state.vote = None;
            held.forgotten = LogId::ZERO;
            held.membership = held.membership.take().map(|_| Arc::new(record.membership.clone()));
            held.log.iter_mut().for_each(forget_configuration);
        }
        Ok(())
    }

    fn forget(&mut self, group: GroupId) -> Result<RecoveredGroup, StoreError> {
        let mut disk = self.disk.lock();
        let held = disk.groups.get_mut(&group);
        let held = held.ok_or_else(|| StoreError::refused(group, Refusal::UnknownGroup))?;
        held.forgotten = held.last_before(LogIndex(u64::MAX)).max(held.forgotten);
        held.hard_state = next_term(held.hard_state.term);
        held.base = LogId::ZERO;
        held.membership = None;
        held.log.clear();
        held.inspect()
    }

    fn write(&mut self, batch: &[Persist]) -> Result<(), StoreError> {
        let mut disk = self.disk.lock();
        let mut seen = BTreeSet::new();
        for persist in batch {
            if !seen.insert(persist.group) {
                return Err(StoreError::refused(persist.group, Refusal::TwiceInBatch));
            }
            match disk.groups.get(&persist.group) {
                Some(group) => group.check(persist)?,
                None => return Err(StoreError::refused(persist.group, Refusal::UnknownGroup)),
            }
        }
        for persist in batch {
            if let Some(group) = disk.groups.get_mut(&persist.group) {
                group.write(persist);
            }
        }
        Ok(())
    }

    fn read(
        &self,
        group: GroupId,
        from: LogIndex,
        through: LogIndex,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let disk = self.disk.lock();
        let held = disk.group(group)?;
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0_usize;
        if from.max(LogIndex(1)) <= held.base.index {
            return Ok(entries);
        }
        for entry in held.log.iter().skip(held.position(from)) {
            bytes = bytes.saturating_add(entry.size());
            if entry.index > through || (bytes > bytes_max && !entries.is_empty()) {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }
}
