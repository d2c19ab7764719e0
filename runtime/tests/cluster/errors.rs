//! Refusals: typed, and nothing happens.

use super::support::{Cluster, Journal, eventually, leader_of, propose};
use raftyard::store::{MemoryLogStore, StoreError};
use raftyard::{
    Consistency, CreateGroupError, GroupId, LeaderError, Limits, NodeId, OpenError, OverloadReason, ProposeError,
    RaftHost, ReadError, SessionLimits, Timestamp, Tuning,
};

#[tokio::test]
async fn a_follower_says_who_leads() {
    let mut cluster = Cluster::start_steady(3).await;
    let replicas = cluster.create(1).await;
    let leader = leader_of(&replicas, &cluster.ids()).await.leader();
    eventually("all know the leader", || {
        replicas.iter().all(|replica| replica.leader() == leader)
    })
    .await;
    let follower = replicas
        .iter()
        .zip(cluster.ids())
        .find(|(_, id)| Some(*id) != leader)
        .unwrap()
        .0;
    assert_eq!(
        follower.propose("no".to_owned()).await,
        Err(ProposeError::NotLeader { leader })
    );
    let read = follower.read((), Consistency::Linearizable).await;
    assert_eq!(read, Err(ReadError::NotLeader { leader }));
    cluster.stop_all().await;
}

#[tokio::test]
async fn what_exceeds_a_limit_is_refused_and_never_applied() {
    let limits = Limits {
        request_bytes_max: 4_000,
        command_bytes_max: 1_000,
        ..Limits::default()
    };
    let mut cluster = Cluster::start_with(1, limits).await;
    let group = cluster.create(1).await.remove(0);
    leader_of(std::slice::from_ref(&group), &cluster.ids()).await;
    let large = group.propose("x".repeat(1_001)).await.unwrap_err();
    assert!(
        matches!(large, ProposeError::TooLarge { bytes_limit: 1_000, .. }),
        "{large}"
    );

    let many: Vec<_> = (0..100).map(|n| group.propose(n.to_string())).collect();
    let (mut accepted, mut refused) = (0, 0);
    for proposal in many {
        match proposal.await {
            Ok(_) => accepted += 1,
            Err(error) => {
                let ProposeError::Overloaded { reason, .. } = error else {
                    panic!("{error}");
                };
                let expected = [OverloadReason::NodeShare(4_000), OverloadReason::NodeBytes(4_000)];
                assert!(expected.contains(&reason), "{reason}");
                assert!(!error.may_have_happened());
                refused += 1;
            }
        }
    }
    assert!(accepted > 0 && refused > 0, "{accepted} accepted, {refused} refused");
    let lines = group.read((), Consistency::Linearizable).await.unwrap();
    assert_eq!(
        lines.len(),
        accepted,
        "what was refused is not applied, and room comes back"
    );
    cluster.stop_all().await;
}

#[tokio::test]
async fn groups_that_cannot_be_are_refused() {
    let mut cluster = Cluster::start(3).await;
    cluster.create(1).await;
    let host = cluster.host(NodeId(1)).clone();
    let create = |group: u64, members: &[u64]| {
        let members: Vec<NodeId> = members.iter().copied().map(NodeId).collect();
        let host = host.clone();
        async move { host.create_group(GroupId(group), members, Journal::default).await }
    };
    assert!(matches!(
        create(1, &[1, 2, 3]).await,
        Err(CreateGroupError::Exists(GroupId(1)))
    ));
    assert!(matches!(
        create(2, &[2, 3]).await,
        Err(CreateGroupError::NotMember { .. })
    ));
    assert!(matches!(
        create(2, &[1, 9]).await,
        Err(CreateGroupError::UnknownPeer { member: NodeId(9), .. })
    ));
    assert!(matches!(create(2, &[]).await, Err(CreateGroupError::Membership(_))));
    let (one, other) = tokio::join!(create(3, &[1, 2, 3]), create(3, &[1, 2, 3]));
    assert!(one.is_ok() != other.is_ok(), "of two at a time one creates it");
    cluster.stop_all().await;

    cluster.open(NodeId(1)).await;
    let host = cluster.host(NodeId(1)).clone();
    let other_members = host
        .create_group(GroupId(1), [NodeId(1), NodeId(2)], Journal::default)
        .await;
    assert!(matches!(other_members, Err(CreateGroupError::OtherMembers { .. })));
    assert!(
        host.create_group(GroupId(1), cluster.ids(), Journal::default)
            .await
            .is_ok(),
        "and can be put right"
    );
    cluster.stop_all().await;
}

