//! Finding out what is where, record by record, when the store is opened.
//!
//! A log may be read from its middle: what stood in segments that were given up was moved behind what was written
//! later. So entries may come before the state of their group, and before the entries that they follow. Each
//! record says all that it means, and what a later one says counts. What a record says against the state before it is
//! not taken in: a later state must be lost, on which it goes on.

use super::super::record::{
    EntriesReader, Kind, Owner, RecordError, SpanPayload, State, decode_state, decode_tombstone, peek,
};
use super::index::{Configuration, Held, Index, Place, Run};
use super::usage::Usage;
use bytes::Bytes;
use raftyard_groups::{HardState, LogId, LogIndex};
use std::sync::Arc;

impl Index {
    /// Takes in a record; says whether nothing of its group that stands before it counts any more.
    pub(super) fn replay(&mut self, usage: &mut Usage, place: Place, record: Bytes) -> Result<bool, RecordError> {
        match peek(&record)?.0 {
            Kind::State => {
                let (state, begins_anew) = decode_state(&record)?;
                self.replay_state(usage, place, state, begins_anew);
                Ok(begins_anew)
            }
            Kind::Tombstone => {
                let tombstone = decode_tombstone(&record)?;
                self.bury(usage, tombstone, place);
                Ok(true)
            }
            Kind::Entries | Kind::Moved => {
                self.replay_entries(usage, place, EntriesReader::open(record)?)?;
                Ok(false)
            }
        }
    }

    fn replay_state(&mut self, usage: &mut Usage, place: Place, state: State, begins_anew: bool) {
        let (group, base) = (state.owner.group, state.base.index);
        let state = self.interned(state);
        let is_other = self.groups.get(&group).is_none_or(|held| held.owner() != state.owner);
        if is_other {
            self.forget(usage, group);
        }
        let held = self
            .groups
            .entry(group)
            .or_insert_with(|| Box::new(Held::new(state.clone(), None)));
        held.state = state;
        if begins_anew {
            held.clear(usage);
        }
        held.drop_through(usage, base);
        held.place_state(usage, place);
    }

    fn replay_entries(
        &mut self,
        usage: &mut Usage,
        place: Place,
        mut reader: EntriesReader,
    ) -> Result<(), RecordError> {
        let (owner, kind, first) = (reader.owner(), reader.kind(), reader.first());
        let runs = runs(place, &reader);
        let mut memberships: Vec<Configuration> = Vec::new();
        while let Some(span) = reader.advance()? {
            if let SpanPayload::Membership(membership) = span.payload {
                memberships.push((span.id.index, self.intern(membership)));
            }
        }
        match self.groups.get(&owner.group) {
            Some(held) if held.owner().incarnation > owner.incarnation => {
                return Err(RecordError::Owner { found: owner });
            }
            // A state of the same life that lets its log begin earlier stood between, and is lost.
            Some(held) if held.owner() == owner && first <= held.state.base.index => {
                let base = held.state.base;
                return Err(RecordError::BeforeBase { first, base });
            }
            Some(held) if held.owner() == owner => {}
            // Its state comes later, or is lost.
            _ => self.forget(usage, owner.group),
        }
        let held = self.groups.entry(owner.group);
        let held = held.or_insert_with(|| Box::new(Held::new(unknown(owner), None)));
        if kind == Kind::Entries {
            held.truncate(usage, first);
        }
        if let Some(last) = runs.last().map(Run::last) {
            held.drop_memberships(first, last);
        }
        for run in runs {
            held.insert(usage, run);
        }
        for (index, membership) in memberships {
            held.insert_membership(index, membership);
        }
        Ok(())
    }
}

/// What the entries of a record are in the index.
pub(super) fn runs(place: Place, reader: &EntriesReader) -> Vec<Run> {
    let parts: Vec<_> = reader.runs().collect();
    let total: u64 = parts.iter().map(|(_, len)| len).sum();
    let mut first = reader.first().0;
    let mut runs = Vec::with_capacity(parts.len());
    for (term, len) in parts {
        // An entry takes a byte at least, and a record has less than 4 GiB.
        let count = u32::try_from(len).unwrap_or(u32::MAX);
        runs.push(Run {
            place,
            bytes: share(place.len, len, total),
            count,
            first: LogIndex(first),
            term,
        });
        first = first.saturating_add(len);
    }
    runs
}

/// What so many of all entries count for of a record's bytes: at least one.
pub(super) fn share(bytes: u32, part: u64, total: u64) -> u32 {
    let share = u128::from(bytes) * u128::from(part) / u128::from(total.max(1));
    u32::try_from(share).unwrap_or(bytes).max(1)
}

/// A group of which only entries were read so far.
fn unknown(owner: Owner) -> State {
    State {
        owner,
        membership: Arc::default(),
        is_witness: false,
        is_lost: false,
        is_in_doubt: false,
        hard_state: HardState::default(),
        forgotten: LogId::ZERO,
        base: LogId::ZERO,
        base_membership: None,
    }
}
