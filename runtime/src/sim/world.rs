//! A simulated world: nodes that start and end, and what they host.

mod absence;
mod client;
mod eager;
mod leader;
mod liveness;
mod node;
mod operator;
mod rot;

use super::network::SimNetwork;
use super::properties::{Call, Freshness, Kind, Outcome};
use super::random::{Purpose, Random};
use super::scenario::Scenario;
use super::settings::Settings;
use super::threads::{Duty, Threads};
use super::trace::Trace;
use super::vital::Vital;
use super::watch::Watchman;
use super::workload::Workload;
use super::{checked::Checked, clock::NodeClock, disk::NodeDisk};
use crate::group::Group;
use crate::host::RaftHost;
use raftyard_groups::{GroupId, NodeId, RoleKind};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::spawn_local;
use tokio::time::Instant;

/// Clients of each group.
const CLIENTS: u64 = 3;

/// What was asked and told; nothing, where it never happened.
type History<W> = Vec<Option<Call<<W as Workload>::Machine>>>;

pub(super) type Replica<W> = Group<Checked<<W as Workload>::Machine>>;

/// What all that happens in a world shares.
pub(super) struct World<W: Workload> {
    pub(super) scenario: Scenario,
    settings: Settings,
    workload: W,
    pub(super) threads: Rc<Threads>,
    network: SimNetwork,
    pub(super) trace: Trace,
    pub(super) watchman: Watchman,
    nodes: RefCell<BTreeMap<NodeId, NodeState<W>>>,
    pub(super) groups: RefCell<BTreeMap<GroupId, GroupState<W>>>,
    /// Counts what clients ask and are told, and numbers commands.
    clock: Cell<u64>,
    phase: Cell<Phase>,
    /// Nodes that don't start, whoever starts them.
    absent: RefCell<Vec<NodeId>>,
    freshness: RefCell<Freshness>,
    /// Answers that clients got.
    answers: Cell<u64>,
    is_done: Cell<bool>,
}

/// How far a simulation is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Faults happen.
    Faulty,
    /// Nothing disturbs any more, and every group must get on.
    Calm,
    /// Clients ask nothing more.
    Over,
}

/// A node, across the lives of its process.
struct NodeState<W: Workload> {
    disk: NodeDisk,
    clock: NodeClock,
    lives: u64,
    vital: Option<Vital>,
    is_starting: bool,
    /// After so many operations on its disk or the network its next life ends.
    fuse: Option<u64>,
    host: Option<RaftHost>,
    replicas: BTreeMap<GroupId, Replica<W>>,
}

/// What is known of a group.
pub(super) struct GroupState<W: Workload> {
    workload: W,
    /// What it begins with, in every life.
    first: Vec<NodeId>,
    incarnation: u64,
    /// Somebody changes who belongs to it.
    is_busy: bool,
    /// Its clients ask nothing until then.
    rests_until: Option<Instant>,
    /// By life and part.
    pub(super) histories: BTreeMap<(u64, u64), History<W>>,
}

/// Where a call is noted.
#[derive(Clone, Copy)]
struct Noted {
    group: GroupId,
    incarnation: u64,
    part: u64,
    position: usize,
}

impl<W: Workload> World<W> {
    pub(super) fn new(scenario: &Scenario, workload: &W, trace: &Trace) -> Self {
        let seed = scenario.seed;
        let settings = Settings::draw(seed, scenario.groups);
        let threads = Threads::new(Random::new(seed, Purpose::Schedule, 0), settings.lateness);
        let random = Random::new(seed, Purpose::Network, 0);
        let network = SimNetwork::new(random, trace.clone(), settings.latency_max_ms);
        let node = |id: u64| {
            let mut random = Random::new(seed, Purpose::Node, id);
            let disk = NodeDisk::new(NodeId(id), Random::new(seed, Purpose::Disk, id), trace.clone());
            if scenario.disks_lie {
                disk.lie();
            }
            let state = NodeState {
                disk,
                clock: NodeClock::new(0, random.below(60_000)),
                lives: 0,
                vital: None,
                is_starting: false,
                fuse: None,
                host: None,
                replicas: BTreeMap::new(),
            };
            (NodeId(id), state)
        };
        let group = |id: u64| {
            let size = if id.is_multiple_of(4) { 5 } else { 3 }.min(scenario.nodes);
            let state = GroupState {
                workload: workload.clone(),
                first: (0..size).map(|n| NodeId((id + n) % scenario.nodes + 1)).collect(),
                incarnation: 1,
                is_busy: false,
                rests_until: None,
                histories: BTreeMap::new(),
            };
            (GroupId(id), state)
        };
        Self {
            settings,
            workload: workload.clone(),
            threads: Rc::new(threads),
            network,
            watchman: Watchman::new(trace.clone()),
            trace: trace.clone(),
            nodes: RefCell::new((1..=scenario.nodes).map(node).collect()),
            groups: RefCell::new((1..=scenario.groups).map(group).collect()),
            clock: Cell::new(0),
            phase: Cell::new(Phase::Faulty),
            absent: RefCell::default(),
            freshness: RefCell::default(),
            answers: Cell::new(0),
            is_done: Cell::new(false),
            scenario: scenario.clone(),
        }
    }

