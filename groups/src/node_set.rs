//! A set of nodes. They are a handful, so they stand in a sorted list: a B-tree would take room for eleven of them in
//! each of four sets of each configuration.

use crate::ids::NodeId;
use std::ops::Deref;

/// Nodes, ascending, each once: so that every walk over them has the same order everywhere. Reads like a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeSet(Box<[NodeId]>);

impl NodeSet {
    /// Whether all of these nodes are among the `others`.
    #[must_use]
    pub fn is_subset(&self, others: &Self) -> bool {
        self.iter().all(|node| others.contains(node))
    }
}

impl Deref for NodeSet {
    type Target = [NodeId];

    fn deref(&self) -> &[NodeId] {
        &self.0
    }
}

impl FromIterator<NodeId> for NodeSet {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        let mut nodes: Vec<NodeId> = nodes.into_iter().collect();
        nodes.sort_unstable();
        nodes.dedup();
        Self(nodes.into_boxed_slice())
    }
}

impl<'a> IntoIterator for &'a NodeSet {
    type Item = &'a NodeId;
    type IntoIter = std::slice::Iter<'a, NodeId>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for NodeSet {
    type Item = NodeId;
    type IntoIter = std::vec::IntoIter<NodeId>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_vec().into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(nodes: &[u64]) -> NodeSet {
        nodes.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn nodes_are_ascending_and_each_is_there_once() {
        let set = of(&[5, 2, 5, 3]);
        assert_eq!(*set, [NodeId(2), NodeId(3), NodeId(5)]);
        assert_eq!(set, of(&[2, 3, 5]));
        assert!(set.contains(&NodeId(3)) && !set.contains(&NodeId(4)));
        assert!(of(&[2, 5]).is_subset(&set) && of(&[]).is_subset(&set) && !of(&[2, 4]).is_subset(&set));
        assert_eq!(set.into_iter().count(), 3);
    }
}
