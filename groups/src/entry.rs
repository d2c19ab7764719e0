//! What a log holds.

use crate::ids::{LogId, LogIndex, Term};
use crate::membership::Membership;
use bytes::Bytes;
use std::sync::Arc;

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

/// What an entry carries. The core looks into no command.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// Nothing. A leader appends one at the start of its term: committing it commits all before it
    /// (paper §5.4.2, §8).
    Noop,
    /// A command for the state machine.
    Command(Bytes),
    /// The group's configuration from this entry on: in force as soon as the entry is in the log, committed or
    /// not (paper §6).
    Membership(Arc<Membership>),
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

    /// Takes its command away, as witnesses get it: what is left has the same identity.
    pub(crate) fn strip(&mut self) {
        if let Payload::Command(_) = self.payload {
            self.payload = Payload::Noop;
        }
    }

    /// Bytes this entry counts for in windows and caches: payload and overhead.
    #[must_use]
    pub fn size(&self) -> usize {
        Self::OVERHEAD
            + match &self.payload {
                Payload::Noop => 0,
                Payload::Command(bytes) => bytes.len(),
                Payload::Membership(membership) => membership.size(),
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
