//! What a follower promises its leader: not to vote for others, nor to campaign, while a session between their nodes
//! lives. The leader is told in every acknowledgement, by the session's name ([`Sessions::granted`]).
//!
//! A promise ends only when its session has ended, when exactly that leadership is resigned, or when the follower
//! follows a leader of a higher term, votes for the same leader in one, or for whom its leader wants to lead next.
//! Nothing else frees it: in particular no higher term that somebody names.

use crate::effects::{Effects, PersistSeq};
use crate::fingerprint::Reference;
use crate::group::{Group, Role};
use crate::ids::{LogIndex, NodeId, Term};
use crate::liveness::{SessionId, Sessions};
use crate::message::{Body, Promise, Prompt, ReadRound};
use std::hash::{Hash, Hasher};

/// A promise that a replica gave, by acknowledging something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PromiseRecord {
    /// Whom it was given to.
    pub leader: NodeId,
    /// It lasts no longer than this session, which the replica's node grants to the leader's.
    pub session: SessionId,
    /// The term in which that leader leads.
    pub term: Term,
}

/// An acknowledgement that may not have left yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepted {
    term: Term,
    matched: LogIndex,
    session: Option<SessionId>,
    /// It leaves once this write is durable.
    pub(crate) after: PersistSeq,
}

impl Accepted {
    pub(crate) fn fingerprint(&self, reference: Reference, state: &mut impl Hasher) {
        let Self {
            term,
            matched,
            session,
            after,
        } = self;
        (term, matched, session, reference.writes_since(*after)).hash(state);
    }
}

/// What keeps a replica from voting.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promises {
    pub(crate) given: Option<PromiseRecord>,
    /// What it promised before it was started anew is not known.
    lost: Lost,
    /// It was found on disk: what it promised in the node's last life is not known.
    found: bool,
}

#[derive(Clone, Debug, Default, Hash)]
enum Lost {
    #[default]
    Nothing,
    /// It may have been given in any session that lives.
    Unknown,
    /// It may have been given in one of these.
    In(Vec<(NodeId, SessionId)>),
}

impl Promises {
    pub(crate) fn new(given: Option<PromiseRecord>, lost: bool, found: bool) -> Self {
        Self {
            given,
            lost: if lost { Lost::Unknown } else { Lost::Nothing },
            found,
        }
    }

    /// Forgets what was given in sessions that have ended.
    fn review(&mut self, sessions: &Sessions) {
        self.given = self.given.filter(|given| sessions.is_live(given.leader, given.session));
        match &mut self.lost {
            Lost::Nothing => return,
            Lost::Unknown => self.lost = Lost::In(sessions.all_granted().collect()),
            Lost::In(all) => all.retain(|(to, session)| sessions.is_live(*to, *session)),
        }
        if matches!(&self.lost, Lost::In(all) if all.is_empty()) {
            self.lost = Lost::Nothing;
        }
    }

    /// Whether it votes for nobody, whoever asks.
    fn is_barred(&self, sessions: &Sessions) -> bool {
        !matches!(self.lost, Lost::Nothing) || (self.found && !sessions.may_vote())
    }

    /// Whether it will keep from campaigning in a step with these sessions.
    fn will_bind(&self, sessions: &Sessions) -> bool {
        let lives = |to, session| sessions.is_live(to, session);
        let is_lost = match &self.lost {
            Lost::Nothing => false,
            Lost::Unknown => sessions.all_granted().next().is_some(),
            Lost::In(all) => all.iter().any(|(to, session)| lives(*to, *session)),
        };
        is_lost
            || (self.found && !sessions.may_vote())
            || self.given.is_some_and(|given| lives(given.leader, given.session))
    }

    pub(crate) fn fingerprint(&self, state: &mut impl Hasher) {
        let Self { given, lost, found } = self;
        (given, lost, found).hash(state);
    }
}

