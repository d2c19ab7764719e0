//! What the core owes its driver whatever the driver tells it: answers that come late, twice, short or with more
//! than was asked for, and effects of several steps that are carried out as one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use raftyard_groups::{
    Body, ChangeId, ChangeOutcome, ChangeRefusal, ChangeRequest, Effects, Entry, Group, GroupId, HardState,
    Incarnation, Input, LoadPurpose, LogId, LogIndex, Membership, MembershipChange, Moment, NodeId, Payload, Persist,
    PersistSeq, Promise, Prompt, ProposalId, Proposed, ReadId, ReadOutcome, ReadRound, Recovered, ReplicaConfig,
    RoleKind, Sessions, Term, TransferId, Tuning,
};
use std::sync::Arc;
use support::replica::{Replica, accepted, append, heartbeat, message, vote};
use support::{entries_of_terms, n};

fn write(seq: u64, vote: Option<u64>, entries: &[Entry]) -> Persist {
    let hard = vote.map(|vote| HardState {
        term: Term(seq),
        vote: Some(NodeId(vote)),
    });
    Persist::new(GroupId(1), PersistSeq(seq), hard, entries.to_vec())
}

fn terms(write: &Persist) -> Vec<(u64, u64)> {
    write
        .entries
        .iter()
        .map(|entry| (entry.index.0, entry.term.0))
        .collect()
}

#[test]
fn a_higher_priority_campaigns_earlier_but_never_before_an_election_timeout() {
    for (priority, latest) in [(0, 1_200), (1, 900), (2, 800), (3, 750), (255, 750)] {
        let deadlines = (0..2_000).map(|seed| {
            let config = ReplicaConfig {
                group: GroupId(1),
                incarnation: Incarnation(1),
                node: n(1),
                membership: Arc::new(Membership::of_voters([1, 2, 3].map(n)).unwrap()),
                tuning: Arc::new(Tuning::default()),
                seed,
                priority,
            };
            Group::new(config, Recovered::default(), Moment(0)).deadline().0
        });
        let (first, last) = deadlines.fold((u64::MAX, 0), |(first, last), due| (first.min(due), last.max(due)));
        assert!((600..605).contains(&first), "{priority}: {first}");
        assert!((latest - 5..latest).contains(&last), "{priority}: {last}");
    }
}

#[test]
fn writes_fold_as_if_they_had_been_one() {
    let old = entries_of_terms(&[1, 1, 1, 1, 1]);
    let new = entries_of_terms(&[2, 2, 2, 2, 2]);
    // What was queued, what comes later, and what has to be on disk.
    type Case<'a> = (&'a [Entry], &'a [Entry], &'a [(u64, u64)]);
    let table: &[Case<'_>] = &[
        (&old[2..4], &old[4..], &[(3, 1), (4, 1), (5, 1)]),
        (&old[2..], &new[3..4], &[(3, 1), (4, 2)]),
        (&old[2..], &new[2..4], &[(3, 2), (4, 2)]),
        (&old[3..], &new[1..3], &[(2, 2), (3, 2)]),
        (&[], &new[1..3], &[(2, 2), (3, 2)]),
        (&old[2..], &[], &[(3, 1), (4, 1), (5, 1)]),
    ];
    for (first, later, expected) in table {
        let mut folded = write(4, Some(1), first);
        folded.absorb(write(7, None, later));
        assert_eq!(terms(&folded), *expected);
        assert_eq!(folded.seq, PersistSeq(7));
        assert_eq!(
            folded.hard_state.unwrap().term,
            Term(4),
            "kept, as the later one has none"
        );
    }
    let mut folded = write(4, Some(1), &[]);
    assert!(write(5, None, &[]).is_barrier() && !folded.is_barrier());
    folded.absorb(write(7, Some(2), &[]));
    assert_eq!(folded.hard_state.unwrap().vote, Some(n(2)), "the later one wins");
}

