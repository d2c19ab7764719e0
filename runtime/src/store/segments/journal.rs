//! Batches in segments: appending them.
//!
//! ```text
//! segment := "RYSEG" 0 0 2 | number of its first batch (8) | chain (4) | number of the segment (4) | crc32 (4)
//!            | batch*
//! batch   := "RYB" 2 | crc32 of where it stands and the rest of the header (4) | kind (4) | chain (4) | number (8)
//!            | oldest segment that is needed (4) | digest (4) | length of the records (8) | totals | records
//! records := { length (4) | record }*
//! totals  := largest term that a replica was ever in (8) | groups that the node ever had (8)
//! mark    := number of a batch that is durable (8) | totals | oldest segment that is needed (4) | crc32 (4)
//! ```
//!
//! The digest is the CRC-32 of the lengths, checksums and groups of the records, each of which has a checksum of its
//! own; so one record can be read and checked alone, and whose it was is known even if it is damaged. The chain is the
//! crc32 of the batch before. All begin with a seed that differs from node to node.
//!
//! A batch is written once the one before is durable. So one that can't be read, but has others behind it, was
//! durable and is damaged; one at the very end was being written when the machine stopped, unless the mark says that
//! it was durable. The totals say what must be known even of a batch that is lost.

use super::super::StoreError;
use super::super::disk::{Disk, is_full};
use super::super::record::{Back, checksum_of};
use super::header::{
    BATCH_HEADER, BatchHeader, BatchKind, Link, Mark, Position, SEGMENT_HEADER, SegmentHeader, Totals, checksum, u32_at,
};
use super::index::Place;
use super::survey::Survey;
use super::usage::Usage;
use crate::registry::IdMap;
use bytes::Bytes;
use raftyard_groups::GroupId;
use std::ops::Range;

/// Bytes of the length before each record.
pub(super) const LENGTH: usize = 4;
/// Bytes before the first batch of a segment.
pub(super) const SEGMENT_HEADER_BYTES: u32 = 32;
/// Bytes before the records of a batch.
pub(super) const BATCH_HEADER_BYTES: usize = BATCH_HEADER;
pub(super) const FIRST_SEGMENT: u32 = 1;
/// What a batch may have, with its header, to be addressed in a segment of its own.
pub(super) const BATCH_BYTES_MAX: u64 = (u32::MAX - SEGMENT_HEADER_BYTES) as u64;
/// Segments that are removed after a batch, at most: so that none waits for long.
const REMOVED_MAX: usize = 4;
/// How often the pause doubles when one segment after the other can't be removed.
const PAUSE_DOUBLES: u32 = 10;

/// The segments of a disk, of which the last is written to.
pub(super) struct Journal<D> {
    pub(super) disk: D,
    pub(super) usage: Usage,
    pub(super) seed: u32,
    pub(super) next: Link,
    /// The oldest segment that the last batch says is needed.
    oldest: u32,
    /// Those of the mark that is durable, as far as it is known.
    marked: Totals,
    removal: Removal,
}

/// How removing segments goes.
#[derive(Debug, Default)]
struct Removal {
    /// How often one could not be removed, one time after the other.
    failed: u32,
    /// So many times it is not tried.
    pause: u32,
}

/// The last record of each group.
pub(super) type Backs = IdMap<GroupId, Back>;

/// Records that are put together, to be written as one batch.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// With room for the header in front.
    bytes: Vec<u8>,
    /// What the digest is made of.
    digested: Vec<u8>,
    /// The last record in it of each group.
    backs: Backs,
    /// Once it is durable.
    totals: Totals,
    /// Groups as long as it is not.
    groups_before: u64,
}

impl Batch {
    /// Begins another one, with these totals so far.
    pub(super) fn clear(&mut self, totals: Totals) {
        self.bytes.clear();
        self.bytes.resize(BATCH_HEADER, 0);
        self.digested.clear();
        self.backs.clear();
        self.totals = totals;
        self.groups_before = totals.groups;
    }

