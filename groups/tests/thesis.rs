//! One test per rule of the thesis that the sources cite, named for its section.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use raftyard_groups::{
    Body, ChangeId, ChangeOutcome, ChangeRequest, Entry, Input, LoadPurpose, LogBase, LogId, LogIndex, MemberRole,
    Membership, MembershipChange, Payload, Promise, Prompt, ProposalId, ReadId, ReadOutcome, ReadRound, RoleKind, Term,
    TransferId,
};
use std::sync::Arc;
use support::n;
use support::replica::{Replica, Said, accepted, append, heartbeat, vote};

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

/// thesis §4.2.3: "if a server receives a RequestVote request within the minimum election timeout of hearing from a
/// current leader, it does not update its term or grant its vote". A message from the leader itself still does.
#[test]
fn thesis_4_2_3_a_disruptive_server_is_not_heard() {
    let mut replica = Replica::new(3, 1, &[]);
    replica.hear(2, 1, heartbeat(0));
    let said = replica.hear(3, 9, vote(0, 0));
    assert!(said.at_once.is_empty() && said.write.is_none(), "no answer at all");
    assert_eq!((replica.group.term(), replica.group.leader()), (Term(1), Some(n(2))));
    replica.hear(3, 9, heartbeat(0));
    assert_eq!((replica.group.term(), replica.group.leader()), (Term(9), Some(n(3))));
}

/// thesis §3.10: the prior leader stops taking client requests, brings the target's log up to date, and tells it to
/// start an election at once; what the target then sends is heard by servers that still hear the prior leader
/// (thesis §4.2.3). If nothing comes of it within an election timeout, the prior leader goes on.
#[test]
fn thesis_3_10_leadership_transfer() {
    let mut leader = Replica::leader(3, 0, &[]);
    leader.sync();
    leader.hear(3, 1, accepted(1));
    let to = Some(n(2));
    let said = leader.tell(Input::Transfer { id: TransferId(1), to });
    assert!(said.at_once.is_empty(), "n2 lacks an entry: {:?}", said.at_once);
    let said = leader.tell(propose("held"));
    assert!(
        said.effects.proposed.is_empty() && said.write.is_none(),
        "a request is not taken"
    );
    let said = leader.hear(2, 1, accepted(1));
    assert_eq!(said.at_once, ["n1→n2 @1 timeout now"]);
    while leader.group.role() == RoleKind::Leader && leader.group.last().index == LogIndex(1) {
        leader.time_out();
        leader.hear(2, 1, reply(0));
    }
    assert_eq!(leader.group.role(), RoleKind::Leader, "n2 never campaigned");
    assert_eq!(leader.group.last().index, LogIndex(2), "what was held is taken");

    let mut target = Replica::new(3, 1, &[1]);
    target.hear(3, 1, heartbeat(0));
    let mut said = target.hear(3, 1, Prompt::TimeoutNow);
    assert_eq!(target.group.term(), Term(2), "without asking first");
    let asked = ["n1→n2 @2 vote last=1@1 (transfer)", "n1→n3 @2 vote last=1@1 (transfer)"];
    assert_eq!(said.after_write(), asked);

    let mut voter = Replica::new(3, 1, &[1]);
    voter.hear(3, 1, heartbeat(0));
    let last = LogId::new(1, 1);
    let mut said = voter.hear(2, 2, Promise::Vote { last, transfer: true });
    assert_eq!(said.after_write(), ["n1→n2 @2 vote granted"]);
}

/// thesis §6.2: "a leader steps down if an election timeout elapses without a successful round of heartbeats to a
/// majority of its cluster".
#[test]
fn thesis_6_2_a_leader_without_a_quorum_steps_down() {
    let mut leader = Replica::leader(5, 0, &[]);
    for _ in 0..30 {
        leader.time_out();
        leader.hear(2, 1, reply(0));
        leader.hear(3, 1, reply(0));
    }
    assert_eq!(
        leader.group.role(),
        RoleKind::Leader,
        "two of four answer: with itself a majority"
    );
    let last = leader.now;
    while leader.group.role() == RoleKind::Leader {
        leader.time_out();
        leader.hear(2, 1, reply(0));
        assert!(leader.now.since(last) < 800, "leads on with one of four");
    }
    assert!(leader.now.since(last) >= 600);
    assert_eq!(leader.group.leader(), None);
}

