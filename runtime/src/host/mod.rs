//! A node: what it is built from, and what users hold of it.

mod acquaintances;
mod bound;
mod builder;
mod cluster;
mod create;
mod destroy;
mod import;
mod join;
mod options;
mod peers;
pub(crate) mod placement;
mod rebuild;
mod unsettled;

pub use bound::BoundHost;
pub use builder::HostBuilder;
pub use options::GroupOptions;
pub use placement::Placement;
pub use rebuild::RebuildReport;

use crate::budget::ByteBudget;
use crate::clock::Clock;
use crate::error::{CreateGroupError, DiskStateError, OpenError};
use crate::group::Group;
use crate::inbox::Inbox;
use crate::limits::Limits;
use crate::liveness::{self, LivenessActor};
use crate::machine::{DiskStateMachine, Machine, OnDisk, Replicated, StateMachine, Typed};
use crate::memberships::Memberships;
use crate::metrics::{Counters, HostMetrics};
use crate::random::mix;
use crate::registry::{GroupSlot, IdMap, Registry, StatusCell};
use crate::router::worker_of;
use crate::snapshot::{SnapshotActor, SnapshotWork};
use crate::storage::{StorageActor, StorageWork};
use crate::store::{LostGroups, RecoveredGroup, Tombstone};
use crate::tenancy::Tenancy;
use crate::transport::{self, TransportActor, TransportHandle};
use crate::turns::{self, TurnActor};
use crate::worker::{self, Create, Dispatcher, Work};
use acquaintances::Acquaintances;
use actix::Addr;
use create::{Reservation, Wanted};
use options::OfThisRun;
use parking_lot::Mutex;
use placement::{Spot, Threads};
use raftyard_groups::{
    GroupId, Incarnation, LogId, LogIndex, NodeId, ReplicaConfig, RoleKind, TransferOutcome, Tuning,
};
use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{OnceCell, oneshot};

/// How long a shutdown waits for proposals that are on their way.
const DRAIN: Duration = Duration::from_secs(2);

/// How long a shutdown, or the destruction of a group, waits for other nodes to take over what this one leads.
const HAND_OVER: Duration = Duration::from_secs(1);

/// How often it looks whether they have.
const HAND_OVER_POLL: Duration = Duration::from_millis(2);

/// One node: it hosts replicas of many groups over one transport and one storage. Clones are handles to the
/// same node, usable from any thread and any async runtime.
///
/// When the last handle is dropped without a [`shutdown`](Self::shutdown), groups' handles included, the node
/// ends as if it had crashed: soon, but not at once, and until then its data directory stays in use.
#[derive(Clone)]
pub struct RaftHost(Arc<Node>);

pub(crate) struct Node {
    pub(crate) id: NodeId,
    peer_address: String,
    peers: Acquaintances,
    registry: Registry,
    workers: Vec<Arc<Inbox<Work>>>,
    storage: Arc<Inbox<StorageWork>>,
    snapshots: Arc<Inbox<SnapshotWork>>,
    transport: TransportHandle,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) budget: ByteBudget,
    pub(crate) limits: Limits,
    /// What is proposed is in no session.
    pub(crate) plain: bool,
    tuning: Arc<Tuning>,
    seed: u64,
    /// What the disk holds of groups that were not opened yet. Boxed: the table keeps its size when they are.
    recovered: Mutex<IdMap<GroupId, Box<RecoveredGroup>>>,
    /// Of the groups that run here.
    memberships: Mutex<Memberships>,
    /// What is left of groups that were destroyed.
    tombstones: Mutex<IdMap<GroupId, Tombstone>>,
    /// The disk lost groups, and nobody knows which.
    lost: Option<LostGroups>,
    /// Groups that are being created, destroyed or rebuilt.
    reserved: Mutex<BTreeSet<GroupId>>,
    /// Groups of which only the storage knows what is on disk, with the incarnation of the replica that is there, if one is
    /// in any case. Not in `recovered`.
    unsettled: Mutex<BTreeMap<GroupId, Option<Incarnation>>>,
    actors: Actors,
    /// Where there are timers, whatever runtime a user's call comes from.
    place: Spot,
    /// Where it may wait for the disk.
    disk: Spot,
    threads: Option<Threads>,
    closed: AtomicBool,
    /// Set once the shutdown is over.
    ended: OnceCell<()>,
}

