//! What a leader does: append, replicate, commit.

use crate::change::Changes;
use crate::effects::{Effects, Proposed, ReadOutcome};
use crate::entry::{Entry, Payload};
use crate::fingerprint::Reference;
use crate::group::{Group, Role};
use crate::handover::DiskProbe;
use crate::ids::{LogIndex, NodeId};
use crate::input::{Moment, ProposalId};
use crate::liveness::SessionId;
use crate::message::{Prompt, ReadRound};
use crate::node_map::NodeMap;
use crate::progress::Progress;
use crate::reads::{Reader, Reads};
use crate::transfer::Transfer;
use bytes::Bytes;
use std::hash::{Hash, Hasher};

#[derive(Clone, Debug)]
pub(crate) struct Leader {
    /// How far each peer is.
    pub(crate) peers: NodeMap<Progress>,
    /// The no-op this term began with. Once it is committed, so is all before it.
    pub(crate) term_start: LogIndex,
    pub(crate) heartbeat_due: Moment,
    pub(crate) reads: Reads,
    /// Leadership is on its way to another replica.
    pub(crate) transfer: Option<Transfer>,
    pub(crate) changes: Changes,
    /// Not before this it hands over by itself.
    pub(crate) next_handover: Moment,
    /// By which the others' disks were probed last.
    pub(crate) probe: Option<DiskProbe>,
    /// It told another replica to campaign: whatever was promised to it, it counts on no more in this term.
    pub(crate) handed_over: bool,
    /// It says nothing until something happens.
    pub(crate) is_asleep: bool,
    /// Peers that asked a sleeping leader whether it still leads.
    pub(crate) asking: Vec<NodeId>,
    /// When it woke: before that it could hear nobody.
    pub(crate) awake_since: Moment,
    /// When something was proposed, or asked of others, last.
    pub(crate) busy_at: Moment,
}

impl Leader {
    /// Up to here every peer has the log.
    pub(crate) fn matched_by_all(&self) -> LogIndex {
        self.peers
            .values()
            .map(|progress| progress.matched)
            .min()
            .unwrap_or(LogIndex(u64::MAX))
    }

    /// Something happened: it does not sleep soon.
    pub(crate) fn busy(&mut self, now: Moment) {
        self.busy_at = now;
    }
}

impl Leader {
    pub(crate) fn fingerprint(&self, reference: Reference, state: &mut impl Hasher) {
        let Self {
            peers,
            term_start,
            heartbeat_due: _,
            reads,
            transfer,
            changes,
            next_handover,
            probe,
            handed_over,
            is_asleep,
            asking,
            awake_since,
            busy_at,
        } = self;
        // Without promises nobody sleeps, nor did.
        (handed_over, is_asleep, asking).hash(state);
        if peers.values().any(|progress| progress.promised.is_some()) {
            (reference.is_long_ago(*awake_since), reference.is_long_ago(*busy_at)).hash(state);
        }
        (term_start, reads, changes).hash(state);
        reference.timeouts_until(*next_handover).hash(state);
        probe.is_some().hash(state);
        if let Some(probe) = probe {
            probe.fingerprint(reference, state);
        }
        for (peer, progress) in peers.iter() {
            peer.hash(state);
            progress.fingerprint(reference, state);
        }
        state.write_u8(u8::from(transfer.is_some()));
        if let Some(transfer) = transfer {
            transfer.fingerprint(reference, state);
        }
    }
}

impl Group {
    pub(crate) fn become_leader(&mut self, effects: &mut Effects) {
        let last = self.log.last();
        let membership = self.memberships.in_force();
        let progress = |peer| (peer, Progress::new(last, self.now, membership.is_witness(peer)));
        self.role = Role::Leader(Box::new(Leader {
            peers: membership
                .peers_of(self.config.node)
                .into_iter()
                .map(progress)
                .collect(),
            term_start: last.next(),
            heartbeat_due: self.next_heartbeat(),
            reads: Reads::default(),
            transfer: None,
            changes: Changes::default(),
            next_handover: self.now.plus(self.config.tuning.election_timeout_ms),
            probe: None,
            handed_over: false,
            is_asleep: false,
            asking: Vec::new(),
            awake_since: self.now,
            busy_at: self.now,
        }));
        self.append_payloads([Payload::Noop], effects);
    }