/// thesis §6.4: the read index is the commit index when the read was asked, once the leader has committed an entry
/// of its term (step 1); served after a round of heartbeats that began afterwards (step 3).
#[test]
fn thesis_6_4_read_index() {
    let mut leader = Replica::leader(3, 1, &[1, 1]);
    leader.sync();
    let said = leader.tell(Input::Read {
        id: ReadId(1),
        forwarded: false,
    });
    assert!(
        said.at_once.is_empty() && said.effects.reads.is_empty(),
        "its no-op is not committed"
    );

    // Step 1: now it knows what is committed. Step 3: a round of heartbeats begins.
    let said = leader.hear(2, 2, accepted(3));
    assert_eq!(said.at_once.iter().filter(|line| line.contains("round=1")).count(), 2);
    assert!(said.effects.reads.is_empty());

    // An answer to heartbeats of before confirms nothing.
    assert!(leader.hear(2, 2, reply(0)).effects.reads.is_empty());

    // What is committed meanwhile, the read need not see; whoever asks later has a round of their own.
    leader.tell(propose("x"));
    leader.sync();
    leader.hear(2, 2, accepted(4));
    leader.tell(Input::Read {
        id: ReadId(2),
        forwarded: false,
    });
    let index = LogIndex(3);
    let said = leader.hear(3, 2, reply(1));
    assert_eq!(said.effects.reads, [(ReadId(1), ReadOutcome::Ready { index })]);
    let index = LogIndex(4);
    let said = leader.hear(3, 2, reply(2));
    assert_eq!(said.effects.reads, [(ReadId(2), ReadOutcome::Ready { index })]);
}

/// thesis §6.4: one round of heartbeats serves any number of reads that have gathered: all of one step share it.
#[test]
fn thesis_6_4_reads_share_a_round() {
    let mut leader = Replica::leader(3, 0, &[]);
    leader.sync();
    leader.hear(2, 1, accepted(1));
    let said = leader.tell_all((1..=50).map(|id| Input::Read {
        id: ReadId(id),
        forwarded: false,
    }));
    assert_eq!(said.at_once.len(), 2);
    assert_eq!(leader.hear(2, 1, reply(1)).effects.reads.len(), 50);
}

/// thesis §6.4: a read index tells a follower what it must have applied before it serves the read. What its own log
/// holds there may still be replaced: only appends and heartbeats say what of it is committed.
#[test]
fn thesis_6_4_a_read_index_commits_nothing() {
    let mut replica = Replica::new(3, 3, &[1, 1, 2]);
    replica.hear(2, 3, heartbeat(0));
    let (id, forwarded) = (ReadId(1), true);
    let said = replica.tell(Input::Read { id, forwarded });
    let request = said.effects.send.iter().find_map(|message| match message.body {
        Body::Prompt(Prompt::ReadIndex { request }) => Some(request),
        _ => None,
    });
    let (request, index) = (request.unwrap(), LogIndex(3));
    let said = replica.hear(2, 3, Prompt::ReadIndexIs { request, index });
    assert_eq!(said.effects.reads, [(id, ReadOutcome::Ready { index })]);
    assert!(said.effects.load.is_empty() && said.applied.is_empty());
    assert_eq!(replica.group.commit(), LogIndex::ZERO);
    replica.hear(2, 3, append((2, 1), &[3], 3));
    assert_eq!((replica.terms(), replica.group.commit()), (vec![1, 1, 3], LogIndex(3)));
}

