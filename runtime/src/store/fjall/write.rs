//! Batches: what is written, and what is replaced.

use super::super::record::{EntriesReader, Owner, encode_base, encode_entries, encode_hard_state};
use super::super::refusal::{check_entries, check_follows, rebased};
use super::keys::{base_key, hard_state_key, log_key, log_keys};
use super::read::log_record;
use super::{FjallLogStore, GroupState, Refusal, StoreError, failed};
use ::fjall::{OwnedWriteBatch, PersistMode};
use raftyard_groups::{Entry, LogBase, LogId, LogIndex, Persist};

/// A record closes once its entries reach this many bytes, so that reading a few of them never means
/// checking very many.
const RECORD_BYTES_MAX: usize = 4 << 20;

impl FjallLogStore {
    pub(super) fn write_batch(&mut self, batch: &[Persist]) -> Result<(), StoreError> {
        self.check(batch)?;
        let mut writes = self.new_batch(batch.len());
        let mut states = Vec::with_capacity(batch.len());
        for persist in batch {
            let state = self.state(persist.group)?;
            let owner = state.owner;
            if let Some(hard_state) = &persist.hard_state {
                encode_hard_state(&mut self.scratch, owner, hard_state);
                let key = hard_state_key(owner.group);
                writes.insert(&self.records, key, self.scratch.as_slice());
            }
            let mut state = self.rebase(&mut writes, state, persist)?;
            for entries in records(&persist.entries) {
                self.add_entries(&mut writes, owner, entries);
            }
            if let Some(first) = persist.entries.first()
                && first.index <= state.last.index
            {
                state.start = self.replace(&mut writes, &state, &persist.entries)?;
            }
            state.last = persist.entries.last().map_or(state.last, Entry::id);
            states.push(state);
        }
        if writes.is_empty() {
            return Ok(());
        }
        self.commit(writes)?;
        self.scratch.clear();
        self.scratch.shrink_to(RECORD_BYTES_MAX);
        for state in states {
            self.groups.insert(state.owner.group, state);
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
            let (base, last) = rebased(persist, state.base, state.last)?;
            check_entries(persist, base, last)?;
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

    /// Removes what a new base drops, and notes that base. A record that holds entries on both sides of it
    /// stays as it is. Returns what the log is before the entries of the write.
    fn rebase(
        &mut self,
        writes: &mut OwnedWriteBatch,
        state: GroupState,
        persist: &Persist,
    ) -> Result<GroupState, StoreError> {
        let GroupState { owner, start, .. } = state;
        let (base, last) = rebased(persist, state.base, state.last)?;
        let Some(membership) = &persist.membership else {
            return Ok(state);
        };
        if persist.base == Some(LogBase::Compacted(state.base)) {
            return Ok(state);
        }
        encode_base(&mut self.scratch, owner, base, membership);
        writes.insert(&self.records, base_key(owner.group), self.scratch.as_slice());
        let kept = if base.index < last.index {
            self.record_with(owner.group, base.index.next())?.0
        } else {
            base.index.next()
        };
        let dropped = match persist.base {
            Some(LogBase::Installed(_)) => state.last.index,
            _ => kept.prev(),
        };
        let written: Vec<LogIndex> = starts(&persist.entries);
        if start <= dropped {
            for item in self.records.range(log_keys(owner.group, start, dropped)) {
                let (first, _) = log_record(owner.group, item)?;
                if !written.contains(&first) {
                    writes.remove(&self.records, log_key(owner.group, first));
                }
            }
        }
        Ok(GroupState {
            base,
            start: kept,
            last,
            ..state
        })
    }

    /// Removes what the log holds, up to its last entry, from the first of the `new` entries on. Records that start
    /// where a new one does are replaced already: within a batch a key must appear only once, because all
    /// of it is one point in time and nothing says which came last. The record that holds entries on both
    /// sides is cut. Returns where the first record starts then.
    fn replace(
        &mut self,
        writes: &mut OwnedWriteBatch,
        state: &GroupState,
        new: &[Entry],
    ) -> Result<LogIndex, StoreError> {
        let GroupState {
            owner,
            base,
            start: oldest,
            last,
            ..
        } = *state;
        let first = new.first().map_or(LogId::ZERO, Entry::id);
        let written = starts(new);
        for item in self.records.range(log_keys(owner.group, first.index, last.index)) {
            let (start, _) = log_record(owner.group, item)?;
            if !written.contains(&start) {
                writes.remove(&self.records, log_key(owner.group, start));
            }
        }
        let before = first.index.prev();
        if before == base.index {
            check_follows(base, first).map_err(|reason| StoreError::refused(owner.group, reason))?;
            if oldest < first.index {
                // All that the record would keep was compacted.
                writes.remove(&self.records, log_key(owner.group, oldest));
            }
            return Ok(first.index);
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
        Ok(oldest)
    }

    pub(super) fn new_batch(&self, capacity: usize) -> OwnedWriteBatch {
        // fdatasync also writes what is needed to find the data again, such as the journal's new length.
        OwnedWriteBatch::with_capacity(self.db.clone(), capacity).durability(Some(PersistMode::SyncData))
    }

    pub(super) fn commit(&self, writes: OwnedWriteBatch) -> Result<(), StoreError> {
        writes.commit().map_err(|e| failed("write", &self.path, e))
    }
}

/// Where the records start that the entries are divided into.
fn starts(entries: &[Entry]) -> Vec<LogIndex> {
    records(entries)
        .filter_map(|record| record.first().map(|entry| entry.index))
        .collect()
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
