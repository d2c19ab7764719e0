//! Quorum maths against a second, naive algorithm that tries every subset of voters.
//!
//! `RAFTYARD_SEED=7 cargo test -p raftyard-groups --test quorum` runs the cases of one seed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use raftyard_groups::quorum::{JointQuorum, Majority, VoteResult};
use raftyard_groups::{NodeId, NodeSet};
use std::collections::BTreeMap;
use support::rng::{Seed, TestRng, seeds};

type Voters = NodeSet;

fn voters(numbers: impl IntoIterator<Item = u64>) -> Voters {
    numbers.into_iter().map(NodeId).collect()
}

/// All subsets of `all` with more than half of its members. The empty set's only subset decides for it.
fn majorities(all: &Voters) -> Vec<Voters> {
    let members: Vec<NodeId> = all.iter().copied().collect();
    let subsets = (0..1_u32 << members.len()).map(|mask| {
        let chosen = members.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0);
        chosen.map(|(_, node)| *node).collect::<Voters>()
    });
    subsets
        .filter(|subset| all.is_empty() || subset.len() * 2 > all.len())
        .collect()
}

/// All sets that decide: a majority of both.
fn quorums(incoming: &Voters, outgoing: &Voters) -> Vec<Voters> {
    let outgoing = majorities(outgoing);
    let both = majorities(incoming).into_iter().flat_map(|one| {
        let unions = outgoing
            .iter()
            .map(move |other| one.iter().chain(other).copied().collect());
        unions.collect::<Vec<Voters>>()
    });
    both.collect()
}

/// The greatest value that all members of some quorum have reached.
fn naive_reached(quorums: &[Voters], values: &BTreeMap<NodeId, u64>) -> Option<u64> {
    let reached = quorums
        .iter()
        .filter_map(|quorum| quorum.iter().map(|node| values[node]).min());
    reached.max()
}

/// Won if some quorum said yes; lost if none could any more.
fn naive_vote(quorums: &[Voters], said: &BTreeMap<NodeId, bool>) -> VoteResult {
    let all_are = |allowed: &dyn Fn(Option<bool>) -> bool| {
        let by_all = |quorum: &Voters| quorum.iter().all(|node| allowed(said.get(node).copied()));
        quorums.iter().any(by_all)
    };
    if all_are(&|answer| answer == Some(true)) {
        VoteResult::Won
    } else if all_are(&|answer| answer != Some(false)) {
        VoteResult::Pending
    } else {
        VoteResult::Lost
    }
}

fn random_voters(rng: &mut TestRng, at_least: u64) -> Voters {
    let count = at_least + rng.below(6 - at_least);
    voters((0..count).map(|_| 1 + rng.below(8)))
}

#[test]
fn random_cases_agree_with_the_naive_algorithm() {
    for seed in seeds("RAFTYARD_SEED", 20_000) {
        let _seed = Seed {
            variable: "RAFTYARD_SEED",
            seed,
        };
        let mut rng = TestRng::new(seed);
        let incoming = random_voters(&mut rng, 1);
        let outgoing = match rng.chance(50) {
            true => random_voters(&mut rng, 1),
            false => Voters::default(),
        };
        let everyone: Voters = (1..=8).map(NodeId).collect();
        let values: BTreeMap<NodeId, u64> = everyone.iter().map(|node| (*node, rng.below(6))).collect();
        let mut said = BTreeMap::new();
        for node in &everyone {
            match rng.below(3) {
                0 => {}
                answer => drop(said.insert(*node, answer == 1)),
            }
        }
        let quorum = JointQuorum::new(Majority(&incoming), Majority(&outgoing));
        let naive = quorums(&incoming, &outgoing);
        let case = format!("{incoming:?} {outgoing:?} {values:?} {said:?}");
        assert_eq!(
            quorum.reached(|node| values[&node]),
            naive_reached(&naive, &values),
            "{case}"
        );
        assert_eq!(
            quorum.vote(|node| said.get(&node).copied()),
            naive_vote(&naive, &said),
            "{case}"
        );
        if outgoing.is_empty() {
            let single = Majority(&incoming);
            assert_eq!(
                single.reached(|node| values[&node]),
                naive_reached(&naive, &values),
                "{case}"
            );
            assert_eq!(
                single.vote(|node| said.get(&node).copied()),
                naive_vote(&naive, &said),
                "{case}"
            );
        }
    }
}

