//! Names of things, as newtypes: what is compared or sent under one of them can't be mistaken for another.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl From<u64> for $name {
            fn from(value: u64) -> Self {
                Self(value)
            }
        }
    };
}

id!(
    /// A process that hosts replicas: one transport, one storage, one address. Stable across restarts.
    NodeId,
    "n"
);
id!(
    /// A Raft group: one replicated state machine, one log.
    GroupId,
    "g"
);
id!(
    /// Which life of a group id this is. A message of another incarnation is dropped, so that a group
    /// that was destroyed and created again never hears its predecessor.
    Incarnation,
    "i"
);
id!(
    /// A period with at most one leader (paper §5.1). 0 is before the first election.
    Term,
    "t"
);
id!(
    /// A position in a group's log. The first entry has index 1; 0 stands before it.
    LogIndex,
    ""
);

impl Term {
    /// The last that a replica goes along with when a peer names it: none that was reached by counting is anywhere near,
    /// and after it there are as many again to go on to.
    pub(crate) const NAMED_MAX: Self = Self(u64::MAX / 2);

    /// The term after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl LogIndex {
    /// The position before the first entry.
    pub const ZERO: Self = Self(0);

    /// The position after this one; the greatest stays: a message may name any.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The position before this one; 0 stays 0.
    #[must_use]
    pub fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The position `count` entries further on, at most the greatest.
    #[must_use]
    pub fn plus(self, count: usize) -> Self {
        Self(self.0.saturating_add(count as u64))
    }
}

/// An entry's identity: two logs that hold the same id hold the same entries up to it
/// (Log Matching, paper §5.3). Ordered by term, then index: the "up-to-date" order of paper §5.4.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// Term of the leader that appended the entry.
    pub term: Term,
    /// Position of the entry.
    pub index: LogIndex,
}

impl LogId {
    /// What stands before the first entry.
    pub const ZERO: Self = Self {
        term: Term(0),
        index: LogIndex::ZERO,
    };

    /// The entry at `index`, appended in `term`.
    #[must_use]
    pub fn new(term: u64, index: u64) -> Self {
        Self {
            term: Term(term),
            index: LogIndex(index),
        }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term.0)
    }
}
