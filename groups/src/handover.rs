//! When a leader hands over by itself: its disk stalls or is full, or another replica shall rather lead.

use crate::group::{Group, Role};
use crate::ids::NodeId;
use std::cmp::Reverse;

/// Election timeouts between two attempts of a leader to hand over by itself.
const PAUSE_TIMEOUTS: u64 = 4;

impl Group {
    /// Begins to hand over if there is reason to: a write that is not durable after an election timeout, or a
    /// voter of a higher priority that lives and has the whole log.
    pub(crate) fn hand_over_if_due(&mut self) {
        if !self.may_hand_over() {
            return;
        }
        let (now, timeout) = (self.now, self.config.tuning.election_timeout_ms);
        let is_stalled = self.log.oldest_write().is_some_and(|since| now.since(since) >= timeout);
        let to = if is_stalled {
            self.best_successor()
        } else {
            self.preferred()
        };
        self.hand_over_to(to);
    }

    /// The node can't write.
    pub(crate) fn hand_over(&mut self) {
        if self.may_hand_over() {
            self.note_backers();
            let to = self.best_successor();
            self.hand_over_to(to);
        }
    }

    /// Whether it leads, and did not try to hand over just now.
    fn may_hand_over(&self) -> bool {
        let Role::Leader(leader) = &self.role else {
            return false;
        };
        leader.transfer.is_none() && self.now >= leader.next_handover && self.commit >= leader.term_start
    }

    fn hand_over_to(&mut self, to: Option<NodeId>) {
        if to.is_none_or(|to| self.start_transfer(None, Some(to)).is_err()) {
            return;
        }
        let (now, timeout) = (self.now, self.config.tuning.election_timeout_ms);
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
