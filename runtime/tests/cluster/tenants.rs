//! Groups that share nodes: what each may take, and what a flood of one leaves to the others.

use super::support::{Cluster, Journal, eventually, leader_of, read};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use raftyard::{
    Client, Compaction, Group, GroupId, GroupLimits, GroupOptions, HostMetrics, Limits, NodeId, OverloadReason,
    ProposeError, StateMachine, Timestamp, Tuning,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

/// Creates a group with these limits on all nodes; returns its replicas.
async fn create_with(cluster: &Cluster, group: u64, limits: GroupLimits) -> Vec<Group<Journal>> {
    let mut replicas = Vec::new();
    for id in cluster.ids() {
        let options = GroupOptions::default().limits(limits);
        let host = cluster.host(id);
        let created = host.create_group_with(GroupId(group), cluster.ids(), options, Journal::default);
        replicas.push(created.await.expect("created"));
    }
    replicas
}

/// What became of commands that were proposed all at once.
#[derive(Default)]
struct Outcomes {
    accepted: Vec<String>,
    refused: Vec<OverloadReason>,
}

async fn propose_all(group: &Group<Journal>, lines: impl IntoIterator<Item = String>) -> Outcomes {
    let proposals: Vec<_> = lines
        .into_iter()
        .map(|line| (group.propose(line.clone()), line))
        .collect();
    let mut outcomes = Outcomes::default();
    for (proposal, line) in proposals {
        match proposal.await {
            Ok(_) => outcomes.accepted.push(line),
            Err(ProposeError::Overloaded { reason, retry_after }) => {
                assert!(retry_after > Duration::ZERO);
                outcomes.refused.push(reason);
            }
            Err(error) => panic!("{error}"),
        }
    }
    outcomes
}

fn numbered(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|n| n.to_string())
}

#[tokio::test]
async fn a_limit_holds_for_its_group_alone_until_it_is_changed() {
    let mut cluster = Cluster::start_steady(3).await;
    let limits = GroupLimits {
        proposals_per_second: Some(1),
        burst_ms: 10_000,
        ..GroupLimits::default()
    };
    let limited = create_with(&cluster, 1, limits).await;
    let free = cluster.create(2).await;
    let leader = leader_of(&limited, &cluster.ids()).await;
    let others_leader = leader_of(&free, &cluster.ids()).await;
    assert_eq!(
        (leader.limits(), others_leader.limits()),
        (limits, GroupLimits::default())
    );

    let outcomes = propose_all(leader, numbered(100)).await;
    assert!(outcomes.accepted.len() >= 10, "the burst");
    assert!(!outcomes.refused.is_empty());
    assert!(
        outcomes
            .refused
            .iter()
            .all(|reason| *reason == OverloadReason::ProposalRate(1))
    );
    assert_eq!(leader.status().usage.refused, outcomes.refused.len() as u64);
    let others = propose_all(others_leader, numbered(100)).await;
    assert_eq!((others.accepted.len(), others_leader.status().usage.refused), (100, 0));

    for replica in &limited {
        replica.set_limits(GroupLimits::default());
    }
    let more = propose_all(leader, numbered(100)).await;
    assert_eq!(more.accepted.len(), 100);
    assert_eq!(
        read(&limited).await,
        [outcomes.accepted, more.accepted].concat(),
        "what was refused was never applied"
    );
    cluster.stop_all().await;
}

/// What a group took is told by each of its replicas, and by each node of all its groups.
#[tokio::test]
async fn what_a_group_takes_is_accounted_for_on_every_node() {
    let mut cluster = Cluster::start_steady(3).await;
    let (first, second) = (cluster.create(1).await, cluster.create(2).await);
    let lines = || (0..50).map(|n| format!("{n} {}", "x".repeat(100)));
    propose_all(leader_of(&first, &cluster.ids()).await, lines()).await;
    propose_all(leader_of(&second, &cluster.ids()).await, lines().take(10)).await;
    for (replicas, commands) in [(&first, 50), (&second, 10)] {
        let last = leader_of(replicas, &cluster.ids()).await.status().last;
        eventually("all applied all", || {
            replicas.iter().all(|replica| replica.status().applied >= last)
        })
        .await;
        for usage in replicas.iter().map(|replica| replica.status().usage) {
            assert_eq!(usage.commands, commands);
            assert!(
                usage.bytes > commands * 100 && usage.bytes < commands * 200,
                "{usage:?}"
            );
            assert_eq!((usage.log_bytes, usage.bytes_in_flight), (usage.bytes, 0));
            assert!(usage.apply_time > Duration::ZERO);
        }
    }
    for id in cluster.ids() {
        let did: HostMetrics = cluster.host(id).metrics();
        assert_eq!((did.commands_applied, did.requests_refused), (60, 0));
        assert!(did.bytes_applied > 6_000 && did.apply_nanos > 0);
    }
    cluster.stop_all().await;
}

