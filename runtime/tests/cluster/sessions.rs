//! Requests that are asked again: applied once, and given their first answer.

use super::support::{Cluster, Journal, PATIENCE, eventually, leader_of, propose, read, slot};
use raftyard::{
    Client, Compaction, Consistency, Group, Limits, NodeId, ProposeError, ReadError, Replicated, RequestId, Resolution,
    Session, SessionLimits,
};
use std::time::{Duration, Instant};

async fn start(limits: Limits) -> (Cluster, Vec<Group<Journal>>) {
    let cluster = Cluster::start_steady_with(3, limits).await;
    let replicas = cluster.create(1).await;
    (cluster, replicas)
}

/// The same, but who is cut off has a successor soon.
async fn start_electing(limits: Limits) -> (Cluster, Vec<Group<Journal>>) {
    let cluster = Cluster::start_with(3, limits).await;
    let replicas = cluster.create(1).await;
    (cluster, replicas)
}

/// Requests time out soon.
fn impatient() -> Limits {
    Limits {
        request_timeout_ms: 500,
        ..Limits::default()
    }
}

async fn leader(cluster: &Cluster, replicas: &[Group<Journal>]) -> NodeId {
    leader_of(replicas, &cluster.ids()).await.node()
}

fn without(replicas: &[Group<Journal>], id: NodeId) -> Vec<Group<Journal>> {
    replicas
        .iter()
        .filter(|replica| replica.node() != id)
        .cloned()
        .collect()
}

/// Asks whoever leads until that is done; unknown outcomes are asked again too.
async fn insist<S, T, F>(replicas: &[Group<S>], call: impl Fn(&Group<S>) -> F) -> T
where
    F: Future<Output = Result<T, ProposeError>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        for replica in replicas {
            if let Ok(answer) = call(replica).await {
                return answer;
            }
        }
        assert!(Instant::now() < deadline, "nobody answered");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub async fn open_session<S: Replicated>(replicas: &[Group<S>]) -> Session {
    insist(replicas, |replica| {
        let replica = replica.clone();
        async move { replica.open_session().await }
    })
    .await
}

pub async fn propose_as<S>(replicas: &[Group<S>], request: RequestId, line: &str) -> usize
where
    S: Replicated<Command = String, Response = usize>,
{
    insist(replicas, |replica| replica.propose_as(request, line.to_owned())).await
}

async fn resolve(replicas: &[Group<Journal>], request: RequestId) -> Resolution<usize> {
    insist(replicas, |replica| replica.resolve(request)).await
}

/// A proposal at a leader that is cut off: its name.
async fn left_open(replica: &Group<Journal>, line: &str) -> RequestId {
    match replica.propose(line.to_owned()).await {
        Err(ProposeError::OutcomeUnknown { request: Some(request) }) => request,
        other => panic!("not unknown: {other:?}"),
    }
}

#[tokio::test]
async fn a_request_that_is_asked_again_is_applied_once_whoever_leads() {
    let (mut cluster, mut replicas) = start(Limits::default()).await;
    let mut session = open_session(&replicas).await;
    let requests = [session.next(), session.next()];
    assert_eq!(propose_as(&replicas, requests[0], "one").await, 1);
    assert_eq!(propose_as(&replicas, requests[1], "two").await, 2);
    for _ in 0..2 {
        let old = leader(&cluster, &replicas).await;
        cluster.stop(old).await;
        let others = without(&replicas, old);
        assert_eq!(propose_as(&others, requests[0], "one").await, 1);
        assert_eq!(propose_as(&others, requests[1], "two").await, 2);
        cluster.open(old).await;
        replicas[slot(old)] = cluster.create_on(old, 1).await;
    }
    assert_eq!(read(&replicas).await, ["one", "two"]);
    cluster.stop_all().await;
}

