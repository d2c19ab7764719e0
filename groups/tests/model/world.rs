//! One state of a cluster, what may happen in it, and what it is told apart by.
//!
//! The network is a set: a message may arrive at any moment after it was sent, in any order, and never; so
//! loss and reordering are no actions. Clocks are a replica's own, and its deadline may come at any moment.
//! What costs much and can't go on for ever is counted ([`Bounds`]).

use super::support::cluster::Cluster;
use super::support::disk::end;
use raftyard_groups::{
    Body, ChangeRequest, Input, LivenessConfig, LivenessEffects, LogIndex, Membership, Message, Moment, NodeId,
    PairEvent, Prompt, ReadId, ReadRequest, RoleKind, Tuning,
};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

/// An election timeout; a heartbeat takes one of it. Longer than any exploration has heartbeats: so a moment
/// is either fresh or, once a whole timeout was let pass, long ago, and nothing in between.
pub(crate) const ELECTION_TIMEOUT_MS: u64 = 16;

/// By this much time passes where nodes have sessions: their clocks all run alike there, and what counts is only what
/// is over. A promise lasts two such steps, and so, but for a little, does a belief; an election timeout takes one.
pub(crate) const STEP_MS: u64 = 10;

fn coarse_times(usual: LivenessConfig) -> LivenessConfig {
    LivenessConfig {
        interval_ms: STEP_MS,
        promise_ms: 2 * STEP_MS,
        proof_ms: 2 * STEP_MS,
        ..usual
    }
}

/// How often each thing may happen from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Bounds {
    /// A replica that does not lead times out; the others but the leader have not heard anything for long either.
    pub(crate) timeouts: u8,
    /// The same, while the others still hear whom they heard.
    pub(crate) lonely_timeouts: u8,
    /// A leader's heartbeat is due.
    pub(crate) heartbeats: u8,
    /// An election timeout passes for a leader, unnoticed for now.
    pub(crate) pauses: u8,
    /// A command is proposed to a leader.
    pub(crate) proposals: u8,
    /// A leader is asked for a linearizable read.
    pub(crate) reads: u8,
    /// A follower is.
    pub(crate) follower_reads: u8,
    /// A leader is asked to hand over, to whom it likes or to any peer.
    pub(crate) transfers: u8,
    /// A replica loses what is not synced, but for any number of its first writes, and starts again.
    pub(crate) crashes: u8,
    /// A message, or a snapshot, arrives and will arrive once more.
    pub(crate) duplicates: u8,
    /// A replica takes a snapshot of all it applied, and its log is compacted.
    pub(crate) compactions: u8,
    /// A leader is asked for the first of this many last changes of the membership.
    pub(crate) changes: u8,
    /// Some time passes for all ([`STEP_MS`]).
    pub(crate) passes: u8,
    /// A node sends the heartbeats that are due.
    pub(crate) beats: u8,
    /// A replica that does not lead campaigns, if it may.
    pub(crate) campaigns: u8,
    /// A replica does what is due by its own deadline.
    pub(crate) ticks: u8,
    /// A leader resigns.
    pub(crate) resignations: u8,
}

impl Bounds {
    /// Each thing that may happen may happen once more, but for the changes of the membership, which are named.
    pub(crate) fn once_more(self) -> Self {
        let more = |count| count + u8::from(count > 0);
        let Self {
            timeouts,
            lonely_timeouts,
            heartbeats,
            pauses,
            proposals,
            reads,
            follower_reads,
            transfers,
            crashes,
            duplicates,
            compactions,
            changes,
            passes,
            beats,
            campaigns,
            ticks,
            resignations,
        } = self;
        Self {
            timeouts: more(timeouts),
            lonely_timeouts: more(lonely_timeouts),
            heartbeats: more(heartbeats),
            pauses: more(pauses),
            proposals: more(proposals),
            reads: more(reads),
            follower_reads: more(follower_reads),
            transfers: more(transfers),
            crashes: more(crashes),
            duplicates: more(duplicates),
            compactions: more(compactions),
            changes,
            passes: more(passes),
            beats: more(beats),
            campaigns: more(campaigns),
            ticks: more(ticks),
            resignations: more(resignations),
        }
    }
}

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// The message at this position of a link's queue arrives, and again later if it is kept.
    Deliver {
        from: NodeId,
        to: NodeId,
        position: u8,
        keeps: bool,
    },
    Timeout {
        node: NodeId,
        is_lonely: bool,
    },
    Heartbeat(NodeId),
    Pause(NodeId),
    Propose(NodeId),
    Read(NodeId),
    Transfer(NodeId, Option<NodeId>),
    /// The next of the changes is asked for.
    Change(NodeId),
    /// The first write under way is durable.
    Sync(NodeId),
    /// It crashes and starts again; the first writes under way reach the disk.
    Restart(NodeId, u8),
    Compact(NodeId),
    /// The snapshot at this position arrives.
    Install {
        position: u8,
        keeps: bool,
    },
    Pass,
    /// A node does what is due; its heartbeats, if it sends them, are on their way.
    Beat {
        node: NodeId,
        sends: bool,
    },
    /// What one node says to the other of its life arrives.
    Hear {
        from: NodeId,
        to: NodeId,
        position: u8,
        keeps: bool,
    },
    Campaign(NodeId),
    Tick(NodeId),
    Resign(NodeId),
}

