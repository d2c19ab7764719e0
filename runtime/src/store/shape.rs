//! What a replica is told of its log when it starts: not the entries, only where each term begins.

use super::refusal::{Refusal, check_follows};
use raftyard_groups::{HardState, LogId, LogIndex, Membership, Recovered, Term};
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

    /// Takes in the next entry, with the configuration that it carries, if it does; if it can't be the next, says
    /// why.
    pub(super) fn push(&mut self, id: LogId, membership: Option<&Arc<Membership>>) -> Result<(), Refusal> {
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

    /// Takes in the next entries, all of one term.
    pub(super) fn push_run(&mut self, term: Term, first: LogIndex, last: LogIndex) -> Result<(), Refusal> {
        self.push(LogId { term, index: first }, None)?;
        self.last.index = last;
        Ok(())
    }

    /// Adds the next configuration that an entry carries.
    pub(super) fn push_membership(&mut self, index: LogIndex, membership: Arc<Membership>) {
        self.memberships.push((index, membership));
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
