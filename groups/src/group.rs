//! One replica of a group: its state, and the step that every input goes through.

use crate::candidate::Candidate;
use crate::config::{Recovered, ReplicaConfig};
use crate::effects::{Effects, Load, LoadPurpose, LogBase, Persist, PersistSeq, Proposed, ReadOutcome};
use crate::entry::{Entry, HardState};
use crate::follower::Follower;
use crate::ids::{LogId, LogIndex, NodeId, Term};
use crate::input::{Input, Moment};
use crate::leader::Leader;
use crate::liveness::Sessions;
use crate::log::Log;
use crate::membership::Membership;
use crate::memberships::Memberships;
use crate::message::{Body, Message, Promise, Prompt, ReadRound};
use crate::progress::Progress;
use crate::promise::{Accepted, Promises};
use crate::reads::ForwardedReads;
use crate::resign::Resignations;
use crate::rng::Rng;
use crate::transfer::Transfer;
use std::sync::Arc;

/// One replica of a Raft group: pure, without clock, I/O or randomness of its own. It is told what happened
/// ([`Input`]) and says what to do ([`Effects`]).
#[derive(Clone, Debug)]
pub struct Group {
    pub(crate) config: ReplicaConfig,
    pub(crate) hard: HardState,
    pub(crate) log: Log,
    /// The configurations in it.
    pub(crate) memberships: Memberships,
    /// The last entry of an earlier life's log ([`Recovered::forgotten`]).
    pub(crate) forgotten: LogId,
    pub(crate) role: Role,
    /// All entries up to here are committed.
    pub(crate) commit: LogIndex,
    /// The furthest that a leader said to be committed, where it says all: heartbeats say no more than what the follower holds.
    /// `None` before one was heard.
    pub(crate) heard_commit: Option<LogIndex>,
    /// Up to here entries, or a snapshot that holds them, were handed to the state machine.
    pub(crate) applying: LogIndex,
    /// Up to here the state machine said it applied.
    pub(crate) applied: LogIndex,
    /// Committed entries are being read from the log store.
    pub(crate) loading_apply: bool,
    /// They could not be read: the step that says so does not ask again.
    pub(crate) loading_apply_failed: bool,
    /// The last entry that could not be read to be applied, and when that was first found.
    pub(crate) unreadable: Option<(LogIndex, Moment)>,
    /// Until then it lets others lead, since it could not read what a peer lacked.
    pub(crate) gives_way_until: Option<Moment>,
    pub(crate) now: Moment,
    pub(crate) rng: Rng,
    /// Reads here that wait for the leader's read index.
    pub(crate) forwarded: ForwardedReads,
    /// What keeps it from voting.
    pub(crate) promises: Promises,
    pub(crate) resignations: Resignations,
    /// Campaigns that promised peers refused, one after the other.
    pub(crate) refusals: u32,
    /// As they were handed to the step that is under way; of nobody outside of a step.
    pub(crate) sessions: Sessions,
    pub(crate) persist_seq: PersistSeq,
    /// What it acknowledged last, until that may have left.
    pub(crate) accepted: Option<Accepted>,
    /// What [`Group::check`] saw last: none of it may regress.
    #[cfg(debug_assertions)]
    pub(crate) seen: crate::invariants::Seen,
}

/// What a replica is, with the data that only such a one has.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    Follower(Follower),
    /// Asks whether a campaign could win, without starting one (thesis §9.6).
    PreCandidate(Candidate),
    Candidate(Candidate),
    Leader(Box<Leader>),
}

/// What a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleKind {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether it would be elected.
    PreCandidate,
    /// Campaigns.
    Candidate,
    /// Leads.
    Leader,
}

