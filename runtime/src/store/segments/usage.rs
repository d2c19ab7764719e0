//! How much of each segment is in use.

use super::index::Place;
use std::collections::VecDeque;

/// The segments that are there, the oldest first. Their numbers have no gaps.
#[derive(Debug, Default)]
pub(super) struct Usage {
    segments: VecDeque<Segment>,
    /// See [`Usage::hold_from`].
    held_from: Option<u32>,
    live: u64,
    total: u64,
}

#[derive(Debug)]
struct Segment {
    number: u32,
    /// Up to where it is written.
    len: u64,
    /// Bytes of it that somebody needs.
    live: u64,
}

impl Usage {
    /// Adds the next segment, of which so many bytes are written.
    pub(super) fn begin(&mut self, number: u32, len: u64) {
        self.total += len;
        let live = 0;
        debug_assert!(
            self.segments
                .back()
                .is_none_or(|head| head.number.checked_add(1) == Some(number))
        );
        self.segments.push_back(Segment { number, len, live });
    }

    /// Adds a later segment: those between are not there.
    pub(super) fn begin_beyond(&mut self, number: u32, len: u64) {
        if let Some(head) = self.segments.back().map(|head| head.number) {
            for missing in head.saturating_add(1)..number {
                self.begin(missing, 0);
            }
        }
        self.begin(number, len);
    }

    /// The newest segment, and up to where it is written.
    pub(super) fn head(&self) -> (u32, u64) {
        self.segments.back().map_or((0, 0), |head| (head.number, head.len))
    }

    /// The one before, if there is one.
    pub(super) fn before_head(&self) -> Option<(u32, u64)> {
        let before = self.segments.iter().rev().nth(1);
        before.map(|before| (before.number, before.len))
    }

    pub(super) fn extend_head(&mut self, bytes: u64) {
        self.total += bytes;
        if let Some(head) = self.segments.back_mut() {
            head.len += bytes;
        }
    }

    /// The oldest segment and up to where it is written; none if it is the only one.
    pub(super) fn tail(&self) -> Option<(u32, u64)> {
        let tail = self.segments.front().filter(|_| self.segments.len() > 1);
        tail.map(|tail| (tail.number, tail.len))
    }

    /// The oldest segment that somebody needs, or the newest.
    pub(super) fn oldest_needed(&self) -> u32 {
        let needed = self.segments.iter().find(|segment| segment.live > 0);
        let needed = needed.map_or(self.head().0, |segment| segment.number);
        self.held_from.map_or(needed, |held| held.min(needed))
    }

    /// This segment and those behind it are needed, whatever stands in them, until they are released.
    pub(super) fn hold_from(&mut self, number: u32) {
        self.held_from = Some(number);
    }

    /// Forgets the oldest segment.
    pub(super) fn drop_tail(&mut self) {
        if let Some(tail) = self.segments.pop_front() {
            debug_assert_eq!(tail.live, 0, "somebody needs segment {}", tail.number);
            self.total -= tail.len;
        }
    }

    /// Forgets the newest segment.
    pub(super) fn drop_head(&mut self) {
        if let Some(head) = self.segments.pop_back() {
            self.total -= head.len;
            self.live = self.live.saturating_sub(head.live);
        }
    }

    /// Somebody needs so many bytes at this place.
    pub(super) fn take(&mut self, place: Place, bytes: u32) {
        self.live += u64::from(bytes);
        if let Some(segment) = self.segment(place.segment) {
            segment.live += u64::from(bytes);
        }
    }

    /// Nobody needs so many bytes at this place any more.
    pub(super) fn free(&mut self, place: Place, bytes: u32) {
        self.live = self.live.saturating_sub(u64::from(bytes));
        if let Some(segment) = self.segment(place.segment) {
            debug_assert!(segment.live >= u64::from(bytes), "freed twice");
            segment.live = segment.live.saturating_sub(u64::from(bytes));
        }
    }

    /// Nobody needs anything before this segment any more.
    pub(super) fn release_before(&mut self, number: u32) {
        self.held_from.take_if(|held| *held < number);
        for segment in self.segments.iter_mut().filter(|segment| segment.number < number) {
            self.live = self.live.saturating_sub(segment.live);
            segment.live = 0;
        }
    }

    /// Bytes that somebody needs.
    pub(super) fn live(&self) -> u64 {
        self.live
    }

    /// Bytes that are written.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    fn segment(&mut self, number: u32) -> Option<&mut Segment> {
        let oldest = self.segments.front()?.number;
        let at = usize::try_from(number.checked_sub(oldest)?).ok()?;
        self.segments.get_mut(at)
    }
}
