//! The nodes of a soak, which come and go.

use super::group::SoakGroup;
use super::tally::Tally;
use crate::Failure;
use futures::future::try_join_all;
use parking_lot::Mutex;
use raftyard::{BoundHost, Group, GroupId, GroupOptions, Incarnation, NodeId, RaftHost};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Mutex as AsyncMutex;

/// Nodes of a soak.
pub(crate) const NODES: usize = 3;
/// Groups that are opened at once.
const AT_ONCE: usize = 512;

pub(crate) struct World {
    data: PathBuf,
    workers: usize,
    nodes: Mutex<[Option<RaftHost>; NODES]>,
    addresses: Mutex<[String; NODES]>,
    groups: Vec<AsyncMutex<SoakGroup>>,
    /// Counted since the start.
    pub(crate) restarts: AtomicU64,
    pub(crate) created_again: AtomicU64,
}

fn id(node: usize) -> NodeId {
    NodeId(node as u64 + 1)
}

impl World {
    /// Opens all nodes and creates all groups.
    pub(crate) async fn start(data: &Path, groups: u64, workers: usize) -> Result<Self, Failure> {
        let world = Self {
            data: data.to_owned(),
            workers,
            nodes: Mutex::default(),
            addresses: Mutex::default(),
            groups: (0..groups)
                .map(|id| AsyncMutex::new(SoakGroup::new(GroupId(id))))
                .collect(),
            restarts: AtomicU64::new(0),
            created_again: AtomicU64::new(0),
        };
        let mut bound = Vec::new();
        for node in 0..NODES {
            bound.push(world.bind_node(node).await?);
        }
        for (node, bound) in bound.into_iter().enumerate() {
            world.open_node(node, bound).await?;
        }
        try_join_all((0..NODES).map(|node| world.open_groups(node))).await?;
        Ok(world)
    }

    pub(crate) fn groups(&self) -> usize {
        self.groups.len()
    }

    pub(crate) fn group(&self, place: usize) -> &AsyncMutex<SoakGroup> {
        &self.groups[place]
    }

    fn host(&self, node: usize) -> Option<RaftHost> {
        self.nodes.lock()[node].clone()
    }

    /// Takes a port for a node, whichever is free.
    async fn bind_node(&self, node: usize) -> Result<BoundHost, Failure> {
        let builder = RaftHost::builder(self.data.join(node.to_string())).node(id(node));
        let bound = builder.workers(self.workers).bind().await?;
        bound.peer_addr().clone_into(&mut self.addresses.lock()[node]);
        Ok(bound)
    }

    /// Opens a node that knows where the others are, and tells those that are there where it is.
    async fn open_node(&self, node: usize, bound: BoundHost) -> Result<(), Failure> {
        let addresses = self.addresses.lock().clone();
        let others = (0..NODES).filter(|other| *other != node);
        let host = others
            .clone()
            .fold(bound, |bound, other| bound.peer(id(other), &addresses[other]))
            .open()
            .await?;
        for other in others {
            // What was noted in an earlier life goes before what was said now.
            host.set_peer(id(other), &addresses[other]).await?;
            if let Some(other) = self.host(other) {
                other.set_peer(id(node), &addresses[node]).await?;
            }
        }
        self.nodes.lock()[node] = Some(host);
        Ok(())
    }

    /// Opens a node's replica of every group, some hundred at once.
    async fn open_groups(&self, node: usize) -> Result<(), Failure> {
        for groups in self.groups.chunks(AT_ONCE) {
            try_join_all(groups.iter().map(|group| self.open_replica(node, group))).await?;
        }
        Ok(())
    }

    async fn open_replica(&self, node: usize, group: &AsyncMutex<SoakGroup>) -> Result<(), Failure> {
        let mut group = group.lock().await;
        let Some(host) = self.host(node) else {
            return Ok(());
        };
        if std::mem::take(&mut group.outdated[node]) {
            host.destroy_group(group.id).await?;
        }
        if group.replicas[node].is_none() {
            group.replicas[node] = Some(create(&host, group.id, group.incarnation).await?);
        }
        Ok(())
    }

    /// Ends a node: first for the clients, then for real.
    pub(crate) async fn stop_node(&self, node: usize) {
        let host = self.nodes.lock()[node].take();
        if let Some(host) = host {
            host.shutdown().await;
        }
        for group in &self.groups {
            group.lock().await.replicas[node] = None;
        }
    }

    pub(crate) async fn start_node(&self, node: usize) -> Result<(), Failure> {
        let bound = self.bind_node(node).await?;
        self.open_node(node, bound).await?;
        self.open_groups(node).await?;
        self.restarts.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Destroys a group wherever it is, and creates it anew. A node that is away finds the old one when it is back.
    pub(crate) async fn create_again(&self, group: &mut SoakGroup) -> Result<(), Failure> {
        let there: Vec<usize> = (0..NODES).filter(|node| group.replicas[*node].is_some()).collect();
        // Of a majority: it would have no leader otherwise, and nobody could be told from a stuck one.
        if there.len() < 2 {
            return Ok(());
        }
        let hosts: Vec<Option<RaftHost>> = there.iter().map(|node| self.host(*node)).collect();
        if hosts.iter().any(Option::is_none) {
            return Ok(());
        }
        group.incarnation = Incarnation(group.incarnation.0 + 1);
        (group.acknowledged, group.unknown) = (0, 0);
        group.outdated = [true; NODES];
        let created = there.iter().zip(&hosts).map(|(node, host)| {
            let (id, incarnation) = (group.id, group.incarnation);
            async move {
                let Some(host) = host else {
                    return Ok::<_, Failure>((*node, None));
                };
                // Its node may go away under it: then it finds the old one when it is back.
                if host.destroy_group(id).await.is_err() {
                    return Ok((*node, None));
                }
                match create(host, id, incarnation).await {
                    Ok(replica) => Ok((*node, Some(replica))),
                    Err(_) if self.host(*node).is_none() => Ok((*node, None)),
                    Err(error) => Err(error),
                }
            }
        });
        for (node, replica) in try_join_all(created).await? {
            group.outdated[node] = replica.is_none();
            group.replicas[node] = replica;
        }
        self.created_again.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Every group takes a write, and its replicas hold the same.
    pub(crate) async fn all_agree(&self) -> Result<(), Failure> {
        for groups in self.groups.chunks(AT_ONCE) {
            try_join_all(groups.iter().map(async |group| group.lock().await.agree().await)).await?;
        }
        Ok(())
    }

    pub(crate) async fn stop(&self) {
        for node in 0..NODES {
            let host = self.nodes.lock()[node].take();
            if let Some(host) = host {
                host.shutdown().await;
            }
        }
    }
}

async fn create(host: &RaftHost, group: GroupId, incarnation: Incarnation) -> Result<Group<Tally>, Failure> {
    let options = GroupOptions::default().incarnation(incarnation);
    Ok(host
        .create_group_with(group, (0..NODES).map(id), options, Tally::default)
        .await?)
}
