//! Where logs live: one store for all groups of a node.
//!
//! [`LogStore`] is what the storage actor needs. [`SegmentLogStore`] keeps logs on a disk, [`MemoryLogStore`]
//! in memory, for simulations and clusters inside one process. Both pass one conformance suite
//! (`tests/log_store.rs`).

mod boot;
mod check;
mod dir_lock;
mod disk;
mod disk_id;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod identity;
mod memory;
mod peer_book;
mod record;
mod refusal;
mod segments;
mod shape;
mod snapshots;

pub use crate::machine::applied;
pub use boot::Boot;
pub use check::{StoreCheck, check};
pub(crate) use disk::is_full;
pub use disk::{Directory, Disk};
pub use disk_id::DiskId;
pub use identity::StoreIdentity;
pub use memory::MemoryLogStore;
pub(crate) use peer_book::{PeerBook, is_address};
pub use refusal::{ENTRY_BYTES_MAX, Refusal};
pub(crate) use refusal::{first_recovered, imported_state, is_in_doubt};
pub use segments::SegmentLogStore;
pub use snapshots::{DirectorySnapshotStore, MemorySnapshotStore, SnapshotStore};

use raftyard_groups::{Entry, GroupId, HardState, Incarnation, LogId, LogIndex, Membership, Persist, Recovered, Term};
use std::fmt;
use std::path::PathBuf;

/// The log and hard state of every group of a node. Blocking: it lives on the storage actor's own thread.
pub trait LogStore: Send + 'static {
    /// Counts a start of the node, and notes that from now on it grants promises of up to `promise_ms`
    /// milliseconds. To be called once, when the store was opened, before anything is written to it and before the node
    /// says anything to anybody; what it says of the time before is what earlier calls were given. The first call draws
    /// the disk's id. Durable when it returns.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`], also if something was written and no start was counted before, or [`StoreError::Io`]. The
    /// start may be counted then.
    fn boot(&mut self, promise_ms: u64) -> Result<Boot, StoreError>;

    /// All that the disk holds. To be called once, before the first write: a store that was opened on an
    /// existing log knows none of its groups before. What is damaged is said of each group that may have lost
    /// something by it ([`RecoveredGroup::damage`]); what is left of them is made durable before this returns, so
    /// that they can go on from there.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] if nothing of a log is there; [`StoreError::Io`].
    fn recover(&mut self) -> Result<StoreContents, StoreError>;

    /// What the disk holds of one group.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] with [`Refusal::UnknownGroup`]; [`StoreError::Corrupt`] if a record fails its
    /// checks; [`StoreError::Io`].
    fn inspect(&self, group: GroupId) -> Result<RecoveredGroup, StoreError>;

    /// Notes new replicas, durably, before their first write: all with one fsync, or none. A group's
    /// tombstone is replaced. If that is one of the same incarnation, the replica was destroyed and comes
    /// back; if it is uncertain ([`Tombstone::is_uncertain`]), it may be one that does: it starts a term after the one that
    /// the tombstone names, without a vote, and with the tombstone's last entry as [`Recovered::forgotten`].
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] with [`Refusal::Exists`] if it was noted before, [`Refusal::Destroyed`] if
    /// there is a tombstone of a later incarnation, or [`Refusal::MayBeLost`]; [`StoreError::Full`]: nothing was written.
    /// After any other [`StoreError`], whether the note was taken is unknown and every later write fails with
    /// [`StoreError::Poisoned`].
    fn create(&mut self, records: &[GroupRecord]) -> Result<(), StoreError>;

    /// Notes a new replica whose log begins after `base`: a snapshot of its own incarnation, which is durable
    /// already, ends there. It starts in the term of `base`; if the disk may have lost one of the same life, as one that
    /// [`LogStore::create`] notes there. Atomic and durable.
    ///
    /// # Errors
    ///
    /// As [`LogStore::create`]; a tombstone of the same incarnation is refused too, and, with [`Refusal::MayBeLost`], a
    /// group of one voter where the disk may have lost one of the same life.
    fn import(&mut self, record: &GroupRecord, base: LogId) -> Result<(), StoreError>;

    /// Removes groups, each but for a [`Tombstone`], which is returned in the order of `groups`. All of it
    /// atomic and durable, with one fsync. The space is free once what stands below has tidied up.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] with [`Refusal::UnknownGroup`] or [`Refusal::TwiceInBatch`], or
    /// [`StoreError::Full`]: nothing was written. After any other
    /// [`StoreError`], whether they are gone is unknown and every later write fails with
    /// [`StoreError::Poisoned`].
    fn destroy(&mut self, groups: &[GroupId]) -> Result<Vec<Tombstone>, StoreError>;

    /// Gives a group a new incarnation and membership, in one atomic and durable write. Its log and its term
    /// stay, and belong to the new incarnation from now on; its vote and what it forgot don't. If it was damaged, its
    /// tombstone will be uncertain ([`Tombstone::is_uncertain`]). Configurations in
    /// the log become no-ops, and the one at its base the group's new one: they have no say any more, here and
    /// wherever the log is sent.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] with [`Refusal::UnknownGroup`], [`Refusal::LogTooLong`], or [`Refusal::NotLater`] if the
    /// incarnation is not later than the group's, or [`StoreError::Corrupt`], [`StoreError::Unread`] or [`StoreError::Full`]:
    /// nothing was written. After any other [`StoreError`], whether it is done is unknown and every later write fails with
    /// [`StoreError::Poisoned`].
    fn rebuild(&mut self, record: &GroupRecord) -> Result<(), StoreError>;

    /// Forgets a group's log, which begins at its first entry again, with what the replica was created with: for one
    /// whose log is of no use, because a snapshot that it goes on from is lost. Its term moves on by one, it has no
    /// vote, and what it held is [`Recovered::forgotten`]. Atomic and durable; returns what is left.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] with [`Refusal::UnknownGroup`], or [`StoreError::Full`]: nothing was written. After any other
    /// [`StoreError`], whether it is done is unknown and every later write fails with [`StoreError::Poisoned`].
    fn forget(&mut self, group: GroupId) -> Result<RecoveredGroup, StoreError>;

    /// Writes all of the batch, atomically, and returns once it is durable: one fsync, whatever the number
    /// of groups. First a new base drops what it says ([`LogBase`](raftyard_groups::LogBase)), then entries
    /// replace all that their group's log holds from the first of them on. Each group appears at most once;
    /// what is only a barrier writes nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] if the batch makes no sense for what the logs hold, or [`StoreError::Full`]: nothing
    /// was written, and the store goes on. After any other [`StoreError`], whether the batch is on disk is unknown and every
    /// later write, barriers included, fails with [`StoreError::Poisoned`]: a failed fsync is never retried.
    fn write(&mut self, batch: &[Persist]) -> Result<(), StoreError>;

    /// Reads entries of a group's log: consecutive from `from` on, up to `through` or the end of the log,
    /// stopping before they exceed `bytes_max` (by [`Entry::size`]), but at least one if there is one.
    /// From 0 on means from 1 on; nothing if the entry at `from` was dropped by a new base. Goes on working when the store is
    /// poisoned.
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