impl Group {
    /// The replica as its disk left it. It starts as a follower that knows no leader.
    #[must_use]
    pub fn new(config: ReplicaConfig, recovered: Recovered, now: Moment) -> Self {
        let memberships =
            Memberships::recovered(config.membership.clone(), recovered.base.index, recovered.memberships);
        let mut rng = Rng::new(config.seed);
        let deadline = election_deadline(&config, &mut rng, now);
        let applied = recovered.applied;
        debug_assert!(
            recovered.base.index <= applied && applied <= recovered.last,
            "a snapshot holds what is compacted, and the log holds where it ends: {}..{} applied={applied}",
            recovered.base,
            recovered.last
        );
        Self {
            hard: recovered.hard_state,
            log: Log::recovered(recovered.base, recovered.runs, recovered.last),
            memberships,
            forgotten: recovered.forgotten,
            role: Role::Follower(Follower::without_leader(deadline)),
            commit: applied,
            heard_commit: None,
            applying: applied,
            applied,
            loading_apply: false,
            loading_apply_failed: false,
            unreadable: None,
            gives_way_until: None,
            now,
            rng,
            forwarded: ForwardedReads::default(),
            promises: Promises::new(recovered.promise, recovered.promise_lost, !recovered.created),
            resignations: Resignations::default(),
            refusals: 0,
            sessions: Sessions::default(),
            persist_seq: PersistSeq::default(),
            accepted: None,
            #[cfg(debug_assertions)]
            seen: crate::invariants::Seen::default(),
            config,
        }
    }

    /// Tells the replica of one thing that happened; what it wants done is added to `effects`.
    ///
    /// `now` never goes back; an earlier one than before is taken as the same. `now` and the node's `sessions` are
    /// read after the input arrived, and the sessions are never older than in the step before.
    pub fn step(&mut self, now: Moment, sessions: &Sessions, input: Input, effects: &mut Effects) {
        self.step_all(now, sessions, [input], effects);
    }

    /// Like [`Group::step`] for several inputs in their order. What they cause is decided once, at the end:
    /// one append message per peer instead of one per input.
    pub fn step_all(
        &mut self,
        now: Moment,
        sessions: &Sessions,
        inputs: impl IntoIterator<Item = Input>,
        effects: &mut Effects,
    ) {
        let slept = self.is_asleep();
        self.now = self.now.max(now);
        self.sessions = sessions.clone();
        self.review_promises();
        self.review_resignations();
        self.look_around();
        for input in inputs {
            self.on_input(input, effects);
        }
        self.conclude(effects);
        if !slept && self.is_asleep() {
            self.shrink();
        }
        #[cfg(debug_assertions)]
        {
            let mut seen = std::mem::take(&mut self.seen);
            seen.check(self);
            self.seen = seen;
        }
        // What sleeps keeps no old sessions in memory.
        self.sessions = Sessions::default();
    }

    fn on_input(&mut self, input: Input, effects: &mut Effects) {
        match input {
            Input::Tick => self.on_tick(effects),
            Input::Message(message) => self.on_message(message, effects),
            Input::Propose { id, commands } => self.on_propose(id, commands, effects),
            Input::Read { id, forwarded } => self.on_read(id, forwarded, effects),
            Input::GiveUpReads { through } => self.give_up_reads(through),
            Input::Transfer { id, to } => self.on_transfer(id, to, effects),
            Input::ChangeMembership { id, change } => self.on_change(id, change, effects),
            Input::Persisted { seq } => {
                self.log.persisted(seq);
                self.accepted = self.accepted.filter(|accepted| accepted.after > seq);
                self.on_own_vote_durable(seq, effects);
            }
            Input::HandOver => self.hand_over(effects),
            Input::Applied { through } => self.applied = self.applied.max(through.min(self.applying)),
            Input::Loaded { purpose, from, entries } => self.on_loaded(purpose, from, entries, effects),
            Input::Campaign => {
                if !matches!(self.role, Role::Leader(_)) {
                    self.pre_campaign(effects);
                }
            }
            Input::Compacted { through } => {
                if let Some(base) = self.log.compact(through.min(self.applied)) {
                    let membership = self.memberships.compact(base.index);
                    self.persist(effects).rebase(LogBase::Compacted(base), Some(membership));
                }
            }
            Input::SnapshotDone { to, through } => self.on_snapshot_done(to, through),
            Input::SnapshotReceived {
                from,
                term,
                last,
                membership,
            } => self.on_snapshot(from, term, last, membership, effects),
        }
    }

    fn on_tick(&mut self, effects: &mut Effects) {
        if self.now < self.deadline() {
            return;
        }
        self.repeat_resignations(effects);
        if self.now < self.role_deadline() {
            return;
        }
        match self.role {
            Role::Leader(_) => self.on_leader_tick(effects),
            _ if self.is_promised() || self.is_barred() => self.wait_on(effects),
            _ => self.pre_campaign(effects),
        }
    }

