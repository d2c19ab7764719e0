//! Counts of what a node does.

use crate::transport::{HandshakeCounts, TransportCounts};
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
    pub(crate) turns_shared: Counter,
    pub(crate) flushes_shared: Counter,
    pub(crate) commands_applied: Counter,
    pub(crate) bytes_applied: Counter,
    pub(crate) apply_nanos: Counter,
    pub(crate) requests_refused: Counter,
    pub(crate) ticks: Counter,
    pub(crate) timers: Counter,
    pub(crate) group_turns: Counter,
    pub(crate) campaigns: Counter,
    pub(crate) sessions_ended: Counter,
    pub(crate) node_heartbeats: Counter,
    pub(crate) strays: Counter,
    pub(crate) snapshots_taken: Counter,
    pub(crate) states_synced: Counter,
    pub(crate) snapshots_sent: Counter,
    pub(crate) snapshots_installed: Counter,
    pub(crate) replicas_damaged: Counter,
    pub(crate) replicas_repaired: Counter,
}

/// What a node did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostMetrics {
    /// Batches of what groups wrote made durable, one fsync each, and for a later term a second one, of the mark. Creating and
    /// destroying groups is not counted.
    pub fsyncs: u64,
    /// Log entries in them.
    pub entries_written: u64,
    /// Turns of all workers.
    pub turns: u64,
    /// Turns in which there was more to do than fits one, so that it was shared out between the groups.
    pub turns_shared: u64,
    /// The same of batches made durable.
    pub flushes_shared: u64,
    /// Entries applied that hold a command, or are about sessions.
    pub commands_applied: u64,
    /// Bytes of their entries, as they count in the log.
    pub bytes_applied: u64,
    /// Nanoseconds that state machines took to apply them.
    pub apply_nanos: u64,
    /// Proposals and reads refused as [`Overloaded`](crate::ProposeError::Overloaded).
    pub requests_refused: u64,
    /// Times that a worker looked whether a moment came that a group waits for: a hundred times a second, and while
    /// nothing of it is due soon once per interval of heartbeats between nodes.
    pub ticks: u64,
    /// Times that a moment came that a group had waited for.
    pub timers: u64,
    /// Groups that had something to do in a turn of their worker, turn by turn: a group that sleeps has nothing.
    pub group_turns: u64,
    /// Times that a replica wanted to campaign: one that is damaged asks nobody, and is counted.
    pub campaigns: u64,
    /// Sessions that this node granted to others and that ended: each a node that was lost, or seemed to be.
    pub sessions_ended: u64,
    /// Heartbeats to other nodes: one per node and interval, whatever the number of groups.
    pub node_heartbeats: u64,
    /// Things that came for groups that don't run here.
    pub strays: u64,
    /// Frames sent to peers, one tarpc call each.
    pub frames_sent: u64,
    /// Messages of groups in them.
    pub messages_sent: u64,
    /// Messages between nodes in them: heartbeats and the answers to them.
    pub node_messages_sent: u64,
    /// Bytes in them.
    pub bytes_sent: u64,
    /// Messages dropped because a peer was away or its outbox full, or because a worker here does not look at those that
    /// came.
    pub messages_dropped: u64,
    /// Frames received from peers.
    pub frames_received: u64,
    /// Snapshots of groups here that became durable.
    pub snapshots_taken: u64,
    /// Times that a state machine on disk made durable what it had applied.
    pub states_synced: u64,
    /// Snapshots that a peer has all of.
    pub snapshots_sent: u64,
    /// Bytes of snapshots sent, also of those that were broken off.
    pub snapshot_bytes_sent: u64,
    /// Snapshots from peers that took the place of a log here.
    pub snapshots_installed: u64,
    /// Replicas that had lost something when they were opened: until they are
    /// repaired they neither lead nor vote for who lacks it, too.
    pub replicas_damaged: u64,
    /// Those of them that hold again all that they may have acknowledged.
    pub replicas_repaired: u64,
    /// Connections to or from peers that were refused because of who their other end is or does not prove to be.
    pub handshakes_refused: HandshakeCounts,
}

