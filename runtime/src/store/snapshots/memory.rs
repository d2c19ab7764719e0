//! Snapshots in memory.

use super::SnapshotStore;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Snapshots that are gone when the process ends. A clone is another handle on the same: it belongs beside
/// the [`MemoryLogStore`](super::super::MemoryLogStore) of the same node, and must live as long.
#[derive(Clone, Debug, Default)]
pub struct MemorySnapshotStore(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl SnapshotStore for MemorySnapshotStore {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().keys().cloned().collect())
    }

    fn size(&self, name: &str) -> io::Result<Option<u64>> {
        Ok(self.0.lock().get(name).map(|blob| blob.len() as u64))
    }

    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Bytes> {
        let blobs = self.0.lock();
        let blob = blobs.get(name).ok_or(io::ErrorKind::NotFound)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(blob.len());
        let end = start.saturating_add(len).min(blob.len());
        Ok(Bytes::copy_from_slice(blob.get(start..end).unwrap_or_default()))
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut blobs = self.0.lock();
        let blob = blobs.entry(name.to_owned()).or_default();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        if offset > blob.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a write leaves a gap"));
        }
        blob.truncate(offset);
        blob.extend_from_slice(bytes);
        Ok(())
    }

    fn publish(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut blobs = self.0.lock();
        let blob = blobs.remove(from).ok_or(io::ErrorKind::NotFound)?;
        blobs.insert(to.to_owned(), blob);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.0.lock().remove(name);
        Ok(())
    }
}
