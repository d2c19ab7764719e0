//! A file system that is really full: a small one in memory, which only a child sees and which is gone with it.

use super::child::{Child, End};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;
use tempfile::TempDir;

const FILLER: &str = "filler";
/// Mounts it at the directory that comes first, then runs the other words.
const MOUNT: &str = "mount -t tmpfs -o size=$1 raftyard-test \"$0\" && shift && exec \"$@\"";

impl Child {
    /// Runs it on a disk of this size, as `mount` understands it; none if there is nothing to mount it with, which is said.
    pub(crate) fn run_on_disk_of(&self, size: &str) -> Option<End> {
        let dir = TempDir::new().unwrap();
        let path = dir.path().to_str().unwrap();
        let mount = ["unshare", "--mount", "sh", "-c", MOUNT, path, size];
        let probe = std::process::Command::new(mount[0])
            .args(&mount[1..])
            .arg("true")
            .output();
        match probe {
            Ok(output) if output.status.success() => Some(self.run_by(&mount, dir.path())),
            _ => {
                println!("nothing may be mounted here: NO DISK IS FULL");
                None
            }
        }
    }
}

/// Takes all the room of a disk, but for so many bytes.
pub(crate) fn fill(dir: &Path, left: u64) {
    let mut file = File::create(dir.join(FILLER)).unwrap();
    let mut piece = vec![1; 1 << 20];
    while !piece.is_empty() {
        match file.write(&piece) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => piece.truncate(piece.len() / 4),
            Err(error) => panic!("{error}"),
        }
    }
    let length = file.metadata().unwrap().len();
    file.set_len(length.saturating_sub(left)).unwrap();
}

pub(crate) fn free(dir: &Path) {
    fs::remove_file(dir.join(FILLER)).unwrap();
}
