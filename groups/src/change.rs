//! How a leader takes its group from one configuration to another (thesis §4.3; paper §6), an entry at a time:
//!
//! ```text
//!   plain --> preparing --> joint --> plain
//!     \           |           ^
//!      \          \-- abandon --> plain
//!       \---- all have caught up
//! ```
//!
//! While it is *preparing*, the nodes that shall vote catch up and count for nothing (thesis §4.2.1). The *joint*
//! configuration is appended once they have, the final one once the joint one is committed. A change of learners
//! alone is one entry. All that a leader has to know for this is in its log, so whichever leads next goes on
//! with the change; only who asked for it is forgotten.
//!
//! Nothing is appended before the leader committed an entry of its own term, and nothing but what abandons a
//! change before the newest configuration is committed: two majorities that don't overlap could decide else.

use crate::effects::Effects;
use crate::entry::Payload;
use crate::group::{Group, Role};
use crate::ids::{LogIndex, NodeId};
use crate::leader::Leader;
use crate::membership::Membership;
use crate::membership_change::{ChangeId, ChangeOutcome, ChangeRefusal, ChangeRequest, MembershipChange};
use crate::message::Prompt;
use crate::progress::Progress;
use std::sync::Arc;

/// What a leader remembers of the change under way, beside its log.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Changes {
    /// Who asked for it.
    asked: Option<ChangeId>,
    /// Who asked that it is abandoned; the entry that does so is in the log.
    abandon: Option<ChangeId>,
    /// The configuration that ended the last change, once that was dealt with.
    ended: Option<LogIndex>,
}

impl Changes {
    /// Whether nothing is left to be done about the newest configuration, which is at `index`.
    pub(crate) fn has_ended(&self, index: LogIndex) -> bool {
        self.ended == Some(index)
    }

    /// This replica stopped leading.
    pub(crate) fn conclude(self, leader: Option<NodeId>, effects: &mut Effects) {
        let asked = self.asked.into_iter().chain(self.abandon);
        effects
            .memberships
            .extend(asked.map(|id| (id, ChangeOutcome::SteppedDown { leader })));
    }
}

impl Group {
    /// Somebody here wants the membership changed.
    pub(crate) fn on_change(&mut self, id: ChangeId, request: ChangeRequest, effects: &mut Effects) {
        let decided = match request {
            ChangeRequest::Change(change) => self.start_change(id, &change, effects),
            ChangeRequest::Abandon => self.abandon_change(id, effects),
        };
        if let Err(refusal) = decided {
            effects.memberships.push((id, ChangeOutcome::Refused(refusal)));
        }
    }

    /// The leader's own part, if it leads and may change the membership at all now.
    fn changing_leader(&mut self) -> Result<&mut Leader, ChangeRefusal> {
        let (leader, commit) = (self.leader(), self.commit);
        let Role::Leader(state) = &mut self.role else {
            return Err(ChangeRefusal::NotLeader { leader });
        };
        if state.transfer.is_some() {
            return Err(ChangeRefusal::Transferring);
        }
        if commit < state.term_start {
            return Err(ChangeRefusal::NotReady);
        }
        Ok(state)
    }

    /// Begins a change, and be it of nothing: what the group is already goes into the log once more, since only a quorum
    /// can say that it still is so. A leader that was deposed can't.
    fn start_change(
        &mut self,
        id: ChangeId,
        change: &MembershipChange,
        effects: &mut Effects,
    ) -> Result<(), ChangeRefusal> {
        let (index, membership) = self.memberships.newest().clone();
        // Then it is plain and committed, and whoever asked for it was told.
        if !self.changing_leader()?.changes.has_ended(index) {
            return Err(ChangeRefusal::Busy);
        }
        let target = membership.changed(change).map_err(ChangeRefusal::Invalid)?;
        let first = if target.decides_like(&membership) {
            target
        } else if self.have_caught_up(&target) {
            membership.joint(&target)
        } else {
            membership.preparing(&target)
        };
        self.changing_leader()?.changes.asked = Some(id);
        self.append_membership(first, effects);
        Ok(())
    }

    fn abandon_change(&mut self, id: ChangeId, effects: &mut Effects) -> Result<(), ChangeRefusal> {
        self.changing_leader()?;
        if self.membership().next().is_none() {
            return Err(ChangeRefusal::NotPreparing);
        }
        let plain = self.membership().without_next();
        self.changing_leader()?.changes.abandon = Some(id);
        self.append_membership(plain, effects);
        Ok(())
    }

