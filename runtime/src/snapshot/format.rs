//! How a snapshot looks in its file, the same on every node.
//!
//! ```text
//! "RYSNAP" | version (2 bytes) | header length (4 bytes) | header | state | crc32 of all before (4 bytes)
//! ```
//!
//! Fixed numbers are little endian. The header is postcard: group, incarnation, last entry, membership; the
//! state is postcard of the time of the last command, of what is remembered for sessions, and of the state
//! machine's `Snapshot`.

use super::SnapshotError;
use super::name::SnapshotId;
use crate::store::SnapshotStore;
use bytes::Bytes;
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
    check(store, name, id, membership, |_| {}).map(|(seal, _)| seal)
}

/// All of a file that is this snapshot, and where the state begins and ends in it.
pub(super) fn read(
    store: &dyn SnapshotStore,
    name: &str,
    id: SnapshotId,
    membership: &Membership,
) -> Result<(Seal, Vec<u8>), SnapshotError> {
    let mut all = Vec::new();
    let (seal, start) = check(store, name, id, membership, |piece| all.extend_from_slice(piece))?;
    all.truncate(all.len().saturating_sub(CRC_BYTES));
    all.drain(..start.min(all.len()));
    Ok((seal, all))
}

fn check(
    store: &dyn SnapshotStore,
    name: &str,
    id: SnapshotId,
    membership: &Membership,
    mut each: impl FnMut(&[u8]),
) -> Result<(Seal, usize), SnapshotError> {
    let failed = |source| SnapshotError::Io {
        name: name.to_owned(),
        source,
    };
    let damaged = |what: &str| SnapshotError::Damaged {
        name: name.to_owned(),
        what: what.to_owned(),
    };
    let size = store.size(name).map_err(failed)?.ok_or_else(|| damaged("it is gone"))?;
    let checked = size
        .checked_sub(CRC_BYTES as u64)
        .ok_or_else(|| damaged("it is cut off"))?;
    let (mut crc, mut at, mut beginning) = (crc32fast::Hasher::new(), 0, Bytes::new());
    while at < checked {
        let len = usize::try_from(checked - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let piece = store.read(name, at, len).map_err(failed)?;
        if piece.is_empty() {
            return Err(damaged("it ends early"));
        }
        crc.update(&piece);
        each(&piece);
        at += piece.len() as u64;
        if beginning.is_empty() {
            beginning = piece;
        }
    }
    let crc = crc.finalize();
    let found = store.read(name, checked, CRC_BYTES).map_err(failed)?;
    each(&found);
    if found != crc.to_le_bytes()[..] {
        return Err(damaged("its checksum fails"));
    }
    let (prefix, rest) = beginning
        .split_first_chunk::<PREFIX_BYTES>()
        .ok_or_else(|| damaged("it has no header"))?;
    let (magic, length) = prefix.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(damaged("it is of another format"));
    }
    let length = length.try_into().map(u32::from_le_bytes).unwrap_or(u32::MAX);
    let header = usize::try_from(length).ok().and_then(|length| rest.get(..length));
    let header = header.ok_or_else(|| damaged("its header is cut off"))?;
    let found: Header = postcard::from_bytes(header).map_err(|_| damaged("its header can't be read"))?;
    if found != Header::of(id, membership) {
        return Err(damaged("it is the snapshot of another group, entry or membership"));
    }
    Ok((Seal { size, crc }, PREFIX_BYTES + header.len()))
}
