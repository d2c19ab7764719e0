//! A clock that a test moves.

use super::Clock;
use crate::time::Timestamp;
use raftyard_groups::Moment;
use std::sync::atomic::{AtomicU64, Ordering};

/// Milliseconds, from 0 on. Its wall clock stands still.
#[derive(Debug, Default)]
pub(crate) struct Hand(AtomicU64);

impl Hand {
    pub(crate) fn pass(&self, millis: u64) {
        self.0.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for Hand {
    fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::Relaxed))
    }

    fn wall(&self) -> Timestamp {
        Timestamp(0)
    }
}
