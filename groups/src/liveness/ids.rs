//! Names of a node's lives and of the sessions they grant.

use std::fmt;

/// One life of a node: from taking the lock of its data directory to the end of the process.
///
/// Ordered by `boot` first. Two lives of one node never share it, unless a data directory was copied:
/// [`NodeIncarnation::succeeds`] takes neither of those for the newer one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIncarnation {
    /// Counts the starts of the node. Durable before its first message.
    pub boot: u64,
    /// Drawn at the start, so that lives with equal counters differ.
    pub random: u64,
}

impl NodeIncarnation {
    /// Whether this life began after `other`.
    #[must_use]
    pub fn succeeds(self, other: Self) -> bool {
        self.boot > other.boot
    }
}

/// One session: unique among all that a node ever grants, and ascending in the order in which it opens them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    /// The life of the node that grants it.
    pub granter: NodeIncarnation,
    /// Counts the sessions of that life, whomever they are granted to.
    pub counter: u64,
}

/// `b3`: the life after the third start.
impl fmt::Display for NodeIncarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{}", self.boot)
    }
}

/// `b3.7`: the seventh session of the life after the third start.
impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.granter, self.counter)
    }
}
