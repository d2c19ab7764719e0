//! raftyard: three nodes in this process, each with its own threads.

use crate::Failure;
use crate::clients::{Map, WriteError, Writer};
use bytes::Bytes;
use raftyard::store::MemoryLogStore;
use raftyard::{Group, GroupId, MemoryNetwork, NodeId, ProposeError, RaftHost, StateMachine, Timestamp};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

const NODES: u64 = 3;

/// How long to wait until every group has a leader.
const ELECTIONS: Duration = Duration::from_secs(60);

/// Where logs are kept, and how the nodes reach each other.
#[derive(Clone, Copy)]
pub(crate) enum Kept<'a> {
    /// In fjall in this directory, every fsync honoured; tarpc over loopback.
    OnDisk(&'a Path),
    /// In memory; connected in memory.
    InMemory,
}

#[derive(Default)]
struct Kv(Map);

#[derive(Serialize, Deserialize)]
pub(crate) struct Put {
    key: [u8; 8],
    value: Bytes,
}

impl StateMachine for Kv {
    type Command = Put;
    type Response = ();
    type Query = u64;
    type Answer = Option<Bytes>;
    type Snapshot = Map;

    fn apply(&mut self, put: Put, _: Timestamp) {
        self.0.insert(u64::from_le_bytes(put.key), put.value);
    }

    fn query(&self, key: u64) -> Option<Bytes> {
        self.0.get(&key).cloned()
    }

    fn snapshot(&self) -> Map {
        self.0.clone()
    }

    fn restore(&mut self, snapshot: Map) {
        self.0 = snapshot;
    }
}

/// Three nodes and their groups.
pub(crate) struct Yard {
    hosts: Vec<RaftHost>,
    pub(crate) groups: Vec<YardGroup>,
}

impl Yard {
    /// Starts the nodes, and `groups` groups with a replica on each; returns once all have a leader. `plain`: without
    /// sessions, so that a proposal leaves nothing behind by which it could be recognised when it comes again.
    pub(crate) async fn start(kept: Kept<'_>, groups: u64, plain: bool) -> Result<Self, Failure> {
        let mut yard = Self {
            hosts: Vec::new(),
            groups: Vec::new(),
        };
        let filled = match yard.open_hosts(kept, plain).await {
            Ok(()) => yard.create_groups(groups).await,
            Err(error) => Err(error),
        };
        match filled {
            Ok(()) => Ok(yard),
            Err(error) => {
                yard.stop().await;
                Err(error)
            }
        }
    }

    async fn open_hosts(&mut self, kept: Kept<'_>, plain: bool) -> Result<(), Failure> {
        let network = MemoryNetwork::new();
        let mut bound = Vec::new();
        for node in (1..=NODES).map(NodeId) {
            let builder = match kept {
                Kept::OnDisk(data) => RaftHost::builder(data.join(node.to_string())),
                Kept::InMemory => RaftHost::builder("")
                    .listen(node.to_string())
                    .network(network.node(node))
                    .log_store(MemoryLogStore::new()),
            };
            // The nodes share the cores.
            let builder = builder.node(node).workers(1);
            let builder = if plain { builder.plain_proposals() } else { builder };
            bound.push((node, builder.bind().await?));
        }
        let addresses: Vec<(NodeId, String)> = bound
            .iter()
            .map(|(node, host)| (*node, host.peer_addr().to_owned()))
            .collect();
        for (_, host) in bound {
            let host = addresses
                .iter()
                .fold(host, |host, (node, address)| host.peer(*node, address));
            self.hosts.push(host.open().await?);
        }
        Ok(())
    }

    /// Creates the groups all at once, so that the nodes note many of them with one fsync.
    async fn create_groups(&mut self, groups: u64) -> Result<(), Failure> {
        let mut creating = JoinSet::new();
        for group in (0..groups).map(GroupId) {
            for host in &self.hosts {
                let host = host.clone();
                creating.spawn(async move { host.create_group(group, (1..=NODES).map(NodeId), Kv::default).await });
            }
        }
        let mut replicas = Vec::new();
        while let Some(created) = creating.join_next().await {
            replicas.push(created??);
        }
        replicas.sort_by_key(|replica| (replica.id(), replica.node()));
        let elections = async {
            for replica in &replicas {
                replica.wait_for_leader().await?;
            }
            Ok::<_, Failure>(())
        };
        tokio::time::timeout(ELECTIONS, elections)
            .await
            .map_err(|_| "some groups elected no leader in time")??;
        self.groups = replicas.chunk_by(|a, b| a.id() == b.id()).map(YardGroup::new).collect();
        Ok(())
    }

    /// Shuts all nodes down.
    pub(crate) async fn stop(&self) {
        for host in &self.hosts {
            host.shutdown().await;
        }
    }
}

/// A group, written to at the replica that leads.
#[derive(Clone)]
pub(crate) struct YardGroup {
    /// In the order of the nodes.
    replicas: Arc<[Group<Kv>]>,
    /// Which of them leads.
    at: Arc<AtomicUsize>,
}

impl YardGroup {
    fn new(replicas: &[Group<Kv>]) -> Self {
        let group = Self {
            replicas: replicas.into(),
            at: Arc::default(),
        };
        group.find_leader();
        group
    }
}

impl Writer for YardGroup {
    fn write(&self, key: u64, value: Bytes) -> impl Future<Output = Result<(), WriteError>> + Send + 'static {
        let put = Put {
            key: key.to_le_bytes(),
            value,
        };
        let replica = self.replicas.get(self.at.load(Ordering::Relaxed));
        let answer = replica.map(|replica| replica.propose(put));
        async move {
            let answer = answer.ok_or_else(|| WriteError::Failed("the group has no such replica".to_owned()))?;
            answer.await.map_err(|error| match error {
                ProposeError::NotLeader { .. }
                | ProposeError::Overloaded { .. }
                | ProposeError::Quarantined(_)
                | ProposeError::Dropped => WriteError::Refused,
                error => WriteError::Failed(error.to_string()),
            })
        }
    }

    fn find_leader(&self) {
        let known = self.replicas.iter().map(Group::status);
        let newest = known
            .filter_map(|status| Some((status.term, status.leader?)))
            .max_by_key(|(term, _)| *term);
        let leader = newest.and_then(|(_, leader)| self.replicas.iter().position(|replica| replica.node() == leader));
        if let Some(leader) = leader {
            self.at.store(leader, Ordering::Relaxed);
        }
    }
}
