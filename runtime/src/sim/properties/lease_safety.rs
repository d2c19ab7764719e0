//! No read is older than what was acknowledged before it was asked, whether a round to a quorum or a lease vouches
//! for it. And one of a replica's own state, however old that is, is not older than another one before it there, whatever
//! restarts: as far as the disk held what that one saw. Checked at once, by what the replica that answers had applied.

use raftyard_groups::{GroupId, NodeId};
use std::collections::BTreeMap;

/// How many commands reads have to know of.
#[derive(Default)]
pub(in crate::sim) struct Freshness {
    /// By life: those that the newest answer knew of.
    acknowledged: BTreeMap<(GroupId, u64), u64>,
    /// By replica: those that a read of its own state saw, and its disk holds.
    kept: BTreeMap<(NodeId, GroupId), u64>,
}

impl Freshness {
    /// A command was answered after so many.
    pub(in crate::sim) fn answered(&mut self, group: GroupId, incarnation: u64, applied: u64) {
        let newest = self.acknowledged.entry((group, incarnation)).or_default();
        *newest = applied.max(*newest);
    }

    /// What a read that is asked now has to know of, at least.
    pub(in crate::sim) fn wanted(&self, group: GroupId, incarnation: u64) -> u64 {
        self.acknowledged.get(&(group, incarnation)).copied().unwrap_or(0)
    }

    /// A read was answered.
    pub(in crate::sim) fn check(group: GroupId, wanted: u64, applied: u64) -> Result<(), String> {
        if applied >= wanted {
            return Ok(());
        }
        Err(format!(
            "a read of {group} was answered after {applied} commands, {wanted} were acknowledged before it was asked"
        ))
    }

    /// A replica's own state was read after so many commands, which its disk holds.
    pub(in crate::sim) fn keeps(&mut self, node: NodeId, group: GroupId, applied: u64) {
        let kept = self.kept.entry((node, group)).or_default();
        *kept = applied.max(*kept);
    }

    /// What a read of a replica's own state that is asked now has to know of, at least.
    pub(in crate::sim) fn kept(&self, node: NodeId, group: GroupId) -> u64 {
        self.kept.get(&(node, group)).copied().unwrap_or(0)
    }

    /// A read of a replica's own state was answered.
    pub(in crate::sim) fn check_kept(node: NodeId, group: GroupId, kept: u64, applied: u64) -> Result<(), String> {
        if applied >= kept {
            return Ok(());
        }
        Err(format!(
            "{node} was read after {applied} commands of {group}, and after {kept} before that"
        ))
    }

    /// These replicas of a node lost what they held, or may have.
    pub(in crate::sim) fn forget(&mut self, node: NodeId, which: impl Fn(GroupId) -> bool) {
        self.kept.retain(|(of, group), _| *of != node || !which(*group));
    }
}
