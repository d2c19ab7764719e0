//! What nodes say to each other of their lives, in a simulated cluster: it arrives at once, unless a link is cut, a
//! node is frozen, or the test holds it.

use super::cluster::{Cluster, Node};
use super::network::Link;
use raftyard_groups::{
    Group, Input, Liveness, LivenessConfig, LivenessEffects, Moment, NodeId, NodeIncarnation, NodeMessage, PairEvent,
    RoleKind, Sessions, start_wait_ms,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

/// Of more messages that were put aside only their number is shown.
const SHOWN_MAX: usize = 4;

/// The nodes' own messages that were not delivered at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beats {
    /// Whether the nodes of this cluster have sessions at all.
    pub(crate) are_on: bool,
    /// Other times than the usual.
    pub(crate) times: Option<fn(LivenessConfig) -> LivenessConfig>,
    held: BTreeSet<Link>,
    pub(crate) aside: BTreeMap<Link, Vec<NodeMessage>>,
    /// Nodes that stand still.
    pub(crate) frozen: BTreeSet<NodeId>,
}

impl Cluster {
    /// A node starts: in a new life, which waits unless it is the first.
    pub(crate) fn start_liveness(&mut self, id: NodeId, boot: u64) {
        if !self.beats.are_on {
            return;
        }
        let incarnation = NodeIncarnation { boot, random: boot };
        let mut config = LivenessConfig::new(id, incarnation);
        if let Some(times) = self.beats.times {
            config = times(config);
        }
        if boot > 1 {
            config.starts_waiting_until = self.now.plus(start_wait_ms(config.promise_ms, config.drift_permille));
        }
        self.node_mut(id).liveness = Some(Liveness::new(config, self.now));
        let (ids, now) = (self.ids(), self.now);
        for id in self.ids() {
            if let Some(liveness) = &mut self.node_mut(id).liveness {
                liveness.set_peers(ids.clone(), now);
            }
        }
    }

    /// What the groups of a node are handed.
    pub(crate) fn sessions(&self, id: NodeId) -> Sessions {
        let liveness = self.node(id).liveness.as_ref();
        liveness.map(Liveness::sessions).unwrap_or_default()
    }

    pub(crate) fn is_frozen(&self, id: NodeId) -> bool {
        self.beats.frozen.contains(&id)
    }

    /// When the next of the nodes has something to do.
    pub(crate) fn next_beat(&self) -> Option<Moment> {
        let alive = self.nodes.iter().filter(|(id, _)| !self.is_frozen(**id));
        alive
            .filter_map(|(_, node)| node.liveness.as_ref().map(Liveness::deadline))
            .min()
    }

    /// Lets every node do what is due now, and delivers what that causes.
    pub(crate) fn beat(&mut self) {
        for id in self.ids() {
            if !self.is_frozen(id) {
                self.beat_of(id, true);
            }
        }
    }

    /// Lets a node do what is due now; if it `sends` none, its heartbeats are left out.
    pub(crate) fn beat_of(&mut self, id: NodeId, sends: bool) {
        let (now, mut effects) = (self.now, LivenessEffects::default());
        if let Some(liveness) = &mut self.node_mut(id).liveness
            && liveness.deadline() <= now
        {
            liveness.tick(now, |_| sends, &mut effects);
        }
        self.carry_out_beats(id, effects);
    }

    /// Delivers one of the messages that were put aside, and again later if it is kept.
    pub(crate) fn bring_beat(&mut self, link: Link, position: usize, keeps: bool) {
        let aside = self.beats.aside.get_mut(&link).expect("something was put aside");
        let message = if keeps { aside[position] } else { aside.remove(position) };
        self.event(|| format!("{}→{} {message}", link.0, link.1));
        let effects = self.deliver_beat(link, message);
        self.carry_out_beats(link.1, effects);
    }

    fn carry_out_beats(&mut self, id: NodeId, effects: LivenessEffects) {
        let mut queue = VecDeque::from([(id, effects)]);
        while let Some((from, effects)) = queue.pop_front() {
            for event in effects.events {
                self.on_pair_event(from, event);
            }
            for (to, message) in effects.send {
                let link = (from, to);
                if self.network.cut.contains(&link) || self.node(to).liveness.is_none() {
                    continue;
                }
                if self.beats.held.contains(&link) || self.is_frozen(to) {
                    self.beats.aside.entry(link).or_default().push(message);
                    continue;
                }
                let effects = self.deliver_beat(link, message);
                queue.push_back((to, effects));
            }
        }
    }

    fn deliver_beat(&mut self, (from, to): Link, message: NodeMessage) -> LivenessEffects {
        let (now, mut effects) = (self.now, LivenessEffects::default());
        if let Some(liveness) = &mut self.node_mut(to).liveness {
            liveness.on_message(now, from, message, &mut effects);
        }
        effects
    }

