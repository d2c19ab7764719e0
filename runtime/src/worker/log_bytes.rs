//! How many bytes of a log were applied and not compacted.

use raftyard_groups::LogIndex;
use std::collections::VecDeque;

/// Runs of applied entries, each with its bytes. Not exact: what a run loses when it is compacted in part, it loses by
/// the share of its entries.
pub(crate) struct LogBytes {
    runs: VecDeque<Run>,
    bytes: u64,
    /// The most that the log may have.
    max: u64,
}

#[derive(Clone, Copy)]
struct Run {
    first: LogIndex,
    last: LogIndex,
    bytes: u64,
}

/// A run closes once it has this many bytes, or a sixteenth of the limit.
const RUN_BYTES: u64 = 64 << 10;

impl LogBytes {
    pub(crate) fn new() -> Self {
        Self {
            runs: VecDeque::new(),
            bytes: 0,
            max: u64::MAX,
        }
    }

    pub(crate) fn set_max(&mut self, max: u64) {
        self.max = max;
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the log has to be compacted for its length. `is_patient`: that can wait a little.
    pub(crate) fn is_long(&self, is_patient: bool) -> bool {
        self.bytes > if is_patient { self.max } else { self.max / 2 }
    }

    /// Entries were applied.
    pub(crate) fn applied(&mut self, first: LogIndex, last: LogIndex, bytes: u64) {
        self.bytes += bytes;
        let run_max = RUN_BYTES.min(self.max / 16);
        match self.runs.back_mut() {
            Some(run) if run.bytes < run_max && run.last.next() == first => {
                run.last = last;
                run.bytes += bytes;
            }
            _ => self.runs.push_back(Run { first, last, bytes }),
        }
    }

    /// The log begins after `base`.
    pub(crate) fn compacted(&mut self, base: LogIndex) {
        while let Some(run) = self.runs.pop_front_if(|run| run.last <= base) {
            self.bytes -= run.bytes;
        }
        if let Some(run) = self.runs.front_mut().filter(|run| run.first <= base) {
            let (all, left) = (run.last.0 - run.first.0 + 1, run.last.0 - base.0);
            let bytes = u128::from(run.bytes) * u128::from(left) / u128::from(all);
            let bytes = u64::try_from(bytes).unwrap_or(run.bytes);
            self.bytes -= run.bytes - bytes;
            run.bytes = bytes;
            run.first = base.next();
        }
        if self.runs.is_empty() && self.runs.capacity() > RUNS_KEPT {
            self.runs.shrink_to(0);
        }
    }

    /// Gives back the memory that it has no use for while nothing is applied.
    pub(crate) fn shrink(&mut self) {
        self.runs.shrink_to_fit();
    }

    /// The index after which no more than half of what the log may have was applied.
    pub(crate) fn half(&self) -> LogIndex {
        let mut bytes = 0;
        let newer = |run: &&Run| {
            bytes += run.bytes;
            bytes > self.max / 2
        };
        self.runs
            .iter()
            .rev()
            .find(newer)
            .map_or(LogIndex::ZERO, |run| run.last)
    }
}

/// More room than this is given back once there is nothing.
const RUNS_KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten entries of 100 bytes in each of ten batches.
    fn hundred(max: u64) -> LogBytes {
        let mut log = LogBytes::new();
        log.set_max(max);
        for batch in 0..10 {
            log.applied(LogIndex(batch * 10 + 1), LogIndex(batch * 10 + 10), 1_000);
        }
        log
    }

    #[test]
    fn what_is_compacted_does_not_count() {
        for max in [u64::MAX, 10_000, 100] {
            let mut log = hundred(max);
            assert_eq!(log.bytes(), 10_000);
            log.compacted(LogIndex(0));
            assert_eq!(log.bytes(), 10_000);
            log.compacted(LogIndex(55));
            assert_eq!(log.bytes(), 4_500);
            log.compacted(LogIndex(50));
            assert_eq!(log.bytes(), 4_500, "it never begins earlier again");
            // A snapshot of a peer took its place, which is ahead of what was applied here.
            log.compacted(LogIndex(1_000));
            assert_eq!(log.bytes(), 0);
        }
    }

    #[test]
    fn half_of_the_limit_is_left_or_less() {
        let mut log = hundred(8_000);
        assert!(log.is_long(false) && log.is_long(true));
        let half = log.half();
        log.compacted(half);
        assert!((3_000..=4_000).contains(&log.bytes()), "{}", log.bytes());
        assert!(!log.is_long(false));
        assert_eq!(hundred(u64::MAX).half(), LogIndex(0));
        assert!(!hundred(15_000).is_long(true) && hundred(15_000).is_long(false));
    }
}
