//! One node as clients see it: the groups it hosts, the nodes it knows, and what becomes of a write or a read that is put
//! to it.

mod clients;
pub(crate) mod put;
pub(crate) mod refusals;
mod routing;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use raftyard::{Consistency, NodeId, ReplicaState};
use tokio::sync::Mutex;

use self::clients::Clients;
use crate::config::{NodeConfig, PeerConfig, Reads, StateKind};
use crate::dial::Dial;
use crate::hosting::Hosting;
use crate::slots::ShardMap;
use crate::state::Replica;
use crate::status::Status;
use crate::topology::{Member, Topology};

/// The part of a node that all its connections share.
pub(crate) struct Node {
    me: NodeId,
    cluster: String,
    data_dir: PathBuf,
    /// All nodes that this one knows, whether they belong to a group or not.
    topology: RwLock<Arc<Topology>>,
    /// Those that it was told of while it ran.
    learned: Mutex<Vec<PeerConfig>>,
    hosting: Hosting,
    /// Which node is named next where any will do.
    turn: AtomicU64,
    shard_map: ShardMap,
    state: StateKind,
    started: Instant,
    clients: Clients,
    /// How to be a client of other nodes.
    dial: Arc<Dial>,
    proxy: bool,
    replica_reads: Consistency,
}

impl Node {
    /// `learned` are the nodes that it was told of while it ran.
    pub(crate) fn new(
        topology: Topology,
        hosting: Hosting,
        learned: Vec<PeerConfig>,
        config: &NodeConfig,
        dial: Dial,
    ) -> Self {
        Self {
            me: config.node,
            cluster: config.cluster.clone(),
            data_dir: config.data_dir.clone(),
            topology: RwLock::new(Arc::new(topology)),
            learned: Mutex::new(learned),
            hosting,
            turn: AtomicU64::new(0),
            shard_map: config.shard_map,
            state: config.state,
            started: Instant::now(),
            clients: Clients::new(config.max_clients, config.password.clone()),
            dial: Arc::new(dial),
            proxy: config.proxy,
            replica_reads: match config.reads {
                Reads::Linearizable => Consistency::Follower,
                Reads::Stale => Consistency::Stale,
            },
        }
    }

    /// Its clients, together.
    pub(crate) fn clients(&self) -> &Clients {
        &self.clients
    }

    /// How to be a client of other nodes.
    pub(crate) fn dial(&self) -> &Arc<Dial> {
        &self.dial
    }

    /// How slots are dealt to groups.
    pub(crate) fn shard_map(&self) -> ShardMap {
        self.shard_map
    }

    /// Where keys are.
    pub(crate) fn state(&self) -> StateKind {
        self.state
    }

    /// Whether commands on groups that other nodes lead are forwarded to them.
    pub(crate) fn is_proxy(&self) -> bool {
        self.proxy
    }

    /// How reads are answered after `READONLY`: by this node's replicas.
    pub(crate) fn replica_reads(&self) -> Consistency {
        self.replica_reads
    }

    /// The node `node` as clients see it.
    pub(crate) fn member(&self, node: NodeId) -> Option<Member> {
        self.topology().member(node).cloned()
    }

    pub(crate) fn me(&self) -> NodeId {
        self.me
    }

    pub(crate) fn cluster(&self) -> &str {
        &self.cluster
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The replicas that are here.
    pub(crate) fn hosting(&self) -> &Hosting {
        &self.hosting
    }

    /// The nodes that it was told of while it ran.
    pub(crate) fn learned(&self) -> &Mutex<Vec<PeerConfig>> {
        &self.learned
    }

    /// All nodes that this one knows.
    pub(crate) fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.topology.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on it knows this node.
    pub(crate) fn add_member(&self, member: Member) {
        let mut topology = self.topology.write().unwrap_or_else(PoisonError::into_inner);
        *topology = Arc::new(topology.with(member));
    }

    /// The nodes that belong to a group which this node hosts, and itself; all that it knows if it hosts none.
    fn belonging(&self, replicas: &[Option<Replica>]) -> Arc<Topology> {
        let known = self.topology();
        let groups = replicas.iter().flatten();
        let nodes: BTreeSet<NodeId> = groups.flat_map(|group| group.membership().nodes()).collect();
        if nodes.is_empty() {
            return known;
        }
        Arc::new(known.only(&nodes))
    }

    /// Waits until this node knew a leader of every group; it may still wait when the node shuts down.
    pub(crate) async fn leaders_known(&self) {
        for group in self.hosting.replicas().into_iter().flatten() {
            if group.wait_for_leader().await.is_err() && group.status().state != ReplicaState::Destroyed {
                std::future::pending::<()>().await;
            }
        }
    }

    /// What is known at this moment.
    pub(crate) fn status(&self) -> Status {
        let replicas = self.hosting.replicas();
        let leader = |replica: &Option<Replica>| replica.as_ref().and_then(Replica::leader);
        Status {
            topology: self.belonging(&replicas),
            leaders: replicas.iter().map(leader).collect(),
            uptime: self.started.elapsed(),
            clients: self.clients.count(),
            clients_max: self.clients.max,
            connections: self.clients.connections.load(Ordering::Relaxed),
            commands: self.clients.commands.load(Ordering::Relaxed),
            rejected: self.clients.rejected.load(Ordering::Relaxed),
            tls_failures: self.clients.tls_failures.load(Ordering::Relaxed),
            access_refusals: self.clients.access().refusals(),
            peers_refused: self.hosting.peers_refused(),
        }
    }

    /// How many replicas beside the leader's have a write that was answered, at least: with the leader's they are a majority.
    pub(crate) fn replicas_of_writes(&self) -> i64 {
        let voters = |group: Replica| group.membership().voters().count();
        let least = self.hosting.replicas().into_iter().flatten().map(voters).min();
        i64::try_from(least.unwrap_or_default() / 2).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests;
