//! Nodes in this process, as processes of their own would run them: each with its own threads and its own store.

use crate::Failure;
use crate::interrupt::Interrupt;
use crate::kv::Kv;
use crate::plan::{ClusterPlan, NetworkKind, StoreKind};
use raftyard::store::MemoryLogStore;
use raftyard::{Compaction, Group, GroupId, HostMetrics, MemoryNetwork, NodeId, RaftHost, Replicated};
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinSet;

/// How long to wait until every group has a leader, …
const ELECTIONS: Duration = Duration::from_secs(60);

/// … and for each group.
const ELECTIONS_PER_GROUP: Duration = Duration::from_millis(10);

/// Groups that are created at once.
const CREATED_AT_ONCE: u64 = 4_096;

impl Default for ClusterPlan {
    fn default() -> Self {
        let compaction = Compaction::default();
        Self {
            nodes: 3,
            groups: 1,
            sleepers: 0,
            workers: 1,
            network: NetworkKind::Tcp,
            store: StoreKind::Disk,
            send_bytes_per_second: compaction.send_bytes_per_second,
            tail_entries: None,
        }
    }
}

/// Nodes and their groups, each of which has a replica on every node.
pub struct Cluster {
    hosts: Vec<RaftHost>,
    /// For each group its replicas, in the order of the hosts.
    replicas: Vec<Vec<Group<Kv>>>,
}

impl Cluster {
    /// Three nodes with logs on disk under `data`, one directory per node, and tarpc over loopback. Returns once
    /// every group has a leader.
    ///
    /// # Errors
    ///
    /// What kept a node from opening or a group from being created; all nodes are shut down then.
    pub async fn on_disk(data: &Path, groups: u64, workers: usize) -> Result<Self, Failure> {
        let plan = ClusterPlan {
            groups,
            workers,
            ..ClusterPlan::default()
        };
        Self::open_uninterrupted(&plan, data).await
    }

    /// Three nodes with logs in memory and connected in memory, one worker thread per node. Returns once every
    /// group has a leader.
    ///
    /// # Errors
    ///
    /// As [`Cluster::on_disk`].
    pub async fn in_memory(groups: u64) -> Result<Self, Failure> {
        let plan = ClusterPlan {
            groups,
            network: NetworkKind::Memory,
            store: StoreKind::Memory,
            ..ClusterPlan::default()
        };
        Self::open_uninterrupted(&plan, Path::new("")).await
    }

    async fn open_uninterrupted(plan: &ClusterPlan, data: &Path) -> Result<Self, Failure> {
        let cluster = Self::open(plan, data, &Interrupt::never()).await?;
        cluster.ok_or_else(|| "nobody interrupts this".into())
    }

    /// As planned, sleepers included. Returns once every group has a leader; `None` if interrupted.
    pub(crate) async fn open(plan: &ClusterPlan, data: &Path, interrupt: &Interrupt) -> Result<Option<Self>, Failure> {
        let mut cluster = Self::open_empty(plan, data).await?;
        let created = cluster.create_groups(plan.groups + plan.sleepers, interrupt).await;
        if matches!(created, Ok(true)) {
            return Ok(Some(cluster));
        }
        cluster.stop().await;
        created.map(|_| None)
    }

    /// The nodes alone.
    pub(crate) async fn open_empty(plan: &ClusterPlan, data: &Path) -> Result<Self, Failure> {
        let mut cluster = Self {
            hosts: Vec::new(),
            replicas: Vec::new(),
        };
        match cluster.open_hosts(plan, data).await {
            Ok(()) => Ok(cluster),
            Err(error) => {
                cluster.stop().await;
                Err(error)
            }
        }
    }

    async fn open_hosts(&mut self, plan: &ClusterPlan, data: &Path) -> Result<(), Failure> {
        let network = MemoryNetwork::new();
        let mut compaction = Compaction {
            send_bytes_per_second: plan.send_bytes_per_second,
            ..Compaction::default()
        };
        compaction.tail_entries = plan.tail_entries.unwrap_or(compaction.tail_entries);
        let mut bound = Vec::new();
        for id in (1..=plan.nodes).map(NodeId) {
            let mut builder = RaftHost::builder(data.join(id.to_string()))
                .node(id)
                .workers(plan.workers)
                .compaction(compaction);
            if plan.network == NetworkKind::Memory {
                builder = builder.listen(id.to_string()).network(network.node(id));
            }
            if plan.store == StoreKind::Memory {
                builder = builder.log_store(MemoryLogStore::default());
            }
            bound.push((id, builder.bind().await?));
        }
        let addresses: Vec<(NodeId, String)> = bound
            .iter()
            .map(|(id, host)| (*id, host.peer_addr().to_owned()))
            .collect();
        for (_, host) in bound {
            let host = addresses
                .iter()
                .fold(host, |host, (id, address)| host.peer(*id, address));
            self.hosts.push(host.open().await?);
        }
        Ok(())
    }

