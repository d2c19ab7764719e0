//! How a node is put together.

use super::placement::{Placement, Spots, Threads};
use super::{Actors, Node, RaftHost, mix};
use crate::budget::{ByteBudget, InboundBudget};
use crate::clock::{Clock, MonotonicClock};
use crate::error::OpenError;
use crate::inbox::Inbox;
use crate::limits::Limits;
use crate::metrics::Counters;
use crate::registry::{IdMap, Registry};
use crate::router::Router;
use crate::snapshot::{Compaction, SnapshotActor};
use crate::storage::StorageActor;
use crate::store::{
    DirectorySnapshotStore, FjallLogStore, LogStore, MemorySnapshotStore, RecoveredGroup, SnapshotStore, StoreError,
    StoreIdentity,
};
use crate::transport::{self, BoundTransport, Network, TcpNetwork, TransportConfig, TransportLimits};
use crate::worker::{Dispatcher, Shared};
use parking_lot::Mutex;
use raftyard_groups::{NodeId, Tuning};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Puts a node together: [`RaftHost::builder`]. What is not set has a default.
pub struct HostBuilder {
    cluster: String,
    node: NodeId,
    listen: String,
    peers: BTreeMap<NodeId, String>,
    workers: usize,
    tuning: Tuning,
    limits: Limits,
    compaction: Compaction,
    seed: Option<u64>,
    store: StoreChoice,
    snapshots: Option<Box<dyn SnapshotStore>>,
    network: Arc<dyn Network>,
    clock: Arc<dyn Clock>,
    placement: Placement,
}

enum StoreChoice {
    Directory(PathBuf),
    Given(Box<dyn LogStore>),
}

impl HostBuilder {
    pub(super) fn on_disk(data_dir: PathBuf) -> Self {
        Self {
            cluster: "raftyard".to_owned(),
            node: NodeId(1),
            listen: "127.0.0.1:0".to_owned(),
            peers: BTreeMap::new(),
            workers: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            tuning: Tuning::default(),
            limits: Limits::default(),
            compaction: Compaction::default(),
            seed: None,
            store: StoreChoice::Directory(data_dir),
            snapshots: None,
            network: Arc::new(TcpNetwork),
            clock: Arc::new(MonotonicClock::default()),
            placement: Placement::Threads,
        }
    }

