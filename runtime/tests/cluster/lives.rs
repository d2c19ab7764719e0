//! Groups that are destroyed and created again, and replicas that stop for good.

use super::sessions::{open_session, propose_as};
use super::support::hooked_store::{HookedStore, Operation};
use super::support::settings::seed;
use super::support::{Cluster, Journal, eventually, leader_of, propose, read, read_at, slot};
use raftyard::store::{LogStore, MemoryLogStore, SegmentLogStore, SnapshotStore, StoreError, StoreIdentity};
use raftyard::{
    Compaction, Consistency, CreateGroupError, DestroyGroupError, ExportError, Group, GroupId, GroupOptions,
    Incarnation, LeaderError, Limits, LogId, NodeId, ProposeError, QuarantineReason, RaftHost, ReadError,
    RebuildGroupError, ReplicaState, SnapshotError, StateMachine, Timestamp, TransferError,
};

pub const G: GroupId = GroupId(1);

pub async fn destroy_on_all(cluster: &Cluster, group: u64) {
    for id in cluster.ids() {
        cluster.host(id).destroy_group(GroupId(group)).await.unwrap();
    }
}

pub fn lines(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix} {n}")).collect()
}

pub async fn fill(replicas: &[Group<Journal>], lines: &[String]) {
    for line in lines {
        propose(replicas, line).await;
    }
}

/// A snapshot after every tenth entry.
pub fn often() -> Compaction {
    Compaction {
        entries: 10,
        tail_entries: 2,
        ..Compaction::default()
    }
}

pub async fn compacting(nodes: usize) -> Cluster {
    open_compacting(Cluster::closed(nodes)).await
}

/// The same, where whoever leads goes on leading.
pub async fn steadily_compacting(nodes: usize) -> Cluster {
    open_compacting(Cluster::steady(nodes)).await
}

async fn open_compacting(mut cluster: Cluster) -> Cluster {
    cluster.compaction = often();
    cluster.open_all().await;
    cluster
}