/// thesis §6.4: a leader that is deposed serves none of the reads it took.
#[test]
fn thesis_6_4_a_deposed_leader_serves_nothing() {
    let mut leader = Replica::leader(3, 0, &[]);
    leader.sync();
    leader.tell(Input::Read {
        id: ReadId(1),
        forwarded: false,
    });
    leader.hear(2, 1, accepted(1));
    leader.tell(Input::Read {
        id: ReadId(2),
        forwarded: false,
    });
    let said = leader.hear(3, 2, heartbeat(0));
    let elsewhere = ReadOutcome::NotLeader { leader: Some(n(3)) };
    assert_eq!(said.effects.reads, [(ReadId(1), elsewhere), (ReadId(2), elsewhere)]);
    assert!(leader.hear(2, 1, reply(2)).effects.reads.is_empty());
}

/// thesis §9.6: "a candidate only increments its term if it first learns from a majority of the cluster that they
/// would be willing to grant the candidate their votes".
#[test]
fn thesis_9_6_pre_vote_raises_no_term() {
    let mut replica = Replica::new(3, 4, &[1]);
    for _ in 0..20 {
        let said = replica.time_out();
        assert_eq!(
            said.at_once,
            ["n1→n2 @5 pre-vote last=1@1", "n1→n3 @5 pre-vote last=1@1"]
        );
        assert!(said.write.is_none(), "nothing is written");
        assert_eq!(
            (replica.group.role(), replica.group.term()),
            (RoleKind::PreCandidate, Term(4))
        );
        // A grant for another term is a late one.
        for term in [3, 4, 6] {
            replica.hear(2, term, Prompt::PreVoteReply { granted: true });
        }
        assert_eq!(replica.group.role(), RoleKind::PreCandidate);
    }
}

/// thesis §9.6: the asked one grants "if the candidate's log is sufficiently up-to-date, and the voters have not
/// received heartbeats from a valid leader for at least a baseline election timeout". Neither changes its state.
#[test]
fn thesis_9_6_a_pre_vote_binds_nobody() {
    let mut replica = Replica::new(3, 1, &[1]);
    let pre_vote = |index| Prompt::PreVote {
        last: LogId::new(1, index),
    };
    let before = (replica.group.to_string(), replica.group.deadline());
    for (from, index, answer) in [(2, 1, "granted"), (3, 1, "granted"), (3, 0, "refused")] {
        let said = replica.hear(from, 2, pre_vote(index));
        assert!(
            said.write.is_none() && said.at_once[0].ends_with(answer),
            "{:?}",
            said.at_once
        );
    }
    assert_eq!(before, (replica.group.to_string(), replica.group.deadline()));
    replica.hear(2, 1, heartbeat(0));
    assert_eq!(replica.hear(3, 2, pre_vote(1)).at_once, ["n1→n3 @1 pre-vote refused"]);
    replica.wait(600);
    assert_eq!(replica.hear(3, 2, pre_vote(1)).at_once, ["n1→n3 @2 pre-vote granted"]);
    // A term that is not new would gain nothing; the answer says which one is.
    assert_eq!(replica.hear(3, 1, pre_vote(1)).at_once, ["n1→n3 @1 pre-vote refused"]);
}

/// thesis §9.6: one whose term fell behind may be the only one that can win. The refusal of its pre-vote tells it
/// the newer term, and its next attempt is in the one after that.
#[test]
fn thesis_9_6_a_refusal_tells_the_newer_term() {
    let pre_vote = |last| Prompt::PreVote { last };
    let mut replica = Replica::new(3, 7, &[1]);
    let said = replica.hear(2, 3, pre_vote(LogId::new(2, 2)));
    assert_eq!(said.at_once, ["n1→n2 @7 pre-vote refused"]);
    let mut replica = Replica::new(3, 2, &[1, 2]);
    assert!(replica.time_out().at_once[0].starts_with("n1→n2 @3 pre-vote"));
    replica.hear(2, 7, Prompt::PreVoteReply { granted: false });
    assert_eq!(
        (replica.group.role(), replica.group.term()),
        (RoleKind::Follower, Term(7))
    );
    assert!(replica.time_out().at_once[0].starts_with("n1→n2 @8 pre-vote"));
}

