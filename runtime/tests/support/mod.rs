//! A cluster in memory that tests can cut, crash and restart.

pub mod random;
pub mod settings;

pub mod fjall_journal;
pub mod hooked_snapshots;
pub mod hooked_store;
pub mod memory_journal;

use raftyard::store::{LogStore, MemoryLogStore, MemorySnapshotStore};
use raftyard::{
    Compaction, Consistency, Group, GroupId, HostBuilder, Limits, LivenessTuning, MembershipChange, MemoryNetwork,
    NodeId, RaftHost, Replicated, StateMachine, Timestamp, Tuning,
};
use raftyard_groups::Recovered;
use std::time::{Duration, Instant};

/// How long a condition may take to come true before a test fails: far longer than it ever should.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A log of what was applied, in order.
#[derive(Default)]
pub struct Journal(pub Vec<String>);

impl StateMachine for Journal {
    type Command = String;
    type Response = usize;
    type Query = ();
    type Answer = Vec<String>;
    type Snapshot = Vec<String>;

    fn apply(&mut self, line: String, _: Timestamp) -> usize {
        assert!(line != "panic", "asked to");
        self.0.push(line);
        self.0.len()
    }

    fn query(&self, (): ()) -> Vec<String> {
        self.0.clone()
    }

    fn snapshot(&self) -> Vec<String> {
        self.0.clone()
    }

    fn restore(&mut self, lines: Vec<String>) {
        self.0 = lines;
    }
}

/// Nodes with ids from 1; each keeps its log across restarts.
pub struct Cluster {
    pub network: MemoryNetwork,
    pub limits: Limits,
    pub compaction: Compaction,
    pub tuning: Tuning,
    pub liveness: LivenessTuning,
    stores: Vec<MemoryLogStore>,
    pub snapshots: Vec<MemorySnapshotStore>,
    hosts: Vec<Option<RaftHost>>,
}

impl Cluster {
    pub async fn start(nodes: usize) -> Self {
        Self::start_with(nodes, Limits::default()).await
    }

    pub async fn start_with(nodes: usize, limits: Limits) -> Self {
        let mut cluster = Self::closed(nodes);
        cluster.limits = limits;
        cluster.open_all().await;
        cluster
    }

    /// Nodes that don't run yet.
    pub fn closed(nodes: usize) -> Self {
        Self {
            network: MemoryNetwork::new(),
            limits: Limits::default(),
            compaction: Compaction::default(),
            tuning: Tuning::default(),
            liveness: LivenessTuning::default(),
            stores: (0..nodes).map(|_| MemoryLogStore::default()).collect(),
            snapshots: (0..nodes).map(|_| MemorySnapshotStore::default()).collect(),
            hosts: vec![None; nodes],
        }
    }

    /// Nodes that don't run yet, and on which nobody loses leadership for want of a processor: only who is asked to hand over
    /// does, or is cut off for long.
    pub fn steady(nodes: usize) -> Self {
        let mut cluster = Self::closed(nodes);
        cluster.tuning.election_timeout_ms = 6_000;
        cluster.liveness.promise_ms = 6_000;
        cluster
    }

    pub async fn start_steady(nodes: usize) -> Self {
        Self::start_steady_with(nodes, Limits::default()).await
    }

    pub async fn start_steady_with(nodes: usize, limits: Limits) -> Self {
        let mut cluster = Self::steady(nodes);
        cluster.limits = limits;
        cluster.open_all().await;
        cluster
    }

    pub async fn open_all(&mut self) {
        for id in self.ids() {
            self.open(id).await;
        }
    }

    pub fn ids(&self) -> Vec<NodeId> {
        (1..=self.stores.len() as u64).map(NodeId).collect()
    }

    /// Starts a node on what its log store holds.
    pub async fn open(&mut self, id: NodeId) {
        let builder = self.builder(id).log_store(self.disk(id));
        self.hosts[slot(id)] = Some(builder.open().await.expect("the node opens"));
    }

    /// A node of this cluster, still without its store.
    pub fn builder(&self, id: NodeId) -> HostBuilder {
        let builder = RaftHost::builder("")
            .node(id)
            .listen(id.to_string())
            .workers(2)
            .seed(id.0)
            .limits(self.limits)
            .compaction(self.compaction)
            .snapshot_store(self.snapshots[slot(id)].clone())
            .tuning(self.tuning)
            .liveness(self.liveness)
            .network(self.network.node(id));
        self.ids()
            .into_iter()
            .fold(builder, |builder, peer| builder.peer(peer, peer.to_string()))
    }

