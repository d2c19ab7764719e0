//! Batches in segments: appending them, and finding them again.
//!
//! ```text
//! segment := "RYSEG" 0 0 1 | number of its first batch (8) | chain (4) | number of the segment (4) | crc32 (4)
//!            | batch*
//! batch   := "RYB" 1 | crc32 of the rest of the header (4) | kind (4) | chain (4) | number (8)
//!            | oldest segment that is needed (4) | digest (4) | length of the records (8) | records
//! records := { length (4) | record }*
//! ```
//!
//! The digest is the CRC-32 of the lengths and checksums of the records, each of which has its own; so each byte is
//! covered once, and one record can be read and checked alone. The chain is the crc32 of the batch before. Both begin
//! with a seed that differs from node to node.
//!
//! A batch is written once the one before is durable. So one that can't be read, but has others behind it, was
//! durable and is damaged; one at the very end was being written when the machine stopped, unless the mark says that
//! it was durable.

use super::super::StoreError;
use super::super::disk::Disk;
use super::super::record::is_whole;
use super::header::{
    BATCH_HEADER, BATCH_MAGIC, BatchHeader, BatchKind, Link, SEGMENT_HEADER, SegmentHeader, checksum, decode_mark,
    encode_mark, u32_at,
};
use super::index::Place;
use super::usage::Usage;
use bytes::Bytes;
use std::ops::Range;

/// Bytes of the length before each record.
pub(super) const LENGTH: usize = 4;
/// Bytes before the first batch of a segment.
pub(super) const SEGMENT_HEADER_BYTES: u32 = 32;
/// Bytes before the records of a batch.
pub(super) const BATCH_HEADER_BYTES: usize = BATCH_HEADER;
const FIRST_SEGMENT: u32 = 1;

/// The segments of a disk, of which the last is written to.
pub(super) struct Journal<D> {
    pub(super) disk: D,
    pub(super) usage: Usage,
    seed: u32,
    next: Link,
}

/// Records that are put together, to be written as one batch.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// With room for the header in front.
    bytes: Vec<u8>,
    /// What the digest is made of.
    digested: Vec<u8>,
}

impl Batch {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.resize(BATCH_HEADER, 0);
        self.digested.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Gives memory back that only an uncommon batch needed.
    pub(super) fn shrink(&mut self, bytes: usize) {
        self.bytes.shrink_to(bytes);
    }

    /// Adds the record that `encode` appends; says where in the batch it stands.
    pub(super) fn add(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        let frame = self.bytes.len();
        self.bytes.extend_from_slice(&[0; LENGTH]);
        let start = self.bytes.len();
        encode(&mut self.bytes);
        let end = self.bytes.len();
        // A batch that can't be addressed is refused before it is written.
        let length = u32::try_from(end - start).unwrap_or(u32::MAX).to_le_bytes();
        if let Some(frame) = self.bytes.get_mut(frame..start) {
            frame.copy_from_slice(&length);
        }
        let digested = self.bytes.get(frame..start + LENGTH).unwrap_or_default();
        self.digested.extend_from_slice(digested);
        start..end
    }
}

/// Where a batch was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    segment: u32,
    at: u32,
}

impl Written {
    /// Where a record of the batch stands.
    pub(super) fn place(self, record: &Range<usize>) -> Place {
        // All of the batch can be addressed: it was checked before it was written.
        let small = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        Place {
            segment: self.segment,
            at: self.at.saturating_add(small(record.start)),
            len: small(record.len()),
        }
    }
}

/// Begins the first segment of an empty disk.
pub(super) fn found<D: Disk>(disk: &mut D, seed: u32) -> Result<(), StoreError> {
    let (segment, first) = (FIRST_SEGMENT, Link { number: 1, chain: 0 });
    let failed = |disk: &D, e| StoreError::io(format!("create {}", disk.place(segment).display()), e);
    let header = SegmentHeader { segment, first }.encode(seed);
    disk.set_mark(&encode_mark(seed, 0)).map_err(|e| failed(disk, e))?;
    disk.create(segment, &header).map_err(|e| failed(disk, e))
}

impl<D: Disk> Journal<D> {
    /// Nothing of it is known before [`Journal::load`].
    pub(super) fn new(disk: D, seed: u32) -> Self {
        Self {
            disk,
            seed,
            usage: Usage::default(),
            next: Link::default(),
        }
    }

