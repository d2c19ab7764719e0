//! Reading a stretch of one group's log.

use super::super::record::EntriesReader;
use super::super::refusal::check_follows;
use super::keys::{Place, log_keys, place};
use super::{FjallLogStore, StoreError, unreadable};
use ::fjall::Guard;
use bytes::Bytes;

use raftyard_groups::{Entry, GroupId, LogId, LogIndex};

impl FjallLogStore {
    pub(super) fn read_entries(
        &self,
        group: GroupId,
        from: LogIndex,
        through: LogIndex,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let state = self.state(group)?;
        let from = from.max(LogIndex(1));
        let through = through.min(state.last.index);
        let mut entries: Vec<Entry> = Vec::new();
        if from > through || from <= state.base.index {
            return Ok(entries);
        }

        let (first, _) = self.record_with(group, from)?;
        let mut last: Option<LogId> = None;
        let mut bytes = 0_usize;
        for item in self.records.range(log_keys(group, first, through)) {
            let (first, value) = log_record(group, item)?;
            let mut reader =
                EntriesReader::open(state.owner, first, value).map_err(|e| StoreError::corrupt(group, &e))?;
            while let Some(span) = reader.advance().map_err(|e| StoreError::corrupt(group, &e))? {
                if let Some(last) = last {
                    check_follows(last, span.id).map_err(|e| StoreError::corrupt(group, &e))?;
                }
                last = Some(span.id);
                if span.id.index < from {
                    continue;
                }
                let entry = reader.entry(span);
                bytes = bytes.saturating_add(entry.size());
                if entry.index > through || (bytes > bytes_max && !entries.is_empty()) {
                    return Ok(entries);
                }
                entries.push(entry);
            }
        }
        match entries.last() {
            Some(entry) if entry.index == through => Ok(entries),
            _ => Err(StoreError::corrupt(
                group,
                &format!("entries up to {through} are missing"),
            )),
        }
    }

    /// The record that should hold the entry at `index`: the last that starts at or before it.
    pub(super) fn record_with(&self, group: GroupId, index: LogIndex) -> Result<(LogIndex, Bytes), StoreError> {
        let up_to = log_keys(group, LogIndex::ZERO, index);
        match self.records.range(up_to).next_back() {
            Some(item) => log_record(group, item),
            None => Err(StoreError::corrupt(group, &format!("no record holds entry {index}"))),
        }
    }
}

/// A record of entries of `group`, with the index that its key names.
pub(super) fn log_record(group: GroupId, item: Guard) -> Result<(LogIndex, Bytes), StoreError> {
    let (key, value) = item.into_inner().map_err(|e| unreadable(group, e))?;
    match place(&key) {
        Some(Place::Log(of, first)) if of == group => Ok((first, Bytes::from_owner(value))),
        _ => Err(StoreError::corrupt(group, &"a foreign key among its entries")),
    }
}
