//! Reads on both sides of a partition.

use super::dormitory::{CALM, Dormitory, ONE, THREE, TWO};
use super::support::{Cluster, PATIENCE, eventually};
use raftyard::{Clock, Consistency, LivenessTuning, NodeId, RoleKind, RuntimeClock, Timestamp, Tuning};
use raftyard_groups::Moment;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// Waits until all is calm, and somebody has the lease: on a busy machine that may be another one than just now.
pub(super) async fn who_has_the_lease(dormitory: &Dormitory) -> NodeId {
    let deadline = Instant::now() + PATIENCE;
    loop {
        dormitory.silence().await;
        let has_lease = |node: &NodeId| dormitory.replica(1, *node).status().lease;
        if let Some(leader) = [ONE, TWO, THREE].into_iter().find(has_lease) {
            return leader;
        }
        assert!(Instant::now() < deadline, "nobody has the lease");
    }
}

/// The old leader's node is cut off, while it holds the lease. Whatever it still answers, it never misses a line
/// that was acknowledged before it was asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn the_lease_of_a_leader_that_was_cut_off_is_over_before_another_one_serves() {
    let usual = LivenessTuning {
        heartbeat_interval_ms: 50,
        promise_ms: 600,
    };
    let mut dormitory = Dormitory::new(1, usual).await;
    let (mut lines, mut after_the_cut) = (0, 0);
    for _ in 0..4 {
        let leader = who_has_the_lease(&dormitory).await;
        let acknowledged = Arc::new(AtomicUsize::new(lines));
        let (is_cut, end) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        // On both sides, each as fast as it is answered.
        let readers = [ONE, TWO, THREE].map(|node| {
            let replica = dormitory.replica(1, node).clone();
            let (acknowledged, is_cut, end) = (acknowledged.clone(), is_cut.clone(), end.clone());
            let was_leader = node == leader;
            tokio::spawn(async move {
                // By the old leader, that were asked after it was cut off.
                let mut answered = 0_usize;
                while !end.load(Ordering::SeqCst) {
                    let is_late = was_leader && is_cut.load(Ordering::SeqCst);
                    let before = acknowledged.load(Ordering::SeqCst);
                    match replica.read((), Consistency::Linearizable).await {
                        Ok(lines) => {
                            answered += usize::from(is_late);
                            assert!(
                                lines.len() >= before,
                                "{node} misses what was acknowledged: {} of {before}",
                                lines.len()
                            );
                        }
                        Err(_) => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
                    }
                }
                answered
            })
        });
        dormitory.cluster.isolate(leader);
        is_cut.store(true, Ordering::SeqCst);
        let mut next = leader;
        eventually("another one leads", || {
            let leads = |node| dormitory.replica(1, node).status().role == RoleKind::Leader;
            let found = [ONE, TWO, THREE]
                .into_iter()
                .find(|node| *node != leader && leads(*node));
            next = found.unwrap_or(leader);
            next != leader
        })
        .await;
        for _ in 0..50 {
            if let Ok(count) = dormitory.replica(1, next).propose("a line".to_owned()).await {
                lines = count;
                acknowledged.store(count, Ordering::SeqCst);
            }
        }
        end.store(true, Ordering::SeqCst);
        let mut answered = [0; 3];
        for (reader, answered) in readers.into_iter().zip(&mut answered) {
            *answered = reader.await.expect("a read was too old");
        }
        after_the_cut += answered.iter().sum::<usize>();
        dormitory.cluster.heal(leader);
    }
    assert!(lines > 0 && after_the_cut > 0, "both sides served");
    dormitory.cluster.stop_all().await;
}

/// Goes on until it is stopped. Clones are the same.
#[derive(Clone, Debug)]
struct Stoppable {
    clock: Arc<RuntimeClock>,
    stopped_at: Arc<AtomicU64>,
}

impl Clock for Stoppable {
    fn now(&self) -> Moment {
        self.clock.now().min(Moment(self.stopped_at.load(Ordering::SeqCst)))
    }

    fn wall(&self) -> Timestamp {
        self.clock.wall()
    }
}

/// To the old leader no promise is ever over: with leases it would go on answering.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn without_leases_a_leader_whose_clock_stands_still_answers_nothing_old() {
    let mut cluster = Cluster::closed(3);
    cluster.liveness = CALM;
    cluster.tuning = Tuning {
        // The first one leads on, however late its disk is.
        election_timeout_ms: 3_000,
        heartbeat_interval_ms: 40,
        lease_reads: false,
        ..Tuning::default()
    };
    let clock = Stoppable {
        clock: Arc::new(RuntimeClock::start()),
        stopped_at: Arc::new(AtomicU64::new(u64::MAX)),
    };
    let builder = cluster.builder(ONE).log_store(cluster.disk(ONE)).clock(clock.clone());
    let host = builder.open().await.unwrap();
    cluster.put(ONE, host);
    cluster.open(TWO).await;
    cluster.open(THREE).await;
    let mut dormitory = Dormitory {
        groups: vec![cluster.create(1).await],
        cluster,
    };
    dormitory.lead(1, ONE).await;
    let old = dormitory.replica(1, ONE).clone();
    old.propose("a line".to_owned()).await.unwrap();
    dormitory.all_sleep().await;
    assert!(!old.status().lease);
    let lines = old.read((), Consistency::Linearizable).await.unwrap();
    assert_eq!(lines.len(), 1, "it is asked whether it still leads");

    clock.stopped_at.store(clock.now().0, Ordering::SeqCst);
    dormitory.cluster.isolate(ONE);
    let leads = |node: &NodeId| dormitory.replica(1, *node).status().role == RoleKind::Leader;
    let mut next = None;
    eventually("another one leads", || {
        next = [TWO, THREE].into_iter().find(leads);
        next.is_some()
    })
    .await;
    let next = next.unwrap_or(TWO);
    dormitory.replica(1, next).propose("another".to_owned()).await.unwrap();
    assert_eq!(old.status().role, RoleKind::Leader, "as far as it knows");
    let turns = old.status().turns;
    let late = tokio::spawn({
        let old = old.clone();
        async move { old.read((), Consistency::Linearizable).await }
    });
    eventually("the read is taken", || old.status().turns > turns).await;
    dormitory.cluster.heal(ONE);
    if let Ok(lines) = late.await.unwrap() {
        assert_eq!(lines.len(), 2, "it misses what was acknowledged");
    }
    dormitory.cluster.stop_all().await;
}
