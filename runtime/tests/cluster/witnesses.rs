//! Replicas that vote and hold no state.

use super::support::{Cluster, Journal, change, eventually, leader_of, propose, read};
use super::yard::{GROUP, Yard, ids, often, quick};
use raftyard::store::LogStore;
use raftyard::{
    ChangeError, Compaction, CreateGroupError, Group, GroupId, GroupOptions, GroupStatus, MemberRole, MembershipChange,
    MembershipError, NodeId, QuarantineReason, RebuildGroupError, ReplicaState, Witness,
};
use raftyard_groups::{LogIndex, Payload};

async fn create_with_witness(cluster: &Cluster) -> (Vec<Group<Journal>>, Group<Witness>) {
    let options = || GroupOptions::default().witnesses([NodeId(3)]);
    let mut full = Vec::new();
    for id in ids(&[1, 2]) {
        let host = cluster.host(id);
        let created = host.create_group_with(GROUP, ids(&[1, 2, 3]), options(), Journal::default);
        full.push(created.await.unwrap());
    }
    let host = cluster.host(NodeId(3));
    let mistaken = host
        .create_group_with(GROUP, ids(&[1, 2, 3]), options(), Journal::default)
        .await;
    assert!(matches!(mistaken, Err(CreateGroupError::OtherKind(GROUP))));
    let witness = host.create_witness(GROUP, ids(&[1, 2, 3]), options()).await;
    (full, witness.unwrap())
}

