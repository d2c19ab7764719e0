//! Groups in which everything is said sleep: they have no deadline, and say nothing, until something happens.
//!
//! A leader falls asleep once a quorum backs it and every peer whose node it believes in holds and knows all that
//! it does; those peers are told, and sleep too. Peers it does not believe in are remembered as behind by what they
//! lack: one dead node keeps nobody awake. What is looked at to fall asleep is looked at again in every step of a
//! sleeping replica: so it wakes by whatever makes it untrue.
//!
//! What wakes it beside messages and requests is the end of what it relies on, which its driver watches
//! ([`Group::sleeps_on`]).

use crate::effects::Effects;
use crate::group::{Group, Role};
use crate::ids::{LogId, LogIndex, NodeId};
use crate::input::Moment;
use crate::leader::Leader;
use crate::liveness::SessionId;
use crate::message::Prompt;
use crate::progress::Progress;

/// Heartbeat intervals in which nothing happened before a leader falls asleep.
const IDLE_INTERVALS: u64 = 2;

impl Group {
    /// Whether it sleeps: it has no deadline.
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        match &self.role {
            Role::Leader(leader) => leader.is_asleep,
            // One that waits for an answer may have to ask again.
            Role::Follower(follower) => follower.is_asleep && self.forwarded.is_idle(),
            Role::PreCandidate(_) | Role::Candidate(_) => false,
        }
    }

    /// The nodes to be watched while it sleeps: whenever a [`PairEvent`](crate::PairEvent) names one of them, it is
    /// owed an [`Input::Tick`](crate::Input::Tick), with the sessions as they are then. `None` while it is awake.
    #[must_use]
    pub fn sleeps_on(&self) -> Option<Vec<NodeId>> {
        if !self.is_asleep() {
            return None;
        }
        Some(match &self.role {
            Role::Leader(leader) => leader.peers.keys().copied().collect(),
            _ => self.leader().into_iter().collect(),
        })
    }

    /// To be called at the start of every step: what it slept on may be gone.
    pub(crate) fn look_around(&mut self) {
        match &self.role {
            Role::Leader(leader) if leader.is_asleep && !self.is_all_said(leader) => self.wake_leader(self.now),
            Role::Follower(follower) if follower.is_asleep && !self.is_promised() => {
                let deadline = self.soon();
                if let Role::Follower(follower) = &mut self.role {
                    follower.is_asleep = false;
                    follower.deadline = deadline;
                }
            }
            _ => {}
        }
    }

    /// What the step did may have been news.
    pub(crate) fn stay_asleep(&mut self, effects: &mut Effects) {
        let Role::Leader(leader) = &self.role else {
            return;
        };
        if !leader.is_asleep {
            return;
        }
        if !self.is_all_said(leader) {
            return self.wake_leader(self.next_heartbeat());
        }
        // Those who did not hear of it are told again.
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let asking = std::mem::take(&mut leader.asking);
        for peer in asking {
            self.send_to_sleep(peer, effects);
        }
    }

    /// Somebody wanted something of a follower that sleeps, and was sent to its leader. Whoever says that this one
    /// does not lead will come back: so it asks, unless it heard of its leader lately.
    pub(crate) fn doubt(&mut self, effects: &mut Effects) {
        if self.is_asleep() && !self.hears_leader() {
            self.ask_leader(effects);
        }
    }

    /// Its heartbeats go on at `due`.
    fn wake_leader(&mut self, due: Moment) {
        let now = self.now;
        if let Role::Leader(leader) = &mut self.role {
            leader.is_asleep = false;
            leader.asking.clear();
            leader.awake_since = now;
            leader.heartbeat_due = due;
            leader.busy(now);
        }
    }

    /// Falls asleep if nothing is left to be done, and tells those that may. Whether it did.
    pub(crate) fn fall_asleep(&mut self, effects: &mut Effects) -> bool {
        let Role::Leader(leader) = &self.role else {
            return false;
        };
        let pause = self.config.tuning.heartbeat_interval_ms.saturating_mul(IDLE_INTERVALS);
        if self.now.since(leader.busy_at) < pause || !self.is_all_said(leader) {
            return false;
        }
        let peers: Vec<NodeId> = leader.peers.keys().copied().collect();
        for peer in peers {
            self.send_to_sleep(peer, effects);
        }
        if let Role::Leader(leader) = &mut self.role {
            leader.is_asleep = true;
        }
        true
    }

    /// Tells a member that looks for a leader that it is led: to who is on probation a leader that sleeps says nothing by
    /// itself.
    pub(crate) fn tell_who_leads(&mut self, peer: NodeId, effects: &mut Effects) {
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let round = leader.reads.newest_round();
        let progress = leader.peers.get_mut(&peer).filter(|_| leader.is_asleep);
        if let Some(progress) = progress {
            let commit = self.commit.min(progress.matched);
            progress.told(commit);
            self.send(peer, Prompt::Heartbeat { commit, round }, effects);
        }
    }

    fn send_to_sleep(&self, peer: NodeId, effects: &mut Effects) {
        if let Some(session) = self.sessions.believed_at(peer, self.now) {
            let (last, commit) = (self.log.last_id(), self.commit);
            self.send(peer, Prompt::Sleep { last, commit, session }, effects);
        }
    }

    /// Whether a leader has nothing left to do or to say: it committed all it has, in its own term, and can read what
    /// it has yet to apply; a quorum backs it; and each peer that it believes in knows all of it and has promised in
    /// the session that it believes in.
    fn is_all_said(&self, leader: &Leader) -> bool {
        let last = self.log.last();
        let (now, timeout) = (self.now, self.config.tuning.election_timeout_ms);
        let said = |(peer, progress): (&NodeId, &Progress)| {
            !progress.is_leaving()
                && match self.sessions.believed_at(*peer, self.now) {
                    // It may be there nevertheless, and only be on probation.
                    None => {
                        now.since(progress.contact) >= timeout
                            || (progress.matched == last && progress.commit_sent == last)
                    }
                    session => {
                        progress.matched == last && progress.commit_known == last && progress.promised == session
                    }
                }
        };
        self.commit >= leader.term_start
            && self.commit == last
            && self.log.durable() == last
            && self.unreadable_since().is_none()
            && (leader.peers.is_empty() || !self.sessions.is_empty())
            && leader.transfer.is_none()
            && !leader.reads.is_asked()
            && !leader.reads.is_waiting()
            && leader.changes.has_ended(self.memberships.newest().0)
            && !self.owes_resignations()
            && self.is_backed(leader, self.now, &self.sessions)
            && leader.peers.iter().all(said)
            && (leader.handed_over || self.preferred().is_none())
    }

    /// The leader says that all is said, and sleeps. Whoever knows better stays awake, and will ask.
    pub(crate) fn on_sleep(
        &mut self,
        from: NodeId,
        last: LogId,
        commit: LogIndex,
        session: SessionId,
        effects: &mut Effects,
    ) {
        if !self.follow(from, effects) {
            return;
        }
        let term = self.hard.term;
        let given = self.promises.given;
        let promised =
            given.is_some_and(|given| given.leader == from && given.session == session && given.term == term);
        let is_known = last == self.log.last_id() && commit == self.commit && self.log.durable() == last.index;
        if !promised || !is_known || self.owes_resignations() {
            return;
        }
        if let Role::Follower(follower) = &mut self.role {
            follower.is_asleep = true;
        }
    }
}
