//! What a follower does: believe its leader, and answer those who would be.

use crate::effects::Effects;
use crate::entry::{Entry, HardState};
use crate::fingerprint::Reference;
use crate::group::{Group, Role};
use crate::ids::{LogId, LogIndex, NodeId, Term};
use crate::input::Moment;
use crate::message::{Body, Promise, Prompt, ReadRound};
use std::hash::{Hash, Hasher};

#[derive(Clone, Debug)]
pub(crate) struct Follower {
    /// Whom it follows, and when that one was last heard.
    leader: Option<(NodeId, Moment)>,
    /// When it campaigns unless it hears from a leader.
    pub(crate) deadline: Moment,
    /// Its leader said that all is said.
    pub(crate) is_asleep: bool,
}

impl Follower {
    pub(crate) fn without_leader(deadline: Moment) -> Self {
        Self {
            leader: None,
            deadline,
            is_asleep: false,
        }
    }

    pub(crate) fn of(leader: NodeId, heard: Moment, deadline: Moment) -> Self {
        Self {
            leader: Some((leader, heard)),
            deadline,
            is_asleep: false,
        }
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.leader.map(|(leader, _)| leader)
    }
}

impl Follower {
    pub(crate) fn fingerprint(&self, reference: Reference, state: &mut impl Hasher) {
        let Self {
            leader,
            deadline: _,
            is_asleep,
        } = self;
        is_asleep.hash(state);
        leader
            .map(|(leader, heard)| (leader, reference.is_long_ago(heard)))
            .hash(state);
    }
}

impl Group {
    /// Whether it leads, or heard its leader within the shortest election timeout. A leader is sure of
    /// itself: one that lost its quorum steps down on its own.
    pub(crate) fn hears_leader(&self) -> bool {
        match &self.role {
            Role::Leader(_) => true,
            Role::Follower(follower) => follower
                .leader
                .is_some_and(|(_, heard)| self.now.since(heard) < self.config.tuning.election_timeout_ms),
            Role::PreCandidate(_) | Role::Candidate(_) => false,
        }
    }

    /// A candidate's log is up to date if it is at least as new as ours (paper §5.4.1), and as the one that an
    /// earlier life of this replica held: what that acknowledged may be committed.
    pub(crate) fn is_up_to_date(&self, last: LogId) -> bool {
        last >= self.log.last_id().max(self.forgotten)
    }

    /// As [`Recovered::must_catch_up`](crate::Recovered::must_catch_up), now.
    #[must_use]
    pub fn must_catch_up(&self) -> bool {
        self.forgotten > self.log.last_id()
    }

    /// Whether it leads, or holds as committed all that leaders said is, and something of the present term, so all that was
    /// committed before that term too. Until then its log may end in what is long over: a configuration, say, in which
    /// this node still had another part in the group.
    #[must_use]
    pub fn has_caught_up(&self) -> bool {
        let holds_all = self.heard_commit.is_some_and(|heard| heard <= self.commit);
        let is_of_this_term = self.log.term_at(self.commit) == Some(self.hard.term);
        matches!(self.role, Role::Leader(_)) || (holds_all && is_of_this_term)
    }

    /// Would it vote for `from` in `term`? Changes nothing (thesis §9.6). The answer carries the asked term
    /// if it is yes, and its own, for the asker to catch up with, if it is no.
    pub(crate) fn on_pre_vote(&mut self, from: NodeId, term: Term, last: LogId, effects: &mut Effects) {
        let granted = term > self.hard.term
            && !self.refuses(from, term, false)
            && !self.hears_leader()
            && self.is_up_to_date(last);
        let term = if granted { term } else { self.hard.term };
        let body = Body::Prompt(Prompt::PreVoteReply { granted });
        effects.send.push(self.message(from, term, body));
        self.tell_who_leads(from, effects);
    }

