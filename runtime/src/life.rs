//! Which life of which group: what everything inside a node that concerns a replica is addressed to.

use crate::store::GroupRecord;
use raftyard_groups::{GroupId, Incarnation};
use std::fmt;

/// A group in one of its incarnations. What was on its way to a replica when that was destroyed names another
/// life than the one that may be there when it arrives, and is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) group: GroupId,
    pub(crate) incarnation: Incarnation,
}

/// The incarnation after this one.
pub(crate) fn after(incarnation: Incarnation) -> Incarnation {
    Incarnation(incarnation.0.saturating_add(1))
}

/// An incarnation for a group that does not begin with nothing, no earlier than `next`: its upper half counts such
/// beginnings, and its lower half is a mark of this one. So replicas that began differently are never of one
/// incarnation, whoever made them, and never meet.
pub(crate) fn branch(next: Incarnation, mark: u32) -> Incarnation {
    Incarnation((((next.0 >> 32) + 1) << 32) | u64::from(mark))
}

impl From<&GroupRecord> for Life {
    fn from(record: &GroupRecord) -> Self {
        Self {
            group: record.group,
            incarnation: record.incarnation,
        }
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.group, self.incarnation)
    }
}
