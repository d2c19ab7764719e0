//! A client that goes from node to node, when answers take long or don't come.

use super::support::hooked_store::{HookedStore, Operation};
use super::support::{Cluster, Journal, PATIENCE, eventually, leader_of};
use super::yard::{Yard, quick};
use futures::future::join_all;
use parking_lot::Mutex;
use raftyard::{
    Client, Consistency, Group, GroupId, Limits, MembershipChange, NodeId, ProposeError, ReadError, SessionLimits,
    StateMachine, Timestamp,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tokio::time::timeout;

/// Nodes whose disks take so long for a write.
async fn start(nodes: usize, write: Duration) -> (Cluster, Vec<Group<Journal>>) {
    start_with(nodes, write, Limits::default()).await
}

async fn start_with(nodes: usize, write: Duration, limits: Limits) -> (Cluster, Vec<Group<Journal>>) {
    let mut cluster = Cluster::closed(nodes);
    cluster.limits = limits;
    for id in cluster.ids() {
        let store = HookedStore::new(cluster.disk(id), move |operation| {
            if matches!(operation, Operation::Write(_)) {
                std::thread::sleep(write);
            }
            Ok(())
        });
        let host = cluster.builder(id).log_store(store).open().await.unwrap();
        cluster.put(id, host);
    }
    let replicas = cluster.create(1).await;
    leader_of(&replicas, &cluster.ids()).await;
    (cluster, replicas)
}

/// The answer of who was asked first counts when it comes, and nobody is asked twice at a time.
#[tokio::test]
async fn what_takes_longer_than_an_attempt_is_answered_and_asked_for_a_few_times_at_most() {
    const COMMANDS: usize = 4;
    let (mut cluster, replicas) = start(3, Duration::from_millis(60)).await;
    let client = Client::new(replicas.clone()).attempt(Duration::from_millis(20));
    for n in 0..COMMANDS {
        assert_eq!(client.propose(n.to_string()).await, Ok(n + 1));
    }
    assert_eq!(client.read(()).await.map(|lines| lines.len()), Ok(COMMANDS));
    let leader = leader_of(&replicas, &cluster.ids()).await;
    // A session, the commands, and what leaders begin with; should leadership move, each node may have had its copy.
    let applied = leader.status().applied;
    assert!(applied <= 3 * (COMMANDS as u64 + 2), "{applied} entries");
    cluster.stop_all().await;
}

/// Whether the session was opened nobody knows, but the command was not proposed.
#[tokio::test]
async fn without_a_quorum_for_a_session_nothing_is_proposed() {
    let (mut cluster, replicas) = start(3, Duration::ZERO).await;
    for id in cluster.ids() {
        cluster.isolate(id);
    }
    let client = Client::new(replicas.clone())
        .deadline(Duration::from_millis(300))
        .attempt(Duration::from_millis(50));
    let outcomes = join_all((0..10).map(|n| client.propose(n.to_string()))).await;
    for outcome in outcomes {
        let error = outcome.unwrap_err();
        assert!(!error.may_have_happened() && error != ProposeError::Closed, "{error}");
    }
    // Before its lease is over a leader answers reads.
    eventually("nobody leads", || {
        replicas.iter().all(|replica| replica.leader().is_none())
    })
    .await;
    let error = client.read(()).await.unwrap_err();
    assert_ne!(error, ReadError::Closed);
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_client_without_time_asks_once_and_one_with_all_of_it_is_answered() {
    let (mut cluster, replicas) = start(1, Duration::ZERO).await;
    let client = Client::new(replicas.clone())
        .deadline(Duration::ZERO)
        .attempt(Duration::MAX);
    assert_eq!(client.propose("none".to_owned()).await, Ok(1));
    let client = Client::new(replicas).deadline(Duration::MAX).attempt(Duration::ZERO);
    assert_eq!(client.propose("all".to_owned()).await, Ok(2));
    assert_eq!(client.read(()).await.map(|lines| lines.len()), Ok(2));
    cluster.stop_all().await;
    assert_eq!(client.propose("late".to_owned()).await, Err(ProposeError::Closed));
    assert_eq!(client.read(()).await, Err(ReadError::Closed));
}

/// The one that comes after it in turn never leads, but says who does.
#[tokio::test]
async fn whom_others_name_is_asked_while_a_leader_that_was_cut_off_does_not_answer() {
    let mut cluster = Cluster::closed(4);
    cluster.tuning = quick();
    cluster.limits.request_timeout_ms = 60_000;
    let mut yard = Yard::on(cluster, &[1, 3, 4]).await;
    yard.join(2).await;
    yard.change(MembershipChange::add_learner(NodeId(2))).await;
    yard.lead(1).await;
    // Before the one that was cut off gives up on it.
    let client = Client::new((1..=4).map(|id| yard.replica(id)))
        .attempt(Duration::from_millis(100))
        .deadline(PATIENCE);
    assert_eq!(client.propose("before".to_owned()).await, Ok(1));
    yard.cluster.isolate(NodeId(1));
    assert_eq!(client.propose("after".to_owned()).await, Ok(2));
    yard.cluster.stop_all().await;
}

/// Each is opened and gone before its first command comes, since a write takes longer than it lives.
#[tokio::test]
async fn a_client_whose_sessions_expire_at_once_gives_up_at_its_deadline() {
    let limits = Limits {
        sessions: SessionLimits {
            idle_ms: 1,
            ..SessionLimits::default()
        },
        ..Limits::default()
    };
    let (mut cluster, replicas) = start_with(1, Duration::from_millis(10), limits).await;
    // Who is asked has all the time it may need: the deadline is for asking again.
    let client = Client::new(replicas)
        .deadline(Duration::from_millis(200))
        .attempt(PATIENCE);
    let outcome = timeout(PATIENCE, client.propose("never".to_owned())).await;
    assert_eq!(outcome.expect("it goes on"), Err(ProposeError::SessionExpired));
    cluster.stop_all().await;
}

/// Counts commands, and has queries that wait for the test.
struct Gate {
    count: u64,
    waits: Arc<AtomicBool>,
    opened: Arc<Mutex<Receiver<()>>>,
}

impl StateMachine for Gate {
    type Command = ();
    type Response = u64;
    type Query = bool;
    type Answer = u64;
    type Snapshot = u64;

    fn apply(&mut self, (): (), _: Timestamp) -> u64 {
        self.count += 1;
        self.count
    }

    fn query(&self, waits: bool) -> u64 {
        if waits {
            self.waits.store(true, Ordering::SeqCst);
            // Or the test is over.
            self.opened.lock().recv().ok();
        }
        self.count
    }

    fn snapshot(&self) -> u64 {
        self.count
    }

    fn restore(&mut self, count: u64) {
        self.count = count;
    }
}

/// The first in the list, which has one thread for all it does, its clock included.
#[tokio::test]
async fn a_node_whose_thread_stands_still_holds_up_no_client() {
    let mut cluster = Cluster::closed(3);
    let (open, opened) = channel();
    let (waits, opened) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(opened)));
    let mut replicas = Vec::new();
    for id in cluster.ids() {
        let builder = cluster.builder(id).workers(1).log_store(cluster.disk(id));
        cluster.put(id, builder.open().await.unwrap());
    }
    for id in cluster.ids() {
        let (waits, opened) = (waits.clone(), opened.clone());
        let gate = move || Gate {
            count: 0,
            waits,
            opened,
        };
        let created = cluster.host(id).create_group(GroupId(1), cluster.ids(), gate).await;
        replicas.push(created.unwrap());
    }
    leader_of(&replicas, &cluster.ids()).await;

    let stuck = tokio::spawn(replicas[0].read(true, Consistency::Stale));
    eventually("the first node stands still", || waits.load(Ordering::SeqCst)).await;
    let client = Client::new(replicas.clone()).attempt(Duration::from_millis(50));
    let proposed = timeout(PATIENCE, client.propose(())).await;
    assert_eq!(proposed.expect("it waits for a clock that stands still"), Ok(1));

    open.send(()).unwrap();
    stuck.await.unwrap().unwrap();
    cluster.stop_all().await;
}
