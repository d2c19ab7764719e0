//! The peers that a node was told of while it ran.

use super::StoreError;
use super::identity::{read_sealed, write_sealed};
use raftyard_groups::NodeId;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

const FILE: &str = "peers";

/// Where peers are reached, kept in the data directory as one small file that is replaced as a whole. Without a
/// directory it forgets when the process ends.
#[derive(Debug, Default)]
pub(crate) struct PeerBook {
    dir: Option<PathBuf>,
    peers: BTreeMap<NodeId, String>,
}

impl PeerBook {
    /// The book in a data directory; an empty one if there is none yet.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] if it is not what was written; [`StoreError::Io`].
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        let peers = match read_sealed(dir, FILE)? {
            None => BTreeMap::new(),
            Some(text) => parse(&text).ok_or_else(|| StoreError::Damaged {
                path: dir.join(FILE),
                what: "it is no list of peers".to_owned(),
            })?,
        };
        Ok(Self {
            dir: Some(dir.to_owned()),
            peers,
        })
    }

    pub(crate) fn peers(&self) -> &BTreeMap<NodeId, String> {
        &self.peers
    }

    /// Notes where a peer is reached, durably; `None` forgets it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`]; the note may be on disk or not then, and is not in the book.
    pub(crate) fn set(&mut self, peer: NodeId, address: Option<String>) -> Result<(), StoreError> {
        let mut peers = self.peers.clone();
        match address {
            Some(address) => peers.insert(peer, address),
            None => peers.remove(&peer),
        };
        if let Some(dir) = self.dir.as_ref().filter(|_| peers != self.peers) {
            write_sealed(dir, FILE, to_text(&peers))?;
        }
        self.peers = peers;
        Ok(())
    }
}

/// Whether an address can be written down.
pub(crate) fn is_address(address: &str) -> bool {
    !address.is_empty() && !address.chars().any(char::is_control)
}

fn to_text(peers: &BTreeMap<NodeId, String>) -> String {
    let mut text = "format 1\n".to_owned();
    for (peer, address) in peers {
        // Writing to a string can't fail.
        writeln!(text, "peer {} {address}", peer.0).ok();
    }
    text
}

fn parse(text: &str) -> Option<BTreeMap<NodeId, String>> {
    let mut lines = text.lines();
    (lines.next() == Some("format 1")).then_some(())?;
    lines
        .map(|line| {
            let (node, address) = line.strip_prefix("peer ")?.split_once(' ')?;
            Some((NodeId(node.parse().ok()?), address.to_owned()))
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = PeerBook::open(dir.path()).unwrap();
        assert!(book.peers().is_empty());
        book.set(NodeId(4), Some("kv 4.example:1".to_owned())).unwrap();
        book.set(NodeId(5), Some("[::1]:2".to_owned())).unwrap();
        book.set(NodeId(4), Some("elsewhere:3".to_owned())).unwrap();
        let again = PeerBook::open(dir.path()).unwrap();
        assert_eq!(again.peers(), book.peers());
        assert_eq!(again.peers().len(), 2);
        book.set(NodeId(4), None).unwrap();
        let left = PeerBook::open(dir.path()).unwrap();
        assert_eq!(left.peers().keys().collect::<Vec<_>>(), [&NodeId(5)]);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = PeerBook::open(dir.path()).unwrap();
        book.set(NodeId(4), Some("host:1".to_owned())).unwrap();
        let path = dir.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, flipped).unwrap();
            let refused = PeerBook::open(dir.path());
            assert!(matches!(refused, Err(StoreError::Damaged { .. })), "bit {bit}");
        }
    }
}