    /// Routes a message by its term (paper §5.1) and then by what it says.
    fn on_message(&mut self, message: Message, effects: &mut Effects) {
        let Message {
            group,
            incarnation,
            from,
            to,
            term,
            body,
        } = message;
        let config = &self.config;
        if group != config.group || incarnation != config.incarnation || to != config.node || from == config.node {
            return;
        }
        if term > Term::NAMED_MAX {
            return;
        }
        match &body {
            // The term of a pre-vote is hypothetical: nobody adopts it.
            Body::Prompt(Prompt::PreVote { last }) => return self.on_pre_vote(from, term, *last, effects),
            Body::Prompt(Prompt::PreVoteReply { granted: true }) => {
                return self.on_pre_vote_granted(from, term, effects);
            }
            Body::Prompt(Prompt::Resigned) => return self.on_resigned(from, term, effects),
            Body::Prompt(Prompt::ResignedAck) => return self.on_resigned_ack(from, term),
            Body::Promise(Promise::Vote { transfer, .. })
                if term > self.hard.term && self.refuses(from, term, *transfer) =>
            {
                // A promise is not given up for a term that somebody names.
                return;
            }
            Body::Promise(Promise::Vote { transfer: false, .. }) if term > self.hard.term && self.hears_leader() => {
                // Leader stickiness (paper §6, thesis §4.2.3): who hears a leader neither votes against it
                // nor adopts the term of one who does not.
                return;
            }
            Body::Promise(Promise::Vote { .. }) => {}
            body if term > self.hard.term && !body.is_from_leader() && self.is_promised() => {
                // A late refusal of an own campaign, most likely: neither is a promise given up for that.
                return;
            }
            _ => {}
        }
        self.answer_stamp(from, term, &body, effects);
        if term > self.hard.term {
            let leader = body.is_from_leader().then_some(from);
            self.become_follower(term, leader, effects);
        } else if term < self.hard.term {
            return self.on_older_term(from, &body, effects);
        }
        match body {
            Body::Promise(Promise::Vote { last, transfer }) => self.on_vote(from, last, transfer, effects),
            Body::Promise(Promise::VoteGranted) => self.on_vote_reply(from, true, effects),
            Body::Prompt(Prompt::VoteRefused) => self.on_vote_reply(from, false, effects),
            Body::Prompt(Prompt::PreVoteReply { .. }) => self.on_pre_vote_refused(from, effects),
            Body::Prompt(Prompt::Append { prev, entries, commit }) => {
                self.on_append(from, prev, entries, commit, effects);
            }
            Body::Prompt(Prompt::Heartbeat { commit, round }) => self.on_heartbeat(from, commit, round, effects),
            Body::Promise(Promise::AppendAccepted { matched, session }) => {
                self.on_append_accepted(from, matched, session);
            }
            Body::Prompt(Prompt::AppendRejected { refused, hint }) => self.on_append_rejected(from, refused, hint),
            Body::Prompt(Prompt::HeartbeatReply {
                round,
                priority,
                commit,
                session,
            }) => self.on_heartbeat_reply(from, round, priority, commit, session),
            Body::Prompt(Prompt::Sleep { last, commit, session }) => {
                self.on_sleep(from, last, commit, session, effects);
            }
            Body::Prompt(Prompt::TimeoutNow) => self.on_timeout_now(from, effects),
            Body::Prompt(Prompt::ReadIndex { request }) => self.on_read_index(from, request),
            Body::Prompt(Prompt::ReadIndexIs { request, index }) => self.on_read_index_is(request, index, effects),
            Body::Prompt(Prompt::PreVote { .. } | Prompt::Resigned | Prompt::ResignedAck) => {}
        }
    }

    /// Answers with the newer term where the sender would otherwise go on in its old one for ever: a leader
    /// that was deposed, or whose follower was stranded at a higher term; a candidate that is late.
    fn on_older_term(&mut self, from: NodeId, body: &Body, effects: &mut Effects) {
        let reply = match body {
            Body::Prompt(Prompt::Append { prev, .. }) => Prompt::AppendRejected {
                refused: prev.index,
                hint: self.log.last_id(),
            },
            // The rounds of a term are its own: the answer counts in this one.
            Body::Prompt(Prompt::Heartbeat { .. } | Prompt::Sleep { .. }) => self.bare_reply(),
            // Nor is a late request answered to who has the vote of this term.
            Body::Promise(Promise::Vote { .. }) if self.hard.vote != Some(from) => Prompt::VoteRefused,
            _ => return,
        };
        self.send(from, reply, effects);
    }

