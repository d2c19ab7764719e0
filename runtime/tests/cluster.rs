//! Groups on the real runtime: actors, tarpc over pipes in memory, log stores in memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    dead_code,
    missing_docs
)]

mod support;

#[path = "cluster/chaos.rs"]
mod chaos;
#[path = "cluster/client.rs"]
mod client;
#[path = "cluster/damage.rs"]
mod damage;
#[path = "cluster/disk.rs"]
mod disk;
#[path = "cluster/dropped.rs"]
mod dropped;
#[path = "cluster/errors.rs"]
mod errors;
#[path = "cluster/faults.rs"]
mod faults;
#[path = "cluster/import.rs"]
mod import;
#[path = "cluster/leadership.rs"]
mod leadership;
#[path = "cluster/lifecycle.rs"]
mod lifecycle;
#[path = "cluster/lives.rs"]
mod lives;
#[path = "cluster/lost_snapshots.rs"]
mod lost_snapshots;
#[path = "cluster/many.rs"]
mod many;
#[path = "cluster/membership.rs"]
mod membership;
#[path = "cluster/membership_chaos.rs"]
mod membership_chaos;
#[path = "cluster/no_room.rs"]
mod no_room;
#[path = "cluster/peers.rs"]
mod peers;
#[path = "cluster/rebuild.rs"]
mod rebuild;
#[path = "cluster/sessions.rs"]
mod sessions;
#[path = "cluster/sharing.rs"]
mod sharing;
#[path = "cluster/sick_disk.rs"]
mod sick_disk;
#[path = "cluster/snapshots.rs"]
mod snapshots;
#[path = "cluster/tenants.rs"]
mod tenants;
#[path = "cluster/unsettled.rs"]
mod unsettled;
#[path = "cluster/wiped.rs"]
mod wiped;
#[path = "cluster/witnesses.rs"]
mod witnesses;
#[path = "cluster/yard.rs"]
mod yard;

use raftyard::{Consistency, GroupId, NodeId, ProposeError, RaftHost};
use support::{Cluster, Journal, eventually, leader_of, propose, read};

#[tokio::test]
async fn what_is_proposed_is_applied_by_every_replica_in_the_same_order() {
    let mut cluster = Cluster::start_steady(3).await;
    let replicas = cluster.create(7).await;
    let leader = leader_of(&replicas, &cluster.ids()).await;
    // Queued by the call: in this order, without waiting in between.
    let proposals: Vec<_> = (0..500).map(|n| leader.propose(n.to_string())).collect();
    for (n, proposal) in proposals.into_iter().enumerate() {
        assert_eq!(proposal.await, Ok(n + 1), "the response is that of its own command");
    }
    let expected: Vec<String> = (0..500).map(|n| n.to_string()).collect();
    assert_eq!(leader.read((), Consistency::Linearizable).await.as_ref(), Ok(&expected));
    let applied = leader.status().applied;
    eventually("all replicas applied all of it", || {
        replicas.iter().all(|replica| replica.status().applied == applied)
    })
    .await;
    for replica in &replicas {
        assert_eq!(
            replica.read((), Consistency::Stale).await.as_ref(),
            Ok(&expected),
            "{replica:?}"
        );
    }
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_restarted_cluster_has_what_was_acknowledged() {
    let mut cluster = Cluster::start(3).await;
    let replicas = cluster.create(1).await;
    for n in 0..100 {
        propose(&replicas, &n.to_string()).await;
    }
    let before = read(&replicas).await;
    cluster.stop_all().await;
    for id in cluster.ids() {
        cluster.open(id).await;
    }
    let replicas = cluster.create(1).await;
    assert_eq!(read(&replicas).await, before);
    propose(&replicas, "after").await;
    assert_eq!(read(&replicas).await.len(), before.len() + 1);
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_single_node_is_a_cluster() {
    let hosts = RaftHost::in_memory(1).await.unwrap();
    let group = hosts[0]
        .create_group(GroupId(1), [NodeId(1)], Journal::default)
        .await
        .unwrap();
    assert_eq!(group.wait_for_leader().await, Ok(NodeId(1)));
    assert_eq!(group.propose("alone".to_owned()).await, Ok(1));
    assert_eq!(
        group.read((), Consistency::Linearizable).await,
        Ok(vec!["alone".to_owned()])
    );
    hosts[0].shutdown().await;
}

#[test]
fn handles_work_from_a_plain_thread_without_any_runtime() {
    futures::executor::block_on(async {
        let hosts = RaftHost::in_memory(3).await.unwrap();
        let mut replicas = Vec::new();
        for host in &hosts {
            let members = (1..=3).map(NodeId);
            replicas.push(host.create_group(GroupId(5), members, Journal::default).await.unwrap());
        }
        let proposed = std::thread::spawn(move || {
            futures::executor::block_on(async {
                loop {
                    let leader = replicas[0].wait_for_leader().await.unwrap();
                    match replicas[support::slot(leader)].propose("here".to_owned()).await {
                        // Another one leads by now.
                        Err(ProposeError::NotLeader { .. }) => {}
                        outcome => return outcome,
                    }
                }
            })
        });
        assert_eq!(proposed.join().unwrap(), Ok(1));
        for host in &hosts {
            host.shutdown().await;
        }
    });
}
