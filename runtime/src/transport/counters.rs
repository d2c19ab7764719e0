//! What a node's transport has done.

use super::handshake::{HandshakeCounts, Refusals};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counted by all threads, since the transport was bound.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    frames_sent: AtomicU64,
    messages_sent: AtomicU64,
    node_messages_sent: AtomicU64,
    bytes_sent: AtomicU64,
    messages_dropped: AtomicU64,
    frames_received: AtomicU64,
    messages_received: AtomicU64,
    messages_misaddressed: AtomicU64,
    reconnects: AtomicU64,
    snapshot_bytes_sent: AtomicU64,
    pub(crate) refusals: Refusals,
}

/// A reading of the counters. Each is exact; together they are of about the same moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TransportCounts {
    /// Frames handed to a connection.
    pub(crate) frames_sent: u64,
    /// Messages of groups in those frames. Whether they arrived is not known.
    pub(crate) messages_sent: u64,
    /// Messages between nodes in those frames.
    pub(crate) node_messages_sent: u64,
    /// Payload bytes of those frames.
    pub(crate) bytes_sent: u64,
    /// Messages that never left: outbox full, peer not connected or unknown, or larger than a frame. And those that came on
    /// a heartbeat lane when there was no room for them.
    pub(crate) messages_dropped: u64,
    /// Frames received and accepted.
    pub(crate) frames_received: u64,
    /// Messages in those frames.
    pub(crate) messages_received: u64,
    /// Those of them that were dropped: another sender than the connection's, of another lane, or meant for another node.
    pub(crate) messages_misaddressed: u64,
    /// Connections made, beyond the first of each peer and lane.
    pub(crate) reconnects: u64,
    /// Bytes of snapshots handed to a connection.
    pub(crate) snapshot_bytes_sent: u64,
    /// Connections refused, in either direction, because of who their other end is.
    pub(crate) handshakes_refused: HandshakeCounts,
}

impl Counters {
    pub(crate) fn add_sent(&self, messages: usize, node_messages: usize, bytes: usize) {
        self.frames_sent.fetch_add(1, Relaxed);
        self.messages_sent.fetch_add(messages as u64, Relaxed);
        self.node_messages_sent.fetch_add(node_messages as u64, Relaxed);
        self.bytes_sent.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn add_received(&self, messages: usize, misaddressed: usize) {
        self.frames_received.fetch_add(1, Relaxed);
        self.messages_received.fetch_add(messages as u64, Relaxed);
        self.messages_misaddressed.fetch_add(misaddressed as u64, Relaxed);
    }

    pub(crate) fn add_dropped(&self, messages: usize) {
        self.messages_dropped.fetch_add(messages as u64, Relaxed);
    }

    pub(crate) fn add_reconnect(&self) {
        self.reconnects.fetch_add(1, Relaxed);
    }

    pub(crate) fn add_snapshot_bytes(&self, bytes: usize) {
        self.snapshot_bytes_sent.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn read(&self) -> TransportCounts {
        TransportCounts {
            frames_sent: self.frames_sent.load(Relaxed),
            messages_sent: self.messages_sent.load(Relaxed),
            node_messages_sent: self.node_messages_sent.load(Relaxed),
            bytes_sent: self.bytes_sent.load(Relaxed),
            messages_dropped: self.messages_dropped.load(Relaxed),
            frames_received: self.frames_received.load(Relaxed),
            messages_received: self.messages_received.load(Relaxed),
            messages_misaddressed: self.messages_misaddressed.load(Relaxed),
            reconnects: self.reconnects.load(Relaxed),
            snapshot_bytes_sent: self.snapshot_bytes_sent.load(Relaxed),
            handshakes_refused: self.refusals.counts(),
        }
    }
}