    /// Writes a batch durably. After an error, what is on disk of it is unknown.
    pub(super) fn append(&mut self, batch: &mut Batch) -> Result<Written, StoreError> {
        let len = batch.bytes.len() as u64;
        let (segment, at) = self.usage.head();
        if at + len > self.disk.segment_bytes() && at > SEGMENT_HEADER as u64 {
            self.rotate(segment, at)?;
        }
        let (segment, at) = self.usage.head();
        let start = u32::try_from(at + len).map(|_| at).and_then(u32::try_from);
        let start = start.map_err(|_| {
            let what = format!(
                "write {len} bytes in one batch to {}",
                self.disk.place(segment).display()
            );
            StoreError::io(what, std::io::ErrorKind::FileTooLarge.into())
        })?;
        let header = BatchHeader {
            kind: BatchKind::Records,
            link: self.next,
            oldest: self.usage.oldest_needed(),
            digest: checksum(self.seed, &batch.digested),
            len: len - BATCH_HEADER as u64,
        };
        let (encoded, chain) = header.encode(self.seed);
        if let Some((room, _)) = batch.bytes.split_first_chunk_mut() {
            *room = encoded;
        }
        self.write(segment, at, &batch.bytes)?;
        self.next = Link {
            number: header.link.number + 1,
            chain,
        };
        self.usage.extend_head(len);
        let mark = encode_mark(self.seed, header.link.number);
        self.disk.set_mark(&mark).map_err(|e| self.failed("mark", segment, e))?;
        self.drop_before(header.oldest);
        Ok(Written { segment, at: start })
    }

    /// Ends the segment and begins the next. That one is there before the seal says so.
    fn rotate(&mut self, segment: u32, at: u64) -> Result<(), StoreError> {
        let seal = BatchHeader {
            kind: BatchKind::Seal,
            link: self.next,
            oldest: self.usage.oldest_needed(),
            digest: 0,
            len: 0,
        };
        let (encoded, chain) = seal.encode(self.seed);
        let number = segment.checked_add(1).ok_or_else(|| {
            let full = std::io::ErrorKind::StorageFull;
            self.failed("follow", segment, full.into())
        })?;
        let first = Link {
            number: seal.link.number + 1,
            chain,
        };
        let header = SegmentHeader { segment: number, first }.encode(self.seed);
        let created = self.disk.create(number, &header);
        created.map_err(|e| self.failed("create", number, e))?;
        self.write(segment, at, &encoded)?;
        self.usage.extend_head(BATCH_HEADER as u64);
        self.usage.begin(number, SEGMENT_HEADER as u64);
        self.next = first;
        Ok(())
    }

    fn write(&mut self, segment: u32, at: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.disk.write(segment, at, bytes);
        written.map_err(|e| self.failed("write", segment, e))?;
        self.disk.sync(segment).map_err(|e| self.failed("sync", segment, e))
    }

    /// Removes a segment that the last batch says nobody needs: one at a time, so that no batch waits for long.
    fn drop_before(&mut self, oldest: u32) {
        let Some((tail, _)) = self.usage.tail().filter(|(tail, _)| *tail < oldest) else {
            return;
        };
        match self.disk.remove(tail) {
            Ok(()) => self.usage.drop_tail(),
            Err(error) => {
                let path = self.disk.place(tail);
                tracing::warn!(%error, path = %path.display(), "a segment that nobody needs can't be removed");
            }
        }
    }

    /// Goes through all records from the oldest segment on, each with its place, and finds the end.
    pub(super) fn load(
        &mut self,
        mut visit: impl FnMut(&mut Usage, Place, Bytes) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.usage = Usage::default();
        let listed = self.disk.list();
        let mut segments = listed.map_err(|e| self.failed("list the segments beside", FIRST_SEGMENT, e))?;
        segments.sort_unstable();
        let Some(first) = segments.first().copied() else {
            return Err(self.damaged(FIRST_SEGMENT, "there are no segments"));
        };
        let mut oldest = first;
        let mut next: Option<Link> = None;
        let mut is_sealed = true;
        for (number, at) in (first..).zip(0..segments.len()) {
            if segments.get(at) != Some(&number) {
                return Err(self.damaged(number, "it is missing"));
            }
            let data = self.read_segment(number)?;
            let header = SegmentHeader::decode(self.seed, &data)
                .filter(|header| header.segment == number)
                .ok_or_else(|| self.damaged(number, "its header is not what was written for this store"))?;
            if !is_sealed {
                let is_last = at + 1 == segments.len();
                self.take_back(number, &data, header, next.unwrap_or_default(), is_last)?;
                break;
            }
            if next.is_some_and(|next| next != header.first) {
                return Err(self.damaged(number, "it does not follow the segment before"));
            }
            let mut link = header.first;
            let mut at = SEGMENT_HEADER;
            self.usage.begin(number, at as u64);
            is_sealed = false;
            while let Some(batch) = Scanned::next(self.seed, &data, at, link) {
                for record in &batch.records {
                    let place = Written { segment: number, at: 0 }.place(record);
                    visit(&mut self.usage, place, data.slice(record.clone()))?;
                }
                self.usage.extend_head((batch.end - at) as u64);
                (at, link, oldest) = (batch.end, batch.next, batch.oldest);
                if batch.kind == BatchKind::Seal {
                    is_sealed = true;
                    break;
                }
            }
            if !is_sealed && has_batch_after(self.seed, data.get(at..).unwrap_or_default(), link.number) {
                return Err(self.damaged(number, &format!("batch {} at {at} is damaged", link.number)));
            }
            next = Some(link);
        }
        let (head, _) = self.usage.head();
        if is_sealed {
            return Err(self.damaged(head + 1, "it is missing"));
        }
        if first > oldest {
            return Err(self.damaged(oldest, "it is missing"));
        }
        self.next = next.unwrap_or_default();
        self.check_mark(head)
    }

