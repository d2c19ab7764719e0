//! The keys of a group as they are sent to another node, and put down there.
//!
//! ```text
//! magic (8), now, changes, count: 8 bytes each
//! per key: its length and the value's (4 bytes each), deadline (0: none) and version (8 each), key, value
//! ```

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::num::NonZeroU64;

use bytes::Bytes;
use fjall::{Readable, Snapshot};
use raftyard::Timestamp;

use super::super::keyspace::Entry;
use super::digest::{Digest, hash};
use super::rows::{self, Head, Kind};
use super::store::{Store, other};

/// What a snapshot begins with. The number changes with the format.
const MAGIC: [u8; 8] = *b"kv-disk1";

/// Bytes that are written at a time when a snapshot is put down.
const PIECE_BYTES: usize = 256 * 1024;

const BUFFER_BYTES: usize = 64 * 1024;

/// Writes what `view` shows of a group.
pub(super) fn write(store: &Store, view: &Snapshot, head: &Head, out: &mut dyn Write) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
    out.write_all(&MAGIC)?;
    out.write_all(&[head.now.0, head.changes, head.count].map(u64::to_le_bytes).concat())?;
    for row in view.prefix(&store.rows, rows::prefix(Kind::Cell, head.generation)) {
        let (name, row) = row.into_inner().map_err(other)?;
        let (key, entry) = rows::decode(rows::rest(&name), &row)?;
        for length in [key.len(), entry.value.len()] {
            let length = u32::try_from(length).map_err(io::Error::other)?;
            out.write_all(&length.to_le_bytes())?;
        }
        let deadline = entry.deadline.map_or(0, NonZeroU64::get);
        out.write_all(&[deadline, entry.version].map(u64::to_le_bytes).concat())?;
        out.write_all(&key)?;
        out.write_all(&entry.value)?;
    }
    out.flush()
}

/// Puts down what [`write()`] wrote as a generation of its own. After an error what was put down is removed.
pub(super) fn read(store: &Store, from: &mut dyn Read) -> io::Result<Head> {
    let generation = store.new_generation();
    let read = put_down(store, generation, &mut BufReader::with_capacity(BUFFER_BYTES, from));
    if read.is_err() {
        store.discard(generation);
    }
    read
}

fn put_down(store: &Store, generation: u64, from: &mut impl Read) -> io::Result<Head> {
    if number::<8>(from)? != MAGIC {
        let problem = "it is no snapshot of a state on disk: do all nodes keep their state alike?";
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    let mut head = Head {
        generation,
        now: Timestamp(u64::from_le_bytes(number(from)?)),
        changes: u64::from_le_bytes(number(from)?),
        count: u64::from_le_bytes(number(from)?),
        keys: Digest::default(),
        records: Digest::default(),
    };
    let mut batch = store.batch();
    let mut bytes = 0;
    for _ in 0..head.count {
        let lengths = [number::<4>(from)?, number(from)?].map(u32::from_le_bytes);
        let deadline = NonZeroU64::new(u64::from_le_bytes(number(from)?));
        let version = u64::from_le_bytes(number(from)?);
        let key = piece(from, lengths[0])?;
        let value = piece(from, lengths[1])?;
        let entry = Entry {
            value: value.into(),
            deadline,
            version,
        };
        let place = rows::place(&key, version);
        if let Some(deadline) = entry.deadline() {
            let name = rows::deadline(generation, deadline, &place);
            head.keys.add(hash(&name, &key));
            batch.insert(&store.rows, name, &key[..]);
        }
        let (name, row) = (rows::cell(generation, &place), rows::encode(&key, &entry));
        bytes += row.len() + place.len();
        head.keys.add(hash(&name, &row));
        batch.insert(&store.rows, name, row);
        if bytes >= PIECE_BYTES {
            bytes = 0;
            std::mem::replace(&mut batch, store.batch()).commit().map_err(other)?;
        }
    }
    batch.commit().map_err(other)?;
    let more = from.read(&mut [0])?;
    if more > 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "more keys than it says"));
    }
    Ok(head)
}

fn number<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Grows with what is there, whatever the length says.
fn piece(from: &mut impl Read, length: u32) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    from.take(length.into()).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == u64::from(length) {
        Ok(bytes.into())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}
