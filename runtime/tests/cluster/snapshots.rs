//! Logs that are compacted, and replicas that come back through a snapshot.

use super::support::{Cluster, Journal, eventually, leader_of, propose, read, slot};
use raftyard::store::SnapshotStore;
use raftyard::{Compaction, CreateGroupError, Group, GroupId, Limits, NodeId, SnapshotError};

/// A snapshot after every tenth entry.
fn often() -> Compaction {
    Compaction {
        entries: 10,
        tail_entries: 2,
        ..Compaction::default()
    }
}

async fn start(nodes: usize) -> Cluster {
    Cluster::start_compacting(nodes, Limits::default(), often()).await
}

async fn fill(replicas: &[Group<Journal>], lines: std::ops::Range<usize>) {
    for n in lines {
        propose(replicas, &n.to_string()).await;
    }
}

fn numbers(end: usize) -> Vec<String> {
    (0..end).map(|n| n.to_string()).collect()
}

fn without(replicas: &[Group<Journal>], id: NodeId) -> Vec<Group<Journal>> {
    let others = replicas.iter().enumerate().filter(|(n, _)| *n != slot(id));
    others.map(|(_, replica)| replica.clone()).collect()
}

async fn a_follower(cluster: &Cluster, replicas: &[Group<Journal>]) -> NodeId {
    let leader = leader_of(replicas, &cluster.ids()).await.leader().unwrap();
    cluster.ids().into_iter().find(|id| *id != leader).unwrap()
}

/// Lets `id` become the leader, by stopping whoever else does.
async fn lead(cluster: &Cluster, replicas: &[Group<Journal>], id: NodeId) {
    let replica = &replicas[slot(id)];
    for round in 0.. {
        let leader = leader_of(replicas, &cluster.ids()).await.leader().unwrap();
        if leader == id {
            return;
        }
        assert!(round < 50, "{id} never leads");
        cluster.isolate(leader);
        let others = without(replicas, leader);
        eventually("another leads", || {
            others.iter().any(|other| other.leader().is_some_and(|new| new != leader))
        })
        .await;
        cluster.heal(leader);
        eventually("it applied all", || replica.status().applied > 0).await;
    }
}

#[tokio::test]
async fn a_follower_that_missed_what_was_compacted_comes_back_and_can_lead() {
    let mut cluster = start(3).await;
    let replicas = cluster.create(1).await;
    fill(&replicas, 0..5).await;
    let away = a_follower(&cluster, &replicas).await;
    cluster.isolate(away);
    let others = without(&replicas, away);
    fill(&others, 5..60).await;
    eventually("both others compacted their logs", || {
        let taken = |id: &NodeId| cluster.host(*id).metrics().snapshots_taken > 1;
        cluster.ids().iter().filter(|id| **id != away).all(taken)
    })
    .await;
    cluster.heal(away);
    let applied = leader_of(&others, &cluster.ids()).await.status().applied;
    let back = &replicas[slot(away)];
    eventually("it applied all", || back.status().applied >= applied).await;
    let metrics = cluster.host(away).metrics();
    assert!(metrics.snapshots_installed >= 1, "through a snapshot: {metrics:?}");

    lead(&cluster, &replicas, away).await;
    fill(&replicas, 60..65).await;
    assert_eq!(read(&replicas).await, numbers(65));
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_restart_begins_with_the_snapshot_and_goes_on_with_the_log() {
    let mut cluster = start(3).await;
    let replicas = cluster.create(1).await;
    fill(&replicas, 0..77).await;
    for id in cluster.ids() {
        let replica = &replicas[slot(id)];
        let host = cluster.host(id).clone();
        eventually("it took snapshots", || {
            replica.status().applied >= 77 && host.metrics().snapshots_taken >= 2
        })
        .await;
    }
    cluster.stop_all().await;
    for id in cluster.ids() {
        assert!(cluster.snapshots[slot(id)].list().unwrap().len() <= 2, "older ones are removed");
        cluster.open(id).await;
    }
    let replicas = cluster.create(1).await;
    assert!(replicas.iter().all(|replica| replica.status().applied >= 20 || replica.status().last == 0));
    assert_eq!(read(&replicas).await, numbers(77));
    fill(&replicas, 77..99).await;
    assert_eq!(read(&replicas).await, numbers(99));
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_log_without_the_snapshot_it_goes_on_from_is_refused() {
    let mut cluster = start(1).await;
    let group = cluster.create(1).await;
    fill(&group, 0..40).await;
    let host = cluster.host(NodeId(1)).clone();
    eventually("a snapshot is taken", || host.metrics().snapshots_taken > 1).await;
    cluster.stop_all().await;
    let mut snapshots = cluster.snapshots[0].clone();
    let names = snapshots.list().unwrap();
    assert!(!names.is_empty());
    let mut kept = Vec::new();
    for name in &names {
        let bytes = snapshots.read(name, 0, usize::MAX).unwrap();
        let mut damaged = bytes.to_vec();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        snapshots.write(name, 0, &damaged).unwrap();
        kept.push((name.clone(), bytes));
    }
    for _ in 0..2 {
        cluster.open(NodeId(1)).await;
        let host = cluster.host(NodeId(1)).clone();
        let refused = host.create_group(GroupId(1), cluster.ids(), Journal::default).await;
        let Err(CreateGroupError::Snapshot(SnapshotError::Missing { damaged, .. })) = refused else {
            panic!("a gap went unnoticed");
        };
        assert!(damaged.iter().any(|what| what.contains("checksum")), "{damaged:?}");
        cluster.stop_all().await;
    }
    assert_eq!(snapshots.list().unwrap().len(), names.len(), "a damaged snapshot is not removed");
    for (name, bytes) in kept {
        snapshots.write(&name, 0, &bytes).unwrap();
    }
    cluster.open(NodeId(1)).await;
    let group = cluster.create(1).await;
    assert_eq!(read(&group).await, numbers(40), "nor anything else");
    cluster.stop_all().await;
}
