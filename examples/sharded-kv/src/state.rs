//! Where a node keeps its keys, and its replicas, which are used alike wherever that is.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::Either;
use raftyard::{
    ChangeError, Consistency, CreateGroupError, Group, GroupId, GroupOptions, GroupStatus, Incarnation, LeaderError,
    MemberProgress, Membership, MembershipChange, NodeId, OnDisk, ProgressError, ProposeError, RaftHost, ReadError,
    ReplicaState, TransferError, store::StoreCheck,
};

use crate::bell::Bell;
use crate::config::StateKind;
use crate::machine::{Answer, Command, DiskKv, KeysCheck, KvMachine, Read, Response, Store, check_keys};
use crate::number_file;

/// The directory of the keys, in the data directory.
const NAME: &str = "state";

/// Why the keys can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{}: the data was written with state = \"{written}\", \"{wanted}\" is configured; it can't be changed",
        path.display()
    )]
    Differs {
        path: PathBuf,
        written: StateKind,
        wanted: StateKind,
    },
}

/// Refuses a data directory that was written with the keys elsewhere. One that is new or empty fits.
pub(crate) fn check(data_dir: &Path, wanted: StateKind) -> Result<(), StateError> {
    let path = data_dir.join(NAME);
    let written = if path.exists() {
        StateKind::Disk
    } else if number_file::GROUPS.exists(data_dir) {
        StateKind::Memory
    } else {
        wanted
    };
    if written == wanted {
        return Ok(());
    }
    Err(StateError::Differs { path, written, wanted })
}

/// How whole the keys are that a node which is down has on disk, beside these logs; none if it keeps them in memory.
///
/// # Errors
///
/// The disk's: that can't be told.
pub(crate) fn check_disk(data_dir: &Path, logs: &StoreCheck) -> io::Result<Option<KeysCheck>> {
    let path = data_dir.join(NAME);
    let logs = logs.contents.groups.iter();
    let logs: Vec<_> = logs.map(|found| (found.record.group, found.state.base)).collect();
    path.exists().then(|| check_keys(&path, &logs)).transpose()
}

/// Where the keys are.
pub(crate) enum State {
    Memory,
    Disk(Arc<Store>),
}

impl State {
    /// Opens what there is, for a node that hosts the groups that `host` has on disk.
    pub(crate) fn open(kind: StateKind, data_dir: &Path, host: &RaftHost) -> Result<Self, StateError> {
        match kind {
            StateKind::Memory => Ok(Self::Memory),
            StateKind::Disk => {
                let path = data_dir.join(NAME);
                let hosted = host.stored_groups();
                let store = Store::open(&path, |group| hosted.contains(&group));
                store.map(Self::Disk).map_err(|source| StateError::Io { path, source })
            }
        }
    }

    /// As [`RaftHost::join_group`].
    pub(crate) async fn join_group(
        &self,
        host: &RaftHost,
        group: GroupId,
        options: GroupOptions,
        bell: Bell,
    ) -> Result<Replica, CreateGroupError> {
        match self {
            Self::Memory => {
                let joined = host.join_group(group, options, || KvMachine::new(bell)).await;
                joined.map(Replica::Memory)
            }
            Self::Disk(store) => {
                let open = || DiskKv::open(Arc::clone(store), group, bell);
                host.join_disk_group(group, options, open).await.map(Replica::Disk)
            }
        }
    }

    /// Removes what a replica that was destroyed has left.
    ///
    /// # Errors
    ///
    /// The disk's. What is still there is removed at the next start.
    pub(crate) async fn remove_group(&self, group: GroupId) -> io::Result<()> {
        let Self::Disk(store) = self else {
            return Ok(());
        };
        let store = Arc::clone(store);
        let removed = tokio::task::spawn_blocking(move || store.remove(group)).await;
        removed.map_err(io::Error::other)?
    }

    /// Whether keys can be written still.
    ///
    /// # Errors
    ///
    /// Not until they are opened anew. Groups that wait for a write may never say so.
    pub(crate) async fn check_takes_writes(&self) -> io::Result<()> {
        let Self::Disk(store) = self else {
            return Ok(());
        };
        let store = Arc::clone(store);
        let looked = tokio::task::spawn_blocking(move || store.check_takes_writes()).await;
        looked.map_err(io::Error::other)?
    }

    /// As [`RaftHost::create_group`].
    pub(crate) async fn create_group(
        &self,
        host: &RaftHost,
        group: GroupId,
        members: Vec<NodeId>,
        bell: Bell,
    ) -> Result<Replica, CreateGroupError> {
        match self {
            Self::Memory => {
                let created = host.create_group(group, members, || KvMachine::new(bell)).await;
                created.map(Replica::Memory)
            }
            Self::Disk(store) => {
                let open = || DiskKv::open(Arc::clone(store), group, bell);
                host.create_disk_group(group, members, open).await.map(Replica::Disk)
            }
        }
    }
}

