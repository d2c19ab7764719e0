//! openraft: groups of three replicas in this process, logs and state machines in memory, a network of function calls.

mod network;
mod store;

use crate::Failure;
use crate::clients::{WriteError, Writer};
use bytes::Bytes;
use network::Router;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::{Config, Raft, SnapshotPolicy};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use store::{LogStore, Machine};

openraft::declare_raft_types!(
    pub(super) Types:
        D = Put,
        R = (),
        Node = (),
);

type Peer = Raft<Types, Machine>;

/// A write.
#[derive(Clone, Debug)]
pub(super) struct Put {
    key: u64,
    value: Bytes,
}

impl fmt::Display for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} bytes", self.key, self.value.len())
    }
}

/// Sizes as in openraft's own benchmark; times, and when a snapshot is due, as in raftyard's defaults, which for many
/// groups cost less than those of that benchmark.
pub(super) fn config() -> Result<Arc<Config>, Failure> {
    let times = raftyard::Tuning::default();
    let compaction = raftyard::Compaction::default();
    let config = Config {
        election_timeout_min: times.election_timeout_ms,
        election_timeout_max: 2 * times.election_timeout_ms,
        heartbeat_interval: times.heartbeat_interval_ms,
        max_payload_entries: 1_024,
        purge_batch_size: 1_024,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(compaction.entries),
        max_in_snapshot_log_to_keep: compaction.tail_entries,
        ..Config::default()
    };
    Ok(Arc::new(config.validate()?))
}

/// A group, written to at the replica that leads.
#[derive(Clone)]
pub(super) struct OpenraftGroup {
    router: Router,
    at: Arc<AtomicUsize>,
}

impl OpenraftGroup {
    /// Starts group number `number`, first led by the replica whose turn it is; returns once that one leads.
    pub(super) async fn start(number: usize, config: Arc<Config>) -> Result<Self, Failure> {
        let router = Router::default();
        let start = |node: u64| {
            Raft::new(
                node,
                config.clone(),
                router.clone(),
                LogStore::default(),
                Machine::default(),
            )
        };
        let peers = [start(0).await?, start(1).await?, start(2).await?];
        let first = number % peers.len();
        let leader = peers.get(first).cloned().ok_or("a group has three replicas")?;
        if router.0.set(peers).is_err() {
            return Err("a group is started once".into());
        }
        leader.initialize(BTreeSet::from([0, 1, 2])).await?;
        let wait = leader.wait(None);
        wait.metrics(|metrics| metrics.current_leader.is_some(), "a leader")
            .await?;
        let group = Self {
            router,
            at: Arc::new(AtomicUsize::new(first)),
        };
        group.find_leader();
        Ok(group)
    }

    fn peers(&self) -> &[Peer] {
        self.router.0.get().map_or(&[], |peers| peers.as_slice())
    }
}

impl Writer for OpenraftGroup {
    fn write(&self, key: u64, value: Bytes) -> impl Future<Output = Result<(), WriteError>> + Send + 'static {
        let peer = self.peers().get(self.at.load(Ordering::Relaxed)).cloned();
        async move {
            let peer = peer.ok_or_else(|| WriteError::Failed("the group has no such replica".to_owned()))?;
            match peer.client_write(Put { key, value }).await {
                Ok(_) => Ok(()),
                Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Err(WriteError::Refused),
                Err(error) => Err(WriteError::Failed(error.to_string())),
            }
        }
    }

    fn find_leader(&self) {
        if let Some(leader) = self.peers().iter().position(Peer::is_leader) {
            self.at.store(leader, Ordering::Relaxed);
        }
    }
}
