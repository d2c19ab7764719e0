//! Nodes that are started again don't know what they promised before.

use super::support::{Cluster, Journal, eventually, leader_of, propose};
use raftyard::{Clock, GroupId, LivenessTuning, Timestamp, Tuning};
use raftyard_groups::Moment;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Moves when it is told to.
#[derive(Clone, Debug, Default)]
struct Told(Arc<AtomicU64>);

impl Clock for Told {
    fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::SeqCst))
    }

    fn wall(&self) -> Timestamp {
        Timestamp(self.now().0)
    }
}

#[tokio::test]
async fn nobody_votes_before_the_promises_of_the_last_life_are_over() {
    let mut cluster = Cluster::closed(3);
    cluster.liveness = LivenessTuning {
        heartbeat_interval_ms: 50,
        promise_ms: 3_000,
    };
    cluster.tuning = Tuning {
        election_timeout_ms: 100,
        heartbeat_interval_ms: 20,
        ..Tuning::default()
    };
    cluster.open_all().await;
    let replicas = cluster.create(1).await;
    propose(&replicas, "a line").await;
    let leader = leader_of(&replicas, &cluster.ids()).await.status();
    drop(replicas);
    cluster.stop_all().await;
    let before: Vec<_> = cluster
        .ids()
        .iter()
        .map(|id| cluster.on_disk(*id, 1).hard_state)
        .collect();
    let term = before.iter().map(|state| state.term.0).max().unwrap();
    assert!(term >= leader.term);

    // The next lives promise less: what counts is what was promised before.
    cluster.liveness.promise_ms = 300;
    let clock = Told::default();
    let mut hosts = Vec::new();
    let mut replicas = Vec::new();
    for id in cluster.ids() {
        let builder = cluster.builder(id).clock(clock.clone()).log_store(cluster.disk(id));
        hosts.push(builder.open().await.unwrap());
    }
    for host in &hosts {
        let created = host.create_group(GroupId(1), cluster.ids(), Journal::default);
        replicas.push(created.await.unwrap());
    }
    // Thirty election timeouts.
    while clock.now().0 < 3_000 {
        clock.0.fetch_add(10, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(
            replicas.iter().all(|replica| replica.leader().is_none()),
            "at {}",
            clock.now().0
        );
    }
    let after: Vec<_> = cluster
        .ids()
        .iter()
        .map(|id| cluster.on_disk(*id, 1).hard_state)
        .collect();
    assert_eq!(after, before, "nobody voted");
    eventually("one leads", || {
        clock.0.fetch_add(5, Ordering::SeqCst);
        replicas.iter().any(|replica| replica.leader().is_some())
    })
    .await;
    for host in hosts {
        host.shutdown().await;
    }
}
