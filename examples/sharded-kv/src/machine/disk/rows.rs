//! What lies where on disk. Numbers are big endian, so that rows stand in their order.
//!
//! ```text
//! h, group                        the group's head, with digests of its records and of its generation's rows
//! r, group, key                   a record of the runtime
//! c, generation, place            a key's deadline (0: none), version, and value
//! d, generation, deadline, place  the key, for those that have a deadline
//!
//! place: hash (6 bytes), 0, key                    a key that is not long
//!        hash (6 bytes), 1, digest (16), version   a long one, which stands before the value in its row
//! ```
//!
//! A generation is all keys of a group at a time: deleting all of them, or restoring a snapshot, begins another. Its number
//! is that of one group and one incarnation alone. Keys stand in the order of their hashes, and a scan goes on from a hash.

use std::io;
use std::num::NonZeroU64;

use bytes::Bytes;
use fjall::Slice;
use raftyard::{GroupId, Timestamp};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::super::command::Version;
use super::super::keyspace::Entry;
use super::digest::Digest;

/// Longest key that stands in the name of its row, in bytes; fjall allows names of 64 KiB.
pub(super) const SHORT_KEY_MAX: usize = 1_024;

/// Bytes of a hash in a place.
const HASH_BYTES: usize = 6;

const NUMBER_BYTES: usize = 8;

/// A kind of rows: the first byte of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Head,
    Record,
    Cell,
    Deadline,
}

impl Kind {
    pub(super) fn of(name: &[u8]) -> io::Result<Self> {
        match name.first() {
            Some(b'h') => Ok(Self::Head),
            Some(b'r') => Ok(Self::Record),
            Some(b'c') => Ok(Self::Cell),
            Some(b'd') => Ok(Self::Deadline),
            _ => Err(damaged()),
        }
    }
}

/// Rows of one kind that belong to one group or generation.
pub(super) fn prefix(kind: Kind, number: u64) -> Vec<u8> {
    let mut name = Vec::with_capacity(64);
    name.push(match kind {
        Kind::Head => b'h',
        Kind::Record => b'r',
        Kind::Cell => b'c',
        Kind::Deadline => b'd',
    });
    name.extend(number.to_be_bytes());
    name
}

/// The group or generation that a row belongs to.
pub(super) fn number(name: &[u8]) -> io::Result<u64> {
    take_number(name.get(1..).unwrap_or_default()).map(|(number, _)| number)
}

/// The row of a key.
pub(super) fn cell(generation: u64, place: &[u8]) -> Vec<u8> {
    let mut name = prefix(Kind::Cell, generation);
    name.extend(place);
    name
}

/// Where the keys with a hash of at least `hash` begin.
pub(super) fn cells_from(generation: u64, hash: u64) -> Vec<u8> {
    let mut name = prefix(Kind::Cell, generation);
    name.extend(hash_bytes(hash));
    name
}

/// The row of a key's deadline.
pub(super) fn deadline(generation: u64, deadline: Timestamp, place: &[u8]) -> Vec<u8> {
    let mut name = prefix(Kind::Deadline, generation);
    name.extend(deadline.0.to_be_bytes());
    name.extend(place);
    name
}

/// The deadline that a row of [`deadline`] is for.
pub(super) fn deadline_of(name: &[u8]) -> io::Result<Timestamp> {
    let (time, _) = take_number(name.get(1 + NUMBER_BYTES..).unwrap_or_default())?;
    Ok(Timestamp(time))
}

/// The row of a record.
pub(super) fn record(group: GroupId, key: &[u8]) -> Vec<u8> {
    let mut name = prefix(Kind::Record, group.0);
    name.extend(key);
    name
}

/// What follows the group or generation in a row's name.
pub(super) fn rest(name: &[u8]) -> &[u8] {
    name.get(1 + NUMBER_BYTES..).unwrap_or_default()
}

/// The place of a key that was not there and is written with this version.
pub(super) fn place(key: &[u8], version: Version) -> Vec<u8> {
    let mut place = search(key);
    if key.len() > SHORT_KEY_MAX {
        place.extend(version.to_be_bytes());
    }
    place
}