#[tokio::test]
async fn there_is_no_handle_of_another_type() {
    let mut cluster = Cluster::start(1).await;
    let group = cluster.create(1).await.remove(0);
    propose(std::slice::from_ref(&group), "line").await;
    assert!(cluster.host(NodeId(1)).group::<Journal>(GroupId(2)).is_none());

    #[derive(Default)]
    struct Other;
    impl raftyard::StateMachine for Other {
        type Command = ();
        type Response = ();
        type Query = ();
        type Answer = ();
        type Snapshot = ();
        fn apply(&mut self, (): (), _: Timestamp) {}
        fn query(&self, (): ()) {}
        fn snapshot(&self) {}
        fn restore(&mut self, (): ()) {}
    }
    let host = cluster.host(NodeId(1));
    assert!(host.group::<Journal>(GroupId(1)).is_some());
    assert!(host.group::<Other>(GroupId(1)).is_none());
    cluster.stop_all().await;
}

#[tokio::test]
async fn after_a_shutdown_every_handle_says_so() {
    let mut cluster = Cluster::start(1).await;
    let group = cluster.create(1).await.remove(0);
    leader_of(std::slice::from_ref(&group), &cluster.ids()).await;
    let host = cluster.host(NodeId(1)).clone();
    let on_its_way = group.propose("last".to_owned());
    cluster.stop_all().await;
    assert_eq!(on_its_way.await, Ok(1), "a shutdown waits for what is on its way");
    assert_eq!(group.propose("late".to_owned()).await, Err(ProposeError::Closed));
    assert_eq!(group.read((), Consistency::Linearizable).await, Err(ReadError::Closed));
    assert_eq!(group.wait_for_leader().await, Err(LeaderError::Closed));
    let created = host.create_group(GroupId(2), [NodeId(1)], Journal::default).await;
    assert!(matches!(created, Err(CreateGroupError::Closed)));
    host.shutdown().await;
}

#[tokio::test]
async fn a_node_that_cannot_be_opened_says_what_is_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let open = |builder: raftyard::HostBuilder| builder.open();

    let host = open(RaftHost::builder(dir.path()).cluster("blue").node(NodeId(1)))
        .await
        .unwrap();
    let address = host.peer_addr().to_owned();
    let in_use = open(RaftHost::builder(dir.path()).cluster("blue").node(NodeId(1)))
        .await
        .err()
        .unwrap();
    assert!(matches!(in_use, OpenError::Store(StoreError::InUse(_))), "{in_use}");
    let taken = open(
        RaftHost::builder("")
            .log_store(MemoryLogStore::default())
            .listen(&address),
    )
    .await
    .err()
    .unwrap();
    assert!(taken.to_string().contains(&address), "{taken}");
    host.shutdown().await;

    for builder in [
        RaftHost::builder(dir.path()).cluster("green").node(NodeId(1)),
        RaftHost::builder(dir.path()).cluster("blue").node(NodeId(2)),
    ] {
        let error = open(builder).await.err().unwrap();
        assert!(matches!(error, OpenError::Store(StoreError::NotOurs { .. })), "{error}");
    }
    let file = dir.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let error = open(RaftHost::builder(file.join("data"))).await.err().unwrap();
    assert!(error.to_string().contains("file"), "names the path: {error}");
    let tuning = Tuning::default();
    let limits = Limits::default();
    for impossible in [
        RaftHost::builder("").workers(0),
        RaftHost::builder("").tuning(Tuning {
            election_timeout_ms: tuning.heartbeat_interval_ms,
            ..tuning
        }),
        RaftHost::builder("").tuning(Tuning {
            inflight_messages_max: 0,
            ..tuning
        }),
        // No frame could carry the largest command: it would be taken and never replicated.
        RaftHost::builder("").limits(Limits {
            command_bytes_max: 64 << 20,
            ..limits
        }),
        // A node's own session would be full at once, and the next one too.
        RaftHost::builder("").limits(Limits {
            sessions: SessionLimits {
                bytes_max: 0,
                ..limits.sessions
            },
            ..limits
        }),
        // Every session would be gone at its first command.
        RaftHost::builder("").limits(Limits {
            sessions: SessionLimits {
                idle_ms: 0,
                ..limits.sessions
            },
            ..limits
        }),
    ] {
        let error = open(impossible).await.err().unwrap();
        assert!(matches!(error, OpenError::Config(_)), "{error}");
    }
}
