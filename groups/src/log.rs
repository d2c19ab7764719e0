//! A replica's log, as far as memory needs to know it.
//!
//! ```text
//!   base          applied   commit        durable        last
//!    |               |         |             |             |
//!    v               v         v             v             v
//!  --+---------------+---------+-------------+-------------+
//!     terms known here ->                  (in any order from applied on, but
//!            [ entries in the cache ......................]  commit, durable <= last)
//! ```
//!
//! Invariants: the term of every index from `base` to `last` is known, from one [`LogId`] per leadership;
//! cached entries are consecutive and end at `last`; what is neither durable nor applied is cached.

use crate::effects::PersistSeq;
use crate::entry::Entry;
use crate::fingerprint::Reference;
use crate::ids::{LogId, LogIndex, Term};
use crate::input::Moment;
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

#[derive(Clone, Debug)]
pub(crate) struct Log {
    /// The last entry that was compacted away; zero if none was.
    base: LogId,
    /// First entry of each run of one term after `base`, ascending in index and term.
    runs: Vec<LogId>,
    last: LogIndex,
    /// Up to here the log, as it is now, is on disk.
    durable: LogIndex,
    /// Writes on their way: how far the log as it is now will be on disk once each is durable. A truncation
    /// lowers them, so that the late acknowledgement of a write never vouches for entries that replaced
    /// what it wrote.
    writing: VecDeque<Writing>,
    cache: VecDeque<Entry>,
    cache_bytes: usize,
}

#[derive(Clone, Debug)]
struct Writing {
    seq: PersistSeq,
    last: LogIndex,
    /// When it was asked for.
    since: Moment,
}

impl Log {
    /// The log a disk held: all of it is durable, none of it in memory.
    pub(crate) fn recovered(base: LogId, runs: Vec<LogId>, last: LogIndex) -> Self {
        Self {
            base,
            runs,
            last,
            durable: last,
            writing: VecDeque::new(),
            cache: VecDeque::new(),
            cache_bytes: 0,
        }
    }

    pub(crate) fn base(&self) -> LogId {
        self.base
    }

    pub(crate) fn last(&self) -> LogIndex {
        self.last
    }

    pub(crate) fn last_id(&self) -> LogId {
        LogId {
            term: self.runs.last().map_or(self.base.term, |run| run.term),
            index: self.last,
        }
    }

    pub(crate) fn durable(&self) -> LogIndex {
        self.durable
    }