    /// Something in it raises these.
    pub(super) fn raise(&mut self, totals: Totals) {
        self.totals = self.totals.max(totals);
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// The last record of each group, once the batch was written.
    pub(super) fn drain_backs(&mut self, written: Written) -> impl Iterator<Item = (GroupId, Back)> {
        let segment = written.segment;
        self.backs
            .drain()
            .map(move |(group, back)| (group, Back { segment, ..back }))
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Gives memory back that only an uncommon batch needed.
    pub(super) fn shrink(&mut self, bytes: usize) {
        self.bytes.shrink_to(bytes);
    }

    /// Adds the record of a group that `encode` appends; it is told the group's record before, which is the one in
    /// `backs` if the batch holds none. Says where in the batch it stands.
    pub(super) fn add(
        &mut self,
        backs: &Backs,
        group: GroupId,
        encode: impl FnOnce(&mut Vec<u8>, Back),
    ) -> Range<usize> {
        let back = self.backs.get(&group).or_else(|| backs.get(&group)).copied();
        let frame = self.bytes.len();
        self.bytes.extend_from_slice(&[0; LENGTH]);
        let start = self.bytes.len();
        encode(&mut self.bytes, back.unwrap_or(Back::NONE));
        let end = self.bytes.len();
        // A batch that can't be addressed is refused before it is written.
        let length = u32::try_from(end - start).unwrap_or(u32::MAX).to_le_bytes();
        if let Some(frame) = self.bytes.get_mut(frame..start) {
            frame.copy_from_slice(&length);
        }
        let digested = self.bytes.get(frame..start + LENGTH).unwrap_or_default();
        self.digested.extend_from_slice(digested);
        self.digested.extend_from_slice(&group.0.to_le_bytes());
        let record = self.bytes.get(start..end).and_then(checksum_of);
        let back = Back {
            checksum: record.unwrap_or_default(),
            segment: 0,
        };
        self.backs.insert(group, back);
        start..end
    }
}

/// Where a batch was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    pub(super) segment: u32,
    pub(super) at: u32,
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
    let mark = Mark {
        number: 0,
        totals: Totals::default(),
        oldest: segment,
    };
    disk.set_mark(&mark.encode(seed)).map_err(|e| failed(disk, e))?;
    disk.create(segment, &header).map_err(|e| failed(disk, e))
}

impl<D: Disk> Journal<D> {
    /// Nothing of it is known before [`Journal::survey`].
    pub(super) fn new(disk: D, seed: u32) -> Self {
        Self {
            disk,
            seed,
            usage: Usage::default(),
            next: Link::default(),
            oldest: 0,
            marked: Totals::default(),
            removal: Removal::default(),
        }
    }

    /// Whether it has no batch, as far as it was surveyed.
    pub(super) fn is_blank(&self) -> bool {
        self.next.number <= 1
    }

    /// Writes a batch durably, for which what nobody needs has to make room, if there is none. After an error, what is on
    /// disk of it is unknown; [`StoreError::Full`] says that it is nothing.
    pub(super) fn append(&mut self, batch: &mut Batch) -> Result<Written, StoreError> {
        let mut appended = self.try_append(batch);
        if matches!(appended, Err(StoreError::Full { .. })) {
            self.removal.pause = 0;
            if self.drop_oldest() {
                while self.drop_oldest() {}
                appended = self.try_append(batch);
            }
        }
        let mut removed = 0;
        while appended.is_ok() && removed < REMOVED_MAX && self.drop_oldest() {
            removed += 1;
        }
        appended
    }

    fn try_append(&mut self, batch: &mut Batch) -> Result<Written, StoreError> {
        let len = batch.bytes.len() as u64;
        let (segment, at) = self.usage.head();
        if at + len > self.disk.segment_bytes() && at > SEGMENT_HEADER as u64 {
            // The batch may never be durable: then there are no more groups. (A later term than there was does no harm.)
            let groups = batch.groups_before;
            self.rotate(segment, at, Totals { groups, ..batch.totals })?;
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
            totals: batch.totals,
        };
        let (encoded, chain) = header.encode(self.seed, Position { segment, at });
        if let Some((room, _)) = batch.bytes.split_first_chunk_mut() {
            *room = encoded;
        }
        self.write(segment, at, &batch.bytes)?;
        self.next = Link {
            number: header.link.number + 1,
            chain,
        };
        self.usage.extend_head(len);
        self.set_mark(header.link.number, header.totals, header.oldest)?;
        // What is lost behind the batch that the mark on disk names is covered by the mark: nobody may hear of a later term,
        // or of a group, before that is said there.
        if header.totals != self.marked {
            self.sync_mark(header.totals)?;
        }
        Ok(Written { segment, at: start })
    }

