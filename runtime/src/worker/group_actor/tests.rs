//! One replica's turns, without actors around it.

#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::budget::ByteBudget;
use crate::clock::{Clock, Hand, MonotonicClock};
use crate::error::{ExportError, ReadError};
use crate::group::Consistency;
use crate::inbox::Inbox;
use crate::limits::Limits;
use crate::liveness::Board;
use crate::machine::{Answer, DiskStateMachine, DiskTyped, ROOM, Record, StateMachine, Typed};
use crate::metrics::Counters;
use crate::registry::{ReplicaState, StatusCell};
use crate::snapshot::{Compaction, Restored, SnapshotError, SnapshotEvent, SnapshotWork};
use crate::store::GroupRecord;
use crate::tenancy::{GroupLimits, Tenancy};
use crate::time::Timestamp;
use crate::worker::snapshots::RETRY_MS;
use crate::worker::{Export, Loaded, Purpose};
use parking_lot::Mutex;
use raftyard_groups::{
    Body, GroupId, Incarnation, LogId, LogIndex, Membership, Message, NodeId, Payload, Prompt, ReadRound, Recovered,
    ReplicaConfig, Sessions, Term, Tuning,
};
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// Counts what it applied.
struct Counter(u64);

impl StateMachine for Counter {
    type Command = ();
    type Response = u64;
    type Query = ();
    type Answer = u64;
    type Snapshot = u64;

    fn apply(&mut self, (): (), _: Timestamp) -> u64 {
        self.0 += 1;
        self.0
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }

    fn snapshot(&self) -> u64 {
        self.0
    }

    fn restore(&mut self, count: u64) {
        self.0 = count;
    }
}

/// The only replica of its group, which hands out one entry at a time to be applied.
fn single() -> GroupActor {
    single_by(Arc::new(MonotonicClock::default()))
}

fn single_by(clock: Arc<dyn Clock>) -> GroupActor {
    actor_of(create(), clock)
}

fn create() -> Create {
    let node = NodeId(1);
    let group = GroupId(1);
    Create {
        config: ReplicaConfig {
            group,
            incarnation: Incarnation(1),
            node,
            membership: Arc::new(Membership::of_voters([node]).unwrap()),
            tuning: Arc::new(Tuning {
                apply_bytes_max: 1,
                ..Tuning::default()
            }),
            seed: 1,
            priority: 0,
        },
        recovered: Recovered::default(),
        machine: Box::new(Typed::new(Counter(0))),
        snapshot: None,
        unsynced: false,
        ahead: LogIndex::ZERO,
        slot: Arc::new(GroupSlot {
            machine: std::any::TypeId::of::<()>(),
            is_on_disk: false,
            group,
            incarnation: Incarnation(1),
            inbox: Arc::new(Inbox::new()),
            status: StatusCell::default(),
            tenancy: Tenancy::unlimited(),
        }),
        campaign: false,
    }
}

fn actor_of(create: Create, clock: Arc<dyn Clock>) -> GroupActor {
    let shared = Rc::new(Shared::new(
        clock,
        Limits::default(),
        Arc::new(Counters::default()),
        Arc::new(Inbox::new()),
        Compaction::default(),
        Arc::new(Board::new(Sessions::default(), 1, Moment(0))),
    ));
    GroupActor::new(create, shared, 0)
}

impl GroupActor {
    /// What the last turns wanted written, as written.
    fn persisted(&mut self) -> Vec<GroupWork> {
        let persist = std::mem::take(&mut self.shared.output.borrow_mut().persist);
        persist
            .into_iter()
            .map(|(_, persist)| GroupWork::Persisted(persist.into_durable().seq))
            .collect()
    }

    fn lead(&mut self) {
        self.turn(vec![GroupWork::Campaign]);
        // Its vote, and the entry that its term begins with.
        for _ in 0..2 {
            let work = self.persisted();
            self.turn(work);
        }
        assert_eq!(self.slot.status.leader(), Some(NodeId(1)));
    }
}

