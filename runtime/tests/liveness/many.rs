//! Very many groups at once: they get their leaders one after the other, hardly any of them asks twice, and all sleep.

use super::support::{Cluster, Journal, eventually};
use raftyard::{Group, GroupId, HostMetrics, LivenessTuning, NodeId};
use tokio::task::JoinSet;

const GROUPS: u64 = 1_000;

fn cluster() -> Cluster {
    let mut cluster = Cluster::closed(3);
    cluster.liveness = LivenessTuning {
        heartbeat_interval_ms: 100,
        promise_ms: 3_000,
    };
    // A debug build on a busy machine must not time anybody out that waits for its turn.
    cluster.tuning.election_timeout_ms = 10_000;
    cluster
}

/// Hosts all groups on all nodes, some at a time: so a replica that campaigns finds its peers there.
async fn host_all(cluster: &Cluster) -> Vec<Group<Journal>> {
    let mut replicas = cluster.create(GROUPS).await;
    eventually("the nodes are connected", || {
        replicas.iter().all(|replica| replica.leader().is_some())
    })
    .await;
    for some in (0..GROUPS).collect::<Vec<_>>().chunks(100) {
        let mut creating = JoinSet::new();
        for group in some.iter().copied().map(GroupId) {
            for id in cluster.ids() {
                let (host, ids) = (cluster.host(id).clone(), cluster.ids());
                creating.spawn(async move { host.create_group(group, ids, Journal::default).await });
            }
        }
        replicas.extend(creating.join_all().await.into_iter().map(Result::unwrap));
    }
    replicas
}

fn metrics(cluster: &Cluster) -> HostMetrics {
    cluster.ids().into_iter().map(|id| cluster.host(id).metrics()).sum()
}

/// Waits until all replicas sleep, each behind a leader.
async fn all_sleep(replicas: &[Group<Journal>]) {
    eventually("all replicas sleep", || {
        let sleeps = |replica: &Group<Journal>| replica.status().asleep && replica.leader().is_some();
        replicas.iter().all(sleeps)
    })
    .await;
}

/// How many terms the groups are through, together.
fn terms(replicas: &[Group<Journal>]) -> u64 {
    let leads = |replica: &&Group<Journal>| replica.leader() == Some(replica.node());
    replicas.iter().filter(leads).map(|replica| replica.status().term).sum()
}

/// On a machine that has time it is hardly more than one each. On a busy one peers are late to answer, so that a
/// campaign is repeated, twice at most, and disks seem to stand still, so that leaders hand over: a storm it is not.
fn check(what: &str, elections: u64, metrics: HostMetrics) {
    let campaigns = metrics.campaigns;
    eprintln!("{what}: {GROUPS} groups, {elections} elections, {campaigns} campaigns");
    assert!(
        (GROUPS..=GROUPS * 3 / 2).contains(&elections),
        "{what}: {elections} elections"
    );
    assert!(
        (GROUPS..=GROUPS * 3).contains(&campaigns),
        "{what}: {campaigns} campaigns"
    );
}

#[tokio::test]
async fn new_groups_and_those_of_nodes_that_start_again_are_led_without_a_storm() {
    let mut cluster = cluster();
    cluster.open_all().await;
    let replicas = host_all(&cluster).await;
    all_sleep(&replicas).await;
    check("new", terms(&replicas), metrics(&cluster));
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
    all_sleep(&replicas).await;
    check("after a restart", GROUPS, metrics(&cluster));

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
