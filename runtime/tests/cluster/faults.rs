//! What happens when nodes and links fail.

use super::support::hooked_store::{HookedStore, Operation};
use super::support::{Cluster, Journal, eventually, leader_of, propose, read, slot};
use raftyard::store::{LogStore, MemoryLogStore, StoreError};
use raftyard::{
    Consistency, CreateGroupError, Group, LeaderError, Limits, NodeId, ProposeError, QuarantineReason, RaftHost,
    ReadError, ReplicaState, RoleKind, Timestamp, TransferError,
};
use raftyard_groups::{GroupId, LogId};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The replicas on all other nodes.
fn without(replicas: &[Group<Journal>], id: NodeId) -> Vec<Group<Journal>> {
    let others = replicas.iter().enumerate().filter(|(n, _)| *n != slot(id));
    others.map(|(_, replica)| replica.clone()).collect()
}

/// A replica that can't prove that it leads says so, or nothing in time.
fn is_refusal(error: &ReadError) -> bool {
    matches!(error, ReadError::NotLeader { .. } | ReadError::TimedOut)
}

#[tokio::test]
async fn when_the_leader_stops_another_goes_on_and_nothing_is_lost() {
    let mut cluster = Cluster::start(3).await;
    let replicas = cluster.create(1).await;
    for n in 0..20 {
        propose(&replicas, &n.to_string()).await;
    }
    let old = leader_of(&replicas, &cluster.ids()).await.node();
    cluster.stop(old).await;
    propose(&replicas, "after").await;
    let lines = read(&replicas).await;
    assert_eq!(lines.len(), 21);
    assert_eq!(lines.last().unwrap(), "after");

    // It comes back with its log and catches up.
    cluster.open(old).await;
    let back = cluster.create_on(old, 1).await;
    eventually("the restarted replica applied all", || back.status().applied >= 21).await;
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_leader_that_is_cut_off_neither_commits_nor_serves_reads() {
    // Far longer than what the others are asked for takes them: it is over only for the one that is cut off.
    let limits = Limits {
        request_timeout_ms: 10_000,
        ..Limits::default()
    };
    let mut cluster = Cluster::start_with(3, limits).await;
    let replicas = cluster.create(1).await;
    propose(&replicas, "before").await;
    let old = leader_of(&replicas, &cluster.ids()).await.clone();
    let id = old.node();
    cluster.isolate(id);

    // Asked while it still believes that it leads: it can't find out whether they commit. While it is still backed
    // it may answer reads, for nobody else can lead yet; later it can't prove that it leads.
    let lost = old.propose("lost".to_owned());
    let early = old.read((), Consistency::Linearizable);
    let majority = without(&replicas, id);
    propose(&majority, "after").await;
    let late = old.read((), Consistency::Linearizable);
    assert_eq!(read(&majority).await, ["before", "after"]);
    match early.await {
        Ok(lines) => assert_eq!(lines, ["before"]),
        Err(error) => assert!(is_refusal(&error), "{error}"),
    }
    let error = late.await.expect_err("another was elected");
    assert!(is_refusal(&error), "{error}");
    let outcome = lost.await.unwrap_err();
    assert!(
        matches!(outcome, ProposeError::OutcomeUnknown { request: Some(_) }),
        "cut off, nobody can know: {outcome}"
    );

    cluster.heal(id);
    let applied = leader_of(
        &majority,
        &cluster.ids().into_iter().filter(|n| *n != id).collect::<Vec<_>>(),
    )
    .await
    .status()
    .applied;
    eventually("the old leader has the new log", || old.status().applied >= applied).await;
    assert_eq!(read(&replicas).await, ["before", "after"]);
    cluster.stop_all().await;
}

/// The old leader's entry is replaced in its log: who proposed it and still waits is told that it never
/// happened.
#[tokio::test]
async fn a_replaced_proposal_is_reported_as_dropped() {
    let limits = Limits {
        request_timeout_ms: 60_000,
        ..Limits::default()
    };
    let mut cluster = Cluster::start_with(3, limits).await;
    let replicas = cluster.create(1).await;
    propose(&replicas, "before").await;
    let old = leader_of(&replicas, &cluster.ids()).await.clone();
    let id = old.node();
    cluster.isolate(id);
    // It has no name: should the old one be elected again, it is not appended again.
    let lost = old.propose_plain("lost".to_owned());
    let majority = without(&replicas, id);
    propose(&majority, "after").await;
    cluster.heal(id);
    assert_eq!(lost.await, Err(ProposeError::Dropped));
    assert_eq!(read(&replicas).await, ["before", "after"]);
    cluster.stop_all().await;
}

#[tokio::test]
async fn without_a_majority_nothing_is_accepted_and_with_one_again_all_goes_on() {
    let mut cluster = Cluster::start(3).await;
    let replicas = cluster.create(1).await;
    propose(&replicas, "before").await;
    let ids = cluster.ids();
    for id in &ids {
        cluster.isolate(*id);
    }
    eventually("every leader stepped down", || {
        replicas.iter().all(|replica| replica.leader().is_none())
    })
    .await;
    for replica in &replicas {
        let refused = replica.propose("never".to_owned()).await;
        assert_eq!(refused, Err(ProposeError::NotLeader { leader: None }));
    }
    for id in &ids {
        cluster.heal(*id);
    }
    propose(&replicas, "after").await;
    assert_eq!(read(&replicas).await, ["before", "after"]);
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_state_machine_that_panics_quarantines_its_replica_and_nothing_else() {
    // Both lead in their first term, however late the disk is.
    let mut cluster = Cluster::start_steady(1).await;
    let bad = cluster.create(1).await.remove(0);
    // Both on one worker: it has to survive.
    let good = cluster.create(3).await;
    leader_of(std::slice::from_ref(&bad), &cluster.ids()).await;
    let outcome = bad.propose("panic".to_owned()).await;
    assert!(
        matches!(outcome, Err(ProposeError::OutcomeUnknown { .. })),
        "{outcome:?}"
    );
    let reason = QuarantineReason::ApplyPanicked(LogId::new(1, 2));
    assert_eq!(bad.status().state, ReplicaState::Quarantined(reason.clone()));
    assert_eq!(bad.status().role, RoleKind::Follower, "it leads nobody any more");
    assert_eq!(
        bad.transfer_leadership(NodeId(1)).await,
        Err(TransferError::Quarantined(reason.clone()))
    );
    assert_eq!(
        bad.propose("more".to_owned()).await,
        Err(ProposeError::Quarantined(reason.clone()))
    );
    assert_eq!(
        bad.read((), Consistency::Linearizable).await,
        Err(ReadError::Quarantined(reason.clone()))
    );
    assert_eq!(bad.wait_for_leader().await, Err(LeaderError::Quarantined(reason)));
    assert_eq!(propose(&good, "lives").await, 1);
    cluster.stop_all().await;
}

/// A store whose writes fail from a certain moment on.
fn breakable(inner: MemoryLogStore, broken: Arc<AtomicBool>) -> impl LogStore {
    HookedStore::new(inner, move |operation| {
        if matches!(operation, Operation::Write(_)) && broken.load(Ordering::SeqCst) {
            return Err(StoreError::Poisoned);
        }
        Ok(())
    })
}

#[tokio::test]
async fn a_node_whose_disk_fails_acknowledges_nothing_and_the_others_go_on() {
    let mut cluster = Cluster::start(3).await;
    let broken = Arc::new(AtomicBool::new(false));
    let id = NodeId(1);
    cluster.stop(id).await;
    let store = breakable(cluster.disk(id), broken.clone());
    let builder = cluster.builder(id).log_store(store);
    let host = builder.open().await.expect("opens");
    // Group 0 is led by its first member, if all goes as it should.
    let on_one = host
        .create_group(GroupId(0), cluster.ids(), Journal::default)
        .await
        .unwrap();
    let others = [
        cluster.create_on(NodeId(2), 0).await,
        cluster.create_on(NodeId(3), 0).await,
    ];
    let all = [on_one.clone(), others[0].clone(), others[1].clone()];
    propose(&all, "before").await;

    broken.store(true, Ordering::SeqCst);
    eventually("the node with the broken disk stops", || {
        // Whatever it may be asked; the others may have to elect first.
        drop(
            all.iter()
                .map(|replica| replica.propose("during".to_owned()))
                .collect::<Vec<_>>(),
        );
        on_one.status().is_quarantined()
    })
    .await;
    propose(&others, "after").await;
    assert_eq!(read(&others).await.last().unwrap(), "after");
    assert_eq!(
        on_one.propose("more".to_owned()).await,
        Err(ProposeError::Quarantined(QuarantineReason::StoreFailed))
    );
    let created = host.create_group(GroupId(5), [id], Journal::default).await;
    assert!(
        matches!(created, Err(CreateGroupError::Store(StoreError::Poisoned))),
        "no note of it could be kept"
    );
    host.shutdown().await;
    cluster.stop_all().await;
}

/// Groups that the disk held, and that are opened only after it failed, don't pretend to live.
#[tokio::test]
async fn a_group_opened_on_a_failed_disk_is_quarantined() {
    let disk = MemoryLogStore::default();
    let open = |broken: Arc<AtomicBool>| {
        let inner = disk.clone();
        RaftHost::builder("").log_store(breakable(inner, broken)).open()
    };
    let broken = Arc::new(AtomicBool::new(false));
    let host = open(broken.clone()).await.unwrap();
    let create = async |host: &RaftHost, group| {
        let created = host.create_group(GroupId(group), [NodeId(1)], Journal::default);
        created.await.unwrap()
    };
    for group in [1, 2] {
        assert_eq!(create(&host, group).await.wait_for_leader().await, Ok(NodeId(1)));
    }
    host.shutdown().await;

    broken.store(true, Ordering::SeqCst);
    let host = open(broken).await.unwrap();
    // It campaigns at once, and can't write its vote.
    let first = create(&host, 1).await;
    eventually("the disk's failure is noticed", || first.status().is_quarantined()).await;
    let second = create(&host, 2).await;
    eventually("the group opened later is in quarantine too", || {
        second.status().is_quarantined()
    })
    .await;
    host.shutdown().await;
}

/// It could be elected, since its votes and terms are there, and would lead a group that stands still.
#[tokio::test]
async fn a_replica_whose_log_is_damaged_is_quarantined_and_the_others_go_on() {
    let mut cluster = Cluster::start(3).await;
    let replicas = cluster.create(0).await;
    propose(&replicas, "before").await;
    cluster.stop_all().await;

    let inner = cluster.disk(NodeId(1));
    let unreadable = HookedStore::new(inner, |operation| match operation {
        Operation::Read(group) => Err(StoreError::Corrupt {
            group,
            what: "asked to".to_owned(),
        }),
        _ => Ok(()),
    });
    let builder = cluster.builder(NodeId(1)).log_store(unreadable);
    let host = builder.open().await.unwrap();
    let created = host.create_group(GroupId(0), cluster.ids(), Journal::default);
    let damaged = created.await.unwrap();
    for id in [NodeId(2), NodeId(3)] {
        cluster.open(id).await;
    }
    let others = [
        cluster.create_on(NodeId(2), 0).await,
        cluster.create_on(NodeId(3), 0).await,
    ];
    eventually("the damaged replica is in quarantine", || {
        damaged.status().is_quarantined()
    })
    .await;
    propose(&others, "after").await;
    assert_eq!(read(&others).await, ["before", "after"]);
    host.shutdown().await;
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_store_that_panics_leaves_nobody_waiting() {
    let inner = MemoryLogStore::default();
    let panicking = HookedStore::new(inner, |operation| match operation {
        Operation::Create => panic!("asked to"),
        _ => Ok(()),
    });
    let builder = RaftHost::builder("").log_store(panicking);
    let host = builder.open().await.unwrap();
    for group in [1, 2] {
        let created = host.create_group(GroupId(group), [NodeId(1)], Journal::default);
        assert!(matches!(created.await, Err(CreateGroupError::Closed)));
    }
    host.shutdown().await;
}

/// A query of a user's that panics is answered, and costs nobody else anything: else, asked again at the next
/// leader, it would take one replica after the other.
#[tokio::test]
async fn a_query_that_panics_leaves_the_replica_alive() {
    let hosts = RaftHost::in_memory(1).await.unwrap();
    let members = [NodeId(1)];
    let group = hosts[0].create_group(GroupId(1), members, || Touchy).await.unwrap();
    group.wait_for_leader().await.unwrap();
    let read = |panics| group.read(panics, Consistency::Linearizable);
    assert_eq!(read(true).await, Err(ReadError::Panicked));
    assert_eq!(read(false).await, Ok(()));
    // Applied, although it can't be told what that answered.
    let error = group.propose(()).await.unwrap_err();
    assert!(matches!(error, ProposeError::UndecodableResponse(_)), "{error}");
    assert!(error.may_have_happened() && !group.status().is_quarantined());
    hosts[0].shutdown().await;
}

/// Panics at a query that is true; its response has a shape that can't be serialised.
struct Touchy;

impl raftyard::StateMachine for Touchy {
    type Command = ();
    type Response = Unserialisable;
    type Query = bool;
    type Answer = ();
    type Snapshot = ();

    fn apply(&mut self, (): (), _: Timestamp) -> Unserialisable {
        Unserialisable
    }

    fn query(&self, panics: bool) {
        assert!(!panics, "asked to");
    }

    fn snapshot(&self) {}

    fn restore(&mut self, (): ()) {}
}

#[derive(Debug, serde::Deserialize)]
struct Unserialisable;

impl serde::Serialize for Unserialisable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("asked to"))
    }
}
