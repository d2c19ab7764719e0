//! What a group can be told.

use crate::effects::{LoadPurpose, PersistSeq};
use crate::entry::Entry;
use crate::ids::{LogId, LogIndex, NodeId, Term};
use crate::membership::Membership;
use crate::membership_change::{ChangeId, ChangeRequest};
use crate::message::Message;
use bytes::Bytes;
use std::sync::Arc;

/// A point of the driver's monotonic clock, in milliseconds since some start of its own. The core reads no
/// clock: it is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// This moment plus `millis`.
    #[must_use]
    pub fn plus(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this moment; 0 if that is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// One thing that happened.
#[derive(Debug)]
pub enum Input {
    /// Time has passed. Owed no later than [`Group::deadline`](crate::Group::deadline); more often does no harm.
    Tick,
    /// A peer said something.
    Message(Message),
    /// Somebody here wants commands in the log, all of them in this order without gaps.
    Propose {
        /// Comes back in [`Effects::proposed`](crate::Effects::proposed).
        id: ProposalId,
        /// The commands.
        commands: Vec<Bytes>,
    },
    /// Somebody here wants to read what is certain to be current.
    Read {
        /// Comes back in [`Effects::reads`](crate::Effects::reads).
        id: ReadId,
        /// Whether a follower may serve it, after asking the leader for the read index; if not, it refuses.
        forwarded: bool,
    },
    /// Nobody here waits any more for reads that have no answer yet: this one, and those that were asked before it.
    GiveUpReads {
        /// The last of them; ids ascend in the order in which reads are asked.
        through: ReadId,
    },
    /// Somebody here wants another replica to lead (thesis §3.10).
    Transfer {
        /// Comes back in [`Effects::transfers`](crate::Effects::transfers).
        id: TransferId,
        /// Who; `None` for the voter that is furthest.
        to: Option<NodeId>,
    },
    /// Somebody here wants the membership changed (thesis §4).
    ChangeMembership {
        /// Comes back in [`Effects::memberships`](crate::Effects::memberships), at once if it is refused, else
        /// when it is decided.
        id: ChangeId,
        /// What is asked for.
        change: ChangeRequest,
    },
    /// The write with this number, and all before it, are durable.
    Persisted {
        /// Its number.
        seq: PersistSeq,
    },
    /// The state machine has applied up to here.
    Applied {
        /// The last index applied.
        through: LogIndex,
    },
    /// Entries that were asked for, from the first index wanted on; empty if they could not be read (they
    /// are asked for again in a later step).
    Loaded {
        /// As it was asked.
        purpose: LoadPurpose,
        /// The index that was asked for first.
        from: LogIndex,
        /// Consecutive entries from `from` on.
        entries: Vec<Entry>,
    },
    /// The log up to here is in a durable snapshot, or in a state on disk, and no longer needed. (Never beyond what is applied and
    /// durable.)
    Compacted {
        /// The last index to be dropped.
        through: LogIndex,
    },
    /// A snapshot was handed to a peer, all of it, or failed to be. Whether the peer installed it, its own
    /// answers tell.
    SnapshotDone {
        /// The peer.
        to: NodeId,
        /// The last index it holds; `None` if it failed.
        through: Option<LogIndex>,
    },
    /// A snapshot from the leader lies ready on this node, complete, verified and durable (InstallSnapshot,
    /// thesis §5).
    SnapshotReceived {
        /// Who sent it.
        from: NodeId,
        /// The term in which it led when it sent it.
        term: Term,
        /// The last entry the snapshot holds.
        last: LogId,
        /// The configuration in force at that entry.
        membership: Arc<Membership>,
    },
    /// This node can't write, and it is not known for how long: if it leads, another replica shall, once a quorum without
    /// this one has shown that it can, by an empty entry. It tries every few election timeouts at most, however often it is
    /// told.
    HandOver,
    /// Campaign now, without waiting for a deadline. Still asks first (pre-vote).
    Campaign,
}

/// The driver's name for a batch of proposals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposalId(pub u64);

/// The driver's name for a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// The driver's name for a leadership transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(pub u64);
