//! Whose data directory it is.

use super::StoreError;
use raftyard_groups::NodeId;
use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

const FORMAT: u32 = 4;
const IDENTITY_FILE: &str = "identity";

/// Which node of which cluster keeps its logs in a data directory. Checked at every open: a directory that
/// was mounted or copied to the wrong node would break every promise that node made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreIdentity {
    /// The cluster's name.
    pub cluster: String,
    /// The node.
    pub node: NodeId,
}

impl fmt::Display for StoreIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} of cluster {:?}", self.node, self.cluster)
    }
}

impl StoreIdentity {
    /// What checksums begin with, so that what another node wrote is told from what this one did.
    pub(super) fn seed(&self) -> u32 {
        crc32fast::hash(self.to_text().as_bytes())
    }

    /// The text that stands in the identity file. Two identities are equal if, and only if, their texts are.
    fn to_text(&self) -> String {
        seal(format!(
            "format {FORMAT}\ncluster {:?}\nnode {}\n",
            self.cluster, self.node.0
        ))
    }
}

/// Whose directory it is, in words, and what checksums begin with.
///
/// # Errors
///
/// [`StoreError::Damaged`] if the file is not what was written; [`StoreError::NotOurs`] if it is of another format;
/// [`StoreError::Io`].
pub(super) fn read_identity(dir: &Path) -> Result<(String, u32), StoreError> {
    let path = dir.join(IDENTITY_FILE);
    let text = fs::read(&path).map_err(|e| StoreError::io(format!("read {}", path.display()), e))?;
    let lines = std::str::from_utf8(&text).ok().and_then(unseal);
    let lines = lines.ok_or_else(|| StoreError::Damaged {
        path,
        what: "its checksum fails".into(),
    })?;
    let owner = lines.trim_end().replace('\n', ", ");
    match lines.starts_with(&format!("format {FORMAT}\n")) {
        true => Ok((owner, crc32fast::hash(&text))),
        false => Err(StoreError::NotOurs {
            path: dir.to_owned(),
            found: owner,
            wanted: format!("format {FORMAT}"),
        }),
    }
}

/// Compares the directory's identity; writes it, durably, if there is none and `is_new`.
///
/// # Errors
///
/// [`StoreError::NotOurs`] if it is another's, or nobody's though it is not new; [`StoreError::Damaged`] if
/// the file is not what was written; [`StoreError::Io`].
pub(super) fn claim(dir: &Path, identity: &StoreIdentity, is_new: bool) -> Result<(), StoreError> {
    let path = dir.join(IDENTITY_FILE);
    let not_ours = |found: String| StoreError::NotOurs {
        path: dir.to_owned(),
        found,
        wanted: identity.to_string(),
    };
    let found = match fs::read(&path) {
        Ok(found) => found,
        Err(e) if e.kind() == ErrorKind::NotFound && is_new => return write(dir, identity),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Err(not_ours("nobody: its identity file is gone".into()));
        }
        Err(e) => return Err(StoreError::io(format!("read {}", path.display()), e)),
    };
    if found == identity.to_text().as_bytes() {
        return Ok(());
    }
    match std::str::from_utf8(&found).ok().and_then(unseal) {
        Some(body) => Err(not_ours(body.trim_end().replace('\n', ", "))),
        None => Err(StoreError::Damaged {
            path,
            what: "its checksum fails".into(),
        }),
    }
}

/// Creates a directory and those above it that are missing, so that they outlive a crash. One that is there may have been
/// created by a process that was killed before it was durable.
///
/// # Errors
///
/// [`StoreError::Io`].
pub(super) fn create_dir_durably(dir: &Path) -> Result<(), StoreError> {
    let parent = dir.parent().filter(|parent| *parent != Path::new(""));
    let above = parent.unwrap_or(Path::new("."));
    if dir.is_dir() {
        return match sync_dir(above) {
            Err(StoreError::Io { source, .. }) if is_not_ours(source.kind()) => Ok(()),
            synced => synced,
        };
    }
    if let Some(parent) = parent {
        create_dir_durably(parent)?;
    }
    match fs::create_dir(dir) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => {
            return Err(StoreError::io(format!("create {}", dir.display()), e));
        }
        _ => (),
    }
    sync_dir(above)
}

/// Whether a directory that can't be synced so is none in which something could have been created: it must not be read, or
/// is of a file system that is read only, or knows no syncs of directories. A directory in it is a mount point, say.
fn is_not_ours(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::PermissionDenied | ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::ReadOnlyFilesystem
    )
}

/// Makes what was created, renamed and removed in a directory durable.
///
/// # Errors
///
/// [`StoreError::Io`].
pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| StoreError::io(format!("sync {}", dir.display()), e))
}

fn write(dir: &Path, identity: &StoreIdentity) -> Result<(), StoreError> {
    write_text(dir, IDENTITY_FILE, &identity.to_text())
}

/// Writes a file of lines with a checksum, durably and as a whole, in the place of what was there.
///
/// # Errors
///
/// [`StoreError::Io`].
pub(super) fn write_sealed(dir: &Path, name: &str, lines: String) -> Result<(), StoreError> {
    write_text(dir, name, &seal(lines))
}

/// The lines of a file that [`write_sealed`] wrote; none if there is no such file.
///
/// # Errors
///
/// [`StoreError::Damaged`] if it is not what was written; [`StoreError::Io`].
pub(super) fn read_sealed(dir: &Path, name: &str) -> Result<Option<String>, StoreError> {
    let path = dir.join(name);
    let found = match fs::read(&path) {
        Ok(found) => found,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(StoreError::io(format!("read {}", path.display()), e)),
    };
    match std::str::from_utf8(&found).ok().and_then(unseal) {
        Some(lines) => Ok(Some(lines.to_owned())),
        None => Err(StoreError::Damaged {
            path,
            what: "its checksum fails".into(),
        }),
    }
}

fn write_text(dir: &Path, name: &str, text: &str) -> Result<(), StoreError> {
    let new = dir.join(format!("{name}.new"));
    File::create(&new)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&new, dir.join(name)))
        .map_err(|e| StoreError::io(format!("write {}", new.display()), e))?;
    sync_dir(dir)
}

/// Adds the checksum as the last line.
pub(super) fn seal(body: String) -> String {
    let checksum = crc32fast::hash(body.as_bytes());
    body + &format!("crc32 {checksum:08x}\n")
}

/// What stands above the checksum, if that holds.
pub(super) fn unseal(text: &str) -> Option<&str> {
    let body = text.get(..text.rfind("crc32 ")?)?;
    (seal(body.to_owned()) == text).then_some(body)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    /// What it is mounted in may be of a file system that knows no syncs of directories.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_directory_that_is_there_need_not_lie_in_one_that_can_be_synced() {
        super::create_dir_durably(std::path::Path::new("/proc/self")).unwrap();
    }
}
