//! Every property notices what it is there for.

use super::*;
use crate::life::Life;
use crate::sim::trace::Trace;
use crate::sim::watch::Watchman;
use crate::store::{Damage, GroupRecord, LostGroups, RecoveredGroup, StoreContents, Tombstone};
use bytes::Bytes;
use raftyard_groups::{
    Effects, Entry, Group, GroupId, HardState, Incarnation, Input, LogBase, LogId, LogIndex, Membership, Moment,
    Persist, PersistSeq, Recovered, ReplicaConfig, RoleKind, Sessions, Term, Tuning,
};
use std::sync::Arc;

const GROUP: GroupId = GroupId(1);
const LIFE: Life = Life {
    group: GROUP,
    incarnation: Incarnation(1),
};

fn record(node: u64) -> GroupRecord {
    GroupRecord {
        group: GROUP,
        incarnation: Incarnation(1),
        membership: Membership::of_voters([NodeId(node)]).unwrap(),
        is_witness: false,
    }
}

/// A group of one that leads in the term after this one, and has committed what it began with.
fn leader(node: u64, term: u64) -> Group {
    let config = ReplicaConfig {
        group: GROUP,
        incarnation: Incarnation(1),
        node: NodeId(node),
        seed: 1,
        membership: Arc::new(record(node).membership),
        tuning: Arc::new(Tuning::default()),
        priority: 0,
    };
    let recovered = Recovered {
        hard_state: HardState {
            term: Term(term),
            vote: None,
        },
        ..Recovered::default()
    };
    let mut group = Group::new(config, recovered, Moment(0));
    let mut effects = Effects::default();
    group.step(Moment(1), &Sessions::default(), Input::Campaign, &mut effects);
    while let Some(persist) = effects.persist.take() {
        group.step(
            Moment(1),
            &Sessions::default(),
            Input::Persisted { seq: persist.seq },
            &mut effects,
        );
    }
    assert_eq!(group.role(), RoleKind::Leader);
    assert!(group.commit() > LogIndex::ZERO);
    group
}

fn entry(term: u64, index: u64, command: &'static str) -> Entry {
    Entry {
        index: LogIndex(index),
        term: Term(term),
        payload: Payload::Command(Bytes::from_static(command.as_bytes())),
    }
}

fn write(seq: u64, hard_state: Option<HardState>, entries: Vec<Entry>) -> Persist {
    Persist::new(GROUP, PersistSeq(seq), hard_state, entries)
}