    pub(crate) fn append_payloads(&mut self, payloads: impl IntoIterator<Item = Payload>, effects: &mut Effects) {
        let now = self.now;
        if let Role::Leader(leader) = &mut self.role {
            leader.busy(now);
        }
        let mut index = self.log.last();
        let entries: Vec<Entry> = payloads
            .into_iter()
            .map(|payload| {
                index = index.next();
                Entry {
                    index,
                    term: self.hard.term,
                    payload,
                }
            })
            .collect();
        self.append(entries, effects);
    }

    pub(crate) fn on_propose(&mut self, id: ProposalId, commands: Vec<Bytes>, effects: &mut Effects) {
        let proposed = match &mut self.role {
            Role::Leader(leader) => {
                if let Some(transfer) = &mut leader.transfer {
                    return transfer.hold(id, commands);
                }
                let first = self.log.last().next();
                self.append_payloads(commands.into_iter().map(Payload::Command), effects);
                Proposed::Appended {
                    first,
                    term: self.hard.term,
                }
            }
            _ => {
                self.doubt(effects);
                Proposed::NotLeader { leader: self.leader() }
            }
        };
        effects.proposed.push((id, proposed));
    }

    /// Heartbeats, and whether a quorum still hears this leader (CheckQuorum, thesis §6.2).
    pub(crate) fn on_leader_tick(&mut self, effects: &mut Effects) {
        self.note_backers();
        let (me, now) = (self.config.node, self.now);
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let contact = |node| {
            let progress = leader.peers.get(&node);
            if node == me {
                now
            } else {
                progress.map_or(Moment(0), Progress::heard)
            }
        };
        let heard = self.memberships.in_force().quorum().reached(contact).unwrap_or(now);
        let heard = heard.max(leader.awake_since);
        if now.since(heard) >= self.config.tuning.election_timeout_ms {
            return self.become_follower(self.hard.term, None, effects);
        }
        self.pursue_transfer(effects);
        self.hand_over_if_due(effects);
        if self.fall_asleep(effects) {
            return;
        }
        let next_heartbeat = self.next_heartbeat();
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        leader.heartbeat_due = next_heartbeat;
        let stalled: Vec<NodeId> = leader
            .peers
            .iter_mut()
            .filter_map(|(peer, progress)| progress.is_stalled(now).then_some(*peer))
            .collect();
        // A round of reads that got lost is confirmed by these.
        let all = leader.reads.is_waiting();
        self.send_heartbeats(all, effects);
        for peer in stalled {
            self.ask_for_end(peer, effects);
        }
    }

    /// The next multiple of the interval, so that all leaders of a node speak at the same moments, and what
    /// they say to one peer travels together.
    pub(crate) fn next_heartbeat(&self) -> Moment {
        let interval = self.config.tuning.heartbeat_interval_ms.max(1);
        Moment((self.now.0 / interval).saturating_add(1).saturating_mul(interval))
    }

    /// To `all`, or only to those who don't just prove by what they acknowledge that they hear this leader anyway.
    pub(crate) fn send_heartbeats(&mut self, all: bool, effects: &mut Effects) {
        let (now, interval) = (self.now, self.config.tuning.heartbeat_interval_ms);
        let sessions = &self.sessions;
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let round = leader.reads.newest_round();
        let mut heartbeats = Vec::with_capacity(leader.peers.len());
        for (peer, progress) in leader.peers.iter_mut() {
            let commit = self.commit.min(progress.matched);
            let backs = progress.promised.is_some() && progress.promised == sessions.believed_at(*peer, now);
            if !all && backs && progress.is_in_touch(commit, now, interval) {
                continue;
            }
            progress.told(commit);
            heartbeats.push((*peer, commit));
        }
        for (peer, commit) in heartbeats {
            self.send(peer, Prompt::Heartbeat { commit, round }, effects);
        }
    }