    /// Name of the cluster: nodes of another one are refused, as are their data directories.
    /// `raftyard` by default.
    #[must_use]
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.cluster = name.into();
        self
    }

    /// This node's id, for good: 1 by default.
    #[must_use]
    pub fn node(mut self, node: NodeId) -> Self {
        self.node = node;
        self
    }

    /// Where to listen for peers, `host:port`; port 0 takes a free one. `127.0.0.1:0` by default.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// Where a peer is reached, `host:port`; a host name is looked up at each connect. Once per peer.
    #[must_use]
    pub fn peer(mut self, node: NodeId, address: impl Into<String>) -> Self {
        self.peers.insert(node, address.into());
        self
    }

    /// Threads that host groups; one per core by default.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Times and limits of the groups' consensus. The same on all nodes.
    #[must_use]
    pub fn tuning(mut self, tuning: Tuning) -> Self {
        self.tuning = tuning;
        self
    }

    /// What the node takes on at once.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// When logs are compacted, and how fast snapshots are sent.
    #[must_use]
    pub fn compaction(mut self, compaction: Compaction) -> Self {
        self.compaction = compaction;
        self
    }

    /// Seeds all randomness of the node. From the operating system by default.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Keeps snapshots in this store instead of in the data directory. A log store that is opened again needs
    /// the same snapshots again: a log that was compacted is of no use without them.
    #[must_use]
    pub fn snapshot_store(mut self, store: impl SnapshotStore) -> Self {
        self.snapshots = Some(Box::new(store));
        self
    }

    /// Keeps logs in this store instead of in the data directory; snapshots then lie in memory, unless
    /// [`HostBuilder::snapshot_store`] says otherwise.
    #[must_use]
    pub fn log_store(mut self, store: impl LogStore) -> Self {
        self.store = StoreChoice::Given(Box::new(store));
        self
    }

    /// Reaches peers over this network instead of TCP.
    #[must_use]
    pub fn network(mut self, network: Arc<dyn Network>) -> Self {
        self.network = network;
        self
    }

    /// Reads this clock instead of the machine's.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Where the actors run: on threads of their own by default.
    #[must_use]
    pub fn placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }

    /// Starts the node.
    ///
    /// # Errors
    ///
    /// [`OpenError`] names what is in the way: the data directory, the address, the configuration. Nothing
    /// runs then.
    pub async fn open(self) -> Result<RaftHost, OpenError> {
        self.bind().await?.open().await
    }

    /// Takes the listening address, without opening the store or talking to anyone: for clusters whose
    /// ports are known only once they are bound.
    ///
    /// # Errors
    ///
    /// As [`HostBuilder::open`].
    pub async fn bind(self) -> Result<BoundHost, OpenError> {
        if self.workers == 0 {
            return Err(OpenError::Config("a node needs at least one worker".to_owned()));
        }
        let seed = self.seed.unwrap_or_else(|| RandomState::new().hash_one(self.node.0));
        let (threads, spots) = match self.placement {
            Placement::Here => (None, Spots::here(self.workers)),
            Placement::Threads => {
                let name = format!("raftyard-{}", self.node);
                let started = Threads::start(&name, self.workers);
                let (threads, spots) = started.map_err(|error| OpenError::Thread(error.to_string()))?;
                (Some(threads), spots)
            }
        };
        let config = TransportConfig {
            cluster: self.cluster.clone(),
            node: self.node,
            listen: self.listen.clone(),
            network: self.network.clone(),
            seed: mix(seed, self.node.0),
            limits: TransportLimits {
                snapshot_bytes_per_second: self.compaction.send_bytes_per_second,
                ..TransportLimits::default()
            },
        };
        let mut bound = BoundHost {
            builder: self,
            seed,
            transport: None,
            address: String::new(),
            threads: StopOnDrop(threads),
            spots,
        };
        let listening = bound.spots.transport.run(move || transport::bind(config)).await;
        let transport = listening.ok_or_else(|| OpenError::Thread("it ended".to_owned()))??;
        bound.address = transport.address().to_owned();
        bound.transport = Some(transport);
        Ok(bound)
    }
}

/// A node whose address is taken, and that does nothing yet.
pub struct BoundHost {
    builder: HostBuilder,
    seed: u64,
    transport: Option<BoundTransport>,
    address: String,
    threads: StopOnDrop,
    spots: Spots,
}

/// Threads that end unless somebody takes them on.
struct StopOnDrop(Option<Threads>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(threads) = &self.0 {
            threads.stop();
        }
    }
}

impl BoundHost {
    /// Where peers reach this node.
    #[must_use]
    pub fn peer_addr(&self) -> &str {
        &self.address
    }

    /// As [`HostBuilder::peer`].
    #[must_use]
    pub fn peer(mut self, node: NodeId, address: impl Into<String>) -> Self {
        self.builder.peers.insert(node, address.into());
        self
    }

