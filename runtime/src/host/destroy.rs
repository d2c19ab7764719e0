//! Destroying a group on a node.

use super::create::Reservation;
use super::{HAND_OVER, Node, RaftHost, taken_over};
use crate::error::DestroyGroupError;
use crate::registry::GroupSlot;
use crate::snapshot::SnapshotWork;
use crate::storage::StorageWork;
use crate::store::{RecoveredGroup, Refusal, StoreError, Tombstone};
use crate::worker::Work;
use raftyard_groups::{GroupId, Incarnation};
use std::sync::Arc;
use tokio::sync::oneshot;

impl RaftHost {
    /// Removes this node's replica of a group, whether it runs or is only on disk: its log, its snapshots, and what
    /// it holds in memory. Handles are closed; proposals that were not decided are answered
    /// [`ProposeError::OutcomeUnknown`](crate::ProposeError::OutcomeUnknown), those that the replica did not see yet
    /// [`ProposeError::Closed`](crate::ProposeError::Closed). What is left is a durable tombstone of
    /// some dozen bytes, so that this life of the group never comes back. To destroy what is destroyed does nothing.
    ///
    /// The other members' replicas are not told. As long as they are a quorum they go on without this one, and it can't
    /// come back to them but by a change of membership: to let a group go, destroy it on every member. A leader hands
    /// over first, if another member was heard of lately and takes over within a second.
    ///
    /// Once begun it goes on to its end, also if the future is dropped.
    ///
    /// # Errors
    ///
    /// [`DestroyGroupError`].
    pub async fn destroy_group(&self, group: GroupId) -> Result<(), DestroyGroupError> {
        if self.0.is_closed() {
            return Err(DestroyGroupError::Closed);
        }
        let reserved = Reservation::of(&self.0, group).ok_or(DestroyGroupError::Busy(group))?;
        let place = self.0.place.clone();
        let destroyed = place.complete(move || async move { reserved.node.destroy(group).await });
        destroyed.await.ok_or(DestroyGroupError::Closed)?
    }
}

impl Node {
    /// In this order: another replica leads, if one can soon; nothing more comes from the replica, the tombstone is
    /// durable, its snapshots are removed. A crash leaves the group as it was, or the tombstone; snapshots that are
    /// left beside that are removed at the next start.
    ///
    /// If there is no room for the tombstone the replica can be opened again. If others' writes wait for room it is not
    /// ended at all, since some of them may be its own; if one begins to wait only then, it can be opened again once that
    /// found room.
    async fn destroy(&self, group: GroupId) -> Result<(), DestroyGroupError> {
        if let Err(error @ StoreError::Full { .. }) = self.look_up(group).await? {
            return Err(error.into());
        }
        // Cloned out: a guard of the map must not live on.
        let slot = self.registry.get(&group).map(|slot| slot.value().clone());
        let led = Self::hand_over(slot.into_iter().collect());
        if tokio::time::timeout(HAND_OVER, taken_over(led)).await.is_err() {
            tracing::debug!(group = group.0, "leadership was not handed over");
        }
        self.end_replica(group).await?;
        let (reply, destroyed) = oneshot::channel();
        self.storage.push(StorageWork::Destroy(group, reply));
        let tombstone: Tombstone = match destroyed.await.map_err(|_| DestroyGroupError::Closed)? {
            Ok(tombstone) => tombstone,
            Err(StoreError::Refused {
                reason: Refusal::UnknownGroup,
                ..
            }) => {
                self.forget_found(group);
                let is_destroyed = self.tombstones.lock().contains_key(&group);
                return is_destroyed.then_some(()).ok_or(DestroyGroupError::Unknown(group));
            }
            Err(error) => {
                // If that is not known yet, whoever opens it next asks again.
                self.settle(group).await?.ok();
                return Err(error.into());
            }
        };
        self.tombstones.lock().insert(group, tombstone);
        self.forget_found(group);
        let removed = self.remove_snapshots(group, None).await;
        tracing::info!(
            group = group.0,
            incarnation = tombstone.incarnation.0,
            "group destroyed"
        );
        Ok(removed?)
    }

    /// What the disk holds of a group.
    pub(super) async fn look_up(&self, group: GroupId) -> Result<Result<RecoveredGroup, StoreError>, Ended> {
        let (reply, found) = oneshot::channel();
        self.storage.push(StorageWork::Inspect(group, reply));
        found.await.map_err(|_| Ended)
    }

    /// Ends the group's replica, if it runs. Once that is done it writes nothing more: what it wanted written before
    /// comes before all that the storage is given from now on. What that leaves on disk is to be asked for.
    pub(super) async fn end_replica(&self, group: GroupId) -> Result<Option<Arc<GroupSlot>>, Ended> {
        let Some((_, slot)) = self.registry.remove(&group) else {
            return Ok(None);
        };
        self.unsettle(group, Some(slot.incarnation));
        slot.status.destroy();
        let (reply, ended) = oneshot::channel();
        slot.inbox.push(Work::End(slot.life(), reply));
        ended.await.map_err(|_| Ended)?;
        // Once more: it may have said who leads until then.
        slot.status.destroy();
        Ok(Some(slot))
    }

    /// Removes all snapshots of a group, but for those of one incarnation.
    pub(super) async fn remove_snapshots(&self, group: GroupId, keep: Option<Incarnation>) -> Result<(), Ended> {
        let (reply, removed) = oneshot::channel();
        self.snapshots.push(SnapshotWork::Remove { group, keep, reply });
        removed.await.map_err(|_| Ended)
    }
}

/// The actor that was asked is gone: the node shuts down.
pub(super) struct Ended;

impl From<Ended> for DestroyGroupError {
    fn from(_: Ended) -> Self {
        Self::Closed
    }
}
