//! When a leader hands over by itself: its disk stalls, is full or can't be read, or another replica shall rather lead.

use crate::effects::Effects;
use crate::entry::Payload;
use crate::group::{Group, Role};
use crate::ids::{LogIndex, NodeId};
use crate::input::Moment;
use crate::leader::Leader;
use crate::quorum::VoteResult;
use std::cmp::Reverse;

/// Election timeouts between two attempts of a leader to hand over by itself. What others showed no longer ago counts.
const PAUSE_TIMEOUTS: u64 = 4;

/// Election timeouts for which a replica that can't read what a peer lacks lets others lead. It costs the group a moment to
/// find out whether it can by now.
const GIVE_WAY_TIMEOUTS: u64 = 16;

impl Group {
    /// Begins to hand over if there is reason to: after an election timeout a write is not durable, or what is to be applied
    /// or sent to a peer can't be read; or a voter of a higher priority lives and has the whole log.
    pub(crate) fn hand_over_if_due(&mut self, effects: &mut Effects) {
        if !self.may_hand_over() {
            return;
        }
        let (now, timeout) = (self.now, self.config.tuning.election_timeout_ms);
        let is_stalled = self.log.oldest_write().is_some_and(|since| now.since(since) >= timeout);
        if is_stalled {
            self.hand_over_to_who_writes(effects);
        } else if self.is_unreadable() {
            self.hand_over_to(self.best_successor());
        } else if let Some(feeder) = self.feeder() {
            if self.hand_over_to(Some(feeder)) {
                self.gives_way_until = Some(now.plus(timeout.saturating_mul(GIVE_WAY_TIMEOUTS)));
            }
        } else {
            self.hand_over_to(self.preferred());
        }
    }

    /// Since when what it has to apply next can't be read.
    pub(crate) fn unreadable_since(&self) -> Option<Moment> {
        let next = self.applying.next();
        self.unreadable
            .filter(|(index, _)| *index == next)
            .map(|(_, since)| since)
    }

    /// Whether what it has to apply could not be read for an election timeout.
    fn is_unreadable(&self) -> bool {
        let timeout = self.config.tuning.election_timeout_ms;
        self.unreadable_since()
            .is_some_and(|since| self.now.since(since) >= timeout)
    }

    /// Its priority as others are told: who could do nothing but hand over again is preferred to nobody.
    pub(crate) fn priority(&self) -> u8 {
        if self.is_unreadable() || self.gives_way() {
            0
        } else {
            self.config.priority
        }
    }

    /// Whether it gave way to another, not long ago, that may be able to read what a peer lacks. If that can't either, or
    /// is gone, it leads on.
    pub(crate) fn gives_way(&self) -> bool {
        self.gives_way_until.is_some_and(|until| self.now < until)
    }

    /// Who shall lead because this replica can't read what a peer lacks: of those that have all that is committed the next in
    /// turn, so that each is tried before one is tried again.
    fn feeder(&self) -> Option<NodeId> {
        let Role::Leader(leader) = &self.role else {
            return None;
        };
        if self.gives_way() {
            return None;
        }
        let timeout = self.config.tuning.election_timeout_ms;
        let mut peers = leader.peers.values();
        if !peers.any(|progress| progress.is_starved(self.now, timeout)) {
            return None;
        }
        let matched = |peer: &NodeId| leader.peers.get(peer).map(|progress| progress.matched);
        let able = self.successors().filter(|peer| matched(peer) >= Some(self.commit));
        able.min_by_key(|peer| (*peer < self.config.node, *peer))
    }

    /// The node can't write.
    pub(crate) fn hand_over(&mut self, effects: &mut Effects) {
        if self.may_hand_over() {
            self.note_backers();
            self.hand_over_to_who_writes(effects);
        }
    }

    /// This replica's disk does not write: the others shall lead, once it is seen that theirs do. Who campaigns where too few
    /// can write down their votes takes the group's leader away, and with it all that can be had without a disk: reads. They
    /// show it by an empty entry, a new one if the last was appended long ago: a disk may have filled up since.
    fn hand_over_to_who_writes(&mut self, effects: &mut Effects) {
        let (now, timeout) = (self.now, self.config.tuning.election_timeout_ms);
        let durable = self.log.durable();
        let Role::Leader(leader) = &self.role else {
            return;
        };
        let probe = leader.probe.filter(|(index, _)| *index > durable);
        if probe.is_some_and(|(index, _)| !self.others_can_elect(leader, index)) {
            return;
        }
        let is_new = |since| now.since(since) < timeout.saturating_mul(PAUSE_TIMEOUTS);
        if probe.is_some_and(|(_, since)| is_new(since)) {
            self.hand_over_to(self.best_successor());
            return;
        }
        self.append_payloads([Payload::Noop], effects);
        let last = self.log.last();
        if let Role::Leader(leader) = &mut self.role {
            leader.probe = Some((last, now));
        }
    }

    /// Whether those that are heard and have on disk what ends at `probe` are enough for an election. Who can't be sent it, because
    /// this replica's disk would have to be read or written first, and a witness, which is sent only what is durable here, are taken
    /// to be able to write.
    fn others_can_elect(&self, leader: &Leader, probe: LogIndex) -> bool {
        let (now, timeout) = (self.now, self.config.tuning.election_timeout_ms);
        let can_vote = |node| {
            leader.peers.get(&node).is_some_and(|peer| {
                now.since(peer.heard()) < timeout && (peer.matched >= probe || peer.is_witness || peer.needs_disk())
            })
        };
        let result = self.membership().quorum().vote(|node| Some(can_vote(node)));
        result == VoteResult::Won
    }

    /// Whether it leads, and did not try to hand over just now.
    fn may_hand_over(&self) -> bool {
        let Role::Leader(leader) = &self.role else {
            return false;
        };
        leader.transfer.is_none() && self.now >= leader.next_handover && self.commit >= leader.term_start
    }

    /// Whether that began.
    fn hand_over_to(&mut self, to: Option<NodeId>) -> bool {
        if to.is_none_or(|to| self.start_transfer(None, Some(to)).is_err()) {
            return false;
        }
        let (now, timeout) = (self.now, self.config.tuning.election_timeout_ms);
        if let Role::Leader(leader) = &mut self.role {
            leader.next_handover = now.plus(timeout.saturating_mul(PAUSE_TIMEOUTS));
        }
        true
    }

    /// The voter of the highest priority above this one's, of those that live and have all that is committed.
    pub(crate) fn preferred(&self) -> Option<NodeId> {
        let Role::Leader(leader) = &self.role else {
            return None;
        };
        let caught_up = self.successors().filter(|peer| {
            let progress = leader.peers.get(peer);
            progress.is_some_and(|progress| progress.priority > self.config.priority && progress.matched >= self.commit)
        });
        caught_up.min_by_key(|peer| {
            let progress = leader.peers.get(peer);
            (
                Reverse(progress.map(|progress| (progress.priority, progress.matched))),
                *peer,
            )
        })
    }
}
