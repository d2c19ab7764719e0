//! The side that grants: sessions for a peer whose heartbeats prove that it lives and hears this node.

use super::config::{LivenessConfig, Probation};
use super::ids::{NodeIncarnation, SessionId};
use super::message::{Grant, ReplyId};
use crate::input::Moment;
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

/// Replies remembered per peer. An older one proves nothing any more.
const REPLIES_MAX: usize = 64;

/// What a node knows of a peer as the one that it supports.
#[derive(Clone, Debug, Default)]
pub(super) struct Granted {
    /// The newest life of the peer that was heard of.
    known: Option<NodeIncarnation>,
    live: Option<Live>,
    /// Which lives it had says nothing of whoever it is once the session is over.
    is_another: bool,
    /// Replies to that life, with when they were sent, ascending.
    replies: VecDeque<(u64, Moment)>,
    flaps: Flaps,
}

#[derive(Clone, Copy, Debug)]
struct Live {
    session: SessionId,
    since: Moment,
    until: Moment,
}

impl Granted {
    pub(super) fn session(&self) -> Option<SessionId> {
        self.live.map(|live| live.session)
    }

    /// When the session ends unless it is extended.
    pub(super) fn until(&self) -> Option<Moment> {
        self.live.map(|live| live.until)
    }

    /// Ends the session if its time is over. Nobody else ends one, but a new life of the peer.
    pub(super) fn expire(&mut self, now: Moment, config: &LivenessConfig) -> Option<SessionId> {
        self.live.is_some_and(|live| live.until <= now).then_some(())?;
        self.end(now, config)
    }

    fn end(&mut self, now: Moment, config: &LivenessConfig) -> Option<SessionId> {
        let live = self.live.take()?;
        if std::mem::take(&mut self.is_another) {
            *self = Self::default();
            return Some(live.session);
        }
        self.flaps.withdrawn(now.since(live.since), &config.probation);
        Some(live.session)
    }

    /// It was no peer for a while, and may be another node from now on. What was promised in the session that lives, if
    /// one does, holds.
    pub(super) fn begin_anew(&mut self) {
        self.is_another = self.live.is_some();
        if !self.is_another {
            *self = Self::default();
        }
    }

    /// Whether `incarnation` is the life of the peer that counts. A new one ends the session, which is returned.
    pub(super) fn meet(
        &mut self,
        incarnation: NodeIncarnation,
        now: Moment,
        config: &LivenessConfig,
    ) -> (bool, Option<SessionId>) {
        match self.known {
            Some(known) if known == incarnation => (true, None),
            Some(known) if !incarnation.succeeds(known) => (false, None),
            _ => {
                let ended = self.end(now, config);
                self.known = Some(incarnation);
                self.replies.clear();
                self.flaps.interrupted();
                (true, ended)
            }
        }
    }

    /// A heartbeat with this number came from the life that counts. What it is granted, if anything: a session goes
    /// on, or begins with the next of `counter`.
    pub(super) fn on_heartbeat(
        &mut self,
        now: Moment,
        seq: u64,
        proof: Option<ReplyId>,
        counter: &mut u64,
        config: &LivenessConfig,
    ) -> Option<Grant> {
        if !self.is_proved(now, proof, config) {
            self.flaps.interrupted();
            return None;
        }
        self.flaps.proved(seq);
        let until = now.plus(config.promise_ms);
        let session = match &mut self.live {
            Some(live) => {
                live.until = live.until.max(until);
                live.session
            }
            None if self.flaps.may_open(&config.probation) => {
                *counter += 1;
                let session = SessionId {
                    granter: config.incarnation,
                    counter: *counter,
                };
                self.live = Some(Live {
                    session,
                    since: now,
                    until,
                });
                session
            }
            None => return None,
        };
        Some(Grant {
            session,
            promise_ms: config.promise_ms,
        })
    }

    /// Whether the peer heard this node lately: without that, a link that works one way only would keep promises
    /// alive that their receiver never hears of.
    fn is_proved(&self, now: Moment, proof: Option<ReplyId>, config: &LivenessConfig) -> bool {
        let Some(proof) = proof.filter(|proof| proof.incarnation == config.incarnation) else {
            return false;
        };
        let sent = self.replies.iter().find(|(number, _)| *number == proof.number);
        sent.is_some_and(|(_, sent)| now.since(*sent) <= config.proof_ms)
    }

    pub(super) fn replied(&mut self, number: u64, now: Moment) {
        if self.replies.len() >= REPLIES_MAX {
            self.replies.pop_front();
        }
        self.replies.push_back((number, now));
    }

    /// Times relative to `now`.
    pub(super) fn fingerprint(&self, now: Moment, config: &LivenessConfig, state: &mut impl Hasher) {
        let Self {
            known,
            live,
            is_another,
            replies,
            flaps,
        } = self;
        (known, is_another, flaps).hash(state);
        let live = live.map(|live| {
            let age = now.since(live.since).min(config.probation.forgiven_after_ms);
            (live.session, age, live.until.since(now))
        });
        live.hash(state);
        for (number, sent) in replies.iter().filter(|(_, sent)| now.since(*sent) <= config.proof_ms) {
            (number, now.since(*sent)).hash(state);
        }
    }
}

/// How often sessions were withdrawn young, and what it takes to get the next (rule of probation).
#[derive(Clone, Copy, Debug, Default, Hash)]
struct Flaps {
    withdrawals: u32,
    /// Proved heartbeats in a row.
    proved: u64,
    /// The number of the newest of them: one that comes twice counts once.
    newest: u64,
}

impl Flaps {
    fn withdrawn(&mut self, age_ms: u64, probation: &Probation) {
        if age_ms >= probation.forgiven_after_ms {
            self.withdrawals = 0;
        }
        self.withdrawals = self.withdrawals.saturating_add(1);
        self.proved = 0;
    }

    fn interrupted(&mut self) {
        (self.proved, self.newest) = (0, 0);
    }

    fn proved(&mut self, seq: u64) {
        if seq > self.newest {
            self.newest = seq;
            self.proved = self.proved.saturating_add(1);
        }
    }

    fn may_open(&self, probation: &Probation) -> bool {
        let Some(further) = self.withdrawals.checked_sub(probation.withdrawals) else {
            return true;
        };
        let doubled = 1_u64.checked_shl(further).unwrap_or(u64::MAX);
        let needed = probation.heartbeats.saturating_mul(doubled);
        self.proved >= needed.min(probation.heartbeats_max)
    }
}
