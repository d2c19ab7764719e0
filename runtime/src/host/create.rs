//! What a node does before it hosts a replica of a group.

use super::{GroupOptions, Node};
use crate::error::{CreateGroupError, DiskStateError};
use crate::life::after;
use crate::machine::{DiskStateMachine, DiskTyped, Machine};
use crate::snapshot::{Decode, Opened, SnapshotError, SnapshotWork};
use crate::storage::StorageWork;
use crate::store::{GroupRecord, RecoveredGroup, StoreError, first_recovered};
use raftyard_groups::{GroupId, Incarnation, LogId, LogIndex, Membership, NodeId};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::sync::oneshot;

/// A state machine that goes on from what it has on disk.
pub(super) struct Resumed<S> {
    pub(super) machine: DiskTyped<S>,
    /// The last entry that counts as applied.
    pub(super) last: LogId,
    /// Only a snapshot makes that durable.
    pub(super) is_unsynced: bool,
    /// The last entry that it has applied in truth, if that is later.
    pub(super) ahead: LogIndex,
}

/// A replica that is to be started.
pub(super) struct Wanted {
    pub(super) group: GroupId,
    /// What the group begins with; none if the replica joins it.
    membership: Option<Membership>,
    is_witness: bool,
    incarnation: Option<Incarnation>,
    /// A member that this node does not know how to reach.
    unknown: Option<NodeId>,
}

impl Wanted {
    /// A member of a group that begins.
    pub(super) fn creating(
        node: &Node,
        group: GroupId,
        members: impl IntoIterator<Item = NodeId>,
        options: &GroupOptions,
        is_witness: bool,
    ) -> Result<Self, CreateGroupError> {
        let membership = Membership::of_voters(members)?.with_witnesses(options.witnesses.iter().copied())?;
        if !membership.contains(node.id) {
            return Err(CreateGroupError::NotMember { node: node.id, group });
        }
        if membership.is_witness(node.id) != is_witness {
            return Err(CreateGroupError::OtherKind(group));
        }
        let peers = membership.peers_of(node.id);
        Ok(Self {
            group,
            membership: Some(membership),
            is_witness,
            incarnation: options.incarnation,
            unknown: peers.into_iter().find(|peer| !node.knows_peer(*peer)),
        })
    }

    /// One that waits to be added.
    pub(super) fn joining(group: GroupId, options: &GroupOptions, is_witness: bool) -> Self {
        Self {
            group,
            membership: None,
            is_witness,
            incarnation: options.incarnation,
            unknown: None,
        }
    }

    /// Whether the replica that is there can be it.
    fn check(&self, found: &GroupRecord) -> Result<(), CreateGroupError> {
        let (group, there) = (self.group, found.incarnation);
        if let Some(wanted) = self.incarnation.filter(|wanted| *wanted != there) {
            return Err(CreateGroupError::OtherIncarnation {
                group,
                found: there,
                wanted,
            });
        }
        if found.is_witness != self.is_witness {
            return Err(CreateGroupError::OtherKind(group));
        }
        match &self.membership {
            // One that joined never knew what the group began with.
            Some(wanted) if !found.membership.is_empty() && found.membership != *wanted => {
                Err(CreateGroupError::OtherMembers {
                    group,
                    found: found.membership.to_string(),
                    wanted: wanted.to_string(),
                })
            }
            _ => Ok(()),
        }
    }

