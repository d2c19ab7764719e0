//! What groups without work cost, and what wakes them.

use super::dormitory::{Dormitory, LONG, ONE, THREE, TWO};
use super::partition::who_has_the_lease;
use super::support::{change, eventually, propose};
use raftyard::{Consistency, LivenessTuning, MembershipChange, RoleKind};

#[tokio::test]
async fn groups_without_work_take_no_turn_and_say_nothing() {
    let mut dormitory = Dormitory::new(20, LONG).await;
    dormitory.silence().await;
    let turns = dormitory.turns();
    // Three nodes, two peers each: a hundred intervals, many election timeouts.
    let done = dormitory.during(600).await;
    assert_eq!(dormitory.turns(), turns);
    assert_eq!(
        (done.group_turns, done.messages_sent, done.fsyncs),
        (0, 0, 0),
        "{done:?}"
    );
    // From the beginning on: answers to heartbeats of before may still come. Those sent first, since they grow.
    let sent = dormitory.metrics().node_messages_sent;
    assert!(
        sent <= 2 * dormitory.metrics().node_heartbeats,
        "a heartbeat and its answer, whatever the number of groups: {done:?}"
    );
    assert!(dormitory.replicas().all(|replica| replica.status().asleep));
    dormitory.cluster.stop_all().await;
}

#[tokio::test]
async fn a_worker_whose_groups_sleep_hardly_looks_at_its_clock() {
    let slow = LivenessTuning {
        heartbeat_interval_ms: 100,
        ..LONG
    };
    let mut dormitory = Dormitory::new(1, slow).await;
    dormitory.silence().await;
    let done = dormitory.during(60).await;
    // Two workers on each node tick once each where it sends two heartbeats. Every 10 ms would be ten times that.
    assert!((1..=3 * done.node_heartbeats).contains(&done.ticks), "{done:?}");
    dormitory.cluster.stop_all().await;
}

#[tokio::test]
async fn a_write_wakes_its_group_alone_and_it_sleeps_again() {
    let mut dormitory = Dormitory::new(10, LONG).await;
    dormitory.silence().await;
    let before = dormitory.turns();
    assert_eq!(dormitory.replica(7, ONE).propose("a line".to_owned()).await, Ok(1));
    dormitory.silence().await;
    let after = dormitory.turns();
    for (group, (before, after)) in before.iter().zip(&after).enumerate() {
        let woke = before.iter().zip(after).all(|(before, after)| before < after);
        assert_eq!(woke, group == 6, "group {}: {before:?} {after:?}", group + 1);
        assert!(
            group == 6 || before == after,
            "group {}: {before:?} {after:?}",
            group + 1
        );
    }
    for node in [ONE, TWO, THREE] {
        let lines = dormitory.replica(7, node).read((), Consistency::Stale).await;
        assert_eq!(lines, Ok(vec!["a line".to_owned()]), "they know that it is committed");
    }
    dormitory.cluster.stop_all().await;
}

#[tokio::test]
async fn reads_of_a_sleeping_group_cost_no_message_and_leave_it_asleep() {
    let mut dormitory = Dormitory::new(1, LONG).await;
    propose(&dormitory.groups[0], "a line").await;
    let id = who_has_the_lease(&dormitory).await;
    let leader = dormitory.replica(1, id);
    assert_eq!(leader.status().role, RoleKind::Leader);
    let has_lease = dormitory.replicas().map(|replica| replica.status().lease);
    assert_eq!(has_lease.filter(|has_lease| *has_lease).count(), 1);
    let before = dormitory.metrics();
    for _ in 0..100 {
        let lines = leader.read((), Consistency::Linearizable).await;
        assert_eq!(lines, Ok(vec!["a line".to_owned()]));
        assert!(leader.status().asleep);
    }
    let done = dormitory.metrics().since(&before);
    assert_eq!((done.messages_sent, done.fsyncs), (0, 0), "{done:?}");
    dormitory.cluster.stop_all().await;
}

#[tokio::test]
async fn a_read_at_a_sleeping_follower_is_answered() {
    let mut dormitory = Dormitory::new(1, LONG).await;
    propose(&dormitory.groups[0], "a line").await;
    dormitory.silence().await;
    let lines = dormitory.replica(1, THREE).read((), Consistency::Follower).await;
    assert_eq!(lines, Ok(vec!["a line".to_owned()]));
    dormitory.silence().await;
    dormitory.cluster.stop_all().await;
}

#[tokio::test]
async fn a_sleeping_group_changes_its_leader_and_its_members() {
    let mut dormitory = Dormitory::new(2, LONG).await;
    dormitory.silence().await;
    dormitory.lead(1, TWO).await;
    change(&dormitory.groups[0], &MembershipChange::remove(THREE)).await;
    let left = dormitory.replica(1, THREE);
    eventually("the third was told", || left.status().member.is_none()).await;
    assert_eq!(propose(&dormitory.groups[0], "without the third").await, 1);
    eventually("the others sleep", || {
        [ONE, TWO]
            .iter()
            .all(|node| dormitory.replica(1, *node).status().asleep)
    })
    .await;
    dormitory.cluster.stop_all().await;
}
