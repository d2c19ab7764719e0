//! Which keys of a group expire when, in order.

use std::collections::BTreeSet;

use bytes::Bytes;
use raftyard::Timestamp;

use super::blob::Blob;
use crate::bell::Bell;

/// The keys that have a deadline.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    ordered: BTreeSet<(Timestamp, Bytes)>,
    /// Who wants to know the first.
    bell: Option<Bell>,
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
            self.ordered.remove(&(before, key.to_bytes()));
        }
        if let Some(after) = after {
            self.ordered.insert((after, key.to_bytes()));
        }
        self.ring();
    }

    /// A key whose deadline is not after `now`.
    pub(super) fn due(&self, now: Timestamp) -> Option<Bytes> {
        let (deadline, key) = self.ordered.first()?;
        (*deadline <= now).then(|| key.clone())
    }

    /// All keys whose deadline is not after `now`, with their deadlines.
    pub(super) fn all_due(&self, now: Timestamp) -> impl Iterator<Item = (Timestamp, Bytes)> {
        let due = self.ordered.iter().take_while(move |(deadline, _)| *deadline <= now);
        due.cloned()
    }

    /// Puts `all` in the place of what was there.
    pub(super) fn replace(&mut self, all: impl Iterator<Item = (Timestamp, Bytes)>) {
        self.ordered = all.collect();
        self.ring();
    }

    fn ring(&self) {
        if let Some(bell) = &self.bell {
            bell.ring(self.ordered.first().map(|(deadline, _)| *deadline));
        }
    }
}
