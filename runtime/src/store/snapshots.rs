//! Where snapshots lie: named blobs, that are written from their start to their end and then given the name
//! that counts. What is in them and what their names mean is the business of `crate::snapshot`.

mod directory;
mod memory;

pub use directory::DirectorySnapshotStore;
pub use memory::MemorySnapshotStore;

use bytes::Bytes;
use std::io;

/// The snapshots of all groups of a node. Blocking: it lives on the snapshot actor's own thread.
///
/// Every error is an [`io::Error`]; it concerns the one snapshot, and no log is touched because of it.
pub trait SnapshotStore: Send + 'static {
    /// The names of all that is there, in no order.
    ///
    /// # Errors
    ///
    /// Any [`io::Error`].
    fn list(&self) -> io::Result<Vec<String>>;

    /// How many bytes there are under a name; `None` if there is nothing.
    ///
    /// # Errors
    ///
    /// Any [`io::Error`].
    fn size(&self, name: &str) -> io::Result<Option<u64>>;

    /// `len` bytes from `offset` on, or as many as there are.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if there is nothing under this name; any other [`io::Error`].
    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Bytes>;

    /// Writes at `offset`, where what was written so far ends; at 0 it begins anew. Need not be durable.
    ///
    /// # Errors
    ///
    /// Any [`io::Error`]; what is there then is unknown.
    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was written durable and then, atomically and durably, gives it the name `to`, in the place
    /// of what had that name.
    ///
    /// # Errors
    ///
    /// Any [`io::Error`]; it may have either name then.
    fn publish(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes it, if it is there, durably.
    ///
    /// # Errors
    ///
    /// Any [`io::Error`].
    fn remove(&mut self, name: &str) -> io::Result<()>;
}
