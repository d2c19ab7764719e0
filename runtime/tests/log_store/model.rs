//! The store as naive as it gets: what it should hold, and what it should answer.

use raftyard::store::{GroupRecord, RecoveredGroup, StoreContents, Tombstone};
use raftyard_groups::{
    Entry, GroupId, HardState, LogBase, LogId, LogIndex, Membership, Payload, Persist, Recovered, Term,
};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Default)]
pub(crate) struct Model {
    groups: BTreeMap<GroupId, ModelGroup>,
    tombstones: BTreeMap<GroupId, Tombstone>,
}

struct ModelGroup {
    record: GroupRecord,
    hard_state: HardState,
    forgotten: LogId,
    base: LogId,
    membership: Option<Arc<Membership>>,
    log: BTreeMap<u64, Entry>,
}

impl Model {
    pub(crate) fn create(&mut self, record: &GroupRecord) {
        let (mut hard_state, mut forgotten) = (HardState::default(), LogId::ZERO);
        if let Some(tombstone) = self.tombstones.remove(&record.group) {
            assert!(record.incarnation >= tombstone.incarnation);
            if record.incarnation == tombstone.incarnation {
                hard_state.term = Term(tombstone.hard_state.term.0 + 1);
                forgotten = tombstone.last;
            }
        }
        self.note(record, hard_state, forgotten, LogId::ZERO);
    }

    pub(crate) fn import(&mut self, record: &GroupRecord, base: LogId) {
        self.tombstones.remove(&record.group);
        let (term, vote) = (base.term, None);
        self.note(record, HardState { term, vote }, LogId::ZERO, base);
    }

    fn note(&mut self, record: &GroupRecord, hard_state: HardState, forgotten: LogId, base: LogId) {
        let group = ModelGroup {
            record: record.clone(),
            hard_state,
            forgotten,
            base,
            membership: (base != LogId::ZERO).then(|| Arc::new(record.membership.clone())),
            log: BTreeMap::new(),
        };
        assert!(self.groups.insert(record.group, group).is_none());
    }

    pub(crate) fn destroy(&mut self, group: GroupId) -> Tombstone {
        let last = self.last(group);
        let held = self.groups.remove(&group).unwrap();
        let tombstone = Tombstone {
            group,
            incarnation: held.record.incarnation,
            hard_state: held.hard_state,
            last: last.max(held.forgotten),
            is_uncertain: false,
        };
        self.tombstones.insert(group, tombstone);
        tombstone
    }

    pub(crate) fn rebuild(&mut self, record: &GroupRecord) {
        let held = self.groups.get_mut(&record.group).unwrap();
        held.record = record.clone();
        held.hard_state.vote = None;
        held.forgotten = LogId::ZERO;
        held.membership = held.membership.take().map(|_| Arc::new(record.membership.clone()));
        for entry in held.log.values_mut() {
            if matches!(entry.payload, Payload::Membership(_)) {
                entry.payload = Payload::Noop;
            }
        }
    }

    pub(crate) fn tombstone(&self, group: GroupId) -> Option<Tombstone> {
        self.tombstones.get(&group).copied()
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
            if persist.base.is_some_and(|base| base != LogBase::Compacted(group.base)) {
                group.membership.clone_from(&persist.membership);
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

    pub(crate) fn recovered(&self) -> StoreContents {
        StoreContents {
            groups: self.groups.keys().map(|group| self.inspect(*group)).collect(),
            tombstones: self.tombstones.values().copied().collect(),
            ..StoreContents::default()
        }
    }

    pub(crate) fn inspect(&self, group: GroupId) -> RecoveredGroup {
        let group = &self.groups[&group];
        RecoveredGroup {
            damage: None,
            record: group.record.clone(),
            state: Recovered {
                hard_state: group.hard_state,
                base: group.base,
                applied: LogIndex::ZERO,
                forgotten: group.forgotten,
                memberships: group.memberships(),
                runs: runs(&group.log),
                last: group
                    .log
                    .last_key_value()
                    .map_or(group.base.index, |(_, entry)| entry.index),
                ..Recovered::default()
            },
        }
    }
}

impl ModelGroup {
    fn memberships(&self) -> Vec<(LogIndex, Arc<Membership>)> {
        let at_base = self
            .membership
            .iter()
            .map(|membership| (self.base.index, membership.clone()));
        let in_log = self.log.values().filter_map(|entry| match &entry.payload {
            Payload::Membership(membership) => Some((entry.index, membership.clone())),
            _ => None,
        });
        at_base.chain(in_log).collect()
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