    /// Says nothing but which term this is.
    fn bare_reply(&self) -> Prompt {
        Prompt::HeartbeatReply {
            round: ReadRound::default(),
            priority: self.priority(),
            commit: LogIndex::ZERO,
            session: None,
        }
    }

    /// Decides what follows from all the inputs of a step: what to send, commit, read and apply.
    fn conclude(&mut self, effects: &mut Effects) {
        if matches!(self.role, Role::Leader(_)) {
            self.advance_commit();
            self.advance_change(effects);
            self.advance_reads(effects);
            self.replicate(effects);
            self.advance_transfer(effects);
            self.stay_asleep(effects);
        } else {
            self.forward_reads(effects);
        }
        self.hand_to_apply(effects);
        let done = match &self.role {
            Role::Leader(leader) => leader.matched_by_all().min(self.applying),
            _ => self.applying,
        };
        let tuning = &self.config.tuning;
        self.log.trim_cache(done, self.applying, tuning.cache_bytes_max);
        // A state machine that lags is no reason to keep in memory all that arrives meanwhile.
        self.log
            .trim_cache(done, self.log.durable(), tuning.cache_bytes_limit());
    }

    /// It fell asleep, perhaps for ever: it keeps only the memory that it needs.
    fn shrink(&mut self) {
        self.log.shrink();
        if let Role::Leader(leader) = &mut self.role {
            leader.peers.values_mut().for_each(Progress::shrink);
        }
    }

    /// Hands committed entries to the state machine: one batch at a time, so that a slow one never has an
    /// unbounded queue.
    fn hand_to_apply(&mut self, effects: &mut Effects) {
        if self.applying >= self.commit || self.applied < self.applying || self.loading_apply {
            return;
        }
        let from = self.applying.next();
        let bytes_max = self.config.tuning.apply_bytes_max;
        if let Some((entries, _)) = self.log.cached(from, self.commit, bytes_max) {
            self.apply(entries, effects);
        } else if !std::mem::take(&mut self.loading_apply_failed) {
            self.loading_apply = true;
            effects.load.push(Load {
                purpose: LoadPurpose::Apply,
                from,
                through: self.commit,
                bytes_max,
            });
        }
    }

    fn apply(&mut self, entries: Vec<Entry>, effects: &mut Effects) {
        self.applying = self.applying.plus(entries.len());
        if effects.apply.is_empty() {
            effects.apply = entries;
        } else {
            effects.apply.extend(entries);
        }
    }

    fn on_loaded(&mut self, purpose: LoadPurpose, from: LogIndex, entries: Vec<Entry>, effects: &mut Effects) {
        // What was read may have been truncated meanwhile: only what still is in the log counts.
        let mut expected = from;
        let entries: Vec<Entry> = entries
            .into_iter()
            .take_while(|entry| {
                let known = entry.index == expected && self.log.term_at(entry.index) == Some(entry.term);
                expected = expected.next();
                known
            })
            .collect();
        match purpose {
            LoadPurpose::Apply => {
                self.loading_apply = false;
                self.loading_apply_failed = entries.is_empty();
                if entries.is_empty() && self.unreadable.is_none_or(|(index, _)| index != from) {
                    self.unreadable = Some((from, self.now));
                }
                if from == self.applying.next() {
                    let committed = entries
                        .into_iter()
                        .take_while(|entry| entry.index <= self.commit)
                        .collect();
                    self.apply(committed, effects);
                }
            }
            LoadPurpose::Peer(peer) => self.on_loaded_for_peer(peer, from, entries, effects),
        }
    }

