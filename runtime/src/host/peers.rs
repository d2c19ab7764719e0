//! The other nodes, as they come and go.

use super::{Node, RaftHost};
use crate::error::PeerError;
use crate::store::is_address;
use crate::transport::{RemovePeer, SetPeer, SnapshotTransfer};
use raftyard_groups::{GroupId, NodeId};
use std::collections::BTreeMap;

impl RaftHost {
    /// Where another node is reached from now on, `host:port`: one that was no peer before may connect, and what
    /// waits for one that moved goes to the new address. Durable before it counts, so that a restart knows it too;
    /// but what [`HostBuilder::peer`](crate::HostBuilder::peer) says of a node wins there. (A node whose log store was
    /// given to it has no data directory, and remembers nothing.)
    ///
    /// Every member of a group has to know every other. Where a node is says nothing of its disk: one that comes back on
    /// another one is refused, wherever it is, see [`remove_peer`](Self::remove_peer).
    ///
    /// # Errors
    ///
    /// [`PeerError`].
    pub async fn set_peer(&self, node: NodeId, address: impl Into<String>) -> Result<(), PeerError> {
        let address = address.into();
        if !is_address(&address) {
            return Err(PeerError::Address(address));
        }
        self.note_peer(node, Some(address)).await
    }

    /// The other node may not connect any more, and nothing is sent to it, until [`set_peer`](Self::set_peer) or, if
    /// the builder named it, the next start. Its disk is forgotten, too: it may come back on another one, as a node that
    /// was never met. That is safe only for nodes that are members of no group, on any node: one that lost its disk has
    /// forgotten what it promised and acknowledged. An entry that stays does no harm.
    ///
    /// # Errors
    ///
    /// [`PeerError`].
    pub async fn remove_peer(&self, node: NodeId) -> Result<(), PeerError> {
        self.note_peer(node, None).await
    }

    /// The other nodes that this one knows, and where each is reached.
    #[must_use]
    pub fn peers(&self) -> BTreeMap<NodeId, String> {
        self.0.transport.peers()
    }

    async fn note_peer(&self, peer: NodeId, address: Option<String>) -> Result<(), PeerError> {
        let node = self.0.clone();
        if peer == node.id {
            return Err(PeerError::Myself(peer));
        }
        if node.is_closed() {
            return Err(PeerError::Closed);
        }
        // On the storage's thread, one after the other: so the transport hears of changes in the order of the book.
        let disk = node.disk.clone();
        let noted = disk.complete(move || async move {
            let transport = &node.actors.transport;
            let told = match address {
                Some(address) => {
                    node.peers.set(peer, address.clone(), !node.knows_peer(peer))?;
                    transport.send(SetPeer(peer, address)).await
                }
                None => {
                    node.peers.remove(peer)?;
                    transport.send(RemovePeer(peer)).await
                }
            };
            told.map_err(|_| PeerError::Closed)
        });
        noted.await.ok_or(PeerError::Closed)?
    }
}

impl Node {
    pub(crate) fn knows_peer(&self, node: NodeId) -> bool {
        self.transport.knows(node)
    }

    /// How far the snapshot of a group is that is being sent to a peer, if one is.
    pub(crate) fn snapshot_transfer(&self, peer: NodeId, group: GroupId) -> Option<SnapshotTransfer> {
        self.transport.snapshot_transfer(peer, group)
    }
}