/// thesis §10.2.1: the leader writes to its own disk in parallel with replicating to the followers, and may commit an
/// entry that a majority of followers has on disk before it has itself.
#[test]
fn thesis_10_2_1_the_leader_writes_in_parallel() {
    let mut leader = Replica::leader(3, 0, &[]);
    leader.sync();
    leader.hear(2, 1, accepted(1));
    leader.hear(3, 1, accepted(1));
    let said = leader.tell(propose("x"));
    assert_eq!(said.at_once.len(), 2, "sent before the write is durable");
    leader.hear(2, 1, accepted(2));
    assert_eq!(leader.group.commit(), LogIndex(1), "its own copy does not count yet");
    leader.hear(3, 1, accepted(2));
    assert_eq!(
        (leader.group.commit(), leader.group.durable()),
        (LogIndex(2), LogIndex(1))
    );
}

/// thesis §10.2.2: new entries are sent to a follower before it has acknowledged the earlier ones; several proposals
/// of one step go in one message.
#[test]
fn thesis_10_2_2_batching_and_pipelining() {
    let mut leader = Replica::leader(3, 0, &[]);
    leader.hear(2, 1, accepted(1));
    leader.tell(propose("a"));
    let said = leader.tell_all([propose("b"), propose("c")]);
    assert_eq!(said.at_once, ["n1→n2 @1 append prev=2@1 [3@1:b 4@1:c] commit=0"]);
}

fn received(term: u64, last: (u64, u64)) -> Input {
    Input::SnapshotReceived {
        from: n(2),
        term: Term(term),
        last: LogId::new(last.1, last.0),
        membership: Arc::new(Membership::of_voters([1, 2, 3].map(n)).unwrap()),
    }
}

/// thesis §5: "the snapshot replaces the log": one write drops all of it, and the promise leaves after that write.
/// Nothing is applied before the state machine was restored.
#[test]
fn thesis_5_a_snapshot_replaces_a_conflicting_log() {
    let mut replica = Replica::new(3, 3, &[1, 1, 1, 1, 1]);
    replica.hear(2, 3, heartbeat(2));
    let mut said = replica.tell(received(3, (4, 2)));
    assert_eq!(said.effects.install, Some(LogId::new(2, 4)));
    assert!(said.applied.is_empty(), "it is in the snapshot");
    let write = said.write.as_ref().unwrap();
    assert_eq!(write.base, Some(LogBase::Installed(LogId::new(2, 4))));
    assert!(write.entries.is_empty() && said.at_once.is_empty());
    assert_eq!(said.after_write(), ["n1→n2 @3 append accepted matched=4"]);
    assert_eq!(
        (replica.group.last(), replica.group.base()),
        (LogId::new(2, 4), LogId::new(2, 4))
    );
    assert!(replica.group.durable() < LogIndex(4), "not before it is written");

    let said = replica.hear(2, 3, append((4, 2), &[3], 5));
    assert!(said.applied.is_empty(), "the state machine has not been restored");
    replica.sync();
    assert_eq!(replica.group.durable(), LogIndex(5));
    // What was being read from the old log comes too late.
    let (purpose, from) = (LoadPurpose::Apply, LogIndex(1));
    let entries = support::entries_of_terms(&[1, 1]);
    assert!(
        replica
            .tell(Input::Loaded { purpose, from, entries })
            .applied
            .is_empty()
    );
    let said = replica.tell(Input::Applied { through: LogIndex(4) });
    assert_eq!(said.applied.len(), 1, "it goes on from the snapshot");
}

