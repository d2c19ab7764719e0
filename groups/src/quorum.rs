//! Quorum maths. The types are the maths: a majority is a set, a joint quorum is two majorities, and what a
//! joint quorum has reached is the smaller of what its majorities have (paper §6).
//!
//! The empty majority has won every vote and reached every value: so a configuration that is not joint is a
//! joint one with an empty half, without a special case.

use crate::ids::NodeId;
use crate::node_set::NodeSet;

/// The voters of one configuration; more than half of them decide.
#[derive(Clone, Copy, Debug)]
pub struct Majority<'a>(pub &'a NodeSet);

/// Two configurations that both must decide.
#[derive(Clone, Copy, Debug)]
pub struct JointQuorum<'a> {
    incoming: Majority<'a>,
    outgoing: Majority<'a>,
}

/// Where a vote stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteResult {
    /// A quorum said yes.
    Won,
    /// Neither yet.
    Pending,
    /// Enough said no that a quorum can no longer say yes.
    Lost,
}

/// Voters up to which no memory is asked for.
const SMALL: usize = 8;

/// With n values in ascending order, those from position (n - 1) / 2 on are more than half.
fn median<T: Copy + Ord>(values: &mut [T]) -> Option<T> {
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) / 2).copied()
}

impl Majority<'_> {
    /// The greatest value that more than half of the voters have reached, each by `reached`; `None` for the
    /// empty majority, which limits nothing.
    pub fn reached<T: Copy + Ord>(&self, reached: impl Fn(NodeId) -> T) -> Option<T> {
        let values = self.0.iter().map(|node| reached(*node));
        let first = values.clone().next()?;
        if self.0.len() > SMALL {
            return median(&mut values.collect::<Vec<_>>());
        }
        // Asked at every step of a leader: without an allocation for groups of a usual size.
        let mut small = [first; SMALL];
        small.iter_mut().zip(values).for_each(|(place, value)| *place = value);
        median(small.get_mut(..self.0.len())?)
    }

    /// Where a vote stands in which each voter said yes, no, or nothing yet.
    pub fn vote(&self, said: impl Fn(NodeId) -> Option<bool>) -> VoteResult {
        let needed = self.0.len() / 2 + 1;
        let count = |answer| self.0.iter().filter(|node| said(**node) == Some(answer)).count();
        let (yes, no) = (count(true), count(false));
        if self.0.is_empty() || yes >= needed {
            VoteResult::Won
        } else if self.0.len() - no < needed {
            VoteResult::Lost
        } else {
            VoteResult::Pending
        }
    }
}

impl<'a> JointQuorum<'a> {
    /// A quorum of both. An empty `outgoing` leaves `incoming` alone to decide.
    #[must_use]
    pub fn new(incoming: Majority<'a>, outgoing: Majority<'a>) -> Self {
        Self { incoming, outgoing }
    }

    /// The greatest value that a quorum has reached; `None` if there is no voter.
    pub fn reached<T: Copy + Ord>(&self, reached: impl Fn(NodeId) -> T) -> Option<T> {
        match (self.incoming.reached(&reached), self.outgoing.reached(&reached)) {
            (Some(incoming), Some(outgoing)) => Some(incoming.min(outgoing)),
            (one, other) => one.or(other),
        }
    }

    /// Where a vote stands: won if both are, lost if one is.
    pub fn vote(&self, said: impl Fn(NodeId) -> Option<bool>) -> VoteResult {
        match (self.incoming.vote(&said), self.outgoing.vote(&said)) {
            (VoteResult::Won, VoteResult::Won) => VoteResult::Won,
            (VoteResult::Lost, _) | (_, VoteResult::Lost) => VoteResult::Lost,
            _ => VoteResult::Pending,
        }
    }
}
