//! One test per rule of the paper that the sources cite, named for its section; those of the thesis are in
//! `thesis.rs`. [`every_citation_has_a_test`] holds them and the sources together.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use raftyard_groups::{
    ChangeId, ChangeOutcome, ChangeRequest, Input, LogIndex, MemberRole, Membership, MembershipChange, NodeId, Payload,
    Promise, Prompt, ProposalId, Proposed, ReadRound, RoleKind, Term,
};
use std::collections::BTreeSet;
use std::path::PathBuf;
use support::n;
use support::replica::{Replica, accepted, append, heartbeat, message, vote};

fn propose(command: &'static str) -> Input {
    Input::Propose {
        id: ProposalId(1),
        commands: vec![command.into()],
    }
}

fn reply(round: u64) -> Prompt {
    Prompt::HeartbeatReply {
        round: ReadRound(round),
        priority: 0,
        commit: LogIndex::ZERO,
        session: None,
    }
}

/// paper §5.1: "If one server's current term is smaller than the other's, then it updates its current term to
/// the larger value. If a candidate or leader discovers that its term is out of date, it immediately reverts to
/// follower state."
#[test]
fn paper_5_1_a_newer_term_is_adopted() {
    let mut follower = Replica::new(3, 1, &[]);
    let mut candidate = Replica::new(3, 1, &[]);
    candidate.time_out();
    let mut leader = Replica::leader(3, 0, &[]);
    for replica in [&mut follower, &mut candidate, &mut leader] {
        let said = replica.hear(2, 7, reply(0));
        assert_eq!(replica.group.term(), Term(7));
        assert_eq!(replica.group.role(), RoleKind::Follower);
        assert_eq!(replica.group.vote(), None, "its vote in the new term is free");
        assert_eq!(said.hard_state().map(|hard| hard.term), Some(Term(7)), "it is written");
    }
}

/// paper §5.1: "If a server receives a request with a stale term number, it rejects the request." The answer
/// names the newer term.
#[test]
fn paper_5_1_a_stale_request_is_rejected() {
    let mut replica = Replica::new(3, 5, &[1, 1]);
    let before = replica.group.to_string();
    let stale = [append((2, 1), &[4], 3), heartbeat(2)];
    for prompt in stale {
        let said = replica.hear(2, 4, prompt);
        assert!(
            said.write.is_none() && said.at_once[0].starts_with("n1→n2 @5 "),
            "{:?}",
            said.at_once
        );
    }
    let said = replica.hear(2, 4, vote(9, 4));
    assert_eq!(said.at_once, ["n1→n2 @5 vote refused"]);
    assert_eq!(replica.group.to_string(), before);
}

/// paper §5.2: "When servers start up, they begin as followers. A server remains in follower state as long as it
/// receives valid RPCs from a leader or candidate."
#[test]
fn paper_5_2_a_follower_stays_one_while_it_hears_a_leader() {
    let mut replica = Replica::new(3, 1, &[]);
    assert_eq!(replica.group.role(), RoleKind::Follower);
    for _ in 0..100 {
        replica.wait(500);
        replica.hear(2, 1, heartbeat(0));
        replica.tell(Input::Tick);
        assert_eq!(replica.group.role(), RoleKind::Follower);
        assert_eq!(replica.group.leader(), Some(n(2)));
    }
}

/// paper §5.2: "election timeouts are chosen randomly from a fixed interval": one to two timeouts, and not the
/// same for all.
#[test]
fn paper_5_2_election_timeouts_are_random_within_bounds() {
    let membership = Membership::of_voters([1, 2, 3].map(NodeId)).unwrap();
    let timeout = |seed| {
        let mut replica = Replica::with(membership.clone(), 1, &[], seed);
        let first = replica.group.deadline().since(replica.now);
        replica.hear(2, 1, heartbeat(0));
        (first, replica.group.deadline().since(replica.now))
    };
    let all: Vec<(u64, u64)> = (0..200).map(timeout).collect();
    assert!(
        all.iter()
            .all(|(one, two)| (600..1200).contains(one) && (600..1200).contains(two))
    );
    let different: BTreeSet<u64> = all.iter().map(|(one, _)| *one).collect();
    assert!(different.len() > 100, "{} of 200 are different", different.len());
    assert!(
        all.iter().filter(|(one, two)| one != two).count() > 190,
        "drawn anew each time"
    );
}