    /// Creates groups on all nodes, the next free ids, many at a time, so that the nodes note many of them with one
    /// fsync. Returns true once each has a leader, false if interrupted.
    pub(crate) async fn create_groups(&mut self, groups: u64, interrupt: &Interrupt) -> Result<bool, Failure> {
        let first = self.replicas.len() as u64;
        let end = first + groups;
        for from in (first..end).step_by(usize::try_from(CREATED_AT_ONCE)?) {
            if interrupt.is_asked() {
                return Ok(false);
            }
            let through = end.min(from + CREATED_AT_ONCE);
            let created = self.create(from..through).await?;
            self.replicas.extend(created);
        }
        let elections = async {
            for replicas in self.replicas.iter().skip(usize::try_from(first)?) {
                if let Some(replica) = replicas.first() {
                    replica.wait_for_leader().await?;
                }
            }
            Ok(true)
        };
        let patience = ELECTIONS + ELECTIONS_PER_GROUP * u32::try_from(groups)?;
        tokio::select! {
            elected = elections => elected,
            () = interrupt.asked() => Ok(false),
            () = tokio::time::sleep(patience) => Err("some groups elected no leader in time".into()),
        }
    }

    async fn create(&self, groups: std::ops::Range<u64>) -> Result<Vec<Vec<Group<Kv>>>, Failure> {
        let mut creating = JoinSet::new();
        let (nodes, count) = (self.hosts.len() as u64, groups.end - groups.start);
        for group in groups.map(GroupId) {
            for host in &self.hosts {
                let host = host.clone();
                creating.spawn(async move { host.create_group(group, (1..=nodes).map(NodeId), Kv::default).await });
            }
        }
        let mut created = Vec::new();
        while let Some(one) = creating.join_next().await {
            created.push(one??);
        }
        created.sort_by_key(|replica| (replica.id(), replica.node()));
        let mut created = created.into_iter();
        let groups = (0..count).map(|_| created.by_ref().take(self.hosts.len()).collect());
        Ok(groups.collect())
    }

    /// The nodes, in the order of their ids.
    pub(crate) fn hosts(&self) -> &[RaftHost] {
        &self.hosts
    }

    /// The replicas of a group, counted from 0, in the order of their nodes; empty if there is no such group.
    #[must_use]
    pub fn replicas(&self, group: usize) -> &[Group<Kv>] {
        self.replicas.get(group).map_or(&[], Vec::as_slice)
    }

    /// The replicas of all groups.
    pub(crate) fn groups(&self) -> &[Vec<Group<Kv>>] {
        &self.replicas
    }

    /// The replica that leads a group, counted from 0, as far as that is known.
    #[must_use]
    pub fn leader(&self, group: usize) -> Option<&Group<Kv>> {
        let replicas = self.replicas(group);
        replicas.get(leader_position(replicas)?)
    }

    /// What all nodes did, added up.
    #[must_use]
    pub fn metrics(&self) -> HostMetrics {
        self.hosts.iter().map(RaftHost::metrics).sum()
    }

    /// Ends a node as a crash would, as soon as nobody else has a handle to it or to its replicas.
    pub(crate) fn crash(&mut self, node: NodeId) {
        for replicas in &mut self.replicas {
            replicas.retain(|replica| replica.node() != node);
        }
        if let Some(position) = position_of(node).filter(|position| *position < self.hosts.len()) {
            self.hosts.remove(position);
        }
    }

    /// Shuts all nodes down.
    pub async fn stop(&self) {
        for host in &self.hosts {
            host.shutdown().await;
        }
    }
}

/// Which of a group's replicas, in the order of their nodes, leads, as the one with the newest term says.
pub(crate) fn leader_position<S: Replicated>(replicas: &[Group<S>]) -> Option<usize> {
    let known = replicas.iter().map(Group::status);
    let newest = known.filter_map(|status| Some((status.term, status.leader?)));
    let leader = newest.max_by_key(|(term, _)| *term)?.1;
    replicas.iter().position(|replica| replica.node() == leader)
}

/// Where a node stands: nodes are numbered from 1.
fn position_of(node: NodeId) -> Option<usize> {
    usize::try_from(node.0.checked_sub(1)?).ok()
}
