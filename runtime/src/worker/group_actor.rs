//! The actor of one replica. It does three things: translate what came into inputs, let the core step,
//! carry out what that wants. No rule of Raft is here.

use super::changes::Changes;
use super::dispatcher::Stop;
use super::group_elections::{Candidacy, FirstCampaign};
use super::proposals::{self, Proposals, Sealed};
use super::reads::Reads;
use super::shared::Shared;
use super::sleepers::Sleep;
use super::snapshots::Snapshots;
use super::turn::{GroupWork, Turn};
use super::{Create, Proposal, ReadJob, Transfer};
use crate::error::ProposeError;
use crate::group::Consistency;
use crate::machine::Machine;
use crate::quarantine::QuarantineReason;
use crate::registry::{GroupSlot, Standing};
use crate::tenancy::OverloadReason;
use crate::witness::Witness;
use actix::{Actor, ActorContext, Context, Handler};
use raftyard_groups::{
    Effects, Entry, Group, Input, LogIndex, Moment, ProposalId, Proposed, RoleKind, TransferId, TransferOutcome,
};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

#[cfg(test)]
mod tests;

/// The hint of a leader that refuses proposals because its disk is full: so long it takes until another leads, about,
/// or until it is tried again whether there is room.
const RETRY_FULL_AFTER: Duration = Duration::from_millis(250);

/// Batches of committed entries that a group may apply in one turn; the rest waits for its next, so that the
/// other groups of the worker get theirs.
const APPLY_BATCHES_PER_TURN: usize = 4;

pub(crate) struct GroupActor {
    pub(super) core: Group,
    /// Committed, and not applied yet: what did not fit into the last turn.
    pub(super) unapplied: Vec<Entry>,
    pub(super) machine: Box<dyn Machine>,
    pub(super) snapshots: Snapshots,
    /// Proposals that the core was given and has not said a word of yet, in order: it holds them while
    /// leadership is on its way to another replica.
    pub(super) proposing: VecDeque<(ProposalId, Vec<Sealed>)>,
    pub(super) proposals: Proposals,
    pub(super) reads: Reads,
    /// Its group takes it for what it is, a witness or none: until that is known, its state may lack what was acknowledged.
    pub(super) is_of_its_kind: bool,
    /// Who waits for which leadership transfer.
    pub(super) transfers: Vec<(TransferId, oneshot::Sender<TransferOutcome>)>,
    pub(super) changes: Changes,
    pub(super) first_campaign: Option<Box<FirstCampaign>>,
    pub(super) candidacy: Candidacy,
    /// How long it applied and read in this turn, in nanoseconds.
    pub(super) turn_nanos: u64,
    /// Names for what the core is asked.
    next_id: u64,
    pub(super) slot: Arc<GroupSlot>,
    pub(super) shared: Rc<Shared>,
    /// Where its deadline is kept.
    pub(super) position: usize,
    /// It is in the index of those who sleep.
    asleep: bool,
    /// It started without something that it may have acknowledged, and was not repaired yet.
    is_damaged: bool,
    /// Up to here the state on disk has applied all already.
    pub(super) ahead: LogIndex,
    /// It stopped for good: it neither answers nor sends, as if it had crashed; the node lives on.
    pub(super) quarantined: bool,
    /// The last that is dropped: nothing of the state machine is left then.
    ended: Option<Ended>,
}

/// Ends one replica for good.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct End(pub(crate) Ended);

/// Tells, when it is dropped, that a replica is gone.
pub(crate) struct Ended(pub(crate) Option<oneshot::Sender<()>>);

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(reply) = self.0.take() {
            // Who gave up waiting has dropped the other end.
            reply.send(()).ok();
        }
    }
}

