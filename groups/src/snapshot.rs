//! Snapshots in the place of a log's beginning (thesis §5).
//!
//! The core never sees a snapshot, only the entry it ends with. A replica compacts its own log once a
//! snapshot of its own is durable ([`Input::Compacted`](crate::Input::Compacted)). A follower that lacks
//! what its leader compacted gets the leader's: the driver transfers it, and once it lies ready the core
//! replaces the log in one atomic write and asks for the state machine to be restored. Until that is done
//! nothing is applied, as while any batch is; the log already goes on from where the snapshot ends.

use crate::effects::Effects;
use crate::group::{Group, Role};
use crate::ids::{LogId, LogIndex, NodeId, Term};
use crate::membership::Membership;
use crate::message::Prompt;
use std::sync::Arc;

impl Group {
    /// A complete snapshot of the leader of `term` lies ready here.
    pub(crate) fn on_snapshot(
        &mut self,
        from: NodeId,
        term: Term,
        last: LogId,
        membership: Arc<Membership>,
        effects: &mut Effects,
    ) {
        if from == self.config.node || last.term > term || term > Term::NAMED_MAX {
            return;
        }
        if term > self.hard.term {
            self.become_follower(term, Some(from), effects);
        } else if term < self.hard.term {
            // A leader that was deposed learns it from the term of the answer.
            let hint = self.log.last_id();
            let refused = last.index;
            return self.send(from, Prompt::AppendRejected { refused, hint }, effects);
        }
        if !self.follow(from, effects) {
            return;
        }
        if last.index <= self.commit {
            return self.accept(from, self.commit, effects);
        }
        self.commit = last.index;
        if self.log.term_at(last.index) != Some(last.term) {
            // What the log holds beyond what is committed here may conflict with the snapshot, and what
            // comes after it hangs on what conflicts.
            self.install(last, membership, effects);
            self.applying = last.index;
            effects.apply.clear();
            effects.install = Some(last);
        }
        // Otherwise it holds the snapshot's last entry, hence all before it (Log Matching): the snapshot only
        // tells that they are committed.
        self.accept(from, last.index, effects);
    }

    pub(crate) fn on_snapshot_done(&mut self, to: NodeId, through: Option<LogIndex>) {
        let last = self.log.last();
        if let Role::Leader(leader) = &mut self.role
            && let Some(progress) = leader.peers.get_mut(&to)
        {
            progress.snapshot_done(through.filter(|through| *through <= last));
        }
    }
}