/// paper §5.2: "To begin an election, a follower increments its current term and transitions to candidate state.
/// It then votes for itself and issues RequestVote RPCs in parallel to each of the other servers."
#[test]
fn paper_5_2_a_campaign() {
    let mut replica = Replica::new(3, 4, &[1, 3]);
    replica.time_out();
    let mut said = replica.hear(3, 5, Prompt::PreVoteReply { granted: true });
    assert_eq!(
        (replica.group.role(), replica.group.term()),
        (RoleKind::Candidate, Term(5))
    );
    assert_eq!(said.hard_state().and_then(|hard| hard.vote), Some(n(1)));
    assert_eq!(said.after_write(), ["n1→n2 @5 vote last=2@3", "n1→n3 @5 vote last=2@3"]);
}

/// paper §5.2: "A candidate wins an election if it receives votes from a majority of the servers in the full
/// cluster for the same term."
#[test]
fn paper_5_2_a_majority_elects() {
    // Voters, grants besides its own, refusals: elected, still waiting, or given up.
    let table = [
        (1, 0, 0, RoleKind::Leader),
        (3, 0, 0, RoleKind::Candidate),
        (3, 1, 0, RoleKind::Leader),
        (3, 0, 1, RoleKind::Candidate),
        (3, 0, 2, RoleKind::Follower),
        (5, 1, 0, RoleKind::Candidate),
        (5, 2, 0, RoleKind::Leader),
        (5, 1, 3, RoleKind::Follower),
        (4, 1, 0, RoleKind::Candidate),
        (4, 2, 0, RoleKind::Leader),
        (4, 1, 2, RoleKind::Follower),
    ];
    for (voters, grants, refusals, expected) in table {
        let mut replica = Replica::new(voters, 0, &[]);
        replica.time_out();
        for peer in 2..=voters {
            replica.hear(peer, 1, Prompt::PreVoteReply { granted: true });
        }
        replica.sync();
        for peer in 0..grants {
            replica.hear(2 + peer, 1, Promise::VoteGranted);
            // Said twice counts once.
            replica.hear(2 + peer, 1, Promise::VoteGranted);
        }
        for peer in 0..refusals {
            replica.hear(2 + grants + peer, 1, Prompt::VoteRefused);
        }
        assert_eq!(
            replica.group.role(),
            expected,
            "{voters} voters, {grants} yes, {refusals} no"
        );
    }
}

/// paper §5.2: "Each server will vote for at most one candidate in a given term, on a first-come-first-served
/// basis."
#[test]
fn paper_5_2_one_vote_per_term() {
    let mut replica = Replica::new(3, 0, &[]);
    assert_eq!(replica.hear(2, 1, vote(0, 0)).after_write(), ["n1→n2 @1 vote granted"]);
    assert_eq!(replica.hear(3, 1, vote(9, 1)).at_once, ["n1→n3 @1 vote refused"]);
    // The one who has it may ask again: the answer may have been lost.
    assert_eq!(replica.hear(2, 1, vote(0, 0)).after_write(), ["n1→n2 @1 vote granted"]);
    // Who knows the term's leader needs no vote of its own to refuse another.
    let mut follower = Replica::new(3, 1, &[]);
    follower.hear(2, 1, heartbeat(0));
    assert_eq!(follower.hear(3, 1, vote(9, 1)).at_once, ["n1→n3 @1 vote refused"]);
    // A new term, a new vote.
    assert_eq!(replica.hear(3, 2, vote(9, 1)).after_write(), ["n1→n3 @2 vote granted"]);
}

