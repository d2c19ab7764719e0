//! Giving up the oldest segments.
//!
//! When the segments hold far more than somebody needs, what is needed of the oldest one is written once more, a
//! piece of it with every batch and before what is new; then nobody needs that segment. It goes through the segment
//! record by record and asks the index of each whether it counts.
//!
//! With `L` bytes that are needed, this begins at `3 L` and a segment. A pass over all segments then writes at most
//! `L` bytes again for every `2 L` that are new: on average, 1.5 bytes are written for each that is new, at most.

use super::super::disk::Disk;
use super::super::record::{EntriesReader, Kind, Owner, RecordError, encode_state, encode_tombstone, peek};
use super::header::Position;
use super::index::{Index, Place};
use super::journal::{BATCH_HEADER_BYTES, Written, frame};
use super::read::entry_at;
use super::survey::Survey;
use super::write::{Part, place_entries, put_entries, totals_of};
use super::{SegmentLogStore, StoreError};
use crate::registry::IdMap;
use bytes::Bytes;
use raftyard_groups::{Entry, GroupId, LogIndex};
use std::collections::BTreeSet;
use std::ops::Range;

/// How many times what is needed the segments may hold, beside one segment.
const FACTOR: u64 = 3;
/// A batch looks at as many times its own bytes of the oldest segment, and at this many bytes more.
const PACE: usize = 2;
const PIECE_BYTES: usize = 32 << 10;

/// How often the pause doubles when one read after the other fails.
const PAUSE_DOUBLES: u32 = 10;

/// About how much is written at once when all is written once more.
const OVER_BYTES: usize = 1 << 20;
/// How much of a group whose records count for nothing then. It is in memory, a few times.
const ANEW_BYTES: usize = 64 << 20;

/// How far the oldest segment was gone through.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    segment: u32,
    at: u32,
    /// Bytes that are left of the batch that it is in.
    left: u64,
}

/// What is moved with the next batch.
#[derive(Debug, Default)]
pub(super) struct Tidy {
    cursor: Cursor,
    /// Where the cursor is once the moves are durable.
    next: Cursor,
    moves: Vec<Move>,
    /// Bytes that the last batch had beside what it moved.
    pace: usize,
    /// A segment that can't be given up, because something in it is damaged.
    stuck: Option<u32>,
    /// Reads of it that failed one after the other.
    failed: u32,
    /// Batches that move nothing before it is read again.
    pause: u32,
}

#[derive(Debug)]
enum Move {
    State(GroupId, Range<usize>),
    Tombstone(GroupId, Range<usize>),
    Entries(GroupId, Vec<Entry>, Vec<Part>),
}

/// Why a piece of the segment can't be gone through.
enum Unread {
    /// It could not be read; later it may be.
    Failed(StoreError),
    /// It is not what was written.
    Damaged(String),
}

impl From<&str> for Unread {
    fn from(what: &str) -> Self {
        Self::Damaged(what.to_owned())
    }
}

/// What of a piece of the segment counts.
#[derive(Default)]
struct Needed {
    states: Vec<GroupId>,
    tombstones: Vec<GroupId>,
    entries: Vec<(Owner, Vec<Entry>)>,
    /// The last of `entries` of each group.
    positions: IdMap<GroupId, usize>,
}

impl<D: Disk> SegmentLogStore<D> {
    /// Puts together what the next batch moves, if there is need.
    pub(super) fn plan_moves(&mut self) {
        self.tidy.moves.clear();
        self.tidy.next = self.tidy.cursor;
        let usage = &self.journal.usage;
        let is_needed = usage.total() > FACTOR * usage.live() + self.journal.disk.segment_bytes();
        let Some((segment, len)) = usage.tail().filter(|_| is_needed) else {
            return;
        };
        if self.tidy.stuck == Some(segment) || usage.oldest_needed() != segment {
            return;
        }
        if let Some(left) = self.tidy.pause.checked_sub(1) {
            self.tidy.pause = left;
            return;
        }
        let mut cursor = self.tidy.cursor;
        if cursor.segment != segment {
            cursor = Cursor {
                segment,
                at: super::journal::SEGMENT_HEADER_BYTES,
                left: 0,
            };
        }
        match self.look(&mut cursor, len) {
            Ok(needed) => {
                self.put_moves(needed);
                self.tidy.next = cursor;
                self.tidy.failed = 0;
            }
            Err(Unread::Failed(error)) => {
                // A disk that fails for long is asked ever less often: each time may take it seconds.
                self.tidy.pause = (1 << self.tidy.failed.min(PAUSE_DOUBLES)) - 1;
                self.tidy.failed = self.tidy.failed.saturating_add(1);
                let path = self.journal.disk.place(segment);
                tracing::warn!(path = %path.display(), %error, "a segment can't be given up yet");
            }
            Err(Unread::Damaged(what)) => {
                let path = self.journal.disk.place(segment);
                tracing::error!(path = %path.display(), at = cursor.at, %what, "a segment can't be given up");
                self.tidy.stuck = Some(segment);
            }
        }
    }