/// A client waits as long as it is told to, at the node that told it.
#[tokio::test]
async fn a_client_gets_through_a_limit() {
    let mut cluster = Cluster::start_steady(3).await;
    let limits = GroupLimits {
        proposals_per_second: Some(200),
        burst_ms: 20,
        ..GroupLimits::default()
    };
    let replicas = create_with(&cluster, 1, limits).await;
    let leader = leader_of(&replicas, &cluster.ids()).await;
    let client = Client::new(replicas.clone());
    let proposals = (0..30).map(|n| client.propose(n.to_string()));
    let outcomes = futures::future::join_all(proposals).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert!(leader.status().usage.refused > 0, "it was in the way");
    cluster.stop_all().await;
}

/// The log stays within its limit although nothing else would have it compacted for long.
#[tokio::test]
async fn a_log_beyond_its_limit_is_compacted_and_refuses_until_then() {
    const LOG_BYTES: u64 = 20_000;
    let mut cluster = Cluster::start_steady(3).await;
    assert!(cluster.compaction.tail_entries > 1_000 && cluster.compaction.bytes > 1 << 20);
    let replicas = create_with(
        &cluster,
        1,
        GroupLimits {
            log_bytes_max: Some(LOG_BYTES),
            ..GroupLimits::default()
        },
    )
    .await;
    let leader = leader_of(&replicas, &cluster.ids()).await;
    let (mut expected, mut refused) = (Vec::new(), 0);
    while expected.len() < 300 {
        let from = expected.len();
        let lines = (from..from + 20).map(|n| format!("{n} {}", "x".repeat(500)));
        let outcomes = propose_all(leader, lines).await;
        for reason in &outcomes.refused {
            assert_eq!(*reason, OverloadReason::LogBytes(LOG_BYTES));
        }
        expected.extend(outcomes.accepted);
        refused += outcomes.refused.len();
        // After the leader's own entry.
        eventually("all of it is accounted for", || {
            leader.status().applied > expected.len() as u64
        })
        .await;
        let log_bytes = leader.status().usage.log_bytes;
        assert!(log_bytes <= LOG_BYTES + 20 * 600, "{log_bytes} bytes");
        if !outcomes.refused.is_empty() {
            // Nothing but compaction makes room, and nothing is needed for it to begin.
            eventually("there is room again", || leader.status().usage.log_bytes <= LOG_BYTES).await;
        }
    }
    eventually("all replicas are within the limit", || {
        replicas.iter().all(|replica| {
            let status = replica.status();
            status.applied == leader.status().last && status.usage.log_bytes <= LOG_BYTES
        })
    })
    .await;
    assert_eq!(read(&replicas).await, expected, "{refused} were refused");
    assert!(cluster.host(leader.node()).metrics().snapshots_taken > 0);
    cluster.stop_all().await;
}

/// A limit that a log already exceeds takes effect without anybody writing.
#[tokio::test]
async fn a_lower_limit_compacts_a_quiet_group() {
    let mut cluster = Cluster::closed(1);
    cluster.compaction = Compaction {
        entries: 50,
        ..Compaction::default()
    };
    cluster.open_all().await;
    let group = cluster.create(1).await.remove(0);
    leader_of(std::slice::from_ref(&group), &cluster.ids()).await;
    let lines = (0..200).map(|n| format!("{n} {}", "x".repeat(500)));
    assert_eq!(propose_all(&group, lines).await.accepted.len(), 200);
    eventually("a snapshot was taken, and its tail kept", || {
        cluster.host(NodeId(1)).metrics().snapshots_taken > 0 && group.status().usage.log_bytes > 100_000
    })
    .await;
    group.set_limits(GroupLimits {
        log_bytes_max: Some(50_000),
        ..GroupLimits::default()
    });
    eventually("the tail is dropped", || group.status().usage.log_bytes <= 25_000).await;
    assert_eq!(propose_all(&group, numbered(1)).await.accepted.len(), 1);
    cluster.stop_all().await;
}