fn proposal() -> (GroupWork, oneshot::Receiver<Answer>) {
    let (reply, answer) = oneshot::channel();
    let proposal = Proposal {
        command: vec![0; ROOM],
        purpose: Purpose::Plain,
        reply: reply.into(),
        permit: ByteBudget::new(1).try_acquire(1).unwrap(),
    };
    (GroupWork::Propose(proposal), answer)
}

fn read() -> (GroupWork, oneshot::Receiver<Result<u64, ReadError>>) {
    read_with(Consistency::Linearizable)
}

fn read_with(consistency: Consistency) -> (GroupWork, oneshot::Receiver<Result<u64, ReadError>>) {
    let (reply, answer) = oneshot::channel();
    let job = ReadJob {
        consistency,
        run: Box::new(move |machine| {
            reply
                .send(machine.map(|machine| machine.downcast_ref::<Counter>().unwrap().0))
                .unwrap();
        }),
        permit: ByteBudget::new(1).try_acquire(1).unwrap(),
    };
    (GroupWork::Read(job), answer)
}

/// Whatever the number of batches: the turn that applies what a read waits for answers it.
#[test]
fn a_read_is_answered_in_the_turn_that_applies_its_index() {
    for entries in 1..=2 * APPLY_BATCHES_PER_TURN {
        let mut replica = single();
        replica.lead();
        let (work, answers): (Vec<_>, Vec<_>) = (0..entries).map(|_| proposal()).unzip();
        replica.turn(work);
        let mut work = replica.persisted();
        let (job, mut answer) = read();
        work.push(job);
        replica.turn(work);
        let mut turns = 1;
        while !replica.shared.output.borrow_mut().again.drain(..).as_slice().is_empty() {
            replica.turn(vec![GroupWork::Tick]);
            turns += 1;
        }
        assert_eq!(
            answer.try_recv(),
            Ok(Ok(entries as u64)),
            "of {entries} entries, after {turns} turns"
        );
        assert_eq!(turns, entries.div_ceil(APPLY_BATCHES_PER_TURN));
        drop(answers);
    }
}

/// Its peers do not run the group yet. Nobody else asks before an election timeout is over, however long that is.
#[test]
fn a_first_campaign_goes_on_until_an_election_timeout_is_over() {
    for (timeout, campaigns) in [(600, vec![0, 100, 300]), (5_000, vec![0, 100, 300, 700, 1_500, 3_100])] {
        let mut create = create();
        let voters = [1, 2, 3].map(NodeId);
        create.config.membership = Arc::new(Membership::of_voters(voters).unwrap());
        create.config.tuning = Arc::new(Tuning {
            election_timeout_ms: timeout,
            ..Tuning::default()
        });
        let clock = Arc::new(Hand::default());
        let mut replica = actor_of(create, clock.clone());
        let mut work = vec![GroupWork::Campaign];
        let (mut count, mut found) = (0, Vec::new());
        for now in (0..3 * timeout).step_by(10) {
            replica.turn(std::mem::take(&mut work));
            let counted = replica.shared.counters.campaigns.get();
            found.extend((counted > count).then_some(now));
            count = counted;
            clock.pass(10);
        }
        assert_eq!(found, campaigns);
    }
}

/// Who learns of the quarantine by an answer finds it in the status.
#[test]
fn a_quarantined_replica_says_so_before_it_answers() {
    let mut replica = single();
    replica.turn(vec![GroupWork::Campaign]);
    let vote = replica.persisted();
    replica.turn(vote);
    // It leads, but its first entry is not durable: nothing is answered yet.
    let slot = replica.slot.clone();
    let (seen, mut status_at_answer) = oneshot::channel();
    let job = ReadJob {
        consistency: Consistency::Linearizable,
        run: Box::new(move |_| seen.send(slot.status.get()).unwrap()),
        permit: ByteBudget::new(1).try_acquire(1).unwrap(),
    };
    let (work, mut answer) = proposal();
    replica.turn(vec![work, GroupWork::Read(job)]);
    replica.turn(vec![GroupWork::Quarantine(QuarantineReason::LogDamaged)]);
    assert_eq!(
        answer.try_recv(),
        Ok(Err(ProposeError::OutcomeUnknown { request: None }))
    );
    let status = status_at_answer.try_recv().unwrap();
    let reason = QuarantineReason::LogDamaged;
    assert_eq!(status.state, ReplicaState::Quarantined(reason.clone()));
    assert_eq!(status.leader, None);

    let (work, mut refused) = proposal();
    let (job, mut unread) = read();
    let written = replica.persisted();
    replica.turn(written.into_iter().chain([work, job]).collect());
    assert_eq!(refused.try_recv(), Ok(Err(ProposeError::Quarantined(reason.clone()))));
    assert_eq!(unread.try_recv(), Ok(Err(ReadError::Quarantined(reason))));
    assert!(replica.persisted().is_empty(), "it writes no more");
}

