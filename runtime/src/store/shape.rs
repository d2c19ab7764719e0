//! What a replica is told of its log when it starts: not the entries, only where each term begins.

use super::refusal::{Refusal, check_follows};
use raftyard_groups::{HardState, LogId, LogIndex, Recovered};

/// The shape of a log, gathered entry by entry from its base on.
#[derive(Debug, Default)]
pub(super) struct LogShape {
    base: LogId,
    runs: Vec<LogId>,
    last: LogId,
}

impl LogShape {
    /// Of a log that begins after `base`.
    pub(super) fn after(base: LogId) -> Self {
        Self {
            base,
            runs: Vec::new(),
            last: base,
        }
    }

    /// What the log begins after.
    pub(super) fn base(&self) -> LogId {
        self.base
    }

    /// The last entry; the base if there is none.
    pub(super) fn last(&self) -> LogId {
        self.last
    }

    /// Takes in the next entry; if it can't be the next, says why. One up to the base, which still stands in
    /// a record with later ones, does not count.
    pub(super) fn push(&mut self, id: LogId) -> Result<(), Refusal> {
        if id.index <= self.base.index {
            return Ok(());
        }
        check_follows(self.last, id)?;
        if self.runs.last().is_none_or(|run| run.term != id.term) {
            self.runs.push(id);
        }
        self.last = id;
        Ok(())
    }

    /// With the hard state, what a replica starts from.
    pub(super) fn into_recovered(self, hard_state: HardState) -> Recovered {
        Recovered {
            hard_state,
            base: self.base,
            runs: self.runs,
            last: self.last.index,
            applied: LogIndex::ZERO,
            memberships: Vec::new(),
        }
    }
}