    /// Goes through a piece of a segment, up to `len`.
    fn look(&self, cursor: &mut Cursor, len: u64) -> Result<Needed, Unread> {
        let left = usize::try_from(len.saturating_sub(u64::from(cursor.at))).unwrap_or(usize::MAX);
        if left == 0 {
            return Err("it was gone through, and something in it is needed still".into());
        }
        let mut piece = (PACE * self.tidy.pace + PIECE_BYTES).min(left);
        loop {
            let data = self.piece(*cursor, piece)?;
            let mut needed = Needed::default();
            let mut at = 0;
            while at < data.len() {
                if cursor.left == 0 {
                    let Some(header) = data.get(at..at + BATCH_HEADER_BYTES) else {
                        break;
                    };
                    let position = Position {
                        segment: cursor.segment,
                        at: u64::from(cursor.at) + at as u64,
                    };
                    cursor.left = self.journal.batch_len(position, header).ok_or("a batch is damaged")?;
                    at += BATCH_HEADER_BYTES;
                    continue;
                }
                let Some(record) = frame(&data, at).filter(|record| record.end <= data.len()) else {
                    break;
                };
                cursor.left = cursor.left.saturating_sub((record.end - at) as u64);
                at = record.end;
                let start = cursor
                    .at
                    .saturating_add(u32::try_from(record.start).unwrap_or(u32::MAX));
                let place = Place {
                    segment: cursor.segment,
                    at: start,
                    len: u32::try_from(record.len()).unwrap_or(u32::MAX),
                };
                let added = needed.add(&self.index, place, data.slice(record));
                added.map_err(|error| Unread::Damaged(error.to_string()))?;
            }
            if at > 0 {
                cursor.at = cursor.at.saturating_add(u32::try_from(at).unwrap_or(u32::MAX));
                return Ok(needed);
            }
            // A record that is larger than the piece.
            let record = frame(&data, 0).map(|record| record.end);
            piece = record
                .filter(|end| *end > piece && *end <= left)
                .ok_or("a record has a bad length")?;
        }
    }

    fn piece(&self, cursor: Cursor, len: usize) -> Result<Bytes, Unread> {
        let place = Place {
            segment: cursor.segment,
            at: cursor.at,
            len: u32::try_from(len).unwrap_or(u32::MAX),
        };
        let data = self.journal.read(place).map_err(Unread::Failed)?;
        if data.len() == len {
            Ok(data)
        } else {
            Err("it is shorter than what was written".into())
        }
    }

    fn put_moves(&mut self, needed: Needed) {
        let (batch, moves, backs) = (&mut self.batch, &mut self.tidy.moves, &self.index.backs);
        for group in needed.states {
            if let Some(held) = self.index.groups.get(&group) {
                let record = batch.add(backs, group, |out, back| encode_state(out, back, &held.state, false));
                moves.push(Move::State(group, record));
            }
        }
        for group in needed.tombstones {
            if let Some((tombstone, _)) = self.index.tombstones.get(&group) {
                let record = batch.add(backs, group, |out, back| encode_tombstone(out, back, tombstone));
                moves.push(Move::Tombstone(group, record));
            }
        }
        for (owner, entries) in needed.entries {
            let mut parts = Vec::new();
            let held = self.index.groups.get(&owner.group);
            let prev = held.and_then(|held| held.term_before(entries.first()?.index));
            let of = (Kind::Moved, owner, prev.unwrap_or_default());
            put_entries(batch, backs, of, &entries, &mut parts);
            moves.push(Move::Entries(owner.group, entries, parts));
        }
    }

    /// Writes all that is known once more, into new segments, and gives up the old ones: because something in them is
    /// damaged. The groups of `anew` go on from what is known of them now, whatever stands before.
    pub(super) fn start_over(&mut self, survey: &Survey, anew: &BTreeSet<GroupId>) -> Result<(), StoreError> {
        self.journal.begin_after(survey)?;
        self.write_over(survey, anew).inspect_err(|error| {
            // One try after the other would take what room there comes to be.
            if matches!(error, StoreError::Full { .. })
                && let Err(error) = self.journal.take_back(survey)
            {
                tracing::warn!(%error, "segments that were begun in vain stay");
            }
        })
    }

    fn write_over(&mut self, survey: &Survey, anew: &BTreeSet<GroupId>) -> Result<(), StoreError> {
        self.begin_over();
        let mut groups: Vec<_> = self.index.groups.keys().copied().collect();
        groups.sort_unstable();
        for group in groups {
            self.put_over(group, anew.contains(&group))?;
        }
        let mut tombstones: Vec<_> = self.index.tombstones.keys().copied().collect();
        tombstones.sort_unstable();
        for group in tombstones {
            if let Some((tombstone, _)) = self.index.tombstones.get(&group) {
                self.batch.raise(totals_of(&tombstone.hard_state));
                let encode = |out: &mut Vec<u8>, back| encode_tombstone(out, back, tombstone);
                let record = self.batch.add(&self.index.backs, group, encode);
                self.tidy.moves.push(Move::Tombstone(group, record));
            }
            self.flush_over(OVER_BYTES)?;
        }
        self.commit()?;
        self.journal.usage.release_before(survey.newest.saturating_add(1));
        // It says that nobody needs the old ones.
        self.begin_over();
        self.commit()?;
        self.journal.sync_mark(self.index.totals)?;
        while self.journal.drop_oldest() {}
        Ok(())
    }

