//! Snapshots: what takes the place of a log's beginning (thesis §5).
//!
//! 1. A group that applied enough since its last snapshot takes a view of its state machine, a cheap one, and
//!    goes on; [`SnapshotActor`] serialises it into a file ([`format`]) and makes that durable.
//! 2. Then the log is compacted, and once that is durable older snapshots are removed.
//! 3. A peer that needs what was compacted is sent the file in chunks; its [`SnapshotActor`] puts them
//!    together, verifies the whole, and only then tells the group, which installs it.
//!
//! A group whose state machine keeps its state on disk takes none of its own: that is made durable instead, and
//! then the log is compacted. A snapshot is written only for a peer that needs one, and removed once it has it. A
//! received one is removed once the state that was restored from it is durable.
//!
//! At every moment either the log is whole, or there is a durable snapshot whose last entry the log holds or
//! begins after. A snapshot whose last entry the log does not hold is nobody's: one that was received and not
//! installed. So a crash between any two steps leaves what one of them left.

mod actor;
mod carry;
mod format;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod name;
mod receive;
mod restore;
mod send;
mod strays;
mod take;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;

pub(crate) use actor::{Import, Opened, Restored, SnapshotActor, SnapshotWork};
pub(crate) use carry::IMPORTED;
pub(crate) use format::check_complete;
pub(crate) use strays::remove_strays;

use raftyard_groups::{GroupId, LogId, LogIndex, Membership, NodeId, Term};
use std::any::Any;
use std::io;
use std::sync::Arc;

/// When logs are compacted, and how fast snapshots are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// A group takes a snapshot once it applied this many entries since the last one; while a peer is sent one, and until it has
    /// caught up, eight times as many, or bytes.
    pub entries: u64,
    /// Or once these entries have this many bytes. A state whose snapshot is larger than this waits, in both cases,
    /// until they have as many bytes as that snapshot; a state on disk, which has none, only while a peer is sent one and
    /// catches up.
    pub bytes: u64,
    /// Entries before a snapshot's end that stay in the log, for followers that lag a little.
    pub tail_entries: u64,
    /// Bytes of snapshots that a node sends per second, to all peers together.
    pub send_bytes_per_second: u64,
}

impl Default for Compaction {
    fn default() -> Self {
        Self {
            entries: 100_000,
            bytes: 4 << 20,
            tail_entries: 10_000,
            send_bytes_per_second: 64 << 20,
        }
    }
}

/// Writes a state machine's view: all that is left to do after it was taken.
pub(crate) type Encode = Box<dyn FnOnce(&mut dyn io::Write) -> io::Result<()> + Send>;

/// A view that is yet to be written, with the configuration in force where it ends.
pub(crate) struct View {
    pub(crate) membership: Arc<Membership>,
    pub(crate) encode: Encode,
}

/// Makes of a snapshot's bytes what a state machine is restored from. May be called for one after the other.
pub(crate) type Decode = Box<dyn Fn(&mut dyn io::Read) -> io::Result<Box<dyn Any + Send>> + Send>;

/// Makes durable what a state machine has on disk.
pub(crate) type SyncDisk = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// Why a snapshot can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The log begins after an entry that no intact snapshot reaches: the state up to there is not on this
    /// disk any more. Nothing was removed.
    #[error("the log of {group} begins after {base}, and no intact snapshot holds what was before{}", because(.damaged))]
    Missing {
        /// The group.
        group: GroupId,
        /// What its log begins after.
        base: LogId,
        /// What is wrong with the snapshots there are.
        damaged: Vec<String>,
    },
    /// The state machine panicked when it was restored from an intact snapshot, which ends with this entry. Nothing
    /// was removed.
    #[error("the state machine panicked when it was restored from the snapshot through {0}")]
    Rejected(LogId),
    /// The disk refused.
    #[error("snapshot {name}: {source}")]
    Io {
        /// The file.
        name: String,
        /// What it said.
        source: io::Error,
    },
    /// It is intact, and the state machine can't be restored from it: it was written by one of another type or of another
    /// release, or the state machine's disk failed. Nothing was removed.
    #[error("snapshot {name} is intact, but of no use here: {what}")]
    Undecodable {
        /// The file.
        name: String,
        /// What failed.
        what: String,
    },
    /// It is not what was written.
    #[error("snapshot {name}: {what}")]
    Damaged {
        /// The file.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// It became another one after it was checked, before all of it was copied.
    #[error("snapshot {name}: it was replaced while it was read")]
    Replaced {
        /// The file.
        name: String,
    },
}

fn because(damaged: &[String]) -> String {
    let list = damaged.join("; ");
    if list.is_empty() { list } else { format!(" ({list})") }
}

/// What happened to snapshots of a group.
pub(crate) enum SnapshotEvent {
    /// The one that was taken is durable, and has this many bytes; `None`: it failed to be.
    Taken { last: LogId, size: Option<u64> },
    /// What a state machine on disk had applied up to this entry is durable, or why not.
    Synced { last: LogId, result: Result<(), String> },
    /// One from a peer lies ready.
    Received {
        from: NodeId,
        term: Term,
        last: LogId,
        /// The configuration in force at its last entry.
        membership: Arc<Membership>,
    },
    /// What the state machine is to be restored from, or why not.
    Restored(Restored),
    /// One that is to be sent is not what was written any more.
    Rotted { last: LogId },
    /// The one that was to be written for a peer is durable, and has this many bytes; `None`: it failed to be.
    Viewed { size: Option<u64> },
    /// A peer has all of one; `None`: it has not.
    Sent { to: NodeId, through: Option<LogIndex> },
}