/// thesis §5: a receiver whose log holds the snapshot's last entry keeps its log; one that has committed it, or
/// hears of an older term, only answers.
#[test]
fn thesis_5_a_snapshot_that_is_not_needed_changes_nothing() {
    let mut replica = Replica::new(3, 3, &[1, 1, 2, 2]);
    let mut said = replica.tell(received(3, (3, 2)));
    assert_eq!((said.effects.install, replica.terms().len()), (None, 4));
    assert_eq!(said.after_write(), ["n1→n2 @3 append accepted matched=3"]);
    assert_eq!(replica.group.commit(), LogIndex(3));
    replica.sync();
    let mut said = replica.tell(received(3, (2, 1)));
    assert_eq!(said.effects.install, None);
    assert_eq!(said.after_write(), ["n1→n2 @3 append accepted matched=3"]);
    let said = replica.tell(received(2, (9, 2)));
    assert_eq!((said.effects.install, said.write), (None, None));
    assert_eq!(said.at_once, ["n1→n2 @3 append rejected at=9 hint=4@2"]);
}

/// thesis §5: a follower that lacks what the leader compacted gets a snapshot, also if the leader's log is then empty,
/// and the log goes on from where that ends.
#[test]
fn thesis_5_an_empty_log_goes_on_from_its_snapshot() {
    let mut leader = Replica::leader(3, 0, &[]);
    leader.sync();
    leader.hear(2, 1, accepted(1));
    leader.tell(Input::Applied { through: LogIndex(1) });
    leader.tell(Input::Compacted { through: LogIndex(1) });
    assert_eq!(leader.group.base(), leader.group.last());
    assert_eq!(leader.hear(3, 1, reply(0)).effects.snapshots, [n(3)]);
    let (to, through) = (n(3), Some(LogIndex(1)));
    let said = leader.tell(Input::SnapshotDone { to, through });
    assert_eq!(said.at_once, ["n1→n3 @1 append prev=1@1 [] commit=1"]);
    leader.hear(3, 1, accepted(1));
    leader.hear(2, 1, reply(0));
    let said = leader.tell(propose("a"));
    assert_eq!(said.at_once.len(), 2, "both get what comes next: {:?}", said.at_once);
}

/// thesis §5, §4.3: a snapshot brings the configuration in force where it ends, whichever was before and whichever it
/// is: a joint one too.
#[test]
fn thesis_5_a_snapshot_brings_its_configuration() {
    let joint = Arc::new(Membership::new([1, 2, 3].map(n), [1, 4, 5].map(n), []).unwrap());
    let plain = Arc::new(Membership::of_voters([1, 2, 3].map(n)).unwrap());
    for (before, after) in [(&joint, &plain), (&plain, &joint), (&joint, &joint)] {
        let mut replica = Replica::with(before.as_ref().clone(), 1, &[], 1);
        let last = LogId::new(1, 4);
        let mut said = replica.tell(Input::SnapshotReceived {
            from: n(2),
            term: Term(1),
            last,
            membership: after.clone(),
        });
        assert_eq!((said.effects.install, replica.group.last()), (Some(last), last));
        assert_eq!(replica.group.membership(), after);
        assert_eq!(said.after_write(), ["n1→n2 @1 append accepted matched=4"]);
    }
}

/// thesis §5: what is compacted is dropped from the disk in the same write as what else the step wrote.
#[test]
fn thesis_5_compaction_is_part_of_a_write() {
    let mut replica = Replica::new(3, 1, &[1, 1, 1]);
    let said = replica.hear(2, 1, heartbeat(3));
    assert_eq!(said.effects.load.len(), 1);
    let entries = support::entries_of_terms(&[1, 1, 1]);
    let (purpose, from) = (LoadPurpose::Apply, LogIndex(1));
    assert_eq!(replica.tell(Input::Loaded { purpose, from, entries }).applied.len(), 3);
    replica.tell(Input::Applied { through: LogIndex(2) });
    let said = replica.tell(Input::Compacted { through: LogIndex(3) });
    let base = said.write.unwrap().base;
    assert_eq!(
        base,
        Some(LogBase::Compacted(LogId::new(1, 2))),
        "no further than applied"
    );
    assert_eq!(replica.tell(Input::Compacted { through: LogIndex(2) }).write, None);
}

