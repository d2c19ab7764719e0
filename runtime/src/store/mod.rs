//! Where logs live: one store for all groups of a node.
//!
//! [`LogStore`] is what the storage actor needs. [`FjallLogStore`] keeps logs on a disk, [`MemoryLogStore`]
//! in memory, for simulations and clusters inside one process. Both pass one conformance suite
//! (`tests/log_store.rs`).

mod fjall;
mod identity;
mod memory;
mod record;
mod refusal;
mod shape;
mod snapshots;

pub use self::fjall::FjallLogStore;
pub use identity::StoreIdentity;
pub use memory::MemoryLogStore;
pub use refusal::{ENTRY_BYTES_MAX, Refusal};
pub use snapshots::{DirectorySnapshotStore, MemorySnapshotStore, SnapshotStore};

use raftyard_groups::{Entry, GroupId, Incarnation, LogIndex, Membership, Persist, Recovered};
use std::fmt;
use std::path::PathBuf;

/// The log and hard state of every group of a node. Blocking: it lives on the storage actor's own thread.
pub trait LogStore: Send + 'static {
    /// What every group's disk holds, in the order of the group ids. To be called once, before the first
    /// write: a store that was opened on an existing log knows none of its groups before.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] or [`StoreError::Damaged`] if a record fails its checks; [`StoreError::Io`].
    fn recover(&mut self) -> Result<Vec<RecoveredGroup>, StoreError>;

    /// Notes new replicas, durably, before their first write: all with one fsync, or none.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] with [`Refusal::Exists`] if it was noted before: nothing was written. After
    /// any other [`StoreError`], whether the note was taken is unknown and every later write fails with
    /// [`StoreError::Poisoned`].
    fn create(&mut self, records: &[GroupRecord]) -> Result<(), StoreError>;

    /// Writes all of the batch, atomically, and returns once it is durable: one fsync, whatever the number
    /// of groups. First a new base drops what it says ([`LogBase`](raftyard_groups::LogBase)), then entries
    /// replace all that their group's log holds from the first of them on. Each group appears at most once;
    /// what is only a barrier writes nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] if the batch makes no sense for what the logs hold: nothing was written, and
    /// the store goes on. After any other [`StoreError`], whether the batch is on disk is unknown and every
    /// later write, barriers included, fails with [`StoreError::Poisoned`]: a failed fsync is never retried.
    fn write(&mut self, batch: &[Persist]) -> Result<(), StoreError>;

    /// Reads entries of a group's log: consecutive from `from` on, up to `through` or the end of the log,
    /// stopping before they exceed `bytes_max` (by [`Entry::size`]), but at least one if there is one.
    /// From 0 on means from 1 on; nothing if the entry at `from` was dropped by a new base. Goes on working when the store is poisoned.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] if a record fails its checks; [`StoreError::Io`]; [`StoreError::Refused`]
    /// with [`Refusal::UnknownGroup`].
    fn read(
        &self,
        group: GroupId,
        from: LogIndex,
        through: LogIndex,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, StoreError>;
}

/// What a node notes of a replica when it is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRecord {
    /// The group.
    pub group: GroupId,
    /// Which life of the group.
    pub incarnation: Incarnation,
    /// Its first configuration; of nobody if the replica waits to be added to a group that it knows nothing of.
    pub membership: Membership,
    /// It holds no state: it was created as a witness, and never becomes anything else.
    pub is_witness: bool,
}

/// What a group's disk held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredGroup {
    /// As it was created.
    pub record: GroupRecord,
    /// Hard state and shape of its log.
    pub state: Recovered,
}

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk, or what stands between, refused.
    #[error("{context}: {source}")]
    Io {
        /// What was being done, and to which path.
        context: String,
        /// What it said.
        source: std::io::Error,
    },
    /// A record is not what was written.
    #[error("{group}: {what}")]
    Corrupt {
        /// Whose record.
        group: GroupId,
        /// What is wrong with it.
        what: String,
    },
    /// The data directory is not what was written, in a way that concerns no single group.
    #[error("{path}: {what}")]
    Damaged {
        /// The damaged file or directory.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The data directory belongs to another node or cluster, or is of another format.
    #[error("{path}: belongs to {found}, not to {wanted}")]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Who opened it.
        wanted: String,
    },
    /// Another process, or another store of this one, has the data directory open.
    #[error("{0}: in use by another process")]
    InUse(PathBuf),
    /// The caller asked for what can't be: a fault of the program, not of the disk. Nothing was written.
    #[error("{group}: {reason}")]
    Refused {
        /// Whose request.
        group: GroupId,
        /// Why.
        reason: Refusal,
    },
    /// An earlier write failed: nothing is written until the store is opened again.
    #[error("an earlier write failed; the store takes no more until it is reopened")]
    Poisoned,
}

impl StoreError {
    fn io(context: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io {
            context: context.into(),
            source,
        }
    }

    fn corrupt(group: GroupId, what: &dyn fmt::Display) -> Self {
        Self::Corrupt {
            group,
            what: what.to_string(),
        }
    }

    fn refused(group: GroupId, reason: Refusal) -> Self {
        Self::Refused { group, reason }
    }
}
