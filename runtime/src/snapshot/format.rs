//! How a snapshot looks in its file, the same on every node.
//!
//! ```text
//! "RYSNAP" | version (2 bytes) | header length (4 bytes) | header | state | crc32 of all before (4 bytes)
//! ```
//!
//! Fixed numbers are little endian. The header is postcard: group, incarnation, last entry, the membership in
//! force at that entry, and whether it is a witness's, which has no state. The state is postcard of the time of the
//! last command, of what is remembered for sessions, and of the state machine's `Snapshot`; of a state machine on disk
//! it is the length of the first two (8 bytes), those (postcard), and what the state machine wrote.

use super::SnapshotError;
use super::name::{Name, SnapshotId};
use crate::membership::MembershipLists;
use crate::store::{MemorySnapshotStore, SnapshotStore};
use bytes::{Buf, Bytes};
use raftyard_groups::Membership;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"RYSNAP\x02\x00";
const CRC_BYTES: usize = 4;
const PREFIX_BYTES: usize = MAGIC.len() + 4;
/// What is written or read at a time.
const PIECE_BYTES: usize = 256 << 10;
const OF_ANOTHER: &str = "it is the snapshot of another group or entry";

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

    fn expect_witness(&self, is_witness: bool) -> Result<(), String> {
        if self.is_witness == is_witness {
            return Ok(());
        }
        Err("a witness's snapshot is of use to witnesses alone, and no other is to them".to_owned())
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
    Reader::open(store, name, id, is_witness)?.finish()
}

/// Checks all of a file if its name says that it is a complete snapshot, of whichever replica.
pub(crate) fn check_complete(store: &dyn SnapshotStore, name: &str) -> Result<(), SnapshotError> {
    let Some(Name::Complete(id)) = Name::parse(name) else {
        return Ok(());
    };
    let reader = Reader::open_if(store, name, |header| match header.is_of(id) {
        true => Ok(()),
        false => Err(OF_ANOTHER.to_owned()),
    });
    reader?.finish().map(drop)
}

/// Reads the state out of a snapshot's file, piece by piece. What was read is worth nothing before
/// [`Reader::finish`] found all of the file intact.
pub(super) struct Reader<'a> {
    pieces: Pieces<'a>,
    membership: Arc<Membership>,
    /// Why not all of it could be read: it says more than what whoever read makes of that.
    failed: Option<SnapshotError>,
}

impl<'a> Reader<'a> {
    /// Opens a file that has to be this snapshot, and reads up to where the state begins.
    pub(super) fn open(
        store: &'a dyn SnapshotStore,
        name: &'a str,
        id: SnapshotId,
        is_witness: bool,
    ) -> Result<Self, SnapshotError> {
        Self::open_if(store, name, |header| {
            if !header.is_of(id) {
                return Err(OF_ANOTHER.to_owned());
            }
            header.expect_witness(is_witness)
        })
    }

    /// The same, whichever snapshot it is, but for a witness's.
    pub(super) fn open_any(store: &'a dyn SnapshotStore, name: &'a str) -> Result<Self, SnapshotError> {
        Self::open_if(store, name, |header| header.expect_witness(false))
    }

    fn open_if(
        store: &'a dyn SnapshotStore,
        name: &'a str,
        expect: impl FnOnce(&Header) -> Result<(), String>,
    ) -> Result<Self, SnapshotError> {
        let mut pieces = Pieces::open(store, name)?;
        pieces.fill()?;
        let begun = begin(&pieces.piece).and_then(|(header, membership, state)| {
            expect(&header)?;
            Ok((membership, state))
        });
        match begun {
            Ok((membership, state)) => {
                pieces.piece.advance(state);
                Ok(Self {
                    pieces,
                    membership,
                    failed: None,
                })
            }
            Err(what) => {
                // That it is damaged says more than what looks wrong because of that.
                pieces.finish()?;
                Err(SnapshotError::Undecodable {
                    name: name.to_owned(),
                    what,
                })
            }
        }
    }

    /// Reads what is left, and checks all. Once something could not be read, that is what it says.
    pub(super) fn finish(self) -> Result<Seal, SnapshotError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let (size, crc) = self.pieces.finish()?;
        let membership = self.membership;
        Ok(Seal { size, crc, membership })
    }
}

impl io::Read for Reader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let pieces = &mut self.pieces;
        if pieces.piece.is_empty()
            && let Err(error) = pieces.fill()
        {
            let said = io::Error::other(error.to_string());
            self.failed.get_or_insert(error);
            return Err(said);
        }
        let length = into.len().min(pieces.piece.len());
        pieces.piece.split_to(length).copy_to_slice(into.split_at_mut(length).0);
        Ok(length)
    }
}

/// A file, up to its checksum.
struct Pieces<'a> {
    store: &'a dyn SnapshotStore,
    name: &'a str,
    /// Where the checksum lies.
    end: u64,
    /// Where the next piece begins.
    at: u64,
    /// What of the last piece was not taken yet.
    piece: Bytes,
    crc: crc32fast::Hasher,
}

impl<'a> Pieces<'a> {
    fn open(store: &'a dyn SnapshotStore, name: &'a str) -> Result<Self, SnapshotError> {
        let size = store.size(name).map_err(|source| failed(name, source))?;
        let size = size.ok_or_else(|| damaged(name, "it is gone"))?;
        // Of nothing at all the checksum is four zeros: that is no intact file.
        let end = size.checked_sub(CRC_BYTES as u64).filter(|end| *end > 0);
        Ok(Self {
            store,
            name,
            end: end.ok_or_else(|| damaged(name, "it is cut off"))?,
            at: 0,
            piece: Bytes::new(),
            crc: crc32fast::Hasher::new(),
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

    /// Reads what is left, and checks all; returns the file's size and checksum.
    fn finish(mut self) -> Result<(u64, u32), SnapshotError> {
        while self.fill()? {}
        let crc = self.crc.finalize();
        let found = self.store.read(self.name, self.end, CRC_BYTES);
        if found.map_err(|source| failed(self.name, source))? != crc.to_le_bytes()[..] {
            return Err(damaged(self.name, "its checksum fails"));
        }
        Ok((self.end + CRC_BYTES as u64, crc))
    }
}

/// What a file that begins so says of itself, and where its state begins.
fn begin(beginning: &[u8]) -> Result<(Header, Arc<Membership>, usize), String> {
    let (prefix, rest) = beginning
        .split_first_chunk::<PREFIX_BYTES>()
        .ok_or("it has no header")?;
    let (magic, length) = prefix.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err("it is of another format".to_owned());
    }
    let length = length.try_into().map(u32::from_le_bytes).unwrap_or(u32::MAX);
    let bytes = usize::try_from(length).ok().and_then(|length| rest.get(..length));
    let bytes = bytes.ok_or("its header is cut off")?;
    let header: Header = postcard::from_bytes(bytes).map_err(|_| "its header can't be read")?;
    let membership = Membership::try_from(header.membership.clone()).map_err(|error| error.to_string())?;
    if membership.is_empty() {
        return Err("its membership is of nobody".to_owned());
    }
    Ok((header, Arc::new(membership), PREFIX_BYTES + bytes.len()))
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
