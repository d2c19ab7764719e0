//! Reads on both sides of a partition.

use super::dormitory::{Dormitory, ONE, THREE, TWO};
use super::support::eventually;
use raftyard::{Consistency, LivenessTuning, RoleKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The old leader's node is cut off, while it holds the lease. Whatever it still answers, it never misses a line
/// that was acknowledged before it was asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn the_lease_of_a_leader_that_was_cut_off_is_over_before_another_one_serves() {
    let usual = LivenessTuning {
        heartbeat_interval_ms: 50,
        promise_ms: 600,
    };
    let mut dormitory = Dormitory::new(1, usual).await;
    let mut leader = ONE;
    let (mut lines, mut after_the_cut) = (0, 0);
    for _ in 0..4 {
        dormitory.silence().await;
        assert!(dormitory.replica(1, leader).status().lease);
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
        leader = next;
    }
    assert!(lines > 0 && after_the_cut > 0, "both sides served");
    dormitory.cluster.stop_all().await;
}