    /// A node tells those of its groups that sleep on the pair.
    fn on_pair_event(&mut self, id: NodeId, event: PairEvent) {
        let peer = match event {
            PairEvent::Ended { peer, session } => {
                self.event(|| format!("{id}: {session} for {peer} ended"));
                peer
            }
            PairEvent::Lapsed { peer } => {
                self.event(|| format!("{id}: {peer} lapsed"));
                peer
            }
            PairEvent::Regained { peer } | PairEvent::Changed { peer } => {
                let session = self.sessions(id).believed(peer).map(|belief| belief.session);
                let session = session.map(|session| session.to_string()).unwrap_or_default();
                self.event(|| format!("{id}: {peer} grants {session}"));
                peer
            }
            PairEvent::StartWaitOver => return self.event(|| format!("{id} may vote")),
        };
        let sleeps_on = self.node(id).group.as_ref().and_then(Group::sleeps_on);
        if sleeps_on.is_some_and(|watched| watched.contains(&peer)) {
            self.step(id, Input::Tick);
        }
    }

    /// Puts aside what a link carries of this from now on.
    pub(crate) fn hold_beats(&mut self, link: Link) {
        self.beats.held.insert(link);
    }

    /// Delivers what was put aside.
    pub(crate) fn free_beats(&mut self, link: Link) {
        self.beats.held.remove(&link);
        self.bring_beats(link);
    }

    fn bring_beats(&mut self, link: Link) {
        let aside = self.beats.aside.remove(&link).unwrap_or_default();
        let (from, to) = link;
        if aside.len() > SHOWN_MAX {
            self.event(|| format!("{from}→{to} {} messages of the nodes", aside.len()));
        }
        let are_shown = aside.len() <= SHOWN_MAX;
        for message in aside {
            if are_shown {
                self.event(|| format!("{from}→{to} {message}"));
            }
            let effects = self.deliver_beat(link, message);
            self.carry_out_beats(link.1, effects);
        }
    }

    /// The node goes on. What arrived meanwhile is in its inbox.
    pub(crate) fn thaw(&mut self, id: NodeId) {
        self.beats.frozen.remove(&id);
        self.beat();
        for from in self.ids() {
            if !self.beats.held.contains(&(from, id)) {
                self.beats_quietly((from, id));
            }
        }
    }

    /// Nothing is held or frozen any more.
    pub(crate) fn calm_beats(&mut self) {
        self.beats.held.clear();
        for id in std::mem::take(&mut self.beats.frozen) {
            self.thaw(id);
        }
        for link in self.beats.aside.keys().copied().collect::<Vec<_>>() {
            self.beats_quietly(link);
        }
    }

    fn beats_quietly(&mut self, link: Link) {
        for message in self.beats.aside.remove(&link).unwrap_or_default() {
            let effects = self.deliver_beat(link, message);
            self.carry_out_beats(link.1, effects);
        }
    }

    pub(crate) fn holds_lease(&self, id: NodeId) -> bool {
        self.group(id).has_lease(self.now, &self.sessions(id))
    }

    /// While one leads with a lease, nobody was elected after it.
    pub(crate) fn check_leases(&self) {
        if !self.beats.are_on {
            return;
        }
        let up = || self.nodes.values().filter_map(|node| node.group.as_ref());
        for holder in up() {
            let sessions = self.sessions(holder.node());
            if !holder.has_lease(self.now, &sessions) {
                continue;
            }
            let is_later = |other: &&Group| other.role() == RoleKind::Leader && other.term() > holder.term();
            if let Some(later) = up().find(is_later) {
                panic!("{holder} holds its lease, and {later}");
            }
        }
    }

    /// If all sleep, they have a leader that a quorum backs, or somebody is about to be woken.
    pub(crate) fn check_sleepers(&self) {
        let up = || self.nodes.values().filter_map(|node| node.group.as_ref());
        if up().any(|group| !group.is_asleep()) {
            return;
        }
        let is_due = |node: &Rc<Node>| node.liveness.as_ref().is_some_and(|own| own.deadline() <= self.now);
        let leads = |leader: &Group| {
            let sessions = self.sessions(leader.node());
            let backs = |peer: &&Group| {
                peer.promise().is_some_and(|given| {
                    (given.leader, given.term) == (leader.node(), leader.term())
                        && sessions.believed_at(peer.node(), self.now) == Some(given.session)
                })
            };
            leader.role() == RoleKind::Leader && 2 * (1 + up().filter(backs).count()) > self.nodes.len()
        };
        assert!(
            self.nodes.values().any(is_due) || up().any(leads),
            "all sleep, and nobody leads: {:?}",
            up().map(Group::to_string).collect::<Vec<_>>()
        );
    }

    /// What each node grants and believes.
    pub(crate) fn describe_sessions(&self) -> Vec<String> {
        let line = |id: NodeId| {
            let sessions = self.sessions(id);
            let mut line = id.to_string();
            for peer in self.ids() {
                if let Some(session) = sessions.granted(peer) {
                    line += &format!(" grants {peer} {session}");
                }
            }
            for peer in self.ids() {
                if let Some(session) = sessions.believed_at(peer, self.now) {
                    line += &format!(" believes {peer} {session}");
                }
            }
            line
        };
        self.ids().into_iter().map(line).collect()
    }

    /// What each replica promised, and who holds a lease.
    pub(crate) fn describe_promises(&self) -> Vec<String> {
        let up = self.nodes.values().filter_map(|node| node.group.as_ref());
        let line = |group: &Group| {
            let id = group.node();
            if group.has_lease(self.now, &self.sessions(id)) {
                return Some(format!("{id} holds the lease of {}", group.term()));
            }
            let given = group.promise()?;
            Some(format!(
                "{id} promised {} of {} in {}",
                given.leader, given.term, given.session
            ))
        };
        up.filter_map(line).collect()
    }
}