/// A clock on which everything that is measured takes a millisecond.
#[derive(Debug, Default)]
struct Slow(AtomicU64);

impl Clock for Slow {
    fn now(&self) -> Moment {
        Moment(0)
    }

    fn nanos(&self) -> u64 {
        self.0.fetch_add(1_000_000, Ordering::Relaxed)
    }

    fn wall(&self) -> Timestamp {
        Timestamp(0)
    }
}

/// How many of four committed entries a turn applies, and what that is said to have taken.
fn applied_in_a_turn(is_contended: bool, weight: u32) -> (u64, Duration) {
    let mut replica = single_by(Arc::new(Slow::default()));
    let limits = GroupLimits {
        weight,
        ..GroupLimits::default()
    };
    replica.slot.tenancy.set(limits, &*replica.shared.clock);
    replica.lead();
    let (work, answers): (Vec<_>, Vec<_>) = (0..4).map(|_| proposal()).unzip();
    replica.turn(work);
    let before = replica.slot.tenancy.usage();
    replica.shared.is_contended.set(is_contended);
    let work = replica.persisted();
    replica.turn(work);
    let is_left = replica.core.applied() < replica.core.commit();
    assert_eq!(
        replica.shared.output.borrow().again.is_empty(),
        !is_left,
        "the rest comes next"
    );
    drop(answers);
    let usage = replica.slot.tenancy.usage();
    (usage.commands - before.commands, usage.apply_time - before.apply_time)
}

#[test]
fn who_applies_for_long_leaves_the_rest_for_its_next_turn_if_others_have_work() {
    let millis = Duration::from_millis;
    assert_eq!(applied_in_a_turn(false, 1), (4, millis(4)));
    assert_eq!(applied_in_a_turn(true, 1), (2, millis(2)));
    assert_eq!(applied_in_a_turn(true, 2), (4, millis(4)));
}

/// How many of so many reads each turn answers. If not `at_once`, each is asked in a turn of its own, before the leader may
/// answer any.
fn read_by_turns(reads: usize, at_once: bool, is_contended: bool) -> Vec<usize> {
    let mut replica = single_by(Arc::new(Slow::default()));
    replica.turn(vec![GroupWork::Campaign]);
    let vote = replica.persisted();
    replica.turn(vote);
    let (mut asked, mut answers): (Vec<_>, Vec<_>) = (0..reads).map(|_| read()).unzip();
    if !at_once {
        asked.drain(..).for_each(|read| replica.turn(vec![read]));
    }
    // The entry that its term begins with.
    let mut written = replica.persisted();
    written.append(&mut asked);
    replica.shared.output.borrow_mut().again.clear();
    replica.shared.is_contended.set(is_contended);
    let mut answered = Vec::new();
    while !answers.is_empty() {
        replica.turn(std::mem::take(&mut written));
        let before = answers.len();
        answers.retain_mut(|answer| answer.try_recv().is_err());
        answered.push(before - answers.len());
        let again = std::mem::take(&mut replica.shared.output.borrow_mut().again);
        assert_eq!(again.is_empty(), answers.is_empty(), "the rest comes next");
    }
    answered
}

