//! Snapshots as files of one directory.

use super::SnapshotStore;
use crate::store::dir_lock::DirLock;
use crate::store::identity::{create_dir_durably, sync_dir};
use crate::store::{SegmentLogStore, StoreError};
use bytes::{Bytes, BytesMut};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file per snapshot.
pub struct DirectorySnapshotStore {
    dir: PathBuf,
    /// Of the data directory that it is in.
    _lock: Option<Arc<DirLock>>,
}

impl DirectorySnapshotStore {
    /// The snapshots in `dir`, which is created if need be. Nobody else may write there.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`], naming the path.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        create_dir_durably(dir)?;
        // A process that was killed before this one may have renamed a snapshot, and not made that durable. Logs are
        // compacted up to what is found.
        sync_dir(dir)?;
        Ok(Self::at(dir))
    }

    /// The same, in the data directory of `logs`, which stays in use as long as this store is: snapshots are written by a
    /// thread of their own, which may end later than that of the logs.
    pub(crate) fn open_beside(logs: &SegmentLogStore, dir: &Path) -> Result<Self, StoreError> {
        let mut store = Self::open(dir)?;
        store._lock = logs.lock();
        Ok(store)
    }

    /// To be only read: nothing is created.
    pub(in crate::store) fn at(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            _lock: None,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl SnapshotStore for DirectorySnapshotStore {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.dir)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        // A name that is not UTF-8 is none of ours.
        names.filter_map(io::Result::transpose).collect()
    }

    fn size(&self, name: &str) -> io::Result<Option<u64>> {
        match fs::metadata(self.path(name)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Bytes> {
        let mut file = File::open(self.path(name))?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = BytesMut::zeroed(len);
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read(rest) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes.freeze())
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(name);
        let mut file = File::options().create(true).truncate(false).write(true).open(path)?;
        file.set_len(offset)?;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)
    }

    fn publish(&mut self, from: &str, to: &str) -> io::Result<()> {
        let from = self.path(from);
        File::open(&from)?.sync_all()?;
        fs::rename(from, self.path(to))?;
        sync_dir(&self.dir).map_err(io::Error::other)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path(name)) {
            Ok(()) => sync_dir(&self.dir).map_err(io::Error::other),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}
