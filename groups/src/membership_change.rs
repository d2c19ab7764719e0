//! What can be asked of a group's membership, and what becomes of it.

use crate::ids::{LogIndex, NodeId};
use crate::membership::{Membership, MembershipError};
use crate::membership_target::MembershipTarget;
use crate::node_set::NodeSet;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a node is in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberRole {
    /// Holds state, votes and may lead.
    Voter,
    /// Holds state and gets the log, but does not count (thesis §4.2.1).
    Learner,
    /// Votes and acknowledges entries, without their commands: it holds no state and never leads.
    Witness,
}

/// A change of a group's membership, of any number of nodes at once: what each of them shall be, or that it
/// leaves. Asked for twice it does the same as once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MembershipChange {
    roles: BTreeMap<NodeId, Option<MemberRole>>,
}

impl MembershipChange {
    /// A change of nothing, to be added to with [`MembershipChange::set`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `node` comes in and gets the log, but does not count.
    #[must_use]
    pub fn add_learner(node: NodeId) -> Self {
        Self::new().set(node, Some(MemberRole::Learner))
    }

    /// `node`, a learner, becomes a voter.
    #[must_use]
    pub fn promote(node: NodeId) -> Self {
        Self::add_voter(node)
    }

    /// `node` comes in, and votes once it has caught up.
    #[must_use]
    pub fn add_voter(node: NodeId) -> Self {
        Self::new().set(node, Some(MemberRole::Voter))
    }

    /// `node` comes in as a witness.
    #[must_use]
    pub fn add_witness(node: NodeId) -> Self {
        Self::new().set(node, Some(MemberRole::Witness))
    }

    /// `node` leaves.
    #[must_use]
    pub fn remove(node: NodeId) -> Self {
        Self::new().set(node, None)
    }

    /// `new` takes the place of the voter `old`, in one change. If it is a voter already, as after a change of which nobody
    /// heard that it was made, `old` leaves all the same: the group has a voter less then. A node that takes its own place
    /// stays: it is no member that may be destroyed afterwards.
    #[must_use]
    pub fn replace(old: NodeId, new: NodeId) -> Self {
        Self::remove(old).set(new, Some(MemberRole::Voter))
    }

    /// The same change, in which `node` shall be this; `None`: it leaves.
    #[must_use]
    pub fn set(mut self, node: NodeId, role: Option<MemberRole>) -> Self {
        self.roles.insert(node, role);
        self
    }

    /// What each node that is named shall be, sorted by node.
    pub fn roles(&self) -> impl Iterator<Item = (NodeId, Option<MemberRole>)> + '_ {
        self.roles.iter().map(|(node, role)| (*node, *role))
    }
}

impl Membership {
    /// What this configuration, a plain one, becomes by a change. Pure: copies, validates and returns.
    ///
    /// # Errors
    ///
    /// [`MembershipError`] names what can't be.
    pub fn changed(&self, change: &MembershipChange) -> Result<Self, MembershipError> {
        let mut voters: BTreeSet<NodeId> = self.voters().collect();
        let mut witnesses: BTreeSet<NodeId> = self.witnesses().collect();
        let mut learners: BTreeSet<NodeId> = self.learners().collect();
        for (node, role) in change.roles() {
            for set in [&mut voters, &mut witnesses, &mut learners] {
                set.remove(&node);
            }
            match role {
                Some(MemberRole::Voter) => voters.insert(node),
                Some(MemberRole::Learner) => learners.insert(node),
                Some(MemberRole::Witness) => voters.insert(node) && witnesses.insert(node),
                None => continue,
            };
        }
        let changed = Self::new(voters, [], learners)?.with_witnesses(witnesses)?;
        self.check_witnesses(&MembershipTarget::of(&changed))?;
        Ok(changed)
    }
}

impl Membership {
    /// This configuration, a plain one, on its way to `target`.
    pub(crate) fn preparing(&self, target: &Self) -> Self {
        let mut preparing = self.clone();
        preparing.next = Some(Box::new(MembershipTarget::of(target)));
        preparing
    }

    /// The same without the one that it prepares for.
    pub(crate) fn without_next(&self) -> Self {
        let mut plain = self.clone();
        plain.next = None;
        plain
    }

    /// The configuration in which the voters of this one and those of `target`, both plain but that this one may
    /// be preparing, must decide.
    pub(crate) fn joint(&self, target: &Self) -> Self {
        Self {
            voters: target.voters.clone(),
            outgoing: self.voters.clone(),
            learners: target.learners.clone(),
            witnesses: self.witnesses().chain(target.witnesses()).collect(),
            next: None,
        }
    }

    /// What a joint configuration becomes when its outgoing half is left.
    pub(crate) fn left(&self) -> Self {
        Self {
            voters: self.voters.clone(),
            outgoing: NodeSet::default(),
            learners: self.learners.clone(),
            witnesses: self.witnesses().filter(|node| self.voters.contains(node)).collect(),
            next: None,
        }
    }

    /// Whether the same voters decide in both: no more than learners tells them apart.
    pub(crate) fn decides_like(&self, other: &Self) -> bool {
        (&self.voters, &self.outgoing, &self.witnesses) == (&other.voters, &other.outgoing, &other.witnesses)
    }

    /// Whether this configuration may come right after `before` in a log. What a replica joined with says nothing.
    #[cfg(debug_assertions)]
    pub(crate) fn may_follow(&self, before: &Self) -> bool {
        if before.is_empty() {
            return true;
        }
        if before.is_joint() {
            return *self == before.left();
        }
        let target = before.next().map(MembershipTarget::membership);
        match (self.is_joint(), target) {
            (true, Some(target)) => *self == before.joint(&target),
            (true, None) => self.outgoing == before.voters,
            // Abandoned.
            (false, Some(_)) => *self == before.without_next(),
            (false, None) => self.decides_like(before) && (self.next.is_none() || self.learners == before.learners),
        }
    }
}

/// The driver's name for a request to change the membership.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeId(pub u64);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeRequest {
    /// A change.
    Change(MembershipChange),
    /// That the change under way is given up. Only while it is preparing: before the joint configuration is in
    /// the leader's log.
    Abandon,
}

/// What became of a request to change the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeOutcome {
    /// It is made, and committed: for [`ChangeRequest::Abandon`], the one under way is given up for good.
    Done {
        /// Index of the entry that made it. (There is one even if there was nothing to change.)
        index: LogIndex,
        /// The configuration it made.
        membership: Arc<Membership>,
    },
    /// Somebody had it given up, and that is committed.
    Abandoned,
    /// This replica stopped leading. The change is made, or not: if it is in the log of the next leader, that
    /// one goes on with it.
    SteppedDown {
        /// Who leads, as far as known.
        leader: Option<NodeId>,
    },
    /// It was not tried.
    Refused(ChangeRefusal),
}

/// Why a request to change the membership was not tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeRefusal {
    /// This replica does not lead.
    NotLeader {
        /// Who does, as far as known.
        leader: Option<NodeId>,
    },
    /// This leader has committed nothing in its term yet, so that a configuration of a term before may still be
    /// on its way (Ongaro 2015, "bug in single-server membership changes"). Soon it has.
    NotReady,
    /// Another change is under way, or the newest configuration is not committed yet.
    Busy,
    /// Nothing to abandon: no change is preparing.
    NotPreparing,
    /// Leadership is on its way to another replica.
    Transferring,
    /// The membership that it asks for can't be.
    Invalid(MembershipError),
}