/// The same command, counted once: through leaders that are killed and a log of which only snapshots are left.
#[tokio::test]
async fn the_same_request_counts_once_through_killed_leaders_and_snapshots() {
    let mut cluster = Cluster::closed(3);
    cluster.compaction = Compaction {
        entries: 10,
        tail_entries: 2,
        ..Compaction::default()
    };
    cluster.open_all().await;
    let mut replicas = cluster.create(1).await;
    let mut session = open_session(&replicas).await;
    let request = session.next();
    let first = propose_as(&replicas, request, "count me").await;
    for round in 0..3 {
        // Until the entry itself is in no log any more.
        let mut lines = 0;
        while cluster.on_disk(leader(&cluster, &replicas).await, 1).base.index.0 < 20 * (round + 1) {
            propose(&replicas, &format!("{round}, {lines}")).await;
            lines += 1;
        }
        let old = leader(&cluster, &replicas).await;
        cluster.stop(old).await;
        assert_eq!(propose_as(&without(&replicas, old), request, "count me").await, first);
        // It comes back from its own snapshot, or from another one's.
        cluster.open(old).await;
        replicas[slot(old)] = cluster.create_on(old, 1).await;
    }
    cluster.stop_all().await;
    cluster.open_all().await;
    let replicas = cluster.create(1).await;
    assert_eq!(propose_as(&replicas, request, "count me").await, first);
    let count = read(&replicas).await.iter().filter(|line| *line == "count me").count();
    assert_eq!(count, 1);
    cluster.stop_all().await;
}

#[tokio::test]
async fn attempts_at_the_same_time_are_one_request() {
    let (mut cluster, replicas) = start(Limits::default()).await;
    let mut session = open_session(&replicas).await;
    let leads = leader_of(&replicas, &cluster.ids()).await;
    for n in 1..=20 {
        let request = session.next();
        let attempts: Vec<_> = (0..5).map(|_| leads.propose_as(request, n.to_string())).collect();
        for attempt in attempts {
            assert_eq!(attempt.await, Ok(n));
        }
        session.done(request);
    }
    assert_eq!(read(&replicas).await.len(), 20);
    cluster.stop_all().await;
}

#[tokio::test]
async fn what_a_cut_off_leader_left_open_is_settled_by_another_node() {
    let (mut cluster, replicas) = start(Limits::default()).await;
    let before = propose(&replicas, "before").await;
    let old = leader(&cluster, &replicas).await;
    cluster.isolate(old);
    let open = left_open(&replicas[slot(old)], "lost").await;
    let others = without(&replicas, old);
    assert_eq!(resolve(&others, open).await, Resolution::NotApplied);
    cluster.heal(old);
    assert_eq!(propose(&replicas, "after").await, before + 1);
    assert_eq!(read(&replicas).await, ["before", "after"]);
    cluster.stop_all().await;
}

/// A name that is fenced stays so, also for an attempt that reaches the log later.
#[tokio::test]
async fn a_resolved_request_that_was_not_applied_never_is() {
    let (mut cluster, replicas) = start(Limits::default()).await;
    let mut session = open_session(&replicas).await;
    let old = leader(&cluster, &replicas).await;
    cluster.isolate(old);
    let request = session.next();
    let outcome = replicas[slot(old)].propose_as(request, "late".to_owned()).await;
    assert_eq!(outcome, Err(ProposeError::OutcomeUnknown { request: Some(request) }));
    let others = without(&replicas, old);
    assert_eq!(resolve(&others, request).await, Resolution::NotApplied);
    cluster.heal(old);
    for replica in &replicas {
        let late = replica.propose_as(request, "late".to_owned()).await;
        assert!(
            matches!(late, Err(ProposeError::Fenced | ProposeError::NotLeader { .. })),
            "{late:?}"
        );
    }
    assert_eq!(resolve(&replicas, request).await, Resolution::NotApplied);
    assert_eq!(read(&replicas).await, Vec::<String>::new());
    cluster.stop_all().await;
}

