//! Which nodes live, per pair of nodes and not per group: support sessions.
//!
//! A node sends each peer a heartbeat per interval. A peer that hears them, and knows that it is heard, *grants* a
//! session: "until your next heartbeat and so long after, my replicas keep what they promise to your leaders". The
//! node *believes* in the session for a little less, measured from when it sent the heartbeat. So what one side
//! counts on ends before the other side may forget it, whatever the network does, as long as their clocks run at
//! about the same rate. No clock is compared with another, and nothing is written but a counter of starts.
//!
//! ```text
//!   supported node                     granting node
//!   h: heartbeat  ------------------>  r: extends or opens, until r + promise
//!   believes      <------------------     granted(session, promise)
//!   until h + promise · (1 - drift)
//! ```
//!
//! Groups see none of this, only [`Sessions`]: a follower stamps the session it is granted under into what it
//! acknowledges, and a leader compares the stamps with what it believes.

mod believed;
mod config;
mod granted;
mod ids;
mod message;
mod sessions;

pub use config::{LivenessConfig, Probation, start_wait_ms};
pub use ids::{NodeIncarnation, SessionId};
pub use message::{Grant, NodeMessage, ReplyId};
pub use sessions::{Belief, Sessions};

use crate::ids::NodeId;
use crate::input::Moment;
use believed::{Believed, Learned};
use granted::Granted;
use sessions::Pair;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

/// What changed between this node and a peer. What groups need to know is in [`Sessions`]: that has to be published
/// first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PairEvent {
    /// The session that this node granted to `peer` has ended: promises that were given in it are free.
    Ended {
        /// Whom it was granted to.
        peer: NodeId,
        /// The session.
        session: SessionId,
    },
    /// This node no longer counts on the session that `peer` granted.
    Lapsed {
        /// Who granted it.
        peer: NodeId,
    },
    /// It counts on one again, or for the first time: the same session or another.
    Regained {
        /// Who grants it.
        peer: NodeId,
    },
    /// It counts on another session than before, without a time between.
    Changed {
        /// Who grants it.
        peer: NodeId,
    },
    /// Replicas that were found on disk may vote from now on.
    StartWaitOver,
}

/// What a step of [`Liveness`] wants done.
#[derive(Debug, Default)]
pub struct LivenessEffects {
    /// To be sent at once, each to its node.
    pub send: Vec<(NodeId, NodeMessage)>,
    /// To be passed on after [`Liveness::sessions`] was published.
    pub events: Vec<PairEvent>,
}

/// All sessions of a node, granted and believed: the one owner of their beginnings and ends. Pure, as a group is:
/// the clock is handed in, and what it wants sent is handed out.
#[derive(Clone, Debug)]
pub struct Liveness {
    config: LivenessConfig,
    peers: BTreeMap<NodeId, Peer>,
    now: Moment,
    heartbeat_due: Moment,
    starting: bool,
    /// The newest numbers given: each counts for all peers, so that none is given twice to one that went and came
    /// back.
    heartbeats: u64,
    replies: u64,
    sessions: u64,
}

#[derive(Clone, Debug, Default)]
struct Peer {
    granted: Granted,
    believed: Believed,
    /// It is no peer any more; what it was granted still holds.
    gone: bool,
}

impl Liveness {
    /// A node that has just started, without peers. The first heartbeats are due at once.
    #[must_use]
    pub fn new(config: LivenessConfig, now: Moment) -> Self {
        Self {
            config,
            peers: BTreeMap::new(),
            now,
            heartbeat_due: now,
            starting: now < config.starts_waiting_until,
            heartbeats: 0,
            replies: 0,
            sessions: 0,
        }
    }

    /// From now on these are the peers. A session that was granted to one that is left out lives on to its end, since
    /// promises were given in it; what one that is left out granted is not counted on any more. If it is a peer again
    /// later, it may be another node under the same id: once that session is over, it is met as if for the first time.
    pub fn set_peers(&mut self, peers: impl IntoIterator<Item = NodeId>, now: Moment) {
        self.now = self.now.max(now);
        let peers: BTreeSet<NodeId> = peers.into_iter().filter(|peer| *peer != self.config.node).collect();
        for (node, peer) in &mut self.peers {
            let was_gone = std::mem::replace(&mut peer.gone, !peers.contains(node));
            if peer.gone {
                peer.believed = Believed::default();
            } else if was_gone {
                peer.granted.begin_anew();
            }
        }
        self.forget_gone();
        for peer in peers {
            self.peers.entry(peer).or_default();
        }
    }

    fn forget_gone(&mut self) {
        self.peers
            .retain(|_, peer| !peer.gone || peer.granted.session().is_some());
    }

