//! What a leader does: append, replicate, commit.

use crate::change::Changes;
use crate::effects::{Effects, Proposed, ReadOutcome};
use crate::entry::{Entry, Payload};
use crate::fingerprint::Reference;
use crate::group::{Group, Role};
use crate::ids::{LogIndex, NodeId};
use crate::input::{Moment, ProposalId};
use crate::message::{Prompt, ReadRound};
use crate::progress::Progress;
use crate::reads::{Reader, Reads};
use crate::transfer::Transfer;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

#[derive(Clone, Debug)]
pub(crate) struct Leader {
    /// How far each peer is.
    pub(crate) peers: BTreeMap<NodeId, Progress>,
    /// The no-op this term began with. Once it is committed, so is all before it.
    pub(crate) term_start: LogIndex,
    pub(crate) heartbeat_due: Moment,
    pub(crate) reads: Reads,
    /// Leadership is on its way to another replica.
    pub(crate) transfer: Option<Transfer>,
    pub(crate) changes: Changes,
    /// Not before this it hands over by itself.
    pub(crate) next_handover: Moment,
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
        } = self;
        (term_start, reads, changes).hash(state);
        reference.timeouts_until(*next_handover).hash(state);
        for (peer, progress) in peers {
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
        }));
        self.append_payloads([Payload::Noop], effects);
    }

    pub(crate) fn append_payloads(&mut self, payloads: impl IntoIterator<Item = Payload>, effects: &mut Effects) {
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
        self.append(&entries, effects);
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
            _ => Proposed::NotLeader { leader: self.leader() },
        };
        effects.proposed.push((id, proposed));
    }

    /// Heartbeats, and whether a quorum still hears this leader (CheckQuorum, thesis §6.2).
    pub(crate) fn on_leader_tick(&mut self, effects: &mut Effects) {
        let (me, now) = (self.config.node, self.now);
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let contact = |node| {
            let progress = leader.peers.get(&node);
            if node == me {
                now
            } else {
                progress.map_or(Moment(0), |progress| progress.contact)
            }
        };
        let heard = self.memberships.in_force().quorum().reached(contact).unwrap_or(now);
        if now.since(heard) >= self.config.tuning.election_timeout_ms {
            return self.become_follower(self.hard.term, None, effects);
        }
        self.expire_transfer(effects);
        self.hand_over_if_due();
        let next_heartbeat = self.next_heartbeat();
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        leader.heartbeat_due = next_heartbeat;
        let stalled: Vec<NodeId> = leader
            .peers
            .iter_mut()
            .filter_map(|(peer, progress)| progress.is_stalled().then_some(*peer))
            .collect();
        self.send_heartbeats(effects);
        for peer in stalled {
            self.ask_for_end(peer, effects);
        }
    }

    /// The next multiple of the interval, so that all leaders of a node speak at the same moments, and what
    /// they say to one peer travels together.
    fn next_heartbeat(&self) -> Moment {
        let interval = self.config.tuning.heartbeat_interval_ms.max(1);
        Moment((self.now.0 / interval).saturating_add(1).saturating_mul(interval))
    }

    pub(crate) fn send_heartbeats(&mut self, effects: &mut Effects) {
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let round = leader.reads.newest_round();
        let mut heartbeats = Vec::with_capacity(leader.peers.len());
        for (peer, progress) in &mut leader.peers {
            let commit = self.commit.min(progress.matched);
            progress.told(commit);
            heartbeats.push((*peer, commit));
        }
        for (peer, commit) in heartbeats {
            self.send(peer, Prompt::Heartbeat { commit, round }, effects);
        }
    }

    pub(crate) fn on_heartbeat_reply(&mut self, from: NodeId, round: ReadRound, priority: u8) {
        if let Some(progress) = self.progress(from) {
            progress.answered_heartbeat(round, priority);
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
        let Role::Leader(leader) = &self.role else {
            return;
        };
        let (me, durable) = (self.config.node, self.log.durable());
        let matched = |node| {
            let progress = leader.peers.get(&node);
            if node == me {
                durable
            } else {
                progress.map_or(LogIndex::ZERO, |progress| progress.matched)
            }
        };
        if let Some(reached) = self.memberships.in_force().quorum().reached(matched)
            && reached >= leader.term_start
        {
            self.commit = self.commit.max(reached);
        }
    }

    /// Answers the reads whose round a quorum confirmed, and starts a round for those that were asked since.
    pub(crate) fn advance_reads(&mut self, effects: &mut Effects) {
        self.confirm_reads(effects);
        let commit = self.commit;
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        // Before its first commit a leader does not know what is committed (thesis §6.4, step 1).
        if commit >= leader.term_start && leader.reads.start_round(commit) {
            // One that is a quorum by itself needs nobody's answer.
            self.confirm_reads(effects);
            if let Role::Leader(leader) = &self.role
                && leader.reads.is_waiting()
            {
                self.send_heartbeats(effects);
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
        for (reader, index) in leader.reads.confirm(confirmed) {
            match reader {
                Reader::Here(id) => effects.reads.push((id, ReadOutcome::Ready { index })),
                Reader::Peer(peer, request) => self.send(peer, Prompt::ReadIndexIs { request, index }, effects),
            }
        }
    }
}