    /// Goes on with the change that the log speaks of, once the configuration that was appended last is committed.
    pub(crate) fn advance_change(&mut self, effects: &mut Effects) {
        let (index, commit) = (self.memberships.newest().0, self.commit);
        let is_ended = self.changing_leader().map(|leader| leader.changes.ended == Some(index));
        if index > commit || is_ended != Ok(false) {
            return;
        }
        let membership = self.membership().clone();
        if membership.is_joint() {
            self.append_membership(membership.left(), effects);
        } else if let Some(next) = membership.next() {
            let target = next.membership();
            if self.have_caught_up(&target) {
                self.append_membership(membership.joint(&target), effects);
            }
        } else {
            self.end_change(index, &membership, effects);
        }
    }

    /// The final configuration is committed. A leader that it leaves out, or that may not lead in it, has waited
    /// for this to step down (thesis §4.2.2).
    fn end_change(&mut self, index: LogIndex, membership: &Arc<Membership>, effects: &mut Effects) {
        let until = self.now.plus(self.config.tuning.election_timeout_ms);
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        leader.changes.ended = Some(index);
        let (asked, abandon) = (leader.changes.asked.take(), leader.changes.abandon.take());
        // From now on those who leave have an election timeout to hear of it.
        leader
            .peers
            .values_mut()
            .for_each(|progress| progress.extend_leave(until));
        let membership = membership.clone();
        if let Some(id) = asked {
            let outcome = match abandon {
                Some(_) => ChangeOutcome::Abandoned,
                None => ChangeOutcome::Done {
                    index,
                    membership: membership.clone(),
                },
            };
            effects.memberships.push((id, outcome));
        }
        if let Some(id) = abandon {
            let membership = membership.clone();
            effects
                .memberships
                .push((id, ChangeOutcome::Done { index, membership }));
        }
        if !membership.may_lead(self.config.node) {
            // The last word: those who leave too learn now that it is committed, or never.
            self.send_heartbeats(true, effects);
            if let Some(successor) = self.best_successor() {
                if let Role::Leader(leader) = &mut self.role {
                    leader.handed_over = true;
                }
                self.send(successor, Prompt::TimeoutNow, effects);
            }
            self.become_follower(self.hard.term, None, effects);
        }
    }

    /// Whether all voters of `target` that don't vote yet have caught up: each has what the leader had when a
    /// round began that took less than an election timeout (thesis §4.2.1). Begins rounds where none is.
    fn have_caught_up(&mut self, target: &Membership) -> bool {
        let (now, last) = (self.now, self.log.last());
        let timeout = self.config.tuning.election_timeout_ms;
        let membership = self.memberships.in_force();
        let Role::Leader(leader) = &mut self.role else {
            return false;
        };
        // The leader may be among them: one that had left, and is needed to commit that, can lead while it comes back.
        let me = self.config.node;
        let mut all = true;
        for node in target
            .voters()
            .filter(|node| *node != me && !membership.is_voter(*node))
        {
            let progress = leader.peers.get_mut(&node);
            all &= progress.is_some_and(|progress| progress.catch_up(last, now, timeout));
        }
        all
    }

    /// Puts a configuration into the log, where it is in force at once.
    fn append_membership(&mut self, membership: Membership, effects: &mut Effects) {
        self.append_payloads([Payload::Membership(Arc::new(membership))], effects);
        let (me, now, last) = (self.config.node, self.now, self.log.last());
        let until = now.plus(self.config.tuning.election_timeout_ms);
        let membership = self.memberships.in_force();
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        for (_, progress) in leader.peers.iter_mut().filter(|(peer, _)| !membership.contains(**peer)) {
            progress.leave(last, until);
        }
        for peer in membership.peers_of(me) {
            // One that left and comes back does so, perhaps, as a replica that knows nothing of what it acknowledged.
            let stays = leader.peers.get(&peer).is_some_and(|progress| !progress.is_leaving());
            if !stays {
                let fresh = Progress::new(last.prev(), now, membership.is_witness(peer));
                leader.peers.insert(peer, fresh);
            }
        }
    }
}
