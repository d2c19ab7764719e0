//! What groups share: messages and fsyncs are paid per node.

use super::support::{Cluster, Journal, eventually, leader_of, propose, read};
use raftyard::{GroupId, LivenessTuning, NodeId, Placement, RaftHost, RuntimeClock};
use std::sync::Arc;
use tokio::task::LocalSet;

#[tokio::test]
async fn groups_are_apart_and_their_leaders_spread() {
    let mut cluster = Cluster::start_steady(3).await;
    let mut groups = Vec::new();
    for group in 0..60 {
        groups.push(cluster.create(group).await);
    }
    for (group, replicas) in groups.iter().enumerate() {
        propose(replicas, &format!("only {group}")).await;
    }
    for (group, replicas) in groups.iter().enumerate() {
        assert_eq!(read(replicas).await, [format!("only {group}")]);
    }
    for id in cluster.ids() {
        let led = groups
            .iter()
            .filter(|replicas| replicas[0].leader() == Some(id))
            .count();
        assert!(led >= 1, "{id} leads none of 60 groups");
    }
    cluster.stop_all().await;
}

/// As nodes of a cluster start: one has all its groups before the next has any.
#[tokio::test]
async fn leaders_spread_though_nodes_start_one_after_the_other() {
    let mut cluster = Cluster::start_steady(3).await;
    let mut replicas = Vec::new();
    for id in cluster.ids() {
        let created = (0..60).map(|group| cluster.create_on(id, group));
        replicas.extend(futures::future::join_all(created).await);
    }
    eventually("all know a leader", || {
        replicas.iter().all(|replica| replica.leader().is_some())
    })
    .await;
    for id in cluster.ids() {
        let led = replicas[..60]
            .iter()
            .filter(|replica| replica.leader() == Some(id))
            .count();
        // A third each, but for elections that a busy machine was late for.
        assert!(led >= 10, "{id} leads {led} of 60 groups");
    }
    cluster.stop_all().await;
}

/// Counted, not timed: what queues while an fsync runs shares the next one, and what queues for a peer
/// shares a call.
#[tokio::test]
async fn many_writes_share_few_fsyncs_and_few_calls() {
    let mut cluster = Cluster::start_steady(3).await;
    let mut leaders = Vec::new();
    for group in 0..16 {
        let replicas = cluster.create(group).await;
        leaders.push(leader_of(&replicas, &cluster.ids()).await.clone());
    }
    let before: raftyard::HostMetrics = cluster.ids().iter().map(|id| cluster.host(*id).metrics()).sum();
    let mut writes = 0;
    for _ in 0..20 {
        let proposals: Vec<_> = leaders
            .iter()
            .flat_map(|leader| (0..50).map(|n| leader.propose(n.to_string())))
            .collect();
        writes += proposals.len() as u64;
        for proposal in proposals {
            proposal.await.expect("accepted");
        }
    }
    let after: raftyard::HostMetrics = cluster.ids().iter().map(|id| cluster.host(*id).metrics()).sum();
    let did = after.since(&before);
    assert!(
        did.entries_written >= writes * 2,
        "a quorum of three wrote each: {did:?}"
    );
    assert!(did.fsyncs * 4 < writes, "{writes} writes took {} fsyncs", did.fsyncs);
    assert!(
        did.frames_sent * 2 < writes,
        "{writes} writes took {} calls",
        did.frames_sent
    );
    cluster.stop_all().await;
}

/// Of groups that are awake, since their nodes say too seldom that they live.
#[tokio::test]
async fn heartbeats_of_many_groups_share_frames() {
    let mut cluster = Cluster::closed(3);
    cluster.liveness = LivenessTuning {
        heartbeat_interval_ms: 600_000,
        promise_ms: 2_400_000,
    };
    cluster.open_all().await;
    let mut groups = Vec::new();
    for group in 0..200 {
        groups.push(cluster.create(group).await);
    }
    for replicas in &groups {
        leader_of(replicas, &cluster.ids()).await;
    }
    let before = cluster.host(NodeId(1)).metrics();
    let mut did = before.since(&before);
    eventually("a thousand messages were sent", || {
        did = cluster.host(NodeId(1)).metrics().since(&before);
        did.messages_sent > 1_000
    })
    .await;
    assert!(
        did.frames_sent * 10 < did.messages_sent,
        "{} messages took {} frames",
        did.messages_sent,
        did.frames_sent
    );
    cluster.stop_all().await;
}

/// The same actors on one thread, on a clock that the test's runtime owns: no thread is started, no real
/// time passes.
#[tokio::test(start_paused = true)]
async fn a_cluster_runs_on_one_thread_on_simulated_time() {
    LocalSet::new()
        .run_until(async {
            let network = raftyard::MemoryNetwork::new();
            let mut replicas = Vec::new();
            let mut hosts = Vec::new();
            for id in (1..=3).map(NodeId) {
                let builder = RaftHost::builder("")
                    .node(id)
                    .listen(id.to_string())
                    .workers(2)
                    .seed(id.0)
                    .placement(Placement::Here)
                    .clock(RuntimeClock::start())
                    .network(network.node(id))
                    .log_store(raftyard::store::MemoryLogStore::default());
                let builder = (1..=3)
                    .map(NodeId)
                    .fold(builder, |b, peer| b.peer(peer, peer.to_string()));
                let host = builder.open().await.expect("opens");
                for group in 0..4 {
                    let members = (1..=3).map(NodeId);
                    let created = host.create_group(GroupId(group), members, Journal::default);
                    replicas.push(Arc::new(created.await.expect("created")));
                }
                hosts.push(host);
            }
            for group in 0..4 {
                let of_group: Vec<_> = replicas
                    .iter()
                    .filter(|replica| replica.id() == GroupId(group))
                    .map(|replica| (**replica).clone())
                    .collect();
                propose(&of_group, "simulated").await;
                assert_eq!(read(&of_group).await, ["simulated"]);
            }
            for host in hosts {
                host.shutdown().await;
            }
        })
        .await;
}
