//! A node whose data directory is gone has forgotten what it promised and acknowledged: it does not come back under its
//! old id as if it had not.

use super::support::{Journal, change, eventually, propose, read, slot};
use super::yard::quick;
use raftyard::store::{LogStore, SegmentLogStore, StoreError, StoreIdentity, check};
use raftyard::{
    Consistency, Group, GroupId, GroupOptions, HandshakeCounts, MembershipChange, MemoryNetwork, NodeId, OpenError,
    RaftHost, ReadError, RoleKind,
};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

const GROUP: GroupId = GroupId(1);

/// Refusals after which a node would have been elected long ago.
const REFUSALS: u64 = 8;

/// Nodes with data directories, and their replicas of one group.
struct Nodes {
    network: MemoryNetwork,
    dir: TempDir,
    running: Vec<Option<(RaftHost, Group<Journal>)>>,
}

impl Nodes {
    /// `count` of them, of which the first three begin the group.
    async fn start(count: usize) -> Self {
        let mut nodes = Self {
            network: MemoryNetwork::new(),
            dir: tempfile::tempdir().unwrap(),
            running: vec![None; count],
        };
        for id in 1..=3 {
            nodes.open(id).await;
        }
        nodes
    }

    fn data(&self, id: u64) -> PathBuf {
        self.dir.path().join(id.to_string())
    }

    async fn host(&self, id: u64) -> RaftHost {
        let builder = RaftHost::builder(self.data(id))
            .node(NodeId(id))
            .listen(id.to_string())
            .workers(1)
            .tuning(quick())
            .network(self.network.node(NodeId(id)));
        let builder = (1..=3).fold(builder, |builder, peer| builder.peer(NodeId(peer), peer.to_string()));
        builder.open().await.unwrap()
    }

    /// One that creates the group if it holds nothing of it, as one does at its first start.
    async fn open(&mut self, id: u64) {
        let host = self.host(id).await;
        let members = [1, 2, 3].map(NodeId);
        let replica = host.create_group(GROUP, members, Journal::default).await.unwrap();
        self.running[slot(NodeId(id))] = Some((host, replica));
    }

    /// One that waits to be added.
    async fn join(&mut self, id: u64) {
        let host = self.host(id).await;
        let joined = host.join_group(GROUP, GroupOptions::default(), Journal::default);
        let replica = joined.await.unwrap();
        self.running[slot(NodeId(id))] = Some((host, replica));
    }

    async fn stop(&mut self, id: u64) {
        let (host, _) = self.running[slot(NodeId(id))].take().expect("it runs");
        host.shutdown().await;
    }

    async fn wipe(&mut self, id: u64) {
        self.stop(id).await;
        fs::remove_dir_all(self.data(id)).unwrap();
    }

    fn at(&self, id: u64) -> &RaftHost {
        &self.running[slot(NodeId(id))].as_ref().expect("it runs").0
    }

    fn replicas(&self, ids: &[u64]) -> Vec<Group<Journal>> {
        let replica = |id: &u64| self.running[slot(NodeId(*id))].as_ref().expect("it runs").1.clone();
        ids.iter().map(replica).collect()
    }

    fn refusals(&self, id: u64) -> HandshakeCounts {
        self.at(id).metrics().handshakes_refused
    }

    /// Waits until they have tried to talk to each other again and again; neither of them ever leads.
    async fn refuse(&self, intact: u64, wiped: u64) {
        eventually("each is told why it does not hear the other", || {
            for replica in self.replicas(&[intact, wiped]) {
                let role = replica.status().role;
                assert_ne!(
                    role,
                    RoleKind::Leader,
                    "of a node that forgot all and one that does not know all"
                );
            }
            self.refusals(intact).other_disk >= REFUSALS && self.refusals(wiped).own_disk >= REFUSALS / 2
        })
        .await;
        assert_eq!(self.refusals(wiped).other_disk, 0, "to the new disk all peers are new");
    }

    async fn change(&self, ids: &[u64], to: &MembershipChange) {
        change(&self.replicas(ids), to).await;
    }
}