/// paper §5.2: "While waiting for votes, a candidate may receive an AppendEntries RPC from another server claiming
/// to be leader": of its term or newer, it follows; of an older one, it goes on.
#[test]
fn paper_5_2_a_candidate_yields_to_the_leader_of_its_term() {
    for (term, expected) in [
        (4, RoleKind::Candidate),
        (5, RoleKind::Follower),
        (6, RoleKind::Follower),
    ] {
        let mut replica = Replica::new(3, 4, &[]);
        replica.time_out();
        replica.hear(3, 5, Prompt::PreVoteReply { granted: true });
        replica.hear(2, term, heartbeat(0));
        assert_eq!(replica.group.role(), expected, "a leader of term {term}");
    }
}

/// paper §5.2: "each candidate will time out and start a new election by incrementing its term".
#[test]
fn paper_5_2_a_split_vote_ends_in_a_new_election() {
    let mut replica = Replica::new(5, 0, &[]);
    for term in 1..=5 {
        replica.time_out();
        for peer in [2, 3] {
            replica.hear(peer, term, Prompt::PreVoteReply { granted: true });
        }
        assert_eq!(
            (replica.group.role(), replica.group.term()),
            (RoleKind::Candidate, Term(term))
        );
        replica.sync();
        replica.hear(2, term, Promise::VoteGranted);
    }
}

/// paper §5.3: "The leader appends the command to its log as a new entry, then issues AppendEntries RPCs in
/// parallel to each of the other servers."
#[test]
fn paper_5_3_the_leader_appends_and_sends() {
    let mut leader = Replica::leader(3, 0, &[]);
    for peer in [2, 3] {
        leader.hear(peer, 1, accepted(1));
    }
    let said = leader.tell(propose("x"));
    assert_eq!(
        said.at_once,
        [
            "n1→n2 @1 append prev=1@1 [2@1:x] commit=1",
            "n1→n3 @1 append prev=1@1 [2@1:x] commit=1"
        ]
    );
    let appended = Proposed::Appended {
        first: LogIndex(2),
        term: Term(1),
    };
    assert_eq!(said.effects.proposed, [(ProposalId(1), appended)]);
    assert_eq!(said.write.unwrap().entries.len(), 1);
}

/// paper §5.3: "If the follower does not find an entry in its log with the same index and term, then it refuses
/// the new entries." Conflicting ones are overwritten, equal ones kept.
#[test]
fn paper_5_3_the_consistency_check() {
    // Its log, the append, the log afterwards; `None` if it is refused.
    type Case<'a> = (&'a [u64], (u64, u64), &'a [u64], Option<&'a [u64]>);
    let table: &[Case<'_>] = &[
        (&[], (0, 0), &[1, 2], Some(&[1, 2])),
        (&[1, 1], (2, 1), &[3], Some(&[1, 1, 3])),
        (&[1, 1], (3, 1), &[3], None),
        (&[1, 1], (2, 2), &[3], None),
        (&[1, 1, 1], (1, 1), &[1], Some(&[1, 1, 1])),
        (&[1, 1, 1], (1, 1), &[2], Some(&[1, 2])),
        (&[1, 1, 1], (1, 1), &[1, 3], Some(&[1, 1, 3])),
        (&[1, 1, 1], (1, 1), &[], Some(&[1, 1, 1])),
        (&[1, 2, 2], (0, 0), &[1, 1, 3], Some(&[1, 1, 3])),
    ];
    for (log, prev, entries, expected) in table {
        let mut replica = Replica::new(3, 3, log);
        let mut said = replica.hear(2, 3, append(*prev, entries, 0));
        let case = format!("{log:?} gets {entries:?} after {prev:?}");
        if let Some(expected) = expected {
            assert_eq!(replica.terms(), *expected, "{case}");
            let matched = prev.0 + entries.len() as u64;
            assert_eq!(
                said.after_write(),
                [format!("n1→n2 @3 append accepted matched={matched}")],
                "{case}"
            );
        } else {
            assert_eq!(replica.terms(), *log, "{case}");
            assert!(said.at_once[0].contains("append rejected"), "{case}");
            assert!(said.write.is_none(), "{case}");
        }
    }
}