    /// Goes on as a follower: in `term`, whose vote is then still free if it is a newer one.
    pub(crate) fn become_follower(&mut self, term: Term, leader: Option<NodeId>, effects: &mut Effects) {
        if let Role::Leader(_) = &self.role
            && let Role::Leader(mut old) =
                std::mem::replace(&mut self.role, Role::Follower(Follower::without_leader(self.now)))
        {
            // The lease is off before anybody hears of it.
            self.owe_resignation(&old, effects);
            let (reads, transfer) = (old.reads.abandon(), old.transfer.take());
            let changes = std::mem::take(&mut old.changes);
            // After a transfer the likely leader is known before it is elected.
            let leader = leader.or(transfer.as_ref().and_then(Transfer::successor));
            changes.conclude(leader, effects);
            let held = transfer.map(|transfer| transfer.conclude(effects)).unwrap_or_default();
            let refused = held.into_iter().map(|id| (id, Proposed::NotLeader { leader }));
            effects.proposed.extend(refused);
            effects
                .reads
                .extend(reads.into_iter().map(|id| (id, ReadOutcome::NotLeader { leader })));
        }
        if term > self.hard.term {
            self.set_hard(HardState { term, vote: None }, effects);
        }
        if leader.is_some() && leader != self.leader() {
            self.forwarded.ask_again();
        }
        let deadline = self.next_election_deadline();
        self.role = Role::Follower(match leader {
            Some(leader) => Follower::of(leader, self.now, deadline),
            None => Follower::without_leader(deadline),
        });
    }

    pub(crate) fn set_hard(&mut self, hard: HardState, effects: &mut Effects) {
        self.hard = hard;
        self.persist(effects).hard_state = Some(hard);
    }

    /// The write of this step: what is put into it is durable before any promise made after it leaves.
    pub(crate) fn persist<'a>(&mut self, effects: &'a mut Effects) -> &'a mut Persist {
        effects.persist.get_or_insert_with(|| {
            self.persist_seq.0 += 1;
            Persist::new(self.config.group, self.persist_seq, None, Vec::new())
        })
    }

    /// Lets the log begin anew after `base`, in memory and in the write of this step.
    pub(crate) fn install(&mut self, base: LogId, membership: Arc<Membership>, effects: &mut Effects) {
        self.log.install(base);
        self.memberships.install(base.index, membership.clone());
        self.persist(effects).rebase(LogBase::Installed(base), Some(membership));
        self.log.writing(self.persist_seq, self.now);
    }

    /// Puts entries into the log right after its last, and into the write of this step.
    pub(crate) fn append(&mut self, entries: Vec<Entry>, effects: &mut Effects) {
        self.log.append(&entries);
        self.memberships.append(&entries);
        self.persist(effects).put(entries);
        self.log.writing(self.persist_seq, self.now);
    }

    /// Sends what may leave at once.
    pub(crate) fn send(&self, to: NodeId, prompt: Prompt, effects: &mut Effects) {
        effects
            .send
            .push(self.message(to, self.hard.term, Body::Prompt(prompt)));
    }

    /// Sends what may leave only once all that was written up to now is durable.
    pub(crate) fn promise_after_write(&mut self, to: NodeId, promise: Promise, effects: &mut Effects) {
        let message = self.message(to, self.hard.term, Body::Promise(promise));
        self.persist(effects).then.push(message);
    }

    pub(crate) fn message(&self, to: NodeId, term: Term, body: Body) -> Message {
        Message {
            group: self.config.group,
            incarnation: self.config.incarnation,
            from: self.config.node,
            to,
            term,
            body,
        }
    }

    pub(crate) fn next_election_deadline(&mut self) -> Moment {
        let deadline = election_deadline(&self.config, &mut self.rng, self.now);
        let doubled = self.refusals.saturating_sub(1);
        self.now.plus(deadline.since(self.now) << doubled)
    }

    /// The newest write.
    pub(crate) fn newest_persist(&self) -> PersistSeq {
        self.persist_seq
    }
}

/// Between one and two election timeouts from now (paper §5.2); for one of a higher priority, in the first half,
/// third or quarter of that. Never less than one: until then others refuse their votes. Never in less than a
/// quarter: replicas of one priority must not all campaign at once.
fn election_deadline(config: &ReplicaConfig, rng: &mut Rng, now: Moment) -> Moment {
    let timeout = config.tuning.election_timeout_ms;
    let spread = timeout / (1 + u64::from(config.priority.min(3)));
    now.plus(timeout + rng.below(spread))
}
