//! A cluster with groups that may sleep.

use super::support::{Cluster, Journal, PATIENCE, eventually};
use raftyard::{Group, HostMetrics, LivenessTuning, NodeId, Tuning};
use std::time::Instant;

/// Promises that outlast the pauses of a busy machine.
pub(super) const CALM: LivenessTuning = LivenessTuning {
    heartbeat_interval_ms: 20,
    promise_ms: 2_000,
};

/// Nobody waits for one of these to end.
pub(super) const LONG: LivenessTuning = LivenessTuning {
    heartbeat_interval_ms: 20,
    promise_ms: 600_000,
};

pub(super) const ONE: NodeId = NodeId(1);
pub(super) const TWO: NodeId = NodeId(2);
pub(super) const THREE: NodeId = NodeId(3);

pub(super) struct Dormitory {
    pub(super) cluster: Cluster,
    /// By group, then by node.
    pub(super) groups: Vec<Vec<Group<Journal>>>,
}

impl Dormitory {
    /// Three nodes, and groups from 1 on that are led by node 1.
    pub(super) async fn new(groups: u64, liveness: LivenessTuning) -> Self {
        let mut cluster = Cluster::closed(3);
        cluster.liveness = liveness;
        cluster.tuning = Tuning {
            election_timeout_ms: 300,
            heartbeat_interval_ms: 40,
            ..Tuning::default()
        };
        cluster.open_all().await;
        let mut dormitory = Self {
            cluster,
            groups: Vec::new(),
        };
        for group in 1..=groups {
            dormitory.groups.push(dormitory.cluster.create(group).await);
        }
        for group in 1..=groups {
            dormitory.lead(group, ONE).await;
        }
        dormitory
    }

    pub(super) fn replica(&self, group: u64, node: NodeId) -> &Group<Journal> {
        &self.groups[usize::try_from(group).unwrap() - 1][super::support::slot(node)]
    }

    /// Lets `node` lead, and all know it.
    pub(super) async fn lead(&self, group: u64, node: NodeId) {
        let deadline = Instant::now() + PATIENCE;
        let knows = |replica: &Group<Journal>| replica.leader() == Some(node);
        while !self.cluster.ids().iter().all(|id| knows(self.replica(group, *id))) {
            for id in self.cluster.ids() {
                let replica = self.replica(group, id);
                if id != node && replica.leader() == Some(id) {
                    replica.transfer_leadership(node).await.ok();
                }
            }
            assert!(Instant::now() < deadline, "{node} never leads group {group}");
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    pub(super) fn replicas(&self) -> impl Iterator<Item = &Group<Journal>> {
        self.groups.iter().flatten()
    }

    pub(super) async fn all_sleep(&self) {
        eventually("all replicas sleep", || {
            self.replicas().all(|replica| replica.status().asleep)
        })
        .await;
    }

    pub(super) fn metrics(&self) -> HostMetrics {
        let nodes = self.cluster.ids().into_iter();
        nodes.map(|id| self.cluster.host(id).metrics()).sum()
    }

    /// What all nodes did while so many heartbeats went by.
    pub(super) async fn during(&self, heartbeats: u64) -> HostMetrics {
        let before = self.metrics();
        eventually("heartbeats go by", || {
            self.metrics().since(&before).node_heartbeats >= heartbeats
        })
        .await;
        self.metrics().since(&before)
    }

    /// Waits until all replicas sleep, and what was on its way has arrived: then nothing happens any more.
    pub(super) async fn silence(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.all_sleep().await;
            let done = self.during(100).await;
            if (done.group_turns, done.messages_sent) == (0, 0) {
                return;
            }
            assert!(Instant::now() < deadline, "never silent: {done:?}");
        }
    }

    /// How many turns each replica took, by group, then by node.
    pub(super) fn turns(&self) -> Vec<Vec<u64>> {
        let turns = |replicas: &Vec<Group<Journal>>| replicas.iter().map(|replica| replica.status().turns).collect();
        self.groups.iter().map(turns).collect()
    }
}