fn change(id: u64, change: MembershipChange) -> Input {
    Input::ChangeMembership {
        id: ChangeId(id),
        change: ChangeRequest::Change(change),
    }
}

/// What became of the only request that a step answered.
fn outcome(said: &Said) -> String {
    let [(_, outcome)] = said.effects.memberships.as_slice() else {
        panic!("not one answer: {:?}", said.effects.memberships);
    };
    outcome.to_string()
}

/// One that leads n1, n2 and n3 and has committed its no-op.
fn settled_leader() -> Replica {
    let mut leader = Replica::leader(3, 0, &[]);
    leader.sync();
    for peer in [2, 3] {
        leader.hear(peer, 1, accepted(1));
    }
    leader
}

/// thesis §4: the membership is changed by the log, one change at a time; who does not lead refuses.
#[test]
fn thesis_4_one_change_at_a_time() {
    let mut follower = Replica::new(3, 1, &[1]);
    follower.hear(2, 1, heartbeat(1));
    let said = follower.tell(change(1, MembershipChange::remove(n(3))));
    assert_eq!(outcome(&said), "refused: not leader, n2 is");
    let mut leader = settled_leader();
    let said = leader.tell(change(1, MembershipChange::remove(n(3))));
    assert_eq!(said.at_once.len(), 2);
    let said = leader.tell(change(2, MembershipChange::add_learner(n(4))));
    assert_eq!(outcome(&said), "refused: another change is under way");
    assert!(said.at_once.is_empty() && said.write.is_none());
}

/// thesis §4.1, §6.4: a change of nothing is done when a quorum says that all still is as it shall be, not when a leader
/// says so that may have been deposed while the group changed under another.
#[test]
fn thesis_4_1_a_deposed_leader_calls_no_change_done() {
    let mut leader = settled_leader();
    let said = leader.tell(change(1, MembershipChange::add_voter(n(3))));
    assert!(said.effects.memberships.is_empty(), "nobody was asked");
    let said = leader.hear(2, 2, heartbeat(0));
    let leader = Some(n(2));
    assert_eq!(
        said.effects.memberships,
        [(ChangeId(1), ChangeOutcome::SteppedDown { leader })]
    );

    let mut leader = settled_leader();
    leader.tell(change(1, MembershipChange::add_voter(n(3))));
    leader.sync();
    let said = leader.hear(2, 1, accepted(2));
    let (index, membership) = (LogIndex(2), leader.group.membership().clone());
    assert_eq!(
        said.effects.memberships,
        [(ChangeId(1), ChangeOutcome::Done { index, membership })]
    );
}

/// thesis §4.1: "the new configuration takes effect on each server as soon as it is added to that server's log",
/// and "a server must fall back to the previous configuration in its log" if the entry is removed.
#[test]
fn thesis_4_1_in_force_from_the_log() {
    let voters = |replica: &Replica| Vec::from_iter(replica.group.membership().voters().map(|node| node.0));
    let mut replica = Replica::new(3, 1, &[1]);
    let joint = Membership::new([1, 2].map(n), [1, 2, 3].map(n), []).unwrap();
    let entry = Entry {
        index: LogIndex(2),
        term: Term(1),
        payload: Payload::Membership(Arc::new(joint)),
    };
    let entries = vec![entry];
    let (prev, commit) = (LogId::new(1, 1), LogIndex(1));
    let said = replica.hear(2, 1, Prompt::Append { prev, entries, commit });
    assert!(
        said.applied.is_empty() && said.write.is_some(),
        "neither applied nor durable"
    );
    assert_eq!(voters(&replica), [1, 2]);
    assert_eq!(replica.group.committed_membership().voters().count(), 3);
    assert_eq!(replica.group.membership_at(LogIndex(1)).unwrap().voters().count(), 3);
    replica.hear(3, 2, append((1, 1), &[2], 1));
    assert_eq!(voters(&replica), [1, 2, 3]);
}

