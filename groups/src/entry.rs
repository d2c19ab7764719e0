//! What a log holds.

use crate::ids::{LogId, LogIndex, Term};
use bytes::Bytes;

/// One entry of a group's log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Position in the log.
    pub index: LogIndex,
    /// Term of the leader that appended it.
    pub term: Term,
    /// What it carries.
    pub payload: Payload,
}

/// What an entry carries. The core looks into none of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// Nothing. A leader appends one at the start of its term: committing it commits all before it
    /// (paper §5.4.2, §8).
    Noop,
    /// A command for the state machine.
    Command(Bytes),
}

impl Entry {
    /// What the limits on messages and memory count for one entry beside its payload, in bytes.
    pub const OVERHEAD: usize = 24;

    /// The entry's identity.
    #[must_use]
    pub fn id(&self) -> LogId {
        LogId {
            term: self.term,
            index: self.index,
        }
    }

    /// Bytes this entry counts for in windows and caches: payload and overhead.
    #[must_use]
    pub fn size(&self) -> usize {
        Self::OVERHEAD
            + match &self.payload {
                Payload::Noop => 0,
                Payload::Command(bytes) => bytes.len(),
            }
    }
}

/// The part of a replica's state that must never regress across a crash (paper figure 2, "persistent state").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HardState {
    /// The newest term this replica has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<crate::ids::NodeId>,
}