impl GroupActor {
    pub(crate) fn new(create: Create, shared: Rc<Shared>, position: usize) -> Self {
        let (limits, seed) = (shared.limits.sessions, create.config.seed);
        let forgotten = create.recovered.forgotten;
        let core = Group::new(create.config, create.recovered, shared.clock.now());
        // What it forgot it may have answered from.
        let reads = Reads::new(core.last().max(forgotten));
        let is_damaged = core.must_catch_up();
        let snapshots = if create.machine.is_on_disk() {
            let applied = create.snapshot.map_or(LogIndex::ZERO, |last| last.index);
            Snapshots::on_disk(shared.compaction.clone(), applied, create.unsynced)
        } else {
            Snapshots::new(shared.compaction.clone(), create.snapshot)
        };
        shared.counters.replicas_damaged.add(u64::from(is_damaged));
        Self {
            core,
            unapplied: Vec::new(),
            machine: create.machine,
            snapshots,
            proposing: VecDeque::new(),
            proposals: Proposals::new(limits, seed),
            reads,
            is_of_its_kind: false,
            transfers: Vec::new(),
            changes: Changes::default(),
            first_campaign: None,
            candidacy: Candidacy::None,
            turn_nanos: 0,
            next_id: 0,
            slot: create.slot,
            shared,
            position,
            asleep: false,
            is_damaged,
            ahead: create.ahead,
            quarantined: false,
            ended: None,
        }
    }

    fn turn(&mut self, work: Vec<GroupWork>) {
        let now = self.shared.clock.now();
        let sessions = self.shared.sessions();
        let role = self.core.role();
        let mut inputs = self.shared.inputs.take();
        let (mut commands, mut jobs, mut exports) = (Vec::new(), Vec::new(), Vec::new());
        let mut is_ticked = false;
        for work in work {
            match work {
                GroupWork::Message(message) if self.quarantined => self.shared.answer_in_place(&message),
                GroupWork::Message(message) => inputs.push(Input::Message(message)),
                GroupWork::Persisted(seq) => {
                    inputs.push(Input::Persisted { seq });
                    if let Some(before) = self.snapshots.persisted(seq) {
                        self.forget_snapshots(before);
                    }
                }
                GroupWork::Loaded(loaded) => inputs.push(Input::Loaded {
                    purpose: loaded.purpose,
                    from: loaded.from,
                    entries: loaded.entries,
                }),
                GroupWork::Propose(proposal) => commands.push(proposal),
                GroupWork::ProposeMany(proposals) => commands.extend(proposals),
                GroupWork::Read(job) => jobs.push(job),
                GroupWork::Transfer(transfer) => inputs.push(self.transfer(transfer)),
                GroupWork::Change(change) => inputs.push(self.changes.ask(change)),
                // Who gave up waiting has dropped the other end.
                GroupWork::Progress(reply) => drop(reply.send(self.core.peers())),
                GroupWork::Campaign => {
                    self.first_campaign = Some(Box::new(FirstCampaign::new(now)));
                }
                GroupWork::Elect { is_hopeful } => {
                    self.called_to_campaign(is_hopeful, &sessions);
                    is_ticked = true;
                }
                GroupWork::Tick => is_ticked = true,
                GroupWork::Snapshot(event) => inputs.extend(self.on_snapshot(event, now)),
                GroupWork::Export(export) => exports.push(export),
                GroupWork::Quarantine(reason) => self.quarantine(&reason),
            }
        }
        if self.quarantined {
            inputs.clear();
            self.shared.inputs.set(inputs);
            self.refuse(commands, jobs, exports);
            return;
        }
        // A leader's tick that comes with what else there is needs no turn of its own.
        let is_ticked = is_ticked || (role == RoleKind::Leader && now >= self.core.deadline());
        inputs.extend(self.tick_or_campaign(is_ticked, now, &sessions));
        let given_up = self.reads.take_given_up();
        inputs.extend(given_up.map(|through| Input::GiveUpReads { through }));
        inputs.extend(self.ask_for_reads(jobs, now));
        if self.shared.is_store_full.get() && role == RoleKind::Leader && !commands.is_empty() {
            self.refuse_for_room(std::mem::take(&mut commands));
            inputs.push(Input::HandOver);
        }
        inputs.extend(self.propose(commands, now));
        {
            let effects = &mut *self.shared.effects.borrow_mut();
            effects.apply = std::mem::take(&mut self.unapplied);
            self.core.step_all(now, &sessions, inputs.drain(..), effects);
        }
        self.shared.inputs.set(inputs);
        if self.is_of_other_kind() {
            self.quarantine(&QuarantineReason::OtherKind);
            return self.refuse(Vec::new(), Vec::new(), exports);
        }
        self.is_of_its_kind = self.is_known_to_be_of_its_kind();
        self.note_proposed();
        self.carry_out(now);
        self.unapplied = std::mem::take(&mut self.shared.effects.borrow_mut().apply);
        for export in exports {
            self.export(export);
        }
        self.proposals.expire(now);
        self.reads.expire(now);
        self.conclude_election(now, &sessions);
        if self.is_damaged && !self.core.must_catch_up() {
            self.is_damaged = false;
            self.shared.counters.replicas_repaired.add(1);
            tracing::info!(group = self.slot.group.0, replica = %self.core, "replica repaired");
        }
        if self.core.role() != role {
            tracing::debug!(group = self.slot.group.0, replica = %self.core, "role changed");
        }
        self.publish();
        // Last, so that who is answered finds it so.
        self.note_transferred();
        for (id, outcome) in self.shared.effects.borrow_mut().memberships.drain(..) {
            self.changes.decided(id, outcome);
        }
        debug_assert!(
            self.shared.effects.borrow().is_empty(),
            "the next group would take it for its own"
        );
    }