/// A cluster, with what the model adds to it.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) left: Bounds,
    /// Each replica's own clock.
    clocks: BTreeMap<NodeId, Moment>,
    /// The nodes that send heartbeats.
    pub(crate) beat: Vec<NodeId>,
    /// Messages that arrive at once when they are sent: all that need not be told apart.
    pub(crate) at_once: fn(&Message) -> bool,
    /// Each replica's read requests in the order they were made. On the wire they go by their position here:
    /// their own names are random.
    requests: BTreeMap<NodeId, Vec<ReadRequest>>,
    /// The changes of the membership that are asked for, one after the other.
    changes: &'static [fn() -> ChangeRequest],
    proposals: u8,
    reads: u64,
    fingerprints: BTreeMap<NodeId, u64>,
}

impl World {
    /// Replicas with empty disks. An append message carries entries of `message_bytes_max`.
    pub(crate) fn new(membership: &Membership, message_bytes_max: usize) -> Self {
        let tuning = Tuning {
            election_timeout_ms: ELECTION_TIMEOUT_MS,
            heartbeat_interval_ms: 1,
            message_bytes_max,
            ..Tuning::default()
        };
        Self::of(Cluster::new(membership, tuning, 1))
    }

    /// Three voters on nodes that know each other to live; but neither of `n1` and `n3` knows of the other. `n1` leads,
    /// and holds the lease by the promise of `n2` alone.
    pub(crate) fn with_sessions() -> Self {
        let tuning = Tuning {
            election_timeout_ms: STEP_MS,
            heartbeat_interval_ms: STEP_MS / 2,
            message_bytes_max: 1,
            ..Tuning::default()
        };
        let membership = Membership::of_voters((1..=3).map(NodeId)).expect("there are voters");
        let mut cluster = Cluster::new(&membership, tuning, 1);
        cluster.beats.are_on = true;
        cluster.beats.times = Some(coarse_times);
        for id in cluster.ids() {
            cluster.start_liveness(id, 1);
        }
        let apart = [(NodeId(1), NodeId(3)), (NodeId(3), NodeId(1))];
        apart.into_iter().for_each(|link| cluster.hold_beats(link));
        for _ in 0..3 {
            cluster.now = cluster.now.plus(STEP_MS);
            cluster.beat();
        }
        cluster.elect(NodeId(1));
        apart.into_iter().for_each(|link| cluster.free_beats(link));
        assert!(cluster.holds_lease(NodeId(1)), "n1 has its lease");
        Self::of(cluster)
    }

    fn of(cluster: Cluster) -> Self {
        let now = cluster.now;
        let clocks = cluster.ids().into_iter().map(|id| (id, now)).collect();
        let mut world = Self {
            cluster,
            left: Bounds::default(),
            clocks,
            beat: Vec::new(),
            at_once: |_| false,
            requests: BTreeMap::new(),
            changes: &[],
            proposals: 0,
            reads: 0,
            fingerprints: BTreeMap::new(),
        };
        world.settle(None);
        world
    }

