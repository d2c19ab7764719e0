//! The store as naive as it gets: what it should hold, and what it should answer.

use raftyard::store::{GroupRecord, RecoveredGroup};
use raftyard_groups::{Entry, GroupId, HardState, LogBase, LogId, LogIndex, Persist, Recovered};
use std::collections::BTreeMap;

#[derive(Default)]
pub(crate) struct Model {
    groups: BTreeMap<GroupId, ModelGroup>,
}

struct ModelGroup {
    record: GroupRecord,
    hard_state: HardState,
    base: LogId,
    log: BTreeMap<u64, Entry>,
}

impl Model {
    pub(crate) fn create(&mut self, record: &GroupRecord) {
        let group = ModelGroup {
            record: record.clone(),
            hard_state: HardState::default(),
            base: LogId::ZERO,
            log: BTreeMap::new(),
        };
        assert!(self.groups.insert(record.group, group).is_none());
    }

    pub(crate) fn write(&mut self, batch: &[Persist]) {
        for persist in batch {
            let group = self.groups.get_mut(&persist.group).unwrap();
            if let Some(hard_state) = persist.hard_state {
                group.hard_state = hard_state;
            }
            match persist.base {
                Some(LogBase::Compacted(id)) => group.log.retain(|index, _| *index > id.index.0),
                Some(LogBase::Installed(_)) => group.log.clear(),
                None => {}
            }
            group.base = persist.base.map_or(group.base, LogBase::id);
            if let Some(first) = persist.entries.first() {
                group.log.retain(|index, _| *index < first.index.0);
            }
            for entry in &persist.entries {
                group.log.insert(entry.index.0, entry.clone());
            }
        }
    }

    pub(crate) fn groups(&self) -> Vec<GroupId> {
        self.groups.keys().copied().collect()
    }

    pub(crate) fn hard_state(&self, group: GroupId) -> HardState {
        self.groups[&group].hard_state
    }

    /// The entry at `index`, or what the log begins after.
    pub(crate) fn id_at(&self, group: GroupId, index: u64) -> LogId {
        match self.groups[&group].log.get(&index) {
            Some(entry) => entry.id(),
            None => self.groups[&group].base,
        }
    }

    pub(crate) fn base(&self, group: GroupId) -> LogId {
        self.groups[&group].base
    }

    pub(crate) fn last(&self, group: GroupId) -> LogId {
        match self.groups[&group].log.last_key_value() {
            Some((_, entry)) => entry.id(),
            None => self.groups[&group].base,
        }
    }

    pub(crate) fn read(&self, group: GroupId, from: u64, through: u64, bytes_max: usize) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        if from.max(1) <= self.groups[&group].base.index.0 {
            return entries;
        }
        for (index, entry) in &self.groups[&group].log {
            if (from..=through).contains(index) {
                bytes += entry.size();
                if !entries.is_empty() && bytes > bytes_max {
                    break;
                }
                entries.push(entry.clone());
            }
        }
        entries
    }

    pub(crate) fn recovered(&self) -> Vec<RecoveredGroup> {
        self.groups
            .values()
            .map(|group| RecoveredGroup {
                record: group.record.clone(),
                state: Recovered {
                    hard_state: group.hard_state,
                    base: group.base,
                    applied: LogIndex::ZERO,
                    memberships: Vec::new(),
                    runs: runs(&group.log),
                    last: group
                        .log
                        .last_key_value()
                        .map_or(group.base.index, |(_, entry)| entry.index),
                },
            })
            .collect()
    }
}

fn runs(log: &BTreeMap<u64, Entry>) -> Vec<LogId> {
    let mut runs: Vec<LogId> = Vec::new();
    for entry in log.values() {
        if runs.last().map(|run| run.term) != Some(entry.term) {
            runs.push(entry.id());
        }
    }
    runs
}
