//! Groups that come and go. Each change is put together first, which may refuse, and then written as one batch: what
//! fails before that has left nothing.

use super::super::disk::Disk;
use super::super::record::{Kind, Owner, State, encode_state, encode_tombstone};
use super::super::refusal::{
    check_rebuild, first_state, forget_configuration, imported_state, is_in_doubt, next_term, tombstone_of,
};
use super::header::Totals;
use super::index::{Held, Index};
use super::write::{place_entries, put_entries, totals_of};
use super::{GroupRecord, RecoveredGroup, Refusal, SegmentLogStore, StoreError, Tombstone};
use raftyard_groups::{GroupId, HardState, LogId, LogIndex};
use std::collections::BTreeSet;
use std::sync::Arc;

impl<D: Disk> SegmentLogStore<D> {
    pub(super) fn create_groups(&mut self, records: &[GroupRecord]) -> Result<(), StoreError> {
        self.begin()?;
        let mut seen = BTreeSet::new();
        let mut states = Vec::with_capacity(records.len());
        for record in records {
            let tombstone = self.index.tombstone(record.group)?;
            if !seen.insert(record.group) {
                return Err(StoreError::refused(record.group, Refusal::Exists));
            }
            let (hard_state, forgotten) = first_state(record, tombstone.as_ref(), self.index.lost)?;
            states.push(State {
                forgotten,
                ..new_state(record, hard_state, LogId::ZERO)
            });
        }
        self.add_new(states)
    }

    pub(super) fn import_group(&mut self, record: &GroupRecord, base: LogId) -> Result<(), StoreError> {
        self.begin()?;
        let tombstone = self.index.tombstone(record.group)?;
        let (hard_state, forgotten) = imported_state(record, base, tombstone.as_ref(), self.index.lost)?;
        self.add_new(vec![State {
            forgotten,
            ..new_state(record, hard_state, base)
        }])
    }

    /// Writes the states of groups that are not there yet.
    fn add_new(&mut self, states: Vec<State>) -> Result<(), StoreError> {
        let (batch, backs) = (&mut self.batch, &self.index.backs);
        let is_new = |state: &&State| !self.index.tombstones.contains_key(&state.owner.group);
        let more = states.iter().filter(is_new).count() as u64;
        let groups = batch.totals().groups.saturating_add(more);
        batch.raise(Totals { term_max: 0, groups });
        let add = |state: &State| {
            batch.raise(totals_of(&state.hard_state));
            batch.add(backs, state.owner.group, |out, back| {
                encode_state(out, back, state, true);
            })
        };
        let records: Vec<_> = states.iter().map(add).collect();
        if records.is_empty() {
            return Ok(());
        }
        let written = self.commit()?;
        for (state, record) in states.into_iter().zip(records) {
            self.index.forget(&mut self.journal.usage, state.owner.group);
            let mut held = Held::new(self.index.interned(state), None);
            held.place_state(&mut self.journal.usage, written.place(&record));
            self.index.groups.insert(held.owner().group, Box::new(held));
        }
        Ok(())
    }

    pub(super) fn destroy_groups(&mut self, groups: &[GroupId]) -> Result<Vec<Tombstone>, StoreError> {
        self.begin()?;
        let mut tombstones = Vec::with_capacity(groups.len());
        let mut seen = BTreeSet::new();
        for group in groups.iter().copied() {
            if !seen.insert(group) {
                return Err(StoreError::refused(group, Refusal::TwiceInBatch));
            }
            let held = self.held(group)?;
            let state = &held.state;
            tombstones.push(tombstone_of(
                state.owner,
                state.hard_state,
                held.last(),
                state.forgotten,
                state.is_in_doubt,
            ));
        }
        let (batch, backs) = (&mut self.batch, &self.index.backs);
        let add = |tombstone: &Tombstone| {
            batch.add(backs, tombstone.group, |out, back| {
                encode_tombstone(out, back, tombstone);
            })
        };
        let records: Vec<_> = tombstones.iter().map(add).collect();
        if !records.is_empty() {
            let written = self.commit()?;
            for (tombstone, record) in tombstones.iter().zip(records) {
                let place = written.place(&record);
                self.index.bury(&mut self.journal.usage, *tombstone, place);
            }
        }
        Ok(tombstones)
    }

    /// Its state is all that is left.
    pub(super) fn forget_log(&mut self, group: GroupId) -> Result<RecoveredGroup, StoreError> {
        self.begin()?;
        let held = self.held(group)?;
        let state = State {
            hard_state: next_term(held.state.hard_state.term),
            forgotten: held.last().max(held.state.forgotten),
            base: LogId::ZERO,
            base_membership: None,
            ..held.state.clone()
        };
        self.batch.raise(totals_of(&state.hard_state));
        let backs = &self.index.backs;
        let record = self
            .batch
            .add(backs, group, |out, back| encode_state(out, back, &state, true));
        let written = self.commit()?;
        let usage = &mut self.journal.usage;
        if let Some(held) = self.index.groups.get_mut(&group) {
            held.clear(usage);
            held.state = state;
            held.place_state(usage, written.place(&record));
        }
        self.held(group)?.recovered()
    }

