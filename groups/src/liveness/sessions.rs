//! What a node knows of its sessions, as its groups read it.

use super::ids::SessionId;
use crate::ids::NodeId;
use crate::input::Moment;
use std::sync::Arc;

/// What a node counts on: this session lives until then, by its own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Belief {
    /// The session.
    pub session: SessionId,
    /// It lives before this moment; from then on nothing is known.
    pub until: Moment,
}

/// What a node knows of its sessions. Published whole after every change, and read by all its groups: one that is
/// out of date is safe, because who counts on a session stops doing so before it ends, and a belief is checked
/// against the clock. The default knows of no session with anybody. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sessions {
    /// Sorted by node: those with whom there is a session, either way.
    pairs: Arc<[Pair]>,
    /// The node has just started, and does not know yet what its last life promised.
    starting: bool,
}

/// What there is between this node and a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    pub(super) peer: NodeId,
    pub(super) granted: Option<SessionId>,
    pub(super) believed: Option<Belief>,
}

impl Sessions {
    /// Pairs have to be sorted by peer.
    pub(super) fn new(pairs: Vec<Pair>, starting: bool) -> Self {
        debug_assert!(pairs.is_sorted_by_key(|pair| pair.peer), "looked up by peer");
        let pairs = pairs.into();
        Self { pairs, starting }
    }

    fn pair(&self, peer: NodeId) -> Option<&Pair> {
        let place = self.pairs.binary_search_by_key(&peer, |pair| pair.peer).ok()?;
        self.pairs.get(place)
    }

    /// The live session that this node grants to `to`.
    #[must_use]
    pub fn granted(&self, to: NodeId) -> Option<SessionId> {
        self.pair(to)?.granted
    }

    /// Every live session that this node grants, with whom it is granted to.
    pub fn all_granted(&self) -> impl Iterator<Item = (NodeId, SessionId)> + '_ {
        let granted = |pair: &Pair| pair.granted.map(|session| (pair.peer, session));
        self.pairs.iter().filter_map(granted)
    }

    /// Whether this node grants `session` to `to`, and it has not ended.
    #[must_use]
    pub fn is_live(&self, to: NodeId, session: SessionId) -> bool {
        self.granted(to) == Some(session)
    }

    /// What this node counts on: the session that `by` grants to it. To be checked against the clock.
    #[must_use]
    pub fn believed(&self, by: NodeId) -> Option<Belief> {
        self.pair(by)?.believed
    }

    /// Whether there is no session with anybody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The session that `by` grants to this node, if it can be counted on at `now`.
    #[must_use]
    pub fn believed_at(&self, by: NodeId, now: Moment) -> Option<SessionId> {
        let belief = self.believed(by)?;
        (now < belief.until).then_some(belief.session)
    }

    /// Whether replicas that were found on disk may vote and campaign: not while promises of the node's last life
    /// may still be counted on.
    #[must_use]
    pub fn may_vote(&self) -> bool {
        !self.starting
    }
}
