//! Counts of what a node does.

use crate::transport::TransportCounts;
use std::sync::atomic::{AtomicU64, Ordering};

/// A count that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) fsyncs: Counter,
    pub(crate) entries_written: Counter,
    pub(crate) turns: Counter,
    pub(crate) strays: Counter,
}

/// What a node did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostMetrics {
    /// Batches made durable, one fsync each.
    pub fsyncs: u64,
    /// Log entries in them.
    pub entries_written: u64,
    /// Turns of all workers.
    pub turns: u64,
    /// Things that came for groups that don't run here.
    pub strays: u64,
    /// Frames sent to peers, one tarpc call each.
    pub frames_sent: u64,
    /// Messages in them.
    pub messages_sent: u64,
    /// Bytes in them.
    pub bytes_sent: u64,
    /// Messages dropped because a peer was away or its outbox full.
    pub messages_dropped: u64,
    /// Frames received from peers.
    pub frames_received: u64,
}

impl HostMetrics {
    pub(crate) fn read(counters: &Counters, transport: &TransportCounts) -> Self {
        Self {
            fsyncs: counters.fsyncs.get(),
            entries_written: counters.entries_written.get(),
            turns: counters.turns.get(),
            strays: counters.strays.get(),
            frames_sent: transport.frames_sent,
            messages_sent: transport.messages_sent,
            bytes_sent: transport.bytes_sent,
            messages_dropped: transport.messages_dropped,
            frames_received: transport.frames_received,
        }
    }
}
