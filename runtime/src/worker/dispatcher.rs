//! The dispatcher of a worker: takes turns.
//!
//! A turn: take all that queued, hand each group its part (a message on the same thread), and, once they
//! all ran, give the storage one batch and each peer one. Until a turn ends the inbox wakes nobody, so what
//! comes meanwhile makes the next turn larger instead of more frequent.

use super::fair::{Line, Lines};
use super::group_actor::{End, Ended, GroupActor};
use super::patience::Patience;
use super::shared::Shared;
use super::ticker::Ticker;
use super::turn::{GroupWork, Turn};
use super::{Create, Work};
use crate::inbox::Inbox;
use crate::life::Life;
use crate::quarantine::QuarantineReason;
use crate::registry::{GroupSlot, IdMap};
use crate::storage::StorageWork;
use crate::transport::TransportHandle;
use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message};
use raftyard_groups::{Body, GroupId, Moment, PairEvent, Promise, Prompt};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;

/// What of a group waits for its next turn at most, before it gets one.
const WAITING_MAX: usize = 8;
/// Groups in a turn, about: what is for others comes in the next. So a turn never takes long, however many groups
/// have work: a node of which a worker stands still for half a promise counts as dead.
const GROUPS_PER_TURN: usize = 1_024;

pub(crate) struct Dispatcher {
    worker: usize,
    inbox: Arc<Inbox<Work>>,
    storage: Arc<Inbox<StorageWork>>,
    transport: TransportHandle,
    pub(super) shared: Rc<Shared>,
    /// By position. One whose group is gone is free for the next.
    pub(super) groups: Vec<Option<Local>>,
    free: Vec<usize>,
    positions: IdMap<GroupId, usize>,
    /// Groups that have work in the turn that is being put together.
    pub(super) touched: Vec<usize>,
    /// Requests that did not fit into a turn.
    pub(super) lines: Lines,
    /// Memory for what is taken from the inbox.
    taken: Vec<Work>,
    /// What was taken from it and did not fit into a turn: comes before all that is in the inbox.
    backlog: VecDeque<Work>,
    in_turn: bool,
    /// Deadlines have to be looked at. Noted by the ticker, acted on when the next turn starts: on a busy
    /// worker one turn follows the other, and none would ever have the time.
    ticked: bool,
    ticker: Ticker,
    /// Of the whole node, so of replicas that are created later too.
    storage_failed: bool,
}

/// A group of this worker.
pub(super) struct Local {
    actor: Addr<GroupActor>,
    pub(super) slot: Arc<GroupSlot>,
    /// What its next turn brings.
    pub(super) work: Vec<GroupWork>,
    /// It has a turn in the one that is being put together. (If not, its work can wait.)
    pub(super) is_touched: bool,
    pub(super) line: Line,
}

impl Local {
    /// What its turn brings: it has one.
    fn take_work(&mut self) -> Vec<GroupWork> {
        self.is_touched = false;
        std::mem::take(&mut self.work)
    }
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
    /// It shows on the board at least every `rest_ms` that it does not stand still.
    pub(crate) fn new(
        worker: usize,
        inbox: Arc<Inbox<Work>>,
        storage: Arc<Inbox<StorageWork>>,
        transport: TransportHandle,
        shared: Shared,
        rest_ms: u64,
    ) -> Self {
        Self {
            worker,
            inbox,
            storage,
            transport,
            shared: Rc::new(shared),
            groups: Vec::new(),
            free: Vec::new(),
            positions: IdMap::default(),
            touched: Vec::new(),
            lines: Lines::default(),
            taken: Vec::new(),
            backlog: VecDeque::new(),
            in_turn: false,
            ticked: false,
            ticker: Ticker::new(rest_ms),
            storage_failed: false,
        }
    }