    /// Lets everything happen, on a thread of the world's own.
    pub(super) fn begin(self: &Rc<Self>) {
        let world = self.clone();
        self.threads.start_with(None, Duty::World, async move {
            world.live().await;
            world.is_done.set(true);
        });
    }

    /// Whether there is no more to come.
    pub(super) fn is_done(&self) -> bool {
        self.is_done.get() || self.watchman.violation().is_some()
    }

    /// Answers that clients got.
    pub(super) fn answers(&self) -> u64 {
        self.answers.get()
    }

    async fn live(self: &Rc<Self>) {
        for node in self.ids() {
            self.start(node).await;
        }
        let groups: Vec<GroupId> = self.groups.borrow().keys().copied().collect();
        for group in &groups {
            self.create(*group).await;
        }
        let mut clients = Vec::new();
        for group in &groups {
            for n in 0..CLIENTS {
                clients.push(spawn_local(self.clone().client(*group, n)));
            }
            clients.push(spawn_local(self.clone().ask_who_leads(*group)));
        }
        let began = Instant::now();
        for step in self.scenario.steps.clone() {
            tokio::time::sleep_until(began + step.at).await;
            spawn_local(self.clone().happen(step));
        }
        tokio::time::sleep_until(began + self.scenario.faulty).await;
        self.calm_down().await;
        if let Some(absence) = &self.scenario.absence {
            self.get_on_without(absence).await;
        }
        self.get_on().await;
        self.phase.set(Phase::Over);
        for client in clients {
            // One that panicked is noted as such.
            client.await.ok();
        }
        self.read_all_again().await;
    }

    fn ids(&self) -> Vec<NodeId> {
        self.nodes.borrow().keys().copied().collect()
    }

    fn host(&self, node: NodeId) -> Option<RaftHost> {
        self.nodes.borrow().get(&node)?.host.clone()
    }

    /// The replicas of a group that run.
    fn replicas(&self, group: GroupId) -> Vec<Replica<W>> {
        let nodes = self.nodes.borrow();
        nodes
            .values()
            .filter_map(|node| node.replicas.get(&group).cloned())
            .collect()
    }

    /// The replica that says that it leads, in the newest term of all that do.
    fn leader(&self, group: GroupId) -> Option<Replica<W>> {
        let replicas = self.replicas(group).into_iter();
        let leading = replicas.filter(|replica| replica.status().role == RoleKind::Leader);
        leading.max_by_key(|replica| replica.status().term)
    }

    fn incarnation(&self, group: GroupId) -> u64 {
        self.groups.borrow().get(&group).map_or(0, |group| group.incarnation)
    }

    /// Clients of a group ask nothing until then.
    fn rest(&self, group: GroupId, until: Instant) {
        if let Some(group) = self.groups.borrow_mut().get_mut(&group) {
            group.rests_until = Some(until);
        }
    }

    fn rests(&self, group: GroupId) -> bool {
        let groups = self.groups.borrow();
        let until = groups.get(&group).and_then(|group| group.rests_until);
        until.is_some_and(|until| until > Instant::now())
    }

    /// A number that comes once.
    fn tick(&self) -> u64 {
        self.clock.set(self.clock.get() + 1);
        self.clock.get()
    }

    fn is_over(&self) -> bool {
        self.phase.get() == Phase::Over
    }

    /// Notes that a call is asked; until more is known its outcome is unknown.
    fn note(&self, group: GroupId, incarnation: u64, client: u64, kind: Kind<W::Machine>) -> Noted {
        let mut groups = self.groups.borrow_mut();
        let part = self.workload.part(&kind);
        let call = Call {
            client,
            kind,
            invoked: self.tick(),
            returned: u64::MAX,
            outcome: Outcome::Unknown,
        };
        let mut position = 0;
        if let Some(state) = groups.get_mut(&group) {
            let history = state.histories.entry((incarnation, part)).or_default();
            position = history.len();
            history.push(Some(call));
        }
        Noted {
            group,
            incarnation,
            part,
            position,
        }
    }

    /// Notes what came of a call; nothing, if it never happens.
    fn settle(&self, noted: Noted, outcome: Option<Outcome<W::Machine>>) {
        let now = self.tick();
        let mut groups = self.groups.borrow_mut();
        let history = groups
            .get_mut(&noted.group)
            .and_then(|group| group.histories.get_mut(&(noted.incarnation, noted.part)));
        let Some(call) = history.and_then(|history| history.get_mut(noted.position)) else {
            return;
        };
        match outcome {
            None => *call = None,
            Some(outcome) => {
                self.answers.set(self.answers.get() + 1);
                if let Some(call) = call {
                    call.returned = now;
                    call.outcome = outcome;
                }
            }
        }
    }
}

/// What a future gives, unless that takes longer in simulated time.
async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(limit, future).await.ok()
}