/// Events that all properties see, one after the other; the first complaint.
#[derive(Default)]
struct Eye {
    shadow: Shadow,
    complaints: Vec<(&'static str, String)>,
}

impl Eye {
    fn see(&mut self, properties: &mut [Box<dyn Property>], node: u64, event: &Event<'_>) {
        if let Err(what) = self.shadow.note(NodeId(node), event) {
            self.complaints.push(("durability", what));
        }
        for property in properties {
            if let Err(what) = property.check(NodeId(node), event, &self.shadow) {
                self.complaints.push((property.name(), what));
            }
        }
    }
}

/// Which properties complain.
fn complaints(events: &[(u64, Event<'_>)]) -> Vec<&'static str> {
    let (mut eye, mut properties) = (Eye::default(), all());
    for (node, event) in events {
        eye.see(&mut properties, *node, event);
    }
    eye.complaints.into_iter().map(|(name, _)| name).collect()
}

/// What makes a leader's first entry durable on its own disk.
fn noop(term: u64) -> Persist {
    let payload = Payload::Noop;
    let (index, term) = (LogIndex(1), Term(term));
    write(1, None, vec![Entry { index, term, payload }])
}

/// What makes a node's vote for itself durable.
fn own_vote(node: u64, term: u64) -> Persist {
    let (term, vote) = (Term(term), Some(NodeId(node)));
    write(1, Some(HardState { term, vote }), Vec::new())
}

#[test]
fn a_leader_alone_is_fine() {
    let (leader, record, noop, vote) = (leader(1, 0), record(1), noop(1), own_vote(1, 1));
    let events = [
        (1, Event::Creates(&record)),
        (1, Event::Writes(&vote)),
        (1, Event::Writes(&noop)),
        (1, Event::Stands(LIFE, &leader)),
    ];
    assert_eq!(complaints(&events), [""; 0]);
}

#[test]
fn a_leader_whose_votes_are_on_no_disk_is_noticed() {
    let (leader, record, noop) = (leader(1, 0), record(1), noop(1));
    let events = [
        (1, Event::Creates(&record)),
        (1, Event::Writes(&noop)),
        (1, Event::Stands(LIFE, &leader)),
    ];
    assert_eq!(complaints(&events), ["election safety"]);
}

#[test]
fn what_is_committed_and_dropped_from_a_disk_is_noticed() {
    let (record, other) = (record(1), record(2));
    let (leader, own_vote, noop) = (leader(2, 0), own_vote(2, 1), noop(1));
    let first = &noop.entries[0];
    // By a replica in this term; the first entry is committed in term 1.
    let of = |term, entries| {
        let (term, vote) = (Term(term), None);
        let hard_state = HardState { term, vote };
        let long = write(1, Some(hard_state), vec![first.clone(), entry(1, 2, "b")]);
        let after = write(2, None, entries);
        complaints(&[
            (2, Event::Creates(&other)),
            (2, Event::Writes(&own_vote)),
            (2, Event::Writes(&noop)),
            (2, Event::Stands(LIFE, &leader)),
            (
                2,
                Event::Applies {
                    life: LIFE,
                    id: LogId::new(1, 1),
                    payload: &first.payload,
                },
            ),
            (1, Event::Creates(&record)),
            (1, Event::Writes(&long)),
            (1, Event::Writes(&after)),
        ])
    };
    assert_eq!(of(1, vec![entry(2, 1, "a")]), ["durability"]);
    assert_eq!(of(2, vec![entry(2, 1, "a")]), ["durability"]);
    // Whoever knows of no term in which it is committed may be told otherwise by an earlier leader.
    assert_eq!(of(0, vec![entry(2, 1, "a")]), [""; 0]);
    // What is not committed may go, and what is may be written once more.
    assert_eq!(of(2, vec![entry(2, 2, "d")]), [""; 0]);
    assert_eq!(of(1, vec![first.clone(), entry(1, 2, "b")]), [""; 0]);
}

#[test]
fn two_leaders_of_a_term_are_noticed() {
    let (one, other) = (leader(1, 0), leader(2, 0));
    let noticed = complaints(&[(1, Event::Stands(LIFE, &one)), (2, Event::Stands(LIFE, &other))]);
    assert!(noticed.contains(&"election safety"), "{noticed:?}");
}

#[test]
fn a_second_vote_and_a_term_that_goes_back_are_noticed() {
    let record = record(1);
    let vote = |term, vote| {
        let (term, vote) = (Term(term), Some(NodeId(vote)));
        write(1, Some(HardState { term, vote }), Vec::new())
    };
    for (before, after) in [((2, 1), (2, 3)), ((2, 1), (1, 1))] {
        let (before, after) = (vote(before.0, before.1), vote(after.0, after.1));
        let events = [
            (1, Event::Creates(&record)),
            (1, Event::Writes(&before)),
            (1, Event::Writes(&after)),
        ];
        assert_eq!(complaints(&events), ["election safety"]);
    }
}

#[test]
fn entries_that_share_an_id_and_nothing_else_are_noticed() {
    let (one, other) = (record(1), record(2));
    let first = write(1, None, vec![entry(1, 1, "a")]);
    let second = write(1, None, vec![entry(1, 1, "b")]);
    let events = [
        (1, Event::Creates(&one)),
        (2, Event::Creates(&other)),
        (1, Event::Writes(&first)),
        (2, Event::Writes(&second)),
    ];
    assert_eq!(complaints(&events), ["log matching"]);
}

/// What a disk is opened with once it rotted, which held three entries, the first two of them compacted.
fn complaints_of_opened(base: LogId, runs: &[(u64, u64)], damage: Option<Damage>) -> Vec<&'static str> {
    let record = record(1);
    let entries = write(1, None, vec![entry(1, 1, "a"), entry(1, 2, "b"), entry(2, 3, "c")]);
    let mut compacted = write(2, None, Vec::new());
    compacted.base = Some(LogBase::Compacted(LogId::new(1, 2)));
    let mut contents = opened(3, LogId::new(2, 3), LogId::new(2, u64::MAX), damage);
    let state = &mut contents.groups[0].state;
    let runs = runs.iter();
    state.base = base;
    state.runs = runs.map(|(term, index)| LogId::new(*term, *index)).collect();
    complaints(&[
        (1, Event::Creates(&record)),
        (1, Event::Writes(&entries)),
        (1, Event::Writes(&compacted)),
        (1, Event::Rots { snapshots_of: &[] }),
        (1, Event::Opens(&contents)),
    ])
}

#[test]
fn an_entry_that_is_found_behind_another_one_is_noticed() {
    let opened = |runs: &[(u64, u64)]| complaints_of_opened(LogId::ZERO, runs, said(false));
    assert!(opened(&[(1, 1), (2, 3)]).is_empty());
    assert_eq!(opened(&[(1, 1), (2, 2)]), ["log matching"]);
}

#[test]
fn a_disk_that_rotted_may_lose_that_a_log_was_compacted() {
    assert!(complaints_of_opened(LogId::ZERO, &[(1, 1), (2, 3)], None).is_empty());
    assert!(complaints_of_opened(LogId::new(1, 1), &[(1, 2), (2, 3)], None).is_empty());
}

#[test]
fn a_leader_without_what_was_committed_is_noticed() {
    // Its log begins with an entry of its own term, where another one was committed.
    let (first, second) = (leader(1, 0), leader(2, 5));
    let noticed = complaints(&[(1, Event::Stands(LIFE, &first)), (2, Event::Stands(LIFE, &second))]);
    assert!(noticed.contains(&"leader completeness"), "{noticed:?}");
}

#[test]
fn another_entry_at_the_same_index_and_one_again_are_noticed() {
    let (a, b) = (entry(1, 1, "a").payload, entry(1, 1, "b").payload);
    let applies = |payload| Event::Applies {
        life: LIFE,
        id: LogId::new(1, 1),
        payload,
    };
    assert_eq!(
        complaints(&[(1, applies(&a)), (2, applies(&b))]),
        ["state machine safety"]
    );
    assert_eq!(
        complaints(&[(1, applies(&a)), (1, applies(&a))]),
        ["state machine safety"]
    );
    assert_eq!(complaints(&[(1, applies(&a)), (2, applies(&a))]), [""; 0]);
}

#[test]
fn a_commit_that_is_on_no_disk_is_noticed() {
    let (leader, record, vote) = (leader(1, 0), record(1), own_vote(1, 1));
    let events = [
        (1, Event::Creates(&record)),
        (1, Event::Writes(&vote)),
        (1, Event::Stands(LIFE, &leader)),
    ];
    assert_eq!(complaints(&events), ["durability"]);
}

#[test]
fn a_disk_that_lost_something_is_noticed() {
    let (record, noop) = (record(1), noop(1));
    let vote = write(
        2,
        Some(HardState {
            term: Term(1),
            vote: Some(NodeId(1)),
        }),
        Vec::new(),
    );
    let shorter = |hard_state, last: LogId| StoreContents {
        groups: vec![RecoveredGroup {
            record: record.clone(),
            state: Recovered {
                hard_state,
                base: last,
                last: last.index,
                ..Recovered::default()
            },
            damage: None,
        }],
        tombstones: Vec::<Tombstone>::new(),
        ..StoreContents::default()
    };
    let whole = vote.hard_state.unwrap();
    let without_log = shorter(whole, LogId::ZERO);
    let without_vote = shorter(HardState { vote: None, ..whole }, LogId::new(1, 1));
    let without_term = shorter(HardState::default(), LogId::new(1, 1));
    for contents in [without_log, without_vote, without_term, StoreContents::default()] {
        let events = [
            (1, Event::Creates(&record)),
            (1, Event::Writes(&noop)),
            (1, Event::Writes(&vote)),
            (1, Event::Opens(&contents)),
        ];
        assert_eq!(complaints(&events), ["durability"], "{contents:?}");
    }
}

/// A disk of this group, which ends with `last`.
fn opened(term: u64, last: LogId, forgotten: LogId, damage: Option<Damage>) -> StoreContents {
    StoreContents {
        groups: vec![RecoveredGroup {
            record: record(1),
            state: Recovered {
                hard_state: HardState {
                    term: Term(term),
                    vote: None,
                },
                base: last,
                last: last.index,
                forgotten,
                ..Recovered::default()
            },
            damage,
        }],
        ..StoreContents::default()
    }
}

fn said(is_lost: bool) -> Option<Damage> {
    let what = "a record is damaged".to_owned();
    Some(Damage { what, is_lost })
}

#[test]
fn a_disk_may_lose_only_what_it_says_and_only_if_it_rotted() {
    let (record, noop) = (record(1), noop(1));
    let anything = LogId::new(1, u64::MAX);
    let gone = StoreContents {
        lost: Some(LostGroups::Since(Term(1))),
        ..StoreContents::default()
    };
    let cases = [
        ("repaired", opened(2, LogId::ZERO, anything, said(false)), true),
        ("start cut short", opened(2, LogId::ZERO, anything, None), true),
        ("halted", opened(0, LogId::ZERO, LogId::ZERO, said(true)), true),
        ("gone", gone, true),
        ("gone silently", StoreContents::default(), false),
        ("silent", opened(2, LogId::ZERO, LogId::ZERO, None), false),
        ("acknowledged", opened(2, LogId::ZERO, LogId::ZERO, said(false)), false),
        ("votes again", opened(0, LogId::ZERO, anything, said(false)), false),
    ];
    for (what, contents, is_right) in &cases {
        let events = |rots: Option<Event<'static>>| {
            let before = [(1, Event::Creates(&record)), (1, Event::Writes(&noop))];
            let rots = rots.into_iter().map(|rots| (1, rots));
            let after = [(1, Event::Opens(contents))];
            complaints(&before.into_iter().chain(rots).chain(after).collect::<Vec<_>>())
        };
        let wanted: &[&str] = if *is_right { &[] } else { &["durability"] };
        assert_eq!(events(Some(Event::Rots { snapshots_of: &[] })), wanted, "{what}");
        assert_eq!(events(None), ["durability"], "{what}, and the disk is sound");
    }
}

#[test]
fn what_a_damaged_replica_acknowledged_counts_and_what_it_never_held_does_not() {
    let (record, noop) = (record(1), noop(1));
    let contents = opened(2, LogId::ZERO, LogId::new(1, u64::MAX), said(false));
    let mut shadow = Shadow::default();
    for event in [
        Event::Creates(&record),
        Event::Writes(&noop),
        Event::Rots { snapshots_of: &[] },
        Event::Opens(&contents),
    ] {
        shadow.note(NodeId(1), &event).unwrap();
    }
    assert!(shadow.holds(NodeId(1), LIFE, LogId::new(1, 1)));
    assert!(!shadow.holds(NodeId(1), LIFE, LogId::new(1, 2)));
    assert!(!shadow.is_amiss(NodeId(1), GROUP), "its peers repair it");
    shadow.note(NodeId(1), &Event::Forgets(GROUP)).unwrap();
    assert!(shadow.holds(NodeId(1), LIFE, LogId::new(1, 1)));
}

#[test]
fn a_log_that_is_forgotten_though_it_is_whole_is_noticed() {
    let record = record(1);
    let events = [(1, Event::Creates(&record)), (1, Event::Forgets(GROUP))];
    assert_eq!(complaints(&events), ["durability"]);
}

#[test]
fn a_life_that_is_over_may_stand_on_a_disk_that_rotted_and_no_more() {
    let (record, noop, payload) = (record(1), noop(1), Payload::Noop);
    let contents = opened(2, LogId::ZERO, LogId::new(1, u64::MAX), said(false));
    let vote = HardState {
        term: Term(3),
        vote: None,
    };
    let vote = write(2, Some(vote), Vec::new());
    let applies = Event::Applies {
        life: LIFE,
        id: LogId::new(1, 1),
        payload: &payload,
    };
    let leader = leader(1, 0);
    for (event, is_right) in [
        (Event::Writes(&vote), true),
        (Event::Writes(&noop), false),
        (applies, false),
        (Event::Stands(LIFE, &leader), false),
        (Event::Creates(&record), false),
    ] {
        let events = [
            (1, Event::Creates(&record)),
            (1, Event::Destroys(LIFE)),
            (1, Event::Over(LIFE)),
            (1, Event::Rots { snapshots_of: &[] }),
            (1, Event::Opens(&contents)),
            (1, event),
        ];
        assert_eq!(!complaints(&events).contains(&"no resurrection"), is_right);
    }
}

#[test]
fn a_replica_that_was_destroyed_and_goes_on_is_noticed() {
    let (record, payload) = (record(1), Payload::Noop);
    let applies = || Event::Applies {
        life: LIFE,
        id: LogId::new(1, 1),
        payload: &payload,
    };
    let destroyed = [(1, Event::Creates(&record)), (1, Event::Destroys(LIFE)), (1, applies())];
    assert_eq!(complaints(&destroyed), ["no resurrection"]);
    let over = [(1, Event::Over(LIFE)), (2, Event::Creates(&record))];
    assert_eq!(complaints(&over), ["no resurrection"]);
}

#[tokio::test]
async fn a_command_that_is_applied_twice_or_in_another_life_is_noticed() {
    for (number, incarnation, property) in [(7, 1, "exactly once"), (8, 2, "no resurrection")] {
        let watchman = Watchman::new(Trace::start());
        let mut once = Once::new(NodeId(1), GROUP, 1, watchman.clone());
        assert_eq!(once.applies(7, 1), 1);
        assert_eq!(watchman.violation(), None);
        once.applies(number, incarnation);
        assert_eq!(watchman.violation().unwrap().property, property);
    }
}

#[test]
fn a_stale_read_is_noticed() {
    let mut freshness = Freshness::default();
    assert_eq!(freshness.wanted(GROUP, 1), 0);
    freshness.answered(GROUP, 1, 3);
    freshness.answered(GROUP, 1, 2);
    let wanted = freshness.wanted(GROUP, 1);
    assert!(Freshness::check(GROUP, wanted, 3).is_ok());
    assert!(Freshness::check(GROUP, wanted, 2).is_err());
}

#[test]
fn a_replica_that_goes_back_is_noticed() {
    let mut freshness = Freshness::default();
    let check = |freshness: &Freshness, applied| {
        Freshness::check_kept(NodeId(1), GROUP, freshness.kept(NodeId(1), GROUP), applied)
    };
    freshness.keeps(NodeId(1), GROUP, 3);
    freshness.keeps(NodeId(1), GROUP, 2);
    assert!(check(&freshness, 3).is_ok());
    assert!(check(&freshness, 2).is_err());
    freshness.forget(NodeId(2), |_| true);
    assert!(check(&freshness, 2).is_err());
    freshness.forget(NodeId(1), |group| group == GROUP);
    assert!(check(&freshness, 0).is_ok());
}