/// Whichever member a new group's id picks to campaign at once.
#[tokio::test]
async fn a_new_group_with_a_witness_has_a_leader_without_an_election_timeout() {
    let mut cluster = Cluster::closed(3);
    cluster.tuning.election_timeout_ms = 120_000;
    cluster.open_all().await;
    for group in (1..=3).map(GroupId) {
        let options = || GroupOptions::default().witnesses([NodeId(3)]);
        let mut full = Vec::new();
        for id in ids(&[1, 2]) {
            let host = cluster.host(id);
            let created = host.create_group_with(group, ids(&[1, 2, 3]), options(), Journal::default);
            full.push(created.await.unwrap());
        }
        let host = cluster.host(NodeId(3));
        host.create_witness(group, ids(&[1, 2, 3]), options()).await.unwrap();
        leader_of(&full, &ids(&[1, 2])).await;
    }
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_witness_stands_in_for_a_full_replica_that_is_down_and_holds_no_state() {
    let mut cluster = Cluster::closed(3);
    cluster.tuning = quick();
    cluster.compaction = often();
    cluster.open_all().await;
    let (full, witness) = create_with_witness(&cluster).await;
    for n in 0..10 {
        propose(&full, &n.to_string()).await;
    }
    assert_eq!(witness.status().member, Some(MemberRole::Witness));
    let leader = leader_of(&full, &ids(&[1, 2])).await.clone();
    let down = ids(&[1, 2])
        .into_iter()
        .find(|id| leader.leader() != Some(*id))
        .unwrap();
    cluster.stop(down).await;
    for n in 10..15 {
        propose(std::slice::from_ref(&leader), &n.to_string()).await;
    }
    let held = cluster
        .disk(NodeId(3))
        .read(GROUP, LogIndex(1), LogIndex(u64::MAX), usize::MAX);
    let held = held.unwrap();
    assert!(!held.is_empty());
    assert!(
        held.iter().all(|entry| !matches!(entry.payload, Payload::Command(_))),
        "{held:?}"
    );
    let transfer = leader.transfer_leadership(NodeId(3)).await;
    assert!(transfer.is_err(), "a witness never leads");

    // It was away, and what it missed is compacted: it gets a snapshot, without state.
    cluster.open(down).await;
    let full_again = {
        let options = GroupOptions::default().witnesses([NodeId(3)]);
        let host = cluster.host(down);
        host.create_group_with(GROUP, ids(&[1, 2, 3]), options, Journal::default)
            .await
            .unwrap()
    };
    let full = vec![leader, full_again];
    cluster.stop(NodeId(3)).await;
    for n in 15..175 {
        propose(&full, &n.to_string()).await;
    }
    for id in ids(&[1, 2]) {
        eventually("the log was compacted", || cluster.on_disk(id, 1).base.index.0 > 100).await;
    }
    cluster.open(NodeId(3)).await;
    let witness = cluster
        .host(NodeId(3))
        .join_witness(GROUP, GroupOptions::default())
        .await
        .unwrap();
    let applied = full[0].status().commit;
    eventually("it is up to date", || witness.status().commit >= applied).await;
    eventually("it got a snapshot", || {
        cluster.host(NodeId(3)).metrics().snapshots_installed >= 1
    })
    .await;
    assert_eq!(read(&full).await.len(), 175);
    let rebuilt = cluster.host(NodeId(3)).rebuild_group(GROUP).await;
    assert!(
        matches!(rebuilt, Err(RebuildGroupError::Witness(GROUP))),
        "there is nothing to make a group of"
    );
    assert!(cluster.host(NodeId(3)).group::<Witness>(GROUP).is_some(), "it goes on");
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_witness_joins_a_group_that_runs() {
    let yard = Yard::new(3, &[1, 2], often()).await;
    yard.fill(0..50).await;
    let witness = yard
        .cluster
        .host(NodeId(3))
        .join_witness(GROUP, GroupOptions::default())
        .await
        .unwrap();
    let membership = yard.change(MembershipChange::add_witness(NodeId(3))).await;
    assert_eq!(membership.role_of(NodeId(3)), Some(MemberRole::Witness));
    eventually("it knows what it is", || {
        witness.status().member == Some(MemberRole::Witness)
    })
    .await;
    let (leader, replica) = yard.leader().await;
    let other = ids(&[1, 2]).into_iter().find(|id| *id != leader).unwrap();
    let mut yard = yard;
    yard.stop(other).await;
    yard.fill(50..60).await;
    let full = replica.change_membership(MembershipChange::add_voter(NodeId(3))).await;
    assert_eq!(
        full,
        Err(ChangeError::Invalid(MembershipError::WitnessMustLeave(NodeId(3))))
    );
    yard.cluster.stop_all().await;
}

#[tokio::test]
async fn a_replica_that_its_group_takes_for_another_kind_stops() {
    let mut yard = Yard::new(4, &[1, 2], often()).await;
    yard.fill(0..10).await;
    let host = yard.cluster.host(NodeId(3));
    let witness = host.join_witness(GROUP, GroupOptions::default()).await.unwrap();
    yard.join(4).await;
    // Its log will lack no command from now on, but would lack those of before had it been a witness already.
    yard.change(MembershipChange::add_learner(NodeId(3))).await;
    let stopped = |state| state == ReplicaState::Quarantined(QuarantineReason::OtherKind);
    eventually("the witness stops", || stopped(witness.status().state)).await;
    // One with a state machine, to which no commands are sent.
    let running = yard.running();
    let asked = tokio::spawn(async move { change(&running, &MembershipChange::add_witness(NodeId(4))).await });
    eventually("the full replica stops", || stopped(yard.status(4).state)).await;
    asked.abort();
    assert_eq!(yard.read().await.len(), 10, "the others go on");
    yard.cluster.stop_all().await;
}

/// What its log says of it while it catches up is about the replica that was here before, of the other kind.
#[tokio::test]
async fn a_node_that_left_comes_back_as_the_other_kind() {
    let whole = Compaction::default();
    for (compaction, first) in [
        (whole, MemberRole::Witness),
        (whole, MemberRole::Voter),
        (often(), MemberRole::Witness),
        (often(), MemberRole::Voter),
    ] {
        let mut yard = Yard::new(3, &[1, 2], compaction).await;
        let n3 = NodeId(3);
        drop(come_in(&yard, first).await);
        // A whole log takes more than one message, the first of which ends where the node was a member.
        for n in 0..50 {
            let size = if compaction.entries == whole.entries {
                10_000
            } else {
                10
            };
            propose(&yard.running(), &format!("{n:size$}")).await;
        }
        // It is not told that it left.
        yard.stop(n3).await;
        yard.change(MembershipChange::remove(n3)).await;
        yard.cluster.open(n3).await;
        yard.cluster.host(n3).destroy_group(GROUP).await.unwrap();

        let second = match first {
            MemberRole::Witness => MemberRole::Voter,
            _ => MemberRole::Witness,
        };
        let status = come_in(&yard, second).await;
        yard.fill(50..55).await;
        let (_, leader) = yard.leader().await;
        let last = leader.status().applied;
        eventually("it has caught up", || {
            let GroupStatus { state, applied, .. } = status();
            assert_eq!(state, ReplicaState::Running, "once a {first:?}, {compaction:?}");
            applied >= last
        })
        .await;
        assert_eq!(status().member, Some(second));
        assert_eq!(yard.read().await.len(), 55);
        yard.cluster.stop_all().await;
    }
}

/// Has the third node join, as a witness or a voter; returns what tells how its replica stands.
async fn come_in(yard: &Yard, role: MemberRole) -> Box<dyn Fn() -> GroupStatus> {
    let status: Box<dyn Fn() -> GroupStatus> = if role == MemberRole::Witness {
        let host = yard.cluster.host(NodeId(3));
        let witness = host.join_witness(GROUP, GroupOptions::default()).await.unwrap();
        Box::new(move || witness.status())
    } else {
        yard.join(3).await;
        let replica = yard.replica(3);
        Box::new(move || replica.status())
    };
    yard.change(MembershipChange::new().set(NodeId(3), Some(role))).await;
    status
}
