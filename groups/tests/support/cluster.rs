//! A simulated cluster around the real core: the driver's part, with disks, links, state machines and time
//! that do only what a test tells them to.

use super::beats::Beats;
use super::disk::{Disk, State, end};
use super::network::{Link, Network};
use super::patience::check_patience;
use super::safety::Safety;
use super::strip;
use bytes::Bytes;
use raftyard_groups::{
    ChangeId, ChangeOutcome, ChangeRequest, Effects, Entry, Group, GroupId, Incarnation, Input, Liveness, Load,
    LoadPurpose, LogId, LogIndex, Membership, Message, Moment, NodeId, Payload, Persist, ProposalId, Proposed, ReadId,
    ReadOutcome, Recovered, ReplicaConfig, RoleKind, Term, TransferId, Tuning,
};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

/// One node with its replica. What completes at once by default (writes, applies, loads) can be held.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    /// `None` while it is down.
    pub(crate) group: Option<Group>,
    pub(crate) disk: Disk,
    /// Writes that are not durable yet.
    pub(crate) writes: VecDeque<Persist>,
    pub(crate) applying: VecDeque<Entry>,
    /// The snapshot that takes the place of all that was applied.
    pub(crate) installing: Option<LogId>,
    /// What the state machine applied, lost in a crash.
    pub(crate) applied: State,
    pub(crate) loads: VecDeque<Load>,
    pub(crate) hold_fsync: bool,
    pub(crate) hold_apply: bool,
    pub(crate) hold_load: bool,
    /// It waits to be added, and knows nothing of the group.
    pub(crate) joins: bool,
    pub(crate) priority: u8,
    /// `None` while it is down, and where there are no sessions.
    pub(crate) liveness: Option<Liveness>,
    lives: u64,
    boots: u64,
}

/// A snapshot on its way.
#[derive(Clone, Debug)]
pub(crate) struct SentSnapshot {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) term: Term,
    pub(crate) state: State,
}

/// One line of what happened.
#[derive(Clone)]
pub(crate) enum Trace {
    Message(String),
    Event(String),
}

#[derive(Clone)]
pub(crate) struct Cluster {
    /// Shared with copies of this cluster until they differ.
    pub(crate) nodes: BTreeMap<NodeId, Rc<Node>>,
    pub(crate) network: Network,
    pub(crate) now: Moment,
    pub(crate) beats: Beats,
    pub(crate) safety: Safety,
    pub(crate) proposed: BTreeMap<ProposalId, Proposed>,
    pub(crate) reads: BTreeMap<ReadId, ReadOutcome>,
    pub(crate) changes: BTreeMap<ChangeId, ChangeOutcome>,
    /// Peers for which a snapshot was asked, with who asked.
    pub(crate) snapshots: Vec<(NodeId, NodeId)>,
    /// Snapshots on their way.
    pub(crate) sent_snapshots: Vec<SentSnapshot>,
    /// `None`: nobody wants to know.
    pub(crate) trace: Option<Vec<Trace>>,
    pub(crate) tuning: Tuning,
    membership: Membership,
    seed: u64,
    proposals: u64,
    transfers: u64,
    asked: u64,
}

impl Cluster {
    pub(crate) fn new(membership: &Membership, tuning: Tuning, seed: u64) -> Self {
        let mut cluster = Self {
            nodes: BTreeMap::new(),
            network: Network::default(),
            now: Moment(0),
            beats: Beats::default(),
            safety: Safety::new(membership.clone()),
            proposed: BTreeMap::new(),
            reads: BTreeMap::new(),
            changes: BTreeMap::new(),
            snapshots: Vec::new(),
            sent_snapshots: Vec::new(),
            trace: None,
            tuning,
            membership: membership.clone(),
            seed,
            proposals: 0,
            transfers: 0,
            asked: 0,
        };
        for id in membership.peers_of(NodeId(0)) {
            cluster.nodes.insert(id, Rc::default());
            cluster.start(id);
        }
        cluster
    }

    /// A cluster of voters `n1` to `n{voters}` with everything as by default.
    pub(crate) fn of(voters: u64) -> Self {
        let membership = Membership::of_voters((1..=voters).map(NodeId)).expect("there are voters");
        Self::new(&membership, Tuning::default(), 1)
    }

