//! What a leader tells of its peers.

use crate::group::{Group, Role};
use crate::ids::{LogIndex, NodeId};
use crate::progress::Mode;

/// How a leader serves a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerMode {
    /// It looks for where the logs match.
    Probing,
    /// It sends what it appends.
    Replicating,
    /// The peer needs what is compacted: it waits for a snapshot.
    Snapshot,
}

/// How far a peer is, as its leader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerProgress {
    /// The peer.
    pub node: NodeId,
    /// It holds the leader's log up to here, durably.
    pub matched: LogIndex,
    /// How it is served.
    pub mode: PeerMode,
    /// Milliseconds since it was heard.
    pub silent_ms: u64,
    /// The newest configuration leaves it out: it is still told so.
    pub is_leaving: bool,
}

impl Group {
    /// How far every peer is, sorted by node; nothing unless this replica leads.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerProgress> {
        let Role::Leader(leader) = &self.role else {
            return Vec::new();
        };
        let peers = leader.peers.iter().map(|(node, progress)| PeerProgress {
            node: *node,
            matched: progress.matched,
            mode: match progress.mode {
                Mode::Probe { .. } => PeerMode::Probing,
                Mode::Replicate { .. } => PeerMode::Replicating,
                Mode::Snapshot => PeerMode::Snapshot,
            },
            silent_ms: self.now.since(progress.heard()),
            is_leaving: progress.is_leaving(),
        });
        peers.collect()
    }
}
