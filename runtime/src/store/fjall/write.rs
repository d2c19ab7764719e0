//! Batches: what is written, and what is replaced.

use super::super::record::{EntriesReader, Owner, encode_entries, encode_group, encode_hard_state};
use super::super::refusal::{check_entries, check_follows};
use super::keys::{group_key, hard_state_key, log_key, log_keys};
use super::read::log_record;
use super::{FjallLogStore, GroupRecord, GroupState, Refusal, StoreError, failed};
use ::fjall::{OwnedWriteBatch, PersistMode};
use raftyard_groups::{Entry, LogId, LogIndex, Persist};
use std::collections::BTreeSet;

/// A record closes once its entries reach this many bytes, so that reading a few of them never means
/// checking very many.
const RECORD_BYTES_MAX: usize = 4 << 20;

impl FjallLogStore {
    pub(super) fn create_groups(&mut self, records: &[GroupRecord]) -> Result<(), StoreError> {
        let mut writes = self.new_batch(records.len());
        let mut seen = BTreeSet::new();
        for record in records {
            // Asked of the disk, so that not even a store that has not recovered writes over a group.
            let key = group_key(record.group);
            let found = self.records.contains_key(key);
            if found.map_err(|e| failed("read", &self.path, e))? || !seen.insert(record.group) {
                return Err(StoreError::refused(record.group, Refusal::Exists));
            }
            encode_group(&mut self.scratch, record);
            writes.insert(&self.records, key, self.scratch.as_slice());
        }
        self.commit(writes)?;
        for record in records {
            let state = GroupState {
                owner: Owner {
                    group: record.group,
                    incarnation: record.incarnation,
                },
                last: LogId::ZERO,
                batch: 0,
            };
            self.groups.insert(record.group, state);
        }
        Ok(())
    }

    pub(super) fn write_batch(&mut self, batch: &[Persist]) -> Result<(), StoreError> {
        self.check(batch)?;
        let mut writes = self.new_batch(batch.len());
        for persist in batch {
            let GroupState { owner, last, .. } = self.state(persist.group)?;
            if let Some(hard_state) = &persist.hard_state {
                encode_hard_state(&mut self.scratch, owner, hard_state);
                let key = hard_state_key(owner.group);
                writes.insert(&self.records, key, self.scratch.as_slice());
            }
            for entries in records(&persist.entries) {
                self.add_entries(&mut writes, owner, entries);
            }
            if let Some(first) = persist.entries.first()
                && first.index <= last.index
            {
                self.replace(&mut writes, owner, &persist.entries, last.index)?;
            }
        }
        if writes.is_empty() {
            return Ok(());
        }
        self.commit(writes)?;
        self.scratch.clear();
        self.scratch.shrink_to(RECORD_BYTES_MAX);
        for persist in batch {
            if let Some(last) = persist.entries.last()
                && let Some(state) = self.groups.get_mut(&persist.group)
            {
                state.last = last.id();
            }
        }
        Ok(())
    }

    /// Refuses a batch that can't be, before anything of it is put together.
    fn check(&mut self, batch: &[Persist]) -> Result<(), StoreError> {
        self.batch += 1;
        for persist in batch {
            let Some(state) = self.groups.get_mut(&persist.group) else {
                return Err(StoreError::refused(persist.group, Refusal::UnknownGroup));
            };
            if state.batch == self.batch {
                return Err(StoreError::refused(persist.group, Refusal::TwiceInBatch));
            }
            state.batch = self.batch;
            check_entries(persist, state.last)?;
        }
        Ok(())
    }

    /// Adds one record of entries.
    fn add_entries(&mut self, writes: &mut OwnedWriteBatch, owner: Owner, entries: &[Entry]) {
        if let Some(first) = entries.first() {
            encode_entries(&mut self.scratch, owner, entries);
            let key = log_key(owner.group, first.index);
            writes.insert(&self.records, key, self.scratch.as_slice());
        }
    }

    /// Removes what the log holds, up to `last`, from the first of the `new` entries on. Records that start
    /// where a new one does are replaced already: within a batch a key must appear only once, because all
    /// of it is one point in time and nothing says which came last. The record that holds entries on both
    /// sides is cut.
    fn replace(
        &mut self,
        writes: &mut OwnedWriteBatch,
        owner: Owner,
        new: &[Entry],
        last: LogIndex,
    ) -> Result<(), StoreError> {
        let first = new.first().map_or(LogId::ZERO, Entry::id);
        let written: Vec<LogIndex> = records(new)
            .filter_map(|record| record.first().map(|entry| entry.index))
            .collect();
        for item in self.records.range(log_keys(owner.group, first.index, last)) {
            let (start, _) = log_record(owner.group, item)?;
            if !written.contains(&start) {
                writes.remove(&self.records, log_key(owner.group, start));
            }
        }
        let before = first.index.prev();
        if before == LogIndex::ZERO {
            return Ok(());
        }
        let (start, value) = self.record_with(owner.group, before)?;
        let corrupt = |e| StoreError::corrupt(owner.group, &e);
        let mut reader = EntriesReader::open(owner, start, value).map_err(corrupt)?;
        let mut kept: Vec<Entry> = Vec::new();
        let mut is_cut = false;
        while let Some(span) = reader.advance().map_err(corrupt)? {
            if span.id.index < first.index {
                kept.push(reader.entry(span));
            } else {
                is_cut = true;
            }
        }
        let before = kept.last().map_or(LogId::ZERO, Entry::id);
        check_follows(before, first).map_err(|reason| StoreError::refused(owner.group, reason))?;
        if is_cut {
            self.add_entries(writes, owner, &kept);
        }
        Ok(())
    }

    fn new_batch(&self, capacity: usize) -> OwnedWriteBatch {
        // fdatasync also writes what is needed to find the data again, such as the journal's new length.
        OwnedWriteBatch::with_capacity(self.db.clone(), capacity).durability(Some(PersistMode::SyncData))
    }

    fn commit(&self, writes: OwnedWriteBatch) -> Result<(), StoreError> {
        writes.commit().map_err(|e| failed("write", &self.path, e))
    }
}

/// The entries, as they are divided into records.
fn records(entries: &[Entry]) -> impl Iterator<Item = &[Entry]> {
    let mut rest = entries;
    std::iter::from_fn(move || {
        let mut bytes = 0_usize;
        let last = rest.iter().position(|entry| {
            bytes = bytes.saturating_add(entry.size());
            bytes >= RECORD_BYTES_MAX
        });
        let (record, next) = rest.split_at(last.map_or(rest.len(), |last| last + 1));
        rest = next;
        (!record.is_empty()).then_some(record)
    })
}