    /// What a node keeps its logs on.
    pub fn disk(&self, id: NodeId) -> MemoryLogStore {
        self.stores[slot(id)].clone()
    }

    /// What a node's log store holds of a group.
    pub fn on_disk(&self, id: NodeId, group: u64) -> Recovered {
        let groups = self.stores[slot(id)].clone().recover().expect("the store is intact");
        let found = groups
            .groups
            .into_iter()
            .find(|found| found.record.group == GroupId(group));
        found.expect("the group was created").state
    }

    /// Takes on a node that was opened on something else.
    pub fn put(&mut self, id: NodeId, host: RaftHost) {
        self.hosts[slot(id)] = Some(host);
    }

    pub fn host(&self, id: NodeId) -> &RaftHost {
        self.hosts[slot(id)].as_ref().expect("the node runs")
    }

    pub async fn stop(&mut self, id: NodeId) {
        if let Some(host) = self.hosts[slot(id)].take() {
            host.shutdown().await;
        }
    }

    pub async fn stop_all(&mut self) {
        for id in self.ids() {
            self.stop(id).await;
        }
    }

    /// The replicas of a group on all nodes, in the order of their ids.
    pub async fn create(&self, group: u64) -> Vec<Group<Journal>> {
        let mut replicas = Vec::new();
        for id in self.ids() {
            replicas.push(self.create_on(id, group).await);
        }
        replicas
    }

    pub async fn create_on(&self, id: NodeId, group: u64) -> Group<Journal> {
        let created = self.host(id).create_group(GroupId(group), self.ids(), Journal::default);
        created.await.expect("the group is created")
    }

    /// Cuts a node off from all others.
    pub fn isolate(&self, id: NodeId) {
        self.others(id).for_each(|other| self.network.cut(id, other));
    }

    pub fn heal(&self, id: NodeId) {
        self.others(id).for_each(|other| self.network.heal(id, other));
    }

    fn others(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        self.ids().into_iter().filter(move |other| *other != id)
    }
}

pub fn slot(id: NodeId) -> usize {
    usize::try_from(id.0).expect("ids are small") - 1
}

/// Waits until `condition` is true; fails the test, naming what it waited for, when patience ends.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The replica that leads, once one of `replicas` says that it does.
pub async fn leader_of<'a, S: Replicated>(replicas: &'a [Group<S>], ids: &[NodeId]) -> &'a Group<S> {
    let mut found = None;
    eventually("a replica leads", || {
        found = replicas
            .iter()
            .zip(ids)
            .find(|(replica, id)| replica.leader() == Some(**id))
            .map(|(replica, _)| replica);
        found.is_some()
    })
    .await;
    found.expect("just found")
}

/// Proposes until it is accepted, at whichever replica leads. A refusal is retried; an unknown outcome fails
/// the test, since this would apply it twice.
pub async fn propose<S: Replicated<Command = String, Response = usize>>(replicas: &[Group<S>], line: &str) -> usize {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for replica in replicas {
            match replica.propose(line.to_owned()).await {
                Ok(response) => return response,
                Err(error) => assert!(!error.may_have_happened(), "{error}"),
            }
        }
        assert!(Instant::now() < deadline, "{line} was never accepted");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Asks whoever leads until the change is made. (To ask again does no harm.)
pub async fn change<S: Replicated>(replicas: &[Group<S>], change: &MembershipChange) {
    let ids: Vec<NodeId> = replicas.iter().map(Group::node).collect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let leader = leader_of(replicas, &ids).await;
        match leader.change_membership(change.clone()).await {
            Ok(_) => return,
            Err(error) => assert!(Instant::now() < deadline, "{change:?} was never made: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Reads what is current, at this replica, once it knows who leads.
pub async fn read_at<S: Replicated<Query = (), Answer = Vec<String>>>(replica: &Group<S>) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match replica.read((), Consistency::Follower).await {
            Ok(lines) => return lines,
            Err(error) => assert!(Instant::now() < deadline, "it served no read: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Reads what is current, at whichever replica leads.
pub async fn read<S: Replicated<Query = (), Answer = Vec<String>>>(replicas: &[Group<S>]) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for replica in replicas {
            if let Ok(lines) = replica.read((), Consistency::Linearizable).await {
                return lines;
            }
        }
        assert!(Instant::now() < deadline, "no replica served a read");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
