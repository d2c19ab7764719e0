//! fjall's lists of its tables, before fjall reads them: it does not compare them with their checksum, and what a list does
//! not name it removes.
//!
//! ```text
//! keyspaces/N/current   the number of the list in force (8 bytes), its checksum (16), 0; little endian
//! keyspaces/N/vM        the list with number M
//! keyspaces/N/tables    the tables
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

/// Refuses lists that are not whole.
///
/// # Errors
///
/// A list is damaged or gone; the disk's.
pub(super) fn check_lists(dir: &Path) -> io::Result<()> {
    for tree in read_dir(&dir.join("keyspaces"))? {
        if let Some(problem) = problem(&tree)? {
            let tree = tree.strip_prefix(dir).unwrap_or(&tree).display();
            let problem = format!("the list of the tables of {tree} {problem}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
    }
    Ok(())
}

fn problem(tree: &Path) -> io::Result<Option<&'static str>> {
    let Some(current) = read(&tree.join("current"))? else {
        // One that was being made when the machine stopped has none yet.
        let is_new = read_dir(&tree.join("tables"))?.is_empty();
        return Ok((!is_new).then_some("is not named"));
    };
    let Some((number, checksum)) = current.split_first_chunk::<8>() else {
        return Ok(Some("is not named"));
    };
    let Some(list) = read(&tree.join(format!("v{}", u64::from_le_bytes(*number))))? else {
        return Ok(Some("is gone"));
    };
    let expected = [&xxh3_128(&list).to_le_bytes()[..], &[0]].concat();
    Ok((checksum != expected).then_some("is damaged: its checksum fails"))
}

/// What a file holds; none if it is not there.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is in a directory; nothing if it is not there.
pub(super) fn read_dir(path: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(path) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
