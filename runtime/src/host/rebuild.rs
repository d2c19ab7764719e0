//! What is left to do when a group lost its quorum for good.

use super::create::Reservation;
use super::destroy::Ended;
use super::{Node, RaftHost};
use crate::error::RebuildGroupError;
use crate::life::rebuilt;
use crate::snapshot::SnapshotWork;
use crate::storage::StorageWork;
use crate::store::{GroupRecord, RecoveredGroup, Refusal, StoreError};
use raftyard_groups::{GroupId, HardState, Incarnation, LogId, Membership, NodeId, Recovered};
use std::fmt;
use tokio::sync::oneshot;

/// What a rebuilt group goes on from, and what may be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebuildReport {
    /// The group.
    pub group: GroupId,
    /// Its new incarnation, in which this node is the only voter.
    pub incarnation: Incarnation,
    /// The last entry that this replica held. All up to it counts as committed from now on, also what never was: a part
    /// of it may have been acknowledged to nobody. **Entries after it that the other members committed are lost**, and
    /// were acknowledged to whoever proposed them.
    pub last: LogId,
    /// What this replica knew to be committed when it was rebuilt; 0 if it did not run. If a quorum of the group was
    /// healthy until it was lost, what was acknowledged reaches at most a little beyond `last`; if this replica was
    /// cut off before, there is no limit to it.
    pub known_committed: u64,
    /// The voters that this replica was created with.
    pub voters_before: Vec<NodeId>,
}

impl fmt::Display for RebuildReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} goes on as {} from entry {}, known to be committed was {}; entries after {} that other members \
             committed are lost",
            self.group, self.incarnation, self.last, self.known_committed, self.last.index
        )
    }
}

impl RaftHost {
    /// **Last resort, for a group that lost its quorum for good**: makes this node's replica a group of its own, with
    /// this node as the only voter, in a new incarnation that nothing of the old group reaches. To be called on
    /// **one** surviving replica, the one with the newest last entry (by term, then index:
    /// [`GroupStatus`](crate::GroupStatus)).
    ///
    /// The whole log is kept and counts as committed, also its end, which may never have been: it may as well have
    /// been acknowledged. The report says what may be lost. The replica does not run afterwards: open it with
    /// [`create_group`](Self::create_group), naming this node as the only member. Destroy the group on all other
    /// members.
    ///
    /// A state machine that keeps its state on disk is taken up where it is, with
    /// [`create_disk_group`](Self::create_disk_group). Unless its log was never compacted its replica has to run when
    /// this is called, so that it is known that no snapshot is missing.
    ///
    /// If it is called although the others still are a quorum, the group exists twice from then on, with two histories.
    /// They are of different incarnations and never mix, and so are groups that were rebuilt on two nodes.
    ///
    /// Once begun it goes on to its end, also if the future is dropped. A crash leaves the replica as it was or
    /// rebuilt.
    ///
    /// # Errors
    ///
    /// [`RebuildGroupError`]
    pub async fn rebuild_group(&self, group: GroupId) -> Result<RebuildReport, RebuildGroupError> {
        if self.0.is_closed() {
            return Err(RebuildGroupError::Closed);
        }
        let reserved = Reservation::of(&self.0, group).ok_or(RebuildGroupError::Busy(group))?;
        let place = self.0.place.clone();
        let rebuilt = place.complete(move || async move { reserved.node.rebuild(group).await });
        rebuilt.await.ok_or(RebuildGroupError::Closed)?
    }
}

impl Node {
    /// In this order: the replica is ended; its newest snapshot exists as one of the new incarnation; the log becomes
    /// the new incarnation's, which is the moment that counts; the old snapshots are removed.
    async fn rebuild(&self, group: GroupId) -> Result<RebuildReport, RebuildGroupError> {
        if self.inspect(group).await?.record.is_witness {
            return Err(RebuildGroupError::Witness(group));
        }
        let ran = self.end_replica(group).await?;
        // Once more: nothing is written any more.
        let found = self.inspect(group).await?;
        // Should anything fail from here on, it can be created again as it was.
        self.recovered.lock().insert(group, Box::new(found.clone()));
        let RecoveredGroup { record: old, state, .. } = found;
        let record = GroupRecord {
            group,
            incarnation: rebuilt(old.incarnation, self.id),
            membership: Membership::of_voters([self.id])?,
            is_witness: false,
        };
        let (reply, relabelled) = oneshot::channel();
        self.snapshots.push(SnapshotWork::Relabel {
            from: old.clone(),
            recovered: state.clone(),
            to: record.clone(),
            is_on_disk: ran.as_ref().is_some_and(|slot| slot.is_on_disk),
            reply,
        });
        relabelled.await.map_err(|_| Ended)??;
        let (reply, rebuilt) = oneshot::channel();
        self.storage.push(StorageWork::Rebuild(record.clone(), reply));
        rebuilt.await.map_err(|_| Ended)??;
        let report = RebuildReport {
            group,
            incarnation: record.incarnation,
            last: state.last_id(),
            known_committed: ran.map_or(0, |slot| slot.status.get().commit),
            voters_before: state
                .memberships
                .last()
                .map_or(&old.membership, |(_, newest)| newest)
                .voters()
                .collect(),
        };
        let state = Recovered {
            hard_state: HardState {
                vote: None,
                ..state.hard_state
            },
            forgotten: LogId::ZERO,
            // As the store did: nothing but the new one counts.
            memberships: Vec::new(),
            created: true,
            ..state
        };
        let incarnation = record.incarnation;
        let damage = None;
        self.recovered
            .lock()
            .insert(group, Box::new(RecoveredGroup { record, state, damage }));
        tracing::warn!(group = group.0, %report, "group rebuilt from one replica");
        self.remove_snapshots(group, Some(incarnation)).await?;
        Ok(report)
    }
}

impl Node {
    /// What the disk holds of a group.
    async fn inspect(&self, group: GroupId) -> Result<RecoveredGroup, RebuildGroupError> {
        let (reply, found) = oneshot::channel();
        self.storage.push(StorageWork::Inspect(group, reply));
        match found.await.map_err(|_| Ended)? {
            Err(StoreError::Refused {
                reason: Refusal::UnknownGroup,
                ..
            }) => Err(RebuildGroupError::Unknown(group)),
            found => Ok(found?),
        }
    }
}

impl From<Ended> for RebuildGroupError {
    fn from(_: Ended) -> Self {
        Self::Closed
    }
}
