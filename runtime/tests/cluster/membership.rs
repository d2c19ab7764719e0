//! Groups whose members change while they are in use.

use super::support::{Journal, PATIENCE, eventually, propose, slot};
use super::yard::{GROUP, Load, Yard, ids, often, quick, voters};
use futures::FutureExt;
use raftyard::{
    ChangeError, Compaction, CreateGroupError, Group, GroupOptions, MemberRole, MembershipChange, MembershipError,
    NodeId, PeerMode, RoleKind,
};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_group_grows_from_one_to_five_and_shrinks_back_under_load() {
    for compaction in [Compaction::default(), often()] {
        let mut yard = Yard::new(5, &[1], compaction).await;
        let load = Load::start(&yard, 3);
        let voter = Some(MemberRole::Voter);
        for (new, all) in [([2, 3], vec![1, 2, 3]), ([4, 5], vec![1, 2, 3, 4, 5])] {
            for id in new {
                yard.join(id).await;
            }
            let both = MembershipChange::new()
                .set(NodeId(new[0]), voter)
                .set(NodeId(new[1]), voter);
            assert_eq!(voters(&*yard.change(both).await), all);
            load.goes_on().await;
            yard.alike(&all).await;
        }
        for (gone, left) in [([1, 4], vec![2, 3, 5]), ([2, 3], vec![5])] {
            let both = MembershipChange::remove(NodeId(gone[0])).set(NodeId(gone[1]), None);
            assert_eq!(voters(&*yard.change(both).await), left);
            load.goes_on().await;
        }
        for id in [1, 2, 3, 4] {
            yard.cluster.host(NodeId(id)).destroy_group(GROUP).await.unwrap();
            yard.replicas.lock()[slot(NodeId(id))] = None;
        }
        load.goes_on().await;
        load.check(&yard).await;
        yard.cluster.stop_all().await;
    }
}

#[tokio::test]
async fn a_node_takes_the_place_of_another_in_one_change() {
    let mut yard = Yard::new(4, &[1, 2, 3], Compaction::default()).await;
    let load = Load::start(&yard, 2);
    yard.join(4).await;
    // The one that is replaced is gone already, as it is when that is needed.
    let (leader, _) = yard.leader().await;
    let gone = ids(&[1, 2, 3]).into_iter().find(|id| *id != leader).unwrap();
    yard.stop(gone).await;
    let membership = yard.change(MembershipChange::replace(gone, NodeId(4))).await;
    assert!(membership.is_voter(NodeId(4)) && !membership.contains(gone));
    load.goes_on().await;
    // Alone with the new one, the leader is a quorum.
    let (leader, _) = yard.leader().await;
    let third = ids(&[1, 2, 3]).into_iter().find(|id| *id != leader && *id != gone);
    if leader != NodeId(4) {
        yard.stop(third.unwrap()).await;
    }
    load.goes_on().await;
    load.check(&yard).await;
    yard.cluster.stop_all().await;
}

/// Fault 43.
#[tokio::test]
async fn a_leader_that_is_removed_steps_down_and_idles() {
    let mut yard = Yard::new(3, &[1, 2, 3], Compaction::default()).await;
    let load = Load::start(&yard, 2);
    for round in 0..2 {
        let (leader, replica) = yard.leader().await;
        let membership = yard.change(MembershipChange::remove(leader)).await;
        assert!(!membership.contains(leader), "round {round}");
        eventually("it knows that it is no member", || replica.status().member.is_none()).await;
        eventually("it does not lead", || replica.status().role == RoleKind::Follower).await;
        yard.replicas.lock()[slot(leader)] = None;
        load.goes_on().await;
        let refused = replica.change_membership(MembershipChange::add_voter(leader)).await;
        assert!(matches!(refused, Err(ChangeError::NotLeader { .. })), "{refused:?}");
    }
    load.check(&yard).await;
    let (id, last) = yard.leader().await;
    let alone = last.change_membership(MembershipChange::remove(id)).await;
    assert_eq!(alone, Err(ChangeError::Invalid(MembershipError::NoVoters)));
    yard.cluster.stop_all().await;
}