#[test]
fn who_reads_for_long_leaves_the_rest_for_its_next_turn_if_others_have_work() {
    assert_eq!(read_by_turns(5, true, false), [5]);
    for at_once in [true, false] {
        let by_turns = read_by_turns(5, at_once, true);
        assert_eq!(by_turns, [1, 2, 2], "the first turn applies, too; {at_once}");
    }
}

#[test]
fn reads_that_gathered_are_not_all_answered_in_one_turn() {
    let answered = read_by_turns(100, true, false);
    assert!(
        answered.len() > 2 && answered.iter().all(|reads| *reads <= 40),
        "{answered:?}"
    );
}

/// Reads of the state as it is are there in every turn, more than it answers.
#[test]
fn reads_without_end_hold_up_neither_what_is_applied_nor_other_reads() {
    let mut replica = single_by(Arc::new(Slow::default()));
    replica.lead();
    let written = replica.persisted();
    replica.turn(written);
    replica.shared.is_contended.set(true);
    let (mut asked, mut proposed) = proposal();
    let (mut outcome, mut stale) = (None, Vec::new());
    for _ in 0..10 {
        let (reads, answers): (Vec<_>, Vec<_>) = (0..5).map(|_| read_with(Consistency::Stale)).unzip();
        let mut work = replica.persisted();
        work.extend(reads);
        work.push(std::mem::replace(&mut asked, GroupWork::Tick));
        replica.turn(work);
        stale.extend(answers);
        outcome = outcome.or(proposed.try_recv().ok());
    }
    assert!(outcome.is_some_and(|outcome| outcome.is_ok()));
    // Something is applied in each turn, too.
    let (reads, mut answers): (Vec<_>, Vec<_>) = (0..10).map(|_| read()).unzip();
    let mut work = reads;
    for _ in 0..20 {
        work.extend(replica.persisted());
        let (asked, _) = proposal();
        work.push(asked);
        let (reads, unread): (Vec<_>, Vec<_>) = (0..5).map(|_| read_with(Consistency::Stale)).unzip();
        work.extend(reads);
        stale.extend(unread);
        replica.turn(std::mem::take(&mut work));
    }
    answers.retain_mut(|answer| answer.try_recv().is_err());
    assert!(answers.is_empty(), "{} of 10 are not answered", answers.len());
}

/// Is on disk, and empty. Full after three commands.
#[derive(Default)]
struct Void {
    applied: usize,
    /// How many commands each commit had.
    commits: Arc<Mutex<Vec<usize>>>,
    /// Whether every commit after the first of these fails.
    fails: Arc<AtomicBool>,
}

impl DiskStateMachine for Void {
    type Command = ();
    type Response = ();
    type Query = ();
    type Answer = ();
    type Restored = ();

    fn records(&self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(Vec::new())
    }

    fn apply(&mut self, (): (), _: Timestamp) -> io::Result<()> {
        self.applied += 1;
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.applied == 3
    }

    fn commit(&mut self, _: &[Record]) -> io::Result<()> {
        let mut commits = self.commits.lock();
        if self.fails.load(Ordering::Relaxed) && commits.len() == 1 {
            return Err(io::Error::other("no more than one"));
        }
        commits.push(std::mem::take(&mut self.applied));
        Ok(())
    }

    fn query(&self, (): ()) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> impl FnOnce() -> io::Result<()> + Send + 'static {
        || Ok(())
    }

    fn snapshot(&self) -> io::Result<impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static> {
        Ok(|_: &mut dyn Write| Ok(()))
    }

    fn restorer(&self) -> impl Fn(&mut dyn Read) -> io::Result<()> + Send + 'static {
        |_: &mut dyn Read| Ok(())
    }

    fn restore(&mut self, (): (), _: &[Record]) -> io::Result<()> {
        Ok(())
    }
}

