//! What is where: in memory, of every group.

use super::super::record::{Owner, State};
use super::super::shape::LogShape;
use super::super::{Damage, GroupRecord, LostGroups, RecoveredGroup, StoreError, Tombstone};
use super::header::Totals;
use super::journal::Backs;
use super::usage::Usage;
use crate::memberships::Memberships;
use crate::registry::IdMap;
use raftyard_groups::{GroupId, LogId, LogIndex, Membership, Term};
use std::sync::Arc;

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u32,
    /// Where it begins in the segment.
    pub(super) at: u32,
    pub(super) len: u32,
}

/// Consecutive entries of one term that stand in one record, which may hold others too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) place: Place,
    /// The part of the record that counts as theirs, in bytes.
    pub(super) bytes: u32,
    pub(super) count: u32,
    pub(super) first: LogIndex,
    pub(super) term: Term,
}

/// A configuration in a log, and where it stands.
pub(super) type Configuration = (LogIndex, Arc<Membership>);

/// What is known of a group.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) state: State,
    /// Of the record of its state; none while a log is read whose beginning was moved to its end.
    pub(super) place: Option<Place>,
    /// Ascending. Without gaps, once all of a log was read.
    pub(super) runs: Vec<Run>,
    /// The configurations in the log, ascending.
    pub(super) memberships: Vec<Configuration>,
    /// Number of the last write that the group was in, to notice one that appears twice.
    pub(super) write: u64,
    /// What was found to be lost of it when the store was opened.
    pub(super) damage: Option<Box<Damage>>,
}

/// All groups, and what is left of those that were destroyed. Looked up; what is made of an iteration is sorted.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Boxed: a table has room for more than there are.
    pub(super) groups: IdMap<GroupId, Box<Held>>,
    pub(super) tombstones: IdMap<GroupId, (Tombstone, Place)>,
    /// The last record of each of them.
    pub(super) backs: Backs,
    /// Neither falls, whatever is forgotten.
    pub(super) totals: Totals,
    /// The disk lost groups, and nobody knows which: one that is created may be one of them.
    pub(super) lost: Option<LostGroups>,
    /// One of each membership: many groups have the same.
    memberships: Memberships,
}

impl Run {
    /// The last of its entries.
    pub(super) fn last(&self) -> LogIndex {
        LogIndex(self.first.0 + u64::from(self.count) - 1)
    }

    /// Keeps `count` entries from `first` on, and its share of the bytes.
    fn cut(&mut self, usage: &mut Usage, first: LogIndex, count: u32) {
        let share = u64::from(self.bytes) * u64::from(count) / u64::from(self.count);
        // At least a byte: whoever has entries needs their segment.
        let bytes = u32::try_from(share).unwrap_or(u32::MAX).max(1).min(self.bytes);
        usage.free(self.place, self.bytes - bytes);
        (self.first, self.count, self.bytes) = (first, count, bytes);
    }
}

impl Held {
    pub(super) fn new(state: State, place: Option<Place>) -> Self {
        Self {
            state,
            place,
            runs: Vec::new(),
            memberships: Vec::new(),
            write: 0,
            damage: None,
        }
    }

    pub(super) fn owner(&self) -> Owner {
        self.state.owner
    }

    /// The last entry; what the log begins after if there is none.
    pub(super) fn last(&self) -> LogId {
        match self.runs.last() {
            Some(run) => LogId {
                term: run.term,
                index: run.last(),
            },
            None => self.state.base,
        }
    }

    /// The position of the run with this entry, or of the first one behind it.
    pub(super) fn position(&self, index: LogIndex) -> usize {
        self.runs.partition_point(|run| run.last() < index)
    }

    /// The term of an entry.
    pub(super) fn term_at(&self, index: LogIndex) -> Option<Term> {
        let run = self.runs.get(self.position(index))?;
        (run.first <= index).then_some(run.term)
    }

    /// The term of the entry before this one, or of what the log begins after.
    pub(super) fn term_before(&self, index: LogIndex) -> Option<Term> {
        match index.prev() {
            before if before == self.state.base.index => Some(self.state.base.term),
            before => self.term_at(before),
        }
    }

    /// Takes in the record of its state.
    pub(super) fn place_state(&mut self, usage: &mut Usage, place: Place) {
        usage.take(place, place.len);
        if let Some(old) = self.place.replace(place) {
            usage.free(old, old.len);
        }
    }

    /// Drops all entries.
    pub(super) fn clear(&mut self, usage: &mut Usage) {
        for run in self.runs.drain(..) {
            usage.free(run.place, run.bytes);
        }
        self.memberships.clear();
    }

    /// Drops the entries up to `index`.
    pub(super) fn drop_through(&mut self, usage: &mut Usage, index: LogIndex) {
        let dropped = self.position(index.next());
        for run in self.runs.drain(..dropped) {
            usage.free(run.place, run.bytes);
        }
        if let Some(run) = self.runs.first_mut()
            && run.first <= index
        {
            let left = run.last().0 - index.0;
            run.cut(usage, index.next(), u32::try_from(left).unwrap_or(run.count));
        }
        self.memberships.retain(|(at, _)| *at > index);
    }

