//! Memberships as values: what they can be, what a change makes of them, and what is kept of them beside a log.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use proptest::prelude::*;
use raftyard_groups::{
    Effects, Entry, Group, GroupId, HardState, Incarnation, Input, LogBase, LogId, LogIndex, MemberRole, Membership,
    MembershipChange, MembershipError, MembershipTarget, Moment, NodeId, Payload, Persist, PersistSeq, Recovered,
    ReplicaConfig, Sessions, Term, Tuning,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use support::n;

fn of(voters: &[u64], outgoing: &[u64], learners: &[u64]) -> Membership {
    let nodes = |list: &[u64]| list.iter().map(|node| n(*node)).collect::<Vec<_>>();
    Membership::new(nodes(voters), nodes(outgoing), nodes(learners)).unwrap()
}

#[test]
fn what_can_not_be_is_named() {
    let no_voters = Membership::new([], [n(1)], []);
    assert_eq!(no_voters, Err(MembershipError::NoVoters));
    let both = Membership::new([n(1)], [], [n(1)]);
    assert_eq!(both, Err(MembershipError::VoterAndLearner(n(1))));
    assert!(Membership::new([n(1)], [n(2)], [n(2)]).is_ok(), "it will be a learner");
    let alone = of(&[1], &[], &[2]).with_witnesses([n(1)]);
    assert_eq!(alone, Err(MembershipError::OnlyWitnesses));
    let learner = of(&[1], &[], &[2]).with_witnesses([n(2)]);
    assert_eq!(learner, Err(MembershipError::WitnessIsNoVoter(n(2))));
    let target = |witnesses: &[NodeId]| MembershipTarget::new([1, 2].map(n), witnesses.to_vec(), []).unwrap();
    let joint = of(&[1], &[2], &[]).with_next(target(&[]));
    assert_eq!(joint, Err(MembershipError::JointAndPreparing));
    let turned = of(&[1, 2], &[], &[]).with_next(target(&[n(2)]));
    assert_eq!(turned, Err(MembershipError::WitnessMustLeave(n(2))));
    assert!(of(&[1], &[], &[]).with_next(target(&[n(2)])).is_ok());
}

#[test]
fn what_a_node_is() {
    let target = MembershipTarget::new([1, 5, 6].map(n), [n(6)], [n(7)]).unwrap();
    let membership = of(&[1, 2, 3], &[], &[4]).with_witnesses([n(3)]).unwrap();
    assert_eq!(membership.role_of(n(5)), None);
    let membership = membership.with_next(target).unwrap();
    let (voter, witness, learner) = (
        Some(MemberRole::Voter),
        Some(MemberRole::Witness),
        Some(MemberRole::Learner),
    );
    let roles = [voter, voter, witness, learner, learner, learner, learner, None];
    for (node, role) in (1..).zip(roles) {
        assert_eq!(membership.role_of(n(node)), role, "n{node}");
        assert_eq!(membership.contains(n(node)), role.is_some());
    }
    assert_eq!(membership.nodes().len(), 7);
    assert!(
        membership.is_witness(n(6)),
        "it gets no commands from the first message on"
    );
    assert!(membership.may_lead(n(2)) && !membership.may_lead(n(3)) && !membership.may_lead(n(5)));
    assert_eq!(
        membership.to_string(),
        "voters=n1,n2,n3 learners=n4 witnesses=n3 next=(voters=n1,n5,n6 learners=n7 witnesses=n6)"
    );
    assert!(Membership::default().is_empty() && !Membership::default().contains(n(1)));
}

#[test]
fn changes_and_their_constructors() {
    let three = of(&[1, 2, 3], &[], &[4]);
    let changed = |change: &MembershipChange| three.changed(change).map(|membership| membership.to_string());
    let table = [
        (MembershipChange::add_learner(n(5)), "voters=n1,n2,n3 learners=n4,n5"),
        (MembershipChange::promote(n(4)), "voters=n1,n2,n3,n4"),
        (MembershipChange::add_voter(n(5)), "voters=n1,n2,n3,n5 learners=n4"),
        (
            MembershipChange::add_witness(n(5)),
            "voters=n1,n2,n3,n5 learners=n4 witnesses=n5",
        ),
        (MembershipChange::remove(n(3)), "voters=n1,n2 learners=n4"),
        (MembershipChange::remove(n(9)), "voters=n1,n2,n3 learners=n4"),
        (MembershipChange::replace(n(3), n(4)), "voters=n1,n2,n4"),
        (MembershipChange::new(), "voters=n1,n2,n3 learners=n4"),
    ];
    for (change, expected) in table {
        assert_eq!(changed(&change).unwrap(), expected);
    }
    let turned = changed(&MembershipChange::add_witness(n(4)));
    assert_eq!(turned, Err(MembershipError::WitnessMustLeave(n(4))));
}

fn role() -> impl Strategy<Value = Option<MemberRole>> {
    prop_oneof![
        Just(None),
        Just(Some(MemberRole::Voter)),
        Just(Some(MemberRole::Learner)),
        Just(Some(MemberRole::Witness)),
    ]
}

proptest! {
    /// A second way to the same: a map from node to role, changed role by role.
    #[test]
    fn a_change_sets_what_it_names_and_nothing_else(
        before in proptest::collection::btree_map(1_u64..7, role(), 1..7),
        change in proptest::collection::btree_map(1_u64..9, role(), 0..5),
    ) {
        let build = |roles: &BTreeMap<u64, Option<MemberRole>>| {
            let all = roles.iter().filter_map(|(node, role)| role.map(|role| (n(*node), role)));
            all.fold(MembershipChange::new(), |change, (node, role)| change.set(node, Some(role)))
        };
        // n100 keeps the group from being of nobody, and is named by no change.
        let start = of(&[100], &[], &[]).changed(&build(&before)).unwrap();
        let asked = change.iter().fold(MembershipChange::new(), |asked, (node, role)| asked.set(n(*node), *role));
        let expected = |node: u64| match change.get(&node) {
            Some(role) => *role,
            None => before.get(&node).copied().flatten(),
        };
        let turned = (1..9).any(|node| {
            let (old, new) = (before.get(&node).copied().flatten(), expected(node));
            let is_witness = |role: Option<MemberRole>| role == Some(MemberRole::Witness);
            old.is_some() && new.is_some() && is_witness(old) != is_witness(new)
        });
        match start.changed(&asked) {
            Err(error) => prop_assert!(turned, "{error}"),
            Ok(changed) => {
                prop_assert!(!turned);
                for node in 1..9 {
                    prop_assert_eq!(changed.role_of(n(node)), expected(node));
                }
                prop_assert_eq!(changed.changed(&asked).unwrap(), changed, "twice is as good as once");
            }
        }
    }
}

#[test]
fn a_base_comes_with_its_configuration_when_writes_are_folded() {
    let write = |seq, base: Option<(LogBase, u64)>| {
        let mut write = Persist::new(GroupId(1), PersistSeq(seq), None, Vec::new());
        write.base = base.map(|(base, _)| base);
        write.membership = base.map(|(_, voter)| Arc::new(of(&[voter], &[], &[])));
        write
    };
    let (compacted, installed) = (
        LogBase::Compacted(LogId::new(1, 4)),
        LogBase::Installed(LogId::new(1, 9)),
    );
    let mut folded = write(1, Some((installed, 1)));
    folded.absorb(write(2, None));
    assert_eq!(folded.membership, Some(Arc::new(of(&[1], &[], &[]))));
    let mut folded = write(1, Some((compacted, 1)));
    folded.absorb(write(2, Some((installed, 2))));
    assert_eq!(
        (folded.base, folded.membership),
        (Some(installed), Some(Arc::new(of(&[2], &[], &[]))))
    );
}

fn replica(created: Membership, recovered: Recovered) -> Group {
    let config = ReplicaConfig {
        group: GroupId(1),
        incarnation: Incarnation(1),
        node: n(1),
        membership: Arc::new(created),
        tuning: Arc::new(Tuning::default()),
        seed: 1,
        priority: 0,
    };
    Group::new(config, recovered, Moment(0))
}

fn recovered(base: u64, last: u64, memberships: &[(u64, Membership)]) -> Recovered {
    Recovered {
        hard_state: HardState::default(),
        base: LogId::new(u64::from(base > 0), base),
        runs: (base < last).then(|| LogId::new(1, base + 1)).into_iter().collect(),
        last: LogIndex(last),
        applied: LogIndex(base),
        forgotten: LogId::default(),
        memberships: memberships
            .iter()
            .map(|(index, membership)| (LogIndex(*index), Arc::new(membership.clone())))
            .collect(),
        ..Recovered::default()
    }
}

#[test]
fn which_configuration_is_in_force_where_after_a_restart() {
    let (one, two, three) = (of(&[1], &[], &[]), of(&[1], &[], &[2]), of(&[1], &[], &[2, 3]));
    let at = |group: &Group, index| group.membership_at(LogIndex(index)).map(|found| found.as_ref().clone());
    let whole = replica(one.clone(), recovered(0, 9, &[(4, two.clone()), (7, three.clone())]));
    let found: Vec<_> = [0, 3, 4, 6, 7, 9]
        .map(|index| at(&whole, index))
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(found, [&one, &one, &two, &two, &three, &three].map(Clone::clone));
    assert_eq!(
        (whole.membership().as_ref(), whole.committed_membership().as_ref()),
        (&three, &one)
    );
    assert_eq!(at(&whole, 10), None, "the log does not reach there");
    let compacted = replica(one, recovered(5, 9, &[(5, two.clone()), (7, three.clone())]));
    assert_eq!(
        (at(&compacted, 4), at(&compacted, 5), at(&compacted, 7)),
        (None, Some(two), Some(three.clone()))
    );
    let joined = replica(Membership::default(), recovered(0, 9, &[(7, three.clone())]));
    assert_eq!((at(&joined, 6), at(&joined, 7)), (None, Some(three)));
}

#[test]
fn a_replica_that_joins_campaigns_in_no_case() {
    let mut group = replica(Membership::default(), Recovered::default());
    assert_eq!(group.deadline(), Moment(u64::MAX));
    let mut effects = Effects::default();
    group.step_all(
        Moment(1_000_000),
        &Sessions::default(),
        [Input::Campaign, Input::Tick],
        &mut effects,
    );
    assert!(effects.send.is_empty() && effects.persist.is_none());
    assert_eq!(group.term(), Term(0));
}

#[test]
fn a_configuration_counts_by_its_nodes() {
    let entry = |payload| Entry {
        index: LogIndex(1),
        term: Term(1),
        payload,
    };
    let membership = Arc::new(of(&[1, 2, 3], &[1], &[4]));
    assert_eq!(entry(Payload::Membership(membership)).size(), Entry::OVERHEAD + 5 * 8);
}
