//! Disks that rot, and what operators do about it (`docs/src/operations.md`).

use super::operator::PAUSE;
use super::{Replica, World};
use crate::sim::watch::Event;
use crate::sim::workload::Workload;
use raftyard_groups::{GroupId, NodeId};
use tokio::time::sleep;

impl<W: Workload> World<W> {
    /// Damages the disk of a node that lost its power.
    pub(super) fn rot(&self, id: NodeId, draw: u64) {
        let Some(disk) = self.disk(id) else {
            return;
        };
        let snapshots_of = disk.rot(draw);
        self.watchman.of(id).see(&Event::Rots {
            snapshots_of: &snapshots_of,
        });
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
