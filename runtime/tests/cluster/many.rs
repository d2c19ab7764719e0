//! Many commands in one call.

use super::support::{Cluster, PATIENCE, eventually, leader_of};
use raftyard::{Consistency, Group, Limits, ProposeError, QuarantineReason, Replicated};
use std::sync::mpsc;

fn lines(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

/// Proposes for as long as `rounds` says, each time from the call with the outcomes of the time before.
fn again_and_again<S: Replicated<Command = String, Response = usize>>(
    group: &Group<S>,
    rounds: usize,
    told: mpsc::Sender<Vec<Result<usize, ProposeError>>>,
) {
    let next = group.clone();
    group.propose_many_then(lines(3), move |outcomes| {
        told.send(outcomes).unwrap();
        if rounds > 1 {
            again_and_again(&next, rounds - 1, told);
        }
    });
}

#[tokio::test]
async fn a_batch_is_applied_in_its_order_and_answered_command_by_command() {
    let mut cluster = Cluster::start_steady(3).await;
    let replicas = cluster.create(1).await;
    let leader = leader_of(&replicas, &cluster.ids()).await;
    let (one, other) = (leader.propose_many(lines(100)), leader.propose_many(lines(50)));
    let single = leader.propose("last".to_owned());
    assert_eq!(other.await, (101..=150).map(Ok).collect::<Vec<_>>());
    assert_eq!(one.await, (1..=100).map(Ok).collect::<Vec<_>>());
    assert_eq!(single.await, Ok(151));
    let expected = [lines(100), lines(50), vec!["last".to_owned()]].concat();
    assert_eq!(leader.read((), Consistency::Linearizable).await, Ok(expected));
    assert_eq!(leader.propose_many(Vec::new()).await, []);
    cluster.stop_all().await;
}

#[tokio::test]
async fn who_is_called_with_the_outcomes_can_propose_again() {
    let mut cluster = Cluster::start_steady(3).await;
    let replicas = cluster.create(1).await;
    let leader = leader_of(&replicas, &cluster.ids()).await;
    let (told, outcomes) = mpsc::channel();
    again_and_again(leader, 10, told);
    let outcomes = tokio::task::spawn_blocking(move || outcomes.iter().collect::<Vec<_>>());
    let outcomes = tokio::time::timeout(PATIENCE, outcomes).await.unwrap().unwrap();
    let expected: Vec<Vec<_>> = (0..10)
        .map(|round| (1..=3).map(|n| Ok(3 * round + n)).collect())
        .collect();
    assert_eq!(outcomes, expected);
    // Who panics there does no harm.
    leader.propose_many_then(lines(1), |_| panic!("on purpose"));
    assert_eq!(leader.propose("after".to_owned()).await, Ok(32));
    cluster.stop_all().await;
}

#[tokio::test]
async fn each_command_of_a_batch_is_refused_for_itself_and_all_of_them_if_there_is_no_room() {
    let limits = Limits {
        request_bytes_max: 4_000,
        command_bytes_max: 1_000,
        ..Limits::default()
    };
    let mut cluster = Cluster::start_steady_with(3, limits).await;
    let replicas = cluster.create(1).await;
    let ids = cluster.ids();
    let leader = leader_of(&replicas, &ids).await;
    let (small, large) = ("small".to_owned(), "x".repeat(1_001));
    let outcomes = leader.propose_many(vec![small.clone(), large, small]).await;
    assert!(matches!(
        outcomes[..],
        [Ok(1), Err(ProposeError::TooLarge { bytes_limit: 1_000, .. }), Ok(2)]
    ));
    let outcomes = leader.propose_many(lines(100)).await;
    assert_eq!(outcomes.len(), 100);
    // The share of a group that is alone: eight ninths.
    let share = |outcome: &Result<_, _>| matches!(outcome, Err(ProposeError::TooLarge { bytes_limit: 3_555, .. }));
    assert!(outcomes.iter().all(share), "{outcomes:?}");
    assert_eq!(
        leader.propose("3".to_owned()).await,
        Ok(3),
        "nothing of it was applied, and the room is there"
    );
    eventually("all know the leader", || {
        replicas.iter().all(|replica| replica.leader() == leader.leader())
    })
    .await;
    let follower = replicas.iter().find(|replica| Some(replica.node()) != leader.leader());
    let refused = Err(ProposeError::NotLeader {
        leader: leader.leader(),
    });
    assert_eq!(follower.unwrap().propose_many(lines(2)).await, vec![refused; 2]);
    cluster.stop_all().await;
    assert_eq!(leader.propose_many(lines(2)).await, vec![Err(ProposeError::Closed); 2]);
}

#[tokio::test]
async fn a_batch_that_stops_its_replica_is_answered() {
    let mut cluster = Cluster::start(1).await;
    let group = cluster.create(1).await.remove(0);
    leader_of(std::slice::from_ref(&group), &cluster.ids()).await;
    let outcomes = group
        .propose_many(vec!["1".to_owned(), "panic".to_owned(), "3".to_owned()])
        .await;
    assert_eq!(outcomes.len(), 3);
    assert!(outcomes[1..].iter().all(|outcome| match outcome {
        Err(error) => error.may_have_happened(),
        Ok(_) => false,
    }));
    let refused = group.propose_many(lines(2)).await;
    assert!(refused.iter().all(|outcome| matches!(
        outcome,
        Err(ProposeError::Quarantined(QuarantineReason::ApplyPanicked(_)))
    )));
    cluster.stop_all().await;
}