    /// All that may happen now.
    pub(crate) fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        let (cluster, left) = (&self.cluster, &self.left);
        for ((from, to), queue) in &cluster.network.queues {
            for position in 0..u8::try_from(queue.len()).expect("few messages") {
                let deliver = |keeps| Action::Deliver {
                    from: *from,
                    to: *to,
                    position,
                    keeps,
                };
                actions.push(deliver(false));
                if left.duplicates > 0 {
                    actions.push(deliver(true));
                }
            }
        }
        for position in 0..u8::try_from(cluster.sent_snapshots.len()).expect("few snapshots") {
            actions.push(Action::Install { position, keeps: false });
            if left.duplicates > 0 {
                actions.push(Action::Install { position, keeps: true });
            }
        }
        self.actions_of_nodes(&mut actions);
        let ids = cluster.ids();
        for id in &ids {
            let (id, node) = (*id, cluster.node(*id));
            let group = cluster.group(id);
            let leads = group.role() == RoleKind::Leader;
            let mut may = |left: u8, action| {
                if left > 0 {
                    actions.push(action);
                }
            };
            if leads {
                may(left.heartbeats, Action::Heartbeat(id));
                may(left.pauses, Action::Pause(id));
                may(left.proposals, Action::Propose(id));
                may(left.reads, Action::Read(id));
                for to in ids.iter().filter(|to| **to != id) {
                    may(left.transfers, Action::Transfer(id, Some(*to)));
                }
                may(left.transfers, Action::Transfer(id, None));
                may(left.changes, Action::Change(id));
            } else if group.deadline() < Moment(u64::MAX) {
                may(
                    left.timeouts,
                    Action::Timeout {
                        node: id,
                        is_lonely: false,
                    },
                );
                may(
                    left.lonely_timeouts,
                    Action::Timeout {
                        node: id,
                        is_lonely: true,
                    },
                );
            }
            if leads {
                may(left.resignations, Action::Resign(id));
            } else {
                may(left.campaigns, Action::Campaign(id));
            }
            if group.deadline() <= self.clocks[&id] {
                may(left.ticks, Action::Tick(id));
            }
            if group.role() == RoleKind::Follower && group.leader().is_some() {
                may(left.follower_reads, Action::Read(id));
            }
            let writes = u8::try_from(node.writes.len()).expect("few writes");
            may(writes, Action::Sync(id));
            for durable in 0..=writes {
                may(left.crashes, Action::Restart(id, durable));
            }
            if group.applied() > group.base().index {
                may(left.compactions, Action::Compact(id));
            }
        }
        actions
    }

    /// What may happen between nodes.
    fn actions_of_nodes(&self, actions: &mut Vec<Action>) {
        let (cluster, left) = (&self.cluster, &self.left);
        if left.passes > 0 {
            actions.push(Action::Pass);
        }
        for (id, node) in &cluster.nodes {
            let now = self.clocks[id];
            let Some(liveness) = node.liveness.as_ref().filter(|own| own.deadline() <= now) else {
                continue;
            };
            let mut quiet = liveness.clone();
            let mut effects = LivenessEffects::default();
            quiet.tick(now, |_| false, &mut effects);
            // Else no replica would notice: heartbeats that were left out could as well be lost.
            let group = cluster.group(*id);
            let concerns = |event: &PairEvent| match event {
                PairEvent::Ended { session, .. } => group.promise().is_some_and(|given| given.session == *session),
                PairEvent::StartWaitOver => true,
                _ => false,
            };
            if effects.events.iter().any(|event| group.is_asleep() || concerns(event)) {
                actions.push(Action::Beat {
                    node: *id,
                    sends: false,
                });
            }
            if left.beats > 0 && self.beat.contains(id) {
                actions.push(Action::Beat { node: *id, sends: true });
            }
        }
        for ((from, to), aside) in &cluster.beats.aside {
            for position in 0..u8::try_from(aside.len()).expect("few messages") {
                let hear = |keeps| Action::Hear {
                    from: *from,
                    to: *to,
                    position,
                    keeps,
                };
                actions.push(hear(false));
                if left.duplicates > 0 {
                    actions.push(hear(true));
                }
            }
        }
    }

    /// Lets `action` happen. Panics if something is wrong then.
    pub(crate) fn act(&mut self, action: Action) {
        let before = self.cluster.nodes.clone();
        match action {
            Action::Deliver {
                from,
                to,
                position,
                keeps,
            } => {
                let queue = self.cluster.network.queue((from, to));
                let position = usize::from(position);
                let message = if keeps {
                    self.left.duplicates -= 1;
                    queue.get(position).cloned()
                } else {
                    queue.remove(position)
                };
                self.hand_over(message.expect("it is there"));
            }
            Action::Timeout { node, is_lonely } => {
                if is_lonely {
                    self.left.lonely_timeouts -= 1;
                } else {
                    self.left.timeouts -= 1;
                    self.let_pass(|cluster, id| cluster.group(id).role() != RoleKind::Leader);
                }
                self.tick(node);
            }
            Action::Heartbeat(id) => {
                self.left.heartbeats -= 1;
                self.tick(id);
            }
            Action::Pause(id) => {
                self.left.pauses -= 1;
                self.let_pass(|_, other| other == id);
            }
            Action::Propose(id) => {
                self.left.proposals -= 1;
                self.propose(id);
            }
            Action::Read(id) => {
                match self.cluster.group(id).role() {
                    RoleKind::Leader => self.left.reads -= 1,
                    _ => self.left.follower_reads -= 1,
                }
                self.reads += 1;
                self.at(id);
                self.cluster.read(id, ReadId(self.reads), true);
            }
            Action::Transfer(id, to) => {
                self.left.transfers -= 1;
                self.at(id);
                self.cluster.transfer(id, to);
            }
            Action::Change(id) => {
                let next = self.changes.len() - usize::from(self.left.changes);
                self.left.changes -= 1;
                self.at(id);
                self.cluster.change(id, self.changes[next]());
            }
            Action::Sync(id) => {
                self.at(id);
                self.cluster.fsync(id, 1);
            }
            Action::Restart(id, durable) => {
                self.left.crashes -= 1;
                self.restart(id, usize::from(durable));
            }
            Action::Compact(id) => {
                self.left.compactions -= 1;
                self.at(id);
                self.cluster.compact(id, LogIndex(u64::MAX));
            }
            Action::Install { position, keeps } => {
                let position = usize::from(position);
                let snapshot = if keeps {
                    self.left.duplicates -= 1;
                    self.cluster.sent_snapshots[position].clone()
                } else {
                    self.cluster.sent_snapshots.remove(position)
                };
                self.at(snapshot.to);
                self.cluster.receive_snapshot(snapshot);
            }
            Action::Pass => {
                self.left.passes -= 1;
                self.clocks.values_mut().for_each(|clock| *clock = clock.plus(STEP_MS));
                self.fingerprints.clear();
            }
            Action::Beat { node, sends } => {
                self.left.beats -= u8::from(sends);
                self.at(node);
                self.cluster.beat_of(node, sends);
            }
            Action::Hear {
                from,
                to,
                position,
                keeps,
            } => {
                self.left.duplicates -= u8::from(keeps);
                self.at(to);
                self.cluster.bring_beat((from, to), usize::from(position), keeps);
            }
            Action::Campaign(id) => {
                self.left.campaigns -= 1;
                self.at(id);
                self.cluster.step(id, Input::Campaign);
            }
            Action::Tick(id) => {
                self.left.ticks -= 1;
                self.at(id);
                self.cluster.step(id, Input::Tick);
            }
            Action::Resign(id) => {
                self.left.resignations -= 1;
                self.at(id);
                self.cluster.resign(id);
            }
        }
        self.settle(Some(&before));
        if self.cluster.beats.are_on {
            self.at(NodeId(1));
            self.cluster.check_leases();
            self.cluster.check_sleepers();
        }
    }

    /// A replica starts that waits to be added.
    pub(crate) fn join(&mut self, id: NodeId) {
        self.clocks.insert(id, Moment(0));
        self.cluster.now = Moment(0);
        self.cluster.join(id);
        self.settle(None);
    }

    /// From now on these changes of the membership are asked for.
    pub(crate) fn will_change(&mut self, changes: &'static [fn() -> ChangeRequest]) {
        self.changes = changes;
    }

    pub(crate) fn propose(&mut self, id: NodeId) {
        let command = ["a", "b", "c", "d", "e", "f"][usize::from(self.proposals)];
        self.proposals += 1;
        self.at(id);
        self.cluster.propose(id, &[command]);
    }

    pub(crate) fn restart(&mut self, id: NodeId, durable: usize) {
        self.cluster.crash(id, durable);
        self.at(id);
        self.cluster.start(id);
    }

    /// Time passes, all is delivered at once, and in the end all sleep.
    pub(crate) fn sleep(&mut self) {
        self.cluster.pass(6 * STEP_MS, true);
        let now = self.cluster.now;
        self.clocks.values_mut().for_each(|clock| *clock = now);
        self.settle(None);
    }

    /// Has `id` elected with all messages delivered, and nothing left on its way.
    pub(crate) fn elect(&mut self, id: NodeId) {
        self.let_pass(|_, _| true);
        self.tick(id);
        self.deliver_all();
        assert_eq!(self.cluster.group(id).role(), RoleKind::Leader, "{id} was not elected");
    }

    /// Has `id` elected; what it says as a leader is lost, and it starts again as a follower.
    pub(crate) fn elect_in_vain(&mut self, id: NodeId) {
        self.let_pass(|_, _| true);
        self.tick(id);
        while self.cluster.group(id).role() != RoleKind::Leader {
            let links = self.cluster.network.busy_links();
            let message = self.cluster.network.queue(links[0]).pop_front();
            self.hand_over(message.expect("the link is busy"));
            self.settle(None);
        }
        self.cluster.network.queues.clear();
        self.restart(id, 0);
    }

    /// Delivers until nothing is on its way.
    pub(crate) fn deliver_all(&mut self) {
        while let Some(link) = self.cluster.network.busy_links().first().copied() {
            let message = self.cluster.network.queue(link).pop_front();
            self.hand_over(message.expect("the link is busy"));
            self.settle(None);
        }
    }

    /// Nothing passes between `one` and `other` while `what` happens.
    pub(crate) fn apart(&mut self, one: &[NodeId], other: &[NodeId], what: impl FnOnce(&mut Self)) {
        self.cluster.network.cut_between(one, other);
        what(self);
        self.cluster.network.heal();
    }

    /// Writes of these replicas are durable only when they are synced.
    pub(crate) fn slow_disks(&mut self, ids: &[u64]) {
        for id in ids {
            self.cluster.node_mut(NodeId(*id)).hold_fsync = true;
        }
    }

    /// The deadline of a replica comes.
    pub(crate) fn tick(&mut self, id: NodeId) {
        let deadline = self.cluster.group(id).deadline();
        let clock = self.clocks.entry(id).or_default();
        *clock = deadline.max(*clock);
        self.at(id);
        self.cluster.step(id, Input::Tick);
    }

    /// An election timeout passes for some.
    fn let_pass(&mut self, is_concerned: impl Fn(&Cluster, NodeId) -> bool) {
        for (id, clock) in &mut self.clocks {
            if is_concerned(&self.cluster, *id) {
                *clock = clock.plus(ELECTION_TIMEOUT_MS);
                self.fingerprints.remove(id);
            }
        }
    }

    /// What happens next happens at a replica, by its clock.
    fn at(&mut self, id: NodeId) {
        self.cluster.now = self.clocks[&id];
    }

    fn hand_over(&mut self, mut message: Message) {
        if let Body::Prompt(Prompt::ReadIndexIs { request, .. }) = &mut message.body {
            let position = usize::try_from(request.0).expect("a position");
            *request = self.requests[&message.to][position];
        }
        self.at(message.to);
        self.cluster.hand_over(message);
    }

    /// What follows by itself: messages that arrive at once, snapshots that are sent. Brings the network into
    /// its normal form.
    fn settle(&mut self, before: Option<&BTreeMap<NodeId, Rc<super::support::cluster::Node>>>) {
        loop {
            self.name_requests();
            self.send_snapshots();
            let queues = &mut self.cluster.network.queues;
            let at_once = queues.values_mut().find_map(|queue| {
                let position = queue.iter().position(self.at_once)?;
                queue.remove(position)
            });
            match at_once {
                Some(message) => self.hand_over(message),
                None => break,
            }
        }
        self.cluster.beats.aside.retain(|_, aside| !aside.is_empty());
        self.cluster.network.queues.retain(|_, queue| !queue.is_empty());
        for queue in self.cluster.network.queues.values_mut() {
            // A set: who is told the same twice is told once, unless as a duplicate.
            for position in (1..queue.len()).rev() {
                if queue.range(..position).any(|message| *message == queue[position]) {
                    queue.remove(position);
                }
            }
        }
        for (id, node) in &self.cluster.nodes {
            let is_same = before.is_some_and(|before| Rc::ptr_eq(&before[id], node));
            if !is_same || !self.fingerprints.contains_key(id) {
                let fingerprint = self.fingerprint_of(*id);
                self.fingerprints.insert(*id, fingerprint);
            }
        }
    }

    fn name_requests(&mut self) {
        for ((from, _), queue) in &mut self.cluster.network.queues {
            for message in queue {
                let Body::Prompt(Prompt::ReadIndex { request }) = &mut message.body else {
                    continue;
                };
                let named = self.requests.entry(*from).or_default();
                if request.0 < 100 {
                    continue;
                }
                let position = named.iter().position(|known| known == request);
                let position = position.unwrap_or_else(|| {
                    named.push(*request);
                    named.len() - 1
                });
                *request = ReadRequest(position as u64);
            }
        }
    }

    /// Snapshots that are asked for are on their way at once, if there is one.
    fn send_snapshots(&mut self) {
        for (from, to) in std::mem::take(&mut self.cluster.snapshots) {
            let Some(snapshot) = self.cluster.newest_snapshot(from, to) else {
                self.at(from);
                self.cluster.step(from, Input::SnapshotDone { to, through: None });
                continue;
            };
            let is_known = self.cluster.sent_snapshots.iter().any(|sent| {
                (sent.from, sent.to, sent.term) == (from, to, snapshot.term) && end(&sent.state) == end(&snapshot.state)
            });
            if !is_known {
                self.cluster.sent_snapshots.push(snapshot);
            }
        }
    }

    fn fingerprint_of(&self, id: NodeId) -> u64 {
        let (node, mut state) = (self.cluster.node(id), Mix::default());
        self.cluster.group(id).fingerprint(self.clocks[&id], &mut state);
        (node.disk.hard, node.disk.base, &node.disk.entries).hash(&mut state);
        for snapshot in &node.disk.snapshots {
            end(snapshot).hash(&mut state);
        }
        for write in &node.writes {
            // With what waits for it; but for its number, which follows from its place.
            (write.hard_state, write.base, &write.entries).hash(&mut state);
            for message in write.clone().into_durable().send {
                message.hash(&mut state);
            }
        }
        end(&node.applied).hash(&mut state);
        if let Some(liveness) = &node.liveness {
            let clock = self.clocks[&id];
            liveness.fingerprint(clock, &mut state);
            // Here a deadline does not come at any moment.
            let left = self.cluster.group(id).deadline().since(clock);
            left.div_ceil(STEP_MS).hash(&mut state);
        }
        self.requests.get(&id).map(Vec::len).hash(&mut state);
        state.finish()
    }

    /// The replicas with their disks and clocks.
    pub(crate) fn replicas(&self) -> u64 {
        let mut state = Mix::default();
        self.fingerprints.hash(&mut state);
        state.finish()
    }

    /// Number of messages and snapshots on their way.
    pub(crate) fn on_its_way(&self) -> usize {
        let messages = self
            .cluster
            .network
            .queues
            .values()
            .map(std::collections::VecDeque::len);
        let beats = self.cluster.beats.aside.values().map(Vec::len);
        messages.sum::<usize>() + beats.sum::<usize>() + self.cluster.sent_snapshots.len()
    }

    /// What tells this state from others: replicas, disks, what is on its way, what happened, and what may.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut state = Mix::default();
        // A set, in no order.
        let mut on_its_way = 0_u64;
        for message in self.cluster.network.queues.values().flatten() {
            let mut state = Mix::default();
            message.hash(&mut state);
            on_its_way = on_its_way.wrapping_add(state.finish());
        }
        for (link, aside) in &self.cluster.beats.aside {
            for message in aside {
                let mut state = Mix::default();
                (link, message).hash(&mut state);
                on_its_way = on_its_way.wrapping_add(state.finish());
            }
        }
        for snapshot in &self.cluster.sent_snapshots {
            let mut state = Mix::default();
            (snapshot.from, snapshot.to, snapshot.term, end(&snapshot.state)).hash(&mut state);
            on_its_way = on_its_way.wrapping_add(state.finish());
        }
        (self.replicas(), on_its_way, self.left).hash(&mut state);
        self.cluster.safety.fingerprint(&mut state);
        state.finish()
    }
}

/// A quick hash of 64 bits: each word is mixed as in SplitMix64, so that no bit is lost.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let word = chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
            self.write_u64(word);
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(value.into());
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_i64(value as i64);
    }

    fn write_u64(&mut self, value: u64) {
        let mut z = (self.0 ^ value).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        self.0 = z ^ (z >> 31);
    }
}
