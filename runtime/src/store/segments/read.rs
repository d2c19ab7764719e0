//! Reading a stretch of one group's log.

use super::super::disk::Disk;
use super::super::record::{EntriesReader, RecordError};
use super::index::{Held, Run};
use super::{SegmentLogStore, StoreError};
use raftyard_groups::{Entry, GroupId, LogIndex};

impl<D: Disk> SegmentLogStore<D> {
    pub(super) fn read_entries(
        &self,
        group: GroupId,
        from: LogIndex,
        through: LogIndex,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let held = self.held(group)?;
        let from = from.max(LogIndex(1));
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0_usize;
        if from > through || from <= held.state.base.index {
            return Ok(entries);
        }
        // Runs of several terms may stand in one record.
        let mut open: Option<(Run, EntriesReader)> = None;
        for run in held.runs.get(held.position(from)..).unwrap_or_default() {
            if run.first > through {
                break;
            }
            let mut reader = match open.take() {
                Some((before, reader)) if before.place == run.place => reader,
                _ => self.reader(held, run)?,
            };
            for index in run.first.0..=run.last().0.min(through.0) {
                let entry = entry_at(&mut reader, run, LogIndex(index));
                let entry = entry.map_err(|e| StoreError::corrupt(group, &e))?;
                if entry.index < from {
                    continue;
                }
                bytes = bytes.saturating_add(entry.size());
                if bytes > bytes_max && !entries.is_empty() {
                    return Ok(entries);
                }
                entries.push(entry);
            }
            open = Some((*run, reader));
        }
        Ok(entries)
    }

    /// The record of a run.
    pub(super) fn reader(&self, held: &Held, run: &Run) -> Result<EntriesReader, StoreError> {
        let record = self.journal.read(run.place)?;
        let owner = held.owner();
        EntriesReader::open_of(owner, record).map_err(|e| StoreError::corrupt(owner.group, &e))
    }
}

/// The entry at `index`, which the reader has not passed yet.
pub(super) fn entry_at(reader: &mut EntriesReader, run: &Run, index: LogIndex) -> Result<Entry, RecordError> {
    while let Some(span) = reader.advance()? {
        if span.id.index == index && span.id.term == run.term {
            return Ok(reader.entry(span));
        }
        if span.id.index >= index {
            break;
        }
    }
    Err(RecordError::FirstIndex(index))
}