/// thesis §4.1, as corrected (Ongaro, 2015): a leader changes nothing before it has committed an entry of its own
/// term; it could overlook a configuration of a term before.
#[test]
fn thesis_4_1_nothing_before_the_first_commit() {
    let mut leader = Replica::leader(3, 1, &[1]);
    leader.sync();
    let said = leader.tell(change(1, MembershipChange::remove(n(3))));
    assert_eq!(outcome(&said), "refused: nothing is committed in this term yet");
    leader.hear(2, 2, accepted(2));
    let said = leader.tell(change(2, MembershipChange::remove(n(3))));
    assert!(said.effects.memberships.is_empty() && said.write.is_some());
}

/// thesis §4.2.1: a server joins "as a non-voting member", and votes once a round of replication took less than an
/// election timeout.
#[test]
fn thesis_4_2_1_new_servers_catch_up_in_rounds() {
    let mut leader = settled_leader();
    leader.tell(change(1, MembershipChange::add_voter(n(4))));
    leader.sync();
    leader.hear(2, 1, accepted(2));
    let is_joint = |leader: &Replica| leader.group.membership().is_joint();
    assert_eq!(leader.group.commit(), LogIndex(2));
    // It gets what is needed, but is not heard for too long.
    leader.tell(propose("a"));
    leader.wait(599);
    for peer in [2, 3] {
        leader.hear(peer, 1, reply(0));
    }
    leader.wait(1);
    leader.hear(4, 1, accepted(2));
    assert!(
        !is_joint(&leader),
        "that took an election timeout: there is another round"
    );
    leader.wait(599);
    leader.hear(4, 1, accepted(3));
    assert!(is_joint(&leader), "that took less");
    assert_eq!(
        leader.group.membership().to_string(),
        "voters=n1,n2,n3,n4 outgoing=n1,n2,n3"
    );
}

/// thesis §4.2.2: "a leader that is removed from the configuration steps down once the Cnew entry is committed",
/// and until then "does not count itself in majorities".
#[test]
fn thesis_4_2_2_a_leader_removes_itself() {
    let mut leader = settled_leader();
    leader.tell(change(1, MembershipChange::remove(n(1))));
    leader.sync();
    leader.hear(2, 1, accepted(2));
    assert!(
        leader.group.membership().is_joint(),
        "n2 alone is no majority of n2 and n3"
    );
    leader.hear(3, 1, accepted(2));
    assert_eq!(leader.group.membership().to_string(), "voters=n2,n3");
    leader.sync();
    let said = leader.hear(3, 1, accepted(3));
    assert_eq!(leader.group.role(), RoleKind::Leader, "n1 does not count");
    assert!(said.effects.memberships.is_empty());
    let said = leader.hear(2, 1, accepted(3));
    assert_eq!(outcome(&said), "done at 3: voters=n2,n3");
    assert!(
        said.at_once.contains(&"n1→n2 @1 timeout now".to_owned()),
        "{:?}",
        said.at_once
    );
    assert_eq!(leader.group.role(), RoleKind::Follower);
    leader.wait(100_000);
    assert!(leader.tell(Input::Tick).at_once.is_empty(), "it never campaigns");
    assert!(leader.tell(Input::Campaign).at_once.is_empty(), "nor when told to");
}