    /// Whether its group takes it for what it is, a witness or none, by the newest configuration in its log; `None` if that
    /// leaves it out.
    fn is_taken_for_what_it_is(&self) -> Option<bool> {
        let (membership, me) = (self.core.membership(), self.core.node());
        let is_witness = self.machine.as_any().is::<Witness>();
        membership.contains(me).then(|| membership.is_witness(me) == is_witness)
    }

    /// Whether its group takes it for a witness and it is none, or the other way round. What the group's leaders
    /// send it then is not what it needs, and what it holds not what they count on; it must not lead. As long as it
    /// catches up, its log may speak of a replica that was here before, which left: that may have been of either kind.
    fn is_of_other_kind(&self) -> bool {
        self.is_taken_for_what_it_is() == Some(false) && self.core.has_caught_up()
    }

    /// Whether its group takes it for what it is. One that has known that does so until its log says otherwise: it may have left,
    /// and come back as the other. Who leads goes on until what leaves it out is committed.
    fn is_known_to_be_of_its_kind(&self) -> bool {
        if self.core.role() == RoleKind::Leader {
            return true;
        }
        self.is_taken_for_what_it_is() == Some(true) && (self.is_of_its_kind || self.core.has_caught_up())
    }

    /// All reads of a turn that are of one kind share one answer of the core's; stale ones need none.
    fn ask_for_reads(&mut self, jobs: Vec<ReadJob>, now: Moment) -> Vec<Input> {
        let deadline = now.plus(self.shared.limits.request_timeout_ms);
        let (mut here, mut forwarded, mut stale) = (Vec::new(), Vec::new(), Vec::new());
        for job in jobs {
            match job.consistency {
                Consistency::Linearizable => here.push(job),
                Consistency::Follower => forwarded.push(job),
                Consistency::Stale => stale.push(job),
            }
        }
        self.reads.hold(stale, deadline);
        [(here, false), (forwarded, true)]
            .into_iter()
            .filter(|(jobs, _)| !jobs.is_empty())
            .map(|(jobs, forwarded)| Input::Read {
                id: self.reads.ask(jobs, deadline),
                forwarded,
            })
            .collect()
    }

    fn transfer(&mut self, Transfer { to, reply }: Transfer) -> Input {
        self.next_id += 1;
        let id = TransferId(self.next_id);
        self.transfers.push((id, reply));
        Input::Transfer { id, to }
    }

    /// Puts all commands of a turn into one input. They come last: so a read of the same turn, which was
    /// not asked after them by anyone who knows their outcome, need not wait for them.
    fn propose(&mut self, proposals: Vec<Proposal>, now: Moment) -> Option<Input> {
        let deadline = now.plus(self.shared.limits.request_timeout_ms);
        let sealed = self.proposals.seal(proposals, deadline, self.shared.clock.wall());
        if sealed.is_empty() {
            return None;
        }
        self.next_id += 1;
        let id = ProposalId(self.next_id);
        let commands = sealed.iter().map(Sealed::entry).collect();
        self.proposing.push_back((id, sealed));
        Some(Input::Propose { id, commands })
    }

