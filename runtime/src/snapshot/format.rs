//! How a snapshot looks in its file, the same on every node.
//!
//! ```text
//! "RYSNAP" | version (2 bytes) | header length (4 bytes) | header | state | crc32 of all before (4 bytes)
//! ```
//!
//! Fixed numbers are little endian. The header is postcard: group, incarnation, last entry, membership. The
//! state is postcard of the time of the last command, of what is remembered for sessions, and of the state
//! machine's `Snapshot`; of a state machine on disk it is the length of the first two (8 bytes), those
//! (postcard), and what the state machine wrote.

use super::SnapshotError;
use super::name::SnapshotId;
use crate::store::SnapshotStore;
use bytes::{Buf, Bytes};
use raftyard_groups::{Membership, NodeId};
use serde::{Deserialize, Serialize};
use std::io;

const MAGIC: &[u8; 8] = b"RYSNAP\x02\x00";
const CRC_BYTES: usize = 4;
const PREFIX_BYTES: usize = MAGIC.len() + 4;
/// What is written or read at a time.
const PIECE_BYTES: usize = 256 << 10;

/// Size and checksum of a complete snapshot: with its id they tell whether two files are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) size: u64,
    pub(crate) crc: u32,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    group: u64,
    incarnation: u64,
    term: u64,
    index: u64,
    voters: Vec<u64>,
    outgoing: Vec<u64>,
    learners: Vec<u64>,
}

impl Header {
    fn of(id: SnapshotId, membership: &Membership) -> Self {
        let list = |nodes: &mut dyn Iterator<Item = NodeId>| nodes.map(|node| node.0).collect();
        Self {
            group: id.group.0,
            incarnation: id.incarnation.0,
            term: id.last.term.0,
            index: id.last.index.0,
            voters: list(&mut membership.voters()),
            outgoing: list(&mut membership.outgoing()),
            learners: list(&mut membership.learners()),
        }
    }
}

/// Writes a snapshot piece by piece.
pub(super) struct Writer<'a> {
    store: &'a mut dyn SnapshotStore,
    name: &'a str,
    piece: Vec<u8>,
    written: u64,
    crc: crc32fast::Hasher,
}

impl<'a> Writer<'a> {
    pub(super) fn start(
        store: &'a mut dyn SnapshotStore,
        name: &'a str,
        id: SnapshotId,
        membership: &Membership,
    ) -> io::Result<Self> {
        let header = postcard::to_stdvec(&Header::of(id, membership)).map_err(io::Error::other)?;
        let length = u32::try_from(header.len()).map_err(io::Error::other)?;
        store.write(name, 0, &[])?;
        let mut writer = Self {
            store,
            name,
            piece: Vec::with_capacity(PIECE_BYTES),
            written: 0,
            crc: crc32fast::Hasher::new(),
        };
        io::Write::write_all(&mut writer, MAGIC)?;
        io::Write::write_all(&mut writer, &length.to_le_bytes())?;
        io::Write::write_all(&mut writer, &header)?;
        Ok(writer)
    }

    pub(super) fn finish(mut self) -> io::Result<Seal> {
        self.flush_piece()?;
        let crc = self.crc.clone().finalize();
        self.store.write(self.name, self.written, &crc.to_le_bytes())?;
        Ok(Seal {
            size: self.written + CRC_BYTES as u64,
            crc,
        })
    }

    fn flush_piece(&mut self) -> io::Result<()> {
        self.crc.update(&self.piece);
        self.store.write(self.name, self.written, &self.piece)?;
        self.written += self.piece.len() as u64;
        self.piece.clear();
        Ok(())
    }
}

impl io::Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.flush_piece()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Checks all of a file and that it is this snapshot, without keeping it in memory.
pub(super) fn verify(
    store: &dyn SnapshotStore,
    name: &str,
    id: SnapshotId,
    membership: &Membership,
) -> Result<Seal, SnapshotError> {
    Reader::open(store, name, id, membership)?.finish()
}