/// thesis §4.2.2: a server that is "not part of its own latest configuration" may have to start an election,
/// until that configuration is committed; it does not count its own vote.
#[test]
fn thesis_4_2_2_one_that_left_may_campaign_until_that_is_committed() {
    let mut replica = Replica::new(2, 1, &[1]);
    let append = |index: u64, membership: Membership, commit: u64| Prompt::Append {
        prev: LogId::new(1, index - 1),
        entries: vec![Entry {
            index: LogIndex(index),
            term: Term(1),
            payload: Payload::Membership(Arc::new(membership)),
        }],
        commit: LogIndex(commit),
    };
    let joint = Membership::new([n(2)], [1, 2].map(n), []).unwrap();
    replica.hear(2, 1, append(2, joint, 1));
    replica.hear(2, 1, append(3, Membership::of_voters([n(2)]).unwrap(), 2));
    let said = replica.time_out();
    assert_eq!(said.at_once, ["n1→n2 @2 pre-vote last=3@1"]);
    assert_eq!(
        replica.group.role(),
        RoleKind::PreCandidate,
        "its own vote is not enough"
    );
    replica.hear(2, 1, heartbeat(3));
    assert_eq!(replica.group.deadline().0, u64::MAX, "now it is committed");
}

/// thesis §4.3: any change, here of all three nodes at once, by way of a joint configuration, in which both
/// majorities are needed; the final one follows when that is committed.
#[test]
fn thesis_4_3_arbitrary_changes() {
    let mut leader = settled_leader();
    let all = [1, 2, 3].map(n).into_iter();
    let away = all.fold(MembershipChange::new(), |change, node| change.set(node, None));
    let change_all = [4, 5, 6].map(n).into_iter();
    let change_all = change_all.fold(away, |change, node| change.set(node, Some(MemberRole::Voter)));
    leader.tell(change(1, change_all));
    leader.sync();
    leader.hear(2, 1, accepted(2));
    for peer in [4, 5, 6] {
        assert!(!leader.group.membership().is_joint());
        leader.hear(peer, 1, accepted(2));
    }
    assert!(leader.group.membership().is_joint());
    leader.sync();
    for peer in [2, 4] {
        leader.hear(peer, 1, accepted(3));
        assert_eq!(leader.group.commit(), LogIndex(2), "one of both is not enough");
    }
    leader.hear(5, 1, accepted(3));
    assert_eq!(leader.group.membership().to_string(), "voters=n4,n5,n6");
}

/// thesis §4.3, paper §6: a joint configuration is left by whichever leader commits it, not only by the one that was
/// asked for the change.
#[test]
fn thesis_4_3_the_next_leader_leaves_a_joint_configuration() {
    let joint = Membership::new([1, 2, 3].map(n), [1, 4, 5].map(n), []).unwrap();
    let mut replica = Replica::with(joint, 1, &[], 1);
    replica.tell(Input::Campaign);
    for peer in [2, 4] {
        replica.hear(peer, 2, Prompt::PreVoteReply { granted: true });
    }
    replica.sync();
    for peer in [2, 4] {
        replica.hear(peer, 2, Promise::VoteGranted);
    }
    assert_eq!(replica.group.role(), RoleKind::Leader);
    replica.sync();
    replica.hear(2, 2, accepted(1));
    assert!(replica.group.membership().is_joint(), "it is not committed by both");
    replica.hear(4, 2, accepted(1));
    assert_eq!(replica.group.membership().to_string(), "voters=n1,n2,n3");
}

/// thesis §3.10 has the leader hand over when it wants to be relieved: here because its disk is stalled.
#[test]
fn thesis_3_10_a_leader_whose_disk_stalls_hands_over() {
    let mut leader = settled_leader();
    leader.tell(propose("a"));
    // A heartbeat every 100 ms: with the sixth, an election timeout is over. Then the others show that they can write.
    for beat in 1..=7 {
        for peer in [2, 3] {
            leader.hear(peer, 1, accepted(if beat <= 6 { 2 } else { 3 }));
        }
        let said = leader.time_out();
        let says = |text: &str| said.at_once.iter().any(|message| message.contains(text));
        assert_eq!(
            says("n1→n2 @1 append prev=2@1 [3@1:noop]"),
            beat == 6,
            "{:?}",
            said.at_once
        );
        assert_eq!(says("n1→n2 @1 timeout now"), beat == 7, "{:?}", said.at_once);
    }
}