/// Two steps share one `Effects`: entries that the second replaced are not written, both answers wait.
#[test]
fn steps_that_share_their_effects_write_once() {
    let mut replica = Replica::new(3, 1, &[1]);
    let mut effects = Effects::default();
    let inputs = [
        message(2, 1, append((1, 1), &[1, 1], 0)),
        message(3, 2, append((2, 1), &[2], 0)),
    ];
    for input in inputs {
        replica
            .group
            .step(replica.now, &Sessions::default(), Input::Message(input), &mut effects);
    }
    let write = effects.persist.unwrap();
    assert_eq!(terms(&write), [(2, 1), (3, 2)]);
    assert_eq!(write.hard_state.map(|hard| hard.term), Some(Term(2)));
    let durable = write.into_durable();
    assert_eq!(durable.send.len(), 2);
    replica.tell(Input::Persisted { seq: durable.seq });
    assert_eq!(replica.group.durable(), LogIndex(3));
}

#[test]
fn numbers_of_writes_ascend_and_acknowledge_all_before() {
    let mut replica = Replica::new(3, 1, &[]);
    let seqs: Vec<PersistSeq> = (0..3)
        .map(|index| replica.hear(2, 1, append((index, u64::from(index > 0)), &[1], 0)))
        .map(|said| said.write.unwrap().seq)
        .collect();
    assert!(seqs.is_sorted_by(|a, b| a < b));
    replica.tell(Input::Persisted { seq: seqs[1] });
    assert_eq!(replica.group.durable(), LogIndex(2));
    // Said again, or late: nothing goes back.
    replica.tell(Input::Persisted { seq: seqs[0] });
    assert_eq!(replica.group.durable(), LogIndex(2));
}

/// The requests for votes wait for the candidate's own write; should a grant be there before, it is not enough.
#[test]
fn a_candidate_is_not_elected_before_its_own_vote_is_durable() {
    let mut replica = Replica::new(3, 0, &[]);
    replica.time_out();
    replica.hear(2, 1, Prompt::PreVoteReply { granted: true });
    replica.hear(2, 1, Promise::VoteGranted);
    assert_eq!(replica.group.role(), RoleKind::Candidate);
    replica.sync();
    assert_eq!(replica.group.role(), RoleKind::Leader);
}

/// A leader of 3 whose proposal is committed by its followers while its own disk holds the no-op only.
fn leader_ahead_of_its_disk() -> Replica {
    let mut leader = Replica::leader(3, 0, &[]);
    leader.sync();
    leader.tell(Input::Propose {
        id: ProposalId(1),
        commands: vec!["x".into()],
    });
    leader.hear(2, 1, accepted(2));
    leader.tell(Input::Applied { through: LogIndex(1) });
    leader.hear(3, 1, accepted(2));
    leader.tell(Input::Applied { through: LogIndex(1) });
    leader
}

#[test]
fn nothing_is_compacted_that_is_not_durable() {
    let mut leader = leader_ahead_of_its_disk();
    leader.tell(Input::Applied { through: LogIndex(2) });
    assert_eq!(
        (leader.group.applied(), leader.group.durable()),
        (LogIndex(2), LogIndex(1))
    );
    leader.tell(Input::Compacted { through: LogIndex(2) });
    assert_eq!(
        leader.group.term_at(LogIndex(1)),
        Some(Term(1)),
        "the last one compacted"
    );
    assert_eq!(leader.group.term_at(LogIndex(0)), None);
    leader.sync();
    leader.tell(Input::Compacted { through: LogIndex(2) });
    assert_eq!(leader.group.term_at(LogIndex(1)), None);
}

#[test]
fn more_than_was_handed_out_is_not_taken_as_applied() {
    let mut leader = Replica::leader(1, 0, &[]);
    leader.tell(Input::Applied { through: LogIndex(9) });
    assert_eq!(leader.group.applied(), LogIndex(0));
    leader.sync();
    leader.tell(Input::Applied { through: LogIndex(9) });
    assert_eq!(leader.group.applied(), LogIndex(1));
}

