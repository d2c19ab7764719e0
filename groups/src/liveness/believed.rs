//! The side that is supported: what it may count on, measured from when it sent the heartbeat.

use super::config::{LivenessConfig, believed_ms};
use super::message::{Grant, ReplyId};
use super::sessions::Belief;
use crate::input::Moment;
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

/// Heartbeats remembered per peer. The answer to an older one comes too late to be of use.
const HEARTBEATS_MAX: usize = 64;

/// What a node knows of a peer as the one that supports it.
#[derive(Clone, Debug, Default)]
pub(super) struct Believed {
    /// Heartbeats to the peer, with when they were sent, ascending.
    sent: VecDeque<(u64, Moment)>,
    newest_reply: Option<ReplyId>,
    belief: Option<Belief>,
    /// Whether the belief lasts: `None` was never so.
    lasts: bool,
}

/// What a reply changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Learned {
    /// Nothing was believed, and now something is.
    Regained,
    /// Another session is believed.
    Changed,
    /// The same goes on for longer.
    Extended,
}

impl Believed {
    /// What lasts.
    pub(super) fn belief(&self) -> Option<Belief> {
        self.belief.filter(|_| self.lasts)
    }

    pub(super) fn newest_reply(&self) -> Option<ReplyId> {
        self.newest_reply
    }

    /// A heartbeat is about to be handed to the transport.
    pub(super) fn sent(&mut self, seq: u64, now: Moment) {
        if self.sent.len() >= HEARTBEATS_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((seq, now));
    }

    /// Whether what was believed has just come to its end.
    pub(super) fn expire(&mut self, now: Moment) -> bool {
        let over = self.belief().is_some_and(|belief| belief.until <= now);
        if over {
            self.lasts = false;
        }
        over
    }

    /// The answer to the heartbeat `seq` of this life. One to a heartbeat that is not remembered, or of an older life
    /// of the peer, says nothing.
    pub(super) fn on_reply(
        &mut self,
        now: Moment,
        seq: u64,
        id: ReplyId,
        granted: Option<Grant>,
        config: &LivenessConfig,
    ) -> Option<Learned> {
        let older =
            |newest: &ReplyId| newest.incarnation != id.incarnation && !id.incarnation.succeeds(newest.incarnation);
        if self.newest_reply.as_ref().is_some_and(older) {
            return None;
        }
        let (_, sent) = self.sent.iter().find(|(sent, _)| *sent == seq)?;
        let replaces = |newest: ReplyId| newest.incarnation != id.incarnation || newest.number < id.number;
        if self.newest_reply.is_none_or(replaces) {
            self.newest_reply = Some(id);
        }
        let grant = granted?;
        let until = sent.plus(believed_ms(grant.promise_ms, config.drift_permille));
        if until <= now || self.belief.is_some_and(|belief| until <= belief.until) {
            return None;
        }
        // The pair is replaced whole: the end of one session says nothing of another.
        let before = self.belief();
        let session = grant.session;
        self.belief = Some(Belief { session, until });
        self.lasts = true;
        Some(match before {
            None => Learned::Regained,
            Some(before) if before.session != session => Learned::Changed,
            Some(_) => Learned::Extended,
        })
    }

    /// Times relative to `now`.
    pub(super) fn fingerprint(&self, now: Moment, state: &mut impl Hasher) {
        let Self {
            sent,
            newest_reply,
            belief,
            lasts,
        } = self;
        (newest_reply, lasts).hash(state);
        belief
            .map(|belief| (belief.session, belief.until.since(now)))
            .hash(state);
        for (seq, sent) in sent {
            (seq, now.since(*sent)).hash(state);
        }
    }
}