    /// Notes that a batch is durable, and all before it.
    fn set_mark(&mut self, number: u64, totals: Totals, oldest: u32) -> Result<(), StoreError> {
        let mark = Mark { number, totals, oldest }.encode(self.seed);
        let set = self.disk.set_mark(&mark);
        set.map_err(|e| self.failed("set the mark beside", self.usage.head().0, e))?;
        self.oldest = oldest;
        Ok(())
    }

    pub(super) fn sync_mark(&mut self, totals: Totals) -> Result<(), StoreError> {
        let synced = self.disk.sync_mark();
        synced.map_err(|e| self.failed("sync the mark beside", self.usage.head().0, e))?;
        self.marked = totals;
        Ok(())
    }

    /// Makes durable what was found at the end of the log, and that it is. The machine may have either in its memory alone: the
    /// process ended before it was synced, or the sync failed.
    pub(super) fn confirm(&mut self, survey: &Survey) -> Result<(), StoreError> {
        if survey.is_blank() {
            return Ok(());
        }
        if let Some(last) = &survey.last {
            let Position { segment, at } = last.position;
            let rewritten = self.disk.rewrite(segment, at, &last.bytes);
            rewritten.map_err(|e| self.failed("rewrite the end of", segment, e))?;
        }
        self.put_mark(survey)
    }

    fn put_mark(&mut self, survey: &Survey) -> Result<(), StoreError> {
        let Mark { number, totals, oldest } = survey.mark();
        self.set_mark(number, totals, oldest)?;
        self.sync_mark(totals)
    }

    /// Ends the segment and begins the next. That one is there before the seal says so.
    fn rotate(&mut self, segment: u32, at: u64, totals: Totals) -> Result<(), StoreError> {
        let seal = BatchHeader {
            kind: BatchKind::Seal,
            link: self.next,
            oldest: self.usage.oldest_needed(),
            digest: 0,
            len: 0,
            totals,
        };
        let (encoded, chain) = seal.encode(self.seed, Position { segment, at });
        let first = Link {
            number: seal.link.number + 1,
            chain,
        };
        let number = self.create_after(segment, first)?;
        if let Err(error) = self.write(segment, at, &encoded) {
            if matches!(error, StoreError::Full { .. }) {
                // What comes next may still go into the one before: then it must not be there.
                let removed = self.disk.remove(number);
                removed.map_err(|e| self.failed("remove", number, e))?;
            }
            return Err(error);
        }
        self.usage.extend_head(BATCH_HEADER as u64);
        self.usage.begin(number, SEGMENT_HEADER as u64);
        self.next = first;
        Ok(())
    }

    /// Begins the segment after the newest, though nothing ends the one before: that one is damaged, or a later one is
    /// missing. What was found is to be confirmed before: the segment says how many batches came before it, and one that is
    /// missed there is missed for ever.
    pub(super) fn begin_after(&mut self, survey: &Survey) -> Result<(), StoreError> {
        self.next = survey.beyond;
        // A stray one stays: it says that nothing else came before it. So there is one number more, and its chain goes on.
        if let Some(stray) = survey.stray {
            self.next = Link {
                number: survey.beyond.number.saturating_add(1),
                chain: stray.chain,
            };
        }
        let number = self.create_after(survey.newest, self.next)?;
        self.usage.begin_beyond(number, SEGMENT_HEADER as u64);
        // One of which nothing is left is what says that something was lost.
        self.usage.hold_from(survey.oldest);
        Ok(())
    }