/// paper §5.3, last paragraph: "the follower can include the term of the conflicting entry and the first index it
/// stores for that term": one refused probe per term, not per entry. Counted on logs of thousands.
#[test]
fn paper_5_3_backtracking_skips_terms() {
    let mut cluster = support::cluster::Cluster::of(3);
    let runs = |terms: &[u64]| -> Vec<u64> { terms.iter().flat_map(|term| [*term; 1000]).collect() };
    for (id, terms, term) in [(1, &[1, 4, 5, 6][..], 7), (2, &[1, 2, 3, 3], 3), (3, &[1], 1)] {
        cluster.crash(n(id), 0);
        let disk = &mut cluster.node_mut(n(id)).disk;
        disk.entries = support::entries_of_terms(&runs(terms));
        disk.hard.term = Term(term);
        cluster.start(n(id));
    }
    cluster.network.cut_between(&[n(2)], &[n(1), n(3)]);
    cluster.elect(n(1));
    cluster.network.heal();
    cluster.trace = Some(Vec::new());
    cluster.pass(300, true);
    let trace = cluster.trace.take().unwrap();
    let is_refused = |line: &&support::cluster::Trace| match line {
        support::cluster::Trace::Message(line) => line.starts_with("n2→n1") && line.contains("append rejected"),
        support::cluster::Trace::Event(_) => false,
    };
    let refused = trace.iter().filter(is_refused).count();
    assert!((1..=3).contains(&refused), "{refused} probes were refused");
    assert_eq!(cluster.group(n(2)).last(), cluster.group(n(1)).last());
}

/// paper §5.3: "If two entries in different logs have the same index and term, then the logs are identical in all
/// preceding entries": so a late, shorter append of the same leader never cuts a longer log.
#[test]
fn paper_5_3_late_appends_cut_nothing() {
    let mut replica = Replica::new(3, 1, &[]);
    for length in [1, 2, 3, 2, 1, 3] {
        replica.hear(2, 1, append((0, 0), &[1, 1, 1][..length], 0));
    }
    assert_eq!(replica.terms(), [1, 1, 1]);
}

/// paper §5.4.1: "If the logs have last entries with different terms, then the log with the later term is more
/// up-to-date. If the logs end with the same term, then whichever log is longer is more up-to-date."
#[test]
fn paper_5_4_1_the_newer_log_wins() {
    // The voter's log, the candidate's last entry, and whether it gets the vote.
    let table: &[(&[u64], (u64, u64), bool)] = &[
        (&[], (0, 0), true),
        (&[1], (0, 0), false),
        (&[1], (1, 1), true),
        (&[1], (2, 1), true),
        (&[1, 1], (1, 1), false),
        (&[1, 1, 1], (1, 2), true),
        (&[2], (9, 1), false),
        (&[1, 2], (2, 2), true),
    ];
    for (log, (index, term), granted) in table {
        let mut replica = Replica::new(3, 2, log);
        let mut said = replica.hear(2, 3, vote(*index, *term));
        assert_eq!(
            said.after_write().len(),
            usize::from(*granted),
            "{log:?} asked by {index}@{term}"
        );
        assert_eq!(replica.group.vote().is_some(), *granted);
        // The pre-vote says the same beforehand.
        let last = raftyard_groups::LogId::new(*term, *index);
        let said = Replica::new(3, 2, log).hear(2, 3, Prompt::PreVote { last });
        assert_eq!(said.at_once[0].ends_with("granted"), *granted);
    }
}

/// paper §5.4.2: "Raft never commits log entries from previous terms by counting replicas. Only log entries from
/// the leader's current term are committed by counting replicas", and all before them with them.
#[test]
fn paper_5_4_2_old_terms_are_not_counted() {
    let mut leader = Replica::leader(3, 2, &[1, 2]);
    leader.sync();
    leader.hear(2, 3, accepted(2));
    leader.hear(3, 3, accepted(2));
    assert_eq!(
        leader.group.commit(),
        LogIndex(0),
        "entries of terms 1 and 2 are on all disks"
    );
    leader.hear(2, 3, accepted(3));
    assert_eq!(leader.group.commit(), LogIndex(3), "one entry of term 3 commits all");
}

