//! Very many groups at once: they get their leaders one after the other, hardly any of them asks twice, and all sleep.

use super::support::{Cluster, Journal, eventually};
use raftyard::{Group, GroupId, HostMetrics, LivenessTuning, NodeId, Tuning};
use tokio::task::JoinSet;

const GROUPS: u64 = 3_000;

fn cluster() -> Cluster {
    let mut cluster = Cluster::closed(3);
    cluster.liveness = LivenessTuning {
        heartbeat_interval_ms: 100,
        promise_ms: 5_000,
    };
    cluster.tuning = Tuning::default();
    cluster
}

/// Hosts all groups on all nodes.
async fn host_all(cluster: &Cluster) -> Vec<Group<Journal>> {
    let mut creating = JoinSet::new();
    for group in 0..GROUPS {
        for id in cluster.ids() {
            let (host, ids) = (cluster.host(id).clone(), cluster.ids());
            creating.spawn(async move { host.create_group(GroupId(group), ids, Journal::default).await });
        }
    }
    creating.join_all().await.into_iter().map(Result::unwrap).collect()
}

fn metrics(cluster: &Cluster) -> HostMetrics {
    cluster.ids().into_iter().map(|id| cluster.host(id).metrics()).sum()
}

/// Waits until all replicas sleep, each behind a leader, and tells how often somebody campaigned since the nodes were
/// opened.
async fn campaigns_until_all_sleep(cluster: &Cluster, replicas: &[Group<Journal>]) -> u64 {
    eventually("all replicas sleep", || {
        replicas
            .iter()
            .all(|replica| replica.status().asleep && replica.leader().is_some())
    })
    .await;
    metrics(cluster).campaigns
}

#[tokio::test]
async fn new_groups_and_those_of_nodes_that_start_again_are_led_after_hardly_more_than_a_campaign_each() {
    let mut cluster = cluster();
    cluster.open_all().await;
    let replicas = host_all(&cluster).await;
    let campaigns = campaigns_until_all_sleep(&cluster, &replicas).await;
    assert!(
        (GROUPS..=GROUPS * 12 / 10).contains(&campaigns),
        "{campaigns} campaigns"
    );
    let led = |node: NodeId| {
        replicas
            .iter()
            .filter(|replica| replica.node() == node && replica.leader() == Some(node))
            .count() as u64
    };
    for id in cluster.ids() {
        assert!(led(id) > GROUPS / 4, "{id} leads {}", led(id));
    }

    drop(replicas);
    cluster.stop_all().await;
    cluster.open_all().await;
    let replicas = host_all(&cluster).await;
    let campaigns = campaigns_until_all_sleep(&cluster, &replicas).await;
    assert!(
        (GROUPS..=GROUPS * 12 / 10).contains(&campaigns),
        "{campaigns} campaigns after a restart"
    );

    // Asleep for good: nothing is sent, nobody is given a turn, nobody waits for a moment.
    let mut before = metrics(&cluster);
    eventually("they are silent while heartbeats go by", || {
        let done = metrics(&cluster).since(&before);
        let is_silent = (done.messages_sent, done.group_turns, done.timers) == (0, 0, 0);
        if !is_silent {
            before = metrics(&cluster);
        }
        is_silent && done.node_heartbeats >= 60
    })
    .await;
    drop(replicas);
    cluster.stop_all().await;
}
