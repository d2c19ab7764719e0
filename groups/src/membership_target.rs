//! Where a group is going while it prepares for a change.

use crate::ids::NodeId;
use crate::membership::{Membership, MembershipError};
use crate::node_set::NodeSet;

/// Where a group that prepares for a change is going: a plain configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MembershipTarget {
    pub(crate) voters: NodeSet,
    pub(crate) witnesses: NodeSet,
    pub(crate) learners: NodeSet,
}

impl MembershipTarget {
    /// A plain configuration to go to.
    ///
    /// # Errors
    ///
    /// [`MembershipError`] names what can't be.
    pub fn new(
        voters: impl IntoIterator<Item = NodeId>,
        witnesses: impl IntoIterator<Item = NodeId>,
        learners: impl IntoIterator<Item = NodeId>,
    ) -> Result<Self, MembershipError> {
        Ok(Self::of(
            &Membership::new(voters, [], learners)?.with_witnesses(witnesses)?,
        ))
    }

    /// A plain configuration as one to go to.
    pub(crate) fn of(plain: &Membership) -> Self {
        Self {
            voters: plain.voters.clone(),
            witnesses: plain.witnesses.clone(),
            learners: plain.learners.clone(),
        }
    }

    /// The plain configuration that the group will have.
    #[must_use]
    pub fn membership(&self) -> Membership {
        Membership {
            voters: self.voters.clone(),
            witnesses: self.witnesses.clone(),
            learners: self.learners.clone(),
            ..Membership::default()
        }
    }

    /// Whether `node` will belong to the group.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.learners.contains(&node)
    }

    /// Those who will vote, witnesses among them, sorted.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters.iter().copied()
    }

    /// Those of them that will hold no state, sorted.
    pub fn witnesses(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.witnesses.iter().copied()
    }

    /// Those who will be learners, sorted.
    pub fn learners(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.learners.iter().copied()
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters().chain(self.learners())
    }
}
