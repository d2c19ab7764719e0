//! Nodes that start and end.

use super::operator::{PATIENCE, PAUSE};
use super::{Replica, World, within};
use crate::error::CreateGroupError;
use crate::host::placement::{Spot, Spots};
use crate::host::{GroupOptions, HostBuilder, RaftHost};
use crate::quarantine::QuarantineReason;
use crate::random::mix;
use crate::registry::ReplicaState;
use crate::sim::Simulated;
use crate::sim::checked::Checked;
use crate::sim::disk::{NodeDisk, SimLogStore, SimSnapshotStore};
use crate::sim::network::address_of;
use crate::sim::properties::Once;
use crate::sim::threads::Duty;
use crate::sim::vital::Vital;
use crate::sim::workload::Workload;
use crate::store::StoreError;
use raftyard_groups::{GroupId, Incarnation, NodeId};
use std::sync::Arc;

impl<W: Workload> World<W> {
    /// Starts a node's process, and all replicas that its disk holds. Does nothing if it runs, or is to be absent.
    pub(super) async fn start(&self, id: NodeId) {
        if self.absent.borrow().contains(&id) {
            return;
        }
        let (vital, life) = {
            let mut nodes = self.nodes.borrow_mut();
            let Some(node) = nodes.get_mut(&id) else {
                return;
            };
            if node.is_starting || node.vital.as_ref().is_some_and(|vital| !vital.is_dead()) {
                return;
            }
            node.is_starting = true;
            node.lives += 1;
            let vital = Vital::new(id, node.lives, self.threads.doom());
            if let Some(operations) = node.fuse.take() {
                vital.light_fuse(operations, false, true);
            }
            node.vital = Some(vital.clone());
            (vital, node.lives)
        };
        let disk = self.disk(id);
        if let Some(disk) = &disk {
            disk.take_failed();
        }
        self.network.forget(id);
        self.trace.line(format!("{id} starts"));
        let opened = match self.builder(id, life, &vital) {
            Ok(builder) => builder.open().await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Some(node) = self.nodes.borrow_mut().get_mut(&id) {
            node.is_starting = false;
        }
        let host = match opened {
            _ if vital.is_dead() => return,
            Ok(host) => host,
            Err(error) if disk.as_ref().is_some_and(NodeDisk::take_failed) => {
                // It had to write once more what a damaged disk holds. Whoever tends it starts it again.
                self.trace.line(format!("{id} can't be opened: {error}"));
                return vital.end(false, "a failed write");
            }
            Err(error) => {
                return self
                    .watchman
                    .violated("recovery", format!("{id} can't be opened: {error}"));
            }
        };
        let (groups, watch) = (host.stored_groups(), self.watchman.of(id));
        if let Some(group) = groups.iter().find(|group| watch.life_of(**group).is_none()) {
            let what = format!("{id} holds {group}, of which its disk was never told");
            return self.watchman.violated("no resurrection", what);
        }
        if let Some(node) = self.nodes.borrow_mut().get_mut(&id) {
            node.host = Some(host.clone());
        }
        for group in groups {
            let Some(life) = watch.life_of(group) else {
                // An operator destroyed it before it was started.
                continue;
            };
            let machine = self.machine(id, group, life.incarnation.0);
            let joined = host.join_group(group, GroupOptions::default(), || machine).await;
            match joined {
                Ok(replica) => self.runs(id, &vital, replica),
                // An operator was first.
                Err(CreateGroupError::Exists(_)) => {}
                Err(_) if vital.is_dead() => return,
                Err(error) if disk.as_ref().is_some_and(NodeDisk::is_in_doubt) => {
                    self.trace.line(format!("{id} can't start {group}: {error}"));
                    return vital.end(false, "a failed write");
                }
                Err(CreateGroupError::Store(error @ StoreError::Full { .. })) => {
                    // It is to forget the log before a damaged snapshot. Whoever tends it starts it again.
                    self.trace.line(format!("{id} can't start {group}: {error}"));
                    return vital.end(false, "want of room");
                }
                Err(error) => {
                    let what = format!("{id} can't start {group} again: {error}");
                    return self.watchman.violated("recovery", what);
                }
            }
        }
    }

    fn builder(&self, id: NodeId, life: u64, vital: &Vital) -> Result<HostBuilder, StoreError> {
        let place = |duty| Spot::Simulated(self.threads.start(Some((id, life)), duty));
        let settings = &self.settings;
        let spots = Spots {
            workers: (0..settings.workers).map(|_| place(Duty::Worker)).collect(),
            storage: place(Duty::Storage),
            snapshots: place(Duty::Snapshots),
            transport: place(Duty::Transport),
        };
        let watch = self.watchman.of(id);
        let (disk, clock) = match self.nodes.borrow().get(&id) {
            Some(node) => (node.disk.clone(), node.clock.clone()),
            None => return Ok(RaftHost::builder("")),
        };
        let logs = SimLogStore::open(disk.clone(), vital.clone(), watch.clone())?;
        let builder = RaftHost::builder("")
            .cluster("simulated")
            .node(id)
            .listen(address_of(id))
            .workers(spots.workers.len())
            .tuning(settings.tuning)
            .limits(settings.limits)
            .compaction(settings.compaction)
            .seed(mix(mix(self.scenario.seed, id.0), life))
            .network(self.network.access(vital.clone()))
            .clock(clock)
            .log_store(logs)
            .snapshot_store(SimSnapshotStore::open(disk, vital.clone()))
            .simulated(Simulated { spots, watch });
        let peers = self.ids().into_iter().filter(|peer| *peer != id);
        Ok(peers.fold(builder, |builder, peer| builder.peer(peer, address_of(peer))))
    }

    /// What a node's replica of a group applies commands to.
    pub(super) fn machine(&self, node: NodeId, group: GroupId, incarnation: u64) -> Checked<W::Machine> {
        Checked {
            machine: self.workload.machine(),
            once: Once::new(node, group, incarnation, self.watchman.clone()),
        }
    }

    /// A replica runs from now on, unless its node has ended meanwhile.
    pub(super) fn runs(&self, id: NodeId, vital: &Vital, replica: Replica<W>) {
        if let Some(node) = self.nodes.borrow_mut().get_mut(&id)
            && !vital.is_dead()
        {
            node.replicas.insert(replica.id(), replica);
        }
    }

    /// Whether a replica still runs, and all that it applied is on its disk.
    pub(super) fn is_on_disk(&self, replica: &Replica<W>) -> bool {
        let (node, group) = (replica.node(), replica.id());
        let nodes = self.nodes.borrow();
        let running = nodes.get(&node).and_then(|node| node.replicas.get(&group));
        let runs = running.is_some_and(|running| Arc::ptr_eq(&running.slot, &replica.slot));
        runs && self.watchman.of(node).is_on_disk(group)
    }

    pub(super) fn disk(&self, id: NodeId) -> Option<NodeDisk> {
        Some(self.nodes.borrow().get(&id)?.disk.clone())
    }

    pub(super) fn vital(&self, id: NodeId) -> Option<Vital> {
        self.nodes.borrow().get(&id)?.vital.clone()
    }

    /// Ends a node's process; false if it had ended already, and nobody had noticed.
    pub(super) fn end(&self, id: NodeId, is_silent: bool) -> bool {
        let mut nodes = self.nodes.borrow_mut();
        let Some(node) = nodes.get_mut(&id) else {
            return false;
        };
        let Some(vital) = node.vital.clone() else {
            return false;
        };
        let ran = !vital.is_dead();
        vital.end(is_silent, "a crash");
        let (host, replicas) = (node.host.take(), std::mem::take(&mut node.replicas));
        if host.is_some() || ran {
            if is_silent || vital.is_silent() {
                node.disk.lose_power();
            }
            let cause = vital.cause().unwrap_or_default();
            self.trace.line(format!("{id} is down, in {cause}"));
        }
        drop(nodes);
        drop((host, replicas));
        ran
    }

    /// Creates a group on its first members: waits for nodes that are down.
    pub(super) async fn create(&self, group: GroupId) {
        let Some((first, incarnation)) = self
            .groups
            .borrow()
            .get(&group)
            .map(|group| (group.first.clone(), group.incarnation))
        else {
            return;
        };
        for id in &first {
            loop {
                let (host, vital) = (self.host(*id), self.vital(*id));
                if let Some((host, vital)) = host.zip(vital) {
                    let options = GroupOptions::default().incarnation(Incarnation(incarnation));
                    let machine = self.machine(*id, group, incarnation);
                    let created = host.create_group_with(group, first.clone(), options, || machine);
                    match within(PATIENCE, created).await {
                        Some(Ok(replica)) => {
                            self.runs(*id, &vital, replica);
                            break;
                        }
                        Some(Err(CreateGroupError::Exists(_))) => break,
                        // It ended meanwhile.
                        None => {}
                        Some(Err(error)) => {
                            self.trace.line(format!("{id} can't create {group}: {error}"));
                            if self.watchman.of(*id).amiss().contains(&group) {
                                // A life that was destroyed, which the disk forgot.
                                self.destroy(group, *id).await;
                            }
                        }
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Whether a node's store failed, so that it has to start again. Any other reason to stop is a fault.
    pub(super) fn is_store_failed(&self, id: NodeId) -> bool {
        let (replicas, mut is_failed): (Vec<Replica<W>>, _) = match self.nodes.borrow().get(&id) {
            // One that is being destroyed does not say so any more; there may be no other.
            Some(node) => {
                let is_failed = node.host.is_some() && node.disk.is_in_doubt();
                (node.replicas.values().cloned().collect(), is_failed)
            }
            None => return false,
        };
        for replica in replicas {
            match replica.status().state {
                ReplicaState::Quarantined(QuarantineReason::StoreFailed) => is_failed = true,
                // It is halted until an operator destroys it.
                ReplicaState::Quarantined(QuarantineReason::LogDamaged)
                    if self.watchman.of(id).amiss().contains(&replica.id()) => {}
                ReplicaState::Quarantined(reason) => {
                    let what = format!("{id} stopped {}: {reason}", replica.id());
                    self.watchman.violated("availability", what);
                }
                _ => {}
            }
        }
        is_failed
    }
}