/// A replica that is about to be hosted.
struct Start {
    found: RecoveredGroup,
    machine: Box<dyn Machine>,
    /// As in [`Create`].
    snapshot: Option<LogId>,
    /// As in [`Create`].
    unsynced: bool,
    /// As in [`Create`].
    ahead: LogIndex,
    run: OfThisRun,
}

struct Actors {
    dispatchers: Vec<Addr<Dispatcher>>,
    storage: Addr<TurnActor<StorageActor>>,
    snapshots: Addr<TurnActor<SnapshotActor>>,
    transport: Addr<TransportActor>,
    liveness: Addr<LivenessActor>,
}

impl RaftHost {
    /// A node that keeps its logs in `data_dir`.
    pub fn builder(data_dir: impl Into<PathBuf>) -> HostBuilder {
        HostBuilder::on_disk(data_dir.into())
    }

    /// A whole cluster of `nodes` nodes, with ids from 1, in this process: connected in memory, logs in
    /// memory. For tests and examples.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if `nodes` is 0 or a thread can't be started.
    pub async fn in_memory(nodes: u64) -> Result<Vec<Self>, OpenError> {
        cluster::in_memory(nodes).await
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.0.id
    }

    /// Where peers reach this node.
    #[must_use]
    pub fn peer_addr(&self) -> &str {
        &self.0.peer_address
    }

    /// Starts this node's replica of a group: a new one, or the one an earlier run left on disk. Every
    /// member has to do the same, with the same members: those that the group *begins* with. Once it is there its
    /// log says who belongs to it, but this call has to name the first members still; a replica that
    /// [joined](Self::join_group) later never knew them, and starts with any that name this node. A group that was destroyed
    /// on this node begins anew, in its next incarnation; what to do if that is not the same on all members, [`GroupOptions`]
    /// says. `machine` makes the state machine as it is before the first command; after a restart it is restored from the
    /// newest snapshot, and committed commands that came after that are applied again.
    ///
    /// # Errors
    ///
    /// [`CreateGroupError`]. Nothing runs then, but a new group may already be noted on disk; creating it
    /// again is safe.
    pub async fn create_group<S: StateMachine>(
        &self,
        group: GroupId,
        members: impl IntoIterator<Item = NodeId>,
        machine: impl FnOnce() -> S,
    ) -> Result<Group<S>, CreateGroupError> {
        self.create_group_with(group, members, GroupOptions::default(), machine)
            .await
    }

    /// As [`RaftHost::create_group`], with options.
    ///
    /// # Errors
    ///
    /// As [`RaftHost::create_group`].
    pub async fn create_group_with<S: StateMachine>(
        &self,
        group: GroupId,
        members: impl IntoIterator<Item = NodeId>,
        options: GroupOptions,
        machine: impl FnOnce() -> S,
    ) -> Result<Group<S>, CreateGroupError> {
        let node = &self.0;
        let wanted = Wanted::creating(node, group, members, &options, false)?;
        let reserved = Reservation::of_new(node, group)?;
        let machine = Box::new(Typed::new(machine()));
        let found = reserved.node.recover_or_note(wanted).await?;
        self.start(found, machine, options.run).await
    }

    /// Like [`RaftHost::create_group`], for a state machine that keeps its state on disk. `open` opens it, as an
    /// earlier run left it or new; it is called at once, on this thread. The log is replayed from where the
    /// state machine's records say that it is. A group that is destroyed leaves its state to its owner: one that
    /// is created again in its place needs a new one.
    ///
    /// # Errors
    ///
    /// [`CreateGroupError`]; [`CreateGroupError::DiskState`] if the state machine can't be opened, or what it
    /// has does not fit to the log. Nothing runs then, but a new group may already be noted on disk; creating
    /// it again is safe.
    pub async fn create_disk_group<S: DiskStateMachine>(
        &self,
        group: GroupId,
        members: impl IntoIterator<Item = NodeId>,
        open: impl FnOnce() -> io::Result<S>,
    ) -> Result<Group<OnDisk<S>>, CreateGroupError> {
        self.create_disk_group_with(group, members, GroupOptions::default(), open)
            .await
    }

    /// As [`RaftHost::create_disk_group`], with options.
    ///
    /// # Errors
    ///
    /// As [`RaftHost::create_disk_group`].
    pub async fn create_disk_group_with<S: DiskStateMachine>(
        &self,
        group: GroupId,
        members: impl IntoIterator<Item = NodeId>,
        options: GroupOptions,
        open: impl FnOnce() -> io::Result<S>,
    ) -> Result<Group<OnDisk<S>>, CreateGroupError> {
        let wanted = Wanted::creating(&self.0, group, members, &options, false)?;
        self.start_on_disk(wanted, options.run, open).await
    }

