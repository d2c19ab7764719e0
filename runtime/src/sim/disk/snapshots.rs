//! Snapshots on a simulated disk: what was not published is not durable.

use super::{Blob, Fate, NodeDisk, failed, full};
use crate::sim::vital::Vital;
use crate::store::SnapshotStore;
use bytes::Bytes;
use std::io;

/// The snapshots on a node's disk, as one life of its process has them open.
pub(crate) struct SimSnapshotStore {
    disk: NodeDisk,
    vital: Vital,
}

impl SimSnapshotStore {
    pub(crate) fn open(disk: NodeDisk, vital: Vital) -> Self {
        Self { disk, vital }
    }

    /// What becomes of a change that begins now.
    fn fate(&self, kind: u64, size: usize) -> Fate {
        let mut disk = self.disk.0.lock();
        let fate = if self.vital.is_dead() {
            Fate::Lost
        } else if self.vital.burns_down("a write of a snapshot") {
            disk.failure()
        } else {
            Fate::Done
        };
        disk.trace.event(&[kind, disk.node.0, size as u64, fate as u64]);
        fate
    }

    fn outcome(fate: Fate) -> io::Result<()> {
        match fate {
            Fate::Done => Ok(()),
            Fate::Lost | Fate::Indeterminate => Err(failed()),
        }
    }
}

impl SnapshotStore for SimSnapshotStore {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.disk.0.lock().blobs.keys().cloned().collect())
    }

    fn size(&self, name: &str) -> io::Result<Option<u64>> {
        let disk = self.disk.0.lock();
        Ok(disk.blobs.get(name).map(|blob| blob.bytes.len() as u64))
    }

    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Bytes> {
        let disk = self.disk.0.lock();
        let bytes = &disk.blobs.get(name).ok_or(io::ErrorKind::NotFound)?.bytes;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let end = start.saturating_add(len).min(bytes.len());
        Ok(Bytes::copy_from_slice(bytes.get(start..end).unwrap_or_default()))
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let fate = self.fate(8, bytes.len());
        if fate != Fate::Lost {
            let mut disk = self.disk.0.lock();
            let len = disk.blobs.get(name).map_or(0, |blob| blob.bytes.len());
            let offset = usize::try_from(offset).unwrap_or(usize::MAX);
            if offset > len {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            disk.shrink(len - offset);
            let fits = disk.grow(bytes.len()).map_or_else(|room| room, |()| bytes.len());
            let blob = disk.blobs.entry(name.to_owned()).or_default();
            blob.bytes.truncate(offset);
            blob.bytes.extend_from_slice(bytes.get(..fits).unwrap_or_default());
            blob.is_durable = false;
            if fits < bytes.len() {
                return Err(full());
            }
        }
        Self::outcome(fate)
    }

    fn publish(&mut self, from: &str, to: &str) -> io::Result<()> {
        let fate = self.fate(9, 0);
        if fate != Fate::Lost {
            let mut disk = self.disk.0.lock();
            let Blob { bytes, .. } = disk.blobs.remove(from).ok_or(io::ErrorKind::NotFound)?;
            let is_durable = true;
            if let Some(before) = disk.blobs.insert(to.to_owned(), Blob { bytes, is_durable }) {
                disk.shrink(before.bytes.len());
            }
        }
        Self::outcome(fate)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let fate = self.fate(10, 0);
        if fate != Fate::Lost {
            let mut disk = self.disk.0.lock();
            if let Some(blob) = disk.blobs.remove(name) {
                disk.shrink(blob.bytes.len());
            }
        }
        Self::outcome(fate)
    }
}
