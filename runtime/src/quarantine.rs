//! Why a replica is in quarantine.

use raftyard_groups::LogId;

/// Why a replica stopped for good, although its node lives: it neither answers nor sends, as if it had crashed; but its
/// worker says for it that it does not lead.
/// [`RaftHost::destroy_group`](crate::RaftHost::destroy_group) removes it, and a restart of the node tries once more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuarantineReason {
    /// The state machine panicked when it applied this entry. Replicas are deterministic: those that run the
    /// same code stop here too.
    #[error("the state machine panicked at entry {0}")]
    ApplyPanicked(LogId),
    /// A committed command can't be decoded: it is of another type, or version, than the state machine here.
    #[error("entry {entry} can't be decoded: {error}")]
    Undecodable {
        /// The entry.
        entry: LogId,
        /// What is wrong with it.
        error: String,
    },
    /// A state machine in memory could not be restored from a leader's snapshot.
    #[error("the snapshot through {last} can't be restored: {error}")]
    RestoreFailed {
        /// The last entry of the snapshot.
        last: LogId,
        /// What is wrong.
        error: String,
    },
    /// The state machine panicked when a view of it was taken, for a snapshot or an export, or in the call of `sync`.
    #[error("the state machine panicked when a snapshot was taken")]
    SnapshotPanicked,
    /// A state machine that keeps its state on disk could not write it, make it durable, show it or take a leader's
    /// snapshot, with what was applied up to this entry.
    #[error("the state machine's disk failed at {last}: {error}")]
    StateFailed {
        /// The last entry that it was about.
        last: LogId,
        /// What it said.
        error: String,
    },
    /// A record of its log on disk is not what was written.
    #[error("its log is damaged")]
    LogDamaged,
    /// The node's disk failed to write: all replicas of the node stop.
    #[error("the store failed")]
    StoreFailed,
    /// It was created as a witness, and its group has it as a member with state, or the other way round: its log lacks
    /// commands that the group counts on, or its state machine would.
    #[error("its group takes it for a witness, and it is none, or the other way round")]
    OtherKind,
    /// A fault of this program, or the state machine panicked in the call of `restorer`.
    #[error("its turn panicked")]
    TurnPanicked,
}