    /// The record of a new replica, if there can be one.
    fn record(self, destroyed: Option<Incarnation>) -> Result<GroupRecord, CreateGroupError> {
        let Self { group, .. } = self;
        if let Some(member) = self.unknown {
            return Err(CreateGroupError::UnknownPeer { member, group });
        }
        // Who joins comes back to a group that goes on; a group that begins was not there before.
        let next = match (destroyed, &self.membership) {
            (Some(destroyed), Some(_)) => after(destroyed),
            (Some(destroyed), None) => destroyed,
            (None, _) => Incarnation(1),
        };
        let incarnation = self.incarnation.unwrap_or(next);
        // The last there can be has no next.
        let is_over = self.membership.is_some() && destroyed == Some(incarnation);
        if incarnation < next || is_over {
            return Err(CreateGroupError::OldIncarnation {
                group,
                wanted: incarnation,
                next,
            });
        }
        Ok(GroupRecord {
            group,
            incarnation,
            membership: self.membership.unwrap_or_default(),
            is_witness: self.is_witness,
        })
    }
}

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
            .find(|peer| !self.knows_peer(*peer))
        {
            Some(member) => Err(CreateGroupError::UnknownPeer { member, group }),
            None => Ok(()),
        }
    }

    /// What the disk holds of the group, or a durable note of a new one.
    pub(super) async fn recover_or_note(self: &Arc<Self>, wanted: Wanted) -> Result<RecoveredGroup, CreateGroupError> {
        if self.is_closed() {
            return Err(CreateGroupError::Closed);
        }
        let group = wanted.group;
        self.settle(group).await.map_err(|_| CreateGroupError::Closed)??;
        let found = self.recovered.lock().remove(&group);
        if let Some(mut found) = found {
            if found.damage.as_ref().is_some_and(|damage| damage.is_lost) {
                // Of which kind it was is not known, and does not matter: it is not going to run.
                found.record.is_witness = wanted.is_witness;
            }
            if let Err(error) = wanted.check(&found.record) {
                self.recovered.lock().insert(group, found);
                return Err(error);
            }
            return Ok(*found);
        }
        let tombstone = self.tombstones.lock().get(&group).copied();
        // Of what the disk lost not even the incarnation may be known.
        let known = tombstone.filter(|tombstone| tombstone.incarnation > Incarnation::default());
        let record = wanted.record(known.map(|tombstone| tombstone.incarnation))?;
        let mut state = first_recovered(&record, tombstone.as_ref(), self.lost)?;
        // One that comes back in the same incarnation may have promised something in the node's last life.
        state.created = state.forgotten == LogId::ZERO
            && tombstone.is_none_or(|tombstone| tombstone.incarnation != record.incarnation);
        let created = RecoveredGroup {
            record,
            state,
            damage: None,
        };
        self.note(created.clone()).await?;
        self.recovered.lock().remove(&group);
        Ok(created)
    }

    /// Notes a new replica. Also if the future is dropped: who creates the group next has to find what is noted, and
    /// nothing else.
    async fn note(self: &Arc<Self>, created: RecoveredGroup) -> Result<(), CreateGroupError> {
        let (group, record) = (created.record.group, created.record.clone());
        let (reply, noted) = oneshot::channel();
        let node = self.clone();
        let then = move |outcome: Result<(), StoreError>| {
            if outcome.is_ok() {
                node.recovered.lock().insert(group, Box::new(created));
                node.tombstones.lock().remove(&group);
            }
            node.unsettled.lock().remove(&group);
            // Who gave up waiting has dropped the other end.
            reply.send(outcome).ok();
        };
        self.unsettle(group, None);
        if !self.storage.push(StorageWork::Create(record, Box::new(then))) {
            return Err(CreateGroupError::Closed);
        }
        Ok(noted.await.map_err(|_| CreateGroupError::Closed)??)
    }

    /// The earliest incarnation that a group could be created in.
    pub(super) fn next_incarnation(&self, group: GroupId) -> Incarnation {
        let runs = self.registry.get(&group).map(|slot| slot.incarnation);
        let on_disk = || self.recovered.lock().get(&group).map(|found| found.record.incarnation);
        let unsettled = || self.unsettled.lock().get(&group).copied().flatten();
        let destroyed = || {
            self.tombstones
                .lock()
                .get(&group)
                .map(|tombstone| tombstone.incarnation)
        };
        let last = runs.or_else(on_disk).or_else(unsettled).or_else(destroyed);
        last.map_or(Incarnation(1), after)
    }

    /// Restores a state machine from the newest snapshot that its log goes on from; returns its last entry.
    pub(super) async fn restore(
        &self,
        found: &mut RecoveredGroup,
        machine: &mut dyn Machine,
    ) -> Result<Option<LogId>, CreateGroupError> {
        // For the next who creates the group, should this attempt fail or be dropped.
        self.found(found.clone());
        let opened = match self.open_or_forget(found, None, machine.decoder()).await? {
            Some(opened) => opened,
            None => self.open_snapshot(found, None, machine.decoder()).await?,
        };
        let last = match opened.newest {
            None => None,
            Some((last, state)) => {
                take_over(&found.record, machine, last, state)?;
                found.state.applied = last.index;
                Some(last)
            }
        };
        self.recovered.lock().remove(&found.record.group);
        Ok(last)
    }

    /// Takes up a state machine where its disk says that it is, or, if its log begins later, at the snapshot
    /// that the log goes on from.
    pub(super) async fn resume<S: DiskStateMachine>(
        &self,
        found: &mut RecoveredGroup,
        machine: S,
    ) -> Result<Resumed<S>, CreateGroupError> {
        // For the next who creates the group, should this attempt fail or be dropped.
        self.found(found.clone());
        let group = found.record.group;
        let (mut machine, applied) = DiskTyped::open(machine, &found.record, self.id)?;
        let (mut last, mut ahead) = (applied, LogIndex::ZERO);
        let mut opened = None;
        if applied.index < found.state.base.index {
            let decode = machine.decoder();
            opened = self.open_or_forget(found, Some(applied), decode).await?;
        }
        // Looked at only now: the log may have been forgotten.
        let opened = match opened {
            Some(opened) => opened,
            None if found.state.holds(applied) => {
                let decode = machine.decoder();
                self.open_snapshot(found, Some(applied), decode).await?
            }
            None if found.state.must_catch_up() => {
                // All that it applied is committed: the log gets it once more, or a snapshot beyond it.
                (ahead, last) = (applied.index, found.state.base);
                let decode = machine.decoder();
                self.open_snapshot(found, Some(last), decode).await?
            }
            None => {
                return Err(CreateGroupError::DiskState(DiskStateError::NotInLog {
                    group,
                    applied,
                    base: found.state.base,
                    last: found.state.last.0,
                }));
            }
        };
        let mut is_unsynced = opened.is_backed;
        if let Some((newest, state)) = opened.newest {
            take_over(&found.record, &mut machine, newest, state)?;
            (last, is_unsynced) = (newest, true);
        }
        self.recovered.lock().remove(&group);
        found.state.applied = last.index;
        Ok(Resumed {
            machine,
            last,
            is_unsynced,
            ahead,
        })
    }

    /// As [`Node::open_snapshot`]. If a snapshot is lost that the log goes on from, the log is of no use: then the
    /// replica forgets it, to get all from its peers, and there is nothing to be opened. If no peer has to have it, that
    /// may be the end of what is left. One that is there and can't be read or restored from at the moment is not lost.
    async fn open_or_forget(
        &self,
        found: &mut RecoveredGroup,
        applied: Option<LogId>,
        decode: Decode,
    ) -> Result<Option<Opened>, CreateGroupError> {
        let group = found.record.group;
        let error = match self.open_snapshot(found, applied, decode).await {
            Err(CreateGroupError::Snapshot(error @ SnapshotError::Missing { .. })) => error,
            opened => return opened.map(Some),
        };
        let newest = found.state.memberships.last();
        let membership = newest.map_or(&found.record.membership, |(_, newest)| newest);
        if may_be_only_copy(membership, self.id) {
            return Err(error.into());
        }
        tracing::error!(group = group.0, %error, "replica damaged: it waits to be repaired by its peers");
        // It goes on if this future is dropped: who creates the group next must not take what was found for what is there.
        self.unsettle(group, Some(found.record.incarnation));
        let (reply, forgotten) = oneshot::channel();
        self.storage.push(StorageWork::Forget(group, reply));
        let left = forgotten.await.map_err(|_| CreateGroupError::Closed)??;
        let before = std::mem::replace(found, left);
        found.state.promise = before.state.promise;
        found.state.promise_lost = before.state.promise_lost;
        found.state.created = before.state.created;
        found.damage = before.damage;
        self.found(found.clone());
        Ok(None)
    }

    async fn open_snapshot(
        &self,
        found: &RecoveredGroup,
        applied: Option<LogId>,
        decode: Decode,
    ) -> Result<Opened, CreateGroupError> {
        let (reply, opened) = oneshot::channel();
        self.snapshots.push(SnapshotWork::Open {
            record: found.record.clone(),
            recovered: found.state.clone(),
            applied,
            decode,
            reply,
        });
        Ok(opened.await.map_err(|_| CreateGroupError::Closed)??)
    }
}

/// Whether there may be nobody but `node` who has what a group of these members committed: it and the witnesses, which have no
/// state, are a majority of those who decide. While two configurations do, the outgoing one counts: what was committed
/// before is with a majority of it, and what is since with majorities of both. One that knows of no voters joined a group that
/// others are in, and lost the entry that says of whom.
fn may_be_only_copy(membership: &Membership, node: NodeId) -> bool {
    let deciding: Vec<NodeId> = if membership.is_joint() {
        membership.outgoing().collect()
    } else {
        membership.voters().collect()
    };
    let stateless = membership.witnesses().filter(|witness| deciding.contains(witness));
    deciding.contains(&node) && 1 + stateless.count() > deciding.len() / 2
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