#[test]
fn loaded_entries_beyond_the_commit_index_are_not_applied() {
    let mut replica = Replica::new(3, 1, &[1, 1, 1, 1]);
    let said = replica.hear(2, 1, append((2, 1), &[], 2));
    assert_eq!(said.effects.load[0].through, LogIndex(2));
    let loaded = |entries: Vec<Entry>| Input::Loaded {
        purpose: LoadPurpose::Apply,
        from: LogIndex(1),
        entries,
    };
    let said = replica.tell(loaded(entries_of_terms(&[1, 1, 1, 1])));
    assert_eq!(said.applied.len(), 2);
    // The same answer twice applies nothing twice.
    let said = replica.tell(loaded(entries_of_terms(&[1, 1])));
    assert!(said.applied.is_empty());
}

#[test]
fn loads_that_nobody_asked_for_change_nothing() {
    let mut leader = Replica::leader(3, 1, &[1, 1]);
    let before = leader.group.describe_peers();
    for (peer, from) in [(2, 1), (2, 3), (9, 1), (1, 1)] {
        let said = leader.tell(Input::Loaded {
            purpose: LoadPurpose::Peer(n(peer)),
            from: LogIndex(from),
            entries: entries_of_terms(&[1, 1]),
        });
        assert!(said.at_once.is_empty());
    }
    assert_eq!(leader.group.describe_peers(), before);
}

#[test]
fn a_snapshot_that_nobody_waits_for_changes_nothing() {
    let mut leader = Replica::leader(3, 0, &[]);
    let before = leader.group.describe_peers();
    for (to, through) in [(2, Some(1)), (2, None), (3, Some(9)), (9, Some(1))] {
        let through = through.map(LogIndex);
        let said = leader.tell(Input::SnapshotDone { to: n(to), through });
        assert!(said.at_once.is_empty());
    }
    assert_eq!(leader.group.describe_peers(), before);
}

/// What lies beyond its commit index may be another leader's: a late append that ends before is acknowledged up to
/// there, not up to the end of the log.
#[test]
fn a_late_append_is_acknowledged_up_to_the_commit_index() {
    let mut replica = Replica::new(3, 2, &[1, 1, 1, 1]);
    replica.hear(2, 2, append((2, 1), &[], 2));
    replica.sync();
    let mut said = replica.hear(2, 2, append((0, 0), &[1], 0));
    assert_eq!(said.after_write(), ["n1→n2 @2 append accepted matched=2"]);
}

/// While a probe is under way, the late refusal of another one starts nothing.
#[test]
fn a_late_refusal_does_not_move_a_probe() {
    let mut leader = Replica::leader(3, 1, &[1, 1, 1, 1]);
    let refused = |index: u64| Prompt::AppendRejected {
        refused: LogIndex(index),
        hint: LogId::new(1, 0),
    };
    for late in [1, 2, 3, 5] {
        let before = leader.group.describe_peers();
        let said = leader.hear(2, 2, refused(late));
        assert!(
            said.at_once.is_empty() && said.effects.load.is_empty(),
            "refused at {late}"
        );
        assert_eq!(leader.group.describe_peers(), before);
    }
    let said = leader.hear(2, 2, refused(4));
    assert!(
        said.at_once.len() + said.effects.load.len() == 1,
        "the one that is under way"
    );
}

#[test]
fn time_never_goes_back() {
    let mut replica = Replica::new(3, 1, &[]);
    replica.hear(2, 1, heartbeat(0));
    let (now, deadline) = (replica.now, replica.group.deadline());
    replica.now = Moment(0);
    replica.hear(2, 1, heartbeat(0));
    assert!(replica.group.deadline().since(now) >= 600, "{deadline:?}");
    replica.tell(Input::Tick);
    assert_eq!(replica.group.role(), RoleKind::Follower);
}

#[test]
fn no_commands_are_appended_as_no_entries() {
    let mut leader = Replica::leader(3, 0, &[]);
    let said = leader.tell(Input::Propose {
        id: ProposalId(1),
        commands: Vec::new(),
    });
    assert!(matches!(said.effects.proposed[..], [(_, Proposed::Appended { .. })]));
    assert_eq!(leader.group.last().index, LogIndex(1));
}

