//! No read is older than what was acknowledged before it was asked, whether a round to a quorum or a lease vouches
//! for it. Checked at once, by what the replica that answers had applied.

use raftyard_groups::GroupId;
use std::collections::BTreeMap;

/// How many commands of a life the newest answer knew of.
#[derive(Default)]
pub(in crate::sim) struct Freshness(BTreeMap<(GroupId, u64), u64>);

impl Freshness {
    /// A command was answered after so many.
    pub(in crate::sim) fn answered(&mut self, group: GroupId, incarnation: u64, applied: u64) {
        let newest = self.0.entry((group, incarnation)).or_default();
        *newest = applied.max(*newest);
    }

    /// What a read that is asked now has to know of, at least.
    pub(in crate::sim) fn wanted(&self, group: GroupId, incarnation: u64) -> u64 {
        self.0.get(&(group, incarnation)).copied().unwrap_or(0)
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
}
