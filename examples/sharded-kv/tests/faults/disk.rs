//! A machine's disk: a small file system in memory that can be filled; or, where nothing may be mounted, a directory.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::system::{making, run};

/// Ten times what a node takes during a run, with keys on disk too.
const SIZE: &str = "size=32m";

const FILLER: &str = "filler";

pub(crate) struct Disk {
    dir: PathBuf,
    is_mounted: bool,
}

impl Disk {
    pub(crate) fn new(dir: PathBuf) -> Self {
        fs::create_dir_all(&dir).unwrap();
        let _making = making();
        let path = dir.to_str().unwrap();
        let is_mounted = run(&["mount", "-t", "tmpfs", "-o", SIZE, "raftyard-faults", path]).is_ok();
        Self { dir, is_mounted }
    }

    /// Whether a disk can be made that can be filled.
    pub(crate) fn can_be_filled(dir: &Path) -> bool {
        let is_mounted = Self::new(dir.to_owned()).is_mounted;
        let _ = fs::remove_dir(dir);
        is_mounted
    }

    /// Where the node's data is.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Takes all the room that is left.
    pub(crate) fn fill(&self) {
        let mut file = File::create(self.dir.join(FILLER)).unwrap();
        let mut piece = vec![1; 1 << 20];
        while !piece.is_empty() {
            if file.write_all(&piece).is_err() {
                piece.truncate(piece.len() / 4);
            }
        }
    }

    pub(crate) fn free(&self) {
        fs::remove_file(self.dir.join(FILLER)).unwrap();
    }

    /// Loses everything.
    pub(crate) fn wipe(&self) {
        fs::remove_dir_all(self.data()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = run(&["umount", "--lazy", self.dir.to_str().unwrap_or_default()]);
        }
    }
}