/// paper §5.5: "Raft RPCs are idempotent, so this causes no harm": a repeated request gets the same answer.
#[test]
fn paper_5_5_requests_are_idempotent() {
    let mut replica = Replica::new(3, 1, &[1]);
    let answers: BTreeSet<Vec<String>> = (0..3)
        .map(|_| {
            replica.sync();
            replica.hear(2, 1, append((1, 1), &[1, 1], 2)).after_write()
        })
        .collect();
    assert_eq!(answers.len(), 1);
    assert_eq!(replica.terms(), [1, 1, 1]);
}

/// paper §6: "servers disregard RequestVote RPCs when they believe a current leader exists [...] within the
/// minimum election timeout of hearing from a current leader".
#[test]
fn paper_6_votes_are_refused_while_a_leader_is_heard() {
    for (silence, granted) in [(0, false), (599, false), (600, true)] {
        let mut replica = Replica::new(3, 1, &[]);
        replica.hear(2, 1, heartbeat(0));
        replica.wait(silence);
        let mut said = replica.hear(3, 8, vote(9, 7));
        assert_eq!(
            replica.group.term(),
            Term(if granted { 8 } else { 1 }),
            "after {silence} ms of silence"
        );
        assert_eq!(said.after_write().len(), usize::from(granted));
    }
    let mut leader = Replica::leader(3, 0, &[]);
    leader.hear(3, 8, vote(9, 7));
    assert_eq!(leader.group.role(), RoleKind::Leader);
}

/// paper §6: "Agreement (for elections and entry commitment) requires separate majorities from both the old and new
/// configurations."
#[test]
fn paper_6_joint_consensus_needs_both_majorities() {
    let membership = Membership::new([1, 2, 3].map(NodeId), [1, 4, 5].map(NodeId), []).unwrap();
    let mut replica = Replica::with(membership, 0, &[], 1);
    replica.time_out();
    replica.hear(2, 1, Prompt::PreVoteReply { granted: true });
    replica.hear(3, 1, Prompt::PreVoteReply { granted: true });
    assert_eq!(replica.group.role(), RoleKind::PreCandidate);
    replica.hear(4, 1, Prompt::PreVoteReply { granted: true });
    replica.sync();
    replica.hear(4, 1, Promise::VoteGranted);
    replica.hear(5, 1, Promise::VoteGranted);
    assert_eq!(replica.group.role(), RoleKind::Candidate);
    replica.hear(2, 1, Promise::VoteGranted);
    assert_eq!(replica.group.role(), RoleKind::Leader);
    replica.sync();
    replica.hear(2, 1, accepted(1));
    replica.hear(3, 1, accepted(1));
    assert_eq!(replica.group.commit(), LogIndex(0));
    replica.hear(5, 1, accepted(1));
    assert_eq!(replica.group.commit(), LogIndex(1));
}

/// paper §6: new servers first join "as non-voting members (the leader replicates log entries to them, but they
/// are not considered for majorities)".
#[test]
fn paper_6_learners_do_not_count() {
    let membership = Membership::new([1, 2, 3].map(NodeId), [], [4, 5].map(NodeId)).unwrap();
    let mut replica = Replica::with(membership, 0, &[], 1);
    let said = replica.time_out();
    assert_eq!(said.at_once.len(), 2, "learners are not asked");
    for learner in [4, 5] {
        replica.hear(learner, 1, Prompt::PreVoteReply { granted: true });
    }
    assert_eq!(replica.group.role(), RoleKind::PreCandidate);
    replica.hear(2, 1, Prompt::PreVoteReply { granted: true });
    replica.sync();
    let said = replica.hear(2, 1, Promise::VoteGranted);
    assert_eq!(said.at_once.len(), 4, "learners get the log");
    replica.sync();
    for learner in [4, 5] {
        replica.hear(learner, 1, accepted(1));
    }
    assert_eq!(replica.group.commit(), LogIndex(0));
}