#[test]
fn what_a_majority_has_reached() {
    let table: &[(&[u64], Option<u64>)] = &[
        (&[], None),
        (&[5], Some(5)),
        (&[5, 3], Some(3)),
        (&[3, 5], Some(3)),
        (&[9, 1, 5], Some(5)),
        (&[1, 1, 9], Some(1)),
        (&[9, 9, 1, 1], Some(1)),
        (&[9, 9, 7, 1], Some(7)),
        (&[1, 2, 3, 4, 5], Some(3)),
        (&[0, 0, 0, 9, 9], Some(0)),
        (&[u64::MAX, u64::MAX, 0], Some(u64::MAX)),
    ];
    for (values, expected) in table {
        let all = voters(1..=values.len() as u64);
        let value = |node: NodeId| values[usize::try_from(node.0 - 1).unwrap()];
        assert_eq!(Majority(&all).reached(value), *expected, "{values:?}");
    }
}

#[test]
fn where_a_majority_stands() {
    use VoteResult::{Lost, Pending, Won};
    // y: yes, n: no, -: nothing yet.
    let table = [
        ("", Won),
        ("-", Pending),
        ("y", Won),
        ("n", Lost),
        ("y-", Pending),
        ("yy", Won),
        ("yn", Lost),
        ("y--", Pending),
        ("yy-", Won),
        ("yn-", Pending),
        ("nn-", Lost),
        ("yy--", Pending),
        ("yyy-", Won),
        ("yynn", Lost),
        ("nn--", Lost),
        ("n---", Pending),
        ("yynn-", Pending),
        ("yynny", Won),
        ("nnn--", Lost),
    ];
    for (answers, expected) in table {
        let all = voters(1..=answers.len() as u64);
        let said = |node: NodeId| match answers.as_bytes()[usize::try_from(node.0 - 1).unwrap()] {
            b'y' => Some(true),
            b'n' => Some(false),
            _ => None,
        };
        assert_eq!(Majority(&all).vote(said), expected, "{answers}");
    }
}

#[test]
fn a_joint_quorum_needs_both() {
    let (incoming, outgoing, none) = (voters([1, 2, 3]), voters([1, 4, 5]), Voters::default());
    let joint = JointQuorum::new(Majority(&incoming), Majority(&outgoing));
    let yes = |nodes: &'static [u64]| move |node: NodeId| nodes.contains(&node.0).then_some(true);
    assert_eq!(joint.vote(yes(&[1, 2, 3])), VoteResult::Pending);
    assert_eq!(joint.vote(yes(&[1, 4, 5])), VoteResult::Pending);
    assert_eq!(joint.vote(yes(&[1, 2, 4])), VoteResult::Won);
    assert_eq!(joint.vote(|node| Some(node.0 < 4)), VoteResult::Lost);
    assert_eq!(joint.reached(|node| node.0 * 10), Some(20));
    // Without voters on either side nothing limits: no vote is refused, no value is named.
    let empty = JointQuorum::new(Majority(&none), Majority(&none));
    assert_eq!(empty.reached(|node| node.0), None);
    assert_eq!(empty.vote(|_| Some(false)), VoteResult::Won);
    // One empty half leaves the other to decide, whichever it is.
    let left = JointQuorum::new(Majority(&incoming), Majority(&none));
    let right = JointQuorum::new(Majority(&none), Majority(&incoming));
    for one in [left, right] {
        assert_eq!(one.reached(|node| node.0), Some(2));
        assert_eq!(one.vote(yes(&[1, 2])), VoteResult::Won);
        assert_eq!(one.vote(yes(&[1])), VoteResult::Pending);
    }
}

/// Two quorums of one configuration share a voter, and so do quorums of a joint one and of either half: that
/// is what elections, commits and reads rely on.
#[test]
fn quorums_overlap() {
    let (incoming, outgoing) = (voters([1, 2, 3, 4]), voters([3, 5, 6]));
    let joint = quorums(&incoming, &outgoing);
    for half in [majorities(&incoming), majorities(&outgoing)] {
        for quorum in &half {
            let decided = JointQuorum::new(Majority(&incoming), Majority(&outgoing));
            let others = |node: NodeId| Some(!quorum.contains(&node));
            assert_ne!(decided.vote(others), VoteResult::Won, "{quorum:?} could be outvoted");
            assert!(joint.iter().all(|other| other.iter().any(|node| quorum.contains(node))));
        }
    }
}

/// Small groups are counted without memory of their own, large ones with: both alike.
#[test]
fn what_a_majority_reached_does_not_depend_on_the_size_of_the_group() {
    for count in 1..=20_u64 {
        let all = voters(1..=count);
        for step in 1..=3 {
            // A permutation, so that the values don't come in order.
            let value = |node: NodeId| (node.0 * (2 * step + 1)) % 23;
            let mut values: Vec<u64> = (1..=count).map(|node| value(NodeId(node))).collect();
            values.sort_unstable();
            let more_than_half =
                |reached: &u64| values.iter().filter(|value| *value >= reached).count() * 2 > values.len();
            let expected = values.iter().copied().filter(more_than_half).max();
            assert_eq!(Majority(&all).reached(value), expected, "{count} voters, {values:?}");
        }
    }
}
