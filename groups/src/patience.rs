//! What a replica need not be told at once: news that lets it do nothing now, and may come with the next.
//!
//! Of a write to one group of many, most of what its replicas hear is of this kind: that a follower's write is
//! durable, that a leader's own is before any peer has acknowledged, and what the rest of the peers acknowledge once a
//! quorum did. A driver that keeps such news until the group has a turn anyway halves the turns. It has to keep their
//! order, among each other and before all that comes later.

use crate::group::{Group, Role};
use crate::input::Moment;
use crate::progress::{Mode, Progress};

impl Group {
    /// Whether it could do something if all its writes were durable. If not, an
    /// [`Input::Persisted`](crate::Input::Persisted) may wait for the next step that is due for another reason: no
    /// longer than until its deadline, and not if the driver itself waits for [`Group::durable`].
    #[must_use]
    pub fn awaits_own_writes(&self) -> bool {
        match &self.role {
            // What it promises leaves with the write itself.
            Role::Follower(_) => false,
            // Its own vote may be in the write.
            Role::PreCandidate(_) | Role::Candidate(_) => true,
            Role::Leader(leader) => {
                let last = self.log.last();
                // A witness is sent only what is durable here.
                let is_due = |progress: &Progress| progress.is_witness && progress.next <= last;
                leader.peers.values().any(is_due)
                    || self.reached(leader, last).is_some_and(|reached| reached > self.commit)
            }
        }
    }

    /// Whether it could do something if a peer acknowledged entries in its term. If not, a
    /// [`Promise::AppendAccepted`](crate::Promise::AppendAccepted) may wait as a durable write may
    /// ([`Group::awaits_own_writes`]).
    #[must_use]
    pub fn awaits_acknowledgements(&self) -> bool {
        let Role::Leader(leader) = &self.role else {
            return true;
        };
        let last = self.log.last();
        let has_all = |progress: &Progress| {
            matches!(progress.mode, Mode::Replicate { .. })
                && progress.next > last
                && !progress.loading
                && !progress.is_leaving()
        };
        self.commit < last
            || leader.is_asleep
            || leader.transfer.is_some()
            || leader.reads.is_asked()
            || leader.reads.is_waiting()
            || !leader.changes.has_ended(self.memberships.newest().0)
            || !leader.peers.values().all(has_all)
    }

    /// When it wants an [`Input::Tick`](crate::Input::Tick) at the latest of a driver that gives it one with every step
    /// after its [deadline](Group::deadline) that is due for another reason. A leader that waits for peers to acknowledge
    /// what they were sent hears of them soon, and can have its heartbeat then, if they live: another interval later at
    /// the latest.
    #[must_use]
    pub fn patient_deadline(&self) -> Moment {
        let deadline = self.deadline();
        let Role::Leader(leader) = &self.role else {
            return deadline;
        };
        let will_answer = |progress: &Progress| {
            matches!(progress.mode, Mode::Replicate { .. }) && progress.promised.is_some() && !progress.is_leaving()
        };
        let can_wait = deadline == leader.heartbeat_due
            && self.commit >= leader.term_start
            && self.commit < self.log.last()
            && leader.transfer.is_none()
            && !leader.reads.is_waiting()
            && leader.peers.values().all(will_answer);
        if can_wait {
            deadline.plus(self.config.tuning.heartbeat_interval_ms)
        } else {
            deadline
        }
    }
}
