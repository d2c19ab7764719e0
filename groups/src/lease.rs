//! What a leader may count on: peers that promised to back it, in sessions that it believes in.
//!
//! While every quorum of its configuration backs it, nobody else can have been elected, and it answers reads from
//! its own commit index without asking anybody (thesis §6.4, with promises in the place of synchronised clocks).

use crate::group::{Group, Role};
use crate::ids::NodeId;
use crate::input::Moment;
use crate::leader::Leader;
use crate::liveness::{SessionId, Sessions};
use crate::quorum::VoteResult;

impl Leader {
    /// Whether `peer` backs it now: what it promised last, it promised in the session that this node believes in.
    pub(crate) fn is_backed_by(&self, peer: NodeId, sessions: &Sessions, now: Moment) -> bool {
        let promised = self.peers.get(&peer).and_then(|progress| progress.promised);
        promised.is_some() && promised == sessions.believed_at(peer, now)
    }

    /// It acknowledged in the leader's own term, with this stamp. An older session never takes the place of a newer
    /// one: the acknowledgement was late.
    pub(crate) fn stamped(&mut self, peer: NodeId, session: Option<SessionId>) {
        if let Some(progress) = self.peers.get_mut(&peer) {
            progress.promised = progress.promised.max(session);
        }
    }
}

impl Group {
    /// Whether it leads and each quorum of the configuration in its log backs it at `now`: no leader of a later term
    /// can have been elected. Not before it committed in its term, nor while it hands over; once it told another to
    /// campaign, never again in this term. Never without [`Tuning::lease_reads`](crate::Tuning::lease_reads). `now` is read
    /// after whatever relies on this was asked, and `sessions` are the node's.
    #[must_use]
    pub fn has_lease(&self, now: Moment, sessions: &Sessions) -> bool {
        let Role::Leader(leader) = &self.role else {
            return false;
        };
        self.config.tuning.lease_reads
            && self.commit >= leader.term_start
            && !leader.handed_over
            && leader.transfer.is_none()
            && self.is_backed(leader, now, sessions)
    }

    /// The same for the step that is under way.
    pub(crate) fn holds_lease(&self) -> bool {
        self.has_lease(self.now, &self.sessions)
    }

    /// Whether every quorum backs it.
    pub(crate) fn is_backed(&self, leader: &Leader, now: Moment, sessions: &Sessions) -> bool {
        let me = self.config.node;
        let backs = |node| Some(node == me || leader.is_backed_by(node, sessions, now));
        self.memberships.in_force().quorum().vote(backs) == VoteResult::Won
    }

    /// Those that back it are there, though they may have nothing to say.
    pub(crate) fn note_backers(&mut self) {
        let (now, sessions) = (self.now, &self.sessions);
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        for (peer, progress) in leader.peers.iter_mut() {
            if progress.promised.is_some() && progress.promised == sessions.believed_at(*peer, now) {
                progress.backed = now;
            }
        }
    }
}