    /// The term of the entry at `index`: `None` beyond the last and before the base.
    pub(crate) fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        if index < self.base.index || index > self.last {
            return None;
        }
        let run = self.runs.partition_point(|run| run.index <= index).checked_sub(1)?;
        self.runs.get(run).map(|run| run.term)
    }

    pub(crate) fn id_at(&self, index: LogIndex) -> Option<LogId> {
        self.term_at(index).map(|term| LogId { term, index })
    }

    /// The newest entry at or before `limit.index` whose term is not newer than `limit.term`: where a log
    /// that holds `limit` could still match this one (paper §5.3, last paragraph). The base if there is none.
    pub(crate) fn newest_not_after(&self, limit: LogId) -> LogId {
        let index = limit.index.min(self.last);
        match self.id_at(index) {
            Some(id) if id.term <= limit.term => id,
            _ => {
                let newer = self.runs.partition_point(|run| run.term <= limit.term);
                let end = self.runs.get(newer).map_or(self.last, |run| run.index.prev());
                self.id_at(end.min(index)).unwrap_or(self.base)
            }
        }
    }

    /// Appends entries right after the last.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        if self.cache.capacity() == 0 {
            // Of most groups no more is to come soon.
            self.cache.reserve_exact(entries.len());
        }
        for entry in entries {
            debug_assert_eq!(entry.index, self.last.next(), "an append leaves no gap");
            if self.last_id().term < entry.term || self.runs.is_empty() {
                self.runs.push(entry.id());
            }
            self.last = entry.index;
            self.cache_bytes += entry.size();
            self.cache.push_back(entry.clone());
        }
    }

    /// Forgets all entries from `from` on.
    pub(crate) fn truncate(&mut self, from: LogIndex) {
        debug_assert!(from > self.base.index, "what is compacted is committed");
        while self.runs.last().is_some_and(|run| run.index >= from) {
            self.runs.pop();
        }
        self.last = self.last.min(from.prev());
        self.durable = self.durable.min(self.last);
        for write in &mut self.writing {
            write.last = write.last.min(self.last);
        }
        while let Some(entry) = self.cache.pop_back_if(|entry| entry.index >= from) {
            self.cache_bytes -= entry.size();
        }
    }

    /// Notes that the write `seq`, the newest, holds the log up to where it ends now.
    pub(crate) fn writing(&mut self, seq: PersistSeq, now: Moment) {
        match self.writing.back_mut() {
            Some(write) if write.seq == seq => write.last = self.last,
            _ => self.writing.push_back(Writing {
                seq,
                last: self.last,
                since: now,
            }),
        }
    }

    /// When the oldest of the writes on their way was asked for.
    pub(crate) fn oldest_write(&self) -> Option<Moment> {
        self.writing.front().map(|write| write.since)
    }

    /// Notes that the write `seq` and all before it are durable.
    pub(crate) fn persisted(&mut self, seq: PersistSeq) {
        while let Some(write) = self.writing.pop_front_if(|write| write.seq <= seq) {
            self.durable = self.durable.max(write.last);
        }
    }

    /// Cached entries from `from` on, up to `through`, at least one, closing once they reach `bytes_max`;
    /// `None` if `from` is not in memory.
    pub(crate) fn cached(&self, from: LogIndex, through: LogIndex, bytes_max: usize) -> Option<(Vec<Entry>, usize)> {
        let first = self.cache.front()?.index;
        let skip = usize::try_from(from.0.checked_sub(first.0)?).ok()?;
        let mut bytes = 0;
        let mut entries = Vec::new();
        for entry in self.cache.range(skip.min(self.cache.len())..) {
            if entry.index > through || bytes >= bytes_max {
                break;
            }
            bytes += entry.size();
            entries.push(entry.clone());
        }
        (!entries.is_empty()).then_some((entries, bytes))
    }

    /// Drops cached entries up to `done` (applied and sent where they have to go), and, while the cache
    /// exceeds `bytes_max`, those up to `droppable`. What is not yet durable stays in any case.
    pub(crate) fn trim_cache(&mut self, done: LogIndex, droppable: LogIndex, bytes_max: usize) {
        let (done, droppable) = (done.min(self.durable), droppable.min(self.durable));
        while let Some(entry) = self.cache.front() {
            let over = self.cache_bytes > bytes_max && entry.index <= droppable;
            if entry.index > done && !over {
                break;
            }
            self.cache_bytes -= entry.size();
            self.cache.pop_front();
        }
        if self.cache.is_empty() && self.cache.capacity() > 64 {
            // A group that went quiet gives its memory back.
            self.cache.shrink_to(0);
        }
    }

    /// Gives back the memory that it has no use for while nothing is appended.
    pub(crate) fn shrink(&mut self) {
        self.runs.shrink_to_fit();
        self.writing.shrink_to_fit();
        self.cache.shrink_to_fit();
    }

    /// Forgets everything: the log begins anew after `base`, which a snapshot ends with. What earlier writes
    /// hold says nothing about it.
    pub(crate) fn install(&mut self, base: LogId) {
        self.base = base;
        self.runs.clear();
        self.last = base.index;
        self.durable = self.durable.min(base.index.prev());
        self.writing.clear();
        self.cache.clear();
        self.cache_bytes = 0;
    }

    /// Forgets the entries up to `through`, which a snapshot holds now. Returns the new base, if it is one.
    pub(crate) fn compact(&mut self, through: LogIndex) -> Option<LogId> {
        let base = self.id_at(through.min(self.durable))?;
        if base == self.base {
            return None;
        }
        let next = base.index.next();
        let next_term = self.term_at(next);
        self.runs.retain(|run| run.index >= next);
        if let Some(term) = next_term
            && self.runs.first().is_none_or(|run| run.index > next)
        {
            self.runs.insert(0, LogId { term, index: next });
        }
        self.base = base;
        while let Some(entry) = self.cache.pop_front_if(|entry| entry.index <= base.index) {
            self.cache_bytes -= entry.size();
        }
        Some(base)
    }

    pub(crate) fn fingerprint(&self, reference: Reference, state: &mut impl Hasher) {
        let Self {
            base,
            runs,
            last,
            durable,
            writing,
            cache,
            cache_bytes: _,
        } = self;
        (base, runs, last, durable, cache).hash(state);
        for Writing { seq, last, since } in writing {
            let age = (reference.writes_since(*seq), reference.is_long_ago(*since));
            (age, last).hash(state);
        }
    }

    /// Bytes of entries in memory.
    pub(crate) fn cache_bytes(&self) -> usize {
        self.cache_bytes
    }

    /// The entries in memory.
    #[cfg(debug_assertions)]
    pub(crate) fn in_memory(&self) -> impl Iterator<Item = &Entry> {
        self.cache.iter()
    }

    /// Checks what must hold between the parts.
    #[cfg(debug_assertions)]
    pub(crate) fn check(&self) {
        assert!(self.durable <= self.last, "durable beyond last: {self:?}");
        assert!(self.base.index <= self.last, "base beyond last: {self:?}");
        assert!(
            self.runs.is_sorted_by(|a, b| a.index < b.index && a.term < b.term),
            "runs ascend: {:?}",
            self.runs
        );
        assert!(
            self.runs.first().is_none_or(|run| run.index == self.base.index.next())
                && self.runs.is_empty() == (self.last == self.base.index),
            "every index after the base has a term: {self:?}"
        );
        assert!(
            self.cache.back().is_none_or(|entry| entry.id() == self.last_id()),
            "the cache ends at the last entry: {self:?}"
        );
        if let (Some(first), Some(last)) = (self.cache.front(), self.cache.back()) {
            assert_eq!(
                last.index.0 - first.index.0 + 1,
                self.cache.len() as u64,
                "the cache has no gap"
            );
        }
    }
}