/// What a store held when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreContents {
    /// The groups, ascending by id.
    pub groups: Vec<RecoveredGroup>,
    /// What is left of groups that were destroyed, ascending by id.
    pub tombstones: Vec<Tombstone>,
    /// If the disk lost groups, and nobody knows which: what a group that is created must start from, because it may
    /// be one of them.
    pub lost: Option<LostGroups>,
    /// What is damaged of the files, from the beginning of the log on. Those who lost something by it say so.
    pub findings: Vec<Finding>,
}

/// The disk lost all that it knew of some groups, and nobody knows which those are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostGroups {
    /// Their replicas were in no later term than this: one that is created starts after it, and with the largest
    /// entry there can be of it as [`Recovered::forgotten`].
    Since(Term),
    /// Not even that is known: no group can be created.
    Unknown,
}

/// A damaged place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// Where in it, in bytes; none if all of it, or if it is missing.
    pub at: Option<u64>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "{} at {at}: {}", self.path.display(), self.what),
            None => write!(f, "{}: {}", self.path.display(), self.what),
        }
    }
}

/// What a disk lost of a replica, or may have lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// In words.
    pub what: String,
    /// Not even what it was is known. It must not run; to destroy it makes room for another one. If not, it was
    /// given back with the beginning of its log that is certain, in a term after every one that it can have been in,
    /// without a vote, and with the largest entry there can be of the term before as [`Recovered::forgotten`]: so it
    /// is repaired by its peers.
    pub is_lost: bool,
}

/// What is left of a group's replica that was destroyed: all that it must not forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The group.
    pub group: GroupId,
    /// The life that was destroyed: it never comes back but as this very replica, see [`LogStore::create`].
    pub incarnation: Incarnation,
    /// Its term and vote.
    pub hard_state: HardState,
    /// The last entry that it held, or had forgotten before.
    pub last: LogId,
    /// There may have been a later life, which the disk lost. One that is created after this starts as if it came
    /// back in the same life.
    pub is_uncertain: bool,
}

/// What a group's disk held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredGroup {
    /// As it was created.
    pub record: GroupRecord,
    /// Hard state and shape of its log.
    pub state: Recovered,
    /// What was lost of it; none if all that was written is there.
    pub damage: Option<Damage>,
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
    /// There is no room for what was to be written: nothing of it was, or ever will be. What is asked again later may
    /// find room.
    #[error("{context}: {source}")]
    Full {
        /// What was being done, and to which path.
        context: String,
        /// What the disk said.
        source: std::io::Error,
    },
    /// What the log holds could not be read, and had to be for what was to be written: nothing was. What is asked again
    /// later may be read.
    #[error("{context}: {source}")]
    Unread {
        /// What was being done, and to which path.
        context: String,
        /// What the disk said.
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
    /// The caller asked for what can't be. Nothing was written.
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
    pub(crate) fn io(context: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io {
            context: context.into(),
            source,
        }
    }

    /// Of a read before anything is written.
    fn unread(self) -> Self {
        match self {
            Self::Io { context, source } => Self::Unread { context, source },
            error => error,
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
