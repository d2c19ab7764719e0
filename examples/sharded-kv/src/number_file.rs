//! Numbers that were chosen with the first data, and are remembered beside it: a start with another one is refused.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// How many groups share the slots, in a node's data directory. With another number it would look for keys in groups that
/// don't hold them.
pub(crate) const GROUPS: NumberFile = NumberFile {
    name: "shard-map",
    what: "groups",
};

/// How many nodes `dev` has, in the directory of their data. The groups are of as many: fewer may be no majority, and the groups
/// know no others.
pub(crate) const NODES: NumberFile = NumberFile {
    name: "node-count",
    what: "nodes",
};

/// A file with one line, `what = <number>`.
pub(crate) struct NumberFile {
    name: &'static str,
    what: &'static str,
}

/// Why a directory can't be used with this number.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NumberFileError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: \"{text}\" is not \"{what} = <number>\"", path.display())]
    Malformed {
        path: PathBuf,
        what: &'static str,
        text: String,
    },
    #[error(
        "{}: the data was written with {written} {what}, {wanted} are configured; the number can't be changed",
        path.display()
    )]
    Differs {
        path: PathBuf,
        what: &'static str,
        written: u16,
        wanted: u16,
    },
}

impl NumberFile {
    /// Refuses a directory that was written with another number. One that is new or empty fits.
    pub(crate) fn check(&self, dir: &Path, wanted: u16) -> Result<(), NumberFileError> {
        let (path, what) = (dir.join(self.name), self.what);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(NumberFileError::Io { path, source }),
        };
        let number = text.trim().strip_prefix(what);
        let number = number.and_then(|rest| rest.strip_prefix(" = "));
        match number.and_then(|number| number.parse().ok()) {
            Some(written) => self.compare(path, written, wanted),
            None => Err(NumberFileError::Malformed {
                path,
                what,
                text: text.trim().chars().take(64).collect(),
            }),
        }
    }

    /// Refuses what was written with another number, as `path` shows.
    pub(crate) fn compare(&self, path: PathBuf, written: u16, wanted: u16) -> Result<(), NumberFileError> {
        if written == wanted {
            return Ok(());
        }
        Err(NumberFileError::Differs {
            path,
            what: self.what,
            written,
            wanted,
        })
    }

    /// Whether the directory was written before.
    pub(crate) fn exists(&self, dir: &Path) -> bool {
        dir.join(self.name).exists()
    }

    /// Writes the number, durably and as a whole, unless one is there.
    pub(crate) fn write(&self, dir: &Path, number: u16) -> Result<(), NumberFileError> {
        let path = dir.join(self.name);
        if path.exists() {
            return Ok(());
        }
        let draft = dir.join(format!("{}.new", self.name));
        let write = || {
            fs::create_dir_all(dir)?;
            let mut file = File::create(&draft)?;
            writeln!(file, "{} = {number}", self.what)?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(dir)?.sync_all()
        };
        write().map_err(|source| NumberFileError::Io {
            path: path.clone(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn another_number_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for (file, said) in [
            (
                &GROUPS,
                "shard-map: the data was written with 16 groups, 17 are configured",
            ),
            (
                &NODES,
                "node-count: the data was written with 16 nodes, 17 are configured",
            ),
        ] {
            file.check(dir.path(), 16).unwrap();
            file.write(dir.path(), 16).unwrap();
            file.write(dir.path(), 16).unwrap();
            file.check(dir.path(), 16).unwrap();
            let error = file.check(dir.path(), 17).unwrap_err().to_string();
            assert!(
                error.ends_with(&format!("{said}; the number can't be changed")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "groups = ", "groups = 70000", "nodes = 16", "16"] {
            fs::write(dir.path().join(GROUPS.name), text).unwrap();
            let error = GROUPS.check(dir.path(), 16).unwrap_err();
            assert!(matches!(error, NumberFileError::Malformed { .. }), "{error}");
        }
    }
}
