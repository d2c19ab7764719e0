//! Random steps of a store beside its model.

use crate::harness::{Disk, Harness, entries, hard_state, membership, record};
use raftyard::store::GroupRecord;
use raftyard_groups::{Entry, GroupId, Incarnation, LogBase, LogId, Persist, PersistSeq};
use std::sync::Arc;

/// Does one of the things that can be done.
pub(crate) fn step<D: Disk>(h: &mut Harness<D>, rng: &mut Rng) {
    let groups = h.model.groups();
    match rng.below(20) {
        _ if groups.is_empty() => {
            let group = GroupId(rng.below(1000));
            let first = match last_life(h, group) {
                Some(_) => next_life(h, rng, group),
                None => record(group.0),
            };
            h.create(&first);
        }
        0 => {
            let group = GroupId(rng.below(1000));
            let fresh = (!groups.contains(&group)).then(|| next_life(h, rng, group));
            match fresh {
                // Not the same life again, which may have been left to the random number.
                Some(record) if rng.below(3) == 0 && Some(record.incarnation) != last_life(h, group) => {
                    h.import(&record, LogId::new(1 + rng.below(9), 1 + rng.below(9)));
                }
                Some(record) => h.create(&record),
                None => {}
            }
        }
        1 => h.reopen(),
        2 => {
            let group = groups[rng.index(groups.len())];
            come_or_go(h, rng, group);
        }
        3..=6 => {
            let group = groups[rng.index(groups.len())];
            let last = h.model.last(group).index.0;
            let from = rng.below(last + 2);
            let through = from + rng.below(last + 2);
            let bytes_max = rng.index(2000);
            h.check_read(group, from, through, bytes_max);
        }
        _ => {
            let mut batch: Vec<Persist> = Vec::new();
            for group in groups {
                if rng.below(3) == 0 {
                    batch.push(random_persist(h, rng, group));
                }
            }
            h.write(&batch);
        }
    }
}

/// Destroys a group, and may create it again, or gives it a new life.
fn come_or_go<D: Disk>(h: &mut Harness<D>, rng: &mut Rng, group: GroupId) {
    if rng.below(3) == 0 {
        let mut record = h.model.inspect(group).record;
        record.incarnation.0 += 1 + rng.below(3);
        return h.rebuild(&record);
    }
    h.destroy(&[group.0]);
    if rng.below(2) == 0 {
        let record = next_life(h, rng, group);
        h.create(&record);
    }
}

/// A life that the group may begin.
fn next_life<D: Disk>(h: &Harness<D>, rng: &mut Rng, group: GroupId) -> GroupRecord {
    let incarnation = match last_life(h, group) {
        Some(last) => Incarnation(last.0 + rng.below(3)),
        None => Incarnation(rng.below(3)),
    };
    GroupRecord {
        incarnation,
        ..record(group.0)
    }
}

fn last_life<D: Disk>(h: &Harness<D>, group: GroupId) -> Option<Incarnation> {
    h.model.tombstone(group).map(|tombstone| tombstone.incarnation)
}

fn random_persist<D: Disk>(h: &Harness<D>, rng: &mut Rng, group: GroupId) -> Persist {
    let state = (rng.below(4) == 0).then(|| {
        let term = h.model.hard_state(group).term.0 + rng.below(2);
        hard_state(term, (rng.below(2) == 0).then(|| rng.below(5)))
    });
    let (base, last) = (h.model.base(group), h.model.last(group));
    let change = match rng.below(12) {
        0 => {
            let index = base.index.0 + rng.below(last.index.0 + 1 - base.index.0);
            Some(LogBase::Compacted(h.model.id_at(group, index)))
        }
        1 => {
            let index = base.index.0 + 1 + rng.below(last.index.0 + 20);
            Some(LogBase::Installed(LogId::new(last.term.0 + rng.below(2), index)))
        }
        _ => None,
    };
    let (base, last) = match change {
        Some(LogBase::Compacted(id)) => (id, last),
        Some(LogBase::Installed(id)) => (id, id),
        None => (base, last),
    };
    let new = match rng.below(10) {
        0 => Vec::new(),
        1 | 2 => {
            let before = base.index.0 + rng.below(last.index.0 + 1 - base.index.0);
            let standing = if before == base.index.0 {
                base
            } else {
                h.model.id_at(group, before)
            };
            random_entries(rng, before + 1, standing.term.0)
        }
        _ => random_entries(rng, last.index.0 + 1, last.term.0),
    };
    let mut persist = Persist::new(group, PersistSeq(1), state, new);
    persist.base = change;
    persist.membership = change.map(|_| Arc::new(membership(rng.below(100))));
    persist
}

/// Entries from `first` on, in one or several terms no older than `term`.
fn random_entries(rng: &mut Rng, first: u64, mut term: u64) -> Vec<Entry> {
    let mut new = Vec::new();
    let mut next = first;
    for _ in 0..1 + rng.below(3) {
        term += rng.below(2);
        let count = 1 + rng.below(8);
        new.extend(entries(next, count, term.max(1)));
        next += count;
    }
    new
}

/// SplitMix64: a few lines, the same on every machine.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }
}