    /// Takes all that queued and lets every group that has work run once. The turn ends when they all ran.
    fn start_turn(&mut self, ctx: &mut Context<Self>) {
        self.in_turn = true;
        let mut taken = std::mem::take(&mut self.taken);
        self.inbox.take(&mut taken);
        self.shared.look_at_board();
        self.backlog.extend(taken.drain(..));
        self.taken = taken;
        while self.touched.len() < GROUPS_PER_TURN
            && let Some(work) = self.backlog.pop_front()
        {
            self.sort(work);
        }
        if std::mem::take(&mut self.ticked) {
            self.give_ticks();
        }
        self.share_out();
        self.run_touched(ctx);
    }

    fn run_touched(&mut self, ctx: &mut Context<Self>) {
        let is_behind = self.touched.len() > GROUPS_PER_TURN / 2 || !self.backlog.is_empty();
        self.shared.elections.borrow_mut().set_behind(is_behind);
        self.shared.is_contended.set(self.touched.len() > 1);
        self.shared.counters.group_turns.add(self.touched.len() as u64);
        for position in self.touched.drain(..) {
            if let Some(Some(local)) = self.groups.get_mut(position) {
                let turn = Turn(local.take_work());
                local.actor.do_send(turn);
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
            Work::End(life, ended) => {
                self.end(life, Ended(Some(ended)));
            }
            Work::Messages(mut messages, permit) => {
                let rest = messages.split_off(messages.len().min(GROUPS_PER_TURN));
                for message in messages {
                    self.give_message(message);
                }
                if rest.is_empty() {
                    if permit.until_durable {
                        self.shared.output.borrow_mut().permits.push(permit);
                    }
                } else {
                    self.backlog.push_front(Work::Messages(rest, permit));
                }
            }
            Work::Persisted(mut groups) => {
                let rest = groups.split_off(groups.len().min(GROUPS_PER_TURN));
                let is_patient = |patience: &Patience, at| patience.for_own_writes(at);
                for (life, seq) in groups {
                    self.give_patiently(life, GroupWork::Persisted(seq), is_patient);
                }
                if !rest.is_empty() {
                    self.backlog.push_front(Work::Persisted(rest));
                }
            }
            Work::Loaded(loaded) => self.give(loaded.life, GroupWork::Loaded(loaded)),
            Work::Propose(life, proposal) => self.ask(life, GroupWork::Propose(proposal)),
            Work::Read(life, job) => self.ask(life, GroupWork::Read(job)),
            Work::ProposeMany(life, proposals) => self.ask(life, GroupWork::ProposeMany(proposals)),
            Work::Snapshot(life, event) => self.give(life, GroupWork::Snapshot(event)),
            Work::Transfer(life, transfer) => self.give(life, GroupWork::Transfer(transfer)),
            Work::Change(life, change) => self.give(life, GroupWork::Change(change)),
            Work::Progress(life, reply) => self.give(life, GroupWork::Progress(reply)),
            Work::Export(life, export) => self.give(life, GroupWork::Export(export)),
            Work::Continue(life) => self.give(life, GroupWork::Tick),
            Work::Unreadable(life) => self.give(life, GroupWork::Quarantine(QuarantineReason::LogDamaged)),
            Work::Pairs(events) => self.note_pairs(&events),
            Work::StoreFull(is_full) => self.shared.is_store_full.set(is_full),
            Work::StorageFailed(from) => {
                self.storage_failed = true;
                let end = from.saturating_add(GROUPS_PER_TURN).min(self.groups.len());
                for position in from..end {
                    self.give_at(position, GroupWork::Quarantine(QuarantineReason::StoreFailed));
                }
                if end < self.groups.len() {
                    self.backlog.push_front(Work::StorageFailed(end));
                }
            }
        }
    }

    fn give(&mut self, life: Life, work: GroupWork) {
        match self.position(life) {
            Some(position) => self.give_at(position, work),
            None => self.refuse(work),
        }
    }

    /// As [`give`](Self::give), for what clients ask: it waits if there is too much of it.
    fn ask(&mut self, life: Life, request: GroupWork) {
        match self.position(life) {
            Some(position) => self.give_request(position, request),
            None => self.refuse(request),
        }
    }

    fn refuse(&self, work: GroupWork) {
        self.shared.counters.strays.add(1);
        work.refuse();
    }

    /// Hands on what a peer says to the very life of a group that is here. One of a later life tells that the
    /// group goes on without this replica.
    fn give_message(&mut self, message: raftyard_groups::Message) {
        let life = Life {
            group: message.group,
            incarnation: message.incarnation,
        };
        if let Some(local) = self
            .positions
            .get(&life.group)
            .and_then(|at| self.groups.get(*at)?.as_ref())
            && local.slot.incarnation < life.incarnation
            && local.slot.status.note_newer(life.incarnation)
        {
            let here = local.slot.incarnation.0;
            let (group, peer, there) = (life.group.0, message.from.0, life.incarnation.0);
            tracing::warn!(
                group,
                here,
                peer,
                there,
                "the group goes on elsewhere in a newer incarnation"
            );
        }
        let is_ack = message.body == Body::Prompt(Prompt::ResignedAck);
        if is_ack || self.position(life).is_none() {
            self.shared.answer_in_place(&message);
        }
        if matches!(message.body, Body::Promise(Promise::AppendAccepted { .. })) {
            let term = message.term;
            let is_patient = |patience: &Patience, at| patience.for_acknowledgements(at, term);
            self.give_patiently(life, GroupWork::Message(message), is_patient);
        } else {
            self.give(life, GroupWork::Message(message));
        }
    }

    /// As [`give`](Self::give), for what can wait for the group's next turn if the group `is_patient`.
    fn give_patiently(&mut self, life: Life, work: GroupWork, is_patient: impl Fn(&Patience, usize) -> bool) {
        let Some(position) = self.position(life) else {
            return self.refuse(work);
        };
        match self.groups.get_mut(position) {
            Some(Some(local))
                if local.work.len() < WAITING_MAX && is_patient(&self.shared.patience.borrow(), position) =>
            {
                local.work.push(work);
            }
            _ => self.give_at(position, work),
        }
    }

    fn position(&self, life: Life) -> Option<usize> {
        let position = *self.positions.get(&life.group)?;
        let local = self.groups.get(position)?.as_ref()?;
        (local.slot.incarnation == life.incarnation).then_some(position)
    }

    pub(super) fn give_at(&mut self, position: usize, work: GroupWork) {
        if let Some(Some(local)) = self.groups.get_mut(position) {
            if !std::mem::replace(&mut local.is_touched, true) {
                self.touched.push(position);
            }
            local.work.push(work);
        }
    }

    fn create(&mut self, mut create: Create) {
        let (slot, campaign) = (create.slot.clone(), create.campaign);
        create.recovered.promise = self.shared.take_promise(slot.life());
        let position = self.free.pop().unwrap_or_else(|| {
            self.groups.push(None);
            self.groups.len() - 1
        });
        self.positions.insert(slot.group, position);
        let actor = GroupActor::new(create, self.shared.clone(), position).start();
        if let Some(place) = self.groups.get_mut(position) {
            *place = Some(Local {
                actor,
                slot,
                work: Vec::new(),
                is_touched: false,
                line: Line::default(),
            });
        }
        self.give_at(position, if campaign { GroupWork::Campaign } else { GroupWork::Tick });
        if self.storage_failed {
            self.give_at(position, GroupWork::Quarantine(QuarantineReason::StoreFailed));
        }
    }

    /// Ends a replica. It has no turn now, and what it wanted done in earlier ones was handed on.
    fn end(&mut self, life: Life, ended: Ended) {
        let Some(position) = self.position(life) else {
            return;
        };
        self.positions.remove(&life.group);
        self.touched.retain(|touched| *touched != position);
        self.lines.forget(position);
        self.shared.deadlines.borrow_mut().clear(position);
        self.shared.patience.borrow_mut().clear(position);
        self.shared.sleepers.borrow_mut().clear(position);
        self.shared.elections.borrow_mut().clear(position);
        self.free.push(position);
        if let Some(local) = self.groups.get_mut(position).and_then(Option::take) {
            let waiting = local.work.into_iter().chain(local.line.into_requests());
            waiting.for_each(GroupWork::refuse);
            // Dropped with its proposals, whose outcome nobody knows then.
            local.actor.do_send(End(ended));
        }
    }

    /// Time has passed: groups whose deadline has come need a turn.
    pub(super) fn tick(&mut self, ctx: &mut Context<Self>) {
        self.shared.board.worker_moved(self.worker, self.shared.clock.now());
        self.shared.counters.ticks.add(1);
        if self.in_turn {
            self.ticked = true;
        } else {
            self.tick_between_turns(ctx);
        }
        self.ticker.wait(self.can_rest(), ctx);
    }

    /// Whether nothing can be due for as long as a rest takes.
    fn can_rest(&self) -> bool {
        let soon = self.shared.clock.now().plus(self.ticker.rest_ms());
        !self.in_turn
            && !self.shared.deadlines.borrow().is_any_before(soon)
            && self.shared.elections.borrow().is_idle()
            && self.shared.resignations.borrow().is_empty()
    }

    fn tick_between_turns(&mut self, ctx: &mut Context<Self>) {
        self.shared.look_at_board();
        self.give_ticks();
        let has_to_say = !self.shared.output.borrow().send.is_empty();
        if has_to_say || !self.touched.is_empty() {
            self.in_turn = true;
            self.run_touched(ctx);
        }
    }

    /// Groups that sleep on a node with which something changed have to look, soon, but not all at once. What woke
    /// them before is not put off.
    fn note_pairs(&mut self, events: &[PairEvent]) {
        let now = self.shared.clock.now();
        let (sleepers, mut deadlines) = (self.shared.sleepers.borrow(), self.shared.deadlines.borrow_mut());
        for event in events {
            for (position, moment) in sleepers.woken_by(event, now) {
                deadlines.bring_forward(position, moment);
            }
        }
        drop((sleepers, deadlines));
        self.shared.forget_promises();
        self.shared.elections.borrow_mut().hope();
        // The first of them in this turn.
        self.ticked = true;
    }

    fn give_ticks(&mut self) {
        let now = self.shared.clock.now();
        let due = self.shared.deadlines.borrow_mut().due(now, GROUPS_PER_TURN);
        self.shared.counters.timers.add(due.len() as u64);
        for position in due {
            self.give_at(position, GroupWork::Tick);
        }
        self.shared.repeat_resignations(now);
        self.shared.elections.borrow_mut().tick(now);
        self.let_campaign(now);
    }

    /// Gives a turn to those who may campaign now.
    fn let_campaign(&mut self, now: Moment) {
        loop {
            // Not held while the group is given its turn.
            let next = self.shared.elections.borrow_mut().next(now);
            let Some((position, is_hopeful)) = next else {
                return;
            };
            self.give_at(position, GroupWork::Elect { is_hopeful });
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
        let persist = output
            .persist
            .drain(..)
            .map(|(incarnation, persist)| StorageWork::Persist(incarnation, persist));
        let load = output
            .load
            .drain(..)
            .map(|(life, load)| StorageWork::Load { worker, life, load });
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
        self.ticker.wait(false, ctx);
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
        self.shared.board.worker_moved(self.worker, self.shared.clock.now());
        self.hand_on();
        self.in_turn = false;
        self.let_campaign(self.shared.clock.now());
        // What did not fit into the turn is in the next one, with what came meanwhile.
        let is_rest = !self.touched.is_empty() || !self.backlog.is_empty() || !self.lines.is_empty();
        if is_rest || self.inbox.end_turn() {
            self.start_turn(ctx);
        } else if self.ticker.is_at_rest() && !self.can_rest() {
            self.ticker.get_up(ctx);
        }
    }
}

impl Handler<Stop> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        for local in self.groups.drain(..).flatten() {
            let waiting = local.work.into_iter().chain(local.line.into_requests());
            waiting.for_each(GroupWork::refuse);
            local.actor.do_send(Stop);
        }
        self.positions.clear();
        self.backlog.drain(..).for_each(Work::refuse);
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