impl HostMetrics {
    /// What was done since `earlier`, an older reading of the same nodes.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        self.combine(earlier, u64::saturating_sub)
    }

    fn combine(&self, other: &Self, with: impl Fn(u64, u64) -> u64 + Copy) -> Self {
        Self {
            fsyncs: with(self.fsyncs, other.fsyncs),
            entries_written: with(self.entries_written, other.entries_written),
            turns: with(self.turns, other.turns),
            turns_shared: with(self.turns_shared, other.turns_shared),
            flushes_shared: with(self.flushes_shared, other.flushes_shared),
            commands_applied: with(self.commands_applied, other.commands_applied),
            bytes_applied: with(self.bytes_applied, other.bytes_applied),
            apply_nanos: with(self.apply_nanos, other.apply_nanos),
            requests_refused: with(self.requests_refused, other.requests_refused),
            ticks: with(self.ticks, other.ticks),
            timers: with(self.timers, other.timers),
            group_turns: with(self.group_turns, other.group_turns),
            campaigns: with(self.campaigns, other.campaigns),
            sessions_ended: with(self.sessions_ended, other.sessions_ended),
            node_heartbeats: with(self.node_heartbeats, other.node_heartbeats),
            strays: with(self.strays, other.strays),
            frames_sent: with(self.frames_sent, other.frames_sent),
            messages_sent: with(self.messages_sent, other.messages_sent),
            node_messages_sent: with(self.node_messages_sent, other.node_messages_sent),
            bytes_sent: with(self.bytes_sent, other.bytes_sent),
            messages_dropped: with(self.messages_dropped, other.messages_dropped),
            frames_received: with(self.frames_received, other.frames_received),
            snapshots_taken: with(self.snapshots_taken, other.snapshots_taken),
            states_synced: with(self.states_synced, other.states_synced),
            snapshots_sent: with(self.snapshots_sent, other.snapshots_sent),
            snapshot_bytes_sent: with(self.snapshot_bytes_sent, other.snapshot_bytes_sent),
            snapshots_installed: with(self.snapshots_installed, other.snapshots_installed),
            replicas_damaged: with(self.replicas_damaged, other.replicas_damaged),
            replicas_repaired: with(self.replicas_repaired, other.replicas_repaired),
            handshakes_refused: self.handshakes_refused.combine(&other.handshakes_refused, with),
        }
    }

    pub(crate) fn read(counters: &Counters, transport: &TransportCounts) -> Self {
        Self {
            fsyncs: counters.fsyncs.get(),
            entries_written: counters.entries_written.get(),
            turns: counters.turns.get(),
            turns_shared: counters.turns_shared.get(),
            flushes_shared: counters.flushes_shared.get(),
            commands_applied: counters.commands_applied.get(),
            bytes_applied: counters.bytes_applied.get(),
            apply_nanos: counters.apply_nanos.get(),
            requests_refused: counters.requests_refused.get(),
            ticks: counters.ticks.get(),
            timers: counters.timers.get(),
            group_turns: counters.group_turns.get(),
            campaigns: counters.campaigns.get(),
            sessions_ended: counters.sessions_ended.get(),
            node_heartbeats: counters.node_heartbeats.get(),
            strays: counters.strays.get(),
            frames_sent: transport.frames_sent,
            messages_sent: transport.messages_sent,
            node_messages_sent: transport.node_messages_sent,
            bytes_sent: transport.bytes_sent,
            messages_dropped: transport.messages_dropped,
            frames_received: transport.frames_received,
            snapshots_taken: counters.snapshots_taken.get(),
            states_synced: counters.states_synced.get(),
            snapshots_sent: counters.snapshots_sent.get(),
            snapshot_bytes_sent: transport.snapshot_bytes_sent,
            snapshots_installed: counters.snapshots_installed.get(),
            replicas_damaged: counters.replicas_damaged.get(),
            replicas_repaired: counters.replicas_repaired.get(),
            handshakes_refused: transport.handshakes_refused,
        }
    }
}

/// Over several nodes.
impl std::iter::Sum for HostMetrics {
    fn sum<I: Iterator<Item = Self>>(readings: I) -> Self {
        readings.fold(Self::default(), |sum, reading| sum.combine(&reading, |a, b| a + b))
    }
}
