//! What becomes of what clients ask.

use super::ask::Outcome;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Places to count at, so that threads seldom meet at one.
const SHARDS: usize = 16;

/// Longest latency that is told apart, in microseconds.
const LATENCY_MAX_US: u64 = 60_000_000;

/// Counts of all clients.
pub(crate) struct Stats {
    shards: Vec<Shard>,
    stopped: AtomicBool,
    failure: Mutex<Option<String>>,
}

struct Shard {
    latency_us: Mutex<Histogram<u64>>,
    answered: AtomicU64,
    retried: AtomicU64,
    unknown: AtomicU64,
}

/// Operations, since the clients began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) answered: u64,
    /// Refused, surely without an effect, and asked again.
    pub(crate) retried: u64,
    /// Of these nobody knows whether they had an effect. They are not asked again.
    pub(crate) unknown: u64,
}

impl Stats {
    /// # Errors
    ///
    /// If there can be no such histogram, which does not happen.
    pub(crate) fn new() -> Result<Self, hdrhistogram::CreationError> {
        let shard = || {
            Ok(Shard {
                latency_us: Mutex::new(empty()?),
                answered: AtomicU64::new(0),
                retried: AtomicU64::new(0),
                unknown: AtomicU64::new(0),
            })
        };
        Ok(Self {
            shards: (0..SHARDS).map(|_| shard()).collect::<Result<_, _>>()?,
            stopped: AtomicBool::new(false),
            failure: Mutex::new(None),
        })
    }

    /// `number` says who counts: any number.
    pub(crate) fn note(&self, number: usize, outcome: &Outcome, latency: Duration) {
        let Some(shard) = self.shards.get(number % SHARDS) else {
            return;
        };
        if outcome.answered > 0 {
            shard.answered.fetch_add(outcome.answered, Ordering::Relaxed);
            let micros = u64::try_from(latency.as_micros())
                .unwrap_or(u64::MAX)
                .min(LATENCY_MAX_US);
            // In range, so that it is recorded.
            shard.latency_us.lock().record_n(micros, outcome.answered).ok();
        }
        if outcome.unknown > 0 {
            shard.unknown.fetch_add(outcome.unknown, Ordering::Relaxed);
        }
        if !outcome.refused.is_empty() && !self.is_stopped() {
            shard.retried.fetch_add(outcome.refused.len() as u64, Ordering::Relaxed);
        }
        if let Some(failure) = &outcome.failure {
            self.failure.lock().get_or_insert_with(|| failure.clone());
            self.stop();
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let sum = |of: fn(&Shard) -> &AtomicU64| {
            let counts = self.shards.iter().map(|shard| of(shard).load(Ordering::Relaxed));
            counts.sum()
        };
        Counts {
            answered: sum(|shard| &shard.answered),
            retried: sum(|shard| &shard.retried),
            unknown: sum(|shard| &shard.unknown),
        }
    }

    /// Latencies since they were taken last, in microseconds.
    ///
    /// # Errors
    ///
    /// If the histograms don't go together, which they do.
    pub(crate) fn take_latencies(&self) -> Result<Histogram<u64>, crate::Failure> {
        let mut all = empty()?;
        for shard in &self.shards {
            let taken = std::mem::replace(&mut *shard.latency_us.lock(), empty()?);
            all.add(&taken)?;
        }
        Ok(all)
    }

    /// Clients ask nothing more, and end when the last of what they asked is answered.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// What made a client stop all of them.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }
}

/// Up to a minute, with three significant digits.
fn empty() -> Result<Histogram<u64>, hdrhistogram::CreationError> {
    Histogram::new_with_max(LATENCY_MAX_US, 3)
}