    /// Refuses proposals before they are in the log: what is in it may be committed by the others, and would be in doubt
    /// for as long as the disk is full.
    fn refuse_for_room(&self, proposals: Vec<Proposal>) {
        self.shared.counters.requests_refused.add(proposals.len() as u64);
        let refusal = ProposeError::Overloaded {
            reason: OverloadReason::DiskFull,
            retry_after: RETRY_FULL_AFTER,
        };
        proposals::refuse(proposals, &refusal);
    }

    /// The core said where proposals went: in the order in which it was given them.
    fn note_proposed(&mut self) {
        for (id, proposed) in self.shared.effects.borrow_mut().proposed.drain(..) {
            let Some((_, proposals)) = self.proposing.pop_front_if(|(proposing, _)| *proposing == id) else {
                continue;
            };
            match proposed {
                Proposed::Appended { first, term } => self.proposals.appended(first, term, proposals),
                Proposed::NotLeader { leader } => {
                    self.proposals.refuse(proposals, &ProposeError::NotLeader { leader });
                }
            }
        }
    }

    fn note_transferred(&mut self) {
        for (id, outcome) in self.shared.effects.borrow_mut().transfers.drain(..) {
            for (_, reply) in self.transfers.extract_if(.., |(transfer, _)| *transfer == id) {
                // Who gave up waiting has dropped the other end.
                reply.send(outcome).ok();
            }
        }
    }

    /// Carries out what the core wants. Applying leads to more: until all is applied, or the turn's share is.
    fn carry_out(&mut self, now: Moment) {
        let install = self.shared.effects.borrow_mut().install.take();
        if let Some(last) = install {
            self.install(last);
        }
        self.restore_if_due(now);
        self.snapshots.log.set_max(self.slot.tenancy.log_bytes_max());
        self.compact(now);
        let mut batches = 0;
        self.turn_nanos = 0;
        self.reads.begin_turn();
        let is_any_read_left = loop {
            for (id, outcome) in self.shared.effects.borrow_mut().reads.drain(..) {
                self.reads.decided(id, outcome);
            }
            let is_any_read_left = self.answer_reads();
            // Reads, which come without end, do not hold up what is applied.
            let is_over = batches > 0 && (batches == APPLY_BATCHES_PER_TURN || self.has_had_its_share());
            if !self.can_apply() || is_over {
                break is_any_read_left;
            }
            let Some(through) = self.apply() else {
                break is_any_read_left;
            };
            batches += 1;
            let sessions = self.shared.sessions();
            let effects = &self.shared.effects;
            self.core
                .step(now, &sessions, Input::Applied { through }, &mut effects.borrow_mut());
            self.note_proposed();
        };
        self.send_snapshots(now);
        self.snapshot_if_due(now);
        self.slot.tenancy.set_log_bytes(self.snapshots.log.bytes());
        let useless = self.snapshots.note_write(self.shared.effects.borrow().persist.as_ref());
        if let Some(before) = useless {
            self.forget_snapshots(before);
        }
        let leads = self.core.role() == RoleKind::Leader && !self.quarantined;
        let tries_again = self.proposals.try_again(leads, self.proposing.is_empty(), now);
        let (life, can_apply) = (self.slot.life(), self.can_apply());
        let output = &mut *self.shared.output.borrow_mut();
        if ((can_apply || is_any_read_left) && !self.quarantined) || tries_again {
            output.again.push(life);
        }
        let effects = &mut *self.shared.effects.borrow_mut();
        output.send.append(&mut effects.send);
        let persist = effects.persist.take();
        output
            .persist
            .extend(persist.map(|persist| (life.incarnation, persist)));
        output.load.extend(effects.load.drain(..).map(|load| (life, load)));
    }

