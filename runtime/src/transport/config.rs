//! What a node's transport is told, and what can be wrong with it.

use super::codec::CALL_OVERHEAD_BYTES;
use super::network::Network;
use raftyard_groups::NodeId;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Where a node listens and who it is.
#[derive(Clone)]
pub(crate) struct TransportConfig {
    /// Name of the cluster: nodes of another one are refused.
    pub(crate) cluster: String,
    /// This node.
    pub(crate) node: NodeId,
    /// Address to listen on; `host:port` for TCP, port 0 for any free one.
    pub(crate) listen: String,
    /// Where connections come from.
    pub(crate) network: Arc<dyn Network>,
    /// Seed of the jitter between attempts to connect.
    pub(crate) seed: u64,
    /// Bounds.
    pub(crate) limits: TransportLimits,
}

/// Bounds on memory and time. Sizes in bytes.
#[derive(Clone, Debug)]
pub(crate) struct TransportLimits {
    /// A frame ends once it has this many bytes, so that several are on their way at a time.
    pub(crate) frame_bytes_target: usize,
    /// What one call may have on the wire: the bound on a single message that is larger than the target.
    pub(crate) frame_bytes_max: usize,
    /// What may wait for one peer on one lane; what doesn't fit is dropped.
    pub(crate) outbox_bytes_max: usize,
    /// What may be received on the heartbeat lanes, from all peers, and not yet looked at; what doesn't fit is dropped.
    pub(crate) heartbeat_bytes_max: usize,
    /// Calls in flight on one connection.
    pub(crate) window_calls: usize,
    /// No further call starts while this many bytes are in flight on the connection.
    pub(crate) window_bytes: usize,
    /// A connection on which frames are on their way, and nothing moves for this time, is ended: none is acknowledged,
    /// and the socket takes no more of them. So is one whose other end takes no answers for this time.
    pub(crate) call_deadline: Duration,
    /// To connect and be welcomed; also how long a caller may take to say hello.
    pub(crate) connect_deadline: Duration,
    /// Wait after the first failed attempt to connect.
    pub(crate) backoff_min: Duration,
    /// The longest wait between attempts.
    pub(crate) backoff_max: Duration,
    /// Bytes of one chunk of a snapshot.
    pub(crate) snapshot_chunk_bytes: usize,
    /// Bytes of snapshots sent per second, to all peers together.
    pub(crate) snapshot_bytes_per_second: u64,
    /// How long a peer may take to write a chunk, or to verify a whole snapshot.
    pub(crate) snapshot_call_deadline: Duration,
    /// Connections served at a time. A further one takes the place of the oldest that was not welcomed yet; where all
    /// were, it is closed at once.
    pub(crate) connections_max: usize,
}

impl Default for TransportLimits {
    fn default() -> Self {
        Self {
            frame_bytes_target: 1 << 20,
            frame_bytes_max: 32 << 20,
            outbox_bytes_max: 16 << 20,
            heartbeat_bytes_max: 8 << 20,
            window_calls: 4,
            window_bytes: 4 << 20,
            call_deadline: Duration::from_secs(5),
            connect_deadline: Duration::from_secs(2),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(1),
            snapshot_chunk_bytes: 256 << 10,
            snapshot_bytes_per_second: 64 << 20,
            snapshot_call_deadline: Duration::from_secs(60),
            connections_max: 1024,
        }
    }
}

impl TransportLimits {
    /// The largest message that can be sent, in bytes as encoded.
    pub(crate) fn message_bytes_max(&self) -> usize {
        self.frame_bytes_max.saturating_sub(CALL_OVERHEAD_BYTES)
    }

    /// # Errors
    ///
    /// [`TransportError::Limit`] names the field that can't be.
    pub(crate) fn check(&self) -> Result<(), TransportError> {
        let limit = |field, reason| Err(TransportError::Limit { field, reason });
        if self.frame_bytes_target == 0 || self.frame_bytes_target > self.message_bytes_max() {
            return limit("frame_bytes_target", "must be above 0 and fit frame_bytes_max");
        }
        if u32::try_from(self.frame_bytes_max).is_err() {
            return limit("frame_bytes_max", "must be below 4 GiB");
        }
        if self.window_calls == 0 || self.window_calls > 64 {
            return limit("window_calls", "must be 1 to 64");
        }
        if self.window_bytes == 0 {
            return limit("window_bytes", "must be above 0");
        }
        if self.backoff_min.is_zero() || self.backoff_min > self.backoff_max {
            return limit("backoff_min", "must be above 0 and at most backoff_max");
        }
        if self.snapshot_chunk_bytes == 0 || self.snapshot_chunk_bytes > self.message_bytes_max() {
            return limit("snapshot_chunk_bytes", "must be above 0 and fit frame_bytes_max");
        }
        if self.snapshot_bytes_per_second == 0 {
            return limit("snapshot_bytes_per_second", "must be above 0");
        }
        if self.heartbeat_bytes_max == 0 {
            return limit("heartbeat_bytes_max", "must be above 0");
        }
        if self.connections_max == 0 {
            return limit("connections_max", "must be above 0");
        }
        Ok(())
    }
}

/// Why a transport could not be bound. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The address can't be listened on.
    #[error("can't listen on {address}: {source}")]
    Listen {
        /// The address as configured.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// A limit that can't be.
    #[error("transport limit {field} {reason}")]
    Limit {
        /// The limit, by its name.
        field: &'static str,
        /// What must hold.
        reason: &'static str,
    },
}
