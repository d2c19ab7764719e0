//! Groups that come and go. Each change is put together first, which reads and may refuse, and then written as
//! one batch: what fails before that has left nothing.

use super::super::record::{
    EntriesReader, Own, Owner, decode_forgotten, decode_hard_state, decode_own, encode_base, encode_entries,
    encode_forgotten, encode_group, encode_hard_state, encode_tombstone,
};
use super::super::refusal::{check_rebuild, first_state, forget_configuration, imported_state};
use super::keys::{base_key, forgotten_key, group_key, hard_state_key, log_key, log_keys};
use super::read::log_record;
use super::{FjallLogStore, GroupRecord, GroupState, Refusal, StoreError, Tombstone, failed};
use ::fjall::{OwnedWriteBatch, Slice};
use raftyard_groups::{GroupId, HardState, LogId};
use std::collections::BTreeSet;

/// One write, and which groups there are after it.
pub(super) struct Change {
    writes: OwnedWriteBatch,
    come: Vec<GroupState>,
    gone: Vec<GroupId>,
}

impl FjallLogStore {
    pub(super) fn change_lives(&mut self, change: Change) -> Result<(), StoreError> {
        let result = self.commit(change.writes);
        self.poison_unless_refused(&result);
        result?;
        for group in change.gone {
            self.groups.remove(&group);
        }
        for state in change.come {
            self.groups.insert(state.owner.group, state);
        }
        Ok(())
    }

    pub(super) fn plan_create(&mut self, records: &[GroupRecord]) -> Result<Change, StoreError> {
        let mut change = self.new_change(records.len())?;
        let mut seen = BTreeSet::new();
        for record in records {
            let tombstone = self.tombstone(record.group)?;
            if !seen.insert(record.group) {
                return Err(StoreError::refused(record.group, Refusal::Exists));
            }
            let (hard_state, forgotten) = first_state(record, tombstone.as_ref())?;
            self.add_new(&mut change, record, hard_state, LogId::ZERO);
            if forgotten != LogId::ZERO {
                encode_forgotten(&mut self.scratch, owner_of(record), forgotten);
                let key = forgotten_key(record.group);
                change.writes.insert(&self.records, key, self.scratch.as_slice());
            }
        }
        Ok(change)
    }

    pub(super) fn plan_import(&mut self, record: &GroupRecord, base: LogId) -> Result<Change, StoreError> {
        let mut change = self.new_change(1)?;
        let tombstone = self.tombstone(record.group)?;
        let hard_state = imported_state(record, base, tombstone.as_ref())?;
        self.add_new(&mut change, record, hard_state, base);
        encode_base(&mut self.scratch, owner_of(record), base, &record.membership);
        let key = base_key(record.group);
        change.writes.insert(&self.records, key, self.scratch.as_slice());
        Ok(change)
    }

    pub(super) fn plan_destroy(&mut self, groups: &[GroupId]) -> Result<(Change, Vec<Tombstone>), StoreError> {
        let mut change = self.new_change(groups.len())?;
        let mut tombstones = Vec::with_capacity(groups.len());
        let mut seen = BTreeSet::new();
        for group in groups.iter().copied() {
            if !seen.insert(group) {
                return Err(StoreError::refused(group, Refusal::TwiceInBatch));
            }
            let state = self.state(group)?;
            let tombstone = Tombstone {
                group,
                incarnation: state.owner.incarnation,
                hard_state: self.hard_state(state.owner)?,
                last: state.last.max(self.forgotten(state.owner)?),
            };
            encode_tombstone(&mut self.scratch, &tombstone);
            change
                .writes
                .insert(&self.records, group_key(group), self.scratch.as_slice());
            change.writes.remove(&self.records, hard_state_key(group));
            change.writes.remove(&self.records, base_key(group));
            change.writes.remove(&self.records, forgotten_key(group));
            if state.start <= state.last.index {
                for item in self.records.range(log_keys(group, state.start, state.last.index)) {
                    let key = item.key().map_err(|e| failed("read", &self.path, e))?;
                    change.writes.remove(&self.records, key);
                }
            }
            change.gone.push(group);
            tombstones.push(tombstone);
        }
        Ok((change, tombstones))
    }

