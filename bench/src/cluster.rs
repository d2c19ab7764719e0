//! Three nodes in this process, as three processes would run them: each with its own threads and its own
//! store.

use crate::Failure;
use crate::kv::Kv;
use raftyard::{Group, GroupId, HostMetrics, NodeId, RaftHost};
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinSet;

/// Nodes of a cluster.
const NODES: u64 = 3;

/// How long to wait until every group has a leader.
const ELECTIONS: Duration = Duration::from_secs(60);

/// Three nodes and their groups, each of which has a replica on every node.
pub struct Cluster {
    hosts: Vec<RaftHost>,
    /// For each group its replicas, in the order of the hosts.
    replicas: Vec<Vec<Group<Kv>>>,
}

impl Cluster {
    /// With logs on disk under `data`, one directory per node, and tarpc over loopback. Returns once every
    /// group has a leader.
    ///
    /// # Errors
    ///
    /// What kept a node from opening or a group from being created; all nodes are shut down then.
    pub async fn on_disk(data: &Path, groups: u64, workers: usize) -> Result<Self, Failure> {
        let mut cluster = Self::empty();
        let filled = match cluster.open_hosts(data, workers).await {
            Ok(()) => cluster.create_groups(groups).await,
            Err(error) => Err(error),
        };
        cluster.stop_unless(filled).await
    }

    /// With logs in memory and connected in memory, one worker thread per node. Returns once every group has
    /// a leader.
    ///
    /// # Errors
    ///
    /// As [`Cluster::on_disk`].
    pub async fn in_memory(groups: u64) -> Result<Self, Failure> {
        let mut cluster = Self::empty();
        cluster.hosts = RaftHost::in_memory(NODES).await?;
        let filled = cluster.create_groups(groups).await;
        cluster.stop_unless(filled).await
    }

    fn empty() -> Self {
        Self {
            hosts: Vec::new(),
            replicas: Vec::new(),
        }
    }

    async fn stop_unless(self, filled: Result<(), Failure>) -> Result<Self, Failure> {
        match filled {
            Ok(()) => Ok(self),
            Err(error) => {
                self.stop().await;
                Err(error)
            }
        }
    }

    async fn open_hosts(&mut self, data: &Path, workers: usize) -> Result<(), Failure> {
        let mut bound = Vec::new();
        for id in (1..=NODES).map(NodeId) {
            let builder = RaftHost::builder(data.join(id.to_string())).node(id).workers(workers);
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

    /// Creates the groups all at once, so that the nodes note many of them with one fsync.
    async fn create_groups(&mut self, groups: u64) -> Result<(), Failure> {
        let mut creating = JoinSet::new();
        for group in (0..groups).map(GroupId) {
            for (position, host) in self.hosts.iter().cloned().enumerate() {
                creating.spawn(async move {
                    let created = host.create_group(group, (1..=NODES).map(NodeId), Kv::default).await;
                    created.map(|replica| (group, position, replica))
                });
            }
        }
        let mut created = Vec::new();
        while let Some(one) = creating.join_next().await {
            created.push(one??);
        }
        created.sort_by_key(|(group, position, _)| (*group, *position));
        let mut replicas = created.into_iter().map(|(_, _, replica)| replica);
        let per_group = self.hosts.len();
        for _ in 0..groups {
            self.replicas.push(replicas.by_ref().take(per_group).collect());
        }
        let elections = async {
            for replica in self.replicas.iter().filter_map(|replicas| replicas.first()) {
                replica.wait_for_leader().await?;
            }
            Ok(())
        };
        tokio::time::timeout(ELECTIONS, elections)
            .await
            .map_err(|_| "some groups elected no leader in time")?
    }

    /// The replicas of a group, counted from 0, in the order of their nodes; empty if there is no such group.
    #[must_use]
    pub fn replicas(&self, group: usize) -> &[Group<Kv>] {
        self.replicas.get(group).map_or(&[], Vec::as_slice)
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

    /// Shuts all nodes down.
    pub async fn stop(&self) {
        for host in &self.hosts {
            host.shutdown().await;
        }
    }
}

/// Which of a group's replicas, in the order of their nodes, leads, as the one with the newest term says.
pub(crate) fn leader_position(replicas: &[Group<Kv>]) -> Option<usize> {
    let known = replicas.iter().map(Group::status);
    let newest = known.filter_map(|status| Some((status.term, status.leader?)));
    position_of(newest.max_by_key(|(term, _)| *term)?.1)
}

/// Where a node's replica stands: nodes are numbered from 1.
pub(crate) fn position_of(node: NodeId) -> Option<usize> {
    usize::try_from(node.0.checked_sub(1)?).ok()
}