/// One group is asked for far more than its nodes may have on their way, for longer than an election timeout. Memory is
/// bounded, what is refused has no effect, what is accepted is answered; groups beside it are served without a refusal,
/// nobody elects, and afterwards it is as before.
#[tokio::test]
async fn a_flood_is_refused_or_answered_and_disturbs_nobody() {
    const REQUEST_BYTES: usize = 200_000;
    const ELECTION_MS: u64 = 4_000;
    let mut cluster = Cluster::closed(3);
    cluster.limits = Limits {
        request_bytes_max: REQUEST_BYTES,
        command_bytes_max: 10_000,
        ..Limits::default()
    };
    cluster.tuning = Tuning {
        election_timeout_ms: ELECTION_MS,
        heartbeat_interval_ms: 100,
        ..Tuning::default()
    };
    cluster.liveness.promise_ms = ELECTION_MS;
    cluster.open_all().await;
    let mut groups = Vec::new();
    for group in 0..6 {
        // Led by one node.
        groups.push(cluster.create(3 * group).await);
    }
    let mut leaders = Vec::new();
    for replicas in &groups {
        leaders.push(leader_of(replicas, &cluster.ids()).await.clone());
    }
    let terms = |leaders: &[Group<Journal>]| -> Vec<(u64, Option<NodeId>)> {
        let status = |leader: &Group<Journal>| (leader.status().term, leader.leader());
        leaders.iter().map(status).collect()
    };
    let before = terms(&leaders);

    let over = Arc::new(AtomicBool::new(false));
    let hot = leaders[0].clone();
    let floods: Vec<_> = (0..10)
        .map(|client| {
            let (hot, over) = (hot.clone(), over.clone());
            tokio::spawn(async move {
                let mut all = Outcomes::default();
                while !over.load(Ordering::Relaxed) {
                    // All clients together: ten times what may be on its way.
                    let lines = (0..REQUEST_BYTES / 1_300).map(|n| format!("{client} {n} {}", "x".repeat(1_000)));
                    let outcomes = propose_all(&hot, lines).await;
                    all.accepted.extend(outcomes.accepted);
                    all.refused.extend(outcomes.refused);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                all
            })
        })
        .collect();
    let begun = Instant::now();
    let mut served = 0;
    // The last group is not asked at all.
    while begun.elapsed() < Duration::from_millis(5 * ELECTION_MS / 2) {
        for quiet in &leaders[1..5] {
            assert!(quiet.propose(served.to_string()).await.is_ok());
            let on_their_way: usize = leaders.iter().map(|leader| leader.status().usage.bytes_in_flight).sum();
            assert!(on_their_way <= 3 * REQUEST_BYTES);
            assert!(hot.status().usage.bytes_in_flight <= REQUEST_BYTES);
        }
        served += 1;
    }
    over.store(true, Ordering::Relaxed);
    let mut outcomes = Outcomes::default();
    for flood in floods {
        let of_one = flood.await.expect("every proposal is answered");
        outcomes.accepted.extend(of_one.accepted);
        outcomes.refused.extend(of_one.refused);
    }
    // How much is refused depends on how fast the machine is.
    assert!(!outcomes.refused.is_empty(), "it was no overload");
    assert_eq!(terms(&leaders), before, "somebody elected");
    for quiet in &leaders[1..] {
        assert_eq!(quiet.status().usage.refused, 0);
    }
    for replicas in &groups[1..5] {
        assert_eq!(read(replicas).await.len(), served);
    }
    let mut lines = read(&groups[0]).await;
    let mut expected = outcomes.accepted;
    lines.sort_unstable();
    expected.sort_unstable();
    assert_eq!(lines.len(), expected.len());
    assert!(lines == expected, "what was refused has no effect");

    assert_eq!(hot.status().usage.bytes_in_flight, 0);
    let after = propose_all(&hot, numbered(300)).await;
    assert_eq!(after.accepted.len(), 300, "all is taken again");
    cluster.stop_all().await;
}

/// Keeps its worker from everything else until it is let go.
struct Latch {
    is_closed: Arc<AtomicBool>,
    let_go: Receiver<()>,
}

impl StateMachine for Latch {
    type Command = ();
    type Response = ();
    type Query = ();
    type Answer = ();
    type Snapshot = ();

    fn apply(&mut self, (): (), _: Timestamp) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.let_go.recv().expect("the test lets go");
    }

    fn query(&self, (): ()) {}

    fn snapshot(&self) {}

    fn restore(&mut self, (): ()) {}
}

