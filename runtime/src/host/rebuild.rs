//! What is left to do when a group lost its quorum for good.

use super::create::Reservation;
use super::destroy::Ended;
use super::{Node, RaftHost};
use crate::error::RebuildGroupError;
use crate::life::{Life, rebuilt, rebuilt_in_doubt};
use crate::snapshot::SnapshotWork;
use crate::storage::{StorageWork, is_refusal};
use crate::store::{GroupRecord, RecoveredGroup, Refusal, StoreError, is_in_doubt};
use raftyard_groups::{GroupId, HardState, Incarnation, LogId, LogIndex, Membership, NodeId, Recovered};
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
    /// The voters of the newest configuration in this replica's log: of the incoming one while a change of voters was under way.
    /// If there is none, those that it was created with.
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
    /// this is called, so that it is known that no snapshot is missing. So does one that is damaged
    /// ([`GroupStatus::damaged`](crate::GroupStatus::damaged)); one whose state holds more than what is left of its log is
    /// refused, and so is one that is lost.
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
        let found = self.inspect(group).await?;
        if found.record.is_witness {
            return Err(RebuildGroupError::Witness(group));
        }
        self.check_state(&found).await?;
        let ran = self.end_replica(group).await?;
        // Once more: nothing is written any more. If others' writes wait for room by now, it can be asked for later.
        let found = self.inspect(group).await?;
        // Should anything fail from here on, it can be created again as it was.
        self.found(found.clone());
        let RecoveredGroup { record: old, state, .. } = found;
        let incarnation = match is_in_doubt(state.last_id(), state.forgotten) {
            true => rebuilt_in_doubt(old.incarnation, self.id, state.hard_state.term),
            false => rebuilt(old.incarnation, self.id),
        };
        let record = GroupRecord {
            group,
            incarnation,
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
        let rebuilt = rebuilt.await.map_err(|_| Ended)?;
        rebuilt.inspect_err(|error| {
            // Certainly not noted: then the snapshot of a life that never began is nobody's.
            if is_refusal(error) {
                self.snapshots.push(SnapshotWork::Discard(Life::from(&record)));
            }
        })?;
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
        let damage = None;
        self.found(RecoveredGroup { record, state, damage });
        tracing::warn!(group = group.0, %report, "group rebuilt from one replica");
        self.remove_snapshots(group, Some(incarnation)).await?;
        Ok(report)
    }
}

impl Node {
    /// The state that a rebuilt group goes on with is at the end of its log. Refuses what is further: only damage brings
    /// that about.
    async fn check_state(&self, found: &RecoveredGroup) -> Result<(), RebuildGroupError> {
        let RecoveredGroup { record, state, damage } = found;
        let (group, last) = (record.group, state.last_id());
        if damage.as_ref().is_some_and(|damage| damage.is_lost) {
            return Err(RebuildGroupError::Lost(group));
        }
        if !state.must_catch_up() {
            return Ok(());
        }
        // Cloned out: a guard of the map must not live on.
        let slot = self.registry.get(&group).map(|slot| slot.value().clone());
        let slot = slot.ok_or(RebuildGroupError::NotRunning(group))?;
        let state = if slot.is_on_disk {
            slot.status.ahead()
        } else {
            let (reply, beyond) = oneshot::channel();
            let record = record.clone();
            self.snapshots.push(SnapshotWork::Beyond { record, last, reply });
            beyond.await.map_err(|_| Ended)?.map_or(LogIndex::ZERO, |id| id.index)
        };
        match state > last.index {
            true => Err(RebuildGroupError::StateAhead {
                group,
                state: state.0,
                last,
            }),
            false => Ok(()),
        }
    }

    /// What the disk holds of a group that has to be there.
    async fn inspect(&self, group: GroupId) -> Result<RecoveredGroup, RebuildGroupError> {
        match self.look_up(group).await? {
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