/// The entry reached the others, the word that it is committed did not come back.
#[tokio::test]
async fn a_request_that_was_applied_without_an_answer_is_resolved_as_applied() {
    let (mut cluster, replicas) = start(Limits::default()).await;
    propose(&replicas, "before").await;
    let old = leader(&cluster, &replicas).await;
    for other in cluster.ids().into_iter().filter(|other| *other != old) {
        cluster.network.cut_one_way(other, old);
    }
    let open = left_open(&replicas[slot(old)], "there").await;
    let others = without(&replicas, old);
    assert_eq!(resolve(&others, open).await, Resolution::Applied(2));
    cluster.heal(old);
    assert_eq!(resolve(&replicas, open).await, Resolution::Applied(2));
    assert_eq!(read(&replicas).await, ["before", "there"]);
    cluster.stop_all().await;
}

/// It may be deposed and lead again meanwhile: then they are appended again, and their callers notice nothing.
#[tokio::test]
async fn what_a_deposed_leader_held_is_answered_as_it_was_applied() {
    let (mut cluster, replicas) = start_electing(Limits {
        request_timeout_ms: 60_000,
        ..Limits::default()
    })
    .await;
    propose(&replicas, "before").await;
    let old = leader(&cluster, &replicas).await;
    cluster.isolate(old);
    let waiting: Vec<_> = (0..5)
        .map(|n| replicas[slot(old)].propose(format!("waited {n}")))
        .collect();
    let plain = replicas[slot(old)].propose_plain("plain".to_owned());
    let others = without(&replicas, old);
    for n in 0..10 {
        propose(&others, &format!("between {n}")).await;
    }
    cluster.heal(old);
    assert_eq!(plain.await, Err(ProposeError::Dropped));
    let outcomes = futures::future::join_all(waiting).await;
    let lines = read(&replicas).await;
    for (n, outcome) in outcomes.iter().enumerate() {
        let count = lines.iter().filter(|line| **line == format!("waited {n}")).count();
        match outcome {
            Ok(_) => assert_eq!(count, 1),
            Err(error) => assert!(count == 0 && *error == ProposeError::Dropped, "{error}"),
        }
    }
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_session_expires_and_the_nodes_own_is_renewed() {
    let limits = Limits {
        sessions: SessionLimits {
            idle_ms: 50,
            ..SessionLimits::default()
        },
        ..Limits::default()
    };
    let (mut cluster, replicas) = start(limits).await;
    let mut session = open_session(&replicas).await;
    let request = session.next();
    for round in 1..=3 {
        assert_eq!(propose(&replicas, "own").await, round);
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
    let leads = leader_of(&replicas, &cluster.ids()).await;
    let expired = leads.propose_as(request, "late".to_owned()).await;
    assert_eq!(expired, Err(ProposeError::SessionExpired));
    assert_eq!(leads.resolve(request).await, Ok(Resolution::Forgotten));
    assert_eq!(read(&replicas).await.len(), 3);
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_session_that_is_full_refuses_and_the_nodes_own_never_is() {
    let limits = Limits {
        sessions: SessionLimits {
            responses_max: 4,
            ..SessionLimits::default()
        },
        ..Limits::default()
    };
    let (mut cluster, replicas) = start(limits).await;
    let mut session = open_session(&replicas).await;
    let leads = leader_of(&replicas, &cluster.ids()).await;
    let requests: Vec<_> = (0..5).map(|_| session.next()).collect();
    for request in &requests[..4] {
        leads.propose_as(*request, "fits".to_owned()).await.unwrap();
    }
    let full = leads.propose_as(requests[4], "one too many".to_owned()).await;
    assert_eq!(full, Err(ProposeError::SessionFull));
    let many: Vec<_> = (0..100).map(|n| leads.propose(n.to_string())).collect();
    for outcome in futures::future::join_all(many).await {
        outcome.unwrap();
    }
    assert_eq!(read(&replicas).await.len(), 104);
    leads.close_session(session.id()).await.unwrap();
    let closed = leads.propose_as(requests[0], "fits".to_owned()).await;
    assert_eq!(closed, Err(ProposeError::SessionExpired));
    cluster.stop_all().await;
}

/// Every command once, although leaders are killed and cut off all the time.
#[tokio::test]
async fn a_client_counts_each_command_once_through_killed_leaders() {
    const CLIENTS: usize = 3;
    const EACH: usize = 60;
    let (mut cluster, replicas) = start_electing(impatient()).await;
    let client = std::sync::Arc::new(Client::new(replicas.clone()).attempt(Duration::from_millis(100)));
    let workers: Vec<_> = (0..CLIENTS)
        .map(|worker| {
            let client = client.clone();
            tokio::spawn(async move {
                for n in 0..EACH {
                    client.propose(format!("{worker}/{n}")).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
        })
        .collect();
    let mut replicas = replicas;
    for mishap in 0.. {
        if workers.iter().all(tokio::task::JoinHandle::is_finished) {
            break;
        }
        let old = leader(&cluster, &replicas).await;
        match mishap % 3 {
            0 => {
                cluster.stop(old).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
                cluster.open(old).await;
                replicas[slot(old)] = cluster.create_on(old, 1).await;
                client.replace(replicas[slot(old)].clone());
            }
            1 => {
                cluster.isolate(old);
                tokio::time::sleep(Duration::from_millis(300)).await;
                cluster.heal(old);
            }
            _ => {
                let next = cluster.ids()[slot(old).wrapping_add(1) % 3];
                replicas[slot(old)].transfer_leadership(next).await.ok();
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for worker in workers {
        worker.await.unwrap();
    }
    let mut lines = client.read(()).await.unwrap();
    assert_eq!(lines.len(), CLIENTS * EACH);
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), CLIENTS * EACH, "each once");
    cluster.stop_all().await;
    assert!(matches!(client.read(()).await, Err(ReadError::Closed)));
    assert_eq!(client.propose("late".to_owned()).await, Err(ProposeError::Closed));
}

#[tokio::test]
async fn any_replica_answers_a_stale_read_from_its_own_state() {
    let (mut cluster, replicas) = start(Limits::default()).await;
    for n in 0..10 {
        propose(&replicas, &n.to_string()).await;
    }
    eventually("all applied all", || {
        replicas.iter().all(|replica| replica.status().applied >= 11)
    })
    .await;
    for id in cluster.ids() {
        cluster.isolate(id);
    }
    for replica in &replicas {
        let lines = replica.read((), Consistency::Stale).await.unwrap();
        assert_eq!(lines.len(), 10, "without asking anyone");
    }
    cluster.stop_all().await;
}

/// A replica that starts has an empty state and a full log.
#[tokio::test]
async fn a_stale_read_never_sees_less_than_before_a_restart() {
    let (mut cluster, replicas) = start(Limits::default()).await;
    for n in 0..50 {
        propose(&replicas, &n.to_string()).await;
    }
    let away = without(&replicas, leader(&cluster, &replicas).await)[0].node();
    let before = replicas[slot(away)].read((), Consistency::Stale).await.unwrap().len();
    cluster.stop_all().await;
    cluster.limits = impatient();
    cluster.open(away).await;
    let alone = cluster.create_on(away, 1).await;
    // Nobody tells it what is committed.
    assert_eq!(alone.read((), Consistency::Stale).await, Err(ReadError::TimedOut));
    cluster.limits = Limits::default();
    for id in cluster.ids().into_iter().filter(|id| *id != away) {
        cluster.open(id).await;
        cluster.create_on(id, 1).await;
    }
    let deadline = Instant::now() + PATIENCE;
    let lines = loop {
        match alone.read((), Consistency::Stale).await {
            Ok(lines) => break lines,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    assert!(lines.len() >= before, "{} lines, {before} before", lines.len());
    cluster.stop_all().await;
}
