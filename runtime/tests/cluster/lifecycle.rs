//! Nodes and groups that come and go.

use super::support::{Cluster, Journal, PATIENCE, eventually, leader_of, propose, read};
use futures::FutureExt;
use raftyard::store::{MemoryLogStore, SegmentLogStore, StoreIdentity};
use raftyard::{
    Consistency, Group, GroupId, Limits, NodeId, OpenError, Placement, ProposeError, RaftHost, RoleKind, StateMachine,
    Timestamp,
};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Reads itself again as soon as it is read: its worker never rests.
struct Restless(&'static OnceLock<Group<Restless>>);

impl StateMachine for Restless {
    type Command = ();
    type Response = ();
    type Query = ();
    type Answer = ();
    type Snapshot = ();

    fn apply(&mut self, (): (), _: Timestamp) {}

    fn query(&self, (): ()) {
        if let Some(group) = self.0.get() {
            drop(group.read((), Consistency::Linearizable));
        }
    }

    fn snapshot(&self) {}

    fn restore(&mut self, (): ()) {}
}

/// On a worker that has one turn after the other, time passes all the same: for groups that nothing comes for.
#[tokio::test]
async fn a_busy_worker_keeps_the_time_of_its_quiet_groups() {
    static ITSELF: OnceLock<Group<Restless>> = OnceLock::new();
    let cluster = Cluster::closed(3);
    let builder = cluster.builder(NodeId(1)).workers(1);
    let host = builder.log_store(MemoryLogStore::default()).open().await.unwrap();
    let created = host.create_group(GroupId(1), [NodeId(1)], || Restless(&ITSELF));
    let restless = created.await.unwrap();
    restless.wait_for_leader().await.unwrap();
    ITSELF.set(restless.clone()).unwrap();
    restless.read((), Consistency::Linearizable).await.unwrap();
    // It does not campaign at once, and its peers are away: nothing but time makes it ask for votes.
    let created = host.create_group(GroupId(1_001), cluster.ids(), Journal::default);
    let quiet = created.await.unwrap();
    assert_eq!(quiet.status().role, RoleKind::Follower);
    eventually("the quiet group asks for votes", || {
        quiet.status().role == RoleKind::PreCandidate
    })
    .await;
    host.shutdown().await;
}

async fn open(dir: &Path) -> Result<RaftHost, OpenError> {
    RaftHost::builder(dir).workers(1).open().await
}

#[tokio::test]
async fn whoever_waits_for_a_shutdown_can_open_the_directory_again() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let host = open(dir.path()).await.unwrap();
        let created = host.create_group(GroupId(1), [NodeId(1)], Journal::default);
        propose(&[created.await.unwrap()], "line").await;
        // Given up right after it began.
        assert!(host.shutdown().now_or_never().is_none());
        // Two at a time: neither is done before the node is. The first to return opens the directory.
        let again = [host.clone(), host].map(|host| {
            Box::pin(async move {
                host.shutdown().await;
            })
        });
        let (_, _, rest) = futures::future::select_all(again).await;
        let next = open(dir.path()).await.expect("the directory is free");
        next.shutdown().await;
        futures::future::join_all(rest).await;
    }
}

/// With a quorum and without one, while clients go on asking: the shutdown ends, and so does every call.
#[tokio::test]
async fn a_shutdown_under_load_ends_and_answers_everybody() {
    for cut_off in [false, true] {
        let mut cluster = match cut_off {
            true => Cluster::start(3).await,
            false => Cluster::start_steady(3).await,
        };
        let replicas = cluster.create(1).await;
        let leader = leader_of(&replicas, &cluster.ids()).await.clone();
        let id = leader.node();
        if cut_off {
            cluster.isolate(id);
        }
        let clients: Vec<_> = (0..8)
            .map(|client| {
                let leader = leader.clone();
                tokio::spawn(async move {
                    let mut acknowledged = Vec::new();
                    for n in 0.. {
                        let line = format!("{client} {n}");
                        let read = leader.read((), Consistency::Linearizable);
                        match leader.propose(line.clone()).await {
                            Ok(_) => acknowledged.push(line),
                            Err(ProposeError::Closed) => break,
                            Err(_) => tokio::task::yield_now().await,
                        }
                        drop(read.await);
                    }
                    acknowledged
                })
            })
            .collect();
        if !cut_off {
            eventually("the clients are at it", || leader.status().applied > 100).await;
        }
        let stopped = tokio::time::timeout(PATIENCE, cluster.stop(id)).await;
        assert!(stopped.is_ok(), "the shutdown did not end");
        let mut acknowledged = Vec::new();
        for client in clients {
            let answered = tokio::time::timeout(PATIENCE, client).await;
            acknowledged.extend(answered.expect("every call is answered").unwrap());
        }
        assert_eq!(acknowledged.is_empty(), cut_off);
        let lines = read(&replicas).await;
        let missing: Vec<_> = acknowledged.iter().filter(|line| !lines.contains(line)).collect();
        assert!(missing.is_empty(), "lost: {missing:?}");
        cluster.stop_all().await;
    }
}

#[tokio::test]
async fn a_creation_that_was_given_up_does_not_stand_in_the_way_of_the_next() {
    let cluster = Cluster::start(1).await;
    let host = cluster.host(NodeId(1));
    for group in 0..50 {
        let create = || host.create_group(GroupId(group), [NodeId(1)], Journal::default);
        // Dropped while the store is at it, or before, or after.
        let given_up = create().now_or_never();
        let group = match given_up {
            Some(created) => created.unwrap(),
            None => create().await.expect("it can be created again"),
        };
        propose(&[group], "line").await;
    }
    host.shutdown().await;
}