/// The same seed and the same inputs: the same effects, in the same order.
#[test]
fn a_replica_is_deterministic() {
    let story = || {
        let mut replica = Replica::leader(5, 3, &[1, 2, 2]);
        let mut told = Vec::new();
        for peer in [4, 5, 2, 3] {
            told.push(format!("{:?}", replica.hear(peer, 4, accepted(4)).effects));
        }
        for _ in 0..20 {
            told.push(format!(
                "{:?} {:?}",
                replica.time_out().effects,
                replica.group.deadline()
            ));
        }
        told.push(format!("{:?}", replica.hear(2, 9, vote(9, 9)).effects));
        told
    };
    assert_eq!(story(), story());
}

#[test]
fn a_message_to_somebody_else_is_dropped() {
    let mut replica = Replica::new(3, 1, &[]);
    let mut astray = message(2, 9, heartbeat(0));
    astray.to = n(3);
    replica.tell(Input::Message(astray));
    assert_eq!((replica.group.term(), replica.group.leader()), (Term(1), None));
}

#[test]
fn messages_of_former_members_do_no_harm() {
    let mut leader = Replica::leader(3, 0, &[]);
    leader.sync();
    leader.hear(9, 1, accepted(1));
    leader.hear(8, 1, accepted(1));
    assert_eq!(leader.group.commit(), LogIndex(0));
}

/// A slow state machine must not keep a group without a leader (a bug that dragonboat had).
#[test]
fn a_replica_campaigns_while_its_state_machine_lags() {
    let mut replica = Replica::new(3, 1, &[]);
    let said = replica.hear(2, 1, append((0, 0), &[1, 1], 2));
    assert_eq!(said.applied.len(), 2, "two entries are handed to the state machine");
    replica.sync();
    assert_eq!(replica.group.applied(), LogIndex(0), "which does not get on");
    let said = replica.time_out();
    assert_eq!(replica.group.role(), RoleKind::PreCandidate);
    assert_eq!(said.at_once.len(), 2, "it asks both others: {:?}", said.at_once);
}

/// What a peer held in an older term, it may have lost to another leader since (a bug that openraft had).
#[test]
fn an_acknowledgement_of_an_older_term_counts_for_nothing() {
    let mut leader = Replica::leader(3, 1, &[1]);
    leader.sync();
    leader.hear(2, 1, accepted(2));
    assert_eq!(leader.group.commit(), LogIndex(0));
    leader.hear(2, 2, accepted(2));
    assert_eq!(leader.group.commit(), LogIndex(2));
}

/// Before that, what its log ends with may be long over: a configuration, say.
#[test]
fn a_replica_has_caught_up_once_it_holds_all_that_is_committed_and_some_of_it_is_of_the_term() {
    let mut replica = Replica::new(3, 3, &[]);
    let mut has_caught_up = |term, (prev, entries, commit): ((u64, u64), &[u64], u64)| {
        replica.hear(2, term, append(prev, entries, commit));
        replica.group.has_caught_up()
    };
    assert!(
        !has_caught_up(3, ((4, 3), &[], 4)),
        "refused, and it was told what is committed"
    );
    assert!(!has_caught_up(3, ((0, 0), &[1, 1], 4)));
    assert!(!has_caught_up(3, ((2, 1), &[2], 4)));
    assert!(has_caught_up(3, ((3, 2), &[3], 4)));
    // The next leader does not know how far its predecessor committed.
    assert!(!has_caught_up(4, ((4, 3), &[4], 1)));
    replica.hear(2, 4, heartbeat(5));
    assert!(replica.group.has_caught_up());

    let mut replica = Replica::new(3, 3, &[]);
    replica.tell(Input::SnapshotReceived {
        from: n(2),
        term: Term(3),
        last: LogId::new(3, 5),
        membership: replica.group.membership().clone(),
    });
    assert_eq!(replica.group.commit(), LogIndex(5));
    assert!(
        !replica.group.has_caught_up(),
        "what comes after the snapshot it was not told"
    );
    replica.hear(2, 3, append((5, 3), &[], 5));
    assert!(replica.group.has_caught_up());
    assert!(Replica::leader(3, 0, &[]).group.has_caught_up());

    // It had all before, and nothing is appended: a read index says so.
    let mut replica = Replica::new(3, 3, &[3]);
    replica.hear(2, 3, heartbeat(1));
    assert!(
        !replica.group.has_caught_up(),
        "a heartbeat names no more than what it holds"
    );
    let (id, forwarded) = (ReadId(1), true);
    let said = replica.tell(Input::Read { id, forwarded });
    let request = said.effects.send.iter().find_map(|message| match message.body {
        Body::Prompt(Prompt::ReadIndex { request }) => Some(request),
        _ => None,
    });
    let (request, index) = (request.unwrap(), LogIndex(1));
    replica.hear(2, 3, Prompt::ReadIndexIs { request, index });
    assert!(replica.group.has_caught_up());
}

