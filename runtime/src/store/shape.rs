//! What a replica is told of its log when it starts: not the entries, only where each term begins.

use super::refusal::{Refusal, check_follows};
use raftyard_groups::{HardState, LogId, LogIndex, Membership, Recovered};
use std::sync::Arc;

/// The shape of a log, gathered entry by entry from its base on.
#[derive(Debug, Default)]
pub(super) struct LogShape {
    base: LogId,
    runs: Vec<LogId>,
    last: LogId,
    memberships: Vec<(LogIndex, Arc<Membership>)>,
}

impl LogShape {
    /// Of a log that begins after `base`, where this configuration is in force: none if no base was ever written.
    pub(super) fn after(base: LogId, membership: Option<Arc<Membership>>) -> Self {
        Self {
            base,
            runs: Vec::new(),
            last: base,
            memberships: membership
                .map(|membership| (base.index, membership))
                .into_iter()
                .collect(),
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

    /// Takes in the next entry, with the configuration that it carries, if it does; if it can't be the next, says
    /// why. One up to the base, which still stands in a record with later ones, does not count.
    pub(super) fn push(&mut self, id: LogId, membership: Option<&Arc<Membership>>) -> Result<(), Refusal> {
        if id.index <= self.base.index {
            return Ok(());
        }
        check_follows(self.last, id)?;
        if self.runs.last().is_none_or(|run| run.term != id.term) {
            self.runs.push(id);
        }
        self.last = id;
        if let Some(membership) = membership {
            self.memberships.push((id.index, membership.clone()));
        }
        Ok(())
    }

    /// With the hard state, and what an earlier life of the replica held, what a replica starts from.
    pub(super) fn into_recovered(self, hard_state: HardState, forgotten: LogId) -> Recovered {
        Recovered {
            hard_state,
            base: self.base,
            runs: self.runs,
            last: self.last.index,
            applied: LogIndex::ZERO,
            memberships: self.memberships,
            forgotten,
            ..Recovered::default()
        }
    }
}