/// Nobody takes a request of a session that ended with the group for one of another that has its name.
#[tokio::test]
async fn a_session_of_a_destroyed_group_is_none_of_the_next() {
    let mut cluster = Cluster::start(1).await;
    let replicas = cluster.create(1).await;
    let mut session = open_session(&replicas).await;
    let (first, second) = (session.next(), session.next());
    assert_eq!(propose_as(&replicas, first, "before").await, 1);
    drop(replicas);
    destroy_on_all(&cluster, 1).await;
    let replicas = cluster.create(1).await;
    // In the replica's own session.
    propose(&replicas, "after").await;
    propose(&replicas, "after").await;
    let late = replicas[0].propose_as(second, "late".to_owned()).await;
    assert_eq!(late, Err(ProposeError::SessionExpired));
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_destroyed_group_answers_everybody_and_leaves_a_tombstone() {
    let limits = Limits {
        request_timeout_ms: 60_000,
        ..Limits::default()
    };
    let mut cluster = Cluster::closed(3);
    cluster.limits = limits;
    // Nor is anything read, then.
    cluster.tuning.lease_reads = false;
    cluster.open_all().await;
    let replicas = cluster.create(1).await;
    propose(&replicas, "before").await;
    let leader = leader_of(&replicas, &cluster.ids()).await.clone();
    let id = leader.node();
    // Nothing is decided any more.
    cluster.isolate(id);
    let undecided: Vec<_> = (0..50).map(|n| leader.propose(n.to_string())).collect();
    let unread = leader.read((), Consistency::Linearizable);
    let host = cluster.host(id);
    host.destroy_group(G).await.unwrap();
    for outcome in futures::future::join_all(undecided).await {
        // Whether it was queued before the end or came after it, or was held while it tried to hand over.
        assert!(
            matches!(
                outcome,
                Err(ProposeError::OutcomeUnknown { .. } | ProposeError::NotLeader { .. } | ProposeError::Closed)
            ),
            "{outcome:?}"
        );
    }
    let unread = unread.await;
    assert!(
        matches!(unread, Err(ReadError::NotLeader { .. } | ReadError::Closed)),
        "{unread:?}"
    );

    assert_eq!(leader.status().state, ReplicaState::Destroyed);
    assert_eq!(leader.leader(), None);
    assert_eq!(leader.propose("late".to_owned()).await, Err(ProposeError::Closed));
    assert_eq!(leader.read((), Consistency::Follower).await, Err(ReadError::Closed));
    assert_eq!(leader.wait_for_leader().await, Err(LeaderError::Closed));
    assert_eq!(leader.transfer_leadership(NodeId(2)).await, Err(TransferError::Closed));
    assert!(matches!(leader.export("never").await, Err(ExportError::Closed)));
    assert!(host.group::<Journal>(G).is_none());
    host.destroy_group(G).await.expect("twice is once");
    let unknown = host.destroy_group(GroupId(9)).await;
    assert!(matches!(unknown, Err(DestroyGroupError::Unknown(GroupId(9)))));

    let contents = cluster.disk(id).recover().unwrap();
    assert_eq!(contents.groups, []);
    assert_eq!(contents.tombstones[0].incarnation, Incarnation(1));
    // The others go on, also when messages to the destroyed replica get through again.
    cluster.heal(id);
    let others: Vec<_> = cluster.ids().into_iter().filter(|other| *other != id).collect();
    let others: Vec<_> = others.into_iter().map(|id| replicas[slot(id)].clone()).collect();
    propose(&others, "after").await;
    // What was held back on the cut links was sent in this life, and may be there: nobody knew its outcome.
    let lines = read(&others).await;
    assert_eq!((lines[0].as_str(), lines.last().unwrap().as_str()), ("before", "after"));
    assert_eq!(cluster.disk(id).recover().unwrap().groups, []);
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_group_created_again_begins_anew_and_old_handles_stay_closed() {
    let mut cluster = compacting(3).await;
    let first = cluster.create(1).await;
    fill(&first, &lines("first", 35)).await;
    destroy_on_all(&cluster, 1).await;
    for snapshots in &cluster.snapshots {
        assert_eq!(snapshots.list().unwrap(), [] as [String; 0]);
    }
    let second = cluster.create(1).await;
    assert_eq!(second[0].incarnation(), Incarnation(2));
    assert_eq!(propose(&second, "second").await, 1);
    assert_eq!(read(&second).await, ["second"]);
    assert_eq!(first[0].propose("late".to_owned()).await, Err(ProposeError::Closed));
    let member = cluster.host(NodeId(1)).create_group_with(
        G,
        cluster.ids(),
        GroupOptions::default().incarnation(Incarnation(1)),
        Journal::default,
    );
    assert!(matches!(member.await, Err(CreateGroupError::Exists(G))));

    // On disk only, in another incarnation than asked for, and in one that is over.
    cluster.stop(NodeId(1)).await;
    cluster.open(NodeId(1)).await;
    let host = cluster.host(NodeId(1)).clone();
    let create = |incarnation: u64| {
        let options = GroupOptions::default().incarnation(Incarnation(incarnation));
        host.create_group_with(G, cluster.ids(), options, Journal::default)
    };
    let other = create(3).await;
    assert!(matches!(
        other,
        Err(CreateGroupError::OtherIncarnation {
            found: Incarnation(2),
            ..
        })
    ));
    host.destroy_group(G).await.expect("it does not have to run");
    assert_eq!(host.next_incarnation(G), Incarnation(3));
    let old = create(2).await;
    assert!(matches!(
        old,
        Err(CreateGroupError::OldIncarnation {
            next: Incarnation(3),
            ..
        })
    ));
    assert_eq!(create(7).await.unwrap().incarnation(), Incarnation(7));
    cluster.stop_all().await;
}

/// Messages are held back on random links, in random directions, while a group is destroyed and created again, and
/// let go in its next life. Nodes are stopped and started in between.
#[tokio::test]
async fn no_life_of_a_group_hears_or_holds_anything_of_an_earlier_one() {
    let mut random = Random(seed());
    let mut cluster = compacting(3).await;
    // A node counts from its start.
    let mut strays = 0;
    for life in 1..=25_u64 {
        let replicas = cluster.create(1).await;
        assert!(
            replicas
                .iter()
                .all(|replica| replica.incarnation() == Incarnation(life))
        );
        // What is held back from the life before arrives now.
        for id in cluster.ids() {
            cluster.heal(id);
        }
        let expected = lines(&format!("life {life}"), 1 + random.below(25));
        fill(&replicas, &expected).await;
        assert_eq!(read(&replicas).await, expected);

        // Load that nobody waits for, over links of which some deliver nothing for now.
        for from in cluster.ids() {
            for to in cluster.ids() {
                if from != to && random.below(3) == 0 {
                    cluster.network.cut_one_way(from, to);
                }
            }
        }
        for (n, replica) in (0..30).zip(replicas.iter().cycle()) {
            drop(replica.propose(format!("life {life} late {n}")));
        }
        if random.below(4) == 0 {
            let id = cluster.ids()[random.below(3)];
            strays += cluster.host(id).metrics().strays;
            cluster.stop(id).await;
            cluster.open(id).await;
            if random.below(2) == 0 {
                // It goes on in the same life, and still has nothing but that.
                let again = cluster.create_on(id, 1).await;
                assert_eq!(again.incarnation(), Incarnation(life));
            }
        }
        let hosts: Vec<_> = cluster.ids().into_iter().map(|id| cluster.host(id).clone()).collect();
        let destroyed = hosts.iter().map(|host| host.destroy_group(G));
        for outcome in futures::future::join_all(destroyed).await {
            outcome.unwrap();
        }
    }
    for id in cluster.ids() {
        strays += cluster.host(id).metrics().strays;
    }
    assert!(strays > 0, "nothing ever came late");
    for id in cluster.ids() {
        let contents = cluster.disk(id).recover().unwrap();
        assert_eq!((contents.groups.len(), contents.tombstones.len()), (0, 1));
        assert_eq!(cluster.snapshots[slot(id)].list().unwrap(), [] as [String; 0]);
    }
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_thousand_groups_that_come_and_go_leave_only_tombstones() {
    let mut cluster = compacting(1).await;
    let host = cluster.host(NodeId(1)).clone();
    for round in 0..4 {
        let groups = (0..250).map(|n| {
            let host = host.clone();
            async move {
                let id = GroupId(round * 250 + n);
                let created = host.create_group(id, [NodeId(1)], Journal::default);
                let group = [created.await.unwrap()];
                fill(&group, &lines("line", 12)).await;
                host.destroy_group(id).await.unwrap();
                assert!(host.group::<Journal>(id).is_none());
            }
        });
        futures::future::join_all(groups).await;
    }
    let contents = cluster.disk(NodeId(1)).recover().unwrap();
    assert_eq!((contents.groups.len(), contents.tombstones.len()), (0, 1_000));
    assert_eq!(cluster.snapshots[0].list().unwrap(), [] as [String; 0]);
    cluster.stop_all().await;
}

/// On a real disk, across a restart; a snapshot that a crash left behind is gone after it.
#[tokio::test]
async fn tombstones_outlive_a_restart_and_strays_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let open = || RaftHost::builder(dir.path()).compaction(often()).workers(1).open();
    let create = async |host: &RaftHost| {
        let created = host.create_group(G, [NodeId(1)], Journal::default);
        [created.await.unwrap()]
    };
    let snapshots = || std::fs::read_dir(dir.path().join("snapshots")).unwrap().count();
    let host = open().await.unwrap();
    fill(&create(&host).await, &lines("first", 30)).await;
    eventually("a snapshot is there", || snapshots() > 0).await;
    host.destroy_group(G).await.unwrap();
    assert_eq!(snapshots(), 0);
    host.shutdown().await;
    drop(host);
    std::fs::write(dir.path().join("snapshots/1-1-9-1.snapshot"), "left behind").unwrap();
    let host = open().await.unwrap();
    assert_eq!(snapshots(), 0);
    assert_eq!(host.next_incarnation(G), Incarnation(2));
    let group = create(&host).await;
    assert_eq!(propose(&group, "second").await, 1);
    host.shutdown().await;
    drop((host, group));
    let identity = StoreIdentity {
        cluster: "raftyard".to_owned(),
        node: NodeId(1),
    };
    let contents = SegmentLogStore::open(dir.path(), &identity).unwrap().recover().unwrap();
    assert_eq!((contents.groups.len(), contents.tombstones.len()), (1, 0));
}

#[tokio::test]
async fn a_replica_that_the_group_left_behind_is_told() {
    let mut cluster = Cluster::start(3).await;
    let old = cluster.create(1).await;
    propose(&old, "old").await;
    for id in [NodeId(1), NodeId(2)] {
        cluster.host(id).destroy_group(G).await.unwrap();
    }
    let new = [
        cluster.create_on(NodeId(1), 1).await,
        cluster.create_on(NodeId(2), 1).await,
    ];
    assert_eq!(propose(&new, "new").await, 1);
    let left = &old[2];
    eventually("it is told", || left.status().newer == Some(Incarnation(2))).await;
    eventually("it lost its leader", || left.leader().is_none()).await;
    let newer = Incarnation(2);
    assert_eq!(left.wait_for_leader().await, Err(LeaderError::Outdated { newer }));
    assert_eq!(read(&new).await, ["new"], "it disturbs nobody");
    cluster.host(NodeId(3)).destroy_group(G).await.unwrap();
    let third = cluster.create_on(NodeId(3), 1).await;
    eventually("it takes part again", || third.status().applied > 0).await;
    assert_eq!(read_at(&third).await, ["new"]);
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_quarantined_replica_can_be_destroyed_and_created_again() {
    // In its first term, however late its disk is.
    let mut cluster = Cluster::start_steady(1).await;
    let bad = cluster.create(1).await.remove(0);
    bad.wait_for_leader().await.unwrap();
    let waits = bad.clone();
    let outcome = bad.propose("panic".to_owned()).await;
    assert!(
        matches!(outcome, Err(ProposeError::OutcomeUnknown { .. })),
        "{outcome:?}"
    );
    let reason = QuarantineReason::ApplyPanicked(LogId::new(1, 2));
    assert_eq!(
        waits.wait_for_leader().await,
        Err(LeaderError::Quarantined(reason.clone()))
    );
    assert!(matches!(bad.export("never").await, Err(ExportError::Quarantined(found)) if found == reason));
    let host = cluster.host(NodeId(1));
    host.destroy_group(G).await.unwrap();
    assert_eq!(bad.wait_for_leader().await, Err(LeaderError::Closed));
    assert_eq!(propose(&cluster.create(1).await, "lives").await, 1);
    cluster.stop_all().await;
}

/// Takes no snapshot of its own back.
#[derive(Default)]
struct Picky(u64);

impl StateMachine for Picky {
    type Command = ();
    type Response = u64;
    type Query = ();
    type Answer = u64;
    type Snapshot = u64;

    fn apply(&mut self, (): (), _: Timestamp) -> u64 {
        self.0 += 1;
        self.0
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }

    fn snapshot(&self) -> u64 {
        self.0
    }

    fn restore(&mut self, _: u64) {
        panic!("asked to");
    }
}

/// At a start, and when a leader's snapshot is installed.
#[tokio::test]
async fn a_state_machine_that_can_not_be_restored_is_reported() {
    let mut cluster = Cluster::steady(3);
    cluster.compaction = often();
    cluster.open_all().await;
    let create = async |cluster: &Cluster, id| {
        let created = cluster.host(id).create_group(G, cluster.ids(), Picky::default);
        created.await
    };
    let mut replicas = Vec::new();
    for id in [NodeId(1), NodeId(2)] {
        replicas.push(create(&cluster, id).await.unwrap());
    }
    let leader = leader_of(&replicas, &cluster.ids()).await;
    for n in 1..=40 {
        assert_eq!(leader.propose(()).await, Ok(n));
    }
    eventually("the leader compacted its log", || {
        cluster.on_disk(leader.node(), 1).base.index.0 > 0
    })
    .await;
    let late = create(&cluster, NodeId(3)).await.unwrap();
    eventually("it is in quarantine", || late.status().is_quarantined()).await;
    let state = late.status().state;
    assert!(
        matches!(
            &state,
            ReplicaState::Quarantined(QuarantineReason::RestoreFailed { .. })
        ),
        "{state:?}"
    );

    let id = leader.node();
    cluster.stop(id).await;
    cluster.open(id).await;
    for _ in 0..2 {
        let error = create(&cluster, id).await.unwrap_err();
        assert!(
            matches!(error, CreateGroupError::Snapshot(SnapshotError::Rejected(_))),
            "{error}"
        );
    }
    cluster.host(id).destroy_group(G).await.unwrap();
    cluster.stop_all().await;
}

/// A node that crashes whenever a group is to come to an end or to a beginning: what was done before that is there, and
/// the one write that counts is not.
fn crashing(inner: MemoryLogStore) -> impl LogStore {
    HookedStore::new(inner, |operation| match operation {
        Operation::Import | Operation::Destroy | Operation::Rebuild | Operation::Forget => Err(StoreError::Poisoned),
        Operation::Create | Operation::Write(_) | Operation::Read(_) => Ok(()),
    })
}

#[tokio::test]
async fn a_crash_halfway_leaves_the_group_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state");
    let id = NodeId(1);
    let mut cluster = compacting(1).await;
    let group = cluster.create(1).await;
    let expected = lines("line", 35);
    fill(&group, &expected).await;
    group[0].export(&file).await.unwrap();
    eventually("its log is compacted", || cluster.on_disk(id, 1).base.index.0 > 0).await;
    cluster.stop_all().await;
    for step in ["destroy", "rebuild", "import"] {
        let before = cluster.snapshots[0].list().unwrap().len();
        let host = cluster.builder(id).log_store(crashing(cluster.disk(id)));
        let host = host.open().await.unwrap();
        let left = match step {
            "destroy" => {
                let refused = host.destroy_group(G).await;
                assert!(matches!(refused, Err(DestroyGroupError::Store(_))));
                0
            }
            "rebuild" => {
                let refused = host.rebuild_group(G).await;
                assert!(matches!(refused, Err(RebuildGroupError::Store(_))));
                1
            }
            _ => {
                let refused = host.import_group(GroupId(2), [id], &file, Journal::default).await;
                assert!(matches!(refused, Err(CreateGroupError::Store(_))));
                1
            }
        };
        assert_eq!(cluster.snapshots[0].list().unwrap().len(), before + left, "{step}");
        host.shutdown().await;

        cluster.open(id).await;
        let group = cluster.create(1).await;
        assert_eq!(group[0].incarnation(), Incarnation(1), "{step}");
        assert_eq!(read(&group).await, expected, "{step}");
        cluster.stop_all().await;
    }
    // What the import left does not reach a group that begins with nothing.
    cluster.open(id).await;
    let group = cluster.create(2).await;
    fill(&group, &lines("other", 25)).await;
    cluster.stop_all().await;
    cluster.open(id).await;
    assert_eq!(read(&cluster.create(2).await).await, lines("other", 25));
    let names = cluster.snapshots[0].list().unwrap();
    assert!(
        names
            .iter()
            .all(|name| name.starts_with("1-1-") || name.starts_with("2-1-")),
        "{names:?}"
    );
    cluster.stop_all().await;
}

/// Whatever comes first, and whoever asks for it: what a handle shows is of its own life.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creating_and_destroying_at_the_same_time_mixes_no_lives() {
    let cluster = compacting(1).await;
    let host = cluster.host(NodeId(1)).clone();
    let task = |n: usize| {
        let host = host.clone();
        tokio::spawn(async move {
            let (mut lives, mut random) = (0, Random(n as u64));
            while lives < 40 {
                let group = match host.create_group(G, [NodeId(1)], Journal::default).await {
                    Ok(group) => group,
                    Err(CreateGroupError::Exists(_)) => match host.group::<Journal>(G) {
                        Some(group) => group,
                        None => {
                            tokio::task::yield_now().await;
                            continue;
                        }
                    },
                    Err(error) => panic!("{error}"),
                };
                lives += 1;
                let life = group.incarnation().to_string();
                for _ in 0..random.below(15) {
                    drop(group.propose(life.clone()));
                }
                if group.wait_for_leader().await.is_ok()
                    && let Ok(lines) = group.read((), Consistency::Linearizable).await
                {
                    assert!(lines.iter().all(|line| *line == life), "{life}: {lines:?}");
                }
                if random.below(3) > 0 {
                    match host.destroy_group(G).await {
                        Ok(()) | Err(DestroyGroupError::Busy(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                } else if random.below(3) == 0 {
                    // Given up as soon as it began: it goes on to its end.
                    drop(tokio::time::timeout(std::time::Duration::ZERO, host.destroy_group(G)).await);
                }
            }
        })
    };
    for done in (0..4).map(task).collect::<Vec<_>>() {
        done.await.unwrap();
    }
    let mut cluster = cluster;
    eventually("no change is under way", || {
        !matches!(
            futures::executor::block_on(host.destroy_group(G)),
            Err(DestroyGroupError::Busy(_))
        )
    })
    .await;
    let contents = cluster.disk(NodeId(1)).recover().unwrap();
    assert_eq!((contents.groups.len(), contents.tombstones.len()), (0, 1));
    assert_eq!(cluster.snapshots[0].list().unwrap(), [] as [String; 0]);
    cluster.stop_all().await;
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap()
    }
}