/// A state machine that lags holds up nobody, so nobody waits for it to have room: it reads what it lacks from the disk.
#[test]
fn what_a_lagging_state_machine_lacks_is_not_kept_in_memory() {
    const COMMAND: usize = 100_000;
    let mut replica = Replica::new(3, 1, &[]);
    let mut applied = Vec::new();
    let mut most = 0;
    for index in 1..=1_000_u64 {
        let entry = Entry {
            index: LogIndex(index),
            term: Term(1),
            payload: Payload::Command(vec![0; COMMAND].into()),
        };
        let prev = LogId::new(u64::from(index > 1), index - 1);
        let commit = LogIndex(index);
        let entries = vec![entry];
        applied.extend(replica.hear(2, 1, Prompt::Append { prev, entries, commit }).applied);
        applied.extend(replica.sync().applied);
        most = most.max(replica.group.cache_bytes());
    }
    assert!(most < 10_000_000, "{most} bytes in memory");
    assert!(applied.len() < 20, "none was said to be applied");

    // Then it gets all of them, in order.
    while applied.len() < 1_000 {
        let through = applied.last().map(|entry| entry.index).unwrap();
        let mut said = replica.tell(Input::Applied { through });
        if let Some(load) = said.effects.load.pop() {
            assert_eq!(load.from, through.next());
            let entries = (load.from.0..=load.from.0 + 9).map(|index| Entry {
                index: LogIndex(index),
                term: Term(1),
                payload: Payload::Command(vec![0; COMMAND].into()),
            });
            said = replica.tell(Input::Loaded {
                purpose: load.purpose,
                from: load.from,
                entries: entries.collect(),
            });
        }
        assert!(!said.applied.is_empty(), "stuck after {through}");
        applied.extend(said.applied);
    }
    assert!(applied.iter().map(|entry| entry.index.0).eq(1..=1_000));
}

/// A follower that can't campaign, and whose leader is gone: nobody else tells it to ask no more.
#[test]
fn reads_that_nobody_waits_for_are_not_asked_for() {
    let membership = Membership::new([2, 3].map(n), [], [n(1)]).unwrap();
    let mut learner = Replica::with(membership, 1, &[], 1);
    learner.hear(2, 1, heartbeat(0));
    let asked = learner.tell(Input::Read {
        id: ReadId(1),
        forwarded: true,
    });
    assert_eq!(asked.at_once, ["n1→n2 @1 read index?"]);
    learner.tell(Input::Read {
        id: ReadId(2),
        forwarded: true,
    });
    for _ in 0..10 {
        assert_eq!(
            learner.time_out().at_once,
            ["n1→n2 @1 read index?"],
            "it may have been lost"
        );
    }
    learner.tell(Input::GiveUpReads { through: ReadId(2) });
    assert_eq!(learner.group.deadline(), Moment(u64::MAX));
    let asked = learner.tell(Input::Read {
        id: ReadId(3),
        forwarded: true,
    });
    assert_eq!(asked.at_once, ["n1→n2 @1 read index?"]);
}

