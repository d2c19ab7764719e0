//! By which disk each peer is known.

use crate::store::DiskId;
use futures::future::LocalBoxFuture;
use raftyard_groups::NodeId;

/// Knows each peer by the disk that it had when it was met first. A peer on another one may have forgotten what it
/// promised and acknowledged: nothing is sent to it, and nothing taken from it.
///
/// Called on the transport's thread, for each connection, before anything else travels on it.
pub(crate) trait PeerDisks: Send + Sync + 'static {
    /// This node's own disk.
    fn own(&self) -> DiskId;

    /// A peer is met, and has this disk. At the first meeting it is noted, durably, before this returns.
    ///
    /// # Errors
    ///
    /// [`MeetError`]: the connection must not be used.
    fn meet(&self, peer: NodeId, disk: DiskId) -> LocalBoxFuture<'_, Result<(), MeetError>>;
}

/// Why a peer is not to be talked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MeetError {
    /// It was met on another disk.
    #[error("it is known by another disk")]
    OtherDisk,
    /// It is no peer any more.
    #[error("it was removed")]
    Removed,
    /// It was not met before, and that can't be noted now.
    #[error("its disk can't be noted: {0}")]
    NotNoted(String),
}
