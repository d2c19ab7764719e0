//! A node that can't do anything does not keep promises alive.

use super::dormitory::CALM;
use super::support::hooked_store::{Gate, gated};
use super::support::{Cluster, Journal, eventually, leader_of, slot};
use raftyard::{GroupId, NodeId};
use std::sync::Arc;

#[tokio::test]
async fn a_node_whose_disk_hangs_sends_no_heartbeats_until_it_goes_on() {
    let mut cluster = Cluster::closed(3);
    cluster.liveness = CALM;
    let gates: Vec<_> = (0..3).map(|_| Arc::new(Gate::default())).collect();
    let mut hosts = Vec::new();
    for id in cluster.ids() {
        let store = gated(cluster.disk(id), gates[slot(id)].clone());
        hosts.push(cluster.builder(id).log_store(store).open().await.unwrap());
    }
    let mut replicas = Vec::new();
    for host in &hosts {
        let created = host.create_group(GroupId(1), cluster.ids(), Journal::default);
        replicas.push(created.await.unwrap());
    }
    let leader = leader_of(&replicas, &cluster.ids()).await;
    let id = leader.leader().unwrap();
    let sent = |id: NodeId| hosts[slot(id)].metrics().node_heartbeats;
    let other = cluster.ids().into_iter().find(|other| *other != id).unwrap();

    gates[slot(id)].close();
    let stuck = leader.propose("stuck".to_owned());
    eventually("its heartbeats stop", || {
        let before = (sent(id), sent(other));
        while sent(other) < before.1 + 40 {
            std::thread::yield_now();
        }
        sent(id) == before.0
    })
    .await;
    eventually("another one leads", || {
        replicas
            .iter()
            .zip(cluster.ids())
            .any(|(replica, node)| node != id && replica.leader() == Some(node))
    })
    .await;
    gates[slot(id)].open();
    stuck.await.ok();
    let before = sent(id);
    eventually("they go on", || sent(id) > before + 40).await;
    for host in hosts {
        host.shutdown().await;
    }
}
