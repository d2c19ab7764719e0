//! Nodes that come to be known, move, and are forgotten while the others run.

use super::support::{Journal, change, eventually, propose};
use raftyard::{GroupId, GroupOptions, MembershipChange, MemoryNetwork, NodeId, PeerError, RaftHost};
use std::collections::BTreeMap;
use std::path::Path;

const GROUP: GroupId = GroupId(1);

/// A node with a data directory that is told of the peers 1 and 2.
async fn open(network: &MemoryNetwork, dir: &Path, id: u64, listen: &str) -> RaftHost {
    let builder = RaftHost::builder(dir.join(id.to_string()))
        .node(NodeId(id))
        .listen(listen)
        .workers(1)
        .network(network.node(NodeId(id)));
    let builder = builder.peer(NodeId(1), "one").peer(NodeId(2), "two");
    builder.open().await.unwrap()
}

fn known(host: &RaftHost) -> BTreeMap<u64, String> {
    let peers = host.peers().into_iter();
    peers.map(|(node, address)| (node.0, address)).collect()
}

#[tokio::test]
async fn a_node_that_was_unknown_joins_and_is_known_after_a_restart() {
    let (network, dir) = (MemoryNetwork::new(), tempfile::tempdir().unwrap());
    let mut hosts = Vec::new();
    for (id, listen) in [(1, "one"), (2, "two"), (3, "three")] {
        hosts.push(open(&network, dir.path(), id, listen).await);
    }
    let mut replicas = Vec::new();
    for host in &hosts[..2] {
        let members = [NodeId(1), NodeId(2)];
        replicas.push(host.create_group(GROUP, members, Journal::default).await.unwrap());
    }
    propose(&replicas, "before").await;
    for host in &hosts[..2] {
        host.set_peer(NodeId(3), "three").await.unwrap();
    }
    assert!(matches!(
        hosts[0].set_peer(NodeId(1), "x").await,
        Err(PeerError::Myself(_))
    ));
    assert!(matches!(
        hosts[0].set_peer(NodeId(4), "a\nb").await,
        Err(PeerError::Address(_))
    ));
    let joined = hosts[2].join_group(GROUP, GroupOptions::default(), Journal::default);
    replicas.push(joined.await.unwrap());
    change(&replicas, &MembershipChange::add_voter(NodeId(3))).await;

    // One of the others restarts without being told of node 3 again, and node 3 comes back elsewhere.
    drop(replicas);
    for host in hosts.drain(..) {
        host.shutdown().await;
    }
    for (id, listen) in [(1, "one"), (2, "two"), (3, "moved")] {
        hosts.push(open(&network, dir.path(), id, listen).await);
    }
    assert_eq!(
        known(&hosts[0]),
        BTreeMap::from([(2, "two".to_owned()), (3, "three".to_owned())])
    );
    let mut replicas = Vec::new();
    for host in &hosts {
        let joined = host.join_group(GROUP, GroupOptions::default(), Journal::default);
        replicas.push(joined.await.unwrap());
    }
    propose(&replicas[..2], "without it").await;
    for host in &hosts[..2] {
        host.set_peer(NodeId(3), "moved").await.unwrap();
    }
    let applied = replicas[0].status().applied.max(replicas[1].status().applied);
    eventually("it is reached where it is now", || {
        replicas[2].status().applied >= applied
    })
    .await;

    // What the configuration says of a node wins at the next start; what was learned stays.
    hosts[0].set_peer(NodeId(2), "elsewhere").await.unwrap();
    assert_eq!(known(&hosts[0])[&2], "elsewhere");
    hosts[0].remove_peer(NodeId(3)).await.unwrap();
    hosts[0].remove_peer(NodeId(3)).await.unwrap();
    assert_eq!(known(&hosts[0]).get(&3), None);
    hosts[0].shutdown().await;
    hosts[0] = open(&network, dir.path(), 1, "one").await;
    assert_eq!(known(&hosts[0]), BTreeMap::from([(2, "two".to_owned())]));
    for host in hosts {
        host.shutdown().await;
    }
}
