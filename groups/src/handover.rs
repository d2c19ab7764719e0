//! When a leader hands over by itself: its disk stalls, is full or can't be read, or another replica shall rather lead.

use crate::effects::Effects;
use crate::entry::Payload;
use crate::fingerprint::Reference;
use crate::group::{Group, Role};
use crate::ids::{LogIndex, NodeId};
use crate::input::Moment;
use crate::leader::Leader;
use crate::progress::Progress;
use crate::quorum::VoteResult;
use std::cmp::Reverse;
use std::hash::{Hash, Hasher};

/// Election timeouts between two attempts of a leader to hand over by itself.
const PAUSE_TIMEOUTS: u64 = 4;

/// The longest pause between two probes of the others' disks, in such pauses.
const PAUSES_MAX: u64 = 64;

/// The same if enough of them have written the last one.
const PROMISING_PAUSES_MAX: u64 = 8;

/// An empty entry by which others are to show that they can write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskProbe {
    index: LogIndex,
    /// When it was appended.
    since: Moment,
    /// The next one comes no earlier than so long after it, in milliseconds.
    pause: u64,
}

impl DiskProbe {
    /// A witness, which is sent only what is durable here, is taken to write if it says anything.
    fn is_written_by(&self, peer: &Progress) -> bool {
        peer.matched >= self.index || (peer.is_witness && peer.contact >= self.since)
    }

    pub(crate) fn fingerprint(&self, reference: Reference, state: &mut impl Hasher) {
        let Self { index, since, pause } = self;
        (
            index,
            reference.is_long_ago(*since),
            reference.now.since(*since) >= *pause,
        )
            .hash(state);
    }
}

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
        if is_stalled || self.open_probe().is_some() {
            self.hand_over_to_who_writes(effects);
        } else if !self.has_committed() {
            // Whoever else leads may not know what is committed either.
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
    /// can write down their votes takes the group's leader away, and with it all that can be had without a disk: reads. So they
    /// are given an empty entry to write, and another one later if nothing comes of it: rarely, since these pile up here.
    fn hand_over_to_who_writes(&mut self, effects: &mut Effects) {
        let pause_min = self.config.tuning.election_timeout_ms.saturating_mul(PAUSE_TIMEOUTS);
        let Role::Leader(leader) = &self.role else {
            return;
        };
        let open = self.open_probe();
        if open.is_some_and(|probe| self.others_can_elect(leader, probe)) {
            self.hand_over_to(self.best_successor());
            return;
        }
        // Who wrote it late may write the next in time.
        let is_promising = open.is_some_and(|probe| self.might_elect(leader, probe));
        let pause_max = pause_min.saturating_mul(if is_promising { PROMISING_PAUSES_MAX } else { PAUSES_MAX });
        let pause = open.map_or(pause_min, |probe| probe.pause.min(pause_max));
        if leader.probe.is_some_and(|probe| self.now.since(probe.since) < pause) {
            return;
        }
        if !self.is_electorate(leader, |_| true) {
            return;
        }
        self.append_payloads([Payload::Noop], effects);
        let (index, since) = (self.log.last(), self.now);
        if let Role::Leader(leader) = &mut self.role {
            let pause = open.map_or(pause, |_| pause.saturating_mul(2).min(pause_max));
            leader.probe = Some(DiskProbe { index, since, pause });
        }
    }

    /// The last probe, if it is not written here yet.
    fn open_probe(&self) -> Option<DiskProbe> {
        let Role::Leader(leader) = &self.role else {
            return None;
        };
        leader.probe.filter(|probe| probe.index > self.log.durable())
    }

    /// Whether others can be elected: they have shown that they write, within an election timeout. For as long after that it may
    /// be a peer for which this replica's disk has to be read that is in the way: if that hangs, it can't show anything, and is
    /// taken to write.
    fn others_can_elect(&self, leader: &Leader, probe: DiskProbe) -> bool {
        let (age, timeout) = (self.now.since(probe.since), self.config.tuning.election_timeout_ms);
        let have_shown =
            self.has_successor(leader, probe) && self.is_electorate(leader, |peer| probe.is_written_by(peer));
        if age < timeout {
            return have_shown;
        }
        !have_shown && age < timeout.saturating_mul(2) && self.might_elect(leader, probe)
    }

    /// The same, whenever they have shown it.
    fn might_elect(&self, leader: &Leader, probe: DiskProbe) -> bool {
        let (now, timeout) = (self.now, self.config.tuning.election_timeout_ms);
        let waits = |peer: &Progress| peer.contact >= probe.since && peer.is_read_for(now, timeout);
        self.has_successor(leader, probe) && self.is_electorate(leader, |peer| probe.is_written_by(peer) || waits(peer))
    }

    /// Whether one that is heard and may lead wrote it.
    fn has_successor(&self, leader: &Leader, probe: DiskProbe) -> bool {
        let mut successors = self.successors().filter_map(|peer| leader.peers.get(&peer));
        successors.any(|peer| peer.matched >= probe.index)
    }

    /// Whether those peers that are heard and of which `can_vote` holds are a quorum without this replica.
    fn is_electorate(&self, leader: &Leader, can_vote: impl Fn(&Progress) -> bool) -> bool {
        let (now, timeout) = (self.now, self.config.tuning.election_timeout_ms);
        let is_heard = |peer: &Progress| now.since(peer.heard()) < timeout;
        let votes = |node| {
            leader
                .peers
                .get(&node)
                .is_some_and(|peer| is_heard(peer) && can_vote(peer))
        };
        self.membership().quorum().vote(|node| Some(votes(node))) == VoteResult::Won
    }

    /// Whether it leads, and did not try to hand over just now.
    fn may_hand_over(&self) -> bool {
        let Role::Leader(leader) = &self.role else {
            return false;
        };
        leader.transfer.is_none() && self.now >= leader.next_handover
    }

    /// Whether it leads, and an entry of its term is committed.
    fn has_committed(&self) -> bool {
        matches!(&self.role, Role::Leader(leader) if self.commit >= leader.term_start)
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