    /// A replica starts that waits to be added to the group.
    pub(crate) fn join(&mut self, id: NodeId) {
        let node = Node {
            joins: true,
            ..Node::default()
        };
        assert!(self.nodes.insert(id, Rc::new(node)).is_none(), "{id} is there already");
        self.start(id);
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(&id).unwrap_or_else(|| panic!("there is no {id}"))
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        let node = self.nodes.get_mut(&id);
        Rc::make_mut(node.unwrap_or_else(|| panic!("there is no {id}")))
    }

    pub(crate) fn group(&self, id: NodeId) -> &Group {
        let group = self.node(id).group.as_ref();
        group.unwrap_or_else(|| panic!("{id} is down"))
    }

    pub(crate) fn is_up(&self, id: NodeId) -> bool {
        self.node(id).group.is_some()
    }

    pub(crate) fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// Who leads in the newest term that has a leader.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let up = self.nodes.values().filter_map(|node| node.group.as_ref());
        let leaders = up.filter(|group| group.role() == RoleKind::Leader);
        leaders.max_by_key(|group| group.term()).map(Group::node)
    }

    /// Starts a node, and its replica from its disk.
    pub(crate) fn start(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        node.boots += 1;
        let boots = node.boots;
        self.start_liveness(id, boots);
        self.start_replica(id, |recovered| recovered.created = boots == 1);
    }

    /// Stops the replica of a node that lives on, and starts it anew from its disk. What it promised is handed on,
    /// unless it is `lost`.
    pub(crate) fn reload(&mut self, id: NodeId, lost: bool) {
        let promise = self.group(id).promise();
        let liveness = self.node(id).liveness.clone();
        self.crash(id, usize::MAX);
        self.node_mut(id).liveness = liveness;
        self.start_replica(id, |recovered| {
            recovered.promise = promise.filter(|_| !lost);
            recovered.promise_lost = lost;
        });
    }

    fn start_replica(&mut self, id: NodeId, knows: impl FnOnce(&mut Recovered)) {
        let (tuning, membership, seed, now) = (self.tuning, self.membership.clone(), self.seed, self.now);
        let node = self.node_mut(id);
        assert!(node.group.is_none(), "{id} is up already");
        node.lives += 1;
        let config = ReplicaConfig {
            group: GroupId(1),
            incarnation: Incarnation(1),
            node: id,
            membership: Arc::new(if node.joins { Membership::default() } else { membership }),
            tuning: Arc::new(tuning),
            seed: seed.wrapping_mul(1_000_003) + id.0 * 101 + node.lives,
            priority: node.priority,
        };
        let (mut recovered, state) = node.disk.recover();
        knows(&mut recovered);
        node.group = Some(Group::new(config, recovered, now));
        self.safety.restarted(id);
        self.safety.restores(id, &state);
        self.node_mut(id).applied = state;
    }

    /// Kills a replica. Of the writes under way the first `durable` reach the disk, though nobody is told; the
    /// rest is lost.
    pub(crate) fn crash(&mut self, id: NodeId, durable: usize) {
        let node = self.node_mut(id);
        node.group = None;
        node.liveness = None;
        for write in std::mem::take(&mut node.writes).iter().take(durable) {
            node.disk.write(write);
        }
        node.applying.clear();
        node.installing = None;
        node.applied.clear();
        node.loads.clear();
    }

    /// A replica crashes, and its disk loses all but its first entries.
    pub(crate) fn damage(&mut self, id: NodeId, kept: usize) {
        self.crash(id, 0);
        self.node_mut(id).disk.lose(kept);
    }

    /// Destroys a replica with all that it held. A new one joins in its place, in the same life of the group, of
    /// whose past it knows no more than its node keeps.
    pub(crate) fn come_back(&mut self, id: NodeId) {
        self.crash(id, 0);
        let node = self.node_mut(id);
        *node = Node {
            disk: node.disk.forget(),
            joins: true,
            priority: node.priority,
            lives: node.lives,
            boots: node.boots,
            ..Node::default()
        };
        self.event(|| format!("{id} forgets all and comes back"));
        self.start(id);
    }

    pub(crate) fn propose(&mut self, id: NodeId, commands: &[&str]) -> ProposalId {
        self.proposals += 1;
        let proposal = ProposalId(self.proposals);
        let commands = commands.iter().map(|text| Bytes::from((*text).to_owned())).collect();
        self.step(id, Input::Propose { id: proposal, commands });
        proposal
    }

    pub(crate) fn read(&mut self, id: NodeId, read: ReadId, forwarded: bool) {
        self.safety.read_asked(read);
        self.step(id, Input::Read { id: read, forwarded });
    }

    pub(crate) fn transfer(&mut self, id: NodeId, to: Option<NodeId>) {
        self.transfers += 1;
        let transfer = TransferId(self.transfers);
        self.step(id, Input::Transfer { id: transfer, to });
    }

    pub(crate) fn change(&mut self, id: NodeId, change: ChangeRequest) -> ChangeId {
        self.asked += 1;
        let asked = ChangeId(self.asked);
        self.step(id, Input::ChangeMembership { id: asked, change });
        asked
    }

    /// Takes the first message of a link to its receiver.
    pub(crate) fn deliver_one(&mut self, link: Link) -> bool {
        if self.is_frozen(link.1) {
            return false;
        }
        let Some(message) = self.network.queue(link).pop_front() else {
            return false;
        };
        self.hand_over(message);
        true
    }

    pub(crate) fn hand_over(&mut self, message: Message) {
        let to = message.to;
        if self.is_up(to) {
            self.step(to, Input::Message(message));
        } else {
            let line = format!("{message} ({to} is down)");
            self.trace
                .iter_mut()
                .for_each(|trace| trace.push(Trace::Message(line.clone())));
        }
    }

    /// Delivers all that is on its way now, but nothing that this causes. Returns how many.
    pub(crate) fn deliver_round(&mut self) -> usize {
        let mut count = 0;
        for link in self.network.busy_links() {
            if self.is_frozen(link.1) {
                continue;
            }
            for message in std::mem::take(self.network.queue(link)) {
                self.hand_over(message);
                count += 1;
            }
        }
        count
    }

    /// Delivers until nothing is on its way. Returns how many.
    pub(crate) fn settle(&mut self) -> usize {
        let mut count = 0;
        for _ in 0..1_000 {
            match self.deliver_round() {
                0 => return count,
                delivered => count += delivered,
            }
        }
        panic!("messages beget messages for ever");
    }

    /// Lets time pass with a tick for whoever is due; delivers all messages at once if `deliver`.
    pub(crate) fn pass(&mut self, millis: u64, deliver: bool) {
        let end = self.now.plus(millis);
        loop {
            let up = self.nodes.values().filter_map(|node| node.group.as_ref());
            let up = up.filter(|group| !self.is_frozen(group.node()));
            let next = up.map(Group::deadline).chain(self.next_beat()).min();
            let Some(next) = next.filter(|due| *due <= end) else {
                break;
            };
            self.now = self.now.max(next);
            self.beat();
            for id in self.ids() {
                if self.is_up(id) && !self.is_frozen(id) && self.group(id).deadline() <= self.now {
                    self.step(id, Input::Tick);
                }
            }
            if deliver {
                self.settle();
            }
        }
        self.now = end;
    }

    /// Has a replica elected whom nothing hinders.
    pub(crate) fn elect(&mut self, id: NodeId) {
        self.step(id, Input::Campaign);
        self.settle();
        assert_eq!(self.group(id).role(), RoleKind::Leader, "{id} was not elected");
    }

    /// Makes the first `count` writes under way durable.
    pub(crate) fn fsync(&mut self, id: NodeId, count: usize) {
        for _ in 0..count {
            if let Some(input) = self.sync_one(id) {
                self.step(id, input);
            }
        }
    }

    fn sync_one(&mut self, id: NodeId) -> Option<Input> {
        let node = self.node_mut(id);
        let write = node.writes.pop_front()?;
        node.disk.write(&write);
        if node.hold_fsync {
            self.event(|| format!("{id} synced #{}", write.seq.0));
        }
        let durable = write.into_durable();
        for message in durable.send {
            self.safety.promise_leaves(&message, &self.nodes);
            self.send(message);
        }
        Some(Input::Persisted { seq: durable.seq })
    }

    fn apply_all(&mut self, id: NodeId) -> Option<Input> {
        let node = self.node_mut(id);
        if let Some(last) = node.installing.take() {
            let state = node.disk.snapshot(last).expect("it was received").clone();
            self.safety.restores(id, &state);
            self.node_mut(id).applied = state;
            return Some(Input::Applied { through: last.index });
        }
        let through = node.applying.back()?.index;
        node.applied.extend(std::mem::take(&mut node.applying));
        Some(Input::Applied { through })
    }

    /// Takes a snapshot of what is applied and durable, and lets the log be compacted up to `through`.
    pub(crate) fn compact(&mut self, id: NodeId, through: LogIndex) {
        let durable = self.group(id).durable();
        let node = self.node_mut(id);
        let taken = node.applied.iter().take_while(|entry| entry.index <= durable);
        let state: State = taken.cloned().collect();
        let through = through.min(end(&state).index);
        let membership = self.group(id).membership_at(end(&state).index);
        if let Some(membership) = membership {
            assert_eq!(
                *membership,
                self.membership_of(&state),
                "{id} mistakes what is in force"
            );
        } else {
            // It joined, and no snapshot can say yet who is in the group.
            return;
        }
        self.node_mut(id).disk.add_snapshot(state);
        self.step(id, Input::Compacted { through });
    }

    /// The newest snapshot of what `from` holds, to be sent; `None` if it has none that its log goes on from.
    pub(crate) fn newest_snapshot(&self, from: NodeId, to: NodeId) -> Option<SentSnapshot> {
        let group = self.group(from);
        let snapshots = self.node(from).disk.snapshots.iter();
        let held = snapshots.filter(|state| {
            let last = end(state);
            group.term_at(last.index) == Some(last.term) && last.index <= group.applied()
        });
        Some(SentSnapshot {
            from,
            to,
            term: group.term(),
            state: held.max_by_key(|state| state.len())?.clone(),
        })
    }

    /// The configuration in force at the last entry of a state.
    fn membership_of(&self, state: &State) -> Arc<Membership> {
        let in_log = state.iter().rev().find_map(|entry| match &entry.payload {
            Payload::Membership(membership) => Some(membership.clone()),
            _ => None,
        });
        in_log.unwrap_or_else(|| Arc::new(self.membership.clone()))
    }

    /// A snapshot lies complete at its receiver, who is told; as is its sender.
    pub(crate) fn receive_snapshot(&mut self, snapshot: SentSnapshot) {
        let SentSnapshot {
            from,
            to,
            term,
            mut state,
        } = snapshot;
        if self.safety.is_witness(to) {
            // It holds no state: what its snapshot says is where the log goes on.
            state.iter_mut().for_each(strip);
        }
        let (last, is_up) = (end(&state), self.is_up(to));
        if is_up {
            self.event(|| format!("{to} received a snapshot through {last}"));
            let membership = self.membership_of(&state);
            self.node_mut(to).disk.add_snapshot(state);
            let received = Input::SnapshotReceived {
                from,
                term,
                last,
                membership,
            };
            self.step(to, received);
        }
        let through = is_up.then_some(last.index);
        self.step(from, Input::SnapshotDone { to, through });
    }

    /// Lets the state machine apply what it was given.
    pub(crate) fn apply(&mut self, id: NodeId) {
        if let Some(input) = self.apply_all(id) {
            self.step(id, input);
        }
    }

    fn load_one(&mut self, id: NodeId, fails: bool) -> Option<Input> {
        let node = self.node_mut(id);
        let load = node.loads.pop_front()?;
        let entries = if fails { Vec::new() } else { node.disk.load(&load) };
        let (purpose, from) = (load.purpose, load.from);
        Some(Input::Loaded { purpose, from, entries })
    }

    /// Answers the first load under way.
    pub(crate) fn load(&mut self, id: NodeId, fails: bool) {
        if let Some(input) = self.load_one(id, fails) {
            self.step(id, input);
        }
    }

    /// Tells a replica, if it is up, and carries out what it wants, with all that completes at once.
    pub(crate) fn step(&mut self, id: NodeId, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let (now, sessions) = (self.now, self.sessions(id));
            let Some(group) = &mut self.node_mut(id).group else {
                return;
            };
            let before = (group.role(), group.term(), group.leader(), group.is_asleep());
            check_patience(group, now, &sessions, &input);
            let mut effects = Effects::default();
            group.step(now, &sessions, input, &mut effects);
            let changed = before != (group.role(), group.term(), group.leader(), group.is_asleep());
            let line = changed.then(|| group.to_string());
            if let Some(line) = line {
                self.event(|| line);
            }
            self.carry_out(id, effects);
            self.safety.stepped(id, &self.nodes);
            self.check_leases();
            while !self.node(id).hold_fsync
                && let Some(done) = self.sync_one(id)
            {
                inputs.push_back(done);
            }
            if !self.node(id).hold_apply {
                inputs.extend(self.apply_all(id));
            }
            while !self.node(id).hold_load
                && let Some(done) = self.load_one(id, false)
            {
                inputs.push_back(done);
            }
        }
    }

    /// The replica stops leading.
    pub(crate) fn resign(&mut self, id: NodeId) {
        let mut effects = Effects::default();
        if let Some(group) = &mut self.node_mut(id).group {
            group.resign(&mut effects);
        }
        let line = self.group(id).to_string();
        self.event(|| line);
        self.carry_out(id, effects);
        self.check_leases();
    }

    fn carry_out(&mut self, id: NodeId, effects: Effects) {
        for (proposal, outcome) in effects.proposed {
            self.event(|| format!("p{} {outcome}", proposal.0));
            self.proposed.insert(proposal, outcome);
        }
        for (read, outcome) in effects.reads {
            self.event(|| format!("r{} {outcome}", read.0));
            self.safety.read_answered(read, outcome);
            self.reads.insert(read, outcome);
        }
        for (transfer, outcome) in effects.transfers {
            self.event(|| format!("t{} {outcome}", transfer.0));
        }
        for (change, outcome) in effects.memberships {
            self.event(|| format!("c{} {outcome}", change.0));
            let before = self.changes.insert(change, outcome);
            assert!(before.is_none(), "c{} is answered twice", change.0);
        }
        for message in effects.send {
            self.safety.prompt_leaves(&message);
            self.send(message);
        }
        if let Some(write) = effects.persist {
            self.safety.written(id, &write);
            if self.node(id).hold_fsync {
                self.event(|| format!("{id} queues {write}"));
            }
            self.node_mut(id).writes.push_back(write);
        }
        if !effects.apply.is_empty() {
            let list: Vec<String> = effects.apply.iter().map(Entry::to_string).collect();
            self.event(|| format!("{id} applies {}", list.join(" ")));
            self.safety.applies(id, &effects.apply);
            self.node_mut(id).applying.extend(effects.apply);
        }
        for load in effects.load {
            self.event(|| {
                let purpose = match load.purpose {
                    LoadPurpose::Peer(peer) => format!("for {peer}"),
                    LoadPurpose::Apply => "to apply".to_owned(),
                };
                format!("{id} loads {}..{} {purpose}", load.from, load.through)
            });
            self.node_mut(id).loads.push_back(load);
        }
        if let Some(last) = effects.install {
            self.event(|| format!("{id} installs the snapshot through {last}"));
            let node = self.node_mut(id);
            node.applying.clear();
            node.installing = Some(last);
        }
        for peer in effects.snapshots {
            self.event(|| format!("{id} wants a snapshot for {peer}"));
            self.snapshots.push((id, peer));
        }
    }

    fn send(&mut self, message: Message) {
        let line = self.trace.is_some().then(|| message.to_string());
        let sent = self.network.send(message);
        if let (Some(trace), Some(line)) = (&mut self.trace, line) {
            trace.push(Trace::Message(if sent { line } else { format!("{line} (lost)") }));
        }
    }

    pub(crate) fn event(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(Trace::Event(line()));
        }
    }

    /// The terms of a replica's log, as its memory has them.
    pub(crate) fn log_terms(&self, id: NodeId) -> Vec<Option<u64>> {
        let group = self.group(id);
        let indexes = 1..=group.last().index.0;
        indexes
            .map(|index| group.term_at(LogIndex(index)).map(|term| term.0))
            .collect()
    }

    /// Whether all members hold the same log, durable and applied.
    pub(crate) fn all_equal(&self) -> bool {
        let members = self.leader().map(|leader| self.group(leader).membership().nodes());
        let is_member = |id: &NodeId| members.as_ref().is_none_or(|members| members.contains(id));
        let members = self.nodes.iter().filter(|(id, _)| is_member(id));
        let mut groups = members.map(|(_, node)| node.group.as_ref());
        let Some(Some(first)) = groups.next() else {
            return false;
        };
        let is_equal = |group: &Group| {
            group.last() == first.last()
                && group.applied() == first.last().index
                && group.durable() == group.last().index
        };
        is_equal(first) && groups.all(|group| group.is_some_and(is_equal))
    }
}
