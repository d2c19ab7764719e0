//! The actor of one replica. It does three things: translate what came into inputs, let the core step,
//! carry out what that wants. No rule of Raft is here.

use super::changes::Changes;
use super::dispatcher::{Shared, Stop};
use super::proposals::{self, Proposals, Sealed};
use super::reads::{self, Reads};
use super::sleepers::Sleep;
use super::snapshots::Snapshots;
use super::turn::{GroupWork, Turn};
use super::{Create, Export, Proposal, ReadJob, Transfer};
use crate::error::{ExportError, ProposeError, ReadError};
use crate::group::Consistency;
use crate::machine::{Machine, MachineError};
use crate::quarantine::QuarantineReason;
use crate::registry::{GroupSlot, Standing};
use crate::tenancy::OverloadReason;
use crate::witness::Witness;
use actix::{Actor, ActorContext, Context, Handler};
use raftyard_groups::{
    Body, Effects, Entry, Group, Input, LogId, LogIndex, Message, Moment, Outlook, Payload, Prompt, ProposalId,
    Proposed, RoleKind, Sessions, TransferId, TransferOutcome,
};
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

#[cfg(test)]
mod tests;

/// How long a replica that shall lead from the start pauses before it asks for it again, twice as long each time, and
/// for how long it does so: until its peers run the group too and are connected.
const FIRST_CAMPAIGN_PAUSE_MS: u64 = 100;
const FIRST_CAMPAIGN_MS: u64 = 500;

/// The hint of a leader that refuses proposals because its disk is full: so long it takes until another leads, about,
/// or until it is tried again whether there is room.
const RETRY_FULL_AFTER: Duration = Duration::from_millis(250);

/// Batches of committed entries that a group may apply in one turn; the rest waits for its next, so that the
/// other groups of the worker get theirs.
const APPLY_BATCHES_PER_TURN: usize = 4;

/// And how long it may do so if other groups have work in the turn, by its weight: after the batch that goes beyond
/// it comes no other. Nanoseconds.
const APPLY_NANOS_PER_TURN: u64 = 2_000_000;

