//! Finding the batches again, and what of them is lost. Nothing is written.
//!
//! A batch that can't be read does not hide those behind it: headers name where they stand, so the next good one can
//! be looked for, and their numbers say how many are missing between.

use super::super::StoreError;
use super::super::disk::Disk;
use super::super::record::{checksum_of, group_of, is_whole};
use super::Finding;
use super::header::{
    BATCH_HEADER, BATCH_MAGIC, BatchHeader, BatchKind, Link, Mark, Position, SEGMENT_HEADER, SegmentHeader, Totals,
    checksum,
};
use super::index::Place;
use super::journal::{FIRST_SEGMENT, Journal, LENGTH, Written, frame};
use super::usage::Usage;
use bytes::Bytes;
use raftyard_groups::GroupId;
use std::ops::Range;

/// More segments than this can't be missing in a row: a file has a wrong name.
const MISSING_MAX: u32 = 1 << 16;

/// What stands in the segments that are needed.
#[derive(Debug)]
pub(super) struct Survey {
    /// What is damaged, from the beginning on; nothing if the log is whole.
    pub(super) findings: Vec<Finding>,
    /// A group without a record in this batch or behind it may have lost one.
    pub(super) unproven_before: u64,
    /// Also of what is lost; none if nothing says it any more. See [`Totals::are_known`].
    pub(super) totals: Option<Totals>,
    /// The oldest segment that is needed.
    pub(super) oldest: u32,
    /// The newest there is, or was.
    pub(super) newest: u32,
    /// A segment that was created, but not sealed off from the one before: the machine stopped in between, so nothing
    /// stands in it.
    pub(super) stray: Option<Stray>,
    /// None if nothing was ever written.
    pub(super) last: Option<Last>,
    /// None if it is not what was written.
    mark: Option<Mark>,
    /// What a segment begins with that is begun behind all of this, whatever is damaged. The number before it is that
    /// of a seal, or of nothing: so whoever reads it may let one batch be missing there, and no more.
    pub(super) beyond: Link,
}

impl Survey {
    /// What the mark has to say from now on: it names what is lost behind the last batch, too.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            number: self.beyond.number.saturating_sub(2),
            totals: self.totals.unwrap_or(Totals {
                term_max: 0,
                groups: Totals::UNKNOWN,
            }),
            oldest: self.oldest,
        }
    }

    /// Whether nothing was ever written.
    pub(super) fn is_blank(&self) -> bool {
        self.last.is_none() && self.findings.is_empty()
    }
}

/// A segment that was begun in vain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stray {
    pub(super) segment: u32,
    /// The chain that it begins with.
    pub(super) chain: u32,
}

/// The last batch that counts.
#[derive(Debug)]
pub(super) struct Last {
    pub(super) position: Position,
    pub(super) number: u64,
    /// All of it.
    pub(super) bytes: Bytes,
}

/// A record that was come across.
pub(super) struct Seen {
    pub(super) batch: u64,
    pub(super) place: Place,
    /// Whose it is, for certain.
    pub(super) group: GroupId,
    pub(super) checksum: u32,
    /// None if it is damaged.
    pub(super) record: Option<Bytes>,
}

/// A batch whose header is whole.
struct Scanned {
    position: Position,
    header: BatchHeader,
    chain: u32,
    end: usize,
}

/// A record whose length, checksum and group are certain.
struct Framed {
    record: Range<usize>,
    group: GroupId,
    checksum: u32,
    is_whole: bool,
}

/// How far the survey is.
struct Progress {
    survey: Survey,
    /// The batch that comes next; none before the first.
    next: Option<Link>,
    is_sealed: bool,
    /// Of the newest segment not even the header can be read, which was durable before anything else there.
    is_headless: bool,
    /// The last batch with records that is lost, 0 if none is.
    lost_through: u64,
    /// The number that stands before a stray segment, if it is certain that it is a seal's, or nothing's.
    nobodys: Option<u64>,
    /// A batch that is not whole: damaged, or torn if it is the last and was never acknowledged.
    torn: Option<Torn>,
}

