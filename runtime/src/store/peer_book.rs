//! The peers that a node was told of while it ran, and the disk by which it knows each.

use super::identity::{read_sealed, write_sealed};
use super::{DiskId, StoreError};
use raftyard_groups::NodeId;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

const FILE: &str = "peers";

/// Where peers are reached, and which disk each had when it was first met. Kept in the data directory as one small
/// file that is replaced as a whole; without a directory it forgets when the process ends.
#[derive(Debug, Default)]
pub(crate) struct PeerBook {
    dir: Option<PathBuf>,
    notes: Notes,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Notes {
    addresses: BTreeMap<NodeId, String>,
    /// Of peers that the configuration names, too.
    disks: BTreeMap<NodeId, DiskId>,
}

impl PeerBook {
    /// The book in a data directory. If there is none yet, an empty one is put there: from the next start that is counted
    /// on `was_there`, and a node without it has forgotten on which disks its peers are.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] if it is not what was written, or gone; [`StoreError::Io`].
    pub(crate) fn open(dir: &Path, was_there: bool) -> Result<Self, StoreError> {
        let notes = read(dir, was_there)?;
        if notes.is_none() {
            write_sealed(dir, FILE, Notes::default().to_text())?;
        }
        Ok(Self {
            dir: Some(dir.to_owned()),
            notes: notes.unwrap_or_default(),
        })
    }

    /// Whether it can be opened. Changes nothing.
    ///
    /// # Errors
    ///
    /// As [`PeerBook::open`].
    pub(super) fn check(dir: &Path, was_there: bool) -> Result<(), StoreError> {
        read(dir, was_there).map(drop)
    }

    /// Where peers are reached that the node was told of while it ran.
    pub(crate) fn addresses(&self) -> &BTreeMap<NodeId, String> {
        &self.notes.addresses
    }

    /// The disks of the peers that were met.
    pub(crate) fn disks(&self) -> &BTreeMap<NodeId, DiskId> {
        &self.notes.disks
    }

    /// Notes where a peer is reached, durably; one that `is_new` has no disk yet.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`]; the note may be on disk or not then, and is not in the book.
    pub(crate) fn set(&mut self, peer: NodeId, address: String, is_new: bool) -> Result<(), StoreError> {
        self.change(|notes| {
            notes.addresses.insert(peer, address);
            if is_new {
                notes.disks.remove(&peer);
            }
        })
    }

    /// Forgets a peer and its disk, durably.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`]; it may be forgotten on disk or not then, and is still in the book.
    pub(crate) fn remove(&mut self, peer: NodeId) -> Result<(), StoreError> {
        self.change(|notes| {
            notes.addresses.remove(&peer);
            notes.disks.remove(&peer);
        })
    }

    /// Notes the disk by which a peer is known from now on, durably.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`]; the note may be on disk or not then, and is not in the book.
    pub(crate) fn set_disk(&mut self, peer: NodeId, disk: DiskId) -> Result<(), StoreError> {
        self.change(|notes| {
            notes.disks.insert(peer, disk);
        })
    }

    fn change(&mut self, change: impl FnOnce(&mut Notes)) -> Result<(), StoreError> {
        let mut notes = self.notes.clone();
        change(&mut notes);
        if let Some(dir) = self.dir.as_ref().filter(|_| notes != self.notes) {
            write_sealed(dir, FILE, notes.to_text())?;
        }
        self.notes = notes;
        Ok(())
    }
}

/// The notes in a data directory; none if there were none yet.
fn read(dir: &Path, was_there: bool) -> Result<Option<Notes>, StoreError> {
    let damaged = |what: &str| StoreError::Damaged {
        path: dir.join(FILE),
        what: what.to_owned(),
    };
    match read_sealed(dir, FILE)? {
        None if was_there => Err(damaged("it is gone, and was there at an earlier start")),
        None => Ok(None),
        Some(text) => Notes::parse(&text)
            .map(Some)
            .ok_or_else(|| damaged("it is no list of peers")),
    }
}

/// Whether an address can be written down.
pub(crate) fn is_address(address: &str) -> bool {
    !address.is_empty() && !address.chars().any(char::is_control)
}

impl Notes {
    fn to_text(&self) -> String {
        let mut text = "format 2\n".to_owned();
        // Writing to a string can't fail.
        for (peer, address) in &self.addresses {
            writeln!(text, "peer {} {address}", peer.0).ok();
        }
        for (peer, disk) in &self.disks {
            writeln!(text, "disk {} {disk}", peer.0).ok();
        }
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        (lines.next() == Some("format 2")).then_some(())?;
        let mut notes = Self::default();
        for line in lines {
            let (kind, note) = line.split_once(' ')?;
            let (node, what) = note.split_once(' ')?;
            let node = NodeId(node.parse().ok()?);
            match kind {
                "peer" => {
                    notes.addresses.insert(node, what.to_owned());
                }
                "disk" => {
                    notes.disks.insert(node, DiskId::parse(what)?);
                }
                _ => return None,
            }
        }
        Some(notes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = PeerBook::open(dir.path(), false).unwrap();
        assert!(book.addresses().is_empty() && book.disks().is_empty());
        book.set(NodeId(4), "kv 4.example:1".to_owned(), true).unwrap();
        book.set(NodeId(5), "[::1]:2".to_owned(), true).unwrap();
        for peer in 4..=6 {
            book.set_disk(NodeId(peer), DiskId(u128::from(peer))).unwrap();
        }
        book.set(NodeId(4), "elsewhere:3".to_owned(), false).unwrap();
        let again = PeerBook::open(dir.path(), true).unwrap();
        assert_eq!(again.notes, book.notes);
        assert_eq!(again.addresses().len(), 2);
        assert_eq!(again.disks().len(), 3, "who moves has the same disk");
        book.remove(NodeId(4)).unwrap();
        book.set(NodeId(5), "[::1]:2".to_owned(), true).unwrap();
        let left = PeerBook::open(dir.path(), true).unwrap();
        assert_eq!(left.addresses().keys().collect::<Vec<_>>(), [&NodeId(5)]);
        assert_eq!(left.disks().keys().collect::<Vec<_>>(), [&NodeId(6)]);
    }

    #[test]
    fn a_book_is_there_once_it_was_opened_and_missed_if_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        for was_there in [false, false, true] {
            drop(PeerBook::open(dir.path(), was_there).unwrap());
        }
        std::fs::remove_file(dir.path().join(FILE)).unwrap();
        let gone = PeerBook::open(dir.path(), true);
        assert!(matches!(gone, Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = PeerBook::open(dir.path(), false).unwrap();
        book.set(NodeId(4), "host:1".to_owned(), true).unwrap();
        book.set_disk(NodeId(4), DiskId::draw()).unwrap();
        let path = dir.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, flipped).unwrap();
            let refused = PeerBook::open(dir.path(), true);
            assert!(matches!(refused, Err(StoreError::Damaged { .. })), "bit {bit}");
        }
    }
}
