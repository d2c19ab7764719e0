//! How a node is put together.

use super::RaftHost;
use super::bound::{BoundHost, StopOnDrop};
use super::placement::{Placement, Spots, Threads};
use crate::clock::{Clock, MonotonicClock};
use crate::error::OpenError;
use crate::limits::Limits;
use crate::liveness::LivenessTuning;
use crate::random::mix;
use crate::snapshot::Compaction;
use crate::store::{LogStore, SnapshotStore};
use crate::transport::{self, Network, TcpNetwork, TransportConfig, TransportLimits};
use raftyard_groups::{NodeId, Tuning};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

/// More than what a message has on the wire beside its entries, in bytes.
const MESSAGE_OVERHEAD: usize = 4 << 10;

/// Puts a node together: [`RaftHost::builder`]. What is not set has a default.
pub struct HostBuilder {
    pub(super) cluster: String,
    pub(super) node: NodeId,
    listen: String,
    pub(super) peers: BTreeMap<NodeId, String>,
    pub(super) workers: usize,
    pub(super) tuning: Tuning,
    pub(super) liveness: LivenessTuning,
    pub(super) limits: Limits,
    pub(super) compaction: Compaction,
    seed: Option<u64>,
    pub(super) store: StoreChoice,
    pub(super) snapshots: Option<Box<dyn SnapshotStore>>,
    network: Arc<dyn Network>,
    pub(super) clock: Arc<dyn Clock>,
    placement: Placement,
    pub(super) plain: bool,
    /// The part of a simulated world that the node is.
    #[cfg(feature = "sim")]
    pub(super) simulated: Option<crate::sim::Simulated>,
}

/// Where logs are kept.
pub(super) enum StoreChoice {
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
            liveness: LivenessTuning::default(),
            limits: Limits::default(),
            compaction: Compaction::default(),
            seed: None,
            store: StoreChoice::Directory(data_dir),
            snapshots: None,
            network: Arc::new(TcpNetwork),
            clock: Arc::new(MonotonicClock::default()),
            placement: Placement::Threads,
            plain: false,
            #[cfg(feature = "sim")]
            simulated: None,
        }
    }

    /// Lets the node be a part of a simulated world: its actors run there, and are watched.
    #[cfg(feature = "sim")]
    pub(crate) fn simulated(mut self, simulated: crate::sim::Simulated) -> Self {
        self.simulated = Some(simulated);
        self
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

    /// Seeds all randomness of the node but the id of a new disk. From the operating system by default. Give each life of a
    /// node a seed of its own: names that must not come twice are drawn from it.
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
    /// [`HostBuilder::snapshot_store`] says otherwise. Peers that run know the node by this store's
    /// [disk](crate::store::DiskId), and refuse it on another one: open the same store again in its next life.
    #[must_use]
    pub fn log_store(mut self, store: impl LogStore) -> Self {
        self.store = StoreChoice::Given(Box::new(store));
        self
    }

    /// How nodes notice that others live.
    #[must_use]
    pub fn liveness(mut self, liveness: LivenessTuning) -> Self {
        self.liveness = liveness;
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

    /// Lets [`Group::propose`](crate::Group::propose) do what
    /// [`Group::propose_plain`](crate::Group::propose_plain) does: for groups whose commands may be applied
    /// twice, or whose clients never ask again, and that shall remember no answers for them.
    #[must_use]
    pub fn plain_proposals(mut self) -> Self {
        self.plain = true;
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
        let transport_limits = TransportLimits {
            snapshot_bytes_per_second: self.compaction.send_bytes_per_second,
            ..TransportLimits::default()
        };
        self.check(&transport_limits)?;
        let seed = self.seed.unwrap_or_else(|| RandomState::new().hash_one(self.node.0));
        let (threads, spots) = self.place()?;
        let config = TransportConfig {
            cluster: self.cluster.clone(),
            node: self.node,
            listen: self.listen.clone(),
            network: self.network.clone(),
            seed: mix(seed, self.node.0),
            limits: transport_limits,
        };
        let threads = StopOnDrop(threads);
        let listening = spots.transport.run(move || transport::bind(config)).await;
        let transport = listening.ok_or_else(|| OpenError::Thread("it ended".to_owned()))??;
        Ok(BoundHost {
            builder: self,
            seed,
            transport,
            threads,
            spots,
        })
    }

    /// Where the actors will run.
    fn place(&self) -> Result<(Option<Threads>, Spots), OpenError> {
        #[cfg(feature = "sim")]
        if let Some(simulated) = &self.simulated {
            return Ok((None, simulated.spots.clone()));
        }
        match self.placement {
            Placement::Here => Ok((None, Spots::here(self.workers))),
            Placement::Threads => {
                let name = format!("raftyard-{}", self.node);
                let started = Threads::start(&name, self.workers);
                let (threads, spots) = started.map_err(|error| OpenError::Thread(error.to_string()))?;
                Ok((Some(threads), spots))
            }
        }
    }

    /// Whether what was set can work.
    fn check(&self, transport: &TransportLimits) -> Result<(), OpenError> {
        let Tuning {
            election_timeout_ms,
            heartbeat_interval_ms,
            message_bytes_max,
            inflight_messages_max,
            inflight_bytes_max,
            ..
        } = self.tuning;
        let refuse = |what: String| Err(OpenError::Config(what));
        self.liveness.check().map_err(OpenError::Config)?;
        if self.workers == 0 {
            return refuse("a node needs at least one worker".to_owned());
        }
        if heartbeat_interval_ms == 0 || election_timeout_ms <= heartbeat_interval_ms {
            return refuse(format!(
                "an election timeout of {election_timeout_ms} ms does not go with a heartbeat every {heartbeat_interval_ms} ms"
            ));
        }
        if inflight_messages_max == 0 || inflight_bytes_max == 0 {
            return refuse("at least one append message has to be in flight".to_owned());
        }
        let sessions = &self.limits.sessions;
        if sessions.sessions_max == 0 || sessions.responses_max < 2 || sessions.bytes_max == 0 {
            return refuse("a group needs room for one session of two requests, and for a byte of answers".to_owned());
        }
        if sessions.idle_ms == 0 {
            return refuse("a session that expires at once is gone before its first request".to_owned());
        }
        // A message may exceed its size by its last entry, and has a head. One that no frame can carry would
        // never arrive.
        let largest = [self.limits.command_bytes_max, MESSAGE_OVERHEAD]
            .into_iter()
            .fold(message_bytes_max, usize::saturating_add);
        if largest > transport.message_bytes_max() {
            return refuse(format!(
                "commands of {} bytes in messages of {message_bytes_max} don't fit a frame of {}",
                self.limits.command_bytes_max,
                transport.message_bytes_max()
            ));
        }
        Ok(())
    }
}
