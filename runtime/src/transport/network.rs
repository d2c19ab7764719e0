//! Where connections come from: injected, so that the same transport runs over TCP, in memory and on a
//! simulated network.

mod memory;
mod tcp;
#[cfg(feature = "tls")]
mod tls;

pub use memory::MemoryNetwork;
use raftyard_groups::NodeId;
use std::future::Future;
use std::io;
use std::pin::Pin;
pub use tcp::TcpNetwork;
#[cfg(all(test, feature = "tls"))]
pub(crate) use tls::HandshakeLimits;
#[cfg(feature = "tls")]
pub use tls::{TlsError, TlsFiles, TlsNetwork};
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection's bytes, both ways.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for T {}

/// A connection that was accepted.
pub struct Connection {
    /// Its bytes.
    pub stream: Box<dyn ByteStream>,
    /// The node that the other end has proved to be. It is then held to it; `None` on a network where every
    /// end is believed.
    pub node: Option<NodeId>,
}

impl Connection {
    /// One whose other end is believed, whoever it claims to be.
    pub fn unproved(stream: impl ByteStream) -> Self {
        Self {
            stream: Box::new(stream),
            node: None,
        }
    }
}

/// What the methods of a [`Network`] return.
pub type NetworkFuture<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// One node's access to the network.
///
/// An implementation that needs to say who connects (a simulated one, one with certificates) is made per
/// node.
pub trait Network: Send + Sync + 'static {
    /// Listens on `address`. Called once, on the thread that will accept.
    ///
    /// # Errors
    ///
    /// Any [`io::Error`]; its text need not name the address.
    fn bind<'a>(&'a self, address: &'a str) -> NetworkFuture<'a, Box<dyn Listener>>;

    /// Connects to `peer` at its `address`, which is looked up anew each time; where ends prove who they are,
    /// only to `peer`. Takes as long as it takes: the caller has a deadline, at which it drops the future.
    ///
    /// # Errors
    ///
    /// Any [`io::Error`]; the caller tries again later. One that carries a
    /// [`HandshakeError`](crate::HandshakeError) is counted by its reason.
    fn connect<'a>(&'a self, peer: NodeId, address: &'a str) -> NetworkFuture<'a, Box<dyn ByteStream>>;
}

/// Takes connections at one address until it is dropped.
pub trait Listener: Send + 'static {
    /// The next connection. Dropping the future must lose none.
    ///
    /// # Errors
    ///
    /// Any [`io::Error`]; the caller waits a little and accepts again. One that carries a
    /// [`HandshakeError`](crate::HandshakeError) concerns one connection: the caller counts it by its reason
    /// and accepts again at once.
    fn accept(&mut self) -> NetworkFuture<'_, Connection>;

    /// Where peers reach it: the address that it was bound to, with the port it got.
    ///
    /// # Errors
    ///
    /// Any [`io::Error`].
    fn local_address(&self) -> io::Result<String>;
}
