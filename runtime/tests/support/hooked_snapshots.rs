//! A snapshot store that a test can have fail.

use bytes::Bytes;
use raftyard::store::{MemorySnapshotStore, SnapshotStore};
use std::io;

/// What a store is about to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Read,
    Write,
    Publish,
    Remove,
}

/// What becomes of it.
pub enum Fate {
    Done,
    /// It fails, and nothing was done.
    Refused(io::Error),
    /// It fails, and was done all the same.
    Unknown(io::Error),
}

impl Fate {
    fn of<T>(self, operation: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self {
            Self::Done => operation(),
            Self::Refused(error) => Err(error),
            Self::Unknown(error) => operation().and(Err(error)),
        }
    }
}

/// Asks its hook what becomes of each operation.
pub struct HookedSnapshots<F> {
    inner: MemorySnapshotStore,
    hook: F,
}

impl<F> HookedSnapshots<F>
where
    F: Fn(Operation) -> Fate + Send + 'static,
{
    pub fn new(inner: MemorySnapshotStore, hook: F) -> Self {
        Self { inner, hook }
    }
}

impl<F> SnapshotStore for HookedSnapshots<F>
where
    F: Fn(Operation) -> Fate + Send + 'static,
{
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn size(&self, name: &str) -> io::Result<Option<u64>> {
        self.inner.size(name)
    }

    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Bytes> {
        (self.hook)(Operation::Read).of(|| self.inner.read(name, offset, len))
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        (self.hook)(Operation::Write).of(|| self.inner.write(name, offset, bytes))
    }

    fn publish(&mut self, from: &str, to: &str) -> io::Result<()> {
        (self.hook)(Operation::Publish).of(|| self.inner.publish(from, to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        (self.hook)(Operation::Remove).of(|| self.inner.remove(name))
    }
}
