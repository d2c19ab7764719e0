//! What a node does before it hosts a replica of a group.

use super::{GroupOptions, Node};
use crate::error::{CreateGroupError, DiskStateError};
use crate::life::after;
use crate::machine::{DiskStateMachine, DiskTyped, Machine};
use crate::snapshot::{Decode, SnapshotError, SnapshotWork};
use crate::storage::StorageWork;
use crate::store::{GroupRecord, RecoveredGroup};
use raftyard_groups::{GroupId, Incarnation, LogId, Membership, Recovered};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
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
        options: GroupOptions,
    ) -> Result<(GroupRecord, Recovered), CreateGroupError> {
        let found = self.recovered.lock().remove(&group);
        if let Some(found) = found {
            let there = found.record.incarnation;
            if let Some(wanted) = options.incarnation.filter(|wanted| *wanted != there) {
                self.recovered.lock().insert(group, found);
                return Err(CreateGroupError::OtherIncarnation {
                    group,
                    found: there,
                    wanted,
                });
            }
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
        let next = self.next_incarnation(group);
        let incarnation = options.incarnation.unwrap_or(next);
        let destroyed = self
            .tombstones
            .lock()
            .get(&group)
            .map(|tombstone| tombstone.incarnation);
        // The last there can be has no next.
        if incarnation < next || destroyed == Some(incarnation) {
            return Err(CreateGroupError::OldIncarnation {
                group,
                wanted: incarnation,
                next,
            });
        }
        let record = GroupRecord {
            group,
            incarnation,
            membership,
            is_witness: false,
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
        self.tombstones.lock().remove(&group);
        Ok((record, Recovered::default()))
    }

    /// The earliest incarnation that a group could be created in.
    pub(super) fn next_incarnation(&self, group: GroupId) -> Incarnation {
        let runs = self.registry.get(&group).map(|slot| slot.incarnation);
        let on_disk = || self.recovered.lock().get(&group).map(|found| found.record.incarnation);
        let destroyed = || {
            self.tombstones
                .lock()
                .get(&group)
                .map(|tombstone| tombstone.incarnation)
        };
        let last = runs.or_else(on_disk).or_else(destroyed);
        last.map_or(Incarnation(1), after)
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
        let last = match opened {
            None => None,
            Some((last, state)) => {
                take_over(record, machine, last, state)?;
                recovered.applied = last.index;
                Some(last)
            }
        };
        self.recovered.lock().remove(&record.group);
        Ok(last)
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
                take_over(record, &mut machine, last, state)?;
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

/// Lets a state machine take over the state of the snapshot that ends with `last`.
fn take_over(
    record: &GroupRecord,
    machine: &mut dyn Machine,
    last: LogId,
    state: Box<dyn Any + Send>,
) -> Result<(), CreateGroupError> {
    match catch_unwind(AssertUnwindSafe(|| machine.restore(state, last))) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(source)) => Err(CreateGroupError::DiskState(DiskStateError::Io {
            group: record.group,
            source,
        })),
        Err(_) => Err(SnapshotError::Rejected(last).into()),
    }
}

/// That nobody else creates, destroys or rebuilds the same group at the same time.
pub(super) struct Reservation {
    pub(super) node: Arc<Node>,
    pub(super) group: GroupId,
}

impl Reservation {
    /// None if somebody else has it.
    pub(super) fn of(node: &Arc<Node>, group: GroupId) -> Option<Self> {
        let reserved = node.reserved.lock().insert(group);
        reserved.then(|| Self {
            node: node.clone(),
            group,
        })
    }

    /// For a group that does not run here.
    pub(super) fn of_new(node: &Arc<Node>, group: GroupId) -> Result<Self, CreateGroupError> {
        // In this order: who finds the reservation gone finds the group in the registry.
        let reservation = Self::of(node, group).ok_or(CreateGroupError::Exists(group))?;
        if node.registry.contains_key(&group) {
            return Err(CreateGroupError::Exists(group));
        }
        Ok(reservation)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.node.reserved.lock().remove(&self.group);
    }
}