    /// Starts a replica whose state machine keeps its state on disk.
    async fn start_on_disk<S: DiskStateMachine>(
        &self,
        wanted: Wanted,
        run: OfThisRun,
        open: impl FnOnce() -> io::Result<S>,
    ) -> Result<Group<OnDisk<S>>, CreateGroupError> {
        let (node, group) = (&self.0, wanted.group);
        let reserved = Reservation::of_new(node, group)?;
        let machine = open().map_err(|source| DiskStateError::Io { group, source })?;
        let mut found = reserved.node.recover_or_note(wanted).await?;
        let resumed = node.resume(&mut found, machine).await?;
        self.host(Start {
            found,
            machine: Box::new(resumed.machine),
            snapshot: Some(resumed.last),
            unsynced: resumed.is_unsynced,
            ahead: resumed.ahead,
            run,
        })
    }

    /// Starts the replica that is noted on disk; the group is reserved.
    async fn start<S: StateMachine>(
        &self,
        mut found: RecoveredGroup,
        mut machine: Box<dyn Machine>,
        run: OfThisRun,
    ) -> Result<Group<S>, CreateGroupError> {
        let snapshot = self.0.restore(&mut found, &mut *machine).await?;
        self.host(Start {
            found,
            machine,
            snapshot,
            unsynced: false,
            ahead: LogIndex::ZERO,
            run,
        })
    }

    /// Hosts a replica whose state machine is as far as its log says.
    fn host<S: Replicated>(&self, start: Start) -> Result<Group<S>, CreateGroupError> {
        let Start {
            found,
            machine,
            snapshot,
            unsynced,
            ahead,
            run,
        } = start;
        let RecoveredGroup {
            record,
            state: recovered,
            damage,
        } = found;
        let (node, group) = (&self.0, record.group);
        let Some(inbox) = node.workers.get(worker_of(group, node.workers.len())) else {
            return Err(CreateGroupError::Closed);
        };
        let slot = Arc::new(GroupSlot {
            group,
            incarnation: record.incarnation,
            machine: TypeId::of::<S>(),
            is_on_disk: machine.is_on_disk(),
            inbox: inbox.clone(),
            status: StatusCell::default(),
            tenancy: Tenancy::new(&node.budget, run.limits, &*node.clock),
        });
        let in_log = recovered.memberships.last().map(|(_, newest)| newest.clone());
        let membership = node.memberships.lock().intern(Arc::new(record.membership));
        let newest = in_log.unwrap_or_else(|| membership.clone());
        slot.status.set_membership(&newest, newest.role_of(node.id));
        slot.status.set_ahead(ahead);
        // One of the members campaigns at once, a different one from group to group: so new groups have
        // leaders without waiting, spread over the nodes.
        let may_lead = |voter: &NodeId| membership.may_lead(*voter);
        let voters: Vec<NodeId> = membership.voters().filter(may_lead).collect();
        let turn = group.0.checked_rem(voters.len() as u64);
        let first = turn.and_then(|turn| voters.get(usize::try_from(turn).ok()?));
        let create = Create {
            config: ReplicaConfig {
                group,
                incarnation: record.incarnation,
                node: node.id,
                // Where the node's seed is fixed, its lives differ at least once anything was written.
                seed: mix(
                    mix(mix(mix(node.seed, node.id.0), group.0), record.incarnation.0),
                    mix(recovered.hard_state.term.0, recovered.last.0),
                ),
                membership,
                tuning: node.tuning.clone(),
                priority: run.priority,
            },
            recovered,
            machine,
            snapshot,
            unsynced,
            ahead,
            slot: slot.clone(),
            campaign: first == Some(&node.id),
        };
        if !inbox.push(Work::Create(Box::new(create))) {
            return Err(CreateGroupError::Closed);
        }
        if damage.is_some_and(|damage| damage.is_lost) {
            // Before anything else can come for it.
            inbox.push(Work::Unreadable(slot.life()));
        }
        node.registry.insert(group, slot.clone());
        Ok(Group::new(slot, node.clone()))
    }

