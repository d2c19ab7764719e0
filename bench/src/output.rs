//! What a run leaves on the disk: the nodes' data while it runs, and its figures.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result, Seek, Write};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn at(path: &Path, error: &Error) -> Error {
    Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// A directory of its own for the nodes' data, removed at the latest when this is dropped.
pub(crate) struct DataDir(TempDir);

impl DataDir {
    /// Makes one under `parent`, which has to be there.
    ///
    /// # Errors
    ///
    /// Names the directory that can't be written to.
    pub(crate) fn create(parent: &Path) -> Result<Self> {
        let dir = TempDir::with_prefix_in("raftyard-bench-", parent);
        // The error of `tempfile` names a path that was never there.
        Ok(Self(dir.map_err(|error| {
            Error::new(
                error.kind(),
                format!(
                    "{}: no directory can be made in it ({})",
                    parent.display(),
                    error.kind()
                ),
            )
        })?))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Removes it and all that is in it.
    ///
    /// # Errors
    ///
    /// If something of it is left.
    pub(crate) fn remove(self) -> Result<()> {
        let path = self.path().to_owned();
        self.0.close().map_err(|error| at(&path, &error))
    }
}

/// A file for the figures, opened before the run. What it held stays until there is something better; a file
/// that was not there before is removed again if there never is.
pub(crate) struct JsonFile {
    file: File,
    path: PathBuf,
    discard: bool,
}

impl JsonFile {
    /// # Errors
    ///
    /// Names the file that can't be written to.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let is_new = matches!(path.try_exists(), Ok(false));
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        Ok(Self {
            file: file.map_err(|error| at(path, &error))?,
            path: path.to_owned(),
            discard: is_new,
        })
    }

    /// # Errors
    ///
    /// Names the file; what is in it then is unknown.
    pub(crate) fn write(mut self, json: &[u8]) -> Result<()> {
        self.discard = false;
        self.replace(json).map_err(|error| at(&self.path, &error))
    }

    fn replace(&mut self, json: &[u8]) -> Result<()> {
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
            self.file.rewind()?;
        }
        self.file.write_all(json)?;
        self.file.write_all(b"\n")
    }
}

impl Drop for JsonFile {
    fn drop(&mut self) {
        if self.discard
            && let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != ErrorKind::NotFound
        {
            eprintln!("warning: {}", at(&self.path, &error));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_figures_leaves_no_file_and_spoils_none() {
        let dir = TempDir::new().unwrap();
        let (new, old) = (dir.path().join("new.json"), dir.path().join("old.json"));
        std::fs::write(&old, "figures of last week").unwrap();
        drop(JsonFile::open(&new).unwrap());
        drop(JsonFile::open(&old).unwrap());
        assert!(!new.exists());
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "figures of last week");
        JsonFile::open(&old).unwrap().write(b"{}").unwrap();
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "{}\n");
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let dir = TempDir::new().unwrap();
        let missing = dir.path().join("missing");
        let error = JsonFile::open(&missing.join("a.json")).err().unwrap().to_string();
        assert!(error.contains("missing/a.json"), "{error}");
        assert!(JsonFile::open(dir.path()).is_err(), "a directory is no file");
        let error = DataDir::create(&missing).err().unwrap().to_string();
        assert!(error.contains("missing: "), "{error}");
    }

    #[test]
    fn removed_data_is_gone() {
        let parent = TempDir::new().unwrap();
        let data = DataDir::create(parent.path()).unwrap();
        std::fs::write(data.path().join("log"), "x").unwrap();
        data.remove().unwrap();
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