    /// Whether there are entries to be applied. To a state on disk only those that the log has on disk too: the
    /// state must not come out of a crash ahead of its log.
    fn can_apply(&self) -> bool {
        let effects = self.shared.effects.borrow();
        let last = effects.apply.last();
        last.is_some_and(|last| !self.machine.is_on_disk() || last.index <= self.core.durable())
    }

    /// Says on whom it sleeps. What changes from now on comes as work for a later turn.
    fn note_sleep(&mut self) {
        let nodes = self.core.sleeps_on().filter(|_| !self.quarantined);
        if !self.asleep && nodes.is_none() {
            return;
        }
        if !std::mem::replace(&mut self.asleep, nodes.is_some()) {
            // Perhaps for ever: it keeps only the memory that it needs.
            self.proposing.shrink_to_fit();
            self.proposals.shrink();
            self.reads.shrink();
            self.snapshots.log.shrink();
        }
        let sleep = match &nodes {
            None => Sleep::None,
            Some(nodes) if self.core.role() == RoleKind::Leader => Sleep::Leader(nodes),
            Some(nodes) => Sleep::Follower(nodes),
        };
        self.shared.sleepers.borrow_mut().set(self.position, sleep);
    }

    /// Says what it need not be told at once.
    fn note_patience(&mut self) {
        let waits_for_disk = self.snapshots.waits_for_disk() || !self.unapplied.is_empty();
        self.shared.patience.borrow_mut().set(
            self.position,
            !self.quarantined && !waits_for_disk && !self.core.awaits_own_writes(),
            (!self.quarantined && !self.core.awaits_acknowledgements()).then(|| self.core.term()),
        );
    }

    /// Says how it stands, and when it wants to be ticked.
    pub(super) fn publish(&mut self) {
        #[cfg(feature = "sim")]
        if let Some(watch) = self.shared.watch.as_ref().filter(|_| !self.quarantined) {
            watch.stands(self.slot.life(), &self.core);
        }
        self.slot.status.set(&Standing {
            role: if self.quarantined {
                RoleKind::Follower
            } else {
                self.core.role()
            },
            leader: self.core.leader().filter(|_| !self.quarantined),
            term: self.core.term().0,
            last: self.core.last(),
            commit: self.core.commit().0,
            applied: self.core.applied().0,
            ahead: self.ahead,
            membership: self.core.membership(),
            member: self.core.membership().role_of(self.core.node()),
            asleep: !self.quarantined && self.core.is_asleep(),
            damaged: self.core.must_catch_up(),
            lease: !self.quarantined && self.core.has_lease(self.shared.clock.now(), &self.shared.sessions()),
        });
        self.note_sleep();
        self.note_patience();
        let deadline = if self.quarantined {
            None
        } else {
            let snapshot = self.snapshots.deadline(self.core.applied());
            let asked = [self.proposals.deadline(), self.reads.deadline()];
            asked
                .into_iter()
                .chain([self.core_deadline(), snapshot])
                .flatten()
                .min()
        };
        let deadline = deadline.unwrap_or(Moment(u64::MAX));
        self.shared.deadlines.borrow_mut().set(self.position, deadline);
    }
}

impl Actor for GroupActor {
    type Context = Context<Self>;
}

impl Handler<Turn> for GroupActor {
    type Result = ();

    fn handle(&mut self, turn: Turn, _: &mut Context<Self>) {
        // Only a fault of this program gets here. It must not leave behind a replica that seems to live.
        if catch_unwind(AssertUnwindSafe(|| self.turn(turn.0))).is_err() {
            // The next group must not find what this one wanted.
            *self.shared.effects.borrow_mut() = Effects::default();
            self.quarantine(&QuarantineReason::TurnPanicked);
        }
    }
}

impl Handler<End> for GroupActor {
    type Result = ();

    fn handle(&mut self, End(ended): End, ctx: &mut Context<Self>) {
        self.ended = Some(ended);
        if !self.quarantined {
            self.leave_to_worker();
        }
        self.handle(Stop, ctx);
    }
}

impl Handler<Stop> for GroupActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        // So that they are told which request nobody knows the outcome of.
        self.proposals.abandon();
        ctx.stop();
    }
}
