//! Snapshots that are lost or rot, and who can do without them.

use super::damage::one_is_away;
use super::snapshots::{compacted_everywhere, fill, numbers, often, start_with};
use super::support::{Cluster, Journal, eventually, propose, read, slot};
use super::yard::Yard;
use raftyard::store::{LogStore, MemorySnapshotStore, SnapshotStore};
use raftyard::{
    Compaction, Consistency, CreateGroupError, GroupId, Membership, MembershipChange, NodeId, SnapshotError,
};
use raftyard_groups::{Entry, Payload, Persist, PersistSeq};
use std::sync::Arc;

const ONE: NodeId = NodeId(1);

fn joint(voters: &[NodeId], outgoing: &[NodeId]) -> Membership {
    Membership::new(voters.iter().copied(), outgoing.iter().copied(), []).unwrap()
}

/// Adds a configuration to the end of a node's log, which is on no other disk; its snapshots are lost.
fn left_with(membership: Membership, cluster: &Cluster, node: NodeId) {
    let held = cluster.on_disk(node, 1);
    assert!(held.base.index.0 > 0, "it goes on from a snapshot");
    let entry = Entry {
        index: held.last.next(),
        term: held.last_id().term,
        payload: Payload::Membership(Arc::new(membership)),
    };
    let write = Persist::new(GroupId(1), PersistSeq(1), None, vec![entry]);
    cluster.disk(node).write(&[write]).unwrap();
    let mut snapshots = cluster.snapshots[slot(node)].clone();
    for name in snapshots.list().unwrap() {
        snapshots.remove(&name).unwrap();
    }
}

/// What is left of the log of the only replica that has to have a state is kept.
async fn does_not_forget_its_log(membership: Membership) {
    let mut cluster = start_with(1, often()).await;
    fill(&cluster.create(1).await, 0..60).await;
    compacted_everywhere(&cluster, 1).await;
    cluster.stop_all().await;
    left_with(membership, &cluster, ONE);
    let before = cluster.on_disk(ONE, 1);
    cluster.open_all().await;
    let created = cluster.host(ONE).create_group(GroupId(1), [ONE], Journal::default);
    let refused = created.await.err();
    assert!(
        matches!(refused, Some(CreateGroupError::Snapshot(SnapshotError::Missing { .. }))),
        "{refused:?}"
    );
    let after = cluster.on_disk(ONE, 1);
    assert_eq!((after.base, after.last), (before.base, before.last));
    cluster.stop_all().await;
}

/// Whoever is to come may have nothing yet.
#[tokio::test]
async fn an_only_voter_that_is_being_replaced_does_not_forget_its_log() {
    does_not_forget_its_log(joint(&[NodeId(2)], &[ONE])).await;
}

#[tokio::test]
async fn an_only_voter_beside_a_witness_does_not_forget_its_log() {
    let two = Membership::of_voters([ONE, NodeId(2)]).unwrap();
    does_not_forget_its_log(two.with_witnesses([NodeId(2)]).unwrap()).await;
}

/// The other one may have been away, while this one and the witness committed.
#[tokio::test]
async fn one_of_two_beside_a_witness_does_not_forget_its_log() {
    let three = Membership::of_voters([1, 2, 3].map(NodeId)).unwrap();
    does_not_forget_its_log(three.with_witnesses([NodeId(3)]).unwrap()).await;
}

/// It was to become the only voter: those that are to leave have all that was committed.
#[tokio::test]
async fn one_that_is_to_become_the_only_voter_is_repaired_by_those_that_leave() {
    let (mut cluster, others, away) = one_is_away().await;
    left_with(joint(&[away], &cluster.ids()), &cluster, away);
    cluster.open(away).await;
    let back = cluster.create_on(away, 1).await;
    let host = cluster.host(away).clone();
    eventually("it is repaired", || {
        host.metrics().replicas_repaired == 1 && !back.status().damaged
    })
    .await;
    propose(&others, "after").await;
    let expected = [numbers(60), vec!["after".to_owned()]].concat();
    assert_eq!(read(&[others.as_slice(), &[back]].concat()).await, expected);
    drop(host);
    cluster.stop_all().await;
}

/// In one way or another.
fn rot(snapshots: &mut MemorySnapshotStore, is_cut: bool) {
    for name in snapshots.list().unwrap() {
        let mut bytes = snapshots.read(&name, 0, usize::MAX).unwrap().to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        if is_cut {
            bytes.truncate(middle);
        }
        snapshots.write(&name, 0, &bytes).unwrap();
    }
}

/// Nothing is written that could be the reason for another one.
#[tokio::test]
async fn a_snapshot_that_rots_below_a_running_leader_is_taken_anew_for_a_peer_that_needs_it() {
    for is_cut in [false, true] {
        is_taken_anew(is_cut).await;
    }
}

async fn is_taken_anew(is_cut: bool) {
    let seldom = Compaction {
        entries: 50,
        tail_entries: 0,
        ..Compaction::default()
    };
    let mut yard = Yard::new(2, &[1], seldom).await;
    yard.fill(0..60).await;
    eventually("the log is compacted", || yard.cluster.on_disk(ONE, 1).base.index.0 > 0).await;
    assert_eq!(yard.cluster.host(ONE).metrics().snapshots_taken, 1);
    rot(&mut yard.cluster.snapshots[0], is_cut);
    yard.join(2).await;
    yard.change(MembershipChange::add_learner(NodeId(2))).await;
    yard.alike(&[2]).await;
    let found = yard.replica(2).read((), Consistency::Stale).await;
    assert_eq!(found, Ok(numbers(60)));
    assert_eq!(yard.cluster.host(ONE).metrics().snapshots_taken, 2);
    yard.cluster.stop_all().await;
}