    /// Every record names its owner, so all are written anew, under the keys they have.
    pub(super) fn plan_rebuild(&mut self, record: &GroupRecord) -> Result<Change, StoreError> {
        let group = record.group;
        let state = self.state(group)?;
        check_rebuild(state.owner.incarnation, record)?;
        let (old, new) = (state.owner, owner_of(record));
        let hard_state = HardState {
            vote: None,
            ..self.hard_state(old)?
        };
        let mut change = self.new_change(1)?;
        encode_group(&mut self.scratch, record);
        change
            .writes
            .insert(&self.records, group_key(group), self.scratch.as_slice());
        encode_hard_state(&mut self.scratch, new, &hard_state);
        change
            .writes
            .insert(&self.records, hard_state_key(group), self.scratch.as_slice());
        if state.base != LogId::ZERO {
            encode_base(&mut self.scratch, new, state.base, &record.membership);
            change
                .writes
                .insert(&self.records, base_key(group), self.scratch.as_slice());
        }
        change.writes.remove(&self.records, forgotten_key(group));
        if state.start <= state.last.index {
            for item in self.records.range(log_keys(group, state.start, state.last.index)) {
                let (first, value) = log_record(group, item)?;
                let corrupt = |e| StoreError::corrupt(group, &e);
                let mut reader = EntriesReader::open(old, first, value).map_err(corrupt)?;
                let mut entries = Vec::new();
                while let Some(span) = reader.advance().map_err(corrupt)? {
                    let mut entry = reader.entry(span);
                    forget_configuration(&mut entry);
                    entries.push(entry);
                }
                encode_entries(&mut self.scratch, new, &entries);
                change
                    .writes
                    .insert(&self.records, log_key(group, first), self.scratch.as_slice());
            }
        }
        change.come.push(GroupState { owner: new, ..state });
        Ok(change)
    }

    fn new_change(&self, groups: usize) -> Result<Change, StoreError> {
        if self.poisoned {
            return Err(StoreError::Poisoned);
        }
        Ok(Change {
            writes: self.new_batch(groups.saturating_mul(4)),
            come: Vec::new(),
            gone: Vec::new(),
        })
    }

    /// Adds a group's record and, if it has one to begin with, its hard state.
    fn add_new(&mut self, change: &mut Change, record: &GroupRecord, hard_state: HardState, base: LogId) {
        let owner = owner_of(record);
        encode_group(&mut self.scratch, record);
        let key = group_key(record.group);
        change.writes.insert(&self.records, key, self.scratch.as_slice());
        if hard_state != HardState::default() {
            encode_hard_state(&mut self.scratch, owner, &hard_state);
            let key = hard_state_key(record.group);
            change.writes.insert(&self.records, key, self.scratch.as_slice());
        }
        change.come.push(GroupState {
            owner,
            base,
            start: base.index.next(),
            last: base,
            batch: 0,
        });
    }

    /// What is left of a group that is not there. Asked of the disk, so that not even a store that has not
    /// recovered writes over a group.
    fn tombstone(&self, group: GroupId) -> Result<Option<Tombstone>, StoreError> {
        let Some(found) = self.get(group_key(group).as_slice())? else {
            return Ok(None);
        };
        match decode_own(group, &found).map_err(|e| StoreError::corrupt(group, &e))? {
            Own::Tombstone(tombstone) => Ok(Some(tombstone)),
            Own::Group(_) => Err(StoreError::refused(group, Refusal::Exists)),
        }
    }

    fn hard_state(&self, owner: Owner) -> Result<HardState, StoreError> {
        let found = self.get(hard_state_key(owner.group).as_slice())?;
        let decoded = found.map(|found| decode_hard_state(owner, &found)).transpose();
        Ok(decoded
            .map_err(|e| StoreError::corrupt(owner.group, &e))?
            .unwrap_or_default())
    }

    fn forgotten(&self, owner: Owner) -> Result<LogId, StoreError> {
        let found = self.get(forgotten_key(owner.group).as_slice())?;
        let decoded = found.map(|found| decode_forgotten(owner, &found)).transpose();
        Ok(decoded
            .map_err(|e| StoreError::corrupt(owner.group, &e))?
            .unwrap_or_default())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Slice>, StoreError> {
        self.records.get(key).map_err(|e| failed("read", &self.path, e))
    }
}

fn owner_of(record: &GroupRecord) -> Owner {
    Owner {
        group: record.group,
        incarnation: record.incarnation,
    }
}