    /// Every record names its owner, so all are written anew, at once. What does not fit into a batch of `bytes_max` is
    /// refused before anything is written.
    pub(super) fn rebuild_group(&mut self, record: &GroupRecord, bytes_max: u64) -> Result<(), StoreError> {
        self.begin()?;
        let held = self.held(record.group)?;
        check_rebuild(held.owner().incarnation, record)?;
        let old = &held.state;
        let hard_state = HardState {
            vote: None,
            ..old.hard_state
        };
        let mut state = new_state(record, hard_state, old.base);
        state.is_in_doubt = old.is_in_doubt || is_in_doubt(held.last(), old.forgotten);
        state.base_membership = old.base_membership.as_ref().map(|_| state.membership.clone());
        let first = old.base.index.next();
        let entries = self.read_entries(record.group, first, LogIndex(u64::MAX), usize::MAX);
        let mut entries = entries.map_err(StoreError::unread)?;
        entries.iter_mut().for_each(forget_configuration);
        let (batch, backs) = (&mut self.batch, &self.index.backs);
        let place = batch.add(backs, record.group, |out, back| encode_state(out, back, &state, true));
        let mut parts = Vec::new();
        let of = (Kind::Entries, state.owner, state.base.term);
        put_entries(batch, backs, of, &entries, &mut parts);
        let bytes = batch.len() as u64;
        if bytes > bytes_max {
            let max = bytes_max;
            return Err(StoreError::refused(record.group, Refusal::LogTooLong { bytes, max }));
        }
        let written = self.commit()?;
        let usage = &mut self.journal.usage;
        self.index.forget(usage, record.group);
        let mut held = Held::new(self.index.interned(state), None);
        held.place_state(usage, written.place(&place));
        place_entries(&mut held, usage, &entries, &parts, written);
        self.index.groups.insert(record.group, Box::new(held));
        Ok(())
    }
}

impl Index {
    /// What is left of a group that must not be there.
    fn tombstone(&self, group: GroupId) -> Result<Option<Tombstone>, StoreError> {
        if self.groups.contains_key(&group) {
            return Err(StoreError::refused(group, Refusal::Exists));
        }
        Ok(self.tombstones.get(&group).map(|(tombstone, _)| *tombstone))
    }
}

/// The state of a new replica whose log begins after `base`, in its first configuration.
fn new_state(record: &GroupRecord, hard_state: HardState, base: LogId) -> State {
    let membership = Arc::new(record.membership.clone());
    State {
        owner: Owner {
            group: record.group,
            incarnation: record.incarnation,
        },
        is_witness: record.is_witness,
        is_lost: false,
        is_in_doubt: false,
        hard_state,
        forgotten: LogId::ZERO,
        base,
        base_membership: (base != LogId::ZERO).then(|| membership.clone()),
        membership,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::LogStore;
    use super::super::super::disk::Directory;
    use super::*;
    use crate::store::StoreIdentity;
    use raftyard_groups::{Entry, Incarnation, Membership, NodeId, Payload, Persist, PersistSeq, Term};
    use tempfile::TempDir;

    #[test]
    fn a_log_that_is_too_long_to_be_rebuilt_is_refused_and_the_store_goes_on() {
        let dir = TempDir::new().unwrap();
        let identity = StoreIdentity {
            cluster: "test".to_owned(),
            node: NodeId(1),
        };
        let record = |group: u64, incarnation: u64| GroupRecord {
            group: GroupId(group),
            incarnation: Incarnation(incarnation),
            membership: Membership::of_voters([NodeId(1)]).unwrap(),
            is_witness: false,
        };
        let mut store: SegmentLogStore<Directory> = SegmentLogStore::open(dir.path(), &identity).unwrap();
        store.create(&[record(1, 1)]).unwrap();
        let entry = |index| Entry {
            index: LogIndex(index),
            term: Term(1),
            payload: Payload::Noop,
        };
        let entries: Vec<_> = (1..=100).map(entry).collect();
        let write = Persist::new(GroupId(1), PersistSeq(1), None, entries.clone());
        store.write(&[write]).unwrap();
        let refused = store.rebuild_group(&record(1, 2), 100);
        let bytes = match &refused {
            Err(StoreError::Refused {
                reason: Refusal::LogTooLong { bytes, max: 100 },
                ..
            }) => *bytes,
            _ => 0,
        };
        assert!(bytes > 100, "{refused:?}");
        // What it has is there as it was, and the store takes what comes.
        let read = |store: &SegmentLogStore| store.read(GroupId(1), LogIndex(1), LogIndex(100), usize::MAX);
        assert_eq!(read(&store).unwrap(), entries);
        store.create(&[record(2, 1)]).unwrap();
        drop(store);
        let mut store = SegmentLogStore::open(dir.path(), &identity).unwrap();
        assert_eq!(store.recover().unwrap().groups.len(), 2);
        store.rebuild_group(&record(1, 2), bytes).unwrap();
        assert_eq!(read(&store).unwrap(), entries);
    }
}
