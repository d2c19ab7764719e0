//! When a leader hands over by itself: its disk stalls, or another replica shall rather lead.

use crate::group::{Group, Role};
use crate::ids::NodeId;
use std::cmp::Reverse;

/// Election timeouts between two attempts of a leader to hand over by itself.
const PAUSE_TIMEOUTS: u64 = 4;

impl Group {
    /// Begins to hand over if there is reason to: a write that is not durable after an election timeout, or a
    /// voter of a higher priority that lives and has the whole log.
    pub(crate) fn hand_over_if_due(&mut self) {
        let (now, timeout) = (self.now, self.config.tuning.election_timeout_ms);
        let Role::Leader(leader) = &self.role else {
            return;
        };
        if leader.transfer.is_some() || now < leader.next_handover || self.commit < leader.term_start {
            return;
        }
        let is_stalled = self.log.oldest_write().is_some_and(|since| now.since(since) >= timeout);
        let to = if is_stalled {
            self.best_successor()
        } else {
            self.preferred()
        };
        if to.is_none_or(|to| self.start_transfer(None, Some(to)).is_err()) {
            return;
        }
        if let Role::Leader(leader) = &mut self.role {
            leader.next_handover = now.plus(timeout.saturating_mul(PAUSE_TIMEOUTS));
        }
    }

    /// The voter of the highest priority above this one's, of those that live and have all that is committed.
    pub(crate) fn preferred(&self) -> Option<NodeId> {
        let Role::Leader(leader) = &self.role else {
            return None;
        };
        let caught_up = self.successors().filter(|peer| {
            let progress = leader.peers.get(peer);
            progress.is_some_and(|progress| progress.priority > self.config.priority && progress.matched >= self.commit)
        });
        caught_up.min_by_key(|peer| {
            let progress = leader.peers.get(peer);
            (
                Reverse(progress.map(|progress| (progress.priority, progress.matched))),
                *peer,
            )
        })
    }
}