/// How many commands each commit had when a batch of seven was applied, and how many of them, the first ones, were answered
/// that it is done. With `fails` the second commit fails.
fn applied_by_void(fails: bool) -> (Vec<usize>, usize) {
    let machine = Void::default();
    let (commits, failing) = (Arc::clone(&machine.commits), Arc::clone(&machine.fails));
    let mut create = create();
    create.config.tuning = Arc::new(Tuning::default());
    let record = GroupRecord {
        group: GroupId(1),
        incarnation: Incarnation(1),
        membership: Membership::of_voters([NodeId(1)]).unwrap(),
        is_witness: false,
    };
    create.machine = Box::new(DiskTyped::open(machine, &record, NodeId(1)).unwrap().0);
    let mut replica = actor_of(create, Arc::new(MonotonicClock::default()));
    replica.lead();
    commits.lock().clear();
    failing.store(fails, Ordering::Relaxed);
    let (work, answers): (Vec<_>, Vec<_>) = (0..7).map(|_| proposal()).unzip();
    replica.turn(work);
    let work = replica.persisted();
    replica.turn(work);
    let mut answers = answers.into_iter().map(|mut answer| answer.try_recv().unwrap());
    let done = answers.by_ref().take_while(Result::is_ok).count();
    assert!(answers.all(|answer| answer.is_err()));
    let commits = commits.lock().clone();
    (commits, done)
}

/// So that one batch of commands may load more than fits into memory.
#[test]
fn a_state_machine_that_is_full_commits_before_more_is_applied() {
    assert_eq!(applied_by_void(false), (vec![3, 3, 1], 7));
}

#[test]
fn of_a_batch_what_was_committed_before_a_commit_failed_is_done_and_nothing_else() {
    assert_eq!(applied_by_void(true), (vec![3], 3));
}

/// A leader of which a log that begins after 5 was repaired up to 10, and whose state on disk has applied up to 8
/// already. It has a learner.
fn repaired() -> GroupActor {
    repaired_by(Arc::new(MonotonicClock::default()))
}

fn repaired_by(clock: Arc<dyn Clock>) -> GroupActor {
    let mut create = create();
    let membership = Membership::new([NodeId(1)], [], [NodeId(2)]).unwrap();
    create.config.membership = Arc::new(membership.clone());
    create.config.tuning = Arc::new(Tuning::default());
    create.recovered = Recovered {
        base: LogId::new(1, 5),
        runs: vec![LogId::new(1, 6)],
        last: LogIndex(10),
        applied: LogIndex(5),
        memberships: vec![(LogIndex(5), create.config.membership.clone())],
        created: true,
        ..Recovered::default()
    };
    create.recovered.hard_state.term = Term(1);
    create.ahead = LogIndex(8);
    let record = GroupRecord {
        group: GroupId(1),
        incarnation: Incarnation(1),
        membership,
        is_witness: false,
    };
    create.machine = Box::new(DiskTyped::open(Void::default(), &record, NodeId(1)).unwrap().0);
    let mut replica = actor_of(create, clock);
    replica.lead();
    replica
}

impl GroupActor {
    /// What the learner says to it.
    fn hear(&mut self, prompt: Prompt) {
        self.turn(vec![GroupWork::Message(Message {
            group: GroupId(1),
            incarnation: Incarnation(1),
            from: NodeId(2),
            to: NodeId(1),
            term: self.core.term(),
            body: Body::Prompt(prompt),
        })]);
    }

    /// What the learner holds matches nowhere: not at the end of the leader's log, and not where that begins.
    fn hear_that_all_is_missing(&mut self) {
        let sent = std::mem::take(&mut self.shared.output.borrow_mut().send);
        let refused = sent.iter().find_map(|message| match &message.body {
            Body::Prompt(Prompt::Append { prev, .. }) => Some(prev.index),
            _ => None,
        });
        for refused in [refused.unwrap(), LogIndex(5)] {
            self.hear(Prompt::AppendRejected {
                refused,
                hint: LogId::ZERO,
            });
        }
    }

