//! A node between being bound and being open: how its actors are put together.

use super::acquaintances::Acquaintances;
use super::builder::{HostBuilder, StoreChoice};
use super::placement::{Spots, Threads};
use super::{Actors, Node, RaftHost};
use crate::budget::{ByteBudget, InboundBudget};
use crate::clock::Clock;
use crate::error::OpenError;
use crate::inbox::Inbox;
use crate::liveness::{Board, LivenessActor, Surroundings};
use crate::metrics::Counters;
use crate::random::mix;
use crate::registry::{IdMap, Registry};
use crate::router::Router;
use crate::snapshot::{SnapshotActor, remove_strays};
use crate::storage::StorageActor;
use crate::store::{
    Boot, DirectorySnapshotStore, Finding, LogStore, LostGroups, MemorySnapshotStore, PeerBook, RecoveredGroup,
    SegmentLogStore, SnapshotStore, StoreContents, StoreError, StoreIdentity,
};
use crate::transport::BoundTransport;
use crate::turns::TurnActor;
use crate::worker::{Dispatcher, Shared};
use parking_lot::Mutex;
use raftyard_groups::{Liveness, Moment, NodeId};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::OnceCell;

/// A node whose address is taken, and that does nothing yet.
pub struct BoundHost {
    pub(super) builder: HostBuilder,
    pub(super) seed: u64,
    pub(super) transport: BoundTransport,
    pub(super) threads: StopOnDrop,
    pub(super) spots: Spots,
}

/// Threads that end unless somebody takes them on.
pub(super) struct StopOnDrop(pub(super) Option<Threads>);

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
        self.transport.address()
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
        let address = self.transport.address().to_owned();
        let HostBuilder {
            cluster,
            node,
            peers,
            workers,
            tuning,
            liveness: liveness_tuning,
            limits,
            compaction,
            store,
            snapshots,
            clock,
            plain,
            #[cfg(feature = "sim")]
            simulated,
            ..
        } = self.builder;
        let identity = StoreIdentity { cluster, node };
        // On the storage's own thread: opening and checking a large log takes its time.
        let storage_clock = clock.clone();
        let promise_ms = liveness_tuning.promise_ms;
        let opened = self
            .spots
            .storage
            .run(move || async move { open_store(store, snapshots, &identity, &*storage_clock, promise_ms) })
            .await;
        let Opened {
            store,
            taken_at,
            boot,
            snapshots: (snapshots, names),
            contents,
            book,
        } = opened.ok_or_else(|| OpenError::Thread("it ended".to_owned()))??;

        // What the configuration says wins.
        let mut known = book.addresses().clone();
        known.extend(peers);
        let StoreContents {
            groups,
            tombstones,
            lost,
            findings,
        } = contents;
        let lives = groups.iter().map(|found| &found.record);
        let lives = lives.map(|record| (record.group, record.incarnation)).collect();
        let recovered: IdMap<_, _> = groups
            .into_iter()
            .map(|found| (found.record.group, Box::new(found)))
            .collect();
        let tombstones = tombstones.into_iter().map(|tombstone| (tombstone.group, tombstone));

        let counters = Arc::new(Counters::default());
        report(node, &findings, recovered.values().map(Box::as_ref), lost);
        let inboxes: Vec<_> = (0..workers).map(|_| Arc::new(Inbox::new())).collect();
        let storage_inbox = Arc::new(Inbox::new());
        let snapshot_inbox = Arc::new(Inbox::new());
        let liveness_inbox = Arc::new(Inbox::new());
        let inbound = Arc::new(Router::new(
            inboxes.clone(),
            snapshot_inbox.clone(),
            liveness_inbox.clone(),
        ));
        let budget = InboundBudget::new(limits.inbound_bytes_max);
        let peers = Acquaintances::new(boot.disk, book, self.spots.storage.clone());
        let disks = Arc::new(peers.clone());
        let (transport_actor, handle) = self.transport.into_actor(known, disks, inbound, budget);

        // On the board before any replica looks: it says who must not vote yet.
        let random = mix(mix(self.seed, node.0), boot.counter);
        let config = liveness_tuning.config(node, boot, random, taken_at);
        let now = clock.now();
        let liveness = Liveness::new(config, now);
        let board = Arc::new(Board::new(liveness.sessions(), workers, now));

        // Well within half a promise: who does not move for that long holds up the whole node.
        let rest_ms = config.interval_ms;
        let dispatchers = (self.spots.workers.iter().zip(&inboxes).enumerate())
            .map(|(worker, (spot, inbox))| {
                let (inbox, storage, handle) = (inbox.clone(), storage_inbox.clone(), handle.clone());
                let (clock, counters, snapshots) = (clock.clone(), counters.clone(), snapshot_inbox.clone());
                let board = board.clone();
                #[cfg(feature = "sim")]
                let watch = simulated.as_ref().map(|simulated| simulated.watch.clone());
                spot.start(move || {
                    let shared = Shared::new(clock, limits, counters, snapshots, compaction, board);
                    #[cfg(feature = "sim")]
                    let shared = shared.watched(watch);
                    Dispatcher::new(worker, inbox, storage, handle, shared, rest_ms)
                })
            })
            .collect();
        let storage = {
            let (inbox, workers, handle) = (storage_inbox.clone(), inboxes.clone(), handle.clone());
            let counters = counters.clone();
            self.spots
                .storage
                .start(move || TurnActor(StorageActor::new(store, lives, inbox, workers, handle, counters)))
        };
        let snapshots = {
            let (inbox, workers, handle) = (snapshot_inbox.clone(), inboxes.clone(), handle.clone());
            let (clock, counters) = (clock.clone(), counters.clone());
            self.spots.snapshots.start(move || {
                let actor = SnapshotActor::new(snapshots, &names, inbox, workers, handle, clock, counters);
                TurnActor(actor)
            })
        };
        let transport = self.spots.transport.start(move || transport_actor);
        let liveness = {
            let surroundings = Surroundings {
                clock: clock.clone(),
                board,
                inbox: liveness_inbox,
                workers: inboxes.clone(),
                storage: storage_inbox.clone(),
                transport: handle.clone(),
                counters: counters.clone(),
            };
            self.spots
                .transport
                .start(move || LivenessActor::new(config, liveness, surroundings))
        };

        tracing::debug!(node = node.0, address, groups = recovered.len(), "node opened");
        Ok(RaftHost(Arc::new(Node {
            id: node,
            peer_address: address,
            peers,
            registry: Registry::default(),
            workers: inboxes,
            storage: storage_inbox,
            snapshots: snapshot_inbox,
            transport: handle,
            counters,
            clock,
            budget: ByteBudget::new(limits.request_bytes_max),
            limits,
            plain,
            tuning: Arc::new(tuning),
            seed: self.seed,
            recovered: Mutex::new(recovered),
            memberships: Mutex::default(),
            tombstones: Mutex::new(tombstones.collect()),
            lost,
            reserved: Mutex::default(),
            unsettled: Mutex::default(),
            actors: Actors {
                dispatchers,
                storage,
                snapshots,
                transport,
                liveness,
            },
            place: self.spots.transport.clone(),
            disk: self.spots.storage.clone(),
            threads: self.threads.0.take(),
            closed: AtomicBool::new(false),
            ended: OnceCell::new(),
        })))
    }
}

