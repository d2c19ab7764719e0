//! Three nodes in this process, as three processes would run them: each with its own threads, its own
//! store, and tarpc over loopback between them.

use crate::cli::Plan;
use crate::machine::Kv;
use raftyard::{Group, GroupId, HostMetrics, NodeId, RaftHost};
use std::error::Error;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const NODES: u64 = 3;

pub(crate) struct Cluster {
    hosts: Vec<RaftHost>,
    /// For each group, the replica that leads it.
    pub(crate) leaders: Vec<Group<Kv>>,
    _data: TempDir,
}

impl Cluster {
    pub(crate) async fn start(plan: &Plan) -> Result<Self, Box<dyn Error>> {
        let data = match &plan.data {
            Some(parent) => {
                std::fs::create_dir_all(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
                TempDir::with_prefix_in("raftyard-bench-", parent)?
            }
            None => TempDir::with_prefix("raftyard-bench-")?,
        };
        let hosts = open_hosts(data.path(), plan.workers).await?;
        let mut replicas = Vec::new();
        for host in &hosts {
            let mut groups = Vec::new();
            for group in (0..plan.groups).map(GroupId) {
                groups.push(host.create_group(group, (1..=NODES).map(NodeId), Kv::default).await?);
            }
            replicas.push(groups);
        }
        let leaders = find_leaders(&hosts, &replicas).await?;
        Ok(Self {
            hosts,
            leaders,
            _data: data,
        })
    }

    /// What all nodes did, added up.
    pub(crate) fn metrics(&self) -> HostMetrics {
        self.hosts.iter().map(RaftHost::metrics).sum()
    }

    pub(crate) async fn stop(&self) {
        for host in &self.hosts {
            host.shutdown().await;
        }
    }
}

async fn open_hosts(data: &Path, workers: usize) -> Result<Vec<RaftHost>, Box<dyn Error>> {
    let mut bound = Vec::new();
    for id in (1..=NODES).map(NodeId) {
        let builder = RaftHost::builder(data.join(id.to_string())).node(id).workers(workers);
        bound.push((id, builder.bind().await?));
    }
    let addresses: Vec<(NodeId, String)> = bound
        .iter()
        .map(|(id, host)| (*id, host.peer_addr().to_owned()))
        .collect();
    let mut hosts = Vec::new();
    for (_, host) in bound {
        let host = addresses
            .iter()
            .fold(host, |host, (id, address)| host.peer(*id, address));
        hosts.push(host.open().await?);
    }
    Ok(hosts)
}

async fn find_leaders(hosts: &[RaftHost], replicas: &[Vec<Group<Kv>>]) -> Result<Vec<Group<Kv>>, Box<dyn Error>> {
    let first = replicas.first().ok_or("no nodes")?;
    let mut leaders = Vec::new();
    for (position, replica) in first.iter().enumerate() {
        let leader = tokio::time::timeout(Duration::from_secs(30), replica.wait_for_leader()).await??;
        let led = hosts.iter().position(|host| host.node() == leader);
        let group = led.and_then(|host| replicas.get(host)?.get(position));
        leaders.push(group.ok_or("a leader that is no node")?.clone());
    }
    Ok(leaders)
}