#[tokio::test]
async fn a_wiped_node_does_not_elect_under_its_old_id_and_a_new_one_takes_its_place() {
    let mut nodes = Nodes::start(4).await;
    propose(&nodes.replicas(&[1, 2, 3]), "before").await;
    nodes.stop(3).await;
    propose(&nodes.replicas(&[1, 2]), "acknowledged").await;
    nodes.stop(1).await;
    nodes.wipe(2).await;

    // Two of three members: one that never had what was acknowledged, and one that has forgotten it.
    nodes.open(2).await;
    nodes.open(3).await;
    let wiped = nodes.replicas(&[2]);
    // Nor does it show the state that it has: none.
    let (_, stale) = tokio::join!(nodes.refuse(3, 2), wiped[0].read((), Consistency::Stale));
    assert_eq!(stale, Err(ReadError::TimedOut));
    drop(wiped);

    nodes.open(1).await;
    let lines = ["before", "acknowledged"];
    assert_eq!(read(&nodes.replicas(&[1, 3])).await, lines);
    eventually("the other one refuses it, too", || nodes.refusals(1).other_disk > 0).await;

    // A node of a new id takes its place, on the same machine or another.
    nodes.stop(2).await;
    for id in [1, 3] {
        nodes.at(id).set_peer(NodeId(4), "4").await.unwrap();
    }
    nodes.join(4).await;
    nodes
        .change(&[1, 3], &MembershipChange::replace(NodeId(2), NodeId(4)))
        .await;
    nodes.stop(1).await;
    assert_eq!(read(&nodes.replicas(&[3, 4])).await, lines);
    propose(&nodes.replicas(&[3, 4]), "after").await;
    nodes.stop(3).await;
    nodes.stop(4).await;
}

#[tokio::test]
async fn a_node_that_was_removed_and_forgotten_comes_back_on_a_new_disk() {
    let mut nodes = Nodes::start(3).await;
    propose(&nodes.replicas(&[1, 2, 3]), "before").await;
    nodes.wipe(2).await;
    nodes.change(&[1, 3], &MembershipChange::remove(NodeId(2))).await;
    nodes.join(2).await;
    for id in [1, 3] {
        // Where it is says nothing of its disk.
        nodes.at(id).set_peer(NodeId(2), "2").await.unwrap();
        let before = nodes.refusals(id).other_disk;
        eventually("it is refused still", || nodes.refusals(id).other_disk > before + 2).await;
    }
    for id in [1, 3] {
        nodes.at(id).remove_peer(NodeId(2)).await.unwrap();
        nodes.at(id).set_peer(NodeId(2), "2").await.unwrap();
    }
    nodes.change(&[1, 3], &MembershipChange::add_voter(NodeId(2))).await;
    // It has started less often than the one before, and is believed all the same.
    let all = nodes.replicas(&[1, 2, 3]);
    eventually("all sleep", || all.iter().all(|replica| replica.status().asleep)).await;
    drop(all);
    nodes.stop(1).await;
    propose(&nodes.replicas(&[2, 3]), "after").await;

    // From then on it is known by that one, through restarts.
    nodes.stop(3).await;
    nodes.wipe(2).await;
    nodes.join(2).await;
    nodes.open(3).await;
    nodes.refuse(3, 2).await;
    nodes.stop(2).await;
    nodes.stop(3).await;
}

/// Earlier builds wrote the list with the first peer that was met: a node alone has none.
#[tokio::test]
async fn a_directory_that_never_had_a_list_of_peers_is_opened_and_one_that_lost_it_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let identity = StoreIdentity {
        cluster: "raftyard".to_owned(),
        node: NodeId(1),
    };
    // As such a build started: nothing says that there was a list.
    let mut store = SegmentLogStore::open(dir.path(), &identity).unwrap();
    assert_eq!(store.boot(0).unwrap().counter, 1);
    drop(store);
    let book = dir.path().join("peers");
    assert!(!book.exists());
    assert!(check(dir.path()).unwrap().is_whole());
    for _ in 0..2 {
        let host = RaftHost::builder(dir.path()).workers(1).open().await.unwrap();
        host.shutdown().await;
        assert!(book.exists());
    }
    fs::remove_file(&book).unwrap();
    let opened = RaftHost::builder(dir.path()).workers(1).open().await.map(drop);
    assert!(
        matches!(&opened, Err(OpenError::Store(StoreError::Damaged { path, .. })) if *path == book),
        "{opened:?}"
    );
    assert_eq!(check(dir.path()).unwrap().refusals.len(), 1);
}
