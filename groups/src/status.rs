//! What a replica tells about itself.

use crate::config::Tuning;
use crate::group::{Group, Role, RoleKind};
use crate::ids::{GroupId, LogId, LogIndex, NodeId, Term};
use crate::input::Moment;
use crate::membership::Membership;
use std::sync::Arc;

impl Group {
    /// The group.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.config.group
    }

    /// The node this replica lives on.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.config.node
    }

    /// Its times and limits.
    #[must_use]
    pub fn tuning(&self) -> &Tuning {
        &self.config.tuning
    }

    /// The newest term it has seen.
    #[must_use]
    pub fn term(&self) -> Term {
        self.hard.term
    }

    /// Whom it voted for in this term.
    #[must_use]
    pub fn vote(&self) -> Option<NodeId> {
        self.hard.vote
    }

    /// What it is.
    #[must_use]
    pub fn role(&self) -> RoleKind {
        match self.role {
            Role::Follower(_) => RoleKind::Follower,
            Role::PreCandidate(_) => RoleKind::PreCandidate,
            Role::Candidate(_) => RoleKind::Candidate,
            Role::Leader(_) => RoleKind::Leader,
        }
    }

    /// Who leads in this term, as far as it knows: itself, or whom it follows.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::Leader(_) => Some(self.config.node),
            Role::Follower(follower) => follower.leader(),
            Role::PreCandidate(_) | Role::Candidate(_) => None,
        }
    }

    /// The group's configuration: the newest in its log, committed or not (paper §6). Of nobody if it waits to
    /// be added.
    #[must_use]
    pub fn membership(&self) -> &Arc<Membership> {
        self.memberships.in_force()
    }

    /// The newest configuration that it knows to be committed.
    #[must_use]
    pub fn committed_membership(&self) -> &Arc<Membership> {
        &self.memberships.at(self.commit).1
    }

    /// The configuration in force at `index`: by the newest configuration entry up to it. `None` if the log does
    /// not reach there, or no longer; or if this replica joined and was not told: what the group was created with
    /// is no entry of the log, and without knowing it no snapshot can be stamped.
    #[must_use]
    pub fn membership_at(&self, index: LogIndex) -> Option<&Arc<Membership>> {
        let is_held = self.log.base().index <= index && index <= self.log.last();
        let membership = is_held.then(|| &self.memberships.at(index).1)?;
        (!membership.is_empty()).then_some(membership)
    }

    /// The last entry of its log.
    #[must_use]
    pub fn last(&self) -> LogId {
        self.log.last_id()
    }

    /// The term of the entry at `index`; `None` if the log does not reach there, or no longer.
    #[must_use]
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        self.log.term_at(index)
    }

    /// What its log begins after: all up to it is in a snapshot. Zero if the log is whole.
    #[must_use]
    pub fn base(&self) -> LogId {
        self.log.base()
    }

    /// Up to here its log is on its disk.
    #[must_use]
    pub fn durable(&self) -> LogIndex {
        self.log.durable()
    }

    /// Bytes of entries of its log that it holds in memory.
    #[must_use]
    pub fn cache_bytes(&self) -> usize {
        self.log.cache_bytes()
    }

    /// The commit index: up to here entries are committed, as far as it knows.
    #[must_use]
    pub fn commit(&self) -> LogIndex {
        self.commit
    }

    /// The applied index: up to here the state machine said it applied.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// When it wants an [`Input::Tick`](crate::Input::Tick) at the latest; never while it sleeps.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        if self.is_asleep() {
            return Moment(u64::MAX);
        }
        let resignations = self.resignations_due().unwrap_or(Moment(u64::MAX));
        let reads = self.reads_due().unwrap_or(Moment(u64::MAX));
        self.role_deadline().min(resignations).min(reads)
    }

    /// When its role wants something done.
    pub(crate) fn role_deadline(&self) -> Moment {
        match &self.role {
            // One that is bound by a promise may have to ask whether its leader still leads.
            Role::Follower(_) if !self.may_campaign() && !self.is_promised() => Moment(u64::MAX),
            Role::Follower(follower) => follower.deadline,
            Role::PreCandidate(candidate) | Role::Candidate(candidate) => candidate.deadline,
            Role::Leader(leader) => leader.heartbeat_due,
        }
    }
}
