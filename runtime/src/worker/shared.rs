//! What a dispatcher and its groups share.

use super::deadlines::Deadlines;
use super::elections::Elections;
use super::patience::Patience;
use super::resignations::Resignations;
use super::sleepers::Sleepers;
use super::turn::TurnOutput;
use crate::clock::Clock;
use crate::inbox::Inbox;
use crate::life::Life;
use crate::limits::Limits;
use crate::liveness::Board;
use crate::metrics::Counters;
use crate::registry::IdMap;
use crate::snapshot::{Compaction, SnapshotWork};
use raftyard_groups::{Body, Effects, GroupId, Incarnation, Input, Message, Moment, PromiseRecord, Prompt, Sessions};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// On one thread, so without locks.
pub(crate) struct Shared {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Limits,
    pub(crate) counters: Arc<Counters>,
    pub(crate) snapshots: Arc<Inbox<SnapshotWork>>,
    pub(crate) compaction: Rc<Compaction>,
    pub(crate) output: RefCell<TurnOutput>,
    /// What the group wants done whose turn it is; of nobody between turns. Here, since one group after the other
    /// uses the same memory then.
    pub(crate) effects: RefCell<Effects>,
    /// Memory for what a group is told in a turn; empty between turns.
    pub(crate) inputs: Cell<Vec<Input>>,
    pub(crate) deadlines: RefCell<Deadlines>,
    pub(crate) patience: RefCell<Patience>,
    pub(crate) elections: RefCell<Elections>,
    /// Other groups have work in this turn too.
    pub(crate) is_contended: Cell<bool>,
    /// The log store finds no room for what is to be written.
    pub(crate) is_store_full: Cell<bool>,
    pub(crate) sleepers: RefCell<Sleepers>,
    pub(crate) resignations: RefCell<Resignations>,
    /// What replicas promised that are gone or stopped for good: it binds those that take their places.
    pub(super) promises: RefCell<IdMap<GroupId, (Incarnation, PromiseRecord)>>,
    pub(super) board: Arc<Board>,
    /// What was on the board when the turn began, after its work was taken: what changes later comes as work for a
    /// later turn, and finds who fell asleep meanwhile.
    sessions: RefCell<Sessions>,
    #[cfg(feature = "sim")]
    pub(crate) watch: Option<crate::sim::Watch>,
}

impl Shared {
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        limits: Limits,
        counters: Arc<Counters>,
        snapshots: Arc<Inbox<SnapshotWork>>,
        compaction: Compaction,
        board: Arc<Board>,
    ) -> Self {
        Self {
            clock,
            limits,
            counters,
            snapshots,
            compaction: Rc::new(compaction),
            output: RefCell::default(),
            effects: RefCell::default(),
            inputs: Cell::default(),
            deadlines: RefCell::default(),
            patience: RefCell::default(),
            elections: RefCell::default(),
            is_contended: Cell::default(),
            is_store_full: Cell::default(),
            sleepers: RefCell::default(),
            resignations: RefCell::default(),
            promises: RefCell::default(),
            sessions: RefCell::new(board.sessions()),
            board,
            #[cfg(feature = "sim")]
            watch: None,
        }
    }

    /// What this turn's groups go by.
    pub(crate) fn sessions(&self) -> Sessions {
        self.sessions.borrow().clone()
    }

    pub(super) fn look_at_board(&self) {
        *self.sessions.borrow_mut() = self.board.sessions();
    }

    /// Answers a message in the place of a replica that can't.
    pub(crate) fn answer_in_place(&self, message: &Message) {
        if message.body == Body::Prompt(Prompt::Resigned) {
            self.free_promise(message);
        }
        let answer = self.resignations.borrow_mut().hear(message);
        self.output.borrow_mut().send.extend(answer);
    }

    /// Says again what replicas that are gone owe.
    pub(super) fn repeat_resignations(&self, now: Moment) {
        let due = self.resignations.borrow_mut().due(now, &self.sessions.borrow());
        self.output.borrow_mut().send.extend(due);
    }

    /// Takes what a replica of this life promised before, if that still binds.
    pub(super) fn take_promise(&self, life: Life) -> Option<PromiseRecord> {
        let (incarnation, promise) = self.promises.borrow_mut().remove(&life.group)?;
        let sessions = self.sessions.borrow();
        let binds = incarnation == life.incarnation && sessions.is_live(promise.leader, promise.session);
        binds.then_some(promise)
    }

    /// What a replica promised binds whoever comes in its place.
    pub(super) fn keep_promise(&self, life: Life, promise: PromiseRecord) {
        let kept = (life.incarnation, promise);
        self.promises.borrow_mut().insert(life.group, kept);
    }

    /// The leader that it was given to resigned that very term: it is free, as the replica itself would be.
    fn free_promise(&self, resigned: &Message) {
        let promises = &mut *self.promises.borrow_mut();
        let given_so = |(incarnation, promise): &(Incarnation, PromiseRecord)| {
            let from = (promise.leader, promise.term);
            *incarnation == resigned.incarnation && from == (resigned.from, resigned.term)
        };
        if promises.get(&resigned.group).is_some_and(given_so) {
            promises.remove(&resigned.group);
        }
    }

    pub(super) fn forget_promises(&self) {
        let sessions = self.sessions.borrow();
        let is_live = |promise: &PromiseRecord| sessions.is_live(promise.leader, promise.session);
        self.promises.borrow_mut().retain(|_, (_, promise)| is_live(promise));
    }

    /// Lets a simulation see what groups do.
    #[cfg(feature = "sim")]
    pub(crate) fn watched(mut self, watch: Option<crate::sim::Watch>) -> Self {
        self.watch = watch;
        self
    }
}