/// A worker of a single node that does nothing until it is told to go on, and two groups on it.
struct HeldWorker {
    hot: Group<Journal>,
    quiet: Group<Journal>,
    go_on: Sender<()>,
    held: BoxFuture<'static, Result<(), ProposeError>>,
}

impl HeldWorker {
    async fn new(cluster: &Cluster) -> Self {
        let host = cluster.host(NodeId(1));
        let (hot, quiet) = (cluster.create(2).await.remove(0), cluster.create(4).await.remove(0));
        let (is_closed, (go_on, let_go)) = (Arc::new(AtomicBool::new(false)), mpsc::channel());
        let latch = Latch {
            is_closed: is_closed.clone(),
            let_go,
        };
        // On the same worker of two.
        let latch = host.create_group(GroupId(6), cluster.ids(), || latch).await.unwrap();
        for leader in [
            hot.wait_for_leader().await,
            quiet.wait_for_leader().await,
            latch.wait_for_leader().await,
        ] {
            assert_eq!(leader, Ok(NodeId(1)));
        }
        let held = latch.propose(()).boxed();
        eventually("the worker is held", || is_closed.load(Ordering::SeqCst)).await;
        Self {
            hot,
            quiet,
            go_on,
            held,
        }
    }
}

/// Asked after a flood that waits on the same worker: first come, first served would answer it last. Counted by what the
/// flooded group has applied by then.
#[tokio::test]
async fn who_asks_a_quiet_group_does_not_wait_for_the_flood_of_another() {
    const FLOOD: usize = 10_000;
    let mut cluster = Cluster::start(1).await;
    let worker = HeldWorker::new(&cluster).await;
    let before = cluster.host(NodeId(1)).metrics();
    let flood = (0..FLOOD).map(|n| format!("{n} {}", "x".repeat(1_000)));
    let flood: Vec<_> = flood.map(|line| worker.hot.propose(line)).collect();
    let (tell, told) = oneshot::channel();
    let hot = worker.hot.clone();
    // Looked up by the worker itself: by the time this thread is back it may have applied any number.
    let please = vec!["please".to_owned()];
    worker.quiet.propose_many_then(please, move |outcomes| {
        tell.send((outcomes, hot.status().usage.commands)).unwrap();
    });
    worker.go_on.send(()).unwrap();
    assert_eq!(worker.held.await, Ok(()));
    let (outcomes, applied) = told.await.unwrap();
    assert_eq!(outcomes, [Ok(1)]);
    assert!(applied < FLOOD as u64 / 2, "{applied} came first");
    for (n, proposal) in flood.into_iter().enumerate() {
        assert_eq!(proposal.await, Ok(n + 1), "in order");
    }
    let shared = cluster.host(NodeId(1)).metrics().since(&before).turns_shared;
    assert!(shared > 9, "{shared} turns for ten megabytes");
    cluster.stop_all().await;
}

/// Whatever one group is asked for, there is room for what others are.
#[tokio::test]
async fn a_flood_leaves_room_for_others() {
    const REQUEST_BYTES: usize = 90_000;
    let limits = Limits {
        request_bytes_max: REQUEST_BYTES,
        command_bytes_max: 10_000,
        ..Limits::default()
    };
    let mut cluster = Cluster::start_with(1, limits).await;
    let worker = HeldWorker::new(&cluster).await;
    let flood: Vec<_> = numbered(10_000).map(|line| worker.hot.propose(line)).collect();
    let on_their_way = worker.hot.status().usage.bytes_in_flight;
    assert!(
        on_their_way > REQUEST_BYTES * 8 / 10 && on_their_way <= REQUEST_BYTES,
        "{on_their_way} bytes"
    );
    let asked: Vec<_> = numbered(20).map(|line| worker.quiet.propose(line)).collect();
    worker.go_on.send(()).unwrap();
    assert_eq!(worker.held.await, Ok(()));
    for (n, proposal) in asked.into_iter().enumerate() {
        assert_eq!(proposal.await, Ok(n + 1), "none is refused");
    }
    let mut accepted = 0;
    for proposal in flood {
        match proposal.await {
            Ok(_) => accepted += 1,
            Err(ProposeError::Overloaded { reason, .. }) => {
                assert_eq!(reason, OverloadReason::NodeShare(REQUEST_BYTES));
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(read(std::slice::from_ref(&worker.hot)).await.len(), accepted);
    cluster.stop_all().await;
}