    /// Applies what its state on disk had applied before.
    fn apply_again(&mut self) {
        while self.core.applied() < self.ahead {
            let loads = std::mem::take(&mut self.shared.output.borrow_mut().load);
            assert!(!loads.is_empty(), "{:?}", self.core);
            let loaded = loads.into_iter().map(|(life, load)| {
                let entries = (load.from.0..=load.through.0.min(10)).map(|index| Entry {
                    index: LogIndex(index),
                    term: Term(1),
                    payload: Payload::Noop,
                });
                GroupWork::Loaded(Box::new(Loaded {
                    life,
                    purpose: load.purpose,
                    from: load.from,
                    entries: entries.collect(),
                }))
            });
            self.turn(loaded.collect());
        }
    }

    /// The last entries of the snapshots that it wanted sent.
    fn sent(&self) -> Vec<LogId> {
        let mut taken = Vec::new();
        self.shared.snapshots.take(&mut taken);
        let sent = taken.into_iter().filter_map(|work| match work {
            SnapshotWork::Send {
                to: NodeId(2), last, ..
            } => Some(last),
            _ => None,
        });
        sent.collect()
    }
}

/// What the learner says to a heartbeat.
fn answers() -> Prompt {
    Prompt::HeartbeatReply {
        round: ReadRound::default(),
        priority: 0,
        commit: LogIndex::ZERO,
        session: None,
    }
}

/// The file would hold more than what is said of it.
#[test]
fn a_state_that_is_ahead_of_its_log_is_not_exported() {
    let mut replica = repaired();
    assert!(replica.core.applied() < replica.ahead);
    let (reply, mut exported) = oneshot::channel();
    let path = "never".into();
    replica.turn(vec![GroupWork::Export(Export { path, reply })]);
    assert!(matches!(exported.try_recv(), Ok(Err(ExportError::Restoring))));
}

/// A leader that has no snapshot to give yet is asked again: otherwise the peer would wait for ever.
#[test]
fn a_peer_that_needs_a_snapshot_gets_one_once_there_is_one() {
    let mut replica = repaired();
    replica.hear_that_all_is_missing();
    assert!(replica.core.applied() < replica.ahead);
    assert_eq!(replica.sent(), [], "its state is ahead of its log");
    replica.hear(answers());
    assert_eq!(replica.sent(), []);
    replica.apply_again();
    assert_eq!(replica.sent(), [], "asked for when the peer says something");
    replica.hear(answers());
    let sent = replica.sent();
    assert!(matches!(sent[..], [last] if last.index >= replica.ahead), "{sent:?}");
    replica.hear(answers());
    assert_eq!(replica.sent(), [], "one at a time");
}

/// Each try fills the disk again, and the logs of other groups find no room meanwhile. What a peer did not take was written
/// in vain just as well.
#[test]
fn a_state_on_disk_that_could_not_be_written_or_sent_is_written_again_after_a_pause() {
    let clock = Arc::new(Hand::default());
    let mut replica = repaired_by(clock.clone());
    replica.hear_that_all_is_missing();
    replica.apply_again();
    replica.hear(answers());
    for size in [None, None, Some(10), Some(10)] {
        assert_eq!(replica.sent().len(), 1, "{size:?}");
        let failed = SnapshotEvent::Sent {
            to: NodeId(2),
            through: None,
        };
        let told = [SnapshotEvent::Viewed { size }, failed];
        replica.turn(told.into_iter().map(GroupWork::Snapshot).collect());
        for passed in [0, RETRY_MS - 1] {
            clock.pass(passed);
            replica.hear(answers());
            assert_eq!(replica.sent(), [], "{size:?}");
        }
        clock.pass(1);
        replica.hear(answers());
    }
}

