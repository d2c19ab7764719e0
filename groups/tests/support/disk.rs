//! A replica's simulated disk: what is on it survives a crash, what is only queued does not.

use raftyard_groups::{
    Entry, HardState, Load, LogBase, LogId, LogIndex, Membership, Payload, Persist, Recovered, Term,
};
use std::sync::Arc;

/// What a state machine holds: all it applied. A snapshot is a copy of it.
pub(crate) type State = Vec<Entry>;

/// Term, vote and entries that are durable, and snapshots.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) hard: HardState,
    /// What the log begins after.
    pub(crate) base: LogId,
    /// The configuration in force at the base, once there was one.
    pub(crate) membership: Option<Arc<Membership>>,
    /// Consecutive, right after the base.
    pub(crate) entries: Vec<Entry>,
    /// Taken here and received; those that the log does not hold the end of are nobody's yet.
    pub(crate) snapshots: Vec<State>,
    /// The last entry that an earlier life of this replica held; zero if there was none.
    pub(crate) forgotten: LogId,
}

impl Disk {
    /// What is left of it once the replica is destroyed and comes back in the same life of its group.
    pub(crate) fn forget(&self) -> Self {
        let term = self.term_at(self.last()).unwrap_or_default();
        let last = LogId::new(term.0, self.last().0);
        Self {
            hard: HardState {
                term: Term(self.hard.term.0 + 1),
                vote: None,
            },
            forgotten: last.max(self.forgotten),
            ..Self::default()
        }
    }

    /// All but the first entries of its log is lost, and its vote: it comes back in a term after every one that it can
    /// have been in, as one that may have acknowledged anything up to there.
    pub(crate) fn lose(&mut self, kept: usize) {
        self.entries.truncate(kept);
        self.forgotten = LogId::new(self.hard.term.0, u64::MAX);
        self.hard = HardState {
            term: Term(self.hard.term.0 + 1),
            vote: None,
        };
    }

    /// What [`Persist`] says: the hard state if it changed; the new base; entries replace all from their first on.
    pub(crate) fn write(&mut self, write: &Persist) {
        if let Some(hard) = write.hard_state {
            assert!(hard.term >= self.hard.term, "the term on disk went back");
            self.hard = hard;
        }
        match write.base {
            Some(LogBase::Compacted(base)) => {
                assert_eq!(self.term_at(base.index), Some(base.term), "compacted what is not held");
                self.entries.retain(|entry| entry.index > base.index);
                self.base = base;
            }
            Some(LogBase::Installed(base)) => {
                self.entries.clear();
                self.base = base;
            }
            None => {}
        }
        assert_eq!(
            write.base.is_some(),
            write.membership.is_some(),
            "a base comes with its configuration"
        );
        if write.membership.is_some() {
            self.membership.clone_from(&write.membership);
        }
        // What lies before the base is of no use any more.
        let base = self.base.index;
        self.snapshots.retain(|state| end(state).index >= base);
        if let Some(first) = write.entries.first() {
            let kept = self.position(first.index);
            assert!(kept <= self.entries.len(), "a write leaves a gap in the log: {write}");
            self.entries.truncate(kept);
            self.entries.extend_from_slice(&write.entries);
        }
    }

    pub(crate) fn load(&self, load: &Load) -> Vec<Entry> {
        let mut bytes = 0;
        let mut entries = Vec::new();
        if load.from <= self.base.index {
            return entries;
        }
        let wanted = self.entries.iter().skip(self.position(load.from));
        for entry in wanted.take_while(|entry| entry.index <= load.through) {
            bytes += entry.size();
            if bytes > load.bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        entries
    }

    /// What a replica starts from, and what its state machine does: the newest snapshot that the log holds the
    /// end of.
    pub(crate) fn recover(&self) -> (Recovered, State) {
        let mut runs: Vec<LogId> = Vec::new();
        for entry in &self.entries {
            if runs.last().is_none_or(|run| run.term != entry.term) {
                runs.push(entry.id());
            }
        }
        let recovered = Recovered {
            hard_state: self.hard,
            base: self.base,
            runs,
            last: self.last(),
            applied: LogIndex::ZERO,
            memberships: self.memberships(),
            forgotten: self.forgotten,
            ..Recovered::default()
        };
        let held = self.snapshots.iter().filter(|state| recovered.holds(end(state)));
        let state = held.max_by_key(|state| state.len()).cloned().unwrap_or_default();
        let applied = end(&state).index;
        assert!(applied >= self.base.index, "a gap between snapshot and log: {self:?}");
        (Recovered { applied, ..recovered }, state)
    }

    /// The configuration at the base, if one was written, and those among the entries.
    fn memberships(&self) -> Vec<(LogIndex, Arc<Membership>)> {
        let base = self
            .membership
            .iter()
            .map(|membership| (self.base.index, membership.clone()));
        let entries = self.entries.iter().filter_map(|entry| match &entry.payload {
            Payload::Membership(membership) => Some((entry.index, membership.clone())),
            _ => None,
        });
        base.chain(entries).collect()
    }

    pub(crate) fn snapshot(&self, last: LogId) -> Option<&State> {
        self.snapshots.iter().find(|state| end(state) == last)
    }

    pub(crate) fn add_snapshot(&mut self, state: State) {
        if !state.is_empty() && self.snapshot(end(&state)).is_none() {
            self.snapshots.push(state);
        }
    }

    pub(crate) fn last(&self) -> LogIndex {
        self.entries.last().map_or(self.base.index, |entry| entry.index)
    }

    pub(crate) fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index <= self.base.index {
            return (index == self.base.index).then_some(self.base.term);
        }
        self.entries.get(self.position(index)).map(|entry| entry.term)
    }

    fn position(&self, index: LogIndex) -> usize {
        let distance = index.prev().0.checked_sub(self.base.index.0);
        usize::try_from(distance.expect("nothing is written before the base")).expect("an index fits")
    }
}

/// The last entry that a state holds.
pub(crate) fn end(state: &[Entry]) -> LogId {
    state.last().map_or(LogId::ZERO, Entry::id)
}