/// A node's replica of a group.
#[derive(Debug, Clone)]
pub(crate) enum Replica {
    Memory(Group<KvMachine>),
    Disk(Group<OnDisk<DiskKv>>),
}

/// The same of either kind.
macro_rules! of_either {
    ($replica:expr, $group:ident => $what:expr) => {
        match $replica {
            Replica::Memory($group) => $what,
            Replica::Disk($group) => $what,
        }
    };
}

impl Replica {
    pub(crate) fn id(&self) -> GroupId {
        of_either!(self, group => group.id())
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        of_either!(self, group => group.incarnation())
    }

    pub(crate) fn status(&self) -> GroupStatus {
        of_either!(self, group => group.status())
    }

    pub(crate) fn membership(&self) -> Arc<Membership> {
        of_either!(self, group => group.membership())
    }

    /// As [`Group::progress`].
    pub(crate) async fn progress(&self) -> Result<Vec<MemberProgress>, ProgressError> {
        of_either!(self, group => group.progress().await)
    }

    /// As [`Group::change_membership`].
    pub(crate) async fn change_membership(&self, change: MembershipChange) -> Result<Arc<Membership>, ChangeError> {
        of_either!(self, group => group.change_membership(change).await)
    }

    /// As [`Group::abandon_change`].
    pub(crate) async fn abandon_change(&self) -> Result<Arc<Membership>, ChangeError> {
        of_either!(self, group => group.abandon_change().await)
    }

    /// As [`Group::transfer_leadership`].
    pub(crate) async fn transfer_leadership(&self, to: NodeId) -> Result<(), TransferError> {
        of_either!(self, group => group.transfer_leadership(to).await)
    }

    /// As [`Group::leader`].
    pub(crate) fn leader(&self) -> Option<NodeId> {
        of_either!(self, group => group.leader())
    }

    /// Whether this is more than what is left of a replica, or not one yet: it runs, and belongs to its group or hears its
    /// leader. Who leads may be known to any other node rather than to one that stopped, waits to be added or was removed.
    pub(crate) fn is_of_use(&self) -> bool {
        let status = self.status();
        status.state == ReplicaState::Running && (status.member.is_some() || status.leader.is_some())
    }

    /// As [`Group::wait_for_leader`].
    pub(crate) async fn wait_for_leader(&self) -> Result<NodeId, LeaderError> {
        of_either!(self, group => group.wait_for_leader().await)
    }

    /// As [`Group::propose`].
    pub(crate) fn propose(
        &self,
        command: Command,
    ) -> impl Future<Output = Result<Response, ProposeError>> + Send + use<> {
        match self {
            Self::Memory(group) => Either::Left(group.propose(command)),
            Self::Disk(group) => Either::Right(group.propose(command)),
        }
    }

    /// As [`Group::propose_many_then`].
    pub(crate) fn propose_many_then(
        &self,
        commands: Vec<Command>,
        done: impl FnOnce(Vec<Result<Response, ProposeError>>) + Send + 'static,
    ) {
        of_either!(self, group => group.propose_many_then(commands, done));
    }

    /// As [`Group::propose_plain`].
    pub(crate) fn propose_plain(
        &self,
        command: Command,
    ) -> impl Future<Output = Result<Response, ProposeError>> + Send + use<> {
        match self {
            Self::Memory(group) => Either::Left(group.propose_plain(command)),
            Self::Disk(group) => Either::Right(group.propose_plain(command)),
        }
    }

    /// As [`Group::read`].
    pub(crate) fn read(
        &self,
        read: Read,
        consistency: Consistency,
    ) -> impl Future<Output = Result<Answer, ReadError>> + Send + use<> {
        match self {
            Self::Memory(group) => Either::Left(group.read(read, consistency)),
            Self::Disk(group) => Either::Right(group.read(read, consistency)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn keys_stay_where_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let (memory, disk) = (StateKind::Memory, StateKind::Disk);
        check(dir.path(), memory).unwrap();
        check(dir.path(), disk).unwrap();
        number_file::GROUPS.write(dir.path(), 2).unwrap();
        check(dir.path(), memory).unwrap();
        let error = check(dir.path(), disk).unwrap_err().to_string();
        let refusal = "the data was written with state = \"memory\", \"disk\" is configured; it can't be changed";
        assert!(error.ends_with(refusal), "{error}");
        std::fs::create_dir(dir.path().join(NAME)).unwrap();
        check(dir.path(), disk).unwrap();
        check(dir.path(), memory).unwrap_err();
    }
}