/// paper §6: "Once a given server adds the new configuration entry to its log, it uses that configuration for all
/// future decisions": entries before it are counted with it too.
#[test]
fn paper_6_the_newest_configuration_counts() {
    let mut leader = Replica::leader(3, 0, &[]);
    leader.sync();
    leader.hear(2, 1, accepted(1));
    leader.tell(propose("a"));
    let id = ChangeId(1);
    let change = MembershipChange::new()
        .set(n(2), None)
        .set(n(3), None)
        .set(n(4), Some(MemberRole::Voter));
    let change = ChangeRequest::Change(change);
    leader.tell(Input::ChangeMembership { id, change });
    leader.sync();
    leader.hear(2, 1, accepted(3));
    leader.hear(4, 1, accepted(3));
    assert_eq!(leader.group.commit(), LogIndex(3));
    assert!(leader.group.membership().is_joint());
    leader.tell(propose("b"));
    leader.sync();
    leader.hear(2, 1, accepted(5));
    assert_eq!(leader.group.commit(), LogIndex(3), "n1 is no majority of n1 and n4");
    leader.hear(4, 1, accepted(5));
    assert_eq!(leader.group.commit(), LogIndex(5));
    assert_eq!(leader.group.membership().to_string(), "voters=n1,n4");
}

/// paper §6: "removed servers (those not in Cnew) can disrupt the cluster": they time out and raise terms. Here they
/// ask first, and are refused.
#[test]
fn paper_6_removed_servers_disrupt_nobody() {
    let mut cluster = support::cluster::Cluster::of(3);
    cluster.elect(n(1));
    cluster.network.cut_between(&[n(3)], &[n(1), n(2)]);
    let removed = cluster.change(n(1), ChangeRequest::Change(MembershipChange::remove(n(3))));
    cluster.settle();
    assert!(matches!(
        cluster.changes.get(&removed),
        Some(ChangeOutcome::Done { .. })
    ));
    cluster.pass(2_000, true);
    cluster.network.heal();
    cluster.pass(20_000, true);
    assert_eq!((cluster.leader(), cluster.group(n(1)).term()), (Some(n(1)), Term(1)));
    assert_eq!(cluster.group(n(3)).term(), Term(1));
}

/// paper §8: "Raft handles this by having each leader commit a blank no-op entry into the log at the start of its
/// term."
#[test]
fn paper_8_a_term_begins_with_a_no_op() {
    let leader = Replica::leader(3, 1, &[1]);
    assert_eq!(leader.terms(), [1, 2]);
    let mut leader = Replica::leader(1, 0, &[]);
    let said = leader.sync();
    assert_eq!(said.applied.len(), 1);
    assert_eq!(said.applied[0].payload, Payload::Noop);
}

/// paper figure 2, "persistent state": "Updated on stable storage before responding to RPCs": a vote, an own
/// candidacy and an acknowledgement leave with the write that holds what they say.
#[test]
fn paper_figure_2_answers_wait_for_the_disk() {
    let mut replica = Replica::new(3, 0, &[]);
    let mut said = replica.hear(2, 1, vote(0, 0));
    assert!(said.at_once.is_empty());
    assert_eq!(said.hard_state().and_then(|hard| hard.vote), Some(n(2)));
    assert_eq!(said.after_write().len(), 1);

    let mut said = replica.hear(2, 1, append((0, 0), &[1], 0));
    assert!(said.at_once.is_empty());
    assert_eq!(said.write.as_ref().map(|write| write.entries.len()), Some(1));
    assert_eq!(said.after_write().len(), 1);
    assert_eq!(replica.group.durable(), LogIndex(0));

    // Nothing new to write: the answer still waits for the writes before it.
    let said = replica.hear(2, 1, append((0, 0), &[], 0));
    assert!(said.at_once.is_empty() && said.write.is_some_and(|write| write.is_barrier()));
}