/// What can't be read may be intact; what is damaged can't be had again.
#[test]
fn an_installed_snapshot_that_can_not_be_read_now_is_read_later() {
    let clock = Arc::new(Hand::default());
    let mut replica = single_by(clock.clone());
    replica.lead();
    let last = LogId::new(1, 1);
    replica.snapshots.installed(last);
    let is_read = |replica: &mut GroupActor| {
        replica.turn(vec![GroupWork::Tick]);
        let mut taken = Vec::new();
        replica.shared.snapshots.take(&mut taken);
        taken
            .iter()
            .any(|work| matches!(work, SnapshotWork::Restore { last: of, .. } if *of == last))
    };
    let fails = |replica: &mut GroupActor, error| {
        let state = Err(error);
        let restored = SnapshotEvent::Restored(Restored { last, state });
        replica.turn(vec![GroupWork::Snapshot(restored)]);
    };
    assert!(is_read(&mut replica));
    for _ in 0..2 {
        let (name, source) = (String::new(), io::Error::other("too many open files"));
        fails(&mut replica, SnapshotError::Io { name, source });
        assert!(!replica.quarantined);
        let until = clock.now().plus(RETRY_MS);
        assert_eq!(replica.snapshots.deadline(replica.core.applied()), Some(until));
        clock.pass(RETRY_MS - 1);
        assert!(!is_read(&mut replica));
        clock.pass(1);
        assert!(is_read(&mut replica));
    }
    let (name, what) = (String::new(), "its checksum fails".to_owned());
    fails(&mut replica, SnapshotError::Damaged { name, what });
    assert!(replica.quarantined);
}

/// It is none, but its group takes it for a witness, and sends it no commands: its state lacks what was acknowledged. It
/// learns so with the last of what is committed. It may have been none for the group before, and have known that.
#[test]
fn a_replica_that_may_be_taken_for_a_witness_answers_nothing_that_was_asked_of_the_group() {
    for was_full in [false, true] {
        answers_nothing(was_full);
    }
}

fn answers_nothing(was_full: bool) {
    let mut create = create();
    let others = || [2, 3].map(NodeId);
    let members = |voters: &[u64], learners: &[u64]| {
        let nodes = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
        Membership::new(nodes(voters), [], nodes(learners)).unwrap()
    };
    let as_witness = |outgoing: Vec<NodeId>| {
        let membership = Membership::new([1, 2, 3].map(NodeId), outgoing, []).unwrap();
        membership.with_witnesses([NodeId(1)]).unwrap()
    };
    create.config.membership = Arc::new(if was_full {
        members(&[2, 3], &[1])
    } else {
        as_witness(Vec::new())
    });
    create.recovered.hard_state.term = Term(1);
    let mut replica = actor_of(create, Arc::new(MonotonicClock::default()));
    let entries = |indexes: std::ops::RangeInclusive<u64>, commit| Prompt::Append {
        prev: LogId::new(u64::from(*indexes.start() > 1), indexes.start() - 1),
        entries: indexes
            .map(|index| Entry {
                index: LogIndex(index),
                term: Term(1),
                payload: match index {
                    // It leaves, and comes back.
                    2 if was_full => Payload::Membership(Arc::new(members(&[2, 3], &[]))),
                    3 if was_full => Payload::Membership(Arc::new(as_witness(others().to_vec()))),
                    _ => Payload::Noop,
                },
            })
            .collect(),
        commit: LogIndex(commit),
    };
    if was_full {
        replica.hear(entries(1..=1, 1));
        assert!(replica.is_of_its_kind);
    }
    replica.hear(entries(1..=3, 6));
    let (reply, mut answer) = oneshot::channel();
    let job = ReadJob {
        consistency: Consistency::Follower,
        run: Box::new(move |machine| reply.send(machine.map(drop)).unwrap()),
        permit: ByteBudget::new(1).try_acquire(1).unwrap(),
    };
    replica.turn(vec![GroupWork::Read(job)]);
    let sent = std::mem::take(&mut replica.shared.output.borrow_mut().send);
    let request = sent.iter().find_map(|message| match message.body {
        Body::Prompt(Prompt::ReadIndex { request }) => Some(request),
        _ => None,
    });
    replica.hear(Prompt::ReadIndexIs {
        request: request.unwrap(),
        index: LogIndex(3),
    });
    assert_eq!(replica.core.applied(), LogIndex(3));
    assert!(answer.try_recv().is_err(), "it is not answered yet");
    replica.hear(entries(4..=6, 6));
    assert_eq!(answer.try_recv(), Ok(Err(ReadError::TimedOut)));
}