/// Fault 44.
#[tokio::test]
async fn a_learner_comes_in_through_a_snapshot_and_is_promoted() {
    let mut yard = Yard::steady(4, &[1, 2, 3], often()).await;
    yard.fill(0..160).await;
    let (leader, replica) = yard.leader().await;
    eventually("the log was compacted", || {
        yard.cluster.on_disk(leader, 1).base.index.0 > 100
    })
    .await;
    yard.join(4).await;
    let joined = yard.replica(4);
    assert!(joined.membership().is_empty() && joined.status().member.is_none());
    let membership = yard.change(MembershipChange::add_learner(NodeId(4))).await;
    assert_eq!(membership.role_of(NodeId(4)), Some(MemberRole::Learner));
    eventually("it applied all", || joined.status().applied >= replica.status().applied).await;
    let metrics = yard.cluster.host(NodeId(4)).metrics();
    assert!(metrics.snapshots_installed >= 1, "{metrics:?}");
    let progress = replica.progress().await.unwrap();
    assert_eq!(progress.len(), 3, "{progress:?}");
    assert!(joined.progress().await.unwrap().is_empty(), "it does not lead");
    let replicating = || async {
        let progress = replica.progress().await.unwrap();
        progress
            .iter()
            .all(|peer| peer.mode == PeerMode::Replicating && peer.snapshot.is_none())
    };
    let deadline = Instant::now() + PATIENCE;
    while !replicating().await {
        assert!(Instant::now() < deadline, "the snapshot never ends");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        voters(&*yard.change(MembershipChange::promote(NodeId(4))).await),
        [1, 2, 3, 4]
    );
    yard.lead(4).await;
    yard.fill(160..165).await;
    assert_eq!(yard.read().await, (0..165).map(|n| n.to_string()).collect::<Vec<_>>());
    yard.cluster.stop_all().await;
}

