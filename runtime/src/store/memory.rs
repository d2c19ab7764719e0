//! A store that forgets when the process ends.

use super::refusal::{Refusal, check_entries, rebased};
use super::shape::LogShape;
use super::{GroupRecord, LogStore, RecoveredGroup, StoreError};
use parking_lot::Mutex;
use raftyard_groups::{Entry, GroupId, HardState, LogBase, LogId, LogIndex, Membership, Payload, Persist};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Logs in memory, for simulations and for clusters inside one process. What was written is "durable" at
/// once. A clone is another handle on the same disk: give a clone to a node, drop the node, give another
/// clone to its next life.
#[derive(Clone, Debug, Default)]
pub struct MemoryLogStore {
    disk: Arc<Mutex<BTreeMap<GroupId, MemoryGroup>>>,
}

#[derive(Debug)]
struct MemoryGroup {
    record: GroupRecord,
    hard_state: HardState,
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
    fn recover(&mut self) -> Result<Vec<RecoveredGroup>, StoreError> {
        let disk = self.disk.lock();
        disk.iter()
            .map(|(id, group)| {
                let mut shape = LogShape::after(group.base, group.membership.clone());
                for entry in &group.log {
                    let membership = match &entry.payload {
                        Payload::Membership(membership) => Some(membership),
                        Payload::Noop | Payload::Command(_) => None,
                    };
                    shape
                        .push(entry.id(), membership)
                        .map_err(|misfit| StoreError::corrupt(*id, &misfit))?;
                }
                Ok(RecoveredGroup {
                    record: group.record.clone(),
                    state: shape.into_recovered(group.hard_state),
                })
            })
            .collect()
    }

    fn create(&mut self, records: &[GroupRecord]) -> Result<(), StoreError> {
        let mut disk = self.disk.lock();
        let mut seen = BTreeSet::new();
        for GroupRecord { group, .. } in records {
            if disk.contains_key(group) || !seen.insert(*group) {
                return Err(StoreError::refused(*group, Refusal::Exists));
            }
        }
        for record in records {
            let group = MemoryGroup {
                record: record.clone(),
                hard_state: HardState::default(),
                base: LogId::ZERO,
                membership: None,
                log: Vec::new(),
            };
            disk.insert(record.group, group);
        }
        Ok(())
    }

    fn write(&mut self, batch: &[Persist]) -> Result<(), StoreError> {
        let mut disk = self.disk.lock();
        let mut seen = BTreeSet::new();
        for persist in batch {
            if !seen.insert(persist.group) {
                return Err(StoreError::refused(persist.group, Refusal::TwiceInBatch));
            }
            match disk.get(&persist.group) {
                Some(group) => group.check(persist)?,
                None => return Err(StoreError::refused(persist.group, Refusal::UnknownGroup)),
            }
        }
        for persist in batch {
            if let Some(group) = disk.get_mut(&persist.group) {
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
        let Some(held) = disk.get(&group) else {
            return Err(StoreError::refused(group, Refusal::UnknownGroup));
        };
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