/// Says what is damaged, and who lost something by it.
fn report<'a>(
    node: NodeId,
    findings: &[Finding],
    groups: impl Iterator<Item = &'a RecoveredGroup>,
    lost: Option<LostGroups>,
) {
    for finding in findings {
        tracing::error!(node = node.0, %finding, "the log store is damaged");
    }
    let mut damaged: Vec<_> = groups
        .filter_map(|found| Some((found.record.group, found.damage.as_ref()?)))
        .collect();
    damaged.sort_unstable_by_key(|(group, _)| *group);
    for (group, damage) in damaged {
        let (group, what) = (group.0, &damage.what);
        if damage.is_lost {
            tracing::error!(node = node.0, group, what, "replica lost: it has to be destroyed");
        } else {
            tracing::error!(
                node = node.0,
                group,
                what,
                "replica damaged: it waits to be repaired by its peers"
            );
        }
    }
    if let Some(lost) = lost {
        tracing::error!(node = node.0, ?lost, "the disk lost groups, and nobody knows which");
    }
}

struct Opened {
    store: Box<dyn LogStore>,
    /// Nobody else wrote to it from then on.
    taken_at: Moment,
    boot: Boot,
    /// With the names of those that are there.
    snapshots: (Box<dyn SnapshotStore>, Vec<String>),
    contents: StoreContents,
    book: PeerBook,
}

fn open_store(
    choice: StoreChoice,
    snapshots: Option<Box<dyn SnapshotStore>>,
    identity: &StoreIdentity,
    clock: &dyn Clock,
    promise_ms: u64,
) -> Result<Opened, StoreError> {
    let mut book = PeerBook::default();
    let (mut store, default): (Box<dyn LogStore>, Box<dyn SnapshotStore>) = match choice {
        StoreChoice::Directory(dir) => {
            // In this order: the log store checks whose directory it is, and locks it.
            let mut logs = SegmentLogStore::open(&dir, identity)?;
            let snapshots = DirectorySnapshotStore::open_beside(&logs, &dir.join("snapshots"))?;
            book = PeerBook::open(&dir, logs.had_peers()?)?;
            logs.note_peers();
            (Box::new(logs), Box::new(snapshots))
        }
        StoreChoice::Given(store) => (store, Box::new(MemorySnapshotStore::default())),
    };
    // Earlier than all that takes its time.
    let taken_at = clock.now();
    let boot = store.boot(promise_ms)?;
    let mut snapshots = snapshots.unwrap_or(default);
    let names = snapshots.list().map_err(|source| StoreError::Io {
        context: "list the snapshots".to_owned(),
        source,
    })?;
    let contents = store.recover()?;
    let names = remove_strays(&mut *snapshots, names, &contents);
    Ok(Opened {
        store,
        taken_at,
        boot,
        snapshots: (snapshots, names),
        contents,
        book,
    })
}
