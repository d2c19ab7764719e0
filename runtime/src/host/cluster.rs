//! A whole cluster in one process, for tests and examples.

use super::RaftHost;
use crate::error::OpenError;
use crate::store::MemoryLogStore;
use crate::transport::MemoryNetwork;
use raftyard_groups::NodeId;

pub(super) async fn in_memory(nodes: u64) -> Result<Vec<RaftHost>, OpenError> {
    if nodes == 0 {
        return Err(OpenError::Config("a cluster needs at least one node".to_owned()));
    }
    let network = MemoryNetwork::new();
    let ids = || (1..=nodes).map(NodeId);
    let mut hosts = Vec::new();
    for id in ids() {
        let builder = RaftHost::builder("")
            .node(id)
            .listen(id.to_string())
            .workers(1)
            .network(network.node(id))
            .log_store(MemoryLogStore::default());
        // A node is no peer of itself, but to name it does no harm.
        let builder = ids().fold(builder, |builder, peer| builder.peer(peer, peer.to_string()));
        hosts.push(builder.open().await?);
    }
    Ok(hosts)
}
