//! How a replica becomes leader: it asks first (pre-vote), then campaigns.

use crate::effects::{Effects, PersistSeq};
use crate::entry::HardState;
use crate::fingerprint::Reference;
use crate::group::{Group, Role};
use crate::ids::{NodeId, Term};
use crate::input::Moment;
use crate::liveness::Sessions;
use crate::message::{Body, Promise, Prompt};
use crate::node_map::NodeMap;
use crate::quorum::VoteResult;
use std::hash::{Hash, Hasher};

/// Refusals that still lengthen the pause before the next campaign.
const REFUSALS_MAX: u32 = 3;

/// What a campaign of a replica could lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// A quorum of its voters is on nodes that live: those to which this node grants a session. A node without
    /// sessions knows nothing, and hopes for the best.
    Good,
    /// There seems to be no quorum.
    Poor,
    /// It may not campaign before the node's wait at its start is over ([`Sessions::may_vote`]).
    None,
}

#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// Who said what.
    votes: NodeMap<bool>,
    /// When it starts over.
    pub(crate) deadline: Moment,
    /// The write that holds its vote for itself, which counts once that is durable.
    own_vote: PersistSeq,
}

impl Candidate {
    /// The own vote counts once its write is durable; `None` if there is none to wait for.
    pub(crate) fn fingerprint(&self, reference: Option<Reference>, state: &mut impl Hasher) {
        let Self {
            votes,
            deadline: _,
            own_vote,
        } = self;
        votes.hash(state);
        reference.map(|reference| reference.writes_since(*own_vote)).hash(state);
    }
}

impl Group {
    /// Whether it may lead in its newest configuration or, while it does not know that this is committed, in the
    /// one before. Who is left out by a configuration that is not committed may be the only one that holds it, and
    /// then is needed, without counting itself, to commit it (thesis §4.2.2).
    pub(crate) fn may_campaign(&self) -> bool {
        let me = self.config.node;
        let mut memberships = self.memberships.perhaps_decisive(self.commit);
        !self.membership().is_witness(me) && memberships.any(|membership| membership.may_lead(me))
    }

    /// Whether an [`Input::Tick`](crate::Input::Tick) at `now` will make it campaign: it waited for a leader long
    /// enough. A driver with many replicas may let them wait for each other.
    #[must_use]
    pub fn wants_to_campaign(&self, now: Moment, sessions: &Sessions) -> bool {
        !matches!(self.role, Role::Leader(_))
            && self.may_campaign()
            && !self.is_asleep()
            && now >= self.role_deadline()
            && !self.will_be_bound(sessions)
    }

    /// What a campaign could lead to, as far as the node knows.
    #[must_use]
    pub fn outlook(&self, sessions: &Sessions) -> Outlook {
        let lives = |node| node == self.config.node || sessions.granted(node).is_some();
        let vote = || self.membership().quorum().vote(|node| Some(lives(node)));
        if self.has_to_wait(sessions) {
            Outlook::None
        } else if sessions.is_empty() || vote() == VoteResult::Won {
            Outlook::Good
        } else {
            Outlook::Poor
        }
    }

    /// Asks the voters whether a campaign in the next term could win. Changes neither term nor vote, so a
    /// replica that is cut off disturbs nobody when it comes back (thesis §9.6).
    pub(crate) fn pre_campaign(&mut self, effects: &mut Effects) {
        let me = self.config.node;
        if !self.may_campaign() || self.is_promised() || self.is_barred() {
            return;
        }
        if !self.is_up_to_date(self.log.last_id()) {
            self.abandon_forwarded_reads(effects);
            return self.become_follower(self.hard.term, None, effects);
        }
        if let Role::PreCandidate(candidate) = &self.role
            && candidate.votes.values().any(|granted| !granted)
        {
            self.note_refusal();
        }
        let deadline = self.next_election_deadline();
        self.role = Role::PreCandidate(Candidate {
            votes: [(me, true)].into_iter().collect(),
            deadline,
            own_vote: PersistSeq::default(),
        });
        self.abandon_forwarded_reads(effects);
        let last = self.log.last_id();
        for peer in self.voting_peers() {
            let body = Body::Prompt(Prompt::PreVote { last });
            effects.send.push(self.message(peer, self.hard.term.next(), body));
        }
        self.count_votes(effects);
    }

    /// Campaigns in a new term (paper §5.2). Term and own vote are durable before anyone is asked, and the
    /// own vote counts only from then on. In a leadership `transfer` the leader wants it so (thesis §3.10).
    pub(crate) fn campaign(&mut self, transfer: bool, effects: &mut Effects) {
        let vote = HardState {
            term: self.hard.term.next(),
            vote: Some(self.config.node),
        };
        self.set_hard(vote, effects);
        let deadline = self.next_election_deadline();
        self.role = Role::Candidate(Candidate {
            votes: NodeMap::default(),
            deadline,
            own_vote: self.newest_persist(),
        });
        self.abandon_forwarded_reads(effects);
        let last = self.log.last_id();
        for peer in self.voting_peers() {
            self.promise_after_write(peer, Promise::Vote { last, transfer }, effects);
        }
    }

    pub(crate) fn on_pre_vote_granted(&mut self, from: NodeId, term: Term, effects: &mut Effects) {
        if let Role::PreCandidate(candidate) = &mut self.role
            && term == self.hard.term.next()
        {
            candidate.votes.insert(from, true);
            self.count_votes(effects);
        }
    }

    /// Refused in the current term. (A refusal in a newer one made this replica a follower in that.)
    pub(crate) fn on_pre_vote_refused(&mut self, from: NodeId, effects: &mut Effects) {
        if let Role::PreCandidate(candidate) = &mut self.role {
            candidate.votes.insert(from, false);
            self.count_votes(effects);
        }
    }

    pub(crate) fn on_vote_reply(&mut self, from: NodeId, granted: bool, effects: &mut Effects) {
        if let Role::Candidate(candidate) = &mut self.role {
            if !candidate.votes.contains_key(&from) {
                candidate.votes.insert(from, granted);
            }
            self.count_votes(effects);
        }
    }

    pub(crate) fn on_own_vote_durable(&mut self, durable: PersistSeq, effects: &mut Effects) {
        if let Role::Candidate(candidate) = &mut self.role
            && candidate.own_vote <= durable
        {
            candidate.votes.insert(self.config.node, true);
            self.count_votes(effects);
        }
    }

    fn count_votes(&mut self, effects: &mut Effects) {
        let (candidate, campaigns) = match &self.role {
            Role::PreCandidate(candidate) => (candidate, false),
            Role::Candidate(candidate) => (candidate, true),
            _ => return,
        };
        let said = |node| candidate.votes.get(&node).copied();
        match self.membership().quorum().vote(said) {
            VoteResult::Pending => {}
            VoteResult::Won if campaigns => self.become_leader(effects),
            VoteResult::Won => self.campaign(false, effects),
            VoteResult::Lost => {
                self.note_refusal();
                self.become_follower(self.hard.term, None, effects);
            }
        }
    }

    /// Promised peers refuse as long as their promises last: it asks them less and less often, up to a bound.
    fn note_refusal(&mut self) {
        if !self.sessions.is_empty() {
            self.refusals = (self.refusals + 1).min(REFUSALS_MAX);
        }
    }

    fn voting_peers(&self) -> Vec<NodeId> {
        let membership = self.membership();
        let mut peers = membership.peers_of(self.config.node);
        peers.retain(|peer| membership.is_voter(*peer));
        peers
    }
}
