//! What a node does before it hosts a replica of a group.

use super::Node;
use crate::error::{CreateGroupError, DiskStateError};
use crate::machine::{DiskStateMachine, DiskTyped, Machine};
use crate::snapshot::{Decode, SnapshotWork};
use crate::storage::StorageWork;
use crate::store::{GroupRecord, RecoveredGroup};
use raftyard_groups::{GroupId, Incarnation, LogId, Membership, Recovered};
use std::any::Any;
use tokio::sync::oneshot;

impl Node {
    /// Whether this node can host a replica of a group of these members.
    pub(super) fn check_members(&self, group: GroupId, membership: &Membership) -> Result<(), CreateGroupError> {
        if self.is_closed() {
            return Err(CreateGroupError::Closed);
        }
        if !membership.contains(self.id) {
            return Err(CreateGroupError::NotMember { node: self.id, group });
        }
        match membership
            .peers_of(self.id)
            .into_iter()
            .find(|peer| !self.members.contains(peer))
        {
            Some(member) => Err(CreateGroupError::UnknownPeer { member, group }),
            None => Ok(()),
        }
    }

    /// What the disk holds of the group, or a durable note of a new one.
    pub(super) async fn recover_or_note(
        &self,
        group: GroupId,
        membership: Membership,
    ) -> Result<(GroupRecord, Recovered), CreateGroupError> {
        let found = self.recovered.lock().remove(&group);
        if let Some(found) = found {
            if found.record.membership != membership {
                let error = CreateGroupError::OtherMembers {
                    group,
                    found: found.record.membership.to_string(),
                    wanted: membership.to_string(),
                };
                self.recovered.lock().insert(group, found);
                return Err(error);
            }
            return Ok((found.record, found.state));
        }
        let record = GroupRecord {
            group,
            incarnation: Incarnation(1),
            membership,
        };
        let (reply, noted) = oneshot::channel();
        if !self.storage.push(StorageWork::Create(record.clone(), reply)) {
            return Err(CreateGroupError::Closed);
        }
        // Who drops this future leaves a note behind: the next who creates the group has to find it.
        let state = Recovered::default();
        let left_behind = RecoveredGroup {
            record: record.clone(),
            state,
        };
        self.recovered.lock().insert(group, left_behind);
        let noted = noted.await;
        self.recovered.lock().remove(&group);
        noted.map_err(|_| CreateGroupError::Closed)??;
        Ok((record, Recovered::default()))
    }

    /// Restores a state machine from the newest snapshot that its log goes on from; returns its last entry.
    pub(super) async fn restore(
        &self,
        record: &GroupRecord,
        recovered: &mut Recovered,
        machine: &mut dyn Machine,
    ) -> Result<Option<LogId>, CreateGroupError> {
        self.leave_behind(record, recovered);
        let decode = machine.decoder();
        let opened = self.open_snapshot(record, recovered, None, decode).await?;
        self.recovered.lock().remove(&record.group);
        let Some((last, state)) = opened else {
            return Ok(None);
        };
        machine.restore(state, last).map_err(|source| DiskStateError::Io {
            group: record.group,
            source,
        })?;
        recovered.applied = last.index;
        Ok(Some(last))
    }

    /// Takes up a state machine where its disk says that it is, or, if its log begins later, at the snapshot
    /// that the log goes on from. Returns it with the last entry it has applied, and whether it was restored.
    pub(super) async fn resume<S: DiskStateMachine>(
        &self,
        record: &GroupRecord,
        recovered: &mut Recovered,
        machine: S,
    ) -> Result<(DiskTyped<S>, LogId, bool), CreateGroupError> {
        self.leave_behind(record, recovered);
        let group = record.group;
        let (mut machine, applied) = DiskTyped::open(machine, record)?;
        if applied.index >= recovered.base.index && !recovered.holds(applied) {
            return Err(CreateGroupError::DiskState(DiskStateError::NotInLog {
                group,
                applied,
                base: recovered.base,
                last: recovered.last.0,
            }));
        }
        let decode = machine.decoder();
        let opened = self.open_snapshot(record, recovered, Some(applied), decode).await?;
        let (last, is_restored) = match opened {
            None => (applied, false),
            Some((last, state)) => {
                let restored = machine.restore(state, last);
                restored.map_err(|source| DiskStateError::Io { group, source })?;
                (last, true)
            }
        };
        self.recovered.lock().remove(&group);
        recovered.applied = last.index;
        Ok((machine, last, is_restored))
    }

    /// For the next who creates the group, should this attempt fail or be dropped.
    fn leave_behind(&self, record: &GroupRecord, recovered: &Recovered) {
        let left_behind = RecoveredGroup {
            record: record.clone(),
            state: recovered.clone(),
        };
        self.recovered.lock().insert(record.group, left_behind);
    }

    async fn open_snapshot(
        &self,
        record: &GroupRecord,
        recovered: &Recovered,
        applied: Option<LogId>,
        decode: Decode,
    ) -> Result<Option<(LogId, Box<dyn Any + Send>)>, CreateGroupError> {
        let (reply, opened) = oneshot::channel();
        self.snapshots.push(SnapshotWork::Open {
            record: record.clone(),
            recovered: recovered.clone(),
            applied,
            decode,
            reply,
        });
        Ok(opened.await.map_err(|_| CreateGroupError::Closed)??)
    }
}

/// That nobody else creates the same group at the same time.
pub(super) struct Reservation<'a> {
    node: &'a Node,
    group: GroupId,
}

impl<'a> Reservation<'a> {
    pub(super) fn of(node: &'a Node, group: GroupId) -> Result<Self, CreateGroupError> {
        // In this order: who finds the reservation gone finds the group in the registry.
        let reserved = node.creating.lock().insert(group);
        if !reserved {
            return Err(CreateGroupError::Exists(group));
        }
        let reservation = Self { node, group };
        if node.registry.contains_key(&group) {
            return Err(CreateGroupError::Exists(group));
        }
        Ok(reservation)
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.node.creating.lock().remove(&self.group);
    }
}
