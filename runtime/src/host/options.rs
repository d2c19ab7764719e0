//! What can be said of a group when it is created.

use crate::tenancy::GroupLimits;
use raftyard_groups::{Incarnation, NodeId};
use std::collections::BTreeSet;

/// What can be said of a group when it is created. The default says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupOptions {
    pub(super) incarnation: Option<Incarnation>,
    pub(super) run: OfThisRun,
    pub(super) witnesses: BTreeSet<NodeId>,
}

/// What is not kept on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OfThisRun {
    pub(super) priority: u8,
    pub(super) limits: GroupLimits,
}

impl GroupOptions {
    /// Which life of the group this is. By default that of the replica on disk; without one, for a group that is created
    /// the one after the last that was destroyed on this node, for one that is joined that one itself; the first if none
    /// was destroyed.
    ///
    /// Replicas of different incarnations never hear each other, so all members have to agree. They do by themselves
    /// if the group was destroyed on all of them equally often. If not, take the greatest
    /// [`next_incarnation`](crate::RaftHost::next_incarnation) of all members.
    #[must_use]
    pub fn incarnation(mut self, incarnation: Incarnation) -> Self {
        self.incarnation = Some(incarnation);
        self
    }

    /// Which of the members that a new group begins with are witnesses: they vote and acknowledge, and hold no
    /// state. None by default. The same on all members; a witness itself calls
    /// [`create_witness`](crate::RaftHost::create_witness).
    #[must_use]
    pub fn witnesses(mut self, witnesses: impl IntoIterator<Item = NodeId>) -> Self {
        self.witnesses = witnesses.into_iter().collect();
        self
    }

    /// How much this node's replica wants to lead, 0 by default: those of a higher priority campaign earlier when a
    /// leader is lost, and get the leadership handed over by one of a lower. Of this run alone: it is not kept on disk.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.run.priority = priority;
        self
    }

    /// What this node's replica may take of the node; [`Group::set_limits`](crate::Group::set_limits) changes it later.
    /// Nothing is limited by default. Of this run alone: it is not kept on disk.
    #[must_use]
    pub fn limits(mut self, limits: GroupLimits) -> Self {
        self.run.limits = limits;
        self
    }
}
