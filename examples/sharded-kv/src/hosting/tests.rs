#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::mpsc;
use std::time::Instant;

use bytes::Bytes;
use raftyard::store::MemoryLogStore;
use raftyard::{Consistency, Incarnation, MembershipChange, MemoryNetwork, Placement, Timestamp};
use tempfile::TempDir;
use tokio::task::LocalSet;

use super::*;
use crate::machine::{Answer, Command, Expiry, Query, Store};

const PLACE: u16 = 0;

const PATIENCE: Duration = Duration::from_secs(30);

/// Enough for who does not wait to be done long before.
const HASTE: Duration = Duration::from_secs(1);

/// Two nodes with keys on disk, and one group of both; the first one leads it.
struct Pair {
    nodes: [Arc<Hosting>; 2],
    dirs: Vec<TempDir>,
}

impl Pair {
    async fn start() -> Self {
        let hosts = RaftHost::in_memory(2).await.unwrap();
        let mut dirs = Vec::new();
        let nodes = hosts.iter().map(|host| {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(dir.path(), |_| false).unwrap();
            dirs.push(dir);
            let shard_map = ShardMap::new(1).unwrap();
            Arc::new(Hosting::new(
                host.clone(),
                shard_map,
                State::Disk(store),
                FirstDeadlines::new(1),
            ))
        });
        let nodes: [Arc<Hosting>; 2] = nodes.collect::<Vec<_>>().try_into().ok().unwrap();
        for node in &nodes {
            node.create(PLACE, vec![NodeId(1), NodeId(2)]).await.unwrap();
        }
        let pair = Self { nodes, dirs };
        let start = Instant::now();
        while pair.replica(0).leader() != Some(NodeId(1)) {
            assert!(start.elapsed() < PATIENCE, "the first node never leads");
            if pair.replica(1).wait_for_leader().await.unwrap() == NodeId(2) {
                // It may come to nothing if anybody is late.
                pair.replica(1).transfer_leadership(NodeId(1)).await.ok();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        pair
    }

    fn replica(&self, node: usize) -> Replica {
        self.nodes[node].replica(usize::from(PLACE)).unwrap()
    }

    /// Asks whoever leads, until it is done. (To set a key again does no harm.)
    async fn set(&self, key: &str, expiry: Expiry) {
        let start = Instant::now();
        for node in [0, 1].into_iter().cycle() {
            let set = Command::set(key.as_bytes().into(), b"v"[..].into(), expiry);
            match self.replica(node).propose(set).await {
                Ok(_) => return,
                Err(error) => assert!(start.elapsed() < PATIENCE, "set {key}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Asks the second node until it knows a leader that answers it.
    async fn read_at_second(&self, query: Query) -> Answer {
        let start = Instant::now();
        loop {
            match self.replica(1).read(query.clone().into(), Consistency::Follower).await {
                Ok(answer) => return answer,
                Err(error) => assert!(start.elapsed() < PATIENCE, "{query:?}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Asks whoever leads, until it is done: a leader that waits for the other node for long steps down.
    async fn change(&self, change: MembershipChange) {
        let start = Instant::now();
        for node in [0, 1].into_iter().cycle() {
            let Some(replica) = self.nodes[node].replica(usize::from(PLACE)) else {
                continue;
            };
            match replica.change_membership(change.clone()).await {
                Ok(_) => return,
                Err(error) => assert!(start.elapsed() < PATIENCE, "{change:?}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn shutdown(self) {
        for node in &self.nodes {
            node.host.shutdown().await;
        }
    }
}

#[test]
fn a_replica_that_comes_while_another_is_removed_keeps_its_keys() {
    // One thread for what blocks: as long as it is taken, what was left on disk is not removed.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let pair = Pair::start().await;
        let keys: Vec<String> = (0..100).map(|n| format!("key-{n}")).collect();
        for key in &keys {
            pair.set(key, Expiry::Never).await;
        }
        pair.change(MembershipChange::remove(NodeId(2))).await;
        let (go_on, held) = mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || held.recv());
        let second = Arc::clone(&pair.nodes[1]);
        let leaving = tokio::spawn(async move { second.leave(PLACE).await });
        while !pair.nodes[1].host.stored_groups().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let second = Arc::clone(&pair.nodes[1]);
        let options = GroupOptions::default().incarnation(Incarnation(1));
        let mut joining = tokio::spawn(async move { second.join(PLACE, options).await });
        let early = tokio::time::timeout(HASTE, &mut joining).await;
        drop(go_on);
        leaving.await.unwrap().unwrap();
        match early {
            Ok(joined) => joined.unwrap().unwrap(),
            Err(_) => joining.await.unwrap().unwrap(),
        }
        pair.change(MembershipChange::add_voter(NodeId(2))).await;
        for key in &keys {
            let answer = pair.read_at_second(Query::Get(Bytes::from(key.clone()))).await;
            assert_eq!(answer, Answer::Value(Some(Bytes::from_static(b"v"))), "{key}");
        }
        pair.shutdown().await;
    });
}

/// Replicas that wait for a write can't: it may never end then.
#[tokio::test]
async fn keys_that_can_not_be_written_any_more_are_noticed_whatever_replicas_say() {
    let pair = Pair::start().await;
    let node = &pair.nodes[1];
    let State::Disk(store) = &node.state else { panic!() };
    assert!(tokio::time::timeout(HASTE, node.failed()).await.is_err());
    store.fail(pair.dirs[1].path());
    let failure = tokio::time::timeout(PATIENCE, node.failed()).await.unwrap();
    assert!(matches!(failure, Failure::State(_)), "{failure}");
    pair.shutdown().await;
}

#[tokio::test]
async fn nobody_waits_for_keys_to_expire_that_are_gone() {
    let pair = Pair::start().await;
    pair.set("k", Expiry::After(3_600_000)).await;
    assert_eq!(pair.read_at_second(Query::KeyCount).await, Answer::Integer(1));
    let far = Timestamp(u64::MAX - 1);
    let is_awaited = || pair.nodes[1].deadlines.is_due(PLACE.into(), far);
    assert!(is_awaited());
    pair.change(MembershipChange::remove(NodeId(2))).await;
    pair.nodes[1].leave(PLACE).await.unwrap();
    assert!(!is_awaited());
    pair.shutdown().await;
}

/// All of the node runs on this thread, so nothing comes of the other removal before this one gives up.
#[tokio::test]
async fn a_replica_that_is_not_removed_is_served_as_before() {
    let whole = async {
        let host = RaftHost::builder("")
            .node(NodeId(1))
            .listen("1")
            .placement(Placement::Here)
            .network(MemoryNetwork::new().node(NodeId(1)))
            .log_store(MemoryLogStore::default());
        let host = host.open().await.unwrap();
        let node = Hosting::new(host, ShardMap::new(1).unwrap(), State::Memory, FirstDeadlines::new(1));
        node.create(PLACE, vec![NodeId(1)]).await.unwrap();
        let group = ShardMap::group_id(PLACE);
        let (destroyed, left) = tokio::join!(node.host.destroy_group(group), node.leave(PLACE));
        destroyed.unwrap();
        assert!(matches!(left, Err(LeaveError::Destroy(DestroyGroupError::Busy(_)))));
        assert!(node.replica(usize::from(PLACE)).is_some());
        node.leave(PLACE).await.unwrap();
        assert!(node.replica(usize::from(PLACE)).is_none());
        node.host.shutdown().await;
    };
    LocalSet::new().run_until(whole).await;
}
