//! The configurations of a log: which one is in force where.
//!
//! A configuration is in force from the moment it is in the log, committed or not (paper §6, thesis §4.1): the
//! newest one decides. What is truncated takes its configurations along; what is compacted leaves the last of
//! them behind, with the base; an installed snapshot brings its own.

use crate::entry::{Entry, Payload};
use crate::ids::LogIndex;
use crate::membership::Membership;
use std::sync::Arc;

#[derive(Clone, Debug, Hash)]
pub(crate) struct Memberships {
    /// In force at the log's base, and where it is known to be from: its entry, or the base itself.
    base: (LogIndex, Arc<Membership>),
    /// Those that are entries of the log, ascending.
    entries: Vec<(LogIndex, Arc<Membership>)>,
}

impl Memberships {
    /// What a disk held: the configuration at `base` and those in the log; `created` if there is none at the base.
    pub(crate) fn recovered(
        created: Arc<Membership>,
        base: LogIndex,
        memberships: impl IntoIterator<Item = (LogIndex, Arc<Membership>)>,
    ) -> Self {
        let mut recovered = Self {
            base: (LogIndex::ZERO, created),
            entries: Vec::new(),
        };
        for (index, membership) in memberships {
            if index <= base {
                recovered.base = (index, membership);
            } else {
                recovered.entries.push((index, membership));
            }
        }
        recovered
    }

    /// The newest in the log.
    pub(crate) fn newest(&self) -> &(LogIndex, Arc<Membership>) {
        self.entries.last().unwrap_or(&self.base)
    }

    /// The one in force: the newest in the log.
    pub(crate) fn in_force(&self) -> &Arc<Membership> {
        &self.newest().1
    }

    /// The one in force at `index`, and where it is from. (At the base for what is before that.)
    pub(crate) fn at(&self, index: LogIndex) -> &(LogIndex, Arc<Membership>) {
        let newer = self.entries.partition_point(|(entry, _)| *entry <= index);
        let older = self.entries.get(..newer).and_then(|entries| entries.last());
        older.unwrap_or(&self.base)
    }

    /// The newest in the log and, if that is not known to be committed, the one before. All before those are:
    /// leaders see to that, but for a change that is abandoned, in which the voters stay the same.
    pub(crate) fn perhaps_decisive(&self, commit: LogIndex) -> impl Iterator<Item = &Arc<Membership>> {
        let (index, newest) = self.newest();
        let before = (*index > commit).then(|| &self.at(index.prev()).1);
        std::iter::once(newest).chain(before)
    }

    /// Entries were put into the log after its last.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        self.entries
            .extend(entries.iter().filter_map(|entry| match &entry.payload {
                Payload::Membership(membership) => Some((entry.index, membership.clone())),
                Payload::Noop | Payload::Command(_) => None,
            }));
    }

    /// Entries from `from` on are no longer in the log: the configuration before them is in force again.
    pub(crate) fn truncate(&mut self, from: LogIndex) {
        let kept = self.entries.partition_point(|(index, _)| *index < from);
        self.entries.truncate(kept);
    }

    /// Entries up to `base` are no longer needed. Returns the configuration in force there.
    pub(crate) fn compact(&mut self, base: LogIndex) -> Arc<Membership> {
        self.base = self.at(base).clone();
        self.entries.retain(|(index, _)| *index > base);
        self.base.1.clone()
    }

    /// The log begins anew after `base`, where this configuration is in force.
    pub(crate) fn install(&mut self, base: LogIndex, membership: Arc<Membership>) {
        self.base = (base, membership);
        self.entries.clear();
    }

    /// The one at the log's base.
    #[cfg(debug_assertions)]
    pub(crate) fn base(&self) -> &(LogIndex, Arc<Membership>) {
        &self.base
    }

    /// Those that are entries of the log, ascending.
    #[cfg(debug_assertions)]
    pub(crate) fn entries(&self) -> &[(LogIndex, Arc<Membership>)] {
        &self.entries
    }
}