    fn begin_over(&mut self) {
        self.batch.clear(self.index.totals);
        self.tidy.moves.clear();
        self.tidy.next = Cursor::default();
        self.moved = 0;
    }

    /// Puts all that is known of a group together, in as many batches as it takes. Cut short, a group that is whole
    /// stands where it did. So does one that is not: its records before the new ones count for nothing, so these are in one
    /// batch, if that is any size.
    fn put_over(&mut self, group: GroupId, begins_anew: bool) -> Result<(), StoreError> {
        let held = self.held(group)?;
        let (owner, base) = (held.owner(), held.state.base);
        self.batch.raise(totals_of(&held.state.hard_state));
        let Some(held) = self.index.groups.get(&group) else {
            return Ok(());
        };
        let encode = |out: &mut Vec<u8>, back| encode_state(out, back, &held.state, begins_anew);
        let record = self.batch.add(&self.index.backs, group, encode);
        self.tidy.moves.push(Move::State(group, record));
        let mut last = base;
        let bytes = if begins_anew { ANEW_BYTES } else { OVER_BYTES };
        loop {
            let entries = self.read_entries(group, last.index.next(), LogIndex(u64::MAX), OVER_BYTES)?;
            let Some(end) = entries.last().map(Entry::id) else {
                return self.flush_over(OVER_BYTES);
            };
            let mut parts = Vec::new();
            let of = (Kind::Moved, owner, last.term);
            put_entries(&mut self.batch, &self.index.backs, of, &entries, &mut parts);
            self.tidy.moves.push(Move::Entries(group, entries, parts));
            last = end;
            self.flush_over(bytes)?;
        }
    }

    /// Writes what was put together if it is so much.
    fn flush_over(&mut self, bytes: usize) -> Result<(), StoreError> {
        if self.batch.len() >= bytes {
            self.commit()?;
            self.begin_over();
        }
        Ok(())
    }

    /// Notes what was moved, now that it is durable.
    pub(super) fn apply_moves(&mut self, written: Written, pace: usize) {
        let usage = &mut self.journal.usage;
        for moved in self.tidy.moves.drain(..) {
            match moved {
                Move::State(group, record) => {
                    if let Some(held) = self.index.groups.get_mut(&group) {
                        held.place_state(usage, written.place(&record));
                    }
                }
                Move::Tombstone(group, record) => {
                    if let Some((tombstone, _)) = self.index.tombstones.get(&group).copied() {
                        self.index.bury(usage, tombstone, written.place(&record));
                    }
                }
                Move::Entries(group, entries, parts) => {
                    if let Some(held) = self.index.groups.get_mut(&group) {
                        place_entries(held, usage, &entries, &parts, written);
                    }
                }
            }
        }
        self.tidy.cursor = self.tidy.next;
        self.tidy.pace = pace;
    }
}

impl Needed {
    /// Takes what counts of a record.
    fn add(&mut self, index: &Index, place: Place, record: Bytes) -> Result<(), RecordError> {
        let (kind, owner) = peek(&record)?;
        match kind {
            Kind::State => {
                let held = index.groups.get(&owner.group);
                if held.is_some_and(|held| held.place == Some(place)) {
                    self.states.push(owner.group);
                }
                Ok(())
            }
            Kind::Tombstone => {
                let held = index.tombstones.get(&owner.group);
                if held.is_some_and(|(_, held)| *held == place) {
                    self.tombstones.push(owner.group);
                }
                Ok(())
            }
            Kind::Entries | Kind::Moved => self.add_entries(index, place, owner, record),
        }
    }

    fn add_entries(&mut self, index: &Index, place: Place, owner: Owner, record: Bytes) -> Result<(), RecordError> {
        let held = index.groups.get(&owner.group).filter(|held| held.owner() == owner);
        let Some(held) = held else { return Ok(()) };
        let mut reader = EntriesReader::open_of(owner, record)?;
        let runs = held.runs.get(held.position(reader.first())..).unwrap_or_default();
        let end = reader
            .runs()
            .fold(reader.first().0, |end, (_, len)| end.saturating_add(len));
        let runs = runs.iter().take_while(|run| run.first.0 < end);
        for run in runs.filter(|run| run.place == place) {
            for index in run.first.0..=run.last().0 {
                let entry = entry_at(&mut reader, run, index.into())?;
                self.push(owner, entry);
            }
        }
        Ok(())
    }

    fn push(&mut self, owner: Owner, entry: Entry) {
        let position = self.positions.get(&owner.group).copied();
        if let Some((_, entries)) = position.and_then(|position| self.entries.get_mut(position))
            && entries.last().is_some_and(|last| last.index.next() == entry.index)
        {
            return entries.push(entry);
        }
        self.positions.insert(owner.group, self.entries.len());
        self.entries.push((owner, vec![entry]));
    }
}
