//! Batches of all groups: what is checked, written, and then known.

use super::super::disk::Disk;
use super::super::record::{Kind, Owner, State, encode_entries, encode_state};
use super::super::refusal::{check_entries, check_follows, rebased};
use super::header::Totals;
use super::index::{Held, Index, Run};
use super::journal::{Backs, Batch, Written};
use super::replay::share;
use super::usage::Usage;
use super::{Refusal, SegmentLogStore, StoreError};
use raftyard_groups::{Entry, HardState, LogBase, LogId, Payload, Persist, Term};
use std::ops::Range;

/// A record closes once its entries reach this many bytes: a reader checks all of a record for one of its entries.
const RECORD_BYTES_MAX: usize = 256 << 10;

/// A record of entries in a batch.
#[derive(Debug)]
pub(super) struct Part {
    record: Range<usize>,
    /// How many entries it has.
    entries: usize,
}

/// What a group puts into a batch.
struct Put {
    /// Its new state, if that changed, and where the record stands.
    state: Option<(State, Range<usize>)>,
    parts: Range<usize>,
}

impl<D: Disk> SegmentLogStore<D> {
    pub(super) fn write_batch(&mut self, batch: &[Persist]) -> Result<(), StoreError> {
        self.begin()?;
        let mut parts = Vec::with_capacity(batch.len());
        let mut puts = Vec::with_capacity(batch.len());
        for persist in batch {
            puts.push(self.put(persist, &mut parts)?);
        }
        if !self.has_news() {
            return Ok(());
        }
        let written = self.commit()?;
        for (persist, put) in batch.iter().zip(puts) {
            let parts = parts.get(put.parts.clone()).unwrap_or_default();
            self.index.apply(&mut self.journal.usage, persist, put, parts, written);
        }
        Ok(())
    }

    /// Checks a group's write, and puts its records together.
    fn put(&mut self, persist: &Persist, parts: &mut Vec<Part>) -> Result<Put, StoreError> {
        let Some(held) = self.index.groups.get_mut(&persist.group) else {
            return Err(StoreError::refused(persist.group, Refusal::UnknownGroup));
        };
        if held.write == self.write {
            return Err(StoreError::refused(persist.group, Refusal::TwiceInBatch));
        }
        held.write = self.write;
        let base = check(held, persist)?;
        let owner = held.owner();
        let is_rebased = persist
            .base
            .is_some_and(|new| new != LogBase::Compacted(held.state.base));
        let mut put = Put {
            state: None,
            parts: parts.len()..parts.len(),
        };
        if persist.hard_state.is_some() || is_rebased {
            let mut state = held.state.clone();
            state.hard_state = persist.hard_state.unwrap_or(state.hard_state);
            if is_rebased {
                state.base = base;
                state.base_membership.clone_from(&persist.membership);
            }
            let begins_anew = matches!(persist.base, Some(LogBase::Installed(_)));
            self.batch.raise(totals_of(&state.hard_state));
            let record = self.batch.add(&self.index.backs, persist.group, |out, back| {
                encode_state(out, back, &state, begins_anew);
            });
            put.state = Some((state, record));
        }
        let first = persist.entries.first();
        let prev = first.and_then(|first| match first.index.prev() {
            index if index == base.index => Some(base.term),
            index => held.term_at(index),
        });
        let of = (Kind::Entries, owner, prev.unwrap_or_default());
        let term_max = persist.entries.last().map_or(base.term.0, |last| last.term.0);
        self.batch.raise(Totals { term_max, groups: 0 });
        put_entries(&mut self.batch, &self.index.backs, of, &persist.entries, parts);
        put.parts.end = parts.len();
        Ok(put)
    }
}

/// Puts records of entries together. They come with their kind, whose they are, and the term of the entry before.
pub(super) fn put_entries(
    batch: &mut Batch,
    backs: &Backs,
    (kind, owner, mut prev): (Kind, Owner, Term),
    entries: &[Entry],
    parts: &mut Vec<Part>,
) {
    for entries in records(entries) {
        let encode = |out: &mut Vec<u8>, back| encode_entries(out, back, kind, owner, prev, entries);
        parts.push(Part {
            record: batch.add(backs, owner.group, encode),
            entries: entries.len(),
        });
        prev = entries.last().map_or(prev, |last| last.term);
    }
}

/// What must be known even if the record of this hard state is lost.
pub(super) fn totals_of(hard_state: &HardState) -> Totals {
    Totals {
        term_max: hard_state.term.0,
        groups: 0,
    }
}

/// The base that a log has after a write, if the write makes sense.
fn check(held: &Held, persist: &Persist) -> Result<LogId, StoreError> {
    let (base, last) = rebased(persist, held.state.base, held.last())?;
    check_entries(persist, base, last)?;
    if let Some(first) = persist.entries.first()
        && first.index <= last.index
    {
        let index = first.index.prev();
        let before = if index == base.index {
            Some(base)
        } else {
            held.term_at(index).map(|term| LogId { term, index })
        };
        let before =
            before.ok_or_else(|| StoreError::corrupt(persist.group, &format!("no record holds entry {index}")))?;
        check_follows(before, first.id()).map_err(|reason| StoreError::refused(persist.group, reason))?;
    }
    Ok(base)
}

impl Index {
    /// Notes a write that is durable.
    fn apply(&mut self, usage: &mut Usage, persist: &Persist, put: Put, parts: &[Part], written: Written) {
        let state = put
            .state
            .map(|(state, record)| (self.interned(state), written.place(&record)));
        let Some(held) = self.groups.get_mut(&persist.group) else {
            return;
        };
        if let Some((state, place)) = state {
            if matches!(persist.base, Some(LogBase::Installed(_))) {
                held.clear(usage);
            }
            held.drop_through(usage, state.base.index);
            held.state = state;
            held.place_state(usage, place);
        }
        if let Some(first) = persist.entries.first() {
            held.truncate(usage, first.index);
            place_entries(held, usage, &persist.entries, parts, written);
        }
        for entry in &persist.entries {
            if let Payload::Membership(membership) = &entry.payload {
                held.memberships.push((entry.index, membership.clone()));
            }
        }
    }
}

/// Notes where entries stand, instead of what was noted of them before.
pub(super) fn place_entries(held: &mut Held, usage: &mut Usage, entries: &[Entry], parts: &[Part], written: Written) {
    let mut rest = entries;
    for part in parts {
        let (entries, next) = rest.split_at(part.entries.min(rest.len()));
        rest = next;
        let place = written.place(&part.record);
        for run in entries.chunk_by(|one, next| one.term == next.term) {
            let Some(first) = run.first() else { continue };
            held.insert(
                usage,
                Run {
                    place,
                    bytes: share(place.len, run.len() as u64, entries.len() as u64),
                    count: u32::try_from(run.len()).unwrap_or(u32::MAX),
                    first: first.index,
                    term: first.term,
                },
            );
        }
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
