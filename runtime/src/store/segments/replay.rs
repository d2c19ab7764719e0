//! Finding out what is where, record by record, when the store is opened.
//!
//! A log may be read from its middle: what stood in segments that were given up was moved behind what was written
//! later. So entries may come before the state of their group, and before the entries that they follow. Each
//! record says all that it means, and what a later one says counts.

use super::super::disk::Disk;
use super::super::record::{
    EntriesReader, Kind, Owner, RecordError, SpanPayload, State, decode_state, decode_tombstone, peek,
};
use super::index::{Configuration, Held, Index, Place, Run};
use super::usage::Usage;
use super::{SegmentLogStore, StoreError};
use bytes::Bytes;
use raftyard_groups::{HardState, LogId, LogIndex};
use std::sync::Arc;

impl<D: Disk> SegmentLogStore<D> {
    pub(super) fn load(&mut self) -> Result<(), StoreError> {
        let mut index = Index::default();
        self.journal.load(|usage, place, record| {
            let owner = peek(&record).map(|(_, owner)| owner.group).unwrap_or_default();
            let taken = index.replay(usage, place, record);
            taken.map_err(|error| StoreError::corrupt(owner, &error))
        })?;
        // In order, so that the same damage is named each time.
        let lost = index.groups.values().filter(|held| held.place.is_none());
        if let Some(group) = lost.map(|held| held.owner().group).min() {
            return Err(StoreError::corrupt(
                group,
                &"it has entries, but no record of its state",
            ));
        }
        let mut groups: Vec<_> = index.groups.values_mut().collect();
        groups.sort_unstable_by_key(|held| held.owner().group);
        for held in groups {
            held.recovered()?;
            held.runs.shrink_to_fit();
            held.memberships.shrink_to_fit();
        }
        self.index = index;
        self.is_loaded = true;
        Ok(())
    }
}

impl Index {
    fn replay(&mut self, usage: &mut Usage, place: Place, record: Bytes) -> Result<(), RecordError> {
        match peek(&record)?.0 {
            Kind::State => {
                let (state, begins_anew) = decode_state(&record)?;
                self.replay_state(usage, place, state, begins_anew);
                Ok(())
            }
            Kind::Tombstone => {
                let tombstone = decode_tombstone(&record)?;
                self.bury(usage, tombstone, place);
                Ok(())
            }
            Kind::Entries | Kind::Moved => self.replay_entries(usage, place, EntriesReader::open(record)?),
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
            .or_insert_with(|| Held::new(state.clone(), None));
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
        let (owner, kind) = (reader.owner(), reader.kind());
        let runs = runs(place, &reader);
        let mut memberships: Vec<Configuration> = Vec::new();
        while let Some(span) = reader.advance()? {
            if let SpanPayload::Membership(membership) = span.payload {
                memberships.push((span.id.index, self.intern(membership)));
            }
        }
        let held = self.groups.entry(owner.group);
        let held = held.or_insert_with(|| Held::new(unknown(owner), None));
        if held.owner() != owner {
            return Err(RecordError::Owner { found: owner });
        }
        if kind == Kind::Entries {
            held.truncate(usage, reader.first());
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
        hard_state: HardState::default(),
        forgotten: LogId::ZERO,
        base: LogId::ZERO,
        base_membership: None,
    }
}
