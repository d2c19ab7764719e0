//! A group on some nodes of a cluster, whose members can change, and clients that use it meanwhile.

use super::support::{Cluster, Journal, PATIENCE, eventually, propose, read, slot};
use parking_lot::Mutex;
use raftyard::{
    ChangeError, Compaction, Consistency, Group, GroupId, GroupOptions, GroupStatus, Membership, MembershipChange,
    NodeId, RoleKind, Tuning,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub(super) const GROUP: GroupId = GroupId(1);

/// A cluster, and one group that lives on some of its nodes.
pub(super) struct Yard {
    pub(super) cluster: Cluster,
    pub(super) first: Vec<NodeId>,
    pub(super) replicas: Replicas,
}

/// By node; none where no replica runs.
pub(super) type Replicas = Arc<Mutex<Vec<Option<Group<Journal>>>>>;

pub(super) fn ids(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

pub(super) fn quick() -> Tuning {
    Tuning {
        election_timeout_ms: 200,
        heartbeat_interval_ms: 40,
        ..Tuning::default()
    }
}

impl Yard {
    /// `nodes` nodes, of which `first` are the group's first members.
    pub(super) async fn new(nodes: usize, first: &[u64], compaction: Compaction) -> Self {
        let mut cluster = Cluster::closed(nodes);
        cluster.compaction = compaction;
        cluster.tuning = quick();
        Self::on(cluster, first).await
    }

    /// One of which nobody is to lose leadership for want of a processor.
    pub(super) async fn steady(nodes: usize, first: &[u64], compaction: Compaction) -> Self {
        let mut cluster = Cluster::steady(nodes);
        cluster.compaction = compaction;
        Self::on(cluster, first).await
    }

    /// On the nodes of `cluster`, which don't run yet.
    pub(super) async fn on(mut cluster: Cluster, first: &[u64]) -> Self {
        let nodes = cluster.snapshots.len();
        cluster.open_all().await;
        let yard = Self {
            cluster,
            first: ids(first),
            replicas: Arc::new(Mutex::new(vec![None; nodes])),
        };
        for id in yard.first.clone() {
            yard.create(id).await;
        }
        yard
    }

    pub(super) fn put(&self, id: NodeId, replica: Group<Journal>) {
        self.replicas.lock()[slot(id)] = Some(replica);
    }

    /// One of the first members, or what is on disk.
    pub(super) async fn create(&self, id: NodeId) {
        let created = self
            .cluster
            .host(id)
            .create_group(GROUP, self.first.clone(), Journal::default);
        self.put(id, created.await.unwrap());
    }

    pub(super) async fn join(&self, id: u64) {
        let id = NodeId(id);
        let joined = self
            .cluster
            .host(id)
            .join_group(GROUP, GroupOptions::default(), Journal::default);
        self.put(id, joined.await.unwrap());
    }

    /// Ends a node.
    pub(super) async fn stop(&mut self, id: NodeId) {
        self.replicas.lock()[slot(id)] = None;
        self.cluster.stop(id).await;
    }

    /// Starts a node on what its disk holds of the group.
    pub(super) async fn restart(&mut self, id: NodeId) {
        self.cluster.open(id).await;
        self.join(id.0).await;
    }

    pub(super) fn replica(&self, id: u64) -> Group<Journal> {
        self.replicas.lock()[slot(NodeId(id))].clone().expect("it runs")
    }

    pub(super) fn status(&self, id: u64) -> GroupStatus {
        self.replica(id).status()
    }

    pub(super) fn running(&self) -> Vec<Group<Journal>> {
        self.replicas.lock().iter().flatten().cloned().collect()
    }

    pub(super) async fn leader(&self) -> (NodeId, Group<Journal>) {
        let mut found = None;
        eventually("a replica leads", || {
            let replicas = self.replicas.lock().clone();
            let mut replicas = self.cluster.ids().into_iter().zip(replicas);
            found = replicas.find_map(|(id, replica)| {
                let replica = replica.filter(|replica| replica.leader() == Some(id))?;
                Some((id, replica))
            });
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// Lets `id` lead.
    pub(super) async fn lead(&self, id: u64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (leader, replica) = self.leader().await;
            if leader == NodeId(id) {
                return;
            }
            assert!(Instant::now() < deadline, "it never leads");
            replica.transfer_leadership(NodeId(id)).await.ok();
        }
    }

    /// Asks whoever leads until the change is made. (To ask again does no harm.)
    pub(super) async fn change(&self, change: MembershipChange) -> Arc<Membership> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (_, leader) = self.leader().await;
            match leader.change_membership(change.clone()).await {
                Ok(membership) => return membership,
                Err(ChangeError::Invalid(error)) => panic!("{error}"),
                Err(error) => assert!(Instant::now() < deadline, "never made: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) async fn fill(&self, lines: std::ops::Range<usize>) {
        for n in lines {
            propose(&self.running(), &n.to_string()).await;
        }
    }

    pub(super) async fn read(&self) -> Vec<String> {
        read(&self.running()).await
    }

    /// Waits until the replicas on these nodes have the same state as the leader.
    pub(super) async fn alike(&self, members: &[u64]) {
        let (_, leader) = self.leader().await;
        let applied = leader.status().applied;
        for id in members {
            let replica = self.replica(*id);
            eventually("a member applied all", || replica.status().applied >= applied).await;
        }
    }
}

/// A client that proposes lines of its own and reads, wherever somebody leads.
pub(super) struct Load {
    end: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<Vec<String>>>,
    /// How many lines were acknowledged so far.
    count: Arc<AtomicU64>,
}

impl Load {
    pub(super) fn start(yard: &Yard, clients: u64) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicU64::new(0));
        let clients = (0..clients)
            .map(|client| tokio::spawn(Self::client(client, yard.replicas.clone(), end.clone(), count.clone())))
            .collect();
        Self { end, clients, count }
    }

    pub(super) async fn client(
        name: u64,
        replicas: Replicas,
        end: Arc<AtomicBool>,
        count: Arc<AtomicU64>,
    ) -> Vec<String> {
        let (mut acknowledged, mut seen) = (Vec::new(), 0);
        for n in 0_usize.. {
            if end.load(Ordering::Relaxed) {
                break;
            }
            let node = n % replicas.lock().len();
            let Some(replica) = replicas.lock()[node].clone() else {
                tokio::task::yield_now().await;
                continue;
            };
            if replica.status().role != RoleKind::Leader {
                tokio::time::sleep(Duration::from_micros(200)).await;
                continue;
            }
            let line = format!("{name}-{n}");
            if replica.propose(line.clone()).await.is_ok() {
                acknowledged.push(line);
                count.fetch_add(1, Ordering::Relaxed);
            }
            if n % 7 == 0
                && let Ok(lines) = replica.read((), Consistency::Linearizable).await
            {
                assert!(lines.len() >= seen, "a read went back in time");
                seen = lines.len();
                let lines: BTreeSet<&String> = lines.iter().collect();
                assert!(
                    acknowledged.iter().all(|line| lines.contains(line)),
                    "a read missed a line"
                );
            }
        }
        acknowledged
    }

    /// Lets some more be acknowledged.
    pub(super) async fn goes_on(&self) {
        let before = self.count.load(Ordering::Relaxed);
        eventually("the load goes on", || self.count.load(Ordering::Relaxed) > before + 20).await;
    }

    /// Ends it: all that was acknowledged is there, once.
    pub(super) async fn check(self, yard: &Yard) {
        self.end.store(true, Ordering::Relaxed);
        let mut acknowledged = Vec::new();
        for client in self.clients {
            acknowledged.extend(client.await.expect("a client found a fault"));
        }
        let lines = yard.read().await;
        let once: BTreeSet<&String> = lines.iter().collect();
        assert_eq!(once.len(), lines.len(), "a line was applied twice");
        let lost: Vec<_> = acknowledged.iter().filter(|line| !once.contains(line)).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
    }
}

pub(super) fn voters(membership: &Membership) -> Vec<u64> {
    membership.voters().map(|node| node.0).collect()
}

pub(super) fn often() -> Compaction {
    Compaction {
        entries: 20,
        tail_entries: 3,
        ..Compaction::default()
    }
}
