//! How the rest of the node sends, and whom it can send to.

use super::bulk::{BulkQueue, Outgoing, SnapshotTransfer};
use super::counters::{Counters, TransportCounts};
use super::lane::Lane;
use super::outbox::{Flow, Outbox, OutboxBounds};
use super::wire::NodeParcel;
use parking_lot::RwLock;
use raftyard_groups::{GroupId, Message, NodeId};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Sends from any thread. Clones are cheap and the same.
#[derive(Clone)]
pub(crate) struct TransportHandle {
    pub(super) ways: Arc<RwLock<BTreeMap<NodeId, Arc<Way>>>>,
    pub(super) counters: Arc<Counters>,
}

/// All that leads to one peer.
pub(super) struct Way {
    /// No other way has it: who was removed as a peer and set again has another way.
    number: u64,
    heartbeats: Arc<Outbox>,
    data: Arc<Outbox>,
    pub(super) bulk: Arc<BulkQueue>,
    /// Where the peer is reached. Who sends to it watches this, and connects again when it changes.
    pub(super) address: watch::Sender<String>,
    /// Ends all that sends to it.
    pub(super) stop: CancellationToken,
}

impl Way {
    pub(super) fn new(
        number: u64,
        address: String,
        bounds: OutboxBounds,
        counters: &Arc<Counters>,
        stop: CancellationToken,
    ) -> Self {
        let outbox = || Arc::new(Outbox::new(bounds, Arc::clone(counters)));
        let data = outbox();
        data.open();
        Self {
            number,
            heartbeats: outbox(),
            data,
            bulk: Arc::default(),
            address: watch::Sender::new(address),
            stop,
        }
    }

    /// What waits on a lane that messages travel on.
    pub(super) fn outbox(&self, lane: Lane) -> &Arc<Outbox> {
        match lane {
            Lane::Heartbeat => &self.heartbeats,
            Lane::Data | Lane::Snapshot => &self.data,
        }
    }
}

impl TransportHandle {
    /// Queues a batch: each peer's messages keep their order within a lane. Never blocks on the network;
    /// encoding happens here, on the caller's thread. What can't be queued (unknown or absent peer, full
    /// outbox) is dropped and counted.
    pub(crate) fn send(&self, messages: &[Message]) {
        let mut order: Vec<_> = messages.iter().map(|m| ((m.to, Lane::of(m)), m)).collect();
        // Stable, so what shares peer and lane keeps its order.
        order.sort_by_key(|(way, _)| *way);
        let ways = self.ways.read();
        for same_way in order.chunk_by(|(a, _), (b, _)| a == b) {
            let Some(((peer, lane), _)) = same_way.first() else {
                continue;
            };
            match ways.get(peer) {
                Some(way) => way.outbox(*lane).push_all(same_way.iter().map(|(_, message)| *message)),
                None => {
                    tracing::debug!(%peer, messages = same_way.len(), "messages to an unknown peer dropped");
                    self.counters.add_dropped(same_way.len());
                }
            }
        }
    }

    /// Queues a message between nodes, beside what the groups say that is as urgent.
    pub(crate) fn send_node(&self, parcel: &NodeParcel) {
        if let Some(way) = self.ways.read().get(&parcel.to) {
            way.heartbeats.push_node(parcel);
        }
    }

    /// The peers, each with a number that is another one if it was no peer meanwhile.
    pub(crate) fn ways_by_peer(&self) -> BTreeMap<NodeId, u64> {
        let ways = self.ways.read();
        ways.iter().map(|(peer, way)| (*peer, way.number)).collect()
    }

    /// By peer: how what groups want to have sent in bulk moves.
    pub(crate) fn data_flows(&self) -> BTreeMap<NodeId, Flow> {
        let ways = self.ways.read();
        ways.iter().map(|(peer, way)| (*peer, way.data.flow())).collect()
    }

    /// Queues a snapshot. To an unknown peer it fails at once.
    pub(crate) fn send_snapshot(&self, outgoing: Outgoing) {
        let queue = self.ways.read().get(&outgoing.to).map(|way| way.bulk.clone());
        match queue {
            Some(queue) => queue.push(outgoing),
            None => outgoing.done.tell(false),
        }
    }

    /// How far the snapshot of a group is that is being sent to a peer, if one is.
    pub(crate) fn snapshot_transfer(&self, peer: NodeId, group: GroupId) -> Option<SnapshotTransfer> {
        self.ways.read().get(&peer)?.bulk.transfer_of(group)
    }

    /// Whether `node` may connect, and can be sent to.
    pub(crate) fn knows(&self, node: NodeId) -> bool {
        self.ways.read().contains_key(&node)
    }

    /// The peers, and where each is reached.
    pub(crate) fn peers(&self) -> BTreeMap<NodeId, String> {
        let ways = self.ways.read();
        ways.iter()
            .map(|(peer, way)| (*peer, way.address.borrow().clone()))
            .collect()
    }

    /// What waits for a peer on a lane.
    #[cfg(test)]
    #[allow(clippy::unwrap_used)]
    pub(super) fn outbox(&self, peer: NodeId, lane: Lane) -> Arc<Outbox> {
        self.ways.read().get(&peer).unwrap().outbox(lane).clone()
    }

    /// What the transport has done so far.
    pub(crate) fn counts(&self) -> TransportCounts {
        self.counters.read()
    }
}
