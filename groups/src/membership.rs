//! Who belongs to a group.

use crate::ids::NodeId;
use crate::quorum::{JointQuorum, Majority};
use std::collections::BTreeSet;
use std::fmt;

/// A group's configuration (paper §6): voters, while it changes also the outgoing voters, and learners.
/// Sets are sorted, so that every fan-out over them has the same order everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    voters: BTreeSet<NodeId>,
    outgoing: BTreeSet<NodeId>,
    learners: BTreeSet<NodeId>,
}

/// A membership that can't be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// A group without voters could never decide anything.
    #[error("a group needs at least one voter")]
    NoVoters,
    /// A node can't be voter and learner of one group.
    #[error("{0} is named both as voter and as learner")]
    VoterAndLearner(NodeId),
}

impl Membership {
    /// A plain configuration of voters.
    ///
    /// # Errors
    ///
    /// [`MembershipError::NoVoters`] if there are none.
    pub fn of_voters(voters: impl IntoIterator<Item = NodeId>) -> Result<Self, MembershipError> {
        Self::new(voters, [], [])
    }

    /// A configuration of voters, of outgoing voters while it is joint (none otherwise), and of learners.
    ///
    /// # Errors
    ///
    /// [`MembershipError`] names what can't be.
    pub fn new(
        voters: impl IntoIterator<Item = NodeId>,
        outgoing: impl IntoIterator<Item = NodeId>,
        learners: impl IntoIterator<Item = NodeId>,
    ) -> Result<Self, MembershipError> {
        let membership = Self {
            voters: voters.into_iter().collect(),
            outgoing: outgoing.into_iter().collect(),
            learners: learners.into_iter().collect(),
        };
        if membership.voters.is_empty() {
            return Err(MembershipError::NoVoters);
        }
        match membership.learners.iter().find(|node| membership.is_voter(**node)) {
            Some(node) => Err(MembershipError::VoterAndLearner(*node)),
            None => Ok(membership),
        }
    }

    /// What decides: a majority of the voters and, while the configuration is joint, one of the outgoing too.
    #[must_use]
    pub fn quorum(&self) -> JointQuorum<'_> {
        JointQuorum::new(Majority(&self.voters), Majority(&self.outgoing))
    }

    /// Whether `node` may vote and is counted.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.outgoing.contains(&node)
    }

    /// Whether `node` belongs to the group at all.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.contains(&node)
    }

    /// The voters of the (incoming) configuration, sorted.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters.iter().copied()
    }

    /// The voters of the outgoing configuration, sorted: none unless the configuration is joint.
    pub fn outgoing(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.outgoing.iter().copied()
    }

    /// Those who get the log but don't count, sorted.
    pub fn learners(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.learners.iter().copied()
    }

    /// Every node of the group but `me`, sorted.
    #[must_use]
    pub fn peers_of(&self, me: NodeId) -> Vec<NodeId> {
        let all: BTreeSet<NodeId> = self.voters().chain(self.outgoing()).chain(self.learners()).collect();
        all.into_iter().filter(|node| *node != me).collect()
    }
}

impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |set: &BTreeSet<NodeId>| set.iter().map(NodeId::to_string).collect::<Vec<_>>().join(",");
        write!(f, "voters={}", list(&self.voters))?;
        if !self.outgoing.is_empty() {
            write!(f, " outgoing={}", list(&self.outgoing))?;
        }
        if !self.learners.is_empty() {
            write!(f, " learners={}", list(&self.learners))?;
        }
        Ok(())
    }
}
