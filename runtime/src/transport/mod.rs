//! How the nodes talk: one transport per node, shared by all its groups.
//!
//! The way of a message, and the file that has each step:
//!
//! 1. A worker hands a batch to [`TransportHandle::send`] (`handle`), which writes each message in packed
//!    form (`wire`) into the [`outbox`] of its peer and [`lane`]: serialisation happens on the worker.
//! 2. What queued while earlier frames were on their way leaves as one [`frame`], one tarpc call
//!    ([`service`]) on the connection of that peer and lane ([`link`]), a few calls in flight, in order.
//! 3. The peer's [`acceptor`] has one [`session`] per connection: it refuses whom it does not know, or knows by another
//!    disk ([`PeerDisks`]), checks each frame, and hands its messages, in order, to [`Inbound`].
//!
//! Snapshots take another way: [`bulk`] sends a file in chunks, each its own call, on a connection that
//! exists only meanwhile; each call is answered when the chunk is written.
//!
//! What is promised: messages of one lane between two nodes arrive in order, each at most once, unchanged.
//! What is not: that they arrive. A full outbox, a broken connection or an absent peer drops messages,
//! counted; Raft sends again what still matters, and what is older would only delay it.
//!
//! Nothing here starts a thread, reads a random source or opens a socket on its own: the tasks run where the
//! [`TransportActor`] is started, jitter is seeded, and connections come from the injected [`Network`].

mod acceptor;
mod actor;
mod backoff;
mod bulk;
mod codec;
mod config;
mod counters;
mod draining;
mod fair;
mod frame;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod guard;
mod handle;
mod handshake;
mod lane;
mod link;
mod network;
#[cfg(any(test, feature = "fuzzing"))]
#[allow(clippy::unwrap_used)]
mod nowhere;
mod outbox;
mod peer_disks;
mod service;
mod session;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use nowhere::nowhere;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use actor::{BoundTransport, RemovePeer, SetPeer, Stop, TransportActor, bind};
pub use bulk::SnapshotTransfer;
pub(crate) use bulk::{Done, Outgoing};
pub use config::TransportError;
pub(crate) use config::{TransportConfig, TransportLimits};
pub(crate) use counters::TransportCounts;
pub(crate) use handle::TransportHandle;
pub use handshake::{HandshakeCounts, HandshakeError, HandshakeRefusal};
pub use network::{ByteStream, Connection, Listener, MemoryNetwork, Network, NetworkFuture, TcpNetwork};
#[cfg(feature = "tls")]
pub use network::{TlsError, TlsFiles, TlsNetwork};
pub(crate) use outbox::Flow;
pub(crate) use peer_disks::{MeetError, PeerDisks};
pub(crate) use service::{SnapshotAnswer, SnapshotChunk, SnapshotOffer, SnapshotPart, chunk_crc};
pub(crate) use session::Inbound;
pub(crate) use wire::NodeParcel;