    pub(crate) fn on_heartbeat_reply(
        &mut self,
        from: NodeId,
        round: ReadRound,
        priority: u8,
        commit: LogIndex,
        session: Option<SessionId>,
    ) {
        if let Some(progress) = self.progress(from) {
            progress.answered_heartbeat(round, priority);
            if session.is_some() {
                progress.commit_known = commit;
            }
        }
        if let Role::Leader(leader) = &mut self.role {
            leader.stamped(from, session);
            if leader.is_asleep && !leader.asking.contains(&from) {
                leader.asking.push(from);
            }
        }
    }

    /// The progress of a peer that just said something, if this replica leads and knows it.
    pub(crate) fn progress(&mut self, peer: NodeId) -> Option<&mut Progress> {
        let Role::Leader(leader) = &mut self.role else {
            return None;
        };
        let progress = leader.peers.get_mut(&peer)?;
        progress.contact = self.now;
        Some(progress)
    }

    /// Commits what a quorum has on disk, if it is of this term: older entries are committed by it, never
    /// on their own (paper §5.4.2).
    pub(crate) fn advance_commit(&mut self) {
        if let Role::Leader(leader) = &self.role
            && let Some(reached) = self.reached(leader, self.log.durable())
        {
            self.commit = self.commit.max(reached);
        }
    }

    /// What a quorum has on disk if this replica has its log up to `own`, and may be committed as such.
    pub(crate) fn reached(&self, leader: &Leader, own: LogIndex) -> Option<LogIndex> {
        let me = self.config.node;
        let matched = |node| {
            let progress = leader.peers.get(&node);
            if node == me {
                own
            } else {
                progress.map_or(LogIndex::ZERO, |progress| progress.matched)
            }
        };
        let reached = self.memberships.in_force().quorum().reached(matched)?;
        (reached >= leader.term_start).then_some(reached)
    }

    /// Answers the reads whose round a quorum confirmed, and starts a round for those that were asked since.
    pub(crate) fn advance_reads(&mut self, effects: &mut Effects) {
        self.confirm_reads(effects);
        self.read_by_lease(effects);
        let (commit, now) = (self.commit, self.now);
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        // Before its first commit a leader does not know what is committed (thesis §6.4, step 1).
        if commit >= leader.term_start && leader.reads.start_round(commit) {
            leader.busy(now);
            // One that is a quorum by itself needs nobody's answer.
            self.confirm_reads(effects);
            if let Role::Leader(leader) = &self.role
                && leader.reads.is_waiting()
            {
                self.send_heartbeats(true, effects);
            }
        }
    }

    fn confirm_reads(&mut self, effects: &mut Effects) {
        let me = self.config.node;
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let (peers, newest) = (&leader.peers, leader.reads.newest_round());
        let answered = |node| {
            let progress = peers.get(&node);
            if node == me {
                newest
            } else {
                progress.map_or(ReadRound(0), |progress| progress.round)
            }
        };
        let confirmed = self.memberships.in_force().quorum().reached(answered).unwrap_or(newest);
        let confirmed = leader.reads.confirm(confirmed);
        self.answer_reads(confirmed, effects);
    }

    /// While it holds the lease it is sure that nobody else led when it was asked, without a round (thesis §6.4).
    fn read_by_lease(&mut self, effects: &mut Effects) {
        if !self.holds_lease() {
            return;
        }
        let commit = self.commit;
        if let Role::Leader(leader) = &mut self.role {
            let ready = leader.reads.take_all(commit);
            self.answer_reads(ready, effects);
        }
    }

    fn answer_reads(&self, ready: Vec<(Reader, LogIndex)>, effects: &mut Effects) {
        for (reader, index) in ready {
            match reader {
                Reader::Here(id) => effects.reads.push((id, ReadOutcome::Ready { index })),
                Reader::Peer(peer, request) => self.send(peer, Prompt::ReadIndexIs { request, index }, effects),
            }
        }
    }
}