/// The same of a leader that can't commit: neither its followers' answers nor its own step bring an end.
#[test]
fn a_leader_forgets_the_reads_that_nobody_waits_for() {
    let mut leader = Replica::leader(3, 0, &[]);
    for id in 1..=3 {
        leader.tell(Input::Read {
            id: ReadId(id),
            forwarded: false,
        });
    }
    leader.tell(Input::GiveUpReads { through: ReadId(2) });
    leader.sync();
    leader.hear(2, 1, accepted(1));
    let answered = leader.hear(
        2,
        1,
        Prompt::HeartbeatReply {
            round: ReadRound(1),
            priority: 0,
            commit: LogIndex(0),
            session: None,
        },
    );
    assert_eq!(
        answered.effects.reads,
        [(ReadId(3), ReadOutcome::Ready { index: LogIndex(1) })]
    );
}

#[test]
fn a_term_that_nobody_can_have_reached_is_not_adopted() {
    let mut replica = Replica::new(3, 1, &[1]);
    for term in [u64::MAX, u64::MAX / 2 + 1] {
        for said in [
            replica.hear(2, term, vote(9, 1)),
            replica.hear(2, term, heartbeat(0)),
            replica.hear(2, term, Prompt::PreVoteReply { granted: false }),
            replica.tell(Input::SnapshotReceived {
                from: n(2),
                term: Term(term),
                last: LogId::new(1, 9),
                membership: Arc::new(Membership::of_voters([1, 2, 3].map(n)).unwrap()),
            }),
        ] {
            assert!(said.at_once.is_empty() && said.write.is_none());
        }
    }
    assert_eq!(replica.group.term(), Term(1));
    replica.time_out();
    assert_eq!(replica.group.term(), Term(1));
}

/// The rounds of a term are its own: what was asked in an earlier one confirms no read of this.
#[test]
fn a_heartbeat_of_an_earlier_term_is_told_the_term_and_no_round() {
    let mut replica = Replica::new(3, 2, &[]);
    let old = Prompt::Heartbeat {
        commit: LogIndex(0),
        round: ReadRound(5),
    };
    let said = replica.hear(2, 1, old);
    assert_eq!(said.at_once, ["n1→n2 @2 heartbeat reply round=0"]);
}

/// Who asked is told what became of it, even if it is committed while the leader hands over and can't go on with it.
#[test]
fn a_change_that_nobody_was_told_of_yet_is_followed_by_no_other() {
    let mut leader = Replica::leader(3, 0, &[]);
    leader.sync();
    leader.hear(2, 1, accepted(1));
    let ask = |id, learner| Input::ChangeMembership {
        id: ChangeId(id),
        change: ChangeRequest::Change(MembershipChange::add_learner(n(learner))),
    };
    leader.tell(ask(1, 4));
    // To one that lags, so it waits.
    leader.tell(Input::Transfer {
        id: TransferId(1),
        to: Some(n(3)),
    });
    leader.sync();
    leader.wait(400);
    let mut outcomes = leader.hear(2, 1, accepted(2)).effects.memberships;
    assert_eq!((leader.group.commit(), outcomes.len()), (LogIndex(2), 0));
    leader.wait(300);
    outcomes.extend(leader.tell_all([Input::Tick, ask(2, 5)]).effects.memberships);
    outcomes.sort_by_key(|(id, _)| *id);
    assert!(
        matches!(
            outcomes[..],
            [
                (ChangeId(1), ChangeOutcome::Done { .. }),
                (ChangeId(2), ChangeOutcome::Refused(ChangeRefusal::Busy))
            ]
        ),
        "{outcomes:?}"
    );
}

/// What it granted is on its way to who asks, and a refusal would overtake it.
#[test]
fn a_late_request_for_a_vote_does_not_take_back_a_vote() {
    let ask = || Promise::Vote {
        last: LogId::default(),
        transfer: false,
    };
    let mut replica = Replica::new(3, 0, &[]);
    let mut said = replica.hear(2, 2, ask());
    assert_eq!(said.after_write(), ["n1→n2 @2 vote granted"]);
    assert!(replica.hear(2, 1, ask()).at_once.is_empty());
    assert_eq!(replica.hear(3, 1, ask()).at_once, ["n1→n3 @2 vote refused"]);
}