pub(crate) struct GroupActor {
    pub(super) core: Group,
    pub(super) effects: Effects,
    pub(super) machine: Box<dyn Machine>,
    pub(super) snapshots: Snapshots,
    /// Proposals that the core was given and has not said a word of yet, in order: it holds them while
    /// leadership is on its way to another replica.
    proposing: VecDeque<(ProposalId, Vec<Sealed>)>,
    pub(super) proposals: Proposals,
    reads: Reads,
    /// Who waits for which leadership transfer.
    transfers: Vec<(TransferId, oneshot::Sender<TransferOutcome>)>,
    changes: Changes,
    first_campaign: Option<FirstCampaign>,
    candidacy: Candidacy,
    /// How long it applied in this turn.
    apply_nanos: u64,
    /// Names for what the core is asked.
    next_id: u64,
    pub(super) slot: Arc<GroupSlot>,
    pub(super) shared: Rc<Shared>,
    /// Where its deadline is kept.
    position: usize,
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

/// Whether a replica that wants to campaign may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Candidacy {
    /// It did not ask.
    None,
    /// It stands in line: it has no deadline for that.
    InLine,
    /// Its election is under way, and counts as one of those that are at once.
    Running,
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

/// A replica that shall lead from the start. Its peers may not run the group yet, or not be connected: it asks
/// again, more often than an election timeout would have it. (It only asks whether it would be elected, which
/// disturbs nobody.)
struct FirstCampaign {
    next: Moment,
    /// Counted from the first time that it asked.
    until: Option<Moment>,
    pause_ms: u64,
}

impl GroupActor {
    pub(crate) fn new(create: Create, shared: Rc<Shared>, position: usize) -> Self {
        let (limits, seed) = (shared.limits.sessions, create.config.seed);
        let core = Group::new(create.config, create.recovered, shared.clock.now());
        let reads = Reads::new(core.last());
        let is_damaged = core.must_catch_up();
        shared.counters.replicas_damaged.add(u64::from(is_damaged));
        Self {
            core,
            effects: Effects::default(),
            machine: create.machine,
            snapshots: Snapshots::new(shared.compaction, create.snapshot, create.unsynced),
            proposing: VecDeque::new(),
            proposals: Proposals::new(limits, seed),
            reads,
            transfers: Vec::new(),
            changes: Changes::default(),
            first_campaign: None,
            candidacy: Candidacy::None,
            apply_nanos: 0,
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
        let mut inputs = Vec::with_capacity(work.len().min(64));
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
                    self.first_campaign = Some(FirstCampaign {
                        next: now,
                        until: None,
                        pause_ms: FIRST_CAMPAIGN_PAUSE_MS,
                    });
                }
                GroupWork::Elect { is_hopeful } => {
                    self.called_to_campaign(is_hopeful, &sessions);
                    is_ticked = true;
                }
                GroupWork::Tick => is_ticked = true,
                GroupWork::Snapshot(event) => inputs.extend(self.on_snapshot(event)),
                GroupWork::Export(export) => exports.push(export),
                GroupWork::Quarantine(reason) => self.quarantine(&reason),
            }
        }
        if self.quarantined {
            self.refuse(commands, jobs, exports);
            return;
        }
        // A leader's tick that comes with what else there is needs no turn of its own.
        let is_ticked = is_ticked || (role == RoleKind::Leader && now >= self.core.deadline());
        inputs.extend(self.tick_or_campaign(is_ticked, now, &sessions));
        inputs.extend(self.ask_for_reads(jobs, now));
        if self.shared.is_store_full.get() && role == RoleKind::Leader && !commands.is_empty() {
            self.refuse_for_room(std::mem::take(&mut commands));
            inputs.push(Input::HandOver);
        }
        inputs.extend(self.propose(commands, now));
        self.core.step_all(now, &sessions, inputs, &mut self.effects);
        if self.is_of_other_kind() {
            self.quarantine(&QuarantineReason::OtherKind);
            return self.refuse(Vec::new(), Vec::new(), exports);
        }
        self.note_proposed();
        self.note_transferred();
        self.carry_out(now);
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
        for (id, outcome) in self.effects.memberships.drain(..) {
            self.changes.decided(id, outcome);
        }
    }

    /// Whether its group takes it for a witness and it is none, or the other way round. What the group's leaders
    /// send it then is not what it needs, and what it holds not what they count on; it must not lead.
    fn is_of_other_kind(&self) -> bool {
        let (membership, me) = (self.core.membership(), self.core.node());
        membership.contains(me) && membership.is_witness(me) != self.machine.as_any().is::<Witness>()
    }

    /// Time has passed: if that makes it campaign, it may have to wait for others.
    fn tick_or_campaign(&mut self, is_ticked: bool, now: Moment, sessions: &Sessions) -> Option<Input> {
        let is_first = self.is_first_campaign_due(now);
        let wants = is_first || (is_ticked && self.core.wants_to_campaign(now, sessions));
        if wants {
            if !self.may_campaign(is_first, now, sessions) {
                return None;
            }
            self.shared.counters.campaigns.add(1);
        }
        if let Some(first) = self.first_campaign.as_mut().filter(|_| is_first) {
            first.next = now.plus(first.pause_ms);
            first.pause_ms *= 2;
            first.until.get_or_insert(now.plus(FIRST_CAMPAIGN_MS));
            return Some(Input::Campaign);
        }
        is_ticked.then_some(Input::Tick)
    }

    /// It stood in line, and is the next. What it hoped for may be over.
    fn called_to_campaign(&mut self, is_hopeful: bool, sessions: &Sessions) {
        self.candidacy = Candidacy::Running;
        if is_hopeful && self.core.outlook(sessions) != Outlook::Good {
            self.shared.elections.borrow_mut().leave(self.position);
            self.candidacy = Candidacy::None;
        }
    }

    /// Whether it is its turn among those of its worker that want to campaign.
    fn may_campaign(&mut self, is_first: bool, now: Moment, sessions: &Sessions) -> bool {
        if self.candidacy != Candidacy::InLine {
            let outlook = self.core.outlook(sessions);
            let may = self
                .shared
                .elections
                .borrow_mut()
                .enter(self.position, is_first, outlook, now);
            self.candidacy = if may { Candidacy::Running } else { Candidacy::InLine };
        }
        self.candidacy == Candidacy::Running
    }

    /// Whether what it stood in line for, or campaigned for, is decided: it follows, or leads and committed that, or
    /// has to wait for another time.
    fn conclude_election(&mut self, now: Moment, sessions: &Sessions) {
        let is_over = match self.core.role() {
            RoleKind::Leader => self.core.commit() == self.core.last().index,
            RoleKind::Follower => {
                let is_first = self.first_campaign.as_ref().is_some_and(|first| first.next <= now);
                !is_first && !self.core.wants_to_campaign(now, sessions)
            }
            RoleKind::PreCandidate | RoleKind::Candidate => false,
        };
        if is_over && self.candidacy != Candidacy::None {
            if self.candidacy == Candidacy::Running {
                self.shared.elections.borrow_mut().leave(self.position);
            }
            self.candidacy = Candidacy::None;
        }
    }

    /// Whether it is time for the next try of a first campaign, and that still makes sense.
    fn is_first_campaign_due(&mut self, now: Moment) -> bool {
        let Some(first) = self.first_campaign.as_mut() else {
            return false;
        };
        let is_asking = matches!(self.core.role(), RoleKind::Follower | RoleKind::PreCandidate);
        if self.core.leader().is_some() || !is_asking || first.until.is_some_and(|until| now > until) {
            self.first_campaign = None;
            return false;
        }
        now >= first.next
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
        for (id, proposed) in self.effects.proposed.drain(..) {
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
        for (id, outcome) in self.effects.transfers.drain(..) {
            for (_, reply) in self.transfers.extract_if(.., |(transfer, _)| *transfer == id) {
                // Who gave up waiting has dropped the other end.
                reply.send(outcome).ok();
            }
        }
    }

    /// Carries out what the core wants. Applying leads to more: until all is applied, or the turn's share is.
    fn carry_out(&mut self, now: Moment) {
        if let Some(last) = self.effects.install.take() {
            self.install(last);
        }
        self.restore_if_due();
        self.snapshots.log.set_max(self.slot.tenancy.log_bytes_max());
        self.compact(now);
        let mut batches = 0;
        self.apply_nanos = 0;
        loop {
            for (id, outcome) in self.effects.reads.drain(..) {
                self.reads.decided(id, outcome);
            }
            self.answer_reads();
            if !self.can_apply() || batches == APPLY_BATCHES_PER_TURN || self.has_applied_its_share() {
                break;
            }
            let Some(through) = self.apply() else {
                break;
            };
            batches += 1;
            let sessions = self.shared.sessions();
            self.core
                .step(now, &sessions, Input::Applied { through }, &mut self.effects);
        }
        for peer in std::mem::take(&mut self.effects.snapshots) {
            self.send_snapshot(peer);
        }
        self.snapshot_if_due();
        self.slot.tenancy.set_log_bytes(self.snapshots.log.bytes());
        if let Some(before) = self.snapshots.note_write(self.effects.persist.as_ref()) {
            self.forget_snapshots(before);
        }
        let leads = self.core.role() == RoleKind::Leader && !self.quarantined;
        let tries_again = self.proposals.try_again(leads, self.proposing.is_empty(), now);
        let output = &mut *self.shared.output.borrow_mut();
        if (self.can_apply() && !self.quarantined) || tries_again {
            output.again.push(self.slot.life());
        }
        // Taken, not emptied: a group keeps no memory for what it sent.
        output.send.append(&mut std::mem::take(&mut self.effects.send));
        let life = self.slot.life();
        output
            .persist
            .extend(self.effects.persist.take().map(|persist| (life.incarnation, persist)));
        output.load.extend(self.effects.load.drain(..).map(|load| (life, load)));
    }

    /// Whether there are entries to be applied. To a state on disk only those that the log has on disk too: the
    /// state must not come out of a crash ahead of its log.
    fn can_apply(&self) -> bool {
        let last = self.effects.apply.last();
        last.is_some_and(|last| !self.machine.is_on_disk() || last.index <= self.core.durable())
    }

    fn answer_reads(&mut self) {
        let index = self.core.applied();
        let term = self.core.term_at(index).unwrap_or_default();
        self.reads.answer(LogId { term, index }, self.machine.as_any());
    }

    /// Applies the entries at hand; returns the last index, or `None` if the state machine failed.
    fn apply(&mut self) -> Option<LogIndex> {
        let entries = std::mem::take(&mut self.effects.apply);
        let (first, last) = (entries.first()?.index, entries.last()?.id());
        let begun = self.shared.clock.nanos();
        let (mut commands, mut bytes) = (0, 0);
        let is_on_disk = self.machine.is_on_disk();
        // What is not committed on disk is not answered.
        let mut held = Vec::new();
        for Entry { index, term, payload } in entries {
            let id = LogId { term, index };
            #[cfg(feature = "sim")]
            if let Some(watch) = &self.shared.watch {
                watch.applies(self.slot.life(), id, &payload);
            }
            let mut answer = None;
            if let Payload::Command(command) = payload
                && index > self.ahead
            {
                commands += 1;
                bytes += Entry::OVERHEAD + command.len();
                let wanted = if is_on_disk {
                    self.proposals.is_any_awaited()
                } else {
                    self.proposals.is_awaited(id)
                };
                let machine = &mut self.machine;
                match catch_unwind(AssertUnwindSafe(|| machine.apply(&command, wanted))) {
                    Ok(Ok(applied)) => answer = applied,
                    Ok(Err(error)) => {
                        self.quarantine(&match error {
                            MachineError::Undecodable(error) => QuarantineReason::Undecodable {
                                entry: id,
                                error: error.to_string(),
                            },
                            MachineError::Disk(error) => state_failed(id, &error),
                        });
                        return None;
                    }
                    Err(_) => {
                        self.quarantine(&QuarantineReason::ApplyPanicked(id));
                        return None;
                    }
                }
            }
            if is_on_disk {
                held.push((id, answer));
            } else {
                self.proposals.applied(id, answer);
            }
        }
        if last.index > self.ahead {
            self.commit(last)?;
        }
        for (id, answer) in held {
            self.proposals.applied(id, answer);
        }
        self.snapshots.count_applied(first, last.index, bytes);
        self.account(commands, bytes as u64, begun);
        Some(last.index)
    }

    /// Notes what applying took.
    fn account(&mut self, commands: u64, bytes: u64, begun: u64) {
        let nanos = self.shared.clock.nanos().saturating_sub(begun);
        self.apply_nanos = self.apply_nanos.saturating_add(nanos);
        self.slot.tenancy.applied(commands, bytes, nanos);
        let counters = &self.shared.counters;
        counters.commands_applied.add(commands);
        counters.bytes_applied.add(bytes);
        counters.apply_nanos.add(nanos);
    }

    /// Whether what else is to be applied has to wait for the next turn, for the sake of other groups.
    fn has_applied_its_share(&self) -> bool {
        let share = APPLY_NANOS_PER_TURN * u64::from(self.slot.tenancy.weight());
        self.shared.is_contended.get() && self.apply_nanos >= share
    }

    /// Commits what was applied; `None` if the state machine failed.
    fn commit(&mut self, last: LogId) -> Option<()> {
        let machine = &mut self.machine;
        match catch_unwind(AssertUnwindSafe(|| machine.commit(last))) {
            Ok(Ok(())) => return Some(()),
            Ok(Err(error)) => self.quarantine(&state_failed(last, &error)),
            Err(_) => self.quarantine(&state_failed(last, &"it panicked when it committed")),
        }
        None
    }

    /// Stops this replica for good: what it was asked is answered as unknown, what comes is refused.
    pub(super) fn quarantine(&mut self, reason: &QuarantineReason) {
        if !self.quarantined {
            tracing::error!(group = self.slot.group.0, replica = %self.core, %reason, "replica quarantined");
            self.quarantined = true;
            self.effects = Effects::default();
            self.resign();
            self.slot.status.quarantine(reason.clone());
            self.publish();
            // Last, so that who is answered finds it so.
            let error = ProposeError::Quarantined(reason.clone());
            for (_, held) in std::mem::take(&mut self.proposing) {
                self.proposals.refuse(held, &error);
            }
            self.transfers.clear();
            self.changes.abandon();
            self.proposals.abandon();
            self.reads.expire(Moment(u64::MAX));
        }
    }

    /// Leads no more, and leaves it to its worker that those who promised it something hear of it.
    fn resign(&mut self) {
        let (core, effects) = (&mut self.core, &mut self.effects);
        let resigned = catch_unwind(AssertUnwindSafe(|| core.resign(effects)));
        self.effects = Effects::default();
        let owed: Vec<_> = match resigned {
            Ok(()) => self.core.resignations().collect(),
            // It is what panicked before. Whoever promised nothing will not mind.
            Err(_) => {
                let (peers, term) = (self.core.membership().peers_of(self.core.node()), self.core.term());
                peers.into_iter().map(|peer| (peer, term)).collect()
            }
        };
        let (now, sessions) = (self.shared.clock.now(), self.shared.sessions());
        for (to, term) in owed {
            let message = Message {
                group: self.slot.group,
                incarnation: self.slot.incarnation,
                from: self.core.node(),
                to,
                term,
                body: Body::Prompt(Prompt::Resigned),
            };
            self.shared.output.borrow_mut().send.push(message.clone());
            self.shared.resignations.borrow_mut().owe(message, now, &sessions);
        }
    }

    /// Answers what comes for a replica that stopped for good.
    fn refuse(&mut self, commands: Vec<Proposal>, jobs: Vec<ReadJob>, exports: Vec<Export>) {
        // Whoever asked for a transfer finds the reason in the status.
        self.transfers.clear();
        self.changes.abandon();
        if let Some(reason) = self.slot.status.quarantined() {
            proposals::refuse(commands, &ProposeError::Quarantined(reason.clone()));
            reads::refuse(jobs, &ReadError::Quarantined(reason.clone()));
            for export in exports {
                export.reply.send(Err(ExportError::Quarantined(reason.clone()))).ok();
            }
        }
    }

    /// Says on whom it sleeps. What changes from now on comes as work for a later turn.
    fn note_sleep(&mut self) {
        let nodes = self.core.sleeps_on().filter(|_| !self.quarantined);
        if !self.asleep && nodes.is_none() {
            return;
        }
        self.asleep = nodes.is_some();
        let sleep = match &nodes {
            None => Sleep::None,
            Some(nodes) if self.core.role() == RoleKind::Leader => Sleep::Leader(nodes),
            Some(nodes) => Sleep::Follower(nodes),
        };
        self.shared.sleepers.borrow_mut().set(self.position, sleep);
    }

    /// Says what it need not be told at once.
    fn note_patience(&mut self) {
        let waits_for_disk = self.snapshots.waits_for_disk() || !self.effects.apply.is_empty();
        self.shared.patience.borrow_mut().set(
            self.position,
            !self.quarantined && !waits_for_disk && !self.core.awaits_own_writes(),
            (!self.quarantined && !self.core.awaits_acknowledgements()).then(|| self.core.term()),
        );
    }

    /// Says how it stands, and when it wants to be ticked.
    fn publish(&mut self) {
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
            last: self.core.last().index.0,
            commit: self.core.commit().0,
            applied: self.core.applied().0,
            membership: self.core.membership(),
            member: self.core.membership().role_of(self.core.node()),
            asleep: !self.quarantined && self.core.is_asleep(),
            damaged: self.core.must_catch_up(),
            lease: !self.quarantined && self.core.has_lease(self.shared.clock.now(), &self.shared.sessions()),
        });
        self.note_sleep();
        self.note_patience();
        let deadline = if self.quarantined {
            Moment(u64::MAX)
        } else {
            let campaign = self.first_campaign.as_ref().map(|first| first.next);
            let patient = self.core.patient_deadline();
            // Who stands in line is given a turn when it may campaign.
            let core = (self.candidacy != Candidacy::InLine)
                .then(|| campaign.map_or(patient, |campaign| campaign.min(patient)));
            [self.proposals.deadline(), self.reads.deadline(), core]
                .into_iter()
                .flatten()
                .min()
                .unwrap_or(Moment(u64::MAX))
        };
        self.shared.deadlines.borrow_mut().set(self.position, deadline);
    }
}

/// A state machine's own disk failed.
pub(super) fn state_failed(last: LogId, error: &dyn fmt::Display) -> QuarantineReason {
    QuarantineReason::StateFailed {
        last,
        error: error.to_string(),
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
            self.quarantine(&QuarantineReason::TurnPanicked);
        }
    }
}

impl Handler<End> for GroupActor {
    type Result = ();

    fn handle(&mut self, End(ended): End, ctx: &mut Context<Self>) {
        self.ended = Some(ended);
        self.resign();
        if let Some(promise) = self.core.promise() {
            let life = self.slot.life();
            let promises = &self.shared.promises;
            promises.borrow_mut().insert(life.group, (life.incarnation, promise));
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
