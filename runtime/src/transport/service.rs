//! What nodes ask of each other: the tarpc service and its words.

use super::frame::Frame;
use super::lane::Lane;
use serde::{Deserialize, Serialize};

/// Version of the service and of all it carries. Nodes of different versions refuse each other.
pub(crate) const PROTOCOL: u16 = 1;

/// One node, as seen by another over one connection.
#[tarpc::service]
pub(crate) trait Peer {
    /// Says who calls; the first call of a connection.
    async fn hello(hello: Hello) -> Result<Welcome, Refusal>;
    /// Hands over one frame. The answer says that it was received, not what came of it: Raft's own answers
    /// are messages in the other direction's frames.
    async fn deliver(frame: Frame) -> Result<Receipt, Refusal>;
}

/// Who calls. The shape of this one never changes, so that any two versions can tell each other apart.
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
}

/// The connection may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Welcome;

/// The frame was received and its messages handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt;

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
}