struct Torn {
    batch: Scanned,
    /// None if not even their lengths are certain.
    records: Option<Vec<Framed>>,
    data: Bytes,
}

impl<D: Disk> Journal<D> {
    /// Goes through all records of the segments that are needed, each with its place, and finds the end.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] if the disk can't be read; [`StoreError::Damaged`] if nothing of the log is there.
    pub(super) fn survey(&mut self, mut visit: impl FnMut(&mut Usage, Seen)) -> Result<Survey, StoreError> {
        self.usage = Usage::default();
        let listed = self.disk.list();
        let mut segments = listed.map_err(|e| self.failed("list the segments beside", FIRST_SEGMENT, e))?;
        segments.sort_unstable();
        let mark = self.disk.mark();
        let mark = mark.map_err(|e| self.failed("read the mark beside", FIRST_SEGMENT, e))?;
        let mark = Mark::decode(self.seed, &mark);
        let (Some(first), Some(newest)) = (segments.first().copied(), segments.last().copied()) else {
            return Err(self.damaged(FIRST_SEGMENT, "there are no segments"));
        };
        if mark.is_none() {
            tracing::warn!(path = %self.disk.place(newest).display(), "the mark beside the log can't be read");
        }
        let oldest = self.oldest_needed(&segments)?.unwrap_or(first);
        let oldest = oldest.max(mark.map_or(0, |mark| mark.oldest));
        let mut progress = Progress {
            survey: Survey {
                findings: Vec::new(),
                unproven_before: 0,
                totals: Some(Totals::default()),
                oldest,
                newest: newest.max(oldest),
                stray: None,
                last: None,
                mark,
                beyond: Link::default(),
            },
            next: None,
            is_sealed: false,
            is_headless: false,
            lost_through: 0,
            nobodys: None,
            torn: None,
        };
        let mut expected = first.min(oldest);
        for number in segments {
            if number.saturating_sub(expected) > MISSING_MAX {
                return Err(self.damaged(number, "it is none of this log's segments"));
            }
            for missing in expected..number {
                self.usage.begin(missing, 0);
                if missing >= oldest {
                    self.find(&mut progress, missing, None, "it is missing".to_owned());
                }
            }
            expected = number.saturating_add(1);
            if number < oldest {
                let len = self.disk.len(number).map_err(|e| self.failed("read", number, e))?;
                self.usage.begin(number, len);
                continue;
            }
            self.survey_segment(&mut progress, number, &mut visit)?;
        }
        if progress.next.is_none() && mark.is_none() {
            return Err(self.damaged(newest, "nothing of it is what was written for this store"));
        }
        self.finish(&mut progress, &mut visit);
        Ok(progress.survey)
    }

    /// What the last batch that can be found says.
    fn oldest_needed(&self, segments: &[u32]) -> Result<Option<u32>, StoreError> {
        for segment in segments.iter().rev() {
            let data = self.read_segment(*segment)?;
            if let Some(last) = scan(self.seed, *segment, &data).last() {
                return Ok(Some(last.header.oldest));
            }
        }
        Ok(None)
    }

