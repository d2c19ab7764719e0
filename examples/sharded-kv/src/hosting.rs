//! The replicas that a node hosts, which come and go while it runs.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use raftyard::{
    CreateGroupError, DestroyGroupError, GroupId, GroupOptions, NodeId, QuarantineReason, RaftHost, RebuildGroupError,
    RebuildReport, ReplicaState,
};
use tokio::sync::{Mutex, MutexGuard};

use crate::bell::{Bell, FirstDeadlines};
use crate::config::NodeConfig;
use crate::launch::StartError;
use crate::slots::ShardMap;
use crate::state::{Replica, State};

/// Groups that are created or opened at the same time.
const OPENING_MAX: usize = 64;

/// Between two looks for what the disk stopped.
const LOOK: Duration = Duration::from_secs(1);

/// Written into the data directory once the first start is over. From then on the disk says which groups this node
/// hosts: one that left a group must not create it anew.
const STARTED: &str = "started";

/// Why a replica is not removed, or not wholly. To leave again goes on with it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeaveError {
    #[error(transparent)]
    Destroy(#[from] DestroyGroupError),
    #[error("the keys are still on disk: {0}")]
    State(io::Error),
}

/// Why a group is not rebuilt, or does not run yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RebuildError {
    #[error(transparent)]
    Rebuild(#[from] RebuildGroupError),
    #[error("it is rebuilt, and can't be opened: {0}")]
    Open(#[from] CreateGroupError),
}

/// Why nothing more can be written until the node is started again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Replica(QuarantineReason),
    #[error("the keys are not written any more: {0}")]
    State(io::Error),
}

/// A node's replicas, by the place of their group in the shard map.
pub(crate) struct Hosting {
    host: RaftHost,
    shard_map: ShardMap,
    state: State,
    deadlines: Arc<FirstDeadlines>,
    replicas: RwLock<Vec<Option<Replica>>>,
    /// By place: held by whoever has a replica come or go. What is left of one is removed before the next begins, or the
    /// keys of that one would be.
    moving: Vec<Mutex<()>>,
}

impl Hosting {
    /// Nothing is hosted yet.
    fn new(host: RaftHost, shard_map: ShardMap, state: State, deadlines: Arc<FirstDeadlines>) -> Self {
        let groups = usize::from(shard_map.groups());
        Self {
            host,
            shard_map,
            state,
            deadlines,
            replicas: RwLock::new(vec![None; groups]),
            moving: (0..groups).map(|_| Mutex::new(())).collect(),
        }
    }

    /// Connections between nodes that were refused because of who the other end is.
    pub(crate) fn peers_refused(&self) -> u64 {
        self.host.metrics().handshakes_refused.total()
    }

    /// At the first start creates all groups, or none if the node joins a cluster; later opens what is on disk.
    pub(crate) async fn start(
        config: &NodeConfig,
        host: &RaftHost,
        state: State,
        deadlines: &Arc<FirstDeadlines>,
    ) -> Result<Self, StartError> {
        let hosting = Self::new(host.clone(), config.shard_map, state, Arc::clone(deadlines));
        let marker = config.data_dir.join(STARTED);
        let is_first = !marker.exists();
        let on_disk = host.stored_groups();
        let mut members: Vec<NodeId> = config.peers.iter().map(|peer| peer.node).collect();
        members.push(config.node);
        members.sort_unstable();
        let start = |place| {
            let (hosting, members, group) = (&hosting, members.clone(), ShardMap::group_id(place));
            let is_there = on_disk.contains(&group);
            async move {
                let started = if is_there && (config.join || !is_first) {
                    hosting.join(place, GroupOptions::default()).await
                } else if is_first && !config.join {
                    hosting.create(place, members).await
                } else {
                    Ok(())
                };
                started.map_err(|source| StartError::CreateGroup {
                    node: config.node,
                    group,
                    source,
                })
            }
        };
        stream::iter((0..config.shard_map.groups()).map(start))
            .buffered(OPENING_MAX)
            .try_collect::<()>()
            .await?;
        if is_first {
            note(&config.data_dir, &marker).map_err(|source| StartError::Marker { path: marker, source })?;
        }
        Ok(hosting)
    }

    /// Returns once the disk failed to write, with the reason. Logs and keys take no further write then, also when there
    /// is room again, until they are opened anew.
    pub(crate) async fn failed(&self) -> Failure {
        tokio::select! {
            biased;
            reason = self.replica_failed() => Failure::Replica(reason),
            error = self.state_failed() => Failure::State(error),
        }
    }

