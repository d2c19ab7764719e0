//! Fair batches: a group that has megabytes to write does not make the other groups wait for them.
//!
//! As long as all that waits fits into a batch, that is the batch. When it does not, each group gets the same share of
//! it, and what of a group does not fit waits for the next batch. A group's writes keep their order; a write is not
//! divided, so that each group that waits gets one into every batch, however large.

use crate::budget::InboundPermit;
use crate::registry::IdMap;
use raftyard_groups::{Entry, GroupId, Persist};
use std::collections::VecDeque;

/// Bytes of entries that a batch holds, if more than that waits.
pub(super) const BATCH_BYTES: usize = 4 << 20;

/// Writes that wait, and permits that wait for them.
#[derive(Default)]
pub(super) struct Pending {
    /// In the order in which they came, numbered.
    writes: VecDeque<Write>,
    next: u64,
    /// Permits, each with the number of the first write that came after it.
    permits: VecDeque<(u64, Vec<InboundPermit>)>,
}

struct Write {
    number: u64,
    bytes: usize,
    persist: Persist,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    pub(super) fn push(&mut self, persist: Persist) {
        let bytes = persist.entries.iter().map(Entry::size).sum();
        let number = self.next;
        self.next += 1;
        self.writes.push_back(Write { number, bytes, persist });
    }

    /// To be dropped once all that came before is durable.
    pub(super) fn hold(&mut self, permits: Vec<InboundPermit>) {
        self.permits.push_back((self.next, permits));
    }

    /// The next batch: one write per group, all that came of it and fits folded into one.
    pub(super) fn take_batch(&mut self) -> Vec<Persist> {
        let waiting: usize = self.writes.iter().map(|write| write.bytes).sum();
        let writes = if waiting <= BATCH_BYTES {
            std::mem::take(&mut self.writes)
        } else {
            self.take_shares()
        };
        fold(writes)
    }

    /// Permits that wait for nothing any more.
    pub(super) fn take_permits(&mut self) -> Vec<InboundPermit> {
        let oldest = self.writes.front().map_or(self.next, |write| write.number);
        let mut permits = Vec::new();
        while let Some((_, mut some)) = self.permits.pop_front_if(|(number, _)| *number <= oldest) {
            permits.append(&mut some);
        }
        permits
    }

    fn take_shares(&mut self) -> VecDeque<Write> {
        let mut wanted = IdMap::<GroupId, usize>::default();
        for write in &self.writes {
            *wanted.entry(write.persist.group).or_default() += write.bytes;
        }
        let share = share(wanted.into_values().collect());
        let mut taken = IdMap::<GroupId, usize>::default();
        let mut batch = VecDeque::new();
        for write in std::mem::take(&mut self.writes) {
            let taken = taken.entry(write.persist.group).or_default();
            // Also that of the first that does not fit: what comes after it must not overtake it.
            let is_first = *taken == 0;
            *taken = taken.saturating_add(write.bytes.max(1));
            if is_first || *taken <= share {
                batch.push_back(write);
            } else {
                *taken = usize::MAX;
                self.writes.push_back(write);
            }
        }
        batch
    }
}

/// What each group may have, so that those which want less get it all, and the others all the same.
fn share(mut wanted: Vec<usize>) -> usize {
    wanted.sort_unstable();
    let mut left = BATCH_BYTES;
    for (served, wants) in wanted.iter().enumerate() {
        let share = left / (wanted.len() - served);
        if *wants > share {
            return share;
        }
        left -= wants;
    }
    usize::MAX
}

