//! A command is applied once, however often it was asked for, and in the life of the group that it was asked in.

use crate::sim::watch::Watchman;
use raftyard_groups::{GroupId, NodeId};
use std::collections::BTreeSet;

/// The commands that a replica applied: part of its state.
pub(in crate::sim) struct Once {
    node: NodeId,
    group: GroupId,
    incarnation: u64,
    applied: BTreeSet<u64>,
    watchman: Watchman,
}

impl Once {
    pub(in crate::sim) fn new(node: NodeId, group: GroupId, incarnation: u64, watchman: Watchman) -> Self {
        Self {
            node,
            group,
            incarnation,
            applied: BTreeSet::new(),
            watchman,
        }
    }

    /// A command with this number, asked in this life, is applied. Returns how many were applied then.
    pub(in crate::sim) fn applies(&mut self, number: u64, incarnation: u64) -> u64 {
        let (node, group) = (self.node, self.group);
        if !self.applied.insert(number) {
            let what = format!("{node} applies operation {number} of {group} twice");
            self.watchman.violated("exactly once", what);
        }
        if incarnation != self.incarnation {
            let what = format!(
                "{node} applies operation {number}, of life {incarnation} of {group}, in life {}",
                self.incarnation
            );
            self.watchman.violated("no resurrection", what);
        }
        self.count()
    }

    pub(in crate::sim) fn count(&self) -> u64 {
        self.applied.len() as u64
    }

    pub(in crate::sim) fn snapshot(&self) -> Vec<u64> {
        self.applied.iter().copied().collect()
    }

    pub(in crate::sim) fn restore(&mut self, applied: Vec<u64>) {
        self.applied = applied.into_iter().collect();
    }
}
