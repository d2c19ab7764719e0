//! Groups that begin with an exported state.

use super::create::Reservation;
use super::options::OfThisRun;
use super::{Node, RaftHost};
use crate::error::CreateGroupError;
use crate::group::Group;
use crate::life::{Life, branch};
use crate::machine::{Machine, StateMachine, Typed};
use crate::snapshot::{Decode, IMPORTED, Import, SnapshotWork};
use crate::storage::StorageWork;
use crate::store::{GroupRecord, RecoveredGroup, Refusal, StoreError, imported_state};
use raftyard_groups::{GroupId, LogId, Membership, NodeId, Recovered};
use std::path::PathBuf;
use tokio::sync::oneshot;

impl RaftHost {
    /// Makes a new group that begins with a state that [`Group::export`] wrote, and starts this node's replica of it.
    /// Every member has to do the same, with the same members **and the same file**. The group may be the one that was
    /// exported, or another; what there was of it on this node has to be destroyed before. After a restart
    /// [`create_group`](Self::create_group) opens it, as any other.
    ///
    /// The file's checksum is a part of the new incarnation: members that imported different files, or that created the
    /// group without one, never hear each other.
    ///
    /// If the disk lost something, this may be the second import of the same file, and others may be in the group already:
    /// then the replica waits for them as a damaged one does, and is refused if this node is to be the only voter.
    ///
    /// # Errors
    ///
    /// [`CreateGroupError`]; of the file it says [`SnapshotError`](crate::SnapshotError). If nothing is said of the
    /// store or the node, nothing was noted, unless the snapshot could not be read back or restored from: then
    /// [`create_group`](Self::create_group) opens the group once it can.
    pub async fn import_group<S: StateMachine>(
        &self,
        group: GroupId,
        members: impl IntoIterator<Item = NodeId>,
        path: impl Into<PathBuf>,
        machine: impl FnOnce() -> S,
    ) -> Result<Group<S>, CreateGroupError> {
        let node = &self.0;
        let membership = Membership::of_voters(members)?;
        node.check_members(group, &membership)?;
        let reserved = Reservation::of_new(node, group)?;
        node.settle(group).await.map_err(|_| CreateGroupError::Closed)??;
        if node.recovered.lock().contains_key(&group) {
            return Err(CreateGroupError::Exists(group));
        }
        let (machine, path) = (machine(), path.into());
        let decode = Typed::new(machine);
        let decoder = decode.decoder();
        let imported = node.place.complete(move || async move {
            let imported = reserved.node.import(group, membership, path, decoder).await;
            (imported, reserved)
        });
        let (imported, _reserved) = imported.await.ok_or(CreateGroupError::Closed)?;
        self.start(imported?, Box::new(decode), OfThisRun::default()).await
    }
}

impl Node {
    /// In this order: the snapshot is durable, the group is noted. A crash in between leaves a snapshot of an
    /// incarnation that never began.
    async fn import(
        &self,
        group: GroupId,
        membership: Membership,
        path: PathBuf,
        decode: Decode,
    ) -> Result<RecoveredGroup, CreateGroupError> {
        let next = self.next_incarnation(group);
        // Whatever the file is: asked before anything is written.
        let any = GroupRecord {
            group,
            incarnation: branch(next, 0),
            membership: membership.clone(),
            is_witness: false,
        };
        let tombstone = self.tombstones.lock().get(&group).copied();
        let (hard_state, forgotten) = imported_state(&any, IMPORTED, tombstone.as_ref(), self.lost)?;
        let (reply, imported) = oneshot::channel();
        self.snapshots.push(SnapshotWork::Import(Box::new(Import {
            path,
            group,
            membership,
            next,
            decode,
            reply,
        })));
        let record: GroupRecord = imported.await.map_err(|_| CreateGroupError::Closed)??;
        let (reply, noted) = oneshot::channel();
        self.storage.push(StorageWork::Import(record.clone(), IMPORTED, reply));
        let noted = noted.await.map_err(|_| CreateGroupError::Closed)?;
        noted.inspect_err(|error| self.discard_unless_noted(&record, error))?;
        let state = Recovered {
            hard_state,
            forgotten,
            base: IMPORTED,
            last: IMPORTED.index,
            created: forgotten == LogId::ZERO,
            ..Recovered::default()
        };
        let damage = None;
        let noted = RecoveredGroup { record, state, damage };
        // For the next who creates the group, should this one give up.
        self.recovered.lock().insert(group, Box::new(noted.clone()));
        self.tombstones.lock().remove(&group);
        Ok(noted)
    }

    /// Has the snapshot of an import removed if the store certainly did not note the group: else nobody ever would, and
    /// it may be what the disk has no room for.
    fn discard_unless_noted(&self, record: &GroupRecord, error: &StoreError) {
        let is_noted = match error {
            StoreError::Full { .. } => false,
            // It may be the snapshot of the one that is there.
            StoreError::Refused { reason, .. } => *reason == Refusal::Exists,
            _ => true,
        };
        if !is_noted {
            self.snapshots.push(SnapshotWork::Discard(Life::from(record)));
        }
    }
}