    /// Drops the entries from `index` on.
    pub(super) fn truncate(&mut self, usage: &mut Usage, index: LogIndex) {
        let position = self.position(index);
        if let Some(run) = self.runs.get_mut(position)
            && run.first < index
        {
            let left = index.0 - run.first.0;
            run.cut(usage, run.first, u32::try_from(left).unwrap_or(run.count));
        }
        let kept = self.runs.partition_point(|run| run.first < index);
        for run in self.runs.drain(kept..) {
            usage.free(run.place, run.bytes);
        }
        if self.memberships.last().is_some_and(|(at, _)| *at >= index) {
            self.memberships.retain(|(at, _)| *at < index);
        }
    }

    /// Adds a run in its place among the others, instead of what they say of its entries.
    pub(super) fn insert(&mut self, usage: &mut Usage, new: Run) {
        usage.take(new.place, new.bytes);
        if self.runs.last().is_none_or(|run| run.last() < new.first) {
            if self.runs.is_empty() {
                // Most groups have no other one.
                self.runs.reserve_exact(1);
            }
            return self.runs.push(new);
        }
        let (from, last) = (self.position(new.first), new.last());
        let to = self.runs.partition_point(|run| run.first <= last);
        let (mut before, mut after) = (None, None);
        for run in self.runs.get(from..to).unwrap_or_default() {
            let mut rest = *run;
            if run.first < new.first {
                // What stays before and behind is counted as if it were two runs.
                let left = u32::try_from(new.first.0 - run.first.0).unwrap_or(run.count);
                usage.take(run.place, run.bytes);
                rest.cut(usage, run.first, left);
                before = Some(rest);
                rest = *run;
            }
            if last < run.last() {
                let left = u32::try_from(run.last().0 - last.0).unwrap_or(run.count);
                rest.cut(usage, last.next(), left);
                after = Some(rest);
            } else {
                usage.free(run.place, run.bytes);
            }
        }
        let new = before.into_iter().chain([new]).chain(after);
        drop(self.runs.splice(from..to, new));
    }

    /// Forgets the configurations of these entries.
    pub(super) fn drop_memberships(&mut self, from: LogIndex, through: LogIndex) {
        self.memberships.retain(|(at, _)| *at < from || *at > through);
    }

    /// Adds a configuration in its place among the others.
    pub(super) fn insert_membership(&mut self, index: LogIndex, membership: Arc<Membership>) {
        let at = self.memberships.partition_point(|(other, _)| *other < index);
        match self.memberships.get_mut(at) {
            Some((other, known)) if *other == index => *known = membership,
            _ => self.memberships.insert(at, (index, membership)),
        }
    }

    /// What a store says of the group. Fails if the log has a gap, or its terms fall.
    pub(super) fn recovered(&self) -> Result<RecoveredGroup, StoreError> {
        let State { owner, base, .. } = self.state;
        let mut shape = LogShape::after(base, self.state.base_membership.clone());
        for run in &self.runs {
            let pushed = shape.push_run(run.term, run.first, run.last());
            pushed.map_err(|misfit| StoreError::corrupt(owner.group, &misfit))?;
        }
        for (index, membership) in &self.memberships {
            shape.push_membership(*index, membership.clone());
        }
        Ok(RecoveredGroup {
            record: GroupRecord {
                group: owner.group,
                incarnation: owner.incarnation,
                membership: (*self.state.membership).clone(),
                is_witness: self.state.is_witness,
            },
            state: shape.into_recovered(self.state.hard_state, self.state.forgotten),
            damage: self.damage.as_deref().cloned(),
        })
    }
}

impl Index {
    /// The same membership, in memory once.
    pub(super) fn intern(&mut self, membership: Arc<Membership>) -> Arc<Membership> {
        self.memberships.intern(membership)
    }

    /// A state of which no membership stands in memory twice.
    pub(super) fn interned(&mut self, mut state: State) -> State {
        state.membership = self.intern(state.membership);
        state.base_membership = state.base_membership.take().map(|membership| self.intern(membership));
        state
    }

    /// Forgets a group or what is left of one.
    pub(super) fn forget(&mut self, usage: &mut Usage, group: GroupId) {
        if let Some((_, place)) = self.tombstones.remove(&group) {
            usage.free(place, place.len);
        }
        if let Some(mut held) = self.groups.remove(&group) {
            held.clear(usage);
            if let Some(place) = held.place {
                usage.free(place, place.len);
            }
        }
    }

    pub(super) fn bury(&mut self, usage: &mut Usage, tombstone: Tombstone, place: Place) {
        self.forget(usage, tombstone.group);
        usage.take(place, place.len);
        self.tombstones.insert(tombstone.group, (tombstone, place));
    }
}
