//! How the rest of the node sends.

use super::bulk::{BulkQueue, Outgoing};
use super::counters::{Counters, TransportCounts};
use super::lane::Lane;
use super::outbox::Outbox;
use raftyard_groups::{Message, NodeId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sends from any thread. Clones are cheap and the same.
#[derive(Clone)]
pub(crate) struct TransportHandle {
    pub(super) outboxes: Arc<BTreeMap<(NodeId, Lane), Arc<Outbox>>>,
    pub(super) bulk: Arc<BTreeMap<NodeId, Arc<BulkQueue>>>,
    pub(super) counters: Arc<Counters>,
}

impl TransportHandle {
    /// Queues a batch: each peer's messages keep their order within a lane. Never blocks on the network;
    /// encoding happens here, on the caller's thread. What can't be queued (unknown or absent peer, full
    /// outbox) is dropped and counted.
    pub(crate) fn send(&self, messages: &[Message]) {
        let mut order: Vec<_> = messages.iter().map(|m| ((m.to, Lane::of(m)), m)).collect();
        // Stable, so what shares peer and lane keeps its order.
        order.sort_by_key(|(way, _)| *way);
        for same_way in order.chunk_by(|(a, _), (b, _)| a == b) {
            let Some((way, _)) = same_way.first() else {
                continue;
            };
            match self.outboxes.get(way) {
                Some(outbox) => outbox.push_all(same_way.iter().map(|(_, message)| *message)),
                None => {
                    tracing::debug!(peer = %way.0, messages = same_way.len(), "messages to an unknown peer dropped");
                    self.counters.add_dropped(same_way.len());
                }
            }
        }
    }

    /// Queues a snapshot. To an unknown peer it fails at once.
    pub(crate) fn send_snapshot(&self, outgoing: Outgoing) {
        match self.bulk.get(&outgoing.to) {
            Some(queue) => queue.push(outgoing),
            None => (outgoing.done)(false),
        }
    }

    /// What the transport has done so far.
    pub(crate) fn counts(&self) -> TransportCounts {
        self.counters.read()
    }
}