/// The hash that the place of a key begins with.
pub(in crate::machine) fn hash(key: &[u8]) -> u64 {
    xxh3_64(key) >> (64 - HASH_BYTES * 8)
}

/// What the place of a key begins with; all of it if the key is not long.
pub(in crate::machine) fn search(key: &[u8]) -> Vec<u8> {
    let mut place = Vec::with_capacity(HASH_BYTES + 1 + key.len().min(SHORT_KEY_MAX));
    place.extend(hash_bytes(hash(key)));
    if key.len() > SHORT_KEY_MAX {
        place.push(1);
        place.extend(xxh3_128(key).to_be_bytes());
    } else {
        place.push(0);
        place.extend(key);
    }
    place
}

/// The hash that a place begins with.
pub(super) fn hash_of(place: &[u8]) -> io::Result<u64> {
    let hash = place.get(..HASH_BYTES).ok_or_else(damaged)?;
    Ok(hash.iter().fold(0, |hash, byte| (hash << 8) | u64::from(*byte)))
}

/// One past the largest hash.
pub(super) const HASHES: u64 = 1 << (HASH_BYTES * 8);

fn hash_bytes(hash: u64) -> [u8; HASH_BYTES] {
    let [_, _, bytes @ ..] = hash.to_be_bytes();
    bytes
}

/// What a key's row holds.
pub(super) fn encode(key: &[u8], entry: &Entry) -> Vec<u8> {
    let long = key.len() > SHORT_KEY_MAX;
    let mut row = Vec::with_capacity(3 * NUMBER_BYTES + entry.value.len() + if long { key.len() } else { 0 });
    row.extend(entry.deadline.map_or(0, NonZeroU64::get).to_be_bytes());
    row.extend(entry.version.to_be_bytes());
    if long {
        row.extend((key.len() as u64).to_be_bytes());
        row.extend(key);
    }
    row.extend(&entry.value[..]);
    row
}

/// A key and what belongs to it, from the place and the contents of its row.
pub(super) fn decode(place: &[u8], row: &[u8]) -> io::Result<(Bytes, Entry)> {
    let (deadline, row) = take_number(row)?;
    let (version, row) = take_number(row)?;
    let (key, value) = match place.get(HASH_BYTES..) {
        Some([0, key @ ..]) => (key, row),
        Some([1, ..]) => {
            let (length, row) = take_number(row)?;
            let length = usize::try_from(length).map_err(|_| damaged())?;
            row.split_at_checked(length).ok_or_else(damaged)?
        }
        _ => return Err(damaged()),
    };
    let entry = Entry {
        value: value.into(),
        deadline: NonZeroU64::new(deadline),
        version,
    };
    Ok((Bytes::copy_from_slice(key), entry))
}

/// How a group is: what is committed with every batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) generation: u64,
    /// The group's time.
    pub(super) now: Timestamp,
    /// The number of the last change.
    pub(super) changes: Version,
    /// How many keys there are.
    pub(super) count: u64,
    /// Of the rows of its generation.
    pub(super) keys: Digest,
    /// Of its records.
    pub(super) records: Digest,
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let Self {
            generation,
            now,
            changes,
            count,
            keys,
            records,
        } = *self;
        let numbers = [generation, now.0, changes, count, keys.0, records.0];
        numbers.map(u64::to_be_bytes).concat()
    }

    pub(super) fn decode(row: &[u8]) -> io::Result<Self> {
        let (generation, row) = take_number(row)?;
        let (now, row) = take_number(row)?;
        let (changes, row) = take_number(row)?;
        let (count, row) = take_number(row)?;
        let (keys, row) = take_number(row)?;
        let (records, _) = take_number(row)?;
        Ok(Self {
            generation,
            now: Timestamp(now),
            changes,
            count,
            keys: Digest(keys),
            records: Digest(records),
        })
    }
}

fn take_number(bytes: &[u8]) -> io::Result<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<NUMBER_BYTES>().ok_or_else(damaged)?;
    Ok((u64::from_be_bytes(*number), rest))
}

/// A name and what lies there.
pub(super) type Row = (Slice, Slice);

pub(super) fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a row of the state can't be read")
}