/// Reads the state out of a file that is this snapshot, piece by piece. What was read is worth nothing before
/// [`Reader::finish`] found all of the file intact.
pub(super) struct Reader<'a> {
    store: &'a dyn SnapshotStore,
    name: &'a str,
    /// Where the checksum lies: all before it is read.
    end: u64,
    /// Where the next piece begins.
    at: u64,
    /// What of the last piece was not asked for yet.
    piece: Bytes,
    crc: crc32fast::Hasher,
}

impl<'a> Reader<'a> {
    /// Opens a file, and reads up to where the state begins.
    pub(super) fn open(
        store: &'a dyn SnapshotStore,
        name: &'a str,
        id: SnapshotId,
        membership: &Membership,
    ) -> Result<Self, SnapshotError> {
        let size = store.size(name).map_err(|source| failed(name, source))?;
        let size = size.ok_or_else(|| damaged(name, "it is gone"))?;
        let end = size.checked_sub(CRC_BYTES as u64);
        let mut reader = Self {
            store,
            name,
            end: end.ok_or_else(|| damaged(name, "it is cut off"))?,
            at: 0,
            piece: Bytes::new(),
            crc: crc32fast::Hasher::new(),
        };
        reader.fill()?;
        match skip_header(&reader.piece, id, membership) {
            Ok(state) => reader.piece.advance(state),
            // That it is damaged says more than what looks wrong because of that.
            Err(what) => {
                reader.finish()?;
                return Err(damaged(name, what));
            }
        }
        Ok(reader)
    }

    /// Reads what is left, and checks all.
    pub(super) fn finish(mut self) -> Result<Seal, SnapshotError> {
        while self.fill()? {}
        let crc = self.crc.finalize();
        let found = self.store.read(self.name, self.end, CRC_BYTES);
        if found.map_err(|source| failed(self.name, source))? != crc.to_le_bytes()[..] {
            return Err(damaged(self.name, "its checksum fails"));
        }
        Ok(Seal {
            size: self.end + CRC_BYTES as u64,
            crc,
        })
    }

    /// Reads the next piece; false at the end.
    fn fill(&mut self) -> Result<bool, SnapshotError> {
        if self.at >= self.end {
            return Ok(false);
        }
        let left = usize::try_from(self.end - self.at).unwrap_or(PIECE_BYTES);
        let piece = self.store.read(self.name, self.at, left.min(PIECE_BYTES));
        self.piece = piece.map_err(|source| failed(self.name, source))?;
        if self.piece.is_empty() {
            return Err(damaged(self.name, "it ends early"));
        }
        self.crc.update(&self.piece);
        self.at += self.piece.len() as u64;
        Ok(true)
    }
}

impl io::Read for Reader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            self.fill().map_err(io::Error::other)?;
        }
        let length = into.len().min(self.piece.len());
        self.piece.split_to(length).copy_to_slice(into.split_at_mut(length).0);
        Ok(length)
    }
}

/// Checks that a file which begins so is this snapshot; returns where its state begins.
fn skip_header(beginning: &[u8], id: SnapshotId, membership: &Membership) -> Result<usize, &'static str> {
    let (prefix, rest) = beginning
        .split_first_chunk::<PREFIX_BYTES>()
        .ok_or("it has no header")?;
    let (magic, length) = prefix.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err("it is of another format");
    }
    let length = length.try_into().map(u32::from_le_bytes).unwrap_or(u32::MAX);
    let header = usize::try_from(length).ok().and_then(|length| rest.get(..length));
    let header = header.ok_or("its header is cut off")?;
    let found: Header = postcard::from_bytes(header).map_err(|_| "its header can't be read")?;
    if found != Header::of(id, membership) {
        return Err("it is the snapshot of another group, entry or membership");
    }
    Ok(PREFIX_BYTES + header.len())
}

fn failed(name: &str, source: io::Error) -> SnapshotError {
    SnapshotError::Io {
        name: name.to_owned(),
        source,
    }
}

fn damaged(name: &str, what: &str) -> SnapshotError {
    SnapshotError::Damaged {
        name: name.to_owned(),
        what: what.to_owned(),
    }
}
