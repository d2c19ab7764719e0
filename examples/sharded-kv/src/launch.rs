//! Starts a node and stops it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use raftyard::{Compaction, CreateGroupError, GroupId, NodeId, OpenError, RaftHost, TlsError, TlsNetwork, Tuning};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::bell::FirstDeadlines;
use crate::config::{NodeConfig, PeerConfig, StateKind, times};
use crate::dial::Dial;
use crate::expiry;
use crate::hosting::{Failure, Hosting};
use crate::node::Node;
use crate::nodes_file::{self, NodesFileError};
use crate::number_file::{self, NumberFileError};
use crate::server;
use crate::state::{self, State, StateError};
use crate::tls::{Acceptor, Connector, TlsFileError};
use crate::topology::{Member, Topology};

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    NumberFile(#[from] NumberFileError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
    #[error("resp_tls: {0}")]
    RespTls(#[from] TlsFileError),
    #[error("node {}: {source}", node.0)]
    Open { node: NodeId, source: OpenError },
    #[error("node {}: group {}: {source}", node.0, group.0)]
    CreateGroup {
        node: NodeId,
        group: GroupId,
        source: CreateGroupError,
    },
    #[error(transparent)]
    NodesFile(#[from] NodesFileError),
    #[error("{}: {source}", path.display())]
    Marker { path: PathBuf, source: io::Error },
    #[error("node {}: can't listen for clients on {address}: {source}", node.0)]
    Listen {
        node: NodeId,
        address: String,
        source: io::Error,
    },
}

/// The disk did not take a write: it may have been full.
#[derive(Debug, thiserror::Error)]
#[error("node {}: nothing can be written to {} until the node is started again: {failure}", node.0, dir.display())]
pub(crate) struct FailedError {
    node: NodeId,
    dir: PathBuf,
    failure: Failure,
}

/// A node that serves clients.
pub(crate) struct RunningNode {
    node: Arc<Node>,
    host: RaftHost,
    resp: String,
    data_dir: PathBuf,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
    expiry: JoinHandle<()>,
}

impl RunningNode {
    /// Opens the data directory, creates or reopens the groups, then serves clients. Until a group has a leader, its keys
    /// are answered `CLUSTERDOWN`.
    pub(crate) async fn start(config: &NodeConfig) -> Result<Self, StartError> {
        number_file::GROUPS.check(&config.data_dir, config.shard_map.groups())?;
        state::check(&config.data_dir, config.state)?;
        let host = open_host(config).await?;
        match Self::serve(config, &host).await {
            Ok(running) => Ok(running),
            Err(error) => {
                host.shutdown().await;
                Err(error)
            }
        }
    }

    async fn serve(config: &NodeConfig, host: &RaftHost) -> Result<Self, StartError> {
        let state = State::open(config.state, &config.data_dir, host)?;
        number_file::GROUPS.write(&config.data_dir, config.shard_map.groups())?;
        let deadlines = FirstDeadlines::new(config.shard_map.groups());
        let learned = nodes_file::learned(config)?;
        let hosting = Hosting::start(config, host, state, &deadlines).await?;
        let dial = Dial {
            tls: config
                .resp_tls
                .as_ref()
                .and_then(|tls| tls.ca.as_deref())
                .map(Connector::open)
                .transpose()?,
            password: config.password.clone(),
            groups: Some(config.shard_map.groups()),
            connections_left: Some(Arc::new(Semaphore::new(
                config.max_upstreams.min(Semaphore::MAX_PERMITS),
            ))),
        };
        let tls = config.resp_tls.as_ref().map(Acceptor::open).transpose()?;
        let node = Arc::new(Node::new(topology(config, &learned), hosting, learned, config, dial));
        let address = config.listen_resp.to_string();
        let listen_error = |source| StartError::Listen {
            node: config.node,
            address: address.clone(),
            source,
        };
        let listener = TcpListener::bind(&address).await.map_err(listen_error)?;
        let resp = listener.local_addr().map_err(listen_error)?.to_string();
        let (stop, stopped) = watch::channel(false);
        let expiry = tokio::spawn(expiry::run(Arc::clone(&node), deadlines, stopped.clone()));
        let server = tokio::spawn(server::run(listener, tls, Arc::clone(&node), stopped));
        Ok(Self {
            node,
            host: host.clone(),
            resp,
            data_dir: config.data_dir.clone(),
            stop,
            server,
            expiry,
        })
    }

    /// Returns once this node knew a leader of every group.
    pub(crate) async fn ready(&self) {
        self.node.leaders_known().await;
    }

    /// What to say when it is ready.
    pub(crate) fn describe(&self) -> String {
        format!(
            "node {} ready resp={} peer={} data={}",
            self.host.node().0,
            self.resp,
            self.host.peer_addr(),
            self.data_dir.display(),
        )
    }

    /// Returns once this node can't go on until it is started again.
    pub(crate) async fn failed(&self) -> FailedError {
        FailedError {
            node: self.host.node(),
            dir: self.data_dir.clone(),
            failure: self.node.hosting().failed().await,
        }
    }

    /// Stops serving clients: what was received is answered first.
    pub(crate) async fn stop_serving(&mut self) {
        self.stop.send_replace(true);
        if let Err(error) = (&mut self.server).await {
            tracing::error!(%error, "the server panicked");
        }
        if let Err(error) = (&mut self.expiry).await {
            tracing::error!(%error, "the expiry of keys panicked");
        }
    }

    /// Stops the node, which serves no clients any more.
    pub(crate) async fn shutdown(self) {
        self.host.shutdown().await;
    }
}

async fn open_host(config: &NodeConfig) -> Result<RaftHost, StartError> {
    let mut builder = RaftHost::builder(&config.data_dir)
        .cluster(peers_cluster(config))
        .node(config.node)
        .listen(config.listen_peer.to_string())
        .workers(config.workers)
        .tuning(Tuning {
            lease_reads: config.lease_reads,
            ..times::tuning(config.election_timeout_ms)
        })
        .liveness(times::liveness(config.election_timeout_ms))
        .compaction(Compaction {
            entries: config.snapshot_entries,
            // A follower that lags by less is spared the snapshot.
            tail_entries: config.snapshot_entries / 10,
            ..Compaction::default()
        });
    if let Some(files) = &config.tls {
        let network = TlsNetwork::open(&config.cluster, config.node, files.clone())?;
        builder = builder.network(Arc::new(network));
    }
    for peer in &config.peers {
        builder = builder.peer(peer.node, peer.peer.to_string());
    }
    builder.open().await.map_err(|source| StartError::Open {
        node: config.node,
        source,
    })
}

/// What the cluster is called among nodes. One with another number of groups is another one: its nodes look for keys elsewhere,
/// and are not talked to. So is one that keeps its keys elsewhere: nobody could be sent its snapshots.
fn peers_cluster(config: &NodeConfig) -> String {
    let place = match config.state {
        StateKind::Memory => "",
        StateKind::Disk => " on disk",
    };
    format!("{} with {} groups{place}", config.cluster, config.shard_map.groups())
}

fn topology(config: &NodeConfig, learned: &[PeerConfig]) -> Topology {
    let member = |node, resp, peer_port| Member::new(&config.cluster, node, resp, peer_port);
    let me = member(config.node, config.announce_resp.clone(), config.listen_peer.port);
    let members = config
        .peers
        .iter()
        .chain(learned)
        .map(|peer| member(peer.node, peer.resp.clone(), peer.peer.port))
        .chain([me])
        .collect();
    Topology::new(config.node, config.shard_map, members)
}
