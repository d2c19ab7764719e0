//! What a node knows of itself and its cluster at one moment: the source of `INFO` and `CLUSTER`.

use std::sync::Arc;
use std::time::Duration;

use raftyard::NodeId;

use crate::topology::Topology;

/// How this server calls itself.
pub(crate) const SERVER_NAME: &str = "raftyard";

/// The version of Redis whose commands and replies are spoken: clients choose features by it.
pub(crate) const COMPATIBLE_VERSION: &str = "7.0.0";

/// One moment.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    pub(crate) topology: Arc<Topology>,
    /// One place per group: the leader as far as this node knows.
    pub(crate) leaders: Vec<Option<NodeId>>,
    pub(crate) uptime: Duration,
    pub(crate) clients: usize,
    pub(crate) clients_max: usize,
    /// Connections since the start.
    pub(crate) connections: u64,
    /// Commands since the start.
    pub(crate) commands: u64,
    /// Connections closed at once because there were too many.
    pub(crate) rejected: u64,
    /// Connections that did not come to speak TLS.
    pub(crate) tls_failures: u64,
    /// Wrong passwords, and clients that gave none in time.
    pub(crate) access_refusals: u64,
    /// Connections between nodes that were refused because of who the other end is.
    pub(crate) peers_refused: u64,
}