    async fn replica_failed(&self) -> QuarantineReason {
        let mut ticks = tokio::time::interval(LOOK);
        loop {
            ticks.tick().await;
            let states = self
                .replicas()
                .into_iter()
                .flatten()
                .map(|replica| replica.status().state);
            let failed = states.filter_map(|state| match state {
                ReplicaState::Quarantined(
                    reason @ (QuarantineReason::StoreFailed | QuarantineReason::StateFailed { .. }),
                ) => Some(reason),
                _ => None,
            });
            if let Some(reason) = failed.last() {
                return reason;
            }
        }
    }

    /// What replicas can't tell while they wait for a write that never ends.
    async fn state_failed(&self) -> io::Error {
        let mut ticks = tokio::time::interval(LOOK);
        loop {
            ticks.tick().await;
            if let Err(error) = self.state.check_takes_writes().await {
                return error;
            }
        }
    }

    pub(crate) fn host(&self) -> &RaftHost {
        &self.host
    }

    /// The replica of the group at `place`, if there is one here.
    pub(crate) fn replica(&self, place: usize) -> Option<Replica> {
        let replicas = self.replicas.read().unwrap_or_else(PoisonError::into_inner);
        replicas.get(place).cloned().flatten()
    }

    /// By place; none where there is no replica here.
    pub(crate) fn replicas(&self) -> Vec<Option<Replica>> {
        self.replicas.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn create(&self, place: u16, members: Vec<NodeId>) -> Result<(), CreateGroupError> {
        let group = ShardMap::group_id(place);
        let bell = self.bell(place);
        let created = self.state.create_group(&self.host, group, members, bell).await;
        self.put(place, Some(created?));
        Ok(())
    }

    /// Hosts a replica that waits to be added, or opens the one that is on disk. Does nothing if one runs already.
    pub(crate) async fn join(&self, place: u16, options: GroupOptions) -> Result<(), CreateGroupError> {
        let _alone = self.alone(place).await;
        self.open(place, options).await
    }

    async fn open(&self, place: u16, options: GroupOptions) -> Result<(), CreateGroupError> {
        if self.replica(usize::from(place)).is_some() {
            return Ok(());
        }
        let group = ShardMap::group_id(place);
        let bell = self.bell(place);
        let joined = self.state.join_group(&self.host, group, options, bell).await;
        self.put(place, Some(joined?));
        Ok(())
    }

    /// Ends a replica and removes what it has on disk. Does nothing if there is none.
    pub(crate) async fn leave(&self, place: u16) -> Result<(), LeaveError> {
        let _alone = self.alone(place).await;
        let group = ShardMap::group_id(place);
        // From here on clients are sent elsewhere.
        let replica = self.replica(usize::from(place));
        self.put(place, None);
        match self.host.destroy_group(group).await {
            Ok(()) | Err(DestroyGroupError::Unknown(_)) => {}
            Err(error) => {
                self.put(place, replica.filter(runs));
                return Err(error.into());
            }
        }
        // Nobody waits for its keys to expire any more.
        self.bell(place).ring(None);
        self.state.remove_group(group).await.map_err(LeaveError::State)
    }

    /// As [`RaftHost::rebuild_group`]; the group goes on here, with this node alone.
    pub(crate) async fn rebuild(&self, place: u16) -> Result<RebuildReport, RebuildError> {
        let _alone = self.alone(place).await;
        let report = self.host.rebuild_group(ShardMap::group_id(place)).await;
        // Whatever came of it, the old handle may be closed.
        let goes_on = self.replica(usize::from(place)).filter(runs);
        self.put(place, goes_on);
        let opened = self.open(place, GroupOptions::default()).await;
        let report = report?;
        opened?;
        Ok(report)
    }

    /// Nobody else has a replica at `place` come or go until this is dropped.
    async fn alone(&self, place: u16) -> Option<MutexGuard<'_, ()>> {
        match self.moving.get(usize::from(place)) {
            Some(moving) => Some(moving.lock().await),
            None => None,
        }
    }

    fn bell(&self, place: u16) -> Bell {
        Bell::new(Arc::clone(&self.deadlines), place)
    }

    fn put(&self, place: u16, replica: Option<Replica>) {
        let mut replicas = self.replicas.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = replicas.get_mut(usize::from(place)) {
            *there = replica;
        }
    }

    /// The place of a group in the shard map.
    pub(crate) fn place_of(&self, group: GroupId) -> Option<u16> {
        (0..self.shard_map.groups()).find(|place| ShardMap::group_id(*place) == group)
    }
}

/// Whether the handle is of use yet.
fn runs(replica: &Replica) -> bool {
    replica.status().state != ReplicaState::Destroyed
}

/// Makes the marker, durably.
fn note(data_dir: &Path, marker: &Path) -> io::Result<()> {
    fs::write(marker, "")?;
    File::open(marker)?.sync_all()?;
    File::open(data_dir)?.sync_all()
}

#[cfg(test)]
mod tests;
