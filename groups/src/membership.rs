//! Who belongs to a group.

use crate::ids::NodeId;
use crate::membership_change::MemberRole;
use crate::membership_target::MembershipTarget;
use crate::node_set::NodeSet;
use crate::quorum::{JointQuorum, Majority};
use std::fmt;

/// A group's configuration (paper §6, thesis §4). Sets are sorted, so that every fan-out over them has the
/// same order everywhere. Three kinds:
///
/// - *plain*: voters and learners;
/// - *preparing*: the same, and [`Membership::next`]: the plain configuration that the group is on its way to.
///   Its new nodes get the log already, as learners do, and count for nothing yet;
/// - *joint*: the voters of two configurations, of which both must decide. A node may be an outgoing voter and
///   a learner: it votes until the configuration is left, and is a learner from then on.
///
/// The default is of nobody: what a replica that joins a group knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    pub(crate) voters: NodeSet,
    pub(crate) outgoing: NodeSet,
    pub(crate) learners: NodeSet,
    /// Those of the voters, outgoing ones too, that hold no state.
    pub(crate) witnesses: NodeSet,
    /// Boxed: seldom there.
    pub(crate) next: Option<Box<MembershipTarget>>,
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
    /// A group of witnesses alone could elect nobody.
    #[error("a group needs at least one voter that is no witness")]
    OnlyWitnesses,
    /// A witness is a voter.
    #[error("{0} is named as witness, but is no voter")]
    WitnessIsNoVoter(NodeId),
    /// A witness never got the commands that it acknowledged, and a voter that turned witness would stop
    /// getting them: a node changes between the two only by leaving, as a replica that is created anew.
    #[error("{0} can't become or stop being a witness without leaving first")]
    WitnessMustLeave(NodeId),
    /// A configuration is either on its way out of two, or prepares for the next.
    #[error("a joint configuration prepares for no other")]
    JointAndPreparing,
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
            ..Self::default()
        };
        if membership.voters.is_empty() {
            return Err(MembershipError::NoVoters);
        }
        let both = |node: &&NodeId| membership.voters.contains(node);
        match membership.learners.iter().find(both) {
            Some(node) => Err(MembershipError::VoterAndLearner(*node)),
            None => Ok(membership),
        }
    }

    /// The same, with these of its voters, incoming or outgoing, as witnesses.
    ///
    /// # Errors
    ///
    /// [`MembershipError::WitnessIsNoVoter`], or [`MembershipError::OnlyWitnesses`] if nobody else would be left.
    pub fn with_witnesses(mut self, witnesses: impl IntoIterator<Item = NodeId>) -> Result<Self, MembershipError> {
        self.witnesses = witnesses.into_iter().collect();
        if let Some(node) = self.witnesses.iter().find(|node| !self.is_voter(**node)) {
            return Err(MembershipError::WitnessIsNoVoter(*node));
        }
        if self.voters.is_subset(&self.witnesses) {
            return Err(MembershipError::OnlyWitnesses);
        }
        Ok(self)
    }

    /// The same, preparing for `next`.
    ///
    /// # Errors
    ///
    /// [`MembershipError::JointAndPreparing`] if it is joint, [`MembershipError::WitnessMustLeave`] if a node
    /// is a witness in one of them and something else in the other.
    pub fn with_next(mut self, next: MembershipTarget) -> Result<Self, MembershipError> {
        if self.is_joint() {
            return Err(MembershipError::JointAndPreparing);
        }
        self.check_witnesses(&next)?;
        self.next = Some(Box::new(next));
        Ok(self)
    }

    /// No node of both is a witness in one only.
    pub(crate) fn check_witnesses(&self, next: &MembershipTarget) -> Result<(), MembershipError> {
        let changed = |node: &NodeId| {
            next.contains(*node) && self.contains(*node) && next.witnesses.contains(node) != self.is_witness(*node)
        };
        let mut nodes = self.witnesses.iter().chain(&next.witnesses);
        match nodes.find(|node| changed(node)) {
            Some(node) => Err(MembershipError::WitnessMustLeave(*node)),
            None => Ok(()),
        }
    }

    /// What decides: a majority of the voters and, while the configuration is joint, one of the outgoing too.
    #[must_use]
    pub fn quorum(&self) -> JointQuorum<'_> {
        JointQuorum::new(Majority(&self.voters), Majority(&self.outgoing))
    }

    /// Whether it is of nobody: what a replica that joins a group knows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.voters.is_empty()
    }

    /// Whether two configurations must both decide.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether a change of it is under way: it is preparing or joint.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.is_joint() || self.next.is_some()
    }

    /// Whether `node` may vote and is counted.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.outgoing.contains(&node)
    }

    /// Whether `node` gets the log without its commands: it is a witness, or joins to become one. It may vote
    /// and is counted, but never campaigns.
    #[must_use]
    pub fn is_witness(&self, node: NodeId) -> bool {
        self.witnesses.contains(&node) || self.next.as_ref().is_some_and(|next| next.witnesses.contains(&node))
    }

    /// Whether `node` may campaign: it votes, and is no witness.
    #[must_use]
    pub fn may_lead(&self, node: NodeId) -> bool {
        self.is_voter(node) && !self.is_witness(node)
    }

    /// Whether `node` belongs to the group at all: also one that is on its way into it.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node)
            || self.learners.contains(&node)
            || self.next.as_ref().is_some_and(|next| next.contains(node))
    }

    /// What `node` is now. One that is on its way into the group is a learner so far.
    #[must_use]
    pub fn role_of(&self, node: NodeId) -> Option<MemberRole> {
        if self.is_voter(node) {
            let is_witness = self.witnesses.contains(&node);
            return Some(if is_witness {
                MemberRole::Witness
            } else {
                MemberRole::Voter
            });
        }
        self.contains(node).then_some(MemberRole::Learner)
    }

    /// The voters of the (incoming) configuration, witnesses among them, sorted.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters.iter().copied()
    }

    /// The voters of the outgoing configuration, sorted: none unless the configuration is joint.
    pub fn outgoing(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.outgoing.iter().copied()
    }

    /// Those who get the log but don't count, sorted. Without those who are on their way into the group, with
    /// those who are outgoing voters until a joint configuration is left.
    pub fn learners(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.learners.iter().copied()
    }

    /// Those of the voters, outgoing ones too, that hold no state, sorted.
    pub fn witnesses(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.witnesses.iter().copied()
    }

    /// Where the group is going, while it prepares for a change of its voters.
    #[must_use]
    pub fn next(&self) -> Option<&MembershipTarget> {
        self.next.as_deref()
    }

    /// Every node of the group, also those on their way into it, sorted.
    #[must_use]
    pub fn nodes(&self) -> NodeSet {
        let next = self.next.iter().flat_map(|next| next.nodes());
        self.voters()
            .chain(self.outgoing())
            .chain(self.learners())
            .chain(next)
            .collect()
    }

    /// Every node of the group but `me`, sorted.
    #[must_use]
    pub fn peers_of(&self, me: NodeId) -> Vec<NodeId> {
        self.nodes().into_iter().filter(|node| *node != me).collect()
    }

    /// Bytes it counts for in windows and caches: its node ids.
    #[must_use]
    pub fn size(&self) -> usize {
        let next = self
            .next
            .as_ref()
            .map_or(0, |next| next.voters.len() + next.witnesses.len() + next.learners.len());
        let nodes = self.voters.len() + self.outgoing.len() + self.learners.len() + self.witnesses.len() + next;
        nodes * size_of::<NodeId>()
    }
}

/// `voters=n1,n2 learners=n3 next=(voters=n1,n2,n3)`.
impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nobody");
        }
        write!(f, "voters={}", List(&self.voters))?;
        if !self.outgoing.is_empty() {
            write!(f, " outgoing={}", List(&self.outgoing))?;
        }
        if !self.learners.is_empty() {
            write!(f, " learners={}", List(&self.learners))?;
        }
        if !self.witnesses.is_empty() {
            write!(f, " witnesses={}", List(&self.witnesses))?;
        }
        match &self.next {
            Some(next) => write!(f, " next=({})", next.membership()),
            None => Ok(()),
        }
    }
}

struct List<'a>(&'a NodeSet);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<String> = self.0.iter().map(NodeId::to_string).collect();
        f.write_str(&nodes.join(","))
    }
}