    /// Ends what is over and sends the heartbeats that are due, to those peers only to which `may_send`: the node
    /// makes progress, and what it sends to that peer moves. Owed no later than [`Liveness::deadline`]; more often
    /// does no harm. `now` is read right before.
    pub fn tick(&mut self, now: Moment, may_send: impl Fn(NodeId) -> bool, effects: &mut LivenessEffects) {
        self.now = self.now.max(now);
        self.expire(effects);
        if self.now < self.heartbeat_due {
            return;
        }
        let interval = self.config.interval_ms.max(1);
        self.heartbeat_due = Moment((self.now.0 / interval).saturating_add(1).saturating_mul(interval));
        for (node, peer) in &mut self.peers {
            if peer.gone || !may_send(*node) {
                continue;
            }
            self.heartbeats += 1;
            peer.believed.sent(self.heartbeats, self.now);
            let heartbeat = NodeMessage::Heartbeat {
                incarnation: self.config.incarnation,
                seq: self.heartbeats,
                newest_reply: peer.believed.newest_reply(),
            };
            effects.send.push((*node, heartbeat));
        }
    }

    /// A message from a peer. `now` is read after it arrived. One from anybody else is ignored.
    pub fn on_message(&mut self, now: Moment, from: NodeId, message: NodeMessage, effects: &mut LivenessEffects) {
        self.now = self.now.max(now);
        // First what is over: an ended session is never extended.
        self.expire(effects);
        let (now, config) = (self.now, &self.config);
        let Some(peer) = self.peers.get_mut(&from).filter(|peer| !peer.gone) else {
            return;
        };
        match message {
            NodeMessage::Heartbeat {
                incarnation,
                seq,
                newest_reply,
            } => {
                let (counts, ended) = peer.granted.meet(incarnation, now, config);
                let ended = ended.map(|session| PairEvent::Ended { peer: from, session });
                effects.events.extend(ended);
                if !counts {
                    return;
                }
                let granted = peer
                    .granted
                    .on_heartbeat(now, seq, newest_reply, &mut self.sessions, config);
                self.replies += 1;
                peer.granted.replied(self.replies, now);
                let id = ReplyId {
                    incarnation: config.incarnation,
                    number: self.replies,
                };
                let to = incarnation;
                let reply = NodeMessage::Reply { to, seq, id, granted };
                effects.send.push((from, reply));
            }
            NodeMessage::Reply { to, seq, id, granted } => {
                if to != config.incarnation {
                    return;
                }
                let event = match peer.believed.on_reply(now, seq, id, granted, config) {
                    Some(Learned::Regained) => PairEvent::Regained { peer: from },
                    Some(Learned::Changed) => PairEvent::Changed { peer: from },
                    Some(Learned::Extended) | None => return,
                };
                effects.events.push(event);
            }
        }
    }

    fn expire(&mut self, effects: &mut LivenessEffects) {
        let now = self.now;
        for (node, peer) in &mut self.peers {
            let ended = peer.granted.expire(now, &self.config);
            let ended = ended.map(|session| PairEvent::Ended { peer: *node, session });
            effects.events.extend(ended);
            if peer.believed.expire(now) {
                effects.events.push(PairEvent::Lapsed { peer: *node });
            }
        }
        self.forget_gone();
        if self.starting && now >= self.config.starts_waiting_until {
            self.starting = false;
            effects.events.push(PairEvent::StartWaitOver);
        }
    }

    /// When the next tick is owed.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        let start = self.starting.then_some(self.config.starts_waiting_until);
        let heartbeat = self.peers.values().any(|peer| !peer.gone).then_some(self.heartbeat_due);
        let granted = self.peers.values().filter_map(|peer| peer.granted.until());
        let believed = self.peers.values().filter_map(|peer| peer.believed.belief());
        let ends = granted.chain(believed.map(|belief| belief.until));
        start
            .into_iter()
            .chain(heartbeat)
            .chain(ends)
            .min()
            .unwrap_or(Moment(u64::MAX))
    }

    /// What this node knows now: to be published after each call that changed it.
    #[must_use]
    pub fn sessions(&self) -> Sessions {
        let pairs = self.peers.iter().map(|(node, peer)| Pair {
            peer: *node,
            granted: peer.granted.session(),
            believed: peer.believed.belief(),
        });
        let pairs = pairs.filter(|pair| pair.granted.is_some() || pair.believed.is_some());
        Sessions::new(pairs.collect(), self.starting)
    }

    /// Feeds what decides the future behaviour into `state`, with times relative to `now`: for explorers of the state
    /// space. Numbers are what they are, because messages on their way hold them.
    pub fn fingerprint(&self, now: Moment, state: &mut impl Hasher) {
        let Self {
            config,
            peers,
            now: _,
            heartbeat_due,
            starting,
            heartbeats,
            replies,
            sessions,
        } = self;
        (config.node, config.incarnation, heartbeat_due.since(now)).hash(state);
        (starting, heartbeats, replies, sessions).hash(state);
        starting.then(|| config.starts_waiting_until.since(now)).hash(state);
        for (node, peer) in peers {
            (node, peer.gone).hash(state);
            peer.granted.fingerprint(now, config, state);
            peer.believed.fingerprint(now, state);
        }
    }
}