impl Group {
    /// What it promised, if that may still bind it: to be handed on to a replica that takes this one's place in the
    /// same life of the node ([`Recovered::promise`](crate::Recovered::promise)).
    #[must_use]
    pub fn promise(&self) -> Option<PromiseRecord> {
        self.promises.given
    }

    /// Whether a promise will keep it from campaigning in a step with these sessions.
    pub(crate) fn will_be_bound(&self, sessions: &Sessions) -> bool {
        self.promises.will_bind(sessions)
    }

    /// Whether it may vote for nobody because the node has just started.
    pub(crate) fn has_to_wait(&self, sessions: &Sessions) -> bool {
        self.promises.found && !sessions.may_vote()
    }

    /// To be called first in every step: promises whose sessions ended are free.
    pub(crate) fn review_promises(&mut self) {
        self.promises.review(&self.sessions);
    }

    /// Whether it may vote for nobody at all now: neither for itself.
    pub(crate) fn is_barred(&self) -> bool {
        self.promises.is_barred(&self.sessions)
    }

    pub(crate) fn is_promised(&self) -> bool {
        self.promises.given.is_some()
    }

    /// Whether it must refuse its vote in `term` to `from`. In a leadership `transfer` the leader of the term before
    /// wants it so, and relies on no promise any more.
    pub(crate) fn refuses(&self, from: NodeId, term: Term, transfer: bool) -> bool {
        let binds = |given: PromiseRecord| given.leader != from && !(transfer && given.term < term);
        self.is_barred() || self.promises.given.is_some_and(binds)
    }

    /// It follows, or votes for, somebody in the current term whom no older promise keeps it from.
    pub(crate) fn free_of_older(&mut self) {
        let term = self.hard.term;
        self.promises.given = self.promises.given.filter(|given| given.term >= term);
    }

    /// The leader of an older term wants this replica to campaign.
    pub(crate) fn free_for_transfer(&mut self) {
        self.promises.given = None;
    }

    /// The session to be stamped into an acknowledgement to the leader of this term. With it the promise is given,
    /// in this very step.
    pub(crate) fn stamp(&mut self, leader: NodeId) -> Option<SessionId> {
        let session = self.sessions.granted(leader)?;
        self.promises.given = Some(PromiseRecord {
            leader,
            session,
            term: self.hard.term,
        });
        Some(session)
    }

    /// "My log equals yours up to here, on disk." Said once for a write: a leader that gets no answer asks again and again, as
    /// long as the disk stands still or is full.
    pub(crate) fn accept(&mut self, leader: NodeId, matched: LogIndex, effects: &mut Effects) {
        let session = self.stamp(leader);
        let said = |accepted: Accepted| {
            (accepted.term, accepted.matched, accepted.session) == (self.hard.term, matched, session)
        };
        if self.accepted.is_some_and(said) {
            return;
        }
        self.promise_after_write(leader, Promise::AppendAccepted { matched, session }, effects);
        self.accepted = Some(Accepted {
            term: self.hard.term,
            matched,
            session,
            after: self.persist_seq,
        });
    }

    /// Promised, and its leader is silent: it acknowledges once more. If that one no longer leads, its node will say
    /// so; if it sleeps, it says so again.
    pub(crate) fn ask_leader(&mut self, effects: &mut Effects) {
        let Some(PromiseRecord { leader, session, term }) = self.promises.given else {
            return;
        };
        let question = Prompt::HeartbeatReply {
            round: ReadRound::default(),
            priority: self.priority(),
            commit: self.commit,
            session: Some(session),
        };
        effects.send.push(self.message(leader, term, Body::Prompt(question)));
    }

    /// The deadline of one that may not campaign now: another one. If it is bound by a promise, it asks.
    pub(crate) fn wait_on(&mut self, effects: &mut Effects) {
        self.ask_leader(effects);
        let deadline = self.next_election_deadline();
        if let Role::Follower(follower) = &mut self.role {
            follower.deadline = deadline;
        }
    }
}
