//! What stands at the beginning of a segment, of a batch, and in the mark. Numbers are little endian.

/// Bytes of a segment's header.
pub(super) const SEGMENT_HEADER: usize = 32;
/// Bytes of a batch's header.
pub(super) const BATCH_HEADER: usize = 56;
/// What a batch's header begins with; also its version.
pub(super) const BATCH_MAGIC: [u8; 4] = *b"RYB\x02";
const SEGMENT_MAGIC: [u8; 8] = *b"RYSEG\0\0\x02";
const MARK_BYTES: usize = 32;

/// Where the chain of batches stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    /// Number of the next batch.
    pub(super) number: u64,
    /// Checksum of the one before it.
    pub(super) chain: u32,
}

/// What must be known even if the records that say it are lost. Neither ever falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// No replica of the node was ever in a later term.
    pub(super) term_max: u64,
    /// Groups that the node ever had a replica of; [`Totals::UNKNOWN`] if something was lost and nothing says what.
    pub(super) groups: u64,
}

impl Totals {
    /// How many groups there were, if nobody knows that any more.
    pub(super) const UNKNOWN: u64 = u64::MAX;

    /// Whether they cover all that ever was. Once they don't, batches say so: a later term may have been lost too.
    pub(super) fn are_known(&self) -> bool {
        self.groups != Self::UNKNOWN
    }

    pub(super) fn max(self, other: Self) -> Self {
        Self {
            term_max: self.term_max.max(other.term_max),
            groups: self.groups.max(other.groups),
        }
    }
}

/// Where a batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) segment: u32,
    pub(super) at: u64,
}

/// How far the log was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Number of a batch that is durable.
    pub(super) number: u64,
    /// As of that batch.
    pub(super) totals: Totals,
    /// No segment before this one is needed any more.
    pub(super) oldest: u32,
}

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// The segment.
    pub(super) segment: u32,
    /// Its first batch.
    pub(super) first: Link,
}

/// What a batch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum BatchKind {
    /// It holds records.
    Records = 1,
    /// It is the last of its segment, and another one follows.
    Seal = 2,
}

/// The header of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHeader {
    pub(super) kind: BatchKind,
    pub(super) link: Link,
    /// No segment before this one is needed any more, once the batch is durable.
    pub(super) oldest: u32,
    /// Checksum of the lengths, checksums and groups of its records.
    pub(super) digest: u32,
    /// Bytes of its records.
    pub(super) len: u64,
    /// Once the batch is durable.
    pub(super) totals: Totals,
}

impl SegmentHeader {
    pub(super) fn encode(&self, seed: u32) -> [u8; SEGMENT_HEADER] {
        let mut out = [0; SEGMENT_HEADER];
        put(&mut out, 0, &SEGMENT_MAGIC);
        put(&mut out, 8, &self.first.number.to_le_bytes());
        put(&mut out, 16, &self.first.chain.to_le_bytes());
        put(&mut out, 20, &self.segment.to_le_bytes());
        let checksum = checksum(seed, &out[..28]);
        put(&mut out, 28, &checksum.to_le_bytes());
        out
    }

    /// The header that `bytes` begin with; none if it is not what was written for this store.
    pub(super) fn decode(seed: u32, bytes: &[u8]) -> Option<Self> {
        let header = Self {
            segment: u32_at(bytes, 20)?,
            first: Link {
                number: u64_at(bytes, 8)?,
                chain: u32_at(bytes, 16)?,
            },
        };
        (header.encode(seed) == bytes.get(..SEGMENT_HEADER)?).then_some(header)
    }
}

impl BatchHeader {
    /// With its checksum, which the next batch names. That covers where the batch stands, so that one which was
    /// written to the wrong place is none there.
    pub(super) fn encode(&self, seed: u32, position: Position) -> ([u8; BATCH_HEADER], u32) {
        let mut out = [0; BATCH_HEADER];
        put(&mut out, 0, &BATCH_MAGIC);
        put(&mut out, 8, &(self.kind as u32).to_le_bytes());
        put(&mut out, 12, &self.link.chain.to_le_bytes());
        put(&mut out, 16, &self.link.number.to_le_bytes());
        put(&mut out, 24, &self.oldest.to_le_bytes());
        put(&mut out, 28, &self.digest.to_le_bytes());
        put(&mut out, 32, &self.len.to_le_bytes());
        put(&mut out, 40, &self.totals.term_max.to_le_bytes());
        put(&mut out, 48, &self.totals.groups.to_le_bytes());
        let place = checksum(seed, &position.segment.to_le_bytes());
        let place = checksum(place, &position.at.to_le_bytes());
        let checksum = checksum(place, &out[8..]);
        put(&mut out, 4, &checksum.to_le_bytes());
        (out, checksum)
    }

    /// The header that `bytes` begin with, and its checksum; none if it is not what was written for this store and
    /// this place.
    pub(super) fn decode(seed: u32, position: Position, bytes: &[u8]) -> Option<(Self, u32)> {
        if !bytes.starts_with(&BATCH_MAGIC) {
            return None;
        }
        let header = Self {
            kind: match u32_at(bytes, 8)? {
                1 => BatchKind::Records,
                2 => BatchKind::Seal,
                _ => return None,
            },
            link: Link {
                number: u64_at(bytes, 16)?,
                chain: u32_at(bytes, 12)?,
            },
            oldest: u32_at(bytes, 24)?,
            digest: u32_at(bytes, 28)?,
            len: u64_at(bytes, 32)?,
            totals: Totals {
                term_max: u64_at(bytes, 40)?,
                groups: u64_at(bytes, 48)?,
            },
        };
        let (encoded, checksum) = header.encode(seed, position);
        (encoded == bytes.get(..BATCH_HEADER)?).then_some((header, checksum))
    }
}

impl Mark {
    pub(super) fn encode(&self, seed: u32) -> [u8; MARK_BYTES] {
        let mut out = [0; MARK_BYTES];
        put(&mut out, 0, &self.number.to_le_bytes());
        put(&mut out, 8, &self.totals.term_max.to_le_bytes());
        put(&mut out, 16, &self.totals.groups.to_le_bytes());
        put(&mut out, 24, &self.oldest.to_le_bytes());
        let checksum = checksum(seed, &out[..28]);
        put(&mut out, 28, &checksum.to_le_bytes());
        out
    }

    /// None if it is not what was written for this store.
    pub(super) fn decode(seed: u32, bytes: &[u8]) -> Option<Self> {
        let mark = Self {
            number: u64_at(bytes, 0)?,
            totals: Totals {
                term_max: u64_at(bytes, 8)?,
                groups: u64_at(bytes, 16)?,
            },
            oldest: u32_at(bytes, 24)?,
        };
        // What stands behind it is none of it.
        (mark.encode(seed) == bytes.get(..MARK_BYTES)?).then_some(mark)
    }
}

/// A CRC-32 that begins with `seed`.
pub(super) fn checksum(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let (found, _) = bytes.get(at..)?.split_first_chunk()?;
    Some(u32::from_le_bytes(*found))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let (found, _) = bytes.get(at..)?.split_first_chunk()?;
    Some(u64::from_le_bytes(*found))
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in out.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}
