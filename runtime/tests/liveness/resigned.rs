//! Leaders that stop while their node lives on: their followers have promised to wait for it.

use super::dormitory::{Dormitory, LONG, ONE, THREE, TWO};
use super::support::{Cluster, eventually};
use raftyard::{Group, GroupId, LivenessTuning, NodeId, RoleKind, StateMachine, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[tokio::test]
async fn the_followers_of_a_leader_that_was_destroyed_elect_another() {
    let mut dormitory = Dormitory::new(3, LONG).await;
    dormitory.silence().await;
    dormitory.cluster.host(ONE).destroy_group(GroupId(2)).await.unwrap();
    eventually("another one leads", || {
        let leads = |node| dormitory.replica(2, node).status().role == RoleKind::Leader;
        leads(TWO) || leads(THREE)
    })
    .await;
    assert!(
        [1, 3]
            .iter()
            .all(|group| dormitory.replica(*group, ONE).status().asleep)
    );
    dormitory.cluster.stop_all().await;
}

/// Each of its replicas led last or promised something to one that did, and none is there to say that it heard of it.
#[tokio::test]
async fn of_a_group_that_was_destroyed_everywhere_nobody_says_anything_more() {
    let slow = LivenessTuning {
        heartbeat_interval_ms: 100,
        ..LONG
    };
    let mut dormitory = Dormitory::new(2, slow).await;
    dormitory.silence().await;
    dormitory.groups.pop();
    for node in [TWO, ONE, THREE] {
        dormitory.cluster.host(node).destroy_group(GroupId(2)).await.unwrap();
    }
    dormitory.silence().await;
    let done = dormitory.during(60).await;
    assert_eq!((done.messages_sent, done.strays), (0, 0), "{done:?}");
    assert!(done.ticks <= 3 * done.node_heartbeats, "the workers rest: {done:?}");
    dormitory.cluster.stop_all().await;
}

/// Counts, and panics on command, if it is one that does.
struct Fragile {
    panics: Arc<AtomicBool>,
    count: u64,
}

impl StateMachine for Fragile {
    type Command = u64;
    type Response = u64;
    type Query = ();
    type Answer = u64;
    type Snapshot = u64;

    fn apply(&mut self, more: u64, _: Timestamp) -> u64 {
        assert!(!self.panics.load(Ordering::SeqCst), "asked to");
        self.count += more;
        self.count
    }

    fn query(&self, (): ()) -> u64 {
        self.count
    }

    fn snapshot(&self) -> u64 {
        self.count
    }

    fn restore(&mut self, count: u64) {
        self.count = count;
    }
}

#[tokio::test]
async fn the_followers_of_a_leader_in_quarantine_elect_another() {
    let mut cluster = Cluster::closed(3);
    cluster.liveness = LONG;
    cluster.open_all().await;
    let panics: Vec<_> = (0..3).map(|_| Arc::new(AtomicBool::new(false))).collect();
    let mut replicas: Vec<Group<Fragile>> = Vec::new();
    for (id, panics) in cluster.ids().into_iter().zip(&panics) {
        let machine = || Fragile {
            panics: panics.clone(),
            count: 0,
        };
        let created = cluster.host(id).create_group(GroupId(1), cluster.ids(), machine);
        replicas.push(created.await.unwrap());
    }
    let leading = |except: Option<NodeId>| {
        let leads = |(id, replica): &(NodeId, &Group<Fragile>)| {
            Some(*id) != except && replica.status().role == RoleKind::Leader
        };
        cluster.ids().into_iter().zip(&replicas).find(leads).map(|(id, _)| id)
    };
    eventually("one leads, and all sleep", || {
        leading(None).is_some() && replicas.iter().all(|replica| replica.status().asleep)
    })
    .await;
    let first = leading(None).unwrap();
    panics[super::support::slot(first)].store(true, Ordering::SeqCst);
    replicas[super::support::slot(first)].propose(1).await.unwrap_err();
    eventually("it is in quarantine", || {
        replicas[super::support::slot(first)].status().is_quarantined()
    })
    .await;
    eventually("another one leads", || leading(Some(first)).is_some()).await;
    let second = &replicas[super::support::slot(leading(Some(first)).unwrap())];
    assert_eq!(second.propose(1).await, Ok(2));
    cluster.stop_all().await;
}