    fn survey_segment(
        &mut self,
        progress: &mut Progress,
        segment: u32,
        visit: &mut impl FnMut(&mut Usage, Seen),
    ) -> Result<(), StoreError> {
        let data = self.read_segment(segment)?;
        let header = SegmentHeader::decode(self.seed, &data).filter(|header| header.segment == segment);
        // A segment is created once all before it that counts is durable.
        drop(progress.torn.take_if(|torn| is_begun_without(torn, header)));
        self.pass_torn(progress, visit);
        let batches = scan(self.seed, segment, &data);
        let is_empty = batches.is_empty() && segment == progress.survey.newest;
        // It was created, but not sealed off: then the one before goes on.
        if is_empty
            && !progress.is_sealed
            && let Some((next, first)) = progress.next.zip(header.map(|header| header.first))
            && first.number == next.number.saturating_add(1)
        {
            let chain = first.chain;
            progress.survey.stray = Some(Stray { segment, chain });
            // Behind a seal something may have stood there, which was acknowledged; behind nothing it was not.
            let is_blank = data.iter().skip(SEGMENT_HEADER).all(|byte| *byte == 0);
            progress.nobodys = (is_blank || chain == next.chain).then_some(next.number);
            return Ok(());
        }
        self.usage.begin(segment, SEGMENT_HEADER as u64);
        match header {
            Some(header) => self.reach(progress, segment, header.first, SEGMENT_HEADER as u64),
            None => {
                let what = "its header is not what was written for this store";
                self.find(progress, segment, None, what.to_owned());
                progress.is_headless = is_empty;
            }
        }
        if progress.next.is_none()
            && let Some(batch) = batches.first()
        {
            // Nothing but a seal stood before it if it stands at the beginning.
            progress.lost_through = batch.header.link.number.saturating_sub(2);
            if batch.position.at > SEGMENT_HEADER as u64 {
                progress.survey.unproven_before = batch.header.link.number;
                progress.lost_through = batch.header.link.number.saturating_sub(1);
            }
            progress.next = Some(batch.header.link);
        }
        if header.is_some() || !batches.is_empty() {
            progress.is_sealed = false;
        }
        for batch in batches {
            let expected = progress.next.unwrap_or_default();
            if batch.header.link.number < expected.number {
                let what = format!("batch {} stands where a later one should", batch.header.link.number);
                self.find(progress, segment, Some(batch.position.at), what);
                continue;
            }
            self.pass_torn(progress, visit);
            self.reach(progress, segment, batch.header.link, batch.position.at);
            self.take(progress, batch, &data, visit);
        }
        Ok(())
    }

    /// Notes what is missing before the batch that comes next.
    fn reach(&self, progress: &mut Progress, segment: u32, found: Link, at: u64) {
        let Some(next) = progress.next else {
            // What stood before it was given up, or is lost.
            progress.lost_through = found.number.saturating_sub(2);
            progress.next = Some(found);
            return;
        };
        if found == next {
            return;
        }
        // At the end of a segment stood a seal, which holds no records, or its number was left out.
        let is_first = at == SEGMENT_HEADER as u64;
        let lost_from = next.number;
        let seals = u64::from(is_first && !progress.is_sealed);
        let lost = found.number.saturating_sub(lost_from).saturating_sub(seals);
        if lost > 0 || found.number <= lost_from {
            progress.survey.unproven_before = found.number;
        }
        if lost > 0 {
            // The number before the first batch of a segment is no batch's with records.
            progress.lost_through = found.number.saturating_sub(1 + u64::from(is_first));
        }
        let what = match found.number.saturating_sub(lost_from) {
            0 => format!("batch {} does not follow the one before", found.number),
            1 => format!("batch {lost_from} is damaged or missing"),
            _ => format!("batches {lost_from} to {} are damaged or missing", found.number - 1),
        };
        self.find(progress, segment, Some(at), what);
        progress.next = Some(found);
    }

    /// Takes in a batch, unless it is not whole: that may be the last one, torn.
    fn take(
        &mut self,
        progress: &mut Progress,
        batch: Scanned,
        data: &Bytes,
        visit: &mut impl FnMut(&mut Usage, Seen),
    ) {
        let records = match batch.header.kind {
            BatchKind::Seal => Some(Vec::new()),
            BatchKind::Records => frames(self.seed, data, &batch),
        };
        let is_whole = |records: &Vec<Framed>| records.iter().all(|framed| framed.is_whole);
        if records.as_ref().is_some_and(is_whole) {
            self.pass(progress, &batch, records, data, visit);
        } else {
            let data = data.clone();
            progress.torn = Some(Torn { batch, records, data });
        }
    }