#[tokio::test]
async fn the_progress_of_a_snapshot_is_seen_at_the_leader() {
    let slow = Compaction {
        send_bytes_per_second: 1 << 20,
        ..often()
    };
    let mut yard = Yard::new(2, &[1], slow).await;
    let large = "x".repeat(100 << 10);
    for _ in 0..25 {
        propose(&yard.running(), &large).await;
    }
    yard.fill(0..60).await;
    eventually("the log was compacted", || {
        yard.cluster.on_disk(NodeId(1), 1).base.index.0 > 50
    })
    .await;
    yard.join(2).await;
    yard.change(MembershipChange::add_learner(NodeId(2))).await;
    let leader = yard.replica(1);
    let deadline = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let [peer] = leader.progress().await.unwrap()[..] else {
            panic!("one peer");
        };
        if let (PeerMode::Snapshot, Some(transfer)) = (peer.mode, peer.snapshot) {
            assert!(transfer.sent_bytes <= transfer.total_bytes && transfer.total_bytes > 2 << 20);
            seen.push(transfer.sent_bytes);
            seen.dedup();
        }
        assert!(Instant::now() < deadline, "no progress was seen: {seen:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(seen.is_sorted(), "{seen:?}");
    yard.alike(&[2]).await;
    yard.cluster.stop_all().await;
}

/// Fault 40: what the old leader was asked while it was cut off never counts, what the new one is asked does.
#[tokio::test]
async fn a_change_during_a_partition_is_the_majoritys() {
    let mut yard = Yard::new(5, &[1, 2, 3], Compaction::default()).await;
    yard.join(4).await;
    yard.join(5).await;
    yard.fill(0..10).await;
    let (old, replica) = yard.leader().await;
    yard.cluster.isolate(old);
    let asked = replica.change_membership(MembershipChange::add_learner(NodeId(5)));
    yard.replicas.lock()[slot(old)] = None;
    let membership = yard.change(MembershipChange::replace(old, NodeId(4))).await;
    assert!(!membership.contains(old) && !membership.contains(NodeId(5)));
    yard.fill(10..20).await;
    assert!(asked.await.is_err_and(|error| error.may_yet_happen()));
    yard.cluster.heal(old);
    yard.fill(20..30).await;
    assert_eq!(
        *yard.leader().await.1.membership(),
        *membership,
        "nothing came of the other"
    );
    assert_eq!(yard.read().await.len(), 30);
    yard.cluster.stop_all().await;
}

/// Fault 42, while nodes catch up, with everybody stopped in between.
#[tokio::test]
async fn a_change_that_waits_for_a_node_outlives_its_leader_and_restarts() {
    let mut yard = Yard::steady(4, &[1, 2, 3], often()).await;
    yard.fill(0..30).await;
    let (leader, replica) = yard.leader().await;
    // Node 4 does not run the group yet.
    let asked = replica.change_membership(MembershipChange::add_voter(NodeId(4)));
    eventually("it is preparing", || replica.membership().next().is_some()).await;
    let busy = replica.change_membership(MembershipChange::remove(NodeId(2))).await;
    assert_eq!(busy, Err(ChangeError::Busy));
    yard.fill(30..60).await;
    yard.stop(leader).await;
    assert!(asked.await.is_err_and(|error| error.may_yet_happen()));
    yard.fill(60..90).await;
    assert!(yard.leader().await.1.membership().next().is_some(), "it is in the log");
    for id in yard.first.clone() {
        yard.stop(id).await;
    }
    // From here on it does not matter who leads.
    yard.cluster.tuning = quick();
    for id in yard.first.clone() {
        yard.restart(id).await;
    }
    yard.fill(90..100).await;
    yard.join(4).await;
    let joined = yard.replica(4);
    eventually("it votes", || joined.status().member == Some(MemberRole::Voter)).await;
    let done = || {
        let replicas = yard.running();
        replicas
            .iter()
            .all(|replica| voters(&replica.membership()) == [1, 2, 3, 4] && !replica.membership().is_changing())
    };
    eventually("the change is made", done).await;
    assert_eq!(yard.read().await.len(), 100);
    yard.cluster.stop_all().await;
}

#[tokio::test]
async fn a_change_can_be_abandoned_while_it_waits() {
    let yard = Yard::steady(4, &[1, 2, 3], Compaction::default()).await;
    yard.fill(0..5).await;
    let (_, leader) = yard.leader().await;
    assert_eq!(leader.abandon_change().await, Err(ChangeError::NotPreparing));
    let before = leader.membership();
    let asked = leader.change_membership(MembershipChange::replace(NodeId(1), NodeId(4)));
    eventually("it is preparing", || leader.membership().next().is_some()).await;
    assert_eq!(leader.abandon_change().await, Ok(before));
    assert_eq!(asked.await, Err(ChangeError::Abandoned));
    let unknown = leader.change_membership(MembershipChange::add_voter(NodeId(9))).await;
    assert_eq!(unknown, Err(ChangeError::UnknownPeer(NodeId(9))));
    let mut cluster = yard.cluster;
    cluster.stop_all().await;
}

/// Fault 42: both halves of the joint configuration are needed, and one is away; then everybody restarts.
#[tokio::test]
async fn a_joint_configuration_is_completed_after_everybody_restarted() {
    let mut yard = Yard::new(5, &[1, 2, 3], Compaction::default()).await;
    yard.join(4).await;
    yard.join(5).await;
    yard.fill(0..20).await;
    yard.lead(1).await;
    for id in [4, 5] {
        yard.change(MembershipChange::add_learner(NodeId(id))).await;
    }
    yard.alike(&[4, 5]).await;
    yard.lead(1).await;
    for id in [4, 5] {
        yard.cluster.isolate(NodeId(id));
    }
    let change = ids(&[4, 5]).into_iter().fold(MembershipChange::new(), |change, id| {
        change.set(id, Some(MemberRole::Voter))
    });
    let change = ids(&[2, 3]).into_iter().fold(change, |change, id| change.set(id, None));
    let mut asked = None;
    eventually("it is joint on the disks of all that decide so far", || {
        let leads = |replica: &Group<Journal>| replica.leader() == Some(replica.node());
        let leader = yard.running().into_iter().find(leads);
        asked = asked
            .take()
            .or_else(|| leader.map(|leader| Box::pin(leader.change_membership(change.clone()))));
        // It can't be made while the new ones are away: if it ended, whoever was asked did not lead, or not long enough.
        if asked.as_mut().is_some_and(|asked| asked.now_or_never().is_some()) {
            asked = None;
        }
        ids(&[1, 2, 3]).into_iter().all(|id| {
            let found = yard.cluster.on_disk(id, 1).memberships;
            found.last().is_some_and(|(_, newest)| newest.is_joint())
        })
    })
    .await;
    for id in yard.cluster.ids() {
        yard.stop(id).await;
    }
    drop(asked);
    for id in [4, 5] {
        yard.cluster.heal(NodeId(id));
    }
    for id in yard.cluster.ids() {
        yard.restart(id).await;
    }
    let ended = || {
        [1, 4, 5]
            .iter()
            .all(|id| voters(&yard.replica(*id).membership()) == [1, 4, 5])
    };
    eventually("the new configuration is alone", || {
        ended() && !yard.replica(1).membership().is_joint()
    })
    .await;
    // Those who left have no say any more.
    for id in [2, 3] {
        yard.stop(NodeId(id)).await;
    }
    yard.fill(20..30).await;
    assert_eq!(yard.read().await.len(), 30);
    yard.cluster.stop_all().await;
}

#[tokio::test]
async fn the_membership_outlives_restarts_and_compaction() {
    let mut yard = Yard::new(4, &[1, 2, 3], often()).await;
    yard.join(4).await;
    yard.change(MembershipChange::replace(NodeId(1), NodeId(4))).await;
    yard.change(MembershipChange::add_learner(NodeId(1))).await;
    yard.fill(0..150).await;
    for id in [2, 3, 4] {
        eventually("the log no longer holds the changes", || {
            let found = yard.cluster.on_disk(NodeId(id), 1);
            found.base.index.0 > 60 && found.memberships.len() == 1
        })
        .await;
    }
    for id in yard.cluster.ids() {
        yard.stop(id).await;
    }
    for id in yard.cluster.ids() {
        yard.restart(id).await;
        let membership = yard.replica(id.0).membership();
        assert_eq!(voters(&membership), [2, 3, 4], "as soon as it runs");
        assert_eq!(membership.role_of(NodeId(1)), Some(MemberRole::Learner));
    }
    yard.fill(150..155).await;
    assert_eq!(yard.read().await.len(), 155);
    yard.cluster.stop_all().await;
}

#[tokio::test]
async fn what_is_on_disk_says_who_belongs_whatever_the_caller_names() {
    let mut yard = Yard::new(3, &[1, 2], Compaction::default()).await;
    yard.join(3).await;
    yard.change(MembershipChange::add_voter(NodeId(3))).await;
    yard.fill(0..5).await;
    for id in yard.cluster.ids() {
        yard.stop(id).await;
        yard.cluster.open(id).await;
    }
    let host = yard.cluster.host(NodeId(1)).clone();
    let other = host.create_group(GROUP, ids(&[1, 2, 3]), Journal::default).await;
    assert!(
        matches!(other, Err(CreateGroupError::OtherMembers { .. })),
        "not its first members"
    );
    let witness = host.join_witness(GROUP, GroupOptions::default()).await;
    assert!(matches!(witness, Err(CreateGroupError::OtherKind(GROUP))));
    yard.create(NodeId(1)).await;
    yard.create(NodeId(2)).await;
    // One that joined never knew the first members: any will do.
    let joined = yard
        .cluster
        .host(NodeId(3))
        .create_group(GROUP, ids(&[3]), Journal::default)
        .await;
    yard.put(NodeId(3), joined.unwrap());
    assert_eq!(voters(&yard.replica(3).membership()), [1, 2, 3]);
    assert_eq!(yard.cluster.host(NodeId(3)).stored_groups(), [GROUP]);
    yard.fill(5..10).await;
    yard.cluster.stop_all().await;
}

/// Fault 41 in part, and thesis §4.2.3: it asks for votes, and nobody minds.
#[tokio::test]
async fn a_node_that_was_removed_while_it_was_away_disturbs_nobody() {
    let mut yard = Yard::steady(4, &[1, 2, 3, 4], Compaction::default()).await;
    yard.fill(0..10).await;
    yard.lead(1).await;
    yard.stop(NodeId(4)).await;
    yard.change(MembershipChange::remove(NodeId(4))).await;
    yard.fill(10..20).await;
    // Until then the leader would tell it.
    let deadline = Instant::now() + PATIENCE;
    while yard
        .replica(1)
        .progress()
        .await
        .unwrap()
        .iter()
        .any(|peer| peer.node == NodeId(4))
    {
        assert!(Instant::now() < deadline, "it is never given up");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let before = yard.status(1);
    // It alone is to lose patience.
    yard.cluster.tuning = quick();
    yard.restart(NodeId(4)).await;
    let away = yard.replica(4);
    eventually("it tries to be elected", || {
        away.status().role == RoleKind::PreCandidate
    })
    .await;
    yard.fill(20..60).await;
    // Several times as long as it takes to campaign.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let after = yard.status(1);
    assert_eq!((after.term, after.role), (before.term, RoleKind::Leader));
    assert_eq!(away.status().applied.max(20), 20, "it gets nothing any more");
    yard.cluster.stop_all().await;
}

/// It acknowledged entries, and forgot them. So it must not help anyone to be elected who lacks them.
#[tokio::test]
async fn a_node_that_was_removed_and_destroyed_can_come_back() {
    let mut yard = Yard::new(3, &[1, 2, 3], often()).await;
    let load = Load::start(&yard, 2);
    for _ in 0..3 {
        load.goes_on().await;
        yard.change(MembershipChange::remove(NodeId(3))).await;
        yard.cluster.host(NodeId(3)).destroy_group(GROUP).await.unwrap();
        load.goes_on().await;
        yard.join(3).await;
        yard.change(MembershipChange::add_voter(NodeId(3))).await;
        yard.alike(&[3]).await;
    }
    load.check(&yard).await;
    yard.cluster.stop_all().await;
}