/// A leader asks again as long as it hears nothing. Whatever waits for a disk that stands still does not grow by that.
#[test]
fn an_answer_that_waits_for_the_disk_is_given_once() {
    let mut replica = Replica::new(3, 0, &[]);
    let mut ask = || replica.hear(2, 1, append((0, 0), &[1], 0));
    assert_eq!(ask().after_write(), ["n1→n2 @1 append accepted matched=1"]);
    let again = ask();
    assert!(again.write.is_none() && again.at_once.is_empty(), "what it said waits");
    replica.sync();
    let mut said = replica.hear(2, 1, append((0, 0), &[1], 0));
    assert_eq!(
        said.after_write(),
        ["n1→n2 @1 append accepted matched=1"],
        "it may be lost"
    );
}

/// paper figure 2, "AppendEntries RPC", step 5: "If leaderCommit > commitIndex, set commitIndex = min(leaderCommit,
/// index of last new entry)": what stands beyond that may not be the leader's.
#[test]
fn paper_figure_2_commit_ends_at_the_last_new_entry() {
    let mut replica = Replica::new(3, 2, &[1, 1, 1]);
    replica.hear(2, 2, append((1, 1), &[], 3));
    assert_eq!(replica.group.commit(), LogIndex(1));
    replica.hear(2, 2, append((1, 1), &[2], 3));
    assert_eq!((replica.group.commit(), replica.terms()), (LogIndex(2), vec![1, 2]));
}

/// paper figure 3, Leader Append-Only: "A leader never overwrites or deletes entries in its log."
#[test]
fn paper_figure_3_a_leader_only_appends() {
    let mut leader = Replica::leader(3, 2, &[1, 2, 2]);
    leader.tell(propose("x"));
    let stale = [
        append((1, 1), &[2], 1),
        append((0, 0), &[1], 1),
        append((3, 2), &[2], 4),
    ];
    for (term, prompt) in stale.into_iter().enumerate() {
        leader.hear(2, term as u64, prompt);
    }
    let refused = raftyard_groups::LogId::new(1, 1);
    leader.hear(
        2,
        3,
        Prompt::AppendRejected {
            refused: LogIndex(3),
            hint: refused,
        },
    );
    assert_eq!(leader.terms(), [1, 2, 2, 3, 3]);
}

/// paper figure 3: the other four properties (Election Safety, Log Matching, Leader Completeness, State Machine
/// Safety) are checked after every step of every script and random schedule. The checker itself can fail:
#[test]
#[should_panic(expected = "not on the disks of a quorum")]
fn paper_figure_3_the_checker_notices_a_commit_without_a_quorum() {
    let mut cluster = support::cluster::Cluster::of(3);
    cluster.elect(n(1));
    cluster.node_mut(n(2)).hold_fsync = true;
    cluster.node_mut(n(3)).hold_fsync = true;
    cluster.propose(n(1), &["x"]);
    let mut forged = message(2, 1, accepted(2));
    forged.to = n(1);
    cluster.hand_over(forged);
}

/// Sections and figures named after "paper" or "thesis", in the comments of a text.
fn citations(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut source = "";
    let words: Vec<&str> = text.split_whitespace().collect();
    for (position, word) in words.iter().enumerate() {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric() && c != '§');
        match bare {
            "paper" | "thesis" => source = bare,
            "figure" => {
                let number = words
                    .get(position + 1)
                    .map_or("", |next| next.trim_matches(|c: char| !c.is_numeric()));
                found.insert(format!("{source} figure {number}"));
            }
            _ if bare.starts_with('§') => drop(found.insert(format!("{source} {bare}"))),
            _ => {}
        }
    }
    found
}

#[test]
fn every_citation_has_a_test() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let mut tests = citations(include_str!("paper.rs"));
    tests.extend(citations(include_str!("thesis.rs")));
    let mut paths = vec![PathBuf::from(directory)];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(std::fs::read_dir(path).unwrap().map(|file| file.unwrap().path()));
            continue;
        }
        for citation in citations(&std::fs::read_to_string(&path).unwrap()) {
            assert!(
                tests.contains(&citation),
                "{} cites {citation}, which has no test",
                path.display()
            );
        }
    }
}
