//! Nodes that vanish and come back.

use super::dormitory::{Dormitory, ONE, THREE, TWO};
use super::support::eventually;
use raftyard::{LivenessTuning, RoleKind};

/// What a node promised ends while a test waits for it, and not because a busy machine held somebody up.
const SLOW: LivenessTuning = LivenessTuning {
    heartbeat_interval_ms: 100,
    promise_ms: 10_000,
};

#[tokio::test]
async fn the_loss_of_a_followers_node_wakes_no_leader() {
    let mut dormitory = Dormitory::new(8, SLOW).await;
    dormitory.silence().await;
    let before = dormitory.metrics();
    let turns = dormitory.turns();
    let terms: Vec<u64> = (1..=8)
        .map(|group| dormitory.replica(group, ONE).status().term)
        .collect();
    dormitory.cluster.isolate(THREE);
    eventually("the followers there are free", || {
        (1..=8).all(|group| dormitory.replica(group, THREE).leader().is_none())
    })
    .await;
    eventually("all leaders looked", || {
        (1..=8)
            .zip(&turns)
            .all(|(group, turns)| dormitory.replica(group, ONE).status().turns > turns[0])
    })
    .await;
    dormitory.during(100).await;
    for node in [ONE, TWO] {
        let host = dormitory.cluster.host(node).metrics();
        assert!(
            (1..=8).all(|group| dormitory.replica(group, node).status().asleep),
            "{host:?}"
        );
    }
    for (group, turns) in (1..=8).zip(&turns) {
        let now = [ONE, TWO].map(|node| dormitory.replica(group, node).status().turns);
        assert_eq!(
            now,
            [turns[0] + 1, turns[1]],
            "the leader looked once, its follower had no reason to"
        );
    }
    // Nobody but the third node had anything to say.
    let said: u64 = [ONE, TWO]
        .iter()
        .map(|node| dormitory.cluster.host(*node).metrics().fsyncs)
        .sum();
    let third = dormitory.cluster.host(THREE).metrics().fsyncs;
    assert_eq!(said + third, before.fsyncs);

    // What is written meanwhile it gets when it is back; only that group has something to tell it.
    assert_eq!(
        dormitory.replica(3, ONE).propose("while it was away".to_owned()).await,
        Ok(1)
    );
    eventually("the other two sleep again", || {
        [ONE, TWO]
            .iter()
            .all(|node| dormitory.replica(3, *node).status().asleep)
    })
    .await;
    dormitory.cluster.heal(THREE);
    dormitory.silence().await;
    for (group, term) in (1..=8).zip(terms) {
        let status = dormitory.replica(group, THREE).status();
        assert_eq!(
            (status.leader, status.term),
            (Some(ONE), term),
            "group {group}: no election was held"
        );
        assert_eq!(status.applied, dormitory.replica(group, ONE).status().applied);
    }
    dormitory.cluster.stop_all().await;
}

#[tokio::test]
async fn the_loss_of_a_leaders_node_wakes_the_groups_that_it_led_and_no_other() {
    let mut dormitory = Dormitory::new(8, SLOW).await;
    for group in 5..=8 {
        dormitory.lead(group, TWO).await;
    }
    dormitory.silence().await;
    let turns = dormitory.turns();
    let terms: Vec<u64> = (1..=8)
        .map(|group| dormitory.replica(group, TWO).status().term)
        .collect();
    dormitory.cluster.isolate(ONE);
    eventually("others lead what was led there", || {
        (1..=4).all(|group| {
            let led = |node| dormitory.replica(group, node).status().role == RoleKind::Leader;
            led(TWO) || led(THREE)
        })
    })
    .await;
    eventually("they sleep again", || {
        (1..=8).all(|group| {
            [TWO, THREE]
                .iter()
                .all(|node| dormitory.replica(group, *node).status().asleep)
        })
    })
    .await;
    for group in 5..=8 {
        let [_, leader, follower] = dormitory.turns()[group - 1][..] else {
            panic!("three nodes");
        };
        let [_, led, followed] = turns[group - 1][..] else {
            panic!("three nodes");
        };
        assert!(leader <= led + 1 && follower == followed, "group {group} was woken");
    }
    dormitory.cluster.heal(ONE);
    dormitory.silence().await;
    for (group, term) in (1..=8).zip(terms) {
        let [one, two] = [ONE, TWO].map(|node| dormitory.replica(group, node).status());
        assert_eq!((one.leader, one.term), (two.leader, two.term), "it was told who leads");
        assert_eq!(two.term > term, group <= 4, "group {group}");
    }
    dormitory.cluster.stop_all().await;
}
