//! The dispatcher of a worker: takes turns.
//!
//! A turn: take all that queued, hand each group its part (a message on the same thread), and, once they
//! all ran, give the storage one batch and each peer one. Until a turn ends the inbox wakes nobody, so what
//! comes meanwhile makes the next turn larger instead of more frequent.

use super::deadlines::Deadlines;
use super::group_actor::GroupActor;
use super::turn::{GroupWork, Turn, TurnOutput};
use super::{Create, Work};
use crate::clock::Clock;
use crate::inbox::Inbox;
use crate::limits::Limits;
use crate::metrics::Counters;
use crate::registry::IdMap;
use crate::snapshot::{Compaction, SnapshotWork};
use crate::storage::StorageWork;
use crate::transport::TransportHandle;
use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message};
use raftyard_groups::GroupId;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How often deadlines are looked at: the grain of every timeout.
const TICK: Duration = Duration::from_millis(10);

/// What a dispatcher and its groups share: on one thread, so without locks.
pub(crate) struct Shared {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Limits,
    pub(crate) counters: Arc<Counters>,
    pub(crate) snapshots: Arc<Inbox<SnapshotWork>>,
    pub(crate) compaction: Compaction,
    pub(crate) output: RefCell<TurnOutput>,
    pub(crate) deadlines: RefCell<Deadlines>,
}

impl Shared {
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        limits: Limits,
        counters: Arc<Counters>,
        snapshots: Arc<Inbox<SnapshotWork>>,
        compaction: Compaction,
    ) -> Self {
        Self {
            clock,
            limits,
            counters,
            snapshots,
            compaction,
            output: RefCell::default(),
            deadlines: RefCell::default(),
        }
    }
}

pub(crate) struct Dispatcher {
    worker: usize,
    inbox: Arc<Inbox<Work>>,
    storage: Arc<Inbox<StorageWork>>,
    transport: TransportHandle,
    shared: Rc<Shared>,
    groups: Vec<Local>,
    positions: IdMap<GroupId, usize>,
    /// Groups that have work in the turn that is being put together.
    touched: Vec<usize>,
    /// Memory for what is taken from the inbox.
    taken: Vec<Work>,
    in_turn: bool,
    /// Deadlines have to be looked at. Noted by the ticker, acted on when the next turn starts: on a busy
    /// worker one turn follows the other, and none would ever have the time.
    ticked: bool,
    /// Of the whole node, so of replicas that are created later too.
    storage_failed: bool,
}

/// A group of this worker.
struct Local {
    actor: Addr<GroupActor>,
    work: Vec<GroupWork>,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Wake;

#[derive(Message)]
#[rtype(result = "()")]
struct EndTurn;

/// Ends the dispatcher and all groups of its worker.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Stop;

impl Dispatcher {
    pub(crate) fn new(
        worker: usize,
        inbox: Arc<Inbox<Work>>,
        storage: Arc<Inbox<StorageWork>>,
        transport: TransportHandle,
        shared: Shared,
    ) -> Self {
        Self {
            worker,
            inbox,
            storage,
            transport,
            shared: Rc::new(shared),
            groups: Vec::new(),
            positions: IdMap::default(),
            touched: Vec::new(),
            taken: Vec::new(),
            in_turn: false,
            ticked: false,
            storage_failed: false,
        }
    }

    /// Takes all that queued and lets every group that has work run once. The turn ends when they all ran.
    fn start_turn(&mut self, ctx: &mut Context<Self>) {
        self.in_turn = true;
        let mut taken = std::mem::take(&mut self.taken);
        self.inbox.take(&mut taken);
        for work in taken.drain(..) {
            self.sort(work);
        }
        self.taken = taken;
        if std::mem::take(&mut self.ticked) {
            self.give_ticks();
        }
        self.run_touched(ctx);
    }

    fn run_touched(&mut self, ctx: &mut Context<Self>) {
        for position in self.touched.drain(..) {
            if let Some(local) = self.groups.get_mut(position) {
                local.actor.do_send(Turn(std::mem::take(&mut local.work)));
            }
        }
        // The groups are scheduled by now. A task spawned after them runs after them, whatever becomes of
        // them; a message to this actor itself would be handled before they get to run.
        let dispatcher = ctx.address();
        actix_rt::spawn(async move { dispatcher.do_send(EndTurn) });
    }

