//! Where clients go when the replica here is of no use.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use raftyard::{GroupId, GroupOptions, Incarnation, RaftHost, StateMachine, Timestamp};
use tempfile::TempDir;

use super::*;
use crate::bell::FirstDeadlines;
use crate::proxy::Route;
use crate::resp::Reply;
use crate::state::State;

const SLOT: u16 = 0;

const PATIENCE: Duration = Duration::from_secs(30);

/// Node 2 of two, with the only group.
struct Second {
    node: Node,
    hosts: Vec<RaftHost>,
    _dir: TempDir,
}

impl Second {
    async fn start(join: bool) -> Self {
        let hosts = RaftHost::in_memory(2).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "cluster = 'c'\nnode = 2\nlisten_resp = '127.0.0.1:1'\nlisten_peer = '127.0.0.1:2'\ngroups = 1\ndata = {:?}\n\
             join = {join}\n[[peers]]\nnode = 1\npeer = 'kv1:3'\nresp = 'kv1:4'\n",
            dir.path()
        );
        let config = NodeConfig::parse(Path::new("node.toml"), &text).unwrap();
        let deadlines = FirstDeadlines::new(1);
        let hosting = Hosting::start(&config, &hosts[1], State::Memory, &deadlines)
            .await
            .unwrap();
        let member = |node, resp: &str| Member::new("c", NodeId(node), resp.parse().unwrap(), 1);
        let members = vec![member(1, "kv1:4"), member(2, "kv2:4")];
        let topology = Topology::new(NodeId(2), config.shard_map, members);
        let node = Node::new(topology, hosting, vec![], &config, Dial::default());
        Self { node, hosts, _dir: dir }
    }

    /// Whoever asks again and again gets away from here, and is told in the end if there is nowhere to go: the other node
    /// may send him back.
    fn sends_clients_elsewhere(&self) {
        let said = [(); 4].map(|()| match self.node.redirection(SLOT) {
            Some(Reply::Error(text)) => text,
            other => panic!("{other:?}"),
        });
        let (moved, down) = ("MOVED 0 kv1:4", "CLUSTERDOWN Hash slot not served");
        assert_eq!(said, [moved, down, moved, down]);
        assert_eq!(self.node.route(SLOT), Route::To(NodeId(1)));
    }
}

/// Commands that no node with keys understands.
struct Other;

impl StateMachine for Other {
    type Command = u64;
    type Response = ();
    type Query = ();
    type Answer = ();
    type Snapshot = ();

    fn apply(&mut self, _: u64, _: Timestamp) {}
    fn query(&self, (): ()) {}
    fn snapshot(&self) {}
    fn restore(&mut self, (): ()) {}
}

#[tokio::test]
async fn a_replica_that_stopped_keeps_no_clients() {
    let second = Second::start(false).await;
    let members = vec![NodeId(1), NodeId(2)];
    let other = second.hosts[0]
        .create_group(GroupId(1), members, || Other)
        .await
        .unwrap();
    let start = Instant::now();
    let replica = second.node.hosting().replica(0).unwrap();
    while !replica.status().is_quarantined() {
        assert!(start.elapsed() < PATIENCE);
        if replica.leader() == Some(NodeId(2)) {
            replica.transfer_leadership(NodeId(1)).await.ok();
        }
        tokio::time::timeout(Duration::from_millis(100), other.propose(u64::MAX))
            .await
            .ok();
        // Not to keep the only thread.
        tokio::task::yield_now().await;
    }
    second.sends_clients_elsewhere();
    for host in &second.hosts {
        host.shutdown().await;
    }
}

#[tokio::test]
async fn a_replica_that_waits_to_be_added_keeps_no_clients() {
    let second = Second::start(true).await;
    let options = GroupOptions::default().incarnation(Incarnation(1));
    second.node.hosting().join(0, options).await.unwrap();
    second.sends_clients_elsewhere();
    // It was never of the group: whoever flushes all keys need not wait for it.
    assert_eq!(second.node.flush().await, Reply::OK);
    for host in &second.hosts {
        host.shutdown().await;
    }
}