/// Every node is dropped in the middle of its work, and the cluster opened again on what the disks hold.
#[tokio::test]
async fn what_was_acknowledged_survives_the_end_of_all_nodes_without_a_shutdown() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let cluster = Cluster::closed(3);
    let mut acknowledged = 0;
    for life in 0..3 {
        let mut hosts = Vec::new();
        for (id, dir) in cluster.ids().into_iter().zip(&dirs) {
            hosts.push(open_patiently(&cluster, id, dir.path()).await);
        }
        let mut replicas = Vec::new();
        for host in &hosts {
            let created = host.create_group(GroupId(1), cluster.ids(), Journal::default);
            replicas.push(created.await.unwrap());
        }
        let before = read(&replicas).await;
        assert!(
            before.len() >= acknowledged,
            "life {life}: {} of {acknowledged}",
            before.len()
        );
        for n in 0..20 {
            acknowledged = propose(&replicas, &format!("{life} {n}")).await;
        }
        let leader = leader_of(&replicas, &cluster.ids()).await;
        // On their way when the nodes end.
        drop(
            (0..50)
                .map(|n| leader.propose(format!("{life} late {n}")))
                .collect::<Vec<_>>(),
        );
    }
}

/// A node that was dropped ends soon, not at once: until then its directory and its address are in use.
async fn open_patiently(cluster: &Cluster, id: NodeId, dir: &Path) -> RaftHost {
    let deadline = Instant::now() + PATIENCE;
    let identity = StoreIdentity {
        cluster: "raftyard".to_owned(),
        node: id,
    };
    loop {
        let opened = match SegmentLogStore::open(dir, &identity) {
            Ok(store) => cluster.builder(id).log_store(store).open().await,
            Err(error) => Err(error.into()),
        };
        match opened {
            Ok(host) => return host,
            Err(error) => assert!(Instant::now() < deadline, "{id} never opened: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// On one thread too: dropped without a shutdown, it ends as soon as the thread gets to it.
#[tokio::test]
async fn a_node_on_one_thread_that_is_dropped_ends() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::closed(1);
    tokio::task::LocalSet::new()
        .run_until(async {
            let builder = RaftHost::builder(dir.path()).placement(Placement::Here);
            let host = builder.open().await.unwrap();
            let created = host.create_group(GroupId(1), [NodeId(1)], Journal::default);
            let group = created.await.unwrap();
            group.wait_for_leader().await.unwrap();
            let on_its_way = group.propose("late".to_owned());
            drop((host, group));
            let outcome = tokio::time::timeout(PATIENCE, on_its_way).await.expect("answered");
            assert!(outcome.is_ok() || outcome.is_err_and(|error| error.may_have_happened()));
            let host = open_patiently(&cluster, NodeId(1), dir.path()).await;
            host.shutdown().await;
        })
        .await;
}

/// Far more is asked than fits: all is answered, what was refused never happened, and room comes back.
#[tokio::test]
async fn an_overloaded_node_refuses_and_recovers() {
    let limits = Limits {
        request_bytes_max: 2_000,
        command_bytes_max: 500,
        inbound_bytes_max: 2_000,
        ..Limits::default()
    };
    let mut cluster = Cluster::start_steady_with(3, limits).await;
    let replicas = cluster.create(1).await;
    leader_of(&replicas, &cluster.ids()).await;
    let deadline = Instant::now() + PATIENCE;
    let clients: Vec<_> = (0..16)
        .map(|client| {
            let (replicas, ids) = (replicas.clone(), cluster.ids());
            tokio::spawn(async move {
                let (mut accepted, mut refused) = (Vec::new(), 0);
                while accepted.len() < 20 {
                    assert!(Instant::now() < deadline, "{client}: {} accepted", accepted.len());
                    let line = format!("{client} {} {}", accepted.len(), "x".repeat(400));
                    match leader_of(&replicas, &ids).await.propose(line.clone()).await {
                        Ok(_) => accepted.push(line),
                        Err(error) => {
                            assert!(!error.may_have_happened(), "{error}");
                            refused += u32::from(matches!(error, ProposeError::Overloaded { .. }));
                            tokio::task::yield_now().await;
                        }
                    }
                }
                (accepted, refused)
            })
        })
        .collect();
    let (mut expected, mut refused) = (Vec::new(), 0);
    for client in clients {
        let (accepted, refusals) = client.await.unwrap();
        expected.extend(accepted);
        refused += refusals;
    }
    assert!(refused > 0, "it was never overloaded");
    let mut lines = read(&replicas).await;
    lines.sort_unstable();
    expected.sort_unstable();
    assert_eq!(lines, expected);
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_thousand_groups_elect_leaders_and_serve() {
    let mut cluster = Cluster::steady(3);
    cluster.tuning.heartbeat_interval_ms = 1_000;
    cluster.open_all().await;
    let groups = futures::future::join_all((0..1_000).map(|group| cluster.create(group))).await;
    let served = groups.iter().enumerate().map(|(n, replicas)| async move {
        assert_eq!(propose(replicas, &format!("only {n}")).await, 1);
        assert_eq!(read(replicas).await, [format!("only {n}")]);
    });
    futures::future::join_all(served).await;
    for id in cluster.ids() {
        let led = groups
            .iter()
            .filter(|replicas| replicas[0].leader() == Some(id))
            .count();
        assert!(led >= 100, "{id} leads {led} of 1000 groups");
    }
    cluster.stop_all().await;
}
