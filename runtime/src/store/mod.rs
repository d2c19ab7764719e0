//! Where logs live: one store for all groups of a node.

use raftyard_groups::{Entry, GroupId, Incarnation, LogIndex, Membership, Persist, Recovered};
use std::path::PathBuf;

/// The log and hard state of every group of a node. Blocking: it lives on the storage actor's own thread.
pub trait LogStore: Send + 'static {
    /// What every group's disk held when the store was opened, in the order of the group ids.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] if a record fails its checks.
    fn recover(&mut self) -> Result<Vec<RecoveredGroup>, StoreError>;

    /// Notes a new replica, durably, before its first write.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`]; whether the note was taken is then unknown.
    fn create(&mut self, record: &GroupRecord) -> Result<(), StoreError>;

    /// Writes all of the batch, atomically, and returns once it is durable: one fsync, whatever the number
    /// of groups. Entries replace all that their group's log holds from the first of them on. Each group
    /// appears at most once; what is only a barrier writes nothing.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`]. Whether the batch is on disk is then unknown; every later write fails with
    /// [`StoreError::Poisoned`]: a failed fsync is never retried.
    fn write(&mut self, batch: &[Persist]) -> Result<(), StoreError>;

    /// Reads entries of a group's log: consecutive from `from` on, up to `through`, at least one if there
    /// is one, no more once `bytes_max` (by [`Entry::size`]) is reached.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] if a record fails its checks; [`StoreError::Io`].
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
    /// Its first configuration.
    pub membership: Membership,
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
    /// Another process has the data directory open.
    #[error("{0}: in use by another process")]
    InUse(PathBuf),
    /// An earlier write failed: nothing is written until the store is opened again.
    #[error("an earlier write failed; the store takes no more until it is reopened")]
    Poisoned,
}
