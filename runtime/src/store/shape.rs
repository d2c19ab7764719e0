//! What a replica is told of its log when it starts: not the entries, only where each term begins.

use super::refusal::{Refusal, check_follows};
use raftyard_groups::{HardState, LogId, Recovered};

/// The shape of a log, gathered entry by entry from index 1 on.
#[derive(Debug, Default)]
pub(super) struct LogShape {
    runs: Vec<LogId>,
    last: LogId,
}

impl LogShape {
    /// The last entry; [`LogId::ZERO`] if there is none.
    pub(super) fn last(&self) -> LogId {
        self.last
    }

    /// Takes in the next entry; if it can't be the next, says why.
    pub(super) fn push(&mut self, id: LogId) -> Result<(), Refusal> {
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
            runs: self.runs,
            last: self.last.index,
        }
    }
}
