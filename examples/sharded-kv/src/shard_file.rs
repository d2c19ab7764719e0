//! Remembers in the data directory how many groups share the slots. A start with another number would look for keys in groups
//! that don't hold them, so it is refused.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::slots::ShardMap;

const NAME: &str = "shard-map";

/// Why the data directory can't be used with this shard map.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShardFileError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: \"{text}\" is not \"groups = <number>\"", path.display())]
    Malformed { path: PathBuf, text: String },
    #[error(
        "{}: the data was written with {written} groups, {wanted} are configured; the number can't be changed",
        path.display()
    )]
    Differs { path: PathBuf, written: u16, wanted: u16 },
}

/// Refuses a directory that was written with another number of groups. One that is new or empty fits.
pub(crate) fn check(data_dir: &Path, shard_map: ShardMap) -> Result<(), ShardFileError> {
    let path = data_dir.join(NAME);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(ShardFileError::Io { path, source }),
    };
    let written = text
        .trim()
        .strip_prefix("groups = ")
        .and_then(|number| number.parse().ok());
    match written {
        Some(written) if written == shard_map.groups() => Ok(()),
        Some(written) => Err(ShardFileError::Differs {
            path,
            written,
            wanted: shard_map.groups(),
        }),
        None => Err(ShardFileError::Malformed {
            path,
            text: text.trim().chars().take(64).collect(),
        }),
    }
}

/// Whether the directory was written before.
pub(crate) fn exists(data_dir: &Path) -> bool {
    data_dir.join(NAME).exists()
}

/// Writes the number of groups, durably and as a whole, unless it is there.
pub(crate) fn write(data_dir: &Path, shard_map: ShardMap) -> Result<(), ShardFileError> {
    let path = data_dir.join(NAME);
    if path.exists() {
        return Ok(());
    }
    let draft = data_dir.join(format!("{NAME}.new"));
    let write = || {
        let mut file = File::create(&draft)?;
        writeln!(file, "groups = {}", shard_map.groups())?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        File::open(data_dir)?.sync_all()
    };
    write().map_err(|source| ShardFileError::Io {
        path: path.clone(),
        source,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn map(groups: u16) -> ShardMap {
        ShardMap::new(groups).unwrap()
    }

    #[test]
    fn another_number_of_groups_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        check(dir.path(), map(16)).unwrap();
        write(dir.path(), map(16)).unwrap();
        write(dir.path(), map(16)).unwrap();
        check(dir.path(), map(16)).unwrap();
        let error = check(dir.path(), map(17)).unwrap_err().to_string();
        assert!(
            error.ends_with(
                "shard-map: the data was written with 16 groups, 17 are configured; the number can't be changed"
            ),
            "{error}"
        );
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "groups = ", "groups = 70000", "16"] {
            fs::write(dir.path().join(NAME), text).unwrap();
            let error = check(dir.path(), map(16)).unwrap_err();
            assert!(matches!(error, ShardFileError::Malformed { .. }), "{error}");
        }
    }
}