    /// Something stands behind a batch that is not whole: so it was durable, and is damaged.
    fn pass_torn(&mut self, progress: &mut Progress, visit: &mut impl FnMut(&mut Usage, Seen)) {
        let Some(torn) = progress.torn.take() else { return };
        let (number, position) = (torn.batch.header.link.number, torn.batch.position);
        let what = match &torn.records {
            None => {
                progress.survey.unproven_before = number.saturating_add(1);
                format!("batch {number} is damaged")
            }
            Some(records) => {
                let damaged = records.iter().filter(|framed| !framed.is_whole);
                let groups: Vec<String> = damaged.map(|framed| framed.group.to_string()).collect();
                format!("in batch {number} records are damaged, of {}", groups.join(", "))
            }
        };
        self.find(progress, position.segment, Some(position.at), what);
        self.pass(progress, &torn.batch, torn.records, &torn.data, visit);
    }

    fn pass(
        &mut self,
        progress: &mut Progress,
        batch: &Scanned,
        records: Option<Vec<Framed>>,
        data: &Bytes,
        visit: &mut impl FnMut(&mut Usage, Seen),
    ) {
        let segment = batch.position.segment;
        let (_, len) = self.usage.head();
        self.usage.extend_head((batch.end as u64).saturating_sub(len));
        for framed in records.unwrap_or_default() {
            let place = Written { segment, at: 0 }.place(&framed.record);
            let seen = Seen {
                batch: batch.header.link.number,
                place,
                group: framed.group,
                checksum: framed.checksum,
                record: framed.is_whole.then(|| data.slice(framed.record)),
            };
            visit(&mut self.usage, seen);
        }
        let start = usize::try_from(batch.position.at).unwrap_or(usize::MAX);
        progress.survey.last = Some(Last {
            position: batch.position,
            number: batch.header.link.number,
            bytes: data.slice(start.min(batch.end)..batch.end),
        });
        progress.is_sealed = batch.header.kind == BatchKind::Seal;
        progress.survey.totals = progress.survey.totals.map(|totals| totals.max(batch.header.totals));
        progress.next = Some(Link {
            number: batch.header.link.number.saturating_add(1),
            chain: batch.chain,
        });
    }

    /// Compares the end with the mark.
    fn finish(&mut self, progress: &mut Progress, visit: &mut impl FnMut(&mut Usage, Seen)) {
        let mark = progress.survey.mark;
        let is_durable = |number: u64| mark.is_some_and(|mark| mark.number >= number);
        let mut is_open = progress.is_sealed || progress.is_headless;
        if let Some(torn) = &progress.torn
            && is_durable(torn.batch.header.link.number)
        {
            // Damage that begins in its last record may go on beyond it.
            let last = torn.records.iter().flatten().last();
            is_open |= last.is_some_and(|framed| !framed.is_whole);
            self.pass_torn(progress, visit);
        }
        let next = progress.next.unwrap_or_default();
        let newest = progress.survey.newest;
        progress.survey.beyond = after(next, next.number);
        self.next = next;
        let is_missed = |mark: &Mark| mark.number >= next.number && Some(mark.number) != progress.nobodys;
        if let Some(mark) = mark.filter(is_missed) {
            let what = match next.number {
                number if number == mark.number => format!("batch {number} was durable and is gone or damaged"),
                number => format!(
                    "batches {number} to {} were durable and are gone or damaged",
                    mark.number
                ),
            };
            self.find(progress, newest, None, what);
            self.leave_open(progress, after(next, mark.number));
        } else if is_open {
            let what =
                "what was written to it, or a segment behind it, may be gone, and nothing says how much".to_owned();
            self.find(progress, newest, None, what);
            self.leave_open(progress, after(next, next.number));
        }
        self.cover(progress, is_open);
    }

    /// What was written before `next` may be lost.
    fn leave_open(&mut self, progress: &mut Progress, next: Link) {
        self.next = next;
        progress.survey.unproven_before = next.number;
        progress.survey.beyond = after(next, next.number);
    }