    /// Starts the node.
    ///
    /// # Errors
    ///
    /// [`OpenError`], as [`HostBuilder::open`].
    pub async fn open(mut self) -> Result<RaftHost, OpenError> {
        let Some(transport) = self.transport.take() else {
            return Err(OpenError::Config("the node is not bound".to_owned()));
        };
        let HostBuilder {
            cluster,
            node,
            peers,
            workers,
            tuning,
            limits,
            compaction,
            store,
            snapshots,
            clock,
            ..
        } = self.builder;
        let identity = StoreIdentity { cluster, node };
        // On the storage's own thread: opening and checking a large log takes its time.
        let opened = self
            .spots
            .storage
            .run(move || async move { open_store(store, snapshots, &identity) })
            .await;
        let (store, snapshots, recovered) = opened.ok_or_else(|| OpenError::Thread("it ended".to_owned()))??;

        let counters = Arc::new(Counters::default());
        let inboxes: Vec<_> = (0..workers).map(|_| Arc::new(Inbox::new())).collect();
        let storage_inbox = Arc::new(Inbox::new());
        let snapshot_inbox = Arc::new(Inbox::new());
        let members = peers.keys().copied().chain([node]).collect();
        let inbound = Arc::new(Router::new(inboxes.clone(), snapshot_inbox.clone()));
        let budget = InboundBudget::new(limits.inbound_bytes_max);
        let (transport_actor, handle) = transport.into_actor(peers, inbound, budget);

        let dispatchers = (self.spots.workers.iter().zip(&inboxes).enumerate())
            .map(|(worker, (spot, inbox))| {
                let (inbox, storage, handle) = (inbox.clone(), storage_inbox.clone(), handle.clone());
                let (clock, counters, snapshots) = (clock.clone(), counters.clone(), snapshot_inbox.clone());
                spot.start(move || {
                    let shared = Shared::new(clock, limits, counters, snapshots, compaction);
                    Dispatcher::new(worker, inbox, storage, handle, shared)
                })
            })
            .collect();
        let storage = {
            let (inbox, workers, handle) = (storage_inbox.clone(), inboxes.clone(), handle.clone());
            let counters = counters.clone();
            self.spots
                .storage
                .start(move || StorageActor::new(store, inbox, workers, handle, counters))
        };
        let snapshots = {
            let (inbox, workers, handle) = (snapshot_inbox.clone(), inboxes.clone(), handle.clone());
            let counters = counters.clone();
            self.spots
                .snapshots
                .start(move || SnapshotActor::new(snapshots, inbox, workers, handle, counters))
        };
        let transport = self.spots.transport.start(move || transport_actor);

        tracing::debug!(
            node = node.0,
            address = self.address,
            groups = recovered.len(),
            "node opened"
        );
        Ok(RaftHost(Arc::new(Node {
            id: node,
            peer_address: self.address,
            members,
            registry: Registry::default(),
            workers: inboxes,
            storage: storage_inbox,
            snapshots: snapshot_inbox,
            transport: handle,
            counters,
            budget: ByteBudget::new(limits.request_bytes_max),
            limits,
            tuning,
            seed: self.seed,
            recovered: Mutex::new(recovered),
            creating: Mutex::default(),
            actors: Actors {
                dispatchers,
                storage,
                snapshots,
                transport,
            },
            place: self.spots.transport.clone(),
            threads: Mutex::new(self.threads.0.take()),
            closed: AtomicBool::new(false),
        })))
    }
}

type Opened = (
    Box<dyn LogStore>,
    Box<dyn SnapshotStore>,
    IdMap<raftyard_groups::GroupId, RecoveredGroup>,
);

fn open_store(
    choice: StoreChoice,
    snapshots: Option<Box<dyn SnapshotStore>>,
    identity: &StoreIdentity,
) -> Result<Opened, StoreError> {
    let (mut store, default): (Box<dyn LogStore>, Box<dyn SnapshotStore>) = match choice {
        StoreChoice::Directory(dir) => {
            // In this order: the log store checks whose directory it is, and locks it.
            let logs = FjallLogStore::open(&dir, identity)?;
            let snapshots = DirectorySnapshotStore::open(&dir.join("snapshots"))?;
            (Box::new(logs), Box::new(snapshots))
        }
        StoreChoice::Given(store) => (store, Box::new(MemorySnapshotStore::default())),
    };
    let snapshots = snapshots.unwrap_or(default);
    let recovered = store.recover()?;
    let recovered = recovered.into_iter().map(|found| (found.record.group, found)).collect();
    Ok((store, snapshots, recovered))
}
