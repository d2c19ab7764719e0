//! A leader that stops tells those who promised it something: otherwise they would wait for it as long as its node
//! lives.
//!
//! A resignation names the term that is resigned. It is repeated until it is acknowledged, or until it is known that
//! the session which it would free is over. A follower that hears nothing of it asks
//! ([`Group::ask_leader`](Group)): who acknowledges to one that does not lead is told so.

use crate::effects::Effects;
use crate::follower::Follower;
use crate::group::{Group, Role};
use crate::ids::{NodeId, Term};
use crate::input::Moment;
use crate::leader::Leader;
use crate::liveness::{SessionId, Sessions};
use crate::message::{Body, Prompt};
use crate::promise::PromiseRecord;
use std::hash::{Hash, Hasher};

/// Resignations that were not acknowledged yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resignations {
    owed: Vec<Owed>,
    /// When they are said again.
    due: Moment,
}

#[derive(Clone, Copy, Debug, Hash)]
struct Owed {
    to: NodeId,
    term: Term,
    /// What may have been promised was promised in this session, or in an older one.
    session: SessionId,
}

impl Resignations {
    /// Forgets those of sessions that are over: the peer has granted a newer one.
    fn review(&mut self, sessions: &Sessions) {
        self.owed.retain(|owed| {
            sessions
                .believed(owed.to)
                .is_none_or(|belief| belief.session <= owed.session)
        });
    }

    pub(crate) fn fingerprint(&self, now: Moment, state: &mut impl Hasher) {
        let Self { owed, due } = self;
        (owed, !owed.is_empty() && *due <= now).hash(state);
    }
}

impl Group {
    /// Stops leading, if it does: before the replica is quarantined or destroyed. The lease is off at once.
    pub fn resign(&mut self, effects: &mut Effects) {
        if matches!(self.role, Role::Leader(_)) {
            self.become_follower(self.hard.term, None, effects);
        }
    }

    /// To whom it still owes the word that it no longer leads, and in which term: for its node to repeat
    /// ([`Prompt::Resigned`]) if the replica itself can't any more.
    pub fn resignations(&self) -> impl Iterator<Item = (NodeId, Term)> + '_ {
        self.resignations.owed.iter().map(|owed| (owed.to, owed.term))
    }

    /// It has just stopped to lead the current term.
    pub(crate) fn owe_resignation(&mut self, was: &Leader, effects: &mut Effects) {
        let term = self.hard.term;
        for (peer, progress) in &was.peers {
            let believed = self.sessions.believed(*peer).map(|belief| belief.session);
            let Some(session) = progress.promised.max(believed) else {
                continue;
            };
            let to = *peer;
            self.resignations.owed.push(Owed { to, term, session });
            effects
                .send
                .push(self.message(to, term, Body::Prompt(Prompt::Resigned)));
        }
        self.resignations.due = self.now.plus(self.config.tuning.heartbeat_interval_ms);
    }

    /// Whether some are owed to peers that probably hear them.
    pub(crate) fn owes_resignations(&self) -> bool {
        let heard = |owed: &Owed| self.sessions.believed_at(owed.to, self.now).is_some();
        self.resignations.owed.iter().any(heard)
    }

    /// When they are to be said again, if some are owed.
    pub(crate) fn resignations_due(&self) -> Option<Moment> {
        (!self.resignations.owed.is_empty()).then_some(self.resignations.due)
    }

    pub(crate) fn review_resignations(&mut self) {
        if !self.resignations.owed.is_empty() {
            self.resignations.review(&self.sessions);
        }
    }

    /// Says again what was not acknowledged.
    pub(crate) fn repeat_resignations(&mut self, effects: &mut Effects) {
        if self.resignations_due().is_none_or(|due| self.now < due) {
            return;
        }
        // Who probably hears nothing is tried more seldom.
        let pause = if self.owes_resignations() {
            self.config.tuning.heartbeat_interval_ms
        } else {
            self.config.tuning.election_timeout_ms
        };
        self.resignations.due = self.now.plus(pause);
        for owed in &self.resignations.owed {
            let body = Body::Prompt(Prompt::Resigned);
            effects.send.push(self.message(owed.to, owed.term, body));
        }
    }

    /// Somebody acknowledged in `term`, stamped with a session: if this replica does not lead that term, and never
    /// will, it says so.
    pub(crate) fn answer_stamp(&self, from: NodeId, term: Term, body: &Body, effects: &mut Effects) {
        let may_lead = match self.role {
            Role::Leader(_) | Role::Candidate(_) => term >= self.hard.term,
            Role::Follower(_) | Role::PreCandidate(_) => term > self.hard.term,
        };
        if body.session().is_some() && !may_lead {
            effects
                .send
                .push(self.message(from, term, Body::Prompt(Prompt::Resigned)));
        }
    }

    /// Whoever led `term` on that node no longer does: a promise to it is free. Nobody adopts a term by this.
    pub(crate) fn on_resigned(&mut self, from: NodeId, term: Term, effects: &mut Effects) {
        let is_given_so = |given: PromiseRecord| given.leader == from && given.term == term;
        if self.promises.given.is_some_and(is_given_so) {
            self.promises.given = None;
        }
        // Everybody hears of it: no need to wait until the leader is missed.
        if term == self.hard.term && matches!(&self.role, Role::Follower(follower) if follower.leader() == Some(from)) {
            let deadline = self.soon();
            self.role = Role::Follower(Follower::without_leader(deadline));
        }
        let body = Body::Prompt(Prompt::ResignedAck);
        effects.send.push(self.message(from, term, body));
    }

    pub(crate) fn on_resigned_ack(&mut self, from: NodeId, term: Term) {
        self.resignations
            .owed
            .retain(|owed| owed.to != from || owed.term != term);
    }

    /// A moment within the next election timeout: for those who know that their leader is gone. Each voter whose node
    /// lives has a part of that time to itself, which one differs from group to group: so they rarely campaign against
    /// each other, and the groups that a node led are led by all the others.
    pub(crate) fn soon(&mut self) -> Moment {
        let (me, timeout) = (self.config.node, self.config.tuning.election_timeout_ms);
        let membership = self.membership();
        let lives = |voter: &NodeId| *voter == me || self.sessions.granted(*voter).is_some();
        let living: Vec<NodeId> = membership.voters().filter(lives).collect();
        let parts = living.len().max(1) as u64;
        let place = living.iter().take_while(|voter| **voter != me).count() as u64;
        let part = (timeout / parts).max(1);
        let begin = (place + self.config.group.0 % parts) % parts * part;
        self.now.plus(begin + self.rng.below(part))
    }
}
