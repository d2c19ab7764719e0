//! Which keys of a group expire when, in order.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use bytes::Bytes;
use raftyard::Timestamp;

use super::blob::Blob;
use super::disk::rows;
use crate::bell::Bell;

/// The keys that have a deadline.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    ordered: BTreeSet<Due>,
    /// Who wants to know the first.
    bell: Option<Bell>,
}

/// A key that expires. Keys with the same deadline stand in the order in which they lie on disk: which of them are the first
/// must not depend on what of them is in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Due {
    deadline: Timestamp,
    hash: u64,
    key: Bytes,
}

impl Due {
    fn new(deadline: Timestamp, key: Bytes) -> Self {
        let hash = rows::hash(&key);
        Self { deadline, hash, key }
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        let ordering = (self.deadline, self.hash).cmp(&(other.deadline, other.hash));
        // The same hash is nearly always that of the same key.
        ordering.then_with(|| match self.key == other.key {
            true => Ordering::Equal,
            false => (rows::search(&self.key), &self.key).cmp(&(rows::search(&other.key), &other.key)),
        })
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Deadlines {
    pub(super) fn new(bell: Bell) -> Self {
        Self {
            ordered: BTreeSet::new(),
            bell: Some(bell),
        }
    }

    /// Notes that the deadline of `key` is `after`, where it was `before`.
    pub(super) fn change(&mut self, key: &Blob, before: Option<Timestamp>, after: Option<Timestamp>) {
        if before == after {
            return;
        }
        if let Some(before) = before {
            self.ordered.remove(&Due::new(before, key.to_bytes()));
        }
        if let Some(after) = after {
            self.ordered.insert(Due::new(after, key.to_bytes()));
        }
        self.ring();
    }

    /// The first key whose deadline is not after `now`.
    pub(super) fn due(&self, now: Timestamp) -> Option<Bytes> {
        let first = self.ordered.first()?;
        (first.deadline <= now).then(|| first.key.clone())
    }

    /// Puts `all` in the place of what was there.
    pub(super) fn replace(&mut self, all: impl Iterator<Item = (Timestamp, Bytes)>) {
        self.ordered = all.map(|(deadline, key)| Due::new(deadline, key)).collect();
        self.ring();
    }

    fn ring(&self) {
        if let Some(bell) = &self.bell {
            bell.ring(self.ordered.first().map(|first| first.deadline));
        }
    }
}
