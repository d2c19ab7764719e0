//! Who has a data directory open.

use super::StoreError;
use super::identity::create_dir_durably;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;

const LOCK_FILE: &str = "lock";

/// A data directory is this process's until this is dropped.
///
/// Closing the file alone would not give it up: a child that the process has just begun shares its open files for a
/// moment, until it executes another program.
#[derive(Debug)]
pub(super) struct DirLock(File);

impl DirLock {
    /// Creates the directory if need be and takes it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] or [`StoreError::InUse`].
    pub(super) fn take(dir: &Path) -> Result<Self, StoreError> {
        create_dir_durably(dir)?;
        let path = dir.join(LOCK_FILE);
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(|e| StoreError::io(format!("open {}", path.display()), e))?;
        Self::lock(dir, file)
    }

    /// Takes a directory that is there, if a store was ever opened in it. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] or [`StoreError::InUse`].
    pub(super) fn take_existing(dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = dir.join(LOCK_FILE);
        match File::open(&path) {
            Ok(file) => Self::lock(dir, file).map(Some),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(StoreError::io(format!("open {}", path.display()), e)),
        }
    }

    fn lock(dir: &Path, file: File) -> Result<Self, StoreError> {
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse(dir.to_owned())),
            Err(TryLockError::Error(e)) => {
                let path = dir.join(LOCK_FILE);
                Err(StoreError::io(format!("lock {}", path.display()), e))
            }
        }
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "the lock of a data directory can't be given up before its file is closed");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn what_a_child_inherits_does_not_keep_the_directory() {
        let dir = TempDir::new().unwrap();
        let lock = DirLock::take(dir.path()).unwrap();
        let inherited = lock.0.try_clone().unwrap();
        assert!(matches!(DirLock::take(dir.path()), Err(StoreError::InUse(_))));
        drop(lock);
        let next = DirLock::take(dir.path()).unwrap();
        // And what it closes does not give up the next one's.
        drop(inherited);
        assert!(matches!(DirLock::take(dir.path()), Err(StoreError::InUse(_))));
        drop(next);
        DirLock::take_existing(dir.path()).unwrap().unwrap();
    }
}