    /// A segment that was created, but not sealed off from the one before: the machine stopped in between, so nothing
    /// stands in it.
    fn take_back(
        &mut self,
        segment: u32,
        data: &[u8],
        header: SegmentHeader,
        next: Link,
        is_last: bool,
    ) -> Result<(), StoreError> {
        let is_next = header.first.number == next.number + 1;
        if !is_last || !is_next || has_batch_after(self.seed, data, 0) {
            return Err(self.damaged(segment, &format!("batch {} before it is damaged", next.number)));
        }
        self.disk.remove(segment).map_err(|e| self.failed("remove", segment, e))
    }

    fn check_mark(&self, head: u32) -> Result<(), StoreError> {
        let mark = self
            .disk
            .mark()
            .map_err(|e| self.failed("read the mark beside", head, e))?;
        match decode_mark(self.seed, &mark) {
            Some(durable) if durable >= self.next.number => {
                let what = format!("batch {} was durable and is gone or damaged", self.next.number);
                Err(self.damaged(head, &what))
            }
            Some(_) => Ok(()),
            None => {
                tracing::warn!(path = %self.disk.place(head).display(), "the mark beside the log can't be read");
                Ok(())
            }
        }
    }

    fn read_segment(&self, segment: u32) -> Result<Bytes, StoreError> {
        let failed = |e| self.failed("read", segment, e);
        let len = self.disk.len(segment).map_err(failed)?;
        let len = usize::try_from(len).map_err(|_| failed(std::io::ErrorKind::OutOfMemory.into()))?;
        self.disk.read(segment, 0, len).map(Bytes::from).map_err(failed)
    }

    /// The bytes at a place, as many as there are.
    pub(super) fn read(&self, place: Place) -> Result<Bytes, StoreError> {
        let Place { segment, at, len } = place;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let read = self.disk.read(segment, u64::from(at), len);
        read.map(Bytes::from).map_err(|e| self.failed("read", segment, e))
    }

    /// Bytes of the records behind a batch's header.
    pub(super) fn batch_len(&self, header: &[u8]) -> Option<u64> {
        BatchHeader::decode(self.seed, header).map(|(header, _)| header.len)
    }

    fn failed(&self, what: &str, segment: u32, error: std::io::Error) -> StoreError {
        StoreError::io(format!("{what} {}", self.disk.place(segment).display()), error)
    }

    fn damaged(&self, segment: u32, what: &str) -> StoreError {
        StoreError::Damaged {
            path: self.disk.place(segment),
            what: what.to_owned(),
        }
    }
}

/// A batch that was found, all of it checked.
struct Scanned {
    kind: BatchKind,
    oldest: u32,
    records: Vec<Range<usize>>,
    end: usize,
    next: Link,
}

impl Scanned {
    /// The batch at `at`, if it is whole and the one that comes next.
    fn next(seed: u32, data: &[u8], at: usize, next: Link) -> Option<Self> {
        let (header, chain) = BatchHeader::decode(seed, data.get(at..)?)?;
        let start = at + BATCH_HEADER;
        let end = start.checked_add(usize::try_from(header.len).ok()?)?;
        let body = data.get(..end).filter(|_| header.link == next)?;
        let (records, digest) = frames(seed, body, start)?;
        let is_right = header.kind == BatchKind::Seal || header.digest == digest;
        is_right.then_some(Self {
            kind: header.kind,
            oldest: header.oldest,
            records,
            end,
            next: Link {
                number: next.number + 1,
                chain,
            },
        })
    }
}

/// The records from `at` to the end of `data`, whose checksums hold, and their digest.
fn frames(seed: u32, data: &[u8], mut at: usize) -> Option<(Vec<Range<usize>>, u32)> {
    let (mut records, mut digested) = (Vec::new(), Vec::new());
    while at < data.len() {
        let record = frame(data, at)?;
        digested.extend_from_slice(data.get(at..record.start + LENGTH)?);
        if !is_whole(data.get(record.clone())?) {
            return None;
        }
        at = record.end;
        records.push(record);
    }
    Some((records, checksum(seed, &digested)))
}

/// Where the record stands whose length stands at `at`.
pub(super) fn frame(data: &[u8], at: usize) -> Option<Range<usize>> {
    let len = usize::try_from(u32_at(data, at)?).ok()?;
    let start = at + LENGTH;
    Some(start..start.checked_add(len)?)
}

/// Whether a batch with a number beyond this one begins anywhere in `data`.
fn has_batch_after(seed: u32, data: &[u8], number: u64) -> bool {
    let candidates = data.windows(BATCH_MAGIC.len()).enumerate();
    candidates
        .filter(|(_, window)| *window == BATCH_MAGIC)
        .filter_map(|(at, _)| BatchHeader::decode(seed, data.get(at..)?))
        .any(|(header, _)| header.link.number > number)
}
