//! How a snapshot looks in its file, the same on every node.
//!
//! ```text
//! "RYSNAP" | version (2 bytes) | header length (4 bytes) | header | state | crc32 of all before (4 bytes)
//! ```
//!
//! Fixed numbers are little endian. The header is postcard: group, incarnation, last entry, the membership in
//! force at that entry, and whether it is a witness's, which has no state. The state is postcard of the time of the
//! last command, of what is remembered for sessions, and of the state machine's `Snapshot`.

use super::SnapshotError;
use super::name::SnapshotId;
use crate::membership::MembershipLists;
use crate::store::{MemorySnapshotStore, SnapshotStore};
use bytes::Bytes;
use raftyard_groups::Membership;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"RYSNAP\x02\x00";
const CRC_BYTES: usize = 4;
const PREFIX_BYTES: usize = MAGIC.len() + 4;
/// What is written or read at a time.
const PIECE_BYTES: usize = 256 << 10;

/// What a complete snapshot says of itself. With its id, size and checksum tell whether two files are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) size: u64,
    pub(crate) crc: u32,
    /// The configuration in force at its last entry.
    pub(crate) membership: Arc<Membership>,
}

/// What a snapshot is of, beside its id.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    /// The configuration in force at its last entry.
    pub(crate) membership: Arc<Membership>,
    /// It is for a witness, and has no state.
    pub(crate) is_witness: bool,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    group: u64,
    incarnation: u64,
    term: u64,
    index: u64,
    membership: MembershipLists,
    is_witness: bool,
}

impl Header {
    fn of(id: SnapshotId, stamp: &Stamp) -> Self {
        Self {
            group: id.group.0,
            incarnation: id.incarnation.0,
            term: id.last.term.0,
            index: id.last.index.0,
            membership: MembershipLists::from(&*stamp.membership),
            is_witness: stamp.is_witness,
        }
    }

    fn is_of(&self, id: SnapshotId) -> bool {
        let SnapshotId {
            group,
            incarnation,
            last,
        } = id;
        (self.group, self.incarnation) == (group.0, incarnation.0)
            && (self.term, self.index) == (last.term.0, last.index.0)
    }
}

/// Writes a snapshot piece by piece.
pub(super) struct Writer<'a> {
    store: &'a mut dyn SnapshotStore,
    name: &'a str,
    piece: Vec<u8>,
    written: u64,
    crc: crc32fast::Hasher,
    membership: Arc<Membership>,
}

impl<'a> Writer<'a> {
    pub(super) fn start(
        store: &'a mut dyn SnapshotStore,
        name: &'a str,
        id: SnapshotId,
        stamp: &Stamp,
    ) -> io::Result<Self> {
        let header = postcard::to_stdvec(&Header::of(id, stamp)).map_err(io::Error::other)?;
        let length = u32::try_from(header.len()).map_err(io::Error::other)?;
        store.write(name, 0, &[])?;
        let mut writer = Self {
            store,
            name,
            piece: Vec::with_capacity(PIECE_BYTES),
            written: 0,
            crc: crc32fast::Hasher::new(),
            membership: stamp.membership.clone(),
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
            membership: self.membership.clone(),
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

/// Checks all of a file and that it is this snapshot, for a witness or for any other replica, without keeping it in
/// memory.
pub(super) fn verify(
    store: &dyn SnapshotStore,
    name: &str,
    id: SnapshotId,
    is_witness: bool,
) -> Result<Seal, SnapshotError> {
    let checked = check(store, name, |_| {})?;
    checked.expect(name, id, is_witness)?;
    Ok(checked.seal)
}

/// All of a file that is this snapshot, and where the state begins and ends in it.
pub(super) fn read(
    store: &dyn SnapshotStore,
    name: &str,
    id: SnapshotId,
    is_witness: bool,
) -> Result<(Seal, Vec<u8>), SnapshotError> {
    let (checked, state) = read_whole(store, name)?;
    checked.expect(name, id, is_witness)?;
    Ok((checked.seal, state))
}

/// The same, whichever snapshot it is, but for a witness's.
pub(super) fn read_any(store: &dyn SnapshotStore, name: &str) -> Result<(Seal, Vec<u8>), SnapshotError> {
    let (checked, state) = read_whole(store, name)?;
    checked.expect_witness(name, false)?;
    Ok((checked.seal, state))
}

fn read_whole(store: &dyn SnapshotStore, name: &str) -> Result<(Checked, Vec<u8>), SnapshotError> {
    let mut all = Vec::new();
    let checked = check(store, name, |piece| all.extend_from_slice(piece))?;
    all.truncate(all.len().saturating_sub(CRC_BYTES));
    all.drain(..checked.state_at.min(all.len()));
    Ok((checked, all))
}

/// A file that is intact.
struct Checked {
    seal: Seal,
    header: Header,
    /// Where the state begins.
    state_at: usize,
}

impl Checked {
    fn expect(&self, name: &str, id: SnapshotId, is_witness: bool) -> Result<(), SnapshotError> {
        if !self.header.is_of(id) {
            return Err(SnapshotError::Damaged {
                name: name.to_owned(),
                what: "it is the snapshot of another group or entry".to_owned(),
            });
        }
        self.expect_witness(name, is_witness)
    }

    fn expect_witness(&self, name: &str, is_witness: bool) -> Result<(), SnapshotError> {
        if self.header.is_witness == is_witness {
            return Ok(());
        }
        Err(SnapshotError::Damaged {
            name: name.to_owned(),
            what: "a witness's snapshot is of use to witnesses alone, and no other is to them".to_owned(),
        })
    }
}

fn check(store: &dyn SnapshotStore, name: &str, mut each: impl FnMut(&[u8])) -> Result<Checked, SnapshotError> {
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
    let bytes = usize::try_from(length).ok().and_then(|length| rest.get(..length));
    let bytes = bytes.ok_or_else(|| damaged("its header is cut off"))?;
    let header: Header = postcard::from_bytes(bytes).map_err(|_| damaged("its header can't be read"))?;
    let membership = Membership::try_from(header.membership.clone()).map_err(|error| damaged(&error.to_string()))?;
    if membership.is_empty() {
        return Err(damaged("its membership is of nobody"));
    }
    Ok(Checked {
        seal: Seal {
            size,
            crc,
            membership: Arc::new(membership),
        },
        header,
        state_at: PREFIX_BYTES + bytes.len(),
    })
}

/// All of a snapshot that has no state: what a witness is sent.
pub(super) fn stateless(id: SnapshotId, membership: Arc<Membership>) -> io::Result<(Seal, Bytes)> {
    let stamp = Stamp {
        membership,
        is_witness: true,
    };
    let (mut memory, name) = (MemorySnapshotStore::default(), "stateless");
    let seal = Writer::start(&mut memory, name, id, &stamp)?.finish()?;
    let len = usize::try_from(seal.size).map_err(io::Error::other)?;
    let bytes = memory.read(name, 0, len)?;
    Ok((seal, bytes))
}
