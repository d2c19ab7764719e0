//! Where connections come from: injected, so that the same transport runs over TCP, in memory and on a
//! simulated network.

mod memory;
mod tcp;

pub use memory::MemoryNetwork;
use std::future::Future;
use std::io;
use std::pin::Pin;
pub use tcp::TcpNetwork;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection's bytes, both ways.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for T {}

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

    /// Connects to a peer's `address`, which is looked up anew each time. Takes as long as it takes: the
    /// caller has a deadline, at which it drops the future.
    ///
    /// # Errors
    ///
    /// Any [`io::Error`]; the caller tries again later.
    fn connect<'a>(&'a self, address: &'a str) -> NetworkFuture<'a, Box<dyn ByteStream>>;
}

/// Takes connections at one address until it is dropped.
pub trait Listener: Send + 'static {
    /// The next connection. Dropping the future must lose none.
    ///
    /// # Errors
    ///
    /// Any [`io::Error`]; the caller waits a little and accepts again.
    fn accept(&mut self) -> NetworkFuture<'_, Box<dyn ByteStream>>;

    /// Where peers reach it: the address that it was bound to, with the port it got.
    ///
    /// # Errors
    ///
    /// Any [`io::Error`].
    fn local_address(&self) -> io::Result<String>;
}
