//! A dispatcher between its turns.

mod fair;

use super::super::{Proposal, Purpose, ReadJob};
use super::*;
use crate::budget::{ByteBudget, InboundPermit};
use crate::clock::MonotonicClock;
use crate::error::{ProposeError, ReadError};
use crate::group::Consistency;
use crate::limits::Limits;
use crate::liveness::Board;
use crate::machine::{Answer, ROOM, Typed};
use crate::metrics::Counters;
use crate::registry::StatusCell;
use crate::router::Router;
use crate::snapshot::Compaction;
use crate::tenancy::Tenancy;
use crate::transport;
use crate::witness::Witness;
use raftyard_groups::{
    Incarnation, Liveness, LivenessConfig, LivenessEffects, LogIndex, Membership, NodeId, NodeIncarnation, Promise,
    PromiseRecord, ReadRound, Recovered, ReplicaConfig, Sessions, Term, Tuning,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

fn life(group: u64, incarnation: u64) -> Life {
    Life {
        group: GroupId(group),
        incarnation: Incarnation(incarnation),
    }
}

async fn dispatcher() -> Dispatcher {
    let (inbox, snapshots) = (Arc::new(Inbox::new()), Arc::new(Inbox::new()));
    let handle = transport::nowhere(Router::new(
        vec![inbox.clone()],
        snapshots.clone(),
        Arc::new(Inbox::new()),
    ))
    .await;
    let shared = Shared::new(
        Arc::new(MonotonicClock::default()),
        Limits::default(),
        Arc::new(Counters::default()),
        snapshots,
        Compaction::default(),
        Arc::new(Board::new(Sessions::default(), 1, Moment(0))),
    );
    Dispatcher::new(0, inbox, Arc::new(Inbox::new()), handle, shared, 100)
}

impl Dispatcher {
    fn host(&mut self, life: Life) -> Arc<GroupSlot> {
        let node = NodeId(1);
        let slot = Arc::new(GroupSlot {
            machine: std::any::TypeId::of::<()>(),
            is_on_disk: false,
            group: life.group,
            incarnation: life.incarnation,
            inbox: self.inbox.clone(),
            status: StatusCell::default(),
            tenancy: Tenancy::unlimited(),
        });
        self.sort(Work::Create(Box::new(Create {
            config: ReplicaConfig {
                group: life.group,
                incarnation: life.incarnation,
                node,
                membership: Arc::new(Membership::of_voters([node, NodeId(2)]).unwrap()),
                tuning: Arc::new(Tuning::default()),
                seed: 1,
                priority: 0,
            },
            recovered: Recovered::default(),
            machine: Box::new(Typed::new(Witness)),
            snapshot: None,
            unsynced: false,
            ahead: LogIndex::ZERO,
            slot: slot.clone(),
            campaign: false,
        })));
        slot
    }

    fn propose(&mut self, life: Life) -> oneshot::Receiver<Answer> {
        let (reply, answer) = oneshot::channel();
        let permit = ByteBudget::new(1).try_acquire(1).unwrap();
        let proposal = Proposal {
            command: vec![0; ROOM],
            purpose: Purpose::Plain,
            reply: reply.into(),
            permit,
        };
        self.sort(Work::Propose(life, proposal));
        answer
    }

    fn read(&mut self, life: Life) -> oneshot::Receiver<Option<ReadError>> {
        let (reply, answer) = oneshot::channel();
        let job = ReadJob {
            consistency: Consistency::Linearizable,
            run: Box::new(move |machine| reply.send(machine.err()).unwrap()),
            permit: ByteBudget::new(1).try_acquire(1).unwrap(),
        };
        self.sort(Work::Read(life, job));
        answer
    }

    fn hear(&mut self, life: Life) {
        let heartbeat = Prompt::Heartbeat {
            commit: LogIndex(0),
            round: ReadRound(0),
        };
        let message = raftyard_groups::Message {
            group: life.group,
            incarnation: life.incarnation,
            from: NodeId(2),
            to: NodeId(1),
            term: Term(1),
            body: Body::Prompt(heartbeat),
        };
        self.sort(Work::Messages(vec![message], InboundPermit::of_nothing()));
    }

    async fn end_life(&mut self, life: Life) {
        let (reply, ended) = oneshot::channel();
        self.sort(Work::End(life, reply));
        ended.await.unwrap();
    }

    /// How much work waits for the group at each place; none if the place is free.
    fn waiting(&self) -> Vec<Option<usize>> {
        let waiting = |local: &Option<Local>| local.as_ref().map(|local| local.work.len());
        self.groups.iter().map(waiting).collect()
    }
}

#[tokio::test]
async fn work_of_another_life_is_answered_and_places_are_used_again() {
    let test = async {
        let mut dispatcher = dispatcher().await;
        dispatcher.host(life(1, 1));
        dispatcher.host(life(2, 1));
        assert_eq!(dispatcher.waiting(), [Some(1), Some(1)], "each looks at its clock");
        let mut queued = dispatcher.propose(life(1, 1));
        dispatcher.end_life(life(1, 2)).await;
        assert_eq!(
            dispatcher.waiting(),
            [Some(2), Some(1)],
            "it is another life that ended"
        );
        dispatcher.end_life(life(1, 1)).await;
        assert_eq!(queued.try_recv(), Ok(Err(ProposeError::Closed)));
        assert_eq!(dispatcher.waiting(), [None, Some(1)]);
        assert_eq!(dispatcher.touched, [1]);
        let mut late = dispatcher.propose(life(1, 1));
        assert_eq!(late.try_recv(), Ok(Err(ProposeError::Closed)));
        let due = |dispatcher: &Dispatcher| -> Vec<usize> {
            let mut deadlines = dispatcher.shared.deadlines.borrow_mut();
            deadlines.due(Moment(u64::MAX - 1), 9)
        };
        dispatcher.shared.deadlines.borrow_mut().set(1, Moment(5));
        assert_eq!(due(&dispatcher), [1]);

        // In the place that became free: what was said to the life before is not for it.
        let slot = dispatcher.host(life(1, 2));
        assert_eq!(dispatcher.waiting(), [Some(1), Some(1)]);
        let (mut late, mut unread) = (dispatcher.propose(life(1, 1)), dispatcher.read(life(1, 1)));
        assert_eq!(late.try_recv(), Ok(Err(ProposeError::Closed)));
        assert_eq!(unread.try_recv(), Ok(Some(ReadError::Closed)));
        let seq = raftyard_groups::PersistSeq(1);
        dispatcher.sort(Work::Persisted(vec![(life(1, 1), seq)]));
        dispatcher.sort(Work::Continue(life(1, 1)));
        dispatcher.sort(Work::Unreadable(life(1, 1)));
        dispatcher.hear(life(1, 1));
        assert_eq!(
            (dispatcher.waiting(), slot.status.newer()),
            (vec![Some(1), Some(1)], None)
        );
        dispatcher.hear(life(1, 3));
        assert_eq!(dispatcher.waiting(), [Some(1), Some(1)]);
        assert_eq!(slot.status.newer(), Some(Incarnation(3)));
        dispatcher.hear(life(1, 2));
        assert_eq!(dispatcher.waiting(), [Some(2), Some(1)], "its own");
        for round in 3..100 {
            dispatcher.end_life(life(1, round - 1)).await;
            dispatcher.host(life(1, round));
        }
        assert_eq!(dispatcher.groups.len(), 2, "no place is left behind");
    };
    LocalSet::new().run_until(test).await;
}

/// What did not fit into a turn is refused like what queues: nothing came of it.
#[tokio::test]
async fn a_worker_that_stops_answers_what_it_was_asked_and_did_not_begin() {
    let test = async {
        let mut dispatcher = dispatcher().await;
        dispatcher.host(life(1, 1));
        let answers = [dispatcher.propose(life(1, 1)), dispatcher.propose(life(1, 1))];
        // The first waits in the group's work, the second in the backlog.
        let work = dispatcher.groups[0].as_mut().unwrap().work.pop();
        let Some(GroupWork::Propose(second)) = work else {
            panic!("it was proposed last");
        };
        dispatcher.backlog.push_back(Work::Propose(life(1, 1), second));
        // The rest of a turn that was cut short.
        dispatcher.in_turn = true;
        let address = dispatcher.start();
        address.send(Stop).await.unwrap();
        for answer in answers {
            assert_eq!(answer.await, Ok(Err(ProposeError::Closed)));
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn what_lets_a_group_do_nothing_waits_for_its_next_turn() {
    let test = async {
        let mut dispatcher = dispatcher().await;
        dispatcher.host(life(1, 1));
        let accepted = |term| raftyard_groups::Message {
            group: GroupId(1),
            incarnation: Incarnation(1),
            from: NodeId(2),
            to: NodeId(1),
            term: Term(term),
            body: Body::Promise(Promise::AppendAccepted {
                matched: LogIndex(3),
                session: None,
            }),
        };
        let end_turn = |dispatcher: &mut Dispatcher, own_writes, acknowledgements| {
            dispatcher.touched.clear();
            dispatcher.groups[0].as_mut().unwrap().take_work();
            dispatcher
                .shared
                .patience
                .borrow_mut()
                .set(0, own_writes, acknowledgements);
        };
        let durable = || Work::Persisted(vec![(life(1, 1), raftyard_groups::PersistSeq(1))]);
        let hear = |term| Work::Messages(vec![accepted(term)], InboundPermit::of_nothing());

        end_turn(&mut dispatcher, true, Some(Term(7)));
        dispatcher.sort(durable());
        dispatcher.sort(hear(7));
        assert_eq!((dispatcher.waiting(), dispatcher.touched.len()), (vec![Some(2)], 0));
        dispatcher.sort(hear(6));
        assert_eq!(
            (dispatcher.waiting(), dispatcher.touched.len()),
            (vec![Some(3)], 1),
            "of another term"
        );
        assert!(
            matches!(
                dispatcher.groups[0].as_mut().unwrap().take_work()[..],
                [GroupWork::Persisted(_), GroupWork::Message(_), GroupWork::Message(_)]
            ),
            "in the order in which it came"
        );

        for (own_writes, acknowledgements, work) in [(false, Some(Term(7)), durable()), (true, None, hear(7))] {
            end_turn(&mut dispatcher, own_writes, acknowledgements);
            dispatcher.sort(work);
            assert_eq!(dispatcher.touched, [0], "it can do something");
        }
        end_turn(&mut dispatcher, true, Some(Term(7)));
        (0..=WAITING_MAX).for_each(|_| dispatcher.sort(hear(7)));
        assert_eq!(dispatcher.touched, [0], "no more is kept");
    };
    LocalSet::new().run_until(test).await;
}

/// Each of them says of what it led that it does no more.
#[tokio::test]
async fn a_store_that_failed_stops_all_groups_but_not_in_one_turn() {
    let test = async {
        let mut dispatcher = dispatcher().await;
        for group in 1..=2 * GROUPS_PER_TURN as u64 + 10 {
            dispatcher.host(life(group, 1));
        }
        let take_all = |dispatcher: &mut Dispatcher| -> Vec<GroupWork> {
            let touched = std::mem::take(&mut dispatcher.touched);
            let work = |position: usize| dispatcher.groups[position].as_mut().unwrap().take_work();
            touched.into_iter().flat_map(work).collect()
        };
        take_all(&mut dispatcher);
        let (mut turns, mut next) = (Vec::new(), Some(Work::StorageFailed(0)));
        while let Some(work) = next {
            dispatcher.sort(work);
            let told = take_all(&mut dispatcher);
            assert!(told.iter().all(|work| matches!(work, GroupWork::Quarantine(_))));
            turns.push(told.len());
            next = dispatcher.backlog.pop_front();
        }
        assert_eq!(turns, [GROUPS_PER_TURN, GROUPS_PER_TURN, 10]);
    };
    LocalSet::new().run_until(test).await;
}

/// What node 1 knows once it grants a session to node 2.
fn granting() -> Sessions {
    let node = |id| {
        let incarnation = NodeIncarnation { boot: id, random: id };
        let mut node = Liveness::new(LivenessConfig::new(NodeId(id), incarnation), Moment(0));
        node.set_peers([NodeId(1), NodeId(2)], Moment(0));
        node
    };
    let (mut one, mut two) = (node(1), node(2));
    for round in 0..2 {
        let now = Moment(round * 100);
        let (mut heartbeats, mut replies) = (LivenessEffects::default(), LivenessEffects::default());
        two.tick(now, |_| true, &mut heartbeats);
        for (_, heartbeat) in heartbeats.send {
            one.on_message(now, NodeId(2), heartbeat, &mut replies);
        }
        for (_, reply) in replies.send {
            two.on_message(now, NodeId(1), reply, &mut LivenessEffects::default());
        }
    }
    assert!(one.sessions().granted(NodeId(2)).is_some());
    one.sessions()
}

#[tokio::test]
async fn what_a_replica_promised_binds_the_one_that_comes_in_its_place() {
    let test = async {
        let mut dispatcher = dispatcher().await;
        dispatcher.shared.board.publish(granting());
        dispatcher.shared.look_at_board();
        let session = granting().granted(NodeId(2)).unwrap();
        let promise = |session| PromiseRecord {
            leader: NodeId(2),
            session,
            term: Term(3),
        };
        let older = raftyard_groups::SessionId { counter: 0, ..session };
        for (group, session) in [(1, session), (2, session), (3, older)] {
            dispatcher.shared.keep_promise(life(group, 1), promise(session));
        }
        let take = |dispatcher: &Dispatcher, life| dispatcher.shared.take_promise(life);
        assert_eq!(take(&dispatcher, life(1, 1)), Some(promise(session)));
        assert_eq!(take(&dispatcher, life(1, 1)), None, "handed on");
        assert_eq!(take(&dispatcher, life(3, 1)), None, "its session has ended");
        dispatcher.note_pairs(&[]);
        assert_eq!(dispatcher.shared.promises.borrow().len(), 1, "the one that still binds");
        assert_eq!(take(&dispatcher, life(2, 2)), None, "of another incarnation");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn who_resigned_to_a_replica_that_is_gone_is_answered_and_frees_what_that_promised() {
    let test = async {
        let mut dispatcher = dispatcher().await;
        dispatcher.shared.board.publish(granting());
        dispatcher.shared.look_at_board();
        let session = granting().granted(NodeId(2)).unwrap();
        let promise = PromiseRecord {
            leader: NodeId(2),
            session,
            term: Term(3),
        };
        for group in 1..=3 {
            dispatcher.shared.keep_promise(life(group, 1), promise);
        }
        let resigned = |group, incarnation, term| raftyard_groups::Message {
            group: GroupId(group),
            incarnation: Incarnation(incarnation),
            from: NodeId(2),
            to: NodeId(1),
            term: Term(term),
            body: Body::Prompt(Prompt::Resigned),
        };
        let heard = [resigned(1, 1, 3), resigned(2, 1, 2), resigned(3, 2, 3)];
        dispatcher.sort(Work::Messages(heard.to_vec(), InboundPermit::of_nothing()));
        let told = heard.map(|heard| raftyard_groups::Message {
            from: NodeId(1),
            to: NodeId(2),
            body: Body::Prompt(Prompt::ResignedAck),
            ..heard
        });
        assert_eq!(dispatcher.shared.output.borrow().send, told);
        let take = |group| dispatcher.shared.take_promise(life(group, 1));
        assert_eq!(take(1), None);
        assert_eq!(take(2), Some(promise), "another term was resigned");
        assert_eq!(take(3), Some(promise), "in another incarnation");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn who_still_follows_a_replica_that_is_gone_is_told() {
    let test = async {
        let mut dispatcher = dispatcher().await;
        dispatcher.host(life(1, 2));
        let accepted = |group, incarnation| raftyard_groups::Message {
            group: GroupId(group),
            incarnation: Incarnation(incarnation),
            from: NodeId(2),
            to: NodeId(1),
            term: Term(7),
            body: Body::Promise(Promise::AppendAccepted {
                matched: LogIndex(3),
                session: Some(raftyard_groups::SessionId::default()),
            }),
        };
        let told = [accepted(1, 1), accepted(5, 1)].map(|heard| raftyard_groups::Message {
            from: NodeId(1),
            to: NodeId(2),
            body: Body::Prompt(Prompt::Resigned),
            ..heard
        });
        let messages = vec![accepted(1, 1), accepted(1, 2), accepted(5, 1)];
        dispatcher.sort(Work::Messages(messages, InboundPermit::of_nothing()));
        assert_eq!(
            dispatcher.shared.output.borrow().send,
            told,
            "the one that is here answers itself"
        );
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_rests_while_nothing_is_due_and_gets_up_for_what_is() {
    let test = async {
        let dispatcher = dispatcher().await;
        let (shared, inbox) = (dispatcher.shared.clone(), dispatcher.inbox.clone());
        let address = dispatcher.start();
        let ticks = async || {
            let before = shared.counters.ticks.get();
            tokio::time::sleep(Duration::from_millis(1_000)).await;
            shared.counters.ticks.get() - before
        };
        ticks().await;
        assert_eq!(ticks().await, 10, "it shows that it does not stand still");

        let soon = shared.clock.now().plus(50);
        shared.deadlines.borrow_mut().set(0, soon);
        inbox.push(Work::StoreFull(false));
        assert!(
            (99..=100).contains(&ticks().await),
            "something may be due at the next tick"
        );
        address.send(Stop).await.unwrap();
    };
    LocalSet::new().run_until(test).await;
}