    /// A handle to a group that runs on this node; `None` if none with this id and this type of state machine
    /// does.
    #[must_use]
    pub fn group<S: Replicated>(&self, group: GroupId) -> Option<Group<S>> {
        // Cloned out: a guard of the map must not live on.
        let slot = self.0.registry.get(&group).map(|slot| slot.value().clone())?;
        (slot.machine == TypeId::of::<S>()).then(|| Group::new(slot, self.0.clone()))
    }

    /// The earliest incarnation that this node could create the group in: the one that
    /// [`create_group`](Self::create_group) takes if there is nothing of the group here but its past.
    #[must_use]
    pub fn next_incarnation(&self, group: GroupId) -> Incarnation {
        self.0.next_incarnation(group)
    }

    /// What this node did since it was opened.
    #[must_use]
    pub fn metrics(&self) -> HostMetrics {
        HostMetrics::read(&self.0.counters, &self.0.transport.counts())
    }

    /// Ends the node: takes no more proposals, waits (at most two seconds) for those on their way, hands over what it
    /// leads (at most one second, for groups whose other nodes are there), stops all groups, writes what is queued,
    /// closes the store and all connections. Whoever still waits is told that the outcome is unknown. Every handle is
    /// closed afterwards, and the data directory can be opened again. Who calls while another call is at it waits for
    /// the same end; if a call is dropped halfway, the next one goes on.
    pub async fn shutdown(&self) {
        self.0.ended.get_or_init(|| self.0.end()).await;
    }
}

impl Node {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Waits, wherever the caller runs; shorter if the node ends. Leaves nothing behind if the caller gives up.
    pub(crate) async fn sleep(&self, duration: Duration) {
        self.place.run_awaited(move || tokio::time::sleep(duration)).await;
    }

    async fn end(&self) {
        self.closed.store(true, Ordering::SeqCst);
        for slot in &self.registry {
            slot.status.wake_waiters();
        }
        let budget = self.budget.clone();
        let drained = move || async move { tokio::time::timeout(DRAIN, budget.idle()).await.is_ok() };
        if self.place.run(drained).await != Some(true) {
            tracing::warn!(node = self.id.0, "proposals are cut off by the shutdown");
        }
        let led = Self::hand_over(self.registry.iter().map(|slot| slot.value().clone()).collect());
        let handed_over = move || async move { tokio::time::timeout(HAND_OVER, taken_over(led)).await.is_ok() };
        if self.place.run(handed_over).await != Some(true) {
            tracing::debug!(node = self.id.0, "not all leaderships were handed over");
        }
        // Actors that are gone already need not be stopped.
        self.actors.liveness.send(liveness::Stop).await.ok();
        self.actors.transport.send(transport::Stop).await.ok();
        for dispatcher in &self.actors.dispatchers {
            dispatcher.send(worker::Stop).await.ok();
        }
        self.actors.snapshots.send(turns::Stop).await.ok();
        self.actors.storage.send(turns::Stop).await.ok();
        if let Some(threads) = &self.threads {
            threads.stop_and_wait().await;
        }
        tracing::debug!(node = self.id.0, "node shut down");
    }
}

impl Node {
    /// Asks those of the groups that this node leads to hand over; returns who to wait for.
    fn hand_over(slots: Vec<Arc<GroupSlot>>) -> Vec<(Arc<GroupSlot>, oneshot::Receiver<TransferOutcome>)> {
        let leads = |slot: &Arc<GroupSlot>| slot.status.get().role == RoleKind::Leader;
        slots
            .into_iter()
            .filter(leads)
            .filter_map(|slot| slot.transfer(None).map(|outcome| (slot, outcome)))
            .collect()
    }
}

/// Waits until every group that was handed over has its new leader: until then it may still need this node.
async fn taken_over(led: Vec<(Arc<GroupSlot>, oneshot::Receiver<TransferOutcome>)>) {
    for (slot, outcome) in led {
        if let Ok(TransferOutcome::HandedOver { .. }) = outcome.await {
            while slot.status.leader().is_none() {
                tokio::time::sleep(HAND_OVER_POLL).await;
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Without a shutdown the node ends as if it had crashed.
        self.actors.liveness.do_send(liveness::Stop);
        self.actors.transport.do_send(transport::Stop);
        for dispatcher in &self.actors.dispatchers {
            dispatcher.do_send(worker::Stop);
        }
        self.actors.snapshots.do_send(turns::Stop);
        self.actors.storage.do_send(turns::Stop);
        if let Some(threads) = &self.threads {
            threads.stop();
        }
    }
}