    /// Removes a segment that was not sealed off from the one before, which goes on.
    pub(super) fn remove_stray(&mut self, stray: u32) -> Result<(), StoreError> {
        // A seal that is torn, or rotted, stands where the next batch goes: one that is torn too could make it whole. Only the
        // machine's memory may have it blank. It needs no room.
        let (head, at) = self.usage.head();
        let read = self.disk.read(head, at, BATCH_HEADER);
        let seal = read.map_err(|e| self.failed("read", head, e))?;
        let blanked = self.disk.rewrite(head, at, &vec![0; seal.len()]);
        blanked.map_err(|e| self.failed("rewrite the end of", head, e))?;
        let removed = self.disk.remove(stray);
        removed.map_err(|e| self.failed("remove", stray, e))
    }

    /// Gives back the room of the segments that were begun behind what was found: they don't count, and others will be begun
    /// in their place.
    pub(super) fn take_back(&mut self, survey: &Survey) -> Result<(), StoreError> {
        // It names a batch in one of them.
        self.put_mark(survey)?;
        loop {
            let (head, _) = self.usage.head();
            if head <= survey.newest {
                return Ok(());
            }
            // Who finds a seal misses the segment behind it, and all that may have stood there.
            let before = self.usage.before_head();
            if let Some((before, len)) = before.filter(|(before, _)| *before > survey.newest) {
                self.write(before, len.saturating_sub(BATCH_HEADER as u64), &[0; BATCH_HEADER])?;
            }
            let removed = self.disk.remove(head);
            removed.map_err(|e| self.failed("remove", head, e))?;
            self.usage.drop_head();
        }
    }

    /// Creates the segment after another one, to begin with this batch.
    fn create_after(&mut self, segment: u32, first: Link) -> Result<u32, StoreError> {
        let number = segment.checked_add(1).ok_or_else(|| {
            let full = std::io::ErrorKind::StorageFull;
            self.failed("follow", segment, full.into())
        })?;
        let header = SegmentHeader { segment: number, first }.encode(self.seed);
        let created = self.disk.create(number, &header);
        created.map_err(|e| self.no_room_or_failed("create", number, e))?;
        Ok(number)
    }

    fn write(&mut self, segment: u32, at: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.disk.write(segment, at, bytes);
        written.map_err(|e| self.no_room_or_failed("write", segment, e))?;
        self.disk.sync(segment).map_err(|e| self.failed("sync", segment, e))
    }

    /// Removes the oldest segment, if the last batch says that nobody needs it. One that can't be removed is tried ever less
    /// often.
    pub(super) fn drop_oldest(&mut self) -> bool {
        let Some((tail, _)) = self.usage.tail().filter(|(tail, _)| *tail < self.oldest) else {
            return false;
        };
        if let Some(left) = self.removal.pause.checked_sub(1) {
            self.removal.pause = left;
            return false;
        }
        match self.disk.remove(tail) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let path = self.disk.place(tail);
                tracing::warn!(%error, path = %path.display(), "a segment that nobody needs can't be removed");
                self.removal.pause = (1 << self.removal.failed.min(PAUSE_DOUBLES)) - 1;
                self.removal.failed = self.removal.failed.saturating_add(1);
                false
            }
            // Or it was missing before.
            _ => {
                self.usage.drop_tail();
                self.removal.failed = 0;
                true
            }
        }
    }

    pub(super) fn read_segment(&self, segment: u32) -> Result<Bytes, StoreError> {
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

    /// Bytes of the records behind the header of the batch that stands there.
    pub(super) fn batch_len(&self, position: Position, header: &[u8]) -> Option<u64> {
        BatchHeader::decode(self.seed, position, header).map(|(header, _)| header.len)
    }

    /// Of what leaves nothing if there is no room for it.
    fn no_room_or_failed(&self, what: &str, segment: u32, error: std::io::Error) -> StoreError {
        if !is_full(&error) {
            return self.failed(what, segment, error);
        }
        StoreError::Full {
            context: format!("{what} {}", self.disk.place(segment).display()),
            source: error,
        }
    }

    pub(super) fn failed(&self, what: &str, segment: u32, error: std::io::Error) -> StoreError {
        StoreError::io(format!("{what} {}", self.disk.place(segment).display()), error)
    }
}

/// Where the record stands whose length stands at `at`.
pub(super) fn frame(data: &[u8], at: usize) -> Option<Range<usize>> {
    let len = usize::try_from(u32_at(data, at)?).ok()?;
    let start = at + LENGTH;
    Some(start..start.checked_add(len)?)
}
