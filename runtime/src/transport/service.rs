//! What nodes ask of each other: the tarpc service and its words.

use super::frame::Frame;
use super::lane::Lane;
use crate::store::DiskId;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Version of the service and of all it carries. Nodes of different versions refuse each other.
pub(crate) const PROTOCOL: u16 = 5;

/// One node, as seen by another over one connection.
#[tarpc::service]
pub(crate) trait Peer {
    /// Says who calls; the first call of a connection.
    async fn hello(hello: Hello) -> Result<Welcome, Refusal>;
    /// Hands over one frame. The answer says that it was received, not what came of it: Raft's own answers
    /// are messages in the other direction's frames.
    async fn deliver(frame: Frame) -> Result<Receipt, Refusal>;
    /// Offers a snapshot, on a connection of the snapshot lane.
    async fn snapshot_offer(offer: SnapshotOffer) -> Result<SnapshotAnswer, Refusal>;
    /// Hands over the next piece of the snapshot that was offered for that group last.
    async fn snapshot_chunk(chunk: SnapshotChunk) -> Result<SnapshotAnswer, Refusal>;
}

/// Who calls. The shape of this one does not change from protocol 5 on, so that any two versions can tell each other
/// apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// The caller's [`PROTOCOL`].
    pub(crate) protocol: u16,
    /// The cluster it belongs to.
    pub(crate) cluster: String,
    /// Its node id.
    pub(crate) from: u64,
    /// The node it means to talk to.
    pub(crate) to: u64,
    /// What this connection is for.
    pub(crate) lane: Lane,
    /// What it keeps its logs on.
    pub(crate) disk: DiskId,
}

/// The connection may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Welcome {
    /// What the answering node keeps its logs on.
    pub(crate) disk: DiskId,
}

/// The frame was received and its messages handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt;

/// Which snapshot, of whom. Two offers that differ in nothing but the term are of the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotOffer {
    pub(crate) group: u64,
    pub(crate) incarnation: u64,
    /// The term in which the caller leads.
    pub(crate) term: u64,
    /// Term and index of the last entry it holds.
    pub(crate) last_term: u64,
    pub(crate) last_index: u64,
    /// Bytes of its file.
    pub(crate) size: u64,
    /// The checksum at the end of its file.
    pub(crate) crc: u32,
}

/// A piece of a snapshot's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotChunk {
    pub(crate) group: u64,
    /// Where in the file it stands.
    pub(crate) offset: u64,
    /// [`chunk_crc`].
    pub(crate) crc: u32,
    pub(crate) bytes: Bytes,
}

/// What a chunk's checksum is made of: its place, too.
pub(crate) fn chunk_crc(group: u64, offset: u64, bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&group.to_le_bytes());
    crc.update(&offset.to_le_bytes());
    crc.update(bytes);
    crc.finalize()
}

/// What the receiver of a snapshot wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SnapshotAnswer {
    /// The piece that begins here.
    Wanted {
        /// Bytes from the file's start.
        offset: u64,
    },
    /// Nothing: all of it is here, verified and durable, and the group was told.
    Complete,
    /// Not this one: the group does not run here, or it, or a piece of it, is damaged.
    Refused,
}

/// An offer or a piece.
#[derive(Clone, Debug)]
pub(crate) enum SnapshotPart {
    Offer(SnapshotOffer),
    Chunk(SnapshotChunk),
}

/// Why a call was turned down. Nothing of what it carried has had an effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Refusal {
    /// The caller speaks another version.
    #[error("the peer speaks protocol {0}, this node {PROTOCOL}")]
    Protocol(u16),
    /// The caller belongs to another cluster.
    #[error("the peer belongs to cluster {0:?}")]
    Cluster(String),
    /// The caller means another node: its peer list has the wrong address.
    #[error("the peer is node {0}")]
    Target(u64),
    /// The caller is not in the peer list.
    #[error("the peer does not have this node in its peer list")]
    UnknownNode,
    /// A frame before the hello was accepted, or after a frame was refused.
    #[error("the peer wants a hello first")]
    NoHello,
    /// A second hello on one connection.
    #[error("the peer had a hello already")]
    SecondHello,
    /// A frame is missing or came twice.
    #[error("the peer expects frame {0}")]
    Sequence(u64),
    /// The frame's checksum does not match.
    #[error("the frame was damaged on its way")]
    Checksum,
    /// The frame's payload does not hold messages.
    #[error("the peer can't read the frame")]
    Payload,
    /// The caller's certificate is of another node than the caller says it is.
    #[error("this node's certificate is of node {0}")]
    Certificate(u64),
    /// The caller has another disk than when it was met first.
    #[error(
        "the peer knows this node by another disk: a node whose data directory is gone comes back under a new node id"
    )]
    OtherDisk,
    /// The caller was not met before, and its disk can't be noted.
    #[error("the peer can't note this node's disk")]
    NotNoted,
}