    fn sort(&mut self, work: Work) {
        match work {
            Work::Create(create) => self.create(*create),
            Work::Messages(messages, permit) => {
                for message in messages {
                    self.give(message.group, GroupWork::Message(message));
                }
                self.shared.output.borrow_mut().permits.extend(permit);
            }
            Work::Persisted(groups) => {
                for (group, seq) in groups {
                    self.give(group, GroupWork::Persisted(seq));
                }
            }
            Work::Loaded(loaded) => self.give(loaded.group, GroupWork::Loaded(loaded)),
            // For a group that is not here these drop the sender's other end, which tells it so.
            Work::Propose(group, proposal) => self.give(group, GroupWork::Propose(proposal)),
            Work::Read(group, job) => self.give(group, GroupWork::Read(job)),
            Work::Snapshot(group, event) => self.give(group, GroupWork::Snapshot(event)),
            Work::Transfer(group, transfer) => self.give(group, GroupWork::Transfer(transfer)),
            Work::Continue(group) => self.give(group, GroupWork::Tick),
            Work::Unreadable(group) => self.give(group, GroupWork::Halt("its log is damaged")),
            Work::StorageFailed => {
                self.storage_failed = true;
                for position in 0..self.groups.len() {
                    self.give_at(position, GroupWork::Halt("the store failed"));
                }
            }
        }
    }

    fn give(&mut self, group: GroupId, work: GroupWork) {
        match self.positions.get(&group) {
            Some(position) => self.give_at(*position, work),
            None => self.shared.counters.strays.add(1),
        }
    }

    fn give_at(&mut self, position: usize, work: GroupWork) {
        if let Some(local) = self.groups.get_mut(position) {
            if local.work.is_empty() {
                self.touched.push(position);
            }
            local.work.push(work);
        }
    }

    fn create(&mut self, create: Create) {
        let (group, campaign, position) = (create.config.group, create.campaign, self.groups.len());
        let actor = GroupActor::new(create, self.shared.clone(), position).start();
        self.groups.push(Local {
            actor,
            work: Vec::new(),
        });
        self.positions.insert(group, position);
        self.give_at(position, if campaign { GroupWork::Campaign } else { GroupWork::Tick });
        if self.storage_failed {
            self.give_at(position, GroupWork::Halt("the store failed"));
        }
    }

    /// Time has passed: groups whose deadline has come need a turn.
    fn tick(&mut self, ctx: &mut Context<Self>) {
        if self.in_turn {
            self.ticked = true;
            return;
        }
        self.give_ticks();
        if !self.touched.is_empty() {
            self.in_turn = true;
            self.run_touched(ctx);
        }
    }

    fn give_ticks(&mut self) {
        let now = self.shared.clock.now();
        let due: Vec<usize> = self.shared.deadlines.borrow().due(now).collect();
        for position in due {
            self.give_at(position, GroupWork::Tick);
        }
    }

    /// Hands on what the turn's groups want done.
    fn hand_on(&mut self) {
        let output = &mut *self.shared.output.borrow_mut();
        self.shared.counters.turns.add(1);
        if !output.send.is_empty() {
            self.transport.send(&output.send);
            output.send.clear();
        }
        let worker = self.worker;
        let persist = output.persist.drain(..).map(StorageWork::Persist);
        let load = output
            .load
            .drain(..)
            .map(|(group, load)| StorageWork::Load { worker, group, load });
        // The permits go last: they are dropped once all before them is durable.
        let permits = (!output.permits.is_empty()).then(|| StorageWork::Release(std::mem::take(&mut output.permits)));
        self.storage.push_all(persist.chain(load).chain(permits));
        if !output.again.is_empty() {
            self.inbox.push_all(output.again.drain(..).map(Work::Continue));
        }
    }
}

impl Actor for Dispatcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let dispatcher = ctx.address();
        self.inbox.connect(move || dispatcher.do_send(Wake));
        ctx.run_interval(TICK, Self::tick);
    }
}

impl Handler<Wake> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Context<Self>) {
        // During a turn that the ticker began the end of that turn looks into the inbox.
        if !self.in_turn {
            self.start_turn(ctx);
        }
    }
}

impl Handler<EndTurn> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: EndTurn, ctx: &mut Context<Self>) {
        self.hand_on();
        self.in_turn = false;
        if self.inbox.end_turn() {
            self.start_turn(ctx);
        }
    }
}

impl Handler<Stop> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        for local in self.groups.drain(..) {
            local.actor.do_send(Stop);
        }
        self.positions.clear();
        self.inbox.close();
        ctx.stop();
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        // However it ends: nobody must wait for an answer from an inbox that nobody empties.
        self.inbox.close();
    }
}
