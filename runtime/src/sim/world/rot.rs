//! Disks that rot, and what operators do about it (`docs/src/operations.md`).

use super::operator::PAUSE;
use super::{Replica, World};
use crate::sim::random::{Purpose, Random};
use crate::sim::watch::Event;
use crate::sim::workload::Workload;
use raftyard_groups::{GroupId, NodeId};
use std::rc::Rc;
use std::time::Duration;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

impl<W: Workload> World<W> {
    /// Damages the disk of a node that lost its power.
    pub(super) fn rot(&self, id: NodeId, draw: u64) {
        let Some(disk) = self.disk(id) else {
            return;
        };
        let snapshots_of = disk.rot(draw);
        self.freshness.borrow_mut().forget(id, |_| true);
        self.watchman.of(id).see(&Event::Rots {
            snapshots_of: &snapshots_of,
        });
    }

    /// Starts a node whose disk rotted, once or twice or not at all, and lets it lose its power after a few operations: in the
    /// midst of making good what it found, mostly. Then the disk may rot again.
    pub(super) async fn start_in_vain(self: &Rc<Self>, id: NodeId, draw: u64) {
        let mut random = Random::new(draw, Purpose::Operator, 1);
        for _ in 0..random.below(3) {
            // Whatever is down by then is started by who tends it.
            if self.is_calm() {
                return;
            }
            self.set_fuse(id, Some(random.below(8)));
            // A start that is cut short may wait forever.
            let world = self.clone();
            spawn_local(async move { world.start(id).await });
            let given_up = Instant::now() + Duration::from_secs(1);
            loop {
                sleep(Duration::from_millis(10)).await;
                if self.vital(id).is_none_or(|vital| vital.is_dead()) || Instant::now() >= given_up {
                    break;
                }
            }
            self.set_fuse(id, None);
            self.end(id, true);
            if let Some(disk) = self.disk(id) {
                disk.lose_power();
            }
            if random.chance(300) {
                self.rot(id, random.number());
            }
        }
    }

    fn set_fuse(&self, id: NodeId, operations: Option<u64>) {
        if let Some(node) = self.nodes.borrow_mut().get_mut(&id) {
            node.fuse = operations;
        }
    }

    /// Waits until the node has started, and sees to the groups that it does not repair by itself.
    pub(super) async fn make_good(&self, id: NodeId) {
        let watch = self.watchman.of(id);
        while !self.is_done() {
            let amiss = watch.amiss();
            if amiss.is_empty() && !watch.is_rotten() {
                return;
            }
            for group in amiss {
                if self.reserve(group) {
                    if self.replace_replica(group, id).await {
                        self.trace.line(format!("{group} is made good on {id}"));
                        watch.set_right(group);
                    }
                    self.release(group);
                }
            }
            sleep(PAUSE).await;
            if watch.is_rotten() {
                // Its start may have failed, or been cut short.
                self.start(id).await;
            }
        }
    }

    /// Destroys a replica that is lost, or of another life than the group is in, and has the node join again; whether
    /// that is done.
    async fn replace_replica(&self, group: GroupId, id: NodeId) -> bool {
        let Some((leader, here)) = self.leader(group).zip(self.running(group, id)) else {
            return false;
        };
        if leader.incarnation().0 != self.incarnation(group) {
            return false;
        }
        // One that is lost may not have come to a halt yet.
        let is_lost = self.watchman.of(id).is_lost(group);
        if here.is_some_and(|here| here.incarnation() == leader.incarnation() && !is_lost) {
            return true;
        }
        if !self.destroy(group, id).await {
            return false;
        }
        // One that is no member any more, or not yet, does no harm.
        self.join(group, id).await
    }

    /// The replica that runs on a node, if one does; nothing, if the node does not run, or not yet all that it holds.
    fn running(&self, group: GroupId, id: NodeId) -> Option<Option<Replica<W>>> {
        let host = self.host(id)?;
        let nodes = self.nodes.borrow();
        let replicas = &nodes.get(&id)?.replicas;
        let runs_all = host.stored_groups().iter().all(|group| replicas.contains_key(group));
        runs_all.then(|| replicas.get(&group).cloned())
    }
}
