//! A replica that comes back in the same life of its group after its log was destroyed: what it acknowledged may be
//! committed, so it must not help to elect a leader that lacks it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use raftyard_groups::{
    Group, GroupId, HardState, Incarnation, Input, LogId, Membership, Moment, NodeId, Prompt, Recovered, ReplicaConfig,
    RoleKind, Term, Tuning,
};
use std::sync::Arc;
use support::n;
use support::replica::{Replica, append, heartbeat, vote};

/// `n1` of three, which held a log up to 5@3 in its first life, and starts again in term 4.
fn come_back() -> Replica {
    starts_with(LogId::new(3, 5))
}

/// The same, of which it is not known how far its log went in term 3.
fn come_back_damaged() -> Replica {
    starts_with(LogId::new(3, u64::MAX))
}

fn starts_with(forgotten: LogId) -> Replica {
    let config = ReplicaConfig {
        priority: 0,
        group: GroupId(1),
        incarnation: Incarnation(1),
        node: NodeId(1),
        membership: Arc::new(Membership::of_voters((1..=3).map(NodeId)).unwrap()),
        tuning: Arc::new(Tuning::default()),
        seed: 1,
    };
    let recovered = Recovered {
        hard_state: HardState {
            term: Term(4),
            vote: None,
        },
        forgotten,
        ..Recovered::default()
    };
    let now = Moment(1_000);
    Replica {
        group: Group::new(config, recovered, now),
        now,
    }
}

/// What it says to a candidate of term 5 whose log ends there.
fn votes_for(index: u64, term: u64) -> bool {
    says_yes(come_back(), index, term)
}

fn says_yes(mut replica: Replica, index: u64, term: u64) -> bool {
    let last = LogId::new(term, index);
    let said = replica.hear(2, 5, Prompt::PreVote { last });
    let mut asked = replica.hear(2, 5, vote(index, term));
    let granted = asked.after_write().iter().any(|text| text.contains("granted"));
    let would = said.at_once.iter().any(|text| text.contains("granted"));
    assert_eq!(would, granted, "{:?}", said.at_once);
    granted
}

#[test]
fn it_votes_as_if_it_still_held_what_it_forgot() {
    assert!(
        !votes_for(0, 0),
        "it may have been the one that made the entry committed"
    );
    assert!(!votes_for(4, 3));
    assert!(!votes_for(9, 2));
    assert!(votes_for(5, 3));
    assert!(votes_for(1, 4));
}

#[test]
fn it_does_not_campaign_before_it_has_caught_up() {
    let mut replica = come_back();
    for _ in 0..3 {
        let said = replica.time_out();
        assert!(said.at_once.is_empty() && said.write.is_none());
        assert_eq!(replica.group.role(), RoleKind::Follower);
        assert!(replica.group.deadline() > replica.now, "it waits again");
    }
    assert!(replica.tell(Input::Campaign).at_once.is_empty());
    replica.hear(2, 6, heartbeat(0));
    replica.hear(2, 6, Prompt::TimeoutNow);
    assert_eq!(
        (replica.group.role(), replica.group.term()),
        (RoleKind::Follower, Term(6))
    );

    replica.hear(2, 6, append((0, 0), &[1, 1, 3, 3, 3], 0));
    replica.sync();
    assert_eq!(replica.group.leader(), Some(n(2)));
    let said = replica.time_out();
    assert_eq!(replica.group.role(), RoleKind::PreCandidate);
    assert!(!said.at_once.is_empty(), "it holds all that it ever acknowledged");
}

/// Whoever holds an entry of a later term was elected, or follows one who was, by a majority that this replica was
/// none of before: so that one held all that was committed in its terms.
#[test]
fn one_whose_log_is_damaged_votes_only_for_who_holds_an_entry_of_a_later_term() {
    for (index, term, granted) in [
        (0, 0, false),
        (5, 3, false),
        (9, 3, false),
        (u64::MAX - 1, 3, false),
        (1, 4, true),
        (9, 5, true),
    ] {
        assert_eq!(says_yes(come_back_damaged(), index, term), granted, "{index}@{term}");
    }
}

#[test]
fn one_whose_log_is_damaged_leads_only_once_it_holds_an_entry_of_a_later_term() {
    let mut replica = come_back_damaged();
    assert!(replica.group.must_catch_up());
    replica.hear(2, 6, append((0, 0), &[1, 1, 3, 3, 3], 5));
    replica.sync();
    assert!(replica.group.must_catch_up(), "there may have been more in term 3");
    let said = replica.time_out();
    assert!(said.at_once.is_empty() && said.write.is_none());
    assert_eq!(replica.group.role(), RoleKind::Follower);
    replica.hear(2, 6, Prompt::TimeoutNow);
    assert_eq!(replica.group.role(), RoleKind::Follower);

    replica.hear(2, 6, append((5, 3), &[6], 5));
    replica.sync();
    assert!(!replica.group.must_catch_up());
    let said = replica.time_out();
    assert_eq!(replica.group.role(), RoleKind::PreCandidate);
    assert!(!said.at_once.is_empty());
}