    /// The mark covers all that was ever told, whichever batch it names. Without it, what is lost is covered by what a batch behind
    /// it says; if none does, nobody knows how much it was.
    fn cover(&self, progress: &mut Progress, is_open: bool) {
        let survey = &mut progress.survey;
        let last = survey.last.as_ref().map_or(0, |last| last.number);
        let is_uncovered = is_open || last < progress.lost_through;
        match survey.mark {
            Some(mark) => survey.totals = survey.totals.map(|totals| totals.max(mark.totals)),
            None if is_uncovered => survey.totals = None,
            None => {}
        }
        if is_uncovered && !survey.totals.is_some_and(|totals| totals.are_known()) {
            let newest = survey.newest;
            let what = "nothing says what was lost before it".to_owned();
            self.find(progress, newest, None, what);
        }
    }

    fn find(&self, progress: &mut Progress, segment: u32, at: Option<u64>, what: String) {
        let path = self.disk.place(segment);
        progress.survey.findings.push(Finding { path, at, what });
    }

    fn damaged(&self, segment: u32, what: &str) -> StoreError {
        StoreError::Damaged {
            path: self.disk.place(segment),
            what: what.to_owned(),
        }
    }
}

/// What follows batch `number`, with the chain as it stands before `next`.
fn after(next: Link, number: u64) -> Link {
    Link {
        number: number.saturating_add(1),
        ..next
    }
}

/// Whether who began a segment took the batch before it for torn, as it was, and went on as if it were not there: the
/// number of a seal, or of nothing, is that batch's then. Who counts a batch begins a segment two numbers later.
fn is_begun_without(torn: &Torn, header: Option<SegmentHeader>) -> bool {
    let behind = torn.batch.header.link.number.saturating_add(1);
    header.is_some_and(|header| header.first.number == behind)
}

/// The batches of a segment whose headers are whole.
fn scan(seed: u32, segment: u32, data: &[u8]) -> Vec<Scanned> {
    let mut found = Vec::new();
    let mut at = SEGMENT_HEADER;
    while let Some(batch) = batch_at(seed, segment, data, at).or_else(|| batch_after(seed, segment, data, at)) {
        at = batch.end;
        found.push(batch);
    }
    found
}

/// The first batch behind `at` whose header is whole.
fn batch_after(seed: u32, segment: u32, data: &[u8], at: usize) -> Option<Scanned> {
    let candidates = data.get(at..)?.windows(BATCH_MAGIC.len()).enumerate().skip(1);
    candidates
        .filter(|(_, window)| *window == BATCH_MAGIC)
        .find_map(|(distance, _)| batch_at(seed, segment, data, at + distance))
}

fn batch_at(seed: u32, segment: u32, data: &[u8], at: usize) -> Option<Scanned> {
    let position = Position { segment, at: at as u64 };
    let (header, chain) = BatchHeader::decode(seed, position, data.get(at..)?)?;
    let end = (at + BATCH_HEADER).checked_add(usize::try_from(header.len).ok()?)?;
    (end <= data.len()).then_some(Scanned {
        position,
        header,
        chain,
        end,
    })
}

/// The records of a batch; none if what they are is not certain.
fn frames(seed: u32, data: &[u8], batch: &Scanned) -> Option<Vec<Framed>> {
    let start = usize::try_from(batch.position.at).ok()? + BATCH_HEADER;
    let data = data.get(..batch.end)?;
    let (mut at, mut records, mut digested) = (start, Vec::new(), Vec::new());
    while at < data.len() {
        let range = frame(data, at)?;
        let record = data.get(range.clone())?;
        let framed = Framed {
            group: group_of(record).ok()?,
            checksum: checksum_of(record)?,
            is_whole: is_whole(record),
            record: range,
        };
        digested.extend_from_slice(data.get(at..framed.record.start + LENGTH)?);
        digested.extend_from_slice(&framed.group.0.to_le_bytes());
        at = framed.record.end;
        records.push(framed);
    }
    (checksum(seed, &digested) == batch.header.digest).then_some(records)
}