fn fold(writes: VecDeque<Write>) -> Vec<Persist> {
    let (mut batch, mut positions) = (Vec::<Persist>::new(), IdMap::<GroupId, usize>::default());
    for Write { persist, .. } in writes {
        match positions.get(&persist.group) {
            Some(position) => {
                if let Some(earlier) = batch.get_mut(*position) {
                    earlier.absorb(persist);
                }
            }
            None => {
                positions.insert(persist.group, batch.len());
                batch.push(persist);
            }
        }
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use raftyard_groups::{LogIndex, Payload, PersistSeq, Term};

    /// The write `seq` of a group: the entry of that index, with so many bytes.
    fn write(group: u64, seq: u64, bytes: usize) -> Persist {
        let entry = Entry {
            index: LogIndex(seq),
            term: Term(1),
            payload: Payload::Command(Bytes::from(vec![0; bytes])),
        };
        Persist::new(GroupId(group), PersistSeq(seq), None, vec![entry])
    }

    /// Of each write of a batch its group, and the indexes of its entries.
    fn contents(batch: &[Persist]) -> Vec<(u64, Vec<u64>)> {
        let indexes = |persist: &Persist| persist.entries.iter().map(|entry| entry.index.0).collect();
        batch
            .iter()
            .map(|persist| (persist.group.0, indexes(persist)))
            .collect()
    }

    #[test]
    fn what_fits_is_one_batch() {
        let mut pending = Pending::default();
        for (group, seq) in [(1, 1), (2, 1), (1, 2)] {
            pending.push(write(group, seq, 1_000));
        }
        assert_eq!(contents(&pending.take_batch()), [(1, vec![1, 2]), (2, vec![1])]);
        assert!(pending.is_empty());
    }

    #[test]
    fn a_flooded_group_waits_for_itself_and_keeps_its_order() {
        let mut pending = Pending::default();
        for seq in 1..=40 {
            pending.push(write(1, seq, 1 << 20));
        }
        pending.push(write(1, 41, 10));
        pending.push(write(2, 1, 1_000));
        pending.push(write(3, 1, 1_000));
        let first = contents(&pending.take_batch());
        let groups: Vec<u64> = first.iter().map(|(group, _)| *group).collect();
        assert_eq!(groups, [1, 2, 3], "who wants little gets it at once");
        pending.push(write(2, 2, 1_000));
        let second = contents(&pending.take_batch());
        assert_eq!(second[1], (2, vec![2]));
        let mut hot: Vec<u64> = [&first, &second].iter().flat_map(|batch| batch[0].1.clone()).collect();
        let mut batches = 2;
        while !pending.is_empty() {
            let batch = contents(&pending.take_batch());
            hot.extend(&batch[0].1);
            batches += 1;
        }
        assert_eq!(hot, (1..=41).collect::<Vec<_>>());
        assert!((10..=14).contains(&batches), "{batches} batches of 4 MiB");
    }

    #[test]
    fn two_floods_share_a_batch_and_a_huge_write_comes_in_time() {
        let mut pending = Pending::default();
        pending.push(write(1, 1, 9 << 20));
        for seq in 1..=20 {
            pending.push(write(2, seq, 1 << 20));
            pending.push(write(3, seq, 1 << 20));
        }
        let first = contents(&pending.take_batch());
        assert_eq!(first, [(1, vec![1]), (2, vec![1]), (3, vec![1])]);
        assert_eq!(contents(&pending.take_batch()), [(2, vec![2]), (3, vec![2])]);
    }

    #[tokio::test]
    async fn permits_are_held_until_all_before_them_is_durable() {
        let budget = crate::budget::InboundBudget::new(10);
        let mut pending = Pending::default();
        for seq in 1..=10 {
            pending.push(write(1, seq, 1 << 20));
        }
        pending.hold(budget.acquire(1).await.into_iter().collect());
        pending.push(write(2, 1, 10));
        pending.hold(budget.acquire(1).await.into_iter().collect());
        let mut batches = 0;
        let mut held = 2;
        while !pending.is_empty() {
            pending.take_batch();
            batches += 1;
            held -= pending.take_permits().len();
            assert_eq!(held == 0, pending.is_empty(), "after {batches} batches");
        }
        assert!(batches > 1);
    }
}
