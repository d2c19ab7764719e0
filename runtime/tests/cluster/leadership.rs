//! Leadership that moves because somebody wants it to, and reads that followers serve.

use super::support::{Cluster, PATIENCE, eventually, leader_of, propose, read, slot};
use raftyard::{Consistency, GroupId, Limits, NodeId, ReadError, TransferError};
use std::time::{Duration, Instant};

#[tokio::test]
async fn leadership_is_handed_over_under_load_and_nothing_is_lost() {
    let mut cluster = Cluster::start_steady(3).await;
    let replicas = cluster.create(1).await;
    let mut expected = Vec::new();
    for round in 0..6 {
        let leader = leader_of(&replicas, &cluster.ids()).await.clone();
        let from = leader.node();
        let to = NodeId(from.0 % 3 + 1);
        // On their way while leadership moves: each is applied or refused, none is left open.
        let proposals: Vec<_> = (0..50).map(|n| leader.propose(format!("{round}.{n}"))).collect();
        let transfer = leader.transfer_leadership(to);
        let late: Vec<_> = (50..60).map(|n| leader.propose(format!("{round}.{n}"))).collect();
        assert_eq!(transfer.await, Ok(()));
        for (n, proposal) in proposals.into_iter().chain(late).enumerate() {
            match proposal.await {
                Ok(_) => expected.push(format!("{round}.{n}")),
                Err(error) => assert!(!error.may_have_happened(), "{error}"),
            }
        }
        let target = &replicas[slot(to)];
        eventually("the target leads", || target.leader() == Some(to)).await;
    }
    assert_eq!(read(&replicas).await, expected);
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_transfer_that_cannot_be_says_why() {
    // Longer than a transfer takes that comes to nothing.
    let limits = Limits {
        request_timeout_ms: 60_000,
        ..Limits::default()
    };
    let mut cluster = Cluster::start_steady_with(3, limits).await;
    let replicas = cluster.create(1).await;
    let leader = leader_of(&replicas, &cluster.ids()).await.clone();
    let id = leader.node();
    let follower = &replicas[slot(NodeId(id.0 % 3 + 1))];
    eventually("the follower knows the leader", || follower.leader() == Some(id)).await;
    assert_eq!(
        follower.transfer_leadership(id).await,
        Err(TransferError::NotLeader { leader: Some(id) })
    );
    assert_eq!(
        leader.transfer_leadership(NodeId(9)).await,
        Err(TransferError::NotVoter(NodeId(9)))
    );
    assert_eq!(leader.transfer_leadership(id).await, Ok(()), "it leads already");

    // The target is gone: the leader goes on, and takes what waited meanwhile.
    let gone = NodeId(id.0 % 3 + 1);
    cluster.stop(gone).await;
    let (transfer, held) = tokio::join!(leader.transfer_leadership(gone), leader.propose("held".to_owned()));
    assert_eq!(transfer, Err(TransferError::TimedOut));
    assert_eq!(held, Ok(1));
    cluster.stop_all().await;
    assert_eq!(leader.transfer_leadership(id).await, Err(TransferError::Closed));
}

/// Nobody has to time out: the others have a leader by the time the node is down.
#[tokio::test]
async fn a_node_that_shuts_down_hands_over_what_it_leads() {
    let mut cluster = Cluster::start_steady(3).await;
    let mut groups = Vec::new();
    for group in 0..30 {
        let replicas = cluster.create(group).await;
        leader_of(&replicas, &cluster.ids()).await;
        groups.push(replicas);
    }
    let id = NodeId(1);
    let led: Vec<_> = groups
        .iter()
        .filter(|replicas| replicas[0].leader() == Some(id))
        .collect();
    let terms: Vec<u64> = led.iter().map(|replicas| replicas[0].status().term).collect();
    let others = [NodeId(2), NodeId(3)];
    let campaigns = campaigns(&cluster, others);
    cluster.stop(id).await;
    for (replicas, before) in led.into_iter().zip(terms) {
        let others = &replicas[1..];
        let leads = |replica: &raftyard::Group<_>| replica.status().role == raftyard::RoleKind::Leader;
        eventually("another one leads", || others.iter().any(leads)).await;
        // One election, not the several of replicas that time out at random.
        assert_eq!(
            others.iter().map(|replica| replica.status().term).max(),
            Some(before + 1)
        );
    }
    assert_eq!(self::campaigns(&cluster, others), campaigns, "nobody timed out");
    cluster.stop_all().await;
}

/// How often replicas on these nodes campaigned by themselves.
fn campaigns(cluster: &Cluster, nodes: [NodeId; 2]) -> u64 {
    nodes.map(|id| cluster.host(id).metrics().campaigns).into_iter().sum()
}

#[tokio::test]
async fn a_leader_that_is_destroyed_hands_over_first() {
    let mut cluster = Cluster::start_steady(3).await;
    let replicas = cluster.create(1).await;
    let leader = leader_of(&replicas, &cluster.ids()).await.node();
    propose(&replicas, "before").await;
    let left = [leader.0 % 3 + 1, (leader.0 + 1) % 3 + 1].map(NodeId);
    let campaigns = campaigns(&cluster, left);
    cluster.host(leader).destroy_group(GroupId(1)).await.unwrap();
    let others: Vec<_> = replicas
        .into_iter()
        .filter(|replica| replica.node() != leader)
        .collect();
    propose(&others, "after").await;
    assert_eq!(self::campaigns(&cluster, left), campaigns, "nobody timed out");
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_follower_serves_what_was_acknowledged_before_it_was_asked() {
    let mut cluster = Cluster::start_steady(3).await;
    let replicas = cluster.create(1).await;
    let leader = leader_of(&replicas, &cluster.ids()).await.clone();
    eventually("all know the leader", || {
        replicas.iter().all(|replica| replica.leader() == leader.leader())
    })
    .await;
    for n in 1..=30 {
        assert_eq!(leader.propose(n.to_string()).await, Ok(n));
        for replica in &replicas {
            let lines = replica
                .read((), Consistency::Follower)
                .await
                .expect("every replica serves it");
            assert_eq!(lines.len(), n, "reflects what was acknowledged");
        }
    }
    let follower = replicas
        .iter()
        .find(|replica| replica.status().role == raftyard::RoleKind::Follower)
        .unwrap();
    let many: Vec<_> = (0..200).map(|_| follower.read((), Consistency::Follower)).collect();
    for answer in many {
        assert_eq!(answer.await.map(|lines| lines.len()), Ok(30));
    }
    cluster.stop_all().await;
}

/// It is told nothing but that it has all.
#[tokio::test]
async fn a_follower_that_starts_again_serves_reads_though_nothing_is_written() {
    let mut cluster = Cluster::start(3).await;
    let replicas = cluster.create(1).await;
    propose(&replicas, "before").await;
    let leader = leader_of(&replicas, &cluster.ids()).await.node();
    let id = NodeId(leader.0 % 3 + 1);
    eventually("it has all", || {
        replicas[slot(id)].status().applied == replicas[slot(leader)].status().commit
    })
    .await;
    drop(replicas);
    cluster.stop(id).await;
    cluster.open(id).await;
    let back = cluster.create_on(id, 1).await;
    eventually("it knows the leader", || back.leader().is_some()).await;
    let deadline = Instant::now() + PATIENCE;
    while back.read((), Consistency::Follower).await != Ok(vec!["before".to_owned()]) {
        assert!(Instant::now() < deadline, "never served");
    }
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_follower_that_is_cut_off_serves_nothing() {
    let mut cluster = Cluster::start_steady(3).await;
    let replicas = cluster.create(1).await;
    propose(&replicas, "before").await;
    let leader = leader_of(&replicas, &cluster.ids()).await.node();
    let id = NodeId(leader.0 % 3 + 1);
    let follower = &replicas[slot(id)];
    eventually("the follower knows the leader", || follower.leader() == Some(leader)).await;
    cluster.isolate(id);
    let asked = follower.read((), Consistency::Follower);
    propose(&replicas, "after").await;
    assert!(matches!(
        asked.await,
        Err(ReadError::NotLeader { .. } | ReadError::TimedOut)
    ));
    cluster.heal(id);
    // It may lose its leader once more before all is calm; what it serves is current in any case.
    let deadline = Instant::now() + PATIENCE;
    let lines = loop {
        match follower.read((), Consistency::Follower).await {
            Ok(lines) => break lines,
            Err(error) => assert!(Instant::now() < deadline, "never served: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(lines, ["before", "after"]);
    cluster.stop_all().await;
}
