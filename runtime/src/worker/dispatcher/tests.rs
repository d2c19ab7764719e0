//! A dispatcher between its turns.

mod fair;

use super::super::{Proposal, Purpose, ReadJob};
use super::*;
use crate::budget::ByteBudget;
use crate::clock::MonotonicClock;
use crate::error::{ProposeError, ReadError};
use crate::group::Consistency;
use crate::machine::{Answer, ROOM, Typed};
use crate::registry::StatusCell;
use crate::router::Router;
use crate::tenancy::Tenancy;
use crate::transport;
use crate::witness::Witness;
use raftyard_groups::{
    Body, Incarnation, Membership, NodeId, Prompt, ReadRound, Recovered, ReplicaConfig, Term, Tuning,
};
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
    let handle = transport::nowhere(Router::new(vec![inbox.clone()], snapshots.clone())).await;
    let shared = Shared::new(
        Arc::new(MonotonicClock::default()),
        Limits::default(),
        Arc::new(Counters::default()),
        snapshots,
        Compaction::default(),
    );
    Dispatcher::new(0, inbox, Arc::new(Inbox::new()), handle, shared)
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
                membership: Membership::of_voters([node, NodeId(2)]).unwrap(),
                tuning: Tuning::default(),
                seed: 1,
                priority: 0,
            },
            recovered: Recovered::default(),
            machine: Box::new(Typed::new(Witness)),
            snapshot: None,
            unsynced: false,
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
            commit: raftyard_groups::LogIndex(0),
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
        self.sort(Work::Messages(vec![message], None));
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
            let deadlines = dispatcher.shared.deadlines.borrow();
            deadlines.due(raftyard_groups::Moment(u64::MAX - 1)).collect()
        };
        dispatcher
            .shared
            .deadlines
            .borrow_mut()
            .set(1, raftyard_groups::Moment(5));
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