    /// A vote in the current term: for the first who asks with a log as new as ours (paper §5.2, §5.4.1).
    pub(crate) fn on_vote(&mut self, from: NodeId, last: LogId, transfer: bool, effects: &mut Effects) {
        let free = match self.hard.vote {
            Some(vote) => vote == from,
            None => self.leader().is_none(),
        };
        if !free || !self.is_up_to_date(last) || self.refuses(from, self.hard.term, transfer) {
            return self.send(from, Prompt::VoteRefused, effects);
        }
        self.free_of_older();
        self.refusals = 0;
        if self.hard.vote.is_none() {
            self.set_hard(
                HardState {
                    vote: Some(from),
                    ..self.hard
                },
                effects,
            );
        }
        // One who votes gives the candidate time to win.
        let deadline = self.next_election_deadline();
        if let Role::Follower(follower) = &mut self.role {
            follower.deadline = deadline;
        }
        self.promise_after_write(from, Promise::VoteGranted, effects);
    }

    /// Follows `leader`, which proved by its message that it leads the current term. False if this replica
    /// leads that term itself, which the protocol rules out.
    pub(crate) fn follow(&mut self, leader: NodeId, effects: &mut Effects) -> bool {
        if self.leader() != Some(leader) {
            self.forwarded.ask_again();
        }
        self.free_of_older();
        self.refusals = 0;
        let deadline = self.next_election_deadline();
        match &mut self.role {
            Role::Leader(_) => {
                debug_assert!(
                    false,
                    "two leaders in {}: {} and {leader}",
                    self.hard.term, self.config.node
                );
                return false;
            }
            Role::Follower(follower) => *follower = Follower::of(leader, self.now, deadline),
            Role::PreCandidate(_) | Role::Candidate(_) => self.become_follower(self.hard.term, Some(leader), effects),
        }
        true
    }

    /// Entries from the leader (paper §5.3, figure 2 "AppendEntries RPC").
    pub(crate) fn on_append(
        &mut self,
        from: NodeId,
        prev: LogId,
        mut entries: Vec<Entry>,
        leader_commit: LogIndex,
        effects: &mut Effects,
    ) {
        if !follow_each_other(prev, &entries, self.hard.term) || !self.follow(from, effects) {
            return;
        }
        self.heard_commit = self.heard_commit.max(Some(leader_commit));
        let end = prev.index.plus(entries.len());
        if end <= self.commit {
            // All of it is committed here, hence equal. What comes after may not be.
            return self.accept(from, self.commit, effects);
        }
        if prev.index > self.commit && self.log.term_at(prev.index) != Some(prev.term) {
            let hint = self.log.newest_not_after(LogId {
                term: prev.term,
                index: prev.index.prev(),
            });
            let refused = prev.index;
            return self.send(from, Prompt::AppendRejected { refused, hint }, effects);
        }
        // Skip what we hold already: a late or repeated message must not cut off what came after it.
        let held = entries
            .iter()
            .take_while(|entry| entry.index <= self.commit || self.log.term_at(entry.index) == Some(entry.term))
            .count();
        entries.drain(..held);
        if let Some(first) = entries.first() {
            if first.index <= self.log.last() {
                self.log.truncate(first.index);
                self.memberships.truncate(first.index);
            }
            self.append(entries, effects);
        }
        self.commit = self.commit.max(leader_commit.min(end));
        self.accept(from, end, effects);
    }

    /// The leader lives. What it says is committed, it knows from our own acknowledgement that we hold.
    pub(crate) fn on_heartbeat(&mut self, from: NodeId, commit: LogIndex, round: ReadRound, effects: &mut Effects) {
        if self.follow(from, effects) {
            self.commit = self.commit.max(commit.min(self.log.last()));
            let session = self.stamp(from);
            let reply = Prompt::HeartbeatReply {
                round,
                priority: self.priority(),
                commit: session.map_or(LogIndex::ZERO, |_| self.commit),
                session,
            };
            self.send(from, reply, effects);
        }
    }
}

/// Whether entries are consecutive from `prev` on and their terms ascend from its to `term`: anything else
/// no leader sends.
fn follow_each_other(prev: LogId, entries: &[Entry], term: Term) -> bool {
    let mut before = prev;
    entries.iter().all(|entry| {
        let follows = entry.index == before.index.next() && entry.term >= before.term;
        before = entry.id();
        follows
    }) && before.term <= term
}
